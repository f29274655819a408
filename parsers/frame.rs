//! Finds whole records in a stream of bytes, resuming where the last piece ended.
//!
//! # Input
//! Decompressed bytes in pieces of any size.
//! # Maps to
//! One [`Frame`] for each JSON record or line, with its position.
//! # Known gaps
//! A JSON record whose braces do not balance ends before the next line that starts with a brace and
//! cannot belong to it. Where there is none, as in a document of one line, it takes the records
//! behind it along: the object is reported as failed at the byte where that record starts.
//! # Reference
//! Root forms of CloudTrail objects: an object with `Records`, a list, one record, JSON lines.

use bumpalo::Bump;

use crate::{
    DecodeError, ErrorKind, MAX_RECORD_BYTES,
    json::{self, Member, Span},
};

mod scan;

use scan::{End, Scan};

/// A record that is a JSON object: its text, and its members.
pub type Record<'a> = (&'a str, &'a [Member<'a>]);

/// A record as it lies in the object.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Byte position in the decompressed object.
    pub byte: u64,
    /// Its bytes; None if it is over [`MAX_RECORD_BYTES`].
    pub bytes: Option<&'a [u8]>,
    /// Its length in bytes.
    pub len: u64,
    /// It is known to be a JSON object, with members that [`JsonRecords`] remembers.
    pub checked: bool,
}

/// Where the stream stands; shared by both framers.
#[derive(Default)]
struct Position {
    /// Bytes consumed so far.
    byte: u64,
    /// Bytes of the unfinished record that were scanned already and are still in the input.
    scanned: usize,
    /// Bytes of the unfinished record that were thrown away because it is too long.
    dropped: u64,
}

impl Position {
    fn advance(&mut self, input: &mut &[u8], count: usize) {
        *input = &input[count..];
        self.byte += count as u64;
        self.scanned = 0;
    }

    /// The record ends at `end`.
    fn frame<'i>(&mut self, input: &mut &'i [u8], end: usize) -> Frame<'i> {
        let dropped = std::mem::take(&mut self.dropped);
        let record = &input[..end];
        let len = dropped + end as u64;
        let keep = dropped == 0 && end <= MAX_RECORD_BYTES;
        let frame =
            Frame { byte: self.byte - dropped, bytes: keep.then_some(record), len, checked: false };
        self.advance(input, end);
        frame
    }

    /// The record goes on behind the input. Too long: what is there is dropped.
    fn unfinished(&mut self, input: &mut &[u8]) {
        self.scanned = input.len();
        if self.dropped > 0 || input.len() > MAX_RECORD_BYTES {
            self.dropped += input.len() as u64;
            self.advance(input, input.len());
        }
    }
}

/// Lines, without their ends.
#[derive(Default)]
pub struct Lines {
    position: Position,
}

impl Lines {
    /// The next whole line; None if `input` holds none. Consumes it from `input`.
    pub fn next<'i>(&mut self, input: &mut &'i [u8], eof: bool) -> Option<Frame<'i>> {
        let found = memchr::memchr(b'\n', &input[self.position.scanned..]);
        if found.is_none() && !eof {
            self.position.unfinished(input);
            return None;
        }
        if input.is_empty() && self.position.dropped == 0 {
            return None;
        }
        let end = found.map_or(input.len(), |at| self.position.scanned + at);
        let mut frame = self.position.frame(input, end);
        if found.is_some() {
            self.position.advance(input, 1);
        }
        if let Some(line) = frame.bytes.and_then(|line| line.strip_suffix(b"\r")) {
            frame.bytes = Some(line);
        }
        Some(frame)
    }
}

#[derive(Default, Clone, Copy)]
enum Inside {
    /// Between root values.
    #[default]
    Document,
    /// In a list of records; with `wrapped` it is a member of a root object.
    List { wrapped: bool },
    /// Behind the list of a root object, up to the object's end.
    Wrapper,
}

/// Records of JSON objects, see the module's reference.
pub struct JsonRecords {
    /// Members of a root object that hold a list of records.
    wrappers: &'static [&'static str],
    /// Members of the last record, if it was checked.
    members: Vec<Span>,
    /// Memory for checking.
    open: Vec<u8>,
    position: Position,
    inside: Inside,
    scan: Option<Scan>,
    started: bool,
}

