//! Every record that is loaded is one document in OpenSearch, whatever the cluster does.

use std::{collections::BTreeSet, process::Command};

use serde_json::{Value, json};

use crate::support::{
    Bench, Run, event, flow_key, flow_object,
    index::{Index, assert_is_lake, documents},
    load_command, number, records, sample_archive, shared, trail_key, trailhound,
};

#[cfg(feature = "query")]
mod ask;
mod away;
mod known;
#[cfg(feature = "query")]
mod lookups;
mod trouble;

/// 40 calls in four objects, and 60 flows.
fn bench() -> Bench {
    let bench = Bench::new();
    for object in 0..4 {
        let events: Vec<_> = (object * 10..object * 10 + 10).map(event).collect();
        bench.put(&trail_key(&format!("o{object}")), records(&events));
    }
    bench.put(&flow_key("f"), flow_object(0..60));
    bench
}

const ALL: u64 = 100;

/// `load --only opensearch`.
fn fill(url: &str, bench: &Bench, extra: &[&str]) -> Run {
    let mut command = trailhound();
    command.args(["load", "--only", "opensearch", "--json", "--opensearch", url, "--lake"]);
    Run::of(&command.arg(bench.path("lake")).args(extra).output().unwrap())
}

/// Asserts that the ledger's counts of each object add up, and are those of the report.
#[track_caller]
fn assert_adds_up(run: &Run, bench: &Bench) {
    assert_adds_up_of(run, bench, "");
}

/// The same for objects with such a key.
#[track_caller]
fn assert_adds_up_of(run: &Run, bench: &Bench, key: &str) {
    let mut sums = serde_json::Map::new();
    let mut entries = bench.lake().ledger();
    entries.retain(|entry| entry["key"].as_str().unwrap().contains(key));
    for entry in entries {
        let index = entry["index"].as_object().unwrap_or_else(|| panic!("{entry}"));
        let rows = number(&entry["records"]["parquet"]) + number(&entry["records"]["duplicate"]);
        assert_eq!(index.values().map(number).sum::<u64>(), rows, "{entry}");
        for (what, count) in index {
            let sum = sums.get(what).map_or(0, number) + number(count);
            sums.insert(what.clone(), sum.into());
        }
    }
    assert_eq!(Value::Object(sums), run.report["index"]);
}

#[test]
fn an_archive_is_in_the_index_as_in_the_lake_and_the_same_again_changes_nothing() {
    let test = "an_archive_is_in_the_index_as_in_the_lake_and_the_same_again_changes_nothing";
    let Some(index) = Index::alone(test) else { return };
    let bench = Bench::new();
    let lake = bench.lake();
    let load = |extra: &[&str]| {
        let mut command = load_command(&sample_archive(), &lake.dir, extra);
        Run::of(&command.args(["--opensearch", &index.node.url()]).output().unwrap())
    };
    let run = load(&[]);
    assert_eq!(run.code, 0, "{run:?}");
    let rows = run.records("parquet");
    assert_eq!((run.index("indexed"), run.index("rejected"), run.index("pending")), (rows, 0, 0));
    assert_eq!(run.index("duplicate"), run.records("duplicate"));
    // At once, not with the next refresh.
    let found = index.node.get("GET", "/ocsf-all/_count", None);
    assert_eq!(found["count"], rows);
    assert_is_lake(index.node, &lake);
    let before = documents(index.node);
    for _ in 0..3 {
        let run = load(&["--force"]);
        assert_eq!((run.code, run.index("indexed")), (0, 0), "{run:?}");
    }
    assert!(documents(index.node) == before);
}

#[test]
fn what_is_searched_for_is_found() {
    let Some(index) = Index::alone("what_is_searched_for_is_found") else { return };
    let bench = Bench::new();
    let mut from_service = event(1);
    from_service["sourceIPAddress"] = "AWS Internal".into();
    let mut call = event(2);
    let long = "\u{e9}".repeat(40_000);
    call["requestParameters"] = json!({
        "bucketName": "secrets", "": "no name", "a..b": 1, "long": long, "n": [{ "x": ["y"] }],
    });
    call["additionalEventData"] = json!({ "bytesTransferredOut": 4096.0 });
    call["sourceIPAddress"] = "203.0.113.77".into();
    bench.put(&trail_key("a"), records(&[from_service, call]));
    index.load(&bench, &[]).expect(0, [1, 0], [2, 2, 0]);
    let found = |query: Value| {
        let reply = index.node.search("ocsf-all", json!({ "query": query }));
        number(&reply["hits"]["total"]["value"])
    };
    assert_eq!(found(json!({ "term": { "src_endpoint.ip": "203.0.113.0/24" } })), 1);
    assert_eq!(found(json!({ "term": { "api.request.data.bucketName": "secrets" } })), 1);
    assert_eq!(found(json!({ "term": { "api.request.data.n.x": "y" } })), 1);
    assert_eq!(found(json!({ "prefix": { "api.request.data.long": "\u{e9}\u{e9}" } })), 1);
    let sum = json!({ "size": 0, "aggs": { "out": { "sum": { "field": "pivot.bytes_out" } } } });
    let sum = index.node.search("ocsf-all", sum);
    assert_eq!(sum["aggregations"]["out"]["value"], 4096.0);
    let document = &documents(index.node)[event(2)["eventID"].as_str().unwrap()];
    let whole = document["api"]["request"]["data_full"].as_str().unwrap();
    assert!(whole.contains(&long), "the whole text is in the source");
}

