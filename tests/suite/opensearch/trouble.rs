//! What becomes of documents when the cluster does not do what it should: each is in the index once, or
//! pending, or refused with the server's reason.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{
    Bench, Run,
    cloud::{
        opensearch::{Node, Version},
        proxy::{Fault, Proxy},
    },
    event, flow_key, flow_object,
    index::{Index, assert_is_lake, load_at, set_up},
    padded, records, trail_key, trailhound,
};

use super::{ALL, assert_adds_up, assert_adds_up_of, bench, fill};

/// Loads through a proxy that does this to requests of a bulk, by their number.
pub(super) fn load_through(
    node: &Node,
    bench: &Bench,
    fault: impl Fn(u64) -> Fault + Send + Sync + 'static,
    extra: &[&str],
) -> (Run, Proxy) {
    let proxy = Proxy::start(&node.url());
    let bulks = Arc::new(AtomicU64::new(0));
    proxy.script(move |_, line| {
        if line.contains("_bulk") { fault(bulks.fetch_add(1, SeqCst)) } else { Fault::Pass }
    });
    (load_at(&proxy.endpoint(), bench, extra), proxy)
}

#[test]
fn whatever_becomes_of_an_answer_each_record_is_one_document() {
    let test = "whatever_becomes_of_an_answer_each_record_is_one_document";
    let Some(index) = Index::alone(test) else { return };
    let faults = [
        ("429", Fault::Status(429)),
        ("503", Fault::Status(503)),
        ("502", Fault::Status(502)),
        ("the answer is lost after the documents were taken", Fault::LoseAnswer),
        ("the answer breaks off", Fault::Reset(40)),
        ("the answer ends early, as if it was whole", Fault::Truncate(40)),
        ("the answer is empty", Fault::Truncate(0)),
        ("slow", Fault::Slow(200, Duration::from_millis(5))),
        ("the compressed body arrives damaged: the node closes the connection", Fault::Corrupt),
    ];
    for (what, fault) in faults {
        set_up(index.node);
        let bench = bench();
        let small = ["--opensearch-bulk-size", "64kb", "--opensearch-gzip", "true"];
        let (run, proxy) = load_through(
            index.node,
            &bench,
            move |number| if number % 2 == 0 { fault } else { Fault::Pass },
            &small,
        );
        assert_eq!(run.code, 0, "{what}: {run:?}");
        let taken = run.index("indexed") + run.index("duplicate");
        assert_eq!((taken, run.index("pending")), (ALL, 0), "{what}: {run:?}");
        assert_adds_up(&run, &bench);
        assert_is_lake(index.node, &bench.lake());
        assert!(proxy.requests().len() > 1, "{what}");
    }
}

#[test]
fn a_cluster_that_is_away_leaves_documents_pending_and_they_are_sent_later() {
    let test = "a_cluster_that_is_away_leaves_documents_pending_and_they_are_sent_later";
    let Some(index) = Index::alone(test) else { return };
    let bench = bench();
    let no_wait = ["--opensearch-wait", "0s"];
    let (run, _) = load_through(index.node, &bench, |_| Fault::Status(503), &no_wait);
    assert_eq!((run.code, run.index("pending")), (2, ALL), "{run:?}");
    assert_eq!(run.records("parquet"), ALL, "the lake goes on");
    assert_adds_up(&run, &bench);
    assert!(run.stderr.contains("cannot index at present"), "{run:?}");
    // Half of it is taken before the cluster goes away again.
    let url = index.node.url();
    let run = fill(&url, &bench, &[]);
    assert_eq!((run.code, run.index("indexed")), (0, ALL), "{run:?}");
    assert_is_lake(index.node, &bench.lake());
    assert_eq!(fill(&url, &bench, &[]).index("duplicate"), 0, "it is noted");
    assert_eq!(index.load(&bench, &[]).objects("skipped"), 5);
}

#[test]
fn a_cluster_that_hangs_is_not_waited_for_longer_than_was_said() {
    let test = "a_cluster_that_hangs_is_not_waited_for_longer_than_was_said";
    let Some(index) = Index::alone(test) else { return };
    let bench = bench();
    let started = Instant::now();
    let (run, _) = load_through(index.node, &bench, |_| Fault::Hang, &["--opensearch-wait", "1s"]);
    assert_eq!((run.code, run.index("pending")), (2, ALL), "{run:?}");
    assert!(run.stderr.contains("has not answered in time"), "{run:?}");
    assert!(started.elapsed() < Duration::from_mins(1), "{:?}", started.elapsed());
}

