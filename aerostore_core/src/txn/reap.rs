//! What is done for a dead process, by anyone who notices: its undecided transactions become aborted, its committed ones are
//! stamped, half-done links are finished or undone, its memory is got back, its slots are freed.
//!
//! Every step can be done again: a reaper that dies in the middle is followed by another. The slot is freed last.

#![forbid(unsafe_code)]

use crate::epoch::{Guard, Slot, SlotId};
use crate::mvcc::{RecordState, TxnRecord};
use crate::shm::{
    BlockKind, BlockRef, BlockState, OwnerId, Reserve, ShmError, adopt_retired, release_slabs_of, slabs_of,
};
use crate::sync::Ordering;
use crate::txn::adding::finish_adding;
use crate::txn::intents::{self, Intent};
use crate::txn::link::{Linker, settle_link};
use crate::txn::log::Haste;
use crate::txn::prune::PruneQueue;
use crate::txn::remove::finish_removal;
use crate::txn::settle::{release, settle_aborted, settle_committed};
use crate::txn::table::primary_at;
use crate::txn::{Session, Store, TxnError};
use std::sync::Arc;

/// Reaps every dead process's slots. Returns how many slots were looked after; one whose log ring is not on disk yet, or
/// that leaves a removal, or entries in indexes that only it knows of, for which there is no room, is freed by a later call.
///
/// # Errors
/// When the mapping is damaged, or what the operating system says.
pub fn reap_dead_processes(session: &mut Session) -> Result<u32, TxnError> {
    let registry = Arc::clone(session.store.registry());
    registry.reap_dead(|owner| session.reap_slot(owner))
}

/// Settles the transactions of every dead process, so that nobody waits for them, and leaves the rest of reaping to a later call:
/// that looks at every block of what a session has made, 2 ms for one that made 100 000 rows. Returns how many slots
/// were settled.
///
/// # Errors
/// As [`reap_dead_processes`].
pub fn settle_dead_processes(session: &mut Session) -> Result<u32, TxnError> {
    let registry = Arc::clone(session.store.registry());
    registry.reap_dead(|owner| session.settle_slot(owner))
}

impl Session {
    /// Decides and finishes what the dead session was at.
    pub(crate) fn settle_slot(&mut self, dead: OwnerId) -> Result<(), TxnError> {
        let store = Arc::clone(&self.store);
        let slot = store.registry().slot(SlotId(dead.slot))?;
        let Self { participant, heap, limbo, superseding, .. } = self;
        let guard = participant.pin();
        settle_link(&guard, slot, limbo)?;
        let mut linker = Linker { participant, heap, limbo, reserve: Reserve::Yes };
        settle_record(&guard, slot, &mut linker, superseding)
    }

    pub(crate) fn reap_slot(&mut self, dead: OwnerId) -> Result<(), TxnError> {
        self.settle_slot(dead)?;
        let store = Arc::clone(&self.store);
        let slot = store.registry().slot(SlotId(dead.slot))?;
        let is_drained = super::log::ring_is_drained(&store, &self.participant.pin(), slot)?;
        if !is_drained {
            super::log::notify(store.log(), Haste::AtOnce);
            return Ok(());
        }
        self.reclaim_memory(dead)?;
        // What it has left to do holds by itself what it needs, D4 and K4: so there may be room.
        slot.let_go();
        {
            let Self { participant, heap, limbo, .. } = self;
            let guard = participant.pin();
            let mut linker = Linker { participant, heap, limbo, reserve: Reserve::Yes };
            let is_done = finish_adding(&guard, &mut linker, slot)?
                && finish_removal(&guard, &store, &mut linker, slot)?;
            if !is_done {
                return Ok(());
            }
        }
        self.give_up_all_for_dead()?;
        {
            let Self { participant, heap, limbo, .. } = self;
            let mut linker = Linker { participant, heap, limbo, reserve: Reserve::Yes };
            intents::shed_dead(&mut linker, slot)?;
        }
        // What its session remembered is garbage that nobody remembers now.
        store.garbage().want();
        store.registry().release_slot(dead)?;
        Ok(())
    }

