//! What do the operations of the ordered index cost, beside a skip list of single entries and std's B-tree?
//!
//! Rows          1 000 000 random keys of 8 bytes (`AEROSTORE_BENCH_ROWS` for another number), the same for all sides; the value is a
//!               row's offset
//! Operations    insert: the second half of the keys; seek: the first entry from a random place on; scan: 100 entries from a random
//!               place on; build: all keys into an empty index, sorted and at once, or one by one in the order in which they come; move: an entry is removed and another added, as an update does, without its look at the row
//! Sharing       ours lies in shared memory and reclaims what it replaces, `SkipMap` is concurrent, `BTreeMap` is neither
//! Unit          nanoseconds an operation, in turns of 200
#![allow(
    missing_docs,
    clippy::disallowed_types,
    reason = "a program, not a library; the index is given a plain atomic"
)]

mod common;
#[path = "../tests/index_common/mod.rs"]
mod index_common;

use aerostore_core::epoch::Participant;
use aerostore_core::index::{Direction, EntryBatch, OrderedIndex};
use common::flights::Random;
use common::turns::Turns;
use crossbeam_skiplist::SkipMap;
use index_common::{Memory, create_ordered, setup_sized};
use std::collections::BTreeMap;
use std::error::Error;
use std::hint::black_box;
use std::ops::Bound;
use std::sync::atomic::AtomicU64;

/// Operations of a turn.
const TURN: u32 = 200;
/// Indexes that are built in each way.
const BUILDS: usize = 5;
/// Entries of a scan.
const SCANNED: usize = 100;
const NAMES: [&str; 3] = ["aerostore", "SkipMap", "BTreeMap"];

struct Sides<'p> {
    index: OrderedIndex<'p>,
    memory: Memory<'p>,
    list: SkipMap<u64, u64>,
    tree: BTreeMap<u64, u64>,
    keys: Vec<u64>,
}

/// Turns of each side.
fn rounds() -> u64 {
    common::number("AEROSTORE_BENCH_ROUNDS", 1500)
}

fn row_of(key: u64) -> u64 {
    ((key >> 24) << 4).max(16)
}

impl Sides<'_> {
    fn insert(&mut self, key: u64) {
        let guard = self.memory.participant.pin();
        let added = self.index.insert(&guard, &mut self.memory, &key.to_be_bytes(), row_of(key));
        assert!(black_box(added).is_ok());
    }

    fn remove(&mut self, key: u64) {
        let guard = self.memory.participant.pin();
        let removed = self.index.remove(&guard, &mut self.memory, &key.to_be_bytes(), row_of(key));
        assert!(matches!(black_box(removed), Ok(true)));
    }

    fn looks(&self) {
        for (title, count) in [("seek", 1), ("scan of 100", SCANNED)] {
            let mut turns = Turns::new(title, &NAMES);
            let (mut a, mut b, mut c) = (Random(2), Random(2), Random(2));
            for _ in 0..rounds() {
                turns.round(
                    TURN,
                    &mut [
                        &mut || {
                            black_box(self.scan(a.word(), count));
                        },
                        &mut || {
                            let found = self.list.range(b.word()..).take(count);
                            black_box(found.fold(0_u64, |sum, entry| sum.wrapping_add(*entry.value())));
                        },
                        &mut || {
                            let found = self.tree.range(c.word()..).take(count);
                            black_box(found.fold(0_u64, |sum, (_, row)| sum.wrapping_add(*row)));
                        },
                    ],
                );
            }
            turns.print("SkipMap");
            turns.print("BTreeMap");
        }
    }

    fn moves(&mut self) {
        let mut turns = Turns::new("move: remove and insert", &NAMES);
        let last = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        let mut random = Random(3);
        for _ in 0..rounds() {
            let moves: Vec<(u64, u64)> = (0..TURN)
                .map(|_| {
                    let place = &mut self.keys[random.below(last) as usize];
                    let to = random.word();
                    (std::mem::replace(place, to), to)
                })
                .collect();
            let began = std::time::Instant::now();
            for (from, to) in &moves {
                self.remove(*from);
                self.insert(*to);
            }
            turns.add(0, began.elapsed() / TURN);
            let began = std::time::Instant::now();
            for (from, to) in &moves {
                self.list.remove(from);
                self.list.insert(*to, row_of(*to));
            }
            turns.add(1, began.elapsed() / TURN);
            let began = std::time::Instant::now();
            for (from, to) in &moves {
                self.tree.remove(from);
                self.tree.insert(*to, row_of(*to));
            }
            turns.add(2, began.elapsed() / TURN);
        }
        turns.print("SkipMap");
        turns.print("BTreeMap");
    }

    /// Up to `count` entries from `key` on: the sum of their rows.
    fn scan(&self, key: u64, count: usize) -> u64 {
        let guard = self.memory.participant.pin();
        let key = key.to_be_bytes();
        let mut cursor = self.index.seek(&guard, Bound::Included(&key), Bound::Unbounded, Direction::Forward);
        let (mut sum, mut left) = (0_u64, count);
        while let Ok(Some(batch)) = cursor.next_batch() {
            sum = batch.iter().take(left).fold(sum, |sum, entry| sum.wrapping_add(entry.row()));
            left -= batch.len().min(left);
            if left == 0 {
                break;
            }
        }
        sum
    }
}

