//! Linking a version: the one CAS that makes a write visible to whoever meets its transaction's record.
//!
//! Rule    W4 (`mvcc::row`): it links over a head that was seen while the transaction owned the row and was undecided.

#![forbid(unsafe_code)]

use crate::epoch::{Guard, Limbo};
use crate::mvcc::{RecordState, RowHeader, TxnRecord, VersionRef};
use crate::shm::BlockRef;
use crate::sync::Ordering;
use crate::txn::TxnError;
use crate::txn::intents::Intent;
use crate::txn::settle::settle_tail;

/// Linking one version on top of a row that is owned.
pub(super) struct VersionLink<'a> {
    pub(super) guard: &'a Guard<'a>,
    pub(super) row: &'a RowHeader,
    pub(super) record: u64,
    pub(super) entry: &'a Intent,
}

impl VersionLink<'_> {
    /// Links `version` over `base`, pushing out what lies above `base` from `head` on, which is what [`owned_head`] said before
    /// `base` was looked for: an older intent of this transaction that no savepoint keeps, what an aborted one has left, or the
    /// key holder of an aborted insert. False when the row has been removed (D2).
    pub(super) fn run(
        &self,
        limbo: &mut Limbo,
        version: BlockRef,
        base: u64,
        mut head: u64,
    ) -> Result<bool, TxnError> {
        let arena = self.guard.arena();
        VersionRef::resolve(self.guard, version.offset)?.set_next(base);
        loop {
            if head == 0 {
                return Ok(false);
            }
            let tail = if head == base { None } else { Some(arena.block_ref(head)?) };
            self.entry.set_tail(tail);
            self.entry.set_version(Some(version), false);
            arena.publish_own(version);
            // Release: readers see the version's contents. SeqCst: comes before the look for indexes (O4).
            if self
                .row
                .head
                .compare_exchange(head, version.offset, Ordering::SeqCst, Ordering::Acquire)
                .is_ok()
            {
                if let Some(tail) = tail {
                    settle_tail(self.guard, limbo, self.entry.row(), tail)?;
                    self.entry.set_tail(None);
                }
                return Ok(true);
            }
            // Nothing was pushed out. What would have been is retired by others, and what lies below it may be used again by the
            // time that this transaction is settled: who followed it from there would retire somebody else's.
            self.entry.set_tail(None);
            // The owner before has taken out what it had left, or this one owns the row no longer.
            head = owned_head(self.guard, self.row, self.record)?;
        }
    }
}

/// The head of a row that `record` owns, to be linked over (W4): whoever else comes to own the row has made `record` decided
/// before. What was linked before that lies at or below this head, decided; what is linked after it changes the head.
pub(super) fn owned_head(guard: &Guard<'_>, row: &RowHeader, record: u64) -> Result<u64, TxnError> {
    let head = guard.protect(&row.head);
    // After the head: the order is what W4 rests on. Both loads are at least Acquire, so they stay in this order.
    match guard.resolve::<TxnRecord>(record)?.state() {
        RecordState::Active => Ok(head),
        _ => Err(TxnError::ForcedAbort),
    }
}
