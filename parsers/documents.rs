//! Events as documents for the bulk API of an index.
//!
//! # Input
//! Events as they are pushed, and what is to be indexed of them ([`Indexing`]).
//! # Maps to
//! Two lines each: `create` with index and id, then the event in its index form with the time of
//! ingestion and `pivot`. The id is `metadata.uid`, and the index follows from the event's time, so
//! that the same event sent again is the same document.
//! # Known gaps
//! None.
//! # Reference
//! Mapping 1.3; <https://docs.opensearch.org/latest/api-reference/document-apis/bulk/>.

use std::ops::Range;

use arrow::array::RecordBatch;
use bumpalo::Bump;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::{
    Filter, hex,
    index::{INGESTED_TIME, PIVOTS, Period, Pivot},
    ocsf::{
        CLASSES, Class, Event, Field, Kind, Leaf, Record,
        json::{self, Form},
    },
    reset, source,
    time::DAY_MS,
};

/// A longer id is refused by the server: its hash stands for it.
const MAX_ID_BYTES: usize = 512;
/// So many values of one pivot are kept.
const MAX_PIVOT_VALUES: usize = 64;

/// What becomes documents, and how.
#[derive(Debug)]
pub struct Indexing {
    /// When this run began, in milliseconds.
    ingested_time: i64,
    rules: Rules,
    classes: Vec<ClassIndexing>,
}

/// Which events are indexed: what one of `only` admits, or everything if there are none, but for what
/// one of `except` admits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// What is wanted.
    pub only: Vec<Rule>,
    /// What is not.
    pub except: Vec<Rule>,
}

impl Rules {
    /// The same for the same rules, in whatever order.
    pub fn name(&self) -> String {
        if *self == Self::default() {
            return "everything".into();
        }
        let sorted = |rules: &[Rule]| {
            let mut texts: Vec<_> = rules.iter().map(|rule| format!("{rule:?}")).collect();
            texts.sort_unstable();
            texts.join("\n")
        };
        let text = format!("{}\n\n{}", sorted(&self.only), sorted(&self.except));
        format!("rules-{:016x}", xxh3_64(text.as_bytes()))
    }
}

#[derive(Debug)]
struct ClassIndexing {
    class: &'static Class,
    period: Period,
    /// The pivots that events of this class may have.
    pivots: Vec<(&'static Pivot, Vec<&'static str>)>,
}

impl Indexing {
    /// `periods` are those that differ from [`Period::of`].
    pub fn new(ingested_time: i64, rules: Rules, periods: &[(&'static Class, Period)]) -> Self {
        let classes = CLASSES.iter().map(|&class| {
            let own = periods.iter().find(|(of, _)| of.uid == class.uid);
            let paths = |pivot: &Pivot| {
                pivot.from.iter().copied().filter(|path| has(class.fields, path)).collect()
            };
            ClassIndexing {
                class,
                period: own.map_or_else(|| Period::of(class), |(_, period)| *period),
                pivots: PIVOTS
                    .iter()
                    .map(|pivot| (pivot, paths(pivot)))
                    .filter(|(_, paths): &(_, Vec<_>)| !paths.is_empty())
                    .collect(),
            }
        });
        Self { ingested_time, rules, classes: classes.collect() }
    }

    /// True if the event is to be indexed.
    pub fn admits<'a, E: Event<'a>>(&self, event: &E) -> bool {
        let Rules { only, except } = &self.rules;
        (only.is_empty() || only.iter().any(|rule| rule.admits(event)))
            && !except.iter().any(|rule| rule.admits(event))
    }

    fn of(&self, class: &Class) -> &ClassIndexing {
        self.classes.iter().find(|one| one.class.uid == class.uid).expect("every class is there")
    }
}

/// `CLASS_OR_SOURCE[:ATTRIBUTE=VALUE,ATTRIBUTE!=VALUE...]`, such as
/// `network_activity:disposition=Blocked`; `*` is every class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    class: Option<i32>,
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    path: String,
    equal: bool,
    value: String,
}

impl Rule {
    /// Reads a rule, and says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (subject, rest) = text.split_once(':').unwrap_or((text, ""));
        let subject = subject.trim();
        let mut conditions = Vec::new();
        let mut class = None;
        if let Some(found) = CLASSES.iter().find(|class| class.name == subject) {
            class = Some(*found);
        } else if let Some(source) = source(subject) {
            let (path, value) = ("metadata.product.name".into(), source.product.into());
            conditions.push(Condition { path, equal: true, value });
        } else if subject != "*" {
            let classes: Vec<_> = CLASSES.iter().map(|class| class.name).collect();
            let sources: Vec<_> = crate::SOURCES.iter().map(|source| source.name).collect();
            return Err(format!(
                "{subject:?} is no class ({}), no source ({}) and not *",
                classes.join(", "),
                sources.join(", ")
            ));
        }
        for condition in rest.split(',').map(str::trim).filter(|condition| !condition.is_empty()) {
            let (path, value) = condition.split_once('=').ok_or_else(|| {
                format!("{condition:?} is no condition such as status=Failure or activity_id!=2")
            })?;
            let (path, equal) = path.strip_suffix('!').map_or((path, true), |path| (path, false));
            let (path, value) = (path.trim().to_owned(), value.trim().to_owned());
            let classes = CLASSES.iter().filter(|one| class.is_none_or(|c| c.uid == one.uid));
            let kinds: Vec<_> = classes.filter_map(|class| kind(class.fields, &path)).collect();
            if kinds.is_empty() {
                return Err(format!("{subject} has no attribute {path:?}"));
            }
            if !kinds.iter().any(|kind| may_be(*kind, &value)) {
                return Err(format!("{path} is never {value:?}: {}", expected(kinds[0])));
            }
            conditions.push(Condition { path, equal, value });
        }
        Ok(Self { class: class.map(|class| class.uid), conditions })
    }

