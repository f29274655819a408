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
    let limits = Limits { rows: usize::MAX, input_bytes: usize::MAX, document_bytes: usize::MAX };
    let mut rows = Rows::new(limits, Arc::new([Filter::default()])).with_json();
    let mut decoder = (parsers::source(source).unwrap().decoder)(&ObjectKey::new("").into());
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

/// Every text of an event, those of JSON opened.
fn texts(event: &Value) -> Vec<String> {
    let mut found = Vec::new();
    leaves(event, &mut found);
    let json = found.iter().filter(|text| text.starts_with(['{', '[']));
    let opened: Vec<Value> = json.filter_map(|text| serde_json::from_str(text).ok()).collect();
    for value in &opened {
        leaves(value, &mut found);
    }
    found
}

/// Whether a leaf is in one of the texts, alone or among others of its path.
fn is_in(texts: &[String], leaf: &str) -> bool {
    let time = parsers::time::from_text(leaf).or_else(|| {
        leaf.parse().is_ok_and(|number: f64| number > 1e8).then_some(())?;
        parsers::time::from_number(leaf)
    });
    let in_other_words = match (leaf, time, leaf.parse::<f64>()) {
        ("Yes", ..) => "true",
        ("No", ..) => "false",
        (_, Some(ms), _) => &ms.to_string(),
        (_, _, Ok(number)) => &number.to_string(),
        _ => leaf.trim_end_matches('.'),
    };
    let among = |text: &String| {
        text.eq_ignore_ascii_case(leaf)
            || text == in_other_words
            || text.split(',').any(|part| part == leaf)
    };
    // A longer one may be a part of a text: of a label, of a list of texts with commas, of an id.
    let is_part = |text: &String| leaf.len() > 3 && text.contains(leaf);
    let is_split = || {
        // A technique of an attack: its id and its name.
        leaf.split_once(" - ").is_some_and(|(id, name)| is_in(texts, id) && is_in(texts, name))
    };
    texts.iter().any(|text| among(text) || is_part(text)) || is_split()
}

fn check(record: &Value, event: &Value, names: &[&str]) {
    let texts = texts(event);
    let mut raw = Vec::new();
    leaves(record, &mut raw);
    raw.retain(|leaf| !leaf.is_empty() && !names.contains(&leaf.as_str()) && !is_in(&texts, leaf));
    assert_eq!(raw, [] as [&str; 0], "of {record}\nare lost in {event}");
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
            check(record, &event, &TRANSLATED);
            count += 1;
        }
    }
    count
}

/// Words of findings and Insights that the mapping translates.
const TRANSLATED: [&str; 7] =
    ["ENABLED", "DISABLED", "ATTACK_TACTIC", "ATTACK_TECHNIQUE", "Insight", "Start", "End"];

/// Checks a GuardDuty object, finding by finding; the number of events.
fn check_findings(text: &str) -> usize {
    let mut count = 0;
    for record in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        let record = record.unwrap();
        let list = record.get("Findings").or(record.get("findings")).and_then(Value::as_array);
        let one = std::slice::from_ref(record.get("detail").unwrap_or(&record));
        for finding in list.map_or(one, Vec::as_slice) {
            for event in events("guardduty", finding.to_string().as_bytes()) {
                // The id is a part of the uid, the partition of ids.
                let id = finding.get("id").or(finding.get("Id")).and_then(Value::as_str);
                let uid = event["metadata"]["uid"].as_str().unwrap();
                assert!(id.is_none_or(|id| uid.starts_with(&format!("{id}:"))), "{uid}");
                let mut names = TRANSLATED.to_vec();
                names.extend(id.into_iter().chain(["aws", "aws-cn", "aws-us-gov", "aws-iso"]));
                let mut finding = finding.clone();
                // The status says it.
                for service in ["service", "Service"] {
                    if let Some(service) = finding.get_mut(service).and_then(Value::as_object_mut) {
                        service.retain(|key, _| !key.eq_ignore_ascii_case("archived"));
                    }
                }
                // The whole part is kept.
                finding.as_object_mut().unwrap().remove("confidence");
                check(&finding, &event, &names);
                count += 1;
            }
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

/// Checks every object below a folder; events of CloudTrail, flow logs and GuardDuty.
fn check_tree(folder: &Path) -> [usize; 3] {
    let mut counts = [0; 3];
    for (key, bytes) in tree(folder) {
        let parsers::Recognition::Source(source) = parsers::detect(&ObjectKey::new(&*key)) else {
            continue;
        };
        // Damaged objects and texts are for the tests of bad input.
        let Some(text) = unpacked(&bytes) else { continue };
        match source.name {
            "cloudtrail" => counts[0] += check_trail(&text),
            "vpc_flow" => counts[1] += check_flow(&text),
            "guardduty" => counts[2] += check_findings(&text),
            other => panic!("nothing checks {other}"),
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
    assert_eq!(check_tree(&sample_archive()), [3119, 3534, 29]);
}

#[test]
fn no_leaf_of_the_real_logs_is_lost() {
    let Some(corpus) = shared("leaves of real logs", "corpus/dev") else { return };
    let [trails, flows, findings] = check_tree(&corpus);
    assert!(trails > 1500 && flows > 20 && findings == 23, "{trails}, {flows}, {findings}");
}

/// Samples and goldens of the parsers crate.
fn parsers_file(path: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("parsers");
    fs::read_to_string(folder.join(path)).unwrap()
}

#[test]
fn every_golden_is_valid_and_no_leaf_of_a_sample_is_lost() {
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
    // Objects are divided by empty lines.
    let sample = parsers_file("guardduty/sample.jsonl");
    assert_eq!(sample.split("\n\n").map(check_findings).sum::<usize>(), 40);
}
