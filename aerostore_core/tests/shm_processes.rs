//! Processes share an arena and are killed and stopped at any instruction; nothing is lost, nothing is handed out twice.
#![allow(clippy::unwrap_used, reason = "tests")]

mod shm_common;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use aerostore_core::shm::{
    Arena, ArenaExpect, ArenaOptions, AtomicRelPtr, BlockKind, BlockRef, BlockState, EXTENT_BYTES, Heap,
    INIT_LOCK_BYTE, OwnerId, PROCESS_LOCK_BYTE, RelPtr, Reserve, ShmError, adopt_retired, mark_sweep,
    release_slabs_of, tagged_slabs,
};
use aerostore_core::sys::{Create, LockFile, Probe, RegularFile, random_uuid};
use shm_common::{Dice, Scratch, Worker};

/// Cells of each slot in the system area: what leads to the slot's live blocks.
const CELLS: u64 = 4000;
const SLOTS: u16 = 4;
const PARENT: OwnerId = OwnerId { slot: SLOTS, incarnation: 1 };
const TAG: u32 = 9;
const LIST: usize = 3;
const PATTERN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A number shared by processes.
type Word = AtomicRelPtr<u8>;

fn cell(arena: &Arena, slot: u16, index: u64) -> &Word {
    let place = arena.system_area().0 + (u64::from(slot) * CELLS + index) * 8;
    arena.resolve(RelPtr::new(place)).unwrap()
}

/// A block in a cell: where it is, and enough of its generation to tell its uses apart.
fn pack(block: BlockRef) -> RelPtr<u8> {
    RelPtr::new(block.offset << 24 | u64::from(block.generation & 0xff_ffff))
}

/// The block in a cell, if it is live and at the use the cell means.
fn live_in(arena: &Arena, cell: &Word) -> Option<BlockRef> {
    let packed = cell.load(Ordering::Acquire);
    let offset = packed.offset() >> 24;
    if packed.is_null() || arena.block_word(offset).ok()?.state() != BlockState::Live {
        return None;
    }
    let block = arena.block_ref(offset).ok()?;
    (pack(block) == packed).then_some(block)
}

/// First and last word of the payload: what nobody else may have written over.
fn words(arena: &Arena, block: BlockRef) -> Option<[&Word; 2]> {
    let last = block.offset + arena.block_capacity(block.offset).ok()? - 8;
    Some([block.offset, last].map(|offset| arena.resolve(RelPtr::new(offset)).unwrap()))
}

fn fill_in(arena: &Arena, block: BlockRef) {
    let value = pack(block).offset().wrapping_mul(PATTERN);
    for word in words(arena, block).unwrap() {
        word.store(RelPtr::new(value), Ordering::Relaxed);
    }
}

fn is_intact(arena: &Arena, block: BlockRef) -> bool {
    let value = pack(block).offset().wrapping_mul(PATTERN);
    words(arena, block).unwrap().iter().all(|word| word.load(Ordering::Relaxed).offset() == value)
}

fn attach(path: &Path) -> Arena {
    Arena::attach(path, &ArenaExpect::default()).unwrap()
}

