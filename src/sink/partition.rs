//! Rows that wait for the file of their partition, bounded over all partitions.
//!
//! # Input
//! Chunks; the partition key is a parameter ([`Layout`]).
//! # Maps to
//! Parts: rows of one partition, deduplicated, with the order they are written in.
//! # Known gaps
//! Of partitions that memory forces out early the uids stay in memory, 16 bytes each, outside of the
//! bound: 10 million events of one partition in one batch take 160 MB. The row that stays of a
//! repeated event is then the one that came first, not the one of the smaller object key.
//! # Reference
//! Design sections 6 and 7.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use arrow::array::RecordBatch;
use parsers::{
    Chunk,
    ocsf::{Class, Key, Partition, Table},
    time,
};
use xxhash_rust::xxh3::xxh3_128;

use super::{SinkError, earlier::Earlier};

/// How rows are divided into files and sorted.
#[derive(Clone, Debug)]
pub enum Layout {
    /// The lake: class, region, account and day; sorted by time and uid.
    Published,
    /// Staged files: class alone; sorted by region, account, time and uid.
    Staged,
}

impl Layout {
    /// The folder of a partition's files.
    pub fn folder(&self, class: &Class, partition: &Partition) -> String {
        match self {
            Self::Staged => format!("class={}", class.uid),
            Self::Published => format!(
                "{}/region={}/accountId={}/eventDay={}",
                class_folder(class),
                segment(&partition.region),
                segment(&partition.account),
                time::compact_day(partition.day)
            ),
        }
    }

    fn partition(&self, of_row: &Partition) -> Partition {
        match self {
            Self::Published => Partition {
                region: segment(&of_row.region).to_owned(),
                account: segment(&of_row.account).to_owned(),
                day: of_row.day,
            },
            Self::Staged => Partition::default(),
        }
    }
}

/// The folder of a class below the lake: a custom source of Security Lake, which are named so.
pub(crate) fn class_folder(class: &Class) -> String {
    format!("ext/trailhound-{}", class.uid)
}

/// A value as a path segment.
pub(crate) fn segment(text: &str) -> &str {
    let is_safe = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    if (1..=32).contains(&text.len()) && text.bytes().all(is_safe) { text } else { "unknown" }
}

/// Raw bytes of a file that is worth to be written, though more may come: what stays must be copied.
const LARGE_FILE_BYTES: usize = 1 << 20;

/// Rows of one file, ready to be written.
pub struct Part {
    /// The rows, and those of other parts.
    pub rows: Arc<Taken>,
    /// Which of them, in which order.
    pub order: Vec<u32>,
    /// Its rows by account.
    pub accounts: BTreeMap<String, u64>,
    /// For each repeated row, the object it came from.
    pub duplicates: Vec<u32>,
    /// The class.
    pub class: &'static Class,
    /// The folder of the file.
    pub folder: String,
    /// The number of the part in its partition.
    pub number: u32,
}

/// Rows that were taken out together.
pub struct Taken {
    /// As Arrow.
    pub batch: RecordBatch,
    /// Their keys.
    pub keys: Vec<Key>,
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

/// A file of the batch, or several where memory is short.
struct File {
    class: &'static Class,
    folder: String,
    /// Raw bytes of the rows that wait.
    waiting: usize,
    /// Uids in earlier parts.
    written: Written,
    parts: u32,
}

/// All rows of a batch that wait. Those of a class are held in one table, so that a batch may touch
/// thousands of partitions: a table for each would be mostly its own overhead.
pub struct Buffers {
    layout: Layout,
    /// For each object: no other object of the batch can repeat its rows.
    unique: Arc<[bool]>,
    earlier: Earlier,
    tables: HashMap<i32, Box<dyn Table>>,
    /// Numbers of partitions by class.
    numbers: HashMap<(i32, Partition), u32>,
    /// For each number the file and the partition.
    partitions: Vec<(usize, Partition)>,
    files: Vec<File>,
    file_numbers: HashMap<(i32, Partition), usize>,
}

impl Buffers {
    /// No rows yet.
    pub fn new(layout: Layout, unique: Arc<[bool]>, earlier: Earlier) -> Self {
        Self {
            layout,
            unique,
            earlier,
            tables: HashMap::new(),
            numbers: HashMap::new(),
            partitions: Vec::new(),
            files: Vec::new(),
            file_numbers: HashMap::new(),
        }
    }

    /// Memory held by rows, in bytes.
    pub fn bytes(&self) -> usize {
        self.tables.values().map(|table| table.bytes()).sum()
    }

    /// Adds the rows of a chunk.
    pub fn add(&mut self, chunk: &Chunk) -> Result<(), SinkError> {
        for table in &chunk.tables {
            let class = table.class();
            let numbers = chunk.partitions.iter().map(|partition| self.number(class, partition));
            let numbers: Vec<u32> = numbers.collect::<Result<_, _>>()?;
            let held = self.tables.entry(class.uid).or_insert_with(|| (class.table)());
            held.append(&**table, &numbers);
            for key in table.keys() {
                let (file, _) = self.partitions[numbers[key.partition as usize] as usize];
                self.files[file].waiting += key.record_bytes.max(1) as usize;
            }
        }
        Ok(())
    }

    fn number(&mut self, class: &'static Class, partition: &Partition) -> Result<u32, SinkError> {
        let key = (class.uid, partition.clone());
        if let Some(number) = self.numbers.get(&key) {
            return Ok(*number);
        }
        let of_file = self.layout.partition(partition);
        let next = self.files.len();
        let file = *self.file_numbers.entry((class.uid, of_file.clone())).or_insert(next);
        if file == next {
            let folder = self.layout.folder(class, &of_file);
            let (uids, parts) = self.earlier.of(&folder)?;
            let mut written = Written::default();
            written.add(uids);
            self.files.push(File { class, folder, waiting: 0, written, parts });
        }
        let number = self.partitions.len() as u32;
        self.partitions.push((file, partition.clone()));
        self.numbers.insert(key, number);
        Ok(number)
    }

