//! A story as the answer to a responder.
//!
//! # Input
//! A story, what came later, what there is of each class, gaps.
//! # Maps to
//! [`Report`], the JSON object; its times are texts, so that people can read it too.
//! # Known gaps
//! None.
//! # Reference
//! Issue "Ask the lake": the answer first.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::{
    baseline::Judged,
    document::Finding,
    lookup::{Coverage, Flows, Use},
    radius::{BlastRadius, blast_radius},
    stages,
    standing::Standing,
    story::{Entity, Included, Kind, Link, Role, Story, Strength, time_text},
    subject::Subject,
};

/// The answer.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What was asked about.
    pub subject: Subject,
    /// What happened, in one paragraph.
    pub summary: String,
    /// The findings of the story, newest export of each.
    pub findings: Vec<FoundRow>,
    /// From when to when it went on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<(String, String)>,
    /// What may still be there; from logs: verify live.
    pub still_standing: Vec<Standing>,
    /// What was touched.
    pub blast_radius: BlastRadius,
    /// Tactics in their order, each with what was called.
    pub stages: Vec<StageRow>,
    /// Every call of the story, in the order of time.
    pub timeline: Vec<TimelineRow>,
    /// Traffic with addresses of the story.
    pub network: Vec<NetworkRow>,
    /// Keys, principals, addresses and the rest.
    pub entities: Vec<EntityRow>,
    /// What led to what.
    pub links: BTreeSet<Link>,
    /// Ordinary use of the same keys, which is not in the timeline.
    pub usual: Usual,
    /// Until when there are data, by source.
    pub coverage: Vec<CoverageRow>,
    /// Data that should be there and are not, and what logs cannot show.
    pub gaps: Vec<Gap>,
    /// What was asked, for anyone to ask again.
    pub queries: Vec<String>,
    /// Whole events, by the uid of a call or of a finding; not part of the JSON object.
    #[serde(skip)]
    pub documents: BTreeMap<String, Value>,
}

/// A finding.
#[derive(Debug, Serialize)]
pub struct FoundRow {
    /// Its uid.
    pub uid: String,
    /// Its type.
    pub kind: String,
    /// Its title.
    pub title: String,
    /// Its severity.
    pub severity: String,
    /// The account.
    pub account: String,
    /// The account's name.
    pub account_name: String,
    /// What the accounts file says of the account, such as its owner.
    pub account_labels: Vec<String>,
    /// The region.
    pub region: String,
    /// First seen.
    pub first: String,
    /// Last seen.
    pub last: String,
    /// How often it was exported.
    pub exports: u64,
    /// Generated on request.
    pub is_sample: bool,
}

/// A call.
#[derive(Debug, Serialize)]
pub struct TimelineRow {
    /// When.
    pub time: String,
    /// `metadata.uid`.
    pub uid: String,
    /// The class.
    pub class: String,
    /// Service and operation.
    pub what: String,
    /// Who.
    pub who: String,
    /// The access key.
    pub key: String,
    /// The address, or the service that called.
    pub from: String,
    /// The account.
    pub account: String,
    /// The account's name.
    pub account_name: String,
    /// The region.
    pub region: String,
    /// What was acted on.
    pub resource: String,
    /// `Success`, or the error.
    pub outcome: String,
    /// The tactic.
    pub stage: &'static str,
    /// Why it is here.
    pub why: String,
    /// How sure that is.
    pub strength: Strength,
    /// The object that it was read from.
    pub log_name: String,
}

/// Traffic between two addresses.
#[derive(Debug, Serialize)]
pub struct NetworkRow {
    /// The flows.
    #[serde(flatten)]
    pub flows: Flows,
    /// First one, as text.
    pub first_time: String,
    /// Last one, as text.
    pub last_time: String,
}

/// Something of the story.
#[derive(Debug, Serialize)]
pub struct EntityRow {
    /// What kind of thing.
    pub kind: Kind,
    /// Which one.
    pub value: String,
    /// `suspicious`, `split`, `shared` or `named`.
    pub role: &'static str,
    /// Why it is here.
    pub why: String,
    /// How sure that is.
    pub strength: Strength,
    /// First seen in a call of the story.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    /// Last seen in a call of the story.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// Calls of the story.
    pub calls: u64,
}

/// Calls of one tactic.
#[derive(Debug, Serialize)]
pub struct StageRow {
    /// The tactic.
    pub stage: &'static str,
    /// First call.
    pub first: String,
    /// Last call.
    pub last: String,
    /// Calls by operation.
    pub operations: BTreeMap<String, u64>,
}

/// Ordinary use.
#[derive(Debug, Serialize)]
pub struct Usual {
    /// Calls since the story began.
    pub calls: u64,
    /// Addresses and programs.
    pub uses: Vec<UsualRow>,
    /// Since when the keys are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline_since: Option<String>,
}

