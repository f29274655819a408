//! Amazon GuardDuty findings to Detection Finding.
//!
//! # Input
//! JSON in three shapes: findings as GuardDuty exports them to S3 (one a line, camelCase keys), in
//! an EventBridge envelope, and as `aws guardduty get-findings` prints them.
//! # Maps to
//! OCSF Detection Finding (2004). Each update of a finding is an event of its own.
//! # Reference
//! Mapping section 5;
//! <https://docs.aws.amazon.com/guardduty/latest/ug/guardduty_findings.html>,
//! <https://docs.aws.amazon.com/guardduty/latest/APIReference/API_Finding.html>.
//!
//! # Known gaps
//! And what becomes what:
//!
#![doc = include_str!("guardduty/kinds.md")]
#![allow(clippy::doc_markdown, reason = "the list is printed too, where names need no marks")]

mod evidence;
mod finding;
mod resource;
mod sequence;

use bumpalo::Bump;

use crate::{
    Detect, Head, ObjectKey, Origin, Rows, Source,
    frame::{Frame, Record},
    json::{self, Member},
    records::{JsonDecoder, JsonSource},
    sniff,
    tree::{Keys, Node},
};

/// GuardDuty.
pub static SOURCE: Source = Source {
    name: "guardduty",
    product: "GuardDuty",
    title: "Amazon GuardDuty findings: S3 export, EventBridge, GetFindings",
    classes: &["detection_finding"],
    kinds: include_str!("guardduty/kinds.md"),
    detect,
    sniff,
    uid_by_position: false,
    decoder: |origin| Box::new(JsonDecoder::new(&RECORDS, origin)),
};

/// `detail-type` of the EventBridge events that hold findings, as it is spelled.
pub(crate) const DETAIL_TYPE: &str = "\"GuardDuty Finding\"";
/// Members of a root object that hold a list of findings (Q4).
const WRAPPERS: &[&str] = &["Findings", "findings"];

fn detect(key: &ObjectKey) -> Detect {
    if key.service(|segment| segment == "GuardDuty").is_none() {
        return Detect::No;
    }
    if [".json", ".gz", ".zst"].iter().any(|ending| key.file_name().contains(ending)) {
        Detect::Yes
    } else {
        Detect::Unsupported("no findings file, by its name")
    }
}

fn sniff(head: &Head<'_>) -> bool {
    let Head::Json(members) = head else { return false };
    // Of one of the two spellings the first two, and two of the others.
    [
        ["accountId", "type", "schemaVersion", "id", "arn", "service", "resource", "severity"],
        ["AccountId", "Type", "SchemaVersion", "Id", "Arn", "Service", "Resource", "Severity"],
    ]
    .iter()
    .any(|names| sniff::count(members, &names[..2]) == 2 && sniff::count(members, names) > 3)
}

static RECORDS: JsonSource = JsonSource { wrappers: WRAPPERS, foreign: |_| None, push };

fn push<'a>(
    record: Result<Record<'a>, &'static str>,
    _: &Frame<'a>,
    origin: &'a Origin,
    arena: &'a Bump,
    out: &mut Rows,
) -> Result<(), &'static str> {
    let (raw, members) = record?;
    // A rule of EventBridge may match more than findings.
    if sniff::value(members, "detail-type").is_some_and(|kind| kind != DETAIL_TYPE) {
        return Err("not GuardDuty");
    }
    finding::push(&read(raw, members, arena), origin, arena, out)
}

/// The finding of a record: the record itself, or what its EventBridge envelope holds.
fn read<'a>(raw: &'a str, members: &[Member<'a>], arena: &'a Bump) -> Node<'a> {
    if let Some(detail) = detail(members) {
        let inner: Vec<Member<'a>> = json::members(detail).collect();
        return Node::of(detail, &inner, keys(&inner), arena);
    }
    Node::of(raw, members, keys(members), arena)
}

/// What an EventBridge envelope holds (Q2).
pub(crate) fn detail<'a>(members: &[Member<'a>]) -> Option<&'a str> {
    let value = |name| sniff::value(members, name);
    let is_finding = value("type").is_some() || value("Type").is_some();
    value("detail").filter(|detail| !is_finding && json::is_object(detail))
}

/// Findings of the API shape have keys that start in upper case (Q3).
fn keys(members: &[Member<'_>]) -> Keys {
    if sniff::count(members, &["Id", "Type"]) == 2 {
        Keys::LowerFirst { except: "AffectedResources" }
    } else {
        Keys::AsTheyAre
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_the_service_are_read_and_others_not() {
        let detect = |key: &str| detect(&ObjectKey::new(key));
        let folder = "AWSLogs/111122223333/GuardDuty/us-east-1/2024/05/01";
        assert_eq!(detect(&format!("{folder}/0dbb02f1.jsonl.gz")), Detect::Yes);
        assert_eq!(detect(&format!("guardduty/{folder}/x.jsonl.gz")), Detect::Yes);
        assert!(matches!(detect(&format!("{folder}/manifest")), Detect::Unsupported(_)));
        assert_eq!(detect("GuardDuty/AWSLogs/1/CloudTrail/us-east-1/x.json.gz"), Detect::No);
    }

    #[test]
    fn an_envelope_and_upper_case_keys_make_no_difference() {
        let arena = Bump::new();
        let inner = r#"{"id":"1","type":"T","service":{"count":2,"aB":[{"x-Y":1}]}}"#;
        let shapes = [
            inner.to_owned(),
            format!(r#"{{"version":"0","detail-type":"GuardDuty Finding","detail":{inner}}}"#),
            r#"{"Id":"1","Type":"T","Service":{"Count":2,"AB":[{"x-Y":1}]}}"#.to_owned(),
        ];
        for shape in &shapes {
            let members: Vec<Member<'_>> = json::members(shape).collect();
            assert_eq!(read(shape, &members, &arena).json(&arena), inner);
        }
    }
}
