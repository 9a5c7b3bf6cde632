//! Values with one hash: an index of hashes has one entry for them, and they are different values all the same.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::garbage_tests::Scene;
use super::secondary_tests::vacuum;
use super::verify::check;
use crate::index::key::SAME_HASH;
use crate::row::{Column, ColumnType, IndexKind, IndexSpec, RowImage, Schema, Value};
use crate::txn::{
    Alone, KeySpan, RangeScan, Session, TableRef, Transaction, TxnError, TxnOptions, create_index, drop_index,
};
use std::cell::Cell;
use std::ops::ControlFlow;

const TEXT: usize = 1;
const PLAIN: usize = 2;

fn scene(name: &str, is_unique: bool) -> (Scene, Box<Session>, TableRef) {
    let scene = Scene::new(name, 0);
    let mut session = scene.process();
    let text = Column::new("text", ColumnType::String(40)).nullable().index(IndexKind::Hash);
    let schema = Schema::builder("Cell")
        .column(Column::new("name", ColumnType::I64))
        .column(if is_unique { text.unique() } else { text })
        .column(Column::new("plain", ColumnType::String(40)).nullable())
        .key("name")
        .build()
        .unwrap();
    let table = session.load_table(1, &schema).unwrap();
    session.store().clock().restore(1);
    (scene, session, table)
}

fn text(number: u64) -> String {
    format!("{SAME_HASH}{number}")
}

fn give(txn: &mut Transaction, table: &TableRef, name: i64, number: u64) {
    let text = text(number);
    let values = [(TEXT, Value::Str(&text)), (PLAIN, Value::Str(&text))];
    txn.set(table, Value::I64(name), &values).unwrap();
}

fn commit(
    session: Box<Session>,
    work: impl FnOnce(&mut Transaction),
) -> (Box<Session>, Result<(), TxnError>) {
    let mut txn = Transaction::begin(session, TxnOptions::default());
    work(&mut txn);
    let done = txn.commit(false).map(drop);
    let session = txn.into_session().unwrap();
    session.store().log().start_at(session.store().clock().now());
    (session, done)
}

fn put(session: Box<Session>, table: &TableRef, name: i64, number: u64) -> Box<Session> {
    let (session, done) = commit(session, |txn| give(txn, table, name, number));
    done.unwrap();
    session
}

/// The rows with a text, by the index.
fn names(txn: &mut Transaction, table: &TableRef, number: u64) -> Vec<i64> {
    let low = text(number);
    let high = [low.as_bytes(), &[0]].concat();
    let span = KeySpan { low: low.as_bytes(), high: &high };
    let expected = u64::MAX;
    let walk = RangeScan { column: TEXT, span, is_descending: false, predicate: None, among: None, expected };
    let mut names = Vec::new();
    txn.scan_range(table, &walk, &mut |rows| {
        names.extend(rows.iter().filter_map(|row| row.get(0).as_i64()));
        ControlFlow::Continue(())
    })
    .unwrap();
    names
}

fn assert_clean(session: &mut Box<Session>) -> u64 {
    vacuum(session);
    let report = check(session).unwrap();
    assert!(report.is_clean(), "{report:#?}");
    report.entries
}

#[test]
fn rows_of_another_value_with_the_same_hash_are_not_found() {
    let (_scene, mut session, table) = scene("hash-found", false);
    for name in 0..120 {
        session = put(session, &table, name, name.unsigned_abs() % 3);
    }
    let mut txn = Transaction::begin(session, TxnOptions { read_only: true, ..TxnOptions::default() });
    for number in 0..3 {
        let found = names(&mut txn, &table, number);
        assert_eq!(found.len(), 40);
        assert!(found.iter().all(|name| name.unsigned_abs() % 3 == number), "{found:?}");
    }
    assert!(names(&mut txn, &table, 3).is_empty());
}

/// K3: the entry is of what the row had, and of what it has.
#[test]
fn an_entry_stays_while_any_value_of_its_hash_does() {
    let (_scene, mut session, table) = scene("hash-stays", false);
    for number in [1, 2, 1, 3] {
        session = put(session, &table, 0, number);
        assert_eq!(assert_clean(&mut session), 1);
        let mut txn = Transaction::begin(session, TxnOptions { read_only: true, ..TxnOptions::default() });
        assert_eq!(names(&mut txn, &table, number), [0]);
        txn.rollback();
        session = txn.into_session().unwrap();
    }
    let (mut session, done) = commit(session, |txn| assert!(txn.delete(&table, Value::I64(0)).unwrap()));
    done.unwrap();
    assert_eq!(assert_clean(&mut session), 0);
}

