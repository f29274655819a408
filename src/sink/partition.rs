//! Rows that wait for the file of their partition, bounded over all partitions.
//!
//! # Input
//! Chunks; the partition key is a parameter ([`Layout`]).
//! # Maps to
//! Parts: rows of one partition, deduplicated, with the order they are written in.
//! # Known gaps
//! Of partitions that memory forces out early the uids stay in memory, 16 bytes each, outside of the
//! bound: 10 million events of one partition in one batch take 160 MB. The row that stays of a repeated event is the one that came
//! first, not the one of the smaller object key.
//! # Reference
//! Design sections 6 and 7.

use std::{collections::HashMap, sync::Arc};

use parsers::{
    Chunk,
    ocsf::{Class, Partition, Table},
    time,
};
use xxhash_rust::xxh3::xxh3_128;

/// How rows are divided into files and sorted.
#[derive(Clone, Debug)]
pub enum Layout {
    /// The lake: class, region, account and day; sorted by time and uid.
    Published {
        /// Custom source name before the class uid.
        source_prefix: String,
    },
    /// Staged files: class alone; sorted by region, account, time and uid.
    Staged,
}

impl Layout {
    /// The folder of a partition's files.
    pub fn folder(&self, class: &Class, partition: &Partition) -> String {
        match self {
            Self::Staged => format!("class={}", class.uid),
            Self::Published { source_prefix } => format!(
                "ext/{source_prefix}-{}/region={}/accountId={}/eventDay={}",
                class.uid,
                segment(&partition.region),
                segment(&partition.account),
                time::compact_day(partition.day)
            ),
        }
    }

    fn partition(&self, of_row: &Partition) -> Partition {
        match self {
            Self::Published { .. } => Partition {
                region: segment(&of_row.region).to_owned(),
                account: segment(&of_row.account).to_owned(),
                day: of_row.day,
            },
            Self::Staged => Partition::default(),
        }
    }
}

/// A value as a path segment.
fn segment(text: &str) -> &str {
    let is_safe = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    if (1..=32).contains(&text.len()) && text.bytes().all(is_safe) { text } else { "unknown" }
}

/// Rows of one partition, ready to be written.
pub struct Part {
    /// The rows.
    pub table: Box<dyn Table>,
    /// Which of them, in which order.
    pub order: Vec<u32>,
    /// For each repeated row, the object it came from.
    pub duplicates: Vec<u32>,
    /// The folder of the file.
    pub folder: String,
    /// The number of the part in its partition.
    pub number: u32,
    /// Memory held, in bytes.
    pub bytes: usize,
}

type PartitionKey = (i32, Partition);

struct Buffer {
    class: &'static Class,
    /// None when there are no rows: even an empty table holds kilobytes.
    table: Option<Box<dyn Table>>,
    /// For [`Layout::Staged`], where each row belongs.
    places: Vec<Arc<Partition>>,
    bytes: usize,
    /// Uids in earlier parts.
    written: Written,
    parts: u32,
}

/// Hashes of uids in sorted runs, each at least twice as long as the next: 16 bytes a uid, where a
/// hash table takes up to 50 when it grows.
#[derive(Default)]
struct Written(Vec<Vec<u128>>);

impl Written {
    #[expect(clippy::stable_sort_primitive, reason = "it merges sorted runs in linear time")]
    fn add(&mut self, mut run: Vec<u128>) {
        run.sort_unstable();
        while let Some(last) = self.0.pop_if(|last| last.len() < 2 * run.len()) {
            run.extend(last);
            run.sort();
        }
        if !run.is_empty() {
            self.0.push(run);
        }
    }

    fn contains(&self, hash: u128) -> bool {
        self.0.iter().any(|run| run.binary_search(&hash).is_ok())
    }
}

/// All partitions of a batch.
pub struct Buffers {
    layout: Layout,
    /// For each object: no other object of the batch can repeat its rows.
    unique: Arc<[bool]>,
    partitions: HashMap<PartitionKey, Buffer>,
    bytes: usize,
}

impl Buffers {
    /// No rows yet.
    pub fn new(layout: Layout, unique: Arc<[bool]>) -> Self {
        Self { layout, unique, partitions: HashMap::new(), bytes: 0 }
    }

    /// Memory held by rows, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds the rows of a chunk.
    pub fn add(&mut self, chunk: &Chunk) {
        let places: Vec<Arc<Partition>> =
            chunk.partitions.iter().map(|partition| Arc::new(partition.clone())).collect();
        for table in &chunk.tables {
            let mut rows_of: Vec<Vec<u32>> = vec![Vec::new(); places.len()];
            for (row, key) in (0..).zip(table.keys()) {
                rows_of[key.partition as usize].push(row);
            }
            for (place, rows) in places.iter().zip(&rows_of).filter(|(_, rows)| !rows.is_empty()) {
                self.append(&**table, place, rows);
            }
        }
    }

