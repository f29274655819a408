//! Deletes indexes whose last event is old.
//!
//! # Input
//! A cluster, an age.
//! # Maps to
//! The end of the day or month in an index's name decides: an event of last year that was loaded
//! today goes when it is due, which no lifecycle policy can do. Names that are not exactly ours are
//! never touched.
//! # Known gaps
//! Whole indexes: events of a month go together, when the last of them is old enough.
//! # Reference
//! Deleting an index frees its disk space at once; deleting documents does not.

use opensearch::http::Method;
use parsers::{index::PREFIX, ocsf::Class, time};
use serde::Serialize;
use serde_json::Value;

use super::{names, report::line};
use crate::cluster::{Cluster, ClusterError};

/// Of names that are not ours so many are told.
const MAX_TOLD: usize = 10;

/// What is to go.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Events that are older, in days.
    pub older_than_days: u32,
    /// Of these classes only; of all if there are none.
    pub classes: Vec<&'static Class>,
    /// Delete them, not only tell.
    pub delete: bool,
}

/// An index that is due.
#[derive(Clone, Debug, Serialize)]
pub struct Expired {
    /// Its name.
    pub index: String,
    /// Its documents; unknown of a closed index.
    pub documents: Option<u64>,
    /// On disk, with replicas; unknown of a closed index.
    pub bytes: Option<u64>,
    /// It is gone.
    pub deleted: bool,
}

/// What is due, and what became of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The cluster.
    pub cluster: String,
    /// Nothing was deleted.
    pub dry_run: bool,
    /// Events before this day are old: `YYYY-MM-DD`.
    pub before: String,
    /// The indexes that hold only such events, the oldest first.
    pub expired: Vec<Expired>,
    /// Indexes that are not old enough, or of other classes.
    pub kept: u64,
    /// Names that begin as ours do, but are not ours.
    pub foreign: Vec<String>,
    /// What could not be deleted, and why.
    pub failed: Vec<String>,
}

/// Deletes what is old, or tells it. `now` is in milliseconds since 1970.
pub async fn expire(
    cluster: &Cluster,
    settings: &Settings,
    now: i64,
) -> Result<Report, ClusterError> {
    let before = now - i64::from(settings.older_than_days) * time::DAY_MS;
    let mut report = Report {
        cluster: cluster.url().to_owned(),
        dry_run: !settings.delete,
        before: String::from_utf8_lossy(&time::datetime(before)[..10]).into_owned(),
        expired: Vec::new(),
        kept: 0,
        foreign: Vec::new(),
        failed: Vec::new(),
    };
    let mut due = Vec::new();
    for (index, documents, bytes) in indexes(cluster).await? {
        let Some(name) = names::parse(&index) else {
            report.foreign.push(index);
            continue;
        };
        let of_class = settings.classes.is_empty()
            || settings.classes.iter().any(|class| class.uid == name.class.uid);
        if of_class && name.end <= before {
            due.push((name.end, Expired { index, documents, bytes, deleted: false }));
        } else {
            report.kept += 1;
        }
    }
    due.sort_by(|(end, one), (other_end, other)| (end, &one.index).cmp(&(other_end, &other.index)));
    for (_, mut expired) in due {
        if settings.delete {
            let reply = cluster.call(Method::Delete, &format!("/{}", expired.index), None).await?;
            match reply.status {
                // Somebody else, or a policy, may have been faster.
                200..=299 | 404 => expired.deleted = true,
                _ => {
                    let error = cluster.error(&format!("delete {}", expired.index), &reply);
                    report.failed.push(error.to_string());
                }
            }
        }
        report.expired.push(expired);
    }
    Ok(report)
}

/// Every index that begins as ours do.
async fn indexes(
    cluster: &Cluster,
) -> Result<Vec<(String, Option<u64>, Option<u64>)>, ClusterError> {
    // A collection lists all of its indexes, or none.
    let of = if cluster.is_serverless() { String::new() } else { format!("/{PREFIX}-*") };
    let path = format!(
        "/_cat/indices{of}?format=json&bytes=b&h=index,docs.count,store.size\
         &expand_wildcards=open,closed"
    );
    let reply = cluster.call(Method::Get, &path, None).await?;
    if reply.status != 200 {
        return Err(cluster.error("list its indexes", &reply));
    }
    let Value::Array(rows) = reply.json() else {
        return Err(cluster.error("list its indexes as JSON", &reply));
    };
    let number = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
    let row = |row: &Value| {
        let index = row["index"].as_str().filter(|index| index.starts_with(PREFIX))?;
        Some((index.to_owned(), number(&row["docs.count"]), number(&row["store.size"])))
    };
    Ok(rows.iter().filter_map(row).collect())
}

impl Report {
    /// 0, or 2 if something could not be deleted.
    pub fn exit_code(&self) -> u8 {
        if self.failed.is_empty() { 0 } else { 2 }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for expired in &self.expired {
            let documents =
                expired.documents.map_or("closed".into(), |count| format!("{count} documents"));
            let megabytes = expired.bytes.unwrap_or_default() as f64 / 1e6;
            line(&mut out, format_args!("{}  {documents}, {megabytes:.1} MB", expired.index));
        }
        for name in self.foreign.iter().take(MAX_TOLD) {
            line(&mut out, format_args!("not ours, left alone: {name}"));
        }
        if let more @ 1.. = self.foreign.len().saturating_sub(MAX_TOLD) {
            line(&mut out, format_args!("not ours, left alone: and {more} more"));
        }
        out += &self.problems();
        let gone = self.expired.iter().filter(|expired| self.dry_run || expired.deleted);
        let (indexes, documents, bytes) =
            gone.fold((0, 0, 0), |(indexes, documents, bytes), one| {
                let more = (one.documents.unwrap_or_default(), one.bytes.unwrap_or_default());
                (indexes + 1, documents + more.0, bytes + more.1)
            });
        let megabytes = bytes as f64 / 1e6;
        let what = format!("{indexes} indexes with {documents} documents, {megabytes:.1} MB");
        let before = &self.before;
        let verdict = match (self.dry_run, indexes) {
            (_, 0) => format!("nothing deleted: no index ends before {before}"),
            (true, _) => format!("dry run: {what}, all of it before {before}; --yes deletes them"),
            (false, _) => format!("deleted {what}, all of it before {before}"),
        };
        line(&mut out, format_args!("{verdict}"));
        out
    }

    /// What could not be deleted.
    pub fn problems(&self) -> String {
        let mut out = String::new();
        for what in &self.failed {
            line(&mut out, format_args!("failed: {what}"));
        }
        out
    }
}
