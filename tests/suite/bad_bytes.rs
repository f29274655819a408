//! Objects whose bytes are damaged, empty or hostile in size.

use std::{fs, process::Stdio, thread, time::Duration};

use serde_json::Value;

use crate::support::{
    Bench, Run, event, flow_key, flow_object, gzip, logs::raw_event, logs::raw_records, number,
    padded, records, trail_key, zstd,
};

/// Four records in two gzip members, cut within the third record; and where the second starts.
fn two_members() -> (Vec<u8>, usize) {
    let text = records(&[event(0), event(1), event(2), event(3)]);
    let starts = places_of(&text, b"{\"awsRegion");
    let cut = starts[2] + 40;
    let mut object = gzip(&text[..cut]);
    let second = object.len();
    object.extend(gzip(&text[cut..]));
    (object, second)
}

/// Where `part` starts in `bytes`.
fn places_of(bytes: &[u8], part: &[u8]) -> Vec<usize> {
    (0..bytes.len()).filter(|&at| bytes[at..].starts_with(part)).collect()
}

/// The error of the only object, which must name the file and a byte.
fn failure(run: &Run, bench: &Bench, key: &str) -> String {
    let entry = bench.lake().entry(key);
    assert_eq!(entry["state"], "failed");
    let what = entry["error"]["what"].as_str().unwrap().to_owned();
    assert_eq!(entry["error"]["permanent"], true);
    let line = run.stderr.lines().find(|line| line.contains(key)).expect(&run.stderr);
    assert!(line.contains(&what) && what.contains("(byte "), "{line}");
    what
}

#[test]
fn truncated_gzip_keeps_the_records_before_the_cut() {
    let (object, second) = two_members();
    let cut = second + (object.len() - second) / 2;
    let (key, good) = (trail_key("cut"), trail_key("good"));
    let bench = Bench::with([(&*key, object[..cut].to_vec()), (&*good, records(&[event(9)]))]);
    let (run, lake) = bench.load_checked(&[]);
    assert_eq!((run.code, run.objects("loaded"), run.objects("failed")), (2, 1, 1));
    assert_eq!(failure(&run, &bench, &key).split(" (").next(), Some("the gzip data ends early"));
    let kept = number(&lake.entry(&key)["records"]["parquet"]);
    assert!((2..4).contains(&kept), "{kept} of 4 records are before the cut");
    assert_eq!(lake.event("event-000009")["api"]["operation"], "CreateUser");
}

#[test]
fn truncated_zstd_and_truncated_json_fail_at_their_byte() {
    let text = records(&[event(0), event(1), event(2)]);
    let whole = zstd(&text);
    let (as_zstd, as_json) = (trail_key("zstd"), trail_key("json"));
    let third = text.len() - 100;
    let bench = Bench::with([
        (&*as_zstd, whole[..whole.len() - 6].to_vec()),
        (&*as_json, text[..third].to_vec()),
    ]);
    let (run, lake) = bench.load_checked(&[]);
    assert_eq!((run.code, run.objects("failed")), (2, 2));
    assert!(failure(&run, &bench, &as_zstd).starts_with("the zstd data ends early"));
    let what = failure(&run, &bench, &as_json);
    let start = places_of(&text, b"{\"awsRegion")[2];
    assert!(what.contains(&format!("(byte {start} ")), "the cut record starts at {start}: {what}");
    assert_eq!(number(&lake.entry(&as_json)["records"]["parquet"]), 2);
}

#[test]
fn a_wrong_checksum_keeps_all_records_and_fails_the_object() {
    let mut object = gzip(&records(&[event(0), event(1)]));
    let crc = object.len() - 8;
    object[crc] ^= 0xff;
    let key = trail_key("crc");
    let bench = Bench::with([(&*key, object)]);
    let (run, _) = bench.load_checked(&[]);
    run.expect(2, [0, 1], [2, 2, 0]);
    failure(&run, &bench, &key);
}

#[test]
fn garbage_after_a_member_keeps_all_records_and_fails_the_object() {
    let flow = gzip(&flow_object(0..5));
    let at = flow.len();
    let key = flow_key("garbage");
    let bench = Bench::with([(&*key, [flow, b"this is no gzip member".to_vec()].concat())]);
    let (run, _) = bench.load_checked(&[]);
    run.expect(2, [0, 1], [5, 5, 0]);
    let what = failure(&run, &bench, &key);
    assert!(what.starts_with("garbage after a gzip member"), "{what}");
    assert!(what.contains(&format!("(byte {} of the data", flow_object(0..5).len())), "{what}");
    let mut words = what.rsplit([' ', ')']);
    let of_object = words.find_map(|word| word.parse::<usize>().ok());
    // How far a decoder reads before it knows that it is no member is its own affair.
    assert!((at..at + 10).contains(&of_object.unwrap()), "at byte {at}: {what}");
}

