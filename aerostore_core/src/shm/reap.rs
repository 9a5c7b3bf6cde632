//! What a dead session leaves behind in the allocator, and how others get it back.
//!
//! Invariants  P1: every function can be stopped anywhere and run again, by several at a time: each step is a CAS from what only
//!             the dead can have left. P2: a reserved block is freed only if its slab is still the dead session's *after* the
//!             state was read; an heir hands the block out under another generation. P3: the caller is in an operation, for
//!             another reaper may be ahead, and memory that it has freed be given back (X5 of `giveback`).
#![forbid(unsafe_code)]

use super::slab::{SlabRef, SlabUse};
use super::trim::release;
use super::{Arena, BlockRef, BlockState, OwnerId};
use crate::sync::Ordering;

/// Frees the blocks that `owner`, which is dead, had reserved and gives its slabs up; tells how many slabs.
pub fn release_slabs_of(arena: &Arena, owner: OwnerId) -> usize {
    release_slabs(arena, owner, arena.slabs())
}

/// The same of those of `slabs` that are the owner's.
pub(super) fn release_slabs(arena: &Arena, owner: OwnerId, slabs: impl Iterator<Item = SlabRef>) -> usize {
    let mut released = 0;
    for slab in slabs.filter(|slab| slab.word().is_owned_by(owner)) {
        match slab.word().usage() {
            SlabUse::Tail if covering_head(arena, slab.index()) => continue,
            SlabUse::Tail | SlabUse::Forming => release(arena, slab.index(), slab.word()),
            SlabUse::Blocks(_) | SlabUse::Large(_) => orphan(arena, slab),
        }
        released += 1;
    }
    let header = arena.header();
    // Release: pairs with the Acquires of those who look for orphans and for lost hints. Counted in any case: an earlier
    // run may have died before it came here.
    header.orphan_events.fetch_add(1, Ordering::Release);
    header.death_events.fetch_add(1, Ordering::Release);
    released
}

pub(super) fn orphan(arena: &Arena, slab: SlabRef) {
    let Some(header) = arena.slab_header(slab.index()) else { return };
    let mut any_free = false;
    for (offset, word) in slab.blocks(arena) {
        any_free |= word.state() == BlockState::Free;
        if word.state() == BlockState::Reserved && header.load() == slab.word() {
            any_free |= arena.mark_reserved_free(BlockRef { offset, generation: word.generation() }); // P2
        }
    }
    if any_free {
        header.raise_hint();
    }
    header.replace(slab.word(), slab.word().orphaned());
}

/// Whether `tail` belongs to a complete run; if not, its claimer died while forming it.
fn covering_head(arena: &Arena, tail: u32) -> bool {
    let mut before = (0..tail).rev().map_while(|index| arena.slab_ref(index));
    let head = before.find(|slab| slab.word().usage() != SlabUse::Tail);
    head.is_some_and(|head| match head.word().usage() {
        SlabUse::Large(count) => u64::from(head.index()) + count > u64::from(tail),
        _ => false,
    })
}

/// Makes `to` the retirer of every block that the dead slot `dead` retired; they are for `to` to free.
///
/// Reads the states of the whole arena. Blocks that a concurrent call adopts are in its answer and not in this one.
pub fn adopt_retired(arena: &Arena, dead: u16, to: u16) -> Vec<BlockRef> {
    let mut adopted = Vec::new();
    for slab in arena.slabs().filter(|slab| slab.word().is_in_use()) {
        for (offset, word) in slab.blocks(arena) {
            // A slab that is taken for other blocks meanwhile shows payload where states were.
            if word.state() == BlockState::Retired && word.retirer() == dead && slab.is_unchanged(arena) {
                let block = BlockRef { offset, generation: word.generation() };
                if arena.replace_retirer(block, dead, to) {
                    adopted.push(block);
                }
            }
        }
    }
    adopted
}

/// Whether a slab that says it is `owner`'s is of use to it: not so the tail of a run whose head was given up, which goes with that.
pub(super) fn is_held(arena: &Arena, slab: SlabRef, owner: OwnerId) -> bool {
    slab.word().is_owned_by(owner)
        && !(slab.word().usage() == SlabUse::Tail && covering_head(arena, slab.index()))
        && slab.is_unchanged(arena) // last: others may have dissolved the run since
}

/// The slabs that `owner` holds.
pub fn slabs_of(arena: &Arena, owner: OwnerId) -> Vec<SlabRef> {
    arena.slabs().filter(|slab| slab.word().is_owned_by(owner)).collect()
}
