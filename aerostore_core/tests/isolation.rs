//! Isolation, anomaly by anomaly: each test is a history that a weaker level would let through.
//!
//! Source: Adya's phenomena in the form of Kleppmann's Hermitage; write skew and its read-only form after Fekete et al. Each of
//! Hermitage's anomalies is tried by updates first, and in `by_delete` by deletes.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

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

    fn sum(&self, txn: &mut Transaction) -> i64 {
        let mut sum = 0;
        txn.scan(&self.table, &mut |row| {
            sum += row.get(3).as_i64().unwrap();
            ControlFlow::Continue(())
        })
        .unwrap();
        sum
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
fn g0_dirty_write() {
    let world = world("g0");
    let (mut first, mut second) = (world.begin(), world.begin());
    world.set(&mut first, "1", 11).unwrap();
    conflicts(world.set(&mut second, "1", 12));
    drop(second);
    world.set(&mut first, "2", 21).unwrap();
    first.commit().unwrap();
    assert_eq!((world.now("1"), world.now("2")), (Some(11), Some(21)));
}

#[test]
fn g1a_aborted_read() {
    let world = world("g1a");
    let (mut first, mut second) = (world.begin(), world.begin());
    world.set(&mut first, "1", 101).unwrap();
    assert_eq!(world.get(&mut second, "1"), Some(10));
    first.rollback();
    assert_eq!(world.get(&mut second, "1"), Some(10));
    second.commit().unwrap();
}

#[test]
fn g1b_intermediate_read() {
    let world = world("g1b");
    let (mut first, mut second) = (world.begin(), world.begin());
    world.set(&mut first, "1", 101).unwrap();
    assert_eq!(world.get(&mut second, "1"), Some(10));
    world.set(&mut first, "1", 11).unwrap();
    first.commit().unwrap();
    assert_eq!(world.get(&mut second, "1"), Some(10));
    second.commit().unwrap();
    assert_eq!(world.now("1"), Some(11));
}

#[test]
fn g1c_circular_information_flow() {
    let world = world("g1c");
    let (mut first, mut second) = (world.begin(), world.begin());
    world.set(&mut first, "1", 11).unwrap();
    world.set(&mut second, "2", 22).unwrap();
    assert_eq!(world.get(&mut first, "2"), Some(20));
    assert_eq!(world.get(&mut second, "1"), Some(10));
    first.commit().unwrap();
    conflicts(second.commit());
}

#[test]
fn otv_observed_transaction_vanishes() {
    let world = world("otv");
    let mut first = world.begin();
    world.set(&mut first, "1", 11).unwrap();
    world.set(&mut first, "2", 19).unwrap();
    let mut reader = world.begin();
    first.commit().unwrap();
    let mut second = world.begin();
    world.set(&mut second, "1", 12).unwrap();
    world.set(&mut second, "2", 18).unwrap();
    assert_eq!(world.get(&mut reader, "1"), Some(11));
    second.commit().unwrap();
    assert_eq!(world.get(&mut reader, "2"), Some(19));
    reader.commit().unwrap();
}

#[test]
fn pmp_predicate_many_preceders() {
    let world = world("pmp");
    let mut first = world.begin();
    assert_eq!(world.sum(&mut first), 30);
    let mut second = world.begin();
    second.insert(&world.table, &flight(&world.table, "3", 30)).unwrap();
    second.commit().unwrap();
    assert_eq!(world.sum(&mut first), 30);
    world.set(&mut first, "1", 11).unwrap();
    conflicts(first.commit());
}

#[test]
fn p4_lost_update() {
    let world = world("p4");
    let (mut first, mut second) = (world.begin(), world.begin());
    assert_eq!(world.get(&mut first, "1"), Some(10));
    assert_eq!(world.get(&mut second, "1"), Some(10));
    world.set(&mut first, "1", 11).unwrap();
    first.commit().unwrap();
    conflicts(world.set(&mut second, "1", 12));
    assert_eq!(world.now("1"), Some(11));
}

#[test]
fn p4_lost_update_is_refused_under_snapshot_isolation_too() {
    let world = world("p4-si");
    let options = TxnOptions { isolation: Isolation::Snapshot, ..TxnOptions::default() };
    let mut first = world.db.begin(options).unwrap();
    assert_eq!(world.get(&mut first, "1"), Some(10));
    let mut second = world.db.begin(options).unwrap();
    world.set(&mut second, "1", 12).unwrap();
    second.commit().unwrap();
    conflicts(world.set(&mut first, "1", 11));
}

#[test]
fn g_single_read_skew() {
    let world = world("gsingle");
    let mut first = world.begin();
    assert_eq!(world.get(&mut first, "1"), Some(10));
    let mut second = world.begin();
    world.set(&mut second, "1", 12).unwrap();
    world.set(&mut second, "2", 18).unwrap();
    second.commit().unwrap();
    assert_eq!(world.get(&mut first, "2"), Some(20));
    first.commit().unwrap();
}

#[test]
fn g_single_with_a_write() {
    let world = world("gsingle-write");
    let mut first = world.begin();
    assert_eq!(world.get(&mut first, "1"), Some(10));
    let mut second = world.begin();
    world.set(&mut second, "1", 12).unwrap();
    world.set(&mut second, "2", 18).unwrap();
    second.commit().unwrap();
    conflicts(first.delete(&world.table, Value::Str("2")));
}

#[test]
fn g2_item_write_skew() {
    let world = world("g2item");
    let (mut first, mut second) = (world.begin(), world.begin());
    for txn in [&mut first, &mut second] {
        assert_eq!(world.get(txn, "1").unwrap() + world.get(txn, "2").unwrap(), 30);
    }
    world.set(&mut first, "1", -10).unwrap();
    world.set(&mut second, "2", -10).unwrap();
    first.commit().unwrap();
    conflicts(second.commit());
}

#[test]
fn g2_item_write_skew_passes_under_snapshot_isolation() {
    let world = world("g2item-si");
    let options = TxnOptions { isolation: Isolation::Snapshot, ..TxnOptions::default() };
    let (mut first, mut second) = (world.db.begin(options).unwrap(), world.db.begin(options).unwrap());
    for txn in [&mut first, &mut second] {
        assert_eq!(world.get(txn, "1").unwrap() + world.get(txn, "2").unwrap(), 30);
    }
    world.set(&mut first, "1", -10).unwrap();
    world.set(&mut second, "2", -10).unwrap();
    first.commit().unwrap();
    second.commit().unwrap();
}

#[test]
fn g2_phantom_by_insert() {
    let world = world("g2");
    let (mut first, mut second) = (world.begin(), world.begin());
    assert_eq!(world.sum(&mut first), 30);
    assert_eq!(world.sum(&mut second), 30);
    first.insert(&world.table, &flight(&world.table, "3", 30)).unwrap();
    second.insert(&world.table, &flight(&world.table, "4", 42)).unwrap();
    first.commit().unwrap();
    conflicts(second.commit());
}

#[test]
fn g2_phantom_by_a_key_looked_for_in_vain() {
    let world = world("g2-missing");
    let (mut first, mut second) = (world.begin(), world.begin());
    assert_eq!(world.get(&mut first, "3"), None);
    assert_eq!(world.get(&mut second, "4"), None);
    second.insert(&world.table, &flight(&world.table, "3", 1)).unwrap();
    first.insert(&world.table, &flight(&world.table, "4", 1)).unwrap();
    second.commit().unwrap();
    conflicts(first.commit());
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

/// Hermitage's anomalies where rows are deleted, not updated.
/// A1: a write that finds nothing has read.
#[test]
fn what_a_write_found_missing_and_what_is_read_later_are_of_one_moment() {
    let world = world("missing-then-read");
    let mut first = world.begin();
    assert!(!world.delete(&mut first, "3").unwrap());
    let mut second = world.begin();
    world.insert(&mut second, "3", 30).unwrap();
    world.set(&mut second, "1", 11).unwrap();
    second.commit().unwrap();
    assert_eq!((world.get(&mut first, "1"), world.get(&mut first, "3")), (Some(10), None));
}

/// A1: so has one that looked for a row before it put it in.
#[test]
fn what_a_lock_found_missing_and_what_is_read_later_are_of_one_moment() {
    let world = world("lock-then-read");
    let mut first = world.begin();
    assert!(first.lock_for_update(&world.table, Value::Str("3")).unwrap().is_none());
    let mut second = world.begin();
    world.insert(&mut second, "3", 30).unwrap();
    world.set(&mut second, "1", 11).unwrap();
    second.commit().unwrap();
    assert_eq!((world.get(&mut first, "1"), world.get(&mut first, "3")), (Some(10), None));
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

mod by_delete {
    use super::*;

    #[test]
    fn g0_dirty_write() {
        let world = world("g0-delete");
        let (mut first, mut second) = (world.begin(), world.begin());
        assert!(world.delete(&mut first, "1").unwrap());
        conflicts(world.delete(&mut second, "1"));
        drop(second);
        let mut third = world.begin();
        conflicts(world.set(&mut third, "1", 12));
        drop(third);
        assert!(world.delete(&mut first, "2").unwrap());
        first.commit().unwrap();
        assert_eq!((world.now("1"), world.now("2")), (None, None));
    }

    #[test]
    fn g1a_aborted_read() {
        let world = world("g1a-delete");
        let (mut first, mut second) = (world.begin(), world.begin());
        assert!(world.delete(&mut first, "1").unwrap());
        assert_eq!((world.get(&mut second, "1"), world.sum(&mut second)), (Some(10), 30));
        first.rollback();
        assert_eq!((world.get(&mut second, "1"), world.sum(&mut second)), (Some(10), 30));
        second.commit().unwrap();
        assert_eq!(world.now("1"), Some(10));
    }

    #[test]
    fn g1b_intermediate_read() {
        let world = world("g1b-delete");
        let (mut first, mut second) = (world.begin(), world.begin());
        assert!(world.delete(&mut first, "1").unwrap());
        assert_eq!(world.get(&mut second, "1"), Some(10));
        world.insert(&mut first, "1", 11).unwrap();
        first.commit().unwrap();
        // Never without the row: neither in a snapshot of before nor in one of after.
        assert_eq!(world.get(&mut second, "1"), Some(10));
        second.commit().unwrap();
        assert_eq!(world.now("1"), Some(11));
    }

    #[test]
    fn g1c_circular_information_flow() {
        let world = world("g1c-delete");
        let (mut first, mut second) = (world.begin(), world.begin());
        assert!(world.delete(&mut first, "1").unwrap());
        assert!(world.delete(&mut second, "2").unwrap());
        assert_eq!(world.get(&mut first, "2"), Some(20));
        assert_eq!(world.get(&mut second, "1"), Some(10));
        first.commit().unwrap();
        conflicts(second.commit());
        assert_eq!((world.now("1"), world.now("2")), (None, Some(20)));
    }

    #[test]
    fn otv_observed_transaction_vanishes() {
        let world = world("otv-delete");
        let mut before = world.begin();
        assert_eq!(world.get(&mut before, "2"), Some(20));
        let mut first = world.begin();
        assert!(world.delete(&mut first, "1").unwrap());
        assert!(world.delete(&mut first, "2").unwrap());
        first.commit().unwrap();
        let mut between = world.begin();
        let mut second = world.begin();
        world.insert(&mut second, "1", 12).unwrap();
        world.insert(&mut second, "2", 18).unwrap();
        assert_eq!((world.get(&mut before, "1"), world.get(&mut between, "1")), (Some(10), None));
        second.commit().unwrap();
        assert_eq!((world.get(&mut before, "2"), world.get(&mut between, "2")), (Some(20), None));
        before.commit().unwrap();
        between.commit().unwrap();
    }

    #[test]
    fn pmp_predicate_many_preceders() {
        let world = world("pmp-delete");
        let mut first = world.begin();
        assert_eq!(world.sum(&mut first), 30);
        let mut second = world.begin();
        assert!(world.delete(&mut second, "2").unwrap());
        second.commit().unwrap();
        assert_eq!(world.sum(&mut first), 30);
        world.set(&mut first, "1", 11).unwrap();
        conflicts(first.commit());
    }

    #[test]
    fn pmp_by_a_delete_of_what_a_predicate_finds() {
        let world = world("pmp-write-delete");
        let (mut first, mut second) = (world.begin(), world.begin());
        // All up by ten; then whatever is at 20 goes, as the other's snapshot has it.
        world.set(&mut first, "1", 20).unwrap();
        world.set(&mut first, "2", 30).unwrap();
        let mut found = Vec::new();
        second
            .scan(&world.table, &mut |row| {
                if row.get(3).as_i64() == Some(20) {
                    found.push(row.get(0).to_string());
                }
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(found, ["2"]);
        first.commit().unwrap();
        conflicts(world.delete(&mut second, "2"));
        assert_eq!((world.now("1"), world.now("2")), (Some(20), Some(30)));
    }

    #[test]
    fn p4_lost_update() {
        let world = world("p4-delete");
        let (mut first, mut second) = (world.begin(), world.begin());
        assert_eq!(world.get(&mut first, "1"), Some(10));
        assert_eq!(world.get(&mut second, "1"), Some(10));
        world.set(&mut first, "1", 11).unwrap();
        first.commit().unwrap();
        conflicts(world.delete(&mut second, "1"));
        drop(second);
        let (mut first, mut second) = (world.begin(), world.begin());
        assert_eq!(world.get(&mut first, "1"), Some(11));
        assert_eq!(world.get(&mut second, "1"), Some(11));
        assert!(world.delete(&mut first, "1").unwrap());
        first.commit().unwrap();
        conflicts(world.set(&mut second, "1", 12));
        assert_eq!(world.now("1"), None);
    }

    #[test]
    fn g_single_read_skew() {
        let world = world("gsingle-delete");
        let mut first = world.begin();
        assert_eq!(world.get(&mut first, "1"), Some(10));
        let mut second = world.begin();
        assert!(world.delete(&mut second, "1").unwrap());
        assert!(world.delete(&mut second, "2").unwrap());
        second.commit().unwrap();
        assert_eq!((world.get(&mut first, "2"), world.sum(&mut first)), (Some(20), 30));
        first.commit().unwrap();
    }

    #[test]
    fn g2_item_write_skew() {
        let world = world("g2item-delete");
        let (mut first, mut second) = (world.begin(), world.begin());
        assert_eq!(world.get(&mut first, "2"), Some(20));
        assert_eq!(world.get(&mut second, "1"), Some(10));
        assert!(world.delete(&mut first, "1").unwrap());
        assert!(world.delete(&mut second, "2").unwrap());
        first.commit().unwrap();
        conflicts(second.commit());
        assert_eq!((world.now("1"), world.now("2")), (None, Some(20)));
    }

    #[test]
    fn g2_phantom() {
        let world = world("g2-delete");
        let (mut first, mut second) = (world.begin(), world.begin());
        // Each may go only while the other is there.
        assert_eq!((world.sum(&mut first), world.sum(&mut second)), (30, 30));
        assert!(world.delete(&mut first, "1").unwrap());
        assert!(world.delete(&mut second, "2").unwrap());
        first.commit().unwrap();
        conflicts(second.commit());
        assert_eq!((world.now("1"), world.now("2")), (None, Some(20)));
    }
}
