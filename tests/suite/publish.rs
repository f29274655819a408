//! Staged files become partitions: sorted, each event once, whatever happens meanwhile.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use tempfile::TempDir;
use trailhound::{publish::visible, store::Folder};

use crate::support::{
    ACCOUNTS, Bench, Lake, REGIONS, Row, Run,
    cloud::{
        block_on,
        proxy::{Fault, Proxy},
        s3::{S3Server, s3_error},
    },
    flow_key_of, flow_object, gzip, load_command,
    logs::event_of_day,
    number, records, sample_archive, trail_key_of, trailhound,
};

mod lost;

const LAKE: &str = "s3://lake/l";

/// An S3 server with a lake, and archives to load into it.
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

    /// With the events of a day staged.
    fn with_day(day: u64) -> Self {
        let cloud = Self::new();
        cloud.stage_day(day, &[]);
        cloud
    }

    /// Some dozen events of both accounts and regions on one day of their own.
    fn day(&self, day: u64) -> String {
        let archive = format!("day-{day}");
        let folder = format!("2024/05/{:02}", day + 1);
        for (n, (account, region)) in (0..).zip(ACCOUNTS.into_iter().zip(REGIONS)) {
            let first = day * 1000 + n * 100;
            let events: Vec<_> = (first..first + 40).map(|i| event_of_day(i, day)).collect();
            let trail = trail_key_of(account, region, &folder, "x");
            let flow = flow_key_of(account, region, &folder, "x");
            for (key, body) in [(trail, records(&events)), (flow, flow_object(first..first + 30))] {
                let path = self.bench.path(&archive).join(key);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, gzip(&body)).unwrap();
            }
        }
        archive
    }

    fn stage_day(&self, day: u64, extra: &[&str]) {
        let archive = self.day(day);
        self.load(&self.bench.path(&archive), extra);
    }

    fn command(&self, name: &str, extra: &[&str]) -> Command {
        let mut command = trailhound();
        self.server.env(&mut command);
        command.args([name, "--lake", LAKE, "--json"]).args(extra);
        command
    }

    #[track_caller]
    fn load(&self, archive: &Path, extra: &[&str]) -> Run {
        let run = Run::of(
            &self.command("load", extra).arg("--no-publish").arg(archive).output().unwrap(),
        );
        assert_eq!(run.code, 0, "{run:?}");
        run
    }

    fn publish(&self, extra: &[&str]) -> Run {
        Run::of(&self.command("publish", extra).output().unwrap())
    }

    #[track_caller]
    fn publish_all(&self, extra: &[&str]) -> Run {
        let run = self.publish(extra);
        assert_eq!((run.code, number(&run.report["left"]["files"])), (0, 0), "{run:?}");
        run
    }

    /// The lake as it is now, in a folder of this machine.
    fn lake(&self) -> (TempDir, Lake) {
        let dir = tempfile::tempdir().unwrap();
        self.server.download("lake", "l/", dir.path());
        let lake = Lake::new(dir.path());
        lake.check_rows();
        (dir, lake)
    }

    fn rows(&self) -> Vec<String> {
        sorted(&self.lake().1.rows())
    }

    fn list(&self, below: &str) -> Vec<String> {
        self.server.list("lake", &format!("l/{below}"))
    }

    fn expected_days(&self, days: &[u64]) -> Vec<String> {
        let paths: Vec<_> = days.iter().map(|day| self.bench.path(&format!("day-{day}"))).collect();
        expected(&paths)
    }

    /// Runs a publish until it asks for the `nth` request that `stop` admits, which is refused for
    /// good, and kills it.
    fn kill_at(&self, nth: usize, stop: fn(&str, &str) -> bool) {
        let (count, reached) = (AtomicUsize::new(0), Arc::new(AtomicBool::new(false)));
        let flag = Arc::clone(&reached);
        self.server.fault(move |operation, _, key| {
            if stop(operation, key) && count.fetch_add(1, Ordering::SeqCst) + 1 >= nth {
                flag.store(true, Ordering::SeqCst);
                return Err(s3_error!(SlowDown));
            }
            Ok(())
        });
        let mut command = self.command("publish", &[]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while !reached.load(Ordering::SeqCst) {
            assert!(child.try_wait().unwrap().is_none(), "it did not come to that point");
            thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What was on its way has arrived.
        thread::sleep(Duration::from_millis(50));
        self.server.no_fault();
    }

    /// Copies every staged batch, with its ledger, as another one.
    fn copy_batches(&self, copies: usize) {
        for key in
            self.list("_trailhound/staged/").into_iter().chain(self.list("_trailhound/ledger/"))
        {
            let body = self.server.get("lake", &key).unwrap();
            let (folder, name) = key.rsplit_once('/').unwrap();
            // The stamp stays, the number of the batch becomes one that no batch has: digits that are
            // only replaced meet those of the batch itself once in a thousand runs.
            let number = u64::from_str_radix(&name[17..33], 16).unwrap();
            for copy in 1..=copies as u64 {
                let name =
                    format!("{}{:016x}{}", &name[..17], number.wrapping_add(copy), &name[33..]);
                self.server.put("lake", &format!("{folder}/{name}"), body.clone());
            }
        }
    }
}

/// What a local load of these folders becomes.
fn expected(archives: &[PathBuf]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    for archive in archives {
        let run = Run::of(&load_command(archive, dir.path(), &[]).output().unwrap());
        assert_eq!(run.code, 0);
    }
    sorted(&Lake::new(dir.path()).rows())
}

/// Rows by folder and content, each event of a partition once.
#[track_caller]
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

/// The events that a reader sees who follows the manifests, without their places.
#[track_caller]
fn seen(dir: &Path) -> Vec<String> {
    let lake = Lake::new(dir);
    let (here, state) = (Folder::Local(lake.dir.clone()), Folder::Local(lake.state.clone()));
    let found = block_on(visible(&here, &state)).unwrap();
    let of_state = Lake::new(&lake.state);
    let published = found.published.iter().flat_map(|one| lake.rows_of(&one.path));
    let staged = found.staged.iter().flat_map(|staged| of_state.rows_of(&staged.file.path));
    let mut rows: Vec<String> = published.chain(staged).map(|row| row.event.to_string()).collect();
    rows.sort_unstable();
    rows
}

/// Rows without their places.
fn events(rows: &[String]) -> Vec<String> {
    let mut events: Vec<String> =
        rows.iter().map(|row| row.split_once(' ').unwrap().1.to_owned()).collect();
    events.sort_unstable();
    events
}

fn is_data(operation: &str, key: &str) -> bool {
    matches!(operation, "PutObject" | "CreateMultipartUpload") && key.contains("/ext/")
}

fn is_intent(operation: &str, key: &str) -> bool {
    operation == "PutObject" && key.contains("/published/open/")
}

fn is_manifest(operation: &str, key: &str) -> bool {
    operation == "PutObject" && key.contains("/published/v1/")
}

fn is_removal(operation: &str, _: &str) -> bool {
    operation.starts_with("DeleteObject")
}

#[test]
fn a_published_lake_has_the_rows_of_a_local_load() {
    let cloud = Cloud::new();
    let load = cloud.load(&sample_archive(), &[]);
    let run = cloud.publish_all(&[]);
    assert_eq!(number(&run.report["staged"]["rows"]), load.records("parquet"));
    let expected = expected(&[sample_archive()]);
    assert!(cloud.rows() == expected);
    assert_eq!(number(&run.report["published"]["rows"]), expected.len() as u64);

    let before = cloud.list("");
    let again = cloud.publish_all(&[]);
    assert_eq!(number(&again.report["published"]["files"]), 0);
    assert_eq!(cloud.list(""), before, "nothing is left to do");
}

#[test]
fn objects_that_are_staged_twice_give_each_row_once() {
    let cloud = Cloud::with_day(0);
    let archive = cloud.bench.path("day-0");
    cloud.load(&archive, &["--force"]);
    let run = cloud.publish_all(&[]);
    let expected = cloud.expected_days(&[0]);
    assert_eq!(number(&run.report["duplicates"]), expected.len() as u64);
    assert!(cloud.rows() == expected);

    // Also where they are published already, and beside new ones of the same partitions.
    cloud.load(&archive, &["--force"]);
    let events: Vec<_> = (500..520).map(|n| event_of_day(n, 0)).collect();
    let key = trail_key_of(ACCOUNTS[0], REGIONS[0], "2024/05/01", "y");
    fs::write(archive.join(key), gzip(&records(&events))).unwrap();
    cloud.load(&archive, &[]);
    let run = cloud.publish_all(&[]);
    assert_eq!(number(&run.report["duplicates"]), expected.len() as u64);
    assert_eq!(number(&run.report["published"]["rows"]), 20);
    assert!(cloud.rows() == cloud.expected_days(&[0]));
}

/// The `nth` request of a kind.
type Point = (usize, fn(&str, &str) -> bool);

#[test]
fn what_killed_publishes_left_is_undone_or_completed() {
    let scenarios: [(&str, &[Point]); 6] = [
        ("before the intent", &[(1, is_intent)]),
        ("before the first upload", &[(1, is_data)]),
        ("between uploads", &[(3, is_data)]),
        ("before the manifest", &[(1, is_manifest)]),
        ("after the manifest", &[(1, is_removal)]),
        (
            "again and again while it is undone: before the fence, after it, after that",
            &[(1, is_manifest), (1, is_manifest), (1, is_removal), (1, is_intent)],
        ),
    ];
    for (scenario, points) in scenarios {
        let cloud = Cloud::with_day(0);
        let expected = cloud.expected_days(&[0]);
        for &(nth, stop) in points {
            cloud.kill_at(nth, stop);
            let (dir, _) = cloud.lake();
            assert!(seen(dir.path()) == events(&expected), "seen when killed {scenario}");
        }
        cloud.publish_all(&[]);
        let (dir, lake) = cloud.lake();
        assert!(sorted(&lake.rows()) == expected, "rows when killed {scenario}");
        assert!(seen(dir.path()) == events(&expected), "seen after it was killed {scenario}");
    }
}

#[test]
fn a_reader_sees_each_row_once_at_every_step() {
    let cloud = Cloud::with_day(0);
    cloud.publish_all(&[]);
    cloud.stage_day(1, &[]);
    let snapshots = Arc::new(Mutex::new(Vec::new()));
    let (taken, root) = (Arc::clone(&snapshots), cloud.server.root().join("lake/l"));
    cloud.server.fault(move |operation, _, _| {
        if !matches!(operation, "GetObject" | "ListObjectsV2" | "HeadBucket") {
            let dir = tempfile::tempdir().unwrap();
            copy(&root, dir.path());
            taken.lock().unwrap().push(dir);
        }
        Ok(())
    });
    cloud.publish_all(&["--grace", "0s"]);
    cloud.server.no_fault();
    let expected = events(&cloud.expected_days(&[0, 1]));
    let snapshots = std::mem::take(&mut *snapshots.lock().unwrap());
    assert!(snapshots.len() > 6, "{}", snapshots.len());
    for snapshot in snapshots {
        assert!(seen(snapshot.path()) == expected);
    }
}

fn copy(from: &Path, to: &Path) {
    for (path, body) in crate::support::tree(from) {
        let to = to.join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, body).unwrap();
    }
}

