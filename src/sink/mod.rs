//! Sinks eat chunks and answer once, when everything is durable or staged for the commit.
//!
//! # Input
//! Chunks of one batch, shared among all sinks.
//! # Maps to
//! A receipt: what became of the rows of each object.
//! # Known gaps
//! None.
//! # Reference
//! Design section 4.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use parsers::{Chunk, ocsf::Class};
use tokio::sync::mpsc::Receiver;

pub mod earlier;
pub mod lines;
pub mod opensearch;
pub mod parquet;
pub mod partition;
pub mod reject;

/// Eats the chunks of one batch.
pub trait Sink {
    /// What it answers.
    type Receipt;

    /// Runs until the channel closes; nothing is lost if it returns a receipt.
    fn run(
        self,
        chunks: Receiver<Arc<Chunk>>,
    ) -> impl Future<Output = Result<Self::Receipt, SinkError>> + Send;
}

/// A sink cannot go on: the batch fails.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Parquet cannot be encoded.
    #[error("cannot encode {}: {source}", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ::parquet::errors::ParquetError,
    },
    /// A file of the lake cannot be read.
    #[error("cannot read {}: {source}; load its objects again with --force", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ::parquet::errors::ParquetError,
    },
    /// Work panicked.
    #[error(transparent)]
    Panicked(#[from] crate::cpu::Panicked),
}

/// A file that waits for the commit of its batch.
#[derive(Clone, Debug)]
pub struct StagedFile {
    /// Where it is.
    pub staged: PathBuf,
    /// Where it goes, below the lake.
    pub path: String,
    /// Its class.
    pub class: &'static Class,
    /// Its rows.
    pub rows: u64,
    /// Its rows by account.
    pub accounts: BTreeMap<String, u64>,
    /// Numbers of the objects that its rows were read from, ascending.
    pub objects: Vec<u32>,
}
