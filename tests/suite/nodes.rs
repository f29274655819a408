//! The OpenSearch nodes of the tests do what tests will rely on.

use serde_json::{Value, json};

use crate::support::cloud::opensearch::{AnotherName, Node, Version, unique};

/// Creates documents with these ids; returns the status of each.
fn create(node: &Node, index: &str, ids: std::ops::Range<u32>) -> Vec<u64> {
    let lines: Vec<_> = ids
        .flat_map(|id| [json!({ "create": { "_id": id.to_string() } }), json!({ "number": id })])
        .collect();
    let (status, reply) = node.bulk(&format!("/{index}/_bulk"), &lines);
    assert_eq!(status, 200, "{reply}");
    let items = reply["items"].as_array().unwrap();
    items.iter().map(|item| item["create"]["status"].as_u64().unwrap()).collect()
}

/// A node takes each document once, and has them after a power cut.
fn keeps_what_it_takes(test: &str, version: Version) {
    let Some(mut node) = Node::start(test, version, &[]) else { return };
    let url = node.url();
    assert_eq!(node.get("GET", "/", None)["version"]["number"], version.number());
    let index = unique("numbers");
    assert_eq!(create(&node, &index, 0..1200), [201; 1200]);
    assert_eq!(create(&node, &index, 1199..1201), [409, 201]);

    node.kill();
    node.restart();
    assert_eq!(node.url(), url);
    assert_eq!(node.count(&index), 1201);
    let mut numbers: Vec<_> = node
        .documents(&index)
        .iter()
        .map(|document| {
            assert_eq!(document["_version"], 1, "{document}");
            document["_source"]["number"].as_u64().unwrap()
        })
        .collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..1201));
    assert_eq!(create(&node, &index, 0..2), [409; 2]);
}

#[test]
fn node_of_3_8_keeps_what_it_takes() {
    keeps_what_it_takes("node_of_3_8_keeps_what_it_takes", Version::V3_8);
}

#[test]
fn node_of_2_19_keeps_what_it_takes() {
    keeps_what_it_takes("node_of_2_19_keeps_what_it_takes", Version::V2_19);
}

#[test]
fn node_with_users_keeps_what_it_takes() {
    keeps_what_it_takes("node_with_users_keeps_what_it_takes", Version::V3_4Security);
}

#[test]
fn node_has_the_settings_of_its_test() {
    let test = "node_has_the_settings_of_its_test";
    let settings = [("http.max_content_length", "1mb")];
    let Some(node) = Node::start(test, Version::V3_8, &settings) else { return };
    let large = json!({ "text": "x".repeat(2 << 20) });
    assert_eq!(node.call("POST", "/large/_doc", Some(large)), (413, Value::Null));
}

#[test]
fn shared_node_answers() {
    let Some(node) = Node::shared("shared_node_answers") else { return };
    let index = unique("events");
    assert_eq!(create(node, &index, 0..3), [201; 3]);
    let query = json!({ "query": { "range": { "number": { "gte": 1 } } } });
    assert_eq!(node.search(&index, query)["hits"]["total"]["value"], 2);
    assert_eq!(node.count("no-such-index-*"), 0);
    assert!(node.documents("no-such-index-*").is_empty());
}

#[test]
fn node_with_users_knows_them() {
    let Some(node) = Node::shared_secure("node_with_users_knows_them") else { return };
    assert!(node.url().starts_with("https://localhost:"));
    let ask = |who| node.call_as(who, "GET", "/_cluster/health", None).0;
    assert_eq!(ask(Some(("admin", "admin"))), 200);
    assert_eq!(ask(Some(("admin", "wrong"))), 401);
    assert_eq!(ask(None), 401);
    assert!(std::fs::read_to_string(node.ca()).unwrap().contains("BEGIN CERTIFICATE"));
}

#[test]
fn node_by_another_name_serves_who_does_not_look() {
    let test = "node_by_another_name_serves_who_does_not_look";
    let Some(node) = Node::shared_secure(test) else { return };
    let other = node.by_another_name();
    assert_ne!(other.url(), node.url());
    let (status, _) = other.client(AnotherName::NAME).call("GET", "/", None).unwrap();
    assert_eq!(status, 200);
    let refused = other.client("localhost").call("GET", "/", None).unwrap_err();
    assert!(refused.contains("certificate not valid for name"), "{refused}");
}
