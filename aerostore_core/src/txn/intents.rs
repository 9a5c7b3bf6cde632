//! The slot's list of write intents: everything a transaction owns or has linked, in shared memory, so that whoever finds
//! it dead can finish or undo it (R6).
//!
//! Shape       blocks of 20 entries, hung on the slot and kept over transactions; the slot's `intent_count` says how many
//!             entries of the current transaction are valid. What only a large transaction needed is given back when the session
//!             is idle, ends, or is reaped.
//! Invariants  N1: an entry is written, and counted, before its row's owner word, version or index entry is touched.
//!             N2: the count goes to 0 only after every entry is settled. N3: blocks are taken off the end of the list, one at a
//!             time, by their slot's session, or the reaper who has the slot to himself: nobody else reads the list. A slot that is
//!             free has `KEPT_BLOCKS` at most, so a session that needs more knows all of them.

use crate::epoch::{Guard, Slot};
use crate::index::Blocks;
use crate::shm::{BlockKind, BlockRef, Shared, ShmError};
use crate::sync::{AtomicU64, Ordering};
use crate::txn::TxnError;
use crate::txn::link::Linker;
use std::mem::{offset_of, size_of};

/// Flag in `Intent::shape`: the row was made for this intent, and may not be in the key index yet.
const NEW_ROW: u64 = 1 << 32;
const ENTRIES: usize = 20;
/// Blocks of a list that an idle session keeps, of 1 KiB each.
pub(super) const KEPT_BLOCKS: usize = 512;

/// One write intent.
#[repr(C)]
pub(super) struct Intent {
    row: AtomicU64,
    version: AtomicU64,
    /// Generation of the version's block; `NEW_ROW`.
    shape: AtomicU64,
    /// First of the versions being cut off the chain, or 0.
    tail: AtomicU64,
    tail_generation: AtomicU64,
    /// Offset of the table's root.
    table: AtomicU64,
}

const _: () = assert!(size_of::<Intent>() == 48);

/// A block of entries.
#[repr(C)]
struct IntentBlock {
    next: AtomicU64,
    _pad: u64,
    entries: [Intent; ENTRIES],
}

const _: () = assert!(size_of::<IntentBlock>() == 16 + ENTRIES * 48);

// SAFETY: repr(C), atomics and padding only; all-zero is an empty block.
unsafe impl Shared for IntentBlock {}
// SAFETY: repr(C), atomics only.
unsafe impl Shared for Intent {}

impl Intent {
    /// Offset of the row, or 0 when the entry was given up.
    pub(super) fn row(&self) -> u64 {
        self.row.load(Ordering::Acquire)
    }

    /// Offset of the root of the row's table.
    pub(super) fn table(&self) -> u64 {
        self.table.load(Ordering::Relaxed)
    }

    /// The intent version, if one was made.
    pub(super) fn version(&self) -> Option<BlockRef> {
        match self.version.load(Ordering::Acquire) {
            0 => None,
            offset => Some(BlockRef { offset, generation: low32(self.shape.load(Ordering::Relaxed)) }),
        }
    }

    pub(super) fn is_new_row(&self) -> bool {
        self.shape.load(Ordering::Relaxed) & NEW_ROW != 0
    }

    /// The versions being cut off, if any.
    pub(super) fn tail(&self) -> Option<BlockRef> {
        match self.tail.load(Ordering::Acquire) {
            0 => None,
            offset => {
                Some(BlockRef { offset, generation: low32(self.tail_generation.load(Ordering::Relaxed)) })
            }
        }
    }

    /// Names the version about to be linked.
    pub(super) fn set_version(&self, version: Option<BlockRef>, new_row: bool) {
        // The old pair must never be read with the new generation: an entry without version is always consistent.
        self.version.store(0, Ordering::Release);
        if let Some(block) = version {
            let flag = if new_row { NEW_ROW } else { 0 };
            self.shape.store(u64::from(block.generation) | flag, Ordering::Release);
            self.version.store(block.offset, Ordering::Release);
        } else {
            self.shape.store(0, Ordering::Release);
        }
    }

    /// Moves the entry to another row, which it does not own yet.
    pub(super) fn set_row(&self, row: u64) {
        self.row.store(row, Ordering::Release);
    }

    /// Names the versions about to be cut off; `None` when they are retired.
    pub(super) fn set_tail(&self, tail: Option<BlockRef>) {
        self.tail.store(0, Ordering::Release);
        if let Some(block) = tail {
            self.tail_generation.store(u64::from(block.generation), Ordering::Release);
            self.tail.store(block.offset, Ordering::Release);
        }
    }
}

fn low32(word: u64) -> u32 {
    u32::try_from(word & u64::from(u32::MAX)).unwrap_or(0)
}

/// The owner's view of its list: the blocks' addresses, so that entry `i` is found without walking.
#[derive(Default)]
pub(super) struct IntentList {
    blocks: Vec<u64>,
    count: usize,
}

