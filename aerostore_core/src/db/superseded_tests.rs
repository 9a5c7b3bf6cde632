//! Transactions whose outcome others have decided, because they stood still: what they do afterwards harms nobody.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::verify::check;
use crate::epoch::Registry;
use crate::mvcc::{RecordState, TxnRecord};
use crate::row::{Column, ColumnType, RowImage, Schema, Value};
use crate::shm::{Arena, ArenaOptions, RelPtr};
use crate::sync::{AtomicU64, Ordering, interrupted_at};
use crate::sys::{LockFile, Probe};
use crate::txn::{Change, Session, Store, SystemArea, TableRef, Transaction, TxnError, TxnOptions};

/// An arena that several processes have open, all of them in this one.
struct Scene {
    arena: Arena,
    lock: PathBuf,
}

impl Scene {
    fn new(name: &str) -> Self {
        let lock = PathBuf::from(format!("/dev/shm/aerostore-test-superseded-{name}-{}", std::process::id()));
        let options = ArenaOptions {
            max_bytes: 16 << 20,
            system_bytes: SystemArea::bytes(),
            ..ArenaOptions::default()
        };
        Self { arena: Arena::anonymous(&options).unwrap(), lock }
    }

    /// The store of one more process, which takes others to be idle after `idle_after`.
    fn process(&self, idle_after: Duration) -> Arc<Store> {
        let (start, _) = self.arena.system_area();
        let system = SystemArea::at(start);
        let lock = LockFile::open_or_create(&self.lock).unwrap();
        let probe = Probe::open(&self.lock).unwrap();
        let registry = Registry::attach(self.arena.clone(), system.registry(), lock, probe).unwrap();
        let mut store = Store::new(self.arena.clone(), Arc::new(registry), system, 1 << 16).unwrap();
        store.stall.idle_after_ns = u64::try_from(idle_after.as_nanos()).unwrap();
        Arc::new(store)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.lock);
    }
}

fn session(store: &Arc<Store>) -> Box<Session> {
    Box::new(Session::new(Arc::clone(store)).unwrap())
}

fn begin(session: Box<Session>) -> Transaction {
    Transaction::begin(session, TxnOptions::default())
}

/// The session after the commit, whose log counts as written at once.
fn commit(mut txn: Transaction) -> Box<Session> {
    txn.commit(false).unwrap();
    let session = txn.into_session().unwrap();
    session.store().log().start_at(session.store().clock().now());
    session
}

fn table(session: &mut Session) -> TableRef {
    let schema = Schema::builder("Cell")
        .column(Column::new("name", ColumnType::I64))
        .column(Column::new("value", ColumnType::I64))
        .key("name")
        .build()
        .unwrap();
    session.load_table(1, &schema).unwrap()
}

fn put(txn: &mut Transaction, table: &TableRef, key: i64, value: i64) -> Result<(), TxnError> {
    let mut image = RowImage::new(table.schema());
    image.set(table.schema(), 0, Value::I64(key)).unwrap();
    image.set(table.schema(), 1, Value::I64(value)).unwrap();
    image.finish(table.schema()).unwrap();
    txn.upsert(table, &image).map(|_| ())
}

fn value(txn: &mut Transaction, table: &TableRef, key: i64) -> Option<i64> {
    txn.get(table, Value::I64(key), |row| row.get(1).as_i64().unwrap()).unwrap()
}

#[test]
fn savepoints_of_an_aborted_transaction_are_not_merged_over_memory_that_is_used_again() {
    let scene = Scene::new("merge");
    let store = scene.process(Duration::from_millis(1));
    let mut other = session(&store);
    let table = table(&mut other);
    let mut txn = begin(other);
    put(&mut txn, &table, 1, 1).unwrap();
    put(&mut txn, &table, 2, 1).unwrap();
    other = commit(txn);

    let mut slow = begin(session(&store));
    let outer = slow.savepoint().unwrap();
    put(&mut slow, &table, 1, 10).unwrap();
    let _inner = slow.savepoint().unwrap();
    put(&mut slow, &table, 1, 11).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    let mut txn = begin(other);
    put(&mut txn, &table, 1, 20).unwrap();
    other = commit(txn);
    for _ in 0..200 {
        // What is rolled back is retired, which makes a new epoch now and then.
        let mut txn = begin(other);
        put(&mut txn, &table, 2, 2).unwrap();
        other = txn.into_session().unwrap();
    }
    assert_eq!(value(&mut slow, &table, 2), Some(1));
    other.tidy_now().unwrap();
    // The memory of the two versions comes back.
    for key in 0..3000 {
        put(&mut slow, &table, 100 + key, 0).unwrap();
    }
    let released = slow.release(outer);
    assert!(matches!(released, Err(TxnError::ForcedAbort)), "{released:?}");
    let mut last = slow.into_session().unwrap();
    last.tidy_now().unwrap();
    other.tidy_now().unwrap();
    let mut txn = begin(other);
    assert_eq!(value(&mut txn, &table, 1), Some(20));
    assert_eq!(value(&mut txn, &table, 100), None);
    other = txn.into_session().unwrap();
    let report = check(&mut other).unwrap();
    assert!(report.is_clean(), "{report:#?}");
}

