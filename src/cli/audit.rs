//! `trailhound audit`.
//!
//! # Input
//! The flags of a load.
//! # Maps to
//! An audit, and with `--load` the load; a summary or a JSON object; an exit status.
//! # Known gaps
//! Flags that say how to load matter with `--load` only.
//! # Reference
//! `trailhound help audit`.

use std::process::ExitCode;

use clap::{Args, builder::FalseyValueParser};

use super::{interruptible, load::Load};
use crate::audit;

#[derive(Debug, Args)]
pub(super) struct Audit {
    #[command(flatten)]
    what: Load,
    /// Load what is not in the lake
    #[arg(long = "load", env = "TRAILHOUND_LOAD", value_parser = FalseyValueParser::new())]
    then_load: bool,
}

impl Audit {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let what = &self.what;
        let progress = what.progress();
        let done = interruptible(async {
            let settings = what.settings().await?;
            let report = audit::audit(&settings, self.then_load, &progress);
            let report = Box::pin(report).await?;
            progress.finish();
            what.output.summary(|| report.text(&settings.lake), || report.problems())?;
            if !self.then_load {
                return anyhow::Ok((settings, report, None));
            }
            let progress = what.progress();
            let loaded = what.load(&settings, &progress).await?;
            progress.finish();
            Ok((settings, report, Some(loaded)))
        })?;
        progress.finish();
        let Some(done) = done else { return Ok(ExitCode::from(130)) };
        let (settings, report, loaded) = done?;
        what.output.object(|| {
            let mut value = serde_json::to_value(&report)?;
            if let Some(loaded) = &loaded {
                value["load"] = loaded.json()?;
            }
            Ok(value)
        })?;
        match loaded {
            Some(loaded) => what.tell(&settings, &loaded),
            None => Ok(ExitCode::from(report.exit_code(what.strict))),
        }
    }
}
