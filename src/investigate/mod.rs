//! After a finding: who did what, when, from where, with whose credentials, what else was touched.
//!
//! ```text
//! subject.rs: what is asked about -> start.rs, follow.rs: what belongs together
//!     (story.rs), by lookup.rs (lake.rs or cluster.rs), issued.rs and baseline.rs
//!     -> standing.rs (changes.rs), radius.rs, stages.rs, gaps.rs -> report.rs: JSON -> text.rs, html.rs
//! ```
//!
//! # Input
//! A subject, and a lake or an index.
//! # Maps to
//! A [`Report`], the same for the same events.
//! # Known gaps
//! None.
//! # Reference
//! Design section 1.

use std::{collections::BTreeSet, sync::Arc};

use parsers::{Filter, Limits, ObjectKey, Rows, time::DAY_MS};
use serde_json::Value;

mod baseline;
mod changes;
pub mod cluster;
mod document;
mod follow;
mod gaps;
mod html;
mod issued;
pub mod lake;
pub mod lookup;
mod radius;
pub mod raw;
mod report;
mod stages;
mod standing;
mod start;
mod story;
mod subject;
mod text;

pub use document::{Call, Finding};
pub use report::Report;
pub use story::time_text;
pub use subject::Subject;

use crate::{cluster::ClusterError, ledger::LedgerError, query::QueryError, store::Folder};
use document::Named;
use follow::Builder;
use lookup::{Calls, Coverage, Flows, Lookup, Range};
use report::Material;
use story::{Kind, Role};

/// An investigation cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum InvestigateError {
    /// The lake cannot be asked.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The index cannot be asked.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// What was loaded is not known.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// There is nothing of the subject.
    #[error("{0}")]
    Unknown(String),
}

/// The newest export of each finding, newest first.
pub async fn findings<L: Lookup>(lookup: &L, range: Range) -> Result<Vec<Finding>, L::Error> {
    let builder = Builder::new(lookup, range, None).await?;
    let mut seen = BTreeSet::new();
    let newest = builder.findings().iter().rev();
    Ok(newest.filter(|finding| seen.insert(finding.uid.clone())).cloned().collect())
}

/// Who knows what should be there.
#[derive(Clone)]
pub enum Known<'k> {
    /// The ledger in this folder.
    Ledger(&'k Folder),
    /// Nobody. This is what can be said of it.
    Nobody(Vec<String>),
}

/// Investigates. `pasted` is a finding that may not have been loaded yet.
pub async fn investigate<L: Lookup>(
    lookup: &L,
    known: Known<'_>,
    subject: &Subject,
    range: Range,
    pasted: Option<Finding>,
) -> Result<Report, InvestigateError>
where
    InvestigateError: From<L::Error>,
{
    let builder = Builder::new(lookup, range, pasted).await?;
    let (story, findings) = builder.follow(subject).await?;
    let coverage = lookup.coverage().await?;
    let later = match story.window() {
        Some((since, _)) if !story.calls.is_empty() => {
            let wanted = Calls {
                operations: standing::undoing(),
                accounts: story.accounts(),
                ..Calls::default()
            };
            let range = Range { since, until: MAX_TIME };
            lookup.calls(&wanted, range).await?.into_iter().filter_map(Call::new).collect()
        }
        _ => Vec::new(),
    };
    let mut addresses = story.of(Kind::Address, Role::Suspicious);
    addresses.extend(match subject {
        Subject::Address(address) => Some(address.clone()),
        _ => None,
    });
    let mut flows = lookup.flows(&addresses, range).await?;
    let interfaces = story.of(Kind::Interface, Role::Named);
    let instances = story.of(Kind::Instance, Role::Named);
    // Without a story all ends are new.
    let (begin, end) = story.window().unwrap_or((0, MAX_TIME));
    let near = Range {
        since: range.since.max(begin - KNOWN_DAYS * DAY_MS),
        until: range.until.min(end.saturating_add(DAY_MS)),
    };
    let met = |one: &Flows| addresses.contains(&one.src_ip) || addresses.contains(&one.dst_ip);
    let accounts = story.accounts();
    let new = lookup.new_flows(&interfaces, &instances, &accounts, begin, near).await?;
    flows.extend(new.into_iter().filter(|one| !met(one)));
    let is_shared = story.entities.values().any(|entity| entity.role == Role::Shared);
    if story.window().is_none() && flows.is_empty() && !is_shared {
        let what = unknown(subject, range, &findings, &coverage);
        return Err(InvestigateError::Unknown(what));
    }
    let known_until = coverage.iter().map(|one| one.last).max().unwrap_or(MAX_TIME);
    let mut gaps = match known {
        Known::Ledger(state) => gaps::of_ledger(&story, state).await?,
        Known::Nobody(said) => said.iter().map(|what| gaps::silent(what)).collect(),
    };
    gaps.extend(gaps::of_logs(&story, &coverage));
    Ok(Report::new(Material {
        subject: subject.clone(),
        standing: standing::standing(&story, later, known_until),
        story,
        flows,
        coverage,
        gaps,
        queries: lookup.asked(),
    }))
}

