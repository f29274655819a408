//! What belongs together: calls, findings, and what they have to do with each other.
//!
//! # Input
//! What `follow.rs` finds.
//! # Maps to
//! A [`Story`]: entities, links, the calls that belong to it with the reason for each, findings.
//! # Known gaps
//! None.
//! # Reference
//! Issue "Ask the lake".

use std::collections::{BTreeMap, BTreeSet};

use super::{
    baseline::Judged,
    document::{Call, Finding},
};

/// What kind of thing it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An access key.
    AccessKey,
    /// A user, a role, or a session.
    Principal,
    /// A person for whom sessions act.
    Identity,
    /// An address.
    Address,
    /// An instance.
    Instance,
    /// An interface.
    Interface,
    /// Anything else with an ARN.
    Resource,
    /// A GuardDuty finding.
    Finding,
}

/// How sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Strength {
    /// Unlike what came before; no finding names it.
    Weak,
    /// Led there by one step that others could have made too.
    Medium,
    /// Named by the subject or a finding, or given out by a call of the story.
    Strong,
}

/// Something of the story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    /// What belongs of its calls.
    pub role: Role,
    /// Why it is here.
    pub why: String,
    /// How sure that is.
    pub strength: Strength,
}

/// What belongs to the story of what an entity did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It is only named.
    Named,
    /// Many use it: it is not followed.
    Shared,
    /// What is unlike its ordinary use.
    Own,
    /// All it did.
    Suspicious,
}

/// Something led to something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Link {
    /// Of what.
    pub from: String,
    /// To what.
    pub to: String,
    /// `named_by`, `used_from`, `gave_out`, `acts_as`, `acts_for`, `runs_on`, `started`, `same_call`.
    pub kind: &'static str,
    /// `metadata.uid` of the event that shows it.
    pub evidence: String,
}

/// A call that belongs.
#[derive(Clone, Debug)]
pub struct Included {
    /// The call.
    pub call: Call,
    /// Why.
    pub why: String,
    /// How sure that is.
    pub strength: Strength,
}

/// All that belongs together.
#[derive(Debug, Default)]
pub struct Story {
    /// By kind and value.
    pub entities: BTreeMap<(Kind, String), Entity>,
    /// What led to what.
    pub links: BTreeSet<Link>,
    /// Calls, by time and uid.
    pub calls: BTreeMap<(i64, String), Included>,
    /// The newest export of each finding, by uid.
    pub findings: BTreeMap<String, Finding>,
    /// How often each finding was exported.
    pub exports: BTreeMap<String, u64>,
    /// Ordinary use of keys of the story.
    pub usual: Vec<Judged>,
    /// Time of the first call that is known of its keys: the baseline begins there.
    pub baseline: Option<i64>,
}

impl Story {
    /// Accounts of calls and findings.
    pub fn accounts(&self) -> BTreeSet<String> {
        let calls = self.calls.values().map(|one| one.call.account().to_owned());
        let findings = self.findings.values().map(|one| one.account().to_owned());
        calls.chain(findings).filter(|account| !account.is_empty()).collect()
    }

    /// Values of a kind, at least in this role.
    pub fn of(&self, kind: Kind, role: Role) -> BTreeSet<String> {
        let all =
            self.entities.iter().filter(|((of, _), entity)| *of == kind && entity.role >= role);
        all.map(|((_, value), _)| value.clone()).collect()
    }

    /// From the first to the last of it; None if there is nothing.
    pub fn window(&self) -> Option<(i64, i64)> {
        let calls = self.calls.keys().map(|(time, _)| (*time, *time));
        calls
            .chain(self.findings.values().map(Finding::window))
            .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// Adds an entity, or raises what is known of it; true if that is new.
    pub(super) fn add(
        &mut self,
        kind: Kind,
        value: &str,
        role: Role,
        strength: Strength,
        why: String,
    ) -> bool {
        if value.is_empty() {
            return false;
        }
        let key = (kind, value.to_owned());
        match self.entities.get_mut(&key) {
            Some(known) if known.role == Role::Shared || known.role >= role => false,
            Some(known) => {
                known.role = role;
                if known.strength < strength {
                    (known.strength, known.why) = (strength, why);
                }
                true
            }
            None => {
                self.entities.insert(key, Entity { role, why, strength });
                true
            }
        }
    }

    pub(super) fn link(&mut self, from: &str, to: &str, kind: &'static str, evidence: &str) {
        if from != to && !from.is_empty() && !to.is_empty() {
            let (from, to) = (from.to_owned(), to.to_owned());
            self.links.insert(Link { from, to, kind, evidence: evidence.to_owned() });
        }
    }
}

/// A time as text.
pub fn time_text(ms: i64) -> String {
    String::from_utf8_lossy(&parsers::time::datetime(ms)).into_owned()
}
