//! Loads one batch: lanes feed sinks, and what they answer is committed with the ledger last.
//!
//! # Input
//! A [`Batch`] of objects.
//! # Maps to
//! Rows, rejects and ledger lines, the ledger last; an [`Outcome`]. In a lake of this machine rows
//! are files of its partitions. Anywhere else they are one staged file for each class, which
//! `publish` merges into partitions: a small batch would make a file for each of thousands.
//! # Known gaps
//! If a sink fails the whole batch is undone.
//! # Reference
//! Design sections 2 and 5.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use parsers::{Accounts, time};
use tokio::sync::mpsc;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    budget::Budget,
    cluster::ClusterError,
    cpu::{Cpu, Panicked, blocking},
    inflate::Caps,
    ledger::{Failure, IndexedLater, Ledger, RecordCounts, State},
    progress::Progress,
    pump::ObjectError,
    read::{self, Deadline, LaneReport},
    select::{Batch, Item, index_rejects_path, ledger_day, rejects_path},
    sink::{
        Sink, SinkError,
        opensearch::{Index, IndexCounts, IndexReceipt, OpenSearchSink},
        parquet::{ParquetReceipt, ParquetSink},
        partition::Layout,
        reject::RejectSink,
    },
    store::{Folder, Kind, Sources, StoreError, scratch},
    workspace::{FileError, Places, Workspace},
};

mod commit;

use commit::{entries, plan, remove_stale_parts};

/// What every batch of a run shares.
#[derive(Clone)]
pub struct Engine {
    /// Where work runs that takes cycles.
    pub cpu: Cpu,
    /// Sizes of buffers.
    pub budget: Budget,
    /// Limits of decompression.
    pub caps: Caps,
    /// Where objects are.
    pub sources: Sources,
    /// Where to.
    pub destination: Destination,
    /// Where rows are indexed as well.
    pub index: Option<Arc<Index>>,
    /// Until when, if there is no time for everything.
    pub deadline: Option<Arc<Deadline>>,
    /// Names of accounts.
    pub accounts: Arc<Accounts>,
    /// For people.
    pub progress: Progress,
}

/// Where rows go.
#[derive(Clone)]
pub enum Destination {
    /// Into the partitions of a lake of this machine.
    Lake(Places),
    /// Into staged files in this state folder.
    Staged(Folder),
}

/// A batch that could not be committed; nothing of it is in the lake.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// A sink failed.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A bucket or folder cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Work panicked.
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

/// What became of an object.
#[derive(Debug)]
pub struct ObjectOutcome {
    /// Its path and version.
    pub id: String,
    /// Its path.
    pub location: String,
    /// Its source, if there is one.
    pub source: Option<&'static str>,
    /// What became of its records.
    pub records: RecordCounts,
    /// What became of its rows in the index.
    pub index: Option<IndexCounts>,
    /// Bytes of it that were read.
    pub read_bytes: u64,
    /// Failed or unrecognized, and why.
    pub error: Option<(State, Failure)>,
    /// False if there was no time for it: nothing is known of it, and the ledger has nothing.
    pub started: bool,
    /// See [`LaneReport::without_raw`].
    pub without_raw: u64,
    /// Why its bytes cannot be had.
    pub unreadable: Option<Kind>,
}

/// What a batch became.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Its name.
    pub batch: String,
    /// For each object.
    pub objects: Vec<ObjectOutcome>,
    /// Rows in the lake for each class.
    pub by_class: BTreeMap<&'static str, u64>,
    /// Rows in the lake for each account and class.
    pub by_account: BTreeMap<String, BTreeMap<&'static str, u64>>,
    /// Rejected records by reason.
    pub rejects: BTreeMap<&'static str, u64>,
    /// Files in the lake.
    pub files: u64,
    /// Accounts of events that nobody has named.
    pub unnamed_accounts: BTreeSet<String>,
    /// Why documents are pending.
    pub index_error: Option<ClusterError>,
    /// Which index it is, see [`Index::id`].
    pub index_id: Option<Arc<str>>,
    /// Documents that the server refused, by reason.
    pub index_rejects: BTreeMap<String, u64>,
    /// How long reading and encoding took, without the commit.
    pub reading: Duration,
}

impl Outcome {
    /// True if there is something to be committed: lines of rejects of which none can be decoded stay
    /// where they are.
    pub fn is_news(&self, batch: &Batch) -> bool {
        let is_decoded =
            |object: &ObjectOutcome| object.records.records_in > object.records.rejected;
        batch.lines.is_none() || self.objects.iter().any(is_decoded)
    }
}

