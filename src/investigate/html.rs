//! A report as one page for a browser.
//!
//! # Input
//! A [`Report`] with its documents.
//! # Maps to
//! HTML that needs nothing else: no network, no other file. All of it can be read without JavaScript,
//! which filters, sorts, zooms and opens all at once. The policy of the page runs that one script, by
//! its hash, so that text which somehow became markup still could not run. Same report, same bytes.
//! # Known gaps
//! The first `ROWS` calls are shown, and the page says so. Printed is what is open, and all rows.
//! # Reference
//! Issue "Ask the lake": the order of the parts. Policy: <https://www.w3.org/TR/CSP3/>.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use parsers::time::from_text;
use serde_json::Value;
use sha2::{Digest, Sha256};

mod graph;
mod markup;
mod parts;
mod timeline;

use super::{
    document::text,
    report::{FoundRow, Report, TimelineRow},
    story::Strength,
};
use markup::{Cell, Html, Row, short, table};

const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");
/// Calls that are shown.
const ROWS: usize = 5_000;

/// Ids of rows by the uid of their call or finding.
type Anchors<'r> = BTreeMap<&'r str, String>;

impl Report {
    /// As a page for a browser.
    pub fn html(&self) -> String {
        let shown = self.timeline.len().min(ROWS);
        let calls = self.timeline[..shown].iter().enumerate();
        let findings = self.findings.iter().enumerate();
        let anchors: Anchors<'_> = calls
            .map(|(at, row)| (row.uid.as_str(), format!("e{}", at + 1)))
            .chain(findings.map(|(at, row)| (row.uid.as_str(), format!("f{}", at + 1))))
            .collect();
        let mut out = Html::default();
        self.begin(&mut out);
        parts::header(&mut out, self);
        out.raw("<main>\n");
        section(&mut out, "findings", "Findings", "");
        self.found(&mut out, &anchors);
        parts::coverage(&mut out, self);
        section(&mut out, "summary", "What happened", "");
        out.raw("<p class=\"summary\">").text(&self.summary).raw("</p></section>\n");
        let note = "From logs: verify live.";
        section(&mut out, "standing", "Still standing", note);
        parts::standing(&mut out, self, &anchors);
        section(&mut out, "radius", "Blast radius", "");
        parts::radius(&mut out, self);
        section(&mut out, "stages", "Stages", "ATT&CK tactics, in the order of the matrix.");
        parts::stages(&mut out, self);
        let graph = graph::graph(self, &anchors);
        section(&mut out, "graph", "What led to what", "");
        parts::legend(&mut out);
        out.raw("<div class=\"picture\">\n").add(&graph).raw("</div></section>\n");
        section(&mut out, "timeline", "Timeline", "Times are UTC.");
        self.calls(&mut out, shown, &anchors);
        section(&mut out, "network", "Network", "Flows with addresses of the story.");
        parts::network(&mut out, self);
        section(&mut out, "entities", "Entities", "");
        parts::entities(&mut out, self);
        parts::usual(&mut out, self);
        section(&mut out, "unseen", "What could not be seen", "");
        parts::gaps(&mut out, self);
        parts::queries(&mut out, self);
        out.raw("</main>\n<script>").raw(SCRIPT).raw("</script>\n</body>\n</html>\n");
        out.into_string()
    }

