//! The incident in the sample archive against its answer key.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use serde_json::Value;

use crate::support::{Bench, Run, load_command, number, sample_archive};

fn answer_key() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/incident.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).expect(pointer)
}

#[test]
fn the_lake_has_the_incident_of_the_sample_archive_as_its_answer_key_tells_it() {
    let key = answer_key();
    let bench = Bench::new();
    let lake = bench.lake();
    let accounts = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/accounts.csv");
    let mut command = load_command(&sample_archive(), &lake.dir, &["--accounts", accounts]);
    let run = Run::of(&command.output().unwrap());
    let rows = lake.check(&run.report);
    assert!(!run.stderr.contains("accounts file"), "all accounts have names: {}", run.stderr);
    assert!(rows.iter().all(|row| !row.text("/cloud/account/name").is_empty()));

    // Who used the keys, and what was done from the address.
    let keys: Vec<&String> = key["keys"].as_object().unwrap().keys().collect();
    let address = key["address"].as_str().unwrap();
    let mut calls = BTreeMap::new();
    for row in rows.iter().filter(|row| !row.text("/api/operation").is_empty()) {
        let used = row.text("/actor/user/credential_uid");
        let is_key = keys.iter().any(|key| *key == used);
        let from = row.text("/src_endpoint/ip");
        // The first key had a life before.
        if from == address || (is_key && used != key["key"]) {
            let parts = ["/api/operation", "/cloud/account/uid", "/cloud/region"];
            calls.insert(row.uid(), parts.map(|part| row.text(part)));
        }
    }
    let expected: BTreeMap<&str, [&str; 3]> = list(&key, "/cloudtrail/events")
        .iter()
        .map(|event| {
            let text = |name: &str| event[name].as_str().expect(name);
            (text("id"), ["name", "account", "region"].map(text))
        })
        .collect();
    assert_eq!(calls, expected);

    // What GuardDuty said of it: each export is an event, each finding has one uid.
    let mut exports: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let findings = || rows.iter().filter(|row| row.event["class_uid"] == 2004);
    for row in findings() {
        exports.entry(row.text("/finding_info/uid")).or_default().insert(row.uid());
    }
    for finding in list(&key, "/guardduty/findings") {
        let id = finding["id"].as_str().unwrap();
        let (_, found) = exports.iter().find(|(uid, _)| uid.ends_with(id)).expect(id);
        assert_eq!(found.len() as u64, number(&finding["exports"]), "{id}");
        let row = findings().find(|row| row.uid().starts_with(id)).unwrap();
        assert_eq!(row.event["finding_info"]["types"][0], finding["type"]);
        assert_eq!(row.event["severity_id"] == 5, finding["severity"].as_f64() >= Some(9.0));
    }
    let shared = &key["insights"]["shared_event_id"];
    let insights = findings().filter(|row| row.event["finding_info"]["uid"] == *shared);
    let states: BTreeSet<&str> = insights.map(|row| row.text("/status")).collect();
    assert_eq!(states, BTreeSet::from(["New", "Resolved"]));

    // What its machine did in the network.
    let interface = &key["flows"]["interface"];
    let places = ["/src_endpoint/interface_uid", "/dst_endpoint/interface_uid"];
    let is_of = |row: &&crate::support::Row| {
        let known = places.iter().any(|place| row.event.pointer(place) == Some(interface));
        known || row.event["unmapped"]["interface_id"] == *interface
    };
    let flows = rows.iter().filter(|row| row.event["class_uid"] == 4001).filter(is_of);
    assert_eq!(flows.count() as u64, number(&key["flows"]["rows"]));
}
