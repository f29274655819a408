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

use clap::Args;

use super::{OutputArgs, interruptible};
use crate::{
    config::{LakeArgs, SizeArgs, parse_seconds},
    progress::Progress,
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
    #[command(flatten)]
    output: OutputArgs,
}

/// Merges what a load has staged.
pub(super) async fn publish(
    lake: &LakeArgs,
    size: &SizeArgs,
    output: &OutputArgs,
) -> Result<publish::Report, publish::PublishError> {
    let progress = progress(output);
    let report = publish::publish(&Settings::new(lake, size), &progress).await;
    progress.finish();
    report
}

fn progress(output: &OutputArgs) -> Progress {
    if output.quiet { Progress::hidden() } else { Progress::of_bytes() }
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
            grace: self.grace,
            security_lake,
            dry_run: self.output.dry_run,
            must_exist: true,
            ..Settings::new(&self.lake, &self.size)
        };
        let progress = progress(&self.output);
        let report = interruptible(publish::publish(&settings, &progress))?;
        progress.finish();
        let Some(report) = report else { return Ok(ExitCode::from(130)) };
        let report = report?;
        self.output.object(|| serde_json::to_value(&report))?;
        self.output.summary(|| report.text(), || report.problems())?;
        Ok(ExitCode::from(report.exit_code()))
    }
}
