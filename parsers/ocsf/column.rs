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

use std::{marker::PhantomData, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, BooleanArray, BooleanBufferBuilder, DictionaryArray,
        ListArray, MapArray, PrimitiveArray, StringArray, StructArray,
    },
    buffer::{BooleanBuffer, NullBuffer, OffsetBuffer},
    datatypes::{
        DataType, Field as ArrowField, FieldRef, Fields, Int32Type, Int64Type, TimeUnit,
        TimestampMillisecondType, UInt32Type,
    },
};

use super::json;

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
            Kind::Boolean => DataType::Boolean,
            Kind::Object(fields) => DataType::Struct(arrow_fields(fields)),
            Kind::List(kind) => DataType::List(element(kind)),
            Kind::Unmapped => DataType::Map(entries(), false),
        }
    }
}

/// A struct of columns, one for each field.
pub(crate) fn structs(fields: &[Field], arrays: Vec<ArrayRef>, nulls: Option<NullBuffer>) -> StructArray {
    let fields = fields.iter().zip(&arrays);
    let fields = fields.map(|(field, array)| ArrowField::new(field.name, array.data_type().clone(), true));
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
    fn gather(&mut self, at: usize, from: &Self, rows: &[u32]);
    /// Memory held, in bytes.
    fn bytes(&self) -> usize;
    /// The column as an Arrow array of `len` rows.
    fn into_arrow(self, len: usize) -> ArrayRef;
    /// Appends a present value as JSON.
    fn write_json(value: &Self::Value<'_>, out: &mut Vec<u8>);
}

/// Row ends in a buffer of values; row `r` is `ends[r - 1]..ends[r]`.
#[derive(Default)]
struct Ends(Vec<i32>);

impl Ends {
    fn last(&self) -> i32 {
        self.0.last().copied().unwrap_or(0)
    }

    fn pad(&mut self, rows: usize) {
        if self.0.len() < rows {
            self.0.resize(rows, self.last());
        }
    }

    fn range(&self, row: u32) -> std::ops::Range<usize> {
        let row = row as usize;
        match self.0.get(row) {
            None => 0..0,
            Some(&end) if row == 0 => 0..end as usize,
            Some(&end) => self.0[row - 1] as usize..end as usize,
        }
    }

    fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<i32>()
    }

    /// Offsets for Arrow, and the validity that follows from them.
    fn into_arrow(mut self, len: usize) -> (OffsetBuffer<i32>, Option<NullBuffer>) {
        self.pad(len);
        let valid = BooleanBuffer::collect_bool(len, |row| !self.range(row as u32).is_empty());
        let mut offsets = Vec::with_capacity(len + 1);
        offsets.push(0);
        offsets.extend_from_slice(&self.0);
        (OffsetBuffer::new(offsets.into()), Some(NullBuffer::new(valid)))
    }
}

/// Stands in the codes of a [`Dictionary`] column for an absent value.
const ABSENT: u32 = u32::MAX;
/// Places for values seen lately, a power of two.
const RECENT: usize = 256;

/// Values, each held once as long as it was seen lately, and known by its number.
struct Dictionary {
    text: String,
    ends: Vec<i32>,
    /// Numbers of values seen lately, by a cheap hash of the value.
    recent: Box<[u32; RECENT]>,
    last: u32,
}

impl Default for Dictionary {
    fn default() -> Self {
        Self {
            text: String::new(),
            ends: Vec::new(),
            recent: Box::new([ABSENT; RECENT]),
            last: ABSENT,
        }
    }
}

impl Dictionary {
    fn get(&self, code: u32) -> &str {
        let at = code as usize;
        let Some(&end) = self.ends.get(at) else { return "" };
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.text[start as usize..end as usize]
    }

    fn code(&mut self, value: &str) -> u32 {
        if self.last != ABSENT && self.get(self.last) == value {
            return self.last;
        }
        let place = place(value.as_bytes());
        let recent = self.recent[place];
        if recent != ABSENT && self.get(recent) == value {
            self.last = recent;
        } else {
            self.last = self.ends.len() as u32;
            self.recent[place] = self.last;
            self.text.push_str(value);
            self.ends.push(self.text.len() as i32);
        }
        self.last
    }

    fn bytes(&self) -> usize {
        self.text.capacity() + self.ends.capacity() * size_of::<i32>() + size_of_val(&*self.recent)
    }

    /// The values of `codes`.
    fn into_arrow(self, codes: Vec<u32>) -> DictionaryArray<UInt32Type> {
        let mut offsets = Vec::with_capacity(self.ends.len() + 1);
        offsets.push(0);
        offsets.extend_from_slice(&self.ends);
        let offsets = OffsetBuffer::new(offsets.into());
        let values = StringArray::new(offsets, self.text.into_bytes().into(), None);
        let valid = BooleanBuffer::collect_bool(codes.len(), |row| codes[row] != ABSENT);
        let nulls = Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0);
        let keys = PrimitiveArray::<UInt32Type>::new(codes.into(), nulls);
        DictionaryArray::new(keys, Arc::new(values))
    }
}

