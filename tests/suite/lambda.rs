//! The Lambda function as Lambda and its pollers of queues run it, against a real queue and a real
//! S3 protocol server: what becomes of messages, what is staged, what is logged.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    ACCOUNTS, Lake, REGIONS, Row, assert_adds_up,
    cloud::{
        Variables,
        lambda::{Delivery, Lambda, Outcome},
        queue::{Queue, Queues},
        s3::{Created, S3Server},
    },
    event, flow_key, flow_object, gzip, records, trail_key, trail_key_of,
};

mod again;
mod deadline;
mod failures;
mod index;
mod network;
mod start;

/// Where the function writes.
const LAKE: &str = "s3://lake/x";
const PATIENCE: Duration = Duration::from_mins(1);

/// A bucket of logs, and one for a lake.
struct Cloud {
    server: S3Server,
}

impl Cloud {
    fn new() -> Self {
        let server = S3Server::start();
        server.create_bucket("logs");
        server.create_bucket("lake");
        Self { server }
    }

    fn put(&self, key: &str, body: impl Into<Vec<u8>>) -> Created {
        self.server.created();
        self.server.put("logs", key, body);
        self.server.created().remove(0)
    }

    /// An object of CloudTrail with the events of these numbers.
    fn trail(&self, name: &str, events: std::ops::Range<u64>) -> Created {
        self.put(&trail_key(name), trail(events))
    }

    fn variables(&self) -> Variables {
        let mut variables = self.server.variables();
        variables.push(("TRAILHOUND_LAKE".into(), LAKE.into()));
        variables
    }

    /// A function that is ready; requests of its start are not counted.
    fn function(&self) -> Lambda {
        self.function_with(&[], PATIENCE)
    }

    fn function_with(&self, extra: &[(&str, &str)], timeout: Duration) -> Lambda {
        let mut variables = self.variables();
        variables.extend(extra.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        let mut lambda = Lambda::start(binary(), &variables, timeout, 512);
        assert!(lambda.time_to_first_poll().is_some(), "{}", lambda.logs());
        self.server.reset_requests();
        lambda
    }

    fn requests(&self, operation: &str) -> u64 {
        self.server.requests().get(operation).copied().unwrap_or_default()
    }

    /// What is staged. The rows are those that `publish` takes: of files beside whose day the
    /// ledger has their batch.
    fn staged(&self) -> Staged {
        let folder = tempfile::tempdir().unwrap();
        self.server.download("lake", "x", folder.path());
        let lake = Lake::new(folder.path());
        let ledger = lake.ledger();
        let mut files = BTreeSet::new();
        for entry in &ledger {
            assert_adds_up(&entry["records"]);
            assert!(entry["staged"] == true, "{entry}");
            let named = entry["files"].as_array().into_iter().flatten();
            let named = named.map(|file| file.as_str().unwrap().to_owned());
            files.extend(named.filter(|file| {
                let day = file.split('/').find(|part| part.starts_with("day=")).unwrap();
                let name = format!("ledger/v1/{day}/{}.ndjson", entry["batch"].as_str().unwrap());
                assert!(lake.state.join(file).exists(), "{file} of {entry}");
                lake.state.join(name).exists()
            }));
        }
        let rows = files.iter().flat_map(|file| lake.rows_of(&format!("_trailhound/{file}")));
        Staged { rows: rows.collect(), rejects: lake.rejects(), ledger, files, _folder: folder }
    }
}

struct Staged {
    ledger: Vec<Value>,
    rejects: Vec<Value>,
    rows: Vec<Row>,
    files: BTreeSet<String>,
    _folder: TempDir,
}

impl Staged {
    /// The rows of these events are there, and no others.
    #[track_caller]
    fn has_events(&self, events: impl IntoIterator<Item = u64>) {
        let expected: BTreeSet<String> = events.into_iter().map(event_id).collect();
        let found: BTreeSet<String> = self.rows.iter().map(|row| row.uid().to_owned()).collect();
        assert_eq!(found, expected);
    }

    /// The same, and none twice.
    #[track_caller]
    fn has_events_once(&self, events: impl IntoIterator<Item = u64>) {
        self.has_events(events);
        let uids: BTreeSet<&str> = self.rows.iter().map(Row::uid).collect();
        assert_eq!(uids.len(), self.rows.len(), "rows that are there twice");
    }

    /// The lines of the object whose key ends so.
    fn entries(&self, key_end: &str) -> Vec<&Value> {
        let is_it = |entry: &&Value| entry["key"].as_str().unwrap().ends_with(key_end);
        self.ledger.iter().filter(is_it).collect()
    }
}

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_trailhound-lambda"))
}

