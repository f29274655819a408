//! Indexes what is in the lake and not in the index, from the lake.
//!
//! # Input
//! Ledger and manifests, which tell what is to be indexed and in which files it is; those files.
//! # Maps to
//! Documents, the same that a load would have sent; lines in `indexed/` that say so.
//! # Known gaps
//! What is known of the objects stays in memory, about 400 bytes each. With a filter nothing is noted:
//! what was sent is sent again the next time, and is there already.
//! # Reference
//! Design section 6.

use std::{
    collections::{BTreeSet, HashMap, hash_map},
    fs::File,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use arrow::array::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parsers::{
    Chunk, Documents, Filter, ObjectCounts, ObjectKey,
    ocsf::{CLASSES, Class},
};
use tokio::sync::mpsc;

use crate::{
    batch::{now_ms, stamp},
    cpu::{Cpu, Panicked},
    indexing::IndexError,
    ledger::{Entry, Indexed, IndexedLater, Ledger, LedgerError},
    load::{Settings, StartError, check_state, check_used},
    progress::Progress,
    publish::{
        manifest::{self, History, HistoryError},
        rows::fit,
        visible::published_class,
    },
    redrive::of_any_content,
    report::Report,
    select::index_rejects_path,
    sink::{
        Sink, SinkError,
        opensearch::{Index, IndexCounts, OpenSearchSink},
    },
    store::{Folder, ObjectRef, S3, StoreError, scratch},
};

/// Rows that are read at once.
const ROWS: usize = 256;

/// The lake cannot be indexed.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// The places are wrong.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The index cannot be used.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// There is no index.
    #[error("which index? set --opensearch")]
    NoIndex,
    /// Ledger, manifests or files cannot be read, or not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The manifests cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// Refused documents cannot be written.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// Work panicked.
    #[error(transparent)]
    Panicked(#[from] Panicked),
    /// There are no threads to be had.
    #[error("cannot start threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// An object whose rows are to be indexed.
struct Wanted {
    day: String,
    batch: String,
    object: ObjectRef,
    /// Its rows, repetitions included.
    rows: u64,
}

/// A file with rows that are to be indexed.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Source {
    path: String,
    /// It is in the state folder, else in the lake.
    staged: bool,
}

/// Indexes what the ledger does not know to be in this index; with force everything.
pub async fn fill(settings: &Settings, progress: &Progress) -> Result<Report, FillError> {
    let started = Instant::now();
    check_state(&settings.lake, &settings.state)?;
    let connected = settings.index.connect().await?.ok_or(FillError::NoIndex)?;
    let s3 = S3::new(settings.lake_access.clone());
    let lake = Folder::open(&settings.lake, &s3).await?;
    let state = Folder::open(&settings.state, &s3).await?;
    check_used(&settings.lake, &settings.state, &state).await?;
    let index = settings.index.open(connected, &state, &settings.budget, settings.dry_run).await?;
    // Which cluster it is decides what is to be sent, and there is nothing else to do meanwhile.
    index.wait().await.map_err(IndexError::from)?;
    let (wanted, files) = wanted(settings, &state, index.id().as_deref()).await?;
    let mut report = Report {
        filled: true,
        filtered: settings.filter != Filter::default(),
        dry_run: settings.dry_run,
        index_url: Some(index.cluster.url().to_owned()),
        index: Some(IndexCounts::default()),
        ..Report::default()
    };
    report.objects.skipped = wanted.len() as u64;
    report.files = files.len() as u64;
    if !settings.dry_run && !files.is_empty() {
        let cpu = Cpu::new(settings.budget.lanes)?;
        let unasked = AtomicU64::new(0);
        let fill = Fill { settings, progress, lake, state, index, cpu, unasked };
        fill.run(wanted, files, &mut report).await?;
        fill.index.refresh().await;
    }
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// What is to be indexed, and the files that have it.
async fn wanted(
    settings: &Settings,
    state: &Folder,
    id: Option<&str>,
) -> Result<(Vec<Wanted>, BTreeSet<Source>), FillError> {
    let ledger = Ledger::new(state.clone());
    let history = History::read(state).await?;
    let mut manifests: HashMap<u64, Vec<String>> = HashMap::new();
    let mut wanted = Vec::new();
    let mut files = BTreeSet::new();
    for day in ledger.all_days().await? {
        let mut later: HashMap<_, Vec<IndexedLater>> = HashMap::new();
        for line in ledger.indexed_later(&day).await? {
            let about = (line.batch.clone(), line.bucket.clone(), line.key.clone());
            later.entry(about).or_default().push(line);
        }
        let indexed = |entry: &Entry| {
            let mut indexed = Indexed::of(entry, id);
            let about = (entry.batch.clone(), entry.bucket.clone(), entry.key.clone());
            for line in later.get(&about).into_iter().flatten() {
                if (&line.etag, line.size) == (&entry.etag, entry.size) {
                    indexed.add(line, entry.rows(), id);
                }
            }
            indexed
        };
        for entry in ledger.day(&day, None).await?.into_iter().flatten() {
            let rows = entry.rows();
            if rows == 0 || !settings.force && indexed(&entry).is_done() {
                continue;
            }
            for path in &entry.files {
                match history.merged(path).filter(|_| entry.staged) {
                    None => {
                        files.insert(Source { path: path.clone(), staged: entry.staged });
                    }
                    Some(sequence) => {
                        if let hash_map::Entry::Vacant(vacant) = manifests.entry(sequence) {
                            let manifest = manifest::read(state, sequence).await?;
                            let files = manifest.map(|manifest| manifest.files).unwrap_or_default();
                            vacant.insert(files.into_iter().map(|file| file.path).collect());
                        }
                        let paths = manifests[&sequence].iter().cloned();
                        files.extend(paths.map(|path| Source { path, staged: false }));
                    }
                }
            }
            let object = entry.object();
            wanted.push(Wanted { day: day.clone(), batch: entry.batch, object, rows });
        }
    }
    Ok((wanted, files))
}

struct Fill<'s> {
    settings: &'s Settings,
    progress: &'s Progress,
    lake: Folder,
    state: Folder,
    index: Arc<Index>,
    cpu: Cpu,
    /// Rows that the filter does not admit.
    unasked: AtomicU64,
}

impl Fill<'_> {
    async fn run(
        &self,
        wanted: Vec<Wanted>,
        files: BTreeSet<Source>,
        report: &mut Report,
    ) -> Result<(), FillError> {
        let folder = scratch()?;
        let objects: Vec<_> = wanted.iter().map(|one| one.object.clone()).collect();
        // Rows of other objects may be in the same files.
        let others = of_any_content("", "");
        let days = wanted.iter().map(|one| one.day.clone()).chain(["unknown".into()]);
        let sink = OpenSearchSink {
            index: Arc::clone(&self.index),
            cpu: self.cpu.clone(),
            workspace: folder.path().to_owned(),
            objects: objects.iter().cloned().chain([others]).collect(),
            days: days.collect(),
            deadline: None,
            beside_lake: false,
        };
        let names = objects.iter().zip(0..);
        let names = names
            .map(|(object, number)| (ObjectKey::new(object.key.clone()).name().to_owned(), number));
        let names: Arc<HashMap<String, u32>> = Arc::new(names.collect());
        // Names in the order of time, also within a second: what a later line says counts.
        let now = now_ms();
        let id = format!("{}-fill-{now:013}-{:08x}", stamp(now), fastrand::u32(..));
        let is_noted = self.settings.filter == Filter::default();
        if self.settings.force && is_noted {
            // What is known to be there is sent again because it may not be: until that is done, it is
            // pending, whatever becomes of this run.
            let index_id = self.index.id();
            let pending = wanted.iter().map(|one| {
                let counts = IndexCounts { pending: one.rows, ..IndexCounts::default() };
                let (batch, object) = (&one.batch, &one.object);
                let line = IndexedLater::new(batch, object, counts, index_id.as_deref());
                (one.day.clone(), line)
            });
            IndexedLater::write(&self.state, &format!("{id}-begin"), pending).await?;
        }
        let (chunks, queue) = mpsc::channel(self.settings.budget.queued_chunks);
        let sink = tokio::spawn(sink.run(queue));
        for file in files {
            let name = if file.staged { &self.state } else { &self.lake }.name(&file.path);
            let rows = self.read(&file, folder.path(), &names, objects.len() as u32, &chunks);
            if let Err(why) = rows.await {
                report.failures.add(name, why);
                report.objects.failed += 1;
            }
            self.progress.object();
        }
        drop(chunks);
        let receipt = sink.await.map_err(Panicked::from)??;
        for counts in &receipt.counts {
            *report.index.get_or_insert_default() += *counts;
        }
        report.index.get_or_insert_default().excluded += self.unasked.load(Relaxed);
        report.index_rejects.extend(receipt.reasons);
        report.index_bytes = Some(self.index.sent_bytes());
        report.index_error = receipt.error.map(|error| error.what);
        for (day, path) in &receipt.rejects {
            self.state.upload(&index_rejects_path(day, &id), path).await?;
        }
        if report.objects.failed > 0 || !is_noted {
            return Ok(());
        }
        let done = wanted.iter().zip(receipt.counts).filter_map(|(one, mut counts)| {
            let IndexCounts { indexed, duplicate, rejected, excluded, .. } = counts;
            let repeated = one.rows.saturating_sub(indexed + duplicate + rejected + excluded);
            counts.duplicate += repeated;
            let id = receipt.id.as_deref();
            let line = || IndexedLater::new(&one.batch, &one.object, counts, id);
            (counts.pending == 0).then(|| (one.day.clone(), line()))
        });
        IndexedLater::write(&self.state, &format!("{id}-end"), done).await?;
        Ok(())
    }

    /// Makes documents of the rows of a file. Errors say why it cannot be read.
    async fn read(
        &self,
        file: &Source,
        folder: &Path,
        names: &Arc<HashMap<String, u32>>,
        others: u32,
        chunks: &mpsc::Sender<Arc<Chunk>>,
    ) -> Result<(), String> {
        let class = class_of(file).ok_or("its path does not tell its class")?;
        let from = if file.staged { &self.state } else { &self.lake };
        let path: PathBuf = if let Some(folder) = from.local() {
            folder.join(&file.path)
        } else {
            let copy = folder.join("rows.parquet");
            from.download(&file.path, &copy).await.map_err(|error| error.to_string())?;
            copy
        };
        let open = || {
            let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(&path)?)?;
            builder.with_batch_size(ROWS).build()
        };
        let size = std::fs::metadata(&path).map_or(0, |file| file.len());
        self.progress.listed(size);
        self.progress.bytes(size);
        let mut reader =
            open().map_err(|error: parquet::errors::ParquetError| error.to_string())?;
        let schema = class.schema();
        loop {
            let schema = Arc::clone(&schema);
            let next = self.cpu.run(move || {
                let rows = reader.next().map(|rows| fit(&rows?, &schema));
                (reader, rows)
            });
            let (returned, rows) = next.await.map_err(|error| error.to_string())?;
            reader = returned;
            let Some(rows) = rows else { break };
            let rows = rows.map_err(|error| error.to_string())?;
            self.send(class, rows, names, others, chunks).await?;
        }
        if from.local().is_none() {
            std::fs::remove_file(&path).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    async fn send(
        &self,
        class: &'static Class,
        rows: RecordBatch,
        names: &Arc<HashMap<String, u32>>,
        others: u32,
        chunks: &mpsc::Sender<Arc<Chunk>>,
    ) -> Result<(), String> {
        let max_bytes = self.settings.budget.document_bytes;
        let rows = Arc::new(rows);
        let mut next = 0;
        while next < rows.num_rows() {
            let (rows, names) = (Arc::clone(&rows), Arc::clone(names));
            let indexing = Arc::clone(&self.index.indexing);
            let filter = self.settings.filter.clone();
            let made = self.cpu.run(move || {
                let mut documents = Documents::default();
                let mut unindexed: HashMap<u32, u64> = HashMap::new();
                let mut object = |name: &str, is_indexed: bool| {
                    let number = names.get(name).copied().unwrap_or(others);
                    if !is_indexed {
                        *unindexed.entry(number).or_default() += 1;
                    }
                    number
                };
                let from = (next, max_bytes);
                let first = next;
                let next =
                    (class.documents)(&mut documents, &indexing, &filter, &rows, from, &mut object);
                let taken = documents.all().len() + unindexed.values().sum::<u64>() as usize;
                let counts = unindexed.into_iter().map(|(object, unindexed)| ObjectCounts {
                    object,
                    unindexed,
                    ..ObjectCounts::default()
                });
                let chunk = Chunk {
                    tables: Vec::new(),
                    partitions: Vec::new(),
                    rejects: Vec::new(),
                    counts: counts.collect(),
                    documents: Arc::new(documents),
                };
                (next, next - first - taken, chunk)
            });
            let (row, unasked, chunk) = made.await.map_err(|error| error.to_string())?;
            next = row;
            self.unasked.fetch_add(unasked as u64, Relaxed);
            self.progress.records(chunk.documents.all().len() as u64);
            chunks.send(Arc::new(chunk)).await.map_err(|_| "the index has stopped".to_owned())?;
        }
        Ok(())
    }
}

/// The class of a file: `.../class=<uid>/...`, or `ext/<prefix>-<uid>/...`.
fn class_of(file: &Source) -> Option<&'static Class> {
    if !file.staged {
        return published_class(&file.path);
    }
    let uid = file.path.split('/').find_map(|part| part.strip_prefix("class="))?;
    let uid: i32 = uid.parse().ok()?;
    CLASSES.iter().copied().find(|class| class.uid == uid)
}
