//! What was published: manifests in a sequence, each made by one create that only one can win.
//!
//! # Input
//! `published/v1/<sequence>.json` in the state folder, and intents in `published/open/`.
//! # Maps to
//! [`History`]: which staged files are merged, which files of the lake count.
//! # Known gaps
//! Every manifest is read at the start of a publish: some hundred a day where it runs every few
//! minutes, so that after a year they should be summed up.
//! # Reference
//! Design section 6. The formats only grow.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::{
    batch::{now_ms, stamp},
    store::{Folder, StoreError},
};

/// Manifests, below the state folder.
const MANIFESTS: &str = "published/v1";
/// Intents, below the state folder.
const INTENTS: &str = "published/open";
/// Version of both formats.
const VERSION: u32 = 1;

/// A file of the published lake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Path below the lake.
    pub path: String,
    /// Uid of its class.
    pub class: i32,
    /// Its rows.
    pub rows: u64,
    /// Time of its first row, in milliseconds.
    pub min_time: i64,
    /// Time of its last row.
    pub max_time: i64,
    /// Size in bytes.
    pub size: u64,
}

/// What one round has published.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the format.
    pub v: u32,
    /// Publish id, the first part of the names of its files.
    pub id: String,
    /// Staged files that are merged, below the state folder.
    #[serde(default)]
    pub staged: Vec<String>,
    /// Files that hold their rows.
    #[serde(default)]
    pub files: Vec<Published>,
    /// Files of earlier manifests whose rows are in these files now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<String>,
    /// The publish that cannot commit any more, because this took its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aborted: Option<String>,
    /// Program and version that wrote it.
    pub writer: String,
}

impl Manifest {
    /// Of a publish that has done nothing yet.
    pub fn new(id: &str) -> Self {
        Self {
            v: VERSION,
            id: id.to_owned(),
            staged: Vec::new(),
            files: Vec::new(),
            replaced: Vec::new(),
            aborted: None,
            writer: concat!("trailhound ", env!("CARGO_PKG_VERSION")).into(),
        }
    }
}

/// What a publish is going to do: who finds one knows which files may be left of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Intent {
    /// Version of the format.
    pub v: u32,
    /// Publish id.
    pub id: String,
    /// The number that its manifest will have.
    pub sequence: u64,
    /// The files that it writes, below the lake.
    pub files: Vec<String>,
}

impl Intent {
    /// An intent to write these files.
    pub fn new(id: &str, sequence: u64, files: Vec<String>) -> Self {
        Self { v: VERSION, id: id.to_owned(), sequence, files }
    }

    /// Its file, below the state folder.
    pub fn path(&self) -> String {
        format!("{INTENTS}/{}.json", self.id)
    }

    /// Makes it known.
    pub async fn write(&self, state: &Folder) -> Result<(), StoreError> {
        state.write(&self.path(), json(self)).await
    }

    /// Removes it: nothing is left to do.
    pub async fn remove(&self, state: &Folder) -> Result<(), StoreError> {
        state.remove(&[self.path()]).await
    }

    /// All intents and how old they are.
    pub async fn all(state: &Folder) -> Result<Vec<(Self, std::time::Duration)>, HistoryError> {
        let found = state.list(INTENTS, None).await?;
        let ages: HashMap<String, _> = found.into_iter().map(|one| (one.path, one.age)).collect();
        let files = state.read_all(ages.keys().cloned().collect()).await?;
        let read = files.into_iter().map(|(path, text)| {
            let age = ages[&path];
            Ok((parse(state, &path, &text)?, age))
        });
        read.collect()
    }
}

/// The manifests cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// Their files cannot be read.
    #[error("cannot read what was published: {0}")]
    Store(#[from] StoreError),
    /// What a file holds is none.
    #[error("cannot read {path}: it is damaged, or of a newer version of trailhound: {source}")]
    Format {
        /// The file.
        path: String,
        /// Why.
        source: serde_json::Error,
    },
}

/// The sum of all manifests.
#[derive(Debug, Default)]
pub struct History {
    /// Number of the last manifest; 0 if there is none.
    pub last: u64,
    /// For each number the publish that has it.
    ids: BTreeMap<u64, String>,
    /// The same the other way round.
    committed: HashSet<String>,
    /// For each merged staged file the number of its manifest.
    merged: HashMap<String, u64>,
    /// The files that count, by path.
    files: BTreeMap<String, Published>,
    /// What a manifest has replaced.
    replaced: HashMap<String, Vec<String>>,
}

impl History {
    /// Reads all manifests.
    pub async fn read(state: &Folder) -> Result<Self, HistoryError> {
        let mut history = Self::default();
        history.refresh(state).await?;
        Ok(history)
    }

    /// Reads those that have come since. True if there are any.
    pub async fn refresh(&mut self, state: &Folder) -> Result<bool, HistoryError> {
        let after = path(self.last);
        let found = state.list(MANIFESTS, Some(&after)).await?;
        let paths = found.into_iter().map(|found| found.path).collect();
        let before = self.last;
        for (path, text) in state.read_all(paths).await? {
            let Some(sequence) = sequence(&path) else { continue };
            let manifest: Manifest = parse(state, &path, &text)?;
            self.add(sequence, manifest);
        }
        Ok(self.last > before)
    }

    fn add(&mut self, sequence: u64, manifest: Manifest) {
        self.last = self.last.max(sequence);
        self.merged.extend(manifest.staged.into_iter().map(|path| (path, sequence)));
        for path in &manifest.replaced {
            self.files.remove(path);
        }
        self.files.extend(manifest.files.into_iter().map(|file| (file.path.clone(), file)));
        if !manifest.replaced.is_empty() {
            self.replaced.insert(manifest.id.clone(), manifest.replaced);
        }
        self.committed.insert(manifest.id.clone());
        self.ids.insert(sequence, manifest.id);
    }

