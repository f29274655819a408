//! Writes OCSF values as JSON text, in one of the two forms of the mapping (1.3).
//!
//! # Input
//! Values of a row: UTF-8 text, numbers, instants in milliseconds.
//! # Maps to
//! Compact JSON, appended to a buffer.
//! # Known gaps
//! None.
//! # Reference
//! RFC 8259, section 7 for what a string must escape.

use crate::time;

/// Which of the forms of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As OCSF has it: `json_t` is text.
    Event,
    /// For an index: `json_t` and `unmapped` are objects for a `flat_object` field.
    Index,
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Bytes that a JSON string must not hold as they are.
static ESCAPED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table
};

/// Appends `text` as a JSON string.
pub fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if !ESCAPED[byte as usize] {
            continue;
        }
        out.extend_from_slice(&bytes[from..at]);
        from = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
        }
    }
    out.extend_from_slice(&bytes[from..]);
    out.push(b'"');
}

/// Appends a number.
pub fn integer(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends an instant (milliseconds since 1970 UTC) as a `datetime_t` string.
pub fn datetime(ms: i64, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(&time::datetime(ms));
    out.push(b'"');
}

/// Appends pairs of texts as an object.
pub fn pairs(pairs: &[(&str, &str)], out: &mut Vec<u8>) {
    out.push(b'{');
    for (at, (key, value)) in pairs.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        string(key, out);
        out.push(b':');
        string(value, out);
    }
    out.push(b'}');
}
