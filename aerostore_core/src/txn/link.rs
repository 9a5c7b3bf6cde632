//! Linking and unlinking structure blocks so that a death at any store loses nothing.
//!
//! Before the CAS that makes a block reachable (or unreachable) its slot names word, block and generation. The reaper of a
//! dead slot looks at the word: a linked block becomes LIVE, one that is not linked is still RESERVED and goes back with
//! its slab; an unlinked block is retired by generation, which does nothing if somebody has done so before.

#![forbid(unsafe_code)]

use crate::epoch::{Guard, Limbo, Participant, Slot};
use crate::index::{Blocks, Exchange, HashTable, STRUCTURE_BIRTH, ensure_live, named_by};
use crate::mvcc::{Definition, NextWord, TableRoot};
use crate::shm::{BlockKind, BlockRef, BlockState, BlockWord, Heap, Reserve, ShmError};
use crate::sync::{AtomicU64, Ordering};
use std::mem::offset_of;

const UNLINK: u64 = 1 << 32;
/// Beside `UNLINK`: a version that is taken out of the middle of its chain.
const ALONE: u64 = 1 << 33;
/// One block takes the place of another.
const EXCHANGE: u64 = 1 << 34;
/// Beside `EXCHANGE`: the block is LIVE before it is linked, see [`Exchange::is_copy`].
const COPY: u64 = 1 << 35;

/// A session's memory, as index structures see it.
pub(crate) struct Linker<'a> {
    pub(super) participant: &'a Participant,
    pub(super) heap: &'a mut Heap,
    pub(super) limbo: &'a mut Limbo,
    /// Whether blocks may come from what is kept back.
    pub(super) reserve: Reserve,
}

fn announce(slot: &Slot, word_offset: u64, block: u64, shape: u64) {
    slot.link_shape.store(shape, Ordering::Relaxed);
    slot.link_block.store(block, Ordering::Relaxed);
    // Release: the reaper that sees the word sees the block.
    slot.link_word.store(word_offset, Ordering::Release);
}

fn withdraw(slot: &Slot) {
    slot.link_word.store(0, Ordering::Release);
}

impl Linker<'_> {
    /// Cuts `block` and what hangs on it off `word`, and lets `retire` retire it if this call did the cutting.
    pub(super) fn unlink(
        &mut self,
        word_offset: u64,
        block: BlockRef,
        cut: impl FnOnce() -> bool,
        retire: impl FnOnce(&Participant, &mut Limbo) -> Result<(), ShmError>,
    ) -> Result<bool, ShmError> {
        let slot = self.participant.slot();
        announce(slot, word_offset, block.offset, UNLINK | u64::from(block.generation));
        let done = cut();
        if done {
            retire(self.participant, self.limbo)?;
        }
        withdraw(slot);
        Ok(done)
    }

    /// Takes one version out of the middle of its chain by `cut`, and retires it if this call did that.
    pub(super) fn unlink_alone(
        &mut self,
        word_offset: u64,
        version: BlockRef,
        cut: impl FnOnce() -> bool,
    ) -> Result<bool, ShmError> {
        let slot = self.participant.slot();
        announce(slot, word_offset, version.offset, UNLINK | ALONE | u64::from(version.generation));
        let done = cut();
        if done {
            self.limbo.retire(self.participant, version)?;
        }
        withdraw(slot);
        Ok(done)
    }
}

impl Linker<'_> {
    /// Cuts off a block that only this session can reach, and frees it.
    pub(super) fn unlink_own(&mut self, word_offset: u64, block: BlockRef, cut: impl FnOnce() -> bool) {
        let (slot, owner) = (self.participant.slot(), self.participant.owner());
        announce(slot, word_offset, block.offset, UNLINK | u64::from(block.generation));
        let retired = cut() && self.participant.arena().retire(block, owner.slot);
        withdraw(slot);
        if retired {
            self.heap.free(block);
        }
    }

    /// Links `block`, on which `parts` hang, by `cas`; all of them become LIVE, or all are given back.
    pub(super) fn link_with(
        &mut self,
        word_offset: u64,
        block: BlockRef,
        parts: &[BlockRef],
        cas: impl FnOnce() -> bool,
    ) -> bool {
        let slot = self.participant.slot();
        let arena = self.participant.arena();
        announce(slot, word_offset, block.offset, u64::from(block.generation));
        for part in parts {
            arena.publish(*part);
        }
        let linked = cas();
        if linked {
            arena.publish(block);
        } else {
            for part in parts {
                if arena.retire(*part, self.participant.owner().slot) {
                    self.heap.free(*part);
                }
            }
            self.heap.free(block);
        }
        withdraw(slot);
        linked
    }
}

