//! What messages are, and what became of them.
//!
//! # Input
//! Messages of a queue; outcomes of objects.
//! # Maps to
//! [`Done`], for metrics and for the answer to the queue; a line in the log for each object.
//! # Known gaps
//! None.
//! # Reference
//! `metrics.rs` for what becomes of the figures.

use std::collections::BTreeMap;

use crate::{batch::ObjectOutcome, ledger::RecordCounts, sink::opensearch::IndexCounts};

/// A message of a queue.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// What it says.
    pub body: String,
    /// How often it has been received, this time included.
    pub receive_count: u32,
    /// When it was received first, in milliseconds.
    pub first_received: Option<i64>,
}

/// Why a message failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// Nothing can be done with its body.
    Body,
    /// There was no time for it.
    NotStarted,
    /// It may work when it comes again.
    Transient,
    /// Its object cannot be read to its end, and never will.
    Permanent,
    /// Its object may not be read, or is gone.
    Unreadable,
}

impl Failure {
    /// As metrics name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::NotStarted => "not_started",
            Self::Transient => "transient",
            Self::Permanent => "permanent",
            Self::Unreadable => "unreadable",
        }
    }
}

/// What became of messages.
#[derive(Debug, Default)]
pub struct Done {
    /// Ids of the messages that failed, the kind, and why.
    pub failed: Vec<(String, Failure, String)>,
    /// Messages.
    pub messages: u64,
    /// Objects by what became of them: `loaded`, `failed`, `unrecognized`, `excluded`, `known`.
    pub objects: BTreeMap<&'static str, u64>,
    /// Events that were no creations.
    pub ignored: u64,
    /// What became of records.
    pub records: RecordCounts,
    /// What became of rows in the index, if there is one.
    pub index: Option<IndexCounts>,
    /// Records read, by source.
    pub by_source: BTreeMap<&'static str, u64>,
    /// Bytes of objects that were read.
    pub bytes: u64,
    /// How long the batch took, in seconds.
    pub seconds: f64,
    /// From the oldest event until it was done, in seconds.
    pub freshness: Option<f64>,
}

impl Done {
    /// Failed messages by kind and cause: how many, and the id of the first. A cluster that is away
    /// fails every message, which is one thing to tell.
    pub fn causes(&self) -> BTreeMap<(Failure, &str), (u64, &str)> {
        let mut causes = BTreeMap::new();
        for (id, kind, why) in &self.failed {
            causes.entry((*kind, why.as_str())).or_insert((0, id.as_str())).0 += 1;
        }
        causes
    }

    /// Failed messages by kind.
    pub fn failures(&self) -> BTreeMap<&'static str, u64> {
        let mut kinds = BTreeMap::new();
        for (_, kind, _) in &self.failed {
            *kinds.entry(kind.name()).or_default() += 1;
        }
        kinds
    }
}

/// One line an object.
pub(super) fn log(object: &ObjectOutcome) {
    let RecordCounts { records_in, parquet, duplicate, rejected, excluded } = object.records;
    let (object_location, source, bytes) = (&object.location, object.source, object.read_bytes);
    let pending = object.index.map(|index| index.pending);
    match &object.error {
        None => tracing::info!(
            object = object_location,
            source,
            bytes,
            records_in,
            parquet,
            duplicate,
            rejected,
            excluded,
            pending,
            "loaded"
        ),
        Some((state, error)) => tracing::warn!(
            object = object_location,
            source, bytes, records_in, parquet, duplicate, rejected, excluded, pending,
            state = ?state, error = error.what, "not loaded"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cause_is_told_once_however_many_messages_it_fails() {
        let failed = [("a", "away"), ("b", "gone"), ("c", "away")]
            .map(|(id, why)| (id.to_owned(), Failure::Transient, why.to_owned()));
        let done = Done { failed: failed.into(), ..Done::default() };
        let causes: Vec<_> = done.causes().into_values().collect();
        assert_eq!(causes, [(2, "a"), (1, "b")]);
    }
}
