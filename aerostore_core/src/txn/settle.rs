//! After the decision: every intent is stamped or taken back, every owned row let go. Done by the transaction itself, or,
//! when its process is dead, by the reaper; every step can be done again.

#![forbid(unsafe_code)]

use crate::epoch::{Guard, Limbo};
use crate::mvcc::{BeginWord, NEVER, RowHeader, VersionRef};
use crate::shm::{BlockKind, BlockRef, BlockState, ShmError};
use crate::sync::Ordering;
use crate::txn::TxnError;
use crate::txn::intents::Intent;
use crate::txn::link::Linker;
use crate::txn::secondary::RowKeys;

/// Retires a chain of versions that has been cut off, from `first` to its end.
pub(super) fn retire_chain(guard: &Guard<'_>, limbo: &mut Limbo, first: BlockRef) -> Result<(), ShmError> {
    retire_until(guard, limbo, first, |_| Ok(false))
}

/// The same, by whoever has cut it off while `guard` held `first`, which it had loaded from the word above.
#[inline]
pub(super) fn retire_cut_off(guard: &Guard<'_>, limbo: &mut Limbo, first: BlockRef) -> Result<(), ShmError> {
    let next = VersionRef::resolve(guard, first.offset)?.next(guard);
    limbo.retire_held(guard, first)?;
    if next == 0 {
        return Ok(());
    }
    match guard.block_at(next)? {
        Some(next) => retire_chain(guard, limbo, next),
        None => Ok(()),
    }
}

fn retire_until(
    guard: &Guard<'_>,
    limbo: &mut Limbo,
    first: BlockRef,
    stays: impl Fn(u64) -> Result<bool, ShmError>,
) -> Result<(), ShmError> {
    let arena = guard.arena();
    let mut block = first;
    loop {
        let Some(word) = guard.word_of(block)? else { return Ok(()) };
        if word.kind() != BlockKind::VERSION || stays(block.offset)? {
            return Ok(());
        }
        let next = VersionRef::resolve(guard, block.offset)?.next(guard);
        if next == 0 {
            limbo.retire(guard.participant(), block)?;
            return Ok(());
        }
        let Some(next) = guard.block_at(next)? else { return Ok(()) };
        // Where chains are retired by several, this one may have been freed meanwhile; what its memory says then is of
        // another use. It was not if it still is in this use: it is retired and freed before what lies below.
        let word = arena.block_word(block.offset)?;
        if word.generation() != block.generation || word.state() == BlockState::Free {
            return Ok(());
        }
        limbo.retire(guard.participant(), block)?;
        block = next;
    }
}

/// How many versions of the row lie above the one at `offset`; `None` when it is not one of them. A row that is not LIVE has none:
/// it was removed, and may be about to become another.
fn versions_above(guard: &Guard<'_>, row: u64, offset: u64) -> Result<Option<usize>, ShmError> {
    if guard.block_word(row)?.state() != BlockState::Live {
        return Ok(None);
    }
    let row: &RowHeader = guard.resolve(row)?;
    let mut version = guard.protect(&row.head);
    let mut above = 0;
    while version != 0 && version != offset {
        version = VersionRef::resolve(guard, version)?.next(guard);
        above += 1;
    }
    Ok((version != 0).then_some(above))
}

/// Retires the versions that a link has pushed out of the chain: those from `tail` on that the row no longer reaches.
pub(super) fn settle_tail(
    guard: &Guard<'_>,
    limbo: &mut Limbo,
    row: u64,
    tail: BlockRef,
) -> Result<(), ShmError> {
    retire_until(guard, limbo, tail, |offset| Ok(versions_above(guard, row, offset)?.is_some()))
}

/// Stamps the intent of a committed transaction and lets its row go.
pub(super) fn settle_committed(
    guard: &Guard<'_>,
    record: u64,
    commit_ts: u64,
    entry: &Intent,
) -> Result<(), ShmError> {
    let row: &RowHeader = guard.resolve(entry.row())?;
    if let Some(version) = entry.version() {
        // Linked before the record left ACTIVE (R2), and nobody prunes it before it is stamped or superseded; a later
        // intent of the same transaction leaves none of its entries behind.
        VersionRef::resolve(guard, version.offset)?.stamp(record, commit_ts);
    }
    release(row, record);
    Ok(())
}

/// Takes the intent of an aborted transaction back and lets its row go. Of several intents of one row the newest comes first:
/// each is the head of its chain when its turn comes (S2), or not in it at all, or below one that there was no room to take out.
/// False when it could not be taken out of its chain, where it stays for the vacuum.
pub(super) fn settle_aborted(
    guard: &Guard<'_>,
    linker: &mut Linker<'_>,
    record: u64,
    entry: &Intent,
) -> Result<bool, TxnError> {
    let taken_back = take_back(guard, linker, record, entry);
    let has_room = !taken_back.as_ref().is_err_and(TxnError::is_out_of_space);
    if has_room {
        taken_back?;
    }
    release(guard.resolve(entry.row())?, record);
    Ok(has_room)
}

