//! Finds what belongs together: from a subject to calls, from calls to credentials, and back.
//!
//! # Input
//! A subject, and look-ups.
//! # Maps to
//! A [`Story`].
//! # Known gaps
//! Who uses a key from its own instance, with its own program, is counted as usual.
//! # Reference
//! Issue "Ask the lake": an entity is followed by evidence, and what many share is not followed.
//!
//! How it goes: findings that share a key, an instance or an address within an account and a day are
//! one story. Addresses and keys that a finding names, and whatever those gave out, are suspicious. Of
//! a key that is somebody's own, and of a person for whom sessions act, only calls from suspicious
//! addresses belong to the story, or calls that are unlike all that came before.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    baseline::{Judged, split},
    document::{Call, Finding},
    issued::{Issued, instance_of, issued, started},
    lookup::{Calls, Lookup, Range, Sender, Use},
    story::{Included, Kind, Role, Story, Strength, time_text},
    subject::Subject,
};

/// Principals that may use one address before it is a gateway.
pub(super) const SHARED_PRINCIPALS: u64 = 4;
/// Addresses that may call under the name of one session before it is a name that many use.
const SHARED_ADDRESSES: usize = 4;
/// Interfaces that may refuse one address before it is a scanner.
const SHARED_INTERFACES: u64 = 3;
/// A call and what it leads to, or what is logged of it elsewhere, are at most so far apart.
const NEAR_MS: i64 = 24 * 3_600_000;
/// With more calls a story is not followed further: nobody reads it, and it may be everybody's.
pub(super) const MOST_CALLS: usize = 20_000;
/// Rounds of following, at most.
const ROUNDS: usize = 24;

/// Builds a story.
pub struct Builder<'l, L> {
    lookup: &'l L,
    pub(super) range: Range,
    /// All exports of findings, of any account.
    pub(super) findings: Vec<Finding>,
    pub(super) story: Story,
    /// Keys and principals whose use is known.
    pub(super) asked: BTreeSet<String>,
    uses: Vec<Use>,
    /// Addresses, and how many have to do with each.
    senders: BTreeMap<String, Sender>,
}

impl<'l, L: Lookup> Builder<'l, L> {
    /// Of a range of time. `pasted` is a finding that the lake may not have yet.
    pub async fn new(
        lookup: &'l L,
        range: Range,
        pasted: Option<Finding>,
    ) -> Result<Self, L::Error> {
        let documents = lookup.findings(&BTreeSet::new(), range).await?;
        let mut findings: Vec<_> = documents.into_iter().filter_map(Finding::new).collect();
        findings.extend(pasted);
        findings.sort_by(|a, b| (a.time, &a.event_uid).cmp(&(b.time, &b.event_uid)));
        findings.dedup_by(|a, b| a.event_uid == b.event_uid);
        let (story, asked, uses) = (Story::default(), BTreeSet::new(), Vec::new());
        Ok(Self { lookup, range, findings, story, asked, uses, senders: BTreeMap::new() })
    }

    /// All exports of findings, by time.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Follows a subject.
    pub async fn follow(mut self, subject: &Subject) -> Result<(Story, Vec<Finding>), L::Error> {
        self.start(subject).await?;
        for _ in 0..ROUNDS {
            let mut is_new = self.join_findings();
            self.mark_shared().await?;
            is_new |= self.follow_findings().await?;
            is_new |= self.follow_calls().await?;
            is_new |= self.follow_back().await?;
            is_new |= self.follow_copies().await?;
            if !is_new || self.story.calls.len() > MOST_CALLS {
                break;
            }
        }
        Ok((self.story, self.findings))
    }

    pub(super) async fn calls(&self, wanted: &Calls, range: Range) -> Result<Vec<Call>, L::Error> {
        let documents = self.lookup.calls(wanted, range).await?;
        let mut calls: Vec<_> = documents.into_iter().filter_map(Call::new).collect();
        calls.sort_by(|a, b| (a.time, &a.uid).cmp(&(b.time, &b.uid)));
        Ok(calls)
    }

    /// Addresses that many use are named, and not followed.
    async fn mark_shared(&mut self) -> Result<(), L::Error> {
        let addresses = self.story.of(Kind::Address, Role::Suspicious);
        for (address, why) in self.shared(&addresses).await? {
            if let Some(entity) = self.story.entities.get_mut(&(Kind::Address, address)) {
                entity.role = Role::Shared;
                entity.why = format!("{}; {why}", entity.why);
            }
        }
        Ok(())
    }

