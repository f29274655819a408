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
    Detect, Head, ObjectKey, Origin, Rows, Source,
    frame::{Frame, Record},
    json::{self, Member},
    records::{JsonDecoder, JsonSource},
    sniff,
};

pub(crate) use {event::is_s3_notification, identity::type_id as user_type_id};

/// CloudTrail.
pub static SOURCE: Source = Source {
    name: "cloudtrail",
    product: "CloudTrail",
    title: "AWS CloudTrail management, data, network activity and Insights events",
    classes: &["api_activity", "authentication", "account_change", "detection_finding"],
    kinds: include_str!("cloudtrail/kinds.md"),
    detect,
    sniff,
    uid_by_position: false,
    decoder: |origin| Box::new(JsonDecoder::new(&RECORDS, origin)),
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
pub(crate) fn record_in_text<'a>(frame: &Frame<'a>, arena: &'a Bump) -> Option<Record<'a>> {
    let text = str::from_utf8(frame.bytes?).ok()?;
    let is_text = json::is_string(text) && json::is_value(text);
    is_text.then(|| of_text(text, arena)).flatten()
}

/// The record in a JSON text.
fn of_text<'a>(text: &'a str, arena: &'a Bump) -> Option<Record<'a>> {
    let raw = json::text(text, arena);
    Some((raw, json::object(raw, arena)?.into_bump_slice()))
}

/// The record in what `aws cloudtrail lookup-events` gives: JSON in a text.
fn looked_up<'a>(members: &[Member<'a>]) -> Option<&'a str> {
    sniff::value(members, "CloudTrailEvent").filter(|event| json::is_string(event))
}

static RECORDS: JsonSource = JsonSource {
    wrappers: &["Records", "Events"],
    foreign: |members| {
        is_s3_notification(members).then_some("an S3 event notification, not CloudTrail")
    },
    push,
};

fn push<'a>(
    record: Result<Record<'a>, &'static str>,
    frame: &Frame<'a>,
    origin: &'a Origin,
    arena: &'a Bump,
    out: &mut Rows,
) -> Result<(), &'static str> {
    let (raw, members) = match record {
        Ok((raw, members)) => match looked_up(members) {
            Some(event) => of_text(event, arena).ok_or("not JSON")?,
            None => (raw, members),
        },
        Err(reason) => record_in_text(frame, arena).ok_or(reason)?,
    };
    event::push(members, raw, origin, arena, out)
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
