//! A snapshot that holds garbage back for too long is revoked; who reads at it gets an error that may be retried, never a wrong row.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use aerostore_core::db::{Database, Error, ErrorKind, Isolation, Table, Transaction, TxnOptions};
use aerostore_core::row::Value;
use common::{Place, child_of, flight, flight_schema};
use std::ops::ControlFlow;
use std::time::Duration;

const ROWS: u64 = 200;
const READ: TxnOptions =
    TxnOptions { read_only: true, isolation: Isolation::Serializable, synchronous_commit: None };

fn open(place: &Place, max_bytes: u64, max_snapshot_age: &str) -> (Database, Table) {
    let db = place.builder().max_bytes(max_bytes).open().unwrap();
    db.set_config("synchronous_commit", "off").unwrap();
    db.set_config("max_snapshot_age", max_snapshot_age).unwrap();
    let table = db.create_table(&flight_schema()).unwrap();
    (db, table)
}

fn id(number: u64) -> String {
    format!("F{number}")
}

/// Gives all rows the altitude, in one transaction.
fn put(db: &Database, table: &Table, altitude: i32) {
    db.transaction(TxnOptions::default(), |txn| {
        (0..ROWS).try_for_each(|number| txn.upsert(table, &flight(table, &id(number), altitude)).map(|_| ()))
    })
    .unwrap();
}

fn altitude(txn: &mut Transaction, table: &Table, number: u64) -> Result<Option<i64>, Error> {
    txn.get(table, Value::Str(&id(number)), |row| row.get(3).as_i64().unwrap())
}

/// How many rows a scan finds, all of which have to have the altitude.
fn scan(txn: &mut Transaction, table: &Table, altitude: i64) -> Result<u64, Error> {
    let mut count = 0;
    txn.scan(table, &mut |row| {
        assert_eq!(row.get(3).as_i64(), Some(altitude), "a row of another moment");
        count += 1;
        ControlFlow::Continue(())
    })?;
    Ok(count)
}

/// Rows come, change and go, so that nothing of a snapshot would be left.
fn churn(db: &Database, table: &Table, round: u64) {
    for step in 0..4 {
        put(db, table, i32::try_from(1000 + round * 4 + step).unwrap());
    }
    db.transaction(TxnOptions::default(), |txn| {
        (0..ROWS).filter(|number| number % 3 == round % 3).try_for_each(|number| {
            txn.delete(table, Value::Str(&id(number)))?;
            txn.upsert(table, &flight(table, &format!("G{number}"), 5)).map(|_| ())
        })
    })
    .unwrap();
}

fn is_revoked<T>(outcome: &Result<T, Error>) -> bool {
    match outcome {
        Ok(_) => false,
        Err(error) => {
            assert!(error.kind() == ErrorKind::Revoked && error.is_retryable(), "{error}");
            true
        }
    }
}

fn revoked(db: &Database) -> u64 {
    db.status().unwrap().vacuum.snapshots_revoked
}

