//! Processes, files and their hashes.
//!
//! # Input
//! Runtime details, malware scans.
//! # Maps to
//! `process`, `actor.process` and `file` of an evidence, mapping table G6.
//! # Known gaps
//! None.
//! # Reference
//! Mapping 5.3.

use bumpalo::collections::Vec as BumpVec;

use super::Builder;
use crate::{
    ocsf::{File, Fingerprint, ParentProcess, Process, ProcessUser},
    tree::{Node, Reader},
};

impl<'a> Builder<'a, '_> {
    /// The file at a place; with a `hash`.
    pub(super) fn file(&mut self, from: &'a Node<'a>, place: &str, name: Option<&'a str>) -> File<'a> {
        let path = self.read.text(from, place);
        let hashes = self.hashes(from, "hash");
        file(path, name, hashes)
    }

    /// A hash, unless it is longer than `file_hash_t` may be (table G6).
    fn hashes(&mut self, from: &'a Node<'a>, place: &str) -> &'a [Fingerprint<'a>] {
        let Some(value) = self.read.copy(from, place) else { return &[] };
        if value.chars().count() > 64 {
            if self.add_text("hash", value) {
                self.read.text(from, place);
            }
            return &[];
        }
        self.read.text(from, place);
        let (id, algorithm) = match value.len() {
            32 => (1, "MD5"),
            40 => (2, "SHA-1"),
            64 => (3, "SHA-256"),
            _ => (99, "Other"),
        };
        let hash = Fingerprint {
            algorithm_id: Some(id),
            algorithm: Some(algorithm),
            value: Some(value),
        };
        self.read.arena.alloc_slice_copy(&[hash])
    }

    pub(super) fn process(&mut self, node: &'a Node<'a>) -> Process<'a> {
        let read = &mut *self.read;
        let created = read.time(node, "startTime");
        let mut process = Process {
            name: read.text(node, "name"),
            pid: read.int(node, "pid"),
            uid: read.text(node, "uuid"),
            cmd_line: read.text(node, "commandLine"),
            created_time: created,
            created_time_dt: created,
            user: ProcessUser {
                name: read.text(node, "user"),
                uid: read.text(node, "userId"),
            },
            lineage: lineage(node, read),
            parent_process: ParentProcess { uid: read.text(node, "parentUuid") },
            ..Process::default()
        };
        let path = self.read.text(node, "executablePath");
        let hashes = self.hashes(node, "executableSha256");
        process.file = file(path, None, hashes);
        if !process.is_absent() && process.pid.is_none() && process.uid.is_none() {
            process.uid = process.name.or(Some("Unknown"));
        }
        process
    }
}

fn file<'a>(
    path: Option<&'a str>,
    name: Option<&'a str>,
    hashes: &'a [Fingerprint<'a>],
) -> File<'a> {
    if path.is_none() && name.is_none() && hashes.is_empty() {
        return File::default();
    }
    let last = |path: &'a str| path.rsplit('/').next().filter(|name| !name.is_empty());
    File {
        name: name.or(path.and_then(last)).or(Some("Unknown")),
        path,
        type_id: Some(1),
        r#type: Some("Regular File"),
        hashes,
    }
}

fn lineage<'a>(process: &'a Node<'a>, read: &mut Reader<'a>) -> &'a [Option<&'a str>] {
    let mut lineage = BumpVec::new_in(read.arena);
    for parent in process.objects("lineage") {
        let path = read.text(parent, "executablePath");
        let name = if path.is_some() { path } else { read.text(parent, "name") };
        lineage.extend(name.map(Some));
    }
    lineage.into_bump_slice()
}
