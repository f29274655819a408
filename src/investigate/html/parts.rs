//! The parts of the page that are lists and tables.
//!
//! # Input
//! A [`Report`].
//! # Maps to
//! Sections in the order of the text report.
//! # Known gaps
//! None.
//! # Reference
//! Issue "Ask the lake": the answer first.

use std::collections::BTreeSet;

use super::{
    Anchors,
    markup::{Cell, Html, Row, short, table},
    strength,
};
use crate::investigate::{report::Report, story::Kind};

/// Name, the worst severity, the figures, and where to go on the page.
pub fn header(out: &mut Html, report: &Report) {
    out.raw("<header><p class=\"brand\">Trailhound investigation</p>\n<h1><small>");
    out.text(report.subject.what()).raw("</small> <span>").text(short(report.subject.value()));
    out.raw("</span></h1>\n<p class=\"badges\">");
    let worst = report.findings.iter().max_by_key(|row| rank(&row.severity));
    if let Some(worst) = worst {
        severity(out, &worst.severity);
        let samples = report.findings.iter().filter(|row| row.is_sample).count();
        out.raw(if samples == 0 {
            "<span class=\"badge\">real findings</span>"
        } else if samples == report.findings.len() {
            "<span class=\"badge loud\">SAMPLE findings, generated on request</span>"
        } else {
            "<span class=\"badge loud\">some findings are SAMPLES</span>"
        });
    }
    let touching = report.gaps.iter().filter(|gap| gap.touches_story).count();
    if touching == 0 {
        out.raw("<span class=\"badge\">no gap touches this story</span>");
    } else {
        out.raw("<a class=\"badge loud\" href=\"#unseen\">! ").count(touching as u64);
        out.raw(" gaps touch this story: the answer may change</a>");
    }
    out.raw("</p>\n");
    figures(out, report);
    out.raw("<nav>");
    for (link, name) in [
        ("#findings", "Findings"),
        ("#summary", "What happened"),
        ("#standing", "Still standing"),
        ("#radius", "Blast radius"),
        ("#stages", "Stages"),
        ("#graph", "What led to what"),
        ("#timeline", "Timeline"),
        ("#network", "Network"),
        ("#entities", "Entities"),
        ("#unseen", "Not seen"),
    ] {
        out.raw("<a href=\"").raw(link).raw("\">").text(name).raw("</a>");
    }
    out.raw("</nav></header>\n");
}

fn figures(out: &mut Html, report: &Report) {
    let failed = report.timeline.iter().filter(|row| row.outcome != "Success").count();
    let accounts: BTreeSet<(&str, &str)> = report
        .timeline
        .iter()
        .map(|row| (row.account.as_str(), row.account_name.as_str()))
        .chain(report.findings.iter().map(|row| (row.account.as_str(), row.account_name.as_str())))
        .filter(|(account, _)| !account.is_empty())
        .collect();
    let regions: BTreeSet<&str> = report.timeline.iter().map(|row| row.region.as_str()).collect();
    let names: Vec<&str> =
        accounts.iter().map(|(id, name)| if name.is_empty() { *id } else { *name }).collect();
    out.raw("<dl class=\"figures\">");
    let mut figure = |name: &'static str, value: &Html, below: &str| {
        out.raw("<div><dt>").text(name).raw("</dt><dd>").add(value);
        out.raw("<small>").text(below).raw("</small></dd></div>");
    };
    if let Some((first, last)) = &report.window {
        let mut value = Html::default();
        value.time(first);
        figure("from", &value, "UTC");
        let mut value = Html::default();
        value.time(last);
        figure("until", &value, "UTC");
    }
    let of = |count: usize| Html::text_of(&super::markup::thousands(count as u64));
    figure("calls", &of(report.timeline.len()), &format!("{failed} failed"));
    figure("accounts", &of(accounts.len()), &names.join(", "));
    let regions: Vec<&str> = regions.into_iter().filter(|region| !region.is_empty()).collect();
    figure("regions", &of(regions.len()), &regions.join(", "));
    let bytes = indicatif::HumanBytes(report.blast_radius.bytes_out).to_string();
    figure("sent out by S3", &Html::text_of(&bytes), "");
    figure("still standing", &of(report.still_standing.len()), "verify live");
    out.raw("</dl>\n");
}

/// A severity, its rank also by the number of bars.
pub fn severity(out: &mut Html, severity: &str) {
    let (class, bars) = match rank(severity) {
        0 => ("s0", "▯▯▯▯"),
        1 => ("s1", "▮▯▯▯"),
        2 => ("s2", "▮▮▯▯"),
        3 => ("s3", "▮▮▮▯"),
        _ => ("s4", "▮▮▮▮"),
    };
    out.raw("<span class=\"badge severity ").raw(class).raw("\"><span aria-hidden=\"true\">");
    out.raw(bars).raw("</span> ").text(severity).raw("</span>");
}

