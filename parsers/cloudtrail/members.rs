//! Reads members of CloudTrail's JSON objects into named places; what has no place is kept.
//!
//! # Input
//! Raw JSON of a record or of an object in it.
//! # Maps to
//! A raw value for each named member; every other member goes to `unmapped`.
//! # Known gaps
//! None.
//! # Reference
//! Mapping 1.1 (V1 to V10) and 1.7.

use bumpalo::Bump;

use crate::{MAX_TEXT_CHARS, cut_text, json, unmapped::Leaves};

/// Takes values out of a record; what it cannot take goes to `unmapped`.
pub(super) struct Taker<'a> {
    pub(super) leaves: Leaves<'a>,
    pub(super) arena: &'a Bump,
}

impl<'a> Taker<'a> {
    pub(super) fn new(arena: &'a Bump) -> Self {
        Self { leaves: Leaves::new(arena), arena }
    }

    /// A text: a string, or the JSON text of a number or boolean (V5). Objects and lists go to
    /// `unmapped` (V6), as does the whole of a text that is cut (V8).
    pub(super) fn text(&mut self, path: &'static str, raw: Option<&'a str>) -> Option<&'a str> {
        let raw = raw.filter(|raw| !json::is_absent(raw))?;
        let text = peek_text(Some(raw), self.arena);
        match text {
            None => self.leaves.json(path, raw),
            Some(text) if raw.len() > MAX_TEXT_CHARS => self.keep_whole(path, raw, text),
            Some(_) => {}
        }
        text
    }

    /// Leaves a text that was cut to `unmapped`.
    fn keep_whole(&mut self, path: &'static str, raw: &'a str, text: &str) {
        let whole = if json::is_string(raw) { json::text(raw, self.arena) } else { raw };
        if whole.len() > text.len() {
            self.leaves.text(path, whole);
        }
    }

    /// A boolean as such or as text in any case (V10); anything else goes to `unmapped` (V7).
    pub(super) fn boolean(&mut self, path: &'static str, raw: Option<&'a str>) -> Option<bool> {
        let raw = raw.filter(|raw| !json::is_absent(raw))?;
        let value = peek_bool(Some(raw));
        if value.is_none() {
            self.leaves.json(path, raw);
        }
        value
    }

    /// A time as text or number (T3, T4); anything else goes to `unmapped` (V7).
    pub(super) fn time(&mut self, path: &'static str, raw: Option<&'a str>) -> Option<i64> {
        let raw = raw.filter(|raw| !json::is_absent(raw))?;
        let time = peek_time(raw, self.arena);
        if time.is_none() {
            self.leaves.json(path, raw);
        }
        time
    }

    /// A JSON attribute (J1).
    pub(super) fn data(&self, raw: Option<&'a str>) -> Option<&'a str> {
        raw.filter(|raw| !json::is_absent(raw)).map(|raw| json::compact(raw, self.arena))
    }

    /// Leaves a value at a place that is not mapped to `unmapped`, also an empty text (U4).
    pub(super) fn keep(&mut self, path: &'static str, raw: Option<&'a str>) {
        if let Some(raw) = raw {
            self.leaves.json(path, raw);
        }
    }

    /// Leaves a value at a mapped place to `unmapped`; an absent one gives nothing (U4).
    pub(super) fn leave(&mut self, path: &'static str, raw: Option<&'a str>) {
        if let Some(raw) = raw.filter(|raw| !json::is_absent(raw)) {
            self.leaves.json(path, raw);
        }
    }
}

/// The text of a string, number or boolean that stays where it is; cut by V8.
pub(super) fn peek_text<'a>(raw: Option<&'a str>, arena: &'a Bump) -> Option<&'a str> {
    let raw = raw.filter(|raw| !json::is_absent(raw))?;
    if json::is_string(raw) {
        Some(cut_text(json::text(raw, arena)))
    } else if json::is_object(raw) || json::is_list(raw) {
        None
    } else {
        Some(cut_text(raw))
    }
}

/// A boolean as such or as text.
pub(super) fn peek_bool(raw: Option<&str>) -> Option<bool> {
    let text = raw?.trim_matches('"');
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else {
        text.eq_ignore_ascii_case("false").then_some(false)
    }
}

/// An instant in milliseconds, as text (T3) or number (T4).
pub(super) fn peek_time(raw: &str, arena: &Bump) -> Option<i64> {
    if json::is_string(raw) {
        crate::time::from_text(json::text(raw, arena))
    } else {
        crate::time::from_number(raw)
    }
}

/// Declares an object's named members. `read` takes them, the last of equal keys, and leaves every
/// other member to `unmapped` below `prefix`. What is no object is left there as it is.
macro_rules! places {
    ($(#[$doc:meta])* $name:ident at $prefix:literal { $( $field:ident = $key:literal ),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default)]
        pub(super) struct $name<'a> { $( pub(super) $field: Option<&'a str>, )* }

        impl<'a> $name<'a> {
            #[allow(dead_code, reason = "the record itself is read from members")]
            pub(super) fn read(
                raw: Option<&'a str>,
                taker: &mut $crate::cloudtrail::members::Taker<'a>,
            ) -> Self {
                match raw {
                    Some(raw) if $crate::json::is_object(raw) => {
                        Self::of($crate::json::members(raw), taker)
                    }
                    Some(raw) => {
                        taker.leaves.json($prefix, raw);
                        Self::default()
                    }
                    None => Self::default(),
                }
            }

            pub(super) fn of(
                members: impl Iterator<Item = $crate::json::Member<'a>>,
                taker: &mut $crate::cloudtrail::members::Taker<'a>,
            ) -> Self {
                let mut this = Self::default();
                let mut others = bumpalo::collections::Vec::new_in(taker.arena);
                for (key, value) in members {
                    match $crate::json::unescape(key, taker.arena) {
                        $( $key => this.$field = Some(value), )*
                        key => others.push((key, value)),
                    }
                }
                taker.leaves.members($prefix, others.into_bump_slice());
                this
            }
        }
    };
}
pub(super) use places;
