//! OCSF 1.1.0: its classes and objects, each written once as a table ([`classes`]).
//!
//! Row structs, columns, Arrow schema and JSON writer follow from the tables:
//! [`mod@column`] says what one column is, `macros.rs` makes objects and classes of columns,
//! [`mod@table`] is what sinks work with, [`json`] writes values.
//!
//! # Input
//! The tables.
//! # Maps to
//! Everything that knows the name of an attribute.
//! # Known gaps
//! One version of OCSF; only the classes and attributes that the sources fill.
//! # Reference
//! <https://schema.ocsf.io/1.1.0/>.

pub mod classes;
pub mod column;
mod flat;
pub mod json;
mod macros;
pub mod table;

pub use classes::*;
pub use column::{Column, Field, Kind, Leaf};
pub use table::{Class, Event, Key, Partition, Record, Table, class};

/// The OCSF version of every event that this crate writes (`metadata.version`).
pub const VERSION: &str = "1.1.0";
