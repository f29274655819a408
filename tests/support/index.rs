//! An OpenSearch node that one test at a time has for itself, and what its documents should be.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::{Map, Value, json};

use super::{Bench, Lake, Run, cloud::opensearch::Node, load_command, number, trailhound};

/// The shared node, set up and empty.
pub struct Index {
    pub node: &'static Node,
    _alone: MutexGuard<'static, ()>,
}

impl Index {
    pub fn alone(test: &str) -> Option<Self> {
        static ALONE: Mutex<()> = Mutex::new(());
        let node = Node::shared(test)?;
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        set_up(node);
        Some(Self { node, _alone: alone })
    }

    /// Loads a bench's archive into its lake and this index.
    pub fn load(&self, bench: &Bench, extra: &[&str]) -> Run {
        load_at(&self.node.url(), bench, extra)
    }
}

/// Removes every document, and installs the templates.
pub fn set_up(node: &Node) {
    // On a cluster of the user's own this would be the loss of what is there.
    if std::env::var_os("TRAILHOUND_TEST_OPENSEARCH").is_some() {
        let found = node.get("GET", "/_cat/indices/ocsf-*?format=json", None);
        let foreign = |index: &Value| !index["index"].as_str().unwrap().contains("-1.1.0-");
        let real = found.as_array().unwrap().iter().any(foreign);
        assert!(!real, "the tests delete ocsf-*: {found}");
    }
    for pattern in ["ocsf-*", "trailhound-*"] {
        node.get("DELETE", &format!("/{pattern}?expand_wildcards=all"), None);
    }
    let mut setup = trailhound();
    setup.args(["setup", "opensearch", "--opensearch", &node.url()]);
    let output = setup.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Loads a bench's archive into its lake and the index at an address.
pub fn load_at(url: &str, bench: &Bench, extra: &[&str]) -> Run {
    let mut command = load_command(&bench.archive(), &bench.path("lake"), extra);
    Run::of(&command.args(["--opensearch", url]).output().unwrap())
}

impl Run {
    /// How many documents became this.
    pub fn index(&self, what: &str) -> u64 {
        number(&self.report["index"][what])
    }
}

/// Every document by its id.
pub fn documents(node: &Node) -> BTreeMap<String, Value> {
    let all = node.documents("ocsf-all");
    let count = all.len();
    let by_id: BTreeMap<_, _> = all
        .into_iter()
        .map(|mut hit| (hit["_id"].as_str().unwrap().to_owned(), hit["_source"].take()))
        .collect();
    assert_eq!(by_id.len(), count, "a document is in two indexes");
    by_id
}

/// Asserts that the index has the rows of a lake, each once, and nothing else.
#[track_caller]
pub fn assert_is_lake(node: &Node, lake: &Lake) {
    let mut documents = documents(node);
    for row in lake.rows() {
        let mut document =
            documents.remove(row.uid()).unwrap_or_else(|| panic!("{row:?} is not there"));
        let object = document.as_object_mut().unwrap();
        assert!(object.remove("ingested_time").unwrap().is_i64());
        object.remove("pivot");
        let mut expected = row.event.clone();
        whole_texts(&mut document, &mut expected);
        index_form(&mut expected);
        // Of an event that was delivered in two objects either may have come first.
        for one in [&mut document, &mut expected] {
            one["metadata"].as_object_mut().unwrap().remove("log_name");
        }
        let mut differences = Vec::new();
        differ("", &document, &expected, &mut differences);
        assert!(differences.is_empty(), "{}: {differences:#?}", row.uid());
    }
    assert!(documents.is_empty(), "these are not in the lake: {:?}", documents.keys());
}

/// Of what was cut for the index the whole text stands beside it: it must be that of the lake.
#[track_caller]
fn whole_texts(document: &mut Value, expected: &mut Value) {
    match (document, expected) {
        (Value::Object(document), Value::Object(expected)) => {
            for name in ["data", "unmapped"] {
                let Some(whole) = document.remove(&format!("{name}_full")) else { continue };
                let raw = expected.remove(name).unwrap();
                match raw {
                    Value::String(raw) => {
                        assert!(whole == raw, "{name}_full is not that of the lake");
                    }
                    pairs => {
                        let whole: Value = serde_json::from_str(whole.as_str().unwrap()).unwrap();
                        assert!(whole == pairs, "{name}_full is not that of the lake");
                    }
                }
                assert!(document.remove(name).unwrap().is_object());
            }
            for (name, document) in document {
                if let Some(expected) = expected.get_mut(name) {
                    whole_texts(document, expected);
                }
            }
        }
        (Value::Array(document), Value::Array(expected)) => {
            document.iter_mut().zip(expected).for_each(|(a, b)| whole_texts(a, b));
        }
        _ => {}
    }
}

/// Where two values differ, and how.
fn differ(path: &str, ours: &Value, theirs: &Value, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let names: BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for name in names {
                let of =
                    |members: &Map<String, Value>| members.get(name).cloned().unwrap_or_default();
                differ(&format!("{path}.{name}"), &of(a), &of(b), found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).for_each(|(a, b)| differ(&format!("{path}[]"), a, b, found));
        }
        _ if ours == theirs => {}
        _ => found.push(format!("{path}: {ours}, in the lake {theirs}")),
    }
}

/// An event in its index form (mapping 1.3, J2 to J4), for values that are not too long.
fn index_form(event: &mut Value) {
    match event {
        Value::Object(members) => {
            for (name, value) in members.iter_mut() {
                match (name.as_str(), &mut *value) {
                    ("data", Value::String(raw)) => *value = flat(raw),
                    ("unmapped", Value::Object(pairs)) => *value = named(pairs),
                    _ => index_form(value),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(index_form),
        // A coordinate of whole degrees is written as a whole number.
        Value::Number(number) => {
            if let Some(degrees) = number.as_f64().filter(|n| number.is_f64() && n.fract() == 0.0) {
                *event = (degrees as i64).into();
            }
        }
        _ => {}
    }
}

fn flat(raw: &str) -> Value {
    match serde_json::from_str(raw).unwrap() {
        Value::Object(members) => named(&members),
        Value::String(text) => json!({ "value": text }),
        _ => json!({ "value": raw }),
    }
}

fn named(members: &Map<String, Value>) -> Value {
    let part = |part: &str| if part.is_empty() { "_".to_owned() } else { part.to_owned() };
    let name = |name: &str| name.split('.').map(part).collect::<Vec<_>>().join(".");
    let inner = |value: &Value| match value {
        Value::Object(members) => named(members),
        Value::Array(list) => list.iter().map(named_element).collect(),
        other => other.clone(),
    };
    members.iter().map(|(key, value)| (name(key), inner(value))).collect::<Map<_, _>>().into()
}

fn named_element(value: &Value) -> Value {
    match value {
        Value::Object(members) => named(members),
        Value::Array(list) => list.iter().map(named_element).collect(),
        other => other.clone(),
    }
}