    fn admits<'a, E: Event<'a>>(&self, event: &E) -> bool {
        self.class.is_none_or(|uid| uid == <E::Columns as Record>::CLASS.uid)
            && self.conditions.iter().all(|condition| condition.holds(event))
    }
}

impl Condition {
    fn holds<'a, E: Event<'a>>(&self, event: &E) -> bool {
        let mut has_value = false;
        event.find(&self.path, &mut |leaf| {
            has_value |= match leaf {
                Leaf::Text(text) => text.eq_ignore_ascii_case(&self.value),
                Leaf::Number(number) => self.value.parse() == Ok(number),
                Leaf::Bool(value) => self.value.parse() == Ok(value),
            };
        });
        has_value == self.equal
    }
}

/// True if there is an attribute at this path, or may be in JSON or `unmapped`.
fn has(fields: &[Field], path: &str) -> bool {
    kind(fields, path).is_some()
}

/// What is at this path.
fn kind(fields: &[Field], path: &str) -> Option<Kind> {
    let (name, rest) = path.split_once('.').unwrap_or((path, ""));
    let field = fields.iter().find(|field| field.name == name)?;
    leads(field.kind, rest)
}

fn leads(kind: Kind, rest: &str) -> Option<Kind> {
    match kind {
        Kind::Object(fields) => self::kind(fields, rest),
        Kind::List(kind) => leads(*kind, rest),
        Kind::Json | Kind::Unmapped => (!rest.is_empty()).then_some(kind),
        _ => rest.is_empty().then_some(kind),
    }
}

/// True if an attribute of this kind may have this value.
fn may_be(kind: Kind, value: &str) -> bool {
    match kind {
        Kind::Integer | Kind::Long | Kind::Timestamp => value.parse::<i64>().is_ok(),
        Kind::Boolean => value.parse::<bool>().is_ok(),
        _ => !value.is_empty(),
    }
}

fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Integer | Kind::Long | Kind::Timestamp => "it is a whole number",
        Kind::Boolean => "it is true or false",
        _ => "a value is missing",
    }
}

/// One document among others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The object it was read from, as its number in the batch.
    pub object: u32,
    /// Its two lines.
    pub range: Range<usize>,
}

/// Documents, two lines each.
#[derive(Debug, Default)]
pub struct Documents {
    text: Vec<u8>,
    all: Vec<Document>,
    /// The index of the document before: its class, its day, and its name.
    last_index: (i32, i64, String),
}

