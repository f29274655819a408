//! Messages about new objects become batches; what a message asks for is done, or it fails.
//!
//! # Input
//! Messages of a queue, or an event that was invoked directly.
//! # Maps to
//! One staged batch, and a verdict for each message. An object that several messages name is loaded
//! once. A message fails if one of its objects does. What is permanently damaged is in the ledger as
//! failed and its message fails as well, so that it ends where an operator looks; when it comes
//! again the ledger tells so, and nothing is written a second time.
//! # Known gaps
//! An object that was replaced by other content is loaded again, and rows of the old content stay.
//! # Reference
//! Design sections 2 and 6;
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use parsers::{Filter, ObjectKey};
use tokio::task::JoinSet;

use crate::{
    batch::{self, Destination, Engine, Outcome, now_ms, stamp},
    config::{LakeArgs, SizeArgs, SourceArgs},
    cpu::Cpu,
    event::{self, Created},
    indexing::{IndexArgs, IndexError},
    inflate::Caps,
    ledger::{Ledger, State},
    progress::Progress,
    read::Deadline,
    select::{Batch, Decision, Item, Note, Selection},
    store::{Folder, Kind, ObjectRef, Place, S3, Sources, StoreError},
};

mod done;

use done::log;
pub use done::{Done, Failure, Message};

/// A commit takes at least this long.
const COMMIT: Duration = Duration::from_secs(1);
/// What a byte of an object costs before any has been measured: 1 MB a second, slower than a Lambda
/// function of 512 MB.
const SECONDS_PER_BYTE: f64 = 1e-6;
/// Nothing is so slow for long.
const MAX_SECONDS_PER_BYTE: f64 = 1e-4;
/// How long less than this took says nothing of what a byte costs: most of it is requests.
const TELLING_BYTES: u64 = 1 << 20;
/// Clocks of queue and writer may differ by this much.
const CLOCK_SLACK_MS: i64 = 300_000;

/// Is written, read and listed at the start.
const PROBE: &str = "probe";

/// Loads what messages name.
pub struct Intake {
    engine: Engine,
    selection: Selection,
    state: Folder,
    /// What is in the lake and is to be indexed.
    pending: Batch,
    /// Lake and state: events about what is written there would never end.
    own: [Place; 2],
    seconds_per_byte: f64,
    commit: Duration,
}

/// The intake could not start: a setting is wrong, or something may not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// A setting is wrong.
    #[error("{0}")]
    Setting(String),
    /// Lake or state cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The index cannot be used.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// There are no threads to be had.
    #[error("cannot start threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// An object that messages name, and which of them.
struct Named {
    object: ObjectRef,
    time: Option<i64>,
    messages: Vec<usize>,
}

impl Intake {
    /// Opens lake and state, and makes sure that they can be written and read: what is wrong is told at the
    /// start, not at the thousandth event.
    pub async fn open(
        lake: &LakeArgs,
        sources: &SourceArgs,
        size: &SizeArgs,
        index: &IndexArgs,
    ) -> Result<Self, IntakeError> {
        let budget = index.budget(size).map_err(IntakeError::Setting)?;
        if lake.lake == Place::Local("".into()) {
            let what =
                "the lake is empty: TRAILHOUND_LAKE (--lake) is a folder or s3://bucket/prefix";
            return Err(IntakeError::Setting(what.into()));
        }
        let s3 = S3::new(lake.access());
        let state = Folder::open(&lake.state(), &s3).await?;
        let accounts = sources.accounts(&s3).await.map_err(IntakeError::Setting)?;
        state.write(PROBE, bytes::Bytes::from_static(b"can be written\n")).await?;
        // What may not be listed may seem to be missing.
        tokio::try_join!(state.read(PROBE), state.list(PROBE, None))?;
        let index = match index.connect().await? {
            Some(connected) => Some(index.open(connected, &state, &budget, false).await?),
            None => None,
        };
        let archives = Sources::new(Arc::new(S3::new(sources.access())));
        let own = [lake.lake.join("ext"), lake.state()];
        let selection = Selection {
            source: None,
            filter: Filter::default(),
            force: false,
            ledger: Ledger::new(state.clone()).with_index(index.clone()),
            sources: archives.clone(),
            beside: true,
        };
        let engine = Engine {
            cpu: Cpu::new(budget.lanes)?,
            budget,
            caps: Caps::default(),
            sources: archives,
            destination: Destination::Staged(state.clone()),
            index,
            deadline: None,
            accounts,
            progress: Progress::hidden(),
        };
        let seconds_per_byte = SECONDS_PER_BYTE;
        let pending = Batch::new(Filter::default());
        Ok(Self { engine, selection, state, pending, own, seconds_per_byte, commit: COMMIT })
    }