/// Ordinary use of one key from one address with one program.
#[derive(Debug, Serialize)]
pub struct UsualRow {
    /// The key.
    pub key: String,
    /// The principal.
    pub principal: String,
    /// The address.
    pub address: String,
    /// The program.
    pub agent: String,
    /// Calls.
    pub calls: u64,
    /// First one.
    pub first: String,
    /// Last one.
    pub last: String,
    /// What of it is unlike what came before: `address`, `program`, `operations`, `regions`, `hours`.
    pub news: Vec<&'static str>,
}

/// What there is of a source.
#[derive(Debug, Serialize)]
pub struct CoverageRow {
    /// The source.
    pub source: &'static str,
    /// Events.
    pub count: u64,
    /// First one.
    pub first: String,
    /// Last one: data are complete until then at most.
    pub last: String,
}

/// Something that could not be seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Gap {
    /// True if data should be there: then the answer may change when they are loaded.
    pub touches_story: bool,
    /// What.
    pub what: String,
}

/// What a report is made of.
pub struct Material {
    /// What was asked about.
    pub subject: Subject,
    /// What was found.
    pub story: Story,
    /// What is left.
    pub standing: Vec<Standing>,
    /// Traffic.
    pub flows: Vec<Flows>,
    /// What there is.
    pub coverage: Vec<Coverage>,
    /// What is not there.
    pub gaps: Vec<Gap>,
    /// What was asked.
    pub queries: Vec<String>,
}

impl Report {
    /// Puts it together.
    pub fn new(material: Material) -> Self {
        let Material { subject, story: whole, standing, flows, coverage, gaps, queries } = material;
        let story = &whole;
        let mut findings: Vec<_> = story.findings.values().collect();
        findings.sort_by(|a, b| (b.time, &a.uid).cmp(&(a.time, &b.uid)));
        let blast_radius = blast_radius(story);
        Self {
            summary: super::text::summary(&subject, story, &blast_radius, &standing),
            findings: findings.into_iter().map(|finding| found(finding, story)).collect(),
            window: story.window().map(|(first, last)| (time_text(first), time_text(last))),
            still_standing: standing,
            blast_radius,
            stages: stage_rows(story),
            timeline: story.calls.values().map(row).collect(),
            network: flows.into_iter().map(network).collect(),
            entities: entities(story),
            links: story.links.clone(),
            usual: usual(story),
            coverage: covered(&coverage),
            gaps,
            queries,
            subject,
            documents: documents(whole),
        }
    }

    /// Adds something that should have been read.
    pub fn add_gap(&mut self, what: String) {
        self.gaps.insert(0, super::gaps::touching(what));
    }

    /// True if data that should be there touch the story.
    pub fn has_gaps(&self) -> bool {
        self.gaps.iter().any(|gap| gap.touches_story)
    }
}

fn documents(story: Story) -> BTreeMap<String, Value> {
    let calls = story.calls.into_values().map(|one| (one.call.uid, one.call.document));
    calls.chain(story.findings.into_iter().map(|(uid, finding)| (uid, finding.document))).collect()
}

fn found(finding: &Finding, story: &Story) -> FoundRow {
    let own = |path: &str| finding.text(path).unwrap_or_default().to_owned();
    let labels = super::document::at(&finding.document, "metadata.labels");
    let labels = labels.and_then(Value::as_array).into_iter();
    let (first, last) = finding.window();
    FoundRow {
        uid: finding.uid.clone(),
        kind: finding.kind().to_owned(),
        title: own("finding_info.title"),
        severity: own("severity"),
        account: own("cloud.account.uid"),
        account_name: own("cloud.account.name"),
        account_labels: labels.flatten().filter_map(|one| Some(one.as_str()?.to_owned())).collect(),
        region: own("cloud.region"),
        first: time_text(first),
        last: time_text(last),
        exports: story.exports.get(&finding.uid).copied().unwrap_or(0),
        is_sample: finding.is_sample(),
    }
}

fn row(included: &Included) -> TimelineRow {
    let Included { call, why, strength } = included;
    let own = |path: &str| call.text(path).unwrap_or_default().to_owned();
    TimelineRow {
        time: time_text(call.time),
        uid: call.uid.clone(),
        class: own("class_name"),
        what: format!("{} {}", call.service(), call.operation()),
        who: call.who().to_owned(),
        key: call.key().unwrap_or_default().to_owned(),
        from: call.from().to_owned(),
        account: call.account().to_owned(),
        account_name: own("cloud.account.name"),
        region: call.region().to_owned(),
        resource: call.resource(),
        outcome: call.error().unwrap_or("Success").to_owned(),
        stage: stages::stage(call),
        why: why.clone(),
        strength: *strength,
        log_name: own("metadata.log_name"),
    }
}

