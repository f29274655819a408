//! What became of a batch, as a document beside the events: freshness and the loader's health can be
//! seen where the documents are.
//!
//! # Input
//! The outcome of a batch.
//! # Maps to
//! A document in `trailhound-ledger-<month>`. It is for people: whether it was taken or not changes
//! nothing.
//! # Known gaps
//! A batch whose summary was not taken has none.
//! # Reference
//! The ledger itself, `ledger.rs`.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use parsers::time;
use serde_json::json;

use super::{Index, IndexCounts};
use crate::{
    batch::Outcome,
    ledger::{RecordCounts, State},
};

/// The beginning of the names of the indexes.
pub const PREFIX: &str = "trailhound-ledger-";

impl Index {
    /// Indexes the summary of a batch, if there was anything in it. It takes two seconds at most.
    pub async fn summarize(&self, lake: &str, now_ms: i64, outcome: &Outcome) {
        const PATIENCE: Duration = Duration::from_secs(2);
        let batch = &outcome.batch;
        if outcome.objects.is_empty() || self.health.is_away() {
            return;
        }
        let mut objects: BTreeMap<&str, u64> = BTreeMap::new();
        let mut by_source: BTreeMap<&str, RecordCounts> = BTreeMap::new();
        let mut records = RecordCounts::default();
        let mut index = IndexCounts::default();
        let mut bytes = 0;
        for object in &outcome.objects {
            let state = match &object.error {
                None => "loaded",
                Some((State::Unrecognized, _)) => "unrecognized",
                Some((State::Excluded, _)) => "excluded",
                Some((State::Failed | State::Loaded, _)) => "failed",
            };
            *objects.entry(state).or_default() += 1;
            if let Some(source) = object.source {
                *by_source.entry(source).or_default() += object.records;
            }
            records += object.records;
            index += object.index.unwrap_or_default();
            bytes += object.read_bytes;
        }
        let time = time::datetime(now_ms);
        let time = String::from_utf8_lossy(&time);
        let name = format!("{PREFIX}{}", time[..7].replace('-', "."));
        let action = json!({ "create": { "_index": name, "_id": format!("{batch}-{now_ms}") } });
        let document = json!({
            "time": now_ms,
            "batch": batch,
            "lake": lake,
            "objects": objects,
            "records": records,
            "by_source": by_source,
            "by_class": outcome.by_class,
            "index": index,
            "files": outcome.files,
            "bytes_in": bytes,
            "seconds": outcome.reading.as_secs_f64(),
            "writer": concat!("trailhound ", env!("CARGO_PKG_VERSION")),
        });
        let body = Bytes::from(format!("{action}\n{document}\n"));
        let sent = self.cluster.bulk("_bulk?filter_path=errors,items.*.error", body, false);
        let why = match tokio::time::timeout(PATIENCE, sent).await {
            Ok(Ok(reply)) if reply.status == 200 && reply.json()["errors"] == false => return,
            Ok(Ok(reply)) => String::from_utf8_lossy(&reply.body).chars().take(500).collect(),
            Ok(Err(error)) => error.what,
            Err(_) => "no answer in time".into(),
        };
        tracing::warn!(error = why, "the summary of the batch is not indexed");
    }
}
