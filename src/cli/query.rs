//! `trailhound query`.
//!
//! # Input
//! A lake and SQL, or the name of a shipped query with its parameters.
//! # Maps to
//! Rows, as they come; an exit status.
//! # Known gaps
//! None.
//! # Reference
//! `trailhound help query`.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal, Read, Write},
    path::PathBuf,
    process::ExitCode,
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use anyhow::{Context, bail};
use arrow::array::RecordBatch;
use clap::{Args, builder::FalseyValueParser};
use futures_util::StreamExt;
use indicatif::{HumanBytes, HumanCount, ProgressBar};

use super::interruptible;
use crate::{
    config::{LakeArgs, SizeArgs},
    query::{
        Lake, Limits, engine_error,
        output::{Format, Output, OutputError, with_zone},
    },
};

#[derive(Debug, Args)]
pub(super) struct Query {
    /// SQL, or `-` for SQL from stdin
    #[arg(value_name = "SQL", required_unless_present = "file")]
    sql: Option<String>,
    /// Read the SQL from a file
    #[arg(long, short, env = "TRAILHOUND_FILE", value_name = "FILE", conflicts_with = "sql")]
    file: Option<PathBuf>,
    #[command(flatten)]
    lake: LakeArgs,
    #[command(flatten)]
    size: SizeArgs,
    /// How rows are written: at a terminal a table, else CSV, or what the name of `-o` says
    #[arg(long, env = "TRAILHOUND_FORMAT", value_enum)]
    format: Option<Format>,
    /// Write to a file
    #[arg(long, short, env = "TRAILHOUND_OUTPUT", value_name = "FILE")]
    output: Option<PathBuf>,
    /// Show times in this zone too, beside UTC, such as Europe/Berlin
    #[arg(long, env = "TRAILHOUND_TZ", value_name = "ZONE")]
    tz: Option<String>,
    /// No progress and no summary on stderr
    #[arg(long, short, env = "TRAILHOUND_QUIET", value_parser = FalseyValueParser::new())]
    quiet: bool,
}

impl Query {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let sql = self.text()?;
        let progress = self.progress();
        let done = interruptible(self.answer(&sql, &progress))?;
        progress.finish_and_clear();
        match done {
            Some(code) => code,
            None => Ok(ExitCode::from(130)),
        }
    }

    fn text(&self) -> anyhow::Result<String> {
        if let Some(path) = &self.file {
            return std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()));
        }
        let sql = self.sql.clone().unwrap_or_default();
        if sql != "-" {
            return Ok(sql);
        }
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).context("cannot read SQL from stdin")?;
        Ok(text)
    }

    fn progress(&self) -> ProgressBar {
        if self.quiet || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }

    async fn answer(&self, sql: &str, progress: &ProgressBar) -> anyhow::Result<ExitCode> {
        let limits = Limits { memory: self.size.memory, jobs: self.size.jobs() };
        let lake = Lake::open(&self.lake, limits).await?;
        let plan = lake.plan(sql).await?;
        let mut rows = plan.execute_stream().await.map_err(|error| engine_error(&error))?;
        let head = self.shown(RecordBatch::new_empty(rows.schema()))?;
        let mut output = Output::new(self.format(), &head.schema(), self.to()?)?;
        let mut count = 0;
        let mut closed = false;
        while let Some(batch) = rows.next().await {
            let batch = batch.map_err(|error| engine_error(&error))?;
            count += batch.num_rows();
            let reads = lake.reads();
            progress.set_message(format!(
                "{} of {} files, {} read, {} rows",
                reads.files.load(Relaxed),
                reads.wanted.load(Relaxed),
                HumanBytes(reads.bytes.load(Relaxed)),
                HumanCount(count as u64)
            ));
            let batch = self.shown(batch)?;
            let written = progress.suspend(|| output.write(&batch));
            if is_closed(written)? {
                closed = true;
                break;
            }
        }
        if !closed {
            is_closed(progress.suspend(|| output.finish()))?;
        }
        for (file, why) in lake.damaged() {
            eprintln!("warning: {file} cannot be read and was left out: {why}");
        }
        if !self.quiet && io::stderr().is_terminal() {
            eprintln!(
                "{count} rows; {} of {} files, {} read",
                lake.reads().files.load(Relaxed),
                lake.file_count(),
                HumanBytes(lake.reads().bytes.load(Relaxed))
            );
        }
        Ok(if lake.damaged().is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) })
    }

    fn shown(&self, batch: RecordBatch) -> anyhow::Result<RecordBatch> {
        Ok(match &self.tz {
            Some(zone) => with_zone(&batch, zone)?,
            None => batch,
        })
    }

    fn format(&self) -> Format {
        let of_name = || Format::of(self.output.as_ref()?);
        let is_terminal = self.output.is_none() && io::stdout().is_terminal();
        let default = if is_terminal { Format::Table } else { Format::Csv };
        self.format.or_else(of_name).unwrap_or(default)
    }

    fn to(&self) -> anyhow::Result<Box<dyn Write + Send>> {
        Ok(match &self.output {
            None => Box::new(BufWriter::new(io::stdout())),
            Some(path) => {
                let file = File::create(path);
                Box::new(BufWriter::new(
                    file.with_context(|| format!("cannot write {}", path.display()))?,
                ))
            }
        })
    }
}

/// True if who read the result has gone away, which is no error.
fn is_closed(written: Result<(), OutputError>) -> anyhow::Result<bool> {
    match written {
        Ok(()) => Ok(false),
        Err(error) if error.is_closed_pipe() => Ok(true),
        Err(error) => bail!(error),
    }
}
