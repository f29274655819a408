//! A batch becomes visible as a whole or not at all.
//!
//! # Input
//! Files of a batch, staged in `<lake>/_trailhound/open/<batch>/`.
//! # Maps to
//! Renames to their places, driven by a plan that is written first: a run that is killed before
//! the plan leaves nothing, one that is killed after it is completed by the next run.
//! # Known gaps
//! Renames are per file, so a reader may see a batch half committed for a moment.
//! # Reference
//! Design section 6.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

/// Where a load writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The lake's folder.
    pub lake: PathBuf,
    /// The folder of ledger and rejects.
    pub state: PathBuf,
}

/// A file operation failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {}: {source}", path.display())]
pub struct FileError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn failed<'p>(what: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> FileError + 'p {
    move |source| FileError { what, path: path.to_owned(), source }
}

/// A file's place.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Below the lake.
    Lake(String),
    /// Below the state folder.
    State(String),
}

impl Target {
    fn path(&self, lake: &Path, state: &Path) -> PathBuf {
        match self {
            Self::Lake(path) => lake.join(path),
            Self::State(path) => state.join(path),
        }
    }
}

/// What a commit does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The state folder, which another run need not have.
    pub state: PathBuf,
    /// Staged file name, and where it goes. The ledger comes last.
    pub moves: Vec<(String, Target)>,
    /// What an earlier load of the same batch left and this one does not replace.
    pub remove: Vec<Target>,
}

const PLAN: &str = "commit.json";

/// The folder of a batch that is being written. Dropped without a commit, it is removed.
pub struct Workspace {
    dir: PathBuf,
    lake: PathBuf,
}

impl Workspace {
    /// Opens the workspace of a batch.
    pub fn open(places: &Places, batch: &str) -> Result<Self, FileError> {
        let dir = open_folder(places).join(batch);
        fs::create_dir_all(&dir).map_err(failed("create", &dir))?;
        Ok(Self { dir, lake: places.lake.clone() })
    }

    /// Where files are staged.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes a staged file.
    pub fn stage(&self, name: &str, content: &[u8]) -> Result<(), FileError> {
        write_durably(&self.dir.join(name), content)
    }

    /// Makes the batch visible.
    pub fn commit(self, plan: &Plan) -> Result<(), FileError> {
        let path = self.dir.join(PLAN);
        let text =
            serde_json::to_vec(plan).map_err(|error| failed("write", &path)(error.into()))?;
        let written = self.dir.join("commit.tmp");
        write_durably(&written, &text)?;
        fs::rename(&written, &path).map_err(failed("write", &path))?;
        carry_out(&self.lake, &self.dir, plan)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // With a plan it must be carried out, by the next run if this one cannot.
        if !self.dir.join(PLAN).exists()
            && let Err(error) = fs::remove_dir_all(&self.dir)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(dir = %self.dir.display(), %error, "cannot remove a workspace");
        }
    }
}

/// The right to write to a lake, held by one process at a time: two loads that do not know of each
/// other's batches would put the same rows into two of them. The system gives it back when the
/// process ends, however it ends.
#[derive(Debug)]
pub struct LakeLock(#[expect(dead_code, reason = "the lock lives as long as the file")] File);

/// Takes the lock of a lake, checks that lake and state folder can be written, and completes or
/// removes what killed runs left. Returns how many batches that were.
pub fn open(places: &Places) -> Result<(LakeLock, usize), FileError> {
    let folder = open_folder(places);
    for dir in [&folder, &places.state] {
        fs::create_dir_all(dir).map_err(failed("create", dir))?;
    }
    let path = places.lake.join("_trailhound/lock");
    let lock = File::create(&path).map_err(failed("create", &path))?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => failed("lock", &path)(io::Error::other(
            "another load is writing to this lake; run this one when it has ended",
        )),
        TryLockError::Error(error) => failed("lock", &path)(error),
    })?;
    bind(places)?;
    for dir in [&folder, &places.state] {
        let probe = dir.join(".probe");
        fs::write(&probe, b"").map_err(failed("write", &probe))?;
        fs::remove_file(&probe).map_err(failed("remove", &probe))?;
    }
    Ok((LakeLock(lock), recover(places)?))
}

/// Makes sure that the state folder is the one of this lake: a ledger of another one would have
/// objects skipped that this one does not hold. Both have the same id, which the first load makes.
fn bind(places: &Places) -> Result<(), FileError> {
    let paths = [places.lake.join("_trailhound/lake-id"), places.state.join("lake-id")];
    let mut ids = Vec::new();
    for path in &paths {
        match fs::read_to_string(path) {
            Ok(id) => ids.push(Some(id)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => ids.push(None),
            Err(error) => return Err(failed("read", path)(error)),
        }
    }
    let id = match (&ids[0], &ids[1]) {
        (Some(lake), Some(state)) if lake == state => return Ok(()),
        (Some(_), None) if places.lake.join("ext").exists() => {
            return Err(failed("use", &places.state)(io::Error::other(format!(
                "the lake {} was loaded with another state folder: without its ledger everything \
                 would be loaded a second time; give that one",
                places.lake.display()
            ))));
        }
        (Some(lake), None) => lake.clone(),
        (None, None) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let seed = format!("{} {} {now:?}", places.lake.display(), std::process::id());
            format!("{:032x}\n", xxh3_128(seed.as_bytes()))
        }
        (_, Some(_)) => {
            return Err(failed("use", &places.state)(io::Error::other(format!(
                "this state folder is of another lake than {}, or that lake was removed: its ledger \
                 would have objects skipped; give a state folder of its own, or remove it",
                places.lake.display()
            ))));
        }
    };
    for path in &paths {
        write_durably(path, id.as_bytes())?;
    }
    Ok(())
}

