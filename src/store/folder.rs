//! A folder that is written: of this machine, or a prefix of a bucket.
//!
//! # Input
//! Paths below it, with `/`.
//! # Maps to
//! Files that appear whole or not at all.
//! # Known gaps
//! A local folder keeps a file's temporary twin when the program is killed while it writes.
//! # Reference
//! Design section 6.

use std::{
    fs,
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::task::spawn_blocking;

use super::{Bucket, Kind, Place, S3, StoreError};

/// Requests of one folder that run at the same time.
const PARALLEL: usize = 32;

/// A folder that is written.
#[derive(Clone)]
pub enum Folder {
    /// Of this machine.
    Local(PathBuf),
    /// Of a bucket: the bucket and the prefix, without `/` at its ends.
    S3(Arc<Bucket>, String),
}

/// A file of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Path below the folder.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// How long ago it was written, by the clocks of here and there.
    pub age: Duration,
}

impl Folder {
    /// Opens a folder; it need not be there yet.
    pub async fn open(place: &Place, s3: &S3) -> Result<Self, StoreError> {
        Ok(match place {
            Place::Local(path) => Self::Local(path.clone()),
            Place::S3 { bucket, prefix } => Self::S3(s3.bucket(bucket).await?, prefix.clone()),
        })
    }

    /// For messages.
    pub fn name(&self, path: &str) -> String {
        match self {
            Self::Local(folder) => folder.join(path).display().to_string(),
            Self::S3(bucket, prefix) => format!("s3://{}/{}", bucket.name(), key(prefix, path)),
        }
    }

    /// The folder of this machine, if it is one.
    pub fn local(&self) -> Option<&Path> {
        match self {
            Self::Local(path) => Some(path),
            Self::S3(..) => None,
        }
    }

    /// A small file as a whole; None if it is not there.
    pub async fn read(&self, path: &str) -> Result<Option<Bytes>, StoreError> {
        match self {
            Self::S3(bucket, prefix) => bucket.get(&key(prefix, path)).await,
            Self::Local(folder) => {
                let file = folder.join(path);
                self.blocking("read", path, move || match fs::read(file) {
                    Ok(content) => Ok(Some(content.into())),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(error),
                })
                .await
            }
        }
    }

    /// Bytes of a file.
    pub async fn read_range(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        match self {
            Self::S3(bucket, prefix) => bucket.range(&key(prefix, path), range).await,
            Self::Local(folder) => {
                let file = folder.join(path);
                self.blocking("read", path, move || {
                    let mut file = fs::File::open(file)?;
                    file.seek(SeekFrom::Start(range.start))?;
                    let mut bytes = vec![0; (range.end - range.start) as usize];
                    file.read_exact(&mut bytes)?;
                    Ok(bytes.into())
                })
                .await
            }
        }
    }

    /// Small files as a whole, in the order of their paths; what is gone is left out.
    pub async fn read_all(&self, paths: Vec<String>) -> Result<Vec<(String, Bytes)>, StoreError> {
        let read = stream::iter(paths).map(|path| async move {
            let content = self.read(&path).await?;
            Ok::<_, StoreError>(content.map(|content| (path, content)))
        });
        let mut all = Vec::new();
        let mut read = read.buffered(PARALLEL);
        while let Some(one) = read.next().await {
            all.extend(one?);
        }
        Ok(all)
    }

    /// Writes a small file.
    pub async fn write(&self, path: &str, content: Bytes) -> Result<(), StoreError> {
        match self {
            Self::S3(bucket, prefix) => bucket.put(&key(prefix, path), content).await,
            Self::Local(folder) => {
                let file = folder.join(path);
                self.blocking("write", path, move || replace(&file, &content)).await
            }
        }
    }

    /// Writes a small file if there is none of this name; false if there is.
    pub async fn create(&self, path: &str, content: Bytes) -> Result<bool, StoreError> {
        match self {
            Self::S3(bucket, prefix) => bucket.create(&key(prefix, path), content).await,
            Self::Local(folder) => {
                let file = folder.join(path);
                self.blocking("write", path, move || {
                    let beside = beside(&file)?;
                    fs::write(&beside, &content)?;
                    fs::File::open(&beside)?.sync_data()?;
                    link_new(&beside, &file)
                })
                .await
            }
        }
    }

    /// Puts a file of this machine here, however large it is. A local one is moved.
    pub async fn upload(&self, path: &str, from: &Path) -> Result<(), StoreError> {
        match self {
            Self::S3(bucket, prefix) => bucket.upload(&key(prefix, path), from).await,
            Self::Local(folder) => {
                let (from, to) = (from.to_owned(), folder.join(path));
                self.blocking("write", path, move || move_file(&from, &to)).await
            }
        }
    }

    /// Puts a file of this machine here if there is none of this name; false if there is.
    pub async fn upload_new(&self, path: &str, from: &Path) -> Result<bool, StoreError> {
        match self {
            Self::S3(bucket, prefix) => bucket.upload_new(&key(prefix, path), from).await,
            Self::Local(folder) => {
                let (from, to) = (from.to_owned(), folder.join(path));
                self.blocking("write", path, move || {
                    let beside = beside(&to)?;
                    fs::copy(&from, &beside)?;
                    link_new(&beside, &to)
                })
                .await
            }
        }
    }

