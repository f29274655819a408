//! Files that cannot be read, places that cannot be written, and a decoder that panics.

use std::{
    fs,
    os::unix::fs::symlink,
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use parsers::{Decode, DecodeError, Detect, Filter, ObjectKey, Rows, Source};
use trailhound::{
    budget::Budget,
    indexing::IndexArgs,
    inflate::Caps,
    load::{Settings, load},
    progress::Progress,
    store::{Access, Place},
};

use crate::support::{
    ACCOUNTS, Bench, REGIONS, Run, event, load_command, logs::event_of_day, records, trail_key,
    trail_key_of, trailhound,
};

fn bench_of(objects: u64) -> Bench {
    let bench = Bench::new();
    for n in 0..objects {
        bench.put(&trail_key(&format!("o{n}")), records(&[event(2 * n), event(2 * n + 1)]));
    }
    bench
}

#[test]
fn a_state_folder_of_another_lake_or_among_the_files_of_this_one_is_an_error() {
    let bench = Bench::with([(&*trail_key("x"), records(&[event(0)]))]);
    let state = bench.path("state");
    let with_state = |lake: &str, state: &std::path::Path| {
        let arguments = ["--state", state.to_str().unwrap()];
        Run::of(&load_command(&bench.archive(), &bench.path(lake), &arguments).output().unwrap())
    };
    with_state("one", &state).expect(0, [1, 0], [1, 1, 0]);
    let other = with_state("two", &state);
    assert_eq!(other.code, 1);
    assert!(other.stderr.contains("is of another lake"), "{}", other.stderr);
    let inside = with_state("one", &bench.path("one/ext/state"));
    assert_eq!(inside.code, 1);
    assert!(inside.stderr.contains("among the files of the lake"), "{}", inside.stderr);
}

#[test]
fn an_unreadable_file_is_named_with_its_cause_and_the_others_are_loaded() {
    let bench = bench_of(1);
    let dangling = bench.archive().join(trail_key("dangling"));
    symlink(bench.path("nowhere"), &dangling).unwrap();
    let run = bench.load(&[]);
    run.expect(2, [1, 1], [2, 2, 0]);
    assert!(run.stderr.contains("dangling.json.gz"), "{}", run.stderr);
    assert!(run.stderr.contains("No such file"), "{}", run.stderr);

    // Once it can be read it is loaded.
    fs::write(bench.path("nowhere"), records(&[event(40)])).unwrap();
    let run = bench.load(&[]);
    run.expect(0, [1, 0], [1, 1, 0]);
    assert_eq!(run.objects("skipped"), 1);
}

#[test]
fn a_loop_of_folders_is_named_and_the_others_are_loaded() {
    let bench = bench_of(1);
    symlink(bench.archive(), bench.archive().join("AWSLogs/loop")).unwrap();
    let run = bench.load(&[]);
    run.expect(2, [1, 1], [2, 2, 0]);
    assert!(run.stderr.contains("AWSLogs/loop"), "{}", run.stderr);
}

#[test]
fn a_name_that_is_not_utf8_is_reported_and_the_others_are_loaded() {
    use std::os::unix::ffi::OsStrExt;
    let bench = bench_of(1);
    let name = std::ffi::OsStr::from_bytes(b"1_CloudTrail_us-east-1_20240501T0000Z_\xff.json");
    fs::write(bench.archive().join(name), records(&[event(9)])).unwrap();
    let run = bench.load(&[]);
    assert_eq!((run.code, run.objects("loaded"), run.objects("failed")), (2, 1, 1), "{run:?}");
    assert!(run.stderr.contains("1_CloudTrail_us-east-1_20240501T0000Z_"), "{}", run.stderr);
}

#[test]
fn what_is_no_file_does_not_stop_the_run() {
    let bench = bench_of(1);
    let pipe = bench.archive().join(trail_key("pipe"));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut command = bench.load_command(&[]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > Duration::from_secs(10) {
            child.kill().unwrap();
        }
        thread::sleep(Duration::from_millis(5));
    }
    let run = Run::of(&child.wait_with_output().unwrap());
    assert_ne!(run.code, -1, "the run waits for a writer of the pipe");
    assert_eq!(run.objects("loaded"), 1);
    assert!(run.stderr.contains("pipe.json.gz"), "it is named: {}", run.stderr);
}

#[test]
fn a_damaged_ledger_is_named_and_nothing_is_loaded_on_top_of_it() {
    let bench = bench_of(1);
    bench.load(&[]);
    let lake = bench.lake();
    let ledger = lake.state.join("ledger/v1/day=20240501");
    let file = fs::read_dir(&ledger).unwrap().next().unwrap().unwrap().path();
    fs::write(&file, "{\"v\":1,\"bat").unwrap();
    let rows = lake.rows();
    let run = bench.load(&[]);
    assert!(run.code == 1 || run.code == 2, "{run:?}");
    assert!(run.stderr.contains(file.to_str().unwrap()), "{}", run.stderr);
    assert_eq!(lake.rows(), rows);
}

#[test]
fn a_path_that_does_not_exist_is_named_and_nothing_is_written() {
    let bench = bench_of(1);
    let output = load_command(&bench.path("missing"), &bench.path("lake"), &[]).output().unwrap();
    let run = Run::of(&output);
    assert_eq!(run.code, 1);
    assert!(
        run.stderr.contains("missing") && run.stderr.contains("No such file"),
        "{}",
        run.stderr
    );
    assert!(!bench.path("lake").exists());
}

#[test]
fn a_lake_that_cannot_be_written_is_named_before_anything_is_read() {
    let bench = bench_of(1);
    fs::write(bench.path("file"), "no folder").unwrap();
    for (lake, state) in [("file/lake", "state"), ("lake", "file/state")] {
        let state = bench.path(state);
        let extra = ["--state", state.to_str().unwrap()];
        let run =
            Run::of(&load_command(&bench.archive(), &bench.path(lake), &extra).output().unwrap());
        assert_eq!(run.code, 1, "{run:?}");
        assert!(run.report.is_null());
        assert!(run.stderr.contains("/file/"), "{}", run.stderr);
        assert!(run.stderr.contains("Not a directory"), "{}", run.stderr);
    }
    assert_eq!(fs::read_to_string(bench.path("file")).unwrap(), "no folder");
    assert_eq!(bench.lake().files().len(), 0);
}

#[test]
fn a_lake_inside_of_the_archive_is_refused() {
    let bench = bench_of(1);
    let lake = bench.archive().join("lake");
    let run = Run::of(&load_command(&bench.archive(), &lake, &[]).output().unwrap());
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("choose another place"), "{}", run.stderr);
    assert!(!lake.exists());
}

