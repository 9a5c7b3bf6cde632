//! Blocks larger than a slab: runs of neighbouring slabs within an extent.
//!
//! Invariants  N1: a run is claimed slab by slab, all of them forming; then the later ones become tails, and the first one, last,
//!             the head. Until then a death leaves slabs that are forming, or tails that no head covers; both are freed by
//!             the reaper. N2: a run is dissolved only by the owner of its head, from the last tail to the head; so tails that
//!             follow a head without a gap are its own, however far a dead owner got.
//! Ordering    as for slabs: the words are moved by CAS with `AcqRel`.

use super::block::{BLOCK_HEADER_BYTES, BlockWord};
use super::class::{LARGE_PAYLOAD_BYTES_MAX, LARGE_SLABS_MAX};
use super::heap::{Heap, payload_at};
use super::slab::{
    NO_TAG, SLABS_PER_EXTENT, SlabOwner, SlabUse, SlabWord, is_first_of_extent, slab_of, slab_start,
};
use super::trim::release;
use super::{Arena, BlockKind, BlockRef, BlockState, Reserve, SLAB_BYTES, ShmError};
use crate::sync::Ordering;
use crate::sys::u64_of;

const _: () = assert!(LARGE_SLABS_MAX == SLABS_PER_EXTENT - 1);

impl Heap {
    pub(super) fn alloc_large(
        &mut self,
        bytes: usize,
        kind: BlockKind,
        birth: u64,
        reserve: Reserve,
    ) -> Result<BlockRef, ShmError> {
        let bytes = u64_of(bytes);
        if bytes > LARGE_PAYLOAD_BYTES_MAX {
            return Err(ShmError::TooLarge { bytes, limit: LARGE_PAYLOAD_BYTES_MAX });
        }
        let count = (bytes + BLOCK_HEADER_BYTES).div_ceil(SLAB_BYTES);
        self.heed_pressure();
        loop {
            let Some(head) = self.find_run(count, reserve)? else {
                return Err(self.arena.out_of_space());
            };
            if let Some(block) = self.form_run(head, count, kind, birth)? {
                return Ok(block);
            }
        }
    }

    /// Claims `count` neighbouring slabs, growing the arena or tidying up if need be; their first, or none.
    fn find_run(&mut self, count: u64, reserve: Reserve) -> Result<Option<u32>, ShmError> {
        self.dissolve_free_runs();
        self.adopt_free_runs();
        // Relaxed: a hint.
        let low = self.arena.header().low_slab.load(Ordering::Relaxed);
        let first = u32::try_from(low).unwrap_or(0);
        if let Some(head) = self.claim_run(first, self.arena.slab_end_for(Reserve::No), count, false) {
            return Ok(Some(head));
        }
        while self.grow()? {
            if let Some(head) = self.claim_run(first, self.arena.slab_end_for(Reserve::No), count, false) {
                return Ok(Some(head));
            }
        }
        self.trim();
        self.release_empty_orphans();
        let found = self.claim_run(0, self.arena.slab_end_for(reserve), count, true);
        if found.is_none() {
            self.call_for_memory();
        }
        Ok(found)
    }

    /// Claims the first `count` free neighbours between `first` and `end`, in an extent for them or in `any`.
    fn claim_run(&self, first: u32, end: u32, count: u64, any: bool) -> Option<u32> {
        let first = first.max(slab_of(self.arena.first_slab() * SLAB_BYTES));
        let mut length = 0;
        for slab in first..end {
            // The first slab of an extent holds slab headers, so it is in no run, and no run spans extents.
            let counts = !is_first_of_extent(slab)
                && self.is_free(slab)
                && (any || self.arena.extent_serves(slab, false));
            length = if counts { length + 1 } else { 0 };
            if length == count {
                let head = slab - u32::try_from(count - 1).unwrap_or(0);
                if self.claim(head..=slab, SlabWord::FREE) {
                    return Some(head);
                }
                length = 0;
            }
        }
        None
    }

