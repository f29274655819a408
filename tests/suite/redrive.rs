//! What was rejected or failed is loaded again.

use std::fs;

use serde_json::json;

use crate::support::{
    Bench, Lake, Run, cloud::s3::S3Server, event, flow_key, flow_object, number, records,
    trail_key, trailhound,
};

/// An object with a record that is not an object, and as it should have been.
fn odd_and_mended() -> [Vec<u8>; 2] {
    let [one, two] = [event(1), event(2)];
    [records(&[one.clone(), json!(7)]), records(&[one, two])]
}

fn redrive(bench: &Bench, extra: &[&str]) -> Run {
    let mut command = trailhound();
    command.args(["redrive", "--json", "--lake"]).arg(bench.path("lake")).args(extra);
    Run::of(&command.output().unwrap())
}

#[test]
fn a_batch_of_a_local_lake_is_replaced_with_what_its_objects_are_now() {
    let [odd, mended] = odd_and_mended();
    let bench =
        Bench::with([(&*trail_key("a"), odd.clone()), (&*flow_key("b"), flow_object(0..3))]);
    bench.load(&[]).expect(2, [2, 0], [5, 4, 1]);
    // Nothing has changed, so nothing is better; nothing is lost either.
    redrive(&bench, &[]).expect(2, [2, 0], [5, 4, 1]);
    assert_eq!((bench.lake().rejects().len(), bench.lake().check_ledger().len()), (1, 4));

    bench.put(&trail_key("a"), mended);
    let before = bench.lake().content();
    let dry = redrive(&bench, &["--dry-run"]);
    assert_eq!((dry.code, number(&dry.report["found"])), (0, 1));
    let other = redrive(&bench, &["--since", "2024-05-02"]);
    assert_eq!((other.code, number(&other.report["found"])), (0, 0));
    let early = redrive(&bench, &["--until", "2024-04-30"]);
    assert_eq!((early.code, number(&early.report["found"])), (0, 0));
    assert!(bench.lake().content() == before);

    let run = redrive(&bench, &["--since", "2024-05-01", "--until", "2024-05-01"]);
    run.expect(0, [2, 0], [5, 5, 0]);
    assert_eq!(number(&run.report["rejected_before"]), 1);
    assert!(bench.lake().rejects().is_empty());
    assert_eq!(bench.lake().check_ledger().len(), 5);
    let again = redrive(&bench, &[]);
    assert_eq!((again.code, number(&again.report["found"])), (0, 0));
    assert_eq!(bench.load(&[]).objects("skipped"), 2, "the ledger knows them");
}

#[test]
fn a_redrive_asks_for_no_more_events_than_the_load_did() {
    let bench = Bench::with([(&*trail_key("a"), records(&[event(1), event(2), json!(7)]))]);
    let load = bench.load(&["--account", "111122223333"]);
    let run = redrive(&bench, &[]);
    assert_eq!(run.report["records"], load.report["records"]);
    assert_eq!(run.records("excluded"), 1);
    let account = ["--account", "111122223333"];
    assert_eq!(bench.load(&account).objects("skipped"), 1);
    assert_eq!(bench.lake().entry("json.gz")["filters"], json!([{ "accounts": [account[1]] }]));
}

#[test]
fn what_is_gone_stays_in_the_rejects_and_is_named() {
    let [odd, _] = odd_and_mended();
    let bench = Bench::with([(&*trail_key("a"), odd), (&*flow_key("b"), flow_object(0..3))]);
    bench.load(&[]).expect(2, [2, 0], [5, 4, 1]);
    let before = bench.lake().content();
    // Another object of its batch.
    fs::rename(bench.archive().join(flow_key("b")), bench.path("away")).unwrap();
    let run = redrive(&bench, &[]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("also holds") && run.stderr.contains(&flow_key("b")), "{run:?}");
    fs::remove_file(bench.archive().join(trail_key("a"))).unwrap();
    let run = redrive(&bench, &[]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains(&format!("{}: it is gone", trail_key("a"))), "{run:?}");
    assert!(bench.lake().content() == before);
}

#[test]
fn damaged_objects_are_loaded_again_only_if_that_is_asked_for() {
    let bench = Bench::with([(&*trail_key("cut"), b"{\"Records\":[{\"a\":".to_vec())]);
    assert_eq!(bench.load(&[]).code, 2);
    assert_eq!(number(&redrive(&bench, &[]).report["found"]), 0);
    let forced = redrive(&bench, &["--force"]);
    assert_eq!((forced.code, number(&forced.report["found"]), forced.objects("failed")), (2, 1, 1));
}

#[test]
fn a_damaged_object_that_was_mended_is_loaded_again() {
    let bench = Bench::with([
        (&*trail_key("cut"), b"{\"Records\":[{\"a\":".to_vec()),
        (&*trail_key("still"), b"{\"Records\":[{\"a\":".to_vec()),
    ]);
    assert_eq!(bench.load(&[]).code, 2);
    bench.put(&trail_key("cut"), records(&[event(1)]));
    let run = redrive(&bench, &[]);
    assert_eq!(number(&run.report["found"]), 1, "the other one is as it was");
    // Both are of one batch.
    run.expect(2, [1, 1], [1, 1, 0]);
    assert_eq!(number(&redrive(&bench, &[]).report["found"]), 0);

    let cloud = Cloud::new();
    cloud.0.put("logs", &trail_key("cut"), b"{\"Records\":[{\"a\":".to_vec());
    assert_eq!(cloud.run(&["load", "s3://logs"]).code, 2);
    assert_eq!(number(&cloud.run(&["redrive"]).report["found"]), 0);
    cloud.0.put("logs", &trail_key("cut"), records(&[event(1)]));
    cloud.run(&["redrive"]).expect(0, [1, 0], [1, 1, 0]);
    assert_eq!(number(&cloud.run(&["redrive"]).report["found"]), 0);
}

