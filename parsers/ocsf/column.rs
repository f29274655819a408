//! One column of a class: how a value is held, stored and written as JSON.
//!
//! # Input
//! Values of rows, pushed by row number.
//! # Maps to
//! Arrow arrays. Absent values cost nothing: a column is padded with nulls when a later row has
//! a value, or at the end. An empty text is an absent value (mapping V1, V2), so that text and
//! list columns need no validity bits: null is what has no bytes.
//! # Known gaps
//! A column holds at most 2 GiB of text; the lake's buffers are bounded far below that.
//! # Reference
//! Mapping section 1.3 for the storage of each OCSF type.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, StructArray},
    buffer::NullBuffer,
    datatypes::{
        DataType, Field as ArrowField, FieldRef, Fields, Float64Type, Int32Type, Int64Type,
        TimeUnit, TimestampMillisecondType,
    },
};

use bumpalo::Bump;

use super::json::Form;

mod list;
mod number;
mod text;

pub use list::List;
pub use number::{Bits, Bool, NumberKind, Numbers};
pub use text::{Strings, TextKind, Unmapped};

/// What a column holds, independent of any sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `string_t` and its kinds; a keyword in an index.
    String,
    /// `string_t` that is read as prose; full text in an index.
    Text,
    /// `ip_t`.
    Ip,
    /// `json_t`: compact JSON as text.
    Json,
    /// `integer_t`, `port_t`: 32 bits.
    Integer,
    /// `long_t`: 64 bits.
    Long,
    /// `timestamp_t`: milliseconds since 1970 UTC, a plain number.
    Timestamp,
    /// `datetime_t`: the same instant as a timestamp with time zone UTC.
    Datetime,
    /// `float_t`: 64 bits.
    Double,
    /// `boolean_t`.
    Boolean,
    /// An object of the OCSF dictionary.
    Object(&'static [Field]),
    /// A list of one kind.
    List(&'static Kind),
    /// `unmapped`: a map of text to text.
    Unmapped,
}

/// A named attribute of an object or class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// OCSF attribute name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
}

impl Kind {
    /// The Arrow type, which fixes the Parquet type (mapping 1.3).
    pub fn arrow(&self) -> DataType {
        match self {
            Kind::String | Kind::Text | Kind::Ip | Kind::Json => DataType::Utf8,
            Kind::Integer => DataType::Int32,
            Kind::Long | Kind::Timestamp => DataType::Int64,
            Kind::Datetime => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            Kind::Double => DataType::Float64,
            Kind::Boolean => DataType::Boolean,
            Kind::Object(fields) => DataType::Struct(arrow_fields(fields)),
            Kind::List(kind) => DataType::List(element(kind)),
            Kind::Unmapped => DataType::Map(entries(), false),
        }
    }
}

/// A struct of columns, one for each field.
pub(crate) fn structs(
    fields: &[Field],
    arrays: Vec<ArrayRef>,
    nulls: Option<NullBuffer>,
) -> StructArray {
    let fields = fields.iter().zip(&arrays);
    let fields =
        fields.map(|(field, array)| ArrowField::new(field.name, array.data_type().clone(), true));
    StructArray::new(fields.collect(), arrays, nulls)
}

/// The Arrow fields of an object or class, all nullable.
pub fn arrow_fields(fields: &[Field]) -> Fields {
    fields.iter().map(|field| ArrowField::new(field.name, field.kind.arrow(), true)).collect()
}

fn element(kind: &Kind) -> FieldRef {
    Arc::new(ArrowField::new("element", kind.arrow(), false))
}

fn entry_fields() -> Fields {
    Fields::from(vec![
        ArrowField::new("key", DataType::Utf8, false),
        ArrowField::new("value", DataType::Utf8, false),
    ])
}

fn entries() -> FieldRef {
    Arc::new(ArrowField::new("key_value", DataType::Struct(entry_fields()), false))
}

/// Rows of a table that are to be copied.
#[derive(Clone, Copy, Debug)]
pub enum Selected<'r> {
    /// These, in this order.
    Each(&'r [u32]),
    /// A run so long that the values of all rows may be copied along.
    Run {
        /// The first row.
        start: u32,
        /// How many rows.
        len: u32,
    },
}

