//! Reads parts of files for the query engine, and counts what was read.
//!
//! # Input
//! Files of a [`Folder`]; byte ranges.
//! # Maps to
//! Bytes; footers, which are kept while the program runs; [`Reads`], which tells how much was read.
//! # Known gaps
//! Footers are kept without a bound: about 50 kB for each file.
//! # Reference
//! The engine's seam: `ParquetFileReaderFactory`.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use datafusion::{
    datasource::{
        listing::PartitionedFile,
        physical_plan::{ParquetFileReaderFactory, parquet::ParquetFileMetrics},
    },
    error::DataFusionError,
    physical_plan::metrics::ExecutionPlanMetricsSet,
};
use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use object_store::coalesce_ranges;
use parquet::{
    arrow::{
        arrow_reader::ArrowReaderOptions,
        async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder},
    },
    errors::ParquetError,
    file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader},
};

use super::files::LakeFile;
use crate::store::{Folder, StoreError};

/// Bytes at the end of a file that hold its footer, as a rule: 12 to 16 kB, of findings 30.
const FOOTER_BYTES: u64 = 16 << 10;
/// Gaps up to this are read along: a request costs about as much as so many bytes.
const GAP_BYTES: u64 = 16 << 10;

/// How much was read.
#[derive(Debug, Default)]
pub struct Reads {
    /// Bytes.
    pub bytes: AtomicU64,
    /// Requests, or reads of a local file.
    pub requests: AtomicU64,
    /// Files of which more than the footer is read.
    pub files: AtomicU64,
    /// Files that could not be ruled out, so far.
    pub wanted: AtomicU64,
}

/// Files of a lake and of its state.
#[derive(Clone)]
pub struct Reader {
    lake: Folder,
    state: Folder,
    reads: Arc<Reads>,
    footers: Arc<Mutex<HashMap<String, Arc<ParquetMetaData>>>>,
    /// Files of which more than the footer was asked for.
    opened: Arc<Mutex<BTreeSet<Arc<LakeFile>>>>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("reads", &self.reads).finish_non_exhaustive()
    }
}

impl Reader {
    /// Nothing is read yet.
    pub fn new(lake: Folder, state: Folder) -> Self {
        Self { lake, state, reads: Arc::default(), footers: Arc::default(), opened: Arc::default() }
    }

    /// What was read by this and all that was cloned of it.
    pub fn reads(&self) -> &Reads {
        &self.reads
    }

    /// A file, to be read in parts.
    pub fn open(&self, file: &Arc<LakeFile>) -> FileReader {
        FileReader { reader: self.clone(), file: Arc::clone(file) }
    }

    /// Reads the files that were opened once more, each as a whole: those that cannot be read, and why.
    pub async fn damaged(&self) -> Vec<(String, ParquetError)> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut damaged = Vec::new();
        for file in opened {
            if let Err(error) = self.open(&file).read_all().await {
                damaged.push((self.name(&file), error));
            }
        }
        damaged
    }

    /// The whole path of a file.
    pub fn name(&self, file: &LakeFile) -> String {
        self.folder(file).name(&file.path)
    }

    /// The state folder.
    pub fn state(&self) -> &Folder {
        &self.state
    }

    fn folder(&self, file: &LakeFile) -> &Folder {
        if file.partition.is_some() { &self.lake } else { &self.state }
    }
}

/// One file, read in parts.
#[derive(Clone)]
pub struct FileReader {
    reader: Reader,
    file: Arc<LakeFile>,
}

impl FileReader {
    async fn range(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        let Reads { bytes, requests, .. } = self.reader.reads();
        bytes.fetch_add(range.end - range.start, Relaxed);
        requests.fetch_add(1, Relaxed);
        self.reader.folder(&self.file).read_range(&self.file.path, range).await
    }

    /// The footer; with the page indexes, if they were asked for before.
    pub async fn footer(&self) -> Result<Arc<ParquetMetaData>, ParquetError> {
        let footers = || self.reader.footers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = footers().get(&self.file.path) {
            return Ok(Arc::clone(known));
        }
        let mut reader = ParquetMetaDataReader::new()
            .with_page_index_policy(PageIndexPolicy::Skip)
            .with_prefetch_hint(Some(FOOTER_BYTES as usize));
        reader.try_load(&mut self.clone(), self.file.size).await?;
        Ok(self.keep(reader.finish()?))
    }

    /// The footer with the page indexes, which only a file needs that is read in part.
    pub async fn indexes(&self) -> Result<Arc<ParquetMetaData>, ParquetError> {
        let footer = self.footer().await?;
        if footer.offset_index().is_some() {
            return Ok(footer);
        }
        let mut reader = ParquetMetaDataReader::new_with_metadata((*footer).clone())
            .with_page_index_policy(PageIndexPolicy::Optional);
        reader.load_page_index(&mut self.clone()).await?;
        Ok(self.keep(reader.finish()?))
    }

    fn keep(&self, footer: ParquetMetaData) -> Arc<ParquetMetaData> {
        let footer = Arc::new(footer);
        let mut footers = self.reader.footers.lock().unwrap_or_else(PoisonError::into_inner);
        footers.insert(self.file.path.clone(), Arc::clone(&footer));
        footer
    }
}

impl FileReader {
    async fn read_all(self) -> Result<(), ParquetError> {
        let builder = ParquetRecordBatchStreamBuilder::new(self).await?;
        let mut rows = builder.build()?;
        while let Some(batch) = rows.next().await {
            batch?;
        }
        Ok(())
    }
}

impl AsyncFileReader for FileReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        async move { self.range(range).await.map_err(external) }.boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        async move {
            let fetch = |range| self.range(range);
            coalesce_ranges(&ranges, fetch, GAP_BYTES).await.map_err(external)
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        self.footer().boxed()
    }
}

/// Errors of the store are not wrapped twice by the engine.
fn external(error: StoreError) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl ParquetFileReaderFactory for Reader {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        _metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>, DataFusionError> {
        let known = file.extension::<Arc<LakeFile>>().ok_or_else(|| {
            DataFusionError::Internal(format!("{} is no file of the lake", file.path()))
        })?;
        // Its counters show up in EXPLAIN ANALYZE.
        drop(ParquetFileMetrics::new(partition, &known.path, metrics));
        self.reads.files.fetch_add(1, Relaxed);
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).insert(Arc::clone(known));
        Ok(Box::new(self.open(known)))
    }
}
