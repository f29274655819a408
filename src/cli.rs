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
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use arrow::datatypes::{DataType, Field};
use clap::{Args, Parser, Subcommand, builder::FalseyValueParser};
use parsers::{
    Accounts, Filter, SOURCES, Source,
    ocsf::{self, CLASSES, Class},
    time,
};

use crate::{
    accounts,
    budget::Budget,
    inflate::Caps,
    load::{self, Settings},
    progress::Progress,
    publish,
    store::{Access, Place},
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
    /// Merge staged files into the partitions of the lake
    ///
    /// A lake in a bucket is loaded as staged files; this sorts them into partitions, each event once.
    /// Exit status: 0 when everything is published; 2 when something could not be; 1 when it could
    /// not start.
    Publish(Box<Publish>),
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
    /// Files, folders, s3://bucket/prefix; what lies below `AWSLogs/` is recognized by its path, the
    /// rest by content
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<Place>,
    /// The lake: a folder, made if it is missing, or s3://bucket/prefix
    #[arg(long, env = "TRAILHOUND_LAKE", value_name = "PLACE")]
    lake: Place,
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
    /// Memory for everything, such as 512MB or 2GB
    #[arg(
        long,
        env = "TRAILHOUND_MEMORY",
        value_parser = parse_bytes,
        default_value = "512MB",
        value_name = "SIZE"
    )]
    memory: usize,
    /// Threads; as many as there are cores by default
    #[arg(
        long,
        env = "TRAILHOUND_JOBS",
        value_parser = clap::value_parser!(u16).range(1..=256),
        value_name = "N"
    )]
    jobs: Option<u16>,
    /// Ledger, rejects and staged files, instead of `_trailhound` in the lake
    #[arg(long, env = "TRAILHOUND_STATE", value_name = "PLACE")]
    state: Option<Place>,
    /// Names of accounts: the JSON of `aws organizations list-accounts`, or CSV with id,name
    #[arg(long, env = "TRAILHOUND_ACCOUNTS", value_name = "FILE")]
    accounts: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Buckets of other accounts")]
    buckets: Buckets,
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

#[derive(Debug, Args)]
struct Publish {
    /// The lake: a folder, or s3://bucket/prefix
    #[arg(long, env = "TRAILHOUND_LAKE", value_name = "PLACE")]
    lake: Place,
    /// Ledger, staged files and manifests, instead of `_trailhound` in the lake
    #[arg(long, env = "TRAILHOUND_STATE", value_name = "PLACE")]
    state: Option<Place>,
    /// Memory for everything, such as 512MB or 2GB
    #[arg(
        long,
        env = "TRAILHOUND_MEMORY",
        value_parser = parse_bytes,
        default_value = "512MB",
        value_name = "SIZE"
    )]
    memory: usize,
    /// Threads; as many as there are cores by default
    #[arg(
        long,
        env = "TRAILHOUND_JOBS",
        value_parser = clap::value_parser!(u16).range(1..=256),
        value_name = "N"
    )]
    jobs: Option<u16>,
    /// Keep staged files for so long after they were merged, for readers that are about to read them
    #[arg(
        long,
        env = "TRAILHOUND_GRACE",
        value_parser = parse_duration,
        default_value = "1h",
        value_name = "TIME"
    )]
    grace: Duration,
    #[command(flatten, next_help_heading = "Buckets of other accounts")]
    bucket: LakeBucket,
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

/// Buckets of other accounts.
#[derive(Clone, Debug, Args)]
struct Buckets {
    /// Role that reads the archives
    #[arg(long, env = "TRAILHOUND_SOURCE_ROLE_ARN", value_name = "ARN")]
    source_role_arn: Option<String>,
    /// External id that this role asks for
    #[arg(long, env = "TRAILHOUND_SOURCE_EXTERNAL_ID", value_name = "ID")]
    source_external_id: Option<String>,
    /// Account that the archives' buckets must belong to
    #[arg(long, env = "TRAILHOUND_SOURCE_BUCKET_OWNER", value_name = "ACCOUNT")]
    source_bucket_owner: Option<String>,
    #[command(flatten)]
    lake: LakeBucket,
}

/// The bucket of a lake in another account.
#[derive(Clone, Debug, Args)]
struct LakeBucket {
    /// Role that reads and writes lake and state
    #[arg(long, env = "TRAILHOUND_LAKE_ROLE_ARN", value_name = "ARN")]
    lake_role_arn: Option<String>,
    /// External id that this role asks for
    #[arg(long, env = "TRAILHOUND_LAKE_EXTERNAL_ID", value_name = "ID")]
    lake_external_id: Option<String>,
    /// Account that the lake's bucket must belong to
    #[arg(long, env = "TRAILHOUND_LAKE_BUCKET_OWNER", value_name = "ACCOUNT")]
    lake_bucket_owner: Option<String>,
    /// KMS key for what is written, instead of the bucket's default
    #[arg(long, env = "TRAILHOUND_LAKE_KMS_KEY_ID", value_name = "KEY")]
    lake_kms_key_id: Option<String>,
}

