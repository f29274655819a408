//! Staged files that are gone although nobody has published them.
//!
//! # Input
//! Staged files, manifests, the ledgers of batches that are not published as a whole.
//! # Maps to
//! Whether the rows of a line of the ledger can be had ([`Kept`]); names of files that are lost.
//! # Known gaps
//! A publish looks at batches of the last 30 days. Of a batch that is published in part and has no
//! staged file any more, it does not see that one was deleted; an audit does.
//! # Reference
//! Design sections 5 and 6.

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use parsers::ObjectKey;

use super::{
    PublishError, Publisher,
    manifest::{History, HistoryError},
    visible,
};
use crate::{
    batch::STAGED,
    ledger::{Entry, Ledger},
    redrive::{NO_FILTER, of_any_content},
    select::ledger_day,
    store::{Folder, Found},
};

/// Batches that are older are not looked at by each publish.
const RECENT: Duration = Duration::from_hours(30 * 24);
/// Lists at the same time.
const PARALLEL: usize = 16;

/// Staged files whose rows can be had: they are there, or merged.
#[derive(Debug, Default)]
pub struct Kept {
    history: History,
    present: HashSet<String>,
}

impl Kept {
    /// Looks anew. What is merged and removed meanwhile is in a manifest then.
    pub async fn refresh(&mut self, state: &Folder) -> Result<(), HistoryError> {
        let found = state.list(STAGED, None).await?;
        self.present = found.into_iter().map(|one| one.path).collect();
        self.history.refresh(state).await?;
        Ok(())
    }

    /// The staged files with rows of an object that are gone without being merged.
    pub fn lost<'e>(&self, entry: &'e Entry) -> impl Iterator<Item = &'e String> {
        let files = entry.files.iter().filter(|_| entry.staged);
        files.filter(|path| !self.present.contains(*path) && self.history.merged(path).is_none())
    }
}

impl Publisher<'_> {
    /// Names staged files that are lost, with rows that no later batch has.
    pub(super) async fn find_lost(&mut self) -> Result<(), PublishError> {
        let mut ledger = Ledger::new(self.state.clone());
        let mut entries = Vec::new();
        let open = self.open_ledgers(ledger.all_days().await?).await?;
        for (path, text) in self.state.read_all(open).await? {
            entries.extend(ledger.parse(&path, &text)?);
        }
        let mut kept = Kept { history: std::mem::take(&mut self.history), ..Kept::default() };
        kept.refresh(&self.state).await?;
        entries.retain(|entry| kept.lost(entry).next().is_some());
        ledger.staged = Some(kept);
        let mut lost = BTreeSet::new();
        for entry in entries {
            let day = ledger_day(&ObjectKey::new(entry.key.clone()));
            let object = of_any_content(&entry.bucket, &entry.key);
            let known = ledger.find(&day, &object, &NO_FILTER).await?;
            let is_lost = known.is_some_and(|known| known.lost);
            let files = ledger.staged.iter().flat_map(|kept| kept.lost(&entry));
            lost.extend(files.filter(|_| is_lost).map(|path| self.state.name(path)));
        }
        self.history = ledger.staged.take().map(|kept| kept.history).unwrap_or_default();
        self.report.lost = lost.into_iter().collect();
        Ok(())
    }

    /// Ledgers of batches that no manifest names, or that have staged files that none names.
    async fn open_ledgers(&self, days: Vec<String>) -> Result<Vec<String>, PublishError> {
        let state = &self.state;
        let published: HashSet<&str> = self.history.merged_files().map(batch_of).collect();
        let mut staged = state.list(STAGED, None).await?;
        staged.retain(|found| self.history.merged(&found.path).is_none());
        let staged: HashSet<&str> = staged.iter().map(|found| batch_of(&found.path)).collect();
        let list = |day: String| async move { state.list(&Ledger::folder(&day), None).await };
        // Boxed, because the compiler cannot tell that a closure that borrows is general enough.
        let lists: Vec<_> = days.into_iter().map(|day| list(day).boxed()).collect();
        let lists: Vec<_> = stream::iter(lists).buffered(PARALLEL).try_collect().await?;
        let mut ledgers: Vec<Found> = lists.into_iter().flatten().collect();
        ledgers.retain(|found| {
            let Some(batch) = visible::batch(&found.path) else { return false };
            // Batches of a lake of this machine are named otherwise, and have nothing staged.
            let is_staged = batch.contains('-') && found.age < RECENT;
            is_staged && (staged.contains(batch) || !published.contains(batch))
        });
        Ok(ledgers.into_iter().map(|found| found.path).collect())
    }
}

/// The batch of a staged file.
fn batch_of(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.rsplit_once('-').map_or(name, |(batch, _)| batch)
}