    fn append(&mut self, table: &dyn Table, place: &Arc<Partition>, rows: &[u32]) {
        let class = table.class();
        let key = (class.uid, self.layout.partition(place));
        let buffer = self.partitions.entry(key).or_insert_with(|| Buffer {
            class,
            table: None,
            places: Vec::new(),
            bytes: 0,
            written: Written::default(),
            parts: 0,
        });
        let held = buffer.table.get_or_insert_with(|| (class.table)());
        held.gather(table, rows);
        if matches!(self.layout, Layout::Staged) {
            buffer.places.resize(held.keys().len(), Arc::clone(place));
        }
        let bytes = held.bytes() + buffer.places.len() * size_of::<usize>();
        self.bytes = self.bytes - buffer.bytes + bytes;
        buffer.bytes = bytes;
    }

    /// Takes the rows of the largest partition; more may follow for it.
    pub fn take_largest(&mut self) -> Option<Part> {
        let largest = self.partitions.iter().max_by_key(|(_, buffer)| buffer.bytes)?;
        let key = largest.0.clone();
        self.take(&key, false)
    }

    /// Takes the rows of any partition, the last ones for it.
    pub fn take_last(&mut self) -> Option<Part> {
        loop {
            let key = self.partitions.keys().next()?.clone();
            let part = self.take(&key, true);
            self.partitions.remove(&key);
            if part.is_some() {
                return part;
            }
        }
    }

    fn take(&mut self, key: &PartitionKey, last: bool) -> Option<Part> {
        let buffer = self.partitions.get_mut(key)?;
        let table = buffer.table.take()?;
        let places = std::mem::take(&mut buffer.places);
        let bytes = std::mem::take(&mut buffer.bytes);
        self.bytes -= bytes;
        let (mut order, duplicates) = first_of_each_uid(&*table, &self.unique, &buffer.written);
        if !last {
            let repeatable =
                |row: &&u32| !self.unique[table.keys()[**row as usize].object as usize];
            let hash = |row: &u32| xxh3_128(table.uid(*row));
            buffer.written.add(order.iter().filter(repeatable).map(hash).collect());
        }
        // The order is by uid; a stable sort by time keeps it among equal times.
        if places.is_empty() {
            let mut timed: Vec<(i64, u32)> =
                order.iter().map(|&row| (table.keys()[row as usize].time, row)).collect();
            timed.sort_by_key(|&(time, _)| time);
            order = timed.into_iter().map(|(_, row)| row).collect();
        } else {
            order.sort_by_key(|&row| {
                let place = &places[row as usize];
                (&place.region, &place.account, table.keys()[row as usize].time)
            });
        }
        let number = buffer.parts;
        buffer.parts += 1;
        let folder = self.layout.folder(buffer.class, &key.1);
        Some(Part { table, order, duplicates, folder, number, bytes })
    }
}

/// The rows by uid without repetitions; of equal uids the row of the smallest object stays. And
/// the objects of the rows that do not stay.
fn first_of_each_uid(
    table: &dyn Table,
    unique: &[bool],
    written: &Written,
) -> (Vec<u32>, Vec<u32>) {
    let keys = table.keys();
    // The keys are copied: sorting them where they are is faster than reaching for them by number.
    let mut sorted: Vec<(u128, u32)> =
        (0..).zip(keys).map(|(row, key)| (key.uid_prefix, row)).collect();
    sorted.sort_unstable_by(|&(x, a), &(y, b)| {
        x.cmp(&y)
            .then_with(|| table.uid(a).cmp(table.uid(b)))
            .then_with(|| (keys[a as usize].object, a).cmp(&(keys[b as usize].object, b)))
    });
    let mut order: Vec<u32> = sorted.into_iter().map(|(_, row)| row).collect();
    let mut duplicates = Vec::new();
    let mut last: Option<u32> = None;
    order.retain(|&row| {
        let key = &keys[row as usize];
        let repeats = last.is_some_and(|last| {
            keys[last as usize].uid_prefix == key.uid_prefix && table.uid(last) == table.uid(row)
        });
        last = Some(row);
        let was_written = !repeats
            && !written.0.is_empty()
            && !unique[key.object as usize]
            && written.contains(xxh3_128(table.uid(row)));
        if repeats || was_written {
            duplicates.push(key.object);
        }
        !(repeats || was_written)
    });
    (order, duplicates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_uids_are_found_and_no_others() {
        let mut written = Written::default();
        for part in 0..50_u128 {
            let len = 1 + part * 7 % 40;
            written.add((0..len).rev().map(|n| part * 1000 + n * 2).collect());
        }
        for part in 0..50_u128 {
            let len = 1 + part * 7 % 40;
            assert!((0..len).all(|n| written.contains(part * 1000 + n * 2)));
            assert!((0..len).all(|n| !written.contains(part * 1000 + n * 2 + 1)));
        }
        assert!(written.0.len() < 12, "{}", written.0.len());
    }

    #[test]
    fn values_that_are_no_safe_segment_are_unknown() {
        for (text, expected) in [
            ("us-east-1", "us-east-1"),
            ("123456789012", "123456789012"),
            ("", "unknown"),
            ("../x", "unknown"),
            ("US-EAST-1", "unknown"),
            ("a23456789012345678901234567890123", "unknown"),
        ] {
            assert_eq!(segment(text), expected);
        }
    }
}
