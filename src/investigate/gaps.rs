//! What a story may lack: data that should be there, and what logs do not show.
//!
//! # Input
//! The ledger around a story; what there is of each class.
//! # Maps to
//! [`Gap`]s.
//! # Known gaps
//! An object that nobody delivered, in an hour that is often quiet, is not missed.
//! # Reference
//! `audit/gaps.rs` says which hours are missing.

use std::collections::{BTreeMap, BTreeSet};

use parsers::{ObjectKey, time::DAY_MS};

use super::{
    CALLS, KNOWN_DAYS, MAX_NEW_FLOWS,
    follow::MOST_CALLS,
    lookup::Coverage,
    report::Gap,
    story::{Kind, Role, Story},
};
use crate::{
    audit::{STEADY, gaps::Hours},
    ledger::{Entry, Ledger, LedgerError, State},
    store::Folder,
};

/// Days that an object may be delivered late.
const LATE_DAYS: i64 = 1;
/// Events of an object are at most so much younger than the stamp in its name: flow logs name the
/// beginning of their window.
const DELIVERY_MS: i64 = 3_600_000;

/// What the ledger knows of the accounts and days of a story.
pub async fn of_ledger(story: &Story, state: &Folder) -> Result<Vec<Gap>, LedgerError> {
    let Some((first, last)) = story.window() else { return Ok(Vec::new()) };
    let accounts = story.accounts();
    let ledger = Ledger::new(state.clone());
    let day = |ms: i64| parsers::time::compact_day(ms.div_euclid(DAY_MS) as i32);
    let (from, until) = (day(first - LATE_DAYS * DAY_MS), day(last + LATE_DAYS * DAY_MS));
    let mut hours = Hours::default();
    let mut newest: BTreeMap<String, Entry> = BTreeMap::new();
    for day in ledger.all_days().await? {
        if !(from <= day && day <= until) && day != "unknown" {
            continue;
        }
        for entry in ledger.day(&day, None).await?.into_iter().flatten() {
            let key = ObjectKey::new(entry.key.clone());
            if key.account().is_some_and(|account| !accounts.contains(account)) {
                continue;
            }
            let source = STEADY.iter().find(|name| entry.source.as_deref() == Some(**name));
            if let (Some(source), Some(account), Some(region), Some(stamp)) =
                (source, key.account(), key.region(), key.stamp())
            {
                hours.arrived(source, account, region, stamp);
            }
            let place = entry.object().location();
            let is_better = newest.get(&place).is_none_or(|known| rank(known) <= rank(&entry));
            if is_better {
                newest.insert(place, entry);
            }
        }
    }
    let mut gaps = BTreeSet::new();
    // What was delivered before the story began holds nothing of it.
    let is_late = |entry: &&Entry| {
        let stamp = ObjectKey::new(entry.key.clone()).stamp();
        stamp.is_none_or(|stamp| stamp + DELIVERY_MS >= first)
    };
    for (place, entry) in newest.iter().filter(|(_, entry)| is_late(entry)) {
        if entry.state == State::Failed {
            let why = entry.error.as_ref().map_or("", |error| error.what.as_str());
            gaps.insert(touching(format!("{place} could not be loaded: {why}")));
        } else if entry.records.rejected > 0 {
            let count = entry.records.rejected;
            gaps.insert(touching(format!("{place}: {count} records are in the rejects")));
        }
    }
    for gap in hours.gaps(first - DAY_MS, last) {
        let (stream, from, until) = (&gap.stream, &gap.from, &gap.until);
        gaps.insert(touching(format!(
            "no {} of account {} in {} arrived from {from} until {until}",
            stream.source, stream.account, stream.region
        )));
    }
    Ok(gaps.into_iter().collect())
}

/// A loaded object is better known than one that failed, whole better than with rejects.
fn rank(entry: &Entry) -> (bool, bool, &str) {
    (entry.state == State::Loaded, entry.records.rejected == 0, &entry.batch)
}

/// What logs do not show, as far as it matters here.
pub fn of_logs(story: &Story, coverage: &[Coverage]) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let has = |class: &str| coverage.iter().any(|one| one.class == class && one.count > 0);
    if story.calls.len() > MOST_CALLS {
        gaps.push(silent(&format!(
            "it has more than {MOST_CALLS} calls: it was not followed further"
        )));
    }
    if !CALLS.iter().any(|class| has(class)) {
        gaps.push(silent("there are no CloudTrail events: calls are not seen"));
    }
    if !has("network_activity") {
        gaps.push(silent("there are no flow logs: connections are not seen"));
    } else if story.of(Kind::Address, Role::Shared).is_empty()
        && story.of(Kind::Address, Role::Suspicious).is_empty()
    {
        gaps.push(silent(&format!(
            "no address outside is known: of flows only those with ends that the interfaces had not met \
             in the {KNOWN_DAYS} days before are shown, the {MAX_NEW_FLOWS} largest"
        )));
    }
    let has_data = story.calls.values().any(|one| one.call.is_data());
    if !has_data && !story.calls.is_empty() {
        gaps.push(silent(
            "no data events are among the calls: reads of objects, items and secrets' contents may \
             not be logged",
        ));
    }
    for included in story.calls.values() {
        let call = &included.call;
        let stops = ["StopLogging", "DeleteTrail", "PutEventSelectors", "UpdateTrail"];
        if stops.contains(&call.operation()) && call.error().is_none() {
            gaps.push(silent(&format!(
                "{} by {} at {}: calls in account {} may be unlogged after it",
                call.operation(),
                call.who(),
                super::story::time_text(call.time),
                call.account()
            )));
        }
    }
    gaps.push(silent("findings that are archived or suppressed in GuardDuty are not exported"));
    gaps
}

/// What should be there.
pub fn touching(what: String) -> Gap {
    Gap { touches_story: true, what }
}

/// What was never to be there, or nobody can tell.
pub fn silent(what: &str) -> Gap {
    Gap { touches_story: false, what: what.to_owned() }
}