fn event_id(n: u64) -> String {
    format!("event-{n:06}")
}

fn trail(events: std::ops::Range<u64>) -> Vec<u8> {
    gzip(&records(&events.map(event).collect::<Vec<_>>()))
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

fn now_text() -> String {
    let text = parsers::time::datetime(now_ms());
    format!("{}Z", std::str::from_utf8(&text[..19]).unwrap())
}

/// What S3 says of objects.
fn notification(objects: &[&Created]) -> String {
    let record = |object: &&Created| {
        let key = utf8_percent_encode(&object.key, NON_ALPHANUMERIC).to_string();
        json!({
            "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "eu-west-1",
            "eventTime": now_text(), "eventName": "ObjectCreated:Put",
            "s3": {
                "s3SchemaVersion": "1.0",
                "bucket": { "name": object.bucket },
                "object": { "key": key, "size": object.size, "eTag": object.etag },
            },
        })
    };
    json!({ "Records": objects.iter().map(record).collect::<Vec<_>>() }).to_string()
}

/// What EventBridge says of an object; it does not tell a key in other characters.
fn bridge(object: &Created) -> Value {
    json!({
        "version": "0", "detail-type": "Object Created", "source": "aws.s3", "time": now_text(),
        "detail": {
            "bucket": { "name": object.bucket },
            "object": { "key": object.key, "size": object.size, "etag": object.etag },
            "reason": "PutObject",
        },
    })
}

fn sns(message: &str) -> String {
    json!({ "Type": "Notification", "TopicArn": "arn:aws:sns:eu-west-1:1:t", "Message": message })
        .to_string()
}

/// The event of a queue: id, body and number of receipts of each message.
fn queue_event<'m>(messages: impl IntoIterator<Item = (&'m str, &'m str, u32)>) -> Value {
    let record = |(id, body, receipts): (&str, &str, u32)| {
        json!({
            "messageId": id, "receiptHandle": "handle", "body": body, "eventSource": "aws:sqs",
            "awsRegion": "eu-west-1", "messageAttributes": {}, "md5OfBody": "",
            "eventSourceARN": "arn:aws:sqs:eu-west-1:111122223333:q",
            "attributes": {
                "ApproximateReceiveCount": receipts.to_string(),
                "ApproximateFirstReceiveTimestamp": now_ms().to_string(),
            },
        })
    };
    json!({ "Records": messages.into_iter().map(record).collect::<Vec<_>>() })
}

/// The ids of messages that the function says have failed.
#[track_caller]
fn failed(outcome: &Outcome) -> Vec<String> {
    let Outcome::Response(response) = outcome else { panic!("{outcome:?}") };
    let failures = response["batchItemFailures"].as_array().expect("a partial batch response");
    failures.iter().map(|one| one["itemIdentifier"].as_str().unwrap().to_owned()).collect()
}

/// Lets a queue's messages come until there are none left, but for dead ones.
fn drain(lambda: &mut Lambda, queue: &Queue) -> Vec<Delivery> {
    let (mut all, started) = (Vec::new(), Instant::now());
    while queue.len() > 0 {
        assert!(started.elapsed() < PATIENCE, "{} messages stay: {}", queue.len(), lambda.logs());
        match lambda.drive(queue, 10) {
            Some(delivery) => all.push(delivery),
            None => thread::sleep(Duration::from_millis(100)),
        }
    }
    all
}

/// What the function has printed, once nothing more comes.
fn logs(lambda: &Lambda) -> String {
    let mut before = String::new();
    loop {
        thread::sleep(Duration::from_millis(40));
        let now = lambda.logs();
        if now == before && !now.is_empty() {
            return now;
        }
        before = now;
    }
}

/// The lines that the function has printed: each is an object, without a member twice.
#[track_caller]
fn log_lines(lambda: &Lambda) -> Vec<Value> {
    let parse = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        let members = value.as_object().unwrap_or_else(|| panic!("no object: {line}"));
        for name in members.keys().filter(|_| value.get("_aws").is_none()) {
            assert_eq!(line.matches(&format!("\"{name}\":")).count(), 1, "{name} in {line}");
        }
        value
    };
    logs(lambda).lines().map(parse).collect()
}

/// What the metrics of the batches sum up to.
fn metric(lambda: &Lambda, name: &str) -> u64 {
    let lines = log_lines(lambda);
    let batches = lines.iter().filter(|line| line.get("Messages").is_some());
    batches.filter_map(|line| line[name].as_u64()).sum()
}

