//! Sets of values that a comparison lets through, in the form in which they are tested: an interval of one kind.
//!
//! Every bound becomes inclusive or, for bytes, half open, by going to the next value: of integers by one, of floats to
//! the neighbour, of byte strings by a zero byte at the end. So one test serves `<` and `<=`, and bounds intersect.

#![forbid(unsafe_code)]

use super::field::Kind;
use super::operand::Operand;

/// The values between two bounds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Interval {
    /// `low <= value <= high`.
    Int { low: i64, high: i64 },
    /// `low <= value <= high`.
    Float { low: f64, high: f64 },
    /// `low <= value < high`, without `high` up to the end.
    Bytes { low: Box<[u8]>, high: Option<Box<[u8]>> },
}

impl Interval {
    /// All values.
    pub(super) fn full(kind: Kind) -> Self {
        match kind {
            Kind::Int => Self::Int { low: i64::MIN, high: i64::MAX },
            Kind::Float => Self::Float { low: f64::NEG_INFINITY, high: f64::INFINITY },
            Kind::Bytes => Self::Bytes { low: Box::default(), high: None },
        }
    }

    /// No value.
    pub(super) fn empty(kind: Kind) -> Self {
        match kind {
            Kind::Int => Self::Int { low: i64::MAX, high: i64::MIN },
            Kind::Float => Self::Float { low: f64::INFINITY, high: f64::NEG_INFINITY },
            Kind::Bytes => Self::Bytes { low: Box::default(), high: Some(Box::default()) },
        }
    }

    /// Exactly `operand`.
    pub(super) fn exactly(kind: Kind, operand: &Operand) -> Self {
        Self::full(kind).at_least(operand, false).at_most(operand, false)
    }

    /// Byte strings that start with `prefix`.
    pub(super) fn prefix(prefix: &[u8]) -> Self {
        let kept = prefix.iter().rposition(|&byte| byte != u8::MAX);
        let high = kept.map(|last| {
            let mut high: Box<[u8]> = prefix[..=last].into();
            high[last] += 1;
            high
        });
        Self::Bytes { low: prefix.into(), high }
    }

    /// Those values of it that are at least `operand`, or with `strictly` greater; none when that is the null.
    pub(super) fn at_least(self, operand: &Operand, strictly: bool) -> Self {
        match (self, operand) {
            (Self::Int { low, high }, Operand::Int { floor, exact }) => {
                let bound = floor.saturating_add(i128::from(strictly || !exact));
                match i64::try_from(bound) {
                    Ok(bound) => Self::Int { low: low.max(bound), high },
                    Err(_) if bound < 0 => Self::Int { low, high },
                    Err(_) => Self::empty(Kind::Int),
                }
            }
            (Self::Float { low, high }, Operand::Float(bound)) => {
                Self::Float { low: low.max(if strictly { bound.next_up() } else { *bound }), high }
            }
            (Self::Bytes { low, high }, Operand::Bytes(bound)) => {
                let bound = if strictly { successor(bound) } else { bound.clone() };
                Self::Bytes { low: low.max(bound), high }
            }
            (interval, _) => Self::empty(interval.kind()),
        }
    }

    /// Those values of it that are at most `operand`, or with `strictly` less; all when that is the null, which is above
    /// every value.
    pub(super) fn at_most(self, operand: &Operand, strictly: bool) -> Self {
        match (self, operand) {
            (Self::Int { low, high }, Operand::Int { floor, exact }) => {
                let bound = floor.saturating_sub(i128::from(strictly && *exact));
                match i64::try_from(bound) {
                    Ok(bound) => Self::Int { low, high: high.min(bound) },
                    Err(_) if bound < 0 => Self::empty(Kind::Int),
                    Err(_) => Self::Int { low, high },
                }
            }
            (Self::Float { low, high }, Operand::Float(bound)) => {
                Self::Float { low, high: high.min(if strictly { bound.next_down() } else { *bound }) }
            }
            (Self::Bytes { low, high }, Operand::Bytes(bound)) => {
                let bound = if strictly { bound.clone() } else { successor(bound) };
                Self::Bytes { low, high: Some(high.map_or(bound.clone(), |high| high.min(bound))) }
            }
            (interval, _) => interval,
        }
    }

