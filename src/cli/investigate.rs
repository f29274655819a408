//! `trailhound investigate`.
//!
//! # Input
//! A subject, and a lake or a cluster; or a finding as JSON.
//! # Maps to
//! The answer as text, JSON, HTML or CSV; an exit status.
//! # Known gaps
//! None.
//! # Reference
//! `trailhound help investigate`.

use std::{
    io::{self, Read},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, ensure};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use clap::{Args, ValueEnum, builder::FalseyValueParser};
use indicatif::ProgressBar;

use super::{
    load::parse_time,
    print,
    query::{spinner, tell_damaged, watched},
    until_interrupted,
};
use crate::{
    config::SizeArgs,
    investigate::{
        self, Finding, InvestigateError, Known, MAX_TIME, Report, Subject,
        cluster::ClusterLookup,
        lake::LakeLookup,
        lookup::{Lookup, Range},
        time_text,
    },
    query::{
        Lake, Limits,
        output::{Format, Output},
    },
};

mod place;

use place::Place;

/// How the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people at a terminal
    Text,
    /// One JSON object
    Json,
    /// One page for a browser, with every event
    Html,
    /// The timeline, a call a line
    Csv,
}

#[derive(Debug, Args)]
pub(super) struct Investigate {
    /// Id or ARN of a finding, access key, ARN or name of a user, role or session, address, instance,
    /// interface, bucket or other resource, or id of an event
    #[arg(required_unless_present_any = ["latest_finding", "list_findings", "finding_json"])]
    subject: Option<String>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    size: SizeArgs,
    /// Take the newest finding
    #[arg(
        long,
        env = "TRAILHOUND_LATEST_FINDING",
        value_parser = FalseyValueParser::new(),
        conflicts_with = "subject"
    )]
    latest_finding: bool,
    /// List the findings, newest first
    #[arg(
        long,
        env = "TRAILHOUND_LIST_FINDINGS",
        value_parser = FalseyValueParser::new(),
        conflicts_with = "subject"
    )]
    list_findings: bool,
    /// Take a finding that need not have been loaded yet: a file with its JSON, or `-` for stdin
    #[arg(long, env = "TRAILHOUND_FINDING_JSON", value_name = "FILE", conflicts_with = "subject")]
    finding_json: Option<PathBuf>,
    /// Only what happened at or after this time
    #[arg(long, env = "TRAILHOUND_SINCE", value_name = "TIME", value_parser = parse_time)]
    since: Option<i64>,
    /// Only what happened before this time
    #[arg(long, env = "TRAILHOUND_UNTIL", value_name = "TIME", value_parser = parse_time)]
    until: Option<i64>,
    /// Show the ordinary use of the same keys too
    #[arg(long, env = "TRAILHOUND_INCLUDE_USUAL", value_parser = FalseyValueParser::new())]
    include_usual: bool,
    /// How the answer is written
    #[arg(long, env = "TRAILHOUND_FORMAT", value_enum)]
    format: Option<Form>,
    /// Write to a file
    #[arg(long, short, env = "TRAILHOUND_OUTPUT", value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Investigate {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        until_interrupted(self.answer())?.unwrap_or(Ok(ExitCode::from(130)))
    }

    async fn answer(&self) -> anyhow::Result<ExitCode> {
        let pasted = self.pasted()?;
        let args = match &self.place {
            Place::Lake(args) => args,
            Place::Cluster(args) => {
                let cluster = args.cluster().await?.context("which cluster? give --opensearch")?;
                let lookup = ClusterLookup::open(cluster).await?;
                let (known, progress) = (Known::Nobody(lookup.gaps()), ProgressBar::hidden());
                return self.ask(&lookup, known, pasted, &progress, Vec::new).await;
            }
        };
        let limits = Limits { memory: self.size.memory, jobs: self.size.jobs() };
        let lake = Lake::open(args, limits).await?;
        let known = Known::Ledger(lake.state());
        let damaged = || {
            let all = lake.damaged().into_iter();
            all.map(|(file, why)| format!("{file} cannot be read: {why}")).collect()
        };
        let (lookup, progress) = (LakeLookup::new(&lake), spinner());
        let work = Box::pin(self.ask(&lookup, known, pasted, &progress, damaged));
        let code = watched(&lake, &progress, 0, work).await?;
        lake.log_reads();
        tell_damaged(&lake);
        let is_worse = code == ExitCode::SUCCESS && !lake.damaged().is_empty();
        Ok(if is_worse { ExitCode::from(2) } else { code })
    }

    /// Asks, wherever the events are. `damaged` says then what could not be read.
    async fn ask<L: Lookup>(
        &self,
        lookup: &L,
        known: Known<'_>,
        pasted: Option<Finding>,
        progress: &ProgressBar,
        damaged: impl FnOnce() -> Vec<String>,
    ) -> anyhow::Result<ExitCode>
    where
        InvestigateError: From<L::Error>,
    {
        let until = self.until.map_or(MAX_TIME, |until| until - 1);
        let range = Range { since: self.since.unwrap_or(0), until };
        ensure!(range.since <= range.until, "--since is not before --until");
        if self.list_findings {
            let found = investigate::findings(lookup, range).await;
            progress.finish_and_clear();
            self.list(&found.map_err(InvestigateError::from)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let subject = match (&self.subject, &pasted) {
            (Some(text), _) => {
                Subject::of(text).context("what? give a finding, a key, an address")?
            }
            (None, Some(finding)) => Subject::Finding(finding.uid.clone()),
            (None, None) => {
                let found = investigate::findings(lookup, range).await;
                let found = found.map_err(InvestigateError::from)?;
                let newest = found.first().context("there are no findings")?;
                Subject::Finding(newest.uid.clone())
            }
        };
        let mut report = investigate::investigate(lookup, known, &subject, range, pasted).await?;
        if !self.include_usual {
            report.usual.uses.clear();
        }
        let has_gaps = report.has_gaps();
        for what in damaged() {
            report.add_gap(what);
        }
        progress.finish_and_clear();
        self.write(&report)?;
        Ok(if has_gaps { ExitCode::from(3) } else { ExitCode::SUCCESS })
    }

    fn list(&self, findings: &[Finding]) -> anyhow::Result<()> {
        let mut text = String::new();
        for finding in findings {
            let own = |path: &str| finding.text(path).unwrap_or_default().to_owned();
            let line = [
                time_text(finding.time),
                own("severity"),
                finding.kind().to_owned(),
                finding.account().to_owned(),
                own("cloud.region"),
                finding.id().to_owned(),
            ];
            text += &(line.join("  ") + "\n");
        }
        self.put(text.as_bytes())
    }

    /// The finding that was given, as OCSF.
    fn pasted(&self) -> anyhow::Result<Option<Finding>> {
        let Some(path) = &self.finding_json else { return Ok(None) };
        let mut text = Vec::new();
        if path.as_os_str() == "-" {
            io::stdin().read_to_end(&mut text).context("cannot read the finding from stdin")?;
        } else {
            text =
                std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        }
        let found = investigate::pasted(&text).context(
            "that is no GuardDuty finding: give its JSON as the console, the API or EventBridge has it",
        )?;
        Ok(Some(found))
    }

    fn write(&self, report: &Report) -> anyhow::Result<()> {
        let of_name = || match self.output.as_ref()?.extension()?.to_str()? {
            "json" => Some(Form::Json),
            "html" | "htm" => Some(Form::Html),
            "csv" => Some(Form::Csv),
            _ => None,
        };
        let form = self.format.or_else(of_name).unwrap_or(Form::Text);
        let bytes = match form {
            Form::Text => report.text().into_bytes(),
            Form::Json => serde_json::to_vec_pretty(report).map(|mut bytes| {
                bytes.push(b'\n');
                bytes
            })?,
            Form::Html => report.html().into_bytes(),
            Form::Csv => timeline_csv(report)?,
        };
        self.put(&bytes)
    }

    fn put(&self, bytes: &[u8]) -> anyhow::Result<()> {
        match &self.output {
            Some(path) => std::fs::write(path, bytes)
                .with_context(|| format!("cannot write {}", path.display())),
            None => Ok(print(&String::from_utf8_lossy(bytes))?),
        }
    }
}

/// The timeline, with the same care for spreadsheets as a query's.
fn timeline_csv(report: &Report) -> anyhow::Result<Vec<u8>> {
    let rows = report.timeline.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>()?;
    let names = [
        "time",
        "uid",
        "class",
        "what",
        "who",
        "key",
        "from",
        "account",
        "account_name",
        "region",
        "resource",
        "outcome",
        "stage",
        "why",
        "strength",
        "log_name",
    ];
    let columns = names.map(|name| {
        let cells = rows.iter().map(|row| row[name].as_str());
        (name, Arc::new(cells.collect::<StringArray>()) as ArrayRef)
    });
    let batch = RecordBatch::try_from_iter(columns)?;
    let mut csv = Vec::new();
    let mut output = Output::new(Format::Csv, &batch.schema(), &mut csv)?;
    output.write(&batch)?;
    output.finish()?;
    Ok(csv)
}
