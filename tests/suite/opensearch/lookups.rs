//! Look-ups of an investigation: those of the index give what those of the lake give.

use std::{collections::BTreeSet, path::Path};

use serde_json::{Value, json};
use trailhound::{
    cluster::ClusterArgs,
    config::LakeArgs,
    investigate::{
        MAX_TIME,
        cluster::ClusterLookup,
        lake::LakeLookup,
        lookup::{Calls, Lookup, Range},
    },
    query::{Lake, Limits},
    store::Place,
};

use super::ask::both;
use crate::support::{
    Bench,
    cloud::{
        block_on,
        opensearch::{Node, Version},
    },
    event, flow_key, flow_object,
    index::{Index, load_at, set_up},
    logs::{FLOW_HEADER, START, raw_records},
    records, trail_key,
};

fn flow_log(lines: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = [FLOW_HEADER.to_owned()].into_iter().chain(lines).collect();
    all.join("\n")
}

/// Calls and flows of every kind that is looked for, and of kinds that lack something.
fn odd_bench() -> Bench {
    let bench = Bench::new();
    let mut calls: Vec<Value> = (0..60).map(event).collect();
    for (n, call) in calls.iter_mut().enumerate() {
        call["sourceIPAddress"] = ["203.0.113.1", "203.0.113.2", "AWS Internal"][n % 3].into();
        let identity = &mut call["userIdentity"];
        match n % 7 {
            0 => drop(identity.as_object_mut().unwrap().remove("accessKeyId")),
            1 => {
                // One of these names is a pattern of the other in SQL.
                let role = if n % 3 == 0 { "myxrole" } else { "my_role" };
                identity["arn"] = format!("arn:aws:sts::1:assumed-role/{role}/i-0{n}").into();
                identity["sessionContext"] = json!({ "sessionIssuer": {
                    "arn": format!("arn:aws:iam::1:role/path/{role}"), "type": "Role" },
                    "sourceIdentity": if n % 2 == 0 { json!("alice") } else { Value::Null } });
            }
            2 => {
                identity["onBehalfOf"] =
                    json!({ "userId": "person-1", "identityStoreArn": "arn:aws:store" });
                if n % 2 == 0 {
                    identity.as_object_mut().unwrap().remove("principalId");
                }
            }
            3 => drop(identity.as_object_mut().unwrap().remove("arn")),
            4 => call["userAgent"] = Value::Null,
            5 => call["sharedEventID"] = format!("shared-{}", n % 2).into(),
            _ => call["awsRegion"] = Value::Null,
        }
    }
    for n in 0..4 {
        let mut call = event(1000 + n);
        let (name, answer) = match n {
            0 => (
                "RunInstances",
                json!({ "instancesSet": { "items": [
                { "instanceId": "i-0aaaaaaaaaaaaaaaa" }, { "instanceId": "i-0bbbbbbbbbbbbbbbb" }] } }),
            ),
            1 => (
                "CreateAccessKey",
                json!({ "accessKey": { "accessKeyId": "AKIAISSUED00000000001",
                "userName": "x" } }),
            ),
            2 => (
                "GetSessionToken",
                json!({ "credentials": { "accessKeyId": "ASIAISSUED00000000002" },
                "long": "\u{e9}".repeat(20_000) }),
            ),
            _ => {
                ("AssumeRole", json!({ "credentials": { "accessKeyId": "ASIAISSUED00000000003" } }))
            }
        };
        let service = ["ec2", "iam", "sts", "sts"][n as usize];
        call["eventSource"] = format!("{service}.amazonaws.com").into();
        call["eventName"] = name.into();
        call["responseElements"] = answer;
        call["resources"] =
            json!([{ "ARN": "arn:aws:s3:::first" }, { "ARN": "arn:aws:s3:::second" }]);
        calls.push(call);
    }
    // A number that no computer holds, as it was sent.
    let large = event(2000).to_string().replace("\"number\":2000", "\"number\":1e999");
    assert!(large.contains("1e999"));
    let mut texts: Vec<String> = calls.iter().map(Value::to_string).collect();
    texts.push(large);
    bench.put(&trail_key("odd"), raw_records(&texts));
    bench.put(&flow_key("ordinary"), flow_object(0..300));
    let odd = (0..40_u64).map(|n| {
        let (start, port) = (START + n * 977, if n % 4 == 0 { 22 } else { 40_000 + n });
        let action = if n % 3 == 0 { "REJECT" } else { "ACCEPT" };
        let (what, status) = match n % 10 {
            0 => (format!("eni-{n:08x} - - - - - - -"), "- NODATA".to_owned()),
            1 => ("eni-x 203.0.113.1 10.0.0.9 - - 1 1 9".to_owned(), format!("{action} OK")),
            _ => {
                let (interface, from, bytes) = (n % 7, n % 3, n * 100);
                let ends = format!("203.0.113.{from} 10.0.0.9 {port} 443");
                (format!("eni-{interface:08x} {ends} 6 2 {bytes}"), format!("{action} OK"))
            }
        };
        format!("2 111122223333 {what} {start} {} {status}", start + 59)
    });
    bench.put(&flow_key("odd"), flow_log(odd));
    bench
}

