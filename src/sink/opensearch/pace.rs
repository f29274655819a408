//! How many requests there are at a time, found by how the cluster answers.
//!
//! # Input
//! Answers, good or bad.
//! # Maps to
//! Permission to send: one more at a time while it answers well, half as many when it does not.
//! # Known gaps
//! How long good answers take says nothing.
//! # Reference
//! Additive increase, multiplicative decrease, as TCP does (RFC 5681).

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

pub(super) struct Pace {
    most: usize,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    limit: f64,
    running: usize,
}

/// A request that runs; it ends with this.
pub(super) struct Permit<'p>(&'p Pace);

impl Pace {
    /// Up to this many at a time; two at first.
    pub(super) fn new(most: usize) -> Self {
        let most = most.max(1);
        let limit = most.min(2) as f64;
        Self { most, state: Mutex::new(State { limit, running: 0 }), changed: Notify::new() }
    }

    pub(super) fn most(&self) -> usize {
        self.most
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there may be one more.
    pub(super) async fn permit(&self) -> Permit<'_> {
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.state();
                if state.running < state.limit as usize {
                    state.running += 1;
                    return Permit(self);
                }
            }
            changed.await;
        }
    }

    pub(super) fn good(&self) {
        let mut state = self.state();
        state.limit = (state.limit + 1.0 / state.limit).min(self.most as f64);
    }

    pub(super) fn bad(&self) {
        let mut state = self.state();
        state.limit = (state.limit / 2.0).max(1.0);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.state().running -= 1;
        // The limit may have grown as well: whoever waits looks again.
        self.0.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_limit_rises_with_good_answers_and_halves_with_a_bad_one() {
        let pace = Pace::new(8);
        let (_one, two) = (pace.permit().await, pace.permit().await);
        let mut third = tokio_test(&pace);
        assert!(third.is_none(), "two at first");
        drop(two);
        third = tokio_test(&pace);
        assert!(third.is_some());
        for _ in 0..60 {
            pace.good();
        }
        assert_eq!(pace.state().limit as usize, 8);
        pace.bad();
        assert_eq!(pace.state().limit as usize, 4);
        for _ in 0..9 {
            pace.bad();
        }
        assert_eq!(pace.state().limit as usize, 1, "never none");
    }

    /// A permit, if there is one at once.
    fn tokio_test(pace: &Pace) -> Option<Permit<'_>> {
        use std::{future::Future, pin::pin, task::Poll};
        let mut permit = pin!(pace.permit());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match permit.as_mut().poll(&mut context) {
            Poll::Ready(permit) => Some(permit),
            Poll::Pending => None,
        }
    }
}