/// The classes of calls.
const CALLS: [&str; 3] = ["api_activity", "account_change", "authentication"];

/// Flows to new ends that are shown.
const MAX_NEW_FLOWS: usize = 50;

/// Ports of flows that are shown.
const MAX_PORTS: usize = 8;

/// Days before a story in which ends must have met to be no news.
const KNOWN_DAYS: i64 = 14;

/// The last time that a row can have: the year 9999.
pub const MAX_TIME: i64 = 253_402_300_799_999;

/// What was looked for, and what is nearest.
fn unknown(subject: &Subject, range: Range, findings: &[Finding], coverage: &[Coverage]) -> String {
    let (what, value) = (subject.what(), subject.value());
    let first = coverage.iter().map(|one| one.first).min().unwrap_or(0).max(range.since);
    let last = coverage.iter().map(|one| one.last).max().unwrap_or(0).min(range.until);
    let mut text = if first <= last {
        let (since, until) = (time_text(first), time_text(last));
        format!("{what} {value} is in no call, no finding and no flow from {since} until {until}")
    } else {
        format!("{what} {value} was not looked for: there are no events of that time")
    };
    let distance = |one: &str| strsim::levenshtein(one, value);
    let known = findings.iter().flat_map(|finding| {
        let Named { keys, names, addresses, instances, interfaces, resources } = finding.named();
        let all = [keys, names, addresses, instances, interfaces, resources].into_iter().flatten();
        all.chain([finding.id().to_owned()])
    });
    let mut names: Vec<String> = known.collect::<BTreeSet<_>>().into_iter().collect();
    names.sort_by_key(|name| (distance(name), name.clone()));
    let is_near = |name: &&String| (1..=value.len().div_ceil(5)).contains(&distance(name));
    if let Some(nearest) = names.first().filter(is_near) {
        text = format!("{text}; did you mean {nearest}?");
    }
    if matches!(subject, Subject::Finding(_)) {
        text = format!("{text}; --list-findings shows which there are");
    }
    text
}

/// A finding as GuardDuty exports it, as EventBridge, the API and the console show it, or as an OCSF
/// event; None if it is none of these.
pub fn pasted(text: &[u8]) -> Option<Finding> {
    let mut value: Value = serde_json::from_slice(text).ok()?;
    if value.get("class_uid").is_some() {
        return Finding::new(value);
    }
    if let Some(first) = value.get("Findings").and_then(|all| all.get(0)) {
        value = first.clone();
    }
    let line = serde_json::to_vec(&lower_first(value)).ok()?;
    let source = parsers::source("guardduty")?;
    let mut decoder = (source.decoder)(&ObjectKey::new("").into());
    let bytes = line.len();
    let limits = Limits { rows: 2, input_bytes: bytes + 1, document_bytes: bytes + 1 };
    let mut rows = Rows::new(limits, Arc::from([Filter::default()])).with_json();
    rows.begin_object(0);
    decoder.decode(&line, true, &mut rows).ok()?;
    Finding::new(serde_json::from_slice(&rows.take_json()).ok()?)
}

/// The API writes the names of members with a capital.
fn lower_first(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let lower = |(name, value): (String, Value)| {
                let mut chars = name.chars();
                let first = chars.next().map(|first| first.to_ascii_lowercase());
                (first.into_iter().chain(chars).collect(), lower_first(value))
            };
            Value::Object(members.into_iter().map(lower).collect())
        }
        Value::Array(all) => Value::Array(all.into_iter().map(lower_first).collect()),
        other => other,
    }
}
