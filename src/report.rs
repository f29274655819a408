//! What a load did: for programs as one JSON object, for people as a summary.
//!
//! # Input
//! Outcomes of objects and records.
//! # Maps to
//! The object that `--json` prints, and a text that answers: did it work, what was lost, where.
//! # Known gaps
//! At most 20 objects of a kind are named; the ledger has them all.
//! # Reference
//! Design section 5, invariant 2.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    sync::Arc,
};

use parsers::Accounts;
use serde::Serialize;

use crate::{ledger::RecordCounts, sink::opensearch::IndexCounts, store::Place};

/// Objects of a kind that are named in the summary.
pub(crate) const NAMED: usize = 20;

/// What became of objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ObjectTotals {
    /// Read to their end.
    pub loaded: u64,
    /// In the lake already.
    pub skipped: u64,
    /// Not read, or not to their end.
    pub failed: u64,
    /// Known by no source.
    pub unrecognized: u64,
    /// Without events.
    pub excluded: u64,
}

/// What a load did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// What became of objects.
    pub objects: ObjectTotals,
    /// What became of records.
    pub records: RecordCounts,
    /// The same for each source.
    pub by_source: BTreeMap<&'static str, RecordCounts>,
    /// Rows in the lake for each class.
    pub by_class: BTreeMap<&'static str, u64>,
    /// What became of rows in the index, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<IndexCounts>,
    /// Bytes sent to the index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index_bytes: Option<u64>,
    /// Skipped objects that are not in this index, according to the ledger.
    #[serde(skip_serializing_if = "is_zero")]
    pub not_indexed_before: u64,
    /// Documents of skipped objects that the server refused.
    #[serde(skip_serializing_if = "is_zero")]
    pub refused_before: u64,
    /// Files written.
    pub files: u64,
    /// Bytes of objects that were read.
    pub bytes_in: u64,
    /// How long it took.
    pub seconds: f64,
    /// Rows in the lake for each account and class.
    #[serde(skip)]
    pub by_account: BTreeMap<String, BTreeMap<&'static str, u64>>,
    /// Names of accounts.
    #[serde(skip)]
    pub accounts: Arc<Accounts>,
    /// Objects that failed, with the reason.
    #[serde(skip)]
    pub failures: Named,
    /// Objects that no source knows, with the reason.
    #[serde(skip)]
    pub unrecognized: Named,
    /// Objects that were not asked for.
    #[serde(skip)]
    pub left_out: u64,
    /// Rejected records of skipped objects.
    #[serde(skip)]
    pub rejected_before: u64,
    /// Rejected records by reason.
    #[serde(skip)]
    pub rejects: BTreeMap<&'static str, u64>,
    /// Only the index was written, from the lake.
    #[serde(skip)]
    pub filled: bool,
    /// There was a filter.
    #[serde(skip)]
    pub filtered: bool,
    /// Where the index is.
    #[serde(skip)]
    pub index_url: Option<String>,
    /// Why documents are pending.
    #[serde(skip)]
    pub index_error: Option<String>,
    /// Documents that the server refused, by its reason.
    #[serde(skip)]
    pub index_rejects: BTreeMap<String, u64>,
    /// Batches of a killed run that were completed or removed.
    #[serde(skip)]
    pub recovered: usize,
    /// Batches that could not be replaced, why, and how many of their objects were loaded beside.
    #[serde(skip)]
    pub beside: Vec<(String, usize)>,
    /// Accounts of events that are not in the accounts file.
    #[serde(skip)]
    pub unnamed_accounts: BTreeSet<String>,
    /// Why the load stopped before its end.
    #[serde(skip)]
    pub stopped: Option<String>,
    /// Rows are in staged files: they are not in the lake before they are published.
    #[serde(skip)]
    pub staged: bool,
    /// Nothing was written.
    #[serde(skip)]
    pub dry_run: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The first names of a kind.
#[derive(Clone, Debug, Default)]
pub struct Named {
    names: Vec<(String, String)>,
    count: u64,
}

impl Named {
    /// Adds an object.
    pub fn add(&mut self, name: impl Into<String>, why: impl Into<String>) {
        let (name, why) = (name.into(), why.into());
        if let Some((_, known)) = self.names.iter_mut().find(|(known, _)| *known == name) {
            // Read again after all: the later word counts.
            *known = why;
            return;
        }
        self.count += 1;
        if self.names.len() < NAMED {
            self.names.push((name, why));
        }
    }

    /// The first objects, with the reason.
    pub fn names(&self) -> &[(String, String)] {
        &self.names
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }
}

impl Serialize for Named {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(
            self.names.iter().map(|(name, why)| BTreeMap::from([("object", name), ("why", why)])),
        )
    }
}

impl Report {
    /// 0 if everything was loaded; 2 if something failed or was rejected.
    pub fn exit_code(&self, strict: bool) -> u8 {
        let IndexCounts { rejected, pending, .. } = self.index.unwrap_or_default();
        let lost = self.objects.failed > 0
            || self.records.rejected + rejected + pending > 0
            || self.stopped.is_some();
        if lost || (strict && self.objects.unrecognized > 0) { 2 } else { 0 }
    }

