//! What fails: for now, for good, and what is only not ours.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use super::{Cloud, drain, failed, log_lines, logs, metric, notification, queue_event, trail};
use crate::support::{
    cloud::{
        queue::Queues,
        s3::{access_denied, s3_error},
    },
    number, trail_key,
};

#[test]
fn what_fails_for_good_is_in_the_ledger_and_ends_among_the_dead_letters_without_more_rows() {
    let Some(queues) = Queues::or_skip("what_fails_for_good") else { return };
    let cloud = Cloud::new();
    let queue = queues.create("bad", 1, 3);
    let mut lambda = cloud.function();
    let whole = trail(0..400);
    let objects = [
        cloud.put(&trail_key("cut"), &whole[..whole.len() / 2]),
        cloud.put(&trail_key("garbage"), b"\x1f\x8b\x08 and no more"),
        cloud.trail("missing", 900..910),
        cloud.trail("denied", 910..920),
        cloud.trail("good", 1000..1010),
    ];
    cloud.server.delete("logs", &objects[2].key);
    cloud.server.fault(|operation, _, key| {
        let is_denied = operation == "GetObject" && key.contains("denied");
        if is_denied { Err(access_denied()) } else { Ok(()) }
    });
    for object in &objects {
        queue.send(notification(&[object]));
    }
    let first = lambda.drive(&queue, 10).unwrap();
    assert_eq!(first.failed.len(), 4, "{first:?}");
    let staged = cloud.staged();
    let kept = number(&staged.entries("cut.json.gz")[0]["records"]["parquet"]);
    assert!((1..400).contains(&kept), "{kept}");
    staged.has_events_once((0..kept).chain(1000..1010));
    for (name, why) in [("cut", ""), ("garbage", ""), ("missing", "not there"), ("denied", "")] {
        let entry = staged.entries(&format!("{name}.json.gz"))[0];
        assert_eq!(entry["state"], "failed", "{entry}");
        assert!(entry["error"]["what"].as_str().unwrap().contains(why), "{entry}");
    }
    let what = staged.entries("denied.json.gz")[0]["error"]["what"].as_str().unwrap().to_owned();
    let resource = format!("arn:aws:s3:::logs/{}", objects[3].key);
    for part in ["AKIAIOSFODNN7EXAMPLE", "s3:GetObject", resource.as_str()] {
        assert!(what.contains(part), "no {part} in {what}");
    }
    cloud.server.reset_requests();
    let again = drain(&mut lambda, &queue);
    assert_eq!(again.iter().map(|one| one.failed.len()).sum::<usize>(), 8);
    assert_eq!(queue.dead_letters().len(), 4);
    assert_eq!(cloud.requests("PutObject"), 0, "nothing is written again");
    assert_eq!(cloud.staged().rows, staged.rows);
    // As an operator tells them apart.
    assert!(metric(&lambda, "FailedPermanent") >= 6, "{:#?}", log_lines(&lambda));
    // Permitted by now, and sent again from among the dead letters, where it counts from one.
    cloud.server.no_fault();
    let denied = notification(&[&objects[3]]);
    assert_eq!(failed(&lambda.invoke(queue_event([("denied", denied.as_str(), 1)]))), [""; 0]);
    cloud.staged().has_events_once((0..kept).chain(1000..1010).chain(910..920));
}

#[test]
fn what_may_work_later_comes_back_and_works_later() {
    let Some(queues) = Queues::or_skip("what_may_work_later") else { return };
    let cloud = Cloud::new();
    let queue = queues.create("slow", 1, 10);
    let mut lambda = cloud.function();
    // More often than the client tries again by itself, within a few deliveries.
    let left = Arc::new(AtomicU32::new(7));
    cloud.server.fault(move |operation, bucket, key| {
        let is_hit = operation == "GetObject" && bucket == "logs" && key.contains("throttled");
        let less = |n: u32| n.checked_sub(1);
        if is_hit && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
            Err(s3_error!(SlowDown))
        } else {
            Ok(())
        }
    });
    for (name, events) in [("throttled", 0..10), ("other", 10..20)] {
        queue.send(notification(&[&cloud.trail(name, events)]));
    }
    let all = drain(&mut lambda, &queue);
    assert!(all.len() > 1 && all[0].failed.len() == 1, "{all:?}");
    assert_eq!(queue.dead_letters(), [""; 0]);
    assert!(metric(&lambda, "FailedTransient") >= 1, "{:#?}", log_lines(&lambda));
    let staged = cloud.staged();
    staged.has_events_once(0..20);
    let states: Vec<_> =
        staged.entries("throttled.json.gz").iter().map(|entry| entry["state"].clone()).collect();
    assert_eq!(states, ["failed", "loaded"]);
    assert_eq!(staged.entries("throttled.json.gz")[0]["error"]["permanent"], false);
}

