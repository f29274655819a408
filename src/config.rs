//! Settings that several programs share, each a flag and an environment variable.
//!
//! # Input
//! Arguments and `TRAILHOUND_*` variables.
//! # Maps to
//! Validated places, access to buckets, sizes of buffers, accounts.
//! # Known gaps
//! None.
//! # Reference
//! `trailhound help`.

use std::sync::Arc;

use clap::Args;
use parsers::Accounts;

use crate::{
    accounts,
    budget::Budget,
    store::{Access, Folder, Place, S3, StoreError},
};

/// Where a lake is, and as whom it is used.
#[derive(Clone, Debug, Args)]
pub struct LakeArgs {
    /// The lake: a folder, made if it is missing, or `s3://bucket/prefix`
    #[arg(long, env = "TRAILHOUND_LAKE", value_name = "PLACE")]
    pub lake: Place,
    /// Ledger, rejects and staged files, instead of `_trailhound` in the lake
    #[arg(long, env = "TRAILHOUND_STATE", value_name = "PLACE")]
    pub state: Option<Place>,
    /// Role that reads and writes lake and state
    #[arg(long, env = "TRAILHOUND_LAKE_ROLE_ARN", value_name = "ARN")]
    pub lake_role_arn: Option<String>,
    /// External id that this role asks for
    #[arg(long, env = "TRAILHOUND_LAKE_EXTERNAL_ID", value_name = "ID")]
    pub lake_external_id: Option<String>,
    /// Account that the lake's bucket must belong to
    #[arg(long, env = "TRAILHOUND_LAKE_BUCKET_OWNER", value_name = "ACCOUNT")]
    pub lake_bucket_owner: Option<String>,
    /// KMS key for what is written, instead of the bucket's default
    #[arg(long, env = "TRAILHOUND_LAKE_KMS_KEY_ID", value_name = "KEY")]
    pub lake_kms_key_id: Option<String>,
}

impl LakeArgs {
    /// The place of ledger, rejects and staged files.
    pub fn state(&self) -> Place {
        let state = self.state.clone().filter(|state| *state != Place::Local("".into()));
        state.unwrap_or_else(|| self.lake.join("_trailhound"))
    }

    /// As whom lake and state are used.
    pub fn access(&self) -> Access {
        Access {
            role_arn: some(self.lake_role_arn.as_ref()),
            external_id: some(self.lake_external_id.as_ref()),
            expected_bucket_owner: some(self.lake_bucket_owner.as_ref()),
            kms_key_id: some(self.lake_kms_key_id.as_ref()),
        }
    }
}

/// As whom archives are read.
#[derive(Clone, Debug, Args)]
pub struct SourceArgs {
    /// Role that reads the archives
    #[arg(long, env = "TRAILHOUND_SOURCE_ROLE_ARN", value_name = "ARN")]
    pub source_role_arn: Option<String>,
    /// External id that this role asks for
    #[arg(long, env = "TRAILHOUND_SOURCE_EXTERNAL_ID", value_name = "ID")]
    pub source_external_id: Option<String>,
    /// Account that the archives' buckets must belong to
    #[arg(long, env = "TRAILHOUND_SOURCE_BUCKET_OWNER", value_name = "ACCOUNT")]
    pub source_bucket_owner: Option<String>,
    /// Names of accounts, a file or `s3://bucket/key`: the JSON of `aws organizations list-accounts`,
    /// or CSV with id,name
    #[arg(long, env = "TRAILHOUND_ACCOUNTS", value_name = "FILE")]
    pub accounts: Option<Place>,
}

impl SourceArgs {
    /// As whom archives are read.
    pub fn access(&self) -> Access {
        Access {
            role_arn: some(self.source_role_arn.as_ref()),
            external_id: some(self.source_external_id.as_ref()),
            expected_bucket_owner: some(self.source_bucket_owner.as_ref()),
            kms_key_id: None,
        }
    }

    /// Reads the names of accounts, from a bucket as the lake's principal.
    pub async fn accounts(&self, lake: &S3) -> Result<Arc<Accounts>, String> {
        let Some(place) = self.accounts.as_ref().filter(|place| !place.to_string().is_empty())
        else {
            return Ok(Arc::default());
        };
        let on_error = |error: String| format!("cannot read the accounts file {place}: {error}");
        let content = match place {
            Place::Local(path) => {
                std::fs::read(path).map_err(|error| on_error(error.to_string()))?
            }
            Place::S3 { bucket, prefix } => {
                let root = Place::S3 { bucket: bucket.clone(), prefix: String::new() };
                let read = async { Folder::open(&root, lake).await?.read(prefix).await };
                let content =
                    read.await.map_err(|error: StoreError| on_error(error.to_string()))?;
                content.ok_or_else(|| on_error("it is not there".into()))?.to_vec()
            }
        };
        accounts::read(&content).map(Arc::new).map_err(on_error)
    }
}

/// How much memory and how many threads are used.
#[derive(Clone, Debug, Args)]
pub struct SizeArgs {
    /// Memory for everything, such as 512MB or 2GB
    #[arg(
        long,
        env = "TRAILHOUND_MEMORY",
        value_parser = parse_bytes,
        default_value = "512MB",
        value_name = "SIZE"
    )]
    pub memory: usize,
    /// Threads; as many as there are cores by default
    #[arg(
        long,
        env = "TRAILHOUND_JOBS",
        value_parser = clap::value_parser!(u16).range(1..=256),
        value_name = "N"
    )]
    pub jobs: Option<u16>,
}

impl SizeArgs {
    /// Sizes of buffers.
    pub fn budget(&self) -> Result<Budget, String> {
        Budget::new(self.memory, self.jobs())
    }

    /// Threads.
    pub fn jobs(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.jobs.map_or_else(cores, usize::from)
    }
}

/// An empty variable gives nothing.
fn some(text: Option<&String>) -> Option<String> {
    text.filter(|text| !text.is_empty()).cloned()
}

/// A size in bytes; without a unit it is megabytes.
pub fn parse_bytes(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "m" | "mb" | "mib" => 1 << 20,
        "k" | "kb" | "kib" => 1 << 10,
        "g" | "gb" | "gib" => 1 << 30,
        "b" => 1,
        _ => return Err("expected a size such as 512MB or 2GB".into()),
    };
    let number: usize =
        digits.trim().parse().map_err(|_| "expected a size such as 512MB or 2GB".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| "too large".into())
}

/// A time span, such as `90s`, `5m`, `1h` or `2d`. Without a unit it is refused, as it is where days are
/// meant: a bare number may be any of them.
pub fn parse_seconds(text: &str) -> Result<std::time::Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err("expected a time such as 90s, 5m or 1h".into()),
    };
    let number: u64 =
        digits.trim().parse().map_err(|_| "expected a time such as 90s, 5m or 1h".to_owned())?;
    let seconds = number.checked_mul(unit).ok_or("too long")?;
    Ok(std::time::Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spans_are_read_with_their_units() {
        assert_eq!(parse_bytes("512MB"), Ok(512 << 20));
        assert_eq!(parse_bytes("2g"), Ok(2 << 30));
        assert_eq!(parse_bytes("256"), Ok(256 << 20));
        assert!(parse_bytes("many").is_err() && parse_bytes("5XB").is_err());
        assert_eq!(parse_seconds("5m").map(|span| span.as_secs()), Ok(300));
        assert!(parse_seconds("soon").is_err() && parse_seconds("5").is_err());
    }
}
