//! Indexes documents in OpenSearch: every one is there once, or it is known where it is instead.
//!
//! # Input
//! The documents of a batch's chunks.
//! # Maps to
//! Bulk requests, several at a time; for each object how many documents were indexed, were there
//! already, were refused for good (they are in `index-rejects/` with the server's reason), or are
//! pending because the cluster cannot take them: those are in the lake, and are sent later.
//! # Known gaps
//! A body waits until it is full or the batch ends.
//! # Reference
//! Design sections 2 and 6; <https://docs.opensearch.org/latest/api-reference/document-apis/bulk/>.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use opensearch::http::Method;
use parsers::{Chunk, Document, Documents, Indexing, index::PREFIX, ocsf::VERSION};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{sync::mpsc::Receiver, task::JoinSet};

use self::{health::Health, pace::Pace, reply::Verdict};
use super::{Sink, SinkError, lines::DayFiles};
use crate::{
    budget::Budget,
    cluster::{Cluster, ClusterError, Trouble},
    cpu::{Cpu, Panicked},
    read::Deadline,
    setup,
    store::{Folder, ObjectRef},
};

mod bulk;
mod health;
mod pace;
mod reply;
pub mod summary;

/// An index that batches write to.
pub struct Index {
    /// Where.
    pub cluster: Cluster,
    /// What.
    pub indexing: Arc<Indexing>,
    /// Where it is noted what was indexed later than it was loaded.
    pub state: Folder,
    /// Bodies are compressed.
    gzip: bool,
    /// How long a cluster that does not answer well is waited for.
    patience: Duration,
    /// Which rules chose what is indexed.
    rules: String,
    /// Bytes of a body, before it is compressed: less once the server has refused one for its size.
    bulk_bytes: AtomicUsize,
    pace: Pace,
    health: Health,
    /// The cluster was set up when it was asked last, and has answered since.
    ready: tokio::sync::Mutex<bool>,
    /// See [`Self::id`].
    id: Mutex<Option<Arc<str>>>,
    sent: AtomicU64,
}

impl Index {
    /// An index with requests as the budget has them. `identity` is that of the cluster, if it has been
    /// asked and is ready; `rules` are [`Self::indexing`]'s as a text.
    pub fn new(
        cluster: Cluster,
        identity: Option<&str>,
        (indexing, rules): (Arc<Indexing>, String),
        state: Folder,
        gzip: bool,
        budget: &Budget,
        patience: Duration,
    ) -> Self {
        let health = Health::new(cluster.url(), patience);
        let id = identity.map(|identity| format!("{identity} {rules}").into());
        Self {
            cluster,
            indexing,
            state,
            gzip,
            patience,
            rules,
            bulk_bytes: AtomicUsize::new(budget.bulk_bytes),
            pace: Pace::new(budget.bulk_requests),
            health,
            ready: tokio::sync::Mutex::new(identity.is_some()),
            id: Mutex::new(id),
            sent: AtomicU64::new(0),
        }
    }

    /// Bytes of requests that were answered.
    pub fn sent_bytes(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Which cluster this is and which rules choose what is indexed, once the cluster has answered. The
    /// ledger has it with what was indexed: what is in another cluster, or was chosen otherwise, says
    /// nothing of this index.
    pub fn id(&self) -> Option<Arc<str>> {
        self.id.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes sure that the cluster is set up before anything is sent: without templates it would guess
    /// what fields are, and refuse what it has guessed wrong. It may have come, or come back empty,
    /// since it was asked last.
    async fn ready(&self) -> Result<(), ClusterError> {
        let mut ready = self.ready.lock().await;
        if !*ready {
            let identity = setup::ready(&self.cluster).await?;
            let id = format!("{identity} {}", self.rules);
            *self.id.lock().unwrap_or_else(PoisonError::into_inner) = Some(id.into());
            *ready = true;
        }
        Ok(())
    }

    /// Waits until the cluster is there, for as long as it is waited for at all.
    pub async fn wait(&self) -> Result<(), ClusterError> {
        const PAUSE: Duration = Duration::from_secs(1);
        let until = Instant::now() + self.patience;
        loop {
            match self.ready().await {
                Err(error) if error.trouble.passes() && Instant::now() < until => {
                    tokio::time::sleep(PAUSE.min(until - Instant::now())).await;
                }
                done => return done,
            }
        }
    }

    /// Lets searches find what was indexed, which they otherwise do after half a minute. Nobody depends
    /// on it: a role that may only write may not do this.
    pub async fn refresh(&self) {
        if self.cluster.is_serverless() {
            return;
        }
        let path = format!("/{PREFIX}-{VERSION}-*/_refresh?ignore_unavailable=true");
        let done = self.cluster.call(Method::Post, &path, None);
        let done = self.health.in_time(done).await;
        tracing::debug!(?done, "refreshed");
    }
}

/// What became of the rows of an object in the index. Their sum is the object's rows, repetitions
/// included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexCounts {
    /// New documents.
    pub indexed: u64,
    /// Documents that were there already.
    pub duplicate: u64,
    /// Documents that the server refuses; the record is in the lake.
    pub rejected: u64,
    /// Rows that are not to be indexed.
    pub excluded: u64,
    /// Documents that are to be sent again; the record is in the lake.
    pub pending: u64,
}

impl IndexCounts {
    /// All rows.
    pub fn total(&self) -> u64 {
        self.indexed + self.duplicate + self.rejected + self.excluded + self.pending
    }