#[test]
fn every_form_of_compression_is_told_by_content_not_by_name() {
    let text = records(&[event(0), event(1), event(2), event(3)]);
    let objects = [gzip(&text), zstd(&text), text.clone(), two_members().0];
    for (n, object) in objects.into_iter().enumerate() {
        // The key always ends in .json.gz.
        let bench = Bench::with([(&*trail_key(&n.to_string()), object)]);
        bench.load_checked(&[]).0.expect(0, [1, 0], [4, 4, 0]);
    }
}

#[test]
fn empty_objects_are_loaded_with_no_records() {
    let bench = Bench::with([
        (&*trail_key("zero"), Vec::new()),
        (&*trail_key("zero-in-gzip"), gzip(b"")),
        (&*trail_key("no-records"), gzip(b"{\"Records\":[]}")),
        (&*flow_key("zero"), Vec::new()),
        (&*flow_key("header-only"), gzip(&flow_object(0..0))),
    ]);
    let (run, lake) = bench.load_checked(&[]);
    run.expect(0, [5, 0], [0, 0, 0]);
    assert_eq!(lake.ledger().len(), 5, "each is in the ledger");
    bench.load(&[]).expect(0, [0, 0], [0, 0, 0]);
}

/// Runs a load and returns it with the peak of its memory in MB.
fn load_measured(bench: &Bench, arguments: &[&str]) -> (Run, u64) {
    let mut command = bench.load_command(arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kb = 0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kb = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse().ok());
        peak_kb = peak_kb.max(kb.unwrap_or_default());
        thread::sleep(Duration::from_millis(2));
    }
    (Run::of(&child.wait_with_output().unwrap()), peak_kb / 1024)
}

/// A zstd frame of nothing but runs: `head`, then 128 KiB blocks of spaces, 4 bytes each.
fn zstd_bomb(head: &[u8], blocks: usize) -> Vec<u8> {
    let block = |last: bool, kind: u32, size: usize| {
        let header = u32::from(last) | kind << 1 | (size as u32) << 3;
        header.to_le_bytes()[..3].to_vec()
    };
    // Magic number; no checksum, no size; a window of 1 MiB.
    let mut bomb = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 10 << 3];
    bomb.extend(block(false, 0, head.len()));
    bomb.extend(head);
    for n in 1..=blocks {
        bomb.extend(block(n == blocks, 1, 128 << 10));
        bomb.push(b' ');
    }
    bomb
}

#[test]
fn a_bomb_fails_at_the_cap_and_memory_stays_bounded() {
    let whole = records(&[event(0), event(1)]);
    let head = [&whole[..whole.len() - 2], b","].concat();
    let bombs =
        [(trail_key("zstd"), zstd_bomb(&head, 20_000)), (trail_key("gzip"), gzip_bomb(&head))];
    for (key, bomb) in bombs {
        let bench = Bench::with([(&*key, bomb), (&*trail_key("z-good"), records(&[event(7)]))]);
        let (run, peak) = load_measured(&bench, &["--memory", "128MB", "--jobs", "1"]);
        bench.lake().check(&run.report);
        run.expect(2, [1, 1], [3, 3, 0]);
        let what = failure(&run, &bench, &key);
        assert!(what.starts_with("decompression limit"), "{what}");
        assert!(peak < 128, "{peak} MB for a bomb");
    }
}

/// The densest that gzip can be, 1 to 1030.
fn gzip_bomb(head: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&vec![b' '; 40 << 20]).unwrap();
    [gzip(head), encoder.finish().unwrap()].concat()
}

#[test]
fn a_record_of_10_mb_is_loaded_whole_within_the_memory_limit() {
    let bytes = 10_000_000;
    let big = padded(1, bytes);
    let bench = Bench::with([(&*trail_key("big"), gzip(&records(&[event(0), big, event(2)])))]);
    let (run, peak) = load_measured(&bench, &["--memory", "128MB", "--jobs", "1"]);
    bench.lake().check(&run.report);
    run.expect(0, [1, 0], [3, 3, 0]);
    let event = bench.lake().event("event-000001");
    let data: Value =
        serde_json::from_str(event["api"]["request"]["data"].as_str().unwrap()).unwrap();
    assert_eq!(data["padding"].as_str().map(str::len), Some(bytes));
    assert!(peak < 200, "{peak} MB for a record of 10 MB");
}

