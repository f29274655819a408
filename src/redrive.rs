//! Loads again what was rejected or failed, because a newer version or a mended bucket may do better.
//!
//! # Input
//! The ledger: objects with rejected records, and objects that failed.
//! # Maps to
//! Their objects are read again from where they are, whole: so account, region, log name and ids are
//! those of the first time, also of flow log rows, whose ids are made of their number in the object.
//!
//! In a lake of this machine their batches are loaded again, as `load --force` does: files, rejects
//! and ledger of the batch are replaced in one commit.
//!
//! Staged rows cannot be replaced. There the objects become a new staged batch beside the old one,
//! one generation later; `publish` keeps one row of each event. What is still rejected is in the
//! rejects of the new batch. Only when its ledger is written are the old lines removed from the
//! rejects. A run that is killed before has changed nothing; one that is killed in between leaves old
//! lines, which the next one removes: the ledger says that a later generation has the object.
//! # Known gaps
//! What is gone from the archive, or is in a batch of a local lake of which something is gone, stays
//! in the rejects and is named. It is not decoded from the raw lines of the rejects.
//! # Reference
//! Design section 6; mapping 1.6.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use parsers::{Filter, ObjectKey};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    batch::Destination,
    ledger::{Entry, LedgerError, State},
    load::{Run, Settings, StartError, Stop},
    progress::Progress,
    report::{self, Named},
    select::{Asked, Batch, Item, ReloadError},
    store::{Folder, Kind, ObjectRef, S3, StoreError, location, scratch},
};

/// Admits nothing: what a batch admitted is not widened.
pub const NO_FILTER: Filter =
    Filter { since: i64::MAX, until: i64::MIN, accounts: Vec::new(), regions: Vec::new() };
const REJECTS: &str = "rejects/v1";

/// Which days of delivery, as `20240501`, both inclusive.
#[derive(Clone, Debug, Default)]
pub struct Days {
    /// The first.
    pub since: Option<String>,
    /// The last.
    pub until: Option<String>,
}

impl Days {
    fn has(&self, day: &str) -> bool {
        self.since.as_deref().is_none_or(|since| since <= day)
            && self.until.as_deref().is_none_or(|until| day <= until)
    }
}

/// The redrive could not start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RedriveError {
    /// The places are wrong, or cannot be used.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A batch cannot be committed.
    #[error(transparent)]
    Stop(#[from] Stop),
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A folder or bucket cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a redrive did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Objects with rejected records, or that failed.
    pub found: u64,
    /// Rejected records of theirs, before.
    pub rejected_before: u64,
    /// What loading them did.
    #[serde(flatten)]
    pub load: report::Report,
    /// Objects that cannot be loaded again, and why.
    pub left: Named,
    /// Lines that were removed from the rejects because their objects were staged anew.
    pub removed_lines: u64,
    /// Rows were staged: they are to be published.
    #[serde(skip)]
    pub staged: bool,
}

impl Report {
    /// 0 if nothing is rejected or failed any more, else 2.
    pub fn exit_code(&self) -> u8 {
        if self.left.count() > 0 { 2 } else { self.load.exit_code(false) }
    }

    /// What cannot be loaded again, by name.
    pub fn problems(&self) -> String {
        let mut lines: Vec<String> =
            self.left.names().iter().map(|(name, why)| format!("left: {name}: {why}\n")).collect();
        let more = self.left.count() - lines.len() as u64;
        if more > 0 {
            lines.push(format!("left: and {more} more\n"));
        }
        lines.concat()
    }
}

