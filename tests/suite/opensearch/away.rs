//! A cluster that is away, for a while or for good: who waits for it, how long, and what is told.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use crate::support::{
    Bench, Run,
    cloud::proxy::{Fault, Proxy},
    flow_key, flow_object,
    index::{Index, assert_is_lake, load_at, set_up},
};

use super::{ALL, bench, fill, trouble::load_through};

#[test]
fn a_cluster_that_comes_up_without_templates_gets_no_document() {
    let test = "a_cluster_that_comes_up_without_templates_gets_no_document";
    let Some(index) = Index::alone(test) else { return };
    index.node.get("DELETE", "/_index_template/ocsf-*", None);
    let bench = bench();
    let proxy = Proxy::start(&index.node.url());
    proxy.script(|number, _| if number == 1 { Fault::Status(503) } else { Fault::Pass });
    let run = load_at(&proxy.endpoint(), &bench, &[]);
    assert_eq!((run.code, run.records("parquet"), run.index("pending")), (2, ALL, ALL), "{run:?}");
    assert!(run.stderr.contains("trailhound setup opensearch"), "{run:?}");
    let (_, made) = index.node.call("GET", "/ocsf-*/_count", None);
    assert_eq!(made["count"], 0, "an index would have the wrong mapping");
    set_up(index.node);
    assert_eq!(fill(&index.node.url(), &bench, &[]).code, 0);
    assert_is_lake(index.node, &bench.lake());
}

#[test]
fn a_cluster_that_comes_back_empty_gets_no_document() {
    let test = "a_cluster_that_comes_back_empty_gets_no_document";
    let Some(index) = Index::alone(test) else { return };
    let bench = bench();
    let proxy = Proxy::start(&index.node.url());
    let (url, bulks) = (index.node.url(), AtomicU64::new(0));
    proxy.script(move |_, line| {
        if !line.contains("_bulk") || bulks.fetch_add(1, SeqCst) > 0 {
            return Fault::Pass;
        }
        let url = url.clone();
        let delete = move || {
            let mut curl = std::process::Command::new("curl");
            curl.args(["-s", "-X", "DELETE"]).arg(format!("{url}/_index_template/ocsf-*"));
            assert!(curl.output().unwrap().status.success());
        };
        std::thread::spawn(delete).join().unwrap();
        Fault::LoseAnswer
    });
    let run = load_at(&proxy.endpoint(), &bench, &[]);
    assert_eq!((run.code, run.index("rejected"), run.index("pending")), (2, 0, ALL), "{run:?}");
}

const FLOWS: u64 = 20_000;

#[test]
fn the_lake_does_not_wait_for_a_cluster_that_is_away() {
    let Some(index) = Index::alone("the_lake_does_not_wait_for_a_cluster_that_is_away") else {
        return;
    };
    let bench = Bench::new();
    for object in 0..40 {
        bench.put(&flow_key(&format!("f{object}")), flow_object(object * 500..object * 500 + 500));
    }
    // A tenth of the time is the lake's, so it is through when the cluster is back.
    let started = Arc::new(std::sync::OnceLock::new());
    let (run, _) = load_through(
        index.node,
        &bench,
        move |_| {
            let first: &Instant = started.get_or_init(Instant::now);
            let is_away = first.elapsed() < Duration::from_secs(12);
            if is_away { Fault::Status(503) } else { Fault::Pass }
        },
        &["--opensearch-wait", "40s", "--opensearch-bulk-size", "64kb", "--memory", "152mb"],
    );
    assert_eq!((run.code, run.records("parquet")), (2, FLOWS), "{run:?}");
    let (indexed, pending) = (run.index("indexed"), run.index("pending"));
    assert!(pending > 0 && indexed > 0, "what was on its way is waited for: {run:?}");
    assert_eq!(indexed + pending, FLOWS);
    assert_eq!(fill(&index.node.url(), &bench, &[]).code, 0);
    assert_eq!(index.node.count("ocsf-4001"), FLOWS);
}

#[test]
fn a_cluster_is_waited_for_as_long_as_was_said_and_that_is_told_once() {
    let test = "a_cluster_is_waited_for_as_long_as_was_said_and_that_is_told_once";
    let Some(index) = Index::alone(test) else { return };
    let started = Instant::now();
    let wait = ["--opensearch-wait", "8s"];
    let (run, _) = load_through(index.node, &bench(), |_| Fault::Status(503), &wait);
    let took = started.elapsed();
    assert_eq!((run.code, run.index("pending")), (2, ALL), "{run:?}");
    assert!((8.0..11.0).contains(&took.as_secs_f64()), "{took:?}");
    let warnings: Vec<_> = run.stderr.lines().filter(|line| line.contains("WARN")).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("waiting for OpenSearch"), "{warnings:?}");
}

#[test]
fn an_address_that_cannot_be_right_stops_a_load_before_it_writes_anything() {
    let proxy = Proxy::start("http://127.0.0.1:9");
    proxy.script(|_, _| Fault::Status(404));
    let other = proxy.endpoint();
    // As servers without TLS do: what comes is no request.
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let secure = format!("https://{}", plain.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in plain.incoming() {
            let mut stream = stream.unwrap();
            drop(stream.read(&mut [0; 512]));
            drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"));
        }
    });
    for (url, told) in [
        ("127.0.0.1:9200", "http://127.0.0.1:9200"),
        ("http://127.0.0.1:9200/ocsf-all", "without what follows"),
        ("http://nowhere.invalid:9200", "is its name right?"),
        (other.as_str(), "is not OpenSearch"),
        (secure.as_str(), "does not speak TLS"),
    ] {
        let bench = bench();
        let started = Instant::now();
        let run: Run = load_at(url, &bench, &[]);
        assert_eq!(run.code, 1, "{run:?}");
        assert!(run.stderr.contains(told), "{url}: {run:?}");
        assert!(!bench.path("lake").exists() && started.elapsed() < Duration::from_secs(30));
    }
    for (wrong, told) in [
        (&["--opensearch-bulk-size", "0"][..], "at least 64KB"),
        (&["--opensearch-wait", "5"], "expected a time such as"),
        (&["--index-only", "network_activity:activity_id=no"], "whole number"),
        (&["--index-only", "guardduty"], "set --opensearch"),
    ] {
        let run = bench().load(wrong);
        assert!(run.code == 1 && run.stderr.contains(told), "{wrong:?}: {run:?}");
    }
}
