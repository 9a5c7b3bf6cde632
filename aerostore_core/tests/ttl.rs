//! Time to live: rows past it go, others stay, whoever sweeps is killed; followers are told.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use aerostore_core::db::{ChangeOp, Database, Event, Table, TxnOptions};
use aerostore_core::row::{Column, ColumnType, Schema, Value};
use aerostore_core::sys::unix_seconds;
use common::fleet::say;
use common::{Place, child_of};
use std::collections::BTreeMap;
use std::os::unix::process::parent_id;
use std::process::Child;
use std::time::{Duration, Instant};

const ROLE: &str = "AEROSTORE_TTL_CHILD";
const SECONDS: u64 = 1000;
/// How long anything may take that should come soon.
const PATIENCE: Duration = Duration::from_mins(2);

fn schema(name: &str, at: Column) -> Schema {
    Schema::builder(name)
        .column(Column::new("key", ColumnType::I64))
        .column(at.nullable())
        .key("key")
        .ttl("at", SECONDS)
        .build()
        .unwrap()
}

/// Writes rows of which it is so many seconds that they were stamped.
fn put(db: &Database, table: &Table, keys: std::ops::Range<i64>, age: i64) {
    let now = unix_seconds().cast_signed();
    let stamp = match table.schema().column(1).column_type() {
        ColumnType::TimestampMicros => Value::TimestampMicros((now - age) * 1_000_000),
        _ => Value::Timestamp(now - age),
    };
    db.transaction(TxnOptions::default(), |txn| {
        keys.clone().try_for_each(|key| txn.set(table, Value::I64(key), &[(1, stamp)]).map(drop))
    })
    .unwrap();
}

fn count(db: &Database, table: &Table) -> u64 {
    db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap().count(table).unwrap()
}

/// Not a test of its own: what the other processes run.
#[test]
fn child_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let parts: Vec<&str> = role.split('|').collect();
    let db = Place::existing(parts[0].into(), parts[1].into()).open();
    db.set_config("ttl_sweep_interval_ms", "10").unwrap();
    db.set_config("ttl_batch_rows", "10").unwrap();
    drop(db.begin(TxnOptions::default()).unwrap());
    say("ready:");
    // Until it is killed, or left alone by a test that has failed.
    let parent = parent_id();
    while parent_id() == parent {
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn rows_past_their_time_go_and_others_stay_whoever_sweeps_is_killed() {
    let place = Place::new("ttl");
    let db = place.open();
    db.set_config("synchronous_commit", "off").unwrap();
    // The children's work.
    db.set_config("ttl_sweep_interval_ms", "86400000").unwrap();
    let indexed =
        db.create_table(&schema("Indexed", Column::new("at", ColumnType::Timestamp).ordered())).unwrap();
    let scanned =
        db.create_table(&schema("Scanned", Column::new("at", ColumnType::TimestampMicros))).unwrap();
    let subscription = db.watch(&indexed).subscribe().unwrap();
    for table in [&indexed, &scanned] {
        put(&db, table, 0..40, 0);
        db.transaction(TxnOptions::default(), |txn| {
            (40..50).try_for_each(|key| txn.set(table, Value::I64(key), &[(1, Value::Null)]).map(drop))
        })
        .unwrap();
    }
    let child = || child_of(ROLE, place.names()).0;
    let mut children: Vec<Child> = vec![child(), child()];
    let (mut last, mut kills) = (1000, 0);
    while kills < 3 {
        let deleted = db.status().unwrap().sweep.rows_deleted;
        for table in [&indexed, &scanned] {
            put(&db, table, last..last + 300, 2000);
        }
        last += 300;
        until("nobody sweeps", || db.status().unwrap().sweep.rows_deleted > deleted);
        let sweeper = db.status().unwrap().sweep_pid;
        let Some(place) = children.iter().position(|child| Some(child.id()) == sweeper) else { continue };
        children[place].kill().unwrap();
        children[place].wait().unwrap();
        children[place] = child();
        kills += 1;
    }
    // One that is refreshed in time stays.
    put(&db, &indexed, 39..40, 0);
    until("not all of them go", || [&indexed, &scanned].map(|table| count(&db, table)) == [50, 50]);
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let stats = db.status().unwrap().sweep;
    assert!(stats.rows_deleted > 0 && stats.passes > 0, "{stats:?}");
    let mut balance: BTreeMap<i64, i32> = BTreeMap::new();
    until("the feed lacks some", || {
        while let Some(event) = subscription.try_next().unwrap() {
            let Event::Commit(commit) = event else { panic!("{event:?}") };
            for change in commit.changes {
                *balance.entry(change.key().as_i64().unwrap()).or_default() += match change.op() {
                    ChangeOp::Insert => 1,
                    ChangeOp::Update => 0,
                    ChangeOp::Delete => -1,
                };
            }
        }
        balance.iter().all(|(key, there)| *there == i32::from(*key < 50))
            && i64::try_from(balance.len()).unwrap() == 50 + last - 1000
    });
    assert!(db.verify().unwrap().is_clean());
}
