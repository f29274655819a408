//! What an intruder has left, as far as the logs tell.
//!
//! # Input
//! Calls of a story that succeeded; later calls of anybody that undo such things.
//! # Maps to
//! [`Standing`] things, with when they were made and by which call.
//! # Known gaps
//! From logs: verify live. A thing that is undone in another way than the table knows is still listed,
//! as is a rule of a security group that is revoked by its id.
//! # Reference
//! `changes.rs` is the table.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use super::{
    changes::{CHANGES, Change, WHOLE},
    document::{Call, text},
    follow::is_public,
    issued::{issued, started},
    story::{Story, time_text},
};

/// Something that may still be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// What it is, such as `access key`.
    pub what: String,
    /// Which one.
    pub which: String,
    /// The account.
    pub account: String,
    /// The region.
    pub region: String,
    /// When it was made or changed, as text.
    pub since: String,
    /// Until when it is valid, if it ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// When it was last used in this story.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used: Option<String>,
    /// The call.
    pub uid: String,
    /// What undoes it.
    pub undo: String,
}

/// Operations that undo something.
pub fn undoing() -> BTreeSet<String> {
    let all = CHANGES.iter().flat_map(|change| change.undone_by).chain(&WHOLE);
    all.copied().chain(["UpdateAccessKey"]).map(str::to_owned).collect()
}

/// One thing that a call has left.
struct Thing {
    /// Its name, for people.
    name: String,
    /// What the request of a call that undoes it says, all of it.
    said: Vec<String>,
}

/// What is left of the changes of a story, as far as data go: `known_until`. `later` are calls of
/// [`undoing`] operations.
pub fn standing(story: &Story, mut later: Vec<Call>, known_until: i64) -> Vec<Standing> {
    later.sort_by_key(|call| call.time);
    let mut all: Vec<Standing> = Vec::new();
    for included in story.calls.values().filter(|one| one.call.error().is_none()) {
        let call = &included.call;
        let change = CHANGES.iter().find(|change| change.operations.contains(&call.operation()));
        if let Some(change) = change {
            for thing in things(change, call) {
                if !is_undone(change, call, &thing, &later) {
                    all.push(of_change(story, change, call, thing));
                }
            }
        } else {
            // Both accounts log who assumes a role across them; of sign-ins the last one counts.
            let session = session(story, call).or_else(|| console_session(call));
            if let Some((until, session)) = session {
                all.retain(|one| (&one.what, &one.which) != (&session.what, &session.which));
                all.extend((until >= known_until).then_some(session));
            }
        }
    }
    all
}

fn of_change(story: &Story, change: &Change, call: &Call, thing: Thing) -> Standing {
    let key = (change.what == "access key").then_some(thing.name.as_str());
    Standing {
        what: change.what.to_owned(),
        last_used: key.and_then(|key| last_used(story, key)),
        which: thing.name,
        account: call.account().to_owned(),
        region: call.region().to_owned(),
        since: time_text(call.time),
        until: None,
        uid: call.uid.clone(),
        undo: change.undo.to_owned(),
    }
}

/// A session that may still be valid.
fn session(story: &Story, call: &Call) -> Option<(i64, Standing)> {
    let key = issued(call)?.key?;
    let seconds = super::document::at(&call.request, "durationSeconds")
        .and_then(Value::as_i64)
        .unwrap_or(if call.operation().starts_with("AssumeRole") { 3600 } else { 43_200 });
    let until = call.time + seconds * 1000;
    let session = Standing {
        what: "session".to_owned(),
        which: key.clone(),
        account: call.account().to_owned(),
        region: call.region().to_owned(),
        since: time_text(call.time),
        until: Some(time_text(until)),
        last_used: last_used(story, &key),
        uid: call.uid.clone(),
        undo: "revoke the sessions of its role".to_owned(),
    };
    Some((until, session))
}

/// Hours after which everybody has to sign in to the console again.
const CONSOLE_HOURS: i64 = 12;

