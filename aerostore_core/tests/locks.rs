//! Locked rows: waiting, deadlocks, time-outs, retries, and what is refused.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use aerostore_core::db::{
    Applied, Change, Database, Error, ErrorKind, Isolation, Operation, RetryPolicy, Table, Transaction,
    TxnOptions, Upserted,
};
use aerostore_core::row::Value;
use aerostore_core::txn::TxnError;
use common::{Place, flight, flight_schema};
use std::sync::{Arc, Barrier, mpsc};
use std::time::Duration;

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
    db.transaction(TxnOptions::default(), |txn| {
        (0..8).try_for_each(|id| txn.insert(&table, &flight(&table, &id.to_string(), 0)))
    })
    .unwrap();
    World { db, table, _place: place }
}

fn altitude(txn: &mut Transaction, table: &Table, id: &str) -> i32 {
    txn.get(table, Value::Str(id), |row| i32::try_from(row.get(3).as_i64().unwrap()).unwrap())
        .unwrap()
        .unwrap()
}

impl World {
    fn begin(&self) -> Transaction {
        self.db.begin(TxnOptions::default()).unwrap()
    }

    fn set(&self, id: &str, altitude: i32) {
        self.db
            .transaction(TxnOptions::default(), |txn| {
                txn.set(&self.table, Value::Str(id), &[(3, Value::I32(altitude))])
            })
            .unwrap();
    }

    fn now(&self, id: &str) -> i32 {
        altitude(&mut self.begin(), &self.table, id)
    }

    fn finish(&self) {
        let report = self.db.verify().unwrap();
        assert!(report.is_clean(), "{report:#?}");
    }
}

#[test]
fn a_locked_row_is_as_it_is_now_and_nobody_elses() {
    let world = world("lock-now");
    let mut txn = world.begin();
    world.set("1", 7);
    assert_eq!(altitude(&mut txn, &world.table, "2"), 0);
    let mut row = txn.lock_for_update(&world.table, Value::Str("1")).unwrap().unwrap();
    assert_eq!(
        row.read(|row| row.get(3).as_i64()).unwrap().flatten(),
        Some(7),
        "the snapshot was not extended"
    );
    assert_eq!(row.key(), Value::Str("1"));
    let mut other = world.begin();
    let taken = other.set(&world.table, Value::Str("1"), &[(3, Value::I32(8))]);
    assert!(taken.unwrap_err().is_retryable());
    drop(other);
    row.set(&[(3, Value::I32(9))]).unwrap();
    let schema = Arc::clone(world.table.schema());
    row.modify(|row, image| {
        image.copy_from(row.unwrap());
        image.set(&schema, 4, Value::I32(1))?;
        Ok(Change::Put)
    })
    .unwrap();
    txn.commit().unwrap();
    assert_eq!(world.now("1"), 9);
    let mut txn = world.begin();
    let mut row = txn.lock_for_update(&world.table, Value::Str("1")).unwrap().unwrap();
    assert!(row.delete().unwrap());
    assert_eq!(row.read(|_| ()).unwrap(), None);
    assert!(txn.lock_for_update(&world.table, Value::Str("nobody")).unwrap().is_none());
    txn.rollback();
    assert_eq!(world.now("1"), 9);
    world.finish();
}

#[test]
fn a_rollback_to_a_savepoint_lets_go_of_the_lock_but_not_of_what_was_seen() {
    let world = world("lock-savepoint");
    let mut txn = world.begin();
    let mark = txn.savepoint().unwrap();
    assert!(txn.lock_for_update(&world.table, Value::Str("1")).unwrap().is_some());
    txn.rollback_to(&mark).unwrap();
    world.set("1", 5);
    txn.set(&world.table, Value::Str("2"), &[(3, Value::I32(1))]).unwrap();
    assert!(txn.commit().unwrap_err().is_retryable(), "what was seen under the lock has changed");
    world.finish();
}

