//! Bugs that were found once, each as a test of what happens instead.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use aerostore_core::db::{Change, Database, Error, ErrorKind, Table, Transaction, TxnOptions};
use aerostore_core::row::{RowView, Value};
use aerostore_core::sys::LockFile;
use aerostore_core::txn::RowPredicate;
use common::{Place, flight, flight_schema};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

const UNSYNCED: TxnOptions = TxnOptions {
    isolation: aerostore_core::db::Isolation::Serializable,
    read_only: false,
    synchronous_commit: Some(false),
};

fn world(name: &str, ids: &[&str]) -> (Place, Database, Table) {
    let place = Place::new(name);
    let db = place.open();
    let table = db.create_table(&flight_schema()).unwrap();
    for id in ids {
        put(&db, &table, id, 1);
    }
    (place, db, table)
}

fn put(db: &Database, table: &Table, id: &str, altitude: i32) {
    let mut txn = db.begin(UNSYNCED).unwrap();
    txn.upsert(table, &flight(table, id, altitude)).unwrap();
    txn.commit().unwrap();
}

fn set(txn: &mut Transaction, table: &Table, id: &str, altitude: i32) -> Result<(), Error> {
    txn.set(table, Value::Str(id), &[(3, Value::I32(altitude))]).map(|_| ())
}

fn altitude(row: &RowView<'_>) -> i64 {
    row.get(3).as_i64().unwrap()
}

fn altitude_of(db: &Database, table: &Table, id: &str) -> i64 {
    let mut txn = db.begin(TxnOptions { read_only: true, ..UNSYNCED }).unwrap();
    txn.get(table, Value::Str(id), |row| altitude(&row)).unwrap().unwrap()
}

fn count(txn: &mut Transaction, table: &Table, predicate: &RowPredicate) -> usize {
    let mut count = 0;
    txn.scan_for(table, Arc::clone(predicate), &mut |row| {
        count += usize::from(predicate(&row));
        ControlFlow::Continue(())
    })
    .unwrap();
    count
}

/// Something that a predicate does once, in the middle of a validation.
type Hook = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

#[test]
fn an_extension_notices_rows_that_have_left_the_predicate() {
    // The images from before the extension were pruned while it looked for them.
    let (_place, db, table) = world("left-predicate", &["first", "counted", "written", "other"]);
    put(&db, &table, "first", 5);
    put(&db, &table, "written", 0);
    put(&db, &table, "other", 0);
    let hook: Hook = Arc::default();
    let in_predicate = Arc::clone(&hook);
    let predicate: RowPredicate = Arc::new(move |row| {
        let run = in_predicate.lock().unwrap().take();
        if let Some(run) = run {
            run();
        }
        altitude(row) == 1
    });
    let mut reader = db.begin(UNSYNCED).unwrap();
    assert_eq!(count(&mut reader, &table, &predicate), 1);
    let mut writer = db.begin(UNSYNCED).unwrap();
    for (id, to) in [("first", 6), ("counted", 2), ("written", 100)] {
        set(&mut writer, &table, id, to).unwrap();
    }
    writer.commit().unwrap();
    let (other_db, other_table) = (db.clone(), table.clone());
    *hook.lock().unwrap() = Some(Box::new(move || {
        for number in 1..200 {
            put(&other_db, &other_table, "other", number);
        }
    }));
    let written = set(&mut reader, &table, "written", 1001);
    assert!(written.is_err() || reader.commit().is_err(), "no serial order has both");
    assert!(hook.lock().unwrap().is_none(), "the validation never looked");
}

#[test]
fn reads_after_a_failed_extension_are_still_right() {
    let (_place, db, table) = world("failed-extension", &["a", "b", "w", "other"]);
    let mut txn = db.begin(UNSYNCED).unwrap();
    assert_eq!(txn.get(&table, Value::Str("a"), |row| altitude(&row)).unwrap(), Some(1));
    for id in ["a", "b", "w"] {
        put(&db, &table, id, 2);
    }
    assert!(set(&mut txn, &table, "w", 9).is_err());
    for number in 0..200 {
        put(&db, &table, "other", number);
    }
    assert_eq!(txn.get(&table, Value::Str("b"), |row| altitude(&row)).unwrap(), Some(1));
}

#[test]
fn a_log_that_cannot_be_written_is_an_error_and_no_hang() {
    let place = Place::new("no-segment");
    let db = place.builder().segment_bytes(1 << 55).open().unwrap();
    let (told, outcome) = mpsc::channel();
    let committer = db.clone();
    std::thread::spawn(move || told.send(committer.create_table(&flight_schema()).is_err()));
    assert_eq!(outcome.recv_timeout(Duration::from_secs(30)), Ok(true));
}

