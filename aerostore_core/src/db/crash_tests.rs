//! A transaction dies at every point of what it does, and so do those who clean up after it; afterwards all of it is there or
//! nothing, and every block is accounted for.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::db::{Database, OpenMode, Table};
use crate::row::{Column, ColumnType, RowView, Schema, Value};
use crate::shm::OwnerId;
use crate::sync::{point_stride, survives};
use crate::txn::{Session, Transaction, TxnError, TxnOptions, Vacuum, create_table, drop_table};
use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

struct Scene {
    dir: PathBuf,
    shm: PathBuf,
    db: Option<Database>,
    table: Option<Table>,
}

type Rows = BTreeMap<String, i64>;

/// A database with a table of numbers by name, and its files.
pub(super) struct Cells {
    pub(super) dir: PathBuf,
    pub(super) shm: PathBuf,
    pub(super) db: Database,
    pub(super) table: Table,
}

pub(in crate::db) fn cells(table: &str) -> Schema {
    Schema::builder(table)
        .column(Column::new("name", ColumnType::String(16)))
        .column(Column::new("value", ColumnType::I64))
        .key("name")
        .build()
        .unwrap()
}

pub(super) fn open_cells(name: &str, ring_bytes: u64) -> Cells {
    let unique = format!("aerostore-{name}-{}", std::process::id());
    let (dir, shm) = (std::env::temp_dir().join(&unique), PathBuf::from(format!("/dev/shm/{unique}.mmap")));
    let db = Database::builder(&dir)
        .shm_path(&shm)
        .max_bytes(128 << 20)
        .segment_bytes(1 << 20)
        .ring_bytes(ring_bytes)
        .synchronous_commit(false)
        .open()
        .unwrap();
    let table = db.create_table(&cells("Cell")).unwrap();
    Cells { dir, shm, db, table }
}

impl Scene {
    fn new(name: &str) -> Self {
        let Cells { dir, shm, db, table } = open_cells(&format!("crash-{name}"), 1 << 14);
        Self { dir, shm, db: Some(db), table: Some(table) }
    }

    fn db(&self) -> &Database {
        self.db.as_ref().unwrap()
    }

    fn table(&self) -> &Table {
        self.table.as_ref().unwrap()
    }

    fn session(&self) -> Box<Session> {
        Box::new(Session::new(Arc::clone(&self.db().0.store)).unwrap())
    }

    fn rows(&self) -> Rows {
        let mut rows = Rows::new();
        let mut txn = self.db().begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
        txn.scan(self.table(), &mut |row| {
            rows.insert(row.get(0).to_string(), row.get(1).as_i64().unwrap());
            ControlFlow::Continue(())
        })
        .unwrap();
        rows
    }

    /// Makes the table hold `rows` and no others.
    fn reset(&self, rows: &Rows) {
        let old = self.rows();
        self.db()
            .transaction(TxnOptions::default(), |txn| {
                for name in old.keys().filter(|name| !rows.contains_key(*name)) {
                    txn.delete(self.table(), Value::Str(name))?;
                }
                for (name, value) in rows {
                    txn.set(self.table(), Value::Str(name), &[(1, Value::I64(*value))])?;
                }
                Ok(())
            })
            .unwrap();
    }

    /// Cleans up after a dead session; one that dies itself at its `point`-th point is cleaned up after too.
    fn reap(&self, dead: OwnerId, point: u64) {
        let mut reaper = self.session();
        let owner = reaper.participant().owner();
        let survived = survives(point, || reaper.reap_slot(dead).unwrap());
        if survived && self.is_free(dead) {
            reaper.close().unwrap();
            return;
        }
        std::mem::forget(reaper);
        let mut second = self.session();
        for slot in [dead, owner] {
            while !self.is_free(slot) {
                second.reap_slot(slot).unwrap();
                std::thread::yield_now();
            }
        }
        second.close().unwrap();
    }

    fn is_free(&self, slot: OwnerId) -> bool {
        self.db().0.store.registry().is_dead_owner(slot).unwrap()
    }

    /// Lets `operation` die at each of its points in turn, and checks what is left: `before`, or what the whole operation
    /// makes of it.
    fn at_every_point(
        &self,
        before: &Rows,
        operation: impl Fn(&mut Transaction, &Table) -> Result<(), TxnError>,
    ) -> u64 {
        let mut after = None;
        let mut left = Vec::new();
        let mut point = 0;
        while after.is_none() {
            point += 1;
            self.reset(before);
            let mut txn = Transaction::begin(self.session(), TxnOptions::default());
            let owner = txn.owner().unwrap();
            let survived = survives(point, || operation(&mut txn, self.table()).unwrap());
            // As if its process were gone: nothing is rolled back.
            std::mem::forget(txn);
            self.reap(owner, point % 23 + 1);
            let rows = self.rows();
            if survived {
                after = Some(rows.clone());
            }
            left.push(rows);
            let report = self.db().verify().unwrap();
            assert!(report.is_clean(), "point {point}: {report:#?}");
        }
        let after = after.unwrap();
        for (point, rows) in left.iter().enumerate() {
            assert!(rows == before || *rows == after, "point {}: {rows:?}", point + 1);
        }
        point - 1
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.table = None;
        self.db = None;
        let _ = std::fs::remove_dir_all(&self.dir);
        let _ = std::fs::remove_file(&self.shm);
    }
}