    /// Loads what the messages name. With a deadline objects are started only if there is time for
    /// them; if it passes nonetheless, all of the batch is given back.
    pub async fn run(&mut self, messages: &[Message], deadline: Option<Instant>) -> Done {
        let started = Instant::now();
        let mut done = Done { messages: messages.len() as u64, ..Done::default() };
        let mut failed: BTreeMap<usize, (Failure, String)> = BTreeMap::new();
        let mut batch = Batch::new(Filter::default());
        let mut asked: HashMap<String, Named> = HashMap::new();
        self.selection.ledger.forget();
        self.selection.ledger.after = self.oldest(messages);
        self.pending = Batch::to_index(vec![Filter::default()]);
        let prepare = async {
            for named in self.named(messages, &mut done, &mut failed).await {
                self.place(named, messages, &mut batch, &mut asked, &mut done, &mut failed).await;
            }
        };
        let is_prepared = in_time(deadline, Box::pin(prepare)).await.is_some();
        if is_prepared {
            let pending = std::mem::replace(&mut self.pending, Batch::new(Filter::default()));
            for batch in [batch, pending].into_iter().filter(|batch| !batch.is_empty()) {
                let ids: Vec<_> = batch.ids().collect();
                let index_only = batch.index_only;
                let before = Instant::now();
                let result = self.load(batch, deadline).await;
                self.learn(result.as_ref().ok(), before.elapsed());
                Self::settle(result, index_only, &ids, &asked, &mut done, &mut failed);
            }
        } else {
            let why = "the time was up before it was known what to load";
            tracing::error!(error = why, "the batch is given back");
            done.objects.clear();
            for number in 0..messages.len() {
                failed.entry(number).or_insert((Failure::Transient, why.into()));
            }
        }
        done.failed = failed
            .into_iter()
            .map(|(number, (kind, why))| (messages[number].id.clone(), kind, why))
            .collect();
        done.seconds = started.elapsed().as_secs_f64();
        let oldest = asked.values().filter_map(|named| named.time).min();
        done.freshness = oldest.map(|time| (now_ms() - time).max(0) as f64 / 1e3);
        done
    }

    /// The objects that messages name, each once.
    async fn named(
        &self,
        messages: &[Message],
        done: &mut Done,
        failed: &mut BTreeMap<usize, (Failure, String)>,
    ) -> Vec<Named> {
        let mut named: Vec<Named> = Vec::new();
        let mut numbers: HashMap<(String, Option<String>), usize> = HashMap::new();
        for (number, message) in messages.iter().enumerate() {
            let notice = match event::parse(message.body.as_bytes()) {
                Ok(notice) => notice,
                Err(error) => {
                    failed.insert(number, (Failure::Body, error.to_string()));
                    continue;
                }
            };
            done.ignored += notice.ignored;
            for created in notice.created {
                let time = created.time;
                let place =
                    Place::S3 { bucket: created.bucket.clone(), prefix: created.key.clone() };
                if self.own.iter().any(|own| own.holds(&place)) {
                    done.ignored += 1;
                    tracing::warn!(
                        object = %place,
                        "an event about the lake itself: restrict the events to the logs"
                    );
                    continue;
                }
                match self.object(created).await {
                    Ok(object) => {
                        let at = (object.location(), object.version.clone());
                        let at = *numbers.entry(at).or_insert_with(|| {
                            named.push(Named { object, time, messages: Vec::new() });
                            named.len() - 1
                        });
                        named[at].messages.push(number);
                    }
                    Err(error) => {
                        let kind = kind_of(error.kind);
                        *done.objects.entry("failed").or_default() += 1;
                        failed.insert(number, (kind, error.to_string()));
                    }
                }
            }
        }
        named
    }

