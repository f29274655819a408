//! A lake as another program finds it: files, rows as event JSON, ledger, rejects.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{self, File},
    path::{Path, PathBuf},
};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMillisecondType},
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parsers::ObjectKey;
use serde_json::{Map, Value};

use super::number;

pub struct Lake {
    pub dir: PathBuf,
    pub state: PathBuf,
}

/// A row with the file that it is in, below the lake.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub file: String,
    pub event: Value,
}

impl Row {
    pub fn text(&self, pointer: &str) -> &str {
        self.event.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    pub fn uid(&self) -> &str {
        self.text("/metadata/uid")
    }

    /// The partition's folder.
    pub fn folder(&self) -> &str {
        self.file.rsplit_once('/').unwrap().0
    }
}

impl Lake {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        Self { state: dir.join("_trailhound"), dir }
    }

    /// Paths of the Parquet files below the lake, sorted.
    pub fn files(&self) -> Vec<String> {
        let all = tree(&self.dir.join("ext"));
        assert!(all.keys().all(|path| path.ends_with(".parquet")), "only Parquet: {all:?}");
        all.into_keys().map(|path| format!("ext/{path}")).collect()
    }

    /// Every row, in the order of the files.
    pub fn rows(&self) -> Vec<Row> {
        self.files().iter().flat_map(|file| self.rows_of(file)).collect()
    }

    pub fn rows_of(&self, file: &str) -> Vec<Row> {
        let row = |event| Row { file: file.to_owned(), event };
        read_events(&self.dir.join(file)).into_iter().map(row).collect()
    }

    /// The only row with this event id.
    #[track_caller]
    pub fn event(&self, uid: &str) -> Value {
        let mut rows = self.rows();
        rows.retain(|row| row.uid() == uid);
        assert_eq!(rows.len(), 1, "rows of {uid}");
        rows.remove(0).event
    }

    pub fn ledger(&self) -> Vec<Value> {
        lines(&self.state.join("ledger/v1"))
    }

    /// The ledger's line of the object whose key ends so.
    #[track_caller]
    pub fn entry(&self, key_end: &str) -> Value {
        let mut entries = self.ledger();
        entries.retain(|entry| entry["key"].as_str().unwrap().ends_with(key_end));
        assert_eq!(entries.len(), 1, "ledger lines of {key_end}");
        entries.remove(0)
    }

    pub fn rejects(&self) -> Vec<Value> {
        lines(&self.state.join("rejects/v1"))
    }

    pub fn index_rejects(&self) -> Vec<Value> {
        lines(&self.state.join("index-rejects/v1"))
    }

