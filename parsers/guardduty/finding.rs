//! A GuardDuty finding to Detection Finding.
//!
//! # Input
//! The finding as a tree, with camelCase keys.
//! # Maps to
//! Mapping tables G1 to G4.
//! # Known gaps
//! None.
//! # Reference
//! Mapping 5.2.

use bumpalo::{Bump, collections::Vec as BumpVec};

use super::{evidence, resource, sequence};
use crate::{
    Origin, Rows,
    ocsf::{
        self, Analytic, Attack, DetectionFinding, Enrichment, Evidence, FindingAccount,
        FindingCloud, FindingFeature, FindingInfo, FindingMetadata, FindingProduct,
        FindingResource, Observable, RelatedEvent, Remediation, Tactic,
    },
    tree::{Node, Reader},
};

/// Table G2: the first number that is too high for a band, `severity_id`, `severity`.
const SEVERITIES: &[(f64, i32, &str)] = &[
    (0.0, 99, "Other"),
    (1.0, 1, "Informational"),
    (4.0, 2, "Low"),
    (7.0, 3, "Medium"),
    (9.0, 4, "High"),
];

/// Table G4: the text of `type` before the first `:`, tactic, its name.
const TACTICS: &[(&str, &str, &str)] = &[
    ("Recon", "TA0043", "Reconnaissance"),
    ("InitialAccess", "TA0001", "Initial Access"),
    ("Execution", "TA0002", "Execution"),
    ("Persistence", "TA0003", "Persistence"),
    ("PrivilegeEscalation", "TA0004", "Privilege Escalation"),
    ("DefenseEvasion", "TA0005", "Defense Evasion"),
    ("Stealth", "TA0005", "Defense Evasion"),
    ("CredentialAccess", "TA0006", "Credential Access"),
    ("Discovery", "TA0007", "Discovery"),
    ("Exfiltration", "TA0010", "Exfiltration"),
    ("Impact", "TA0040", "Impact"),
];

const THREAT_INTELLIGENCE: &str = "service.evidence.threatIntelligenceDetails";

/// What many parts of an event need of a finding.
pub(super) struct Context<'a> {
    pub(super) finding: &'a Node<'a>,
    pub(super) arn: Option<&'a str>,
    pub(super) account: Option<&'a str>,
    pub(super) region: Option<&'a str>,
    /// `aws` if the finding does not tell.
    pub(super) partition: &'a str,
    pub(super) resource_role: Option<&'a Node<'a>>,
}

/// Maps a finding and keeps the event, or says why it cannot.
pub(super) fn push<'a>(
    finding: &'a Node<'a>,
    origin: &'a Origin,
    arena: &'a Bump,
    out: &mut Rows,
) -> Result<(), &'static str> {
    let mut read = Reader::new(arena);
    let created = read.time(finding, "createdAt");
    let updated = read.time(finding, "updatedAt");
    let last_seen = read.time(finding, "service.eventLastSeen");
    let time = updated.or(created).or(last_seen).ok_or("no time")?;
    let id = read.text(finding, "id");
    let uid = match id {
        Some(id) => read.alloc(&[id, ":", itoa::Buffer::new().format(time)]),
        None => crate::hash_uid(finding.raw(), arena),
    };
    let partition = read.copy(finding, "partition");
    let context = Context {
        finding,
        arn: read.text(finding, "arn"),
        account: read.text(finding, "accountId"),
        region: read.text(finding, "region"),
        partition: partition.unwrap_or("aws"),
        resource_role: finding.present("service.resourceRole"),
    };
    let kind = read.text(finding, "type");
    let title = read.text(finding, "title").or(kind).or(Some("Unknown"));
    let detector = read.text(finding, "service.detectorId");
    let activity_id = match (created, updated) {
        (Some(created), Some(updated)) if created == updated => 1,
        (Some(_), Some(_)) => 2,
        _ => 0,
    };
    if context.region.is_some() {
        // It is in the product's uid.
        read.text(finding, "partition");
    }
    let (severity_id, severity) = severity(read.copy(finding, "severity"));
    let archived = read.boolean(finding, "service.archived") == Some(true);
    let (status_id, status) = if archived { (3, "Suppressed") } else { (1, "New") };
    let account = context.account.or(origin.key.account());
    let mut event = DetectionFinding {
        time: Some(time),
        time_dt: Some(time),
        severity_id: Some(severity_id),
        severity: Some(severity),
        status_id: Some(status_id),
        status: Some(status),
        message: title,
        count: read.int(finding, "service.count"),
        confidence_score: read.whole_part(finding, "confidence"),
        metadata: FindingMetadata {
            uid: Some(uid),
            version: Some(ocsf::VERSION),
            product: product(&context, partition, detector, &mut read),
            profiles: &[Some("cloud"), Some("datetime")],
            labels: origin.accounts.labels(account, arena),
            event_code: None,
            log_version: read.text(finding, "schemaVersion"),
            log_name: Some(origin.key.name()),
        },
        cloud: FindingCloud {
            provider: Some("AWS"),
            region: context.region.or(origin.key.region()),
            account: FindingAccount {
                uid: account,
                name: origin.accounts.name(account),
                type_id: account.map(|_| 10),
                r#type: account.map(|_| "AWS Account"),
            },
        },
        finding_info: FindingInfo {
            uid: context.arn.or(id).or(Some(uid)),
            title,
            desc: read.text(finding, "description"),
            types: arena.alloc([kind.or(Some("Unknown"))]),
            src_url: src_url(&context, partition, id, &read),
            created_time: created,
            created_time_dt: created,
            modified_time: updated,
            modified_time_dt: updated,
            last_seen_time: last_seen,
            last_seen_time_dt: last_seen,
            analytic: analytic(finding, kind, detector),
            related_events: related_events(finding, &mut read),
            ..FindingInfo::default()
        },
        remediation: Remediation {
            desc: Some("Review the GuardDuty finding type page for remediation guidance"),
            references: &[Some(
                "https://docs.aws.amazon.com/guardduty/latest/ug/guardduty_finding-types-active.html",
            )],
        },
        enrichments: enrichments(finding, &mut read),
        ..DetectionFinding::of(activity_id, None)
    };
    let info = &mut event.finding_info;
    info.first_seen_time = read.time(finding, "service.eventFirstSeen");
    info.first_seen_time_dt = info.first_seen_time;
    info.attacks = attacks(finding, kind, &mut read);
    read.keep();
    event.resources = resource::resources(&context, &mut read);
    event.evidences = evidence::evidences(&context, event.resources, &mut read);
    event.observables = observables(event.evidences, event.resources, arena);
    event.unmapped = finding.unmapped(arena);
    out.push(&event);
    Ok(())
}

