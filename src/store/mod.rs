//! Where objects come from.
//!
//! # Input
//! Paths of files and folders.
//! # Maps to
//! [`ObjectRef`]s in key order, and their bytes in pieces.
//! # Known gaps
//! Local files only; S3 gets its own module here.
//! # Reference
//! Design section 3.

use std::sync::Arc;

mod local;

pub use local::{Body, list, locate, open};

/// An object as a listing found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRef {
    /// The load root: an absolute folder.
    pub bucket: Arc<str>,
    /// Path below it, with `/`.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// Changes when the content does: for a file its size and time of change.
    pub etag: String,
}

impl ObjectRef {
    /// The whole path.
    pub fn location(&self) -> String {
        location(&self.bucket, &self.key)
    }
}

/// The whole path of a key below a load root.
pub fn location(bucket: &str, key: &str) -> String {
    format!("{}/{key}", bucket.trim_end_matches('/'))
}