fn recover(places: &Places) -> Result<usize, FileError> {
    let folder = open_folder(places);
    let mut recovered = 0;
    for entry in fs::read_dir(&folder).map_err(failed("read", &folder))? {
        let dir = entry.map_err(failed("read", &folder))?.path();
        if !dir.is_dir() {
            continue;
        }
        match fs::read(dir.join(PLAN)) {
            Ok(text) => {
                let plan: Plan = serde_json::from_slice(&text)
                    .map_err(|error| failed("read", &dir.join(PLAN))(error.into()))?;
                carry_out(&places.lake, &dir, &plan)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::remove_dir_all(&dir).map_err(failed("remove", &dir))?;
            }
            Err(error) => return Err(failed("read", &dir.join(PLAN))(error)),
        }
        recovered += 1;
    }
    Ok(recovered)
}

fn open_folder(places: &Places) -> PathBuf {
    places.lake.join("_trailhound/open")
}

/// Does what is left to do of a plan, and removes the workspace.
fn carry_out(lake: &Path, dir: &Path, plan: &Plan) -> Result<(), FileError> {
    for target in &plan.remove {
        let path = target.path(lake, &plan.state);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &path)(error));
            }
            _ => {}
        }
    }
    for (name, target) in &plan.moves {
        let from = dir.join(name);
        if from.exists() {
            move_file(&from, &target.path(lake, &plan.state))?;
        }
    }
    fs::remove_dir_all(dir).map_err(failed("remove", dir))
}

fn move_file(from: &Path, to: &Path) -> Result<(), FileError> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(failed("create", parent))?;
    }
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            let beside = to.with_extension("tmp");
            fs::copy(from, &beside).map_err(failed("write", &beside))?;
            fs::rename(&beside, to).map_err(failed("write", to))?;
            fs::remove_file(from).map_err(failed("remove", from))
        }
        result => result.map_err(failed("write", to)),
    }
}

fn write_durably(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let write = || {
        fs::write(path, content)?;
        File::open(path)?.sync_data()
    };
    write().map_err(failed("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(dir: &Path) -> Places {
        Places { lake: dir.join("lake"), state: dir.join("state") }
    }

    fn plan(places: &Places) -> Plan {
        Plan {
            state: places.state.clone(),
            moves: vec![
                ("0.parquet".into(), Target::Lake("ext/a/0.parquet".into())),
                ("ledger".into(), Target::State("ledger/x.ndjson".into())),
            ],
            remove: vec![Target::Lake("ext/a/old.parquet".into())],
        }
    }

    #[test]
    fn a_commit_moves_and_removes_and_leaves_no_workspace() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        fs::create_dir_all(places.lake.join("ext/a")).unwrap();
        fs::write(places.lake.join("ext/a/old.parquet"), "old").unwrap();
        let workspace = Workspace::open(&places, "b1").unwrap();
        workspace.stage("0.parquet", b"rows").unwrap();
        workspace.stage("ledger", b"line").unwrap();
        workspace.commit(&plan(&places)).unwrap();
        assert_eq!(fs::read(places.lake.join("ext/a/0.parquet")).unwrap(), b"rows");
        assert_eq!(fs::read(places.state.join("ledger/x.ndjson")).unwrap(), b"line");
        assert!(!places.lake.join("ext/a/old.parquet").exists());
        assert_eq!(fs::read_dir(open_folder(&places)).unwrap().count(), 0);
    }

    #[test]
    fn what_was_killed_before_its_plan_is_removed_and_after_it_completed() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        let open = open_folder(&places);
        fs::create_dir_all(open.join("early")).unwrap();
        fs::write(open.join("early/0.parquet"), "half").unwrap();
        fs::create_dir_all(open.join("late")).unwrap();
        fs::write(open.join("late/ledger"), "line").unwrap();
        fs::write(open.join("late").join(PLAN), serde_json::to_vec(&plan(&places)).unwrap())
            .unwrap();
        assert_eq!(super::open(&places).unwrap().1, 2);
        assert_eq!(fs::read(places.state.join("ledger/x.ndjson")).unwrap(), b"line");
        assert_eq!(fs::read_dir(&open).unwrap().count(), 0);
    }

    #[test]
    fn a_state_folder_is_of_one_lake() {
        let dir = tempfile::tempdir().unwrap();
        let first = places(dir.path());
        drop(open(&first).unwrap());
        drop(open(&first).unwrap());
        let other = Places { lake: dir.path().join("other"), ..first.clone() };
        let error = open(&other).unwrap_err().to_string();
        assert!(error.contains("of another lake than"), "{error}");
        fs::remove_dir_all(&first.lake).unwrap();
        assert!(open(&first).is_err(), "the lake is not what it was");
        // An empty lake may get another state folder.
        let fresh = Places { state: dir.path().join("fresh"), ..other };
        assert!(open(&fresh).is_ok());
    }

    #[test]
    fn a_lake_is_written_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        let (lock, _) = open(&places).unwrap();
        let workspace = Workspace::open(&places, "b1").unwrap();
        assert!(open(&places).unwrap_err().to_string().contains("another load"));
        assert!(workspace.dir().exists(), "it is not taken for one that was left");
        drop(workspace);
        assert_eq!(fs::read_dir(open_folder(&places)).unwrap().count(), 0);
        drop(lock);
        assert!(open(&places).is_ok());
    }
}