#[test]
fn a_revoked_snapshot_shows_an_error_and_never_a_wrong_row() {
    let place = Place::new("revoke-age");
    let (db, table) = open(&place, 64 << 20, "100");
    for round in 0..6 {
        put(&db, &table, 7);
        db.transaction(TxnOptions::default(), |txn| {
            (0..ROWS).try_for_each(|number| txn.delete(&table, Value::Str(&format!("G{number}"))).map(|_| ()))
        })
        .unwrap();
        let mut reader = db.begin(READ).unwrap();
        let mut snapshot = db.begin(TxnOptions { isolation: Isolation::Snapshot, ..READ }).unwrap();
        let mut writer = db.begin(TxnOptions::default()).unwrap();
        for txn in [&mut reader, &mut snapshot, &mut writer] {
            assert_eq!(scan(txn, &table, 7).unwrap(), ROWS);
        }
        writer.upsert(&table, &flight(&table, "mine", 1)).unwrap();
        let mut step = 0;
        // By key and by scan in turn: all that is seen is of the snapshot.
        loop {
            churn(&db, &table, round + step);
            step += 1;
            let by_key = altitude(&mut reader, &table, step * 17 % ROWS);
            if is_revoked(&by_key) {
                break;
            }
            assert_eq!(by_key.unwrap(), Some(7));
            let by_scan = scan(&mut snapshot, &table, 7);
            if is_revoked(&by_scan) {
                break;
            }
            assert_eq!(by_scan.unwrap(), ROWS);
        }
        while revoked(&db) < 3 * (round + 1) {
            churn(&db, &table, round + step);
            std::thread::sleep(Duration::from_millis(5));
        }
        for txn in [&mut reader, &mut snapshot, &mut writer] {
            assert!(is_revoked(&altitude(txn, &table, 1)), "by key");
            assert!(is_revoked(&altitude(txn, &table, 1_000_000)), "by a key that was not there");
            assert!(is_revoked(&scan(txn, &table, 7)), "by scan");
        }
        let seen = writer.modify(&table, Value::Str(&id(1)), |_, _| panic!("shown a row"));
        assert!(is_revoked(&seen), "by a write");
        assert!(is_revoked(&writer.commit()), "a commit");
        assert!(!db.begin(READ).unwrap().exists(&table, Value::Str("mine")).unwrap());
    }
    let report = db.verify().unwrap();
    assert!(report.is_clean(), "{report:#?}");
    db.close().unwrap();
}

#[test]
fn a_scan_that_is_broken_off_may_have_passed_over_rows_too() {
    let place = Place::new("revoke-broken");
    let (db, table) = open(&place, 64 << 20, "50");
    put(&db, &table, 7);
    let mut reader = db.begin(READ).unwrap();
    let before = revoked(&db);
    let mut round = 0;
    let scanned = reader.scan(&table, &mut |row| {
        assert_eq!(row.get(3).as_i64(), Some(7), "a row of another moment");
        while revoked(&db) == before {
            churn(&db, &table, round);
            round += 1;
        }
        ControlFlow::Break(())
    });
    assert!(is_revoked(&scanned), "{scanned:?}");
    db.close().unwrap();
}

#[test]
fn a_transaction_that_is_repeated_gets_over_it() {
    let place = Place::new("revoke-repeat");
    let (db, table) = open(&place, 64 << 20, "50");
    put(&db, &table, 7);
    let mut runs = 0;
    db.transaction(TxnOptions::default(), |txn| {
        runs += 1;
        let seen = altitude(txn, &table, 0)?.unwrap();
        let before = revoked(&db);
        while runs == 1 && revoked(&db) == before {
            churn(&db, &table, 1);
            std::thread::sleep(Duration::from_millis(5));
        }
        txn.upsert(&table, &flight(&table, "sum", i32::try_from(seen).unwrap())).map(|_| ())
    })
    .unwrap();
    assert!(runs >= 2);
    db.close().unwrap();
}

#[test]
fn a_snapshot_that_holds_nothing_back_or_has_no_limit_is_left_alone() {
    let place = Place::new("revoke-not");
    let (db, table) = open(&place, 64 << 20, "50");
    put(&db, &table, 7);
    let mut reader = db.begin(READ).unwrap();
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(scan(&mut reader, &table, 7).unwrap(), ROWS);
    db.set_config("max_snapshot_age", "0").unwrap();
    churn(&db, &table, 0);
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(scan(&mut reader, &table, 7).unwrap(), ROWS);
    assert_eq!(revoked(&db), 0);
    drop(reader);
    db.close().unwrap();
}

const ROLE: &str = "AEROSTORE_REVOCATION_CHILD";