/// Two transactions lock two rows in opposite orders: the younger one gives up, the other one goes on.
#[test]
fn of_two_that_wait_for_each_other_the_younger_gives_up() {
    let world = world("lock-deadlock");
    world.db.set_config("lock_timeout", "20000").unwrap();
    let mut old = world.begin();
    world.set("7", 1);
    let mut young = world.begin();
    assert!(old.lock_for_update(&world.table, Value::Str("1")).unwrap().is_some());
    // Ages are told apart to a few milliseconds.
    std::thread::sleep(Duration::from_millis(20));
    assert!(young.lock_for_update(&world.table, Value::Str("2")).unwrap().is_some());
    std::thread::scope(|scope| {
        let (table, db) = (&world.table, &world.db);
        let older = scope.spawn(move || {
            let locked = old.lock_for_update(table, Value::Str("2")).map(|row| row.is_some());
            (locked.unwrap(), old.commit().is_ok())
        });
        let error = young.lock_for_update(table, Value::Str("1")).map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::Txn(TxnError::Deadlock { .. })), "{error}");
        assert!(error.is_retryable() && error.kind() == ErrorKind::Serialization);
        drop(young);
        assert_eq!(older.join().unwrap(), (true, true));
        let _ = db;
    });
    world.finish();
}

/// The younger one is who began later, not who has come to wait later.
#[test]
fn of_two_that_wait_for_each_other_the_younger_gives_up_though_it_waited_first() {
    let world = world("lock-waited-first");
    world.db.set_config("lock_timeout", "20000").unwrap();
    let mut old = world.begin();
    assert!(old.lock_for_update(&world.table, Value::Str("1")).unwrap().is_some());
    std::thread::sleep(Duration::from_millis(50));
    let mut young = world.begin();
    assert!(young.lock_for_update(&world.table, Value::Str("2")).unwrap().is_some());
    std::thread::scope(|scope| {
        let table = &world.table;
        let younger = scope.spawn(move || young.lock_for_update(table, Value::Str("1")).map(|_| ()));
        std::thread::sleep(Duration::from_millis(50));
        world.set("7", 1);
        assert!(old.lock_for_update(&world.table, Value::Str("2")).unwrap().is_some());
        let error = younger.join().unwrap().unwrap_err();
        assert!(matches!(error, Error::Txn(TxnError::Deadlock { .. })), "{error}");
    });
    old.commit().unwrap();
    world.finish();
}

#[test]
fn a_ring_of_deadlocks_ends_with_one_victim_each() {
    const RING: usize = 4;
    let world = world("lock-ring");
    world.db.set_config("lock_timeout", "20000").unwrap();
    for _ in 0..20 {
        let barrier = Barrier::new(RING);
        let victims: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..RING)
                .map(|place| {
                    let (world, barrier) = (&world, &barrier);
                    scope.spawn(move || {
                        let mut txn = world.begin();
                        let (mine, next) = (place.to_string(), ((place + 1) % RING).to_string());
                        assert!(txn.lock_for_update(&world.table, Value::Str(&mine)).unwrap().is_some());
                        barrier.wait();
                        match txn.lock_for_update(&world.table, Value::Str(&next)).map(|_| ()) {
                            Ok(()) => {
                                txn.commit().unwrap();
                                0
                            }
                            Err(Error::Txn(TxnError::Deadlock { .. })) => 1,
                            Err(error) => panic!("{error}"),
                        }
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(victims, 1);
    }
    world.finish();
}

#[test]
fn a_wait_ends_at_the_time_out() {
    let world = world("lock-timeout");
    world.db.set_config("lock_timeout", "50").unwrap();
    let mut holder = world.begin();
    assert!(holder.lock_for_update(&world.table, Value::Str("1")).unwrap().is_some());
    let mut waiter = world.begin();
    let error = waiter.lock_for_update(&world.table, Value::Str("1")).map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Txn(TxnError::LockTimeout { .. })), "{error}");
    assert!(error.is_retryable() && error.kind() == ErrorKind::Busy);
    // The row is handed to nobody who has given up.
    holder.commit().unwrap();
    waiter.commit().unwrap();
    world.set("1", 1);
    world.finish();
}

/// Sixteen threads lock, read, write and commit the same row: nothing is lost, and nobody waits for ever.
#[test]
fn sixteen_threads_take_turns_at_one_row() {
    const THREADS: i32 = 16;
    const EACH: i32 = 200;
    let world = world("lock-turns");
    world.db.set_config("lock_timeout", "60000").unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let world = &world;
            scope.spawn(move || {
                for _ in 0..EACH {
                    let mut txn = world.begin();
                    let mut row = txn.lock_for_update(&world.table, Value::Str("1")).unwrap().unwrap();
                    let now = row.read(|row| row.get(3).as_i64().unwrap()).unwrap().unwrap();
                    row.set(&[(3, Value::I32(i32::try_from(now).unwrap() + 1))]).unwrap();
                    if thread % 4 == 0 {
                        std::thread::yield_now();
                    }
                    txn.commit().unwrap();
                }
            });
        }
    });
    assert_eq!(world.now("1"), THREADS * EACH);
    world.finish();
}

