//! Finds what belongs together: from a subject to calls, from calls to credentials, and back.
//!
//! # Input
//! A subject, and look-ups.
//! # Maps to
//! A [`Story`].
//! # Known gaps
//! A call counts as unusual where both its address and its program are new for the key. Who uses both
//! from the instance itself is counted as usual.
//! # Reference
//! Issue "Ask the lake": an entity is followed by evidence, and what many share is not followed.
//!
//! How it goes: findings that share a key, an instance or an address within an account and a day are
//! one story. Addresses and keys that a finding names, and whatever those gave out, are suspicious. Of
//! a key that is somebody's own, only calls from suspicious addresses belong to the story, or calls
//! that are unlike all that came before.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    baseline::split,
    document::{Call, Finding, Named},
    issued::{Issued, instance_of, issued, started},
    lookup::{Calls, Lookup, Range, Sender, Use},
    story::{Included, Kind, Role, Story, Strength, time_text},
    subject::Subject,
};

/// Principals that may use one address before it is a gateway.
const SHARED_PRINCIPALS: u64 = 4;
/// Interfaces that may refuse one address before it is a scanner.
const SHARED_INTERFACES: u64 = 3;
/// Findings belong together within this time.
const NEAR_MS: i64 = 24 * 3_600_000;
/// Rounds of following, at most.
const ROUNDS: usize = 24;

