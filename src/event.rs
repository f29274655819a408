//! Reads what a message says about new objects.
//!
//! # Input
//! The body of one SQS message, or the event of a direct invocation: an S3 notification (of
//! `minio:s3` too), an EventBridge event of S3, a notification of Security Lake, each of them also
//! in SNS.
//! # Maps to
//! [`Notice`]: objects with bucket, key, version, etag, size and time; and a count of the rest.
//! # Known gaps
//! Not read: SQS events (the Lambda binary takes them apart), arrays of events (EventBridge Pipes),
//! what an input transformer made, S3 calls by CloudTrail, CloudTrail's own SNS notifications.
//! # Reference
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>,
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html>,
//! <https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html>. Security Lake's is
//! an EventBridge event without `detail-type`, of creations only, in "Sample object notification
//! message" of <https://docs.aws.amazon.com/security-lake/latest/userguide/subscriber-data-access.html>.

use std::collections::HashSet;

use parsers::time;
use percent_encoding::percent_decode;
use serde_json::Value;

/// No message of SQS and no event of an asynchronous invocation is larger.
const MAX_BODY_BYTES: usize = 1 << 20;
/// SNS messages around a body. One is usual; a forwarder may add one.
const MAX_WRAPPINGS: usize = 3;
/// Characters of a body, or of a name in it, that an error shows.
const SHOWN_CHARS: usize = 80;
const OBJECT_CREATED: &str = "Object Created";
const EXPECTED: &str = "an S3 notification, an EventBridge event of S3, or one of them in an SNS \
                        notification";

/// An object that an event says was created.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Created {
    /// The bucket's name.
    pub bucket: String,
    /// The key as S3 takes it.
    pub key: String,
    /// The version, where the bucket has versions.
    pub version: Option<String>,
    /// The etag, without quotes.
    pub etag: Option<String>,
    /// Size in bytes.
    pub size: Option<u64>,
    /// When it was created, in milliseconds.
    pub time: Option<i64>,
}

/// What one body says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// New objects in the order of their records; of equal records the first.
    pub created: Vec<Created>,
    /// Records that tell of something else, test events included.
    pub ignored: u64,
}

/// A body that says nothing, or nothing that can be relied on.
#[derive(Debug, thiserror::Error)]
#[error("{what}; the body starts with: {start}")]
pub struct EventError {
    what: String,
    start: String,
}

impl EventError {
    fn new(what: String, body: &[u8]) -> Self {
        // A character has at most 4 bytes; the one more tells that there is more.
        let head = &body[..body.len().min(4 * (SHOWN_CHARS + 1))];
        Self { what, start: shown(&String::from_utf8_lossy(head)) }
    }
}

/// Reads a body. One record that cannot be read fails all of it: the message must stay.
pub fn parse(body: &[u8]) -> Result<Notice, EventError> {
    let mut notice = Notice::default();
    read(body, 0, &mut notice)?;
    let mut seen = HashSet::new();
    notice.created.retain(|created| seen.insert(created.clone()));
    Ok(notice)
}

fn read(body: &[u8], wrappings: usize, notice: &mut Notice) -> Result<(), EventError> {
    let fail = |what| EventError::new(what, body);
    if body.len() > MAX_BODY_BYTES {
        return Err(fail(format!("{} bytes; expected at most {MAX_BODY_BYTES}", body.len())));
    }
    if wrappings > MAX_WRAPPINGS {
        let what = format!("more than {MAX_WRAPPINGS} SNS messages around it; expected {EXPECTED}");
        return Err(fail(what));
    }
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| fail(format!("not JSON: {error}; expected {EXPECTED}")))?;
    let mut take = |said, within: &str| {
        match said {
            Said::Created(created) => notice.created.push(created),
            Said::Other => notice.ignored += 1,
            Said::Message(message) => read(message.as_bytes(), wrappings + 1, notice)
                .map_err(|error| EventError { what: format!("{within}{}", error.what), ..error })?,
        }
        Ok(())
    };
    let Some(records) = value.get("Records") else {
        return take(of_object(&value).map_err(fail)?, "in an SNS message: ");
    };
    let Some(records) = records.as_array() else {
        return Err(fail("\"Records\" is no list; expected that of an S3 notification".to_owned()));
    };
    for (number, record) in (1..).zip(records) {
        let said = of_record(record).map_err(|what| fail(format!("record {number} {what}")))?;
        take(said, &format!("in the SNS message of record {number}: "))?;
    }
    Ok(())
}

