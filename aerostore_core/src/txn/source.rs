//! What the log writer asks: up to which timestamp everything is decided, and what was committed.

#![forbid(unsafe_code)]

use crate::epoch::Participant;
use crate::mvcc::{RecordState, TxnRecord};
use crate::shm::{OwnerId, RelPtr};
use crate::sync::{Ordering, fence};
use crate::sys::monotonic_ns;
use crate::txn::Store;
use crate::txn::log::{copy_bytes, ring_at};
use crate::wal::{CommitSource, Ring};
use std::cell::Cell;

/// Decisions of a store's transactions, as its log writer sees them.
pub struct StoreCommits<'a> {
    store: &'a Store,
    participant: &'a Participant,
    /// Record offset and timestamp of the prepared transaction that holds the watermark back, and since when.
    held_by: Cell<(u64, u64, u64)>,
}

impl<'a> StoreCommits<'a> {
    /// The decisions of `store`, seen from a session.
    pub fn new(store: &'a Store, participant: &'a Participant) -> Self {
        Self { store, participant, held_by: Cell::new((0, 0, 0)) }
    }

    fn hold(&self, offset: u64, timestamp: u64, record: &TxnRecord) {
        let now = monotonic_ns();
        let (held, held_ts, since) = self.held_by.get();
        if (held, held_ts) != (offset, timestamp) {
            self.held_by.set((offset, timestamp, now));
            return;
        }
        let (slot, incarnation) = record.owner();
        let owner = OwnerId { slot, incarnation };
        let dead = self.store.registry().is_dead_owner(owner).unwrap_or(false);
        if dead || now.saturating_sub(since) > self.store.stall.abort_after_ns {
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
                holder = Some((offset, timestamp, record));
            }
        });
        if let Some((offset, timestamp, record)) = holder {
            self.hold(offset, timestamp, record);
        }
        // A damaged registry must not let anything pass.
        if seen.is_err() { 0 } else { watermark }
    }

    fn rings<'a>(&'a self, into: &mut Vec<Ring<'a>>) {
        // A ring that cannot be resolved holds nothing that could be read; its slot's owner gets the error.
        let _ = self.store.registry().for_each_slot_ever(|_, slot| {
            let offset = slot.ring.load(Ordering::Acquire);
            if offset != 0 {
                into.extend(ring_at(self.store.arena(), offset));
            }
        });
    }

    fn copy_out(&self, offset: u64, length: u64, into: &mut Vec<u8>) -> bool {
        copy_bytes(self.store.arena(), offset, length, into)
    }

    fn is_committed(&self, record: u64, commit_ts: u64) -> bool {
        // R5: a record whose log entry is not durable yet is not used for anything else.
        self.store
            .arena()
            .resolve(RelPtr::<TxnRecord>::new(record))
            .is_ok_and(|record| record.state() == RecordState::Committed(commit_ts))
    }
}