#[test]
fn a_record_over_16_mib_is_rejected_by_place_and_length_and_the_next_is_loaded() {
    // So long that its start is gone before its end is seen.
    let bytes = 30 << 20;
    let first = event(0).to_string();
    let long = padded(1, bytes).to_string();
    let object = raw_records(&[first.as_str(), long.as_str(), &event(2).to_string()]);
    let row = format!("2 {}", "x".repeat(bytes));
    let flow = [flow_object(0..1), row.as_bytes().to_vec(), b"\n".to_vec(), flow_object(1..2)];
    let bench = Bench::with([
        (&*trail_key("long"), gzip(&object)),
        (&*flow_key("long"), gzip(&flow.concat())),
    ]);
    let (run, peak) = load_measured(&bench, &["--memory", "128MB", "--jobs", "1"]);
    let lake = bench.lake();
    lake.check(&run.report);
    // The header comes twice in the flow log object.
    run.expect(2, [2, 0], [6, 4, 2]);
    let rejects = lake.rejects();
    for reject in &rejects {
        assert_eq!(reject["reason"], "too long");
        assert!(reject.get("raw").is_none() && reject.get("raw_base64").is_none());
        assert_eq!(reject["record"], 1);
    }
    let of = |kind| rejects.iter().find(|reject| reject["key"].as_str().unwrap().contains(kind));
    let place = |kind| of(kind).map(|reject| (number(&reject["byte"]), number(&reject["len"])));
    let byte = "{\"Records\":[".len() + first.len() + 1;
    assert_eq!(place("CloudTrail"), Some((byte as u64, long.len() as u64)));
    let byte = flow_object(0..1).len();
    assert_eq!(place("vpcflowlogs"), Some((byte as u64, row.len() as u64)));
    assert!(peak < 200, "{peak} MB");
}

#[test]
fn nesting_of_100_000_is_loaded_whole() {
    let deep = |open: &str, close: &str| open.repeat(100_000) + "1" + &close.repeat(100_000);
    let lists = deep("[", "]");
    let objects = deep("{\"n\":", "}");
    let object = raw_records(&[
        raw_event(0, &format!("\"requestParameters\":{lists}")),
        raw_event(1, &format!("\"serviceEventDetails\":{objects}")),
        raw_event(2, &format!("\"userIdentity\":{lists},\"resources\":{lists}")),
        raw_event(3, "\"readOnly\":true"),
    ]);
    let bench = Bench::with([(&*trail_key("deep"), gzip(&object))]);
    let (run, lake) = bench.load_checked(&[]);
    run.expect(0, [1, 0], [4, 4, 0]);
    assert_eq!(lake.event("raw-0")["api"]["request"]["data"], lists.as_str());
    // Rule U8: from level 64 on the subtree is one entry, compact.
    let unmapped = lake.event("raw-1")["unmapped"].clone();
    let (path, rest) =
        unmapped.as_object().unwrap().iter().find(|(k, _)| k.starts_with("serviceE")).unwrap();
    let depth = path.matches(".n").count();
    assert_eq!((path.len(), depth), ("serviceEventDetails".len() + 2 * depth, 64));
    let left = 100_000 - depth;
    assert_eq!(rest.as_str(), Some(&*("{\"n\":".repeat(left) + "1" + &"}".repeat(left))));
    let unmapped = lake.event("raw-2")["unmapped"].clone();
    for member in ["userIdentity", "resources"] {
        let mut entries = unmapped.as_object().unwrap().iter();
        let (path, rest) = entries.find(|(path, _)| path.starts_with(member)).unwrap();
        let left = 100_000 - path.matches("[]").count();
        assert_eq!(rest.as_str(), Some(&*("[".repeat(left) + "1" + &"]".repeat(left))), "{path}");
    }
}

#[test]
fn a_long_key_before_many_elements_does_not_multiply_in_memory() {
    // The path of each leaf starts with the key; a copy for each would be 400 MB of a 0.2 MB record.
    let (key, list) = ("k".repeat(100_000), "{\"a\":1},".repeat(4000));
    let members = format!("\"serviceEventDetails\":{{\"{key}\":[{list}{{\"a\":2}}]}}");
    let bench = Bench::with([(&*trail_key("x"), raw_records(&[raw_event(0, &members)]))]);
    let (run, peak) = load_measured(&bench, &["--memory", "128MB", "--jobs", "1"]);
    run.expect(0, [1, 0], [1, 1, 0]);
    let unmapped = &bench.lake().event("raw-0")["unmapped"];
    let joined = unmapped[format!("serviceEventDetails.{key}[].a")].as_str().unwrap();
    assert_eq!((joined.len(), joined.ends_with(",1,2")), (8001, true));
    assert!(peak < 128, "{peak} MB for a record of 0.2 MB");
}
