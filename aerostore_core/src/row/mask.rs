//! Sets of columns as one word: which are null, which were changed.
#![forbid(unsafe_code)]

use super::kind::MAX_COLUMNS;

macro_rules! column_mask {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// No column.
            pub const EMPTY: Self = Self(0);

            /// The first `count` columns; all of them from 64 on.
            pub const fn first(count: usize) -> Self {
                if count >= MAX_COLUMNS { Self(u64::MAX) } else { Self((1 << count) - 1) }
            }

            /// Column `index` alone; no column when `index` is beyond 63.
            pub const fn of(index: usize) -> Self {
                if index < MAX_COLUMNS { Self(1 << index) } else { Self(0) }
            }

            /// Whether column `index` is in the set.
            #[inline]
            pub const fn contains(self, index: usize) -> bool {
                self.0 & Self::of(index).0 != 0
            }

            /// The set with column `index` too.
            #[inline]
            #[must_use]
            pub const fn with(self, index: usize) -> Self {
                Self(self.0 | Self::of(index).0)
            }

            /// The set without column `index`.
            #[inline]
            #[must_use]
            pub const fn without(self, index: usize) -> Self {
                Self(self.0 & !Self::of(index).0)
            }

            /// Puts column `index` in, or takes it out.
            #[inline]
            pub const fn set(&mut self, index: usize, member: bool) {
                *self = if member { self.with(index) } else { self.without(index) };
            }

            /// The columns in either set.
            #[inline]
            #[must_use]
            pub const fn union(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// How many columns are in the set.
            #[inline]
            pub const fn count(self) -> usize {
                self.0.count_ones() as usize
            }

            /// Whether no column is in the set.
            #[inline]
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// The columns in the set, ascending.
            #[inline]
            pub fn columns(self) -> impl Iterator<Item = usize> {
                let mut rest = self.0;
                std::iter::from_fn(move || {
                    let index = rest.trailing_zeros() as usize;
                    (rest != 0).then(|| {
                        rest &= rest - 1;
                        index
                    })
                })
            }
        }
    };
}

column_mask! {
    /// The columns of a row that are null: bit *i* for column *i*.
    NullMask
}

column_mask! {
    /// The columns of a row that were changed: bit *i* for column *i*.
    DirtyMask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_put_in() {
        let mut mask = DirtyMask::EMPTY.with(0).with(5).with(63);
        assert_eq!(mask.columns().collect::<Vec<_>>(), [0, 5, 63]);
        assert_eq!(mask.count(), 3);
        mask.set(5, false);
        assert!(!mask.contains(5) && mask.contains(63) && !mask.contains(64));
    }

    #[test]
    fn first_reaches_all_64() {
        assert_eq!(NullMask::first(0), NullMask::EMPTY);
        assert_eq!(NullMask::first(6).0, 0b11_1111);
        assert_eq!(NullMask::first(64).0, u64::MAX);
        assert_eq!(NullMask::first(64).columns().count(), 64);
        assert!(NullMask::of(64).is_empty());
    }
}