#[test]
fn two_publishes_at_once_publish_each_row_once() {
    let cloud = Cloud::with_day(0);
    for day in 1..4 {
        cloud.stage_day(day, &[]);
        let start = || {
            let mut command = cloud.command("publish", &[]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        for child in [start(), start(), start()] {
            let run = Run::of(&child.wait_with_output().unwrap());
            assert_eq!(run.code, 0, "{run:?}");
        }
        let days: Vec<u64> = (0..=day).collect();
        assert!(cloud.rows() == cloud.expected_days(&days));
    }
}

#[test]
fn a_publish_that_stalled_cannot_commit_any_more() {
    let cloud = Cloud::with_day(0);
    let stalls = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stalls);
    cloud.server.fault(move |operation, _, key| {
        if is_manifest(operation, key) {
            flag.store(true, Ordering::SeqCst);
            return Err(s3_error!(SlowDown));
        }
        Ok(())
    });
    let mut command = cloud.command("publish", &[]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !stalls.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_millis(1));
    }
    let signal = |name: &str| {
        let id = child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    };
    signal("-STOP");
    cloud.server.no_fault();
    let other = cloud.publish_all(&[]);
    assert_eq!(number(&other.report["recovered"]), 1, "{other:?}");
    signal("-CONT");
    let run = Run::of(&child.wait_with_output().unwrap());
    assert_eq!((run.code, number(&run.report["overtaken"])), (0, 1), "{run:?}");
    assert!(cloud.rows() == cloud.expected_days(&[0]));
    assert_eq!(cloud.list("_trailhound/published/open/"), [] as [&str; 0]);
}

