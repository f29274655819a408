//! Decompresses gzip (all members), zstd and plain bytes, told apart by content. The only module
//! that touches decoders.
//!
//! # Input
//! An object's bytes in pieces of any size.
//! # Maps to
//! Decompressed bytes, as many as the output buffer has room for.
//! # Known gaps
//! A zstd frame with a window over 8 MiB (`--long`) is refused: it would need that much memory.
//! # Reference
//! RFC 1952 for gzip, RFC 8878 for zstd.
#![allow(clippy::disallowed_types, reason = "this is the module that the rule leaves them to")]

use bytes::{Buf, Bytes};
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, InBuffer, Operation, OutBuffer};

/// Log2 of the largest zstd window.
const ZSTD_WINDOW_LOG: u32 = 23;
const ZSTD_PIECE_BYTES: usize = 16 << 10;

/// How much output is allowed.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// Output bytes for each input byte.
    pub ratio: u64,
    /// Output that is always allowed, in bytes, whatever the ratio.
    pub free_bytes: u64,
    /// Output bytes at most.
    pub max_bytes: u64,
}

impl Default for Caps {
    fn default() -> Self {
        Self { ratio: 1000, free_bytes: 16 << 20, max_bytes: 64 << 30 }
    }
}

/// Why an object cannot be decompressed further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} (byte {out_bytes} of the data, {in_bytes} of the object)")]
pub struct InflateError {
    /// What is wrong.
    pub what: String,
    /// Decompressed bytes before it.
    pub out_bytes: u64,
    /// Object bytes before it, about.
    pub in_bytes: u64,
}

enum Format {
    Unknown,
    Plain,
    /// None between members.
    Gzip(Option<Box<Decompress>>),
    Zstd {
        decoder: Box<ZstdDecoder<'static>>,
        in_frame: bool,
    },
}

/// How gzip data starts (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// How zstd data starts (RFC 8878).
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A decompressor for one object.
pub struct Inflate {
    caps: Caps,
    format: Format,
    /// The first bytes, until they tell the format.
    head: Vec<u8>,
    in_bytes: u64,
    out_bytes: u64,
}

impl Inflate {
    /// For an object of unknown format.
    pub fn new(caps: Caps) -> Self {
        Self { caps, format: Format::Unknown, head: Vec::new(), in_bytes: 0, out_bytes: 0 }
    }

    /// Takes bytes from `input` and appends what they hold to `out`, up to its capacity. Returns
    /// when `input` is empty or `out` is full. After an error `out` holds what precedes it.
    pub fn run(&mut self, input: &mut Bytes, out: &mut Vec<u8>) -> Result<(), InflateError> {
        if matches!(self.format, Format::Unknown) {
            if self.head.is_empty() && input.len() >= 4 {
                self.format = format_of(input)?;
            } else {
                self.head.extend_from_slice(input);
                input.clear();
                if self.head.len() < 4 {
                    return Ok(());
                }
                *input = Bytes::from(std::mem::take(&mut self.head));
                self.format = format_of(input)?;
            }
        }
        while !input.is_empty() && out.len() < out.capacity() {
            let (in_before, out_before) = (input.len(), out.len());
            let result = self.step(input, out);
            self.in_bytes += (in_before - input.len()) as u64;
            self.out_bytes += (out.len() - out_before) as u64;
            result.map_err(|what| self.error(what))?;
            let by_ratio = self.in_bytes.saturating_mul(self.caps.ratio).max(self.caps.free_bytes);
            if self.out_bytes > by_ratio.min(self.caps.max_bytes) {
                return Err(self.error(format!(
                    "decompression limit: over {} times the object, or over {} bytes",
                    self.caps.ratio, self.caps.max_bytes
                )));
            }
        }
        Ok(())
    }

    /// Says that the object has ended. True if `run` must be called again with the returned bytes.
    pub fn finish(&mut self, input: &mut Bytes) -> Result<bool, InflateError> {
        match &self.format {
            Format::Unknown if self.head == GZIP[..1] || self.head.starts_with(&GZIP) => {
                Err(self.error("the gzip data ends early".into()))
            }
            Format::Unknown if self.head.len() > 1 && ZSTD.starts_with(&self.head) => {
                Err(self.error("the zstd data ends early".into()))
            }
            Format::Unknown if !self.head.is_empty() => {
                // Shorter than any compressed object.
                self.format = Format::Plain;
                *input = Bytes::from(std::mem::take(&mut self.head));
                Ok(true)
            }
            Format::Gzip(Some(_)) => Err(self.error("the gzip data ends early".into())),
            Format::Zstd { in_frame: true, .. } => {
                Err(self.error("the zstd data ends early".into()))
            }
            _ => Ok(false),
        }
    }

