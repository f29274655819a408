//! `trailhound publish`.
//!
//! # Input
//! Its flags.
//! # Maps to
//! A publish; a summary or a JSON object; an exit status.
//! # Known gaps
//! None.
//! # Reference
//! `trailhound help publish`.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, builder::FalseyValueParser};

use super::{interruptible, print};
use crate::{
    config::{LakeArgs, SizeArgs, parse_seconds},
    publish::{self, Settings, deliver::SecurityLake},
};

#[derive(Debug, Args)]
pub(super) struct Publish {
    #[command(flatten)]
    lake: LakeArgs,
    #[command(flatten)]
    size: SizeArgs,
    /// Keep staged files for so long after they were merged, for readers that are about to read them
    #[arg(
        long,
        env = "TRAILHOUND_GRACE",
        value_parser = parse_seconds,
        default_value = "1h",
        value_name = "TIME"
    )]
    grace: Duration,
    /// Deliver what is published to Amazon Security Lake as well: a JSON file with its region, and the
    /// location, role and external id of each custom source
    #[arg(long, env = "TRAILHOUND_SECURITY_LAKE", value_name = "FILE")]
    security_lake: Option<PathBuf>,
    /// Tell what would be merged, and write nothing
    #[arg(long, env = "TRAILHOUND_DRY_RUN", value_parser = FalseyValueParser::new())]
    dry_run: bool,
    /// Print the result as one JSON object
    #[arg(long, env = "TRAILHOUND_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
    /// No summary
    #[arg(long, short, env = "TRAILHOUND_QUIET", value_parser = FalseyValueParser::new())]
    quiet: bool,
}

impl Publish {
    fn security_lake(&self) -> anyhow::Result<Option<SecurityLake>> {
        let Some(path) = &self.security_lake else { return Ok(None) };
        let text = std::fs::read(path).map_err(|error| error.to_string());
        let lake = text.and_then(|text| SecurityLake::parse(&text));
        lake.map(Some).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
    }

    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let security_lake = self.security_lake()?;
        let settings = Settings {
            state: self.lake.state(),
            lake_access: self.lake.access(),
            lake: self.lake.lake,
            memory_bytes: self.size.memory,
            jobs: self.size.jobs(),
            grace: self.grace,
            security_lake,
            dry_run: self.dry_run,
        };
        let Some(report) = interruptible(publish::publish(&settings))? else {
            return Ok(ExitCode::from(130));
        };
        let report = report?;
        if self.json {
            print(&(serde_json::to_string(&report)? + "\n"))?;
        } else if !self.quiet {
            print(&report.text())?;
        }
        if self.json || self.quiet {
            eprint!("{}", report.problems());
        }
        Ok(ExitCode::from(report.exit_code()))
    }
}
