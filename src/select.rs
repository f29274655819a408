//! Which objects a load reads, and together with which others.
//!
//! # Input
//! A listing, the wanted sources, accounts, regions and times, the ledger.
//! # Maps to
//! A [`Decision`] for each object; [`Batch`]es of those to be read.
//! # Known gaps
//! A batch is bounded by objects and their size, not by rows, so that the same listing always
//! gives the same batches.
//! # Reference
//! Design section 6.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use parsers::{Filter, ObjectKey, Recognition, Source};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::{
    ledger::{Entry, Indexed, Known, Ledger, LedgerError, State},
    pump::ObjectError,
    redrive::lines::Lines,
    store::{self, Kind, ObjectRef, Scope, Sources},
};

/// A batch is closed with this many objects,
const BATCH_OBJECTS: usize = 20_000;
/// or with this many bytes of objects.
const BATCH_BYTES: u64 = 128 << 20;

/// What is to be done with an object.
#[derive(Debug)]
pub enum Decision {
    /// Nothing: it was not asked for.
    LeftOut,
    /// It is in the lake.
    Skip {
        /// The batch that it was loaded in.
        batch: String,
        /// Records of it that are in the rejects.
        rejected: u64,
        /// What is known of its rows in the index, if there is one.
        index: Indexed,
    },
    /// It failed before and would again.
    KnownFailure {
        /// The batch that it was loaded in.
        batch: String,
        /// Why it failed.
        why: String,
        /// Why its bytes cannot be had, if that is why.
        unreadable: Option<Kind>,
    },
    /// No source knows it.
    Unrecognized {
        /// Why.
        why: String,
        /// The ledger has it.
        known: bool,
        /// The batch that reads it again, if that batch is loaded again.
        batch: Option<String>,
    },
    /// It holds no events.
    Excluded {
        /// What it is.
        what: String,
        /// The ledger has it.
        known: bool,
        /// The batch that reads it again, if that batch is loaded again.
        batch: Option<String>,
    },
    /// To be read, by its content if there is no source.
    Load(Option<&'static Source>),
    /// It is in the lake, and its rows are to be indexed.
    Index {
        /// What reads it; none if its content must tell.
        source: Option<&'static Source>,
        /// What was asked for when it was loaded.
        filters: Arc<[Filter]>,
        /// The batch that it was loaded in.
        batch: Arc<str>,
    },
    /// To be read, with the others of the batch that holds rows of it.
    Reload {
        /// The batch.
        batch: String,
    },
}

/// Decides for each object.
pub struct Selection {
    /// Reads what no source knows, and leaves out what is another's.
    pub source: Option<&'static Source>,
    /// Which events are wanted.
    pub filter: Filter,
    /// Loads again what is loaded.
    pub force: bool,
    /// What was loaded before.
    pub ledger: Ledger,
    /// Where objects are.
    pub sources: Sources,
    /// What is loaded again goes beside what is there: staged files cannot be replaced.
    pub beside: bool,
}

impl Selection {
    /// What is to be done with an object.
    pub async fn decide(
        &mut self,
        object: &ObjectRef,
        key: &ObjectKey,
    ) -> Result<Decision, LedgerError> {
        self.decide_with(self.force, object, key).await
    }

    /// What is to be done with an object of which nothing is known but its key.
    pub fn recognize(&self, key: &ObjectKey) -> Decision {
        if !self.scope().may_hold(key) {
            return Decision::LeftOut;
        }
        match (parsers::detect(key), self.source) {
            (Recognition::Excluded(what), _) => {
                Decision::Excluded { what: what.to_owned(), known: false, batch: None }
            }
            (Recognition::Source(source), _) => Decision::Load(Some(source)),
            (_, Some(wanted)) => Decision::Load(Some(wanted)),
            (Recognition::Unrecognized(why), _) => {
                Decision::Unrecognized { why: why.to_owned(), known: false, batch: None }
            }
            (Recognition::ByContent, None) => Decision::Load(None),
        }
    }

    /// What this selection leaves out by the key alone.
    pub fn scope(&self) -> Scope {
        Scope { source: self.source, filter: self.filter.clone() }
    }

