//! Some values, of which there are mostly few: those need no memory but the stack's.
#![forbid(unsafe_code)]

use std::ops::Deref;

/// So many need no allocation.
const FEW: usize = 8;

/// Values in order, as a slice.
pub(crate) enum Few<T> {
    /// The values, and how many of them count.
    Few([T; FEW], usize),
    /// More of them.
    Many(Vec<T>),
}

impl<T: Copy> Few<T> {
    /// The values, unless one is an error. `none` stands where there is none.
    #[inline]
    pub(crate) fn collect<E>(
        none: T,
        values: impl ExactSizeIterator<Item = Result<T, E>>,
    ) -> Result<Self, E> {
        let count = values.len();
        if count > FEW {
            return values.collect::<Result<_, _>>().map(Self::Many);
        }
        let mut few = [none; FEW];
        for (place, value) in few.iter_mut().zip(values) {
            *place = value?;
        }
        Ok(Self::Few(few, count))
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        match self {
            Self::Few(values, count) => &values[..*count],
            Self::Many(values) => values,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_what_it_was_given() {
        for count in [0, 1, FEW, FEW + 1, 3 * FEW] {
            let numbers: Vec<_> = (1..=count).collect();
            let few = Few::collect(0, numbers.iter().copied().map(Ok::<_, ()>));
            assert_eq!(few.as_deref(), Ok(&numbers[..]));
            let failing =
                numbers.iter().map(|number| if *number == count { Err(count) } else { Ok(*number) });
            assert_eq!(Few::collect(0, failing).err(), (count > 0).then_some(count));
        }
    }
}
