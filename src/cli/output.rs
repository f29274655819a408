//! What commands print, and the flags for it.
//!
//! # Input
//! A report in its two forms, and its problems.
//! # Maps to
//! One JSON object or a summary on stdout; problems on stderr where no summary has them.
//! # Known gaps
//! None.
//! # Reference
//! `trailhound help`.

use clap::{Args, builder::FalseyValueParser};
use serde_json::Value;

use super::print;

#[derive(Debug, Args)]
pub(super) struct OutputArgs {
    /// Tell what would be done, and write nothing
    #[arg(long, env = "TRAILHOUND_DRY_RUN", value_parser = FalseyValueParser::new())]
    pub(super) dry_run: bool,
    /// Print the result as one JSON object
    #[arg(long, env = "TRAILHOUND_JSON", value_parser = FalseyValueParser::new())]
    pub(super) json: bool,
    /// No progress bar and no summary
    #[arg(long, short, env = "TRAILHOUND_QUIET", value_parser = FalseyValueParser::new())]
    pub(super) quiet: bool,
}

impl OutputArgs {
    /// Prints the object.
    pub(super) fn object(
        &self,
        json: impl FnOnce() -> serde_json::Result<Value>,
    ) -> anyhow::Result<()> {
        if self.json {
            print(&(json()?.to_string() + "\n"))?;
        }
        Ok(())
    }

    /// Prints the summary, or else the problems.
    pub(super) fn summary(
        &self,
        text: impl FnOnce() -> String,
        problems: impl FnOnce() -> String,
    ) -> anyhow::Result<()> {
        if self.json || self.quiet {
            eprint!("{}", problems());
        } else {
            print(&text())?;
        }
        Ok(())
    }
}
