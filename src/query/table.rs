//! A class of the lake as a table.
//!
//! # Input
//! The files of the class; what a query wants of them.
//! # Maps to
//! A scan of the files that may have such rows, each event once: duplicates are removed where files
//! can have rows in common, which are those of one partition whose times overlap, and staged ones.
//! # Known gaps
//! The footer of every file that its partition does not rule out is read before the scan.
//! # Reference
//! Design section 6.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{
        DFSchema, ScalarValue,
        tree_node::{Transformed, TreeNode},
    },
    datasource::{
        TableType,
        listing::PartitionedFile,
        physical_plan::{
            FileGroup, FileScanConfigBuilder, ParquetSource, parquet::ParquetAccessPlan,
        },
        source::DataSourceExec,
        table_schema::TableSchema,
    },
    error::{DataFusionError, Result},
    execution::object_store::ObjectStoreUrl,
    logical_expr::{Expr, TableProviderFilterPushDown},
    physical_plan::{
        ExecutionPlan, PhysicalExpr, empty::EmptyExec, expressions::Column,
        projection::ProjectionExpr, union::UnionExec,
    },
    prelude::{col, get_field},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use parquet::{errors::ParquetError, file::metadata::ParquetMetaData};
use parsers::ocsf::Class;

use super::{
    EXPRESSIONS,
    dedupe::{DedupeExec, UID},
    files::{LakeFile, LakeFiles, PARTITION_COLUMNS},
    prune::{Pruner, is_never},
    reader::Reader,
    staged::StagedColumns,
};
use crate::{
    investigate::lookup::Coverage,
    store::{Kind, StoreError},
};

/// Footers that are read at the same time.
const PARALLEL: usize = 32;

/// Files that cannot be read, and why.
pub type Damaged = Arc<Mutex<BTreeMap<String, String>>>;

/// See the head of this file.
pub struct ClassTable {
    class: &'static Class,
    files: LakeFiles,
    reader: Reader,
    damaged: Damaged,
    file_schema: SchemaRef,
    schema: SchemaRef,
}

impl fmt::Debug for ClassTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClassTable({})", self.class.name)
    }
}

/// A file, and what of it may have rows.
struct Part {
    file: Arc<LakeFile>,
    access: Option<ParquetAccessPlan>,
    /// First and last `time` of the file.
    times: (i64, i64),
}

impl ClassTable {
    /// The table of a class.
    pub fn new(class: &'static Class, files: LakeFiles, reader: Reader, damaged: Damaged) -> Self {
        let file_schema = class.schema();
        let fields = file_schema.fields().iter().cloned();
        let schema = Arc::new(Schema::new(fields.chain(partition_fields()).collect::<Vec<_>>()));
        Self { class, files, reader, damaged, file_schema, schema }
    }

    /// What there is of the class; None if there is nothing.
    pub async fn coverage(&self) -> Result<Option<Coverage>> {
        let mut coverage: Option<Coverage> = None;
        let footers = stream::iter(self.files.of(self.class).cloned())
            .map(|file| async move { (self.reader.open(&file).footer().await, file) })
            .buffered(PARALLEL);
        let footers: Vec<_> = footers.collect().await;
        for (footer, file) in footers {
            let footer = match footer {
                Ok(footer) => footer,
                Err(error) => {
                    cannot_read(self.reader.name(&file), error, &self.damaged)?;
                    continue;
                }
            };
            let Some((first, last)) = times(&footer) else { continue };
            let count = footer.file_metadata().num_rows() as u64;
            let class = || self.class.name.to_owned();
            let all =
                coverage.get_or_insert_with(|| Coverage { class: class(), count: 0, first, last });
            all.count += count;
            (all.first, all.last) = (all.first.min(first), all.last.max(last));
        }
        Ok(coverage)
    }

    /// The files that may have rows that meet the filters.
    async fn parts(&self, filters: &[Expr]) -> Result<Vec<Part>> {
        if is_never(filters) {
            return Ok(Vec::new());
        }
        let mut files: Vec<_> = self.files.of(self.class).cloned().collect();
        let pruner = Pruner::new(self.class, filters)?;
        if let Some(pruner) = &pruner {
            let mut kept = pruner.files(&files)?.into_iter();
            files.retain(|_| kept.next().unwrap_or(true));
        }
        self.reader.reads().wanted.fetch_add(files.len() as u64, Relaxed);
        let parts = stream::iter(files).map(|file| self.part(file, pruner.as_ref()));
        let parts: Vec<Option<Part>> = parts.buffered(PARALLEL).try_collect().await?;
        Ok(parts.into_iter().flatten().collect())
    }

