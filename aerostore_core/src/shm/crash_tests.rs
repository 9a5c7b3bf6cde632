//! Sessions die at every point of every operation, and so do their reapers; afterwards all memory can be had again.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;

use super::slab::{SlabOwner, SlabUse};
use super::{
    Arena, ArenaOptions, BlockKind, BlockRef, BlockState, EXTENT_BYTES, Heap, OwnerId, Reserve, SLAB_BYTES,
    ShmError, SlabRef, adopt_retired, mark_sweep, release_slabs_of, tagged_slabs,
};
use crate::sync::{interrupted_at, point_stride, survives};
use crate::sys::usize_of;

const VICTIM: OwnerId = OwnerId { slot: 1, incarnation: 5 };
const PEER: OwnerId = OwnerId { slot: 2, incarnation: 1 };
const HEIR: OwnerId = OwnerId { slot: 3, incarnation: 1 };
const LIST: usize = 2;
const TAG: u32 = 4;

/// An arena with a victim about to die, a peer that lives on, and blocks of both.
struct Scene {
    arena: Arena,
    victim: Heap,
    peer: Heap,
    /// Live blocks of the victim's slabs, then of the peer's.
    mine: Vec<BlockRef>,
    theirs: Vec<BlockRef>,
    /// Whether the peer is dead and reaped already, which happens once.
    peer_is_reaped: bool,
}

impl Scene {
    fn new() -> Self {
        let options = ArenaOptions { max_bytes: 4 * EXTENT_BYTES, reserve_extents: 1, ..Default::default() };
        let arena = Arena::anonymous(&options).unwrap();
        let mut scene = Self {
            victim: Heap::new(arena.clone(), VICTIM),
            peer: Heap::new(arena.clone(), PEER),
            arena,
            mine: Vec::new(),
            theirs: Vec::new(),
            peer_is_reaped: false,
        };
        for bytes in [100, 100, 100_000, 100] {
            scene.mine.push(live(&scene.arena, &mut scene.victim, bytes));
            scene.theirs.push(live(&scene.arena, &mut scene.peer, bytes));
        }
        // Slabs that were used before and are free again have to be divided anew.
        let blocks: Vec<_> = (0..200).map(|_| live(&scene.arena, &mut scene.peer, 3000)).collect();
        for block in blocks {
            assert!(scene.arena.retire(block, PEER.slot) && scene.peer.free(block));
        }
        scene.peer.trim();
        scene
    }
}

fn live(arena: &Arena, heap: &mut Heap, bytes: usize) -> BlockRef {
    let block = heap.alloc(bytes, BlockKind::RAW, 0, Reserve::No).unwrap();
    assert!(arena.publish(block));
    block
}

/// Lets `operation` die at each of its points in turn, its reapers at some of theirs, and checks what is left.
fn at_every_point(operation: impl Fn(&mut Scene)) {
    let stride = point_stride(3);
    let mut point = 0;
    loop {
        point += stride;
        let mut scene = Scene::new();
        let survived = survives(point, || operation(&mut scene));
        let Scene { arena, victim, peer, peer_is_reaped, .. } = scene;
        drop((victim, peer)); // forgotten: a heap does nothing when dropped
        // Reapers die as well: each time a little later, until one gets through.
        for (owner, start) in [(VICTIM, point % 5 + 1), (PEER, 1)] {
            if owner == PEER && peer_is_reaped {
                continue;
            }
            let mut reaper_point = start;
            while !survives(reaper_point, || {
                release_slabs_of(&arena, owner);
            }) {
                reaper_point += 7;
            }
        }
        check(&arena, point);
        if survived {
            assert!(point > 1, "the operation has no points");
            return;
        }
    }
}

