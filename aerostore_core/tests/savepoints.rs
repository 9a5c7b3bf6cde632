//! Savepoints: what is undone, what is kept, and what other transactions may see of it.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use aerostore_core::db::{
    Database, Error, ErrorKind, Isolation, OpenMode, Savepoint, Table, Transaction, TxnOptions,
};
use aerostore_core::row::Value;
use common::{Place, flight, flight_schema};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

struct World {
    db: Database,
    table: Table,
    place: Place,
}

type Rows = BTreeMap<String, i64>;

fn world(name: &str) -> World {
    let place = Place::new(name);
    let db = place.open();
    db.set_config("synchronous_commit", "off").unwrap();
    let table = db.create_table(&flight_schema()).unwrap();
    db.transaction(TxnOptions::default(), |txn| {
        txn.insert(&table, &flight(&table, "1", 10))?;
        txn.insert(&table, &flight(&table, "2", 20))
    })
    .unwrap();
    World { db, table, place }
}

impl World {
    fn begin(&self) -> Transaction {
        self.db.begin(TxnOptions::default()).unwrap()
    }

    fn set(&self, txn: &mut Transaction, id: &str, altitude: i32) {
        txn.set(&self.table, Value::Str(id), &[(3, Value::I32(altitude))]).unwrap();
    }

    fn seen(&self, txn: &mut Transaction) -> Rows {
        seen(txn, &self.table)
    }

    fn now(&self) -> Rows {
        self.seen(&mut self.begin())
    }

    /// The database holds exactly `expected`: in memory, in its blocks, and in its log.
    fn finish(self, expected: &Rows) {
        assert_eq!(self.now(), *expected);
        let report = self.db.verify().unwrap();
        assert!(report.is_clean(), "{report:#?}");
        let warm = self.place.open();
        assert_eq!(warm.boot().rows, expected.len() as u64, "the count of rows");
        warm.close().unwrap();
        let Self { db, table, place } = self;
        drop(table);
        db.close().unwrap();
        std::fs::remove_file(&place.shm).unwrap();
        let db = place.open();
        assert_eq!(db.boot().mode, OpenMode::Cold);
        assert_eq!(db.boot().rows, expected.len() as u64);
        let table = db.table("Flight").unwrap().unwrap();
        assert_eq!(seen(&mut db.begin(TxnOptions::default()).unwrap(), &table), *expected);
    }
}

fn seen(txn: &mut Transaction, table: &Table) -> Rows {
    let mut rows = Rows::new();
    txn.scan(table, &mut |row| {
        rows.insert(row.get(0).to_string(), row.get(3).as_i64().unwrap());
        ControlFlow::Continue(())
    })
    .unwrap();
    for (id, altitude) in &rows {
        let got = txn.get(table, Value::Str(id), |row| row.get(3).as_i64().unwrap()).unwrap();
        assert_eq!(got, Some(*altitude), "scan and get differ");
    }
    rows
}

fn rows(rows: &[(&str, i64)]) -> Rows {
    rows.iter().map(|(id, altitude)| ((*id).to_owned(), *altitude)).collect()
}

fn refused(outcome: Result<(), Error>) {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(!error.is_retryable());
    assert!(error.to_string().contains("savepoint"), "{error}");
}

#[test]
fn a_rollback_restores_every_kind_of_write() {
    let world = world("sp-kinds");
    let mut txn = world.begin();
    world.set(&mut txn, "1", 11);
    txn.insert(&world.table, &flight(&world.table, "3", 30)).unwrap();
    let mark = txn.savepoint().unwrap();
    for _ in 0..3 {
        // Changed twice after the mark; deleted and made again; inserted before and after; deleted only.
        world.set(&mut txn, "1", 12);
        world.set(&mut txn, "1", 13);
        assert!(txn.delete(&world.table, Value::Str("1")).unwrap());
        txn.insert(&world.table, &flight(&world.table, "1", 14)).unwrap();
        world.set(&mut txn, "3", 31);
        txn.insert(&world.table, &flight(&world.table, "4", 40)).unwrap();
        assert!(txn.delete(&world.table, Value::Str("2")).unwrap());
        assert_eq!(world.seen(&mut txn), rows(&[("1", 14), ("3", 31), ("4", 40)]));
        txn.rollback_to(&mark).unwrap();
        assert_eq!(world.seen(&mut txn), rows(&[("1", 11), ("2", 20), ("3", 30)]));
    }
    assert_eq!(world.now(), rows(&[("1", 10), ("2", 20)]), "seen before the commit");
    world.set(&mut txn, "1", 15);
    txn.commit().unwrap();
    world.finish(&rows(&[("1", 15), ("2", 20), ("3", 30)]));
}

#[test]
fn savepoints_nest() {
    let world = world("sp-nest");
    let mut txn = world.begin();
    let outer = txn.savepoint().unwrap();
    world.set(&mut txn, "1", 11);
    let middle = txn.savepoint().unwrap();
    world.set(&mut txn, "1", 12);
    let inner = txn.savepoint().unwrap();
    world.set(&mut txn, "1", 13);
    txn.rollback_to(&inner).unwrap();
    assert_eq!(world.seen(&mut txn), rows(&[("1", 12), ("2", 20)]));
    world.set(&mut txn, "1", 14);
    txn.release(inner).unwrap();
    assert_eq!(world.seen(&mut txn), rows(&[("1", 14), ("2", 20)]));
    txn.rollback_to(&middle).unwrap();
    assert_eq!(world.seen(&mut txn), rows(&[("1", 11), ("2", 20)]));
    world.set(&mut txn, "2", 21);
    txn.release(middle).unwrap();
    txn.rollback_to(&outer).unwrap();
    assert_eq!(world.seen(&mut txn), rows(&[("1", 10), ("2", 20)]));
    world.set(&mut txn, "2", 22);
    txn.commit().unwrap();
    world.finish(&rows(&[("1", 10), ("2", 22)]));
}