impl Documents {
    /// Appends an event. It counts when it is kept: what was written before belongs to no document.
    pub(crate) fn write<'a, E: Event<'a>>(&mut self, indexing: &Indexing, event: &E) {
        self.text.truncate(self.end());
        let of_class = indexing.of(<E::Columns as Record>::CLASS);
        let day = event.time().div_euclid(DAY_MS);
        if (self.last_index.0, self.last_index.1) != (of_class.class.uid, day) {
            let name = of_class.class.index(of_class.period, event.time());
            self.last_index = (of_class.class.uid, day, name);
        }
        let out = &mut self.text;
        out.extend_from_slice(b"{\"create\":{\"_index\":\"");
        out.extend_from_slice(self.last_index.2.as_bytes());
        out.extend_from_slice(b"\",\"_id\":");
        if event.uid().len() <= MAX_ID_BYTES {
            json::string(event.uid(), out);
        } else {
            out.push(b'"');
            out.extend_from_slice(&hex(xxh3_128(event.uid().as_bytes())));
            out.push(b'"');
        }
        out.extend_from_slice(b"}}\n");
        event.write_json(Form::Index, out);
        out.pop();
        out.extend_from_slice(b",\"");
        out.extend_from_slice(INGESTED_TIME.as_bytes());
        out.extend_from_slice(b"\":");
        json::integer(indexing.ingested_time, out);
        let start = out.len();
        for (pivot, paths) in &of_class.pivots {
            let values = values(pivot, paths, event);
            if values.is_empty() {
                continue;
            }
            out.extend_from_slice(if out.len() == start { b",\"pivot\":{\"" } else { b",\"" });
            out.extend_from_slice(pivot.name.as_bytes());
            out.extend_from_slice(if values.len() == 1 { b"\":" } else { b"\":[" });
            out.extend_from_slice(values.join(&b","[..]).as_slice());
            if values.len() > 1 {
                out.push(b']');
            }
        }
        out.extend_from_slice(if out.len() == start { b"}\n" } else { b"}}\n" });
    }

    /// Appends rows of the lake, of the schema of their class ([`Class::schema`]). `object` is told
    /// the `metadata.log_name` of each and whether it is to be indexed, and says the number of its
    /// object. Events that the filter does not admit are not touched. Stops before `max_bytes` of
    /// documents would become many more, and returns the row that comes next.
    pub fn add_rows<C: Record>(
        &mut self,
        indexing: &Indexing,
        filter: &Filter,
        rows: &RecordBatch,
        (first, max_bytes): (usize, usize),
        object: &mut dyn FnMut(&str, bool) -> u32,
    ) -> usize
    where
        for<'a> C::Row<'a>: Event<'a, Columns = C>,
    {
        let mut arena = Bump::new();
        for row in first..rows.num_rows() {
            if self.end() >= max_bytes {
                return row;
            }
            reset(&mut arena);
            let event = C::read_row(rows.columns(), row, &arena);
            if !filter.admits(&event) {
                continue;
            }
            let is_indexed = indexing.admits(&event);
            let mut number = None;
            event.find("metadata.log_name", &mut |leaf| {
                if let Leaf::Text(name) = leaf {
                    number = Some(object(name, is_indexed));
                }
            });
            let number = number.unwrap_or_else(|| object("", is_indexed));
            if is_indexed {
                self.write(indexing, &event);
                self.keep(number);
            }
        }
        rows.num_rows()
    }

    /// Keeps what was written last as a document.
    pub(crate) fn keep(&mut self, object: u32) {
        let range = self.end()..self.text.len();
        self.all.push(Document { object, range });
    }

    fn end(&self) -> usize {
        self.all.last().map_or(0, |last| last.range.end)
    }

    /// The lines.
    pub fn text(&self) -> &[u8] {
        &self.text[..self.end()]
    }

    /// Where each document is.
    pub fn all(&self) -> &[Document] {
        &self.all
    }
}

