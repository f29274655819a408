//! Loads an archive: lists, decides, runs batch after batch, reports.
//!
//! # Input
//! Paths and settings.
//! # Maps to
//! Batches ([`crate::batch`]) and a [`Report`].
//! # Known gaps
//! One batch at a time; both cores are busy at its end, because files are encoded in parallel.
//! # Reference
//! Design sections 2 and 5.

use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc, time::Instant};

use parsers::{Accounts, Filter, ObjectKey, Source};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    batch::{self, BatchError, Destination, Engine, Outcome},
    budget::Budget,
    cpu::Cpu,
    indexing::{IndexArgs, IndexError},
    inflate::Caps,
    ledger::{Ledger, LedgerError, State},
    progress::Progress,
    report::{ObjectTotals, Report},
    select::{Asked, Batch, Decision, Item, Note, ReloadError, Selection},
    store::{Access, Folder, ObjectRef, Place, S3, Sources, StoreError},
    workspace::{self, FileError, LakeLock, Places},
};

mod archives;

pub(crate) use archives::{archives, check_state, check_used};

/// What a load is asked to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Files, folders and prefixes of buckets.
    pub paths: Vec<Place>,
    /// The lake.
    pub lake: Place,
    /// Ledger and rejects.
    pub state: Place,
    /// How the buckets of the archives are read.
    pub source_access: Access,
    /// How the buckets of lake and state are used.
    pub lake_access: Access,
    /// Which source, if the keys do not tell.
    pub source: Option<&'static Source>,
    /// Which events.
    pub filter: Filter,
    /// Sizes of buffers.
    pub budget: Budget,
    /// Limits of decompression.
    pub caps: Caps,
    /// Names of accounts.
    pub accounts: Arc<Accounts>,
    /// Where rows are indexed as well.
    pub index: IndexArgs,
    /// Loads again what is loaded.
    pub force: bool,
    /// Writes nothing.
    pub dry_run: bool,
}

/// The load could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A path cannot be listed.
    #[error("cannot read {}: {source}", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The lake lies in the archive.
    #[error("the lake {lake} lies inside of the archive {path}: choose another place for it")]
    Inside {
        /// The lake or its state folder.
        lake: String,
        /// The archive.
        path: String,
    },
    /// The state folder lies among the lake's files.
    #[error(
        "the state folder {state} lies among the files of the lake, in {lake}: choose another \
         place for it"
    )]
    StateInside {
        /// The state folder.
        state: String,
        /// The lake's files.
        lake: String,
    },
    /// One is here and one is in a bucket.
    #[error("the lake {lake} and the state folder {state} must both be local, or both in S3")]
    Mixed {
        /// The lake.
        lake: Place,
        /// The state folder.
        state: Place,
    },
    /// There is no lake.
    #[error(
        "nothing was ever loaded into {lake}: there is no ledger in {state}; check --lake and --state"
    )]
    Unused {
        /// The lake.
        lake: Place,
        /// The state folder.
        state: Place,
    },
    /// The lake or the state folder cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A bucket cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The index cannot be used.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// There are no threads to be had.
    #[error("cannot start threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// Why a running load ends early.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// A batch cannot be committed.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Loads an archive into a lake.
pub async fn load(settings: &Settings, progress: &Progress) -> Result<Report, StartError> {
    let started = Instant::now();
    let mut run = Run::start(settings, progress).await?;
    run.all().await;
    run.refresh().await;
    run.report.seconds = started.elapsed().as_secs_f64();
    Ok(run.report)
}

/// A load that runs, or a redrive.
pub(crate) struct Run<'s> {
    /// None for a dry run.
    _lock: Option<LakeLock>,
    settings: &'s Settings,
    /// The paths without those that lie in another one.
    paths: Vec<Place>,
    progress: &'s Progress,
    pub(crate) engine: Engine,
    pub(crate) selection: Selection,
    pub(crate) report: Report,
    /// Batches to be loaded again, with the objects that asked for it.
    reload: BTreeMap<String, Asked>,
    /// What is in the lake and is to be indexed, by what was asked for when it was loaded.
    pending: BTreeMap<String, Batch>,
    /// Objects of each batch that were counted without being read.
    settled: BTreeMap<String, ObjectTotals>,
    /// Of those, objects that are not in the index and documents that it refused.
    lacking: BTreeMap<String, (u64, u64)>,
}

