//! `trailhound setup opensearch`, `templates` and `expire`, on real nodes.
//!
//! These tests change templates, which a node has once: each starts a node of its own.

use std::{fs, path::Path, process::Command};

use parsers::{
    index::Period,
    ocsf::{self, CLASSES},
};
use serde_json::{Value, json};
use trailhound::cluster::ClusterArgs;

use crate::support::{
    Bench, Run,
    cloud::{
        block_on,
        opensearch::{ADMIN, Node, Version},
    },
    event as event_of, load_command, records, trail_key, trailhound,
};

/// What a run of the program said: its exit status, its JSON, and what it told people.
struct Said {
    code: i32,
    json: Value,
    problems: String,
}

impl Said {
    fn by(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        Self {
            code: output.status.code().unwrap(),
            json: serde_json::from_slice(&output.stdout).unwrap_or_default(),
            problems: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// How many steps were done so.
    fn steps(&self, done: &str) -> usize {
        let steps = self.json["steps"].as_array().unwrap_or_else(|| panic!("{}", self.problems));
        steps.iter().filter(|step| step["done"] == done).count()
    }

    fn step(&self, name: &str) -> &Value {
        let steps = self.json["steps"].as_array().unwrap();
        steps.iter().find(|step| step["name"] == name).unwrap()
    }
}

fn command(node: &Node, arguments: &[&str]) -> Command {
    let mut command = trailhound();
    command.args(arguments).arg("--json").env("TRAILHOUND_OPENSEARCH", node.url());
    command
}

fn setup(node: &Node, extra: &[&str]) -> Said {
    Said::by(command(node, &["setup", "opensearch"]).args(extra))
}

fn nobody() -> ClusterArgs {
    ClusterArgs {
        opensearch: None,
        opensearch_auth: None,
        opensearch_user: None,
        opensearch_password_file: None,
        opensearch_ca: None,
        opensearch_region: None,
    }
}

fn is_installed(args: &ClusterArgs) -> bool {
    block_on(async {
        let cluster = args.cluster().await.unwrap().unwrap();
        trailhound::setup::installed(&cluster).await.unwrap()
    })
}

fn flows() -> &'static ocsf::Class {
    ocsf::class("network_activity").unwrap()
}

fn password_file(secret: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), secret).unwrap();
    file
}

const NOON: i64 = 1_714_564_800_000;

/// Creates a document; returns its status.
fn create(node: &Node, index: &str, id: &str, document: &Value) -> u64 {
    let action = json!({ "create": { "_index": index, "_id": id } });
    let (_, reply) = node.bulk("/_bulk", &[action, document.clone()]);
    reply["items"][0]["create"]["status"].as_u64().unwrap()
}

fn hits(node: &Node, target: &str, query: &Value) -> u64 {
    let reply = node.search(target, json!({ "query": query }));
    reply["hits"]["total"]["value"].as_u64().unwrap()
}

fn is_ready_and_stays_so(test: &str, version: Version) {
    let Some(node) = Node::start(test, version, &[]) else { return };
    // Shared settings, and the summaries of batches.
    let templates = CLASSES.len() + 2;
    assert!(!is_installed(&ClusterArgs { opensearch: Some(node.url()), ..nobody() }));

    let missing = setup(&node, &["--check"]);
    assert_eq!((missing.code, missing.steps("told")), (2, templates), "{}", missing.problems);
    let planned = setup(&node, &["--dry-run"]);
    assert_eq!((planned.code, planned.steps("planned")), (0, templates));
    assert_eq!(node.call("GET", "/_component_template/ocsf-settings", None).0, 404);

    let first = setup(&node, &[]);
    assert_eq!((first.code, first.steps("written")), (0, templates), "{}", first.problems);
    for again in [setup(&node, &[]), setup(&node, &["--check"]), setup(&node, &["--force"])] {
        assert_eq!((again.code, again.steps("nothing")), (0, templates + 1), "{}", again.json);
    }
    assert!(is_installed(&ClusterArgs { opensearch: Some(node.url()), ..nobody() }));
    mappings_do_what_they_are_for(&node);
}

