//! What `trailhound investigate` says is still standing.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{
    Bench,
    ask::investigate,
    event,
    logs::{records, time_text},
    trail_key,
};

const ATTACKER: &str = "203.0.113.99";

/// Calls of somebody from one address, an hour apart, and what is left of them.
fn left(calls: &[(&str, Value, Value)]) -> BTreeSet<String> {
    let events: Vec<Value> = (0_u64..)
        .zip(calls)
        .map(|(n, (name, request, response))| {
            let mut call = event(n);
            call["userIdentity"] = event(0)["userIdentity"].clone();
            call["eventName"] = (*name).into();
            call["eventSource"] = "made-up.amazonaws.com".into();
            call["eventTime"] = time_text(n * 3600).into();
            call["sourceIPAddress"] = ATTACKER.into();
            call["recipientAccountId"] = "111122223333".into();
            call["requestParameters"] = request.clone();
            call["responseElements"] = response.clone();
            call["errorCode"] = Value::Null;
            call
        })
        .collect();
    let bench = Bench::new();
    bench.put(&trail_key("made-up"), records(&events));
    let (run, lake) = bench.load_checked(&[]);
    assert_eq!(run.code, 0, "{run:?}");
    let report = investigate(&lake.dir, ATTACKER);
    assert_eq!(report["timeline"].as_array().unwrap().len(), calls.len());
    let all = report["still_standing"].as_array().unwrap().iter();
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    all.map(|row| format!("{} {}", text(row, "what"), text(row, "which"))).collect()
}

fn set(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|one| (*one).to_owned()).collect()
}

#[test]
fn each_instance_of_a_call_stands_until_it_is_terminated_itself() {
    let items =
        json!([{ "instanceId": "i-0aaaaaaaaaaaaaaaa" }, { "instanceId": "i-0bbbbbbbbbbbbbbbb" }]);
    let first = json!({ "instancesSet": { "items": [{ "instanceId": "i-0aaaaaaaaaaaaaaaa" }] } });
    let calls = [
        ("RunInstances", json!({}), json!({ "instancesSet": { "items": items } })),
        ("TerminateInstances", first, Value::Null),
    ];
    assert_eq!(left(&calls[..1]).len(), 2);
    assert_eq!(left(&calls), set(&["instance i-0bbbbbbbbbbbbbbbb"]));
}

#[test]
fn a_key_that_is_active_again_stands() {
    let key = "AKIAMADE000000000001";
    let status = |status: &str| json!({ "userName": "x", "accessKeyId": key, "status": status });
    let calls = [
        (
            "CreateAccessKey",
            json!({ "userName": "x" }),
            json!({ "accessKey": { "accessKeyId": key } }),
        ),
        ("UpdateAccessKey", status("Inactive"), Value::Null),
        ("UpdateAccessKey", status("Active"), Value::Null),
        ("DeleteAccessKey", json!({ "accessKeyId": key }), Value::Null),
    ];
    assert_eq!(left(&calls[..1]).len(), 1);
    assert_eq!(left(&calls[..2]), set(&[]));
    assert_eq!(left(&calls[..3]), set(&["access key AKIAMADE000000000001"]));
    assert_eq!(left(&calls), set(&[]));
}

#[test]
fn of_a_security_group_each_rule_that_lets_the_world_in_stands_by_itself() {
    let rule = |port: u16, range: &str| {
        let ranges = json!({ "items": [{ "cidrIp": range }] });
        let rule = json!({ "fromPort": port, "toPort": port, "ipRanges": ranges });
        json!({ "groupId": "sg-1", "ipPermissions": { "items": [rule] } })
    };
    let open = |port, range| ("AuthorizeSecurityGroupIngress", rule(port, range), Value::Null);
    let close = |port, range| ("RevokeSecurityGroupIngress", rule(port, range), Value::Null);
    let calls = [open(22, "0.0.0.0/0"), open(3389, "0.0.0.0/0"), open(443, "10.0.0.0/8")];
    let both = [
        "open security group sg-1 0.0.0.0/0 port 22",
        "open security group sg-1 0.0.0.0/0 port 3389",
    ];
    assert_eq!(left(&calls), set(&both));
    let calls = [&calls[..], &[close(22, "0.0.0.0/0")]].concat();
    assert_eq!(left(&calls), set(&both[1..]));
    let whole = ("DeleteSecurityGroup", json!({ "groupId": "sg-1" }), Value::Null);
    assert_eq!(left(&[&calls[..], &[whole]].concat()), set(&[]));
}

#[test]
fn what_closes_or_ends_something_is_not_left() {
    let permission = |how: &str| json!({ "items": [{ (how): "all" }] });
    let share = |change: &str| {
        let change = json!({ (change): permission("group") });
        (
            "ModifySnapshotAttribute",
            json!({ "snapshotId": "snap-1", "createVolumePermission": change }),
            Value::Null,
        )
    };
    let policy = |effect: &str| {
        let statement = json!({ "Effect": effect, "Principal": "*", "Action": "s3:GetObject" });
        (
            "PutBucketPolicy",
            json!({ "bucketName": "b", "bucketPolicy": { "Statement": [statement] } }),
            Value::Null,
        )
    };
    let detector = |enable: bool| {
        ("UpdateDetector", json!({ "detectorId": "d", "enable": enable }), Value::Null)
    };
    assert_eq!(left(&[share("remove"), policy("Deny"), detector(true)]), set(&[]));
    let all = ["GuardDuty switched off d", "policy on a bucket b", "shared snapshot snap-1"];
    assert_eq!(left(&[share("add"), policy("Allow"), detector(false)]), set(&all));
    let session = json!({ "credentials": { "accessKeyId": "ASIAMADE000000000001" } });
    let session = ("AssumeRole", json!({ "durationSeconds": 3600 }), session);
    let other = || ("ListUsers", Value::Null, Value::Null);
    assert_eq!(left(&[session.clone(), other()]), set(&["session ASIAMADE000000000001"]));
    assert_eq!(left(&[session, other(), other()]), set(&[]), "it has ended since");
}