/// Builds a story.
pub struct Builder<'l, L> {
    lookup: &'l L,
    range: Range,
    /// All exports of findings, of any account.
    findings: Vec<Finding>,
    story: Story,
    /// Keys and principals whose use is known.
    asked: BTreeSet<String>,
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
            is_new |= self.follow_calls().await?;
            is_new |= self.follow_back().await?;
            if !is_new {
                break;
            }
        }
        Ok((self.story, self.findings))
    }

    async fn start(&mut self, subject: &Subject) -> Result<(), L::Error> {
        let why = || "it is what was asked about".to_owned();
        let strong = Strength::Strong;
        match subject {
            Subject::Finding(id) => {
                let is_it = |finding: &&Finding| finding.uid == *id || finding.id() == id;
                if let Some(finding) = self.findings.iter().rfind(is_it).cloned() {
                    self.add_finding(&finding, why());
                }
            }
            Subject::AccessKey(key) => {
                self.story.add(Kind::AccessKey, key, Role::Own, strong, why());
            }
            Subject::Principal(arn) | Subject::Session(arn) => {
                self.story.add(Kind::Principal, arn, Role::Own, strong, why());
            }
            Subject::Address(address) => {
                self.story.add(Kind::Address, address, Role::Suspicious, strong, why());
            }
            Subject::Instance(id) => {
                self.story.add(Kind::Instance, id, Role::Named, strong, why());
                let wanted = Calls { sessions: [id.clone()].into(), ..Calls::default() };
                for key in self.calls(&wanted, self.range).await?.iter().filter_map(Call::key) {
                    let why = "the instance's role has it".to_owned();
                    self.story.add(Kind::AccessKey, key, Role::Own, strong, why);
                }
            }
            Subject::Interface(id) => {
                self.story.add(Kind::Interface, id, Role::Named, strong, why());
            }
            Subject::Resource(arn) => self.start_resource(arn, &why()).await?,
            Subject::Event(uid) => {
                let wanted = Calls { uids: [uid.clone()].into(), ..Calls::default() };
                for call in self.calls(&wanted, self.range).await? {
                    if let Some(key) = call.key() {
                        self.story.add(Kind::AccessKey, key, Role::Own, strong, why());
                    }
                    self.include(call, why(), strong);
                }
            }
            Subject::Name(name) => {
                let names = BTreeSet::from([name.clone()]);
                let wanted = Calls { sessions: names.clone(), names, ..Calls::default() };
                let calls = self.calls(&wanted, self.range).await?;
                for arn in calls
                    .iter()
                    .filter_map(Call::principal)
                    .map(str::to_owned)
                    .collect::<BTreeSet<_>>()
                {
                    self.story.add(Kind::Principal, &arn, Role::Own, strong, why());
                }
                if calls.is_empty() {
                    self.start_resource(&format!("arn:aws:s3:::{name}"), &why()).await?;
                }
            }
        }
        Ok(())
    }

    /// Of a resource: what was changed about it, and the keys that were used on it, for findings that
    /// name them.
    async fn start_resource(&mut self, arn: &str, why: &str) -> Result<(), L::Error> {
        let wanted = Calls { resources: [arn.to_owned()].into(), ..Calls::default() };
        let calls = self.calls(&wanted, self.range).await?;
        self.story.add(Kind::Resource, arn, Role::Named, Strength::Strong, why.to_owned());
        for call in calls {
            if let Some(key) = call.key() {
                let why = format!("it was used on {arn}");
                self.story.add(Kind::AccessKey, key, Role::Named, Strength::Weak, why);
            }
            if !call.is_read() {
                self.include(call, format!("it is about {arn}"), Strength::Weak);
            }
        }
        Ok(())
    }

    async fn calls(&self, wanted: &Calls, range: Range) -> Result<Vec<Call>, L::Error> {
        let documents = self.lookup.calls(wanted, range).await?;
        let mut calls: Vec<_> = documents.into_iter().filter_map(Call::new).collect();
        calls.sort_by(|a, b| (a.time, &a.uid).cmp(&(b.time, &b.uid)));
        Ok(calls)
    }

    /// Adds a finding and what it names.
    fn add_finding(&mut self, finding: &Finding, why: String) -> bool {
        let uid = finding.uid.clone();
        if self.story.findings.contains_key(&uid) {
            return false;
        }
        let exports = self.findings.iter().filter(|one| one.uid == uid);
        self.story.exports.insert(uid.clone(), exports.count() as u64);
        self.story.add(Kind::Finding, &uid, Role::Named, Strength::Strong, why);
        let all = self.findings.iter().filter(|one| one.uid == uid).cloned().collect::<Vec<_>>();
        for export in all.iter().chain([finding]) {
            let Named { keys, addresses, instances, interfaces, resources, .. } = export.named();
            let sets = [
                (Kind::AccessKey, keys, Role::Own),
                (Kind::Address, addresses, Role::Suspicious),
                (Kind::Instance, instances, Role::Named),
                (Kind::Interface, interfaces, Role::Named),
                (Kind::Resource, resources, Role::Named),
            ];
            for (kind, values, role) in sets {
                for value in values {
                    let why = format!("named by the finding {}", finding.kind());
                    self.story.add(kind, &value, role, Strength::Strong, why);
                    self.story.link(&uid, &value, "named_by", &export.event_uid);
                }
            }
        }
        let newest = all.into_iter().last().unwrap_or_else(|| finding.clone());
        self.story.findings.insert(uid, newest);
        true
    }

    /// Findings that share a key, an instance or an address with the story, in an account of it.
    fn join_findings(&mut self) -> bool {
        let accounts = self.story.accounts();
        let window = self.story.window();
        let is_near = |finding: &Finding| {
            let (first, last) = finding.window();
            window.is_none_or(|(from, to)| first <= to + NEAR_MS && last >= from - NEAR_MS)
        };
        let is_of_story = |kind, value: &String| {
            let entity = self.story.entities.get(&(kind, value.clone()));
            entity.is_some_and(|entity| entity.role != Role::Shared)
        };
        let mut joined = Vec::new();
        for finding in &self.findings {
            let is_known = self.story.findings.contains_key(&finding.uid);
            if is_known
                || !(accounts.is_empty() || accounts.contains(finding.account()))
                || !is_near(finding)
            {
                continue;
            }
            let named = finding.named();
            let names = self.names(finding.account());
            let sets = [
                (Kind::AccessKey, &named.keys),
                (Kind::Instance, &named.instances),
                (Kind::Address, &named.addresses),
                (Kind::Interface, &named.interfaces),
                (Kind::Resource, &named.resources),
            ];
            let mut values = sets
                .iter()
                .flat_map(|(kind, values)| values.iter().map(move |value| (*kind, value)));
            let common = values
                .find_map(|(kind, value)| is_of_story(kind, value).then_some(value))
                .or_else(|| named.names.iter().find(|name| names.contains(*name)));
            if let Some(common) = common {
                joined.push((finding.clone(), format!("it names {common} too")));
            }
        }
        let mut is_new = false;
        for (finding, why) in joined {
            is_new |= self.add_finding(&finding, why);
        }
        is_new
    }

    /// Names of the users and roles of the story in an account.
    fn names(&self, account: &str) -> BTreeSet<String> {
        let arns = self.story.of(Kind::Principal, Role::Own);
        let of_account = arns.iter().filter(|arn| arn.split(':').nth(4) == Some(account));
        of_account
            .filter_map(|arn| {
                let mut parts = arn.splitn(6, ':').nth(5)?.split('/');
                match parts.next()? {
                    "assumed-role" => parts.next(),
                    _ => parts.next_back(),
                }
            })
            .map(str::to_owned)
            .collect()
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
            for call in self.calls(&suspicious, self.range).await? {
                is_new |= self.judge(call);
            }
        }
        is_new |= self.follow_own().await?;
        Ok(is_new)
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
        let asked = Calls { keys, principals, ..Calls::default() };
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
            let addresses = odd.iter().map(|one| one.address.clone()).collect();
            let shared = self.shared(&addresses).await?;
            for (address, why) in &shared {
                let why = format!("a key of the story was used from it; {why}");
                self.story.add(Kind::Address, address, Role::Shared, Strength::Weak, why);
            }
            let (common, own) = odd.into_iter().partition(|one| shared.contains_key(&one.address));
            let common: Vec<Use> = common;
            usual.extend(common);
            odd = own;
        }
        self.story.baseline = self.uses.iter().map(|one| one.first).min();
        self.story.usual = usual;
        let mut wanted = Calls::default();
        for one in &odd {
            let id = format!("odd {} {} {} {}", one.key, one.principal, one.address, one.agent);
            if self.asked.insert(id) {
                wanted.keys.extend((!one.key.is_empty()).then(|| one.key.clone()));
                wanted.principals.extend(one.key.is_empty().then(|| one.principal.clone()));
            }
        }
        if wanted == Calls::default() {
            return Ok(false);
        }
        let is_odd: BTreeSet<(&str, &str, &str)> = odd
            .iter()
            .map(|one| (one.key.as_str(), one.address.as_str(), one.agent.as_str()))
            .collect();
        let mut is_new = false;
        for call in self.calls(&wanted, self.range).await? {
            let who =
                (call.key().unwrap_or_default(), call.address().unwrap_or_default(), call.agent());
            if is_odd.contains(&who) {
                let is_subject = begin.is_none();
                let (why, strength) = if is_subject {
                    (format!("by {}, which was asked about", call.who()), Strength::Strong)
                } else {
                    let why = "its address and its program are new for this key";
                    (why.to_owned(), Strength::Weak)
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

    fn include(&mut self, call: Call, why: String, strength: Strength) -> bool {
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
}

/// An address that belongs to one place of the internet.
fn is_public(address: &str) -> bool {
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
