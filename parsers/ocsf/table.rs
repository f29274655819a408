//! What every object and class of columns can do, whichever it is.
//!
//! # Input
//! Rows, as sources make them; rows of the lake.
//! # Maps to
//! Columns with their keys, and a [`Table`] of a class that sinks work with.
//! # Known gaps
//! None.
//! # Reference
//! `macros.rs`, which implements these traits for the tables in `classes.rs`.

use std::{any::Any, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch},
    datatypes::{Schema, SchemaRef},
};
use bumpalo::Bump;

use super::{
    column::{Field, Leaf, Selected, arrow_fields, structs},
    json::Form,
};

/// The constants of a class.
#[derive(Clone, Copy, Debug)]
pub struct Class {
    /// `class_uid`.
    pub uid: i32,
    /// Snake-case name, such as `api_activity`.
    pub name: &'static str,
    /// `class_name`.
    pub caption: &'static str,
    /// Attributes of an event.
    pub fields: &'static [Field],
    /// An empty table.
    pub table: fn() -> Box<dyn Table>,
    /// Makes documents of rows of the lake, see [`crate::Documents::add_rows`].
    pub documents: AddRows,
}

impl Class {
    /// The Arrow schema of the class.
    pub fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(arrow_fields(self.fields)))
    }
}

/// The class of this snake-case name.
pub fn class(name: &str) -> Option<&'static Class> {
    super::CLASSES.iter().copied().find(|class| class.name == name)
}

/// See [`crate::Documents::add_rows`].
pub type AddRows = fn(
    &mut crate::Documents,
    &crate::Indexing,
    &crate::Filter,
    &RecordBatch,
    (usize, usize),
    &mut dyn FnMut(&str, bool) -> u32,
) -> usize;

/// Where a row belongs in the lake.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition {
    /// `cloud.region`, or empty.
    pub region: String,
    /// `cloud.account.uid`, or empty.
    pub account: String,
    /// Days since 1970 of the event's time, in UTC.
    pub day: i32,
}

/// What is needed of a row to place, sort and deduplicate it.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// `time`.
    pub time: i64,
    /// The first 16 bytes of `metadata.uid`, big endian, so that numbers sort as the text does.
    pub uid_prefix: u128,
    /// Index into the partitions of the chunk.
    pub partition: u32,
    /// The object it was read from, as its number in the batch.
    pub object: u32,
    /// Length of the raw record in bytes: about that of the row's texts.
    pub record_bytes: u32,
}