#[test]
fn a_load_of_the_same_paths_sends_what_is_pending() {
    let Some(index) = Index::alone("a_load_of_the_same_paths_sends_what_is_pending") else {
        return;
    };
    let bench = bench();
    let no_wait = ["--opensearch-wait", "0s"];
    load_through(index.node, &bench, |_| Fault::Status(429), &no_wait);
    let before = bench.lake().rows();
    let run = index.load(&bench, &[]);
    assert_eq!((run.code, run.index("indexed"), run.objects("skipped")), (0, ALL, 5), "{run:?}");
    assert_eq!(bench.lake().rows(), before);
    assert_is_lake(index.node, &bench.lake());
    let run = index.load(&bench, &[]);
    assert_eq!((run.code, run.report["index"].is_null()), (0, true), "it is noted: {run:?}");
}

#[test]
fn a_document_that_the_server_refuses_is_in_the_rejects_with_its_reason() {
    let test = "a_document_that_the_server_refuses_is_in_the_rejects_with_its_reason";
    let Some(mut node) = Node::start(test, Version::V2_19, &[("http.max_content_length", "1mb")])
    else {
        return;
    };
    set_up(&node);
    let bench = bench();
    // Larger than the server takes, among others that are not.
    bench.put(&trail_key("large"), records(&[event(100), padded(101, 2 << 20), event(102)]));
    let run = load_at(&node.url(), &bench, &[]);
    assert_eq!((run.code, run.index("rejected")), (2, 1), "{run:?}");
    assert_eq!((run.index("indexed"), run.records("parquet")), (ALL + 2, ALL + 3));
    assert_adds_up(&run, &bench);
    let refused = bench.lake().index_rejects();
    assert_eq!(refused.len(), 1);
    assert_eq!((&refused[0]["status"], &refused[0]["uid"]), (&413.into(), &event(101)["eventID"]));
    assert!(refused[0]["key"].as_str().unwrap().ends_with("large.json.gz"), "{}", refused[0]);
    // What the server takes is learned, not found out with every request: 12 MB are sent.
    let many = Bench::new();
    many.put(&flow_key("f"), flow_object(0..7000));
    let run = load_at(&node.url(), &many, &["--opensearch-bulk-size", "2MB"]);
    assert_eq!((run.code, run.index("indexed") + run.index("duplicate")), (0, 7000), "{run:?}");
    assert!(crate::support::number(&run.report["index_bytes"]) < 22_000_000, "{run:?}");
    node.kill();
}

#[test]
fn conflicts_with_the_mapping_cost_the_document_and_no_other() {
    let Some(index) = Index::alone("conflicts_with_the_mapping_cost_the_document_and_no_other")
    else {
        return;
    };
    let bench = bench();
    let name = "ocsf-1.1.0-6003-api_activity-2024.05";
    let mapping = json!({ "mappings": { "properties": { "api": { "properties": {
        "operation": { "type": "long" } } } } } });
    assert_eq!(index.node.call("PUT", &format!("/{name}"), Some(mapping)).0, 200);
    let run = index.load(&bench, &[]);
    assert_eq!((run.code, run.index("rejected"), run.index("indexed")), (2, 20, 80), "{run:?}");
    assert_adds_up(&run, &bench);
    let refused = bench.lake().index_rejects();
    assert_eq!((refused.len(), &refused[0]["type"]), (20, &json!("mapper_parsing_exception")));
    // They are not forgotten, and are sent when the index is put right.
    let again = index.load(&bench, &[]);
    assert_eq!((again.code, &again.report["refused_before"]), (0, &json!(20)), "{again:?}");
    let url = index.node.url();
    assert_eq!(fill(&url, &bench, &[]).code, 2);
    index.node.get("DELETE", &format!("/{name}"), None);
    assert_eq!(fill(&url, &bench, &[]).code, 0);
    assert_is_lake(index.node, &bench.lake());
    assert!(index.load(&bench, &[]).report["refused_before"].is_null());
}

