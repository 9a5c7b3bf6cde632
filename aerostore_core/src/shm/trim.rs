//! Giving memory back: slabs without a block in use become free for every size and every session.
//!
//! Invariants  only the owner of a slab releases it, after it made sure that all blocks are free: nobody else hands them out.
//!             H2 of `heap`: the slab's entries leave the pool's list first. S4 of `slab`: the header keeps a generation beyond
//!             those of all its blocks, so references to the old ones fail.
#![forbid(unsafe_code)]

use super::heap::Heap;
use super::refill::push_free_blocks;
use super::slab::{NO_TAG, SlabHeader, SlabOwner, SlabUse, SlabWord, block_count, slab_of};
use super::{Arena, BlockState};
use crate::sync::Ordering;
use crate::sys::u64_of;

impl Heap {
    /// Asks the other sessions to return what they do not need.
    pub(super) fn call_for_memory(&mut self) {
        // Relaxed: a hint.
        self.pressure_seen = self.arena.header().pressure_events.fetch_add(1, Ordering::Relaxed) + 1;
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
            let all_free =
                |arena: &Arena| slab.blocks(arena).all(|(_, word)| word.state() == BlockState::Free);
            let word = slab.word();
            let own = word.adopted(self.owner);
            match word.usage() {
                SlabUse::Blocks(_) if !tagged && all_free(&self.arena) && header.replace(word, own) => {
                    // Asked again now that nobody else can hand blocks out of it.
                    if all_free(&self.arena) {
                        self.release_empty(slab.index());
                    } else {
                        header.replace(own, word);
                    }
                }
                SlabUse::Large(_) if all_free(&self.arena) => self.adopt_and_dissolve(slab.index(), word),
                _ => {}
            }
        }
    }
}

/// Makes an own slab free for everyone. Its header's generation is up to date.
pub(super) fn release(arena: &Arena, slab: u32, word: SlabWord) {
    let Some(header) = arena.slab_header(slab) else { return };
    if header.replace(word, SlabWord::FREE) {
        let shared = arena.header();
        // Relaxed: a hint; see `claim_slab`.
        shared.low_slab.fetch_min(u64::from(slab), Ordering::Relaxed);
        // Release: pairs with the Acquire in `Heap::world`.
        shared.release_events.fetch_add(1, Ordering::Release);
    }
}