impl<'s> Run<'s> {
    /// Opens lake and state.
    pub(crate) async fn start(
        settings: &'s Settings,
        progress: &'s Progress,
    ) -> Result<Self, StartError> {
        let mut report = Report {
            dry_run: settings.dry_run,
            accounts: Arc::clone(&settings.accounts),
            ..Report::default()
        };
        let sources = Sources::new(Arc::new(S3::new(settings.source_access.clone())));
        let paths = archives(settings, &sources).await?;
        check_state(&settings.lake, &settings.state)?;
        let lake_s3 = S3::new(settings.lake_access.clone());
        let state = Folder::open(&settings.state, &lake_s3).await?;
        // Before anything is written: what is refused leaves nothing behind.
        let connected = settings.index.connect().await?;
        let mut lock = None;
        let destination = match (&settings.lake, &settings.state) {
            (Place::Local(lake), Place::Local(state)) => {
                let places = Places { lake: lake.clone(), state: state.clone() };
                if !settings.dry_run {
                    let (held, recovered) = workspace::open(&places)?;
                    lock = Some(held);
                    report.recovered = recovered;
                }
                Destination::Lake(places)
            }
            _ => Destination::Staged(state.clone()),
        };
        let index = match connected {
            Some(connected) => {
                let (index, budget) = (&settings.index, &settings.budget);
                Some(index.open(connected, &state, budget, settings.dry_run).await?)
            }
            None => None,
        };
        report.index_url = index.as_ref().map(|index| index.cluster.url().to_owned());
        let selection = Selection {
            source: settings.source,
            filter: settings.filter.clone(),
            force: settings.force,
            ledger: Ledger::checked(state).with_index(index.clone()),
            sources: sources.clone(),
            beside: matches!(destination, Destination::Staged(_)),
        };
        let engine = Engine {
            cpu: Cpu::new(settings.budget.lanes)?,
            budget: settings.budget,
            caps: settings.caps,
            sources,
            destination,
            index,
            deadline: None,
            accounts: Arc::clone(&settings.accounts),
            progress: progress.clone(),
        };
        Ok(Self {
            _lock: lock,
            settings,
            paths,
            progress,
            engine,
            selection,
            report,
            reload: BTreeMap::new(),
            pending: BTreeMap::new(),
            settled: BTreeMap::new(),
            lacking: BTreeMap::new(),
        })
    }

    /// Lists to the end also when the load has stopped, so that every object is in a count.
    async fn all(&mut self) {
        let mut batch = Batch::new(self.settings.filter.clone());
        let mut unreached = 0;
        for place in &std::mem::take(&mut self.paths) {
            let mut listed = self.engine.sources.list(place, self.selection.scope());
            while let Some(page) = listed.recv().await {
                let objects = page.unwrap_or_else(|error| {
                    self.fail(place.to_string(), error);
                    Vec::new()
                });
                for object in objects {
                    if self.report.stopped.is_some() {
                        unreached += 1;
                        continue;
                    }
                    if place.is_s3() {
                        self.progress.listed(object.size);
                    }
                    let placed = self.place(object, &mut batch).await;
                    unreached += u64::from(placed.is_err());
                    self.stop_on(placed);
                    if batch.is_full() {
                        let full = Batch::new(self.settings.filter.clone());
                        let done = self.batch(std::mem::replace(&mut batch, full)).await;
                        self.stop_on(done);
                    }
                }
            }
        }
        let done = self.batch(batch).await;
        self.stop_on(done);
        self.selection.ledger.forget();
        for batch in std::mem::take(&mut self.pending).into_values() {
            let done = self.batch(batch).await;
            self.stop_on(done);
        }
        for (id, asked) in std::mem::take(&mut self.reload) {
            if self.report.stopped.is_some() {
                unreached += asked.len() as u64;
            } else {
                let done = self.again(&id, &asked).await;
                self.stop_on(done);
            }
        }
        for (missing, refused) in std::mem::take(&mut self.lacking).into_values() {
            self.report.not_indexed_before += missing;
            self.report.refused_before += refused;
        }
        if unreached > 0 {
            self.report.objects.failed += unreached - 1;
            self.fail(format!("{unreached} objects"), "not reached before the load stopped".into());
        }
    }

