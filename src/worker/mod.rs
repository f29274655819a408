//! A queue worker for containers: S3 events from SQS become staged batches.
//!
//! # Input
//! Messages of a queue, by long polls.
//! # Maps to
//! Batches, each closed by time, by the bytes of its objects or by its messages. A message is deleted
//! when everything that it names is committed; until then a heartbeat keeps it invisible to other
//! workers. What failed becomes visible again when its time is up.
//! # Known gaps
//! One batch is loaded at a time, while the next one is collected.
//! # Reference
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html>.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use clap::Args;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task::JoinSet,
};

use crate::{
    config::{LakeArgs, SizeArgs, SourceArgs, parse_bytes, parse_seconds},
    event,
    indexing::IndexArgs,
    intake::{Done, Intake, IntakeError, Message},
    metrics,
    progress::Progress,
    publish,
};

mod http;
mod queue;

use http::Health;
use queue::{Held, Queue, QueueError};

/// What is at work when the program is told to end gets this long: a batch, and a poll of the queue,
/// which would swallow what is given back if nobody heard its answer.
const FINISH: Duration = Duration::from_secs(15);

/// Arguments of `trailhound worker`.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// The queue that S3, SNS or EventBridge sends events to
    #[arg(long, env = "TRAILHOUND_QUEUE_URL", value_name = "URL")]
    queue_url: String,
    /// A batch waits at most this long for more messages: data is that much later in the lake, and
    /// costs less
    #[arg(
        long,
        env = "TRAILHOUND_BATCH_WINDOW",
        value_parser = parse_seconds,
        default_value = "60s",
        value_name = "TIME"
    )]
    batch_window: Duration,
    /// A batch is closed with this many bytes of objects
    #[arg(
        long,
        env = "TRAILHOUND_BATCH_BYTES",
        value_parser = parse_bytes,
        default_value = "64MB",
        value_name = "SIZE"
    )]
    batch_bytes: usize,
    /// A batch is closed with this many messages
    #[arg(
        long,
        env = "TRAILHOUND_BATCH_MESSAGES",
        value_parser = clap::value_parser!(u32).range(1..=10_000),
        default_value = "2000",
        value_name = "N"
    )]
    batch_messages: u32,
    /// Serve /health and /metrics (Prometheus) at this address, such as 0.0.0.0:9464
    #[arg(long, env = "TRAILHOUND_LISTEN", value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Publish this often as well, with half of the memory; without it `trailhound publish` must run
    /// elsewhere
    #[arg(long, env = "TRAILHOUND_PUBLISH_EVERY", value_parser = parse_seconds, value_name = "TIME")]
    publish_every: Option<Duration>,
    /// End when the queue has been empty for a batch window
    #[arg(long, env = "TRAILHOUND_DRAIN", value_parser = clap::builder::FalseyValueParser::new())]
    drain: bool,
    #[command(flatten)]
    lake: LakeArgs,
    #[command(flatten)]
    sources: SourceArgs,
    #[command(flatten)]
    size: SizeArgs,
    #[command(flatten)]
    index: IndexArgs,
}

/// The worker cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Lake, state or a setting.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// The queue cannot be used.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The address for health and metrics cannot be had.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The system gives no signals.
    #[error("cannot wait for signals: {0}")]
    Signals(std::io::Error),
}

/// A batch that is full, or whose time is up.
type Collected = Vec<(Message, Held)>;

/// Works until it is told to end, or the queue is drained.
pub async fn work(args: &WorkerArgs) -> Result<(), WorkerError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(WorkerError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(WorkerError::Signals)?;
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    tokio::pin!(stop);

    let mut size = args.size.clone();
    if args.publish_every.is_some() {
        size.memory /= 2;
    }
    let open = Intake::open(&args.lake, &args.sources, &size, &args.index);
    let mut intake = Box::pin(open).await?;
    let queue = Arc::new(Queue::open(&args.queue_url).await?);
    let health = Arc::new(Health::default());
    if let Some(address) = args.listen {
        let on_error = |source| WorkerError::Listen { address, source };
        http::serve(address, Arc::clone(&health)).await.map_err(on_error)?;
    }
    // What this worker holds: the heartbeat keeps all of it invisible to others.
    let held: Arc<Mutex<HashSet<Held>>> = Arc::default();
    let stopping = Arc::<AtomicBool>::default();
    let (batches, mut collected) = mpsc::channel(1);
    // They end when this is dropped.
    let mut tasks = JoinSet::new();
    tasks.spawn(heartbeat(Arc::clone(&queue), Arc::clone(&held)));
    if let Some(every) = args.publish_every {
        tasks.spawn(publish_often(publish::Settings::new(&args.lake, &size), every));
    }
    let collector = tokio::spawn(
        Collector {
            queue: Arc::clone(&queue),
            held: Arc::clone(&held),
            health: Arc::clone(&health),
            stopping: Arc::clone(&stopping),
            window: args.batch_window,
            bytes: args.batch_bytes as u64,
            messages: args.batch_messages as usize,
            drain: args.drain,
        }
        .run(batches),
    );
    tracing::info!(queue = args.queue_url, "waiting for events");
    let mut told_to_end = None;
    while told_to_end.is_none() {
        let batch = tokio::select! {
            biased;
            () = &mut stop => None,
            batch = collected.recv() => batch,
        };
        let Some(batch) = batch else { break };
        let (messages, receipts): (Vec<Message>, Vec<Held>) = batch.into_iter().unzip();
        let work = intake.run(&messages, None);
        tokio::pin!(work);
        let done = tokio::select! {
            biased;
            done = &mut work => Some(done),
            () = &mut stop => {
                tracing::info!(seconds = FINISH.as_secs(), "told to end: finishing the batch");
                stopping.store(true, Relaxed);
                let until = Instant::now() + FINISH;
                told_to_end = Some(until);
                tokio::time::timeout_at(until.into(), &mut work).await.ok()
            }
        };
        let Some(done) = done else {
            tracing::warn!("the batch is given back");
            break;
        };
        report(&done);
        health.add(&done);
        settle(&queue, &held, &messages, receipts, &done).await;
    }
    // Nothing more is received; what was received and is not done goes to other workers at once.
    stopping.store(true, Relaxed);
    drop(collected);
    let until = told_to_end.unwrap_or_else(|| Instant::now() + FINISH);
    if tokio::time::timeout_at(until.into(), collector).await.is_err() {
        tracing::warn!("a poll of the queue did not end");
    }
    let rest: Vec<Held> = lock(&held).drain().collect();
    if !rest.is_empty() {
        tracing::info!(messages = rest.len(), "given back");
        queue.give_back(&rest).await;
    }
    if args.drain && args.publish_every.is_some() && told_to_end.is_none() {
        tasks.shutdown().await;
        publish_once(&publish::Settings::new(&args.lake, &size)).await;
    }
    Ok(())
}

