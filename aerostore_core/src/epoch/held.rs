//! What may not be used again yet: the second half of rule I3 of `interval`.

#![forbid(unsafe_code)]

use crate::epoch::Slot;

/// What the sessions hold back, as of one look at their slots.
#[derive(Default)]
pub(super) struct Held {
    /// The intervals of running operations.
    intervals: Vec<(u64, u64)>,
    /// Offsets of versions that are named in slots (K4 of `txn::secondary`), whatever operation runs.
    versions: Vec<u64>,
}

impl Held {
    pub(super) fn clear(&mut self) {
        self.intervals.clear();
        self.versions.clear();
    }

    /// Adds what one slot holds back.
    pub(super) fn look(&mut self, slot: &Slot) {
        // In this order: a version is named before the operation ends that has held it until then.
        self.intervals.extend(slot.interval());
        self.versions.extend(Some(slot.kept_version()).filter(|version| *version != 0));
    }

    /// May somebody still reach the block at `offset` that was born and retired at these epochs?
    #[inline]
    pub(super) fn holds(&self, offset: u64, birth: u64, retired: u64) -> bool {
        self.intervals.iter().any(|(low, high)| birth <= *high && *low <= retired)
            || self.versions.contains(&offset)
    }

    /// Has every operation begun after `epoch`?
    pub(super) fn is_later_than(&self, epoch: u64) -> bool {
        self.intervals.iter().all(|(low, _)| *low > epoch)
    }
}
