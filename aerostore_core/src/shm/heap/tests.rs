use std::collections::HashSet;

use super::*;
use crate::shm::BlockState;
use crate::shm::block::BlockWord;
use crate::shm::class::block_bytes;
use crate::shm::slab::SlabWord;
use crate::shm::{
    ArenaOptions, EXTENT_BYTES, LARGE_PAYLOAD_BYTES_MAX, RelPtr, SLAB_BYTES, mark_sweep, release_slabs_of,
    tagged_slabs,
};

const FIRST: OwnerId = OwnerId { slot: 1, incarnation: 1 };
const SECOND: OwnerId = OwnerId { slot: 2, incarnation: 1 };

/// An arena of `extents`, two of them reserve.
fn arena(extents: u64) -> Arena {
    Arena::anonymous(&ArenaOptions { max_bytes: extents * EXTENT_BYTES, ..Default::default() }).unwrap()
}

fn alloc(heap: &mut Heap, bytes: usize) -> Result<BlockRef, ShmError> {
    heap.alloc(bytes, BlockKind::RAW, 7, Reserve::No)
}

/// Allocates until the arena is full.
fn fill(heap: &mut Heap, bytes: usize, reserve: Reserve) -> Vec<BlockRef> {
    let mut blocks = Vec::new();
    loop {
        match heap.alloc(bytes, BlockKind::RAW, 0, reserve) {
            Ok(block) => blocks.push(block),
            Err(ShmError::OutOfSpace { .. }) => return blocks,
            Err(error) => panic!("{error}"),
        }
    }
}

fn sweep(arena: &Arena, roots: &[BlockRef]) -> crate::shm::SweepReport {
    mark_sweep::<ShmError>(arena, |marker| {
        for &block in roots {
            assert!(marker.mark(block.offset));
        }
        Ok(())
    })
    .unwrap()
}

#[test]
fn blocks_are_distinct_aligned_and_of_the_size_asked_for() {
    let arena = arena(16);
    let mut heap = Heap::new(arena.clone(), FIRST);
    let mut ends: Vec<(u64, u64)> = Vec::new();
    for bytes in (0..2000).chain((2000..65_520).step_by(977)).chain([65_520, 65_521, 200_000]) {
        let block = alloc(&mut heap, bytes).unwrap();
        assert!(block.offset.is_multiple_of(16));
        let capacity = arena.block_capacity(block.offset).unwrap();
        assert!(capacity >= u64_of(bytes), "{capacity} for {bytes}");
        assert_eq!(arena.block_ref(block.offset).unwrap(), block);
        assert_eq!(arena.block_birth(block.offset), 7);
        ends.push((block.offset - 16, block.offset + capacity));
    }
    ends.sort_unstable();
    assert!(ends.windows(2).all(|pair| pair[0].1 <= pair[1].0), "blocks overlap");
    assert!(ends.iter().all(|(start, _)| start % EXTENT_BYTES >= 4096), "a block covers slab headers");
}

#[test]
fn states_move_once_and_only_for_their_generation() {
    let arena = arena(4);
    let mut heap = Heap::new(arena.clone(), FIRST);
    let block = heap.alloc(40, BlockKind::VERSION, 3, Reserve::No).unwrap();
    assert_eq!(arena.block_word(block.offset).unwrap().state(), BlockState::Reserved);
    assert!(!arena.retire(block, 1), "only a live block retires");
    assert!(arena.publish(block) && arena.publish(block), "publishing twice is one publishing");
    assert!(!heap.free(block), "a live block is not freed");
    assert!(arena.retire(block, 9));
    assert!(!arena.retire(block, 8) && !arena.publish(block));
    let word = arena.block_word(block.offset).unwrap();
    assert_eq!((word.retirer(), word.kind(), word.state()), (9, BlockKind::VERSION, BlockState::Retired));
    assert!(heap.free(block));
    assert!(!heap.free(block), "a double free does nothing");
    let again = heap.alloc(40, BlockKind::ROW, 4, Reserve::No).unwrap();
    assert_eq!(again.offset, block.offset);
    assert_eq!(again.generation, block.generation + 1);
    assert!(!arena.publish(block) && !heap.free(block), "the old use has ended");
    assert!(heap.free(again));
}

