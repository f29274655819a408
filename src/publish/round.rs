//! One round: staged files are merged on this machine, uploaded, and committed.
//!
//! # Input
//! Staged files, of all classes.
//! # Maps to
//! New files of partitions and the manifest that makes them count.
//! # Known gaps
//! Classes and partitions are merged one after another.
//! # Reference
//! Design section 6.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use parsers::ocsf::{CLASSES, Class, Partition};
use tokio::task::spawn_blocking;

use super::{
    PublishError, Publisher, Staged,
    known::Known,
    manifest::{self, FileName, Intent, Manifest, Published},
    merge::{Input, Merge},
    output::{Made, MergeError, Output, reduce},
    report::Files,
    survey::Survey,
    visible::by_class,
};
use crate::{
    cpu::Panicked,
    sink::partition::Layout,
    store::{Folder, Kind, StoreError, scratch},
};

/// Requests for small files or lists at the same time.
const PARALLEL: usize = 16;

/// What a round has made on this machine.
struct Work {
    manifest: Manifest,
    /// For each published file where it is.
    files: Vec<PathBuf>,
    staged: Files,
    duplicates: u64,
}

impl Publisher<'_> {
    /// Merges and commits. False if another publish has committed meanwhile: nothing is changed.
    pub(super) async fn round(&mut self, chosen: Vec<Staged>) -> Result<bool, PublishError> {
        let sequence = self.history.last + 1;
        let scratch = spawn_blocking(scratch).await.map_err(|e| Panicked(e.to_string()))??;
        let work = match self.merge(chosen, scratch.path()).await {
            // Another publish has removed it, after it had been merged.
            Err(PublishError::Store(StoreError { kind: Kind::Missing, .. })) => return Ok(false),
            work => work?,
        };
        if work.manifest.staged.is_empty() {
            return Ok(true);
        }
        // The commit would fail: so nothing need be uploaded.
        if self.history.refresh(&self.state).await? {
            return Ok(false);
        }
        self.commit(sequence, work).await
    }

    async fn commit(&mut self, sequence: u64, work: Work) -> Result<bool, PublishError> {
        let paths = work.manifest.files.iter().map(|file| file.path.clone()).collect();
        let intent = Intent::new(&work.manifest.id, sequence, paths);
        intent.write(&self.state).await?;
        let lake = &self.lake;
        let uploads = intent.files.iter().zip(&work.files);
        let uploads = uploads.map(|(path, from)| lake.upload(path, from).boxed());
        let uploads: Vec<_> = uploads.collect();
        let uploaded: Result<(), StoreError> =
            stream::iter(uploads).buffer_unordered(self.uploads).try_collect().await;
        if let Err(error) = uploaded {
            // If this fails too, the next publish does it.
            drop(self.undo(&intent).await);
            return Err(error.into());
        }
        // An error here leaves open whether it is committed: the next publish finds that out.
        if !self.history.commit(&self.state, sequence, &work.manifest).await? {
            self.undo(&intent).await?;
            return Ok(false);
        }
        self.lake.remove(&work.manifest.replaced).await?;
        intent.remove(&self.state).await?;
        self.report.rounds += 1;
        self.report.staged += work.staged;
        self.report.duplicates += work.duplicates;
        for file in &work.manifest.files {
            self.report.published += Files { count: 1, rows: file.rows, bytes: file.size };
        }
        Ok(true)
    }

    async fn undo(&self, intent: &Intent) -> Result<(), StoreError> {
        self.lake.remove(&intent.files).await?;
        intent.remove(&self.state).await
    }

    async fn merge(&mut self, chosen: Vec<Staged>, scratch: &Path) -> Result<Work, PublishError> {
        let mut work = Work {
            manifest: Manifest::new(&manifest::new_id()),
            files: Vec::new(),
            staged: Files::default(),
            duplicates: 0,
        };
        for (uid, staged) in by_class(chosen) {
            let Some(class) = CLASSES.iter().copied().find(|class| class.uid == uid) else {
                for one in staged {
                    self.fail(one, "its class is of a newer version of trailhound".into());
                }
                continue;
            };
            let dir = scratch.join(uid.to_string());
            self.class(class, staged, &dir, &mut work).await?;
        }
        Ok(work)
    }

    fn fail(&mut self, staged: Staged, why: String) {
        self.report.failed.push((self.state.name(&staged.file.path), why));
        self.damaged.insert(staged.file.path);
    }

    async fn class(
        &mut self,
        class: &'static Class,
        staged: Vec<Staged>,
        dir: &Path,
        work: &mut Work,
    ) -> Result<(), PublishError> {
        let output = dir.join("out");
        tokio::fs::create_dir_all(&output).await.map_err(|e| scratch_error(dir, &e))?;
        let paths = staged.iter().map(|one| one.file.path.as_str());
        let inputs = fetch(&self.state, paths, dir, "staged").await?;
        let surveyed = self.cpu.run(move || {
            let survey = |input: Input| (Survey::of(&input), input);
            inputs.into_iter().map(survey).collect::<Vec<_>>()
        });
        let (mut inputs, mut survey, mut bytes) = (Vec::new(), Survey::default(), 0);
        for (one, (surveyed, input)) in staged.into_iter().zip(surveyed.await?) {
            match surveyed {
                Err(error) => self.fail(one, error.source.to_string()),
                Ok(of_file) => {
                    let Survey { rows, .. } = of_file;
                    survey.add(of_file);
                    work.staged += Files { count: 1, rows, bytes: one.file.size };
                    bytes += one.file.size;
                    work.manifest.staged.push(one.file.path);
                    inputs.push(input);
                }
            }
        }
        let mut held = self.held(class, &survey).await?;

        let (limits, into) = (self.limits, dir.to_owned());
        let opened = self.cpu.run(move || {
            let (inputs, duplicates) = reduce(inputs, class, &into, limits)?;
            Ok::<_, MergeError>((Merge::open(inputs, class)?, duplicates))
        });
        let (mut merge, duplicates) = opened.await??;
        let mut output = Output::new(class, output, limits);
        while let Some(partition) = merge.partition() {
            let paths = held.remove(&partition).unwrap_or_default();
            let paths = paths.iter().map(String::as_str);
            let files = fetch(&self.lake, paths, dir, "held").await?;
            let merged = self.cpu.run(move || {
                let known = Known::new(files.clone())?;
                output.partition(&mut merge, known)?;
                for file in files {
                    // What stays goes with the scratch folder.
                    drop(std::fs::remove_file(file.path));
                }
                Ok::<_, MergeError>((merge, output))
            });
            (merge, output) = merged.await??;
        }
        self.progress.bytes(bytes);
        work.duplicates += duplicates + merge.duplicates;
        for made in output.files {
            work.add(class, made);
        }
        Ok(())
    }

    /// For each partition that rows are to come into the files that may hold some of them.
    async fn held(
        &self,
        class: &'static Class,
        survey: &Survey,
    ) -> Result<HashMap<Arc<Partition>, Vec<String>>, PublishError> {
        let lists = survey.times.iter().map(|(partition, &(min, max))| async move {
            let mut found = self.lake.list(&folder(class, partition), None).await?;
            found.retain(|file| {
                let overlaps = FileName::parse(&file.path).is_none_or(|name| {
                    name.min_second <= max.div_euclid(1000)
                        && name.max_second >= min.div_euclid(1000)
                });
                overlaps && self.history.counts(&file.path) && file.path.ends_with(".parquet")
            });
            let paths: Vec<String> = found.into_iter().map(|file| file.path).collect();
            Ok::<_, StoreError>((Arc::clone(partition), paths))
        });
        let lists: Vec<_> = lists.map(FutureExt::boxed).collect();
        let held = stream::iter(lists).buffer_unordered(PARALLEL);
        Ok(held
            .try_filter(|(_, paths)| std::future::ready(!paths.is_empty()))
            .try_collect()
            .await?)
    }
}

