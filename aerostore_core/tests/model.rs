//! Random operations on a table and on a `BTreeMap` side by side, with restarts in between: both must always agree.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use aerostore_core::db::{Database, Error, ErrorKind, Operation, Table, TxnOptions, Upserted};
use aerostore_core::row::Value;
use common::{Place, flight, flight_schema};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

#[derive(Clone, Debug)]
enum Step {
    Upsert(u8, i32),
    Set(u8, i32),
    Delete(u8),
    Commit,
    Rollback,
    Warm,
    Cold,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..40_u8, 0..5_i32).prop_map(|(key, altitude)| Step::Upsert(key, altitude)),
        3 => (0..40_u8, 0..5_i32).prop_map(|(key, altitude)| Step::Set(key, altitude)),
        3 => (0..40_u8).prop_map(Step::Delete),
        4 => Just(Step::Commit),
        2 => Just(Step::Rollback),
        1 => Just(Step::Warm),
        1 => Just(Step::Cold),
    ]
}

fn contents(db: &Database, table: &Table) -> BTreeMap<String, i64> {
    let mut rows = BTreeMap::new();
    let mut txn = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
    txn.scan(table, &mut |row| {
        let Value::Str(id) = row.get(0) else { panic!("{row:?}") };
        assert_eq!(rows.insert(id.to_owned(), row.get(3).as_i64().unwrap()), None);
        ControlFlow::Continue(())
    })
    .unwrap();
    rows
}

fn open(place: &Place) -> (Database, Table) {
    let db = place.open();
    db.set_config("synchronous_commit", "off").unwrap();
    let table = db.create_table(&flight_schema()).unwrap();
    (db, table)
}

fn check(steps: &[Step]) {
    let place = Place::new("model");
    let (mut db, mut table) = open(&place);
    let mut committed: BTreeMap<String, i64> = BTreeMap::new();
    let mut pending = committed.clone();
    let mut txn = Some(db.begin(TxnOptions::default()).unwrap());
    for step in steps {
        let running = txn.as_mut().unwrap();
        match step {
            Step::Upsert(key, altitude) => {
                let id = format!("F{key}");
                let done = running.upsert(&table, &flight(&table, &id, *altitude)).unwrap();
                let before = pending.insert(id, i64::from(*altitude));
                assert_eq!(done == Upserted::Inserted, before.is_none());
            }
            Step::Set(key, altitude) => {
                let id = format!("F{key}");
                let values = [(1, Value::F64(f64::from(*altitude) / 100.0)), (3, Value::I32(*altitude))];
                running.set(&table, Value::Str(&id), &values).unwrap();
                pending.insert(id, i64::from(*altitude));
            }
            Step::Delete(key) => {
                let id = format!("F{key}");
                assert_eq!(running.delete(&table, Value::Str(&id)).unwrap(), pending.remove(&id).is_some());
            }
            Step::Commit => {
                txn.take().unwrap().commit().unwrap();
                committed = pending.clone();
            }
            Step::Rollback => {
                txn.take().unwrap().rollback();
                pending = committed.clone();
            }
            Step::Warm | Step::Cold => {
                drop(txn.take());
                pending = committed.clone();
                db.close().unwrap();
                if matches!(step, Step::Cold) {
                    std::fs::remove_file(&place.shm).unwrap();
                }
                (db, table) = open(&place);
                assert_eq!(db.boot().rows, committed.len() as u64);
            }
        }
        if txn.is_none() {
            assert_eq!(contents(&db, &table), committed);
            txn = Some(db.begin(TxnOptions::default()).unwrap());
        }
    }
    drop(txn);
    assert_eq!(contents(&db, &table), committed);
    let report = db.verify().unwrap();
    assert!(report.is_clean(), "{report:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_table_behaves_like_a_map(steps in prop::collection::vec(step(), 1..80)) {
        check(&steps);
    }
}

