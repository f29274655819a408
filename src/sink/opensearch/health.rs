//! How the cluster has answered lately: whether it is waited for, and who waits.
//!
//! # Input
//! Answers, good or bad.
//! # Maps to
//! Until when there is a use in trying again; whether the lake goes on without it. People are told
//! when it goes away for longer and when it is back, not of every request that is sent again.
//! # Known gaps
//! A cluster that takes requests and never answers is noticed when the first one has timed out.
//! # Reference
//! Issue 6: the lake goes on being written.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use parsers::time;

use crate::{
    batch::now_ms,
    cluster::{ClusterError, Trouble},
    read::Deadline,
};

/// Trouble that is over sooner is not worth a line.
const TOLD_AFTER: Duration = Duration::from_secs(2);
/// The lake waits for so long at most, because an outage that is shorter leaves nothing pending then,
const LONGEST_HOLD: Duration = Duration::from_secs(30);
/// and for this part of the patience.
const HOLD_SHARE: u32 = 10;
/// A cluster that answers at all does so within this, also if nobody wants to wait for it.
const SHORTEST_REQUEST: Duration = Duration::from_secs(15);

pub(super) struct Health {
    /// Its address.
    url: String,
    /// How long a cluster that takes nothing is waited for.
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Since when it has taken nothing of what it was asked to.
    since: Option<Instant>,
    /// People know that it is away.
    told: bool,
    /// Why it is not asked any more in this batch.
    down: Option<ClusterError>,
    /// When this batch stops waiting for it.
    until: Option<Instant>,
}

impl Health {
    pub(super) fn new(url: &str, patience: Duration) -> Self {
        Self { url: url.to_owned(), patience, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new batch begins: what was wrong may be right by now, and is tried once more. With a deadline
    /// half of the time is for waiting: the rest of the batch must be loaded after that.
    pub(super) fn begin(&self, deadline: Option<&Deadline>) {
        let mut state = self.state();
        state.until = deadline.map(|deadline| Instant::now() + deadline.left() / 2);
        state.down = None;
    }

    /// Why it is not asked any more.
    pub(super) fn down(&self) -> Option<ClusterError> {
        self.state().down.clone()
    }

    /// It has taken something.
    pub(super) fn good(&self) {
        let mut state = self.state();
        state.since = None;
        if std::mem::take(&mut state.told) {
            tracing::warn!(url = self.url, "OpenSearch takes documents again");
        }
    }

    /// It has not done what a request of this time asked for. Until when there is a use in trying
    /// again, if there is any.
    pub(super) fn bad(&self, error: &ClusterError, asked: Instant) -> Option<Instant> {
        let mut state = self.state();
        let now = Instant::now();
        let since = *state.since.get_or_insert(asked);
        let until = since + self.patience;
        let until = state.until.map_or(until, |of_batch| until.min(of_batch));
        if !error.trouble.passes() || until <= now {
            if state.down.is_none() && !state.told {
                state.told = true;
                tracing::warn!(error = error.what, "documents are pending");
            }
            state.down.get_or_insert_with(|| error.clone());
            return None;
        }
        if !state.told && now - since >= TOLD_AFTER {
            state.told = true;
            let end = now_ms() + (until - now).as_millis() as i64;
            let end = time::datetime(end);
            let until = String::from_utf8_lossy(&end[..19]).replace('T', " ");
            tracing::warn!(error = error.what, until, "waiting for OpenSearch");
        }
        Some(until)
    }

    /// True if the lake goes on without it.
    pub(super) fn is_away(&self) -> bool {
        let state = self.state();
        let hold = LONGEST_HOLD.min(self.patience / HOLD_SHARE);
        state.down.is_some() || state.since.is_some_and(|since| since.elapsed() >= hold)
    }

    /// What a request gives, unless it takes longer than anybody waits for.
    pub(super) async fn in_time<R>(&self, request: impl Future<Output = R>) -> Option<R> {
        let limit = {
            let (state, now) = (self.state(), Instant::now());
            let patient = state.since.unwrap_or(now) + self.patience;
            state.until.unwrap_or_else(|| patient.max(now + SHORTEST_REQUEST))
        };
        tokio::time::timeout_at(limit.into(), request).await.ok()
    }

    /// What an answer that does not come is.
    pub(super) fn late(&self) -> ClusterError {
        let what = format!("OpenSearch at {} has not answered in time", self.url);
        ClusterError { trouble: Trouble::Unreachable, what }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(trouble: Trouble) -> ClusterError {
        ClusterError { trouble, what: "x".into() }
    }

    #[test]
    fn a_cluster_is_waited_for_as_long_as_was_said_and_the_lake_for_a_part_of_it() {
        let health = Health::new("http://x", Duration::from_secs(100));
        let before = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
        let busy = error(Trouble::Busy);
        let until = health.bad(&busy, before(5)).unwrap();
        let left = until - Instant::now();
        assert!(left <= Duration::from_secs(95) && left > Duration::from_secs(94), "{left:?}");
        assert!(!health.is_away());
        health.good();
        // Counted from the first request that failed.
        assert!(health.bad(&busy, before(12)).is_some());
        assert!(health.bad(&busy, before(0)).is_some());
        assert!(health.is_away() && health.down().is_none());
        health.good();
        assert!(!health.is_away());
        assert!(health.bad(&busy, before(101)).is_none() && health.down().is_some());
        // The next batch tries it once.
        health.begin(None);
        assert!(health.down().is_none() && health.bad(&busy, before(0)).is_none());
    }

    #[test]
    fn what_does_not_pass_by_itself_is_not_waited_for() {
        let health = Health::new("http://x", Duration::from_secs(100));
        assert!(health.bad(&error(Trouble::Denied), Instant::now()).is_none());
        assert!(health.is_away());
        health.begin(None);
        assert!(health.down().is_none(), "somebody may have put it right");
    }
}
