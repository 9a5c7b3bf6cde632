use super::*;
use crate::shm::{Arena, ArenaOptions, BlockKind, BlockRef, EXTENT_BYTES, OwnerId, mark_sweep};
use crate::shm::{ShmError, tagged_slabs};
use crate::sys::monotonic_ns;

const LOADER: OwnerId = OwnerId { slot: 1, incarnation: 1 };
const WRITER: OwnerId = OwnerId { slot: 2, incarnation: 1 };

fn scene() -> (Arena, Heap, Heap) {
    let options = ArenaOptions { max_bytes: 16 * EXTENT_BYTES, ..Default::default() };
    let arena = Arena::anonymous(&options).unwrap();
    (arena.clone(), Heap::new(arena.clone(), LOADER), Heap::new(arena, WRITER))
}

fn live(heap: &mut Heap, count: usize) -> Vec<BlockRef> {
    let arena = heap.arena().clone();
    let block = |_| {
        let block = heap.alloc(100, BlockKind::RAW, 0, Reserve::No).unwrap();
        assert!(arena.publish(block));
        block
    };
    (0..count).map(block).collect()
}

fn free(heap: &mut Heap, blocks: &[BlockRef]) {
    let slot = heap.owner().slot;
    for &block in blocks {
        assert!(heap.arena().retire(block, slot) && heap.free(block));
    }
}

fn sweep(arena: &Arena, roots: &[BlockRef]) {
    let report = mark_sweep::<ShmError>(arena, |marker| {
        assert!(roots.iter().all(|block| marker.mark(block.offset)));
        Ok(())
    });
    let report = report.unwrap();
    assert!(report.is_clean() && report.reserved == 0, "{report:?}");
}

/// One replaces what the other has made, which does nothing any more.
#[test]
fn what_is_freed_in_the_slabs_of_an_idle_session_serves_others() {
    let (arena, mut loader, mut writer) = scene();
    let mut blocks = live(&mut loader, 5000);
    let used = arena.used_bytes();
    for _ in 0..5 {
        // Here and there, so that no slab becomes empty.
        for at in (0..blocks.len()).step_by(3) {
            let new = live(&mut writer, 1);
            free(&mut writer, &blocks[at..=at]);
            blocks[at] = new[0];
            if at % 600 == 0 {
                loader.hand_over(false, std::iter::empty());
            }
        }
    }
    assert!(arena.used_bytes() <= used + used / 4, "{} of {used}", arena.used_bytes());
    sweep(&arena, &blocks);
    loader.close();
    writer.close();
    sweep(&arena, &blocks);
}

#[test]
fn all_that_is_free_goes_to_others_if_they_may_have_it() {
    let (arena, mut loader, mut writer) = scene();
    let mut blocks = live(&mut loader, 3000);
    for at in (0..blocks.len()).rev().step_by(2) {
        free(&mut loader, &[blocks.remove(at)]);
    }
    assert_eq!(loader.hand_over(false, std::iter::empty()), 0, "nobody else has freed anything");
    let used = arena.used_bytes();
    assert!(loader.hand_over(true, std::iter::empty()) > 3);
    let now = arena.used_bytes();
    assert_eq!(now, used);
    blocks.extend(live(&mut writer, 1300));
    assert_eq!(arena.used_bytes(), used, "the writer did not find them");
    // H1, H2
    let own = live(&mut loader, 1);
    let slabs = super::super::slabs_of(&arena, LOADER);
    let is_own = |block: &BlockRef| {
        slabs.iter().any(|slab| slab.blocks(&arena).any(|(offset, _)| offset == block.offset))
    };
    assert!(own.iter().all(is_own), "a block of a slab that is not its own");
    blocks.extend(own);
    // Nobody hands a block out twice.
    blocks.extend(live(&mut loader, 1000));
    let mut offsets: Vec<_> = blocks.iter().map(|block| block.offset).collect();
    offsets.sort_unstable();
    offsets.dedup();
    assert_eq!(offsets.len(), blocks.len());
    sweep(&arena, &blocks);
}

/// A reaper looks for a session's records in its own slabs only.
#[test]
fn slabs_with_what_has_to_stay_are_kept() {
    let (arena, mut loader, _) = scene();
    let blocks = live(&mut loader, 2000);
    let slabs = super::super::slabs_of(&arena, LOADER).len();
    let gone = loader.hand_over(true, [blocks[0].offset, blocks[1].offset].into_iter());
    let left = super::super::slabs_of(&arena, LOADER);
    assert!(gone == slabs - 1 && left.len() == 1, "{gone} of {slabs}");
    assert!(left[0].blocks(&arena).any(|(offset, _)| offset == blocks[0].offset));
}

