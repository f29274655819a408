//! Faults between the function and S3.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use super::{Cloud, failed, logs, notification, queue_event};
use crate::support::{
    cloud::{
        block_on,
        proxy::{Fault, Proxy},
        s3::Created,
    },
    flow_key, flow_object, gzip, trail_key,
};

/// Random letters: an object that stays large when it is compressed.
fn bulky(events: std::ops::Range<u64>) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(events.start);
    let list: Vec<_> = events
        .map(|n| {
            let mut event = crate::support::event(n);
            let noise: String = (0..20_000).map(|_| random.alphanumeric()).collect();
            event["requestParameters"] = serde_json::json!({ "noise": noise });
            event
        })
        .collect();
    gzip(&crate::support::records(&list))
}

#[test]
fn answers_that_break_off_are_gone_on_with_and_rows_are_complete() {
    let cloud = Cloud::new();
    let proxy = Proxy::start(&cloud.server.endpoint());
    let mut lambda =
        cloud.function_with(&[("AWS_ENDPOINT_URL_S3", &proxy.endpoint())], super::PATIENCE);
    // 3 MB of gzip: several pieces.
    let object = cloud.put(&trail_key("bulky"), bulky(0..200));
    assert!(object.size > 2_000_000, "{}", object.size);
    let flow = cloud.put(&flow_key("flow"), gzip(&flow_object(0..50)));
    let body = notification(&[&object, &flow]);
    let faults = [
        Fault::Reset(300_000),
        Fault::Truncate(1_200_000),
        Fault::Truncate(0),
        Fault::Reset(0),
        Fault::Slow(400_000, Duration::from_millis(20)),
        Fault::Status(503),
        Fault::Status(500),
        Fault::LoseAnswer,
    ];
    for (run, fault) in (1..).zip(faults) {
        // The first requests: that for the region of the bucket counts as well.
        proxy.script(move |number, line| {
            let is_read = line.starts_with("GET /logs/");
            if is_read && number <= 3 { fault } else { Fault::Pass }
        });
        cloud.server.reset_requests();
        let outcome = lambda.invoke(queue_event([("a", body.as_str(), 1)]));
        assert_eq!(failed(&outcome), [""; 0], "{fault:?}: {}", lambda.logs());
        let staged = cloud.staged();
        let rows = |name| {
            let of = staged.entries(name);
            assert_eq!(of.len(), run, "{fault:?}");
            of.iter().map(|entry| entry["records"]["parquet"].as_u64().unwrap()).sum::<u64>()
        };
        assert_eq!(rows("bulky.json.gz"), 200 * run as u64, "{fault:?}");
        assert_eq!(rows("flow.log.gz"), 50 * run as u64, "{fault:?}");
    }
}

#[test]
fn bytes_that_arrive_damaged_are_noticed() {
    let cloud = Cloud::new();
    let mut lambda = cloud.function();
    // Without compression nothing but the checksum that S3 keeps can tell.
    let plain = crate::support::records(&[crate::support::event(1)]);
    let key = trail_key("plain").replace(".gz", "");
    let client = cloud.server.client();
    let put = client.put_object().bucket("logs").key(&key).body(plain.clone().into());
    block_on(put.send()).unwrap();
    let object = cloud.server.created().pop().unwrap();
    let damaged = String::from_utf8(plain).unwrap().replace("user-1", "user-2");
    std::fs::write(cloud.server.root().join("logs").join(&key), damaged).unwrap();
    let body = notification(&[&object]);
    let outcome = lambda.invoke(queue_event([("a", body.as_str(), 1)]));
    assert_eq!(failed(&outcome), ["a"], "{}", lambda.logs());
    assert!(logs(&lambda).contains("arrived damaged"), "{}", lambda.logs());
}

#[test]
fn an_object_that_changes_while_it_is_read_is_not_made_of_both() {
    let cloud = Cloud::new();
    let proxy = Proxy::start(&cloud.server.endpoint());
    let mut lambda =
        cloud.function_with(&[("AWS_ENDPOINT_URL_S3", &proxy.endpoint())], super::PATIENCE);
    let folder = tempfile::tempdir().unwrap();
    let key = trail_key("bulky");
    let [first, other] = ["first", "other"].map(|name| folder.path().join(name).join(&key));
    for (path, events) in [(&first, 0..200), (&other, 1000..1200)] {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bulky(events)).unwrap();
    }
    cloud.server.upload_dir(&folder.path().join("first"), "logs", "");
    let size = std::fs::metadata(&first).unwrap().len() as i64;
    let object = Created { bucket: "logs".into(), key: key.clone(), size, etag: "e".into() };
    let (path, is_first) = (cloud.server.root().join("logs").join(&key), AtomicBool::new(true));
    // The answer breaks off, and before it is asked for again there is something else.
    proxy.script(move |_, line| {
        if !line.starts_with("GET /logs/") {
            return Fault::Pass;
        }
        if is_first.swap(false, Ordering::SeqCst) {
            return Fault::Reset(1_500_000);
        }
        // In the place of the other one, not into it: that is open for who reads it.
        let _ = std::fs::rename(&other, &path);
        Fault::Pass
    });
    let body = notification(&[&object]);
    let first = lambda.invoke(queue_event([("a", body.as_str(), 1)]));
    assert_eq!(failed(&first), ["a"], "{:?}", proxy.requests());
    let kept = cloud.staged().rows;
    assert!(kept.iter().all(|row| row.uid() < "event-000200"), "of the first only");
    assert!(logs(&lambda).contains("has changed meanwhile"), "{}", lambda.logs());
    let again = lambda.invoke(queue_event([("a", body.as_str(), 2)]));
    assert_eq!(failed(&again), [""; 0], "{}", lambda.logs());
    cloud.staged().has_events((0..kept.len() as u64).chain(1000..1200));
}