#[test]
fn a_batch_is_a_file_for_each_class_and_a_ledger_file_for_each_day() {
    let cloud = Cloud::new();
    let mut lambda = cloud.function();
    let mut bodies = Vec::new();
    for n in 0..100_u64 {
        let (account, region) = (ACCOUNTS[(n % 2) as usize], REGIONS[(n / 2 % 2) as usize]);
        let day = if n % 3 == 0 { "2024/05/02" } else { "2024/05/01" };
        let key = trail_key_of(account, region, day, &format!("{n}"));
        bodies.push(notification(&[&cloud.put(&key, trail(n * 10..n * 10 + 10))]));
    }
    let ids: Vec<String> = (0..100).map(|n| format!("m{n}")).collect();
    let messages = ids.iter().zip(&bodies).map(|(id, body)| (id.as_str(), body.as_str(), 1));
    assert_eq!(failed(&lambda.invoke(queue_event(messages))), [""; 0]);

    let staged = cloud.staged();
    staged.has_events_once(0..1000);
    let classes: BTreeSet<&str> = staged.rows.iter().map(|row| row.text("/class_name")).collect();
    assert_eq!((staged.files.len(), classes.len()), (3, 3), "{classes:?}");
    let below = |folder: &str| cloud.server.list("lake", &format!("x/_trailhound/{folder}"));
    assert_eq!(below("staged/").len(), 3);
    let ledgers = below("ledger/");
    assert_eq!(ledgers.len(), 2);
    assert!(ledgers[0].contains("/day=20240501/") && ledgers[1].contains("/day=20240502/"));
    assert_eq!(staged.ledger.len(), 100);
    assert!(staged.files.iter().all(|file| file.starts_with("staged/v1/day=20240502/class=")));
    let requests: Vec<_> = cloud.server.requests().into_iter().collect();
    let expected = [("GetObject", 100), ("HeadBucket", 1), ("PutObject", 5)];
    assert_eq!(requests, expected.map(|(name, count)| (name.to_owned(), count)));
}

