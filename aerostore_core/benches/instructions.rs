//! How many instructions do nine core operations take? Not how long: a count is the same on a busy machine as on an idle one, so
//! it can be compared with the one kept in the repository. `scripts/bench --quick` runs this under callgrind, which starts to count
//! where a function named `measured_` begins and writes a file where it ends.
//!
//! Rows          20 000 flights of six columns, image 64 bytes, keys of 8 characters; the same again with an ordered index on altitude
//! Operations    each in a transaction of its own, commit mode off, with a key made before: get by key, without a transaction of the caller's and in one; update of the five columns behind the key, without and
//!               with the index; insert; delete; the 100 lowest rows from an altitude on; count by a column without an index (a row);
//!               ingest of new rows from tab-separated text (a row)
//! Prints        a line for each, in the order of callgrind's files: its name, how often it is done
//! Unit          instructions an operation, of the thread that asks for it
#![allow(missing_docs, reason = "a program, not a library")]

mod common;

use aerostore_core::db::ingest::{IngestOptions, Input};
use aerostore_core::db::{Database, Table, TxnOptions};
use aerostore_core::query::{Plan, Query, SortKey};
use aerostore_core::row::{IndexSpec, Row, RowImage, Schema, Value};
use common::flights::{self, FlightState, READ, Random};
use common::place::Place;
use std::error::Error;
use std::fmt::Write;
use std::hint::black_box;
use std::ops::ControlFlow;

const ROWS: u32 = 20_000;
const OPERATIONS: u32 = 2000;
/// Searches that find a hundred rows, and scans of all.
const SEARCHES: u32 = 200;
const SCANS: u32 = 5;

type Outcome = Result<(), Box<dyn Error>>;

struct Bench {
    db: Database,
    plain: Table,
    indexed: Table,
    random: Random,
    /// By number.
    keys: Vec<String>,
}

impl Bench {
    fn key(&self, number: u32) -> Value<'_> {
        Value::Str(&self.keys[number as usize])
    }

    fn update(&mut self, indexed: bool) -> Outcome {
        let number = self.random.below(ROWS);
        let values = flights::position(number, self.random.word() >> 40);
        let table = if indexed { &self.indexed } else { &self.plain };
        let mut txn = self.db.begin(TxnOptions::default())?;
        txn.set(table, self.key(number), &values)?;
        txn.commit()?;
        Ok(())
    }

    #[inline(never)]
    fn measured_get(&mut self, count: u32) -> Outcome {
        for _ in 0..count {
            let number = self.random.below(ROWS);
            black_box(self.db.get(&self.plain, self.key(number), FlightState::decode)?);
        }
        Ok(())
    }

    #[inline(never)]
    fn measured_transaction(&mut self, count: u32) -> Outcome {
        for _ in 0..count {
            let number = self.random.below(ROWS);
            let mut txn = self.db.begin(READ)?;
            black_box(txn.get(&self.plain, self.key(number), FlightState::decode)?);
        }
        Ok(())
    }

    #[inline(never)]
    fn measured_update(&mut self, count: u32) -> Outcome {
        (0..count).try_for_each(|_| self.update(false))
    }

    #[inline(never)]
    fn measured_update_indexed(&mut self, count: u32) -> Outcome {
        (0..count).try_for_each(|_| self.update(true))
    }

    #[inline(never)]
    fn measured_insert(&mut self, count: u32) -> Outcome {
        let schema = FlightState::schema();
        let mut image = RowImage::new(schema);
        for number in ROWS..ROWS + count {
            flights::set_image_of(&mut image, schema, &self.keys[number as usize], number)?;
            let mut txn = self.db.begin(TxnOptions::default())?;
            txn.upsert(&self.plain, &image)?;
            txn.commit()?;
        }
        Ok(())
    }

    #[inline(never)]
    fn measured_delete(&mut self, count: u32) -> Outcome {
        for number in ROWS..ROWS + count {
            let mut txn = self.db.begin(TxnOptions::default())?;
            txn.delete(&self.plain, self.key(number))?;
            txn.commit()?;
        }
        Ok(())
    }

    #[inline(never)]
    fn measured_range(&mut self, count: u32) -> Outcome {
        for _ in 0..count {
            let low = i32::try_from(self.random.below(40_000))?;
            let query = Query::filtered(FlightState::ALTITUDE.gte(low))
                .sort_by(SortKey::parse("altitude"))
                .limit(100);
            let plan = Plan::new(self.indexed.schema(), query)?;
            self.db.begin(READ)?.search(&self.indexed, &plan, &mut |row| {
                black_box(row.get(1));
                ControlFlow::Continue(())
            })?;
        }
        Ok(())
    }

    #[inline(never)]
    fn measured_scan(&mut self, count: u32) -> Outcome {
        let plan = Plan::new(self.plain.schema(), Query::filtered(FlightState::GS.lt(300)))?;
        for _ in 0..count {
            black_box(self.db.begin(READ)?.search_count(&self.plain, &plan)?);
        }
        Ok(())
    }

    #[inline(never)]
    fn measured_ingest(&mut self, text: &str) -> Outcome {
        let input = Input::from_bytes(text.as_bytes());
        let go_on = &mut |_: &_| ControlFlow::Continue(());
        self.db.ingest(&self.plain, &IngestOptions::new(), input, TxnOptions::default(), go_on)?;
        Ok(())
    }
}

/// Rows that are not there yet.
fn lines(count: u32) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for number in 2 * ROWS..2 * ROWS + count {
        let key = flights::key(number);
        writeln!(text, "{key}\t{}.25\t-71.{number}\t{number}\t450\t1533099600", number % 90)?;
    }
    Ok(text)
}

fn main() -> Outcome {
    let place = Place::fresh("instructions");
    let db = place.open()?;
    let plain = flights::load(&db, ROWS)?;
    let schema = FlightState::schema();
    let other = schema
        .columns()
        .iter()
        .fold(Schema::builder("Indexed"), |schema, column| schema.column(column.clone()));
    let indexed = flights::fill(&db, db.create_table(&other.key("flight_id").build()?)?, ROWS)?;
    db.create_index(&indexed, FlightState::ALTITUDE.index(), IndexSpec::default())?;
    let text = lines(ROWS)?;
    let keys = (0..ROWS + OPERATIONS).map(flights::key).collect();
    let mut bench = Bench { db, plain, indexed, random: Random(1), keys };
    // What is done once, the first time, is done.
    for _ in 0..OPERATIONS {
        bench.update(false)?;
        bench.update(true)?;
    }

    let say = |name: &str, count: u32| println!("{name}\t{count}");
    bench.measured_get(OPERATIONS)?;
    say("get", OPERATIONS);
    bench.measured_transaction(OPERATIONS)?;
    say("transaction", OPERATIONS);
    bench.measured_update(OPERATIONS)?;
    say("update", OPERATIONS);
    bench.measured_update_indexed(OPERATIONS)?;
    say("update_indexed", OPERATIONS);
    bench.measured_insert(OPERATIONS)?;
    say("insert", OPERATIONS);
    bench.measured_delete(OPERATIONS)?;
    say("delete", OPERATIONS);
    bench.measured_range(SEARCHES)?;
    say("range", SEARCHES);
    bench.measured_scan(SCANS)?;
    say("scan", SCANS * ROWS);
    bench.measured_ingest(&text)?;
    say("ingest", ROWS);
    Ok(())
}
