//! What the archives hold against what the ledger says.
//!
//! # Input
//! Paths and settings, as those of a load; nothing is opened but the ledger.
//! # Maps to
//! A [`Report`]: objects that are not loaded, that have changed, that failed, that no source knows;
//! hours in which nothing arrived; until when each source is complete.
//! # Known gaps
//! The first 20 objects of a kind are named. What is deleted from the archive is not looked for: its
//! rows stay in the lake.
//! # Reference
//! Design section 6.

use std::sync::Arc;

use parsers::{ObjectKey, Source, time::DAY_MS};

use crate::{
    batch::now_ms,
    ledger::{Ledger, LedgerError, State},
    load::{Settings, StartError, archives, check_state, check_used},
    progress::Progress,
    select::{Decision, Selection, ledger_day},
    store::{Folder, ObjectRef, Place, S3, Sources, StoreError},
};

pub(crate) mod gaps;
mod report;
mod spool;

pub use gaps::{Gap, Stream};
use gaps::{HOUR_MS, Hours};
pub use report::{Counts, OfSource, Report};
use spool::Spool;

/// Sources that AWS delivers at least once an hour while something happens. GuardDuty is silent
/// while it finds nothing.
pub(crate) const STEADY: [&str; 2] = ["cloudtrail", "vpc_flow"];
/// What is of no source by its path.
const BY_CONTENT: &str = "by_content";
/// What is delivered late may still be on its way.
const LATE_MS: i64 = HOUR_MS;

/// The audit could not start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The places are wrong, or cannot be used.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A folder or bucket cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the ledger says of an object that a source reads.
enum Verdict {
    Loaded { rejected: u64 },
    Missing(&'static str),
    Changed,
    Failed(String),
    Unrecognized(String),
    Excluded,
}

/// Compares archives with the ledger of a lake, which may be new.
pub async fn audit(
    settings: &Settings,
    may_be_new: bool,
    progress: &Progress,
) -> Result<Report, AuditError> {
    let sources = Sources::new(Arc::new(S3::new(settings.source_access.clone())));
    let paths = archives(settings, &sources).await?;
    check_state(&settings.lake, &settings.state)?;
    let state = Folder::open(&settings.state, &S3::new(settings.lake_access.clone())).await?;
    if !may_be_new {
        check_used(&settings.lake, &settings.state, &state).await?;
    }
    let mut audit = Audit {
        selection: Selection {
            source: settings.source,
            filter: settings.filter.clone(),
            force: false,
            ledger: Ledger::checked(state),
            sources: sources.clone(),
            beside: false,
        },
        hours: Hours::default(),
        newest: None,
        spool: Spool::default(),
        report: Report::default(),
    };
    for place in &paths {
        let mut listed = sources.list(place, audit.selection.scope());
        while let Some(page) = listed.recv().await {
            match page {
                Ok(objects) => {
                    for object in &objects {
                        if place.is_s3() {
                            progress.listed(object.size);
                        }
                        audit.listed(object).await?;
                        progress.object();
                        progress.bytes(object.size);
                    }
                }
                Err(why) => audit.report.unlisted.add(place.to_string(), why),
            }
        }
    }
    audit.compare().await?;
    audit.report.empty_ledger = audit.selection.ledger.all_days().await?.is_empty();
    // A folder is a copy of what there was when it was copied; in a bucket logs arrive until now.
    let end =
        if paths.iter().any(Place::is_s3) { now_ms() - LATE_MS } else { audit.newest.unwrap_or(0) };
    let filter = &settings.filter;
    audit.report.gaps = audit.hours.gaps(filter.since, end.min(filter.until));
    audit.report.finish();
    Ok(audit.report)
}

struct Audit {
    selection: Selection,
    hours: Hours,
    /// The newest stamp of all.
    newest: Option<i64>,
    spool: Spool,
    report: Report,
}

impl Audit {
    /// Takes an object of the listing. The ledger is not asked yet: a listing goes through the days
    /// of one account and region after another, the ledger is by day.
    async fn listed(&mut self, object: &ObjectRef) -> Result<(), AuditError> {
        let key = ObjectKey::new(object.key.clone());
        match self.selection.recognize(&key) {
            Decision::LeftOut => self.report.left_out += 1,
            Decision::Load(source) => {
                if let Some(stamp) = key.stamp() {
                    self.newest = self.newest.max(Some(stamp));
                    self.arrived(source, &key, stamp);
                }
                self.spool.push(&ledger_day(&key), object).await?;
            }
            Decision::Unrecognized { why, .. } => {
                self.report.objects.unrecognized += 1;
                self.report.unrecognized.add(object.location(), why);
            }
            // `recognize` decides nothing else.
            _ => self.report.objects.excluded += 1,
        }
        Ok(())
    }

