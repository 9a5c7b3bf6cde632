//! Slabs that a session has no use for at present go to whoever needs memory, though the session lives on. Nobody but a slab's owner hands
//! out its free blocks, so what others free in the slabs of an idle session would serve nobody.
//!
//! Invariants  S1 of `slab`: a slab changes hands by one CAS, as at a session's end. H2 of `heap`: its entries leave the pool's list first.
//!             P2 of `reap`: who dies leaves RESERVED blocks only in slabs that are its own, so whoever gives slabs up has none.
#![forbid(unsafe_code)]

use super::Reserve;
use super::heap::Heap;
use super::slab::{SlabHeader, slab_of};

impl Heap {
    /// Leaves slabs without an owner, to be adopted by whoever needs blocks of their size: those in which others have freed blocks, or `all`.
    /// Slabs of the reserve stay, large blocks, and slabs with a block at one of the offsets in `stays`. The caller has no RESERVED
    /// block. Tells how many went.
    pub fn hand_over(&mut self, all: bool, stays: impl Iterator<Item = u64>) -> usize {
        let mut kept: Vec<u32> = stays.map(slab_of).collect();
        kept.sort_unstable();
        kept.dedup();
        let mut count = 0;
        for index in 0..self.pools.len() {
            if self.pools[index].key.reserve == Reserve::No {
                count += self.hand_over_of(index, all, &kept);
            }
        }
        count
    }

    fn hand_over_of(&mut self, index: usize, all: bool, kept: &[u32]) -> usize {
        let (arena, pool) = (&self.arena, &mut self.pools[index]);
        let leaves = |slab: &mut u32| {
            let has_hint = || arena.slab_header(*slab).is_some_and(SlabHeader::has_hint);
            kept.binary_search(slab).is_err() && (all || has_hint())
        };
        let mut leaving: Vec<u32> = pool.slabs.extract_if(.., leaves).collect();
        if leaving.is_empty() {
            return 0;
        }
        leaving.sort_unstable();
        // Whether a block of it is known to be free.
        let mut has_free = vec![false; leaving.len()];
        if pool.fresh_count > 0
            && let Ok(at) = leaving.binary_search(&slab_of(pool.fresh))
        {
            has_free[at] = true;
            pool.fresh_count = 0;
        }
        // H2
        pool.free.retain(|offset| match leaving.binary_search(&slab_of(*offset)) {
            Ok(at) => {
                has_free[at] = true;
                false
            }
            Err(_) => true,
        });
        for (&slab, has_free) in leaving.iter().zip(has_free) {
            let Some(header) = self.arena.slab_header(slab) else { continue };
            if has_free {
                header.raise_hint();
            }
            let own = header.load();
            if own.is_owned_by(self.owner) {
                self.disown(header, own, own.orphaned());
            } else {
                debug_assert!(false, "a slab of another session is listed");
            }
        }
        leaving.len()
    }
}

#[cfg(test)]
#[cfg(not(loom))] // needs an arena
mod tests;