#[test]
fn threads_that_insert_the_same_keys_while_the_index_grows_agree_on_one_row_each() {
    let place = Place::new("growth");
    let (db, table) = open(&place);
    let inserted: u64 = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3)
            .map(|worker| {
                let (db, table) = (&db, &table);
                scope.spawn(move || {
                    let mut inserted = 0;
                    for number in 0..30_000 {
                        let id = format!("K{}", (number * 7 + worker * 11) % 30_000);
                        let image = flight(table, &id, worker);
                        let done =
                            db.transaction(TxnOptions::default(), |txn| txn.upsert(table, &image)).unwrap();
                        inserted += u64::from(done == Upserted::Inserted);
                    }
                    inserted
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(inserted, 30_000);
    assert_eq!(contents(&db, &table).len(), 30_000);
    let report = db.verify().unwrap();
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn a_forked_child_gets_an_error_and_harms_nothing() {
    let place = Place::new("fork");
    let (db, table) = open(&place);
    db.transaction(TxnOptions::default(), |txn| txn.upsert(&table, &flight(&table, "A", 1))).unwrap();
    let mut parents = db.begin(TxnOptions::default()).unwrap();
    parents.upsert(&table, &flight(&table, "B", 2)).unwrap();
    let mark = parents.savepoint().unwrap();
    assert!(parents.lock_for_update(&table, Value::Str("A")).unwrap().is_some());
    #[expect(clippy::disallowed_methods, reason = "what a forked child meets is what is tested")]
    // SAFETY: the child only tries the handles it has inherited, and leaves by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let key = || Value::Str("A");
        let outcomes = [
            db.begin(TxnOptions::default()).map(|_| ()),
            db.transaction(TxnOptions::default(), |txn| txn.get(&table, key(), |_| ()).map(|_| ())),
            db.batch(&[Operation::Delete { table: &table, key: key() }]).map(|_| ()),
            parents.get(&table, key(), |_| ()).map(|_| ()),
            parents.lock_for_update(&table, key()).map(|_| ()),
            parents.savepoint().map(|_| ()),
            parents.rollback_to(&mark),
            parents.release(mark),
            parents.apply(&[]).map(|_| ()),
            parents.commit().map(|_| ()),
        ];
        let refused = outcomes.iter().take_while(|outcome| {
            let refused = |error: &Error| error.kind() == ErrorKind::Forked && !error.is_retryable();
            outcome.as_ref().is_err_and(refused)
        });
        let not_refused = outcomes.len() - refused.count();
        drop(db);
        // SAFETY: ends the child without running the parent's destructors.
        unsafe { libc::_exit(i32::try_from(not_refused).unwrap()) };
    }
    let mut status = 0;
    // SAFETY: the child was started here.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "the child was not refused");
    // The parent's savepoint and lock are as they were.
    parents.upsert(&table, &flight(&table, "A", 7)).unwrap();
    let mut other = db.begin(TxnOptions::default()).unwrap();
    assert!(other.upsert(&table, &flight(&table, "A", 8)).unwrap_err().is_retryable());
    drop(other);
    parents.rollback_to(&mark).unwrap();
    parents.commit().unwrap();
    assert_eq!(contents(&db, &table).len(), 2);
    let report = db.verify().unwrap();
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn a_child_made_past_fork_gives_nothing_of_its_parents_back() {
    let place = Place::new("clone");
    let (db, table) = open(&place);
    db.transaction(TxnOptions::default(), |txn| txn.upsert(&table, &flight(&table, "A", 1))).unwrap();
    let mut parents = db.begin(TxnOptions::default()).unwrap();
    parents.upsert(&table, &flight(&table, "B", 2)).unwrap();
    // SAFETY: as `fork`, without its handlers; the child drops what it has inherited, and leaves by `_exit`, or is ended by the alarm.
    let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    if child == 0 {
        // SAFETY: concerns this child only.
        unsafe { libc::alarm(20) };
        drop(parents);
        drop((table, db));
        // SAFETY: ends the child without running the parent's destructors.
        unsafe { libc::_exit(0) };
    }
    let (child, mut status) = (i32::try_from(child).unwrap(), 0);
    // SAFETY: the child was started here.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "the child came to no end");
    // The parent's row is its own yet, and so is its slot.
    let mut other = db.begin(TxnOptions::default()).unwrap();
    assert!(other.upsert(&table, &flight(&table, "B", 8)).unwrap_err().is_retryable());
    drop(other);
    parents.commit().unwrap();
    assert_eq!(contents(&db, &table).len(), 2);
    let report = db.verify().unwrap();
    assert!(report.is_clean(), "{report:?}");
}
