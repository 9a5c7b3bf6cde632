//! Estimates: how many rows have a key in a range, and what share of rows a condition lets through.
//!
//! Source      between the least and the greatest key, values are taken to be spread evenly, and all different keys to be
//!             equally frequent: Selinger et al., SIGMOD 1979. Where nothing is known, their fixed shares, somewhat sharper.

#![forbid(unsafe_code)]

use super::interval::Interval;
use super::predicate::{Leaf, Node, Test};
use super::ranges::RangeSet;
use super::source::{IndexStatistics, KeyRange};
use crate::index::key::{NULL, key_value};
use crate::row::ColumnType;

/// The share of rows that have one given value.
const EQUAL: f64 = 0.01;
/// The share of rows on one side of a bound.
const BOUND: f64 = 1.0 / 3.0;
/// The share of rows between two bounds.
const BETWEEN: f64 = 1.0 / 8.0;
/// The share of texts that fit a pattern.
const PATTERN: f64 = 0.1;
/// The share of nulls.
const NULLS: f64 = 0.05;

/// How many rows of an index on a column of type `kind` have a key in `ranges`.
pub(super) fn rows_in(index: &IndexStatistics, kind: ColumnType, ranges: &RangeSet) -> f64 {
    let rows: f64 = ranges.ranges().iter().map(|range| rows_in_range(index, kind, range)).sum();
    rows.min(count(index.rows))
}

fn rows_in_range(index: &IndexStatistics, kind: ColumnType, range: &KeyRange) -> f64 {
    let nulls = if range.contains(&NULL) { count(index.nulls.min(index.rows)) } else { 0.0 };
    let values = count(index.rows.saturating_sub(index.nulls));
    let per_key = match index.distinct {
        // Rows but no key: they have not been counted yet.
        0 => values * EQUAL,
        distinct => values / count(distinct),
    };
    let rows = match (&index.min, &index.max) {
        _ if values == 0.0 || *range.low >= NULL[..] => 0.0,
        (Some(min), Some(max)) if *range.low > **max || *range.high <= **min => 0.0,
        _ if range.single().is_some() => per_key,
        (Some(min), Some(max)) => {
            if range.low <= *min && range.high > *max {
                values
            } else {
                (values * share(kind, min, max, range)).max(per_key)
            }
        }
        _ => values * if range.low.is_empty() || *range.high == NULL { BOUND } else { BETWEEN },
    };
    rows + nulls
}

/// The part of the span that a range covers.
fn share(kind: ColumnType, min: &[u8], max: &[u8], range: &KeyRange) -> f64 {
    let low = (&*range.low).max(min);
    let high = (&*range.high).min(max);
    let common = min.iter().zip(max).take_while(|(a, b)| a == b).count();
    let place =
        |key: &[u8]| number(kind, key).unwrap_or_else(|| fraction(key.get(common..).unwrap_or_default()));
    let (first, last) = (place(min), place(max));
    let covered = (place(high) - place(low)) / (last - first);
    if covered.is_finite() { covered.clamp(0.0, 1.0) } else { 1.0 }
}

/// The number that a key stands for, or the nearest one to a bound that is longer than keys are.
fn number(kind: ColumnType, key: &[u8]) -> Option<f64> {
    let bytes = key.get(..kind.fixed_bytes() as usize).filter(|_| !kind.is_string())?;
    let value = key_value(kind, bytes).ok()?;
    value.as_value().as_f64().filter(|number| number.is_finite())
}

/// Bytes as a fraction, the first being the most significant.
fn fraction(bytes: &[u8]) -> f64 {
    bytes.iter().take(7).rev().fold(0.0, |rest, byte| (rest + f64::from(*byte)) / 256.0)
}

/// The share of rows for which `node` holds, when no index knows better.
pub(super) fn selectivity(node: &Node) -> f64 {
    match node {
        Node::Leaf(leaf) => of_leaf(leaf),
        Node::All(nodes) => nodes.iter().map(selectivity).product(),
        Node::Any(nodes) => 1.0 - nodes.iter().map(|node| 1.0 - selectivity(node)).product::<f64>(),
    }
}