    /// Makes claimed neighbours one block and hands it out; none when this session was declared dead meanwhile.
    fn form_run(
        &mut self,
        head: u32,
        count: u64,
        kind: BlockKind,
        birth: u64,
    ) -> Result<Option<BlockRef>, ShmError> {
        let forming = SlabWord::owned(self.owner, SlabUse::Forming);
        let _ = self.arena.mapping().populate(u64::from(head) * SLAB_BYTES, count * SLAB_BYTES);
        let mut generation = 0;
        for slab in head..head + u32::try_from(count).unwrap_or(0) {
            let Some(header) = self.arena.slab_header(slab) else { return Ok(None) };
            // Relaxed, all of these: published by the CAS. S4: the slabs' memory counts as used from now on.
            let used = header.generation.load(Ordering::Relaxed);
            // A tail holds no block whose end would count: its use counts when it begins.
            let counted = if slab == head { used } else { used.saturating_add(1) };
            header.generation.store(counted.max(1), Ordering::Relaxed);
            header.tag.store(NO_TAG, Ordering::Relaxed);
            header.hint.store(0, Ordering::Relaxed);
            header.listed.store(0, Ordering::Relaxed);
            generation = if slab == head { used } else { generation };
            if slab != head && !header.replace(forming, SlabWord::owned(self.owner, SlabUse::Tail)) {
                return Ok(None);
            }
        }
        let offset = payload_at(slab_start(head));
        let block = self.arena.block_header(offset)?;
        let reserved = BlockWord::free(generation).reserved(kind);
        block.birth.store(birth, Ordering::Relaxed);
        block.word.store(reserved.bits(), Ordering::Release);
        let Some(header) = self.arena.slab_header(head) else { return Ok(None) };
        // N1: last, the head.
        if !header.replace(forming, SlabWord::owned(self.owner, SlabUse::Large(count))) {
            return Ok(None);
        }
        self.runs.push(head);
        Ok(Some(BlockRef { offset, generation: reserved.generation() }))
    }

    /// Returns the slabs of an own run whose block is free.
    pub(super) fn dissolve(&mut self, head: u32) {
        self.runs.retain(|&run| run != head);
        let Some(slab) = self.arena.slab_ref(head) else { return };
        if let SlabUse::Large(count) = slab.word().usage()
            && slab.word().is_owned_by(self.owner)
        {
            dissolve_tails(&self.arena, head, count);
            self.release_empty(head);
        }
    }

    /// Returns the slabs of own runs that somebody else freed.
    pub(super) fn dissolve_free_runs(&mut self) {
        let arena = &self.arena;
        let freed: Vec<u32> = self.runs.iter().copied().filter(|&run| is_block_free(arena, run)).collect();
        for run in freed {
            self.dissolve(run);
        }
    }

    /// Returns the slabs of runs without an owner that were freed, if any may have been since the last look.
    fn adopt_free_runs(&mut self) {
        // Acquire: pairs with the Release of those who count events; the orphans are seen.
        let events = self.arena.header().orphan_events.load(Ordering::Acquire);
        if events == self.orphans_seen {
            return;
        }
        self.orphans_seen = events;
        let arena = self.arena.clone();
        for slab in arena.slabs().filter(|slab| slab.word().owner() == SlabOwner::Orphan) {
            if matches!(slab.word().usage(), SlabUse::Large(_)) {
                self.dissolve_if_free(slab.index(), slab.word());
            }
        }
    }

    /// Takes an orphan run over, and returns its slabs if its block is free.
    pub(super) fn dissolve_if_free(&mut self, head: u32, word: SlabWord) {
        let own = word.adopted(self.owner);
        let Some(header) = self.arena.slab_header(head) else { return };
        // First: before, its memory may be given back (X5).
        if !header.replace(word, own) {
            return;
        }
        if is_block_free(&self.arena, head) {
            self.dissolve(head);
        } else {
            self.disown(header, own, word);
        }
    }
}

fn is_block_free(arena: &Arena, head: u32) -> bool {
    arena.block_word(payload_at(slab_start(head))).is_ok_and(|word| word.state() == BlockState::Free)
}

/// Frees the tails behind `head`, the last one first. N2
fn dissolve_tails(arena: &Arena, head: u32, count: u64) {
    let end = head + u32::try_from(count).unwrap_or(0);
    let is_tail = |slab: &u32| arena.slab_ref(*slab).is_some_and(|slab| slab.word().usage() == SlabUse::Tail);
    let tails: Vec<u32> = (head + 1..end).take_while(is_tail).collect();
    for &slab in tails.iter().rev() {
        if let Some(now) = arena.slab_ref(slab) {
            release(arena, slab, now.word());
        }
    }
}
