//! Asks a lake: SQL over its files, on this machine, with nothing else running.
//!
//! ```text
//! files.rs: what is visible -> table.rs: a class as a table -> hints.rs, prune.rs: what may match
//!     -> DataFusion's Parquet scan, reader.rs -> dedupe.rs: each event once -> output.rs
//! ```
//!
//! `events.rs` has the view over all classes, `functions.rs` what Athena has and DataFusion has not,
//! `library.rs` the shipped queries.
//!
//! # Input
//! A lake and its state; SQL.
//! # Maps to
//! Batches of rows.
//! # Known gaps
//! A batch that is being committed to a lake of this machine is seen file by file.
//! # Reference
//! Design section 6; <https://datafusion.apache.org/user-guide/sql/>.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{Arc, LazyLock, PoisonError, atomic::Ordering::Relaxed},
};

use arrow::array::RecordBatch;
use datafusion::{
    config::{ConfigOptions, Dialect},
    dataframe::DataFrame,
    error::DataFusionError,
    execution::{
        context::SQLOptions, memory_pool::FairSpillPool, runtime_env::RuntimeEnvBuilder,
        session_state::SessionStateBuilder,
    },
    prelude::{SessionConfig, SessionContext},
    sql::{
        parser::Statement,
        sqlparser::ast::{
            AccessExpr, Expr, Statement as SqlStatement, Value, visit_expressions_mut,
        },
    },
};
use parsers::ocsf::{CLASSES, Class};

use crate::{
    config::LakeArgs,
    investigate::lookup::Coverage,
    load::{StartError, check_state, check_used},
    publish::manifest::HistoryError,
    store::{Folder, Place, S3, StoreError},
};

mod bloom;
mod dedupe;
pub(crate) mod events;
mod files;
mod functions;
mod hints;
pub mod library;
pub mod output;
mod prune;
mod reader;
mod staged;
mod statistics;
mod table;

pub use reader::Reads;

use files::LakeFiles;
use reader::Reader;
use table::{ClassTable, Damaged};

/// In the generic one `user` is a function, also in `actor.user.uid`.
const DIALECT: Dialect = Dialect::DuckDB;

/// A lake cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The places are wrong.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Lake or state cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is not known what was published.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The SQL is wrong.
    #[error("{0}")]
    Sql(String),
    /// A file has gone while it was read: merged, or loaded anew.
    #[error("the lake has changed while it was read: run it again ({0})")]
    Changed(String),
    /// It cannot be run.
    #[error("{0}")]
    Engine(String),
}

/// How much a query may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rows that are held, in bytes; beyond that sorts and joins go to the disk.
    pub memory: usize,
    /// Threads.
    pub jobs: usize,
}

/// A lake as it was when it was opened.
pub struct Lake {
    context: SessionContext,
    reader: Reader,
    files: LakeFiles,
    damaged: Damaged,
}

impl Lake {
    /// Opens a lake.
    pub async fn open(args: &LakeArgs, limits: Limits) -> Result<Self, QueryError> {
        let (place, state): (&Place, Place) = (&args.lake, args.state());
        check_state(place, &state)?;
        let s3 = S3::new(args.access());
        let lake = Folder::open(place, &s3).await?;
        let state_folder = Folder::open(&state, &s3).await?;
        check_used(place, &state, &state_folder).await?;
        let files = LakeFiles::list(&lake, &state_folder).await?;
        let reader = Reader::new(lake, state_folder);
        let damaged = Damaged::default();
        let context = context(limits).map_err(|error| engine_error(&error))?;
        for class in CLASSES {
            let table = ClassTable::new(class, files.clone(), reader.clone(), Arc::clone(&damaged));
            context
                .register_table(class.name, Arc::new(table))
                .map_err(|error| engine_error(&error))?;
        }
        let this = Self { context, reader, files, damaged };
        let events = this.plan(&events::sql()).await?.into_view();
        let registered = this.context.register_table(events::NAME, events);
        registered.map_err(|error| engine_error(&error))?;
        Ok(this)
    }

    /// Plans a query; nothing of the rows is read.
    pub async fn plan(&self, sql: &str) -> Result<DataFrame, QueryError> {
        self.frame(sql).await.map_err(|error| sql_error(&error))
    }

