//! The official pairs of raw record and OCSF event, published by the schema's authors: our event
//! is theirs, but for the differences that the mapping names (its section 6).

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use parsers::{Filter, Limits, ObjectKey, Rows};
use serde_json::Value;

use crate::support::shared;

/// A pair, and how our event differs: `+` only ours has it, `-` only theirs, `~` another value.
const PAIRS: [(&str, &str, &[&str]); 8] = [
    (
        "md_v1.1.0_cloudtrail_api_activity_generic_api_activity",
        "cloudtrail",
        &["+ actor.user.type_id", "+ cloud.account.uid", "+ status_id"],
    ),
    (
        "md_v1.1.0_cloudtrail_account_change_account_change",
        "cloudtrail",
        &[
            "+ actor.session.created_time",
            "+ actor.user.type_id",
            "+ cloud.account.uid",
            "+ status_id",
        ],
    ),
    (
        "md_v1.1.0_cloudtrail_authentication_authentication",
        "cloudtrail",
        &[
            "+ actor.user.type_id",
            "+ cloud.account.uid",
            "+ observables{user.name}",
            "+ status_id",
            "+ user.name",
            "- api.request.uid",
        ],
    ),
    (
        "md_v1.1.0_vpc_flowlogs_vpcflowlog",
        "vpc_flow",
        &[
            "+ connection_info.protocol_name",
            "+ disposition_id",
            "+ end_time",
            "+ metadata.uid",
            "+ observables{dst_endpoint.interface_uid}",
            "+ start_time",
            "- connection_info.boundary",
            "- connection_info.boundary_id",
            "- dst_endpoint.svc_name",
            "- src_endpoint.svc_name",
            "- unmapped.sublocation_id",
            "- unmapped.sublocation_type",
            // Row 23: a typing error in the pair.
            "~ dst_endpoint.interface_uid",
        ],
    ),
    (
        "md_v1.5.0_cloudtrail_api_activity_generic_api_activity",
        "cloudtrail",
        &[
            "+ actor.user.type_id",
            "+ status_id",
            "+ unmapped.recipientAccountId",
            "~ metadata.version",
        ],
    ),
    (
        // Row 24: an API Activity event, whatever its name says.
        "md_v1.5.0_cloudtrail_account_change_account_change",
        "cloudtrail",
        &[
            "+ actor.session.created_time",
            "+ actor.user.type_id",
            "+ src_endpoint.svc_name",
            "+ status_id",
            "+ unmapped.recipientAccountId",
            // Row 22: empty texts.
            "- api.response.data",
            "- src_endpoint.uid",
            // Row 25: the pair is four hours off.
            "~ actor.session.created_time_dt",
            "~ metadata.version",
            "~ time_dt",
        ],
    ),
    (
        "md_v1.5.0_cloudtrail_authentication_authentication",
        "cloudtrail",
        &[
            "+ actor.user.type_id",
            "+ observables{user.name}",
            // Row 13: what the class requires.
            "+ service.name",
            "+ status",
            "+ status_id",
            "+ unmapped.recipientAccountId",
            "+ user.name",
            "+ user.uid_alt",
            "~ metadata.version",
        ],
    ),
    (
        "md_v1.5.0_vpc_flowlogs_vpcflowlog",
        "vpc_flow",
        &[
            "+ connection_info.protocol_name",
            "+ disposition_id",
            "+ end_time",
            "+ metadata.uid",
            "+ observables{src_endpoint.interface_uid}",
            "+ start_time",
            "- dst_endpoint.svc_name",
            "- src_endpoint.instance_uid",
            "- src_endpoint.svc_name",
            "- unmapped.ecs_container_instance_arn",
            "- unmapped.ecs_container_instance_id",
            "- unmapped.sublocation_id",
            "- unmapped.sublocation_type",
            "~ metadata.version",
        ],
    ),
];

/// The event of one raw record that lies in no object.
fn event(source: &str, raw: &[u8]) -> Value {
    let limits = Limits { rows: 10, input_bytes: 1 << 20, document_bytes: 1 << 20 };
    let mut rows = Rows::new(limits, Arc::new([Filter::default()])).with_json();
    let mut decoder = (parsers::source(source).unwrap().decoder)(&ObjectKey::new("").into());
    assert_eq!(decoder.decode(raw, true, &mut rows).unwrap(), raw.len());
    serde_json::from_slice(&rows.take_json()).unwrap()
}

/// Leaves by path: times as instants, observables by name and value, JSON texts as JSON.
fn leaves(path: &str, value: &Value, found: &mut BTreeMap<String, Value>) {
    let below =
        |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                leaves(&below(name), member, found);
            }
        }
        Value::Array(members) if path == "observables" => {
            for member in members {
                let name = member["name"].as_str().unwrap();
                let before = found.insert(format!("{path}{{{name}}}"), member.clone());
                assert!(before.is_none(), "one observable of a name in these pairs");
            }
        }
        Value::String(text) if path.ends_with("_dt") => {
            let ms = parsers::time::from_text(text).expect(text);
            found.insert(path.to_owned(), ms.into());
        }
        Value::String(text) if path.rsplit('.').next() == Some("data") => {
            let value = serde_json::from_str(text).unwrap_or_else(|_| value.clone());
            found.insert(path.to_owned(), value);
        }
        _ => {
            found.insert(path.to_owned(), value.clone());
        }
    }
}

fn differences(ours: &Value, theirs: &Value) -> Vec<String> {
    let (mut a, mut b) = (BTreeMap::new(), BTreeMap::new());
    leaves("", ours, &mut a);
    leaves("", theirs, &mut b);
    let mut found = Vec::new();
    for (path, value) in &a {
        match b.get(path) {
            None => found.push(format!("+ {path}")),
            Some(other) if other != value => found.push(format!("~ {path}")),
            Some(_) => {}
        }
    }
    found.extend(b.keys().filter(|path| !a.contains_key(*path)).map(|path| format!("- {path}")));
    found.sort();
    found
}

#[test]
fn the_official_pairs_differ_only_as_the_mapping_says() {
    let Some(folder) = shared("official pairs", "golden") else { return };
    for (name, source, expected) in PAIRS {
        let pair = pair(&folder, name);
        let raw = match &pair["raw"] {
            // The pairs have flow logs as CSV.
            Value::String(text) => text.replace(',', " "),
            record => record.to_string(),
        };
        let ours = event(source, raw.as_bytes());
        assert_eq!(differences(&ours, &pair["ocsf"]), expected, "{name}: {ours:#}");
    }
}

#[test]
fn no_official_pair_of_our_sources_is_left_out() {
    let Some(folder) = shared("official pairs", "golden") else { return };
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.contains("cloudtrail") || name.contains("vpc_flow") {
            assert!(PAIRS.iter().any(|(known, ..)| name == format!("{known}.json")), "{name}");
        }
    }
}

fn pair(folder: &Path, name: &str) -> Value {
    let text = fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}