#[test]
fn what_is_still_throttled_when_it_comes_again_is_no_permanent_failure() {
    let cloud = Cloud::new();
    let mut lambda = cloud.function();
    let body = notification(&[&cloud.trail("slow", 0..10)]);
    cloud.server.fault(|operation, bucket, _| {
        let is_hit = operation == "GetObject" && bucket == "logs";
        if is_hit { Err(s3_error!(SlowDown)) } else { Ok(()) }
    });
    for receipts in [1, 2] {
        assert_eq!(failed(&lambda.invoke(queue_event([("a", body.as_str(), receipts)]))), ["a"]);
    }
    let counts = ["FailedTransient", "FailedPermanent"].map(|name| metric(&lambda, name));
    assert_eq!(counts, [2, 0], "{:#?}", log_lines(&lambda));
}

#[test]
fn a_lake_that_cannot_be_written_for_a_while_loses_nothing() {
    let Some(queues) = Queues::or_skip("a_lake_that_cannot_be_written") else { return };
    let cloud = Cloud::new();
    let queue = queues.create("denied", 1, 10);
    let mut lambda = cloud.function();
    for n in 0..3 {
        queue.send(notification(&[&cloud.trail(&format!("{n}"), n * 10..n * 10 + 10)]));
    }
    queue.send(notification(&[&cloud.put("unknown/thing.bin", "who knows")]));
    for path in ["/class=3002/", "/ledger/"] {
        cloud.server.fault(move |operation, _, key| {
            let is_denied = operation == "PutObject" && key.contains(path);
            if is_denied { Err(access_denied()) } else { Ok(()) }
        });
        let mut delivery = None;
        while delivery.is_none() {
            std::thread::sleep(std::time::Duration::from_millis(100));
            delivery = lambda.drive(&queue, 10);
        }
        assert_eq!(delivery.unwrap().failed.len(), 4);
        assert!(logs(&lambda).contains("needs s3:PutObject on arn:aws:s3:::lake/x/_trailhound/"));
    }
    cloud.server.no_fault();
    drain(&mut lambda, &queue);
    let staged = cloud.staged();
    staged.has_events_once(0..30);
    assert_eq!(staged.ledger.len(), 4);
}

#[test]
fn an_unknown_key_is_acknowledged_noted_and_counted() {
    let cloud = Cloud::new();
    let mut lambda = cloud.function();
    let object = cloud.put("unknown/thing.bin", "who knows");
    let digest = "AWSLogs/111122223333/CloudTrail-Digest/us-east-1/2024/05/01/\
                  111122223333_CloudTrail-Digest_us-east-1_t_us-east-1_20240501T000000Z.json.gz";
    let digest = cloud.put(digest, "no log");
    let body = notification(&[&object, &digest]);
    assert_eq!(failed(&lambda.invoke(queue_event([("a", body.as_str(), 1)]))), [""; 0]);
    let staged = cloud.staged();
    assert_eq!(staged.entries("thing.bin")[0]["state"], "unrecognized");
    assert_eq!(staged.entries(".json.gz")[0]["state"], "excluded");
    let counts = ["ObjectsUnrecognized", "ObjectsExcluded"].map(|name| metric(&lambda, name));
    assert_eq!((counts, cloud.requests("GetObject")), ([1, 1], 1), "its content may tell");
    // Received again, it is known: no second line.
    assert_eq!(failed(&lambda.invoke(queue_event([("a", body.as_str(), 2)]))), [""; 0]);
    assert_eq!(cloud.staged().ledger.len(), 2);
}

#[test]
fn records_that_are_no_events_are_rejected_and_the_message_is_done() {
    let cloud = Cloud::new();
    let mut lambda = cloud.function();
    let body = br#"{"Records":[7,{"eventTime":"never"}]}"#;
    let object = cloud.put(&trail_key("odd"), crate::support::gzip(body));
    let body = notification(&[&object]);
    assert_eq!(failed(&lambda.invoke(queue_event([("a", body.as_str(), 1)]))), [""; 0]);
    let staged = cloud.staged();
    let records = &staged.entries("odd.json.gz")[0]["records"];
    assert_eq!(number(&records["rejected"]) as usize, staged.rejects.len(), "{records}");
    assert_eq!(number(&records["in"]), 2);
}
