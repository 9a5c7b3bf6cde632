//! The key index while entries are removed: movers that come late bring nothing back, and nothing is lost or found twice.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_types, reason = "tests")]

mod common;
mod index_common;

use aerostore_core::epoch::Participant;
use aerostore_core::index::{Entry, HashIndex, Inserted};
use aerostore_core::shm::ShmError;
use common::Watchdog;
use index_common::{Memory, create, setup};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A row's offset tells its key, and which of the key's rows it is: none is used again.
fn row_of(key: u64, life: u64) -> u64 {
    (life << 20 | key) << 4
}

fn key_of(row: u64) -> u64 {
    row >> 4 & 0xF_FFFF
}

/// Eight keys share each hash but for a bit: long probe paths, and tags that are the same.
fn hash_of(row: u64) -> u64 {
    (key_of(row) / 8 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (key_of(row) & 1)
}

#[expect(clippy::unnecessary_wraps, reason = "as the index wants it")]
fn hasher(row: u64) -> Result<u64, ShmError> {
    Ok(hash_of(row))
}

fn insert(index: &HashIndex<'_>, memory: &mut Memory<'_>, row: u64) -> Inserted {
    let guard = memory.participant.pin();
    let same = |other| Ok::<bool, ShmError>(key_of(other) == key_of(row));
    index.insert(&guard, memory, hash_of(row), Entry { row, version: 0 }, same, &hasher).unwrap()
}

fn remove(index: &HashIndex<'_>, memory: &mut Memory<'_>, row: u64) -> bool {
    let guard = memory.participant.pin();
    index.remove(&guard, memory, hash_of(row), row, &hasher).unwrap()
}

fn find(index: &HashIndex<'_>, participant: &Participant, row: u64) -> Option<u64> {
    let guard = participant.pin();
    let same = |other| Ok::<bool, ShmError>(key_of(other) == key_of(row));
    index.find(&guard, hash_of(row), same).unwrap().map(|found| found.row)
}

fn entries(index: &HashIndex<'_>, participant: &Participant) -> HashMap<u64, u32> {
    let mut entries = HashMap::new();
    index.for_each_entry(&participant.pin(), |row, _| *entries.entry(row).or_default() += 1).unwrap();
    entries
}

/// H4: the mover has read a frozen entry and stands still; others move it and remove it, here and after another growth.
#[test]
fn a_mover_that_comes_late_brings_no_removed_entry_back() {
    let _watchdog = Watchdog::new(120);
    for growths in [1, 2, 3] {
        let (arena, registry) = setup("late-mover");
        let late = Participant::new(arena.clone(), Arc::clone(&registry)).unwrap();
        let other = Participant::new(arena, registry).unwrap();
        let root = AtomicU64::new(0);
        create(&other, &root);
        let index = HashIndex::new(&root, 0);
        let others = RefCell::new(Memory::new(&other));
        let first = root.load(Ordering::SeqCst);
        // Fills the table until it has a successor, but moves nothing yet.
        let key = Cell::new(1);
        let fill = || {
            key.set(key.get() + 1);
            assert_eq!(insert(&index, &mut others.borrow_mut(), row_of(key.get(), 1)), Inserted::New);
        };
        (0..717).for_each(|_| fill());
        assert_eq!(root.load(Ordering::SeqCst), first);
        let victim = Cell::new(0);
        let mut memory = Memory::new(&late);
        let guard = late.pin();
        let newcomer = row_of(0xF_FFFF, 1);
        let stops = |row| {
            if victim.get() == 0 {
                // The late mover is here: it has seen `row` frozen.
                victim.set(row);
                let mut replaced = 0;
                let mut seen = first;
                while replaced < growths {
                    fill();
                    let now = root.load(Ordering::SeqCst);
                    replaced += usize::from(now != seen);
                    seen = now;
                    if replaced == growths {
                        assert!(remove(&index, &mut others.borrow_mut(), row), "it was there");
                    }
                }
                assert_eq!(find(&index, &other, row), None);
            }
            hasher(row)
        };
        let same = |other| Ok::<bool, ShmError>(other == newcomer);
        let added = Entry { row: newcomer, version: 0 };
        index.insert(&guard, &mut memory, hash_of(newcomer), added, same, &stops).unwrap();
        assert_ne!(victim.get(), 0, "nothing was moved");
        assert_eq!(find(&index, &other, victim.get()), None, "after {growths} growths");
        assert!(!entries(&index, &other).contains_key(&victim.get()), "after {growths} growths");
    }
}

/// Keys come and go: the table is made anew now and then, never larger.
#[test]
fn churn_does_not_make_the_table_larger() {
    let _watchdog = Watchdog::new(120);
    let (arena, registry) = setup("churn");
    let participant = Participant::new(arena, registry).unwrap();
    let root = AtomicU64::new(0);
    create(&participant, &root);
    let index = HashIndex::new(&root, 0);
    let mut memory = Memory::new(&participant);
    let blocks = |memory: &Memory<'_>| {
        let mut count = 0;
        index.for_each_block(&memory.participant.pin(), |_| count += 1).unwrap();
        count
    };
    for life in 1..200_000_u64 {
        assert_eq!(insert(&index, &mut memory, row_of(life % 4096, life)), Inserted::New);
        if life > 300 {
            assert!(remove(&index, &mut memory, row_of((life - 300) % 4096, life - 300)), "{life}");
        }
        if life % 1000 == 0 {
            assert!(blocks(&memory) <= 4, "{} blocks", blocks(&memory));
            memory.limbo.collect_now(&participant, &mut memory.heap).unwrap();
        }
    }
    assert_eq!(entries(&index, &participant).len(), 300);
}

