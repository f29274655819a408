//! One object: decompress, find records, decode them into rows. A state machine without I/O.
//!
//! # Input
//! The object's bytes in pieces.
//! # Maps to
//! Rows of the lane that runs it.
//! # Known gaps
//! The window grows for a record over 2 MiB, up to the 16 MiB that a record may have.
//! # Reference
//! Design section 2.

use bytes::Bytes;
use parsers::{Decode, DecodeError, ErrorKind, MAX_RECORD_BYTES, Rows};

use crate::{
    inflate::{Caps, Inflate, InflateError},
    store::StoreError,
};

/// Output room that is kept free behind a record that does not fit.
const GROW_BYTES: usize = 1 << 20;

/// Why an object could not be read to its end; the records before are kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// Its bytes cannot be decompressed.
    #[error(transparent)]
    Inflate(#[from] InflateError),
    /// Its text cannot be decoded.
    #[error("{what} (byte {byte} of the data)")]
    Decode {
        /// What is wrong.
        what: &'static str,
        /// Decompressed bytes before it.
        byte: u64,
    },
    /// It is whole, but not of the source that its key promised.
    #[error("{0}")]
    OtherSource(&'static str),
    /// It is whole, and holds no events; what it is.
    #[error("{0}")]
    Excluded(&'static str),
    /// A decoder panicked.
    #[error("internal error: {0}; please report this with the object")]
    Panic(String),
    /// There was no time for it.
    #[error("not started: the time that is left would not do")]
    NotStarted,
    /// It could not be read from its store.
    #[error("cannot read: {0}")]
    Read(StoreError),
}

impl ObjectError {
    /// True if the same bytes would fail again.
    pub fn is_permanent(&self) -> bool {
        !matches!(self, Self::Read(_) | Self::Panic(_) | Self::NotStarted)
    }
}

impl From<DecodeError> for ObjectError {
    fn from(error: DecodeError) -> Self {
        match error.kind {
            ErrorKind::Damaged => Self::Decode { what: error.what, byte: error.byte },
            ErrorKind::OtherSource => Self::OtherSource(error.what),
            ErrorKind::Excluded => Self::Excluded(error.what),
        }
    }
}

/// What a pump needs next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// More of the object, or word of its end.
    NeedInput,
    /// The rows are full: take a chunk and call again.
    Full,
    /// Nothing; the object is done.
    Done,
}

/// The state of one object.
pub struct Pump {
    inflate: Inflate,
    window: Vec<u8>,
    start: usize,
    decoder: Box<dyn Decode>,
    /// All output is in the window.
    all_out: bool,
    failure: Option<InflateError>,
}

impl Pump {
    /// A pump with a window of that size, which a long record extends.
    pub fn new(decoder: Box<dyn Decode>, caps: Caps, mut window: Vec<u8>) -> Self {
        window.clear();
        Self {
            inflate: Inflate::new(caps),
            window,
            start: 0,
            decoder,
            all_out: false,
            failure: None,
        }
    }

    /// Gives the window back for the next object.
    pub fn into_window(self) -> Vec<u8> {
        self.window
    }

    /// Goes on until more input is needed, the rows are full, or the object is done. `last` says
    /// that nothing follows `input`.
    pub fn step(
        &mut self,
        input: &mut Bytes,
        last: bool,
        rows: &mut Rows,
    ) -> Result<Step, ObjectError> {
        loop {
            let data = &self.window[self.start..];
            if !data.is_empty() || self.all_out {
                self.start += self.decoder.decode(data, self.all_out, rows)?;
                if rows.is_full() {
                    return Ok(Step::Full);
                }
            }
            if let Some(failure) = self.failure.take() {
                return Err(failure.into());
            }
            if self.all_out {
                return Ok(Step::Done);
            }
            self.make_room();
            if input.is_empty() {
                if !last {
                    return Ok(Step::NeedInput);
                }
                if !self.inflate.finish(input)? {
                    self.all_out = true;
                    continue;
                }
            }
            self.failure = self.inflate.run(input, &mut self.window).err();
        }
    }

    /// Drops what was decoded; grows the window if a record fills it.
    fn make_room(&mut self) {
        if self.start > 0 {
            self.window.drain(..self.start);
            self.start = 0;
        }
        if self.window.len() == self.window.capacity() {
            debug_assert!(self.window.len() <= MAX_RECORD_BYTES + GROW_BYTES, "decoder is stuck");
            self.window.reserve_exact(self.window.len().clamp(GROW_BYTES, 8 * GROW_BYTES));
        }
    }
}
