//! What no session remembers is found, by whichever process has the role.

use super::{
    CROWD, child, count, delete, delete_under_a_reader, id, insert, open, verified, wait_for_vacuum,
};
use crate::common::Place;
use aerostore_core::db::{Database, ErrorKind, Table, TxnOptions};
use aerostore_core::row::Value;
use aerostore_core::shm::BlockKind;
use std::time::Duration;

#[test]
fn the_vacuum_removes_what_a_session_forgot() {
    let place = Place::new("bounded-forgot");
    let (db, table) = open(&place, 64 << 20);
    insert(&db, &table, 0..10_000).unwrap();
    delete_under_a_reader(&db, &table, 0..10_000);
    wait_for_vacuum(&db, 5_000);
    assert_eq!(verified(&db).rows, 0);
    // And what it could not take out for a reader's sake.
    insert(&db, &table, 0..10_000).unwrap();
    let reader = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
    for _ in 0..2 {
        update(&db, &table, 0..10_000);
    }
    let status = db.status().unwrap();
    assert_eq!((status.oldest_pid, status.horizon_lag), (Some(std::process::id()), 2));
    assert_eq!(verified(&db).versions, 20_000);
    drop(reader);
    wait_for_vacuum(&db, 0);
    assert_eq!(verified(&db).versions, 10_000);
    db.close().unwrap();
}

fn update(db: &Database, table: &Table, numbers: std::ops::Range<u64>) {
    db.transaction(TxnOptions::default(), |txn| {
        for number in numbers.clone() {
            let mut altitude = 0;
            txn.get(table, Value::Str(&id(number)), |row| altitude = row.get(3).as_i64().unwrap_or(0))?;
            let next = i32::try_from(altitude + 1).unwrap();
            txn.set(table, Value::Str(&id(number)), &[(3, Value::I32(next))])?;
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn idle_sessions_leave_no_garbage() {
    let place = Place::new("bounded-idle");
    let (db, table) = open(&place, 64 << 20);
    insert(&db, &table, 0..200).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (db, table) = (&db, &table);
            // Too few for a session to look at them.
            scope.spawn(move || {
                update(db, table, thread * 20..thread * 20 + 15);
                (0..5).for_each(|key| delete(db, table, thread * 20 + key..thread * 20 + key + 1).unwrap());
            });
        }
    });
    loop {
        let report = verified(&db);
        if (report.rows, report.versions) == (160, 160) {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    db.close().unwrap();
}

#[test]
fn the_vacuum_removes_what_a_killed_process_remembered() {
    let place = Place::new("bounded-killed");
    let (db, table) = open(&place, 64 << 20);
    // For its sake the child can remove nothing.
    let reader = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
    let mut child = child(&place, "forgets");
    child.kill().unwrap();
    child.wait().unwrap();
    drop(reader);
    wait_for_vacuum(&db, 10_000);
    assert_eq!(count(&db, &table), 0);
    assert_eq!(verified(&db).rows, 0);
    db.close().unwrap();
}

#[test]
fn the_mappings_memory_is_told_by_what_it_is_used_for() {
    let place = Place::new("bounded-memory");
    let (db, table) = open(&place, 64 << 20);
    insert(&db, &table, 0..10_000).unwrap();
    let memory = db.memory().unwrap();
    let bytes = |kind| memory.get(&Some(kind)).copied().unwrap_or_default();
    let live = [BlockKind::ROW, BlockKind::VERSION, BlockKind::RING].map(|kind| bytes(kind).live);
    // 48 bytes a row's header, a version more; a log ring is a block of several slabs.
    assert!(live.iter().all(|live| *live >= 480_000), "{memory:?}");
    assert!(memory.values().all(|bytes| bytes.live + bytes.reserved <= bytes.slabs), "{memory:?}");
    let slabs: u64 = memory.values().map(|bytes| bytes.slabs).sum();
    assert!(slabs <= db.status().unwrap().used_bytes, "{memory:?}");
    let other = db.clone();
    db.close().unwrap();
    assert_eq!(other.memory().unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn a_crowd_of_dead_sessions_is_reaped_before_a_database_is_open() {
    let place = Place::new("bounded-crowd");
    drop(open(&place, 64 << 20));
    let mut child = child(&place, "crowds");
    child.kill().unwrap();
    child.wait().unwrap();
    let db = place.builder().max_bytes(64 << 20).open().unwrap();
    let slots = db.status().unwrap().slots.len();
    assert!(db.boot().reaped >= CROWD && slots < 20, "{slots} slots, {} dead", db.boot().reaped);
    db.close().unwrap();
}

#[test]
fn another_process_takes_the_vacuum_over_from_a_stopped_one() {
    let place = Place::new("bounded-stopped");
    let mut child = child(&place, "holds");
    let (db, table) = open(&place, 64 << 20);
    let pid = i32::try_from(child.id()).unwrap();
    assert_eq!(db.status().unwrap().vacuum_pid, Some(child.id()));
    // SAFETY: the child was started by this test and has not been waited for, so the pid is its own.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGSTOP) }, 0);
    let removed = db.status().unwrap().vacuum.rows_removed;
    insert(&db, &table, 20_000..30_000).unwrap();
    delete_under_a_reader(&db, &table, 20_000..30_000);
    wait_for_vacuum(&db, removed + 5_000);
    assert_eq!(db.status().unwrap().vacuum_pid, Some(std::process::id()));
    child.kill().unwrap();
    child.wait().unwrap();
    verified(&db);
    db.close().unwrap();
}