#[test]
fn offsets_from_nowhere_are_refused() {
    let arena = arena(4);
    for offset in [0, 8, 1, u64::MAX, u64::MAX - 15, 1 << 40, EXTENT_BYTES * 4, 0x7fff_ffff_ffff_fff0] {
        assert!(arena.block_word(offset).is_err(), "{offset:#x}");
        assert!(arena.block_capacity(offset).is_err(), "{offset:#x}");
    }
    assert!(arena.resolve::<u64>(RelPtr::new(12)).is_err());
    assert!(arena.resolve::<u64>(RelPtr::new(8)).is_ok());
    assert!(arena.bytes(4096, EXTENT_BYTES).is_ok());
    assert!(arena.bytes(4096, u64::MAX).is_err());
    assert!(arena.bytes(u64::MAX, 2).is_err());
}

#[test]
fn zeroed_blocks_are_zero_after_use() {
    let arena = arena(4);
    let mut heap = Heap::new(arena.clone(), FIRST);
    for bytes in [24_usize, 1000, 100_000] {
        let block = alloc(&mut heap, bytes).unwrap();
        let place = arena.bytes(block.offset, u64_of(bytes)).unwrap();
        // SAFETY: the block is reserved for this test, and as long as that.
        unsafe { place.write_bytes(0xff, bytes) };
        heap.free(block);
        let block = heap.alloc_zeroed(bytes, BlockKind::RAW, 0, Reserve::No).unwrap();
        let place = arena.bytes(block.offset, u64_of(bytes)).unwrap();
        // SAFETY: as above; nobody writes meanwhile.
        let content = unsafe { std::slice::from_raw_parts(place, bytes) };
        assert!(content.iter().all(|&byte| byte == 0), "{bytes}");
    }
}

#[test]
fn full_arena_is_an_error_and_recovers_after_frees() {
    for bytes in [48_usize, 3000, 65_000, 300_000] {
        let arena = arena(5);
        let mut heap = Heap::new(arena.clone(), FIRST);
        let blocks = fill(&mut heap, bytes, Reserve::No);
        assert!(blocks.len() >= 3, "{bytes}");
        assert_eq!(arena.file_bytes(), arena.max_bytes());
        for &block in &blocks {
            assert!(heap.free(block));
        }
        let again = fill(&mut heap, bytes, Reserve::No);
        assert_eq!(again.len(), blocks.len(), "{bytes}");
        for &block in &again {
            assert!(heap.free(block));
        }
        // Another size gets the same memory.
        let other = fill(&mut heap, 700, Reserve::No);
        assert!(other.len() > 3000, "{bytes}: only {} blocks", other.len());
    }
}

#[test]
fn reserve_is_there_when_nothing_else_is() {
    let arena = arena(5);
    let mut heap = Heap::new(arena.clone(), FIRST);
    let blocks = fill(&mut heap, 1000, Reserve::No);
    let mut others = Heap::new(arena.clone(), SECOND);
    assert!(alloc(&mut others, 64).unwrap_err().is_out_of_space());
    let spare = fill(&mut heap, 1000, Reserve::Yes);
    assert!(spare.len() > 3500, "{}", spare.len());
    // What the reserve gave goes back to it, not to ordinary allocations.
    for &block in &spare {
        assert!(heap.free(block));
    }
    assert!(alloc(&mut heap, 1000).unwrap_err().is_out_of_space());
    let again = fill(&mut others, 200, Reserve::Yes);
    assert!(again.len() > 15_000, "{}", again.len());
    assert_eq!(
        blocks.iter().chain(&again).map(|block| block.offset).collect::<HashSet<_>>().len(),
        blocks.len() + again.len()
    );
}

#[test]
fn reserve_moves_up_as_the_arena_grows() {
    let arena = arena(64);
    let mut heap = Heap::new(arena.clone(), FIRST);
    let blocks: Vec<_> = (0..20_000).map(|_| alloc(&mut heap, 1000).unwrap()).collect();
    let highest = blocks.iter().map(|block| block.offset).max().unwrap();
    assert!(highest < arena.file_bytes() - 2 * EXTENT_BYTES);
}

#[test]
fn others_free_what_the_owner_hands_out_again() {
    let arena = arena(5);
    let (mut owner, mut other) = (Heap::new(arena.clone(), FIRST), Heap::new(arena.clone(), SECOND));
    let blocks = fill(&mut owner, 500, Reserve::No);
    for &block in &blocks {
        assert!(other.free(block));
    }
    let mut again = HashSet::new();
    for _ in &blocks {
        assert!(again.insert(alloc(&mut owner, 500).unwrap().offset), "handed out twice");
    }
}

