//! Whole databases on a disk in memory: what a loss of power may leave at any step of what they do, and what a cold start makes of it.
//!
//! The claims  K1: what is recovered is what the commits up to some timestamp made, all of them and no others. K2: that timestamp is not
//!             below that of any synchronous commit whose session had been told. K3: the database goes on from there, and loses nothing
//!             of that.
#![allow(clippy::unwrap_used, reason = "tests")]

mod crash_points;
mod failures;
mod flips;
mod salvage;

use crate::checkpoint::{CheckpointError, Listed, Places, read_manifest};
use crate::db::garbage_tests::Scene;
use crate::db::{Database, DatabaseBuilder, Error, OpenMode, Table, TxnOptions};
use crate::recovery::{self, Recovered};
use crate::row::{Column, ColumnType, Schema, Value};
use crate::sys::MemoryFileSystem;
use crate::txn::{self, Session, Transaction};
use crate::wal::WalError;
use crate::wal::harness::Random;
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

fn schema() -> Schema {
    Schema::builder("Cell")
        .column(Column::new("name", ColumnType::I64))
        .column(Column::new("value", ColumnType::I64).ordered())
        .column(Column::new("note", ColumnType::String(400)))
        .key("name")
        .build()
        .unwrap()
}

/// The note of a row follows from its value: of many lengths, so that batches end anywhere in a sector.
fn note(value: i64) -> String {
    "note ".repeat(usize::try_from(value.unsigned_abs() % 37).unwrap())
}

/// Columns that are added, at most.
const ADDED: usize = 3;
/// What a row has in an added column that nobody has given a value.
const UNWRITTEN: i64 = -5;

/// A row's value, and what it has in added columns.
type Row = [i64; 1 + ADDED];

/// Rows by name.
type Rows = BTreeMap<i64, Row>;

/// What a transaction made of rows: a value, or nothing.
type Changes = Vec<(i64, Option<i64>)>;

/// What a transaction did, by a handle that knew of so many added columns.
#[derive(Clone, Debug)]
struct Commit {
    changes: Changes,
    added: usize,
}

/// What was committed, and which of it somebody was told of.
#[derive(Debug, Default)]
struct History {
    commits: Mutex<BTreeMap<u64, Commit>>,
    told: Mutex<u64>,
}

impl History {
    fn commits(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Commit>> {
        self.commits.lock().unwrap()
    }

    /// The newest timestamp that a synchronous commit has come back with.
    fn told(&self) -> u64 {
        *self.told.lock().unwrap()
    }

    fn tell(&self, commit_ts: u64) {
        let mut told = self.told.lock().unwrap();
        *told = commit_ts.max(*told);
    }

    /// The rows that the commits up to `last_ts` made.
    fn rows_at(&self, last_ts: u64) -> Rows {
        let mut rows = Rows::new();
        for Commit { changes, added } in self.commits().range(..=last_ts).map(|(_, commit)| commit) {
            for (name, value) in changes {
                let Some(value) = *value else {
                    rows.remove(name);
                    continue;
                };
                // An older handle leaves alone what it does not know of.
                let row = rows.entry(*name).or_insert([UNWRITTEN; 1 + ADDED]);
                (0..=*added).for_each(|place| row[place] = in_place(value, place));
            }
        }
        rows
    }
}

/// What is written in the column of the value, or in an added one behind it, with that value.
fn in_place(value: i64, place: usize) -> i64 {
    value + i64::try_from(place).unwrap()
}

/// Adds a column to the table.
fn alter(db: &Database) -> Result<(), Error> {
    let table = db.table("Cell")?.unwrap();
    let name = format!("more_{}", added_to(&table.0));
    db.add_columns(&table, &[Column::new(&name, ColumnType::I64).default(UNWRITTEN)]).map(drop)
}

fn added_to(table: &txn::TableRef) -> usize {
    table.columns() - schema().columns().len()
}

/// A data directory for the identity, and a mapping that can be lost; log and checkpoints are on a disk in memory.
struct Place {
    dir: PathBuf,
    shm: PathBuf,
}

impl Place {
    fn new(name: &str) -> Self {
        let unique = format!("/dev/shm/aerostore-test-disk-{name}-{}", std::process::id());
        let place = Self { shm: PathBuf::from(format!("{unique}.mmap")), dir: PathBuf::from(unique) };
        // Of an earlier run with that process id.
        let _ = std::fs::remove_file(&place.shm);
        let _ = std::fs::remove_dir_all(&place.dir);
        place
    }

    fn wal_dir(&self) -> PathBuf {
        self.dir.join("wal")
    }