    /// True if nothing is left to be sent: every row is there, or is not to be.
    pub fn is_done(&self) -> bool {
        self.rejected + self.pending == 0
    }
}

impl std::ops::AddAssign for IndexCounts {
    fn add_assign(&mut self, other: Self) {
        self.indexed += other.indexed;
        self.duplicate += other.duplicate;
        self.rejected += other.rejected;
        self.excluded += other.excluded;
        self.pending += other.pending;
    }
}

/// What became of the documents of a batch.
#[derive(Debug, Default)]
pub struct IndexReceipt {
    /// For each object.
    pub counts: Vec<IndexCounts>,
    /// Files of refused documents by day.
    pub rejects: BTreeMap<String, PathBuf>,
    /// Refused documents by the server's reason.
    pub reasons: BTreeMap<String, u64>,
    /// Why documents are pending.
    pub error: Option<ClusterError>,
    /// See [`Index::id`].
    pub id: Option<Arc<str>>,
}

impl IndexReceipt {
    /// The cluster has been replaced by another one meanwhile: what the first one had is not there.
    fn forget(&mut self, cluster: &Cluster) {
        for counts in &mut self.counts {
            counts.pending += std::mem::take(&mut counts.indexed);
            counts.pending += std::mem::take(&mut counts.duplicate);
        }
        self.error.get_or_insert_with(|| {
            let what = format!("another cluster than before answers at {}", cluster.url());
            ClusterError { trouble: Trouble::Refused, what }
        });
    }
}

/// Sends the documents of one batch.
pub struct OpenSearchSink {
    /// Where to.
    pub index: Arc<Index>,
    /// Where work runs that takes cycles.
    pub cpu: Cpu,
    /// Folder for files before the commit; it exists.
    pub workspace: PathBuf,
    /// The objects of the batch.
    pub objects: Arc<[ObjectRef]>,
    /// The day of delivery of each object, as in the ledger.
    pub days: Arc<[String]>,
    /// When the batch must be done.
    pub deadline: Option<Arc<Deadline>>,
    /// The same chunks go to the lake, which does not wait for a cluster that is away.
    pub beside_lake: bool,
}

/// Documents that are sent together.
struct Body {
    text: Bytes,
    documents: Vec<Document>,
}

impl Sink for OpenSearchSink {
    type Receipt = IndexReceipt;

