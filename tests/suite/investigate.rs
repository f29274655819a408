//! `trailhound investigate`: the planted incidents, from whatever one starts with.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    path::Path,
    process::Command,
    process::Stdio,
};

use serde_json::Value;

use crate::support::{
    Bench, Run,
    ask::{Answer, investigate, investigate_command, query, sample_lake},
    load_command, not_run, number, sample_archive, shared, trailhound,
};

fn texts<'v>(rows: &'v Value, name: &str) -> BTreeSet<&'v str> {
    rows.as_array().unwrap().iter().map(|row| row[name].as_str().unwrap()).collect()
}

fn incident() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/incident.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Its findings, and what else one may know at first.
fn starts(key: &Value) -> Vec<String> {
    let findings = key["guardduty"]["findings"].as_array().unwrap().iter();
    let mut starts: Vec<String> =
        findings.map(|finding| finding["id"].as_str().unwrap().to_owned()).collect();
    starts.extend(key["keys"].as_object().unwrap().keys().cloned());
    for pointer in [
        "/address",
        "/user_arn",
        "/user",
        "/new_user",
        "/instance/id",
        "/roles/2/arn",
        "/roles/2/session",
        "/cloudtrail/events/0/id",
    ] {
        starts.push(key.pointer(pointer).unwrap().as_str().unwrap().to_owned());
    }
    starts
}

#[test]
fn the_incident_of_the_sample_archive_is_found_whole_from_wherever_one_starts() {
    let key = incident();
    let expected = texts(&key["cloudtrail"]["events"], "id");
    for start in starts(&key) {
        let report = investigate(sample_lake(), &start);
        assert!(texts(&report["timeline"], "uid") == expected, "{start}");
        let found = texts(&report["findings"], "uid");
        assert_eq!(found.len(), key["guardduty"]["findings"].as_array().unwrap().len(), "{start}");
        let reasons = texts(&report["timeline"], "why");
        assert!(reasons.iter().all(|why| !why.is_empty()), "{start}");
    }
}

#[test]
fn a_report_says_what_stands_what_was_touched_and_how_sure_it_is() {
    let key = incident();
    let report = investigate(sample_lake(), key["key"].as_str().unwrap());
    let summary = report["summary"].as_str().unwrap();
    for part in [key["user_arn"].as_str().unwrap(), key["address"].as_str().unwrap(), "126 calls"] {
        assert!(summary.contains(part), "{part}: {summary}");
    }
    let standing = texts(&report["still_standing"], "what");
    // The new user and its key were deleted in the morning; nobody thought of the rest.
    // The last session has ended since.
    let expected = ["instance", "open security group", "way out of a security group"];
    assert_eq!(standing, expected.into());
    let failed = report["timeline"].as_array().unwrap().iter();
    let failed = failed.filter(|row| row["outcome"] != "Success").count() as u64;
    assert_eq!(failed, number(&key["cloudtrail"]["failed"]));
    let link = |from: &str, to: &str, kind: &str| {
        let links = report["links"].as_array().unwrap();
        let is_it =
            |link: &&Value| link["from"] == from && link["to"] == to && link["kind"] == kind;
        assert!(links.iter().any(|link| is_it(&link)), "{from} {kind} {to}");
    };
    link("AKIAIOSFODNN7EXAMPLE", "AKIAI7EXAMPLEBACKDOR", "gave_out");
    link("AKIAIOSFODNN7EXAMPLE", "ASIAY59UFWBQIEXAMPLE", "gave_out");
    link("AKIAI7EXAMPLEBACKDOR", key["instance"]["id"].as_str().unwrap(), "started");
    // The key had a life before, which is counted and not told.
    assert!(number(&report["usual"]["calls"]) > 0 || report["usual"]["baseline_since"].is_string());
    assert_eq!(report["usual"]["uses"], serde_json::json!([]));
}