impl Blocks for Linker<'_> {
    fn alloc_zeroed(&mut self, bytes: usize, kind: BlockKind) -> Result<BlockRef, ShmError> {
        self.heap.alloc_zeroed(bytes, kind, STRUCTURE_BIRTH, self.reserve)
    }

    fn sparing(
        &mut self,
        deed: &mut dyn FnMut(&mut dyn Blocks) -> Result<(), ShmError>,
    ) -> Result<(), ShmError> {
        let reserve = std::mem::replace(&mut self.reserve, Reserve::No);
        let done = deed(self);
        self.reserve = reserve;
        done
    }

    fn link(&mut self, word: &AtomicU64, word_offset: u64, block: BlockRef) -> Result<bool, ShmError> {
        let cas = || word.compare_exchange(0, block.offset, Ordering::AcqRel, Ordering::Acquire).is_ok();
        Ok(self.link_with(word_offset, block, &[], cas))
    }

    fn replace(
        &mut self,
        word: &AtomicU64,
        word_offset: u64,
        old: u64,
        new: u64,
        parts: &mut dyn Iterator<Item = u64>,
    ) -> Result<bool, ShmError> {
        let block = self.participant.arena().block_ref(old)?;
        let cut = || word.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).is_ok();
        self.unlink(word_offset, block, cut, |participant, limbo| {
            for part in parts {
                retire_linked(participant, limbo, part)?;
            }
            // Last: while the table itself is LIVE, the reaper can still find its parts.
            retire_linked(participant, limbo, old)
        })
    }

    fn alloc(&mut self, bytes: usize, kind: BlockKind) -> Result<BlockRef, ShmError> {
        // Copies come and go at the rate of updates, of which a transaction may make many.
        self.limbo.collect(self.participant, self.heap)?;
        self.heap.alloc(bytes, kind, self.participant.epoch(), self.reserve)
    }

    fn has_room(&mut self, bytes: u64) -> bool {
        self.heap.has_room(bytes)
    }

    fn give_back(&mut self, block: BlockRef) {
        self.heap.free(block);
    }

    fn exchange(
        &mut self,
        word: &AtomicU64,
        word_offset: u64,
        change: &Exchange<'_>,
    ) -> Result<bool, ShmError> {
        let arena = self.participant.arena();
        let slot = self.participant.slot();
        announce_exchange(slot, word_offset, change);
        if change.is_copy() {
            change.made.iter().for_each(|block| arena.publish_own(*block));
        }
        let done = word.compare_exchange(change.from, change.to, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if done {
            if !change.is_copy() {
                for block in change.made {
                    arena.publish(*block);
                }
            }
            for block in change.replaced.iter().chain(&change.dropped) {
                self.limbo.retire(self.participant, *block)?;
            }
        } else if change.is_copy() {
            for block in change.made {
                arena.retire(*block, self.participant.owner().slot);
            }
        }
        withdraw(slot);
        if !done {
            // Last: while this is announced, what is RESERVED was not linked, and what is not was.
            for block in change.made {
                self.heap.free(*block);
            }
        }
        Ok(done)
    }
}

fn announce_exchange(slot: &Slot, word_offset: u64, change: &Exchange<'_>) {
    let parts =
        |block: Option<&BlockRef>| block.map_or((0, 0), |block| (block.offset, u64::from(block.generation)));
    let (made, generation) = parts(change.made.last());
    let (replaced, replaced_generation) = parts(change.replaced.as_ref());
    let (dropped, dropped_generation) = parts(change.dropped.as_ref());
    slot.replaced_block.store(replaced, Ordering::Relaxed);
    slot.dropped_block.store(dropped, Ordering::Relaxed);
    slot.exchange_generations.store(replaced_generation | dropped_generation << 32, Ordering::Relaxed);
    let copy = if change.is_copy() { COPY } else { 0 };
    announce(slot, word_offset, made, EXCHANGE | copy | generation);
}

/// Retires a block that was linked, by whoever has just unlinked it. Its linker may not have come to publish it.
fn retire_linked(participant: &Participant, limbo: &mut Limbo, offset: u64) -> Result<(), ShmError> {
    let block = participant.arena().block_ref(offset)?;
    participant.arena().publish(block);
    limbo.retire(participant, block)?;
    Ok(())
}