fn order(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Not a test by itself: a process that allocates, links, steals and frees until it is killed.
#[test]
fn child_that_churns() {
    let Some(path) = order("AEROSTORE_TEST_CHURN") else { return };
    let number = |name| order(name).unwrap().parse::<u32>().unwrap();
    let slot = u16::try_from(number("AEROSTORE_TEST_SLOT")).unwrap();
    let owner = OwnerId { slot, incarnation: number("AEROSTORE_TEST_INCARNATION") };
    let path = PathBuf::from(path);
    let lock = LockFile::open(&path).unwrap();
    assert!(lock.try_lock(PROCESS_LOCK_BYTE + u64::from(slot)).unwrap());
    let arena = attach(&path);
    let mut heap = Heap::new(arena.clone(), owner);
    let mut dice = Dice(u64::from(owner.incarnation) << 16 | u64::from(slot));
    loop {
        let mine = cell(&arena, slot, dice.roll(CELLS));
        let theirs = cell(&arena, u16::try_from(dice.roll(SLOTS.into())).unwrap(), dice.roll(CELLS));
        for (place, own) in [(mine, true), (theirs, false)] {
            let before = place.load(Ordering::Acquire);
            // Retiring decides who frees; only then the cell is emptied. A cell that still means an ended use is only
            // emptied by its owner.
            let Some(block) = live_in(&arena, place) else {
                if own {
                    place.store(RelPtr::NULL, Ordering::Release);
                }
                continue;
            };
            if arena.retire(block, slot) {
                assert!(is_intact(&arena, block), "{block:?} was written over");
                let _ = place.compare_exchange(before, RelPtr::NULL, Ordering::AcqRel, Ordering::Relaxed);
                assert!(heap.free(block));
            }
        }
        if !mine.load(Ordering::Acquire).is_null() {
            continue;
        }
        let bytes = usize::try_from(match dice.roll(1000) {
            0 => 70_000 + dice.roll(400_000),
            1..20 => 1000 + dice.roll(9000),
            _ => 16 + dice.roll(300),
        })
        .unwrap();
        let block = if dice.roll(4) == 0 {
            heap.alloc_tagged(32, BlockKind::ROW, 0, Reserve::No, TAG, arena.root(LIST))
        } else {
            heap.alloc(bytes, BlockKind::RAW, 0, Reserve::No)
        };
        match block {
            Ok(block) => {
                fill_in(&arena, block);
                mine.store(pack(block), Ordering::Release);
                assert!(arena.publish(block));
            }
            Err(error) => assert!(error.is_out_of_space(), "{error}"),
        }
    }
}

/// What a reaper does: empties cells that mean nothing, gets blocks and slabs back.
fn reap(arena: &Arena, heap: &mut Heap, dead: OwnerId) {
    release_slabs_of(arena, dead);
    for block in adopt_retired(arena, dead.slot, PARENT.slot) {
        assert!(heap.free(block), "adopted by one only");
    }
}

fn churner(path: &Path, owner: OwnerId) -> Worker {
    Worker::start(
        "child_that_churns",
        &[
            ("AEROSTORE_TEST_CHURN", path.to_str().unwrap().to_owned()),
            ("AEROSTORE_TEST_SLOT", owner.slot.to_string()),
            ("AEROSTORE_TEST_INCARNATION", owner.incarnation.to_string()),
        ],
    )
}

#[test]
fn killed_and_stopped_processes_lose_nothing() {
    let scratch = Scratch::new("churn");
    let options = ArenaOptions {
        max_bytes: 8 * EXTENT_BYTES,
        system_bytes: u64::from(SLOTS) * CELLS * 8,
        ..Default::default()
    };
    let arena = Arena::create(&scratch.0, &options).unwrap();
    arena.header().set_ready();
    let probe = Probe::open(&scratch.0).unwrap();
    let mut heap = Heap::new(arena.clone(), PARENT);
    let owners = |incarnation| (0..SLOTS).map(move |slot| OwnerId { slot, incarnation });
    let mut workers: Vec<_> = owners(1).map(|owner| (owner, churner(&scratch.0, owner))).collect();
    let rounds = order("AEROSTORE_TEST_ROUNDS").map_or(60, |rounds| rounds.parse().unwrap());
    let mut dice = Dice(rounds);
    let mut stopped: Option<usize> = None;
    for _ in 0..rounds {
        std::thread::sleep(Duration::from_millis(20 + dice.roll(30)));
        if let Some(index) = stopped.take() {
            workers[index].1.signal(libc::SIGCONT);
        }
        let index = usize::try_from(dice.roll(SLOTS.into())).unwrap();
        let (owner, worker) = &mut workers[index];
        assert!(worker.0.try_wait().unwrap().is_none(), "a worker found a fault");
        worker.0.kill().unwrap();
        worker.0.wait().unwrap();
        assert!(!probe.is_locked(PROCESS_LOCK_BYTE + u64::from(owner.slot)).unwrap());
        reap(&arena, &mut heap, *owner);
        owner.incarnation += 1;
        *worker = churner(&scratch.0, *owner);
        if dice.roll(3) == 0 {
            let other = usize::try_from(dice.roll(SLOTS.into())).unwrap();
            workers[other].1.signal(libc::SIGSTOP);
            stopped = Some(other);
        }
    }
    for (owner, worker) in &mut workers {
        assert!(worker.0.try_wait().unwrap().is_none(), "a worker found a fault");
        worker.0.kill().unwrap();
        worker.0.wait().unwrap();
        reap(&arena, &mut heap, *owner);
    }
    heap.close();
    assert!(!probe.any_locked(0..1000).unwrap());

    let mut live = HashSet::new();
    for (slot, index) in (0..SLOTS).flat_map(|slot| (0..CELLS).map(move |index| (slot, index))) {
        if let Some(block) = live_in(&arena, cell(&arena, slot, index)) {
            assert!(is_intact(&arena, block), "{block:?} was written over");
            assert!(live.insert(block.offset), "two cells hold one block");
        }
    }
    let report = mark_sweep::<ShmError>(&arena, |marker| {
        assert!(live.iter().all(|&offset| marker.mark(offset)));
        Ok(())
    })
    .unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.retired, report.reserved), (0, 0));
    assert!(report.live > 100, "the workers hardly worked: {report:?}");
    let listed: HashSet<u64> = tagged_slabs(&arena, arena.root(LIST))
        .unwrap()
        .iter()
        .flat_map(|slab| slab.blocks(&arena))
        .filter(|(_, word)| word.state() == BlockState::Live)
        .map(|(offset, word)| {
            assert_eq!(word.kind(), BlockKind::ROW);
            offset
        })
        .collect();
    let rows = live.iter().filter(|&&offset| arena.block_word(offset).unwrap().kind() == BlockKind::ROW);
    assert_eq!(rows.copied().collect::<HashSet<_>>(), listed, "a scan of the tag misses or invents rows");

    // All memory can be had again, in the largest pieces, once the survivors are freed.
    let mut heap = Heap::new(arena.clone(), PARENT);
    for offset in live {
        let block = arena.block_ref(offset).unwrap();
        assert!(arena.retire(block, PARENT.slot) && heap.free(block));
    }
    let tagged = tagged_slabs(&arena, arena.root(LIST)).unwrap().len();
    let mut runs = 0;
    while heap.alloc(1_900_000, BlockKind::RAW, 0, Reserve::Yes).is_ok() {
        runs += 1;
    }
    let extents = usize::try_from(arena.max_bytes() / EXTENT_BYTES).unwrap();
    assert!(runs + tagged + 1 >= extents, "{runs} runs in {extents} extents, {tagged} slabs of the tag");
}

