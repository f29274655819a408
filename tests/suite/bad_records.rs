//! Records that are not what they should be: rejected with reason and place, or kept with nothing
//! lost.

use serde_json::{Value, json};

use crate::support::{
    Bench, Lake, event, flow_key, flow_line, flow_object, gzip,
    logs::{FLOW_HEADER, raw_event, raw_records},
    number, trail_key,
};

/// A lake of one CloudTrail object with these records, as they are spelled.
fn load_records(list: &[String]) -> (crate::support::Run, Lake, Bench) {
    let bench = Bench::with([(&*trail_key("records"), gzip(&raw_records(list)))]);
    let (run, lake) = bench.load_checked(&[]);
    (run, lake, bench)
}

/// One record with these members; its event.
fn load_members(members: &str) -> Value {
    let (run, lake, _bench) = load_records(&[raw_event(0, members), raw_event(1, "\"x\":1")]);
    run.expect(0, [1, 0], [2, 2, 0]);
    lake.event("raw-0")
}

#[test]
fn what_cannot_be_mapped_is_rejected_with_reason_place_and_bytes() {
    let good = |n: u64| event(n).to_string();
    let no_time = r#"{"eventName":"GetThing","eventID":"no-time"}"#;
    let masked_time = r#"{"eventName":"GetThing","eventTime":"HIDDEN","eventID":"m"}"#;
    let aggregated = raw_event(70, r#""eventCategory":"Aggregated""#);
    let bad: Vec<(&str, &str)> = vec![
        ("null", "not an object"),
        ("\"a text, with ] and }\"", "not an object"),
        ("12", "not an object"),
        ("[{\"eventTime\":1}]", "not an object"),
        ("{}", "not CloudTrail"),
        (r#"{"some":"thing"}"#, "not CloudTrail"),
        (
            r#"{"eventSource":"aws:s3","eventName":"ObjectCreated:Put","eventTime":"2024-05-01T00:00:00Z","s3":{}}"#,
            "not CloudTrail",
        ),
        (no_time, "no time"),
        (masked_time, "no time"),
        (r#"{"eventName":"GetThing","eventTime":"1714521600"}"#, "no time"),
        (r#"{"eventName":"GetThing","eventTime":{"at":1}}"#, "no time"),
        (&aggregated, "unsupported category"),
        (r#"{"eventTime":}"#, "not JSON"),
        (r#"{"eventTime":"2024-05-01T00:00:00Z","a":[}"#, "not JSON"),
        (r#"{"eventTime":"2024-05-01T00:00:00Z","a":01}"#, "not JSON"),
        (r#"{"eventTime":"2024-05-01T00:00:00Z" "a":1}"#, "not JSON"),
    ];
    // A good record between any two: each bad one costs only itself.
    let mut list = vec![good(0)];
    for (n, (raw, _)) in (1..).zip(&bad) {
        list.push((*raw).to_owned());
        list.push(good(n));
    }
    let (run, lake, _bench) = load_records(&list);
    let (all, lost) = (list.len() as u64, bad.len() as u64);
    run.expect(2, [1, 0], [all, all - lost, lost]);

    let object = String::from_utf8(raw_records(&list)).unwrap();
    let mut rejects = lake.rejects();
    rejects.sort_by_key(|reject| number(&reject["record"]));
    for ((number, (raw, reason)), reject) in (0..).zip(&bad).zip(&rejects) {
        assert_eq!(reject["reason"], *reason, "{raw}");
        assert_eq!(reject["raw"], *raw);
        assert_eq!(reject["record"], 2 * number + 1);
        assert_eq!(reject["v"], 1);
        assert!(reject["key"].as_str().unwrap().ends_with("records.json.gz"));
        let byte = self::number(&reject["byte"]) as usize;
        assert!(object[byte..].starts_with(raw), "byte {byte} of {raw}");
    }
}

#[test]
fn a_record_that_is_not_utf8_is_kept_byte_by_byte_in_the_rejects() {
    let marked = raw_event(0, "\"userAgent\":\"caf@ \"").into_bytes();
    let broken: Vec<u8> = marked.into_iter().map(|b| if b == b'@' { 0xe9 } else { b }).collect();
    let rest = raw_event(1, "\"userAgent\":\"café\"");
    let object = [b"{\"Records\":[", broken.as_slice(), b",", rest.as_bytes(), b"]}"].concat();
    let row = [b"2 111122223333 eni-\xff ", &flow_line(1).as_bytes()[20..]].concat();
    let flow = [flow_object(0..1).as_slice(), &row, b"\n", flow_line(2).as_bytes()].concat();
    let bench =
        Bench::with([(&*trail_key("latin1"), gzip(&object)), (&*flow_key("latin1"), gzip(&flow))]);
    let (run, lake) = bench.load_checked(&[]);
    run.expect(2, [2, 0], [5, 3, 2]);
    assert_eq!(lake.event("raw-1")["http_request"]["user_agent"], "café");
    for reject in lake.rejects() {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let raw = STANDARD.decode(reject["raw_base64"].as_str().unwrap()).unwrap();
        assert_eq!(reject["reason"], "invalid UTF-8");
        assert!(raw == broken || raw == row, "{reject}");
    }
}

#[test]
fn a_wrong_type_costs_its_leaf_only_and_stays_in_unmapped() {
    let event = load_members(
        r#""eventVersion":1.09,"userIdentity":{"type":["IAMUser"],"arn":{"a":"b"},"userName":17,
        "sessionContext":"text","onBehalfOf":[1,2]},"sourceIPAddress":12,"userAgent":["x","y"],
        "errorCode":{"code":1},"apiVersion":20140328,"readOnly":"yes","resources":{"ARN":"a"},
        "additionalEventData":"{\"json\":\"text\"}","requestID":false"#,
    );
    let cases = [
        ("/metadata/product/version", json!("1.09")),
        ("/actor/user/name", json!("17")),
        ("/src_endpoint/domain", json!("12")),
        ("/api/version", json!("20140328")),
        ("/api/request/uid", json!("false")),
        ("/status", json!("Failure")), // there is an error code, if not as a text
        ("/unmapped/userIdentity.type[]", json!("IAMUser")),
        ("/unmapped/userIdentity.arn.a", json!("b")),
        ("/unmapped/userIdentity.sessionContext", json!("text")),
        ("/unmapped/userIdentity.onBehalfOf[]", json!("1,2")),
        ("/unmapped/userAgent[]", json!("x,y")),
        ("/unmapped/errorCode.code", json!("1")),
        ("/unmapped/readOnly", json!("yes")),
        ("/unmapped/resources.ARN", json!("a")),
        ("/unmapped/additionalEventData", json!("{\"json\":\"text\"}")),
    ];
    for (pointer, expected) in cases {
        assert_eq!(event.pointer(pointer), Some(&expected), "{pointer} of {event:#}");
    }
    assert_eq!(event.pointer("/actor/user/type"), None);
}

#[test]
fn an_identity_of_the_wrong_type_does_not_cost_the_record() {
    for (identity, path, text) in [
        ("\"HIDDEN_DUE_TO_SECURITY_REASONS\"", "userIdentity", "HIDDEN_DUE_TO_SECURITY_REASONS"),
        ("7", "userIdentity", "7"),
        ("[\"a\"]", "userIdentity[]", "a"),
    ] {
        let event = load_members(&format!("\"userIdentity\":{identity}"));
        assert_eq!(event["unmapped"][path], text);
        assert_eq!(event["actor"], json!({ "invoked_by": "x.amazonaws.com" }));
    }
}

#[test]
fn every_spelling_of_a_time_is_read_and_cut_to_milliseconds() {
    let times = [
        ("1714521600", 1_714_521_600_000_i64),
        ("1714521600123", 1_714_521_600_123),
        ("1714521600.9999", 1_714_521_600_999),
        ("\"2024-05-01T02:00:00+02:00\"", 1_714_521_600_000),
        ("\"2024-05-01 00:00:00\"", 1_714_521_600_000),
        ("\"2024-05-01T00:00:00.1239Z\"", 1_714_521_600_123),
    ];
    let list: Vec<String> = (0..)
        .zip(&times)
        .map(|(n, (time, _))| format!(r#"{{"eventTime":{time},"eventID":"time-{n}"}}"#))
        .collect();
    let (run, lake, _bench) = load_records(&list);
    let all = times.len() as u64;
    run.expect(0, [1, 0], [all, all, 0]);
    for (n, (text, expected)) in times.iter().enumerate() {
        assert_eq!(lake.event(&format!("time-{n}"))["time"], *expected, "{text}");
    }
}

#[test]
fn masked_values_stay_where_they_are() {
    let masked = "\"HIDDEN_DUE_TO_SECURITY_REASONS\"";
    let event = load_members(&format!(
        r#""requestParameters":{masked},"responseElements":{masked},"sourceIPAddress":{masked}"#
    ));
    assert_eq!(event["api"]["request"]["data"], masked);
    assert_eq!(event["api"]["response"]["data"], masked);
    assert_eq!(event["src_endpoint"]["domain"], masked.trim_matches('"'));
}

#[test]
fn numbers_are_kept_as_spelled() {
    let numbers = "[9007199254740993,18446744073709551616,-9223372036854775809,1.50,1e400,-0.0]";
    let event = load_members(&format!(
        r#""requestParameters":{{"n":{numbers}}},"serviceEventDetails":{{"n":{numbers}}}"#
    ));
    assert_eq!(event["api"]["request"]["data"], format!("{{\"n\":{numbers}}}"));
    let spelled = numbers.trim_matches(['[', ']']);
    assert_eq!(event["unmapped"]["serviceEventDetails.n[]"], spelled);
}

#[test]
fn nul_and_lone_surrogates_are_kept_and_replaced() {
    let event = load_members(
        r#""userAgent":"a\u0000b","errorMessage":"x\ud800y","requestParameters":{"k\udc00":"\ud83d\ude00\ud800"},
        "serviceEventDetails":{"a\u0000":"\ud83d\ude00","\ud800":"z"}"#,
    );
    assert_eq!(event["http_request"]["user_agent"], "a\0b");
    assert_eq!(event["status_detail"], "x\u{fffd}y");
    let data: Value =
        serde_json::from_str(event["api"]["request"]["data"].as_str().unwrap()).unwrap();
    assert_eq!(data, json!({ "k\u{fffd}": "\u{1f600}\u{fffd}" }));
    assert_eq!(event["unmapped"]["serviceEventDetails.a\0"], "\u{1f600}");
    assert_eq!(event["unmapped"]["serviceEventDetails.\u{fffd}"], "z");
}

#[test]
fn duplicate_dotted_and_empty_keys_lose_nothing() {
    let event = load_members(
        r#""userAgent":"first","userAgent":"last","requestParameters":{"a":1,"a":2},
        "serviceEventDetails":{"a.b":1,"a":{"b":2,"":3},"A":{"b":4},"":5,"x":6,"x":7},"":8"#,
    );
    assert_eq!(event["http_request"]["user_agent"], "last");
    assert_eq!(event["api"]["request"]["data"], r#"{"a":1,"a":2}"#, "as spelled, both");
    let details = |path: &str| &event["unmapped"][format!("serviceEventDetails.{path}")];
    assert_eq!(details("a.b"), "1,2");
    assert_eq!(details("a."), "3");
    assert_eq!(details("A.b"), "4");
    assert_eq!(details(""), "5");
    assert_eq!(details("x"), "7", "the last of duplicate keys counts");
    assert_eq!(event["unmapped"][""], "8");
}

#[test]
fn a_text_over_the_limit_is_cut_and_kept_whole_in_unmapped() {
    let long = "é".repeat(70_000);
    let event = load_members(&format!("\"errorMessage\":\"{long}\""));
    let cut = event["status_detail"].as_str().unwrap();
    assert_eq!(cut.chars().count(), 65_535);
    assert!(long.starts_with(cut));
    assert_eq!(event["unmapped"]["errorMessage"], long.as_str());
}

#[test]
fn odd_flow_lines_are_rejected_skipped_or_accepted_each_for_itself() {
    let header = format!("{FLOW_HEADER} new-column");
    let row = |n: u64| format!("{} v{n}", flow_line(n));
    let lines = [
        format!("\u{feff}{header}"),
        row(0),
        flow_line(1),                         // too few fields
        row(2).replace(' ', "  "),            // double spaces
        header.clone(),                       // the header again
        String::new(),                        // an empty line
        format!("{} extra", row(3)),          // too many fields
        row(4).replace("ACCEPT", "-") + "\r", // no action; a carriage return
        row(6).replace(" 443 ", " 99999 "),   // no port
    ];
    let bench = Bench::with([(&*flow_key("odd"), gzip(lines.join("\n").as_bytes()))]);
    let (run, lake) = bench.load_checked(&[]);
    run.expect(2, [1, 0], [6, 5, 1]);
    let rejects = lake.rejects();
    assert_eq!(rejects[0]["reason"], "too few fields");
    assert_eq!(rejects[0]["raw"], flow_line(1));
    assert_eq!(rejects[0]["header"], header);
    assert_eq!(rejects[0]["record"], 1, "rows are counted, headers and empty lines are not");

    let rows = lake.rows();
    let of = |n: u64| {
        let id = format!("eni-{n:08x}");
        &rows.iter().find(|row| row.text("/unmapped/interface_id") == id).expect(&id).event
    };
    for n in [0, 2, 3, 4, 6] {
        assert_eq!(of(n)["unmapped"]["new_column"], format!("v{n}"));
    }
    assert_eq!(of(2)["dst_endpoint"]["port"], 443);
    assert_eq!(of(3)["unmapped"]["field_16"], "extra");
    assert_eq!(of(4)["activity_id"], 0);
    assert_eq!(of(4)["status_code"], "OK", "without the carriage return");
    assert_eq!(of(6)["unmapped"]["dstport"], "99999");
    assert_eq!(of(6)["dst_endpoint"].get("port"), None);
}

#[test]
fn a_flow_object_without_a_header_is_the_default_format_or_rejected() {
    let default = format!("{}\n{}", flow_line(0), flow_line(1));
    let other = "5 eni-1 10.0.0.1\n5 eni-2 10.0.0.2";
    let bench = Bench::with([
        (&*flow_key("default"), default.into_bytes()),
        (&*flow_key("other"), other.as_bytes().to_vec()),
    ]);
    let (run, lake) = bench.load_checked(&[]);
    run.expect(2, [2, 0], [4, 2, 2]);
    assert!(lake.rejects().iter().all(|reject| reject["reason"] == "no header"));
}

#[test]
fn flow_objects_that_were_joined_are_read_by_the_header_before_each_row() {
    let other = "interface-id start srcaddr end srcaddr";
    let text = format!(
        "{FLOW_HEADER}\n{}\n{other} \neni-9 1714521600 10.9.9.9 1714521660 10.8.8.8\n{FLOW_HEADER}\n{}",
        flow_line(0),
        flow_line(1)
    );
    let bench = Bench::with([(&*flow_key("joined"), gzip(text.as_bytes()))]);
    let (run, lake) = bench.load_checked(&[]);
    run.expect(0, [1, 0], [3, 3, 0]);
    let rows = lake.rows();
    let other = rows.iter().find(|row| row.text("/unmapped/interface_id") == "eni-9").unwrap();
    assert_eq!(other.event["src_endpoint"]["ip"], "10.8.8.8");
    assert_eq!(other.event["unmapped"]["srcaddr"], "10.9.9.9", "the earlier of two is not lost");
}

#[test]
fn a_cut_json_line_costs_itself_only() {
    let line = |n| raw_event(n, "\"x\":{\"y\":1}");
    let whole = line(1);
    // Also where a value may follow.
    let separators = whole.match_indices([':', ',', '{']).map(|(at, _)| at + 1).step_by(5);
    for cut in [20, 60, 100].into_iter().chain(separators) {
        let text = format!("{}\n{}\n{}\n{}\n", line(0), &line(1)[..cut], line(2), line(3));
        let bench = Bench::with([(&*trail_key("lines"), gzip(text.as_bytes()))]);
        let (run, lake) = bench.load_checked(&[]);
        run.expect(2, [1, 0], [4, 3, 1]);
        let reject = &lake.rejects()[0];
        assert_eq!(reject["raw"], line(1)[..cut]);
        assert_eq!((&reject["reason"], &reject["record"]), (&json!("not JSON"), &json!(1)));
    }
}

#[test]
fn a_flow_row_of_countless_fields_keeps_them_in_bounded_memory() {
    let text = format!("{FLOW_HEADER}\n{} {}\n", flow_line(0), "x ".repeat(1_000_000));
    let bench = Bench::with([(&*flow_key("long"), text.into_bytes())]);
    let (run, lake) = bench.load_checked(&[]);
    run.expect(0, [1, 0], [1, 1, 0]);
    let rows = lake.rows();
    let unmapped = rows[0].event["unmapped"].as_object().unwrap();
    let words: usize =
        unmapped.values().map(|value| value.as_str().unwrap().split(' ').count()).sum();
    assert_eq!(words, 1_000_001, "and the interface");
}

#[test]
fn a_reject_over_1_mib_is_told_by_place_and_length() {
    let bad = format!("{{\"eventTime\":{}}}", "x".repeat(2 << 20));
    let (run, lake, _bench) =
        load_records(&[event(0).to_string(), bad.clone(), raw_event(1, "\"x\":1")]);
    run.expect(2, [1, 0], [3, 2, 1]);
    let reject = &lake.rejects()[0];
    assert_eq!((&reject["reason"], number(&reject["len"])), (&json!("not JSON"), bad.len() as u64));
    assert!(reject.get("raw").is_none() && reject.get("raw_base64").is_none());
}

#[test]
fn a_data_page_holds_about_a_megabyte_however_long_the_records_are() {
    use parquet::file::reader::{FileReader, SerializedFileReader};

    let objects: Vec<_> = (0..200).map(|n| crate::support::padded(n, 100_000)).collect();
    let bench = Bench::with([(&*trail_key("x"), crate::support::records(&objects))]);
    let (_, lake) = bench.load_checked(&[]);
    let mut pages = 0;
    for file in lake.files() {
        let file = std::fs::File::open(lake.dir.join(file)).unwrap();
        let reader = SerializedFileReader::new(file).unwrap();
        for group in 0..reader.num_row_groups() {
            let group = reader.get_row_group(group).unwrap();
            for column in 0..group.num_columns() {
                for page in group.get_column_page_reader(column).unwrap() {
                    let bytes = page.unwrap().buffer().len();
                    assert!(bytes < 3 << 20, "a page of {bytes} bytes");
                    pages += usize::from(bytes > 500_000);
                }
            }
        }
    }
    assert!(pages > 10, "the long texts are in pages of their own: {pages}");
}
