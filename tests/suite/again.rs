//! Loading again: what is loaded is not loaded twice, what has changed replaces what was there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use serde_json::Value;

use crate::support::{
    ACCOUNTS, Bench, Lake, REGIONS, event, flow_key, flow_object, gzip, logs::event_of_day, number,
    records, sample_archive, trail_key, trail_key_of,
};

/// Rows without what another batch may change, as sets of each partition.
fn partitions(lake: &Lake) -> BTreeMap<String, BTreeSet<String>> {
    let mut partitions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in lake.rows() {
        let rows = partitions.entry(row.folder().to_owned()).or_default();
        assert!(rows.insert(row.event.to_string()), "twice: {row:?}");
    }
    partitions
}

fn no_uid_twice(lake: &Lake) {
    let mut seen = BTreeSet::new();
    for row in lake.rows() {
        assert!(seen.insert((row.folder().to_owned(), row.uid().to_owned())), "twice: {row:?}");
    }
}

#[test]
fn a_second_load_adds_nothing_and_says_so() {
    let bench = Bench::new();
    let lake = bench.lake();
    let load = || {
        let mut command = crate::support::load_command(&sample_archive(), &lake.dir, &[]);
        crate::support::Run::of(&command.output().unwrap())
    };
    let first = load();
    let content = lake.content();
    let second = load();
    assert_eq!(second.code, 0);
    assert_eq!(second.objects("skipped"), first.objects("loaded"));
    assert_eq!(second.objects("excluded"), first.objects("excluded"));
    second.expect(0, [0, 0], [0, 0, 0]);
    assert_eq!(second.report["bytes_in"], 0, "nothing is read");
    assert_eq!(second.report["files"], 0);
    assert!(lake.content() == content, "the lake is the same byte by byte");
}

#[test]
fn what_is_new_is_loaded_and_what_was_there_stays() {
    let bench = Bench::with([(&*trail_key("a"), records(&[event(0)]))]);
    bench.load(&[]).expect(0, [1, 0], [1, 1, 0]);
    let files = bench.lake().files();
    bench.put(&trail_key("b"), records(&[event(6)]));
    let run = bench.load(&[]);
    run.expect(0, [1, 0], [1, 1, 0]);
    assert_eq!(run.objects("skipped"), 1);
    assert!(files.iter().all(|file| bench.lake().files().contains(file)));
    bench.lake().check_ledger();
    no_uid_twice(&bench.lake());
}

#[test]
fn force_replaces_the_files_of_a_batch_by_the_same() {
    let bench = Bench::with([
        (&*trail_key("a"), gzip(&records(&[event(0), event(1), event(2)]))),
        (&*trail_key("b"), records(&[event(2), event(3)])),
        (&*flow_key("c"), flow_object(0..10)),
    ]);
    let (first, lake) = bench.load_checked(&[]);
    let (files, rows, ledger) = (lake.files(), partitions(&lake), lake.ledger());
    let second = bench.load(&["--force"]);
    assert_eq!(second.report["objects"], first.report["objects"]);
    assert_eq!(second.report["records"], first.report["records"]);
    assert_eq!(lake.files(), files, "the same paths");
    assert!(partitions(&lake) == rows, "the same rows");
    assert_eq!(lake.ledger(), ledger);
    lake.check(&second.report);
}

#[test]
fn force_after_a_second_batch_keeps_every_batch_as_it_was() {
    let bench = Bench::with([(&*trail_key("a"), records(&[event(0), event(1)]))]);
    bench.load(&[]);
    bench.put(&trail_key("b"), records(&[event(1), event(2)]));
    bench.load(&[]);
    let (files, rows) = (bench.lake().files(), bench.lake().rows());
    let run = bench.load(&["--force"]);
    run.expect(0, [2, 0], [4, 4, 0]);
    assert_eq!(bench.lake().files(), files);
    assert_eq!(bench.lake().rows(), rows);
    bench.lake().check_ledger();
}

