//! How long does a seek take at worst while a writer changes the very blocks it reads, and does that grow with the index?
//!
//! Entries       10 000 and 1 000 000 random keys of 8 bytes (`AEROSTORE_BENCH_ROWS` for another number instead of the latter)
//! Writer        one thread that adds and takes away entries where the seeks go, so that blocks are split and merged there; the seeks
//!               at a place begin when it is at work there, and how much it has done meanwhile is printed
//! Operation     the first entry from some place on, every one timed, two looks at the clock included; 128 times about the same random
//!               place, so that what the writer does shows, and not that a large index does not fit in the cache: that is the first
//!               seek of each, less than a hundredth
//! Unit          nanoseconds an operation, in turns of 2000; quiet: the same without the writer. Beside that, how many times the 99th hundredth of
//!               a turn's seeks in the large index takes that of the turn in the small one just before; the median of that is to be 2 at most
#![allow(
    missing_docs,
    clippy::disallowed_types,
    reason = "a program, not a library; the index is given a plain atomic"
)]

mod common;
#[path = "../tests/index_common/mod.rs"]
mod index_common;

use aerostore_core::epoch::{Participant, Registry};
use aerostore_core::index::{Direction, OrderedIndex};
use common::flights::Random;
use common::turns::Turns;
use index_common::{Memory, create_ordered, setup_sized};
use std::error::Error;
use std::hint::black_box;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Seeks of a turn.
const TURN: u32 = 2000;
const TURNS: u32 = 60;
/// The one of them, by their times, that tells of a turn.
const P99: usize = TURN as usize * 99 / 100;
/// Seeks that go to the same place, one after the other, while the writer is there.
const VISITS: u64 = 128;
/// Entries that the writer adds at a place, and takes away again.
const CROWD: u64 = 60;
/// Nothing to do for the writer.
const IDLE: u64 = u64::MAX;
/// It is to end.
const END: u64 = u64::MAX - 1;

struct Side {
    arena: aerostore_core::shm::Arena,
    registry: Arc<Registry>,
    root: AtomicU64,
    /// Where the writer is to work.
    wanted: AtomicU64,
    /// Where it works.
    at_work: AtomicU64,
    /// Entries that it has added or taken away.
    changes: AtomicU64,
}

impl Side {
    fn new(name: &str, entries: u64) -> Result<Self, Box<dyn Error>> {
        let (arena, registry) = setup_sized(name, 1 << 30);
        let word = AtomicU64::new;
        let (root, wanted, at_work) = (word(0), word(IDLE), word(IDLE));
        let side = Self { arena, registry, root, wanted, at_work, changes: word(0) };
        let participant = side.participant()?;
        create_ordered(&participant, &side.root);
        let mut memory = Memory::new(&participant);
        let mut random = Random(1);
        for _ in 0..entries {
            side.insert(&mut memory, random.word())?;
        }
        Ok(side)
    }

    fn participant(&self) -> Result<Participant, Box<dyn Error>> {
        Ok(Participant::new(self.arena.clone(), Arc::clone(&self.registry))?)
    }

    fn insert(&self, memory: &mut Memory<'_>, key: u64) -> Result<(), Box<dyn Error>> {
        let guard = memory.participant.pin();
        OrderedIndex::new(&self.root, 0).insert(&guard, memory, &key.to_be_bytes(), 16)?;
        Ok(())
    }

    fn remove(&self, memory: &mut Memory<'_>, key: u64) -> Result<(), Box<dyn Error>> {
        let guard = memory.participant.pin();
        OrderedIndex::new(&self.root, 0).remove(&guard, memory, &key.to_be_bytes(), 16)?;
        Ok(())
    }

    /// Adds a crowd at `place`, and takes it away again.
    fn crowd(&self, memory: &mut Memory<'_>, place: u64) -> Result<(), Box<dyn Error>> {
        for step in 1..=CROWD {
            self.insert(memory, place.wrapping_add(step))?;
            self.at_work.store(place, Ordering::Relaxed);
        }
        for step in 1..=CROWD {
            self.remove(memory, place.wrapping_add(step))?;
        }
        self.changes.fetch_add(2 * CROWD, Ordering::Relaxed);
        Ok(())
    }

