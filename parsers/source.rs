//! What a log source is: data that says how to recognize its objects, and a decoder.
//!
//! # Input
//! A key, or the start of an object; then the object's bytes.
//! # Maps to
//! A [`Detect`]; then rows.
//! # Known gaps
//! None.
//! # Reference
//! Each source's module names its own.

use crate::{Origin, Rows, json::Member, key::ObjectKey};

/// A longer record is rejected by position and length.
pub const MAX_RECORD_BYTES: usize = 16 << 20;

/// One log source.
#[derive(Debug)]
pub struct Source {
    /// Name on the command line and in the ledger, such as `vpc_flow`; its module's name.
    pub name: &'static str,
    /// `metadata.product.name` of its events.
    pub product: &'static str,
    /// What it reads, for people.
    pub title: &'static str,
    /// Class names its records become.
    pub classes: &'static [&'static str],
    /// What of it is mapped and to what, and the known gaps: Markdown, also in its documentation.
    pub kinds: &'static str,
    /// What a key says of its object.
    pub detect: fn(&ObjectKey) -> Detect,
    /// True if the start of an object tells that it is of this source.
    pub sniff: fn(&Head<'_>) -> bool,
    /// True if `metadata.uid` is made of the object's name and the record's place in it, so that
    /// two records of differently named objects never share one.
    pub uid_by_position: bool,
    /// A fresh decoder for one object.
    pub decoder: fn(&Origin) -> Box<dyn Decode>,
}

/// The start of an object.
#[derive(Clone, Copy, Debug)]
pub enum Head<'a> {
    /// The members of its first JSON record.
    Json(&'a [Member<'a>]),
    /// Its first line that is not empty, if that is no JSON.
    Text(&'a str),
}

/// What a key says of its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detect {
    /// Nothing: another source may know it.
    No,
    /// It is of this source.
    Yes,
    /// It is known and holds no events; what it is.
    Excluded(&'static str),
    /// It is known, but cannot be read; why.
    Unsupported(&'static str),
}

/// Turns the decompressed bytes of one object into OCSF rows.
pub trait Decode: Send {
    /// Decodes whole records from `input` until it runs out or `out` is full; returns the bytes
    /// consumed. The caller keeps the rest and calls again with more behind it. With `eof` set
    /// nothing follows.
    fn decode(&mut self, input: &[u8], eof: bool, out: &mut Rows) -> Result<usize, DecodeError>;
}

/// An object that cannot be decoded any further. Bad single records go to [`Rows::reject`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} (byte {byte})")]
pub struct DecodeError {
    /// What is wrong.
    pub what: &'static str,
    /// Byte position in the decompressed object.
    pub byte: u64,
    /// What that means for the object.
    pub kind: ErrorKind,
}

/// Why an object cannot be decoded any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// It is damaged.
    Damaged,
    /// It is whole, but not of this source.
    OtherSource,
    /// It is whole, known, and holds no events.
    Excluded,
}