/// Higher is worse.
pub fn rank(severity: &str) -> u8 {
    match severity {
        "Low" => 1,
        "Medium" => 2,
        "High" => 3,
        "Critical" | "Fatal" => 4,
        _ => 0,
    }
}

/// `Success` or an error, by mark, colour and name.
pub fn outcome(out: &mut Html, outcome: &str) {
    if outcome == "Success" {
        out.raw("<span class=\"good\"><span aria-hidden=\"true\">✓</span> Success</span>");
    } else {
        out.raw("<span class=\"bad\"><span aria-hidden=\"true\">✕</span> ").text(outcome);
        out.raw("</span>");
    }
}

/// A name and a value of a list of facts.
pub fn fact(out: &mut Html, name: &'static str, value: &str) {
    out.raw("<dt>").text(name).raw("</dt><dd>").text(value).raw("</dd>");
}

/// Until when there are data.
pub fn coverage(out: &mut Html, report: &Report) {
    out.raw("<ul class=\"coverage\"><li>Data until</li>");
    for row in &report.coverage {
        out.raw("<li><b>").text(row.source).raw("</b> ").time(&row.last);
        out.raw("</li>");
    }
    out.raw("</ul></section>\n");
}

/// What may still be there.
pub fn standing(out: &mut Html, report: &Report, anchors: &Anchors<'_>) {
    let columns = [
        ("what", "stage"),
        ("which", "wide"),
        ("account", "place"),
        ("since", "time"),
        ("valid until", "time"),
        ("last used", "time"),
        ("undo", "undo"),
    ];
    let time = |time: &Option<String>| match time {
        Some(time) => Cell::time(time),
        None => Cell::text("–").by(""),
    };
    let rows: Vec<Row> = report
        .still_standing
        .iter()
        .map(|row| {
            let mut which = Html::default();
            match anchors.get(row.uid.as_str()) {
                Some(anchor) => {
                    which.raw("<a").attr("href", format_args!("#{anchor}")).raw(">");
                    which.text(&row.which).raw("</a>");
                }
                None => {
                    which.text(&row.which);
                }
            }
            Row::from(vec![
                Cell::text(&row.what),
                which.into(),
                Cell::two(&row.account, &row.region),
                Cell::time(&row.since),
                time(&row.until),
                time(&row.last_used),
                Cell::text(&row.undo),
            ])
        })
        .collect();
    table(out, "standing", &columns, &rows);
    out.raw("</section>\n");
}

/// What was touched.
pub fn radius(out: &mut Html, report: &Report) {
    let radius = &report.blast_radius;
    out.raw("<div class=\"cards\">");
    for (name, what) in [
        ("Created", &radius.created),
        ("Changed", &radius.changed),
        ("Read", &radius.read),
        ("Deleted", &radius.deleted),
        ("Denied", &radius.denied),
        ("Places", &radius.places),
    ] {
        out.raw("<div class=\"card\"><h3>").text(name).raw(" <small>");
        out.count(what.values().sum()).raw("</small></h3><ul>");
        for (thing, count) in what {
            out.raw("<li><span>").text(thing).raw("</span> <b>").count(*count).raw("</b></li>");
        }
        out.raw(if what.is_empty() { "<li class=\"none\">Nothing.</li>" } else { "" });
        out.raw("</ul></div>\n");
    }
    out.raw("</div></section>\n");
}

/// Tactics and what was called.
pub fn stages(out: &mut Html, report: &Report) {
    if report.stages.is_empty() {
        out.raw("<p class=\"none\">Nothing.</p></section>\n");
        return;
    }
    out.raw("<ol class=\"stages\">");
    for row in &report.stages {
        out.raw("<li><h3>").text(row.stage).raw(" <small>").count(row.operations.values().sum());
        out.raw("</small></h3><p class=\"span\">").time(&row.first).raw(" to ").time(&row.last);
        out.raw("</p><p class=\"chips\">");
        for (operation, count) in &row.operations {
            out.raw("<span>").text(operation);
            if *count > 1 {
                out.raw(" <b>×").count(*count).raw("</b>");
            }
            out.raw("</span> ");
        }
        out.raw("</p></li>\n");
    }
    out.raw("</ol></section>\n");
}

/// What boxes and curves mean.
pub fn legend(out: &mut Html) {
    out.raw(
        "<p class=\"legend\"><span class=\"r-suspicious\">▲ suspicious: all it did belongs to the ",
    );
    out.raw(
        "story</span> <span class=\"r-split\">◐ split: only what is unlike its usual use</span> ",
    );
    out.raw("<span>⇄ shared: many use it, not followed</span> <span>○ named</span> ");
    out.raw("<span class=\"k-gave_out\">━ gave out</span> <span class=\"k-used_from\">━ used from</span> ");
    out.raw("<span class=\"k-acts_as\">━ acts as</span> <span class=\"k-named_by\">┄ a finding names it");
    out.raw("</span></p>\n");
}

