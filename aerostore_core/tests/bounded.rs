//! Memory stays bounded, whatever is written for however long; a full database works again once room is made.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_types,
    reason = "tests, with a flag of their own process"
)]

mod common;

use aerostore_core::db::{Database, Error, ErrorKind, OpenMode, Table, TxnOptions, VerifyReport};
use aerostore_core::row::{Column, ColumnType, Schema, Value};
use aerostore_core::shm::{Arena, ArenaExpect, BlockState, SLAB_BYTES, ShmError};
use common::{Place, flight, flight_schema};
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const SMALL: u64 = 24 << 20;
/// Bytes of a block that holds a version of a flight.
const VERSION_BYTES: u64 = 96;

fn open(place: &Place, max_bytes: u64) -> (Database, Table) {
    let db = place.builder().max_bytes(max_bytes).open().unwrap();
    db.set_config("synchronous_commit", "off").unwrap();
    let table = db.create_table(&flight_schema()).unwrap();
    (db, table)
}

fn id(number: u64) -> String {
    format!("F{number}")
}

fn insert(db: &Database, table: &Table, numbers: std::ops::Range<u64>) -> Result<(), Error> {
    db.transaction(TxnOptions::default(), |txn| {
        numbers.clone().try_for_each(|number| txn.insert(table, &flight(table, &id(number), 7)))
    })
}

fn delete(db: &Database, table: &Table, numbers: std::ops::Range<u64>) -> Result<(), Error> {
    db.transaction(TxnOptions::default(), |txn| {
        for number in numbers.clone() {
            assert!(txn.delete(table, Value::Str(&id(number)))?, "{number} was not there");
        }
        Ok(())
    })
}

fn count(db: &Database, table: &Table) -> u64 {
    db.begin(TxnOptions::default()).unwrap().count(table).unwrap()
}

fn verified(db: &Database) -> VerifyReport {
    let report = db.verify().unwrap();
    assert!(report.is_clean(), "{report:#?}");
    report
}

#[test]
fn keys_that_come_and_go_for_ever_fit_in_a_small_mapping() {
    const KEPT: u64 = 500;
    const KEYS: u64 = 200_000;
    let place = Place::new("bounded-churn");
    let (db, table) = open(&place, SMALL);
    insert(&db, &table, 0..KEPT).unwrap();
    let mut used = 0;
    for number in KEPT..KEYS {
        insert(&db, &table, number..number + 1).unwrap();
        delete(&db, &table, number - KEPT..number - KEPT + 1).unwrap();
        if number == KEYS / 8 {
            used = db.status().unwrap().used_bytes;
        }
    }
    assert!(db.status().unwrap().used_bytes <= used, "{used} bytes after an eighth");
    assert_eq!(count(&db, &table), KEPT);
    let report = verified(&db);
    assert!(report.rows < KEPT + 100, "{} rows are left of {KEPT}", report.rows);
    db.close().unwrap();
    // What was deleted does not come back, nor does it cost anything, after a cold start.
    std::fs::remove_file(&place.shm).unwrap();
    let (db, table) = open(&place, SMALL);
    assert_eq!(db.boot().mode, OpenMode::Cold);
    assert_eq!(count(&db, &table), KEPT);
    assert_eq!(verified(&db).rows, KEPT);
    db.close().unwrap();
}

#[test]
fn the_same_key_deleted_and_inserted_again_for_ever() {
    let place = Place::new("bounded-same-key");
    let (db, table) = open(&place, SMALL);
    for _ in 0..40_000 {
        insert(&db, &table, 1..2).unwrap();
        delete(&db, &table, 1..2).unwrap();
    }
    assert!(verified(&db).rows < 100);
    db.close().unwrap();
}

