//! Which partitions a staged file has rows for, and of which time: what is there already has to be
//! looked for only there.
//!
//! # Input
//! Staged files on this machine.
//! # Maps to
//! Partitions with the times of their first and last row.
//! # Known gaps
//! None.
//! # Reference
//! Design section 6.

use std::{collections::BTreeMap, sync::Arc};

use parsers::ocsf::Partition;

use super::merge::{Input, Keys, ReadError, project};

/// What is to come into the partitions of a class.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// For each partition the times of the first and the last row, in milliseconds.
    pub times: BTreeMap<Arc<Partition>, (i64, i64)>,
    /// All rows.
    pub rows: u64,
}

impl Survey {
    /// Reads the columns that tell the partition.
    pub fn of(input: &Input) -> Result<Self, ReadError> {
        let mut survey = Self::default();
        let columns = ["time", "cloud.region", "cloud.account.uid"];
        let reader = project(input.open()?, &columns).map_err(input.fail())?;
        let mut last: Option<(Arc<Partition>, i64, i64)> = None;
        for batch in reader {
            let batch = batch.map_err(input.fail())?;
            let keys = Keys::of(&batch).map_err(input.fail())?;
            for row in 0..batch.num_rows() {
                let time = keys.time(row);
                let before = last.as_ref().map(|(partition, ..)| Arc::clone(partition));
                let partition = keys.partition(row, &before.clone().unwrap_or_default());
                match &mut last {
                    Some((same, _, max)) if Arc::ptr_eq(same, &partition) => *max = time,
                    _ => {
                        survey.add_run(last.take());
                        last = Some((partition, time, time));
                    }
                }
            }
            survey.rows += batch.num_rows() as u64;
        }
        survey.add_run(last);
        Ok(survey)
    }

    fn add_run(&mut self, run: Option<(Arc<Partition>, i64, i64)>) {
        if let Some((partition, min, max)) = run {
            let times = self.times.entry(partition).or_insert((min, max));
            *times = (times.0.min(min), times.1.max(max));
        }
    }

    /// Adds another one.
    pub fn add(&mut self, other: Self) {
        for (partition, (min, max)) in other.times {
            self.add_run(Some((partition, min, max)));
        }
        self.rows += other.rows;
    }
}
