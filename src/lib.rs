//! Trailhound loads AWS security logs into an OCSF lake, with every record accounted for.
//!
//! # Map
//!
//! ```text
//! paths, s3:// --- load.rs, select.rs ---+                                         tokio
//! queue --- worker/, bin/lambda.rs --- event.rs, intake.rs ---> Batch of objects
//!      |  parsers::detect(key) -> Source; ledger.rs: what is loaded already
//!      v
//! store/ -> Bytes (<= 1 MiB pieces)         read.rs: ahead of the lanes, bounded by bytes
//!      |              cpu.run(|| lane.step())                    <- the tokio/rayon border
//!      v
//! lane.rs: pump.rs(object) = inflate.rs (capped) -> window -> Decode -> Rows -> Chunk   rayon
//!      v bounded channels
//! sink/parquet.rs (partition.rs: dedupe, sort; encode)   sink/opensearch/ (bulk)   sink/reject.rs
//!      \---- receipts ---- commit, ledger last ---- report.rs, exit code; answer to the queue
//!            a lake of this machine: files of partitions, by renames (workspace.rs)
//!            a lake in a bucket: one staged file for each class --- publish/ ---> partitions
//! ```
//!
//! `batch.rs` runs one batch through this, `load.rs` batch after batch; `budget.rs` sizes every
//! buffer; `config.rs` has the settings that programs share, `cli.rs` is the command line.
//! `cluster.rs` is an OpenSearch cluster as one principal, `indexing.rs` says what is indexed of a
//! lake, `fill.rs` indexes from the lake what is pending, `setup/` makes a cluster ready and deletes
//! old indexes. `query/` asks the lake, `investigate/` follows a finding through it or through an index.
//! `audit/` holds archives against the ledger, `redrive/` loads again what failed, `metrics.rs`
//! counts. The `parsers` crate maps bytes to OCSF.
//!
//! # Invariants
//!
//! 1. `parsers` does no I/O, reads no clock, spawns nothing, and allocates nothing proportional to
//!    the object.
//! 2. A record is never lost silently. It is in Parquet, or it is a counted duplicate, or excluded
//!    by a filter, or in the rejects with its reason and position:
//!    `in = parquet + duplicate + rejected + excluded`, for every object.
//! 3. An object counts as loaded, and a message is acknowledged, only after every sink has returned
//!    its receipt and the batch is committed. What is delivered twice is in the published lake once,
//!    and once in the index. What the index does not take at present is pending in the ledger.
//! 4. Loading the same object again yields the same `metadata.uid`s, which are the ids of documents;
//!    the number of lanes, jobs and memory change neither the set of rows of a partition nor the counts.
//! 5. Every buffer has a bound in bytes and one owner, from `budget.rs`. Peak memory does not
//!    depend on the size of an object.
//! 6. No async task computes for longer than 500 us; no CPU task waits.
//! 7. A field is named in exactly one place (`parsers/ocsf/classes.rs`).
//! 8. One bad record costs that record; one bad object, a panic included, costs that object; never
//!    the batch.

#![warn(missing_docs)]

pub mod accounts;
pub mod audit;
pub mod batch;
pub mod budget;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod cpu;
pub mod event;
pub mod fill;
pub mod indexing;
pub mod inflate;
pub mod intake;
#[cfg(feature = "query")]
pub mod investigate;
pub mod lane;
pub mod ledger;
pub mod load;
pub mod metrics;
pub mod progress;
pub mod publish;
pub mod pump;
#[cfg(feature = "query")]
pub mod query;
pub mod read;
pub mod redrive;
pub mod report;
pub mod select;
pub mod setup;
pub mod sink;
pub mod store;
pub mod worker;
pub mod workspace;
