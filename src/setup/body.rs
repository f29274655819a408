//! What is installed in a cluster under a name: whether it is what we would write, what we once
//! wrote, or what somebody made of it.
//!
//! # Input
//! Bodies as they are to be, and as the server gives them back.
//! # Maps to
//! Differences by path; a stamp in the body that tells what we last wrote.
//! # Known gaps
//! The order of keys and the type of scalars make no difference, the order of lists does.
//! # Reference
//! Servers give settings back below `index` and as text.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_128;

/// Components that Security Analytics adds to the templates of indexes it watches.
const SECURITY_ANALYTICS: &str = ".opensearch-sap-";

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A component template.
    Component,
    /// An index template.
    IndexTemplate,
    /// A policy of Index State Management.
    Policy,
    /// A role of the security plugin.
    Role,
}

impl What {
    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Component => "component template",
            Self::IndexTemplate => "index template",
            Self::Policy => "lifecycle policy",
            Self::Role => "role",
        }
    }

    /// The part of the server that holds it.
    pub fn path(self, name: &str) -> String {
        match self {
            Self::Component => format!("/_component_template/{name}"),
            Self::IndexTemplate => format!("/_index_template/{name}"),
            Self::Policy => format!("/_plugins/_ism/policies/{name}"),
            Self::Role => format!("/_plugins/_security/api/roles/{name}"),
        }
    }

    /// The body in the answer to a request for it, without what the server adds.
    fn of_answer(self, name: &str, answer: &Value) -> Value {
        match self {
            Self::Component => answer["component_templates"][0]["component_template"].clone(),
            Self::IndexTemplate => answer["index_templates"][0]["index_template"].clone(),
            Self::Policy => {
                let mut policy = answer["policy"].clone();
                remove(&mut policy, &["policy_id", "last_updated_time", "schema_version", "user"]);
                let templates = policy.get_mut("ism_template").and_then(Value::as_array_mut);
                for template in templates.into_iter().flatten() {
                    remove(template, &["last_updated_time"]);
                }
                json!({ "policy": policy })
            }
            Self::Role => {
                let mut role = answer[name].clone();
                remove(&mut role, &["reserved", "hidden", "static"]);
                role
            }
        }
    }

    /// Where there is room for people's words, and the stamp.
    fn description(self) -> &'static str {
        match self {
            Self::Component | Self::IndexTemplate => "/_meta/description",
            Self::Policy => "/policy/description",
            Self::Role => "/description",
        }
    }
}

fn remove(value: &mut Value, names: &[&str]) {
    if let Some(object) = value.as_object_mut() {
        object.retain(|name, _| !names.contains(&name.as_str()));
    }
}

/// A body and where it belongs.
#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    /// What it is.
    pub what: What,
    /// Its name.
    pub name: String,
    /// The body.
    pub value: Value,
}

/// What is installed, compared with what is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is what we would write.
    Same,
    /// It is what an earlier version or other settings wrote.
    Older,
    /// Somebody else wrote it, or changed it.
    Changed,
}

impl Body {
    /// A body with the stamp of its content.
    pub fn new(what: What, name: &str, value: Value) -> Self {
        let mut body = Self { what, name: name.to_owned(), value };
        let stamp = body.stamp();
        if let Some(Value::String(text)) = body.value.pointer_mut(what.description()) {
            *text = format!("{text} {MARK}{stamp}");
        }
        body
    }

    /// What the server has, if it answered with it.
    pub fn of_answer(what: What, name: &str, answer: &Value) -> Self {
        Self { what, name: name.to_owned(), value: what.of_answer(name, answer) }
    }

    /// How `installed` came to be.
    pub fn compare(&self, installed: &Self) -> State {
        if self.differences(installed).is_empty() {
            State::Same
        } else if installed.written() == Some(installed.stamp()) {
            State::Older
        } else {
            State::Changed
        }
    }