fn of_leaf(leaf: &Leaf) -> f64 {
    let members = |count: usize| (EQUAL * f64::from(u32::try_from(count).unwrap_or(u32::MAX))).min(0.5);
    let passing = match &leaf.test {
        Test::Never => 0.0,
        Test::Within(_) if leaf.field.column_type() == ColumnType::Bool => 0.5,
        Test::Within(Interval::Int { low, high }) if low == high => EQUAL,
        Test::Within(Interval::Int { low, high }) => bounds(*low == i64::MIN, *high == i64::MAX),
        Test::Within(Interval::Float { low, high }) if low >= high => EQUAL,
        Test::Within(Interval::Float { low, high }) => bounds(low.is_infinite(), high.is_infinite()),
        Test::Within(Interval::Bytes { low, high: Some(high) }) if high.split_last() == Some((&0, low)) => {
            EQUAL
        }
        Test::Within(Interval::Bytes { low, high }) => bounds(low.is_empty(), high.is_none()),
        Test::Ints(set) => members(set.len()),
        Test::Floats(set) => members(set.len()),
        Test::Strings(set) => members(set.len()),
        Test::Glob(_) => PATTERN,
    };
    let values = if leaf.negated { 1.0 - passing } else { passing };
    values * (1.0 - NULLS) + if leaf.null_passes { NULLS } else { 0.0 }
}

fn bounds(open_low: bool, open_high: bool) -> f64 {
    match (open_low, open_high) {
        (true, true) => 1.0,
        (false, false) => BETWEEN,
        _ => BOUND,
    }
}

/// A count to reckon with.
#[expect(clippy::cast_precision_loss, reason = "estimates need no more than 53 bits")]
pub(super) fn count(number: u64) -> f64 {
    number as f64
}

/// A reckoned count, rounded.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rows are fewer than 2^53, and negative only by rounding"
)]
pub(super) fn rounded(number: f64) -> u64 {
    number.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::key::key_bytes;
    use crate::row::Value;

    fn key(value: Value<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        key_bytes(value, &mut bytes);
        bytes
    }

    fn index(min: Value<'_>, max: Value<'_>) -> IndexStatistics {
        IndexStatistics {
            column: 0,
            kind: crate::row::IndexKind::Ordered,
            rows: 1100,
            nulls: 100,
            distinct: 500,
            min: Some(key(min).into()),
            max: Some(key(max).into()),
        }
    }

    fn between(index: &IndexStatistics, kind: ColumnType, low: Value<'_>, high: Value<'_>) -> u64 {
        rounded(rows_in(index, kind, &RangeSet::between(&key(low), &key(high))))
    }

    #[test]
    fn numbers_are_spread_by_value_not_by_bits() {
        let lat = index(Value::F64(-90.0), Value::F64(90.0));
        assert_eq!(between(&lat, ColumnType::F64, Value::F64(-45.0), Value::F64(0.0)), 250);
        assert_eq!(between(&lat, ColumnType::F64, Value::F64(45.0), Value::F64(46.0)), 6);
        let altitude = index(Value::I32(0), Value::I32(40_000));
        assert_eq!(between(&altitude, ColumnType::I32, Value::I32(10_000), Value::I32(14_000)), 100);
        assert_eq!(between(&altitude, ColumnType::I32, Value::I32(-5), Value::I32(20_000)), 500);
        assert_eq!(between(&altitude, ColumnType::I32, Value::I32(41_000), Value::I32(50_000)), 0);
    }

    #[test]
    fn keys_nulls_and_the_whole() {
        let altitude = index(Value::I32(0), Value::I32(40_000));
        let rows = |ranges: &RangeSet| rounded(rows_in(&altitude, ColumnType::I32, ranges));
        assert_eq!(rows(&RangeSet::points([key(Value::I32(5)), key(Value::I32(6))])), 4);
        assert_eq!(rows(&RangeSet::points([key(Value::I32(-5))])), 0);
        assert_eq!(rows(&RangeSet::null()), 100);
        assert_eq!(rows(&RangeSet::values()), 1000);
        assert_eq!(rows(&RangeSet::all()), 1100);
    }

    #[test]
    fn keys_that_were_not_counted_yet_are_taken_to_be_many() {
        let mut altitude = index(Value::I32(0), Value::I32(40_000));
        altitude.distinct = 0;
        assert_eq!(between(&altitude, ColumnType::I32, Value::I32(10_000), Value::I32(14_000)), 100);
        let point = RangeSet::points([key(Value::I32(5))]);
        assert_eq!(rounded(rows_in(&altitude, ColumnType::I32, &point)), 10);
    }

    #[test]
    fn texts_are_spread_behind_what_they_share() {
        let ident = index(Value::Str("FL00"), Value::Str("FL99"));
        let half = between(&ident, ColumnType::String(9), Value::Str("FL00"), Value::Str("FL5"));
        assert!((450..650).contains(&half), "{half}");
    }
}
