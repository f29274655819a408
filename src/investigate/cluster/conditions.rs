//! Queries for what an investigation wants.
//!
//! # Input
//! Keys, addresses, principals, times.
//! # Maps to
//! Queries in OpenSearch's language, each meaning what the lake's SQL means.
//! # Known gaps
//! None.
//! # Reference
//! <https://docs.opensearch.org/latest/query-dsl/>; `setup/templates.rs` says how fields are indexed.
//! Members of a `flat_object` are found by their exact value, through lists too. What is cut for the
//! index, and whole in `…_full`, is longer than any id.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    super::{
        MAX_TIME,
        lookup::{Calls, Range},
    },
    groups::{Field, IDENTITY},
};

/// One of these values; None if there are none.
pub fn among(field: &str, values: &BTreeSet<String>) -> Option<Value> {
    (!values.is_empty()).then(|| json!({ "terms": { field: values } }))
}

/// Any of these; None if there are none.
pub fn any(conditions: impl IntoIterator<Item = Option<Value>>) -> Option<Value> {
    let all: Vec<Value> = conditions.into_iter().flatten().collect();
    (!all.is_empty()).then(|| json!({ "bool": { "should": all, "minimum_should_match": 1 } }))
}

/// All of these. Without scores, which nobody looks at.
pub fn all(conditions: impl IntoIterator<Item = Option<Value>>) -> Value {
    let all: Vec<Value> = conditions.into_iter().flatten().collect();
    if all.is_empty() { json!({ "match_all": {} }) } else { json!({ "bool": { "filter": all } }) }
}

/// In a range of time; what is before and after everything is not said.
pub fn within(range: Range) -> Option<Value> {
    let mut bounds = json!({ "format": "epoch_millis" });
    if range.since > 0 {
        bounds["gte"] = range.since.into();
    }
    if range.until < MAX_TIME {
        bounds["lte"] = range.until.into();
    }
    let has_bound = bounds.as_object().is_some_and(|bounds| bounds.len() > 1);
    has_bound.then(|| json!({ "range": { "time": bounds } }))
}

/// What a class of calls has of this; None if it can have nothing.
pub fn of_calls(class: &str, wanted: &Calls) -> Option<Value> {
    let operation = |names: &[&str]| Some(json!({ "terms": { "api.operation": names } }));
    let response = |path: &str, values| among(&format!("api.response.data.{path}"), values);
    let given =
        |names: &[&str], what: Option<Value>| what.map(|what| all([operation(names), Some(what)]));
    let issued = match class {
        "authentication" => among("session.credential_uid", &wanted.issued),
        "account_change" => {
            given(&["CreateAccessKey"], response("accessKey.accessKeyId", &wanted.issued))
        }
        _ => given(
            &["GetSessionToken", "GetFederationToken"],
            response("credentials.accessKeyId", &wanted.issued),
        ),
    };
    let launched =
        || given(&["RunInstances"], response("instancesSet.items.instanceId", &wanted.launched));
    let is_activity = class == "api_activity";
    let resources = if is_activity { "resources.uid" } else { "user.uid" };
    let operations = among("api.operation", &wanted.operations)
        .map(|named| all([Some(named), among("cloud.account.uid", &wanted.accounts)]));
    let of_role = wanted.names.iter().map(|name| like("actor.session.issuer", "*/", name));
    let of_session = wanted.sessions.iter();
    let of_session = of_session.map(|name| like("actor.user.uid", "*:assumed-role/*/", name));
    let identities = IDENTITY.iter().map(|field| of_identity(*field, &wanted.identities));
    any([
        among("actor.user.credential_uid", &wanted.keys),
        among("src_endpoint.ip.keyword", &wanted.addresses),
        among("actor.user.uid", &wanted.principals),
        among("actor.session.issuer", &wanted.principals),
        among("actor.user.name", &wanted.names),
        among("metadata.uid", &wanted.uids),
        among("pivot.shared_event_uid", &wanted.shared_events),
        among(resources, &wanted.resources),
        among("api.request.data", &wanted.requested),
        issued,
        operations,
        is_activity.then(launched).flatten(),
    ]
    .into_iter()
    .chain(identities)
    .chain(of_role.chain(of_session).map(Some)))
}

/// Calls of these keys, principals and identities.
pub fn of_uses(wanted: &Calls) -> Option<Value> {
    let identities = IDENTITY.iter().map(|field| of_identity(*field, &wanted.identities));
    any([
        among("actor.user.credential_uid", &wanted.keys),
        among("actor.user.uid", &wanted.principals),
        among("actor.session.issuer", &wanted.principals),
    ]
    .into_iter()
    .chain(identities))
}

fn of_identity(field: Field, values: &BTreeSet<String>) -> Option<Value> {
    let named = among(field.name, values)?;
    let with = field.with.map(|other| json!({ "exists": { "field": other } }));
    Some(if with.is_some() { all([Some(named), with]) } else { named })
}

/// A text that ends so. What is special in a pattern is not in what it ends with.
fn like(field: &str, begins: &str, ends: &str) -> Value {
    let mut pattern = begins.to_owned();
    for char in ends.chars() {
        if matches!(char, '*' | '?' | '\\') {
            pattern.push('\\');
        }
        pattern.push(char);
    }
    json!({ "wildcard": { field: { "value": pattern } } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_not_asked_for_what_it_cannot_have() {
        let launched = Calls { launched: ["i-1".into()].into(), ..Calls::default() };
        assert!(of_calls("api_activity", &launched).is_some());
        assert_eq!(of_calls("authentication", &launched), None);
        assert_eq!(of_calls("api_activity", &Calls::default()), None);
        assert_eq!(of_uses(&launched), None);
    }

    #[test]
    fn names_are_no_patterns() {
        let pattern = like("f", "*/", r"a*b?\");
        assert_eq!(pattern["wildcard"]["f"]["value"], r"*/a\*b\?\\");
    }

    #[test]
    fn times_that_bound_nothing_are_not_said() {
        assert_eq!(within(Range { since: 0, until: MAX_TIME }), None);
        let until = within(Range { since: -5, until: 7 }).unwrap();
        assert_eq!(until["range"]["time"], json!({ "format": "epoch_millis", "lte": 7 }));
    }
}