    /// The number of the manifest that names this staged file.
    pub fn merged(&self, staged: &str) -> Option<u64> {
        self.merged.get(staged).copied()
    }

    /// The staged files that manifests name.
    pub fn merged_files(&self) -> impl Iterator<Item = &str> {
        self.merged.keys().map(String::as_str)
    }

    /// The files that manifests name and none has replaced, by path.
    pub fn files(&self) -> &BTreeMap<String, Published> {
        &self.files
    }

    /// True if a file that lies in the lake counts: a manifest names it, or no publish wrote it.
    pub fn counts(&self, path: &str) -> bool {
        self.files.contains_key(path) || FileName::parse(path).is_none()
    }

    /// True if this publish is committed.
    pub fn is_committed(&self, id: &str) -> bool {
        self.committed.contains(id)
    }

    /// The numbers of all manifests, in order.
    pub fn sequences(&self) -> impl Iterator<Item = u64> {
        self.ids.keys().copied()
    }

    /// What this publish has replaced.
    pub fn replaced_by(&self, id: &str) -> &[String] {
        self.replaced.get(id).map_or(&[], Vec::as_slice)
    }

    /// Commits as this number. False if another publish has it; the history then knows it.
    pub async fn commit(
        &mut self,
        state: &Folder,
        sequence: u64,
        manifest: &Manifest,
    ) -> Result<bool, HistoryError> {
        // A repeated request may find what it has made itself: only the content tells.
        state.create(&path(sequence), json(manifest)).await?;
        self.refresh(state).await?;
        Ok(self.ids.get(&sequence) == Some(&manifest.id))
    }
}

/// The manifest of this number, if there is one.
pub async fn read(state: &Folder, sequence: u64) -> Result<Option<Manifest>, HistoryError> {
    let path = path(sequence);
    let text = state.read(&path).await?;
    text.map(|text| parse(state, &path, &text)).transpose()
}

/// How long ago each manifest was written.
pub async fn ages(state: &Folder) -> Result<HashMap<u64, std::time::Duration>, StoreError> {
    let found = state.list(MANIFESTS, None).await?;
    Ok(found.iter().filter_map(|one| Some((sequence(&one.path)?, one.age))).collect())
}

fn path(sequence: u64) -> String {
    format!("{MANIFESTS}/{sequence:012}.json")
}

fn sequence(path: &str) -> Option<u64> {
    let name = path.strip_prefix(MANIFESTS)?.strip_prefix('/')?.strip_suffix(".json")?;
    name.parse().ok()
}

fn json(value: &impl Serialize) -> bytes::Bytes {
    match serde_json::to_vec(value) {
        Ok(text) => text.into(),
        Err(error) => unreachable!("it is plain data: {error}"),
    }
}

fn parse<T: for<'t> Deserialize<'t>>(
    state: &Folder,
    path: &str,
    text: &[u8],
) -> Result<T, HistoryError> {
    serde_json::from_slice(text)
        .map_err(|source| HistoryError::Format { path: state.name(path), source })
}

/// A name that no other publish has, in the order of time.
pub fn new_id() -> String {
    format!("{}-{:016x}", stamp(now_ms()), fastrand::u64(..))
}

/// What the name of a file says that a publish wrote: times save reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileName {
    /// The publish.
    pub id: String,
    /// Number of the file among those of the publish.
    pub part: usize,
    /// Time of the first row, in whole seconds.
    pub min_second: i64,
    /// Time of the last row.
    pub max_second: i64,
}

impl FileName {
    /// Reads the name at the end of a path. None for a file that no publish wrote.
    pub fn parse(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next()?.strip_suffix(".parquet")?;
        let parts: Vec<&str> = name.split('-').collect();
        let &[stamp, random, part, min, max] = parts.as_slice() else { return None };
        Some(Self {
            id: format!("{stamp}-{random}"),
            part: part.parse().ok()?,
            min_second: min.parse().ok()?,
            max_second: max.parse().ok()?,
        })
    }
}

impl std::fmt::Display for FileName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, part, min_second, max_second } = self;
        write!(f, "{id}-{part:05}-{min_second}-{max_second}.parquet")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_when_its_rows_begin_and_end() {
        let name = FileName {
            id: new_id(),
            part: 7,
            min_second: 1_714_521_600,
            max_second: 1_714_521_601,
        };
        assert_eq!(FileName::parse(&format!("ext/a/{name}")), Some(name));
        assert_eq!(FileName::parse("ext/a/0123456789abcdef0123456789abcdef-00000.parquet"), None);
    }

    #[tokio::test]
    async fn of_two_that_commit_as_the_same_number_one_wins() {
        let dir = tempfile::tempdir().unwrap();
        let state = Folder::Local(dir.path().into());
        let (mut one, mut other) = (History::default(), History::default());
        let mut manifest = Manifest::new("a");
        manifest.staged.push("x".into());
        assert!(one.commit(&state, 1, &manifest).await.unwrap());
        assert!(one.commit(&state, 1, &manifest).await.unwrap(), "it is its own");
        assert!(!other.commit(&state, 1, &Manifest::new("b")).await.unwrap());
        assert_eq!((other.merged("x"), other.last), (Some(1), 1));
        assert!(other.is_committed("a") && !other.is_committed("b"));
    }
}
