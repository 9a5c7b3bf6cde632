//! The key index while it grows under operations that stand still: what they may still reach stays allocated.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_types,
    clippy::items_after_statements,
    clippy::many_single_char_names,
    reason = "tests; the index's trait is given plain atomics"
)]
use aerostore_core::epoch::Participant;
use aerostore_core::index::{Blocks, Entry, Exchange, Found, HashIndex, Inserted};
use aerostore_core::shm::*;
use std::sync::atomic::{AtomicU64, Ordering};

mod index_common;

use index_common::{Memory, create, setup};

const H: u64 = 0xABCD_0000_0000_0005;
const X: u64 = 16;
const K: u64 = 32;
fn hash_of(row: u64) -> u64 {
    if row == X || row == K { H } else { row.wrapping_mul(0x9E37_79B9_7F4A_7C15) }
}

#[test]
fn a_search_that_stands_still_during_two_growths_finds_its_key() {
    let (arena, reg) = setup("grow");
    let a = Participant::new(arena.clone(), reg.clone()).unwrap();
    let bp = Participant::new(arena.clone(), reg.clone()).unwrap();
    let mut b = Memory::new(&bp);
    let root = AtomicU64::new(0);
    create(&bp, &root);
    let index = HashIndex::new(&root, 0);
    let ins = |b: &mut Memory<'_>, row: u64| {
        let g = bp.pin();
        let r: Result<Inserted, ShmError> =
            index.insert(&g, b, hash_of(row), Entry { row, version: 0 }, |o| Ok(o == row), &|r| {
                Ok(hash_of(r))
            });
        r.unwrap()
    };
    assert_eq!(ins(&mut b, X), Inserted::New);
    assert_eq!(ins(&mut b, K), Inserted::New);
    let g = a.pin();
    let mut stopped = false;
    let mut freed = None;
    let found: Option<Found> = index
        .find::<ShmError>(&g, H, |row| {
            if row == X && !stopped {
                // The searcher is stopped here; others go on.
                stopped = true;
                reg.epoch().unwrap().fetch_add(1, Ordering::SeqCst);
                let t1 = root.load(Ordering::SeqCst);
                let mut n = 1000;
                while root.load(Ordering::SeqCst) == t1 {
                    ins(&mut b, n * 16);
                    n += 1;
                }
                let t2 = arena.block_ref(root.load(Ordering::SeqCst)).unwrap();
                while root.load(Ordering::SeqCst) == t2.offset {
                    ins(&mut b, n * 16);
                    n += 1;
                }
                reg.epoch().unwrap().fetch_add(1, Ordering::SeqCst);
                b.limbo.collect_now(&bp, &mut b.heap).unwrap();
                freed = Some(arena.block_word(t2.offset).unwrap());
                // Someone uses the memory again.
                for _ in 0..64 {
                    let _ = b.heap.alloc_zeroed(40, BlockKind::RAW, bp.epoch(), Reserve::No).unwrap();
                }
            }
            Ok(row == K)
        })
        .unwrap();
    println!("T2 after collect, while the searcher still stands on T1: {freed:?}; found {found:?}");
    assert_eq!(
        found.map(|found| found.row),
        Some(K),
        "a key that has been in the index all the time is not found"
    );
}

/// Does something once, before the next zeroed block is known.
struct Stop<'s, 'b> {
    inner: &'s mut Memory<'b>,
    once: Option<Box<dyn FnOnce() + 's>>,
}

impl Blocks for Stop<'_, '_> {
    fn alloc_zeroed(&mut self, bytes: usize, kind: BlockKind) -> Result<BlockRef, ShmError> {
        let r = self.inner.alloc_zeroed(bytes, kind);
        if let Some(f) = self.once.take() {
            f();
        }
        r
    }
    fn alloc(&mut self, bytes: usize, kind: BlockKind) -> Result<BlockRef, ShmError> {
        self.inner.alloc(bytes, kind)
    }
    fn has_room(&mut self, bytes: u64) -> bool {
        self.inner.has_room(bytes)
    }
    fn give_back(&mut self, block: BlockRef) {
        self.inner.give_back(block);
    }
    fn exchange(&mut self, w: &AtomicU64, wo: u64, c: &Exchange<'_>) -> Result<bool, ShmError> {
        self.inner.exchange(w, wo, c)
    }
    fn sparing(
        &mut self,
        deed: &mut dyn FnMut(&mut dyn Blocks) -> Result<(), ShmError>,
    ) -> Result<(), ShmError> {
        deed(self)
    }
    fn link(&mut self, w: &AtomicU64, o: u64, b: BlockRef) -> Result<bool, ShmError> {
        self.inner.link(w, o, b)
    }
    fn replace(
        &mut self,
        w: &AtomicU64,
        wo: u64,
        o: u64,
        n: u64,
        p: &mut dyn Iterator<Item = u64>,
    ) -> Result<bool, ShmError> {
        self.inner.replace(w, wo, o, n, p)
    }
}

