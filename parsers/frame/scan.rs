//! Finds the end of a JSON value, in pieces, however broken it is.
//!
//! # Input
//! Bytes from the value's first on.
//! # Maps to
//! The place behind the value.
//! # Known gaps
//! None.
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
    /// Bytes of earlier pieces.
    seen: usize,
    doubt: Option<usize>,
}

/// The inside of a string.
#[derive(Default)]
pub(super) struct Text {
    escaped: bool,
    line_start: bool,
}

/// How a value ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// One past it.
    Whole(usize),
    /// At the brace of the next record: the value was cut.
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

    /// Where a line starts with a brace that may be a value of this one, but is another record if
    /// this one turns out to be broken. From the value's first byte on.
    pub(super) fn doubt(&self) -> Option<usize> {
        if let Self::Nested(nested) = self { nested.doubt } else { None }
    }

    /// The end of the value, if it ends in `bytes`.
    pub(super) fn run(&mut self, bytes: &[u8]) -> Option<End> {
        let whole = match self {
            Self::Line => memchr::memchr(b'\n', bytes),
            Self::Scalar { begun } => {
                // The first byte is of the value whatever it is, so that a stray bracket is a
                // record of its own and not the end of an empty one, again and again.
                let skip = usize::from(!std::mem::replace(begun, true) && !bytes.is_empty());
                let ends =
                    |byte: &u8| matches!(byte, b',' | b']' | b'}') || byte.is_ascii_whitespace();
                bytes[skip..].iter().position(ends).map(|len| skip + len)
            }
            Self::String(text, begun) => {
                let skip = usize::from(!std::mem::replace(begun, true) && !bytes.is_empty());
                return text.run(bytes, skip);
            }
            Self::Nested(nested) => return nested.run(bytes),
        };
        whole.map(End::Whole)
    }
}

impl Nested {
    /// One past the value, or where another record starts inside of it: a line that starts with a
    /// brace where no value can stand. That costs the records behind a cut one nothing.
    fn run(&mut self, bytes: &[u8]) -> Option<End> {
        let end = self.find(bytes);
        self.seen += bytes.len();
        end
    }

    fn find(&mut self, bytes: &[u8]) -> Option<End> {
        let mut at = 0;
        loop {
            if self.in_string {
                match self.text.run(bytes, at)? {
                    End::Whole(end) => at = end,
                    cut @ End::Cut(_) => return Some(cut),
                }
                self.in_string = false;
                self.last = b'"';
            }
            let byte = *bytes.get(at)?;
            let line_start = std::mem::replace(&mut self.line_start, byte == b'\n');
            let may_be_value = matches!(self.last, b':' | b',' | b'[');
            if byte == b'{' && line_start && self.depth > 0 {
                if !may_be_value {
                    return Some(End::Cut(at));
                }
                self.doubt = self.doubt.or(Some(self.seen + at));
            }
            at += 1;
            if byte == b'"' {
                self.in_string = true;
            } else if byte == self.open {
                self.depth += 1;
            } else if byte == self.close {
                self.depth -= 1;
                if self.depth == 0 {
                    return Some(End::Whole(at));
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
    fn run(&mut self, bytes: &[u8], mut at: usize) -> Option<End> {
        loop {
            let byte = *bytes.get(at)?;
            let line_start = std::mem::replace(&mut self.line_start, byte == b'\n');
            if byte == b'{' && line_start {
                return Some(End::Cut(at));
            }
            let escaped = std::mem::replace(&mut self.escaped, false);
            if !escaped && byte == b'"' {
                return Some(End::Whole(at + 1));
            }
            self.escaped = !escaped && byte == b'\\';
            at += 1;
            if !self.escaped && !self.line_start {
                at += memchr::memchr3(b'"', b'\\', b'\n', &bytes[at..]).unwrap_or(bytes.len() - at);
            }
        }
    }
}
