//! The page of an investigation: by itself, and in a headless Chromium.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::support::{
    Bench, Run, event, load_command, not_run, records, sample_archive, trail_key, trailhound,
};

/// The attack sequence of the sample archive's incident.
const FINDING: &str = "848228c72339d770fe53d1f9c8b3a6a7";
const AGENT: &str = "<script>document.title='owned'</script><img src=x onerror=\"owned=1\">";
const USER: &str = "o'brien\" onmouseover=\"owned=1\" </td>&lt;<svg/onload=owned=1>\u{202e}";
/// What the tests do in the page: the results are the text of an element.
const DRIVER: &str = include_str!("../support/page_driver.js");

fn page(bench: &Bench, subject: &str, name: &str) -> (PathBuf, String) {
    let path = bench.path(name);
    let mut command = trailhound();
    command.args(["investigate", subject, "--lake"]).arg(bench.path("lake")).arg("-o").arg(&path);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(&path).unwrap();
    (path, text)
}

fn sample() -> Bench {
    let bench = Bench::new();
    let accounts = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/accounts.csv");
    let mut command =
        load_command(&sample_archive(), &bench.path("lake"), &["--accounts", accounts]);
    assert_eq!(Run::of(&command.output().unwrap()).code, 0);
    bench
}

/// Events of one key whose owner chose names and agents to harm who reads of them.
fn hostile() -> Bench {
    let hostile = |n: u64| {
        let mut event = event(n * 6);
        event["userIdentity"] = json!({
            "type": "IAMUser",
            "principalId": "AIDAEXAMPLE",
            "arn": format!("arn:aws:iam::111122223333:user/{USER}"),
            "accountId": "111122223333",
            "accessKeyId": "AKIAHOSTILEEXAMPLE01",
            "userName": USER,
        });
        event["userAgent"] = AGENT.into();
        event["errorCode"] = "</span><script>owned=1</script>".into();
        event["requestParameters"] = json!({ "bucketName": AGENT, "key": "</pre><b>" });
        event["sourceIPAddress"] = "203.0.113.66".into();
        event
    };
    let events: Vec<Value> = (1..=5).map(hostile).collect();
    let bench = Bench::with([(trail_key("hostile").as_str(), records(&events))]);
    assert_eq!(bench.load(&[]).code, 0);
    bench
}

/// Markup that only the program writes: one script, nothing that loads or runs anything else.
fn assert_closed(page: &str) {
    assert_eq!(page.matches("<script").count(), 1, "its own");
    assert_eq!(page.matches("<style").count(), 1);
    let lower = page.to_lowercase();
    for tag in ["<img", "<link", "<iframe", "<object", "<embed", "<form", "<base", "<svg/"] {
        assert!(!lower.contains(tag), "{tag}");
    }
    for load in ["src=\"", "@import", "href=\"http", "url(http", "href=\"javascript", "url(\""] {
        assert!(!lower.contains(load), "{load}");
    }
    assert!(lower.contains("default-src 'none'".replace('\'', "&#39;").as_str()));
    assert!(!page.contains('\u{202e}'));
}

#[test]
fn a_page_is_closed_and_the_same_each_time() {
    let bench = sample();
    let (_, page_1) = page(&bench, FINDING, "1.html");
    let (_, page_2) = page(&bench, FINDING, "2.html");
    assert!(page_1 == page_2, "same input, same bytes");
    assert_closed(&page_1);
    // The order of the answer, and every call with its event.
    let order = ["findings", "summary", "standing", "radius", "stages", "graph", "timeline"];
    let at: Vec<usize> =
        order.iter().map(|id| page_1.find(&format!("<section id=\"{id}\"")).expect(id)).collect();
    assert!(at.is_sorted(), "{at:?}");
    assert_eq!(page_1.matches("<h4>OCSF event</h4>").count(), 126 + 8);
    assert_eq!(page_1.matches("<a class=\"mark ").count(), 126);
}

#[test]
fn text_of_logs_stays_text() {
    let bench = hostile();
    let (_, text) = page(&bench, "AKIAHOSTILEEXAMPLE01", "page.html");
    assert_closed(&text);
    assert!(text.contains("&lt;script&gt;document.title=&#39;owned&#39;&lt;/script&gt;"));
    assert!(text.contains("o&#39;brien&quot; onmouseover=&quot;owned=1&quot;"));
}

