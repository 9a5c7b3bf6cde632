//! The snapshots that somebody may read at: which versions have to stay.
//!
//! Rules   G4: a version that counts from `begin` on, with a newer committed one above it that counts from `end` on, is needed by
//!         nobody, for good, if `end` is not above the clock that was loaded before the look at the slots, and none of the
//!         snapshots found lies in [begin, end). Why for good: a snapshot that was not found is published later, and is then
//!         not below that clock (G3), so it sees the newer version or one above it. So a look may be as old as it likes; it
//!         only finds less.
//! Not     covered: what a transaction sees at its commit timestamp, while it checks its reads. It has published none, so it
//!         is told by a flag in the chain that something was taken out (`mvcc::version`).

#![forbid(unsafe_code)]

use crate::epoch::Registry;
use crate::shm::ShmError;
use crate::sync::{AtomicU64, Ordering, fence};

/// The snapshots of all sessions, as of one look.
#[derive(Default)]
pub struct LiveSnapshots {
    /// What the clock showed before the look.
    clock: u64,
    /// In order.
    snapshots: Vec<u64>,
}

impl LiveSnapshots {
    /// Looks anew.
    ///
    /// # Errors
    /// When the registry is damaged.
    pub fn look(&mut self, registry: &Registry, clock: &AtomicU64) -> Result<(), ShmError> {
        let Self { clock: now, snapshots } = self;
        snapshots.clear();
        *now = clock.load(Ordering::Acquire);
        fence(Ordering::SeqCst); // as in `Registry::horizon`
        registry.for_each_slot(|_, slot| {
            snapshots.extend(slot.snapshots().into_iter().filter(|snapshot| *snapshot < *now));
        })?;
        snapshots.sort_unstable();
        snapshots.dedup();
        Ok(())
    }

    /// The oldest of them, or the clock.
    pub fn horizon(&self) -> u64 {
        self.snapshots.first().map_or(self.clock, |first| *first)
    }

    /// May anybody need a version that counts from `begin` on, below one that counts from `end` on?
    pub fn need(&self, begin: u64, end: u64) -> bool {
        if end > self.clock {
            return true;
        }
        let first = self.snapshots.partition_point(|snapshot| *snapshot < begin);
        self.snapshots.get(first).is_some_and(|snapshot| *snapshot < end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_needed_while_a_snapshot_lies_in_its_time() {
        let live = LiveSnapshots { clock: 100, snapshots: vec![10, 20] };
        assert_eq!(live.horizon(), 10);
        for (begin, end, needed) in [
            (1, 5, false),
            (1, 10, false),
            (1, 11, true),
            (10, 11, true),
            (11, 20, false),
            (11, 21, true),
            (20, 100, true),
            (21, 100, false),
            (21, 101, true),
        ] {
            assert_eq!(live.need(begin, end), needed, "[{begin}, {end})");
        }
        assert!(LiveSnapshots { clock: 7, snapshots: vec![] }.horizon() == 7);
    }
}
