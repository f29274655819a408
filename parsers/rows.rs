//! Rows under construction: what a decoder fills and a sink takes away in chunks.
//!
//! # Input
//! Events of any class, rejected records, counted per object.
//! # Maps to
//! A [`Chunk`]: one table of columns per class, the keys of the rows, rejects and counts.
//! # Known gaps
//! The size of a chunk is bounded by its input bytes, not by the bytes of its columns.
//! # Reference
//! `records = pushed + rejected + excluded`, for every object.

use std::{collections::HashMap, sync::Arc};

use crate::{
    documents::{Documents, Indexing},
    ocsf::{Event, Key, Partition, Record, Table, Tables, json::Form},
    time::DAY_MS,
};

/// Raw bytes of a reject longer than this are given by position and length only.
const MAX_REJECT_BYTES: usize = 1 << 20;

/// When a chunk is full.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rows and rejects.
    pub rows: usize,
    /// Bytes of raw records.
    pub input_bytes: usize,
    /// Bytes of documents.
    pub document_bytes: usize,
}

/// Which events are wanted; the rest is counted as excluded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Earliest time, in milliseconds.
    pub since: i64,
    /// First time that is too late, in milliseconds.
    pub until: i64,
    /// Wanted `cloud.account.uid`s; empty: all.
    pub accounts: Vec<String>,
    /// Wanted `cloud.region`s; empty: all.
    pub regions: Vec<String>,
}

impl Default for Filter {
    fn default() -> Self {
        Self { since: i64::MIN, until: i64::MAX, accounts: Vec::new(), regions: Vec::new() }
    }
}

impl Filter {
    pub(crate) fn admits<'a>(&self, event: &impl Event<'a>) -> bool {
        let listed =
            |list: &[String], value: &str| list.is_empty() || list.iter().any(|one| one == value);
        (self.since..self.until).contains(&event.time())
            && listed(&self.accounts, event.account())
            && listed(&self.regions, event.region())
    }

    /// True if this filter admits everything that `other` admits.
    pub fn covers(&self, other: &Self) -> bool {
        let wider = |list: &[String], narrow: &[String]| {
            list.is_empty() || (!narrow.is_empty() && narrow.iter().all(|one| list.contains(one)))
        };
        self.since <= other.since
            && self.until >= other.until
            && wider(&self.accounts, &other.accounts)
            && wider(&self.regions, &other.regions)
    }

    /// Adds a filter to others of which one must admit an event.
    pub fn add_to(self, others: &mut Vec<Self>) {
        if !others.iter().any(|other| other.covers(&self)) {
            others.retain(|other| !self.covers(other));
            others.push(self);
        }
    }
}

/// What became of the records of one object in one chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObjectCounts {
    /// The object's number in the batch.
    pub object: u32,
    /// Records read.
    pub records: u64,
    /// Records that could not be mapped.
    pub rejected: u64,
    /// Records outside of the filter.
    pub excluded: u64,
    /// Rows that are not to be indexed.
    pub unindexed: u64,
}

/// A record that could not be mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The object's number in the batch.
    pub object: u32,
    /// The record's number in the object, from 0.
    pub record: u64,
    /// Its byte position in the decompressed object.
    pub byte: u64,
    /// Its length in bytes.
    pub len: u64,
    /// Why, in the words of mapping 1.8.
    pub reason: &'static str,
    /// Its bytes, unless there are more than 1 MiB.
    pub raw: Option<Vec<u8>>,
    /// For flow logs the header line.
    pub header: Option<Arc<str>>,
}

/// Rows, rejects and counts, ready for the sinks.
pub struct Chunk {
    /// One table for each class that has rows.
    pub tables: Vec<Box<dyn Table>>,
    /// The partitions that [`Key::partition`] refers to.
    pub partitions: Vec<Partition>,
    /// Records that could not be mapped.
    pub rejects: Vec<Reject>,
    /// Counts per object.
    pub counts: Vec<ObjectCounts>,
    /// What is to be indexed of the rows.
    pub documents: Arc<Documents>,
}