#[test]
fn a_block_on_writing_is_waited_for_and_then_named() {
    let Some(index) = Index::alone("a_block_on_writing_is_waited_for_and_then_named") else {
        return;
    };
    let bench = bench();
    index.load(&bench, &[]).expect(0, [5, 0], [ALL, ALL, 0]);
    let block = |on: bool| {
        let body = json!({ "index.blocks.write": on });
        assert_eq!(index.node.call("PUT", "/ocsf-*/_settings", Some(body)).0, 200);
    };
    block(true);
    let more: Vec<_> = (200..210).map(event).collect();
    bench.put(&trail_key("more"), records(&more));
    let run = index.load(&bench, &["--opensearch-wait", "1s"]);
    assert_eq!((run.code, run.index("pending")), (2, 10), "{run:?}");
    assert!(run.stderr.contains("takes no writes") && run.stderr.contains("block"), "{run:?}");
    block(false);
    let run = index.load(&bench, &[]);
    assert_eq!((run.code, run.index("indexed")), (0, 10), "{run:?}");
    assert_is_lake(index.node, &bench.lake());
}

#[test]
fn an_index_that_is_closed_or_deleted_gets_what_it_lacks() {
    let Some(index) = Index::alone("an_index_that_is_closed_or_deleted_gets_what_it_lacks") else {
        return;
    };
    let bench = bench();
    index.load(&bench, &[]);
    let calls = "/ocsf-1.1.0-6003-*";
    assert_eq!(index.node.call("POST", &format!("{calls}/_close"), None).0, 200);
    let more: Vec<_> = (200..220).map(event).collect();
    bench.put(&trail_key("more"), records(&more));
    let run = index.load(&bench, &["--opensearch-wait", "1s"]);
    assert_eq!((run.code, run.index("rejected")), (2, 0), "{run:?}");
    assert!(run.index("pending") > 0 && run.stderr.contains("index_closed_exception"), "{run:?}");
    assert_adds_up_of(&run, &bench, "more");
    assert_eq!(index.node.call("POST", &format!("{calls}/_open"), None).0, 200);
    assert_eq!(index.load(&bench, &[]).code, 0);
    assert_is_lake(index.node, &bench.lake());

    assert_eq!(index.node.call("DELETE", "/ocsf-1.1.0-4001-*", None).0, 200);
    let run = fill(&index.node.url(), &bench, &["--force"]);
    assert_eq!((run.code, run.index("indexed")), (0, 60), "{run:?}");
    assert_is_lake(index.node, &bench.lake());
}

#[test]
fn a_server_that_sets_little_memory_aside_gets_requests_that_fit() {
    let test = "a_server_that_sets_little_memory_aside_gets_requests_that_fit";
    let settings = [("indexing_pressure.memory.limit", "200kb")];
    let Some(node) = Node::start(test, Version::V3_8, &settings) else { return };
    set_up(&node);
    let bench = Bench::new();
    bench.put(&flow_key("f"), flow_object(0..1000));
    let run = load_at(&node.url(), &bench, &["--opensearch-gzip", "true"]);
    assert_eq!((run.code, run.index("indexed")), (0, 1000), "{run:?}");
    assert_is_lake(&node, &bench.lake());
}

#[test]
fn a_node_that_is_overloaded_gets_everything_in_the_end() {
    let test = "a_node_that_is_overloaded_gets_everything_in_the_end";
    let settings = [("thread_pool.write.size", "1"), ("thread_pool.write.queue_size", "1")];
    let Some(node) = Node::start(test, Version::V3_8, &settings) else { return };
    set_up(&node);
    let bench = Bench::new();
    for object in 0..40 {
        bench.put(&flow_key(&format!("f{object}")), flow_object(object * 500..object * 500 + 500));
    }
    let run = load_at(&node.url(), &bench, &["--opensearch-bulk-size", "64kb", "--memory", "1gb"]);
    assert_eq!((run.code, run.index("pending"), run.index("rejected")), (0, 0, 0), "{run:?}");
    assert_eq!(run.index("indexed") + run.index("duplicate"), 20_000);
    assert_eq!(node.count("ocsf-4001"), 20_000);
}

#[test]
fn a_node_that_dies_in_the_middle_gets_everything_when_it_is_back() {
    let test = "a_node_that_dies_in_the_middle_gets_everything_when_it_is_back";
    let Some(mut node) = Node::start(test, Version::V2_19, &[]) else { return };
    set_up(&node);
    let bench = Bench::new();
    for object in 0..40 {
        bench.put(&flow_key(&format!("f{object}")), flow_object(object * 500..object * 500 + 500));
    }
    let mut command: Command = bench.load_command(&["--opensearch-bulk-size", "64kb"]);
    command.args(["--opensearch", &node.url()]);
    let load = thread::spawn(move || Run::of(&command.output().unwrap()));
    thread::sleep(Duration::from_millis(1500));
    node.kill();
    node.restart();
    let run = load.join().unwrap();
    assert_eq!((run.records("parquet"), run.index("rejected")), (20_000, 0), "{run:?}");
    // If it took long to come back, the lake has not waited for it.
    if run.index("pending") > 0 {
        assert_eq!(fill(&node.url(), &bench, &[]).code, 0);
    }
    assert_eq!(node.count("ocsf-4001"), 20_000);
}