/// Runs a batch.
pub async fn run(engine: &Engine, mut batch: Batch) -> Result<Outcome, BatchError> {
    // Object numbers follow the names, so that of a repeated event the row of the smaller stays.
    batch.items.sort_by(|a, b| a.key.name().cmp(b.key.name()));
    if batch.index_only {
        return into_index(engine, batch).await;
    }
    let (lake, outcome) = match &engine.destination {
        Destination::Lake(places) => {
            (places.lake.display().to_string(), into_lake(engine, places, batch).await?)
        }
        Destination::Staged(state) => (state.name(""), into_stage(engine, state, batch).await?),
    };
    if let Some(index) = &engine.index
        && engine.deadline.as_ref().is_none_or(|deadline| deadline.left() > SUMMARY)
    {
        index.summarize(&lake, now_ms(), &outcome).await;
    }
    Ok(outcome)
}

/// A summary is not begun if less time than this is left.
const SUMMARY: Duration = Duration::from_secs(4);

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap_or_default().as_millis() as i64
}

async fn into_lake(
    engine: &Engine,
    places: &Places,
    mut batch: Batch,
) -> Result<Outcome, BatchError> {
    let id = batch.id();
    let workspace = {
        let (places, id) = (places.clone(), id.clone());
        blocking(move || Workspace::open(&places, &id)).await??
    };
    let items: Arc<[Item]> = std::mem::take(&mut batch.items).into();
    let layout = Layout::Published;
    let started = Instant::now();
    let answers = run_stages(engine, layout, workspace.dir(), &id, &batch, &items).await?;
    let (batch_id, reading) = (id.clone(), started.elapsed());
    let outcome = Outcome { batch: batch_id, reading, ..outcome(&items, &answers) };
    if !outcome.is_news(&batch) {
        return Ok(outcome);
    }
    let entries = entries(&id, &batch, &items, &outcome, &answers.parquet, None);
    let mut plan = plan(&id, &batch, &answers, &entries);
    let lake = places.lake.clone();
    plan.state = std::path::absolute(&places.state).unwrap_or(places.state.clone());
    let is_whole = batch.lines.is_none();
    blocking(move || {
        if is_whole {
            remove_stale_parts(&mut plan, &lake, &id);
        }
        for (day, lines) in &entries {
            workspace.stage(&format!("ledger-{day}.ndjson"), lines)?;
        }
        workspace.commit(&plan)
    })
    .await??;
    Ok(outcome)
}

async fn into_stage(
    engine: &Engine,
    state: &Folder,
    mut batch: Batch,
) -> Result<Outcome, BatchError> {
    let id = staged_id(&batch.id());
    let scratch = blocking(scratch).await??;
    let items: Arc<[Item]> = std::mem::take(&mut batch.items).into();
    let started = Instant::now();
    let answers = run_stages(engine, Layout::Staged, scratch.path(), &id, &batch, &items).await?;
    let (batch_id, reading) = (id.clone(), started.elapsed());
    let outcome = Outcome { batch: batch_id, reading, ..outcome(&items, &answers) };
    if !outcome.is_news(&batch) {
        return Ok(outcome);
    }
    let started = items.iter().zip(&outcome.objects).filter(|(_, result)| result.started);
    let days = started.map(|(item, _)| ledger_day(&item.key));
    let days = days.chain(batch.notes.iter().map(|note| ledger_day(&note.key)));
    // With the ledger of this day the batch is committed. It is written before those of other days:
    // what they have is known to be loaded, and would never be loaded again.
    let Some(last_day) = days.max() else { return Ok(outcome) };
    let folder = staged_folder(&last_day);
    let mut entries = entries(&id, &batch, &items, &outcome, &answers.parquet, Some(&folder));
    let uploads =
        answers.parquet.files.iter().map(|file| async {
            state.upload(&format!("{folder}/{}", file.path), &file.staged).await
        });
    try_join_all(uploads).await?;
    for (day, path) in &answers.rejects {
        state.upload(&rejects_path(day, &id), path).await?;
    }
    for (day, path) in answers.index.iter().flat_map(|index| &index.rejects) {
        state.upload(&index_rejects_path(day, &id), path).await?;
    }
    let first = entries.remove(&last_day).map(|lines| (last_day, lines));
    for (day, lines) in first.into_iter().chain(entries) {
        state.write(&Ledger::path(&day, &id), lines.into()).await?;
    }
    Ok(outcome)
}