/// Rows under construction.
pub struct Rows {
    limits: Limits,
    filters: Arc<[Filter]>,
    json: Option<Vec<u8>>,
    indexing: Option<Arc<Indexing>>,
    documents: Documents,
    tables: Tables,
    partitions: Vec<Partition>,
    partition_numbers: HashMap<Partition, u32>,
    last_partition: u32,
    rejects: Vec<Reject>,
    counts: Vec<ObjectCounts>,
    items: usize,
    input_bytes: usize,
    record_bytes: u32,
    open_record: bool,
}

impl Rows {
    /// Empty rows. An event is wanted if one of the filters admits it.
    pub fn new(limits: Limits, filters: Arc<[Filter]>) -> Self {
        Self {
            limits,
            filters,
            json: None,
            indexing: None,
            documents: Documents::default(),
            tables: Tables::default(),
            partitions: Vec::new(),
            partition_numbers: HashMap::new(),
            last_partition: 0,
            rejects: Vec::new(),
            counts: Vec::new(),
            items: 0,
            input_bytes: 0,
            record_bytes: 0,
            open_record: false,
        }
    }

    /// Also writes every event as a line of JSON, see [`Rows::take_json`].
    #[must_use]
    pub fn with_json(mut self) -> Self {
        self.json = Some(Vec::new());
        self
    }

    /// Also makes documents of the rows.
    #[must_use]
    pub fn with_documents(mut self, indexing: Arc<Indexing>) -> Self {
        self.indexing = Some(indexing);
        self
    }

    /// What follows is of this object.
    pub fn begin_object(&mut self, object: u32) {
        self.open_record = false;
        self.counts.push(ObjectCounts { object, ..ObjectCounts::default() });
    }

    /// A record of `len` bytes has been read; it is pushed or rejected next.
    pub fn begin_record(&mut self, len: usize) {
        self.input_bytes += len;
        self.record_bytes = u32::try_from(len).unwrap_or(u32::MAX);
        self.open_record = true;
        self.current().records += 1;
    }

    /// Forgets a record that was begun and neither pushed nor rejected, as after a panic. A row that
    /// was pushed in part is taken back.
    pub fn abandon_record(&mut self) {
        if std::mem::take(&mut self.open_record) {
            self.current().records -= 1;
            self.tables.drop_unfinished();
        }
    }

    /// Keeps the event of the current record, unless the filter excludes it.
    pub fn push<'a, E: Event<'a>>(&mut self, event: &E) {
        if !self.filters.iter().any(|filter| filter.admits(event)) {
            self.open_record = false;
            self.current().excluded += 1;
            return;
        }
        let mut prefix = [0; 16];
        let uid = event.uid().as_bytes();
        let len = uid.len().min(16);
        prefix[..len].copy_from_slice(&uid[..len]);
        let key = Key {
            time: event.time(),
            uid_prefix: u128::from_be_bytes(prefix),
            partition: self.partition(event),
            object: self.current().object,
            record_bytes: self.record_bytes,
        };
        let indexing = self.indexing.as_deref();
        let is_indexed = indexing.is_some_and(|indexing| indexing.admits(event));
        if let Some(indexing) = indexing.filter(|_| is_indexed) {
            self.documents.write(indexing, event);
        }
        let is_unindexed = indexing.is_some() && !is_indexed;
        E::Columns::slot(&mut self.tables).push(event.row(), key);
        // From here on nothing can panic: the row and its document are there, or neither is.
        self.open_record = false;
        self.items += 1;
        self.current().unindexed += u64::from(is_unindexed);
        if is_indexed {
            self.documents.keep(key.object);
        }
        if let Some(json) = &mut self.json {
            event.write_json(Form::Event, json);
            json.push(b'\n');
        }
    }

