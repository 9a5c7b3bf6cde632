//! The commit clock: one shared counter whose values are the places in the serial order.

use crate::sync::{AtomicU64, Ordering};

/// The commit clock. Timestamp 0 is before every commit.
#[derive(Debug)]
#[repr(transparent)]
pub struct Clock(AtomicU64);

// SAFETY: one atomic; 0 is the clock of an empty database.
#[cfg(not(loom))]
unsafe impl crate::shm::Shared for Clock {}

impl Clock {
    /// A clock that shows `now`.
    #[cfg(test)]
    pub(crate) fn new(now: u64) -> Self {
        Self(AtomicU64::new(now))
    }

    /// The timestamp of the newest commit that was, or is being, placed.
    #[inline]
    pub fn now(&self) -> u64 {
        // Acquire: pairs with `tick`, so that whoever sees a timestamp sees the PENDING of the record it was taken for.
        self.0.load(Ordering::Acquire)
    }

    /// Takes the next timestamp.
    #[inline]
    pub fn tick(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Sets the clock after a cold start, before anyone else is attached.
    pub fn restore(&self, now: u64) {
        self.0.store(now, Ordering::SeqCst);
    }

    /// The word itself, for `Slot::take_snapshot` and the horizon.
    #[inline]
    pub fn word(&self) -> &AtomicU64 {
        &self.0
    }
}
