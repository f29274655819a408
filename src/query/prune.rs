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
    collections::{HashMap, HashSet},
    sync::Arc,
};

use arrow::datatypes::{DataType, Field as ArrowField, Schema, SchemaRef};
use datafusion::{
    common::{
        Column, DFSchema, ScalarValue,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    datasource::physical_plan::parquet::{ParquetAccessPlan, RowGroupAccess},
    error::Result,
    logical_expr::{BinaryExpr, Expr, Operator, expr::InList, utils::disjunction},
    physical_optimizer::pruning::{PruningPredicate, PruningPredicateBuilder},
    physical_plan::PhysicalExpr,
};
use parquet::{
    arrow::{
        arrow_reader::{RowSelection, RowSelector},
        async_reader::AsyncFileReader,
    },
    bloom_filter::Sbbf,
    errors::ParquetError,
    file::metadata::ParquetMetaData,
};
use parsers::ocsf::{Class, Field, Kind};

use super::{
    EXPRESSIONS,
    files::{LakeFile, PARTITION_COLUMNS},
    reader::FileReader,
    statistics::{Columns, Filters, Groups, Intervals, Partitions},
};

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
        let usable = filters.iter().filter_map(|filter| {
            let flat = flatten(filter.clone(), &schema).ok()?;
            EXPRESSIONS.create_physical_expr(flat, &columns).ok()
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
