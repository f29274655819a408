//! Archives and lakes in buckets, through a real S3 protocol server.

use crate::support::{
    Bench, Lake, Run, cloud::s3::S3Server, load_command, sample_archive, trailhound,
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
