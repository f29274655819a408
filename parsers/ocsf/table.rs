//! The macros that make objects and classes of columns, and what every class can do.
//!
//! # Input
//! The tables in `classes.rs`.
//! # Maps to
//! For each object `X / XColumns`: a row struct of plain values and a struct of columns. An
//! object is absent when all its attributes are, so none is ever written empty. For each class
//! also its constants ([`Class`]), its constructor and its place among the classes.
//! # Known gaps
//! One OCSF version; a range of versions per field comes when there is a second one.
//! # Reference
//! Mapping tables C1 and C2, rules E1 to E5.

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

/// Makes objects: `Row / RowColumns { attribute: Column, ... }`.
#[macro_export]
macro_rules! object {
    ($( $(#[$doc:meta])* $row:ident / $columns:ident {
        $( $field:ident: $column:ty ),* $(,)?
    } )*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Default)]
        #[allow(missing_docs, reason = "attributes are documented by OCSF")]
        pub struct $row<'a> {
            $( pub $field: <$column as $crate::ocsf::Column>::Value<'a>, )*
        }

        impl $row<'_> {
            /// True if no attribute has a value.
            pub fn is_absent(&self) -> bool {
                true $( && <$column as $crate::ocsf::Column>::is_absent(&self.$field) )*
            }

            /// Appends the object as JSON; it must not be absent.
            pub fn write_json(&self, form: $crate::ocsf::json::Form, out: &mut Vec<u8>) {
                out.push(b'{');
                $( if !<$column as $crate::ocsf::Column>::is_absent(&self.$field) {
                    out.extend_from_slice(
                        concat!("\"", $crate::attribute!($field), "\":").as_bytes());
                    <$column as $crate::ocsf::Column>::write_json(&self.$field, form, out);
                    out.push(b',');
                } )*
                if let Some(last) = out.last_mut() {
                    *last = b'}';
                }
            }

            /// Finds the values at a path, see [`Column::find`]($crate::ocsf::Column::find).
            pub fn find(&self, path: &str, found: &mut dyn FnMut($crate::ocsf::Leaf<'_>)) {
                let (name, path) = path.split_once('.').unwrap_or((path, ""));
                match name {
                    $( $crate::attribute!($field) => {
                        <$column as $crate::ocsf::Column>::find(&self.$field, path, found);
                    } )*
                    _ => {}
                }
            }
        }

        #[doc = concat!("Columns of [`", stringify!($row), "`].")]
        #[derive(Default)]
        pub struct $columns {
            present: $crate::ocsf::column::Bits,
            $( $field: $column, )*
        }

        impl $crate::ocsf::table::Columns for $columns {
            const FIELDS: &'static [$crate::ocsf::Field] = &[ $( $crate::ocsf::Field {
                name: $crate::attribute!($field),
                kind: <$column as $crate::ocsf::Column>::KIND,
            } ),* ];
            type Row<'a> = $row<'a>;

            fn push_row(&mut self, row: usize, value: &$row<'_>) {
                $( if !<$column as $crate::ocsf::Column>::is_absent(&value.$field) {
                    self.$field.push(row, &value.$field);
                } )*
            }

            fn gather_rows(
                &mut self,
                at: usize,
                from: &Self,
                rows: &$crate::ocsf::column::Selected<'_>,
            ) {
                $( self.$field.gather(at, &from.$field, rows); )*
            }

            fn row_bytes(&self) -> usize {
                self.present.bytes() $( + self.$field.bytes() )*
            }

            fn read_row<'a>(
                arrays: &'a [arrow::array::ArrayRef],
                row: usize,
                arena: &'a bumpalo::Bump,
            ) -> $row<'a> {
                let mut arrays = arrays.iter();
                $row { $( $field: match arrays.next() {
                    Some(array) => <$column as $crate::ocsf::Column>::read(array, row, arena),
                    None => Default::default(),
                } ),* }
            }

            fn into_arrays(self, len: usize) -> Vec<arrow::array::ArrayRef> {
                vec![ $( self.$field.into_arrow(len) ),* ]
            }
        }

        impl $crate::ocsf::Column for $columns {
            const KIND: $crate::ocsf::Kind =
                $crate::ocsf::Kind::Object(<Self as $crate::ocsf::table::Columns>::FIELDS);
            type Value<'a> = $row<'a>;

            fn is_absent(value: &$row<'_>) -> bool {
                value.is_absent()
            }

            fn push(&mut self, row: usize, value: &$row<'_>) {
                self.present.set(row);
                $crate::ocsf::table::Columns::push_row(self, row, value);
            }

            fn gather(
                &mut self,
                at: usize,
                from: &Self,
                rows: &$crate::ocsf::column::Selected<'_>,
            ) {
                if from.present.is_empty() {
                    return;
                }
                self.present.gather(at, &from.present, rows);
                $crate::ocsf::table::Columns::gather_rows(self, at, from, rows);
            }

            fn bytes(&self) -> usize {
                $crate::ocsf::table::Columns::row_bytes(self)
            }

            fn into_arrow(mut self, len: usize) -> arrow::array::ArrayRef {
                let nulls = std::mem::take(&mut self.present).nulls(len);
                let fields = <Self as $crate::ocsf::table::Columns>::FIELDS;
                let arrays = $crate::ocsf::table::Columns::into_arrays(self, len);
                std::sync::Arc::new($crate::ocsf::column::structs(fields, arrays, nulls))
            }

            fn write_json(
                value: &$row<'_>,
                form: $crate::ocsf::json::Form,
                out: &mut Vec<u8>,
            ) {
                value.write_json(form, out);
            }

            fn read<'a>(
                array: &'a dyn arrow::array::Array,
                row: usize,
                arena: &'a bumpalo::Bump,
            ) -> $row<'a> {
                let object = arrow::array::AsArray::as_struct(array);
                if arrow::array::Array::is_null(object, row) {
                    return $row::default();
                }
                <Self as $crate::ocsf::table::Columns>::read_row(object.columns(), row, arena)
            }

            fn find(value: &$row<'_>, path: &str, found: &mut dyn FnMut($crate::ocsf::Leaf<'_>)) {
                value.find(path, found);
            }
        }
    )* };
}

