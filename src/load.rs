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

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use parsers::{Accounts, Filter, ObjectKey, Source};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    batch::{self, BatchError, Engine, Outcome},
    budget::Budget,
    cpu::Cpu,
    inflate::Caps,
    ledger::{Ledger, LedgerError, State},
    progress::Progress,
    report::{ObjectTotals, Report},
    select::{Asked, Batch, Decision, Item, Note, ReloadError, Selection},
    store,
    workspace::{self, FileError, LakeLock, Places},
};

/// What a load is asked to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Files and folders.
    pub paths: Vec<PathBuf>,
    /// Where to.
    pub places: Places,
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
    #[error(
        "the lake {} lies inside of the archive {}: choose another place for it",
        lake.display(),
        path.display()
    )]
    Inside {
        /// The lake.
        lake: PathBuf,
        /// The archive.
        path: PathBuf,
    },
    /// The state folder lies among the lake's files.
    #[error(
        "the state folder {} lies among the files of the lake, in {}: choose another place for it",
        state.display(),
        lake.display()
    )]
    StateInside {
        /// The state folder.
        state: PathBuf,
        /// The lake's files.
        lake: PathBuf,
    },
    /// The lake or the state folder cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// There are no threads to be had.
    #[error("cannot start threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// Why a running load ends early.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Loads an archive into a lake.
pub async fn load(settings: &Settings, progress: &Progress) -> Result<Report, StartError> {
    let started = Instant::now();
    let mut run = Run::start(settings, progress)?;
    run.all().await;
    run.report.seconds = started.elapsed().as_secs_f64();
    Ok(run.report)
}

/// The place without links, also if there is nothing yet.
fn canonical(place: &Path) -> io::Result<PathBuf> {
    let place = std::path::absolute(place)?;
    for parent in place.ancestors() {
        if let Ok(known) = std::fs::canonicalize(parent) {
            return Ok(known.join(place.strip_prefix(parent).unwrap_or(Path::new(""))));
        }
    }
    Ok(place)
}

struct Run<'s> {
    /// None for a dry run.
    _lock: Option<LakeLock>,
    settings: &'s Settings,
    /// The paths without those that lie in another one.
    paths: Vec<PathBuf>,
    progress: &'s Progress,
    engine: Engine,
    selection: Selection,
    report: Report,
    /// Batches to be loaded again, with the objects that asked for it.
    reload: BTreeMap<String, Asked>,
    /// Objects of each batch that were counted without being read.
    settled: BTreeMap<String, ObjectTotals>,
}

