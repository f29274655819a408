//! Time: nothing is begun that cannot be finished, and what was begun is finished or given back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Cloud, drain, failed, log_lines, metric, notification, queue_event, trail};
use crate::support::{
    cloud::{
        lambda::{Delivery, Outcome},
        proxy::{Fault, Proxy},
        queue::Queues,
    },
    trail_key,
};

/// The function answered each time. On a machine that is busy with other tests one answer may come
/// after the 0.3 s that are kept for it; then nothing is acknowledged.
#[track_caller]
fn answered(deliveries: &[Delivery]) {
    let is_late = |one: &&Delivery| matches!(one.outcome, Outcome::TimedOut);
    assert!(deliveries.iter().filter(is_late).count() <= 1, "{deliveries:?}");
    for one in deliveries {
        match one.outcome {
            Outcome::Response(_) => {}
            Outcome::TimedOut => assert_eq!(one.failed.len(), one.messages.len()),
            _ => panic!("{one:?}"),
        }
    }
}

#[test]
fn what_there_is_no_time_for_comes_back_at_once_and_is_done_later() {
    let Some(queues) = Queues::or_skip("what_there_is_no_time_for") else { return };
    let cloud = Cloud::new();
    let queue = queues.create("deadline", 1, 50);
    let proxy = Proxy::start(&cloud.server.endpoint());
    // About 8 kB each, and for the function as much again: 16 ms by its first guess.
    proxy.script(|_, line| {
        if line.starts_with("GET /logs/") {
            Fault::Slow(2_000, Duration::from_millis(150))
        } else {
            Fault::Pass
        }
    });
    let endpoint = proxy.endpoint();
    let variables = [("AWS_ENDPOINT_URL_S3", endpoint.as_str()), ("TRAILHOUND_JOBS", "1")];
    let mut lambda = cloud.function_with(&variables, Duration::from_secs(3));
    for n in 0..10 {
        let range = n * 200..n * 200 + 200;
        queue.send(notification(&[&cloud.put(&trail_key(&format!("{n}")), trail(range))]));
    }
    let all = drain(&mut lambda, &queue);
    answered(&all);
    assert_eq!(queue.dead_letters(), [""; 0]);
    cloud.staged().has_events(0..2000);
}

#[test]
fn slow_storage_does_not_make_a_batch_fail_for_ever() {
    let Some(queues) = Queues::or_skip("slow_storage") else { return };
    let cloud = Cloud::new();
    let queue = queues.create("slow", 1, 50);
    let proxy = Proxy::start(&cloud.server.endpoint());
    let endpoint = proxy.endpoint();
    let variables = [("AWS_ENDPOINT_URL_S3", endpoint.as_str()), ("TRAILHOUND_JOBS", "1")];
    let mut lambda = cloud.function_with(&variables, Duration::from_secs(4));
    // Every object takes 0.6 s: eight cannot be done in time, whatever their size makes one guess.
    // They are too large for a group that is opened at once.
    proxy.script(|_, line| {
        if line.starts_with("GET /logs/") {
            Fault::Slow(60_000, Duration::from_millis(600))
        } else {
            Fault::Pass
        }
    });
    for n in 0..8 {
        let range = n * 1500..n * 1500 + 1500;
        queue.send(notification(&[&cloud.put(&trail_key(&format!("{n}")), trail(range))]));
    }
    let all = drain(&mut lambda, &queue);
    answered(&all);
    assert_eq!(queue.dead_letters(), [""; 0], "{}", lambda.logs());
    cloud.staged().has_events(0..12_000);
}

#[test]
fn a_slow_time_is_forgotten_when_it_is_over() {
    let cloud = Cloud::new();
    let proxy = Proxy::start(&cloud.server.endpoint());
    let endpoint = proxy.endpoint();
    let mut lambda =
        cloud.function_with(&[("AWS_ENDPOINT_URL_S3", &endpoint)], Duration::from_secs(3));
    let is_slow = Arc::new(AtomicBool::new(true));
    let slow = Arc::clone(&is_slow);
    // A small object that takes a second does not say that one of ten times its size takes ten.
    proxy.script(move |_, line| {
        if line.starts_with("GET /logs/") && slow.load(Ordering::SeqCst) {
            Fault::Slow(100_000, Duration::from_millis(900))
        } else {
            Fault::Pass
        }
    });
    let small = notification(&[&cloud.trail("small", 0..10)]);
    assert_eq!(failed(&lambda.invoke(queue_event([("a", small.as_str(), 1)]))), [""; 0]);
    is_slow.store(false, Ordering::SeqCst);
    let large = notification(&[&cloud.trail("large", 1000..4000)]);
    let mut tries = 0;
    loop {
        tries += 1;
        assert!(tries < 6, "never started again: {}", lambda.logs());
        if failed(&lambda.invoke(queue_event([("b", large.as_str(), tries)]))).is_empty() {
            break;
        }
    }
    cloud.staged().has_events((0..10).chain(1000..4000));
}

#[test]
fn a_request_that_hangs_is_given_back_before_the_deadline() {
    let cloud = Cloud::new();
    let object = cloud.trail("one", 0..10);
    let body = notification(&[&object]);
    // Without size and tag, so that the bucket is asked for them.
    let bare = body.replace("\"size\"", "\"dimensions\"");
    // The first line of the request that hangs, the body, receipts.
    let cases = [
        ("GET /logs/", &body, 1),
        ("PUT /lake/x/_trailhound/staged", &body, 1),
        ("PUT /lake/x/_trailhound/ledger", &body, 1),
        ("HEAD /logs", &body, 1),
        ("HEAD /logs/", &bare, 1),
        ("GET /lake", &body, 2),
    ];
    std::thread::scope(|scope| {
        for (start, body, receipts) in cases {
            let cloud = &cloud;
            scope.spawn(move || {
                let proxy = Proxy::start(&cloud.server.endpoint());
                let endpoint = proxy.endpoint();
                let variables = [("AWS_ENDPOINT_URL_S3", endpoint.as_str())];
                let mut lambda = cloud.function_with(&variables, Duration::from_secs(3));
                proxy.script(
                    move |_, line| if line.starts_with(start) { Fault::Hang } else { Fault::Pass },
                );
                let started = Instant::now();
                let outcome = lambda.invoke(queue_event([("a", body.as_str(), receipts)]));
                assert_eq!(failed(&outcome), ["a"], "{start}");
                assert!(started.elapsed() < Duration::from_secs(3));
                assert_eq!(metric(&lambda, "FailedTransient"), 1, "{:?}", log_lines(&lambda));
                proxy.script(|_, _| Fault::Pass);
                // Nothing of that is in the way of the next ones; on a busy machine one may be slow.
                let mut next = receipts + 1..receipts + 4;
                let is_done = next.any(|receipts| {
                    let event = queue_event([("a", body.as_str(), receipts)]);
                    failed(&lambda.invoke(event)).is_empty()
                });
                assert!(is_done, "{start}: {}", lambda.logs());
            });
        }
    });
    cloud.staged().has_events(0..10);
}

#[test]
fn without_time_nothing_is_begun() {
    let cloud = Cloud::new();
    let mut lambda = cloud.function_with(&[], Duration::from_secs(1));
    let body = notification(&[&cloud.trail("one", 0..10)]);
    let outcome = lambda.invoke(queue_event([("a", body.as_str(), 1)]));
    assert_eq!(failed(&outcome), ["a"]);
    assert_eq!((cloud.requests("GetObject"), cloud.requests("PutObject")), (0, 0));
    assert_eq!(metric(&lambda, "FailedNotStarted"), 1);
}
