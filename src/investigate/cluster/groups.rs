//! Sums of documents by what they have in common: all groups, not the largest.
//!
//! # Input
//! A query, fields, and what is summed up.
//! # Maps to
//! Composite aggregations, page by page, and what they give as uses of keys and flows.
//! # Known gaps
//! None.
//! # Reference
//! <https://docs.opensearch.org/latest/aggregations/bucket/composite/>.

use serde_json::{Value, json};

use super::{
    super::{
        MAX_PORTS,
        lookup::{Flows, Use},
    },
    ClusterLookup, FLOWS, conditions,
};
use crate::{
    cluster::{ClusterError, Reply},
    sink::partition::segment,
};

/// More than a cluster gives, so that nothing is left out without an error.
const ALL: usize = 65_536;

/// The hour of the day. No aggregation counts by it.
const HOUR: &str = "doc['time'].value.getHour()";
/// The port of the service, as the lake has it: the smaller one of both ends.
const PORT: &str = "def s = doc['src_endpoint.port']; def d = doc['dst_endpoint.port']; \
                    if (s.size() == 0) { return d.size() == 0 ? null : d.value } \
                    return d.size() == 0 ? s.value : Math.min(s.value, d.value)";

/// A field of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its path.
    pub name: &'static str,
    /// It counts only where there is this one, too.
    pub with: Option<&'static str>,
}

impl Field {
    /// One that counts everywhere.
    pub const fn of(name: &'static str) -> Self {
        Self { name, with: None }
    }
}

/// For whom a call was made: the first that there is.
pub const IDENTITY: [Field; 3] = [
    Field::of("pivot.source_identity"),
    Field::of("pivot.on_behalf_of"),
    Field { name: "actor.user.uid_alt", with: Some("actor.idp.uid") },
];

/// Documents that have something in common.
pub struct Group {
    /// The value of each key; empty where there is none.
    pub key: Vec<String>,
    /// How many there are, and their sums.
    bucket: Value,
}

impl ClusterLookup {
    /// All groups of documents. A key is the first of some fields that a document has: then it is asked
    /// once for each of them, and one key may come twice.
    pub(super) async fn groups(
        &self,
        classes: &[&str],
        query: Value,
        keys: &[&[Field]],
        sums: Value,
    ) -> Result<Vec<Group>, ClusterError> {
        let Some(path) = self.path(classes) else { return Ok(Vec::new()) };
        let mut groups = Vec::new();
        for chosen in choices(keys) {
            let by_choice = chosen.iter().zip(keys).flat_map(|(at, key)| condition(key, *at));
            let query = conditions::all([query.clone()].into_iter().chain(by_choice).map(Some));
            self.composite(&path, &query, &chosen, keys, &sums, &mut groups).await?;
        }
        Ok(groups)
    }

    async fn composite(
        &self,
        path: &str,
        query: &Value,
        chosen: &[usize],
        keys: &[&[Field]],
        sums: &Value,
        groups: &mut Vec<Group>,
    ) -> Result<(), ClusterError> {
        let fields: Vec<Option<&Field>> =
            chosen.iter().zip(keys).map(|(at, key)| key.get(*at)).collect();
        let named = fields.iter().enumerate();
        let named = named.filter_map(|(at, field)| Some((at.to_string(), field.as_ref()?)));
        let sources: Vec<Value> = named
            .map(|(at, field)| {
                json!({ at: { "terms": {
                "field": field.name, "missing_bucket": true } } })
            })
            .collect();
        let mut size = self.page.groups;
        let mut body = json!({
            "size": 0,
            "query": query,
            "aggs": { "groups": { "composite": { "size": size, "sources": sources } } },
        });
        if sums.as_object().is_some_and(|sums| !sums.is_empty()) {
            body["aggs"]["groups"]["aggs"] = sums.clone();
        }
        self.note(path, &body);
        loop {
            let reply = self.post(path, &body).await?;
            if is_too_many(&reply) && size > 1 {
                size /= 2;
                body["aggs"]["groups"]["composite"]["size"] = size.into();
                continue;
            }
            let mut answer = self.complete(&reply)?;
            let found = answer["aggregations"]["groups"].take();
            let after = found["after_key"].clone();
            let Value::Object(mut found) = found else { return Err(self.failed(&reply)) };
            let Some(Value::Array(buckets)) = found.remove("buckets") else {
                return Err(self.failed(&reply));
            };
            let is_full = buckets.len() == size;
            groups.extend(buckets.into_iter().map(|bucket| {
                let value = |at: usize| bucket["key"][at.to_string()].as_str().unwrap_or_default();
                Group { key: (0..fields.len()).map(|at| value(at).to_owned()).collect(), bucket }
            }));
            if !is_full || after.is_null() {
                return Ok(());
            }
            body["aggs"]["groups"]["composite"]["after"] = after;
        }
    }

    /// Flows that meet a query, summed up.
    pub(super) async fn flow_sums(&self, query: Value) -> Result<Vec<FlowSum>, ClusterError> {
        let keys: [&[Field]; 7] = [
            &[Field::of("cloud.account.uid")],
            &[Field::of("pivot.interface_uid")],
            &[Field::of("pivot.instance_uid")],
            &[Field::of("src_endpoint.ip.keyword")],
            &[Field::of("dst_endpoint.ip.keyword")],
            &[Field::of("connection_info.direction")],
            &[Field::of("action")],
        ];
        let mut sums = times();
        sums["packets"] = json!({ "sum": { "field": "traffic.packets" } });
        sums["bytes"] = json!({ "stats": { "field": "traffic.bytes" } });
        sums["ports"] = script(PORT, MAX_PORTS);
        let groups = self.groups(FLOWS, query, &keys, sums).await?;
        Ok(groups.iter().map(Group::as_flows).collect())
    }
}

