//! Reads raw JSON in place: members, elements, texts, compact form. Nothing is copied but texts
//! with escapes.
//!
//! # Input
//! One JSON value as text that has been checked to be JSON ([`object`]).
//! # Maps to
//! Slices of the input, or copies in an arena.
//! # Known gaps
//! On text that is not JSON the results are meaningless, but nothing panics or loops.
//! # Reference
//! RFC 8259; mapping rules J1 and J5.

mod check;

use bumpalo::{Bump, collections::String as BumpString};

pub use check::{Span, is_value, object, object_end};

/// A member of an object: the key between its quotes, and the raw value.
pub type Member<'a> = (&'a str, &'a str);

/// True if the value is `null`, `{}`, `[]` or `""`: absent by rule V2.
pub fn is_absent(raw: &str) -> bool {
    match raw.as_bytes() {
        b"null" | b"\"\"" => true,
        [b'{', inner @ .., b'}'] | [b'[', inner @ .., b']'] => {
            inner.iter().all(u8::is_ascii_whitespace)
        }
        _ => false,
    }
}

/// True for an object.
pub fn is_object(raw: &str) -> bool {
    raw.starts_with('{')
}

/// True for a list.
pub fn is_list(raw: &str) -> bool {
    raw.starts_with('[')
}

/// True for a string.
pub fn is_string(raw: &str) -> bool {
    raw.starts_with('"')
}

/// The members of an object in order: key between its quotes, raw value.
pub fn members(object: &str) -> impl Iterator<Item = Member<'_>> {
    let mut cursor = Cursor { text: object, at: 1 };
    std::iter::from_fn(move || {
        if cursor.skip_to_value()? != b'"' {
            return None;
        }
        let key = cursor.value()?;
        cursor.skip_to_value()?;
        Some((key.get(1..key.len() - 1)?, cursor.value()?))
    })
}

/// The raw elements of a list in order.
pub fn elements(list: &str) -> impl Iterator<Item = &str> {
    let mut cursor = Cursor { text: list, at: 1 };
    std::iter::from_fn(move || {
        cursor.skip_to_value()?;
        cursor.value()
    })
}

/// The member `key` of an object; the last one if there are several.
pub fn member<'a>(object: &'a str, key: &str) -> Option<&'a str> {
    members(object).filter(|(name, _)| *name == key).last().map(|(_, value)| value)
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Skips white space, commas and colons; the first byte of the next value, if there is one.
    fn skip_to_value(&mut self) -> Option<u8> {
        loop {
            match *self.text.as_bytes().get(self.at)? {
                b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' => self.at += 1,
                b'}' | b']' => return None,
                byte => return Some(byte),
            }
        }
    }

    fn value(&mut self) -> Option<&'a str> {
        let start = self.at;
        self.at = value_end(self.text.as_bytes(), start);
        self.text.get(start..self.at)
    }
}

/// One past the value that starts at `at`.
fn value_end(bytes: &[u8], at: usize) -> usize {
    match bytes[at] {
        b'"' => string_end(bytes, at + 1),
        b'{' => container_end(bytes, at, b'{', b'}'),
        b'[' => container_end(bytes, at, b'[', b']'),
        _ => {
            let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace();
            let len = bytes[at..].iter().position(ends).unwrap_or(bytes.len() - at);
            at + len.max(1)
        }
    }
}

/// One past the closing quote of the string whose text starts at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    loop {
        at = quote_or_backslash(bytes, at);
        match bytes.get(at) {
            Some(b'"') => return at + 1,
            Some(_) => at += 2,
            None => return bytes.len(),
        }
    }
}

