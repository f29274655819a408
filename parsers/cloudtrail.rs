//! AWS CloudTrail to API Activity, Authentication and Account Change.
//!
//! # Input
//! JSON objects: `{"Records":[…]}` as CloudTrail delivers, a list, one record, or JSON lines; what
//! `aws cloudtrail lookup-events` prints.
//! Management, data, network activity and Insights events.
//! # Maps to
//! OCSF API Activity (6003), Authentication (3002), Account Change (3001); Insights events to
//! Detection Finding (2004).
//! # Reference
//! Mapping section 3;
//! <https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference.html>.
//!
//! # Known gaps
//! And what becomes what:
//!
#![doc = include_str!("cloudtrail/kinds.md")]
#![allow(clippy::doc_markdown, reason = "the list is printed too, where names need no marks")]

mod activity;
mod event;
mod identity;
mod insight;
mod members;

use bumpalo::Bump;

use crate::{
    Decode, DecodeError, Detect, ErrorKind, Head, ObjectKey, Origin, Place, Rows, Source,
    frame::{Frame, JsonRecords},
    json::{self, Member},
    sniff,
};

pub(crate) use {event::is_s3_notification, identity::type_id as user_type_id};

/// CloudTrail.
pub static SOURCE: Source = Source {
    name: "cloudtrail",
    title: "AWS CloudTrail management, data, network activity and Insights events",
    classes: &["api_activity", "authentication", "account_change", "detection_finding"],
    kinds: include_str!("cloudtrail/kinds.md"),
    detect,
    sniff,
    uid_by_position: false,
    decoder: |origin| Box::new(CloudTrail::new(origin)),
};

fn detect(key: &ObjectKey) -> Detect {
    let is_trail = |segment: &str| segment == "CloudTrail" || segment.starts_with("CloudTrail-");
    let file = key.file_name();
    match key.service(is_trail) {
        None => Detect::No,
        Some("CloudTrail-Digest") => Detect::Excluded("CloudTrail digest"),
        Some(
            "CloudTrail"
            | "CloudTrail-Insight"
            | "CloudTrail-NetworkActivity"
            | "CloudTrail-Aggregated",
        ) => {
            if [".json", ".jsonl", ".gz", ".zst"].iter().any(|ending| file.contains(ending)) {
                Detect::Yes
            } else {
                Detect::Unsupported("no log file, by its name")
            }
        }
        Some(_) => Detect::Unsupported("unknown kind of CloudTrail object"),
    }
}

fn sniff(head: &Head<'_>) -> bool {
    let Head::Json(members) = head else { return false };
    let has = |names: &[&str]| sniff::count(members, names) > 0;
    looked_up(members).is_some()
        || has(&["eventVersion", "eventSource"]) && has(&["eventTime", "eventName", "eventID"])
}

/// The record in a JSON text, as `lookup-events --query 'Events[].CloudTrailEvent'` gives them.
pub(crate) fn record_in_text<'a>(
    frame: &Frame<'a>,
    arena: &'a Bump,
) -> Option<(&'a str, &'a [Member<'a>])> {
    let text = str::from_utf8(frame.bytes?).ok()?;
    if !json::is_string(text) || !json::is_value(text) {
        return None;
    }
    let raw = json::text(text, arena);
    Some((raw, json::object(raw, arena)?.into_bump_slice()))
}

/// The record in what `aws cloudtrail lookup-events` gives: JSON in a text.
fn looked_up<'a>(members: &[Member<'a>]) -> Option<&'a str> {
    sniff::value(members, "CloudTrailEvent").filter(|event| json::is_string(event))
}

struct CloudTrail {
    origin: Origin,
    frames: JsonRecords,
    arena: Bump,
    records_seen: u64,
}

impl CloudTrail {
    fn new(origin: &Origin) -> Self {
        Self {
            origin: origin.clone(),
            frames: JsonRecords::new(&["Records", "Events"]),
            arena: Bump::new(),
            records_seen: 0,
        }
    }

    fn record(&mut self, frame: &Frame<'_>, out: &mut Rows) -> Result<(), DecodeError> {
        crate::reset(&mut self.arena);
        let members = self.frames.object(frame, &self.arena);
        if self.records_seen == 0 && members.is_ok_and(is_s3_notification) {
            let what = "an S3 event notification, not CloudTrail";
            return Err(DecodeError { what, byte: frame.byte, kind: ErrorKind::OtherSource });
        }
        out.begin_record(frame.len as usize);
        let record = self.records_seen;
        self.records_seen += 1;
        let (arena, origin) = (&self.arena, &self.origin);
        let pushed = match members {
            Ok(members) => match looked_up(members) {
                Some(event) => {
                    let raw = json::text(event, arena);
                    let members = json::object(raw, arena).ok_or("not JSON");
                    members.and_then(|of| event::push(&of, Some(raw.as_bytes()), origin, arena, out))
                }
                None => event::push(members, frame.bytes, origin, arena, out),
            },
            Err(reason) => match record_in_text(frame, arena) {
                Some((raw, of)) => event::push(of, Some(raw.as_bytes()), origin, arena, out),
                None => Err(reason),
            },
        };
        if let Err(reason) = pushed {
            let place =
                Place { record, byte: frame.byte, len: frame.len, raw: frame.bytes, header: None };
            out.reject(reason, place);
        }
        Ok(())
    }
}

impl Decode for CloudTrail {
    fn decode(&mut self, input: &[u8], eof: bool, out: &mut Rows) -> Result<usize, DecodeError> {
        let mut rest = input;
        while let Some(frame) = self.frames.next(&mut rest, eof)? {
            self.record(&frame, out)?;
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
    fn kinds_of_cloudtrail_objects_are_told_apart_by_whole_segments() {
        let detect = |segment: &str| {
            detect(&ObjectKey::new(format!("AWSLogs/1/{segment}/us-east-1/2024/05/01/x.json.gz")))
        };
        assert_eq!(detect("CloudTrail"), Detect::Yes);
        assert_eq!(detect("CloudTrail-NetworkActivity"), Detect::Yes);
        assert_eq!(detect("CloudTrail-Digest"), Detect::Excluded("CloudTrail digest"));
        assert!(matches!(detect("CloudTrail-New"), Detect::Unsupported(_)));
        assert_eq!(detect("CloudTrails"), Detect::No);
        assert_eq!(detect("vpcflowlogs"), Detect::No);
    }
}