    /// What differs: the path, what is installed and what we would write.
    pub fn differences(&self, installed: &Self) -> Vec<String> {
        let (ours, theirs) = (self.leaves(), installed.leaves());
        let mut paths: Vec<&String> = ours.keys().chain(theirs.keys()).collect();
        paths.sort_unstable();
        paths.dedup();
        let differs = paths.into_iter().filter(|&path| ours.get(path) != theirs.get(path));
        let text = |leaves: &BTreeMap<String, String>, path: &String| {
            leaves.get(path).cloned().unwrap_or_else(|| "nothing".into())
        };
        differs
            .map(|path| format!("{path}: {}, ours {}", text(&theirs, path), text(&ours, path)))
            .collect()
    }

    /// The body to write over `installed`: ours, with the components that Security Analytics added.
    pub fn over(&self, installed: &Self) -> Value {
        let mut value = self.value.clone();
        if let Some(ours) = value.get_mut("composed_of").and_then(Value::as_array_mut) {
            let theirs = installed.value["composed_of"].as_array();
            ours.extend(theirs.into_iter().flatten().filter(|name| is_added(name)).cloned());
        }
        value
    }

    /// The stamp of what we wrote last.
    fn written(&self) -> Option<String> {
        let text = self.value.pointer(self.what.description())?.as_str()?;
        text.split_once(MARK).map(|(_, stamp)| stamp.to_owned())
    }

    fn stamp(&self) -> String {
        let mut text = String::new();
        let leaves = self.leaves().into_iter();
        for (path, value) in
            leaves.filter(|(path, _)| !CHOSEN.iter().any(|end| path.ends_with(end)))
        {
            text.extend([path.as_str(), "=", value.as_str(), "\n"]);
        }
        format!("{:016x}", xxh3_128(text.as_bytes()) as u64)
    }

    /// Every scalar by its path; without the stamp and what others may add.
    fn leaves(&self) -> BTreeMap<String, String> {
        let mut value = self.value.clone();
        if let Some(Value::String(text)) = value.pointer_mut(self.what.description()) {
            *text = text.split(MARK).next().unwrap_or_default().trim_end().to_owned();
        }
        if let Some(names) = value.get_mut("composed_of").and_then(Value::as_array_mut) {
            names.retain(|name| !is_added(name));
        }
        let mut leaves = BTreeMap::new();
        collect(&value, String::new(), &mut leaves);
        leaves
    }
}

/// Where a mapping says something else than ours of what both have; and what becomes of unknown fields.
pub fn conflicts(ours: &Value, theirs: &Value) -> Vec<String> {
    let leaves = |value: &Value| {
        let mut leaves = BTreeMap::new();
        collect(value, String::new(), &mut leaves);
        leaves
    };
    let theirs = leaves(theirs);
    let differs = |(path, our): (String, String)| match theirs.get(&path) {
        None if path != "dynamic" => None,
        Some(their) if *their == our => None,
        their => {
            let their = their.map_or("nothing", String::as_str);
            Some(format!("{path}: {their}, ours {our}"))
        }
    };
    leaves(ours).into_iter().filter_map(differs).collect()
}

/// What whoever runs the cluster chooses, by our flags or not: it makes no body somebody else's.
const CHOSEN: [&str; 2] = ["settings.index.number_of_shards", "settings.index.number_of_replicas"];

/// Before the stamp, in the text that describes a body.
const MARK: &str = "trailhound:";

fn is_added(component: &Value) -> bool {
    component.as_str().is_some_and(|name| name.starts_with(SECURITY_ANALYTICS))
}

fn collect(value: &Value, path: String, leaves: &mut BTreeMap<String, String>) {
    let below = |name: &str| match path.as_str() {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    };
    match value {
        Value::Object(object) if !object.is_empty() => {
            for (name, value) in object {
                collect(value, below(name), leaves);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for (at, value) in list.iter().enumerate() {
                collect(value, below(&at.to_string()), leaves);
            }
        }
        // Servers add these where there is nothing.
        Value::Null | Value::Array(_) => {}
        Value::String(text) => drop(leaves.insert(path, text.clone())),
        // `"dynamic": false` and `"dynamic": "false"` are the same.
        scalar => drop(leaves.insert(path, scalar.to_string())),
    }
}

/// `value` as a file.
pub fn pretty(value: &Value) -> String {
    // A map of a `Value` is sorted, so the text is the same each time.
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}
