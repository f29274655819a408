//! Puts values in place of `:key` in SQL.
//!
//! # Input
//! SQL, shipped or of the user; what was given on the command line.
//! # Maps to
//! SQL with literals: text is quoted, times and numbers have been read and are written anew.
//! # Known gaps
//! A `:` right behind a name, a bracket or a quote is not taken for a parameter.
//! # Reference
//! The parameters are [`KINDS`], and nothing else.

use std::{collections::BTreeMap, fmt};

use parsers::time::{self, DAY_MS};

use super::Shipped;

/// The engine's times end in 2262.
const LAST: &str = "2200-01-01";

/// Every parameter, and what it is.
pub const KINDS: [(&str, Kind); 13] = [
    ("key", Kind::Text),
    ("principal", Kind::Text),
    ("address", Kind::Text),
    ("peer", Kind::Text),
    ("interface", Kind::Text),
    ("instance", Kind::Text),
    ("bucket", Kind::Text),
    ("account", Kind::Text),
    ("region", Kind::Text),
    ("uid", Kind::Text),
    ("since", Kind::Time),
    ("until", Kind::Time),
    ("limit", Kind::Integer),
];

/// The day of a time, as partitions have it: what Athena needs to read only some of them.
const DAYS: [(&str, &str); 2] = [("since_day", "since"), ("until_day", "until")];

/// What a parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A date or a time, in UTC.
    Time,
    /// A number of rows.
    Integer,
}

impl Kind {
    /// As the heads of the files have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Time => "time",
            Self::Integer => "integer",
        }
    }

    /// Reads a value.
    pub fn value(self, text: &str) -> Option<Value> {
        let date = || time::from_text(&format!("{text}T00:00:00Z"));
        match self {
            Self::Text => Some(Value::Text(text.to_owned())),
            Self::Time => time::from_text(text).or_else(date).map(Value::Time),
            Self::Integer => text.parse().ok().map(Value::Integer),
        }
    }
}

/// A value of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Any text.
    Text(String),
    /// Milliseconds since 1970.
    Time(i64),
    /// A number.
    Integer(u64),
}

impl Value {
    fn literal(&self) -> String {
        match self {
            Self::Text(text) => crate::query::literal(text),
            Self::Time(_) => format!("TIMESTAMP '{self}'"),
            Self::Integer(_) => self.to_string(),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(number) => number.fmt(f),
            Self::Time(ms) => {
                let text = time::datetime(*ms);
                let text = String::from_utf8_lossy(&text[..23]).replace('T', " ");
                f.write_str(text.trim_end_matches(".000"))
            }
        }
    }
}

/// What was given, by name.
#[derive(Clone, Debug, Default)]
pub struct Given {
    values: BTreeMap<&'static str, (Value, bool)>,
}

impl Given {
    /// Adds a value. One that is ambient comes from the environment, where it may be meant for other
    /// commands: a query need not take it.
    pub fn add(&mut self, name: &'static str, value: Value, is_ambient: bool) {
        self.values.insert(name, (value, is_ambient));
    }

    fn value(&self, name: &str) -> Option<&Value> {
        self.values.get(name).map(|(value, _)| value)
    }

    /// Those that are given and that nothing asks for.
    fn others(&self, is_asked: impl Fn(&str) -> bool) -> Option<&'static str> {
        let others = self.values.iter().filter(|(_, (_, is_ambient))| !is_ambient);
        others.map(|(name, _)| *name).find(|name| !is_asked(name))
    }
}

