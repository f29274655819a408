//! A CloudTrail Insights event to Detection Finding.
//!
//! # Input
//! A record of the category `Insight`: the start or the end of unusual activity.
//! # Maps to
//! Mapping table M5. Start and end have the same finding uid.
//! # Known gaps
//! None.
//! # Reference
//! Mapping 3.7;
//! <https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-insights-fields-trails.html>.

use bumpalo::Bump;

use crate::{
    Origin, Rows,
    json::Member,
    ocsf::{
        self, Analytic, DetectionFinding, Evidence, EvidenceApi, EvidenceResponse, FindingAccount,
        FindingCloud, FindingFeature, FindingInfo, FindingMetadata, FindingProduct, Service,
    },
    tree::{Keys, Node, Reader},
};

/// Maps one record and keeps the event, or says why it cannot.
pub(super) fn push(
    members: &[Member<'_>],
    raw: &str,
    origin: &Origin,
    arena: &Bump,
    out: &mut Rows,
) -> Result<(), &'static str> {
    let record = &Node::of(raw, members, Keys::AsTheyAre, arena);
    let mut read = Reader::new(arena);
    let time = read.time(record, "eventTime").ok_or("no time")?;
    let uid = read.text(record, "eventID").unwrap_or_else(|| crate::hash_uid(raw, arena));
    read.parse(record, "eventCategory", |text| (text == "Insight").then_some(()));
    let account = read
        .copy(record, "recipientAccountId")
        .or_else(|| read.copy(record, "userIdentity.accountId"))
        .or(origin.key.account());
    let state = read.text(record, "insightDetails.state");
    let (activity_id, status_id, status) = match state {
        Some("Start") => (1, 1, "New"),
        Some("End") => (3, 4, "Resolved"),
        None => (0, 0, "Unknown"),
        Some(_) => (99, 0, "Unknown"),
    };
    let kind = read.text(record, "insightDetails.insightType");
    let mut event = DetectionFinding {
        time: Some(time),
        time_dt: Some(time),
        status_id: Some(status_id),
        status: Some(status),
        metadata: FindingMetadata {
            uid: Some(uid),
            version: Some(ocsf::VERSION),
            product: FindingProduct {
                uid: None,
                name: Some(super::SOURCE.product),
                vendor_name: Some("AWS"),
                version: read.text(record, "eventVersion"),
                feature: FindingFeature { name: Some("Insight"), uid: None },
            },
            profiles: &[Some("cloud"), Some("datetime")],
            labels: origin.accounts.labels(account, arena),
            event_code: read.text(record, "eventType"),
            log_version: None,
            log_name: Some(origin.key.name()),
        },
        cloud: FindingCloud {
            provider: Some("AWS"),
            region: read.text(record, "awsRegion").or(origin.key.region()),
            account: FindingAccount {
 uid: account,
 name: origin.accounts.name(account),
 ..FindingAccount::default()
 },
        },
        finding_info: FindingInfo {
            uid: read.text(record, "sharedEventID").or(Some(uid)),
            title: Some(title(record, &read)),
            types: arena.alloc([kind]),
            analytic: Analytic {
                uid: None,
                name: kind.or(Some("Unknown")),
                type_id: Some(3),
                r#type: Some("Statistical"),
            },
            ..FindingInfo::default()
        },
        ..DetectionFinding::of(activity_id, state)
    };
    let evidence = evidence(record, &mut read);
    event.evidences = arena.alloc([evidence]);
    read.keep();
    event.unmapped = record.unmapped(arena);
    out.push(&event);
    Ok(())
}

fn title<'a>(record: &'a Node<'a>, read: &Reader<'a>) -> &'a str {
    let part = |name: &str| read.copy(record, &["insightDetails.", name].concat());
    let known = |name| part(name).unwrap_or("Unknown");
    let (kind, source, name) = (known("insightType"), known("eventSource"), known("eventName"));
    match part("errorCode") {
        Some(code) => {
            read.alloc(&["CloudTrail Insights ", kind, ": ", source, " ", name, " (", code, ")"])
        }
        None => read.alloc(&["CloudTrail Insights ", kind, ": ", source, " ", name]),
    }
}

fn evidence<'a>(record: &'a Node<'a>, read: &mut Reader<'a>) -> Evidence<'a> {
    let mut evidence = Evidence::default();
    if let Some(operation) = read.text(record, "insightDetails.eventName") {
        evidence.api = EvidenceApi {
            operation: Some(operation),
            service: Service { name: read.text(record, "insightDetails.eventSource") },
            response: EvidenceResponse {
                error: read.text(record, "insightDetails.errorCode"),
                code: None,
            },
        };
    }
    if let Some(context) = record.present("insightDetails.insightContext") {
        evidence.data = Some(context.json(read.arena));
        read.mark(context);
    }
    evidence
}
