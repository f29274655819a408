//! Every row of the lake is a valid OCSF 1.1.0 event, by two validators.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use serde_json::Value;

use crate::{
    ocsf::Schema,
    support::{Bench, Run, load_command, not_run, sample_archive, shared, tree},
};

/// Loads an archive and validates every row.
fn validate(test: &str, archive: &Path) -> Run {
    let bench = Bench::new();
    let lake = bench.lake();
    let run = Run::of(&load_command(archive, &lake.dir, &[]).output().unwrap());
    let rows = lake.check(&run.report);
    let schema = Schema::load();
    let mut errors = String::new();
    let mut lines = String::new();
    for row in rows {
        for error in schema.validate(&row.event) {
            writeln!(errors, "{error} in {}", row.event).unwrap();
        }
        writeln!(lines, "{}", row.event).unwrap();
    }
    assert!(!lines.is_empty(), "the archive has events");
    assert!(errors.is_empty(), "{errors}");
    let events = bench.path("events.ndjson");
    fs::write(&events, lines).unwrap();
    independent_validator(test, &events);
    run
}

fn independent_validator(test: &str, events: &Path) {
    let (Some(tool), Some(schema)) =
        (shared(test, "tools/ocsf_validate.py"), shared(test, "ocsf/ocsf-compiled-1.1.0.json"))
    else {
        return;
    };
    let mut command = Command::new("python3");
    command.args([&*tool, &*schema, events]).arg("--json");
    let Ok(output) = command.output() else { return not_run(test, "there is no python3") };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let summary: Value = serde_json::from_str(&text).unwrap();
    // The warnings that the mapping accepts (section 8), and no other.
    for (warning, paths) in summary["paths"].as_object().unwrap() {
        for path in paths.as_object().unwrap().keys() {
            let accepted = match warning.as_str() {
                "W attribute_enum_sibling_incorrect" => path.ends_with("user.type"),
                "W observable_value_not_found" => path == "observables[].name",
                _ => false,
            };
            assert!(accepted, "{warning} at {path}: {}", summary["examples"][warning]);
        }
    }
}

#[test]
fn every_row_of_the_sample_archive_is_valid() {
    let run = validate("sample archive by ocsf_validate.py", &sample_archive());
    let expected = fs::read_to_string(sample_archive().with_extension("json")).unwrap();
    let expected: Value = serde_json::from_str(&expected).unwrap();
    for member in ["objects", "records", "by_source", "by_class", "files", "bytes_in"] {
        assert_eq!(run.report[member], expected[member], "{member}");
    }
}

#[test]
fn every_row_of_the_real_logs_is_valid() {
    let test = "rows of real logs";
    let Some(corpus) = shared(test, "corpus/dev") else { return };
    let run = validate(test, &corpus);
    assert_eq!(run.code, 2, "the corpus has damaged objects");
}

/// What source-oddities section 6 says of each hostile object: exit status, state, and records in,
/// in Parquet, duplicate, rejected.
const ODDITIES: [(&str, i32, &str, [u64; 4]); 19] = [
    ("emptyRecords", 0, "loaded", [0, 0, 0, 0]),
    ("zeroByteObject", 0, "loaded", [0, 0, 0, 0]),
    ("truncatedGz", 2, "failed", [35, 35, 0, 0]),
    ("badCrc", 2, "failed", [50, 50, 0, 0]),
    ("multiMember", 0, "loaded", [50, 50, 0, 0]),
    ("plainJson", 0, "loaded", [50, 50, 0, 0]),
    ("dupEventIds", 0, "loaded", [50, 25, 25, 0]),
    ("bigRecord", 0, "loaded", [2, 2, 0, 0]),
    ("deepNesting", 0, "loaded", [1, 1, 0, 0]),
    ("wideFields", 0, "loaded", [60, 60, 0, 0]),
    ("oneBadRecord", 2, "loaded", [7, 3, 0, 4]),
    ("invalidUtf8", 2, "loaded", [1, 0, 0, 1]),
    ("surrogates", 0, "loaded", [2, 2, 0, 0]),
    ("dupKeys", 0, "loaded", [1, 1, 0, 0]),
    ("bigInts", 0, "loaded", [1, 1, 0, 0]),
    ("dottedKeys", 0, "loaded", [2, 2, 0, 0]),
    ("CloudTrail-Digest", 0, "excluded", [0, 0, 0, 0]),
    ("CloudTrail-Insight", 0, "loaded", [1, 1, 0, 0]),
    ("aws-programmatic-access-test-object", 0, "unrecognized", [0, 0, 0, 0]),
];

#[test]
fn every_hostile_object_of_the_corpus_gives_what_the_oddities_page_says() {
    let Some(corpus) = shared("hostile objects", "corpus/dev/oddities") else { return };
    let keys: Vec<String> = tree(&corpus).into_keys().collect();
    assert_eq!(keys.len(), ODDITIES.len());
    for (name, code, state, counts) in ODDITIES {
        let bench = Bench::new();
        let key = keys.iter().find(|key| key.contains(name)).expect(name);
        bench.put(key, fs::read(corpus.join(key)).unwrap());
        let (run, lake) = bench.load_checked(&[]);
        let entry = &lake.ledger()[0];
        let found = ["in", "parquet", "duplicate", "rejected"].map(|what| run.records(what));
        assert_eq!((run.code, found), (code, counts), "{name}: {entry}");
        assert_eq!(entry["state"], state, "{name}");
    }
}
