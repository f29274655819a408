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
//!
//! Of an object that is gone, or whose local batch cannot be loaded again because another one is
//! gone, the records are decoded from their lines in the rejects (`lines.rs`). A batch of which not
//! one line can be decoded is left as it is.
//!
//! * In a lake of this machine the batch is extended, in one commit: files with the new rows, except
//!   those that it has; its rejects without the decoded lines; the objects' counts moved from
//!   rejected to what the records became.
//! * Staged, they are a batch beside the old one as above, whose ledger says that it has the objects'
//!   rejected records only ([`Entry::from_rejects`]). Lines that stay are copied to its rejects.
//! # Known gaps
//! Records over 1 MiB are not in the rejects: their lines stay, and their objects are named.
//! # Reference
//! Design section 6; mapping 1.6.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use parsers::{Filter, ObjectKey};
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    batch::{self, Destination},
    ledger::{Entry, LedgerError, RecordCounts, State},
    load::{Run, Settings, StartError, Stop},
    progress::Progress,
    report::{self, Named},
    select::{Asked, Batch, Item, ReloadError, rejects_path},
    sink::earlier::Earlier,
    store::{Folder, Kind, ObjectRef, Place, S3, StoreError, location, scratch},
};

mod clean;
pub mod lines;

use lines::Lines;

/// Admits nothing: what a batch admitted is not widened.
pub const NO_FILTER: Filter =
    Filter { since: i64::MAX, until: i64::MIN, accounts: Vec::new(), regions: Vec::new() };

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
    /// Records that were decoded from their lines in the rejects.
    pub decoded_lines: u64,
    /// Objects that cannot be loaded again, or not all of them, and why.
    pub left: Named,
    /// Lines that were removed from the rejects because a later batch has their objects, or because
    /// they were decoded.
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

    /// For people, without the problems.
    pub fn text(&self, lake: &Place, state: &Place) -> String {
        let (found, rejected, decoded) = (self.found, self.rejected_before, self.decoded_lines);
        let mut out =
            format!("found     {found} objects, with {rejected} records in the rejects\n");
        if decoded > 0 {
            out += "decoded   ";
            out += &decoded.to_string();
            out += " records from their lines in the rejects\n";
        }
        if found > self.left.count() || decoded > 0 {
            out += &self.load.text(lake, state);
        }
        out
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
    let run = Run::start(settings, progress).await?;
    let lake = run.engine.destination.clone();
    let mut redrive = Redrive { run, lake, state, report: Report::default() };
    // Batches to be replaced, with the objects that ask for it; new ones, by what they filter.
    let mut replaced: BTreeMap<String, Vec<(ObjectRef, String, Entry)>> = BTreeMap::new();
    let mut staged: BTreeMap<String, Batch> = BTreeMap::new();
    // What is gone, by batch.
    let mut lines: BTreeMap<String, Vec<Gone>> = BTreeMap::new();
    redrive.run.selection.force = false;
    let mut all_days = redrive.run.selection.ledger.all_days().await?;
    all_days.retain(|day| days.has(day));
    for day in &all_days {
        for entry in redrive.run.selection.ledger.day(day, None).await?.into_iter().flatten() {
            let object = match redrive.wanted(&entry, day, settings.force).await? {
                None => continue,
                Some(Wanted::Object(object)) => object,
                Some(Wanted::Lines(why)) => {
                    let gone = Gone { day: day.clone(), why, entry };
                    lines.entry(gone.entry.batch.clone()).or_default().push(gone);
                    continue;
                }
            };
            if !entry.staged && !redrive.run.selection.beside {
                let known = (object, day.clone(), entry);
                replaced.entry(known.2.batch.clone()).or_default().push(known);
                continue;
            }
            let filters: Vec<Filter> = entry.filters.iter().cloned().map(Into::into).collect();
            let name = format!("{filters:?}");
            let batch = staged.entry(name).or_insert_with(|| Batch::with_filters(filters));
            redrive.add(batch, &entry, object);
            if batch.is_full() {
                let empty = Batch::with_filters(batch.filters.clone());
                let full = std::mem::replace(batch, empty);
                redrive.stage(full).await?;
            }
        }
        redrive.run.selection.ledger.forget();
    }
    for (id, objects) in replaced {
        if let Some(gone) = redrive.replace(&id, objects).await? {
            lines.entry(id).or_default().extend(gone);
        }
    }
    if !settings.dry_run {
        for (id, gone) in lines {
            redrive.lines(&id, gone).await?;
        }
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
    redrive.run.refresh().await;
    let Redrive { run, mut report, .. } = redrive;
    report.load = run.report;
    Ok(report)
}

struct Redrive<'s> {
    run: Run<'s>,
    /// Where batches go that replace or extend others.
    lake: Destination,
    state: Folder,
    report: Report,
}

