//! Ordinary use of a key, and use that is unlike it.
//!
//! # Input
//! How keys were used, by address and program, at any time; when the story began.
//! # Maps to
//! Uses that are unlike all that came before, and ordinary ones; of each what is new about it.
//! # Known gaps
//! Whoever uses a key from its own address looks ordinary; what is new is said then too. A use that
//! began before the story and goes on in it is known as a whole.
//! # Reference
//! Issue "Ask the lake": usual never means innocent.

use std::collections::{BTreeMap, BTreeSet};

use parsers::time::DAY_MS;

use super::{
    lookup::Use,
    story::{Kind, Role, Story},
};

/// Days that have to be known before an hour of the day is new.
const HOURS_DAYS: i64 = 3;

/// A use, and what of it is new for its key or person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The use.
    pub used: Use,
    /// Of `address`, `program`, `operations`, `regions`, `hours`.
    pub news: Vec<&'static str>,
}

/// What is known of a key from before the story.
#[derive(Default)]
struct Known<'u> {
    addresses: BTreeSet<&'u str>,
    programs: BTreeSet<String>,
    operations: BTreeSet<&'u str>,
    regions: BTreeSet<&'u str>,
    hours: BTreeSet<i64>,
    since: Option<i64>,
}

impl<'u> Known<'u> {
    fn learn(&mut self, one: &'u Use) {
        self.addresses.insert(&one.address);
        self.programs.insert(program(&one.agent));
        self.operations.extend(one.operations.iter().map(String::as_str));
        self.regions.extend(one.regions.iter().map(String::as_str));
        self.hours.extend(&one.hours);
        self.since = Some(self.since.map_or(one.first, |since| since.min(one.first)));
    }

    /// What of a use is new. A region or an hour that was seen once is known; of operations most have
    /// to be new.
    fn news(&self, one: &Use, begin: i64) -> Vec<&'static str> {
        let is_long = self.since.is_some_and(|since| begin - since >= HOURS_DAYS * DAY_MS);
        let operations = one.operations.iter().map(String::as_str);
        let other = operations.filter(|operation| !self.operations.contains(operation)).count();
        let mut regions = one.regions.iter().map(String::as_str);
        let is_elsewhere =
            regions.len() > 0 && !regions.any(|region| self.regions.contains(region));
        [
            ("address", !one.address.is_empty() && !self.addresses.contains(one.address.as_str())),
            ("program", !self.programs.contains(&program(&one.agent))),
            ("operations", other * 2 > one.operations.len()),
            ("regions", is_elsewhere),
            ("hours", is_long && one.hours.is_disjoint(&self.hours)),
        ]
        .into_iter()
        .filter_map(|(name, is_new)| is_new.then_some(name))
        .collect()
    }
}

/// Uses that are unlike those before the story began, and ordinary ones. Where nothing says when
/// it began, all are asked about.
///
/// Unlike is a use from a new address with a new program, or with two of: other operations, other
/// regions, other hours. One thing that is new happens to everybody.
pub fn split(uses: &[Use], story: &Story, begin: Option<i64>) -> (Vec<Judged>, Vec<Judged>) {
    let judged = |used: &Use, news| Judged { used: used.clone(), news };
    let Some(begin) = begin else {
        return (uses.iter().map(|one| judged(one, Vec::new())).collect(), Vec::new());
    };
    let mut known: BTreeMap<&str, Known<'_>> = BTreeMap::new();
    for one in uses.iter().filter(|one| one.first < begin) {
        known.entry(owner(one)).or_default().learn(one);
    }
    let is_suspicious = |one: &Use| {
        let role = |kind, value: &str| {
            story.entities.get(&(kind, value.to_owned())).map(|entity| entity.role)
        };
        role(Kind::Address, &one.address) == Some(Role::Suspicious)
            || role(Kind::AccessKey, &one.key) == Some(Role::Suspicious)
    };
    let news = |one: &Use| match known.get(owner(one)) {
        Some(known) if one.last >= begin => known.news(one, begin),
        _ => Vec::new(),
    };
    let is_odd = |one: &Judged| {
        let has = |name| one.news.contains(&name);
        let others = ["operations", "regions", "hours"].into_iter().filter(|name| has(name));
        has("address") && (has("program") || others.count() >= 2)
    };
    let rest = uses.iter().filter(|one| !is_suspicious(one));
    rest.map(|one| judged(one, news(one))).partition(is_odd)
}

