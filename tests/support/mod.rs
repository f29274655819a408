//! Archives made up for a test, runs of the program, and what a run must always keep to.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use tempfile::TempDir;

pub mod ask;
pub mod cloud;
pub mod index;
mod lake;
pub mod logs;

pub use lake::{Lake, Row, assert_adds_up, read_events, tree};
pub use logs::{event, flow_line, flow_object, records};

pub const ACCOUNTS: [&str; 2] = ["111122223333", "444455556666"];
pub const REGIONS: [&str; 2] = ["us-east-1", "eu-west-1"];
pub const DAY: &str = "2024/05/01";

/// A folder of log objects, a folder for a lake, and whatever else a test needs.
pub struct Bench {
    dir: TempDir,
}

impl Bench {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("archive")).unwrap();
        Self { dir }
    }

    /// A bench with these objects.
    pub fn with<'k>(objects: impl IntoIterator<Item = (&'k str, Vec<u8>)>) -> Self {
        let bench = Self::new();
        for (key, body) in objects {
            bench.put(key, body);
        }
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn archive(&self) -> PathBuf {
        self.path("archive")
    }

    pub fn lake(&self) -> Lake {
        Lake::new(self.path("lake"))
    }

    /// Writes an object into the archive.
    pub fn put(&self, key: &str, body: impl AsRef<[u8]>) -> PathBuf {
        let path = self.archive().join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, body).unwrap();
        path
    }

    /// Loads the archive into the lake, with further arguments.
    pub fn load(&self, arguments: &[&str]) -> Run {
        self.load_as(|command| command, arguments)
    }

    /// The same, with a change to the command, such as its environment.
    pub fn load_as(&self, change: impl Fn(&mut Command) -> &mut Command, extra: &[&str]) -> Run {
        let mut command = self.load_command(extra);
        Run::of(&change(&mut command).output().unwrap())
    }

    pub fn load_command(&self, extra: &[&str]) -> Command {
        load_command(&self.archive(), &self.path("lake"), extra)
    }

    /// Loads into a fresh lake, and checks that every record is accounted for.
    pub fn load_checked(&self, arguments: &[&str]) -> (Run, Lake) {
        let run = self.load(arguments);
        let lake = self.lake();
        lake.check(&run.report);
        (run, lake)
    }
}

/// The program, in an environment that does not tell it anything.
pub fn trailhound() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trailhound"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TRAILHOUND_")) {
        command.env_remove(name);
    }
    command
}

/// `trailhound load <archive> --lake <lake> --json` and more.
pub fn load_command(archive: &Path, lake: &Path, extra: &[&str]) -> Command {
    let mut command = trailhound();
    command.arg("load").arg(archive).arg("--lake").arg(lake);
    command.arg("--json").args(extra);
    command
}

/// What a run with `--json` said.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    /// Null if nothing was printed.
    pub report: Value,
    pub stderr: String,
}

impl Run {
    pub fn of(output: &Output) -> Self {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!stderr.contains("panicked at") || stderr.contains("injected"), "{stderr}");
        let report = if output.stdout.is_empty() {
            Value::Null
        } else {
            let text = std::str::from_utf8(&output.stdout).unwrap();
            assert_eq!(text.trim_end().lines().count(), 1, "one JSON object: {text}");
            serde_json::from_str(text).expect(text)
        };
        Self { code: output.status.code().unwrap_or(-1), report, stderr }
    }

    pub fn objects(&self, state: &str) -> u64 {
        number(&self.report["objects"][state])
    }

    pub fn records(&self, what: &str) -> u64 {
        number(&self.report["records"][what])
    }

    /// Asserts the exit status, loaded, failed objects, and records in, in Parquet, rejected.
    #[track_caller]
    pub fn expect(
        &self,
        code: i32,
        [loaded, failed]: [u64; 2],
        [records, rows, rejected]: [u64; 3],
    ) {
        let found = (
            self.code,
            [self.objects("loaded"), self.objects("failed")],
            [self.records("in"), self.records("parquet"), self.records("rejected")],
        );
        let expected = (code, [loaded, failed], [records, rows, rejected]);
        assert_eq!(found, expected, "{self:#?}");
    }
}

#[track_caller]
pub fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("not a count: {value}"))
}

/// The key of a CloudTrail object of the first account and region.
pub fn trail_key(name: &str) -> String {
    trail_key_of(ACCOUNTS[0], REGIONS[0], DAY, name)
}

pub fn trail_key_of(account: &str, region: &str, day: &str, name: &str) -> String {
    let stamp = day.replace('/', "");
    format!(
        "AWSLogs/{account}/CloudTrail/{region}/{day}/{account}_CloudTrail_{region}_{stamp}T0005Z_{name}.json.gz"
    )
}

/// The key of a flow log object of the first account and region.
pub fn flow_key(name: &str) -> String {
    flow_key_of(ACCOUNTS[0], REGIONS[0], DAY, name)
}

pub fn flow_key_of(account: &str, region: &str, day: &str, name: &str) -> String {
    let stamp = day.replace('/', "");
    format!(
        "AWSLogs/{account}/vpcflowlogs/{region}/{day}/{account}_vpcflowlogs_{region}_fl-0123456789abcdef0_{stamp}T0010Z_{name}.log.gz"
    )
}

pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(data: &[u8]) -> Vec<u8> {
    zstd::encode_all(data, 1).unwrap()
}

/// Parameters of a call in which a leaf is an array of this length: a record of known size.
pub fn padded(n: u64, bytes: usize) -> Value {
    let mut event = event(n);
    event["requestParameters"] = json!({ "padding": "x".repeat(bytes) });
    event
}

/// A folder of the project's shared material, if it is there; if not, says that `test` did not run.
pub fn shared(test: &str, path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(path);
    if path.exists() {
        return Some(path);
    }
    not_run(test, &format!("there is no {}", path.display()));
    None
}

/// Says that a test did not run, past the test harness, which hides what a passing test prints.
pub fn not_run(test: &str, why: &str) {
    let line = format!("NOT RUN: {test}: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// `tests/archive`.
pub fn sample_archive() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/archive")
}

/// Python with a module, if there is one: `TRAILHOUND_TEST_PYTHON`, or `python3`.
pub fn python(module: &str) -> Option<PathBuf> {
    let named = std::env::var_os("TRAILHOUND_TEST_PYTHON").map(PathBuf::from);
    [named, Some("python3".into())].into_iter().flatten().find(|python| {
        let import = format!("import {module}");
        let output = Command::new(python).arg("-c").arg(import).output();
        output.is_ok_and(|output| output.status.success())
    })
}
