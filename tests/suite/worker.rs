//! The queue worker, with a real queue and a real S3 protocol server.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{
    Lake, Run,
    cloud::{
        proxy::{Fault, Proxy},
        queue::{Queue, Queues},
        s3::S3Server,
    },
    load_command,
    logs::event_of_day,
    read_events, records, sample_archive, trail_key, trailhound, tree,
};

const LAKE: &str = "s3://lake/l";

struct Cloud {
    server: S3Server,
    /// Keeps the server of queues.
    _queues: Queues,
    queue: Queue,
}

impl Cloud {
    fn start(test: &str, visibility: u32) -> Option<Self> {
        let queues = Queues::or_skip(test)?;
        let server = S3Server::start();
        server.create_bucket("logs");
        server.create_bucket("lake");
        let queue = queues.create(&test.replace('_', "-"), visibility, 5);
        Some(Self { server, _queues: queues, queue })
    }

    /// Puts an object of ten events into the archive, and sends its event.
    fn put(&self, n: u64) {
        let events: Vec<Value> = (n * 10..n * 10 + 10).map(|i| event_of_day(i, 0)).collect();
        self.put_bytes(&trail_key(&format!("x{n}")), &records(&events));
    }

    fn put_bytes(&self, key: &str, body: &[u8]) {
        let path = self.server.root().join("logs").join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, body).unwrap();
        self.send(key, body.len());
    }

    fn send(&self, key: &str, size: usize) {
        self.queue.send(notification("logs", key, size));
    }

    fn command(&self, extra: &[&str]) -> Command {
        let mut command = trailhound();
        self.server.env(&mut command);
        self.queue.env(&mut command);
        command.args(["worker", "--queue-url", &self.queue.url, "--lake", LAKE]);
        command.env("TRAILHOUND_BATCH_WINDOW", "1s").args(extra);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// Works until the queue is empty.
    fn drain(&self, extra: &[&str]) -> String {
        let output = self.command(extra).arg("--drain").output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stderr}");
        stderr
    }

    /// The uids of all committed rows, as often as they are there.
    fn uids(&self) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        self.server.download("lake", "l/_trailhound/", folder.path());
        let mut uids = Vec::new();
        for line in ledger(folder.path()) {
            for file in line["files"].as_array().into_iter().flatten() {
                assert!(folder.path().join(file.as_str().unwrap()).exists(), "{file} is lost");
            }
        }
        let committed: BTreeSet<String> = ledger(folder.path())
            .iter()
            .flat_map(|line| line["files"].as_array().cloned().unwrap_or_default())
            .map(|file| file.as_str().unwrap().to_owned())
            .collect();
        for file in committed {
            let events = read_events(&folder.path().join(file));
            uids.extend(
                events.iter().map(|row| row["metadata"]["uid"].as_str().unwrap().to_owned()),
            );
        }
        uids
    }
}

/// What S3 sends when an object is created.
fn notification(bucket: &str, key: &str, size: usize) -> String {
    let body = json!({ "Records": [{
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "eventTime": "2026-11-22T12:26:18.234Z",
        "s3": {
            "bucket": { "name": bucket },
            "object": { "key": key.replace('/', "%2F"), "size": size, "eTag": "e" },
        },
    }] });
    body.to_string()
}