    async fn frame(&self, sql: &str) -> Result<DataFrame, DataFusionError> {
        let state = self.context.state();
        let mut statement = state.sql_to_statement(sql, &DIALECT)?;
        if let Statement::Statement(statement) = &mut statement {
            name_fields(statement);
        }
        let plan = state.statement_to_plan(statement).await?;
        SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false)
            .verify_plan(&plan)?;
        self.context.execute_logical_plan(plan).await
    }

    /// The rows that a query gives.
    pub async fn rows(&self, sql: &str) -> Result<Vec<RecordBatch>, QueryError> {
        let first = self.plan(sql).await?.collect().await;
        match first {
            Err(error) if self.leaves_out_damaged().await => {
                tracing::debug!(%error, "asked again without what is damaged");
                self.plan(sql).await?.collect().await.map_err(|error| engine_error(&error))
            }
            first => first.map_err(|error| engine_error(&error)),
        }
    }

    /// After a query that failed: looks for files that are damaged between their ends, and leaves them
    /// out from now on. False if there is none, so that it would fail again.
    pub async fn leaves_out_damaged(&self) -> bool {
        let mut is_new = false;
        for (name, error) in self.reader.damaged().await {
            is_new |= table::cannot_read(name, error, &self.damaged).is_ok();
        }
        is_new
    }

    /// What there is of each class, from the footers of its files; rows that are in two files count
    /// twice.
    pub async fn coverage(&self) -> Result<Vec<Coverage>, QueryError> {
        let mut all = Vec::new();
        for class in CLASSES {
            let table = self.table(class);
            let known = table.coverage().await.map_err(|error| engine_error(&error))?;
            all.extend(known);
        }
        Ok(all)
    }

    fn table(&self, class: &'static Class) -> ClassTable {
        let (files, damaged) = (self.files.clone(), Arc::clone(&self.damaged));
        ClassTable::new(class, files, self.reader.clone(), damaged)
    }

    /// The state folder.
    pub fn state(&self) -> &Folder {
        self.reader.state()
    }

    /// How many files there are, published and staged.
    pub fn file_count(&self) -> usize {
        self.files.all().len()
    }

    /// How much was read so far.
    pub fn reads(&self) -> &Reads {
        self.reader.reads()
    }

    /// Says in the log how much was read.
    pub fn log_reads(&self) {
        let reads = self.reads();
        tracing::info!(
            files = reads.files.load(Relaxed),
            of_files = self.file_count(),
            requests = reads.requests.load(Relaxed),
            bytes = reads.bytes.load(Relaxed),
            "read"
        );
    }

    /// Files that could not be read so far, and why.
    pub fn damaged(&self) -> BTreeMap<String, String> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The fields of what a function gives by dots too: the engine plans `f(x).a.b` only when the names are
/// texts.
fn name_fields(statement: &mut SqlStatement) {
    let _: ControlFlow<()> = visit_expressions_mut(statement, |expr| {
        if let Expr::CompoundFieldAccess { access_chain, .. } = expr {
            for access in access_chain {
                if let AccessExpr::Dot(Expr::Identifier(name)) = access {
                    let text = Value::SingleQuotedString(name.value.clone());
                    *access = AccessExpr::Dot(Expr::Value(text.with_span(name.span)));
                }
            }
        }
        ControlFlow::Continue(())
    });
}

/// Makes expressions for tables; nothing is asked with it.
static EXPRESSIONS: LazyLock<SessionContext> = LazyLock::new(SessionContext::new);

fn context(limits: Limits) -> Result<SessionContext, DataFusionError> {
    let mut options = ConfigOptions::new();
    options.sql_parser.collect_spans = true;
    options.sql_parser.dialect = DIALECT;
    options.execution.parquet.pushdown_filters = true;
    options.execution.parquet.reorder_filters = true;
    options.execution.target_partitions = limits.jobs;
    options.execution.collect_statistics = false;
    // Which files are read together is decided by where an event may be twice.
    options.optimizer.repartition_file_scans = false;
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(limits.memory)))
        .build_arc()?;
    let state = SessionStateBuilder::new()
        .with_default_features()
        .with_config(SessionConfig::from(options))
        .with_runtime_env(runtime)
        .with_optimizer_rule(Arc::new(hints::ScanHints))
        .build();
    let context = SessionContext::new_with_state(state);
    functions::register(&context);
    Ok(context)
}

/// What is wrong with a statement, and where.
fn sql_error(error: &DataFusionError) -> QueryError {
    if table::is_gone(error) {
        return QueryError::Changed(error.to_string());
    }
    let diagnostic = error.diagnostic();
    let place = diagnostic
        .and_then(|diagnostic| diagnostic.span)
        .map(|span| format!("line {}, column {}: ", span.start.line, span.start.column));
    QueryError::Sql(format!("{}{}", place.unwrap_or_default(), cause(error)))
}

/// What went wrong while a query ran.
pub fn engine_error(error: &DataFusionError) -> QueryError {
    if table::is_gone(error) {
        return QueryError::Changed(cause(error));
    }
    QueryError::Engine(cause(error))
}

/// The cause, without the kinds that the engine puts before it.
fn cause(error: &DataFusionError) -> String {
    error.find_root().strip_backtrace()
}

/// A text as SQL writes it.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
