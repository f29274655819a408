//! Answers an investigation from the indexes of a cluster.
//!
//! # Input
//! Look-ups, and a cluster whose indexes [`crate::sink::opensearch`] fills.
//! # Maps to
//! Searches, and what they give, as documents and sums: the same as the lake's.
//! # Known gaps
//! A collection of OpenSearch Serverless may not run the scripts that tell hours and ports. Texts of more
//! than 8,191 characters are not found by their value, and count as none. Of the resources of a call all
//! are looked at, where the lake looks at two. An event that is in two indexes, because two lakes have
//! chosen other periods for them, counts twice.
//! # Reference
//! <https://docs.opensearch.org/latest/search-plugins/searching-data/paginate/>,
//! <https://docs.opensearch.org/latest/aggregations/bucket/composite/>.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use opensearch::http::Method;
use parsers::ocsf::{CLASSES, Class};
use serde_json::{Value, json};

use super::{
    CALLS, MAX_NEW_FLOWS,
    lookup::{Calls, Coverage, Flows, Lookup, Range, Sender, Use},
};
use crate::{
    cluster::{Cluster, ClusterError, Reply, Trouble},
    sink::opensearch::summary,
};
use groups::Field;
use hits::Page;

mod conditions;
mod groups;
mod hits;

const FLOWS: &[&str] = &["network_activity"];
/// Documents of 4 KB each are 2 MB. Groups, with the ports, operations, regions and hours of each, stay
/// below the 65,535 buckets that a cluster gives in one answer, or are asked for in smaller pages.
const PAGE: Sizes = Sizes { documents: 500, groups: 2000 };
/// A cluster that says nothing for so long at first is not there. Later it may well think for a while.
const GREETING: Duration = Duration::from_secs(10);

/// How much is in one answer.
struct Sizes {
    documents: usize,
    groups: usize,
}

/// A cluster that is asked.
pub struct ClusterLookup {
    cluster: Cluster,
    page: Sizes,
    /// What there was of each class when it was opened. What has no events is not asked.
    coverage: Vec<Coverage>,
    gaps: Vec<String>,
    asked: Mutex<Vec<String>>,
}

impl ClusterLookup {
    /// Finds out what there is. Fails if there is nothing, or nobody answers.
    pub async fn open(cluster: Cluster) -> Result<Self, ClusterError> {
        match tokio::time::timeout(GREETING, cluster.identity()).await {
            // What is busy is asked again below.
            Ok(Err(error)) if error.trouble != Trouble::Busy => return Err(error),
            Ok(_) => {}
            Err(_) => {
                let (url, seconds) = (cluster.url(), GREETING.as_secs());
                let what = format!(
                    "no answer from OpenSearch at {url} in {seconds} seconds: is it running, and is this \
                     its address?"
                );
                return Err(ClusterError { trouble: Trouble::Unreachable, what });
            }
        }
        let (coverage, gaps, asked) = (Vec::new(), Vec::new(), Mutex::default());
        let mut this = Self { cluster, page: PAGE, coverage, gaps, asked };
        for class in CLASSES {
            this.coverage.extend(this.count(class).await?);
        }
        if this.coverage.is_empty() {
            let url = this.cluster.url();
            let what = format!(
                "OpenSearch at {url} has no events: `trailhound load --opensearch {url}` indexes them"
            );
            return Err(ClusterError { trouble: Trouble::Refused, what });
        }
        this.gaps = this.incomplete().await?;
        Ok(this)
    }

    /// The same with so many documents, and so many groups, in one answer.
    #[must_use]
    pub fn with_page(mut self, page: usize) -> Self {
        self.page = Sizes { documents: page.max(1), groups: page.max(1) };
        self
    }

    /// What is not known of the index, or known to be missing.
    pub fn gaps(&self) -> Vec<String> {
        self.gaps.clone()
    }

