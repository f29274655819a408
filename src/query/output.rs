//! Writes the rows of a query.
//!
//! # Input
//! Batches.
//! # Maps to
//! An aligned table, CSV, a JSON object a line, or Parquet, written as the rows come.
//! # Known gaps
//! The columns of a table are as wide as their widest value among the first rows.
//! # Reference
//! Cells that a spreadsheet would take for formulas: <https://owasp.org/www-community/attacks/CSV_Injection>.

use std::{io, io::Write, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, RecordBatch, StringArray},
    compute::cast,
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
    error::ArrowError,
    json::{LineDelimitedWriter, WriterBuilder},
    util::display::{ArrayFormatter, FormatOptions},
};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};

/// Rows of a table that are looked at for the widths of its columns.
const LOOK_AT_ROWS: usize = 500;
/// A cell of a table is cut at so many characters, while the table is for people.
const CELL_CHARS: usize = 120;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns, for people
    Table,
    /// Comma-separated; cells that a spreadsheet would run as formulas begin with an apostrophe
    Csv,
    /// A JSON object a line
    Json,
    /// A Parquet file
    Parquet,
}

impl Format {
    /// What the name of a file says.
    pub fn of(path: &std::path::Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "csv" => Some(Self::Csv),
            "json" | "ndjson" | "jsonl" => Some(Self::Json),
            "parquet" => Some(Self::Parquet),
            "txt" => Some(Self::Table),
            _ => None,
        }
    }
}

/// A result that is being written.
pub enum Output<W: Write + Send> {
    /// See [`Format::Table`].
    Table(Table<W>),
    /// See [`Format::Csv`].
    Csv(Box<csv::Writer<W>>),
    /// See [`Format::Json`].
    Json(Box<LineDelimitedWriter<W>>),
    /// See [`Format::Parquet`].
    Parquet(Box<ArrowWriter<W>>),
}

/// A result cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The file or the pipe.
    #[error("cannot write the result: {0}")]
    Write(#[from] io::Error),
    /// A value.
    #[error("cannot write the result: {0}")]
    Arrow(#[from] ArrowError),
    /// A Parquet file.
    #[error("cannot write the result: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// CSV.
    #[error("cannot write the result: {0}")]
    Csv(#[from] csv::Error),
}

impl OutputError {
    /// True if who read the result has gone away, such as `head`.
    pub fn is_closed_pipe(&self) -> bool {
        let closed = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        match self {
            Self::Write(error) | Self::Arrow(ArrowError::IoError(_, error)) => closed(error),
            Self::Csv(error) => {
                matches!(error.kind(), csv::ErrorKind::Io(error) if closed(error))
            }
            _ => false,
        }
    }
}

impl<W: Write + Send> Output<W> {
    /// Starts a result.
    pub fn new(format: Format, schema: &SchemaRef, to: W) -> Result<Self, OutputError> {
        Ok(match format {
            Format::Table => {
                Self::Table(Table { to, head: head(schema), rows: Vec::new(), widths: None })
            }
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(to);
                writer.write_record(schema.fields().iter().map(|field| safe(field.name())))?;
                Self::Csv(Box::new(writer))
            }
            Format::Json => {
                Self::Json(Box::new(WriterBuilder::new().with_explicit_nulls(false).build(to)))
            }
            Format::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .build();
                let writer = ArrowWriter::try_new(to, Arc::clone(schema), Some(properties))?;
                Self::Parquet(Box::new(writer))
            }
        })
    }

    /// Writes rows.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), OutputError> {
        match self {
            Self::Table(table) => table.write(batch),
            Self::Csv(writer) => {
                let options = format_options();
                let cells = formatters(batch, &options)?;
                for row in 0..batch.num_rows() {
                    let cells = cells.iter().map(|cell| safe(&cell.value(row).to_string()));
                    writer.write_record(cells)?;
                }
                Ok(())
            }
            Self::Json(writer) => Ok(writer.write(batch)?),
            Self::Parquet(writer) => Ok(writer.write(batch)?),
        }
    }

    /// Writes what is held back, and ends the result.
    pub fn finish(self) -> Result<(), OutputError> {
        match self {
            Self::Table(mut table) => {
                table.release()?;
                Ok(table.to.flush()?)
            }
            Self::Csv(mut writer) => Ok(writer.flush()?),
            Self::Json(mut writer) => {
                writer.finish()?;
                Ok(writer.into_inner().flush()?)
            }
            Self::Parquet(writer) => Ok(writer.into_inner()?.flush()?),
        }
    }
}

fn format_options() -> FormatOptions<'static> {
    FormatOptions::new().with_null("")
}

fn formatters<'a>(
    batch: &'a RecordBatch,
    options: &'a FormatOptions<'_>,
) -> Result<Vec<ArrayFormatter<'a>>, ArrowError> {
    batch.columns().iter().map(|column| ArrayFormatter::try_new(column, options)).collect()
}

/// A cell that no spreadsheet takes for a formula. Who is looked for chooses names and user agents.
fn safe(cell: &str) -> String {
    let is_number = || cell.parse::<f64>().is_ok();
    match cell.as_bytes().first() {
        Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r' | b'\n') if !is_number() => {
            format!("'{cell}")
        }
        _ => cell.to_owned(),
    }
}

