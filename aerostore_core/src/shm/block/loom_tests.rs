//! The moves of a block's word, and of its slab's, by several at once.

use super::*;
use crate::shm::OwnerId;
use crate::shm::slab::{SlabHeader, SlabUse, SlabWord};
use loom::sync::Arc;
use loom::thread;

struct Shared {
    block: BlockHeader,
    slab: SlabHeader,
    payload: AtomicU64,
}

fn shared() -> Arc<Shared> {
    let block = BlockHeader { word: AtomicU64::new(0), birth: AtomicU64::new(0) };
    Arc::new(Shared { block, slab: SlabHeader::unused(), payload: AtomicU64::new(0) })
}

fn owner(slot: u16) -> OwnerId {
    OwnerId { slot, incarnation: 1 }
}

/// Who sees LIVE sees the payload and the birth, however it was published; who sees RESERVED of a later use sees its birth.
#[test]
fn loom_who_sees_a_live_block_sees_what_it_holds() {
    for own in [true, false] {
        loom::model(move || {
            let shared = shared();
            let reader = thread::spawn({
                let shared = Arc::clone(&shared);
                move || {
                    let word = shared.block.load();
                    if word.state() == BlockState::Live {
                        assert_eq!(shared.payload.load(Ordering::Relaxed), 7);
                        assert_eq!(shared.block.birth.load(Ordering::Relaxed), 5);
                    }
                }
            });
            let generation = shared.block.reserve(BlockKind::RAW, 5).unwrap();
            shared.payload.store(7, Ordering::Relaxed);
            if own {
                shared.block.publish_own(generation);
            } else {
                assert!(shared.block.publish(generation));
            }
            reader.join().unwrap();
        });
    }
}

/// Two retire one block and free it: one retires it, and it is freed once. A late one does nothing to the block's next use.
#[test]
fn loom_a_block_is_retired_and_freed_once() {
    loom::model(|| {
        let shared = shared();
        let first = shared.block.reserve(BlockKind::RAW, 1).unwrap();
        shared.block.publish_own(first);
        let end = move |shared: &Shared, slot| {
            let retired = shared.block.retire(first, slot);
            // The reaper of a dead session may do the same.
            (retired, shared.block.mark_free(first))
        };
        let other = thread::spawn({
            let shared = Arc::clone(&shared);
            move || end(&shared, 2)
        });
        let mine = end(&shared, 1);
        let second = shared.block.reserve(BlockKind::RAW, 2);
        let theirs = other.join().unwrap();
        assert!(mine.0 != theirs.0, "retired by {mine:?} and {theirs:?}");
        assert!(mine.1 != theirs.1, "freed by {mine:?} and {theirs:?}");
        if let Some(second) = second {
            assert_ne!(first, second);
            let word = shared.block.load();
            assert_eq!((word.state(), word.generation()), (BlockState::Reserved, second));
        }
    });
}

/// The session that has reserved a block publishes it while it is taken for dead: the block is live or free, not both.
#[test]
fn loom_a_reserved_block_is_published_or_freed() {
    loom::model(|| {
        let shared = shared();
        let generation = shared.block.reserve(BlockKind::RAW, 1).unwrap();
        let reaper = thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.block.mark_reserved_free(generation)
        });
        let published = shared.block.publish(generation);
        assert_ne!(published, reaper.join().unwrap());
        let expected = if published { BlockState::Live } else { BlockState::Free };
        assert_eq!(shared.block.load().state(), expected);
    });
}

/// S1: of two that claim a free slab one has it; and the next owner sees what the one before has left.
#[test]
fn loom_a_slab_has_one_owner_who_sees_what_the_last_one_left() {
    fn claim_and_use(shared: &Shared, slot: u16) -> bool {
        let mine = SlabWord::owned(owner(slot), SlabUse::Blocks(0));
        let found = shared.slab.load();
        let claimed = found == SlabWord::FREE && shared.slab.replace(found, mine);
        if claimed {
            // Nobody else is here: neither the payload nor the blocks need more than plain stores.
            let before = shared.payload.load(Ordering::Relaxed);
            shared.payload.store(before + 1, Ordering::Relaxed);
            let generation = shared.block.reserve(BlockKind::RAW, 1).expect("the last owner has freed it");
            assert!(shared.block.mark_own_free(generation));
            assert!(shared.slab.replace(mine, SlabWord::FREE), "somebody else has moved it");
        }
        claimed
    }
    loom::model(|| {
        let shared = shared();
        let other = thread::spawn({
            let shared = Arc::clone(&shared);
            move || claim_and_use(&shared, 2)
        });
        let mine = claim_and_use(&shared, 1);
        let theirs = other.join().unwrap();
        assert!(mine || theirs);
        let uses = u64::from(mine) + u64::from(theirs);
        assert_eq!(shared.payload.load(Ordering::Relaxed), uses);
        assert_eq!(
            u64::from(shared.block.load().generation()),
            uses,
            "B1: each use has a generation of its own"
        );
    });
}

/// A reaper takes a slab from an owner it holds for dead, who goes on: one of their moves fails.
#[test]
fn loom_a_slab_taken_from_its_owner_is_his_no_more() {
    loom::model(|| {
        let shared = shared();
        let forming = SlabWord::owned(owner(1), SlabUse::Forming);
        assert!(shared.slab.replace(SlabWord::FREE, forming));
        let reaper = thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.slab.replace(forming, SlabWord::FREE)
        });
        let formed = shared.slab.replace(forming, SlabWord::owned(owner(1), SlabUse::Blocks(3)));
        assert_ne!(formed, reaper.join().unwrap(), "S2");
        assert_eq!(shared.slab.load() == SlabWord::FREE, !formed);
    });
}
