//! Which files of a lake a query may have to read.
//!
//! # Input
//! What is visible of a lake, see [`visible`].
//! # Maps to
//! [`LakeFile`]s by class, each with its partition if it has one.
//! # Known gaps
//! The whole lake is listed, once for each run.
//! # Reference
//! Design section 6.

use std::{cmp::Ordering, sync::Arc};

use parsers::ocsf::Class;

use crate::{
    publish::{
        manifest::HistoryError,
        visible::{Visible, published_class, visible},
    },
    store::Folder,
};

/// A file of the lake, or of the state folder.
#[derive(Debug, PartialEq, Eq)]
pub struct LakeFile {
    /// Path below its folder.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// Uid of its class.
    pub class: i32,
    /// Of the published lake; a staged file has rows of many.
    pub partition: Option<PartitionName>,
}

/// A partition as its folders name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartitionName {
    /// `region`.
    pub region: String,
    /// `accountId`.
    pub account: String,
    /// `eventDay`, such as `20250310`.
    pub day: String,
}

/// Names of the partition columns, as Athena has them.
pub const PARTITION_COLUMNS: [&str; 3] = ["region", "accountid", "eventday"];

impl PartitionName {
    /// Values of the [`PARTITION_COLUMNS`].
    pub fn values(&self) -> [&str; 3] {
        [&self.region, &self.account, &self.day]
    }

    fn of(path: &str) -> Option<Self> {
        let mut names = Self { region: String::new(), account: String::new(), day: String::new() };
        for part in path.split('/') {
            match part.split_once('=') {
                Some(("region", region)) => region.clone_into(&mut names.region),
                Some(("accountId", account)) => account.clone_into(&mut names.account),
                Some(("eventDay", day)) => day.clone_into(&mut names.day),
                _ => {}
            }
        }
        (!names.day.is_empty()).then_some(names)
    }
}

impl PartialOrd for LakeFile {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Partition by partition, staged files last.
impl Ord for LakeFile {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |file: &Self| file.partition.is_none();
        key(self)
            .cmp(&key(other))
            .then_with(|| self.partition.cmp(&other.partition))
            .then_with(|| self.path.cmp(&other.path))
    }
}

/// The files of a lake.
#[derive(Clone, Debug, Default)]
pub struct LakeFiles(Arc<Vec<Arc<LakeFile>>>);

impl LakeFiles {
    /// Lists what is visible now.
    pub async fn list(lake: &Folder, state: &Folder) -> Result<Self, HistoryError> {
        let Visible { published, staged } = visible(lake, state).await?;
        let published = published.into_iter().filter_map(|file| {
            Some(LakeFile {
                class: published_class(&file.path)?.uid,
                partition: Some(PartitionName::of(&file.path)?),
                path: file.path,
                size: file.size,
            })
        });
        let staged = staged.into_iter().map(|staged| LakeFile {
            class: staged.class,
            partition: None,
            path: staged.file.path,
            size: staged.file.size,
        });
        let mut files: Vec<_> = published.chain(staged).map(Arc::new).collect();
        files.sort();
        Ok(Self(Arc::new(files)))
    }

    /// Those of a class.
    pub fn of(&self, class: &Class) -> impl Iterator<Item = &Arc<LakeFile>> {
        self.0.iter().filter(|file| file.class == class.uid)
    }

    /// All of them.
    pub fn all(&self) -> &[Arc<LakeFile>] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_class_and_partition() {
        let path = "ext/trailhound-6003/region=eu-west-1/accountId=012345678901/eventDay=20250310/a-00000.parquet";
        assert_eq!(published_class(path).map(|class| class.name), Some("api_activity"));
        let partition = PartitionName::of(path).unwrap();
        assert_eq!(partition.values(), ["eu-west-1", "012345678901", "20250310"]);
        assert_eq!(PartitionName::of("ext/trailhound-6003/x.parquet"), None);
    }
}