#[test]
fn empty_slabs_of_one_session_serve_another_after_pressure() {
    let arena = arena(5);
    let (mut rich, mut poor) = (Heap::new(arena.clone(), FIRST), Heap::new(arena.clone(), SECOND));
    let blocks = fill(&mut rich, 500, Reserve::No);
    // Not so many that they are returned at once.
    for &block in &blocks[..3500] {
        assert!(rich.free(block));
    }
    assert!(alloc(&mut poor, 90).unwrap_err().is_out_of_space());
    // The rich session goes about its work, and notices that somebody is short.
    for _ in 0..200 {
        let block = alloc(&mut rich, 500).unwrap();
        rich.free(block);
    }
    alloc(&mut poor, 90).unwrap();
    alloc(&mut poor, 900_000).unwrap();
}

#[test]
fn tagged_blocks_come_from_listed_slabs_only() {
    let arena = arena(32);
    let mut heap = Heap::new(arena.clone(), FIRST);
    let (mut rows, mut others) = (HashSet::new(), HashSet::new());
    for _ in 0..5000 {
        let row = heap.alloc_tagged(32, BlockKind::ROW, 0, Reserve::No, 5, arena.root(3)).unwrap();
        assert!(arena.publish(row));
        rows.insert(row.offset);
        others
            .insert(heap.alloc_tagged(32, BlockKind::ROW, 0, Reserve::No, 6, arena.root(4)).unwrap().offset);
        alloc(&mut heap, 32).unwrap();
    }
    let slabs = tagged_slabs(&arena, arena.root(3)).unwrap();
    assert!(slabs.is_sorted_by_key(|slab| slab.offset()));
    assert!(slabs.iter().all(|slab| slab.payload_bytes() == 32));
    let found: HashSet<u64> = slabs
        .iter()
        .flat_map(|slab| slab.blocks(&arena))
        .filter(|(_, word)| word.state() != BlockState::Free)
        .map(|(offset, _)| offset)
        .collect();
    assert_eq!(found, rows);
    assert!(heap.alloc_tagged(32, BlockKind::ROW, 0, Reserve::No, 0, arena.root(3)).is_err());
}

#[test]
fn a_list_that_leads_nowhere_is_corruption() {
    let arena = arena(4);
    let mut heap = Heap::new(arena.clone(), FIRST);
    heap.alloc_tagged(32, BlockKind::ROW, 0, Reserve::No, 5, arena.root(3)).unwrap();
    let slab = arena.root(3).load(Ordering::Relaxed);
    for hostile in [slab + 1, slab + 8, 1 << 50, u64::MAX] {
        arena.root(4).store(hostile, Ordering::Relaxed);
        assert!(matches!(tagged_slabs(&arena, arena.root(4)), Err(ShmError::Corrupt { .. })), "{hostile:#x}");
    }
    let next: &AtomicU64 = arena.resolve(RelPtr::new(slab + 8)).unwrap();
    next.store(slab, Ordering::Relaxed);
    assert!(matches!(tagged_slabs(&arena, arena.root(3)), Err(ShmError::Corrupt { .. })));
}