    /// Keeps the current record as a reject. `raw` is None if it was too long to be read.
    pub fn reject(&mut self, reason: &'static str, place: Place<'_>) {
        self.open_record = false;
        self.current().rejected += 1;
        self.items += 1;
        let raw = place.raw.filter(|raw| raw.len() <= MAX_REJECT_BYTES);
        let object = self.current().object;
        self.rejects.push(Reject {
            object,
            record: place.record,
            byte: place.byte,
            len: place.len,
            reason,
            raw: raw.map(<[u8]>::to_vec),
            header: place.header.map(Arc::clone),
        });
    }

    /// What became of the records since the object began or a chunk was taken.
    pub fn object_counts(&self) -> ObjectCounts {
        self.counts.last().copied().unwrap_or_default()
    }

    /// True if a chunk should be taken before more records are decoded.
    pub fn is_full(&self) -> bool {
        self.items >= self.limits.rows
            || self.input_bytes >= self.limits.input_bytes
            || self.documents.text().len() >= self.limits.document_bytes
    }

    /// Everything so far; None if there is nothing. The current object goes on.
    pub fn take(&mut self) -> Option<Chunk> {
        if self.counts.is_empty() {
            return None;
        }
        let object = self.counts.last().map(|counts| counts.object);
        self.items = 0;
        self.input_bytes = 0;
        self.last_partition = 0;
        self.partition_numbers.clear();
        let chunk = Chunk {
            tables: std::mem::take(&mut self.tables).into_filled(),
            partitions: std::mem::take(&mut self.partitions),
            rejects: std::mem::take(&mut self.rejects),
            counts: std::mem::take(&mut self.counts),
            documents: Arc::new(std::mem::take(&mut self.documents)),
        };
        self.counts.extend(object.map(|object| ObjectCounts { object, ..Default::default() }));
        Some(chunk).filter(|chunk| {
            !chunk.tables.is_empty()
                || !chunk.rejects.is_empty()
                || chunk.counts.iter().any(|counts| counts.records > 0)
        })
    }

    /// The lines of JSON so far; empty without [`Rows::with_json`].
    pub fn take_json(&mut self) -> Vec<u8> {
        self.json.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn current(&mut self) -> &mut ObjectCounts {
        if self.counts.is_empty() {
            self.counts.push(ObjectCounts::default());
        }
        self.counts.last_mut().expect("there is one")
    }

    fn partition<'a>(&mut self, event: &impl Event<'a>) -> u32 {
        let day = event.time().div_euclid(DAY_MS) as i32;
        if let Some(last) = self.partitions.get(self.last_partition as usize)
            && last.day == day
            && last.region == event.region()
            && last.account == event.account()
        {
            return self.last_partition;
        }
        let partition =
            Partition { region: event.region().into(), account: event.account().into(), day };
        let next = self.partitions.len() as u32;
        self.last_partition = *self.partition_numbers.entry(partition.clone()).or_insert(next);
        if self.last_partition == next {
            self.partitions.push(partition);
        }
        self.last_partition
    }
}

/// Where a rejected record lies.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Number in the object, from 0.
    pub record: u64,
    /// Byte position in the decompressed object.
    pub byte: u64,
    /// Length in bytes.
    pub len: u64,
    /// Its bytes; None if they were not kept.
    pub raw: Option<&'a [u8]>,
    /// For flow logs the header line.
    pub header: Option<&'a Arc<str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_covers_what_is_narrower() {
        let all = Filter::default();
        let day = Filter { since: 0, until: 86_400_000, ..Filter::default() };
        let account = Filter { accounts: vec!["1".into()], ..day.clone() };
        assert!(all.covers(&day) && day.covers(&account) && account.covers(&account));
        assert!(!day.covers(&all) && !account.covers(&day));
        let later = Filter { since: 100_000_000, ..Filter::default() };
        let mut both = Vec::new();
        for filter in [account.clone(), later.clone(), day.clone(), account] {
            filter.add_to(&mut both);
        }
        assert_eq!(both, [later, day], "what lies between is not wanted");
    }
}