/// Rows of text in columns.
pub struct Table<W: Write> {
    to: W,
    head: Vec<String>,
    /// Rows that are held back until the widths are known.
    rows: Vec<Vec<String>>,
    widths: Option<Vec<usize>>,
}

fn head(schema: &Schema) -> Vec<String> {
    schema.fields().iter().map(|field| printable(field.name())).collect()
}

/// Without what would move the cursor or change colours.
pub fn harmless(text: &str) -> String {
    let is_harmful = |c: char| c.is_control() || is_direction(c);
    text.chars().map(|c| if is_harmful(c) { '\u{fffd}' } else { c }).collect()
}

/// The same, and not too long.
fn printable(cell: &str) -> String {
    let mut text = harmless(&cell.chars().take(CELL_CHARS).collect::<String>());
    if cell.chars().nth(CELL_CHARS).is_some() {
        text.push('…');
    }
    text
}

/// Turns the direction of what follows, which can make a line read as another one.
pub fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl<W: Write> Table<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), OutputError> {
        let options = format_options();
        let cells = formatters(batch, &options)?;
        for row in 0..batch.num_rows() {
            let row: Vec<String> =
                cells.iter().map(|cell| printable(&cell.value(row).to_string())).collect();
            match &self.widths {
                Some(widths) => line(&mut self.to, &row, widths)?,
                None => self.rows.push(row),
            }
        }
        if self.widths.is_none() && self.rows.len() >= LOOK_AT_ROWS {
            self.release()?;
        }
        Ok(())
    }

    fn release(&mut self) -> io::Result<()> {
        if self.widths.is_some() {
            return Ok(());
        }
        let mut widths: Vec<usize> = self.head.iter().map(|name| name.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        line(&mut self.to, &self.head, &widths)?;
        let rule: Vec<String> = widths.iter().map(|&width| "-".repeat(width)).collect();
        line(&mut self.to, &rule, &widths)?;
        for row in std::mem::take(&mut self.rows) {
            line(&mut self.to, &row, &widths)?;
        }
        self.widths = Some(widths);
        Ok(())
    }
}

fn line(to: &mut impl Write, cells: &[String], widths: &[usize]) -> io::Result<()> {
    let mut text = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        let pad = width.saturating_sub(cell.chars().count());
        text += cell;
        text.extend(std::iter::repeat_n(' ', pad + 2));
    }
    writeln!(to, "{}", text.trim_end())
}

/// The batch with the times also in this zone, beside those in UTC.
pub fn with_zone(batch: &RecordBatch, zone: &str) -> Result<RecordBatch, ArrowError> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        fields.push(Arc::clone(field));
        columns.push(Arc::clone(column));
        if let DataType::Timestamp(unit, _) = field.data_type() {
            let local = format!("{} ({zone})", field.name());
            let texts = in_zone(column, *unit, zone)?;
            fields.push(Arc::new(Field::new(local, DataType::Utf8, true)));
            columns.push(texts);
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

fn in_zone(column: &ArrayRef, unit: TimeUnit, zone: &str) -> Result<ArrayRef, ArrowError> {
    let utc = cast(column, &DataType::Timestamp(unit, Some("UTC".into())))?;
    let local = cast(&utc, &DataType::Timestamp(unit, Some(zone.into())))?;
    let options = FormatOptions::new().with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.3f%:z"));
    let cells = ArrayFormatter::try_new(&local, &options)?;
    let texts =
        (0..local.len()).map(|row| local.is_valid(row).then(|| cells.value(row).to_string()));
    Ok(Arc::new(texts.collect::<StringArray>()))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, TimestampMillisecondArray};

    use super::*;

    fn batch(agent: &str) -> RecordBatch {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("time", Arc::new(TimestampMillisecondArray::from(vec![0]).with_timezone("UTC"))),
            ("user_agent", Arc::new(StringArray::from(vec![agent]))),
            ("count", Arc::new(Int64Array::from(vec![-5]))),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn written(format: Format, batch: &RecordBatch) -> String {
        let mut out = Vec::new();
        let mut output = Output::new(format, &batch.schema(), &mut out).unwrap();
        output.write(batch).unwrap();
        output.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn csv_has_no_formulas() {
        let text = written(Format::Csv, &batch("=cmd|' /C calc'!A0"));
        assert!(text.contains(",'=cmd|' /C calc'!A0,-5\n"), "{text}");
    }

    #[test]
    fn a_table_does_not_obey_what_is_in_the_logs() {
        let text = written(Format::Table, &batch("\x1b[2J\u{202e}gnp"));
        assert!(!text.contains('\x1b') && !text.contains('\u{202e}'), "{text}");
        assert_eq!(text.lines().count(), 3);
    }

    #[test]
    fn times_are_shown_in_a_zone_beside_utc() {
        let shown = with_zone(&batch("x"), "Europe/Berlin").unwrap();
        let text = written(Format::Csv, &shown);
        assert!(text.starts_with("time,time (Europe/Berlin),user_agent,count\n"), "{text}");
        assert!(text.contains("1970-01-01T01:00:00.000+01:00"), "{text}");
        assert!(with_zone(&batch("x"), "Nowhere/Here").is_err());
    }
}
