//! Writes records that could not be mapped: raw, with place and reason.
//!
//! # Input
//! The rejects of a batch's chunks.
//! # Maps to
//! NDJSON, one line a reject: `{v, bucket, key, record, byte, len, reason, raw | raw_base64}` and
//! for flow logs `header`; one file for each day of delivery.
//! # Known gaps
//! Raw bytes over 1 MiB are given by position and length only.
//! # Reference
//! Design section 6.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use parsers::{Chunk, Reject};
use serde::Serialize;
use tokio::sync::mpsc::Receiver;

use super::{Sink, SinkError, lines::DayFiles};
use crate::{cpu::Cpu, store::ObjectRef};

/// A longer header is not repeated with each reject.
const MAX_HEADER_BYTES: usize = 64 << 10;

/// Writes the rejects of one batch into its workspace.
pub struct RejectSink {
    /// Where writing runs.
    pub cpu: Cpu,
    /// Folder for files before the commit; it exists.
    pub workspace: PathBuf,
    /// The objects of the batch.
    pub objects: Arc<[ObjectRef]>,
    /// The day of delivery of each object, as in the ledger.
    pub days: Arc<[String]>,
}

#[derive(Serialize)]
struct Line<'a> {
    v: u32,
    bucket: &'a str,
    key: &'a str,
    record: u64,
    byte: u64,
    len: u64,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_base64: Option<String>,
}

impl Sink for RejectSink {
    /// The staged file of each day.
    type Receipt = BTreeMap<String, PathBuf>;

    async fn run(self, mut chunks: Receiver<Arc<Chunk>>) -> Result<Self::Receipt, SinkError> {
        let mut files = DayFiles::new(&self.workspace, "rejects");
        let sink = Arc::new(self);
        while let Some(chunk) = chunks.recv().await {
            if chunk.rejects.is_empty() {
                continue;
            }
            let this = Arc::clone(&sink);
            files = sink.cpu.run(move || this.write(files, &chunk.rejects)).await??;
        }
        sink.cpu.run(move || files.finish()).await?
    }
}

impl RejectSink {
    fn write(&self, mut files: DayFiles, rejects: &[Reject]) -> Result<DayFiles, SinkError> {
        for reject in rejects {
            files.add(&self.days[reject.object as usize], &self.line(reject))?;
        }
        Ok(files)
    }

    fn line<'a>(&'a self, reject: &'a Reject) -> Line<'a> {
        let object = &self.objects[reject.object as usize];
        let text = reject.raw.as_deref().map(str::from_utf8);
        Line {
            v: 1,
            bucket: &object.bucket,
            key: &object.key,
            record: reject.record,
            byte: reject.byte,
            len: reject.len,
            reason: reject.reason,
            header: reject.header.as_deref().filter(|header| header.len() <= MAX_HEADER_BYTES),
            raw: text.and_then(Result::ok),
            raw_base64: match (text, &reject.raw) {
                (Some(Err(_)), Some(raw)) => Some(STANDARD.encode(raw)),
                _ => None,
            },
        }
    }
}
