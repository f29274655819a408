//! Index templates from the OCSF tables: what OpenSearch has to know of a field before it comes.
//!
//! # Input
//! [`CLASSES`], [`PIVOTS`], numbers of shards and replicas.
//! # Maps to
//! One component template with the settings that all indexes share, and one index template for
//! each class with its aliases and its mapping. Pure: the same files are committed in
//! `index-templates/`, written by `trailhound templates` and installed by `trailhound setup`.
//! # Known gaps
//! An index keeps the mapping it was made with: what a new version adds is in the indexes of the
//! next day or month.
//! # Reference
//! Mapping 1.3 and J2 to J4. A shard is best kept between 10 and 50 GB
//! (<https://docs.aws.amazon.com/opensearch-service/latest/developerguide/bp-sharding.html>) and
//! cannot hold more than 2,147,483,519 documents (Lucene).

use std::collections::BTreeMap;

use parsers::{
    index::{ALIAS_ALL, INGESTED_TIME, PIVOTS, PREFIX},
    ocsf::{CLASSES, Class, Field, Kind, VERSION},
};
use serde_json::{Map, Value, json};

use super::{
    body::{Body, What},
    lifecycle,
};
use crate::sink::opensearch::summary;

/// The component template with what all indexes share.
pub const SETTINGS: &str = "ocsf-settings";

/// The template of the summaries of batches.
const LEDGER: &str = "trailhound-ledger";

/// Above the templates that match everything, and above those of the OpenSearch catalog.
const PRIORITY: u32 = 200;

/// Documents for which one shard of one index is meant: about 35 GB of flow logs, and a twentieth
/// of what Lucene can hold.
pub const DOCUMENTS_PER_SHARD: u64 = 100_000_000;

/// The longest keyword: its UTF-8 is below the 32,766 bytes that a term of Lucene may have.
const MAX_KEYWORD_CHARS: u32 = 8191;

/// What of the templates depends on the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Replicas of every index; one if it is not said.
    pub replicas: Option<u32>,
    /// Primary shards of an index, by name of the class; one where it is not said.
    pub shards: BTreeMap<String, u32>,
    /// A collection of OpenSearch Serverless decides about shards, codec and refreshing itself, and
    /// refuses templates that do.
    pub serverless: bool,
}

/// The primary shards of an index that is to hold so many documents.
pub fn shards_for(documents: u64) -> u64 {
    documents.div_ceil(DOCUMENTS_PER_SHARD).max(1)
}

/// Every template, in the order in which they are to be installed.
pub fn templates(sizes: &Sizes) -> Vec<Body> {
    let mut all = Vec::new();
    if !sizes.serverless {
        all.push(Body::new(What::Component, SETTINGS, settings(sizes)));
    }
    all.extend(CLASSES.iter().map(|class| {
        Body::new(What::IndexTemplate, &template_name(class), index_template(class, sizes))
    }));
    all.push(Body::new(What::IndexTemplate, LEDGER, ledger(sizes)));
    all
}

/// Summaries of batches, which are few and small. Counts are named by class and source, so the
/// names of fields are bounded although they are not listed here.
fn ledger(sizes: &Sizes) -> Value {
    let mut body = json!({
        "index_patterns": [format!("{}*", summary::PREFIX)],
        "priority": PRIORITY,
        "template": { "mappings": { "properties": {
            "time": date(),
            "batch": keyword(),
            "lake": keyword(),
            "writer": keyword(),
            "seconds": { "type": "double" },
        } } },
        "_meta": { "description": "Summaries of the batches that Trailhound loaded." },
    });
    if !sizes.serverless {
        body["composed_of"] = json!([SETTINGS]);
    }
    body
}

/// Every template and the default policies as files, by their path.
pub fn files(sizes: &Sizes) -> Vec<(String, String)> {
    let file = |folder: &str, body: &Body| {
        (format!("{folder}{}.json", body.name), super::body::pretty(&body.value))
    };
    let templates = templates(sizes);
    let policies = lifecycle::policies(&lifecycle::Days::new());
    let templates = templates.iter().map(|body| file("", body));
    templates.chain(policies.iter().map(|body| file("lifecycle/", body))).collect()
}

/// The name of the template of a class, such as `ocsf-1.1.0-4001-network_activity`.
pub fn template_name(class: &Class) -> String {
    format!("{PREFIX}-{VERSION}-{}-{}", class.uid, class.name)
}

/// Numbers are text, as the server gives them back.
fn settings(sizes: &Sizes) -> Value {
    json!({
        "template": { "settings": { "index": {
            "number_of_shards": "1",
            "number_of_replicas": sizes.replicas.unwrap_or(1).to_string(),
            // A fifth smaller than the default: 340 bytes a document instead of 419, of 150,000
            // made-up flow logs in one segment on 3.8.0.
            "codec": "best_compression",
            // Searches are for what happened minutes ago; each second costs segments and merges.
            "refresh_interval": "30s",
            // The server's default, said because a mapping that came near it would be a mistake.
            "mapping": { "total_fields": { "limit": "1000" } },
            // The newest first, which is how events are read: such searches end early, and what is
            // alike lies together (7 % smaller, with the same).
            "sort": { "field": ["time"], "order": ["desc"] },
        } } },
        "_meta": { "description": "Settings of Trailhound's indexes of OCSF events." },
    })
}

