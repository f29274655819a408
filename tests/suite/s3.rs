//! Archives and lakes in buckets, through a real S3 protocol server.

use std::{collections::BTreeSet, fs, time::Duration};

use crate::support::{
    Bench, Lake, Run,
    cloud::{
        proxy::{Fault, Proxy},
        s3::S3Server,
    },
    event, load_command, records, sample_archive, trail_key_of, trailhound,
};

fn load_url(server: &S3Server, from: &str, lake: &str, extra: &[&str]) -> Run {
    let mut command = trailhound();
    server.env(&mut command);
    command.args(["load", from, "--lake", lake, "--json"]).args(extra);
    Run::of(&command.output().unwrap())
}

/// The rows of a lake by folder and content, without the names of files.
fn sorted(lake: &Lake) -> Vec<String> {
    let mut rows: Vec<String> =
        lake.rows().iter().map(|row| format!("{} {}", row.folder(), row.event)).collect();
    rows.sort_unstable();
    rows
}

#[test]
fn an_archive_in_a_bucket_gives_the_rows_of_the_same_archive_on_disk() {
    let server = S3Server::start();
    server.create_bucket("logs");
    server.upload_dir(&sample_archive(), "logs", "");
    let bench = Bench::new();
    let here = Lake::new(bench.path("here"));
    let run = Run::of(&load_command(&sample_archive(), &here.dir, &[]).output().unwrap());
    assert_eq!(run.code, 0);
    let there = Lake::new(bench.path("there"));
    let from_bucket = load_url(&server, "s3://logs", there.dir.to_str().unwrap(), &[]);
    assert_eq!(from_bucket.code, 0, "{from_bucket:?}");
    assert_eq!(from_bucket.report["records"], run.report["records"]);
    there.check(&from_bucket.report);
    assert!(sorted(&here) == sorted(&there));
    // And again: nothing is read.
    server.reset_requests();
    let again = load_url(&server, "s3://logs", there.dir.to_str().unwrap(), &[]);
    assert_eq!((again.code, again.objects("loaded")), (0, 0));
    assert_eq!(server.requests().get("GetObject"), None);
}

/// A server with the sample archive in the bucket `logs`, and an empty bucket `lake`.
fn cloud() -> S3Server {
    let server = S3Server::start();
    server.create_bucket("logs");
    server.create_bucket("lake");
    server.upload_dir(&sample_archive(), "logs", "org/");
    server
}

#[test]
fn a_load_into_a_bucket_stages_a_file_for_each_class_and_skips_what_is_loaded() {
    let server = cloud();
    let here = Lake::new(tempfile::tempdir().unwrap().path().join("lake"));
    let local = Run::of(&load_command(&sample_archive(), &here.dir, &[]).output().unwrap());
    let run = load_url(&server, "s3://logs/org", "s3://lake/l", &["--no-publish"]);
    assert_eq!(run.code, 0, "{run:?}");
    for what in ["in", "rejected"] {
        assert_eq!(run.records(what), local.records(what), "{what}");
    }
    let staged = server.list("lake", "l/_trailhound/staged/");
    assert_eq!(staged.len(), 5, "one for each class: {staged:?}");
    let again = load_url(&server, "s3://logs/org", "s3://lake/l", &[]);
    assert_eq!((again.code, again.objects("loaded"), again.objects("skipped")), (0, 0, 549));
    // Forced it is staged beside; `publish` keeps one row of each event.
    let forced = load_url(&server, "s3://logs/org", "s3://lake/l", &["--force"]);
    assert_eq!(forced.objects("loaded"), 549);
}

#[test]
fn only_the_folders_that_a_filter_wants_are_listed() {
    let server = cloud();
    let lists = |extra: &[&str]| {
        server.reset_requests();
        let extra = [&["--dry-run"], extra].concat();
        let run = load_url(&server, "s3://logs/org", "s3://lake/l", &extra);
        assert_eq!(run.code, 0, "{run:?}");
        (run.objects("loaded"), server.requests().get("ListObjectsV2").copied().unwrap_or_default())
    };
    let (all, _) = lists(&[]);
    let (of_account, _) = lists(&["--account", "111122223333"]);
    let (of_region, _) = lists(&["--region", "eu-west-1"]);
    assert!(of_account < all && of_region < all, "{all} {of_account} {of_region}");
    let (none, requests) = lists(&["--since", "2030-01-01"]);
    assert_eq!(none, 0);
    assert!(requests < 100, "{requests} lists for nothing");
    // What is left out by the listing is what is left out by the records' keys.
    let bench = Bench::new();
    for extra in
        [["--account", "111122223333"], ["--region", "eu-west-1"], ["--source", "vpc_flow"]]
    {
        let near = bench.path(&format!("near{}", extra[1]));
        let far = bench.path(&format!("far{}", extra[1]));
        let local = Run::of(&load_command(&sample_archive(), &near, &extra).output().unwrap());
        let remote = load_url(&server, "s3://logs/org", far.to_str().unwrap(), &extra);
        assert_eq!(remote.report["records"], local.report["records"], "{extra:?}");
        assert!(sorted(&Lake::new(near)) == sorted(&Lake::new(far)), "{extra:?}");
    }
}

