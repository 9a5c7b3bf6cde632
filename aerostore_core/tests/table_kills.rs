//! Processes define and drop the same few tables, with rows, indexes and checkpoints, while they are killed at random. Then everything is
//! sound, nothing has leaked, and a cold start finds what a warm one has found.
//!
//! `AEROSTORE_TORTURE_SECONDS` says for how long; `AEROSTORE_TORTURE_STOPS=1` has processes stopped as well.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use aerostore_core::db::{Database, Error, ErrorKind, OpenMode, TxnOptions};
use aerostore_core::row::{Column, ColumnType, IndexSpec, Schema, Value};
use common::Place;
use common::fleet::{Fleet, Random, Role, say, seconds};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The test that the workers run in.
const NAME: &str = "table_process";
const WORKERS: u64 = 4;
const TABLES: u64 = 5;

/// One of two definitions of a name.
fn schema(table: u64, is_wide: bool) -> Schema {
    let mut schema = Schema::builder(&format!("Table{table}"))
        .column(Column::new("id", ColumnType::I64))
        .column(Column::new("n", ColumnType::I64).nullable().ordered());
    if is_wide {
        schema = schema.column(Column::new("text", ColumnType::String(200)).nullable());
    }
    schema.key("id").build().unwrap()
}

/// What others may have been at, or have done before.
fn is_met(error: &Error) -> bool {
    let kinds = [ErrorKind::NotFound, ErrorKind::Duplicate, ErrorKind::Busy, ErrorKind::Revoked];
    error.is_retryable() || kinds.contains(&error.kind())
}

fn step(db: &Database, random: &mut Random) -> Result<(), Error> {
    let name = random.below(TABLES);
    let what = random.below(16);
    if what < 5 {
        return db.create_table(&schema(name, random.below(2) == 0)).map(drop);
    }
    let Some(table) = db.table(&format!("Table{name}"))? else { return Ok(()) };
    match what {
        5..8 => db.drop_table(&table),
        8 => db.create_index(&table, 0, IndexSpec::default()),
        9 => db.drop_index(&table, 1),
        10 => db.checkpoint().map(drop),
        _ => {
            let (first, count) = (random.below(50), 1 + random.below(30));
            let mut txn = db.begin(TxnOptions::default())?;
            for id in first..first + count {
                let id = i64::try_from(id).unwrap();
                if what == 15 {
                    txn.delete(&table, Value::I64(id))?;
                } else {
                    let n = i64::try_from(random.below(1000)).unwrap();
                    txn.set(&table, Value::I64(id), &[(1, Value::I64(n))])?;
                }
            }
            txn.commit().map(drop)
        }
    }
}

/// Not a test of its own: what the workers run.
#[test]
fn table_process() {
    let Some(role) = Role::of(NAME) else { return };
    let db = role.place.builder().synchronous_commit(false).open().unwrap();
    let mut random = Random(0x2545_F491_4F6C_DD1D ^ role.serial << 20 ^ u64::from(std::process::id()));
    loop {
        if let Err(error) = step(&db, &mut random) {
            assert!(is_met(&error), "{error} ({error:?})");
        }
        say("step");
    }
}

/// Columns and rows of each table.
type State = BTreeMap<String, (usize, BTreeMap<String, String>)>;

fn state(db: &Database) -> State {
    let mut txn = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
    let tables = db.tables().unwrap().into_iter().map(|table| {
        let mut rows = BTreeMap::new();
        txn.scan(&table, &mut |row| {
            rows.insert(row.get(0).to_string(), row.get(1).to_string());
            ControlFlow::Continue(())
        })
        .unwrap();
        (table.name().to_owned(), (table.schema().columns().len(), rows))
    });
    tables.collect()
}

#[test]
fn tables_are_defined_and_dropped_by_processes_that_are_killed() {
    let place = Place::with_timeout("table-kills", 240 + 3 * seconds(2));
    place.open().close().unwrap();
    let steps = Arc::new(Mutex::new(0_u64));
    let heard = {
        let steps = Arc::clone(&steps);
        move |_, _, line: &str| *steps.lock().unwrap() += u64::from(line == "step")
    };
    let with_stops = std::env::var("AEROSTORE_TORTURE_STOPS").is_ok_and(|text| text == "1");
    let mut fleet = Fleet::start(NAME, "", &place, WORKERS, Arc::new(heard));
    fleet.torment(Duration::from_secs(seconds(2)), with_stops, || *steps.lock().unwrap() > 400, || {});
    fleet.end();
    let db = place.open();
    assert_eq!(db.boot().mode, OpenMode::Warm);
    // Who makes one now learns what a dead maker has come to.
    for table in 0..TABLES {
        match db.create_table(&schema(table, false)) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::Duplicate, "{error}"),
        }
    }
    let report = db.verify().unwrap();
    assert!(report.is_clean(), "{report:#?}");
    let before = state(&db);
    db.close().unwrap();
    std::fs::remove_file(&place.shm).unwrap();
    let db = place.open();
    assert_eq!(db.boot().mode, OpenMode::Cold);
    assert_eq!(state(&db), before, "after a cold start");
    let report = db.verify().unwrap();
    assert!(report.is_clean(), "{report:#?}");
    let steps = *steps.lock().unwrap();
    println!(
        "tables: {} kills, {} stops, {steps} steps, checkpoint {:?}",
        fleet.kills,
        fleet.stops,
        db.boot().checkpoint
    );
}