fn index_template(class: &Class, sizes: &Sizes) -> Value {
    let mut template = json!({
        "aliases": { (class.alias()): {}, (ALIAS_ALL): {} },
        "mappings": mappings(class),
    });
    let shards = sizes.shards.get(class.name).filter(|_| !sizes.serverless);
    if let Some(shards) = shards {
        template["settings"] = json!({ "index": { "number_of_shards": shards.to_string() } });
    }
    let mut body = json!({
        "index_patterns": [format!("{}*", class.index_prefix())],
        "priority": PRIORITY,
        "template": template,
        "_meta": {
            "description":
                format!("OCSF {VERSION} {} ({}) of Trailhound.", class.caption, class.uid),
        },
    });
    if !sizes.serverless {
        body["composed_of"] = json!([SETTINGS]);
    }
    body
}

/// The mapping of a class. What is not named here stays readable in the document (`dynamic` is
/// inherited by the objects below): a field that nobody expected must not cost the document, and a
/// new one must not cost the cluster a mapping change.
pub fn mappings(class: &Class) -> Value {
    let mut properties = properties(class.fields);
    properties.insert(INGESTED_TIME.into(), date());
    let pivots = PIVOTS.iter().map(|pivot| (pivot.name.to_owned(), field(&pivot.kind)));
    properties.insert("pivot".into(), json!({ "properties": pivots.collect::<Map<_, _>>() }));
    json!({ "dynamic": false, "properties": properties })
}

fn properties(fields: &[Field]) -> Map<String, Value> {
    let mut all = Map::new();
    for attribute in fields {
        all.insert(attribute.name.to_owned(), field(&attribute.kind));
        if matches!(attribute.kind, Kind::Json | Kind::Unmapped) {
            // The whole text beside what was cut to be searchable (J3): only to be read.
            let whole = json!({ "type": "keyword", "index": false, "doc_values": false });
            all.insert(format!("{}_full", attribute.name), whole);
        }
    }
    all
}

/// How a kind is indexed.
fn field(kind: &Kind) -> Value {
    match kind {
        Kind::String => keyword(),
        Kind::Text => json!({ "type": "text", "fields": { "keyword": keyword() } }),
        // CloudTrail has names of services where addresses are expected, such as "AWS Internal":
        // found by the twin, which takes everything.
        Kind::Ip => {
            json!({ "type": "ip", "ignore_malformed": true, "fields": { "keyword": keyword() } })
        }
        Kind::Integer => json!({ "type": "integer" }),
        Kind::Long => json!({ "type": "long" }),
        Kind::Double => json!({ "type": "double" }),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Timestamp | Kind::Datetime => date(),
        Kind::Json | Kind::Unmapped => json!({ "type": "flat_object" }),
        Kind::Object(fields) => json!({ "properties": properties(fields) }),
        // The only lists of numbers of OCSF are coordinates, longitude first as in GeoJSON.
        Kind::List(Kind::Double) => json!({ "type": "geo_point", "ignore_malformed": true }),
        // Every field may have several values; `nested` would make a document of each.
        Kind::List(kind) => field(kind),
    }
}

fn keyword() -> Value {
    json!({ "type": "keyword", "ignore_above": MAX_KEYWORD_CHARS })
}

fn date() -> Value {
    json!({ "type": "date", "format": "strict_date_optional_time||epoch_millis" })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As OpenSearch counts: objects, fields, and fields of fields.
    fn count(mapping: &Value) -> usize {
        let below = |name: &str| {
            let fields = mapping[name].as_object();
            fields.map_or(0, |fields| fields.values().map(|field| 1 + count(field)).sum::<usize>())
        };
        below("properties") + below("fields")
    }

    #[test]
    fn the_number_of_fields_is_far_below_the_limit_and_follows_from_the_tables() {
        for class in CLASSES {
            let count = count(&mappings(class));
            assert!((50..=500).contains(&count), "{} has {count} fields", class.name);
        }
    }

    #[test]
    fn nothing_but_the_root_says_what_becomes_of_unknown_fields() {
        for class in CLASSES {
            let text = mappings(class).to_string();
            assert_eq!(text.matches("dynamic").count(), 1, "{}", class.name);
        }
    }

    #[test]
    fn shards_are_for_a_hundred_million_documents_each() {
        // 10 GB of flow logs are 57 to 90 million records.
        assert_eq!(shards_for(57_000_000), 1);
        assert_eq!(shards_for(90_000_000 * 50), 45);
        assert_eq!(shards_for(0), 1);
    }

    #[test]
    fn a_collection_gets_no_settings() {
        let shards = [("network_activity".to_owned(), 4)].into();
        let cluster = templates(&Sizes { shards, ..Sizes::default() });
        let collection = templates(&Sizes { serverless: true, ..Sizes::default() });
        let settings = |bodies: &[Body]| {
            bodies.iter().filter(|body| body.value.to_string().contains("number_of_")).count()
        };
        assert_eq!((settings(&cluster), settings(&collection)), (2, 0));
        assert_eq!((cluster.len(), collection.len()), (CLASSES.len() + 2, CLASSES.len() + 1));
    }
}