#[test]
fn who_queues_for_a_row_does_not_wait_for_a_stopped_process() {
    let scene = Scene::new("queue");
    let owner = scene.process(Duration::from_mins(1));
    let mut stopped = session(&owner);
    let table = table(&mut stopped);
    let mut txn = begin(stopped);
    put(&mut txn, &table, 1, 1).unwrap();
    let mut txn = begin(commit(txn));
    assert_eq!(txn.lock_for_update(&table, Value::I64(1), |_| ()).unwrap(), Some(()));
    // Its last sign of life was long ago.
    owner.registry().beat(1).unwrap();
    let waiter = scene.process(Duration::from_mins(1));
    waiter.set_lock_timeout_ns(5_000_000_000);
    let mut next = begin(session(&waiter));
    let locked = next.lock_for_update(&table, Value::I64(1), |_| ());
    assert_eq!(locked.unwrap(), Some(()));
    assert!(matches!(txn.commit(false), Err(TxnError::ForcedAbort)));
}

#[test]
fn a_link_that_failed_leaves_nothing_to_be_settled_late() {
    let scene = Scene::new("tail");
    let store = scene.process(Duration::from_millis(1));
    let mut other = session(&store);
    let table = table(&mut other);
    let mut txn = begin(other);
    for key in 1..=3 {
        put(&mut txn, &table, key, 1).unwrap();
    }
    other = commit(txn);

    let mut first = begin(session(&store));
    put(&mut first, &table, 1, 10).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    // Takes the row from the first, whose version is still there.
    let mut slow = begin(session(&store));
    let mut others = Some((first, other));
    let outcome = slow.modify(&table, Value::I64(1), |row, image| {
        let (first, other) = others.take().unwrap();
        // The version is taken out, and stays in this session's limbo.
        let first = first.into_session();
        std::thread::sleep(Duration::from_millis(20));
        let mut txn = begin(other);
        put(&mut txn, &table, 1, 20).unwrap();
        let other = commit(txn);
        others = Some((begin(first.unwrap()), other));
        image.copy_from(row.unwrap());
        image.set(table.schema(), 1, Value::I64(11))?;
        Ok(Change::Put)
    });
    assert!(matches!(outcome, Err(TxnError::ForcedAbort)), "{outcome:?}");
    let (first, mut other) = others.unwrap();
    // What lay below is pruned, and an epoch later used again.
    other.tidy_now().unwrap();
    for _ in 0..200 {
        let mut txn = begin(other);
        put(&mut txn, &table, 2, 2).unwrap();
        other = txn.into_session().unwrap();
    }
    assert_eq!(value(&mut slow, &table, 2), Some(1));
    other.tidy_now().unwrap();
    for round in 0..1000 {
        let mut txn = begin(other);
        put(&mut txn, &table, 100 + round, round).unwrap();
        other = commit(txn);
    }
    drop(slow);
    drop(first);
    let mut txn = begin(other);
    for round in 0..1000 {
        assert_eq!(value(&mut txn, &table, 100 + round), Some(round));
    }
    other = txn.into_session().unwrap();
    let report = check(&mut other).unwrap();
    assert!(report.is_clean(), "{report:#?}");
}

/// Moves amounts between rows, some of it in parts that are rolled back, with sleeps in between.
fn transfer(txn: &mut Transaction, table: &TableRef, dice: &mut u64) -> Result<(), TxnError> {
    let mut roll = |sides: u64| {
        *dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*dice >> 33) % sides
    };
    let mut marks = Vec::new();
    for _ in 0..=roll(8) {
        match roll(12) {
            0 | 1 => marks.push(txn.savepoint()?),
            2 | 3 if !marks.is_empty() => {
                let place = usize::try_from(roll(marks.len() as u64)).unwrap();
                marks.truncate(place + 1);
                txn.rollback_to(&marks[place])?;
            }
            4 if !marks.is_empty() => {
                let place = usize::try_from(roll(marks.len() as u64)).unwrap();
                let mark = marks.swap_remove(place);
                marks.truncate(place);
                txn.release(mark)?;
            }
            5 => {
                let key = Value::I64(i64::try_from(roll(6)).unwrap());
                txn.lock_for_update(table, key, |_| ())?;
            }
            6 if roll(4) == 0 => std::thread::sleep(Duration::from_millis(3)),
            _ => {
                let (from, to) = (i64::try_from(roll(6)).unwrap(), i64::try_from(roll(6)).unwrap());
                if from == to {
                    continue;
                }
                let mark = txn.savepoint()?;
                let left = value(txn, table, from).unwrap_or(0);
                let right = if roll(2) == 0 {
                    value(txn, table, to)
                } else {
                    txn.lock_for_update(table, Value::I64(to), |row| row.get(1).as_i64().unwrap())?
                };
                let right = right.unwrap_or(0);
                let moved = if roll(2) == 0 { left } else { 1 };
                if moved == left && roll(2) == 0 {
                    txn.delete(table, Value::I64(from))?;
                } else {
                    put(txn, table, from, left - moved)?;
                }
                let failed = roll(5) == 0;
                if !failed {
                    put(txn, table, to, right + moved)?;
                }
                if failed || roll(5) == 0 {
                    txn.rollback_to(&mark)?;
                }
                if roll(2) == 0 {
                    txn.release(mark)?;
                }
            }
        }
    }
    Ok(())
}

