//! What is known of the rows of a file before they are read, as the engine's predicates ask it.
//!
//! # Input
//! Names of partitions, footers with their page indexes.
//! # Maps to
//! Bounds and counts of files, row groups, and of the rows between two ends of pages.
//! # Known gaps
//! None.
//! # Reference
//! <https://parquet.apache.org/docs/file-format/pageindex/>.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ops::Range,
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, BooleanArray, StringArray, TimestampMillisecondArray, UInt64Array},
    compute::{cast, take},
    datatypes::Schema,
};
use datafusion::common::{Column, ScalarValue, pruning::PruningStatistics};
use parquet::{
    arrow::arrow_reader::statistics::StatisticsConverter, file::metadata::ParquetMetaData,
};
use parsers::time::{self, DAY_MS};

use super::files::{LakeFile, PARTITION_COLUMNS, PartitionName};

/// The first millisecond of a day such as `20250310`.
fn day_start(day: &str) -> Option<i64> {
    let number = |range: Range<usize>| day.get(range)?.parse().ok();
    Some(time::day_from_civil(number(0..4)?, number(4..6)?, number(6..8)?)? * DAY_MS)
}

/// What the names of partitions say.
pub struct Partitions<'f> {
    pub files: &'f [Arc<LakeFile>],
    pub schema: &'f Schema,
}

impl Partitions<'_> {
    /// The bound of a column in each file, as text or as milliseconds.
    fn bound(&self, name: &str, last_ms: i64) -> Option<ArrayRef> {
        let partitions = || self.files.iter().map(|file| file.partition.as_ref());
        let texts = |at: usize| -> ArrayRef {
            let value = |one: Option<&PartitionName>| Some(one?.values()[at].to_owned());
            Arc::new(partitions().map(value).collect::<StringArray>())
        };
        if let Some(at) = PARTITION_COLUMNS.iter().position(|column| *column == name) {
            return Some(texts(at));
        }
        let known = |at: usize| {
            let texts = texts(at);
            let is_known =
                |text: Option<&str>| text.filter(|text| *text != "unknown").map(str::to_owned);
            let texts = texts.as_any().downcast_ref::<StringArray>()?.iter().map(is_known);
            Some(Arc::new(texts.collect::<StringArray>()) as ArrayRef)
        };
        match name {
            "cloud.region" => known(0),
            "cloud.account.uid" => known(1),
            "time" | "time_dt" => {
                let day = |one: Option<&PartitionName>| Some(day_start(&one?.day)? + last_ms);
                let days: ArrayRef =
                    Arc::new(partitions().map(day).collect::<TimestampMillisecondArray>());
                cast(&days, self.schema.field_with_name(name).ok()?.data_type()).ok()
            }
            _ => None,
        }
    }
}

impl PruningStatistics for Partitions<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bound(&column.name, 0)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bound(&column.name, DAY_MS - 1)
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, _column: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        None
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

/// A file: what all its containers share.
pub struct Columns<'f> {
    pub partition: Partitions<'f>,
    pub footer: &'f ParquetMetaData,
    /// Number of the leaf of each column that the predicate is about.
    pub leaves: HashMap<&'f str, usize>,
    pub schema: &'f Schema,
}

impl Columns<'_> {
    fn converter(&self, column: &str) -> Option<StatisticsConverter<'_>> {
        let leaf = *self.leaves.get(column)?;
        let field = self.schema.field_with_name(column).ok()?;
        let schema = self.footer.file_metadata().schema_descr();
        StatisticsConverter::from_column_index(leaf, field, schema).ok()
    }
}

/// None for members of lists: their nulls are not those of rows.
fn is_plain(column: &Column) -> Option<()> {
    (!column.name.contains("[]")).then_some(())
}

/// A value of the partition, for so many containers.
fn constant(value: Option<ArrayRef>, count: usize) -> Option<ArrayRef> {
    take(&value?, &UInt64Array::from(vec![0; count]), None).ok()
}

/// The row groups of a file.
pub struct Groups<'b> {
    pub base: &'b Columns<'b>,
    pub groups: &'b [usize],
}