    fn reclaim_memory(&mut self, dead: OwnerId) -> Result<(), TxnError> {
        let Self { participant, limbo, .. } = self;
        let (arena, participant) = (participant.arena().clone(), &*participant);
        let _guard = participant.pin(); // P3
        // A slot's records lie in its own slabs, and all of them are settled and passed by the log writer.
        for slab in slabs_of(&arena, dead) {
            for (offset, word) in slab.blocks(&arena) {
                if word.kind() == BlockKind::TXN_RECORD && word.state() == BlockState::Live {
                    let block = BlockRef { offset, generation: word.generation() };
                    limbo.retire(participant, block)?;
                }
            }
        }
        for block in adopt_retired(&arena, dead.slot, participant.owner().slot) {
            limbo.push(participant, block)?;
        }
        release_slabs_of(&arena, dead);
        Ok(())
    }
}

fn settle_record(
    guard: &Guard<'_>,
    slot: &Slot,
    linker: &mut Linker<'_>,
    garbage: &mut PruneQueue,
) -> Result<(), TxnError> {
    let offset = guard.protect(&slot.record);
    if offset == 0 {
        return Ok(());
    }
    let word = guard.arena().block_word(offset)?;
    if word.kind() == BlockKind::TXN_RECORD && word.state() == BlockState::Live {
        let record: &TxnRecord = guard.resolve(offset)?;
        let decided = record.abort();
        intents::for_each(guard, slot, |entry| {
            settle_entry(guard, linker, offset, decided, entry)?;
            if let Some(version) = entry.version() {
                // What a look finds to be no garbage is passed over.
                garbage.push_end(version, decided.committed_at(), entry.table());
            }
            Ok(())
        })?;
    }
    slot.intent_count.store(0, Ordering::Release);
    slot.record.store(0, Ordering::Release);
    Ok(())
}

fn settle_entry(
    guard: &Guard<'_>,
    linker: &mut Linker<'_>,
    record: u64,
    decided: RecordState,
    entry: &Intent,
) -> Result<(), TxnError> {
    let row = entry.row();
    if row == 0 {
        return Ok(());
    }
    let arena = guard.arena();
    let word = arena.block_word(row)?;
    if word.kind() != BlockKind::ROW || word.state() == BlockState::Free {
        return Ok(());
    }
    if entry.is_new_row() {
        // The row is in the index, or it is nobody's: then it goes back with its slab, and its version too.
        let published = word.state() == BlockState::Live || is_indexed(guard, entry.table(), row)?;
        if !published {
            return Ok(());
        }
        arena.publish(arena.block_ref(row)?);
        if let Some(version) = entry.version() {
            arena.publish(version);
        }
    }
    match decided {
        RecordState::Committed(_) if !lasts(guard, entry.version())? => {
            release(guard.resolve(row)?, record); // stamped, superseded and pruned since
        }
        RecordState::Committed(commit_ts) => settle_committed(guard, record, commit_ts, entry)?,
        // What stays in its chain for want of room is found by the vacuum, which a death calls for anyway.
        _ => drop(settle_aborted(guard, linker, record, entry)?),
    }
    Ok(())
}

fn lasts(guard: &Guard<'_>, version: Option<BlockRef>) -> Result<bool, ShmError> {
    match version {
        Some(version) => Ok(guard.word_of(version)?.is_some()),
        None => Ok(true),
    }
}

fn is_indexed(guard: &Guard<'_>, table: u64, row: u64) -> Result<bool, ShmError> {
    let hash = Store::row_hash(guard, row)?;
    let found = primary_at(guard, table)?.find(guard, hash, |offset| Ok::<bool, ShmError>(offset == row))?;
    Ok(found.is_some())
}
