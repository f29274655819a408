//! Which objects and which records a load takes.

use std::collections::BTreeSet;

use std::process::Command;

use serde_json::json;

use crate::support::{
    ACCOUNTS, Bench, Lake, REGIONS, Run, event, flow_key, flow_key_of, flow_line, flow_object,
    gzip, load_command,
    logs::{FLOW_HEADER, event_of_day, raw_event, raw_records},
    records, trail_key, trail_key_of, trailhound,
};

#[test]
fn every_layout_of_keys_is_recognized() {
    let tail = "111122223333_CloudTrail_us-east-1_20240501T0005Z_abcdefghij123456.json.gz";
    let flow =
        "111122223333_vpcflowlogs_us-east-1_fl-0123456789abcdef0_20240501T0010Z_1a2b3c4d.log.gz";
    let day = "us-east-1/2024/05/01";
    let trails = [
        format!("AWSLogs/111122223333/CloudTrail/{day}/{tail}"),
        format!("AWSLogs/o-a1b2c3d4e5/111122223333/CloudTrail/{day}/{tail}"),
        format!("o-a1b2c3d4e5/AWSLogs/o-a1b2c3d4e5/111122223333/CloudTrail/{day}/{tail}"),
        format!("team/vpcflowlogs/999900001111/AWSLogs/111122223333/CloudTrail/{day}/{tail}"),
        format!("copy/AWSLogs/999900001111/x/AWSLogs/111122223333/CloudTrail/{day}/{tail}"),
        format!("AWSLogs/111122223333/CloudTrail-NetworkActivity/{day}/{tail}"),
        format!("AWSLogs/111122223333/CloudTrail-Insight/{day}/{tail}"),
    ];
    let flows = [
        format!("AWSLogs/111122223333/vpcflowlogs/{day}/{flow}"),
        format!("AWSLogs/111122223333/vpcflowlogs/{day}/07/{flow}"),
        format!("landing/CloudTrail/AWSLogs/111122223333/vpcflowlogs/{day}/{flow}"),
        format!(
            "AWSLogs/aws-account-id=111122223333/aws-service=vpcflowlogs/aws-region=us-east-1/year=2024/month=05/day=01/hour=07/{flow}"
        ),
        format!(
            "AWSLogs/aws-account-id%3D111122223333/aws-service%3Dvpcflowlogs/aws-region%3Dus-east-1/year%3D2024/month%3D05/day%3D01/{flow}"
        ),
    ];
    let bench = Bench::new();
    for (n, key) in (0..).zip(&trails) {
        // Neither region nor account: the key tells them.
        let record = format!(r#"{{"eventTime":"2024-05-01T00:00:00Z","eventID":"trail-{n}"}}"#);
        bench.put(key, raw_records(&[record]));
    }
    for (n, key) in (0..).zip(&flows) {
        let row = flow_line(n).replace("111122223333", "unknown");
        bench.put(key, format!("{FLOW_HEADER}\n{row}"));
    }
    let (run, lake) = bench.load_checked(&[]);
    let all = (trails.len() + flows.len()) as u64;
    run.expect(0, [all, 0], [all, all, 0]);
    assert_eq!(run.report["by_source"]["cloudtrail"]["in"], trails.len());
    assert_eq!(run.report["by_source"]["vpc_flow"]["in"], flows.len());
    for row in lake.rows() {
        assert_eq!(row.text("/cloud/account/uid"), "111122223333", "{row:?}");
        assert_eq!(row.text("/cloud/region"), "us-east-1", "{row:?}");
        assert!(row.text("/metadata/log_name").starts_with("AWSLogs/"), "{row:?}");
        assert_eq!(row.text("/metadata/log_name").matches("AWSLogs").count(), 1);
    }
    assert!(lake.ledger().iter().all(|entry| entry["error"].is_null()));
}

fn stray() -> Bench {
    let notification = json!({ "eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
        "eventTime": "2024-05-01T00:00:00.000Z", "userIdentity": { "principalId": "AIDA" },
        "s3": { "bucket": { "name": "b" } } });
    Bench::with([
        (&*trail_key("good"), records(&[event(0)])),
        (&*trail_key("notification"), gzip(&records(&[notification]))),
        ("AWSLogs/aws-programmatic-access-test-object", b"test".to_vec()),
        ("AWSLogs/111122223333/CloudTrail-New/us-east-1/2024/05/01/x.json.gz", Vec::new()),
        (&*flow_key("x").replace(".log.gz", ".log.parquet"), b"PAR1".to_vec()),
        ("AWSLogs/111122223333/CloudTrail-Digest/us-east-1/2024/05/01/x.json.gz", b"{}".to_vec()),
    ])
}

#[test]
fn what_nothing_recognizes_is_listed_and_counts_only_with_strict() {
    let bench = stray();
    let (run, lake) = bench.load_checked(&[]);
    run.expect(0, [1, 0], [1, 1, 0]);
    assert_eq!((run.objects("unrecognized"), run.objects("excluded")), (4, 1));
    for (name, why) in [
        ("notification", "S3 event notification"),
        ("aws-programmatic-access-test-object", "text of no known source"),
        ("CloudTrail-New", "unknown kind of CloudTrail object"),
        (".log.parquet", "Parquet delivery"),
    ] {
        let line = run.stderr.lines().find(|line| line.contains(name)).expect(name);
        assert!(line.contains(why), "{line}");
        let entries = lake.ledger();
        let entry = entries.iter().find(|entry| entry["key"].as_str().unwrap().contains(name));
        assert_eq!(entry.unwrap()["state"], "unrecognized");
    }
    assert_eq!(lake.entry("CloudTrail-Digest/us-east-1/2024/05/01/x.json.gz")["state"], "excluded");

    // The second time they are told again.
    let strict = bench.load(&["--strict"]);
    assert_eq!((strict.code, strict.objects("skipped")), (2, 1));
    assert_eq!((strict.objects("unrecognized"), strict.objects("excluded")), (4, 1));
}

#[test]
fn what_nothing_recognizes_is_read_and_noted_once() {
    let bench = stray();
    bench.load(&[]);
    let content = bench.lake().content();
    let run = bench.load(&[]);
    assert_eq!(run.objects("unrecognized"), 4);
    let entries = |lake: &Lake| lake.ledger().len();
    assert_eq!((entries(&bench.lake()), run.report["bytes_in"].as_u64()), (6, Some(0)));
    assert!(bench.lake().content() == content);
}

#[test]
fn what_was_not_loaded_stays_in_the_ledger_when_its_batch_is_loaded_again() {
    let bench = stray();
    bench.load(&["--since", "2024-05-01", "--until", "2024-05-01T00:00:01Z"]);
    for arguments in [&["--force"][..], &[], &["--force"]] {
        let run = bench.load(arguments);
        assert_eq!((run.objects("unrecognized"), run.objects("excluded")), (4, 1), "{run:?}");
        let keys: Vec<_> = bench.lake().ledger().iter().map(|line| line["key"].clone()).collect();
        assert_eq!(keys.len(), 6, "one line for each object: {keys:?}");
    }
}

#[test]
fn an_empty_variable_asks_for_nothing_in_particular() {
    let bench = Bench::with([(&*trail_key("x"), records(&[event(0)]))]);
    let empty = |command: &mut Command| {
        command.env("TRAILHOUND_ACCOUNT", "").env("TRAILHOUND_REGION", "");
    };
    let mut command = bench.load_command(&[]);
    empty(&mut command);
    Run::of(&command.output().unwrap()).expect(0, [1, 0], [1, 1, 0]);
}

#[test]
fn a_notification_among_real_records_is_one_reject() {
    let notification = r#"{"eventSource":"aws:s3","eventName":"ObjectCreated:Put","eventTime":"2024-05-01T00:00:00Z","s3":{}}"#;
    let list = [event(0).to_string(), notification.into(), event(1).to_string()];
    let bench = Bench::with([(&*trail_key("x"), raw_records(&list))]);
    let (run, lake) = bench.load_checked(&[]);
    run.expect(2, [1, 0], [3, 2, 1]);
    assert_eq!(lake.rejects()[0]["reason"], "not CloudTrail");
}

#[test]
fn a_given_source_reads_what_no_key_tells_and_leaves_the_others_out() {
    let bench = Bench::with([
        ("case-7/rows.txt", flow_object(0..3)),
        (&*flow_key("x"), flow_object(0..2)),
        (&*trail_key("x"), records(&[event(0)])),
    ]);
    let (run, lake) = bench.load_checked(&["--source", "vpc_flow"]);
    run.expect(0, [2, 0], [5, 5, 0]);
    assert_eq!(run.report["by_source"].as_object().unwrap().len(), 1);
    let names: BTreeSet<String> =
        lake.rows().iter().map(|row| row.text("/metadata/log_name").to_owned()).collect();
    assert_eq!(names, BTreeSet::from(["case-7/rows.txt".into(), flow_key("x")]));
}

#[test]
fn a_single_file_is_loaded_by_its_name_alone() {
    let bench = Bench::new();
    let key = trail_key("x");
    let name = key.rsplit('/').next().unwrap();
    let path = bench.put(&format!("downloads/{name}"), records(&[event(0)]));
    let lake = bench.lake();
    let output =
        trailhound().args(["load", "--json", "--lake"]).arg(&lake.dir).arg(&path).output().unwrap();
    let run = Run::of(&output);
    run.expect(0, [1, 0], [1, 1, 0]);
    lake.check(&run.report);
    assert_eq!(lake.rows()[0].text("/metadata/log_name"), name);
}

/// Two accounts, two regions, three days; the keys say one of each, the records all.
fn mixed() -> Bench {
    let events: Vec<_> = (0..36).map(|n| event_of_day(n, n % 3)).collect();
    let bench = Bench::with([(
        &*trail_key_of(ACCOUNTS[0], REGIONS[0], "2024/05/02", "x"),
        records(&events),
    )]);
    bench.put(&flow_key_of(ACCOUNTS[1], REGIONS[1], "2024/05/02", "x"), flow_object(0..12));
    bench
}

#[test]
fn filters_by_time_account_and_region_count_the_rest_as_excluded() {
    type Check = fn(&Lake);
    let cases: [(&[&str], Check); 3] = [
        (&["--since", "2024-05-02", "--until", "2024-05-03T00:00:00Z"], |lake| {
            let days: BTreeSet<String> = lake
                .rows()
                .iter()
                .map(|row| row.folder().rsplit('=').next().unwrap().to_owned())
                .collect();
            assert_eq!(days, BTreeSet::from(["20240502".to_owned()]));
        }),
        (&["--source", "cloudtrail", "--account", ACCOUNTS[0], "--region", REGIONS[0]], |lake| {
            let rows = lake.rows();
            assert!(!rows.is_empty());
            for row in rows {
                assert_eq!(row.text("/cloud/account/uid"), ACCOUNTS[0]);
                assert_eq!(row.text("/cloud/region"), REGIONS[0]);
            }
        }),
        (&["--source", "cloudtrail", "--account", "111122223333,444455556666"], |lake| {
            assert_eq!(lake.rows().len(), 36);
        }),
    ];
    for (arguments, check) in cases {
        let bench = mixed();
        let (run, lake) = bench.load_checked(arguments);
        assert_eq!(run.code, 0);
        check(&lake);
        let rest = run.records("in") - run.records("parquet");
        assert_eq!(run.records("excluded"), rest, "{arguments:?}");
    }
}

#[test]
fn filters_by_account_and_region_leave_out_keys_and_look_at_records() {
    let mut foreign = event(0);
    foreign["recipientAccountId"] = ACCOUNTS[1].into();
    foreign["awsRegion"] = REGIONS[1].into();
    let row = flow_line(0).replace(ACCOUNTS[0], ACCOUNTS[1]);
    let flows =
        format!("{FLOW_HEADER} region\n{} {}\n{row} {}", flow_line(1), REGIONS[0], REGIONS[1]);
    let load = |arguments: &[&str]| {
        let bench = Bench::with([
            (&*trail_key("x"), records(&[event(1), foreign.clone()])),
            (&*flow_key("x"), flows.clone().into_bytes()),
        ]);
        bench.load_checked(arguments).0
    };
    for arguments in [["--account", ACCOUNTS[0]], ["--region", REGIONS[0]]] {
        let run = load(&arguments);
        run.expect(0, [2, 0], [4, 2, 0]);
        assert_eq!(run.records("excluded"), 2, "records of others in objects of this one");
    }
    for arguments in [["--account", ACCOUNTS[1]], ["--region", REGIONS[1]]] {
        let run = load(&arguments);
        run.expect(0, [0, 0], [0, 0, 0]);
    }
}

#[test]
fn events_of_global_services_are_found_under_the_keys_of_other_regions() {
    // A trail of one region delivers the calls of IAM, which are recorded in us-east-1, as its own.
    let mut global = event(0);
    global["awsRegion"] = "us-east-1".into();
    let key = trail_key_of(ACCOUNTS[0], "eu-west-1", "2024/05/01", "x");
    let bench = Bench::with([(&*key, records(&[global]))]);
    bench.load(&["--region", "us-east-1"]).expect(0, [1, 0], [1, 1, 0]);
}

#[test]
fn a_path_below_awslogs_gives_the_same_rows_as_the_whole_archive() {
    let bench = Bench::with([(&*flow_key("x"), flow_object(0..3))]);
    bench.load(&[]);
    let whole = bench.lake().rows();
    let file = bench.archive().join(flow_key("x"));
    let below = file.ancestors().take_while(|path| *path != bench.archive());
    for (number, path) in below.enumerate() {
        let lake = bench.path(&format!("lake-{number}"));
        let run = Run::of(&load_command(path, &lake, &[]).output().unwrap());
        run.expect(0, [1, 0], [3, 3, 0]);
        let rows = Lake::new(lake).rows();
        assert!(rows.iter().zip(&whole).all(|(a, b)| a.event == b.event), "{}", path.display());
        // And it is the same object for the ledger.
        let run = Run::of(&load_command(path, &bench.lake().dir, &[]).output().unwrap());
        assert_eq!(run.objects("skipped"), 1);
    }
}

#[test]
fn an_object_below_two_paths_is_loaded_once() {
    let bench = Bench::with([(&*trail_key("x"), records(&[event(0), event(1)]))]);
    let mut command = bench.load_command(&[]);
    command.arg(bench.archive().join("AWSLogs")).arg(bench.archive().join(trail_key("x")));
    let run = Run::of(&command.output().unwrap());
    run.expect(0, [1, 0], [2, 2, 0]);
    bench.lake().check(&run.report);
}

#[test]
fn a_time_filter_leaves_out_what_cannot_match_with_a_day_of_slack() {
    let bench = Bench::new();
    for day in 1..=9 {
        let key = trail_key_of(ACCOUNTS[0], REGIONS[0], &format!("2024/05/{day:02}"), "x");
        bench.put(&key, records(&[event_of_day(day, day - 1)]));
    }
    // Events of the 4th: delivered on the 3rd to 5th at most, by what is known of deliveries.
    let (run, _) = bench.load_checked(&["--since", "2024-05-04", "--until", "2024-05-05"]);
    run.expect(0, [3, 0], [3, 1, 0]);
    assert_eq!(run.records("excluded"), 2);
}

#[test]
fn every_flag_can_come_from_the_environment() {
    let bench = mixed();
    let lake = bench.lake();
    let mut command = trailhound();
    command
        .arg("load")
        .arg(bench.archive())
        .env("TRAILHOUND_LAKE", &lake.dir)
        .env("TRAILHOUND_JSON", "true")
        .env("TRAILHOUND_SOURCE", "cloudtrail")
        .env("TRAILHOUND_ACCOUNT", "111122223333,1")
        .env("TRAILHOUND_REGION", "us-east-1")
        .env("TRAILHOUND_SINCE", "2024-05-01")
        .env("TRAILHOUND_UNTIL", "2024-05-03")
        .env("TRAILHOUND_MEMORY", "200MB")
        .env("TRAILHOUND_JOBS", "1")
        .env("TRAILHOUND_STATE", bench.path("state"))
        .env("TRAILHOUND_STRICT", "0")
        .env("TRAILHOUND_FORCE", "0");
    let run = Run::of(&command.output().unwrap());
    assert_eq!(run.code, 0);
    let lake = Lake { state: bench.path("state"), ..lake };
    lake.check(&run.report);
    for row in lake.rows() {
        assert_eq!(row.text("/cloud/account/uid"), "111122223333");
        assert_eq!(row.text("/cloud/region"), "us-east-1");
    }
    let dry = bench.load_as(|command| command.env("TRAILHOUND_DRY_RUN", "1"), &[]);
    assert_eq!(dry.records("in"), 0);
    let wrong = bench.load_as(|command| command.env("TRAILHOUND_MEMORY", "many"), &[]);
    assert_eq!(wrong.code, 1);
    assert!(wrong.stderr.contains("many"));
}

#[test]
fn the_summary_for_people_tells_what_was_lost_and_where_it_is() {
    let list = [event(0).to_string(), "null".into(), raw_event(1, "\"x\":1")];
    let bench = Bench::with([(&*trail_key("x"), raw_records(&list)), ("stray", b"stray".to_vec())]);
    let output = trailhound()
        .arg("load")
        .arg(bench.archive())
        .arg("--lake")
        .arg(bench.path("lake"))
        .output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stdout).unwrap();
    let rejects = bench.path("lake/_trailhound/rejects");
    for part in [
        "1 loaded",
        "1 not recognized",
        "3 in, 2 in the lake, 1 rejected",
        "not an object",
        "stray: text of no known source",
        "not everything is in the lake",
        rejects.to_str().unwrap(),
    ] {
        assert!(text.contains(part), "{part} in: {text}");
    }
    let mut quiet = trailhound();
    quiet.arg("load").arg(bench.archive()).arg("--lake").arg(bench.path("lake")).arg("--quiet");
    let quiet = quiet.output().unwrap();
    assert!(quiet.stdout.is_empty() && quiet.status.success());
}

#[test]
fn sources_and_schema_print_what_there_is() {
    let text = |arguments: &[&str]| {
        let output = trailhound().args(arguments).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let sources = text(&["sources"]);
    for source in parsers::SOURCES {
        assert!(sources.contains(source.name) && sources.contains(source.title));
    }
    for class in parsers::ocsf::CLASSES {
        let schema = text(&["schema", class.name]);
        for field in class.fields {
            assert!(schema.lines().any(|line| line.starts_with(&format!("{}:", field.name))));
        }
    }
    assert!(text(&["schema", "network_activity"]).contains("\n  bytes: Int64\n"));
}
