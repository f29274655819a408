//! Checks that text is JSON, and finds the members of an object on the way.
//!
//! # Input
//! UTF-8 text.
//! # Maps to
//! The end of a value, or None if there is no value. Iterative: nesting has no limit.
//! # Known gaps
//! None.
//! # Reference
//! RFC 8259. A lone surrogate escape is JSON by its grammar.

use std::ops::Range;

use bumpalo::{Bump, collections::Vec as BumpVec};

use super::Member;

/// Where a member lies: its key between the quotes, and its value.
pub type Span = (Range<usize>, Range<usize>);

/// The members of an object, if all of `text` is one.
pub fn object<'a>(text: &'a str, arena: &'a Bump) -> Option<BumpVec<'a, Member<'a>>> {
    let bytes = text.as_bytes();
    let mut members = BumpVec::with_capacity_in(32, arena);
    let end = object_end(bytes, &mut Vec::new(), |(key, value)| {
        members.push((&text[key], &text[value]));
    })?;
    (blank(bytes, end) == bytes.len()).then_some(members)
}

/// True if all of `text` is one value of any kind.
pub fn is_value(text: &str) -> bool {
    let bytes = text.as_bytes();
    value(bytes, blank(bytes, 0), &mut Vec::new())
        .is_some_and(|end| blank(bytes, end) == bytes.len())
}

/// One past the object that `bytes` start with; `member` is told of each member. `open` is only
/// memory that is used again.
pub fn object_end(bytes: &[u8], open: &mut Vec<u8>, mut member: impl FnMut(Span)) -> Option<usize> {
    open.clear();
    let mut at = blank(bytes, expect(bytes, 0, b'{')?);
    if bytes.get(at) == Some(&b'}') {
        return Some(at + 1);
    }
    loop {
        let start = expect(bytes, at, b'"')?;
        let key_end = string(bytes, start)?;
        let value_start = colon(bytes, key_end)?;
        let value_end = value(bytes, value_start, open)?;
        member((start..key_end - 1, value_start..value_end));
        at = blank(bytes, value_end);
        match bytes.get(at)? {
            b',' => at = blank(bytes, at + 1),
            b'}' => return Some(at + 1),
            _ => return None,
        }
    }
}

/// One past the value that starts at `at`. `open` is empty before and after.
fn value(bytes: &[u8], mut at: usize, open: &mut Vec<u8>) -> Option<usize> {
    loop {
        let mut done = true;
        at = match *bytes.get(at)? {
            b'"' => string(bytes, at + 1)?,
            b'{' => {
                let next = blank(bytes, at + 1);
                if bytes.get(next) == Some(&b'}') {
                    next + 1
                } else {
                    open.push(b'{');
                    done = false;
                    key(bytes, next)?
                }
            }
            b'[' => {
                let next = blank(bytes, at + 1);
                if bytes.get(next) == Some(&b']') {
                    next + 1
                } else {
                    open.push(b'[');
                    done = false;
                    next
                }
            }
            b't' => literal(bytes, at, b"true")?,
            b'f' => literal(bytes, at, b"false")?,
            b'n' => literal(bytes, at, b"null")?,
            _ => number(bytes, at)?,
        };
        while done {
            let Some(&container) = open.last() else {
                return Some(at);
            };
            at = blank(bytes, at);
            at = match (container, *bytes.get(at)?) {
                (b'{', b',') => {
                    done = false;
                    key(bytes, blank(bytes, at + 1))?
                }
                (_, b',') => {
                    done = false;
                    blank(bytes, at + 1)
                }
                (b'{', b'}') | (b'[', b']') => {
                    open.pop();
                    at + 1
                }
                _ => return None,
            };
        }
    }
}

/// From a key to the start of its value.
fn key(bytes: &[u8], at: usize) -> Option<usize> {
    let start = expect(bytes, at, b'"')?;
    colon(bytes, string(bytes, start)?)
}

fn colon(bytes: &[u8], at: usize) -> Option<usize> {
    Some(blank(bytes, expect(bytes, blank(bytes, at), b':')?))
}

