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
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use parsers::{Chunk, Document, Documents, Indexing};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{sync::mpsc::Receiver, task::JoinSet};

use self::{pace::Pace, reply::Verdict};
use super::{Sink, SinkError, lines::DayFiles};
use crate::{
    budget::Budget,
    cluster::{Cluster, ClusterError},
    cpu::{Cpu, Panicked},
    read::Deadline,
    store::{Folder, ObjectRef},
};

mod bulk;
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
    pub gzip: bool,
    /// Bytes of a body, before it is compressed.
    pub bulk_bytes: usize,
    /// How long a cluster that does not answer well is waited for.
    pub patience: Duration,
    pace: Pace,
    health: Mutex<Health>,
    sent: AtomicU64,
}

/// How the cluster has answered lately.
struct Health {
    /// When it has last done what it was asked.
    good: Instant,
    /// Why it is not asked any more.
    down: Option<ClusterError>,
    /// When this batch stops waiting for it.
    until: Option<Instant>,
}

impl Index {
    /// An index with requests as the budget has them.
    pub fn new(
        cluster: Cluster,
        indexing: Arc<Indexing>,
        state: Folder,
        gzip: bool,
        budget: &Budget,
        patience: Duration,
    ) -> Self {
        let health = Mutex::new(Health { good: Instant::now(), down: None, until: None });
        let (bulk_bytes, pace) = (budget.bulk_bytes, Pace::new(budget.bulk_requests));
        let sent = AtomicU64::new(0);
        Self { cluster, indexing, state, gzip, bulk_bytes, patience, pace, health, sent }
    }

    /// A new batch begins: what passes by itself may have passed, and is tried once more. With a
    /// deadline half of the time is for waiting: the rest of the batch must be loaded after that.
    fn begin(&self, deadline: Option<&Deadline>) {
        let mut health = self.health();
        health.until = deadline.map(|deadline| Instant::now() + deadline.left() / 2);
        if health.down.as_ref().is_some_and(|error| error.trouble.passes()) {
            health.down = None;
        } else if health.down.is_none() {
            health.good = Instant::now();
        }
    }

    /// Bytes of requests so far, as they were sent.
    pub fn sent_bytes(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn down(&self) -> Option<ClusterError> {
        self.health().down.clone()
    }

    fn is_good(&self) {
        self.health().good = Instant::now();
    }

    fn until(&self) -> Option<Instant> {
        self.health().until
    }

    /// Takes note of trouble. True if there is no use in trying again.
    fn is_hopeless(&self, error: &ClusterError) -> bool {
        let mut health = self.health();
        let is_late = health.until.is_some_and(|until| until <= Instant::now());
        let is_long = health.good.elapsed() > self.patience;
        let hopeless = !error.trouble.passes() || is_long || is_late;
        if hopeless {
            health.down.get_or_insert_with(|| error.clone());
        }
        hopeless
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
}

/// Documents that are sent together.
struct Body {
    text: Bytes,
    documents: Vec<Document>,
}

impl Sink for OpenSearchSink {
    type Receipt = IndexReceipt;

    async fn run(self, mut chunks: Receiver<Arc<Chunk>>) -> Result<IndexReceipt, SinkError> {
        self.index.begin(self.deadline.as_deref());
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
            for body in waiting.add(documents, self.index.bulk_bytes) {
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
        receipt.error = self.index.down();
        Ok(receipt)
    }
}

type Sent = Result<(Body, Vec<Verdict>), tokio::task::JoinError>;

impl OpenSearchSink {
    /// Starts a request as soon as there may be one more.
    async fn send(
        &self,
        body: Body,
        sending: &mut JoinSet<(Body, Vec<Verdict>)>,
        receipt: &mut IndexReceipt,
        rejects: &mut DayFiles,
    ) -> Result<(), SinkError> {
        while sending.len() >= self.index.pace.most() {
            if let Some(sent) = sending.join_next().await {
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
