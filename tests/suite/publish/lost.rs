//! Staged files that are gone, or that nobody owns, and lakes that nothing was loaded into.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use super::{Cloud, LAKE};
use crate::support::{Run, number, trailhound};

/// An audit of the archive of the first day.
fn audit(cloud: &Cloud, extra: &[&str]) -> Run {
    let mut command = cloud.command("audit", extra);
    Run::of(&command.arg(cloud.bench.path("day-0")).output().unwrap())
}

#[test]
fn a_staged_file_that_was_deleted_is_named_and_an_audit_loads_its_objects_again() {
    let cloud = Cloud::with_day(0);
    assert_eq!(audit(&cloud, &[]).objects("missing"), 0);
    let staged = cloud.list("_trailhound/staged/");
    let flows = staged.iter().find(|path| path.contains("class=4001")).unwrap();
    cloud.server.delete("lake", flows);
    for _ in 0..2 {
        let run = cloud.publish(&["--dry-run"]);
        assert_eq!((run.code, &run.report["lost"][0]), (2, &format!("s3://lake/{flows}").into()));
        assert!(run.stderr.contains("was deleted before it was published"), "{run:?}");
    }
    let found = audit(&cloud, &[]);
    assert_eq!((found.code, found.objects("missing"), found.objects("loaded")), (2, 2, 2));
    assert!(found.stderr.contains("its staged file was deleted"), "{found:?}");
    let run = audit(&cloud, &["--load"]);
    assert_eq!((run.code, number(&run.report["load"]["objects"]["loaded"])), (0, 2), "{run:?}");
    assert!(cloud.rows() == cloud.expected_days(&[0]));
    assert_eq!(audit(&cloud, &[]).code, 0);
    // What was removed because it is published is not lost.
    cloud.publish_all(&["--grace", "0s"]);
    assert_eq!(cloud.list("_trailhound/staged/"), [] as [&str; 0]);
    cloud.publish_all(&[]);
    assert_eq!(audit(&cloud, &[]).code, 0);
}

#[test]
fn a_lake_that_nothing_was_loaded_into_is_most_likely_mistyped() {
    let cloud = Cloud::with_day(0);
    for name in ["publish", "audit"] {
        let archive = cloud.bench.path("day-0");
        let path = if name == "audit" { vec![archive.to_str().unwrap()] } else { Vec::new() };
        let mut command = cloud.command(name, &path);
        let run = Run::of(&command.env("TRAILHOUND_STATE", "s3://lake/typo").output().unwrap());
        assert_eq!(run.code, 1, "{run:?}");
        assert!(
            run.stderr.contains("there is no ledger in s3://lake/typo; check --lake"),
            "{run:?}"
        );
    }
}

#[test]
fn rows_that_wait_for_a_publish_are_said_to_be_staged() {
    let cloud = Cloud::new();
    let archive = cloud.bench.path(&cloud.day(0));
    let load = |extra: &[&str]| {
        let mut command = trailhound();
        cloud.server.env(&mut command);
        command.arg("load").arg(&archive).args(["--lake", LAKE]).args(extra);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let text = load(&["--no-publish"]);
    assert!(text.contains(" in, 140 staged") && !text.contains("140 in the lake"), "{text}");
    assert!(!load(&[]).contains(" staged\n"));
}

#[test]
fn a_batch_whose_staged_files_were_all_deleted_is_lost() {
    let cloud = Cloud::with_day(0);
    let staged = cloud.list("_trailhound/staged/");
    for path in &staged {
        cloud.server.delete("lake", path);
    }
    for _ in 0..2 {
        let run = cloud.publish(&[]);
        assert_eq!((run.code, run.report["lost"].as_array().unwrap().len()), (2, staged.len()));
    }
    assert_eq!(audit(&cloud, &["--load"]).code, 0);
    cloud.publish_all(&[]);
    assert!(cloud.rows() == cloud.expected_days(&[0]));
}

#[test]
fn staged_files_that_were_never_committed_are_removed_after_a_week() {
    let cloud = Cloud::with_day(0);
    for ledger in cloud.list("_trailhound/ledger/") {
        // It is of another batch.
        let body = cloud.server.get("lake", &ledger).unwrap();
        cloud.server.put("lake", &ledger.replace('-', "-a"), body);
        cloud.server.delete("lake", &ledger);
    }
    let staged = cloud.list("_trailhound/staged/");
    let days = |days: u64| SystemTime::now() - Duration::from_hours(24 * days);
    let touch = |time: SystemTime| {
        for path in &staged {
            let path = cloud.server.root().join("lake").join(path);
            fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        }
    };
    touch(days(6));
    cloud.publish(&[]);
    assert_eq!(cloud.list("_trailhound/staged/"), staged);
    touch(days(8));
    let run = cloud.publish(&[]);
    assert_eq!(number(&run.report["abandoned"]), staged.len() as u64);
    assert_eq!(cloud.list("_trailhound/staged/"), [] as [&str; 0]);
}
