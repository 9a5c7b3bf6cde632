//! Isolation, anomaly by anomaly: each test is a history that a weaker level would let through.
//!
//! Source: Adya's phenomena in the form of Kleppmann's Hermitage; write skew and its read-only form after Fekete et al. Each of
//! Hermitage's anomalies is tried by updates, by deletes, and by transactions that lock rows before they read or write them.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod by_delete;
mod by_lock;
mod by_update;
#[path = "../common/mod.rs"]
mod common;

use aerostore_core::db::{Database, Error, Isolation, Table, Transaction, TxnOptions};
use aerostore_core::row::Value;
use common::{Place, flight, flight_schema};
use std::ops::ControlFlow;

struct World {
    db: Database,
    table: Table,
    _place: Place,
}

fn world(name: &str) -> World {
    let place = Place::new(name);
    let db = place.open();
    db.set_config("synchronous_commit", "off").unwrap();
    let table = db.create_table(&flight_schema()).unwrap();
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    for (id, altitude) in [("1", 10), ("2", 20)] {
        txn.insert(&table, &flight(&table, id, altitude)).unwrap();
    }
    txn.commit().unwrap();
    World { db, table, _place: place }
}

/// A world and two transactions that have begun in it.
fn two(name: &str) -> (World, Transaction, Transaction) {
    let world = world(name);
    let (first, second) = (world.begin(), world.begin());
    (world, first, second)
}

impl World {
    fn begin(&self) -> Transaction {
        self.db.begin(TxnOptions::default()).unwrap()
    }

    fn get(&self, txn: &mut Transaction, id: &str) -> Option<i64> {
        txn.get(&self.table, Value::Str(id), |row| row.get(3).as_i64().unwrap()).unwrap()
    }

    fn set(&self, txn: &mut Transaction, id: &str, altitude: i32) -> Result<(), Error> {
        txn.set(&self.table, Value::Str(id), &[(3, Value::I32(altitude))]).map(|_| ())
    }

    fn delete(&self, txn: &mut Transaction, id: &str) -> Result<bool, Error> {
        txn.delete(&self.table, Value::Str(id))
    }

    fn insert(&self, txn: &mut Transaction, id: &str, altitude: i32) -> Result<(), Error> {
        txn.insert(&self.table, &flight(&self.table, id, altitude))
    }

    /// What the row holds once it is locked.
    fn lock(&self, txn: &mut Transaction, id: &str) -> Result<Option<i64>, Error> {
        match txn.lock_for_update(&self.table, Value::Str(id))? {
            Some(mut row) => row.read(|row| row.get(3).as_i64().unwrap()),
            None => Ok(None),
        }
    }

    fn sum(&self, txn: &mut Transaction) -> i64 {
        let mut sum = 0;
        txn.scan(&self.table, &mut |row| {
            sum += row.get(3).as_i64().unwrap();
            ControlFlow::Continue(())
        })
        .unwrap();
        sum
    }

    /// The rows that are at this altitude.
    fn at(&self, txn: &mut Transaction, altitude: i64) -> Vec<String> {
        let mut found = Vec::new();
        txn.scan(&self.table, &mut |row| {
            if row.get(3).as_i64() == Some(altitude) {
                found.push(row.get(0).to_string());
            }
            ControlFlow::Continue(())
        })
        .unwrap();
        found
    }

    fn now(&self, id: &str) -> Option<i64> {
        self.get(&mut self.begin(), id)
    }
}

fn conflicts(result: Result<impl Sized, Error>) {
    match result {
        Err(error) => assert!(error.is_retryable(), "{error}"),
        Ok(_) => panic!("both committed"),
    }
}

#[test]
fn the_read_only_anomaly_is_impossible() {
    // Fekete, O'Neil, O'Neil 2004: a reader that sees a deposit but not the withdrawal serialized before it.
    let world = world("read-only");
    let mut withdrawal = world.begin();
    assert_eq!(world.get(&mut withdrawal, "1").unwrap() + world.get(&mut withdrawal, "2").unwrap(), 30);
    let mut deposit = world.begin();
    world.set(&mut deposit, "2", 40).unwrap();
    deposit.commit().unwrap();
    let mut reader = world.db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
    assert_eq!((world.get(&mut reader, "1"), world.get(&mut reader, "2")), (Some(10), Some(40)));
    reader.commit().unwrap();
    world.set(&mut withdrawal, "1", -11).unwrap();
    conflicts(withdrawal.commit());
}

