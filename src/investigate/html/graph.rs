//! The entities of a story and what led to what, as a picture.
//!
//! # Input
//! A [`Report`].
//! # Maps to
//! SVG: a column for each kind of thing, in each the order of time; a curve for each link. The same
//! report gives the same picture.
//! # Known gaps
//! Of a column the first `ROWS` are drawn, and the picture says how many more there are. Where curves
//! are dense some have no label; pointed at, each tells what it is.
//! # Reference
//! <https://www.w3.org/TR/SVG2/>.

use std::collections::BTreeMap;

use super::{
    Anchors,
    markup::{Html, account_of, short, thousands},
};
use crate::investigate::{
    report::Report,
    story::{Kind, Link},
};

const WIDTH: f64 = 1360.0;
const NODE_WIDTH: f64 = 206.0;
const NODE_HEIGHT: f64 = 44.0;
const ROW: f64 = 64.0;
const TOP: f64 = 30.0;
/// Things of one kind that are drawn.
const ROWS: usize = 24;
/// Letters that fit into a box.
const LETTERS: usize = 22;
const COLUMNS: [&str; 5] = ["findings", "addresses", "access keys", "principals", "resources"];

struct Node<'r> {
    value: &'r str,
    label: &'r str,
    below: String,
    role: &'static str,
    why: &'r str,
    column: usize,
    /// Known ones first, in the order of time.
    order: (bool, &'r str),
    place: (f64, f64),
}

struct Edge<'r> {
    from: usize,
    to: usize,
    kind: &'static str,
    events: u64,
    evidence: &'r str,
    /// Where it leaves and arrives.
    ends: [(f64, f64); 2],
    /// Which side of the boxes: -1 left, 1 right.
    sides: [f64; 2],
}

/// Draws it; nothing if nothing is linked.
pub fn graph(report: &Report, anchors: &Anchors<'_>) -> Html {
    let mut out = Html::default();
    let (mut nodes, left_out) = nodes(report);
    let height = place(&mut nodes);
    let edges = edges(report, &nodes);
    if edges.is_empty() {
        return out;
    }
    out.raw("<svg class=\"graph\" role=\"img\" aria-label=\"entities and what led to what\"");
    out.attr("viewBox", format_args!("0 0 {WIDTH} {height}")).raw(">\n<defs>");
    for (kind, id) in
        [("gave_out", "m1"), ("used_from", "m2"), ("acts_as", "m3"), ("named_by", "m4"), ("", "m5")]
    {
        out.raw("<marker").attr("id", id).raw(" class=\"k-").raw(kind);
        out.raw(
            "\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\"",
        );
        out.raw(
            " markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\"/></marker>",
        );
    }
    out.raw("</defs>\n");
    let mut heads = BTreeMap::new();
    for node in &nodes {
        heads.insert(node.column, node.place.0);
    }
    for (column, x) in heads {
        out.raw("<text class=\"head\" y=\"14\"").place("x", x).raw(">").text(COLUMNS[column]);
        if left_out[column] > 0 {
            out.text(&format!(", {} more not drawn", left_out[column]));
        }
        out.raw("</text>");
    }
    let mut labels = Vec::new();
    for edge in &edges {
        draw_edge(&mut out, edge, &nodes, anchors, &mut labels);
    }
    for (at, node) in nodes.iter().enumerate() {
        draw_node(&mut out, at, node);
    }
    out.raw("</svg>\n");
    out
}

/// Links between things; that accounts log the same call is in the tables.
fn drawn(report: &Report) -> impl Iterator<Item = &Link> {
    report.links.iter().filter(|link| link.kind != "same_call")
}