/// Indexes rows that are in the lake, and notes that they are indexed now.
async fn into_index(engine: &Engine, mut batch: Batch) -> Result<Outcome, BatchError> {
    let Some(index) = &engine.index else { return Ok(Outcome::default()) };
    let id = staged_id(&batch.id());
    let scratch = blocking(scratch).await??;
    let items: Arc<[Item]> = std::mem::take(&mut batch.items).into();
    let started = Instant::now();
    let (chunks, queue) = mpsc::channel(engine.budget.queued_chunks);
    let sink = tokio::spawn(index_sink(engine, index, scratch.path(), &items, false).run(queue));
    let lanes = read::read(engine, &items, &batch.filters, vec![chunks]).await;
    let receipt = sink.await.map_err(Panicked::from)??;
    let answers = Answers {
        lanes: lanes?,
        parquet: ParquetReceipt::of_none(items.len()),
        rejects: BTreeMap::new(),
        index: Some(receipt),
    };
    let outcome = Outcome { reading: started.elapsed(), ..outcome(&items, &answers) };
    for (day, path) in answers.index.iter().flat_map(|index| &index.rejects) {
        index.state.upload(&index_rejects_path(day, &id), path).await?;
    }
    let done = items.iter().zip(&outcome.objects).filter_map(|(item, result)| {
        let index = result.index.filter(|counts| result.started && counts.pending == 0)?;
        let (batch, id) = (item.loaded_in.as_deref()?, outcome.index_id.as_deref());
        Some((ledger_day(&item.key), IndexedLater::new(batch, &item.object, index, id)))
    });
    IndexedLater::write(&index.state, &id, done).await?;
    Ok(outcome)
}

fn index_sink(
    engine: &Engine,
    index: &Arc<Index>,
    folder: &Path,
    items: &[Item],
    beside_lake: bool,
) -> OpenSearchSink {
    OpenSearchSink {
        index: Arc::clone(index),
        cpu: engine.cpu.clone(),
        workspace: folder.to_owned(),
        objects: items.iter().map(|item| item.object.clone()).collect(),
        days: items.iter().map(|item| ledger_day(&item.key)).collect(),
        deadline: engine.deadline.clone(),
        beside_lake,
    }
}

/// The folder of the staged files of batches that are committed by the ledger of this day.
pub fn staged_folder(day: &str) -> String {
    format!("{STAGED}/day={day}")
}

/// The folder of all staged files, below the state folder.
pub const STAGED: &str = "staged/v1";

/// A name that no other batch has, in the order of time: the same objects may be staged twice, and
/// what a batch of the same objects has become depends on when it ran.
fn staged_id(objects: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.unwrap_or_default();
    let seed = format!("{objects} {} {now:?} {}", std::process::id(), fastrand::u64(..));
    format!("{}-{:016x}", stamp(now.as_millis() as i64), xxh3_64(seed.as_bytes()))
}

/// `20240501T120000Z`: names in the order of time.
pub fn stamp(ms: i64) -> String {
    let text = time::datetime(ms);
    let kept = text.iter().take(19).filter(|byte| !matches!(byte, b'-' | b':'));
    kept.map(|&byte| char::from(byte)).chain(['Z']).collect()
}

/// What lanes and sinks answered.
struct Answers {
    lanes: LaneReport,
    parquet: ParquetReceipt,
    rejects: BTreeMap<String, PathBuf>,
    index: Option<IndexReceipt>,
}