#[test]
fn a_row_does_not_stay_locked_by_an_owner_that_stands_still() {
    let (_place, db, table) = world("stands-still", &["a"]);
    let mut owner = db.begin(UNSYNCED).unwrap();
    set(&mut owner, &table, "a", 2).unwrap();
    let begun = Instant::now();
    loop {
        let mut txn = db.begin(UNSYNCED).unwrap();
        if set(&mut txn, &table, "a", 3).is_ok() && txn.commit().is_ok() {
            break;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "the row is still locked");
    }
    assert!(owner.commit().is_err_and(|error| error.is_retryable()));
}

#[test]
fn a_transaction_that_stands_still_while_prepared_holds_up_nobodys_sync() {
    let (_place, db, table) = world("prepared", &["a", "b", "c"]);
    let (armed, standing) = mpsc::channel();
    let (go_on, stop) = mpsc::channel::<()>();
    let hook: Hook = Arc::default();
    let in_predicate = Arc::clone(&hook);
    let predicate: RowPredicate = Arc::new(move |_| {
        let run = in_predicate.lock().unwrap().take();
        if let Some(run) = run {
            run();
        }
        false
    });
    let mut stopped = db.begin(UNSYNCED).unwrap();
    count(&mut stopped, &table, &predicate);
    set(&mut stopped, &table, "a", 7).unwrap();
    put(&db, &table, "b", 2);
    *hook.lock().unwrap() = Some(Box::new(move || {
        armed.send(()).unwrap();
        // Ends when the test does, or when the other transaction has been waited for.
        let _ = stop.recv();
    }));
    let committer = std::thread::spawn(move || stopped.commit());
    standing.recv().unwrap();
    let mut other = db.begin(TxnOptions { synchronous_commit: Some(true), ..UNSYNCED }).unwrap();
    set(&mut other, &table, "c", 3).unwrap();
    other.commit().unwrap();
    drop(go_on);
    assert!(committer.join().unwrap().is_err_and(|error| error.is_retryable()));
}

#[test]
fn a_long_validation_commits_while_someone_reads_its_rows() {
    let (_place, db, table) = world("long-validation", &["other"]);
    for batch in 0..50 {
        let mut txn = db.begin(UNSYNCED).unwrap();
        for number in 0..2000 {
            txn.upsert(&table, &flight(&table, &format!("F{}", batch * 2000 + number), number)).unwrap();
        }
        txn.commit().unwrap();
    }
    let (end, ended) = mpsc::channel::<()>();
    let (reader_db, reader_table) = (db.clone(), table.clone());
    let reader = std::thread::spawn(move || {
        while ended.recv_timeout(Duration::from_millis(5)) == Err(mpsc::RecvTimeoutError::Timeout) {
            let mut txn = reader_db.begin(TxnOptions { read_only: true, ..UNSYNCED }).unwrap();
            txn.get(&reader_table, Value::Str("F1"), |_| ()).unwrap();
            drop(txn);
            put(&reader_db, &reader_table, "other", 1);
        }
    });
    let slow: RowPredicate = Arc::new(|row| {
        std::thread::sleep(Duration::from_micros(if altitude(row) == 1 { 2_000 } else { 0 }));
        false
    });
    let committed = (0..10).any(|round| {
        let mut txn = db.begin(UNSYNCED).unwrap();
        count(&mut txn, &table, &slow);
        set(&mut txn, &table, "F1", -1 - round).is_ok() && txn.commit().is_ok()
    });
    drop(end);
    reader.join().unwrap();
    assert!(committed, "one reader of one row keeps the transaction from ever committing");
}

#[test]
fn a_mapping_removed_while_an_opener_waits_is_not_taken_for_its_own() {
    let place = Place::new("removed");
    let gate = opening(&place);
    let builder = place.builder();
    let opener = std::thread::spawn(move || builder.open().unwrap());
    std::thread::sleep(Duration::from_millis(300));
    std::fs::remove_file(&place.shm).unwrap();
    drop(gate);
    let first = opener.join().unwrap();
    let table = first.create_table(&flight_schema()).unwrap();
    put(&first, &table, "x", 1);
    let mut open = first.begin(UNSYNCED).unwrap();
    set(&mut open, &table, "x", 2).unwrap();
    let second = place.open();
    assert_eq!(second.boot().reaped, 0, "sessions of a living process were reaped");
    open.commit().unwrap();
}

/// The lock under which a mapping is made, held like by a process that is in the middle of it.
fn opening(place: &Place) -> LockFile {
    let gate = LockFile::open_or_create(&place.shm).unwrap();
    assert!(gate.try_lock(aerostore_core::shm::INIT_LOCK_BYTE).unwrap());
    gate
}

#[test]
fn an_opening_that_stands_still_is_an_error_for_others_and_not_waited_for() {
    let place = Place::with_timeout("stopped-opening", 60);
    let gate = opening(&place);
    let error = place.builder().open().map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    drop(gate);
    place.open();
}