/// Publishes again and again. Several workers may: one of them does the work. A publish that is cut
/// off is undone by the next one.
async fn publish_often(settings: publish::Settings, every: Duration) {
    loop {
        // Not all workers at the same time.
        tokio::time::sleep(every.mul_f64(0.9 + fastrand::f64() / 5.0)).await;
        publish_once(&settings).await;
    }
}

async fn publish_once(settings: &publish::Settings) {
    match publish::publish(settings, &Progress::hidden()).await {
        Ok(report) => tracing::info!(
            staged = report.staged.count,
            published = report.published.count,
            rows = report.published.rows,
            duplicates = report.duplicates,
            left = report.left.count,
            seconds = report.seconds,
            stopped = report.stopped,
            "published"
        ),
        Err(error) => tracing::error!(%error, "cannot publish"),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A panic elsewhere leaves a set as it was.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Deletes what is done; what failed stays, and comes again when its time is up.
async fn settle(
    queue: &Queue,
    held: &Mutex<HashSet<Held>>,
    messages: &[Message],
    receipts: Vec<Held>,
    done: &Done,
) {
    let failed: HashSet<&str> = done.failed.iter().map(|(id, ..)| id.as_str()).collect();
    let (mut finished, mut rest) = (Vec::new(), Vec::new());
    for (message, receipt) in messages.iter().zip(receipts) {
        if failed.contains(message.id.as_str()) { &mut rest } else { &mut finished }.push(receipt);
    }
    {
        let mut held = lock(held);
        for receipt in finished.iter().chain(&rest) {
            held.remove(receipt);
        }
    }
    queue.delete(&finished).await;
}

/// Keeps what is held invisible to others.
async fn heartbeat(queue: Arc<Queue>, held: Arc<Mutex<HashSet<Held>>>) {
    loop {
        tokio::time::sleep(queue.visibility() / 3).await;
        let all: Vec<Held> = lock(&held).iter().cloned().collect();
        queue.keep(&all).await;
    }
}

struct Collector {
    queue: Arc<Queue>,
    held: Arc<Mutex<HashSet<Held>>>,
    health: Arc<Health>,
    stopping: Arc<AtomicBool>,
    window: Duration,
    bytes: u64,
    messages: usize,
    drain: bool,
}

impl Collector {
    /// Collects batch after batch.
    async fn run(self, batches: mpsc::Sender<Collected>) {
        loop {
            let batch = self.batch().await;
            if (batch.is_empty() && self.drain) || self.stopping.load(Relaxed) {
                return;
            }
            if !batch.is_empty() && batches.send(batch).await.is_err() {
                return;
            }
        }
    }

    async fn batch(&self) -> Collected {
        let mut batch = Collected::new();
        let mut bytes = 0;
        let mut closes = Instant::now() + self.window;
        let mut failures = 0;
        while batch.len() < self.messages && bytes < self.bytes && !self.stopping.load(Relaxed) {
            let left = closes.saturating_duration_since(Instant::now());
            if left.is_zero() && (self.drain || !batch.is_empty()) {
                break;
            }
            match self.queue.receive(left).await {
                Ok(received) => {
                    self.health.polled(true);
                    failures = 0;
                    // The window begins with the first message.
                    if batch.is_empty() && !received.is_empty() {
                        closes = Instant::now() + self.window;
                    }
                    for (message, held) in received {
                        bytes += object_bytes(&message);
                        lock(&self.held).insert(held.clone());
                        batch.push((message, held));
                    }
                }
                Err(error) => {
                    failures += 1;
                    self.health.polled(false);
                    tracing::warn!(%error, "cannot receive");
                    let pause = Duration::from_millis(200 << failures.min(7));
                    tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                }
            }
        }
        batch
    }
}

/// Bytes of the objects that a message names.
fn object_bytes(message: &Message) -> u64 {
    let created = event::parse(message.body.as_bytes()).map(|notice| notice.created);
    created.unwrap_or_default().iter().filter_map(|created| created.size).sum()
}

fn report(done: &Done) {
    for ((kind, why), (messages, first)) in done.causes() {
        let kind = kind.name();
        tracing::warn!(message_id = first, messages, kind, error = why, "message failed");
    }
    metrics::log(done);
}