/// A full disk, as near as it comes without one: no file may grow over some kB, and a write that
/// would make it do so fails instead of killing.
fn load_with_file_limit(bench: &Bench, kb: u32) -> Run {
    let script = format!("trap '' XFSZ; ulimit -f {kb}; exec \"$@\"");
    let mut command = Command::new("bash");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TRAILHOUND_")) {
        command.env_remove(name);
    }
    command.args(["-c", &script, "bash", env!("CARGO_BIN_EXE_trailhound"), "load"]);
    command.arg(bench.archive()).arg("--lake").arg(bench.path("lake")).arg("--json");
    Run::of(&command.output().unwrap())
}

#[test]
fn a_damaged_ledger_stops_the_load_with_its_line_and_every_object_in_a_count() {
    let keys = ["a", "b", "c"].map(trail_key);
    let objects = keys.iter().map(String::as_str).zip((0..).map(|n| records(&[event(n)])));
    let bench = Bench::with(objects);
    bench.load(&[]);
    let ledger = bench.path("lake/_trailhound/ledger/v1");
    let day = fs::read_dir(&ledger).unwrap().next().unwrap().unwrap().path();
    let file = fs::read_dir(day).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen('\n', "\n{\"v\":", 1)).unwrap();
    let run = bench.load(&[]);
    assert_eq!((run.code, run.objects("failed")), (2, 3), "{run:?}");
    assert!(run.stderr.contains(file.to_str().unwrap()), "{}", run.stderr);
    assert!(run.stderr.contains("line 2 is damaged"), "{}", run.stderr);
}

