//! What a batch becomes on disk: lines of the ledger, and moves of files.
//!
//! # Input
//! What lanes and sinks answered.
//! # Maps to
//! The ledger's lines by day; for a lake of this machine a [`Plan`] of moves, the ledger last.
//! # Known gaps
//! None.
//! # Reference
//! Design sections 5 (invariant 2) and 6.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
};

use super::{Answers, Outcome};
use crate::{
    ledger::{Entry, Failure, Ledger, RecordCounts, State},
    select::{Batch, Item, index_rejects_path, ledger_day, rejects_path},
    sink::{lines::DayLines, parquet::ParquetReceipt},
    store::ObjectRef,
    workspace::{Plan, Target},
};

/// The ledger's lines by day. Staged files are in a folder.
pub(super) fn entries(
    id: &str,
    batch: &Batch,
    items: &[Item],
    outcome: &Outcome,
    parquet: &ParquetReceipt,
    staged: Option<&str>,
) -> BTreeMap<String, Vec<u8>> {
    let mut files: Vec<Vec<String>> = vec![Vec::new(); items.len()];
    for file in &parquet.files {
        for object in &file.objects {
            let folder = staged.map(|folder| format!("{folder}/")).unwrap_or_default();
            files[*object as usize].push(folder + &file.path);
        }
    }
    let base = |object: &ObjectRef| Entry {
        v: 1,
        batch: id.to_owned(),
        bucket: object.bucket.to_string(),
        key: object.key.clone(),
        etag: object.etag.clone(),
        size: object.size,
        version: object.version.clone(),
        source: None,
        by_content: false,
        state: State::Loaded,
        records: RecordCounts::default(),
        index: None,
        index_id: None,
        filters: batch.filters.iter().map(Into::into).collect(),
        generation: batch.generation,
        from_rejects: Vec::new(),
        staged: staged.is_some(),
        files: Vec::new(),
        error: None,
        writer: concat!("trailhound ", env!("CARGO_PKG_VERSION")).into(),
    };
    let mut lines = DayLines::default();
    for ((item, files), result) in items.iter().zip(files).zip(&outcome.objects) {
        if !result.started {
            continue;
        }
        let error = result.error.as_ref();
        let entry = Entry {
            source: result.source.map(str::to_owned),
            by_content: item.source.is_none() && result.source != item.fallback.map(|s| s.name),
            state: error.map_or(State::Loaded, |(state, _)| *state),
            records: result.records,
            index: result.index,
            index_id: result.index.and(outcome.index_id.as_deref().map(str::to_owned)),
            files,
            error: error.map(|(_, failure)| failure.clone()),
            ..base(&item.object)
        };
        let entry = match &batch.lines {
            Some(rejects) => rejects.entry(entry),
            None => entry,
        };
        lines.add(&ledger_day(&item.key), &entry);
    }
    for (day, entry) in &batch.kept {
        lines.add(day, entry);
    }
    for note in &batch.notes {
        let error = Some(Failure { what: note.why.clone(), permanent: true });
        let entry = Entry { state: note.state, error, ..base(&note.object) };
        lines.add(&ledger_day(&note.key), &entry);
    }
    lines.into_texts()
}

/// Has parts removed that an earlier load of the same batch left and that the ledger does not tell of,
/// as when it was lost.
pub(super) fn remove_stale_parts(plan: &mut Plan, lake: &Path, id: &str) {
    let written: HashSet<&Target> = plan.moves.iter().map(|(_, target)| target).collect();
    let folders: HashSet<&str> = written
        .iter()
        .filter_map(|target| match target {
            Target::Lake(path) => path.rsplit_once('/').map(|(folder, _)| folder),
            Target::State(_) => None,
        })
        .collect();
    let mut stale = Vec::new();
    for folder in folders {
        // A folder that is not there yet has no old parts.
        for file in std::fs::read_dir(lake.join(folder)).into_iter().flatten().flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            let target = Target::Lake(format!("{folder}/{name}"));
            if name.starts_with(id) && !written.contains(&target) {
                stale.push(target);
            }
        }
    }
    plan.remove.extend(stale);
}

/// Moves of the commit: rows first, then rejects, the ledger last.
pub(super) fn plan(
    id: &str,
    batch: &Batch,
    answers: &Answers,
    entries: &BTreeMap<String, Vec<u8>>,
) -> Plan {
    let mut plan = Plan::default();
    for file in &answers.parquet.files {
        let name = file.staged.file_name().unwrap_or_default().to_string_lossy().into_owned();
        plan.moves.push((name, Target::Lake(file.path.clone())));
    }
    for (day, path) in &answers.rejects {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        plan.moves.push((name, Target::State(rejects_path(day, id))));
    }
    for (day, path) in answers.index.iter().flat_map(|index| &index.rejects) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        plan.moves.push((name, Target::State(index_rejects_path(day, id))));
    }
    for day in entries.keys() {
        let target = Target::State(Ledger::path(day, id));
        plan.moves.push((format!("ledger-{day}.ndjson"), target));
    }
    let (lake, state) = &batch.earlier_files;
    let earlier = lake.iter().cloned().map(Target::Lake);
    let earlier = earlier.chain(state.iter().cloned().map(Target::State));
    let days = batch.lines.iter().flat_map(|lines| lines.files.keys());
    let earlier = earlier.chain(days.map(|day| Target::State(rejects_path(day, id))));
    let replaced: HashSet<&Target> = plan.moves.iter().map(|(_, target)| target).collect();
    plan.remove = earlier.filter(|target| !replaced.contains(target)).collect();
    plan
}
