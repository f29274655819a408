//! `trailhound investigate --opensearch`: the index answers as the lake does.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{
    Bench, Run,
    ask::{Answer, investigate_command},
    cloud::{
        opensearch::Node,
        proxy::{Fault, Proxy},
    },
    event,
    index::Index,
    load_command, records, sample_archive, trail_key, trailhound,
};

fn command(url: &str, subject: &str, extra: &[&str]) -> Command {
    let mut command = trailhound();
    command.args(["investigate", "--opensearch", url, "--format", "json"]).args(extra);
    if !subject.is_empty() {
        command.arg(subject);
    }
    command
}

/// What both say of a subject: the lake's report, and that of the index without what must differ.
#[track_caller]
pub fn both(url: &str, lake: &Path, subject: &str, extra: &[&str]) -> Value {
    let of_lake = Answer::of(&mut investigate_command(lake, subject, extra));
    let of_index = Answer::of(&mut command(url, subject, extra));
    assert_eq!((of_lake.code, of_lake.stderr.as_str()), (0, ""), "{subject}");
    assert_eq!((of_index.code, of_index.stderr.as_str()), (0, ""), "{subject}");
    let mut expected: Value = serde_json::from_str(&of_lake.stdout).unwrap();
    let mut found: Value = serde_json::from_str(&of_index.stdout).unwrap();
    let queries = found["queries"].take();
    let queries = queries.as_array().unwrap();
    let is_search = |query: &Value| query.as_str().unwrap().starts_with("POST /ocsf-");
    assert!(!queries.is_empty() && queries.iter().all(is_search), "{subject}: {queries:?}");
    expected["queries"].take();
    let gaps = found["gaps"].as_array_mut().unwrap();
    let own = gaps.remove(0);
    assert!(own["what"].as_str().unwrap().contains("--lake"), "{subject}: {own}");
    assert_eq!(own["touches_story"], false);
    for (name, expected) in expected.as_object().unwrap() {
        assert!(found[name] == *expected, "{subject}: {name}: {:#}\n{expected:#}", found[name]);
    }
    let bytes = |value: &Value| serde_json::to_vec(value).unwrap();
    assert!(bytes(&found) == bytes(&expected), "{subject}");
    found
}

#[test]
fn the_index_answers_as_the_lake_does() {
    let Some(index) = Index::alone("the_index_answers_as_the_lake_does") else { return };
    let bench = Bench::new();
    let lake = bench.path("lake");
    let url = index.node.url();
    let accounts = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/accounts.csv");
    let mut load = load_command(&sample_archive(), &lake, &["--accounts", accounts]);
    assert_eq!(Run::of(&load.args(["--opensearch", &url]).output().unwrap()).code, 0);
    let mut calls = 0;
    for subject in [
        "6058c4eb4c8bf69141131e7376d42252",
        "AKIAIOSFODNN7EXAMPLE",
        "ASIAY59UFWBQIEXAMPLE",
        "203.0.113.77",
        "i-04d5e6f708192a3b4",
        "arn:aws:s3:::example-corp-customers",
        "example-corp-customers",
        "arn:aws:iam::111122223333:role/customer-support",
        "arn:aws:sts::111122223333:assumed-role/customer-support/support",
        "arn:aws:iam::444455556666:user/build-bot",
        "build-bot",
        "customer-support",
        "d7e2befa-7952-4715-a783-cf954538d886",
    ] {
        let report = both(&url, &lake, subject, &["--include-usual"]);
        calls += report["timeline"].as_array().unwrap().len();
    }
    assert!(calls > 13 * 100, "{calls}");
    both(&url, &lake, "", &["--latest-finding"]);
    both(
        &url,
        &lake,
        "203.0.113.77",
        &["--since", "2025-06-03T23:00:00Z", "--until", "2025-06-04"],
    );
    // What else can be asked for, in every form.
    for (subject, extra) in
        [("", ["--list-findings", "--until=2025-06-05"]), ("203.0.113.77", ["--format", "csv"])]
    {
        let ask = |mut command: Command| {
            let answer = Answer::of(&mut command);
            assert_eq!((answer.code, answer.stderr.as_str()), (0, ""), "{extra:?}");
            answer.stdout
        };
        let mut of_lake = trailhound();
        of_lake.args(["investigate", "--lake"]).arg(&lake).args(extra);
        let mut of_index = trailhound();
        of_index.args(["investigate", "--opensearch", &url]).args(extra);
        for command in [&mut of_lake, &mut of_index] {
            command.args((!subject.is_empty()).then_some(subject));
        }
        let (expected, found) = (ask(of_lake), ask(of_index));
        assert!(found == expected && found.lines().count() > 5, "{extra:?}: {found}");
    }
    for format in ["text", "html"] {
        let mut of_index = trailhound();
        of_index.args(["investigate", "--opensearch", &url, "203.0.113.77", "--format", format]);
        let answer = Answer::of(&mut of_index);
        assert!(answer.code == 0 && answer.stdout.contains("svc-monitoring"), "{format}");
    }
}

