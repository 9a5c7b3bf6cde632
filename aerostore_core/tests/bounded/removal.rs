//! Rows that go leave nothing behind.

use super::{READ, SMALL, count, delete, id, insert, open, verified};
use crate::common::{Place, flight};
use aerostore_core::db::{ErrorKind, OpenMode, TxnOptions};
use aerostore_core::row::{Column, ColumnType, Schema, Value};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

#[test]
fn keys_that_come_and_go_for_ever_fit_in_a_small_mapping() {
    const KEPT: u64 = 500;
    const KEYS: u64 = 200_000;
    let place = Place::new("bounded-churn");
    let (db, table) = open(&place, SMALL);
    insert(&db, &table, 0..KEPT).unwrap();
    let mut used = 0;
    for number in KEPT..KEYS {
        insert(&db, &table, number..number + 1).unwrap();
        delete(&db, &table, number - KEPT..number - KEPT + 1).unwrap();
        if number == KEYS / 8 {
            used = db.status().unwrap().used_bytes;
        }
    }
    assert!(db.status().unwrap().used_bytes <= used, "{used} bytes after an eighth");
    assert_eq!(count(&db, &table), KEPT);
    let report = verified(&db);
    assert!(report.rows < KEPT + 100, "{} rows are left of {KEPT}", report.rows);
    db.close().unwrap();
    // What was deleted does not come back, nor does it cost anything, after a cold start.
    std::fs::remove_file(&place.shm).unwrap();
    let (db, table) = open(&place, SMALL);
    assert_eq!(db.boot().mode, OpenMode::Cold);
    assert_eq!(count(&db, &table), KEPT);
    assert_eq!(verified(&db).rows, KEPT);
    db.close().unwrap();
}

#[test]
fn the_same_key_deleted_and_inserted_again_for_ever() {
    let place = Place::new("bounded-same-key");
    let (db, table) = open(&place, SMALL);
    for _ in 0..40_000 {
        insert(&db, &table, 1..2).unwrap();
        delete(&db, &table, 1..2).unwrap();
    }
    assert!(verified(&db).rows < 100);
    db.close().unwrap();
}