fn rows(rows: &[(&str, i64)]) -> Rows {
    rows.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

fn set(txn: &mut Transaction, table: &Table, name: &str, value: i64) -> Result<(), TxnError> {
    txn.set(&table.0, Value::Str(name), &[(1, Value::I64(value))]).map(|_| ())
}

#[test]
fn a_death_between_savepoints_leaves_nothing_half_done() {
    let scene = Scene::new("savepoints");
    let before = rows(&[("A", 1), ("B", 2), ("C", 3)]);
    let points = scene.at_every_point(&before, |txn, table| {
        set(txn, table, "A", 10)?;
        let outer = txn.savepoint()?;
        set(txn, table, "A", 11)?;
        set(txn, table, "N", 1)?;
        let inner = txn.savepoint()?;
        set(txn, table, "A", 12)?;
        set(txn, table, "A", 13)?;
        txn.delete(&table.0, Value::Str("B"))?;
        set(txn, table, "N", 2)?;
        set(txn, table, "M", 3)?;
        txn.rollback_to(&inner)?;
        set(txn, table, "A", 14)?;
        set(txn, table, "C", 33)?;
        txn.release(inner)?;
        set(txn, table, "A", 15)?;
        let inner = txn.savepoint()?;
        set(txn, table, "A", 16)?;
        txn.rollback_to(&outer)?;
        assert!(txn.rollback_to(&inner).is_err());
        set(txn, table, "B", 22)?;
        txn.release(outer)
    });
    println!("{points} points");
    assert_eq!(scene.rows(), before, "what was not committed took effect");
}

#[test]
fn a_death_while_savepoints_are_committed_leaves_all_or_nothing() {
    let scene = Scene::new("savepoint-commit");
    let before = rows(&[("A", 1), ("B", 2)]);
    let points = scene.at_every_point(&before, |txn, table| {
        for round in 0..3 {
            let _mark = txn.savepoint()?;
            set(txn, table, "A", 10 + round)?;
            set(txn, table, "N", round)?;
        }
        txn.delete(&table.0, Value::Str("B"))?;
        txn.commit(false).map(|_| ())
    });
    println!("{points} points");
    assert_eq!(scene.rows(), rows(&[("A", 12), ("N", 2)]));
}

/// What is done for the dead when a database is opened: their rows are anybody's then, and the rest is left to who reaps them.
#[test]
fn a_dead_session_that_is_settled_is_in_nobodys_way_before_it_is_reaped() {
    let scene = Scene::new("settled");
    let (before, after) = (rows(&[("A", 1), ("B", 2)]), rows(&[("A", 10), ("N", 11)]));
    let stride = usize::try_from(point_stride(23)).unwrap();
    for point in (1..).step_by(stride) {
        scene.reset(&before);
        let mut txn = Transaction::begin(scene.session(), TxnOptions::default());
        let owner = txn.owner().unwrap();
        let survived = survives(point, || {
            set(&mut txn, scene.table(), "A", 10).unwrap();
            set(&mut txn, scene.table(), "N", 11).unwrap();
            txn.delete(&scene.table().0, Value::Str("B")).unwrap();
            txn.commit(false).map(|_| ()).unwrap();
        });
        std::mem::forget(txn);
        let mut peer = scene.session();
        peer.settle_slot(owner).unwrap();
        assert!(!scene.is_free(owner), "point {point}");
        let left = scene.rows();
        assert!(left == before || left == after, "point {point}: {left:?}");
        // A lock of the dead one's would be waited for until it times out.
        let mut txn = Transaction::begin(peer, TxnOptions::default());
        for (name, value) in [("A", 5), ("B", 6), ("N", 7)] {
            set(&mut txn, scene.table(), name, value).unwrap();
        }
        txn.commit(false).unwrap();
        txn.into_session().unwrap().close().unwrap();
        scene.reap(owner, point % 23 + 1);
        assert_eq!(scene.rows(), rows(&[("A", 5), ("B", 6), ("N", 7)]), "point {point}");
        let report = scene.db().verify().unwrap();
        assert!(report.is_clean(), "point {point}: {report:#?}");
        if survived {
            return;
        }
    }
}

/// The owner of a row dies at every point of its commit while another transaction queues for the row.
#[test]
fn a_death_while_a_row_is_handed_over_leaves_it_to_the_waiter() {
    let scene = Scene::new("hand-over");
    let before = rows(&[("A", 1), ("B", 2)]);
    for point in (1..).step_by(3) {
        scene.reset(&before);
        let mut txn = Transaction::begin(scene.session(), TxnOptions::default());
        let owner = txn.owner().unwrap();
        set(&mut txn, scene.table(), "A", 10).unwrap();
        let survived = std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let mut txn = scene.db().begin(TxnOptions::default()).unwrap();
                let mut row = txn.lock_for_update(scene.table(), Value::Str("A")).unwrap().unwrap();
                let seen = row.read(|row| row.get(1).as_i64().unwrap()).unwrap().unwrap();
                txn.set(scene.table(), Value::Str("B"), &[(1, Value::I64(seen))]).unwrap();
                txn.commit().unwrap();
            });
            while !txn.has_waiters() {
                std::thread::yield_now();
            }
            let survived = survives(point, || txn.commit(false).map(|_| ()).unwrap());
            std::mem::forget(txn);
            scene.reap(owner, point % 23 + 1);
            waiter.join().unwrap();
            survived
        });
        let left = scene.rows();
        let expected = [rows(&[("A", 1), ("B", 1)]), rows(&[("A", 10), ("B", 10)])];
        assert!(expected.contains(&left), "point {point}: {left:?}");
        let report = scene.db().verify().unwrap();
        assert!(report.is_clean(), "point {point}: {report:#?}");
        if survived {
            return;
        }
    }
}

