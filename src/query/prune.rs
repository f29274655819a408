//! Rules out files, row groups and pages before they are read.
//!
//! # Input
//! Predicates of a query, on columns and on the leaves of structs; names of partitions; footers.
//! # Maps to
//! The files that are left, and for each the rows that may match, as an access plan.
//! # Known gaps
//! The engine rules out by plain columns only, so that each leaf is one here, under its dotted path.
//! Members of lists and maps have no place in that. A Bloom filter is asked for text only.
//! # Reference
//! <https://parquet.apache.org/docs/file-format/pageindex/>; design section 6.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ops::Range,
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, BooleanArray, StringArray, TimestampMillisecondArray, UInt64Array},
    compute::{cast, take},
    datatypes::{DataType, Field as ArrowField, Schema, SchemaRef},
};
use datafusion::{
    common::{
        Column, DFSchema, ScalarValue,
        pruning::PruningStatistics,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    datasource::physical_plan::parquet::{ParquetAccessPlan, RowGroupAccess},
    error::Result,
    logical_expr::{BinaryExpr, Expr, Operator, expr::InList, utils::disjunction},
    physical_optimizer::pruning::{PruningPredicate, PruningPredicateBuilder},
    physical_plan::PhysicalExpr,
    prelude::SessionContext,
};
use parquet::{
    arrow::{
        arrow_reader::{RowSelection, RowSelector, statistics::StatisticsConverter},
        async_reader::AsyncFileReader,
    },
    bloom_filter::Sbbf,
    errors::ParquetError,
    file::metadata::ParquetMetaData,
};
use parsers::{
    ocsf::{Class, Field, Kind},
    time,
};

use super::{
    files::{LakeFile, PARTITION_COLUMNS},
    reader::FileReader,
};

const DAY_MS: i64 = 86_400_000;

/// What may be ruled out of one class.
pub struct Pruner {
    predicate: PruningPredicate,
    schema: SchemaRef,
}

impl Pruner {
    /// Of these predicates, all of which rows have to meet; None if none of them helps.
    pub fn new(class: &Class, filters: &[Expr]) -> Result<Option<Self>> {
        let mut fields = Vec::new();
        leaves(class.fields, "", &mut fields);
        fields.extend(PARTITION_COLUMNS.map(|name| ArrowField::new(name, DataType::Utf8, true)));
        let schema = Arc::new(Schema::new(fields));
        let columns = DFSchema::try_from(Arc::clone(&schema))?;
        let context = SessionContext::new();
        let usable = filters.iter().filter_map(|filter| {
            let flat = flatten(filter.clone(), &schema).ok()?;
            context.create_physical_expr(flat, &columns).ok()
        });
        let Some(all) = usable.reduce(and) else { return Ok(None) };
        let predicate =
            PruningPredicateBuilder::new().with_file_schema(Arc::clone(&schema)).try_build(all)?;
        Ok((!predicate.always_true()).then_some(Self { predicate, schema }))
    }

    /// Which of these files may have rows, by their partitions alone.
    pub fn files(&self, files: &[Arc<LakeFile>]) -> Result<Vec<bool>> {
        self.predicate.prune(&Partitions { files, schema: &self.schema })
    }

    /// The rows of a file that may match; None if there are none.
    pub async fn rows(
        &self,
        file: &LakeFile,
        footer: &ParquetMetaData,
        reader: &mut FileReader,
    ) -> Result<Option<ParquetAccessPlan>> {
        let files = [Arc::new(LakeFile {
            path: String::new(),
            partition: file.partition.clone(),
            ..*file
        })];
        let partition = Partitions { files: &files, schema: &self.schema };
        let groups = footer.num_row_groups();
        let names = self.columns();
        let leaves: HashMap<&str, usize> = (0..)
            .zip(footer.file_metadata().schema_descr().columns())
            .filter_map(|(index, column)| {
                Some((*names.get(column.path().string().as_str())?, index))
            })
            .collect();
        let base = Columns { partition, footer, leaves, schema: &self.schema };
        let all: Vec<usize> = (0..groups).collect();
        let keep = self.predicate.prune(&Groups { base: &base, groups: &all })?;
        let mut plan = ParquetAccessPlan::new_none(groups);
        for group in (0..groups).filter(|&group| keep[group]) {
            let filters = self.filters(&base, group, reader).await?;
            if !filters.is_empty() {
                let filters = Filters { filters, schema: &self.schema };
                if !self.predicate.prune(&filters)?[0] {
                    continue;
                }
            }
            match Intervals::new(&base, group) {
                None => plan.set(group, RowGroupAccess::Scan),
                Some(intervals) => {
                    let kept = self.predicate.prune(&intervals)?;
                    if kept.iter().all(|kept| *kept) {
                        plan.set(group, RowGroupAccess::Scan);
                    } else if kept.iter().any(|kept| *kept) {
                        let rows = intervals.rows.iter().zip(kept).map(|(&row_count, kept)| {
                            let skip = !kept;
                            RowSelector { row_count, skip }
                        });
                        let rows = RowSelection::from(rows.collect::<Vec<_>>());
                        plan.set(group, RowGroupAccess::Selection(rows));
                    }
                }
            }
        }
        Ok((!plan.row_group_indexes().is_empty()).then_some(plan))
    }

    /// Names of the leaves that the predicate is about.
    fn columns(&self) -> HashSet<&str> {
        let fields = self.schema.fields().iter();
        let required: HashSet<String> =
            datafusion::physical_expr::utils::collect_columns(self.predicate.orig_expr())
                .iter()
                .map(|column| column.name().to_owned())
                .collect();
        fields.map(|field| field.name().as_str()).filter(|name| required.contains(*name)).collect()
    }

    /// The Bloom filters of a row group that can tell something.
    async fn filters(
        &self,
        base: &Columns<'_>,
        group: usize,
        reader: &mut FileReader,
    ) -> Result<HashMap<String, Sbbf>, ParquetError> {
        let wanted = self.predicate.literal_columns();
        let mut found = HashMap::new();
        for (name, &leaf) in &base.leaves {
            let column = base.footer.row_group(group).column(leaf);
            let place = column.bloom_filter_offset().zip(column.bloom_filter_length());
            let Some((offset, length)) = place.filter(|_| wanted.iter().any(|one| one == name))
            else {
                continue;
            };
            let range = offset as u64..offset as u64 + length as u64;
            let filter = Sbbf::from_bytes(&reader.get_bytes(range).await?)?;
            found.insert((*name).to_owned(), filter);
        }
        Ok(found)
    }
}

/// True if no row can meet them, as where a class has no such column.
pub fn is_never(filters: &[Expr]) -> bool {
    filters.iter().any(|filter| match filter {
        Expr::Literal(value, _) => value.is_null() || *value == ScalarValue::from(false),
        _ => false,
    })
}

fn and(a: Arc<dyn PhysicalExpr>, b: Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr> {
    Arc::new(datafusion::physical_expr::expressions::BinaryExpr::new(a, Operator::And, b))
}

/// The leaves of a class that are no members of lists or maps, under their dotted paths.
fn leaves(fields: &[Field], parent: &str, out: &mut Vec<ArrowField>) {
    for field in fields {
        let path = format!("{parent}{}", field.name);
        match field.kind {
            Kind::Object(fields) => leaves(fields, &format!("{path}."), out),
            Kind::List(_) | Kind::Unmapped => {}
            kind => out.push(ArrowField::new(path, kind.arrow(), true)),
        }
    }
}

/// The same predicate on plain columns, or a weaker one.
fn flatten(filter: Expr, schema: &Schema) -> Result<Expr> {
    let flat = filter.transform_down(|expr| {
        Ok(match path(&expr) {
            Some(path) if schema.field_with_name(&path).is_ok() => {
                let column = Expr::Column(Column::new_unqualified(path));
                Transformed::new(column, true, TreeNodeRecursion::Jump)
            }
            _ => Transformed::no(expr),
        })
    })?;
    // The first value that is there is one of them.
    let any_of = flat.data.transform_up(|expr| {
        let arms = match &expr {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
                let (first, other) =
                    if coalesced(left).is_some() { (left, right) } else { (right, left) };
                coalesced(first).map(|args| {
                    let equal = args.iter().map(|arg| arg.clone().eq((**other).clone()));
                    equal.collect::<Vec<_>>()
                })
            }
            Expr::InList(InList { expr, list, negated: false }) => coalesced(expr).map(|args| {
                args.iter().map(|arg| arg.clone().in_list(list.clone(), false)).collect()
            }),
            _ => None,
        };
        Ok(match arms.and_then(disjunction) {
            Some(any) => Transformed::yes(any),
            None => Transformed::no(expr),
        })
    })?;
    Ok(any_of.data)
}

fn coalesced(expr: &Expr) -> Option<&[Expr]> {
    match expr {
        Expr::ScalarFunction(call) if call.name() == "coalesce" => Some(&call.args),
        _ => None,
    }
}

/// `a.b.c` of a column or of a field of a struct.
fn path(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Column(column) => Some(column.name.clone()),
        Expr::ScalarFunction(call) if call.name() == "get_field" => {
            let (root, names) = call.args.split_first()?;
            let mut path = path(root)?;
            for name in names {
                let Expr::Literal(name, _) = name else { return None };
                path = format!("{path}.{}", name.try_as_str()??);
            }
            Some(path)
        }
        _ => None,
    }
}

