//! Bugs that were found once, each as a test of what should happen instead.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use aerostore_core::db::{Database, TxnOptions};
use aerostore_core::row::{Column, ColumnType, RowImage, RowView, Schema, Value};
use aerostore_core::txn::{Isolation, RowPredicate};
use common::{Place, flight, flight_schema};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn alt(row: RowView<'_>) -> i32 {
    match row.get(3) {
        Value::I32(a) => a,
        _ => -1,
    }
}
fn altr(row: &RowView<'_>) -> i32 {
    match row.get(3) {
        Value::I32(a) => a,
        _ => -1,
    }
}
fn asy() -> TxnOptions {
    TxnOptions { synchronous_commit: Some(false), ..TxnOptions::default() }
}
fn put(db: &Database, id: &str, v: i32) {
    let t = db.table("Flight").unwrap().unwrap();
    let mut x = db.begin(asy()).unwrap();
    x.upsert(&t, &flight(&t, id, v)).unwrap();
    x.commit().unwrap();
}

#[test]
fn an_extension_notices_rows_that_have_left_the_predicate() {
    let _dog = common::Watchdog::new(60);
    let place = Place::new("r2");
    let db = place.open();
    let t = db.create_table(&flight_schema()).unwrap();
    put(&db, "r0", 5);
    put(&db, "r1", 1);
    put(&db, "w", 0);
    put(&db, "dummy", 0);
    let hook: Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>> = Arc::new(Mutex::new(None));
    let h2 = hook.clone();
    let predicate: RowPredicate = Arc::new(move |row: &RowView<'_>| {
        let f = h2.lock().unwrap().take();
        if let Some(f) = f {
            f()
        }
        altr(row) == 1
    });
    let mut t1 = db.begin(asy()).unwrap();
    let mut sum = 0;
    t1.scan_for(&t, predicate, &mut |row| {
        if alt(row) == 1 {
            sum += 1
        }
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(sum, 1);
    // T2 moves r1 out of the predicate and writes w.
    let mut t2 = db.begin(asy()).unwrap();
    t2.set(&t, Value::Str("r0"), &[(3, Value::I32(6))]).unwrap();
    t2.set(&t, Value::Str("r1"), &[(3, Value::I32(2))]).unwrap();
    t2.set(&t, Value::Str("w"), &[(3, Value::I32(100))]).unwrap();
    t2.commit().unwrap();
    let db2 = db.clone();
    *hook.lock().unwrap() = Some(Box::new(move || {
        for i in 0..200 {
            put(&db2, "dummy", i + 1);
        }
    }));
    // Blind write: extends the snapshot.
    let w = t1.set(&t, Value::Str("w"), &[(3, Value::I32(1000 + sum))]);
    let ok = w.is_ok() && t1.commit().is_ok();
    println!("hook ran: {}", hook.lock().unwrap().is_none());
    assert!(
        !ok,
        "T1 counted r1 in the predicate before T2, and overwrote T2's w: no serial order (write {w:?})"
    );
}

/// After a failed extension the old snapshot is no longer published, but still used.
#[test]
fn reads_after_a_failed_extension_are_still_right() {
    let _dog = common::Watchdog::new(60);
    let place = Place::new("r3");
    let db = place.open();
    let t = db.create_table(&flight_schema()).unwrap();
    for k in ["a", "b", "w", "dummy"] {
        put(&db, k, 1);
    }
    let mut t1 = db.begin(asy()).unwrap();
    assert_eq!(t1.get(&t, Value::Str("a"), alt).unwrap(), Some(1));
    for k in ["a", "b", "w"] {
        put(&db, k, 2);
    }
    assert!(t1.set(&t, Value::Str("w"), &[(3, Value::I32(9))]).is_err());
    for i in 0..200 {
        put(&db, "dummy", i + 5);
    }
    let b = t1.get(&t, Value::Str("b"), alt);
    println!("{b:?}");
    assert!(!matches!(b, Ok(None)), "row b, which has always existed, is said not to exist");
}

/// A log writer that cannot begin: committers must get an error, not hang.
#[test]
fn a_log_that_cannot_be_written_is_an_error_and_no_hang() {
    let _dog = common::Watchdog::new(60);
    let place = Place::new("r4");
    let db = Database::builder(&place.dir)
        .shm_path(&place.shm)
        .max_bytes(64 << 20)
        .segment_bytes(1 << 55)
        .open()
        .unwrap();
    let (tx, rx) = mpsc::channel();
    let db2 = db.clone();
    std::thread::spawn(move || {
        let r = db2.create_table(&flight_schema());
        println!("create {r:?}");
        let _ = tx.send(r.is_ok());
    });
    let r = rx.recv_timeout(Duration::from_secs(15));
    std::mem::forget(db);
    assert!(r.is_ok(), "a synchronous commit hangs for ever while the log cannot be written");
}

/// P2: a stopped (here: idle) owner must not hold a row for ever.
#[test]
fn a_row_does_not_stay_locked_by_an_owner_that_stands_still() {
    let _dog = common::Watchdog::new(60);
    let place = Place::new("r5");
    let db = place.open();
    let t = db.create_table(&flight_schema()).unwrap();
    put(&db, "A", 1);
    let mut x = db.begin(asy()).unwrap();
    x.set(&t, Value::Str("A"), &[(3, Value::I32(2))]).unwrap();
    let start = Instant::now();
    let mut ok = false;
    let mut tries = 0;
    while start.elapsed() < Duration::from_secs(10) && !ok {
        tries += 1;
        let mut y = db.begin(asy()).unwrap();
        ok = y.set(&t, Value::Str("A"), &[(3, Value::I32(3))]).is_ok() && y.commit().is_ok();
    }
    println!("{tries} tries");
    assert!(ok, "row still locked after 10 s");
}

/// A validation that takes longer than 50 ms.
#[test]
fn a_transaction_that_stands_still_while_prepared_holds_up_nobodys_sync() {
    let _dog = common::Watchdog::new(100);
    let place = Place::new("r11");
    let db = place.open();
    let t = db.create_table(&flight_schema()).unwrap();
    for k in ["a", "b", "c"] {
        put(&db, k, 1);
    }
    let (armed_tx, armed_rx) = mpsc::channel::<()>();
    let armed_tx = Mutex::new(armed_tx);
    let stop = Arc::new(Mutex::new(false));
    let s2 = stop.clone();
    let predicate: RowPredicate = Arc::new(move |_: &RowView<'_>| {
        if std::mem::take(&mut *s2.lock().unwrap()) {
            let _ = armed_tx.lock().unwrap().send(());
            std::thread::sleep(Duration::from_secs(12)); // "SIGSTOP"
        }
        false
    });
    let mut t1 = db.begin(asy()).unwrap();
    t1.scan_for(&t, predicate, &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
    t1.set(&t, Value::Str("a"), &[(3, Value::I32(7))]).unwrap();
    put(&db, "b", 2);
    *stop.lock().unwrap() = true;
    let h = std::thread::spawn(move || t1.commit());
    armed_rx.recv().unwrap();
    let start = Instant::now();
    let mut t3 = db.begin(TxnOptions { synchronous_commit: Some(true), ..TxnOptions::default() }).unwrap();
    t3.set(&t, Value::Str("c"), &[(3, Value::I32(3))]).unwrap();
    let r = t3.commit();
    let took = start.elapsed();
    println!("unrelated synchronous commit: {r:?} after {took:?}; stopped one: {:?}", h.join().unwrap());
    assert!(took < Duration::from_secs(5));
}

/// As r6, with somebody who reads the row that is written.
#[test]
fn a_long_validation_commits_while_someone_reads_its_rows() {
    let _dog = common::Watchdog::new(300);
    let place = Place::new("r12");
    let db = Database::builder(&place.dir).shm_path(&place.shm).max_bytes(2 << 30).open().unwrap();
    let t = db.create_table(&flight_schema()).unwrap();
    let n: i32 = std::env::var("R6_ROWS").ok().and_then(|s| s.parse().ok()).unwrap_or(200_000);
    let mut i = 0;
    while i < n {
        let mut x = db.begin(asy()).unwrap();
        for _ in 0..1000 {
            x.upsert(&t, &flight(&t, &format!("F{i}"), i)).unwrap();
            i += 1;
        }
        x.commit().unwrap();
    }
    db.flush().unwrap();
    let d2 = db.clone();
    let t2 = t.clone();
    std::thread::spawn(move || {
        loop {
            let mut x = d2.begin(TxnOptions { read_only: true, ..asy() }).unwrap();
            let _ = x.get(&t2, Value::Str("F1"), alt);
            drop(x);
            put(&d2, "other", 1);
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let mut ok = 0;
    for k in 0..10 {
        let mut x = db.begin(asy()).unwrap();
        let rows = x.scan_for(&t, Arc::new(|r: &RowView<'_>| altr(r) == -77), &mut |_| {
            std::ops::ControlFlow::Continue(())
        });
        rows.unwrap();
        x.set(&t, Value::Str("F1"), &[(3, Value::I32(-1 - k))]).unwrap();
        let s = Instant::now();
        let r = x.commit();
        println!("commit {r:?} {:?}", s.elapsed());
        ok += i32::from(r.is_ok());
    }
    assert!(ok > 0, "one reader of one row keeps the transaction from ever committing");
}

/// The mapping is removed while an opener waits for its turn.
#[test]
fn a_mapping_removed_while_an_opener_waits_is_not_taken_for_its_own() {
    use std::os::fd::AsRawFd;
    let _dog = common::Watchdog::new(60);
    let place = Place::new("r13");
    let file = std::fs::OpenOptions::new().create(true).write(true).read(true).open(&place.shm).unwrap();
    let mut req: libc::flock64 = unsafe { std::mem::zeroed() };
    req.l_type = libc::F_WRLCK as i16;
    req.l_start = 0;
    req.l_len = 1;
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &mut req) }, 0);
    let (dir, shm) = (place.dir.clone(), place.shm.clone());
    let opener =
        std::thread::spawn(move || Database::builder(dir).shm_path(shm).max_bytes(64 << 20).open().unwrap());
    std::thread::sleep(Duration::from_millis(300));
    std::fs::remove_file(&place.shm).unwrap();
    drop(file);
    let a = opener.join().unwrap();
    a.create_table(&flight_schema()).unwrap();
    put(&a, "x", 1);
    let t = a.table("Flight").unwrap().unwrap();
    let mut open = a.begin(asy()).unwrap();
    open.set(&t, Value::Str("x"), &[(3, Value::I32(2))]).unwrap();
    let b = Database::builder(&place.dir).shm_path(&place.shm).max_bytes(64 << 20).open().unwrap();
    println!("reaped at open: {} ; {:?}", b.boot().reaped, open.commit());
    assert_eq!(b.boot().reaped, 0, "sessions of a living process were reaped");
}
