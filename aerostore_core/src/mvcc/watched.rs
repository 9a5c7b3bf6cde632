//! Which tables somebody follows: their commits log what rows were before.
//!
//! Layout      `WatchControl`, one line; all-zero: nobody follows anything.
//! Rules       F1-F3 of `txn::watched`.

use crate::shm::Shared;
use crate::sync::{AtomicU64, Ordering};
use std::mem::size_of;

/// Tables are told apart by their numbers modulo this.
const CLASSES: u32 = 32;
const CLASS_MASK: u64 = (1 << CLASSES) - 1;
/// One change, in the word's high half.
const CHANGE: u64 = 1 << CLASSES;

/// A set of tables, which may name others besides: who takes one for followed that is not logs more than is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watched(u64);

impl Watched {
    /// The table of that number.
    pub fn table(id: u32) -> Self {
        Self(1 << (id % CLASSES))
    }

    /// What the bits of a slot's word say.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits & CLASS_MASK)
    }

    /// The bits that a slot's word has.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Is there none?
    #[inline]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Is that table, or another of its class, among them?
    pub fn contains(self, id: u32) -> bool {
        self.0 & Self::table(id).0 != 0
    }

    /// Those of either.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that `other` does not have.
    #[must_use]
    #[inline]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// What every process knows of who follows what.
#[repr(C)]
#[derive(Debug, Default)]
pub struct WatchControl {
    /// Classes of tables that are followed in the low half; the high half counts changes, so that no value comes back.
    word: AtomicU64,
    _reserved: [u64; 7],
}

const _: () = assert!(size_of::<WatchControl>() == 64);

// SAFETY: repr(C), atomics and padding only; any bits are valid.
unsafe impl Shared for WatchControl {}

impl WatchControl {
    /// What is followed.
    #[inline]
    pub fn watched(&self) -> Watched {
        // Relaxed: F2 says why that is enough.
        Watched::from_bits(self.word.load(Ordering::Relaxed))
    }

    /// Says that these are followed, after the caller's slot has said so. Changes the word even if it says so already, which keeps
    /// [`WatchControl::forget`] from taking it back for what it has seen before.
    pub fn add(&self, tables: Watched) {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let next = word.wrapping_add(CHANGE) | tables.bits();
            // AcqRel: the slot's word, stored before, is seen by whoever sees this.
            match self.word.compare_exchange(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }

    /// The word, to be given to [`WatchControl::forget`]; read it before the slots.
    pub fn mark(&self) -> u64 {
        // Acquire: pairs with `add`.
        self.word.load(Ordering::Acquire)
    }

    /// Only these are followed, unless the word is not `seen` any more.
    pub fn forget(&self, seen: u64, followed: Watched) {
        let next = (seen.wrapping_add(CHANGE) & !CLASS_MASK) | followed.bits();
        // Lost when somebody has begun to follow a table meanwhile: the next look finds what there is to forget.
        let _ = self.word.compare_exchange(seen, next, Ordering::AcqRel, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_followed_since_is_not_forgotten() {
        let control = WatchControl::default();
        control.add(Watched::table(3));
        let seen = control.mark();
        control.add(Watched::table(3));
        control.forget(seen, Watched::default());
        assert!(control.watched().contains(3), "it was said again after the look");
        control.forget(control.mark(), Watched::table(5));
        assert!(!control.watched().contains(3) && control.watched().contains(5));
        assert!(control.watched().contains(5 + CLASSES), "a class, not a table");
    }
}