    /// For people.
    pub fn text(&self, lake: &Place, state: &Place) -> String {
        let mut out = String::new();
        let ObjectTotals { loaded, skipped, failed, unrecognized, excluded } = self.objects;
        if self.filled {
            return self.filled_text(state);
        }
        if self.dry_run {
            line(
                &mut out,
                format_args!(
                    "dry run: {loaded} objects would be read, {skipped} are in the lake already, \
                 {unrecognized} are not recognized, {excluded} hold no events"
                ),
            );
            return out + &self.problems();
        }
        if self.recovered > 0 {
            let count = self.recovered;
            line(&mut out, format_args!("cleaned up {count} unfinished batches of an earlier run"));
        }
        line(
            &mut out,
            format_args!(
                "objects   {loaded} loaded, {skipped} skipped, {failed} failed, {unrecognized} not \
             recognized, {excluded} without events"
            ),
        );
        if self.left_out > 0 {
            line(&mut out, format_args!("          {} left out by the filter", self.left_out));
        }
        line(&mut out, format_args!("records   {}", self.describe(&self.records)));
        for (source, counts) in &self.by_source {
            line(&mut out, format_args!("  {source:<12} {}", self.describe(counts)));
        }
        for (class, rows) in &self.by_class {
            line(&mut out, format_args!("  {class:<20} {rows:>12} rows"));
        }
        self.accounts(&mut out);
        self.index(&mut out);
        for (reason, count) in &self.rejects {
            line(&mut out, format_args!("  rejected: {reason:<20} {count}"));
        }
        out += &self.problems();
        line(
            &mut out,
            format_args!(
                "{} files, {:.1} MB read in {:.1} s, {:.0} records/s",
                self.files,
                self.bytes_in as f64 / 1e6,
                self.seconds,
                self.records.records_in as f64 / self.seconds.max(0.001)
            ),
        );
        line(&mut out, format_args!("lake      {lake}"));
        if let Some(url) = &self.index_url {
            line(&mut out, format_args!("cluster   {url}"));
        }
        if self.records.rejected + self.rejected_before > 0 {
            line(&mut out, format_args!("rejects   {}", state.join("rejects")));
        }
        if self.index.is_some_and(|index| index.rejected > 0) {
            line(&mut out, format_args!("refused   {}", state.join("index-rejects")));
        }
        line(&mut out, format_args!("{}", self.verdict()));
        out
    }

    /// What was indexed from the lake.
    fn filled_text(&self, state: &Place) -> String {
        let mut out = String::new();
        let (objects, files) = (self.objects.skipped, self.files);
        let did = if self.dry_run { "dry run: would be indexed: " } else { "" };
        line(&mut out, format_args!("{did}{objects} objects, in {files} files of the lake"));
        if self.dry_run {
            return out;
        }
        self.index(&mut out);
        out += &self.problems();
        if self.index.is_some_and(|index| index.rejected > 0) {
            line(&mut out, format_args!("refused   {}", state.join("index-rejects")));
        }
        line(&mut out, format_args!("{}", self.filled_verdict()));
        out
    }