#[test]
fn a_full_database_that_is_emptied_takes_as_much_again() {
    const BATCH: u64 = 100;
    let place = Place::new("bounded-full");
    let (db, table) = open(&place, SMALL);
    let mut filled = Vec::new();
    for round in 0..3_u64 {
        let first = (round + 1) * 10_000_000;
        let mut next = first;
        let error = loop {
            match insert(&db, &table, next..next + BATCH) {
                Ok(()) => next += BATCH,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::Space, "{error}");
        assert_eq!(count(&db, &table), next - first);
        filled.push(next - first);
        for number in (first..next).step_by(usize::try_from(BATCH).unwrap()) {
            delete(&db, &table, number..number + BATCH).unwrap();
        }
        assert_eq!(count(&db, &table), 0);
        verified(&db);
    }
    assert!(filled.iter().all(|rows| *rows * 10 >= filled[0] * 8), "{filled:?} rows fitted");
    db.close().unwrap();
}

#[test]
fn aborted_inserts_leave_nothing() {
    let place = Place::new("bounded-aborted");
    let (db, table) = open(&place, SMALL);
    for number in 0..40_000 {
        let mut txn = db.begin(TxnOptions::default()).unwrap();
        txn.insert(&table, &flight(&table, &id(number), 1)).unwrap();
        txn.rollback();
    }
    assert!(verified(&db).rows < 100);
    db.close().unwrap();
}

#[test]
fn a_reader_sees_what_was_deleted_after_its_snapshot() {
    let place = Place::new("bounded-reader");
    let (db, table) = open(&place, SMALL);
    insert(&db, &table, 0..1000).unwrap();
    let mut reader = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
    delete(&db, &table, 0..1000).unwrap();
    insert(&db, &table, 500..1500).unwrap();
    delete(&db, &table, 500..1500).unwrap();
    insert(&db, &table, 5000..5100).unwrap();
    let mut seen = 0;
    reader
        .scan(&table, &mut |_| {
            seen += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(seen, 1000);
    for number in 0..1000 {
        assert!(reader.exists(&table, Value::Str(&id(number))).unwrap(), "{number}");
    }
    assert!(!reader.exists(&table, Value::Str(&id(1200))).unwrap());
    drop(reader);
    verified(&db);
    db.close().unwrap();
}

#[test]
fn a_key_that_was_missing_is_a_conflict_though_its_row_was_removed() {
    let place = Place::new("bounded-missing");
    let (db, table) = open(&place, SMALL);
    insert(&db, &table, 0..1).unwrap();
    delete(&db, &table, 0..1).unwrap();
    for how in 0..2 {
        let mut txn = db.begin(TxnOptions::default()).unwrap();
        // A tombstone, seen by reading or by deleting in vain; the row goes while the transaction runs.
        if how == 0 {
            assert!(!txn.exists(&table, Value::Str(&id(0))).unwrap());
        } else {
            assert!(!txn.delete(&table, Value::Str(&id(0))).unwrap());
        }
        for number in 100..400 {
            insert(&db, &table, number..number + 1).unwrap();
            delete(&db, &table, number..number + 1).unwrap();
        }
        let mut other = db.begin(TxnOptions::default()).unwrap();
        let inserted =
            other.insert(&table, &flight(&table, &id(0), 2)).and_then(|()| other.commit().map(|_| ()));
        txn.upsert(&table, &flight(&table, "other", 3)).unwrap();
        let committed = txn.commit();
        // One of the two was first; both together would be a write skew.
        assert!(inserted.is_err() || committed.is_err(), "{how}: both took effect");
        if inserted.is_ok() {
            delete(&db, &table, 0..1).unwrap();
        }
    }
    verified(&db);
    db.close().unwrap();
}

/// Waits until the vacuum has nothing left to do, and at least `rows` rows have been removed by it.
fn wait_for_vacuum(db: &Database, rows: u64) {
    loop {
        let vacuum = db.status().unwrap().vacuum;
        if vacuum.rows_removed >= rows && !vacuum.is_wanted {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

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

/// Deletes rows for whose sake a reader lets nothing go meanwhile, so that the session cannot remember them all.
fn delete_under_a_reader(db: &Database, table: &Table, numbers: std::ops::Range<u64>) {
    let reader = db.begin(READ).unwrap();
    delete(db, table, numbers).unwrap();
    drop(reader);
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

/// A number that a soak may set.
fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

const READ: TxnOptions = TxnOptions {
    read_only: true,
    isolation: aerostore_core::db::Isolation::Serializable,
    synchronous_commit: None,
};

/// The altitudes of all rows as a transaction sees them, in the order of their numbers.
fn altitudes(txn: &mut aerostore_core::db::Transaction, table: &Table) -> Vec<i64> {
    let mut found = Vec::new();
    txn.scan(table, &mut |row| {
        let Value::Str(name) = row.get(0) else { panic!("{row:?}") };
        found.push((name[1..].parse::<u64>().unwrap(), row.get(3).as_i64().unwrap()));
        ControlFlow::Continue(())
    })
    .unwrap();
    found.sort_unstable();
    found.into_iter().map(|(_, altitude)| altitude).collect()
}

/// Gives rows an altitude each, one transaction for each row; `from` is which of them this is.
fn update_each(db: &Database, table: &Table, rows: u64, from: u64, updates: u64) {
    for update in from..from + updates {
        let number = update.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
        let altitude = i32::try_from(update % 1_000_000).unwrap();
        // Again, if the machine lets it stand for long.
        db.transaction(TxnOptions::default(), |txn| {
            txn.set(table, Value::Str(&id(number % rows)), &[(3, Value::I32(altitude))])
        })
        .unwrap();
    }
}

#[test]
fn an_old_reader_costs_one_version_of_each_row() {
    // Versions of the session's last looks, and the few that it keeps before it looks between snapshots.
    const SLACK: u64 = 400;
    let (rows, updates) = (number("AEROSTORE_PRUNE_ROWS", 1_000), number("AEROSTORE_PRUNE_UPDATES", 40_000));
    let place = Place::new("bounded-old-reader");
    let (db, table) = open(&place, 256 << 20);
    db.set_config("max_snapshot_age", "0").unwrap();
    (0..rows).step_by(1000).for_each(|first| insert(&db, &table, first..rows.min(first + 1000)).unwrap());
    let mut reader = db.begin(READ).unwrap();
    let seen = altitudes(&mut reader, &table);
    let begun = std::time::Instant::now();
    update_each(&db, &table, rows, 0, updates);
    let rate = updates * 1000 / u64::try_from(begun.elapsed().as_millis()).unwrap().max(1);
    let versions = verified(&db).versions;
    println!("{updates} updates of {rows} rows, {rate} a second: {versions} versions");
    assert!(versions <= 2 * rows + SLACK, "{versions} versions of {rows} rows");
    assert!(altitudes(&mut reader, &table) == seen, "the reader's snapshot");
    // Another one, at a later snapshot, costs one more.
    let mut second = db.begin(READ).unwrap();
    let seen_by_second = altitudes(&mut second, &table);
    update_each(&db, &table, rows, updates, updates / 2);
    let versions = verified(&db).versions;
    assert!(versions <= 3 * rows + SLACK, "{versions} versions of {rows} rows");
    assert!(altitudes(&mut reader, &table) == seen && altitudes(&mut second, &table) == seen_by_second);
    // Neither of them keeps what only the other sees.
    drop(reader);
    update_each(&db, &table, rows, 2 * updates, updates / 2);
    let versions = verified(&db).versions;
    assert!(versions <= 2 * rows + SLACK, "{versions} versions of {rows} rows");
    assert!(altitudes(&mut second, &table) == seen_by_second);
    drop(second);
    db.close().unwrap();
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

/// Reads all rows at one snapshot over and over, and takes another when it is revoked. Returns how often that was.
fn read_for_long(db: &Database, table: &Table, rows: u64, stop: &AtomicBool) -> u64 {
    let mut revoked = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut txn = db.begin(READ).unwrap();
        let mut first = None;
        while !stop.load(Ordering::Relaxed) {
            let (mut count, mut sum) = (0, 0);
            let outcome = txn.scan(table, &mut |row| {
                count += 1;
                sum += row.get(3).as_i64().unwrap();
                ControlFlow::Continue(())
            });
            match outcome {
                Ok(()) => assert_eq!((count, sum), (rows, *first.get_or_insert(sum)), "a snapshot changed"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Revoked, "{error}");
                    revoked += 1;
                    break;
                }
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    revoked
}

/// The most slabs of versions there have been, and the most of their blocks that were in use at one moment.
#[derive(Debug, Default)]
struct MostVersions {
    slabs: u64,
    used: u64,
}

impl MostVersions {
    fn look(&mut self, arena: &Arena) {
        let (mut slabs, mut used) = (0, 0);
        for slab in arena.slabs().filter(|slab| slab.payload_bytes() == VERSION_BYTES) {
            slabs += 1;
            used += slab.blocks(arena).filter(|(_, word)| word.state() != BlockState::Free).count();
        }
        self.slabs = self.slabs.max(slabs);
        self.used = self.used.max(u64::try_from(used).unwrap());
    }
}

/// The mapping, to look at.
fn arena(place: &Place) -> Arena {
    let any = ArenaExpect::default();
    let Err(ShmError::LayoutMismatch { found, .. }) = Arena::attach(&place.shm, &any) else {
        panic!("a mapping without a layout")
    };
    Arena::attach(&place.shm, &ArenaExpect { layout_hash: found, ..any }).unwrap()
}

/// The figures are for a soak to change: see `scripts/soak churn`.
#[test]
fn memory_stays_flat_under_a_long_reader_and_a_stopped_process() {
    const STEPS: u64 = 50;
    let (rows, updates) = (number("AEROSTORE_CHURN_ROWS", 2_000), number("AEROSTORE_CHURN_UPDATES", 60_000));
    let max_bytes = number("AEROSTORE_CHURN_BYTES", 48 << 20);
    let place = Place::with_timeout("bounded-flat", 300.max(updates / 10_000));
    let (db, table) = open(&place, max_bytes);
    db.set_config("max_snapshot_age", &number("AEROSTORE_CHURN_AGE", 700).to_string()).unwrap();
    (0..rows).step_by(1000).for_each(|first| insert(&db, &table, first..rows.min(first + 1000)).unwrap());
    let mut child = child(&place, "stands");
    let pid = i32::try_from(child.id()).unwrap();
    // SAFETY: the child was started by this test and has not been waited for, so the pid is its own.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGSTOP) }, 0);
    let stop = AtomicBool::new(false);
    let arena = arena(&place);
    let (most, revoked) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| read_for_long(&db, &table, rows, &stop));
        let looker = scope.spawn(|| {
            let mut most = MostVersions::default();
            while !stop.load(Ordering::Relaxed) {
                most.look(&arena);
                std::thread::sleep(Duration::from_millis(5));
            }
            most
        });
        let begun = std::time::Instant::now();
        for step in 0..STEPS {
            update_each(&db, &table, rows, step * updates / STEPS, updates / STEPS);
            let status = db.status().unwrap();
            let done = (step + 1) * updates / STEPS;
            let rate = done * 1000 / u64::try_from(begun.elapsed().as_millis()).unwrap().max(1);
            println!(
                "churn: {done} of {updates} updates, {rate} a second, {} KiB in use of {}, {} snapshots revoked",
                status.used_bytes >> 10,
                max_bytes >> 10,
                status.vacuum.snapshots_revoked
            );
        }
        stop.store(true, Ordering::Relaxed);
        (looker.join().unwrap(), reader.join().unwrap())
    });
    println!("churn: {rows} rows, {updates} updates, {revoked} snapshots of the reader revoked: {most:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    let versions = verified(&db).versions;
    // A slab is taken when no block is free, so there are as many as the most blocks in use at one moment need; others are in use in part by
    // the sessions that have them. A look may miss the moment by what is written until the next.
    let needed = most.used.div_ceil(SLAB_BYTES / (VERSION_BYTES + 16));
    assert!(most.slabs <= needed + needed / 20 + 32, "{most:?}, of which {needed} slabs are needed");
    // Of each row the newest version and the reader's, and, for each operation that stands still or is not scheduled, which are few at a time,
    // the two there were then.
    assert!(most.used <= 6 * rows + 10_000, "{most:?} of {rows} rows");
    assert!(versions <= 2 * rows + 400, "{versions} versions of {rows} rows");
    db.close().unwrap();
}

/// What one transaction replaces of its own is freed before its end, if there would be no room else.
#[test]
fn a_transaction_writes_one_row_more_often_than_there_is_room_for() {
    const UPDATES: i64 = 30_000;
    let place = Place::new("bounded-one-row");
    let db = place.builder().max_bytes(SMALL).open().unwrap();
    let schema = Schema::builder("Note")
        .column(Column::new("id", ColumnType::I64))
        .column(Column::new("count", ColumnType::I64))
        .column(Column::new("text", ColumnType::String(1000)))
        .key("id")
        .build()
        .unwrap();
    let table = db.create_table(&schema).unwrap();
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    let text = "a".repeat(1000);
    txn.set(&table, Value::I64(1), &[(1, Value::I64(0)), (2, Value::Str(&text))]).unwrap();
    for count in 1..=UPDATES {
        txn.set(&table, Value::I64(1), &[(1, Value::I64(count))]).unwrap();
    }
    txn.commit().unwrap();
    let mut txn = db.begin(READ).unwrap();
    assert_eq!(txn.get(&table, Value::I64(1), |row| row.get(1).as_i64()).unwrap(), Some(Some(UPDATES)));
    drop(txn);
    verified(&db);
    db.close().unwrap();
}

const ROLE: &str = "AEROSTORE_BOUNDED_CHILD";

/// A process that deletes what it inserts and then stands there.
fn child(place: &Place, role: &str) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_process", "--nocapture", "--test-threads=1"])
        .env(ROLE, format!("{role}|{}|{}", place.dir.display(), place.shm.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("ready:")), "the child ended");
    child
}

/// Not a test of its own: what the child runs.
#[test]
fn child_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let parts: Vec<&str> = role.split('|').collect();
    let place = Place::existing(parts[1].into(), parts[2].into());
    let (db, table) = open(&place, 64 << 20);
    if parts[0] == "stands" {
        // In the middle of a transaction that has read, and owns rows.
        let mut txn = db.begin(TxnOptions::default()).unwrap();
        txn.count(&table).unwrap();
        (0..10).for_each(|key| {
            txn.set(&table, Value::Str(&id(key)), &[(3, Value::I32(-1))]).unwrap();
        });
        println!("ready:");
        std::thread::sleep(Duration::from_hours(10));
    }
    insert(&db, &table, 0..10_000).unwrap();
    if parts[0] == "forgets" {
        (0..10_000).for_each(|number| delete(&db, &table, number..number + 1).unwrap());
    } else {
        delete_under_a_reader(&db, &table, 0..10_000);
        wait_for_vacuum(&db, 5_000);
        assert_eq!(db.status().unwrap().vacuum_pid, Some(std::process::id()));
    }
    println!("ready:");
    std::thread::sleep(Duration::from_mins(10));
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

/// What changes all the time does not keep a transaction from committing that it does not concern.
#[test]
fn a_search_that_writes_commits_beside_rows_that_change_all_the_time() {
    const ROWS: u64 = 20_000;
    let place = Place::new("bounded-search");
    let (db, table) = open(&place, 256 << 20);
    (0..ROWS).step_by(1000).for_each(|first| insert(&db, &table, first..first + 1000).unwrap());
    let done = std::sync::atomic::AtomicBool::new(false);
    let conflicts = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0_u64;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                db.transaction(TxnOptions::default(), |txn| {
                    let number = if round.is_multiple_of(2) { 0 } else { ROWS - 1 };
                    txn.set(&table, Value::Str(&id(number)), &[(3, Value::I32(round.try_into().unwrap()))])
                })
                .unwrap();
                round += 1;
            }
        });
        let mut conflicts = 0;
        for _ in 0..12 {
            let mut txn = db.begin(TxnOptions::default()).unwrap();
            let mut found = 0;
            let predicate = std::sync::Arc::new(move |row: &aerostore_core::row::RowView<'_>| {
                row.get(3).as_i64() == Some(-5)
            });
            txn.scan_for(&table, predicate, &mut |_| {
                found += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
            txn.upsert(&table, &flight(&table, &id(ROWS / 2), 8)).unwrap();
            conflicts += u32::from(txn.commit().is_err());
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        conflicts
    });
    assert_eq!(conflicts, 0, "conflicts of 12");
}
