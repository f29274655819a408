//! AWS CloudTrail to API Activity, Authentication and Account Change.
//!
//! # Input
//! JSON objects: `{"Records":[…]}` as CloudTrail delivers, a list, one record, or JSON lines.
//! Management, data and network activity events.
//! # Maps to
//! OCSF API Activity (6003), Authentication (3002), Account Change (3001).
//! # Known gaps
//! Insights events are rejected as `unsupported category` until Detection Finding is written.
//! # Reference
//! Mapping section 3;
//! <https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference.html>.

mod activity;
mod event;
mod identity;
mod members;

use bumpalo::Bump;

use crate::{
    Decode, DecodeError, Detect, ObjectKey, Place, Rows, Source,
    frame::{Frame, JsonRecords},
    json::{self, Member, Span},
};

/// CloudTrail.
pub static SOURCE: Source = Source {
    name: "cloudtrail",
    title: "AWS CloudTrail management, data and network activity events",
    classes: &["api_activity", "authentication", "account_change"],
    detect,
    uid_by_position: false,
    decoder: |key| Box::new(CloudTrail::new(key)),
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

struct CloudTrail {
    key: ObjectKey,
    frames: JsonRecords,
    arena: Bump,
    records_seen: u64,
}

impl CloudTrail {
    fn new(key: &ObjectKey) -> Self {
        Self {
            key: key.clone(),
            frames: JsonRecords::default(),
            arena: Bump::new(),
            records_seen: 0,
        }
    }

    fn record(&mut self, frame: &Frame<'_>, out: &mut Rows) -> Result<(), DecodeError> {
        crate::reset(&mut self.arena);
        let members = members(frame, self.frames.members(), &self.arena);
        if self.records_seen == 0 && members.is_ok_and(event::is_s3_notification) {
            let what = "an S3 event notification, not CloudTrail";
            return Err(DecodeError { what, byte: frame.byte, other_source: true });
        }
        out.begin_record(frame.len as usize);
        let record = self.records_seen;
        self.records_seen += 1;
        let pushed = members
            .and_then(|members| event::push(members, frame.bytes, &self.key, &self.arena, out));
        if let Err(reason) = pushed {
            let place =
                Place { record, byte: frame.byte, len: frame.len, raw: frame.bytes, header: None };
            out.reject(reason, place);
        }
        Ok(())
    }
}

/// The members of the record; `spans` tell where they lie if it was checked.
fn members<'a>(
    frame: &Frame<'a>,
    spans: &[Span],
    arena: &'a Bump,
) -> Result<&'a [Member<'a>], &'static str> {
    let bytes = frame.bytes.ok_or("too long")?;
    let text = str::from_utf8(bytes).map_err(|_| "invalid UTF-8")?;
    if !text.starts_with('{') {
        return Err(if json::is_value(text) { "not an object" } else { "not JSON" });
    }
    if frame.checked {
        let member = |(key, value): &Span| (&text[key.clone()], &text[value.clone()]);
        return Ok(arena.alloc_slice_fill_iter(spans.iter().map(member)));
    }
    Ok(json::object(text, arena).ok_or("not JSON")?.into_bump_slice())
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