impl IntentList {
    /// Entries of the current transaction.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Adds an entry for `row` and counts it (N1). Returns its number. Blocks that earlier sessions of the slot have left are found
    /// when they are needed, not when the session begins.
    pub(super) fn push(
        &mut self,
        guard: &Guard<'_>,
        slot: &Slot,
        slot_intents_offset: u64,
        blocks: &mut dyn Blocks,
        table: u64,
        row: u64,
    ) -> Result<usize, ShmError> {
        let index = self.count;
        while self.blocks.len() <= index / ENTRIES {
            let (word, offset) = match self.blocks.last() {
                None => (&slot.intents, slot_intents_offset),
                Some(&last) => {
                    (&guard.resolve::<IntentBlock>(last)?.next, last + offset_of!(IntentBlock, next) as u64)
                }
            };
            let mut next = word.load(Ordering::Acquire);
            if next == 0 {
                let block = blocks.alloc_zeroed(size_of::<IntentBlock>(), BlockKind::INTENTS)?;
                blocks.link(word, offset, block)?;
                next = block.offset;
            }
            self.blocks.push(next);
        }
        let entry = self.entry(guard, index)?;
        entry.version.store(0, Ordering::Relaxed);
        entry.shape.store(0, Ordering::Relaxed);
        entry.tail.store(0, Ordering::Relaxed);
        entry.table.store(table, Ordering::Relaxed);
        entry.row.store(row, Ordering::Relaxed);
        self.count = index + 1;
        slot.intent_count.store(self.count as u64, Ordering::Release);
        Ok(index)
    }

    /// Entry `index`.
    pub(super) fn entry<'g>(&self, guard: &Guard<'g>, index: usize) -> Result<&'g Intent, ShmError> {
        entry_at(guard, self.blocks[index / ENTRIES], index % ENTRIES)
    }

    /// Entries from `count` on are undone (N2).
    pub(super) fn truncate(&mut self, slot: &Slot, count: usize) {
        self.count = count;
        slot.intent_count.store(count as u64, Ordering::Release);
    }

    /// Gives back all blocks but the first `kept`; nothing while there are entries (N3).
    pub(super) fn shed(&mut self, linker: &mut Linker<'_>, kept: usize) -> Result<(), ShmError> {
        if self.count == 0 && self.blocks.len() > kept {
            shed_blocks(linker, &self.blocks, kept)?;
            self.blocks.truncate(kept);
        }
        Ok(())
    }

    /// All entries are settled (N2).
    pub(super) fn clear(&mut self, slot: &Slot) {
        self.count = 0;
        slot.intent_count.store(0, Ordering::Release);
    }
}

fn entry_at<'g>(guard: &Guard<'g>, block: u64, index: usize) -> Result<&'g Intent, ShmError> {
    guard.resolve(block + (offset_of!(IntentBlock, entries) + index * size_of::<Intent>()) as u64)
}

/// Gives back the blocks that a dead slot's largest transaction needed, for its reaper, when all entries are settled (N3).
pub(super) fn shed_dead(linker: &mut Linker<'_>, dead: &Slot) -> Result<(), ShmError> {
    let list = blocks_of(&linker.participant.pin(), dead)?;
    shed_blocks(linker, &list, KEPT_BLOCKS)
}

/// Takes all but the first `kept` of `list`, which is all of it, off its end.
fn shed_blocks(linker: &mut Linker<'_>, list: &[u64], kept: usize) -> Result<(), ShmError> {
    let participant = linker.participant;
    let guard = participant.pin();
    for pair in list.windows(2).skip(kept - 1).rev() {
        let next = &guard.resolve::<IntentBlock>(pair[0])?.next;
        let block = guard.arena().block_ref(pair[1])?;
        let cut = || next.compare_exchange(block.offset, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        linker.unlink_own(pair[0] + offset_of!(IntentBlock, next) as u64, block, cut);
    }
    Ok(())
}

/// Offsets of the blocks of a slot's list, in order.
pub(crate) fn blocks_of(guard: &Guard<'_>, slot: &Slot) -> Result<Vec<u64>, ShmError> {
    let mut blocks = Vec::new();
    let mut offset = slot.intents.load(Ordering::Acquire);
    while offset != 0 {
        blocks.push(offset);
        offset = guard.resolve::<IntentBlock>(offset)?.next.load(Ordering::Acquire);
    }
    Ok(blocks)
}

/// Calls `f` for every valid entry of a slot that is not this session's own, the newest first (S2).
pub(super) fn for_each<'g>(
    guard: &Guard<'g>,
    slot: &Slot,
    mut f: impl FnMut(&'g Intent) -> Result<(), TxnError>,
) -> Result<(), TxnError> {
    let count = usize::try_from(slot.intent_count.load(Ordering::Acquire)).unwrap_or(0);
    let blocks = blocks_of(guard, slot)?;
    for index in (0..count.min(blocks.len() * ENTRIES)).rev() {
        f(entry_at(guard, blocks[index / ENTRIES], index % ENTRIES)?)?;
    }
    Ok(())
}