impl Buckets {
    fn source(&self) -> Access {
        Access {
            role_arn: some(self.source_role_arn.as_ref()),
            external_id: some(self.source_external_id.as_ref()),
            expected_bucket_owner: some(self.source_bucket_owner.as_ref()),
            kms_key_id: None,
        }
    }
}

impl LakeBucket {
    fn access(&self) -> Access {
        Access {
            role_arn: some(self.lake_role_arn.as_ref()),
            external_id: some(self.lake_external_id.as_ref()),
            expected_bucket_owner: some(self.lake_bucket_owner.as_ref()),
            kms_key_id: some(self.lake_kms_key_id.as_ref()),
        }
    }
}

/// An empty variable gives nothing.
fn some(text: Option<&String>) -> Option<String> {
    text.filter(|text| !text.is_empty()).cloned()
}

impl Cli {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Load(args) => args.run(),
            Command::Publish(args) => args.run(),
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
        let settings = self.settings()?;
        let runtime = runtime()?;
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

    fn settings(self) -> anyhow::Result<Settings> {
        let state = self.state.unwrap_or_else(|| self.lake.join("_trailhound"));
        let jobs = self.jobs.map_or_else(cores, usize::from);
        let filter = Filter {
            since: self.since.unwrap_or(i64::MIN),
            until: self.until.unwrap_or(i64::MAX),
            accounts: without_empty(self.account),
            regions: without_empty(self.regions),
        };
        if filter.since >= filter.until {
            anyhow::bail!("--since must be before --until");
        }
        let accounts = match self.accounts.filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => accounts::read(&path).map_err(anyhow::Error::msg)?,
            None => Accounts::default(),
        };
        Ok(Settings {
            accounts: accounts.into(),
            paths: self.paths,
            lake: self.lake,
            state,
            source_access: self.buckets.source(),
            lake_access: self.buckets.lake.access(),
            source: self.source,
            filter,
            budget: Budget::new(self.memory, jobs).map_err(anyhow::Error::msg)?,
            caps: Caps::default(),
            force: self.force,
            dry_run: self.dry_run,
        })
    }
}

impl Publish {
    fn run(self) -> anyhow::Result<ExitCode> {
        let (json, quiet) = (self.json, self.quiet);
        let settings = self.settings();
        let runtime = runtime()?;
        let result = runtime.block_on(async {
            tokio::select! {
                biased;
                _ = tokio::signal::ctrl_c() => None,
                result = publish::publish(&settings) => Some(result),
            }
        });
        runtime.shutdown_background();
        let Some(report) = result else {
            eprintln!("interrupted; what was committed is in the lake, run it again for the rest");
            return Ok(ExitCode::from(130));
        };
        let report = report?;
        if json {
            print(&(serde_json::to_string(&report)? + "\n"))?;
        } else if !quiet {
            print(&report.text())?;
        }
        if json || quiet {
            eprint!("{}", report.problems());
        }
        Ok(ExitCode::from(report.exit_code()))
    }

    fn settings(self) -> publish::Settings {
        publish::Settings {
            state: self.state.unwrap_or_else(|| self.lake.join("_trailhound")),
            lake: self.lake,
            lake_access: self.bucket.access(),
            memory_bytes: self.memory,
            jobs: self.jobs.map_or_else(cores, usize::from),
            grace: self.grace,
            dry_run: self.dry_run,
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

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
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

/// A size in bytes; without a unit it is megabytes.
fn parse_bytes(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "m" | "mb" | "mib" => 1 << 20,
        "k" | "kb" | "kib" => 1 << 10,
        "g" | "gb" | "gib" => 1 << 30,
        "b" => 1,
        _ => return Err("expected a size such as 512MB or 2GB".into()),
    };
    let number: usize =
        digits.trim().parse().map_err(|_| "expected a size such as 512MB or 2GB".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| "too large".into())
}

/// A time span such as `90s`, `15m`, `1h` or `7d`; without a unit it is seconds.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return Err("expected a time span such as 90s, 15m or 1h".into()),
    };
    let number: u64 =
        digits.parse().map_err(|_| "expected a time span such as 90s, 15m or 1h".to_owned())?;
    number.checked_mul(unit).map(Duration::from_secs).ok_or_else(|| "too long".into())
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
    fn sizes_and_times_are_read_with_their_units() {
        assert_eq!(parse_bytes("512MB"), Ok(512 << 20));
        assert_eq!(parse_bytes("2g"), Ok(2 << 30));
        assert_eq!(parse_bytes("256"), Ok(256 << 20));
        assert!(parse_bytes("many").is_err() && parse_bytes("5XB").is_err());
        assert_eq!(parse_time("1970-01-02"), Ok(DAY_MS));
        assert_eq!(parse_time("1970-01-01T00:00:01Z"), Ok(1000));
        assert!(parse_time("yesterday").is_err());
    }
}