/// What a record, or a body without records, says.
enum Said<'a> {
    Created(Created),
    /// Something that is no creation.
    Other,
    /// A body.
    Message(&'a str),
}

fn of_record(record: &Value) -> Result<Said<'_>, String> {
    // SNS alone spells it with a capital.
    let source = text(record, "/EventSource").map_or_else(|| needed(record, "/eventSource"), Ok)?;
    match source {
        "aws:s3" | "minio:s3" => of_s3(record),
        "aws:sns" => needed(record, "/Sns/Message").map(Said::Message),
        "aws:sqs" => Err("is an SQS message, this is an SQS event; expected the body of one of \
                          its messages"
            .to_owned()),
        _ => {
            let source = shown(source);
            Err(format!("is of {source}; expected aws:s3, minio:s3 or aws:sns"))
        }
    }
}

fn of_s3(record: &Value) -> Result<Said<'_>, String> {
    let name = needed(record, "/eventName")?;
    // MinIO's messages and S3's configuration have the prefix, S3's messages do not.
    let kind = name.strip_prefix("s3:").unwrap_or(name).split(':').next();
    if kind != Some("ObjectCreated") {
        return Ok(Said::Other);
    }
    let bucket = needed(record, "/s3/bucket/name")?;
    let encoded = needed(record, "/s3/object/key")?;
    let key = decode(encoded).ok_or_else(|| {
        format!("has the key \"{}\"; expected UTF-8 once it is decoded", shown(encoded))
    })?;
    let version = text(record, "/s3/object/versionId");
    Ok(created(bucket, key, version, &record["s3"]["object"], text(record, "/eventTime")))
}

fn of_object(body: &Value) -> Result<Said<'_>, String> {
    if text(body, "/Event") == Some("s3:TestEvent") {
        return Ok(Said::Other);
    }
    match (text(body, "/Type"), text(body, "/source")) {
        (Some("Notification"), _) => needed(body, "/Message")
            .map(Said::Message)
            .map_err(|what| format!("an SNS notification {what}")),
        (Some(kind), _) if body.get("TopicArn").is_some() => {
            Err(format!("an SNS message of type {}; expected Notification", shown(kind)))
        }
        (_, Some(source)) if body.get("detail").is_some() => of_event_bridge(body, source),
        _ => Err(format!("of no known form; expected {EXPECTED}")),
    }
}

fn of_event_bridge<'a>(event: &'a Value, source: &str) -> Result<Said<'a>, String> {
    let kind = text(event, "/detail-type");
    match kind {
        // Calls have the source of the service that was called, so aws.s3 too.
        Some(kind) if kind.ends_with(" via CloudTrail") => {
            return Err(format!(
                "an EventBridge event of CloudTrail, {}; expected {OBJECT_CREATED}, which the \
                 bucket sends once its notifications to EventBridge are on",
                shown(kind)
            ));
        }
        _ if source != "aws.s3" => {
            let (source, kind) = (shown(source), shown(kind.unwrap_or("without detail-type")));
            return Err(format!(
                "an EventBridge event of {source}, {kind}; expected {OBJECT_CREATED} of aws.s3"
            ));
        }
        // Security Lake leaves the type out.
        None | Some(OBJECT_CREATED) => {}
        Some(_) => return Ok(Said::Other),
    }
    let needed = |pointer| needed(event, pointer).map_err(|what| format!("record 1 {what}"));
    let bucket = needed("/detail/bucket/name")?;
    // Not encoded, other than in S3's own notifications.
    let key = needed("/detail/object/key")?.to_owned();
    let version = text(event, "/detail/object/version-id");
    Ok(created(bucket, key, version, &event["detail"]["object"], text(event, "/time")))
}

fn created<'a>(
    bucket: &str,
    key: String,
    version: Option<&str>,
    object: &Value,
    time: Option<&str>,
) -> Said<'a> {
    // AWS has eTag in S3 notifications and etag in EventBridge, moto has eTag in both.
    let etag = text(object, "/eTag").or_else(|| text(object, "/etag"));
    let etag = etag.map(|etag| etag.trim_matches('"')).filter(|etag| !etag.is_empty());
    let size = match object.get("size") {
        Some(Value::String(size)) => size.parse().ok(),
        size => size.and_then(Value::as_u64),
    };
    Said::Created(Created {
        bucket: bucket.to_owned(),
        key,
        // "null" is the version of an object that was put while there were no versions.
        version: version.filter(|&version| version != "null").map(str::to_owned),
        etag: etag.map(str::to_owned),
        size,
        time: time.and_then(time::from_text),
    })
}