/// Threads insert and remove keys, some their own, some everybody's, while the table is made anew again and again.
#[test]
fn threads_that_insert_and_remove_lose_and_keep_nothing() {
    const THREADS: u64 = 4;
    const SHARED: u64 = 16;
    let _watchdog = Watchdog::new(300);
    let (arena, registry) = setup("threads");
    let participant = Participant::new(arena.clone(), Arc::clone(&registry)).unwrap();
    let root = AtomicU64::new(0);
    create(&participant, &root);
    let index = HashIndex::new(&root, 0);
    let lives = AtomicU64::new(1);
    let work = |thread: u64| {
        let participant = Participant::new(arena.clone(), Arc::clone(&registry)).unwrap();
        let mut memory = Memory::new(&participant);
        let mut own: HashMap<u64, u64> = HashMap::new();
        let mut state = thread * 7919 + 1;
        for _ in 0..60_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let is_shared = state >> 60 == 0;
            let key = if is_shared { state % SHARED } else { SHARED + state % 200 * THREADS + thread };
            if let Some(row) = own.remove(&key) {
                assert_eq!(find(&index, &participant, row), Some(row));
                assert!(remove(&index, &mut memory, row), "thread {thread}, key {key}: not there");
                assert_ne!(find(&index, &participant, row), Some(row));
            } else {
                let row = row_of(key, lives.fetch_add(1, Ordering::Relaxed));
                match insert(&index, &mut memory, row) {
                    Inserted::New => assert!(own.insert(key, row).is_none()),
                    Inserted::Existing(other) => {
                        assert!(is_shared && key_of(other) == key, "thread {thread}, key {key}");
                    }
                }
            }
            memory.limbo.collect(&participant, &mut memory.heap).unwrap();
        }
        own
    };
    let kept: Vec<HashMap<u64, u64>> = std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || work(thread))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut expected: HashMap<u64, u64> = HashMap::new();
    for (key, row) in kept.into_iter().flatten() {
        assert!(expected.insert(key, row).is_none(), "two threads hold key {key}");
    }
    for row in expected.values() {
        assert_eq!(find(&index, &participant, *row), Some(*row));
    }
    let mut memory = Memory::new(&participant);
    // One more growth or two, so that nothing is in the middle of a move.
    let found = entries(&index, &participant);
    assert_eq!(found.len(), expected.len());
    for row in expected.values() {
        assert!(found.contains_key(row) && remove(&index, &mut memory, *row));
    }
    assert!(entries(&index, &participant).is_empty());
}
