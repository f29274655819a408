//! Merges committed staged files into the partitions of the lake.
//!
//! # Input
//! A lake with its state folder: staged files whose batch has a ledger.
//! # Maps to
//! Files of partitions, sorted and without repetitions, and manifests that say what went into
//! them. It works in rounds: choose, merge into scratch (`round.rs`, `merge.rs`), tell what will be
//! written, upload, commit with one create that only one can win (`manifest.rs`). What a killed
//! round left is removed by the next publish (`recover.rs`).
//! # Known gaps
//! Of an event whose two rows differ in
//! time both stay. Security Lake's custom sources, with a role for each class, come later: the
//! lake's folder is asked for at one place per class for that.
//! # Reference
//! Design sections 5 and 6.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use crate::{
    budget::Budget,
    config::{LakeArgs, SizeArgs},
    cpu::{Cpu, Panicked},
    ledger::LedgerError,
    load::{StartError, check_state, check_used},
    progress::Progress,
    store::{Access, Folder, Place, S3, StoreError},
    workspace::{self, FileError, LakeLock, Places},
};

pub mod deliver;
mod known;
pub mod lost;
pub mod manifest;
mod merge;
mod output;
mod recover;
mod report;
mod round;
pub(crate) mod rows;
mod survey;
pub mod visible;

use deliver::SecurityLake;
use manifest::{History, HistoryError};
use output::{Limits, MergeError};
pub use report::Report;
pub use visible::{Staged, Visible, visible};

/// How long staged files stay after they were merged, if nothing else is asked for.
pub const GRACE: Duration = Duration::from_hours(1);
/// What was never committed is removed after so long: no load takes longer.
pub const ABANDONED: Duration = Duration::from_hours(7 * 24);
/// Staged bytes of a round: what the scratch folder holds, twice at most.
const ROUND_BYTES: u64 = 2 << 30;
/// Staged files of a round: what a manifest names.
const ROUND_FILES: usize = 10_000;
/// Size of a published file, about.
const FILE_BYTES: usize = 256 << 20;
/// Rounds that others may win before this publish gives up.
const MAX_OVERTAKEN: u32 = 5;
/// Memory of the program without what is merged.
const PROCESS_BYTES: usize = 64 << 20;

/// What a publish is asked to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The lake.
    pub lake: Place,
    /// Its state folder.
    pub state: Place,
    /// How their buckets are used.
    pub lake_access: Access,
    /// Memory for everything.
    pub memory_bytes: usize,
    /// Threads.
    pub jobs: usize,
    /// How long staged files stay after they were merged: a reader may be about to read them.
    pub grace: Duration,
    /// Where published files are delivered as well.
    pub security_lake: Option<SecurityLake>,
    /// Writes nothing.
    pub dry_run: bool,
    /// A lake that nothing was loaded into is an error.
    pub must_exist: bool,
}

impl Settings {
    /// Of a publish that nothing in particular is asked of.
    pub fn new(lake: &LakeArgs, size: &SizeArgs) -> Self {
        Self {
            lake: lake.lake.clone(),
            state: lake.state(),
            lake_access: lake.access(),
            memory_bytes: size.memory,
            jobs: size.jobs(),
            grace: GRACE,
            security_lake: None,
            dry_run: false,
            must_exist: false,
        }
    }
}

/// The publish could not start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The places do not fit.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Lake or state cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The lake is locked, or cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Manifests cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Files cannot be merged.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// Work panicked.
    #[error(transparent)]
    Panicked(#[from] Panicked),
    /// A setting is wrong.
    #[error("{0}")]
    Setting(String),
    /// There are no threads to be had.
    #[error("cannot start threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// Publishes what is staged. An error means that it could not start; what went wrong later is in the
/// report.
pub async fn publish(settings: &Settings, progress: &Progress) -> Result<Report, PublishError> {
    let started = Instant::now();
    let mut publisher = Publisher::start(settings, progress).await?;
    if let Err(error) = publisher.run().await {
        publisher.report.stopped = Some(error.to_string());
    }
    publisher.report.seconds = started.elapsed().as_secs_f64();
    Ok(publisher.report)
}

struct Publisher<'s> {
    /// Of a lake of this machine, if anything is written.
    lock: Option<LakeLock>,
    settings: &'s Settings,
    progress: &'s Progress,
    lake: Folder,
    state: Folder,
    cpu: Cpu,
    limits: Limits,
    /// Files that are uploaded at the same time.
    uploads: usize,
    history: History,
    /// Staged files that cannot be read.
    damaged: HashSet<String>,
    report: Report,
}

