//! What is indexed in OpenSearch, how, and where: flags, and what a lake has fixed.
//!
//! # Input
//! [`IndexArgs`]; `settings/opensearch.json` in the state folder.
//! # Maps to
//! An [`Index`] for batches. The names of indexes are a function of the record: their periods are fixed
//! by the first load that indexes, because another period would send everything to other indexes.
//! # Known gaps
//! None.
//! # Reference
//! Design section 6.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use clap::Args;
use parsers::{
    Indexing, Rule, Rules,
    index::Period,
    ocsf::{self, CLASSES, Class},
};
use serde::{Deserialize, Serialize};

use crate::{
    batch::now_ms,
    budget::{Budget, MIN_BULK_BYTES},
    cluster::{Cluster, ClusterArgs, ClusterError, Trouble},
    config::{SizeArgs, parse_bytes, parse_seconds},
    setup,
    sink::opensearch::Index,
    store::{Folder, StoreError},
};

const SETTINGS: &str = "settings/opensearch.json";

/// What is indexed, how, and where.
#[derive(Clone, Debug, Args)]
pub struct IndexArgs {
    /// Where, and as whom.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Index only this: `CLASS_OR_SOURCE[:ATTRIBUTE=VALUE,ATTRIBUTE!=VALUE]`, such as
    /// `network_activity:disposition=Blocked`; repeat for more, in the variable separate by semicolons.
    /// The lake has everything
    #[arg(
        long,
        env = "TRAILHOUND_INDEX_ONLY",
        value_parser = parse_rule,
        value_delimiter = ';',
        value_name = "RULE"
    )]
    pub index_only: Vec<Rule>,
    /// Do not index this, such as `*:actor.session.issuer=arn:aws:iam::111122223333:role/trailhound`
    #[arg(
        long,
        env = "TRAILHOUND_INDEX_EXCEPT",
        value_parser = parse_rule,
        value_delimiter = ';',
        value_name = "RULE"
    )]
    pub index_except: Vec<Rule>,
    /// Days or months of a class in one index, such as `api_activity=day`; fixed by the first load
    #[arg(
        long,
        env = "TRAILHOUND_INDEX_PERIOD",
        value_parser = parse_period,
        value_delimiter = ',',
        value_name = "CLASS=PERIOD"
    )]
    pub index_period: Vec<(&'static str, Period)>,
    /// Compress what is sent; `false` by default for a cluster on this machine or in this network
    #[arg(long, env = "TRAILHOUND_OPENSEARCH_GZIP", value_name = "BOOL")]
    pub opensearch_gzip: Option<bool>,
    /// Size of a bulk request before it is compressed
    #[arg(
        long,
        env = "TRAILHOUND_OPENSEARCH_BULK_SIZE",
        value_parser = parse_bulk_bytes,
        default_value = "8MB",
        value_name = "SIZE"
    )]
    pub opensearch_bulk_size: usize,
    /// How long a cluster that is down, full or overloaded is waited for, such as `90s` or `5m`; the
    /// lake goes on
    #[arg(
        long,
        env = "TRAILHOUND_OPENSEARCH_WAIT",
        value_parser = parse_seconds,
        default_value = "5m",
        value_name = "TIME"
    )]
    pub opensearch_wait: Duration,
}

impl Default for IndexArgs {
    /// No index.
    fn default() -> Self {
        Self {
            cluster: ClusterArgs::default(),
            index_only: Vec::new(),
            index_except: Vec::new(),
            index_period: Vec::new(),
            opensearch_gzip: None,
            opensearch_bulk_size: 8 << 20,
            opensearch_wait: Duration::from_mins(5),
        }
    }
}

/// A cluster that was asked whether it is ready.
#[derive(Debug)]
pub struct Connected {
    cluster: Cluster,
    /// See [`Cluster::identity`]; none if there is no answer at present.
    identity: Option<String>,
}

/// The index cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The cluster cannot be used.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The settings of the lake cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was asked for is not what the lake has.
    #[error("{0}")]
    Setting(String),
}

/// What a lake has fixed.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Fixed {
    v: u32,
    ocsf: String,
    periods: BTreeMap<String, String>,
}

impl IndexArgs {
    /// Sizes of buffers.
    pub fn budget(&self, size: &SizeArgs) -> Result<Budget, String> {
        if self.cluster.opensearch.as_deref().is_some_and(|url| !url.trim().is_empty()) {
            Budget::with_index(size.memory, size.jobs(), self.opensearch_bulk_size)
        } else if self.index_only.is_empty() && self.index_except.is_empty() {
            size.budget()
        } else {
            Err("--index-only and --index-except say what is indexed, but not where: set \
                 --opensearch"
                .into())
        }
    }

