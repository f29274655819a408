//! The command line: one table of flags, each also an environment variable.
//!
//! # Input
//! Arguments and `TRAILHOUND_*` variables.
//! # Maps to
//! Validated settings, and the commands that run with them.
//! # Known gaps
//! None.
//! # Reference
//! `trailhound help`.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    process::ExitCode,
};

use arrow::datatypes::{DataType, Field};
use clap::{Args, Parser, Subcommand, builder::FalseyValueParser};
use parsers::{
    Filter, SOURCES, Source,
    ocsf::{self, CLASSES, Class},
    time,
};

use crate::{
    config::{LakeArgs, SizeArgs, SourceArgs},
    inflate::Caps,
    load::{self, Settings},
    progress::Progress,
    store::{Place, S3},
    worker::{self, WorkerArgs},
};

/// Loads AWS security logs into an OCSF lake, with every record accounted for.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Load log files, as AWS lays them out in S3, into a lake
    ///
    /// Exit status: 0 when everything is loaded; 2 when an object failed or a record was rejected;
    /// 1 when the load could not start.
    Load(Box<Load>),
    /// Load what S3 events in a queue name, until it is told to end
    ///
    /// Writes staged files, which `publish` merges into the lake.
    Worker(Box<WorkerArgs>),
    /// List the log sources
    Sources {
        /// Also what of each source is mapped, to what, and the known gaps
        #[arg(long)]
        kinds: bool,
    },
    /// Print the Arrow schema of an OCSF class
    Schema {
        /// The class, such as `api_activity`
        #[arg(value_parser = parse_class)]
        class: &'static Class,
    },
}

#[derive(Debug, Args)]
struct Load {
    /// Files, folders, `s3://bucket/prefix`; what lies below `AWSLogs/` is recognized by its path, the
    /// rest by content
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<Place>,
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
    /// Load again what is in the lake already, and replace its files
    #[arg(long, env = "TRAILHOUND_FORCE", value_parser = FalseyValueParser::new())]
    force: bool,
    /// Count objects that no source knows as an error
    #[arg(long, env = "TRAILHOUND_STRICT", value_parser = FalseyValueParser::new())]
    strict: bool,
    /// Tell what would be loaded, and write nothing
    #[arg(long, env = "TRAILHOUND_DRY_RUN", value_parser = FalseyValueParser::new())]
    dry_run: bool,
    /// Print the result as one JSON object
    #[arg(long, env = "TRAILHOUND_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
    /// No progress bar and no summary
    #[arg(long, short, env = "TRAILHOUND_QUIET", value_parser = FalseyValueParser::new())]
    quiet: bool,
}

impl Cli {
    /// True for what runs until it is told to end.
    pub fn is_service(&self) -> bool {
        matches!(self.command, Command::Worker(_))
    }