#[test]
fn a_savepoint_that_is_gone_is_refused() {
    let world = world("sp-gone");
    let (mut txn, mut other) = (world.begin(), world.begin());
    let of_other = other.savepoint().unwrap();
    refused(txn.rollback_to(&of_other));
    refused(txn.release(of_other));
    let outer = txn.savepoint().unwrap();
    let inner = txn.savepoint().unwrap();
    txn.rollback_to(&outer).unwrap();
    refused(txn.rollback_to(&inner));
    let inner = txn.savepoint().unwrap();
    txn.release(outer).unwrap();
    refused(txn.rollback_to(&inner));
    refused(txn.release(inner));
    // The transaction is none the worse.
    world.set(&mut txn, "1", 11);
    txn.commit().unwrap();
    drop(other);
    world.finish(&rows(&[("1", 11), ("2", 20)]));
}

#[test]
fn a_rollback_frees_rows_for_others_but_keeps_those_from_before() {
    let world = world("sp-locks");
    // Under snapshot isolation: a serializable one has seen row 2, if only that it was there to be changed.
    let options = TxnOptions { isolation: Isolation::Snapshot, ..TxnOptions::default() };
    let mut txn = world.db.begin(options).unwrap();
    world.set(&mut txn, "1", 11);
    let mark = txn.savepoint().unwrap();
    world.set(&mut txn, "1", 12);
    world.set(&mut txn, "2", 22);
    txn.rollback_to(&mark).unwrap();
    let mut other = world.begin();
    world.set(&mut other, "2", 23);
    let taken = other.set(&world.table, Value::Str("1"), &[(3, Value::I32(13))]);
    assert!(taken.unwrap_err().is_retryable());
    drop(other);
    let mut other = world.begin();
    world.set(&mut other, "2", 24);
    other.commit().unwrap();
    txn.commit().unwrap();
    world.finish(&rows(&[("1", 11), ("2", 24)]));
}

#[test]
fn what_was_read_before_a_rollback_is_still_checked() {
    let world = world("sp-reads");
    let mut txn = world.begin();
    let mark = txn.savepoint().unwrap();
    assert_eq!(
        txn.get(&world.table, Value::Str("2"), |row| row.get(3).as_i64()).unwrap().flatten(),
        Some(20)
    );
    world.set(&mut txn, "2", 21);
    txn.rollback_to(&mark).unwrap();
    let mut other = world.begin();
    world.set(&mut other, "2", 29);
    other.commit().unwrap();
    world.set(&mut txn, "1", 21);
    assert!(txn.commit().unwrap_err().is_retryable(), "a write skew");
    world.finish(&rows(&[("1", 10), ("2", 29)]));
}

#[test]
fn many_savepoints_on_one_row_leave_one_version() {
    let world = world("sp-many");
    let mut txn = world.begin();
    let mut marks: Vec<Savepoint> = Vec::new();
    for altitude in 0..200 {
        marks.push(txn.savepoint().unwrap());
        world.set(&mut txn, "1", 1000 + altitude);
        if altitude % 7 == 0 {
            txn.release(marks.pop().unwrap()).unwrap();
        }
        if altitude % 11 == 1 {
            let mark = marks.len() / 2;
            txn.rollback_to(&marks[mark]).unwrap();
            marks.truncate(mark + 1);
        }
    }
    let last = world.seen(&mut txn);
    txn.commit().unwrap();
    let report = world.db.verify().unwrap();
    assert!(report.is_clean(), "{report:#?}");
    assert!(report.versions <= 4, "{} versions of two rows", report.versions);
    world.finish(&last);
}

/// Random writes, savepoints, rollbacks and releases against a stack of maps.
#[test]
fn random_savepoints_agree_with_a_model() {
    let world = world("sp-model");
    let seed = u64::from(std::process::id()) << 16 | 1;
    println!("seed {seed}");
    let mut state = seed;
    let mut below = |limit: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % limit
    };
    let mut committed = world.now();
    for _ in 0..60 {
        let mut txn = world.begin();
        let mut model = committed.clone();
        let mut marks: Vec<(Savepoint, Rows)> = Vec::new();
        for step in 0..40 {
            let id = below(6).to_string();
            match below(10) {
                0..4 => {
                    world.set(&mut txn, &id, step);
                    model.insert(id, i64::from(step));
                }
                4 | 5 => {
                    let was = txn.delete(&world.table, Value::Str(&id)).unwrap();
                    assert_eq!(was, model.remove(&id).is_some());
                }
                6 | 7 => marks.push((txn.savepoint().unwrap(), model.clone())),
                8 if !marks.is_empty() => {
                    let mark = usize::try_from(below(marks.len() as u64)).unwrap();
                    txn.rollback_to(&marks[mark].0).unwrap();
                    model = marks[mark].1.clone();
                    marks.truncate(mark + 1);
                }
                9 if !marks.is_empty() => {
                    let mark = usize::try_from(below(marks.len() as u64)).unwrap();
                    let (released, _) = marks.split_off(mark).swap_remove(0);
                    txn.release(released).unwrap();
                }
                _ => {}
            }
            assert_eq!(world.seen(&mut txn), model);
        }
        if below(4) == 0 {
            txn.rollback();
        } else {
            txn.commit().unwrap();
            committed = model;
        }
        assert_eq!(world.now(), committed);
    }
    world.finish(&committed);
}
