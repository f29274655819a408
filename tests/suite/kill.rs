//! A run that is killed leaves whole files, a true ledger, and nothing in the way of the next run.

use std::{
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    ACCOUNTS, Bench, Lake, REGIONS, Row, Run, flow_key_of, flow_object, gzip, logs::event_of_day,
    records, trail_key_of,
};

const DAYS: u64 = 3;

/// Some thousand records in some dozen partitions: long enough to be hit at any stage.
fn archive() -> Bench {
    let bench = Bench::new();
    for day in 0..DAYS {
        let folder = format!("2024/05/{:02}", day + 1);
        for (n, (account, region)) in (0..).zip(ACCOUNTS.into_iter().zip(REGIONS)) {
            let first = day * 1000 + n * 100;
            let events: Vec<_> = (first..first + 60).map(|i| event_of_day(i, day)).collect();
            let key = trail_key_of(account, region, &folder, "x");
            bench.put(&key, gzip(&records(&events)));
            let key = flow_key_of(account, region, &folder, "x");
            bench.put(&key, gzip(&flow_object(first..first + 80)));
        }
    }
    bench
}

/// The rows as a set: sorted, without the names of their files.
fn sorted(rows: Vec<Row>) -> Vec<String> {
    let text = |row: Row| format!("{} {}", row.folder(), row.event);
    let mut rows: Vec<String> = rows.into_iter().map(text).collect();
    rows.sort_unstable();
    rows
}

/// A number below `bound`, the same on every machine.
fn random(seed: u64, bound: u64) -> u64 {
    let mixed = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33) % bound
}

/// Starts the command and kills it at a moment that `wait` chooses; true if it was still running.
fn killed(mut command: Command, wait: impl FnOnce(&mut dyn FnMut() -> bool)) -> bool {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut over = || child.try_wait().unwrap().is_some();
    wait(&mut over);
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

/// True once the plan of a commit is there: from now on files are moved.
fn is_committing(lake: &Lake) -> bool {
    let open = lake.dir.join("_trailhound/open");
    lake.open().iter().any(|batch| open.join(batch).join("commit.json").exists())
}

/// The undisturbed load, and how long it takes.
fn undisturbed() -> (Vec<String>, Duration) {
    let bench = archive();
    let started = Instant::now();
    let run = bench.load(&["--jobs", "1"]);
    let duration = started.elapsed();
    assert_eq!(run.code, 0);
    (sorted(bench.lake().check(&run.report)), duration)
}

#[test]
fn a_run_killed_at_random_leaves_whole_files_and_the_next_run_completes_it() {
    let (expected, duration) = undisturbed();
    let mut micros = duration.as_micros() as u64;
    let mut hits = 0;
    for round in 0..3 {
        let bench = archive();
        for attempt in 0..3 {
            let at = Duration::from_micros(random(round * 10 + attempt, micros));
            let command = bench.load_command(&["--jobs", "1"]);
            if killed(command, |_| thread::sleep(at)) {
                hits += 1;
            } else {
                // The machine is quicker now than it was before.
                micros = micros * 2 / 3;
            }
            bench.lake().check_ledger();
        }
        complete(&bench, &expected);
    }
    assert!(hits > 2, "only {hits} runs were killed before their end");
}

#[test]
fn a_run_killed_while_it_commits_is_completed_by_the_next_run() {
    let (expected, _) = undisturbed();
    let (mut half, mut round) = (0, 0);
    while half < 3 && round < 12 {
        let bench = archive();
        let lake = bench.lake();
        let wait = |over: &mut dyn FnMut() -> bool| {
            while !is_committing(&lake) && !over() {
                thread::sleep(Duration::from_micros(50));
            }
            thread::sleep(Duration::from_micros(random(round, 1500)));
            round += 1;
        };
        killed(bench.load_command(&["--jobs", "1"]), wait);
        lake.check_ledger();
        half += u32::from(is_committing(&lake));
        complete(&bench, &expected);
    }
    assert!(half > 0, "no run was killed within its commit");
}

#[test]
fn a_forced_run_killed_at_random_leaves_old_or_new_rows_and_force_completes_it() {
    let (expected, duration) = undisturbed();
    let bench = archive();
    let lake = bench.lake();
    complete(&bench, &expected);
    for round in 20..24 {
        let wait = |over: &mut dyn FnMut() -> bool| {
            if round % 2 == 0 {
                thread::sleep(Duration::from_micros(random(round, duration.as_micros() as u64)));
            } else {
                while !is_committing(&lake) && !over() {
                    thread::sleep(Duration::from_micros(50));
                }
            }
        };
        killed(bench.load_command(&["--jobs", "1", "--force"]), wait);
        lake.check_ledger();
        let run = bench.load(&["--jobs", "1"]);
        assert_eq!((run.code, run.objects("loaded")), (0, 0), "the ledger never forgets: {run:?}");
        assert!(sorted(lake.check_ledger()) == expected);
    }
    let run = bench.load(&["--force"]);
    assert!(sorted(lake.check(&run.report)) == expected);
}

/// Runs to the end: the lake is as if nothing had happened.
fn complete(bench: &Bench, expected: &[String]) {
    let run = bench.load(&["--jobs", "1"]);
    assert_eq!((run.code, run.objects("failed")), (0, 0), "{run:?}");
    let lake = bench.lake();
    let rows = sorted(lake.check_ledger());
    assert_eq!(lake.open(), [] as [&str; 0], "nothing stays open");
    assert!(rows == expected, "rows differ from those of an undisturbed load");
    let again = bench.load(&[]);
    assert_eq!((again.objects("loaded"), again.objects("skipped")), (0, 4 * DAYS));
}

#[test]
fn two_runs_at_once_do_not_harm_each_other() {
    let (expected, _) = undisturbed();
    let bench = archive();
    let start = |arguments: &[&str]| {
        let mut command = bench.load_command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    // With different filters the batches differ, and only the lake itself can keep them apart.
    for (one, other) in [
        (&["--jobs", "1"][..], &["--account", "111122223333"][..]),
        (&["--jobs", "1"], &["--jobs", "1"]),
        (&["--force"], &["--force"]),
    ] {
        let runs = [start(one), start(other)];
        for run in runs {
            let run = Run::of(&run.wait_with_output().unwrap());
            // The later one gives way, or finds everything done.
            let gave_way = run.code == 1 && run.stderr.contains("another load is writing");
            assert!(run.code == 0 || gave_way, "{run:?}");
        }
        bench.lake().check_ledger();
    }
    complete(&bench, &expected);
}

#[test]
fn an_interrupt_ends_a_run_without_a_trace_of_its_batch() {
    let bench = archive();
    let mut command = bench.load_command(&["--jobs", "1"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A batch is at work; before that a signal may come before anybody listens for it.
    let is_batch = |name: &String| !name.starts_with('.');
    while !bench.lake().open().iter().any(is_batch) {
        thread::sleep(Duration::from_millis(1));
    }
    thread::sleep(Duration::from_millis(20));
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let run = Run::of(&child.wait_with_output().unwrap());
    assert_eq!(run.code, 130, "{run:?}");
    assert!(run.stderr.contains("run it again"));
    bench.lake().check_ledger();
    let run = bench.load(&[]);
    assert_eq!(run.code, 0);
    bench.lake().check(&run.report);
}