fn network(flows: Flows) -> NetworkRow {
    let (first_time, last_time) = (time_text(flows.first), time_text(flows.last));
    NetworkRow { flows, first_time, last_time }
}

/// Classes of a source taken together: each of them may be quiet.
fn covered(coverage: &[Coverage]) -> Vec<CoverageRow> {
    let mut sources: BTreeMap<&str, (u64, i64, i64)> = BTreeMap::new();
    for Coverage { class, count, first, last } in coverage {
        let source = match class.as_str() {
            "network_activity" => "VPC Flow Logs",
            "detection_finding" => "GuardDuty",
            _ => "CloudTrail",
        };
        let known = sources.entry(source).or_insert((0, *first, *last));
        *known = (known.0 + count, known.1.min(*first), known.2.max(*last));
    }
    let row = |(source, (count, first, last))| CoverageRow {
        source,
        count,
        first: time_text(first),
        last: time_text(last),
    };
    sources.into_iter().map(row).collect()
}

fn entities(story: &Story) -> Vec<EntityRow> {
    let mut seen: BTreeMap<(Kind, &str), (i64, i64, u64)> = BTreeMap::new();
    for ((time, _), included) in &story.calls {
        let call = &included.call;
        let named = [
            (Kind::AccessKey, call.key()),
            (Kind::Principal, call.principal()),
            (Kind::Identity, call.identity()),
            (Kind::Address, call.address()),
        ];
        for (kind, value) in named {
            let Some(value) = value else { continue };
            let entry = seen.entry((kind, value)).or_insert((*time, *time, 0));
            *entry = (entry.0.min(*time), entry.1.max(*time), entry.2 + 1);
        }
    }
    let all = story.entities.iter().filter(|((kind, _), _)| *kind != Kind::Finding);
    all.map(|((kind, value), entity)| {
        let Entity { role, why, strength } = entity;
        let seen = seen.get(&(*kind, value.as_str()));
        EntityRow {
            kind: *kind,
            value: value.clone(),
            role: match role {
                Role::Suspicious => "suspicious",
                Role::Own => "split",
                Role::Shared => "shared",
                Role::Named => "named",
            },
            why: why.clone(),
            strength: *strength,
            first: seen.map(|seen| time_text(seen.0)),
            last: seen.map(|seen| time_text(seen.1)),
            calls: seen.map_or(0, |seen| seen.2),
        }
    })
    .collect()
}

fn stage_rows(story: &Story) -> Vec<StageRow> {
    let mut rows: BTreeMap<usize, StageRow> = BTreeMap::new();
    for included in story.calls.values() {
        let call = &included.call;
        let stage = stages::stage(call);
        let time = time_text(call.time);
        let row = rows.entry(stages::order(stage)).or_insert_with(|| StageRow {
            stage,
            first: time.clone(),
            last: time.clone(),
            operations: BTreeMap::new(),
        });
        row.last = time;
        let what = format!("{} {}", call.service(), call.operation());
        *row.operations.entry(what).or_default() += 1;
    }
    rows.into_values().collect()
}

/// Ordinary use that is not in the timeline: where the key itself was asked about, all of it is.
fn usual(story: &Story) -> Usual {
    let begin = story.window().map_or(i64::MIN, |(first, _)| first);
    let mut told: BTreeMap<[&str; 4], u64> = BTreeMap::new();
    for Included { call, .. } in story.calls.values() {
        let or_none = Option::unwrap_or_default;
        let place = [or_none(call.key()), or_none(call.principal()), or_none(call.address())];
        *told.entry([place[0], place[1], place[2], call.agent()]).or_default() += 1;
    }
    let left = |used: &Use| {
        let place = [&used.key, &used.principal, &used.address, &used.agent];
        used.count.saturating_sub(told.get(&place.map(String::as_str)).copied().unwrap_or(0))
    };
    let rest: Vec<(&Judged, u64)> = story
        .usual
        .iter()
        .map(|one| (one, left(&one.used)))
        .filter(|(_, calls)| *calls > 0)
        .collect();
    let rows = rest.iter().map(|(Judged { used, news }, calls)| UsualRow {
        key: used.key.clone(),
        principal: used.principal.clone(),
        address: used.address.clone(),
        agent: used.agent.clone(),
        calls: *calls,
        first: time_text(used.first),
        last: time_text(used.last),
        news: news.clone(),
    });
    let since = rest.iter().filter(|(one, _)| one.used.last >= begin);
    Usual {
        calls: since.map(|(_, calls)| calls).sum(),
        uses: rows.collect(),
        baseline_since: story.baseline.map(time_text),
    }
}
