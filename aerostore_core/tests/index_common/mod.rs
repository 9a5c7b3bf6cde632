//! What the tests of the key index share: memory for its tables, an arena, a first table.
#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::unwrap_used,
    reason = "each test uses a part of this"
)]

use aerostore_core::epoch::{Limbo, Participant, Registry};
use aerostore_core::index::{Blocks, Exchange, HashIndex, OrderedIndex, STRUCTURE_BIRTH};
use aerostore_core::shm::{Arena, ArenaOptions, BlockKind, BlockRef, Heap, Reserve, ShmError};
use aerostore_core::sys::{LockFile, Probe};
use aerostore_core::txn::SystemArea;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A session's memory, without the descriptors that make linking survive a death.
pub struct Memory<'p> {
    pub participant: &'p Participant,
    pub heap: Heap,
    pub limbo: Limbo,
    /// No table is to be had.
    pub fail_tables: bool,
}

impl<'p> Memory<'p> {
    pub fn new(participant: &'p Participant) -> Self {
        let heap = Heap::new(participant.arena().clone(), participant.owner());
        Self { participant, heap, limbo: Limbo::default(), fail_tables: false }
    }
}

impl Blocks for Memory<'_> {
    fn alloc_zeroed(&mut self, bytes: usize, kind: BlockKind) -> Result<BlockRef, ShmError> {
        if self.fail_tables && kind == BlockKind::HASH_TABLE {
            return Err(ShmError::OutOfSpace { used: 1, limit: 1 });
        }
        self.heap.alloc_zeroed(bytes, kind, STRUCTURE_BIRTH, Reserve::No)
    }
    fn alloc(&mut self, bytes: usize, kind: BlockKind) -> Result<BlockRef, ShmError> {
        self.limbo.collect(self.participant, &mut self.heap)?;
        self.heap.alloc(bytes, kind, self.participant.epoch(), Reserve::No)
    }
    fn has_room(&mut self, bytes: u64) -> bool {
        self.heap.has_room(bytes)
    }
    fn give_back(&mut self, block: BlockRef) {
        self.heap.free(block);
    }
    fn exchange(&mut self, word: &AtomicU64, _: u64, change: &Exchange<'_>) -> Result<bool, ShmError> {
        let arena = self.participant.arena();
        if change.is_copy() {
            change.made.iter().for_each(|block| arena.publish_own(*block));
        }
        let done = word.compare_exchange(change.from, change.to, Ordering::AcqRel, Ordering::Acquire).is_ok();
        for block in change.made {
            if done && !change.is_copy() {
                arena.publish(*block);
            } else if !done {
                arena.retire(*block, self.participant.owner().slot);
                self.heap.free(*block);
            }
        }
        if done {
            for block in change.replaced.iter().chain(&change.dropped) {
                self.limbo.retire(self.participant, *block)?;
            }
        }
        Ok(done)
    }
    fn sparing(
        &mut self,
        deed: &mut dyn FnMut(&mut dyn Blocks) -> Result<(), ShmError>,
    ) -> Result<(), ShmError> {
        deed(self)
    }

    fn link(&mut self, word: &AtomicU64, _: u64, block: BlockRef) -> Result<bool, ShmError> {
        let linked = word.compare_exchange(0, block.offset, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if linked {
            self.participant.arena().publish(block);
        } else {
            self.heap.free(block);
        }
        Ok(linked)
    }
    fn replace(
        &mut self,
        word: &AtomicU64,
        _: u64,
        old: u64,
        new: u64,
        parts: &mut dyn Iterator<Item = u64>,
    ) -> Result<bool, ShmError> {
        if word.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return Ok(false);
        }
        for part in parts.chain([old]) {
            let block = self.participant.arena().block_ref(part)?;
            self.participant.arena().publish(block);
            self.limbo.retire(self.participant, block)?;
        }
        Ok(true)
    }
}

/// An arena in private memory, with a registry whose lock file has no name any more.
pub fn setup(name: &str) -> (Arena, Arc<Registry>) {
    setup_sized(name, 64 << 20)
}

/// The same, of a given size.
pub fn setup_sized(name: &str, max_bytes: u64) -> (Arena, Arc<Registry>) {
    let path =
        std::path::PathBuf::from(format!("/dev/shm/aerostore-test-index-{name}-{}", std::process::id()));
    let lock = LockFile::open_or_create(&path).unwrap();
    let probe = Probe::open(&path).unwrap();
    let _ = std::fs::remove_file(&path);
    let arena = Arena::anonymous(&ArenaOptions {
        max_bytes,
        system_bytes: SystemArea::bytes(),
        ..ArenaOptions::default()
    })
    .unwrap();
    let (start, _) = arena.system_area();
    let registry = Registry::attach(arena.clone(), SystemArea::at(start).registry(), lock, probe).unwrap();
    (arena, Arc::new(registry))
}

/// Makes the first table of the index at `root`.
pub fn create(participant: &Participant, root: &AtomicU64) {
    let guard = participant.pin();
    let table = HashIndex::create(&guard, &mut Memory::new(participant)).unwrap();
    participant.arena().publish(table);
    root.store(table.offset, Ordering::SeqCst);
}

/// Makes the first anchor of the ordered index at `root`.
pub fn create_ordered(participant: &Participant, root: &AtomicU64) {
    create_ordered_as(participant, root, None);
}

/// The same of a hash whose root word is said to lie at `offset`.
pub fn create_hash(participant: &Participant, root: &AtomicU64, offset: u64) {
    create_ordered_as(participant, root, Some(offset));
}

fn create_ordered_as(participant: &Participant, root: &AtomicU64, hash_root: Option<u64>) {
    let guard = participant.pin();
    let anchor = OrderedIndex::create(&guard, &mut Memory::new(participant), hash_root).unwrap();
    participant.arena().publish(anchor);
    root.store(anchor.offset, Ordering::SeqCst);
}
