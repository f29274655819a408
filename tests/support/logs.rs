//! Made-up records: enough variety to fill every class, both accounts and regions, several days.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{ACCOUNTS, REGIONS};

/// 2024-05-01T00:00:00Z, in seconds.
pub const START: u64 = 1_714_521_600;

/// Service, call, whether it only reads; API Activity, Authentication, Account Change.
const CALLS: [(&str, &str, bool); 6] = [
    ("s3.amazonaws.com", "GetObject", true),
    ("ec2.amazonaws.com", "RunInstances", false),
    ("sts.amazonaws.com", "AssumeRole", true),
    ("iam.amazonaws.com", "CreateUser", false),
    ("dynamodb.amazonaws.com", "BatchWriteItem", false),
    ("signin.amazonaws.com", "ConsoleLogin", false),
];

/// A CloudTrail record; the same number is the same event.
pub fn event(n: u64) -> Value {
    let (source, name, read_only) = CALLS[(n % 6) as usize];
    let account = ACCOUNTS[(n / 2 % 2) as usize];
    let region = REGIONS[(n / 3 % 2) as usize];
    json!({
        "eventVersion": "1.09",
        "userIdentity": {
            "type": "IAMUser",
            "principalId": format!("AIDA{n:012}"),
            "arn": format!("arn:aws:iam::{account}:user/user-{}", n % 17),
            "accountId": account,
            "accessKeyId": format!("AKIA{:012}", n % 23),
            "userName": format!("user-{}", n % 17),
        },
        "eventTime": time_text(n * 37 % 86_400),
        "eventSource": source,
        "eventName": name,
        "awsRegion": region,
        "sourceIPAddress": format!("203.0.113.{}", n % 250),
        "userAgent": "aws-cli/2.15",
        "requestParameters": { "number": n, "userName": format!("new-{n}") },
        "responseElements": null,
        "requestID": format!("request-{n}"),
        "eventID": format!("event-{n:06}"),
        "readOnly": read_only,
        "eventType": "AwsApiCall",
        "managementEvent": true,
        "recipientAccountId": account,
        "eventCategory": "Management",
    })
}

/// The same on another day, counted from 2024-05-01.
pub fn event_of_day(n: u64, day: u64) -> Value {
    let mut event = event(n);
    event["eventTime"] = time_text(day * 86_400 + n * 37 % 86_400).into();
    event
}

/// `seconds` after 2024-05-01T00:00:00Z, as CloudTrail writes it.
pub fn time_text(seconds: u64) -> String {
    let bytes = parsers::time::datetime(((START + seconds) * 1000) as i64);
    format!("{}Z", std::str::from_utf8(&bytes[..19]).unwrap())
}

/// `{"Records":[…]}`.
pub fn records<'e>(events: impl IntoIterator<Item = &'e Value>) -> Vec<u8> {
    let list: Vec<String> = events.into_iter().map(Value::to_string).collect();
    raw_records(&list)
}

/// `{"Records":[…]}` of records as they are spelled.
pub fn raw_records<T: AsRef<str>>(list: &[T]) -> Vec<u8> {
    let list: Vec<&str> = list.iter().map(AsRef::as_ref).collect();
    format!("{{\"Records\":[{}]}}", list.join(",")).into_bytes()
}

/// A record with members beside those that it needs, as they are spelled.
pub fn raw_event(n: u64, members: &str) -> String {
    let time = time_text(n);
    format!(
        r#"{{"eventTime":"{time}","eventName":"GetThing","eventSource":"x.amazonaws.com","awsRegion":"us-east-1","recipientAccountId":"111122223333","eventID":"raw-{n}",{members}}}"#
    )
}

pub const FLOW_HEADER: &str = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status";

/// A row of the default format.
pub fn flow_line(n: u64) -> String {
    let account = ACCOUNTS[0];
    let start = START + n * 61 % 86_400;
    let action = if n.is_multiple_of(5) { "REJECT" } else { "ACCEPT" };
    format!(
        "2 {account} eni-{n:08x} 10.0.0.{} 198.51.100.{} {} 443 6 {n} {} {start} {} {action} OK",
        n % 250,
        n % 200,
        1024 + n % 60_000,
        n * 900,
        start + 59,
    )
}

/// A header and these rows.
pub fn flow_object(rows: std::ops::Range<u64>) -> Vec<u8> {
    let mut text = format!("{FLOW_HEADER}\n");
    for n in rows {
        writeln!(text, "{}", flow_line(n)).unwrap();
    }
    text.into_bytes()
}
