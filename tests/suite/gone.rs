//! Records of objects that are gone are decoded from their lines in the rejects.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use crate::support::{
    ACCOUNTS, Bench, DAY, Lake, REGIONS, Run, cloud::s3::S3Server, event, flow_key, number,
    records, trail_key, trailhound,
};

/// A record that no version can decode.
const HOPELESS: u64 = 3;

/// Objects of each source with a record that this version rejects, and the records as they would
/// be if it did not: by the end of the key, number and text.
struct Made {
    whole: Vec<(String, Vec<u8>)>,
    odd: Vec<(String, Vec<u8>)>,
    records: Vec<(String, u64, String)>,
}

fn guardduty_key() -> String {
    format!("AWSLogs/{}/GuardDuty/{}/{DAY}/x.jsonl.gz", ACCOUNTS[0], REGIONS[0])
}

fn made() -> Made {
    let finding = |id: &str| {
        json!({ "schemaVersion": "2.0", "accountId": ACCOUNTS[0], "id": id, "region": REGIONS[0],
            "type": "Recon:EC2/Portscan", "severity": 9.1, "service": {}, "arn": "arn:x",
            "updatedAt": "2024-05-01T00:00:00Z" })
    };
    let other = json!({ "detail-type": "Inspector2 Finding", "detail": {} });
    let findings = |second: &Value| format!("{}\n{second}\n", finding("f1")).into_bytes();
    let hopeless = json!(7);
    let trail = |second: Value| records(&[event(1), second, event(3), hopeless.clone()]);
    // Other columns than those of the default format, so that the header matters.
    let flow = |third: &str| {
        let header = "srcaddr account-id end start interface-id";
        let row = |n: u32| format!("10.0.0.{n} {} 1714521660 1714521600 eni-{n}", ACCOUNTS[0]);
        format!("{header}\n{}\n{}\n{third}\n{}\n", row(0), row(1), row(3)).into_bytes()
    };
    let row = format!("10.0.0.2 {} 1714521660 1714521600 eni-2", ACCOUNTS[0]);
    let keys = [trail_key("a"), flow_key("b"), guardduty_key()];
    Made {
        whole: std::iter::zip(
            keys.clone(),
            [trail(event(2)), flow(&row), findings(&finding("f2"))],
        )
        .collect(),
        odd: std::iter::zip(keys.clone(), [trail(json!([])), flow("1 2"), findings(&other)])
            .collect(),
        records: vec![
            (keys[0].clone(), 1, event(2).to_string()),
            (keys[1].clone(), 2, row),
            (keys[2].clone(), 1, finding("f2").to_string()),
        ],
    }
}

/// Puts records that can be decoded into lines of the rejects.
fn mend(rejects: &[u8], made: &Made) -> String {
    let mut out = String::new();
    for line in std::str::from_utf8(rejects).unwrap().lines() {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let is_of = |(key, record, _): &&(String, u64, String)| {
            line["key"] == **key && line["record"] == *record
        };
        if let Some((_, _, text)) = made.records.iter().find(is_of) {
            line["raw"] = text.as_str().into();
            line["reason"] = "made up".into();
        }
        out.extend([line.to_string(), "\n".into()]);
    }
    out
}

fn rejects_file(bench: &Bench) -> PathBuf {
    let folder = bench.path("lake/_trailhound/rejects/v1/day=20240501");
    fs::read_dir(folder).unwrap().next().unwrap().unwrap().path()
}

fn redrive(bench: &Bench, extra: &[&str]) -> Run {
    let mut command = trailhound();
    command.args(["redrive", "--json", "--lake"]).arg(bench.path("lake")).args(extra);
    Run::of(&command.output().unwrap())
}

/// Every row, without the file that it is in.
fn events(lake: &Lake) -> Vec<String> {
    let mut events: Vec<String> =
        lake.check_rows().iter().map(|row| row.event.to_string()).collect();
    events.sort();
    events
}

fn bench(objects: &[(String, Vec<u8>)]) -> Bench {
    Bench::with(objects.iter().map(|(key, body)| (key.as_str(), body.clone())))
}

/// A lake of this machine whose objects are gone and whose rejects are mended.
fn gone(made: &Made) -> Bench {
    let bench = bench(&made.odd);
    bench.load(&[]).expect(2, [3, 0], [10, 6, 4]);
    fs::remove_dir_all(bench.archive()).unwrap();
    let file = rejects_file(&bench);
    fs::write(&file, mend(&fs::read(&file).unwrap(), made)).unwrap();
    bench
}

