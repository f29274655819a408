//! Reads the objects of a batch ahead of the lanes, and runs the lanes.
//!
//! # Input
//! Objects in the order of their numbers.
//! # Maps to
//! Chunks for the sinks, and what became of each object ([`LaneReport`]).
//! # Known gaps
//! A big object keeps one lane; its next piece is read while one is decoded.
//! # Reference
//! Design section 2.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    ops::Range,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use parsers::{
    Accounts, Chunk, Decode, Filter, Limits, ObjectCounts, Origin, Rows, Sniffer, Source,
};
use tokio::{
    sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc},
    task::{JoinHandle, JoinSet},
};

use crate::{
    batch::Engine,
    budget::Budget,
    cpu::{Cpu, Panicked},
    lane::{Lane, LaneStep, Whole},
    progress::Progress,
    pump::ObjectError,
    select::Item,
    store::{Body, ObjectRef, Sources, StoreError},
};

/// Small objects are read and decoded this many at a time, because each hand-over costs as much
/// as decoding a few records.
const GROUP_OBJECTS: usize = 16;
const GROUP_BYTES: u64 = 256 << 10;

/// What lanes have to tell of the objects of a batch, by their numbers.
#[derive(Default)]
pub struct LaneReport {
    /// Records read, rejected and excluded.
    pub counts: HashMap<u32, ObjectCounts>,
    /// Whether it was read to its end.
    pub ends: HashMap<u32, Result<(), ObjectError>>,
    /// Bytes of the object that were read.
    pub read_bytes: HashMap<u32, u64>,
    /// Rejected records by reason.
    pub rejects: BTreeMap<&'static str, u64>,
    /// Sources that were recognized by content.
    pub sources: HashMap<u32, &'static Source>,
    /// Accounts of events that nobody has named.
    pub unnamed_accounts: BTreeSet<String>,
    /// Lines of rejects that do not have the record, because it was too long to be kept.
    pub without_raw: HashMap<u32, u64>,
}

/// Until when a batch must be done: objects are not started when what they would take is not left.
pub struct Deadline {
    /// When the batch must be committed.
    pub at: Instant,
    /// What a byte of an object has cost so far, in seconds.
    pub seconds_per_byte: f64,
    /// What a commit has cost so far.
    pub commit: Duration,
    /// Bytes of objects that were started and are not done.
    open_bytes: AtomicU64,
    /// Bytes of objects that were started.
    started_bytes: AtomicU64,
}

