//! What was loaded, and what it became.
//!
//! # Input
//! The outcome of each object of a batch.
//! # Maps to
//! `ledger/v1/day=<day of delivery>/<batch>.ndjson`, one line an object.
//! # Known gaps
//! The days that a load touches are read whole; about 150 bytes an object stay in memory.
//! # Reference
//! Design sections 5 (invariant 2) and 6. The format only grows.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use parsers::Filter;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::{
    publish::{lost::Kept, manifest::HistoryError},
    sink::opensearch::{Index, IndexCounts},
    store::{Folder, ObjectRef, StoreError, location},
};

mod indexed;

pub use indexed::{Indexed, IndexedLater};

/// Entries kept in memory before days are read again.
const MAX_CACHED: usize = 200_000;

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Read to its end.
    Loaded,
    /// Read up to an error, or not at all.
    Failed,
    /// No source knows it.
    Unrecognized,
    /// It holds no events.
    Excluded,
}

/// What became of records. `in` is the sum of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordCounts {
    /// Records read.
    #[serde(rename = "in")]
    pub records_in: u64,
    /// Rows in the lake.
    pub parquet: u64,
    /// Repetitions of an event of the same batch and partition.
    pub duplicate: u64,
    /// Records in the rejects.
    pub rejected: u64,
    /// Records outside of the filter.
    pub excluded: u64,
}

impl std::ops::AddAssign for RecordCounts {
    fn add_assign(&mut self, other: Self) {
        self.records_in += other.records_in;
        self.parquet += other.parquet;
        self.duplicate += other.duplicate;
        self.rejected += other.rejected;
        self.excluded += other.excluded;
    }
}

/// Why an object was not read to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// For people.
    pub what: String,
    /// True if the same bytes would fail again.
    pub permanent: bool,
}

/// The filter that a load had; what is absent did not filter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoadFilter {
    /// Earliest time, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// First time that is too late, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// Wanted accounts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<String>,
    /// Wanted regions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<String>,
}

impl From<&Filter> for LoadFilter {
    fn from(filter: &Filter) -> Self {
        Self {
            since: Some(filter.since).filter(|&ms| ms != i64::MIN),
            until: Some(filter.until).filter(|&ms| ms != i64::MAX),
            accounts: filter.accounts.clone(),
            regions: filter.regions.clone(),
        }
    }
}

impl From<LoadFilter> for Filter {
    fn from(filter: LoadFilter) -> Self {
        Self {
            since: filter.since.unwrap_or(i64::MIN),
            until: filter.until.unwrap_or(i64::MAX),
            accounts: filter.accounts,
            regions: filter.regions,
        }
    }
}

/// A line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Version of the format.
    pub v: u32,
    /// The batch that the object was loaded in.
    pub batch: String,
    /// The load root.
    pub bucket: String,
    /// The object's key below it.
    pub key: String,
    /// Changes when the content does.
    pub etag: String,
    /// Size in bytes.
    pub size: u64,
    /// The version that was read, if an event named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Name of its source, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The source was told by its content: it is told again when the object is read again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_content: bool,
    /// What became of it.
    pub state: State,
    /// What became of its records.
    pub records: RecordCounts,
    /// What became of its rows in the index, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<IndexCounts>,
    /// Which index that is: the cluster, and the rules that chose, see [`Index::id`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index_id: Option<String>,
    /// What was asked for: what one of these admits.
    pub filters: Vec<LoadFilter>,
    /// How often it was loaded beside a batch that could not be replaced.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub generation: u32,
    /// Its records are those that were in the rejects of these batches, the latest first; its other
    /// records are as the last line without this says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from_rejects: Vec<String>,
    /// Its rows are in staged files, which cannot be replaced: a later load goes beside them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub staged: bool,
    /// Files that hold rows of it: of the lake, or of the state folder if they are staged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// Why it failed or was not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// Program and version that wrote the line.
    pub writer: String,
}

impl Entry {
    /// The object that the line is about.
    pub fn object(&self) -> ObjectRef {
        ObjectRef {
            bucket: Arc::from(self.bucket.as_str()),
            key: self.key.clone(),
            size: self.size,
            etag: self.etag.clone(),
            version: self.version.clone(),
        }
    }

