//! Figures of batches: for CloudWatch as embedded metrics, for Prometheus as text.
//!
//! # Input
//! What became of a batch ([`Done`]).
//! # Maps to
//! Lines of the embedded metric format; totals in the text format of Prometheus.
//! # Known gaps
//! Accounts are no dimension: an organization has hundreds, and each would be a metric of its own.
//! # Reference
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>,
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::{collections::BTreeMap, fmt::Write};

use serde_json::{Map, Value, json};

use crate::intake::Done;

/// A counter: its name as CloudWatch and as Prometheus has it, its unit, its value.
type Counter = (&'static str, &'static str, &'static str, u64);

/// Every counter of a batch.
fn counters(done: &Done) -> Vec<Counter> {
    let objects = |what| done.objects.get(what).copied().unwrap_or_default();
    let index = done.index.unwrap_or_default();
    let failures = done.failures();
    let failure = |kind| failures.get(kind).copied().unwrap_or_default();
    vec![
        ("Messages", "messages_total", "Count", done.messages),
        ("EventsIgnored", "events_ignored_total", "Count", done.ignored),
        ("ObjectsLoaded", "objects_loaded_total", "Count", objects("loaded")),
        ("ObjectsFailed", "objects_failed_total", "Count", objects("failed")),
        ("ObjectsUnrecognized", "objects_unrecognized_total", "Count", objects("unrecognized")),
        ("ObjectsExcluded", "objects_excluded_total", "Count", objects("excluded")),
        ("ObjectsKnown", "objects_known_total", "Count", objects("known")),
        ("RecordsIn", "records_in_total", "Count", done.records.records_in),
        ("RecordsParquet", "records_parquet_total", "Count", done.records.parquet),
        ("RecordsDuplicate", "records_duplicate_total", "Count", done.records.duplicate),
        ("RecordsRejected", "records_rejected_total", "Count", done.records.rejected),
        ("DocumentsIndexed", "documents_indexed_total", "Count", index.indexed),
        ("DocumentsDuplicate", "documents_duplicate_total", "Count", index.duplicate),
        ("DocumentsRejected", "documents_rejected_total", "Count", index.rejected),
        ("DocumentsExcluded", "documents_excluded_total", "Count", index.excluded),
        ("DocumentsPending", "documents_pending_total", "Count", index.pending),
        ("BytesIn", "bytes_in_total", "Bytes", done.bytes),
        ("FailedBody", "failed_body_total", "Count", failure("body")),
        ("FailedNotStarted", "failed_not_started_total", "Count", failure("not_started")),
        ("FailedTransient", "failed_transient_total", "Count", failure("transient")),
        ("FailedPermanent", "failed_permanent_total", "Count", failure("permanent")),
        ("FailedUnreadable", "failed_unreadable_total", "Count", failure("unreadable")),
    ]
}

/// The line of a batch in the log.
pub fn log(done: &Done) {
    tracing::info!(
        messages = done.messages,
        failed = done.failed.len(),
        objects = ?done.objects,
        records_in = done.records.records_in,
        records_parquet = done.records.parquet,
        records_duplicate = done.records.duplicate,
        records_rejected = done.records.rejected,
        indexed = done.index.map(|index| index.indexed),
        index_duplicate = done.index.map(|index| index.duplicate),
        index_rejected = done.index.map(|index| index.rejected),
        index_excluded = done.index.map(|index| index.excluded),
        index_pending = done.index.map(|index| index.pending),
        bytes = done.bytes,
        seconds = done.seconds,
        freshness = done.freshness,
        "batch"
    );
}

/// Lines for standard output of a Lambda function: one for the batch, one for each source.
pub fn embedded(done: &Done, function: &str, now_ms: i64) -> Vec<String> {
    let line = |dimensions: Value, metrics: Vec<Value>, mut values: Map<String, Value>| {
        values.insert("FunctionName".into(), function.into());
        let metrics = json!([{
            "Namespace": "Trailhound",
            "Dimensions": dimensions,
            "Metrics": metrics,
        }]);
        values.insert("_aws".into(), json!({ "Timestamp": now_ms, "CloudWatchMetrics": metrics }));
        Value::Object(values).to_string()
    };
    let metric = |name: &str, unit: &str| json!({ "Name": name, "Unit": unit });
    let mut metrics = vec![metric("Duration", "Seconds")];
    let mut values = Map::new();
    values.insert("Duration".into(), done.seconds.into());
    if let Some(freshness) = done.freshness {
        metrics.push(metric("Freshness", "Seconds"));
        values.insert("Freshness".into(), freshness.into());
    }
    for (name, _, unit, value) in counters(done) {
        metrics.push(metric(name, unit));
        values.insert(name.into(), value.into());
    }
    let mut lines = vec![line(json!([["FunctionName"]]), metrics, values)];
    for (source, records) in &done.by_source {
        let mut values = Map::new();
        values.insert("Source".into(), (*source).into());
        values.insert("RecordsIn".into(), (*records).into());
        let metrics = vec![metric("RecordsIn", "Count")];
        lines.push(line(json!([["FunctionName", "Source"]]), metrics, values));
    }
    lines
}

/// Totals since the start.
#[derive(Debug, Default)]
pub struct Totals {
    counters: BTreeMap<&'static str, u64>,
    by_source: BTreeMap<&'static str, u64>,
    batches: u64,
    seconds: f64,
    freshness: f64,
}

impl Totals {
    /// Adds a batch.
    pub fn add(&mut self, done: &Done) {
        for (_, name, _, value) in counters(done) {
            *self.counters.entry(name).or_default() += value;
        }
        for (source, records) in &done.by_source {
            *self.by_source.entry(source).or_default() += records;
        }
        self.batches += 1;
        self.seconds += done.seconds;
        self.freshness = done.freshness.unwrap_or(self.freshness);
    }

    /// In the text format of Prometheus.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing into a String cannot fail.
        for (name, value) in &self.counters {
            let _ = writeln!(out, "# TYPE trailhound_{name} counter\ntrailhound_{name} {value}");
        }
        let _ = writeln!(out, "# TYPE trailhound_source_records_in_total counter");
        for (source, value) in &self.by_source {
            let _ =
                writeln!(out, "trailhound_source_records_in_total{{source=\"{source}\"}} {value}");
        }
        for (name, kind, value) in [
            ("batches_total", "counter", self.batches as f64),
            ("batch_seconds_total", "counter", self.seconds),
            ("freshness_seconds", "gauge", self.freshness),
        ] {
            let _ = writeln!(out, "# TYPE trailhound_{name} {kind}\ntrailhound_{name} {value}");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done() -> Done {
        Done {
            messages: 3,
            failed: vec![("m1".into(), crate::intake::Failure::Permanent, "x".into())],
            objects: [("loaded", 2), ("failed", 1)].into(),
            by_source: [("cloudtrail", 7)].into(),
            seconds: 1.5,
            freshness: Some(4.0),
            ..Done::default()
        }
    }

    #[test]
    fn embedded_metrics_name_only_values_that_are_there() {
        for line in embedded(&done(), "loader", 1_700_000_000_000) {
            let value: Value = serde_json::from_str(&line).unwrap();
            for directive in value["_aws"]["CloudWatchMetrics"].as_array().unwrap() {
                let metrics = directive["Metrics"].as_array().unwrap();
                assert!(metrics.len() <= 100);
                for metric in metrics {
                    assert!(value[metric["Name"].as_str().unwrap()].is_number(), "{metric}");
                }
                for dimension in directive["Dimensions"][0].as_array().unwrap() {
                    assert!(value[dimension.as_str().unwrap()].is_string(), "{dimension}");
                }
            }
        }
    }

    #[test]
    fn totals_grow_with_every_batch() {
        let mut totals = Totals::default();
        totals.add(&done());
        totals.add(&done());
        let text = totals.text();
        for line in [
            "trailhound_objects_loaded_total 4",
            "trailhound_failed_permanent_total 2",
            "trailhound_source_records_in_total{source=\"cloudtrail\"} 14",
            "trailhound_batches_total 2",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} in\n{text}");
        }
    }
}
