//! Real OpenSearch nodes, from Maven Central: fetched once into the target folder, and ended with
//! the test process, however that ends.
//!
//! Tests share a node and keep apart by the names of their indices ([`unique`]). Only what needs
//! other settings, or a node that dies, starts one of its own.

use std::{
    io::Write,
    iter,
    path::PathBuf,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::is_skipped;

mod client;
mod install;
mod process;
mod tls;

pub use client::Client;
use install::Installed;
use process::Process;
pub use tls::AnotherName;
use tls::Authority;

/// The user that may do everything on a node with the security plugin, and its password.
pub const ADMIN: (&str, &str) = ("admin", "admin");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The newest.
    V3_8,
    /// The newest 2.x that Maven Central has.
    V2_19,
    /// The newest that Maven Central has the security plugin for: TLS, users and roles.
    V3_4Security,
}

impl Version {
    /// As the node says it.
    pub fn number(self) -> &'static str {
        match self {
            Self::V3_8 => "3.8.0",
            Self::V2_19 => "2.19.4",
            Self::V3_4Security => "3.4.0",
        }
    }

    /// The oldest Java that runs it.
    fn java(self) -> u32 {
        match self {
            Self::V2_19 => 17,
            Self::V3_8 | Self::V3_4Security => 21,
        }
    }
}

pub struct Node {
    client: Client,
    /// Nothing if the node is the user's own.
    own: Option<Own>,
}

