//! Columns of text and the map `unmapped`, with every value held once.
//!
//! # Input
//! Texts, which repeat a lot.
//! # Maps to
//! Arrow dictionary arrays, so that sorting moves numbers only. In Parquet they are plain strings.
//! # Known gaps
//! A value that was not seen lately is held again.
//! # Reference
//! Mapping section 1.3.

use std::{marker::PhantomData, ops::Range, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, DictionaryArray, MapArray, PrimitiveArray, StringArray,
        StructArray,
    },
    buffer::{BooleanBuffer, NullBuffer, OffsetBuffer},
    datatypes::{Field as ArrowField, Fields, UInt32Type},
};

use bumpalo::{Bump, collections::Vec as BumpVec};

use super::{Column, Kind, Leaf, Selected, list::Ends};
use crate::ocsf::{
    flat,
    json::{self, Form},
};

/// Stands in the codes of a [`Dictionary`] column for an absent value.
const ABSENT: u32 = u32::MAX;
/// Places for values seen lately, a power of two.
const RECENT: usize = 256;
/// Up to this many values are compared one by one, so that small columns stay small.
const FEW: usize = 6;

/// Values, each held once as long as it was seen lately, and known by its number.
struct Dictionary {
    /// UTF-8, value after value.
    text: Vec<u8>,
    ends: Vec<i32>,
    /// Numbers of values seen lately, by a cheap hash of the value; empty up to [`FEW`] values.
    recent: Vec<u32>,
    /// Number of the value seen last, and where it lies.
    last: u32,
    last_range: Range<usize>,
}

impl Default for Dictionary {
    fn default() -> Self {
        Self {
            text: Vec::new(),
            ends: Vec::new(),
            recent: Vec::new(),
            last: ABSENT,
            last_range: 0..0,
        }
    }
}

impl Dictionary {
    fn range(&self, code: u32) -> Range<usize> {
        let at = code as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        start as usize..self.ends[at] as usize
    }

    fn get(&self, code: u32) -> &[u8] {
        &self.text[self.range(code)]
    }

    /// The number of a value. Most values are the same as in the row before, or were seen lately.
    fn code(&mut self, value: &[u8]) -> u32 {
        if self.last != ABSENT && equal(&self.text[self.last_range.clone()], value) {
            return self.last;
        }
        let known = self.find(value);
        self.last = known.unwrap_or_else(|| self.add(value));
        self.last_range = self.range(self.last);
        self.last
    }

    fn find(&self, value: &[u8]) -> Option<u32> {
        if self.recent.is_empty() {
            return (0..self.ends.len() as u32).find(|&code| equal(self.get(code), value));
        }
        let code = self.recent[place(value)];
        (code != ABSENT && equal(self.get(code), value)).then_some(code)
    }

    fn add(&mut self, value: &[u8]) -> u32 {
        let code = self.ends.len() as u32;
        self.text.extend_from_slice(value);
        self.ends.push(end_of(&self.text));
        if self.recent.is_empty() && self.ends.len() > FEW {
            self.recent.resize(RECENT, ABSENT);
            for code in 0..code {
                let place = place(self.get(code));
                self.recent[place] = code;
            }
        }
        if let Some(recent) = self.recent.get_mut(place(value)) {
            *recent = code;
        }
        code
    }

    /// Appends all values of `other`; their numbers grow by the one returned.
    fn append(&mut self, other: &Self) -> u32 {
        let (base, offset) = (self.ends.len() as u32, end_of(&self.text));
        self.text.extend_from_slice(&other.text);
        end_of(&self.text);
        self.ends.extend(other.ends.iter().map(|end| end + offset));
        if self.recent.is_empty() && self.ends.len() > FEW {
            self.recent.resize(RECENT, ABSENT);
        }
        base
    }

    fn bytes(&self) -> usize {
        self.text.capacity() + (self.ends.capacity() + self.recent.capacity()) * size_of::<u32>()
    }

    /// The values of `codes`.
    fn into_arrow(self, codes: Vec<u32>) -> DictionaryArray<UInt32Type> {
        let mut offsets = Vec::with_capacity(self.ends.len() + 1);
        offsets.push(0);
        offsets.extend_from_slice(&self.ends);
        let offsets = OffsetBuffer::new(offsets.into());
        let values = StringArray::new(offsets, self.text.into(), None);
        let valid = BooleanBuffer::collect_bool(codes.len(), |row| codes[row] != ABSENT);
        let nulls = Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0);
        let keys = PrimitiveArray::<UInt32Type>::new(codes.into(), nulls);
        DictionaryArray::new(keys, Arc::new(values))
    }
}

