//! What a ring holds, and what went through it.

#![forbid(unsafe_code)]

use super::{Ring, RingDamage};
use crate::sync::Ordering;

/// Figures of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RingStats {
    /// Bytes for entries.
    pub capacity_bytes: u64,
    /// Bytes in use: entries, padding, and durable entries that are yet to make room.
    pub used_bytes: u64,
    /// Bytes of entries that are not durable, padding included.
    pub pending_bytes: u64,
    /// Entries published since the ring was made.
    pub record_count: u64,
    /// Redo bytes published since the ring was made, in the ring and out of line.
    pub redo_bytes: u64,
}

impl Ring<'_> {
    /// The ring's figures; what is at most `durable_ts` is durable.
    ///
    /// # Errors
    /// What is wrong with the ring's words.
    pub fn stats(&self, durable_ts: u64) -> Result<RingStats, RingDamage> {
        let tail = self.tail();
        let pending = self.first_undurable(tail, durable_ts)?.map_or(0, |position| tail - position);
        Ok(RingStats {
            capacity_bytes: self.capacity(),
            used_bytes: self.used_bytes(),
            pending_bytes: pending * 8,
            record_count: self.header.entry_count.load(Ordering::Relaxed),
            redo_bytes: self.header.redo_bytes.load(Ordering::Relaxed),
        })
    }
}
