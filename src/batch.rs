//! Loads one batch: reads ahead, runs lanes, feeds sinks, commits with the ledger last.
//!
//! # Input
//! A [`Batch`] of objects.
//! # Maps to
//! Files of the lake, rejects and ledger lines, visible together; an [`Outcome`].
//! # Known gaps
//! If a sink fails the whole batch is undone.
//! # Reference
//! Design sections 2 and 5.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    path::PathBuf,
    sync::Arc,
};

use bytes::Bytes;
use parsers::{Chunk, Limits, ObjectCounts, Rows};
use tokio::{
    sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc},
    task::{JoinHandle, JoinSet, spawn_blocking},
};

use crate::{
    budget::Budget,
    cpu::{Cpu, Panicked},
    inflate::Caps,
    lane::{Lane, LaneStep},
    ledger::{Entry, Failure, Ledger, RecordCounts, State},
    progress::Progress,
    pump::ObjectError,
    select::{Batch, Item, ledger_day, rejects_path},
    sink::{
        Sink, SinkError,
        parquet::{ParquetReceipt, ParquetSink},
        partition::Layout,
        reject::RejectSink,
    },
    store::{self, Body},
    workspace::{FileError, Places, Plan, Target, Workspace},
};

/// What every batch of a run shares.
#[derive(Clone)]
pub struct Engine {
    /// Where work runs that takes cycles.
    pub cpu: Cpu,
    /// Sizes of buffers.
    pub budget: Budget,
    /// Limits of decompression.
    pub caps: Caps,
    /// Where to.
    pub places: Places,
    /// For people.
    pub progress: Progress,
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
    /// Work panicked.
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

/// What became of an object.
#[derive(Debug)]
pub struct ObjectOutcome {
    /// Its path.
    pub location: String,
    /// Its source.
    pub source: &'static str,
    /// What became of its records.
    pub records: RecordCounts,
    /// Bytes of it that were read.
    pub read_bytes: u64,
    /// Failed or unrecognized, and why.
    pub error: Option<(State, Failure)>,
}

/// What a batch became.
#[derive(Debug, Default)]
pub struct Outcome {
    /// For each object.
    pub objects: Vec<ObjectOutcome>,
    /// Rows in the lake for each class.
    pub by_class: BTreeMap<&'static str, u64>,
    /// Rejected records by reason.
    pub rejects: BTreeMap<&'static str, u64>,
    /// Files in the lake.
    pub files: u64,
}

/// Runs a batch.
pub async fn run(engine: &Engine, mut batch: Batch) -> Result<Outcome, BatchError> {
    let id = batch.id();
    // Object numbers follow the names, so that of a repeated event the row of the smaller stays.
    batch.items.sort_by(|a, b| a.key.name().cmp(b.key.name()));
    let workspace = {
        let (places, id) = (engine.places.clone(), id.clone());
        blocking(move || Workspace::open(&places, &id)).await??
    };
    let items: Arc<[Item]> = std::mem::take(&mut batch.items).into();
    let read = read(engine, &workspace, &id, &batch, &items).await?;
    let days: Vec<String> = items.iter().map(|item| ledger_day(&item.key)).collect();
    let outcome = outcome(&items, &read);
    let entries = entries(&id, &batch, &items, &days, &outcome, &read.parquet);
    let plan = plan(&id, &batch, &read, &entries);
    blocking(move || {
        for (day, lines) in &entries {
            workspace.stage(&format!("ledger-{day}.ndjson"), lines)?;
        }
        workspace.commit(&plan)
    })
    .await??;
    Ok(outcome)
}

async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, Panicked> {
    spawn_blocking(work)
        .await
        .map_err(|error| Panicked(error.to_string()))
}

/// What lanes and sinks answered.
struct Read {
    lanes: LaneReport,
    parquet: ParquetReceipt,
    rejects: BTreeMap<String, PathBuf>,
}

#[derive(Default)]
struct LaneReport {
    counts: HashMap<u32, ObjectCounts>,
    ends: HashMap<u32, Result<(), ObjectError>>,
    read_bytes: HashMap<u32, u64>,
    rejects: BTreeMap<&'static str, u64>,
}

async fn read(
    engine: &Engine,
    workspace: &Workspace,
    id: &str,
    batch: &Batch,
    items: &Arc<[Item]>,
) -> Result<Read, BatchError> {
    let budget = &engine.budget;
    let (parquet_chunks, parquet_queue) = mpsc::channel(budget.queued_chunks);
    let (reject_chunks, reject_queue) = mpsc::channel(budget.queued_chunks);
    let parquet = ParquetSink {
        cpu: engine.cpu.clone(),
        writers: budget.threads,
        partition_bytes: budget.partition_bytes,
        layout: Layout::Published {
            source_prefix: "trailhound".into(),
        },
        workspace: workspace.dir().to_owned(),
        batch: id.to_owned(),
        unique: unique(items),
    };
    let rejects = RejectSink {
        cpu: engine.cpu.clone(),
        workspace: workspace.dir().to_owned(),
        objects: items.iter().map(|item| item.object.clone()).collect(),
        days: items.iter().map(|item| ledger_day(&item.key)).collect(),
    };
    let parquet = tokio::spawn(parquet.run(parquet_queue));
    let rejects = tokio::spawn(rejects.run(reject_queue));

    let (opened, queue) = mpsc::channel(64);
    let feeder = tokio::spawn(read_ahead(Arc::clone(items), *budget, opened));
    let queue = Arc::new(Mutex::new(queue));
    let filter = Arc::new(batch.filter.clone());
    let limits = Limits {
        rows: budget.chunk_rows,
        input_bytes: budget.chunk_bytes,
    };
    let mut lanes = JoinSet::new();
    for _ in 0..budget.lanes {
        let rows = Rows::new(limits, Arc::clone(&filter));
        let runner = Runner {
            cpu: engine.cpu.clone(),
            items: Arc::clone(items),
            sinks: [parquet_chunks.clone(), reject_chunks.clone()],
            progress: engine.progress.clone(),
            report: LaneReport::default(),
        };
        let lane = Lane::new(rows, engine.caps, budget.window_bytes);
        lanes.spawn(runner.run(Box::new(lane), Arc::clone(&queue)));
    }
    drop((parquet_chunks, reject_chunks, queue));
    let mut all = LaneReport::default();
    let mut panicked = None;
    while let Some(report) = lanes.join_next().await {
        match report {
            Ok(Ok(report)) => all.merge(report),
            Ok(Err(error)) => panicked = Some(error),
            Err(error) => panicked = Some(Panicked(error.to_string())),
        }
    }
    feeder.abort();
    let parquet = parquet
        .await
        .map_err(|error| Panicked(error.to_string()))??;
    let rejects = rejects
        .await
        .map_err(|error| Panicked(error.to_string()))??;
    match panicked {
        Some(error) => Err(error.into()),
        None => Ok(Read {
            lanes: all,
            parquet,
            rejects,
        }),
    }
}

/// For each object: no other object of the batch can repeat its rows.
fn unique(items: &[Item]) -> Arc<[bool]> {
    let mut names: HashMap<&str, u32> = HashMap::new();
    for item in items {
        *names.entry(item.key.name()).or_default() += 1;
    }
    items
        .iter()
        .map(|item| item.source.uid_by_position && names[item.key.name()] == 1)
        .collect()
}

/// An object whose first piece is being read.
struct Opened {
    object: u32,
    first: JoinHandle<io::Result<(Bytes, Body)>>,
    /// Its share of the memory for reading ahead.
    share: OwnedSemaphorePermit,
}

/// Reads first pieces ahead of the lanes, bounded by bytes.
async fn read_ahead(items: Arc<[Item]>, budget: Budget, opened: mpsc::Sender<Opened>) {
    const UNIT: usize = 4096;
    let memory = Arc::new(Semaphore::new(budget.read_ahead_bytes / UNIT));
    for (object, item) in (0..).zip(items.iter()) {
        let bytes = budget.piece_bytes.min(item.object.size as usize);
        let units = (bytes / UNIT + 1) as u32;
        let Ok(share) = Arc::clone(&memory).acquire_many_owned(units).await else {
            return;
        };
        let (reference, piece_bytes) = (item.object.clone(), budget.piece_bytes);
        let first = spawn_blocking(move || store::open(&reference, piece_bytes));
        if opened
            .send(Opened {
                object,
                first,
                share,
            })
            .await
            .is_err()
        {
            return;
        }
    }
}

/// Drives one lane.
struct Runner {
    cpu: Cpu,
    items: Arc<[Item]>,
    sinks: [mpsc::Sender<Arc<Chunk>>; 2],
    progress: Progress,
    report: LaneReport,
}

impl Runner {
    async fn run(
        mut self,
        mut lane: Box<Lane>,
        queue: Arc<Mutex<mpsc::Receiver<Opened>>>,
    ) -> Result<LaneReport, Panicked> {
        loop {
            let next = queue.lock().await.recv().await;
            let Some(opened) = next else { break };
            let object = opened.object;
            lane.begin(
                object,
                (self.items[object as usize].source.decoder)(self.key(object)),
            );
            let (returned, end) = self.object(lane, opened).await?;
            lane = returned;
            let item = &self.items[object as usize];
            match &end {
                Ok(()) => tracing::info!(key = item.object.key, "read"),
                Err(error) => tracing::info!(key = item.object.key, %error, "failed"),
            }
            self.progress.object(item.object.size);
            self.report.ends.insert(object, end);
        }
        if let Some(chunk) = lane.finish() {
            self.send(chunk).await;
        }
        Ok(self.report)
    }

