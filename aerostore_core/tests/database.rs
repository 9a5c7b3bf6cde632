//! The main path: open, write, read, restart warm, restart cold.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use aerostore_core::db::{OpenMode, TxnOptions, Upserted};
use aerostore_core::row::Value;
use common::{Place, flight, flight_schema};

fn altitude(db: &aerostore_core::db::Database, id: &str) -> Option<i32> {
    let table = db.table("Flight").unwrap().unwrap();
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    txn.get(&table, Value::Str(id), |row| match row.get(3) {
        Value::I32(altitude) => altitude,
        other => panic!("{other:?}"),
    })
    .unwrap()
}

#[test]
fn what_was_committed_is_there_after_a_warm_and_a_cold_start() {
    let place = Place::new("restart");
    {
        let db = place.open();
        assert_eq!(db.boot().mode, OpenMode::New);
        let table = db.create_table(&flight_schema()).unwrap();
        for number in 0..5000 {
            let mut txn =
                db.begin(TxnOptions { synchronous_commit: Some(false), ..TxnOptions::default() }).unwrap();
            let done = txn.upsert(&table, &flight(&table, &format!("F{number}"), number)).unwrap();
            assert_eq!(done, Upserted::Inserted);
            txn.commit().unwrap();
        }
        let mut txn = db.begin(TxnOptions::default()).unwrap();
        assert!(txn.delete(&table, Value::Str("F7")).unwrap());
        assert!(!txn.delete(&table, Value::Str("nobody")).unwrap());
        let done = txn.set(&table, Value::Str("F8"), &[(3, Value::I32(-8))]).unwrap();
        assert_eq!(done, Upserted::Updated);
        let done = txn.set(&table, Value::Str("F9"), &[(3, Value::I32(9))]).unwrap();
        assert_eq!(done, Upserted::Unchanged);
        txn.commit().unwrap();
        let report = db.verify().unwrap();
        assert!(report.is_clean(), "{report:?}");
    }
    for expected in [OpenMode::Warm, OpenMode::Cold, OpenMode::Warm] {
        if expected == OpenMode::Cold {
            std::fs::remove_file(&place.shm).unwrap();
        }
        let db = place.open();
        assert_eq!(db.boot().mode, expected);
        assert_eq!(db.boot().rows, 4999);
        let table = db.table("Flight").unwrap().unwrap();
        let mut txn = db.begin(TxnOptions::default()).unwrap();
        assert_eq!(txn.count(&table).unwrap(), 4999);
        drop(txn);
        assert_eq!(altitude(&db, "F7"), None);
        assert_eq!(altitude(&db, "F8"), Some(-8));
        assert_eq!(altitude(&db, "F4999"), Some(4999));
        let report = db.verify().unwrap();
        assert!(report.is_clean(), "{report:?}");
    }
}

#[test]
fn a_rollback_leaves_nothing() {
    let place = Place::new("rollback");
    let db = place.open();
    let table = db.create_table(&flight_schema()).unwrap();
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    txn.upsert(&table, &flight(&table, "A", 1)).unwrap();
    txn.commit().unwrap();
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    txn.upsert(&table, &flight(&table, "A", 2)).unwrap();
    txn.upsert(&table, &flight(&table, "A", 3)).unwrap();
    txn.upsert(&table, &flight(&table, "B", 2)).unwrap();
    txn.delete(&table, Value::Str("A")).unwrap();
    txn.rollback();
    assert_eq!(altitude(&db, "A"), Some(1));
    assert_eq!(altitude(&db, "B"), None);
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    txn.upsert(&table, &flight(&table, "B", 5)).unwrap();
    txn.commit().unwrap();
    assert_eq!(altitude(&db, "B"), Some(5));
    let report = db.verify().unwrap();
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn sessions_that_follow_each_other_in_a_slot_share_what_their_transactions_need() {
    let place = Place::new("intents");
    let mut found = Vec::new();
    for round in 0..4 {
        let db = place.open();
        let table = db.create_table(&flight_schema()).unwrap();
        let mut txn = db.begin(TxnOptions::default()).unwrap();
        for number in 0..100 {
            txn.upsert(&table, &flight(&table, &format!("F{number}"), round)).unwrap();
        }
        txn.commit().unwrap();
        let report = db.verify().unwrap();
        assert!(report.is_clean(), "{report:?}");
        found.push(report.sweep);
    }
    assert_eq!(found[1].marked, found[3].marked, "{found:?}");
}