/// The text at a JSON pointer, unless it is empty.
fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str().filter(|text| !text.is_empty())
}

/// The text at a JSON pointer that has to be there.
fn needed<'a>(value: &'a Value, pointer: &str) -> Result<&'a str, String> {
    text(value, pointer).ok_or_else(|| {
        let field = pointer[1..].replace('/', ".");
        format!("has no {field}; expected a text that is not empty")
    })
}

/// A key of an S3 notification, which is encoded as in a form. None if it is not UTF-8.
fn decode(key: &str) -> Option<String> {
    // A plus of the key itself is %2B, so this comes first.
    let key = key.replace('+', " ");
    Some(percent_decode(key.as_bytes()).decode_utf8().ok()?.into_owned())
}

/// The first characters, on one line, with nothing that a terminal would act on. Quotes and
/// backslashes stay: this is JSON most of the time.
fn shown(text: &str) -> String {
    if text.is_empty() {
        return "nothing, it is empty".to_owned();
    }
    let mut out = String::new();
    for char in text.chars().take(SHOWN_CHARS) {
        match char {
            '"' | '\'' | '\\' => out.push(char),
            _ => out.extend(char.escape_debug()),
        }
    }
    if text.chars().nth(SHOWN_CHARS).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const KEY: &str = "AWSLogs/o-abc/111122223333/CloudTrail/eu-west-1/2026/11/22/a b+é=1.json.gz";
    /// What moto 5.2.5 sends for that key.
    const S3: &str = r#"{"Records": [{"eventVersion": "2.1", "eventSource": "aws:s3",
        "awsRegion": "eu-west-1", "eventTime": "2026-11-22T12:26:18.234Z",
        "eventName": "ObjectCreated:Put", "s3": {"s3SchemaVersion": "1.0", "configurationId": "JEx",
        "bucket": {"name": "logs", "arn": "arn:aws:s3:::logs"}, "object": {"key":
        "AWSLogs%2Fo-abc%2F111122223333%2FCloudTrail%2Feu-west-1%2F2026%2F11%2F22%2Fa+b%2B%C3%A9%3D1.json.gz",
        "size": 5, "eTag": "5d41402abc4b2a76b9719d911017c592"}}}]}"#;
    const EVENT_BRIDGE: &str = r#"{"version": "0", "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": "Object Created", "source": "aws.s3", "account": "123456789012",
        "time": "2026-11-22T12:26:18Z", "region": "eu-west-1", "resources": ["arn:aws:s3:::logs"],
        "detail": {"version": "0", "bucket": {"name": "logs"}, "object": {"key":
        "AWSLogs/o-abc/111122223333/CloudTrail/eu-west-1/2026/11/22/a b+\u00e9=1.json.gz", "size": 5,
        "eTag": "5d41402abc4b2a76b9719d911017c592", "version-id": "null",
        "sequencer": "617f08299329d189"}, "request-id": "N4N7GDK58NMKJ12R",
        "requester": "123456789012", "source-ip-address": "1.2.3.4", "reason": "ObjectCreated"}}"#;
    const TEST_EVENT: &str = r#"{"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "logs",
        "Time": "2026-11-22T12:26:15.978Z", "RequestId": "5582815E1AEA5ADF", "HostId": "8cLeG"}"#;
    /// As the user guide of S3 has it, with what moto leaves out.
    const S3_DOCUMENTED: &str = r#"{"Records": [{"eventVersion": "2.5", "eventSource": "aws:s3",
        "awsRegion": "us-west-2", "eventTime": "1970-01-01T00:00:00.000Z", "eventName":
        "ObjectCreated:Put", "userIdentity": {"principalId": "AIDAJDPLRKLG7UEXAMPLE"},
        "requestParameters": {"sourceIPAddress": "127.0.0.1"}, "responseElements":
        {"x-amz-request-id": "C3D13FE58DE4C810", "x-amz-id-2": "FMyUVURIY8"}, "s3": {
        "s3SchemaVersion": "1.0", "configurationId": "rule", "bucket": {"name": "mybucket",
        "ownerIdentity": {"principalId": "A3NL1KOZZKExample"}, "arn": "arn:aws:s3:::mybucket"},
        "object": {"key": "Happy+Face.jpg", "size": 0, "eTag": "d41d8cd98f00b204e9800998ecf8427e",
        "versionId": "096fKKXTRTtl3on89fVO.nfljtsv6qko", "sequencer": "0055AED6DCD90281E5"}}}]}"#;
    /// As the user guide of Security Lake has it.
    const SECURITY_LAKE: &str = r#"{"source": "aws.s3", "time": "2026-11-22T12:26:18Z",
        "account": "123456789012", "region": "eu-west-1", "resources": ["arn:aws:s3:::lake"],
        "detail": {"bucket": {"name": "lake"}, "object": {"key":
        "aws/VPC_FLOW/2.0/region=eu-west-1/accountId=111122223333/eventDay=20261122/a%2Bb.gz.parquet",
        "size": 5, "etag": "b57f9512698f4b09e608f4f2a65852e5"}, "request-id": "N4N7GDK58NMKJ12R",
        "requester": "securitylake.amazonaws.com"}}"#;
    const MINIO: &str = r#"{"EventName": "s3:ObjectCreated:Put", "Key": "logs/a/b", "Records": [{
        "eventVersion": "2.0", "eventSource": "minio:s3", "awsRegion": "eu-west-1",
        "eventTime": "2026-11-22T12:26:18.234Z", "eventName": "s3:ObjectCreated:Put",
        "userIdentity": {"principalId": "minio"}, "requestParameters": {"region": "eu-west-1"},
        "s3": {"bucket": {"name": "logs", "ownerIdentity": {"principalId": "minio"}}, "object": {
        "key": "a%2Fb", "size": 5, "eTag": "e", "contentType": "text/plain", "sequencer": "18"}},
        "source": {"host": "127.0.0.1", "port": "", "userAgent": "MinIO"}}]}"#;
    const FIXTURES: [&str; 6] = [S3, EVENT_BRIDGE, TEST_EVENT, S3_DOCUMENTED, SECURITY_LAKE, MINIO];

    fn sns(message: &str) -> String {
        json!({"Type": "Notification", "MessageId": "22b8", "TopicArn": "arn:aws:sns:eu-west-1:1:t",
               "Subject": "Amazon S3 Notification", "Message": message, "SignatureVersion": "2"})
        .to_string()
    }

    fn sns_event(messages: &[&str]) -> String {
        let record = |text| {
            json!({"EventSource": "aws:sns", "EventVersion": "1.0",
                   "Sns": {"Type": "Notification", "Message": text}})
        };
        json!({ "Records": messages.iter().map(record).collect::<Vec<_>>() }).to_string()
    }

    fn record(name: &str, object: &Value) -> Value {
        json!({"eventSource": "aws:s3", "eventName": name, "userIdentity": null,
               "s3": {"bucket": {"name": "logs"}, "object": object}})
    }

    fn records(records: &[Value]) -> String {
        json!({ "Records": records }).to_string()
    }

    fn ok(body: &str) -> Notice {
        parse(body.as_bytes()).unwrap()
    }

    fn one(body: &str) -> Created {
        let Notice { mut created, ignored } = ok(body);
        assert_eq!((created.len(), ignored), (1, 0), "{body}");
        created.remove(0)
    }

    fn fails(body: &str, reasons: &[&str]) {
        let error = parse(body.as_bytes()).unwrap_err().to_string();
        for reason in reasons {
            assert!(error.contains(reason), "{error}\nhas no: {reason}");
        }
    }

    #[test]
    fn the_same_object_is_read_from_every_wrapping() {
        let expected = Created {
            bucket: "logs".to_owned(),
            key: KEY.to_owned(),
            version: None,
            etag: Some("5d41402abc4b2a76b9719d911017c592".to_owned()),
            size: Some(5),
            time: time::from_text("2026-11-22T12:26:18.234Z"),
        };
        assert!(expected.time.is_some());
        for body in [S3, &sns(S3), &sns_event(&[S3]), &sns(&sns(&sns(S3)))] {
            assert_eq!(one(body), expected);
        }
        let expected = Created { time: time::from_text("2026-11-22T12:26:18Z"), ..expected };
        for body in [EVENT_BRIDGE, &sns(EVENT_BRIDGE)] {
            assert_eq!(one(body), expected);
        }
    }

    #[test]
    fn each_sender_is_read() {
        let lake = one(SECURITY_LAKE);
        assert_eq!((lake.bucket.as_str(), lake.size), ("lake", Some(5)));
        assert!(lake.key.ends_with("/eventDay=20261122/a%2Bb.gz.parquet"), "{}", lake.key);
        assert_eq!(lake.etag.as_deref(), Some("b57f9512698f4b09e608f4f2a65852e5"));
        assert_eq!(one(MINIO).key, "a/b");
        let s3 = one(S3_DOCUMENTED);
        assert_eq!((s3.key.as_str(), s3.size, s3.time), ("Happy Face.jpg", Some(0), Some(0)));
        assert_eq!(s3.version.as_deref(), Some("096fKKXTRTtl3on89fVO.nfljtsv6qko"));
    }

    #[test]
    fn keys_are_decoded_once() {
        let cases = [
            ("a+b", "a b"),
            ("a%20b%2Bc%2bd", "a b+c+d"),
            ("caf%C3%A9/é", "café/é"),
            ("day%3D1/x=2", "day=1/x=2"),
            ("%2F/%252F", "//%2F"),
            ("100%25", "100%"),
            ("100%/%zz/%4", "100%/%zz/%4"),
            ("%00", "\0"),
        ];
        for (encoded, key) in cases {
            let body = records(&[record("ObjectCreated:Put", &json!({ "key": encoded }))]);
            assert_eq!(one(&body).key, key, "{encoded}");
        }
        let body = records(&[record("ObjectCreated:Put", &json!({"key": "a%FF"}))]);
        fails(&body, &["record 1 has the key \"a%FF\"", "expected UTF-8"]);
    }

    #[test]
    fn absent_values_are_none_and_size_is_any_number() {
        let object = |object: Value| {
            one(&records(&[record("s3:ObjectCreated:CompleteMultipartUpload", &object)]))
        };
        for none in [json!(null), json!(""), json!("null")] {
            assert_eq!(object(json!({"key": "k", "versionId": none})).version, None);
        }
        assert_eq!(object(json!({"key": "k", "versionId": "3L4"})).version.unwrap(), "3L4");
        assert_eq!(object(json!({"key": "k", "eTag": "\"e-2\""})).etag.unwrap(), "e-2");
        assert_eq!(object(json!({"key": "k", "eTag": null})).etag, None);
        let size = |size: Value| object(json!({"key": "k", "size": size})).size;
        assert_eq!([json!(0), json!("1024")].map(size), [Some(0), Some(1024)]);
        assert_eq!([json!(null), json!(-1), json!("big"), json!([])].map(size), [None; 4]);
        let bare = object(json!({"key": "k"}));
        assert_eq!((bare.etag, bare.size, bare.time), (None, None, None));
        let versioned = EVENT_BRIDGE.replace("\"null\"", "\"IYV3\"").replace("eTag", "etag");
        assert_eq!(one(&versioned).version.unwrap(), "IYV3");
        assert_eq!(one(&versioned).etag.unwrap(), "5d41402abc4b2a76b9719d911017c592");
    }

    #[test]
    fn what_is_no_creation_is_counted() {
        let none = Notice { created: Vec::new(), ignored: 1 };
        let removed = ["ObjectRemoved:Delete", "s3:ObjectRemoved:DeleteMarkerCreated"];
        let others = ["ObjectRestore:Completed", "ReducedRedundancyLostObject", "ObjectCreatedX:Y"];
        for name in removed.into_iter().chain(others) {
            assert_eq!(ok(&records(&[record(name, &json!({}))])), none, "{name}");
        }
        assert_eq!(ok(TEST_EVENT), none);
        assert_eq!(ok(&sns(TEST_EVENT)), none);
        assert_eq!(ok(&EVENT_BRIDGE.replace("Object Created", "Object Deleted")), none);
        assert_eq!(ok(r#"{"Records": []}"#), Notice::default());
    }

    #[test]
    fn records_keep_their_order_and_equal_ones_are_one() {
        let put =
            |key: &str, size: u64| record("ObjectCreated:Put", &json!({"key": key, "size": size}));
        let removed = record("ObjectRemoved:Delete", &json!({"key": "b"}));
        let many = records(&[put("b", 1), removed, put("a", 1), put("b", 1), put("b", 2)]);
        let found = |notice: &Notice| -> Vec<(String, u64)> {
            notice.created.iter().map(|c| (c.key.clone(), c.size.unwrap())).collect()
        };
        let expected = [("b", 1), ("a", 1), ("b", 2)].map(|(k, s)| (k.to_owned(), s));
        assert_eq!((found(&ok(&many)), ok(&many).ignored), (expected.to_vec(), 1));
        // Also when they come in several SNS messages.
        let twice = ok(&sns_event(&[&many, TEST_EVENT, &many]));
        assert_eq!((found(&twice), twice.ignored), (expected.to_vec(), 3));
    }

    #[test]
    fn errors_say_what_was_expected_and_what_there_is() {
        let put = |object: Value| record("ObjectCreated:Put", &object);
        let second = |bad: Value| records(&[put(json!({"key": "k"})), bad]);
        fails("", &["not JSON", "expected an S3 notification", "empty"]);
        fails("hello\u{1b}[2J\n", &["not JSON", r"starts with: hello\u{1b}[2J\n"]);
        for unknown in ["[]", "7", "{}", r#"{"detail": {}}"#, r#"{"source": "aws.s3"}"#] {
            fails(unknown, &["of no known form; expected", unknown]);
        }
        fails(r#"{"Records": {}}"#, &["\"Records\" is no list"]);
        fails(&second(put(json!({}))), &["record 2 has no s3.object.key", "starts with: {\"Rec"]);
        fails(&second(put(json!({"key": ""}))), &["record 2 has no s3.object.key"]);
        let no_bucket = second(put(json!({"key": "k"}))).replacen("logs", "", 1);
        fails(&no_bucket, &["record 1 has no s3.bucket.name"]);
        fails(&second(json!(null)), &["record 2 has no eventSource"]);
        fails(&second(json!({"eventSource": "aws:s3"})), &["record 2 has no eventName"]);
        let kinesis = second(json!({"eventSource": "aws:kinesis"}));
        fails(&kinesis, &["record 2 is of aws:kinesis; expected aws:s3, minio:s3"]);
        let sqs = records(&[json!({"eventSource": "aws:sqs", "body": S3})]);
        fails(
            &sqs,
            &["record 1 is an SQS message, this is an SQS event; expected the body of one"],
        );
        let event = |from, to| EVENT_BRIDGE.replace(from, to);
        fails(&event("\"key\"", "\"name\""), &["record 1 has no detail.object.key"]);
        fails(&event("\"bucket\"", "\"b\""), &["record 1 has no detail.bucket.name"]);
        fails(&event("aws.s3", "aws.ec2"), &["event of aws.ec2, Object Created; expected"]);
        let lake = SECURITY_LAKE.replace("aws.s3", "aws.x");
        fails(&lake, &["event of aws.x, without detail-type; expected"]);
        let call = event("Object Created", "AWS API Call via CloudTrail");
        fails(&call, &["event of CloudTrail, AWS API Call via CloudTrail; expected"]);
        let confirm = sns(S3).replace("\"Notification\"", "\"SubscriptionConfirmation\"");
        fails(&confirm, &["SNS message of type SubscriptionConfirmation; expected Notification"]);
        fails(r#"{"Type": "Notification"}"#, &["an SNS notification has no Message"]);
        // The body that is shown is the one that could not be read.
        fails(&sns_event(&[S3, "<x>"]), &["in the SNS message of record 2: not JSON", "with: <x>"]);
        let deep = sns(&sns(&sns(&sns(S3))));
        fails(&deep, &["in an SNS message: in an SNS message: ", "more than 3 SNS messages"]);
    }

    #[test]
    fn hostile_bodies_fail_and_errors_stay_short() {
        fails(&"[".repeat(MAX_BODY_BYTES), &["recursion limit"]);
        fails(&r#"{"Records":"#.repeat(10_000), &["recursion limit"]);
        fails(&" ".repeat(MAX_BODY_BYTES + 1), &["1048577 bytes; expected at most 1048576"]);
        let long = format!("{}{}", "é".repeat(SHOWN_CHARS), "tail");
        fails(&long, &[&format!("with: {}…", "é".repeat(SHOWN_CHARS))]);
        let name = "\u{10ffff}".repeat(100_000);
        let body = records(&[json!({ "eventSource": name })]);
        assert!(parse(body.as_bytes()).unwrap_err().to_string().len() < 2500);
        assert!(parse(b"\xff\xfe{").unwrap_err().to_string().contains("starts with: \u{fffd}"));
        for fixture in FIXTURES.map(str::to_owned).into_iter().chain([sns(S3), sns_event(&[S3])]) {
            for end in 0..fixture.len() {
                assert!(parse(&fixture.as_bytes()[..end]).is_err(), "{end} bytes of {fixture}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_key_comes_back(key in "\\PC{1,40}|[ +%=/é2F]{1,20}") {
            let encoded = utf8_percent_encode(&key, NON_ALPHANUMERIC);
            let encoded = encoded.to_string().replace("%20", "+");
            let body = records(&[record("ObjectCreated:Put", &json!({ "key": encoded }))]);
            prop_assert_eq!(one(&body).key, key);
        }
    }
}
