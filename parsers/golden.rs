//! Each source's sample becomes its golden, and no source is without one.
//!
//! `UPDATE=1 cargo test -p parsers golden` writes the goldens anew; look at what has changed.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{Filter, Limits, ObjectKey, Rows, SOURCES, Source};

const GOLDEN: &str = "golden.ndjson";

/// The folder of sample and golden of a source.
fn folder(source: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(source)
}

/// The file `sample.*` in a folder.
fn sample(folder: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(folder).ok()?.map(|entry| entry.unwrap().path());
    files.filter(|path| path.file_stem().is_some_and(|stem| stem == "sample")).min()
}

/// The events of a sample, one a line. Its objects are divided by empty lines; they have no key.
fn events(source: &Source, sample: &str) -> String {
    let limits = Limits { rows: usize::MAX, input_bytes: usize::MAX, document_bytes: usize::MAX };
    let mut rows = Rows::new(limits, Arc::new([Filter::default()])).with_json();
    for object in sample.split("\n\n") {
        let mut decoder = (source.decoder)(&ObjectKey::new("").into());
        let decoded = decoder.decode(object.as_bytes(), true, &mut rows);
        assert_eq!(decoded, Ok(object.len()), "{object}");
    }
    let json = String::from_utf8(rows.take_json()).unwrap();
    let rejects = rows.take().unwrap().rejects;
    assert!(rejects.is_empty(), "a sample holds good records only: {rejects:#?}");
    json
}

#[test]
fn every_sample_becomes_its_golden() {
    for source in SOURCES {
        let folder = folder(source.name);
        let sample = sample(&folder).unwrap_or_else(|| panic!("{} has no sample", source.name));
        let found = events(source, &fs::read_to_string(sample).unwrap());
        let golden = folder.join(GOLDEN);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&golden, &found).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        let mut lines = found.lines().zip(expected.lines().chain(std::iter::repeat("")));
        let differs = lines.find(|(found, expected)| found != expected);
        assert!(
            found == expected,
            "{} differs; if that is right: UPDATE=1 cargo test -p parsers golden\n{differs:#?}",
            golden.display()
        );
    }
}

#[test]
fn every_class_of_a_source_is_in_its_golden() {
    for source in SOURCES {
        let golden = fs::read_to_string(folder(source.name).join(GOLDEN)).unwrap_or_default();
        for class in source.classes {
            let caption = crate::ocsf::class(class).expect("a class of the source").caption;
            let name = format!("\"class_name\":\"{caption}\"");
            assert!(golden.contains(&name), "no {class} in the golden of {}", source.name);
        }
    }
}

#[test]
fn no_source_file_is_forgotten_and_sample_and_golden_come_together() {
    let names: Vec<&str> = SOURCES.iter().map(|source| source.name).collect();
    for entry in fs::read_dir(env!("CARGO_MANIFEST_DIR")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if path.is_dir() {
            let has = (sample(&path).is_some(), path.join(GOLDEN).exists());
            assert_eq!(has.0, has.1, "(sample, golden) of {}", path.display());
            assert_eq!(has.0, names.contains(&name), "{} is no source", path.display());
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let is_source = text.contains("\npub static SOURCE: Source");
            assert_eq!(is_source, names.contains(&name), "{name} in sources! of lib.rs");
        }
    }
}
