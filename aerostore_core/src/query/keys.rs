//! The index keys of the rows that a condition may hold for.
//!
//! Rules       K1: for a column, every node of a condition has a set of keys: no row outside of it passes. A leaf on another column
//!             says nothing, `all` intersects and `any` unites. K2: a set is *exact* when every row within it passes;
//!             then rows reached by it need not be asked again. K3: bounds are rounded to what the column can hold, so that
//!             `> 3.5` on integers begins at 4.

#![forbid(unsafe_code)]

use super::field::int_limits;
use super::glob::Glob;
use super::interval::Interval;
use super::operand::{value_of_float, value_of_int};
use super::predicate::{Leaf, Node, Test};
use super::ranges::RangeSet;
use crate::index::key::{NULL, key_bytes};
use crate::row::{ColumnType, Value};

/// What a condition says about the key of one column.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KeySet {
    pub(super) ranges: RangeSet,
    /// K2.
    pub(super) exact: bool,
}

impl KeySet {
    /// The keys in `column` of the rows for which `node` may hold.
    pub(super) fn of(node: &Node, column: usize) -> Self {
        match node {
            Node::Leaf(leaf) if leaf.field.index() == column => of_leaf(leaf),
            Node::Leaf(_) => Self { ranges: RangeSet::all(), exact: false },
            Node::All(nodes) => {
                let all = Self { ranges: RangeSet::all(), exact: true };
                nodes.iter().map(|node| Self::of(node, column)).fold(all, |common, other| Self {
                    ranges: common.ranges.intersect(&other.ranges),
                    exact: common.exact && other.exact,
                })
            }
            Node::Any(nodes) => {
                let empty = Self { ranges: RangeSet::none(), exact: true };
                nodes.iter().map(|node| Self::of(node, column)).fold(empty, |united, other| Self {
                    ranges: united.ranges.unite(other.ranges),
                    exact: united.exact && other.exact,
                })
            }
        }
    }
}

fn of_leaf(leaf: &Leaf) -> KeySet {
    let kind = leaf.field.column_type();
    let (mut ranges, exact) = match &leaf.test {
        Test::Never => (RangeSet::none(), true),
        Test::Within(interval) => (of_interval(kind, interval), true),
        Test::Ints(set) => (points(set.iter().filter_map(|number| value_of_int(kind, *number))), true),
        Test::Floats(set) => (points(set.iter().filter_map(|number| value_of_float(kind, *number))), true),
        Test::Strings(set) => (RangeSet::points(set.iter().map(|bytes| stored(kind, bytes))), true),
        Test::Glob(glob) if kind.is_string() => of_glob(glob),
        Test::Glob(_) => (RangeSet::values(), false),
    };
    if leaf.negated {
        let rest = if exact { ranges.complement() } else { RangeSet::values() };
        ranges = rest.intersect(&RangeSet::values());
    }
    if leaf.null_passes {
        ranges = ranges.unite(RangeSet::null());
    }
    KeySet { ranges, exact }
}

fn points(values: impl Iterator<Item = crate::row::OwnedValue>) -> RangeSet {
    RangeSet::points(values.map(|value| key(value.as_value())))
}

fn key(value: Value<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    key_bytes(value, &mut bytes);
    bytes
}

/// The keys of the values in `interval`, for a column of type `kind`.
fn of_interval(kind: ColumnType, interval: &Interval) -> RangeSet {
    match interval {
        Interval::Int { low, high } => {
            let (least, greatest) = int_limits(kind);
            if *low > greatest || *high < least || low > high {
                return RangeSet::none();
            }
            let keys = closed(&int_key(kind, (*low).max(least)), &int_key(kind, (*high).min(greatest)));
            if low == high { keys } else { opened(keys, *low <= least, *high >= greatest) }
        }
        Interval::Float { low, high } => {
            let keys = match kind {
                ColumnType::F32 => {
                    closed(&key(Value::F32(round_up(*low))), &key(Value::F32(round_down(*high))))
                }
                _ => closed(&key(Value::F64(*low)), &key(Value::F64(*high))),
            };
            opened(keys, *low == f64::NEG_INFINITY, *high == f64::INFINITY)
        }
        Interval::Bytes { low, high } => {
            let high = high.as_ref().map_or_else(|| NULL.to_vec(), |high| stored(kind, high));
            RangeSet::between(&stored(kind, low), &high)
        }
    }
}

/// The keys from `low` to `high`, both included.
fn closed(low: &[u8], high: &[u8]) -> RangeSet {
    RangeSet::between(low, &[high, &[0]].concat())
}

/// The same keys without a bound where no value lies beyond it.
fn opened(keys: RangeSet, open_low: bool, open_high: bool) -> RangeSet {
    match keys.ranges() {
        [range] => RangeSet::between(
            if open_low { &[] } else { &range.low },
            if open_high { &NULL } else { &range.high },
        ),
        _ => keys,
    }
}

/// The key of an integer within the type's limits; of a character also where there is a gap between characters.
fn int_key(kind: ColumnType, number: i64) -> Vec<u8> {
    match kind {
        ColumnType::Char => u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes().to_vec(),
        _ => value_of_int(kind, number).map(|value| key(value.as_value())).unwrap_or_default(),
    }
}

/// The least `f32` that is at least `bound`.
#[expect(clippy::cast_possible_truncation, reason = "corrected where the nearest is not the one")]
fn round_up(bound: f64) -> f32 {
    let nearest = bound as f32;
    if f64::from(nearest) < bound { nearest.next_up() } else { nearest }
}

/// The greatest `f32` that is at most `bound`.
#[expect(clippy::cast_possible_truncation, reason = "corrected where the nearest is not the one")]
fn round_down(bound: f64) -> f32 {
    let nearest = bound as f32;
    if f64::from(nearest) > bound { nearest.next_down() } else { nearest }
}

/// Bytes as operands have them, as keys have them: an address of version 4 without the zeros behind it.
fn stored(kind: ColumnType, bytes: &[u8]) -> Vec<u8> {
    const V4_BYTES: usize = 5;
    let padded = super::field::INET_BYTES;
    match bytes {
        [4, ..] if kind == ColumnType::Inet && bytes.len() >= padded => {
            [&bytes[..V4_BYTES], &bytes[padded..]].concat()
        }
        _ => bytes.to_vec(),
    }
}

/// The keys of the texts that may fit a pattern, and whether all of them do.
fn of_glob(glob: &Glob) -> (RangeSet, bool) {
    let starts = glob.starts();
    if starts.whole {
        return (RangeSet::points(starts.texts.into_iter().map(String::into_bytes)), true);
    }
    let prefixes = starts.texts.iter().map(|text| RangeSet::prefix(text.as_bytes()));
    (prefixes.fold(RangeSet::none(), RangeSet::unite), starts.exact)
}

#[cfg(test)]
mod tests;