    /// What there is of a class.
    async fn count(&self, class: &Class) -> Result<Option<Coverage>, ClusterError> {
        let body = json!({
            "size": 0,
            "track_total_hits": true,
            "aggs": {
                "first": { "min": { "field": "time" } },
                "last": { "max": { "field": "time" } },
            },
        });
        let path = path(&class.alias());
        let reply = self.post(&path, &body).await?;
        if reply.status == 404 && reply.reason().contains("index_not_found") {
            return Ok(None);
        }
        let answer = self.complete(&reply)?;
        let count = answer["hits"]["total"]["value"].as_u64().unwrap_or_default();
        let time = |name: &str| groups::number(&answer["aggregations"][name]["value"]);
        self.note(&path, &body);
        let (class, first, last) = (class.name.to_owned(), time("first"), time("last"));
        Ok((count > 0).then_some(Coverage { class, count, first, last }))
    }

    /// What the index lacks, as far as summaries of batches say it. Who may not read those sees none.
    async fn incomplete(&self) -> Result<Vec<String>, ClusterError> {
        let unknown = "whether everything that was delivered is in the index is not known from here: \
                       --lake looks at the ledger";
        let mut gaps = vec![unknown.to_owned()];
        let path = path(&format!("{}*", summary::PREFIX));
        for (count, what) in [
            ("excluded", "were left out of the index on purpose"),
            ("rejected", "were refused by the index"),
            ("pending", "were not taken by the index"),
        ] {
            let is_some = json!({ "range": { format!("index.{count}"): { "gt": 0 } } });
            let body = json!({ "size": 0, "query": is_some });
            let reply = self.post(&path, &body).await?;
            let total = reply.json()["hits"]["total"]["value"].as_u64();
            if reply.status == 200 && total.is_some_and(|total| total > 0) {
                gaps.push(format!(
                    "events {what} when they were loaded: unless they were indexed later, they are in the \
                     lake only"
                ));
            }
        }
        Ok(gaps)
    }

    /// The aliases of those of these classes that have events; None if none has.
    fn path(&self, classes: &[&str]) -> Option<String> {
        let is_there = |class: &&&Class| {
            classes.contains(&class.name) && self.coverage.iter().any(|one| one.class == class.name)
        };
        let aliases: Vec<_> = CLASSES.iter().filter(is_there).map(|class| class.alias()).collect();
        (!aliases.is_empty()).then(|| path(&aliases.join(",")))
    }

    /// Asks, and for a while again if the cluster has too much to do.
    async fn post(&self, path: &str, body: &Value) -> Result<Reply, ClusterError> {
        const TRIES: u32 = 5;
        const LONGEST: Duration = Duration::from_secs(10);
        // What broke at once was a connection; what took long takes as long again.
        const AT_ONCE: Duration = Duration::from_secs(5);
        let mut tries = 0;
        loop {
            let started = Instant::now();
            let answer = self.cluster.call(Method::Post, path, Some(body)).await;
            tries += 1;
            let asked_to_wait = match &answer {
                Ok(reply) if is_busy(reply) => reply.retry_after,
                Err(error)
                    if error.trouble == Trouble::Unreachable && started.elapsed() < AT_ONCE =>
                {
                    None
                }
                _ => return answer,
            };
            if tries == TRIES {
                return answer;
            }
            let pause = asked_to_wait.unwrap_or(Duration::from_millis(250 << tries));
            tokio::time::sleep(pause.min(LONGEST)).await;
        }
    }

    /// An answer that is whole: a part of the events would be a wrong answer.
    fn complete(&self, reply: &Reply) -> Result<Value, ClusterError> {
        let answer = reply.json();
        let is_whole = answer["timed_out"] == false && answer["_shards"]["failed"] == 0;
        if reply.status == 200 && is_whole { Ok(answer) } else { Err(self.failed(reply)) }
    }

    fn failed(&self, reply: &Reply) -> ClusterError {
        match reply.status {
            200 => ClusterError {
                trouble: Trouble::Busy,
                what: format!(
                    "OpenSearch at {} has answered for a part of the events only: ask again",
                    self.cluster.url()
                ),
            },
            _ => self.cluster.error("search", reply),
        }
    }