    /// Names of batches that are not committed.
    pub fn open(&self) -> Vec<String> {
        let folder = self.dir.join("_trailhound/open");
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Content of every file of lake and state.
    pub fn content(&self) -> BTreeMap<String, Vec<u8>> {
        let mut content = tree(&self.dir);
        content.append(&mut tree(&self.state));
        content
    }

    /// What always holds: rows lie in their partitions, sorted, none twice in a batch.
    pub fn check_rows(&self) -> Vec<Row> {
        let rows = self.rows();
        let mut seen = BTreeSet::new();
        for row in &rows {
            let batch = row.file.rsplit('/').next().unwrap().split('-').next().unwrap();
            assert!(seen.insert((row.folder(), batch, row.uid())), "twice in a partition: {row:?}");
            assert_eq!(row.folder(), folder_of(&row.event), "{row:?}");
        }
        for pair in rows.windows(2).filter(|pair| pair[0].file == pair[1].file) {
            let key = |row: &Row| (row.event["time"].as_i64(), row.uid().to_owned());
            assert!(key(&pair[0]) <= key(&pair[1]), "order in {}", pair[0].file);
        }
        rows
    }

    /// What holds for every object of the ledger, also when a run was killed: its counts add up,
    /// and its rows are in the files that it names. Returns all rows.
    pub fn check_ledger(&self) -> Vec<Row> {
        let rows = self.check_rows();
        let mut found: HashMap<&str, u64> = HashMap::new();
        for row in &rows {
            *found.entry(row.text("/metadata/log_name")).or_default() += 1;
        }
        let mut expected: HashMap<String, u64> = HashMap::new();
        let existing: BTreeSet<&str> = rows.iter().map(|row| row.file.as_str()).collect();
        for entry in self.ledger() {
            assert_adds_up(&entry["records"]);
            let key = ObjectKey::new(entry["key"].as_str().unwrap());
            *expected.entry(key.name().to_owned()).or_default() +=
                number(&entry["records"]["parquet"]);
            for file in entry["files"].as_array().into_iter().flatten() {
                assert!(existing.contains(file.as_str().unwrap()), "no {file} of {entry}");
            }
        }
        for (name, rows) in expected {
            assert_eq!(found.get(name.as_str()).copied().unwrap_or_default(), rows, "{name}");
        }
        rows
    }

    /// Checks a fresh lake against the report of the only load into it: counts add up everywhere.
    #[track_caller]
    pub fn check(&self, report: &Value) -> Vec<Row> {
        let rows = self.check_ledger();
        let records = &report["records"];
        assert_adds_up(records);
        assert_eq!(number(&records["parquet"]), rows.len() as u64, "{report}");
        assert_eq!(number(&records["rejected"]), self.rejects().len() as u64, "{report}");

        let ledger = self.ledger();
        let sources: Vec<&Value> = report["by_source"].as_object().unwrap().values().collect();
        for what in ["in", "parquet", "duplicate", "rejected", "excluded"] {
            let of_sources: u64 = sources.iter().map(|counts| number(&counts[what])).sum();
            let of_ledger: u64 = ledger.iter().map(|entry| number(&entry["records"][what])).sum();
            assert_eq!(of_sources, number(&records[what]), "by_source, {what}: {report}");
            assert_eq!(of_ledger, number(&records[what]), "ledger, {what}: {report}");
        }
        for state in ["loaded", "unrecognized", "excluded"] {
            let entries = ledger.iter().filter(|entry| entry["state"] == state).count() as u64;
            assert_eq!(entries, number(&report["objects"][state]), "{state}: {report}");
        }

        let mut classes: Map<String, Value> = Map::new();
        for row in &rows {
            let class = row.text("/class_name").to_lowercase().replace(' ', "_");
            let count = classes.get(&class).map_or(0, number);
            classes.insert(class, (count + 1).into());
        }
        assert_eq!(report["by_class"], Value::Object(classes));

        let files: BTreeSet<String> = self.files().into_iter().collect();
        let listed: BTreeSet<String> = ledger
            .iter()
            .flat_map(|entry| entry["files"].as_array().cloned().unwrap_or_default())
            .map(|file| file.as_str().unwrap().to_owned())
            .collect();
        assert_eq!(files, listed, "files and what the ledger says of them");
        assert_eq!(number(&report["files"]), files.len() as u64);
        assert_eq!(self.open(), [] as [&str; 0], "open batches");
        rows
    }
}

/// `in` is the sum of the others.
#[track_caller]
pub fn assert_adds_up(records: &Value) {
    let parts = ["parquet", "duplicate", "rejected", "excluded"];
    let sum: u64 = parts.iter().map(|part| number(&records[part])).sum();
    assert_eq!(number(&records["in"]), sum, "{records}");
}

/// Where a row belongs, told by the row alone.
fn folder_of(event: &Value) -> String {
    let safe = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-');
    let part = |pointer: &str| match event.pointer(pointer).and_then(Value::as_str) {
        Some(text) if text.len() <= 32 && text.chars().all(safe) => text,
        _ => "unknown",
    };
    let day = event["time_dt"].as_str().unwrap()[..10].replace('-', "");
    format!(
        "ext/trailhound-{}/region={}/accountId={}/eventDay={day}",
        event["class_uid"],
        part("/cloud/region"),
        part("/cloud/account/uid"),
    )
}

/// Every file below a folder by its path there; empty if there is no such folder.
pub fn tree(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// Every line of every file below a folder.
fn lines(dir: &Path) -> Vec<Value> {
    let files = tree(dir);
    let texts = files.values().map(|bytes| std::str::from_utf8(bytes).unwrap());
    texts.flat_map(str::lines).map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// The rows of a Parquet file as event JSON: what is null is left out.
pub fn read_events(path: &Path) -> Vec<Value> {
    let file = File::open(path).unwrap();
    let context = |error| panic!("{}: {error}", path.display());
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap_or_else(context);
    let batches = reader.build().unwrap();
    batches.flat_map(|batch| events(&batch.unwrap())).collect()
}

fn events(batch: &RecordBatch) -> Vec<Value> {
    let schema = batch.schema();
    (0..batch.num_rows())
        .map(|row| {
            let columns = schema.fields().iter().zip(batch.columns());
            let members = columns.filter_map(|(field, column)| {
                Some((field.name().clone(), value(column.as_ref(), row)?))
            });
            Value::Object(members.collect())
        })
        .collect()
}

fn value(array: &dyn Array, row: usize) -> Option<Value> {
    if array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row).into(),
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Timestamp(TimeUnit::Millisecond, Some(zone)) if &**zone == "UTC" => {
            let ms = array.as_primitive::<TimestampMillisecondType>().value(row);
            std::str::from_utf8(&parsers::time::datetime(ms)).unwrap().into()
        }
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(array.as_struct().columns());
            let members = columns.filter_map(|(field, column)| {
                Some((field.name().clone(), value(column.as_ref(), row)?))
            });
            Value::Object(members.collect())
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>().value(row);
            (0..list.len()).map(|at| value(list.as_ref(), at)).collect::<Option<_>>()?
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            let mut members = Map::new();
            for at in 0..entries.len() {
                let key = keys.as_string::<i32>().value(at).to_owned();
                let text = value(values.as_ref(), at).unwrap();
                assert!(members.insert(key, text).is_none(), "a key of unmapped comes twice");
            }
            Value::Object(members)
        }
        other => panic!("no OCSF type is stored as {other}"),
    })
}