    async fn decide_with(
        &mut self,
        force: bool,
        object: &ObjectRef,
        key: &ObjectKey,
    ) -> Result<Decision, LedgerError> {
        let by_content = matches!(parsers::detect(key), Recognition::ByContent);
        let source = self.recognize(key);
        if matches!(source, Decision::LeftOut) {
            return Ok(source);
        }
        let indexes = self.ledger.index.is_some();
        let entry = self.ledger.find(&ledger_day(key), object, &self.filter).await?;
        let entry = entry.filter(|entry| !entry.lost);
        let known = entry.is_some_and(|entry| entry.is_of(object));
        let source = match source {
            Decision::Load(source) => source,
            Decision::Excluded { what, .. } => {
                return Ok(Decision::Excluded { what, known, batch: None });
            }
            Decision::Unrecognized { why, .. } => {
                return Ok(Decision::Unrecognized { why, known, batch: None });
            }
            decision => return Ok(decision),
        };
        let Some(entry) = entry else { return Ok(Decision::Load(source)) };
        let beside = self.beside || entry.staged;
        // By its content it was of no source, and that is still its content.
        if let Some(error) = entry.error.as_ref().filter(|_| known)
            && (source.is_none() || entry.was_read)
        {
            let what = error.what.clone();
            let batch = source.is_none().then(|| entry.batch.to_string());
            match entry.state {
                // Another version may know more.
                State::Unrecognized | State::Excluded if force && source.is_none() => {
                    if beside {
                        return Ok(Decision::Load(None));
                    }
                    return Ok(Decision::Reload { batch: entry.batch.to_string() });
                }
                State::Unrecognized => {
                    return Ok(Decision::Unrecognized { why: what, known, batch });
                }
                State::Excluded => return Ok(Decision::Excluded { what, known, batch }),
                State::Loaded | State::Failed => {}
            }
        }
        // What could not be opened is not worth to read its whole batch again if it still cannot be.
        if let (State::Failed, Some(failure), true) = (entry.state, &entry.error, known)
            && !failure.permanent
            && !force
            && let Err(error) = self.sources.open(object, 1).await
        {
            let unreadable = Some(error.kind);
            let why = ObjectError::Read(error).to_string();
            return Ok(Decision::KnownFailure { batch: entry.batch.to_string(), why, unreadable });
        }
        // What was not recognized is in a batch as well: it is told anew with that one.
        if by_content && !beside && matches!(entry.state, State::Unrecognized | State::Excluded) {
            return Ok(Decision::Reload { batch: entry.batch.to_string() });
        }
        let is_pending = indexes && known && !force && entry.index.pending;
        if is_pending && entry.covers(&self.filter) {
            let (filters, batch) = (Arc::clone(&entry.filters), Arc::clone(&entry.batch));
            return Ok(Decision::Index { source, filters, batch });
        }
        // What has changed replaces the rows of what was there.
        match decide_again(source, entry, &self.filter, force || !known) {
            Decision::Reload { .. } if beside => Ok(Decision::Load(source)),
            decision => Ok(decision),
        }
    }

    /// What is to be loaded again of a batch that cannot be replaced, as a batch of its own.
    pub async fn rest(&mut self, id: &str, asked: &Asked) -> Result<Batch, LedgerError> {
        let mut batch = Batch::new(self.filter.clone());
        for entry in self.ledger.batch(id).await?.into_values().flatten() {
            batch.generation = batch.generation.max(entry.generation + 1);
            let located = self.sources.locate(&entry.bucket, &entry.key).await;
            let Some(object) = located.map_err(LedgerError::from)? else { continue };
            let key = ObjectKey::new(entry.key.clone());
            // What is in the lake and has not changed stays: force cannot replace it.
            let decision = self.decide_with(false, &object, &key).await?;
            if matches!(decision, Decision::Reload { batch } if batch == id)
                && let Ok((source, fallback)) = self.source_again(false, &entry, &key, asked)
            {
                batch.push(Item { fallback, ..Item::new(object, key, source) });
            }
        }
        // It may have been loaded before.
        let id = batch.id();
        let earlier = self.ledger.batch(&id).await?;
        if !earlier.is_empty() {
            batch.replace(&id, earlier);
        }
        Ok(batch)
    }

