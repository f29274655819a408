//! Asks the Bloom filters of a file for the texts that a query looks up.
//!
//! # Input
//! Predicates on flat columns (see [`Pruner`](super::prune::Pruner)); footers; of each filter the one
//! block of 32 bytes that a text can be in.
//! # Maps to
//! Whether a row group may have rows.
//! # Known gaps
//! Texts only. A filter whose bytes are no power of two and a short header is not asked; this
//! program's writer makes none.
//! # Reference
//! <https://parquet.apache.org/docs/file-format/bloomfilter/>.

use std::{collections::BTreeSet, ops::Range};

use datafusion::{
    common::ScalarValue,
    logical_expr::{BinaryExpr, Expr, Operator, expr::InList},
};
use parquet::{
    arrow::async_reader::AsyncFileReader, bloom_filter::Sbbf, errors::ParquetError,
    file::metadata::ColumnChunkMetaData,
};
use xxhash_rust::xxh64::xxh64;

use super::{reader::FileReader, statistics::Columns};

/// Bytes of a block.
const BLOCK: u64 = 32;
/// Texts that are asked for, at most: of more it is likely that one is there.
const MAX_TEXTS: usize = 256;

/// What a query looks up: columns, and texts that rows may have there.
#[derive(Debug, Default)]
pub struct LookedUp {
    predicates: Vec<Expr>,
    texts: BTreeSet<(String, String)>,
}

impl LookedUp {
    /// Of predicates all of which rows have to meet.
    pub fn new(predicates: Vec<Expr>) -> Self {
        let mut texts = BTreeSet::new();
        for predicate in &predicates {
            collect(predicate, &mut texts);
        }
        if texts.len() > MAX_TEXTS {
            return Self::default();
        }
        Self { predicates, texts }
    }

    /// True if nothing is looked up.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// False if no row of the group can meet the predicates.
    pub async fn may_be_in(
        &self,
        columns: &Columns<'_>,
        group: usize,
        reader: &mut FileReader,
    ) -> Result<bool, ParquetError> {
        let block = |(name, text): &(String, String)| {
            let leaf = *columns.leaves.get(name.as_str())?;
            block(columns.footer.row_group(group).column(leaf), text)
        };
        let (asked, ranges): (Vec<_>, Vec<_>) =
            self.texts.iter().filter_map(|one| Some((one, block(one)?))).unzip();
        if asked.is_empty() {
            return Ok(true);
        }
        let blocks = reader.get_byte_ranges(ranges).await?;
        let is_absent = |((_, text), block): &(&(String, String), bytes::Bytes)| {
            !Sbbf::new(block).check(text.as_str())
        };
        let absent = asked.into_iter().zip(blocks).filter(is_absent).map(|(one, _)| one).collect();
        Ok(self.predicates.iter().all(|predicate| may_hold(predicate, &absent)))
    }
}

/// Where the block is that a text sets bits in; None if there is no filter.
fn block(column: &ColumnChunkMetaData, text: &str) -> Option<Range<u64>> {
    let offset = u64::try_from(column.bloom_filter_offset()?).ok()?;
    let length = u64::try_from(column.bloom_filter_length()?).ok()?;
    let bits = 1_u64 << length.checked_ilog2()?;
    let header = length - bits;
    if bits < BLOCK || header >= BLOCK {
        return None;
    }
    let hash = xxh64(text.as_bytes(), 0);
    let at = ((hash >> 32) * (bits / BLOCK)) >> 32;
    let start = offset + header + at * BLOCK;
    Some(start..start + BLOCK)
}

/// The column and the texts, one of which it has to be.
fn equals(expr: &Expr) -> Option<(&str, Vec<&str>)> {
    fn text(expr: &Expr) -> Option<&str> {
        match expr {
            Expr::Literal(value, _) => value.try_as_str().flatten(),
            _ => None,
        }
    }
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            let ((Expr::Column(column), value) | (value, Expr::Column(column))) =
                (left.as_ref(), right.as_ref())
            else {
                return None;
            };
            Some((&column.name, vec![text(value)?]))
        }
        Expr::InList(InList { expr, list, negated: false }) => {
            let Expr::Column(column) = expr.as_ref() else { return None };
            Some((&column.name, list.iter().map(text).collect::<Option<_>>()?))
        }
        _ => None,
    }
}

fn collect(expr: &Expr, texts: &mut BTreeSet<(String, String)>) {
    if let Some((column, values)) = equals(expr) {
        texts.extend(values.into_iter().map(|value| (column.to_owned(), value.to_owned())));
    } else if let Expr::BinaryExpr(BinaryExpr { left, op: Operator::And | Operator::Or, right }) =
        expr
    {
        collect(left, texts);
        collect(right, texts);
    }
}

/// False if it cannot be true without a text that is absent.
fn may_hold(expr: &Expr, absent: &BTreeSet<&(String, String)>) -> bool {
    if let Some((column, values)) = equals(expr) {
        let is_absent = |value: &&str| absent.contains(&(column.to_owned(), (*value).to_owned()));
        return !values.iter().all(is_absent);
    }
    match expr {
        Expr::Literal(value, _) => *value != ScalarValue::from(false),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            may_hold(left, absent) && may_hold(right, absent)
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            may_hold(left, absent) || may_hold(right, absent)
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{col, lit};

    use super::*;

    #[test]
    fn a_text_that_is_absent_rules_out_what_needs_it() {
        let gone = |column: &str, text: &str| (column.to_owned(), text.to_owned());
        let (a, b) = (gone("a", "1"), gone("b", "2"));
        let absent = BTreeSet::from([&a, &b]);
        let is_a = || col("a").eq(lit("1"));
        let is_b = || col("b").in_list(vec![lit("2")], false);
        let other = || col("c").gt(lit(3));
        assert!(!may_hold(&is_a(), &absent));
        assert!(!may_hold(&is_a().or(is_b()), &absent));
        assert!(!may_hold(&is_a().and(other()), &absent));
        assert!(may_hold(&is_a().or(other()), &absent));
        assert!(!may_hold(&is_a().or(lit(false)), &absent));
        assert!(may_hold(&is_a().or(lit(true)), &absent));
        assert!(may_hold(&col("b").in_list(vec![lit("2"), lit("3")], false), &absent));
        assert!(may_hold(&col("b").in_list(vec![lit("2")], true), &absent));
        assert!(may_hold(&Expr::Not(Box::new(is_a())), &absent));
    }
}
