//! `trailhound load`.
//!
//! # Input
//! Its flags.
//! # Maps to
//! A load, and for a lake in a bucket a publish; a summary or a JSON object; an exit status.
//! # Known gaps
//! None.
//! # Reference
//! `trailhound help load`.

use std::process::ExitCode;

use clap::{Args, ValueEnum, builder::FalseyValueParser};
use parsers::{Filter, SOURCES, Source, time};
use serde_json::{Value, json};

use super::{OutputArgs, interruptible, publish::publish, settings};
use crate::{
    config::{LakeArgs, SizeArgs, SourceArgs},
    fill,
    indexing::IndexArgs,
    load::{self, Settings},
    progress::Progress,
    publish, report,
    store::Place,
};

#[derive(Debug, Args)]
pub(super) struct Load {
    /// Files, folders, `s3://bucket/prefix`; what lies below `AWSLogs/` is recognized by its path, the
    /// rest by content
    #[arg(required_unless_present = "only", value_name = "PATH")]
    paths: Vec<Place>,
    /// Write only the index, from the lake: what is pending, and what was loaded without an index;
    /// with --force everything
    #[arg(long, env = "TRAILHOUND_ONLY", conflicts_with = "paths", value_name = "SINK")]
    only: Option<Only>,
    #[command(flatten)]
    lake: LakeArgs,
    /// Read what is not recognized as this source, and leave out other sources
    #[arg(long, env = "TRAILHOUND_SOURCE", value_parser = parse_source)]
    source: Option<&'static Source>,
    /// Only events of this account (repeat, or separate by commas)
    #[arg(long, env = "TRAILHOUND_ACCOUNT", value_delimiter = ',', value_name = "ID")]
    account: Vec<String>,
    /// Only events of this region (repeat, or separate by commas)
    #[arg(long = "region", env = "TRAILHOUND_REGION", value_delimiter = ',', value_name = "NAME")]
    regions: Vec<String>,
    /// Only events from this time on: a date, or a time as in RFC 3339; UTC
    #[arg(long, env = "TRAILHOUND_SINCE", value_parser = parse_time, value_name = "TIME")]
    since: Option<i64>,
    /// Only events before this time
    #[arg(long, env = "TRAILHOUND_UNTIL", value_parser = parse_time, value_name = "TIME")]
    until: Option<i64>,
    #[command(flatten)]
    size: SizeArgs,
    #[command(flatten)]
    sources: SourceArgs,
    #[command(flatten)]
    index: IndexArgs,
    /// Leave the rows of a lake in a bucket in staged files: `publish` merges them later
    #[arg(long, env = "TRAILHOUND_NO_PUBLISH", value_parser = FalseyValueParser::new())]
    no_publish: bool,
    /// Load again what is in the lake already, and replace its files
    #[arg(long, env = "TRAILHOUND_FORCE", value_parser = FalseyValueParser::new())]
    force: bool,
    /// Count objects that no source knows as an error
    #[arg(long, env = "TRAILHOUND_STRICT", value_parser = FalseyValueParser::new())]
    pub(super) strict: bool,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// What is written.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Only {
    /// The index.
    Opensearch,
}

/// What a load has done.
pub(super) struct Done {
    report: report::Report,
    published: Option<publish::Report>,
}

impl Load {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let progress = self.progress();
        let shown = progress.clone();
        let done = interruptible(async {
            let settings = self.settings().await?;
            let done = self.load(&settings, &shown).await?;
            anyhow::Ok((settings, done))
        })?;
        progress.finish();
        let Some(done) = done else { return Ok(ExitCode::from(130)) };
        let (settings, done) = done?;
        self.output.object(|| done.json())?;
        self.tell(&settings, &done)
    }

    pub(super) fn progress(&self) -> Progress {
        if self.output.quiet { Progress::hidden() } else { Progress::start(&self.paths) }
    }

    pub(super) async fn load(
        &self,
        settings: &Settings,
        progress: &Progress,
    ) -> anyhow::Result<Done> {
        if self.only.is_some() {
            let report = Box::pin(fill::fill(settings, progress)).await?;
            return Ok(Done { report, published: None });
        }
        let mut report = Box::pin(load::load(settings, progress)).await?;
        let is_staged = settings.lake.is_s3() && !self.output.dry_run;
        let mut published = None;
        if is_staged && !self.no_publish {
            progress.finish();
            published = Some(Box::pin(publish(&self.lake, &self.size, &self.output)).await?);
        }
        report.staged = is_staged && self.no_publish;
        Ok(Done { report, published })
    }

    /// Tells people what was done.
    pub(super) fn tell(&self, settings: &Settings, done: &Done) -> anyhow::Result<ExitCode> {
        let Done { report, published } = done;
        let publish =
            |what: fn(&publish::Report) -> String| published.as_ref().map(what).unwrap_or_default();
        self.output.summary(
            || report.text(&settings.lake, &settings.state) + &publish(publish::Report::text),
            || report.problems() + &publish(publish::Report::problems),
        )?;
        let code = published.as_ref().map_or(0, publish::Report::exit_code);
        Ok(ExitCode::from(code.max(report.exit_code(self.strict))))
    }

    pub(super) async fn settings(&self) -> anyhow::Result<Settings> {
        let filter = Filter {
            since: self.since.unwrap_or(i64::MIN),
            until: self.until.unwrap_or(i64::MAX),
            accounts: without_empty(&self.account),
            regions: without_empty(&self.regions),
        };
        if filter.since >= filter.until {
            anyhow::bail!("--since must be before --until");
        }
        Ok(Settings {
            paths: self.paths.clone(),
            source: self.source,
            filter,
            force: self.force,
            ..settings(&self.lake, &self.sources, &self.size, &self.index, &self.output).await?
        })
    }
}

impl Done {
    /// For programs.
    pub(super) fn json(&self) -> serde_json::Result<Value> {
        let mut value = serde_json::to_value(&self.report)?;
        if let (Value::Object(members), Some(published)) = (&mut value, &self.published) {
            members.insert("publish".into(), json!(published));
        }
        Ok(value)
    }
}

/// An empty variable asks for nothing in particular.
fn without_empty(list: &[String]) -> Vec<String> {
    list.iter().filter(|one| !one.is_empty()).cloned().collect()
}

fn parse_source(text: &str) -> Result<&'static Source, String> {
    parsers::source(text).ok_or_else(|| {
        let names: Vec<&str> = SOURCES.iter().map(|source| source.name).collect();
        format!("no such source; there are {}", names.join(", "))
    })
}

/// A date or time in milliseconds.
pub(super) fn parse_time(text: &str) -> Result<i64, String> {
    let date = || time::from_text(&format!("{text}T00:00:00Z"));
    time::from_text(text)
        .or_else(date)
        .ok_or_else(|| "expected a date such as 2024-05-01, or 2024-05-01T12:00:00Z".into())
}

#[cfg(test)]
mod tests {
    use parsers::time::DAY_MS;

    use super::*;

    #[test]
    fn times_are_read_in_utc() {
        assert_eq!(parse_time("1970-01-02"), Ok(DAY_MS));
        assert_eq!(parse_time("1970-01-01T00:00:01Z"), Ok(1000));
        assert!(parse_time("yesterday").is_err());
    }
}
