//! Decodes objects of JSON records: what sources of such objects have in common.
//!
//! # Input
//! Decompressed bytes in pieces.
//! # Maps to
//! Whatever the source makes of each record; what it refuses is a reject.
//! # Known gaps
//! None.
//! # Reference
//! Mapping 1.8.

use bumpalo::Bump;

use crate::{
    Decode, DecodeError, ErrorKind, Origin, Place, Rows,
    frame::{Frame, JsonRecords, Record},
    json::Member,
};

/// What a source does with JSON records.
pub(crate) struct JsonSource {
    /// Members of a root object that hold a list of records.
    pub(crate) wrappers: &'static [&'static str],
    /// What an object is by its first record, if it is not of this source.
    pub(crate) foreign: fn(&[Member<'_>]) -> Option<&'static str>,
    /// Maps a record and keeps the event, or says why it cannot.
    pub(crate) push: Push,
}

type Push = for<'a> fn(
    Result<Record<'a>, &'static str>,
    &Frame<'a>,
    &'a Origin,
    &'a Bump,
    &mut Rows,
) -> Result<(), &'static str>;

/// The decoder of one object.
pub(crate) struct JsonDecoder {
    source: &'static JsonSource,
    origin: Origin,
    frames: JsonRecords,
    arena: Bump,
    records_seen: u64,
}

impl JsonDecoder {
    pub(crate) fn new(source: &'static JsonSource, origin: &Origin) -> Self {
        Self {
            source,
            origin: origin.clone(),
            frames: JsonRecords::new(source.wrappers),
            arena: Bump::new(),
            records_seen: origin.first_record,
        }
    }

    fn record(&mut self, frame: &Frame<'_>, out: &mut Rows) -> Result<(), DecodeError> {
        crate::reset(&mut self.arena);
        let found = self.frames.object(frame, &self.arena);
        if self.records_seen == 0
            && let Ok((_, members)) = found
            && let Some(what) = (self.source.foreign)(members)
        {
            return Err(DecodeError { what, byte: frame.byte, kind: ErrorKind::OtherSource });
        }
        out.begin_record(frame.len as usize);
        let record = self.records_seen;
        self.records_seen += 1;
        let pushed = (self.source.push)(found, frame, &self.origin, &self.arena, out);
        if let Err(reason) = pushed {
            let place =
                Place { record, byte: frame.byte, len: frame.len, raw: frame.bytes, header: None };
            out.reject(reason, place);
        }
        Ok(())
    }
}

impl Decode for JsonDecoder {
    fn decode(&mut self, input: &[u8], eof: bool, out: &mut Rows) -> Result<usize, DecodeError> {
        let mut rest = input;
        while let Some(frame) = self.frames.next(&mut rest, eof)? {
            self.record(&frame, out)?;
            if out.is_full() {
                break;
            }
        }
        Ok(input.len() - rest.len())
    }
}
