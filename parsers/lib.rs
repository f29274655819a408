//! AWS security logs to OCSF: bytes in, rows out. No I/O, no async, no clock.
//!
//! # Input
//! Decompressed bytes of one object in pieces, and its key.
//! # Maps to
//! Rows of OCSF classes ([`Rows`]), in chunks.
//! # Known gaps
//! The sources that [`SOURCES`] does not list.
//! # Reference
//! OCSF 1.1.0, <https://schema.ocsf.io/1.1.0/>.
//!
//! To add a source: write `parsers/<name>.rs` with `pub static SOURCE: Source`, its sample and
//! golden in `parsers/<name>/`, and add its name to `sources!`.

#![warn(missing_docs)]

pub mod accounts;
mod documents;
pub mod frame;
#[cfg(test)]
mod golden;
pub mod index;
pub mod json;
pub mod key;
pub mod ocsf;
mod records;
mod rows;
mod sniff;
mod source;
pub mod time;
mod tree;
pub mod unmapped;

use bumpalo::Bump;
use xxhash_rust::xxh3::xxh3_128;

pub use accounts::{Accounts, Origin};
pub use documents::{Document, Documents, Indexing, Rule, Rules};
pub use key::ObjectKey;
pub use rows::{Chunk, Filter, Limits, ObjectCounts, Place, Reject, Rows};
pub use sniff::Sniffer;
pub use source::{Decode, DecodeError, Detect, ErrorKind, Head, MAX_RECORD_BYTES, Source};

macro_rules! sources {
    ($($name:ident),* $(,)?) => {
        $( pub mod $name; )*
        /// Every log source, in the order of detection.
        pub static SOURCES: &[&Source] = &[ $( &$name::SOURCE ),* ];
    };
}

sources! { cloudtrail, vpc_flow, guardduty }

/// The source of this name.
pub fn source(name: &str) -> Option<&'static Source> {
    SOURCES.iter().copied().find(|source| source.name == name)
}

/// What is known of the object at a key.
#[derive(Clone, Copy, Debug)]
pub enum Recognition {
    /// It is of this source.
    Source(&'static Source),
    /// It holds no events; what it is.
    Excluded(&'static str),
    /// It is known, but nothing reads it; why.
    Unrecognized(&'static str),
    /// The key tells nothing, the content may ([`Sniffer`]).
    ByContent,
}

/// Recognizes an object by its key.
pub fn detect(key: &ObjectKey) -> Recognition {
    if key.key().ends_with('/') {
        return Recognition::Excluded("folder marker");
    }
    for source in SOURCES {
        match (source.detect)(key) {
            Detect::No => {}
            Detect::Yes => return Recognition::Source(source),
            Detect::Excluded(what) => return Recognition::Excluded(what),
            Detect::Unsupported(why) => return Recognition::Unrecognized(why),
        }
    }
    Recognition::ByContent
}

/// 32 lower-case hexadecimal digits.
pub(crate) fn hex(hash: u128) -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|at| DIGITS[(hash >> (124 - 4 * at)) as usize & 15])
}

/// An id for a record that has none: XXH3-128 of its bytes (mapping 1.6).
pub(crate) fn hash_uid<'a>(raw: &str, arena: &'a Bump) -> &'a str {
    let digits = hex(xxh3_128(raw.as_bytes()));
    arena.alloc_str(str::from_utf8(&digits).expect("digits are ASCII"))
}

/// Empties an arena, and gives back what a rare record of megabytes made it take.
pub(crate) fn reset(arena: &mut Bump) {
    const KEPT_BYTES: usize = 1 << 20;
    arena.reset();
    if arena.allocated_bytes() > KEPT_BYTES {
        *arena = Bump::new();
    }
}

/// The longest `string_t` of OCSF 1.1.0, in characters.
pub(crate) const MAX_TEXT_CHARS: usize = 65_535;

/// The text, cut at the limit of `string_t` (mapping V8).
pub(crate) fn cut_text(text: &str) -> &str {
    if text.len() <= MAX_TEXT_CHARS {
        return text;
    }
    text.char_indices().nth(MAX_TEXT_CHARS).map_or(text, |(end, _)| &text[..end])
}