    /// The cluster, if there is one. It is asked whether it is ready before anything is written.
    pub async fn connect(&self) -> Result<Option<Connected>, IndexError> {
        let Some(cluster) = self.cluster.cluster().await? else { return Ok(None) };
        match setup::ready(&cluster).await {
            Ok(identity) => Ok(Some(Connected { cluster, identity: Some(identity) })),
            // The lake goes on, and what is pending is sent later. A name that leads nowhere is wrong.
            Err(error) if error.trouble.passes() && error.trouble != Trouble::Unknown => {
                tracing::warn!(error = error.what, "no index at present");
                Ok(Some(Connected { cluster, identity: None }))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The index of a lake in this cluster.
    pub async fn open(
        &self,
        connected: Connected,
        state: &Folder,
        budget: &Budget,
        dry_run: bool,
    ) -> Result<Arc<Index>, IndexError> {
        let Connected { cluster, identity } = connected;
        let periods = self.periods(state, cluster.is_serverless(), dry_run).await?;
        let rules = Rules { only: self.index_only.clone(), except: self.index_except.clone() };
        let name = rules.name();
        let indexing = Arc::new(Indexing::new(now_ms(), rules, &periods));
        let gzip = self.opensearch_gzip.unwrap_or_else(|| !cluster.is_near());
        Ok(Arc::new(Index::new(
            cluster,
            identity.as_deref(),
            (indexing, name),
            state.clone(),
            gzip,
            budget,
            self.opensearch_wait,
        )))
    }

    /// The periods of this lake: fixed with the first load.
    async fn periods(
        &self,
        state: &Folder,
        serverless: bool,
        dry_run: bool,
    ) -> Result<Vec<(&'static Class, Period)>, IndexError> {
        let asked = |class: &Class| {
            let asked = self.index_period.iter().rev().find(|(name, _)| *name == class.name);
            // The number of indexes of a collection is limited.
            let default = if serverless { Period::Month } else { Period::of(class) };
            asked.map_or(default, |(_, period)| *period)
        };
        let wanted: Vec<_> = CLASSES.iter().map(|&class| (class, asked(class))).collect();
        let fixed = Fixed {
            v: 1,
            ocsf: ocsf::VERSION.into(),
            periods: wanted.iter().map(|(class, p)| (class.name.into(), name(*p).into())).collect(),
        };
        let text = serde_json::to_vec(&fixed).unwrap_or_default();
        let mut known = state.read(SETTINGS).await?;
        // If somebody else has fixed them meanwhile, theirs count.
        if known.is_none() && !dry_run && !state.create(SETTINGS, Bytes::from(text)).await? {
            known = state.read(SETTINGS).await?;
        }
        let Some(text) = known else { return Ok(wanted) };
        let fixed: Fixed = serde_json::from_slice(&text).map_err(|error| {
            IndexError::Setting(format!(
                "{} is damaged, or of a newer version of trailhound: {error}",
                state.name(SETTINGS)
            ))
        })?;
        if fixed.ocsf != ocsf::VERSION {
            return Err(IndexError::Setting(format!(
                "the indexes of this lake are of OCSF {}, this version writes {}",
                fixed.ocsf,
                ocsf::VERSION
            )));
        }
        let mut periods = Vec::new();
        for (class, wanted) in wanted {
            let period = fixed.periods.get(class.name).and_then(|name| period(name));
            let period = period.unwrap_or(wanted);
            if period != wanted && self.index_period.iter().any(|(name, _)| *name == class.name) {
                return Err(IndexError::Setting(format!(
                    "an index of {} holds a {} in this lake ({}): a {} would send every event that \
                     is loaded again to another index",
                    class.name,
                    name(period),
                    state.name(SETTINGS),
                    name(wanted)
                )));
            }
            periods.push((class, period));
        }
        Ok(periods)
    }
}

fn name(period: Period) -> &'static str {
    match period {
        Period::Day => "day",
        Period::Month => "month",
    }
}

fn period(name: &str) -> Option<Period> {
    match name {
        "day" => Some(Period::Day),
        "month" => Some(Period::Month),
        _ => None,
    }
}

fn parse_rule(text: &str) -> Result<Rule, String> {
    Rule::parse(text)
}

/// A smaller one is mostly overhead, and zero bytes are nothing.
fn parse_bulk_bytes(text: &str) -> Result<usize, String> {
    match parse_bytes(text)? {
        bytes if bytes < MIN_BULK_BYTES => Err("at least 64KB".into()),
        bytes => Ok(bytes),
    }
}

fn parse_period(text: &str) -> Result<(&'static str, Period), String> {
    let wrong = || "expected a class and day or month, such as api_activity=day".to_owned();
    let (class, rest) = text.split_once('=').ok_or_else(wrong)?;
    let class = ocsf::class(class.trim()).ok_or_else(wrong)?;
    Ok((class.name, period(rest.trim()).ok_or_else(wrong)?))
}
