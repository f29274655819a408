//! The tables of classes against the official OCSF 1.1.0 schema.

use arrow::datatypes::{DataType, TimeUnit};
use parsers::ocsf::{CLASSES, Field, Kind};

use crate::ocsf::Schema;
use crate::support::trailhound;

/// Types of the schema that are texts without a kind of their own here.
const TEXTS: [&str; 8] = [
    "string_t",
    "hostname_t",
    "username_t",
    "url_t",
    "file_name_t",
    "file_hash_t",
    "process_name_t",
    "resource_uid_t",
];

/// Every attribute with its dotted path.
fn attributes(fields: &[Field], prefix: &str, found: &mut Vec<(String, Kind)>) {
    for field in fields {
        let path = format!("{prefix}{}", field.name);
        let below: &[Field] = match field.kind {
            Kind::Object(fields) => fields,
            Kind::List(Kind::Object(fields)) => fields,
            _ => &[],
        };
        found.push((path.clone(), field.kind));
        attributes(below, &format!("{path}."), found);
    }
}

fn fits(kind: &Kind, official: &str) -> bool {
    match kind {
        Kind::String | Kind::Text => TEXTS.contains(&official),
        Kind::Ip => official == "ip_t",
        Kind::Json => official == "json_t",
        Kind::Integer => matches!(official, "integer_t" | "port_t"),
        Kind::Long => official == "long_t",
        Kind::Timestamp => official == "timestamp_t",
        Kind::Datetime => official == "datetime_t",
        Kind::Double => official == "float_t",
        Kind::Boolean => official == "boolean_t",
        Kind::Object(_) | Kind::Unmapped => official == "object",
        Kind::List(kind) => fits(kind, official),
    }
}

#[test]
fn every_attribute_is_in_the_official_schema_with_a_fitting_type() {
    let schema = Schema::load();
    let mut wrong = Vec::new();
    let mut count = 0;
    for class in CLASSES {
        let mut found = Vec::new();
        attributes(class.fields, "", &mut found);
        count += found.len();
        for (path, kind) in found {
            let is_list = matches!(kind, Kind::List(_));
            match schema.attribute(i64::from(class.uid), &path) {
                Some((official, list)) if fits(&kind, &official) && list == is_list => {}
                other => wrong.push(format!("{}: {path}: {kind:?}, not {other:?}", class.name)),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(count > 200, "the tables have only {count} attributes");
}

#[test]
fn a_time_is_always_there_in_both_forms() {
    for class in CLASSES {
        let mut found = Vec::new();
        attributes(class.fields, "", &mut found);
        let has = |path: &str, kind| found.contains(&(path.to_owned(), kind));
        for (path, kind) in &found {
            match kind {
                Kind::Timestamp => assert!(has(&format!("{path}_dt"), Kind::Datetime), "{path}"),
                Kind::Datetime => {
                    assert!(has(path.trim_end_matches("_dt"), Kind::Timestamp), "{path}");
                }
                _ => {}
            }
        }
    }
}

#[test]
fn types_of_columns_are_those_of_the_mapping() {
    let utc = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    for class in CLASSES {
        let schema = class.schema();
        let of = |name: &str| schema.field_with_name(name).unwrap().data_type().clone();
        assert_eq!(of("class_uid"), DataType::Int32);
        assert_eq!(of("type_uid"), DataType::Int64, "the only long identifier");
        assert_eq!(of("time"), DataType::Int64);
        assert_eq!(of("time_dt"), utc);
        assert!(matches!(of("unmapped"), DataType::Map(..)));
        assert!(matches!(of("observables"), DataType::List(_)));
        assert!(schema.fields().iter().all(|field| field.is_nullable()));
    }
}

#[test]
fn athena_gets_a_table_for_each_class_with_all_its_columns() {
    let places = ["--account", "111122223333", "--region", "us-east-1,eu-west-1"];
    let run = trailhound().args(["schema", "--athena", "s3://lake/x/"]).args(places).output();
    let text = String::from_utf8(run.unwrap().stdout).unwrap();
    let tables: Vec<&str> = text.split("CREATE EXTERNAL TABLE ").skip(1).collect();
    assert_eq!(tables.len(), CLASSES.len());
    for (table, class) in tables.iter().zip(CLASSES) {
        let mut lines = table.lines();
        assert_eq!(lines.next().unwrap(), format!("{} (", class.name));
        let columns: Vec<&str> = lines.by_ref().take_while(|line| *line != ")").collect();
        for (column, field) in columns.iter().zip(class.schema().fields()) {
            assert!(column.starts_with(&format!("  `{}` ", field.name())), "{column}");
            assert_eq!(column.matches('<').count(), column.matches('>').count(), "{column}");
        }
        assert_eq!(columns.len(), class.fields.len());
        assert!(table.contains(&format!("LOCATION 's3://lake/x/ext/trailhound-{}/'", class.uid)));
        assert!(table.contains("'us-east-1,eu-west-1,unknown'"));
    }
}