/// A session of the console, which has no key in the logs.
fn console_session(call: &Call) -> Option<(i64, Standing)> {
    if call.operation() != "ConsoleLogin" {
        return None;
    }
    let until = call.time + CONSOLE_HOURS * 3_600_000;
    let session = Standing {
        what: "console session".to_owned(),
        which: call.who().to_owned(),
        account: call.account().to_owned(),
        region: call.region().to_owned(),
        since: time_text(call.time),
        until: Some(time_text(until)),
        last_used: None,
        uid: call.uid.clone(),
        undo: "deny what older sessions do (aws:TokenIssueTime)".to_owned(),
    };
    Some((until, session))
}

fn last_used(story: &Story, key: &str) -> Option<String> {
    let used = story.calls.values().rev().find(|one| one.call.key() == Some(key))?;
    Some(time_text(used.call.time))
}

/// The things that a call is about.
fn things(change: &Change, call: &Call) -> Vec<Thing> {
    if !(change.is_it)(call) {
        return Vec::new();
    }
    if call.operation() == "RunInstances" {
        let one = |id: String| Thing { name: id.clone(), said: vec![id] };
        return started(call).into_iter().map(one).collect();
    }
    if let Some(rules) = rules(call) {
        return rules;
    }
    let value = |path: &&str| {
        let found = text(&call.response, path).or_else(|| text(&call.request, path));
        found.map(str::to_owned)
    };
    let mut said: Vec<String> = change.names.iter().filter_map(value).collect();
    said.dedup();
    let name = if said.is_empty() { call.resource() } else { said.join(" ") };
    vec![Thing { name, said }]
}

/// The rules of a security group that let others in or out; None if this is about no rules.
fn rules(call: &Call) -> Option<Vec<Thing>> {
    let group = call.asked("groupId").filter(|_| call.operation().contains("SecurityGroup"))?;
    let items = call.request.pointer("/ipPermissions/items").and_then(Value::as_array);
    // The older form has one rule beside the group.
    let all = items.map_or_else(|| vec![&call.request], |items| items.iter().collect());
    let mut things = Vec::new();
    let mut is_any = false;
    for rule in all {
        let port = rule.get("fromPort").and_then(Value::as_i64);
        let of = |place: &str, name: &'static str| {
            let list = rule.pointer(place).and_then(Value::as_array);
            list.into_iter().flatten().filter_map(move |one| text(one, name))
        };
        let ranges = of("/ipRanges/items", "cidrIp")
            .chain(of("/ipv6Ranges/items", "cidrIpv6"))
            .chain(text(rule, "cidrIp"));
        is_any |= rule.get("groups").is_some() || rule.get("ipRanges").is_some();
        for range in ranges {
            is_any = true;
            if !is_public(range.split('/').next().unwrap_or_default()) {
                continue;
            }
            let (name, port) = match port {
                Some(port) => {
                    (format!("{group} {range} port {port}"), Some(format!("\"fromPort\":{port}")))
                }
                None => (format!("{group} {range}"), None),
            };
            let said = [group.to_owned(), range.to_owned()].into_iter().chain(port).collect();
            things.push(Thing { name, said });
        }
    }
    is_any.then_some(things)
}

fn is_undone(change: &Change, call: &Call, thing: &Thing, later: &[Call]) -> bool {
    let mut is_undone = false;
    let same = |other: &&Call| {
        other.time >= call.time && other.account() == call.account() && other.error().is_none()
    };
    for other in later.iter().filter(same) {
        let request = other.request.to_string();
        let is_about = || thing.said.iter().all(|name| request.contains(name.as_str()));
        let is_whole = WHOLE.contains(&other.operation())
            && thing.said.first().is_some_and(|name| request.contains(name.as_str()));
        if is_whole || (change.undone_by.contains(&other.operation()) && is_about()) {
            is_undone = true;
        } else if change.what == "access key"
            && other.operation() == "UpdateAccessKey"
            && is_about()
        {
            is_undone = other.asked("status") == Some("Inactive");
        }
    }
    is_undone
}
