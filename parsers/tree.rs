//! A record as a tree that remembers what was taken from it, for records whose leaves go to many
//! places.
//!
//! # Input
//! One JSON object as text that has been checked to be JSON.
//! # Maps to
//! Nodes that are slices of the input. What was not taken goes to `unmapped`.
//! # Known gaps
//! A container below level 64 (U8), or with over 100,000 members, is one leaf.
//! # Reference
//! Mapping 1.1 (V1 to V8), 1.7; rule Q3 for keys in upper case.

use std::{cell::Cell, net::IpAddr};

use bumpalo::{
    Bump,
    collections::{String as BumpString, Vec as BumpVec},
};

use crate::{
    cut_text,
    json::{self, Member},
    time,
    unmapped::{Leaves, MAX_LEVEL, has_too_many, last_of_equal_keys},
};

/// A JSON value in its record.
pub(crate) struct Node<'a> {
    raw: &'a str,
    parts: Parts<'a>,
    taken: Cell<bool>,
    /// Keys in it are spelled otherwise than in `raw`.
    respelled: bool,
}

enum Parts<'a> {
    /// Text, number, boolean, null, or a container too deep to be opened.
    Leaf,
    Object(&'a [(&'a str, Node<'a>)]),
    List(&'a [Node<'a>]),
}

/// How keys are spelled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    AsTheyAre,
    /// With their first letter in lower case (Q3), but not below a key of this name.
    LowerFirst {
        except: &'static str,
    },
}

impl Keys {
    fn spell<'a>(self, key: &'a str, arena: &'a Bump) -> &'a str {
        let is_word = || key.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if self == Self::AsTheyAre
            || !key.starts_with(|c: char| c.is_ascii_uppercase())
            || !is_word()
        {
            return key;
        }
        let mut lower = BumpString::with_capacity_in(key.len(), arena);
        lower.push_str(key);
        lower[..1].make_ascii_lowercase();
        lower.into_bump_str()
    }
}

