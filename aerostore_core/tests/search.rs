//! Ingest and search through a database.
#![allow(missing_docs, reason = "tests")]

mod common;

use aerostore_core::db::ingest::{IngestOptions, Input};
use aerostore_core::db::{TxnOptions, Upserted};
use aerostore_core::query::{Compare, Expr, Literal, Operator, Plan, Query, SortKey, compare};
use aerostore_core::row::Value;
use common::{Place, flight, flight_schema};
use std::fmt::Write;
use std::ops::ControlFlow;

const GO_ON: ControlFlow<()> = ControlFlow::Continue(());

fn unsynced() -> TxnOptions {
    TxnOptions { synchronous_commit: Some(false), ..TxnOptions::default() }
}

#[test]
fn what_was_ingested_is_found() {
    let place = Place::new("search");
    let db = place.open();
    let table = db.create_table(&flight_schema()).unwrap();
    let mut text = String::new();
    for number in 0..2500 {
        writeln!(text, "F{number}\t{}\t1.5\t{number}\t\t1533099600", number % 90).unwrap();
    }
    let options = IngestOptions::new();
    let mut batches = 0;
    let report = db
        .ingest(&table, &options, Input::from_bytes(text.as_bytes()), unsynced(), &mut |report| {
            batches = report.batches;
            GO_ON
        })
        .unwrap();
    assert_eq!((report.rows, report.inserted, report.batches, batches), (2500, 2500, 3, 3));
    let again =
        db.ingest(&table, &options, Input::from_reader(text.as_bytes()), unsynced(), &mut |_| GO_ON).unwrap();
    assert_eq!((again.rows, again.unchanged), (2500, 2500));

    let mut txn = db.begin(TxnOptions::default()).unwrap();
    let filter =
        compare::all(table.schema(), &[vec!["range", "altitude", "100", "200"], vec!["=", "lat", "10"]]);
    let query = Query::filtered(filter.unwrap()).sort_by(SortKey::parse("-altitude"));
    let plan = Plan::new(table.schema(), query).unwrap();
    let mut found = Vec::new();
    txn.search(&table, &plan, &mut |row| {
        found.push(row.key().to_string());
        GO_ON
    })
    .unwrap();
    assert_eq!(found, ["F190", "F100"]);
    assert_eq!(txn.search_count(&table, &plan).unwrap().rows_returned, 2);

    let keys = compare::term(table.schema(), &["in", "flight_id", "F7", "nobody", "F7", "F8"]).unwrap();
    let plan = Plan::new(table.schema(), Query::filtered(keys)).unwrap();
    assert_eq!(txn.search_count(&table, &plan).unwrap().rows_examined, 2);
}

/// Rows whose newest version does not tell what a snapshot sees, one here and there among others.
#[test]
fn a_scan_shows_each_row_once_as_its_snapshot_sees_it() {
    const ROWS: i32 = 300;
    let rows = u64::from(ROWS.unsigned_abs());
    let place = Place::new("groups");
    let db = place.open();
    let table = db.create_table(&flight_schema()).unwrap();
    let change = |numbers: &mut dyn Iterator<Item = i32>, add: i32| {
        let mut txn = db.begin(unsynced()).unwrap();
        for number in numbers {
            txn.upsert(&table, &flight(&table, &format!("F{number}"), number + add)).unwrap();
        }
        txn.commit().unwrap();
    };
    change(&mut (0..ROWS), 0);
    for (step, limit) in [(1_usize, 300), (7, 40), (15, 64), (16, 65), (17, 299), (64, 128)] {
        let read = TxnOptions { read_only: true, ..unsynced() };
        let mut before = db.begin(read).unwrap();
        assert_eq!(before.count(&table).unwrap(), rows);
        change(&mut (0..ROWS).skip(step - 1).step_by(step), 1000);
        change(&mut (ROWS..ROWS + 20), 0);
        let mut found = Vec::new();
        let plan = Plan::new(table.schema(), Query::all().limit(limit)).unwrap();
        let outcome = before
            .search(&table, &plan, &mut |row| {
                let number = row.get(3).as_i64().unwrap();
                assert_eq!(row.key(), Value::Str(&format!("F{number}")));
                found.push(number);
                GO_ON
            })
            .unwrap();
        assert_eq!((outcome.rows_examined, outcome.rows_returned), (limit, limit));
        found.sort_unstable();
        found.dedup();
        assert_eq!(found.len() as u64, limit, "every {step}th row");
        let plan = Plan::new(table.schema(), Query::all()).unwrap();
        let outcome = before.search_count(&table, &plan).unwrap();
        assert_eq!((outcome.rows_examined, outcome.rows_returned), (rows, rows));
        drop(before);
        let mut after = db.begin(unsynced()).unwrap();
        assert_eq!(after.search_count(&table, &plan).unwrap().rows_returned, rows + 20);
        for number in ROWS..ROWS + 20 {
            after.delete(&table, Value::Str(&format!("F{number}"))).unwrap();
        }
        after.commit().unwrap();
        change(&mut (0..ROWS), 0);
    }
}

