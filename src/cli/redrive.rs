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
use parsers::{
    Accounts,
    time::{self, DAY_MS},
};

use super::{interruptible, load, print};
use crate::{
    config::{LakeArgs, SizeArgs, SourceArgs},
    inflate::Caps,
    load::Settings,
    progress::Progress,
    publish,
    redrive::{self, Days, NO_FILTER},
    store::S3,
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
    /// Also objects that are damaged: a newer version may know more of them
    #[arg(long, env = "TRAILHOUND_FORCE", value_parser = FalseyValueParser::new())]
    force: bool,
    /// Leave new rows in staged files: `publish` merges them later
    #[arg(long, env = "TRAILHOUND_NO_PUBLISH", value_parser = FalseyValueParser::new())]
    no_publish: bool,
    /// Tell what would be loaded again, and write nothing
    #[arg(long, env = "TRAILHOUND_DRY_RUN", value_parser = FalseyValueParser::new())]
    dry_run: bool,
    /// Print the result as one JSON object
    #[arg(long, env = "TRAILHOUND_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
    /// No summary
    #[arg(long, short, env = "TRAILHOUND_QUIET", value_parser = FalseyValueParser::new())]
    quiet: bool,
}

impl Redrive {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let done = interruptible(async {
            let accounts = self.sources.accounts(&S3::new(self.lake.access())).await;
            let settings = self.settings(accounts.map_err(anyhow::Error::msg)?)?;
            let days = Days { since: self.since.clone(), until: self.until.clone() };
            let progress = Progress::hidden();
            let report = Box::pin(redrive::redrive(&settings, &days, &progress)).await?;
            let publishes = report.staged && !self.no_publish && !self.dry_run;
            let published =
                if publishes { Some(load::publish(&settings, &self.size).await?) } else { None };
            anyhow::Ok((settings, report, published))
        })?;
        let Some(done) = done else { return Ok(ExitCode::from(130)) };
        let (settings, report, published) = done?;
        if self.json {
            let mut value = serde_json::to_value(&report)?;
            if let Some(published) = &published {
                value["publish"] = serde_json::to_value(published)?;
            }
            print(&(value.to_string() + "\n"))?;
        } else if !self.quiet {
            let (found, rejected) = (report.found, report.rejected_before);
            print(&format!("found     {found} objects, with {rejected} records in the rejects\n"))?;
            if report.decoded_lines > 0 {
                let count = report.decoded_lines;
                print(&format!("decoded   {count} records from their lines in the rejects\n"))?;
            }
            if found > report.left.count() || report.decoded_lines > 0 {
                print(&report.load.text(&settings.lake, &settings.state))?;
            }
            print(&published.as_ref().map(publish::Report::text).unwrap_or_default())?;
        }
        eprint!("{}", report.problems());
        if self.json || self.quiet {
            eprint!("{}", report.load.problems());
            eprint!("{}", published.as_ref().map(publish::Report::problems).unwrap_or_default());
        }
        let code = published.as_ref().map_or(0, publish::Report::exit_code);
        Ok(ExitCode::from(code.max(report.exit_code())))
    }

    fn settings(&self, accounts: std::sync::Arc<Accounts>) -> anyhow::Result<Settings> {
        Ok(Settings {
            accounts,
            paths: Vec::new(),
            state: self.lake.state(),
            lake: self.lake.lake.clone(),
            source_access: self.sources.access(),
            lake_access: self.lake.access(),
            source: None,
            filter: NO_FILTER,
            budget: self.size.budget().map_err(anyhow::Error::msg)?,
            caps: Caps::default(),
            force: self.force,
            dry_run: self.dry_run,
        })
    }
}

/// A day as the ledger names it.
fn parse_day(text: &str) -> Result<String, String> {
    let day = time::from_text(&format!("{text}T00:00:00Z")).map(|ms| ms.div_euclid(DAY_MS));
    let day = day.and_then(|day| i32::try_from(day).ok()).map(time::compact_day);
    day.ok_or_else(|| "expected a day such as 2024-05-01".into())
}
