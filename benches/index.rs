//! Loads made-up archives into a lake and an OpenSearch cluster, and prints what that takes more than
//! the lake alone: CPU time of the loader, bytes sent, documents per second, bytes on disk.
//!
//! `TRAILHOUND_BENCH_OPENSEARCH=http://127.0.0.1:9200 cargo bench --bench index`. It removes every index
//! `ocsf-*` of that cluster.

#![allow(clippy::print_stdout, reason = "it prints its figures")]

use std::{error::Error, fs, path::Path, process::Command, time::Instant};

use opensearch::http::Method;
use serde_json::Value;
use trailhound::cluster::{Cluster, ClusterArgs};

mod support;

const MB: usize = 1_000_000;
/// Name, source, bytes of text, bytes of an object.
const ARCHIVES: [(&str, &str, usize, usize); 2] =
    [("CloudTrail", "cloudtrail", 50 * MB, MB / 2), ("flow logs", "vpc_flow", 50 * MB, MB)];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let Ok(url) = std::env::var("TRAILHOUND_BENCH_OPENSEARCH") else {
        println!(
            "NOT RUN: set TRAILHOUND_BENCH_OPENSEARCH to a cluster that may lose every ocsf-*"
        );
        return Ok(());
    };
    let args = ClusterArgs { opensearch: Some(url.clone()), ..ClusterArgs::default() };
    let cluster = args.cluster().await?.ok_or("no cluster")?;
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench");
    println!(
        "{:<24} {:>9} {:>12} {:>9} {:>10} {:>11} {:>12} {:>10}",
        "", "documents", "CPU us each", "peak MB", "wall s", "documents/s", "bytes sent", "on disk"
    );
    for (title, source, total, each) in ARCHIVES {
        let archive = support::archive(&root, source, total, each)?;
        for (how, extra) in [
            ("lake", vec![]),
            ("index", vec!["--opensearch", &url]),
            ("index, gzip", vec!["--opensearch", &url, "--opensearch-gzip", "true"]),
        ] {
            remove_all(&cluster).await?;
            let report = run(&root, &archive, &extra)?;
            let index = &report.report["index"];
            let documents = index["indexed"].as_f64().unwrap_or_default();
            let each = |bytes: f64| if documents > 0.0 { bytes / documents } else { 0.0 };
            let records = report.report["records"]["in"].as_f64().ok_or("no count")?;
            println!(
                "{:<24} {documents:>9} {:>12.1} {:>9.0} {:>10.1} {:>11.0} {:>12.0} {:>10.0}",
                format!("{title}, {how}"),
                report.cpu * 1e6 / records,
                report.peak_mb,
                report.wall,
                documents / report.wall,
                each(report.report["index_bytes"].as_f64().unwrap_or_default()),
                each(on_disk(&cluster).await?),
            );
        }
    }
    remove_all(&cluster).await
}

struct Run {
    report: Value,
    cpu: f64,
    peak_mb: f64,
    wall: f64,
}

fn run(root: &Path, archive: &Path, extra: &[&str]) -> Result<Run, Box<dyn Error>> {
    let lake = root.join("lake");
    if lake.exists() {
        fs::remove_dir_all(&lake)?;
    }
    let started = Instant::now();
    let output = Command::new("/usr/bin/time")
        .args(["-f", "%U %S %M", "-o"])
        .arg(root.join("time"))
        .arg(env!("CARGO_BIN_EXE_trailhound"))
        .args(["load", "--jobs", "1", "--quiet", "--json", "--lake"])
        .args([lake.as_path(), archive])
        .args(extra)
        .output()?;
    let wall = started.elapsed().as_secs_f64();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let figures = fs::read_to_string(root.join("time"))?;
    let figures: Vec<f64> =
        figures.split_whitespace().filter_map(|figure| figure.parse().ok()).collect();
    let [user, system, peak_kib] = figures[..] else { return Err("no figures".into()) };
    let report = serde_json::from_slice(&output.stdout)?;
    Ok(Run { report, cpu: user + system, peak_mb: peak_kib / 1024.0, wall })
}

async fn remove_all(cluster: &Cluster) -> Result<(), Box<dyn Error>> {
    cluster.call(Method::Delete, "/ocsf-*", None).await?;
    Ok(())
}

/// Bytes of all indexes, each as one segment.
async fn on_disk(cluster: &Cluster) -> Result<f64, Box<dyn Error>> {
    for path in ["/ocsf-*/_forcemerge?max_num_segments=1", "/ocsf-*/_flush"] {
        cluster.call(Method::Post, path, None).await?;
    }
    let reply = cluster.call(Method::Get, "/ocsf-*/_stats/store", None).await?;
    Ok(reply.json()["_all"]["primaries"]["store"]["size_in_bytes"].as_f64().unwrap_or_default())
}