#[test]
fn slabs_on_a_list_stay_on_it_when_they_change_hands() {
    let (arena, mut loader, mut writer) = scene();
    let list = arena.root(2);
    let row = |heap: &mut Heap| {
        let block = heap.alloc_tagged(40, BlockKind::ROW, 0, Reserve::No, 7, list).unwrap();
        assert!(arena.publish(block));
        block
    };
    let mut rows: Vec<_> = (0..3000).map(|_| row(&mut loader)).collect();
    let slabs = tagged_slabs(&arena, list).unwrap().len();
    let gone: Vec<_> = rows.drain(..1500).collect();
    free(&mut writer, &gone);
    assert!(loader.hand_over(false, std::iter::empty()) > 0);
    rows.extend((0..1500).map(|_| row(&mut writer)));
    assert_eq!(tagged_slabs(&arena, list).unwrap().len(), slabs);
    sweep(&arena, &rows);
}

/// A session that may not grow the arena has filled it.
fn all_but_the_reserve_filled() -> (Arena, Heap, Vec<BlockRef>) {
    let options = ArenaOptions { max_bytes: 64 * EXTENT_BYTES, ..Default::default() };
    let arena = Arena::anonymous(&options).unwrap();
    let mut heap = Heap::new(arena.clone(), LOADER);
    let mut live = Vec::new();
    loop {
        heap.growth_refused_ns = monotonic_ns();
        let Ok(block) = heap.alloc(1000, BlockKind::RAW, 0, Reserve::No) else { break };
        assert!(arena.publish(block));
        live.push(block);
    }
    (arena, heap, live)
}

/// The same session takes what is kept back for removing.
fn from_the_reserve(heap: &mut Heap, bytes: usize) -> BlockRef {
    heap.growth_refused_ns = monotonic_ns();
    let block = heap.alloc(bytes, BlockKind::RAW, 0, Reserve::Yes).unwrap();
    assert!(slab_of(block.offset) >= heap.arena().slab_end_for(Reserve::No));
    assert!(heap.arena().publish(block));
    block
}

/// A session has a block of `slab` from the reserve, and then room for other sizes: the slab is one of those that anybody may have.
/// It gives the slab back, and another takes it, which fills a block of it now.
fn slab_that_came_from_the_reserve() -> (Arena, Heap, Heap, BlockRef, Vec<BlockRef>) {
    let (arena, mut first, mut live) = all_but_the_reserve_filled();
    let mut other = Heap::new(arena.clone(), WRITER);
    let get = |heap: &mut Heap, bytes| heap.alloc(bytes, BlockKind::RAW, 0, Reserve::No);
    let mut blocks = vec![from_the_reserve(&mut first, 1000)];
    let slab = slab_of(blocks[0].offset);
    loop {
        let block = from_the_reserve(&mut first, 1000);
        if slab_of(block.offset) != slab {
            break;
        }
        blocks.push(block);
    }
    from_the_reserve(&mut first, 500);
    first.growth_refused_ns = 0;
    while slab >= arena.slab_end_for(Reserve::No) {
        assert!(arena.publish(get(&mut first, 500).unwrap()));
    }
    free(&mut first, &blocks);
    first.trim();
    let block = loop {
        let block = get(&mut other, 1000).unwrap();
        if slab_of(block.offset) == slab {
            break block;
        }
        assert!(arena.publish(block));
    };
    // Until the first one has looked through all that it knows of.
    for _ in 0..5000 {
        let block = get(&mut first, 1000).unwrap();
        assert!(arena.publish(block));
        live.push(block);
    }
    (arena, first, other, block, live)
}

#[test]
fn a_slab_that_came_from_the_reserve_is_not_handed_over_once_it_is_anothers() {
    let (arena, mut first, _other, block, _) = slab_that_came_from_the_reserve();
    let slab = arena.slab_ref(slab_of(block.offset));
    first.hand_over(true, std::iter::empty());
    assert_eq!(arena.slab_ref(slab_of(block.offset)), slab);
    first.close();
    assert!(arena.publish(block), "it was freed while it was filled");
}

#[test]
fn nobody_hands_out_blocks_of_a_slab_that_came_from_the_reserve_once_it_is_anothers() {
    let (arena, mut first, _other, block, live) = slab_that_came_from_the_reserve();
    assert!(arena.publish(block));
    // A third one frees blocks of both, so that the first one looks for them.
    let mut third = Heap::new(arena, OwnerId { slot: 3, incarnation: 1 });
    free(&mut third, &[block, live[live.len() - 1]]);
    for _ in 0..5000 {
        let got = first.alloc(1000, BlockKind::RAW, 0, Reserve::No).unwrap();
        assert_ne!(slab_of(got.offset), slab_of(block.offset));
    }
}

#[test]
fn what_came_from_the_reserve_serves_ordinary_allocations_once_there_is_room() {
    let (arena, mut first, _) = all_but_the_reserve_filled();
    let slab = slab_of(from_the_reserve(&mut first, 1000).offset);
    first.growth_refused_ns = 0;
    let get = |heap: &mut Heap| heap.alloc(1000, BlockKind::RAW, 0, Reserve::No).unwrap();
    let block = loop {
        let block = get(&mut first);
        assert!(arena.publish(block));
        if slab_of(block.offset) == slab {
            break block;
        }
    };
    free(&mut first, &[block]);
    assert_eq!(get(&mut first).offset, block.offset);
}