    async fn part(&self, file: Arc<LakeFile>, pruner: Option<&Pruner>) -> Result<Option<Part>> {
        let name = self.reader.name(&file);
        if self.damaged.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&name) {
            return Ok(None);
        }
        let mut reader = self.reader.open(&file);
        let footer = match reader.footer().await {
            Ok(footer) => footer,
            Err(error) => {
                return cannot_read(name, error, &self.damaged).map(|()| None);
            }
        };
        let access = match pruner {
            Some(pruner) => match pruner.rows(&file, &footer, &mut reader).await? {
                Some(access) => Some(access),
                None => return Ok(None),
            },
            None => None,
        };
        let times = times(&footer).unwrap_or((i64::MIN, i64::MAX));
        Ok(Some(Part { file, access, times }))
    }

    /// A scan of groups of files, of these columns.
    fn scan_files(
        &self,
        groups: Vec<Vec<Part>>,
        columns: &[usize],
        is_staged: bool,
        keeps_groups: bool,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let table = if is_staged {
            TableSchema::from(Arc::clone(&self.schema))
        } else {
            TableSchema::builder(Arc::clone(&self.file_schema))
                .with_table_partition_cols(partition_fields())
                .build()
        };
        let source = ParquetSource::new(table)
            .with_parquet_file_reader_factory(Arc::new(self.reader.clone()));
        let url = ObjectStoreUrl::local_filesystem();
        let groups = groups.into_iter().map(|parts| {
            FileGroup::new(parts.into_iter().map(|part| partitioned(part, is_staged)).collect())
        });
        let mut config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_projection_indices(Some(columns.to_vec()))?
            .with_file_groups(groups.collect())
            .with_preserve_order(keeps_groups)
            .with_limit(limit);
        if is_staged {
            config = config.with_expr_adapter(Some(Arc::new(StagedColumns::new(&self.schema)?)));
        }
        Ok(DataSourceExec::from_data_source(config.build()))
    }

    /// A scan whose rows may be there twice in a group, and then come once.
    fn scan_once(
        &self,
        groups: Vec<Vec<Part>>,
        is_staged: bool,
        columns: &[usize],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let metadata = self.schema.index_of("metadata")?;
        let with_uid: Vec<usize> = columns.iter().copied().chain([metadata]).collect();
        let input = self.scan_files(groups, &with_uid, is_staged, true, None)?;
        let schema = input.schema();
        let only = Schema::new(vec![schema.field(columns.len()).clone()]);
        let uid = EXPRESSIONS
            .create_physical_expr(get_field(col("metadata"), "uid"), &DFSchema::try_from(only)?)?;
        let uid = uid.transform_up(|expr| {
            let at_end =
                || Arc::new(Column::new("metadata", columns.len())) as Arc<dyn PhysicalExpr>;
            Ok(match expr.downcast_ref::<Column>() {
                Some(_) => Transformed::yes(at_end()),
                None => Transformed::no(expr),
            })
        })?;
        let kept = schema.fields().iter().take(columns.len()).enumerate().map(|(at, field)| {
            let expr: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), at));
            ProjectionExpr { expr, alias: field.name().clone() }
        });
        let exprs = kept.chain([ProjectionExpr { expr: uid.data, alias: UID.into() }]);
        Ok(Arc::new(DedupeExec::of(exprs.collect(), &input)?))
    }
}

#[async_trait]
impl TableProvider for ClassTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all = || (0..self.schema.fields().len()).collect();
        let columns = projection.cloned().unwrap_or_else(all);
        let jobs = state.config().target_partitions();
        let (alone, common, staged) = apart(self.parts(filters).await?);
        let mut plans = Vec::new();
        if !alone.is_empty() {
            let groups = spread(alone.into_iter().map(|part| vec![part]).collect(), jobs);
            plans.push(self.scan_files(groups, &columns, false, false, limit)?);
        }
        if !staged.is_empty() {
            // All of them are in one group. Of what is published the partition follows from the rows
            // as well.
            let all = common.into_iter().flatten().chain(staged).collect();
            plans.push(self.scan_once(vec![all], true, &columns)?);
        } else if !common.is_empty() {
            plans.push(self.scan_once(spread(common, jobs), false, &columns)?);
        }
        Ok(match plans.len() {
            0 => Arc::new(EmptyExec::new(Arc::new(self.schema.project(&columns)?))),
            1 => plans.swap_remove(0),
            _ => UnionExec::try_new(plans)?,
        })
    }
}

fn partition_fields() -> Vec<arrow::datatypes::FieldRef> {
    PARTITION_COLUMNS.map(|name| Arc::new(Field::new(name, DataType::Utf8, true))).into()
}

