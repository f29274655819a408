//! Rules out files, row groups and pages before they are read.
//!
//! # Input
//! Predicates of a query, on columns and on the leaves of structs; names of partitions; footers.
//! # Maps to
//! The files that are left, and for each the rows that may match, as an access plan.
//! # Known gaps
//! The engine rules out by plain columns only, so that each leaf is one here, under its dotted path.
//! Of lists of objects and of maps, `element_at(list, n).leaf` and `element_at(map, key)` are one too,
//! under `list[].leaf` and `map[]`: what bounds and Bloom filters say of all members holds for one.
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
    logical_expr::{BinaryExpr, Case, Expr, Operator, expr::InList, lit, utils::disjunction},
    physical_optimizer::pruning::{PruningPredicate, PruningPredicateBuilder},
    physical_plan::PhysicalExpr,
};
use parquet::{
    arrow::arrow_reader::{RowSelection, RowSelector},
    file::metadata::ParquetMetaData,
};
use parsers::ocsf::{Class, Field, Kind};

use super::{
    EXPRESSIONS,
    bloom::LookedUp,
    files::{LakeFile, PARTITION_COLUMNS},
    reader::FileReader,
    statistics::{Columns, Groups, Intervals, Partitions},
};

/// What may be ruled out of one class.
pub struct Pruner {
    predicate: PruningPredicate,
    looked_up: LookedUp,
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
            let flat = without_nulls(flatten(filter.clone(), &schema).ok()?);
            Some((EXPRESSIONS.create_physical_expr(flat.clone(), &columns).ok()?, flat))
        });
        let (usable, flat): (Vec<_>, Vec<_>) = usable.unzip();
        let Some(all) = usable.into_iter().reduce(and) else { return Ok(None) };
        let predicate =
            PruningPredicateBuilder::new().with_file_schema(Arc::clone(&schema)).try_build(all)?;
        let looked_up = LookedUp::new(flat);
        let is_useful = !predicate.always_true() || !looked_up.is_empty();
        Ok(is_useful.then_some(Self { predicate, looked_up, schema }))
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
                let name = column.path().string();
                let name = name.replace(".list.element", "[]").replace(".key_value.value", "[]");
                Some((*names.get(name.as_str())?, index))
            })
            .collect();
        let base = Columns { partition, footer, leaves, schema: &self.schema };
        let all: Vec<usize> = (0..groups).collect();
        let keep = self.predicate.prune(&Groups { base: &base, groups: &all })?;
        let mut kept = Vec::new();
        for group in all.into_iter().filter(|&group| keep[group]) {
            if self.looked_up.may_be_in(&base, group, reader).await? {
                kept.push(group);
            }
        }
        if kept.is_empty() {
            return Ok(None);
        }
        let footer = reader.indexes().await?;
        let base = Columns { footer: &footer, ..base };
        let mut plan = ParquetAccessPlan::new_none(groups);
        for group in kept {
            let Some(intervals) = Intervals::new(&base, group) else {
                plan.set(group, RowGroupAccess::Scan);
                continue;
            };
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

/// The leaves of a class that are no members of lists of values or of lists in lists, under their dotted
/// paths.
fn leaves(fields: &[Field], parent: &str, out: &mut Vec<ArrowField>) {
    for field in fields {
        let path = format!("{parent}{}", field.name);
        match field.kind {
            Kind::Object(fields) => leaves(fields, &format!("{path}."), out),
            Kind::List(Kind::Object(fields)) if !path.contains("[]") => {
                leaves(fields, &format!("{path}[]."), out);
            }
            Kind::List(_) => {}
            Kind::Unmapped => out.push(ArrowField::new(path + "[]", DataType::Utf8, true)),
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
                    if alternatives(left).is_some() { (left, right) } else { (right, left) };
                alternatives(first).map(|args| {
                    let equal = args.into_iter().map(|arg| arg.clone().eq((**other).clone()));
                    equal.collect::<Vec<_>>()
                })
            }
            Expr::InList(InList { expr, list, negated: false }) => alternatives(expr).map(|args| {
                let among = |arg: &Expr| arg.clone().in_list(list.clone(), false);
                args.into_iter().map(among).collect()
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

/// What `coalesce` chooses from, also as the engine writes it: `CASE WHEN a IS NOT NULL THEN a …`.
fn alternatives(expr: &Expr) -> Option<Vec<&Expr>> {
    match expr {
        Expr::ScalarFunction(call) if call.name() == "coalesce" => Some(call.args.iter().collect()),
        Expr::Case(Case { expr: None, when_then_expr, else_expr }) => {
            let first = when_then_expr.iter().map(|(when, then)| match when.as_ref() {
                Expr::IsNotNull(tested) if tested == then => Some(then.as_ref()),
                _ => None,
            });
            let last = else_expr.iter().map(|last| Some(last.as_ref()));
            first.chain(last).collect()
        }
        _ => None,
    }
}

/// The same for a filter, to which nothing known is as good as false: what a class has not got is null.
fn without_nulls(expr: Expr) -> Expr {
    match expr {
        Expr::Literal(value, _) if value.is_null() => lit(false),
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            let (left, right) = (without_nulls(*left), without_nulls(*right));
            let absorbing = lit(op == Operator::Or);
            let neutral = lit(op == Operator::And);
            if left == absorbing || right == absorbing {
                absorbing
            } else if left == neutral {
                right
            } else if right == neutral {
                left
            } else {
                Expr::BinaryExpr(BinaryExpr { left: left.into(), op, right: right.into() })
            }
        }
        other => other,
    }
}

/// `a.b.c` of a column or of a field of a struct, `a[].b` of a member of a list, `a[]` of a map.
fn path(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Column(column) => Some(column.name.clone()),
        Expr::ScalarFunction(call) if call.name() == "element_at" => {
            Some(format!("{}[]", path(call.args.first()?)?))
        }
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