/// Every field of every class is taken as it may come, and found.
fn mappings_do_what_they_are_for(node: &Node) {
    for class in CLASSES {
        // An index of every class can be made: settings, sorting and the number of fields are right.
        let index = class.index(Period::of(class), NOON);
        assert_eq!(create(node, &index, "1", &json!({ "time": NOON })), 201, "{}", class.name);
        assert_eq!(node.count(&class.alias()), 1);
    }
    assert_eq!(node.count("ocsf-all"), CLASSES.len() as u64);

    let calls = ocsf::class("api_activity").unwrap();
    let index = calls.index(Period::Month, NOON);
    let long = "x".repeat(100_000);
    let document = json!({
        "time": NOON,
        "time_dt": "2024-05-01T12:00:00.000Z",
        "src_endpoint": { "ip": "AWS Internal", "intermediate_ips": ["10.1.2.3", "AWS Internal"] },
        "api": {
            "response": { "message": "access is denied", "error": "y".repeat(40_000) },
            "request": { "data": { "bucketName": "logs", "a": { "b": "c" } }, "data_full": long },
        },
        "unmapped": { "readOnly": "true" },
        "unmapped_full": long,
        "nobody": { "expected": "this" },
        "actor": { "user": { "surprise": 1 } },
        "ingested_time": "2024-05-01T12:05:00Z",
        "pivot": { "bucket": "logs", "bytes_out": 9_007_199_254_740_993_u64, "read_only": true },
    });
    assert_eq!(create(node, &index, "2", &document), 201);
    let alias = calls.alias();
    for (query, count) in [
        (json!({ "term": { "src_endpoint.ip.keyword": "AWS Internal" } }), 1),
        (json!({ "term": { "src_endpoint.intermediate_ips": "10.0.0.0/8" } }), 1),
        (json!({ "term": { "src_endpoint.intermediate_ips.keyword": "AWS Internal" } }), 1),
        (json!({ "term": { "api.request.data.a.b": "c" } }), 1),
        (json!({ "prefix": { "unmapped.readOnly": "tr" } }), 1),
        (json!({ "match": { "api.response.message": "denied" } }), 1),
        (json!({ "term": { "api.response.message.keyword": "access is denied" } }), 1),
        (json!({ "term": { "pivot.bytes_out": 9_007_199_254_740_993_u64 } }), 1),
        (json!({ "term": { "pivot.bytes_out": 9_007_199_254_740_992_u64 } }), 0),
        (json!({ "range": { "ingested_time": { "gte": "2024-05-01T12:05:00Z" } } }), 1),
        (json!({ "range": { "time": { "gte": NOON, "lte": "2024-05-01" } } }), 2),
        (json!({ "query_string": { "query": "logs" } }), 1),
        (json!({ "exists": { "field": "nobody.expected" } }), 0),
    ] {
        assert_eq!(hits(node, &alias, &query), count, "{query}");
    }
    let mapping = node.get("GET", &format!("/{index}/_mapping"), None).to_string();
    assert!(!mapping.contains("nobody") && !mapping.contains("surprise"));
    let source = node.get("GET", &format!("/{index}/_doc/2"), None);
    assert_eq!(source["_source"], document);

    let findings = ocsf::class("detection_finding").unwrap();
    let place = |coordinates: Value| {
        let evidence = json!({ "src_endpoint": { "location": { "coordinates": coordinates } } });
        json!({ "time": NOON, "evidences": [evidence, { "data": { "action": { "a": "b" } } }] })
    };
    let index = findings.index(Period::Month, NOON);
    assert_eq!(create(node, &index, "2", &place(json!([4.9, 52.4]))), 201);
    assert_eq!(create(node, &index, "3", &place(json!([999, 999]))), 201);
    let near = json!({ "geo_distance": {
        "distance": "10km",
        "evidences.src_endpoint.location.coordinates": { "lat": 52.4, "lon": 4.9 },
    } });
    assert_eq!(hits(node, "ocsf-all", &near), 1);
    let inside = json!({ "term": { "evidences.data.action.a": "b" } });
    assert_eq!(hits(node, "ocsf-all", &inside), 2);
}

#[test]
fn a_node_of_3_8_is_ready_and_stays_so() {
    is_ready_and_stays_so("a_node_of_3_8_is_ready_and_stays_so", Version::V3_8);
}

#[test]
fn a_node_of_2_19_is_ready_and_stays_so() {
    is_ready_and_stays_so("a_node_of_2_19_is_ready_and_stays_so", Version::V2_19);
}