    /// Takes rows of the largest class; more may follow for their files. Where files are small on the
    /// average, the rows of the largest ones, about half of all.
    pub fn take_some(&mut self) -> Vec<Part> {
        let largest = self.tables.iter().max_by_key(|(_, table)| table.bytes());
        let Some((&class, _)) = largest else { return Vec::new() };
        let mut files: Vec<usize> = self.waiting(class).collect();
        files.sort_by_key(|&file| Reverse(self.files[file].waiting));
        let total: usize = files.iter().map(|&file| self.files[file].waiting).sum();
        if total / files.len().max(1) < LARGE_FILE_BYTES {
            let mut taken = 0;
            files.retain(|&file| {
                let before = taken;
                taken += self.files[file].waiting;
                before * 2 < total
            });
        }
        self.take(class, &files, false)
    }

    /// Takes all rows of a class, the last ones for their files; none if nothing waits.
    pub fn take_last(&mut self) -> Vec<Part> {
        let Some(class) = self.tables.keys().copied().min() else { return Vec::new() };
        let files: Vec<usize> = self.waiting(class).collect();
        self.take(class, &files, true)
    }

    /// Files of a class for which rows wait.
    fn waiting(&self, class: i32) -> impl Iterator<Item = usize> {
        let is_waiting = move |file: &File| file.class.uid == class && file.waiting > 0;
        let files = self.files.iter().enumerate();
        files.filter(move |(_, file)| is_waiting(file)).map(|(number, _)| number)
    }

    fn take(&mut self, class: i32, files: &[usize], last: bool) -> Vec<Part> {
        let Some(table) = self.tables.remove(&class) else { return Vec::new() };
        let keys = table.keys();
        let mut places = vec![None; self.files.len()];
        for (place, &file) in files.iter().enumerate() {
            places[file] = Some(place);
        }
        let mut rest = Vec::new();
        // The keys are copied: sorting them where they are is faster than reaching for them.
        let mut rows_of: Vec<Vec<(u128, u32)>> = vec![Vec::new(); files.len()];
        for (row, key) in (0..).zip(keys) {
            let (file, _) = self.partitions[key.partition as usize];
            match places[file] {
                Some(place) => rows_of[place].push((key.uid_prefix, row)),
                None => rest.push(row),
            }
        }
        let mut orders = Vec::new();
        for (&file, mut rows) in files.iter().zip(rows_of) {
            rows.sort_unstable_by(|&(x, a), &(y, b)| {
                let object = |row: u32| keys[row as usize].object;
                x.cmp(&y)
                    .then_with(|| table.uid(a).cmp(table.uid(b)))
                    .then_with(|| (object(a), a).cmp(&(object(b), b)))
            });
            let file = &mut self.files[file];
            let rows = rows.into_iter().map(|(_, row)| row).collect();
            let (mut order, duplicates) =
                first_of_each_uid(&*table, rows, &self.unique, &file.written);
            if !last {
                let repeatable = |row: &&u32| !self.unique[keys[**row as usize].object as usize];
                let hash = |row: &u32| xxh3_128(table.uid(*row));
                file.written.add(order.iter().filter(repeatable).map(hash).collect());
            }
            // The order is by uid; a stable sort by time keeps it among equal times.
            let time = |row: u32| keys[row as usize].time;
            let mut timed: Vec<(i64, u32)> =
                order.into_iter().map(|row| (time(row), row)).collect();
            timed.sort_by_key(|&(time, _)| time);
            order = timed.into_iter().map(|(_, row)| row).collect();
            if matches!(self.layout, Layout::Staged) {
                order.sort_by_key(|&row| {
                    let number = keys[row as usize].partition as usize;
                    let (_, partition) = &self.partitions[number];
                    (segment(&partition.region), segment(&partition.account))
                });
            }
            let mut accounts = BTreeMap::new();
            let number = |row: &u32| keys[*row as usize].partition;
            for run in order.chunk_by(|a, b| number(a) == number(b)) {
                let (_, partition) = &self.partitions[number(&run[0]) as usize];
                let account = segment(&partition.account).to_owned();
                *accounts.entry(account).or_default() += run.len() as u64;
            }
            let folder = file.folder.clone();
            orders.push((order, accounts, duplicates, file.class, folder, file.parts));
            file.waiting = 0;
            file.parts += 1;
        }
        if !rest.is_empty() {
            let mut kept = (table.class().table)();
            kept.gather(&*table, &rest);
            self.tables.insert(class, kept);
        }
        let (batch, keys) = table.into_arrow();
        let rows = Arc::new(Taken { batch, keys });
        let part = |(order, accounts, duplicates, class, folder, number)| Part {
            rows: Arc::clone(&rows),
            order,
            accounts,
            duplicates,
            class,
            folder,
            number,
        };
        orders.into_iter().map(part).collect()
    }
}

/// Of rows by uid those without repetitions; of equal uids the row of the smallest object stays. And
/// the objects of the rows that do not stay.
fn first_of_each_uid(
    table: &dyn Table,
    mut rows: Vec<u32>,
    unique: &[bool],
    written: &Written,
) -> (Vec<u32>, Vec<u32>) {
    let keys = table.keys();
    let mut duplicates = Vec::new();
    let mut last: Option<u32> = None;
    rows.retain(|&row| {
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
    (rows, duplicates)
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