    fn key(&self, object: u32) -> &parsers::ObjectKey {
        &self.items[object as usize].key
    }

    /// Pumps one object; the lane comes back with it done.
    async fn object(
        &mut self,
        mut lane: Box<Lane>,
        opened: Opened,
    ) -> Result<(Box<Lane>, Result<(), ObjectError>), Panicked> {
        let object = opened.object;
        let (mut input, body) = match opened.first.await {
            Ok(Ok(first)) => first,
            Ok(Err(error)) => return Ok(unreadable(lane, error.to_string())),
            Err(error) => return Ok(unreadable(lane, error.to_string())),
        };
        let mut share = Some(opened.share);
        let mut read_bytes = input.len() as u64;
        let mut next = (!body.is_at_end()).then(|| read_next(body));
        loop {
            let last = next.is_none();
            let (returned, rest, step) = self
                .cpu
                .run(move || {
                    let step = lane.step(&mut input, last);
                    (lane, input, step)
                })
                .await?;
            (lane, input) = (returned, rest);
            match step {
                LaneStep::Chunk(chunk) => self.send(chunk).await,
                LaneStep::Done(end) => {
                    self.report.read_bytes.insert(object, read_bytes);
                    return Ok((lane, end));
                }
                LaneStep::NeedInput => {
                    drop(share.take());
                    let Some(reading) = next.take() else { continue };
                    match reading.await {
                        Ok(Ok((piece, body))) => {
                            read_bytes += piece.len() as u64;
                            input = piece;
                            next = (!body.is_at_end()).then(|| read_next(body));
                        }
                        Ok(Err(error)) => return Ok(unreadable(lane, error.to_string())),
                        Err(error) => return Ok(unreadable(lane, error.to_string())),
                    }
                }
            }
        }
    }