#[test]
fn the_same_question_gets_the_same_bytes() {
    let ask = || {
        let mut command = investigate_command(sample_lake(), "203.0.113.77", &["--include-usual"]);
        Answer::of(&mut command).stdout
    };
    assert!(ask() == ask());
}

#[test]
fn a_gap_in_the_data_of_the_story_is_told_and_changes_the_exit_status() {
    let bench = Bench::new();
    let copy = Command::new("cp").arg("-r").arg(sample_archive()).arg(bench.path("copy")).status();
    assert!(copy.unwrap().success());
    let day = bench.path("copy/AWSLogs");
    let mut damaged = None;
    for entry in walkdir::WalkDir::new(&day).into_iter().map(Result::unwrap) {
        let entry = entry.into_path();
        let name = entry.to_string_lossy().into_owned();
        if name.contains("444455556666_CloudTrail_us-east-1_20250603T22") {
            fs::write(&entry, b"\x1f\x8bno gzip").unwrap();
            damaged = Some(name);
        }
    }
    let damaged = damaged.expect("the archive has such an object");
    let lake = bench.lake();
    let run = Run::of(&load_command(&bench.path("copy"), &lake.dir, &[]).output().unwrap());
    assert_eq!(run.code, 2);
    let answer = Answer::of(&mut investigate_command(&lake.dir, "203.0.113.77", &[]));
    assert_eq!(answer.code, 3, "{}", answer.stderr);
    let report: Value = serde_json::from_str(&answer.stdout).unwrap();
    let name = damaged.rsplit('/').next().unwrap();
    let gaps = texts(&report["gaps"], "what");
    assert!(gaps.iter().any(|what| what.contains(name)), "{gaps:?}");
    // Not the business of a story elsewhere.
    let other =
        Answer::of(&mut investigate_command(&lake.dir, "3ed838a402dfdb2cab0f0c2ede16b66c", &[]));
    assert!(!other.stdout.contains(name) || other.code == 3);
}

#[test]
fn what_only_requests_or_flows_or_findings_name_is_a_subject_too() {
    let report = investigate(sample_lake(), "sg-0d1e2f30415263748");
    let whats = texts(&report["timeline"], "what");
    assert!(whats.contains("ec2 AuthorizeSecurityGroupIngress"), "{whats:?}");
    let report = investigate(sample_lake(), "prod/crm-api");
    assert!(texts(&report["timeline"], "what").contains("secretsmanager GetSecretValue"));
    // Seventeen principals call from it.
    let report = investigate(sample_lake(), "192.0.2.81");
    assert!(report["summary"].as_str().unwrap().contains("17 principals use it"), "{report:#}");
    assert_eq!(
        (report["timeline"].as_array().unwrap().len(), number(&report["usual"]["calls"])),
        (0, 0)
    );
    for inside in ["10.9.2.14", "eni-0bb22cc33dd44ee55"] {
        let report = investigate(sample_lake(), inside);
        assert!(!report["network"].as_array().unwrap().is_empty(), "{inside}");
    }
}

#[test]
fn the_call_that_a_finding_is_about_is_told() {
    let report = investigate(sample_lake(), "5c7cd22a2ddbe83cdf3f64aec4e49a4d");
    let rows = report["timeline"].as_array().unwrap();
    let about = rows.iter().find(|row| row["what"] == "s3 PutBucketLogging").unwrap();
    let why = about["why"].as_str().unwrap();
    assert!(why.contains("ServerAccessLoggingDisabled is about it"), "{why}");
}

#[test]
fn who_is_not_in_the_lake_is_told_what_was_searched() {
    let answer = Answer::of(&mut investigate_command(sample_lake(), "AKIAXXXXXXXXXXXXXXXX", &[]));
    assert_eq!((answer.code, answer.stdout.as_str()), (1, ""));
    assert!(answer.stderr.contains("in no call, no finding and no flow"), "{}", answer.stderr);
    let id = "848228c72339d770fe53d1f9c8b3a6a8";
    let answer = Answer::of(&mut investigate_command(sample_lake(), id, &[]));
    assert!(
        answer.stderr.contains("did you mean 848228c72339d770fe53d1f9c8b3a6a7"),
        "{}",
        answer.stderr
    );
    let none =
        investigate_command(sample_lake(), "203.0.113.77", &["--until", "2025-06-01"]).output();
    assert_eq!(none.unwrap().status.code(), Some(1));
}

