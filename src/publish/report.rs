//! What a publish did: for programs as one JSON object, for people as a summary.
//!
//! # Input
//! Rounds.
//! # Maps to
//! The object that `--json` prints, and a text.
//! # Known gaps
//! None.
//! # Reference
//! `src/report.rs`, which does the same for a load.

use std::fmt::Write;

use serde::Serialize;

use crate::report::NAMED;

/// Files and what they hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Files {
    /// How many.
    #[serde(rename = "files")]
    pub count: u64,
    /// Their rows, if that is known.
    pub rows: u64,
    /// Their size.
    pub bytes: u64,
}

impl std::ops::AddAssign for Files {
    fn add_assign(&mut self, other: Self) {
        self.count += other.count;
        self.rows += other.rows;
        self.bytes += other.bytes;
    }
}

/// What a publish did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Nothing was written.
    pub dry_run: bool,
    /// Committed rounds.
    pub rounds: u64,
    /// Staged files that were merged.
    pub staged: Files,
    /// Rows of them that are in the lake once already.
    pub duplicates: u64,
    /// Files that were written.
    pub published: Files,
    /// Files that were delivered to Security Lake.
    pub delivered: Files,
    /// Staged files that are not merged: what a dry run would merge, or what could not be. Their rows
    /// are not counted.
    pub left: Files,
    /// Staged files that were removed, because they were merged some time ago.
    pub removed: u64,
    /// Staged files that were removed, because their batch was never committed.
    pub abandoned: u64,
    /// Staged files that were deleted before they were published.
    pub lost: Vec<String>,
    /// Unfinished publishes that were undone.
    pub recovered: u64,
    /// Rounds that were done in vain, because another publish was faster.
    pub overtaken: u64,
    /// Staged files that cannot be published, and why.
    pub failed: Vec<(String, String)>,
    /// Why it stopped before its end.
    pub stopped: Option<String>,
    /// How long it took.
    pub seconds: f64,
}

impl Report {
    /// 0 if everything is published; 2 if something is not.
    pub fn exit_code(&self) -> u8 {
        let all = self.stopped.is_none() && self.failed.is_empty() && self.lost.is_empty();
        if all { 0 } else { 2 }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let Files { count: files, rows, bytes } = self.staged;
        let left = self.left;
        if self.dry_run {
            let (files, megabytes) = (left.count, mb(left.bytes));
            line(
                &mut out,
                format_args!("dry run: {files} staged files, {megabytes:.1} MB, would be merged"),
            );
            return out + &self.problems();
        }
        if self.recovered > 0 {
            let count = self.recovered;
            line(&mut out, format_args!("cleaned up {count} unfinished publishes"));
        }
        let megabytes = mb(bytes);
        line(
            &mut out,
            format_args!("staged    {files} files with {rows} rows, {megabytes:.1} MB, merged"),
        );
        if self.duplicates > 0 {
            let count = self.duplicates;
            line(&mut out, format_args!("          {count} rows that the lake has already"));
        }
        let Files { count: files, rows, bytes } = self.published;
        let megabytes = mb(bytes);
        line(&mut out, format_args!("published {files} files with {rows} rows, {megabytes:.1} MB"));
        let Files { count, rows, bytes } = self.delivered;
        if count > 0 {
            let megabytes = mb(bytes);
            line(
                &mut out,
                format_args!("delivered {count} files with {rows} rows, {megabytes:.1} MB"),
            );
        }
        if self.removed > 0 {
            let count = self.removed;
            line(&mut out, format_args!("removed   {count} staged files that were merged before"));
        }
        if self.abandoned > 0 {
            let count = self.abandoned;
            line(&mut out, format_args!("removed   {count} staged files of unfinished batches"));
        }
        if left.count > 0 {
            let (files, megabytes) = (left.count, mb(left.bytes));
            line(&mut out, format_args!("left      {files} staged files, {megabytes:.1} MB"));
        }
        out += &self.problems();
        let rate = self.staged.rows as f64 / self.seconds.max(0.001);
        line(&mut out, format_args!("{:.1} s, {rate:.0} rows/s", self.seconds));
        out
    }

    /// What could not be published, and why.
    pub fn problems(&self) -> String {
        let mut out = String::new();
        for (name, why) in &self.failed {
            line(&mut out, format_args!("failed: {name}: {why}"));
        }
        for name in self.lost.iter().take(NAMED) {
            line(&mut out, format_args!("lost: {name} was deleted before it was published"));
        }
        if !self.lost.is_empty() {
            let count = self.lost.len();
            line(
                &mut out,
                format_args!(
                    "lost: {count} staged files; `trailhound audit` with --load loads their objects \
                     again"
                ),
            );
        }
        if let Some(why) = &self.stopped {
            line(&mut out, format_args!("stopped: {why}; run it again"));
        }
        out
    }
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}