fn open_lake(path: &Path) -> Lake {
    let args = LakeArgs {
        lake: Place::Local(path.to_owned()),
        state: None,
        lake_role_arn: None,
        lake_external_id: None,
        lake_bucket_owner: None,
        lake_kms_key_id: None,
    };
    block_on(Lake::open(&args, Limits { memory: 256 << 20, jobs: 2 })).unwrap()
}

fn open_index(url: &str) -> ClusterLookup {
    let args = ClusterArgs { opensearch: Some(url.to_owned()), ..ClusterArgs::default() };
    block_on(async { ClusterLookup::open(args.cluster().await.unwrap().unwrap()).await.unwrap() })
}

fn set(values: &[&str]) -> BTreeSet<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn uids(documents: &[Value]) -> Vec<&str> {
    let ids = documents.iter().map(|document| document["metadata"]["uid"].as_str().unwrap());
    let mut all: Vec<_> = ids.collect();
    all.sort_unstable();
    all
}

/// Every look-up of one gives what the other gives. Returns how many things were found.
#[track_caller]
fn assert_same(lake: &LakeLookup<'_>, index: &ClusterLookup) -> Vec<usize> {
    let all = Range { since: 0, until: MAX_TIME };
    let after = |minutes: u64| ((START + minutes * 60) * 1000) as i64;
    let early = Range { since: after(10), until: after(30) };
    let late = Range { since: after(120), until: after(360) };
    let none = Calls::default;
    let wanted = [
        Calls { keys: set(&["AKIA000000000004", "AKIA000000000011"]), ..none() },
        Calls { addresses: set(&["203.0.113.1", "AWS Internal"]), ..none() },
        Calls { principals: set(&["arn:aws:iam::1:role/path/my_role"]), ..none() },
        Calls { principals: set(&["arn:aws:iam::111122223333:user/user-3"]), ..none() },
        Calls { names: set(&["my_role"]), ..none() },
        Calls { names: set(&["user-2"]), sessions: set(&["i-01", "i-015"]), ..none() },
        Calls { identities: set(&["alice"]), ..none() },
        Calls { identities: set(&["person-1", "alice"]), ..none() },
        Calls { uids: set(&["event-000003", "event-002000"]), ..none() },
        Calls { shared_events: set(&["shared-0"]), ..none() },
        Calls { issued: set(&["AKIAISSUED00000000001"]), ..none() },
        Calls { issued: set(&["ASIAISSUED00000000002"]), ..none() },
        Calls { issued: set(&["ASIAISSUED00000000003"]), ..none() },
        Calls { launched: set(&["i-0bbbbbbbbbbbbbbbb"]), ..none() },
        Calls { resources: set(&["arn:aws:s3:::second"]), ..none() },
        Calls { requested: set(&["new-7", "new_7"]), ..none() },
        Calls { operations: set(&["CreateUser"]), accounts: set(&["444455556666"]), ..none() },
        Calls { operations: set(&["CreateUser"]), ..none() },
        none(),
    ];
    let mut found = Vec::new();
    block_on(async {
        for wanted in &wanted {
            for range in [all, early] {
                let expected = lake.calls(wanted, range).await.unwrap();
                let calls = index.calls(wanted, range).await.unwrap();
                assert_eq!(uids(&calls), uids(&expected), "{wanted:?} {range:?}");
                if range == all {
                    found.push(calls.len());
                }
            }
            let expected = lake.uses(wanted).await.unwrap();
            assert_eq!(index.uses(wanted).await.unwrap(), expected, "{wanted:?}");
            found.push(expected.len());
        }
        let addresses =
            set(&["203.0.113.1", "203.0.113.2", "AWS Internal", "10.0.0.9", "192.0.2.1"]);
        let expected = lake.senders(&addresses).await.unwrap();
        assert_eq!(index.senders(&addresses).await.unwrap(), expected);
        found.push(expected.len());
        for range in [all, late] {
            let expected = lake.flows(&addresses, range).await.unwrap();
            assert_eq!(index.flows(&addresses, range).await.unwrap(), expected);
            found.push(expected.len());
            for accounts in [set(&[]), set(&["111122223333"]), set(&["1"])] {
                let interfaces = (0..40).chain(100..200).map(|n| format!("eni-{n:08x}")).collect();
                let ask = (&interfaces, &set(&["i-0"]), &accounts, late.since, range);
                let expected = lake.new_flows(ask.0, ask.1, ask.2, ask.3, ask.4).await.unwrap();
                let flows = index.new_flows(ask.0, ask.1, ask.2, ask.3, ask.4).await.unwrap();
                assert_eq!(flows, expected, "{accounts:?} {range:?}");
                found.push(expected.len());
            }
        }
        for accounts in [set(&[]), set(&["1"])] {
            let expected = lake.findings(&accounts, all).await.unwrap();
            let findings = index.findings(&accounts, all).await.unwrap();
            assert_eq!(uids(&findings), uids(&expected));
        }
        assert_eq!(index.coverage().await.unwrap(), lake.coverage().await.unwrap());
    });
    found
}

