//! Hashes: what they serve for, what they refuse, and columns of few values.

use crate::common::Place;
use crate::{GO_ON, SPARE, agree, assert_clean, builder, image, unsynced};
use aerostore_core::db::{Database, Error, ErrorKind, Table, Transaction, TxnOptions};
use aerostore_core::query::{Plan, Query, SortKey, compare};
use aerostore_core::row::{Column, ColumnType, IndexKind, IndexSpec, Schema, Value};

fn schema(name: &str) -> Schema {
    Schema::builder(name)
        .column(Column::new("id", ColumnType::I64))
        .column(Column::new("number", ColumnType::I32).nullable().index(IndexKind::Hash).unique())
        .column(Column::new("text", ColumnType::String(40)).nullable().index(IndexKind::Hash))
        .column(Column::new("spare", ColumnType::F64).nullable())
        .key("id")
        .build()
        .unwrap()
}

/// One transaction, tried again when others take this thread for one that has stopped.
fn write(db: &Database, work: impl FnMut(&mut Transaction) -> Result<(), Error>) {
    db.transaction(unsynced(), work).unwrap();
}

fn filled(db: &Database, name: &str, rows: i64) -> Table {
    let table = db.create_table(&schema(name)).unwrap();
    write(db, |txn| {
        (0..rows).try_for_each(|id| {
            let number = i32::try_from(id).ok().filter(|number| number % 7 != 0);
            txn.upsert(&table, &image(&table, id, number, &format!("text {}", id % 3))).map(drop)
        })
    });
    table
}

fn plan(table: &Table, terms: &[Vec<&str>]) -> Query {
    Query::filtered(compare::all(table.schema(), terms).unwrap())
}

#[test]
fn a_hash_serves_for_values_and_for_nothing_else() {
    let place = Place::new("hash");
    let db = place.open();
    let table = filled(&db, "Hash", 2000);
    let mut txn = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
    for (index, terms) in [
        ("number", vec!["=", "number", "40"]),
        ("number", vec!["=", "number", "42"]),
        ("number", vec!["=", "number", "5000"]),
        ("number", vec!["in", "number", "3", "4", "7", "3", "1999"]),
        ("number", vec!["null", "number"]),
        ("text", vec!["=", "text", "text 1"]),
        ("text", vec!["in", "text", "text 1", "text 2", "none"]),
        ("text", vec!["null", "text"]),
    ] {
        agree(&mut txn, &table, index, std::slice::from_ref(&terms));
    }
    for terms in [
        vec!["<", "number", "40"],
        vec!["between", "number", "4", "5"],
        vec!["notnull", "number"],
        vec!["!=", "number", "4"],
        vec!["prefix", "text", "text 1"],
        vec!["match_case", "text", "text*"],
    ] {
        let column = terms[1];
        let query = plan(&table, std::slice::from_ref(&terms));
        let forced = Plan::new(table.schema(), query.clone().by_index(column)).unwrap();
        let error = txn.search(&table, &forced, &mut |_| GO_ON).unwrap_err();
        assert!(error.to_string().contains("is a hash"), "{error}");
        let explained = txn.explain(&table, &Plan::new(table.schema(), query).unwrap(), true).unwrap();
        assert!(!explained.to_string().contains("hash"), "{explained}");
    }
    // Its order is no order of values.
    let sorted = plan(&table, &[vec!["in", "number", "30", "4", "17"]]).sort_by(SortKey::ascending("number"));
    let mut numbers = Vec::new();
    txn.search(&table, &Plan::new(table.schema(), sorted).unwrap(), &mut |row| {
        numbers.push(row.get(1).to_owned());
        GO_ON
    })
    .unwrap();
    assert_eq!(numbers, [4, 17, 30].map(|number| Value::I32(number).to_owned()));
    assert_clean_after(txn, &db);
}

fn assert_clean_after(txn: Transaction, db: &Database) {
    drop(txn);
    assert_clean(db);
}

#[test]
fn the_plan_of_a_search_for_a_value_names_the_hash() {
    let place = Place::new("hash-plan");
    let db = place.open();
    let table = filled(&db, "Plan", 3000);
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    let plan = Plan::new(table.schema(), plan(&table, &[vec!["=", "number", "40"]])).unwrap();
    let explained = txn.explain(&table, &plan, false).unwrap();
    assert!(explained.to_string().contains("hash of number"), "{explained}");
    let statistics = txn.index_statistics(&table).unwrap();
    let kinds: Vec<_> = statistics.iter().map(|stats| (stats.column, stats.spec.kind())).collect();
    assert_eq!(kinds, [(1, IndexKind::Hash), (2, IndexKind::Hash)]);
    assert!(statistics.iter().all(|stats| stats.min.is_none() && stats.max.is_none()));
    assert_eq!((statistics[0].nulls, statistics[1].distinct), (429, 3));
}

#[test]
fn a_column_of_few_values_bears_thousands_of_rows_for_each() {
    let place = Place::new("hash-few");
    let db = place.open();
    let table = filled(&db, "Few", 6000);
    for turn in 0..3 {
        let text = format!("text {}", turn + 1);
        write(&db, |txn| {
            let mut ids = (turn..6000).step_by(3);
            ids.try_for_each(|id| txn.set(&table, Value::I64(id), &[(2, Value::Str(&text))]).map(drop))
        });
        let mut txn = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
        for text in ["text 0", "text 1", "text 2", "text 3"] {
            agree(&mut txn, &table, "text", &[vec!["=", "text", text]]);
        }
    }
    write(&db, |txn| (0..6000).try_for_each(|id| txn.delete(&table, Value::I64(id)).map(drop)));
    assert_clean(&db);
}

#[test]
fn zeros_of_both_signs_are_one_value() {
    let place = Place::new("hash-zero");
    let db = place.open();
    let table = filled(&db, "Zero", 4);
    db.create_index(&table, SPARE, IndexSpec::HASH).unwrap();
    let mut txn = db.begin(unsynced()).unwrap();
    for (id, zero) in [(0, 0.0), (1, -0.0)] {
        txn.set(&table, Value::I64(id), &[(SPARE, Value::F64(zero))]).unwrap();
    }
    agree(&mut txn, &table, "spare", &[vec!["=", "spare", "0"]]);
    txn.commit().unwrap();
    assert_clean(&db);
}

#[test]
fn the_key_has_its_hash_already() {
    let place = Place::new("hash-key");
    let db = place.open();
    let table = db.create_table(&builder("Key", true)).unwrap();
    assert_eq!(db.create_index(&table, 0, IndexSpec::HASH).unwrap_err().kind(), ErrorKind::Duplicate);
    db.create_index(&table, 0, IndexSpec::default()).unwrap();
    assert_clean(&db);
    let plan = Plan::new(table.schema(), plan(&table, &[vec!["=", "id", "1"]])).unwrap();
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    let explained = txn.explain(&table, &plan, true).unwrap();
    assert!(explained.to_string().contains("point of Key"), "{explained}");
}