fn expect(bytes: &[u8], at: usize, byte: u8) -> Option<usize> {
    (bytes.get(at) == Some(&byte)).then_some(at + 1)
}

fn blank(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

fn literal(bytes: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    bytes.get(at..)?.starts_with(word).then_some(at + word.len())
}

/// One past the closing quote of a string whose text starts at `at`.
fn string(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at = special(bytes, at);
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => match bytes.get(at + 1)? {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => at += 2,
                b'u' if bytes.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit) => at += 6,
                _ => return None,
            },
            _ => return None,
        }
    }
}

/// Where the next quote, backslash or control character is, or the end.
fn special(bytes: &[u8], mut at: usize) -> usize {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // As in `quote_or_backslash`: the lowest marked byte is exact.
    let below = |word: u64, bound: u64| word.wrapping_sub(LOW * bound) & !word & HIGH;
    while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*eight);
        let found = below(word ^ (LOW * u64::from(b'"')), 1)
            | below(word ^ (LOW * u64::from(b'\\')), 1)
            | below(word, 0x20);
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(is_special).unwrap_or(rest.len())
}

fn number(bytes: &[u8], mut at: usize) -> Option<usize> {
    let digits = |at: usize| {
        let rest = bytes.get(at..).unwrap_or_default();
        rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    at += usize::from(bytes.get(at) == Some(&b'-'));
    match digits(at) {
        0 => return None,
        1 => at += 1,
        _ if bytes[at] == b'0' => return None,
        count => at += count,
    }
    if bytes.get(at) == Some(&b'.') {
        let count = digits(at + 1);
        if count == 0 {
            return None;
        }
        at += 1 + count;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1;
        at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
        let count = digits(at);
        if count == 0 {
            return None;
        }
        at += count;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ours(text: &str) -> bool {
        object(text, &Bump::new()).is_some()
    }

    fn theirs(text: &str) -> bool {
        serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok() && text.starts_with('{')
    }

    const TEXT: &str = "{\"a\": [1, -0.5e+3, true, null, {}, [], \"x\\n\\u00e9\\ud800\"] , \"b\":{\"c\":{\"d\":[[false]]}}}";

    #[test]
    fn members_are_slices_of_the_text() {
        let arena = Bump::new();
        let members = object("{ \"a\" : [1 , {}] ,\"b\":\"}\" } ", &arena).unwrap();
        assert_eq!(members.as_slice(), [("a", "[1 , {}]"), ("b", "\"}\"")]);
        assert_eq!(object("{} ", &arena).unwrap().len(), 0);
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "",
            "{",
            "{}x",
            "{\"a\":01}",
            "{\"a\":1.}",
            "{\"a\":.5}",
            "{\"a\":1e}",
            "{\"a\":-}",
            "{\"a\":tru}",
            "{\"a\":\"\t\"}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\u12g4\"}",
            "{\"a\" 1}",
            "{\"a\":1,}",
            "{,}",
            "{\"a\":[1,]}",
            "{\"a\":[}",
            "{\"a\":{]}",
            "[1]",
            "{\"a\":1 2}",
            "{a:1}",
        ] {
            assert!(!ours(text), "{text}");
            assert!(!theirs(text), "{text}");
        }
    }

    #[test]
    fn a_nesting_of_a_hundred_thousand_is_checked_without_recursion() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(ours(&deep));
        assert!(!ours(&deep.replace("1]", "1}")));
    }

    proptest! {
        #[test]
        fn it_agrees_with_serde_json_on_damaged_text(
            at in 0..TEXT.len(),
            with in prop::sample::select(vec!["", "\"", "\\", "{", "}", "[", "]", ",", ":", "1", "e", "\u{1}", "é", " ", "-", "."]),
            drop in 0..3_usize,
        ) {
            let end = (at + drop).min(TEXT.len());
            let damaged = format!("{}{with}{}", &TEXT[..at], &TEXT[end..]);
            prop_assert_eq!(ours(&damaged), theirs(&damaged), "{}", damaged);
        }
    }
}
