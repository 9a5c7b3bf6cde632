//! A full file system is an error, never SIGBUS, and the reserve is there when it is met.
#![allow(clippy::unwrap_used, reason = "tests")]

mod shm_common;

use std::path::Path;

use aerostore_core::shm::{Arena, ArenaOptions, BlockKind, EXTENT_BYTES, Heap, OwnerId, Reserve, ShmError};
use shm_common::{Worker, fill_up, mount_small, unmount};

const OWNER: OwnerId = OwnerId { slot: 1, incarnation: 1 };

fn fill(heap: &mut Heap, bytes: usize, reserve: Reserve) -> Vec<aerostore_core::shm::BlockRef> {
    let mut blocks = Vec::new();
    loop {
        match heap.alloc(bytes, BlockKind::RAW, 0, reserve) {
            Ok(block) => {
                let place = heap.arena().bytes(block.offset, 8).unwrap();
                // SAFETY: the block is reserved for this test; were its page missing, this would be SIGBUS.
                unsafe { place.cast::<[u8; 8]>().write([0xee; 8]) };
                blocks.push(block);
            }
            Err(ShmError::OutOfSpace { .. }) => return blocks,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Another file takes what was given back: to have it again is an error then, and no more than that.
fn give_back_and_fill_up(arena: &Arena, heap: &mut Heap, place: &Path) {
    heap.trim();
    let empty = arena.empty_extents();
    assert!(empty.len() >= 2, "{empty:?}");
    for extent in &empty {
        assert!(heap.give_back(*extent).unwrap() > 0);
    }
    let other = place.join("other");
    let file = fill_up(&other);
    let few = fill(heap, 300, Reserve::No);
    assert!(arena.given_back_bytes() + (EXTENT_BYTES - 4096) >= empty.len() as u64 * (EXTENT_BYTES - 4096));
    assert!(heap.alloc(1_900_000, BlockKind::RAW, 0, Reserve::No).unwrap_err().is_out_of_space());
    std::fs::remove_file(&other).unwrap();
    drop(file);
    std::thread::sleep(std::time::Duration::from_millis(5));
    let more = fill(heap, 300, Reserve::No);
    assert!(more.len() + few.len() > 20_000, "{} and {}", few.len(), more.len());
    assert_eq!(arena.given_back_bytes(), 0);
}

#[test]
fn full_tmpfs_is_an_error_and_recovers() {
    let mut child = Worker::start("child_on_a_small_tmpfs", &[("AEROSTORE_TEST_CHILD", "1".into())]);
    assert!(child.0.wait().unwrap().success());
}

/// Not a test by itself: a process that may do with its mounts what it likes.
#[test]
fn child_on_a_small_tmpfs() {
    if std::env::var_os("AEROSTORE_TEST_CHILD").is_none() {
        return;
    }
    let place = std::path::PathBuf::from(format!("/tmp/aerostore-test-{}", std::process::id()));
    std::fs::create_dir(&place).unwrap();
    let mounted = mount_small(&place, 13 << 20);
    if mounted {
        // Six extents fit, and a bit; the limit is far away.
        let path = place.join("mapping");
        let options = ArenaOptions { max_bytes: 1 << 30, ..Default::default() };
        let arena = Arena::create(&path, &options).unwrap();
        let mut heap = Heap::new(arena.clone(), OWNER);
        let blocks = fill(&mut heap, 300, Reserve::No);
        assert_eq!(arena.file_bytes(), 6 * EXTENT_BYTES);
        assert!(blocks.len() > 20_000, "{}", blocks.len());
        assert!(fill(&mut heap, 300, Reserve::No).is_empty());
        assert!(fill(&mut heap, 300_000, Reserve::No).is_empty());
        let spare = fill(&mut heap, 300, Reserve::Yes);
        assert!(spare.len() > 12_000, "{}", spare.len());
        for &block in spare.iter().chain(&blocks) {
            assert!(heap.free(block));
        }
        let again = fill(&mut heap, 300, Reserve::No);
        assert_eq!(again.len(), blocks.len());
        for block in again {
            assert!(heap.free(block));
        }
        give_back_and_fill_up(&arena, &mut heap, &place);
        drop(heap);
        // Not even the first extents fit: an error at once.
        let second = Arena::create(&place.join("second"), &options);
        assert!(second.unwrap_err().is_out_of_space());
        unmount(&place);
    }
    std::fs::remove_dir(&place).unwrap();
}

#[test]
fn churn_in_a_small_arena_goes_on_for_many_times_its_size() {
    let arena =
        Arena::anonymous(&ArenaOptions { max_bytes: 6 * EXTENT_BYTES, ..Default::default() }).unwrap();
    let mut heaps = [1, 2].map(|slot| Heap::new(arena.clone(), OwnerId { slot, incarnation: 1 }));
    let mut dice = shm_common::Dice(1);
    let mut blocks = std::collections::VecDeque::new();
    let mut allocated = 0;
    let mut refusals = 0;
    for round in 0..200_000 {
        // The sizes wander, so that slabs have to change their class, and each session frees the other's blocks.
        let bytes = 20 + usize::try_from(dice.roll(40) + round / 500).unwrap();
        let heap = &mut heaps[usize::try_from(dice.roll(2)).unwrap()];
        match heap.alloc(bytes, BlockKind::RAW, 0, Reserve::No) {
            Ok(block) => {
                allocated += bytes;
                blocks.push_back(block);
            }
            Err(error) => {
                assert!(error.is_out_of_space());
                refusals += 1;
                let half = blocks.len() / 2;
                for block in blocks.drain(..half) {
                    assert!(heap.free(block));
                }
            }
        }
        if blocks.len() > 15_000 {
            assert!(heap.free(blocks.pop_front().unwrap()));
        }
    }
    assert!(allocated > 40 << 20);
    assert!(refusals < 200, "{refusals} refusals");
}
