//! Places: which of some rows are meant, as a word of bits.

#![forbid(unsafe_code)]

/// Places among at most [`Places::MAX`] rows, the first one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places(u64);

impl Places {
    /// The most rows.
    pub(super) const MAX: usize = u64::BITS as usize;

    /// No place.
    pub(super) const NONE: Self = Self(0);

    /// The first `count` places, of which there are at most [`Self::MAX`].
    #[inline]
    pub(super) fn first(count: usize) -> Self {
        Self(if count == 0 { 0 } else { u64::MAX >> (Self::MAX - count) })
    }

    /// The places for which `is_meant` is true of what stands there.
    #[inline]
    pub(super) fn of<T: Copy>(items: &[T], mut is_meant: impl FnMut(T) -> bool) -> Self {
        Self(items.iter().rev().fold(0, |all, item| all << 1 | u64::from(is_meant(*item))))
    }

    /// Those of them for which `is_meant` is true of what stands there.
    pub(super) fn filter_by<T: Copy>(self, items: &[T], mut is_meant: impl FnMut(T) -> bool) -> Self {
        Self(self.iter().fold(0, |all, place| all | u64::from(is_meant(items[place])) << place))
    }

    /// Those in both.
    #[inline]
    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those in either.
    #[inline]
    pub(super) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are not in `other`.
    #[inline]
    pub(super) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there are none.
    #[inline]
    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many there are.
    #[inline]
    pub(super) fn len(self) -> u64 {
        u64::from(self.0.count_ones())
    }

    /// The places, the first one first.
    #[inline]
    pub(super) fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let place = (left != 0).then(|| left.trailing_zeros() as usize);
            left &= left.wrapping_sub(1);
            place
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_in_order() {
        assert_eq!(Places::first(0), Places::NONE);
        assert_eq!(Places::first(3).iter().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(Places::first(Places::MAX).iter().count(), Places::MAX);
        let numbers: Vec<u32> = (0..64).collect();
        let even = Places::of(&numbers, |number| number % 2 == 0);
        let fours = even.filter_by(&numbers, |number| number % 4 == 0);
        assert_eq!(even.without(fours).or(fours), even);
        assert_eq!(even.and(fours), fours);
        assert_eq!(fours.iter().last(), Some(60));
    }
}