/// A bucket with logs, a lake in another one.
struct Cloud(S3Server);

impl Cloud {
    fn new() -> Self {
        let server = S3Server::start();
        server.create_bucket("logs");
        server.create_bucket("lake");
        Self(server)
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let mut command = trailhound();
        self.0.env(&mut command);
        command.args(arguments).args(["--lake", "s3://lake/l", "--json"]);
        Run::of(&command.output().unwrap())
    }

    /// Ids of the rows, and the lines of the rejects.
    fn lake(&self) -> (Vec<String>, usize) {
        let dir = tempfile::tempdir().unwrap();
        self.0.download("lake", "l/", dir.path());
        let lake = Lake::new(dir.path());
        let mut ids: Vec<String> =
            lake.check_rows().iter().map(|row| row.uid().to_owned()).collect();
        ids.sort();
        (ids, lake.rejects().len())
    }
}

#[test]
fn after_a_redrive_a_wider_load_is_known_as_any_other() {
    let cloud = Cloud::new();
    let [odd, mended] = odd_and_mended();
    let load = ["load", "s3://logs"];
    cloud.0.put("logs", &trail_key("a"), odd);
    cloud.run(&[&load[..], &["--account", "111122223333"]].concat());
    cloud.0.put("logs", &trail_key("a"), mended);
    let redriven = cloud.run(&["redrive"]);
    assert_eq!((redriven.code, redriven.records("excluded")), (0, 1), "{redriven:?}");
    let wide = cloud.run(&load);
    assert_eq!((wide.objects("loaded"), wide.records("excluded")), (1, 0), "{wide:?}");
    let again = cloud.run(&load);
    assert_eq!((again.objects("loaded"), again.objects("skipped")), (0, 1), "{again:?}");
}

#[test]
fn in_a_bucket_mended_objects_are_staged_beside_and_published_once_and_old_rejects_go() {
    let cloud = Cloud::new();
    let [odd, mended] = odd_and_mended();
    cloud.0.put("logs", &trail_key("a"), odd.clone());
    cloud.0.put("logs", &trail_key("still"), odd);
    cloud.0.put("logs", &flow_key("b"), flow_object(0..3));
    assert_eq!(cloud.run(&["load", "s3://logs"]).code, 2);
    let (before, rejects) = cloud.lake();
    assert_eq!((before.len(), rejects), (4, 2));

    cloud.0.put("logs", &trail_key("a"), mended);
    let run = cloud.run(&["redrive"]);
    // The one that is as it was is rejected again: one line of it, of the new batch.
    run.expect(2, [2, 0], [4, 2, 1]);
    assert_eq!(number(&run.report["removed_lines"]), 2);
    let (after, rejects) = cloud.lake();
    assert_eq!((after.len(), rejects), (5, 1), "{after:?}");
    assert!(before.iter().all(|id| after.contains(id)));
    assert_eq!(cloud.run(&["load", "s3://logs"]).objects("skipped"), 3);
    assert_eq!(number(&cloud.run(&["redrive", "--dry-run"]).report["found"]), 1);
}

#[test]
fn a_redrive_that_ends_before_the_old_rejects_are_removed_is_finished_by_the_next() {
    let cloud = Cloud::new();
    let [odd, mended] = odd_and_mended();
    cloud.0.put("logs", &trail_key("a"), odd);
    assert_eq!(cloud.run(&["load", "s3://logs"]).code, 2);
    cloud.0.put("logs", &trail_key("a"), mended);
    cloud.0.deny(&["DeleteObjects", "DeleteObject"]);
    let run = cloud.run(&["redrive", "--no-publish"]);
    assert_ne!(run.code, 0, "{run:?}");
    cloud.0.no_fault();
    let run = cloud.run(&["redrive"]);
    assert_eq!((run.code, number(&run.report["found"])), (0, 0), "{run:?}");
    assert_eq!(number(&run.report["removed_lines"]), 1);
    assert_eq!(cloud.run(&["publish"]).code, 0);
    assert_eq!(cloud.lake(), (vec!["event-000001".into(), "event-000002".into()], 0));
}

#[test]
fn an_object_that_could_not_be_read_is_read_when_it_can_be() {
    let cloud = Cloud::new();
    cloud.0.put("logs", &trail_key("a"), records(&[event(1)]));
    cloud.0.put("logs", &trail_key("b"), records(&[event(2)]));
    cloud.0.fault(|operation, _, key| {
        if operation == "GetObject" && key.ends_with("b.json.gz") {
            Err(crate::support::cloud::s3::access_denied())
        } else {
            Ok(())
        }
    });
    let load = cloud.run(&["load", "s3://logs"]);
    assert_eq!((load.code, load.objects("failed")), (2, 1), "{load:?}");
    let run = cloud.run(&["redrive"]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("cannot read: "), "{run:?}");
    cloud.0.no_fault();
    cloud.run(&["redrive"]).expect(0, [1, 0], [1, 1, 0]);
    assert_eq!(cloud.lake().0, ["event-000001", "event-000002"]);
    assert_eq!(number(&cloud.run(&["redrive"]).report["found"]), 0);
}
