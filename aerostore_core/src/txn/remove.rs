//! Removing rows: from the key index, and from memory.
//!
//! A row may go when its head is a tombstone that every snapshot sees, or the key holder of an insert that never took effect.
//! No owner is needed: one word decides, the row's head.
//!
//! Rules       D1: a removal is named in the slot before anything is changed. D2: the CAS of the head from that version to 0 is
//!             the removal; a row whose head is 0 never gets another, and counts for no key. A writer that wants to link a
//!             version on top fails or comes first, in which case the removal does not happen. D3: then the index entries go,
//!             then the row is retired, and the version last. D4: whoever finds a removal named in a dead slot does D3 again,
//!             if the row's head is 0: every step tells by generations whether it was done. D5: a slot names one removal; while
//!             that finds no room for what D3 needs of the index, its session begins no other, but goes on with the rest of
//!             its garbage, which makes room. D6: a row that somebody may still add entries for (K4 of `secondary`) stays. Of one who had
//!             it, linked a version and lost it again between the look for such and D2, D3 waits as it does for room.
//! Readers     a row found before D2 is missing to every snapshot before and after it. So what is remembered of it is the
//!             missing key, never the row: its memory may be another row's at commit.
//! Source      deciding by the value that others compare against follows Harris's marked pointers (DISC 2001).

#![forbid(unsafe_code)]

use crate::epoch::{Guard, Slot};
use crate::mvcc::{BeginWord, NEVER, RowHeader, TableRoot, TxnRecord, VersionRef};
use crate::shm::{BlockKind, BlockRef, BlockState, BlockWord};
use crate::sync::Ordering;
use crate::txn::link::Linker;
use crate::txn::secondary::RowKeys;
use crate::txn::settle::retire_chain;
use crate::txn::table::primary_at;
use crate::txn::{Store, TxnError};

/// What became of a row that was to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removal {
    Done,
    /// It may come to that later: somebody owns the row, or is about to give up a version above, or may add entries for it yet (D6),
    /// or the removal before this one has found no room yet (D5).
    NotNow,
    /// The version is not, or no longer, one with which a row ends.
    No,
}

/// With which versions a row may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With a tombstone that every snapshot from this one on sees, or a key holder.
    Seen(u64),
    /// With any, as its table is dropped (T6).
    Dropped,
}

/// Removes the row of the table at `table` that ends with `version`, if it may.
///
/// A row that was removed when there was no room to finish is gone for everyone, but its memory is not had back before
/// [`finish_removal`] has succeeded.
///
/// # Errors
/// When the mapping is damaged.
pub(super) fn remove_row(
    guard: &Guard<'_>,
    store: &Store,
    linker: &mut Linker<'_>,
    table: u64,
    version: BlockRef,
    end: End,
) -> Result<Removal, TxnError> {
    let arena = guard.arena();
    let is_version = |word: BlockWord| {
        word.kind() == BlockKind::VERSION && matches!(word.state(), BlockState::Live | BlockState::Reserved)
    };
    if !guard.word_of(version)?.is_some_and(is_version) {
        return Ok(Removal::No);
    }
    let last = VersionRef::resolve(guard, version.offset)?;
    let is_last = match last.begin(guard) {
        BeginWord::Stamped(NEVER) => last.next(guard) == 0,
        BeginWord::Stamped(begin) => match end {
            End::Seen(horizon) => last.is_tombstone() && begin <= horizon,
            End::Dropped => true,
        },
        BeginWord::Intent(_) => false,
    };
    if !is_last {
        return Ok(Removal::No);
    }
    let slot = linker.participant.slot();
    // Relaxed: this session alone writes it. D5
    if slot.removed_row.load(Ordering::Relaxed) != 0 {
        return Ok(Removal::NotNow);
    }
    // The version is in use, so the row it names has not been used again before; held from here on, if it is the row still.
    let row = last.row();
    let word = guard.block_word(row)?;
    if word.kind() != BlockKind::ROW || !matches!(word.state(), BlockState::Live | BlockState::Reserved) {
        return Ok(Removal::No);
    }
    let header: &RowHeader = guard.resolve(row)?;
    let head = guard.protect(&header.head);
    if head != version.offset {
        return still_may_end(guard, head, version.offset);
    }
    let owner = guard.protect(&header.owner);
    if owner != 0 && !guard.resolve::<TxnRecord>(owner)?.state().is_decided() {
        return Ok(Removal::NotNow); // its owner would have to look again
    }
    if may_be_added_to(guard, store, table, row)? {
        return Ok(Removal::NotNow); // D6
    }
    let row = BlockRef { offset: row, generation: word.generation() };
    // A maker that was stopped may not have come to it.
    arena.publish(version);
    arena.publish(row);
    announce(slot, row, version);
    // D2. AcqRel: the chain's last state is seen; a writer that loads 0 sees what came before. SeqCst: K2.
    let is_removed =
        header.head.compare_exchange(version.offset, 0, Ordering::SeqCst, Ordering::Acquire).is_ok();
    if !is_removed {
        withdraw(slot);
        return Ok(Removal::NotNow);
    }
    if complete(guard, store, linker, row, version)? {
        withdraw(slot);
    }
    Ok(Removal::Done)
}