impl JsonRecords {
    /// Records of an object, in a list of one of these names if a root object has one.
    pub fn new(wrappers: &'static [&'static str]) -> Self {
        Self {
            wrappers,
            members: Vec::new(),
            open: Vec::new(),
            position: Position::default(),
            inside: Inside::default(),
            scan: None,
            started: false,
        }
    }

    /// The last record, or why it is to be rejected (mapping 1.8).
    pub fn object<'a>(
        &self,
        frame: &Frame<'a>,
        arena: &'a Bump,
    ) -> Result<Record<'a>, &'static str> {
        let bytes = frame.bytes.ok_or("too long")?;
        let text = str::from_utf8(bytes).map_err(|_| "invalid UTF-8")?;
        if !text.starts_with('{') {
            return Err(if json::is_value(text) { "not an object" } else { "not JSON" });
        }
        if frame.checked {
            let member = |(key, value): &Span| (&text[key.clone()], &text[value.clone()]);
            return Ok((text, arena.alloc_slice_fill_iter(self.members.iter().map(member))));
        }
        Ok((text, json::object(text, arena).ok_or("not JSON")?.into_bump_slice()))
    }

    /// The next whole record; None if `input` holds none. Consumes it from `input`.
    pub fn next<'i>(
        &mut self,
        input: &mut &'i [u8],
        eof: bool,
    ) -> Result<Option<Frame<'i>>, DecodeError> {
        loop {
            if self.scan.is_none() && !self.start(input, eof) {
                return self.at_end(input, eof);
            }
            let Some(scan) = &mut self.scan else { continue };
            // A whole and sound record, as nearly all are, is checked while its end is looked for.
            if self.position.scanned == 0 && self.position.dropped == 0 && scan.is_new_object() {
                self.members.clear();
                let members = &mut self.members;
                let end = json::object_end(input, &mut self.open, |span| members.push(span));
                if let Some(end) = end.filter(|&end| end <= MAX_RECORD_BYTES) {
                    self.scan = None;
                    let frame = self.position.frame(input, end);
                    return Ok(Some(Frame { checked: true, ..frame }));
                }
            }
            let end = scan.run(&input[self.position.scanned..]);
            let doubt = scan.doubt().filter(|_| self.position.dropped == 0);
            match end {
                Some(end) => {
                    let end = match (end, doubt) {
                        (End::Cut(_), Some(doubt)) => doubt,
                        (End::Whole(end) | End::Cut(end), _) => self.position.scanned + end,
                    };
                    // A broken record ends with its line.
                    let end = input[..end].trim_ascii_end().len();
                    self.scan = None;
                    if matches!(self.inside, Inside::Wrapper) {
                        self.inside = Inside::Document;
                        self.position.advance(input, end);
                        continue;
                    }
                    return Ok(Some(self.position.frame(input, end)));
                }
                None if matches!(self.inside, Inside::Wrapper) => {
                    self.position.advance(input, input.len());
                    return self.at_end(input, eof);
                }
                None if eof && matches!(scan, Scan::Line) => {
                    self.scan = None;
                    return Ok(Some(self.position.frame(input, input.len())));
                }
                None => {
                    if let Some(doubt) = doubt.filter(|_| eof) {
                        self.scan = None;
                        let end = input[..doubt].trim_ascii_end().len();
                        return Ok(Some(self.position.frame(input, end)));
                    }
                    self.position.unfinished(input);
                    return self.at_end(input, eof);
                }
            }
        }
    }

    /// Skips to the next record and sets `scan`. False if more input is needed.
    fn start(&mut self, input: &mut &[u8], eof: bool) -> bool {
        if !self.started {
            const BOM: &[u8] = b"\xef\xbb\xbf";
            if input.len() < BOM.len() && BOM.starts_with(input) && !eof {
                return false;
            }
            self.started = true;
            if input.starts_with(BOM) {
                self.position.advance(input, BOM.len());
            }
        }
        let blank = |byte: &u8| !(byte.is_ascii_whitespace() || *byte == b',');
        let skip = input.iter().position(blank).unwrap_or(input.len());
        if skip > 0 {
            self.position.advance(input, skip);
        }
        let Some(&first) = input.first() else {
            return false;
        };
        match (self.inside, first) {
            (Inside::List { wrapped }, b']') => {
                self.position.advance(input, 1);
                self.inside = Inside::Document;
                if wrapped {
                    self.inside = Inside::Wrapper;
                }
            }
            (Inside::Document, b'[') => {
                self.position.advance(input, 1);
                self.inside = Inside::List { wrapped: false };
            }
            // Another list of that name would be lost otherwise.
            (Inside::Wrapper, _) => match records_of(input, 0, self.wrappers) {
                Root::Records(at) => {
                    self.position.advance(input, at);
                    self.inside = Inside::List { wrapped: true };
                }
                Root::Unknown if !eof && input.len() <= MAX_RECORD_BYTES => return false,
                Root::Record | Root::Unknown => self.scan = Some(Scan::braces(1)),
            },
            (Inside::Document, b'{') => match records_of(input, 1, self.wrappers) {
                Root::Records(at) => {
                    self.position.advance(input, at);
                    self.inside = Inside::List { wrapped: true };
                }
                Root::Unknown if !eof && input.len() <= MAX_RECORD_BYTES => return false,
                Root::Record | Root::Unknown => self.scan = Some(Scan::braces(0)),
            },
            (Inside::Document, _) => self.scan = Some(Scan::Line),
            (_, b'{') => self.scan = Some(Scan::braces(0)),
            (_, b'[') => self.scan = Some(Scan::nested(b'[', b']', 0)),
            (_, b'"') => {
                self.scan = Some(Scan::string());
            }
            _ => self.scan = Some(Scan::Scalar { begun: false }),
        }
        true
    }

    /// Nothing whole is left in the input: fine at the end of a document, else an error.
    fn at_end<'i>(&self, input: &[u8], eof: bool) -> Result<Option<Frame<'i>>, DecodeError> {
        let open = self.scan.is_some() || !matches!(self.inside, Inside::Document);
        if eof && (open || !input.is_empty()) {
            let byte = self.position.byte - self.position.dropped;
            let what = "the JSON ends inside a record or list";
            return Err(DecodeError { what, byte, kind: ErrorKind::Damaged });
        }
        Ok(None)
    }
}

