//! What memory is used for: every block counted by its state. For reports, as it reads all of them.
#![forbid(unsafe_code)]

use super::slab::{SLAB_BYTES, SlabOwner, SlabUse};
use super::{Arena, BlockKind, BlockState, SlabRef};
use crate::sys::u64_of;
use std::collections::BTreeMap;

/// Bytes of the slabs in use that hold one kind of blocks, block headers included. Others may change them meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KindBytes {
    /// Slabs as a whole.
    pub slabs: u64,
    /// Blocks in use.
    pub live: u64,
    /// Blocks that can be handed out.
    pub free: u64,
    /// Blocks that wait for their last readers.
    pub retired: u64,
    /// Blocks that a session has reserved.
    pub reserved: u64,
}

/// Bytes by kind of block. A slab counts for the kind of its last block that is not free; one in which all are for none. The caller
/// is in an operation, so that no memory is given back meanwhile in which blocks were seen to be (X5).
pub fn census(arena: &Arena) -> BTreeMap<Option<BlockKind>, KindBytes> {
    let is_used = |slab: &SlabRef| !matches!(slab.word().owner(), SlabOwner::Free | SlabOwner::Absent);
    let mut kinds = BTreeMap::<_, KindBytes>::new();
    for slab in arena.slabs().filter(is_used) {
        let count = match slab.word().usage() {
            SlabUse::Large(count) => count,
            SlabUse::Tail => continue, // counted with the first of its run
            SlabUse::Forming | SlabUse::Blocks(_) => 1,
        };
        let slabs = count * SLAB_BYTES;
        let (mut kind, mut found) = (None, KindBytes { slabs, ..KindBytes::default() });
        for (offset, word) in slab.blocks(arena) {
            let bytes = arena
                .block_capacity(offset)
                .map_or(0, |bytes| bytes + u64_of(size_of::<super::BlockHeader>()));
            match word.state() {
                BlockState::Free => found.free += bytes,
                BlockState::Reserved => found.reserved += bytes,
                BlockState::Live => found.live += bytes,
                BlockState::Retired => found.retired += bytes,
            }
            if word.state() != BlockState::Free {
                kind = Some(word.kind());
            }
        }
        let all = kinds.entry(kind).or_default();
        all.slabs += found.slabs;
        all.live += found.live;
        all.free += found.free;
        all.retired += found.retired;
        all.reserved += found.reserved;
    }
    kinds
}

#[cfg(test)]
#[cfg(not(loom))] // needs an arena
mod tests {
    use super::*;
    use crate::shm::{ArenaOptions, EXTENT_BYTES, Heap, OwnerId, Reserve};

    #[test]
    fn every_block_counts_once_by_its_kind_and_state() {
        let arena =
            Arena::anonymous(&ArenaOptions { max_bytes: 8 * EXTENT_BYTES, ..Default::default() }).unwrap();
        let mut heap = Heap::new(arena.clone(), OwnerId { slot: 1, incarnation: 1 });
        let mut blocks = |bytes, kind| {
            let all: Vec<_> = (0..10).map(|_| heap.alloc(bytes, kind, 0, Reserve::No).unwrap()).collect();
            assert!(all[..7].iter().all(|block| arena.publish(*block)));
            assert!(all[..3].iter().all(|block| arena.retire(*block, 1)));
        };
        blocks(84, BlockKind::ROW);
        blocks(184, BlockKind::VERSION);
        let found = census(&arena);
        assert_eq!(found.values().map(|bytes| bytes.slabs).sum::<u64>(), 2 * SLAB_BYTES);
        for (kind, block) in [(BlockKind::ROW, 112), (BlockKind::VERSION, 208)] {
            let bytes = found[&Some(kind)];
            assert_eq!((bytes.live, bytes.retired, bytes.reserved), (4 * block, 3 * block, 3 * block));
            let all = bytes.live + bytes.retired + bytes.reserved + bytes.free;
            assert!(all <= bytes.slabs && all + block + 4096 > bytes.slabs, "{bytes:?}");
        }
    }

    #[test]
    fn a_block_of_several_slabs_counts_for_its_kind_as_a_whole() {
        let arena =
            Arena::anonymous(&ArenaOptions { max_bytes: 8 * EXTENT_BYTES, ..Default::default() }).unwrap();
        let mut heap = Heap::new(arena.clone(), OwnerId { slot: 1, incarnation: 1 });
        assert!(arena.publish(heap.alloc(1 << 20, BlockKind::RING, 0, Reserve::No).unwrap()));
        let found = census(&arena);
        let ring = found[&Some(BlockKind::RING)];
        assert!(ring.live >= 1 << 20 && ring.live <= ring.slabs && found.len() == 1, "{found:?}");
    }
}
