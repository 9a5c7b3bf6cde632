//! A database whose tmpfs is really full, far below the limit of its own: every write that finds no room says so, does nothing, and
//! goes through once there is room, whether rows were deleted or somebody else's file went.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_types,
    reason = "tests, with a flag of their own process"
)]

mod common;
mod shm_common;

use aerostore_core::db::{self, Database, Error, ErrorKind, OpenMode, Savepoint, Table, TxnOptions};
use aerostore_core::row::{Column, ColumnType, RowImage, Schema, Value};
use common::Watchdog;
use shm_common::{Worker, fill_up, mount_small, unmount};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const ACCOUNTS: i64 = 500;
const BALANCE: i64 = 1000;
/// Rows of one transaction.
const BATCH: i64 = 40;
/// Keys of rows that are there to take room.
const FILLERS: i64 = 1 << 32;

fn schema() -> Schema {
    Schema::builder("Account")
        .column(Column::new("id", ColumnType::I64))
        .column(Column::new("amount", ColumnType::I64))
        .column(Column::new("text", ColumnType::String(900)))
        .key("id")
        .build()
        .unwrap()
}

fn image(table: &Table, id: i64, amount: i64) -> RowImage {
    let (schema, mut image) = (table.schema(), RowImage::new(table.schema()));
    image.set(schema, 0, Value::I64(id)).unwrap();
    image.set(schema, 1, Value::I64(amount)).unwrap();
    image.set(schema, 2, Value::Str(&format!("{id:0800}"))).unwrap();
    image.finish(schema).unwrap();
    image
}

fn insert(db: &Database, table: &Table, first: i64, amount: i64) -> Result<(), Error> {
    db.transaction(TxnOptions::default(), |txn| {
        (first..first + BATCH).try_for_each(|id| txn.insert(table, &image(table, id, amount)))
    })
}

/// Fills it with transactions of some rows each, until there is no room; the key after the last one.
fn fill(db: &Database, table: &Table, mut first: i64) -> i64 {
    loop {
        match insert(db, table, first, 0) {
            Ok(()) => first += BATCH,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Space, "{error}");
                assert!(!error.is_retryable(), "{error}");
                return first;
            }
        }
    }
}

fn amount(txn: &mut db::Transaction, table: &Table, id: i64) -> Result<i64, Error> {
    Ok(txn.get(table, Value::I64(id), |row| row.get(1).as_i64().unwrap())?.unwrap())
}

/// Moves an amount along some accounts, from each to the next.
fn transfer(db: &Database, table: &Table, from: i64) -> Result<(), Error> {
    db.transaction(TxnOptions::default(), |txn| {
        for step in 0..8 {
            let (from, to) = ((from + step) % ACCOUNTS, (from + step + 1) % ACCOUNTS);
            let (left, right) = (amount(txn, table, from)?, amount(txn, table, to)?);
            txn.set(table, Value::I64(from), &[(1, Value::I64(left - 1))])?;
            txn.set(table, Value::I64(to), &[(1, Value::I64(right + 1))])?;
        }
        Ok(())
    })
}

/// Rows and the sum of all amounts, seen at one moment.
fn look(db: &Database, table: &Table) -> (i64, i64) {
    let (mut rows, mut sum) = (0, 0);
    let mut txn = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
    txn.scan(table, &mut |row| {
        rows += 1;
        sum += row.get(1).as_i64().unwrap();
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    (rows, sum)
}

/// Transfers by two threads while it is full; how many went through, and how many found no room.
fn transfer_while_full(db: &Database, table: &Table, rows: i64) -> (u64, u64) {
    let (stop, done, refused) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (stop, done, refused) = (&stop, &done, &refused);
            scope.spawn(move || {
                for from in (0..).step_by(7) {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    match transfer(db, table, (from + thread * 250) % ACCOUNTS) {
                        Ok(()) => done.fetch_add(1, Ordering::Relaxed),
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::Space, "{error}");
                            refused.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                }
            });
        }
        let until = Instant::now() + Duration::from_millis(700);
        while Instant::now() < until {
            assert_eq!(look(db, table), (rows, ACCOUNTS * BALANCE), "half of a transfer");
        }
        stop.store(true, Ordering::Relaxed);
    });
    (done.into_inner(), refused.into_inner())
}

