//! What does a look-up by a string that one row has cost by an ordered index and by a hash, beside the hash that the primary key
//! has? And what does an entry cost that is added?
//!
//! Rows          1 000 000 (`AEROSTORE_BENCH_ROWS` for another number) strings of 10 bytes, all different: of random letters, and of
//!               seven equal letters and a number
//! Operations    the row of a random string that is there, found by each index, and a look at the row, which all need: a hash to tell
//!               its rows apart, the ordered index because its entries are hints; one entry added and taken out again
//! Unit          nanoseconds an operation, in turns of 200; under callgrind, `--toggle-collect='*by_key*'`, `'*by_hash*'` and `'*by_order*'`
#![allow(
    missing_docs,
    clippy::disallowed_types,
    reason = "a program, not a library; the index is given a plain atomic"
)]

mod common;
#[path = "../tests/index_common/mod.rs"]
mod index_common;

use aerostore_core::epoch::Participant;
use aerostore_core::index::{Cursor, Direction, Directory, Entry, HashIndex, OrderedIndex, key};
use aerostore_core::shm::ShmError;
use common::flights::Random;
use common::turns::Turns;
use index_common::{Memory, create_hash, create_ordered, setup_sized};
use std::error::Error;
use std::hint::black_box;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};

const TURN: u32 = 200;
const NAMES: [&str; 3] = ["ordered", "hash", "key hash"];
const WRITES: [&str; 2] = ["ordered", "hash"];
const KEY_BYTES: usize = 10;
/// Where the hash would have its root word, if that lay in the arena.
const HASH_ROOT: u64 = 16;

type Key = [u8; KEY_BYTES];

fn row_of(number: usize) -> u64 {
    (number as u64 + 1) << 4
}

/// What a row has.
fn at(keys: &[Key], row: u64) -> &Key {
    &keys[usize::try_from(row >> 4).unwrap_or(0) - 1]
}

/// The first row that has the key, of those that entries lead to.
#[inline]
fn first(mut cursor: Cursor<'_>, keys: &[Key], key: &Key) -> u64 {
    while let Ok(Some(batch)) = cursor.next_batch() {
        if let Some(row) = (0..batch.len()).map(|entry| batch.row(entry)).find(|row| at(keys, *row) == key) {
            return row;
        }
    }
    0
}

#[inline(never)]
fn by_order(index: OrderedIndex<'_>, participant: &Participant, keys: &[Key], key: &Key) -> u64 {
    let guard = participant.pin();
    let mut high = [0; KEY_BYTES + 1];
    high[..KEY_BYTES].copy_from_slice(key);
    first(index.seek(&guard, Bound::Included(key), Bound::Excluded(&high), Direction::Forward), keys, key)
}

#[inline(never)]
fn by_hash(index: OrderedIndex<'_>, participant: &Participant, keys: &[Key], key: &Key) -> u64 {
    let guard = participant.pin();
    first(index.seek_hash(&guard, key::hash(key), None), keys, key)
}

#[inline(never)]
fn by_key(index: HashIndex<'_>, participant: &Participant, keys: &[Key], key: &Key) -> u64 {
    let guard = participant.pin();
    let found = index.find(&guard, key::hash(key), |row| Ok::<bool, ShmError>(at(keys, row) == key));
    found.ok().flatten().map_or(0, |found| found.row)
}

/// Adds an entry of a row that there is not, and takes it out.
fn write(index: OrderedIndex<'_>, participant: &Participant, memory: &mut Memory<'_>, key: &[u8]) {
    const ROW: u64 = 1 << 40;
    let guard = participant.pin();
    let added = index.insert(&guard, memory, key, ROW);
    let removed = index.remove(&guard, memory, key, ROW);
    assert!(added.is_ok() && removed.is_ok_and(|removed| removed));
}

fn compare(title: &str, keys: &[Key]) -> Result<(), Box<dyn Error>> {
    let (arena, registry) = setup_sized("bench-equality", 1 << 30);
    let participant = Participant::new(arena, registry)?;
    let mut memory = Memory::new(&participant);
    let [ordered_root, hash_root, key_root, directory, anchors] = [const { AtomicU64::new(0) }; 5];
    create_ordered(&participant, &ordered_root);
    let ordered = OrderedIndex::new(&ordered_root, 0);
    create_hash(&participant, &hash_root, HASH_ROOT);
    let hash = OrderedIndex::of_hashes(&hash_root, HASH_ROOT, Directory::new(&directory, 0, &anchors));
    let first = HashIndex::create(&participant.pin(), &mut memory)?;
    participant.arena().publish(first);
    key_root.store(first.offset, Ordering::Release);
    let by_keys = HashIndex::new(&key_root, 0);
    let hash_of = |row: u64| Ok(key::hash(at(keys, row)));
    for (number, key) in keys.iter().enumerate() {
        let guard = participant.pin();
        let row = row_of(number);
        ordered.insert(&guard, &mut memory, key, row)?;
        hash.insert(&guard, &mut memory, &key::hash(key).to_be_bytes(), row)?;
        let same = |other: u64| Ok::<bool, ShmError>(other == row);
        by_keys.insert(&guard, &mut memory, key::hash(key), Entry { row, version: row }, same, &hash_of)?;
    }
    let mut turns = Turns::new(title, &NAMES);
    let last = u32::try_from(keys.len())?;
    let [mut a, mut b, mut c] = [Random(2), Random(2), Random(2)];
    let rounds = common::number("AEROSTORE_BENCH_ROUNDS", 1500);
    for _ in 0..rounds {
        turns.round(
            TURN,
            &mut [
                &mut || {
                    let key = &keys[a.below(last) as usize];
                    assert_ne!(black_box(by_order(ordered, &participant, keys, key)), 0);
                },
                &mut || {
                    let key = &keys[b.below(last) as usize];
                    assert_ne!(black_box(by_hash(hash, &participant, keys, key)), 0);
                },
                &mut || {
                    let key = &keys[c.below(last) as usize];
                    assert_ne!(black_box(by_key(by_keys, &participant, keys, key)), 0);
                },
            ],
        );
    }
    turns.print("key hash");
    let mut turns = Turns::new(&format!("{title}, written"), &WRITES);
    let memory = std::cell::RefCell::new(memory);
    for _ in 0..rounds {
        turns.round(
            TURN,
            &mut [
                &mut || {
                    let key = &keys[a.below(last) as usize];
                    write(ordered, &participant, &mut memory.borrow_mut(), key);
                },
                &mut || {
                    let key = key::hash(&keys[b.below(last) as usize]);
                    write(hash, &participant, &mut memory.borrow_mut(), &key.to_be_bytes());
                },
            ],
        );
    }
    turns.print("ordered");
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let rows = usize::try_from(common::number("AEROSTORE_BENCH_ROWS", 1_000_000))?;
    let mut random = Random(1);
    let letters: Vec<Key> = (0..rows)
        .map(|_| std::array::from_fn(|_| b'A' + u8::try_from(random.below(26)).unwrap_or(0)))
        .collect();
    compare("random letters", &letters)?;
    let numbers: Vec<Key> = (0..rows as u64)
        .map(|number| {
            let mut key = *b"FLIGHT-\0\0\0";
            // In no order.
            key[7..].copy_from_slice(&(number * 7_368_787 % (1 << 24)).to_be_bytes()[5..]);
            key
        })
        .collect();
    compare("equal beginnings", &numbers)
}
