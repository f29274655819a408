//! `trailhound raw`.
//!
//! # Input
//! The id of an event, a lake, the archives that it was loaded from.
//! # Maps to
//! The raw record on stdout, the place of its object on stderr.
//! # Known gaps
//! None.
//! # Reference
//! `trailhound help raw`.

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
    sync::Arc,
};

use clap::Args;

use super::{print, tell, until_interrupted};
use crate::{
    config::{LakeArgs, SizeArgs, SourceArgs},
    investigate::raw::raw,
    query::{Lake, Limits},
    store::{S3, Sources},
};

#[derive(Debug, Args)]
pub(super) struct Raw {
    /// `metadata.uid` of the event
    uid: String,
    #[command(flatten)]
    lake: LakeArgs,
    #[command(flatten)]
    sources: SourceArgs,
    #[command(flatten)]
    size: SizeArgs,
}

impl Raw {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let found = until_interrupted(async {
            let limits = Limits { memory: self.size.memory, jobs: self.size.jobs() };
            let lake = Lake::open(&self.lake, limits).await?;
            let sources = Sources::new(Arc::new(S3::new(self.sources.access())));
            anyhow::Ok(Box::pin(raw(&lake, &sources, &self.uid)).await?)
        })?;
        let Some(found) = found else { return Ok(ExitCode::from(130)) };
        let found = found?;
        if io::stderr().is_terminal() {
            tell(&found.object);
        }
        print(&format!("{}\n", String::from_utf8_lossy(&found.bytes)))?;
        Ok(ExitCode::SUCCESS)
    }
}