#[test]
fn the_dead_leave_their_live_blocks_and_nothing_else() {
    let arena = arena(8);
    let mut heap = Heap::new(arena.clone(), FIRST);
    let (mut live, mut retired) = (Vec::new(), Vec::new());
    for round in 0..6000 {
        let block = alloc(&mut heap, 100 + round % 300).unwrap();
        match round % 4 {
            0 => assert!(heap.free(block)),
            1 => {
                assert!(arena.publish(block));
                live.push(block);
            }
            2 => {
                assert!(arena.publish(block) && arena.retire(block, FIRST.slot));
                retired.push(block);
            }
            _ => {} // reserved at the time of death
        }
    }
    let run = alloc(&mut heap, 500_000).unwrap();
    arena.publish(run);
    live.push(run);
    alloc(&mut heap, 400_000).unwrap();
    std::mem::forget(heap);

    assert!(release_slabs_of(&arena, FIRST) > 10);
    assert_eq!(release_slabs_of(&arena, FIRST), 0, "nothing is left to release");
    let report = sweep(&arena, &live);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.reserved, report.retired), (0, u64_of(retired.len())));

    let mut heir = Heap::new(arena.clone(), SECOND);
    let mut adopted = crate::shm::adopt_retired(&arena, FIRST.slot, SECOND.slot);
    assert!(crate::shm::adopt_retired(&arena, FIRST.slot, 77).is_empty(), "adopted once");
    adopted.sort_unstable_by_key(|block| block.offset);
    retired.sort_unstable_by_key(|block| block.offset);
    assert_eq!(adopted, retired);
    for &block in &adopted {
        assert!(heir.free(block));
    }
    // The heir gets the dead one's free blocks before new slabs.
    let used = arena.used_bytes();
    for round in 0..2500 {
        alloc(&mut heir, 100 + round % 300).unwrap();
    }
    assert!(arena.used_bytes() <= used, "orphans were not adopted");
    for &block in &live {
        assert!(arena.retire(block, SECOND.slot) && heir.free(block));
    }
    heir.close();
    let report = sweep(&arena, &[]);
    assert!(report.is_clean() && report.live == 0 && report.reserved == 0, "{report:?}");
}

#[test]
fn a_heap_that_grew_and_shrank_gives_all_memory_back() {
    let arena = arena(32);
    let mut heap = Heap::new(arena.clone(), FIRST);
    let empty = arena.used_bytes();
    for bytes in [30_usize, 900, 20_000, 2_000_000] {
        let blocks: Vec<_> = (0..20).map(|_| alloc(&mut heap, bytes).unwrap()).collect();
        for block in blocks {
            assert!(heap.free(block));
        }
    }
    heap.trim();
    assert_eq!(arena.used_bytes(), empty);
}

#[test]
fn sizes_have_limits() {
    let arena = arena(8);
    let mut heap = Heap::new(arena, FIRST);
    let limit = crate::sys::usize_of(LARGE_PAYLOAD_BYTES_MAX);
    alloc(&mut heap, limit).unwrap();
    assert!(matches!(alloc(&mut heap, limit + 1), Err(ShmError::TooLarge { .. })));
}

#[test]
fn used_slabs_are_divided_anew_with_greater_generations() {
    let arena = arena(4);
    let mut heap = Heap::new(arena.clone(), FIRST);
    let whole = fill(&mut Heap::new(self::arena(4), FIRST), 16, Reserve::No).len();
    let old: Vec<_> = fill(&mut heap, 100, Reserve::No);
    for &block in &old {
        for place in (block.offset..block.offset + 96).step_by(8) {
            let word: &AtomicU64 = arena.resolve(RelPtr::new(place)).unwrap();
            // What a block in use would look like.
            word.store(BlockWord::new(5, 0, BlockKind::ROW, BlockState::Live).bits(), Ordering::Relaxed);
        }
        heap.free(block);
    }
    heap.trim();
    let new = fill(&mut heap, 16, Reserve::No);
    assert_eq!(new.len(), whole);
    let by_offset: HashSet<u64> = new.iter().map(|block| block.offset).collect();
    for &block in old.iter().filter(|block| by_offset.contains(&block.offset)) {
        assert!(!arena.publish(block) && !heap.free(block), "an old reference works on a new block");
    }
    assert_eq!(block_bytes(0) * (SLAB_BYTES / block_bytes(0)), SLAB_BYTES);
}

#[test]
fn threads_share_an_arena_without_sharing_blocks() {
    let arena = arena(64);
    let threads: Vec<_> = (0..4_u16)
        .map(|slot| {
            let arena = arena.clone();
            std::thread::spawn(move || {
                let mut heap = Heap::new(arena.clone(), OwnerId { slot, incarnation: 1 });
                let mut mine: Vec<BlockRef> = Vec::new();
                for round in 0..30_000_usize {
                    let block = alloc(&mut heap, 16 + round * 7 % 600).unwrap();
                    let word: &AtomicU64 = arena.resolve(block.pointer()).unwrap();
                    word.store(block.offset ^ u64::from(slot), Ordering::Relaxed);
                    mine.push(block);
                    if round % 3 != 0 {
                        let victim = mine.swap_remove(round * 31 % mine.len());
                        let word: &AtomicU64 = arena.resolve(victim.pointer()).unwrap();
                        assert_eq!(word.load(Ordering::Relaxed), victim.offset ^ u64::from(slot));
                        assert!(heap.free(victim));
                    }
                }
                for &block in &mine {
                    assert!(arena.publish(block));
                }
                heap.close();
                mine
            })
        })
        .collect();
    let live: Vec<BlockRef> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    let report = sweep(&arena, &live);
    assert!(report.is_clean() && report.reserved == 0, "{report:?}");
    assert_eq!(report.live, u64_of(live.len()));
}