    /// Keeps a search for whoever wants to ask it again.
    fn note(&self, path: &str, body: &Value) {
        let text = format!("POST {path} {body}");
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if !asked.contains(&text) {
            asked.push(text);
        }
    }

    /// All documents that meet a query, in the order of time.
    ///
    /// Time, id and index tell documents apart, and no document ever changes: the next page follows
    /// from the last document alone. So no state is left with the cluster, the first page can be asked
    /// for again by anyone, and a role that may only search is enough.
    async fn documents(&self, class: &str, query: Value) -> Result<Vec<Value>, ClusterError> {
        let Some(path) = self.path(&[class]) else { return Ok(Vec::new()) };
        let mut body = json!({
            "size": self.page.documents,
            "query": query,
            "sort": [{ "time": "asc" }, { "metadata.uid": "asc" }, { "_index": "asc" }],
            "track_total_hits": true,
        });
        self.note(&path, &body);
        let (mut documents, mut total) = (Vec::new(), None);
        loop {
            let reply = self.post(&path, &body).await?;
            let page = Page::of(&reply).ok_or_else(|| self.failed(&reply))?;
            total = total.or(page.total);
            let is_full = page.documents.len() == self.page.documents;
            documents.extend(page.documents);
            match page.last {
                Some(last) if is_full => {
                    body["search_after"] = last;
                    body["track_total_hits"] = false.into();
                }
                _ => break,
            }
        }
        if total.is_none_or(|total| (documents.len() as u64) < total) {
            let what = format!(
                "the indexes of OpenSearch at {} have changed while they were searched: run it again",
                self.cluster.url()
            );
            return Err(ClusterError { trouble: Trouble::Refused, what });
        }
        Ok(documents)
    }
}

/// Where the documents of aliases are searched.
fn path(aliases: &str) -> String {
    format!("/{aliases}/_search?allow_partial_search_results=false")
}

/// It may well answer a little later.
fn is_busy(reply: &Reply) -> bool {
    matches!(reply.status, 408 | 429 | 500..) && !groups::is_too_many(reply)
}

impl Lookup for ClusterLookup {
    type Error = ClusterError;

    async fn calls(&self, wanted: &Calls, range: Range) -> Result<Vec<Value>, ClusterError> {
        let mut documents = Vec::new();
        for class in CALLS {
            if let Some(condition) = conditions::of_calls(class, wanted) {
                let query = conditions::all([Some(condition), conditions::within(range)]);
                documents.extend(self.documents(class, query).await?);
            }
        }
        Ok(documents)
    }

    async fn uses(&self, wanted: &Calls) -> Result<Vec<Use>, ClusterError> {
        let Some(condition) = conditions::of_uses(wanted) else { return Ok(Vec::new()) };
        let keys: [&[Field]; 5] = [
            &groups::IDENTITY,
            &[Field::of("actor.user.credential_uid")],
            &[Field::of("actor.session.issuer"), Field::of("actor.user.uid")],
            &[Field::of("src_endpoint.ip.keyword")],
            &[Field::of("http_request.user_agent")],
        ];
        let mut uses: BTreeMap<Vec<(bool, String)>, Use> = BTreeMap::new();
        for group in self.groups(&CALLS, condition, &keys, groups::of_uses()).await? {
            let one = group.as_use();
            // One person is named in two ways, or one principal.
            let place = group.key.iter().map(|part| empty_last(part)).collect();
            uses.entry(place).and_modify(|known| groups::add(known, &one)).or_insert(one);
        }
        Ok(uses.into_values().collect())
    }

