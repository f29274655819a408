//! One memory limit becomes the size of every buffer.
//!
//! # Input
//! `--memory` and `--jobs`.
//! # Maps to
//! Lanes, read-ahead, windows, chunks, partition buffers. The sum stays below the limit.
//! # Known gaps
//! What the allocator wastes is covered by the share for the process.
//! # Reference
//! Design section 7.

const MIB: usize = 1 << 20;

/// The least memory that a load can run in, in bytes.
pub const MIN_BYTES: usize = 128 * MIB;
/// The least memory that documents need, in bytes.
const MIN_INDEX_BYTES: usize = 24 * MIB;
/// The smallest bulk request, in bytes.
pub const MIN_BULK_BYTES: usize = 64 << 10;
/// Program, runtime, tables of open objects, allocator's waste.
const PROCESS_BYTES: usize = 60 * MIB;
/// Object bytes that are read ahead of the lanes.
const READ_AHEAD_BYTES: usize = 16 * MIB;
/// A window that a record of 16 MiB has grown, rows under construction, an open Parquet writer.
const LANE_BYTES: usize = (18 + 8 + 8) * MIB;

/// Sizes of buffers, in bytes unless the name says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Objects decoded, files encoded, threads for work that takes cycles: at the same time.
    pub lanes: usize,
    /// Size of a piece of an object.
    pub piece_bytes: usize,
    /// Object bytes read ahead of the lanes.
    pub read_ahead_bytes: usize,
    /// Decompressed bytes that a lane sees at once.
    pub window_bytes: usize,
    /// Rows of a chunk.
    pub chunk_rows: usize,
    /// Raw records of a chunk.
    pub chunk_bytes: usize,
    /// Chunks that wait for a sink.
    pub queued_chunks: usize,
    /// Rows that wait for their partition's file, over all partitions.
    pub partition_bytes: usize,
    /// The same where a batch becomes one file for each class.
    pub staged_bytes: usize,
    /// Documents of a chunk.
    pub document_bytes: usize,
    /// A bulk request.
    pub bulk_bytes: usize,
    /// Bulk requests at a time.
    pub bulk_requests: usize,
}

impl Budget {
    /// Divides `memory_bytes` among at most `jobs` lanes.
    pub fn new(memory_bytes: usize, jobs: usize) -> Result<Self, String> {
        if memory_bytes < MIN_BYTES {
            return Err(format!(
                "--memory {}MB is too little: at least {}MB are needed",
                memory_bytes / MIB,
                MIN_BYTES / MIB
            ));
        }
        let partition_bytes = (memory_bytes / 8).min(256 * MIB);
        let fixed = PROCESS_BYTES + READ_AHEAD_BYTES + partition_bytes;
        let lanes = (memory_bytes - fixed).div_euclid(LANE_BYTES).clamp(1, jobs.max(1));
        Ok(Self {
            lanes,
            piece_bytes: MIB,
            read_ahead_bytes: READ_AHEAD_BYTES,
            window_bytes: 2 * MIB,
            chunk_rows: 8192,
            chunk_bytes: 4 * MIB,
            queued_chunks: 2,
            partition_bytes,
            // A third of what is left: sorting and encoding small rows takes as much again, twice.
            staged_bytes: partition_bytes.max((memory_bytes - fixed - lanes * LANE_BYTES) / 3),
            document_bytes: 8 * MIB,
            bulk_bytes: 8 * MIB,
            bulk_requests: 1,
        })
    }

    /// Also sets memory aside for documents: half of it for requests, the rest for documents under
    /// construction, in queues, and waiting for a request to be full. Requests are at most of
    /// `bulk_bytes`.
    pub fn with_index(memory_bytes: usize, jobs: usize, bulk_bytes: usize) -> Result<Self, String> {
        let most = memory_bytes.checked_sub(MIN_BYTES).filter(|most| *most >= MIN_INDEX_BYTES);
        let most = most.ok_or_else(|| {
            format!(
                "--memory {}MB is too little: with an index at least {}MB are needed",
                memory_bytes / MIB,
                (MIN_BYTES + MIN_INDEX_BYTES) / MIB
            )
        })?;
        let index_bytes = (memory_bytes / 6).clamp(MIN_INDEX_BYTES, 192 * MIB).min(most);
        let budget = Self::new(memory_bytes - index_bytes, jobs)?;
        let bulk_bytes = bulk_bytes.clamp(MIN_BULK_BYTES, index_bytes / 4);
        Ok(Self {
            document_bytes: (bulk_bytes / 2).min(index_bytes / (8 * budget.lanes)),
            bulk_bytes,
            bulk_requests: (index_bytes / 2 / bulk_bytes).clamp(1, 16),
            ..budget
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_limited_by_memory_and_by_jobs() {
        let lanes = |mib: usize, jobs| Budget::new(mib * MIB, jobs).unwrap().lanes;
        assert_eq!(lanes(512, 2), 2);
        assert_eq!(lanes(512, 64), 10);
        assert_eq!(lanes(128, 64), 1);
        assert!(Budget::new(100 * MIB, 1).unwrap_err().contains("at least 128MB"));
    }

    #[test]
    fn documents_have_their_share_of_memory() {
        for (mib, jobs) in [(152, 1), (512, 2), (512, 64), (4096, 8)] {
            let budget = Budget::with_index(mib * MIB, jobs, 8 * MIB).unwrap();
            let share = (mib * MIB / 6).clamp(MIN_INDEX_BYTES, 192 * MIB);
            let building = budget.lanes * 2 * budget.document_bytes;
            let queued = budget.queued_chunks * budget.document_bytes;
            let sent = budget.bulk_requests * budget.bulk_bytes;
            assert!(building + queued + sent <= share, "{mib} MB: {budget:?}");
            assert!(budget.document_bytes >= 1 << 20 || mib < 200 || jobs > 2, "{budget:?}");
        }
        assert!(Budget::with_index(128 * MIB, 1, 8 * MIB).unwrap_err().contains("152MB"));
    }
}