/// The OCSF name of an attribute: its field name, but for Rust's keywords.
#[macro_export]
macro_rules! attribute {
    (r#type) => {
        "type"
    };
    ($field:ident) => {
        stringify!($field)
    };
}

/// Makes classes: the base event's attributes and their own.
#[macro_export]
macro_rules! classes {
    ($( $(#[$doc:meta])* $row:ident / $columns:ident, $name:ident = $uid:literal $caption:literal
        in $category:literal $category_name:literal with $metadata:ty, $cloud:ty,
        { $( $activity:literal $activity_name:literal ),* $(,)? }
        { $( $field:ident: $column:ty ),* $(,)? }
    )*) => {
        $( $crate::object! { $(#[$doc])* $row / $columns {
            time: Timestamp,
            time_dt: Datetime,
            class_uid: Int,
            class_name: Str,
            category_uid: Int,
            category_name: Str,
            activity_id: Int,
            activity_name: Str,
            type_uid: Long,
            type_name: Str,
            severity_id: Int,
            severity: Str,
            metadata: $metadata,
            cloud: $cloud,
            observables: List<ObservableColumns>,
            unmapped: Unmapped,
            $( $field: $column, )*
        } }

        impl<'a> $row<'a> {
            /// An informational event of this class; `raw` names an activity without an id (99).
            /// An id that the class does not have counts as 0.
            pub fn of(activity_id: i32, raw: Option<&'a str>) -> Self {
                let (id, name, type_name) = match activity_id {
                    $( $activity => (
                        $activity, $activity_name, concat!($caption, ": ", $activity_name)
                    ), )*
                    _ => (0, "Unknown", concat!($caption, ": Unknown")),
                };
                Self {
                    class_uid: Some($uid),
                    class_name: Some($caption),
                    category_uid: Some($category),
                    category_name: Some($category_name),
                    activity_id: Some(id),
                    activity_name: raw.filter(|_| id == 99).or(Some(name)),
                    type_uid: Some($uid * 100 + i64::from(id)),
                    type_name: Some(type_name),
                    severity_id: Some(1),
                    severity: Some("Informational"),
                    ..Self::default()
                }
            }
        }

        impl $crate::ocsf::Record for $columns {
            const CLASS: &'static $crate::ocsf::Class = &$crate::ocsf::Class {
                uid: $uid,
                name: stringify!($name),
                caption: $caption,
                fields: <$columns as $crate::ocsf::table::Columns>::FIELDS,
                documents: $crate::Documents::add_rows::<$columns>,
                table: || Box::new($crate::ocsf::table::ClassTable::<$columns>::default()),
            };

            fn uid(&self, row: u32) -> &[u8] {
                self.metadata.uid.get(row)
            }

            fn slot(tables: &mut Tables) -> &mut $crate::ocsf::table::ClassTable<Self> {
                &mut tables.$name
            }
        }

        impl<'a> $crate::ocsf::Event<'a> for $row<'a> {
            type Columns = $columns;

            fn row(&self) -> &$row<'a> {
                self
            }

            fn time(&self) -> i64 {
                self.time.unwrap_or_default()
            }

            fn uid(&self) -> &str {
                self.metadata.uid.unwrap_or_default()
            }

            fn region(&self) -> &str {
                self.cloud.region.unwrap_or_default()
            }

            fn account(&self) -> &str {
                self.cloud.account.uid.unwrap_or_default()
            }

            fn write_json(&self, form: $crate::ocsf::json::Form, out: &mut Vec<u8>) {
                $row::write_json(self, form, out);
            }

            fn find(&self, path: &str, found: &mut dyn FnMut($crate::ocsf::Leaf<'_>)) {
                $row::find(self, path, found);
            }
        } )*

        /// A table of each class.
        #[derive(Default)]
        pub struct Tables {
            $( pub(crate) $name: $crate::ocsf::table::ClassTable<$columns>, )*
        }

        impl Tables {
            /// The tables that have rows.
            pub fn into_filled(self) -> Vec<Box<dyn $crate::ocsf::Table>> {
                let mut filled: Vec<Box<dyn $crate::ocsf::Table>> = Vec::new();
                $( if !$crate::ocsf::Table::keys(&self.$name).is_empty() {
                    filled.push(Box::new(self.$name));
                } )*
                filled
            }

            /// Drops rows whose push did not come to its end.
            pub fn drop_unfinished(&mut self) {
                $( self.$name.drop_unfinished(); )*
            }

            /// Memory held, in bytes.
            pub fn bytes(&self) -> usize {
                0 $( + $crate::ocsf::Table::bytes(&self.$name) )*
            }
        }

        /// Every class.
        pub static CLASSES: &[&$crate::ocsf::Class] =
            &[ $( <$columns as $crate::ocsf::Record>::CLASS ),* ];
    };
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