#[test]
fn every_look_up_of_the_index_gives_what_the_lake_gives_in_pages_of_any_size() {
    let test = "every_look_up_of_the_index_gives_what_the_lake_gives_in_pages_of_any_size";
    let Some(index) = Index::alone(test) else { return };
    let bench = odd_bench();
    let run = index.load(&bench, &[]);
    assert_eq!((run.code, run.index("rejected"), run.index("excluded")), (0, 0, 0), "{run:?}");
    let lake = open_lake(&bench.path("lake"));
    let lake = LakeLookup::new(&lake);
    for page in [1, 3, 500] {
        let lookup = open_index(&index.node.url()).with_page(page);
        let found = assert_same(&lake, &lookup);
        // No uses of what is asked for otherwise, nothing of nothing, and no flows of account 1.
        let empty = found.iter().filter(|count| **count == 0).count();
        assert_eq!(empty, 13 + 2 + 2, "{found:?}");
        assert!(found.contains(&50), "more new flows than are shown: {found:?}");
    }
}

#[test]
fn more_than_an_answer_holds_is_found_whole() {
    let Some(index) = Index::alone("more_than_an_answer_holds_is_found_whole") else { return };
    let bench = Bench::new();
    let calls: Vec<Value> = (0..2300)
        .map(|n| {
            let mut call = event(n);
            call["userIdentity"]["accessKeyId"] = "AKIAIOSFODNN7EXAMPLE".into();
            call["userAgent"] = format!("program-{n}").into();
            call["sourceIPAddress"] = "198.51.100.7".into();
            call
        })
        .collect();
    bench.put(&trail_key("many"), records(&calls));
    let flows = (0..2300_u64).map(|n| {
        let (start, to) = (START + n, format!("10.0.{}.{}", n / 250, n % 250));
        let port = 1024 + n;
        format!(
            "2 111122223333 eni-1 198.51.100.7 {to} {port} 443 6 1 {n} {start} {start} ACCEPT OK"
        )
    });
    bench.put(&flow_key("many"), flow_log(flows));
    assert_eq!(index.load(&bench, &[]).code, 0);
    let (url, lake) = (index.node.url(), bench.path("lake"));
    let report = both(&url, &lake, "AKIAIOSFODNN7EXAMPLE", &["--include-usual"]);
    assert_eq!(report["timeline"].as_array().unwrap().len(), 2300);
    let lake = open_lake(&lake);
    let lake = LakeLookup::new(&lake);
    let lookup = open_index(&url);
    block_on(async {
        let address = set(&["198.51.100.7"]);
        let all = Range { since: 0, until: MAX_TIME };
        let flows = lookup.flows(&address, all).await.unwrap();
        assert_eq!(flows.len(), 2300);
        assert_eq!(flows, lake.flows(&address, all).await.unwrap());
        let interfaces = set(&["eni-1"]);
        let none = BTreeSet::new();
        let flows = lookup.new_flows(&interfaces, &none, &none, 0, all).await.unwrap();
        assert_eq!(flows.len(), 50);
        assert_eq!(flows, lake.new_flows(&interfaces, &none, &none, 0, all).await.unwrap());
        let wanted = Calls { keys: set(&["AKIAIOSFODNN7EXAMPLE"]), ..Calls::default() };
        let uses = lookup.uses(&wanted).await.unwrap();
        assert_eq!(uses.len(), 2300);
        assert_eq!(uses, lake.uses(&wanted).await.unwrap());
    });
}

#[test]
fn the_oldest_version_answers_too_and_in_as_small_pages_as_it_must() {
    let test = "the_oldest_version_answers_too_and_in_as_small_pages_as_it_must";
    // Not one use of the kind that is looked for has so many operations, regions and hours.
    let settings = [("search.max_buckets", "40")];
    let Some(node) = Node::start(test, Version::V2_19, &settings) else { return };
    set_up(&node);
    let bench = odd_bench();
    assert_eq!(load_at(&node.url(), &bench, &[]).code, 0);
    let lake = open_lake(&bench.path("lake"));
    assert_same(&LakeLookup::new(&lake), &open_index(&node.url()));
}
