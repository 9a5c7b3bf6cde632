//! Giving memory back: slabs without a block in use become free for every size and every session.
//!
//! Invariants  only the owner of a slab releases it, after it made sure that all blocks are free: nobody else hands them out.
//!             H2 of `heap`: the slab's entries leave the pool's list first. S4 of `slab`: the header keeps a generation beyond
//!             those of all its blocks, so references to the old ones fail.
#![forbid(unsafe_code)]

use super::heap::{Heap, Pool};
use super::refill::push_free_blocks;
use super::slab::{NO_TAG, SlabHeader, SlabOwner, SlabUse, SlabWord, block_count, slab_of};
use super::{Arena, BlockState, SLAB_BYTES, SlabRef};
use crate::sync::Ordering;
use crate::sys::u64_of;

impl Heap {
    /// Asks the other sessions to return what they do not need.
    pub(super) fn call_for_memory(&mut self) {
        // Relaxed: a hint.
        self.pressure_seen = self.arena.header().pressure_events.fetch_add(1, Ordering::Relaxed) + 1;
    }

    /// Has another session found no room since this one last heeded it?
    pub fn others_are_short(&self) -> bool {
        // Relaxed: a hint.
        self.arena.header().pressure_events.load(Ordering::Relaxed) != self.pressure_seen
    }

    /// Returns unneeded slabs if somebody asked since the last time.
    pub(super) fn heed_pressure(&mut self) {
        // Relaxed: a hint.
        let pressure = self.arena.header().pressure_events.load(Ordering::Relaxed);
        if pressure != self.pressure_seen {
            self.pressure_seen = pressure;
            self.trim();
        }
    }

    /// Returns what is not needed of a pool in which many blocks are free.
    #[cold]
    pub(super) fn trim_grown(&mut self, index: usize) {
        self.trim_pool(index);
        let pool = &mut self.pools[index];
        // What stays is spread over slabs in use: sorted through again only when it has doubled.
        pool.trim_at = Pool::trim_at_first(pool.key).max(pool.free.len() * 2);
    }

    /// Returns the pool's slabs that have no block in use; tells how many.
    pub(super) fn trim_pool(&mut self, index: usize) -> usize {
        let pool = &mut self.pools[index];
        if pool.key.tag != NO_TAG {
            return 0; // S3: a tagged slab stays on its list
        }
        let arena = &self.arena;
        while pool.fresh_count > 0 {
            let offset = pool.take_fresh();
            pool.free.push(offset);
        }
        let hinted: Vec<u32> = pool
            .slabs
            .iter()
            .copied()
            .filter(|&slab| arena.slab_header(slab).is_some_and(SlabHeader::take_hint))
            .collect();
        if !hinted.is_empty() {
            let mut hinted = hinted;
            hinted.sort_unstable();
            pool.free.retain(|offset| hinted.binary_search(&slab_of(*offset)).is_err()); // H2
            for &slab in &hinted {
                push_free_blocks(arena, slab, &mut pool.free);
            }
        }
        // Downward, so that the list goes on with the lowest addresses and high slabs empty.
        pool.free.sort_unstable_by(|a, b| b.cmp(a));
        let mut empty: Vec<u32> = Vec::new();
        for run in pool.free.chunk_by(|a, b| slab_of(*a) == slab_of(*b)) {
            let slab = slab_of(run[0]);
            if u64_of(run.len()) == block_count(slab, pool.key.class) {
                empty.push(slab);
            }
        }
        if empty.is_empty() {
            return 0;
        }
        empty.sort_unstable();
        pool.free.retain(|offset| empty.binary_search(&slab_of(*offset)).is_err());
        pool.slabs.retain(|slab| empty.binary_search(slab).is_err());
        self.kept_back.retain(|slab| empty.binary_search(slab).is_err());
        for &slab in &empty {
            self.release_empty(slab);
        }
        empty.len()
    }