    /// Its rows, repetitions included.
    pub fn rows(&self) -> u64 {
        self.records.parquet + self.records.duplicate
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What the ledger knows of an object, as far as another load needs it.
#[derive(Clone, Debug)]
pub struct Known {
    etag: u64,
    size: u64,
    /// The batch that it was loaded in.
    pub batch: Arc<str>,
    /// What was asked for.
    pub filters: Arc<[Filter]>,
    /// What became of it.
    pub state: State,
    /// A source has read it.
    pub was_read: bool,
    /// Records of it that are in the rejects.
    pub rejected: u64,
    /// Why it failed or was not read.
    pub error: Option<Box<Failure>>,
    /// Its rows, repetitions included.
    rows: u64,
    /// What is known of them in the index, if there is one.
    pub index: Indexed,
    /// Its rows are in staged files.
    pub staged: bool,
    /// A staged file with rows of it is gone, and was not published.
    pub lost: bool,
    /// See [`Entry::generation`].
    pub generation: u32,
    /// See [`Entry::from_rejects`].
    pub from_rejects: Vec<String>,
    /// What another batch has of the same place.
    other: Option<Box<Known>>,
}

impl Known {
    /// True if everything was asked for that this filter admits.
    pub fn covers(&self, filter: &Filter) -> bool {
        self.filters.iter().any(|known| known.covers(filter))
    }

    fn has_rows(&self) -> bool {
        matches!(self.state, State::Loaded | State::Failed)
    }

    /// True if the object has not changed since.
    pub fn is_of(&self, object: &ObjectRef) -> bool {
        self.etag == xxh3_64(object.etag.as_bytes()) && self.size == object.size
    }
}

/// The ledger cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Its files cannot be read.
    #[error("cannot read the ledger: {0}")]
    Store(#[from] StoreError),
    /// Manifests cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// What a file holds is not a ledger.
    #[error(
        "cannot read the ledger {path}: line {line} is damaged, or of a newer version of \
         trailhound: {source}"
    )]
    Line {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
}

/// Reads the ledger, a day at a time.
pub struct Ledger {
    state: Folder,
    /// What is known of objects by the hash of their path, for each day.
    days: HashMap<String, HashMap<u128, Known>>,
    cached: usize,
    /// Which staged files are there, if that is looked at.
    pub staged: Option<Kept>,
    /// The index that rows are in, or are to be.
    pub index: Option<Arc<Index>>,
    /// Batches are looked up whose names come after this one.
    pub after: Option<String>,
}

impl Ledger {
    /// The ledger in a state folder.
    pub fn new(state: Folder) -> Self {
        Self { state, days: HashMap::new(), cached: 0, staged: None, index: None, after: None }
    }

    /// The same, and what it has staged must still be there or published.
    pub fn checked(state: Folder) -> Self {
        Self { staged: Some(Kept::default()), ..Self::new(state) }
    }

    /// The same, and what is in this index is looked up.
    #[must_use]
    pub fn with_index(self, index: Option<Arc<Index>>) -> Self {
        Self { index, ..self }
    }

    /// The file of a batch's day, below the state folder.
    pub fn path(day: &str, batch: &str) -> String {
        format!("{}/{batch}.ndjson", Self::folder(day))
    }

    /// The folder of a day, below the state folder.
    pub fn folder(day: &str) -> String {
        format!("{FOLDER}/day={day}")
    }

    /// The days that the ledger has, in order.
    pub async fn all_days(&self) -> Result<Vec<String>, LedgerError> {
        let names = self.state.folders(FOLDER).await?;
        Ok(names.iter().filter_map(|name| name.strip_prefix("day=")).map(str::to_owned).collect())
    }

    /// What is known of the object at this place. Of several batches that whose rows are not lost,
    /// which has its content as it is now, has rows of it, is the newest, and had a filter that covers this one.
    pub async fn find(
        &mut self,
        day: &str,
        object: &ObjectRef,
        filter: &Filter,
    ) -> Result<Option<&Known>, LedgerError> {
        if !self.days.contains_key(day) {
            if self.cached > MAX_CACHED {
                self.forget();
            }
            let mut known = HashMap::new();
            let batches = self.day(day, self.after.as_deref()).await?;
            let state = &self.state;
            if let Some(kept) = &mut self.staged
                && batches.iter().flatten().any(|entry| kept.lost(entry).next().is_some())
            {
                kept.refresh(state).await?;
            }
            let id = self.index.as_ref().and_then(|index| index.id());
            for entries in batches {
                learn(entries, self.staged.as_ref(), id.as_deref(), &mut known);
            }
            if self.index.is_some() {
                self.learn_indexed(day, id.as_deref(), &mut known).await?;
            }
            self.cached += known.len();
            self.days.insert(day.to_owned(), known);
        }
        let first = self.days[day].get(&xxh3_128(object.location().as_bytes()));
        let all = std::iter::successors(first, |known| known.other.as_deref());
        let worth = |known: &&Known| {
            let covers = known.covers(filter);
            (!known.lost, known.is_of(object), known.has_rows(), covers, known.generation)
        };
        Ok(all.max_by_key(worth))
    }

