//! Merges sorted files as a stream: rows that repeat meet side by side, and one of them stays.
//!
//! # Input
//! Parquet files of one class on this machine, sorted by region, account, time and uid.
//! # Maps to
//! Blocks of rows of one partition after another, in order, without repetitions and without what
//! the partition holds already ([`Known`]).
//! # Known gaps
//! Of an event that comes with two different times both rows stay.
//! # Reference
//! Design section 6.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, binary_heap::PeekMut},
    fs::File,
    path::PathBuf,
    sync::Arc,
};

use arrow::{
    array::{Array, AsArray, Int64Array, RecordBatch, StringArray},
    compute::interleave_record_batch,
    datatypes::{Int64Type, SchemaRef},
    error::ArrowError,
};
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder},
    },
    errors::ParquetError,
    file::metadata::{ParquetMetaData, RowGroupMetaData},
};
use parsers::{
    ocsf::{Class, Partition},
    time::DAY_MS,
};

use super::{known::Known, rows};
use crate::sink::{parquet::SLICE_ROWS, partition::segment};

/// Rows of an input that are in memory, unless they are long.
const BATCH_ROWS: usize = 1024;
/// What these take, about.
const BATCH_BYTES: usize = 1 << 20;
/// What a block takes, about.
const BLOCK_BYTES: usize = 4 << 20;
/// Batches that wait for a block beside the current one of each input.
const MAX_SPENT: usize = 8;
/// A page of a column and its dictionary, as the writer makes them.
const COLUMN_BYTES: usize = 2 << 20;
/// Reader and footer.
const READER_BYTES: usize = 512 << 10;

/// A file cannot be merged.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {name}: {source}")]
pub struct ReadError {
    /// Where it is from.
    pub name: String,
    /// Why.
    pub source: ParquetError,
}

/// A file that is merged.
#[derive(Clone, Debug)]
pub struct Input {
    /// Where it is on this machine.
    pub path: PathBuf,
    /// Where it is from, for messages.
    pub name: String,
}

impl Input {
    pub(super) fn fail<E: Into<ParquetError>>(&self) -> impl Fn(E) -> ReadError {
        let name = self.name.clone();
        move |source| ReadError { name: name.clone(), source: source.into() }
    }

    pub(super) fn open(&self) -> Result<ParquetRecordBatchReaderBuilder<File>, ReadError> {
        let file = File::open(&self.path).map_err(self.fail())?;
        ParquetRecordBatchReaderBuilder::try_new(file).map_err(self.fail())
    }

    /// Memory that reading it takes at most: pages of all columns, and batches.
    pub fn cost(&self) -> Result<usize, ReadError> {
        let builder = self.open()?;
        let of_group = |group: &RowGroupMetaData| {
            let columns = group.columns().iter();
            columns.map(|c| (c.uncompressed_size().max(0) as usize).min(COLUMN_BYTES)).sum()
        };
        let metadata = builder.metadata();
        let pages: usize = metadata.row_groups().iter().map(of_group).max().unwrap_or(0);
        // A batch grows by doubling, and the one before may still be in use.
        Ok(pages + READER_BYTES + 3 * batch_rows(metadata) * row_bytes(metadata))
    }
}

/// Rows that are read at a time.
fn batch_rows(metadata: &ParquetMetaData) -> usize {
    (BATCH_BYTES / row_bytes(metadata)).clamp(16, BATCH_ROWS)
}

/// What a row takes in memory, on the average. Encoded it is far shorter: dictionaries are gone.
fn row_bytes(metadata: &ParquetMetaData) -> usize {
    let columns = metadata.row_groups().iter().flat_map(RowGroupMetaData::columns);
    let bytes = columns.map(|column| {
        let text = column.unencoded_byte_array_data_bytes().unwrap_or(column.uncompressed_size());
        text + 8 * column.num_values()
    });
    let rows = metadata.file_metadata().num_rows().max(1);
    ((bytes.sum::<i64>() / rows) as usize).max(1)
}

