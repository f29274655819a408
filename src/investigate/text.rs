//! A report for people at a terminal.
//!
//! # Input
//! A [`Report`].
//! # Maps to
//! The answer first, then what it rests on. Text of logs cannot move the cursor.
//! # Known gaps
//! Long lists are cut, and say so; `--format json` has all.
//! # Reference
//! Issue "Ask the lake": the order of the parts.

use std::fmt::Write as _;

use super::{
    radius::BlastRadius,
    report::Report,
    standing::Standing,
    story::{Included, Story, time_text},
    subject::Subject,
};
use crate::query::output::harmless;

/// Rows of a list that are shown.
const ROWS: usize = 200;

/// Who, what, when, from where, with which credentials, what was touched.
pub fn summary(
    subject: &Subject,
    story: &Story,
    radius: &BlastRadius,
    standing: &[Standing],
) -> String {
    let mut text = String::new();
    let Some((first, last)) = story.window() else {
        let why = story.entities.iter().find(|((_, value), _)| value == subject.value());
        let why = why.and_then(|(_, entity)| entity.why.split_once("; "));
        let (what, value) = (subject.what(), subject.value());
        return match why {
            Some((_, why)) => format!("The {what} {value} is not followed: {why}."),
            None => {
                format!("No calls and no findings have to do with the {what} {value}, but flows.")
            }
        };
    };
    let calls: Vec<&Included> = story.calls.values().collect();
    let _ = write!(text, "Between {} and {}, ", time_text(first), time_text(last));
    if calls.is_empty() {
        let _ = write!(
            text,
            "{} and no calls belong together. ",
            counted(story.findings.len(), "finding")
        );
    } else {
        let principals = names(&calls, |one| one.call.principal());
        let addresses = names(&calls, |one| one.call.address());
        let keys = names(&calls, |one| one.call.key());
        let failed = calls.iter().filter(|one| one.call.error().is_some()).count();
        let _ = write!(
            text,
            "{} made {} ({failed} of them failed) from {} with {}. ",
            some_of(&principals, "nobody known"),
            counted(calls.len(), "call"),
            some_of(&addresses, "no known address"),
            some_of(&keys, "no access key"),
        );
    }
    let parts = [
        ("created", &radius.created),
        ("changed", &radius.changed),
        ("deleted", &radius.deleted),
        ("read data of", &radius.read),
    ];
    let told: Vec<String> = parts
        .iter()
        .filter(|(_, what)| !what.is_empty())
        .map(|(verb, what)| {
            let names: Vec<&str> = what.keys().map(String::as_str).collect();
            format!("{verb} {}", some_of(&names, ""))
        })
        .collect();
    if !told.is_empty() {
        let _ = write!(text, "It {}. ", told.join("; "));
    }
    if radius.bytes_out > 0 {
        let _ = write!(text, "S3 sent {} out. ", indicatif::HumanBytes(radius.bytes_out));
    }
    let _ = if standing.is_empty() {
        write!(text, "Nothing that was left behind is known to be standing.")
    } else {
        let things = counted(standing.len(), "thing");
        write!(text, "{things} may still stand; verify them live.")
    };
    text
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Distinct values in the order of time.
fn names<'c>(calls: &[&'c Included], of: impl Fn(&'c Included) -> Option<&'c str>) -> Vec<&'c str> {
    let mut all = Vec::new();
    for value in calls.iter().filter_map(|one| of(one)) {
        if !all.contains(&value) {
            all.push(value);
        }
    }
    all
}

fn some_of(values: &[&str], none: &str) -> String {
    const SHOWN: usize = 4;
    match values.len() {
        0 => none.to_owned(),
        count if count <= SHOWN => values.join(", "),
        count => format!("{} and {} more", values[..SHOWN].join(", "), count - SHOWN),
    }
}

impl Report {
    /// As text.
    pub fn text(&self) -> String {
        let mut out = String::new();
        self.write_head(&mut out);
        self.write_standing(&mut out);
        self.write_radius(&mut out);
        section(&mut out, "stages");
        for row in &self.stages {
            let operations: Vec<String> =
                row.operations.iter().map(|(what, count)| format!("{what} x{count}")).collect();
            let _ = writeln!(out, "{:<21} {}  {}", row.stage, row.first, operations.join(", "));
        }
        section(&mut out, "timeline");
        for row in self.timeline.iter().take(ROWS) {
            let _ = writeln!(
                out,
                "{}  {}  {}  {}  {}  {}  {}",
                row.time,
                row.what,
                row.outcome,
                harmless(&row.who),
                row.from,
                harmless(&row.resource),
                row.uid
            );
            let _ = writeln!(out, "    {:?}: {}", row.strength, harmless(&row.why));
        }
        cut(&mut out, self.timeline.len());
        self.write_network(&mut out);
        self.write_entities(&mut out);
        section(&mut out, "what could not be seen");
        for gap in &self.gaps {
            let mark = if gap.touches_story { "MISSING  " } else { "" };
            let _ = writeln!(out, "{mark}{}", harmless(&gap.what));
        }
        out.lines().map(|line| harmless(line) + "\n").collect()
    }

