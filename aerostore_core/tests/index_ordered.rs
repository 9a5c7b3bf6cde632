//! The ordered index beside a `BTreeSet`: the same entries in the same order, whatever is done to both.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_types, reason = "tests")]

mod common;
mod index_common;

use aerostore_core::epoch::{Guard, Participant};
use aerostore_core::index::{Added, Direction, EntryBatch, OrderedIndex, prefix_end};
use aerostore_core::shm::{ShmError, mark_sweep};
use common::Watchdog;
use index_common::{Memory, create_ordered, setup};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

type Entry = (Vec<u8>, u64);

fn entries(
    index: &OrderedIndex<'_>,
    guard: &Guard<'_>,
    from: Bound<&[u8]>,
    to: Bound<&[u8]>,
    direction: Direction,
) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut cursor = index.seek(guard, from, to, direction);
    while let Some(batch) = cursor.next_batch().unwrap() {
        for entry in batch.iter() {
            let mut key = Vec::new();
            entry.key_into(&mut key);
            assert!(entry.key_is(&key));
            found.push((key, entry.row()));
        }
        assert!(batch.stamp().unwrap().is_unchanged(guard).unwrap());
    }
    found
}

fn all(index: &OrderedIndex<'_>, guard: &Guard<'_>) -> Vec<Entry> {
    entries(index, guard, Bound::Unbounded, Bound::Unbounded, Direction::Forward)
}

