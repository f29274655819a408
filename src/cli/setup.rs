//! `trailhound setup`, `trailhound templates`, `trailhound expire`.
//!
//! # Input
//! Their flags.
//! # Maps to
//! A cluster that is made ready, template files, or fewer indexes; a summary or a JSON object; an
//! exit status.
//! # Known gaps
//! None.
//! # Reference
//! `trailhound help setup opensearch`, `trailhound help expire`.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand, builder::FalseyValueParser};
use parsers::ocsf::{CLASSES, Class};

use super::{interruptible, print, schema::parse_class};
use crate::{
    batch::now_ms,
    cluster::{Cluster, ClusterArgs},
    setup::{
        self, Mode, expire,
        lifecycle::Days,
        roles::{Grant, parse_account},
        templates::{self, Sizes},
    },
};

#[derive(Debug, Args)]
pub(super) struct Setup {
    #[command(subcommand)]
    what: Target,
}

#[derive(Debug, Subcommand)]
enum Target {
    /// Install templates, aliases, roles and, if it is wanted, a lifecycle
    ///
    /// What is there already stays; what an earlier version wrote is updated; what somebody changed is
    /// left alone. Exit status: 0 when everything is in place; 2 when something is not; 1 when it could
    /// not start.
    Opensearch(Box<OpenSearch>),
}

#[derive(Debug, Args)]
struct OpenSearch {
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    sizes: SizesArgs,
    /// Let the cluster delete indexes by itself: flow logs after 30 days, the rest after 365
    #[arg(long, env = "TRAILHOUND_LIFECYCLE", value_parser = FalseyValueParser::new())]
    lifecycle: bool,
    /// The same after other times, such as `90d` or `network_activity=14d` (repeat, or separate by
    /// commas)
    #[arg(
        long,
        env = "TRAILHOUND_RETENTION",
        value_parser = parse_retention,
        value_delimiter = ',',
        value_name = "[CLASS=]DAYS"
    )]
    retention: Vec<(Option<&'static Class>, u32)>,
    /// Also a role that sees the events of this account only (repeat, or separate by commas)
    #[arg(
        long,
        env = "TRAILHOUND_ACCOUNT_ROLE",
        value_parser = parse_account,
        value_delimiter = ',',
        value_name = "ACCOUNT"
    )]
    account_role: Vec<String>,
    /// Give a role (writer, reader, or an account) to an IAM ARN or a user (repeat, or separate by
    /// commas)
    #[arg(long, env = "TRAILHOUND_GRANT", value_delimiter = ',', value_name = "ROLE=WHO")]
    grant: Vec<Grant>,
    /// Leave roles to others
    #[arg(long, env = "TRAILHOUND_NO_ROLES", value_parser = FalseyValueParser::new())]
    no_roles: bool,
    /// Tell what would be written, and write nothing
    #[arg(long, env = "TRAILHOUND_DRY_RUN", value_parser = FalseyValueParser::new())]
    dry_run: bool,
    /// Tell what is missing or differs (exit status 2), and write nothing
    #[arg(long, env = "TRAILHOUND_CHECK", value_parser = FalseyValueParser::new())]
    check: bool,
    /// Overwrite what somebody changed, and save it first
    #[arg(long, env = "TRAILHOUND_FORCE", value_parser = FalseyValueParser::new())]
    force: bool,
    /// Where to save what is overwritten
    #[arg(long, env = "TRAILHOUND_BACKUP", default_value = ".", value_name = "FOLDER")]
    backup: PathBuf,
    /// Print the result as one JSON object
    #[arg(long, env = "TRAILHOUND_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// How large indexes are.
#[derive(Debug, Args)]
struct SizesArgs {
    /// Primary shards of each index of a class, such as `network_activity=5`: one for each 100 million
    /// documents of a day (flow logs) or month (the rest), which is 10 GB of flow logs (repeat, or
    /// separate by commas; 1 by default)
    #[arg(
        long,
        env = "TRAILHOUND_SHARDS",
        value_parser = parse_shards,
        value_delimiter = ',',
        value_name = "CLASS=N"
    )]
    shards: Vec<(&'static Class, u32)>,
    /// Replicas of each index (1 by default; 0 for a cluster of one node)
    #[arg(long, env = "TRAILHOUND_REPLICAS", value_name = "N")]
    replicas: Option<u32>,
}

impl SizesArgs {
    fn sizes(&self) -> Sizes {
        let shards = self.shards.iter().map(|(class, count)| (class.name.to_owned(), *count));
        Sizes { replicas: self.replicas, shards: shards.collect(), serverless: false }
    }
}

impl Setup {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Target::Opensearch(args) = self.what;
        let Some(report) = interruptible(args.setup())? else { return Ok(ExitCode::from(130)) };
        let report = report?;
        if args.json {
            print(&(serde_json::to_string(&report)? + "\n"))?;
            eprint!("{}", report.problems());
        } else {
            print(&report.text())?;
        }
        Ok(ExitCode::from(report.exit_code()))
    }
}

