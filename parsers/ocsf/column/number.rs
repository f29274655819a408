//! Columns of numbers, instants and booleans.
//!
//! # Input
//! Numbers.
//! # Maps to
//! Arrow arrays of fixed width with validity bits.
//! # Known gaps
//! None.
//! # Reference
//! Mapping section 1.3.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray},
    buffer::{BooleanBuffer, Buffer, NullBuffer},
};

use bumpalo::Bump;

use super::{Column, Kind, Leaf, Selected};
use crate::ocsf::json::{self, Form};

/// Says which number a [`Numbers`] column holds.
pub trait NumberKind: Default + Send + Sync + 'static {
    /// The Arrow type that stores it.
    type Arrow: ArrowPrimitiveType<Native: WriteNumber + Default>;
    /// The kind.
    const KIND: Kind;
}

/// A number as JSON.
pub trait WriteNumber: Copy + Send + Sync {
    /// Appends it.
    fn write_json(self, kind: Kind, out: &mut Vec<u8>);
    /// As a whole number, if it is of a kind that has no other.
    fn whole(self) -> Option<i64>;
}

impl WriteNumber for i32 {
    fn write_json(self, _: Kind, out: &mut Vec<u8>) {
        json::integer(self.into(), out);
    }

    fn whole(self) -> Option<i64> {
        Some(self.into())
    }
}

impl WriteNumber for i64 {
    fn write_json(self, kind: Kind, out: &mut Vec<u8>) {
        if kind == Kind::Datetime {
            json::datetime(self, out);
        } else {
            json::integer(self, out);
        }
    }

    fn whole(self) -> Option<i64> {
        Some(self)
    }
}

impl WriteNumber for f64 {
    /// The shortest spelling that gives the same number. Not for what JSON does not know.
    fn write_json(self, _: Kind, out: &mut Vec<u8>) {
        debug_assert!(self.is_finite());
        out.extend_from_slice(self.to_string().as_bytes());
    }

    fn whole(self) -> Option<i64> {
        None
    }
}

type Native<K> = <<K as NumberKind>::Arrow as ArrowPrimitiveType>::Native;

/// A number column.
pub struct Numbers<K: NumberKind> {
    values: Vec<Native<K>>,
    valid: Bits,
}

impl<K: NumberKind> Default for Numbers<K> {
    fn default() -> Self {
        Self { values: Vec::new(), valid: Bits::default() }
    }
}

impl<K: NumberKind> Column for Numbers<K> {
    const KIND: Kind = K::KIND;
    type Value<'a> = Option<Native<K>>;

    fn is_absent(value: &Self::Value<'_>) -> bool {
        value.is_none()
    }

    fn push(&mut self, row: usize, value: &Self::Value<'_>) {
        self.values.resize(row, Native::<K>::default());
        self.values.push(value.unwrap_or_default());
        self.valid.set(row);
    }

    fn gather(&mut self, at: usize, from: &Self, rows: &Selected<'_>) {
        if from.values.is_empty() {
            return;
        }
        if let Selected::Run { start, len } = *rows {
            let end = from.values.len().min((start + len) as usize);
            let Some(values) = from.values.get(start as usize..end) else {
                return;
            };
            self.values.resize(at, Native::<K>::default());
            self.values.extend_from_slice(values);
            self.valid.gather(at, &from.valid, rows);
            return;
        }
        rows.for_each(|i, row| {
            if from.valid.get(row) {
                self.push(at + i, &Some(from.values[row as usize]));
            }
        });
    }

    fn bytes(&self) -> usize {
        self.values.capacity() * size_of::<Native<K>>() + self.valid.bytes()
    }

    fn into_arrow(mut self, len: usize) -> ArrayRef {
        self.values.resize(len, Native::<K>::default());
        let array = PrimitiveArray::<K::Arrow>::new(self.values.into(), self.valid.nulls(len));
        Arc::new(array.with_data_type(K::KIND.arrow()))
    }

    fn write_json(value: &Self::Value<'_>, _: Form, out: &mut Vec<u8>) {
        value.unwrap_or_default().write_json(K::KIND, out);
    }

    fn read<'a>(array: &'a dyn Array, row: usize, _: &'a Bump) -> Self::Value<'a> {
        let numbers = array.as_primitive::<K::Arrow>();
        numbers.is_valid(row).then(|| numbers.value(row))
    }

    fn find(value: &Self::Value<'_>, path: &str, found: &mut dyn FnMut(Leaf<'_>)) {
        if let (Some(number), "") = (value.and_then(WriteNumber::whole), path) {
            found(Leaf::Number(number));
        }
    }
}

/// A bit for each row, false where nothing was set. As long as all are set they are only counted.
#[derive(Default)]
pub struct Bits {
    /// Rows; all of them are set if there are no `words`.
    len: usize,
    words: Vec<u64>,
}

