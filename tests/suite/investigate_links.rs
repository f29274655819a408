//! `trailhound investigate`: people, copies of a call in other accounts, sign-ins, and what is new.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{
    Bench,
    ask::{Answer, investigate, investigate_command},
    logs::{START, records, time_text},
    trail_key,
};

const HOME: &str = "198.51.100.7";
const ELSEWHERE: &str = "203.0.113.99";
const DAY: u64 = 86_400;

/// A call by a session that acts for somebody.
fn call(id: &str, second: u64, account: &str, key: &str, address: &str, name: &str) -> Value {
    json!({
        "eventVersion": "1.09",
        "userIdentity": {
            "type": "AssumedRole",
            "principalId": "AROAEXAMPLE:ada",
            "arn": format!("arn:aws:sts::{account}:assumed-role/admin/ada"),
            "accountId": account,
            "accessKeyId": key,
            "sessionContext": {
                "sessionIssuer": {
                    "type": "Role",
                    "arn": format!("arn:aws:iam::{account}:role/admin"),
                    "accountId": account,
                    "userName": "admin",
                },
                "sourceIdentity": "ada@example.com",
            },
        },
        "eventTime": time_text(second),
        "eventSource": "iam.amazonaws.com",
        "eventName": name,
        "awsRegion": "us-east-1",
        "sourceIPAddress": address,
        "userAgent": "aws-cli/2.15",
        "eventID": id,
        "readOnly": true,
        "recipientAccountId": account,
    })
}

fn lake_of(bench: &Bench, events: &[Value]) -> std::path::PathBuf {
    bench.put(&trail_key("made-up"), records(events));
    let (run, lake) = bench.load_checked(&[]);
    assert_eq!(run.code, 0, "{run:?}");
    lake.dir
}

fn uids(report: &Value) -> BTreeSet<&str> {
    let rows = report["timeline"].as_array().unwrap();
    rows.iter().map(|row| row["uid"].as_str().unwrap()).collect()
}

fn links(report: &Value, kind: &str) -> BTreeSet<(String, String)> {
    let all = report["links"].as_array().unwrap().iter().filter(|link| link["kind"] == kind);
    let text = |link: &Value, name: &str| link[name].as_str().unwrap().to_owned();
    all.map(|link| (text(link, "from"), text(link, "to"))).collect()
}

/// A week of ordinary work at home; then somebody has a session of the same person elsewhere.
fn a_week_and_an_intruder() -> Vec<Value> {
    let mut events: Vec<Value> = (0..7)
        .map(|day| {
            let (id, key) = (format!("usual-{day}"), format!("ASIAUSUAL{day:011}"));
            call(&id, day * DAY + 9 * 3600, "111122223333", &key, HOME, "GetUser")
        })
        .collect();
    let (key, second) = ("ASIAODD0000000000001", 8 * DAY);
    events.push(call("odd-1", second, "111122223333", key, ELSEWHERE, "CreateUser"));
    // The same person at home, on the same day, and once from somewhere else, as people do.
    let own = "ASIAUSUAL00000000009";
    events.push(call("home", second + 9 * 3600, "111122223333", own, HOME, "GetUser"));
    let train = "ASIAUSUAL00000000010";
    events.push(call("train", second + 600, "111122223333", train, "192.0.2.30", "GetUser"));
    // Another session of the person in another account, from a third address, at the same hour.
    let other = "ASIAODD0000000000002";
    let mut odd = call("odd-2", second + 60, "444455556666", other, "203.0.113.12", "ListUsers");
    odd["awsRegion"] = "ap-southeast-2".into();
    odd["userAgent"] = "Boto3/1.34".into();
    events.push(odd);
    events
}

#[test]
fn sessions_of_one_person_are_followed_across_accounts_where_they_are_unlike_the_week_before() {
    let bench = Bench::new();
    let lake = lake_of(&bench, &a_week_and_an_intruder());
    let report = investigate(&lake, ELSEWHERE);
    assert_eq!(uids(&report), BTreeSet::from(["odd-1", "odd-2"]), "{report:#}");
    let person = "ada@example.com".to_owned();
    let of = |key: &str| (key.to_owned(), person.clone());
    let sessions = [of("ASIAODD0000000000001"), of("ASIAODD0000000000002")];
    assert_eq!(links(&report, "acts_for"), sessions.into());
    let why = |uid: &str| {
        let rows = report["timeline"].as_array().unwrap();
        rows.iter().find(|row| row["uid"] == uid).unwrap()["why"].as_str().unwrap().to_owned()
    };
    assert_eq!(why("odd-2"), "new for who made it: address, program, operations, regions, hours");
    let since = report["usual"]["baseline_since"].as_str().unwrap();
    assert!(since.starts_with("2024-05-01T09:00:00"), "{since}");
}

