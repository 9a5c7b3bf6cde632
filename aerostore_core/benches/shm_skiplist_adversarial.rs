//! How long does a seek take at worst while a writer changes the very blocks it reads, and does that grow with the index?
//!
//! Entries       10 000 and 1 000 000 random keys of 8 bytes (`AEROSTORE_BENCH_ROWS` for another number instead of the latter)
//! Writer        one thread that adds and takes away entries next to where the next seeks go, so that blocks are split and merged there
//! Operation     the first entry from some place on, every one timed, two looks at the clock included; 128 times about the same random
//!               place, so that what the writer does shows, and not that a large index does not fit in the cache: that is the first
//!               seek of each, less than a hundredth
//! Unit          nanoseconds an operation, in turns of 2000; quiet: the same without the writer
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
}

impl Side {
    fn new(name: &str, entries: u64) -> Result<Self, Box<dyn Error>> {
        let (arena, registry) = setup_sized(name, 1 << 30);
        let side = Self { arena, registry, root: AtomicU64::new(0) };
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
        }
        for step in 1..=CROWD {
            self.remove(memory, place.wrapping_add(step))?;
        }
        Ok(())
    }

    /// Seeks, each at a place where the writer has begun to work, if there is one.
    fn seek(
        &self,
        participant: &Participant,
        place: Option<&AtomicU64>,
        random: &mut Random,
        turns: &mut Turns,
        at: usize,
    ) {
        let index = OrderedIndex::new(&self.root, 0);
        let mut key = 0;
        for visit in 0..u64::from(TURN) {
            if visit % VISITS == 0 {
                key = random.word() >> 8 << 8;
                if let Some(place) = place {
                    place.store(key, Ordering::Relaxed);
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
            turns.add(at, begin.elapsed());
        }
        if let Some(place) = place {
            place.store(IDLE, Ordering::Relaxed);
        }
    }
}

/// Works where the places say.
fn write(sides: &[Side; 2], places: &[AtomicU64; 2]) -> Result<(), Box<dyn Error>> {
    let participants = [sides[0].participant()?, sides[1].participant()?];
    let mut memories = participants.each_ref().map(Memory::new);
    loop {
        let mut is_idle = true;
        for ((side, memory), place) in sides.iter().zip(&mut memories).zip(places) {
            match place.load(Ordering::Relaxed) {
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
    let places = [AtomicU64::new(IDLE), AtomicU64::new(IDLE)];
    let names = ["10 000", "all", "10 000, quiet", "all, quiet"];
    let mut turns = Turns::new("shm_skiplist_adversarial", &names);
    std::thread::scope(|scope| -> Result<(), Box<dyn Error>> {
        let participants = [sides[0].participant()?, sides[1].participant()?];
        scope.spawn(|| assert!(write(&sides, &places).is_ok()));
        let mut random = Random(2);
        for _ in 0..TURNS {
            for at in 0..2 {
                sides[at].seek(&participants[at], Some(&places[at]), &mut random, &mut turns, at);
                sides[at].seek(&participants[at], None, &mut random, &mut turns, at + 2);
            }
        }
        places[0].store(END, Ordering::Relaxed);
        Ok(())
    })?;
    turns.print("10 000");
    Ok(())
}