/// The different values of a pivot, as JSON.
fn values<'a, E: Event<'a>>(pivot: &Pivot, paths: &[&str], event: &E) -> Vec<Vec<u8>> {
    let mut values: Vec<Vec<u8>> = Vec::new();
    for path in paths {
        event.find(path, &mut |leaf| {
            let mut value = Vec::new();
            match (pivot.kind, leaf) {
                (Kind::String, Leaf::Text(text)) if !text.is_empty() => {
                    json::string(text, &mut value);
                }
                (Kind::Boolean, Leaf::Text(text @ ("true" | "false"))) => {
                    value.extend_from_slice(text.as_bytes());
                }
                (Kind::Boolean, Leaf::Bool(is)) => {
                    value.extend_from_slice(if is { b"true" } else { b"false" });
                }
                (Kind::Long, Leaf::Text(text)) => {
                    // CloudTrail spells numbers of bytes with a fraction: 4096.0.
                    if let Ok(number) = text.strip_suffix(".0").unwrap_or(text).parse() {
                        json::integer(number, &mut value);
                    }
                }
                (Kind::Long, Leaf::Number(number)) => json::integer(number, &mut value),
                _ => {}
            }
            if !value.is_empty() && values.len() < MAX_PIVOT_VALUES && !values.contains(&value) {
                values.push(value);
            }
        });
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ocsf::{
        Actor, Api, ApiActivity, Metadata, NetworkActivity, NetworkEndpoint, Request, Session,
    };

    fn call<'a>() -> ApiActivity<'a> {
        let data = r#"{"bucketName":"b","instancesSet":{"items":[{"instanceId":"i-1"},{"instanceId":"i-2"},{"instanceId":"i-1"}]}}"#;
        ApiActivity {
            time: Some(1_714_564_800_000),
            metadata: Metadata { uid: Some("id \"1\""), ..Metadata::default() },
            api: Api {
                operation: Some("GetObject"),
                request: Request { uid: None, data: Some(data) },
                ..Api::default()
            },
            actor: Actor {
                session: Session { issuer: Some("arn:role/trailhound"), ..Session::default() },
                ..Actor::default()
            },
            unmapped: &[("readOnly", "true"), ("additionalEventData.bytesTransferredOut", "12.0")],
            ..ApiActivity::of(2, None)
        }
    }

    fn lines(documents: &Documents) -> Vec<serde_json::Value> {
        let lines = documents.text().split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    #[test]
    fn a_document_has_its_index_its_id_the_time_of_ingestion_and_pivots() {
        let indexing = Indexing::new(7, Rules::default(), &[]);
        let mut documents = Documents::default();
        documents.write(&indexing, &call());
        documents.write(&indexing, &call());
        documents.keep(3);
        documents.write(&indexing, &call());
        assert_eq!(documents.all().len(), 1, "what was not kept is no document");
        let lines = lines(&documents);
        let create = &lines[0]["create"];
        assert_eq!(create["_index"], "ocsf-1.1.0-6003-api_activity-2024.05");
        assert_eq!(create["_id"], "id \"1\"");
        assert_eq!((&lines[1]["ingested_time"], &lines[1]["class_uid"]), (&7.into(), &6003.into()));
        let pivot = serde_json::json!({
            "bucket": "b", "instance_uid": ["i-1", "i-2"], "read_only": true, "bytes_out": 12
        });
        assert_eq!(lines[1]["pivot"], pivot);
        assert_eq!(lines[1]["api"]["request"]["data"]["bucketName"], "b");
    }

    #[test]
    fn an_id_that_the_server_refuses_is_hashed() {
        let uid = "x".repeat(513);
        let metadata = Metadata { uid: Some(&uid), ..Metadata::default() };
        let event = ApiActivity { metadata, ..ApiActivity::of(1, None) };
        let mut documents = Documents::default();
        documents.write(&Indexing::new(7, Rules::default(), &[]), &event);
        documents.keep(0);
        let id = lines(&documents)[0]["create"]["_id"].as_str().unwrap().len();
        assert_eq!(id, 32);
    }

    #[test]
    fn rules_choose_by_class_source_and_attributes() {
        let rule = |text| Rule::parse(text).unwrap();
        let admits = |text| rule(text).admits(&call());
        assert!(admits("api_activity") && admits("*") && !admits("network_activity"));
        assert!(admits("api_activity:activity_id=2") && !admits("api_activity:activity_id!=2"));
        assert!(admits("*:actor.session.issuer=ARN:role/trailhound, api.operation=getobject"));
        assert!(admits("*:unmapped.readOnly=true") && admits("*:api.request.data.bucketName=b"));
        assert!(!admits("*:status=Success") && admits("*:status!=Success"));
        assert!(!admits("guardduty"), "its product is another");
        let flow = NetworkActivity {
            src_endpoint: NetworkEndpoint { port: Some(22), ..NetworkEndpoint::default() },
            ..NetworkActivity::of(6, None)
        };
        assert!(rule("network_activity:src_endpoint.port=22").admits(&flow));
        for wrong in ["flows", "api_activity:disposition=Blocked", "*:status", "*:unmapped=1", ""] {
            assert!(Rule::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn exceptions_come_after_what_is_wanted() {
        let rules = |only: &[&str], except: &[&str]| Rules {
            only: only.iter().map(|text| Rule::parse(text).unwrap()).collect(),
            except: except.iter().map(|text| Rule::parse(text).unwrap()).collect(),
        };
        let admits = |rules| Indexing::new(0, rules, &[]).admits(&call());
        assert!(admits(rules(&[], &[])));
        assert!(admits(rules(&["network_activity", "api_activity"], &[])));
        assert!(!admits(rules(&["network_activity"], &[])));
        assert!(!admits(rules(&["*"], &["*:actor.session.issuer=arn:role/trailhound"])));
    }

    #[test]
    fn every_pivot_is_made_of_attributes_that_some_class_has() {
        for path in PIVOTS.iter().flat_map(|pivot| pivot.from) {
            assert!(CLASSES.iter().any(|class| has(class.fields, path)), "{path}");
        }
    }
}
