//! Writes partitions as Parquet files, each whole before its batch is committed.
//!
//! # Input
//! Chunks of a batch.
//! # Maps to
//! Parquet files: zstd, pages of about 1 MiB, one row group per file (far below 256 MB, because
//! the partition buffers are), statistics and page index, Bloom filters of what investigations look
//! up, sorted rows.
//! # Known gaps
//! A column below a list that has no value at all in a page has no column index in its file
//! (parquet 59 compares its nulls with rows).
//! # Reference
//! Design section 6; Security Lake's rules for custom sources,
//! <https://docs.aws.amazon.com/security-lake/latest/userguide/adding-custom-sources.html>.

use std::{
    collections::BTreeSet,
    fs::File,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{array::UInt32Array, compute::take_record_batch, datatypes::SchemaRef};
use parquet::{
    arrow::{ArrowWriter, arrow_writer::ArrowWriterOptions},
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::{metadata::KeyValue, properties::WriterProperties},
    schema::types::ColumnPath,
};
use parsers::{
    Chunk,
    ocsf::{Class, Field, Kind},
};
use tokio::{sync::mpsc::Receiver, task::JoinSet};

use super::{
    Sink, SinkError, StagedFile,
    earlier::Earlier,
    partition::{Buffers, Layout, Part},
};
use crate::cpu::Cpu;

/// Version of the lake's schema, kept in each file; it only grows.
pub const SCHEMA_VERSION: &str = "1";
/// Rows that are turned into Arrow at a time, unless their records are long.
pub(crate) const SLICE_ROWS: usize = 4096;
const PAGE_BYTES: usize = 1 << 20;
/// Ids that hardly ever repeat; columns of JSON are like them.
const VARIOUS: [&str; 2] = ["metadata.uid", "api.request.uid"];
/// What investigations look up: ids, keys, principals, addresses, interfaces, resources.
const LOOKED_UP: [&str; 18] = [
    "metadata.uid",
    "actor.user.credential_uid",
    "actor.user.uid",
    "actor.user.name",
    "actor.session.issuer",
    "session.credential_uid",
    "src_endpoint.ip",
    "dst_endpoint.ip",
    "src_endpoint.interface_uid",
    "dst_endpoint.interface_uid",
    "src_endpoint.instance_uid",
    "dst_endpoint.instance_uid",
    "resources.list.element.uid",
    "user.uid",
    "user.name",
    "policy.uid",
    "finding_info.uid",
    "unmapped.key_value.value",
];
/// Of so many texts that are not in a file one seems to be in it.
const BLOOM_FPP: f64 = 0.01;
/// Other texts than ids that a filter is meant for, at most: 128 KiB while it is filled. What is
/// written is as small as the texts allow.
const BLOOM_TEXTS: u64 = 1 << 16;
/// Ids that a filter is meant for, at most: 2 MiB.
const BLOOM_IDS: u64 = 1 << 20;

/// What became of the rows of a batch.
#[derive(Debug, Default)]
pub struct ParquetReceipt {
    /// Rows written, for each object.
    pub written: Vec<u64>,
    /// Rows that repeat an event of the batch, for each object.
    pub duplicate: Vec<u64>,
    /// The files, not yet in the lake.
    pub files: Vec<StagedFile>,
}

impl ParquetReceipt {
    /// No rows of so many objects.
    pub fn of_none(objects: usize) -> Self {
        Self { written: vec![0; objects], duplicate: vec![0; objects], files: Vec::new() }
    }
}

/// Writes the files of one batch into its workspace.
pub struct ParquetSink {
    /// Where encoding runs.
    pub cpu: Cpu,
    /// How many files are encoded at the same time.
    pub writers: usize,
    /// Rows held back, over all partitions, in bytes.
    pub partition_bytes: usize,
    /// How rows are divided into files.
    pub layout: Layout,
    /// Folder for files before the commit; it exists.
    pub workspace: PathBuf,
    /// Batch id, the first part of every file name.
    pub batch: String,
    /// For each object: no other object of the batch can repeat its rows.
    pub unique: Arc<[bool]>,
    /// What the batch has already; empty but where it is extended.
    pub earlier: Earlier,
}

impl Sink for ParquetSink {
    type Receipt = ParquetReceipt;

    async fn run(self, mut chunks: Receiver<Arc<Chunk>>) -> Result<ParquetReceipt, SinkError> {
        let objects = self.unique.len();
        let mut buffers =
            Buffers::new(self.layout.clone(), Arc::clone(&self.unique), self.earlier.clone());
        let mut jobs = Jobs {
            sink: &self,
            running: JoinSet::new(),
            started: 0,
            receipt: ParquetReceipt {
                written: vec![0; objects],
                duplicate: vec![0; objects],
                files: Vec::new(),
            },
        };
        while let Some(chunk) = chunks.recv().await {
            let work = move || buffers.add(&chunk).map(|()| buffers);
            buffers = self.cpu.run(work).await??;
            // Half of the memory is for rows that wait, half for files being encoded.
            while buffers.bytes() > self.partition_bytes / 2 {
                let (returned, parts) = self
                    .cpu
                    .run(move || {
                        let parts = buffers.take_some();
                        (buffers, parts)
                    })
                    .await?;
                buffers = returned;
                jobs.start(parts).await?;
            }
        }
        loop {
            let (returned, parts) = self
                .cpu
                .run(move || {
                    let parts = buffers.take_last();
                    (buffers, parts)
                })
                .await?;
            buffers = returned;
            if parts.is_empty() {
                return jobs.finish().await;
            }
            jobs.start(parts).await?;
        }
    }
}

/// Files that are being encoded.
struct Jobs<'s> {
    sink: &'s ParquetSink,
    running: JoinSet<Result<Done, SinkError>>,
    started: usize,
    receipt: ParquetReceipt,
}