/// A place for a value among the recent ones, by its length and its last 8 bytes.
fn place(value: &[u8]) -> usize {
    let mut tail = [0; 8];
    let len = value.len().min(8);
    tail[..len].copy_from_slice(&value[value.len() - len..]);
    let mixed = (u64::from_le_bytes(tail) ^ value.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
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
    /// The text of a row; empty if absent.
    pub fn get(&self, row: u32) -> &str {
        self.codes.get(row as usize).map_or("", |&code| self.values.get(code))
    }

    fn push_code(&mut self, row: usize, code: u32) {
        if self.codes.len() < row {
            self.codes.resize(row, ABSENT);
        }
        self.codes.push(code);
    }
}

impl<K: TextKind> Column for Strings<K> {
    const KIND: Kind = K::KIND;
    type Value<'a> = Option<&'a str>;

    fn is_absent(value: &Option<&str>) -> bool {
        value.is_none_or(str::is_empty)
    }

    fn push(&mut self, row: usize, value: &Option<&str>) {
        let code = self.values.code(value.unwrap_or_default());
        self.push_code(row, code);
    }

    fn gather(&mut self, at: usize, from: &Self, rows: &[u32]) {
        let mut last = (ABSENT, ABSENT);
        for (i, &row) in rows.iter().enumerate() {
            let code = from.codes.get(row as usize).copied().unwrap_or(ABSENT);
            if code == ABSENT {
                continue;
            }
            if code != last.0 {
                last = (code, self.values.code(from.values.get(code)));
            }
            self.push_code(at + i, last.1);
        }
    }

    fn bytes(&self) -> usize {
        self.codes.capacity() * size_of::<u32>() + self.values.bytes()
    }

    fn into_arrow(mut self, len: usize) -> ArrayRef {
        self.codes.resize(len, ABSENT);
        Arc::new(self.values.into_arrow(self.codes))
    }

    fn write_json(value: &Option<&str>, out: &mut Vec<u8>) {
        json::string(value.unwrap_or_default(), out);
    }
}

/// Says which number a [`Numbers`] column holds.
pub trait NumberKind: Default + Send + Sync + 'static {
    /// The Arrow type that stores it.
    type Arrow: ArrowPrimitiveType<Native: Into<i64> + Copy + Default + Send + Sync>;
    /// The kind.
    const KIND: Kind;
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

    fn gather(&mut self, at: usize, from: &Self, rows: &[u32]) {
        if from.values.is_empty() {
            return;
        }
        if from.valid.is_full(rows) {
            self.values.resize(at, Native::<K>::default());
            self.values.extend(rows.iter().map(|&row| from.values[row as usize]));
            self.valid.set_all(at, rows.len());
            return;
        }
        for (i, &row) in rows.iter().enumerate() {
            if from.valid.get(row) {
                self.push(at + i, &Some(from.values[row as usize]));
            }
        }
    }

    fn bytes(&self) -> usize {
        self.values.capacity() * size_of::<Native<K>>() + self.valid.bytes()
    }

    fn into_arrow(mut self, len: usize) -> ArrayRef {
        self.values.resize(len, Native::<K>::default());
        let array = PrimitiveArray::<K::Arrow>::new(self.values.into(), self.valid.nulls(len));
        Arc::new(array.with_data_type(K::KIND.arrow()))
    }

    fn write_json(value: &Self::Value<'_>, out: &mut Vec<u8>) {
        let value = value.unwrap_or_default().into();
        if K::KIND == Kind::Datetime {
            json::datetime(value, out);
        } else {
            json::integer(value, out);
        }
    }
}

/// A bit for each row, false where nothing was set. As long as all are set they are only counted.
pub struct Bits {
    /// Rows that are all set, if `builder` is empty.
    full: usize,
    builder: BooleanBufferBuilder,
}

impl Default for Bits {
    fn default() -> Self {
        Self { full: 0, builder: BooleanBufferBuilder::new(0) }
    }
}

impl Bits {
    fn len(&self) -> usize {
        self.full.max(self.builder.len())
    }

    fn spread(&mut self) {
        let full = std::mem::take(&mut self.full);
        self.builder.append_n(full, true);
    }

    fn put(&mut self, row: usize, bit: bool) {
        if bit && self.builder.is_empty() && row == self.full {
            self.full += 1;
            return;
        }
        self.spread();
        self.builder.resize(row.max(self.builder.len()));
        self.builder.append(bit);
    }

