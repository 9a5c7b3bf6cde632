//! What do reading and updating one row by key cost in the engine alone?
//!
//! Rows          1 000 000 flights of six columns, image 64 bytes, keys of 8 characters; `AEROSTORE_BENCH_ROWS` for another number
//! Keys          uniform random; making the key's text is part of each operation
//! Operations    get: copy all columns; update: set the five columns behind the key to other values; each in a transaction of
//!               its own; and many of them in one transaction
//! Durability    commit mode off
//! Unit          nanoseconds an operation: medians and tails of single ones, timed one in 17, two looks at the clock included
#![allow(missing_docs, reason = "a program, not a library")]

mod common;

use aerostore_core::db::{Database, Error, Table, Transaction, TxnOptions};
use aerostore_core::row::{Row, Value};
use common::flights::{self, FlightState, READ, Random};
use common::place::Place;
use common::turns::Turns;
use std::hint::black_box;
use std::time::Instant;

/// Single operations timed of each kind.
const SAMPLES: u32 = 30_000;
/// Operations from one sample to the next. A prime, as memory is reclaimed every 32 or 64 operations.
const SAMPLE_EVERY: u32 = 17;

struct Bench {
    db: Database,
    table: Table,
    rows: u32,
    random: Random,
}

impl Bench {
    fn get_in(&mut self, txn: &mut Transaction) -> Result<(), Error> {
        let key = flights::key(self.random.below(self.rows));
        black_box(txn.get(&self.table, Value::Str(&key), FlightState::decode)?);
        Ok(())
    }

    fn update_in(&mut self, txn: &mut Transaction) -> Result<(), Error> {
        let number = self.random.below(self.rows);
        let values = flights::position(number, self.random.word() >> 40);
        txn.set(&self.table, Value::Str(&flights::key(number)), &values)?;
        Ok(())
    }

    fn get(&mut self) -> Result<(), Error> {
        let mut txn = self.db.begin(READ)?;
        self.get_in(&mut txn)
    }

    fn update(&mut self) -> Result<(), Error> {
        let mut txn = self.db.begin(TxnOptions::default())?;
        self.update_in(&mut txn)?;
        txn.commit().map(drop)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rows = u32::try_from(common::number("AEROSTORE_BENCH_ROWS", 1_000_000))?;
    let place = Place::fresh("point");
    let db = place.open()?;
    let table = flights::load(&db, rows)?;
    let mut bench = Bench { db, table, rows, random: Random(1) };

    let mut turns = Turns::new("point", &["get", "update"]);
    for sample in 0..2 * SAMPLES {
        for (side, operation) in [Bench::get, Bench::update].into_iter().enumerate() {
            for _ in 1..SAMPLE_EVERY {
                operation(&mut bench)?;
            }
            let begin = Instant::now();
            operation(&mut bench)?;
            let took = begin.elapsed();
            // The first half touches all memory.
            if sample >= SAMPLES {
                turns.add(side, took);
            }
        }
    }
    turns.print("get");

    let mut criterion = common::criterion();
    let mut group = criterion.benchmark_group("point");
    group.bench_function("get", |bencher| bencher.iter(|| black_box(bench.get()).is_ok()));
    group.bench_function("update", |bencher| bencher.iter(|| black_box(bench.update()).is_ok()));
    group.bench_function("get, many in a transaction", |bencher| {
        bencher.iter_custom(|count| {
            let begin = Instant::now();
            let txn = bench.db.begin(READ);
            if let Ok(mut txn) = txn {
                (0..count).for_each(|_| drop(black_box(bench.get_in(&mut txn))));
            }
            begin.elapsed()
        });
    });
    group.bench_function("update, a hundred in a transaction", |bencher| {
        bencher.iter_custom(|count| {
            let begin = Instant::now();
            for first in (0..count).step_by(100) {
                let Ok(mut txn) = bench.db.begin(TxnOptions::default()) else { break };
                (first..count.min(first + 100)).for_each(|_| drop(black_box(bench.update_in(&mut txn))));
                drop(black_box(txn.commit()));
            }
            begin.elapsed()
        });
    });
    group.finish();
    criterion.final_summary();
    Ok(())
}
