//! The calls of a story by stage and time, as a picture.
//!
//! # Input
//! A [`Report`].
//! # Maps to
//! SVG: a lane for the findings and one for each stage, a mark for each call, by shape whether it
//! succeeded. `page.js` zooms by moving the marks; their places are `data-f`, parts of the whole.
//! # Known gaps
//! Marks that are close stand in three rows, further ones upon each other until one zooms.
//! # Reference
//! <https://www.w3.org/TR/SVG2/>.

use parsers::time::{DAY_MS, from_text};

use super::{Anchors, markup::Html};
use crate::investigate::{
    report::Report,
    story::{Strength, time_text},
};

const WIDTH: f64 = 1200.0;
const LEFT: f64 = 142.0;
const RIGHT: f64 = 1188.0;
const TOP: f64 = 8.0;
const LANE: f64 = 32.0;
const BAR: f64 = 9.0;
/// Findings that are drawn.
const BARS: usize = 16;
/// Marks that are closer stand in another row.
const NEAR: f64 = 8.0;
/// Steps between ticks, in milliseconds; `page.js` has the same.
const STEPS: [i64; 18] = [
    1_000,
    5_000,
    15_000,
    30_000,
    60_000,
    300_000,
    900_000,
    1_800_000,
    3_600_000,
    10_800_000,
    21_600_000,
    43_200_000,
    DAY_MS,
    2 * DAY_MS,
    7 * DAY_MS,
    30 * DAY_MS,
    90 * DAY_MS,
    365 * DAY_MS,
];

/// Draws it; nothing if nothing has a time.
pub fn timeline(report: &Report, shown: usize, anchors: &Anchors<'_>) -> Html {
    let mut out = Html::default();
    let rows = &report.timeline[..shown.min(report.timeline.len())];
    let bars = &report.findings[..report.findings.len().min(BARS)];
    let called = rows.iter().map(|row| row.time.as_str());
    let found = bars.iter().flat_map(|one| [one.first.as_str(), one.last.as_str()]);
    let times: Vec<i64> = called.chain(found).filter_map(from_text).collect();
    let (Some(first), Some(last)) = (times.iter().min(), times.iter().max()) else { return out };
    let margin = ((last - first) / 50).max(1_000);
    let (from, until) = (first - margin, last + margin);
    let part = |time: &str| {
        let ms = from_text(time).unwrap_or(from);
        (ms - from) as f64 / (until - from) as f64
    };
    let x = |part: f64| LEFT + part * (RIGHT - LEFT);

    let lanes: Vec<&str> = report.stages.iter().map(|row| row.stage).collect();
    let begin = TOP + if bars.is_empty() { 0.0 } else { bars.len() as f64 * BAR + 12.0 };
    let bottom = begin + lanes.len() as f64 * LANE;
    out.raw("<svg class=\"timeline\" tabindex=\"0\" role=\"group\" aria-label=\"calls by stage\"");
    out.attr("viewBox", format_args!("0 0 {WIDTH} {}", bottom + 36.0));
    out.attr("data-from", from).attr("data-until", until);
    out.place("data-left", LEFT).place("data-right", RIGHT).place("data-bottom", bottom).raw(">\n");
    out.raw("<defs><clipPath id=\"plot\"><rect y=\"0\"").place("x", LEFT - 6.0);
    out.place("width", RIGHT - LEFT + 12.0).place("height", bottom + 36.0);
    out.raw("/></clipPath></defs>\n");

    if !bars.is_empty() {
        lane(&mut out, "Findings", TOP, begin - TOP - 4.0);
    }
    for (at, name) in lanes.iter().enumerate() {
        lane(&mut out, name, begin + at as f64 * LANE, LANE - 4.0);
    }
    out.raw("<g class=\"ticks\" clip-path=\"url(#plot)\">");
    ticks(&mut out, from, until, bottom);
    out.raw("</g>\n<g clip-path=\"url(#plot)\">\n");
    for (at, finding) in bars.iter().enumerate() {
        let (f, g) = (part(&finding.first), part(&finding.last));
        out.raw("<a class=\"bar\"");
        if let Some(anchor) = anchors.get(finding.uid.as_str()) {
            out.attr("href", format_args!("#{anchor}"));
        }
        out.raw("><title>").text(&format!(
            "{} {}\n{} to {}",
            finding.severity, finding.kind, finding.first, finding.last
        ));
        out.raw("</title><rect rx=\"2\" height=\"6\"").place("y", TOP + 5.0 + at as f64 * BAR);
        out.attr("data-f", format_args!("{f:.6}")).attr("data-g", format_args!("{g:.6}"));
        out.place("x", x(f)).place("width", (x(g) - x(f)).max(6.0)).raw("/></a>\n");
    }
    let mut near = vec![[f64::MIN; 3]; lanes.len()];
    for row in rows {
        let Some(lane) = lanes.iter().position(|lane| *lane == row.stage) else { continue };
        let f = part(&row.time);
        let ends = &mut near[lane];
        let free = ends.iter().position(|end| x(f) - end >= NEAR);
        let level = free.unwrap_or_else(|| {
            (0..3).min_by(|a, b| ends[*a].total_cmp(&ends[*b])).unwrap_or_default()
        });
        ends[level] = x(f);
        let y = begin + lane as f64 * LANE + (LANE - 4.0) / 2.0 + [0.0, -8.5, 8.5][level];
        let is_good = row.outcome == "Success";
        out.raw("<a class=\"mark ").raw(if is_good { "good" } else { "bad" });
        out.raw(if row.strength == Strength::Weak { " weak\"" } else { "\"" });
        if let Some(anchor) = anchors.get(row.uid.as_str()) {
            out.attr("href", format_args!("#{anchor}"));
        }
        out.attr("data-f", format_args!("{f:.6}")).place("data-y", y);
        out.attr("transform", format_args!("translate({:.1} {y:.1})", x(f))).raw("><title>");
        out.text(&format!("{} {}\n{} {}", row.time, row.what, row.outcome, row.resource));
        out.raw(if is_good {
            "</title><circle r=\"4\"/></a>\n"
        } else {
            "</title><path d=\"M-3.5-3.5L3.5 3.5M-3.5 3.5L3.5-3.5\"/></a>\n"
        });
    }
    out.raw("</g>\n<rect class=\"brush\" y=\"0\" width=\"0\"").place("height", bottom);
    out.raw("/></svg>\n");
    out
}

