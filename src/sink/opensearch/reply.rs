//! What a bulk response says of each document.
//!
//! # Input
//! The body of a bulk response with status 200.
//! # Maps to
//! A verdict for each document that was sent, in order; or nothing, if the response is not about them
//! all: then nothing counts as done.
//! # Known gaps
//! None.
//! # Reference
//! <https://docs.opensearch.org/latest/api-reference/document-apis/bulk/#response>; statuses and types
//! as OpenSearch 2.19 and 3.8 give them.

use serde::Deserialize;

use crate::cluster::Trouble;

/// What became of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Indexed,
    /// A document with this id was there.
    Duplicate,
    /// Refused for good, and why.
    Rejected {
        status: u16,
        kind: String,
        reason: String,
    },
    /// To be sent another time.
    Pending,
}

/// What a response says of one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Done(Verdict),
    /// To be sent again, for this kind of trouble.
    Again(Trouble, String),
}

/// Only what is read is asked for: a response is a tenth as long.
pub(super) const PATH: &str = "_bulk?filter_path=errors,items.*.status,items.*.error";

#[derive(Deserialize)]
struct Response {
    items: Vec<Action>,
}

#[derive(Deserialize)]
struct Action {
    create: Created,
}

#[derive(Deserialize)]
struct Created {
    status: u16,
    #[serde(default)]
    error: Option<Cause>,
}

#[derive(Deserialize)]
struct Cause {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    caused_by: Option<Box<Cause>>,
}

/// The verdicts on `count` documents, or why there are none.
pub(super) fn items(body: &[u8], count: usize) -> Result<Vec<Item>, String> {
    let response: Response = serde_json::from_slice(body)
        .map_err(|error| format!("its answer is no answer to a bulk request: {error}"))?;
    if response.items.len() != count {
        let found = response.items.len();
        return Err(format!("its answer is about {found} documents, {count} were sent"));
    }
    Ok(response.items.into_iter().map(|action| item(action.create)).collect())
}

fn item(created: Created) -> Item {
    let status = created.status;
    let (kind, reason) = created.error.map(Cause::text).unwrap_or_default();
    let said = || format!("status {status}, {kind}: {reason}");
    match (status, &*kind) {
        (200 | 201, _) => Item::Done(Verdict::Indexed),
        (409, _) => Item::Done(Verdict::Duplicate),
        (_, "cluster_block_exception") | (400, "index_closed_exception") => {
            Item::Again(Trouble::Blocked, said())
        }
        (401 | 403, _) => Item::Again(Trouble::Denied, said()),
        // Indexes make themselves, one that was deleted with the next request, unless somebody has
        // forbidden it.
        (404, _) => Item::Again(Trouble::Blocked, said()),
        (408 | 429 | 500.., _)
        | (_, "es_rejected_execution_exception" | "rejected_execution_exception") => {
            Item::Again(Trouble::Busy, said())
        }
        _ => Item::Done(Verdict::Rejected { status, kind, reason }),
    }
}

impl Cause {
    /// Type and reason, with what is behind it.
    fn text(self) -> (String, String) {
        let mut reason = self.reason;
        let mut next = self.caused_by;
        while let Some(cause) = next {
            if !cause.reason.is_empty() && !reason.contains(&cause.reason) {
                reason = format!("{reason}: {}", cause.reason);
            }
            next = cause.caused_by;
        }
        (self.kind, reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_document_has_its_own_verdict() {
        let body = br#"{"errors":true,"items":[{"create":{"status":201}},
            {"create":{"status":409,"error":{"type":"version_conflict_engine_exception"}}},
            {"create":{"status":429,"error":{"type":"rejected_execution_exception","reason":"full"}}},
            {"create":{"status":503}},
            {"create":{"status":400,"error":{"type":"mapper_parsing_exception","reason":"failed",
                "caused_by":{"type":"x","reason":"For input string"}}}},
            {"create":{"status":403,"error":{"type":"cluster_block_exception","reason":"read-only"}}},
            {"create":{"status":403,"error":{"type":"security_exception","reason":"no"}}}]}"#;
        let items = items(body, 7).unwrap();
        assert_eq!(items[..2], [Item::Done(Verdict::Indexed), Item::Done(Verdict::Duplicate)]);
        assert!(matches!(items[2], Item::Again(Trouble::Busy, _)));
        assert!(matches!(items[3], Item::Again(Trouble::Busy, _)));
        let reason = "failed: For input string".to_owned();
        let kind = "mapper_parsing_exception".to_owned();
        assert_eq!(items[4], Item::Done(Verdict::Rejected { status: 400, kind, reason }));
        assert!(matches!(items[5], Item::Again(Trouble::Blocked, _)));
        assert!(matches!(items[6], Item::Again(Trouble::Denied, _)));
    }

    #[test]
    fn a_response_that_is_not_about_all_documents_says_nothing() {
        for (body, count) in [
            ("", 1),
            ("<html>", 1),
            ("{\"took\":1}", 1),
            ("{\"items\":[{\"create\":{\"status\":201}}]}", 2),
            ("{\"items\":[{\"create\":{\"status\":201}},{\"cre", 2),
            ("{\"items\":[{\"index\":{\"status\":201}}]}", 1),
        ] {
            assert!(items(body.as_bytes(), count).is_err(), "{body}");
        }
    }
}
