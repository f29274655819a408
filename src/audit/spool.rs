//! Objects of a listing, to be taken day by day.
//!
//! # Input
//! Objects in any order of days.
//! # Maps to
//! The objects of one day after another. What does not fit in memory waits in a scratch folder, so
//! that a listing of any length takes no more than its largest day does.
//! # Known gaps
//! None.
//! # Reference
//! Invariant 5: every buffer has a bound.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::store::{Kind, ObjectRef, StoreError, scratch};

/// Bytes of lines that wait in memory.
const PENDING_BYTES: usize = 16 << 20;

/// Objects by day.
#[derive(Default)]
pub struct Spool {
    /// Lines, JSON, of each day.
    pending: BTreeMap<String, Vec<u8>>,
    bytes: usize,
    days: BTreeSet<String>,
    folder: Option<TempDir>,
}

type Line<'a> = (&'a str, &'a str, u64, &'a str);

impl Spool {
    /// Adds an object.
    pub async fn push(&mut self, day: &str, object: &ObjectRef) -> Result<(), StoreError> {
        if !self.days.contains(day) {
            self.days.insert(day.to_owned());
        }
        let lines = self.pending.entry(day.to_owned()).or_default();
        let before = lines.len();
        let line: Line<'_> = (&object.bucket, &object.key, object.size, &object.etag);
        if let Err(error) = serde_json::to_writer(&mut *lines, &line) {
            unreachable!("texts and a number: {error}");
        }
        lines.push(b'\n');
        self.bytes += lines.len() - before;
        if self.bytes >= PENDING_BYTES {
            self.spill().await?;
        }
        Ok(())
    }

    /// The days of the objects, in order.
    pub fn days(&self) -> Vec<String> {
        self.days.iter().cloned().collect()
    }

    /// The objects of a day.
    pub async fn take(&mut self, day: &str) -> Result<Vec<ObjectRef>, StoreError> {
        let mut lines = match &self.folder {
            None => Vec::new(),
            Some(folder) => {
                let path = file(folder.path(), day);
                blocking(move || match fs::read(path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
                    result => result,
                })
                .await?
            }
        };
        lines.append(&mut self.pending.remove(day).unwrap_or_default());
        let mut objects: Vec<ObjectRef> = Vec::new();
        for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let (bucket, key, size, etag): (String, String, u64, String) =
                serde_json::from_slice(line).map_err(|error| failed(&error.into()))?;
            // Objects of one bucket follow each other.
            let last = objects.last().map(|last| Arc::clone(&last.bucket));
            let bucket = last.filter(|last| **last == *bucket).unwrap_or_else(|| bucket.into());
            objects.push(ObjectRef { bucket, key, size, etag, version: None });
        }
        Ok(objects)
    }

    async fn spill(&mut self) -> Result<(), StoreError> {
        let folder = match &self.folder {
            Some(folder) => folder,
            None => self.folder.insert(scratch()?),
        };
        let (folder, pending) = (folder.path().to_owned(), std::mem::take(&mut self.pending));
        self.bytes = 0;
        blocking(move || {
            for (day, lines) in pending {
                let mut to = OpenOptions::new();
                to.create(true).append(true).open(file(&folder, &day))?.write_all(&lines)?;
            }
            Ok(())
        })
        .await
    }
}

fn file(folder: &Path, day: &str) -> PathBuf {
    folder.join(format!("{day}.ndjson"))
}

async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> Result<R, StoreError> {
    let done = spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)));
    done.map_err(|error| failed(&error))
}

fn failed(error: &io::Error) -> StoreError {
    let what = format!("cannot keep the listing in {}: {error}", std::env::temp_dir().display());
    StoreError { kind: Kind::Other, what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn objects_come_back_by_day_in_their_order_whether_in_memory_or_not() {
        let object = |n: u64| ObjectRef {
            bucket: "s3://logs".into(),
            key: format!("a \"key\" {n}"),
            size: n,
            etag: "e".into(),
            version: None,
        };
        let mut spool = Spool::default();
        for n in 0..9 {
            spool.push(["b", "a"][n as usize % 2], &object(n)).await.unwrap();
            if n % 4 == 3 {
                spool.spill().await.unwrap();
            }
        }
        assert_eq!(spool.days(), ["a", "b"]);
        assert_eq!(spool.take("a").await.unwrap(), [1, 3, 5, 7].map(object));
        assert_eq!(spool.take("b").await.unwrap(), [0, 2, 4, 6, 8].map(object));
    }
}
