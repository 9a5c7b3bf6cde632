//! Checkpoints of whole databases: what they hold, what follows them, what is damaged of them.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::db::crash_tests::cells;
use crate::db::{Database, Error, ErrorKind, OpenMode, Table, TxnOptions};
use crate::row::{Column, ColumnType, IndexSpec, Schema, Value};
use crate::sync::{AtomicBool, Ordering};
use crate::sys::{MemoryFileSystem, monotonic_ns};
use crate::txn::log_only;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

type Rows = BTreeMap<String, i64>;

/// A database whose mapping can be lost.
struct Scene {
    dir: PathBuf,
    shm: PathBuf,
    /// Where log and checkpoints are, if not in `dir`.
    disk: Option<MemoryFileSystem>,
    db: Option<Database>,
}

impl Scene {
    fn new(name: &str) -> Self {
        Self::on(name, None)
    }

    /// With log and checkpoints on a disk that can fail.
    fn on(name: &str, disk: Option<MemoryFileSystem>) -> Self {
        let unique = format!("/dev/shm/aerostore-test-checkpoint-{name}-{}", std::process::id());
        let (dir, shm) = (PathBuf::from(&unique), PathBuf::from(format!("{unique}.mmap")));
        let mut scene = Self { dir, shm, disk, db: None };
        scene.db = Some(scene.open().unwrap());
        scene.db().create_table(&cells("Cell")).unwrap();
        scene
    }

    fn open(&self) -> Result<Database, Error> {
        let mut builder = Database::builder(&self.dir).shm_path(&self.shm).max_bytes(64 << 20);
        if let Some(disk) = &self.disk {
            builder = builder.files(Arc::new(disk.clone()));
        }
        builder.segment_bytes(64 << 10).synchronous_commit(false).open()
    }

    fn db(&self) -> &Database {
        self.db.as_ref().unwrap()
    }

    fn table(&self) -> Table {
        self.db().table("Cell").unwrap().unwrap()
    }

    /// Ends the database, and its mapping with it.
    fn lose(&mut self) {
        self.db.take().unwrap().close().unwrap();
        std::fs::remove_file(&self.shm).unwrap();
    }

    /// The same, and opens it again from its files.
    fn reopen(&mut self) {
        self.lose();
        self.db = Some(self.open().unwrap());
        assert_eq!(self.db().boot().mode, OpenMode::Cold);
    }

    fn put(&self, rows: std::ops::Range<i64>, value: impl Fn(i64) -> i64) {
        let table = self.table();
        self.db()
            .transaction(TxnOptions::default(), |txn| {
                for name in rows.clone() {
                    txn.set(&table, Value::Str(&format!("row {name}")), &[(1, Value::I64(value(name)))])?;
                }
                Ok(())
            })
            .unwrap();
    }

    /// Fills some segments of the log and takes a checkpoint, again and again; how many segments each removed.
    fn put_and_checkpoint(&self, rounds: i64) -> Vec<u64> {
        let round = |round| {
            for step in 0..4 {
                self.put(0..1000, |name| name + 4 * round + step);
                self.db().flush().unwrap();
            }
            self.db().checkpoint().unwrap().segments_removed
        };
        (0..rounds).map(round).collect()
    }

    fn delete(&self, rows: std::ops::Range<i64>) {
        let table = self.table();
        self.db()
            .transaction(TxnOptions::default(), |txn| {
                for name in rows.clone() {
                    txn.delete(&table, Value::Str(&format!("row {name}")))?;
                }
                Ok(())
            })
            .unwrap();
    }

    fn rows(&self) -> Rows {
        rows_of(self.db())
    }

