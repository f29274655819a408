//! The shipped queries: what responders ask of a lake.
//!
//! A query is a file in `library/`, named in `files!` once: a head in comments, then one SELECT.
//!
//! ```sql
//! -- question: Who used this access key?
//! -- group: keys and principals
//! -- technique: T1078.004 Valid Accounts: Cloud Accounts
//! -- means: what a row says; goes on in lines
//! --   that are set in
//! -- limits: what it does not see
//! -- takes: key, text, required
//! -- takes: address, text, optional
//! -- takes: limit, integer, default 1000
//! SELECT …
//! ```
//!
//! # Input
//! The files, compiled in; the name of one, and values for what it takes.
//! # Maps to
//! SQL for the engine, or for Athena; a list of what there is.
//! # Known gaps
//! Only what DataFusion and Trino both have can be used.
//! # Reference
//! <https://attack.mitre.org/techniques/enterprise/cloud/>; the columns are those of `events.rs`.

use std::{fmt::Write as _, sync::LazyLock};

use serde_json::{Value as Json, json};

mod athena;
mod fill;

pub use athena::for_athena;
pub use fill::{FillError, Given, KINDS, Kind, Value, fill_plain};

macro_rules! files {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("library/", $name, ".sql")))),*]
    };
}

const FILES: &[(&str, &str)] = files! {
    "access-denied"
    "access-denied-bursts"
    "address-in-flows"
    "assume-role-chains"
    "beacons"
    "commands-on-instances"
    "console-sign-ins"
    "console-sign-ins-without-mfa"
    "coverage"
    "cross-account-use"
    "data-destroyed"
    "discovery-bursts"
    "encryption-keys-changed"
    "event"
    "failed-sign-ins-then-success"
    "findings"
    "findings-about"
    "from-address"
    "functions-changed"
    "instance-credentials-outside"
    "instances-in-unused-regions"
    "instances-started"
    "key-from-where"
    "keys-from-new-addresses"
    "keys-made-by-key"
    "logging-switched-off"
    "made-public"
    "mfa-removed"
    "new-user-agents"
    "overview"
    "policies-attached"
    "privilege-changes"
    "rejected-then-accepted"
    "root-use"
    "s3-objects-read"
    "s3-reads-by-volume"
    "scans"
    "secrets-read"
    "security-groups-opened"
    "sign-ins-from-new-places"
    "top-talkers"
    "traffic-between"
    "traffic-of-instance"
    "traffic-of-interface"
    "users-and-keys-made"
    "what-principal-did"
    "who-used-key"
};

/// Groups, in the order in which they are listed.
const GROUPS: [&str; 8] = [
    "keys and principals",
    "sign-ins",
    "persistence and privileges",
    "defense evasion and discovery",
    "data",
    "compute",
    "network",
    "findings and events",
];

/// All shipped queries, by group and name.
pub static QUERIES: LazyLock<Vec<Shipped>> = LazyLock::new(|| {
    let mut all: Vec<Shipped> =
        FILES.iter().map(|(name, text)| Shipped::read(name, text)).collect();
    let group = |query: &Shipped| GROUPS.iter().position(|group| *group == query.group);
    all.sort_by_key(|query| (group(query), query.name));
    all
});

/// A shipped query.
#[derive(Debug, Default)]
pub struct Shipped {
    /// Its name, without the `@`.
    pub name: &'static str,
    /// The file as it is.
    pub text: &'static str,
    /// What the responder asks.
    pub question: String,
    /// Where it is listed.
    pub group: String,
    /// What it looks for: id and name of an ATT&CK technique.
    pub technique: String,
    /// What a row says.
    pub means: String,
    /// What it does not see.
    pub limits: String,
    /// What it takes.
    pub takes: Vec<Taken>,
    /// The SELECT.
    pub sql: &'static str,
}

/// A parameter of a query.
#[derive(Debug)]
pub struct Taken {
    /// Its name, as in the flag.
    pub name: &'static str,
    /// Whether it has to be given.
    pub is_required: bool,
    /// What it is if it is not given; nothing to look for if there is none.
    pub default: Option<Value>,
}

impl Shipped {
    /// Reads the head of a file. What is wrong in it is left out, which a test sees.
    fn read(name: &'static str, text: &'static str) -> Self {
        let end = text.find("\nSELECT").into_iter().chain(text.find("\nWITH")).min();
        let (head, sql) = text.split_at(end.map_or(text.len(), |end| end + 1));
        let mut query = Self { name, text, sql: sql.trim_end(), ..Self::default() };
        for line in head.replace("\n--   ", " ").lines() {
            let line = line.strip_prefix("-- ").and_then(|line| line.split_once(": "));
            let Some((what, value)) = line else { continue };
            match what {
                "question" => value.clone_into(&mut query.question),
                "group" => value.clone_into(&mut query.group),
                "technique" => value.clone_into(&mut query.technique),
                "means" => value.clone_into(&mut query.means),
                "limits" => value.clone_into(&mut query.limits),
                "takes" => query.takes.extend(Taken::read(value)),
                _ => (),
            }
        }
        query
    }