impl OpenSearch {
    async fn setup(&self) -> anyhow::Result<setup::Report> {
        let cluster = connect(&self.cluster).await?;
        let mode = match (self.check, self.dry_run, self.force) {
            (true, false, false) => Mode::Check,
            (false, true, false) => Mode::DryRun,
            (false, false, true) => Mode::Force,
            (false, false, false) => Mode::Apply,
            _ => anyhow::bail!("choose one of --check, --dry-run and --force"),
        };
        let settings = setup::Settings {
            sizes: self.sizes.sizes(),
            lifecycle: self.days(),
            roles: !self.no_roles,
            accounts: self.account_role.clone(),
            grants: self.grant.clone(),
            mode,
            backup: self.backup.clone(),
        };
        Ok(setup::setup(&cluster, &settings).await?)
    }

    fn days(&self) -> Option<Days> {
        if !self.lifecycle && self.retention.is_empty() {
            return None;
        }
        // What is said for one class holds for it, wherever it stands.
        let mut retention = self.retention.clone();
        retention.sort_by_key(|(class, _)| class.is_some());
        let mut days = Days::new();
        for (class, count) in retention {
            let classes = class.as_ref().map_or(CLASSES, std::slice::from_ref);
            days.extend(classes.iter().map(|class| (class.name.to_owned(), count)));
        }
        Some(days)
    }
}

async fn connect(args: &ClusterArgs) -> anyhow::Result<Cluster> {
    let cluster = args.cluster().await?;
    cluster.ok_or_else(|| anyhow::anyhow!("which cluster? set --opensearch"))
}

/// Writes the template files.
#[derive(Debug, Args)]
pub(super) struct Templates {
    /// The folder, made if it is missing
    #[arg(long, env = "TRAILHOUND_OUT", value_name = "FOLDER")]
    out: PathBuf,
    #[command(flatten)]
    sizes: SizesArgs,
}

impl Templates {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        for (name, text) in templates::files(&self.sizes.sizes()) {
            let path = self.out.join(name);
            let write = || {
                std::fs::create_dir_all(path.parent().unwrap_or(&self.out))?;
                std::fs::write(&path, text)
            };
            write().map_err(|error| anyhow::anyhow!("cannot write {}: {error}", path.display()))?;
            print(&format!("{}\n", path.display()))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Debug, Args)]
pub(super) struct Expire {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Age of an index's last event in whole days, such as `90d`
    #[arg(
        long,
        env = "TRAILHOUND_OLDER_THAN",
        value_parser = parse_days,
        value_name = "DAYS"
    )]
    older_than: u32,
    /// Only indexes of this class (repeat, or separate by commas)
    #[arg(
        long,
        env = "TRAILHOUND_CLASS",
        value_parser = parse_class,
        value_delimiter = ',',
        value_name = "CLASS"
    )]
    class: Vec<&'static Class>,
    /// Delete; without it nothing is
    #[arg(long)]
    yes: bool,
    /// Print the result as one JSON object
    #[arg(long, env = "TRAILHOUND_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

impl Expire {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let settings = expire::Settings {
            older_than_days: self.older_than,
            classes: self.class.clone(),
            delete: self.yes,
        };
        let done = interruptible(async {
            let cluster = connect(&self.cluster).await?;
            anyhow::Ok(expire::expire(&cluster, &settings, now_ms()).await?)
        })?;
        let Some(report) = done else { return Ok(ExitCode::from(130)) };
        let report = report?;
        if self.json {
            print(&(serde_json::to_string(&report)? + "\n"))?;
            eprint!("{}", report.problems());
        } else {
            print(&report.text())?;
        }
        Ok(ExitCode::from(report.exit_code()))
    }
}

fn parse_shards(text: &str) -> Result<(&'static Class, u32), String> {
    let (class, count) = text.split_once('=').ok_or("expected such as network_activity=5")?;
    match count.parse() {
        Ok(count @ 1..=1024) => Ok((parse_class(class)?, count)),
        _ => Err("expected a number of shards from 1 to 1024".into()),
    }
}

fn parse_retention(text: &str) -> Result<(Option<&'static Class>, u32), String> {
    match text.split_once('=') {
        Some((class, days)) => Ok((Some(parse_class(class)?), parse_days(days)?)),
        None => Ok((None, parse_days(text)?)),
    }
}

/// Whole days with their unit: a bare number would be seconds elsewhere.
fn parse_days(text: &str) -> Result<u32, String> {
    match text.strip_suffix('d').map(str::parse) {
        Some(Ok(days @ 1..=36_500)) => Ok(days),
        _ => Err("expected whole days such as 90d".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_whole_and_have_their_unit() {
        assert_eq!(parse_days("90d"), Ok(90));
        for bad in ["90", "0d", "d", "-1d", "1.5d", "90h", ""] {
            assert!(parse_days(bad).is_err(), "{bad}");
        }
    }
}