    /// The object of an event. Size and tag are how the ledger knows it again: where an event does
    /// not tell them, the bucket does.
    async fn object(&self, created: Created) -> Result<ObjectRef, StoreError> {
        let bucket: Arc<str> = format!("s3://{}", created.bucket).into();
        let Created { key, version, .. } = created;
        if let (Some(size), Some(etag)) = (created.size, created.etag) {
            return Ok(ObjectRef { bucket, key, size, etag, version });
        }
        let found = self.engine.sources.locate(&bucket, &key).await?;
        let missing =
            || StoreError { kind: Kind::Missing, what: format!("{bucket}/{key} is not there") };
        let found = found.ok_or_else(missing)?;
        Ok(ObjectRef { version, ..found })
    }

    /// The name of the first batch that can have loaded one of these messages before. None if all
    /// must be looked at: a folder of this machine may hold batches of `load`, named otherwise.
    fn oldest(&self, messages: &[Message]) -> Option<String> {
        let repeated = messages.iter().filter(|message| message.receive_count > 1);
        let times: Option<Vec<i64>> = repeated.map(|message| message.first_received).collect();
        let first = times?.into_iter().min()?;
        self.state.local().is_none().then(|| stamp(first - CLOCK_SLACK_MS))
    }

    async fn place(
        &mut self,
        named: Named,
        messages: &[Message],
        batch: &mut Batch,
        asked: &mut HashMap<String, Named>,
        done: &mut Done,
        failed: &mut BTreeMap<usize, (Failure, String)>,
    ) {
        let key = ObjectKey::new(named.object.key.clone());
        // A look-up reads the ledger of a day: only for what is known to be repeated. What is loaded
        // twice unknowingly is there once all the same, by its uids.
        let is_repeated = named.messages.iter().any(|&number| messages[number].receive_count > 1);
        let decision = if is_repeated {
            self.selection.decide(&named.object, &key).await
        } else {
            Ok(self.selection.recognize(&key))
        };
        let mut count = |what| *done.objects.entry(what).or_default() += 1;
        let note = match decision {
            Ok(Decision::Load(source)) => {
                let object = named.object.clone();
                batch.push(Item::new(object, key, source));
                asked.insert(named.object.id(), named);
                return;
            }
            Ok(Decision::Index { source, batch, .. }) => {
                let object = named.object.clone();
                let loaded_in = Some(batch);
                self.pending.push(Item { loaded_in, ..Item::new(object, key, source) });
                asked.insert(named.object.id(), named);
                return;
            }
            Ok(Decision::Skip { .. } | Decision::Reload { .. } | Decision::LeftOut) => {
                tracing::info!(object = named.object.location(), "known");
                return count("known");
            }
            Ok(Decision::KnownFailure { why, unreadable, .. }) => {
                count("failed");
                let location = named.object.location();
                tracing::warn!(object = location, error = why, "failed before");
                for number in named.messages {
                    let kind = unreadable.map_or(Failure::Permanent, kind_of);
                    failed.insert(number, (kind, format!("{why} (known)")));
                }
                return;
            }
            Ok(Decision::Unrecognized { why, known, .. }) => {
                count("unrecognized");
                (!known).then_some((State::Unrecognized, why))
            }
            Ok(Decision::Excluded { what, known, .. }) => {
                count("excluded");
                (!known).then_some((State::Excluded, what))
            }
            Err(error) => {
                for number in named.messages {
                    failed.insert(number, (Failure::Transient, error.to_string()));
                }
                return;
            }
        };
        if let Some((state, why)) = note {
            let location = named.object.location();
            tracing::info!(object = location, ?state, error = why, "not loaded");
            let object = named.object.clone();
            batch.notes.push(Note { object, key, state, why });
            asked.insert(named.object.id(), named);
        }
    }

    async fn load(&mut self, batch: Batch, deadline: Option<Instant>) -> Result<Outcome, String> {
        self.engine.deadline =
            deadline.map(|at| Arc::new(Deadline::new(at, self.seconds_per_byte, self.commit)));
        let engine = self.engine.clone();
        // In a task of its own a panic costs the batch, not the program. The task ends with the set.
        let mut running = JoinSet::new();
        running.spawn(async move { batch::run(&engine, batch).await });
        let Some(result) = in_time(deadline, running.join_next()).await else {
            return Err("the time was up before the batch was committed".into());
        };
        match result {
            Some(Ok(Ok(outcome))) => Ok(outcome),
            Some(Ok(Err(error))) => Err(error.to_string()),
            Some(Err(error)) => Err(format!("internal error: {error}; please report this")),
            None => Err("internal error: no batch; please report this".into()),
        }
    }