/// Where the next `"` or `\` is, or the end. Looks at 8 bytes at a time: most strings are short, and
/// a call would cost more than it finds.
pub(crate) fn quote_or_backslash(bytes: &[u8], mut at: usize) -> usize {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // The lowest byte marked by this is exact; those above it may be false.
    let zero_bytes = |word: u64| word.wrapping_sub(LOW) & !word & HIGH;
    let found_in = |eight: &[u8; 8]| {
        let word = u64::from_le_bytes(*eight);
        let quotes = zero_bytes(word ^ (LOW * u64::from(b'"')));
        let found = quotes | zero_bytes(word ^ (LOW * u64::from(b'\\')));
        (found != 0).then(|| (found.trailing_zeros() / 8) as usize)
    };
    let start = at;
    while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        if let Some(found) = found_in(eight) {
            return at + found;
        }
        at += 8;
    }
    // The last bytes again, with some before that are known to be neither.
    if at > start
        && let Some(eight) = bytes.last_chunk()
    {
        return found_in(eight).map_or(bytes.len(), |found| bytes.len() - 8 + found);
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).unwrap_or(rest.len())
}

fn container_end(bytes: &[u8], mut at: usize, open: u8, close: u8) -> usize {
    let mut depth = 0_u32;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        if byte == b'"' {
            at = string_end(bytes, at);
        } else if byte == open {
            depth += 1;
        } else if byte == close {
            depth -= 1;
            if depth == 0 {
                return at;
            }
        }
    }
    bytes.len()
}

/// The text of a raw string with its quotes.
pub fn text<'a>(raw: &'a str, arena: &'a Bump) -> &'a str {
    unescape(raw.get(1..raw.len() - 1).unwrap_or_default(), arena)
}

/// Resolves escapes; a lone surrogate becomes U+FFFD (J5).
pub fn unescape<'a>(inner: &'a str, arena: &'a Bump) -> &'a str {
    // A quote cannot stand in it without a backslash before.
    let first = quote_or_backslash(inner.as_bytes(), 0);
    if first == inner.len() {
        return inner;
    }
    let mut out = BumpString::with_capacity_in(inner.len(), arena);
    out.push_str(&inner[..first]);
    let mut rest = &inner[first..];
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        let (decoded, after) = escape(&rest[at..]);
        out.push(decoded);
        rest = after;
    }
    out.push_str(rest);
    out.into_bump_str()
}

/// Decodes the escape that `text` starts with; the character and what follows.
fn escape(text: &str) -> (char, &str) {
    let simple = |decoded| (decoded, text.get(2..).unwrap_or_default());
    match text.as_bytes().get(1) {
        Some(b'b') => simple('\u{8}'),
        Some(b'f') => simple('\u{c}'),
        Some(b'n') => simple('\n'),
        Some(b'r') => simple('\r'),
        Some(b't') => simple('\t'),
        Some(b'u') => unicode_escape(text),
        Some(&byte) if byte.is_ascii() => simple(char::from(byte)),
        _ => (char::REPLACEMENT_CHARACTER, text.get(1..).unwrap_or_default()),
    }
}

fn unicode_escape(text: &str) -> (char, &str) {
    let unit = |text: &str| -> Option<u32> {
        text.starts_with("\\u").then(|| u32::from_str_radix(text.get(2..6)?, 16).ok())?
    };
    let rest = text.get(6..).unwrap_or_default();
    let high = unit(text).unwrap_or(0xd800);
    if let (0xd800..0xdc00, Some(low @ 0xdc00..0xe000)) = (high, unit(rest)) {
        let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        return (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), &rest[6..]);
    }
    (char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER), rest)
}

/// The value without insignificant white space, spelled as it was (J1), but that a lone surrogate
/// escape becomes U+FFFD (J5).
pub fn compact<'a>(raw: &'a str, arena: &'a Bump) -> &'a str {
    let bytes = raw.as_bytes();
    let mut out: Option<BumpString<'a>> = None;
    let mut from = 0;
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        if byte == b'"' {
            let end = string_end(bytes, at + 1);
            if let Some(fixed) = without_lone_surrogates(&raw[at..end]) {
                let out = out.get_or_insert_with(|| BumpString::with_capacity_in(raw.len(), arena));
                out.push_str(&raw[from..at]);
                out.push_str(&fixed);
                from = end;
            }
            at = end;
        } else if byte.is_ascii_whitespace() {
            let out = out.get_or_insert_with(|| BumpString::with_capacity_in(raw.len(), arena));
            out.push_str(&raw[from..at]);
            at += 1;
            from = at;
        } else {
            at += 1;
        }
    }
    match out {
        None => raw,
        Some(mut out) => {
            out.push_str(&raw[from..]);
            out.into_bump_str()
        }
    }
}

