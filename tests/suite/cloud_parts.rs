//! The stand-ins for AWS do what AWS does, where the other tests rely on it.

use std::{
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use aws_sdk_s3::{
    error::ProvideErrorMetadata,
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart},
};

use serde_json::{Value, json};

use crate::support::cloud::{
    block_on,
    lambda::{Lambda, Outcome},
    proxy::{Fault, Proxy},
    queue::Queues,
    s3::{self, S3Server, s3_error},
};

/// A server with a bucket `logs`.
fn server() -> S3Server {
    let server = S3Server::start();
    server.create_bucket("logs");
    server
}

/// The status of the answer that a client took for an error.
macro_rules! status {
    ($result:expr) => {
        $result.unwrap_err().raw_response().map(|answer| answer.status().as_u16())
    };
}

#[test]
fn what_a_client_puts_is_what_the_test_gets_and_the_other_way_round() {
    let server = server();
    let client = server.client();
    let key = "AWSLogs/a b+é=1.json.gz";
    server.put("logs", key, "from the test");
    let got = block_on(async {
        let found = client.get_object().bucket("logs").key(key).send().await.unwrap();
        found.body.collect().await.unwrap().to_vec()
    });
    assert_eq!(got, b"from the test");
    let body = ByteStream::from_static(b"from the client");
    block_on(client.put_object().bucket("logs").key(key).body(body).send()).unwrap();
    assert_eq!(server.get("logs", key).unwrap(), b"from the client");
    assert_eq!(server.list("logs", "AWSLogs/"), [key]);
    let counts: Vec<_> = server.requests().into_iter().collect();
    assert_eq!(counts, [("GetObject".into(), 1), ("PutObject".into(), 1)]);
    server.reset_requests();
    assert!(server.requests().is_empty());
    let created = server.created();
    let sizes: Vec<_> = created.iter().map(|object| (object.key.as_str(), object.size)).collect();
    assert_eq!(sizes, [(key, 13), (key, 15)]);
    assert_eq!((created[1].bucket.as_str(), created[1].etag.len()), ("logs", 32));
    assert!(server.created().is_empty());
    let listed = block_on(client.list_objects_v2().bucket("logs").send()).unwrap();
    assert_eq!(listed.contents()[0].e_tag().unwrap(), format!("\"{}\"", created[1].etag));
    server.delete("logs", key);
    assert_eq!(server.get("logs", key), None);
    server.put("logs", "AWSLogs", "a name that was a folder");
}

#[test]
fn a_folder_goes_up_and_comes_down_as_it_was() {
    let server = server();
    let folder = tempfile::tempdir().unwrap();
    let [up, down] = ["up", "down"].map(|name| folder.path().join(name));
    std::fs::create_dir_all(up.join("a/b")).unwrap();
    std::fs::write(up.join("a/b/c"), "1").unwrap();
    std::fs::write(up.join("d"), "2").unwrap();
    server.upload_dir(&up, "logs", "lake/");
    assert_eq!(server.list("logs", ""), ["lake/a/b/c", "lake/d"]);
    assert!(server.root().join("logs/lake/d").exists());
    server.download("logs", "lake", &down);
    assert_eq!(std::fs::read(down.join("a/b/c")).unwrap(), b"1");
    assert_eq!(std::fs::read(down.join("d")).unwrap(), b"2");
}

#[test]
fn one_of_many_conditional_puts_wins() {
    let server = server();
    let client = server.client();
    let (key, racers) = ("_trailhound/lock", 32);
    // An entity tag is a hash of the content: who writes what is there already changes nothing, and
    // the next one's condition holds as well. So no two bodies are the same.
    let put = |body: String, if_match: Option<String>| {
        let put = client.put_object().bucket("logs").key(key).body(body.into_bytes().into());
        if if_match.is_some() { put.set_if_match(if_match) } else { put.if_none_match("*") }
    };
    let mut if_match = None;
    for round in 0..3 {
        let won = block_on(async {
            let bodies = (0..racers).map(|n| format!("racer {n} of round {round}"));
            let start = |body: String| {
                let racer = tokio::spawn(put(body.clone(), if_match.clone()).send());
                (body, racer)
            };
            let race: Vec<_> = bodies.map(start).collect();
            let mut won = Vec::new();
            for (body, racer) in race {
                match racer.await.unwrap() {
                    Ok(answer) => won.push((body, answer.e_tag)),
                    Err(error) => assert_eq!(error.code(), Some("PreconditionFailed")),
                }
            }
            won
        });
        assert_eq!(won.len(), 1, "{won:?}");
        let (winner, etag) = won.into_iter().next().unwrap();
        assert_eq!(server.get("logs", key).unwrap(), winner.into_bytes());
        if_match = etag;
    }
}

