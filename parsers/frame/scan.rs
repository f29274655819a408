//! Finds the end of a JSON value, in pieces, however broken it is.
//!
//! # Input
//! Bytes from the value's first on.
//! # Maps to
//! The place behind the value.
//! # Known gaps
//! A record that was cut where a value may follow, as behind a comma, takes the next one along.
//! # Reference
//! RFC 8259: a line's end is never inside of a string.

/// Finds the end of a value whose start has been seen, in pieces.
pub(super) enum Scan {
    Nested(Nested),
    /// A string; true once its first quote has been passed.
    String(Text, bool),
    /// A number or literal, or whatever else stands where a value should.
    Scalar {
        begun: bool,
    },
    /// Whatever it is, up to the end of the line.
    Line,
}

/// An object or list: only its own kind of bracket counts, so that a wrong bracket of the other
/// kind costs no more than its record.
#[derive(Default)]
pub(super) struct Nested {
    open: u8,
    close: u8,
    depth: u32,
    in_string: bool,
    text: Text,
    /// The last byte was a line's end.
    line_start: bool,
    /// The last byte that was not blank.
    last: u8,
}

/// The inside of a string.
#[derive(Default)]
pub(super) struct Text {
    escaped: bool,
    line_start: bool,
}

enum TextEnd {
    /// One past the closing quote.
    Closed(usize),
    /// The brace of the next record: the string was cut.
    Cut(usize),
}

impl Scan {
    pub(super) fn braces(depth: u32) -> Self {
        Self::nested(b'{', b'}', depth)
    }

    pub(super) fn nested(open: u8, close: u8, depth: u32) -> Self {
        Self::Nested(Nested { open, close, depth, ..Nested::default() })
    }

    pub(super) fn string() -> Self {
        Self::String(Text::default(), false)
    }

    /// True before the first byte of an object.
    pub(super) fn is_new_object(&self) -> bool {
        matches!(self, Self::Nested(Nested { open: b'{', depth: 0, in_string: false, .. }))
    }

    /// One past the value, if it ends in `bytes`.
    pub(super) fn run(&mut self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Line => memchr::memchr(b'\n', bytes),
            Self::Scalar { begun } => {
                // The first byte is of the value whatever it is, so that a stray bracket is a
                // record of its own and not the end of an empty one, again and again.
                let skip = usize::from(!std::mem::replace(begun, true) && !bytes.is_empty());
                let ends =
                    |byte: &u8| matches!(byte, b',' | b']' | b'}') || byte.is_ascii_whitespace();
                Some(skip + bytes[skip..].iter().position(ends)?)
            }
            Self::String(text, begun) => {
                let skip = usize::from(!std::mem::replace(begun, true) && !bytes.is_empty());
                match text.run(bytes, skip)? {
                    TextEnd::Closed(end) | TextEnd::Cut(end) => Some(end),
                }
            }
            Self::Nested(nested) => nested.run(bytes),
        }
    }
}

impl Nested {
    /// One past the value, or where another record starts inside of it: a line that starts with a
    /// brace where no value can stand. That costs the records behind a cut one nothing.
    fn run(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            if self.in_string {
                match self.text.run(bytes, at)? {
                    TextEnd::Closed(end) => at = end,
                    TextEnd::Cut(end) => return Some(end),
                }
                self.in_string = false;
                self.last = b'"';
            }
            let byte = *bytes.get(at)?;
            let line_start = std::mem::replace(&mut self.line_start, byte == b'\n');
            let may_be_value = matches!(self.last, b':' | b',' | b'[');
            if byte == b'{' && line_start && !may_be_value && self.depth > 0 {
                return Some(at);
            }
            at += 1;
            if byte == b'"' {
                self.in_string = true;
            } else if byte == self.open {
                self.depth += 1;
            } else if byte == self.close {
                self.depth -= 1;
                if self.depth == 0 {
                    return Some(at);
                }
            }
            if !byte.is_ascii_whitespace() {
                self.last = byte;
            }
        }
    }
}

impl Text {
    /// The end of the string, searching from `at`.
    fn run(&mut self, bytes: &[u8], mut at: usize) -> Option<TextEnd> {
        loop {
            let byte = *bytes.get(at)?;
            let line_start = std::mem::replace(&mut self.line_start, byte == b'\n');
            if byte == b'{' && line_start {
                return Some(TextEnd::Cut(at));
            }
            let escaped = std::mem::replace(&mut self.escaped, false);
            if !escaped && byte == b'"' {
                return Some(TextEnd::Closed(at + 1));
            }
            self.escaped = !escaped && byte == b'\\';
            at += 1;
            if !self.escaped && !self.line_start {
                at += memchr::memchr3(b'"', b'\\', b'\n', &bytes[at..]).unwrap_or(bytes.len() - at);
            }
        }
    }
}