/// An index of all keys: how much more quickly is it built at once than entry by entry?
fn build(keys: &[u64]) -> Result<(), Box<dyn Error>> {
    let mut turns = Turns::new("build", &["at once", "one by one", "BTreeMap, one by one"]);
    for _ in 0..BUILDS {
        for side in 0..2 {
            let (arena, registry) = setup_sized("bench-build", 1 << 30);
            let participant = Participant::new(arena, registry)?;
            let root = AtomicU64::new(0);
            create_ordered(&participant, &root);
            let index = OrderedIndex::new(&root, 0);
            let mut memory = Memory::new(&participant);
            let began = std::time::Instant::now();
            if side == 0 {
                let guard = participant.pin();
                let mut batch = EntryBatch::default();
                for key in keys {
                    batch.push(&key.to_be_bytes(), row_of(*key));
                }
                index.insert_all(&guard, &mut memory, &mut batch)?;
            } else {
                for key in keys {
                    let guard = participant.pin();
                    index.insert(&guard, &mut memory, &key.to_be_bytes(), row_of(*key))?;
                }
            }
            turns.add(side, began.elapsed() / u32::try_from(keys.len())?);
        }
        let began = std::time::Instant::now();
        let mut tree = BTreeMap::new();
        for key in keys {
            tree.insert(*key, row_of(*key));
        }
        turns.add(2, began.elapsed() / u32::try_from(keys.len())?);
    }
    turns.print("one by one");
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let rows = usize::try_from(common::number("AEROSTORE_BENCH_ROWS", 1_000_000))?;
    let (arena, registry) = setup_sized("bench-ordered", 1 << 30);
    let participant = Participant::new(arena.clone(), registry)?;
    let root = AtomicU64::new(0);
    create_ordered(&participant, &root);
    let mut random = Random(1);
    let keys: Vec<u64> = (0..rows).map(|_| random.word()).collect();
    let mut sides = Sides {
        index: OrderedIndex::new(&root, 0),
        memory: Memory::new(&participant),
        list: SkipMap::new(),
        tree: BTreeMap::new(),
        keys,
    };
    let used = arena.used_bytes();
    let mut turns = Turns::new("insert", &NAMES);
    let all = sides.keys.clone();
    for (number, some) in all.chunks(TURN as usize).enumerate() {
        let began = std::time::Instant::now();
        for key in some {
            sides.insert(*key);
        }
        let ours = began.elapsed();
        let began = std::time::Instant::now();
        for key in some {
            sides.list.insert(*key, row_of(*key));
        }
        let list = began.elapsed();
        let began = std::time::Instant::now();
        for key in some {
            sides.tree.insert(*key, row_of(*key));
        }
        let tree = began.elapsed();
        if number * TURN as usize >= rows / 2 {
            for (side, took) in [ours, list, tree].into_iter().enumerate() {
                turns.add(side, took / u32::try_from(some.len())?);
            }
        }
    }
    turns.print("SkipMap");
    turns.print("BTreeMap");
    sides.memory.limbo.collect_now(&participant, &mut sides.memory.heap)?;
    sides.memory.heap.trim();
    let bytes = (arena.used_bytes() - used) / rows as u64;
    println!("  {bytes} bytes an entry, slabs that are partly used and what is about to be freed included");

    build(&all)?;
    sides.looks();
    sides.moves();
    Ok(())
}