#[test]
fn a_local_batch_gets_the_rows_that_a_load_of_the_whole_objects_makes() {
    let made = made();
    let whole = bench(&made.whole);
    whole.load(&[]).expect(2, [3, 0], [10, 9, 1]);
    let bench = gone(&made);
    let before = bench.lake().content();
    assert_eq!(redrive(&bench, &["--dry-run"]).code, 0);
    assert!(bench.lake().content() == before);

    let run = redrive(&bench, &[]);
    run.expect(2, [3, 0], [4, 3, 1]);
    assert_eq!(number(&run.report["decoded_lines"]), 3);
    assert!(run.stderr.contains("it is gone; 1 of its records stay in the rejects"), "{run:?}");
    let lake = bench.lake();
    assert_eq!(events(&lake), events(&whole.lake()));
    assert_eq!(lake.check_ledger().len(), 9, "the ledger adds up");
    let left = lake.rejects();
    assert_eq!((left.len(), number(&left[0]["record"])), (1, HOPELESS));
    assert_eq!(
        left[0]["byte"],
        whole.lake().rejects()[0]["byte"]
            .as_u64()
            .map(|whole| {
                let length = |text: &str| text.len() as u64;
                whole + length("[]") - length(&event(2).to_string())
            })
            .unwrap()
    );
    let entry = lake.entry("a.json.gz");
    assert_eq!(
        entry["records"],
        json!({ "in": 4, "parquet": 3, "duplicate": 0, "rejected": 1,
        "excluded": 0 })
    );

    let before = lake.content();
    let again = redrive(&bench, &[]);
    assert_eq!((again.code, number(&again.report["decoded_lines"])), (2, 0));
    assert!(lake.content() == before, "nothing has changed, so nothing is done");
    // When the objects are there again, they replace the batch as a whole.
    for (key, body) in &made.whole {
        bench.put(key, body);
    }
    bench.load(&["--force"]).expect(2, [3, 0], [10, 9, 1]);
    assert_eq!(events(&bench.lake()), events(&whole.lake()));
}

#[test]
fn objects_that_are_there_but_not_the_others_of_their_batch_are_decoded_from_their_lines() {
    let made = made();
    let bench = bench(&made.odd);
    bench.load(&[]).expect(2, [3, 0], [10, 6, 4]);
    let file = rejects_file(&bench);
    fs::write(&file, mend(&fs::read(&file).unwrap(), &made)).unwrap();
    fs::remove_file(bench.archive().join(flow_key("b"))).unwrap();
    let run = redrive(&bench, &[]);
    run.expect(2, [3, 0], [4, 3, 1]);
    assert!(run.stderr.contains("also holds"), "{run:?}");
    assert_eq!(bench.lake().check_ledger().len(), 9);
}

#[test]
fn a_decoded_record_that_the_batch_has_already_is_a_duplicate() {
    let mut made = made();
    made.records[0].2 = event(3).to_string();
    let bench = gone(&made);
    let run = redrive(&bench, &[]);
    run.expect(2, [3, 0], [4, 2, 1]);
    assert_eq!(run.records("duplicate"), 1);
    assert_eq!(bench.lake().check_ledger().len(), 8);
}

#[test]
fn lines_that_cannot_be_decoded_stay_as_they_are_and_their_objects_are_named() {
    let made = made();
    let bench = gone(&made);
    let file = rejects_file(&bench);
    let change = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        if line["key"] == flow_key("b") {
            // As a line of a record over 1 MiB, and of an object without a header.
            line.as_object_mut().unwrap().remove("raw");
        } else if line["key"] == guardduty_key() {
            line["raw"] = "{}{\"a\":\n".into();
        }
        format!("{line}\n")
    };
    let text: String = fs::read_to_string(&file).unwrap().lines().map(change).collect();
    fs::write(&file, &text).unwrap();
    let run = redrive(&bench, &[]);
    run.expect(2, [3, 0], [4, 1, 3]);
    assert_eq!(run.stderr.matches("left: ").count(), 3, "{run:?}");
    assert!(run.stderr.contains("1 of them over 1 MiB"), "{run:?}");
    let rest = fs::read_to_string(&file).unwrap();
    assert!(rest.lines().all(|line| text.contains(line)) && rest.lines().count() == 3);
    bench.lake().check_ledger();
}

/// A bucket with logs that are gone, a lake in another one with mended rejects.
struct Cloud(S3Server);

