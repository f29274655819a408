//! Loads made-up archives and prints events per second of CPU time and peak memory.
//!
//! `cargo bench --bench load` makes the archives below `target/bench/` once (1.9 GB of text,
//! 300 MB on disk) and runs each load in a process of its own.

#![allow(clippy::print_stdout, reason = "it prints its figures")]

use std::path::Path;

mod support;

const MB: usize = 1_000_000;
/// Name, source, bytes of text, bytes of an object.
const ARCHIVES: [(&str, &str, usize, usize); 6] = [
    ("200 MB of CloudTrail", "cloudtrail", 200 * MB, MB / 2),
    ("200 MB of flow logs", "vpc_flow", 200 * MB, MB),
    ("one CloudTrail object of 600 MB", "cloudtrail", 600 * MB, 600 * MB),
    ("one flow log object of 600 MB", "vpc_flow", 600 * MB, 600 * MB),
    ("10,000 CloudTrail objects of 15 kB", "cloudtrail", 150 * MB, 15_000),
    ("10,000 flow log objects of 15 kB", "vpc_flow", 150 * MB, 15_000),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench");
    println!(
        "{:<36} {:>9} {:>12} {:>10} {:>8}",
        "", "events", "events/s/core", "peak MB", "wall s"
    );
    for (title, source, total, each) in ARCHIVES {
        let archive = support::archive(&root, source, total, each)?;
        let lake = support::no_lake(&root)?;
        let run = support::timed(&root, |command| {
            command.args(["load", "--quiet", "--lake"]).args([&lake, &archive])
        })?;
        let events = run.report["records"]["in"].as_f64().ok_or("no count")?;
        println!(
            "{title:<36} {events:>9} {:>12.0} {:>10.0} {:>8.1}",
            events / run.cpu,
            run.peak_mb,
            run.seconds
        );
    }
    Ok(())
}
