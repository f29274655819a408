//! Staged files become partitions: sorted, each event once, whatever happens meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::support::{
    Bench, Lake, Row, Run, cloud::s3::S3Server, load_command, number, sample_archive, trailhound,
};

const LAKE: &str = "s3://lake/l";

/// An S3 server with a lake, and a folder to look at it.
struct Cloud {
    server: S3Server,
    bench: Bench,
}

impl Cloud {
    fn new() -> Self {
        let server = S3Server::start();
        server.create_bucket("lake");
        Self { server, bench: Bench::new() }
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = trailhound();
        self.server.env(&mut command);
        command.args(arguments).args(["--lake", LAKE, "--json"]);
        command
    }

    #[track_caller]
    fn load(&self, archive: &std::path::Path, extra: &[&str]) -> Run {
        let mut command = self.command(&["load"]);
        let run = Run::of(&command.arg(archive).args(extra).output().unwrap());
        assert_eq!(run.code, 0, "{run:?}");
        run
    }

    fn publish(&self, extra: &[&str]) -> Run {
        Run::of(&self.command(&["publish"]).args(extra).output().unwrap())
    }

    /// The lake as it is now, checked, in a folder of this machine.
    fn lake(&self) -> (tempfile::TempDir, Lake) {
        let dir = tempfile::tempdir().unwrap();
        self.server.download("lake", "l/", dir.path());
        let lake = Lake::new(dir.path());
        lake.check_rows();
        (dir, lake)
    }

    fn rows(&self) -> Vec<String> {
        sorted(&self.lake().1.rows())
    }

    fn staged(&self) -> Vec<String> {
        self.server.list("lake", "l/_trailhound/staged/")
    }
}

/// Rows by folder and content, each event of a partition once.
fn sorted(rows: &[Row]) -> Vec<String> {
    let mut uids = BTreeSet::new();
    for row in rows {
        assert!(uids.insert((row.folder(), row.uid())), "twice in a partition: {row:?}");
    }
    let mut rows: Vec<String> =
        rows.iter().map(|row| format!("{} {}", row.folder(), row.event)).collect();
    rows.sort_unstable();
    rows
}

/// What the sample archive becomes in a lake of this machine.
fn expected(bench: &Bench) -> Vec<String> {
    let here = Lake::new(bench.path("here"));
    let run = Run::of(&load_command(&sample_archive(), &here.dir, &[]).output().unwrap());
    assert_eq!(run.code, 0);
    sorted(&here.rows())
}

#[test]
fn a_published_lake_has_the_rows_of_a_local_load() {
    let cloud = Cloud::new();
    let load = cloud.load(&sample_archive(), &[]);
    let run = cloud.publish(&[]);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(number(&run.report["staged"]["rows"]), load.records("parquet"));
    let expected = expected(&cloud.bench);
    assert!(cloud.rows() == expected);
    assert_eq!(number(&run.report["published"]["rows"]), expected.len() as u64);

    let before = cloud.server.list("lake", "l/");
    let again = cloud.publish(&[]);
    assert_eq!((again.code, number(&again.report["published"]["files"])), (0, 0));
    assert_eq!(cloud.server.list("lake", "l/"), before, "nothing is left to do");
}
