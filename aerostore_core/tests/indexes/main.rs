//! Indexes of tables: what a search by an index finds is what a scan finds, whoever changes what meanwhile.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
mod hash;
mod kept;
mod online;
mod phantoms;
mod plans;
mod revoked;
mod unique;

use aerostore_core::db::{Database, Error, Table, Transaction, TxnOptions};
use aerostore_core::query::{Plan, Query, compare};
use aerostore_core::row::{Column, ColumnType, IndexKind, RowImage, Schema, Value};
use std::ops::ControlFlow;

const GO_ON: ControlFlow<()> = ControlFlow::Continue(());

/// Three columns beside the key; the index of `spare` is a hash.
fn builder(name: &str, indexed: bool) -> Schema {
    let column = |name, kind| {
        let column = Column::new(name, kind).nullable();
        if indexed { column.ordered() } else { column }
    };
    let spare = Column::new("spare", ColumnType::I32).nullable();
    let spare = if indexed { spare.index(IndexKind::Hash) } else { spare };
    Schema::builder(name)
        .column(Column::new("id", ColumnType::I64))
        .column(column("number", ColumnType::I32))
        .column(column("text", ColumnType::String(40)))
        .column(spare)
        .key("id")
        .build()
        .unwrap()
}

const NUMBER: usize = 1;
const TEXT: usize = 2;
const SPARE: usize = 3;

fn unsynced() -> TxnOptions {
    TxnOptions { synchronous_commit: Some(false), ..TxnOptions::default() }
}

fn image(table: &Table, id: i64, number: Option<i32>, text: &str) -> RowImage {
    let schema = table.schema();
    let mut image = RowImage::new(schema);
    let number = number.map_or(Value::Null, Value::I32);
    for (column, value) in [(0, Value::I64(id)), (NUMBER, number), (TEXT, Value::Str(text))] {
        image.set(schema, column, value).unwrap();
    }
    image.finish(schema).unwrap();
    image
}

/// The rows that satisfy the terms, as `id number text`, in the order in which they come.
fn found(
    txn: &mut Transaction,
    table: &Table,
    terms: &[Vec<&str>],
    index: Option<&str>,
) -> Result<Vec<String>, Error> {
    let mut query = Query::filtered(compare::all(table.schema(), terms).unwrap());
    if let Some(index) = index {
        query = query.by_index(index);
    }
    let plan = Plan::new(table.schema(), query).unwrap();
    let mut rows = Vec::new();
    txn.search(table, &plan, &mut |row| {
        rows.push(format!("{} {} {}", row.get(0), row.get(NUMBER), row.get(TEXT)));
        GO_ON
    })?;
    Ok(rows)
}

/// The rows that satisfy the terms by a scan, sorted.
fn scanned(txn: &mut Transaction, table: &Table, terms: &[Vec<&str>]) -> Vec<String> {
    let query = Query::filtered(compare::all(table.schema(), terms).unwrap());
    let plan = Plan::new(table.schema(), query).unwrap();
    let mut rows = Vec::new();
    txn.scan(table, &mut |row| {
        if plan.filter().is_none_or(|filter| filter.matches(row)) {
            rows.push(format!("{} {} {}", row.get(0), row.get(NUMBER), row.get(TEXT)));
        }
        GO_ON
    })
    .unwrap();
    rows.sort_unstable();
    rows
}

/// What the index on a column finds is what a scan finds, each row once.
fn agree(txn: &mut Transaction, table: &Table, index: &str, terms: &[Vec<&str>]) {
    let mut by_index = found(txn, table, terms, Some(index)).unwrap();
    by_index.sort_unstable();
    assert_eq!(by_index, scanned(txn, table, terms), "{terms:?} by {index}");
}

fn agree_on_everything(txn: &mut Transaction, table: &Table, columns: &[&str]) {
    for column in columns {
        if *column != "spare" {
            agree(txn, table, column, &[vec!["notnull", column]]);
        }
        agree(txn, table, column, &[vec!["null", column]]);
    }
    if columns.contains(&"spare") {
        agree(txn, table, "spare", &[vec!["=", "spare", "1"]]);
        agree(txn, table, "spare", &[vec!["in", "spare", "2", "0", "7", "2"], vec!["!=", "text", "b"]]);
    }
    if columns.contains(&"number") {
        agree(txn, table, "number", &[vec!["range", "number", "-3", "7"]]);
        agree(txn, table, "number", &[vec!["=", "number", "4"]]);
        agree(txn, table, "number", &[vec![">", "number", "2"], vec!["!=", "text", "b"]]);
    }
    if columns.contains(&"text") {
        agree(txn, table, "text", &[vec!["between", "text", "a", "b"]]);
        agree(txn, table, "text", &[vec!["prefix", "text", "a"]]);
    }
}

fn assert_clean(db: &Database) {
    let report = db.verify().unwrap();
    assert!(report.is_clean(), "{report:#?}");
}
