//! What a set-up found and did.
//!
//! # Input
//! Steps.
//! # Maps to
//! Text for people, JSON for programs, an exit status.
//! # Known gaps
//! None.
//! # Reference
//! `trailhound help setup opensearch`.

use std::{fmt::Write as _, path::PathBuf};

use serde::Serialize;

use super::Mode;

/// Of a body with many differences so many are told.
const MAX_TOLD: usize = 8;

/// What was found under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Found {
    /// Nothing.
    Missing,
    /// What we would write.
    Same,
    /// What an earlier version, or other settings, wrote.
    Older,
    /// What somebody else wrote or changed.
    Changed,
}

/// What was done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Done {
    /// There is nothing to do.
    Nothing,
    /// It was only checked.
    Told,
    /// It would be written.
    Planned,
    /// It was written.
    Written,
    /// It was left as somebody made it.
    Refused,
}

/// One thing that is to be in a cluster.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// What it is, such as `index template`.
    pub what: &'static str,
    /// Its name.
    pub name: String,
    /// What was found.
    pub found: Found,
    /// What was done.
    pub done: Done,
    /// What differs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<String>,
    /// Where the overwritten body is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<PathBuf>,
}

impl Step {
    pub(super) fn new(what: &'static str, name: &str, found: Found) -> Self {
        let name = name.to_owned();
        Self { what, name, found, done: Done::Nothing, differences: Vec::new(), backup: None }
    }

    fn verdict(&self) -> &'static str {
        match (self.found, self.done) {
            (Found::Same, _) => "is there",
            (Found::Missing, Done::Told) => "missing",
            (Found::Missing, Done::Planned) => "would be created",
            (Found::Missing, _) => "created",
            (Found::Older, Done::Told) => "differs: written by another version or other settings",
            (Found::Older, Done::Planned) => "would be updated",
            (Found::Older, _) => "updated",
            (Found::Changed, Done::Told) => "differs: changed by somebody",
            (Found::Changed, Done::Refused) => "left alone: changed by somebody",
            (Found::Changed, _) => "overwritten",
        }
    }
}

/// What a set-up found and did.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The cluster.
    pub cluster: String,
    /// Nothing was written.
    pub dry_run: bool,
    /// Everything that was looked at.
    pub steps: Vec<Step>,
    /// What the cluster cannot do.
    pub warnings: Vec<String>,
    /// What could not be done.
    pub failed: Vec<String>,
}

impl Report {
    pub(super) fn new(cluster: &str, mode: Mode) -> Self {
        Self {
            cluster: cluster.to_owned(),
            dry_run: matches!(mode, Mode::Check | Mode::DryRun),
            steps: Vec::new(),
            warnings: Vec::new(),
            failed: Vec::new(),
        }
    }

    pub(super) fn warn(&mut self, what: String) {
        self.warnings.push(what);
    }

    pub(super) fn fail(&mut self, what: String) {
        self.failed.push(what);
    }

    /// 0 if everything is as it is to be, or was made so, or would be; else 2.
    pub fn exit_code(&self) -> u8 {
        let is_open = |step: &Step| matches!(step.done, Done::Told | Done::Refused);
        if self.steps.iter().any(is_open) || !self.failed.is_empty() { 2 } else { 0 }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for step in &self.steps {
            line(&mut out, format_args!("{} {}: {}", step.what, step.name, step.verdict()));
            for difference in step.differences.iter().take(MAX_TOLD) {
                line(&mut out, format_args!("    {difference}"));
            }
            if let more @ 1.. = step.differences.len().saturating_sub(MAX_TOLD) {
                line(&mut out, format_args!("    and {more} more, see --json"));
            }
            if let Some(backup) = &step.backup {
                line(&mut out, format_args!("    the old one is in {}", backup.display()));
            }
        }
        out += &self.problems();
        line(&mut out, format_args!("{}", self.verdict()));
        out
    }

    /// What the cluster cannot do, and what could not be done.
    pub fn problems(&self) -> String {
        let mut out = String::new();
        for what in &self.warnings {
            line(&mut out, format_args!("warning: {what}"));
        }
        for what in &self.failed {
            line(&mut out, format_args!("failed: {what}"));
        }
        out
    }

    fn verdict(&self) -> String {
        let count = |done: Done| self.steps.iter().filter(|step| step.done == done).count();
        let [told, planned, written, refused] =
            [Done::Told, Done::Planned, Done::Written, Done::Refused].map(count);
        let url = &self.cluster;
        if refused > 0 {
            return format!(
                "{refused} at {url} not as Trailhound writes them, because somebody changed them: \
                 compare, then --force, which saves what is there to a file"
            );
        }
        match (told, planned, written) {
            (1.., ..) => format!("{told} at {url} missing or different: run it without --check"),
            (_, 1.., _) => format!("dry run: {planned} at {url} would be written"),
            _ if !self.failed.is_empty() => format!("{url} is ready for events, but not complete"),
            (_, _, 1..) => format!("{url} is ready: {written} written"),
            _ => format!("{url} is ready: everything is there"),
        }
    }
}

pub(super) fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}
