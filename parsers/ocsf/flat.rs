//! Writes `flat_object` values of an index: request data, response data, `unmapped`.
//!
//! # Input
//! Compact JSON that was checked before, or the pairs of `unmapped`.
//! # Maps to
//! An object that no mapping of a `flat_object` refuses. What is too long for a term of the index is
//! cut there, and stands whole beside it as `data_full` or `unmapped_full`.
//! # Known gaps
//! None.
//! # Reference
//! Mapping 1.3, rules J2 to J5. A Lucene term holds at most 32,766 bytes, and repeats its path.

use bumpalo::{Bump, collections::Vec as BumpVec};

use super::{column::Leaf, json as write};
use crate::{json, unmapped::last_of_equal_keys};

/// Leaves longer than this, in bytes, are cut.
const MAX_LEAF_BYTES: usize = 16 << 10;
/// Leaves at longer paths, in bytes, are left out.
const MAX_PATH_BYTES: usize = 8 << 10;
/// Containers below this level of nesting are one text.
const MAX_LEVEL: usize = 20;

/// Appends a value of the attribute `data`.
pub fn data(raw: &str, out: &mut Vec<u8>) {
    let arena = Bump::new();
    let mut flat = Flat { arena: &arena, out, path_bytes: 0, is_whole: true };
    if json::is_object(raw) {
        flat.value(raw, 0);
    } else {
        flat.out.extend_from_slice(b"{\"value\":");
        flat.leaf(if json::is_string(raw) { json::text(raw, &arena) } else { raw });
        flat.out.push(b'}');
    }
    if !flat.is_whole {
        out.extend_from_slice(b",\"data_full\":");
        write::string(raw, out);
    }
}

/// Appends a value of the attribute `unmapped`.
pub fn unmapped(pairs: &[(&str, &str)], out: &mut Vec<u8>) {
    let arena = Bump::new();
    let mut flat = Flat { arena: &arena, out, path_bytes: 0, is_whole: true };
    // Paths are different; only new names may be equal.
    let renamed = pairs.iter().any(|(path, _)| has_empty_part(path)).then(|| {
        let name = |path| &*arena.alloc_str(&name(path));
        BumpVec::from_iter_in(pairs.iter().map(|&(path, value)| (name(path), value)), &arena)
    });
    let kept = renamed.as_ref().map_or(pairs, |renamed| last_of_equal_keys(&arena, renamed));
    flat.open(b'{');
    for &(path, value) in kept {
        if path.len() > MAX_PATH_BYTES {
            flat.is_whole = false;
            continue;
        }
        write::string(path, flat.out);
        flat.out.push(b':');
        flat.leaf(value);
        flat.out.push(b',');
    }
    flat.close(b'}');
    if !flat.is_whole {
        let mut whole = Vec::new();
        write::pairs(pairs, &mut whole);
        out.extend_from_slice(b",\"unmapped_full\":");
        write::string(&String::from_utf8_lossy(&whole), out);
    }
}

/// Finds the leaves of raw JSON at a path, through lists.
pub fn find(raw: &str, path: &str, found: &mut dyn FnMut(Leaf<'_>)) {
    if json::is_list(raw) {
        json::elements(raw).for_each(|element| find(element, path, found));
    } else if json::is_object(raw) {
        let (name, rest) = path.split_once('.').unwrap_or((path, ""));
        if let Some(value) = json::member(raw, name) {
            find(value, rest, found);
        }
    } else if path.is_empty() {
        let arena = Bump::new();
        match raw {
            "null" => {}
            "true" | "false" => found(Leaf::Bool(raw == "true")),
            _ if json::is_string(raw) => found(Leaf::Text(json::text(raw, &arena))),
            _ => found(Leaf::Text(raw)),
        }
    }
}

struct Flat<'a, 'o> {
    arena: &'a Bump,
    out: &'o mut Vec<u8>,
    path_bytes: usize,
    /// Nothing was cut or left out.
    is_whole: bool,
}

impl<'a> Flat<'a, '_> {
    fn value(&mut self, raw: &'a str, level: usize) {
        let is_container = json::is_object(raw) || json::is_list(raw);
        if is_container && level > MAX_LEVEL {
            self.leaf(raw);
        } else if json::is_object(raw) {
            self.object(raw, level);
        } else if json::is_list(raw) {
            self.open(b'[');
            for element in json::elements(raw) {
                self.value(element, level + 1);
                self.out.push(b',');
            }
            self.close(b']');
        } else if json::is_string(raw) {
            self.leaf(json::text(raw, self.arena));
        } else if raw.len() > MAX_LEAF_BYTES {
            self.leaf(raw);
        } else {
            self.out.extend_from_slice(raw.as_bytes());
        }
    }

    fn object(&mut self, raw: &'a str, level: usize) {
        let named = json::members(raw).map(|(key, value)| {
            let key = json::unescape(key, self.arena);
            (if has_empty_part(key) { self.arena.alloc_str(&name(key)) } else { key }, value)
        });
        let members = BumpVec::from_iter_in(named, self.arena);
        self.open(b'{');
        for &(key, value) in last_of_equal_keys(self.arena, &members) {
            let outer = self.path_bytes;
            self.path_bytes += key.len() + 1;
            if self.path_bytes > MAX_PATH_BYTES {
                self.is_whole = false;
            } else {
                write::string(key, self.out);
                self.out.push(b':');
                self.value(value, level + 1);
                self.out.push(b',');
            }
            self.path_bytes = outer;
        }
        self.close(b'}');
    }

    fn leaf(&mut self, text: &str) {
        let cut = text.floor_char_boundary(MAX_LEAF_BYTES);
        self.is_whole &= cut == text.len();
        write::string(&text[..cut], self.out);
    }

    fn open(&mut self, bracket: u8) {
        self.out.push(bracket);
    }

    /// The comma before it goes.
    fn close(&mut self, bracket: u8) {
        match self.out.last_mut() {
            Some(last @ b',') => *last = bracket,
            _ => self.out.push(bracket),
        }
    }
}