    fn filled_verdict(&self) -> &'static str {
        let IndexCounts { rejected, pending, .. } = self.index.unwrap_or_default();
        if self.objects.failed + pending > 0 {
            "not everything is in the index: run it again when the cause is gone"
        } else if rejected > 0 {
            "not everything is in the index: the server refuses documents, which are in the lake; \
             run it again when it takes them"
        } else if self.filtered {
            "the index has what the filter admits; because of the filter this is not noted"
        } else if self.objects.skipped == 0 {
            "nothing to send: according to the ledger this index has everything of the lake; where \
             indexes were deleted since, --force sends everything again"
        } else {
            "the index has everything of the lake that it is to have, according to the ledger"
        }
    }

    fn index(&self, out: &mut String) {
        let Some(counts) = &self.index else { return };
        let mut text = format!("index     {} new documents", counts.indexed);
        let others = [
            (counts.duplicate, "were there"),
            (counts.rejected, "refused"),
            (counts.excluded, "not to be indexed"),
            (counts.pending, "pending"),
        ];
        for (count, what) in others.iter().filter(|(count, _)| *count > 0) {
            // Writing to a String cannot fail.
            let _ = write!(text, ", {count} {what}");
        }
        if let Some(bytes) = self.index_bytes {
            // Writing to a String cannot fail.
            let _ = write!(text, ", {:.1} MB sent", bytes as f64 / 1e6);
        }
        line(out, format_args!("{text}"));
        for (reason, count) in &self.index_rejects {
            line(out, format_args!("  refused: {reason:<20} {count}"));
        }
    }

    /// Accounts with most rows first.
    fn accounts(&self, out: &mut String) {
        let total = |classes: &BTreeMap<&str, u64>| classes.values().sum::<u64>();
        let mut all: Vec<_> = self.by_account.iter().collect();
        all.sort_by_key(|(_, classes)| Reverse(total(classes)));
        for (account, classes) in all.iter().take(NAMED) {
            let name = self.accounts.get(account).map(|info| info.name.as_str());
            let name = name.filter(|name| !name.is_empty()).map(|name| format!("{name}, "));
            let rows: Vec<String> =
                classes.iter().map(|(class, rows)| format!("{rows} {class}")).collect();
            let (name, rows) = (name.unwrap_or_default(), rows.join(", "));
            line(out, format_args!("  account {name}{account}: {rows}"));
        }
        if all.len() > NAMED {
            line(out, format_args!("  and {} more accounts", all.len() - NAMED));
        }
    }

    /// What failed and what was not recognized, by name, and why the load stopped.
    pub fn problems(&self) -> String {
        let mut out = String::new();
        if let Some(why) = &self.stopped {
            line(&mut out, format_args!("stopped: {why}"));
        }
        for (why, objects) in self.beside.iter().take(NAMED) {
            line(
                &mut out,
                format_args!(
                    "warning: {why}, so its files stay as they are; {objects} of its objects were \
                     loaded beside them, and the lake may have their events twice"
                ),
            );
        }
        let pending = self.index.map_or(0, |index| index.pending);
        if let Some(why) = self.index_error.as_ref().filter(|_| pending > 0) {
            line(&mut out, format_args!("not indexed: {pending} documents: {why}"));
        }
        if !self.unnamed_accounts.is_empty() {
            let all = &self.unnamed_accounts;
            let first: Vec<&str> = all.iter().take(NAMED).map(String::as_str).collect();
            let more = if all.len() > NAMED { ", and more" } else { "" };
            let (count, first) = (all.len(), first.join(", "));
            line(
                &mut out,
                format_args!("{count} accounts have no name in the accounts file: {first}{more}"),
            );
        }
        for (title, named) in [("failed", &self.failures), ("not recognized", &self.unrecognized)] {
            for (name, why) in &named.names {
                line(&mut out, format_args!("{title}: {name}: {why}"));
            }
            let more = named.count - named.names.len() as u64;
            if more > 0 {
                line(&mut out, format_args!("{title}: and {more} more, see the ledger"));
            }
        }
        out
    }

    fn describe(&self, counts: &RecordCounts) -> String {
        let place = if self.staged { "staged" } else { "in the lake" };
        let mut text = format!("{} in, {} {place}", counts.records_in, counts.parquet);
        let others = [
            (counts.duplicate, "duplicate"),
            (counts.rejected, "rejected"),
            (counts.excluded, "excluded by the filter"),
        ];
        for (count, what) in others.iter().filter(|(count, _)| *count > 0) {
            // Writing to a String cannot fail.
            let _ = write!(text, ", {count} {what}");
        }
        text
    }

    fn verdict(&self) -> String {
        let mut lost = Vec::new();
        if self.stopped.is_some() {
            lost.push("the load stopped before its end: run it again".to_owned());
        }
        if self.objects.failed > 0 {
            lost.push(format!("objects not read to their end: {}", self.objects.failed));
        }
        if self.records.rejected > 0 {
            lost.push(format!("records in the rejects: {}", self.records.rejected));
        }
        let IndexCounts { rejected, pending, .. } = self.index.unwrap_or_default();
        if lost.is_empty() && rejected + pending > 0 {
            let mut text = "everything is in the lake, but not in the index".to_owned();
            if pending > 0 {
                // Writing to a String cannot fail.
                let _ = write!(
                    text,
                    "; documents to be sent again: {pending}, with `trailhound load --only \
                     opensearch`, or when these paths are loaded again"
                );
            }
            if rejected > 0 {
                // Writing to a String cannot fail.
                let _ = write!(text, "; documents that the server refuses: {rejected}");
            }
            return text;
        }
        if !lost.is_empty() {
            return format!("not everything is in the lake: {}", lost.join("; "));
        }
        let ObjectTotals { loaded, skipped, unrecognized, excluded, .. } = self.objects;
        let mut text = match (loaded, skipped) {
            (0, 0) if unrecognized + excluded + self.left_out == 0 => {
                "there is nothing below these paths".to_owned()
            }
            (0, 0) => "nothing was loaded".to_owned(),
            (0, _) => "nothing new: everything is in the lake already".to_owned(),
            _ => "all records are accounted for, none was lost".to_owned(),
        };
        if self.beside.iter().any(|(_, objects)| *objects > 0) {
            text += "; the lake may have events twice, see the warnings";
        }
        if unrecognized > 0 {
            // Writing to a String cannot fail.
            let _ = write!(text, "; objects that no source knows, not read: {unrecognized}");
        }
        if self.rejected_before > 0 {
            let count = self.rejected_before;
            // Writing to a String cannot fail.
            let _ = write!(text, "; earlier loads left {count} records in the rejects");
        }
        let mut unsent = Vec::new();
        if self.not_indexed_before > 0 {
            unsent.push(format!("{} objects", self.not_indexed_before));
        }
        if self.refused_before > 0 {
            unsent.push(format!("{} documents that it refused", self.refused_before));
        }
        if !unsent.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "; of what was loaded before, this index lacks {}: send it with `trailhound load \
                 --only opensearch`",
                unsent.join(" and ")
            );
        }
        text
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}
