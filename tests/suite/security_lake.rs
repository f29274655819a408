//! Published files are delivered to Security Lake once, by requests that cannot replace anything.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::json;
use tempfile::TempDir;

use crate::support::{
    Run,
    cloud::s3::{S3Server, s3_error},
    number, read_events, sample_archive, trailhound,
};

const LAKE: &str = "s3://own/l";

fn staged() -> (S3Server, TempDir) {
    let server = S3Server::start();
    server.create_bucket("own");
    server.create_bucket("sec");
    let folder = tempfile::tempdir().unwrap();
    let sources: serde_json::Map<_, _> = [2004, 3001, 3002, 4001, 6003]
        .map(|class: u32| {
            // The server's own files have room for short keys only.
            let location = format!("s3://sec/{class}/");
            (class.to_string(), json!({ "location": location }))
        })
        .into_iter()
        .collect();
    let text = json!({ "region": "eu-central-1", "sources": sources }).to_string();
    std::fs::write(folder.path().join("lake.json"), text).unwrap();
    run(&server, &folder, &["load", sample_archive().to_str().unwrap(), "--no-publish"]);
    (server, folder)
}

fn try_run(server: &S3Server, arguments: &[&str]) -> Run {
    let mut command = trailhound();
    server.env(&mut command);
    command.args(arguments).args(["--lake", LAKE, "--json"]);
    Run::of(&command.output().unwrap())
}

fn run(server: &S3Server, folder: &TempDir, arguments: &[&str]) -> Run {
    let lake = folder.path().join("lake.json");
    let mut arguments = arguments.to_vec();
    if arguments[0] == "publish" {
        arguments.extend(["--security-lake", lake.to_str().unwrap()]);
    }
    let run = try_run(server, &arguments);
    assert_eq!(run.code, 0, "{run:?}");
    run
}

/// The uids of everything that was delivered.
fn delivered(server: &S3Server) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    server.download("sec", "", folder.path());
    let keys = server.list("sec", "");
    let uids = keys.iter().flat_map(|key| {
        assert!(key.contains("/region=eu-central-1/accountId="), "{key}");
        read_events(&folder.path().join(key))
    });
    uids.map(|event| event["metadata"]["uid"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_is_published_is_delivered_once_in_the_partitions_of_the_lakes_region() {
    let (server, folder) = staged();
    let first = run(&server, &folder, &["publish"]);
    assert_eq!(number(&first.report["delivered"]["rows"]), 6673);
    let uids = delivered(&server);
    assert_eq!((uids.len(), uids.iter().collect::<BTreeSet<_>>().len()), (6673, 6673));
    // Loaded again, published again: nothing is new.
    run(&server, &folder, &["load", sample_archive().to_str().unwrap(), "--force", "--no-publish"]);
    let again = run(&server, &folder, &["publish"]);
    assert_eq!(number(&again.report["delivered"]["files"]), 0);
    assert_eq!(delivered(&server).len(), 6673);
}

#[test]
fn a_delivery_that_was_cut_off_goes_on_and_writes_nothing_twice() {
    let (server, folder) = staged();
    let puts = AtomicUsize::new(0);
    server.fault(move |operation, bucket, _| {
        let is_delivery = bucket == "sec" && operation == "PutObject";
        if is_delivery && puts.fetch_add(1, Ordering::Relaxed) >= 20 {
            return Err(s3_error!(AccessDenied));
        }
        Ok(())
    });
    let lake = folder.path().join("lake.json");
    let cut = try_run(&server, &["publish", "--security-lake", lake.to_str().unwrap()]);
    assert_eq!(cut.code, 2, "{cut:?}");
    assert!(cut.stderr.contains("needs s3:PutObject on arn:aws:s3:::sec/"), "{cut:?}");
    let before = server.list("sec", "");
    assert_eq!(before.len(), 20);
    // Security Lake's role may write, and nothing else.
    server.fault(|operation, bucket, _| match (bucket, operation) {
        ("sec", "GetObject" | "DeleteObject" | "DeleteObjects" | "ListObjectsV2") => {
            Err(s3_error!(AccessDenied))
        }
        _ => Ok(()),
    });
    run(&server, &folder, &["publish"]);
    server.no_fault();
    let uids = delivered(&server);
    assert_eq!((uids.len(), uids.iter().collect::<BTreeSet<_>>().len()), (6673, 6673));
}

#[test]
fn what_does_not_describe_a_security_lake_is_refused_at_the_start() {
    let (server, folder) = staged();
    let wrong = folder.path().join("wrong.json");
    std::fs::write(&wrong, "{\"region\": 1}").unwrap();
    for path in [wrong.as_path(), &folder.path().join("missing.json")] {
        let run = try_run(&server, &["publish", "--security-lake", path.to_str().unwrap()]);
        assert_eq!(run.code, 1, "{run:?}");
        assert!(run.stderr.contains(".json: "), "{}", run.stderr);
    }
    assert_eq!(server.list("own", "l/ext/"), [] as [&str; 0]);
}

#[test]
fn a_source_that_is_added_later_gets_what_there_was_before() {
    let (server, folder) = staged();
    let all = std::fs::read(folder.path().join("lake.json")).unwrap();
    let mut one: serde_json::Value = serde_json::from_slice(&all).unwrap();
    one["sources"].as_object_mut().unwrap().retain(|class, _| class == "4001");
    std::fs::write(folder.path().join("lake.json"), one.to_string()).unwrap();
    let first = run(&server, &folder, &["publish"]);
    assert_eq!(number(&first.report["delivered"]["rows"]), 3534);
    std::fs::write(folder.path().join("lake.json"), all).unwrap();
    run(&server, &folder, &["publish"]);
    let uids = delivered(&server);
    assert_eq!((uids.len(), uids.iter().collect::<BTreeSet<_>>().len()), (6673, 6673));
}