    /// What reads an object again, see [`Item`]. An error if this version does not have its source.
    pub(crate) fn source_again(
        &self,
        force: bool,
        entry: &Entry,
        key: &ObjectKey,
        asked: &Asked,
    ) -> Result<Reading, NoSuchSource> {
        let earlier = entry.source.as_deref().map(|name| parsers::source(name).ok_or(NoSuchSource));
        if !matches!(parsers::detect(key), Recognition::ByContent) {
            return Ok((earlier.transpose()?, None));
        }
        // The wanted source is for what was asked for and is not known by its content.
        let location = store::location(&entry.bucket, &entry.key);
        let is_asked = asked.contains(&xxh3_64(location.as_bytes()));
        if self.source.is_some() && is_asked && (force || !entry.by_content) {
            return Ok((self.source, None));
        }
        // One that was given earlier may have been wrong, but may be all there is.
        let given = earlier.transpose()?.filter(|_| !entry.by_content);
        Ok((None, given))
    }
}

fn decide_again(
    source: Option<&'static Source>,
    known: &Known,
    filter: &Filter,
    again: bool,
) -> Decision {
    let covered = known.covers(filter) && !again;
    let batch = known.batch.to_string();
    match (known.state, &known.error) {
        (State::Loaded, _) if covered => {
            Decision::Skip { batch, rejected: known.rejected, index: known.index }
        }
        (State::Failed, Some(error)) if covered && error.permanent => {
            Decision::KnownFailure { batch, why: error.what.clone(), unreadable: None }
        }
        (State::Loaded | State::Failed, _) => Decision::Reload { batch },
        (State::Unrecognized | State::Excluded, _) => Decision::Load(source),
    }
}

/// The ledger names a source that this version does not have.
pub(crate) struct NoSuchSource;

/// The day of delivery as the ledger's folders name it.
pub fn ledger_day(key: &ObjectKey) -> String {
    key.day().map_or_else(|| "unknown".into(), parsers::time::compact_day)
}

/// An object that is not read, for the ledger.
#[derive(Clone, Debug)]
pub struct Note {
    /// The object.
    pub object: ObjectRef,
    /// Its key.
    pub key: ObjectKey,
    /// Unrecognized or excluded.
    pub state: State,
    /// Why.
    pub why: String,
}

/// An object to be read.
#[derive(Clone, Debug)]
pub struct Item {
    /// The object.
    pub object: ObjectRef,
    /// Its key.
    pub key: ObjectKey,
    /// What reads it; none if its content must tell.
    pub source: Option<&'static Source>,
    /// What reads it if its content does not tell.
    pub fallback: Option<&'static Source>,
    /// The batch that it was loaded in, if it is to be indexed only.
    pub loaded_in: Option<Arc<str>>,
}

impl Item {
    /// An object that is read by this, or by what its content tells.
    pub fn new(object: ObjectRef, key: ObjectKey, source: Option<&'static Source>) -> Self {
        Self { object, key, source, fallback: None, loaded_in: None }
    }
}

pub(crate) type Reading = (Option<&'static Source>, Option<&'static Source>);

/// Hashes of the locations of objects that asked for a batch to be loaded again.
pub type Asked = HashSet<u64>;

/// Objects that are loaded and committed together.
#[derive(Debug)]
pub struct Batch {
    /// Its name, if it was loaded before.
    pub earlier_id: Option<String>,
    /// Objects to be read.
    pub items: Vec<Item>,
    /// Objects to be noted.
    pub notes: Vec<Note>,
    /// Which events are wanted: those that one of these admits.
    pub filters: Vec<Filter>,
    /// Its rows are in the lake, and are to be indexed only.
    pub index_only: bool,
    /// See [`Entry::generation`].
    pub generation: u32,
    /// Lines of the ledger that stay as they are, with their day: objects that were not loaded.
    pub kept: Vec<(String, Entry)>,
    /// Lines of rejects whose records are decoded in place of those of the objects, which are gone.
    pub lines: Option<Arc<Lines>>,
    /// Files that the ledger has of an earlier load, below lake and state.
    pub earlier_files: (Vec<String>, Vec<String>),
    bytes: u64,
}

impl Batch {
    /// An empty batch.
    pub fn new(filter: Filter) -> Self {
        Self::with_filters(vec![filter])
    }

    /// An empty batch, for what one of these filters admits.
    pub fn with_filters(filters: Vec<Filter>) -> Self {
        Self {
            earlier_id: None,
            items: Vec::new(),
            notes: Vec::new(),
            kept: Vec::new(),
            filters,
            index_only: false,
            generation: 0,
            lines: None,
            earlier_files: (Vec::new(), Vec::new()),
            bytes: 0,
        }
    }

    /// An empty batch of what is in the lake and is to be indexed.
    pub fn to_index(filters: Vec<Filter>) -> Self {
        Self { index_only: true, ..Self::with_filters(filters) }
    }

