//! Whoever follows harms nobody who writes, and is told when that costs him something.

use super::common::Place;
use super::mirror::{PATIENCE, schema};
use super::{next_commit, set};
use aerostore_core::db::{ChangeOp, Database, ErrorKind, Event, Gap, Subscription, Table, TxnOptions};
use aerostore_core::row::{Column, ColumnType, RowImage, Schema, Value};
use std::sync::mpsc;

/// Rows of a transaction whose old rows take more than the smallest ring can name, though its own redo does not.
const MANY: i64 = 20_000;

fn wide() -> Schema {
    Schema::builder("Wide")
        .column(Column::new("key", ColumnType::I64))
        .column(Column::new("number", ColumnType::I64))
        .column(Column::new("text", ColumnType::String(900)))
        .key("key")
        .build()
        .unwrap()
}

fn insert(db: &Database, table: &Table, first: i64, count: i64) -> Result<u64, aerostore_core::db::Error> {
    let (schema, mut image) = (table.schema(), RowImage::new(table.schema()));
    let mut txn = db.begin(TxnOptions::default())?;
    for key in first..first + count {
        image.set(schema, 0, Value::I64(key)).unwrap();
        image.set(schema, 1, Value::I64(0)).unwrap();
        image.set(schema, 2, Value::Str(&format!("{key:0900}"))).unwrap();
        image.finish(schema).unwrap();
        txn.insert(table, &image)?;
    }
    txn.commit()
}

fn next_gap(subscription: &Subscription) -> Gap {
    match subscription.next_within(PATIENCE).unwrap().expect("an event") {
        Event::Gap(gap) => gap,
        other => panic!("{other:?}"),
    }
}

#[test]
fn old_rows_that_the_log_does_not_take_fail_no_writer_and_are_a_gap_of_their_table() {
    let place = Place::new("feed-large");
    let db = place.builder().ring_bytes(4096).open().unwrap();
    let (table, other) = (db.create_table(&wide()).unwrap(), db.create_table(&schema()).unwrap());
    for key in (0..MANY).step_by(500) {
        insert(&db, &table, key, 500).unwrap();
    }
    let (of_wide, of_other) = (db.watch(&table).subscribe().unwrap(), db.watch(&other).subscribe().unwrap());
    let updates = db.begin(TxnOptions::default()).and_then(|mut txn| {
        (0..MANY).try_for_each(|key| txn.set(&table, Value::I64(key), &[(1, Value::I64(1))]).map(drop))?;
        txn.set(&other, Value::I64(7), &[(1, Value::I64(7))])?;
        txn.commit()
    });
    let commit_ts = updates.expect("nobody who writes fails because somebody follows");
    assert_eq!(next_gap(&of_wide), Gap { after_ts: commit_ts - 1, to_ts: commit_ts });
    let told = next_commit(&of_other);
    assert_eq!((told.commit_ts, told.changes.len()), (commit_ts, 1), "nothing is missing of this table");
    set(&db, &table, 5, 2);
    let told = next_commit(&of_wide);
    let old = told.changes[0].before().unwrap();
    assert_eq!((told.changes[0].op(), old.get(1)), (ChangeOp::Update, Value::I64(1)));
    let deletes = db.begin(TxnOptions::default()).and_then(|mut txn| {
        (0..MANY).try_for_each(|key| txn.delete(&table, Value::I64(key)).map(drop))?;
        txn.commit()
    });
    assert_eq!(next_gap(&of_wide).to_ts, deletes.unwrap(), "what is deleted is not passed over in silence");
    assert!(of_other.try_next().unwrap().is_none());
}

#[test]
fn old_rows_take_no_room_from_a_writer_that_has_just_enough() {
    let place = Place::new("feed-full-memory");
    // The redo of what is changed below goes into such a ring; old rows besides do not.
    let db = place.builder().max_bytes(16 << 20).ring_bytes(256 << 10).open().unwrap();
    db.set_config("synchronous_commit", "off").unwrap();
    let table = db.create_table(&wide()).unwrap();
    let mut rows = 0;
    let full = loop {
        match insert(&db, &table, rows, 100) {
            Ok(_) => rows += 100,
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), ErrorKind::Space, "{full}");
    let subscription = db.watch(&table).subscribe().unwrap();
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    let mut changed = 0;
    for key in 0..rows.min(800) {
        let savepoint = txn.savepoint().unwrap();
        match txn.set(&table, Value::I64(key), &[(1, Value::I64(1))]) {
            Ok(_) => changed += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Space, "{error}");
                txn.rollback_to(&savepoint).unwrap();
                break;
            }
        }
    }
    let commit_ts = txn.commit().expect("there was room for it");
    match subscription.next_within(PATIENCE).unwrap().expect("an event") {
        Event::Gap(gap) => assert_eq!(gap.to_ts, commit_ts),
        Event::Commit(commit) => assert_eq!((commit.commit_ts, commit.changes.len()), (commit_ts, changed)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_gap_that_has_the_drop_in_it_is_followed_by_the_end() {
    let place = Place::new("feed-gap-drop");
    let db = place.builder().segment_bytes(16 << 10).open().unwrap();
    db.set_config("synchronous_commit", "off").unwrap();
    let (table, other) = (db.create_table(&schema()).unwrap(), db.create_table(&wide()).unwrap());
    let subscription = db.watch(&table).subscribe().unwrap();
    // Whoever is called stands still until he is told to go on, and the reading of the log with him.
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let may_go_on = std::sync::Mutex::new(may_go_on);
    let (stands, is_standing) = mpsc::channel();
    let holds_up = move || {
        let _ = stands.send(());
        let _ = may_go_on.lock().unwrap().recv();
    };
    let holding = db.watch(&other).on_ready(holds_up).subscribe().unwrap();
    insert(&db, &other, 0, 1).unwrap();
    is_standing.recv_timeout(PATIENCE).unwrap();
    // Into another segment, twice, and a checkpoint behind each: what is before goes.
    for round in 0..3 {
        for key in 1..100 {
            insert(&db, &other, round * 100 + key, 1).unwrap();
        }
        if round == 1 {
            db.drop_table(&table).unwrap();
        }
        db.flush().unwrap();
        db.checkpoint().unwrap();
    }
    db.checkpoint().unwrap();
    drop(go_on);
    next_gap(&subscription);
    assert_eq!(subscription.next_within(PATIENCE).unwrap_err().kind(), ErrorKind::NotFound);
    drop(holding);
}