#[test]
fn a_bad_line_undoes_its_batch_only() {
    let place = Place::new("badline");
    let db = place.open();
    let table = db.create_table(&flight_schema()).unwrap();
    let options = IngestOptions::new().columns(["flight_id", "altitude"]).batch_rows(2);
    let text = b"A\t1\nB\t2\nC\t3\nD\tx\n";
    let error = db.ingest(&table, &options, Input::from_bytes(text), unsynced(), &mut |_| GO_ON).unwrap_err();
    assert_eq!(error.to_string(), "line 4: column \"altitude\": expected int but got \"x\"");
    assert_eq!(error.report.rows, 2);
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    assert_eq!(txn.count(&table).unwrap(), 2);
    assert!(!txn.exists(&table, Value::Str("C")).unwrap());
}

#[test]
fn columns_that_are_not_named_are_kept() {
    let place = Place::new("partial");
    let db = place.open();
    let table = db.create_table(&flight_schema()).unwrap();
    let mut txn = db.begin(unsynced()).unwrap();
    assert_eq!(txn.upsert(&table, &flight(&table, "A", 300)).unwrap(), Upserted::Inserted);
    txn.commit().unwrap();
    let options = IngestOptions::new().columns(["gs", "flight_id"]);
    let report =
        db.ingest(&table, &options, Input::from_bytes(b"450\tA\n451\tB\n"), unsynced(), &mut |_| GO_ON);
    let report = report.unwrap();
    assert_eq!((report.inserted, report.updated), (1, 1));
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    let row = |row: aerostore_core::row::RowView<'_>| (row.get(3).as_i64(), row.get(4).as_i64());
    assert_eq!(txn.get(&table, Value::Str("A"), row).unwrap(), Some((Some(300), Some(450))));
    assert_eq!(txn.get(&table, Value::Str("B"), row).unwrap(), Some((None, Some(451))));
}

#[test]
fn batches_that_conflict_are_run_again() {
    let place = Place::new("conflict");
    let db = place.open();
    let table = db.create_table(&flight_schema()).unwrap();
    std::thread::scope(|scope| {
        for worker in 0..3 {
            let (db, table) = (&db, &table);
            scope.spawn(move || {
                let mut text = String::new();
                for row in 0..2000 {
                    writeln!(text, "F{}\t{worker}\t\t{row}\t\t", row % 50).unwrap();
                }
                let options = IngestOptions::new().batch_rows(100);
                let input = Input::from_bytes(text.as_bytes());
                let report = db.ingest(table, &options, input, unsynced(), &mut |_| GO_ON).unwrap();
                assert_eq!(report.rows, 2000);
            });
        }
    });
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    assert_eq!(txn.count(&table).unwrap(), 50);
}

/// A query for one key is a look-up; it finds what its plan would.
#[test]
fn a_query_for_one_key_finds_what_its_plan_does() {
    let place = Place::new("onekey");
    let db = place.open();
    let table = db.create_table(&flight_schema()).unwrap();
    let load = |text: &[u8]| {
        let options = IngestOptions::new().columns(["flight_id", "altitude"]);
        db.ingest(&table, &options, Input::from_bytes(text), unsynced(), &mut |_| GO_ON).unwrap();
    };
    load(b"A\t1\nB\t2\n");
    let of = |operator: Operator, key: Literal| {
        Query::filtered(Expr::Compare(Compare::new("flight_id", operator, vec![key])))
            .and(Expr::All(Vec::new()))
    };
    let equal = |key: &str| of(Operator::Equal, Literal::Text(key.to_owned()));
    let altitude = Expr::Compare(Compare::new("altitude", Operator::Equal, vec![Literal::Int(2)]));
    let long = "A".repeat(2000);
    for (query, expected) in [
        (equal("A"), 1),
        (equal("C"), 0),
        (equal(""), 0),
        (equal("\\N"), 0),
        (equal(&long), 0),
        (of(Operator::Equal, Literal::Null), 0),
        (of(Operator::NotEqual, Literal::Text("A".to_owned())), 1),
        (equal("A").and(altitude.clone()), 0),
        (equal("B").and(altitude), 1),
        (equal("A").limit(0), 0),
        (equal("A").limit(1), 1),
        (equal("A").offset(1), 0),
        (equal("A").sort_by(SortKey::ascending("gs")), 1),
    ] {
        let mut txn = db.begin(TxnOptions::default()).unwrap();
        let plan = Plan::new(table.schema(), query.clone()).unwrap();
        let mut rows: [Vec<String>; 2] = Default::default();
        let [planned, found] = &mut rows;
        let outcome = txn.search(&table, &plan, &mut |row| {
            planned.push(row.key().to_string());
            GO_ON
        });
        assert_eq!(outcome.unwrap().rows_returned, expected, "{query:?}");
        let count = txn.find(&table, query.clone(), &mut |row| {
            found.push(row.key().to_string());
            GO_ON
        });
        assert_eq!(count.unwrap(), expected, "{query:?}");
        assert_eq!(planned, found, "{query:?}");
        assert_eq!(txn.find_count(&table, query.clone()).unwrap(), expected, "{query:?}");
    }
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    let unknown = Query::filtered(Expr::Compare(Compare::new("speed", Operator::Null, Vec::new())));
    assert!(txn.find(&table, unknown, &mut |_| GO_ON).is_err());
    assert!(txn.find(&table, equal("A").by_index("lat"), &mut |_| GO_ON).is_err());
}
