//! Objects whose path tells nothing are recognized by how they start.

use std::{collections::BTreeMap, fs};

use parsers::{ObjectKey, Recognition};
use serde_json::{Value, json};

use crate::support::{
    Bench, Lake, Run, event, flow_object, load_command, records, sample_archive, shared, tree,
};

/// Events without what the key of their object tells, as a sorted list.
fn without_key(lake: &Lake, by_position: bool) -> Vec<String> {
    let mut events: Vec<String> = lake
        .rows()
        .into_iter()
        .map(|mut row| {
            let is_flow = row.event["class_uid"] == 4001;
            let metadata = row.event["metadata"].as_object_mut().unwrap();
            metadata.remove("log_name");
            if is_flow {
                metadata.remove("uid");
            }
            // Region and account, where the record has none, are the key's.
            if is_flow || by_position {
                let cloud = row.event["cloud"].as_object_mut().unwrap();
                cloud.remove("region");
                cloud.remove("account");
            }
            row.event.to_string()
        })
        .collect();
    events.sort();
    events
}

/// Loads every object that its key recognizes once as it is, and once under a number as name.
fn same_rows_under_meaningless_names(archive: &std::path::Path) -> Run {
    let (plain, numbered) = (Bench::new(), Bench::new());
    let mut number = 0;
    for (key, bytes) in tree(archive) {
        if matches!(parsers::detect(&ObjectKey::new(&*key)), Recognition::Unrecognized(_)) {
            continue;
        }
        plain.put(&key, &bytes);
        numbered.put(&number.to_string(), &bytes);
        number += 1;
    }
    let (expected, found) = (plain.load(&[]), numbered.load(&[]));
    let report = |run: &Run| {
        let mut by_source = run.report["by_source"].clone();
        // Of an event in two objects one stays, by the names of the objects.
        by_source.as_object_mut().unwrap().values_mut().for_each(|counts| {
            counts.as_object_mut().unwrap().retain(|count, _| count == "in" || count == "rejected");
        });
        (by_source, run.report["by_class"].clone(), run.report["records"].clone())
    };
    assert_eq!(report(&found), report(&expected), "{}\n{}", found.stderr, expected.stderr);
    let events = [&plain, &numbered].map(|bench| without_key(&bench.lake(), true));
    assert_eq!(events[0].len(), events[1].len());
    for (ours, theirs) in events[1].iter().zip(&events[0]) {
        assert_eq!(ours, theirs);
    }
    found
}

#[test]
fn the_sample_archive_under_meaningless_names_gives_the_same_rows() {
    let run = same_rows_under_meaningless_names(&sample_archive());
    assert_eq!((run.code, run.objects("excluded")), (0, 5), "digests are told by content too");
}

#[test]
fn real_logs_under_meaningless_names_give_the_same_rows() {
    let Some(corpus) = shared("real logs under meaningless names", "corpus/dev") else { return };
    same_rows_under_meaningless_names(&corpus);
}

#[test]
fn the_output_of_lookup_events_is_loaded() {
    let looked_up: Vec<Value> = (0..3)
        .map(|n| {
            let event = event(n);
            json!({ "EventId": event["eventID"], "EventName": event["eventName"],
                "CloudTrailEvent": event.to_string(), "Resources": [] })
        })
        .collect();
    let answer = serde_json::to_string_pretty(&json!({ "Events": looked_up, "NextToken": "x" }));
    let bench = Bench::with([("lookup.json", answer.unwrap().into_bytes())]);
    let (run, lake) = bench.load_checked(&[]);
    run.expect(0, [1, 0], [3, 3, 0]);
    let direct = Bench::with([("direct.json", records(&[event(0), event(1), event(2)]))]);
    direct.load(&[]);
    assert_eq!(without_key(&lake, false), without_key(&direct.lake(), false));
}

