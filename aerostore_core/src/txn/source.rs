//! What the log writer asks: up to which timestamp everything is decided, and what was committed.

#![forbid(unsafe_code)]

use crate::epoch::Participant;
use crate::mvcc::{RecordState, TxnRecord};
use crate::shm::OwnerId;
use crate::sync::{AtomicU64, Ordering, fence};
use crate::sys::monotonic_ns;
use crate::txn::Store;
use crate::txn::log::{copy_bytes, ring_at};
use crate::wal::{CommitSource, Ring};

/// Decisions of a store's transactions, as its log writer sees them.
pub struct StoreCommits<'a> {
    store: &'a Store,
    participant: &'a Participant,
}

impl<'a> StoreCommits<'a> {
    /// The decisions of `store`, seen from a session.
    pub fn new(store: &'a Store, participant: &'a Participant) -> Self {
        Self { store, participant }
    }

    /// A prepared transaction holds the watermark back: aborts it when its owner is dead or makes no progress.
    fn hold(&self, record: &TxnRecord) {
        let (slot, incarnation) = record.owner();
        let owner = OwnerId { slot, incarnation };
        let now_ns = monotonic_ns();
        let gone = self.store.registry().is_unresponsive_owner(owner, now_ns).unwrap_or(false);
        if gone || record.idle_ns(now_ns) > self.store.stall.abort_after_ns {
            record.abort();
        }
    }
}

impl CommitSource for StoreCommits<'_> {
    fn watermark(&self) -> u64 {
        let mut watermark = self.store.clock().now();
        // The clock first, then the records: one that is still ACTIVE here takes a larger timestamp (R3).
        fence(Ordering::SeqCst);
        let guard = self.participant.pin();
        let mut holder = None;
        let seen = self.store.registry().for_each_slot(|_, slot| {
            let offset = guard.protect(&slot.record);
            if offset == 0 {
                return;
            }
            let Ok(record) = guard.resolve::<TxnRecord>(offset) else { return };
            if let RecordState::Prepared(timestamp) = record.assign(self.store.clock())
                && timestamp <= watermark
            {
                watermark = timestamp - 1;
                holder = Some(record);
            }
        });
        if let Some(record) = holder {
            self.hold(record);
        }
        let mut rings_lost = false;
        let looked = self.store.registry().for_each_slot_ever(|_, slot| {
            let offset = slot.ring.load(Ordering::Acquire);
            rings_lost |= offset != 0 && ring_at(self.store.arena(), offset).is_err();
        });
        // What cannot be read must not be passed: a damaged registry or ring lets nothing through.
        if seen.is_err() || looked.is_err() || rings_lost { 0 } else { watermark }
    }

    fn rings<'a>(&'a self, into: &mut Vec<Ring<'a>>) {
        // A ring that cannot be resolved has stopped the watermark already.
        let _ = self.store.registry().for_each_slot_ever(|_, slot| {
            let offset = slot.ring.load(Ordering::Acquire);
            if offset != 0 {
                into.extend(ring_at(self.store.arena(), offset));
            }
        });
    }

    fn copy_out(&self, offset: u64, length: u64, into: &mut Vec<u8>) -> bool {
        // A deposed writer may come so late that what it was to copy has been given back.
        let _guard = self.participant.pin();
        let arena = self.store.arena();
        arena.is_in_use(offset) && copy_bytes(arena, offset, length, into)
    }

    fn is_committed(&self, record: &AtomicU64, commit_ts: u64) -> bool {
        let guard = self.participant.pin();
        // Another transaction's by now, or no record: then the entry says so, and the caller looks there again (G5).
        let offset = guard.protect(record);
        guard
            .resolve::<TxnRecord>(offset)
            .is_ok_and(|record| record.state() == RecordState::Committed(commit_ts))
    }
}