#[test]
fn an_opening_that_takes_long_is_waited_for() {
    let place = Place::new("long-opening");
    let gate = opening(&place);
    let builder = place.builder();
    let opener = std::thread::spawn(move || builder.open().map(|_| ()));
    let file = std::fs::File::options().write(true).open(&place.shm).unwrap();
    for _ in 0..70 {
        file.set_modified(std::time::SystemTime::now()).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(gate);
    opener.join().unwrap().unwrap();
}

#[test]
fn whoever_replays_a_long_log_says_that_it_goes_on() {
    let place = Place::new("long-replay");
    let mut updates = 20_000;
    loop {
        let db = place.open();
        let table = db.create_table(&flight_schema()).unwrap();
        for first in (0..updates).step_by(100) {
            let mut txn = db.begin(UNSYNCED).unwrap();
            for number in first..first + 100 {
                txn.upsert(&table, &flight(&table, &format!("F{}", number % 100), number)).unwrap();
            }
            txn.commit().unwrap();
        }
        db.close().unwrap();
        std::fs::remove_file(&place.shm).unwrap();
        let builder = place.builder();
        let opener = std::thread::spawn(move || builder.open().unwrap());
        let (begun, mut changes) = (Instant::now(), Vec::new());
        while !opener.is_finished() {
            let seen = std::fs::metadata(&place.shm).and_then(|data| data.modified()).ok();
            if changes.last().is_none_or(|(_, last)| *last != seen) {
                changes.push((begun.elapsed(), seen));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let took = begun.elapsed();
        drop(opener.join().unwrap());
        if took > Duration::from_secs(2) {
            // The file has its length in no time; what changes later are signs of life.
            let beats = changes.iter().filter(|(at, _)| *at > Duration::from_millis(400)).count();
            assert!(beats >= 2, "in {took:?}: {changes:?}");
            return;
        }
        updates *= 2;
    }
}

#[test]
fn a_writer_that_was_aborted_while_it_built_its_row_pushes_out_nothing() {
    let (_place, db, table) = world("pushed_out", &["a"]);
    let mut slow = db.begin(UNSYNCED).unwrap();
    let other = db.clone();
    let outcome = slow.modify(&table, Value::Str("a"), |row, image| {
        // This transaction owns the row now, and has seen what it will link over. It stands still for so long that another
        // one takes the row from it.
        let begin = Instant::now();
        while altitude_of(&other, &table, "a") == 1 && begin.elapsed() < Duration::from_secs(20) {
            let mut txn = other.begin(UNSYNCED).unwrap();
            let _ = set(&mut txn, &table, "a", 2).and_then(|()| txn.commit().map(drop));
        }
        image.copy_from(row.unwrap());
        image.set(table.schema(), 3, Value::I32(3))?;
        Ok(Change::Put)
    });
    assert!(matches!(&outcome, Err(error) if error.is_retryable()), "{outcome:?}");
    drop(slow);
    assert_eq!(altitude_of(&db, &table, "a"), 2, "a committed update is lost");
    assert!(db.verify().unwrap().is_clean());
}

#[test]
fn a_missing_row_that_made_a_closure_fail_counts_as_read() {
    let (_place, db, table) = world("missing-read", &["a"]);
    let mut looker = db.begin(UNSYNCED).unwrap();
    let refused = looker.modify(&table, Value::Str("k"), |row, _| {
        assert!(row.is_none());
        Err(aerostore_core::txn::TxnError::ReadOnly)
    });
    assert!(refused.is_err());
    let mut inserter = db.begin(UNSYNCED).unwrap();
    assert_eq!(inserter.get(&table, Value::Str("a"), |row| altitude(&row)).unwrap(), Some(1));
    inserter.insert(&table, &flight(&table, "k", 1)).unwrap();
    // Because there was no "k".
    set(&mut looker, &table, "a", 2).unwrap();
    inserter.commit().unwrap();
    assert!(looker.commit().is_err_and(|error| error.is_retryable()), "no serial order has both");
}

#[test]
fn a_panic_in_a_closure_holds_no_memory_back_once_its_transaction_has_ended() {
    let (_place, db, table) = world("panic", &["a", "b"]);
    let mut txn = db.begin(UNSYNCED).unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = txn.modify(&table, Value::Str("a"), |_, _| panic!("on purpose"));
    }));
    assert!(panicked.is_err());
    set(&mut txn, &table, "a", 2).unwrap();
    txn.commit().unwrap();
    let updates = |count| {
        for number in 0..count {
            put(&db, &table, "b", number);
        }
        db.status().unwrap().used_bytes
    };
    let before = updates(20_000);
    let after = updates(20_000);
    assert!(after <= before + (64 << 10), "{before} bytes, then {after}");
}
