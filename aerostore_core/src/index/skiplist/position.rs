//! Where a key and a row stand among the entries of an index, in a form that compares quickly.
//!
//! Layout      the first eight bytes of the key, big-endian and filled up with zeros, as a number; then a rank: the key's length
//!             (9 for all that are longer than eight), then the row; then, of a long key, the bytes behind the eighth. Of keys with
//!             the same first eight bytes the shorter is the smaller one, and of short ones the length says which it is.
#![forbid(unsafe_code)]

use crate::shm::ShmError;
use std::cmp::Ordering;
use std::ops::Bound;

/// Bytes of a key that stand in its prefix.
const PREFIX_BYTES: usize = size_of::<u64>();
/// The length that stands for all longer than the prefix.
const LONG: u64 = PREFIX_BYTES as u64 + 1;
/// Rows are multiples of 16 below 2^46.
const ROW_SHIFT: u32 = 4;
const ROW_BITS: u32 = 42;
const ROW_MASK: u64 = (1 << ROW_BITS) - 1;

/// A key's length, if it is short, and a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(u64);

impl Rank {
    /// Before every entry's.
    pub(super) const FIRST: Self = Self(0);
    /// Behind every entry's.
    pub(super) const LAST: Self = Self(u64::MAX);

    fn new(key: &[u8], row: u64) -> Self {
        Self::of(key.len().min(PREFIX_BYTES + 1) as u64, row)
    }

    const fn of(length: u64, row: u64) -> Self {
        Self(length << ROW_BITS | (row >> ROW_SHIFT & ROW_MASK))
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    #[inline]
    pub(super) fn row(self) -> u64 {
        (self.0 & ROW_MASK) << ROW_SHIFT
    }

    /// Bytes of a key that is not long.
    pub(super) fn short_length(self) -> usize {
        usize::try_from(self.0 >> ROW_BITS).map_or(PREFIX_BYTES, |length| length.min(PREFIX_BYTES))
    }

    /// Is there more of the key than its prefix?
    #[inline]
    pub(super) fn is_long(self) -> bool {
        self.0 >> ROW_BITS == LONG
    }

    /// Is its key one of this length, at most eight?
    #[inline]
    pub(super) fn is_of_length(self, length: u64) -> bool {
        self.0 >> ROW_BITS == length
    }

    /// The same key without a row: before all its entries.
    fn without_row(self) -> Self {
        Self(self.0 & !ROW_MASK)
    }

    /// A key of exactly the prefix, or one that is longer, without a row.
    fn of_length(length: u64) -> Self {
        Self(length << ROW_BITS)
    }
}

/// A place in the order of entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position<'k> {
    pub(super) prefix: u64,
    pub(super) rank: Rank,
    /// What a long key has behind its prefix.
    pub(super) tail: &'k [u8],
}

impl<'k> Position<'k> {
    /// Before every entry.
    pub(super) const FIRST: Self = Self { prefix: 0, rank: Rank::FIRST, tail: &[] };

    #[inline]
    pub(super) fn new(key: &'k [u8], row: u64) -> Self {
        let (prefix, tail) = if let Some((first, tail)) = key.split_first_chunk::<PREFIX_BYTES>() {
            (u64::from_be_bytes(*first), tail)
        } else {
            let mut first = [0; PREFIX_BYTES];
            first[..key.len()].copy_from_slice(key);
            (u64::from_be_bytes(first), &[][..])
        };
        Self { prefix, rank: Rank::new(key, row), tail }
    }

    /// The place of an entry whose key is a hash.
    #[inline]
    pub(super) fn of_hash(hash: u64, row: u64) -> Self {
        Self { prefix: hash, rank: Rank::of(PREFIX_BYTES as u64, row), tail: &[] }
    }

    /// Before every entry with one of these first bytes, or greater ones.
    #[inline]
    pub(super) fn of_prefix(prefix: u64) -> Self {
        Self { prefix, rank: Rank::FIRST, tail: &[] }
    }

    /// The same as `other`, which is no smaller?
    #[inline]
    pub(super) fn is(&self, prefix: u64, rank: Rank, tail: impl FnOnce() -> &'k [u8]) -> bool {
        self.prefix == prefix && self.rank == rank && (!rank.is_long() || self.tail == tail())
    }

    /// A short place behind `left`, and not behind `self`, an entry's that is greater.
    pub(super) fn separator(self, left: &Position<'_>) -> Self {
        if left.prefix != self.prefix {
            // Of a long key the prefix is enough.
            let rank = if self.rank.is_long() {
                Rank::of_length(PREFIX_BYTES as u64)
            } else {
                self.rank.without_row()
            };
            return Self { rank, tail: &[], ..self };
        }
        if !self.rank.is_long() {
            let same_key = left.rank.without_row() == self.rank.without_row();
            return if same_key { self } else { Self { rank: self.rank.without_row(), ..self } };
        }
        let common = if left.rank.is_long() { common_bytes(left.tail, self.tail) } else { 0 };
        match self.tail.get(..=common) {
            Some(tail) => Self { rank: Rank::of_length(LONG), tail, ..self },
            None => self, // the same key
        }
    }
}