    fn step(&mut self, input: &mut Bytes, out: &mut Vec<u8>) -> Result<(), String> {
        match &mut self.format {
            Format::Unknown => unreachable!("run has set the format"),
            Format::Plain => {
                let count = input.len().min(out.capacity() - out.len());
                out.extend_from_slice(&input[..count]);
                input.advance(count);
            }
            Format::Gzip(member) => {
                let fresh = member.is_none();
                let decoder = member.get_or_insert_with(|| Box::new(Decompress::new_gzip(15)));
                let before = decoder.total_in();
                let status = decoder.decompress_vec(input, out, FlushDecompress::None);
                let taken = (decoder.total_in() - before) as usize;
                input.advance(taken.min(input.len()));
                match status {
                    Ok(Status::StreamEnd) => *member = None,
                    Ok(_) => {}
                    Err(_) if fresh && self.in_bytes > 0 => {
                        return Err("garbage after a gzip member".into());
                    }
                    Err(error) => return Err(format!("broken gzip data: {error}")),
                }
            }
            Format::Zstd { decoder, in_frame } => {
                let mut piece = [0; ZSTD_PIECE_BYTES];
                let room = (out.capacity() - out.len()).min(piece.len());
                let mut source = InBuffer::around(input);
                let mut target = OutBuffer::around(&mut piece[..room]);
                let hint = decoder.run(&mut source, &mut target);
                let (taken, made) = (source.pos(), target.pos());
                input.advance(taken);
                out.extend_from_slice(&piece[..made]);
                match hint {
                    Ok(hint) => *in_frame = hint != 0,
                    Err(error) => return Err(format!("broken zstd data: {error}")),
                }
            }
        }
        Ok(())
    }

    fn error(&self, what: String) -> InflateError {
        InflateError { what, out_bytes: self.out_bytes, in_bytes: self.in_bytes }
    }
}

fn format_of(head: &[u8]) -> Result<Format, InflateError> {
    if head.starts_with(&GZIP) {
        return Ok(Format::Gzip(None));
    }
    if head.starts_with(&ZSTD) {
        let decoder = ZstdDecoder::new().and_then(|mut decoder| {
            decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))?;
            Ok(decoder)
        });
        return match decoder {
            Ok(decoder) => Ok(Format::Zstd { decoder: Box::new(decoder), in_frame: true }),
            Err(error) => Err(InflateError {
                what: format!("cannot start the zstd decoder: {error}"),
                out_bytes: 0,
                in_bytes: 0,
            }),
        };
    }
    Ok(Format::Plain)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    /// Everything before an error, with pieces of `piece` bytes and room for `room` at a time.
    fn inflate(object: &[u8], piece: usize, room: usize) -> (Vec<u8>, Option<InflateError>) {
        let mut inflate = Inflate::new(Caps { free_bytes: 1 << 20, ..Caps::default() });
        let mut all = Vec::new();
        let mut out = Vec::with_capacity(room);
        let mut pieces: Vec<Bytes> = object.chunks(piece).map(Bytes::copy_from_slice).collect();
        let mut last = Bytes::new();
        pieces.reverse();
        loop {
            let (mut input, end) = match pieces.pop() {
                Some(input) => (input, false),
                None => match inflate.finish(&mut last) {
                    Ok(false) => return (all, None),
                    Ok(true) => (std::mem::take(&mut last), true),
                    Err(error) => return (all, Some(error)),
                },
            };
            loop {
                let result = inflate.run(&mut input, &mut out);
                all.append(&mut out);
                out.reserve_exact(room);
                if let Err(error) = result {
                    return (all, Some(error));
                }
                if input.is_empty() {
                    break;
                }
            }
            let _ = end;
        }
    }

    #[test]
    fn formats_are_told_by_content_and_all_members_are_read() {
        let text = b"line one\nline two\n".repeat(500);
        let mut two_members = gzip(&text[..100]);
        two_members.extend(gzip(&text[100..]));
        let zstd = zstd::encode_all(text.as_slice(), 3).unwrap();
        let mut two_frames = zstd.clone();
        two_frames.extend(zstd::encode_all(&b"more"[..], 3).unwrap());
        for (object, expected) in [
            (gzip(&text), text.clone()),
            (two_members, text.clone()),
            (zstd, text.clone()),
            (two_frames, [text.as_slice(), b"more"].concat()),
            (text.clone(), text.clone()),
            (b"ab".to_vec(), b"ab".to_vec()),
            (Vec::new(), Vec::new()),
        ] {
            for (piece, room) in [(1, 7), (64, 64), (1 << 20, 1 << 20)] {
                let (found, error) = inflate(&object, piece, room);
                assert_eq!(error, None);
                assert_eq!(found, expected, "piece {piece}, room {room}");
            }
        }
    }

    #[test]
    fn damage_fails_at_its_byte_and_keeps_what_precedes_it() {
        let text = b"some text that repeats, some text that repeats. ".repeat(1000);
        let whole = gzip(&text);
        let (found, error) = inflate(&whole[..whole.len() - 20], 100, 4096);
        let error = error.expect("it is cut");
        assert_eq!(error.what, "the gzip data ends early");
        assert!(text.starts_with(&found) && found.len() as u64 == error.out_bytes);
        for cut in 1..12 {
            assert!(inflate(&whole[..cut], 100, 4096).1.is_some(), "cut at {cut}");
        }

        let mut bad_crc = whole.clone();
        let at = bad_crc.len() - 6;
        bad_crc[at] ^= 1;
        let (found, error) = inflate(&bad_crc, 100, 4096);
        assert!(error.expect("its checksum is wrong").what.starts_with("broken gzip data"));
        assert_eq!(found, text);

        let (found, error) = inflate(&[whole, b"garbage".to_vec()].concat(), 100, 4096);
        assert_eq!(error.expect("garbage follows").what, "garbage after a gzip member");
        assert_eq!(found, text);
    }

    #[test]
    fn a_bomb_fails_at_the_cap() {
        // Only the best level comes near the format's limit of 1032 to 1.
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&vec![0; 64 << 20]).unwrap();
        let bomb = encoder.finish().unwrap();
        let (found, error) = inflate(&bomb, 1 << 10, 1 << 16);
        assert!(error.expect("it is over the cap").what.starts_with("decompression limit"));
        assert!(found.len() < 64 << 20);
    }
}