fn nodes(report: &Report) -> (Vec<Node<'_>>, [usize; 5]) {
    let mut nodes: Vec<Node<'_>> = Vec::new();
    for finding in &report.findings {
        let (purpose, rest) = finding.kind.split_once(':').unwrap_or((&finding.kind, "finding"));
        nodes.push(Node {
            value: &finding.uid,
            label: purpose,
            below: format!("{} · {}", finding.severity, shortened(rest, 16)),
            role: "finding",
            why: &finding.title,
            column: 0,
            order: (false, &finding.first),
            place: (0.0, 0.0),
        });
    }
    for row in &report.entities {
        let column = match row.kind {
            Kind::Finding => continue,
            Kind::Address => 1,
            Kind::AccessKey => 2,
            Kind::Principal | Kind::Identity => 3,
            Kind::Instance | Kind::Interface | Kind::Resource => 4,
        };
        let calls = match row.calls {
            0 => account_of(&row.value).to_owned(),
            1 => "1 call".to_owned(),
            calls => format!("{} calls", thousands(calls)),
        };
        let gap = if calls.is_empty() { "" } else { " · " };
        nodes.push(Node {
            value: &row.value,
            label: short(&row.value),
            below: format!("{}{gap}{calls}", row.role),
            role: row.role,
            why: &row.why,
            column,
            order: (row.first.is_none(), row.first.as_deref().unwrap_or_default()),
            place: (0.0, 0.0),
        });
    }
    // A service that gives out a key is no entity.
    for link in drawn(report) {
        for value in [link.from.as_str(), link.to.as_str()] {
            if nodes.iter().any(|node| node.value == value) {
                continue;
            }
            nodes.push(Node {
                value,
                label: short(value),
                below: "named".to_owned(),
                role: "named",
                why: "a link names it",
                column: 3,
                order: (true, ""),
                place: (0.0, 0.0),
            });
        }
    }
    nodes.sort_by_key(|node| (node.column, node.order, node.value));
    let mut seen = [0; 5];
    nodes.retain(|node| {
        seen[node.column] += 1;
        seen[node.column] <= ROWS
    });
    (nodes, seen.map(|seen| seen.saturating_sub(ROWS)))
}

