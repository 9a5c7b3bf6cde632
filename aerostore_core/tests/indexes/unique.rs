//! Unique indexes: what is refused, what is not, and that it stays so over restarts.

use crate::common::Place;
use crate::{GO_ON, NUMBER, TEXT, assert_clean, builder, image, unsynced};
use aerostore_core::db::{Database, Error, ErrorKind, Isolation, Table, Transaction, TxnOptions};
use aerostore_core::row::{Column, ColumnType, IndexSpec, Schema, Value};
use aerostore_core::txn::TxnError;

/// `number` is unique by definition; `text` may become so.
fn schema(name: &str) -> Schema {
    Schema::builder(name)
        .column(Column::new("id", ColumnType::I64))
        .column(Column::new("number", ColumnType::I32).nullable().unique())
        .column(Column::new("text", ColumnType::String(40)).nullable())
        .key("id")
        .build()
        .unwrap()
}

fn number(txn: &mut Transaction, table: &Table, id: i64, number: i32) -> Result<(), Error> {
    txn.set(table, Value::I64(id), &[(NUMBER, Value::I32(number))]).map(drop)
}

fn alone(db: &Database, work: impl FnMut(&mut Transaction) -> Result<(), Error>) -> Result<(), Error> {
    db.transaction(unsynced(), work)
}

/// Says which index, which column and which value, and is not to be tried again.
#[track_caller]
fn assert_refused(result: Result<(), Error>, column: &str, value: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Duplicate, "{error}");
    assert!(!error.is_retryable());
    let text = error.to_string();
    assert!(text.contains(column) && text.contains(&format!("\"{value}\"")), "{text}");
    assert!(matches!(error, Error::Txn(TxnError::UniqueViolation { .. })), "{error:?}");
}

#[test]
fn no_two_rows_have_one_value_and_any_number_have_none() {
    for isolation in [Isolation::Serializable, Isolation::Snapshot] {
        let place = Place::new("unique");
        let db = place.open();
        let table = db.create_table(&schema("Unique")).unwrap();
        let options = TxnOptions { isolation, ..unsynced() };
        let write = |id, to| db.transaction(options, |txn| number(txn, &table, id, to));
        write(1, 10).unwrap();
        assert_refused(write(2, 10), "number", "10");
        write(2, 20).unwrap();
        assert_refused(write(2, 10), "number", "10");
        // The same value again, and other columns of both.
        write(2, 20).unwrap();
        for id in [1, 2] {
            alone(&db, |txn| txn.set(&table, Value::I64(id), &[(TEXT, Value::Str("a"))]).map(drop)).unwrap();
        }
        // Two that come in one transaction.
        let both = db.transaction(options, |txn| (3..5).try_for_each(|id| number(txn, &table, id, 30)));
        assert_refused(both, "number", "30");
        for id in 5..9 {
            alone(&db, |txn| txn.upsert(&table, &image(&table, id, None, "null")).map(drop)).unwrap();
        }
        let mut ids = Vec::new();
        db.begin(options)
            .unwrap()
            .scan(&table, &mut |row| {
                ids.push(row.get(0).as_i64().unwrap());
                GO_ON
            })
            .unwrap();
        ids.sort_unstable();
        assert_eq!(ids, [1, 2, 5, 6, 7, 8]);
        assert_clean(&db);
    }
}

#[test]
fn what_counts_is_what_a_transaction_leaves() {
    let place = Place::new("leaves");
    let db = place.open();
    let table = db.create_table(&schema("Leaves")).unwrap();
    let delete = |txn: &mut Transaction, id| txn.delete(&table, Value::I64(id)).map(drop);
    alone(&db, |txn| (1..4).try_for_each(|id| number(txn, &table, id, i32::try_from(id).unwrap()))).unwrap();
    // Two rows change their values.
    alone(&db, |txn| number(txn, &table, 1, 2).and_then(|()| number(txn, &table, 2, 1))).unwrap();
    // A row goes, another comes with its value, before or after that.
    alone(&db, |txn| delete(txn, 3).and_then(|()| number(txn, &table, 4, 3))).unwrap();
    alone(&db, |txn| number(txn, &table, 5, 3).and_then(|()| delete(txn, 4))).unwrap();
    // The same row again.
    alone(&db, |txn| delete(txn, 5).and_then(|()| number(txn, &table, 5, 3))).unwrap();
    // Taken back: by writing once more, by a savepoint, by a savepoint in a row that it has kept.
    alone(&db, |txn| number(txn, &table, 6, 1).and_then(|()| number(txn, &table, 6, 6))).unwrap();
    alone(&db, |txn| {
        let mark = txn.savepoint()?;
        number(txn, &table, 7, 1)?;
        txn.rollback_to(&mark)?;
        number(txn, &table, 7, 7)?;
        let mark = txn.savepoint()?;
        number(txn, &table, 7, 2)?;
        txn.rollback_to(&mark)
    })
    .unwrap();
    // Kept by a savepoint that is released.
    let kept = alone(&db, |txn| {
        let mark = txn.savepoint()?;
        number(txn, &table, 7, 2)?;
        txn.release(mark)
    });
    assert_refused(kept, "number", "2");
    // One that was never committed is in nobody's way.
    let mut txn = db.begin(unsynced()).unwrap();
    number(&mut txn, &table, 8, 8).unwrap();
    txn.rollback();
    alone(&db, |txn| number(txn, &table, 9, 8)).unwrap();
    // Nor one that is still to commit, which fails later.
    let mut early = db.begin(unsynced()).unwrap();
    number(&mut early, &table, 10, 10).unwrap();
    alone(&db, |txn| number(txn, &table, 11, 10)).unwrap();
    assert_refused(early.commit().map(drop), "number", "10");
    // An old reader that holds the old versions back changes nothing of that.
    let mut old = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
    assert!(old.exists(&table, Value::I64(11)).unwrap());
    alone(&db, |txn| number(txn, &table, 11, 12)).unwrap();
    alone(&db, |txn| number(txn, &table, 12, 10)).unwrap();
    drop(old);
    assert_clean(&db);
}

