//! The attack sequence of a finding: its indicators and its signals.
//!
//! # Input
//! `service.detection.sequence`.
//! # Maps to
//! Members of `finding_info.attacks`, actors and endpoints of evidences.
//! # Known gaps
//! Of the actors and endpoints of a signal the first of each is mapped; `data` has the others' ids.
//! # Reference
//! Mapping 5.2 below table G4, table G5.

use bumpalo::collections::Vec as BumpVec;

use super::{evidence, finding::tactic};
use crate::{
    ocsf::{
        Attack, EvidenceActor, EvidenceEndpoint, EvidenceSession, EvidenceUser, Location,
        NamedAccount, Tactic,
    },
    tree::{Node, Reader},
};

const SEQUENCE: &str = "service.detection.sequence";

/// Adds the tactics and techniques that a sequence indicates.
pub(super) fn indicators<'a>(
    finding: &'a Node<'a>,
    read: &mut Reader<'a>,
    attacks: &mut BumpVec<'a, Attack<'a>>,
) {
    let Some(sequence) = finding.get(SEQUENCE) else { return };
    for indicator in sequence.objects("sequenceIndicators") {
        let kind = read.copy(indicator, "key");
        let as_attack = match kind {
            Some("ATTACK_TACTIC") => |value| Attack { tactic: tactic(value), ..Attack::default() },
            Some("ATTACK_TECHNIQUE") => technique,
            _ => continue,
        };
        let before = attacks.len();
        for value in indicator.get("values").map(Node::list).unwrap_or_default() {
            let Some(text) = read.copy(value, "") else { continue };
            let attack = as_attack(text);
            // What is not all in the attack stays.
            if kind == Some("ATTACK_TACTIC") || is_all(&attack, text) {
                read.text(value, "");
            }
            attacks.push(attack);
        }
        if attacks.len() > before {
            read.text(indicator, "key");
        }
    }
}

/// True if nothing of the text is missing in the technique.
fn is_all(attack: &Attack<'_>, text: &str) -> bool {
    let whole =
        if attack.sub_technique.is_absent() { attack.technique } else { attack.sub_technique };
    let parts = [whole.uid, whole.name].into_iter().flatten();
    parts.collect::<Vec<_>>().join(" - ") == text
}

/// `T1078.004 - Valid Accounts: Cloud Accounts`.
fn technique(text: &str) -> Attack<'_> {
    let Some((id, dot)) = technique_id(text) else {
        let technique = Tactic { uid: None, name: Some(text) };
        return Attack { technique, ..Attack::default() };
    };
    let (_, behind) = text.split_once(id).unwrap_or_default();
    let name = behind.strip_prefix(" - ").map(str::trim).filter(|name| !name.is_empty());
    let whole = Tactic { uid: Some(id), name };
    match dot {
        Some(dot) => Attack {
            technique: Tactic { uid: Some(&id[..dot]), name: None },
            sub_technique: whole,
            ..Attack::default()
        },
        None => Attack { technique: whole, ..Attack::default() },
    }
}

/// The first `T` with four digits, perhaps a dot and three digits; and where the dot is.
fn technique_id(text: &str) -> Option<(&str, Option<usize>)> {
    let digits = |from: usize, count: usize| {
        text.as_bytes()
            .get(from..from + count)
            .is_some_and(|digits| digits.iter().all(u8::is_ascii_digit))
    };
    let start = text.match_indices('T').map(|(at, _)| at).find(|at| digits(at + 1, 4))?;
    let end = start + 5;
    if text.as_bytes().get(end) == Some(&b'.') && digits(end + 1, 3) {
        return Some((&text[start..end + 4], Some(5)));
    }
    Some((&text[start..end], None))
}

/// The first actor that a signal names.
pub(super) fn actor<'a>(
    finding: &'a Node<'a>,
    signal: &'a Node<'a>,
    read: &mut Reader<'a>,
) -> EvidenceActor<'a> {
    let Some(actor) = named(finding, "actors", signal, "actorIds", read) else {
        return EvidenceActor::default();
    };
    let kind = read.text(actor, "user.type");
    let mut user = EvidenceUser {
        name: read.text(actor, "user.name"),
        uid: read.text(actor, "user.uid"),
        r#type: kind,
        type_id: kind.map(crate::cloudtrail::user_type_id),
        credential_uid: read.text(actor, "user.credentialUid"),
        account: NamedAccount {
            uid: read.text(actor, "user.account.uid"),
            name: read.text(actor, "user.account.account"),
        },
        ..EvidenceUser::default()
    };
    if !user.is_absent() && user.name.is_none() && user.account.is_absent() {
        user.uid = user.uid.or(user.credential_uid).or(Some("Unknown"));
    }
    let is_mfa = read.parse(actor, "session.mfaStatus", |text| match text {
        "ENABLED" => Some(true),
        "DISABLED" => Some(false),
        _ => None,
    });
    let session = EvidenceSession {
        uid: read.text(actor, "session.uid"),
        issuer: read.text(actor, "session.issuer"),
        is_mfa,
    };
    EvidenceActor { user, session, ..EvidenceActor::default() }
}

/// The first endpoint that a signal names.
pub(super) fn endpoint<'a>(
    finding: &'a Node<'a>,
    signal: &'a Node<'a>,
    read: &mut Reader<'a>,
) -> EvidenceEndpoint<'a> {
    let Some(endpoint) = named(finding, "endpoints", signal, "endpointIds", read) else {
        return EvidenceEndpoint::default();
    };
    let (ip, domain) = (read.ip(endpoint, "ip"), read.text(endpoint, "domain"));
    let location = endpoint.get("location");
    EvidenceEndpoint {
        ip,
        domain,
        port: read.port(endpoint, "port"),
        uid: read.text(endpoint, "id"),
        location: location.map_or(Location::default(), |location| Location {
            city: read.text(location, "city"),
            country: read.text(location, "country"),
            coordinates: evidence::coordinates(location, read),
            isp: None,
        }),
        ..EvidenceEndpoint::default()
    }
}

/// The member of a list of the sequence that is the first one named in a list of ids.
fn named<'a>(
    finding: &'a Node<'a>,
    list: &str,
    signal: &'a Node<'a>,
    ids: &str,
    read: &Reader<'a>,
) -> Option<&'a Node<'a>> {
    let all = finding.get(SEQUENCE)?.get(list)?.list();
    let wanted = signal.get(ids)?.list().iter().filter_map(|id| id.text(read.arena));
    wanted.into_iter().find_map(|id| all.iter().find(|one| read.copy(one, "id") == Some(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn techniques_are_split_into_id_and_name() {
        let parts = |text| {
            let Attack { technique, sub_technique, .. } = technique(text);
            [technique.uid, technique.name, sub_technique.uid, sub_technique.name]
        };
        let (sub, name) = ("T1078.004", Some("Valid Accounts: Cloud Accounts"));
        assert_eq!(
            parts("T1078.004 - Valid Accounts: Cloud Accounts"),
            [Some("T1078"), None, Some(sub), name]
        );
        assert_eq!(parts("x T1526 - Discovery"), [Some("T1526"), Some("Discovery"), None, None]);
        assert_eq!(parts("T1526"), [Some("T1526"), None, None, None]);
        assert_eq!(parts("Theft"), [None, Some("Theft"), None, None]);
        assert_eq!(parts("T15.26"), [None, Some("T15.26"), None, None]);
    }
}