/// Everything the dead left is live, retired or free; freeing it gives back all memory but listed slabs.
fn check(arena: &Arena, point: u64) {
    let mut heir = Heap::new(arena.clone(), HEIR);
    for dead in [VICTIM.slot, PEER.slot] {
        for block in adopt_retired(arena, dead, HEIR.slot) {
            assert!(heir.free(block));
        }
    }
    let mut offsets = BTreeSet::new();
    for slab in arena.slabs() {
        assert!(!matches!(slab.word().owner(), SlabOwner::Owned(_)) || is_tail(slab), "point {point}");
        for (offset, word) in slab.blocks(arena) {
            assert_ne!(word.state(), BlockState::Reserved, "point {point}: {offset:#x}");
            if let SlabUse::Large(count) = slab.word().usage()
                && word.state() != BlockState::Free
            {
                let tails =
                    arena.slabs().filter(|tail| tail.index() > slab.index()).take(usize_of(count) - 1);
                assert!(tails.into_iter().all(is_tail), "point {point}: a run in use lost a slab");
            }
            if word.state() == BlockState::Live {
                offsets.insert(offset);
            }
        }
    }
    let report = mark_sweep::<ShmError>(arena, |marker| {
        assert!(offsets.iter().all(|&offset| marker.mark(offset)), "point {point}");
        Ok(())
    });
    assert!(report.unwrap().is_clean());
    let listed = tagged_slabs(arena, arena.root(LIST)).unwrap();
    for offset in offsets {
        let block = arena.block_ref(offset).unwrap();
        assert!(arena.retire(block, HEIR.slot) && heir.free(block));
    }
    // One block each of the sizes that were used: the heir can allocate, also rows, and they are listed.
    for bytes in [100, 3000, 100_000] {
        heir.alloc(bytes, BlockKind::RAW, 0, Reserve::No).unwrap();
    }
    let row = heir.alloc_tagged(40, BlockKind::ROW, 0, Reserve::No, TAG, arena.root(LIST)).unwrap();
    let now = tagged_slabs(arena, arena.root(LIST)).unwrap();
    assert!(
        now.iter().any(|slab| slab.blocks(arena).any(|(offset, _)| offset == row.offset)),
        "point {point}"
    );
    assert!(now.len() <= listed.len().max(1), "point {point}: a listed slab was not adopted");
    assert!(now.windows(2).all(|pair| pair[0].offset() < pair[1].offset()), "point {point}: listed twice");
    heir.close();
    // The last resort returns all that is empty, so that only listed slabs are in use.
    let mut last = Heap::new(arena.clone(), OwnerId { slot: 4, incarnation: 1 });
    let fixed = arena.first_slab() * SLAB_BYTES;
    last.trim();
    last.release_empty_orphans();
    let expected = fixed + now.len() as u64 * SLAB_BYTES;
    assert_eq!(
        arena.used_bytes(),
        expected,
        "point {point}: {:?}",
        arena.slabs().filter(|slab| slab.word().owner() != SlabOwner::Free).collect::<Vec<_>>()
    );
}

/// No slab of an extent without memory can be taken, and all that was given back can be had again.
fn check_extents(arena: &Arena, heir: &mut Heap, point: u64) {
    for slab in arena.slabs() {
        let is_absent = slab.word().owner() == SlabOwner::Absent;
        assert_eq!(is_absent, !arena.has_memory(slab.index()), "point {point}: {slab:?}");
        let is_there = arena.mapping().is_present(slab.offset(), SLAB_BYTES);
        assert!(is_absent || is_there, "point {point}: {slab:?} has no memory");
    }
    heir.give_back_leftovers().unwrap();
    let absent = arena.slabs().filter(|slab| slab.word().owner() == SlabOwner::Absent).count() as u64;
    let extents = absent / (EXTENT_BYTES / SLAB_BYTES);
    assert_eq!(arena.given_back_bytes(), extents * (EXTENT_BYTES - 4096), "point {point}: something is left");
    let mut blocks = Vec::new();
    while let Ok(block) = heir.alloc(1_900_000, BlockKind::RAW, 0, Reserve::No) {
        blocks.push(block);
    }
    assert!(!blocks.is_empty() && arena.given_back_bytes() == 0, "point {point}");
    for block in blocks {
        assert!(heir.free(block));
    }
}

fn is_tail(slab: SlabRef) -> bool {
    slab.word().usage() == SlabUse::Tail
}

fn alloc(heap: &mut Heap, bytes: usize) -> BlockRef {
    heap.alloc(bytes, BlockKind::RAW, 0, Reserve::No).unwrap()
}

#[test]
fn allocating_from_old_and_new_slabs() {
    at_every_point(|scene| {
        for bytes in [100, 3000, 40, 20_000] {
            alloc(&mut scene.victim, bytes);
        }
    });
}

#[test]
fn allocating_tagged_blocks() {
    at_every_point(|scene| {
        for _ in 0..2 {
            let list = scene.arena.root(LIST);
            let block = scene.victim.alloc_tagged(40, BlockKind::ROW, 0, Reserve::No, TAG, list).unwrap();
            scene.arena.publish(block);
        }
    });
}

#[test]
fn allocating_and_freeing_runs() {
    at_every_point(|scene| {
        let small = alloc(&mut scene.victim, 150_000);
        let large = alloc(&mut scene.victim, 1_000_000);
        scene.arena.publish(small);
        scene.victim.free(large);
        let again = alloc(&mut scene.victim, 500_000);
        scene.victim.free(again);
    });
}