    /// A turn of seeks, each at a place where the writer is at work, if there is one. Returns the time of one that is slower than 99 of 100.
    fn seek(
        &self,
        participant: &Participant,
        has_writer: bool,
        random: &mut Random,
        turns: &mut Turns,
        at: usize,
    ) -> Duration {
        let mut taken = Vec::with_capacity(TURN as usize);
        let index = OrderedIndex::new(&self.root, 0);
        let mut key = 0;
        for visit in 0..u64::from(TURN) {
            if visit % VISITS == 0 {
                key = random.word() >> 8 << 8;
                if has_writer {
                    self.wanted.store(key, Ordering::Relaxed);
                    while self.at_work.load(Ordering::Relaxed) != key {
                        std::hint::spin_loop();
                    }
                }
            }
            let from = key.wrapping_add(visit % CROWD).to_be_bytes();
            let begin = Instant::now();
            let guard = participant.pin();
            let mut cursor = index.seek(&guard, Bound::Included(&from), Bound::Unbounded, Direction::Forward);
            while let Ok(Some(batch)) = cursor.next_batch() {
                if !batch.is_empty() {
                    black_box(batch.row(0));
                    break;
                }
            }
            drop(guard);
            let took = begin.elapsed();
            turns.add(at, took);
            taken.push(took);
        }
        self.wanted.store(IDLE, Ordering::Relaxed);
        taken.sort_unstable();
        taken[P99]
    }
}

/// Works where the places say.
fn write(sides: &[Side; 2]) -> Result<(), Box<dyn Error>> {
    let participants = [sides[0].participant()?, sides[1].participant()?];
    let mut memories = participants.each_ref().map(Memory::new);
    loop {
        let mut is_idle = true;
        for (side, memory) in sides.iter().zip(&mut memories) {
            match side.wanted.load(Ordering::Relaxed) {
                END => return Ok(()),
                IDLE => {}
                at => {
                    is_idle = false;
                    side.crowd(memory, at)?;
                }
            }
        }
        if is_idle {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let many = common::number("AEROSTORE_BENCH_ROWS", 1_000_000);
    let sides = [Side::new("bench-small", 10_000)?, Side::new("bench-large", many)?];
    let mut growth = Vec::new();
    let names = ["10 000", "all", "10 000, quiet", "all, quiet"];
    let mut turns = Turns::new("shm_skiplist_adversarial", &names);
    std::thread::scope(|scope| -> Result<(), Box<dyn Error>> {
        let participants = [sides[0].participant()?, sides[1].participant()?];
        scope.spawn(|| assert!(write(&sides).is_ok()));
        let mut random = Random(2);
        for _ in 0..TURNS {
            let [small, large] = [0, 1].map(|at| {
                let worst = sides[at].seek(&participants[at], true, &mut random, &mut turns, at);
                sides[at].seek(&participants[at], false, &mut random, &mut turns, at + 2);
                worst
            });
            growth.push(large.as_secs_f64() / small.as_secs_f64());
        }
        sides[0].wanted.store(END, Ordering::Relaxed);
        Ok(())
    })?;
    turns.print("10 000");
    let changes = sides.each_ref().map(|side| side.changes.load(Ordering::Relaxed));
    let seeks = TURNS * TURN;
    println!("  {} and {} changes by the writer while {seeks} seeks ran in each", changes[0], changes[1]);
    growth.sort_by(f64::total_cmp);
    let quartiles = [1, 2, 3].map(|part| growth[growth.len() * part / 4]);
    let [low, median, high] = quartiles;
    println!(
        "  p99 of a turn beside the writer, {many} entries to 10 000: {median:.2} (middle half {low:.2} to {high:.2}); goal 2"
    );
    Ok(())
}
