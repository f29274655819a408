//! `trailhound redrive`.
//!
//! # Input
//! Its flags.
//! # Maps to
//! A redrive, and a publish of what it staged; a summary or a JSON object; an exit status.
//! # Known gaps
//! None.
//! # Reference
//! `trailhound help redrive`.

use std::process::ExitCode;

use clap::{Args, builder::FalseyValueParser};
use parsers::time::{self, DAY_MS};

use super::{OutputArgs, interruptible, publish::publish, settings};
use crate::{
    config::{LakeArgs, SizeArgs, SourceArgs},
    indexing::IndexArgs,
    load::Settings,
    progress::Progress,
    publish,
    redrive::{self, Days, NO_FILTER},
};

#[derive(Debug, Args)]
pub(super) struct Redrive {
    #[command(flatten)]
    lake: LakeArgs,
    /// Only what was delivered on this day or later, such as 2024-05-01
    #[arg(long, env = "TRAILHOUND_SINCE", value_parser = parse_day, value_name = "DAY")]
    since: Option<String>,
    /// Only what was delivered on this day or before
    #[arg(long, env = "TRAILHOUND_UNTIL", value_parser = parse_day, value_name = "DAY")]
    until: Option<String>,
    #[command(flatten)]
    size: SizeArgs,
    #[command(flatten)]
    sources: SourceArgs,
    #[command(flatten)]
    index: IndexArgs,
    /// Also objects that are damaged: a newer version may know more of them
    #[arg(long, env = "TRAILHOUND_FORCE", value_parser = FalseyValueParser::new())]
    force: bool,
    /// Leave new rows in staged files: `publish` merges them later
    #[arg(long, env = "TRAILHOUND_NO_PUBLISH", value_parser = FalseyValueParser::new())]
    no_publish: bool,
    #[command(flatten)]
    output: OutputArgs,
}

impl Redrive {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let done = interruptible(async {
            let settings = Settings {
                filter: NO_FILTER,
                force: self.force,
                ..settings(&self.lake, &self.sources, &self.size, &self.index, &self.output).await?
            };
            let days = Days { since: self.since.clone(), until: self.until.clone() };
            let progress = Progress::hidden();
            let mut report = Box::pin(redrive::redrive(&settings, &days, &progress)).await?;
            let mut published = None;
            if report.staged && !self.no_publish {
                published = Some(publish(&self.lake, &self.size, &self.output).await?);
            }
            report.load.staged = report.staged && self.no_publish;
            anyhow::Ok((settings, report, published))
        })?;
        let Some(done) = done else { return Ok(ExitCode::from(130)) };
        let (settings, report, published) = done?;
        self.output.object(|| {
            let mut value = serde_json::to_value(&report)?;
            if let Some(published) = &published {
                value["publish"] = serde_json::to_value(published)?;
            }
            Ok(value)
        })?;
        let publish =
            |what: fn(&publish::Report) -> String| published.as_ref().map(what).unwrap_or_default();
        self.output.summary(
            || report.text(&settings.lake, &settings.state) + &publish(publish::Report::text),
            || report.load.problems() + &publish(publish::Report::problems),
        )?;
        eprint!("{}", report.problems());
        let code = published.as_ref().map_or(0, publish::Report::exit_code);
        Ok(ExitCode::from(code.max(report.exit_code())))
    }
}

/// A day as the ledger names it.
fn parse_day(text: &str) -> Result<String, String> {
    let day = time::from_text(&format!("{text}T00:00:00Z")).map(|ms| ms.div_euclid(DAY_MS));
    let day = day.and_then(|day| i32::try_from(day).ok()).map(time::compact_day);
    day.ok_or_else(|| "expected a day such as 2024-05-01".into())
}
