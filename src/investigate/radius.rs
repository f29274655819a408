//! What a story has touched.
//!
//! # Input
//! The calls of a story.
//! # Maps to
//! [`BlastRadius`]: what was created, changed, read, deleted and denied, and where.
//! # Known gaps
//! Bytes are those that S3 says it has sent.
//! # Reference
//! Issue "Ask the lake": the blast radius.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::{
    document::{Call, at},
    story::Story,
};

/// What was touched, each by account.
#[derive(Debug, Default, Serialize)]
pub struct BlastRadius {
    /// Accounts and regions with calls.
    pub places: BTreeMap<String, u64>,
    /// Things that were created.
    pub created: BTreeMap<String, u64>,
    /// Things that were changed.
    pub changed: BTreeMap<String, u64>,
    /// Things that were read, data not settings.
    pub read: BTreeMap<String, u64>,
    /// Things that were deleted.
    pub deleted: BTreeMap<String, u64>,
    /// What was refused.
    pub denied: BTreeMap<String, u64>,
    /// Bytes that S3 sent out.
    pub bytes_out: u64,
}

/// Of the calls of a story.
pub fn blast_radius(story: &Story) -> BlastRadius {
    let mut radius = BlastRadius::default();
    for included in story.calls.values() {
        let call = &included.call;
        let place = format!("{} {}", call.account(), call.region());
        *radius.places.entry(place).or_default() += 1;
        let what = touched(call);
        if let Some(error) = call.error() {
            *radius.denied.entry(format!("{} ({error})", call.operation())).or_default() += 1;
            continue;
        }
        radius.bytes_out += call.bytes_out();
        let activity = at(&call.document, "activity_id").and_then(Value::as_i64);
        let is_delete =
            ["Delete", "Terminate"].iter().any(|verb| call.operation().starts_with(verb));
        let set = match activity {
            _ if is_data_read(call) => &mut radius.read,
            _ if call.is_read() || call.text("class_name") == Some("Authentication") => continue,
            _ if is_delete => &mut radius.deleted,
            Some(1) => &mut radius.created,
            _ => &mut radius.changed,
        };
        *set.entry(what).or_default() += 1;
    }
    radius
}

/// Reads what customers keep, not how it is set up.
fn is_data_read(call: &Call) -> bool {
    const DATA: [&str; 9] = [
        "BatchGetItem",
        "GetItem",
        "GetObject",
        "GetParameter",
        "GetParameters",
        "GetSecretValue",
        "Query",
        "Scan",
        "SelectObjectContent",
    ];
    DATA.contains(&call.operation())
}

/// What was touched; of objects their bucket.
fn touched(call: &Call) -> String {
    let resource = call.resource();
    let bucket = resource.strip_prefix("arn:aws:s3:::").and_then(|path| path.split_once('/'));
    let what = match bucket {
        Some((bucket, _)) => format!("arn:aws:s3:::{bucket}"),
        None => resource,
    };
    format!("{} {what}", call.operation()).trim_end().to_owned()
}