enum Root {
    /// It wraps a list whose elements start here.
    Records(usize),
    /// It has no list of records.
    Record,
    /// It goes on behind the input.
    Unknown,
}

/// Looks for a list of records in the root object whose members start at `at`.
fn records_of(input: &[u8], mut at: usize, wrappers: &[&str]) -> Root {
    loop {
        let skip = |at: usize| {
            let blank = |b: &u8| !(b.is_ascii_whitespace() || matches!(b, b',' | b':'));
            Some(at + input.get(at..)?.iter().position(blank)?)
        };
        let value = |at: usize| {
            let mut scan = match input[at] {
                b'{' => Scan::braces(0),
                b'[' => Scan::nested(b'[', b']', 0),
                b'"' => Scan::string(),
                _ => Scan::Scalar { begun: false },
            };
            match scan.run(&input[at..])? {
                End::Whole(end) | End::Cut(end) => Some(at + end),
            }
        };
        let Some(key) = skip(at) else {
            return Root::Unknown;
        };
        if input[key] != b'"' {
            return Root::Record;
        }
        let Some(key_end) = value(key) else {
            return Root::Unknown;
        };
        let Some(start) = skip(key_end) else {
            return Root::Unknown;
        };
        let name = &input[key + 1..key_end - 1];
        if input[start] == b'[' && wrappers.iter().any(|wrapper| wrapper.as_bytes() == name) {
            return Root::Records(start + 1);
        }
        match value(start) {
            Some(end) if end > start => at = end,
            Some(_) => return Root::Record,
            None => return Root::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All frames when the input arrives cut at `cuts`, with the error's byte if there is one.
    fn frames(input: &[u8], cuts: &[usize]) -> (Vec<(u64, Vec<u8>)>, Option<u64>) {
        let mut framer = JsonRecords::new(&["Records"]);
        let mut found = Vec::new();
        let mut window = Vec::new();
        let mut from = 0;
        for cut in cuts.iter().copied().chain([input.len()]) {
            window.extend_from_slice(&input[from..cut.max(from)]);
            from = cut.max(from);
            let mut rest = window.as_slice();
            loop {
                match framer.next(&mut rest, from == input.len()) {
                    Ok(Some(frame)) => found.push((frame.byte, frame.bytes.unwrap().to_vec())),
                    Ok(None) => break,
                    Err(error) => return (found, Some(error.byte)),
                }
            }
            window = rest.to_vec();
        }
        (found, None)
    }

    const FORMS: &[(&str, &[&str])] = &[
        ("", &[]),
        ("{\"Records\":[]}", &[]),
        (
            "{\"Records\":[{\"a\":\"}]\\\"\"},{\"b\":[{}]}]}",
            &["{\"a\":\"}]\\\"\"}", "{\"b\":[{}]}"],
        ),
        ("\u{feff} {\"x\":{\"y\":1},\"Records\": [\r\n{} ] , \"z\":\"}\" }\n", &["{}"]),
        ("[{\"a\":1}, null,\"x,]\", 12 ,[{}]]", &["{\"a\":1}", "null", "\"x,]\"", "12", "[{}]"]),
        ("{\"a\":1}", &["{\"a\":1}"]),
        (
            "{\"a\":1}\n{\"Records\":1}\nnot json\n{}",
            &["{\"a\":1}", "{\"Records\":1}", "not json", "{}"],
        ),
        ("{\"Records\":[{}]}{\"Records\":[{\"b\":1}]}", &["{}", "{\"b\":1}"]),
        ("{\"Records\":[{\"a\":]},{\"b\":1}]}", &["{\"a\":]}", "{\"b\":1}"]),
        // Cut records: behind a value, in a string, in a key, in a list, before a list's end.
        ("{\"a\":1\n{\"b\":2}\n", &["{\"a\":1", "{\"b\":2}"]),
        ("{\"a\":\"x\r\n{\"b\":2}\n{}", &["{\"a\":\"x", "{\"b\":2}", "{}"]),
        ("{\"a\":{\"x\n{\"b\":2}\n{}", &["{\"a\":{\"x", "{\"b\":2}", "{}"]),
        ("[{\"a\":{\"c\":1\n{\"b\":2},\n{}]", &["{\"a\":{\"c\":1", "{\"b\":2}", "{}"]),
        // One that might go on.
        ("{\"a\":1,\n{\"b\":2}\n{\"c\":3}", &["{\"a\":1,", "{\"b\":2}", "{\"c\":3}"]),
        ("{\"a\":\n{\"b\":2}", &["{\"a\":", "{\"b\":2}"]),
        ("{\"a\":[\n{\"b\":2},\n{\"c\":3}\n", &["{\"a\":[", "{\"b\":2}", "{\"c\":3}"]),
        ("{\"Records\":[{}],\"x\":{},\"Records\":[{\"b\":1}]}", &["{}", "{\"b\":1}"]),
        // Sound ones may have braces at the start of lines.
        ("{\"a\":\n{\"b\":[\n{},\n{}]}}\n{}", &["{\"a\":\n{\"b\":[\n{},\n{}]}}", "{}"]),
    ];

    #[test]
    fn every_root_form_gives_its_records() {
        for (input, expected) in FORMS {
            let (found, error) = frames(input.as_bytes(), &[]);
            let texts: Vec<_> =
                found.iter().map(|(_, bytes)| std::str::from_utf8(bytes).unwrap()).collect();
            assert_eq!(&texts, expected, "{input}");
            assert_eq!(error, None, "{input}");
            for (byte, bytes) in found {
                assert!(input.as_bytes()[byte as usize..].starts_with(&bytes), "{input}");
            }
        }
    }

    #[test]
    fn a_stray_bracket_is_a_record_of_its_own_and_the_next_one_is_found() {
        for input in ["{\"Records\":[{}},{\"b\":1}]}", "[{}},{\"b\":1}]", "[}}}{}]", "[}"] {
            let (found, _) = frames(input.as_bytes(), &[]);
            assert!(found.len() <= input.len(), "{input}");
            assert!(found.iter().all(|(_, bytes)| !bytes.is_empty()), "{input}: {found:?}");
        }
        let (found, _) = frames(b"[{}},{\"b\":1}]", &[]);
        let texts: Vec<_> = found.iter().map(|(_, bytes)| bytes.as_slice()).collect();
        assert_eq!(texts, [&b"{}"[..], b"}", b"{\"b\":1}"]);
    }

    proptest! {
        #[test]
        fn any_bytes_end_and_no_frame_is_empty(
            bytes in prop::collection::vec(prop::sample::select(b"{}[]\",:\\1a \nR".to_vec()), 0..40),
        ) {
            let (found, _) = frames(&bytes, &[]);
            prop_assert!(found.iter().all(|(_, frame)| !frame.is_empty()));
        }
    }

    #[test]
    fn a_cut_record_is_an_error_at_its_first_byte() {
        assert_eq!(frames(b"{\"Records\":[{},{\"a", &[]).1, Some(15));
        assert_eq!(frames(b"{\"Records\":[{}", &[]).1, Some(14));
    }

    #[test]
    fn a_record_over_the_limit_is_passed_by_with_its_length() {
        let long = format!("[{{\"a\":\"{}\"}},{{}}]", "x".repeat(MAX_RECORD_BYTES));
        let mut framer = JsonRecords::new(&["Records"]);
        let mut lens = Vec::new();
        let mut window: Vec<u8> = Vec::new();
        for (at, piece) in long.as_bytes().chunks(1 << 20).enumerate() {
            window.extend_from_slice(piece);
            let mut rest = window.as_slice();
            let eof = (at + 1) << 20 >= long.len();
            while let Some(frame) = framer.next(&mut rest, eof).unwrap() {
                lens.push((frame.byte, frame.len, frame.bytes.is_some()));
            }
            window = rest.to_vec();
            assert!(window.len() <= MAX_RECORD_BYTES + (1 << 20));
        }
        let len = MAX_RECORD_BYTES as u64 + 8;
        assert_eq!(lens, [(1, len, false), (len + 2, 2, true)]);
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_frames(
            form in 0..FORMS.len(),
            mut cuts in prop::collection::vec(0_usize..60, 0..6),
        ) {
            let input = FORMS[form].0.as_bytes();
            for cut in &mut cuts {
                *cut = (*cut).min(input.len());
            }
            cuts.sort_unstable();
            prop_assert_eq!(frames(input, &cuts), frames(input, &[]));
        }
    }
}