    /// Those that many use, or that look at many: why they are not followed. Each is asked once.
    async fn shared(
        &mut self,
        addresses: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, String>, L::Error> {
        let is_new = |address: &&String| !self.senders.contains_key(*address);
        let new: BTreeSet<String> = addresses.iter().filter(is_new).cloned().collect();
        if !new.is_empty() {
            let known = self.lookup.senders(&new).await?;
            self.senders.extend(new.iter().map(|address| (address.clone(), Sender::default())));
            self.senders.extend(known);
        }
        let mut shared = BTreeMap::new();
        for address in addresses {
            let Sender { principals, refused_by } = self.senders[address];
            let why = if principals > SHARED_PRINCIPALS {
                format!("{principals} principals use it, so that it is not followed")
            } else if refused_by > SHARED_INTERFACES {
                format!("{refused_by} interfaces refused it, as a scanner; it is not followed")
            } else {
                continue;
            };
            shared.insert(address.clone(), why);
        }
        Ok(shared)
    }

    /// Calls that belong to what is known, and what follows from them.
    async fn follow_calls(&mut self) -> Result<bool, L::Error> {
        let suspicious = Calls {
            keys: self.unasked(Kind::AccessKey, Role::Suspicious, "calls of"),
            addresses: self.unasked(Kind::Address, Role::Suspicious, "calls of"),
            principals: self.unasked(Kind::Principal, Role::Suspicious, "calls of"),
            ..Calls::default()
        };
        let mut is_new = false;
        if suspicious != Calls::default() {
            let calls = self.calls(&suspicious, self.range).await?;
            self.mark_common_sessions(&calls);
            for call in calls {
                is_new |= self.judge(call);
            }
        }
        is_new |= self.follow_own().await?;
        Ok(is_new)
    }

    /// Sessions whose name many use, as of a pipeline, are named; only their keys are followed.
    fn mark_common_sessions(&mut self, calls: &[Call]) {
        let mut addresses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for call in calls {
            let session = call.arn().filter(|arn| arn.contains(":assumed-role/"));
            if let Some((session, address)) = session.zip(call.address()) {
                addresses.entry(session).or_default().insert(address);
            }
        }
        for (session, from) in addresses {
            let key = (Kind::Principal, session.to_owned());
            if let Some(entity) = self.story.entities.get_mut(&key)
                && entity.role == Role::Suspicious
                && from.len() > SHARED_ADDRESSES
            {
                entity.role = Role::Shared;
                let (why, count) = (&entity.why, from.len());
                entity.why =
                    format!("{why}; it calls from {count} addresses, so that only keys count");
            }
        }
    }

    /// What of this kind and role was not asked in this way.
    fn unasked(&mut self, kind: Kind, role: Role, question: &str) -> BTreeSet<String> {
        let mut values = self.story.of(kind, role);
        values.retain(|value| self.asked.insert(format!("{question} {value}")));
        values
    }

    /// Keys and principals that have an ordinary use: what is unlike it.
    async fn follow_own(&mut self) -> Result<bool, L::Error> {
        let keys = self.unasked(Kind::AccessKey, Role::Own, "uses of");
        let principals = self.unasked(Kind::Principal, Role::Own, "uses of");
        let identities = self.unasked(Kind::Identity, Role::Own, "uses of");
        let asked = Calls { keys, principals, identities, ..Calls::default() };
        if asked != Calls::default() {
            let uses = self.lookup.uses(&asked).await?;
            self.uses.extend(uses);
            self.uses.sort_by(|a, b| {
                (&a.key, &a.principal, a.first).cmp(&(&b.key, &b.principal, b.first))
            });
            self.uses.dedup();
        }
        let begin = self.story.window().map(|(first, _)| first);
        let (mut odd, mut usual) = split(&self.uses, &self.story, begin);
        if begin.is_some() {
            let addresses = odd.iter().map(|one| one.used.address.clone()).collect();
            let shared = self.shared(&addresses).await?;
            for (address, why) in &shared {
                let why = format!("a key of the story was used from it; {why}");
                self.story.add(Kind::Address, address, Role::Shared, Strength::Weak, why);
            }
            let is_shared = |one: &Judged| shared.contains_key(&one.used.address);
            let (common, own): (Vec<_>, Vec<_>) = odd.into_iter().partition(is_shared);
            usual.extend(common);
            odd = own;
        }
        self.story.baseline = self.uses.iter().map(|one| one.first).min();
        self.story.usual = usual;
        let mut wanted = Calls::default();
        for Use { key, principal, address, agent, .. } in odd.iter().map(|one| &one.used) {
            if self.asked.insert(format!("odd {key} {principal} {address} {agent}")) {
                wanted.keys.extend((!key.is_empty()).then(|| key.clone()));
                wanted.principals.extend(key.is_empty().then(|| principal.clone()));
            }
        }
        if wanted == Calls::default() {
            return Ok(false);
        }
        let is_odd: BTreeMap<(&str, &str, &str), &Judged> = odd
            .iter()
            .map(|one| {
                let Use { key, address, agent, .. } = &one.used;
                ((key.as_str(), address.as_str(), agent.as_str()), one)
            })
            .collect();
        let mut is_new = false;
        for call in self.calls(&wanted, self.range).await? {
            let who =
                (call.key().unwrap_or_default(), call.address().unwrap_or_default(), call.agent());
            if let Some(one) = is_odd.get(&who) {
                let (why, strength) = if begin.is_none() {
                    (format!("by {}, which was asked about", call.who()), Strength::Strong)
                } else {
                    (format!("new for who made it: {}", one.news.join(", ")), Strength::Weak)
                };
                is_new |= self.take(call, why, strength);
            }
        }
        Ok(is_new)
    }

    /// Takes a call that somebody or something suspicious has made.
    fn judge(&mut self, call: Call) -> bool {
        let entity = |kind, value: Option<&str>| {
            let value = value?;
            let entity = self.story.entities.get(&(kind, value.to_owned()))?;
            (entity.role == Role::Suspicious).then(|| (value.to_owned(), entity.clone()))
        };
        let by_key = entity(Kind::AccessKey, call.key()).map(|found| ("with", found));
        let by_arn = || {
            entity(Kind::Principal, call.arn())
                .or_else(|| entity(Kind::Principal, call.principal()))
                .map(|found| ("by", found))
        };
        let by_address = || entity(Kind::Address, call.address()).map(|found| ("from", found));
        let Some((how, (value, entity))) = by_key.or_else(by_arn).or_else(by_address) else {
            return false;
        };
        let why = format!("{how} {value}: {}", entity.why);
        self.take(call, why, entity.strength)
    }

    /// Includes a call and follows it: its key, its address, what it gave out.
    fn take(&mut self, call: Call, why: String, strength: Strength) -> bool {
        let mut is_new = false;
        let uid = call.uid.clone();
        let name = format!("{} at {}", call.operation(), time_text(call.time));
        if let Some(key) = call.key() {
            let why = format!("it signed {name}");
            is_new |= self.story.add(Kind::AccessKey, key, Role::Own, strength, why);
            if let Some(address) = call.address() {
                self.story.link(key, address, "used_from", &uid);
            }
        }
        if let Some(arn) = call.principal() {
            self.story.add(Kind::Principal, arn, Role::Named, strength, format!("it made {name}"));
            self.story.link(call.key().unwrap_or_default(), arn, "acts_as", &uid);
        }
        if let Some(person) = call.identity() {
            let why = format!("{name} was made for this person");
            is_new |= self.story.add(Kind::Identity, person, Role::Own, strength, why);
            self.story.link(
                call.key().or(call.arn()).unwrap_or_default(),
                person,
                "acts_for",
                &uid,
            );
        }
        if let Some(instance) = instance_of(&call) {
            self.story.add(
                Kind::Instance,
                instance,
                Role::Named,
                strength,
                format!("its role made {name}"),
            );
            self.story.link(instance, call.key().unwrap_or_default(), "runs_on", &uid);
        }
        // What is only unusual does not make others suspicious.
        let address = call.address().filter(|address| is_public(address));
        if let Some(address) = address.filter(|_| strength > Strength::Weak) {
            let lower = strength.min(Strength::Medium);
            let why = format!("{name} came from it");
            is_new |= self.story.add(Kind::Address, address, Role::Suspicious, lower, why);
        }
        if let Some(Issued { key, principal, .. }) = issued(&call) {
            let by = format!("given out by {name}");
            let source = call.key().or(call.arn()).unwrap_or_default().to_owned();
            for (kind, value) in [(Kind::AccessKey, key), (Kind::Principal, principal)] {
                let Some(value) = value else { continue };
                is_new |= self.story.add(kind, &value, Role::Suspicious, strength, by.clone());
                self.story.link(&source, &value, "gave_out", &uid);
            }
        }
        for instance in started(&call) {
            let why = format!("started by {name}");
            is_new |= self.story.add(Kind::Instance, &instance, Role::Own, strength, why);
            self.story.link(call.key().unwrap_or_default(), &instance, "started", &uid);
        }
        is_new | self.include(call, why, strength)
    }

    pub(super) fn include(&mut self, call: Call, why: String, strength: Strength) -> bool {
        let key = (call.time, call.uid.clone());
        let is_new = !self.story.calls.contains_key(&key);
        if is_new {
            self.story.calls.insert(key, Included { call, why, strength });
        }
        is_new
    }

    /// Back to who gave out the keys of the story, and to who started its instances.
    async fn follow_back(&mut self) -> Result<bool, L::Error> {
        let wanted = Calls {
            issued: self.unasked(Kind::AccessKey, Role::Own, "issuer of"),
            launched: self.unasked(Kind::Instance, Role::Named, "start of"),
            ..Calls::default()
        };
        if wanted == Calls::default() {
            return Ok(false);
        }
        let begin = self.story.window().map_or(i64::MIN, |(first, _)| first - NEAR_MS);
        let mut is_new = false;
        for call in self.calls(&wanted, self.range).await? {
            let key = issued(&call).and_then(|issued| issued.key);
            let instance = || started(&call).into_iter().find(|one| wanted.launched.contains(one));
            // An instance that was there long before was not started for this.
            let Some(made) = key.or_else(|| instance().filter(|_| call.time >= begin)) else {
                continue;
            };
            let kind = if made.starts_with("i-") { "started" } else { "gave_out" };
            let source = call.key().or(call.arn()).unwrap_or_default().to_owned();
            self.story.link(&source, &made, kind, &call.uid);
            // What a service asks for an instance or a function leads to nobody.
            if call.text("actor.user.type") == Some("AWSService") {
                continue;
            }
            if let Some(source) = call.key() {
                let why = format!("it was used to make {made}");
                is_new |= self.story.add(Kind::AccessKey, source, Role::Own, Strength::Medium, why);
            }
            is_new |= self.include(call, format!("it made {made}"), Strength::Medium);
        }
        Ok(is_new)
    }

    /// What other accounts have logged of the same calls.
    async fn follow_copies(&mut self) -> Result<bool, L::Error> {
        let mut copied: BTreeMap<String, (String, String)> = BTreeMap::new();
        for Included { call, .. } in self.story.calls.values() {
            let Some(id) = call.shared_event() else { continue };
            if self.asked.insert(format!("copies of {id}")) {
                let by = call.key().or(call.arn()).unwrap_or_default();
                copied.insert(id.to_owned(), (call.account().to_owned(), by.to_owned()));
            }
        }
        let Some((first, last)) = self.story.window().filter(|_| !copied.is_empty()) else {
            return Ok(false);
        };
        let near = Range {
            since: self.range.since.max(first - NEAR_MS),
            until: self.range.until.min(last.saturating_add(NEAR_MS)),
        };
        let wanted = Calls { shared_events: copied.keys().cloned().collect(), ..Calls::default() };
        let mut is_new = false;
        for call in self.calls(&wanted, near).await? {
            let known = call.shared_event().and_then(|id| copied.get(id));
            let Some((account, by)) = known.filter(|(account, _)| account != call.account()) else {
                continue;
            };
            self.story.link(by, call.account(), "same_call", &call.uid);
            let why = format!("account {account} logged the same call");
            is_new |= self.include(call, why, Strength::Strong);
        }
        Ok(is_new)
    }
}

/// An address that belongs to one place of the internet.
pub(super) fn is_public(address: &str) -> bool {
    match address.parse() {
        Ok(std::net::IpAddr::V4(ip)) => {
            !(ip.is_private() || ip.is_loopback() || ip.is_link_local())
        }
        Ok(std::net::IpAddr::V6(ip)) => {
            !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local())
        }
        Err(_) => false,
    }
}
