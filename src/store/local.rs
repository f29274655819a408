//! Files of the local machine as objects.
//!
//! # Input
//! A file, or a folder that is walked in the order of its names.
//! # Maps to
//! Objects; the root is the folder, for a single file the folder it lies in; where that lies below a
//! folder `AWSLogs`, the folder that holds this one.
//! # Known gaps
//! A file whose name is not UTF-8 is an error: keys are text.
//! # Reference
//! Design section 6, "load root"; mapping 1.6: ids are the same on every run over the same data.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::UNIX_EPOCH,
};

use bytes::Bytes;
use walkdir::WalkDir;

use super::ObjectRef;

/// The objects below `path` in key order. Memory is that of the open folders only.
pub fn list(path: &Path) -> io::Result<impl Iterator<Item = Result<ObjectRef, String>> + use<>> {
    let path = absolute(path)?;
    let folder = match (path.is_file(), path.parent()) {
        (true, Some(parent)) => parent,
        _ => &path,
    };
    // A path below `AWSLogs` names the same objects as one above, so they have the same keys: ids
    // of flow log rows are made of them.
    let is_above = |folder: &&Path| folder.file_name().is_some_and(|name| name == "AWSLogs");
    let above = folder.ancestors().filter(is_above).last().and_then(Path::parent);
    let root = above.unwrap_or(folder).to_owned();
    let bucket: Arc<str> = root.to_string_lossy().into();
    let walk = WalkDir::new(&path).follow_links(true).sort_by_file_name();
    Ok(walk.into_iter().filter_map(move |entry| {
        let entry = match entry {
            Ok(entry) if entry.file_type().is_dir() => return None,
            // Opening a pipe would wait for its writer.
            Ok(entry) if !entry.file_type().is_file() => {
                return Some(Err(format!("{}: not a regular file", entry.path().display())));
            }
            Ok(entry) => entry,
            Err(error) => return Some(Err(error.to_string())),
        };
        if entry.path().to_str().is_none() {
            let path = entry.path().display();
            return Some(Err(format!("{path}: its name is not UTF-8; give it another one")));
        }
        let below = entry.path().strip_prefix(&root).unwrap_or(entry.path());
        let key = below.to_string_lossy().replace(std::path::MAIN_SEPARATOR, "/");
        let object = entry.metadata().map(|metadata| object(&bucket, key, &metadata));
        Some(object.map_err(|error| error.to_string()))
    }))
}

/// The object at `key` as it is now; None if it is gone.
pub fn locate(bucket: &str, key: &str) -> Option<ObjectRef> {
    let metadata = fs::metadata(Path::new(bucket).join(key)).ok()?;
    Some(object(&bucket.into(), key.to_owned(), &metadata))
}

fn object(bucket: &Arc<str>, key: String, metadata: &Metadata) -> ObjectRef {
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let nanos = modified.unwrap_or_default().as_nanos();
    let size = metadata.len();
    let etag = format!("{size:x}-{nanos:x}");
    ObjectRef { bucket: Arc::clone(bucket), key, size, etag, version: None }
}

/// An absolute path without links, so that one file has one location.
fn absolute(path: &Path) -> io::Result<PathBuf> {
    fs::canonicalize(path)
}

/// The bytes of an object, in pieces.
pub struct Body {
    file: Option<File>,
    piece_bytes: usize,
}

/// Opens an object and reads its first piece. Blocks.
pub fn open(object: &ObjectRef, piece_bytes: usize) -> io::Result<(Bytes, Body)> {
    let file = File::open(object.location())?;
    let mut body = Body { file: Some(file), piece_bytes };
    let first = body.read()?;
    Ok((first, body))
}

impl Body {
    /// The next piece; empty at the end. Blocks.
    pub fn read(&mut self) -> io::Result<Bytes> {
        let Some(file) = &mut self.file else {
            return Ok(Bytes::new());
        };
        let mut piece = Vec::new();
        let count = file.take(self.piece_bytes as u64).read_to_end(&mut piece)?;
        if count < self.piece_bytes {
            self.file = None;
        }
        Ok(piece.into())
    }

    /// True if nothing follows what was read.
    pub fn is_at_end(&self) -> bool {
        self.file.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_listed_in_order_below_itself_and_a_file_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("b/c")).unwrap();
        for name in ["b/c/2", "a", "b/1"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let keys = |path: &Path| -> Vec<String> {
            list(path).unwrap().map(|object| object.unwrap().key).collect()
        };
        assert_eq!(keys(dir.path()), ["a", "b/1", "b/c/2"]);
        assert_eq!(keys(&dir.path().join("b/c/2")), ["2"]);
        assert!(list(&dir.path().join("missing")).is_err());
    }

    #[test]
    fn a_body_comes_in_pieces_and_knows_its_end() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("x"), [7; 25]).unwrap();
        let object = list(dir.path()).unwrap().next().unwrap().unwrap();
        let (first, mut body) = open(&object, 10).unwrap();
        assert_eq!((first.len(), body.is_at_end()), (10, false));
        assert_eq!(body.read().unwrap().len(), 10);
        assert_eq!((body.read().unwrap().len(), body.is_at_end()), (5, true));
        assert!(body.read().unwrap().is_empty());
    }
}