    /// Adds an object.
    pub fn push(&mut self, item: Item) {
        self.bytes += item.object.size;
        self.items.push(item);
    }

    /// True if it should be loaded before more is added.
    pub fn is_full(&self) -> bool {
        self.items.len() + self.notes.len() >= BATCH_OBJECTS || self.bytes >= BATCH_BYTES
    }

    /// What tells its objects from others.
    pub fn ids(&self) -> impl Iterator<Item = String> {
        let notes = self.notes.iter().map(|note| &note.object);
        self.items.iter().map(|item| &item.object).chain(notes).map(ObjectRef::id)
    }

    /// True if there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty() && self.notes.is_empty()
    }

    /// Its name: the same for the same objects.
    pub fn id(&self) -> String {
        if let Some(id) = &self.earlier_id {
            return id.clone();
        }
        let mut hash = Xxh3::new();
        let notes = self.notes.iter().map(|note| &note.object);
        for object in self.items.iter().map(|item| &item.object).chain(notes) {
            hash.update(object.location().as_bytes());
            hash.update(&[0]);
            hash.update(object.etag.as_bytes());
            hash.update(&[0]);
        }
        format!("{:032x}", hash.digest128())
    }

    /// A batch that was loaded before, with its objects as they are now. The filter admits what
    /// it admitted then, and what is asked for now.
    pub async fn again(
        selection: &mut Selection,
        id: &str,
        asked: &Asked,
    ) -> Result<Self, ReloadError> {
        let mut batch = Self::new(selection.filter.clone());
        let entries = selection.ledger.batch(id).await?;
        for (day, entry) in
            entries.iter().flat_map(|(day, list)| list.iter().map(move |e| (day, e)))
        {
            let key = ObjectKey::new(entry.key.clone());
            let has_rows = matches!(entry.state, State::Loaded | State::Failed);
            // Of what was not loaded only what is to be told by its content is looked at again.
            let is_read = has_rows || matches!(parsers::detect(&key), Recognition::ByContent);
            let (source, fallback) =
                match selection.source_again(selection.force, entry, &key, asked) {
                    Ok(reading) if is_read => reading,
                    _ => {
                        batch.kept.push((day.clone(), entry.clone()));
                        continue;
                    }
                };
            let located = selection.sources.locate(&entry.bucket, &entry.key).await;
            match located.map_err(LedgerError::from)? {
                Some(object) => {
                    // What another batch has by now leaves this one, so that nothing is there twice.
                    let owner = selection.ledger.find(day, &object, &selection.filter).await?;
                    if owner.is_none_or(|owner| *owner.batch == *id) {
                        batch.push(Item { fallback, ..Item::new(object, key, source) });
                    }
                }
                None if has_rows => {
                    let path = store::location(&entry.bucket, &entry.key);
                    return Err(ReloadError::Gone { batch: id.to_owned(), path });
                }
                None => batch.kept.push((day.clone(), entry.clone())),
            }
        }
        batch.replace(id, entries);
        Ok(batch)
    }

    /// Makes it replace what the ledger has of a batch of this name.
    fn replace(&mut self, id: &str, entries: BTreeMap<String, Vec<Entry>>) {
        self.earlier_id = Some(id.to_owned());
        let (lake, state) = &mut self.earlier_files;
        for (day, entries) in entries {
            state.push(Ledger::path(&day, id));
            state.push(rejects_path(&day, id));
            state.push(index_rejects_path(&day, id));
            for entry in entries {
                self.generation = self.generation.max(entry.generation);
                if matches!(entry.state, State::Loaded | State::Failed) {
                    for filter in entry.filters {
                        Filter::from(filter).add_to(&mut self.filters);
                    }
                    lake.extend(entry.files);
                }
            }
        }
        lake.sort();
        lake.dedup();
    }
}

/// The rejects of a batch's day, below the state folder.
pub fn rejects_path(day: &str, batch: &str) -> String {
    format!("rejects/v1/day={day}/{batch}.ndjson")
}

/// The documents of a batch's day that the server refused, below the state folder.
pub fn index_rejects_path(day: &str, batch: &str) -> String {
    format!("index-rejects/v1/day={day}/{batch}.ndjson")
}

/// A batch cannot be loaded again.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// One of its objects is gone, so its files cannot be replaced.
    #[error("batch {batch} also holds {path}, which is gone")]
    Gone {
        /// The batch.
        batch: String,
        /// What is gone.
        path: String,
    },
}