    /// Hands a chunk to every sink. A sink that is gone has failed: its task says why.
    async fn send(&mut self, chunk: Chunk) {
        let mut records = 0;
        for counts in &chunk.counts {
            let total = self.report.counts.entry(counts.object).or_default();
            total.records += counts.records;
            total.rejected += counts.rejected;
            total.excluded += counts.excluded;
            records += counts.records;
        }
        for reject in &chunk.rejects {
            *self.report.rejects.entry(reject.reason).or_default() += 1;
        }
        self.progress.records(records);
        let chunk = Arc::new(chunk);
        for sink in &self.sinks {
            if sink.send(Arc::clone(&chunk)).await.is_err() {
                tracing::debug!("a sink is gone");
            }
        }
    }
}

fn read_next(mut body: Body) -> JoinHandle<io::Result<(Bytes, Body)>> {
    spawn_blocking(move || body.read().map(|piece| (piece, body)))
}

fn unreadable(mut lane: Box<Lane>, error: String) -> (Box<Lane>, Result<(), ObjectError>) {
    lane.end(Ok(()));
    (lane, Err(ObjectError::Read(error)))
}

impl LaneReport {
    fn merge(&mut self, other: Self) {
        self.counts.extend(other.counts);
        self.ends.extend(other.ends);
        self.read_bytes.extend(other.read_bytes);
        for (reason, count) in other.rejects {
            *self.rejects.entry(reason).or_default() += count;
        }
    }
}

fn outcome(items: &[Item], read: &Read) -> Outcome {
    let mut outcome = Outcome {
        rejects: read.lanes.rejects.clone(),
        files: read.parquet.files.len() as u64,
        ..Outcome::default()
    };
    for file in &read.parquet.files {
        *outcome.by_class.entry(file.class.name).or_default() += file.rows;
    }
    for (object, item) in (0..).zip(items) {
        let counts = read.lanes.counts.get(&object).copied().unwrap_or_default();
        let failure = |error: &ObjectError| Failure {
            what: error.to_string(),
            permanent: error.is_permanent(),
        };
        let error = match read.lanes.ends.get(&object) {
            Some(Ok(())) => None,
            Some(Err(error @ ObjectError::OtherSource(_))) => {
                Some((State::Unrecognized, failure(error)))
            }
            Some(Err(error)) => Some((State::Failed, failure(error))),
            None => Some((
                State::Failed,
                failure(&ObjectError::Read("no lane took it".into())),
            )),
        };
        outcome.objects.push(ObjectOutcome {
            location: item.object.location(),
            source: item.source.name,
            records: RecordCounts {
                records_in: counts.records,
                parquet: read.parquet.written[object as usize],
                duplicate: read.parquet.duplicate[object as usize],
                rejected: counts.rejected,
                excluded: counts.excluded,
            },
            read_bytes: read
                .lanes
                .read_bytes
                .get(&object)
                .copied()
                .unwrap_or_default(),
            error,
        });
    }
    outcome
}

/// The ledger's lines by day.
fn entries(
    id: &str,
    batch: &Batch,
    items: &[Item],
    days: &[String],
    outcome: &Outcome,
    parquet: &ParquetReceipt,
) -> BTreeMap<String, Vec<u8>> {
    let mut files: Vec<Vec<String>> = vec![Vec::new(); items.len()];
    for file in &parquet.files {
        for object in &file.objects {
            files[*object as usize].push(file.path.clone());
        }
    }
    let base = |object: &store::ObjectRef| Entry {
        v: 1,
        batch: id.to_owned(),
        bucket: object.bucket.to_string(),
        key: object.key.clone(),
        etag: object.etag.clone(),
        size: object.size,
        source: None,
        state: State::Loaded,
        records: RecordCounts::default(),
        filter: (&batch.filter).into(),
        files: Vec::new(),
        error: None,
        writer: concat!("trailhound ", env!("CARGO_PKG_VERSION")).into(),
    };
    let mut lines: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut add = |day: &str, entry: &Entry| {
        let out = lines.entry(day.to_owned()).or_default();
        match serde_json::to_writer(&mut *out, entry) {
            Ok(()) => out.push(b'\n'),
            Err(error) => unreachable!("an entry is plain data: {error}"),
        }
    };
    for ((item, files), (day, result)) in items
        .iter()
        .zip(files)
        .zip(days.iter().zip(&outcome.objects))
    {
        let error = result.error.as_ref();
        let entry = Entry {
            source: Some(item.source.name.to_owned()),
            state: error.map_or(State::Loaded, |(state, _)| *state),
            records: result.records,
            files,
            error: error.map(|(_, failure)| failure.clone()),
            ..base(&item.object)
        };
        add(day, &entry);
    }
    for note in &batch.notes {
        let error = Some(Failure {
            what: note.why.to_owned(),
            permanent: true,
        });
        add(
            &ledger_day(&note.key),
            &Entry {
                state: note.state,
                error,
                ..base(&note.object)
            },
        );
    }
    lines
}

/// Moves of the commit: rows first, then rejects, the ledger last.
fn plan(id: &str, batch: &Batch, read: &Read, entries: &BTreeMap<String, Vec<u8>>) -> Plan {
    let mut plan = Plan::default();
    for file in &read.parquet.files {
        let name = file
            .staged
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        plan.moves.push((name, Target::Lake(file.path.clone())));
    }
    for (day, path) in &read.rejects {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        plan.moves
            .push((name, Target::State(rejects_path(day, id))));
    }
    for day in entries.keys() {
        let target = Target::State(Ledger::path(day, id));
        plan.moves.push((format!("ledger-{day}.ndjson"), target));
    }
    let (lake, state) = &batch.earlier_files;
    let earlier = lake.iter().cloned().map(Target::Lake);
    let earlier = earlier.chain(state.iter().cloned().map(Target::State));
    let replaced: HashSet<&Target> = plan.moves.iter().map(|(_, target)| target).collect();
    plan.remove = earlier
        .filter(|target| !replaced.contains(target))
        .collect();
    plan
}