#[test]
fn look_alikes_are_named_and_not_loaded() {
    let cases: BTreeMap<&str, (Value, &str)> = BTreeMap::from([
        (
            "1",
            (
                json!({ "Records": [{ "eventSource": "aws:s3", "eventName": "x", "s3": {} }] }),
                "an S3 event notification",
            ),
        ),
        (
            "2",
            (
                json!({ "fileVersion": "1.0", "configSnapshotId": "a", "configurationItems": [] }),
                "an AWS Config snapshot",
            ),
        ),
        (
            "3",
            (
                json!({ "Findings": [{ "SchemaVersion": "2018-10-08", "ProductArn": "a",
                    "AwsAccountId": "1", "Types": ["T"] }] }),
                "a Security Hub finding (ASFF)",
            ),
        ),
        (
            "4",
            (
                json!({ "detail-type": "AWS API Call via CloudTrail", "source": "aws.iam",
                    "detail": event(1) }),
                "CloudTrail in an EventBridge event",
            ),
        ),
        ("5", (json!({ "webaclId": "a", "httpRequest": {} }), "an AWS WAF log")),
        ("6", (json!({ "some": "JSON" }), "JSON of no known source")),
        ("7", (json!("text"), "text of no known source")),
    ]);
    let objects = cases.iter().map(|(name, (body, _))| (*name, body.to_string().into_bytes()));
    let bench = Bench::with(objects);
    let run = bench.load(&[]);
    assert_eq!((run.code, run.objects("unrecognized")), (0, 7), "{run:?}");
    for (name, (_, what)) in &cases {
        let line = run.stderr.lines().find(|line| line.contains(&format!("/{name}: "))).unwrap();
        assert!(line.ends_with(what), "{line}");
    }
    assert_eq!(run.report["by_source"], json!({}));

    // They are not read again, unless their content changes, or a source is given.
    assert_eq!(bench.load(&[]).report["bytes_in"], 0);
    bench.put("7", flow_object(0..2));
    bench.load(&[]).expect(0, [1, 0], [2, 2, 0]);
    let given = bench.load(&["--source", "cloudtrail"]);
    let read = given.objects("loaded") + given.objects("skipped");
    assert_eq!((read, given.objects("unrecognized")), (6, 1), "it is no CloudTrail anyway");
}

#[test]
fn what_a_file_is_is_told_anew_whenever_it_is_read() {
    let bench = Bench::with([("case/x", flow_object(0..2))]);
    bench.load(&[]).expect(0, [1, 0], [2, 2, 0]);
    bench.put("case/x", records(&[event(0)]));
    let run = bench.load(&[]);
    run.expect(0, [1, 0], [1, 1, 0]);
    assert_eq!(run.report["by_source"]["cloudtrail"]["in"], 1);
    bench.put("case/x", "no log any more\n");
    let run = bench.load(&[]);
    assert_eq!((run.code, run.objects("unrecognized")), (0, 1), "{run:?}");
    assert_eq!(bench.lake().rows().len(), 0, "its old rows are replaced by nothing");

    // A wrong source is put right when the file is read again, by its content or by a right one.
    bench.put("case/x", records(&[event(0)]));
    assert_eq!(bench.load(&["--source", "vpc_flow"]).code, 2);
    bench.load(&["--force"]).expect(0, [1, 0], [1, 1, 0]);
    assert_eq!(bench.load(&["--force", "--source", "vpc_flow"]).code, 2);
    bench.load(&["--force", "--source", "cloudtrail"]).expect(0, [1, 0], [1, 1, 0]);

    // A given source stays where the content does not tell.
    let bench = Bench::with([("case/y", b"start end\n1714521600 1714521660\n".to_vec())]);
    assert_eq!(bench.load(&[]).objects("unrecognized"), 1);
    bench.load(&["--source", "vpc_flow"]).expect(0, [1, 0], [1, 1, 0]);
    bench.load(&["--force"]).expect(0, [1, 0], [1, 1, 0]);
    bench.load(&["--force"]).expect(0, [1, 0], [1, 1, 0]);
    assert_eq!(bench.lake().rows().len(), 1);
}

#[test]
fn a_given_source_does_not_reach_what_was_not_asked_for() {
    let bench = Bench::with([("1", flow_object(0..5)), ("2", records(&[event(0)]))]);
    bench.load(&[]).expect(0, [2, 0], [6, 6, 0]);
    bench.put("2", records(&[event(0), event(1)]));
    bench.load(&["--source", "cloudtrail"]).expect(0, [2, 0], [7, 7, 0]);
    assert_eq!(bench.lake().check_ledger().len(), 7);
}

