//! Memory stays bounded, whatever is written for however long; a full database works again once room is made.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_types,
    reason = "tests, with a flag of their own process"
)]

#[path = "../common/mod.rs"]
mod common;
mod flat;
mod readers;
mod removal;
mod vacuum;

use aerostore_core::db::{Database, Error, Table, TxnOptions, VerifyReport};
use aerostore_core::row::Value;
use common::{Place, child_of, flight, flight_schema};
use std::process::Child;
use std::time::Duration;

const SMALL: u64 = 24 << 20;
const READ: TxnOptions = TxnOptions {
    read_only: true,
    isolation: aerostore_core::db::Isolation::Serializable,
    synchronous_commit: None,
};
/// Sessions of a process that has too many for them to wait until a worker reaps them.
const CROWD: u32 = 80;
const ROLE: &str = "AEROSTORE_BOUNDED_CHILD";

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

/// Deletes rows for whose sake a reader lets nothing go meanwhile, so that the session cannot remember them all.
fn delete_under_a_reader(db: &Database, table: &Table, numbers: std::ops::Range<u64>) {
    let reader = db.begin(READ).unwrap();
    delete(db, table, numbers).unwrap();
    drop(reader);
}

/// A number that a soak may set.
fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
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

/// A process that deletes what it inserts and then stands there.
fn child(place: &Place, role: &str) -> Child {
    child_of(ROLE, format!("{role}|{}", place.names())).0
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
    if parts[0] == "crowds" {
        let sessions: Vec<_> = (0..CROWD).map(|_| db.begin(TxnOptions::default()).unwrap()).collect();
        println!("ready:");
        std::thread::sleep(Duration::from_mins(10));
        drop(sessions);
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
