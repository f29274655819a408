//! The command line program: exit codes, logging.
//!
//! # Input
//! Arguments; `TRAILHOUND_LOG` for what is logged, such as `info` (each object) or `debug`.
//! # Maps to
//! Exit status 1 for usage errors and for what could not start, else that of the command.
//! # Known gaps
//! None.
//! # Reference
//! `src/cli.rs`.

use std::{io::IsTerminal, process::ExitCode};

use clap::Parser;
use tracing_subscriber::EnvFilter;
use trailhound::cli::Cli;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; a failure to print them is none to report.
            drop(error.print());
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    let filter = EnvFilter::try_from_env("TRAILHOUND_LOG").unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match cli.run() {
        Ok(code) => code,
        Err(error) => {
            // Errors name their causes themselves.
            eprintln!("trailhound: {error}");
            ExitCode::FAILURE
        }
    }
}
