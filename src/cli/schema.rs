//! `trailhound schema`.
//!
//! # Input
//! The classes; for Athena where the lake is, and which accounts and regions it has.
//! # Maps to
//! Columns with their Arrow types, or `CREATE EXTERNAL TABLE` with partition projection.
//! # Known gaps
//! An account or region that is not listed is not found by Athena: make the tables anew for it.
//! # Reference
//! <https://docs.aws.amazon.com/athena/latest/ug/create-table.html>,
//! <https://docs.aws.amazon.com/athena/latest/ug/partition-projection-supported-types.html>.

use std::{
    fmt::{self, Write as _},
    process::ExitCode,
};

use arrow::datatypes::{DataType, Field};
use clap::Args;
use parsers::ocsf::{self, CLASSES, Class, Kind};

use super::print;
use crate::sink::partition::class_folder;

#[derive(Debug, Args)]
pub(super) struct Schema {
    /// The class, such as `api_activity`
    #[arg(value_parser = parse_class, required_unless_present = "athena")]
    class: Option<&'static Class>,
    /// Print Athena's CREATE TABLE, for a lake in this bucket; of all classes if none is named
    #[arg(
        long,
        env = "TRAILHOUND_ATHENA",
        value_parser = parse_plain,
        value_name = "s3://BUCKET[/PREFIX]",
        requires_all = ["account", "region"]
    )]
    athena: Option<String>,
    /// Accounts of the lake, for Athena (repeat, or separate by commas)
    #[arg(long, env = "TRAILHOUND_ACCOUNT", value_delimiter = ',', value_parser = parse_plain, value_name = "ID")]
    account: Vec<String>,
    /// Regions of the lake, for Athena (repeat, or separate by commas)
    #[arg(long, env = "TRAILHOUND_REGION", value_delimiter = ',', value_parser = parse_plain, value_name = "REGION")]
    region: Vec<String>,
}

impl Schema {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let classes =
            CLASSES.iter().filter(|class| self.class.is_none_or(|only| only.uid == class.uid));
        let mut out = String::new();
        for class in classes {
            match &self.athena {
                Some(lake) => self.table(class, lake.trim_end_matches('/'), &mut out)?,
                None => {
                    class
                        .schema()
                        .fields()
                        .iter()
                        .try_for_each(|one| describe(one, 0, &mut out))?;
                }
            }
        }
        print(&out)?;
        Ok(ExitCode::SUCCESS)
    }

    fn table(&self, class: &Class, lake: &str, out: &mut String) -> fmt::Result {
        // Rows that name no account or region lie in a folder of this name.
        let values = |all: &[String]| format!("{},unknown", all.join(","));
        let folder = format!("{lake}/{}/", class_folder(class));
        writeln!(out, "CREATE EXTERNAL TABLE {} (", class.name)?;
        for (at, field) in class.fields.iter().enumerate() {
            let comma = if at + 1 < class.fields.len() { "," } else { "" };
            writeln!(out, "  `{}` {}{comma}", field.name, hive_type(&field.kind))?;
        }
        writeln!(
            out,
            ")\nPARTITIONED BY (region string, accountid string, eventday string)\n\
             STORED AS PARQUET\nLOCATION '{folder}'\nTBLPROPERTIES (\n  \
             'projection.enabled' = 'true',\n  \
             'projection.region.type' = 'enum',\n  \
             'projection.region.values' = '{}',\n  \
             'projection.accountid.type' = 'enum',\n  \
             'projection.accountid.values' = '{}',\n  \
             'projection.eventday.type' = 'date',\n  \
             'projection.eventday.format' = 'yyyyMMdd',\n  \
             'projection.eventday.range' = '20200101,NOW+1DAYS',\n  \
             'storage.location.template' =\n    \
             '{folder}region=${{region}}/accountId=${{accountid}}/eventDay=${{eventday}}/'\n);",
            values(&self.region),
            values(&self.account),
        )
    }
}

fn describe(field: &Field, level: usize, out: &mut String) -> fmt::Result {
    let (name, indent) = (field.name(), "  ".repeat(level));
    match field.data_type() {
        DataType::Struct(fields) => {
            writeln!(out, "{indent}{name}: struct")?;
            fields.iter().try_for_each(|field| describe(field, level + 1, out))
        }
        DataType::List(element) => {
            writeln!(out, "{indent}{name}: list")?;
            describe(element, level + 1, out)
        }
        DataType::Map(..) => writeln!(out, "{indent}{name}: map of Utf8 to Utf8"),
        kind => writeln!(out, "{indent}{name}: {kind}"),
    }
}

/// The type as Hive's DDL has it. Names are quoted: `user` and others are words of its own.
fn hive_type(kind: &Kind) -> String {
    match kind {
        Kind::String | Kind::Text | Kind::Ip | Kind::Json => "string".into(),
        Kind::Integer => "int".into(),
        Kind::Long | Kind::Timestamp => "bigint".into(),
        Kind::Datetime => "timestamp".into(),
        Kind::Double => "double".into(),
        Kind::Boolean => "boolean".into(),
        Kind::Unmapped => "map<string,string>".into(),
        Kind::List(kind) => format!("array<{}>", hive_type(kind)),
        Kind::Object(fields) => {
            let field =
                |field: &ocsf::Field| format!("`{}`:{}", field.name, hive_type(&field.kind));
            let fields: Vec<String> = fields.iter().map(field).collect();
            format!("struct<{}>", fields.join(","))
        }
    }
}

/// What stands between quotes as it is.
fn parse_plain(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:!*()".contains(c);
    let is_ok = !text.is_empty() && text.chars().all(is_plain);
    is_ok
        .then(|| text.to_owned())
        .ok_or_else(|| "expected letters, digits and -_./: only".to_owned())
}

pub(super) fn parse_class(text: &str) -> Result<&'static Class, String> {
    ocsf::class(text).ok_or_else(|| {
        let names: Vec<&str> = CLASSES.iter().map(|class| class.name).collect();
        format!("no such class; there are {}", names.join(", "))
    })
}