#[test]
fn an_object_of_several_parts_replaces_another_one() {
    let server = server();
    let client = server.client();
    server.put("logs", "big", "small");
    let put = client.put_object().bucket("logs").key("big");
    block_on(put.body(ByteStream::from_static(b"with a checksum")).send()).unwrap();
    let parts = [vec![b'a'; 5 << 20], vec![b'b'; 1000]];
    block_on(async {
        let upload = client.create_multipart_upload().bucket("logs").key("big").send();
        let id = upload.await.unwrap().upload_id.unwrap();
        let mut done = CompletedMultipartUpload::builder();
        for (number, part) in (1..).zip(&parts) {
            let part = client.upload_part().bucket("logs").key("big").body(part.clone().into());
            let part = part.upload_id(&id).part_number(number).send().await.unwrap();
            let part = CompletedPart::builder().set_e_tag(part.e_tag).part_number(number);
            done = done.parts(part.build());
        }
        let complete = client.complete_multipart_upload().bucket("logs").key("big");
        complete.upload_id(id).multipart_upload(done.build()).send().await.unwrap();
        let got = client.get_object().bucket("logs").key("big").send().await.unwrap();
        assert!(got.body.collect().await.unwrap().to_vec() == parts.concat());
    });
    assert_eq!(server.created().last().unwrap().size, (5 << 20) + 1000);
}

#[test]
fn conditions_checksums_and_missing_things_are_answered_as_s3_does() {
    let server = server();
    let client = server.client();
    server.put("logs", "folder/object", "as it was");
    let get = || client.get_object().bucket("logs").key("folder/object");
    let etag = block_on(get().send()).unwrap().e_tag.unwrap();
    assert_eq!(status!(block_on(get().if_match("\"other\"").send())), Some(412));
    assert_eq!(status!(block_on(get().if_none_match(&etag).send())), Some(304));
    block_on(get().if_match(&etag).send()).unwrap();
    let put = client.put_object().bucket("logs").key("folder/object").checksum_crc32("AAAAAA==");
    let refused = block_on(put.body(ByteStream::from_static(b"damaged")).send()).unwrap_err();
    assert_eq!(refused.code(), Some("BadDigest"));
    assert_eq!(server.get("logs", "folder/object").unwrap(), b"as it was");
    let missing = block_on(client.get_object().bucket("logs").key("folder").send()).unwrap_err();
    assert_eq!(missing.code(), Some("NoSuchKey"));
    let missing = block_on(client.get_object().bucket("other").key("folder").send()).unwrap_err();
    assert_eq!(missing.code(), Some("NoSuchBucket"));
    assert_eq!(status!(block_on(client.head_bucket().bucket("other").send())), Some(404));
    block_on(client.head_bucket().bucket("logs").send()).unwrap();
}

#[test]
fn a_fault_is_what_the_client_gets() {
    let server = server();
    let client = server.client();
    server.put("logs", "object", "x");
    let get = || client.get_object().bucket("logs").key("object").send();
    server.deny(&["GetObject", "PutObject"]);
    assert_eq!(block_on(get()).unwrap_err().code(), Some("AccessDenied"));
    let put = client.put_object().bucket("logs").key("object").body(vec![0; 3 << 20].into());
    assert_eq!(block_on(put.send()).unwrap_err().code(), Some("AccessDenied"));
    let times = Arc::new(AtomicU32::new(0));
    server.reset_requests();
    server.fault(move |operation, bucket, key| {
        assert_eq!((operation, bucket, key), ("GetObject", "logs", "object"));
        let is_first = times.fetch_add(1, Ordering::SeqCst) == 0;
        if is_first { Err(s3_error!(SlowDown)) } else { Ok(()) }
    });
    block_on(get()).unwrap();
    assert_eq!(server.requests()["GetObject"], 2, "the client tried again");
    server.no_fault();
    block_on(get()).unwrap();
}

