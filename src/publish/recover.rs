//! What killed publishes have left, and staged files that nobody needs any more.
//!
//! # Input
//! Intents, manifests.
//! # Maps to
//! A lake without files that no manifest names.
//! # Known gaps
//! A publish that stalls for over an hour, uploads more, and is killed then leaves these files. No
//! manifest names them, so that only readers that list the lake see them.
//! # Reference
//! Design section 6.

use std::time::Duration;

use super::{
    ABANDONED, PublishError, Publisher,
    manifest::{self, Intent, Manifest},
    visible,
};

/// A publish that is alive may go on uploading for so long after it has told its intent.
const STALLED: Duration = Duration::from_hours(1);

impl Publisher<'_> {
    /// Finishes or undoes the publishes that have told an intent.
    pub(super) async fn recover(&mut self) -> Result<(), PublishError> {
        for (intent, age) in Intent::all(&self.state).await? {
            self.history.refresh(&self.state).await?;
            if !self.history.is_committed(&intent.id) && intent.sequence > self.history.last {
                // Its owner may be alive. With its number gone it cannot commit.
                let mut fence = Manifest::new(&manifest::new_id());
                fence.aborted = Some(intent.id.clone());
                self.history.commit(&self.state, intent.sequence, &fence).await?;
                self.report.recovered += 1;
            }
            if self.history.is_committed(&intent.id) {
                self.lake.remove(self.history.replaced_by(&intent.id)).await?;
                intent.remove(&self.state).await?;
                continue;
            }
            self.lake.remove(&intent.files).await?;
            // Its owner would upload more. In a lake of this machine there is none: it has the lock.
            if self.lock.is_some() || age > STALLED {
                intent.remove(&self.state).await?;
            }
        }
        Ok(())
    }

    /// Removes staged files that were merged longer ago than the grace period, and those of batches
    /// that were never committed.
    pub(super) async fn sweep(&mut self) -> Result<(), PublishError> {
        let ages = manifest::ages(&self.state).await?;
        let (mut staged, mut open) = visible::staged(&self.state).await?;
        staged.retain(|one| {
            let age = self.history.merged(&one.file.path).and_then(|number| ages.get(&number));
            age.is_some_and(|age| *age >= self.settings.grace)
        });
        let paths: Vec<String> = staged.into_iter().map(|one| one.file.path).collect();
        self.state.remove(&paths).await?;
        self.report.removed += paths.len() as u64;
        open.retain(|one| one.file.age >= ABANDONED);
        let paths: Vec<String> = open.into_iter().map(|one| one.file.path).collect();
        self.state.remove(&paths).await?;
        self.report.abandoned += paths.len() as u64;
        Ok(())
    }
}