#[test]
fn values_with_one_hash_are_unique_if_they_differ() {
    let (_scene, mut session, table) = scene("hash-unique", true);
    for name in 0..4 {
        session = put(session, &table, name, name.unsigned_abs());
    }
    for (name, number) in [(4, 2), (1, 3)] {
        let (same, refused) = commit(session, |txn| give(txn, &table, name, number));
        assert!(matches!(refused, Err(TxnError::UniqueViolation { .. })), "{refused:?}");
        session = same;
    }
    // Two change their values.
    let (mut session, done) = commit(session, |txn| {
        give(txn, &table, 1, 2);
        give(txn, &table, 2, 1);
    });
    done.unwrap();
    assert_eq!(assert_clean(&mut session), 4);
}

#[test]
fn a_unique_hash_is_made_over_values_with_one_hash_if_they_differ() {
    let (_scene, mut session, table) = scene("hash-made", false);
    let spec = IndexSpec { is_unique: true, is_hash: true };
    for name in 0..4 {
        session = put(session, &table, name, name.unsigned_abs());
    }
    let (session, made) = create_index(session, &table, PLAIN, spec, false);
    made.unwrap();
    let (session, dropped) = drop_index(session.unwrap(), &table, PLAIN, false);
    dropped.unwrap();
    let mut session = session.unwrap();
    session.store().log().start_at(session.store().clock().now());
    session = put(session, &table, 9, 2);
    while session.mend_indexes().unwrap() {}
    let (session, refused) = create_index(session, &table, PLAIN, spec, false);
    assert!(matches!(refused, Err(TxnError::UniqueViolation { .. })), "{refused:?}");
    let mut session = session.unwrap();
    assert_eq!(assert_clean(&mut session), 5);
}

/// As a cold start puts rows in place, with their names as texts.
fn load(session: &mut Session, table: &TableRef, names: &[i64]) -> Option<usize> {
    let image = |name: &i64| {
        let mut image = RowImage::new(table.schema());
        image.set(table.schema(), 0, Value::I64(*name)).unwrap();
        image.set(table.schema(), TEXT, Value::Str(&name.to_string())).unwrap();
        image.finish(table.schema()).unwrap();
        image
    };
    let images: Vec<_> = names.iter().map(image).collect();
    let views: Vec<_> = images.iter().map(|image| image.view(table.schema()).unwrap()).collect();
    let rows: Vec<_> = views.iter().map(|view| (*view, session.key_hash(*view))).collect();
    session.load_new_rows(table, 1, &rows).unwrap()
}

/// Nothing was reserved for them, so the table grows meanwhile.
#[test]
fn rows_that_are_loaded_together_are_found_and_a_key_that_is_there_is_named() {
    let (_scene, mut session, table) = scene("hash-load", false);
    let names: Vec<i64> = (0..5000).collect();
    assert!(names.chunks(17).all(|group| load(&mut session, &table, group).is_none()));
    assert_eq!(load(&mut session, &table, &[5000, 5001, 4999, 5002]), Some(2));
    assert_eq!(load(&mut session, &table, &[6000, 6001, 6000]), Some(2), "of two that come together");
    let mut txn = Transaction::begin(session, TxnOptions { read_only: true, ..TxnOptions::default() });
    for name in names {
        assert_eq!(txn.get(&table, Value::I64(name), |row| row.get(0).as_i64()).unwrap(), Some(Some(name)));
    }
}

#[test]
fn an_index_that_is_filled_in_parts_has_an_entry_for_every_row() {
    for bytes_max in [1, 1 << 20] {
        let (_scene, mut session, table) = scene(&format!("hash-filled-{bytes_max}"), false);
        let names: Vec<i64> = (0..5000).collect();
        assert!(names.chunks(16).all(|group| load(&mut session, &table, group).is_none()));
        session.add_rows(&table, 5000).unwrap();
        for index in session.indexes_to_load(&table).unwrap() {
            let sum = Cell::new(0);
            let added = |count| sum.set(sum.get() + count);
            session.load_index(&table, index, Alone { bytes_max, added: &added }).unwrap();
            assert_eq!(sum.get() as u64, session.rows_of(&table).unwrap());
        }
        assert_eq!(assert_clean(&mut session), 5000);
    }
}
