//! A query as Athena takes it.
//!
//! # Input
//! SQL that asks tables named as the classes are, or the view over them.
//! # Maps to
//! The same text, with the view in front of it as a common table expression if it is asked.
//! # Known gaps
//! Security Lake's own tables have other names: make views on them that are named as the classes.
//! # Reference
//! <https://docs.aws.amazon.com/athena/latest/ug/select.html>; Athena's engine 3 is a Trino.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::{
    ast::{ObjectName, Statement, visit_relations},
    dialect::DuckDbDialect,
    parser::Parser,
};

use super::{
    super::events,
    fill::{FillError, Piece, pieces},
};

/// SQL without parameters, for Athena.
pub fn for_athena(sql: &str) -> Result<String, FillError> {
    let sql = sql.trim().trim_end_matches(';').trim_end();
    let statements = Parser::parse_sql(&DuckDbDialect {}, sql)
        .map_err(|error| FillError::Sql(error.to_string()))?;
    let [Statement::Query(query)] = statements.as_slice() else {
        return Err(FillError::Sql("expected one SELECT".into()));
    };
    let with = query.with.as_ref();
    let is_own =
        with.is_some_and(|with| with.cte_tables.iter().any(|cte| is_events(&cte.alias.name.value)));
    if is_own || !asks_events(&statements) {
        return Ok(format!("{sql}\n"));
    }
    let (head, body) = sql.split_at(start(sql));
    let view = events::sql().replace('\n', "\n  ");
    let view = format!("events AS (\n  {view}\n)");
    Ok(match with {
        None => format!("{head}WITH {view}\n{body}\n"),
        Some(with) => {
            let after = |text: &'_ str, word: &str| text[word.len()..].trim_start().to_owned();
            let body = after(body, "WITH");
            if with.recursive {
                format!("{head}WITH RECURSIVE {view},\n{}\n", after(&body, "RECURSIVE"))
            } else {
                format!("{head}WITH {view},\n{body}\n")
            }
        }
    })
}

fn is_events(name: &str) -> bool {
    name.eq_ignore_ascii_case(events::NAME)
}

fn asks_events(statements: &Vec<Statement>) -> bool {
    let found = visit_relations(statements, |name: &ObjectName| {
        let [part] = name.0.as_slice() else { return ControlFlow::Continue(()) };
        match part.as_ident() {
            Some(name) if is_events(&name.value) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    });
    found.is_break()
}

/// Where the statement starts, behind comments.
fn start(sql: &str) -> usize {
    let mut at = 0;
    for piece in pieces(sql) {
        match piece {
            Piece::Comment(text) => at += text.len(),
            Piece::Code(text) if text.trim().is_empty() => at += text.len(),
            Piece::Code(text) => return at + text.len() - text.trim_start().len(),
            Piece::Parameter(_) => return at,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_view_stands_in_front_of_what_asks_it() {
        let plain = for_athena("-- why\nSELECT uid FROM events;").unwrap();
        assert!(plain.starts_with("-- why\nWITH events AS (\n  SELECT\n"), "{plain}");
        assert!(plain.ends_with("FROM detection_finding\n)\nSELECT uid FROM events\n"), "{plain}");
        let with = for_athena("/* a */ with x AS (SELECT * FROM Events) SELECT * FROM x").unwrap();
        assert!(with.starts_with("/* a */ WITH events AS ("), "{with}");
        assert!(with.ends_with("\n),\nx AS (SELECT * FROM Events) SELECT * FROM x\n"), "{with}");
        let recursive = "WITH RECURSIVE x AS (SELECT uid FROM events) SELECT * FROM x";
        let recursive = for_athena(recursive).unwrap();
        assert!(recursive.starts_with("WITH RECURSIVE events AS ("), "{recursive}");
        assert!(recursive.contains("),\nx AS (SELECT uid"), "{recursive}");
        for alone in
            ["SELECT 1 FROM api_activity\n", "WITH events AS (SELECT 1) SELECT 2 FROM events\n"]
        {
            assert_eq!(for_athena(alone).unwrap(), alone);
        }
        assert!(for_athena("SELECT FROM WHERE").is_err());
    }
}