/// Whatever is tried, all of it takes effect, or nothing does.
fn try_everything(db: &Database, table: &Table, last: i64, rows: i64) {
    // What goes before the write that finds no room is gone with it.
    let both = db.transaction(TxnOptions::default(), |txn| {
        txn.set(table, Value::I64(0), &[(1, Value::I64(-1))])?;
        (last..last + BATCH).try_for_each(|id| txn.insert(table, &image(table, id, 1)))
    });
    assert_eq!(both.unwrap_err().kind(), ErrorKind::Space);
    let images: Vec<RowImage> = (last..last + BATCH).map(|id| image(table, id, 1)).collect();
    let values = [(1, Value::I64(-1))];
    let mut operations = vec![db::Operation::Set { table, key: Value::I64(1), values: &values }];
    operations.extend(images.iter().map(|image| db::Operation::Insert { table, image }));
    assert_eq!(db.batch(&operations).unwrap_err().kind(), ErrorKind::Space);
    // A savepoint takes back what was written since, and the transaction goes on.
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    let before = amount(&mut txn, table, 2).unwrap();
    let savepoint: Savepoint = txn.savepoint().unwrap();
    let refused = (last..last + BATCH).try_for_each(|id| txn.insert(table, &image(table, id, 1)));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Space);
    txn.rollback_to(&savepoint).unwrap();
    assert_eq!(amount(&mut txn, table, 2).unwrap(), before);
    txn.commit().unwrap();
    assert_eq!(look(db, table), (rows, ACCOUNTS * BALANCE), "half of something that found no room");
}

/// Tries until there is room: what was given back, or freed, is found within moments.
fn until_it_works(what: &str, mut try_it: impl FnMut() -> Result<(), Error>) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while let Err(error) = try_it() {
        assert_eq!(error.kind(), ErrorKind::Space, "{what}: {error}");
        assert!(Instant::now() < deadline, "{what}: {error}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn on_a_full_tmpfs(small: &Path, dir: &Path) {
    let _watchdog = Watchdog::new(120);
    let shm = small.join("mapping");
    let open =
        || Database::builder(dir).shm_path(&shm).max_bytes(1 << 30).segment_bytes(1 << 20).open().unwrap();
    let db = open();
    db.set_config("synchronous_commit", "off").unwrap();
    let table = db.create_table(&schema()).unwrap();
    db.transaction(TxnOptions::default(), |txn| {
        (0..ACCOUNTS).try_for_each(|id| txn.insert(&table, &image(&table, id, BALANCE)))
    })
    .unwrap();
    // Another file takes what is left, but for a page or two: then it is this database's inserts that fill the rest.
    let ballast = small.join("ballast");
    drop(fill_up(&ballast));
    let last = fill(&db, &table, FILLERS);
    let rows = ACCOUNTS + (last - FILLERS);
    assert_eq!(look(&db, &table), (rows, ACCOUNTS * BALANCE));
    let status = db.status().unwrap();
    assert!(status.used_bytes < 64 << 20, "the limit was met, not the tmpfs: {}", status.used_bytes);

    try_everything(&db, &table, last, rows);
    let (done, refused) = transfer_while_full(&db, &table, rows);
    println!("full: {rows} rows, {done} transfers went through, {refused} found no room");
    try_everything(&db, &table, last, rows);
    assert_eq!(look(&db, &table), (rows, ACCOUNTS * BALANCE));

    // Deletes go through, and make room.
    let deleted = (last - FILLERS) / 2;
    for id in FILLERS..FILLERS + deleted {
        let is_there =
            db.transaction(TxnOptions::default(), |txn| txn.delete(&table, Value::I64(id))).unwrap();
        assert!(is_there, "{id}");
    }
    let mut first = last;
    until_it_works("room by deletes", || insert(&db, &table, first, 0));
    first += BATCH;
    let rows = rows - deleted + BATCH;
    assert_eq!(look(&db, &table), (rows, ACCOUNTS * BALANCE));

    // It is filled again; then the other file goes, and there is more room than before.
    let last = fill(&db, &table, first);
    std::fs::remove_file(&ballast).unwrap();
    first = last;
    for _ in 0..20 {
        until_it_works("room by another file's end", || insert(&db, &table, first, 0));
        first += BATCH;
    }
    until_it_works("a transfer", || transfer(&db, &table, 0));
    let seen = look(&db, &table);
    assert_eq!(seen.1, ACCOUNTS * BALANCE);
    let report = db.verify().unwrap();
    assert!(report.is_clean(), "{report:#?}");
    db.close().unwrap();

    // And all of it is in the log.
    std::fs::remove_file(&shm).unwrap();
    let db = open();
    assert_eq!(db.boot().mode, OpenMode::Cold);
    let table = db.table("Account").unwrap().unwrap();
    assert_eq!(look(&db, &table), seen);
    db.close().unwrap();
}

#[test]
fn nothing_is_half_done_on_a_full_tmpfs_and_writes_go_on_when_there_is_room() {
    let mut child = Worker::start("child_on_a_full_tmpfs", &[("AEROSTORE_TEST_CHILD", "1".into())]);
    assert!(child.0.wait().unwrap().success());
}

/// Not a test by itself: a process that may do with its mounts what it likes.
#[test]
fn child_on_a_full_tmpfs() {
    if std::env::var_os("AEROSTORE_TEST_CHILD").is_none() {
        return;
    }
    let base = std::env::temp_dir().join(format!("aerostore-test-full-{}", std::process::id()));
    let (small, dir) = (base.join("small"), base.join("data"));
    std::fs::create_dir_all(&small).unwrap();
    if mount_small(&small, 21 << 20) {
        on_a_full_tmpfs(&small, &dir);
        unmount(&small);
    }
    std::fs::remove_dir_all(&base).unwrap();
}