    fn write_head(&self, out: &mut String) {
        let _ =
            writeln!(out, "subject   {} {}", self.subject.what(), harmless(self.subject.value()));
        for finding in &self.findings {
            let sample = if finding.is_sample { "SAMPLE" } else { "real" };
            let _ = writeln!(
                out,
                "finding   {} {} ({sample}), {} to {}, exported {} times\n          {} {} {} {}\n          {}",
                finding.severity,
                finding.kind,
                finding.first,
                finding.last,
                finding.exports,
                finding.account,
                harmless(&finding.account_name),
                finding.region,
                harmless(&finding.account_labels.join(" ")),
                harmless(&finding.title),
            );
        }
        for row in &self.coverage {
            let _ = writeln!(out, "data      {} until {}", row.source, row.last);
        }
        let touching = self.gaps.iter().filter(|gap| gap.touches_story).count();
        let _ = writeln!(out, "gaps      {touching} touch this story");
        let _ = writeln!(out, "\n{}", self.summary);
    }

    fn write_standing(&self, out: &mut String) {
        section(out, "still standing (from logs: verify live)");
        for row in &self.still_standing {
            let until =
                row.until.as_ref().map(|until| format!(", until {until}")).unwrap_or_default();
            let used = row
                .last_used
                .as_ref()
                .map(|used| format!(", last used {used}"))
                .unwrap_or_default();
            let _ = writeln!(
                out,
                "{} {}  account {} {}  since {}{until}{used}  undo: {}",
                row.what,
                harmless(&row.which),
                row.account,
                row.region,
                row.since,
                row.undo
            );
        }
    }

    fn write_radius(&self, out: &mut String) {
        section(out, "blast radius");
        let radius = &self.blast_radius;
        let parts = [
            ("places", &radius.places),
            ("created", &radius.created),
            ("changed", &radius.changed),
            ("read", &radius.read),
            ("deleted", &radius.deleted),
            ("denied", &radius.denied),
        ];
        for (name, what) in parts {
            for (thing, count) in what {
                let _ = writeln!(out, "{name:<9} {} x{count}", harmless(thing));
            }
        }
        if radius.bytes_out > 0 {
            let _ = writeln!(out, "{:<9} {} sent by S3", "bytes", radius.bytes_out);
        }
    }

    fn write_network(&self, out: &mut String) {
        section(out, "network");
        for row in self.network.iter().take(ROWS) {
            let flows = &row.flows;
            let ports: Vec<String> = flows.ports.iter().map(ToString::to_string).collect();
            let _ = writeln!(
                out,
                "{}  {} -> {}  {} {}  {} flows, {} bytes  ports {}  {} {}",
                row.first_time,
                or_dash(&flows.src_ip),
                or_dash(&flows.dst_ip),
                flows.direction,
                flows.action,
                flows.count,
                flows.bytes,
                ports.join(" "),
                flows.account,
                flows.interface
            );
        }
        cut(out, self.network.len());
    }

    fn write_entities(&self, out: &mut String) {
        section(out, "entities");
        for row in &self.entities {
            let seen = row.first.as_ref().zip(row.last.as_ref());
            let seen = seen.map(|(first, last)| format!("  {first} to {last}")).unwrap_or_default();
            let _ = writeln!(
                out,
                "{:<10} {}  {} calls{seen}  {}",
                row.role,
                harmless(&row.value),
                row.calls,
                harmless(&row.why)
            );
        }
        let usual = &self.usual;
        if let Some(since) = usual.baseline_since.as_ref().filter(|_| usual.calls > 0) {
            let _ = writeln!(
                out,
                "{} calls with these keys are as usual and left out (known since {since}); \
                 --include-usual shows them. An intruder on the instance looks usual too.",
                usual.calls
            );
        }
        for row in &usual.uses {
            let new = if row.news.is_empty() {
                String::new()
            } else {
                format!("  new: {}", row.news.join(", "))
            };
            let _ = writeln!(
                out,
                "usual      {} {} from {} with {}  {} calls  {} to {}{new}",
                row.key,
                harmless(&row.principal),
                row.address,
                harmless(&row.agent),
                row.calls,
                row.first,
                row.last
            );
        }
    }
}

/// A log without data names no ends.
fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

fn section(out: &mut String, name: &str) {
    let _ = writeln!(out, "\n{}", name.to_uppercase());
}

fn cut(out: &mut String, rows: usize) {
    if rows > ROWS {
        let _ = writeln!(out, "... {} more; --format json has all", rows - ROWS);
    }
}
