//! Tables of a database that number their rows, are dropped and made anew, and what differs between two definitions of one name.

#![allow(clippy::unwrap_used, reason = "tests")]

use crate::db::ingest::{IngestOptions, Input};
use crate::db::{Database, Error, ErrorKind, OpenMode, Table, TableStanding, TxnOptions};
use crate::row::{Column, ColumnType, Schema, SchemaBuilder, Value};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The files of a test's database.
struct Place {
    dir: PathBuf,
    shm: PathBuf,
}

impl Place {
    fn new(name: &str) -> Self {
        let unique = format!("/dev/shm/aerostore-test-ddl-{name}-{}", std::process::id());
        Self { dir: PathBuf::from(&unique), shm: PathBuf::from(format!("{unique}.mmap")) }
    }

    fn open(&self) -> Database {
        let builder = Database::builder(&self.dir).shm_path(&self.shm).max_bytes(64 << 20);
        builder.segment_bytes(1 << 20).synchronous_commit(false).open().unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.shm);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn notes() -> SchemaBuilder {
    Schema::builder("Notes")
        .column(Column::new("_key", ColumnType::I64))
        .column(Column::new("text", ColumnType::String(20)).nullable())
        .column(Column::new("level", ColumnType::I32).default(7))
        .key("_key")
        .numbered_key()
}

fn add(db: &Database, table: &Table, text: &str) -> i64 {
    db.transaction(TxnOptions::default(), |txn| txn.insert_numbered(table, &[(1, Value::Str(text))])).unwrap()
}

#[test]
fn rows_are_numbered_from_zero_and_after_the_greatest_key_of_any() {
    let place = Place::new("numbered");
    let db = place.open();
    let table = db.create_table(&notes().build().unwrap()).unwrap();
    assert_eq!([add(&db, &table, "a"), add(&db, &table, "b")], [0, 1]);
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    txn.set(&table, Value::I64(41), &[(1, Value::Str("named"))]).unwrap();
    txn.set(&table, Value::I64(-3), &[]).unwrap();
    txn.commit().unwrap();
    assert_eq!(add(&db, &table, "c"), 42);
    db.begin(TxnOptions::default()).unwrap().insert_numbered(&table, &[]).unwrap(); // rolled back
    assert_eq!(add(&db, &table, "d"), 44);
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    let level = txn.get(&table, Value::I64(44), |row| row.get(2).to_owned()).unwrap().unwrap();
    assert_eq!(level.as_value(), Value::I32(7), "the default");
    drop(txn);
    for with_checkpoint in [false, true] {
        let db = place.open();
        if with_checkpoint {
            db.checkpoint().unwrap();
        }
        db.close().unwrap();
    }
    db.close().unwrap();
    std::fs::remove_file(&place.shm).unwrap();
    let db = place.open();
    assert_eq!(db.boot().mode, OpenMode::Cold);
    let table = db.table("Notes").unwrap().unwrap();
    assert_eq!(add(&db, &table, "after a cold start"), 45);
    let report = db.verify().unwrap();
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn no_two_rows_get_one_number() {
    let place = Place::new("numbers");
    let db = place.open();
    let table = db.create_table(&notes().build().unwrap()).unwrap();
    let numbers: BTreeSet<i64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|_| {
                // Each as another process would.
                scope.spawn(|| {
                    let (db, table) = (place.open(), table.clone());
                    (0..100).map(|_| add(&db, &table, "x")).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(numbers, (0..300).collect());
}

/// Where numbers end.
const END: i64 = 1 << 62;

#[test]
fn the_last_number_is_given_once() {
    let place = Place::new("last-number");
    let db = place.open();
    let table = db.create_table(&notes().build().unwrap()).unwrap();
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    txn.set(&table, Value::I64(END - 2), &[]).unwrap();
    assert_eq!(txn.insert_numbered(&table, &[]).unwrap(), END - 1);
    let error = txn.insert_numbered(&table, &[]).unwrap_err();
    let told = "Notes has no number left for another row: the last one, 4611686018427387903, is a row's key";
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Type, told));
    let plain =
        Schema::builder("Plain").column(Column::new("id", ColumnType::I64)).key("id").build().unwrap();
    let plain = db.create_table(&plain).unwrap();
    assert_eq!(txn.insert_numbered(&plain, &[]).unwrap_err().kind(), ErrorKind::Type);
}

#[test]
fn a_great_key_that_somebody_names_does_not_use_numbers_up() {
    let place = Place::new("great-key");
    let mut db = place.open();
    let mut table = db.create_table(&notes().build().unwrap()).unwrap();
    assert_eq!(add(&db, &table, "first"), 0);
    for key in [i64::MAX, END, -5] {
        db.transaction(TxnOptions::default(), |txn| txn.set(&table, Value::I64(key), &[])).unwrap();
    }
    // Warm, from the log, and from a checkpoint.
    for start in 0..4 {
        assert_eq!(add(&db, &table, "next"), start + 1);
        if start == 2 {
            db.checkpoint().unwrap();
        }
        db.close().unwrap();
        if start > 0 {
            std::fs::remove_file(&place.shm).unwrap();
        }
        db = place.open();
        assert_eq!(db.boot().mode == OpenMode::Cold, start > 0);
        table = db.table("Notes").unwrap().unwrap();
    }
}

#[test]
fn numbers_come_back_with_the_end_of_the_row_that_has_the_last() {
    let place = Place::new("last-back");
    let db = place.open();
    let table = db.create_table(&notes().build().unwrap()).unwrap();
    assert_eq!(add(&db, &table, "first"), 0);
    let put = |key: i64| {
        db.transaction(TxnOptions::default(), |txn| txn.set(&table, Value::I64(key), &[])).unwrap();
    };
    put(END - 1);
    put(5);
    let number =
        || db.transaction(TxnOptions::default(), |txn| txn.insert_numbered(&table, &[(1, Value::Str("x"))]));
    (0..2).for_each(|_| assert_eq!(number().unwrap_err().kind(), ErrorKind::Type));
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    txn.delete(&table, Value::I64(END - 1)).unwrap();
    assert_eq!(txn.insert_numbered(&table, &[]).unwrap(), 6, "it is gone for this one");
    txn.rollback();
    assert_eq!(number().unwrap(), 7);
    db.transaction(TxnOptions::default(), |txn| txn.delete(&table, Value::I64(END - 1))).unwrap();
    assert_eq!(number().unwrap(), 8);
}

#[test]
fn lines_without_a_key_are_numbered() {
    let place = Place::new("numbered-lines");
    let db = place.open();
    let table = db.create_table(&notes().build().unwrap()).unwrap();
    let ingest = |options: &IngestOptions, text: &str| {
        let input = Input::from_bytes(text.as_bytes());
        db.ingest(&table, options, input, TxnOptions::default(), &mut |_| ControlFlow::Continue(())).unwrap()
    };
    assert_eq!(ingest(&IngestOptions::new(), "one\t1\ntwo\t2\n").inserted, 2);
    assert_eq!(ingest(&IngestOptions::new().columns(["text"]), "three\n").inserted, 1);
    let report = ingest(&IngestOptions::new().columns(["_key", "text"]), "1\tnamed\n9\tnine\n");
    assert_eq!((report.inserted, report.updated), (1, 1));
    let mut rows = Vec::new();
    let mut txn = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
    txn.scan(&table, &mut |row| {
        rows.push(format!("{} {} {}", row.get(0), row.get(1), row.get(2)));
        ControlFlow::Continue(())
    })
    .unwrap();
    rows.sort_unstable();
    assert_eq!(rows, ["0 one 1", "1 named 2", "2 three 7", "9 nine 7"]);
}

#[test]
fn another_definition_of_a_name_is_refused_with_the_difference() {
    let place = Place::new("difference");
    let db = place.open();
    let text = || Column::new("text", ColumnType::String(20)).nullable();
    let with = |column: Column| {
        Schema::builder("Notes").column(Column::new("_key", ColumnType::I64)).column(column).key("_key")
    };
    db.create_table(&with(text()).build().unwrap()).unwrap();
    db.create_table(&with(text()).build().unwrap()).unwrap();
    let others = [
        (with(text().alias("t")), "column \"text\" has aliases {}, not {t}"),
        (with(text().ordered()), "column \"text\" has index none, not ordered"),
        (with(text().default("x")), "column \"text\" has no default, not default x"),
        (with(Column::new("text", ColumnType::String(20))), "column \"text\" may be null"),
        (with(Column::new("text", ColumnType::String(9))), "column \"text\" is string(20), not string(9)"),
        (with(Column::new("body", ColumnType::String(20))), "column 1 is \"text\", not \"body\""),
        (with(text()).column(Column::new("on", ColumnType::Bool)), "it has no column \"on\""),
        (with(text()).numbered_key(), "it does not number its rows"),
        (with(text()).nulls(crate::row::NullRule::High), "nulls are unknown, not high"),
        (with(text()).ttl("_key", 5), "rows live for ever, not rows live for 5 s from \"_key\""),
    ];
    for (other, difference) in others {
        let error = db.create_table(&other.build().unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Duplicate);
        let expected = format!("table Notes exists with another definition: {difference}");
        assert_eq!(error.to_string(), expected);
        assert!(matches!(error, Error::Txn(_)));
    }
}

fn names(db: &Database) -> Vec<String> {
    db.tables()
        .unwrap()
        .iter()
        .map(|table| format!("{} {}", table.name(), table.schema().columns().len()))
        .collect()
}

#[test]
fn a_table_that_was_dropped_and_made_anew_is_the_new_one_after_every_start() {
    for checkpoints in 0..4 {
        let place = Place::new(&format!("anew-{checkpoints}"));
        let db = place.open();
        let old = db.create_table(&notes().build().unwrap()).unwrap();
        let other =
            Schema::builder("Kept").column(Column::new("id", ColumnType::I64)).key("id").build().unwrap();
        let other = db.create_table(&other).unwrap();
        db.transaction(TxnOptions::default(), |txn| txn.set(&other, Value::I64(1), &[])).unwrap();
        (0..20).for_each(|number| assert_eq!(add(&db, &old, "old"), number));
        if checkpoints & 1 != 0 {
            db.checkpoint().unwrap();
        }
        add(&db, &old, "old");
        db.drop_table(&old).unwrap();
        let new = notes().column(Column::new("more", ColumnType::Bool).nullable()).build().unwrap();
        if checkpoints & 2 != 0 {
            db.checkpoint().unwrap();
        }
        assert_eq!(db.standing(&old).unwrap(), TableStanding::Dropped);
        assert_eq!(db.drop_table(&old).unwrap_err().kind(), ErrorKind::NotFound);
        let table = db.create_table(&new).unwrap();
        assert_ne!(table.id(), old.id());
        assert_eq!(add(&db, &table, "new"), 0);
        let error = db.begin(TxnOptions::default()).unwrap().get(&old, Value::I64(0), |_| ()).unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (ErrorKind::NotFound, "table Notes was dropped")
        );
        db.close().unwrap();
        for expected in [OpenMode::Warm, OpenMode::Cold] {
            if expected == OpenMode::Cold {
                std::fs::remove_file(&place.shm).unwrap();
            }
            let db = place.open();
            assert_eq!((db.boot().mode, db.boot().rows), (expected, 2));
            assert_eq!(names(&db), ["Notes 4", "Kept 1"]);
            let table = db.table("Notes").unwrap().unwrap();
            let mut txn = db.begin(TxnOptions::default()).unwrap();
            assert_eq!(txn.count(&table).unwrap(), 1);
            drop(txn);
            let report = db.verify().unwrap();
            assert!(report.is_clean(), "{report:?}");
            db.close().unwrap();
        }
    }
}

#[test]
fn the_memory_of_dropped_tables_serves_others() {
    let place = Place::new("dropped-memory");
    let db = Database::builder(&place.dir).shm_path(&place.shm).max_bytes(20 << 20).segment_bytes(1 << 20);
    let db = db.synchronous_commit(false).open().unwrap();
    let schema = Schema::builder("Big")
        .column(Column::new("id", ColumnType::I64))
        .column(Column::new("text", ColumnType::String(900)).nullable())
        .column(Column::new("number", ColumnType::I64).ordered())
        .key("id")
        .build()
        .unwrap();
    let text = "x".repeat(900);
    // Each takes some two fifths of what there is.
    for round in 0..4 {
        let table = db.create_table(&schema).unwrap();
        let begun = Instant::now();
        for first in (0..6000).step_by(500) {
            let fill = || {
                db.transaction(TxnOptions::default(), |txn| {
                    (first..first + 500).try_for_each(|id| {
                        txn.set(&table, Value::I64(id), &[(1, Value::Str(&text)), (2, Value::I64(id))])
                            .map(drop)
                    })
                })
            };
            while let Err(error) = fill() {
                assert_eq!(error.kind(), ErrorKind::Space, "round {round}: {error}");
                assert!(begun.elapsed() < Duration::from_mins(1), "round {round}: there is no room");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        db.drop_table(&table).unwrap();
    }
}