#[test]
fn the_program_is_told_where_and_who_it_is_and_nothing_else() {
    let server = server();
    let mut command = Command::new("env");
    command.env("AWS_PROFILE", "mine");
    server.env(&mut command);
    let output = command.output().unwrap().stdout;
    let mut told: Vec<_> = str::from_utf8(&output).unwrap().lines().map(str::to_owned).collect();
    told.retain(|line| line.starts_with("AWS_"));
    let mut expected =
        server.variables().into_iter().map(|(name, value)| format!("{name}={value}"));
    assert!(told.contains(&format!("AWS_ENDPOINT_URL_S3={}", server.endpoint())));
    assert!(expected.all(|line| told.contains(&line)));
    assert!(!told.iter().any(|line| line.starts_with("AWS_PROFILE")));
}

/// A server with an object `logs/object` of 100 kB behind a proxy, and a client of the proxy.
fn behind_a_proxy() -> (S3Server, Proxy, aws_sdk_s3::Client, Vec<u8>) {
    let server = server();
    let content: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
    server.put("logs", "object", content.clone());
    let proxy = Proxy::start(&server.endpoint());
    let client = s3::client(&proxy.endpoint());
    (server, proxy, client, content)
}

/// How many bytes of `logs/object` arrive, and whether that is all, as far as the client knows.
fn fetch(client: &aws_sdk_s3::Client) -> (usize, bool) {
    block_on(async {
        let found = client.get_object().bucket("logs").key("object").send().await.unwrap();
        let (mut body, mut length) = (found.body, 0);
        loop {
            match body.next().await {
                Some(Ok(chunk)) => length += chunk.len(),
                Some(Err(_)) => return (length, false),
                None => return (length, true),
            }
        }
    })
}

#[test]
fn a_proxy_passes_what_it_is_not_to_disturb() {
    let (server, proxy, client, content) = behind_a_proxy();
    assert_eq!(fetch(&client), (content.len(), true));
    // Large enough that the client asks for leave to send the body (100 Continue).
    let body = vec![7; 5 << 20];
    let put = client.put_object().bucket("logs").key("big").body(body.clone().into());
    block_on(put.send()).unwrap();
    assert!(server.get("logs", "big").unwrap() == body);
    let [get, put] = &proxy.requests()[..] else { panic!("two requests") };
    assert!(get.starts_with("GET /logs/object") && put.starts_with("PUT /logs/big"));
    let mut command = Command::new("env");
    server.env(&mut command);
    proxy.env(&mut command);
    let told = command.output().unwrap().stdout;
    let line = format!("AWS_ENDPOINT_URL_S3={}\n", proxy.endpoint());
    assert!(str::from_utf8(&told).unwrap().contains(&line));
}

#[test]
fn a_proxy_cuts_bodies_short() {
    let (_server, proxy, client, content) = behind_a_proxy();
    for fault in [Fault::Reset(50_000), Fault::Truncate(50_000)] {
        proxy.script(move |_, _| fault);
        assert_eq!(fetch(&client), (50_000, false), "{fault:?}");
    }
    proxy.script(|_, _| Fault::Slow(40_000, Duration::from_millis(50)));
    let started = Instant::now();
    assert_eq!(fetch(&client), (content.len(), true));
    assert!(started.elapsed() >= Duration::from_millis(150));
}

#[test]
fn a_proxy_answers_for_the_server_by_number_of_the_request() {
    let (server, proxy, client, content) = behind_a_proxy();
    proxy.script(|number, _| match number {
        1 => Fault::Status(503),
        2 => Fault::Status(500),
        _ => Fault::Pass,
    });
    assert_eq!(fetch(&client), (content.len(), true));
    assert_eq!((proxy.requests().len(), server.requests()["GetObject"]), (3, 1));
    proxy.script(|_, line| if line.starts_with("GET") { Fault::Status(500) } else { Fault::Pass });
    let get = client.get_object().bucket("logs").key("object").send();
    assert_eq!(status!(block_on(get)), Some(500));
    assert_eq!(proxy.requests().len(), 3, "the client gives up after three attempts");
}