#[test]
fn publishing_retiring_and_freeing_own_and_other_blocks() {
    at_every_point(|scene| {
        for block in scene.mine.clone().into_iter().chain(scene.theirs.clone()) {
            scene.arena.retire(block, VICTIM.slot);
            scene.victim.free(block);
        }
        alloc(&mut scene.victim, 100);
        alloc(&mut scene.peer, 100);
        alloc(&mut scene.peer, 200_000);
    });
}

#[test]
fn trimming_and_closing() {
    at_every_point(|scene| {
        let blocks: Vec<_> = (0..50).map(|_| alloc(&mut scene.victim, 5000)).collect();
        for block in blocks {
            scene.victim.free(block);
        }
        scene.victim.trim();
        release_slabs_of(&scene.arena, VICTIM);
    });
}

#[test]
fn handing_slabs_over_and_having_them_again() {
    at_every_point(|scene| {
        for &block in &scene.mine {
            scene.arena.retire(block, PEER.slot);
            scene.peer.free(block);
        }
        let block = live(&scene.arena, &mut scene.victim, 3000);
        let list = scene.arena.root(LIST);
        let row = scene.victim.alloc_tagged(40, BlockKind::ROW, 0, Reserve::No, TAG, list).unwrap();
        scene.arena.publish(row);
        scene.victim.hand_over(false, std::iter::empty());
        alloc(&mut scene.peer, 100);
        scene.victim.hand_over(true, std::iter::once(block.offset));
        alloc(&mut scene.victim, 100);
        alloc(&mut scene.victim, 3000);
    });
}

#[test]
fn adopting_what_another_dead_session_left() {
    at_every_point(|scene| {
        for &block in &scene.theirs {
            scene.arena.retire(block, PEER.slot);
        }
        let list = scene.arena.root(LIST);
        scene.peer.alloc_tagged(40, BlockKind::ROW, 0, Reserve::No, TAG, list).unwrap();
        release_slabs_of(&scene.arena, PEER);
        scene.peer_is_reaped = true;
        for block in adopt_retired(&scene.arena, PEER.slot, VICTIM.slot) {
            scene.victim.free(block);
        }
        alloc(&mut scene.victim, 100);
        scene.victim.alloc_tagged(40, BlockKind::ROW, 0, Reserve::No, TAG, list).unwrap();
        alloc(&mut scene.victim, 300_000);
    });
}

#[test]
fn growing() {
    at_every_point(|scene| {
        for _ in 0..2 {
            alloc(&mut scene.victim, 1_900_000);
        }
    });
}

#[test]
fn giving_an_extent_back_and_using_it_again() {
    let options = ArenaOptions { max_bytes: 2 * EXTENT_BYTES, reserve_extents: 0, ..Default::default() };
    let stride = point_stride(7);
    let mut point = 0;
    loop {
        point += stride;
        let arena = Arena::anonymous(&options).unwrap();
        let mut victim = Heap::new(arena.clone(), VICTIM);
        let kept = live(&arena, &mut victim, 1_900_000);
        let block = alloc(&mut victim, 1_900_000);
        victim.free(block);
        let survived = survives(point, || {
            let empty = arena.empty_extents();
            assert_eq!(empty.len(), 1);
            assert_eq!(victim.give_back(empty[0]).unwrap(), EXTENT_BYTES - 4096);
            let again = alloc(&mut victim, 1_900_000);
            assert!(again.offset == block.offset && victim.free(again));
        });
        drop(victim);
        let mut reaper_point = point % 5 + 1;
        while !survives(reaper_point, || {
            release_slabs_of(&arena, VICTIM);
        }) {
            reaper_point += 7;
        }
        let mut heir = Heap::new(arena.clone(), HEIR);
        check_extents(&arena, &mut heir, point);
        let report = mark_sweep::<ShmError>(&arena, |marker| {
            assert!(marker.mark(kept.offset));
            Ok(())
        });
        let report = report.unwrap();
        assert!(report.is_clean() && report.live == 1 && report.reserved == 0, "point {point}: {report:?}");
        if survived {
            assert!(point > 100, "{point} points");
            return;
        }
    }
}

#[test]
fn searching_a_full_arena() {
    at_every_point(|scene| {
        // Only the last steps are of interest, so the way to them is short: runs of all slabs but the first of an extent.
        while scene.victim.alloc(1_900_000, BlockKind::RAW, 0, Reserve::Yes).is_ok() {}
        for bytes in [9000_usize, 60_000] {
            for _ in 0..6 * usize_of(SLAB_BYTES) / bytes {
                let _ = scene.victim.alloc(bytes, BlockKind::RAW, 0, Reserve::Yes);
            }
        }
        release_slabs_of(&scene.arena, PEER);
        scene.peer_is_reaped = true;
        let _ = scene.victim.alloc(9000, BlockKind::RAW, 0, Reserve::No);
    });
}

