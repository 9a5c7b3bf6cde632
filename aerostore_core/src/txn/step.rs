//! What a write does to its table's indexes: before its version is linked, and after.
//!
//! Rules K1 to K4 of `secondary`.

#![forbid(unsafe_code)]

use crate::epoch::Adding;
use crate::mvcc::{RecordState, TxnRecord, VersionRef};
use crate::row::{DirtyMask, StoredImage};
use crate::sync::{Ordering, fence};
use crate::txn::TxnError;
use crate::txn::adding::finish_adding;
use crate::txn::intents::Intent;
use crate::txn::link::Linker;
use crate::txn::secondary::RowKeys;
use crate::txn::settle::take_back;

/// The versions that a link is about to push out of a chain.
pub(super) struct PushedOut<'a, 'g> {
    pub(super) keys: RowKeys<'a, 'g>,
    pub(super) record: u64,
    /// It is one: what this transaction wrote before.
    pub(super) is_own: bool,
    /// What they lie on.
    pub(super) below: u64,
    /// The image of the version to be linked.
    pub(super) stays: Option<StoredImage<'a>>,
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
                let removed = self.keys.remove(linker, version.image(), stays);
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
    pub(super) image: StoredImage<'a>,
    pub(super) columns: DirtyMask,
    /// Whether it has pushed out what this transaction wrote before.
    pub(super) replaces_own: bool,
}

impl Added<'_, '_> {
    /// Adds its entries (K1), or takes it back.
    ///
    /// # Errors
    /// `OutOfSpace`, also when there is still no room for what an earlier write has left (K4): the version is out of its chain again;
    /// or, if it replaced one that cannot come back, the transaction is aborted. `ForcedAbort`.
    #[cold]
    #[inline(never)]
    pub(super) fn run(&self, linker: &mut Linker<'_>) -> Result<(), TxnError> {
        let RowKeys { guard, row, .. } = self.keys;
        let record: &TxnRecord = guard.resolve(self.record)?;
        let slot = linker.participant.slot();
        let added = if finish_adding(guard, linker, slot)? {
            // K4. R6: the list has named it before it was linked.
            let version = self.entry.version().map_or(0, |version| version.offset);
            slot.begin_adding(Adding { version, row, table: self.entry.table() });
            fence(Ordering::SeqCst);
            if record.state() != RecordState::Active {
                slot.end_adding();
                return Err(TxnError::ForcedAbort);
            }
            let added = self.keys.add(linker, self.image, self.columns);
            fence(Ordering::SeqCst);
            if record.state() != RecordState::Active {
                finish_adding(guard, linker, slot)?;
                return Err(TxnError::ForcedAbort);
            }
            slot.end_adding();
            added
        } else {
            Err(guard.arena().out_of_space().into())
        };
        let Err(error) = added else { return Ok(()) };
        if self.replaces_own || take_back(guard, linker, self.record, self.entry).is_err() {
            record.abort();
        } else {
            self.entry.set_version(None, false);
        }
        Err(error)
    }
}
