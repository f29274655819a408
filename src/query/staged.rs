//! Partition columns of staged files, which are in no partition yet.
//!
//! # Input
//! Expressions on the columns of a table.
//! # Maps to
//! The same on the columns of a staged file: what would be the partition follows from its rows.
//! # Known gaps
//! None.
//! # Reference
//! Design section 6: region and account from the record, `unknown` where absent or not
//! `[a-z0-9-]{1,32}`; the day of its time in UTC.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::SchemaRef;
use datafusion::{
    common::{
        DFSchema,
        tree_node::{Transformed, TreeNode},
    },
    error::Result,
    physical_expr_adapter::{
        DefaultPhysicalExprAdapterFactory, PhysicalExprAdapter, PhysicalExprAdapterFactory,
    },
    physical_plan::{PhysicalExpr, expressions::Column},
};

use super::{EXPRESSIONS, files::PARTITION_COLUMNS};

/// What the partition columns are, in the order of [`PARTITION_COLUMNS`].
const OF_ROWS: [&str; 3] = [
    "CASE WHEN regexp_like(cloud.region, '^[a-z0-9-]{1,32}$') THEN cloud.region ELSE 'unknown' END",
    "CASE WHEN regexp_like(cloud.account.uid, '^[a-z0-9-]{1,32}$') THEN cloud.account.uid \
     ELSE 'unknown' END",
    "to_char(time_dt, '%Y%m%d')",
];

/// Makes expressions fit to staged files.
#[derive(Clone, Debug)]
pub struct StagedColumns {
    columns: Arc<HashMap<String, Arc<dyn PhysicalExpr>>>,
}

impl StagedColumns {
    /// For files of a table with this schema.
    pub fn new(schema: &SchemaRef) -> Result<Self> {
        let columns = DFSchema::try_from(Arc::clone(schema))?;
        let expressions = PARTITION_COLUMNS.iter().zip(OF_ROWS).map(|(name, sql)| {
            let expr = EXPRESSIONS.parse_sql_expr(sql, &columns)?;
            Ok(((*name).to_owned(), EXPRESSIONS.create_physical_expr(expr, &columns)?))
        });
        Ok(Self { columns: Arc::new(expressions.collect::<Result<_>>()?) })
    }
}

impl PhysicalExprAdapterFactory for StagedColumns {
    fn create(
        &self,
        logical: SchemaRef,
        physical: SchemaRef,
    ) -> Result<Arc<dyn PhysicalExprAdapter>> {
        let inner = DefaultPhysicalExprAdapterFactory.create(logical, physical)?;
        Ok(Arc::new(Adapter { columns: Arc::clone(&self.columns), inner }))
    }
}

#[derive(Debug)]
struct Adapter {
    columns: Arc<HashMap<String, Arc<dyn PhysicalExpr>>>,
    inner: Arc<dyn PhysicalExprAdapter>,
}

impl PhysicalExprAdapter for Adapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        let of_rows = expr.transform_up(|expr| {
            let column = expr.downcast_ref::<Column>();
            let known = column.and_then(|column| self.columns.get(column.name()));
            Ok(match known {
                Some(known) => Transformed::yes(Arc::clone(known)),
                None => Transformed::no(expr),
            })
        })?;
        self.inner.rewrite(of_rows.data)
    }
}