    fn with_places<T>(
        &self,
        disk: &MemoryFileSystem,
        uuid: [u8; 16],
        run: impl FnOnce(&Places<'_>) -> T,
    ) -> T {
        let (checkpoints, log) = (self.dir.join("checkpoints"), self.wal_dir());
        run(&Places { files: disk, checkpoints: &checkpoints, log: &log, uuid })
    }

    fn builder(&self, disk: &MemoryFileSystem) -> DatabaseBuilder {
        Database::builder(&self.dir)
            .shm_path(&self.shm)
            .max_bytes(16 << 20)
            .segment_bytes(20_000)
            .ring_bytes(1 << 14)
            .files(Arc::new(disk.clone()))
    }

    fn try_open(&self, disk: &MemoryFileSystem) -> Result<Database, Error> {
        let db = self.builder(disk).open()?;
        db.set_config("wal_writer_delay_ms", "1")?;
        Ok(db)
    }

    fn open(&self, disk: &MemoryFileSystem) -> Database {
        self.try_open(disk).unwrap()
    }

    /// Opens it without its mapping.
    fn open_cold(&self, disk: &MemoryFileSystem) -> Database {
        let _ = std::fs::remove_file(&self.shm);
        let db = self.open(disk);
        assert_ne!(db.boot().mode, OpenMode::Warm);
        db
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.shm);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Commits the changes; its timestamp. Whoever met a conflict tries again.
fn commit(db: &Database, history: &History, changes: Changes, synchronous: bool) -> Result<u64, Error> {
    let table = db.table("Cell")?.unwrap();
    let options = TxnOptions { synchronous_commit: Some(synchronous), ..TxnOptions::default() };
    let commit_ts = loop {
        match db
            .begin(options)
            .and_then(|mut txn| apply(&mut txn, &table, &changes).and_then(|()| txn.commit()))
        {
            Err(error) if error.is_retryable() => {}
            outcome => break outcome?,
        }
    };
    let done = Commit { changes, added: added_to(&table.0) };
    assert!(history.commits().insert(commit_ts, done).is_none(), "two commits at {commit_ts}");
    if synchronous {
        history.tell(commit_ts);
    }
    Ok(commit_ts)
}

fn apply(txn: &mut crate::db::Transaction, table: &Table, changes: &Changes) -> Result<(), Error> {
    for (name, value) in changes {
        match value {
            Some(value) => {
                let note = note(*value);
                let added =
                    (1..=added_to(&table.0)).map(|place| (2 + place, Value::I64(in_place(*value, place))));
                let columns: Vec<_> =
                    [(1, Value::I64(*value)), (2, Value::Str(&note))].into_iter().chain(added).collect();
                txn.set(table, Value::I64(*name), &columns)?;
            }
            None => drop(txn.delete(table, Value::I64(*name))?),
        }
    }
    Ok(())
}

/// The rows of a session's database.
fn rows_of(session: Box<Session>) -> (Rows, Box<Session>) {
    let mut rows = Rows::new();
    let Some(table) = txn::table(&session, "Cell").unwrap() else { return (rows, session) };
    let mut txn = Transaction::begin(session, TxnOptions { read_only: true, ..TxnOptions::default() });
    let walk = txn.scan(&table, None, &mut |found| {
        for row in found {
            let (name, value) = (row.get(0).as_i64().unwrap(), row.get(1).as_i64().unwrap());
            assert_eq!(row.get(2), Value::Str(&note(value)), "row {name}");
            let mut found = [UNWRITTEN; 1 + ADDED];
            found[0] = value;
            for (place, value) in found.iter_mut().enumerate().skip(1).take(added_to(&table)) {
                *value = row.get(2 + place).as_i64().unwrap();
            }
            assert!(rows.insert(name, found).is_none());
        }
        ControlFlow::Continue(())
    });
    walk.unwrap();
    (rows, txn.into_session().unwrap())
}

/// What the log behind the newest checkpoint holds.
#[derive(Debug)]
struct Log {
    /// The newest checkpoint's timestamp; 0 where there is none.
    from_ts: u64,
    /// All that is in the directory of checkpoints.
    checkpoints: u32,
    /// Timestamp and contents of every record.
    records: BTreeMap<u64, u32>,
    /// It holds all up to here.
    last_ts: u64,
}

impl Log {
    fn read(place: &Place, uuid: [u8; 16], disk: &MemoryFileSystem) -> Result<Self, CheckpointError> {
        let from_ts =
            place.with_places(disk, uuid, |places| match Listed::read(places)?.manifests()[..] {
                [] => Ok(0),
                [newest, ..] => read_manifest(places, newest).map(|manifest| manifest.commit_ts),
            })?;
        let paths = disk.paths().into_iter().filter(|path| !path.starts_with(place.wal_dir()));
        let checkpoints = paths.fold(0, |checksum, path| {
            let checksum = crc32c::crc32c_append(checksum, path.as_os_str().as_encoded_bytes());
            crc32c::crc32c_append(checksum, &disk.bytes(&path))
        });
        let mut records = BTreeMap::new();
        let report = recovery::scan_log(disk, &place.wal_dir(), uuid, from_ts, |c, redo| {
            // One transaction is one record in this log.
            assert!(records.insert(c, crc32c::crc32c(redo)).is_none(), "two records at {c}");
            Ok::<(), WalError>(())
        })?;
        Ok(Self { from_ts, checkpoints, records, last_ts: report.last_ts })
    }

    /// K1 and K2, of records: this log is `whole` up to its last timestamp.
    fn check(&self, whole: &BTreeMap<u64, u32>, told: u64) {
        assert!(self.last_ts >= told, "a commit at {told} was told of, the log ends at {}", self.last_ts);
        let expected = whole.range((Bound::Excluded(self.from_ts), Bound::Included(self.last_ts)));
        assert!(self.records.iter().eq(expected), "from {:?} up to {}", self.from_ts, self.last_ts);
    }
}

/// What a cold start from `disk` makes.
fn recover(
    scene: &str,
    place: &Place,
    uuid: [u8; 16],
    disk: &MemoryFileSystem,
) -> Result<(Recovered, Rows), CheckpointError> {
    let arena = Scene::new(scene, 0);
    let mut session = arena.process();
    let recover = |places: &Places<'_>| recovery::recover(&mut session, places, 2, &mut |_| {});
    let recovered = place.with_places(disk, uuid, recover)?;
    Ok((recovered, rows_of(session).0))
}

/// K1, of the rows that a cold start from `disk` makes.
fn check_rows(scene: &str, place: &Place, uuid: [u8; 16], disk: &MemoryFileSystem, history: &History) {
    let (recovered, rows) = recover(scene, place, uuid, disk).unwrap();
    assert!(recovered.passed_over.is_empty(), "{:?}", recovered.passed_over);
    assert_eq!(rows, history.rows_at(recovered.last_ts), "up to {}", recovered.last_ts);
}

/// K3, of a whole database that is opened on `disk`.
fn check_goes_on(place: &Place, disk: &MemoryFileSystem, history: &History, told: u64) {
    let db = place.open_cold(disk);
    let last_ts = db.0.store.clock().now();
    let history = History { commits: Mutex::new(history.commits().clone()), told: Mutex::new(told) };
    history.commits().retain(|commit_ts, _| *commit_ts <= last_ts);
    db.create_table(&schema()).unwrap();
    let changes = vec![(1, Some(-1)), (2, None), (3, Some(-3))];
    let commit_ts = commit(&db, &history, changes, true).unwrap();
    let after = disk.power_loss(|| false);
    db.close().unwrap();
    let db = place.open_cold(&after);
    assert!(db.0.store.clock().now() >= commit_ts);
    let (rows, _) = rows_of(db.0.session().unwrap());
    assert_eq!(rows, history.rows_at(commit_ts));
    let report = db.verify().unwrap();
    assert!(report.is_clean(), "{report:#?}");
    db.close().unwrap();
}

impl Random {
    /// Two or three changes of few rows.
    fn changes(&mut self) -> Changes {
        let mut value = || self.below(1_000_000).cast_signed();
        let mut changes: BTreeMap<i64, i64> = (0..2).map(|_| (value() % 23, value())).collect();
        let gone = value() % 23;
        let kept: Changes = std::mem::take(&mut changes)
            .into_iter()
            .filter(|(name, _)| *name != gone)
            .map(|(name, value)| (name, Some(value)))
            .collect();
        // The first change is made whatever else there is, so that every transaction has something to log.
        std::iter::once((100, Some(value()))).chain(kept).chain([(gone, None)]).collect()
    }
}

#[test]
fn what_was_acknowledged_survives_the_loss_of_mapping_and_power() {
    let (place, disk, history) = (Place::new("ack"), MemoryFileSystem::default(), History::default());
    let db = place.open(&disk);
    db.create_table(&schema()).unwrap();
    for name in 0..20 {
        commit(&db, &history, vec![(name, Some(name * 3))], true).unwrap();
    }
    let disk = disk.power_loss(|| false);
    drop(db);
    let db = place.open_cold(&disk);
    assert_eq!(db.boot().mode, OpenMode::Cold);
    assert_eq!(rows_of(db.0.session().unwrap()).0, history.rows_at(u64::MAX));
}
