//! The macros that make objects and classes of columns.
//!
//! # Input
//! The tables in `classes.rs`.
//! # Maps to
//! For each object `X / XColumns`: a row struct of plain values and a struct of columns. An
//! object is absent when all its attributes are, so none is ever written empty. For each class
//! also its constants ([`Class`](super::Class)), its constructor and its place among the classes.
//! # Known gaps
//! One OCSF version; a range of versions per field comes when there is a second one.
//! # Reference
//! Mapping tables C1 and C2, rules E1 to E5.

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