impl PruningStatistics for Groups<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        match self.base.converter(&column.name) {
            Some(converter) => converter.row_group_mins(self.base.footer.row_groups()).ok(),
            None => constant(self.base.partition.min_values(column), self.groups.len()),
        }
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        match self.base.converter(&column.name) {
            Some(converter) => converter.row_group_maxes(self.base.footer.row_groups()).ok(),
            None => constant(self.base.partition.max_values(column), self.groups.len()),
        }
    }

    fn num_containers(&self) -> usize {
        self.groups.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        is_plain(column)?;
        let converter = self.base.converter(&column.name)?;
        Some(Arc::new(converter.row_group_null_counts(self.base.footer.row_groups()).ok()?))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let rows = self.base.footer.row_groups().iter().map(|group| group.num_rows() as u64);
        Some(Arc::new(rows.collect::<UInt64Array>()))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

/// The rows of a row group, cut wherever a page of one of the columns ends.
pub struct Intervals<'b> {
    pub base: &'b Columns<'b>,
    pub group: usize,
    /// Rows of each interval.
    pub rows: Vec<usize>,
    /// For each column the page that each interval lies in.
    pub pages: HashMap<&'b str, UInt64Array>,
}

impl<'b> Intervals<'b> {
    /// None if there is no page index, or but one page.
    pub fn new(base: &'b Columns<'b>, group: usize) -> Option<Self> {
        base.footer.column_index()?;
        let offsets = base.footer.offset_index()?;
        let rows = base.footer.row_group(group).num_rows() as usize;
        let starts = |leaf: usize| {
            let pages = offsets[group][leaf].page_locations();
            pages.iter().map(|page| page.first_row_index as usize).collect::<Vec<_>>()
        };
        let starts: HashMap<&str, Vec<usize>> =
            base.leaves.iter().map(|(name, leaf)| (*name, starts(*leaf))).collect();
        let cuts: BTreeSet<usize> = starts.values().flatten().copied().chain([0]).collect();
        if cuts.len() < 2 {
            return None;
        }
        let pages = starts.into_iter().map(|(name, starts)| {
            let page = |cut: &usize| starts.partition_point(|start| start <= cut).max(1) as u64 - 1;
            (name, cuts.iter().map(page).collect::<UInt64Array>())
        });
        let ends = cuts.iter().skip(1).copied().chain([rows]);
        let rows = cuts.iter().zip(ends).map(|(start, end)| end - start).collect();
        Some(Self { base, group, rows, pages: pages.collect() })
    }

    /// What the pages of a column say, for each interval.
    fn spread(
        &self,
        column: &Column,
        of_pages: impl Fn(&StatisticsConverter<'_>) -> parquet::errors::Result<ArrayRef>,
    ) -> Option<ArrayRef> {
        let pages = self.pages.get(column.name.as_str())?;
        let array = of_pages(&self.base.converter(&column.name)?).ok()?;
        take(&array, pages, None).ok()
    }
}

macro_rules! page_statistics {
    ($self:ident, $column:ident, $method:ident) => {{
        let (columns, offsets) =
            $self.base.footer.column_index().zip($self.base.footer.offset_index())?;
        let group = $self.group;
        $self.spread($column, |converter| {
            Ok(Arc::new(converter.$method(columns, offsets, &[group])?) as ArrayRef)
        })
    }};
}

impl PruningStatistics for Intervals<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        if !self.pages.contains_key(column.name.as_str()) {
            return constant(self.base.partition.min_values(column), self.rows.len());
        }
        page_statistics!(self, column, data_page_mins)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        if !self.pages.contains_key(column.name.as_str()) {
            return constant(self.base.partition.max_values(column), self.rows.len());
        }
        page_statistics!(self, column, data_page_maxes)
    }

    fn num_containers(&self) -> usize {
        self.rows.len()
    }

    /// All of a page is null, or it is not known: the counts are of pages, not of intervals.
    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        is_plain(column)?;
        let leaf = *self.base.leaves.get(column.name.as_str())?;
        let nulls = page_statistics!(self, column, data_page_null_counts)?;
        let offsets = &self.base.footer.offset_index()?[self.group][leaf];
        let total = self.base.footer.row_group(self.group).num_rows() as u64;
        let starts: Vec<u64> =
            offsets.page_locations().iter().map(|page| page.first_row_index as u64).collect();
        let ends = starts.iter().skip(1).copied().chain([total]);
        let rows: Vec<u64> = starts.iter().zip(ends).map(|(start, end)| end - start).collect();
        let nulls = nulls.as_any().downcast_ref::<UInt64Array>()?;
        let pages = &self.pages[column.name.as_str()];
        let counts = nulls.iter().zip(pages).zip(&self.rows).map(|((nulls, page), &interval)| {
            let is_all = nulls? >= *rows.get(page? as usize)?;
            Some(if is_all { interval as u64 } else { 0 })
        });
        Some(Arc::new(counts.collect::<UInt64Array>()))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(self.rows.iter().map(|&rows| rows as u64).collect::<UInt64Array>()))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