impl<'s> Run<'s> {
    fn start(settings: &'s Settings, progress: &'s Progress) -> Result<Self, StartError> {
        let places = &settings.places;
        let mut report = Report {
            dry_run: settings.dry_run,
            accounts: Arc::clone(&settings.accounts),
            ..Report::default()
        };
        let mut paths: Vec<PathBuf> = Vec::new();
        for path in &settings.paths {
            let on_error = |source| StartError::Path { path: path.clone(), source };
            let full = std::fs::canonicalize(path).map_err(on_error)?;
            for place in [&places.lake, &places.state] {
                let place = canonical(place).map_err(on_error)?;
                if full.is_dir() && place.starts_with(&full) {
                    return Err(StartError::Inside { lake: place, path: full });
                }
            }
            // What lies in another path is listed with that one, once.
            if !paths.iter().any(|other| full.starts_with(other)) {
                paths.retain(|other| !other.starts_with(&full));
                paths.push(full);
            }
        }
        let files = canonical(&places.lake.join("ext"));
        let state = canonical(&places.state);
        if let (Ok(lake), Ok(path)) = (files, state)
            && path.starts_with(&lake)
        {
            return Err(StartError::StateInside { state: path, lake });
        }
        let mut lock = None;
        if !settings.dry_run {
            let (held, recovered) = workspace::open(places)?;
            lock = Some(held);
            report.recovered = recovered;
        }
        let engine = Engine {
            cpu: Cpu::new(settings.budget.lanes)?,
            budget: settings.budget,
            caps: settings.caps,
            places: places.clone(),
            accounts: Arc::clone(&settings.accounts),
            progress: progress.clone(),
        };
        let selection = Selection {
            source: settings.source,
            filter: settings.filter.clone(),
            force: settings.force,
            ledger: Ledger::new(&places.state),
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
            settled: BTreeMap::new(),
        })
    }

    /// Lists to the end also when the load has stopped, so that every object is in a count.
    async fn all(&mut self) {
        let mut batch = Batch::new(self.settings.filter.clone());
        let mut unreached = 0;
        for path in &std::mem::take(&mut self.paths) {
            let listing = match store::list(path) {
                Ok(listing) => listing,
                Err(error) => {
                    self.fail(path.display().to_string(), error.to_string());
                    continue;
                }
            };
            for object in listing {
                match object {
                    Ok(_) if self.report.stopped.is_some() => unreached += 1,
                    Ok(object) => {
                        let placed = self.place(object, &mut batch);
                        unreached += u64::from(placed.is_err());
                        self.stop_on(placed);
                    }
                    Err(error) => self.fail(path.display().to_string(), error),
                }
                if batch.is_full() {
                    let full = Batch::new(self.settings.filter.clone());
                    let done = self.batch(std::mem::replace(&mut batch, full)).await;
                    self.stop_on(done);
                }
            }
        }
        let done = self.batch(batch).await;
        self.stop_on(done);
        self.selection.ledger.forget();
        for (id, asked) in std::mem::take(&mut self.reload) {
            if self.report.stopped.is_some() {
                unreached += asked.len() as u64;
            } else {
                let done = self.again(&id, &asked).await;
                self.stop_on(done);
            }
        }
        if unreached > 0 {
            self.report.objects.failed += unreached - 1;
            self.fail(format!("{unreached} objects"), "not reached before the load stopped".into());
        }
    }

    fn stop_on(&mut self, done: Result<(), Stop>) {
        if let Err(stop) = done {
            self.report.stopped.get_or_insert(stop.to_string());
        }
    }

    /// Loads a batch again, or what is left of it.
    async fn again(&mut self, id: &str, asked: &Asked) -> Result<(), Stop> {
        match Batch::again(&mut self.selection, id, asked) {
            Ok(batch) => {
                // They are read again after all, because others of their batch are.
                let settled = self.settled.remove(id).unwrap_or_default();
                let objects = &mut self.report.objects;
                objects.skipped -= settled.skipped;
                objects.failed -= settled.failed;
                objects.unrecognized -= settled.unrecognized;
                objects.excluded -= settled.excluded;
                self.batch(batch).await
            }
            Err(ReloadError::Ledger(error)) => Err(error.into()),
            Err(error @ ReloadError::Gone { .. }) => {
                let batch = self.selection.rest(id, asked)?;
                self.report.beside.push((error.to_string(), batch.items.len()));
                // The others were asked for by force only, and are in the lake.
                self.report.objects.skipped += asked.len().saturating_sub(batch.items.len()) as u64;
                self.batch(batch).await
            }
        }
    }

    fn fail(&mut self, name: String, why: String) {
        self.report.objects.failed += 1;
        self.report.failures.add(name, why);
    }

    /// Puts an object where it belongs.
    fn place(&mut self, object: store::ObjectRef, batch: &mut Batch) -> Result<(), Stop> {
        let key = ObjectKey::new(object.key.clone());
        let decision = self.selection.decide(&object, &key)?;
        tracing::debug!(key = object.key, ?decision);
        let note = match decision {
            Decision::LeftOut => {
                self.report.left_out += 1;
                None
            }
            Decision::Skip { batch, rejected } => {
                self.settled.entry(batch).or_default().skipped += 1;
                self.report.objects.skipped += 1;
                self.report.rejected_before += rejected;
                None
            }
            Decision::KnownFailure { batch, why } => {
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
                batch.push(Item { object, key, source, fallback: None });
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

    async fn batch(&mut self, batch: Batch) -> Result<(), Stop> {
        if self.settings.dry_run {
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
        match batch::run(&self.engine, batch).await {
            Ok(outcome) => self.add(outcome),
            Err(error) => {
                self.report.objects.failed += objects;
                return Err(error.into());
            }
        }
        Ok(())
    }

    fn add(&mut self, outcome: Outcome) {
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