#[test]
fn a_manifest_whose_answer_is_lost_is_not_taken_for_another_ones() {
    let cloud = Cloud::with_day(0);
    let proxy = Proxy::start(&cloud.server.endpoint());
    let lost = AtomicBool::new(false);
    proxy.script(move |_, line| {
        let is_manifest = line.starts_with("PUT") && line.contains("/published/v1/");
        if is_manifest && !lost.swap(true, Ordering::SeqCst) {
            return Fault::LoseAnswer;
        }
        Fault::Pass
    });
    let mut command = cloud.command("publish", &[]);
    proxy.env(&mut command);
    let run = Run::of(&command.output().unwrap());
    assert_eq!((run.code, number(&run.report["overtaken"])), (0, 0), "{run:?}");
    assert!(cloud.rows() == cloud.expected_days(&[0]));
}

#[test]
fn staged_files_stay_for_the_grace_period() {
    let cloud = Cloud::with_day(0);
    cloud.publish_all(&[]);
    let staged = cloud.list("_trailhound/staged/");
    assert!(!staged.is_empty());
    let run = cloud.publish_all(&["--grace", "0s"]);
    assert_eq!(number(&run.report["removed"]), staged.len() as u64);
    assert_eq!(cloud.list("_trailhound/staged/"), [] as [&str; 0]);
    assert!(cloud.rows() == cloud.expected_days(&[0]));
}

