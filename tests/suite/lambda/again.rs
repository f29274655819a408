//! What comes more often than once: each record is there, and by its uid once.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use super::{Cloud, drain, failed, metric, notification, queue_event, sns, trail};
use crate::support::{
    cloud::{lambda::Outcome, queue::Queues, s3::s3_error},
    gzip, trail_key, trail_key_of,
};

#[test]
fn a_message_that_comes_again_is_looked_up_and_one_that_is_new_is_not() {
    let cloud = Cloud::new();
    let mut lambda = cloud.function();
    let object = cloud.trail("one", 0..10);
    let body = notification(&[&object]);
    let wrapped = sns(&body);
    // Twice in one batch, as the same message and as another one.
    let messages = [("a", body.as_str(), 1), ("a", body.as_str(), 1), ("b", wrapped.as_str(), 1)];
    assert_eq!(failed(&lambda.invoke(queue_event(messages))), [""; 0]);
    let requests = |name| cloud.requests(name);
    assert_eq!((requests("GetObject"), requests("ListObjectsV2")), (1, 0));
    cloud.staged().has_events_once(0..10);
    // Later, known to be repeated: one look-up, and nothing is read or written.
    cloud.server.reset_requests();
    let messages = [("a", body.as_str(), 2), ("b", wrapped.as_str(), 3)];
    assert_eq!(failed(&lambda.invoke(queue_event(messages))), [""; 0]);
    assert_eq!((requests("ListObjectsV2"), requests("PutObject")), (1, 0));
    assert_eq!(requests("GetObject"), 1, "the ledger");
    assert_eq!(metric(&lambda, "ObjectsKnown"), 1);
    cloud.staged().has_events_once(0..10);
    // Later, and nothing tells so: loaded again without a look-up, and once by its uids.
    cloud.server.reset_requests();
    assert_eq!(failed(&lambda.invoke(queue_event([("c", body.as_str(), 1)]))), [""; 0]);
    assert_eq!((requests("GetObject"), requests("ListObjectsV2")), (1, 0));
    let staged = cloud.staged();
    staged.has_events(0..10);
    assert_eq!(staged.rows.len(), 20);
}

#[test]
fn an_object_that_was_replaced_is_loaded_again_also_by_a_message_that_comes_again() {
    let cloud = Cloud::new();
    let mut lambda = cloud.function();
    let first = notification(&[&cloud.trail("one", 0..10)]);
    assert_eq!(failed(&lambda.invoke(queue_event([("a", first.as_str(), 1)]))), [""; 0]);
    let second = notification(&[&cloud.trail("one", 5..15)]);
    assert_eq!(failed(&lambda.invoke(queue_event([("b", second.as_str(), 2)]))), [""; 0]);
    cloud.staged().has_events(0..15);
}

#[test]
fn two_functions_that_get_the_same_messages_at_once_lose_nothing() {
    let cloud = Cloud::new();
    let bodies: Vec<_> = (0..5)
        .map(|n| notification(&[&cloud.trail(&format!("{n}"), n * 10..n * 10 + 10)]))
        .collect();
    let ids = ["a", "b", "c", "d", "e"];
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut lambda = cloud.function();
                let messages = ids.into_iter().zip(&bodies);
                let messages = messages.map(|(id, body)| (id, body.as_str(), 2));
                assert_eq!(failed(&lambda.invoke(queue_event(messages))), [""; 0]);
            });
        }
    });
    cloud.staged().has_events(0..50);
}

/// Kills the function at its `at`th PUT, before or after that is done, and lets the messages come
/// again until they are done. False if there are not so many PUTs.
fn killed_at(queues: &Queues, at: u32, is_done: bool) -> bool {
    let cloud = Cloud::new();
    let queue = queues.create("kill", 2, 5);
    let mut lambda = cloud.function();
    for n in 0..4_u64 {
        let day = ["2024/05/01", "2024/05/02"][(n % 2) as usize];
        let key = trail_key_of("111122223333", "us-east-1", day, &format!("{n}"));
        queue.send(notification(&[&cloud.put(&key, trail(n * 10..n * 10 + 10))]));
    }
    let odd = cloud.put(&trail_key("odd"), gzip(br#"{"Records":[7]}"#));
    queue.send(notification(&[&odd]));
    let process = lambda.process_id().unwrap().to_string();
    let puts = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&puts);
    cloud.server.fault(move |operation, _, _| {
        if operation == "PutObject" && counted.fetch_add(1, Ordering::SeqCst) + 1 == at {
            let kill = Command::new("kill").args(["-9", &process]).status().unwrap();
            assert!(kill.success());
            if !is_done {
                return Err(s3_error!(InternalError));
            }
        }
        Ok(())
    });
    let first = lambda.drive(&queue, 10).unwrap();
    if puts.load(Ordering::SeqCst) < at {
        assert!(matches!(first.outcome, Outcome::Response(_)), "{first:?}");
        return false;
    }
    assert!(matches!(first.outcome, Outcome::Exited(_)), "{first:?}");
    assert_eq!(queue.len(), 5);
    drain(&mut lambda, &queue);
    assert_eq!(queue.dead_letters(), [""; 0]);
    let staged = cloud.staged();
    assert!(
        !staged.rows.is_empty(),
        "{at} {is_done}: {:#?} {} {:?}",
        staged.ledger,
        lambda.logs(),
        cloud.server.list("lake", "")
    );
    staged.has_events(0..40);
    assert!(!staged.rejects.is_empty());
    let names: std::collections::BTreeSet<_> =
        staged.ledger.iter().map(|entry| entry["key"].to_string()).collect();
    assert_eq!(names.len(), 5);
    true
}

#[test]
fn a_function_that_is_killed_at_any_put_loses_nothing() {
    let Some(queues) = Queues::or_skip("a_function_that_is_killed") else { return };
    // Three classes, one file of rejects, the ledgers of two days.
    let points: Vec<_> = (1..=7).flat_map(|at| [(at, false), (at, true)]).collect();
    for points in points.chunks(5) {
        thread::scope(|scope| {
            for &(at, is_done) in points {
                let queues = &queues;
                scope.spawn(move || assert_eq!(killed_at(queues, at, is_done), at < 7, "PUT {at}"));
            }
        });
    }
}