    fn begin(&self, out: &mut Html) {
        let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
        out.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
        out.raw("<meta http-equiv=\"Content-Security-Policy\"").attr(
            "content",
            format_args!(
                "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src data:; \
                 base-uri 'none'; form-action 'none'",
                hash(STYLE),
                hash(SCRIPT)
            ),
        );
        out.raw(">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
        out.raw("<meta name=\"color-scheme\" content=\"light dark\">\n");
        out.raw("<meta name=\"referrer\" content=\"no-referrer\">\n<title>");
        out.text(self.subject.what()).raw(" ").text(short(self.subject.value()));
        out.raw(" - Trailhound</title>\n<style>").raw(STYLE).raw("</style>\n</head>\n<body>\n");
    }

    fn found(&self, out: &mut Html, anchors: &Anchors<'_>) {
        let columns = [
            ("severity", "narrow"),
            ("finding", "wide"),
            ("account", "place"),
            ("first seen", "time"),
            ("last seen", "time"),
            ("exports", "number"),
        ];
        let row = |row: &FoundRow| {
            let mut severity = Html::default();
            parts::severity(&mut severity, &row.severity);
            let sample = if row.is_sample { " (SAMPLE)" } else { "" };
            let account =
                if row.account_name.is_empty() { &row.account } else { &row.account_name };
            let mut detail = Html::of("<dl>");
            parts::fact(&mut detail, "uid", &row.uid);
            if !row.account_labels.is_empty() {
                parts::fact(&mut detail, "account", &row.account_labels.join(" "));
            }
            detail.raw("</dl>");
            self.document(&mut detail, &row.uid);
            Row {
                id: anchors.get(row.uid.as_str()).cloned().unwrap_or_default(),
                cells: vec![
                    Cell::from(severity).by(parts::rank(&row.severity)),
                    Cell::two(&format!("{}{sample}", row.kind), &row.title),
                    Cell::two(account, &format!("{} {}", row.account, row.region)),
                    Cell::time(&row.first),
                    Cell::time(&row.last),
                    Cell::count(row.exports),
                ],
                detail: Some(detail),
                ..Row::default()
            }
        };
        let rows: Vec<Row> = self.findings.iter().map(row).collect();
        table(out, "findings", &columns, &rows);
    }

    fn calls(&self, out: &mut Html, shown: usize, anchors: &Anchors<'_>) {
        out.raw("<div class=\"tools zoom js\"><button type=\"button\" data-zoom=\"in\">zoom in</button>");
        out.raw("<button type=\"button\" data-zoom=\"out\">zoom out</button>");
        out.raw("<button type=\"button\" data-zoom=\"left\" aria-label=\"earlier\">◀</button>");
        out.raw("<button type=\"button\" data-zoom=\"right\" aria-label=\"later\">▶</button>");
        out.raw("<button type=\"button\" data-zoom=\"all\">all</button><output class=\"range\">");
        out.raw(
            "</output><span class=\"hint\">Drag over a range, or Ctrl and the wheel. The table ",
        );
        out.raw(
            "follows.</span></div>\n<p class=\"legend\"><span class=\"good\">● succeeded</span> ",
        );
        out.raw("<span class=\"bad\">✕ failed</span> <span>○ weak link</span></p>\n");
        out.raw("<div class=\"picture\">\n");
        out.add(&timeline::timeline(self, shown, anchors)).raw("</div>\n");
        let columns = [
            ("time", "time"),
            ("stage", "stage"),
            ("call", "call"),
            ("outcome", "outcome"),
            ("who", "who"),
            ("from", "from"),
            ("where", "place"),
            ("why it is here", "why"),
        ];
        let row = |row: &TimelineRow| {
            let mut outcome = Html::default();
            parts::outcome(&mut outcome, &row.outcome);
            let account =
                if row.account_name.is_empty() { &row.account } else { &row.account_name };
            Row {
                id: anchors.get(row.uid.as_str()).cloned().unwrap_or_default(),
                time: from_text(&row.time),
                cells: vec![
                    Cell::time(&row.time),
                    Cell::text(row.stage)
                        .by(format_args!("{:02}", super::stages::order(row.stage))),
                    Cell::two(&row.what, short(&row.resource)),
                    Cell::from(outcome).by(&row.outcome),
                    Cell::two(short(&row.who), &row.key),
                    Cell::text(&row.from),
                    Cell::two(account, &row.region),
                    Cell::two(strength(row.strength), &row.why),
                ],
                detail: Some(self.detail(row)),
            }
        };
        let rows: Vec<Row> = self.timeline[..shown].iter().map(row).collect();
        table(out, "calls", &columns, &rows);
        if self.timeline.len() > shown {
            out.raw("<p class=\"note\">").count((self.timeline.len() - shown) as u64);
            out.raw(" later calls are not on this page; --format json and csv have all.</p>\n");
        }
        out.raw("</section>\n");
    }

    fn detail(&self, row: &TimelineRow) -> Html {
        let mut out = Html::of("<dl>");
        let agent =
            self.documents.get(&row.uid).and_then(|one| text(one, "http_request.user_agent"));
        let account = format!("{} {}", row.account, row.account_name);
        for (name, value) in [
            ("who", row.who.as_str()),
            ("access key", &row.key),
            ("user agent", agent.unwrap_or_default()),
            ("resource", &row.resource),
            ("account", account.trim_end()),
            ("class", &row.class),
            ("why", &row.why),
            ("uid", &row.uid),
            ("read from", &row.log_name),
        ] {
            if !value.is_empty() {
                parts::fact(&mut out, name, value);
            }
        }
        out.raw("</dl>");
        self.document(&mut out, &row.uid);
        out
    }

    /// The whole event; before it what was asked and answered, which the lake holds as text.
    fn document(&self, out: &mut Html, uid: &str) {
        let Some(document) = self.documents.get(uid) else { return };
        for (name, path) in [("request", "api.request.data"), ("response", "api.response.data")] {
            let parsed = text(document, path).and_then(|text| serde_json::from_str(text).ok());
            if let Some(value) = parsed.filter(|value: &Value| !value.is_null()) {
                json(out, name, &value);
            }
        }
        json(out, "OCSF event", document);
    }
}

fn json(out: &mut Html, name: &'static str, value: &Value) {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    out.raw("<h4>").text(name).raw("</h4><pre>").text(&text).raw("</pre>");
}

fn section(out: &mut Html, id: &'static str, name: &'static str, note: &'static str) {
    out.raw("<section id=\"").raw(id).raw("\"><h2>").text(name);
    if !note.is_empty() {
        out.raw(" <small>").text(note).raw("</small>");
    }
    out.raw("</h2>\n");
}

fn strength(strength: Strength) -> &'static str {
    match strength {
        Strength::Weak => "weak",
        Strength::Medium => "medium",
        Strength::Strong => "strong",
    }
}