/// Traffic.
pub fn network(out: &mut Html, report: &Report) {
    let columns = [
        ("first", "time"),
        ("last", "time"),
        ("source", "from"),
        ("destination", "from"),
        ("ports", "wide"),
        ("action", "outcome"),
        ("flows", "number"),
        ("bytes", "number"),
        ("interface", "who"),
        ("account", "place"),
    ];
    let row = |row: &crate::investigate::report::NetworkRow| {
        let flows = &row.flows;
        let ports: Vec<String> = flows.ports.iter().map(ToString::to_string).collect();
        let mut action = Html::default();
        match flows.action.as_str() {
            "Allowed" => action.raw("<span class=\"good\">✓ Allowed</span>"),
            other => action.raw("<span class=\"bad\">✕ ").text(other).raw("</span>"),
        };
        Row::from(vec![
            Cell::time(&row.first_time),
            Cell::time(&row.last_time),
            Cell::text(&flows.src_ip),
            Cell::text(&flows.dst_ip),
            Cell::text(&ports.join(" ")),
            Cell::from(action).by(&flows.action),
            Cell::count(flows.count),
            Cell::count(flows.bytes),
            Cell::two(&flows.interface, &flows.instance),
            Cell::two(&flows.account, &flows.direction),
        ])
    };
    let rows: Vec<Row> = report.network.iter().map(row).collect();
    table(out, "network", &columns, &rows);
    out.raw("</section>\n");
}

/// Keys, principals, addresses and the rest.
pub fn entities(out: &mut Html, report: &Report) {
    let columns = [
        ("role", "narrow"),
        ("kind", "narrow"),
        ("entity", "wide"),
        ("calls", "number"),
        ("first seen", "time"),
        ("last seen", "time"),
        ("why it is here", "why"),
    ];
    let row = |row: &crate::investigate::report::EntityRow| {
        let (mark, class) = match row.role {
            "suspicious" => ("▲ ", "r-suspicious"),
            "split" => ("◐ ", "r-split"),
            "shared" => ("⇄ ", "r-shared"),
            _ => ("○ ", "r-named"),
        };
        let kind = match row.kind {
            Kind::AccessKey => "access key",
            Kind::Principal => "principal",
            Kind::Identity => "person",
            Kind::Address => "address",
            Kind::Instance => "instance",
            Kind::Interface => "interface",
            Kind::Resource => "resource",
            Kind::Finding => "finding",
        };
        let mut role = Html::of("<span class=\"");
        role.raw(class).raw("\">").raw(mark).text(row.role).raw("</span>");
        let time = |time: &Option<String>| match time {
            Some(time) => Cell::time(time),
            None => Cell::text("–").by(""),
        };
        Row::from(vec![
            Cell::from(role).by(row.role),
            Cell::text(kind),
            Cell::text(&row.value),
            Cell::count(row.calls),
            time(&row.first),
            time(&row.last),
            Cell::two(strength(row.strength), &row.why),
        ])
    };
    let rows: Vec<Row> = report.entities.iter().map(row).collect();
    table(out, "entities", &columns, &rows);
}

/// Ordinary use of the same keys.
pub fn usual(out: &mut Html, report: &Report) {
    let usual = &report.usual;
    if let Some(since) = usual.baseline_since.as_ref().filter(|_| usual.calls > 0) {
        out.raw("<p class=\"note\">").count(usual.calls);
        out.raw(" calls with these keys are as usual and not in the timeline; the keys are known since ");
        out.time(since).raw(". An intruder on the instance looks usual too.</p>\n");
    }
    if !usual.uses.is_empty() {
        let columns = [
            ("key", "who"),
            ("principal", "wide"),
            ("address", "from"),
            ("program", "wide"),
            ("calls", "number"),
            ("new about it", ""),
            ("first", "time"),
            ("last", "time"),
        ];
        let row = |row: &crate::investigate::report::UsualRow| {
            Row::from(vec![
                Cell::text(&row.key),
                Cell::text(&row.principal),
                Cell::text(&row.address),
                Cell::text(&row.agent),
                Cell::count(row.calls),
                Cell::text(&row.news.join(", ")),
                Cell::time(&row.first),
                Cell::time(&row.last),
            ])
        };
        let rows: Vec<Row> = usual.uses.iter().map(row).collect();
        table(out, "usual", &columns, &rows);
    }
    out.raw("</section>\n");
}

/// What could not be seen.
pub fn gaps(out: &mut Html, report: &Report) {
    out.raw("<ul class=\"gaps\">");
    for gap in &report.gaps {
        out.raw(if gap.touches_story { "<li class=\"missing\"><b>! missing</b> " } else { "<li>" });
        out.text(&gap.what).raw("</li>\n");
    }
    out.raw("</ul></section>\n");
}

/// What was asked.
pub fn queries(out: &mut Html, report: &Report) {
    out.raw("<section id=\"queries\"><details><summary>").count(report.queries.len() as u64);
    out.raw(" queries were asked; trailhound query runs them again</summary>\n");
    for query in &report.queries {
        out.raw("<pre>").text(query).raw("</pre>\n");
    }
    out.raw("</details></section>\n");
}
