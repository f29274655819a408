//! Recognizes an object whose key tells nothing by how it starts.
//!
//! # Input
//! Decompressed bytes.
//! # Maps to
//! The decoder of the source that knows them, or the name of what they are.
//! # Known gaps
//! Of a list only the first records count; a first record over 16 MiB is not recognized.
//! # Reference
//! Each source's `sniff`. For what is no source: the documentation of AWS Config snapshots, AWS
//! Security Finding Format, AWS WAF logs, Route 53 Resolver query logs, CloudTrail digests,
//! `CloudWatch` Logs subscriptions, Amazon EventBridge events, Amazon SNS messages.

use std::sync::{Arc, OnceLock};

use bumpalo::Bump;

use crate::{
    Decode, DecodeError, ErrorKind, Head, MAX_RECORD_BYTES, Origin, Rows, SOURCES, Source,
    cloudtrail, frame::JsonRecords, guardduty, json::Member,
};

/// Members of root objects that hold lists of records of any source.
const WRAPPERS: &[&str] = &["Records", "Events", "Findings", "findings"];
/// Bad records that are passed over in search of one that tells.
const MAX_RECORDS: usize = 100;
/// A line that is longer is no line of a log.
const MAX_LINE_BYTES: usize = 64 << 10;

/// A decoder that first finds out of which source its object is.
pub struct Sniffer {
    origin: Origin,
    fallback: Option<&'static Source>,
    found: Arc<OnceLock<&'static Source>>,
    decoder: Option<Box<dyn Decode>>,
}

impl Sniffer {
    /// Tells the source by `found`, if it finds one; else `fallback` reads it, if there is one.
    pub fn new(
        origin: &Origin,
        fallback: Option<&'static Source>,
        found: Arc<OnceLock<&'static Source>>,
    ) -> Self {
        Self { origin: origin.clone(), fallback, found, decoder: None }
    }
}

impl Decode for Sniffer {
    fn decode(&mut self, input: &[u8], eof: bool, out: &mut Rows) -> Result<usize, DecodeError> {
        if self.decoder.is_none() {
            let source = match (recognize(input, eof), self.fallback) {
                (Content::Source(source), _) => source,
                (Content::Unknown, _) if !eof && input.len() <= MAX_RECORD_BYTES => return Ok(0),
                (_, Some(fallback)) => fallback,
                (Content::Empty, _) if self.is_named_as_log() => return Ok(input.len()),
                (Content::Empty, _) => return Err(not("empty")),
                (Content::Unknown, _) => {
                    return Err(not("of no known source by its path or content"));
                }
                (Content::Other(what), _) => return Err(not(what)),
                (Content::Excluded(what), _) => {
                    return Err(DecodeError { what, byte: 0, kind: ErrorKind::Excluded });
                }
            };
            // It is set once, by this.
            let _ = self.found.set(source);
            self.decoder = Some((source.decoder)(&self.origin));
        }
        match &mut self.decoder {
            Some(decoder) => decoder.decode(input, eof, out),
            None => Ok(0),
        }
    }
}

impl Sniffer {
    /// An empty object is a log without records if its name says that it is a log.
    fn is_named_as_log(&self) -> bool {
        let name = self.origin.key.file_name();
        [".gz", ".zst", ".json", ".jsonl", ".log"].iter().any(|ending| name.ends_with(ending))
    }
}

fn not(what: &'static str) -> DecodeError {
    DecodeError { what, byte: 0, kind: ErrorKind::OtherSource }
}

