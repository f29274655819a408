//! Ordinary use of a key, and use that is unlike it.
//!
//! # Input
//! How keys were used, by address and program, at any time; when the story began.
//! # Maps to
//! Uses that are unlike all that came before, and ordinary ones.
//! # Known gaps
//! Operations, regions and hours are not looked at. Who uses a key with its own program, or from its own
//! address, looks ordinary.
//! # Reference
//! Issue "Ask the lake": usual never means innocent.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    lookup::Use,
    story::{Kind, Role, Story},
};

/// Uses that are unlike those before the story began, and ordinary ones. Where nothing says when
/// it began, all are asked about.
pub fn split(uses: &[Use], story: &Story, begin: Option<i64>) -> (Vec<Use>, Vec<Use>) {
    let Some(begin) = begin else { return (uses.to_vec(), Vec::new()) };
    let mut known: BTreeMap<&str, (BTreeSet<&str>, BTreeSet<String>)> = BTreeMap::new();
    for one in uses.iter().filter(|one| one.first < begin) {
        let (addresses, agents) = known.entry(owner(one)).or_default();
        addresses.insert(&one.address);
        agents.insert(program(&one.agent));
    }
    let is_suspicious = |one: &Use| {
        let role = |kind, value: &str| {
            story.entities.get(&(kind, value.to_owned())).map(|entity| entity.role)
        };
        role(Kind::Address, &one.address) == Some(Role::Suspicious)
            || role(Kind::AccessKey, &one.key) == Some(Role::Suspicious)
    };
    let is_odd = |one: &Use| {
        let Some((addresses, agents)) = known.get(owner(one)) else { return false };
        one.last >= begin
            && !one.address.is_empty()
            && !addresses.contains(one.address.as_str())
            && !agents.contains(&program(&one.agent))
    };
    let rest = uses.iter().filter(|one| !is_suspicious(one)).cloned();
    rest.partition(is_odd)
}

/// A use belongs to a key, or to a principal without one.
fn owner(one: &Use) -> &str {
    if one.key.is_empty() { &one.principal } else { &one.key }
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
        assert_eq!((odd, usual.len()), (vec![uses[3].clone()], 3));
        let (all, none) = split(&uses, &Story::default(), None);
        assert_eq!((all.len(), none.len()), (4, 0));
    }
}