    /// The SQL with the values in place.
    pub fn fill(&self, given: &Given) -> Result<String, FillError> {
        fill::fill_shipped(self, given)
    }

    /// What it takes, as flags.
    pub fn flags(&self) -> String {
        let flags = self.takes.iter().map(|taken| {
            let flag = format!("--{}", taken.name);
            if taken.is_required { flag } else { format!("[{flag}]") }
        });
        flags.collect::<Vec<_>>().join(" ")
    }

    fn json(&self) -> Json {
        let takes = self.takes.iter().map(|taken| {
            json!({
                "name": taken.name,
                "kind": fill::kind(taken.name).map(Kind::name),
                "required": taken.is_required,
                "default": taken.default.as_ref().map(Value::to_string),
            })
        });
        let (id, name) = self.technique.split_once(' ').unwrap_or_default();
        json!({
            "name": self.name,
            "group": self.group,
            "question": self.question,
            "technique": {"id": id, "name": name},
            "means": self.means,
            "limits": self.limits,
            "takes": takes.collect::<Vec<_>>(),
            "sql": self.sql,
        })
    }
}

impl Taken {
    /// `key, text, required`
    fn read(text: &str) -> Option<Self> {
        let mut words = text.splitn(3, ", ");
        let (name, kind, need) = (words.next()?, words.next()?, words.next()?);
        let (name, known) = KINDS.into_iter().find(|(known, _)| *known == name)?;
        let default = match need.strip_prefix("default ") {
            Some(default) => Some(known.value(default)?),
            None if matches!(need, "required" | "optional") => None,
            None => return None,
        };
        (known.name() == kind).then_some(Self { name, is_required: need == "required", default })
    }
}

/// The query of a name, with or without its `@`.
pub fn shipped(name: &str) -> Result<&'static Shipped, FillError> {
    let name = name.trim_start_matches('@');
    QUERIES.iter().find(|query| query.name == name).ok_or_else(|| {
        let mut near: Vec<_> =
            QUERIES.iter().map(|query| (likeness(query.name, name), query)).collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        let near = near.into_iter().take(3).map(|(_, query)| format!("@{}", query.name));
        FillError::Unknown { name: name.to_owned(), near: near.collect::<Vec<_>>().join(", ") }
    })
}

fn likeness(ours: &str, theirs: &str) -> f64 {
    let has_word = ours.split('-').any(|word| word.len() > 2 && theirs.contains(word));
    strsim::normalized_damerau_levenshtein(ours, theirs) + if has_word { 0.3 } else { 0.0 }
}

/// All queries for people, by group.
pub fn list() -> String {
    let width = QUERIES.iter().map(|query| query.name.len()).max().unwrap_or_default() + 1;
    let mut text = String::new();
    let mut group = "";
    for query in QUERIES.iter() {
        // Writing to a String cannot fail.
        if group != query.group {
            group = &query.group;
            let gap = if text.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}{group}");
        }
        let _ = writeln!(text, "  {:<width$}  {}", format!("@{}", query.name), query.question);
        let needs = query.takes.iter().filter(|taken| taken.is_required);
        let needs: Vec<String> = needs.map(|taken| format!("--{}", taken.name)).collect();
        if !needs.is_empty() {
            let _ = writeln!(text, "  {:<width$}  needs {}", "", needs.join(", "));
        }
    }
    text
}

/// All queries, or one, for programs.
pub fn list_json(one: Option<&Shipped>) -> Json {
    match one {
        Some(query) => query.json(),
        None => QUERIES.iter().map(Shipped::json).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn every_file_is_registered_and_has_a_sound_head() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/query/library");
        let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let files = files.filter(|path| path.extension().is_some_and(|ext| ext == "sql"));
        let names = files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned());
        let registered = FILES.iter().map(|(name, _)| (*name).to_owned());
        assert_eq!(names.collect::<BTreeSet<_>>(), registered.collect::<BTreeSet<_>>());
        for query in QUERIES.iter() {
            let name = query.name;
            assert!(query.question.ends_with('?'), "{name}: {}", query.question);
            assert!(GROUPS.contains(&query.group.as_str()), "{name}: group {}", query.group);
            let id = query.technique.split(' ').next().unwrap();
            assert!(id.starts_with('T') && id.len() >= 5, "{name}: {}", query.technique);
            assert!(query.means.ends_with('.') && query.limits.ends_with('.'), "{name}");
            assert_eq!(
                query.takes.len(),
                query.text.matches("-- takes: ").count(),
                "{name}: takes"
            );
            assert!(query.sql.starts_with("SELECT") || query.sql.starts_with("WITH"), "{name}");
            assert!(!query.sql.contains("--"), "{name}: comments belong into the head");
            let mentioned: BTreeSet<&str> = fill::mentioned(query.sql).collect();
            let taken = query.takes.iter().map(|taken| taken.name);
            assert_eq!(mentioned, taken.collect(), "{name}: takes what it mentions");
        }
    }

    #[test]
    fn an_unknown_name_is_answered_by_the_nearest() {
        let error = shipped("@who-use-key").unwrap_err().to_string();
        assert!(error.starts_with("there is no query @who-use-key; the nearest are @who-used-key"));
    }
}
