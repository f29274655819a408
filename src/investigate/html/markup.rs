//! HTML that text of logs cannot become part of.
//!
//! # Input
//! Markup that is written in this program (`&'static str`), and text of any origin.
//! # Maps to
//! [`Html`]: text is always escaped, because nothing but literals goes in as it is. Control characters
//! and those that turn the direction of reading are shown as `\u202e`.
//! # Known gaps
//! Letters of other alphabets that look alike are not told apart.
//! # Reference
//! <https://html.spec.whatwg.org/multipage/syntax.html#attributes-2>.

use std::fmt::{Display, Write as _};

use crate::query::output::is_direction;

/// A piece of a page.
#[derive(Debug, Default)]
pub struct Html(String);

impl Html {
    /// Of markup of this program.
    pub fn of(markup: &'static str) -> Self {
        Self(markup.to_owned())
    }

    /// Of a text.
    pub fn text_of(text: &str) -> Self {
        let mut html = Self::default();
        html.text(text);
        html
    }

    /// Adds markup of this program.
    pub fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Adds a text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\n' | '\t' => self.0.push(c),
                c if c.is_control() || is_direction(c) => {
                    let _ = write!(self.0, "\\u{:04x}", u32::from(c));
                }
                c => self.0.push(c),
            }
        }
        self
    }

    /// Adds ` name="value"`.
    pub fn attr(&mut self, name: &'static str, value: impl Display) -> &mut Self {
        self.raw(" ").raw(name).raw("=\"").text(&value.to_string()).raw("\"")
    }

    /// Adds an attribute that is a place or a length in a picture.
    pub fn place(&mut self, name: &'static str, value: f64) -> &mut Self {
        self.attr(name, format_args!("{value:.1}"))
    }

    /// Adds a number, by thousands.
    pub fn count(&mut self, count: u64) -> &mut Self {
        self.text(&thousands(count))
    }

    /// Adds a piece.
    pub fn add(&mut self, piece: &Self) -> &mut Self {
        self.0.push_str(&piece.0);
        self
    }

    /// Adds a time; the page shows seconds, and the whole of it to who asks.
    pub fn time(&mut self, time: &str) -> &mut Self {
        let short = time.get(..19).unwrap_or(time).replacen('T', " ", 1);
        self.raw("<time").attr("datetime", time).attr("title", time).raw(">");
        self.text(&short).raw("</time>")
    }

    /// The page.
    pub fn into_string(self) -> String {
        self.0
    }
}

/// `12,345`.
pub fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What an ARN is of, without partition, service, region and account; other text as it is.
pub fn short(value: &str) -> &str {
    match value.strip_prefix("arn:").and_then(|rest| rest.splitn(5, ':').nth(4)) {
        Some(name) if !name.is_empty() => name,
        _ => value,
    }
}

/// The account that an ARN names.
pub fn account_of(value: &str) -> &str {
    value.strip_prefix("arn:").and_then(|rest| rest.split(':').nth(3)).unwrap_or_default()
}

/// A cell of a table.
#[derive(Debug, Default)]
pub struct Cell {
    html: Html,
    sort: Option<String>,
}

impl Cell {
    /// A text.
    pub fn text(text: &str) -> Self {
        Html::text_of(text).into()
    }

    /// A time.
    pub fn time(time: &str) -> Self {
        let mut html = Html::default();
        html.time(time);
        Self { html, sort: Some(time.to_owned()) }
    }

    /// A number.
    pub fn count(count: u64) -> Self {
        Self { html: Html::text_of(&thousands(count)), sort: Some(count.to_string()) }
    }

    /// Two lines, the second one less loud.
    pub fn two(first: &str, second: &str) -> Self {
        let mut html = Html::text_of(first);
        if !second.is_empty() {
            html.raw("<small>").text(second).raw("</small>");
        }
        html.into()
    }