/// A name for an index, an alias or a template that no other test has, nor an earlier run.
pub fn unique(base: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    format!("{base}-{now}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// What a node that was started here lives on.
struct Own {
    installed: &'static Installed,
    settings: Vec<(String, String)>,
    authority: Option<Authority>,
    process: Process,
    /// Goes after the process.
    home: TempDir,
}

impl Node {
    /// The plain node that the tests of this process share: the newest version, or the user's own
    /// by `TRAILHOUND_TEST_OPENSEARCH`.
    ///
    /// Panics, with what is missing and how to get it, if there can be none. `None`, after saying
    /// so, if `TRAILHOUND_SKIP` says `opensearch`.
    pub fn shared(test: &str) -> Option<&'static Self> {
        static SHARED: OnceLock<Result<Node, String>> = OnceLock::new();
        if is_skipped(test, "opensearch") {
            return None;
        }
        let start = || match std::env::var("TRAILHOUND_TEST_OPENSEARCH") {
            Ok(url) => Self::of_user(&url),
            Err(_) => Self::try_start(Version::V3_8, &[]),
        };
        Some(SHARED.get_or_init(start).as_ref().unwrap_or_else(|why| panic!("{why}")))
    }

    /// The node with TLS, users and roles that the tests of this process share.
    pub fn shared_secure(test: &str) -> Option<&'static Self> {
        static SHARED: OnceLock<Result<Node, String>> = OnceLock::new();
        if is_skipped(test, "opensearch") {
            return None;
        }
        let start = || Self::try_start(Version::V3_4Security, &[]);
        Some(SHARED.get_or_init(start).as_ref().unwrap_or_else(|why| panic!("{why}")))
    }

    /// A node of the test's own, with further settings.
    pub fn start(test: &str, version: Version, settings: &[(&str, &str)]) -> Option<Self> {
        if is_skipped(test, "opensearch") {
            return None;
        }
        Some(Self::try_start(version, settings).unwrap_or_else(|why| panic!("{why}")))
    }

    fn of_user(url: &str) -> Result<Self, String> {
        let expected = "TRAILHOUND_TEST_OPENSEARCH must be as http://127.0.0.1:9200";
        let address = url.trim_end_matches('/').strip_prefix("http://").ok_or(expected)?;
        let node = Self { client: Client::plain(address), own: None };
        let (status, reply) = node.client.call("GET", "/", None)?;
        if status != 200 {
            return Err(format!("{url} answers with status {status}: {reply}"));
        }
        Ok(node)
    }

    fn try_start(version: Version, settings: &[(&str, &str)]) -> Result<Self, String> {
        // Several at once would take several times as long, on a small machine until none is in time.
        static STARTING: Mutex<()> = Mutex::new(());
        let installed = Installed::get(version)?;
        let _one_at_a_time = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        let home = tempfile::Builder::new().prefix("trailhound-opensearch-").tempdir().unwrap();
        let authority = installed.furnish(home.path());
        let settings: Vec<_> =
            settings.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let process = installed.start(home.path(), &settings)?;
        let client = match &authority {
            Some(authority) => {
                Client::secure(process.address.port(), authority.trust(), "localhost")
            }
            None => Client::plain(&process.address.to_string()),
        };
        let own = Own { installed, settings, authority, process, home };
        let node = Self { client, own: Some(own) };
        node.wait()?;
        Ok(node)
    }

    /// Until it answers, which with users takes longer, and what was there is there again.
    fn wait(&self) -> Result<(), String> {
        let started = Instant::now();
        loop {
            let health = "/_cluster/health?wait_for_status=yellow&timeout=10s";
            let found = self.client.call("GET", health, None);
            if found.as_ref().is_ok_and(|(status, _)| *status == 200) {
                return Ok(());
            }
            if started.elapsed() > Duration::from_mins(2) {
                return Err(format!("OpenSearch is not ready: {found:?}; {}", self.log()));
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn own(&self) -> &Own {
        self.own.as_ref().expect("this test needs a node that it has started")
    }

    fn own_mut(&mut self) -> &mut Own {
        self.own.as_mut().expect("this test needs a node that it has started")
    }

    /// `http://127.0.0.1:<port>`, or `https://localhost:<port>` with the security plugin.
    pub fn url(&self) -> String {
        self.client.url()
    }

    /// With the security plugin: the certificate of who has signed the node's, as a PEM file.
    pub fn ca(&self) -> PathBuf {
        assert!(self.own().authority.is_some(), "a node without TLS");
        self.own().home.path().join("config/ca.pem")
    }

    /// With the security plugin: another way to this node, whose certificate is for a name that is
    /// not in its URL. Whoever does not look at the name gets through.
    pub fn by_another_name(&self) -> AnotherName {
        let authority = self.own().authority.as_ref().expect("a node with TLS");
        AnotherName::start(authority, self.own().process.address)
    }

    /// A request, as the administrator where there are users: the status, and the answer, which is a
    /// string if it is not JSON, and null if it is empty.
    #[track_caller]
    pub fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let body = body.map(|body| body.to_string().into_bytes());
        self.client.call(method, path, body).unwrap()
    }

    /// The same as somebody, or as nobody.
    #[track_caller]
    pub fn call_as(
        &self,
        who: Option<(&str, &str)>,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let body = body.map(|body| body.to_string().into_bytes());
        self.client.call_as(who, method, path, body).unwrap()
    }

    /// A request with these lines, such as to `/_bulk`.
    #[track_caller]
    pub fn bulk(&self, path: &str, lines: &[Value]) -> (u16, Value) {
        let mut body = Vec::new();
        for line in lines {
            writeln!(body, "{line}").unwrap();
        }
        self.client.call("POST", path, Some(body)).unwrap()
    }

    /// A request that has to succeed: its answer.
    #[track_caller]
    pub fn get(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let (status, reply) = self.call(method, path, body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {reply:#}");
        reply
    }

    /// Makes what was written visible to searches.
    #[track_caller]
    pub fn refresh(&self, index: &str) {
        self.get("POST", &format!("/{index}/_refresh"), None);
    }

    /// The answer to a search, which sees all that was written.
    #[track_caller]
    pub fn search(&self, index: &str, query: Value) -> Value {
        self.refresh(index);
        self.get("POST", &format!("/{index}/_search"), Some(query))
    }

    /// How many documents there are in an index, or in all that a pattern such as `events-*` means.
    #[track_caller]
    pub fn count(&self, index: &str) -> u64 {
        self.refresh(index);
        self.get("GET", &format!("/{index}/_count"), None)["count"].as_u64().unwrap()
    }

    /// All documents: with `_index`, `_id`, `_version` and `_source`.
    #[track_caller]
    pub fn documents(&self, index: &str) -> Vec<Value> {
        self.refresh(index);
        let first = json!({ "size": 1000, "sort": ["_doc"], "version": true });
        let mut page = self.get("POST", &format!("/{index}/_search?scroll=1m"), Some(first));
        let next = || {
            let mut hits = std::mem::take(&mut page["hits"]["hits"]);
            let hits = std::mem::take(hits.as_array_mut().unwrap());
            let scroll = page["_scroll_id"].take();
            if hits.is_empty() {
                // A pattern that means no index has no such place.
                if scroll.is_string() {
                    self.get("DELETE", "/_search/scroll", Some(json!({ "scroll_id": scroll })));
                }
                return None;
            }
            let more = json!({ "scroll": "1m", "scroll_id": scroll });
            page = self.get("POST", "/_search/scroll", Some(more));
            Some(hits)
        };
        iter::from_fn(next).flatten().collect()
    }

    /// Ends it as a power cut does.
    pub fn kill(&mut self) {
        self.own_mut().process.kill();
    }

    /// Starts it again, on the same data and the same port; kills it before if it runs.
    pub fn restart(&mut self) {
        let own = self.own_mut();
        own.process.kill();
        let mut settings = own.settings.clone();
        settings.push(("http.port".to_owned(), own.process.address.port().to_string()));
        let start = || own.installed.start(own.home.path(), &settings);
        // In between, the port may have been somebody else's.
        let process = start().or_else(|_| start()).unwrap();
        own.process = process;
        self.wait().unwrap();
    }

    /// What it logged last.
    pub fn log(&self) -> String {
        self.own.as_ref().map_or_else(String::new, |own| process::log_of(own.home.path()))
    }
}