#[test]
fn a_narrow_load_is_not_skipped_under_a_wider_filter_and_nothing_is_twice() {
    let (day_1, day_2) = (event_of_day(0, 0), event_of_day(1, 1));
    let key = trail_key_of(ACCOUNTS[0], REGIONS[0], "2024/05/02", "x");
    let bench = Bench::with([(&*key, records(&[day_1, day_2]))]);
    let (run, lake) = bench.load_checked(&["--since", "2024-05-02"]);
    run.expect(0, [1, 0], [2, 1, 0]);
    assert_eq!(run.records("excluded"), 1);
    assert_eq!(lake.entry(&key)["filters"][0]["since"], 1_714_608_000_000_i64);

    let narrower = bench.load(&["--since", "2024-05-02T12:00:00Z"]);
    assert_eq!(narrower.objects("skipped"), 1, "a narrower filter wants nothing new");

    let run = bench.load(&[]);
    run.expect(0, [1, 0], [2, 2, 0]);
    lake.check(&run.report);
    no_uid_twice(&lake);

    // And now the narrow filter is covered: the rows of the wide one stay.
    assert_eq!(bench.load(&["--since", "2024-05-02"]).objects("skipped"), 1);
    assert_eq!(lake.rows().len(), 2);
}

#[test]
fn two_filters_that_cover_neither_each_other_both_keep_their_rows() {
    let key = trail_key_of(ACCOUNTS[0], REGIONS[0], "2024/05/02", "x");
    let events: Vec<Value> = (0..3).map(|day| event_of_day(day, day)).collect();
    let bench = Bench::with([(&*key, records(&events))]);
    bench.load(&["--since", "2024-05-01", "--until", "2024-05-02"]).expect(0, [1, 0], [3, 1, 0]);
    bench.load(&["--since", "2024-05-03", "--until", "2024-05-04"]);
    let lake = bench.lake();
    let uids: BTreeSet<String> = lake.rows().iter().map(|row| row.uid().to_owned()).collect();
    let expected = ["event-000000", "event-000002"].map(str::to_owned);
    assert_eq!(uids, BTreeSet::from(expected), "and nothing of the day between");
    no_uid_twice(&lake);
    lake.check_ledger();
}

#[test]
fn a_failed_object_is_reported_again_but_not_read_again() {
    let whole = gzip(&records(&[event(0), event(1)]));
    let (bad, good) = (trail_key("bad"), trail_key("good"));
    let bench =
        Bench::with([(&*bad, whole[..whole.len() - 8].to_vec()), (&*good, records(&[event(2)]))]);
    let first = bench.load(&[]);
    first.expect(2, [1, 1], [3, 3, 0]);
    let content = bench.lake().content();
    let second = bench.load(&[]);
    second.expect(2, [0, 1], [0, 0, 0]);
    assert_eq!(second.objects("skipped"), 1);
    assert_eq!(second.report["bytes_in"], 0);
    assert!(second.stderr.contains("bad.json.gz") && second.stderr.contains("ends early"));
    assert!(bench.lake().content() == content);

    // Delivered whole it replaces what was kept of it.
    bench.put(&bad, &whole);
    let third = bench.load(&[]);
    assert_eq!((third.code, third.objects("failed")), (0, 0), "{third:?}");
    no_uid_twice(&bench.lake());
    assert_eq!(bench.lake().rows().len(), 3);
    bench.lake().check_ledger();
}

#[test]
fn an_object_whose_content_changed_replaces_its_rows() {
    let key = trail_key("x");
    let bench = Bench::with([
        (&*key, records(&[event(0), event(1)])),
        (&*trail_key("y"), records(&[event(2)])),
    ]);
    bench.load(&[]);
    bench.put(&key, records(&[event(0), event(3), event(4)]));
    let run = bench.load(&[]);
    assert_eq!(run.code, 0);
    let mut uids: Vec<String> = bench.lake().rows().iter().map(|row| row.uid().into()).collect();
    uids.sort();
    assert_eq!(uids, ["event-000000", "event-000002", "event-000003", "event-000004"]);
    bench.lake().check_ledger();
    assert_eq!(bench.load(&[]).objects("skipped"), 2);
}

