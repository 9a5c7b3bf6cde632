//! Whoever has a role is killed while all write: the log writer, the process that takes a checkpoint, everybody; then the database is opened warm,
//! or without its mapping.
//!
//! Each writer counts its commits in a row of its own; every second one waits for the disk. After a warm start no commit is missing that a
//! writer has said was done; after a cold one none that it had waited for. `AEROSTORE_ROLE_ROUNDS` says how many rounds.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use aerostore_core::db::{Database, ErrorKind, OpenMode, TxnOptions};
use aerostore_core::row::{Column, ColumnType, Schema, Value};
use common::Place;
use common::fleet::{Fleet, Role, say};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The test that the writers run in.
const NAME: &str = "role_process";
const WRITERS: usize = 4;
/// After so many commits a writer takes a checkpoint.
const CHECKPOINT_EVERY: i64 = 15;

fn schema() -> Schema {
    Schema::builder("Count")
        .column(Column::new("writer", ColumnType::I64))
        .column(Column::new("count", ColumnType::I64).ordered())
        .key("writer")
        .build()
        .unwrap()
}

fn count(db: &Database, writer: usize) -> i64 {
    let table = db.table("Count").unwrap().unwrap();
    let mut txn = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
    let key = Value::I64(i64::try_from(writer).unwrap());
    txn.get(&table, key, |row| row.get(1).as_i64().unwrap()).unwrap().unwrap_or(0)
}

/// Not a test of its own: what the writers run.
#[test]
fn role_process() {
    let Some(role) = Role::of(NAME) else { return };
    let writer = usize::try_from(role.seat).unwrap();
    let db = role.place.open();
    let table = db.table("Count").unwrap().unwrap();
    let mut n = count(&db, writer);
    loop {
        n += 1;
        say(&format!("try {n}"));
        let options = TxnOptions { synchronous_commit: Some(n % 2 == 0), ..TxnOptions::default() };
        let mut txn = db.begin(options).unwrap();
        txn.set(&table, Value::I64(i64::try_from(writer).unwrap()), &[(1, Value::I64(n))]).unwrap();
        txn.commit().unwrap();
        say(&format!("done {n}"));
        if n % CHECKPOINT_EVERY == 0
            && let Err(error) = db.checkpoint()
        {
            // Another one has it, or has lost it.
            assert!(error.is_retryable() || error.kind() == ErrorKind::Busy, "{error}");
        }
    }
}

/// What is known of a writer from its pipe.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    tried: i64,
    done: i64,
}

/// Checks the counters; from here on they count from what is there.
fn check(db: &Database, heard: &Mutex<Vec<Heard>>, is_warm: bool) {
    for (writer, heard) in heard.lock().unwrap().iter_mut().enumerate() {
        let found = count(db, writer);
        // The last that waited for the disk is even.
        let least = if is_warm { heard.done } else { heard.done & !1 };
        assert!(
            (least..=heard.tried).contains(&found),
            "writer {writer}: {found} is there, {heard:?}, warm: {is_warm}"
        );
        *heard = Heard { tried: found, done: found };
    }
    let report = db.verify().unwrap();
    assert!(report.is_clean(), "{report:#?}");
}

#[test]
fn whoever_has_a_role_may_be_killed() {
    let rounds: u64 = std::env::var("AEROSTORE_ROLE_ROUNDS").map_or(2, |text| text.parse().unwrap());
    let place = Place::with_timeout("roles", 120 + rounds * 5);
    let db = place.open();
    db.create_table(&schema()).unwrap();
    db.close().unwrap();
    let heard = Arc::new(Mutex::new(vec![Heard::default(); WRITERS]));
    let (mut writers_killed, mut checkpointers_killed) = (0, 0);
    for round in 0..rounds {
        let listener = {
            let heard = Arc::clone(&heard);
            move |seat: u64, _, line: &str| {
                let heard = &mut heard.lock().unwrap()[usize::try_from(seat).unwrap()];
                if let Some(n) = line.strip_prefix("try ") {
                    heard.tried = n.parse().unwrap();
                } else if let Some(n) = line.strip_prefix("done ") {
                    heard.done = n.parse().unwrap();
                }
            }
        };
        let mut fleet = Fleet::start(NAME, "", &place, WRITERS as u64, Arc::new(listener));
        // One that only looks has no role.
        let looker = place.builder().read_only(true).open().unwrap();
        let done = || heard.lock().unwrap().iter().map(|heard| heard.done).sum::<i64>();
        let (mut kills, start) = (0, done());
        while kills < 4 || done() < start + 100 {
            let status = looker.status().unwrap();
            if let Some(pid) = status.checkpoint_pid.filter(|_| kills % 2 == 1)
                && fleet.replace_process(pid)
            {
                (kills, checkpointers_killed) = (kills + 1, checkpointers_killed + 1);
            } else if let Some(pid) = status.log_writer_pid.filter(|_| kills < 4)
                && fleet.replace_process(pid)
            {
                (kills, writers_killed) = (kills + 1, writers_killed + 1);
            }
            std::thread::sleep(Duration::from_millis(5 + round % 7));
        }
        fleet.end();
        drop(looker);
        let is_warm = round % 2 == 0;
        if !is_warm {
            std::fs::remove_file(&place.shm).unwrap();
        }
        let db = place.open();
        assert_eq!(db.boot().mode, if is_warm { OpenMode::Warm } else { OpenMode::Cold });
        check(&db, &heard, is_warm);
        db.close().unwrap();
    }
    println!(
        "roles: {rounds} rounds, {writers_killed} log writers and {checkpointers_killed} of who took a checkpoint killed"
    );
    assert!(writers_killed > 0);
}