struct Done {
    file: Option<StagedFile>,
    /// The object of each row.
    objects: Vec<u32>,
}

impl Jobs<'_> {
    /// Starts on parts that were taken out together. Waits for those before: their rows are in
    /// memory until the last one is written.
    async fn start(&mut self, parts: Vec<Part>) -> Result<(), SinkError> {
        self.join_all().await?;
        for part in parts {
            for object in &part.duplicates {
                self.receipt.duplicate[*object as usize] += 1;
            }
            while self.running.len() >= self.sink.writers {
                self.join().await?;
            }
            let staged = self.sink.workspace.join(format!("{}.parquet", self.started));
            self.started += 1;
            let path = format!("{}/{}-{:05}.parquet", part.folder, self.sink.batch, part.number);
            let cpu = self.sink.cpu.clone();
            self.running.spawn(async move { cpu.run(move || encode(part, staged, path)).await? });
        }
        Ok(())
    }

    async fn join(&mut self) -> Result<(), SinkError> {
        let Some(joined) = self.running.join_next().await else {
            return Ok(());
        };
        let done = joined.map_err(crate::cpu::Panicked::from)??;
        for object in &done.objects {
            self.receipt.written[*object as usize] += 1;
        }
        self.receipt.files.extend(done.file);
        Ok(())
    }

    async fn join_all(&mut self) -> Result<(), SinkError> {
        while !self.running.is_empty() {
            self.join().await?;
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<ParquetReceipt, SinkError> {
        self.join_all().await?;
        self.receipt.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(self.receipt)
    }
}

/// Encodes and writes one file; none if all its rows were repetitions.
fn encode(part: Part, staged: PathBuf, path: String) -> Result<Done, SinkError> {
    let keys = &part.rows.keys;
    let objects: Vec<u32> = part.order.iter().map(|&row| keys[row as usize].object).collect();
    if objects.is_empty() {
        return Ok(Done { file: None, objects });
    }
    let class = part.class;
    let accounts = part.accounts.clone();
    write(part, &staged)?;
    let file = StagedFile {
        staged,
        path,
        class,
        rows: objects.len() as u64,
        accounts,
        objects: objects.iter().copied().collect::<BTreeSet<_>>().into_iter().collect(),
    };
    Ok(Done { file: Some(file), objects })
}

fn write(part: Part, staged: &Path) -> Result<(), SinkError> {
    let on_encode = |source| encode_error(staged, source);
    let keys = &part.rows.keys;
    let slices = slices(part.order.iter().map(|&row| keys[row as usize].record_bytes as usize));
    let rows = &part.rows.batch;
    let order = UInt32Array::from(part.order);
    let mut writer = writer(part.class, rows.schema(), staged, Some(order.len() as u64))?;
    for range in slices {
        let slice = order.slice(range.start, range.len());
        let sorted = take_record_batch(rows, &slice)
            .map_err(|error| on_encode(ParquetError::from(error)))?;
        writer.write(&sorted).map_err(on_encode)?;
    }
    close(writer, staged)
}

/// Starts a file of the lake, where there is none yet: one of so many rows at most that are looked
/// up, or one that is only read as a whole.
pub(crate) fn writer(
    class: &Class,
    schema: SchemaRef,
    path: &Path,
    looked_up: Option<u64>,
) -> Result<ArrowWriter<File>, SinkError> {
    let file = File::create_new(path)
        .map_err(|source| SinkError::Write { path: path.to_owned(), source })?;
    // The Arrow schema would say that texts are dictionaries; readers need not know.
    let options = ArrowWriterOptions::new()
        .with_properties(properties(class, looked_up))
        .with_skip_arrow_metadata(true);
    ArrowWriter::try_new_with_options(file, schema, options)
        .map_err(|error| encode_error(path, error))
}

/// Ends a file: it is whole and on the disk.
pub(crate) fn close(writer: ArrowWriter<File>, path: &Path) -> Result<(), SinkError> {
    let file = writer.into_inner().map_err(|error| encode_error(path, error))?;
    file.sync_data().map_err(|source| SinkError::Write { path: path.to_owned(), source })
}

/// What the writer says of a file.
pub(crate) fn encode_error(path: &Path, source: ParquetError) -> SinkError {
    let path = path.to_owned();
    match source {
        // The writer wraps errors of the file.
        ParquetError::External(inner) => match inner.downcast() {
            Ok(source) => SinkError::Write { path, source: *source },
            Err(inner) => SinkError::Encode { path, source: ParquetError::External(inner) },
        },
        source => SinkError::Encode { path, source },
    }
}

/// Rows that are written at a time, from the bytes of each. The writer looks at the size of a page
/// only after each of these, so that one holds about a page of text at most, or one row.
pub(crate) fn slices(row_bytes: impl IntoIterator<Item = usize>) -> Vec<Range<usize>> {
    let mut slices = Vec::new();
    let (mut start, mut end, mut bytes) = (0, 0, 0);
    for row_bytes in row_bytes {
        if end > start && (end - start == SLICE_ROWS || bytes + row_bytes > PAGE_BYTES) {
            slices.push(start..end);
            (start, bytes) = (end, 0);
        }
        bytes += row_bytes;
        end += 1;
    }
    slices.push(start..end);
    slices
}

fn properties(class: &Class, looked_up: Option<u64>) -> WriterProperties {
    let version = KeyValue::new("trailhound.schema".to_owned(), SCHEMA_VERSION.to_owned());
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_data_page_size_limit(PAGE_BYTES)
        .set_max_row_group_row_count(None)
        .set_key_value_metadata(Some(vec![version]))
        .set_created_by(format!("trailhound {}", env!("CARGO_PKG_VERSION")));
    for path in various(class.fields, &[]) {
        properties = properties.set_column_dictionary_enabled(path, false);
    }
    for path in LOOKED_UP.into_iter().filter(|_| looked_up.is_some()) {
        let most = if VARIOUS.contains(&path) { BLOOM_IDS } else { BLOOM_TEXTS };
        let parts: Vec<String> = path.split('.').map(str::to_owned).collect();
        let path = ColumnPath::new(parts);
        properties = properties
            .set_column_bloom_filter_fpp(path.clone(), BLOOM_FPP)
            .set_column_bloom_filter_max_ndv(path, looked_up.unwrap_or_default().clamp(1, most));
    }
    properties.build()
}

/// Columns in which nearly every value is another one: a dictionary would only be thrown away.
fn various(fields: &[Field], parents: &[String]) -> Vec<ColumnPath> {
    let mut paths = Vec::new();
    for field in fields {
        let path = [parents, &[field.name.to_owned()]].concat();
        match field.kind {
            Kind::Object(fields) => paths.extend(various(fields, &path)),
            Kind::Json => paths.push(ColumnPath::new(path)),
            _ if VARIOUS.contains(&path.join(".").as_str()) => paths.push(ColumnPath::new(path)),
            _ => {}
        }
    }
    paths
}