#[test]
fn a_full_disk_is_named_leaves_no_half_file_and_loses_nothing() {
    let bench = Bench::new();
    for n in 0..4 {
        let events: Vec<_> = (0..200).map(|i| event_of_day(n * 200 + i, n)).collect();
        bench.put(
            &trail_key_of(ACCOUNTS[0], REGIONS[0], "2024/05/01", &format!("o{n}")),
            records(&events),
        );
    }
    for kb in [0, 1, 8, 24] {
        let run = load_with_file_limit(&bench, kb);
        assert!(run.code == 1 || run.code == 2, "{kb} kB: {run:?}");
        assert!(run.stderr.contains("File too large"), "the cause: {}", run.stderr);
        assert!(run.stderr.contains(bench.path("lake").to_str().unwrap()), "{}", run.stderr);
        assert_eq!(bench.lake().files().len(), 0, "no file of a batch that failed");
        assert_eq!(bench.lake().ledger().len(), 0);
        if kb > 0 {
            assert_eq!(run.objects("failed"), 4, "every object is in a count");
            assert_eq!(bench.lake().open(), [] as [&str; 0], "it cleans up after itself");
        }
    }
    let (run, _) = bench.load_checked(&[]);
    run.expect(0, [4, 0], [800, 800, 0]);
}

#[test]
fn a_result_that_cannot_be_printed_is_an_error() {
    let bench = bench_of(1);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = bench.load_command(&[]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("No space left"), "{error}");
}

/// Reads a CloudTrail object, but panics at the third record, or where the file name tells.
struct Panicking {
    inner: Box<dyn Decode>,
    panics: bool,
}

impl Decode for Panicking {
    fn decode(&mut self, input: &[u8], eof: bool, out: &mut Rows) -> Result<usize, DecodeError> {
        let consumed = self.inner.decode(input, eof, out)?;
        if self.panics {
            out.begin_record(1);
            panic!("injected");
        }
        Ok(consumed)
    }
}

static PANICKING: Source = Source {
    name: "cloudtrail",
    product: "CloudTrail",
    title: "CloudTrail, with a bug",
    classes: &[],
    kinds: "",
    detect: |_: &ObjectKey| Detect::Yes,
    sniff: |_| false,
    uid_by_position: false,
    decoder: |origin| {
        let panics = origin.key.file_name().contains("panics");
        let inner = parsers::source("cloudtrail").unwrap();
        Box::new(Panicking { inner: (inner.decoder)(origin), panics })
    },
};

#[test]
fn a_panic_in_a_decoder_fails_that_object_and_the_run_goes_on() {
    // Keys that no source knows, so that the given one reads them.
    let bench = Bench::with([
        ("a.json", records(&[event(0)])),
        ("b-panics.json", records(&[event(1), event(2)])),
        ("c.json", records(&[event(3)])),
    ]);
    let lake = bench.lake();
    let settings = Settings {
        accounts: Arc::default(),
        index: IndexArgs::default(),
        paths: vec![Place::Local(bench.archive())],
        lake: Place::Local(lake.dir.clone()),
        state: Place::Local(lake.state.clone()),
        source_access: Access::default(),
        lake_access: Access::default(),
        source: Some(&PANICKING),
        filter: Filter::default(),
        budget: Budget::new(128 << 20, 1).unwrap(),
        caps: Caps::default(),
        force: false,
        dry_run: false,
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let report = runtime.block_on(load(&settings, &Progress::hidden())).unwrap();
    let (objects, records) = (report.objects, report.records);
    assert_eq!((objects.loaded, objects.failed), (2, 1), "{report:?}");
    assert_eq!(report.exit_code(false), 2);
    // The records before the panic are kept; the one that was open counts nowhere.
    assert_eq!((records.records_in, records.parquet, records.rejected), (4, 4, 0));
    assert!(report.problems().contains("b-panics.json: internal error: injected"));
    lake.check(&serde_json::to_value(&report).unwrap());
    assert_eq!(lake.entry("b-panics.json")["error"]["permanent"], false, "a fix may come");
}

#[test]
fn a_usage_error_exits_with_1_and_prints_no_result() {
    let bench = bench_of(1);
    let cases: [&[&str]; 6] = [
        &["--no-such-flag"],
        &["--memory", "1MB"],
        &["--jobs", "0"],
        &["--source", "nothing"],
        &["--since", "yesterday"],
        &["--since", "2024-05-02", "--until", "2024-05-01"],
    ];
    for arguments in cases {
        let run = bench.load(arguments);
        assert_eq!((run.code, run.report.is_null()), (1, true), "{arguments:?}: {run:?}");
        assert!(!run.stderr.is_empty());
    }
    assert!(!bench.path("lake").exists(), "nothing was started");
    for arguments in [&["load"][..], &["schema", "nothing"], &[]] {
        assert_eq!(trailhound().args(arguments).output().unwrap().status.code(), Some(1));
    }
    assert_eq!(trailhound().arg("--help").output().unwrap().status.code(), Some(0));
}
