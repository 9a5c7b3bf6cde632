//! Who waits for a row gets it: whatever the one before it in the queue does, and without holding anything back meanwhile.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::db::crash_tests::{Cells, cells, open_cells};
use crate::db::{Database, Isolation, Table};
use crate::row::Value;
use crate::txn::{Session, Transaction, TxnError, TxnOptions};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

struct Scene {
    dir: PathBuf,
    shm: PathBuf,
    db: Option<Database>,
    table: Table,
}

impl Scene {
    fn new(name: &str) -> Self {
        let Cells { dir, shm, db, table } = open_cells(&format!("turn-{name}"), 1 << 20);
        db.set_config("lock_timeout", "20000").unwrap();
        let scene = Self { dir, shm, db: Some(db), table };
        let mut txn = scene.begin(TxnOptions::default());
        for name in ["A", "B"] {
            set(&mut txn, &scene.table, name, 0);
        }
        txn.commit(false).unwrap();
        txn.into_session().unwrap().close().unwrap();
        scene
    }

    fn db(&self) -> &Database {
        self.db.as_ref().unwrap()
    }

    fn begin(&self, options: TxnOptions) -> Transaction {
        let session = Session::new(Arc::clone(&self.db().0.store)).unwrap();
        Transaction::begin(Box::new(session), options)
    }

    /// A thread that queues for row A, and says what it has found in A and in B.
    fn waiter<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        isolation: Isolation,
    ) -> (Receiver<u64>, ScopedJoinHandle<'s, [i64; 2]>) {
        let (sender, receiver) = channel();
        let handle = scope.spawn(move || {
            let mut txn = self.begin(TxnOptions { isolation, ..TxnOptions::default() });
            set(&mut txn, &self.table, "C", 1);
            sender.send(txn.record_offset()).unwrap();
            let value = |row: crate::row::RowView<'_>| row.get(1).as_i64().unwrap();
            let a = txn.lock_for_update(&self.table.0, Value::Str("A"), value).unwrap().unwrap();
            let b = txn.get(&self.table.0, Value::Str("B"), value).unwrap().unwrap();
            txn.rollback();
            [a, b]
        });
        (receiver, handle)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(db) = self.db.take() {
            let _ = db.close();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
        let _ = std::fs::remove_file(&self.shm);
    }
}

fn set(txn: &mut Transaction, table: &Table, name: &str, value: i64) {
    txn.set(&table.0, Value::Str(name), &[(1, Value::I64(value))]).unwrap();
}

fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !is_true() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// The oldest waiter is stopped: whoever comes back for the row again and again hands it over to the next one.
#[test]
fn a_waiter_that_never_answers_holds_nobody_up() {
    let scene = Scene::new("stopped");
    let mut holder = scene.begin(TxnOptions::default());
    set(&mut holder, &scene.table, "A", 1);
    let mut stopped = scene.begin(TxnOptions::default());
    set(&mut stopped, &scene.table, "B", 1);
    stopped.wait_in_vain(&holder);
    // Until it counts as silent.
    std::thread::sleep(Duration::from_millis(80));
    std::thread::scope(|scope| {
        let (_started, waiter) = scene.waiter(scope, Isolation::Snapshot);
        until("nobody has queued", || holder.has_waiters());
        let mut value = 1;
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            assert!(Instant::now() < deadline, "the next one has never had the row");
            for _ in 0..100 {
                holder.commit(false).unwrap();
                value += 1;
                holder = Transaction::begin(holder.into_session().unwrap(), TxnOptions::default());
                set(&mut holder, &scene.table, "A", value);
            }
            if waiter.is_finished() {
                break;
            }
        }
        holder.rollback();
        let [a, b] = waiter.join().unwrap();
        assert!((1..=value).contains(&a) && b == 0);
    });
    stopped.rollback();
}

/// It was marked as granted, and somebody else was quicker: it is in the queue again, where it is found.
#[test]
fn a_waiter_that_is_granted_a_row_too_late_waits_on() {
    let scene = Scene::new("too-late");
    let mut holder = scene.begin(TxnOptions::default());
    set(&mut holder, &scene.table, "A", 7);
    std::thread::scope(|scope| {
        let (started, waiter) = scene.waiter(scope, Isolation::Serializable);
        let record = started.recv().unwrap();
        until("it has not queued", || holder.is_waiting(record));
        assert!(holder.grant_in_vain(record));
        until("it does not wait any more", || holder.is_waiting(record));
        holder.commit(false).unwrap();
        assert_eq!(waiter.join().unwrap(), [7, 0]);
    });
}

/// It gave up just when the row was granted to it, and left the row alone then because that was kept: the late second step must
/// not make its record the owner, which the session's next transaction uses again.
#[test]
fn a_row_that_was_granted_to_one_that_gave_up_does_not_become_its_own() {
    let scene = Scene::new("half");
    scene.db().set_config("lock_timeout", "300").unwrap();
    // Where this thread is not scheduled for long the row is not kept all the time, and is taken.
    until("it has always taken the row", || gives_up_when_granted(&scene));
}

