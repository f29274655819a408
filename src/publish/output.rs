//! Files that a merge writes: one after another, a new one where a partition ends or a file is full.
//!
//! # Input
//! Blocks of sorted rows.
//! # Maps to
//! Parquet files as [`crate::sink::parquet`] makes them, with a row group where memory asks for one.
//! # Known gaps
//! With little memory row groups are small.
//! # Reference
//! Design sections 6 and 7.

use std::{
    collections::VecDeque,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::Int64Type,
};
use parquet::arrow::ArrowWriter;
use parsers::ocsf::{Class, Partition};

use super::{
    known::Known,
    merge::{Input, Merge, ReadError},
    rows,
};
use crate::sink::{
    SinkError,
    parquet::{close, encode_error, slices, writer},
};

/// Files open at the same time.
const MAX_OPEN: usize = 200;

/// Row groups of files between passes: they are read once, from their beginning to their end.
const PASS_GROUP_BYTES: usize = 16 << 20;

/// Bounds.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_field_names, reason = "units are in names")]
pub struct Limits {
    /// Memory for inputs of a merge.
    pub merge_bytes: usize,
    /// Memory for the row group that is being written.
    pub group_bytes: usize,
    /// Size of a file, about.
    pub file_bytes: usize,
}

/// Files cannot be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// An input cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// An output cannot be written.
    #[error(transparent)]
    Write(#[from] SinkError),
}

/// A file that was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// Where it is on this machine.
    pub path: PathBuf,
    /// Where its rows belong.
    pub partition: Arc<Partition>,
    /// Its rows.
    pub rows: u64,
    /// Time of the first row, in milliseconds.
    pub min_time: i64,
    /// Time of the last row.
    pub max_time: i64,
    /// Size in bytes.
    pub size: u64,
}

/// Writes the files of one class into a folder.
pub struct Output {
    class: &'static Class,
    dir: PathBuf,
    limits: Limits,
    open: Option<(ArrowWriter<File>, Made)>,
    /// What is written so far.
    pub files: Vec<Made>,
}

impl Output {
    /// Nothing yet. The folder is empty.
    pub fn new(class: &'static Class, dir: PathBuf, limits: Limits) -> Self {
        Self { class, dir, limits, open: None, files: Vec::new() }
    }

    /// Writes the rows of the next partition, without those that are known.
    pub fn partition(&mut self, merge: &mut Merge, mut known: Known) -> Result<(), MergeError> {
        let Some(partition) = merge.partition() else { return Ok(()) };
        while let Some(block) = merge.block(&partition, &mut known)? {
            self.write(&partition, &block, merge.rows)?;
            let is_full = |(writer, _): &(ArrowWriter<File>, Made)| {
                writer.bytes_written() + writer.in_progress_size() >= self.limits.file_bytes
            };
            if self.open.as_ref().is_some_and(is_full) {
                self.end()?;
            }
        }
        Ok(self.end()?)
    }

    /// Of at most so many rows.
    fn write(
        &mut self,
        partition: &Arc<Partition>,
        block: &RecordBatch,
        rows: u64,
    ) -> Result<(), SinkError> {
        let times =
            block.column_by_name("time").and_then(|time| time.as_primitive_opt::<Int64Type>());
        let (first, last) =
            times.map_or((0, 0), |time| (time.value(0), time.value(time.len() - 1)));
        let (writer, made) = if let Some(open) = &mut self.open {
            open
        } else {
            let path = self.dir.join(format!("{}.parquet", self.files.len()));
            let made = Made {
                path: path.clone(),
                partition: Arc::clone(partition),
                rows: 0,
                min_time: first,
                max_time: first,
                size: 0,
            };
            let writer = writer(self.class, self.class.schema(), &path, Some(rows))?;
            self.open.insert((writer, made))
        };
        write_block(writer, block, self.limits.group_bytes)
            .map_err(|error| encode_error(&made.path, error))?;
        made.rows += block.num_rows() as u64;
        made.max_time = last;
        Ok(())
    }

    fn end(&mut self) -> Result<(), SinkError> {
        if let Some((writer, mut made)) = self.open.take() {
            close(writer, &made.path)?;
            let fail = |source| SinkError::Write { path: made.path.clone(), source };
            made.size = fs::metadata(&made.path).map_err(fail)?.len();
            self.files.push(made);
        }
        Ok(())
    }
}

fn write_block(
    writer: &mut ArrowWriter<File>,
    block: &RecordBatch,
    group_bytes: usize,
) -> Result<(), parquet::errors::ParquetError> {
    for range in slices(rows::bytes(block)) {
        writer.write(&block.slice(range.start, range.len()))?;
        if writer.memory_size() >= group_bytes {
            writer.flush()?;
        }
    }
    Ok(())
}

/// Merges inputs into fewer, in passes, until those that are left can be merged at once. Returns
/// them and the rows that did not stay. Inputs that it has merged are removed.
pub fn reduce(
    inputs: Vec<Input>,
    class: &'static Class,
    dir: &Path,
    limits: Limits,
) -> Result<(Vec<Input>, u64), MergeError> {
    let mut duplicates = 0;
    let mut made = 0;
    let mut inputs: VecDeque<Input> = inputs.into();
    loop {
        let mut groups: Vec<Vec<Input>> = Vec::new();
        while !inputs.is_empty() {
            groups.push(next_group(&mut inputs, limits.merge_bytes)?);
        }
        if groups.len() <= 1 {
            return Ok((groups.pop().unwrap_or_default(), duplicates));
        }
        for group in groups {
            if let [only] = group.as_slice() {
                inputs.push_back(only.clone());
                continue;
            }
            let path = dir.join(format!("pass-{made}.parquet"));
            made += 1;
            duplicates += merge_to(&group, class, &path, limits)?;
            for input in &group {
                // What stays goes with the scratch folder.
                drop(fs::remove_file(&input.path));
            }
            let name = format!("{} files merged", group.len());
            inputs.push_back(Input { path, name });
        }
    }
}

/// As many inputs as memory allows, and at least two.
fn next_group(inputs: &mut VecDeque<Input>, bytes: usize) -> Result<Vec<Input>, ReadError> {
    let mut group: Vec<Input> = Vec::new();
    let mut cost = 0;
    while let Some(next) = inputs.front() {
        cost += next.cost()?;
        if group.len() == MAX_OPEN || (group.len() >= 2 && cost > bytes) {
            break;
        }
        group.extend(inputs.pop_front());
    }
    Ok(group)
}

fn merge_to(
    group: &[Input],
    class: &'static Class,
    path: &Path,
    limits: Limits,
) -> Result<u64, MergeError> {
    let mut merge = Merge::open(group.to_vec(), class)?;
    let mut writer = writer(class, class.schema(), path, None)?;
    let mut known = Known::default();
    while let Some(partition) = merge.partition() {
        while let Some(block) = merge.block(&partition, &mut known)? {
            write_block(&mut writer, &block, limits.group_bytes.min(PASS_GROUP_BYTES))
                .map_err(|error| encode_error(path, error))?;
        }
    }
    close(writer, path)?;
    Ok(merge.duplicates)
}