#[test]
fn an_object_is_in_one_batch_also_when_it_becomes_recognizable_or_comes_back() {
    let bench = Bench::with([("1", records(&[event(0)])), ("2", b"{\"a\":1}".to_vec())]);
    bench.load(&[]);
    bench.put("2", flow_object(0..5));
    bench.put("1", records(&[event(0), event(1)]));
    let run = bench.load(&[]);
    assert_eq!((run.code, run.objects("loaded")), (0, 2), "{run:?}");
    assert_eq!(bench.lake().check_ledger().len(), 7);
    bench.load(&["--force"]).expect(0, [2, 0], [7, 7, 0]);
    assert_eq!(bench.lake().check_ledger().len(), 7);

    // Loaded beside a batch of which an object is gone; once that is back, force tidies up.
    let saved = fs::read(bench.archive().join("1")).unwrap();
    fs::remove_file(bench.archive().join("1")).unwrap();
    bench.put("2", flow_object(0..6));
    bench.load(&[]).expect(0, [1, 0], [6, 6, 0]);
    assert_eq!(bench.lake().rows().len(), 13);
    bench.put("1", saved);
    bench.load(&["--force"]).expect(0, [2, 0], [8, 8, 0]);
    assert_eq!(bench.lake().check_ledger().len(), 8, "the old rows are gone");
}

#[test]
fn findings_among_other_events_are_loaded_and_the_others_rejected() {
    let finding = json!({ "schemaVersion": "2.0", "accountId": "111122223333", "id": "f",
        "region": "us-east-1", "type": "Recon:EC2/Portscan", "severity": 9.1, "service": {},
        "updatedAt": "2024-05-01T00:00:00Z" });
    let ours = json!({ "detail-type": "GuardDuty Finding", "detail": finding });
    let others = json!({ "detail-type": "Inspector2 Finding", "detail": { "type": "T",
        "updatedAt": "2024-05-01T00:00:00Z" } });
    for lines in [[&ours, &others], [&others, &ours]] {
        let text = format!("{}\n{}\n", lines[0], lines[1]);
        let bench = Bench::with([("events.json", text.into_bytes())]);
        let (run, lake) = bench.load_checked(&[]);
        run.expect(2, [1, 0], [2, 1, 1]);
        assert_eq!(lake.rejects()[0]["reason"], "not GuardDuty");
        assert_eq!(lake.rows()[0].event["severity"], "Critical");
    }
}

#[test]
fn a_case_folder_is_loaded_next_to_an_archive() {
    let bench = Bench::with([("case/notes.txt", b"read this first\n".to_vec())]);
    bench.put("case/export", flow_object(0..5));
    bench.put("case/trail.json", records(&[event(0)]));
    let (run, lake) = bench.load_checked(&[]);
    run.expect(0, [2, 0], [6, 6, 0]);
    assert_eq!(run.objects("unrecognized"), 1);
    let sources: Vec<Value> = lake.ledger().iter().map(|line| line["source"].clone()).collect();
    assert!(sources.contains(&json!("vpc_flow")) && sources.contains(&json!("cloudtrail")));
    // From now on the ledger knows what they are.
    let again = bench.load(&["--force"]);
    again.expect(0, [2, 0], [6, 6, 0]);
    assert_eq!(lake.ledger().len(), 3, "one line for each object");
    fs::remove_file(bench.archive().join("case/notes.txt")).unwrap();
    bench.load(&["--force"]).expect(0, [2, 0], [6, 6, 0]);
}

#[test]
fn names_of_accounts_go_to_every_record_and_unknown_accounts_are_told_once() {
    let bench = Bench::with([("trail.json", records(&(0..12).map(event).collect::<Vec<_>>()))]);
    bench.put("flows", flow_object(0..3));
    let file = bench.path("accounts.csv");
    fs::write(&file, "id,name,ou,owner\n111122223333,production,Workloads,team-a\n").unwrap();
    let run = bench.load(&["--accounts", file.to_str().unwrap()]);
    assert_eq!(run.code, 0, "{run:?}");
    let mut named = 0;
    for row in bench.lake().check(&run.report) {
        let is_known = row.text("/cloud/account/uid") == "111122223333";
        let name = is_known.then_some(json!("production"));
        assert_eq!(row.event.pointer("/cloud/account/name").cloned(), name);
        let labels = is_known.then_some(json!(["ou:Workloads", "owner:team-a"]));
        assert_eq!(row.event.pointer("/metadata/labels").cloned(), labels);
        named += usize::from(is_known);
    }
    assert!(named > 5, "{named}");
    let told = "1 accounts have no name in the accounts file: 444455556666";
    assert_eq!(run.stderr.matches(told).count(), 1, "{}", run.stderr);

    // A wrong file is one error before anything is loaded.
    fs::write(&file, "id,name\nx,y\n").unwrap();
    let other = bench.path("other");
    let mut command =
        load_command(&bench.archive(), &other, &["--accounts", file.to_str().unwrap()]);
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("accounts.csv: line 2, column 1: no account id"), "{error}");
    assert!(!other.exists(), "nothing was begun");
}
