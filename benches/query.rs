//! Asks a lake, and prints time, memory and the bytes that were read.
//!
//! `cargo bench --bench query` makes a lake below `target/bench/` once (400 MB of text);
//! `cargo bench --bench query -- LAKE` takes one of yours.

#![allow(clippy::print_stdout, reason = "it prints its figures")]

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
};

mod support;

const MB: usize = 1_000_000;
const RARE_KEY: &str = "SELECT access_key FROM events WHERE class = 'api_activity' AND access_key \
                        LIKE 'A_IA%' GROUP BY 1 ORDER BY count(*), 1 LIMIT 1";
const RARE_ADDRESS: &str = "SELECT src_ip FROM events WHERE class = 'api_activity' AND src_ip \
                            IS NOT NULL GROUP BY 1 ORDER BY count(*), 1 LIMIT 1";
const RARE_INTERFACE: &str = "SELECT interface_uid FROM events WHERE interface_uid IS NOT NULL \
                              GROUP BY 1 ORDER BY count(*), 1 LIMIT 1";
const AN_ID: &str = "SELECT min(uid) FROM events";

/// Name, what is asked, and what gives the value that `?` stands for.
const QUERIES: [(&str, &str, &str); 7] = [
    ("calls of a key", "SELECT * FROM api_activity WHERE actor.user.credential_uid = ?", RARE_KEY),
    ("calls of a key, in the view", "SELECT * FROM events WHERE access_key = ?", RARE_KEY),
    ("calls from an address", "SELECT * FROM api_activity WHERE src_endpoint.ip = ?", RARE_ADDRESS),
    ("all about an address", "SELECT * FROM events WHERE src_ip = ? OR dst_ip = ?", RARE_ADDRESS),
    ("flows of an interface", "SELECT * FROM events WHERE interface_uid = ?", RARE_INTERFACE),
    ("an event by its id", "SELECT * FROM events WHERE uid = ?", AN_ID),
    (
        "all by day, class, account and operation",
        "SELECT eventday, class, account, operation, count(*) FROM events GROUP BY 1, 2, 3, 4",
        AN_ID,
    ),
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench");
    fs::create_dir_all(&root)?;
    // Cargo gives benches `--bench`.
    let given = std::env::args().skip(1).find(|arg| !arg.starts_with("--")).map(PathBuf::from);
    let lake = match given {
        Some(lake) => lake,
        None => made(&root)?,
    };
    let size = bytes_below(&lake.join("ext"))?;
    println!("{} MB of Parquet", size / MB as u64);
    println!(
        "{:<42} {:>7} {:>7} {:>8} {:>9} {:>8}",
        "", "wall s", "CPU s", "peak MB", "read MB", "of all"
    );
    let one = |sql: &str| -> Result<String, Box<dyn Error>> {
        let run = support::run(&root, |time| {
            time.args(["query", "--format", "csv", sql, "--lake"]).arg(&lake)
        })?;
        let text = String::from_utf8(run.report.stdout)?;
        Ok(text.lines().nth(1).ok_or("the lake has no such value")?.to_owned())
    };
    for (title, sql, value) in QUERIES {
        let sql = sql.replace('?', &format!("'{}'", one(value)?));
        show(&root, title, &lake, size, &["query", "--format", "csv", &sql])?;
    }
    show(&root, "investigation of a key", &lake, size, &["investigate", &one(RARE_KEY)?])
}

fn show(
    root: &Path,
    title: &str,
    lake: &Path,
    size: u64,
    args: &[&str],
) -> Result<(), Box<dyn Error>> {
    let run = support::run(root, |time| {
        time.env("TRAILHOUND_LOG", "info").args(args).arg("--lake").arg(lake)
    })?;
    let log = String::from_utf8(run.report.stderr)?;
    let (_, read) = log.rsplit_once("bytes=").ok_or("it did not say what it read")?;
    let read: String = read.chars().take_while(char::is_ascii_digit).collect();
    let read: f64 = read.parse()?;
    println!(
        "{title:<42} {:>7.2} {:>7.2} {:>8.0} {:>9.2} {:>7.2}%",
        run.seconds,
        run.cpu,
        run.peak_mb,
        read / MB as f64,
        100.0 * read / size as f64
    );
    Ok(())
}

/// A lake of made-up logs.
fn made(root: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let lake = root.join("asked-lake");
    if lake.exists() {
        fs::remove_dir_all(&lake)?;
    }
    let archives = [("cloudtrail", MB / 2), ("vpc_flow", MB)];
    let archives = archives
        .map(|(source, each)| support::archive(root, source, 200 * MB, each))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    support::run(root, |time| time.args(["load", "--quiet", "--lake"]).arg(&lake).args(&archives))?;
    Ok(lake)
}

fn bytes_below(folder: &Path) -> Result<u64, walkdir::Error> {
    walkdir::WalkDir::new(folder).into_iter().try_fold(0, |bytes, entry| {
        let metadata = entry?.metadata()?;
        Ok(bytes + if metadata.is_file() { metadata.len() } else { 0 })
    })
}
