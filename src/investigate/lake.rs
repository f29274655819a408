//! Answers an investigation from a lake.
//!
//! # Input
//! Look-ups.
//! # Maps to
//! SQL on the lake, and what it gives, as documents and sums.
//! # Known gaps
//! Of the resources of a call the first two are looked at.
//! # Reference
//! `query/events.rs` has the columns of the view.

use std::{collections::BTreeSet, sync::Mutex, sync::PoisonError};

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{DataType, Int64Type, TimeUnit},
};
use serde_json::Value;

use super::{
    CALLS, MAX_NEW_FLOWS, MAX_PORTS, MAX_TIME,
    lookup::{Calls, Coverage, Flows, Lookup, Range, Sender, Use},
};
use crate::query::{
    Lake, QueryError,
    events::{ON_BEHALF_OF, SOURCE_IDENTITY},
    literal,
};

const EXCLUDE: &str = "* EXCLUDE (region, accountid, eventday)";

/// A lake that is asked.
pub struct LakeLookup<'l> {
    lake: &'l Lake,
    asked: Mutex<Vec<String>>,
}

impl<'l> LakeLookup<'l> {
    /// Nothing was asked yet.
    pub fn new(lake: &'l Lake) -> Self {
        Self { lake, asked: Mutex::default() }
    }

    async fn ask(&self, sql: String) -> Result<Vec<RecordBatch>, QueryError> {
        let rows = self.lake.rows(&sql).await?;
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if !asked.contains(&sql) {
            asked.push(sql);
        }
        Ok(rows)
    }

    async fn documents(&self, sql: String) -> Result<Vec<Value>, QueryError> {
        let mut documents = Vec::new();
        for batch in self.ask(sql).await? {
            documents.extend(as_json(&batch)?);
        }
        Ok(documents)
    }
}

impl LakeLookup<'_> {
    /// Flows that meet a condition, summed up.
    async fn flow_sums(&self, condition: &str, rest: &str) -> Result<Vec<Flows>, QueryError> {
        let sql = format!(
            "SELECT account, interface_uid, instance_uid, src_ip, dst_ip, direction,\n  \
             operation AS action,\n  \
             array_join(array_sort(array_agg(DISTINCT least(src_port, dst_port))), ' ') AS ports,\n  \
             count(*) AS flows, sum(packets) AS packets, sum(bytes) AS bytes,\n  \
             min(time) AS first, max(time) AS last\nFROM events\n\
             WHERE {condition}\n  AND class = 'network_activity'\n\
             GROUP BY 1, 2, 3, 4, 5, 6, 7\n{rest}"
        );
        let mut flows = Vec::new();
        for batch in self.ask(sql).await? {
            let cells = Cells::new(&batch)?;
            flows.extend((0..batch.num_rows()).map(|row| Flows {
                account: cells.text(0, row),
                interface: cells.text(1, row),
                instance: cells.text(2, row),
                src_ip: cells.text(3, row),
                dst_ip: cells.text(4, row),
                direction: cells.text(5, row),
                action: cells.text(6, row),
                ports: ports(&cells.text(7, row)),
                count: cells.number(8, row) as u64,
                packets: cells.number(9, row) as u64,
                bytes: cells.number(10, row) as u64,
                first: cells.number(11, row),
                last: cells.number(12, row),
            }));
        }
        Ok(flows)
    }
}

