//! `trailhound query`: what it shows of a lake, what it reads, and what it says of bad questions.

use std::{collections::BTreeMap, fs, process::Command};

use parsers::ocsf::CLASSES;
use serde_json::{Value, json};

use crate::support::{
    Bench, Lake, Run,
    ask::{Answer, count, query, query_command, sample_lake},
    cloud::s3::S3Server,
    event, flow_key, flow_object, gzip, load_command, records, sample_archive, trail_key,
    trailhound,
};

#[test]
fn every_row_of_the_lake_is_in_its_class_and_in_the_view_of_all() {
    let lake = sample_lake();
    let mut rows: BTreeMap<String, u64> = BTreeMap::new();
    for row in Lake::new(lake).rows() {
        *rows.entry(row.text("/metadata/uid").to_owned()).or_default() += 1;
    }
    let seen = query(lake, "SELECT uid FROM events ORDER BY uid");
    let seen: Vec<&str> = seen.iter().map(|row| row["uid"].as_str().unwrap()).collect();
    assert!(seen == rows.keys().map(String::as_str).collect::<Vec<_>>(), "{}", seen.len());
    let of_classes =
        CLASSES.iter().map(|class| count(lake, &format!("SELECT count(*) FROM {}", class.name)));
    assert_eq!(of_classes.sum::<u64>(), seen.len() as u64);
}

#[test]
fn fields_of_structs_are_named_by_dots_and_partitions_are_columns() {
    let sql = "SELECT actor.user.uid AS arn, region, accountid, eventday FROM api_activity \
               WHERE actor.user.credential_uid = 'AKIAIOSFODNN7EXAMPLE' \
               AND element_at(unmapped, 'readOnly') = 'true' AND api.operation = 'GetUser'";
    assert_eq!(
        query(sample_lake(), sql),
        [json!({
            "arn": "arn:aws:iam::444455556666:user/build-bot",
            "region": "us-east-1",
            "accountid": "444455556666",
            "eventday": "20250603",
        })]
    );
    let sql = "SELECT json_extract_scalar(request, '$.userName') AS name FROM events \
               WHERE operation = 'CreateUser' AND status = 'Success' AND src_ip = '203.0.113.77'";
    assert_eq!(query(sample_lake(), sql), [json!({ "name": "svc-monitoring" })]);
}

/// Two loads whose objects share events: each partition has two files with rows in common.
#[test]
fn an_event_that_was_loaded_twice_is_shown_once() {
    let bench = Bench::new();
    let both: Vec<Value> = (0..60).map(event).collect();
    bench.put(&trail_key("a"), gzip(&records(&both[..40])));
    bench.put(&flow_key("a"), gzip(&flow_object(0..30)));
    assert_eq!(bench.load(&[]).code, 0);
    bench.put(&trail_key("b"), gzip(&records(&both[20..])));
    assert_eq!(bench.load(&[]).code, 0);
    let lake = bench.lake();
    assert_eq!(lake.rows().len(), 40 + 40 + 30, "the files have them twice");
    assert_eq!(count(&lake.dir, "SELECT count(*) FROM events"), 60 + 30);
    assert_eq!(
        count(&lake.dir, "SELECT count(*) FROM events WHERE class <> 'network_activity'"),
        60
    );
    let twice =
        "SELECT count(*) FROM (SELECT uid FROM events GROUP BY uid HAVING count(*) > 1) AS x";
    assert_eq!(count(&lake.dir, twice), 0);
    // The one that is shown does not depend on what else is asked.
    let log_name = "SELECT min(log_name) AS a, max(log_name) AS b FROM events WHERE uid = ";
    let uid = both[25]["eventID"].as_str().unwrap();
    let row = &query(&lake.dir, &format!("{log_name}'{uid}'"))[0];
    assert_eq!(row["a"], row["b"]);
}