/// Opens the way a database does: under the lock, attach or create.
fn open(path: &Path) -> Arena {
    let options =
        ArenaOptions { max_bytes: 4 * EXTENT_BYTES, uuid: random_uuid().unwrap(), ..Default::default() };
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        assert!(Instant::now() < deadline, "no turn within 30 s");
        let lock = LockFile::open_or_create(path).unwrap();
        assert!(lock.lock_wait(INIT_LOCK_BYTE, Duration::from_secs(20)).unwrap());
        let file = match RegularFile::open(path, Create::Never) {
            Ok(file) if lock.is_of(&file) => file,
            Ok(_) => continue,
            Err(error) if error.is_not_found() => continue,
            Err(error) => panic!("{error}"),
        };
        match Arena::attach_in(&file, &ArenaExpect::default()) {
            Err(error) if error.is_absent() => {
                let arena = Arena::create_in(&file, &options).unwrap();
                arena.root(0).store(u64::from(std::process::id()), Ordering::Release);
                if order("AEROSTORE_TEST_DIE").is_some() {
                    std::process::abort();
                }
                arena.header().set_ready();
                return arena;
            }
            other => return other.unwrap(),
        }
    }
}

/// Not a test by itself: a process that opens, or dies while it creates.
#[test]
fn child_that_opens() {
    let Some(path) = order("AEROSTORE_TEST_OPEN") else { return };
    let arena = open(Path::new(&path));
    if order("AEROSTORE_TEST_DIE").is_none() {
        arena.root(1).fetch_add(1, Ordering::AcqRel); // counts those that found the same arena
    }
}

#[test]
fn racing_processes_open_one_arena_though_creators_die() {
    for round in 0..5 {
        let scratch = Scratch::new(&format!("race{round}"));
        let orders = ("AEROSTORE_TEST_OPEN", scratch.0.to_str().unwrap().to_owned());
        let dying: Vec<_> = (0..2)
            .map(|_| Worker::start("child_that_opens", &[orders.clone(), ("AEROSTORE_TEST_DIE", "1".into())]))
            .collect();
        let mut openers: Vec<_> =
            (0..6).map(|_| Worker::start("child_that_opens", std::slice::from_ref(&orders))).collect();
        for opener in &mut openers {
            assert!(opener.0.wait().unwrap().success());
        }
        drop(dying);
        let arena = open(&scratch.0);
        assert_eq!(arena.root(1).load(Ordering::Acquire), 6, "some opened another arena");
    }
}
