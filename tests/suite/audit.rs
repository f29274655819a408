//! What the archives hold against what the ledger says.

use std::{fs, process::Command};

use serde_json::{Value, json};

use crate::support::{
    ACCOUNTS, Bench, REGIONS, Run, cloud::s3::S3Server, event, flow_key, flow_object, gzip, number,
    records, sample_archive, trail_key, trailhound,
};

fn audit(bench: &Bench, extra: &[&str]) -> Run {
    Run::of(&command(bench, extra).arg("--json").output().unwrap())
}

fn command(bench: &Bench, extra: &[&str]) -> Command {
    let mut command = trailhound();
    command.arg("audit").arg(bench.archive()).arg("--lake").arg(bench.path("lake")).args(extra);
    command
}

/// The ends of the names of objects of a kind, in order.
fn named(run: &Run, kind: &str, bench: &Bench) -> Vec<String> {
    let root = format!("{}/", fs::canonicalize(bench.archive()).unwrap().display());
    let list = run.report[kind].as_array().unwrap();
    let mut names: Vec<String> = list
        .iter()
        .map(|one| one["object"].as_str().unwrap().strip_prefix(&root).unwrap().to_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn an_archive_half_loaded_lacks_exactly_the_rest_and_load_brings_it() {
    let bench = Bench::with([
        (&*trail_key("a"), records(&[event(1)])),
        (&*flow_key("b"), flow_object(0..3)),
        ("notes.txt", b"nothing that anybody knows\n".to_vec()),
    ]);
    assert_eq!(bench.load(&[]).code, 0);
    let done = audit(&bench, &[]);
    assert_eq!((done.code, done.objects("loaded"), done.objects("missing")), (0, 2, 0));
    assert_eq!((done.report["complete"].as_bool(), done.objects("unrecognized")), (Some(true), 1));
    let until = |run: &Run, source: &str| run.report["by_source"][source]["complete_until"].clone();
    assert_eq!(until(&done, "cloudtrail"), "2024-05-01T00:05:00Z");
    assert_eq!(audit(&bench, &["--strict"]).code, 2);

    let new = [flow_key("new"), trail_key("new")];
    bench.put(&new[0], flow_object(3..5));
    bench.put(&new[1], records(&[event(2)]));
    bench.put(&trail_key("a"), records(&[event(1), event(3)]));
    let before = bench.lake().content();
    let run = audit(&bench, &[]);
    assert_eq!((run.code, run.objects("loaded")), (2, 1));
    let mut expected = new.to_vec();
    expected.sort();
    assert_eq!(named(&run, "missing", &bench), expected);
    assert_eq!(named(&run, "changed", &bench), [trail_key("a")]);
    assert_eq!(until(&run, "vpc_flow"), "2024-05-01T00:10:00Z", "the oldest that is not loaded");
    let of_account = &run.report["by_source"]["vpc_flow"]["by_account"][ACCOUNTS[0]];
    assert_eq!((number(&of_account["loaded"]), number(&of_account["missing"])), (1, 1));
    assert!(bench.lake().content() == before, "an audit writes nothing");
    let of_source = audit(&bench, &["--source", "vpc_flow"]);
    let expected = [&*flow_key("new"), "notes.txt"];
    assert_eq!(
        named(&of_source, "missing", &bench),
        expected,
        "a load would read the notes as that"
    );

    let run = audit(&bench, &["--load"]);
    assert_eq!(run.code, 0, "{run:?}");
    let loaded = number(&run.report["load"]["objects"]["loaded"]);
    assert_eq!(loaded, 4, "what has changed is read with its batch: {run:?}");
    assert_eq!(audit(&bench, &[]).code, 0);
}

#[test]
fn a_damaged_object_is_failed_with_its_reason_and_rejected_records_are_counted() {
    let whole = gzip(&records(&[event(1), event(2)]));
    let bench = Bench::with([
        (&*trail_key("cut"), whole[..whole.len() - 9].to_vec()),
        (&*trail_key("odd"), b"{\"Records\":[7]}".to_vec()),
    ]);
    assert_eq!(bench.load(&[]).code, 2);
    let run = audit(&bench, &[]);
    assert_eq!((run.code, run.objects("failed"), run.objects("loaded")), (2, 1, 1));
    assert_eq!(named(&run, "failed", &bench), [trail_key("cut")]);
    let why = run.report["failed"][0]["why"].as_str().unwrap();
    assert!(why.starts_with("the gzip data ends early (byte "), "{why}");
    assert!(run.stderr.contains(why), "{run:?}");
    assert_eq!(number(&run.report["rejected"]), 1);
    // Mended, it has changed.
    bench.put(&trail_key("cut"), whole);
    assert_eq!(audit(&bench, &[]).objects("changed"), 1);
    assert_eq!(audit(&bench, &["--load"]).code, 2, "the odd one is read again with its batch");
    let run = audit(&bench, &[]);
    assert_eq!((run.code, number(&run.report["rejected"])), (0, 1));
    assert_eq!(audit(&bench, &["--strict"]).code, 2);
}

#[test]
fn what_was_loaded_under_a_narrower_filter_is_missing() {
    let bench = Bench::with([(&*trail_key("a"), records(&[event(1), event(2)]))]);
    assert_eq!(bench.load(&["--account", ACCOUNTS[0]]).code, 0);
    assert_eq!(audit(&bench, &["--account", ACCOUNTS[0]]).code, 0);
    let run = audit(&bench, &[]);
    assert_eq!((run.code, run.objects("missing")), (2, 1));
    assert!(run.stderr.contains("loaded with a narrower filter only"), "{run:?}");
}

/// A flow log object for an hour of two days; nothing is read of it here.
fn hourly(bench: &Bench, account: &str, hour: u64) {
    let (day, hour) = (1 + hour / 24, hour % 24);
    bench.put(
        &format!(
            "AWSLogs/{account}/vpcflowlogs/us-east-1/2024/05/{day:02}/{account}_vpcflowlogs_us-east-1_fl-0a_202405{day:02}T{hour:02}10Z_a.log.gz"
        ),
        "",
    );
}

#[test]
fn a_silent_hour_of_a_steady_stream_is_a_gap_and_one_of_a_quiet_stream_is_none() {
    let bench = Bench::new();
    let [steady, quiet] = ACCOUNTS;
    for hour in 0..48 {
        if hour != 30 && hour != 31 {
            hourly(&bench, steady, hour);
        }
        if hour % 24 < 18 {
            hourly(&bench, quiet, hour);
        }
    }
    assert_eq!(bench.load(&[]).code, 0);
    let run = audit(&bench, &[]);
    let gap = json!([{
        "source": "vpc_flow", "account": steady, "region": REGIONS[0], "stopped": false,
        "from": "2024-05-02T06:00:00Z", "until": "2024-05-02T08:00:00Z", "hours": 2,
    }]);
    assert_eq!((run.code, &run.report["gaps"]), (2, &gap), "{run:?}");
    let until = audit(&bench, &["--until", "2024-05-02T06:00:00Z"]);
    assert_eq!((until.code, &until.report["gaps"]), (0, &json!([])));
    let text = command(&bench, &[]).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    let told = format!(
        "gap: vpc_flow, account {steady}, us-east-1: nothing arrived from 2024-05-02T06:00:00Z until 2024-05-02T08:00:00Z, 2 hours"
    );
    assert!(text.starts_with(&told), "what is missing comes first: {text}");
    assert!(text.ends_with("not complete: 1 gaps\n"), "{text}");
}

#[test]
fn buckets_are_compared_with_a_ledger_in_a_bucket_without_opening_an_object() {
    let server = S3Server::start();
    server.create_bucket("logs");
    server.create_bucket("lake");
    server.upload_dir(&sample_archive(), "logs", "org/");
    let run = |command: &str, extra: &[&str]| {
        let mut program = trailhound();
        server.env(&mut program);
        // In a bucket logs are expected until now.
        let window = ["--until", "2025-06-05"];
        program.args([command, "s3://logs/org", "--lake", "s3://lake/l", "--json"]);
        Run::of(&program.args(window).args(extra).output().unwrap())
    };
    assert_eq!(run("load", &["--source", "guardduty"]).code, 0);
    server.reset_requests();
    let audit = run("audit", &[]);
    let found = ["loaded", "missing", "failed"].map(|state| audit.objects(state));
    assert_eq!((audit.code, found), (2, [27, 522, 0]), "{audit:?}");
    assert_eq!(server.requests().get("PutObject"), None);
    let named = audit.report["missing"].as_array().unwrap();
    assert!(named.iter().all(|one| one["object"].as_str().unwrap().starts_with("s3://logs/org/")));
    assert_eq!(named.len(), 20);
    let load = run("audit", &["--load"]);
    assert_eq!((load.code, number(&load.report["load"]["objects"]["loaded"])), (0, 522));
    let done = run("audit", &[]);
    assert_eq!((done.code, done.objects("loaded")), (0, 549), "{done:?}");

    server.deny(&["ListObjectsV2"]);
    assert_ne!(run("audit", &[]).code, 0);
}

#[test]
fn an_audit_of_nothing_does_not_start() {
    let bench = Bench::new();
    let mut command = trailhound();
    command.arg("audit").arg(bench.path("missing")).arg("--lake").arg(bench.path("lake"));
    let run = Run::of(&command.output().unwrap());
    assert_eq!((run.code, run.report), (1, Value::Null));
}
