//! A function that also indexes: nothing is acknowledged that is not in the lake and in the index.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use super::{Cloud, PATIENCE, failed, metric, notification, queue_event};
use crate::support::{
    cloud::proxy::{Fault, Proxy},
    index::Index,
};

#[test]
fn a_message_is_done_when_its_records_are_in_the_lake_and_in_the_index() {
    let test = "a_message_is_done_when_its_records_are_in_the_lake_and_in_the_index";
    let Some(index) = Index::alone(test) else { return };
    let cloud = Cloud::new();
    let proxy = Proxy::start(&index.node.url());
    let is_away = Arc::new(AtomicBool::new(true));
    let away = Arc::clone(&is_away);
    proxy.script(move |_, line| {
        let fails = away.load(SeqCst) && line.contains("_bulk");
        if fails { Fault::Status(503) } else { Fault::Pass }
    });
    let endpoint = proxy.endpoint();
    let extra = [("TRAILHOUND_OPENSEARCH", &*endpoint), ("TRAILHOUND_OPENSEARCH_WAIT", "0s")];
    let mut lambda = cloud.function_with(&extra, PATIENCE);
    let body = notification(&[&cloud.trail("one", 0..10)]);
    let outcome = lambda.invoke(queue_event([("a", body.as_str(), 1)]));
    assert_eq!(failed(&outcome), ["a"], "{}", lambda.logs());
    assert_eq!(metric(&lambda, "DocumentsPending"), 10);
    cloud.staged().has_events_once(0..10);

    // It comes again while the cluster is still away: no row is written a second time.
    assert_eq!(failed(&lambda.invoke(queue_event([("a", body.as_str(), 2)]))), ["a"]);
    cloud.staged().has_events_once(0..10);

    is_away.store(false, SeqCst);
    assert_eq!(failed(&lambda.invoke(queue_event([("a", body.as_str(), 3)]))), [""; 0]);
    assert_eq!(metric(&lambda, "DocumentsIndexed"), 10);
    assert_eq!(index.node.count("ocsf-all"), 10);
    cloud.staged().has_events_once(0..10);
    // And once more, after all was done.
    assert_eq!(failed(&lambda.invoke(queue_event([("a", body.as_str(), 4)]))), [""; 0]);
    assert_eq!((metric(&lambda, "ObjectsKnown"), metric(&lambda, "DocumentsDuplicate")), (3, 0));
}

#[test]
fn a_cluster_that_hangs_does_not_hold_up_the_lake() {
    let Some(index) = Index::alone("a_cluster_that_hangs_does_not_hold_up_the_lake") else {
        return;
    };
    let cloud = Cloud::new();
    let proxy = Proxy::start(&index.node.url());
    proxy.script(|_, line| if line.contains("_bulk") { Fault::Hang } else { Fault::Pass });
    let endpoint = proxy.endpoint();
    let extra = [("TRAILHOUND_OPENSEARCH", &*endpoint)];
    let mut lambda = cloud.function_with(&extra, Duration::from_secs(20));
    let body = notification(&[&cloud.trail("one", 0..10)]);
    let started = Instant::now();
    let outcome = lambda.invoke(queue_event([("a", body.as_str(), 1)]));
    assert_eq!(failed(&outcome), ["a"], "{}", lambda.logs());
    assert!(started.elapsed() < Duration::from_secs(20));
    cloud.staged().has_events_once(0..10);
}