/// The first millisecond of a day such as `20250310`.
fn day_start(day: &str) -> Option<i64> {
    let number = |range: Range<usize>| day.get(range)?.parse().ok();
    Some(time::day_from_civil(number(0..4)?, number(4..6)?, number(6..8)?)? * DAY_MS)
}

/// What the names of partitions say.
struct Partitions<'f> {
    files: &'f [Arc<LakeFile>],
    schema: &'f Schema,
}

impl Partitions<'_> {
    /// The bound of a column in each file, as text or as milliseconds.
    fn bound(&self, name: &str, last_ms: i64) -> Option<ArrayRef> {
        let partitions = || self.files.iter().map(|file| file.partition.as_ref());
        let texts = |at: usize| -> ArrayRef {
            let value =
                |one: Option<&super::files::PartitionName>| Some(one?.values()[at].to_owned());
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
                let day = |one: Option<&super::files::PartitionName>| {
                    Some(day_start(&one?.day)? + last_ms)
                };
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
struct Columns<'f> {
    partition: Partitions<'f>,
    footer: &'f ParquetMetaData,
    /// Number of the leaf of each column that the predicate is about.
    leaves: HashMap<&'f str, usize>,
    schema: &'f Schema,
}

impl Columns<'_> {
    fn converter(&self, column: &str) -> Option<StatisticsConverter<'_>> {
        let leaf = *self.leaves.get(column)?;
        let field = self.schema.field_with_name(column).ok()?;
        let schema = self.footer.file_metadata().schema_descr();
        StatisticsConverter::from_column_index(leaf, field, schema).ok()
    }
}