fn ledger(state: &Path) -> Vec<Value> {
    let files = tree(&state.join("ledger"));
    let texts = files.values().map(|bytes| std::str::from_utf8(bytes).unwrap().to_owned());
    let lines: Vec<String> =
        texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn distinct(uids: &[String]) -> usize {
    uids.iter().collect::<BTreeSet<_>>().len()
}

#[test]
fn a_worker_loads_what_events_name_and_deletes_them() {
    let Some(cloud) = Cloud::start("a_worker_loads_what_events_name_and_deletes_them", 30) else {
        return;
    };
    for n in 0..12 {
        cloud.put(n);
    }
    cloud.drain(&[]);
    let uids = cloud.uids();
    assert_eq!((uids.len(), distinct(&uids)), (120, 120));
    assert_eq!(cloud.queue.len(), 0);
    let keys = cloud.server.list("lake", "l/_trailhound/staged/");
    let classes: BTreeSet<&str> = keys.iter().map(|key| key.split('/').nth(5).unwrap()).collect();
    assert_eq!(keys.len(), classes.len(), "one batch, one file for each class: {keys:?}");
}

#[test]
fn two_workers_share_a_queue() {
    let Some(cloud) = Cloud::start("two_workers_share_a_queue", 30) else { return };
    for n in 0..40 {
        cloud.put(n);
    }
    let start = || cloud.command(&["--drain", "--batch-messages", "10"]).spawn().unwrap();
    let workers = [start(), start()];
    for worker in workers {
        let output = worker.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let uids = cloud.uids();
    assert_eq!((uids.len(), distinct(&uids)), (400, 400), "nothing is loaded twice");
    assert_eq!(cloud.queue.len(), 0);
}

#[test]
fn a_killed_workers_messages_come_again_and_nothing_is_lost() {
    let Some(cloud) = Cloud::start("a_killed_workers_messages_come_again", 2) else { return };
    for n in 0..20 {
        cloud.put(n);
    }
    for millis in [300, 1200, 1500, 1700] {
        let mut worker = cloud.command(&["--batch-messages", "5"]).spawn().unwrap();
        thread::sleep(Duration::from_millis(millis));
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
    thread::sleep(Duration::from_secs(2));
    cloud.drain(&[]);
    assert_eq!(distinct(&cloud.uids()), 200);
    assert_eq!((cloud.queue.len(), cloud.queue.dead_letters().len()), (0, 0));
}

#[test]
fn a_message_stays_invisible_while_its_batch_is_at_work() {
    let Some(cloud) = Cloud::start("a_message_stays_invisible_while_at_work", 6) else { return };
    cloud.put(0);
    // The object comes only after twice the visibility timeout.
    let proxy = Proxy::start(&cloud.server.endpoint());
    proxy.script(|_, line| {
        let is_object = line.starts_with("GET /logs/");
        if is_object { Fault::Slow(500, Duration::from_secs(1)) } else { Fault::Pass }
    });
    let mut command = cloud.command(&["--drain"]);
    proxy.env(&mut command);
    let mut worker = command.spawn().unwrap();
    wait_for(|| proxy.requests().iter().any(|line| line.starts_with("GET /logs/")));
    let started = Instant::now();
    while worker.try_wait().unwrap().is_none() && started.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(300));
        if started.elapsed() > Duration::from_secs(6) {
            assert!(cloud.queue.receive_batch(10).is_empty(), "another one got the message");
        }
    }
    assert!(started.elapsed() > Duration::from_secs(6), "the object came too early");
    assert!(worker.wait().unwrap().success());
    assert_eq!((cloud.uids().len(), cloud.queue.len()), (10, 0));
}

#[test]
fn a_worker_that_is_told_to_end_finishes_its_batch_or_gives_it_back() {
    let Some(cloud) = Cloud::start("a_worker_that_is_told_to_end", 600) else { return };
    for n in 0..5 {
        cloud.put(n);
    }
    let worker = cloud.command(&["--batch-window", "300s"]).spawn().unwrap();
    wait_for(|| cloud.server.get("lake", "l/_trailhound/probe").is_some());
    thread::sleep(Duration::from_secs(2));
    let started = Instant::now();
    terminate(&worker);
    let output = worker.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(started.elapsed() < Duration::from_secs(20));
    // The window was still open, so nothing is loaded; the messages are visible again at once.
    cloud.drain(&[]);
    assert_eq!(distinct(&cloud.uids()), 50);
}

#[test]
fn health_and_metrics_are_served() {
    let Some(cloud) = Cloud::start("health_and_metrics_are_served", 30) else { return };
    cloud.put(0);
    cloud.put_bytes("notes.txt", b"of no source at all");
    cloud.queue.send("garbage");
    // What the worker writes itself: an answer to it would be written, and so on for ever.
    cloud.queue.send(notification("lake", "l/_trailhound/ledger/v1/day=20240501/x.ndjson", 9));
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut worker = cloud.command(&["--listen", &address]).spawn().unwrap();
    let get = |path: &str| -> Option<String> {
        let mut stream = TcpStream::connect(&address).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    };
    let has = |path: &str, text: &str| get(path).is_some_and(|answer| answer.contains(text));
    wait_for(|| has("/metrics", "trailhound_objects_loaded_total 1\n"));
    assert!(has("/health", "200 OK"));
    let metrics = get("/metrics").unwrap();
    for line in [
        "trailhound_records_parquet_total 10",
        "trailhound_objects_unrecognized_total 1",
        "trailhound_failed_body_total 1",
        "trailhound_events_ignored_total 1",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    terminate(&worker);
    assert!(worker.wait().unwrap().success());
}

#[test]
fn a_queue_that_is_not_there_is_told_at_the_start() {
    let Some(cloud) = Cloud::start("a_queue_that_is_not_there", 30) else { return };
    let mut command = trailhound();
    cloud.server.env(&mut command);
    cloud.queue.env(&mut command);
    let url = cloud.queue.url.replace("a-queue", "no-queue");
    command.args(["worker", "--queue-url", &url, "--lake", LAKE]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("there is no queue") && stderr.lines().count() == 1, "{stderr}");
}

fn wait_for(mut what: impl FnMut() -> bool) {
    let started = Instant::now();
    while !what() {
        assert!(started.elapsed() < Duration::from_mins(1), "it never came");
        thread::sleep(Duration::from_millis(100));
    }
}

fn terminate(child: &Child) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
}

#[test]
fn what_a_worker_has_published_is_what_a_local_load_of_the_same_archive_gives() {
    let test = "what_a_worker_has_published";
    let Some(cloud) = Cloud::start(test, 60) else { return };
    let archive = sample_archive();
    cloud.server.upload_dir(&archive, "logs", "");
    for (key, body) in tree(&archive) {
        cloud.send(&key, body.len());
    }
    // Some come twice, at once and later.
    for (key, body) in tree(&archive).into_iter().step_by(7) {
        cloud.send(&key, body.len());
    }
    cloud.drain(&["--batch-messages", "150", "--publish-every", "1h"]);
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path().join("local");
    let run = Run::of(&load_command(&archive, &local, &[]).output().unwrap());
    assert_eq!(run.code, 0);
    let published = folder.path().join("published");
    cloud.server.download("lake", "l/ext/", &published.join("ext"));
    let sorted = |lake: &Lake| {
        let rows = lake.rows();
        let mut rows: Vec<String> = rows
            .iter()
            .map(|row| format!("{} {}", row.folder(), without_object(&row.event)))
            .collect();
        rows.sort_unstable();
        rows
    };
    let (expected, found) = (sorted(&Lake::new(local)), sorted(&Lake::new(published)));
    assert_eq!(found.len(), expected.len());
    assert!(found == expected);
}

/// An event without the object that it was read from: of two objects that hold it either may come
/// first.
fn without_object(event: &Value) -> Value {
    let mut event = event.clone();
    event["metadata"].as_object_mut().unwrap().remove("log_name");
    event
}
