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

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufWriter, Write},
    path::PathBuf,
    sync::Arc,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use parsers::{Chunk, Reject};
use serde::Serialize;
use tokio::sync::mpsc::Receiver;

use super::{Sink, SinkError};
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
        let mut files = BTreeMap::new();
        let sink = Arc::new(self);
        while let Some(chunk) = chunks.recv().await {
            if chunk.rejects.is_empty() {
                continue;
            }
            let this = Arc::clone(&sink);
            files = sink.cpu.run(move || this.write(files, &chunk.rejects)).await??;
        }
        let this = Arc::clone(&sink);
        sink.cpu.run(move || this.finish(files)).await?
    }
}

type Files = BTreeMap<String, BufWriter<File>>;

impl RejectSink {
    fn path(&self, day: &str) -> PathBuf {
        self.workspace.join(format!("rejects-{day}.ndjson"))
    }

    fn write(&self, mut files: Files, rejects: &[Reject]) -> Result<Files, SinkError> {
        for reject in rejects {
            let day = &self.days[reject.object as usize];
            let path = self.path(day);
            let on_error = |source| SinkError::Write { path: path.clone(), source };
            if !files.contains_key(day) {
                let file = File::create_new(&path).map_err(on_error)?;
                files.insert(day.clone(), BufWriter::new(file));
            }
            let Some(file) = files.get_mut(day) else {
                continue;
            };
            let mut line = serde_json::to_vec(&self.line(reject))
                .map_err(std::io::Error::from)
                .map_err(on_error)?;
            line.push(b'\n');
            file.write_all(&line).map_err(on_error)?;
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

    fn finish(&self, files: Files) -> Result<BTreeMap<String, PathBuf>, SinkError> {
        let mut paths = BTreeMap::new();
        for (day, file) in files {
            let path = self.path(&day);
            let on_error = |source| SinkError::Write { path: path.clone(), source };
            let file = file.into_inner().map_err(|error| on_error(error.into_error()))?;
            file.sync_data().map_err(on_error)?;
            paths.insert(day, path);
        }
        Ok(paths)
    }
}
