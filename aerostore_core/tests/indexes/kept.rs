//! Indexes under random writes, savepoints, rollbacks, old snapshots and restarts.

use crate::common::Place;
use crate::{NUMBER, SPARE, TEXT, agree_on_everything, assert_clean, builder, image, unsynced};
use aerostore_core::db::{Database, ErrorKind, Savepoint, Table, TxnOptions};
use aerostore_core::row::{Column, ColumnType, Schema, Value};
use proptest::prelude::*;
use std::time::{Duration, Instant};

/// Rows that come and go.
const ROWS: i64 = 500;

#[derive(Clone, Debug)]
enum Step {
    Upsert(u8, Option<i8>, u8),
    SetNumber(u8, i8),
    SetSpare(u8, i8),
    Delete(u8),
    Savepoint,
    RollbackTo,
    Release,
    Commit,
    Rollback,
    Look,
    Warm,
    Cold,
}

const TEXTS: [&str; 5] = ["", "a", "ab", "b", "a text that is longer than eight"];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..24_u8, prop::option::of(-5..9_i8), 0..5_u8).prop_map(|(key, number, text)| Step::Upsert(key, number, text)),
        6 => (0..24_u8, -5..9_i8).prop_map(|(key, number)| Step::SetNumber(key, number)),
        2 => (0..24_u8, 0..3_i8).prop_map(|(key, spare)| Step::SetSpare(key, spare)),
        4 => (0..24_u8).prop_map(Step::Delete),
        2 => Just(Step::Savepoint),
        2 => Just(Step::RollbackTo),
        1 => Just(Step::Release),
        5 => Just(Step::Commit),
        2 => Just(Step::Rollback),
        2 => Just(Step::Look),
        1 => Just(Step::Warm),
        1 => Just(Step::Cold),
    ]
}

fn open(place: &Place) -> (Database, Table) {
    let db = place.open();
    db.set_config("synchronous_commit", "off").unwrap();
    let table = db.create_table(&builder("Kept", true)).unwrap();
    (db, table)
}

fn check(steps: &[Step]) {
    let place = Place::new("kept");
    let (mut db, mut table) = open(&place);
    let mut txn = Some(db.begin(unsynced()).unwrap());
    // Readers that hold versions back.
    let mut old = Vec::new();
    let mut marks: Vec<Savepoint> = Vec::new();
    for step in steps {
        let running = txn.as_mut().unwrap();
        match step {
            Step::Upsert(key, number, text) => {
                let image = image(&table, i64::from(*key), number.map(i32::from), TEXTS[usize::from(*text)]);
                running.upsert(&table, &image).unwrap();
            }
            Step::SetNumber(key, number) => {
                let values = [(NUMBER, Value::I32(i32::from(*number)))];
                running.set(&table, Value::I64(i64::from(*key)), &values).unwrap();
            }
            Step::SetSpare(key, spare) => {
                let values = [(SPARE, Value::I32(i32::from(*spare))), (TEXT, Value::Str("ab"))];
                running.set(&table, Value::I64(i64::from(*key)), &values).unwrap();
            }
            Step::Delete(key) => drop(running.delete(&table, Value::I64(i64::from(*key))).unwrap()),
            Step::Savepoint => marks.push(running.savepoint().unwrap()),
            Step::RollbackTo => {
                if let Some(mark) = marks.last() {
                    running.rollback_to(mark).unwrap();
                }
            }
            Step::Release => {
                if let Some(mark) = marks.pop() {
                    running.release(mark).unwrap();
                }
            }
            Step::Commit | Step::Rollback => {
                marks.clear();
                let txn_before = txn.take().unwrap();
                if matches!(step, Step::Commit) {
                    txn_before.commit().unwrap();
                } else {
                    txn_before.rollback();
                }
                txn = Some(db.begin(unsynced()).unwrap());
            }
            Step::Look => {
                if old.len() == 2 {
                    let mut oldest = old.remove(0);
                    agree_on_everything(&mut oldest, &table, &["number", "text", "spare"]);
                }
                let options = TxnOptions { read_only: true, ..TxnOptions::default() };
                old.push(db.begin(options).unwrap());
                agree_on_everything(running, &table, &["number", "text", "spare"]);
            }
            Step::Warm | Step::Cold => {
                marks.clear();
                txn.take().unwrap().rollback();
                old.clear();
                assert_clean(&db);
                db.close().unwrap();
                if matches!(step, Step::Cold) {
                    std::fs::remove_file(&place.shm).unwrap();
                }
                (db, table) = open(&place);
                txn = Some(db.begin(unsynced()).unwrap());
            }
        }
    }
    for mut reader in old {
        agree_on_everything(&mut reader, &table, &["number", "text", "spare"]);
    }
    agree_on_everything(txn.as_mut().unwrap(), &table, &["number", "text", "spare"]);
    txn.take().unwrap().rollback();
    assert_clean(&db);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn an_index_finds_what_a_scan_finds(steps in prop::collection::vec(step(), 1..150)) {
        check(&steps);
    }
}