#[test]
fn a_reaper_that_comes_late_harms_no_heir() {
    let mut scene = Scene::new();
    let block = scene.victim.alloc(100, BlockKind::RAW, 0, Reserve::No).unwrap();
    let stale: Vec<_> = scene.arena.slabs().filter(|slab| slab.word().is_owned_by(VICTIM)).collect();
    release_slabs_of(&scene.arena, VICTIM);
    let mut heir = Heap::new(scene.arena.clone(), HEIR);
    let taken: Vec<_> = (0..100).map(|_| alloc(&mut heir, 100)).collect();
    assert!(
        taken.iter().any(|taken| taken.offset == block.offset),
        "the heir got none of the dead one's blocks"
    );
    // A reaper that saw the slabs as the victim's, stopped, and goes on only now.
    for slab in stale {
        super::reap::orphan(&scene.arena, slab);
    }
    for taken in taken {
        assert!(scene.arena.publish(taken), "a late reaper freed the heir's block");
    }
}

/// Before each of the look's accesses in turn somebody comes to use it, and stands still at the last step of letting go of it: whoever
/// begins an operation after the look, and so after the epoch that is closed behind it, still finds it in use.
#[test]
fn an_extent_that_is_in_use_at_the_end_of_the_look_is_not_given_back() {
    let scene = || {
        let arena =
            Arena::anonymous(&ArenaOptions { max_bytes: 6 * EXTENT_BYTES, ..Default::default() }).unwrap();
        let (mut peer, victim) = (Heap::new(arena.clone(), PEER), Heap::new(arena.clone(), VICTIM));
        alloc(&mut peer, 1_900_000);
        let block = alloc(&mut peer, 1_900_000);
        assert!(peer.free(block));
        (arena, peer, victim)
    };
    let use_it_up_to = |heap: &mut Heap, point| {
        let block = alloc(heap, 1_900_000);
        (survives(point, || assert!(heap.free(block))), block.offset)
    };
    let mut last_step = 0;
    for point in 1.. {
        let (arena, _, mut victim) = scene();
        let (survived, offset) = use_it_up_to(&mut victim, point);
        last_step = if arena.is_in_use(offset) { point } else { last_step };
        if survived {
            break;
        }
    }
    for access in 1.. {
        let (arena, peer, mut victim) = scene();
        let used = Rc::new(Cell::new(0));
        let told = Rc::clone(&used);
        let deed = move || told.set(use_it_up_to(&mut victim, last_step).1);
        let (was_interrupted, seen) = interrupted_at(access, deed, || arena.empty_extents());
        if !was_interrupted {
            assert!(seen.len() == 1 && peer.give_back(seen[0]).unwrap() > 0);
            return;
        }
        assert!(arena.is_in_use(used.get()));
        release_slabs_of(&arena, VICTIM);
        let mut heir = Heap::new(arena.clone(), HEIR);
        heir.release_empty_orphans();
        assert_eq!(arena.empty_extents().len(), 1, "access {access}");
        for extent in seen {
            assert_eq!(heir.give_back(extent).unwrap(), 0, "access {access}: somebody may be there");
        }
    }
}

#[test]
fn a_run_whose_maker_died_counts_as_a_use_of_its_extent() {
    let mut used = 0;
    for point in 1.. {
        let options = ArenaOptions { max_bytes: 6 * EXTENT_BYTES, ..Default::default() };
        let arena = Arena::anonymous(&options).unwrap();
        let (mut victim, mut peer) = (Heap::new(arena.clone(), VICTIM), Heap::new(arena.clone(), PEER));
        live(&arena, &mut peer, 1_900_000);
        let block = peer.alloc(1_900_000, BlockKind::RAW, 0, Reserve::No).unwrap();
        assert!(peer.free(block));
        let before = arena.empty_extents();
        let survived = survives(point, || {
            victim.alloc(1_900_000, BlockKind::RAW, 0, Reserve::No).unwrap();
        });
        if survived {
            break;
        }
        let was_in_use = arena.slabs().any(|slab| slab.word().is_owned_by(VICTIM) && slab.word().is_in_use());
        release_slabs_of(&arena, VICTIM);
        let after = arena.empty_extents();
        if was_in_use && !after.is_empty() {
            used += 1;
            assert_ne!(before, after, "point {point}: somebody may have seen a part of it in use");
        }
    }
    assert!(used > 0, "nobody died halfway");
}
