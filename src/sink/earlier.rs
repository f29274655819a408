//! What a batch has in the lake already that more rows are to come into.
//!
//! # Input
//! Its files.
//! # Maps to
//! For a folder the hashes of their uids, and the number of the next file.
//! # Known gaps
//! 16 bytes for each row of the batch in that folder are held, outside of the budget.
//! # Reference
//! Design section 6: within a batch a partition holds no uid twice.

use std::{
    collections::BTreeSet,
    fs::File,
    path::{Path, PathBuf},
};

use arrow::array::AsArray;
use parquet::{
    arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder},
    errors::ParquetError,
};
use xxhash_rust::xxh3::xxh3_128;

use super::SinkError;

/// Files of a batch of a lake of this machine.
#[derive(Clone, Debug, Default)]
pub struct Earlier {
    /// The lake.
    pub lake: PathBuf,
    /// Paths below it.
    pub files: BTreeSet<String>,
}

impl Earlier {
    /// Of the files in this folder, the hashes of uids, and the number that no file has yet.
    pub fn of(&self, folder: &str) -> Result<(Vec<u128>, u32), SinkError> {
        let (mut hashes, mut next) = (Vec::new(), 0);
        for path in self.files.iter().filter(|path| path.rsplit_once('/').unzip().0 == Some(folder))
        {
            let number = path.rsplit(['-', '.']).nth(1).and_then(|number| number.parse().ok());
            next = next.max(number.map_or(0, |number: u32| number + 1));
            let path = self.lake.join(path);
            read_uids(&path, &mut hashes).map_err(|source| SinkError::Read { path, source })?;
        }
        Ok((hashes, next))
    }
}

fn read_uids(path: &Path, hashes: &mut Vec<u128>) -> Result<(), ParquetError> {
    let file = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
    let mask = ProjectionMask::columns(file.parquet_schema(), ["metadata.uid"]);
    for batch in file.with_projection(mask).build()? {
        let batch = batch?;
        let metadata = batch.column_by_name("metadata").and_then(|column| column.as_struct_opt());
        let uids = metadata.and_then(|metadata| metadata.column_by_name("uid"));
        let Some(uids) = uids.and_then(|uids| uids.as_string_opt::<i32>()) else {
            return Err(ParquetError::General("there is no metadata.uid".into()));
        };
        hashes.extend(uids.iter().flatten().map(|uid| xxh3_128(uid.as_bytes())));
    }
    Ok(())
}