#[test]
fn a_lake_in_the_archive_or_half_local_is_refused() {
    let server = cloud();
    for (from, lake, state, told) in [
        ("s3://logs", "s3://logs/lake", "s3://logs/lake/x", "inside of the archive"),
        ("s3://logs/org", "s3://lake", "s3://logs/org/state", "inside of the archive"),
        ("s3://logs", "s3://lake/l", "s3://lake/l/ext/state", "among the files of the lake"),
        ("s3://logs", "s3://lake/l", "state", "both be local, or both in S3"),
        ("s3://logs", "gs://lake/l", "s3://lake/l/x", "gs:// is not known"),
        ("s3://nothing-here", "s3://lake/l", "s3://lake/l/x", "there is no bucket nothing-here"),
        ("s3://logs", "s3://no-lake", "s3://no-lake/x", "there is no bucket no-lake"),
    ] {
        let run = load_url(&server, from, lake, &["--state", state]);
        assert_eq!(run.code, 1, "{run:?}");
        assert!(run.stderr.contains(told), "{told:?} in {}", run.stderr);
    }
}

#[test]
fn what_aws_refuses_is_told_in_one_sentence_that_says_what_to_do() {
    let server = cloud();
    server.deny(&["GetObject"]);
    let lake = tempfile::tempdir().unwrap();
    let run = load_url(&server, "s3://logs/org/AWSLogs", lake.path().to_str().unwrap(), &[]);
    assert_eq!(run.code, 2, "{run:?}");
    let told = "needs s3:GetObject on arn:aws:s3:::logs/org/AWSLogs/";
    assert!(run.stderr.contains(told), "{}", run.stderr);
    assert!(run.stderr.contains("access key AKIA"), "the principal: {}", run.stderr);
    server.deny(&["ListObjectsV2"]);
    let run = load_url(&server, "s3://logs/org/AWSLogs", lake.path().to_str().unwrap(), &[]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.stderr.contains("needs s3:ListBucket on arn:aws:s3:::logs"), "{}", run.stderr);
    server.no_fault();
    let with = |name: &str, value: &str| {
        let mut command = trailhound();
        server.env(&mut command);
        command.env(name, value);
        command.args(["load", "s3://logs/org", "--json", "--lake"]).arg(lake.path());
        Run::of(&command.output().unwrap())
    };
    let run = with("AWS_SECRET_ACCESS_KEY", "wrong");
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.stderr.contains("are not valid (SignatureDoesNotMatch): check them"), "{run:?}");
    let run = with("AWS_ACCESS_KEY_ID", "");
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("no AWS credentials for s3://logs: set AWS_PROFILE"), "{run:?}");
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
}

#[test]
fn a_body_that_breaks_goes_on_where_it_broke() {
    let server = cloud();
    let proxy = Proxy::start(&server.endpoint());
    let bench = Bench::new();
    let near = bench.path("near");
    let archive = sample_archive();
    let local = Run::of(&load_command(&archive, &near, &[]).output().unwrap());
    // Every fault once, on different requests.
    proxy.script(|number, line| match number % 29 {
        _ if !line.contains(".gz") => Fault::Pass,
        0 => Fault::Reset(700),
        2 => Fault::Truncate(300),
        4 => Fault::Slow(500, Duration::from_millis(2)),
        6 => Fault::Status(503),
        8 => Fault::Status(500),
        _ => Fault::Pass,
    });
    let far = bench.path("far");
    let mut command = trailhound();
    server.env(&mut command);
    proxy.env(&mut command);
    command.args(["load", "s3://logs/org", "--json", "--lake"]).arg(&far);
    let remote = Run::of(&command.output().unwrap());
    assert_eq!(remote.code, 0, "{remote:?}");
    assert_eq!(remote.report["records"], local.report["records"]);
    assert!(sorted(&Lake::new(near)) == sorted(&Lake::new(far)));
}

#[test]
fn tiny_objects_of_hundreds_of_partitions_are_one_staged_file_and_each_partition_one_file() {
    const ACCOUNTS: u64 = 20;
    const REGIONS: u64 = 17;
    const OBJECTS: u64 = 3;
    let server = S3Server::start();
    server.create_bucket("logs");
    server.create_bucket("lake");
    for account in 0..ACCOUNTS {
        for region in 0..REGIONS {
            let (account, region) =
                (format!("{:012}", 1000 + account), format!("us-east-{region}"));
            for object in 0..OBJECTS {
                let mut call = event(object);
                call["eventID"] = format!("{account}-{region}-{object}").into();
                call["recipientAccountId"] = account.as_str().into();
                call["awsRegion"] = region.as_str().into();
                let key = trail_key_of(&account, &region, "2024/05/01", &format!("x{object}"));
                let path = server.root().join("logs").join(key);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, records(&[call])).unwrap();
            }
        }
    }
    let run = load_url(&server, "s3://logs", "s3://lake/l", &["--no-publish"]);
    run.expect(0, [1020, 0], [1020, 1020, 0]);
    let staged = server.list("lake", "l/_trailhound/staged/");
    assert_eq!(staged.len(), 2, "one file for each class: {staged:?}");
    let mut command = trailhound();
    server.env(&mut command);
    command.args(["publish", "--lake", "s3://lake/l", "--json"]);
    let published = Run::of(&command.output().unwrap());
    assert_eq!(published.report["published"]["rows"], 1020, "{published:?}");
    let files = server.list("lake", "l/ext/");
    let folders: BTreeSet<&str> =
        files.iter().map(|file| file.rsplit_once('/').unwrap().0).collect();
    assert_eq!(files.len(), folders.len(), "one file for each partition");
    assert!(folders.len() >= 340, "{}", folders.len());
}