impl Bits {
    /// Sets the bit of `row`, which lies after all rows before.
    pub fn set(&mut self, row: usize) {
        if self.words.is_empty() && row == self.len {
            self.len += 1;
        } else {
            self.put(row, true);
        }
    }

    fn put(&mut self, row: usize, bit: bool) {
        if self.words.is_empty() {
            let full = std::mem::take(&mut self.len);
            self.words.resize(full / 64, u64::MAX);
            self.words.push((1 << (full % 64)) - 1);
        }
        let word = row / 64;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= u64::from(bit) << (row % 64);
        self.len = row + 1;
    }

    /// Sets the bits that `from` has set among `rows`, as the rows from `at` on.
    pub fn gather(&mut self, at: usize, from: &Self, rows: &Selected<'_>) {
        if let Selected::Run { start, len } = *rows
            && from.words.is_empty()
            && self.words.is_empty()
            && (start + len) as usize <= from.len
            && at == self.len
        {
            self.len += len as usize;
            return;
        }
        rows.for_each(|i, row| {
            if from.get(row) {
                self.set(at + i);
            }
        });
    }

    /// The bit of `row`.
    pub fn get(&self, row: u32) -> bool {
        let row = row as usize;
        match self.words.get(row / 64) {
            Some(word) => word >> (row % 64) & 1 == 1,
            None => self.words.is_empty() && row < self.len,
        }
    }

    /// True if no bit was ever put.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }

    fn finish(mut self, len: usize) -> BooleanBuffer {
        if self.words.is_empty() && self.len == len {
            return BooleanBuffer::new_set(len);
        }
        if self.words.is_empty() {
            self.put(self.len, false);
        }
        self.words.resize(len.div_ceil(64), 0);
        BooleanBuffer::new(Buffer::from_vec(self.words), 0, len)
    }

    /// As the validity of `len` rows.
    pub fn nulls(self, len: usize) -> Option<NullBuffer> {
        if self.words.is_empty() && self.len == len {
            return None;
        }
        Some(NullBuffer::new(self.finish(len))).filter(|nulls| nulls.null_count() > 0)
    }
}

/// A column of booleans.
#[derive(Default)]
pub struct Bool {
    valid: Bits,
    values: Bits,
}

impl Column for Bool {
    const KIND: Kind = Kind::Boolean;
    type Value<'a> = Option<bool>;

    fn is_absent(value: &Option<bool>) -> bool {
        value.is_none()
    }

    fn push(&mut self, row: usize, value: &Option<bool>) {
        self.valid.set(row);
        self.values.put(row, value.unwrap_or_default());
    }

    fn gather(&mut self, at: usize, from: &Self, rows: &Selected<'_>) {
        rows.for_each(|i, row| {
            if from.valid.get(row) {
                self.push(at + i, &Some(from.values.get(row)));
            }
        });
    }

    fn bytes(&self) -> usize {
        self.valid.bytes() + self.values.bytes()
    }

    fn into_arrow(self, len: usize) -> ArrayRef {
        Arc::new(BooleanArray::new(self.values.finish(len), self.valid.nulls(len)))
    }

    fn write_json(value: &Option<bool>, _: Form, out: &mut Vec<u8>) {
        let text = if value.unwrap_or_default() { "true" } else { "false" };
        out.extend_from_slice(text.as_bytes());
    }

    fn read<'a>(array: &'a dyn Array, row: usize, _: &'a Bump) -> Option<bool> {
        let values = array.as_boolean();
        values.is_valid(row).then(|| values.value(row))
    }

    fn find(value: &Option<bool>, path: &str, found: &mut dyn FnMut(Leaf<'_>)) {
        if let (Some(value), "") = (*value, path) {
            found(Leaf::Bool(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_false_where_nothing_was_set() {
        for rows in [vec![], vec![0, 1, 2], vec![0, 1, 64, 65, 200], vec![3], vec![63, 64, 129]] {
            let mut bits = Bits::default();
            for &row in &rows {
                bits.set(row);
            }
            for row in 0..260 {
                assert_eq!(bits.get(row), rows.contains(&(row as usize)), "{rows:?} {row}");
            }
            for len in [rows.last().map_or(0, |last| last + 1), 260] {
                let mut again = Bits::default();
                for &row in &rows {
                    again.set(row);
                }
                let buffer = again.finish(len);
                let set: Vec<usize> = buffer.set_indices().collect();
                assert_eq!((buffer.len(), &set), (len, &rows));
            }
        }
        let mut bits = Bits::default();
        for row in 0..100 {
            bits.set(row);
        }
        bits.put(130, false);
        bits.set(132);
        assert!(bits.get(99) && !bits.get(100) && !bits.get(130) && bits.get(132));
    }
}
