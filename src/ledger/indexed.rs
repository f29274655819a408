//! What the ledger says of an object's rows in an index.
//!
//! # Input
//! Lines of the ledger, and those of what was indexed later.
//! # Maps to
//! `indexed/v1/day=<day of delivery>/<batch>.ndjson`, one line an object; an [`Indexed`] for each.
//! # Known gaps
//! Somebody may have deleted an index since.
//! # Reference
//! [`Index::id`](crate::sink::opensearch::Index::id).

use serde::{Deserialize, Serialize};

use super::Entry;
use crate::{
    sink::{lines::DayLines, opensearch::IndexCounts},
    store::{Folder, ObjectRef, StoreError},
};

/// A line that says that rows of an object were indexed later than they were loaded. The ledger's own
/// line stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexedLater {
    /// Version of the format.
    pub v: u32,
    /// The batch that the object was loaded in.
    #[serde(default)]
    pub batch: String,
    /// The load root.
    pub bucket: String,
    /// The object's key below it.
    pub key: String,
    /// See [`Entry::etag`].
    pub etag: String,
    /// Size in bytes.
    pub size: u64,
    /// What became of its rows.
    pub index: IndexCounts,
    /// See [`Entry::index_id`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index_id: Option<String>,
}

impl IndexedLater {
    /// A line about an object.
    pub fn new(batch: &str, object: &ObjectRef, index: IndexCounts, id: Option<&str>) -> Self {
        let ObjectRef { bucket, key, size, etag, .. } = object.clone();
        let (batch, bucket) = (batch.to_owned(), bucket.to_string());
        Self { v: 1, batch, bucket, key, etag, size, index, index_id: id.map(str::to_owned) }
    }

    /// Writes what was indexed by a batch, with the day of each, into a state folder.
    pub async fn write(
        state: &Folder,
        batch: &str,
        all: impl Iterator<Item = (String, Self)>,
    ) -> Result<(), StoreError> {
        let mut lines = DayLines::default();
        all.for_each(|(day, line)| lines.add(&day, &line));
        for (day, text) in lines.into_texts() {
            state.write(&format!("{}/{batch}.ndjson", Self::folder(&day)), text.into()).await?;
        }
        Ok(())
    }

    /// The folder of a day, below the state folder.
    pub fn folder(day: &str) -> String {
        format!("indexed/v1/day={day}")
    }
}

/// What the ledger says of an object's rows in an index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Indexed {
    /// Rows are to be sent yet.
    pub pending: bool,
    /// It was loaded without an index, into another cluster, or by other rules.
    pub missing: bool,
    /// Documents of it that the server refused.
    pub refused: u64,
}

impl Indexed {
    /// What its line in the ledger says of an index of this id; if the id is not known, of any index.
    pub fn of(entry: &Entry, id: Option<&str>) -> Self {
        let is_this = id.is_none_or(|id| entry.index_id.as_deref() == Some(id));
        let counts = entry.index.unwrap_or_default();
        let pending = counts.pending > 0;
        Self {
            pending,
            missing: !pending && entry.rows() > 0 && !(entry.index.is_some() && is_this),
            refused: if is_this { counts.rejected } else { 0 },
        }
    }

    /// Adds what a later line of its batch says, if that is about all of its rows: what a redrive has
    /// added to an object since is not.
    pub fn add(&mut self, line: &IndexedLater, rows: u64, id: Option<&str>) {
        let is_this = id.is_none_or(|id| line.index_id.as_deref() == Some(id));
        if !is_this {
            return;
        }
        if line.index.pending > 0 {
            // It was sent again by force, and that has not come to its end.
            self.pending = true;
        } else if line.index.total() >= rows {
            *self = Self { pending: false, missing: false, refused: line.index.rejected };
        }
    }

    /// True if nothing is to be sent.
    pub fn is_done(self) -> bool {
        self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(index: Option<IndexCounts>, id: Option<&str>) -> Entry {
        serde_json::from_value(json!({
            "v": 1, "batch": "b", "bucket": "/a", "key": "k", "etag": "e", "size": 1,
            "state": "loaded", "filters": [], "writer": "",
            "records": { "in": 5, "parquet": 4, "duplicate": 1, "rejected": 0, "excluded": 0 },
            "index": index, "index_id": id,
        }))
        .unwrap()
    }

    fn counts(indexed: u64, rejected: u64, pending: u64) -> IndexCounts {
        IndexCounts { indexed, rejected, pending, ..IndexCounts::default() }
    }

    #[test]
    fn what_was_indexed_says_nothing_of_another_cluster_or_other_rules() {
        let done = entry(Some(counts(5, 0, 0)), Some("one everything"));
        assert!(Indexed::of(&done, Some("one everything")).is_done());
        assert!(Indexed::of(&done, None).is_done(), "it is not known which cluster this is");
        for other in ["two everything", "one rules-1"] {
            assert!(Indexed::of(&done, Some(other)).missing);
        }
        assert!(Indexed::of(&entry(None, None), Some("one everything")).missing);
        let refused = entry(Some(counts(3, 2, 0)), Some("one everything"));
        assert_eq!(Indexed::of(&refused, Some("one everything")).refused, 2);
    }

    #[test]
    fn a_later_line_counts_for_the_rows_that_it_is_about() {
        let entry = entry(Some(counts(3, 0, 2)), None);
        let after = |index: IndexCounts, id: &str, rows: u64| {
            let line = IndexedLater::new("b", &entry.object(), index, Some(id));
            let mut indexed = Indexed::of(&entry, Some("one everything"));
            indexed.add(&line, rows, Some("one everything"));
            indexed
        };
        assert!(after(counts(5, 0, 0), "one everything", 5).is_done());
        assert!(after(counts(5, 0, 0), "two everything", 5).pending);
        assert!(after(counts(5, 0, 0), "one everything", 6).pending, "a redrive has added one");
        assert_eq!(after(counts(4, 1, 0), "one everything", 5).refused, 1);
    }

    #[test]
    fn what_is_sent_again_by_force_is_pending_until_that_is_done() {
        let entry = entry(Some(counts(5, 0, 0)), Some("one everything"));
        let mut indexed = Indexed::of(&entry, Some("one everything"));
        let mut add = |index| {
            let line = IndexedLater::new("b", &entry.object(), index, Some("one everything"));
            indexed.add(&line, 5, Some("one everything"));
            indexed
        };
        assert!(add(counts(0, 0, 5)).pending);
        assert!(add(counts(5, 0, 0)).is_done());
    }
}