#[test]
fn what_somebody_changed_is_left_alone_or_saved() {
    let test = "what_somebody_changed_is_left_alone_or_saved";
    let Some(node) = Node::start(test, Version::V3_8, &[]) else { return };
    let before = flows().index(Period::Day, NOON);
    assert_eq!(create(&node, &before, "1", &json!({ "time": NOON })), 201);
    setup(&node, &["--shards", "network_activity=3", "--replicas", "0"]);
    // The index was there before the templates.
    assert_eq!((node.count("ocsf-4001"), node.count("ocsf-all")), (1, 1));
    // It has guessed what its fields are, which no template puts right.
    let checked = setup(&node, &["--check"]);
    assert_eq!(checked.code, 2);
    assert!(checked.problems.contains(&before), "{}", checked.problems);
    assert!(checked.problems.contains("dynamic: nothing, ours false"), "{}", checked.problems);
    node.get("DELETE", &format!("/{before}"), None);
    assert_eq!(setup(&node, &["--check"]).code, 0);

    // Shards and replicas that somebody chose stay, also when nothing is said.
    let again = setup(&node, &[]);
    assert_eq!((again.code, again.steps("written")), (0, 0), "{}", again.json);
    let next = flows().index(Period::Day, NOON + 86_400_000);
    create(&node, &next, "1", &json!({ "time": NOON }));
    let settings = node.get("GET", &format!("/{next}/_settings"), None);
    let settings = &settings[&next]["settings"]["index"];
    assert_eq!(
        [&settings["number_of_shards"], &settings["number_of_replicas"], &settings["codec"]],
        ["3", "0", "best_compression"]
    );

    // Security Analytics watches: that is no difference, and stays.
    let path = format!("/_index_template/ocsf-1.1.0-4001-{}", flows().name);
    let added = ".opensearch-sap-alias-mappings-component-ocsf";
    let component = json!({ "template": { "mappings": {} } });
    node.get("PUT", &format!("/_component_template/{added}"), Some(component));
    let template = || node.get("GET", &path, None)["index_templates"][0]["index_template"].clone();
    let mut changed = template();
    changed["composed_of"].as_array_mut().unwrap().push(added.into());
    node.get("PUT", &path, Some(changed.clone()));
    assert_eq!(setup(&node, &["--check"]).code, 0);
    assert_eq!(setup(&node, &["--shards", "network_activity=2"]).steps("written"), 1);
    assert_eq!(template()["composed_of"], json!(["ocsf-settings", added]));

    // Somebody maps a field in another way.
    changed["template"]["mappings"]["properties"]["status_code"] = json!({ "type": "text" });
    node.get("PUT", &path, Some(changed));
    let refused = setup(&node, &[]);
    assert_eq!((refused.code, refused.steps("refused")), (2, 1));
    let step = refused.step("ocsf-1.1.0-4001-network_activity");
    let told = step["differences"].to_string();
    assert!(told.contains("properties.status_code.type: text, ours keyword"), "{told}");
    assert_eq!(setup(&node, &["--check"]).code, 2);
    assert_eq!(setup(&node, &["--dry-run"]).code, 2);
    assert_eq!(template()["template"]["mappings"]["properties"]["status_code"]["type"], "text");

    let folder = tempfile::tempdir().unwrap();
    let folder_path = folder.path().to_str().unwrap();
    let forced = setup(&node, &["--force", "--backup", folder_path]);
    assert_eq!((forced.code, forced.steps("written")), (0, 1), "{}", forced.problems);
    assert_eq!(template()["template"]["mappings"]["properties"]["status_code"]["type"], "keyword");
    assert_eq!(template()["composed_of"], json!(["ocsf-settings", added]));
    let backup = forced.step("ocsf-1.1.0-4001-network_activity")["backup"].as_str().unwrap();
    let saved: Value = serde_json::from_slice(&fs::read(backup).unwrap()).unwrap();
    assert_eq!(saved["template"]["mappings"]["properties"]["status_code"]["type"], "text");
    // What was saved can be put back as it is.
    node.get("PUT", &path, Some(saved));
}

#[test]
fn without_plugins_there_is_one_warning_for_each_and_a_working_set_up() {
    let test = "without_plugins_there_is_one_warning_for_each_and_a_working_set_up";
    let Some(node) = Node::start(test, Version::V3_8, &[]) else { return };
    let said = setup(&node, &["--lifecycle", "--grant", "writer=loader"]);
    assert_eq!((said.code, said.steps("written")), (0, CLASSES.len() + 2));
    let warnings: Vec<&str> = said.problems.lines().collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("no Index State Management"), "{warnings:?}");
    assert!(warnings[1].contains("no security plugin"), "{warnings:?}");
}

