//! What a transaction has looked for by an index is what it would find at its commit, or it does not commit.

use crate::common::Place;
use crate::{NUMBER, SPARE, builder, found, image, unsynced};
use aerostore_core::db::{Database, Error, ErrorKind, Isolation, Table, Transaction, TxnOptions};
use aerostore_core::query::{Plan, Query, compare};
use aerostore_core::row::{RowView, Value};
use std::ops::ControlFlow;

fn open(place: &Place) -> (Database, Table) {
    let db = place.open();
    let table = db.create_table(&builder("Phantom", true)).unwrap();
    let mut txn = db.begin(unsynced()).unwrap();
    for id in 0..100 {
        let number = i32::try_from(id).unwrap() * 10;
        txn.upsert(&table, &image(&table, id, Some(number), "t")).unwrap();
    }
    txn.commit().unwrap();
    (db, table)
}

/// Counts the rows from 200 to below 300 by the index, and writes something elsewhere.
fn look_and_write(txn: &mut Transaction, table: &Table, terms: &[Vec<&str>]) -> usize {
    let rows = found(txn, table, terms, Some("number")).unwrap().len();
    txn.set(table, Value::I64(99), &[(SPARE, Value::I32(1))]).unwrap();
    rows
}

const RANGE: [&str; 4] = ["range", "number", "200", "300"];

fn outcome(
    other: impl FnOnce(&mut Transaction, &Table) -> Result<(), Error>,
    terms: &[Vec<&str>],
    isolation: Isolation,
) -> Result<(), Error> {
    let place = Place::new("phantom");
    let (db, table) = open(&place);
    let mut txn = db.begin(TxnOptions { isolation, ..unsynced() }).unwrap();
    look_and_write(&mut txn, &table, terms);
    let mut second = db.begin(unsynced()).unwrap();
    other(&mut second, &table).unwrap();
    second.commit().unwrap();
    txn.commit().map(drop)
}

fn is_conflict(outcome: Result<(), Error>) -> bool {
    match outcome {
        Ok(()) => false,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Serialization, "{error}");
            true
        }
    }
}

fn set_number(id: i64, number: i32) -> impl FnOnce(&mut Transaction, &Table) -> Result<(), Error> {
    move |txn, table| txn.set(table, Value::I64(id), &[(NUMBER, Value::I32(number))]).map(drop)
}

#[test]
fn a_row_that_appears_in_the_range_is_a_conflict() {
    let terms = [RANGE.to_vec()];
    assert!(is_conflict(outcome(set_number(1000, 250), &terms, Isolation::Serializable)), "inserted");
    assert!(is_conflict(outcome(set_number(5, 299), &terms, Isolation::Serializable)), "moved in");
    assert!(is_conflict(outcome(set_number(25, 50), &terms, Isolation::Serializable)), "moved out");
    assert!(is_conflict(outcome(set_number(25, 251), &terms, Isolation::Serializable)), "moved within");
    let delete = |txn: &mut Transaction, table: &Table| txn.delete(table, Value::I64(20)).map(drop);
    assert!(is_conflict(outcome(delete, &terms, Isolation::Serializable)), "deleted");
}

#[test]
fn rows_beside_the_range_are_none() {
    let terms = [RANGE.to_vec()];
    for (id, number) in [(1000, 300), (1000, 199), (5, 9), (40, 1), (19, 310)] {
        let moved = outcome(set_number(id, number), &terms, Isolation::Serializable);
        assert!(!is_conflict(moved), "{id} {number}");
    }
}

#[test]
fn rows_that_the_filter_leaves_out_are_none() {
    let terms = [RANGE.to_vec(), vec!["=", "text", "other"]];
    assert!(!is_conflict(outcome(set_number(1000, 250), &terms, Isolation::Serializable)));
    let other = |txn: &mut Transaction, table: &Table| {
        txn.upsert(table, &image(table, 25, Some(250), "other")).map(drop)
    };
    assert!(is_conflict(outcome(other, &terms, Isolation::Serializable)));
}

#[test]
fn snapshot_isolation_does_not_look() {
    let terms = [RANGE.to_vec()];
    assert!(!is_conflict(outcome(set_number(1000, 250), &terms, Isolation::Snapshot)));
}

