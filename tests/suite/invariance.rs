//! Cuts of the input, lanes, jobs and memory change nothing.

use std::{cell::Cell, collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use parsers::{Chunk, Filter, Limits, ObjectKey, Rows};
use proptest::prelude::*;
use serde_json::Value;
use trailhound::{
    budget::Budget,
    indexing::IndexArgs,
    inflate::Caps,
    load::{Settings, load},
    progress::Progress,
    pump::{Pump, Step},
    report::Report,
    store::{Access, Place},
};

use crate::support::{
    Bench, Lake, Row, event, flow_key, flow_object, gzip,
    logs::{event_of_day, raw_event, raw_records},
    records, trail_key, zstd,
};

/// What reading an object gives, all told.
#[derive(Debug, PartialEq)]
struct Outcome {
    json: String,
    rejects: Vec<String>,
    records: u64,
    error: Option<String>,
}

/// Reads an object that comes in these pieces, through a window of that size.
fn read(key: &str, pieces: Vec<Bytes>, window: usize, chunk_rows: usize) -> Outcome {
    let key = ObjectKey::new(key);
    let parsers::Recognition::Source(source) = parsers::detect(&key) else { panic!("{key:?}") };
    let limits = Limits { rows: chunk_rows, input_bytes: 1 << 20, document_bytes: 1 << 20 };
    let mut rows = Rows::new(limits, Arc::new([Filter::default()])).with_json();
    rows.begin_object(0);
    let mut pump =
        Pump::new((source.decoder)(&key.into()), Caps::default(), Vec::with_capacity(window));
    let mut outcome = Outcome { json: String::new(), rejects: Vec::new(), records: 0, error: None };
    let mut take = |chunk: Option<Chunk>| {
        if let Some(chunk) = chunk {
            outcome.records += chunk.counts.iter().map(|counts| counts.records).sum::<u64>();
            outcome.rejects.extend(chunk.rejects.iter().map(|reject| format!("{reject:?}")));
        }
    };
    let count = pieces.len();
    'object: for (n, mut piece) in (1..).zip(pieces) {
        loop {
            match pump.step(&mut piece, n == count, &mut rows) {
                Ok(Step::NeedInput) => break,
                Ok(Step::Full) => take(rows.take()),
                Ok(Step::Done) => break 'object,
                Err(error) => {
                    outcome.error = Some(error.to_string());
                    break 'object;
                }
            }
        }
    }
    take(rows.take());
    outcome.json = String::from_utf8(rows.take_json()).unwrap();
    outcome
}

fn pieces(object: &[u8], cuts: &[prop::sample::Index]) -> Vec<Bytes> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(object.len() + 1)).collect();
    cuts.extend([0, object.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| Bytes::copy_from_slice(&object[pair[0]..pair[1]])).collect()
}