#[test]
fn an_index_of_a_choice_says_so() {
    let Some(index) = Index::alone("an_index_of_a_choice_says_so") else { return };
    let bench = super::bench();
    assert_eq!(index.load(&bench, &["--index-except", "network_activity"]).code, 0);
    index.node.refresh("trailhound-ledger-*");
    let answer = Answer::of(&mut command(&index.node.url(), "AKIA000000000004", &[]));
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    let report: Value = serde_json::from_str(&answer.stdout).unwrap();
    let gaps = report["gaps"].to_string();
    assert!(gaps.contains("left out of the index") && gaps.contains("no flow logs"), "{gaps}");
    assert!(!gaps.contains("refused"), "{gaps}");
}

/// Status 1, one sentence with this in it, and that soon.
#[track_caller]
fn assert_told(command: &mut Command, told: &str) {
    let started = Instant::now();
    let answer = Answer::of(command);
    assert_eq!((answer.code, answer.stdout.as_str()), (1, ""), "{told}: {}", answer.stderr);
    assert!(
        answer.stderr.contains(told) && answer.stderr.lines().count() == 1,
        "{}",
        answer.stderr
    );
    assert!(started.elapsed() < Duration::from_secs(20), "{told}: {:?}", started.elapsed());
}

#[test]
fn a_cluster_that_cannot_be_asked_is_told_with_what_to_do() {
    let test = "a_cluster_that_cannot_be_asked_is_told_with_what_to_do";
    let Some(index) = Index::alone(test) else { return };
    let url = index.node.url();
    assert_told(&mut command(&url, "203.0.113.77", &[]), "trailhound load --opensearch");
    let proxy = Proxy::start(&url);
    let through = proxy.endpoint();
    for (fault, told) in [
        (Fault::Status(404), "is not OpenSearch"),
        (Fault::Status(401), "check credentials"),
        (Fault::Status(503), "at present"),
        (Fault::Hang, "is it running"),
    ] {
        proxy.script(move |_, _| fault);
        assert_told(&mut command(&through, "203.0.113.77", &[]), told);
    }
    assert_told(&mut command("http://127.0.0.1:9", "203.0.113.77", &[]), "is it running");
    assert_told(&mut command("127.0.0.1:9200", "203.0.113.77", &[]), "http://127.0.0.1:9200");
    let bench = super::bench();
    assert_eq!(index.load(&bench, &[]).code, 0);
    assert_told(
        &mut command(&url, "AKIAXXXXXXXXXXXXXXXX", &[]),
        "in no call, no finding and no flow",
    );
    // A part of the events would be another story.
    index.node.get("POST", "/ocsf-4001/_close", None);
    assert_told(&mut command(&url, "AKIA000000000004", &[]), "closed");
}

