//! No leaf of a raw record is lost: its text is in the event as an attribute, in a JSON attribute,
//! or in `unmapped`; and nothing is there that says nothing.

use std::{fs, io::Read, path::Path, sync::Arc};

use parsers::{Filter, Limits, ObjectKey, Rows};
use serde_json::Value;

use crate::{
    ocsf::Schema,
    support::{sample_archive, shared, tree},
};

/// The events of an object's text, one for each record.
fn events(source: &str, object: &[u8]) -> Vec<Value> {
    let limits = Limits { rows: usize::MAX, input_bytes: usize::MAX };
    let mut rows = Rows::new(limits, Arc::new(Filter::default())).with_json();
    let mut decoder = (parsers::source(source).unwrap().decoder)(&ObjectKey::new(""));
    decoder.decode(object, true, &mut rows).unwrap();
    let json = rows.take_json();
    let lines = std::str::from_utf8(&json).unwrap().lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Every leaf as text.
fn leaves(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Null => {}
        Value::Object(members) => members.values().for_each(|member| leaves(member, found)),
        Value::Array(members) => members.iter().for_each(|member| leaves(member, found)),
        Value::String(text) => found.push(text.clone()),
        Value::Bool(_) | Value::Number(_) => found.push(value.to_string()),
    }
}

/// Every text of an event, JSON attributes opened.
fn texts(event: &Value) -> Vec<String> {
    let mut found = Vec::new();
    leaves(event, &mut found);
    for pointer in ["/api/request/data", "/api/response/data"] {
        if let Some(text) = event.pointer(pointer).and_then(Value::as_str) {
            leaves(&serde_json::from_str(text).expect(text), &mut found);
        }
    }
    found
}

/// Whether a leaf is in one of the texts, alone or among others of its path.
fn is_in(texts: &[String], leaf: &str) -> bool {
    let in_other_words = match leaf {
        "Yes" | "True" => "true",
        "No" | "False" => "false",
        time => &time.strip_suffix('Z').map_or(String::new(), |time| format!("{time}.000Z")),
    };
    let among = |text: &String| {
        text == leaf || text == in_other_words || text.split(',').any(|part| part == leaf)
    };
    texts.iter().any(among) || (leaf.contains(',') && texts.iter().any(|text| text.contains(leaf)))
}

fn check(record: &Value, event: &Value, names: &[&str]) {
    let texts = texts(event);
    let mut raw = Vec::new();
    leaves(record, &mut raw);
    for leaf in raw.iter().filter(|leaf| !leaf.is_empty() && !names.contains(&leaf.as_str())) {
        assert!(is_in(&texts, leaf), "{leaf:?} of {record}\nis lost in {event}");
    }
}

/// Checks the CloudTrail object of these records, one by one; the number of events.
fn check_trail(text: &str) -> usize {
    // Numbers past 64 bits cannot be read back here: bad_records has them.
    let Ok(object) = serde_json::from_str::<Value>(text) else { return 0 };
    let records = match &object {
        Value::Object(root) if root.get("Records").is_some_and(Value::is_array) => {
            root["Records"].as_array().unwrap()
        }
        Value::Array(records) => records,
        record => std::slice::from_ref(record),
    };
    let mut count = 0;
    for record in records {
        for event in events("cloudtrail", record.to_string().as_bytes()) {
            check(record, &event, &[]);
            count += 1;
        }
    }
    count
}

/// Checks a flow log object, row by row; the number of events.
fn check_flow(text: &str) -> usize {
    let (header, rows) = text.split_once('\n').unwrap();
    let mut count = 0;
    for row in rows.lines().filter(|row| !row.is_empty()) {
        // A header that comes again is no row.
        let Some(event) = events("vpc_flow", format!("{header}\n{row}").as_bytes()).pop() else {
            continue;
        };
        let words = row.split_ascii_whitespace().map(|word| match word {
            // What tables L1 and L2 and the directions translate.
            "ACCEPT" | "REJECT" | "ingress" | "egress" => String::new(),
            word => word.to_owned(),
        });
        let columns = header.split_ascii_whitespace().zip(words);
        let words = columns.map(|(name, word)| match name {
            "traffic-path" | "traffic_path" => Value::Null,
            "start" | "end" if word.parse::<u32>().is_ok() => format!("{word}000").into(),
            _ => word.into(),
        });
        check(&Value::Array(words.collect()), &event, &["-"]);
        count += 1;
    }
    count
}

/// Checks every object below a folder; events of CloudTrail and of flow logs.
fn check_tree(folder: &Path) -> [usize; 2] {
    let mut counts = [0, 0];
    for (key, bytes) in tree(folder) {
        let parsers::Recognition::Source(source) = parsers::detect(&ObjectKey::new(&*key)) else {
            continue;
        };
        // Damaged objects and texts are for the tests of bad input.
        let Some(text) = unpacked(&bytes) else { continue };
        match source.name {
            "cloudtrail" => counts[0] += check_trail(&text),
            "vpc_flow" => counts[1] += check_flow(&text),
            _ => {}
        }
    }
    counts
}

#[expect(clippy::disallowed_types, reason = "a reader that is not the product's")]
fn unpacked(bytes: &[u8]) -> Option<String> {
    let mut text = String::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        flate2::read::MultiGzDecoder::new(bytes).read_to_string(&mut text).ok()?;
        return Some(text);
    }
    String::from_utf8(bytes.to_vec()).ok().filter(|text| !text.is_empty())
}

#[test]
fn no_leaf_of_the_sample_archive_is_lost() {
    assert_eq!(check_tree(&sample_archive()), [384, 558]);
}

#[test]
fn no_leaf_of_the_real_logs_is_lost() {
    let Some(corpus) = shared("leaves of real logs", "corpus/dev") else { return };
    let [trails, flows] = check_tree(&corpus);
    assert!(trails > 1500 && flows > 20, "{trails} and {flows}");
}

/// Samples and goldens of the parsers crate.
fn parsers_file(path: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("parsers");
    fs::read_to_string(folder.join(path)).unwrap()
}

#[test]
fn every_golden_is_valid_and_no_leaf_of_a_flow_sample_is_lost() {
    let schema = Schema::load();
    for source in parsers::SOURCES {
        let golden = parsers_file(&format!("{}/golden.ndjson", source.name));
        for line in golden.lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            assert_eq!(schema.validate(&event), [] as [&str; 0], "{line}");
        }
    }
    let sample = parsers_file("vpc_flow/sample.log");
    for object in sample.split("\n\n").filter(|object| !object.starts_with("2 ")) {
        assert!(check_flow(object) > 0);
    }
}