    /// What was indexed is found from now on.
    pub(crate) async fn refresh(&mut self) {
        let Some(index) = &self.engine.index else { return };
        self.report.index_bytes = Some(index.sent_bytes());
        if self.report.index.is_some_and(|counts| counts.indexed > 0) {
            index.refresh().await;
        }
    }

    fn stop_on(&mut self, done: Result<(), Stop>) {
        if let Err(stop) = done {
            self.report.stopped.get_or_insert(stop.to_string());
        }
    }

    /// Loads a batch again, or what is left of it.
    async fn again(&mut self, id: &str, asked: &Asked) -> Result<(), Stop> {
        match Batch::again(&mut self.selection, id, asked).await {
            Ok(batch) => {
                // They are read again after all, because others of their batch are.
                let settled = self.settled.remove(id).unwrap_or_default();
                self.lacking.remove(id);
                let objects = &mut self.report.objects;
                objects.skipped -= settled.skipped;
                objects.failed -= settled.failed;
                objects.unrecognized -= settled.unrecognized;
                objects.excluded -= settled.excluded;
                self.batch(batch).await
            }
            Err(ReloadError::Ledger(error)) => Err(error.into()),
            Err(error @ ReloadError::Gone { .. }) => {
                let batch = self.selection.rest(id, asked).await?;
                self.report.beside.push((error.to_string(), batch.items.len()));
                // The others were asked for by force only, and are in the lake.
                self.report.objects.skipped += asked.len().saturating_sub(batch.items.len()) as u64;
                self.batch(batch).await
            }
        }
    }

    /// Counts an object that is not loaded.
    pub(crate) fn fail(&mut self, name: String, why: String) {
        self.report.objects.failed += 1;
        self.report.failures.add(name, why);
    }

    /// Puts an object where it belongs.
    async fn place(&mut self, object: ObjectRef, batch: &mut Batch) -> Result<(), Stop> {
        let key = ObjectKey::new(object.key.clone());
        let decision = self.selection.decide(&object, &key).await?;
        tracing::debug!(key = object.key, ?decision);
        let note = match decision {
            Decision::LeftOut => {
                self.report.left_out += 1;
                None
            }
            Decision::Skip { batch, rejected, index } => {
                if self.engine.index.is_some() && !index.is_done() {
                    let (missing, refused) = self.lacking.entry(batch.clone()).or_default();
                    *missing += u64::from(index.missing);
                    *refused += index.refused;
                }
                self.settled.entry(batch).or_default().skipped += 1;
                self.report.objects.skipped += 1;
                self.report.rejected_before += rejected;
                None
            }
            Decision::KnownFailure { batch, why, .. } => {
                self.settled.entry(batch).or_default().failed += 1;
                self.fail(object.location(), format!("{why} (known from an earlier load)"));
                None
            }
            Decision::Unrecognized { why, known, batch } => {
                if let Some(batch) = batch {
                    self.settled.entry(batch).or_default().unrecognized += 1;
                }
                self.report.objects.unrecognized += 1;
                self.report.unrecognized.add(object.location(), why.as_str());
                Some((State::Unrecognized, why)).filter(|_| !known)
            }
            Decision::Excluded { what, known, batch } => {
                if let Some(batch) = batch {
                    self.settled.entry(batch).or_default().excluded += 1;
                }
                self.report.objects.excluded += 1;
                Some((State::Excluded, what)).filter(|_| !known)
            }
            Decision::Load(source) => {
                batch.push(Item::new(object, key, source));
                return Ok(());
            }
            Decision::Index { source, filters, batch: loaded_in } => {
                let pending = self
                    .pending
                    .entry(format!("{filters:?}"))
                    .or_insert_with(|| Batch::to_index(filters.to_vec()));
                let loaded_in = Some(loaded_in);
                pending.push(Item { loaded_in, ..Item::new(object, key, source) });
                if pending.is_full() {
                    let empty = Batch::to_index(filters.to_vec());
                    let full = std::mem::replace(pending, empty);
                    return Box::pin(self.batch(full)).await;
                }
                return Ok(());
            }
            Decision::Reload { batch } => {
                if self.settings.dry_run {
                    self.report.objects.loaded += 1;
                    self.report.bytes_in += object.size;
                } else {
                    let location = xxh3_64(object.location().as_bytes());
                    self.reload.entry(batch).or_default().insert(location);
                }
                return Ok(());
            }
        };
        self.progress.object();
        self.progress.bytes(object.size);
        if let Some((state, why)) = note {
            batch.notes.push(Note { object, key, state, why });
        }
        Ok(())
    }