#[test]
fn transfers_with_savepoints_and_locks_add_up_though_many_are_aborted() {
    let rounds = std::env::var("AEROSTORE_SAVEPOINT_ROUNDS").ok().and_then(|text| text.parse().ok());
    let rounds: u64 = rounds.unwrap_or(250);
    let scene = Scene::new("transfers");
    let stores: Vec<_> = (0..2).map(|_| scene.process(Duration::from_millis(1))).collect();
    let mut first = session(&stores[0]);
    let table = table(&mut first);
    let mut txn = begin(first);
    for key in 0..6 {
        put(&mut txn, &table, key, 100).unwrap();
    }
    let mut first = commit(txn);
    let commits = AtomicU64::new(0);
    let sessions: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4_u64)
            .map(|n| {
                let (table, commits) = (&table, &commits);
                let mut own = session(&stores[usize::try_from(n % 2).unwrap()]);
                own.store().set_lock_timeout_ns(20_000_000);
                scope.spawn(move || {
                    let mut dice = n;
                    for _ in 0..rounds {
                        let mut txn = begin(own);
                        match transfer(&mut txn, table, &mut dice).and_then(|()| txn.commit(false)) {
                            Ok(_) => commits.fetch_add(1, Ordering::Relaxed),
                            Err(error) if error.is_retryable() => 0,
                            Err(error) => panic!("{error:?}"),
                        };
                        own = txn.into_session().unwrap();
                        own.store().log().start_at(own.store().clock().now());
                        let reads = TxnOptions { read_only: true, ..TxnOptions::default() };
                        let mut reader = Transaction::begin(own, reads);
                        let mut sum = 0;
                        reader
                            .scan(table, None, &mut |rows| {
                                sum += rows.iter().map(|row| row.get(1).as_i64().unwrap()).sum::<i64>();
                                std::ops::ControlFlow::Continue(())
                            })
                            .unwrap();
                        assert_eq!(sum, 600);
                        own = reader.into_session().unwrap();
                    }
                    own.tidy_now().unwrap();
                    own
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(commits.load(Ordering::Relaxed) > rounds, "hardly anything was committed");
    for mut session in sessions {
        session.tidy_now().unwrap();
        session.close().unwrap();
    }
    let report = check(&mut first).unwrap();
    assert!(report.is_clean(), "{report:#?}");
}

/// A1: one that is aborted while it looks for what is committed below a version that never took effect is not shown what the next
/// owner commits right then.
#[test]
fn a_doomed_write_is_not_shown_what_a_later_owner_has_committed() {
    let mut point = 0;
    loop {
        point += 1;
        let scene = Scene::new(&format!("doomed-{point}"));
        let store = scene.process(Duration::from_mins(1));
        let mut other = session(&store);
        let table = table(&mut other);
        // Its key holder: a version that never took effect, with nothing below.
        let mut txn = begin(other);
        put(&mut txn, &table, 1, 5).unwrap();
        other = txn.into_session().unwrap();
        let mut doomed = begin(session(&store));
        put(&mut doomed, &table, 2, 1).unwrap();
        let record = doomed.record_offset();
        let overtake = {
            let (table, store) = (table.clone(), Arc::clone(&store));
            move || {
                let record: &TxnRecord = store.arena().resolve(RelPtr::new(record)).unwrap();
                assert_eq!(record.abort(), RecordState::Aborted);
                let mut txn = begin(other);
                put(&mut txn, &table, 1, 20).unwrap();
                commit(txn);
            }
        };
        let mut seen = None;
        let (was_overtaken, _) = interrupted_at(point, overtake, || {
            doomed.modify(&table, Value::I64(1), |row, _| {
                seen = row.map(|row| row.get(1).as_i64().unwrap());
                Ok(Change::Keep)
            })
        });
        assert_eq!(seen, None, "access {point}");
        if !was_overtaken {
            assert!(point > 20, "{point} accesses");
            return;
        }
        assert_eq!(value(&mut begin(doomed.into_session().unwrap()), &table, 1), Some(20), "access {point}");
    }
}
