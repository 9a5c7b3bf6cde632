//! After the decision: every intent is stamped or taken back, every owned row let go. Done by the transaction itself, or,
//! when its process is dead, by the reaper; every step can be done again.

#![forbid(unsafe_code)]

use crate::epoch::{Guard, Limbo};
use crate::mvcc::{BeginWord, NEVER, RowHeader, VersionRef};
use crate::shm::{BlockKind, BlockRef, BlockState, ShmError};
use crate::sync::Ordering;
use crate::txn::intents::Intent;

/// Retires a chain of versions that has been cut off, from `first` to its end.
pub(super) fn retire_chain(guard: &Guard<'_>, limbo: &mut Limbo, first: BlockRef) -> Result<(), ShmError> {
    retire_until(guard, limbo, first, &[])
}

fn retire_until(guard: &Guard<'_>, limbo: &mut Limbo, first: BlockRef, keep: &[u64]) -> Result<(), ShmError> {
    let arena = guard.arena();
    let mut block = first;
    loop {
        let Some(word) = guard.word_of(block)? else { return Ok(()) };
        if keep.contains(&block.offset) || word.kind() != BlockKind::VERSION {
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

/// Versions of a row, newest first. A row that is not LIVE has none: it was removed, and may be about to become another.
fn chain(guard: &Guard<'_>, row: u64) -> Result<Vec<u64>, ShmError> {
    let mut offsets = Vec::new();
    if guard.block_word(row)?.state() != BlockState::Live {
        return Ok(offsets);
    }
    let row: &RowHeader = guard.resolve(row)?;
    let mut offset = guard.protect(&row.head);
    while offset != 0 {
        offsets.push(offset);
        offset = VersionRef::resolve(guard, offset)?.next(guard);
    }
    Ok(offsets)
}

/// Retires the versions that a link has pushed out of the chain: those from `tail` on that the row no longer reaches.
pub(super) fn settle_tail(
    guard: &Guard<'_>,
    limbo: &mut Limbo,
    row: u64,
    tail: BlockRef,
) -> Result<(), ShmError> {
    let keep = chain(guard, row)?;
    retire_until(guard, limbo, tail, &keep)
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
/// each is the head of its chain when its turn comes (S2), or not in it at all.
pub(super) fn settle_aborted(
    guard: &Guard<'_>,
    limbo: &mut Limbo,
    record: u64,
    entry: &Intent,
) -> Result<(), ShmError> {
    take_back(guard, limbo, record, entry)?;
    release(guard.resolve(entry.row())?, record);
    Ok(())
}

/// Takes an intent back, of an aborted transaction or of one that rolls back to a savepoint.
pub(super) fn take_back(
    guard: &Guard<'_>,
    limbo: &mut Limbo,
    record: u64,
    entry: &Intent,
) -> Result<(), ShmError> {
    if let Some(block) = entry.version() {
        unlink_aborted(guard, limbo, record, entry.row(), block)?;
    }
    if let Some(block) = entry.tail() {
        settle_interrupted_link(guard, limbo, record, entry.row(), block)?;
    }
    Ok(())
}

/// The link that was to push `block` out may have happened or not; the block may be an earlier intent of `record` itself.
fn settle_interrupted_link(
    guard: &Guard<'_>,
    limbo: &mut Limbo,
    record: u64,
    row: u64,
    block: BlockRef,
) -> Result<(), ShmError> {
    if guard.word_of(block)?.is_none_or(|word| word.kind() != BlockKind::VERSION) {
        return Ok(());
    }
    let version = VersionRef::resolve(guard, block.offset)?;
    let taken_back = match version.begin(guard) {
        BeginWord::Intent(begin) => begin == record,
        // A reaper before this one may have come as far as stamping it.
        BeginWord::Stamped(NEVER) => chain(guard, row)?.contains(&block.offset),
        BeginWord::Stamped(_) => false,
    };
    if taken_back {
        return unlink_aborted(guard, limbo, record, row, block);
    }
    settle_tail(guard, limbo, row, block)
}

fn unlink_aborted(
    guard: &Guard<'_>,
    limbo: &mut Limbo,
    record: u64,
    row: u64,
    block: BlockRef,
) -> Result<(), ShmError> {
    let arena = guard.arena();
    loop {
        if guard.word_of(block)?.is_none() {
            return Ok(());
        }
        if !chain(guard, row)?.contains(&block.offset) {
            // Never linked, or pushed out by the next owner, who may have retired it already.
            limbo.retire(guard.participant(), block)?;
            return Ok(());
        }
        let version = VersionRef::resolve(guard, block.offset)?;
        version.stamp(record, NEVER);
        let next = version.next(guard);
        if next == 0 {
            // W1: it stays as the key holder of a row that has nothing else.
            arena.publish(block);
            return Ok(());
        }
        let header: &RowHeader = guard.resolve(row)?;
        if header.head.compare_exchange(block.offset, next, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            limbo.retire(guard.participant(), block)?;
            return Ok(());
        }
        // The next owner has linked over it meanwhile: look again.
    }
}

/// Lets go of a row, if it is owned.
pub(super) fn release(row: &RowHeader, record: u64) {
    // Release: whoever owns the row next sees the stamps.
    let _ = row.owner.compare_exchange(record, 0, Ordering::AcqRel, Ordering::Acquire);
}
