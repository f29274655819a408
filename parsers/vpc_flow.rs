//! Amazon VPC Flow Logs to Network Activity.
//!
//! # Input
//! Text objects: a header line that names the columns, in any order and of any version to 11 and
//! later, then one row a line. Without a header the default version 2 format.
//! # Maps to
//! OCSF Network Activity (4001). Columns without an OCSF home go to `unmapped`.
//! # Reference
//! Mapping section 4;
//! <https://docs.aws.amazon.com/vpc/latest/userguide/flow-log-records.html>.
//!
//! # Known gaps
//! And what becomes what:
//!
#![doc = include_str!("vpc_flow/kinds.md")]
#![allow(clippy::doc_markdown, reason = "the list is printed too, where names need no marks")]

mod row;

use std::sync::Arc;

use bumpalo::Bump;
use xxhash_rust::xxh3::xxh3_128;

use crate::{
    Decode, DecodeError, Detect, Head, ObjectKey, Origin, Place, Rows, Source,
    frame::{Frame, Lines},
};

/// VPC Flow Logs.
pub static SOURCE: Source = Source {
    name: "vpc_flow",
    product: "Amazon VPC",
    title: "Amazon VPC Flow Logs, text, any format up to version 11 and later",
    classes: &["network_activity"],
    kinds: include_str!("vpc_flow/kinds.md"),
    detect,
    sniff,
    uid_by_position: true,
    decoder: |origin| Box::new(VpcFlow::new(origin)),
};

fn detect(key: &ObjectKey) -> Detect {
    if key.service(|segment| segment == "vpcflowlogs").is_none() {
        return Detect::No;
    }
    let file = key.file_name();
    if file.contains(".parquet") {
        Detect::Unsupported("Parquet delivery of flow logs is not read yet")
    } else if [".log", ".gz", ".txt", ".zst"].iter().any(|ending| file.contains(ending)) {
        Detect::Yes
    } else {
        Detect::Unsupported("no log file, by its name")
    }
}

/// More is asked than of an object whose key tells: a text may start with one of the names.
fn sniff(head: &Head<'_>) -> bool {
    let Head::Text(line) = head else { return false };
    if let Some(header) = Header::read(line) {
        let of_flows = |column: &Column| matches!(column, Column::Known(field) if field.is_telling());
        let is_known = |column: &&Column| matches!(column, Column::Known(_));
        let known = header.columns.iter().filter(is_known).count();
        return known > 2
            && known * 2 >= header.columns.len()
            && header.columns.iter().any(of_flows);
    }
    let statuses = ["OK", "NODATA", "SKIPDATA"];
    let ends_in_status = row::words(line).last().is_some_and(|last| statuses.contains(&last));
    ends_in_status && !Header::default_format(line).columns.is_empty()
}

/// A column: a field with a home in OCSF, or one for `unmapped` under this name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Column {
    Known(row::Field),
    Unknown(String),
}

struct VpcFlow {
    origin: Origin,
    lines: Lines,
    /// The latest one; None until the first line that is not empty.
    header: Option<Header>,
    arena: Bump,
    uid_input: Vec<u8>,
    rows_seen: u64,
}

struct Header {
    /// As it stands in the object; None for the default format without a header.
    line: Option<Arc<str>>,
    /// Empty if the object has neither a header nor the default format.
    columns: Vec<Column>,
}

impl VpcFlow {
    fn new(origin: &Origin) -> Self {
        Self {
            origin: origin.clone(),
            lines: Lines::default(),
            header: None,
            arena: Bump::new(),
            uid_input: Vec::new(),
            rows_seen: origin.first_record,
        }
    }

    fn line(&mut self, frame: &Frame<'_>, out: &mut Rows) {
        let bytes = frame.bytes.map(|bytes| bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes));
        if bytes.is_some_and(|bytes| bytes.iter().all(u8::is_ascii_whitespace)) {
            return;
        }
        let text = bytes.map(str::from_utf8);
        // A header may come again, and where files were joined, another one.
        if let Some(header) = text.and_then(Result::ok).and_then(Header::read) {
            let is_known = self.header.as_ref().is_some_and(|known| known.line == header.line);
            if !is_known {
                self.header = Some(header);
            }
            return;
        }
        let header = self.header.get_or_insert_with(|| {
            Header::default_format(text.and_then(Result::ok).unwrap_or_default())
        });
        out.begin_record(frame.len as usize);
        let record = self.rows_seen;
        self.rows_seen += 1;
        let result = match text {
            None => Err("too long"),
            Some(Err(_)) => Err("invalid UTF-8"),
            Some(Ok(_)) if header.columns.is_empty() => Err("no header"),
            Some(Ok(line)) => {
                crate::reset(&mut self.arena);
                let fields = row::Fields::read(line, &header.columns, &self.arena);
                let uid = uid(&mut self.uid_input, self.origin.key.name(), record, line);
                let uid = str::from_utf8(&uid).unwrap_or_default();
                match fields.and_then(|fields| fields.event(&self.origin, uid, &self.arena)) {
                    Ok(event) => {
                        out.push(&event);
                        Ok(())
                    }
                    Err(reason) => Err(reason),
                }
            }
        };
        if let Err(reason) = result {
            let header = header.line.as_ref();
            let place =
                Place { record, byte: frame.byte, len: frame.len, raw: frame.bytes, header };
            out.reject(reason, place);
        }
    }
}

