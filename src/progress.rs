//! Shows how far a load is, at a terminal only.
//!
//! # Input
//! Counts that lanes add to.
//! # Maps to
//! A progress bar on stderr.
//! # Known gaps
//! The time left is known once the archive has been counted, which happens beside the load.
//! # Reference
//! Design section 1: people see whether it works.

use std::{
    io::IsTerminal,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::store::{self, Place};

#[derive(Default)]
struct Counts {
    objects: AtomicU64,
    records: AtomicU64,
}

/// A progress bar, or nothing.
#[derive(Clone)]
pub struct Progress {
    bar: ProgressBar,
    counts: Arc<Counts>,
}

impl Progress {
    /// No bar.
    pub fn hidden() -> Self {
        Self { bar: ProgressBar::hidden(), counts: Arc::default() }
    }

    /// A bar if stderr is a terminal. Counts the archive in a thread of its own.
    pub fn start(paths: &[Place]) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::hidden();
        }
        let counts: Arc<Counts> = Arc::default();
        let shown = Arc::clone(&counts);
        let rate = move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let records = shown.records.load(Relaxed);
            let seconds = state.elapsed().as_secs_f64().max(0.1);
            // The template writes into a String, which cannot fail.
            let _ = write!(
                out,
                "{} objects, {} records, {}/s",
                HumanCount(shown.objects.load(Relaxed)),
                HumanCount(records),
                HumanCount((records as f64 / seconds) as u64)
            );
        };
        let style = ProgressStyle::with_template(
            "{spinner} {bytes}/{total_bytes} {wide_bar} {rate}, {eta} left",
        )
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("rate", rate);
        let bar = ProgressBar::new(0).with_style(style);
        bar.enable_steady_tick(Duration::from_millis(200));
        let (counted, paths) = (bar.clone(), paths.to_vec());
        std::thread::spawn(move || {
            let local = paths.iter().filter_map(|place| match place {
                Place::Local(path) => store::list_files(path).ok(),
                Place::S3 { .. } => None,
            });
            for object in local.flatten() {
                counted.inc_length(object.map_or(0, |object| object.size));
            }
        });
        Self { bar, counts }
    }

    /// A bar of bytes for what mostly takes no time: it shows after a second, if stderr is a terminal.
    pub fn of_bytes() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::hidden();
        }
        let template = "{spinner} publish {bytes}/{total_bytes} {wide_bar} {eta} left";
        let style = ProgressStyle::with_template(template);
        let bar = ProgressBar::hidden();
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let later = bar.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(1));
            if !later.is_finished() {
                later.set_draw_target(ProgressDrawTarget::stderr());
                later.enable_steady_tick(Duration::from_millis(200));
            }
        });
        Self { bar, counts: Arc::default() }
    }

    /// So much is done of so much.
    pub fn at(&self, bytes: u64, of: u64) {
        self.bar.set_length(of);
        self.bar.set_position(bytes);
    }

    /// An object of a bucket is known: buckets are not listed ahead.
    pub fn listed(&self, bytes: u64) {
        self.bar.inc_length(bytes);
    }

    /// An object is dealt with.
    pub fn object(&self) {
        self.counts.objects.fetch_add(1, Relaxed);
    }

    /// Bytes of objects are read, or need not be.
    pub fn bytes(&self, count: u64) {
        self.bar.inc(count);
    }

    /// Records were decoded.
    pub fn records(&self, count: u64) {
        self.counts.records.fetch_add(count, Relaxed);
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