/// A query cannot be made of what was given.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FillError {
    /// No such query.
    #[error("there is no query @{name}; the nearest are {near}; `--list` shows all")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        near: String,
    },
    /// Something that it needs.
    #[error("@{query} needs --{name}; it takes {takes}")]
    Missing {
        /// Its name.
        query: &'static str,
        /// What it needs.
        name: &'static str,
        /// What it takes.
        takes: String,
    },
    /// Something that it has no use for.
    #[error("@{query} does not take --{name}; it takes {takes}")]
    Useless {
        /// Its name.
        query: &'static str,
        /// What it has no use for.
        name: &'static str,
        /// What it takes.
        takes: String,
    },
    /// A parameter of the user's SQL that has no value.
    #[error("the SQL has :{0}: give it with --{0}")]
    NotGiven(&'static str),
    /// A value that the user's SQL does not mention.
    #[error("--{0} is given, but the SQL has no :{0}")]
    NotMentioned(&'static str),
    /// A parameter that there is not.
    #[error("there is no parameter :{name}; there are {there}")]
    NoParameter {
        /// What the SQL has.
        name: String,
        /// What there is.
        there: String,
    },
    /// What cannot be read as SQL.
    #[error("the SQL cannot be read: {0}")]
    Sql(String),
}

/// The kind of a parameter.
pub fn kind(name: &str) -> Option<Kind> {
    KINDS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
}

/// A shipped query with the values in place.
pub fn fill_shipped(query: &Shipped, given: &Given) -> Result<String, FillError> {
    let taken = |name: &str| query.takes.iter().find(|taken| taken.name == name);
    if let Some(name) = given.others(|name| taken(name).is_some()) {
        return Err(FillError::Useless { query: query.name, name, takes: query.flags() });
    }
    fill(query.sql, |name| {
        let value = given.value(name).cloned();
        let taken = taken(name).filter(|taken| value.is_some() || !taken.is_required);
        let taken = taken.ok_or_else(|| FillError::Missing {
            query: query.name,
            name,
            takes: query.flags(),
        })?;
        Ok(value.or_else(|| taken.default.clone()))
    })
}

/// SQL of the user with the values in place. Times need not be given.
pub fn fill_plain(sql: &str, given: &Given) -> Result<String, FillError> {
    let named: Vec<&str> = mentioned(sql).collect();
    if let Some(name) = given.others(|name| named.contains(&name)) {
        return Err(FillError::NotMentioned(name));
    }
    fill(sql, |name| match given.value(name).cloned() {
        Some(value) => Ok(Some(value)),
        None if name == "since" => Ok(Some(Value::Time(0))),
        None if name == "until" => Ok(Kind::Time.value(LAST)),
        None => Err(FillError::NotGiven(name)),
    })
}

fn fill(
    sql: &str,
    value: impl Fn(&'static str) -> Result<Option<Value>, FillError>,
) -> Result<String, FillError> {
    let mut filled = String::with_capacity(sql.len());
    for piece in pieces(sql) {
        let name = match piece {
            Piece::Code(text) | Piece::Comment(text) => {
                filled += text;
                continue;
            }
            Piece::Parameter(name) => name,
        };
        let (of, is_day) = match DAYS.iter().find(|(day, _)| *day == name) {
            Some((_, of)) => (*of, true),
            None => (name, false),
        };
        let Some((known, kind)) = KINDS.into_iter().find(|(known, _)| *known == of) else {
            let there: Vec<String> = KINDS.iter().map(|(name, _)| format!(":{name}")).collect();
            let there = there.join(", ");
            return Err(FillError::NoParameter { name: name.to_owned(), there });
        };
        filled += &match value(known)? {
            Some(Value::Time(ms)) => {
                let last = Kind::Time.value(LAST);
                let ms = if let Some(Value::Time(last)) = last { ms.min(last) } else { ms };
                if is_day { day(ms) } else { Value::Time(ms).literal() }
            }
            Some(value) => value.literal(),
            // With its type, or Trino does not know what to compare.
            None if kind == Kind::Text => "CAST(NULL AS varchar)".to_owned(),
            None => "NULL".to_owned(),
        };
    }
    Ok(filled)
}

fn day(ms: i64) -> String {
    let day = i32::try_from(ms.div_euclid(DAY_MS)).unwrap_or(i32::MAX);
    format!("'{}'", time::compact_day(day))
}

/// The parameters that SQL mentions; the day of a time is the time.
pub fn mentioned(sql: &str) -> impl Iterator<Item = &str> {
    pieces(sql).into_iter().filter_map(|piece| match piece {
        Piece::Parameter(name) => {
            Some(DAYS.iter().find(|(day, _)| *day == name).map_or(name, |(_, of)| of))
        }
        Piece::Code(_) | Piece::Comment(_) => None,
    })
}

/// A stretch of SQL.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'s> {
    /// As it is, with texts and quoted names.
    Code(&'s str),
    /// A comment.
    Comment(&'s str),
    /// The name behind a colon.
    Parameter(&'s str),
}

/// SQL, cut where parameters and comments are.
pub fn pieces(sql: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let bytes = sql.as_bytes();
    let (mut from, mut at) = (0, 0);
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    while at < bytes.len() {
        let rest = &sql[at..];
        let until = |end: &str, skip: usize| {
            rest[skip..].find(end).map_or(rest.len(), |found| skip + found + end.len())
        };
        let (length, is_comment) = match bytes[at] {
            b'\'' => (until("'", 1), false),
            b'"' => (until("\"", 1), false),
            b'-' if rest.starts_with("--") => (until("\n", 2), true),
            b'/' if rest.starts_with("/*") => (until("*/", 2), true),
            b':' => {
                let before = at.checked_sub(1).map(|before| bytes[before]);
                let is_open = !before.is_some_and(|b| is_name(&b) || b":)]'\"".contains(&b));
                let name = bytes[at + 1..].iter().take_while(|byte| is_name(byte)).count();
                if is_open && name > 0 && bytes[at + 1].is_ascii_alphabetic() {
                    pieces.push(Piece::Code(&sql[from..at]));
                    pieces.push(Piece::Parameter(&sql[at + 1..=at + name]));
                    at += 1 + name;
                    from = at;
                    continue;
                }
                (1, false)
            }
            // A character may have several bytes; all of those after the first are of no interest.
            _ => (rest.chars().next().map_or(1, char::len_utf8), false),
        };
        if is_comment {
            pieces.push(Piece::Code(&sql[from..at]));
            pieces.push(Piece::Comment(&rest[..length]));
            from = at + length;
        }
        at += length;
    }
    pieces.push(Piece::Code(&sql[from..]));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(values: &[(&'static str, &str)]) -> Given {
        let mut given = Given::default();
        for (name, text) in values {
            given.add(name, kind(name).unwrap().value(text).unwrap(), false);
        }
        given
    }

    #[test]
    fn values_are_literals_and_nothing_else() {
        let sql = "SELECT ':key', \":key\", a::text, 'é' -- :key\n, /* :key */ :key WHERE t >= :since \
                   AND d <= :until_day LIMIT :limit";
        let values =
            [("key", "a'; DROP --"), ("since", "2025-06-03"), ("until", "2025-06-04T12:30:00Z")];
        let given = given(&[&values[..], &[("limit", "5")]].concat());
        assert_eq!(
            fill_plain(sql, &given).unwrap(),
            "SELECT ':key', \":key\", a::text, 'é' -- :key\n, /* :key */ 'a''; DROP --' WHERE t >= \
             TIMESTAMP '2025-06-03 00:00:00' AND d <= '20250604' LIMIT 5"
        );
        assert_eq!(Kind::Integer.value("5; x"), None);
        assert_eq!(Kind::Time.value("soon"), None);
    }

    #[test]
    fn what_is_missing_or_of_no_use_is_said() {
        let query = super::super::shipped("who-used-key").unwrap();
        let error = query.fill(&Given::default()).unwrap_err().to_string();
        let takes = "it takes --key [--address] [--since] [--until] [--limit]";
        assert_eq!(error, format!("@who-used-key needs --key; {takes}"));
        let error = query.fill(&given(&[("key", "A"), ("uid", "x")])).unwrap_err().to_string();
        assert_eq!(error, format!("@who-used-key does not take --uid; {takes}"));
        let mut ambient = given(&[("key", "A")]);
        ambient.add("account", Value::Text("1".into()), true);
        assert!(query.fill(&ambient).is_ok());
        let plain = |sql: &str, given: &Given| fill_plain(sql, given).unwrap_err();
        assert_eq!(plain("SELECT :key", &Given::default()), FillError::NotGiven("key"));
        assert_eq!(plain("SELECT 1", &given(&[("key", "A")])), FillError::NotMentioned("key"));
        let error = plain("SELECT :kee", &Given::default()).to_string();
        assert!(error.starts_with("there is no parameter :kee; there are :key, "), "{error}");
    }
}