#[test]
fn roles_let_each_do_what_is_theirs_and_no_more() {
    let test = "roles_let_each_do_what_is_theirs_and_no_more";
    let Some(node) = Node::start(test, Version::V3_4Security, &[]) else { return };
    let secret = "Xk9-bluewater-7q!Z";
    for user in ["loader", "analyst", "owner"] {
        let path = format!("/_plugins/_security/api/internalusers/{user}");
        node.get("PUT", &path, Some(json!({ "password": secret })));
    }
    let run_as = |who: (&str, &str), extra: &[&str]| {
        let mut command = command(&node, &["setup", "opensearch", "--replicas", "0"]);
        command.args(extra).env("TRAILHOUND_OPENSEARCH_CA", node.ca());
        command.env("TRAILHOUND_OPENSEARCH_USER", who.0);
        Said::by(command.env("TRAILHOUND_OPENSEARCH_PASSWORD", who.1))
    };
    let grants = "writer=loader,reader=analyst,111122223333=owner";
    let done = run_as(ADMIN, &["--grant", grants, "--account-role", "444455556666"]);
    assert_eq!(done.code, 0, "{}", done.problems);
    let again = run_as(ADMIN, &["--grant", grants, "--account-role", "444455556666"]);
    assert_eq!((again.code, again.steps("written")), (0, 0), "{}", again.json);

    // The loader may look at the templates; who may not is not told that there are none.
    let password = password_file(secret);
    for user in ["loader", "analyst"] {
        assert!(is_installed(&ClusterArgs {
            opensearch: Some(node.url()),
            opensearch_user: Some(user.into()),
            opensearch_password_file: Some(password.path().into()),
            opensearch_ca: Some(node.ca()),
            ..nobody()
        }));
    }

    // Nobody but an administrator sets up, and is told so.
    let denied = run_as(("loader", secret), &[]);
    assert_eq!(denied.code, 1);
    assert!(denied.problems.contains("does not let us"), "{}", denied.problems);
    assert!(!denied.problems.contains(secret));

    let index = flows().index(Period::Day, NOON);
    let event = |account: &str| json!({ "time": NOON, "cloud": { "account": { "uid": account } } });
    let write = |user: &str, path: &str, document: Value| {
        node.call_as(Some((user, secret)), "PUT", path, Some(document)).0
    };
    let path = |id: u32| format!("/{index}/_create/{id}");
    assert_eq!(write("loader", &path(1), event("111122223333")), 201);
    assert_eq!(write("loader", &path(2), event("444455556666")), 201);
    assert_eq!(write("loader", &path(2), event("444455556666")), 409);
    assert_eq!(write("loader", "/trailhound-ledger/_create/1", json!({ "new": "field" })), 201);
    assert_eq!(write("loader", "/other/_create/1", json!({})), 403);
    assert_eq!(write("analyst", &path(3), event("111122223333")), 403);
    node.refresh("ocsf-all");

    let ask = |user: &str, method: &str, path: &str| {
        let (status, reply) = node.call_as(Some((user, secret)), method, path, None);
        (status, reply["hits"]["total"]["value"].as_u64())
    };
    assert_eq!(ask("loader", "GET", "/ocsf-all/_search").0, 403);
    assert_eq!(ask("loader", "DELETE", &format!("/{index}")).0, 403);
    assert_eq!(ask("loader", "GET", "/_index_template/ocsf-1.1.0-*").0, 200);
    assert_eq!(ask("analyst", "GET", "/ocsf-all/_search"), (200, Some(2)));
    assert_eq!(ask("analyst", "GET", "/ocsf-*/_field_caps?fields=time").0, 200);
    assert_eq!(ask("analyst", "DELETE", &format!("/{index}")).0, 403);
    assert_eq!(ask("owner", "GET", "/ocsf-all/_search"), (200, Some(1)));
    assert_eq!(ask("owner", "GET", "/trailhound-ledger/_search").0, 403);

    // The program itself, as each of them.
    let bench = Bench::new();
    bench.put(&trail_key("a"), records(&[event_of(1), event_of(2)]));
    let load = |user: &str, lake: &str| {
        let mut command = load_command(&bench.archive(), &bench.path(lake), &[]);
        command.args(["--opensearch", &node.url(), "--opensearch-user", user]);
        command.arg("--opensearch-ca").arg(node.ca());
        command.arg("--opensearch-password-file").arg(password.path());
        Run::of(&command.output().unwrap())
    };
    let run = load("loader", "one");
    assert_eq!((run.code, run.index("indexed")), (0, 2), "{run:?}");
    assert_eq!(ask("analyst", "GET", "/ocsf-all/_search"), (200, Some(4)), "visible at once");
    let summaries = "/trailhound-ledger-*/_search";
    node.refresh("trailhound-ledger-*");
    assert_eq!(ask("analyst", "GET", summaries), (200, Some(1)), "{run:?}");
    let run = load("analyst", "two");
    assert_eq!((run.code, run.index("pending"), run.records("parquet")), (2, 2, 2), "{run:?}");
    assert!(run.stderr.contains("does not let us index"), "{run:?}");
}