/// Reads only these columns.
pub(super) fn project(
    builder: ParquetRecordBatchReaderBuilder<File>,
    columns: &[&str],
) -> Result<ParquetRecordBatchReader, ParquetError> {
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    builder.with_projection(mask).with_batch_size(BATCH_ROWS).build()
}

/// The columns that rows are sorted by.
pub(super) struct Keys {
    region: Option<StringArray>,
    account: Option<StringArray>,
    uid: Option<StringArray>,
    time: Int64Array,
}

impl Keys {
    pub(super) fn of(batch: &RecordBatch) -> Result<Self, ArrowError> {
        let time = batch
            .column_by_name("time")
            .and_then(|column| column.as_primitive_opt::<Int64Type>().cloned());
        Ok(Self {
            region: text(batch, &["cloud", "region"]),
            account: text(batch, &["cloud", "account", "uid"]),
            uid: text(batch, &["metadata", "uid"]),
            time: time.ok_or_else(|| ArrowError::SchemaError("there is no time".into()))?,
        })
    }

    pub(super) fn time(&self, row: usize) -> i64 {
        if self.time.is_valid(row) { self.time.value(row) } else { 0 }
    }

    pub(super) fn uid(&self, row: usize) -> &str {
        value(self.uid.as_ref(), row)
    }

    fn place(&self, row: usize) -> (&str, &str, i32) {
        (
            segment(value(self.region.as_ref(), row)),
            segment(value(self.account.as_ref(), row)),
            self.time(row).div_euclid(DAY_MS) as i32,
        )
    }

    /// The partition of a row: `last` if it is still that.
    pub(super) fn partition(&self, row: usize, last: &Arc<Partition>) -> Arc<Partition> {
        let (region, account, day) = self.place(row);
        if last.day == day && last.region == region && last.account == account {
            return Arc::clone(last);
        }
        Arc::new(Partition { region: region.to_owned(), account: account.to_owned(), day })
    }
}

fn text(batch: &RecordBatch, path: &[&str]) -> Option<StringArray> {
    let (first, rest) = path.split_first()?;
    let mut column = batch.column_by_name(first)?;
    for name in rest {
        column = column.as_struct_opt()?.column_by_name(name)?;
    }
    column.as_string_opt::<i32>().cloned()
}

fn value(array: Option<&StringArray>, row: usize) -> &str {
    array.filter(|array| array.is_valid(row)).map_or("", |array| array.value(row))
}

/// The row of an input that is next. Of equal rows that of the first input comes first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    partition: Arc<Partition>,
    time: i64,
    uid: String,
    input: usize,
}

struct Cursor {
    input: Input,
    reader: ParquetRecordBatchReader,
    schema: SchemaRef,
    batch: RecordBatch,
    keys: Keys,
    row: usize,
    /// On the average.
    row_bytes: usize,
    /// Of the whole file.
    rows: u64,
    partition: Arc<Partition>,
}

impl Cursor {
    /// None if the file has no rows.
    fn open(input: Input, class: &Class) -> Result<Option<Self>, ReadError> {
        let builder = input.open()?;
        let metadata = builder.metadata();
        let (batch_rows, row_bytes) = (batch_rows(metadata), row_bytes(metadata));
        let rows = metadata.file_metadata().num_rows() as u64;
        let reader = builder.with_batch_size(batch_rows).build().map_err(input.fail())?;
        let schema = class.schema();
        let batch = RecordBatch::new_empty(Arc::clone(&schema));
        let keys = Keys::of(&batch).map_err(input.fail())?;
        let partition = Arc::default();
        let mut cursor =
            Self { input, reader, schema, batch, keys, row: 0, row_bytes, rows, partition };
        Ok(cursor.next_batch()?.then_some(cursor))
    }