/// Gives every node its place; the height of the picture.
fn place(nodes: &mut [Node<'_>]) -> f64 {
    let mut rows = [0_usize; 5];
    for node in nodes.iter() {
        rows[node.column] += 1;
    }
    let used: Vec<usize> = (0..5).filter(|column| rows[*column] > 0).collect();
    let most = rows.iter().copied().max().unwrap_or(0) as f64;
    let gaps = used.len().saturating_sub(1).max(1) as f64;
    let step = ((WIDTH - 16.0 - NODE_WIDTH) / gaps).min(NODE_WIDTH + 160.0);
    let mut next = [0.0; 5];
    for node in nodes {
        let column = used.iter().position(|column| *column == node.column).unwrap_or(0) as f64;
        let above = (most - rows[node.column] as f64) * ROW / 2.0;
        node.place = (8.0 + column * step, TOP + above + next[node.column] * ROW);
        next[node.column] += 1.0;
    }
    TOP + most * ROW
}

/// Links between what is drawn, each once.
fn edges<'r>(report: &'r Report, nodes: &[Node<'r>]) -> Vec<Edge<'r>> {
    let at: BTreeMap<&str, usize> =
        nodes.iter().enumerate().map(|(at, node)| (node.value, at)).collect();
    let mut edges: Vec<Edge<'r>> = Vec::new();
    for link in drawn(report) {
        let (Some(from), Some(to)) = (at.get(link.from.as_str()), at.get(link.to.as_str())) else {
            continue;
        };
        let same = edges
            .last_mut()
            .filter(|edge| (edge.from, edge.to) == (*from, *to) && edge.kind == link.kind);
        if let Some(edge) = same {
            edge.events += 1;
            continue;
        }
        let (x, other) = (nodes[*from].place.0, nodes[*to].place.0);
        edges.push(Edge {
            from: *from,
            to: *to,
            kind: link.kind,
            events: 1,
            evidence: &link.evidence,
            ends: [(0.0, 0.0); 2],
            sides: if x < other {
                [1.0, -1.0]
            } else if x > other {
                [-1.0, 1.0]
            } else {
                [1.0, 1.0]
            },
        });
    }
    spread(&mut edges, nodes);
    edges
}

/// Where the other end is, the number of the edge, and whether it arrives (1) or leaves (0).
type End = (f64, usize, usize);

/// Ends at one side of a box lie in the order of where they come from.
fn spread(edges: &mut [Edge<'_>], nodes: &[Node<'_>]) {
    let mut sides: BTreeMap<(usize, bool), Vec<End>> = BTreeMap::new();
    for (number, edge) in edges.iter().enumerate() {
        for (end, (own, other)) in [(edge.from, edge.to), (edge.to, edge.from)].iter().enumerate() {
            let side = sides.entry((*own, edge.sides[end] > 0.0)).or_default();
            side.push((nodes[*other].place.1, number, end));
        }
    }
    for ((node, is_right), mut ends) in sides {
        ends.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
        let middle = (ends.len() as f64 - 1.0) / 2.0;
        let step = (NODE_HEIGHT - 12.0) / (ends.len() as f64).max(4.0);
        let (x, y) = nodes[node].place;
        for (at, (_, number, end)) in ends.iter().enumerate() {
            let y = y + NODE_HEIGHT / 2.0 + (at as f64 - middle) * step;
            edges[*number].ends[*end] = (if is_right { x + NODE_WIDTH } else { x }, y);
        }
    }
}

fn draw_edge(
    out: &mut Html,
    edge: &Edge<'_>,
    nodes: &[Node<'_>],
    anchors: &Anchors<'_>,
    labels: &mut Vec<(f64, f64)>,
) {
    let [(x1, y1), (x2, y2)] = edge.ends;
    let reach = if edge.sides[0] > 0.0 && edge.sides[1] > 0.0 && (x1 - x2).abs() < 1.0 {
        34.0 + (y1 - y2).abs() * 0.12
    } else {
        ((x2 - x1).abs() * 0.45).max(24.0)
    };
    let (cx1, cx2) = (x1 + edge.sides[0] * reach, x2 + edge.sides[1] * reach);
    let (from, to) = (&nodes[edge.from], &nodes[edge.to]);
    let words = edge.kind.replace('_', " ");
    let anchor = anchors.get(edge.evidence);
    let (tag, marker) = match edge.kind {
        "gave_out" => ("k-gave_out", "url(#m1)"),
        "used_from" => ("k-used_from", "url(#m2)"),
        "acts_as" => ("k-acts_as", "url(#m3)"),
        "named_by" => ("k-named_by", "url(#m4)"),
        _ => ("k-other", "url(#m5)"),
    };
    // Findings name what is right of them: their links are read from the box.
    let words = if edge.kind == "named_by" { "names".to_owned() } else { words };
    out.raw(if anchor.is_some() { "<a" } else { "<g" }).raw(" class=\"edge ").raw(tag).raw("\"");
    out.attr("data-a", edge.from).attr("data-b", edge.to);
    if let Some(anchor) = anchor {
        out.attr("href", format_args!("#{anchor}"));
    }
    out.raw("><title>").text(&format!(
        "{} {words} {}\n{} events, the first one is {}",
        from.value, to.value, edge.events, edge.evidence
    ));
    out.raw("</title><path fill=\"none\"").attr(
        "d",
        format_args!("M{x1:.1} {y1:.1}C{cx1:.1} {y1:.1} {cx2:.1} {y2:.1} {x2:.1} {y2:.1}"),
    );
    out.raw(" marker-end=\"").raw(marker).raw("\"/>");
    if edge.kind != "named_by" {
        // On the curve, where no other label is.
        let curve = |t: f64, [a, b, c, d]: [f64; 4]| {
            let s = 1.0 - t;
            s * s * s * a + 3.0 * s * s * t * b + 3.0 * s * t * t * c + t * t * t * d
        };
        let at = |t| (curve(t, [x1, cx1, cx2, x2]), curve(t, [y1, y1, y2, y2]) - 3.0);
        let is_free = |(x, y): &(f64, f64)| {
            let is_near = |(a, b): &(f64, f64)| (a - x).abs() < 66.0 && (b - y).abs() < 12.0;
            !labels.iter().any(is_near)
        };
        let places = [0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8].map(at);
        if let Some((x, y)) = places.into_iter().find(is_free) {
            labels.push((x, y));
            out.raw("<text text-anchor=\"middle\"").place("x", x).place("y", y).raw(">");
            out.text(&words);
            if edge.events > 1 {
                out.text(" ×").count(edge.events);
            }
            out.raw("</text>");
        }
    }
    out.raw(if anchor.is_some() { "</a>\n" } else { "</g>\n" });
}

fn draw_node(out: &mut Html, at: usize, node: &Node<'_>) {
    let (x, y) = node.place;
    let mark = match node.role {
        "suspicious" => "▲ ",
        "split" => "◐ ",
        "shared" => "⇄ ",
        "finding" => "◆ ",
        _ => "○ ",
    };
    out.raw("<g class=\"node r-").raw(node.role).raw("\"").attr("data-n", at);
    out.attr("transform", format_args!("translate({x:.1} {y:.1})")).raw("><title>");
    out.text(&format!("{}\n{}", node.value, node.why)).raw("</title><rect rx=\"6\"");
    out.place("width", NODE_WIDTH).place("height", NODE_HEIGHT).raw("/>");
    out.raw("<text class=\"label\" x=\"10\" y=\"18\">")
        .text(&shortened(node.label, LETTERS))
        .raw("</text>");
    out.raw("<text class=\"below\" x=\"10\" y=\"34\">").raw(mark).text(&node.below);
    out.raw("</text></g>\n");
}

/// The begin and the end of a long name.
fn shortened(label: &str, most: usize) -> String {
    let letters: Vec<char> = label.chars().collect();
    if letters.len() <= most {
        return label.to_owned();
    }
    let (begin, end) = (most / 2, most - most / 2 - 1);
    let mut text: String = letters[..begin].iter().collect();
    text.push('…');
    text.extend(&letters[letters.len() - end..]);
    text
}