/// Loads again what was rejected or failed. `settings` has no paths and [`NO_FILTER`]; its `force`
/// means objects that failed for good, too.
pub async fn redrive(
    settings: &Settings,
    days: &Days,
    progress: &Progress,
) -> Result<Report, RedriveError> {
    let state = Folder::open(&settings.state, &S3::new(settings.lake_access.clone())).await?;
    let mut redrive =
        Redrive { run: Run::start(settings, progress).await?, state, report: Report::default() };
    // Batches to be replaced, with the objects that ask for it; new ones, by what they filter.
    let mut replaced: BTreeMap<String, Vec<ObjectRef>> = BTreeMap::new();
    let mut staged: BTreeMap<String, Batch> = BTreeMap::new();
    redrive.run.selection.force = false;
    let mut all_days = redrive.run.selection.ledger.all_days().await?;
    all_days.retain(|day| days.has(day));
    for day in &all_days {
        for entry in redrive.run.selection.ledger.day(day, None).await?.into_iter().flatten() {
            let Some(object) = redrive.wanted(&entry, day, settings.force).await? else { continue };
            if !entry.staged && !redrive.run.selection.beside {
                replaced.entry(entry.batch.clone()).or_default().push(object);
                continue;
            }
            let filters: Vec<Filter> = entry.filters.iter().cloned().map(Into::into).collect();
            let batch = staged.entry(format!("{filters:?}")).or_insert_with(|| {
                let mut batch = Batch::new(NO_FILTER);
                batch.filters = filters;
                batch
            });
            redrive.add(batch, &entry, object);
            if batch.is_full() {
                let full = std::mem::replace(batch, Batch::new(NO_FILTER));
                batch.filters.clone_from(&full.filters);
                redrive.stage(full).await?;
            }
        }
        redrive.run.selection.ledger.forget();
    }
    for (id, objects) in replaced {
        redrive.replace(&id, objects).await?;
    }
    for batch in staged.into_values() {
        redrive.stage(batch).await?;
    }
    if !settings.dry_run {
        redrive.run.selection.ledger.forget();
        for day in &all_days {
            redrive.clean(day).await?;
            redrive.run.selection.ledger.forget();
        }
    }
    let Redrive { run, mut report, .. } = redrive;
    report.load = run.report;
    Ok(report)
}

struct Redrive<'s> {
    run: Run<'s>,
    state: Folder,
    report: Report,
}

impl Redrive<'_> {
    /// The object of an entry, if it is to be loaded again and can be.
    async fn wanted(
        &mut self,
        entry: &Entry,
        day: &str,
        all: bool,
    ) -> Result<Option<ObjectRef>, RedriveError> {
        let may_do_better = match entry.state {
            State::Failed => all || entry.error.as_ref().is_none_or(|error| !error.permanent),
            State::Loaded => false,
            State::Unrecognized | State::Excluded => return Ok(None),
        };
        if entry.records.rejected == 0 && !may_do_better {
            return Ok(None);
        }
        // A later generation may have it since.
        let known = of_any_content(&entry.bucket, &entry.key);
        let owner = self.run.selection.ledger.find(day, &known, &NO_FILTER).await?;
        if owner.is_some_and(|owner| *owner.batch != *entry.batch) {
            return Ok(None);
        }
        self.report.found += 1;
        self.report.rejected_before += entry.records.rejected;
        let sources = &self.run.engine.sources;
        let object = match sources.locate(&entry.bucket, &entry.key).await {
            Ok(Some(object)) => object,
            Ok(None) => {
                self.report.left.add(known.location(), "it is gone");
                return Ok(None);
            }
            Err(error) => {
                self.report.left.add(known.location(), error.to_string());
                return Ok(None);
            }
        };
        // What cannot be opened is not worth to read others of its batch again.
        if let Err(error) = sources.open(&object, 1).await {
            self.report.left.add(known.location(), format!("cannot read: {error}"));
            return Ok(None);
        }
        Ok(Some(object))
    }

    fn add(&mut self, batch: &mut Batch, entry: &Entry, object: ObjectRef) {
        let key = ObjectKey::new(entry.key.clone());
        let reading = self.run.selection.source_again(false, entry, &key, &Asked::new());
        let Ok((source, fallback)) = reading else {
            self.report.left.add(object.location(), "this version does not have its source");
            return;
        };
        batch.generation = batch.generation.max(entry.generation + 1);
        batch.push(Item { object, key, source, fallback });
    }

    async fn stage(&mut self, batch: Batch) -> Result<(), RedriveError> {
        if !batch.is_empty() {
            self.report.staged = true;
            self.run.engine.destination = Destination::Staged(self.state.clone());
            self.run.batch(batch).await?;
        }
        Ok(())
    }

    /// Loads a batch of a lake of this machine again.
    async fn replace(&mut self, id: &str, objects: Vec<ObjectRef>) -> Result<(), RedriveError> {
        let hash = |object: &ObjectRef| xxh3_64(object.location().as_bytes());
        let asked: Asked = objects.iter().map(hash).collect();
        match Batch::again(&mut self.run.selection, id, &asked).await {
            Ok(mut batch) => {
                batch.filters.retain(|filter| *filter != NO_FILTER);
                self.run.batch(batch).await?;
            }
            Err(ReloadError::Ledger(error)) => return Err(error.into()),
            Err(error @ ReloadError::Gone { .. }) => {
                for object in objects {
                    self.report.left.add(object.location(), format!("{error}"));
                }
            }
        }
        Ok(())
    }

    /// Removes lines of objects that a later generation has from the rejects of a day.
    async fn clean(&mut self, day: &str) -> Result<(), RedriveError> {
        let ledger = &mut self.run.selection.ledger;
        for found in self.state.list(&format!("{REJECTS}/day={day}"), None).await? {
            let name = found.path.rsplit('/').next().unwrap_or_default();
            let Some(batch) = name.strip_suffix(".ndjson") else { continue };
            let folder = scratch()?;
            let (old, new) = (folder.path().join("old"), folder.path().join("new"));
            self.state.download(&found.path, &old).await?;
            let mut later = BTreeMap::new();
            for object in objects_of(&old).await? {
                let known = ledger.find(day, &object, &NO_FILTER).await?;
                let has_gone = known.is_some_and(|known| {
                    known.generation > 0 && *known.batch != *batch && known.state == State::Loaded
                });
                later.insert(object.location(), has_gone);
            }
            if !later.values().any(|&has_gone| has_gone) {
                continue;
            }
            let (kept, removed) = keep(old, new.clone(), later).await?;
            self.report.removed_lines += removed;
            if kept == 0 {
                self.state.remove(std::slice::from_ref(&found.path)).await?;
            } else {
                self.state.upload(&found.path, &new).await?;
            }
        }
        Ok(())
    }
}

