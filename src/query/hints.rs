//! Tells scans what rows have to meet, wherever in the plan it is said.
//!
//! # Input
//! An optimized plan, whose filters on leaves of structs stay above the projections that extract
//! these leaves.
//! # Maps to
//! The same plan, whose scans know those filters too, so that [`Pruner`](super::prune::Pruner) can use
//! them. The filters stay where they are.
//! # Known gaps
//! Filters above joins, aggregates and windows are the optimizer's own business.
//! # Reference
//! `PushDownFilter` of DataFusion 55 does not push a filter through a projection of `get_field`.

use std::{collections::HashMap, sync::Arc};

use datafusion::{
    common::{
        Column,
        tree_node::{Transformed, TreeNode},
    },
    error::Result,
    logical_expr::{
        Expr, Filter, LogicalPlan, Projection, SubqueryAlias, TableScan, Union,
        utils::split_conjunction,
    },
    optimizer::{OptimizerConfig, OptimizerRule},
};

/// See the head of this file.
#[derive(Debug)]
pub struct ScanHints;

impl OptimizerRule for ScanHints {
    fn name(&self) -> &'static str {
        "scan_hints"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        hint(plan, &[])
    }
}

/// The plan, knowing that of its rows only those are wanted that meet all of these.
fn hint(plan: LogicalPlan, wanted: &[Expr]) -> Result<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::TableScan(scan) => Ok(hint_scan(scan, wanted)),
        LogicalPlan::Filter(filter) => {
            let own = split_conjunction(&filter.predicate).into_iter().cloned();
            let all: Vec<Expr> = wanted.iter().cloned().chain(own).collect();
            let Filter { predicate, input, .. } = filter;
            hint(Arc::unwrap_or_clone(input), &all)?.map_data(|input| {
                Ok(LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(input))?))
            })
        }
        LogicalPlan::Projection(projection) => {
            let names = projection.schema.columns().into_iter();
            let map =
                names.zip(projection.expr.iter().map(|expr| expr.clone().unalias())).collect();
            let below = replaced(wanted, &map)?;
            let Projection { expr, input, .. } = projection;
            hint(Arc::unwrap_or_clone(input), &below)?.map_data(|input| {
                Ok(LogicalPlan::Projection(Projection::try_new(expr, Arc::new(input))?))
            })
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let inner = alias.input.schema().columns().into_iter().map(Expr::Column);
            let map = alias.schema.columns().into_iter().zip(inner).collect();
            let below = replaced(wanted, &map)?;
            let SubqueryAlias { alias, input, .. } = alias;
            hint(Arc::unwrap_or_clone(input), &below)?.map_data(|input| {
                Ok(LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(input), alias)?))
            })
        }
        LogicalPlan::Union(union) => {
            let mut is_changed = false;
            let mut inputs = Vec::new();
            for input in union.inputs {
                let inner = input.schema().columns().into_iter().map(Expr::Column);
                let map = union.schema.columns().into_iter().zip(inner).collect();
                let hinted = hint(Arc::unwrap_or_clone(input), &replaced(wanted, &map)?)?;
                is_changed |= hinted.transformed;
                inputs.push(Arc::new(hinted.data));
            }
            let union = LogicalPlan::Union(Union { inputs, schema: union.schema });
            Ok(Transformed::new_transformed(union, is_changed))
        }
        other => other.map_children(|child| hint(child, &[])),
    }
}

fn hint_scan(mut scan: TableScan, wanted: &[Expr]) -> Transformed<LogicalPlan> {
    let mut is_changed = false;
    for filter in wanted {
        if !filter.is_volatile() && !scan.filters.contains(filter) {
            scan.filters.push(filter.clone());
            is_changed = true;
        }
    }
    Transformed::new_transformed(LogicalPlan::TableScan(scan), is_changed)
}

/// What is wanted, in terms of what lies below; what cannot be said so is left out.
fn replaced(wanted: &[Expr], map: &HashMap<Column, Expr>) -> Result<Vec<Expr>> {
    let mut below = Vec::new();
    for filter in wanted {
        let is_known = filter.column_refs().iter().all(|column| map.contains_key(*column));
        if !is_known {
            continue;
        }
        let said = filter.clone().transform_up(|expr| {
            let column = expr.try_as_col().and_then(|column| map.get(column));
            Ok(match column {
                Some(inner) => Transformed::yes(inner.clone()),
                None => Transformed::no(expr),
            })
        })?;
        below.push(said.data);
    }
    Ok(below)
}
