//! Where a story starts: what a subject is, and what findings name.
//!
//! # Input
//! A subject; all findings.
//! # Maps to
//! The first entities and calls of a story.
//! # Known gaps
//! None.
//! # Reference
//! Issue "Ask the lake"; the rest is in `follow.rs`.

use std::collections::BTreeSet;

use super::{
    document::{Call, Finding, Named},
    follow::{Builder, SHARED_PRINCIPALS},
    lookup::{Calls, Lookup, Range},
    story::{Kind, Role, Strength},
    subject::Subject,
};

/// Findings belong together within this time.
const NEAR_MS: i64 = 24 * 3_600_000;
/// Findings tell times in whole seconds.
const SECOND_MS: i64 = 1000;

impl<L: Lookup> Builder<'_, L> {
    /// Takes up what the subject is.
    pub(super) async fn start(&mut self, subject: &Subject) -> Result<(), L::Error> {
        let why = || "it is what was asked about".to_owned();
        let strong = Strength::Strong;
        match subject {
            // Either may have the form of the other.
            Subject::Finding(id) | Subject::Event(id) => {
                let is_it = |finding: &&Finding| {
                    finding.uid == *id || finding.id() == id || finding.event_uid == *id
                };
                if let Some(finding) = self.findings.iter().rfind(is_it).cloned() {
                    self.add_finding(&finding, why());
                    return Ok(());
                }
                let wanted = Calls { uids: [id.clone()].into(), ..Calls::default() };
                for call in self.calls(&wanted, self.range).await? {
                    if let Some(key) = call.key() {
                        self.story.add(Kind::AccessKey, key, Role::Own, strong, why());
                    }
                    self.include(call, why(), strong);
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
            Subject::Resource(arn) => {
                self.start_resource(arn, &why()).await?;
            }
            Subject::Name(name) => {
                let names = BTreeSet::from([name.clone()]);
                let wanted = Calls {
                    sessions: names.clone(),
                    identities: names.clone(),
                    names: names.clone(),
                    ..Calls::default()
                };
                let calls = self.calls(&wanted, self.range).await?;
                if calls.iter().any(|call| call.identity() == Some(name)) {
                    self.story.add(Kind::Identity, name, Role::Own, strong, why());
                }
                for arn in calls
                    .iter()
                    .filter_map(Call::principal)
                    .map(str::to_owned)
                    .collect::<BTreeSet<_>>()
                {
                    self.story.add(Kind::Principal, &arn, Role::Own, strong, why());
                }
                if calls.is_empty()
                    && !self.start_resource(&format!("arn:aws:s3:::{name}"), &why()).await?
                {
                    let wanted = Calls { requested: names, ..Calls::default() };
                    let calls = self.calls(&wanted, self.range).await?;
                    self.start_with(name, calls, true, &why());
                }
            }
        }
        Ok(())
    }

    /// Of a resource: what was changed about it, and the keys that were used on it, for findings that
    /// name them. What many use is changed all day. False if no call is about it.
    async fn start_resource(&mut self, arn: &str, why: &str) -> Result<bool, L::Error> {
        let wanted = Calls { resources: [arn.to_owned()].into(), ..Calls::default() };
        let calls = self.calls(&wanted, self.range).await?;
        let is_known = !calls.is_empty();
        self.start_with(arn, calls, false, why);
        Ok(is_known)
    }

    fn start_with(&mut self, resource: &str, calls: Vec<Call>, with_reads: bool, why: &str) {
        let users: BTreeSet<&str> = calls.iter().filter_map(Call::principal).collect();
        let is_common = !with_reads && users.len() as u64 > SHARED_PRINCIPALS;
        let why = if is_common {
            let count = users.len();
            format!("{why}; {count} principals use it: only changes of its settings count")
        } else {
            why.to_owned()
        };
        self.story.add(Kind::Resource, resource, Role::Named, Strength::Strong, why);
        for call in calls {
            if let Some(key) = call.key() {
                let why = format!("it was used on {resource}");
                self.story.add(Kind::AccessKey, key, Role::Named, Strength::Weak, why);
            }
            if with_reads || !(call.is_read() || (is_common && call.is_data())) {
                self.include(call, format!("it is about {resource}"), Strength::Weak);
            }
        }
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

    /// The calls that findings are about: of the operation that each names, by whom and from where it
    /// says.
    pub(super) async fn follow_findings(&mut self) -> Result<bool, L::Error> {
        let mut is_new = false;
        for finding in self.story.findings.values().cloned().collect::<Vec<_>>() {
            let operations = finding.operations();
            let is_asked = !self.asked.insert(format!("calls of {}", finding.event_uid));
            if is_asked || operations.is_empty() {
                continue;
            }
            let (first, last) = finding.window();
            let range = Range {
                since: self.range.since.max(first - SECOND_MS),
                until: self.range.until.min(last.saturating_add(SECOND_MS)),
            };
            let accounts = [finding.account().to_owned()].into();
            let wanted = Calls { operations, accounts, ..Calls::default() };
            let Named { keys, names, addresses, .. } = finding.named();
            let has = |all: &BTreeSet<String>, one: Option<&str>| {
                one.is_some_and(|one| all.contains(one))
            };
            for call in self.calls(&wanted, range).await? {
                let is_by = has(&keys, call.key())
                    || (keys.is_empty() && has(&names, call.text("actor.user.name")));
                if is_by && (addresses.is_empty() || has(&addresses, call.address())) {
                    let why = format!("the finding {} is about it", finding.kind());
                    is_new |= self.include(call, why, Strength::Strong);
                }
            }
        }
        Ok(is_new)
    }

    /// Findings that share a key, an instance or an address with the story, in an account of it.
    pub(super) fn join_findings(&mut self) -> bool {
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
}
