//! Sets of index keys: ranges side by side, with the algebra that conditions need.
//!
//! Invariants  R1: ranges are sorted, none is empty, and between two there is a gap; so equal sets are equal values. R2: all lie
//!             within `ALL`, which holds every key of every type, null last. R3: a set of points stays one: points of
//!             neighbouring integers do not touch, for there are byte strings between them.

#![forbid(unsafe_code)]

use super::source::KeyRange;
use crate::index::key::NULL;

/// Just above the key of null, which is above all others.
const END: [u8; NULL.len() + 1] = {
    let mut end = [0; NULL.len() + 1];
    let mut at = 0;
    while at < NULL.len() {
        end[at] = NULL[at];
        at += 1;
    }
    end
};

/// A set of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RangeSet(Vec<KeyRange>);

impl RangeSet {
    /// No key.
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    /// Every key, that of null too.
    pub(super) fn all() -> Self {
        Self::between(&[], &END)
    }

    /// Every key but that of null.
    pub(super) fn values() -> Self {
        Self::between(&[], &NULL)
    }

    /// The key of null.
    pub(super) fn null() -> Self {
        Self::between(&NULL, &END)
    }

    /// The keys from `low` to below `high`.
    pub(super) fn between(low: &[u8], high: &[u8]) -> Self {
        if low < high { Self(vec![KeyRange::new(low, high)]) } else { Self::none() }
    }

    /// The keys that start with `prefix`, which is text.
    pub(super) fn prefix(prefix: &[u8]) -> Self {
        // No byte of UTF-8 is 255, so the last one has a successor.
        let mut high = prefix.to_vec();
        match high.last_mut() {
            Some(last) => *last += 1,
            None => high.extend(NULL),
        }
        Self::between(prefix, &high)
    }

    /// These keys.
    pub(super) fn points(keys: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut keys: Vec<Vec<u8>> = keys.into_iter().collect();
        keys.sort_unstable();
        keys.dedup();
        Self(keys.into_iter().map(|key| KeyRange::new(&key, &[&key[..], &[0]].concat())).collect())
    }

    pub(super) fn ranges(&self) -> &[KeyRange] {
        &self.0
    }

    pub(super) fn into_ranges(self) -> Vec<KeyRange> {
        self.0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn is_all(&self) -> bool {
        matches!(&self.0[..], [range] if range.low.is_empty() && *range.high == END)
    }

    /// Whether every range is a single key.
    pub(super) fn is_points(&self) -> bool {
        self.0.iter().all(|range| range.single().is_some())
    }

    /// The keys in both.
    pub(super) fn intersect(self, other: &Self) -> Self {
        if other.is_all() {
            return self;
        }
        let (mut left, mut right) = (&self.0[..], &other.0[..]);
        let mut common = Vec::new();
        while let ([a, left_rest @ ..], [b, right_rest @ ..]) = (left, right) {
            let (low, high) = ((&a.low).max(&b.low), (&a.high).min(&b.high));
            if low < high {
                common.push(KeyRange { low: low.clone(), high: high.clone() });
            }
            if a.high <= b.high {
                left = left_rest;
            } else {
                right = right_rest;
            }
        }
        Self(common)
    }

    /// The keys in either.
    pub(super) fn unite(self, other: Self) -> Self {
        let mut ranges = [self.0, other.0].concat();
        ranges.sort_unstable_by(|a, b| a.low.cmp(&b.low));
        let mut united: Vec<KeyRange> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match united.last_mut() {
                Some(last) if range.low <= last.high => {
                    if range.high > last.high {
                        last.high = range.high;
                    }
                }
                _ => united.push(range),
            }
        }
        Self(united)
    }

    /// The other keys.
    pub(super) fn complement(self) -> Self {
        let mut low: Box<[u8]> = Box::default();
        let mut gaps = Vec::with_capacity(self.0.len() + 1);
        for range in self.0 {
            if low < range.low {
                gaps.push(KeyRange { low, high: range.low });
            }
            low = range.high;
        }
        if *low < END[..] {
            gaps.push(KeyRange { low, high: END.into() });
        }
        Self(gaps)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Short keys of few bytes, so that bounds meet.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        vec(prop_oneof![Just(0_u8), Just(1), Just(0xfe), Just(0xff)], 0..3)
    }

    fn set() -> impl Strategy<Value = RangeSet> {
        let piece = prop_oneof![
            (key(), key()).prop_map(|(low, high)| RangeSet::between(&low, &high)),
            vec(key(), 0..3).prop_map(RangeSet::points),
            Just(RangeSet::null()),
        ];
        vec(piece, 0..4).prop_map(|pieces| pieces.into_iter().fold(RangeSet::none(), RangeSet::unite))
    }

    fn has(set: &RangeSet, key: &[u8]) -> bool {
        set.ranges().iter().any(|range| range.contains(key))
    }

    fn is_sound(set: &RangeSet) -> bool {
        set.ranges().iter().all(|range| range.low < range.high)
            && set.ranges().windows(2).all(|pair| pair[0].high < pair[1].low)
    }

    proptest! {
        #[test]
        fn the_algebra_is_that_of_sets(a in set(), b in set(), key in key()) {
            let (united, common, rest) =
                (a.clone().unite(b.clone()), a.clone().intersect(&b), a.clone().complement());
            for set in [&united, &common, &rest] {
                prop_assert!(is_sound(set), "{:?}", set);
            }
            for key in [&key[..], &NULL] {
                prop_assert_eq!(has(&united, key), has(&a, key) || has(&b, key));
                prop_assert_eq!(has(&common, key), has(&a, key) && has(&b, key));
                prop_assert_eq!(has(&rest, key), !has(&a, key));
            }
            prop_assert_eq!(b.clone().intersect(&a), common);
            prop_assert_eq!(rest.complement(), a);
        }
    }

    #[test]
    fn whole_and_empty_sets() {
        assert!(RangeSet::values().unite(RangeSet::null()).is_all());
        assert_eq!(RangeSet::all().complement(), RangeSet::none());
        assert_eq!(RangeSet::values().complement(), RangeSet::null());
        assert!(RangeSet::null().is_points() && !RangeSet::values().is_points());
    }

    #[test]
    fn points_are_kept_apart() {
        let points = RangeSet::points([vec![2], vec![1], vec![2]]);
        assert!(points.is_points());
        assert_eq!(points.ranges().len(), 2);
    }

    #[test]
    fn a_prefix_holds_what_starts_with_it() {
        let set = RangeSet::prefix("ü".as_bytes());
        assert!(has(&set, "ü".as_bytes()) && has(&set, "üx".as_bytes()) && !has(&set, "ý".as_bytes()));
        assert_eq!(RangeSet::prefix(b""), RangeSet::values());
    }
}
