//! The lake as another program reads it: pyarrow, on its own.

use std::process::Command;

use serde_json::Value;

use crate::support::{Bench, Run, load_command, not_run, python, sample_archive};

#[test]
fn pyarrow_reads_the_lake_as_security_lake_wants_it() {
    let Some(python) = python("pyarrow") else {
        return not_run("reading by pyarrow", "no Python with pyarrow (TRAILHOUND_TEST_PYTHON)");
    };
    let bench = Bench::new();
    let lake = bench.lake();
    let run = Run::of(&load_command(&sample_archive(), &lake.dir, &[]).output().unwrap());
    assert_eq!(run.code, 0);
    let output = Command::new(python)
        .args(["-c", include_str!("reader.py")])
        .arg(lake.dir.join("ext"))
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["by_class"], run.report["by_class"]);
    assert_eq!(found["files"], run.report["files"]);
}
