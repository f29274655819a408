//! Where objects come from, and where lakes and their state are.
//!
//! # Input
//! Paths of files and folders, and `s3://bucket/prefix`.
//! # Maps to
//! [`ObjectRef`]s and their bytes in pieces ([`Sources`]); small files that appear whole
//! ([`Folder`]).
//! # Known gaps
//! None.
//! # Reference
//! Design section 3.

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc};

use bytes::Bytes;
use tokio::task::spawn_blocking;

pub mod access;
mod body;
mod folder;
mod listing;
mod local;
mod s3;

pub use access::{Access, S3};
pub use body::Body;
pub use folder::{Folder, Found, scratch};
pub use listing::{Listed, Scope};
pub use local::list as list_files;
pub use s3::Bucket;

/// An object as a listing or an event named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRef {
    /// The load root: an absolute folder, or `s3://bucket`.
    pub bucket: Arc<str>,
    /// Path below it, with `/`.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// Changes when the content does: for a file its size and time of change.
    pub etag: String,
    /// The version that is meant, if not the newest one.
    pub version: Option<String>,
}

impl ObjectRef {
    /// The whole path.
    pub fn location(&self) -> String {
        location(&self.bucket, &self.key)
    }

    /// What tells an object from others, versions included.
    pub fn id(&self) -> String {
        format!("{} {}", self.location(), self.version.as_deref().unwrap_or_default())
    }
}

/// The whole path of a key below a load root.
pub fn location(bucket: &str, key: &str) -> String {
    format!("{}/{key}", bucket.trim_end_matches('/'))
}

/// A folder of this machine, or a prefix of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A folder or file.
    Local(PathBuf),
    /// Everything below a prefix; an empty one is the whole bucket.
    S3 {
        /// Its name.
        bucket: String,
        /// Without `/` at its ends.
        prefix: String,
    },
}

impl Place {
    /// A place below this one.
    #[must_use]
    pub fn join(&self, below: &str) -> Self {
        match self {
            Self::Local(path) => Self::Local(path.join(below)),
            Self::S3 { bucket, prefix } => Self::S3 {
                bucket: bucket.clone(),
                prefix: format!("{prefix}/{below}").trim_matches('/').to_owned(),
            },
        }
    }

    /// True if `other` is this prefix or lies below it. Only prefixes of buckets.
    pub fn holds(&self, other: &Self) -> bool {
        let (Self::S3 { bucket, prefix }, Self::S3 { bucket: other, prefix: below }) =
            (self, other)
        else {
            return false;
        };
        let rest = below.strip_prefix(prefix.as_str());
        bucket == other
            && rest
                .is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
    }

    /// True if it is in a bucket.
    pub fn is_s3(&self) -> bool {
        matches!(self, Self::S3 { .. })
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix("s3://") else {
            let scheme = text.split_once("://").filter(|(scheme, _)| {
                scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !scheme.is_empty()
            });
            return match scheme {
                Some((scheme, _)) => {
                    Err(format!("{scheme}:// is not known; give a path or s3://bucket/prefix"))
                }
                None => Ok(Self::Local(text.into())),
            };
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_name = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
        if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(is_name) {
            return Err(format!("{bucket:?} is not the name of a bucket: s3://bucket/prefix"));
        }
        Ok(Self::S3 { bucket: bucket.into(), prefix: prefix.trim_matches('/').into() })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => path.display().fmt(f),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

/// What kind of failure it is: what can be done about it depends on that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There is nothing of this name.
    Missing,
    /// The principal may not do this.
    Denied,
    /// It may work when it is tried again: throttling, an error of the server, the network.
    Transient,
    /// It cannot work before a setting is changed: no bucket, no credentials.
    Configuration,
    /// It is not what it was.
    Changed,
    /// Anything else.
    Other,
}

/// An object, a folder or a bucket cannot be read or written. The text says what, where, and what
/// to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct StoreError {
    /// What kind of failure it is.
    pub kind: Kind,
    /// For people.
    pub what: String,
}

impl StoreError {
    fn local(error: &std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => Kind::Missing,
            std::io::ErrorKind::PermissionDenied => Kind::Denied,
            _ => Kind::Other,
        };
        Self { kind, what: error.to_string() }
    }