impl<'s> Publisher<'s> {
    async fn start(settings: &'s Settings, progress: &'s Progress) -> Result<Self, PublishError> {
        check_state(&settings.lake, &settings.state)?;
        if let Place::Local(path) = &settings.lake {
            if !path.exists() {
                let why = format!("there is no lake in {}: check the path", path.display());
                return Err(PublishError::Setting(why));
            }
            if settings.security_lake.is_some() {
                let why = "only a lake in a bucket is delivered to Security Lake: what is loaded \
                           into a folder is not published";
                return Err(PublishError::Setting(why.into()));
            }
        }
        let budget = Budget::new(settings.memory_bytes, settings.jobs);
        let budget = budget.map_err(PublishError::Setting)?;
        let s3 = S3::new(settings.lake_access.clone());
        let lake = Folder::open(&settings.lake, &s3).await?;
        let state = Folder::open(&settings.state, &s3).await?;
        if settings.must_exist {
            check_used(&settings.lake, &settings.state, &state).await?;
        }
        let mut lock = None;
        if let (Place::Local(lake), Place::Local(state), false) =
            (&settings.lake, &settings.state, settings.dry_run)
        {
            let places = Places { lake: lake.clone(), state: state.clone() };
            lock = Some(workspace::open(&places)?.0);
        }
        let memory = settings.memory_bytes - PROCESS_BYTES;
        Ok(Self {
            lock,
            settings,
            progress,
            cpu: Cpu::new(budget.lanes)?,
            limits: Limits {
                // What is estimated of an input is about half of what it takes with the allocator.
                merge_bytes: memory / 3,
                group_bytes: (memory / 8).min(FILE_BYTES),
                file_bytes: FILE_BYTES,
            },
            uploads: (memory / (32 << 20)).clamp(1, 8),
            history: History::read(&state).await?,
            lake,
            state,
            damaged: HashSet::new(),
            report: Report { dry_run: settings.dry_run, ..Report::default() },
        })
    }

    async fn run(&mut self) -> Result<(), PublishError> {
        if !self.settings.dry_run {
            self.recover().await?;
        }
        self.find_lost().await?;
        let mut overtaken = 0;
        loop {
            let chosen = self.choose().await?;
            if self.settings.dry_run || chosen.is_empty() {
                break;
            }
            if self.round(chosen).await? {
                overtaken = 0;
            } else {
                overtaken += 1;
                self.report.overtaken += 1;
            }
            if overtaken > MAX_OVERTAKEN {
                self.report.stopped = Some("other publishes were faster every time".into());
                break;
            }
        }
        if !self.settings.dry_run {
            if let Some(to) = &self.settings.security_lake {
                self.deliver(to).await?;
            }
            self.sweep().await?;
        }
        Ok(())
    }

    /// Staged files for a round, oldest first. Counts what is left for later ones.
    async fn choose(&mut self) -> Result<Vec<Staged>, PublishError> {
        // First what is merged, then what is there: what another publish merges meanwhile makes
        // the commit of this one fail.
        self.history.refresh(&self.state).await?;
        let mut staged = visible::committed(&self.state).await?;
        staged.retain(|one| {
            let path = &one.file.path;
            self.history.merged(path).is_none() && !self.damaged.contains(path)
        });
        let mut bytes = 0;
        let fits = |one: &&Staged| {
            bytes += one.file.size;
            bytes <= ROUND_BYTES
        };
        let count = staged.iter().take(ROUND_FILES).take_while(fits).count();
        let rest = staged.split_off(count.max(1).min(staged.len()));
        self.report.left.count = (rest.len() + staged.len()) as u64;
        self.report.left.bytes = staged.iter().chain(&rest).map(|one| one.file.size).sum();
        let done = self.report.staged.bytes;
        self.progress.at(done, done + self.report.left.bytes);
        Ok(staged)
    }
}