fn expected(set: &BTreeSet<Entry>, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Vec<Entry> {
    let is_in = |key: &[u8]| {
        (match from {
            Bound::Included(from) => key >= from,
            Bound::Excluded(from) => key > from,
            Bound::Unbounded => true,
        }) && match to {
            Bound::Included(to) => key <= to,
            Bound::Excluded(to) => key < to,
            Bound::Unbounded => true,
        }
    };
    set.iter().filter(|(key, _)| is_in(key)).cloned().collect()
}

fn bound(key: &[u8], kind: u8) -> Bound<&[u8]> {
    match kind {
        0 => Bound::Included(key),
        1 => Bound::Excluded(key),
        _ => Bound::Unbounded,
    }
}

/// Short keys, long ones that share their first bytes, empty ones, and now and then one that takes a block of its own.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0..400_u64).prop_map(|number| number.to_be_bytes().to_vec()),
        4 => (0..400_u32).prop_map(|number| number.to_be_bytes().to_vec()),
        4 => (0..200_u32).prop_map(|number| format!("https://example/{number}").into_bytes()),
        2 => prop::collection::vec(prop_oneof![Just(0_u8), Just(255)], 0..12),
        1 => (0..10_usize).prop_map(|number| vec![7; 900 + number * 300]),
        1 => Just(vec![9; 3]),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Insert(Vec<u8>, u64),
    InsertAll(Vec<Entry>),
    Remove(Vec<u8>, u64),
    Vacuum(Vec<u8>, u64, bool),
    Scan(Vec<u8>, Vec<u8>, u8, u8),
    Prefix(Vec<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    let row = || (1..6_u64).prop_map(|row| row * 16);
    prop_oneof![
        10 => (key(), row()).prop_map(|(key, row)| Step::Insert(key, row)),
        1 => prop::collection::vec((key(), row()), 0..100).prop_map(Step::InsertAll),
        5 => (key(), row()).prop_map(|(key, row)| Step::Remove(key, row)),
        2 => (key(), row(), any::<bool>()).prop_map(|(key, row, again)| Step::Vacuum(key, row, again)),
        1 => (key(), key(), 0..3_u8, 0..3_u8).prop_map(|(from, to, a, b)| Step::Scan(from, to, a, b)),
        1 => (key(), 0..4_usize).prop_map(|(mut key, length)| {
            key.truncate(length);
            Step::Prefix(key)
        }),
    ]
}

fn run(steps: &[Step]) {
    let (arena, registry) = setup("ordered-model");
    let participant = Participant::new(arena, Arc::clone(&registry)).unwrap();
    let root = AtomicU64::new(0);
    create_ordered(&participant, &root);
    let index = OrderedIndex::new(&root, 0);
    let mut memory = Memory::new(&participant);
    let peer = Participant::new(participant.arena().clone(), registry).unwrap();
    let mut peers_memory = Memory::new(&peer);
    let mut set = BTreeSet::new();
    for step in steps {
        let guard = participant.pin();
        match step {
            Step::Insert(key, row) => {
                let added = index.insert(&guard, &mut memory, key, *row).unwrap();
                assert_eq!(added == Added::New, set.insert((key.clone(), *row)));
                assert!(index.contains(&guard, key, *row).unwrap());
            }
            Step::InsertAll(entries) => {
                let mut batch = EntryBatch::default();
                for (key, row) in entries {
                    batch.push(key, *row);
                }
                index.insert_all(&guard, &mut memory, &mut batch).unwrap();
                set.extend(entries.iter().cloned());
            }
            Step::Remove(key, row) => {
                let removed = index.remove(&guard, &mut memory, key, *row).unwrap();
                assert_eq!(removed, set.remove(&(key.clone(), *row)));
                assert!(!index.contains(&guard, key, *row).unwrap());
            }
            Step::Vacuum(key, row, again) => {
                // A peer adds the entry between the first look at the row and the removal; the second look sees that.
                let mut looks = 0;
                let removed = index.remove_unless(&guard, &mut memory, key, *row, || {
                    looks += 1;
                    if *again && looks == 1 {
                        let guard = peer.pin();
                        assert_eq!(index.insert(&guard, &mut peers_memory, key, *row)?, Added::Present);
                        return Ok::<_, ShmError>(false);
                    }
                    Ok(*again)
                });
                let was_there = set.contains(&(key.clone(), *row));
                assert_eq!(looks, i32::from(was_there) + i32::from(was_there && *again));
                assert_eq!(removed.unwrap(), was_there && !*again);
                assert_eq!(index.contains(&guard, key, *row).unwrap(), was_there && *again);
                if !*again {
                    set.remove(&(key.clone(), *row));
                }
            }
            Step::Scan(from, to, a, b) => {
                let (from, to) = (bound(from, *a), bound(to, *b));
                let mut wanted = expected(&set, from, to);
                assert_eq!(entries(&index, &guard, from, to, Direction::Forward), wanted);
                wanted.reverse();
                assert_eq!(entries(&index, &guard, from, to, Direction::Backward), wanted);
            }
            Step::Prefix(prefix) => {
                let end = prefix_end(prefix);
                let to = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                let found = entries(&index, &guard, Bound::Included(prefix), to, Direction::Forward);
                let wanted: Vec<_> = set.iter().filter(|(key, _)| key.starts_with(prefix)).cloned().collect();
                assert_eq!(found, wanted);
            }
        }
    }
    let guard = participant.pin();
    assert_eq!(index.check(&guard).unwrap(), Vec::<String>::new());
    assert_eq!(all(&index, &guard), set.iter().cloned().collect::<Vec<_>>());
    // From every entry on, in both directions.
    for (number, (key, row)) in set.iter().enumerate().step_by(7) {
        let after = |direction| {
            let mut cursor = index.resume(&guard, (key, *row), Bound::Unbounded, direction);
            let mut count = 0;
            while let Some(batch) = cursor.next_batch().unwrap() {
                count += batch.len();
            }
            count
        };
        assert_eq!((after(Direction::Backward), after(Direction::Forward)), (number, set.len() - number - 1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_index_is_a_sorted_set(steps in prop::collection::vec(step(), 1..1200)) {
        run(&steps);
    }
}

/// O5: a removal whose look came before any of them is refused.
#[test]
fn an_entry_that_is_added_again_never_looks_as_it_did() {
    let (arena, registry) = setup("ordered-again");
    let participant = Participant::new(arena, registry).unwrap();
    let root = AtomicU64::new(0);
    create_ordered(&participant, &root);
    let index = OrderedIndex::new(&root, 0);
    let mut memory = Memory::new(&participant);
    let guard = participant.pin();
    assert_eq!(index.insert(&guard, &mut memory, b"key", 16).unwrap(), Added::New);
    let stamp = || {
        let mut cursor = index.seek(&guard, Bound::Unbounded, Bound::Unbounded, Direction::Forward);
        cursor.next_batch().unwrap().unwrap().stamp().unwrap()
    };
    let mut stamps = vec![stamp()];
    for number in 1..=(1 << 17) + 1_u32 {
        assert_eq!(index.insert(&guard, &mut memory, b"key", 16).unwrap(), Added::Present);
        assert!(!stamps.iter().any(|stamp| stamp.is_unchanged(&guard).unwrap()), "{number}");
        if number.is_power_of_two() {
            stamps.push(stamp());
        }
    }
}

#[test]
fn keys_that_come_in_order_fill_their_blocks() {
    let (arena, registry) = setup("ordered-append");
    let participant = Participant::new(arena, registry).unwrap();
    let root = AtomicU64::new(0);
    create_ordered(&participant, &root);
    let index = OrderedIndex::new(&root, 0);
    let mut memory = Memory::new(&participant);
    for number in 0..50_000_u64 {
        let guard = participant.pin();
        index.insert(&guard, &mut memory, &number.to_be_bytes(), 16).unwrap();
    }
    let (blocks, entries) = count(&index, &participant);
    assert_eq!(entries, 50_000);
    assert!(entries / blocks > 40, "{blocks} blocks");
}

/// In an empty index, and between entries that are there.
#[test]
fn many_entries_at_once_make_full_blocks() {
    let (arena, registry) = setup("ordered-batch");
    let participant = Participant::new(arena, registry).unwrap();
    let root = AtomicU64::new(0);
    create_ordered(&participant, &root);
    let index = OrderedIndex::new(&root, 0);
    let mut memory = Memory::new(&participant);
    let mut batch = EntryBatch::default();
    for behind in [0..30_u64, 30..60] {
        batch.clear();
        for number in behind {
            batch.push(&(number * 3_u64).to_be_bytes(), 16);
        }
        index.insert_all(&participant.pin(), &mut memory, &mut batch).unwrap();
        assert_eq!(index.check(&participant.pin()).unwrap(), Vec::<String>::new());
    }
    for (rest, least) in [(0, 40), (1, 30), (2, 30)] {
        batch.clear();
        for number in (0..30_000_u64).rev() {
            batch.push(&(number * 3 + rest).to_be_bytes(), 16);
        }
        let guard = participant.pin();
        index.insert_all(&guard, &mut memory, &mut batch).unwrap();
        drop(guard);
        let (blocks, entries) = count(&index, &participant);
        assert_eq!(entries as u64, 30_000 * (rest + 1));
        assert!(entries / blocks >= least, "{blocks} blocks for {entries} entries");
    }
    assert_eq!(index.check(&participant.pin()).unwrap(), Vec::<String>::new());
}

/// Blocks of the bottom level, and entries.
fn count(index: &OrderedIndex<'_>, participant: &Participant) -> (usize, usize) {
    let guard = participant.pin();
    let mut cursor = index.seek(&guard, Bound::Unbounded, Bound::Unbounded, Direction::Forward);
    let (mut blocks, mut entries) = (0, 0);
    while let Some(batch) = cursor.next_batch().unwrap() {
        blocks += 1;
        entries += batch.len();
    }
    (blocks, entries)
}

/// Entries come and go; what is left when most are gone takes little, and so does nothing at all.
#[test]
fn sparse_blocks_are_merged_and_their_memory_comes_back() {
    let (arena, registry) = setup("ordered-merge");
    let participant = Participant::new(arena.clone(), registry).unwrap();
    let root = AtomicU64::new(0);
    create_ordered(&participant, &root);
    let index = OrderedIndex::new(&root, 0);
    let mut memory = Memory::new(&participant);
    let key_of = |number: u64| number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
    for round in 0..3 {
        for number in 0..20_000 {
            let guard = participant.pin();
            assert_eq!(index.insert(&guard, &mut memory, &key_of(number), 16).unwrap(), Added::New);
        }
        for number in 0..20_000 {
            if number % 100 != round {
                let guard = participant.pin();
                assert!(index.remove(&guard, &mut memory, &key_of(number), 16).unwrap());
            }
        }
        let (blocks, entries) = count(&index, &participant);
        assert!(entries == 200 && blocks < 60, "{blocks} blocks for {entries} entries");
        assert_eq!(index.check(&participant.pin()).unwrap(), Vec::<String>::new());
        for number in (round..20_000).step_by(100) {
            let guard = participant.pin();
            assert!(index.remove(&guard, &mut memory, &key_of(number), 16).unwrap());
        }
        let (blocks, entries) = count(&index, &participant);
        assert!(entries == 0 && blocks < 10, "{blocks} blocks for nothing");
        memory.limbo.collect_now(&participant, &mut memory.heap).unwrap();
        memory.limbo.collect_now(&participant, &mut memory.heap).unwrap();
        let report = mark_sweep::<ShmError>(&arena, |marker| {
            index.for_each_block(&participant.pin(), |block| {
                assert!(marker.mark(block), "reached twice");
            })
        })
        .unwrap();
        assert!(report.is_clean() && report.live < 60, "{report:?}");
    }
}

/// Threads insert and remove entries, their own among everybody's, and scan meanwhile.
#[test]
fn threads_lose_and_keep_nothing() {
    const THREADS: u64 = 4;
    let _watchdog = Watchdog::new(300);
    let (arena, registry) = setup("ordered-threads");
    let participant = Participant::new(arena.clone(), Arc::clone(&registry)).unwrap();
    let root = AtomicU64::new(0);
    create_ordered(&participant, &root);
    let index = OrderedIndex::new(&root, 0);
    let work = |thread: u64| {
        let participant = Participant::new(arena.clone(), Arc::clone(&registry)).unwrap();
        let mut memory = Memory::new(&participant);
        let mut own: BTreeSet<Entry> = BTreeSet::new();
        let mut state = thread * 7919 + 1;
        for step in 0..8_000_u64 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let key = (state % 3000).to_be_bytes()[(state >> 20) as usize % 7..].to_vec();
            let row = (state >> 32) % 3 * 64 + thread * 16 + 16;
            let guard = participant.pin();
            if own.remove(&(key.clone(), row)) {
                assert!(index.contains(&guard, &key, row).unwrap());
                assert!(index.remove(&guard, &mut memory, &key, row).unwrap());
            } else {
                assert_eq!(index.insert(&guard, &mut memory, &key, row).unwrap(), Added::New);
                own.insert((key.clone(), row));
            }
            if step % 250 == 0 {
                let from = Bound::Included(key.as_slice());
                for direction in [Direction::Forward, Direction::Backward] {
                    let mut found = entries_of(&index, &guard, from, direction, thread);
                    if direction == Direction::Backward {
                        found.reverse();
                    }
                    assert_eq!(found, expected(&own, from, Bound::Unbounded));
                }
            }
        }
        own
    };
    let kept: Vec<BTreeSet<Entry>> = std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || work(thread))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let wanted: BTreeSet<Entry> = kept.into_iter().flatten().collect();
    assert_eq!(all(&index, &participant.pin()), wanted.into_iter().collect::<Vec<_>>());
    assert_eq!(index.check(&participant.pin()).unwrap(), Vec::<String>::new());
}

/// What a scan finds of one thread's entries, while others change theirs.
fn entries_of(
    index: &OrderedIndex<'_>,
    guard: &Guard<'_>,
    from: Bound<&[u8]>,
    direction: Direction,
    thread: u64,
) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut cursor = index.seek(guard, from, Bound::Unbounded, direction);
    while let Some(batch) = cursor.next_batch().unwrap() {
        for entry in batch.iter().filter(|entry| (entry.row() - 16) % 64 == thread * 16) {
            let mut key = Vec::new();
            entry.key_into(&mut key);
            found.push((key, entry.row()));
        }
    }
    found
}