    /// Sets the bit of `row`, which lies after all rows before.
    pub fn set(&mut self, row: usize) {
        self.put(row, true);
    }

    /// Sets the bits of `count` rows from `row` on, which lies after all rows before.
    pub fn set_all(&mut self, row: usize, count: usize) {
        if self.builder.is_empty() && row == self.full {
            self.full += count;
            return;
        }
        self.spread();
        self.builder.resize(row.max(self.builder.len()));
        self.builder.append_n(count, true);
    }

    /// The bit of `row`.
    pub fn get(&self, row: u32) -> bool {
        let row = row as usize;
        row < self.full || (row < self.builder.len() && self.builder.get_bit(row))
    }

    /// True if the bits of these rows are known to be set without looking at each.
    pub fn is_full(&self, rows: &[u32]) -> bool {
        self.builder.is_empty() && rows.iter().all(|&row| (row as usize) < self.full)
    }

    /// True if no bit was ever put.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        self.builder.capacity() / 8
    }

    fn finish(mut self, len: usize) -> BooleanBuffer {
        self.spread();
        self.builder.resize(len);
        self.builder.finish()
    }

    /// As the validity of `len` rows.
    pub fn nulls(self, len: usize) -> Option<NullBuffer> {
        if self.builder.is_empty() && self.full == len {
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

    fn gather(&mut self, at: usize, from: &Self, rows: &[u32]) {
        for (i, &row) in rows.iter().enumerate() {
            if from.valid.get(row) {
                self.push(at + i, &Some(from.values.get(row)));
            }
        }
    }

    fn bytes(&self) -> usize {
        self.valid.bytes() + self.values.bytes()
    }

    fn into_arrow(self, len: usize) -> ArrayRef {
        Arc::new(BooleanArray::new(self.values.finish(len), self.valid.nulls(len)))
    }

    fn write_json(value: &Option<bool>, out: &mut Vec<u8>) {
        let text = if value.unwrap_or_default() { "true" } else { "false" };
        out.extend_from_slice(text.as_bytes());
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

    fn gather(&mut self, at: usize, from: &Self, rows: &[u32]) {
        if from.ends.0.is_empty() {
            return;
        }
        let mut members = Vec::new();
        let start = self.ends.last();
        for (i, &row) in rows.iter().enumerate() {
            let range = from.ends.range(row);
            if !range.is_empty() {
                members.extend(range.start as u32..range.end as u32);
                self.ends.pad(at + i);
                self.ends.0.push(start + members.len() as i32);
            }
        }
        self.items.gather(start as usize, &from.items, &members);
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

    fn write_json(value: &Self::Value<'_>, out: &mut Vec<u8>) {
        out.push(b'[');
        for (at, member) in value.iter().filter(|member| !C::is_absent(member)).enumerate() {
            if at > 0 {
                out.push(b',');
            }
            C::write_json(member, out);
        }
        out.push(b']');
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
    fn push_entry(&mut self, key: &str, value: &str) {
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
            self.push_entry(key, value);
        }
        self.ends.0.push(self.key_codes.len() as i32);
    }

    fn gather(&mut self, at: usize, from: &Self, rows: &[u32]) {
        for (i, &row) in rows.iter().enumerate() {
            let range = from.ends.range(row);
            if !range.is_empty() {
                self.ends.pad(at + i);
                for entry in range {
                    let key = from.keys.get(from.key_codes[entry]);
                    self.push_entry(key, from.values.get(from.value_codes[entry]));
                }
                self.ends.0.push(self.key_codes.len() as i32);
            }
        }
    }

    fn bytes(&self) -> usize {
        let codes = self.key_codes.capacity() + self.value_codes.capacity();
        self.keys.bytes() + self.values.bytes() + codes * size_of::<u32>() + self.ends.bytes()
    }

    fn into_arrow(self, len: usize) -> ArrayRef {
        let keys: ArrayRef = Arc::new(self.keys.into_arrow(self.key_codes));
        let values: ArrayRef = Arc::new(self.values.into_arrow(self.value_codes));
        let (offsets, nulls) = self.ends.into_arrow(len);
        let pair = |name: &str, array: &ArrayRef| {
            ArrowField::new(name, array.data_type().clone(), false)
        };
        let fields = Fields::from(vec![pair("key", &keys), pair("value", &values)]);
        let pairs = StructArray::new(fields, vec![keys, values], None);
        let entries = ArrowField::new("key_value", pairs.data_type().clone(), false);
        Arc::new(MapArray::new(Arc::new(entries), offsets, pairs, nulls, false))
    }

    fn write_json(value: &Self::Value<'_>, out: &mut Vec<u8>) {
        out.push(b'{');
        for (at, (key, value)) in value.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            json::string(key, out);
            out.push(b':');
            json::string(value, out);
        }
        out.push(b'}');
    }
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
}