#[test]
fn a_batch_without_a_ledger_is_not_published() {
    let cloud = Cloud::with_day(0);
    let ledger = cloud.list("_trailhound/ledger/").remove(0);
    let body = cloud.server.get("lake", &ledger).unwrap();
    cloud.server.delete("lake", &ledger);
    cloud.publish_all(&[]);
    assert_eq!(cloud.rows(), [] as [&str; 0]);
    cloud.server.put("lake", &ledger, body);
    cloud.publish_all(&[]);
    assert!(cloud.rows() == cloud.expected_days(&[0]));
}

#[test]
fn more_files_than_memory_can_read_at_once_are_merged_in_passes() {
    let cloud = Cloud::with_day(0);
    cloud.stage_day(1, &[]);
    let batches = cloud.list("_trailhound/staged/").len() as u64;
    cloud.copy_batches(60);
    let run = cloud.publish_all(&["--memory", "128MB"]);
    let expected = cloud.expected_days(&[0, 1]);
    assert_eq!(number(&run.report["staged"]["files"]), batches * 61);
    assert_eq!(number(&run.report["duplicates"]), 60 * expected.len() as u64);
    assert!(cloud.rows() == expected);
}

#[test]
fn a_dry_run_tells_what_is_staged_and_writes_nothing() {
    let cloud = Cloud::with_day(0);
    let before = cloud.list("");
    let run = cloud.publish(&["--dry-run"]);
    let staged = cloud.list("_trailhound/staged/").len() as u64;
    assert_eq!((run.code, number(&run.report["left"]["files"])), (0, staged), "{run:?}");
    assert_eq!(cloud.list(""), before);
}

#[test]
fn a_damaged_file_does_not_keep_others_from_being_published() {
    let cloud = Cloud::with_day(0);
    cloud.stage_day(1, &[]);
    let staged = cloud.list("_trailhound/staged/");
    let body = cloud.server.get("lake", &staged[0]).unwrap();
    cloud.server.put("lake", &staged[0], &body[..body.len() / 2]);
    let run = cloud.publish(&[]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.stderr.contains(&staged[0]), "{}", run.stderr);
    assert_eq!(number(&run.report["staged"]["files"]), staged.len() as u64 - 1);
    // When it is whole again, it is not forgotten.
    cloud.server.put("lake", &staged[0], body);
    cloud.publish_all(&[]);
    assert!(cloud.rows() == cloud.expected_days(&[0, 1]));
}

#[test]
fn a_lake_of_this_machine_is_published_beside_what_was_loaded_into_it() {
    let cloud = Cloud::with_day(0);
    let dir = tempfile::tempdir().unwrap();
    let archive = cloud.bench.path("day-0");
    assert_eq!(Run::of(&load_command(&archive, dir.path(), &[]).output().unwrap()).code, 0);
    cloud.stage_day(1, &[]);
    for below in ["_trailhound/staged/", "_trailhound/ledger/"] {
        cloud.server.download("lake", &format!("l/{below}"), &dir.path().join(below));
    }
    let publish = || {
        let mut command = trailhound();
        command.args(["publish", "--json", "--lake"]).arg(dir.path());
        Run::of(&command.output().unwrap())
    };
    let run = publish();
    assert_eq!(run.code, 0, "{run:?}");
    let half = cloud.expected_days(&[0]).len() as u64;
    assert_eq!(number(&run.report["duplicates"]), half, "{run:?}");
    assert!(sorted(&Lake::new(dir.path()).check_rows()) == cloud.expected_days(&[0, 1]));
    assert_eq!(number(&publish().report["staged"]["files"]), 0);
}
