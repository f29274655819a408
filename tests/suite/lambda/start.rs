//! What is wrong is told at the start, in one sentence that says what to do.

use std::time::{Duration, Instant};

use super::{Cloud, PATIENCE, binary, log_lines};
use crate::support::cloud::{
    Variables,
    lambda::{Lambda, Outcome},
    s3::{access_denied, s3_error},
};

/// What the function says instead of asking for work, and how long it takes for that.
#[track_caller]
fn refusal(variables: &Variables) -> (String, Duration) {
    let started = Instant::now();
    let mut lambda = Lambda::start(binary(), variables, PATIENCE, 512);
    assert_eq!(lambda.time_to_first_poll(), None, "it starts");
    let took = started.elapsed();
    let outcome = lambda.invoke(serde_json::json!({}));
    assert!(
        matches!(outcome, Outcome::Exited(status) if status.code() == Some(1)),
        "{outcome:?}: {}",
        lambda.logs()
    );
    let lines = log_lines(&lambda);
    let last = lines.last().expect("a line");
    assert_eq!(last["level"], "ERROR");
    (last["error"].as_str().unwrap().to_owned(), took)
}

fn without(variables: &Variables, names: &[&str]) -> Variables {
    variables.iter().filter(|(name, _)| !names.contains(&name.as_str())).cloned().collect()
}

fn with(variables: &Variables, name: &str, value: &str) -> Variables {
    let mut all = without(variables, &[name]);
    all.push((name.to_owned(), value.to_owned()));
    all
}

#[track_caller]
fn says(variables: &Variables, parts: &[&str]) {
    let (text, took) = refusal(variables);
    for part in parts {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
    assert!(!text.contains('\n') && text.len() < 700, "one sentence: {text}");
    assert!(took < Duration::from_secs(8), "{took:?}: {text}");
}

#[test]
fn settings_that_are_wrong_are_named() {
    let cloud = Cloud::new();
    let good = cloud.variables();
    let lake = "TRAILHOUND_LAKE";
    says(&without(&good, &[lake]), &[lake]);
    says(&with(&good, lake, ""), &[lake]);
    says(&with(&good, lake, "gs://lake/x"), &[lake, "gs://", "s3://bucket/prefix"]);
    says(&with(&good, lake, "s3://"), &[lake, "s3://bucket/prefix"]);
    let lots = with(&good, "TRAILHOUND_MEMORY", "lots");
    says(&lots, &["TRAILHOUND_MEMORY", "lots", "512MB"]);
    says(
        &with(&good, "TRAILHOUND_MEMORY", "1MB"),
        &["TRAILHOUND_MEMORY 1MB", "128MB", "memory setting"],
    );
    says(&with(&good, "TRAILHOUND_JOBS", "0"), &["TRAILHOUND_JOBS"]);
    let accounts = with(&good, "TRAILHOUND_ACCOUNTS", "s3://lake/no/such.csv");
    says(&accounts, &["accounts", "s3://lake/no/such.csv", "not there"]);
}

#[test]
fn a_lake_that_cannot_be_used_is_told_at_the_start() {
    let cloud = Cloud::new();
    let good = cloud.variables();
    let elsewhere = with(&good, "TRAILHOUND_LAKE", "s3://no-such-lake/x");
    says(&elsewhere, &["no bucket no-such-lake", "check the name"]);
    cloud.server.deny(&["PutObject"]);
    let denied = ["access denied", "AKIAIOSFODNN7EXAMPLE"];
    let put = ["s3:PutObject", "arn:aws:s3:::lake/x/_trailhound/"];
    says(&good, &[denied, put].concat());
    cloud.server.deny(&["GetObject"]);
    says(&good, &[denied, ["s3:GetObject", "arn:aws:s3:::lake/x/_trailhound/"]].concat());
    cloud.server.deny(&["ListObjectsV2"]);
    says(&good, &[denied, ["s3:ListBucket", "arn:aws:s3:::lake"]].concat());
    // As S3 answers a HEAD: without a body that tells why.
    cloud.server.fault(|_, _, _| Err(s3_error!(ExpiredToken)));
    says(&good, &["credentials", "expired"]);
    cloud.server.fault(|_, _, _| Err(access_denied()));
    says(&good, &denied);
    cloud.server.no_fault();
    let secret = with(&good, "AWS_SECRET_ACCESS_KEY", "wrong");
    says(&secret, &["credentials", "not valid"]);
    let lambda = Lambda::start(binary(), &good, PATIENCE, 512).time_to_first_poll();
    assert!(lambda.unwrap() < Duration::from_secs(5));
}

#[test]
fn without_credentials_it_says_so_and_does_not_hang() {
    let cloud = Cloud::new();
    let none = without(&cloud.variables(), &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]);
    says(&none, &["no AWS credentials", "s3://lake"]);
    says(&without(&none, &["AWS_EC2_METADATA_DISABLED"]), &["no AWS credentials", "s3://lake"]);
}