    async fn senders(
        &self,
        addresses: &BTreeSet<String>,
    ) -> Result<Vec<(String, Sender)>, ClusterError> {
        let address: &[Field] = &[Field::of("src_endpoint.ip.keyword")];
        let Some(condition) = conditions::among("src_endpoint.ip.keyword", addresses) else {
            return Ok(Vec::new());
        };
        let principal: &[Field] = &[
            Field::of("actor.session.issuer"),
            Field::of("actor.user.uid"),
            Field::of("actor.user.uid_alt"),
        ];
        let mut seen: BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)> = BTreeMap::new();
        let nothing = || json!({});
        let calls =
            self.groups(&CALLS, condition.clone(), &[address, principal], nothing()).await?;
        for group in calls {
            let [address, principal] = group.texts();
            let (principals, _) = seen.entry(address).or_default();
            principals.extend(Some(principal).filter(|name| !name.is_empty()));
        }
        let of_flows: [&[Field]; 3] =
            [address, &[Field::of("pivot.interface_uid")], &[Field::of("action")]];
        for group in self.groups(FLOWS, condition, &of_flows, nothing()).await? {
            let [address, interface, action] = group.texts();
            let (_, refused_by) = seen.entry(address).or_default();
            let is_it = |name: &String| action == "Denied" && !name.is_empty();
            refused_by.extend(Some(interface).filter(is_it));
        }
        let count = |(address, (principals, refused_by)): (_, (BTreeSet<_>, BTreeSet<_>))| {
            let (principals, refused_by) = (principals.len() as u64, refused_by.len() as u64);
            (address, Sender { principals, refused_by })
        };
        Ok(seen.into_iter().map(count).collect())
    }

    async fn findings(
        &self,
        accounts: &BTreeSet<String>,
        range: Range,
    ) -> Result<Vec<Value>, ClusterError> {
        let of_accounts = conditions::among("cloud.account.uid", accounts);
        let query = conditions::all([of_accounts, conditions::within(range)]);
        self.documents("detection_finding", query).await
    }

    async fn flows(
        &self,
        addresses: &BTreeSet<String>,
        range: Range,
    ) -> Result<Vec<Flows>, ClusterError> {
        let ends = ["src_endpoint.ip.keyword", "dst_endpoint.ip.keyword"];
        let any = conditions::any(ends.map(|end| conditions::among(end, addresses)));
        let Some(any) = any else { return Ok(Vec::new()) };
        let query = conditions::all([Some(any), conditions::within(range)]);
        let mut sums = self.flow_sums(query).await?;
        sums.sort_by_cached_key(|sum| {
            let [account, interface, instance] = sum.ids();
            (sum.flows.first, account, interface, sum.ends(), instance)
        });
        Ok(sums.into_iter().map(|sum| sum.flows).collect())
    }

    async fn new_flows(
        &self,
        interfaces: &BTreeSet<String>,
        instances: &BTreeSet<String>,
        accounts: &BTreeSet<String>,
        begin: i64,
        range: Range,
    ) -> Result<Vec<Flows>, ClusterError> {
        let any = conditions::any([
            conditions::among("pivot.interface_uid", interfaces),
            conditions::among("pivot.instance_uid", instances),
        ]);
        let Some(any) = any else { return Ok(Vec::new()) };
        let of_accounts = conditions::among("cloud.account.uid", accounts);
        let query = conditions::all([Some(any), of_accounts, conditions::within(range)]);
        let mut sums = self.flow_sums(query).await?;
        sums.retain(|sum| sum.flows.first >= begin);
        // As in SQL: what has no bytes at all comes first where the most bytes do.
        sums.sort_by_cached_key(|sum| {
            (sum.has_bytes, Reverse(sum.flows.bytes), sum.ends(), sum.ids())
        });
        sums.truncate(MAX_NEW_FLOWS);
        Ok(sums.into_iter().map(|sum| sum.flows).collect())
    }

    async fn coverage(&self) -> Result<Vec<Coverage>, ClusterError> {
        Ok(self.coverage.clone())
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Sorts what is missing last, as SQL does.
fn empty_last(text: &str) -> (bool, String) {
    (text.is_empty(), text.to_owned())
}