    /// Loads a batch.
    pub(crate) async fn batch(&mut self, batch: Batch) -> Result<(), Stop> {
        if self.settings.dry_run && batch.index_only {
            self.report.objects.skipped += batch.items.len() as u64;
        } else if self.settings.dry_run {
            self.report.objects.loaded += batch.items.len() as u64;
            self.report.bytes_in += batch.items.iter().map(|item| item.object.size).sum::<u64>();
        }
        if self.settings.dry_run || batch.is_empty() {
            return Ok(());
        }
        let objects = batch.items.len() as u64;
        if self.report.stopped.is_some() {
            self.report.objects.failed += objects;
            return Ok(());
        }
        let index_only = batch.index_only;
        match batch::run(&self.engine, batch).await {
            Ok(outcome) if index_only => self.add_indexed(outcome),
            Ok(outcome) => self.add(outcome),
            Err(error) => {
                self.report.objects.failed += objects;
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Adds what was indexed of what is in the lake.
    fn add_indexed(&mut self, mut outcome: Outcome) {
        self.add_index(&mut outcome);
        for object in outcome.objects {
            match object.error {
                None => self.report.objects.skipped += 1,
                Some((_, failure)) => self.fail(object.location, failure.what),
            }
        }
    }

    fn add_index(&mut self, outcome: &mut Outcome) {
        for counts in outcome.objects.iter().filter_map(|object| object.index) {
            *self.report.index.get_or_insert_default() += counts;
        }
        for (reason, count) in std::mem::take(&mut outcome.index_rejects) {
            *self.report.index_rejects.entry(reason).or_default() += count;
        }
        let error = outcome.index_error.take().map(|error| error.what);
        self.report.index_error = error.or_else(|| self.report.index_error.take());
    }

    /// Counts what a batch became.
    pub(crate) fn add(&mut self, mut outcome: Outcome) {
        self.add_index(&mut outcome);
        for object in outcome.objects {
            self.report.bytes_in += object.read_bytes;
            self.report.records += object.records;
            if let Some(source) = object.source {
                *self.report.by_source.entry(source).or_default() += object.records;
            }
            match object.error {
                None => self.report.objects.loaded += 1,
                Some((State::Unrecognized, failure)) => {
                    self.report.objects.unrecognized += 1;
                    self.report.unrecognized.add(object.location, failure.what);
                }
                Some((State::Excluded, _)) => self.report.objects.excluded += 1,
                Some((_, failure)) => self.fail(object.location, failure.what),
            }
        }
        for (class, rows) in outcome.by_class {
            *self.report.by_class.entry(class).or_default() += rows;
        }
        for (account, classes) in outcome.by_account {
            let rows = self.report.by_account.entry(account).or_default();
            for (class, count) in classes {
                *rows.entry(class).or_default() += count;
            }
        }
        for (reason, count) in outcome.rejects {
            *self.report.rejects.entry(reason).or_default() += count;
        }
        self.report.files += outcome.files;
        self.report.unnamed_accounts.extend(outcome.unnamed_accounts);
    }
}