/// An object of columns; made by [`crate::object`].
pub trait Columns: Default + Send + Sync + 'static {
    /// The attributes.
    const FIELDS: &'static [Field];
    /// A row.
    type Row<'a>: Copy + Default;
    /// Sets the attributes of row `row`.
    fn push_row(&mut self, row: usize, value: &Self::Row<'_>);
    /// Appends rows of `from`, see [`super::Column::gather`].
    fn gather_rows(&mut self, at: usize, from: &Self, rows: &Selected<'_>);
    /// Memory held, in bytes.
    fn row_bytes(&self) -> usize;
    /// A row of arrays, one for each attribute, see [`super::Column::read`].
    fn read_row<'a>(arrays: &'a [ArrayRef], row: usize, arena: &'a Bump) -> Self::Row<'a>;
    /// One array for each attribute.
    fn into_arrays(self, len: usize) -> Vec<ArrayRef>;
}

/// Columns of a class: what the lake needs to know of a row of any class.
pub trait Record: Columns {
    /// The class.
    const CLASS: &'static Class;
    /// The bytes of `metadata.uid` of a row.
    fn uid(&self, row: u32) -> &[u8];
    /// The table of this class in a row of tables.
    fn slot(tables: &mut super::Tables) -> &mut ClassTable<Self>
    where
        Self: Sized;
}

/// A row of a class, as a source makes it.
pub trait Event<'a> {
    /// Its columns.
    type Columns: Record;
    /// As the row of its columns.
    fn row(&self) -> &<Self::Columns as Columns>::Row<'a>;
    /// `time`, or 0.
    fn time(&self) -> i64;
    /// `metadata.uid`.
    fn uid(&self) -> &str;
    /// `cloud.region`, or empty.
    fn region(&self) -> &str;
    /// `cloud.account.uid`, or empty.
    fn account(&self) -> &str;
    /// Appends the event as JSON.
    fn write_json(&self, form: Form, out: &mut Vec<u8>);
    /// Finds the values at a path, see [`super::Column::find`].
    fn find(&self, path: &str, found: &mut dyn FnMut(Leaf<'_>));
}

/// Rows of one class with their keys.
pub struct ClassTable<C> {
    columns: C,
    keys: Vec<Key>,
}

impl<C: Record> Default for ClassTable<C> {
    fn default() -> Self {
        Self { columns: C::default(), keys: Vec::new() }
    }
}

impl<C: Record> ClassTable<C> {
    /// Appends a row. The key comes last: a row without one is unfinished.
    pub fn push(&mut self, row: &C::Row<'_>, key: Key) {
        self.columns.push_row(self.keys.len(), row);
        self.keys.push(key);
    }

    /// Drops what is left of a row whose push did not come to its end.
    pub fn drop_unfinished(&mut self) {
        let finished = Selected::Run { start: 0, len: self.keys.len() as u32 };
        let mut columns = C::default();
        columns.gather_rows(0, &self.columns, &finished);
        self.columns = columns;
    }
}

/// Rows of one class, whichever it is: what sinks work with.
pub trait Table: Any + Send + Sync {
    /// The class.
    fn class(&self) -> &'static Class;
    /// The keys, one for each row.
    fn keys(&self) -> &[Key];
    /// The bytes of `metadata.uid` of a row.
    fn uid(&self, row: u32) -> &[u8];
    /// Memory held, in bytes.
    fn bytes(&self) -> usize;
    /// Appends the rows `rows` of `from`, which must be of the same class.
    fn gather(&mut self, from: &dyn Table, rows: &[u32]);
    /// Appends all rows of `from`, which must be of the same class. Their partitions get the
    /// numbers that stand at their old ones.
    fn append(&mut self, from: &dyn Table, partitions: &[u32]);
    /// All rows as Arrow, and their keys. Texts are dictionaries, which [`Class::schema`] does not
    /// show: in Parquet there is no difference.
    fn into_arrow(self: Box<Self>) -> (RecordBatch, Vec<Key>);
    /// For [`Table::gather`].
    fn as_any(&self) -> &dyn Any;
}

impl<C: Record> Table for ClassTable<C> {
    fn class(&self) -> &'static Class {
        C::CLASS
    }

    fn keys(&self) -> &[Key] {
        &self.keys
    }

    fn uid(&self, row: u32) -> &[u8] {
        self.columns.uid(row)
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.columns.row_bytes() + self.keys.capacity() * size_of::<Key>()
    }

    fn gather(&mut self, from: &dyn Table, rows: &[u32]) {
        let from = from.as_any().downcast_ref::<Self>().expect("rows of the same class");
        let selected = Selected::new(rows, from.keys.len());
        self.columns.gather_rows(self.keys.len(), &from.columns, &selected);
        self.keys.extend(rows.iter().map(|&row| from.keys[row as usize]));
    }

    fn append(&mut self, from: &dyn Table, partitions: &[u32]) {
        let from = from.as_any().downcast_ref::<Self>().expect("rows of the same class");
        let all = Selected::Run { start: 0, len: from.keys.len() as u32 };
        self.columns.gather_rows(self.keys.len(), &from.columns, &all);
        let renumbered = from
            .keys
            .iter()
            .map(|key| Key { partition: partitions[key.partition as usize], ..*key });
        self.keys.extend(renumbered);
    }

    fn into_arrow(self: Box<Self>) -> (RecordBatch, Vec<Key>) {
        let arrays = self.columns.into_arrays(self.keys.len());
        (structs(C::FIELDS, arrays, None).into(), self.keys)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ocsf::{ApiActivity, ApiActivityColumns, Metadata};

    #[test]
    fn a_row_that_was_pushed_in_part_leaves_nothing_behind() {
        let row = |uid| ApiActivity {
            time: Some(1),
            metadata: Metadata { uid: Some(uid), ..Metadata::default() },
            unmapped: &[("a", "b")],
            ..ApiActivity::of(1, None)
        };
        let key = Key { time: 1, uid_prefix: 0, partition: 0, object: 0, record_bytes: 0 };
        let mut table = ClassTable::<ApiActivityColumns>::default();
        table.push(&row("one"), key);
        table.columns.push_row(1, &row("a push that panicked before its key"));
        table.drop_unfinished();
        table.push(&row("two"), key);
        assert_eq!((Table::uid(&table, 0), Table::uid(&table, 1)), (&b"one"[..], &b"two"[..]));
        assert_eq!((Box::new(table) as Box<dyn Table>).into_arrow().0.num_rows(), 2);
    }
}
