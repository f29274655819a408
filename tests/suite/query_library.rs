//! The shipped queries: each runs, each is Trino's SQL too, and they find what is planted.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    Bench, Run, cloud::trino, load_command, not_run, number, sample_archive, shared, trailhound,
};

/// What there is in the sample archive, for each parameter.
const EXAMPLES: [(&str, &str); 8] = [
    ("key", "AKIAIOSFODNN7EXAMPLE"),
    ("principal", "arn:aws:iam::444455556666:user/build-bot"),
    ("address", "203.0.113.77"),
    ("peer", "172.31.16.20"),
    ("interface", "eni-0a9f8e7d6c5b40312"),
    ("instance", "i-04d5e6f708192a3b4"),
    ("bucket", "example-corp-customers"),
    ("uid", "d7e2befa-7952-4715-a783-cf954538d886"),
];

/// The lake of the sample archive.
fn sample_lake() -> &'static Path {
    static LAKE: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let lake = LAKE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let lake = folder.path().join("lake");
        load(&sample_archive(), &lake);
        (folder, lake)
    });
    &lake.1
}

fn load(archive: &Path, lake: &Path) {
    let accounts = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/accounts.csv");
    let run = Run::of(&load_command(archive, lake, &["--accounts", accounts]).output().unwrap());
    assert_eq!(run.code, 0, "{run:?}");
}

fn query(arguments: &[&str]) -> Output {
    trailhound().arg("query").args(arguments).output().unwrap()
}