    fn settle(
        result: Result<Outcome, String>,
        index_only: bool,
        ids: &[String],
        asked: &HashMap<String, Named>,
        done: &mut Done,
        failed: &mut BTreeMap<usize, (Failure, String)>,
    ) {
        let outcome = match result {
            Ok(outcome) => outcome,
            Err(why) => {
                tracing::error!(error = why, "the batch is given back");
                let named = ids.iter().filter_map(|id| asked.get(id));
                for number in named.flat_map(|named| &named.messages) {
                    failed.entry(*number).or_insert((Failure::Transient, why.clone()));
                }
                return;
            }
        };
        for object in outcome.objects {
            log(&object);
            if let Some(index) = object.index {
                *done.index.get_or_insert_default() += index;
                if index.pending > 0 {
                    let error = outcome.index_error.as_ref().map(|error| error.what.as_str());
                    let error = error.unwrap_or("it was not taken");
                    let named = asked.get(&object.id);
                    for number in named.iter().flat_map(|named| &named.messages) {
                        let why = format!("not indexed yet: {error}");
                        failed.entry(*number).or_insert((Failure::Transient, why));
                    }
                }
            }
            let what = match &object.error {
                None if index_only => "known",
                None => "loaded",
                Some((State::Unrecognized, _)) => "unrecognized",
                Some((State::Excluded, _)) => "excluded",
                Some((State::Failed | State::Loaded, error)) => {
                    let kind = match (object.started, object.unreadable, error.permanent) {
                        (false, ..) => Failure::NotStarted,
                        (_, Some(kind), _) => kind_of(kind),
                        (_, _, true) => Failure::Permanent,
                        (_, _, false) => Failure::Transient,
                    };
                    let named = asked.get(&object.id);
                    for number in named.iter().flat_map(|named| &named.messages) {
                        let why = format!("{}: {}", object.location, error.what);
                        failed.insert(*number, (kind, why));
                    }
                    "failed"
                }
            };
            *done.objects.entry(what).or_default() += 1;
            if index_only {
                continue;
            }
            done.records += object.records;
            done.bytes += object.read_bytes;
            if let Some(source) = object.source {
                *done.by_source.entry(source).or_default() += object.records.records_in;
            }
        }
    }

    /// Remembers what objects and commits have cost. The slower of now and before counts, and what
    /// was slow once is forgotten by and by. A batch that was given up, without an outcome, has cost
    /// more than there was time for.
    fn learn(&mut self, outcome: Option<&Outcome>, took: Duration) {
        let Some(deadline) = &self.engine.deadline else { return };
        let (weight, before) = (deadline.started_bytes(), self.seconds_per_byte);
        if let Some(outcome) = outcome {
            let commit = took.saturating_sub(outcome.reading).mul_f64(1.5);
            self.commit = commit.max(self.commit.mul_f64(0.8)).max(COMMIT);
        }
        if weight == 0 {
            return;
        }
        let is_telling = weight >= TELLING_BYTES;
        let reading = outcome.map_or(took, |outcome| outcome.reading);
        let measured = if is_telling { reading.as_secs_f64() / weight as f64 } else { 0.0 };
        let known = match (outcome, is_telling) {
            (None, _) => before * 4.0,
            (Some(_), true) => before / 2.0,
            (Some(_), false) => before.min(SECONDS_PER_BYTE.max(before / 2.0)),
        };
        self.seconds_per_byte = measured.max(known).min(MAX_SECONDS_PER_BYTE);
    }
}

/// What a future gives, unless the deadline passes before.
async fn in_time<R>(deadline: Option<Instant>, work: impl Future<Output = R>) -> Option<R> {
    if let Some(at) = deadline {
        return tokio::time::timeout_at(at.into(), work).await.ok();
    }
    Some(work.await)
}

fn kind_of(kind: Kind) -> Failure {
    match kind {
        Kind::Missing | Kind::Denied | Kind::Other => Failure::Unreadable,
        Kind::Transient | Kind::Configuration | Kind::Changed => Failure::Transient,
    }
}