/// Takes an intent back, of an aborted transaction or of one that rolls back to a savepoint.
///
/// # Errors
/// `OutOfSpace`: the version never takes effect, but is still in its chain.
pub(super) fn take_back(
    guard: &Guard<'_>,
    linker: &mut Linker<'_>,
    record: u64,
    entry: &Intent,
) -> Result<(), TxnError> {
    let keys = RowKeys::at(guard, entry.table(), entry.row())?;
    let mut taken_back = Ok(());
    if let Some(block) = entry.version() {
        taken_back = unlink_aborted(keys, linker, record, block);
        if taken_back.as_ref().is_err_and(|error| !error.is_out_of_space()) {
            return taken_back;
        }
    }
    if let Some(block) = entry.tail() {
        settle_interrupted_link(keys, linker, record, block)?;
    }
    taken_back
}

/// The link that was to push `block` out may have happened or not; the block may be an earlier intent of `record` itself.
fn settle_interrupted_link(
    keys: RowKeys<'_, '_>,
    linker: &mut Linker<'_>,
    record: u64,
    block: BlockRef,
) -> Result<(), TxnError> {
    let RowKeys { guard, row, .. } = keys;
    if guard.word_of(block)?.is_none_or(|word| word.kind() != BlockKind::VERSION) {
        return Ok(());
    }
    let version = VersionRef::resolve(guard, block.offset)?;
    let taken_back = match version.begin(guard) {
        BeginWord::Intent(begin) => begin == record,
        // A reaper before this one may have come as far as stamping it.
        BeginWord::Stamped(NEVER) => versions_above(guard, row, block.offset)?.is_some(),
        BeginWord::Stamped(_) => false,
    };
    if taken_back {
        return unlink_aborted(keys, linker, record, block);
    }
    Ok(settle_tail(guard, linker.limbo, row, block)?)
}

fn unlink_aborted(
    keys: RowKeys<'_, '_>,
    linker: &mut Linker<'_>,
    record: u64,
    block: BlockRef,
) -> Result<(), TxnError> {
    let RowKeys { guard, row, .. } = keys;
    let arena = guard.arena();
    loop {
        if guard.word_of(block)?.is_none() {
            return Ok(());
        }
        let version = VersionRef::resolve(guard, block.offset)?;
        let Some(above) = versions_above(guard, row, block.offset)? else {
            // Never linked, or pushed out by the next owner, who may have retired it already. It has no entries: none before it was
            // linked (K1), none since (K2, K4).
            linker.limbo.retire(guard.participant(), block)?;
            return Ok(());
        };
        version.stamp(record, NEVER);
        // K2
        if !version.is_tombstone() {
            keys.remove(linker, version.image(), None)?;
        }
        let next = version.next(guard);
        if next == 0 {
            // W1: it stays as the key holder of a row that has nothing else.
            arena.publish(block);
            return Ok(());
        }
        if above > 0 {
            // S2: for the later one above it there was no room. The next owner passes both over, or the vacuum takes that one off
            // and then this.
            return Err(arena.out_of_space().into());
        }
        let header: &RowHeader = guard.resolve(row)?;
        if header.head.compare_exchange(block.offset, next, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            linker.limbo.retire(guard.participant(), block)?;
            return Ok(());
        }
        // The next owner has linked over it meanwhile: look again.
    }
}

/// Takes a version that has come to nothing, and has others below it, off the head of its chain, where it was left for want of
/// room; true if this call did so.
pub(super) fn take_off(
    keys: RowKeys<'_, '_>,
    linker: &mut Linker<'_>,
    version: &VersionRef<'_>,
) -> Result<bool, TxnError> {
    let RowKeys { guard, row, .. } = keys;
    let header: &RowHeader = guard.resolve(row)?;
    let next = version.next(guard);
    if next == 0 {
        return Ok(false);
    }
    // K2
    if !version.is_tombstone() {
        keys.remove(linker, version.image(), None)?;
    }
    let block = guard.arena().block_ref(version.offset)?;
    let word_offset = row + std::mem::offset_of!(RowHeader, head) as u64;
    let cut =
        || header.head.compare_exchange(block.offset, next, Ordering::AcqRel, Ordering::Acquire).is_ok();
    Ok(linker.unlink_alone(word_offset, block, cut)?)
}

/// Lets go of a row, if it is owned.
pub(super) fn release(row: &RowHeader, record: u64) {
    // Release: whoever owns the row next sees the stamps.
    let _ = row.owner.compare_exchange(record, 0, Ordering::AcqRel, Ordering::Acquire);
}