#[test]
fn what_was_loaded_from_two_places_is_shown_once_whatever_the_number_of_threads() {
    let bench = Bench::new();
    let lake = bench.lake();
    for copy in ["one", "two"] {
        let made =
            Command::new("cp").arg("-r").arg(sample_archive()).arg(bench.path(copy)).status();
        assert!(made.unwrap().success());
        let run = Run::of(&load_command(&bench.path(copy), &lake.dir, &[]).output().unwrap());
        assert_eq!(run.code, 0, "{run:?}");
    }
    let sql = "SELECT count(*) AS rows, count(DISTINCT uid) AS events FROM events";
    for jobs in ["1", "2", "3", "8"] {
        let answer = Answer::of(query_command(&lake.dir, sql).args(["--jobs", jobs]));
        assert_eq!(answer.rows(), [json!({ "rows": 6673, "events": 6673 })], "{jobs}");
    }
}

#[test]
fn a_lake_in_a_bucket_shows_staged_and_published_rows_alike() {
    let server = S3Server::start();
    server.create_bucket("lake");
    let run = |arguments: &[&str]| {
        let mut command = trailhound();
        server.env(&mut command);
        command.args(arguments);
        command
    };
    let archive = sample_archive();
    let archive = archive.to_str().unwrap();
    let load = ["load", archive, "--lake", "s3://lake/l", "--no-publish", "--json"];
    assert_eq!(Run::of(&run(&load).output().unwrap()).code, 0);
    let sql = "SELECT class, region, accountid, eventday, count(*) AS n, min(uid) AS a \
               FROM events GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4";
    let ask = |sql: &str| {
        let mut command = query_command("s3://lake/l", sql);
        server.env(&mut command);
        let answer = Answer::of(&mut command);
        assert_eq!((answer.code, answer.stderr.as_str()), (0, ""));
        answer.rows()
    };
    let expected = query(sample_lake(), sql);
    assert!(ask(sql) == expected, "staged");
    // Half published, half staged, all of it twice: loaded again by force.
    assert_eq!(
        Run::of(&run(&["publish", "--lake", "s3://lake/l", "--json"]).output().unwrap()).code,
        0
    );
    assert!(ask(sql) == expected, "published");
    let again = [&load[..], &["--force", "--account", "444455556666"]].concat();
    assert_eq!(Run::of(&run(&again).output().unwrap()).code, 0);
    assert!(ask(sql) == expected, "published, and a part of it staged again");
}

/// The files that a plan has, by the part of their paths that names class and partition.
fn planned(sql: &str) -> Vec<String> {
    let rows = query(sample_lake(), &format!("EXPLAIN {sql}"));
    let plan = rows.iter().find(|row| row["plan_type"] == "physical_plan").unwrap();
    let plan = plan["plan"].as_str().unwrap();
    let mut files: Vec<String> = plan
        .match_indices("ext/trailhound-")
        .map(|(at, _)| plan[at..].split(".parquet").next().unwrap())
        .map(|path| path.rsplit_once('/').unwrap().0.to_owned())
        .collect();
    files.sort();
    files
}