#[test]
fn the_entries_of_a_deleted_row_do_not_stay_when_it_comes_back() {
    use Step::{Commit, Delete, SetNumber, Upsert, Warm};
    check(&[SetNumber(4, 1), Commit, Delete(4), Commit, Upsert(4, Some(4), 1), Commit, Warm]);
}

#[test]
fn a_table_with_indexes_is_emptied_without_leftovers() {
    let place = Place::new("emptied");
    let (db, table) = open(&place);
    for round in 0..2 {
        for id in 0..ROWS {
            let mut txn = db.begin(unsynced()).unwrap();
            let text = format!("text {}", (id * 7 + round) % 50);
            txn.upsert(&table, &image(&table, id, Some(i32::try_from(id % 90).unwrap()), &text)).unwrap();
            txn.commit().unwrap();
        }
        let mut txn = db.begin(unsynced()).unwrap();
        agree_on_everything(&mut txn, &table, &["number", "text", "spare"]);
        txn.rollback();
        for id in 0..ROWS {
            let mut txn = db.begin(unsynced()).unwrap();
            txn.delete(&table, Value::I64(id)).unwrap();
            txn.commit().unwrap();
        }
    }
    // Until the session has been idle for long enough; the watchdog ends this.
    loop {
        std::thread::sleep(Duration::from_millis(1200));
        let report = db.verify().unwrap();
        assert!(report.is_clean(), "{report:#?}");
        if report.entries == 0 {
            break;
        }
    }
}

#[test]
fn a_full_database_with_indexes_is_emptied_and_takes_nearly_as_much_again() {
    let place = Place::new("full");
    let db = place.builder().max_bytes(16 << 20).open().unwrap();
    let column = |name| Column::new(name, ColumnType::I64).nullable().ordered();
    let schema = Schema::builder("Full")
        .column(Column::new("id", ColumnType::String(24)))
        .column(column("same"))
        .column(column("few"))
        .column(column("rising"))
        .column(column("random"))
        .column(column("none"))
        .key("id")
        .build()
        .unwrap();
    let table = db.create_table(&schema).unwrap();
    let put = |id: i64| {
        let mut txn = db.begin(unsynced()).unwrap();
        let values = [(1, 7), (2, id % 3), (3, id), (4, id * 7919 % 100_003)];
        let values = values.map(|(column, value)| (column, Value::I64(value)));
        let done = txn.set(&table, Value::Str(&format!("A{id}")), &values);
        done.and_then(|_| txn.commit())
    };
    let mut rows = 0;
    let full = loop {
        match put(rows) {
            Ok(_) => rows += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), ErrorKind::Space, "{full}");
    assert!(rows > 10_000, "{rows}");
    for id in 0..rows {
        let mut txn = db.begin(unsynced()).unwrap();
        let deleted = txn.delete(&table, Value::Str(&format!("A{id}"))).and_then(|_| txn.commit());
        deleted.unwrap_or_else(|error| panic!("row {id} of {rows}: {error}"));
    }
    // Some of it is in slabs that the vacuum's session has emptied, and gives up once it has been idle for a second.
    let deadline = Instant::now() + Duration::from_secs(20);
    for id in 0..rows * 7 / 10 {
        while let Err(error) = put(id) {
            assert!(error.kind() == ErrorKind::Space, "row {id} of {rows} again: {error}");
            assert!(Instant::now() < deadline, "row {id} of {rows} again: {error}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    assert_clean(&db);
}
