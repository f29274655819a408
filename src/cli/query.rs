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
    pin::pin,
    process::ExitCode,
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use anyhow::{Context, bail};
use arrow::array::RecordBatch;
use clap::{Args, ValueEnum, builder::FalseyValueParser};
use datafusion::execution::SendableRecordBatchStream;
use futures_util::StreamExt;
use indicatif::{HumanBytes, HumanCount, ProgressBar};

use super::{print, tell, until_interrupted};
use crate::{
    config::{LakeArgs, SizeArgs},
    query::{
        Lake, Limits, engine_error, library,
        output::{Format, Output, OutputError, with_zone},
    },
};

mod parameters;

use parameters::Parameters;

/// Whose SQL it is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Dialect {
    /// Run it here
    Datafusion,
    /// Print it for Athena or Trino, with the view `events` in front of it
    Athena,
}

#[derive(Debug, Args)]
#[command(mut_arg("lake", |lake| lake.required(false)))]
pub(super) struct Query {
    /// SQL, `-` for SQL from stdin, or `@NAME` for a shipped query
    #[arg(value_name = "SQL", required_unless_present_any = ["file", "list"])]
    sql: Option<String>,
    /// List the shipped queries, or show the one that is named
    #[arg(long, env = "TRAILHOUND_LIST", value_parser = FalseyValueParser::new())]
    list: bool,
    /// Run the query here, or print it for Athena
    #[arg(long, env = "TRAILHOUND_DIALECT", value_enum)]
    dialect: Option<Dialect>,
    /// Read the SQL from a file
    #[arg(long, short, env = "TRAILHOUND_FILE", value_name = "FILE", conflicts_with = "sql")]
    file: Option<PathBuf>,
    #[command(flatten)]
    lake: Option<LakeArgs>,
    #[command(flatten)]
    parameters: Parameters,
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
        if self.list {
            return self.show();
        }
        let sql = self.text()?;
        if self.dialect == Some(Dialect::Athena) {
            return self.print(&library::for_athena(&sql)?);
        }
        let progress = if self.quiet { ProgressBar::hidden() } else { spinner() };
        let done = until_interrupted(self.answer(&sql, &progress))?;
        progress.finish_and_clear();
        match done {
            Some(code) => code,
            None => Ok(ExitCode::from(130)),
        }
    }

    /// The shipped queries, or one of them.
    fn show(&self) -> anyhow::Result<ExitCode> {
        let one = self.sql.as_deref().map(library::shipped).transpose()?;
        let text = match (self.format, one) {
            (Some(Format::Json), one) => format!("{}\n", library::list_json(one)),
            (Some(Format::Csv | Format::Parquet), _) => {
                bail!("--list is text or JSON: use --format json, or none");
            }
            (_, None) => library::list(),
            (_, Some(query)) => format!("-- @{}\n{}", query.name, query.text),
        };
        self.print(&text)
    }

    fn print(&self, text: &str) -> anyhow::Result<ExitCode> {
        match &self.output {
            None => print(text)?,
            Some(path) => std::fs::write(path, text)
                .with_context(|| format!("cannot write {}", path.display()))?,
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The SQL, with the parameters in place.
    fn text(&self) -> anyhow::Result<String> {
        let given = self.parameters.given();
        let sql = self.source()?;
        Ok(match sql.strip_prefix('@') {
            Some(name) => library::shipped(name.trim_end())?.fill(&given)?,
            None => library::fill_plain(&sql, &given)?,
        })
    }

    fn source(&self) -> anyhow::Result<String> {
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

    async fn answer(&self, sql: &str, progress: &ProgressBar) -> anyhow::Result<ExitCode> {
        let limits = Limits { memory: self.size.memory, jobs: self.size.jobs() };
        let Some(lake) = &self.lake else { bail!("which lake is to be asked? give --lake") };
        let lake = Lake::open(lake, limits).await?;
        let mut rows = watched(&lake, progress, 0, execute(&lake, sql)).await?;
        let mut next = watched(&lake, progress, 0, rows.next()).await;
        // Nothing is written yet: what is damaged can be left out.
        if matches!(next, Some(Err(_))) && lake.leaves_out_damaged().await {
            rows = execute(&lake, sql).await?;
            next = rows.next().await;
        }
        let head = self.shown(RecordBatch::new_empty(rows.schema()))?;
        let mut output = None;
        let mut count = 0;
        let mut closed = false;
        while let Some(batch) = next {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    lake.leaves_out_damaged().await;
                    tell_damaged(&lake);
                    bail!("{}; what was written is not all", engine_error(&error));
                }
            };
            count += batch.num_rows();
            let batch = self.shown(batch)?;
            let output = match &mut output {
                Some(output) => output,
                none => none.insert(Output::new(self.format(), &head.schema(), self.to()?)?),
            };
            let written = progress.suspend(|| output.write(&batch));
            if is_closed(written)? {
                closed = true;
                break;
            }
            next = watched(&lake, progress, count, rows.next()).await;
        }
        let output = match output {
            Some(output) => output,
            None => Output::new(self.format(), &head.schema(), self.to()?)?,
        };
        if !closed {
            is_closed(progress.suspend(|| output.finish()))?;
        }
        lake.log_reads();
        tell_damaged(&lake);
        // The limit of a shipped query is not the asker's.
        let is_shipped = self.sql.as_ref().is_some_and(|sql| sql.starts_with('@'));
        let limit = sql.rsplit_once("LIMIT ").map(|(_, limit)| limit.trim());
        if is_shipped && !self.quiet && limit == Some(count.to_string().as_str()) {
            tell(&format!("{count} rows are the limit, there may be more: --limit sets another"));
        }
        if !self.quiet && io::stderr().is_terminal() {
            tell(&format!(
                "{count} rows; {} of {} files, {} read",
                (lake.reads().files.load(Relaxed)).min(lake.file_count() as u64),
                lake.file_count(),
                HumanBytes(lake.reads().bytes.load(Relaxed))
            ));
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

async fn execute(lake: &Lake, sql: &str) -> anyhow::Result<SendableRecordBatchStream> {
    let rows = lake.plan(sql).await?.execute_stream().await;
    Ok(rows.map_err(|error| engine_error(&error))?)
}

/// What is shown while something takes its time, at a terminal.
pub(super) fn spinner() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(TICK);
    bar
}

const TICK: Duration = Duration::from_millis(200);

/// Waits for something, and shows meanwhile what is read; there are so many rows so far.
pub(super) async fn watched<R>(
    lake: &Lake,
    progress: &ProgressBar,
    rows: usize,
    work: impl Future<Output = R>,
) -> R {
    let mut work = pin!(work);
    loop {
        let reads = lake.reads();
        let (files, bytes) = (reads.files.load(Relaxed), reads.bytes.load(Relaxed));
        let rows = HumanCount(rows as u64);
        progress.set_message(format!("{files} files, {} read, {rows} rows", HumanBytes(bytes)));
        tokio::select! {
            result = &mut work => return result,
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

/// Names the files that were left out.
pub(super) fn tell_damaged(lake: &Lake) {
    for (file, why) in lake.damaged() {
        tell(&format!("warning: {file} cannot be read and was left out: {why}"));
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