#[test]
fn only_indexes_whose_last_event_is_old_expire() {
    let test = "only_indexes_whose_last_event_is_old_expire";
    let Some(node) = Node::start(test, Version::V3_8, &[]) else { return };
    setup(&node, &["--replicas", "0"]);
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let calls = ocsf::class("api_activity").unwrap();
    let days_ago = |days: i64| now - days * 86_400_000;
    let old =
        [flows().index(Period::Day, days_ago(100)), calls.index(Period::Month, days_ago(150))];
    let kept = [
        // Ended 89 days ago.
        flows().index(Period::Day, days_ago(90)),
        flows().index(Period::Day, now),
        calls.index(Period::Month, days_ago(60)),
        // Not ours.
        format!("{}-copy", old[0]),
        "ocsf-1.5.0-4001-network_activity-2020.01.01".to_owned(),
        "ocsf-1.1.0-4001-network_activity-2020.1.1".to_owned(),
        "other-2020.01.01".to_owned(),
    ];
    for index in old.iter().chain(&kept) {
        assert_eq!(create(&node, index, "1", &json!({ "time": now })), 201);
        node.refresh(index);
    }
    let expire =
        |extra: &[&str]| Said::by(command(&node, &["expire", "--older-than", "90d"]).args(extra));
    let exists = |index: &String| node.call("HEAD", &format!("/{index}"), None).0 == 200;
    let names = |said: &Said| {
        let expired = said.json["expired"].as_array().unwrap().iter();
        expired.map(|one| one["index"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };

    let planned = expire(&[]);
    assert_eq!(planned.code, 0, "{}", planned.problems);
    assert_eq!(names(&planned), [old[1].clone(), old[0].clone()]);
    assert_eq!(planned.json["expired"][0]["documents"], 1);
    assert_eq!(planned.json["before"].as_str().unwrap().len(), "2024-05-01".len());
    assert_eq!(planned.json["foreign"].as_array().unwrap().len(), 3);
    assert!(old.iter().chain(&kept).all(exists));

    let of_flows = expire(&["--yes", "--class", "network_activity"]);
    assert_eq!((of_flows.code, names(&of_flows)), (0, vec![old[0].clone()]));
    assert!(!exists(&old[0]) && exists(&old[1]));
    assert_eq!(expire(&["--yes"]).code, 0);
    assert!(!exists(&old[1]) && kept.iter().all(exists));
    assert!(names(&expire(&["--yes"])).is_empty());
}

#[test]
fn templates_are_committed_as_the_tables_say() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("index-templates");
    let write = |folder: &Path| {
        let output = trailhound().args(["templates", "--out"]).arg(folder).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    if std::env::var_os("UPDATE").is_some() {
        let _ = fs::remove_dir_all(&committed);
        return write(&committed);
    }
    let fresh = tempfile::tempdir().unwrap();
    write(fresh.path());
    let files = |root: &Path| {
        let files = walkdir::WalkDir::new(root).into_iter().map(Result::unwrap);
        let files = files.filter(|entry| entry.file_type().is_file());
        let files = files.map(|entry| {
            let name = entry.path().strip_prefix(root).unwrap().to_owned();
            (name, fs::read_to_string(entry.path()).unwrap())
        });
        files.collect::<std::collections::BTreeMap<_, _>>()
    };
    let (committed, fresh) = (files(&committed), files(fresh.path()));
    let differs: Vec<_> =
        fresh.iter().filter(|(name, text)| committed.get(*name) != Some(text)).collect();
    assert!(
        differs.is_empty() && committed.len() == fresh.len(),
        "index-templates/ differs from the tables; if that is right: \
         UPDATE=1 cargo test --test main templates_are_committed\n{differs:#?}"
    );
}
