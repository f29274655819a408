//! Delivers published files to Amazon Security Lake, each once.
//!
//! # Input
//! Manifests, the files that they name in the lake, and a [`SecurityLake`]: the location, role and
//! external id of each custom source.
//! # Maps to
//! Copies below `<location>/region=<the lake's region>/accountId=…/eventDay=…/`. Security Lake's roles
//! may write and nothing else, so a copy is made by a request that fails if it is there already: a
//! delivery that was killed begins again, and nothing is written twice, replaced or deleted. A manifest
//! of which a class is delivered has a mark in `published/delivered/<class>/`: a source that is added
//! later gets what there was before.
//! # Known gaps
//! The lake of one's own is where events are made unique: it must stay for as long as events come
//! late or again, some days. What was in it before the first delivery is delivered as well.
//! # Reference
//! <https://docs.aws.amazon.com/security-lake/latest/userguide/custom-sources-best-practices.html>,
//! <https://docs.aws.amazon.com/security-lake/latest/userguide/adding-custom-sources.html>.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use parsers::ocsf::CLASSES;
use serde::Deserialize;

use super::{
    PublishError, Publisher,
    manifest::{self, Published},
    report::Files,
};
use crate::store::{Access, Folder, Place, S3, StoreError, scratch};

/// Marks of manifests that are delivered, below the state folder.
const DELIVERED: &str = "published/delivered";

/// Where Security Lake takes custom sources.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecurityLake {
    /// The lake's region, which all partitions are named after.
    pub region: String,
    /// For the uid of each class its custom source.
    pub sources: BTreeMap<i32, CustomSource>,
}

/// A custom source, as Security Lake answers when it is created.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomSource {
    /// `provider.location`: `s3://bucket/ext/name/`.
    pub location: String,
    /// `provider.roleArn`.
    #[serde(default)]
    pub role_arn: Option<String>,
    /// The external id that was given when it was created.
    #[serde(default)]
    pub external_id: Option<String>,
}

impl SecurityLake {
    /// Reads the JSON that describes it. An error says what is wrong.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let lake: Self = serde_json::from_slice(text).map_err(|error| {
            format!(
                "{error}; expected {{\"region\": …, \"sources\": {{\"6003\": {{\"location\": \
                 \"s3://…\", \"role_arn\": …, \"external_id\": …}}, …}}}}"
            )
        })?;
        let is_name = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if lake.region.is_empty() || !lake.region.bytes().all(is_name) {
            return Err(format!("{:?} is no region, such as eu-central-1", lake.region));
        }
        if lake.sources.is_empty() {
            return Err("there are no sources in it".into());
        }
        for (uid, source) in &lake.sources {
            if !CLASSES.iter().any(|class| class.uid == *uid) {
                return Err(format!("there is no class {uid} in the lake"));
            }
            if !source.location.parse::<Place>()?.is_s3() {
                return Err(format!("{:?} is no place in a bucket: s3://…", source.location));
            }
        }
        Ok(lake)
    }
}

impl Publisher<'_> {
    /// Delivers every manifest that is not delivered yet, class by class, oldest first.
    pub(super) async fn deliver(&mut self, to: &SecurityLake) -> Result<(), PublishError> {
        for (uid, source) in &to.sources {
            let folder = format!("{DELIVERED}/{uid}");
            let marks = self.state.list(&folder, None).await?;
            let marks: BTreeSet<String> = marks.into_iter().map(|mark| mark.path).collect();
            let mark = |sequence: u64| format!("{folder}/{sequence:012}");
            let open: Vec<u64> =
                self.history.sequences().filter(|&number| !marks.contains(&mark(number))).collect();
            if open.is_empty() {
                continue;
            }
            let target = open_source(source).await?;
            for sequence in open {
                let Some(manifest) = manifest::read(&self.state, sequence).await? else { continue };
                // What replaces other files has nothing that they did not have.
                let is_new = manifest.replaced.is_empty();
                let of_class = |file: &&Published| is_new && file.class == *uid;
                for file in manifest.files.iter().filter(of_class) {
                    let scratch = scratch()?;
                    let here = scratch.path().join("file.parquet");
                    if self.copy(file, &target, &to.region, &here).await? {
                        self.report.delivered +=
                            Files { count: 1, rows: file.rows, bytes: file.size };
                    }
                }
                self.state.write(&mark(sequence), bytes::Bytes::new()).await?;
            }
        }
        Ok(())
    }

    /// Copies a file, unless it is there already.
    async fn copy(
        &self,
        file: &Published,
        target: &Folder,
        region: &str,
        here: &Path,
    ) -> Result<bool, StoreError> {
        self.lake.download(&file.path, here).await?;
        target.upload_new(&delivered_path(&file.path, region), here).await
    }
}

async fn open_source(source: &CustomSource) -> Result<Folder, PublishError> {
    let access = Access {
        role_arn: source.role_arn.clone(),
        external_id: source.external_id.clone(),
        ..Access::default()
    };
    let place: Place = source.location.parse().map_err(PublishError::Setting)?;
    Ok(Folder::open(&place, &S3::new(access)).await?)
}

/// The path of a file of the lake in the location of its source: the partition of the lake's region,
/// and a name that tells the region of the events.
fn delivered_path(path: &str, region: &str) -> String {
    let mut parts = path.split('/').skip(2);
    let of_events = parts.next().unwrap_or_default().trim_start_matches("region=");
    let rest: Vec<&str> = parts.collect();
    let (name, folders) = rest.split_last().unwrap_or((&"", &[]));
    format!("region={region}/{}/{of_events}-{name}", folders.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivered_file_is_in_the_partition_of_the_lakes_region() {
        let path = "ext/trailhound-6003/region=us-east-1/accountId=111122223333/eventDay=20240501/x.parquet";
        assert_eq!(
            delivered_path(path, "eu-west-1"),
            "region=eu-west-1/accountId=111122223333/eventDay=20240501/us-east-1-x.parquet"
        );
    }

    #[test]
    fn what_describes_a_security_lake_is_checked() {
        let text = br#"{"region": "eu-west-1", "sources": {"6003": {"location": "s3://lake/ext/t-6003/", "role_arn": "arn:aws:iam::1:role/r", "external_id": "x"}}}"#;
        assert_eq!(SecurityLake::parse(text).unwrap().sources.len(), 1);
        for wrong in [&b"{}"[..], br#"{"region": "r", "sources": {"api": {}}}"#, b"[]"] {
            assert!(SecurityLake::parse(wrong).unwrap_err().contains("expected"));
        }
        for wrong in [
            r#"{"region": "r", "sources": {"6003": {"location": "gs://x"}}}"#,
            r#"{"region": "r", "sources": {"6003": {"location": "bucket/x"}}}"#,
            r#"{"region": "r", "sources": {"9999": {"location": "s3://bucket/x"}}}"#,
            r#"{"region": "Mars", "sources": {"6003": {"location": "s3://bucket/x"}}}"#,
            r#"{"region": "r", "sources": {}}"#,
        ] {
            assert!(SecurityLake::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