#[test]
fn a_unique_index_over_rows_that_are_not_is_not_made() {
    let place = Place::new("not-made");
    let (spare, text) = ("spare", "text");
    {
        let db = place.open();
        let table = db.create_table(&builder("Flat", false)).unwrap();
        for (id, word) in [(1, "a"), (2, "b"), (3, "b"), (4, "c")] {
            alone(&db, |txn| txn.upsert(&table, &image(&table, id, Some(1), word)).map(drop)).unwrap();
        }
        assert_refused(db.create_index(&table, TEXT, IndexSpec::UNIQUE), text, "b");
        let mut txn = db.begin(unsynced()).unwrap();
        assert!(txn.index_statistics(&table).unwrap().is_empty());
        drop(txn);
        assert_clean(&db);
        // It bars nobody.
        alone(&db, |txn| txn.set(&table, Value::I64(4), &[(TEXT, Value::Str("a"))]).map(drop)).unwrap();
        for (id, word) in [(3, "x"), (4, "y")] {
            alone(&db, |txn| txn.set(&table, Value::I64(id), &[(TEXT, Value::Str(word))]).map(drop)).unwrap();
        }
        db.create_index(&table, TEXT, IndexSpec::UNIQUE).unwrap();
        // All null.
        db.create_index(&table, table.schema().find(spare).unwrap(), IndexSpec::UNIQUE).unwrap();
        db.drop_index(&table, table.schema().find(spare).unwrap()).unwrap();
        // As everybody, whatever is asked.
        db.create_index(&table, 0, IndexSpec::UNIQUE).unwrap();
        assert_clean(&db);
        db.close().unwrap();
    }
    for cold in [false, true] {
        if cold {
            std::fs::remove_file(&place.shm).unwrap();
        }
        let db = place.open();
        let table = db.table("Flat").unwrap().unwrap();
        let stats = db.begin(unsynced()).unwrap().index_statistics(&table).unwrap();
        let found: Vec<_> = stats.iter().map(|index| (index.column, index.spec.is_unique)).collect();
        assert_eq!(found, [(TEXT, true), (0, false)], "cold: {cold}");
        let set = |id, word| {
            alone(&db, |txn| txn.set(&table, Value::I64(id), &[(TEXT, Value::Str(word))]).map(drop))
        };
        assert_refused(set(3, "y"), text, "y");
        set(3, if cold { "cold" } else { "warm" }).unwrap();
        // It was dropped.
        for id in [1, 2] {
            alone(&db, |txn| {
                let spare = table.schema().find(spare).unwrap();
                txn.set(&table, Value::I64(id), &[(spare, Value::I32(5))]).map(drop)
            })
            .unwrap();
        }
        assert_clean(&db);
        db.close().unwrap();
    }
}

#[test]
fn a_definition_with_unique_columns_holds_after_a_cold_start() {
    let place = Place::new("unique-cold");
    for round in 0..3_i32 {
        let db = place.open();
        let table = db.create_table(&schema("Cold")).unwrap();
        alone(&db, |txn| number(txn, &table, i64::from(round), round)).unwrap();
        for before in 0..=round {
            assert_refused(alone(&db, |txn| number(txn, &table, 99, before)), "number", &before.to_string());
        }
        assert_clean(&db);
        db.close().unwrap();
        std::fs::remove_file(&place.shm).unwrap();
    }
}
