//! What an audit found: for programs as one JSON object, for people what is missing first.
//!
//! # Input
//! Verdicts on objects, gaps.
//! # Maps to
//! The object that `--json` prints, a text, an exit status.
//! # Known gaps
//! At most 20 objects of a kind are named.
//! # Reference
//! `trailhound help audit`.

use std::{collections::BTreeMap, fmt::Write};

use parsers::time;
use serde::Serialize;

use super::Gap;
use crate::{
    report::{NAMED, Named},
    store::Place,
};

/// Objects by what the ledger says of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// In the lake.
    pub loaded: u64,
    /// Not in the lake, or not all that is asked for.
    pub missing: u64,
    /// Not in the lake as they are now.
    pub changed: u64,
    /// Not read to their end.
    pub failed: u64,
    /// Known by no source.
    pub unrecognized: u64,
    /// Without events.
    pub excluded: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.loaded += other.loaded;
        self.missing += other.missing;
        self.changed += other.changed;
        self.failed += other.failed;
        self.unrecognized += other.unrecognized;
        self.excluded += other.excluded;
    }
}

impl Counts {
    fn open(&self) -> u64 {
        self.missing + self.changed + self.failed
    }

    fn text(&self) -> String {
        let mut text = format!("{} loaded, {} not loaded", self.loaded, self.missing);
        for (count, what) in [
            (self.changed, "changed"),
            (self.failed, "failed"),
            (self.unrecognized, "not recognized"),
            (self.excluded, "without events"),
        ] {
            if count > 0 {
                // Writing to a String cannot fail.
                let _ = write!(text, ", {count} {what}");
            }
        }
        text
    }
}

/// What is known of a source.
#[derive(Clone, Debug, Default, Serialize)]
pub struct OfSource {
    /// Its objects.
    pub objects: Counts,
    /// Records of loaded objects that are in the rejects.
    pub rejected: u64,
    /// Everything stamped before this is loaded: the stamp of the oldest object that is not, or else
    /// the newest stamp there is.
    #[serde(serialize_with = "as_text")]
    pub complete_until: Option<i64>,
    /// Its objects by the account of their path.
    pub by_account: BTreeMap<String, Counts>,
    #[serde(skip)]
    has_open: bool,
}

impl OfSource {
    /// Notes the time of an object, and whether it is still to be loaded.
    pub(super) fn saw(&mut self, time: i64, is_open: bool) {
        self.complete_until = match (self.has_open, is_open) {
            (true, false) => self.complete_until,
            (true, true) => self.complete_until.min(Some(time)),
            (false, true) => Some(time),
            (false, false) => self.complete_until.max(Some(time)),
        };
        self.has_open |= is_open;
    }
}

/// What an audit found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// All that is asked for is in the lake.
    pub complete: bool,
    /// Objects of the archives.
    pub objects: Counts,
    /// Objects that were not asked for.
    pub left_out: u64,
    /// Records of loaded objects that are in the rejects.
    pub rejected: u64,
    /// By source.
    pub by_source: BTreeMap<&'static str, OfSource>,
    /// The first objects that are not loaded.
    pub missing: Named,
    /// The first objects that have changed.
    pub changed: Named,
    /// The first objects that failed, with the reason.
    pub failed: Named,
    /// The first objects that no source knows.
    pub unrecognized: Named,
    /// What cannot be listed.
    pub unlisted: Named,
    /// Hours in which nothing arrived.
    pub gaps: Vec<Gap>,
    /// The ledger has nothing at all.
    pub empty_ledger: bool,
}

impl Report {
    /// 0 if all is there; 2 if an object or an hour is missing.
    pub fn exit_code(&self, strict: bool) -> u8 {
        let is_lost = strict && self.objects.unrecognized + self.rejected > 0;
        if self.complete && !is_lost { 0 } else { 2 }
    }

    pub(super) fn finish(&mut self) {
        self.complete =
            self.objects.open() == 0 && self.gaps.is_empty() && self.unlisted.names().is_empty();
    }

    /// For people.
    pub fn text(&self, lake: &Place) -> String {
        let mut out = self.problems();
        line(&mut out, format_args!("objects   {}", self.objects.text()));
        if self.left_out > 0 {
            line(&mut out, format_args!("          {} left out by the filter", self.left_out));
        }
        for (name, source) in &self.by_source {
            let until = source.complete_until.map(time_text);
            let until = until.map(|until| format!(", complete until {until}")).unwrap_or_default();
            line(&mut out, format_args!("  {name:<12} {}{until}", source.objects.text()));
            if source.rejected > 0 {
                let count = source.rejected;
                line(&mut out, format_args!("  {:<12} {count} records in the rejects", ""));
            }
            let open = source.by_account.iter().filter(|(_, counts)| counts.open() > 0);
            for (account, counts) in open.take(NAMED) {
                line(&mut out, format_args!("    account {account}: {}", counts.text()));
            }
        }
        line(&mut out, format_args!("lake      {lake}"));
        line(&mut out, format_args!("{}", self.verdict()));
        out
    }

    /// What is missing, by name.
    pub fn problems(&self) -> String {
        let mut out = String::new();
        if self.empty_ledger {
            line(&mut out, format_args!("nothing was ever loaded into this lake"));
        }
        for (title, named) in [
            ("cannot list", &self.unlisted),
            ("not loaded", &self.missing),
            ("changed", &self.changed),
            ("failed", &self.failed),
        ] {
            name(&mut out, title, named);
        }
        for gap in self.gaps.iter().take(NAMED) {
            let Gap { stream, from, until, hours, stopped } = gap;
            let title = if *stopped { "stopped" } else { "gap" };
            let (source, account, region) = (stream.source, &stream.account, &stream.region);
            line(
                &mut out,
                format_args!(
                    "{title}: {source}, account {account}, {region}: nothing arrived from {from} \
                     until {until}, {hours} hours"
                ),
            );
        }
        if self.gaps.len() > NAMED {
            line(&mut out, format_args!("gap: and {} more", self.gaps.len() - NAMED));
        }
        name(&mut out, "not recognized", &self.unrecognized);
        out
    }

    fn verdict(&self) -> String {
        let Counts { missing, changed, failed, .. } = self.objects;
        let found = [
            (self.unlisted.count(), "that cannot be listed"),
            (missing, "objects not loaded"),
            (changed, "objects changed"),
            (failed, "objects failed"),
            (self.gaps.len() as u64, "gaps"),
        ];
        let found: Vec<String> = found
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        if found.is_empty() {
            "complete: every object is loaded".to_owned()
        } else {
            format!("not complete: {}", found.join(", "))
        }
    }
}

fn name(out: &mut String, title: &str, named: &Named) {
    for (name, why) in named.names() {
        line(out, format_args!("{title}: {name}: {why}"));
    }
    let more = named.count() - named.names().len() as u64;
    if more > 0 {
        line(out, format_args!("{title}: and {more} more"));
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}

/// `2024-05-01T12:00:00Z`.
pub(super) fn time_text(ms: i64) -> String {
    let text = time::datetime(ms);
    text.iter().take(19).map(|&byte| char::from(byte)).chain(['Z']).collect()
}

#[expect(clippy::ref_option, reason = "as serde calls it")]
fn as_text<S: serde::Serializer>(time: &Option<i64>, to: S) -> Result<S::Ok, S::Error> {
    time.map(time_text).serialize(to)
}