/// Where a text ends, as Arrow counts. Chunks and partitions are bounded far below; should that fail,
/// stopping is better than wrapping around.
fn end_of(text: &[u8]) -> i32 {
    i32::try_from(text.len()).expect("a column of at most 2 GiB of text")
}

/// Up to 8 bytes of `value` from `at` on, as a number.
fn word(value: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&value[at..at + 8]);
    u64::from_le_bytes(bytes)
}

/// Equality without a call for the short values that most are.
fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match a.len() {
        0..8 => a.iter().zip(b).all(|(x, y)| x == y),
        len @ 8..=16 => word(a, 0) == word(b, 0) && word(a, len - 8) == word(b, len - 8),
        _ => a == b,
    }
}

/// A place for a value among the recent ones, by its length and its last 8 bytes.
fn place(value: &[u8]) -> usize {
    let tail = match value.len() {
        len @ 8.. => word(value, len - 8),
        _ => value.iter().fold(0, |tail, &byte| tail << 8 | u64::from(byte)),
    };
    let mixed = (tail ^ value.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as usize
}

/// Says which kind of text a [`Strings`] column holds.
pub trait TextKind: Default + Send + Sync + 'static {
    /// The kind.
    const KIND: Kind;
}

/// A text column. In Arrow it is a dictionary array, so that sorting moves numbers only.
pub struct Strings<K> {
    codes: Vec<u32>,
    values: Dictionary,
    kind: PhantomData<K>,
}

impl<K> Default for Strings<K> {
    fn default() -> Self {
        Self { codes: Vec::new(), values: Dictionary::default(), kind: PhantomData }
    }
}

impl<K> Strings<K> {
    /// The bytes of a row's text; empty if absent.
    pub fn get(&self, row: u32) -> &[u8] {
        match self.codes.get(row as usize) {
            Some(&code) if code != ABSENT => self.values.get(code),
            _ => &[],
        }
    }

    fn push_code(&mut self, row: usize, code: u32) {
        if self.codes.len() < row {
            self.codes.resize(row, ABSENT);
        }
        self.codes.push(code);
    }
}

#[allow(clippy::ref_option_ref, reason = "the trait passes every kind of value by reference")]
impl<K: TextKind> Column for Strings<K> {
    const KIND: Kind = K::KIND;
    type Value<'a> = Option<&'a str>;

    fn is_absent(value: &Option<&str>) -> bool {
        value.is_none_or(str::is_empty)
    }

    fn push(&mut self, row: usize, value: &Option<&str>) {
        let code = self.values.code(value.unwrap_or_default().as_bytes());
        self.push_code(row, code);
    }

    fn gather(&mut self, at: usize, from: &Self, rows: &Selected<'_>) {
        if let Selected::Run { start, len } = *rows {
            let end = from.codes.len().min((start + len) as usize);
            let Some(codes) = from.codes.get(start as usize..end) else {
                return;
            };
            let base = self.values.append(&from.values);
            self.codes.resize(at, ABSENT);
            let moved = codes.iter().map(|&code| if code == ABSENT { code } else { code + base });
            self.codes.extend(moved);
            return;
        }
        let mut last = (ABSENT, ABSENT);
        rows.for_each(|i, row| {
            let code = from.codes.get(row as usize).copied().unwrap_or(ABSENT);
            if code == ABSENT {
                return;
            }
            if code != last.0 {
                last = (code, self.values.code(from.values.get(code)));
            }
            self.push_code(at + i, last.1);
        });
    }

    fn bytes(&self) -> usize {
        self.codes.capacity() * size_of::<u32>() + self.values.bytes()
    }

    fn into_arrow(mut self, len: usize) -> ArrayRef {
        self.codes.resize(len, ABSENT);
        Arc::new(self.values.into_arrow(self.codes))
    }

    fn write_json(value: &Option<&str>, form: Form, out: &mut Vec<u8>) {
        let text = value.unwrap_or_default();
        match (K::KIND, form) {
            (Kind::Json, Form::Index) => flat::data(text, out),
            _ => json::string(text, out),
        }
    }

