//! Decodes records again from the lines of the rejects, where their objects cannot be had any more.
//!
//! # Input
//! Copies of the files of rejects of one batch; what its ledger says of the objects.
//! # Maps to
//! Chunks of the records that this version can decode, as their objects would have made them: with
//! the same key, number and header. The other lines, as they are.
//! # Known gaps
//! A line with the reason `no header` has none, and is left: what its columns are is not known. If
//! somebody adds the member `header`, it is decoded.
//! # Reference
//! Design section 6; `src/sink/reject.rs`, which writes the lines.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use parsers::{Accounts, Filter, Limits, Origin, Place, Rows};
use serde::Deserialize;
use tempfile::TempDir;

use crate::{
    batch::{BatchError, Engine},
    cpu::{blocking, catch},
    ledger::{Entry, RecordCounts},
    read::{LaneReport, Sinks},
    select::Item,
    sink::{earlier::Earlier, opensearch::IndexCounts},
    store::{Kind, StoreError, location},
};

/// The lines of one batch whose records are decoded again.
#[derive(Debug)]
pub struct Lines {
    /// The batch.
    pub batch: String,
    /// What its ledger says of the objects, by location.
    pub entries: HashMap<String, Entry>,
    /// What the batch has in the lake, if rows come into it. Otherwise they are a batch of their own.
    pub extends: Option<Earlier>,
    /// For each day a copy of its file of rejects.
    pub files: BTreeMap<String, PathBuf>,
    /// Where the copies are.
    pub folder: TempDir,
}

/// A line of the rejects.
#[derive(Deserialize)]
pub(super) struct Line {
    pub(super) bucket: String,
    pub(super) key: String,
    record: u64,
    byte: u64,
    len: u64,
    reason: String,
    header: Option<String>,
    raw: Option<String>,
    raw_base64: Option<String>,
}

impl Line {
    pub(super) fn location(&self) -> String {
        location(&self.bucket, &self.key)
    }

    fn raw(&self) -> Option<Vec<u8>> {
        let decoded = || STANDARD.decode(self.raw_base64.as_ref()?).ok();
        self.raw.as_ref().map(|raw| raw.clone().into_bytes()).or_else(decoded)
    }
}

pub(super) fn each_line(
    path: &Path,
    mut what: impl FnMut(&[u8], Line) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = BufReader::new(File::open(path)?);
    let mut text = Vec::new();
    while file.read_until(b'\n', &mut text)? > 0 {
        what(&text, serde_json::from_slice(&text)?)?;
        text.clear();
    }
    Ok(())
}

/// Goes through rejects where waiting is no harm.
pub(super) async fn through<R: Send + 'static>(
    work: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> Result<R, StoreError> {
    let done = blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)));
    let what = |error: io::Error| format!("cannot go through the rejects: {error}");
    done.map_err(|error| StoreError { kind: Kind::Other, what: what(error) })
}

impl Lines {
    /// The ledger's line of an object, from what became of its records in the rejects.
    pub fn entry(&self, new: Entry) -> Entry {
        let Some(old) = self.entries.get(&location(&new.bucket, &new.key)).cloned() else {
            return new;
        };
        if self.extends.is_none() {
            let from_rejects = std::iter::once(self.batch.clone()).chain(old.from_rejects);
            return Entry {
                source: old.source,
                by_content: old.by_content,
                state: old.state,
                error: old.error,
                from_rejects: from_rejects.collect(),
                ..new
            };
        }
        let (was, is) = (old.records, new.records);
        let mut records = RecordCounts {
            records_in: 0,
            parquet: was.parquet + is.parquet,
            duplicate: was.duplicate + is.duplicate,
            rejected: (was.rejected + is.rejected).saturating_sub(is.records_in),
            excluded: was.excluded + is.excluded,
        };
        records.records_in =
            records.parquet + records.duplicate + records.rejected + records.excluded;
        let mut files = old.files.clone();
        files.extend(new.files);
        // Partly in one index and partly in another is in neither.
        let index_id = old.index_id.clone().filter(|_| old.index_id == new.index_id);
        let mut index = old.index;
        if let Some(counts) = &mut index {
            let pending = is.parquet + is.duplicate;
            *counts += new.index.unwrap_or(IndexCounts { pending, ..IndexCounts::default() });
        }
        Entry { records, index, index_id, files, writer: new.writer, ..old }
    }

    /// Decodes what can be decoded. Returns the counts, and for each day the file of the lines that
    /// stay, if there are some.
    pub async fn decode(
        self: &Arc<Self>,
        engine: &Engine,
        items: &Arc<[Item]>,
        filters: &[Filter],
        folder: &Path,
        sinks: Sinks,
    ) -> Result<(LaneReport, BTreeMap<String, PathBuf>), BatchError> {
        let budget = engine.budget;
        let limits = Limits {
            rows: budget.chunk_rows,
            input_bytes: budget.chunk_bytes,
            document_bytes: budget.document_bytes,
        };
        let new = || Rows::new(limits, filters.into());
        let rows = match &engine.index {
            Some(index) => new().with_documents(Arc::clone(&index.indexing)),
            None => new(),
        };
        let mut again = Again {
            items: Arc::clone(items),
            rows: Box::new(rows),
            trial: Box::new(new()),
            accounts: Arc::clone(&engine.accounts),
            sinks,
            report: LaneReport::default(),
        };
        let (this, folder) = (Arc::clone(self), folder.to_owned());
        Ok(through(move || {
            let rests = again.all(&this, &folder)?;
            Ok((again.report, rests))
        })
        .await?)
    }
}

