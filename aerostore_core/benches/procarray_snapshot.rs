//! What does a snapshot cost, and does it depend on how many sessions there are, or on how old the clock is?
//!
//! Operation     begin and end of a read-only transaction that reads nothing
//! Sessions      1 or 200 slots claimed, and that of the background thread; all but the measured one with an open transaction
//!               that has read a row
//! Clock         as after loading, or advanced to 10 000 000 by as many commits; `AEROSTORE_BENCH_CLOCK` for another number
//! Rows          1000 of 64 bytes, uniform keys; none is read while measuring
//! Durability    commit mode off
//! Unit          nanoseconds an operation, beside 15 uncontended compare-and-swaps in turn
#![allow(missing_docs, reason = "a program, not a library")]
#![allow(clippy::disallowed_types, reason = "measures the processor's own compare-and-swap")]

mod common;

use aerostore_core::db::{Database, Transaction, TxnOptions};
use aerostore_core::row::Value;
use common::flights::{self, READ};
use common::place::Place;
use common::turns::Turns;
use std::error::Error;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const ROWS: u32 = 1000;
/// Operations of a turn.
const TURN: u32 = 1000;
const ROUNDS: u32 = 1001;

/// A database with sessions in it.
struct Populated {
    db: Database,
    /// The other sessions' transactions; their slots stay claimed, and their snapshots published.
    _open: Vec<Transaction>,
    _place: Place,
}

impl Populated {
    fn new(name: &str, sessions: usize, clock: u64) -> Result<Self, Box<dyn Error>> {
        let place = Place::fresh(name);
        let db = place.open()?;
        let table = flights::load(&db, ROWS)?;
        let mut now = db.status()?.clock;
        while now < clock {
            let mut txn = db.begin(TxnOptions::default())?;
            let number = u32::try_from(now % u64::from(ROWS))?;
            txn.set(&table, Value::Str(&flights::key(number)), &flights::position(number, now)[2..3])?;
            now = txn.commit()?;
        }
        let mut open = Vec::new();
        for number in 1..sessions {
            let mut txn = db.begin(READ)?;
            txn.exists(&table, Value::Str(&flights::key(u32::try_from(number)? % ROWS)))?;
            open.push(txn);
        }
        drop(db.begin(READ)?);
        let status = db.status()?;
        let reading = status.slots.iter().filter(|slot| slot.snapshot.is_some()).count();
        println!("{name:<20} {} slots live, {reading} reading, clock {}", status.slots.len(), status.clock);
        Ok(Self { db, _open: open, _place: place })
    }

    fn snapshot(&self) {
        drop(black_box(self.db.begin(READ)));
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let old = common::number("AEROSTORE_BENCH_CLOCK", 10_000_000);
    let few_young = Populated::new("1 slot, young", 1, 0)?;
    let many_young = Populated::new("200 slots, young", 200, 0)?;
    let few_old = Populated::new("1 slot, old", 1, old)?;
    let many_old = Populated::new("200 slots, old", 200, old)?;
    // Background work ends before measuring starts.
    for populated in [&few_young, &many_young, &few_old, &many_old] {
        populated.db.flush()?;
    }
    std::thread::sleep(Duration::from_millis(200));

    let word = AtomicU64::new(0);
    let swap = || {
        let mut now = word.load(Ordering::Relaxed);
        for _ in 0..15 {
            now = match word.compare_exchange(now, now + 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => now + 1,
                Err(other) => other,
            };
        }
        black_box(now);
    };
    let names =
        ["15 compare-and-swaps", "1 slot, young", "200 slots, young", "1 slot, old", "200 slots, old"];
    let mut turns = Turns::new("procarray_snapshot", &names);
    for _ in 0..ROUNDS {
        turns.round(
            TURN,
            &mut [
                &mut || swap(),
                &mut || few_young.snapshot(),
                &mut || many_young.snapshot(),
                &mut || few_old.snapshot(),
                &mut || many_old.snapshot(),
            ],
        );
    }
    turns.print("15 compare-and-swaps");
    turns.print("1 slot, young");

    let mut criterion = common::criterion();
    let mut group = criterion.benchmark_group("procarray_snapshot");
    group.bench_function(names[0], |bencher| bencher.iter(swap));
    for (name, populated) in names[1..].iter().zip([&few_young, &many_young, &few_old, &many_old]) {
        group.bench_function(*name, |bencher| bencher.iter(|| populated.snapshot()));
    }
    group.finish();
    criterion.final_summary();
    Ok(())
}
