//! Columns of lists.
//!
//! # Input
//! Slices of values.
//! # Maps to
//! Arrow list arrays. A list without members is absent, so that the offsets are the validity.
//! # Known gaps
//! None.
//! # Reference
//! Mapping section 1.3.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, ListArray},
    buffer::{BooleanBuffer, NullBuffer, OffsetBuffer},
    datatypes::Field as ArrowField,
};

use bumpalo::{Bump, collections::Vec as BumpVec};

use super::{Column, Kind, Leaf, Selected};
use crate::ocsf::json::Form;

/// Row ends in a buffer of values; row `r` is `ends[r - 1]..ends[r]`.
#[derive(Default)]
pub(super) struct Ends(pub(super) Vec<i32>);

impl Ends {
    pub(super) fn last(&self) -> i32 {
        self.0.last().copied().unwrap_or(0)
    }

    pub(super) fn pad(&mut self, rows: usize) {
        if self.0.len() < rows {
            self.0.resize(rows, self.last());
        }
    }

    pub(super) fn range(&self, row: u32) -> Range<usize> {
        let row = row as usize;
        match self.0.get(row) {
            None => 0..0,
            Some(&end) if row == 0 => 0..end as usize,
            Some(&end) => self.0[row - 1] as usize..end as usize,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<i32>()
    }

    /// Appends the ends of `len` rows of `from`; returns the range of their values in `from`.
    pub(super) fn append(&mut self, at: usize, from: &Self, start: u32, len: u32) -> Range<usize> {
        self.pad(at);
        let end = from.0.len().min((start + len) as usize);
        let Some(ends) = from.0.get(start as usize..end) else {
            return 0..0;
        };
        let first = from.range(start).start as i32;
        let base = self.last() - first;
        self.0.extend(ends.iter().map(|end| end + base));
        first as usize..ends.last().copied().unwrap_or(first) as usize
    }

    /// Offsets for Arrow, and the validity that follows from them.
    pub(super) fn into_arrow(mut self, len: usize) -> (OffsetBuffer<i32>, Option<NullBuffer>) {
        self.pad(len);
        let valid = BooleanBuffer::collect_bool(len, |row| !self.range(row as u32).is_empty());
        let mut offsets = Vec::with_capacity(len + 1);
        offsets.push(0);
        offsets.extend_from_slice(&self.0);
        (OffsetBuffer::new(offsets.into()), Some(NullBuffer::new(valid)))
    }
}

/// A list of values, such as `resources` or `metadata.profiles`. Absent members are left out.
#[derive(Default)]
pub struct List<C> {
    items: C,
    ends: Ends,
}

impl<C: Column> Column for List<C> {
    const KIND: Kind = Kind::List(&C::KIND);
    type Value<'a> = &'a [C::Value<'a>];

    fn is_absent(value: &Self::Value<'_>) -> bool {
        value.iter().all(C::is_absent)
    }

    fn push(&mut self, row: usize, value: &Self::Value<'_>) {
        self.ends.pad(row);
        let mut end = self.ends.last();
        for member in *value {
            if !C::is_absent(member) {
                self.items.push(end as usize, member);
                end += 1;
            }
        }
        self.ends.0.push(end);
    }

    fn gather(&mut self, at: usize, from: &Self, rows: &Selected<'_>) {
        if from.ends.0.is_empty() {
            return;
        }
        let start = self.ends.last();
        if let Selected::Run { start: first, len } = *rows {
            let items = self.ends.append(at, &from.ends, first, len);
            let run = Selected::Run { start: items.start as u32, len: items.len() as u32 };
            self.items.gather(start as usize, &from.items, &run);
            return;
        }
        let mut members = Vec::new();
        rows.for_each(|i, row| {
            let range = from.ends.range(row);
            if !range.is_empty() {
                members.extend(range.start as u32..range.end as u32);
                self.ends.pad(at + i);
                self.ends.0.push(start + members.len() as i32);
            }
        });
        self.items.gather(start as usize, &from.items, &Selected::Each(&members));
    }

    fn bytes(&self) -> usize {
        self.items.bytes() + self.ends.bytes()
    }

    fn into_arrow(self, len: usize) -> ArrayRef {
        let items = self.ends.last() as usize;
        let (offsets, nulls) = self.ends.into_arrow(len);
        let items = self.items.into_arrow(items);
        let element = ArrowField::new("element", items.data_type().clone(), false);
        Arc::new(ListArray::new(Arc::new(element), offsets, items, nulls))
    }

    fn write_json(value: &Self::Value<'_>, form: Form, out: &mut Vec<u8>) {
        out.push(b'[');
        for (at, member) in value.iter().filter(|member| !C::is_absent(member)).enumerate() {
            if at > 0 {
                out.push(b',');
            }
            C::write_json(member, form, out);
        }
        out.push(b']');
    }

    fn read<'a>(array: &'a dyn Array, row: usize, arena: &'a Bump) -> Self::Value<'a> {
        let list = array.as_list::<i32>();
        let ends = list.offsets();
        let items: &'a dyn Array = list.values();
        let members = (ends[row]..ends[row + 1]).map(|at| C::read(items, at as usize, arena));
        BumpVec::from_iter_in(members, arena).into_bump_slice()
    }

    fn find(value: &Self::Value<'_>, path: &str, found: &mut dyn FnMut(Leaf<'_>)) {
        for member in *value {
            C::find(member, path, found);
        }
    }
}
