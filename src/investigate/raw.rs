//! The raw record of an event, from the object that it was read from.
//!
//! # Input
//! `metadata.uid`; a lake, its ledger, the archives.
//! # Maps to
//! The bytes of the record as they were delivered.
//! # Known gaps
//! The object is read up to the record.
//! # Reference
//! Mapping 1.5: `metadata.log_name` is the way back from a row to its raw record.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::AsArray;
use parsers::{Decode, DecodeError, Filter, Limits, ObjectKey, Rows};
use serde_json::{Value, value::RawValue};

use super::document::text;
use crate::{
    inflate::Caps,
    ledger::{Entry, Ledger, LedgerError},
    pump::{ObjectError, Pump, Step},
    query::{Lake, QueryError, literal},
    select::ledger_day,
    store::{Sources, StoreError},
};

/// Bytes of an object that are read at a time.
const PIECE_BYTES: usize = 1 << 20;
/// Bytes of a record at most.
const WINDOW_BYTES: usize = 2 << 20;

/// A raw record cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RawError {
    /// The lake cannot be asked.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The object cannot be read.
    #[error("{object}: {source}")]
    Store {
        /// Its place.
        object: String,
        /// Why.
        source: StoreError,
    },
    /// The object cannot be decoded up to the record.
    #[error("{object}: {source}")]
    Object {
        /// Its place.
        object: String,
        /// Why.
        source: ObjectError,
    },
    /// There is no such event, or its object is not known.
    #[error("{0}")]
    Missing(String),
}

/// A raw record and where it lies.
#[derive(Debug)]
pub struct Raw {
    /// The record.
    pub bytes: Vec<u8>,
    /// The place of its object.
    pub object: String,
}

/// Fetches the raw record of an event.
pub async fn raw(lake: &Lake, sources: &Sources, uid: &str) -> Result<Raw, RawError> {
    let entry = entry(lake, &log_name(lake, uid).await?).await?;
    let object = entry.object();
    let place = object.location();
    let on_store = |source| RawError::Store { object: place.clone(), source };
    let source = entry.source.as_deref().and_then(parsers::source).ok_or_else(|| {
        RawError::Missing(format!("{place}: the ledger does not say what it is; load it again"))
    })?;
    let found: Arc<Mutex<Option<Vec<u8>>>> = Arc::default();
    let taken = || found.lock().unwrap_or_else(PoisonError::into_inner).take();
    let watch = Watch {
        inner: (source.decoder)(&ObjectKey::new(object.key.clone()).into()),
        uid: uid.to_owned(),
        found: Arc::clone(&found),
    };
    // A row at a time, so that each step of the decoder is one record.
    let limits = Limits { rows: 1, input_bytes: usize::MAX, document_bytes: usize::MAX };
    let mut rows = Rows::new(limits, Arc::from([Filter::default()])).with_json();
    rows.begin_object(0);
    let mut pump = Pump::new(Box::new(watch), Caps::default(), Vec::with_capacity(WINDOW_BYTES));
    let (mut piece, mut body) = sources.open(&object, PIECE_BYTES).await.map_err(on_store)?;
    loop {
        let step = pump.step(&mut piece, body.is_at_end(), &mut rows);
        if let Some(bytes) = taken() {
            return Ok(Raw { bytes, object: place });
        }
        match step {
            Ok(Step::Full) => drop(rows.take()),
            Ok(Step::NeedInput) => (piece, body) = body.read().await.map_err(on_store)?,
            Ok(Step::Done) => {
                return Err(RawError::Missing(format!(
                    "{place} has no record of the event {uid}: has it changed since it was loaded?"
                )));
            }
            Err(source) => return Err(RawError::Object { object: place.clone(), source }),
        }
    }
}

/// The name of the object that an event was read from.
async fn log_name(lake: &Lake, uid: &str) -> Result<String, RawError> {
    let sql = format!("SELECT log_name FROM events WHERE uid = {} LIMIT 1", literal(uid));
    let rows = lake.rows(&sql).await?;
    let rows = rows.iter().find(|batch| batch.num_rows() > 0);
    let name =
        rows.and_then(|batch| batch.column(0).as_string_opt::<i32>()).map(|names| names.value(0));
    name.map(str::to_owned)
        .ok_or_else(|| RawError::Missing(format!("there is no event {uid} in the lake")))
}

/// What the ledger says of the object of this name.
async fn entry(lake: &Lake, log_name: &str) -> Result<Entry, RawError> {
    let ledger = Ledger::new(lake.state().clone());
    let day = ledger_day(&ObjectKey::new(log_name));
    let entries = ledger.day(&day, None).await?.into_iter().flatten();
    let mut of_name = entries.filter(|entry| {
        entry.records.parquet + entry.records.duplicate > 0
            && ObjectKey::new(entry.key.clone()).name() == log_name
    });
    of_name.next_back().ok_or_else(|| {
        RawError::Missing(format!("the ledger does not know {log_name}: which bucket was it in?"))
    })
}

/// A decoder that is looked at: which record is which event.
struct Watch {
    inner: Box<dyn Decode>,
    uid: String,
    found: Arc<Mutex<Option<Vec<u8>>>>,
}

impl Decode for Watch {
    fn decode(&mut self, input: &[u8], eof: bool, out: &mut Rows) -> Result<usize, DecodeError> {
        let consumed = self.inner.decode(input, eof, out);
        let event: Option<Value> = serde_json::from_slice(&out.take_json()).ok();
        if event.as_ref().and_then(|event| text(event, "metadata.uid")) == Some(&self.uid)
            && let Ok(consumed) = consumed
        {
            let bytes = record(&input[..consumed]).to_vec();
            *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes);
        }
        consumed
    }
}

/// The record at the end of what a decoder took: a JSON object that ends there, else the last line.
fn record(taken: &[u8]) -> &[u8] {
    let taken = taken.trim_ascii_end();
    let whole = str::from_utf8(taken).ok().and_then(|text| {
        let end = text.rfind('}')? + 1;
        let starts = text.match_indices('{').map(|(at, _)| at);
        let mut objects = starts.map(|at| &text[at..end]);
        objects.find(|object| serde_json::from_str::<&RawValue>(object).is_ok())
    });
    match whole {
        Some(object) => object.as_bytes(),
        None => taken.rsplit(|&byte| byte == b'\n').next().unwrap_or(taken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_what_a_decoder_took_last() {
        for (taken, expected) in [
            (r#"{"Records":[{"a":"{"}"#, r#"{"a":"{"}"#),
            (r#",{"a":{"b":1}}"#, r#"{"a":{"b":1}}"#),
            ("version account-id\n2 123456789012 eni-1\n", "2 123456789012 eni-1"),
        ] {
            assert_eq!(record(taken.as_bytes()), expected.as_bytes());
        }
    }
}