#[test]
fn a_snapshot_is_extended_when_what_was_read_still_holds() {
    let world = world("extend");
    let mut first = world.begin();
    assert_eq!(world.get(&mut first, "1"), Some(10));
    let mut second = world.begin();
    world.set(&mut second, "2", 21).unwrap();
    second.commit().unwrap();
    world.set(&mut first, "2", 22).unwrap();
    first.commit().unwrap();
    assert_eq!(world.now("2"), Some(22));
}

#[test]
fn a_read_only_transaction_never_aborts_and_refuses_writes() {
    let world = world("ro");
    let mut reader = world.db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
    assert_eq!(world.sum(&mut reader), 30);
    for round in 0..50 {
        let mut writer = world.begin();
        world.set(&mut writer, "1", round).unwrap();
        writer.commit().unwrap();
        assert_eq!(world.sum(&mut reader), 30);
    }
    let error = world.set(&mut reader, "1", 1).unwrap_err();
    assert_eq!(error.kind().as_str(), "READ_ONLY");
    reader.commit().unwrap();
}

#[test]
fn own_writes_are_seen() {
    let world = world("own");
    let mut txn = world.begin();
    world.set(&mut txn, "1", 11).unwrap();
    assert_eq!(world.get(&mut txn, "1"), Some(11));
    assert!(txn.delete(&world.table, Value::Str("1")).unwrap());
    assert_eq!(world.get(&mut txn, "1"), None);
    assert_eq!(world.sum(&mut txn), 20);
    txn.insert(&world.table, &flight(&world.table, "1", 12)).unwrap();
    let error = txn.insert(&world.table, &flight(&world.table, "1", 13)).unwrap_err();
    assert_eq!(error.kind().as_str(), "DUPLICATE");
    assert_eq!(world.sum(&mut txn), 32);
    txn.commit().unwrap();
    assert_eq!(world.now("1"), Some(12));
}

/// A transaction that has looked for row 3 in vain, as `finds` says, sees nothing of what is committed then.
fn reads_at_the_moment_it_looked(name: &str, finds: impl FnOnce(&World, &mut Transaction) -> bool) {
    let world = world(name);
    let mut first = world.begin();
    assert!(!finds(&world, &mut first));
    let mut second = world.begin();
    world.insert(&mut second, "3", 30).unwrap();
    world.set(&mut second, "1", 11).unwrap();
    second.commit().unwrap();
    assert_eq!((world.get(&mut first, "1"), world.get(&mut first, "3")), (Some(10), None));
}

/// A1: a write that finds nothing has read.
#[test]
fn what_a_write_found_missing_and_what_is_read_later_are_of_one_moment() {
    reads_at_the_moment_it_looked("missing-then-read", |world, txn| world.delete(txn, "3").unwrap());
}

/// A1: so has a lock.
#[test]
fn what_a_lock_found_missing_and_what_is_read_later_are_of_one_moment() {
    reads_at_the_moment_it_looked("lock-then-read", |world, txn| {
        txn.lock_for_update(&world.table, Value::Str("3")).unwrap().is_some()
    });
}

/// A1: what a transaction lets go of it has seen.
#[test]
fn what_is_let_go_of_and_what_is_read_later_are_of_one_moment() {
    let world = world("release-then-read");
    let mut first = world.begin();
    let savepoint = first.savepoint().unwrap();
    assert!(first.lock_for_update(&world.table, Value::Str("1")).unwrap().is_some());
    first.rollback_to(&savepoint).unwrap();
    let mut second = world.begin();
    world.set(&mut second, "1", 11).unwrap();
    world.set(&mut second, "2", 21).unwrap();
    second.commit().unwrap();
    assert_eq!((world.get(&mut first, "1"), world.get(&mut first, "2")), (Some(10), Some(20)));
}

/// A1: a transaction that only writes has no snapshot that could be too old.
#[test]
fn a_blind_write_does_not_conflict_with_what_was_committed_since_it_began() {
    let world = world("blind");
    let mut first = world.begin();
    let mut second = world.begin();
    world.set(&mut second, "1", 11).unwrap();
    second.commit().unwrap();
    world.set(&mut first, "1", 12).unwrap();
    assert_eq!(world.get(&mut first, "1"), Some(12));
    first.commit().unwrap();
    assert_eq!(world.now("1"), Some(12));
}
