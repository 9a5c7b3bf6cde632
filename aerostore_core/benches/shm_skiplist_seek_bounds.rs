//! What does a range at the far end of a large index cost, beside one at its beginning?
//!
//! Rows          1 000 000 (`AEROSTORE_BENCH_ROWS` for another number) numbered from 0, added in random order; a row is a block of 112
//!               bytes
//! Operations    first: the first entry, and its row is read; bounds: all entries above the last ten numbers (of a million,
//!               those above 999 990), and their rows are read; middle: the same number of rows from a random place on
//! Unit          nanoseconds an operation, in turns of 1000
#![allow(
    missing_docs,
    clippy::disallowed_types,
    reason = "a program, not a library; the index is given a plain atomic"
)]

mod common;
#[path = "../tests/index_common/mod.rs"]
mod index_common;

use aerostore_core::epoch::Participant;
use aerostore_core::index::{Direction, OrderedIndex};
use aerostore_core::shm::{BlockKind, RelPtr, Reserve};
use common::flights::Random;
use common::turns::Turns;
use index_common::{Memory, create_ordered, setup_sized};
use std::error::Error;
use std::hint::black_box;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};

const TURN: u32 = 1000;
const ROUNDS: u32 = 301;
const ROW_BYTES: usize = 112;
/// Rows of a range, and one.
const LAST: u64 = 10;

struct Numbered<'p> {
    index: OrderedIndex<'p>,
    participant: &'p Participant,
}

impl Numbered<'_> {
    /// Reads up to `count` rows with a number in the range.
    fn read(&self, from: Bound<u64>, to: Bound<u64>, count: usize) -> u64 {
        let guard = self.participant.pin();
        let (from, to) = (from.map(u64::to_be_bytes), to.map(u64::to_be_bytes));
        let (from, to) = (from.as_ref().map(AsRef::as_ref), to.as_ref().map(AsRef::as_ref));
        let mut cursor = self.index.seek(&guard, from, to, Direction::Forward);
        let (mut sum, mut left) = (0, count);
        while let Ok(Some(batch)) = cursor.next_batch() {
            for entry in batch.iter().take(left) {
                let row = guard.resolve::<AtomicU64>(entry.row());
                sum += row.map_or(0, |row| row.load(Ordering::Relaxed));
            }
            left -= batch.len().min(left);
            if left == 0 {
                break;
            }
        }
        sum
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let rows = common::number("AEROSTORE_BENCH_ROWS", 1_000_000);
    let (arena, registry) = setup_sized("bench-bounds", 1 << 30);
    let participant = Participant::new(arena.clone(), registry)?;
    let root = AtomicU64::new(0);
    create_ordered(&participant, &root);
    let index = OrderedIndex::new(&root, 0);
    let mut memory = Memory::new(&participant);
    let mut numbers: Vec<u64> = (0..rows).collect();
    let mut random = Random(1);
    for last in (1..numbers.len()).rev() {
        numbers.swap(last, random.below(u32::try_from(last)? + 1) as usize);
    }
    for number in numbers {
        let row = memory.heap.alloc(ROW_BYTES, BlockKind::RAW, 0, Reserve::No)?;
        arena.publish_own(row);
        arena.resolve::<AtomicU64>(RelPtr::new(row.offset))?.store(number, Ordering::Relaxed);
        let guard = participant.pin();
        index.insert(&guard, &mut memory, &number.to_be_bytes(), row.offset)?;
    }
    let numbered = Numbered { index, participant: &participant };
    let first = || numbered.read(Bound::Unbounded, Bound::Unbounded, 1);
    let bounds = || numbered.read(Bound::Excluded(rows - LAST), Bound::Unbounded, usize::MAX);
    let above: u64 = (rows - LAST + 1..rows).sum();
    assert_eq!((first(), bounds()), (0, above));
    let mut turns = Turns::new("shm_skiplist_seek_bounds", &["first", "bounds", "middle"]);
    for _ in 0..ROUNDS {
        turns.round(
            TURN,
            &mut [
                &mut || {
                    black_box(first());
                },
                &mut || {
                    black_box(bounds());
                },
                &mut || {
                    let from = random.word() % (rows - LAST);
                    black_box(numbered.read(
                        Bound::Included(from),
                        Bound::Excluded(from + LAST - 1),
                        usize::MAX,
                    ));
                },
            ],
        );
    }
    turns.print("first");
    let mut criterion = common::criterion();
    let mut group = criterion.benchmark_group("shm_skiplist_seek_bounds");
    group.bench_function("first", |bencher| bencher.iter(first));
    group.bench_function("bounds", |bencher| bencher.iter(bounds));
    group.finish();
    criterion.final_summary();
    Ok(())
}