/// The owner of a row dies at every point of its commit, in which it hands the row over to one that it has called.
#[test]
fn a_death_while_a_row_is_granted_leaves_it_to_the_waiter() {
    let scene = Scene::new("grant");
    let before = rows(&[("A", 1), ("B", 2)]);
    for point in 1.. {
        scene.reset(&before);
        let mut txn = Transaction::begin(scene.session(), TxnOptions::default());
        let owner = txn.owner().unwrap();
        set(&mut txn, scene.table(), "A", 10).unwrap();
        let mut waiter = Transaction::begin(scene.session(), TxnOptions::default());
        set(&mut waiter, scene.table(), "B", 3).unwrap();
        txn.owe_row_to(&waiter);
        let survived = survives(point, || txn.commit(false).map(|_| ()).unwrap());
        std::mem::forget(txn);
        scene.reap(owner, point % 23 + 1);
        let value = |row: crate::row::RowView<'_>| row.get(1).as_i64().unwrap();
        let seen = waiter.lock_for_update(&scene.table().0, Value::Str("A"), value).unwrap().unwrap();
        set(&mut waiter, scene.table(), "B", seen).unwrap();
        waiter.commit(false).unwrap();
        let session = waiter.into_session().unwrap();
        session.close().unwrap();
        let left = scene.rows();
        let expected = [rows(&[("A", 1), ("B", 1)]), rows(&[("A", 10), ("B", 10)])];
        assert!(expected.contains(&left), "point {point}: {left:?}");
        let report = scene.db().verify().unwrap();
        assert!(report.is_clean(), "point {point}: {report:#?}");
        if survived {
            return;
        }
    }
}

/// C4: whatever a maker of a table leaves behind, the next one of that name finishes it.
#[test]
fn a_table_whose_maker_died_is_made_by_the_next() {
    let scene = Scene::new("maker");
    // Every fourth: the points between two of these are those of a commit, which other tests go through.
    for point in (1..).step_by(4) {
        let schema = cells(&format!("Made{point}"));
        let session = scene.session();
        let owner = session.participant().owner();
        let mut left = None;
        let survived = survives(point, || left = create_table(session, &schema, false).0);
        std::mem::forget(left);
        scene.reap(owner, point % 23 + 1);
        let is_listed = scene.db().table(schema.name()).unwrap().is_some();
        assert!(is_listed || !survived, "point {point}");
        let other = Schema::builder(schema.name())
            .column(Column::new("name", ColumnType::I64))
            .key("name")
            .build()
            .unwrap();
        if is_listed || point % 2 == 0 {
            let made = scene.db().create_table(&schema).unwrap();
            scene
                .db()
                .transaction(TxnOptions::default(), |txn| {
                    txn.set(&made, Value::Str("A"), &[(1, Value::I64(1))]).map(|_| ())
                })
                .unwrap();
        } else if scene.db().create_table(&other).is_err() {
            assert!(scene.db().table(schema.name()).unwrap().is_some(), "it was finished, as it was begun");
        }
        if survived {
            let report = scene.db().verify().unwrap();
            assert!(report.is_clean(), "{report:#?}");
            println!("{point} points");
            return;
        }
    }
}

