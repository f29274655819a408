//! What is known of what is in the index: only of this cluster, and by these rules.

use std::{fs, path::Path};

use serde_json::json;

use crate::support::{
    Run,
    index::{Index, assert_is_lake},
    trailhound,
};

use super::{ALL, bench, fill};

/// Replaces a text in every file below a folder.
fn replace(folder: &Path, from: &str, to: &str) {
    for entry in walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap) {
        if entry.file_type().is_file() {
            let text = fs::read_to_string(entry.path()).unwrap();
            fs::write(entry.path(), text.replace(from, to)).unwrap();
        }
    }
}

#[test]
fn what_other_rules_left_out_is_told_and_sent() {
    let Some(index) = Index::alone("what_other_rules_left_out_is_told_and_sent") else { return };
    let bench = bench();
    let flows = ["--index-only", "network_activity"];
    let run = index.load(&bench, &flows);
    assert_eq!((run.code, run.index("indexed"), run.index("excluded")), (0, 60, 40), "{run:?}");
    let run = index.load(&bench, &flows);
    assert!(run.report["not_indexed_before"].is_null(), "{run:?}");
    let run = index.load(&bench, &[]);
    assert_eq!((run.code, &run.report["not_indexed_before"]), (0, &json!(5)), "{run:?}");
    let run = fill(&index.node.url(), &bench, &[]);
    assert_eq!((run.code, run.index("indexed"), run.index("duplicate")), (0, 40, 60), "{run:?}");
    assert_is_lake(index.node, &bench.lake());
    let run = fill(&index.node.url(), &bench, &[]);
    assert_eq!((run.code, run.index("duplicate")), (0, 0), "it is noted: {run:?}");
    assert!(index.load(&bench, &[]).report["not_indexed_before"].is_null());
}

#[test]
fn what_is_in_another_cluster_is_told_and_sent_to_this_one() {
    let test = "what_is_in_another_cluster_is_told_and_sent_to_this_one";
    let Some(index) = Index::alone(test) else { return };
    let bench = bench();
    index.load(&bench, &[]).expect(0, [5, 0], [ALL, ALL, 0]);
    let uuid = index.node.get("GET", "/", None)["cluster_uuid"].as_str().unwrap().to_owned();
    replace(&bench.path("lake/_trailhound/ledger"), &uuid, "another");
    let run = index.load(&bench, &[]);
    assert_eq!((run.code, &run.report["not_indexed_before"]), (0, &json!(5)), "{run:?}");
    let run = fill(&index.node.url(), &bench, &[]);
    assert_eq!((run.code, run.index("duplicate")), (0, ALL), "{run:?}");
    assert_eq!(fill(&index.node.url(), &bench, &[]).index("duplicate"), 0, "it is noted");
}

#[test]
fn a_fill_says_what_it_knows_and_from_where() {
    let Some(index) = Index::alone("a_fill_says_what_it_knows_and_from_where") else { return };
    let bench = bench();
    bench.load(&[]).expect(0, [5, 0], [ALL, ALL, 0]);
    let url = index.node.url();
    // Nothing that the filter does not admit is claimed, and nothing is noted.
    let run = fill(&url, &bench, &["--since", "2030-01-01"]);
    assert_eq!((run.code, run.index("indexed"), run.index("excluded")), (0, 0, ALL), "{run:?}");
    let text = |lake: &str| {
        let mut command = trailhound();
        command.args(["load", "--only", "opensearch", "--opensearch", &url, "--lake"]);
        let output = command.arg(bench.path(lake)).output().unwrap();
        let told = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(told).unwrap())
    };
    let (code, told) = text("lake");
    assert!(code == 0 && told.contains("100 new documents"), "{told}");
    let (code, told) = text("lake");
    assert!(code == 0 && told.contains("according to the ledger"), "{told}");
    assert!(told.contains("--force"), "{told}");
    // A lake that is not there has not been indexed.
    let (code, told) = text("nolake");
    assert!(code == 1 && told.contains("nothing was ever loaded"), "{told}");
    assert!(!bench.path("nolake").exists());
    let run: Run = fill("http://127.0.0.1:9", &bench, &["--opensearch-wait", "1s"]);
    assert!(run.code == 1 && run.stderr.contains("no answer from OpenSearch"), "{run:?}");
}

#[test]
fn what_is_sent_again_by_force_is_pending_until_it_is_there() {
    let test = "what_is_sent_again_by_force_is_pending_until_it_is_there";
    let Some(index) = Index::alone(test) else { return };
    let bench = bench();
    index.load(&bench, &[]).expect(0, [5, 0], [ALL, ALL, 0]);
    let url = index.node.url();
    let block = |is_on: bool| {
        let settings = json!({ "index.blocks.write": is_on });
        index.node.get("PUT", "/ocsf-1.1.0-*/_settings", Some(settings));
    };
    block(true);
    let run = fill(&url, &bench, &["--force", "--opensearch-wait", "2s"]);
    assert_eq!((run.code, run.index("pending")), (2, ALL), "{run:?}");
    block(false);
    let run = fill(&url, &bench, &[]);
    assert_eq!((run.code, run.index("duplicate")), (0, ALL), "{run:?}");
    assert_eq!(fill(&url, &bench, &[]).index("duplicate"), 0, "it is noted");
    assert_is_lake(index.node, &bench.lake());
}