/// What a line of the rejects is about.
#[derive(Deserialize)]
struct Line {
    bucket: String,
    key: String,
}

/// An object whatever it holds: of what the ledger has of this place, the last generation is found.
fn of_any_content(bucket: &str, key: &str) -> ObjectRef {
    let (key, etag) = (key.to_owned(), String::new());
    ObjectRef { bucket: Arc::from(bucket), key, size: 0, etag, version: None }
}

/// The objects of a file of rejects.
async fn objects_of(path: &Path) -> Result<Vec<ObjectRef>, StoreError> {
    let path = path.to_owned();
    blocking(move || {
        let mut objects: BTreeMap<String, ObjectRef> = BTreeMap::new();
        each_line(&path, |_, line| {
            let object = of_any_content(&line.bucket, &line.key);
            objects.insert(object.location(), object);
            Ok(())
        })?;
        Ok(objects.into_values().collect())
    })
    .await
}

/// Copies the lines of objects that are not to go. Returns how many lines stay and go.
async fn keep(
    from: PathBuf,
    to: PathBuf,
    goes: BTreeMap<String, bool>,
) -> Result<(u64, u64), StoreError> {
    blocking(move || {
        let mut out = BufWriter::new(File::create_new(to)?);
        let (mut kept, mut removed) = (0, 0);
        each_line(&from, |text, line| {
            if goes.get(&location(&line.bucket, &line.key)) == Some(&true) {
                removed += 1;
                return Ok(());
            }
            kept += 1;
            out.write_all(text)
        })?;
        out.into_inner()?.sync_data()?;
        Ok((kept, removed))
    })
    .await
}

fn each_line(path: &Path, mut what: impl FnMut(&[u8], Line) -> io::Result<()>) -> io::Result<()> {
    let mut file = BufReader::new(File::open(path)?);
    let mut text = Vec::new();
    while file.read_until(b'\n', &mut text)? > 0 {
        what(&text, serde_json::from_slice(&text)?)?;
        text.clear();
    }
    Ok(())
}

async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> Result<R, StoreError> {
    let done = spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)));
    let what = |error: io::Error| format!("cannot go through the rejects: {error}");
    done.map_err(|error| StoreError { kind: Kind::Other, what: what(error) })
}
