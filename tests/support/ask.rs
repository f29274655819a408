//! Questions to a lake: `trailhound query` and `investigate`.

use std::{ffi::OsStr, path::Path, process::Command, sync::LazyLock};

use serde_json::Value;
use tempfile::TempDir;

use super::{Run, load_command, sample_archive, trailhound};

/// What a command printed.
#[derive(Debug)]
pub struct Answer {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Answer {
    pub fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        assert!(!stderr.contains("panicked at"), "{stderr}");
        Self { code: output.status.code().unwrap_or(-1), stdout, stderr }
    }

    /// The objects of its lines.
    pub fn rows(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// `trailhound query --lake <lake> --format json <sql>`.
pub fn query_command(lake: impl AsRef<OsStr>, sql: &str) -> Command {
    let mut command = trailhound();
    command.arg("query").arg("--lake").arg(lake).args(["--format", "json"]).arg(sql);
    command
}

/// The rows of a query.
#[track_caller]
pub fn query(lake: &Path, sql: &str) -> Vec<Value> {
    let answer = Answer::of(&mut query_command(lake, sql));
    assert_eq!((answer.code, answer.stderr.as_str()), (0, ""), "{sql}");
    answer.rows()
}

/// The only number that a query gives.
#[track_caller]
pub fn count(lake: &Path, sql: &str) -> u64 {
    let rows = query(lake, sql);
    assert_eq!(rows.len(), 1, "{sql}");
    rows[0].as_object().unwrap().values().next().unwrap().as_u64().unwrap()
}

/// `trailhound investigate <subject> --lake <lake> --format json`, with further arguments.
pub fn investigate_command(lake: &Path, subject: &str, extra: &[&str]) -> Command {
    let mut command = trailhound();
    command.arg("investigate").arg("--lake").arg(lake).args(["--format", "json"]);
    command.args(extra);
    if !subject.is_empty() {
        command.arg(subject);
    }
    command
}

/// The report on a subject for which all data are there.
#[track_caller]
pub fn investigate(lake: &Path, subject: &str) -> Value {
    let answer = Answer::of(&mut investigate_command(lake, subject, &[]));
    assert_eq!((answer.code, answer.stderr.as_str()), (0, ""), "{subject}");
    serde_json::from_str(&answer.stdout).unwrap()
}

/// A lake of `tests/archive`, made once for all tests that only ask it.
pub fn sample_lake() -> &'static Path {
    static LAKE: LazyLock<TempDir> = LazyLock::new(|| {
        let dir = tempfile::tempdir().unwrap();
        let accounts = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/accounts.csv");
        let mut load = load_command(&sample_archive(), dir.path(), &["--accounts", accounts]);
        assert_eq!(Run::of(&load.output().unwrap()).code, 0);
        dir
    });
    LAKE.path()
}
