//! Collects raw leaves without an OCSF home: nothing of a record is lost.
//!
//! # Input
//! Leaves as text, or raw JSON values of any shape.
//! # Maps to
//! `unmapped`, a flat map of path to text (mapping 1.7, rules U1 to U8).
//! # Known gaps
//! Where paths would hold over 16 MiB together, or there would be over 100,000 entries, subtrees are
//! written whole, which the mapping does not say.
//! # Reference
//! Mapping 1.7.

use std::collections::HashMap;

use bumpalo::{Bump, collections::Vec as BumpVec};

use crate::json;

/// Containers below this level of nesting are written whole (U8); the record is level 0.
pub(crate) const MAX_LEVEL: usize = 64;
/// Paths of one record that would hold more bytes than this together are not spelled out: what is
/// left below them is written whole. Without this bound one long key before many leaves would
/// multiply the record.
const MAX_PATH_BYTES: usize = 16 << 20;
/// More entries than this of one record are not spelled out either: objects behind them are written
/// whole. A record of 16 MiB may have millions, each of which takes a hundred times its bytes.
const MAX_ENTRIES: usize = 100_000;
/// Up to this many entries are compared one by one; above, hashed.
const FEW: usize = 16;

/// The leaves of one record.
pub struct Leaves<'a> {
    arena: &'a Bump,
    entries: BumpVec<'a, (&'a str, &'a str)>,
    /// Bytes of paths below the places that are known by name.
    path_bytes: usize,
    /// Paths below lists, by address and length of the path before: they come again with each
    /// element, and may be long.
    below_lists: HashMap<(usize, usize, Step<'a>), &'a str>,
}

/// A step of a path.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Step<'a> {
    Member(&'a str),
    List,
}

impl<'a> Leaves<'a> {
    /// No leaves.
    pub fn new(arena: &'a Bump) -> Self {
        Self { arena, entries: BumpVec::new_in(arena), path_bytes: 0, below_lists: HashMap::new() }
    }

    /// The arena that texts live in.
    pub fn arena(&self) -> &'a Bump {
        self.arena
    }

    /// Adds a leaf.
    pub fn text(&mut self, path: &'a str, value: &'a str) {
        self.entries.push((path, value));
    }

    /// Adds every leaf of a raw JSON value at a place that is known by name.
    pub fn json(&mut self, path: &'static str, raw: &'a str) {
        self.walk(path, raw, level(path), false);
    }

    /// Adds the leaves of members of the object at `prefix`; the last of equal keys counts.
    pub fn members(&mut self, prefix: &'static str, members: &[(&'a str, &'a str)]) {
        for &(key, value) in last_of_equal_keys(self.arena, members) {
            let path = self.join(prefix, key);
            self.walk(path, value, level(prefix) + 1, false);
        }
    }

    fn join(&self, prefix: &str, key: &'a str) -> &'a str {
        if prefix.is_empty() { key } else { self.concat(&[prefix, ".", key]) }
    }

    /// True if so many entries more, with paths of so many bytes, may be spelled out.
    pub(crate) fn has_room(&self, entries: usize, path_bytes: usize) -> bool {
        self.path_bytes + path_bytes <= MAX_PATH_BYTES
            && self.entries.len() + entries <= MAX_ENTRIES
    }

    /// The path of a member. `below_list` if the same may come again.
    pub(crate) fn member(&mut self, path: &'a str, key: &'a str, below_list: bool) -> &'a str {
        self.step(path, Step::Member(key), below_list)
    }

    /// The path of a list's elements. `below_list` if the same may come again.
    pub(crate) fn list(&mut self, path: &'a str, below_list: bool) -> &'a str {
        self.step(path, Step::List, below_list)
    }

    /// Adds a value that is not opened: a text as it is, anything else as compact JSON.
    pub(crate) fn leaf(&mut self, path: &'a str, raw: &'a str) {
        if json::is_string(raw) {
            self.text(path, json::text(raw, self.arena));
        } else if !json::is_absent(raw) {
            self.text(path, json::compact(raw, self.arena));
        }
    }

    fn step(&mut self, path: &'a str, step: Step<'a>, below_list: bool) -> &'a str {
        let joined = |this: &Self| match step {
            Step::Member(key) => this.concat(&[path, ".", key]),
            Step::List => this.concat(&[path, "[]"]),
        };
        if !below_list {
            let joined = joined(self);
            self.path_bytes += joined.len();
            return joined;
        }
        let place = (path.as_ptr().addr(), path.len(), step);
        if let Some(known) = self.below_lists.get(&place) {
            return known;
        }
        let joined = joined(self);
        self.path_bytes += joined.len();
        self.below_lists.insert(place, joined);
        joined
    }

    fn concat(&self, parts: &[&str]) -> &'a str {
        let len = parts.iter().map(|part| part.len()).sum();
        let mut out = bumpalo::collections::String::with_capacity_in(len, self.arena);
        for part in parts {
            out.push_str(part);
        }
        out.into_bump_str()
    }

    fn walk(&mut self, path: &'a str, raw: &'a str, level: usize, below_list: bool) {
        if json::is_object(raw) && level <= MAX_LEVEL && !has_too_many(raw) {
            let mut members = BumpVec::new_in(self.arena);
            let arena = self.arena;
            members.extend(json::members(raw).map(|(k, v)| (json::unescape(k, arena), v)));
            let bytes = members.iter().map(|(key, _)| path.len() + 1 + key.len()).sum();
            if !self.has_room(members.len(), bytes) {
                return self.leaf(path, raw);
            }
            for &(key, value) in last_of_equal_keys(self.arena, &members) {
                let path = self.step(path, Step::Member(key), below_list);
                self.walk(path, value, level + 1, below_list);
            }
        } else if json::is_list(raw)
            && level <= MAX_LEVEL
            && self.has_room(1, path.len())
            && !has_too_many(raw)
        {
            let path = self.step(path, Step::List, below_list);
            for element in json::elements(raw) {
                self.walk(path, element, level + 1, true);
            }
        } else {
            self.leaf(path, raw);
        }
    }

    /// The entries, values of equal paths joined with `,` (U3).
    pub fn finish(self) -> &'a [(&'a str, &'a str)] {
        let entries = self.entries.into_bump_slice();
        let equal_paths = if entries.len() <= FEW {
            entries.iter().enumerate().any(|(i, a)| entries[..i].iter().any(|b| a.0 == b.0))
        } else {
            true
        };
        if equal_paths { join_equal_paths(self.arena, entries) } else { entries }
    }
}