/// Finishes what a dead slot was linking or unlinking.
pub(super) fn settle_link(guard: &Guard<'_>, slot: &Slot, limbo: &mut Limbo) -> Result<(), ShmError> {
    let word_offset = slot.link_word.load(Ordering::Acquire);
    if word_offset == 0 {
        return Ok(());
    }
    if slot.link_shape.load(Ordering::Relaxed) & EXCHANGE != 0 {
        settle_exchange(guard, slot, word_offset, limbo)?;
        slot.link_word.store(0, Ordering::Release);
        return Ok(());
    }
    let arena = guard.arena();
    let offset = slot.link_block.load(Ordering::Relaxed);
    if !arena.is_in_use(offset) || !arena.is_in_use(word_offset) {
        // Another reaper has settled it, and what it was about has been given back since.
        slot.link_word.store(0, Ordering::Release);
        return Ok(());
    }
    let shape = slot.link_shape.load(Ordering::Relaxed);
    let generation = u32::try_from(shape & u64::from(u32::MAX)).unwrap_or(0);
    let block = BlockRef { offset, generation };
    let word: &AtomicU64 = guard.resolve(word_offset)?;
    let current = arena.block_word(offset)?;
    let is_table = current.kind() == BlockKind::TABLE;
    let linked = match current.kind() {
        BlockKind::TABLE => TableRoot::is_listed(guard, word, offset)?,
        // The dead one's reservation lasts until its slot is freed, so the version whose word this is has not been used again.
        BlockKind::VERSION => {
            let older = NextWord::of(word).older();
            // If another has taken it out alone, the chain below it is still one.
            older == offset || (shape & ALONE == 0 && older != 0)
        }
        BlockKind::SCHEMA => {
            word.load(Ordering::Acquire) == offset || is_definition(guard, word_offset, offset)?
        }
        _ => word.load(Ordering::Acquire) == offset,
    };
    if shape & UNLINK == 0 {
        if linked {
            arena.publish(block);
        } else if is_table && current.generation() == generation && current.state() == BlockState::Reserved {
            for part in guard.resolve::<TableRoot>(offset)?.parts(guard)? {
                limbo.retire(guard.participant(), arena.block_ref(part)?)?;
            }
        }
    } else if !linked
        && current.generation() == generation
        && matches!(current.state(), BlockState::Live | BlockState::Retired)
    {
        // RETIRED: whoever unlinked it has come that far, and may have left what hangs on it.
        match current.kind() {
            BlockKind::HASH_TABLE if current.state() == BlockState::Retired => {}
            BlockKind::HASH_TABLE => {
                let table: &HashTable = guard.resolve(offset)?;
                for segment in table.segments(guard, offset)? {
                    let part = arena.block_ref(segment)?;
                    if arena.block_word(segment)?.kind() == BlockKind::HASH_SEGMENT {
                        arena.publish(part);
                        limbo.retire(guard.participant(), part)?;
                    }
                }
                limbo.retire(guard.participant(), block)?;
            }
            BlockKind::VERSION if shape & ALONE == 0 => super::settle::retire_chain(guard, limbo, block)?,
            _ => {
                limbo.retire(guard.participant(), block)?;
            }
        }
    }
    slot.link_word.store(0, Ordering::Release);
    Ok(())
}

/// Has whoever took over an alteration (J7 of `alter`) made that block a definition of the table in whose root the word of the next one lies? Then
/// it stays. Asked after that word was read, which is cleared last.
#[cold]
fn is_definition(guard: &Guard<'_>, word_offset: u64, block: u64) -> Result<bool, ShmError> {
    let table = word_offset.saturating_sub(offset_of!(TableRoot, next_definition) as u64);
    let newest = guard.resolve::<TableRoot>(table)?.definition.load(Ordering::Acquire);
    Ok(Definition::chain(guard, newest)?.contains(&block))
}

/// As `settle_link`, of an exchange. What the dead one had loaded is held by its reservation until its slot is freed, so the block it
/// wanted to replace has not been used again; what it made may have been.
fn settle_exchange(
    guard: &Guard<'_>,
    slot: &Slot,
    word_offset: u64,
    limbo: &mut Limbo,
) -> Result<(), ShmError> {
    let arena = guard.arena();
    if !arena.is_in_use(word_offset) {
        return Ok(()); // settled by another reaper, and given back since
    }
    let half = |word: u64| u32::try_from(word & u64::from(u32::MAX)).unwrap_or(0);
    let shape = slot.link_shape.load(Ordering::Relaxed);
    let generations = slot.exchange_generations.load(Ordering::Relaxed);
    let made = BlockRef { offset: slot.link_block.load(Ordering::Relaxed), generation: half(shape) };
    let replaced =
        BlockRef { offset: slot.replaced_block.load(Ordering::Relaxed), generation: half(generations) };
    let dropped =
        BlockRef { offset: slot.dropped_block.load(Ordering::Relaxed), generation: half(generations >> 32) };
    let word: &AtomicU64 = guard.resolve(word_offset)?;
    let named = named_by(guard.protect(word));
    let mut was_linked = if made.offset == 0 { named != replaced.offset } else { named == made.offset };
    if was_linked && made.offset != 0 {
        ensure_live(guard, made.offset)?;
    } else if made.offset != 0 {
        // O3: unless it is a copy it is RESERVED only if it was never linked; then it goes back with its slab.
        let state = guard.word_of(made)?.map(BlockWord::state);
        was_linked = state != Some(BlockState::Reserved);
        if shape & COPY != 0 && state == Some(BlockState::Live) {
            limbo.retire(guard.participant(), made)?;
        }
    }
    if replaced.offset != 0 && named != replaced.offset {
        limbo.retire(guard.participant(), replaced)?;
    }
    if dropped.offset != 0 && was_linked {
        limbo.retire(guard.participant(), dropped)?;
    }
    Ok(())
}