fn lane(out: &mut Html, name: &str, y: f64, height: f64) {
    out.raw("<rect class=\"lane\" rx=\"3\"").place("x", LEFT - 6.0).place("y", y);
    out.place("width", RIGHT - LEFT + 12.0).place("height", height).raw("/>");
    out.raw("<text class=\"name\" text-anchor=\"end\"").place("x", LEFT - 14.0);
    out.place("y", y + height / 2.0 + 4.0).raw(">").text(name).raw("</text>\n");
}

/// Round times.
fn ticks(out: &mut Html, from: i64, until: i64, bottom: f64) {
    let fits = |step: &&i64| (until - from) / **step <= 10;
    let step = STEPS.iter().find(fits).copied().unwrap_or((until - from) / 10);
    let mut day = String::new();
    let mut at = from.div_euclid(step) * step + step;
    while at <= until {
        let part = (at - from) as f64 / (until - from) as f64;
        let x = LEFT + part * (RIGHT - LEFT);
        out.raw("<line y1=\"0\"").place("x1", x).place("x2", x).place("y2", bottom).raw("/>");
        let text = time_text(at);
        let hour = &text[11..if step < 60_000 { 19 } else { 16 }];
        let anchor = "<text text-anchor=\"middle\"";
        if step < DAY_MS {
            out.raw(anchor).place("x", x).place("y", bottom + 13.0).raw(">").text(hour);
            out.raw("</text>");
        }
        if day != text[..10] {
            text[..10].clone_into(&mut day);
            out.raw(anchor).raw(" class=\"day\"").place("x", x).place("y", bottom + 28.0);
            out.raw(">").text(&day).raw("</text>");
        }
        at += step;
    }
}
