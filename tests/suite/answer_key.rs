//! Generated corpora against the exact totals that their generator wrote beside them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use parsers::ObjectKey;
use serde_json::Value;

use crate::support::{Bench, Run, load_command, not_run, number, shared};

fn generated_corpus_equals_its_key(seed: &str, more: &[&str]) {
    let test = "answer key of a generated corpus";
    let Some(generator) = shared(test, "tools/gen_corpus.py") else { return };
    let bench = Bench::new();
    let (corpus, key) = (bench.path("corpus"), bench.path("key.json"));
    let mut command = Command::new("python3");
    command.arg(generator).arg("--out").arg(&corpus).arg("--answer-key").arg(&key);
    command.args(["--cloudtrail-mb", "2", "--vpcflow-mb", "2", "--guardduty-n", "60"]);
    let Ok(output) = command.args(["--jobs", "1", "--seed", seed]).args(more).output() else {
        return not_run(test, "there is no python3");
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let key: Value = serde_json::from_str(&fs::read_to_string(key).unwrap()).unwrap();

    let lake = bench.lake();
    let run = Run::of(&load_command(&corpus, &lake.dir, &[]).output().unwrap());
    let rows = lake.check(&run.report);
    assert_eq!(run.code, 0, "{run:?}");
    let (trail, flow) = (&key["cloudtrail"], &key["vpcflow"]);
    let totals = &key["totals"];
    for (ours, theirs) in
        [("cloudtrail", "cloudtrail"), ("vpc_flow", "vpcflow"), ("guardduty", "guardduty")]
    {
        assert_eq!(run.report["by_source"][ours]["in"], totals[theirs]["records"], "{ours}");
    }
    let objects =
        ["cloudtrail", "vpcflow", "guardduty"].map(|source| number(&totals[source]["objects"]));
    assert_eq!(run.objects("loaded"), objects.iter().sum::<u64>());
    let duplicates = &run.report["by_source"]["cloudtrail"]["duplicate"];
    assert_eq!(*duplicates, trail["duplicate_deliveries"]);

    let mut events: BTreeMap<String, u64> = BTreeMap::new();
    let mut flows: BTreeMap<String, [u64; 3]> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    let mut findings: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    let mut errors = 0;
    for row in &rows {
        if row.event["class_uid"] == 2004 {
            findings.entry(row.text("/finding_info/uid")).or_default().push(&row.event);
        } else if row.event["class_uid"] == 4001 {
            let status = match row.text("/status_code") {
                "OK" if row.event["action_id"] == 1 => "ACCEPT",
                "OK" => "REJECT",
                other => other,
            };
            let [rows, bytes, packets] = flows.entry(status.to_owned()).or_default();
            let traffic = |what: &str| row.event["traffic"][what].as_u64().unwrap_or_default();
            *rows += 1;
            *bytes += traffic("bytes");
            *packets += traffic("packets");
        } else {
            let api = (row.text("/api/service/name"), row.text("/api/operation"));
            *events.entry(format!("{}:{}", api.0, api.1)).or_default() += 1;
            errors += u64::from(row.event.pointer("/api/response/error").is_some());
            ids.insert(row.uid());
        }
    }
    assert_eq!(ids.len() as u64, number(&trail["distinct_eventIDs"]));
    assert_eq!(errors, number(&trail["distinct_records_with_errorCode"]));
    assert_eq!(serde_json::to_value(&events).unwrap(), trail["distinct_records_by_event"]);
    for (status, expected) in flow["by_status"].as_object().unwrap() {
        let found = flows.remove(status).unwrap_or_default();
        assert_eq!(found, ["rows", "bytes", "packets"].map(|what| number(&expected[what])));
    }
    assert!(flows.is_empty(), "{flows:?}");
    // Each export of a finding is an event of its own.
    let mut types: BTreeMap<&str, u64> = BTreeMap::new();
    for finding in findings.values().flatten() {
        *types.entry(finding["finding_info"]["types"][0].as_str().unwrap()).or_default() += 1;
    }
    assert_eq!(findings.len() as u64, number(&key["guardduty"]["distinct_ids"]));
    assert_eq!(serde_json::to_value(&types).unwrap(), key["guardduty"]["records_by_type"]);

    // The key counts what it wrote below each folder; a record may tell another region.
    let mut places: BTreeMap<String, u64> = BTreeMap::new();
    for entry in lake.ledger().iter().filter(|entry| entry["state"] == "loaded") {
        let object = ObjectKey::new(entry["key"].as_str().unwrap());
        let source = entry["source"].as_str().unwrap().replace("vpc_flow", "vpcflow");
        let (account, region) = (object.account().unwrap(), object.region().unwrap());
        let records = number(&entry["records"]["in"]);
        *places.entry(format!("{source}/{account}/{region}")).or_default() += records;
    }
    let places = serde_json::to_value(&places).unwrap();
    assert_eq!(places, key["records_by_source_account_region"]);
}

#[test]
fn a_corpus_of_one_day_equals_its_key() {
    generated_corpus_equals_its_key("7", &[]);
}

#[test]
fn a_corpus_with_repeated_deliveries_equals_its_key() {
    generated_corpus_equals_its_key("21", &["--dup-rate", "0.3", "--mean-file-kb", "60"]);
}

#[test]
fn a_corpus_of_an_organization_over_two_days_equals_its_key() {
    generated_corpus_equals_its_key("99", &["--org", "--days", "2"]);
}
