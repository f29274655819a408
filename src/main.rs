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

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

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
    let level = if cli.is_service() { "info" } else { "warn" };
    let filter = EnvFilter::try_from_env("TRAILHOUND_LOG").unwrap_or_else(|_| {
        // The SDK warns of every object that was uploaded in parts, and of credentials that are not
        // needed; what matters is in an error.
        format!("{level},aws_sdk_s3=error,aws_config=error,aws_smithy_runtime=error").into()
    });
    let is_terminal = std::io::stderr().is_terminal();
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(is_terminal)
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    // What a service says is read by programs.
    if cli.is_service() && !is_terminal {
        logs.json().flatten_event(true).init();
    } else {
        logs.init();
    }
    match cli.run() {
        Ok(code) => code,
        Err(error) => {
            // Errors name their causes themselves.
            drop(writeln!(std::io::stderr(), "trailhound: {error}"));
            ExitCode::FAILURE
        }
    }
}