    fn next_batch(&mut self) -> Result<bool, ReadError> {
        let Some(batch) = self.reader.next() else { return Ok(false) };
        let read = || {
            let batch = rows::fit(&batch?, &self.schema)?;
            let keys = Keys::of(&batch)?;
            Ok::<_, ArrowError>((batch, keys))
        };
        (self.batch, self.keys) = read().map_err(self.input.fail())?;
        self.row = 0;
        Ok(true)
    }

    fn head(&mut self, input: usize) -> Head {
        self.partition = self.keys.partition(self.row, &self.partition);
        Head {
            partition: Arc::clone(&self.partition),
            time: self.keys.time(self.row),
            uid: self.keys.uid(self.row).to_owned(),
            input,
        }
    }
}

/// A merge that has come to some row.
pub struct Merge {
    cursors: Vec<Cursor>,
    heads: BinaryHeap<Reverse<Head>>,
    /// The last row that stayed.
    last: Option<(Arc<Partition>, i64, String)>,
    /// Rows that did not stay.
    pub duplicates: u64,
    /// Rows of all inputs.
    pub rows: u64,
}

impl Merge {
    /// Of repeated rows that of the first input stays.
    pub fn open(inputs: Vec<Input>, class: &Class) -> Result<Self, ReadError> {
        let mut cursors = Vec::new();
        let mut heads = BinaryHeap::new();
        let mut rows = 0;
        for input in inputs {
            if let Some(mut cursor) = Cursor::open(input, class)? {
                heads.push(Reverse(cursor.head(cursors.len())));
                rows += cursor.rows;
                cursors.push(cursor);
            }
        }
        Ok(Self { cursors, heads, last: None, duplicates: 0, rows })
    }

    /// The partition of the next row; None at the end.
    pub fn partition(&self) -> Option<Arc<Partition>> {
        self.heads.peek().map(|Reverse(head)| Arc::clone(&head.partition))
    }

    /// The next rows of this partition, without those that are known; None at its end.
    pub fn block(
        &mut self,
        partition: &Partition,
        known: &mut Known,
    ) -> Result<Option<RecordBatch>, ReadError> {
        let mut batches: Vec<RecordBatch> = Vec::new();
        let mut places: Vec<Option<usize>> = vec![None; self.cursors.len()];
        let mut picks = Vec::new();
        let (mut spent, mut bytes) = (0, 0);
        while let Some(mut top) = self.heads.peek_mut() {
            let Reverse(head) = &*top;
            if *head.partition != *partition {
                break;
            }
            let input = head.input;
            let repeats = self.last.as_ref().is_some_and(|(partition, time, uid)| {
                *time == head.time && *uid == head.uid && **partition == *head.partition
            });
            let cursor = &mut self.cursors[input];
            if repeats || known.contains(head.time, &head.uid)? {
                self.duplicates += 1;
            } else {
                let place = *places[input].get_or_insert_with(|| {
                    batches.push(cursor.batch.clone());
                    batches.len() - 1
                });
                picks.push((place, cursor.row));
                bytes += cursor.row_bytes;
                let Reverse(head) = &mut *top;
                let uid = std::mem::take(&mut head.uid);
                self.last = Some((Arc::clone(&head.partition), head.time, uid));
            }
            cursor.row += 1;
            if cursor.row == cursor.batch.num_rows() {
                spent += usize::from(places[input].take().is_some());
                if !cursor.next_batch()? {
                    PeekMut::pop(top);
                    continue;
                }
            }
            *top = Reverse(cursor.head(input));
            if picks.len() == SLICE_ROWS || bytes >= BLOCK_BYTES || spent == MAX_SPENT {
                break;
            }
        }
        if picks.is_empty() {
            return Ok(None);
        }
        let batches: Vec<&RecordBatch> = batches.iter().collect();
        let fail =
            |error: ArrowError| ReadError { name: "merged rows".into(), source: error.into() };
        interleave_record_batch(&batches, &picks).map(Some).map_err(fail)
    }
}