#[test]
fn who_we_are_and_whom_we_trust_is_told_in_one_sentence() {
    let test = "who_we_are_and_whom_we_trust_is_told_in_one_sentence";
    let Some(node) = Node::shared_secure(test) else { return };
    let bench = bench();
    let load = |url: &str, password: &str, ca: bool| {
        let mut command = bench.load_command(&["--opensearch", url, "--opensearch-user", "admin"]);
        command.env("TRAILHOUND_OPENSEARCH_PASSWORD", password);
        if ca {
            command.arg("--opensearch-ca").arg(node.ca());
        }
        Run::of(&command.output().unwrap())
    };
    let run = load(&node.url(), "wrong-secret", true);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("check credentials"), "{run:?}");
    assert!(!run.stderr.contains("wrong-secret"), "{run:?}");
    let run = load(&node.url(), "", true);
    assert!(run.code == 1 && run.stderr.contains("no password"), "{run:?}");
    let run = load(&node.url(), "admin", false);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("--opensearch-ca"), "{run:?}");
    let run = load(&node.by_another_name().url(), "admin", true);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("certificate"), "{run:?}");
    assert!(bench.lake().files().is_empty(), "nothing was begun");
}

#[test]
fn requests_are_signed_for_aws_where_that_is_asked_for() {
    let test = "requests_are_signed_for_aws_where_that_is_asked_for";
    let Some(index) = Index::alone(test) else { return };
    let bench = bench();
    let url = index.node.url();
    // A node without users takes any signature; what it proves is that signed requests are whole.
    let signed = ["--opensearch", &url, "--opensearch-auth", "aws"];
    let load = |extra: &[&str], key: bool| {
        bench.load_as(
            |command| {
                command.args(signed).env("AWS_EC2_METADATA_DISABLED", "true");
                if key {
                    command.env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE");
                    command
                        .env("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
                }
                command.env("HOME", bench.path("home"))
            },
            extra,
        )
    };
    let run = load(&["--opensearch-region", "eu-west-1", "--opensearch-gzip", "true"], true);
    assert_eq!((run.code, run.index("indexed")), (0, ALL), "{run:?}");
    assert_is_lake(index.node, &bench.lake());
    let run = load(&["--opensearch-region", "eu-west-1", "--force"], false);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("credentials"), "{run:?}");
}

#[test]
fn documents_beyond_the_limit_of_fields_are_refused_with_the_servers_reason() {
    let test = "documents_beyond_the_limit_of_fields_are_refused_with_the_servers_reason";
    let Some(index) = Index::alone(test) else { return };
    let bench = bench();
    // Somebody has replaced the template of a class by one that guesses fields, up to a number.
    let template = json!({
        "index_patterns": ["ocsf-1.1.0-4001-network_activity-*"],
        "priority": 200,
        "template": {
            "aliases": { "ocsf-all": {} },
            "settings": { "index.mapping.total_fields.limit": 30 },
        },
    });
    let path = "/_index_template/ocsf-1.1.0-4001-network_activity";
    index.node.get("PUT", path, Some(template));
    let run = index.load(&bench, &[]);
    assert_eq!((run.code, run.index("rejected"), run.index("indexed")), (2, 60, 40), "{run:?}");
    assert_adds_up(&run, &bench);
    let refused = bench.lake().index_rejects();
    assert!(
        refused[0]["reason"].as_str().unwrap().contains("Limit of total fields"),
        "{refused:?}"
    );
    // They are in the lake, and are sent from there when the template is put right.
    let mut setup = trailhound();
    setup.args(["setup", "opensearch", "--force", "--opensearch", &index.node.url()]);
    let output = setup.current_dir(bench.path("")).output().unwrap();
    // The index that was made meanwhile stays wrong, and is named.
    let told = [output.stdout, output.stderr].concat();
    assert!(String::from_utf8(told).unwrap().contains("index ocsf-1.1.0-4001-network_activity-"));
    assert_eq!(output.status.code(), Some(2));
    index.node.get("DELETE", "/ocsf-1.1.0-4001-*", None);
    let run = fill(&index.node.url(), &bench, &[]);
    assert_eq!((run.code, run.index("indexed")), (0, 60), "{run:?}");
    assert_is_lake(index.node, &bench.lake());
}