fn common_bytes(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).take_while(|(left, right)| left == right).count()
}

/// Between two places: what is on its left, and what on its right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut<'k> {
    pub(super) at: Position<'k>,
    /// What stands exactly there is on its left.
    pub(super) is_behind: bool,
}

impl<'k> Cut<'k> {
    /// Behind every entry.
    pub(super) const END: Self =
        Self { at: Position { prefix: u64::MAX, rank: Rank::LAST, tail: &[] }, is_behind: true };

    #[inline]
    pub(super) fn before(at: Position<'k>) -> Self {
        Self { at, is_behind: false }
    }

    #[inline]
    pub(super) fn behind(at: Position<'k>) -> Self {
        Self { at, is_behind: true }
    }

    /// Where a range begins.
    pub(super) fn lower(bound: Bound<&'k [u8]>) -> Self {
        match bound {
            Bound::Included(key) => Self::before(Position::new(key, 0)),
            Bound::Excluded(key) => Self::behind(Position::new(key, u64::MAX)),
            Bound::Unbounded => Self::before(Position::FIRST),
        }
    }

    /// Where a range ends.
    pub(super) fn upper(bound: Bound<&'k [u8]>) -> Self {
        match bound {
            Bound::Included(key) => Self::behind(Position::new(key, u64::MAX)),
            Bound::Excluded(key) => Self::before(Position::new(key, 0)),
            Bound::Unbounded => Self::END,
        }
    }

    /// Is the place on the left? `tail` is asked for only when the first bytes do not tell.
    ///
    /// # Errors
    /// What `tail` says.
    #[inline]
    pub(super) fn is_right_of<'t>(
        &self,
        prefix: u64,
        rank: Rank,
        tail: impl FnOnce() -> Result<&'t [u8], ShmError>,
    ) -> Result<bool, ShmError> {
        if prefix != self.at.prefix {
            return Ok(prefix < self.at.prefix);
        }
        if rank.is_long() && self.at.rank.is_long() {
            match tail()?.cmp(self.at.tail) {
                Ordering::Equal => {}
                order => return Ok(order == Ordering::Less),
            }
        }
        Ok(rank < self.at.rank || (self.is_behind && rank == self.at.rank))
    }
}

/// The end of the range of all keys that begin with `prefix`: the first key behind them; none when there is no key behind them.
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(255)], 0..14)
    }

    fn is_left(a: &Position<'_>, cut: &Cut<'_>) -> bool {
        cut.is_right_of(a.prefix, a.rank, || Ok(a.tail)).unwrap()
    }

    proptest! {
        #[test]
        fn positions_sort_as_keys_and_rows((a, b) in (key(), key()), (r, s) in (1..3_u64, 1..3_u64)) {
            let (left, right) = ((&a, r * 16), (&b, s * 16));
            let (p, q) = (Position::new(left.0, left.1), Position::new(right.0, right.1));
            prop_assert_eq!(is_left(&p, &Cut::before(q)), left < right);
            prop_assert_eq!(is_left(&p, &Cut::behind(q)), left <= right);
            prop_assert_eq!(is_left(&p, &Cut::lower(Bound::Included(&b))), a < b);
            prop_assert_eq!(is_left(&p, &Cut::lower(Bound::Excluded(&b))), a <= b);
            prop_assert_eq!(is_left(&p, &Cut::upper(Bound::Included(&b))), a <= b);
            prop_assert_eq!(is_left(&p, &Cut::upper(Bound::Excluded(&b))), a < b);
            prop_assert!(is_left(&p, &Cut::END));
            prop_assert!(!is_left(&p, &Cut::before(Position::FIRST)));
            prop_assert_eq!(p.rank.row(), left.1);
        }

        #[test]
        fn separators_separate((a, b) in (key(), key()), (r, s) in (1..3_u64, 1..3_u64)) {
            let (left, right) = ((&a, r * 16), (&b, s * 16));
            prop_assume!(left < right);
            let (p, q) = (Position::new(&a, left.1), Position::new(&b, right.1));
            let middle = q.separator(&p);
            prop_assert!(is_left(&p, &Cut::before(middle)));
            prop_assert!(is_left(&middle, &Cut::behind(q)));
            prop_assert!(middle.tail.len() <= q.tail.len());
        }

        #[test]
        fn the_end_of_a_prefix_is_behind_all_that_begin_with_it(prefix in key(), key in key()) {
            let end = prefix_end(&prefix);
            let inside = key >= prefix && end.is_none_or(|end| key < end);
            prop_assert_eq!(inside, key.starts_with(&prefix));
        }
    }
}