impl<'r> Selected<'r> {
    /// `rows` of a table of `total` rows.
    pub fn new(rows: &'r [u32], total: usize) -> Self {
        match (rows.first(), rows.last()) {
            (Some(&start), Some(&end))
                if (end - start) as usize + 1 == rows.len()
                    && rows.len() * 2 >= total
                    && rows.is_sorted() =>
            {
                Self::Run { start, len: rows.len() as u32 }
            }
            _ => Self::Each(rows),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Each(rows) => rows.len(),
            Self::Run { len, .. } => *len as usize,
        }
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `each` with the place among the selected rows and the row.
    pub fn for_each(&self, mut each: impl FnMut(usize, u32)) {
        match *self {
            Self::Each(rows) => rows.iter().enumerate().for_each(|(at, &row)| each(at, row)),
            Self::Run { start, len } => (0..len).for_each(|at| each(at as usize, start + at)),
        }
    }
}

/// A value that has no parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaf<'a> {
    /// A text; of JSON also the spelling of a number.
    Text(&'a str),
    /// A whole number, or an instant in milliseconds.
    Number(i64),
    /// A boolean.
    Bool(bool),
}

/// A column of a class or object.
pub trait Column: Default + Send + Sync + 'static {
    /// What it holds.
    const KIND: Kind;
    /// A value as a row holds it; the default is the absent value.
    type Value<'a>: Copy + Default;

    /// True if there is nothing to write.
    fn is_absent(value: &Self::Value<'_>) -> bool;
    /// Sets row `row`, which lies after all rows set before. Not called for absent values.
    fn push(&mut self, row: usize, value: &Self::Value<'_>);
    /// Appends the rows `rows` of `from` as the rows `at`, `at + 1`, ... of this column.
    fn gather(&mut self, at: usize, from: &Self, rows: &Selected<'_>);
    /// Memory held, in bytes.
    fn bytes(&self) -> usize;
    /// The column as an Arrow array of `len` rows.
    fn into_arrow(self, len: usize) -> ArrayRef;
    /// Appends a present value as JSON.
    fn write_json(value: &Self::Value<'_>, form: Form, out: &mut Vec<u8>);
    /// The value of a row of an array of this column's Arrow type, with texts that are no
    /// dictionaries.
    fn read<'a>(array: &'a dyn Array, row: usize, arena: &'a Bump) -> Self::Value<'a>;
    /// Finds the values at a path such as `actor.user.uid`, through lists. What follows `unmapped`
    /// or an attribute of kind [`Kind::Json`] is the path in the raw record.
    fn find(value: &Self::Value<'_>, path: &str, found: &mut dyn FnMut(Leaf<'_>));
}

macro_rules! kinds {
    ($trait:ident: $( $(#[$doc:meta])* $name:ident = $column:ident<$marker:ident> $kind:expr
        $(, $arrow:ty)?; )*) => { $(
        #[doc(hidden)]
        #[derive(Default)]
        pub struct $marker;
        impl $trait for $marker {
            const KIND: Kind = $kind;
            $( type Arrow = $arrow; )?
        }
        $(#[$doc])*
        pub type $name = $column<$marker>;
    )* };
}

kinds! { TextKind:
    /// `string_t`.
    Str = Strings<StrKind> Kind::String;
    /// `string_t` of prose.
    Text = Strings<ProseKind> Kind::Text;
    /// `ip_t`.
    Ip = Strings<IpKind> Kind::Ip;
    /// `json_t`.
    Json = Strings<JsonKind> Kind::Json;
}
kinds! { NumberKind:
    /// `integer_t`.
    Int = Numbers<IntKind> Kind::Integer, Int32Type;
    /// `long_t`.
    Long = Numbers<LongKind> Kind::Long, Int64Type;
    /// `timestamp_t`.
    Timestamp = Numbers<TimestampKind> Kind::Timestamp, Int64Type;
    /// `datetime_t`.
    Datetime = Numbers<DatetimeKind> Kind::Datetime, TimestampMillisecondType;
    /// `float_t`.
    Double = Numbers<DoubleKind> Kind::Double, Float64Type;
}