    fn read<'a>(array: &'a dyn Array, row: usize, _: &'a Bump) -> Option<&'a str> {
        let texts = array.as_string::<i32>();
        texts.is_valid(row).then(|| texts.value(row))
    }

    fn find(value: &Option<&str>, path: &str, found: &mut dyn FnMut(Leaf<'_>)) {
        match *value {
            Some(text) if path.is_empty() => found(Leaf::Text(text)),
            Some(raw) if K::KIND == Kind::Json => flat::find(raw, path, found),
            _ => {}
        }
    }
}

/// `unmapped`: raw leaves without an OCSF home, path to text. A value may be empty.
#[derive(Default)]
pub struct Unmapped {
    keys: Dictionary,
    values: Dictionary,
    /// Numbers of key and value for each entry.
    key_codes: Vec<u32>,
    value_codes: Vec<u32>,
    ends: Ends,
}

impl Unmapped {
    fn push_entry(&mut self, key: &[u8], value: &[u8]) {
        self.key_codes.push(self.keys.code(key));
        self.value_codes.push(self.values.code(value));
    }
}

impl Column for Unmapped {
    const KIND: Kind = Kind::Unmapped;
    type Value<'a> = &'a [(&'a str, &'a str)];

    fn is_absent(value: &Self::Value<'_>) -> bool {
        value.is_empty()
    }

    fn push(&mut self, row: usize, value: &Self::Value<'_>) {
        self.ends.pad(row);
        for (key, value) in *value {
            self.push_entry(key.as_bytes(), value.as_bytes());
        }
        self.ends.0.push(self.key_codes.len() as i32);
    }

    fn gather(&mut self, at: usize, from: &Self, rows: &Selected<'_>) {
        if let Selected::Run { start, len } = *rows {
            let entries = self.ends.append(at, &from.ends, start, len);
            let (keys, values) = (self.keys.append(&from.keys), self.values.append(&from.values));
            self.key_codes.extend(from.key_codes[entries.clone()].iter().map(|code| code + keys));
            self.value_codes.extend(from.value_codes[entries].iter().map(|code| code + values));
            return;
        }
        rows.for_each(|i, row| {
            let range = from.ends.range(row);
            if !range.is_empty() {
                self.ends.pad(at + i);
                for entry in range {
                    let key = from.keys.get(from.key_codes[entry]);
                    self.push_entry(key, from.values.get(from.value_codes[entry]));
                }
                self.ends.0.push(self.key_codes.len() as i32);
            }
        });
    }

    fn bytes(&self) -> usize {
        let codes = self.key_codes.capacity() + self.value_codes.capacity();
        self.keys.bytes() + self.values.bytes() + codes * size_of::<u32>() + self.ends.bytes()
    }

    fn into_arrow(self, len: usize) -> ArrayRef {
        let keys: ArrayRef = Arc::new(self.keys.into_arrow(self.key_codes));
        let values: ArrayRef = Arc::new(self.values.into_arrow(self.value_codes));
        let (offsets, nulls) = self.ends.into_arrow(len);
        let pair =
            |name: &str, array: &ArrayRef| ArrowField::new(name, array.data_type().clone(), false);
        let fields = Fields::from(vec![pair("key", &keys), pair("value", &values)]);
        let pairs = StructArray::new(fields, vec![keys, values], None);
        let entries = ArrowField::new("key_value", pairs.data_type().clone(), false);
        Arc::new(MapArray::new(Arc::new(entries), offsets, pairs, nulls, false))
    }

    fn write_json(value: &Self::Value<'_>, form: Form, out: &mut Vec<u8>) {
        match form {
            Form::Event => json::pairs(value, out),
            Form::Index => flat::unmapped(value, out),
        }
    }

    fn read<'a>(array: &'a dyn Array, row: usize, arena: &'a Bump) -> Self::Value<'a> {
        let map = array.as_map();
        let ends = map.offsets();
        let (keys, values) = (map.keys().as_string::<i32>(), map.values().as_string::<i32>());
        let pairs = (ends[row]..ends[row + 1]).map(|at| {
            let at = at as usize;
            (keys.value(at), values.value(at))
        });
        BumpVec::from_iter_in(pairs, arena).into_bump_slice()
    }

    fn find(value: &Self::Value<'_>, path: &str, found: &mut dyn FnMut(Leaf<'_>)) {
        for (_, text) in value.iter().filter(|(key, _)| *key == path) {
            found(Leaf::Text(text));
        }
    }
}
