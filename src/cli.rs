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

use clap::{Parser, Subcommand};
use parsers::{Filter, SOURCES};

use crate::{
    config::{LakeArgs, SizeArgs, SourceArgs},
    indexing::IndexArgs,
    inflate::Caps,
    load::Settings,
    store::S3,
    worker::{self, WorkerArgs},
};

mod audit;
#[cfg(feature = "query")]
mod investigate;
mod load;
mod output;
mod publish;
#[cfg(feature = "query")]
mod query;
#[cfg(feature = "query")]
mod raw;
mod redrive;
mod schema;
mod setup;

use audit::Audit;
use load::Load;
use output::OutputArgs;
use publish::Publish;
use redrive::Redrive;
use schema::Schema;
use setup::{Expire, Setup, Templates};

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
    /// Merge staged files into the partitions of the lake
    ///
    /// A lake in a bucket is loaded as staged files; this sorts them into partitions, each event once.
    /// Exit status: 0 when everything is published; 2 when something could not be; 1 when it could not
    /// start.
    Publish(Box<Publish>),
    /// Tell what of the archives is not in the lake, and when nothing arrived
    ///
    /// Exit status: 0 when everything is in the lake; 2 when an object is missing or failed, or hours
    /// are; 1 when it could not start. With `--load` that of the load.
    Audit(Box<Audit>),
    /// Load again the objects that failed, and those with records in the rejects
    ///
    /// Exit status: 0 when nothing failed or was rejected this time; 2 when something did; 1 when it
    /// could not start.
    Redrive(Box<Redrive>),
    /// Ask the lake, in SQL
    ///
    /// Exit status: 0 when it was answered from all files; 2 when a file could not be read; 1 when it
    /// could not be answered.
    #[cfg(feature = "query")]
    Query(Box<query::Query>),
    /// Tell who did what, from a finding, a key, an address or a principal
    ///
    /// Exit status: 0 when it was answered; 3 when data that should be there touch the story; 2 when a
    /// file could not be read; 1 when there is no answer.
    #[cfg(feature = "query")]
    Investigate(Box<investigate::Investigate>),
    /// Fetch the raw record of an event from the object that it was read from
    #[cfg(feature = "query")]
    Raw(Box<raw::Raw>),
    /// Make a cluster ready for events
    Setup(Setup),
    /// Delete indexes whose last event is old
    ///
    /// By the day or month in an index's name; names that are not exactly Trailhound's are left alone.
    /// Exit status: 0 when nothing is left to do; 2 when an index could not be deleted; 1 when it could
    /// not start.
    Expire(Box<Expire>),
    /// Write OpenSearch's index templates and lifecycle policies as files, for other tools
    Templates(Templates),
    /// List the log sources
    Sources {
        /// Also what of each source is mapped, to what, and the known gaps
        #[arg(long)]
        kinds: bool,
    },
    /// Print the Arrow schema of an OCSF class, or Athena's tables
    Schema(Schema),
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
            Command::Publish(args) => args.run(),
            Command::Audit(args) => args.run(),
            Command::Redrive(args) => args.run(),
            #[cfg(feature = "query")]
            Command::Query(args) => args.run(),
            #[cfg(feature = "query")]
            Command::Investigate(args) => args.run(),
            #[cfg(feature = "query")]
            Command::Raw(args) => args.run(),
            Command::Setup(args) => args.run(),
            Command::Expire(args) => args.run(),
            Command::Templates(args) => args.run(),
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
            Command::Schema(args) => args.run(),
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

/// Runs until it is done, or until Ctrl-C: then there is nothing.
fn interruptible<R>(work: impl Future<Output = R>) -> io::Result<Option<R>> {
    let result = until_interrupted(work)?;
    if result.is_none() {
        tell("what was committed is in the lake, run it again for the rest");
    }
    Ok(result)
}

/// The same for what writes nothing. Threads that still encode or read are not waited for: their files
/// are not committed.
fn until_interrupted<R>(work: impl Future<Output = R>) -> io::Result<Option<R>> {
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => None,
            result = work => Some(result),
        }
    });
    runtime.shutdown_background();
    if result.is_none() {
        tell("interrupted");
    }
    Ok(result)
}

/// Settings of a load of nothing in particular.
async fn settings(
    lake: &LakeArgs,
    sources: &SourceArgs,
    size: &SizeArgs,
    index: &IndexArgs,
    output: &OutputArgs,
) -> anyhow::Result<Settings> {
    let lake_access = lake.access();
    let accounts = sources.accounts(&S3::new(lake_access.clone())).await;
    Ok(Settings {
        accounts: accounts.map_err(anyhow::Error::msg)?,
        paths: Vec::new(),
        state: lake.state(),
        lake: lake.lake.clone(),
        source_access: sources.access(),
        lake_access,
        source: None,
        filter: Filter::default(),
        budget: index.budget(size).map_err(anyhow::Error::msg)?,
        index: index.clone(),
        caps: Caps::default(),
        force: false,
        dry_run: output.dry_run,
    })
}

/// Tells somebody, who need not be there any more.
fn tell(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}

/// Prints a result. A reader that has gone away, such as `head`, is no error.
fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// What has no variable: what is asked for each time, by somebody who looks.
    const WITHOUT: [&str; 4] = ["help", "version", "kinds", "yes"];

    #[test]
    fn the_table_of_flags_is_sound_and_each_has_its_variable() {
        let mut command = Cli::command();
        command.build();
        let mut commands: Vec<&clap::Command> = command.get_subcommands().collect();
        while let Some(command) = commands.pop() {
            commands.extend(command.get_subcommands());
            for flag in command.get_opts().filter(|flag| !WITHOUT.contains(&flag.get_id().as_str()))
            {
                let name = flag.get_long().unwrap().to_uppercase().replace('-', "_");
                let variable = flag.get_env().and_then(|name| name.to_str());
                assert_eq!(variable, Some(format!("TRAILHOUND_{name}").as_str()));
            }
        }
    }
}