/// How an object is to be loaded again.
enum Wanted {
    /// From where it is.
    Object(ObjectRef),
    /// From its lines in the rejects; why.
    Lines(String),
}

/// An object that cannot be had any more.
struct Gone {
    day: String,
    why: String,
    entry: Entry,
}

impl Redrive<'_> {
    /// How the object of an entry is to be loaded again, if it is and can be.
    async fn wanted(
        &mut self,
        entry: &Entry,
        day: &str,
        all: bool,
    ) -> Result<Option<Wanted>, RedriveError> {
        // Of what is damaged only what has changed may do better.
        let is_damaged = match entry.state {
            State::Failed => entry.error.as_ref().is_some_and(|error| error.permanent),
            State::Loaded if entry.records.rejected > 0 => false,
            State::Loaded | State::Unrecognized | State::Excluded => return Ok(None),
        };
        let if_changed = is_damaged && !all && entry.records.rejected == 0;
        // A later generation may have it since.
        let known = of_any_content(&entry.bucket, &entry.key);
        let owner = self.run.selection.ledger.find(day, &known, &NO_FILTER).await?;
        if owner.is_some_and(|owner| *owner.batch != *entry.batch) {
            return Ok(None);
        }
        let sources = self.run.engine.sources.clone();
        let located = sources.locate(&entry.bucket, &entry.key).await;
        let is_same = |object: &ObjectRef| object.etag == entry.etag && object.size == entry.size;
        if if_changed && !matches!(&located, Ok(Some(object)) if !is_same(object)) {
            return Ok(None);
        }
        self.report.found += 1;
        self.report.rejected_before += entry.records.rejected;
        let object = match located {
            Ok(Some(object)) => object,
            Ok(None) => return Ok(Some(Wanted::Lines("it is gone".into()))),
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
        Ok(Some(Wanted::Object(object)))
    }

    fn add(&mut self, batch: &mut Batch, entry: &Entry, object: ObjectRef) {
        let key = ObjectKey::new(entry.key.clone());
        let reading = self.run.selection.source_again(false, entry, &key, &Asked::new());
        let Ok((source, fallback)) = reading else {
            self.report.left.add(object.location(), "this version does not have its source");
            return;
        };
        batch.generation = batch.generation.max(entry.generation + 1);
        batch.push(Item { fallback, ..Item::new(object, key, source) });
    }

    async fn stage(&mut self, batch: Batch) -> Result<(), RedriveError> {
        if !batch.is_empty() {
            self.report.staged = true;
            self.run.engine.destination = Destination::Staged(self.state.clone());
            self.run.batch(batch).await?;
        }
        Ok(())
    }

    /// Loads a batch of a lake of this machine again. If something of it is gone, gives back what was
    /// asked for.
    async fn replace(
        &mut self,
        id: &str,
        objects: Vec<(ObjectRef, String, Entry)>,
    ) -> Result<Option<Vec<Gone>>, RedriveError> {
        self.run.engine.destination = self.lake.clone();
        let hash = |object: &ObjectRef| xxh3_64(object.location().as_bytes());
        let asked: Asked = objects.iter().map(|(object, ..)| hash(object)).collect();
        match Batch::again(&mut self.run.selection, id, &asked).await {
            Ok(mut batch) => {
                batch.filters.retain(|filter| *filter != NO_FILTER);
                self.run.batch(batch).await?;
                Ok(None)
            }
            Err(ReloadError::Ledger(error)) => Err(error.into()),
            Err(error @ ReloadError::Gone { .. }) => {
                let why = error.to_string();
                let gone = |(_, day, entry)| Gone { day, entry, why: why.clone() };
                Ok(Some(objects.into_iter().map(gone).collect()))
            }
        }
    }

    /// Decodes records of a batch from their lines in the rejects.
    async fn lines(&mut self, id: &str, gone: Vec<Gone>) -> Result<(), RedriveError> {
        let extends = match &self.lake {
            Destination::Lake(places) if !gone.iter().any(|gone| gone.entry.staged) => {
                Some(Earlier { lake: places.lake.clone(), files: BTreeSet::new() })
            }
            _ => None,
        };
        let mut lines = Lines {
            batch: id.to_owned(),
            entries: HashMap::new(),
            extends,
            files: BTreeMap::new(),
            folder: scratch()?,
        };
        let mut batch = Batch::new(NO_FILTER);
        let mut why = HashMap::new();
        for Gone { day, why: reason, entry } in gone {
            if entry.records.rejected == 0 {
                self.report.left.add(location(&entry.bucket, &entry.key), reason);
                continue;
            }
            self.copy_rejects(&mut lines, &day).await?;
            let source = entry.source.as_deref().and_then(parsers::source);
            let object = entry.object();
            let key = ObjectKey::new(entry.key.clone());
            batch.filters = entry.filters.iter().cloned().map(Into::into).collect();
            batch.generation = batch.generation.max(entry.generation + 1);
            why.insert(object.location(), reason);
            lines.entries.insert(object.location(), entry);
            batch.push(Item::new(object, key, source));
        }
        if let Some(earlier) = &mut lines.extends {
            batch.earlier_id = Some(id.to_owned());
            for (day, entries) in self.run.selection.ledger.batch(id).await? {
                for entry in entries {
                    earlier.files.extend(entry.files.iter().cloned());
                    if !lines.entries.contains_key(&location(&entry.bucket, &entry.key)) {
                        batch.kept.push((day.clone(), entry));
                    }
                }
            }
        }
        let is_staged = lines.extends.is_none();
        let lines = Arc::new(lines);
        batch.lines = Some(Arc::clone(&lines));
        self.run.engine.destination =
            if is_staged { Destination::Staged(self.state.clone()) } else { self.lake.clone() };
        let outcome = batch::run(&self.run.engine, batch).await.map_err(Stop::from)?;
        let mut decoded = 0;
        for object in &outcome.objects {
            let RecordCounts { records_in, rejected, .. } = object.records;
            let entry = &lines.entries[&object.location];
            decoded += records_in - rejected;
            if rejected > 0 || records_in == 0 || entry.state == State::Failed {
                let why = why.remove(&object.location).unwrap_or_default();
                let text = match (rejected, object.without_raw) {
                    (0, _) if records_in == 0 => format!("{why}, and not in the rejects either"),
                    (0, _) => why,
                    (_, 0) => format!("{why}; {rejected} of its records stay in the rejects"),
                    (_, long) => format!(
                        "{why}; {rejected} of its records stay in the rejects, {long} of them over \
                         1 MiB and without their bytes"
                    ),
                };
                self.report.left.add(object.location.clone(), text);
            }
        }
        self.report.decoded_lines += decoded;
        // Those of others are removed when it is certain that a later batch has them.
        self.report.removed_lines += if is_staged { 0 } else { decoded };
        if decoded > 0 {
            self.report.staged |= is_staged;
            self.run.add(outcome);
        }
        Ok(())
    }

    /// Copies the rejects of a day of a batch, if there are some.
    async fn copy_rejects(&self, lines: &mut Lines, day: &str) -> Result<(), RedriveError> {
        if !lines.files.contains_key(day) {
            let copy = lines.folder.path().join(day);
            match self.state.download(&rejects_path(day, &lines.batch), &copy).await {
                Err(StoreError { kind: Kind::Missing, .. }) => {}
                done => {
                    done?;
                    lines.files.insert(day.to_owned(), copy);
                }
            }
        }
        Ok(())
    }
}

/// An object whatever it holds: of what the ledger has of this place, the last generation is found.
pub(crate) fn of_any_content(bucket: &str, key: &str) -> ObjectRef {
    let (key, etag) = (key.to_owned(), String::new());
    ObjectRef { bucket: Arc::from(bucket), key, size: 0, etag, version: None }
}