fn text(arguments: &[&str]) -> String {
    let output = query(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The rows that a query gives: its name, then flags and values.
fn ask(lake: &Path, name: &str, arguments: &[&str]) -> Vec<Value> {
    let lake = lake.to_str().unwrap();
    let fixed = [name, "--lake", lake, "--format", "json"];
    let rows = text(&[&fixed[..], arguments].concat());
    rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn set<'v>(rows: &'v [Value], column: &str) -> BTreeSet<&'v str> {
    rows.iter().map(|row| row[column].as_str().unwrap_or_default()).collect()
}

/// The name of each query, and flags with examples for what it needs, or for all that it takes.
fn all_queries(is_full: bool) -> Vec<(String, Vec<String>)> {
    let list: Value = serde_json::from_str(&text(&["--list", "--format", "json"])).unwrap();
    let queries = list.as_array().unwrap().iter().map(|query| {
        let takes = query["takes"].as_array().unwrap().iter();
        let wanted = takes.filter(|taken| is_full || taken["required"] == true);
        let flags = wanted.flat_map(|taken| {
            let name = taken["name"].as_str().unwrap();
            let example = EXAMPLES.iter().find(|(known, _)| *known == name);
            let value = example.map_or_else(
                || match name {
                    "since" => "2025-06-03",
                    "until" => "2025-06-05T00:00:00Z",
                    "account" => "444455556666",
                    "region" => "us-east-1",
                    _ => "7",
                },
                |(_, value)| *value,
            );
            [format!("--{name}"), value.to_owned()]
        });
        (format!("@{}", query["name"].as_str().unwrap()), flags.collect())
    });
    queries.collect()
}

#[test]
fn every_query_runs_with_what_it_needs_and_with_all_that_it_takes() {
    let lake = sample_lake();
    let (mut silent, mut count) = (BTreeSet::new(), 0);
    for is_full in [false, true] {
        for (name, flags) in all_queries(is_full) {
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            let rows = ask(lake, &name, &flags);
            if !is_full {
                count += 1;
                if rows.is_empty() {
                    silent.insert(name);
                }
            }
        }
    }
    assert!(count >= 26, "{count}");
    // Nothing of the kind is in the archive, see the other tests, or they want one more parameter.
    let expected = [
        "@beacons",
        "@encryption-keys-changed",
        "@findings-about",
        "@instance-credentials-outside",
        "@made-public",
    ];
    assert_eq!(silent, expected.map(str::to_owned).into());
}

#[test]
fn a_result_that_ends_at_the_limit_says_so() {
    let lake = sample_lake().to_str().unwrap();
    let told = |limit: &str| {
        let named = ["@who-used-key", "--key", EXAMPLES[0].1, "--lake", lake, "--limit", limit];
        String::from_utf8(query(&named).stderr).unwrap()
    };
    assert!(told("2").contains("2 rows are the limit"), "{}", told("2"));
    assert_eq!(told("1000"), "");
}

#[test]
fn what_is_opened_disabled_or_used_outside_is_found_and_what_looks_like_it_is_not() {
    let logs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/forensics.json");
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    load(&logs, &lake);
    let records: Value = serde_json::from_str(&fs::read_to_string(&logs).unwrap()).unwrap();
    let records = records["Records"].as_array().unwrap();
    // Each record's request id is its name, then the queries that are to find it.
    let wanted = |query: &str| -> BTreeSet<&str> {
        let names = records.iter().map(|record| record["requestID"].as_str().unwrap());
        names.filter(|name| name.split(' ').skip(1).any(|one| one == query)).collect()
    };
    let name_of: BTreeMap<&str, &str> = records
        .iter()
        .map(|record| (record["eventID"].as_str().unwrap(), record["requestID"].as_str().unwrap()))
        .collect();
    for query in ["made-public", "encryption-keys-changed"] {
        let rows = ask(&lake, &format!("@{query}"), &[]);
        let found: BTreeSet<&str> = set(&rows, "uid").iter().map(|uid| name_of[uid]).collect();
        assert_eq!(found, wanted(query), "{query}");
        assert!(rows.len() >= 8, "{query}");
    }
    let rows = ask(&lake, "@instance-credentials-outside", &[]);
    let outside = wanted("instance-credentials-outside");
    let of_records =
        records.iter().filter(|one| outside.contains(one["requestID"].as_str().unwrap()));
    let places = of_records.map(|record| record["sourceIPAddress"].as_str().unwrap()).collect();
    assert_eq!((set(&rows, "src_ip"), rows.len()), (places, 3));
}

#[test]
fn every_query_is_sql_that_trino_reads() {
    let test = "shipped queries in Trino's parser";
    let folder = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for is_full in [false, true] {
        for (name, flags) in all_queries(is_full) {
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            let sql = text(&[&[name.as_str(), "--dialect", "athena"][..], &flags].concat());
            assert!(!sql.contains(" :"), "{name}: {sql}");
            files.push(folder.path().join(format!("{}{is_full}.sql", &name[1..])));
            fs::write(files.last().unwrap(), sql).unwrap();
        }
    }
    // The parser itself is looked at: it must refuse what is not SQL.
    let wrong = folder.path().join("wrong.sql");
    fs::write(&wrong, "SELECT x[ FROM events").unwrap();
    files.push(wrong);
    let refused = match trino::refused(test, &files) {
        Ok(refused) => refused,
        Err(why) => return not_run(test, &why),
    };
    assert_eq!(refused.lines().count(), 1, "{refused}");
    assert!(refused.contains("wrong.sql: "), "{refused}");
}

#[test]
fn the_queries_find_the_incident_of_the_sample_archive() {
    let lake = sample_lake();
    let key = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/incident.json");
    let key: Value = serde_json::from_str(&fs::read_to_string(key).unwrap()).unwrap();
    let known = |pointer: &str| key.pointer(pointer).and_then(Value::as_str).expect(pointer);
    let (stolen, address) = (known("/key"), known("/address"));
    let events = key["cloudtrail"]["events"].as_array().unwrap();
    let ids = |is_wanted: &dyn Fn(&Value) -> bool| -> BTreeSet<&str> {
        events.iter().filter(|event| is_wanted(event)).map(|e| e["id"].as_str().unwrap()).collect()
    };

    // Everything from the address and with the keys.
    let from = ask(lake, "@from-address", &["--address", address]);
    let calls: Vec<Value> =
        from.iter().filter(|row| row["class"] != "detection_finding").cloned().collect();
    assert_eq!(set(&calls, "uid").len(), calls.len());
    let used = ask(lake, "@who-used-key", &["--key", stolen, "--address", address]);
    let made = ask(lake, "@keys-made-by-key", &["--key", stolen]);
    let together: BTreeSet<&str> = &set(&calls, "uid") | &set(&made, "uid");
    assert_eq!(together, ids(&|_| true));
    assert!(set(&used, "uid").is_subset(&together));
    assert_eq!(set(&made, "key"), BTreeSet::from(["ASIAY59UFWBQIEXAMPLE", "AKIAI7EXAMPLEBACKDOR"]));

    let places = ask(lake, "@keys-from-new-addresses", &[]);
    assert_eq!((places.len(), &places[0]["access_key"], &places[0]["src_ip"]), {
        (1, &key["key"], &key["address"])
    });

    // What was done with them.
    let made = ask(lake, "@users-and-keys-made", &["--principal", known("/user_arn")]);
    let made: Vec<_> = made.iter().map(|row| row["operation"].as_str().unwrap()).collect();
    assert_eq!(made, ["CreateUser", "CreateAccessKey", "CreateLoginProfile"]);
    let policies = ask(lake, "@policies-attached", &[]);
    let grave: Vec<_> = policies.iter().filter(|row| row["gives_everything"] == true).collect();
    assert_eq!(grave.len(), 1);
    assert_eq!(grave[0]["target"], "svc-monitoring");
    let chain = ask(lake, "@assume-role-chains", &["--principal", known("/user_arn")]);
    let refused = chain.iter().filter(|row| row["status"] == "Failure").count();
    assert_eq!((refused, chain.len()), (2, 3));
    assert!(chain[2..].iter().all(|row| row["session_key"] == "ASIAY59UFWBQIEXAMPLE"));
    let evasion = ask(lake, "@logging-switched-off", &[]);
    assert_eq!(set(&evasion, "uid"), ids(&|event| event["name"] == "StopLogging"));
    let denied = ask(lake, "@access-denied-bursts", &[]);
    assert_eq!(set(&denied, "src_ip"), BTreeSet::from([address]));
    let secrets = ask(lake, "@secrets-read", &["--address", address]);
    let read = secrets.iter().filter(|row| row["failures"] == 0);
    let read: BTreeSet<&str> = read.map(|row| row["secret"].as_str().unwrap()).collect();
    let expected = key["secrets"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
    assert_eq!(read, expected.collect());
    let objects =
        ask(lake, "@s3-objects-read", &["--bucket", known("/bucket"), "--address", address]);
    assert_eq!(set(&objects, "uid"), ids(&|event| event["name"] == "GetObject"));

    // The machine that mines.
    let unused = ask(lake, "@instances-in-unused-regions", &[]);
    assert_eq!(unused.len(), 1);
    assert_eq!(unused[0]["region"], key["instance"]["region"]);
    assert_eq!(unused[0]["calls"], 15);
    let opened = ask(lake, "@security-groups-opened", &["--address", address]);
    assert_eq!(set(&opened, "operation"), BTreeSet::from(["AuthorizeSecurityGroupIngress"]));
    let instance = known("/instance/id");
    let flows = ask(lake, "@traffic-of-instance", &["--instance", instance]);
    let interface = BTreeSet::from([known("/flows/interface")]);
    assert_eq!(set(&flows, "interface_uid"), interface);
    let peer = known("/flows/peer");
    let own = known("/instance/address");
    let between = ask(lake, "@traffic-between", &["--address", own, "--peer", peer]);
    let rows: u64 = between.iter().map(|row| number(&row["flows"])).sum();
    assert_eq!(rows, number(&key["flows"]["peer_rows"]));
    let opened = ask(lake, "@rejected-then-accepted", &[]);
    assert_eq!((opened.len(), &opened[0]["dst_ip"]), (1, &key["flows"]["peer"]));
    assert_eq!(opened[0]["rejected"], key["flows"]["peer_rejected"]);
    assert_eq!(opened[0]["first_accepted"], key["flows"]["first_accept"]);

    // Only some of it, by time: the day in UTC begins at midnight.
    let since = ["--address", address, "--since", "2025-06-04", "--until", "2025-06-04T00:22:00Z"];
    let some = ask(lake, "@from-address", &since);
    assert!(some.iter().all(|row| row["time"].as_str().unwrap().starts_with("2025-06-04T00:")));
    let is_in = |event: &Value| {
        ("2025-06-04".."2025-06-04T00:22:00Z").contains(&event["time"].as_str().unwrap())
    };
    let calls: Vec<Value> =
        some.iter().filter(|row| row["class"] != "detection_finding").cloned().collect();
    assert_eq!(set(&calls, "uid"), ids(&is_in));
}

#[test]
fn parameters_fill_the_users_own_sql_and_what_is_wrong_is_said() {
    let lake = sample_lake();
    let sql = "SELECT count(*) AS n FROM events WHERE src_ip = :address AND time >= :since";
    assert!(number(&ask(lake, sql, &["--address", "203.0.113.77"])[0]["n"]) > 100);
    let quoted = ask(lake, sql, &["--address", "x' OR 'a' = 'a"]);
    assert_eq!(quoted[0]["n"], 0);
    let lake = lake.to_str().unwrap();
    let fails = |arguments: &[&str], expected: &str| {
        let output = query(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    };
    fails(&["@who-used-key", "--lake", lake], "needs --key; it takes --key [--address]");
    fails(
        &["@root-use", "--lake", lake, "--key", "A"],
        "does not take --key; it takes [--account]",
    );
    fails(&["@who-used-keys", "--lake", lake], "the nearest are @who-used-key");
    fails(&["SELECT :key", "--lake", lake], "give it with --key");
    fails(&["SELECT 1"], "--lake");
    fails(&["@root-use", "--lake", lake, "--since", "soon"], "expected a date");
    fails(&["--list", "--format", "csv"], "--format json");
    // A variable may be meant for other commands.
    let mut command = trailhound();
    command.args(["query", "@root-use", "--lake", lake]).env("TRAILHOUND_KEY", "A");
    assert!(command.output().unwrap().status.success());

    assert!(text(&["--list"]).starts_with("keys and principals\n  @assume-role-chains "));
    let one = text(&["--list", "@root-use"]);
    assert!(one.starts_with("-- @root-use\n-- question: ") && one.contains("\nSELECT "), "{one}");
    let own = text(&["WITH x AS (SELECT uid FROM events) SELECT * FROM x", "--dialect", "athena"]);
    assert!(own.starts_with("WITH events AS (\n") && own.contains("),\nx AS ("), "{own}");
}

/// `Q1` to `Q8` of a generated corpus.
fn queries_equal_the_key(seed: &str) {
    let test = "named queries against the answer key of a generated corpus";
    let Some(generator) = shared(test, "tools/gen_corpus.py") else { return };
    let bench = Bench::new();
    let (corpus, key) = (bench.path("corpus"), bench.path("key.json"));
    let mut command = Command::new("python3");
    command.arg(generator).arg("--out").arg(&corpus).arg("--answer-key").arg(&key);
    command.args(["--cloudtrail-mb", "2", "--vpcflow-mb", "2", "--guardduty-n", "60"]);
    let Ok(output) = command.args(["--jobs", "1", "--seed", seed]).output() else {
        return not_run(test, "there is no python3");
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let key: Value = serde_json::from_str(&fs::read_to_string(key).unwrap()).unwrap();
    let lake = bench.path("lake");
    let run = Run::of(&load_command(&corpus, &lake, &[]).output().unwrap());
    assert_eq!(run.code, 0, "{run:?}");

    let incident = &key["incident"];
    let known = |name: &str| incident["entities"][name].as_str().expect(name);
    let of = |start: &str| {
        let queries = incident["queries"].as_object().unwrap();
        queries.iter().find(|(name, _)| name.starts_with(start)).expect(start).1
    };
    let ids = |of: &Value| -> BTreeSet<String> {
        of["eventIDs"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().into()).collect()
    };
    let owned = |rows: &[Value]| set(rows, "uid").into_iter().map(str::to_owned).collect();
    let (stolen, instance) = (known("stolenAccessKeyId"), known("instanceId"));
    let addresses = [known("attackerIp1"), known("attackerIp2"), known("c2Ip")];
    let [first, second, c2] = addresses;

    let q1 = ask(&lake, "@who-used-key", &["--key", stolen, "--address", first]);
    assert_eq!(q1.len() as u64, number(&of("Q1_")["count"]));
    assert_eq!(ids(of("Q1_")), owned(&q1));

    let q2 = ask(&lake, "@keys-made-by-key", &["--key", stolen]);
    assert_eq!(q2.len() as u64, number(&of("Q2_")["later_calls"]));
    assert_eq!(ids(of("Q2_")), owned(&q2));
    assert_eq!(set(&q2, "key"), BTreeSet::from([known("backdoorAccessKeyId")]));

    let between = |peer: &str| {
        let own = known("instancePrivateIp");
        let rows = ask(&lake, "@traffic-between", &["--address", own, "--peer", peer]);
        let mut sums: BTreeMap<bool, [u64; 3]> = BTreeMap::new();
        for row in rows.iter().filter(|row| row["outcome"] == "Allowed") {
            let sum = sums.entry(row["src_ip"] == peer).or_default();
            for (sum, what) in sum.iter_mut().zip(["flows", "packets", "bytes"]) {
                *sum += number(&row[what]);
            }
        }
        [true, false].map(|is_in| sums.remove(&is_in).unwrap_or_default())
    };
    let sums = |of: &Value| {
        let sum = |of: &Value| ["flows", "packets", "bytes"].map(|what| number(&of[what]));
        [sum(&of["ingress"]), sum(&of["egress"])]
    };
    let q3 = between(first);
    assert_eq!(q3, sums(of("Q3_")));
    assert_eq!(q3[0][0] + q3[1][0], number(&of("Q3_")["count"]));
    assert_eq!(q3[0][2] + q3[1][2], number(&of("Q3_")["bytes"]));
    assert_eq!(between(c2), sums(of("Q4_")));
    let beacons = ask(&lake, "@beacons", &["--address", c2]);
    assert_eq!((beacons.len(), &beacons[0]["mean_gap_seconds"]), (1, &Value::from(180.0)));

    let of_bucket = ["--bucket", known("bucket"), "--address", first];
    let of_bucket = [&of_bucket[..], &["--key", known("instanceRoleAccessKeyId")]].concat();
    let q5 = ask(&lake, "@s3-reads-by-volume", &of_bucket);
    assert_eq!((q5.len(), &q5[0]["reads"]), (1, &of("Q5_")["count"]));
    assert_eq!(q5[0]["bytes"], of("Q5_")["bytesTransferredOut"]);
    assert_eq!(ids(of("Q5_")), owned(&ask(&lake, "@s3-objects-read", &of_bucket)));

    let denied = |address| ask(&lake, "@access-denied", &["--address", address]).len() as u64;
    assert_eq!(denied(first) + denied(second), number(&of("Q6_")["count"]));

    let mut findings = BTreeMap::new();
    let keys = ["stolenAccessKeyId", "backdoorAccessKeyId", "instanceRoleAccessKeyId"].map(known);
    let keys = keys.map(|key| ("--key", key));
    let places = addresses.map(|address| ("--address", address));
    for (flag, value) in keys.into_iter().chain(places).chain([("--instance", instance)]) {
        for row in ask(&lake, "@findings-about", &[flag, value]) {
            let text = |name: &str| row[name].as_str().unwrap().to_owned();
            findings.insert(text("uid"), text("finding_uid"));
        }
    }
    let distinct: BTreeSet<&str> =
        findings.values().map(|uid| uid.rsplit('/').next().unwrap()).collect();
    let expected = of("Q7_")["distinct_ids"].as_array().unwrap().iter();
    assert_eq!(distinct, expected.map(|id| id.as_str().unwrap()).collect());
    assert_eq!(findings.len() as u64, number(&of("Q7_")["exported_records"]));

    let flows = ask(&lake, "@address-in-flows", &["--address", first]);
    let elsewhere = flows.iter().filter(|row| {
        row["outcome"] == "Blocked" && row["account"] != incident["entities"]["accountId"]
    });
    let q8: u64 = elsewhere.map(|row| number(&row["flows"])).sum();
    assert_eq!(q8, number(&of("Q8_")["count"]));
}

#[test]
fn named_queries_equal_the_answer_key() {
    queries_equal_the_key("7");
}

#[test]
fn named_queries_equal_the_answer_key_of_another_seed() {
    queries_equal_the_key("42");
}