#[derive(Debug)]
enum Content {
    Source(&'static Source),
    /// There is nothing in it.
    Empty,
    /// Known, and of no source; what it is.
    Other(&'static str),
    /// Known, and without events; what it is.
    Excluded(&'static str),
    /// More of it may tell.
    Unknown,
}

fn recognize(input: &[u8], eof: bool) -> Content {
    let text = input.strip_prefix(b"\xef\xbb\xbf").unwrap_or(input).trim_ascii_start();
    match text.first() {
        None if eof => Content::Empty,
        None => Content::Unknown,
        Some(b'{' | b'[') => of_json(text, eof),
        Some(_) => of_text(text, eof),
    }
}

fn of_json(text: &[u8], eof: bool) -> Content {
    let mut frames = JsonRecords::new(WRAPPERS);
    let mut rest = text;
    let arena = Bump::new();
    let mut first = None;
    for _ in 0..MAX_RECORDS {
        let Ok(Some(frame)) = frames.next(&mut rest, eof) else {
            break;
        };
        let found = match frames.object(&frame, &arena) {
            Ok((_, members)) => of_record(members),
            // A record in a text.
            Err(_) => match cloudtrail::record_in_text(&frame, &arena) {
                Some((_, members)) => of_record(members),
                None => continue,
            },
        };
        // Behind what is not read there may be what is.
        match found {
            Content::Source(_) => return found,
            other => first = first.or(Some(other)),
        }
    }
    if let Some(first) = first {
        return first;
    }
    // A list without records: the name of the list is all there is.
    let holds = |name: &str| memchr::memmem::find(text, name.as_bytes()).is_some();
    match text {
        _ if !eof || !rest.is_empty() => Content::Unknown,
        text if text.len() > MAX_LINE_BYTES => Content::Unknown,
        _ if holds("\"Records\"") || holds("\"Events\"") => Content::Source(&cloudtrail::SOURCE),
        _ if holds("indings\"") => Content::Source(&guardduty::SOURCE),
        _ => Content::Unknown,
    }
}

fn of_record(members: &[Member<'_>]) -> Content {
    if let Some(known) = look_alike(members) {
        return known;
    }
    match SOURCES.iter().find(|source| (source.sniff)(&Head::Json(members))) {
        Some(source) => Content::Source(source),
        None => Content::Other("JSON of no known source"),
    }
}

/// The value of a member.
pub(crate) fn value<'a>(members: &[Member<'a>], name: &str) -> Option<&'a str> {
    members.iter().rfind(|(key, _)| *key == name).map(|(_, value)| *value)
}

/// How many of these members there are.
pub(crate) fn count(members: &[Member<'_>], names: &[&str]) -> usize {
    names.iter().filter(|name| value(members, name).is_some()).count()
}

/// What looks like a log of ours, or lies beside one.
fn look_alike(members: &[Member<'_>]) -> Option<Content> {
    let all = |names: &[&str]| count(members, names) == names.len();
    let other = |what| Some(Content::Other(what));
    if cloudtrail::is_s3_notification(members) {
        return other("an S3 event notification");
    }
    if all(&["digestStartTime", "logFiles"]) {
        return Some(Content::Excluded("CloudTrail digest"));
    }
    if value(members, "eventSource").is_some_and(|source| source.starts_with("\"aws:")) {
        return other("events for a Lambda function");
    }
    if let Some(kind) = value(members, "detail-type") {
        return match kind {
            guardduty::DETAIL_TYPE => Some(Content::Source(&guardduty::SOURCE)),
            _ if kind.contains("via CloudTrail") => other("CloudTrail in an EventBridge event"),
            _ if kind.contains("Security Hub") => other("Security Hub in an EventBridge event"),
            _ => other("an EventBridge event that is no GuardDuty finding"),
        };
    }
    for (names, what) in [
        (&["configSnapshotId", "configurationItems"][..], "an AWS Config snapshot"),
        (&["ProductArn", "AwsAccountId"], "a Security Hub finding (ASFF)"),
        (&["resourcesAffected", "category"], "a Macie finding"),
        (&["webaclId", "httpRequest"], "an AWS WAF log"),
        (&["query_name", "srcaddr"], "a Route 53 Resolver query log"),
        (&["logGroup", "logEvents"], "a CloudWatch Logs subscription record"),
        (&["class_uid", "metadata"], "OCSF events, mapped already"),
        (&["Type", "TopicArn", "Message"], "an SNS message"),
        (&["kind", "auditID"], "a Kubernetes audit log"),
    ] {
        if all(names) {
            return other(what);
        }
    }
    None
}

fn of_text(text: &[u8], eof: bool) -> Content {
    if text.starts_with(b"PAR1") {
        return Content::Other("a Parquet file");
    }
    let end = memchr::memchr(b'\n', text);
    if end.is_none() && !eof && text.len() < MAX_LINE_BYTES {
        return Content::Unknown;
    }
    let line = &text[..end.unwrap_or(text.len()).min(MAX_LINE_BYTES)];
    let Ok(line) = str::from_utf8(line) else {
        return Content::Other("no text and no known format");
    };
    match SOURCES.iter().find(|source| (source.sniff)(&Head::Text(line.trim_ascii_end()))) {
        Some(source) => Content::Source(source),
        None => Content::Other("text of no known source"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> String {
        match recognize(text.as_bytes(), true) {
            Content::Source(source) => source.name.to_owned(),
            Content::Other(what) => format!("not: {what}"),
            Content::Excluded(what) => format!("excluded: {what}"),
            Content::Unknown => "unknown".to_owned(),
            Content::Empty => "empty".to_owned(),
        }
    }

    #[test]
    fn each_source_is_known_in_all_its_forms() {
        let foreign = r#"{"detail-type":"Inspector2 Finding","detail":{"type":"T"}}"#;
        let text = r#"["{\"eventVersion\":\"1.09\",\"eventTime\":\"2024-05-01T00:00:00Z\"}"]"#;
        let event = r#"{"eventVersion":"1.09","eventTime":"2024-05-01T00:00:00Z","eventName":"x"}"#;
        let finding = r#"{"schemaVersion":"2.0","accountId":"1","id":"a","type":"T","service":{}}"#;
        let upper = r#"{"SchemaVersion":"2.0","AccountId":"1","Id":"a","Type":"T","Service":{}}"#;
        let flow = "version account-id interface-id start end action";
        let row = "2 1 eni-1 - - - - - - - 1714521600 1714521660 - NODATA";
        for (text, expected) in [
            (event.to_owned(), "cloudtrail"),
            (format!("{{\"Records\":[null, {event}]}}"), "cloudtrail"),
            (format!("\u{feff}[\n{event}]"), "cloudtrail"),
            (format!("{event}\n{event}"), "cloudtrail"),
            (r#"{"Events":[{"EventId":"1","CloudTrailEvent":"{}"}]}"#.to_owned(), "cloudtrail"),
            ("{\"Records\": []}".to_owned(), "cloudtrail"),
            (text.to_owned(), "cloudtrail"),
            (
                format!(
                    "{foreign}\n{{\"detail-type\":\"GuardDuty Finding\",\"detail\":{finding}}}"
                ),
                "guardduty",
            ),
            (finding.to_owned(), "guardduty"),
            (format!("{{\"Findings\":[{upper}]}}"), "guardduty"),
            (format!(r#"{{"detail-type":"GuardDuty Finding","detail":{finding}}}"#), "guardduty"),
            ("{\"findings\":[]}".to_owned(), "guardduty"),
            (format!("{flow}\n{row}"), "vpc_flow"),
            (format!("\n{row}\n"), "vpc_flow"),
        ] {
            assert_eq!(found(&text), expected, "{text}");
        }
    }

    #[test]
    fn what_looks_like_a_log_is_named_as_what_it_is() {
        for (text, expected) in [
            (
                r#"{"Records":[{"eventSource":"aws:s3","eventName":"x","eventTime":"1","s3":{}}]}"#,
                "not: an S3 event notification",
            ),
            (r#"{"digestStartTime":"1","logFiles":[]}"#, "excluded: CloudTrail digest"),
            (
                r#"{"fileVersion":"1","configSnapshotId":"a","configurationItems":[{}]}"#,
                "not: an AWS Config snapshot",
            ),
            (
                r#"{"Findings":[{"SchemaVersion":"2018-10-08","Id":"a","ProductArn":"b","AwsAccountId":"1","Types":[]}]}"#,
                "not: a Security Hub finding (ASFF)",
            ),
            (
                r#"{"detail-type":"AWS API Call via CloudTrail","source":"aws.s3","detail":{"eventName":"x"}}"#,
                "not: CloudTrail in an EventBridge event",
            ),
            (r#"{"a":1}"#, "not: JSON of no known source"),
            (
                r#"{"eventTime":"2024-05-01T00:00:00Z","eventName":"page_view","user":"x"}"#,
                "not: JSON of no known source",
            ),
            (
                r#"[{"id":"1","type":"TOXIC","severity":"HIGH","resource":{},"service":{}}]"#,
                "not: JSON of no known source",
            ),
            (
                r#"{"Records":[{"eventSource":"aws:dynamodb","eventName":"INSERT","eventID":"1"}]}"#,
                "not: events for a Lambda function",
            ),
            (
                r#"{"schemaVersion":"1.0","accountId":"1","id":"a","type":"SensitiveData:S3Object/Personal","severity":{},"category":"C","resourcesAffected":{}}"#,
                "not: a Macie finding",
            ),
            ("[]", "unknown"),
            ("", "empty"),
            ("start of the story", "not: text of no known source"),
            ("start end\nfoo bar", "not: text of no known source"),
            ("version", "not: text of no known source"),
            ("PAR1\u{15}", "not: a Parquet file"),
        ] {
            assert_eq!(found(text), expected, "{text}");
        }
        assert!(matches!(recognize(b"\xff\xfe\n", true), Content::Other(_)));
    }

    #[test]
    fn less_than_a_record_is_not_enough_to_tell() {
        let whole = r#"{"Records":[{"eventVersion":"1.09","eventName":"x"}]}"#;
        for end in 1..whole.len() - 2 {
            assert!(matches!(recognize(&whole.as_bytes()[..end], false), Content::Unknown));
        }
    }
}
