//! The documents of an answer to a search.
//!
//! # Input
//! An answer.
//! # Maps to
//! Documents, with what was cut for the index put back whole.
//! # Known gaps
//! Of a number that is too large for a computer the digits are kept, as text.
//! # Reference
//! `parsers/ocsf/flat.rs` says what is cut.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::cluster::Reply;

/// Documents of one answer.
pub struct Page {
    /// How many meet the query, if it was counted.
    pub total: Option<u64>,
    /// The documents.
    pub documents: Vec<Value>,
    /// What the next page comes after.
    pub last: Option<Value>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    timed_out: bool,
    #[serde(rename = "_shards")]
    shards: Shards,
    #[serde(borrow)]
    hits: Hits<'a>,
}

#[derive(Deserialize)]
struct Shards {
    failed: u64,
}

#[derive(Deserialize)]
struct Hits<'a> {
    total: Option<Total>,
    #[serde(borrow)]
    hits: Vec<Hit<'a>>,
}

#[derive(Deserialize)]
struct Total {
    value: u64,
}

#[derive(Deserialize)]
struct Hit<'a> {
    #[serde(rename = "_source", borrow)]
    source: &'a RawValue,
    sort: Value,
}

impl Page {
    /// None if the answer is not whole.
    pub fn of(reply: &Reply) -> Option<Self> {
        if reply.status != 200 {
            return None;
        }
        let answer: Answer<'_> = serde_json::from_slice(&reply.body).ok()?;
        if answer.timed_out || answer.shards.failed > 0 {
            return None;
        }
        let Hits { total, hits } = answer.hits;
        let last = hits.last().map(|hit| hit.sort.clone());
        let documents = hits.iter().map(|hit| whole(lenient(hit.source))).collect();
        Some(Self { total: total.map(|total| total.value), documents, last })
    }
}

/// JSON whose numbers may be too large: one such number in what somebody has sent to an API must not
/// hide the event, nor those beside it.
fn lenient(raw: &RawValue) -> Value {
    let text = raw.get();
    if let Ok(value) = serde_json::from_str(text) {
        return value;
    }
    if let Ok(members) = serde_json::from_str::<BTreeMap<String, &RawValue>>(text) {
        return members.into_iter().map(|(name, raw)| (name, lenient(raw))).collect();
    }
    match serde_json::from_str::<Vec<&RawValue>>(text) {
        Ok(all) => all.into_iter().map(lenient).collect(),
        Err(_) => text.into(),
    }
}

/// A document with the whole text of what was cut.
fn whole(mut document: Value) -> Value {
    for side in ["request", "response"] {
        if let Some(Value::Object(side)) = document.pointer_mut(&format!("/api/{side}"))
            && let Some(full) = side.remove("data_full")
        {
            side.insert("data".into(), full);
        }
    }
    if let Some(members) = document.as_object_mut()
        && let Some(full) = members.remove("unmapped_full")
    {
        let text = full.as_str().unwrap_or_default();
        members.insert("unmapped".into(), serde_json::from_str(text).unwrap_or_default());
    }
    document
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn page(body: &str) -> Option<Page> {
        let body = Bytes::from(body.to_owned());
        Page::of(&Reply { status: 200, retry_after: None, body })
    }

    #[test]
    fn a_number_that_is_too_large_hides_nothing() {
        let page = page(
            r#"{"timed_out":false,"_shards":{"failed":0},"hits":{"total":{"value":1},"hits":[
            {"_source":{"time":1,"api":{"request":{"data":{"n":[1e400,2]}}}},"sort":[1,"a"]}]}}"#,
        )
        .unwrap();
        let document = &page.documents[0];
        assert_eq!((&document["time"], page.total), (&1.into(), Some(1)));
        assert_eq!(document["api"]["request"]["data"], serde_json::json!({ "n": ["1e400", 2] }));
        assert_eq!(page.last, Some(serde_json::json!([1, "a"])));
    }

    #[test]
    fn a_part_of_an_answer_is_none() {
        for (timed_out, failed) in [(true, 0), (false, 1)] {
            let body = format!(
                r#"{{"timed_out":{timed_out},"_shards":{{"failed":{failed}}},"hits":{{"hits":[]}}}}"#
            );
            assert!(page(&body).is_none(), "{body}");
        }
        assert!(page("<html>").is_none());
    }

    #[test]
    fn what_was_cut_is_put_back() {
        let cut = serde_json::json!({
            "api": { "request": { "data": { "a": "b" }, "data_full": "{\"a\":\"bc\"}" } },
            "unmapped": { "k": "v" }, "unmapped_full": "{\"k\":\"vw\"}",
        });
        let expected = serde_json::json!({
            "api": { "request": { "data": "{\"a\":\"bc\"}" } },
            "unmapped": { "k": "vw" },
        });
        assert_eq!(whole(cut), expected);
    }
}