#[test]
fn files_that_cannot_have_rows_are_not_read() {
    let all = Lake::new(sample_lake()).files();
    let of = |parts: &[&str]| {
        let has = |path: &&String| parts.iter().all(|part| path.contains(part));
        let mut folders: Vec<String> = all
            .iter()
            .filter(has)
            .map(|path| path.rsplit_once('/').unwrap().0.to_owned())
            .collect();
        folders.sort();
        folders
    };
    let class = "ext/trailhound-6003/";
    for (condition, parts) in [
        ("time >= TIMESTAMP '2025-06-04 00:00:00'", vec!["eventDay=20250604"]),
        ("account = '444455556666'", vec!["accountId=444455556666"]),
        ("region = 'eu-west-1' AND time < TIMESTAMP '2025-06-04'", vec!["eu-west-1", "20250603"]),
    ] {
        let sql = format!("SELECT uid FROM events WHERE class = 'api_activity' AND {condition}");
        let expected = of(&[&[class], &parts[..]].concat());
        assert!(!expected.is_empty() && expected.len() < of(&[class]).len(), "{condition}");
        // Plans name at most five files of a group.
        assert!(planned(&sql).iter().all(|path| expected.contains(path)), "{condition}");
    }
    // A key that only one partition knows.
    let key = "SELECT time, operation FROM events WHERE access_key = 'AKIAI7EXAMPLEBACKDOR'";
    let keyed = planned(key);
    assert!(keyed.iter().all(|path| !path.contains("trailhound-4001")), "{keyed:?}");
    assert!(keyed.len() < of(&["ext/"]).len() / 3, "{} of {}", keyed.len(), of(&["ext/"]).len());
    assert_eq!(planned("SELECT uid FROM events WHERE uid = 'there is none'"), [] as [&str; 0]);
}

/// What nobody has lies between the bounds of every file: only a Bloom filter can tell.
#[test]
fn what_is_looked_up_and_is_not_there_opens_no_file() {
    let absent = [
        ("uid", "7d000000-0000-4000-8000-000000000000"),
        ("access_key", "AKIAJ7EXAMPLENOBODY1"),
        ("actor_arn", "arn:aws:iam::444455556666:user/c-nobody"),
        ("src_ip", "172.16.0.1"),
        ("interface_uid", "eni-0555555555555555"),
        ("instance_uid", "i-0555555555555555"),
        ("resource", "arn:aws:s3:::example-corp-nothing"),
    ];
    let calls = "class <> 'detection_finding'";
    for (column, value) in absent {
        let sql = format!("SELECT time FROM events WHERE {column} = '{value}' AND {calls}");
        assert_eq!(planned(&sql), [] as [&str; 0], "{sql}");
    }
    let any = absent.map(|(column, value)| format!("{column} = '{value}'"));
    let sql = format!("SELECT time FROM events WHERE ({}) AND {calls}", any.join(" OR "));
    assert_eq!(planned(&sql), [] as [&str; 0], "{sql}");
    // Whoever is there is found as by a filter that nothing can be known of before.
    for (column, ..) in absent {
        let one = format!("SELECT min({column}) AS it FROM events WHERE {column} IS NOT NULL");
        let one = query(sample_lake(), &one)[0]["it"].as_str().unwrap().to_owned();
        let found = |left: &str| {
            count(sample_lake(), &format!("SELECT count(*) FROM events WHERE {left} = '{one}'"))
        };
        assert!(found(column) > 0, "{column}");
        assert_eq!(found(column), found(&format!("concat({column}, '')")), "{column} {one}");
    }
}

#[test]
fn a_damaged_file_is_named_and_left_out() {
    let bench = Bench::new();
    let events: Vec<Value> = (0..80).map(event).collect();
    bench.put(&trail_key("a"), gzip(&records(&events)));
    assert_eq!(bench.load(&[]).code, 0);
    let lake = bench.lake();
    let mut files = lake.files();
    let file = files.remove(0);
    let path = lake.dir.join(&file);
    let body = fs::read(&path).unwrap();
    fs::write(&path, &body[..body.len() / 2]).unwrap();
    let rest: usize = files.iter().map(|file| lake.rows_of(file).len()).sum();
    let answer = Answer::of(&mut query_command(&lake.dir, "SELECT count(*) AS n FROM events"));
    assert_eq!((answer.code, answer.rows()), (2, vec![json!({ "n": rest })]));
    assert!(answer.stderr.contains(&file), "{}", answer.stderr);
    // Its footer is whole, and what lies before it is not.
    let mut hurt = body;
    let end = hurt.len() / 2;
    hurt[8..end].iter_mut().for_each(|byte| *byte ^= 0x5a);
    fs::write(&path, &hurt).unwrap();
    let sql = "SELECT count(DISTINCT request) AS n, count(DISTINCT uid) AS uids FROM events";
    let answer = Answer::of(&mut query_command(&lake.dir, sql));
    assert_eq!((answer.code, &answer.rows()[0]["uids"]), (2, &json!(rest)), "{}", answer.stderr);
    assert!(answer.stderr.contains(&file), "{}", answer.stderr);
}