/// The string with U+FFFD for lone surrogates, or None if it has none.
fn without_lone_surrogates(quoted: &str) -> Option<String> {
    memchr::memmem::find_iter(quoted.as_bytes(), "\\u")
        .any(|at| matches!(quoted.as_bytes().get(at + 2), Some(b'd' | b'D')))
        .then_some(())?;
    let mut out = String::with_capacity(quoted.len());
    let mut rest = quoted;
    let mut changed = false;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        let (decoded, after) = escape(&rest[at..]);
        let spelled = &rest[at..rest.len() - after.len()];
        if decoded == char::REPLACEMENT_CHARACTER && !spelled.eq_ignore_ascii_case("\\ufffd") {
            out.push(decoded);
            changed = true;
        } else {
            out.push_str(spelled);
        }
        rest = after;
    }
    out.push_str(rest);
    changed.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_elements_are_slices_of_the_input() {
        let object = r#"{ "a" : 1 , "b":{"c":"}\"]"},"d":[1,[2,"]"]] }"#;
        let found: Vec<_> = members(object).collect();
        assert_eq!(found, [("a", "1"), ("b", r#"{"c":"}\"]"}"#), ("d", r#"[1,[2,"]"]]"#)]);
        assert_eq!(elements(found[2].1).collect::<Vec<_>>(), ["1", r#"[2,"]"]"#]);
        assert_eq!(members("{}").count() + elements("[ ]").count(), 0);
    }

    #[test]
    fn quotes_and_backslashes_are_found_at_every_place() {
        for len in 0..40 {
            for start in 0..=len {
                let plain = vec![b'!' | 0x80; len];
                assert_eq!(quote_or_backslash(&plain, start), len);
                for place in 0..len {
                    let mut bytes = plain.clone();
                    bytes[place] = if place % 2 == 0 { b'"' } else { b'\\' };
                    let expected = if place >= start { place } else { len };
                    assert_eq!(
                        quote_or_backslash(&bytes, start),
                        expected,
                        "{len} {start} {place}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_last_of_duplicate_members_counts() {
        assert_eq!(member(r#"{"a":1,"b":2,"a":3}"#, "a"), Some("3"));
    }

    #[test]
    fn escapes_are_resolved_and_lone_surrogates_replaced() {
        let arena = Bump::new();
        let cases = [
            (r#""plain""#, "plain"),
            (r#""a\n\"\\\/b""#, "a\n\"\\/b"),
            (r#""\u0041\u0000""#, "A\0"),
            (r#""\ud83d\ude00""#, "\u{1f600}"),
            (r#""\ud800x""#, "\u{fffd}x"),
            (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
            (r#""\ud800\u0041""#, "\u{fffd}A"),
        ];
        for (raw, expected) in cases {
            assert_eq!(text(raw, &arena), expected, "{raw}");
        }
    }

    #[test]
    fn compact_keeps_spelling_and_drops_white_space_between_tokens_only() {
        let arena = Bump::new();
        let raw = "{ \"a b\" : [ 1.50 , \"x\\u0020\\ud83d\\ude00 y\\ud800\" ],\n\"c\": 1e400 }";
        let expected = "{\"a b\":[1.50,\"x\\u0020\\ud83d\\ude00 y\u{fffd}\"],\"c\":1e400}";
        assert_eq!(compact(raw, &arena), expected);
        assert!(std::ptr::eq(compact(expected, &arena), expected));
    }

    #[test]
    fn a_nesting_of_a_hundred_thousand_is_read_without_recursion() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert_eq!(elements(&deep).count(), 1);
    }
}