/// A value of the partition, for so many containers.
fn constant(value: Option<ArrayRef>, count: usize) -> Option<ArrayRef> {
    take(&value?, &UInt64Array::from(vec![0; count]), None).ok()
}

/// The row groups of a file.
struct Groups<'b> {
    base: &'b Columns<'b>,
    groups: &'b [usize],
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

/// The Bloom filters of one row group.
struct Filters<'b> {
    filters: HashMap<String, Sbbf>,
    schema: &'b Schema,
}

impl PruningStatistics for Filters<'_> {
    fn min_values(&self, _: &Column) -> Option<ArrayRef> {
        None
    }

    fn max_values(&self, _: &Column) -> Option<ArrayRef> {
        None
    }

    fn num_containers(&self) -> usize {
        1
    }

    fn null_counts(&self, _: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        None
    }

    fn contained(&self, column: &Column, values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        let filter = self.filters.get(&column.name)?;
        self.schema.field_with_name(&column.name).ok()?;
        let may_be = values.iter().any(|value| match value.try_as_str() {
            Some(Some(text)) => filter.check(text),
            _ => true,
        });
        Some(BooleanArray::from(vec![if may_be { None } else { Some(false) }]))
    }
}

/// The rows of a row group, cut wherever a page of one of the columns ends.
struct Intervals<'b> {
    base: &'b Columns<'b>,
    group: usize,
    /// Rows of each interval.
    rows: Vec<usize>,
    /// For each column the page that each interval lies in.
    pages: HashMap<&'b str, UInt64Array>,
}

impl<'b> Intervals<'b> {
    /// None if there is no page index, or but one page.
    fn new(base: &'b Columns<'b>, group: usize) -> Option<Self> {
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
