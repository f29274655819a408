//! Lines of JSON by day of delivery, as ledger and rejects have them.
//!
//! # Input
//! A day, and what goes onto a line of it.
//! # Maps to
//! A text for each day, or a file for each day in a batch's workspace.
//! # Known gaps
//! None.
//! # Reference
//! Design section 6.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::SinkError;

/// Texts by day.
#[derive(Debug, Default)]
pub struct DayLines(BTreeMap<String, Vec<u8>>);

impl DayLines {
    /// Appends a line, which must be plain data.
    pub fn add(&mut self, day: &str, line: &impl Serialize) {
        let out = self.0.entry(day.to_owned()).or_default();
        match serde_json::to_writer(&mut *out, line) {
            Ok(()) => out.push(b'\n'),
            Err(error) => unreachable!("a line is plain data: {error}"),
        }
    }

    /// The text of each day.
    pub fn into_texts(self) -> BTreeMap<String, Vec<u8>> {
        self.0
    }
}

/// Files by day: `<name>-<day>.ndjson`.
pub struct DayFiles {
    folder: PathBuf,
    name: &'static str,
    files: BTreeMap<String, BufWriter<File>>,
}

impl DayFiles {
    /// No files yet; the folder exists.
    pub fn new(folder: &Path, name: &'static str) -> Self {
        Self { folder: folder.to_owned(), name, files: BTreeMap::new() }
    }

    fn path(&self, day: &str) -> PathBuf {
        self.folder.join(format!("{}-{day}.ndjson", self.name))
    }

    /// Appends a line.
    pub fn add(&mut self, day: &str, line: &impl Serialize) -> Result<(), SinkError> {
        let path = self.path(day);
        let mut write = || {
            if !self.files.contains_key(day) {
                let file = File::create_new(&path)?;
                self.files.insert(day.to_owned(), BufWriter::new(file));
            }
            let Some(file) = self.files.get_mut(day) else { return Ok(()) };
            let mut text = serde_json::to_vec(line).map_err(io::Error::from)?;
            text.push(b'\n');
            file.write_all(&text)
        };
        write().map_err(|source| SinkError::Write { path: path.clone(), source })
    }

    /// The file of each day, with everything on disk.
    pub fn finish(mut self) -> Result<BTreeMap<String, PathBuf>, SinkError> {
        let mut paths = BTreeMap::new();
        for (day, file) in std::mem::take(&mut self.files) {
            let path = self.path(&day);
            let on_error = |source| SinkError::Write { path: path.clone(), source };
            let file = file.into_inner().map_err(|error| on_error(error.into_error()))?;
            file.sync_data().map_err(on_error)?;
            paths.insert(day, path);
        }
        Ok(paths)
    }
}
