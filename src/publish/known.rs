//! What a partition holds already: streamed beside the rows that are to come into it.
//!
//! # Input
//! Files of the partition on this machine, sorted by time and uid.
//! # Maps to
//! For rows in that order: whether the partition has them.
//! # Known gaps
//! Each file whose times overlap the same row is open at the same time.
//! # Reference
//! Design section 6.

use std::collections::VecDeque;

use parquet::{
    arrow::arrow_reader::ParquetRecordBatchReader,
    file::{metadata::ParquetMetaData, statistics::Statistics},
};

use super::merge::{Input, Keys, ReadError, project};

/// Rows that are known, in the order of time and uid.
#[derive(Default)]
pub struct Known {
    /// Files that begin later, by the time that they begin at.
    waiting: VecDeque<(i64, Input)>,
    open: Vec<Cursor>,
}

struct Cursor {
    input: Input,
    reader: ParquetRecordBatchReader,
    keys: Keys,
    rows: usize,
    row: usize,
}

impl Known {
    /// The rows of these files. Only their footers are read now.
    pub fn new(files: Vec<Input>) -> Result<Self, ReadError> {
        let mut waiting = Vec::new();
        for input in files {
            let first = first_time(input.open()?.metadata());
            waiting.push((first.unwrap_or(i64::MIN), input));
        }
        waiting.sort_by_key(|(first, _)| *first);
        Ok(Self { waiting: waiting.into(), open: Vec::new() })
    }

    /// True if a row is known. Rows must be asked for in order.
    pub fn contains(&mut self, time: i64, uid: &str) -> Result<bool, ReadError> {
        while let Some((_, input)) = self.waiting.pop_front_if(|(first, _)| *first <= time) {
            self.open.extend(Cursor::open(input)?);
        }
        let mut found = false;
        let mut at = 0;
        while let Some(cursor) = self.open.get_mut(at) {
            if cursor.advance(time, uid)? {
                found |= cursor.is_at(time, uid);
                at += 1;
            } else {
                self.open.swap_remove(at);
            }
        }
        Ok(found)
    }
}

impl Cursor {
    fn open(input: Input) -> Result<Option<Self>, ReadError> {
        let mut reader = project(input.open()?, &["time", "metadata.uid"]).map_err(input.fail())?;
        let Some(batch) = reader.next() else { return Ok(None) };
        let batch = batch.map_err(input.fail())?;
        let keys = Keys::of(&batch).map_err(input.fail())?;
        Ok(Some(Self { input, reader, keys, rows: batch.num_rows(), row: 0 }))
    }

    fn is_at(&self, time: i64, uid: &str) -> bool {
        self.keys.time(self.row) == time && self.keys.uid(self.row) == uid
    }

    /// Goes to the first row that is not before this one; false if there is none.
    fn advance(&mut self, time: i64, uid: &str) -> Result<bool, ReadError> {
        loop {
            if self.row == self.rows {
                let Some(batch) = self.reader.next() else { return Ok(false) };
                let batch = batch.map_err(self.input.fail())?;
                self.keys = Keys::of(&batch).map_err(self.input.fail())?;
                (self.rows, self.row) = (batch.num_rows(), 0);
            } else if (self.keys.time(self.row), self.keys.uid(self.row)) < (time, uid) {
                self.row += 1;
            } else {
                return Ok(true);
            }
        }
    }
}

/// The time of the first row, as the footer tells it.
fn first_time(metadata: &ParquetMetaData) -> Option<i64> {
    let group = metadata.row_groups().first()?;
    let column = group.columns().iter().find(|column| column.column_path().string() == "time")?;
    match column.statistics()? {
        Statistics::Int64(statistics) => statistics.min_opt().copied(),
        _ => None,
    }
}