#[test]
fn a_block_as_large_as_a_slab_goes_back_as_a_slab() {
    let arena = arena(4);
    let mut heap = Heap::new(arena.clone(), FIRST);
    let before = arena.used_bytes();
    let bytes = usize::try_from(SLAB_BYTES - BLOCK_HEADER_BYTES).unwrap();
    let blocks: Vec<BlockRef> = (0..4).map(|_| alloc(&mut heap, bytes).unwrap()).collect();
    assert_eq!(arena.used_bytes(), before + 4 * SLAB_BYTES);
    for block in blocks {
        assert!(heap.free(block));
    }
    assert_eq!(arena.used_bytes(), before);
}

/// Fills an extent and empties it again; the first is in use by then.
fn emptied(arena: &Arena, heap: &mut Heap) -> crate::shm::EmptyExtent {
    let block = alloc(heap, 1_900_000).unwrap();
    assert!(heap.free(block));
    *arena.empty_extents().last().unwrap()
}

#[test]
fn an_extent_that_was_used_since_it_was_seen_empty_is_not_given_back() {
    let arena = arena(6);
    let mut heap = Heap::new(arena.clone(), FIRST);
    alloc(&mut heap, 1_900_000).unwrap();
    let seen = emptied(&arena, &mut heap);
    assert_eq!(emptied(&arena, &mut heap).index(), seen.index());
    assert_eq!(heap.give_back(seen).unwrap(), 0, "somebody may have seen it in use");
    let seen = *arena.empty_extents().last().unwrap();
    let block = alloc(&mut heap, 1_900_000).unwrap();
    assert_eq!(heap.give_back(seen).unwrap(), 0, "it is in use");
    assert!(heap.free(block));
    let seen = *arena.empty_extents().last().unwrap();
    assert_eq!(heap.give_back(seen).unwrap(), EXTENT_BYTES - 4096);
    assert_eq!(arena.given_back_bytes(), EXTENT_BYTES - 4096);
}

#[test]
fn blocks_of_an_extent_that_was_given_back_are_nobodys() {
    let arena = arena(6);
    let mut heap = Heap::new(arena.clone(), FIRST);
    alloc(&mut heap, 1_900_000).unwrap();
    let old = alloc(&mut heap, 1_900_000).unwrap();
    assert!(arena.publish(old) && arena.is_in_use(old.offset));
    assert!(arena.retire(old, 1) && heap.free(old));
    assert!(heap.give_back(*arena.empty_extents().last().unwrap()).unwrap() > 0);
    assert!(!arena.is_in_use(old.offset));
    assert!(!arena.publish(old) && !arena.retire(old, 1) && !heap.free(old), "the old use has ended");
    assert_eq!(arena.given_back_bytes(), EXTENT_BYTES - 4096, "looking at it brought it back");
    // The same place in its next life is another block.
    let new = alloc(&mut heap, 1_900_000).unwrap();
    assert_eq!((new.offset, arena.given_back_bytes()), (old.offset, 0));
    assert!(new.generation > old.generation);
    assert!(!arena.publish(old) && arena.publish(new));
}

#[test]
fn tagged_slabs_keep_to_extents_of_their_own() {
    let arena = arena(12);
    let mut heap = Heap::new(arena.clone(), FIRST);
    let mut untagged = Vec::new();
    for _ in 0..3000 {
        heap.alloc_tagged(40, BlockKind::ROW, 0, Reserve::No, 5, arena.root(0)).unwrap();
        untagged.push(alloc(&mut heap, 1000).unwrap());
    }
    let extent = |offset: u64| offset / EXTENT_BYTES;
    let slabs = tagged_slabs(&arena, arena.root(0)).unwrap();
    let tagged: HashSet<u64> = slabs.iter().map(|slab| extent(slab.offset())).collect();
    assert!(untagged.iter().all(|block| !tagged.contains(&extent(block.offset))));
    for block in untagged {
        assert!(heap.free(block));
    }
    heap.trim();
    assert!(!arena.empty_extents().is_empty(), "rows that stay keep all memory");
    // Without room for another extent they share what there is.
    while heap.alloc(1000, BlockKind::RAW, 0, Reserve::No).is_ok() {}
    let end = arena.file_bytes() - 2 * EXTENT_BYTES;
    assert_eq!(arena.slabs().filter(|slab| slab.offset() < end && slab.word() == SlabWord::FREE).count(), 0);
}