#[test]
fn what_is_usual_is_counted_and_says_what_is_new_about_it() {
    let bench = Bench::new();
    let lake = lake_of(&bench, &a_week_and_an_intruder());
    let mut command = investigate_command(&lake, ELSEWHERE, &["--include-usual"]);
    let report: Value = serde_json::from_str(&Answer::of(&mut command).stdout).unwrap();
    assert_eq!(report["usual"]["calls"], 2);
    let uses = report["usual"]["uses"].as_array().unwrap();
    let news = |address: &str| {
        let of_day = |row: &&Value| row["first"].as_str().unwrap() >= "2024-05-09";
        &uses.iter().filter(of_day).find(|row| row["address"] == address).unwrap()["news"]
    };
    assert_eq!(news(HOME), &json!([]));
    assert_eq!(news("192.0.2.30"), &json!(["address", "hours"]));
}

#[test]
fn a_person_can_be_asked_about_by_name() {
    let bench = Bench::new();
    let lake = lake_of(&bench, &a_week_and_an_intruder());
    let report = investigate(&lake, "ada@example.com");
    assert_eq!(uids(&report).len(), 11);
    let kinds = report["entities"].as_array().unwrap().iter();
    let people: Vec<&Value> = kinds.filter(|row| row["kind"] == "identity").collect();
    assert_eq!((people.len(), &people[0]["calls"]), (1, &json!(11)));
}

#[test]
fn a_call_that_two_accounts_log_is_there_twice_and_linked() {
    let bench = Bench::new();
    let mut own = call("own", 60, "111122223333", "ASIAODD0000000000001", ELSEWHERE, "GetObject");
    own["sharedEventID"] = "shared-1".into();
    let mut copy = own.clone();
    copy["eventID"] = "copy".into();
    copy["recipientAccountId"] = "444455556666".into();
    copy["userIdentity"] = json!({ "type": "AWSAccount", "accountId": "111122223333" });
    copy["sourceIPAddress"] = "AWS Internal".into();
    let mut other = copy.clone();
    other["eventID"] = "other".into();
    other["sharedEventID"] = "shared-2".into();
    let lake = lake_of(&bench, &[own, copy, other]);
    let report = investigate(&lake, ELSEWHERE);
    assert_eq!(uids(&report), BTreeSet::from(["own", "copy"]));
    let link = ("ASIAODD0000000000001".to_owned(), "444455556666".to_owned());
    assert_eq!(links(&report, "same_call"), [link].into());
}

#[test]
fn a_session_name_that_many_use_is_named_and_only_its_keys_are_followed() {
    let bench = Bench::new();
    let account = "111122223333";
    let name = format!("arn:aws:sts::{account}:assumed-role/deploy/pipeline");
    let of_pipeline = |id: &str, second: u64, key: &str, address: &str| {
        let mut event = call(id, second, account, key, address, "ListUsers");
        event["userIdentity"]["arn"] = name.clone().into();
        event["userIdentity"]["sessionContext"]["sourceIdentity"] = Value::Null;
        event
    };
    let mut events: Vec<Value> = (0..6)
        .map(|n| {
            let (id, key) = (format!("build-{n}"), format!("ASIABUILD{n:011}"));
            of_pipeline(&id, 5 * DAY + n * 60, &key, &format!("192.0.2.{n}"))
        })
        .collect();
    let mut assumed = call("in", 5 * DAY, account, "ASIAODD0000000000001", ELSEWHERE, "AssumeRole");
    assumed["eventSource"] = "sts.amazonaws.com".into();
    assumed["responseElements"] = json!({
        "credentials": { "accessKeyId": "ASIASTOLEN0000000001" },
        "assumedRoleUser": { "arn": name },
    });
    events.push(assumed);
    events.push(of_pipeline("out", 5 * DAY + 300, "ASIASTOLEN0000000001", "192.0.2.77"));
    let lake = lake_of(&bench, &events);
    let report = investigate(&lake, ELSEWHERE);
    assert_eq!(uids(&report), BTreeSet::from(["in", "out"]));
    let entities = report["entities"].as_array().unwrap();
    let session = entities.iter().find(|row| row["value"] == name.as_str()).unwrap();
    assert_eq!(session["role"], "shared");
}

#[test]
fn a_sign_in_to_the_console_stands_for_half_a_day() {
    let bench = Bench::new();
    let sign_in = |id: &str, second: u64, result: &str| {
        let mut event = call(id, second, "111122223333", "", ELSEWHERE, "ConsoleLogin");
        let arn = "arn:aws:iam::111122223333:user/mallory";
        event["userIdentity"] = json!({
            "type": "IAMUser", "arn": arn, "accountId": "111122223333", "userName": "mallory",
        });
        event["eventSource"] = "signin.amazonaws.com".into();
        event["responseElements"] = json!({ "ConsoleLogin": result });
        event
    };
    let events =
        [sign_in("a", 0, "Success"), sign_in("b", 3600, "Success"), sign_in("c", 7200, "Failure")];
    let lake = lake_of(&bench, &events);
    let report = investigate(&lake, ELSEWHERE);
    let standing = report["still_standing"].as_array().unwrap();
    assert_eq!(standing.len(), 1, "{standing:?}");
    assert_eq!(
        (&standing[0]["what"], &standing[0]["uid"]),
        (&json!("console session"), &json!("b"))
    );
    let until = parsers::time::datetime(((START + 13 * 3600) * 1000) as i64);
    assert_eq!(standing[0]["until"].as_str().unwrap().as_bytes(), until.as_slice());
}