/// Flows with what their order depends on.
pub struct FlowSum {
    /// The flows.
    pub flows: Flows,
    /// One of them says how many bytes it had.
    pub has_bytes: bool,
}

impl FlowSum {
    /// Whose they are.
    pub fn ids(&self) -> [(bool, String); 3] {
        let Flows { account, interface, instance, .. } = &self.flows;
        [account, interface, instance].map(|text| super::empty_last(text))
    }

    /// From where to where, and how: what is missing last.
    pub fn ends(&self) -> [(bool, String); 4] {
        let Flows { src_ip, dst_ip, direction, action, .. } = &self.flows;
        [src_ip, dst_ip, direction, action].map(|text| super::empty_last(text))
    }
}

/// What is summed up of uses.
pub fn of_uses() -> Value {
    let mut sums = times();
    sums["operations"] = json!({ "terms": { "field": "api.operation", "size": ALL } });
    sums["regions"] =
        json!({ "terms": { "field": "cloud.region", "missing": "unknown", "size": ALL } });
    sums["hours"] = script(HOUR, 24);
    sums
}

fn times() -> Value {
    json!({ "first": { "min": { "field": "time" } }, "last": { "max": { "field": "time" } } })
}

/// The first numbers that a script gives, in their order.
fn script(source: &str, size: usize) -> Value {
    json!({ "terms": {
        "script": { "lang": "painless", "source": source },
        "value_type": "long",
        "order": { "_key": "asc" },
        "size": size,
    } })
}

/// A number of an answer; they are all doubles, and those of ours whole.
pub fn number(value: &Value) -> i64 {
    value.as_i64().or_else(|| value.as_f64().map(|value| value as i64)).unwrap_or_default()
}

/// The answer would have more groups than the cluster gives in one.
pub fn is_too_many(reply: &Reply) -> bool {
    const NAME: &[u8] = b"too_many_buckets_exception";
    reply.status != 200 && reply.body.windows(NAME.len()).any(|part| part == NAME)
}

/// Adds up two parts of one use.
pub fn add(known: &mut Use, more: &Use) {
    known.operations.extend(more.operations.iter().cloned());
    known.regions.extend(more.regions.iter().cloned());
    known.hours.extend(&more.hours);
    known.count += more.count;
    (known.first, known.last) = (known.first.min(more.first), known.last.max(more.last));
}

impl Group {
    /// The values of its keys.
    pub fn texts<const N: usize>(&self) -> [String; N] {
        std::array::from_fn(|at| self.key.get(at).cloned().unwrap_or_default())
    }

    fn count(&self) -> u64 {
        self.bucket["doc_count"].as_u64().unwrap_or_default()
    }

    fn value(&self, name: &str) -> i64 {
        number(&self.bucket[name]["value"])
    }

    /// The keys of the groups within.
    fn within(&self, name: &str) -> impl Iterator<Item = &Value> {
        let buckets = self.bucket[name]["buckets"].as_array();
        buckets.into_iter().flatten().map(|bucket| &bucket["key"])
    }

    /// As a use, of the keys of a use.
    pub fn as_use(&self) -> Use {
        let [identity, key, principal, address, agent] = self.texts();
        let texts = |name| self.within(name).filter_map(Value::as_str);
        Use {
            identity,
            key,
            principal,
            address,
            agent,
            operations: texts("operations").map(str::to_owned).collect(),
            // As the folders of the lake have them.
            regions: texts("regions").map(|region| segment(region).to_owned()).collect(),
            hours: self.within("hours").map(number).collect(),
            count: self.count(),
            first: self.value("first"),
            last: self.value("last"),
        }
    }

    fn as_flows(&self) -> FlowSum {
        let [account, interface, instance, src_ip, dst_ip, direction, action] = self.texts();
        let bytes = &self.bucket["bytes"];
        let flows = Flows {
            account,
            interface,
            instance,
            src_ip,
            dst_ip,
            ports: self.within("ports").map(number).collect(),
            direction,
            action,
            count: self.count(),
            packets: self.value("packets") as u64,
            bytes: number(&bytes["sum"]) as u64,
            first: self.value("first"),
            last: self.value("last"),
        };
        FlowSum { flows, has_bytes: number(&bytes["count"]) > 0 }
    }
}

/// Every way to choose one field of each key, or none of a key that has one only where another field is
/// there, too.
fn choices(keys: &[&[Field]]) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for key in keys {
        let ends_with_none = key.last().is_some_and(|last| last.with.is_some());
        let count = key.len() + usize::from(ends_with_none);
        let with =
            |at: usize| all.iter().map(move |chosen: &Vec<usize>| [&chosen[..], &[at]].concat());
        all = (0..count).flat_map(with).collect();
    }
    all
}

/// That a field is the first of a key that is there. The last one need not be there.
fn condition(key: &[Field], at: usize) -> Vec<Value> {
    let exists = |name: &str| json!({ "exists": { "field": name } });
    let is_there = |field: &Field| {
        let both = [Some(field.name), field.with].into_iter().flatten();
        conditions::all(both.map(|name| Some(exists(name))))
    };
    let before = key[..at.min(key.len())].iter();
    let mut all: Vec<Value> =
        before.map(|field| json!({ "bool": { "must_not": [is_there(field)] } })).collect();
    let is_last = at + 1 >= key.len();
    if let Some(field) = key.get(at).filter(|field| !is_last || field.with.is_some()) {
        all.push(is_there(field));
    }
    all
}