#[test]
fn a_full_database_that_is_emptied_takes_as_much_again() {
    const BATCH: u64 = 100;
    let place = Place::new("bounded-full");
    let (db, table) = open(&place, SMALL);
    let mut filled = Vec::new();
    for round in 0..3_u64 {
        let first = (round + 1) * 10_000_000;
        let mut next = first;
        let error = loop {
            match insert(&db, &table, next..next + BATCH) {
                Ok(()) => next += BATCH,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::Space, "{error}");
        assert_eq!(count(&db, &table), next - first);
        filled.push(next - first);
        for number in (first..next).step_by(usize::try_from(BATCH).unwrap()) {
            delete(&db, &table, number..number + BATCH).unwrap();
        }
        assert_eq!(count(&db, &table), 0);
        verified(&db);
    }
    assert!(filled.iter().all(|rows| *rows * 10 >= filled[0] * 8), "{filled:?} rows fitted");
    db.close().unwrap();
}

#[test]
fn aborted_inserts_leave_nothing() {
    let place = Place::new("bounded-aborted");
    let (db, table) = open(&place, SMALL);
    for number in 0..40_000 {
        let mut txn = db.begin(TxnOptions::default()).unwrap();
        txn.insert(&table, &flight(&table, &id(number), 1)).unwrap();
        txn.rollback();
    }
    assert!(verified(&db).rows < 100);
    db.close().unwrap();
}

#[test]
fn a_reader_sees_what_was_deleted_after_its_snapshot() {
    let place = Place::new("bounded-reader");
    let (db, table) = open(&place, SMALL);
    insert(&db, &table, 0..1000).unwrap();
    let mut reader = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
    delete(&db, &table, 0..1000).unwrap();
    insert(&db, &table, 500..1500).unwrap();
    delete(&db, &table, 500..1500).unwrap();
    insert(&db, &table, 5000..5100).unwrap();
    let mut seen = 0;
    reader
        .scan(&table, &mut |_| {
            seen += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(seen, 1000);
    for number in 0..1000 {
        assert!(reader.exists(&table, Value::Str(&id(number))).unwrap(), "{number}");
    }
    assert!(!reader.exists(&table, Value::Str(&id(1200))).unwrap());
    drop(reader);
    verified(&db);
    db.close().unwrap();
}

#[test]
fn a_key_that_was_missing_is_a_conflict_though_its_row_was_removed() {
    let place = Place::new("bounded-missing");
    let (db, table) = open(&place, SMALL);
    insert(&db, &table, 0..1).unwrap();
    delete(&db, &table, 0..1).unwrap();
    for how in 0..2 {
        let mut txn = db.begin(TxnOptions::default()).unwrap();
        // A tombstone, seen by reading or by deleting in vain; the row goes while the transaction runs.
        if how == 0 {
            assert!(!txn.exists(&table, Value::Str(&id(0))).unwrap());
        } else {
            assert!(!txn.delete(&table, Value::Str(&id(0))).unwrap());
        }
        for number in 100..400 {
            insert(&db, &table, number..number + 1).unwrap();
            delete(&db, &table, number..number + 1).unwrap();
        }
        let mut other = db.begin(TxnOptions::default()).unwrap();
        let inserted =
            other.insert(&table, &flight(&table, &id(0), 2)).and_then(|()| other.commit().map(|_| ()));
        txn.upsert(&table, &flight(&table, "other", 3)).unwrap();
        let committed = txn.commit();
        // One of the two was first; both together would be a write skew.
        assert!(inserted.is_err() || committed.is_err(), "{how}: both took effect");
        if inserted.is_ok() {
            delete(&db, &table, 0..1).unwrap();
        }
    }
    verified(&db);
    db.close().unwrap();
}

/// What one transaction replaces of its own is freed before its end, if there would be no room else.
#[test]
fn a_transaction_writes_one_row_more_often_than_there_is_room_for() {
    const UPDATES: i64 = 30_000;
    let place = Place::new("bounded-one-row");
    let db = place.builder().max_bytes(SMALL).open().unwrap();
    let schema = Schema::builder("Note")
        .column(Column::new("id", ColumnType::I64))
        .column(Column::new("count", ColumnType::I64))
        .column(Column::new("text", ColumnType::String(1000)))
        .key("id")
        .build()
        .unwrap();
    let table = db.create_table(&schema).unwrap();
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    let text = "a".repeat(1000);
    txn.set(&table, Value::I64(1), &[(1, Value::I64(0)), (2, Value::Str(&text))]).unwrap();
    for count in 1..=UPDATES {
        txn.set(&table, Value::I64(1), &[(1, Value::I64(count))]).unwrap();
    }
    txn.commit().unwrap();
    let mut txn = db.begin(READ).unwrap();
    assert_eq!(txn.get(&table, Value::I64(1), |row| row.get(1).as_i64()).unwrap(), Some(Some(UPDATES)));
    drop(txn);
    verified(&db);
    db.close().unwrap();
}

#[test]
fn a_full_database_can_be_emptied_by_a_session_that_has_not_committed_before() {
    const ROWS: u64 = 1000;
    let place = Place::new("bounded-ring");
    let (db, table) = open(&place, SMALL);
    let mut next = 0;
    while insert(&db, &table, next..next + ROWS).is_ok() {
        next += ROWS;
    }
    // They keep the session that has filled it from being used.
    let others: Vec<_> = (0..10).map(|_| db.begin(TxnOptions::default()).unwrap()).collect();
    for number in 0..ROWS {
        delete(&db, &table, number..number + 1).unwrap();
    }
    drop(others);
    db.close().unwrap();
}

/// Every second one, so that no slab is empty: what is free stays with the session that has deleted.
#[test]
fn what_an_idle_session_has_deleted_serves_one_that_finds_no_room() {
    const BATCH: u64 = 100;
    let place = Place::new("bounded-idle-room");
    let (db, table) = open(&place, SMALL);
    // Each thread has a session of its own.
    let filled = std::thread::scope(|scope| {
        let fill = || {
            let mut filled = 0;
            while insert(&db, &table, filled..filled + BATCH).is_ok() {
                filled += BATCH;
            }
            for first in (0..filled).step_by(usize::try_from(BATCH).unwrap()) {
                db.transaction(TxnOptions::default(), |txn| {
                    let mut some = (first..first + BATCH).step_by(2);
                    some.try_for_each(|number| txn.delete(&table, Value::Str(&id(number))).map(drop))
                })
                .unwrap();
            }
            filled
        };
        let filling = scope.spawn(fill);
        filling.join().unwrap()
    });
    let (mut fitted, begun) = (0, Instant::now());
    while fitted * 4 < filled {
        match insert(&db, &table, filled + fitted..filled + fitted + 10) {
            Ok(()) => fitted += 10,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Space, "{error}");
                let waited = begun.elapsed() > Duration::from_mins(1);
                assert!(!waited, "{fitted} rows fitted where {} were deleted", filled / 2);
            }
        }
    }
    db.close().unwrap();
}

/// By one session that is never idle: what it needs beside the rows, it has to find in what it has had.
#[test]
fn a_database_that_was_full_takes_what_fits_in_many_small_transactions() {
    const BATCH: u64 = 10;
    let place = Place::new("bounded-records");
    let (db, table) = open(&place, 32 << 20);
    let mut filled = 0;
    while insert(&db, &table, filled..filled + 10 * BATCH).is_ok() {
        filled += 10 * BATCH;
    }
    for first in (0..filled).step_by(100) {
        db.transaction(TxnOptions::default(), |txn| {
            let mut some = (first..first + 100).step_by(2);
            some.try_for_each(|number| txn.delete(&table, Value::Str(&id(number))).map(drop))
        })
        .unwrap();
    }
    let (mut fitted, begun) = (0, Instant::now());
    while fitted * 4 < filled {
        match insert(&db, &table, filled + fitted..filled + fitted + BATCH) {
            Ok(()) => fitted += BATCH,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Space, "{error}");
                let waited = begun.elapsed() > Duration::from_mins(1);
                assert!(!waited, "{fitted} rows fitted where {} were deleted", filled / 2);
            }
        }
    }
    db.close().unwrap();
}