async fn run_stages(
    engine: &Engine,
    layout: Layout,
    folder: &Path,
    id: &str,
    batch: &Batch,
    items: &Arc<[Item]>,
) -> Result<Answers, BatchError> {
    let budget = &engine.budget;
    let (parquet_chunks, parquet_queue) = mpsc::channel(budget.queued_chunks);
    let parquet = ParquetSink {
        cpu: engine.cpu.clone(),
        writers: budget.lanes,
        partition_bytes: match layout {
            Layout::Published => budget.partition_bytes,
            Layout::Staged => budget.staged_bytes,
        },
        layout,
        workspace: folder.to_owned(),
        batch: id.to_owned(),
        unique: unique(batch, items),
        earlier: batch.lines.as_ref().and_then(|lines| lines.extends.clone()).unwrap_or_default(),
    };
    let parquet = tokio::spawn(parquet.run(parquet_queue));
    let mut sinks = vec![parquet_chunks];
    let index = engine.index.as_ref().map(|index| {
        let (chunks, queue) = mpsc::channel(budget.queued_chunks);
        sinks.push(chunks);
        tokio::spawn(index_sink(engine, index, folder, items, true).run(queue))
    });
    let indexed = async {
        match index {
            Some(index) => index.await.map_err(Panicked::from)?.map(Some),
            None => Ok(None),
        }
    };
    let filters = &batch.filters;
    if let Some(lines) = &batch.lines {
        let decoded = lines.decode(engine, items, filters, folder, sinks).await;
        let parquet = parquet.await.map_err(Panicked::from)??;
        let index = indexed.await?;
        let (lanes, rejects) = decoded?;
        return Ok(Answers { lanes, parquet, rejects, index });
    }
    let (reject_chunks, reject_queue) = mpsc::channel(budget.queued_chunks);
    let rejects = RejectSink {
        cpu: engine.cpu.clone(),
        workspace: folder.to_owned(),
        objects: items.iter().map(|item| item.object.clone()).collect(),
        days: items.iter().map(|item| ledger_day(&item.key)).collect(),
    };
    let rejects = tokio::spawn(rejects.run(reject_queue));
    sinks.push(reject_chunks);

    let lanes = read::read(engine, items, filters, sinks).await;
    let parquet = parquet.await.map_err(Panicked::from)??;
    let rejects = rejects.await.map_err(Panicked::from)??;
    let index = indexed.await?;
    Ok(Answers { lanes: lanes?, parquet, rejects, index })
}

/// For each object: no other object of the batch can repeat its rows.
fn unique(batch: &Batch, items: &[Item]) -> Arc<[bool]> {
    let mut names: HashMap<&str, u32> = HashMap::new();
    for item in items {
        *names.entry(item.key.name()).or_default() += 1;
    }
    // A batch that is extended has more objects than these.
    let is_whole = batch.lines.is_none();
    let by_position =
        |item: &Item| is_whole && item.source.is_some_and(|source| source.uid_by_position);
    items.iter().map(|item| by_position(item) && names[item.key.name()] == 1).collect()
}

fn outcome(items: &[Item], answers: &Answers) -> Outcome {
    let mut outcome = Outcome {
        rejects: answers.lanes.rejects.clone(),
        files: answers.parquet.files.len() as u64,
        unnamed_accounts: answers.lanes.unnamed_accounts.clone(),
        index_id: answers.index.as_ref().and_then(|index| index.id.clone()),
        index_error: answers.index.as_ref().and_then(|index| index.error.clone()),
        index_rejects: answers.index.iter().flat_map(|index| index.reasons.clone()).collect(),
        ..Outcome::default()
    };
    for file in &answers.parquet.files {
        *outcome.by_class.entry(file.class.name).or_default() += file.rows;
        for (account, rows) in &file.accounts {
            let of_account = outcome.by_account.entry(account.clone()).or_default();
            *of_account.entry(file.class.name).or_default() += rows;
        }
    }
    for (object, item) in (0..).zip(items) {
        let counts = answers.lanes.counts.get(&object).copied().unwrap_or_default();
        let failure = |error: &ObjectError| Failure {
            what: error.to_string(),
            permanent: error.is_permanent(),
        };
        let error = match answers.lanes.ends.get(&object) {
            Some(Ok(())) => None,
            Some(Err(error @ ObjectError::OtherSource(_))) => {
                Some((State::Unrecognized, failure(error)))
            }
            Some(Err(error @ ObjectError::Excluded(_))) => Some((State::Excluded, failure(error))),
            Some(Err(error)) => Some((State::Failed, failure(error))),
            None => Some((State::Failed, failure(&ObjectError::NotStarted))),
        };
        let end = answers.lanes.ends.get(&object);
        outcome.objects.push(ObjectOutcome {
            id: item.object.id(),
            location: item.object.location(),
            source: answers.lanes.sources.get(&object).copied().or(item.source).map(|s| s.name),
            records: RecordCounts {
                records_in: counts.records,
                parquet: answers.parquet.written[object as usize],
                duplicate: answers.parquet.duplicate[object as usize],
                rejected: counts.rejected,
                excluded: counts.excluded,
            },
            index: answers.index.as_ref().map(|index| index.counts[object as usize]),
            started: end.is_some(),
            unreadable: match end {
                Some(Err(ObjectError::Read(error))) => Some(error.kind),
                _ => None,
            },
            without_raw: answers.lanes.without_raw.get(&object).copied().unwrap_or_default(),
            read_bytes: answers.lanes.read_bytes.get(&object).copied().unwrap_or_default(),
            error,
        });
    }
    outcome
}