    async fn run(self, mut chunks: Receiver<Arc<Chunk>>) -> Result<IndexReceipt, SinkError> {
        self.index.health.begin(self.deadline.as_deref());
        let before = self.index.id();
        let counts = vec![IndexCounts::default(); self.objects.len()];
        let mut receipt = IndexReceipt { counts, ..IndexReceipt::default() };
        let mut rejects = DayFiles::new(&self.workspace, "index-rejects");
        let mut sending = JoinSet::new();
        let mut waiting = Waiting::default();
        while let Some(chunk) = chunks.recv().await {
            for counts in &chunk.counts {
                receipt.counts[counts.object as usize].excluded += counts.unindexed;
            }
            let documents = Arc::clone(&chunk.documents);
            drop(chunk);
            if documents.all().is_empty() {
                continue;
            }
            for body in waiting.add(documents, self.index.bulk_bytes.load(Relaxed)) {
                self.send(body, &mut sending, &mut receipt, &mut rejects).await?;
            }
        }
        if let Some(body) = waiting.take() {
            self.send(body, &mut sending, &mut receipt, &mut rejects).await?;
        }
        while let Some(sent) = sending.join_next().await {
            self.settle(sent, &mut receipt, &mut rejects)?;
        }
        receipt.rejects = rejects.finish()?;
        receipt.error = self.index.health.down();
        receipt.id = self.index.id();
        if before.is_some() && before != receipt.id {
            receipt.forget(&self.index.cluster);
        }
        Ok(receipt)
    }
}

type Sent = Result<(Body, Vec<Verdict>), tokio::task::JoinError>;

impl OpenSearchSink {
    /// Starts a request as soon as there may be one more. The lake does not wait for a cluster that is
    /// away: what there is no room for is pending.
    async fn send(
        &self,
        body: Body,
        sending: &mut JoinSet<(Body, Vec<Verdict>)>,
        receipt: &mut IndexReceipt,
        rejects: &mut DayFiles,
    ) -> Result<(), SinkError> {
        const LOOKS: Duration = Duration::from_millis(200);
        while sending.len() >= self.index.pace.most() {
            if self.beside_lake && self.index.health.is_away() {
                for document in &body.documents {
                    receipt.counts[document.object as usize].pending += 1;
                }
                return Ok(());
            }
            if let Ok(Some(sent)) = tokio::time::timeout(LOOKS, sending.join_next()).await {
                self.settle(sent, receipt, rejects)?;
            }
        }
        let (index, cpu) = (Arc::clone(&self.index), self.cpu.clone());
        sending.spawn(async move {
            let verdicts = bulk::deliver(&index, &cpu, &body).await;
            (body, verdicts)
        });
        Ok(())
    }

    fn settle(
        &self,
        sent: Sent,
        receipt: &mut IndexReceipt,
        rejects: &mut DayFiles,
    ) -> Result<(), SinkError> {
        let (body, verdicts) = sent.map_err(Panicked::from)?;
        for (document, verdict) in body.documents.iter().zip(verdicts) {
            let counts = &mut receipt.counts[document.object as usize];
            match verdict {
                Verdict::Indexed => counts.indexed += 1,
                Verdict::Duplicate => counts.duplicate += 1,
                Verdict::Pending => counts.pending += 1,
                Verdict::Rejected { status, kind, reason } => {
                    counts.rejected += 1;
                    let text = &body.text[document.range.clone()];
                    let line = self.line(document.object, status, &kind, &reason, text);
                    rejects.add(&self.days[document.object as usize], &line)?;
                    *receipt.reasons.entry(kind).or_default() += 1;
                }
            }
        }
        Ok(())
    }

    fn line(&self, object: u32, status: u16, kind: &str, reason: &str, text: &[u8]) -> Value {
        /// A longer document is in the lake only.
        const MAX_DOCUMENT_BYTES: usize = 1 << 20;
        let end = text.iter().position(|&byte| byte == b'\n').unwrap_or(text.len());
        let action: Value = serde_json::from_slice(&text[..end]).unwrap_or_default();
        let document = text.get(end + 1..).unwrap_or_default().trim_ascii_end();
        let document = std::str::from_utf8(document).ok();
        let document = document.filter(|document| document.len() <= MAX_DOCUMENT_BYTES);
        let object = &self.objects[object as usize];
        json!({
            "v": 1,
            "bucket": *object.bucket,
            "key": object.key,
            "index": action["create"]["_index"],
            "uid": action["create"]["_id"],
            "status": status,
            "type": kind,
            "reason": reason,
            "document": document,
        })
    }
}

/// Documents that wait for a body to be full.
#[derive(Default)]
struct Waiting {
    text: Vec<u8>,
    documents: Vec<Document>,
}

/// Lends documents to a body: they are not copied.
struct Lent(Arc<Documents>);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.0.text()
    }
}

impl Waiting {
    /// Bodies that are full now.
    fn add(&mut self, new: Arc<Documents>, bulk_bytes: usize) -> Vec<Body> {
        let mut full = Vec::new();
        if self.text.len() + new.text().len() > bulk_bytes {
            full.extend(self.take());
        }
        if new.text().len() * 2 >= bulk_bytes {
            let documents = new.all().to_vec();
            full.push(Body { text: Bytes::from_owner(Lent(new)), documents });
            return full;
        }
        let base = self.text.len();
        self.text.extend_from_slice(new.text());
        let moved = new.all().iter().map(|document| {
            let range = document.range.start + base..document.range.end + base;
            Document { range, ..*document }
        });
        self.documents.extend(moved);
        full
    }

    fn take(&mut self) -> Option<Body> {
        let Self { text, documents } = std::mem::take(self);
        (!documents.is_empty()).then(|| Body { text: text.into(), documents })
    }
}