    /// Sorts by this instead of what is seen.
    pub fn by(mut self, sort: impl Display) -> Self {
        self.sort = Some(sort.to_string());
        self
    }
}

impl From<Html> for Cell {
    fn from(html: Html) -> Self {
        Self { html, sort: None }
    }
}

/// A row of a table.
#[derive(Debug, Default)]
pub struct Row {
    /// Where links go to.
    pub id: String,
    /// When, in milliseconds, if the row belongs to the picture of times.
    pub time: Option<i64>,
    /// One for each column.
    pub cells: Vec<Cell>,
    /// What is shown when the row is opened.
    pub detail: Option<Html>,
}

impl From<Vec<Cell>> for Row {
    fn from(cells: Vec<Cell>) -> Self {
        Self { cells, ..Self::default() }
    }
}

/// Writes a table that can be filtered and sorted; a column has a name and a class.
pub fn table(
    out: &mut Html,
    name: &'static str,
    columns: &[(&'static str, &'static str)],
    rows: &[Row],
) {
    if rows.is_empty() {
        out.raw("<p class=\"none\">Nothing.</p>\n");
        return;
    }
    let opens = rows.iter().any(|row| row.detail.is_some());
    out.raw("<div class=\"sheet\"><div class=\"tools js\"><input type=\"search\" class=\"filter\"");
    out.attr("aria-label", format_args!("filter {name}")).raw(" placeholder=\"filter ");
    out.text(name).raw(if opens { ", events included\">" } else { "\">" });
    out.raw("<output class=\"shown\">").count(rows.len() as u64).raw("</output>");
    if opens {
        out.raw("<button type=\"button\" class=\"all\">open all</button>");
    }
    out.raw("</div>\n<table class=\"").raw(name).raw("\"><thead><tr>");
    if opens {
        out.raw("<th class=\"open\"><span class=\"unseen\">event</span></th>");
    }
    for (column, class) in columns {
        out.raw("<th scope=\"col\" class=\"").raw(class).raw("\">").text(column).raw("</th>");
    }
    out.raw("</tr></thead>\n");
    for row in rows {
        out.raw("<tbody");
        if !row.id.is_empty() {
            out.attr("id", &row.id);
        }
        if let Some(time) = row.time {
            out.attr("data-t", time);
        }
        out.raw("><tr>");
        if opens {
            out.raw("<td class=\"open\">");
            if row.detail.is_some() {
                out.raw("<input type=\"checkbox\" aria-label=\"show the event\">");
            }
            out.raw("</td>");
        }
        for ((column, class), cell) in columns.iter().zip(&row.cells) {
            out.raw("<td class=\"").raw(class).raw("\"").attr("data-label", column);
            if let Some(sort) = &cell.sort {
                out.attr("data-sort", sort);
            }
            out.raw(">").add(&cell.html).raw("</td>");
        }
        out.raw("</tr>");
        if let Some(detail) = &row.detail {
            out.raw("<tr class=\"doc\"><td").attr("colspan", columns.len() + 1).raw(">");
            out.add(detail).raw("</td></tr>");
        }
        out.raw("</tbody>\n");
    }
    out.raw("</table></div>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        let mut html = Html::of("<b");
        html.attr("title", "\"' onload=x").raw(">").text("</b><script>\u{202e}\u{0}&").raw("</b>");
        assert_eq!(
            html.into_string(),
            "<b title=\"&quot;&#39; onload=x\">&lt;/b&gt;&lt;script&gt;\\u202e\\u0000&amp;</b>"
        );
    }

    #[test]
    fn names_are_short_and_numbers_have_thousands() {
        assert_eq!(short("arn:aws:iam::444455556666:user/build-bot"), "user/build-bot");
        assert_eq!(short("arn:aws:s3:::bucket"), "bucket");
        assert_eq!(short("arn:broken"), "arn:broken");
        assert_eq!(account_of("arn:aws:iam::444455556666:user/build-bot"), "444455556666");
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