/// True if a container has more members or elements than are ever spelled out.
pub(crate) fn has_too_many(raw: &str) -> bool {
    // Each takes at least two bytes; counting costs a pass that nearly all are spared.
    raw.len() > 2 * MAX_ENTRIES
        && if json::is_object(raw) {
            json::members(raw).nth(MAX_ENTRIES).is_some()
        } else {
            json::elements(raw).nth(MAX_ENTRIES).is_some()
        }
}

/// The level of nesting of a place: `a.b[]` is the third.
fn level(path: &str) -> usize {
    let steps = path.bytes().filter(|byte| matches!(byte, b'.' | b'[')).count();
    if path.is_empty() { 0 } else { steps + 1 }
}

fn join_equal_paths<'a>(
    arena: &'a Bump,
    entries: &'a [(&'a str, &'a str)],
) -> &'a [(&'a str, &'a str)] {
    // For each path its first and last entry so far; for each entry the next one of its path.
    let mut places: HashMap<&str, (u32, u32)> = HashMap::with_capacity(entries.len());
    let mut next: Vec<u32> = Vec::new();
    for (at, (path, _)) in (0..).zip(entries) {
        let place = places.entry(path).or_insert((at, at));
        if place.0 < at {
            next.resize(entries.len(), 0);
            next[place.1 as usize] = at;
            place.1 = at;
        }
    }
    if next.is_empty() {
        return entries;
    }
    let mut joined = BumpVec::with_capacity_in(places.len(), arena);
    for (at, &(path, value)) in (0..).zip(entries) {
        let (first, last) = places[path];
        if first != at {
            continue;
        }
        if first == last {
            joined.push((path, value));
            continue;
        }
        let mut values = bumpalo::collections::String::from_str_in(value, arena);
        let mut one = first;
        while one != last {
            one = next[one as usize];
            values.push(',');
            values.push_str(entries[one as usize].1);
        }
        joined.push((path, values.into_bump_str()));
    }
    joined.into_bump_slice()
}

/// The members without those whose key comes again later.
pub(crate) fn last_of_equal_keys<'m, 'a>(
    arena: &'m Bump,
    members: &'m [(&'a str, &'a str)],
) -> &'m [(&'a str, &'a str)] {
    if members.len() <= FEW {
        let twice =
            members.iter().enumerate().any(|(i, a)| members[..i].iter().any(|b| a.0 == b.0));
        if !twice {
            return members;
        }
    }
    let last: HashMap<&str, usize> =
        members.iter().enumerate().map(|(at, (key, _))| (*key, at)).collect();
    if last.len() == members.len() {
        return members;
    }
    let kept = members.iter().enumerate().filter(|(at, (key, _))| last[key] == *at);
    BumpVec::from_iter_in(kept.map(|(_, member)| *member), arena).into_bump_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(raw: &str) -> Vec<(String, String)> {
        let arena = Bump::new();
        let mut leaves = Leaves::new(&arena);
        leaves.json("a", raw);
        leaves.finish().iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn leaves_keep_their_path_and_spelling() {
        let raw = r#"{"b":[{"c":1.50},{"c":true,"d":""}],"x.y":"\u0041","n":null,"e":[{},[]]}"#;
        let expected = [("a.b[].c", "1.50,true"), ("a.b[].d", ""), ("a.x.y", "A")];
        assert_eq!(flat(raw), expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn the_last_of_duplicate_keys_counts_at_every_level() {
        assert_eq!(flat(r#"{"b":{"c":1,"c":2},"d":1,"d":3}"#).len(), 2);
        assert_eq!(flat(r#"{"b":1,"b":2}"#), [("a.b".to_owned(), "2".to_owned())]);
        let many: Vec<String> = (0..100).map(|i| format!(r#""k{}":{i}"#, i % 50)).collect();
        let found = flat(&format!("{{{}}}", many.join(",")));
        assert_eq!((found.len(), found[0].1.as_str()), (50, "50"));
    }

    #[test]
    fn long_paths_do_not_multiply_a_record() {
        let many: Vec<String> = (0..4000).map(|i| format!(r#""{i}":1"#)).collect();
        let raw = format!(r#"{{"{}":{{{}}},"z":{{"y":1}}}}"#, "k".repeat(10_000), many.join(","));
        let found = flat(&raw);
        let bytes: usize = found.iter().map(|(path, value)| path.len() + value.len()).sum();
        assert!(bytes < 100_000, "{bytes}");
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].1, format!("{{{}}}", many.join(",")));
        assert_eq!(found[1], ("a.z.y".to_owned(), "1".to_owned()));
    }

    #[test]
    fn a_subtree_below_level_64_is_one_entry() {
        let raw = r#"{"n":"#.repeat(100_000) + "1" + &"}".repeat(100_000);
        let found = flat(&raw);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, format!("a{}", ".n".repeat(64)));
        assert!(found[0].1.starts_with(r#"{"n":{"n""#) && found[0].1.len() > 500_000);
    }
}