fn partitioned(part: Part, is_staged: bool) -> PartitionedFile {
    let Part { file, access, .. } = part;
    let mut partitioned = PartitionedFile::new(file.path.clone(), file.size);
    if let Some(partition) = file.partition.as_ref().filter(|_| !is_staged) {
        let values = partition.values().map(|value| ScalarValue::from(value.to_owned()));
        partitioned = partitioned.with_partition_values(values.into());
    }
    if let Some(access) = access {
        partitioned = partitioned.with_extension(access);
    }
    partitioned.with_extension(file)
}

/// Published files that have rows of their own only, sets of those that can have rows in common, and
/// staged files. With staged files, whatever is not ruled out can have rows in common with them.
fn apart(parts: Vec<Part>) -> (Vec<Part>, Vec<Vec<Part>>, Vec<Part>) {
    let (mut published, staged): (Vec<_>, Vec<_>) =
        parts.into_iter().partition(|part| part.file.partition.is_some());
    let first = staged.iter().map(|part| part.times.0).min();
    let last = staged.iter().map(|part| part.times.1).max();
    let meets_staged = |times: (i64, i64)| {
        first.zip(last).is_some_and(|(first, last)| times.0 <= last && first <= times.1)
    };
    published.sort_by(|a, b| {
        (&a.file.partition, a.times, &a.file.path).cmp(&(&b.file.partition, b.times, &b.file.path))
    });
    let (mut sets, mut until): (Vec<Vec<Part>>, _) = (Vec::new(), i64::MIN);
    for part in published {
        let last = sets
            .last_mut()
            .filter(|set| set[0].file.partition == part.file.partition && part.times.0 <= until);
        if let Some(set) = last {
            until = until.max(part.times.1);
            set.push(part);
        } else {
            until = part.times.1;
            sets.push(vec![part]);
        }
    }
    let is_common =
        |set: &Vec<Part>| set.len() > 1 || set.iter().any(|part| meets_staged(part.times));
    let (mut common, alone): (Vec<_>, Vec<_>) = sets.into_iter().partition(is_common);
    // The file that a row is taken of does not depend on the clock.
    for set in &mut common {
        set.sort_by(|a, b| a.file.path.cmp(&b.file.path));
    }
    (alone.into_iter().flatten().collect(), common, staged)
}

/// Sets of files in at most so many groups, about equal in bytes.
fn spread(sets: Vec<Vec<Part>>, groups: usize) -> Vec<Vec<Part>> {
    let count = groups.min(sets.len()).max(1);
    let bytes = |set: &[Part]| set.iter().map(|part| part.file.size).sum::<u64>();
    let total: u64 = sets.iter().map(|set| bytes(set)).sum();
    let each = total.div_ceil(count as u64).max(1);
    let mut spread: Vec<Vec<Part>> = Vec::new();
    let mut filled = 0;
    for set in sets {
        let size = bytes(&set);
        if spread.is_empty() || (filled >= each && spread.len() < count) {
            spread.push(Vec::new());
            filled = 0;
        }
        filled += size;
        if let Some(last) = spread.last_mut() {
            last.extend(set);
        }
    }
    spread
}

/// First and last `time`.
fn times(footer: &ParquetMetaData) -> Option<(i64, i64)> {
    let columns = footer.file_metadata().schema_descr().columns();
    let leaf = columns.iter().position(|column| column.path().string() == "time")?;
    let mut all = (i64::MAX, i64::MIN);
    for group in footer.row_groups() {
        let parquet::file::statistics::Statistics::Int64(times) =
            group.column(leaf).statistics()?
        else {
            return None;
        };
        all = (all.0.min(*times.min_opt()?), all.1.max(*times.max_opt()?));
    }
    Some(all)
}

/// A file that is damaged is left out; one that is gone is not, because its rows are elsewhere.
pub fn cannot_read(name: String, error: ParquetError, damaged: &Damaged) -> Result<()> {
    let error = match error {
        ParquetError::External(inner) => match inner.downcast::<StoreError>() {
            Ok(inner) => return Err(DataFusionError::External(inner)),
            Err(inner) => ParquetError::External(inner),
        },
        error => error,
    };
    let why = error.to_string();
    damaged.lock().unwrap_or_else(PoisonError::into_inner).insert(name, why);
    Ok(())
}

/// True if a file of the lake has gone while it was read: merged, or loaded anew.
pub fn is_gone(error: &DataFusionError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(StoreError { kind: Kind::Missing, .. }) = error.downcast_ref() {
            return true;
        }
        cause = error.source();
    }
    false
}