#[test]
fn what_is_no_lake_is_said_to_be_none() {
    let bench = Bench::new();
    let nowhere = bench.path("nowhere");
    let answer = Answer::of(&mut query_command(&nowhere, "SELECT 1"));
    assert_eq!(answer.code, 1);
    assert!(answer.stderr.contains("nowhere"), "{}", answer.stderr);
    assert!(!nowhere.exists(), "nothing is made of it");
}

#[test]
fn errors_in_sql_tell_their_place() {
    for (sql, place) in [
        ("SELECT tim FROM events", "line 1, column 8"),
        ("SELECT time\nFROM events\nWHERE oops(time)", "oops"),
        ("SELECT time FRM events", "Line: 1, Column: 17"),
        ("DROP TABLE events", "DDL"),
        ("COPY events TO '/tmp/x.csv'", "DML"),
    ] {
        let answer = Answer::of(&mut query_command(sample_lake(), sql));
        assert_eq!((answer.code, answer.stdout.as_str()), (1, ""), "{sql}");
        assert!(answer.stderr.contains(place), "{sql}: {}", answer.stderr);
    }
}

#[test]
fn a_result_is_written_in_the_form_that_is_asked_for() {
    let bench = Bench::new();
    let sql = "SELECT time, uid, bytes FROM events WHERE class = 'network_activity' \
               ORDER BY time, uid LIMIT 3";
    let write = |file: &str| {
        let path = bench.path(file);
        let mut command: Command = trailhound();
        command.arg("query").arg("--lake").arg(sample_lake()).arg(sql).arg("-o").arg(&path);
        let answer = Answer::of(&mut command);
        assert_eq!((answer.code, answer.stdout.as_str()), (0, ""));
        path
    };
    let json = fs::read_to_string(write("x.json")).unwrap();
    let csv = fs::read_to_string(write("x.csv")).unwrap();
    let table = fs::read_to_string(write("x.txt")).unwrap();
    let first: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    let uid = first["uid"].as_str().unwrap();
    assert_eq!((json.lines().count(), csv.lines().count(), table.lines().count()), (3, 4, 5));
    assert!(csv.starts_with("time,uid,bytes\n") && csv.lines().nth(1).unwrap().contains(uid));
    assert!(table.lines().nth(2).unwrap().contains(uid));
    let rows = crate::support::read_events(&write("x.parquet"));
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0]["uid"], first["uid"]);
}

#[test]
fn a_lake_that_is_loaded_meanwhile_can_be_asked() {
    let bench = Bench::new();
    for n in 0..20 {
        let events: Vec<Value> = (n * 50..n * 50 + 50).map(event).collect();
        bench.put(&trail_key(&format!("{n}")), gzip(&records(&events)));
    }
    assert_eq!(bench.load(&[]).code, 0);
    let lake = bench.lake();
    let mut load = load_command(&bench.archive(), &lake.dir, &["--force"]);
    let mut child = load.stdout(std::process::Stdio::null()).spawn().unwrap();
    loop {
        let answer = Answer::of(&mut query_command(&lake.dir, "SELECT count(*) AS n FROM events"));
        if answer.code == 0 {
            assert_eq!(answer.rows(), [json!({ "n": 1000 })]);
        } else {
            assert!(answer.stderr.contains("has changed while it was read"), "{}", answer.stderr);
        }
        if child.try_wait().unwrap().is_some() {
            break;
        }
    }
    assert_eq!(count(&lake.dir, "SELECT count(*) FROM events"), 1000);
}