/// The segment of a table made after the searcher's reservation.
#[test]
fn a_segment_made_during_an_operation_outlives_it() {
    let (arena, reg) = setup("segment");
    let a = Participant::new(arena.clone(), reg.clone()).unwrap();
    let bp = Participant::new(arena.clone(), reg.clone()).unwrap();
    let b = Memory::new(&bp);
    let mut ab = Memory::new(&a);
    let root = AtomicU64::new(0);
    create(&bp, &root);
    let index = HashIndex::new(&root, 0);
    // `a` loads the root, and stops before it makes the first segment.
    let bcell = std::cell::RefCell::new(b);
    let ins = |row: u64| {
        let g = bp.pin();
        let mut bb = bcell.borrow_mut();
        let r: Result<Inserted, ShmError> =
            index.insert(&g, &mut *bb, hash_of(row), Entry { row, version: 0 }, |o| Ok(o == row), &|r| {
                Ok(hash_of(r))
            });
        r.unwrap()
    };
    let g = a.pin();
    let seg = std::cell::Cell::new(None);
    let t1 = root.load(Ordering::SeqCst);
    let mut stop = Stop {
        inner: &mut ab,
        once: Some(Box::new(|| {
            reg.epoch().unwrap().fetch_add(1, Ordering::SeqCst);
            ins(X);
        })),
    };
    let r: Result<Inserted, ShmError> = index.insert(
        &g,
        &mut stop,
        H,
        Entry { row: K, version: 0 },
        |o| {
            if o == X && seg.get().is_none() {
                // `a` stands on a slot of the segment that `b` made.
                let s: &AtomicU64 = arena.resolve(RelPtr::new(t1 + 48)).unwrap();
                let s = s.load(Ordering::SeqCst);
                let mut n = 1000;
                while root.load(Ordering::SeqCst) == t1 {
                    ins(n * 16);
                    n += 1;
                }
                reg.epoch().unwrap().fetch_add(1, Ordering::SeqCst);
                let mut bb = bcell.borrow_mut();
                let bb = &mut *bb;
                bb.limbo.collect_now(&bp, &mut bb.heap).unwrap();
                seg.set(Some(arena.block_word(s).unwrap()));
            }
            Ok(o == K)
        },
        &|r| Ok(hash_of(r)),
    );
    println!("{r:?} {:?}", seg.get());
    assert_ne!(
        seg.get().unwrap().state(),
        BlockState::Free,
        "the segment was freed under the inserter, who goes on to CAS in it"
    );
}

/// Growth fails after the entry is in.
#[test]
fn an_entry_that_is_in_counts_though_the_growth_it_asked_for_fails() {
    let (arena, reg) = setup("fail");
    let bp = Participant::new(arena.clone(), reg.clone()).unwrap();
    let mut b = Memory::new(&bp);
    let root = AtomicU64::new(0);
    create(&bp, &root);
    let index = HashIndex::new(&root, 0);
    b.fail_tables = true;
    for n in 1..1000_u64 {
        let row = n * 16;
        let g = bp.pin();
        let r: Result<Inserted, ShmError> =
            index.insert(&g, &mut b, hash_of(row), Entry { row, version: 0 }, |o| Ok(o == row), &|r| {
                Ok(hash_of(r))
            });
        if r.is_err() {
            let found = index.find::<ShmError>(&g, hash_of(row), |o| Ok(o == row)).unwrap();
            assert!(found.is_none(), "insert of row {row} said {r:?}, but the entry is in the index");
        }
    }
}
