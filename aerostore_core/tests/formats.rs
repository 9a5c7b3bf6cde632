//! Files of every version of the formats since the first, kept as they were written: this version reads them, or says that it does not.
//!
//! `AEROSTORE_WRITE_FIXTURES=DIRECTORY` makes those of this version there, in a folder for each, to be kept when a format gets a new version.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use aerostore_core::db::{Database, OpenMode, Table, TxnOptions};
use aerostore_core::row::{Column, ColumnType, IndexSpec, Schema, Value};
use common::Place;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

const ROWS: i64 = 12;

fn schema() -> Schema {
    Schema::builder("Fixture")
        .column(Column::new("name", ColumnType::String(16)))
        .column(Column::new("flag", ColumnType::Bool))
        .column(Column::new("small", ColumnType::I16))
        .column(Column::new("number", ColumnType::I64).ordered())
        .column(Column::new("part", ColumnType::F64).nullable())
        .column(Column::new("text", ColumnType::String(40)).nullable())
        .column(Column::new("at", ColumnType::Timestamp).nullable())
        .key("name")
        .build()
        .unwrap()
}

/// Writes a row with this number.
fn put(db: &Database, table: &Table, row: i64, number: i64) {
    let text = "x".repeat(usize::try_from(number % 40).unwrap());
    let small = i16::try_from(number % 1000).unwrap();
    let columns = [
        (1, Value::Bool(number % 2 == 0)),
        (2, Value::I16(-small)),
        (3, Value::I64(number)),
        (4, if number % 3 == 0 { Value::Null } else { Value::F64(small.into()) }),
        (5, if number % 5 == 0 { Value::Null } else { Value::Str(&text) }),
        (6, Value::Timestamp(number * 1000)),
    ];
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    txn.set(table, Value::Str(&format!("row {row}")), &columns).unwrap();
    txn.commit().unwrap();
}

/// What happened besides to the table of some files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Besides {
    Nothing,
    /// Somebody followed it, for whom old rows are logged.
    Followed,
    /// That, and it got columns, before the checkpoint and behind it.
    Altered,
}

/// Columns of a table that is altered, before the checkpoint and behind it.
fn added() -> [Column; 2] {
    [
        Column::new("level", ColumnType::I64).default(7_i64),
        Column::new("word", ColumnType::String(8)).nullable(),
    ]
}

/// Gives a row that was written before values in the columns that were added.
fn put_added(db: &Database, table: &Table, row: i64) {
    let columns = [(7, Value::I64(row)), (8, Value::Str("added"))];
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    txn.set(table, Value::Str(&format!("row {row}")), &columns[..table.schema().columns().len() - 7])
        .unwrap();
    txn.commit().unwrap();
}

/// What the files were made with: inserts, updates, deletions, an index made and one dropped, a checkpoint in the middle, a clean end.
fn fill(place: &Place, besides: Besides) {
    let db = place.builder().segment_bytes(6000).open().unwrap();
    let table = db.create_table(&schema()).unwrap();
    let _subscription = (besides != Besides::Nothing).then(|| db.watch(&table).subscribe().unwrap());
    for row in 0..ROWS {
        put(&db, &table, row, row);
    }
    if besides == Besides::Altered {
        put_added(&db, &db.add_columns(&table, &added()[..1]).unwrap(), 9);
    }
    db.create_index(&table, 2, IndexSpec::default()).unwrap();
    db.checkpoint().unwrap();
    if besides == Besides::Altered {
        put_added(&db, &db.add_columns(&table, &added()[1..]).unwrap(), 3);
    }
    // By a handle that knows of no added columns.
    for row in 0..ROWS / 2 {
        put(&db, &table, row, 100 + row);
    }
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    txn.delete(&table, Value::Str("row 11")).unwrap();
    txn.commit().unwrap();
    db.drop_index(&table, 3).unwrap();
    db.close().unwrap();
}

fn check(db: &Database, besides: Besides) {
    let table = db.table("Fixture").unwrap().unwrap();
    if besides == Besides::Altered {
        assert_eq!(**table.schema(), schema().with_columns(&added()).unwrap());
        check_added(db, &table);
    } else {
        assert_eq!(**table.schema(), schema());
    }
    let mut numbers = Vec::new();
    let mut txn = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
    txn.scan(&table, &mut |row| {
        let number = row.get(3).as_i64().unwrap();
        assert_eq!(row.get(1), Value::Bool(number % 2 == 0));
        assert_eq!(row.get(4).is_null(), number % 3 == 0);
        assert_eq!(row.get(5).is_null(), number % 5 == 0);
        assert_eq!(row.get(6), Value::Timestamp(number * 1000));
        numbers.push(number);
        ControlFlow::Continue(())
    })
    .unwrap();
    numbers.sort_unstable();
    let expected: Vec<i64> = (ROWS / 2..ROWS - 1).chain((0..ROWS / 2).map(|row| 100 + row)).collect();
    assert_eq!(numbers, expected);
    let report = db.verify().unwrap();
    assert!(report.is_clean(), "{report:#?}");
}

fn check_added(db: &Database, table: &Table) {
    let mut txn = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
    txn.scan(table, &mut |row| {
        let expected = match row.key() {
            Value::Str("row 3") => (3, Value::Str("added")),
            Value::Str("row 9") => (9, Value::Null),
            _ => (7, Value::Null),
        };
        assert_eq!((row.get(7).as_i64().unwrap(), row.get(8)), expected);
        ControlFlow::Continue(())
    })
    .unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Is there an operation of that kind: the kind, the table's number, a length that it may have?
fn has_operation(dir: &Path, kind: u8) -> bool {
    let is_head = |bytes: &[u8]| matches!(*bytes, [of, 0..32, 0, 0, 0, 1..=255, 0..=3, 0, 0] if of == kind);
    fs::read_dir(dir.join("wal")).unwrap().any(|entry| {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        bytes.windows(9).any(is_head)
    })
}

/// The files are read, with their checkpoint and from the log alone.
fn check_files(name: &str, besides: Besides, kinds: &[u8]) {
    if let Some(directory) = std::env::var_os("AEROSTORE_WRITE_FIXTURES") {
        let place = Place::new("formats-written");
        fill(&place, besides);
        copy(&place.dir, &Path::new(&directory).join(name));
    }
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    for kind in [128, 129] {
        assert_eq!(has_operation(&kept, kind), kinds.contains(&kind), "{kind}");
    }
    assert!(kinds.iter().all(|kind| has_operation(&kept, *kind)));
    for without_checkpoint in [false, true] {
        let place = Place::new("formats");
        copy(&kept, &place.dir);
        if without_checkpoint {
            fs::remove_dir_all(place.dir.join("checkpoints")).unwrap();
        }
        let db = place.open();
        assert_eq!((db.boot().mode, db.boot().checkpoint.is_some()), (OpenMode::Cold, !without_checkpoint));
        assert_eq!(db.boot().torn, None);
        check(&db, besides);
        put(&db, &db.table("Fixture").unwrap().unwrap(), 20, 20);
        db.close().unwrap();
    }
}

#[test]
fn files_of_log_1_and_checkpoint_1_are_read() {
    check_files("log-1-checkpoint-1", Besides::Nothing, &[]);
}

#[test]
fn files_of_a_table_that_was_followed_are_read() {
    check_files("log-1-followed", Besides::Followed, &[128]);
}

#[test]
fn files_of_a_table_that_got_columns_are_read() {
    check_files("log-1-altered", Besides::Altered, &[8, 129]);
}