    fn panicked(error: &tokio::task::JoinError) -> Self {
        Self { kind: Kind::Other, what: error.to_string() }
    }
}

/// The archives that objects are read from.
#[derive(Clone)]
pub struct Sources {
    s3: Arc<S3>,
}

impl Sources {
    /// Files, and the buckets that this principal may read.
    pub fn new(s3: Arc<S3>) -> Self {
        Self { s3 }
    }

    /// Opens objects and reads the first piece of each. Files are opened one after another, objects
    /// of buckets at the same time.
    pub async fn open_all(
        &self,
        objects: Vec<ObjectRef>,
        piece_bytes: usize,
    ) -> Vec<Result<(Bytes, Body), StoreError>> {
        if objects.iter().any(|object| object.bucket.starts_with("s3://")) {
            let open = |object: ObjectRef| async move { self.open(&object, piece_bytes).await };
            return futures_util::future::join_all(objects.into_iter().map(open)).await;
        }
        let count = objects.len();
        let failed = |error: &tokio::task::JoinError| {
            (0..count).map(|_| Err(StoreError::panicked(error))).collect()
        };
        let opened = spawn_blocking(move || {
            objects.iter().map(|object| Body::open_file(object, piece_bytes)).collect()
        });
        opened.await.unwrap_or_else(|error| failed(&error))
    }

    /// Opens an object and reads its first piece.
    pub async fn open(
        &self,
        object: &ObjectRef,
        piece_bytes: usize,
    ) -> Result<(Bytes, Body), StoreError> {
        if let Some(bucket) = object.bucket.strip_prefix("s3://") {
            return self.s3.bucket(bucket).await?.open(object, piece_bytes).await;
        }
        let object = object.clone();
        spawn_blocking(move || Body::open_file(&object, piece_bytes))
            .await
            .map_err(|error| StoreError::panicked(&error))?
    }

    /// The object at `key` as it is now; None if it is gone.
    pub async fn locate(&self, bucket: &str, key: &str) -> Result<Option<ObjectRef>, StoreError> {
        match bucket.strip_prefix("s3://") {
            Some(name) => self.s3.bucket(name).await?.head(key).await,
            None => Ok(local::locate(bucket, key)),
        }
    }

    /// The bucket of an archive.
    pub async fn bucket(&self, name: &str) -> Result<Arc<Bucket>, StoreError> {
        self.s3.bucket(name).await
    }

    /// Lists what lies below a place and within the scope, in pages, ahead of who reads them.
    pub fn list(&self, place: &Place, scope: Scope) -> Listed {
        listing::list(self.clone(), place.clone(), scope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_path_or_a_prefix_of_a_bucket() {
        let place = |text: &str| text.parse::<Place>().unwrap();
        assert_eq!(place("lake"), Place::Local("lake".into()));
        assert_eq!(place("s3://logs/a/b/").to_string(), "s3://logs/a/b");
        assert_eq!(place("s3://logs").join("x").to_string(), "s3://logs/x");
        for wrong in ["s3://", "s3:///x", "s3://Under_Score/x", "gs://bucket"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_prefix_holds_what_lies_below_it_and_not_what_is_named_alike() {
        let place = |text: &str| text.parse::<Place>().unwrap();
        let holds = |one: &str, other: &str| place(one).holds(&place(other));
        assert!(holds("s3://logs", "s3://logs/lake"));
        assert!(holds("s3://logs/a", "s3://logs/a") && holds("s3://logs/a", "s3://logs/a/b"));
        assert!(!holds("s3://logs/a", "s3://logs/ab") && !holds("s3://logs", "s3://logs2"));
        assert!(!holds("s3://logs/a/b", "s3://logs/a"));
    }
}