fn gives_up_when_granted(scene: &Scene) -> bool {
    let mut holder = scene.begin(TxnOptions::default());
    set(&mut holder, &scene.table, "A", 7);
    let gave_up = std::thread::scope(|scope| {
        let (sender, receiver) = channel();
        let waiter = scope.spawn(move || {
            let mut txn = scene.begin(TxnOptions::default());
            set(&mut txn, &scene.table, "C", 1);
            sender.send(txn.record_offset()).unwrap();
            let outcome = txn.lock_for_update(&scene.table.0, Value::Str("A"), |_| ());
            txn.rollback();
            outcome
        });
        let record = receiver.recv().unwrap();
        until("it has not queued", || holder.is_waiting(record));
        // It has slept, and was not called: it leaves kept rows alone.
        std::thread::sleep(Duration::from_millis(50));
        let row = holder.hand_over_by_half(record);
        until("it does not give up", || {
            holder.keep(row);
            waiter.is_finished()
        });
        let gave_up = match waiter.join().unwrap() {
            Err(TxnError::LockTimeout { .. }) => true,
            outcome => {
                outcome.unwrap();
                false
            }
        };
        assert_ne!(holder.hand_over_the_rest(row, record), record);
        gave_up
    });
    holder.rollback();
    gave_up
}

/// A snapshot at which nothing has been read is given back while its transaction queues, and another is taken afterwards.
#[test]
fn a_waiter_that_has_read_nothing_holds_no_version_back() {
    let scene = Scene::new("snapshot");
    let mut holder = scene.begin(TxnOptions::default());
    set(&mut holder, &scene.table, "A", 7);
    std::thread::scope(|scope| {
        let (started, waiter) = scene.waiter(scope, Isolation::Snapshot);
        let record = started.recv().unwrap();
        until("it has not queued", || holder.is_waiting(record));
        let mut writer = scene.begin(TxnOptions::default());
        set(&mut writer, &scene.table, "B", 5);
        let commit_ts = writer.commit(false).unwrap();
        let store = &scene.db().0.store;
        until("versions are held back", || {
            store.registry().horizon(store.clock().word()).unwrap() >= commit_ts
        });
        holder.commit(false).unwrap();
        assert_eq!(waiter.join().unwrap(), [7, 5]);
    });
}

/// A hot row of one table does not make those of other tables hot that have the same key.
#[test]
fn a_row_of_another_table_with_the_key_of_a_hot_row_is_read_without_a_lock() {
    let scene = Scene::new("same-key");
    let schema = cells("Other");
    let other = scene.db().create_table(&schema).unwrap();
    let mut holder = scene.begin(TxnOptions::default());
    set(&mut holder, &other, "A", 1);
    holder.commit(false).unwrap();
    holder = Transaction::begin(holder.into_session().unwrap(), TxnOptions::default());
    set(&mut holder, &scene.table, "A", 1);
    let mut seniority = None;
    let mut txn = scene.begin(TxnOptions::default());
    txn.repeat(&mut seniority, false);
    let met = txn.set(&scene.table.0, Value::Str("A"), &[(1, Value::I64(2))]);
    assert!(met.is_err(), "the row is taken");
    holder.rollback();
    txn = Transaction::begin(txn.into_session().unwrap(), TxnOptions::default());
    txn.repeat(&mut seniority, false);
    assert!(txn.get(&scene.table.0, Value::Str("A"), |_| ()).unwrap().is_some());
    assert!(txn.has_writes(), "it is not hot");
    txn = Transaction::begin(txn.into_session().unwrap(), TxnOptions::default());
    txn.repeat(&mut seniority, false);
    assert!(txn.get(&other.0, Value::Str("A"), |_| ()).unwrap().is_some());
    assert!(!txn.has_writes(), "a row that nobody else wants was locked");
    txn.rollback();
}

/// Politeness is for those that queue: who waits for nobody learns at once that the row is taken.
#[test]
fn who_waits_for_nobody_does_not_wait_for_the_end_of_a_turn() {
    let scene = Scene::new("impolite");
    for _ in 0..20 {
        let mut holder = scene.begin(TxnOptions::default());
        set(&mut holder, &scene.table, "A", 1);
        let mut waiter = scene.begin(TxnOptions::default());
        set(&mut waiter, &scene.table, "B", 1);
        holder.owe_row_to(&waiter);
        holder.commit(false).unwrap();
        let mut again = Transaction::begin(holder.into_session().unwrap(), TxnOptions::default());
        again.wait_for_nobody();
        let met = again.set(&scene.table.0, Value::Str("A"), &[(1, Value::I64(2))]);
        assert!(met.is_err(), "the waiter has the row");
        assert!(!waiter.has_waiters(), "it has queued");
        again.rollback();
        waiter.rollback();
    }
}