fn severity(text: Option<&str>) -> (i32, &'static str) {
    let number = text.and_then(|text| text.parse().ok()).filter(|number: &f64| number.is_finite());
    let Some(number) = number else { return (0, "Unknown") };
    let band = SEVERITIES.iter().find(|(end, ..)| number < *end);
    match band {
        Some(&(_, id, caption)) => (id, caption),
        None if number <= 10.0 => (5, "Critical"),
        None => (99, "Other"),
    }
}

fn product<'a>(
    context: &Context<'a>,
    partition: Option<&'a str>,
    detector: Option<&'a str>,
    read: &mut Reader<'a>,
) -> FindingProduct<'a> {
    let uid = context.region.map(|region| {
        read.alloc(&[
            "arn:",
            context.partition,
            ":securityhub:",
            region,
            "::product/aws/guardduty",
        ])
    });
    let parts = [partition, context.region, context.account, detector];
    let feature_uid = match parts {
        [Some(partition), Some(region), Some(account), Some(detector)] => Some(read.alloc(&[
            "arn:",
            partition,
            ":guardduty:",
            region,
            ":",
            account,
            ":detector/",
            detector,
        ])),
        _ => None,
    };
    FindingProduct {
        uid,
        name: Some(super::SOURCE.product),
        vendor_name: Some("AWS"),
        version: None,
        feature: FindingFeature {
            name: read.text(context.finding, "service.featureName"),
            uid: feature_uid,
        },
    }
}

/// Table G3.
fn src_url<'a>(
    context: &Context<'a>,
    partition: Option<&str>,
    id: Option<&str>,
    read: &Reader<'a>,
) -> Option<&'a str> {
    let host = match partition {
        None | Some("aws") => "console.aws.amazon.com",
        Some("aws-cn") => "console.amazonaws.cn",
        Some("aws-us-gov") => "console.amazonaws-us-gov.com",
        Some(_) => return None,
    };
    let (region, id) = (context.region?, id?);
    let path = ["/guardduty/home?region=", region, "#/findings?macros=current&fId=", id];
    Some(read.alloc(&["https://", region, ".", host, path[0], path[1], path[2], path[3]]))
}

fn analytic<'a>(
    finding: &'a Node<'a>,
    kind: Option<&'a str>,
    detector: Option<&'a str>,
) -> Analytic<'a> {
    let anomaly = finding.get("service.detection.anomaly").is_some_and(|node| !node.is_absent());
    let learned = anomaly || kind.is_some_and(|kind| kind.contains("AnomalousBehavior"));
    Analytic {
        uid: detector,
        // It needs one of the two.
        name: kind.or(Some("Unknown").filter(|_| detector.is_none())),
        type_id: Some(if learned { 4 } else { 1 }),
        r#type: Some(if learned { "Learning (ML/DL)" } else { "Rule" }),
    }
}

fn related_events<'a>(finding: &'a Node<'a>, read: &mut Reader<'a>) -> &'a [RelatedEvent<'a>] {
    let Some(list) = finding.present("associatedAttackSequenceArn") else { return &[] };
    let mut events = BumpVec::new_in(read.arena);
    for element in list.elements() {
        if let Some(uid) = read.text(element, "") {
            events.push(RelatedEvent { uid: Some(uid), product_uid: Some("guardduty") });
        }
    }
    events.into_bump_slice()
}

