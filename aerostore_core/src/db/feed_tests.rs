//! Following a table at every moment of a commit, and what wakers may do.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::db::crash_tests::{Cells, open_cells};
use crate::db::{Database, Error, Event, Subscription, TxnOptions};
use crate::row::Value;
use crate::sync::interrupted_at;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

#[test]
fn a_commit_in_which_somebody_begins_to_follow_is_delivered_with_old_values_or_a_gap_or_before() {
    let Cells { dir, shm, db, table } = open_cells("feed-commit", 1 << 20);
    db.set_config("wal_writer_delay_ms", "1").unwrap();
    let set = |value| {
        let mut txn = db.begin(TxnOptions::default()).unwrap();
        txn.set(&table, Value::Str("A"), &[(1, Value::I64(value))]).unwrap();
        txn
    };
    set(0).commit().unwrap();
    let (mut delivered, mut gaps, mut before) = (0, 0, 0);
    for (last, point) in (0..).zip(1..) {
        let txn = set(last + 1);
        let slot: Rc<RefCell<Option<Subscription>>> = Rc::default();
        let deed = {
            let (slot, db, table) = (Rc::clone(&slot), db.clone(), table.clone());
            move || drop(slot.replace(Some(db.watch(&table).subscribe().unwrap())))
        };
        let (was_interrupted, committed) = interrupted_at(point, deed, || txn.commit());
        if !was_interrupted {
            break;
        }
        let subscription = slot.take().unwrap();
        // Whoever follows makes no commit fail.
        let commit_ts = committed.unwrap();
        if commit_ts < subscription.begin_ts() {
            before += 1;
        } else {
            match subscription.next_within(Duration::from_mins(1)).unwrap() {
                Some(Event::Commit(commit)) => {
                    assert_eq!(commit.commit_ts, commit_ts);
                    let value = |row: Option<crate::row::RowView<'_>>| row.unwrap().get(1).as_i64().unwrap();
                    let change = &commit.changes[0];
                    assert_eq!((value(change.before()), value(change.after())), (last, last + 1));
                    delivered += 1;
                }
                Some(Event::Gap(gap)) => {
                    assert_eq!((gap.after_ts, gap.to_ts), (commit_ts - 1, commit_ts));
                    gaps += 1;
                }
                other => panic!("point {point}: {other:?}"),
            }
        }
    }
    assert!(delivered > 0 && gaps > 0 && before > 0, "{delivered}, {gaps}, {before}");
    db.close().unwrap();
    let _ = std::fs::remove_dir_all(&dir);
    let _ = std::fs::remove_file(&shm);
}

/// Has a waker do `deed` with its own subscription, when there is a row to be told of.
fn in_a_waker(name: &str, deed: impl Fn(&Database, Subscription) + Send + Sync + 'static) {
    let Cells { dir, shm, db, table } = open_cells(name, 1 << 20);
    db.set_config("wal_writer_delay_ms", "1").unwrap();
    let slot: Arc<Mutex<Option<Subscription>>> = Arc::default();
    let (done, is_done) = mpsc::channel();
    let waker = {
        let (slot, db) = (Arc::clone(&slot), db.clone());
        move || {
            // Woken again by what it does itself.
            let Some(subscription) = slot.lock().unwrap().take() else { return };
            deed(&db, subscription);
            done.send(()).unwrap();
        }
    };
    // Woken at the latest when this is on the disk.
    let subscription = db.watch(&table).on_ready(waker).subscribe().unwrap();
    *slot.lock().unwrap() = Some(subscription);
    db.transaction(TxnOptions::default(), |txn| txn.set(&table, Value::Str("A"), &[(1, Value::I64(1))]))
        .unwrap();
    is_done.recv_timeout(Duration::from_secs(30)).expect("the waker is stuck");
    db.close().unwrap();
    let _ = std::fs::remove_dir_all(&dir);
    let _ = std::fs::remove_file(&shm);
}

#[test]
fn a_waker_may_drop_its_subscription_and_begin_another() {
    in_a_waker("feed-waker-drop", |db, subscription| {
        drop(subscription);
        let table = db.tables().unwrap().remove(0);
        drop(db.watch(&table).subscribe().unwrap());
    });
}

#[test]
fn a_waker_may_close_the_database() {
    in_a_waker("feed-waker-close", |db, subscription| {
        db.clone().close().unwrap();
        assert!(matches!(subscription.try_next(), Ok(Some(Event::Commit(_)))));
        assert!(matches!(subscription.try_next(), Err(Error::Closed)));
    });
}

#[test]
fn a_waker_that_panics_ends_the_feed_of_nobody() {
    let Cells { dir, shm, db, table } = open_cells("feed-waker-panic", 1 << 20);
    db.set_config("wal_writer_delay_ms", "1").unwrap();
    let panics = db.watch(&table).on_ready(|| panic!("on purpose")).subscribe().unwrap();
    let other = db.watch(&table).subscribe().unwrap();
    for number in 0..2 {
        db.transaction(TxnOptions::default(), |txn| {
            txn.set(&table, Value::Str("A"), &[(1, Value::I64(number))])
        })
        .unwrap();
        for one in [&panics, &other] {
            assert!(one.next_within(Duration::from_secs(30)).unwrap().is_some(), "nothing comes any more");
        }
    }
    db.close().unwrap();
    let _ = std::fs::remove_dir_all(&dir);
    let _ = std::fs::remove_file(&shm);
}