#[test]
fn a_lost_answer_leaves_what_was_done_and_a_retry_finds_it() {
    let (server, proxy, client, _) = behind_a_proxy();
    proxy.script(|number, _| if number == 1 { Fault::LoseAnswer } else { Fault::Pass });
    let put = client.put_object().bucket("logs").key("new").if_none_match("*");
    let put = put.body(ByteStream::from_static(b"x")).send();
    assert_eq!(block_on(put).unwrap_err().code(), Some("PreconditionFailed"));
    assert_eq!(server.get("logs", "new").unwrap(), b"x");
    proxy.script(|_, _| Fault::Hang);
    let get = client.get_object().bucket("logs").key("new").send();
    block_on(async { tokio::time::timeout(Duration::from_millis(300), get).await }).unwrap_err();
    assert_eq!(proxy.requests().len(), 1);
}

#[test]
fn a_queue_gives_a_message_again_until_it_is_deleted_or_dead() {
    let Some(queues) = Queues::or_skip("a_queue_gives_a_message_again") else { return };
    let queue = queues.create("work", 1, 2);
    for n in 0..11 {
        queue.send(format!("message {n}"));
    }
    assert_eq!(queue.len(), 11);
    let batch = queue.receive_batch(11);
    assert_eq!((batch.len(), queue.len(), queue.receive_batch(1).len()), (11, 11, 0));
    for message in &batch {
        assert_eq!(message.attributes["ApproximateReceiveCount"], "1");
        if message.body != "message 7" {
            queue.delete(message);
        }
    }
    assert_eq!((queue.len(), queue.dead_letters()), (1, vec![]));
    thread::sleep(Duration::from_millis(1200));
    let again = queue.receive_batch(10);
    assert_eq!((again.len(), again[0].body.as_str()), (1, "message 7"));
    assert_eq!(again[0].attributes["ApproximateReceiveCount"], "2");
    thread::sleep(Duration::from_millis(1200));
    assert!(queue.receive_batch(10).is_empty());
    for _ in 0..2 {
        assert_eq!((queue.len(), queue.dead_letters()), (0, vec!["message 7".to_owned()]));
    }
}

#[test]
fn queues_of_one_name_do_not_mix() {
    let Some(queues) = Queues::or_skip("queues_of_one_name_do_not_mix") else { return };
    let [one, other] = [(), ()].map(|()| queues.create("work", 30, 3));
    one.send("for one");
    assert_eq!((one.len(), other.len()), (1, 0));
    let mut command = Command::new("env");
    one.env(&mut command);
    let told = command.output().unwrap().stdout;
    assert!(str::from_utf8(&told).unwrap().contains("AWS_ENDPOINT_URL_SQS=http://127.0.0.1:"));
    assert!(one.url.ends_with(&one.name) && one.arn().ends_with(&one.name));
}

/// A function that does what its events say.
fn function(variables: &[(&str, &str)], timeout: Duration) -> Lambda {
    let binary = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/bootstrap.py");
    let owned = |(name, value): &(&str, &str)| (String::from(*name), String::from(*value));
    let variables: Vec<_> = variables.iter().map(owned).collect();
    Lambda::start(&binary, &variables, timeout, 256)
}

const PATIENCE: Duration = Duration::from_secs(20);

#[track_caller]
fn response(outcome: Outcome) -> Value {
    let Outcome::Response(response) = outcome else { panic!("{outcome:?}") };
    response
}

#[test]
fn a_function_knows_its_deadline_and_its_surroundings_and_answers_again_and_again() {
    let mut lambda = function(&[("MINE", "yes")], PATIENCE);
    assert!(lambda.time_to_first_poll().unwrap() < Duration::from_secs(10));
    let first = response(lambda.invoke(json!({ "do": "context" })));
    let remaining = first["remaining"].as_f64().unwrap();
    assert!((15.0..20.0).contains(&remaining), "{first}");
    assert_eq!(first["memory"], "256");
    assert!(first["arn"].as_str().unwrap().starts_with("arn:aws:lambda:eu-west-1:"));
    assert!(first["trace"].as_str().unwrap().starts_with("Root="));
    let environment = first["environment"].as_array().unwrap();
    assert!(environment.contains(&"MINE".into()) && !environment.contains(&"CARGO".into()));
    let second = response(lambda.invoke(json!({ "do": "context" })));
    assert_eq!(first["process"], second["process"]);
    let outcome = lambda.invoke(json!({ "do": "raise" }));
    assert!(matches!(&outcome, Outcome::Error(error) if error["errorMessage"] == "told to"));
    lambda.kill();
    let third = response(lambda.invoke(json!({ "do": "context" })));
    assert_ne!(first["process"], third["process"]);
    assert_eq!(lambda.logs(), "starting\n".repeat(2));
}