#[test]
fn a_walk_that_was_broken_off_looks_no_further() {
    for (number, conflicts) in [(205, true), (210, true), (211, false), (290, false)] {
        let place = Place::new("broken-off");
        let (db, table) = open(&place);
        let mut txn = db.begin(unsynced()).unwrap();
        let query = Query::filtered(compare::term(table.schema(), &RANGE).unwrap()).by_index("number");
        let plan = Plan::new(table.schema(), query).unwrap();
        let mut seen = 0;
        txn.search(&table, &plan, &mut |_| {
            seen += 1;
            if seen == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
        txn.set(&table, Value::I64(99), &[(SPARE, Value::I32(1))]).unwrap();
        let mut second = db.begin(unsynced()).unwrap();
        set_number(1000, number)(&mut second, &table).unwrap();
        second.commit().unwrap();
        assert_eq!(is_conflict(txn.commit().map(drop)), conflicts, "{number}");
    }
}

/// The rows that a closure was shown before it panicked have been read.
#[test]
fn what_was_shown_before_a_panic_is_remembered() {
    for by_index in [true, false] {
        let place = Place::new("panic");
        let (db, table) = open(&place);
        let mut txn = db.begin(unsynced()).unwrap();
        let query = Query::filtered(compare::term(table.schema(), &RANGE).unwrap()).by_index("number");
        let plan = Plan::new(table.schema(), query).unwrap();
        let walk = std::panic::AssertUnwindSafe(|| {
            let mut look = |_: RowView<'_>| -> ControlFlow<()> { panic!("as a caller's closure may") };
            if by_index {
                txn.search(&table, &plan, &mut look).map(drop)
            } else {
                txn.scan(&table, &mut look)
            }
        });
        assert!(std::panic::catch_unwind(walk).is_err());
        txn.set(&table, Value::I64(99), &[(SPARE, Value::I32(1))]).unwrap();
        let mut second = db.begin(unsynced()).unwrap();
        set_number(20, 205)(&mut second, &table).unwrap();
        second.commit().unwrap();
        assert!(is_conflict(txn.commit().map(drop)), "by an index: {by_index}");
    }
}

/// G2: two transactions count each other's range and write into their own.
#[test]
fn g2_with_ranges_of_an_index() {
    let place = Place::new("g2");
    let (db, table) = open(&place);
    let mut first = db.begin(unsynced()).unwrap();
    let mut second = db.begin(unsynced()).unwrap();
    let high = ["range", "number", "5000", "6000"].map(|word| word);
    let low = ["range", "number", "-200", "-100"].map(|word| word);
    assert!(found(&mut first, &table, &[high.to_vec()], Some("number")).unwrap().is_empty());
    assert!(found(&mut second, &table, &[low.to_vec()], Some("number")).unwrap().is_empty());
    set_number(2000, -150)(&mut first, &table).unwrap();
    set_number(2001, 5500)(&mut second, &table).unwrap();
    let outcomes = [first.commit().map(drop), second.commit().map(drop)];
    let conflicts =
        outcomes.into_iter().filter(|_| true).map(is_conflict).filter(|conflict| *conflict).count();
    assert_eq!(conflicts, 1, "one sees the other's row, or neither is first");
}

/// An entry that was there before, of a row that comes back to a key that an old version of it has.
#[test]
fn a_row_that_comes_back_to_an_old_key_is_a_conflict() {
    let place = Place::new("comes-back");
    let (db, table) = open(&place);
    let hold = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
    let mut away = db.begin(unsynced()).unwrap();
    set_number(25, 50)(&mut away, &table).unwrap();
    away.commit().unwrap();
    let mut txn = db.begin(unsynced()).unwrap();
    assert_eq!(look_and_write(&mut txn, &table, &[RANGE.to_vec()]), 9);
    let mut back = db.begin(unsynced()).unwrap();
    set_number(25, 250)(&mut back, &table).unwrap();
    back.commit().unwrap();
    assert!(is_conflict(txn.commit().map(drop)));
    drop(hold);
}

#[test]
fn what_a_transaction_writes_itself_it_finds() {
    let place = Place::new("own");
    let (db, table) = open(&place);
    let mut txn = db.begin(unsynced()).unwrap();
    set_number(1000, 250)(&mut txn, &table).unwrap();
    set_number(21, 5)(&mut txn, &table).unwrap();
    txn.delete(&table, Value::I64(22)).unwrap();
    let rows = found(&mut txn, &table, &[RANGE.to_vec()], Some("number")).unwrap();
    assert_eq!(rows.len(), 9);
    assert!(rows.contains(&"1000 250 null".to_owned()) || rows.iter().any(|row| row.starts_with("1000 250")));
    txn.commit().unwrap();
}

/// Looks for the rows whose `spare` is 1 by its hash, and writes something elsewhere; meanwhile another row gets a value.
fn looked_for_by_hash(id: i64, spare: i32) -> Result<(), Error> {
    let place = Place::new("phantom-hash");
    let (db, table) = open(&place);
    let give = |txn: &mut Transaction, id: i64, spare: i32| {
        txn.set(&table, Value::I64(id), &[(SPARE, Value::I32(spare))]).map(drop).unwrap();
    };
    let mut first = db.begin(unsynced()).unwrap();
    give(&mut first, 5, 1);
    give(&mut first, 6, 2);
    first.commit().unwrap();
    let mut txn = db.begin(unsynced()).unwrap();
    assert_eq!(found(&mut txn, &table, &[vec!["=", "spare", "1"]], Some("spare")).unwrap().len(), 1);
    txn.set(&table, Value::I64(99), &[(NUMBER, Value::I32(1))]).unwrap();
    let mut second = db.begin(unsynced()).unwrap();
    give(&mut second, id, spare);
    second.commit().unwrap();
    txn.commit().map(drop)
}

#[test]
fn what_a_hash_was_asked_for_is_defended_and_nothing_else() {
    for (id, spare, conflicts) in [(7, 1, true), (5, 3, true), (1000, 1, true), (7, 2, false), (6, 3, false)]
    {
        assert_eq!(is_conflict(looked_for_by_hash(id, spare)), conflicts, "{id} {spare}");
    }
}