fn enrichments<'a>(finding: &'a Node<'a>, read: &mut Reader<'a>) -> &'a [Enrichment<'a>] {
    let Some(list) = finding.present(THREAT_INTELLIGENCE) else { return &[] };
    let mut enrichments = BumpVec::new_in(read.arena);
    for detail in list.objects("") {
        let provider = read.copy(detail, "threatListName");
        let names = detail.get("threatNames").map(Node::list).unwrap_or_default();
        let names: Vec<&str> = names.iter().filter_map(|name| name.text(read.arena)).collect();
        let joined = Some(&*read.arena.alloc_str(&names.join(","))).filter(|text| !text.is_empty());
        read.mark(detail);
        enrichments.push(Enrichment {
            name: Some(THREAT_INTELLIGENCE),
            r#type: Some("Threat Intelligence"),
            provider,
            value: joined.map(crate::cut_text).or(provider).or(Some("Unknown")),
            data: Some(detail.json(read.arena)),
        });
    }
    enrichments.into_bump_slice()
}

/// Table G4, and the indicators of attack sequences.
fn attacks<'a>(
    finding: &'a Node<'a>,
    kind: Option<&'a str>,
    read: &mut Reader<'a>,
) -> &'a [Attack<'a>] {
    let mut attacks = BumpVec::new_in(read.arena);
    let prefix = kind.and_then(|kind| kind.split(':').next());
    if let Some(&(_, uid, name)) =
        prefix.and_then(|prefix| TACTICS.iter().find(|(known, ..)| *known == prefix))
    {
        let tactic = Tactic { uid: Some(uid), name: Some(name) };
        attacks.push(Attack { tactic, ..Attack::default() });
    }
    sequence::indicators(finding, read, &mut attacks);
    attacks.into_bump_slice()
}

/// The tactic of this name, in any case.
pub(super) fn tactic(name: &str) -> Tactic<'_> {
    let known = TACTICS.iter().find(|(.., known)| known.eq_ignore_ascii_case(name));
    Tactic { uid: known.map(|(_, uid, _)| *uid), name: Some(name) }
}

fn observables<'a>(
    evidences: &[Evidence<'a>],
    resources: &[FindingResource<'a>],
    arena: &'a Bump,
) -> &'a [Observable<'a>] {
    let mut out: BumpVec<'a, Observable<'a>> = BumpVec::new_in(arena);
    let mut seen = std::collections::HashSet::new();
    let mut add = |name, type_id, kind, value: Option<&'a str>| {
        let value = value.filter(|value| *value != "Unknown");
        if value.is_some() && seen.insert((name, value)) {
            let (type_id, kind) = (Some(type_id), Some(kind));
            out.push(Observable { name: Some(name), type_id, r#type: kind, value });
        }
    };
    let (ip, host, user) = ("IP Address", "Hostname", "User Name");
    let (process, file, hash) = ("Process Name", "File Name", "Hash");
    for evidence in evidences {
        add("evidences[].src_endpoint.ip", 2, ip, evidence.src_endpoint.ip);
        add("evidences[].src_endpoint.domain", 1, host, evidence.src_endpoint.domain);
        add("evidences[].dst_endpoint.ip", 2, ip, evidence.dst_endpoint.ip);
        add("evidences[].dst_endpoint.domain", 1, host, evidence.dst_endpoint.domain);
        add("evidences[].query.hostname", 1, host, evidence.query.hostname);
        add("evidences[].actor.user.name", 4, user, evidence.actor.user.name);
        add("evidences[].process.name", 9, process, evidence.process.name);
        add("evidences[].actor.process.name", 9, process, evidence.actor.process.name);
        add("evidences[].file.name", 7, file, evidence.file.name);
        for (name, file) in [
            ("evidences[].process.file.hashes[].value", &evidence.process.file),
            ("evidences[].actor.process.file.hashes[].value", &evidence.actor.process.file),
            ("evidences[].file.hashes[].value", &evidence.file),
        ] {
            file.hashes.iter().for_each(|one| add(name, 8, hash, one.value));
        }
    }
    for resource in resources {
        add("resources[].uid", 10, "Resource UID", resource.uid);
    }
    out.into_bump_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_in_the_list_of_kinds() {
        for (prefix, uid, name) in TACTICS {
            let row = format!("| `{prefix}` | {uid} {name} |");
            assert!(include_str!("kinds.md").contains(&row), "{row}");
        }
    }

    #[test]
    fn severities_fall_into_the_bands_of_the_mapping() {
        for (text, id) in [
            ("0", 1),
            ("0.9", 1),
            ("1", 2),
            ("3.9", 2),
            ("4.0", 3),
            ("6.99", 3),
            ("7", 4),
            ("8.9", 4),
            ("9", 5),
            ("9.5", 5),
            ("10", 5),
            ("10.1", 99),
            ("-1", 99),
            ("high", 0),
            ("NaN", 0),
            ("inf", 0),
        ] {
            assert_eq!(severity(Some(text)).0, id, "{text}");
        }
        assert_eq!(severity(None), (0, "Unknown"));
    }
}