impl<'a> Node<'a> {
    /// The tree of an object by its members.
    pub(crate) fn of(raw: &'a str, members: &[Member<'a>], keys: Keys, arena: &'a Bump) -> Self {
        let parts = Self::object(members.iter().copied(), keys, 0, arena);
        Self { raw, parts, taken: Cell::new(false), respelled: keys != Keys::AsTheyAre }
    }

    fn parse(raw: &'a str, keys: Keys, level: usize, arena: &'a Bump) -> Self {
        let parts = if level > MAX_LEVEL || json::is_absent(raw) || has_too_many(raw) {
            Parts::Leaf
        } else if json::is_object(raw) {
            Self::object(json::members(raw), keys, level, arena)
        } else if json::is_list(raw) {
            let elements = json::elements(raw).map(|raw| Self::parse(raw, keys, level + 1, arena));
            Parts::List(BumpVec::from_iter_in(elements, arena).into_bump_slice())
        } else {
            Parts::Leaf
        };
        Self { raw, parts, taken: Cell::new(false), respelled: keys != Keys::AsTheyAre }
    }

    fn object(
        members: impl Iterator<Item = Member<'a>>,
        keys: Keys,
        level: usize,
        arena: &'a Bump,
    ) -> Parts<'a> {
        let spelled =
            members.map(|(key, raw)| (keys.spell(json::unescape(key, arena), arena), raw));
        let members = BumpVec::from_iter_in(spelled, arena);
        let nodes = last_of_equal_keys(arena, &members).iter().map(|&(key, raw)| {
            let below = match keys {
                Keys::LowerFirst { except } if key.eq_ignore_ascii_case(except) => Keys::AsTheyAre,
                keys => keys,
            };
            (key, Self::parse(raw, below, level + 1, arena))
        });
        Parts::Object(BumpVec::from_iter_in(nodes, arena).into_bump_slice())
    }

    /// As it is spelled in the record.
    pub(crate) fn raw(&self) -> &'a str {
        self.raw
    }

    /// True for `null`, `{}`, `[]` and `""` (V2).
    pub(crate) fn is_absent(&self) -> bool {
        json::is_absent(self.raw)
    }

    pub(crate) fn is_object(&self) -> bool {
        matches!(self.parts, Parts::Object(_))
    }

    /// The members of an object, else none.
    pub(crate) fn members(&'a self) -> &'a [(&'a str, Node<'a>)] {
        if let Parts::Object(members) = &self.parts { members } else { &[] }
    }

    /// The elements of a list, else none.
    pub(crate) fn list(&'a self) -> &'a [Node<'a>] {
        if let Parts::List(elements) = &self.parts { elements } else { &[] }
    }

    /// The elements of a list at a path that are objects.
    pub(crate) fn objects(&'a self, path: &str) -> impl Iterator<Item = &'a Node<'a>> {
        let list = self.get(path).map(Node::list).unwrap_or_default();
        list.iter().filter(|node| node.is_object())
    }

    /// The elements of a list; anything else is a list of itself, but for what is absent.
    pub(crate) fn elements(&'a self) -> &'a [Node<'a>] {
        match &self.parts {
            Parts::List(elements) => elements,
            _ if self.is_absent() => &[],
            _ => std::slice::from_ref(self),
        }
    }

    /// The member at a path of keys between dots, at an empty path the node; None if it is missing.
    pub(crate) fn get(&'a self, path: &str) -> Option<&'a Node<'a>> {
        if path.is_empty() {
            return Some(self);
        }
        path.split('.').try_fold(self, |node, key| {
            node.members().iter().find(|(name, _)| *name == key).map(|(_, node)| node)
        })
    }

    /// The node at a mapped place, if it is not absent. An absent one is taken: it gives nothing,
    /// also not an empty text in `unmapped` (U4).
    pub(crate) fn present(&'a self, path: &str) -> Option<&'a Node<'a>> {
        let node = self.get(path)?;
        if node.is_absent() {
            node.take();
            return None;
        }
        Some(node)
    }

    /// Takes the value and all below it: it does not go to `unmapped`.
    pub(crate) fn take(&self) {
        self.taken.set(true);
    }

    /// The text of a string, number or boolean (V5), whole.
    pub(crate) fn text(&self, arena: &'a Bump) -> Option<&'a str> {
        if self.is_absent() || json::is_object(self.raw) || json::is_list(self.raw) {
            return None;
        }
        Some(if json::is_string(self.raw) { json::text(self.raw, arena) } else { self.raw })
    }

    /// Its compact JSON (J1), with keys as they are spelled in the tree.
    pub(crate) fn json(&self, arena: &'a Bump) -> &'a str {
        if !self.respelled {
            return json::compact(self.raw, arena);
        }
        let mut out = BumpVec::new_in(arena);
        self.write(&mut out, arena);
        // What was text is text.
        str::from_utf8(out.into_bump_slice()).unwrap_or_default()
    }

    fn write(&self, out: &mut BumpVec<'a, u8>, arena: &'a Bump) {
        let separate = |at: usize, out: &mut BumpVec<'a, u8>| {
            if at > 0 {
                out.push(b',');
            }
        };
        match &self.parts {
            Parts::Leaf => out.extend_from_slice_copy(json::compact(self.raw, arena).as_bytes()),
            Parts::List(elements) => {
                out.push(b'[');
                for (at, element) in elements.iter().enumerate() {
                    separate(at, out);
                    element.write(out, arena);
                }
                out.push(b']');
            }
            Parts::Object(members) => {
                out.push(b'{');
                for (at, (key, node)) in members.iter().enumerate() {
                    separate(at, out);
                    let mut spelled = Vec::new();
                    crate::ocsf::json::string(key, &mut spelled);
                    out.extend_from_slice_copy(&spelled);
                    out.push(b':');
                    node.write(out, arena);
                }
                out.push(b'}');
            }
        }
    }

    /// The leaves of a record that were not taken (mapping 1.7).
    pub(crate) fn unmapped(&self, arena: &'a Bump) -> &'a [(&'a str, &'a str)] {
        let mut leaves = Leaves::new(arena);
        if let Parts::Object(members) = &self.parts {
            members.iter().for_each(|(key, node)| node.walk(key, false, &mut leaves));
        }
        leaves.finish()
    }

    fn walk(&self, path: &'a str, below_list: bool, leaves: &mut Leaves<'a>) {
        if self.taken.get() {
            return;
        }
        match &self.parts {
            Parts::Leaf => leaves.leaf(path, self.raw),
            Parts::Object(members) => {
                let bytes = members.iter().map(|(key, _)| path.len() + 1 + key.len()).sum();
                if !leaves.has_room(members.len(), bytes) {
                    return leaves.leaf(path, self.raw);
                }
                for (key, node) in *members {
                    let below = leaves.member(path, key, below_list);
                    node.walk(below, below_list, leaves);
                }
            }
            Parts::List(elements) => {
                if !leaves.has_room(1, path.len()) {
                    return leaves.leaf(path, self.raw);
                }
                let below = leaves.list(path, below_list);
                for element in *elements {
                    element.walk(below, true, leaves);
                }
            }
        }
    }
}

/// Reads values out of nodes. What it reads is taken only when it is told to keep it, so that a part
/// of an event that comes to nothing leaves its values where they were.
pub(crate) struct Reader<'a> {
    pub(crate) arena: &'a Bump,
    read: Vec<&'a Node<'a>>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(arena: &'a Bump) -> Self {
        Self { arena, read: Vec::new() }
    }

    /// Takes all that was read.
    pub(crate) fn keep(&mut self) {
        self.read.drain(..).for_each(Node::take);
    }

    /// Leaves all that was read where it was.
    pub(crate) fn forget(&mut self) {
        self.read.clear();
    }

    /// Marks a node as read.
    pub(crate) fn mark(&mut self, node: &'a Node<'a>) {
        self.read.push(node);
    }

    /// The value at a place, if `parse` can read its text; else it stays (V6, V7).
    pub(crate) fn parse<T>(
        &mut self,
        from: &'a Node<'a>,
        path: &str,
        parse: impl FnOnce(&'a str) -> Option<T>,
    ) -> Option<T> {
        let node = from.present(path)?;
        let value = parse(node.text(self.arena)?)?;
        self.read.push(node);
        Some(value)
    }

    /// The text at a place. One that is too long is cut, and stays whole where it was (V8).
    pub(crate) fn text(&mut self, from: &'a Node<'a>, path: &str) -> Option<&'a str> {
        let node = from.present(path)?;
        let text = node.text(self.arena)?;
        let cut = cut_text(text);
        if cut.len() == text.len() {
            self.read.push(node);
        }
        Some(cut)
    }

    /// The first of several texts.
    pub(crate) fn text_of(&mut self, from: &'a Node<'a>, paths: &[&str]) -> Option<&'a str> {
        let mut found = None;
        for path in paths {
            if found.is_none() {
                found = self.text(from, path);
            } else {
                from.present(path);
            }
        }
        found
    }

    /// The text at a place, which stays there too.
    pub(crate) fn copy(&self, from: &'a Node<'a>, path: &str) -> Option<&'a str> {
        from.present(path)?.text(self.arena).map(cut_text)
    }

    /// Text for a part of a longer text.
    pub(crate) fn alloc(&self, parts: &[&str]) -> &'a str {
        let mut out = BumpString::with_capacity_in(parts.iter().map(|p| p.len()).sum(), self.arena);
        for part in parts {
            out.push_str(part);
        }
        out.into_bump_str()
    }

    pub(crate) fn boolean(&mut self, from: &'a Node<'a>, path: &str) -> Option<bool> {
        self.parse(from, path, |text| match text {
            _ if text.eq_ignore_ascii_case("true") => Some(true),
            _ if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        })
    }

    /// A whole number, also spelled as `443.0` or `8e1`.
    pub(crate) fn int(&mut self, from: &'a Node<'a>, path: &str) -> Option<i32> {
        self.parse(from, path, |text| {
            text.parse()
                .ok()
                .or_else(|| whole(text.parse().ok().filter(|n: &f64| n.fract() == 0.0)?))
        })
    }

    /// The whole part of a number.
    pub(crate) fn whole_part(&mut self, from: &'a Node<'a>, path: &str) -> Option<i32> {
        self.parse(from, path, |text| text.parse().ok().or_else(|| whole(text.parse().ok()?)))
    }

    pub(crate) fn port(&mut self, from: &'a Node<'a>, path: &str) -> Option<i32> {
        let number = self.int(from, path)?;
        let port = u16::try_from(number).ok().map(i32::from);
        if port.is_none() {
            self.read.pop();
        }
        port
    }

    pub(crate) fn ip(&mut self, from: &'a Node<'a>, path: &str) -> Option<&'a str> {
        self.parse(from, path, |text| text.parse::<IpAddr>().is_ok().then_some(text))
    }

    /// An instant in milliseconds, as text or number, also a number as text (T3, T4).
    pub(crate) fn time(&mut self, from: &'a Node<'a>, path: &str) -> Option<i64> {
        self.parse(from, path, |text| time::from_text(text).or_else(|| time::from_number(text)))
    }
}

fn whole(number: f64) -> Option<i32> {
    (number.abs() < f64::from(i32::MAX)).then_some(number as i32)
}