#[test]
fn what_is_not_loaded_is_not_asked_and_what_is_busy_is_asked_again() {
    let test = "what_is_not_loaded_is_not_asked_and_what_is_busy_is_asked_again";
    let Some(index) = Index::alone(test) else { return };
    let bench = Bench::new();
    bench.put(&trail_key("a"), records(&(0..30).map(event).collect::<Vec<_>>()));
    assert_eq!(index.load(&bench, &[]).code, 0);
    let proxy = Proxy::start(&index.node.url());
    proxy.script(|number, _| if number % 3 == 1 { Fault::Status(429) } else { Fault::Pass });
    let report = both(&proxy.endpoint(), &bench.path("lake"), "AKIA000000000004", &[]);
    assert_eq!(report["timeline"].as_array().unwrap().len(), 2);
    let asked = proxy.requests();
    let of_flows = asked.iter().filter(|line| line.contains("/ocsf-4001/")).count();
    assert!(of_flows <= 2, "once, and perhaps once again: {asked:?}");
}

#[test]
fn the_command_counts_before_variables_and_of_those_the_lake() {
    let test = "the_command_counts_before_variables_and_of_those_the_lake";
    let Some(index) = Index::alone(test) else { return };
    let bench = super::bench();
    assert_eq!(index.load(&bench, &[]).code, 0);
    let lake = bench.path("lake");
    let asks_index = |mut command: Command| {
        let answer = Answer::of(&mut command);
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        answer.stdout.contains("POST /ocsf-")
    };
    let mut by_flag = command(&index.node.url(), "AKIA000000000004", &[]);
    by_flag.env("TRAILHOUND_LAKE", &lake);
    assert!(asks_index(by_flag));
    let mut by_flag = investigate_command(&lake, "AKIA000000000004", &[]);
    by_flag.env("TRAILHOUND_OPENSEARCH", index.node.url());
    assert!(!asks_index(by_flag));
    let ask = || {
        let mut command = trailhound();
        command.args(["investigate", "AKIA000000000004", "--format", "json"]);
        command.env("TRAILHOUND_OPENSEARCH", index.node.url());
        command
    };
    assert!(asks_index(ask()));
    let mut both = ask();
    both.env("TRAILHOUND_LAKE", &lake);
    assert!(!asks_index(both));
    let mut conflict = command(&index.node.url(), "AKIA000000000004", &["--lake", "lake"]);
    assert_eq!(Answer::of(&mut conflict).code, 1);
}

#[test]
fn a_reader_needs_no_more_than_the_readers_role() {
    let test = "a_reader_needs_no_more_than_the_readers_role";
    let Some(node) = Node::shared_secure(test) else { return };
    let as_user = |mut command: Command, user: &str, password: &str| {
        command.args(["--opensearch", &node.url(), "--opensearch-user", user]);
        command.arg("--opensearch-ca").arg(node.ca());
        command.env("TRAILHOUND_OPENSEARCH_PASSWORD", password);
        command
    };
    let mut setup = trailhound();
    setup.args(["setup", "opensearch", "--grant", "reader=analyst"]);
    let done = as_user(setup, "admin", "admin").output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let user = json!({ "password": "Xk9-bluewater-7q!Z" });
    node.get("PUT", "/_plugins/_security/api/internalusers/analyst", Some(user));
    let bench = Bench::new();
    bench.put(&trail_key("a"), records(&(0..30).map(event).collect::<Vec<_>>()));
    let load = bench.load_command(&[]);
    assert_eq!(Run::of(&as_user(load, "admin", "admin").output().unwrap()).code, 0);
    let ask = |password: &str| {
        let mut command = trailhound();
        command.args(["investigate", "AKIA000000000004", "--format", "json"]);
        Answer::of(&mut as_user(command, "analyst", password))
    };
    let answer = ask("Xk9-bluewater-7q!Z");
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    let report: Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(report["timeline"].as_array().unwrap().len(), 2);
    let answer = ask("wrong");
    assert!(answer.code == 1 && answer.stderr.contains("check credentials"), "{}", answer.stderr);
}