impl Deadline {
    /// A deadline for one batch.
    pub fn new(at: Instant, seconds_per_byte: f64, commit: Duration) -> Self {
        let (open_bytes, started_bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { at, seconds_per_byte, commit, open_bytes, started_bytes }
    }

    /// What an object costs: its bytes, and as much as some kilobytes for being one.
    pub fn weight(object: &ObjectRef) -> u64 {
        const OBJECT_BYTES: u64 = 8 << 10;
        object.size + OBJECT_BYTES
    }

    /// True if these objects would be done in time, after those that are open; they are open then.
    fn starts(&self, items: &[Item]) -> bool {
        let bytes: u64 = items.iter().map(|item| Self::weight(&item.object)).sum();
        let open = self.open_bytes.load(Relaxed) + bytes;
        let needed = Duration::from_secs_f64(open as f64 * self.seconds_per_byte) + self.commit;
        let starts = needed < self.left();
        if starts {
            self.start(bytes);
        }
        starts
    }

    /// True if this object is to be tried although it may take too long. What has been learned may
    /// be of a slow time, or of other objects: an object that is never tried is never loaded.
    fn tries(&self, item: &Item) -> bool {
        let tries = self.started_bytes() == 0 && self.commit < self.left();
        if tries {
            self.start(Self::weight(&item.object));
        }
        tries
    }

    /// How long until then.
    pub fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    fn start(&self, bytes: u64) {
        self.open_bytes.fetch_add(bytes, Relaxed);
        self.started_bytes.fetch_add(bytes, Relaxed);
    }

    /// The weight of what was started.
    pub fn started_bytes(&self) -> u64 {
        self.started_bytes.load(Relaxed)
    }

    fn done(&self, item: &Item) {
        self.open_bytes.fetch_sub(Self::weight(&item.object), Relaxed);
    }
}

/// Where chunks go.
pub type Sinks = Vec<mpsc::Sender<Arc<Chunk>>>;
type Opening = Task<Vec<Result<(Bytes, Body), StoreError>>>;

/// A task that ends when nobody waits for it any more: one that goes on with a request that hangs
/// would keep what the next batch needs.
struct Task<T>(JoinHandle<T>);

impl<T: Send + 'static> Task<T> {
    fn spawn(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    async fn result(mut self) -> Result<T, Panicked> {
        (&mut self.0).await.map_err(Panicked::from)
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Reads and decodes all objects, or those that can be done in time.
pub async fn read(
    engine: &Engine,
    items: &Arc<[Item]>,
    filters: &[Filter],
    sinks: Sinks,
) -> Result<LaneReport, Panicked> {
    let budget = &engine.budget;
    let (opened, queue) = mpsc::channel(16);
    let sources = engine.sources.clone();
    let deadline = engine.deadline.clone();
    let _feeder = Task::spawn(read_ahead(sources, Arc::clone(items), *budget, deadline, opened));
    let queue = Arc::new(Mutex::new(queue));
    let filters: Arc<[Filter]> = filters.into();
    let limits = Limits {
        rows: budget.chunk_rows,
        input_bytes: budget.chunk_bytes,
        document_bytes: budget.document_bytes,
    };
    let mut lanes = JoinSet::new();
    for _ in 0..budget.lanes {
        let mut rows = Rows::new(limits, Arc::clone(&filters));
        if let Some(index) = &engine.index {
            rows = rows.with_documents(Arc::clone(&index.indexing));
        }
        let runner = Runner {
            cpu: engine.cpu.clone(),
            items: Arc::clone(items),
            sinks: sinks.clone(),
            progress: engine.progress.clone(),
            report: LaneReport::default(),
            accounts: Arc::clone(&engine.accounts),
            sniffed: HashMap::new(),
            deadline: engine.deadline.clone(),
        };
        let lane = Lane::new(rows, engine.caps, budget.window_bytes);
        lanes.spawn(runner.run(Box::new(lane), Arc::clone(&queue)));
    }
    drop((sinks, queue));
    let mut all = LaneReport::default();
    let mut panicked = None;
    while let Some(report) = lanes.join_next().await {
        match report {
            Ok(Ok(report)) => all.merge(report),
            Ok(Err(error)) => panicked = Some(error),
            Err(error) => panicked = Some(error.into()),
        }
    }
    panicked.map_or(Ok(all), Err)
}

/// Objects whose first pieces are being read.
struct Opened {
    /// Number of the first one.
    first: u32,
    bodies: Opening,
    /// Their share of the memory for reading ahead.
    share: OwnedSemaphorePermit,
}

/// Reads first pieces ahead of the lanes, bounded by bytes. If there is no time for any object, the
/// smallest is tried.
async fn read_ahead(
    sources: Sources,
    items: Arc<[Item]>,
    budget: Budget,
    deadline: Option<Arc<Deadline>>,
    opened: mpsc::Sender<Opened>,
) {
    const UNIT: u64 = 4096;
    let piece_bytes = budget.piece_bytes;
    let held = |item: &Item| item.object.size.min(piece_bytes as u64) / UNIT + 1;
    let memory = Arc::new(Semaphore::new(budget.read_ahead_bytes / UNIT as usize));
    let open = async |objects: Range<usize>| {
        let units: u64 = items[objects.clone()].iter().map(held).sum();
        let share = Arc::clone(&memory).acquire_many_owned(units as u32).await.ok()?;
        let first = objects.start as u32;
        let objects = items[objects].iter().map(|item| item.object.clone()).collect();
        let sources = sources.clone();
        let bodies = Task::spawn(async move { sources.open_all(objects, piece_bytes).await });
        opened.send(Opened { first, bodies, share }).await.ok()
    };
    let mut first = 0;
    while first < items.len() {
        let mut end = first + 1;
        let mut bytes = items[first].object.size;
        while end < items.len() && end - first < GROUP_OBJECTS {
            bytes = bytes.saturating_add(items[end].object.size);
            if bytes > GROUP_BYTES {
                break;
            }
            end += 1;
        }
        let starts = deadline.as_ref().is_none_or(|deadline| deadline.starts(&items[first..end]));
        if starts && open(first..end).await.is_none() {
            return;
        }
        first = end;
    }
    let smallest = (0..items.len()).min_by_key(|&object| items[object].object.size);
    if let (Some(deadline), Some(smallest)) = (deadline, smallest)
        && deadline.tries(&items[smallest])
    {
        open(smallest..smallest + 1).await;
    }
}

/// Drives one lane.
struct Runner {
    cpu: Cpu,
    items: Arc<[Item]>,
    sinks: Sinks,
    progress: Progress,
    report: LaneReport,
    accounts: Arc<Accounts>,
    /// What the content of objects tells of their source.
    sniffed: HashMap<u32, Arc<OnceLock<&'static Source>>>,
    deadline: Option<Arc<Deadline>>,
}

impl Runner {
    async fn run(
        mut self,
        mut lane: Box<Lane>,
        queue: Arc<Mutex<mpsc::Receiver<Opened>>>,
    ) -> Result<LaneReport, Panicked> {
        loop {
            let next = queue.lock().await.recv().await;
            let Some(Opened { first, bodies, share }) = next else { break };
            let bodies = bodies.result().await?;
            let mut whole = VecDeque::new();
            let mut longer = Vec::new();
            for (object, body) in (first..).zip(bodies) {
                match body {
                    Ok((input, body)) if body.is_at_end() => {
                        self.progress.bytes(input.len() as u64);
                        self.report.read_bytes.insert(object, input.len() as u64);
                        whole.push_back(Whole { object, input, decoder: self.decoder(object) });
                    }
                    Ok((input, body)) => longer.push((object, input, body)),
                    Err(error) => self.end(object, Err(ObjectError::Read(error))),
                }
            }
            lane = self.all_whole(lane, whole).await?;
            drop(share);
            for (object, input, body) in longer {
                lane.begin(object, self.decoder(object));
                let (returned, end) = self.long(lane, object, input, body).await?;
                lane = returned;
                self.end(object, end);
            }
        }
        if let Some(chunk) = lane.finish() {
            self.send(chunk).await?;
        }
        Ok(self.report)
    }

    fn decoder(&mut self, object: u32) -> Box<dyn Decode> {
        let item = &self.items[object as usize];
        let origin =
            Origin { key: item.key.clone(), accounts: Arc::clone(&self.accounts), first_record: 0 };
        if let Some(source) = item.source {
            (source.decoder)(&origin)
        } else {
            let found = Arc::<OnceLock<_>>::default();
            self.sniffed.insert(object, Arc::clone(&found));
            Box::new(Sniffer::new(&origin, item.fallback, found))
        }
    }

    fn end(&mut self, object: u32, end: Result<(), ObjectError>) {
        let item = &self.items[object as usize];
        match &end {
            Ok(()) => tracing::debug!(key = item.object.key, "read"),
            Err(error) => tracing::debug!(key = item.object.key, %error, "failed"),
        }
        if let Some(deadline) = &self.deadline {
            deadline.done(item);
        }
        self.progress.object();
        if let Some(source) = self.sniffed.remove(&object).and_then(|found| found.get().copied()) {
            self.report.sources.insert(object, source);
        }
        self.report.ends.insert(object, end);
    }

    /// Decodes objects that are in memory as a whole.
    async fn all_whole(
        &mut self,
        mut lane: Box<Lane>,
        mut objects: VecDeque<Whole>,
    ) -> Result<Box<Lane>, Panicked> {
        let mut more = !objects.is_empty();
        while more {
            let (returned, rest, ends, chunk) = self
                .cpu
                .run(move || {
                    let mut ends = Vec::new();
                    let chunk = lane.run(&mut objects, &mut ends);
                    (lane, objects, ends, chunk)
                })
                .await?;
            (lane, objects) = (returned, rest);
            for (object, end) in ends {
                self.end(object, end);
            }
            more = chunk.is_some();
            if let Some(chunk) = chunk {
                self.send(chunk).await?;
            }
        }
        Ok(lane)
    }

    /// Pumps an object that comes in pieces.
    async fn long(
        &mut self,
        mut lane: Box<Lane>,
        object: u32,
        mut input: Bytes,
        body: Body,
    ) -> Result<(Box<Lane>, Result<(), ObjectError>), Panicked> {
        let mut read_bytes = input.len() as u64;
        self.progress.bytes(read_bytes);
        let mut next = Some(read_next(body));
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
                LaneStep::Chunk(chunk) => self.send(chunk).await?,
                LaneStep::Done(end) => {
                    self.report.read_bytes.insert(object, read_bytes);
                    return Ok((lane, end));
                }
                LaneStep::NeedInput => {
                    let Some(reading) = next.take() else { continue };
                    let piece = reading.result().await?;
                    match piece {
                        Ok((piece, body)) => {
                            read_bytes += piece.len() as u64;
                            self.progress.bytes(piece.len() as u64);
                            input = piece;
                            next = (!body.is_at_end()).then(|| read_next(body));
                        }
                        Err(error) => {
                            lane.end(Ok(()));
                            return Ok((lane, Err(ObjectError::Read(error))));
                        }
                    }
                }
            }
        }
    }

    /// Hands a chunk to every sink. A sink that is gone has failed, and its task says why: there is
    /// no use in going on.
    async fn send(&mut self, chunk: Chunk) -> Result<(), Panicked> {
        self.report.add(&chunk, &self.accounts);
        self.progress.records(chunk.counts.iter().map(|counts| counts.records).sum());
        let chunk = Arc::new(chunk);
        for sink in &self.sinks {
            let sent = sink.send(Arc::clone(&chunk)).await;
            sent.map_err(|_| Panicked("a sink is gone".into()))?;
        }
        Ok(())
    }
}

fn read_next(body: Body) -> Task<Result<(Bytes, Body), StoreError>> {
    Task::spawn(body.read())
}

impl LaneReport {
    /// Counts what a chunk holds.
    pub(crate) fn add(&mut self, chunk: &Chunk, accounts: &Accounts) {
        for counts in &chunk.counts {
            let total = self.counts.entry(counts.object).or_default();
            total.records += counts.records;
            total.rejected += counts.rejected;
            total.excluded += counts.excluded;
        }
        for reject in &chunk.rejects {
            *self.rejects.entry(reject.reason).or_default() += 1;
        }
        if accounts.is_empty() {
            return;
        }
        let uids = chunk.partitions.iter().map(|partition| partition.account.as_str());
        let has_name = |uid: &str| accounts.get(uid).is_some_and(|info| !info.name.is_empty());
        for uid in uids.filter(|uid| !uid.is_empty() && !has_name(uid)) {
            if !self.unnamed_accounts.contains(uid) {
                self.unnamed_accounts.insert(uid.to_owned());
            }
        }
    }

    fn merge(&mut self, other: Self) {
        self.counts.extend(other.counts);
        self.ends.extend(other.ends);
        self.read_bytes.extend(other.read_bytes);
        self.sources.extend(other.sources);
        self.unnamed_accounts.extend(other.unnamed_accounts);
        self.without_raw.extend(other.without_raw);
        for (reason, count) in other.rejects {
            *self.rejects.entry(reason).or_default() += count;
        }
    }
}