impl Lookup for LakeLookup<'_> {
    type Error = QueryError;

    async fn calls(&self, wanted: &Calls, range: Range) -> Result<Vec<Value>, QueryError> {
        let mut documents = Vec::new();
        for class in CALLS {
            if let Some(condition) = condition(class, wanted) {
                let sql = format!(
                    "SELECT {EXCLUDE} FROM {class}\nWHERE ({condition})\n  AND {}",
                    within("time_dt", range)
                );
                documents.extend(self.documents(sql).await?);
            }
        }
        Ok(documents)
    }

    async fn uses(&self, wanted: &Calls) -> Result<Vec<Use>, QueryError> {
        let any = any([
            among("access_key", &wanted.keys),
            among("actor_arn", &wanted.principals),
            among("session_issuer", &wanted.principals),
            among("source_identity", &wanted.identities),
            among("on_behalf_of", &wanted.identities),
        ]);
        let Some(condition) = any else { return Ok(Vec::new()) };
        let sql = format!(
            "SELECT coalesce(source_identity, on_behalf_of) AS identity, access_key,\n  \
             coalesce(session_issuer, actor_arn) AS principal, src_ip, user_agent,\n  \
             array_join(array_agg(DISTINCT operation), ' ') AS operations,\n  \
             array_join(array_agg(DISTINCT region), ' ') AS regions,\n  \
             array_join(array_agg(DISTINCT extract(hour FROM time)), ' ') AS hours,\n  \
             count(*) AS calls, min(time) AS first, max(time) AS last\nFROM events\n\
             WHERE ({condition})\n  AND class IN ('api_activity', 'account_change', 'authentication')\n\
             GROUP BY 1, 2, 3, 4, 5\nORDER BY 1, 2, 3, 4, 5"
        );
        let mut uses = Vec::new();
        for batch in self.ask(sql).await? {
            let cells = Cells::new(&batch)?;
            uses.extend((0..batch.num_rows()).map(|row| Use {
                identity: cells.text(0, row),
                key: cells.text(1, row),
                principal: cells.text(2, row),
                address: cells.text(3, row),
                agent: cells.text(4, row),
                operations: cells.texts(5, row),
                regions: cells.texts(6, row),
                hours: cells.texts(7, row).iter().filter_map(|hour| hour.parse().ok()).collect(),
                count: cells.number(8, row) as u64,
                first: cells.number(9, row),
                last: cells.number(10, row),
            }));
        }
        Ok(uses)
    }

    async fn senders(
        &self,
        addresses: &BTreeSet<String>,
    ) -> Result<Vec<(String, Sender)>, QueryError> {
        let Some(condition) = among("src_ip", addresses) else { return Ok(Vec::new()) };
        let sql = format!(
            "SELECT src_ip,\n  \
             count(DISTINCT coalesce(session_issuer, actor_arn, actor_id)) AS principals,\n  \
             count(DISTINCT interface_uid) FILTER (WHERE operation = 'Denied') AS refused_by\n\
             FROM events\nWHERE {condition}\n  AND class <> 'detection_finding'\n\
             GROUP BY 1\nORDER BY 1"
        );
        let mut senders = Vec::new();
        for batch in self.ask(sql).await? {
            let cells = Cells::new(&batch)?;
            senders.extend((0..batch.num_rows()).map(|row| {
                let count = |column| cells.number(column, row) as u64;
                (cells.text(0, row), Sender { principals: count(1), refused_by: count(2) })
            }));
        }
        Ok(senders)
    }

    async fn findings(
        &self,
        accounts: &BTreeSet<String>,
        range: Range,
    ) -> Result<Vec<Value>, QueryError> {
        let mut sql =
            format!("SELECT {EXCLUDE} FROM detection_finding\nWHERE {}", within("time_dt", range));
        if let Some(condition) = among("cloud.account.uid", accounts) {
            sql = format!("{sql}\n  AND {condition}");
        }
        self.documents(sql).await
    }

    async fn flows(
        &self,
        addresses: &BTreeSet<String>,
        range: Range,
    ) -> Result<Vec<Flows>, QueryError> {
        let any = any([among("src_ip", addresses), among("dst_ip", addresses)]);
        let Some(condition) = any else { return Ok(Vec::new()) };
        let times = within("time", range);
        self.flow_sums(&format!("({condition})\n  AND {times}"), "ORDER BY 12, 1, 2, 4, 5, 6, 7, 3")
            .await
    }

    async fn new_flows(
        &self,
        interfaces: &BTreeSet<String>,
        instances: &BTreeSet<String>,
        accounts: &BTreeSet<String>,
        begin: i64,
        range: Range,
    ) -> Result<Vec<Flows>, QueryError> {
        let any = any([among("interface_uid", interfaces), among("instance_uid", instances)]);
        let Some(condition) = any else { return Ok(Vec::new()) };
        let rest = format!(
            "HAVING {}\nORDER BY 11 DESC, 4, 5, 6, 7, 1, 2, 3\nLIMIT {MAX_NEW_FLOWS}",
            within("min(time)", Range { since: begin, until: MAX_TIME })
        );
        let times = within("time", range);
        let mut condition = format!("({condition})\n  AND {times}");
        if let Some(of_accounts) = among("account", accounts) {
            condition = format!("{condition}\n  AND {of_accounts}");
        }
        self.flow_sums(&condition, &rest).await
    }

    async fn coverage(&self) -> Result<Vec<Coverage>, QueryError> {
        self.lake.coverage().await
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The first ports of a list.
fn ports(text: &str) -> Vec<i64> {
    text.split(' ').filter_map(|port| port.parse().ok()).take(MAX_PORTS).collect()
}

/// What a class has of this; None if it can have nothing.
fn condition(class: &str, wanted: &Calls) -> Option<String> {
    let issued = match class {
        "authentication" => among("session.credential_uid", &wanted.issued),
        "account_change" => among(
            "json_extract_scalar(api.response.data, '$.accessKey.accessKeyId')",
            &wanted.issued,
        )
        .map(|among| format!("(api.operation = 'CreateAccessKey' AND {among})")),
        _ => among(
            "json_extract_scalar(api.response.data, '$.credentials.accessKeyId')",
            &wanted.issued,
        )
        .map(|among| {
            format!("(api.operation IN ('GetSessionToken', 'GetFederationToken') AND {among})")
        }),
    };
    let resources = match class {
        "api_activity" => any([
            among("element_at(resources, 1).uid", &wanted.resources),
            among("element_at(resources, 2).uid", &wanted.resources),
        ]),
        _ => among("\"user\".uid", &wanted.resources),
    };
    let operations = among("api.operation", &wanted.operations).map(|operations| {
        match among("cloud.account.uid", &wanted.accounts) {
            Some(accounts) => format!("({operations} AND {accounts})"),
            None => operations,
        }
    });
    let launched = wanted.launched.iter().filter(|_| class == "api_activity").map(|instance| {
        let holds = like("%", instance, "%");
        Some(format!("(api.operation = 'RunInstances' AND api.response.data {holds})"))
    });
    let of_role = wanted
        .names
        .iter()
        .map(|name| Some(format!("actor.session.issuer {}", like("%/", name, ""))));
    let of_session = wanted.sessions.iter().map(|name| {
        let ends = like("%:assumed-role/%/", name, "");
        Some(format!("actor.user.uid {ends}"))
    });
    let requested = wanted
        .requested
        .iter()
        .map(|value| Some(format!("api.request.data {}", like("%\"", value, "\"%"))));
    any([
        among("actor.user.credential_uid", &wanted.keys),
        among("src_endpoint.ip", &wanted.addresses),
        among("actor.user.uid", &wanted.principals),
        among("actor.session.issuer", &wanted.principals),
        among("actor.user.name", &wanted.names),
        among("metadata.uid", &wanted.uids),
        among("element_at(unmapped, 'sharedEventID')", &wanted.shared_events),
        among(SOURCE_IDENTITY, &wanted.identities),
        among(ON_BEHALF_OF, &wanted.identities),
        issued,
        resources,
        operations,
    ]
    .into_iter()
    .chain(of_role)
    .chain(of_session)
    .chain(requested)
    .chain(launched))
}

/// A text between two patterns; names may have what a pattern gives a meaning.
fn like(before: &str, text: &str, after: &str) -> String {
    let text = text.replace('\\', r"\\").replace('%', r"\%").replace('_', r"\_");
    format!(r"LIKE {} ESCAPE '\'", literal(&format!("{before}{text}{after}")))
}

fn any(conditions: impl IntoIterator<Item = Option<String>>) -> Option<String> {
    let all: Vec<String> = conditions.into_iter().flatten().collect();
    (!all.is_empty()).then(|| all.join("\n  OR "))
}

fn among(column: &str, values: &BTreeSet<String>) -> Option<String> {
    let mut values = values.iter().map(|value| literal(value));
    let first = values.next()?;
    let rest: Vec<String> = values.collect();
    Some(if rest.is_empty() {
        format!("{column} = {first}")
    } else {
        format!("{column} IN ({first}, {})", rest.join(", "))
    })
}

/// A condition on a time; what is before and after everything is not said.
fn within(column: &str, range: Range) -> String {
    let bound = |op: &str, ms| {
        let text = String::from_utf8_lossy(&parsers::time::datetime(ms)).replace('T', " ");
        format!("{column} {op} TIMESTAMP '{}'", text.trim_end_matches('Z'))
    };
    let since = (range.since > 0).then(|| bound(">=", range.since));
    let until = (range.until < MAX_TIME).then(|| bound("<=", range.until));
    let bounds: Vec<String> = since.into_iter().chain(until).collect();
    if bounds.is_empty() { format!("{column} IS NOT NULL") } else { bounds.join(" AND ") }
}

/// Rows as JSON objects, nulls left out.
fn as_json(batch: &RecordBatch) -> Result<Vec<Value>, QueryError> {
    let mut text = Vec::new();
    let mut writer = arrow::json::LineDelimitedWriter::new(&mut text);
    let written = writer.write(batch).and_then(|()| writer.finish());
    written.map_err(|error| QueryError::Engine(error.to_string()))?;
    let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let parsed = lines.map(serde_json::from_slice).collect::<serde_json::Result<_>>();
    parsed.map_err(|error| QueryError::Engine(error.to_string()))
}

/// Cells of a result, as texts and numbers.
struct Cells {
    columns: Vec<arrow::array::ArrayRef>,
}

impl Cells {
    fn new(batch: &RecordBatch) -> Result<Self, QueryError> {
        let columns = batch.columns().iter().map(|column| {
            let kind = match column.data_type() {
                DataType::Timestamp(..) => DataType::Timestamp(TimeUnit::Millisecond, None),
                kind if kind.is_numeric() => DataType::Int64,
                _ => return arrow::compute::cast(column, &DataType::Utf8),
            };
            let number = arrow::compute::cast(column, &kind)?;
            arrow::compute::cast(&number, &DataType::Int64)
        });
        let columns = columns.collect::<Result<_, _>>();
        Ok(Self { columns: columns.map_err(|error| QueryError::Engine(error.to_string()))? })
    }

    fn text(&self, column: usize, row: usize) -> String {
        let texts = self.columns[column].as_string_opt::<i32>();
        let cell = texts.filter(|texts| !arrow::array::Array::is_null(texts, row));
        cell.map(|texts| texts.value(row).to_owned()).unwrap_or_default()
    }

    /// What a text lists, divided by spaces.
    fn texts(&self, column: usize, row: usize) -> BTreeSet<String> {
        self.text(column, row).split_whitespace().map(str::to_owned).collect()
    }

    fn number(&self, column: usize, row: usize) -> i64 {
        let numbers = self.columns[column].as_primitive_opt::<Int64Type>();
        let cell = numbers.filter(|numbers| !arrow::array::Array::is_null(numbers, row));
        cell.map(|numbers| numbers.value(row)).unwrap_or_default()
    }
}