    /// Gives an own slab back whose blocks are all free.
    pub(super) fn release_empty(&self, slab: u32) {
        let Some(now) = self.arena.slab_ref(slab) else { return };
        let Some(header) = self.arena.slab_header(slab) else { return };
        if !now.word().is_owned_by(self.owner) {
            debug_assert!(false, "a slab of another session is listed");
            return;
        }
        let highest = now.blocks(&self.arena).map(|(_, word)| word.generation()).max().unwrap_or(0);
        // Relaxed: the CAS in `release` publishes it. S4
        header.generation.fetch_max(highest.wrapping_add(1).max(1), Ordering::Relaxed);
        release(&self.arena, slab, now.word());
    }

    /// Returns orphans that have no block in use, whatever their size.
    pub(super) fn release_empty_orphans(&mut self) {
        let slabs: Vec<_> =
            self.arena.slabs().filter(|slab| slab.word().owner() == SlabOwner::Orphan).collect();
        for slab in slabs {
            let Some(header) = self.arena.slab_header(slab.index()) else { continue };
            // Relaxed: as in `try_adopt`.
            let tagged = header.tag.load(Ordering::Relaxed) != NO_TAG;
            match slab.word().usage() {
                SlabUse::Blocks(_) if !tagged => self.release_if_empty(slab, header),
                SlabUse::Large(_) => self.dissolve_if_free(slab.index(), slab.word()),
                _ => {}
            }
        }
    }

    /// Takes an orphan over, and returns it if no block in it is in use.
    fn release_if_empty(&self, slab: SlabRef, header: &SlabHeader) {
        let (word, own) = (slab.word(), slab.word().adopted(self.owner));
        // First: before, others may take it, and its memory may be given back (X5).
        if !header.replace(word, own) {
            return;
        }
        let is_empty = slab.blocks(&self.arena).all(|(_, word)| word.state() == BlockState::Free);
        if is_empty {
            self.release_empty(slab.index());
        } else {
            self.disown(header, own, word);
        }
    }

    /// Leaves a slab without an owner again.
    pub(super) fn disown(&self, header: &SlabHeader, own: SlabWord, orphan: SlabWord) {
        if header.replace(own, orphan) && header.has_hint() {
            // Release: pairs with the Acquire in `Heap::adopt_orphan`. Who freed a block meanwhile told us.
            self.arena.header().orphan_events.fetch_add(1, Ordering::Release);
        }
    }

    /// Returns orphans in which blocks were freed since the last call and none is in use, among `count` slabs from `first` on.
    /// Tells where to go on; none after the last.
    pub fn release_emptied_orphans(&mut self, first: u32, count: u32) -> Option<u32> {
        let first = first.max(slab_of(self.arena.first_slab() * SLAB_BYTES));
        let end = self.arena.slab_end();
        let next = first.saturating_add(count).min(end);
        for index in first..next {
            let Some(slab) = self.arena.slab_ref(index) else { continue };
            let Some(header) = self.arena.slab_header(index) else { continue };
            // Relaxed: as in `try_adopt`.
            let is_tagged = header.tag.load(Ordering::Relaxed) != NO_TAG;
            if slab.word().owner() != SlabOwner::Orphan || is_tagged || !header.take_empty_hint() {
                continue;
            }
            match slab.word().usage() {
                SlabUse::Blocks(_) => self.release_if_empty(slab, header),
                SlabUse::Large(_) => self.dissolve_if_free(index, slab.word()),
                _ => {}
            }
        }
        (next < end).then_some(next)
    }
}

/// Lets go of a slab, whose header's generation is up to date: it is free for everyone, or without memory (X4).
pub(super) fn release(arena: &Arena, slab: u32, word: SlabWord) {
    let Some(header) = arena.slab_header(slab) else { return };
    let shared = arena.header();
    if !arena.has_memory(slab) {
        if header.replace(word, SlabWord::ABSENT) {
            // Release: pairs with the Acquire in `Heap::make_one_present`.
            shared.absent_hint.fetch_add(1, Ordering::Release);
        }
    } else if header.replace(word, SlabWord::FREE) {
        // Relaxed: hints; see `claim_slab`.
        let is_tagged = arena.extent_serves(slab, true);
        let low = if is_tagged { &shared.low_tagged_slab } else { &shared.low_slab };
        low.fetch_min(u64::from(slab), Ordering::Relaxed);
        // Release: pairs with the Acquire in `Heap::world`.
        shared.release_events.fetch_add(1, Ordering::Release);
    }
}
