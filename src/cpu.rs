//! The border between tokio and rayon: async tasks wait here for work that takes cycles.
//!
//! # Input
//! A closure that computes and does no I/O, but for writing a file that it has encoded.
//! # Maps to
//! Its result, or the panic that ended it.
//! # Known gaps
//! Work that has begun is not cancelled when nobody waits for it any more.
//! # Reference
//! Design sections 2 and 5.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use tokio::task::JoinError;

/// Work panicked; its text.
#[derive(Debug, thiserror::Error)]
#[error("internal error: {0}; please report this")]
pub struct Panicked(pub String);

impl From<JoinError> for Panicked {
    /// A task that did not come to its end.
    fn from(error: JoinError) -> Self {
        Self(error.to_string())
    }
}

/// A pool of threads for work that takes cycles.
#[derive(Clone)]
pub struct Cpu(Arc<rayon::ThreadPool>);

impl Cpu {
    /// A pool of that many threads.
    pub fn new(threads: usize) -> Result<Self, rayon::ThreadPoolBuildError> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|number| format!("cpu-{number}"))
            .build()?;
        Ok(Self(Arc::new(pool)))
    }

    /// Runs `work` on the pool and waits for it without holding a thread.
    pub async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Panicked> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.0.spawn(move || {
            let result = catch(work);
            // Nobody waits any more if the run was cancelled: the result is of no use then.
            drop(sender.send(result));
        });
        receiver.await.unwrap_or_else(|_| Err(Panicked("work was dropped".into())))
    }
}

/// Runs `work` where waiting is no harm.
pub async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, Panicked> {
    tokio::task::spawn_blocking(work).await.map_err(Panicked::from)
}

/// The result of `work`, or the text of its panic.
pub fn catch<R>(work: impl FnOnce() -> R) -> Result<R, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| Panicked(text(&*panic)))
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic".into())
}