    /// The values in both; of two kinds, none.
    pub(super) fn intersect(self, other: Self) -> Self {
        match (self, other) {
            (Self::Int { low: a, high: b }, Self::Int { low, high }) => {
                Self::Int { low: low.max(a), high: high.min(b) }
            }
            (Self::Float { low: a, high: b }, Self::Float { low, high }) => {
                Self::Float { low: low.max(a), high: high.min(b) }
            }
            (Self::Bytes { low: a, high: b }, Self::Bytes { low, high }) => {
                let high = match (high, b) {
                    (Some(high), Some(b)) => Some(high.min(b)),
                    (high, b) => high.or(b),
                };
                Self::Bytes { low: low.max(a), high }
            }
            (interval, _) => Self::empty(interval.kind()),
        }
    }

    /// Whether no value is in it.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Int { low, high } => low > high,
            Self::Float { low, high } => low > high,
            Self::Bytes { low, high } => high.as_ref().is_some_and(|high| low >= high),
        }
    }

    #[inline]
    pub(super) fn has_bytes(low: &[u8], high: Option<&[u8]>, value: &[u8]) -> bool {
        value >= low && high.is_none_or(|high| value < high)
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Int { .. } => Kind::Int,
            Self::Float { .. } => Kind::Float,
            Self::Bytes { .. } => Kind::Bytes,
        }
    }
}

/// The least byte string above `bytes`.
fn successor(bytes: &[u8]) -> Box<[u8]> {
    [bytes, &[0]].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(number: i64) -> Operand {
        Operand::Int { floor: i128::from(number), exact: true }
    }

    #[test]
    fn integers_between_fractions() {
        let half = Operand::Int { floor: 10, exact: false };
        let full = Interval::full(Kind::Int);
        assert_eq!(full.clone().at_least(&half, false), Interval::Int { low: 11, high: i64::MAX });
        assert_eq!(full.clone().at_most(&half, true), Interval::Int { low: i64::MIN, high: 10 });
        assert!(Interval::exactly(Kind::Int, &half).is_empty());
        assert_eq!(Interval::exactly(Kind::Int, &int(7)), Interval::Int { low: 7, high: 7 });
    }

    #[test]
    fn integers_beyond_the_type() {
        let huge = Operand::Int { floor: i128::MAX, exact: true };
        let tiny = Operand::Int { floor: i128::MIN, exact: true };
        let full = Interval::full(Kind::Int);
        assert!(
            full.clone().at_least(&huge, true).is_empty() && full.clone().at_most(&tiny, true).is_empty()
        );
        assert_eq!(full.clone().at_least(&tiny, true).at_most(&huge, true), full);
        assert!(full.clone().at_least(&int(i64::MAX), true).is_empty());
        assert!(full.at_most(&int(i64::MIN), true).is_empty());
    }

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        let Interval::Bytes { low, high } = Interval::prefix(b"ab") else { panic!("bytes") };
        assert_eq!((&low[..], high.as_deref()), (&b"ab"[..], Some(&b"ac"[..])));
        assert_eq!(
            Interval::prefix(b"a\xff"),
            Interval::Bytes { low: (*b"a\xff").into(), high: Some((*b"b").into()) }
        );
        assert_eq!(Interval::prefix(b"\xff"), Interval::Bytes { low: (*b"\xff").into(), high: None });
        assert_eq!(Interval::prefix(b""), Interval::full(Kind::Bytes));
    }

    #[test]
    fn one_string_ends_before_the_next() {
        let abc = Operand::Bytes((*b"abc").into());
        let only = Interval::Bytes { low: (*b"abc").into(), high: Some((*b"abc\0").into()) };
        assert_eq!(Interval::exactly(Kind::Bytes, &abc), only);
        assert!(Interval::full(Kind::Bytes).at_least(&abc, true).at_most(&abc, false).is_empty());
    }
}