    fn arrived(&mut self, source: Option<&'static Source>, key: &ObjectKey, stamp: i64) {
        let steady = source.map(|source| source.name).filter(|name| STEADY.contains(name));
        if let (Some(source), Some(account), Some(region)) = (steady, key.account(), key.region()) {
            self.hours.arrived(source, account, region, stamp);
        }
    }

    /// Asks the ledger, day by day.
    async fn compare(&mut self) -> Result<(), AuditError> {
        for day in self.spool.days() {
            for object in self.spool.take(&day).await? {
                let key = ObjectKey::new(object.key.clone());
                let Decision::Load(source) = self.selection.recognize(&key) else { continue };
                let verdict = self.verdict(source, &day, &object).await?;
                self.count(source, &key, &object, verdict);
            }
            self.selection.ledger.forget();
        }
        Ok(())
    }

    async fn verdict(
        &mut self,
        source: Option<&'static Source>,
        day: &str,
        object: &ObjectRef,
    ) -> Result<Verdict, LedgerError> {
        let Selection { ledger, filter, .. } = &mut self.selection;
        let Some(known) = ledger.find(day, object, filter).await? else {
            return Ok(Verdict::Missing("not in the ledger"));
        };
        if known.lost {
            return Ok(Verdict::Missing("its staged file was deleted before it was published"));
        }
        if !known.is_of(object) {
            return Ok(Verdict::Changed);
        }
        let why = known.error.as_ref().map(|error| error.what.clone()).unwrap_or_default();
        // Its source may be known by now: from another version, or because it was asked for.
        let is_told = source.is_none() || known.was_read;
        Ok(match known.state {
            State::Failed => Verdict::Failed(why),
            State::Loaded if known.covers(filter) => Verdict::Loaded { rejected: known.rejected },
            State::Loaded => Verdict::Missing("loaded with a narrower filter only"),
            State::Unrecognized if is_told => Verdict::Unrecognized(why),
            State::Excluded if is_told => Verdict::Excluded,
            State::Unrecognized | State::Excluded => {
                Verdict::Missing("it was not recognized when it was loaded")
            }
        })
    }

    fn count(
        &mut self,
        source: Option<&'static Source>,
        key: &ObjectKey,
        object: &ObjectRef,
        verdict: Verdict,
    ) {
        let report = &mut self.report;
        let mut counts = Counts::default();
        let mut rejected = 0;
        let mut is_open = true;
        match verdict {
            Verdict::Loaded { rejected: count } => {
                (counts.loaded, rejected, is_open) = (1, count, false);
            }
            Verdict::Missing(why) => {
                counts.missing = 1;
                report.missing.add(object.location(), why);
            }
            Verdict::Changed => {
                counts.changed = 1;
                report.changed.add(object.location(), "changed since it was loaded");
            }
            Verdict::Failed(why) => {
                counts.failed = 1;
                report.failed.add(object.location(), why);
            }
            Verdict::Unrecognized(why) => {
                (counts.unrecognized, is_open) = (1, false);
                report.unrecognized.add(object.location(), why);
            }
            Verdict::Excluded => (counts.excluded, is_open) = (1, false),
        }
        report.objects += counts;
        report.rejected += rejected;
        let name = source.map_or(BY_CONTENT, |source| source.name);
        let of_source = report.by_source.entry(name).or_default();
        of_source.objects += counts;
        of_source.rejected += rejected;
        let account = key.account().unwrap_or("unknown").to_owned();
        *of_source.by_account.entry(account).or_default() += counts;
        let time = key.stamp().or_else(|| key.day().map(|day| i64::from(day) * DAY_MS));
        if let Some(time) = time {
            of_source.saw(time, is_open);
        }
    }
}
