//! Transactions whose outcome others have decided, because they stood still: what they do afterwards harms nobody.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::verify::check;
use crate::epoch::Registry;
use crate::row::{Column, ColumnType, RowImage, Schema, Value};
use crate::shm::{Arena, ArenaOptions};
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
    session.link_table(1, &schema).unwrap()
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