#[test]
fn every_form_of_a_message_is_read_and_garbage_fails_alone() {
    let Some(queues) = Queues::or_skip("every_form_of_a_message") else { return };
    let cloud = Cloud::new();
    let queue = queues.create("forms", 30, 3);
    let mut lambda = cloud.function();
    let objects: Vec<_> =
        (0..4).map(|n| cloud.trail(&format!("a b+é={n}"), n * 10..n * 10 + 10)).collect();
    let removed = notification(&[&objects[0]]).replace("ObjectCreated:Put", "ObjectRemoved:Delete");
    let test = r#"{"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "logs"}"#;
    let good = [
        notification(&[&objects[0]]),
        sns(&notification(&[&objects[1]])),
        bridge(&objects[2]).to_string(),
        sns(&bridge(&objects[3]).to_string()),
        test.to_owned(),
        sns(test),
        removed,
    ];
    for body in &good {
        queue.send(body);
    }
    let garbage = ["not JSON", "{}", r#"{"Records": [{"eventSource": "aws:kinesis"}]}"#];
    let mut garbage = garbage.map(|body| queue.send(body));
    let mut delivery = lambda.drive(&queue, 10).unwrap();
    assert_eq!(delivery.messages.len(), 10);
    garbage.sort_unstable();
    delivery.failed.sort_unstable();
    assert_eq!(delivery.failed, garbage);
    assert_eq!(queue.len(), 3);
    cloud.staged().has_events_once(0..40);
    let counts = ["Messages", "EventsIgnored", "FailedBody", "ObjectsLoaded", "RecordsParquet"];
    assert_eq!(counts.map(|name| metric(&lambda, name)), [10, 3, 3, 4, 40]);
}

#[test]
fn a_direct_invocation_fails_as_a_whole() {
    let cloud = Cloud::new();
    let mut lambda = cloud.function();
    let good = cloud.trail("good", 0..10);
    let bad = cloud.put(&trail_key("bad"), &trail(20..500)[..50]);
    let event = |text: &str| serde_json::from_str(text).unwrap();
    for payload in [event(&notification(&[&good])), bridge(&good)] {
        let outcome = lambda.invoke(payload);
        assert!(matches!(outcome, Outcome::Response(Value::Null)), "{outcome:?}");
    }
    let outcome = lambda.invoke(event(&notification(&[&good, &bad])));
    let Outcome::Error(error) = outcome else { panic!("{outcome:?}") };
    assert_eq!(error["errorType"], "Trailhound.permanent");
    assert!(error["errorMessage"].as_str().unwrap().contains("bad.json.gz"), "{error}");
    let outcome = lambda.invoke(json!({ "detail-type": "other" }));
    assert!(matches!(&outcome, Outcome::Error(error) if error["errorType"] == "Trailhound.body"));
    cloud.staged().has_events(0..10);
}

#[test]
fn a_message_fails_if_one_of_its_objects_does_and_so_do_all_that_name_that_one() {
    let cloud = Cloud::new();
    let mut lambda = cloud.function();
    let good = cloud.trail("good", 0..10);
    let other = cloud.put(&flow_key("flow"), gzip(&flow_object(0..7)));
    let bad = cloud.put(&trail_key("bad"), &trail(20..500)[..500]);
    let bodies = [
        notification(&[&good, &bad]),
        notification(&[&other]),
        sns(&notification(&[&bad])),
        notification(&[&good]),
        notification(&[]),
    ];
    let ids = ["both", "other", "bad", "good", "none"];
    let messages = ids.into_iter().zip(&bodies).map(|(id, body)| (id, body.as_str(), 1));
    let mut failures = failed(&lambda.invoke(queue_event(messages)));
    failures.sort_unstable();
    assert_eq!(failures, ["bad", "both"]);
    assert_eq!(cloud.requests("GetObject"), 3, "each object is read once");
    let staged = cloud.staged();
    assert_eq!(staged.ledger.len(), 3);
    let rows = |key: &str| staged.entries(key)[0]["records"]["parquet"].as_u64().unwrap();
    assert_eq!((rows("good.json.gz"), rows("flow.log.gz")), (10, 7));
}

#[test]
fn every_line_of_the_log_is_json_with_one_for_each_object_and_batch() {
    let cloud = Cloud::new();
    let mut lambda = cloud.function();
    let objects = [
        cloud.trail("good", 0..10),
        cloud.put(&trail_key("bad"), &trail(20..500)[..50]),
        cloud.put("unknown/thing.bin", "who knows"),
        cloud.put(&flow_key("flow"), gzip(&flow_object(0..7))),
    ];
    let bodies = objects.each_ref().map(|object| notification(&[object]));
    let mut messages: Vec<_> = bodies.iter().map(|body| (body.as_str(), 1)).collect();
    messages.push(("garbage \u{1b}[2J\n", 1));
    let ids = ["a", "b", "c", "d", "e"];
    let all = ids.into_iter().zip(messages).map(|(id, (body, receipts))| (id, body, receipts));
    let failures = failed(&lambda.invoke(queue_event(all)));
    assert_eq!(failures, ["b", "e"]);
    let lines = log_lines(&lambda);
    for object in &objects {
        let location = format!("s3://logs/{}", object.key);
        let of_object = lines.iter().filter(|line| line["object"] == location.as_str());
        assert_eq!(of_object.count(), 1, "lines of {location} in {lines:#?}");
    }
    let batches = lines.iter().filter(|line| line["message"] == "batch");
    assert_eq!(batches.count(), 1);
    for id in failures {
        let told = lines.iter().filter(|line| line["message_id"] == id.as_str());
        assert_eq!(told.count(), 1, "lines of message {id}: {lines:#?}");
    }
    let embedded: Vec<&Value> = lines.iter().filter(|line| line.get("_aws").is_some()).collect();
    assert_eq!(embedded.len(), 3, "one for the batch, one for each source: {embedded:#?}");
    let mut sources = BTreeMap::new();
    for line in embedded {
        let time = line["_aws"]["Timestamp"].as_i64().unwrap();
        assert!((now_ms() - time).abs() < 60_000);
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Namespace"], "Trailhound");
        for one in directive["Metrics"].as_array().unwrap() {
            assert!(line[one["Name"].as_str().unwrap()].is_number(), "{one} in {line}");
        }
        for name in directive["Dimensions"][0].as_array().unwrap() {
            assert!(line[name.as_str().unwrap()].is_string(), "{name} in {line}");
        }
        assert_eq!(line["FunctionName"], "trailhound");
        if let Some(source) = line["Source"].as_str() {
            sources.insert(source.to_owned(), line["RecordsIn"].as_u64().unwrap());
        }
    }
    assert_eq!(sources.into_values().sum::<u64>(), 17);
    let freshness = lines.iter().find_map(|line| line["Freshness"].as_f64()).unwrap();
    assert!((0.0..30.0).contains(&freshness), "{freshness}");
    assert_eq!(metric(&lambda, "ObjectsUnrecognized"), 1);
}