#[test]
fn freeing_much_returns_slabs_without_being_asked() {
    let arena = arena(20);
    let mut heap = Heap::new(arena.clone(), FIRST);
    let blocks: Vec<_> = (0..20_000).map(|_| alloc(&mut heap, 1000).unwrap()).collect();
    let used = arena.used_bytes();
    for block in blocks {
        assert!(heap.free(block));
    }
    assert!(arena.used_bytes() < used / 4, "{} of {used}", arena.used_bytes());
}

#[test]
fn orphans_that_become_empty_are_returned_once_they_are_looked_for() {
    let arena = arena(20);
    let mut first = Heap::new(arena.clone(), FIRST);
    let blocks: Vec<_> = (0..3000).map(|_| alloc(&mut first, 1000).unwrap()).collect();
    for block in &blocks {
        assert!(arena.publish(*block));
    }
    first.close();
    let mut second = Heap::new(arena.clone(), SECOND);
    let look = |heap: &mut Heap| {
        let mut at = Some(0);
        while let Some(first) = at {
            at = heap.release_emptied_orphans(first, 20);
        }
    };
    look(&mut second);
    let used = arena.used_bytes();
    for block in blocks {
        assert!(arena.retire(block, SECOND.slot) && second.free(block));
    }
    assert_eq!(arena.used_bytes(), used);
    look(&mut second);
    assert!(arena.used_bytes() <= arena.first_slab() * SLAB_BYTES, "{} of {used}", arena.used_bytes());
}

#[test]
fn giving_back_while_others_allocate_loses_nothing() {
    let arena = arena(10);
    let heap = |slot| Heap::new(arena.clone(), OwnerId { slot, incarnation: 1 });
    let is_over = crate::sync::AtomicBool::new(false);
    let check = |block: &BlockRef, bytes: usize, write: bool| {
        for offset in (block.offset..block.offset + u64_of(bytes) - 8).step_by(512) {
            let word: &AtomicU64 = arena.resolve(RelPtr::new(offset)).unwrap();
            if write {
                word.store(offset, Ordering::Relaxed);
            } else {
                assert_eq!(word.load(Ordering::Relaxed), offset, "memory went that was in use");
            }
        }
    };
    let given_back = std::thread::scope(|scope| {
        let workers: Vec<_> = [1, 2]
            .map(|slot| {
                let mut heap = heap(slot);
                scope.spawn(move || {
                    let mut blocks = Vec::new();
                    for round in 0..60_usize {
                        let bytes = [900, 9000, 60_000, 700_000][(round + usize::from(slot)) % 4];
                        for _ in 0..(2_000_000 / bytes) {
                            let Ok(block) = alloc(&mut heap, bytes) else { break };
                            check(&block, bytes, true);
                            blocks.push((block, bytes));
                        }
                        if round % 3 == 0 {
                            for (block, bytes) in blocks.drain(..) {
                                check(&block, bytes, false);
                                assert!(heap.free(block));
                            }
                            heap.trim();
                        }
                    }
                    heap.close();
                })
            })
            .into();
        let heap = heap(3);
        let (arena, is_over) = (&arena, &is_over);
        let giver = scope.spawn(move || {
            let mut bytes = 0;
            while !is_over.load(Ordering::Relaxed) {
                for extent in arena.empty_extents() {
                    bytes += heap.give_back(extent).unwrap();
                }
            }
            bytes
        });
        for worker in workers {
            worker.join().unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        giver.join().unwrap()
    });
    assert!(given_back > 4 * EXTENT_BYTES, "{given_back} bytes");
    // All of it can be had again.
    let mut last = heap(4);
    assert!(fill(&mut last, 1_900_000, Reserve::No).len() >= 7);
    assert_eq!(arena.given_back_bytes(), 0);
}
