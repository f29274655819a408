//! Reads a file of accounts.
//!
//! # Input
//! The JSON of `aws organizations list-accounts`, or CSV with the columns `id` and `name` and any
//! others.
//! # Maps to
//! [`Accounts`]: names, and `column:value` of the other columns of a CSV as labels.
//! # Known gaps
//! Of the JSON only ids and names are read.
//! # Reference
//! Mapping table C1; <https://docs.aws.amazon.com/cli/latest/reference/organizations/list-accounts.html>.

use std::collections::HashMap;

use parsers::accounts::{AccountInfo, Accounts};
use serde::{Deserialize, Deserializer, de::Error};

/// Digits of an account id; spreadsheets drop leading zeros.
const ID_DIGITS: usize = 12;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListAccounts {
    accounts: Vec<ListedAccount>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListedAccount {
    #[serde(deserialize_with = "account_id")]
    id: String,
    #[serde(default)]
    name: String,
}

fn account_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let id = String::deserialize(deserializer)?;
    if is_id(&id) { Ok(id) } else { Err(D::Error::custom(no_id(&id))) }
}

fn no_id(id: &str) -> String {
    format!("no account id: {id:?}; expected {ID_DIGITS} digits")
}

/// Reads the content of a file. An error says where in it, and what was expected.
pub fn read(content: &[u8]) -> Result<Accounts, String> {
    let text = str::from_utf8(content)
        .map_err(|error| at(content, error.valid_up_to(), "this is not UTF-8"))?;
    parse(text)
}

/// An error at a byte of the text.
fn at(text: &[u8], byte: usize, what: impl std::fmt::Display) -> String {
    let before = &text[..byte.min(text.len())];
    let line = before.split(|byte| *byte == b'\n').count();
    let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count();
    format!("line {line}, column {column}: {what}")
}

fn parse(text: &str) -> Result<Accounts, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let accounts = if text.trim_start().starts_with(['{', '[']) { json(text) } else { csv(text) }?;
    if accounts.is_empty() {
        return Err("line 1, column 1: there are no accounts in it".into());
    }
    Ok(Accounts::new(accounts))
}

fn json(text: &str) -> Result<HashMap<String, AccountInfo>, String> {
    let list: ListAccounts = serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!(
            "line {line}, column {column}: not the output of `aws organizations list-accounts`: {error}"
        )
    })?;
    let mut accounts: HashMap<String, AccountInfo> = HashMap::new();
    for account in list.accounts {
        let info = AccountInfo { name: account.name, labels: Vec::new() };
        check(&info).map_err(|what| at(text.as_bytes(), 0, what))?;
        if accounts.get(&account.id).is_some_and(|earlier| *earlier != info) {
            let second = text.rfind(&format!("\"{}\"", account.id)).unwrap_or(0);
            let what = format!("account {} is there already, with another name", account.id);
            return Err(at(text.as_bytes(), second, what));
        }
        accounts.insert(account.id, info);
    }
    Ok(accounts)
}

fn csv(text: &str) -> Result<HashMap<String, AccountInfo>, String> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let columns: Vec<String> = reader
        .headers()
        .map_err(|error| format!("line 1, column 1: {error}"))?
        .iter()
        .map(str::to_owned)
        .collect();
    let column = |name: &str| {
        let mut names = columns.iter();
        names.position(|column| column.eq_ignore_ascii_case(name)).ok_or_else(|| {
            format!(
                "line 1, column 1: the first line must name the columns, one of them \"{name}\""
            )
        })
    };
    let (id_at, name_at) = (column("id")?, column("name")?);
    for (number, name) in columns.iter().enumerate() {
        if name.is_empty() || columns[..number].contains(name) {
            let number = number + 1;
            return Err(format!(
                "line 1, column {number}: no name of a column, or one twice: {name:?}"
            ));
        }
    }
    let mut accounts: HashMap<String, (AccountInfo, usize)> = HashMap::new();
    for record in reader.records() {
        let record = record.map_err(|error| match (error.position(), error.kind()) {
            (Some(at), csv::ErrorKind::UnequalLengths { expected_len, len, .. }) => format!(
                "line {}, column {}: {len} fields, but the first line has {expected_len}",
                line_at(at, text),
                len.min(expected_len) + 1
            ),
            (Some(at), _) => format!("line {}, column 1: {error}", line_at(at, text)),
            (None, _) => error.to_string(),
        })?;
        let line = line_of(&record, text);
        let at =
            |column: usize, what: String| format!("line {line}, column {}: {what}", column + 1);
        if let Some(column) = record.iter().position(|value| value.contains('\n')) {
            return Err(at(column, "a quote is not closed in this line".into()));
        }
        let id = &record[id_at];
        if !is_id(id) {
            return Err(at(id_at, no_id(id)));
        }
        let label = |(column, value): (usize, &str)| {
            let is_label = column != id_at && column != name_at && !value.is_empty();
            is_label.then(|| format!("{}:{value}", columns[column]))
        };
        let labels = record.iter().enumerate().filter_map(label).collect();
        let info = AccountInfo { name: record[name_at].to_owned(), labels };
        check(&info).map_err(|what| at(name_at, what))?;
        if let Some((earlier, first)) = accounts.get(id)
            && *earlier != info
        {
            return Err(at(id_at, format!("account {id} has other values in line {first}")));
        }
        if id.len() < ID_DIGITS {
            accounts.insert(format!("{id:0>ID_DIGITS$}"), (info.clone(), line));
        }
        accounts.insert(id.to_owned(), (info, line));
    }
    Ok(accounts.into_iter().map(|(id, (info, _))| (id, info)).collect())
}