#[test]
fn the_page_of_the_incident_works_in_a_browser() {
    let test = "the_page_of_the_incident_works_in_a_browser";
    let Some(browser) = browser(test) else { return };
    let bench = sample();
    let (path, text) = page(&bench, FINDING, "page.html");
    // As it is, under its own policy.
    let (dom, console) = open(&browser, &path);
    assert_eq!(console, Vec::<String>::new());
    assert!(dom.contains("class=\"on\""), "its script has run");
    // A copy, in which somebody clicks.
    let result = drive(&browser, &bench, &text);
    assert_eq!(
        result,
        json!({
            "rows": 126, "all": "126",
            "filtered": 44, "told": "44 of 126", "filtered_by_document": 1, "cleared": 126,
            "doc_before": "none", "doc_after": "table-row", "doc_says": "CreateAccessKey",
            "closed": "none", "opened_by_link": "table-row", "open_all": 126,
            "sorted": true, "sorted_down": true,
            "zoomed": true, "zoom_filters": true, "zoom_all": "126",
            "injected": 0, "title": "finding 848228c72339d770fe53d1f9c8b3a6a7 - Trailhound",
        })
    );
}

#[test]
fn text_of_logs_stays_text_in_a_browser() {
    let test = "text_of_logs_stays_text_in_a_browser";
    let Some(browser) = browser(test) else { return };
    let bench = hostile();
    let (path, text) = page(&bench, "AKIAHOSTILEEXAMPLE01", "page.html");
    let (dom, console) = open(&browser, &path);
    assert_eq!(console, Vec::<String>::new());
    assert!(dom.contains("<title>access key AKIAHOSTILEEXAMPLE01 - Trailhound</title>"));
    // Without its policy, so that only the escapes hold.
    let result = drive(&browser, &bench, &text);
    assert_eq!(result["injected"], 0);
    assert_eq!(result["title"], "access key AKIAHOSTILEEXAMPLE01 - Trailhound");
    assert_eq!(result["rows"], 5);
    // The console is listened to: what would run is seen.
    let broken = text.replacen("</main>", "<script>owned()</script></main>", 1);
    let path = bench.path("broken.html");
    fs::write(&path, broken).unwrap();
    let (_, console) = open(&browser, &path);
    assert!(console.iter().any(|line| line.contains("Content Security Policy")), "{console:?}");
}

/// Opens a copy of a page with the driver in it, and reads what that found.
fn drive(browser: &Path, bench: &Bench, page: &str) -> Value {
    let policy = page.find("<meta http-equiv").unwrap();
    let end = policy + page[policy..].find("\">").unwrap() + 2;
    let (head, rest) = (&page[..policy], &page[end..]);
    let copy =
        format!("{head}{}", rest.replace("</body>", &format!("<script>{DRIVER}</script></body>")));
    let path = bench.path("driven.html");
    fs::write(&path, copy).unwrap();
    let (dom, console) = open(browser, &path);
    assert_eq!(console, Vec::<String>::new());
    let begin = dom.find("<pre id=\"result\">").expect("the driver has run") + 17;
    let text = &dom[begin..begin + dom[begin..].find("</pre>").unwrap()];
    serde_json::from_str(text).expect(text)
}

/// The DOM after the scripts have run, and what the console says.
fn open(browser: &Path, page: &Path) -> (String, Vec<String>) {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--disable-dev-shm-usage", "--enable-logging=stderr", "--v=0"])
        .args(["--window-size=1280,900", "--virtual-time-budget=3000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let stderr = String::from_utf8_lossy(&output.stderr);
    let console = stderr.lines().filter(|line| line.contains(":CONSOLE")).map(str::to_owned);
    (String::from_utf8_lossy(&output.stdout).into_owned(), console.collect())
}

/// Chromium, if there is one.
fn browser(test: &str) -> Option<PathBuf> {
    let named = std::env::var_os("TRAILHOUND_TEST_CHROMIUM").map(PathBuf::from);
    let names = ["chromium", "chromium-browser", "google-chrome"].map(PathBuf::from);
    let found = named.into_iter().chain(names).find(|name| {
        let output = Command::new(name).arg("--version").output();
        output.is_ok_and(|output| output.status.success())
    });
    if found.is_none() {
        not_run(test, "there is no chromium: apt install chromium, or TRAILHOUND_TEST_CHROMIUM");
    }
    found
}
