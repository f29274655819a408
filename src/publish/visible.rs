//! What a reader of the lake has to read, so that it sees every row and none twice.
//!
//! # Input
//! Lake and state folder, while loads and publishes go on.
//! # Maps to
//! Published files that count, and staged files that are committed and not merged yet.
//! # Known gaps
//! The whole lake is listed; a query that wants a few partitions lists those, and asks
//! [`History::counts`] of each file. A file may be gone when it is read after the grace period, or
//! after a compaction: then the reader has to ask again.
//! # Reference
//! Design section 6.

use std::collections::{BTreeMap, HashSet};

use parsers::ocsf::{CLASSES, Class};

use super::manifest::{History, HistoryError};
use crate::{
    batch::{STAGED, staged_folder},
    ledger::Ledger,
    store::{Folder, Found, StoreError},
};

/// A staged file of a committed batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    /// The file, with its path below the state folder.
    pub file: Found,
    /// Uid of its class.
    pub class: i32,
    /// The batch it is of: names in the order of time.
    pub batch: String,
}

/// What a reader has to read.
#[derive(Debug)]
pub struct Visible {
    /// Files of the lake, by path.
    pub published: Vec<Found>,
    /// Staged files that are not merged.
    pub staged: Vec<Staged>,
}

/// What is to be seen now.
pub async fn visible(lake: &Folder, state: &Folder) -> Result<Visible, HistoryError> {
    let mut history = History::read(state).await?;
    loop {
        let mut staged = committed(state).await?;
        let mut published = Vec::new();
        for folder in lake.folders("ext").await? {
            published.extend(lake.list(&format!("ext/{folder}"), None).await?);
        }
        // What was listed before a commit does not fit to what it says.
        if history.refresh(state).await? {
            continue;
        }
        published.retain(|one| one.path.ends_with(".parquet") && history.counts(&one.path));
        staged.retain(|staged| history.merged(&staged.file.path).is_none());
        return Ok(Visible { published, staged });
    }
}

/// Staged files of committed batches, merged or not, oldest first.
pub(super) async fn committed(state: &Folder) -> Result<Vec<Staged>, StoreError> {
    Ok(staged(state).await?.0)
}

/// Staged files, those of committed batches and those of others, oldest first.
pub(super) async fn staged(state: &Folder) -> Result<(Vec<Staged>, Vec<Staged>), StoreError> {
    let (mut all, mut open) = (Vec::new(), Vec::new());
    for folder in state.folders(STAGED).await? {
        let Some(day) = folder.strip_prefix("day=") else { continue };
        // A batch whose ledger is seen here has all its files there.
        let ledgers = state.list(&Ledger::folder(day), None).await?;
        let batches: HashSet<&str> = ledgers.iter().filter_map(|one| batch(&one.path)).collect();
        let found = state.list(&staged_folder(day), None).await?;
        for staged in found.into_iter().filter_map(Staged::new) {
            let is_committed = batches.contains(staged.batch.as_str());
            if is_committed { &mut all } else { &mut open }.push(staged);
        }
    }
    all.sort_by(|a, b| (&a.batch, &a.file.path).cmp(&(&b.batch, &b.file.path)));
    Ok((all, open))
}

impl Staged {
    fn new(file: Found) -> Option<Self> {
        let (folder, name) = file.path.rsplit_once('/')?;
        let class = folder.rsplit_once("/class=")?.1.parse().ok()?;
        let (batch, _) = name.strip_suffix(".parquet")?.rsplit_once('-')?;
        let batch = batch.to_owned();
        Some(Self { file, class, batch })
    }
}

/// The batch of a ledger.
pub(super) fn batch(ledger: &str) -> Option<&str> {
    ledger.rsplit('/').next()?.strip_suffix(".ndjson")
}

/// Files by class.
pub(super) fn by_class(staged: Vec<Staged>) -> BTreeMap<i32, Vec<Staged>> {
    let mut classes: BTreeMap<i32, Vec<Staged>> = BTreeMap::new();
    for one in staged {
        classes.entry(one.class).or_default().push(one);
    }
    classes
}

/// The class of a published file: `ext/<prefix>-<uid>/...`.
pub fn published_class(path: &str) -> Option<&'static Class> {
    let uid: i32 = path.split('/').nth(1)?.rsplit('-').next()?.parse().ok()?;
    CLASSES.iter().copied().find(|class| class.uid == uid)
}