fn line_of(record: &csv::StringRecord, text: &str) -> usize {
    record.position().map_or(0, |at| line_at(at, text))
}

/// The line of a record; the reader's own count leaves out empty lines.
fn line_at(at: &csv::Position, text: &str) -> usize {
    let start = (at.byte() as usize).min(text.len());
    let blank = text[start..].bytes().take_while(u8::is_ascii_whitespace).count();
    text[..start + blank].split('\n').count()
}

/// OCSF's limit of a text.
fn check(info: &AccountInfo) -> Result<(), String> {
    let longest = info.labels.iter().chain([&info.name]).map(|text| text.chars().count()).max();
    if longest > Some(65_535) {
        return Err("over 65,535 characters".into());
    }
    Ok(())
}

fn is_id(text: &str) -> bool {
    (1..=ID_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(name: &str, labels: &[&str]) -> AccountInfo {
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        AccountInfo { name: name.to_owned(), labels }
    }

    #[test]
    fn names_come_from_the_json_of_the_aws_command() {
        let text = r#"{"Accounts":[{"Id":"111122223333","Arn":"a","Email":"x@y.z","Name":"prod",
            "Status":"ACTIVE"},{"Id":"444455556666","Name":"log archive"}]}"#;
        let accounts = parse(text).unwrap();
        assert_eq!(accounts.get("111122223333"), Some(&info("prod", &[])));
        assert_eq!(accounts.get("444455556666"), Some(&info("log archive", &[])));
    }

    #[test]
    fn names_and_labels_come_from_csv_with_any_further_columns() {
        let text = "\u{feff}owner, ID ,Name,environment\nteam a,111122223333,\"prod, eu\",prod\n,22223333,dev,\n";
        let accounts = parse(text).unwrap();
        assert_eq!(
            accounts.get("111122223333"),
            Some(&info("prod, eu", &["owner:team a", "environment:prod"]))
        );
        assert_eq!(accounts.get("000022223333"), Some(&info("dev", &[])), "lost zeros are found");
    }

    #[test]
    fn an_error_says_where_and_what() {
        for (text, expected) in [
            ("", "line 1, column 1: the first line must name the columns"),
            (
                "number,name\n1,a\n",
                "line 1, column 1: the first line must name the columns, one of them \"id\"",
            ),
            ("id,name\nx1,a\n", "line 2, column 1: no account id"),
            ("name,id\na,1\nb,\n", "line 3, column 2: no account id"),
            ("id,name\n1,a,b\n", "line 2, column 3: 3 fields"),
            ("id,name\n1,a\n1,b\n", "line 3, column 1: account 1 has other values in line 2"),
            ("id,name\n", "line 1, column 1: there are no accounts"),
            ("{\"Accounts\":[\n{\"Name\":\"a\"}]}", "line 2, column 12: not the output of"),
            ("{\"Accounts\": 1}", "line 1, column 14: not the output of"),
            ("{\"Accounts\":[\n{\"Id\":\"x\"}]}", "line 2, column 10: not the output of"),
            (
                "{\"Accounts\":[{\"Id\":\"1\",\"Name\":\"a\"},\n{\"Id\":\"1\",\"Name\":\"b\"}]}",
                "line 2, column 7: account 1 is there already",
            ),
            ("id,name\n1,\"a\n2,b\n", "line 2, column 2: a quote is not closed"),
            ("id,name\n\n\n\nx,a\n", "line 5, column 1: no account id"),
            ("id,name,\n1,a,b\n", "line 1, column 3: no name of a column"),
            ("id,name,name\n1,a,b\n", "line 1, column 3: no name of a column, or one twice"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
    }
}