/// Drops a table, clears it, and makes another of its slabs, with two rows.
fn drop_and_make(session: Box<Session>, table: &Table) -> Box<Session> {
    let (session, dropped) = drop_table(session, &table.0, false);
    dropped.unwrap();
    let mut session = session.unwrap();
    for _ in 0..6 {
        session.store().garbage().want();
        if let Some(mut walk) = Vacuum::begin(&session).unwrap() {
            while !walk.go_on(&mut session, 100).unwrap() {}
        }
    }
    let (session, made) = create_table(session, &cells("Cell"), false);
    let made = made.unwrap();
    // Not dropped by who dies: nothing is rolled back.
    let mut txn = ManuallyDrop::new(Transaction::begin(session.unwrap(), TxnOptions::default()));
    for name in ["X", "Y"] {
        txn.set(&made, Value::Str(name), &[(1, Value::I64(9))]).unwrap();
    }
    txn.commit(false).unwrap();
    ManuallyDrop::into_inner(txn).into_session().unwrap()
}

/// Whatever is left then, with a checkpoint behind it or without one, a cold start has what the warm database has.
#[test]
fn a_death_in_a_drop_or_in_what_follows_it_is_the_same_after_a_cold_start() {
    let full = rows(&[("A", 1), ("B", 2), ("C", 3)]);
    let stride = point_stride(43);
    let mut point = 0;
    loop {
        point += stride;
        let mut scene = Scene::new(&format!("drop-{point}"));
        scene.reset(&full);
        let session = scene.session();
        let owner = session.participant().owner();
        let mut left = None;
        let survived = survives(point, || left = Some(drop_and_make(session, scene.table())));
        std::mem::forget(left);
        scene.reap(owner, point % 23 + 1);
        if point % 2 == 0 {
            scene.db().checkpoint().unwrap();
        }
        // Who makes one of that name learns what has become of it.
        scene.table = Some(scene.db().create_table(&cells("Cell")).unwrap());
        let before = scene.rows();
        let expected = [full.clone(), Rows::new(), rows(&[("X", 9), ("Y", 9)])];
        assert!(expected.contains(&before), "point {point}: {before:?}");
        assert!(!survived || before == expected[2], "point {point}: {before:?}");
        let report = scene.db().verify().unwrap();
        assert!(report.is_clean(), "point {point}: {report:#?}");
        scene.table = None;
        scene.db.take().unwrap().close().unwrap();
        std::fs::remove_file(&scene.shm).unwrap();
        let db = Database::builder(&scene.dir).shm_path(&scene.shm).max_bytes(128 << 20).open().unwrap();
        assert_eq!(db.boot().mode, OpenMode::Cold);
        scene.table = db.table("Cell").unwrap();
        assert!(scene.table.is_some(), "point {point}: {before:?}");
        scene.db = Some(db);
        assert_eq!(scene.rows(), before, "point {point}");
        let report = scene.db().verify().unwrap();
        assert!(report.is_clean(), "point {point}: {report:#?}");
        if survived {
            assert!(point > 3 * stride);
            println!("{point} points");
            return;
        }
    }
}

/// Its redo is more than the ring has places for pieces of the usual size.
#[test]
fn a_small_ring_takes_a_large_transaction() {
    const ROWS: i64 = 45;
    let mut scene = Scene::new("large");
    scene.table = None;
    scene.db.take().unwrap().close().unwrap();
    std::fs::remove_file(&scene.shm).unwrap();
    let open =
        || Database::builder(&scene.dir).shm_path(&scene.shm).max_bytes(128 << 20).ring_bytes(4096).open();
    let db = open().unwrap();
    let schema = Schema::builder("Text").column(Column::new("id", ColumnType::I64));
    let schema = schema.column(Column::new("text", ColumnType::String(200_000))).key("id").build().unwrap();
    let table = db.create_table(&schema).unwrap();
    let text = "x".repeat(200_000);
    db.transaction(TxnOptions::default(), |txn| {
        (0..ROWS).try_for_each(|id| txn.set(&table, Value::I64(id), &[(1, Value::Str(&text))]).map(drop))
    })
    .unwrap();
    db.close().unwrap();
    std::fs::remove_file(&scene.shm).unwrap();
    let db = open().unwrap();
    assert_eq!(db.boot().mode, OpenMode::Cold);
    let table = db.table("Text").unwrap().unwrap();
    for id in 0..ROWS {
        let is_whole = |row: RowView<'_>| row.get(1) == Value::Str(&text);
        assert_eq!(db.get(&table, Value::I64(id), is_whole).unwrap(), Some(true));
    }
    scene.db = Some(db);
}