fn has_empty_part(key: &str) -> bool {
    key.is_empty() || key.starts_with('.') || key.ends_with('.') || key.contains("..")
}

/// The key with `_` for an empty key and for empty parts between dots (J4).
fn name(key: &str) -> String {
    let parts: Vec<_> =
        key.split('.').map(|part| if part.is_empty() { "_" } else { part }).collect();
    parts.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> serde_json::Value {
        let mut out = b"{\"data\":".to_vec();
        write(&mut out);
        out.push(b'}');
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn what_is_no_object_is_wrapped() {
        let value = |raw| written(|out| data(raw, out))["data"]["value"].clone();
        assert_eq!(value("\"a\\\"b\""), "a\"b");
        assert_eq!(value("[1,{\"a\":2}]"), "[1,{\"a\":2}]");
        assert_eq!(value("1e400"), "1e400");
    }

    #[test]
    fn empty_names_are_written_and_of_equal_ones_the_last_counts() {
        let document = written(|out| data(r#"{"":1,"_":2,"a..b":{".":3},"c":[],"c":{}}"#, out));
        let expected = serde_json::json!({"_": 2, "a._.b": {"_._": 3}, "c": {}});
        assert_eq!(document["data"], expected);
        let pairs = [("a.", "1"), ("", "2"), ("a._", "3"), ("b", "")];
        let document = written(|out| unmapped(&pairs, out));
        assert_eq!(document["data"], serde_json::json!({"a._": "3", "_": "2", "b": ""}));
    }

    #[test]
    fn long_leaves_are_cut_and_stand_whole_beside() {
        let long = "\u{e4}".repeat(10_000);
        let raw = format!("{{\"a\":\"{long}\",\"b\":[\"short\"]}}");
        let document = written(|out| data(&raw, out));
        assert_eq!(document["data"]["a"].as_str().unwrap().len(), 16 << 10);
        assert_eq!(
            (&document["data"]["b"][0], &document["data_full"]),
            (&"short".into(), &raw.into())
        );
        let pairs = [("k", &*long), (&"p".repeat(9_000), "v")];
        let document = written(|out| unmapped(&pairs, out));
        assert_eq!(document["data"].as_object().unwrap().len(), 1);
        let whole: serde_json::Value =
            serde_json::from_str(document["unmapped_full"].as_str().unwrap()).unwrap();
        assert_eq!((whole["k"].as_str(), whole[&pairs[1].0].as_str()), (Some(&*long), Some("v")));
    }

    #[test]
    fn deep_values_are_text_and_long_paths_are_left_out() {
        let deep = format!("{}1{}", "{\"a\":".repeat(100), "}".repeat(100));
        let document = written(|out| data(&deep, out));
        let mut inner = &document["data"];
        let mut levels = 0;
        while inner.is_object() {
            inner = &inner["a"];
            levels += 1;
        }
        assert_eq!((levels, inner.is_string()), (21, true));
        assert!(document.get("data_full").is_none(), "nothing is missing");
        let key = "k".repeat(5_000);
        let raw = format!("{{\"{key}\":{{\"{key}\":1,\"x\":2}}}}");
        let document = written(|out| data(&raw, out));
        assert_eq!(document["data"][&key], serde_json::json!({"x": 2}));
        assert_eq!(document["data_full"], raw);
    }
}