/// Objects with everything that a cut could tear: escapes, characters of several bytes, members of
/// gzip, headers, rejects, errors.
fn objects() -> Vec<(String, Vec<u8>)> {
    let odd = [
        event(0).to_string(),
        "null".into(),
        raw_event(
            1,
            r#""userAgent":"é\\\"}]\ud83d\ude00","serviceEventDetails":{"ü":[{"a":"{"}]}"#,
        ),
        r#"{"eventTime":]}"#.into(),
        event(2).to_string(),
    ];
    let trail = raw_records(&odd);
    let lines = odd.join("\r\n").into_bytes();
    let mut flow = b"\xef\xbb\xbf".to_vec();
    flow.extend(flow_object(0..3));
    flow.extend(b"too few\r\n\n");
    flow.extend(flow_object(3..5));
    let half = trail.len() / 2;
    let members = [gzip(&trail[..half]), gzip(&trail[half..])].concat();
    let mut damaged = gzip(&trail);
    let crc = damaged.len() - 8;
    damaged[crc] ^= 1;
    let trails = [
        zstd(&trail),
        lines,
        members.clone(),
        members[..members.len() - 30].to_vec(),
        damaged,
        trail[..trail.len() - 20].to_vec(),
        [b"\xef\xbb\xbf [".to_vec(), odd[..3].join(" ,\n").into_bytes(), b"]".to_vec()].concat(),
        trail,
    ];
    let flows = [gzip(&flow), flow];
    let trails = trails.into_iter().map(|object| (trail_key("x"), object));
    trails.chain(flows.into_iter().map(|object| (flow_key("x"), object))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_cut_of_an_object_gives_the_same_events(
        object in prop::sample::select(objects()),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        window in prop::sample::select(vec![1, 7, 64, 1000, 1 << 20]),
        chunk_rows in prop::sample::select(vec![1, 2, 1000]),
    ) {
        let (key, object) = object;
        let whole = read(&key, vec![Bytes::copy_from_slice(&object)], 1 << 20, 1000);
        prop_assert!(whole.records > 0);
        let cut = read(&key, pieces(&object, &cuts), window, chunk_rows);
        prop_assert_eq!(cut, whole);
    }
}

#[test]
fn a_cut_at_every_byte_gives_the_same_events() {
    for (key, object) in objects() {
        let whole = read(&key, vec![Bytes::copy_from_slice(&object)], 1 << 20, 1000);
        let bytes = object.chunks(1).map(Bytes::copy_from_slice).collect();
        assert_eq!(read(&key, bytes, 1, 1), whole);
        for cut in (0..object.len()).step_by(5) {
            let (a, b) = object.split_at(cut);
            let two = vec![Bytes::copy_from_slice(a), Bytes::copy_from_slice(b)];
            assert_eq!(read(&key, two, 4096, 1000), whole, "cut at {cut}");
        }
    }
}

/// An archive in which the same events come in several objects, and on the edge of days.
fn archive() -> Bench {
    let bench = Bench::new();
    let days: Vec<Value> = (0..60).map(|n| event_of_day(n, n % 2)).collect();
    for (n, range) in [0..30, 10..40, 20..21, 0..60, 30..60].into_iter().enumerate() {
        let mut events = days[range].to_vec();
        if n % 2 == 0 {
            events.reverse();
        }
        // Twice in one object, too.
        events.push(events[0].clone());
        bench.put(&trail_key(&format!("o{n}")), gzip(&records(&events)));
    }
    bench.put(&trail_key("bad"), raw_records(&["null", "{}", &event(200).to_string()]));
    // Two objects of one name: a row of one is a row of the other.
    bench.put(&flow_key("x"), flow_object(0..40));
    bench.put(&format!("copy/{}", flow_key("x")), gzip(&flow_object(0..40)));
    bench.put(&flow_key("y"), flow_object(0..30));
    bench
}

fn load_with(bench: &Bench, lake: &Lake, budget: Budget) -> (Report, Vec<Row>) {
    let settings = Settings {
        accounts: Arc::default(),
        index: IndexArgs::default(),
        paths: vec![Place::Local(bench.archive())],
        lake: Place::Local(lake.dir.clone()),
        state: Place::Local(lake.state.clone()),
        source_access: Access::default(),
        lake_access: Access::default(),
        source: None,
        filter: Filter::default(),
        budget,
        caps: Caps::default(),
        force: false,
        dry_run: false,
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let report = runtime.block_on(load(&settings, &Progress::hidden())).unwrap();
    assert_eq!(report.stopped, None);
    let rows = lake.check(&serde_json::to_value(&report).unwrap());
    (report, rows)
}

/// Rows of each partition, without the object that they were read from, which may be any that has
/// the event.
fn partitions(rows: Vec<Row>) -> BTreeMap<String, Vec<String>> {
    let mut partitions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for mut row in rows {
        row.event["metadata"].as_object_mut().unwrap().remove("log_name");
        partitions.entry(row.folder().to_owned()).or_default().push(row.event.to_string());
    }
    for rows in partitions.values_mut() {
        rows.sort_unstable();
    }
    partitions
}

fn budget() -> impl Strategy<Value = Budget> {
    let by_flags = (1_usize..=4, prop::sample::select(vec![128, 256, 1024]))
        .prop_map(|(jobs, mb)| Budget::new(mb << 20, jobs).unwrap());
    let small = (
        1_usize..=4,
        prop::sample::select(vec![16, 300, 1 << 20]),
        prop::sample::select(vec![64, 1000, 1 << 21]),
        prop::sample::select(vec![3, 20, 100]),
        // Parts are written early: many files of a partition.
        prop::sample::select(vec![2_000_usize, 20_000, 200_000]),
    )
        .prop_map(|(lanes, piece_bytes, window_bytes, chunk_rows, partition_bytes)| Budget {
            lanes,
            piece_bytes,
            read_ahead_bytes: 1 << 20,
            window_bytes,
            chunk_rows,
            chunk_bytes: 1 << 16,
            queued_chunks: 1,
            partition_bytes,
            staged_bytes: partition_bytes,
            document_bytes: 1 << 20,
            bulk_bytes: 1 << 20,
            bulk_requests: 1,
        });
    prop_oneof![1 => by_flags, 3 => small]
}

/// The archive, its partitions, and its report without what a clock tells.
fn reference() -> (Bench, BTreeMap<String, Vec<String>>, Value) {
    let bench = archive();
    let lake = bench.lake();
    let (report, rows) = load_with(&bench, &lake, Budget::new(512 << 20, 1).unwrap());
    let counts = counts(&report);
    (bench, partitions(rows), counts)
}

fn counts(report: &Report) -> Value {
    let mut counts = serde_json::to_value(report).unwrap();
    for of_this_run in ["seconds", "files"] {
        counts.as_object_mut().unwrap().remove(of_this_run);
    }
    counts
}

#[test]
fn lanes_jobs_memory_and_flushes_change_neither_rows_nor_counts() {
    let (bench, expected, counts_expected) = reference();
    assert_eq!(counts_expected["records"]["rejected"], 2);
    assert!(counts_expected["records"]["duplicate"].as_u64().unwrap() > 100);
    let config = ProptestConfig { cases: 8, failure_persistence: None, ..Default::default() };
    let loads = Cell::new(0);
    proptest::test_runner::TestRunner::new(config)
        .run(&budget(), |budget| {
            loads.set(loads.get() + 1);
            let lake = Lake::new(bench.path(&format!("lake-{}", loads.get())));
            let (report, rows) = load_with(&bench, &lake, budget);
            prop_assert_eq!(counts(&report), counts_expected.clone());
            prop_assert!(partitions(rows) == expected, "rows differ");
            Ok(())
        })
        .unwrap();
}

#[test]
fn of_a_repeated_event_the_row_of_the_smaller_key_stays() {
    let bench = archive();
    let (_, lake) = bench.load_checked(&["--jobs", "4"]);
    let rows = lake.rows();
    let names = |uid: &str| -> Vec<&str> {
        let rows = rows.iter().filter(|row| row.uid() == uid);
        rows.map(|row| row.text("/metadata/log_name")).collect()
    };
    for n in 10..30 {
        assert_eq!(names(&format!("event-{n:06}")), [trail_key("o0")]);
    }
    // Objects of one name give the same ids: all rows of the second one are repetitions.
    let flows = rows.iter().filter(|row| row.event["class_uid"] == 4001);
    assert_eq!(flows.count(), 70);
}