#[test]
fn the_closure_api_loses_no_update_of_a_hot_row() {
    let world = world("lock-closure");
    for isolation in [Isolation::Serializable, Isolation::Snapshot] {
        world.set("1", 0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                let world = &world;
                scope.spawn(move || {
                    for _ in 0..100 {
                        let options = TxnOptions { isolation, ..TxnOptions::default() };
                        let policy = RetryPolicy { tries: 100_000, ..RetryPolicy::default() };
                        // Read, then write: without the lock before the read this would never end.
                        let done = world.db.transaction_with(policy, options, |txn| {
                            let now = txn.get(&world.table, Value::Str("1"), |row| row.get(3).as_i64())?;
                            let now = i32::try_from(now.flatten().unwrap()).unwrap();
                            txn.set(&world.table, Value::Str("1"), &[(3, Value::I32(now + 1))])
                        });
                        done.unwrap();
                    }
                });
            }
        });
        assert_eq!(world.now("1"), 800);
    }
    world.finish();
}

#[test]
fn exhausted_retries_name_the_last_conflict() {
    let world = world("lock-retries");
    let mut holder = world.begin();
    holder.set(&world.table, Value::Str("1"), &[(3, Value::I32(1))]).unwrap();
    for (policy, reason) in [
        (RetryPolicy { tries: 2, ..RetryPolicy::optimistic() }, "is changing the row"),
        (RetryPolicy { tries: 3, ..RetryPolicy::at_once() }, "is changing the row"),
        (RetryPolicy { tries: 1, escalate_after: Some(0), ..RetryPolicy::default() }, "for too long"),
    ] {
        world.db.set_config("lock_timeout", "20").unwrap();
        let mut runs = 0;
        let error = world
            .db
            .transaction_with(policy, TxnOptions::default(), |txn| {
                runs += 1;
                txn.set(&world.table, Value::Str("1"), &[(3, Value::I32(2))])
            })
            .unwrap_err();
        assert_eq!(runs, policy.tries + 1);
        assert!(error.to_string().contains(reason), "{error}");
        assert!(error.is_retryable());
        let Error::RetriesExhausted { tries, last } = error else { panic!("{error}") };
        assert_eq!(tries, runs);
        assert!(last.is_retryable());
    }
    holder.commit().unwrap();
    let error = world.db.transaction(TxnOptions::default(), |_| Err::<(), _>(Error::Closed)).unwrap_err();
    assert!(matches!(error, Error::Closed), "what is no conflict is not run again");
    world.finish();
}

#[test]
fn a_batch_is_all_or_nothing() {
    let world = world("lock-batch");
    let table = &world.table;
    let (new, old) = (flight(table, "new", 1), flight(table, "1", 1));
    let operations = [
        Operation::Insert { table, image: &new },
        Operation::Upsert { table, image: &old },
        Operation::Set { table, key: Value::Str("2"), values: &[(3, Value::I32(22))] },
        Operation::Delete { table, key: Value::Str("3") },
        Operation::Delete { table, key: Value::Str("nobody") },
    ];
    let applied = world.db.batch(&operations).unwrap();
    let put = [Upserted::Inserted, Upserted::Updated, Upserted::Updated].map(Applied::Put);
    assert_eq!(applied, [&put[..], &[Applied::Deleted, Applied::Missing]].concat());
    assert_eq!((world.now("new"), world.now("1"), world.now("2")), (1, 1, 22));
    // The second time the first insert fails; put last, it takes the others with it.
    let mut txn = world.begin();
    txn.set(table, Value::Str("4"), &[(3, Value::I32(4))]).unwrap();
    let failing = [
        Operation::Set { table, key: Value::Str("4"), values: &[(3, Value::I32(44))] },
        Operation::Delete { table, key: Value::Str("2") },
        Operation::Insert { table, image: &new },
    ];
    let error = txn.apply(&failing).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Duplicate);
    assert_eq!(altitude(&mut txn, table, "2"), 22);
    txn.commit().unwrap();
    assert_eq!(world.now("4"), 4);
    let error = world.db.batch(&failing).unwrap_err();
    assert!(error.kind() == ErrorKind::Duplicate && !error.is_retryable(), "{error}");
    assert_eq!((world.now("4"), world.now("2")), (4, 22));
    world.finish();
}