/// Something lies above the version: for good, or until its transaction is seen to be aborted.
fn still_may_end(guard: &Guard<'_>, head: u64, version: u64) -> Result<Removal, TxnError> {
    let mut at = head;
    while at != 0 && at != version {
        let newer = VersionRef::resolve(guard, at)?;
        if let BeginWord::Stamped(begin) = newer.begin(guard)
            && begin != NEVER
        {
            return Ok(Removal::No);
        }
        at = newer.next(guard);
    }
    Ok(if at == 0 { Removal::No } else { Removal::NotNow })
}

/// Completes the removal that is named in `slot`: this session's own, or that of a dead one whose only reaper this is. False when
/// there is no room for that.
///
/// # Errors
/// When the mapping is damaged.
pub(super) fn finish_removal(
    guard: &Guard<'_>,
    store: &Store,
    linker: &mut Linker<'_>,
    slot: &Slot,
) -> Result<bool, TxnError> {
    // Acquire: pairs with `announce`.
    let row = slot.removed_row.load(Ordering::Acquire);
    if row == 0 {
        return Ok(true);
    }
    let generations = slot.removed_generations.load(Ordering::Relaxed);
    let generation = |word: u64| u32::try_from(word & u64::from(u32::MAX)).unwrap_or(0);
    let row = BlockRef { offset: row, generation: generation(generations) };
    let version = BlockRef {
        offset: slot.removed_version.load(Ordering::Relaxed),
        generation: generation(generations >> 32),
    };
    let is_complete = complete(guard, store, linker, row, version)?;
    if is_complete {
        withdraw(slot);
    }
    Ok(is_complete)
}

/// D3, as far as it has not been done. False when there is no room for it.
fn complete(
    guard: &Guard<'_>,
    store: &Store,
    linker: &mut Linker<'_>,
    row: BlockRef,
    version: BlockRef,
) -> Result<bool, TxnError> {
    let word = guard.block_word(row.offset)?;
    if word.generation() == row.generation && word.state() == BlockState::Live {
        let header: &RowHeader = guard.resolve(row.offset)?;
        if header.head.load(Ordering::Acquire) != 0 {
            return Ok(true); // D2 has not happened
        }
        let table = guard.arena().block_tag(row.offset)?;
        if let Some((table, _)) = store.catalog().find(guard, table)? {
            if may_be_added_to(guard, store, table, row.offset)? {
                return Ok(false); // D6
            }
            match remove_keys(guard, linker, table, row.offset, version) {
                Err(error) if error.is_out_of_space() => return Ok(false), // D5
                removed => removed?,
            }
            let hash = header.hash.load(Ordering::Relaxed);
            let hash_of = |offset| Store::row_hash(guard, offset);
            match primary_at(guard, table)?.remove(guard, linker, hash, row.offset, &hash_of) {
                Err(error) if error.is_out_of_space() => return Ok(false), // D5
                removed => removed?,
            };
        }
        linker.limbo.retire(guard.participant(), row)?;
    }
    retire_chain(guard, linker.limbo, version)?;
    Ok(true)
}

/// D6. A table that has never had an index has no entries.
fn may_be_added_to(guard: &Guard<'_>, store: &Store, table: u64, row: u64) -> Result<bool, TxnError> {
    let root: &TableRoot = guard.resolve(table)?;
    // Acquire: whoever adds has seen the index, and was aborted before the caller came here.
    Ok(root.indexes.load(Ordering::Acquire) != 0 && store.registry().is_adding_to(row)?)
}

/// Removes the entries of every version of a row whose head is 0 (K2): none counts any more.
fn remove_keys(
    guard: &Guard<'_>,
    linker: &mut Linker<'_>,
    table: u64,
    row: u64,
    last: BlockRef,
) -> Result<(), TxnError> {
    let keys = RowKeys::at(guard, table, row)?;
    if keys.indexed().is_empty() {
        return Ok(());
    }
    let mut at = last.offset;
    while at != 0 {
        let version = VersionRef::resolve(guard, at)?;
        if !version.is_tombstone() {
            keys.remove(linker, version.image(), None)?;
        }
        at = version.next(guard);
    }
    Ok(())
}

/// D1.
fn announce(slot: &Slot, row: BlockRef, version: BlockRef) {
    let generations = u64::from(version.generation) << 32 | u64::from(row.generation);
    slot.removed_generations.store(generations, Ordering::Relaxed);
    slot.removed_version.store(version.offset, Ordering::Relaxed);
    // Release: the reaper that sees the row sees the rest.
    slot.removed_row.store(row.offset, Ordering::Release);
}

fn withdraw(slot: &Slot) {
    slot.removed_row.store(0, Ordering::Release);
}