    /// Learns what was indexed later than it was loaded.
    async fn learn_indexed(
        &self,
        day: &str,
        id: Option<&str>,
        known: &mut HashMap<u128, Known>,
    ) -> Result<(), LedgerError> {
        for later in self.indexed_later(day).await? {
            let place = xxh3_128(location(&later.bucket, &later.key).as_bytes());
            let mut next = known.get_mut(&place);
            while let Some(one) = next {
                if *one.batch == *later.batch
                    && (one.etag, one.size) == (xxh3_64(later.etag.as_bytes()), later.size)
                {
                    one.index.add(&later, one.rows, id);
                }
                next = one.other.as_deref_mut();
            }
        }
        Ok(())
    }

    /// What was indexed later than it was loaded, of a day.
    pub async fn indexed_later(&self, day: &str) -> Result<Vec<IndexedLater>, LedgerError> {
        let found = self.state.list(&IndexedLater::folder(day), None).await?;
        let paths = found.into_iter().map(|found| found.path).collect();
        let files = self.state.read_all(paths).await?;
        let parsed = files.iter().map(|(path, text)| self.parse(path, text));
        Ok(parsed.collect::<Result<Vec<Vec<_>>, _>>()?.into_iter().flatten().collect())
    }

    /// The entries of a day, batch by batch; of batches whose names come after `after`, if it is
    /// given.
    pub async fn day(
        &self,
        day: &str,
        after: Option<&str>,
    ) -> Result<Vec<Vec<Entry>>, LedgerError> {
        let after = after.map(|after| Self::path(day, after));
        let found = self.state.list(&Self::folder(day), after.as_deref()).await?;
        let paths = found.into_iter().map(|found| found.path).collect();
        let files = self.state.read_all(paths).await?;
        files.iter().map(|(path, text)| self.parse(path, text)).collect()
    }

    /// Forgets what was read, because batches were committed since.
    pub fn forget(&mut self) {
        self.days.clear();
        self.cached = 0;
    }

    /// Every entry of a batch, by day.
    pub async fn batch(&self, batch: &str) -> Result<BTreeMap<String, Vec<Entry>>, LedgerError> {
        let days = self.all_days().await?;
        let paths = days.iter().map(|day| Self::path(day, batch)).collect();
        let mut entries = BTreeMap::new();
        for (path, text) in self.state.read_all(paths).await? {
            let Some(day) = days.iter().find(|day| path == Self::path(day, batch)) else {
                continue;
            };
            entries.insert(day.clone(), self.parse(&path, &text)?);
        }
        Ok(entries)
    }

    /// The lines of a file.
    pub(crate) fn parse<L: DeserializeOwned>(
        &self,
        path: &str,
        text: &Bytes,
    ) -> Result<Vec<L>, LedgerError> {
        let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let entry = |(line, text)| {
            serde_json::from_slice(text).map_err(|source| LedgerError::Line {
                path: self.state.name(path),
                line,
                source,
            })
        };
        (1..).zip(lines).map(entry).collect()
    }
}

const FOLDER: &str = "ledger/v1";

/// Adds the entries of one file, all of one batch.
fn learn(
    entries: Vec<Entry>,
    kept: Option<&Kept>,
    index: Option<&str>,
    known: &mut HashMap<u128, Known>,
) {
    let Some(first) = entries.first() else { return };
    let batch: Arc<str> = first.batch.as_str().into();
    let filters: Arc<[Filter]> = first.filters.iter().cloned().map(Into::into).collect();
    for entry in entries {
        let lost = kept.is_some_and(|kept| kept.lost(&entry).next().is_some());
        let place = xxh3_128(location(&entry.bucket, &entry.key).as_bytes());
        let other = known.remove(&place).map(Box::new);
        known.insert(
            place,
            Known {
                etag: xxh3_64(entry.etag.as_bytes()),
                size: entry.size,
                batch: Arc::clone(&batch),
                filters: Arc::clone(&filters),
                state: entry.state,
                was_read: entry.source.is_some(),
                rejected: entry.records.rejected,
                rows: entry.rows(),
                index: Indexed::of(&entry, index),
                error: entry.error.map(Box::new),
                staged: entry.staged,
                lost,
                generation: entry.generation,
                from_rejects: entry.from_rejects,
                other,
            },
        );
    }
}