    /// Brings a file to this machine, however large it is.
    pub async fn download(&self, path: &str, to: &Path) -> Result<(), StoreError> {
        match self {
            Self::S3(bucket, prefix) => bucket.download(&key(prefix, path), to).await,
            Self::Local(folder) => {
                let (from, to) = (folder.join(path), to.to_owned());
                let linked =
                    move || fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(drop));
                self.blocking("read", path, linked).await
            }
        }
    }

    /// Removes files; it is no error if one is not there.
    pub async fn remove(&self, paths: &[String]) -> Result<(), StoreError> {
        match self {
            Self::S3(bucket, prefix) => {
                bucket.remove(paths.iter().map(|path| key(prefix, path)).collect()).await
            }
            Self::Local(folder) => {
                for path in paths {
                    let file = folder.join(path);
                    self.blocking("remove", path, move || match fs::remove_file(file) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                        _ => Ok(()),
                    })
                    .await?;
                }
                Ok(())
            }
        }
    }

    /// The files below a path, in the order of their paths; those after `after` if it is given.
    pub async fn list(&self, below: &str, after: Option<&str>) -> Result<Vec<Found>, StoreError> {
        match self {
            Self::S3(bucket, prefix) => {
                let start = if prefix.is_empty() { 0 } else { prefix.len() + 1 };
                let folder = format!("{}/", key(prefix, below));
                let after = after.map(|after| key(prefix, after));
                let mut found = bucket.files(&folder, after).await?;
                for one in &mut found {
                    one.path.drain(..start);
                }
                Ok(found)
            }
            Self::Local(folder) => {
                let (root, top) = (folder.clone(), folder.join(below));
                let mut found =
                    self.blocking("list", below, move || local_files(&root, &top)).await?;
                found.retain(|one| after.is_none_or(|after| one.path.as_str() > after));
                Ok(found)
            }
        }
    }

    /// The names of the folders right below a path, in order.
    pub async fn folders(&self, below: &str) -> Result<Vec<String>, StoreError> {
        match self {
            Self::S3(bucket, prefix) => bucket.folders(&format!("{}/", key(prefix, below))).await,
            Self::Local(folder) => {
                let folder = folder.join(below);
                self.blocking("list", below, move || {
                    let mut names = Vec::new();
                    for entry in entries(&folder)? {
                        if entry.path().is_dir() {
                            names.extend(entry.file_name().into_string().ok());
                        }
                    }
                    names.sort();
                    Ok(names)
                })
                .await
            }
        }
    }

    async fn blocking<R: Send + 'static>(
        &self,
        what: &str,
        path: &str,
        work: impl FnOnce() -> io::Result<R> + Send + 'static,
    ) -> Result<R, StoreError> {
        let result = spawn_blocking(work).await.map_err(|error| StoreError::panicked(&error))?;
        result.map_err(|error| StoreError {
            what: format!("cannot {what} {}: {error}", self.name(path)),
            ..StoreError::local(&error)
        })
    }
}

fn key(prefix: &str, path: &str) -> String {
    match (prefix.is_empty(), path.is_empty()) {
        (true, _) => path.to_owned(),
        (_, true) => prefix.to_owned(),
        _ => format!("{prefix}/{path}"),
    }
}

/// A name of its own beside a file; makes the folder.
fn beside(file: &Path) -> io::Result<PathBuf> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let thread = format!("{:?}", std::thread::current().id());
    let number: String = thread.chars().filter(char::is_ascii_digit).collect();
    Ok(file.with_extension(format!("{}-{number}.tmp", std::process::id())))
}

/// Gives a file its name, unless there is one of this name. A link, unlike a rename, does not replace
/// what is there.
fn link_new(beside: &Path, file: &Path) -> io::Result<bool> {
    let linked = fs::hard_link(beside, file);
    fs::remove_file(beside)?;
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn replace(file: &Path, content: &[u8]) -> io::Result<()> {
    let beside = beside(file)?;
    fs::write(&beside, content)?;
    fs::File::open(&beside)?.sync_data()?;
    fs::rename(&beside, file)
}

fn move_file(from: &Path, to: &Path) -> io::Result<()> {
    let beside = beside(to)?;
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            fs::copy(from, &beside)?;
            fs::File::open(&beside)?.sync_data()?;
            fs::rename(&beside, to)?;
            fs::remove_file(from)
        }
        result => result,
    }
}

/// What a folder holds; nothing if there is no such folder.
fn entries(folder: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn local_files(root: &Path, top: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut open = vec![top.to_owned()];
    let now = SystemTime::now();
    while let Some(folder) = open.pop() {
        for entry in entries(&folder)? {
            let path = entry.path();
            // What is gone since is not there.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                open.push(path);
            } else if path.extension().is_none_or(|extension| extension != "tmp") {
                let below = path.strip_prefix(root).unwrap_or(&path).to_string_lossy();
                let written = metadata.modified().unwrap_or(now);
                found.push(Found {
                    path: below.replace(std::path::MAIN_SEPARATOR, "/"),
                    size: metadata.len(),
                    age: now.duration_since(written).unwrap_or_default(),
                });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// A folder of this machine for files that are made here before they go to a bucket. It is removed
/// when it is dropped.
pub fn scratch() -> Result<tempfile::TempDir, StoreError> {
    tempfile::Builder::new().prefix("trailhound-").tempdir().map_err(|error| StoreError {
        kind: Kind::Other,
        what: format!(
            "cannot make a folder in {}: {error}; TMPDIR names another place",
            std::env::temp_dir().display()
        ),
    })
}