/// A use belongs to the person for whom a session acts, to a key, or to a principal without one.
fn owner(one: &Use) -> &str {
    [&one.identity, &one.key].into_iter().find(|name| !name.is_empty()).unwrap_or(&one.principal)
}

/// What calls, without its version and what it runs on.
fn program(agent: &str) -> String {
    let name = agent.split([' ', '/']).next().unwrap_or_default();
    name.trim_start_matches('[').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(address: &str, agent: &str, first: i64) -> Use {
        let (key, principal) = ("AKIA".to_owned(), "arn".to_owned());
        let (address, agent) = (address.to_owned(), agent.to_owned());
        Use { key, principal, address, agent, first, last: first + 1, count: 1, ..Use::default() }
    }

    #[test]
    fn only_a_new_address_with_a_new_program_is_odd() {
        let uses = [
            used("192.0.2.1", "aws-cli/2.1 Python/3", 1),
            used("192.0.2.1", "Boto3/1.2", 20),
            used("192.0.2.2", "aws-cli/2.9", 20),
            used("192.0.2.3", "Boto3/1.2", 20),
        ];
        let (odd, usual) = split(&uses, &Story::default(), Some(10));
        let news = vec!["address", "program"];
        assert_eq!((odd, usual.len()), (vec![Judged { used: uses[3].clone(), news }], 3));
        let (all, none) = split(&uses, &Story::default(), None);
        assert_eq!((all.len(), none.len()), (4, 0));
    }

    #[test]
    fn a_new_address_with_other_operations_in_another_region_is_odd_with_the_same_program_too() {
        let with = |one: Use, operations: &[&str], region: &str, hour| {
            let operations = operations.iter().map(|name| (*name).to_owned()).collect();
            Use { operations, regions: [region.to_owned()].into(), hours: [hour].into(), ..one }
        };
        let day = DAY_MS;
        let own = used("192.0.2.1", "aws-cli/2", 0);
        let uses = [
            with(own, &["ListBuckets", "GetObject"], "eu-west-1", 9),
            with(used("192.0.2.2", "aws-cli/2", 9 * day), &["GetObject"], "eu-west-1", 9),
            with(used("192.0.2.3", "aws-cli/2", 9 * day), &["ListUsers"], "eu-west-1", 9),
            with(used("192.0.2.4", "aws-cli/2", 9 * day), &["ListUsers"], "eu-south-1", 9),
            with(used("192.0.2.5", "aws-cli/2", 9 * day), &["GetObject"], "eu-south-1", 3),
            with(used("192.0.2.1", "Boto3/1", 9 * day), &["ListUsers"], "eu-south-1", 3),
        ];
        let (odd, usual) = split(&uses, &Story::default(), Some(8 * day));
        let news =
            |all: &[Judged]| -> Vec<String> { all.iter().map(|one| one.news.join(" ")).collect() };
        assert_eq!(news(&odd), ["address operations regions", "address regions hours"]);
        let of_usual = ["", "address", "address operations", "program operations regions hours"];
        assert_eq!(news(&usual), of_usual);
    }

    #[test]
    fn sessions_of_one_person_have_one_baseline() {
        let of = |key: &str, one: Use| Use { identity: "ada".into(), key: key.into(), ..one };
        let uses = [
            of("ASIA1", used("192.0.2.1", "aws-cli/2", 1)),
            of("ASIA2", used("192.0.2.1", "aws-cli/2", 20)),
            of("ASIA3", used("192.0.2.9", "Boto3/1", 20)),
        ];
        let (odd, usual) = split(&uses, &Story::default(), Some(10));
        assert_eq!((odd[0].used.key.as_str(), odd.len(), usual.len()), ("ASIA3", 1, 2));
    }
}
