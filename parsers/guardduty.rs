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
    Decode, DecodeError, Detect, Head, ObjectKey, Origin, Place, Rows, Source,
    frame::{Frame, JsonRecords},
    json::{self, Member},
    sniff,
    tree::{Keys, Node},
};

/// GuardDuty.
pub static SOURCE: Source = Source {
    name: "guardduty",
    title: "Amazon GuardDuty findings: S3 export, EventBridge, GetFindings",
    classes: &["detection_finding"],
    kinds: include_str!("guardduty/kinds.md"),
    detect,
    sniff,
    uid_by_position: false,
    decoder: |origin| Box::new(GuardDuty::new(origin)),
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

struct GuardDuty {
    origin: Origin,
    frames: JsonRecords,
    arena: Bump,
    records_seen: u64,
}

impl GuardDuty {
    fn new(origin: &Origin) -> Self {
        Self {
            origin: origin.clone(),
            frames: JsonRecords::new(WRAPPERS),
            arena: Bump::new(),
            records_seen: 0,
        }
    }

    fn record(&mut self, frame: &Frame<'_>, out: &mut Rows) {
        crate::reset(&mut self.arena);
        out.begin_record(frame.len as usize);
        let record = self.records_seen;
        self.records_seen += 1;
        let arena = &self.arena;
        let pushed = self.frames.object(frame, arena).and_then(|members| {
            // A rule of EventBridge may match more than findings.
            if sniff::value(members, "detail-type").is_some_and(|kind| kind != DETAIL_TYPE) {
                return Err("not GuardDuty");
            }
            let raw = str::from_utf8(frame.bytes.unwrap_or_default()).unwrap_or_default();
            let finding = read(raw, members, arena);
            finding::push(&finding, &self.origin, arena, out)
        });
        if let Err(reason) = pushed {
            let place =
                Place { record, byte: frame.byte, len: frame.len, raw: frame.bytes, header: None };
            out.reject(reason, place);
        }
    }
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
    let has = |name: &str| members.iter().any(|(key, _)| *key == name);
    if has("Id") && has("Type") {
        Keys::LowerFirst { except: "AffectedResources" }
    } else {
        Keys::AsTheyAre
    }
}

impl Decode for GuardDuty {
    fn decode(&mut self, input: &[u8], eof: bool, out: &mut Rows) -> Result<usize, DecodeError> {
        let mut rest = input;
        while let Some(frame) = self.frames.next(&mut rest, eof)? {
            self.record(&frame, out);
            if out.is_full() {
                break;
            }
        }
        Ok(input.len() - rest.len())
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