#[test]
fn a_run_that_has_met_conflicts_enough_locks_all_that_it_reads() {
    let world = world("lock-escalation");
    for (escalate_after, locks) in [(Some(1), true), (None, false)] {
        let policy = RetryPolicy { escalate_after, ..RetryPolicy::default() };
        let mut runs = 0;
        let done = world.db.transaction_with(policy, TxnOptions::default(), |txn| {
            runs += 1;
            let first = altitude(txn, &world.table, "1");
            // Of this row it knows nothing yet, so that only the number of conflicts can be a reason to lock it.
            let second = altitude(txn, &world.table, "2");
            let taken = world.begin().set(&world.table, Value::Str("2"), &[(3, Value::I32(7))]);
            assert_eq!(taken.is_err(), runs == 2 && locks, "run {runs}");
            if runs == 1 {
                world.set("1", first + 1);
            }
            txn.set(&world.table, Value::Str("3"), &[(3, Value::I32(first + second))])
        });
        done.unwrap();
        assert_eq!((runs, world.now("3")), (2, world.now("1")));
    }
    world.finish();
}

#[test]
fn an_idle_transaction_is_rolled_back_at_its_next_use() {
    let world = world("lock-idle");
    world.db.set_config("idle_in_transaction_timeout", "30").unwrap();
    let mut txn = world.begin();
    txn.set(&world.table, Value::Str("1"), &[(3, Value::I32(1))]).unwrap();
    std::thread::sleep(Duration::from_millis(60));
    let error = txn.exists(&world.table, Value::Str("1")).unwrap_err();
    assert!(matches!(error, Error::IdleTimeout { .. }), "{error}");
    assert!(!error.is_retryable() && error.kind() == ErrorKind::Closed);
    let error = txn.exists(&world.table, Value::Str("1")).unwrap_err();
    assert!(matches!(error, Error::Txn(TxnError::Ended)), "{error}");
    assert!(txn.commit().is_err());
    assert_eq!(world.now("1"), 0);
    world.finish();
}

#[test]
fn locks_and_savepoints_outside_a_running_transaction_are_refused() {
    let world = world("lock-ended");
    let mut txn = world.db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
    let error = txn.lock_for_update(&world.table, Value::Str("1")).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnly);
    drop(txn);
    let mut txn = world.begin();
    let mark = txn.savepoint().unwrap();
    let World { db, table, _place } = world;
    db.close().unwrap();
    let refused = [
        txn.lock_for_update(&table, Value::Str("1")).map(|_| ()).unwrap_err(),
        txn.savepoint().map(|_| ()).unwrap_err(),
        txn.rollback_to(&mark).unwrap_err(),
        txn.release(mark).unwrap_err(),
        txn.apply(&[]).map(|_| ()).unwrap_err(),
    ];
    for error in refused {
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        assert!(!error.is_retryable());
    }
}

/// A transaction moves between threads, and keeps its locks; it cannot be used by two at once, which the types see to.
#[test]
fn a_transaction_that_moves_to_another_thread_keeps_its_locks() {
    let world = world("lock-threads");
    let mut txn = world.begin();
    assert!(txn.lock_for_update(&world.table, Value::Str("1")).unwrap().is_some());
    let (sender, receiver) = mpsc::channel::<Transaction>();
    sender.send(txn).unwrap();
    std::thread::scope(|scope| {
        let table = &world.table;
        scope.spawn(move || {
            let mut txn = receiver.recv().unwrap();
            txn.set(table, Value::Str("1"), &[(3, Value::I32(3))]).unwrap();
            txn.commit().unwrap();
        });
    });
    assert_eq!(world.now("1"), 3);
    world.finish();
}