#[test]
fn findings_are_listed_and_the_newest_is_taken() {
    let mut list = investigate_command(sample_lake(), "", &["--list-findings"]);
    let answer = Answer::of(&mut list);
    let first = answer.stdout.lines().next().unwrap();
    let mut newest = investigate_command(sample_lake(), "", &["--latest-finding"]);
    let report: Value = serde_json::from_str(&Answer::of(&mut newest).stdout).unwrap();
    let id = report["subject"]["value"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    assert!(first.ends_with(&id), "{first}: {id}");
}

#[test]
fn a_finding_that_is_not_in_the_lake_yet_is_followed_all_the_same() {
    let raw = serde_json::json!({
        "AccountId": "444455556666", "Region": "us-east-1", "Partition": "aws", "SchemaVersion": "2.0",
        "Id": "0123456789abcdef0123456789abcdef",
        "Arn": "arn:aws:guardduty:us-east-1:444455556666:detector/d/finding/0123456789abcdef0123456789abcdef",
        "Type": "Recon:IAMUser/MaliciousIPCaller", "Severity": 5, "Title": "as the API shows it",
        "CreatedAt": "2025-06-03T23:00:00.000Z", "UpdatedAt": "2025-06-03T23:00:00.000Z",
        "Resource": { "ResourceType": "AccessKey", "AccessKeyDetails": {
            "AccessKeyId": "AKIAIOSFODNN7EXAMPLE", "PrincipalId": "AIDAX", "UserName": "build-bot",
            "UserType": "IAMUser" } },
        "Service": { "Action": { "ActionType": "AWS_API_CALL", "AwsApiCallAction": {
            "Api": "ListUsers", "ServiceName": "iam.amazonaws.com",
            "RemoteIpDetails": { "IpAddressV4": "203.0.113.77" } } },
            "EventFirstSeen": "2025-06-03T22:41:13.000Z", "EventLastSeen": "2025-06-03T22:50:00.000Z" },
    });
    let mut command = investigate_command(sample_lake(), "", &["--finding-json", "-"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let body = serde_json::json!({ "Findings": [raw] }).to_string();
    child.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(texts(&report["timeline"], "uid") == texts(&incident()["cloudtrail"]["events"], "id"));
    assert!(texts(&report["findings"], "title").contains("as the API shows it"));
}

fn generated_incident_is_found(seed: &str, more: &[&str]) {
    let test = "incident of a generated corpus";
    let Some(generator) = shared(test, "tools/gen_corpus.py") else { return };
    let bench = Bench::new();
    let (corpus, key) = (bench.path("corpus"), bench.path("key.json"));
    let mut command = Command::new("python3");
    command.arg(generator).arg("--out").arg(&corpus).arg("--answer-key").arg(&key);
    command.args(["--cloudtrail-mb", "3", "--vpcflow-mb", "2", "--guardduty-n", "60"]);
    let Ok(output) = command.args(["--jobs", "1", "--seed", seed]).args(more).output() else {
        return not_run(test, "there is no python3");
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let key: Value = serde_json::from_str(&fs::read_to_string(key).unwrap()).unwrap();
    let lake = bench.lake();
    assert_eq!(Run::of(&load_command(&corpus, &lake.dir, &[]).output().unwrap()).code, 0);

    let incident = &key["incident"];
    let stages = incident["stages"].as_object().unwrap().values();
    let expected: BTreeSet<&str> =
        stages.flat_map(|stage| stage.as_array().unwrap()).map(|id| id.as_str().unwrap()).collect();
    let entity = |name: &str| incident["entities"][name].as_str().unwrap().to_owned();
    let findings = texts(&incident["findings"], "id");
    let role = format!("arn:aws:iam::{}:role/app-server", entity("accountId"));
    let weak = [entity("attackerIp1"), entity("instanceId"), entity("backdoorAccessKeyId"), role];
    for start in findings.iter().map(|id| (*id).to_owned()).chain(weak) {
        let answer = Answer::of(&mut investigate_command(&lake.dir, &start, &[]));
        let report: Value = serde_json::from_str(&answer.stdout).expect(&answer.stderr);
        assert!(texts(&report["timeline"], "uid") == expected, "seed {seed}, {start}");
        let found: BTreeSet<&str> = texts(&report["findings"], "uid")
            .into_iter()
            .map(|uid| uid.rsplit('/').next().unwrap())
            .collect();
        assert_eq!(found, findings, "seed {seed}, {start}");
        let between = |one: &str, other: &str| {
            let ends = BTreeSet::from([entity(one), entity(other)]);
            let rows = report["network"].as_array().unwrap().iter().filter(|row| {
                let of = |end: &str| row[end].as_str().unwrap().to_owned();
                BTreeSet::from([of("src_ip"), of("dst_ip")]) == ends && row["action"] == "Allowed"
            });
            rows.fold((0, 0), |(flows, bytes), row| {
                (flows + number(&row["count"]), bytes + number(&row["bytes"]))
            })
        };
        let queries = &incident["queries"];
        let ssh = &queries["Q3_accepted_flows_attacker_ip1_and_instance_either_direction"];
        let expected_ssh = (number(&ssh["count"]), number(&ssh["bytes"]));
        assert_eq!(between("attackerIp1", "instancePrivateIp"), expected_ssh, "{start}");
        let c2 = &queries["Q4_flows_instance_to_c2"];
        let sum = |what: &str| number(&c2["egress"][what]) + number(&c2["ingress"][what]);
        assert_eq!(between("c2Ip", "instancePrivateIp"), (sum("flows"), sum("bytes")), "{start}");
    }
}

#[test]
fn a_generated_incident_is_found_whole() {
    generated_incident_is_found("5", &["--accounts", "3", "--regions", "2"]);
}

#[test]
fn a_generated_incident_among_more_accounts_is_found_whole() {
    generated_incident_is_found("31", &["--accounts", "6", "--regions", "1"]);
}

#[test]
#[expect(clippy::disallowed_types, reason = "a reader that is not the product's")]
fn the_raw_record_of_an_event_is_fetched_from_its_object() {
    let lake = sample_lake();
    for class in ["api_activity", "authentication", "network_activity", "detection_finding"] {
        let sql = format!("SELECT uid, log_name FROM events WHERE class = '{class}' ORDER BY uid");
        let rows = query(lake, &sql);
        let row = &rows[rows.len() / 2];
        let (uid, log_name) = (row["uid"].as_str().unwrap(), row["log_name"].as_str().unwrap());
        let mut command = trailhound();
        command.args(["raw", uid, "--lake"]).arg(lake);
        let answer = Answer::of(&mut command);
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        let record = answer.stdout.trim_end();
        let object = fs::read(sample_archive().join(log_name)).unwrap();
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(&object[..]).read_to_string(&mut text).unwrap();
        assert!(text.contains(record), "{class}");
        match class {
            "api_activity" | "authentication" => {
                let raw: Value = serde_json::from_str(record).unwrap();
                assert_eq!(raw["eventID"], uid);
            }
            "network_activity" => assert!(text.lines().any(|line| line == record)),
            _ => {
                let raw: Value = serde_json::from_str(record).unwrap();
                assert!(uid.starts_with(raw["id"].as_str().unwrap_or(uid)));
            }
        }
    }
    let mut command = trailhound();
    command.args(["raw", "there-is-none", "--lake"]).arg(lake);
    let answer = Answer::of(&mut command);
    assert_eq!((answer.code, answer.stdout.as_str()), (1, ""));
}