/// A run through the lines.
struct Again {
    items: Arc<[Item]>,
    rows: Box<Rows>,
    trial: Box<Rows>,
    accounts: Arc<Accounts>,
    sinks: Sinks,
    report: LaneReport,
}

impl Again {
    fn all(&mut self, lines: &Lines, folder: &Path) -> io::Result<BTreeMap<String, PathBuf>> {
        let numbers = (0..).zip(self.items.iter());
        let numbers: HashMap<String, u32> =
            numbers.map(|(number, item)| (item.object.location(), number)).collect();
        self.report.ends = numbers.values().map(|&number| (number, Ok(()))).collect();
        let mut rests = BTreeMap::new();
        for (day, path) in &lines.files {
            let rest = folder.join(format!("rejects-{day}.ndjson"));
            let mut out = BufWriter::new(File::create_new(&rest)?);
            let mut stay = 0;
            each_line(path, |text, line| {
                let stays = match numbers.get(&line.location()) {
                    Some(&object) => !self.is_decoded(object, &line),
                    // A file that is replaced keeps what is not looked at.
                    None => lines.extends.is_some(),
                };
                if stays {
                    stay += 1;
                    out.write_all(text)?;
                }
                if self.rows.is_full() { self.send() } else { Ok(()) }
            })?;
            out.into_inner()?.sync_data()?;
            if stay > 0 {
                rests.insert(day.clone(), rest);
            }
        }
        self.send()?;
        Ok(rests)
    }

    /// Decodes the record of a line. What cannot be decoded is counted as rejected.
    fn is_decoded(&mut self, object: u32, line: &Line) -> bool {
        let why = match line.raw() {
            None => {
                *self.report.without_raw.entry(object).or_default() += 1;
                Some("its bytes were not kept")
            }
            Some(_) if line.reason == "no header" && line.header.is_none() => Some("no header"),
            Some(raw) => self.decode(object, line, &raw).err(),
        };
        let Some(why) = why else { return true };
        self.rows.begin_object(object);
        self.rows.begin_record(line.len as usize);
        let (record, byte, len) = (line.record, line.byte, line.len);
        self.rows.reject(why, Place { record, byte, len, raw: None, header: None });
        false
    }

    /// Decodes a record, or says why it cannot be.
    fn decode(&mut self, object: u32, line: &Line, raw: &[u8]) -> Result<(), &'static str> {
        let item = &self.items[object as usize];
        let source = item.source.ok_or("no source")?;
        let origin = Origin {
            key: item.key.clone(),
            accounts: Arc::clone(&self.accounts),
            first_record: line.record,
        };
        // An object by itself would be looked into for a list of records.
        let (open, close): (&[u8], &[u8]) =
            if raw.starts_with(b"{") { (b"[", b"]") } else { (b"", b"") };
        let header = line.header.as_deref().unwrap_or_default().as_bytes();
        let text = [header, if header.is_empty() { b"" } else { b"\n" }, open, raw, close].concat();
        // Tried first: of a line that is not one sound record nothing must be left among the rows.
        self.trial.begin_object(object);
        let trial = &mut *self.trial;
        let tried = catch(|| (source.decoder)(&origin).decode(&text, true, trial));
        if tried.is_err() {
            self.trial.abandon_record();
        }
        let counts = self.trial.object_counts();
        let rejects = self.trial.take().map(|chunk| chunk.rejects).unwrap_or_default();
        match (tried, counts.records, rejects.first()) {
            (Ok(Ok(_)), 1, None) => {}
            (Err(_), ..) => return Err("internal error"),
            (Ok(Err(error)), ..) => return Err(error.what),
            (Ok(Ok(_)), _, Some(reject)) => return Err(reject.reason),
            (Ok(Ok(_)), ..) => return Err("not one record"),
        }
        self.rows.begin_object(object);
        let decoded = (source.decoder)(&origin).decode(&text, true, &mut self.rows);
        decoded.map(drop).map_err(|error| error.what)
    }

    fn send(&mut self) -> io::Result<()> {
        let Some(chunk) = self.rows.take() else { return Ok(()) };
        self.report.add(&chunk, &self.accounts);
        let chunk = Arc::new(chunk);
        let mut sinks = self.sinks.iter();
        let sent = sinks.try_for_each(|sink| sink.blocking_send(Arc::clone(&chunk)));
        sent.map_err(|_| io::Error::other("a sink is gone"))
    }
}
