//! Loads made-up archives from a bucket into a lake in a bucket, publishes them, and prints speed,
//! CPU time, memory, requests, and what they cost on AWS.
//!
//! `cargo bench --bench cloud` makes the archives below `target/tmp/bench/` once and serves them by
//! an S3 protocol server in this process; the program runs as a process of its own.
#![allow(clippy::print_stdout, reason = "it prints its figures")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on stops where it stands")]

use std::{collections::BTreeMap, path::Path};

mod support {
    #[path = "mod.rs"]
    pub mod made;

    #[allow(dead_code, reason = "the bench uses one server of several")]
    #[path = "../../tests/support/cloud/mod.rs"]
    pub mod cloud;

    /// What the servers of the tests say when they cannot run.
    #[allow(dead_code, reason = "as above")]
    pub fn not_run(test: &str, why: &str) {
        println!("NOT RUN: {test}: {why}");
    }
}

use support::{
    cloud::s3::S3Server,
    made::{self, Timed},
};

const MB: usize = 1_000_000;
/// Size of an object in the bucket, source, bytes of text in all, bytes of text in an object.
const ARCHIVES: [(&str, &str, usize, usize); 8] = [
    ("1.5 kB", "cloudtrail", 60 * MB, 9_000),
    ("20 kB", "cloudtrail", 150 * MB, 125_000),
    ("2 MB", "cloudtrail", 250 * MB, 12_500_000),
    ("1.5 kB", "vpc_flow", 30 * MB, 6_000),
    ("20 kB", "vpc_flow", 150 * MB, 80_000),
    ("2 MB", "vpc_flow", 250 * MB, 8_000_000),
    ("one object", "cloudtrail", 600 * MB, 600 * MB),
    ("one object", "vpc_flow", 600 * MB, 600 * MB),
];

/// Prices of us-east-1 in dollars, 2026: a request of S3 that reads, a message of SQS (sent, received
/// and deleted in tens: 1.2 requests), a second of one vCPU of Lambda (x86; 1,769 MB are one vCPU).
/// What a batch and a publish write and list does not grow with the bytes: it is printed below each
/// line, and costs $5 a million.
const GET: f64 = 4e-7;
const MESSAGE: f64 = 1.2 * 4e-7;
const CPU_SECOND: f64 = 1.769 * 0.000_016_666_7;

fn main() {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench");
    println!(
        "{:<18} {:>8} {:>9} {:>9} {:>10} {:>10} {:>8} {:>8} {:>8}",
        "",
        "objects",
        "objects/s",
        "events/s",
        "CPU ms/obj",
        "local ms",
        "peak MB",
        "pub CPU s",
        "$/TB"
    );
    for (size, source, total, each) in ARCHIVES {
        let archive = made::archive(&root, source, total, each).unwrap();
        let server = S3Server::start();
        server.create_bucket("logs");
        server.create_bucket("lake");
        server.upload_dir(&archive.join("AWSLogs"), "logs", "AWSLogs/");
        let load =
            run(&server, &root, &["load", "s3://logs", "--lake", "s3://lake/l", "--no-publish"]);
        let requests = server.requests();
        server.reset_requests();
        let publish = run(&server, &root, &["publish", "--lake", "s3://lake/l"]);
        let publish_requests = server.requests();
        let lake = made::no_lake(&root).unwrap();
        let archive = archive.to_str().unwrap();
        let local = run(&server, &root, &["load", archive, "--lake", lake.to_str().unwrap()]);
        let objects = load.report["objects"]["loaded"].as_f64().unwrap();
        let events = load.report["records"]["in"].as_f64().unwrap();
        let dollars = objects * (GET + MESSAGE) + (load.cpu + publish.cpu) * CPU_SECOND;
        println!(
            "{:<18} {objects:>8} {:>9.0} {:>9.0} {:>10.2} {:>10.2} {:>8.0} {:>8.1} {:>8.2}",
            format!("{source} {size}"),
            objects / load.seconds,
            events / load.seconds,
            load.cpu / objects * 1e3,
            local.cpu / objects * 1e3,
            load.peak_mb.max(publish.peak_mb),
            publish.cpu,
            dollars / total as f64 * 1e12,
        );
        println!("    load, per 1,000 objects: {}", per_thousand(&requests, objects));
        println!("    publish, in all: {publish_requests:?}");
    }
}

fn run(server: &S3Server, root: &Path, arguments: &[&str]) -> Timed {
    let run = made::timed(root, |command| {
        server.env(command);
        command.args(arguments)
    });
    run.unwrap()
}

fn per_thousand(requests: &BTreeMap<String, u64>, objects: f64) -> String {
    let each = |(operation, count): (&String, &u64)| {
        format!("{operation} {:.1}", *count as f64 / objects * 1e3)
    };
    requests.iter().map(each).collect::<Vec<_>>().join(", ")
}
