//! Memory that a database no longer needs goes back to the operating system, and comes again when it does.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use aerostore_core::db::{Database, OpenMode, Table, TxnOptions};
use aerostore_core::row::{Column, ColumnType, RowImage, Schema, Value};
use common::Place;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

const ROWS: i64 = 40_000;
const MIB: u64 = 1 << 20;

fn schema() -> Schema {
    Schema::builder("Note")
        .column(Column::new("id", ColumnType::I64))
        .column(Column::new("text", ColumnType::String(2000)))
        .key("id")
        .build()
        .unwrap()
}

fn open(place: &Place) -> (Database, Table) {
    let db = place.open();
    db.set_config("synchronous_commit", "off").unwrap();
    let table = db.create_table(&schema()).unwrap();
    (db, table)
}

fn text(id: i64) -> String {
    format!("{id:01000}")
}

/// Forty megabytes and more.
fn fill(db: &Database, table: &Table) {
    let mut image = RowImage::new(table.schema());
    for first in (0..ROWS).step_by(500) {
        db.transaction(TxnOptions::default(), |txn| {
            for id in first..first + 500 {
                image.reset(table.schema());
                image.set(table.schema(), 0, Value::I64(id))?;
                image.set(table.schema(), 1, Value::Str(&text(id)))?;
                image.finish(table.schema())?;
                txn.insert(table, &image)?;
            }
            Ok(())
        })
        .unwrap();
    }
}

fn empty(db: &Database, table: &Table) {
    for first in (0..ROWS).step_by(500) {
        db.transaction(TxnOptions::default(), |txn| {
            (first..first + 500).try_for_each(|id| txn.delete(table, Value::I64(id)).map(|_| ()))
        })
        .unwrap();
    }
}

fn check(db: &Database, table: &Table) {
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    for id in (0..ROWS).step_by(97) {
        let same = txn.get(table, Value::I64(id), |row| row.get(1) == Value::Str(&text(id))).unwrap();
        assert_eq!(same, Some(true), "row {id}");
    }
}

/// Memory that the mapping takes.
fn memory(place: &Place) -> u64 {
    std::fs::metadata(&place.shm).unwrap().blocks() * 512
}

/// Until much has gone back, and what the database counts as gone is gone from the file too: the one comes before the other.
fn wait_until_given_back(place: &Place, db: &Database) {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let status = db.status().unwrap();
        let taken = memory(place);
        let length = std::fs::metadata(&place.shm).unwrap().len();
        // Of some thirty extents, four empty ones stay, and one for each sixteen, and those where a last block lives, up to a dozen:
        // that is not the same each time.
        let is_small = taken < length / 4 * 3 && status.given_back_bytes > length / 5;
        if is_small && taken + status.given_back_bytes <= length + MIB {
            assert!(
                length == status.file_bytes || length == status.file_bytes + 2 * MIB,
                "{length} of {status:?}"
            );
            return;
        }
        assert!(Instant::now() < deadline, "the mapping takes {taken} bytes of {length}: {status:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_was_deleted_goes_back_to_the_system_and_comes_again() {
    let place = Place::new("giveback");
    let (db, table) = open(&place);
    for _ in 0..2 {
        fill(&db, &table);
        let full = memory(&place);
        assert!(full > 45 * MIB, "{full}");
        let status = db.status().unwrap();
        assert!(status.given_back_bytes < status.file_bytes / 4, "{status:?}");
        empty(&db, &table);
        wait_until_given_back(&place, &db);
        let report = db.verify().unwrap();
        assert!(report.is_clean(), "{report:#?}");
    }
    fill(&db, &table);
    check(&db, &table);
    assert!(db.verify().unwrap().is_clean());
    db.close().unwrap();
    let (db, table) = open(&place);
    assert_eq!(db.boot().mode, OpenMode::Warm);
    check(&db, &table);
    db.close().unwrap();
}

/// While rows keep coming: its pages are in the file before the database counts them. Long rows, as the thread that does it takes
/// growth for going on only when it comes quickly, which a slow machine would not reach with short ones.
#[test]
fn the_next_memory_is_prepared_before_it_is_needed() {
    let place = Place::new("ahead");
    let db = place.open();
    db.set_config("synchronous_commit", "off").unwrap();
    let schema = Schema::builder("Long")
        .column(Column::new("id", ColumnType::I64))
        .column(Column::new("text", ColumnType::String(30_000)))
        .key("id")
        .build()
        .unwrap();
    let table = db.create_table(&schema).unwrap();
    let text = "x".repeat(30_000);
    let mut image = RowImage::new(table.schema());
    for id in 0.. {
        image.reset(table.schema());
        image.set(table.schema(), 0, Value::I64(id)).unwrap();
        image.set(table.schema(), 1, Value::Str(&text)).unwrap();
        image.finish(table.schema()).unwrap();
        // The end of the memory there may be would end it, too.
        db.transaction(TxnOptions::default(), |txn| txn.insert(&table, &image)).unwrap();
        let ends_at = db.status().unwrap().file_bytes;
        let file_bytes = std::fs::metadata(&place.shm).unwrap().len();
        if file_bytes >= ends_at + 2 * MIB && db.status().unwrap().file_bytes == ends_at {
            break;
        }
    }
    assert!(db.verify().unwrap().is_clean());
}
