//! Leaves out rows whose `metadata.uid` was there before.
//!
//! # Input
//! Batches whose last column is the uid; each partition has all rows of the events it has.
//! # Maps to
//! Batches without that column, of each uid the first row.
//! # Known gaps
//! Holds 16 bytes and some for each row that passes, of files that can have rows in common.
//! # Reference
//! Design section 6: `query` shows a uid once.

use std::{
    collections::HashSet,
    fmt,
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};

use arrow::{
    array::{AsArray, BooleanArray, RecordBatch},
    compute::filter_record_batch,
    datatypes::{Schema, SchemaRef},
};
use datafusion::{
    common::tree_node::TreeNodeRecursion,
    config::ConfigOptions,
    error::{DataFusionError, Result},
    execution::{
        SendableRecordBatchStream, TaskContext,
        memory_pool::{MemoryConsumer, MemoryReservation},
    },
    physical_expr::EquivalenceProperties,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties,
        execution_plan::{Boundedness, EmissionType},
        expressions::Column,
        filter_pushdown::{
            ChildPushdownResult, FilterDescription, FilterPushdownPhase, FilterPushdownPropagation,
        },
        projection::{ProjectionExec, ProjectionExpr},
        stream::RecordBatchStreamAdapter,
    },
};
use futures_util::StreamExt;
use xxhash_rust::xxh3::xxh3_128;

/// Name of the column that rows are told apart by.
pub const UID: &str = "__uid";

/// See the head of this file.
#[derive(Debug)]
pub struct DedupeExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl DedupeExec {
    /// Of these columns of a scan, the last one of which is the uid. The scan gives them itself where it
    /// can: what is put between may be given other partitions than the scan has.
    pub fn of(columns: Vec<ProjectionExpr>, scan: &Arc<dyn ExecutionPlan>) -> Result<Self> {
        let projection = ProjectionExec::try_new(columns, Arc::clone(scan))?;
        let swapped = scan.try_swapping_with_projection(&projection)?;
        Ok(Self::new(swapped.unwrap_or_else(|| Arc::new(projection))))
    }

    /// The last column of the input is the uid.
    fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        let fields = input.schema().fields().clone();
        let schema = Arc::new(Schema::new(fields[..fields.len() - 1].to_vec()));
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(schema),
            datafusion::physical_plan::Partitioning::UnknownPartitioning(
                input.properties().output_partitioning().partition_count(),
            ),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Self { input, properties }
    }
}

impl DisplayAs for DedupeExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DedupeExec: metadata.uid")
    }
}

impl ExecutionPlan for DedupeExec {
    fn name(&self) -> &'static str {
        "DedupeExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    /// Rows of one event must stay in one partition.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(children.swap_remove(0))))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let memory = MemoryConsumer::new("DedupeExec").register(context.memory_pool());
        let mut seen = Seen { uids: HashSet::default(), memory };
        let schema = self.schema();
        let rows = self.input.execute(partition, context)?.map({
            let schema = Arc::clone(&schema);
            move |batch| seen.first(&batch?, &schema)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }

    /// A narrower projection is read, with the uid.
    fn try_swapping_with_projection(
        &self,
        projection: &ProjectionExec,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let last = self.input.schema().fields().len() - 1;
        let uid = ProjectionExpr { expr: Arc::new(Column::new(UID, last)), alias: UID.into() };
        let columns = projection.expr().iter().cloned().chain([uid]).collect();
        Ok(Some(Arc::new(Self::of(columns, &self.input)?)))
    }

    /// Rows of one event are equal, so that it does not matter which is asked.
    fn gather_filters_for_pushdown(
        &self,
        _: FilterPushdownPhase,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription> {
        FilterDescription::from_children(filters, &self.children())
    }

    fn handle_child_pushdown_result(
        &self,
        _: FilterPushdownPhase,
        result: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        Ok(FilterPushdownPropagation::if_all(result))
    }
}

/// What is hashed already is its own hash.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}

struct Seen {
    uids: HashSet<u128, BuildHasherDefault<Hashed>>,
    memory: MemoryReservation,
}

impl Seen {
    fn first(&mut self, batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
        let last = batch.num_columns() - 1;
        let uids = batch.column(last).as_string_opt::<i32>();
        let uids = uids.ok_or_else(|| DataFusionError::Internal("uids are no text".into()))?;
        let is_first =
            |uid: Option<&str>| uid.is_none_or(|uid| self.uids.insert(xxh3_128(uid.as_bytes())));
        let first: BooleanArray = uids.iter().map(is_first).map(Some).collect();
        self.memory.try_resize(self.uids.capacity() * (size_of::<u128>() + 1))?;
        let kept: Vec<usize> = (0..last).collect();
        let rows = filter_record_batch(&batch.project(&kept)?, &first)?;
        Ok(rows.with_schema(Arc::clone(schema))?)
    }
}
