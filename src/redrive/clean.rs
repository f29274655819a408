//! Removes lines from the rejects that a later batch has.
//!
//! # Input
//! The rejects and the ledger of a day.
//! # Maps to
//! Files of rejects without the lines of objects that were staged anew since; those of batches that
//! were never committed are removed after a week.
//! # Known gaps
//! Each file of rejects is read as a whole, by every redrive.
//! # Reference
//! Design section 6.

use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use super::{
    NO_FILTER, Redrive, RedriveError,
    lines::{each_line, through},
    of_any_content,
};
use crate::{
    ledger::{Ledger, State},
    publish::ABANDONED,
    store::{ObjectRef, StoreError, scratch},
};

const REJECTS: &str = "rejects/v1";

impl Redrive<'_> {
    /// Removes lines of objects that a later generation has from the rejects of a day.
    pub(super) async fn clean(&mut self, day: &str) -> Result<(), RedriveError> {
        let ledger = &mut self.run.selection.ledger;
        let committed = self.state.list(&Ledger::folder(day), None).await?;
        let committed: HashSet<String> = committed.into_iter().map(|one| one.path).collect();
        for found in self.state.list(&format!("{REJECTS}/day={day}"), None).await? {
            let name = found.path.rsplit('/').next().unwrap_or_default();
            let Some(batch) = name.strip_suffix(".ndjson") else { continue };
            if !committed.contains(&Ledger::path(day, batch)) {
                if found.age >= ABANDONED {
                    self.state.remove(std::slice::from_ref(&found.path)).await?;
                }
                continue;
            }
            let folder = scratch()?;
            let (old, new) = (folder.path().join("old"), folder.path().join("new"));
            self.state.download(&found.path, &old).await?;
            let mut later = BTreeMap::new();
            for object in objects_of(&old).await? {
                let known = ledger.find(day, &object, &NO_FILTER).await?;
                let has_gone = known.is_some_and(|known| {
                    let has_lines = if known.from_rejects.is_empty() {
                        known.state == State::Loaded
                    } else {
                        known.from_rejects.iter().any(|of| of == batch)
                    };
                    known.generation > 0 && *known.batch != *batch && has_lines
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

/// The objects of a file of rejects.
async fn objects_of(path: &Path) -> Result<Vec<ObjectRef>, StoreError> {
    let path = path.to_owned();
    through(move || {
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
    through(move || {
        let mut out = BufWriter::new(File::create_new(to)?);
        let (mut kept, mut removed) = (0, 0);
        each_line(&from, |text, line| {
            if goes.get(&line.location()) == Some(&true) {
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