#[test]
fn a_choice_of_what_to_index_leaves_the_rest_in_the_lake() {
    let Some(index) = Index::alone("a_choice_of_what_to_index_leaves_the_rest_in_the_lake") else {
        return;
    };
    let bench = bench();
    let only =
        ["--index-only", "network_activity:disposition=Blocked", "--index-only", "guardduty"];
    let run = index.load(&bench, &only);
    let blocked = |row: &crate::support::Row| row.event["disposition"] == "Blocked";
    let blocked = bench.lake().rows().iter().filter(|row| blocked(row)).count() as u64;
    assert!(blocked > 0 && blocked < 60, "{blocked}");
    assert_eq!((run.code, run.index("indexed")), (0, blocked), "{run:?}");
    assert_eq!(run.index("excluded"), ALL - blocked);
    assert_adds_up(&run, &bench);
    assert_eq!(index.node.count("ocsf-all"), blocked);
}

#[test]
fn what_was_loaded_without_an_index_is_indexed_from_the_lake() {
    let Some(index) = Index::alone("what_was_loaded_without_an_index_is_indexed_from_the_lake")
    else {
        return;
    };
    let bench = bench();
    bench.load(&[]).expect(0, [5, 0], [ALL, ALL, 0]);
    // The raw logs are not needed.
    std::fs::remove_dir_all(bench.archive()).unwrap();
    let url = index.node.url();
    let dry = fill(&url, &bench, &["--dry-run"]);
    assert_eq!((dry.code, index.node.call("GET", "/ocsf-all/_count", None).0), (0, 404), "{dry:?}");
    let run = fill(&url, &bench, &[]);
    assert_eq!((run.code, run.index("indexed")), (0, ALL), "{run:?}");
    assert_is_lake(index.node, &bench.lake());
    let again = fill(&url, &bench, &[]);
    assert_eq!((again.code, again.index("indexed"), again.index("duplicate")), (0, 0, 0));
    let force = fill(&url, &bench, &["--force"]);
    assert_eq!((force.code, force.index("duplicate")), (0, ALL), "{force:?}");
}

#[test]
fn generated_corpora_are_in_the_index_as_in_the_lake() {
    let test = "generated_corpora_are_in_the_index_as_in_the_lake";
    let Some(generator) = shared(test, "tools/gen_corpus.py") else { return };
    for seed in ["11", "12"] {
        let Some(index) = Index::alone(test) else { return };
        let bench = Bench::new();
        let mut command = Command::new("python3");
        command.arg(&generator).arg("--out").arg(bench.archive()).args(["--seed", seed]);
        command.args(["--cloudtrail-mb", "1", "--vpcflow-mb", "1", "--guardduty-n", "40"]);
        assert!(command.args(["--jobs", "1"]).output().unwrap().status.success());
        let run = index.load(&bench, &[]);
        assert_eq!((run.code, run.index("rejected"), run.index("pending")), (0, 0, 0), "{run:?}");
        assert_eq!(run.index("indexed"), run.records("parquet"));
        assert_is_lake(index.node, &bench.lake());
    }
}

#[test]
fn real_logs_lose_no_document() {
    let Some(index) = Index::alone("real_logs_lose_no_document") else { return };
    let Some(corpus) = shared("real_logs_lose_no_document", "corpus/dev") else { return };
    let bench = Bench::new();
    let lake = bench.lake();
    let mut command = load_command(&corpus, &lake.dir, &["--opensearch", &index.node.url()]);
    let run = Run::of(&command.output().unwrap());
    assert_eq!((run.index("rejected"), run.index("pending")), (0, 0), "{run:?}");
    assert_eq!(run.index("indexed"), index.node.count("ocsf-all"));
    assert_eq!(
        run.index("indexed") + run.index("duplicate"),
        run.records("parquet") + run.records("duplicate")
    );
    let ids: BTreeSet<_> = index
        .node
        .documents("ocsf-all")
        .iter()
        .map(|hit| hit["_id"].as_str().unwrap().to_owned())
        .collect();
    assert!(lake.rows().iter().all(|row| ids.contains(row.uid())));
}