#[test]
fn what_has_changed_is_loaded_beside_a_batch_of_which_an_object_is_gone() {
    let keys = ["gone", "changed", "same"].map(trail_key);
    let bench =
        Bench::with(keys.iter().map(String::as_str).zip((0..3).map(|n| records(&[event(n)]))));
    bench.load(&[]);
    let before = bench.lake().rows();
    fs::remove_file(bench.archive().join(&keys[0])).unwrap();
    bench.put(&keys[1], records(&[event(1), event(3)]));
    let run = bench.load(&[]);
    run.expect(0, [1, 0], [2, 2, 0]);
    assert_eq!(run.objects("skipped"), 1);
    assert!(run.stderr.contains("gone.json.gz, which is gone"), "{}", run.stderr);
    let rows = bench.lake().check_ledger();
    assert!(before.iter().all(|row| rows.contains(row)), "what was there stays");
    assert_eq!(rows.len(), 5);

    // From now on the new batch counts for the object that has changed, the old one for the other.
    assert_eq!(bench.load(&[]).objects("skipped"), 2);
    bench.put(&keys[1], records(&[event(1), event(4)]));
    bench.load(&[]).expect(0, [1, 0], [2, 2, 0]);
    assert_eq!(bench.lake().check_ledger().len(), 5);

    // Force replaces the new batch; the old one cannot be replaced, and nothing of it is doubled.
    for _ in 0..2 {
        let run = bench.load(&["--force"]);
        run.expect(0, [1, 0], [2, 2, 0]);
        assert_eq!(run.objects("skipped"), 1);
        assert_eq!(bench.lake().check_ledger().len(), 5);
    }
}

#[test]
fn rejects_of_an_object_that_is_loaded_again_are_not_doubled() {
    let list = [event(0).to_string(), "null".to_owned()];
    let key = trail_key("x");
    let bench = Bench::with([(&*key, crate::support::logs::raw_records(&list))]);
    bench.load(&[]).expect(2, [1, 0], [2, 1, 1]);
    assert_eq!(bench.load(&[]).code, 0, "nothing new is lost");
    let run = bench.load(&["--force"]);
    run.expect(2, [1, 0], [2, 1, 1]);
    bench.lake().check(&run.report);
    // Repaired, nothing is left of the reject.
    bench.put(&key, records(&[event(0), event(1)]));
    let run = bench.load(&[]);
    run.expect(0, [1, 0], [2, 2, 0]);
    assert_eq!(bench.lake().rejects(), [] as [Value; 0]);
    assert_eq!(number(&bench.lake().entry(&key)["records"]["rejected"]), 0);
}

#[test]
fn a_dry_run_tells_what_would_be_loaded_and_writes_nothing() {
    let bench =
        Bench::with([(&*trail_key("a"), records(&[event(0)])), ("AWSLogs/x", b"stray".to_vec())]);
    let run = bench.load(&["--dry-run"]);
    assert_eq!((run.code, run.objects("loaded"), run.objects("unrecognized")), (0, 2, 0));
    assert_eq!(run.records("in"), 0);
    assert!(!bench.path("lake").exists());

    bench.load(&[]);
    let content = bench.lake().content();
    bench.put(&trail_key("b"), records(&[event(1)]));
    let run = bench.load(&["--dry-run"]);
    assert_eq!((run.objects("loaded"), run.objects("skipped")), (1, 1));
    assert_eq!(bench.load(&["--dry-run", "--force"]).objects("loaded"), 3);
    assert!(bench.lake().content() == content);
}

#[test]
fn state_lies_where_it_is_told() {
    let bench = Bench::with([(&*trail_key("a"), records(&[event(0)]))]);
    let state = bench.path("state");
    let arguments = ["--state", state.to_str().unwrap()];
    let run = bench.load(&arguments);
    let lake = Lake { state: state.clone(), ..bench.lake() };
    lake.check(&run.report);
    assert_eq!(bench.lake().ledger(), [] as [Value; 0]);
    assert_eq!(bench.load(&arguments).objects("skipped"), 1);
}

#[test]
fn a_lost_state_folder_leaves_no_stale_part_of_the_same_batch() {
    let bench = Bench::new();
    let objects: Vec<_> = (0..40).map(|n| crate::support::padded(n, 200_000)).collect();
    for (n, event) in objects.iter().enumerate() {
        bench.put(&trail_key(&n.to_string()), records([event]));
    }
    let lake = bench.lake();
    let small = bench.load(&["--memory", "128MB", "--jobs", "1"]);
    let files = lake.files().len();
    fs::remove_dir_all(lake.dir.join("_trailhound")).unwrap();
    let large = bench.load(&["--memory", "2GB", "--jobs", "1"]);
    assert_eq!((small.records("parquet"), large.records("parquet")), (40, 40));
    assert!(lake.files().len() <= files);
    no_uid_twice(&lake);
}
