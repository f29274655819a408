//! Loads made-up archives into a lake and an OpenSearch cluster, and prints what that takes more than
//! the lake alone: CPU time of the loader, bytes sent, documents per second, bytes on disk.
//!
//! `TRAILHOUND_BENCH_OPENSEARCH=http://127.0.0.1:9200 cargo bench --bench index`. It removes every index
//! `ocsf-*` of that cluster.

#![allow(clippy::print_stdout, reason = "it prints its figures")]

use std::{error::Error, path::Path};

use opensearch::http::Method;
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
            let lake = support::no_lake(&root)?;
            let run = support::timed(&root, |command| {
                command.args(["load", "--quiet", "--lake"]).args([&lake, &archive]).args(extra)
            })?;
            let index = &run.report["index"];
            let documents = index["indexed"].as_f64().unwrap_or_default();
            let each = |bytes: f64| if documents > 0.0 { bytes / documents } else { 0.0 };
            let records = run.report["records"]["in"].as_f64().ok_or("no count")?;
            println!(
                "{:<24} {documents:>9} {:>12.1} {:>9.0} {:>10.1} {:>11.0} {:>12.0} {:>10.0}",
                format!("{title}, {how}"),
                run.cpu * 1e6 / records,
                run.peak_mb,
                run.seconds,
                documents / run.seconds,
                each(run.report["index_bytes"].as_f64().unwrap_or_default()),
                each(on_disk(&cluster).await?),
            );
        }
    }
    remove_all(&cluster).await
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