/// Not a test of its own: what the child runs.
#[test]
fn child_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (dir, shm) = role.split_once('|').unwrap();
    let place = Place::existing(dir.into(), shm.into());
    let (db, table) = open(&place, 64 << 20, "0");
    let mut reader = db.begin(READ).unwrap();
    let mut said = false;
    let outcome = loop {
        match scan(&mut reader, &table, 7) {
            Ok(count) if count != ROWS => break format!("wrong: {count} rows"),
            Ok(_) => {}
            Err(error) => break format!("error: {}", error.kind()),
        }
        for number in 0..ROWS {
            match altitude(&mut reader, &table, number) {
                Ok(Some(7)) => {}
                Ok(other) => panic!("wrong: {other:?}"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Revoked),
            }
        }
        if !said {
            println!("ready:");
            said = true;
        }
    };
    println!("{outcome}");
    drop(reader);
    let mut again = db.begin(READ).unwrap();
    println!("again: {}", altitude(&mut again, &table, 0).unwrap().unwrap_or(0));
}

#[test]
fn what_a_stopped_process_holds_back_is_freed_and_when_it_goes_on_it_is_told() {
    let place = Place::new("revoke-stopped");
    let (db, table) = open(&place, 64 << 20, "300");
    for round in 0..4 {
        put(&db, &table, 7);
        let before = revoked(&db);
        let (mut child, mut lines) = child_of(ROLE, place.names());
        std::thread::sleep(Duration::from_millis(3 * round));
        let pid = i32::try_from(child.id()).unwrap();
        // SAFETY: the child was started by this test and has not been waited for, so the pid is its own.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGSTOP) }, 0);
        // Keys that come and go while a snapshot is held leave something each.
        for key in 0..3_000 {
            for _ in 0..2 {
                db.transaction(TxnOptions::default(), |txn| {
                    let name = format!("K{key}");
                    if !txn.delete(&table, Value::Str(&name))? {
                        txn.upsert(&table, &flight(&table, &name, 1))?;
                    }
                    Ok(())
                })
                .unwrap();
            }
        }
        churn(&db, &table, round);
        while revoked(&db) == before {
            std::thread::sleep(Duration::from_millis(10));
        }
        // All of it is garbage now, and goes, while the child still stands: a walk over all rows finds nothing that has to stay.
        while db.status().unwrap().vacuum.is_wanted || db.status().unwrap().vacuum.held_bytes > 0 {
            std::thread::sleep(Duration::from_millis(10));
        }
        // SAFETY: as above.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGCONT) }, 0);
        assert_eq!(lines.next().unwrap().unwrap(), "error: REVOKED");
        assert!(lines.next().unwrap().unwrap().starts_with("again: "));
        child.wait().unwrap();
        let rows = db.begin(TxnOptions::default()).unwrap().count(&table).unwrap();
        let report = db.verify().unwrap();
        assert!(report.is_clean(), "{report:#?}");
        // What the session has not looked at yet, or left to its next writes.
        assert!(report.rows <= rows + 96 && report.versions <= rows + 160, "{report:#?}");
        db.transaction(TxnOptions::default(), |txn| {
            (0..ROWS).try_for_each(|number| txn.delete(&table, Value::Str(&format!("G{number}"))).map(|_| ()))
        })
        .unwrap();
    }
    db.close().unwrap();
}

#[test]
fn the_oldest_snapshot_goes_when_memory_runs_short() {
    let place = Place::new("revoke-space");
    let (db, table) = open(&place, 16 << 20, "0");
    put(&db, &table, 7);
    let mut reader = db.begin(READ).unwrap();
    assert_eq!(scan(&mut reader, &table, 7).unwrap(), ROWS);
    // Many times what fits beside what the reader holds back, and never an error of space.
    for key in 0..60_000 {
        db.transaction(TxnOptions::default(), |txn| {
            txn.insert(&table, &flight(&table, &format!("K{key}"), 1))
        })
        .unwrap();
        db.transaction(TxnOptions::default(), |txn| txn.delete(&table, Value::Str(&format!("K{key}"))))
            .unwrap();
    }
    assert!(revoked(&db) > 0);
    assert!(is_revoked(&scan(&mut reader, &table, 7)));
    drop(reader);
    let report = db.verify().unwrap();
    assert!(report.is_clean(), "{report:#?}");
    db.close().unwrap();
}