impl Work {
    fn add(&mut self, class: &'static Class, made: Made) {
        let name = FileName {
            id: self.manifest.id.clone(),
            part: self.files.len(),
            min_second: made.min_time.div_euclid(1000),
            max_second: made.max_time.div_euclid(1000),
        };
        self.files.push(made.path);
        self.manifest.files.push(Published {
            path: format!("{}/{name}", folder(class, &made.partition)),
            class: class.uid,
            rows: made.rows,
            min_time: made.min_time,
            max_time: made.max_time,
            size: made.size,
        });
    }
}

/// The folder of a partition, below the lake.
fn folder(class: &Class, partition: &Partition) -> String {
    Layout::Published.folder(class, partition)
}

/// Brings files to this machine, as `<dir>/<name>-<number>.parquet`.
async fn fetch(
    from: &Folder,
    paths: impl Iterator<Item = &str>,
    dir: &Path,
    name: &str,
) -> Result<Vec<Input>, StoreError> {
    let downloads = paths.enumerate().map(|(number, path)| async move {
        let to = dir.join(format!("{name}-{number}.parquet"));
        from.download(path, &to).await?;
        Ok(Input { path: to, name: from.name(path) })
    });
    // Boxed, because the compiler cannot tell that a closure that borrows is general enough.
    let downloads: Vec<_> = downloads.map(FutureExt::boxed).collect();
    stream::iter(downloads).buffered(PARALLEL).try_collect().await
}

fn scratch_error(dir: &Path, error: &std::io::Error) -> StoreError {
    StoreError { kind: Kind::Other, what: format!("cannot create {}: {error}", dir.display()) }
}