    /// Runs the command.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Load(args) => args.run(),
            Command::Worker(args) => {
                runtime()?.block_on(worker::work(&args))?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Sources { kinds } => {
                let mut out = String::new();
                for source in SOURCES {
                    writeln!(out, "{:<12} {}", source.name, source.title)?;
                    writeln!(out, "{:<12} -> {}", "", source.classes.join(", "))?;
                    if kinds {
                        writeln!(out, "\n{}", source.kinds)?;
                    }
                }
                print(&out)?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Schema { class } => {
                let mut out = String::new();
                for field in class.schema().fields() {
                    describe(field, 0, &mut out)?;
                }
                print(&out)?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(16)
        .enable_all()
        .build()
}

/// Prints a result. A reader that has gone away, such as `head`, is no error.
fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

fn describe(field: &Field, level: usize, out: &mut String) -> std::fmt::Result {
    let (name, indent) = (field.name(), "  ".repeat(level));
    match field.data_type() {
        DataType::Struct(fields) => {
            writeln!(out, "{indent}{name}: struct")?;
            fields.iter().try_for_each(|field| describe(field, level + 1, out))
        }
        DataType::List(element) => {
            writeln!(out, "{indent}{name}: list")?;
            describe(element, level + 1, out)
        }
        DataType::Map(..) => writeln!(out, "{indent}{name}: map of Utf8 to Utf8"),
        kind => writeln!(out, "{indent}{name}: {kind}"),
    }
}

impl Load {
    fn run(self) -> anyhow::Result<ExitCode> {
        let progress = if self.quiet { Progress::hidden() } else { Progress::start(&self.paths) };
        let (json, strict, quiet) = (self.json, self.strict, self.quiet);
        let runtime = runtime()?;
        let settings = runtime.block_on(self.settings())?;
        let result = runtime.block_on(async {
            tokio::select! {
                biased;
                _ = tokio::signal::ctrl_c() => None,
                result = load::load(&settings, &progress) => Some(result),
            }
        });
        progress.finish();
        // Threads that still encode are not waited for: their files are not committed.
        runtime.shutdown_background();
        let Some(report) = result else {
            eprintln!("interrupted; what was committed is in the lake, run it again for the rest");
            return Ok(ExitCode::from(130));
        };
        let report = report?;
        if json {
            print(&(serde_json::to_string(&report)? + "\n"))?;
        } else if !quiet {
            print(&report.text(&settings.lake, &settings.state))?;
        }
        if json || quiet {
            eprint!("{}", report.problems());
        }
        Ok(ExitCode::from(report.exit_code(strict)))
    }

    async fn settings(self) -> anyhow::Result<Settings> {
        let filter = Filter {
            since: self.since.unwrap_or(i64::MIN),
            until: self.until.unwrap_or(i64::MAX),
            accounts: without_empty(self.account),
            regions: without_empty(self.regions),
        };
        if filter.since >= filter.until {
            anyhow::bail!("--since must be before --until");
        }
        let lake_access = self.lake.access();
        let accounts = self.sources.accounts(&S3::new(lake_access.clone())).await;
        Ok(Settings {
            accounts: accounts.map_err(anyhow::Error::msg)?,
            paths: self.paths,
            state: self.lake.state(),
            lake: self.lake.lake,
            source_access: self.sources.access(),
            lake_access,
            source: self.source,
            filter,
            budget: self.size.budget().map_err(anyhow::Error::msg)?,
            caps: Caps::default(),
            force: self.force,
            dry_run: self.dry_run,
        })
    }
}

/// An empty variable asks for nothing in particular.
fn without_empty(mut list: Vec<String>) -> Vec<String> {
    list.retain(|one| !one.is_empty());
    list
}

fn parse_class(text: &str) -> Result<&'static Class, String> {
    ocsf::class(text).ok_or_else(|| {
        let names: Vec<&str> = CLASSES.iter().map(|class| class.name).collect();
        format!("no such class; there are {}", names.join(", "))
    })
}

fn parse_source(text: &str) -> Result<&'static Source, String> {
    parsers::source(text).ok_or_else(|| {
        let names: Vec<&str> = SOURCES.iter().map(|source| source.name).collect();
        format!("no such source; there are {}", names.join(", "))
    })
}

/// A date or time in milliseconds.
fn parse_time(text: &str) -> Result<i64, String> {
    let date = || time::from_text(&format!("{text}T00:00:00Z"));
    time::from_text(text)
        .or_else(date)
        .ok_or_else(|| "expected a date such as 2024-05-01, or 2024-05-01T12:00:00Z".into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use parsers::time::DAY_MS;

    use super::*;

    #[test]
    fn the_table_of_flags_is_sound_and_each_has_its_variable() {
        let mut command = Cli::command();
        command.build();
        let load = command.find_subcommand("load").unwrap();
        for flag in
            load.get_opts().filter(|flag| !matches!(flag.get_id().as_str(), "help" | "version"))
        {
            let name = flag.get_long().unwrap().to_uppercase().replace('-', "_");
            let variable = flag.get_env().and_then(|name| name.to_str());
            assert_eq!(variable, Some(format!("TRAILHOUND_{name}").as_str()));
        }
    }

    #[test]
    fn times_are_read_in_utc() {
        assert_eq!(parse_time("1970-01-02"), Ok(DAY_MS));
        assert_eq!(parse_time("1970-01-01T00:00:01Z"), Ok(1000));
        assert!(parse_time("yesterday").is_err());
    }
}