    /// Files of a directory of the database, by name.
    fn files(&self, dir: &str) -> Vec<PathBuf> {
        let Ok(listed) = std::fs::read_dir(self.dir.join(dir)) else { return Vec::new() };
        let mut paths: Vec<_> = listed.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.db.take();
        // A test that fails has something better to say than what is not there any more.
        let _ = std::fs::remove_file(&self.shm);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn rows_of(db: &Database) -> Rows {
    let table = db.table("Cell").unwrap().unwrap();
    let mut rows = Rows::new();
    let mut txn = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
    txn.scan(&table, &mut |row| {
        rows.insert(row.get(0).to_string(), row.get(1).as_i64().unwrap());
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(rows.len() as u64, db.status().unwrap().rows);
    rows
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = at.min(bytes.len() - 1);
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_checkpoint_and_the_log_behind_it_hold_what_was_committed() {
    let mut scene = Scene::new("behind");
    for compression in ["off", "on"] {
        scene.db().set_config("checkpoint_compression", compression).unwrap();
        scene.put(0..3000, |name| name * 2);
        scene.delete(100..200);
        let taken = scene.db().checkpoint().unwrap();
        assert_eq!(taken.rows, 2900);
        scene.put(50..150, |name| name * 3);
        scene.delete(0..20);
        let before = scene.rows();
        scene.reopen();
        let boot = scene.db().boot();
        assert_eq!((boot.checkpoint, boot.loaded, boot.replayed), (Some(taken.number), 2900, 2), "{boot:?}");
        assert_eq!(scene.rows(), before);
        assert!(scene.db().verify().unwrap().is_clean());
    }
}

#[test]
fn replay_leaves_each_row_as_long_as_the_log_says() {
    let mut scene = Scene::new("lengths");
    let schema = Schema::builder("Note")
        .column(Column::new("name", ColumnType::String(16)))
        .column(Column::new("text", ColumnType::String(200)).nullable())
        .key("name")
        .build()
        .unwrap();
    scene.db().create_table(&schema).unwrap();
    let table = |scene: &Scene| scene.db().table("Note").unwrap().unwrap();
    let put = |scene: &Scene, name: usize, text: Value<'_>| {
        let table = table(scene);
        scene
            .db()
            .transaction(TxnOptions::default(), |txn| {
                txn.set(&table, Value::Str(&format!("note {name}")), &[(1, text)]).map(drop)
            })
            .unwrap();
    };
    let text = |name: usize, step: usize| ["a", "b", "c"][step].repeat((name * 37 + step * step * 11) % 150);
    for step in 0..3 {
        (0..40).for_each(|name| put(&scene, name, Value::Str(&text(name, step))));
        // Some as long as before, some null.
        (0..40)
            .step_by(5)
            .for_each(|name| put(&scene, name, Value::Str(&"d".repeat(text(name, step).len()))));
        (0..40).step_by(7).for_each(|name| put(&scene, name, Value::Null));
        if step == 0 {
            scene.db().checkpoint().unwrap();
        }
    }
    let notes = |scene: &Scene| {
        let mut notes = BTreeMap::new();
        let mut txn = scene.db().begin(TxnOptions::default()).unwrap();
        txn.scan(&table(scene), &mut |row| {
            notes.insert(row.get(0).to_string(), row.get(1).to_string());
            ControlFlow::Continue(())
        })
        .unwrap();
        notes
    };
    let before = notes(&scene);
    assert_eq!(before.len(), 40);
    scene.reopen();
    assert_eq!(scene.db().boot().loaded, 40);
    assert_eq!(notes(&scene), before);
    assert!(scene.db().verify().unwrap().is_clean());
}

#[test]
fn what_a_checkpoint_makes_superfluous_is_removed_once_there_are_two() {
    let mut scene = Scene::new("superfluous");
    let removed = scene.put_and_checkpoint(2);
    assert!(removed[0] == 0 && removed[1] > 0, "{removed:?}");
    let count = scene.files("wal").len();
    scene.put_and_checkpoint(3);
    assert_eq!(scene.files("checkpoints").len(), 4, "two of two files each");
    assert!(scene.files("wal").len() <= count, "the log grows");
    let before = scene.rows();
    scene.reopen();
    assert_eq!(scene.rows(), before);
}

#[test]
fn indexes_are_as_they_were_when_the_checkpoint_was_taken_or_the_log_says_since() {
    let mut scene = Scene::new("indexes");
    scene.put(0..100, |name| name);
    let unique = IndexSpec { is_unique: true, ..IndexSpec::default() };
    scene.db().create_index(&scene.table(), 1, unique).unwrap();
    scene.db().checkpoint().unwrap();
    scene.reopen();
    let table = scene.table();
    let twice = |scene: &Scene| {
        scene.db().transaction(TxnOptions::default(), |txn| {
            txn.set(&scene.table(), Value::Str("row 1"), &[(1, Value::I64(7))]).map(drop)
        })
    };
    assert_eq!(twice(&scene).unwrap_err().kind(), ErrorKind::Duplicate);
    scene.db().checkpoint().unwrap();
    scene.db().drop_index(&table, 1).unwrap();
    twice(&scene).unwrap();
    let before = scene.rows();
    scene.reopen();
    assert_eq!(scene.rows(), before, "it may hold twice what no index forbids any more");
    assert_eq!(scene.db().drop_index(&scene.table(), 1).unwrap_err().kind(), ErrorKind::NotFound);
    scene.db().checkpoint().unwrap();
    scene.reopen();
    assert_eq!(scene.rows(), before);
    assert_eq!(scene.db().drop_index(&scene.table(), 1).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(scene.db().verify().unwrap().is_clean());
}

/// Whoever makes or drops an index stands still before it is logged, or behind that: a checkpoint has what the log has.
#[test]
fn an_index_that_somebody_is_about_to_log_is_in_a_checkpoint_if_the_log_has_it() {
    for case in 0..8 {
        let bit = |bit: u32| case >> bit & 1 == 1;
        let (makes, is_logged, has_earlier) = (bit(0), bit(1), bit(2));
        let mut scene = Scene::new("unsure");
        scene.put(0..100, |name| name);
        let table = scene.table();
        if !makes {
            scene.db().create_index(&table, 1, IndexSpec::default()).unwrap();
        }
        if has_earlier && !makes && !is_logged {
            // And the log does not reach back to where the index was made.
            assert!(scene.put_and_checkpoint(4).iter().sum::<u64>() > 0);
        } else if has_earlier {
            scene.db().checkpoint().unwrap();
        }
        let mut session = scene.db().0.session().unwrap();
        if makes {
            session.make_unlogged(&table.0, 1, IndexSpec::default());
        } else {
            session.leave_unlogged(&table.0, 1);
        }
        if is_logged {
            let logged;
            (session, logged) = log_only(session, &table.0, 1, makes);
            logged.unwrap();
        }
        scene.put(0..10, |name| -name);
        scene.db().checkpoint().unwrap();
        if makes == has_earlier {
            // The next one has only the one before to go by, if nothing was logged since.
            scene.db().checkpoint().unwrap();
        }
        let before = scene.rows();
        scene.db().0.pool().put(session);
        drop(table);
        scene.reopen();
        assert_eq!(scene.rows(), before, "case {case}");
        let dropped = scene.db().drop_index(&scene.table(), 1);
        assert_eq!(dropped.is_ok(), makes == is_logged, "case {case}: {dropped:?}");
        assert!(scene.db().verify().unwrap().is_clean(), "case {case}");
    }
}

#[test]
fn what_is_committed_while_checkpoints_are_taken_is_there_whole_and_once() {
    let mut scene = Scene::new("meanwhile");
    scene.put(0..2000, |_| 0);
    for _ in 0..3 {
        let (table, db) = (scene.table(), scene.db());
        let is_over = &AtomicBool::new(false);
        std::thread::scope(|scope| {
            let movers: Vec<_> = (0..2_i64)
                .map(|mover| {
                    let table = table.clone();
                    scope.spawn(move || {
                        for step in 0.. {
                            if is_over.load(Ordering::Relaxed) {
                                return;
                            }
                            let (from, to) = ((step * 7 + mover) % 2000, (step * 13 + 5) % 2000);
                            // What one loses another gains: the sum is nought at every moment.
                            db.transaction(TxnOptions::default(), |txn| {
                                for (name, change) in [(from, -1), (to, 1)] {
                                    let name = format!("row {name}");
                                    let value = txn
                                        .get(&table, Value::Str(&name), |row| row.get(1).as_i64().unwrap())?;
                                    let value = value.unwrap() + change;
                                    txn.set(&table, Value::Str(&name), &[(1, Value::I64(value))])?;
                                }
                                Ok(())
                            })
                            .unwrap();
                        }
                    })
                })
                .collect();
            for _ in 0..4 {
                assert_eq!(db.checkpoint().unwrap().rows, 2000);
            }
            is_over.store(true, Ordering::Relaxed);
            for mover in movers {
                mover.join().unwrap();
            }
        });
        let before = scene.rows();
        assert_eq!(before.values().sum::<i64>(), 0);
        scene.reopen();
        assert_eq!(scene.rows(), before);
    }
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_two_are_refused() {
    let mut scene = Scene::new("damaged");
    scene.put_and_checkpoint(3);
    scene.put(0..10, |_| -1);
    let before = scene.rows();
    let files = scene.files("checkpoints");
    let [_, older, _, newest] = &files[..] else { panic!("{files:?}") };
    for (at, damaged) in [(5000, newest), (30, &newest.with_extension("manifest"))] {
        scene.lose();
        flip(damaged, at);
        scene.db = Some(scene.open().unwrap());
        let boot = scene.db().boot();
        assert_eq!(boot.checkpoint, Some(2), "{boot:?}");
        assert!(boot.passed_over[0].contains(damaged.to_str().unwrap()), "{boot:?}");
        assert_eq!(scene.rows(), before);
        scene.db.take().unwrap().close().unwrap();
        flip(damaged, at);
        std::fs::remove_file(&scene.shm).unwrap();
        scene.db = Some(scene.open().unwrap());
        assert_eq!(scene.db().boot().checkpoint, Some(3));
    }
    scene.lose();
    flip(newest, 5000);
    flip(older, 5000);
    let error = scene.open().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    for told in [older.to_str().unwrap(), newest.to_str().unwrap(), "offset", "wal/"] {
        assert!(error.to_string().contains(told), "{error}");
    }
}

#[test]
fn a_log_that_ends_before_its_checkpoint_is_refused() {
    let mut scene = Scene::new("short");
    scene.put(0..10, |name| name);
    let taken = scene.db().checkpoint().unwrap();
    assert!(taken.commit_ts > 0);
    scene.lose();
    let segments = scene.files("wal");
    let kept: Vec<_> = segments.iter().map(|path| std::fs::read(path).unwrap()).collect();
    for path in &segments {
        std::fs::remove_file(path).unwrap();
    }
    let error = scene.open().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    for (path, bytes) in segments.iter().zip(kept) {
        std::fs::write(path, bytes).unwrap();
    }
    scene.db = Some(scene.open().unwrap());
    assert_eq!(scene.rows().len(), 10);
}

#[test]
fn a_checkpoint_that_is_broken_off_leaves_nothing_behind() {
    let scene = Scene::new("broken-off");
    scene.put(0..10, |name| name);
    let error = scene.db().checkpoint_with(&mut |_| ControlFlow::Break(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    assert!(scene.files("checkpoints").is_empty());
    assert_eq!(scene.db().checkpoint().unwrap().rows, 10);
}

#[test]
fn one_is_taken_when_it_is_due() {
    for (key, value) in [("checkpoint_interval_secs", "1"), ("checkpoint_log_mib", "1")] {
        let scene = Scene::new(key);
        scene.db().set_config(key, value).unwrap();
        let begun = std::time::Instant::now();
        let mut round = 0;
        while scene.db().status().unwrap().checkpoint.taken == 0 {
            round += 1;
            scene.put(0..2000, |name| name + round);
            assert!(begun.elapsed().as_secs() < 60, "{:?}", scene.db().status());
        }
    }
}

#[test]
fn whoever_waits_for_one_that_is_being_taken_says_so_and_gets_his_own() {
    let scene = Scene::new("awaited");
    scene.put(0..10, |name| name);
    let db = scene.db();
    let is_awaited = || db.0.store.checkpoints().is_awaited(monotonic_ns());
    assert!(!is_awaited());
    std::thread::scope(|scope| {
        let mut waiter = None;
        let first = db
            .checkpoint_with(&mut |progress| {
                // Its snapshot is taken.
                if progress.rows_expected > 0 && waiter.is_none() {
                    scene.put(10..20, |name| name);
                    waiter = Some(scope.spawn(|| db.checkpoint().unwrap()));
                    let begun = std::time::Instant::now();
                    while !is_awaited() {
                        assert!(begun.elapsed().as_secs() < 60);
                        std::thread::sleep(std::time::Duration::from_millis(1));
                    }
                }
                ControlFlow::Continue(())
            })
            .unwrap();
        let second = waiter.unwrap().join().unwrap();
        assert_eq!((first.rows, second.rows), (10, 20));
    });
}

mod dropped;
mod faults;