impl Cloud {
    fn gone(made: &Made) -> Self {
        let server = S3Server::start();
        server.create_bucket("logs");
        server.create_bucket("lake");
        let cloud = Self(server);
        for (key, body) in &made.odd {
            cloud.0.put("logs", key, body.clone());
        }
        cloud.run(&["load", "s3://logs"]).expect(2, [3, 0], [10, 6, 4]);
        for (key, _) in &made.odd {
            cloud.0.delete("logs", key);
        }
        let file = cloud.0.list("lake", "l/_trailhound/rejects/").remove(0);
        let text = cloud.0.get("lake", &file).unwrap();
        cloud.0.put("lake", &file, mend(&text, made));
        cloud
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let mut command = trailhound();
        self.0.env(&mut command);
        command.args(arguments).args(["--lake", "s3://lake/l", "--json"]);
        Run::of(&command.output().unwrap())
    }

    /// Rows and lines of the rejects.
    fn lake(&self) -> (Vec<String>, Vec<Value>) {
        let dir = tempfile::tempdir().unwrap();
        self.0.download("lake", "l/", dir.path());
        let lake = Lake::new(dir.path());
        (events(&lake), lake.rejects())
    }
}

#[test]
fn in_a_bucket_decoded_records_are_published_beside_and_the_other_lines_are_kept_once() {
    let made = made();
    let whole = bench(&made.whole);
    whole.load(&[]).expect(2, [3, 0], [10, 9, 1]);
    let cloud = Cloud::gone(&made);
    let run = cloud.run(&["redrive"]);
    run.expect(2, [3, 0], [4, 3, 1]);
    let (rows, rejects) = cloud.lake();
    assert_eq!(rows, events(&whole.lake()));
    assert_eq!((rejects.len(), number(&rejects[0]["record"])), (1, HOPELESS));

    let before = cloud.0.list("lake", "l/");
    let again = cloud.run(&["redrive"]);
    assert_eq!((again.code, number(&again.report["decoded_lines"])), (2, 0));
    assert_eq!(cloud.0.list("lake", "l/"), before, "nothing is written");
    // A later version may know more: the line is found with the batch that has it now.
    let file = cloud.0.list("lake", "l/_trailhound/rejects/").remove(0);
    let text = String::from_utf8(cloud.0.get("lake", &file).unwrap()).unwrap();
    cloud.0.put("lake", &file, text.replace("\"7\"", &format!("{:?}", event(9).to_string())));
    let last = cloud.run(&["redrive"]);
    assert_eq!((last.code, number(&last.report["decoded_lines"])), (0, 1), "{last:?}");
    let (rows, rejects) = cloud.lake();
    assert_eq!((rows.len(), rejects.len()), (10, 0));
    assert_eq!(number(&cloud.run(&["redrive"]).report["found"]), 0);
}

#[test]
fn a_redrive_that_ends_anywhere_loses_nothing_and_the_next_one_finishes_it() {
    let made = made();
    for denied in ["ledger", "rejects", "delete"] {
        let cloud = Cloud::gone(&made);
        cloud.0.fault(move |operation, _, key| {
            let hit = match denied {
                "delete" => operation.starts_with("DeleteObject"),
                // The rejects of the old batch are written when the new one is committed.
                part => operation == "PutObject" && key.contains(&format!("/{part}/")),
            };
            if hit { Err(crate::support::cloud::s3::access_denied()) } else { Ok(()) }
        });
        let run = cloud.run(&["redrive", "--no-publish"]);
        assert_ne!(run.code, 0, "{denied}: {run:?}");
        assert!(cloud.lake().1.len() >= 4, "{denied}: no line is lost");
        cloud.0.no_fault();
        cloud.run(&["redrive"]);
        assert_eq!(cloud.run(&["publish"]).code, 0);
        let (rows, mut rejects) = cloud.lake();
        // A batch that was not committed may have left the same line.
        rejects.dedup();
        assert_eq!((rows.len(), rejects.len()), (9, 1), "{denied}");
    }
}

#[test]
fn what_is_damaged_and_gone_stays_failed() {
    let whole = records(&[event(1), json!([]), event(2)]);
    let made = Made {
        whole: Vec::new(),
        odd: vec![(trail_key("a"), whole[..whole.len() - 5].to_vec())],
        records: vec![(trail_key("a"), 1, event(9).to_string())],
    };
    let bench = bench(&made.odd);
    bench.load(&[]).expect(2, [0, 1], [2, 1, 1]);
    fs::remove_dir_all(bench.archive()).unwrap();
    let file = rejects_file(&bench);
    fs::write(&file, mend(&fs::read(&file).unwrap(), &made)).unwrap();
    let run = redrive(&bench, &[]);
    assert_eq!((run.code, number(&run.report["decoded_lines"])), (2, 1), "{run:?}");
    let entry = bench.lake().entry("a.json.gz");
    assert_eq!((&entry["state"], number(&entry["records"]["rejected"])), (&json!("failed"), 0));
    assert!(!file.exists());
    assert_eq!(bench.lake().check_ledger().len(), 2);
}