impl Decode for VpcFlow {
    fn decode(&mut self, input: &[u8], eof: bool, out: &mut Rows) -> Result<usize, DecodeError> {
        let mut rest = input;
        while let Some(frame) = self.lines.next(&mut rest, eof) {
            self.line(&frame, out);
            if out.is_full() {
                break;
            }
        }
        Ok(input.len() - rest.len())
    }
}

impl Header {
    /// Columns by a line of names, at least one of them known (F2); None for a row.
    fn read(line: &str) -> Option<Self> {
        let is_name = |word: &str| {
            word.starts_with(|c: char| c.is_ascii_lowercase())
                && word.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
        };
        // Nearly every row ends this at its first or second word.
        if !row::words(line).all(is_name) || row::words(line).count() > row::MAX_FIELDS {
            return None;
        }
        let mut any_known = false;
        let column = |word: &str| {
            let name = word.replace('-', "_");
            let field = row::Field::by_name(&name);
            any_known |= field.is_some() || row::is_field_name(&name);
            field.map_or(Column::Unknown(name), Column::Known)
        };
        let columns = row::words(line).map(column).collect();
        any_known.then(|| Self { line: Some(line.into()), columns })
    }

    /// Columns of the default format, if this row looks like it.
    fn default_format(line: &str) -> Self {
        let mut words = row::words(line);
        let is_version = words.next().is_some_and(|word| word.parse::<u32>().is_ok());
        let columns = row::DEFAULT_FORMAT.iter().copied().map(Column::Known);
        let fits = is_version && words.count() + 1 == columns.len();
        Self { line: None, columns: if fits { columns.collect() } else { Vec::new() } }
    }
}

/// XXH3-128 of name, row number and row (mapping 1.6), in hexadecimal digits.
fn uid(buffer: &mut Vec<u8>, name: &str, record: u64, line: &str) -> [u8; 32] {
    buffer.clear();
    buffer.extend_from_slice(name.as_bytes());
    buffer.push(b'\n');
    buffer.extend_from_slice(itoa::Buffer::new().format(record).as_bytes());
    buffer.push(b'\n');
    buffer.extend_from_slice(line.as_bytes());
    crate::hex(xxh3_128(buffer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uid_is_the_one_that_the_mapping_gives_as_an_example() {
        let key = ObjectKey::new(
            "p/AWSLogs/123456789012/vpcflowlogs/us-east-1/2024/05/01/123456789012_vpcflowlogs_us-east-1_fl-0123456789abcdef0_20240501T0000Z_1a2b3c4d.log.gz",
        );
        let row = "2 123456789012 eni-0a1b2c3d 10.0.0.5 198.51.100.7 443 50000 6 10 840 1714521600 1714521660 ACCEPT OK";
        assert_eq!(&uid(&mut Vec::new(), key.name(), 0, row), b"fa5791904f0a66b881de3e34aea6f660");
    }

    #[test]
    fn only_text_objects_of_the_service_are_read() {
        let detect = |key: &str| detect(&ObjectKey::new(key));
        assert_eq!(detect("AWSLogs/1/vpcflowlogs/us-east-1/2024/05/01/x.log.gz"), Detect::Yes);
        assert_eq!(
            detect("AWSLogs/aws-account-id%3D1/aws-service%3Dvpcflowlogs/x.log.gz"),
            Detect::Yes
        );
        assert_eq!(
            detect("1_vpcflowlogs_us-east-1_fl-1_20240501T0000Z_1a2b3c4d.log.gz"),
            Detect::Yes
        );
        assert_eq!(detect("vpcflowlogs/AWSLogs/1/CloudTrail/x.json.gz"), Detect::No);
        assert!(matches!(
            detect("AWSLogs/1/vpcflowlogs/us-east-1/2024/05/01/x.log.parquet"),
            Detect::Unsupported(_)
        ));
    }

    #[test]
    fn a_header_needs_one_known_name_and_names_only() {
        assert!(Header::read("start some-new-column").is_some());
        assert!(Header::read("tgw-id resource_type").is_some());
        assert!(Header::read("not known words").is_none());
        assert!(Header::read("start Bad").is_none());
        assert!(Header::read("eni-1 ingress ok").is_none());
        let columns = |line: &str| Header::default_format(line).columns.len();
        assert_eq!(columns("2 1 eni-1 - - - - - - - 1 2 - NODATA"), 14);
        assert_eq!(columns("2 1 eni-1 1.1.1.1"), 0);
    }
}