#[test]
fn a_function_is_killed_at_its_deadline_and_starts_anew() {
    let mut lambda = function(&[], Duration::from_millis(700));
    let before = response(lambda.invoke(json!({ "do": "context" })));
    let started = Instant::now();
    assert!(matches!(lambda.invoke(json!({ "do": "sleep" })), Outcome::TimedOut));
    assert!((700..3000).contains(&started.elapsed().as_millis()));
    let process = Path::new("/proc").join(before["process"].to_string());
    assert!(!process.exists());
    let after = response(lambda.invoke(json!({ "do": "context" })));
    assert_ne!(before["process"], after["process"]);
    let outcome = lambda.invoke(json!({ "do": "exit" }));
    assert!(matches!(outcome, Outcome::Exited(status) if status.code() == Some(3)));
    assert_eq!(response(lambda.invoke(json!({ "do": "work" }))), true);
}

#[test]
fn a_function_that_cannot_start_says_why() {
    let mut lambda = function(&[("INIT", "error")], PATIENCE);
    assert_eq!(lambda.time_to_first_poll(), None);
    assert_eq!(lambda.init_error().unwrap()["errorMessage"], "told to");
    let outcome = lambda.invoke(json!({}));
    assert!(matches!(outcome, Outcome::Exited(status) if status.code() == Some(1)));
    assert_eq!(lambda.init_error().unwrap()["errorType"], "Init");
}

#[test]
fn messages_go_to_a_function_and_stay_if_they_fail() {
    let Some(queues) = Queues::or_skip("messages_go_to_a_function") else { return };
    let queue = queues.create("events", 2, 2);
    let mut lambda = function(&[("ECHO", "yes")], PATIENCE);
    assert!(lambda.drive(&queue, 10).is_none());
    let ids = ["work", "fail", "work"].map(|word| queue.send(word));
    let delivery = lambda.drive(&queue, 10).unwrap();
    assert_eq!((delivery.messages.len(), &delivery.failed[..]), (3, &ids[1..2]));
    assert_eq!(queue.len(), 1);
    let logs = lambda.logs();
    let record: Value = serde_json::from_str(logs.lines().last().unwrap()).unwrap();
    assert_eq!((&record["eventSource"], &record["body"]), (&"aws:sqs".into(), &"work".into()));
    for name in ["ApproximateReceiveCount", "SentTimestamp", "ApproximateFirstReceiveTimestamp"] {
        assert!(record["attributes"][name].as_str().unwrap().parse::<u64>().is_ok(), "{record}");
    }
    assert!(record["attributes"]["SenderId"].is_string(), "{record}");
    thread::sleep(Duration::from_millis(2200));
    assert_eq!(lambda.drive(&queue, 10).unwrap().failed, [ids[1].clone()]);
    thread::sleep(Duration::from_millis(2200));
    assert!(lambda.drive(&queue, 10).is_none());
    assert_eq!(queue.dead_letters(), ["fail"]);
}

#[test]
fn a_batch_stays_as_a_whole_if_the_function_fails_as_a_whole() {
    let Some(queues) = Queues::or_skip("a_batch_stays_as_a_whole") else { return };
    for word in ["raise", "exit", "sleep", "stranger"] {
        let queue = queues.create("whole", 30, 3);
        let mut lambda = function(&[], Duration::from_secs(2));
        queue.send("work");
        queue.send(word);
        let delivery = lambda.drive(&queue, 10).unwrap();
        assert_eq!((delivery.failed.len(), queue.len()), (2, 2), "{delivery:?}");
        assert_eq!(matches!(delivery.outcome, Outcome::Response(_)), word == "stranger");
    }
}
