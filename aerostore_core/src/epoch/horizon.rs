//! The snapshots that somebody may read at: which versions have to stay.
//!
//! Rules   G4: a version that counts from `begin` on, with a newer committed one above it that counts from `end` on, is needed by
//!         nobody, for good, if `end` is not above the clock that was loaded before the look at the slots, and none of the
//!         snapshots found lies in [begin, end). Why for good: a snapshot that was not found is published later, and is then
//!         not below that clock (G3), so it sees the newer version or one above it. So a look may be as old as it likes; it
//!         only finds less.
//!         The same holds of the timestamp that a committer checks its reads at: if the clock that was loaded had come so far,
//!         it was found (G6). While only its lower bound is known, all that counts above that is needed.

#![forbid(unsafe_code)]

use crate::epoch::Registry;
use crate::epoch::slot::CheckWord;
use crate::shm::ShmError;
use crate::sync::{AtomicU64, Ordering, fence};

/// The snapshots of all sessions, as of one look.
#[derive(Default, PartialEq)]
pub struct LiveSnapshots {
    /// What the clock showed before the look.
    clock: u64,
    /// In order; timestamps at which reads are checked among them.
    snapshots: Vec<u64>,
    /// Somebody checks, or is about to check, reads at any timestamp above this one; or `u64::MAX`.
    checked_above: u64,
}

impl LiveSnapshots {
    /// Looks anew.
    ///
    /// # Errors
    /// When the registry is damaged.
    pub fn look(&mut self, registry: &Registry, clock: &AtomicU64) -> Result<(), ShmError> {
        let Self { clock: now, snapshots, checked_above } = self;
        snapshots.clear();
        *checked_above = u64::MAX;
        *now = clock.load(Ordering::Acquire);
        fence(Ordering::SeqCst); // as in `Registry::horizon`
        registry.for_each_slot(|_, slot| {
            snapshots.extend(slot.snapshots().into_iter().filter(|snapshot| *snapshot < *now));
            match slot.check() {
                Some(CheckWord::At(timestamp)) => snapshots.extend((timestamp < *now).then_some(timestamp)),
                Some(CheckWord::Above(timestamp)) => *checked_above = timestamp.min(*checked_above),
                None => {}
            }
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
        if end > self.clock.min(self.checked_above) {
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
        let live = LiveSnapshots { clock: 100, snapshots: vec![10, 20], checked_above: u64::MAX };
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
        let live = LiveSnapshots { checked_above: 15, ..live };
        assert!(live.need(11, 16) && live.need(20, 21) && live.need(21, 100), "checked at any above 15");
        assert!(!live.need(11, 15) && !live.need(1, 10));
        assert!(LiveSnapshots { clock: 7, ..LiveSnapshots::default() }.horizon() == 7);
    }
}
