//! What a write does to its table's indexes: before its version is linked, and after.
//!
//! Rules K1 to K4 of `secondary`.

#![forbid(unsafe_code)]

use crate::mvcc::{RecordState, TxnRecord, VersionRef};
use crate::row::DirtyMask;
use crate::shm::Reserve;
use crate::sync::{Ordering, fence};
use crate::txn::TxnError;
use crate::txn::intents::Intent;
use crate::txn::link::Linker;
use crate::txn::secondary::RowKeys;
use crate::txn::settle::take_back;
use std::time::Duration;

/// Between two attempts of one that was aborted in the middle of a write to remove entries for which there is no room.
const PAUSE: Duration = Duration::from_millis(1);

/// The versions that a link is about to push out of a chain.
pub(super) struct PushedOut<'a, 'g> {
    pub(super) keys: RowKeys<'a, 'g>,
    pub(super) record: u64,
    /// It is one: what this transaction wrote before.
    pub(super) is_own: bool,
    /// What they lie on.
    pub(super) below: u64,
    /// The image of the version to be linked.
    pub(super) stays: Option<&'a [u8]>,
}

impl PushedOut<'_, '_> {
    /// Removes the entries that only they hold (K2), from `head` on.
    pub(super) fn release(&self, linker: &mut Linker<'_>, head: VersionRef<'_>) -> Result<(), TxnError> {
        let mut version = head;
        loop {
            if self.is_own {
                // Whether there are indexes or not: a builder may be about to find it.
                version.mark(self.keys.guard);
                fence(Ordering::SeqCst);
            }
            if !version.is_tombstone() {
                let stays = self.stays.filter(|_| self.is_own);
                let removed = self.keys.remove(linker, version.payload(), stays);
                if self.is_own && removed.is_err() {
                    // It does not count any more, and what takes its place is not there.
                    self.keys.guard.resolve::<TxnRecord>(self.record)?.abort();
                }
                removed?;
            }
            let next = version.next(self.keys.guard);
            if next == self.below || next == 0 {
                return Ok(());
            }
            version = VersionRef::resolve(self.keys.guard, next)?;
        }
    }
}

/// A version that has just been linked, and what it has in columns with indexes.
pub(super) struct Added<'a, 'g> {
    pub(super) keys: RowKeys<'a, 'g>,
    pub(super) record: u64,
    pub(super) entry: &'a Intent,
    pub(super) image: &'a [u8],
    pub(super) columns: DirtyMask,
    /// Whether it has pushed out what this transaction wrote before.
    pub(super) replaces_own: bool,
}

impl Added<'_, '_> {
    /// Adds its entries (K1), or takes it back.
    ///
    /// # Errors
    /// `OutOfSpace`: the version is out of its chain again; or, if it replaced one that cannot come back, the transaction is
    /// aborted. `ForcedAbort`.
    #[cold]
    #[inline(never)]
    pub(super) fn run(&self, linker: &mut Linker<'_>) -> Result<(), TxnError> {
        let RowKeys { guard, .. } = self.keys;
        let record: &TxnRecord = guard.resolve(self.record)?;
        // Of one that was stopped and aborted before it came here the row itself may be gone: nobody is to be led to it.
        if record.state() != RecordState::Active {
            return Err(TxnError::ForcedAbort);
        }
        let added = self.keys.add(linker, self.image, self.columns);
        // K4
        fence(Ordering::SeqCst);
        if record.state() != RecordState::Active {
            self.remove_after_abort(linker)?;
            return Err(TxnError::ForcedAbort);
        }
        let Err(error) = added else { return Ok(()) };
        if self.replaces_own || take_back(guard, linker, self.record, self.entry).is_err() {
            record.abort();
        } else {
            self.entry.set_version(None, false);
        }
        Err(error)
    }

    /// Whoever pushes the version out may have looked for its entries too early, and nobody else will. So this waits for room, in the
    /// memory that is kept for such work: what removals replace is free again when the operations end that run now. This is one of
    /// them, and holds back what has been in use since it began: where the mapping and all of that memory are full, it waits until others
    /// give back what they had before.
    fn remove_after_abort(&self, linker: &mut Linker<'_>) -> Result<(), TxnError> {
        let Linker { participant, heap, limbo, .. } = linker;
        loop {
            let mut linker = Linker { participant, heap, limbo, reserve: Reserve::Yes };
            match self.keys.remove(&mut linker, self.image, None) {
                Err(error) if error.is_out_of_space() => std::thread::sleep(PAUSE),
                removed => return removed,
            }
            limbo.collect_now(participant, heap)?;
        }
    }
}
