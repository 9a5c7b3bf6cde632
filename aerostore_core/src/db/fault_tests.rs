//! A process is killed at the n-th point of an operation, for every n, while two peers go on; then what it left is checked.
//!
//! Shape       the victim is this test binary again, so it dies indeed (SIGKILL), at a point before or after a change of shared
//!             memory (see `sync::fault`). The peers are threads of the parent that move money between accounts. After each
//!             death they pause, and `verify` and the operation's own promise are checked.
//! Length      `AEROSTORE_FAULT_STRIDE`: every how manyth point; default: so many that an operation has some hundred. 1 is the
//!             long form. Which ones are left out changes with the operation's own length.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "tests")]

use crate::db::{Database, Error, Table, Transaction, TxnOptions};
use crate::row::{Column, ColumnType, Schema, Value};
use crate::sync::killed_at;
use crate::txn::reap_dead_processes;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, RwLock, mpsc};
use std::time::Duration;

const ROLE: &str = "AEROSTORE_FAULT_VICTIM";
const ACCOUNTS: u64 = 4;
const BALANCE: i64 = 1000;
/// Victims that one database serves, so that checking it stays quick.
const VICTIMS_PER_WORLD: u32 = 16;
/// Points of an operation that the short form tries.
const SHORT_POINTS: u64 = 120;
/// Rows that fill the first table of a key index up to the last before it grows.
const ROWS_BEFORE_GROWTH: u32 = 716;
/// Rows that are inserted while it grows: enough to move all of it.
const ROWS_AFTER: u32 = 10;
/// More redo than the small log ring takes.
const BIG_ROWS: u32 = 60;

/// What the victim is doing when it dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Insert,
    Update,
    Delete,
    Abort,
    Savepoints,
    CommitWithLog,
    CommitOutOfLine,
    Prune,
    CreateTable,
    IndexGrowth,
    Attach,
    Reap,
}

impl Operation {
    fn named(name: &str) -> Self {
        use Operation::*;
        let all = [
            Insert,
            Update,
            Delete,
            Abort,
            Savepoints,
            CommitWithLog,
            CommitOutOfLine,
            Prune,
            CreateTable,
            IndexGrowth,
            Attach,
            Reap,
        ];
        all.into_iter().find(|operation| format!("{operation:?}") == name).unwrap()
    }
}

fn schema(name: &str) -> Schema {
    Schema::builder(name)
        .column(Column::new("name", ColumnType::String(24)))
        .column(Column::new("value", ColumnType::I64))
        .key("name")
        .build()
        .unwrap()
}

fn open(dir: &Path, shm: &Path) -> Database {
    let db = Database::builder(dir)
        .shm_path(shm)
        .max_bytes(256 << 20)
        .segment_bytes(1 << 20)
        .ring_bytes(4096)
        .open()
        .unwrap();
    db.set_config("synchronous_commit", "off").unwrap();
    db
}

fn put(txn: &mut Transaction, table: &Table, name: &str, value: i64) -> Result<(), Error> {
    txn.set(table, Value::Str(name), &[(1, Value::I64(value))]).map(|_| ())
}

fn put_all(db: &Database, table: &Table, rows: &[(String, i64)]) {
    db.transaction(TxnOptions::default(), |txn| {
        rows.iter().try_for_each(|(name, value)| put(txn, table, name, *value))
    })
    .unwrap();
}

fn transfer(db: &Database, table: &Table, from: u64, to: u64) -> Result<(), Error> {
    db.transaction(TxnOptions::default(), |txn| {
        let (from, to) = (format!("A{from}"), format!("A{to}"));
        let mut balance = |name| {
            // A conflict here, too, is for the retry: the row may have to be locked before it is read.
            let found = txn.get(table, Value::Str(name), |row| row.get(1).as_i64().unwrap())?;
            Ok::<i64, Error>(found.unwrap())
        };
        let (left, right) = (balance(&from)?, balance(&to)?);
        if from == to {
            return Ok(());
        }
        put(txn, table, &from, left - 1)?;
        put(txn, table, &to, right + 1)
    })
}

fn rows(db: &Database, table: &Table) -> BTreeMap<String, i64> {
    let mut rows = BTreeMap::new();
    let mut txn = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
    txn.scan(table, &mut |row| {
        let Value::Str(name) = row.get(0) else { panic!("{row:?}") };
        assert!(rows.insert(name.to_owned(), row.get(1).as_i64().unwrap()).is_none(), "{name} twice");
        ControlFlow::Continue(())
    })
    .unwrap();
    rows
}

#[expect(clippy::too_many_lines, reason = "one case for each operation")]
/// The operation, in the victim. Returns the points it has passed, if it lives.
fn act(operation: Operation, point: u64, dir: &Path, shm: &Path) -> u64 {
    let n = point.cast_signed();
    if operation == Operation::Attach {
        return killed_at(point, || {
            let db = open(dir, shm);
            let table = db.table("Cell").unwrap().unwrap();
            put_all(&db, &table, &[("V0".to_owned(), n), ("V1".to_owned(), n)]);
            db.close().unwrap();
        });
    }
    let db = open(dir, shm);
    let table = db.table("Cell").unwrap().unwrap();
    let pair = |name: &str| [(format!("{name}{n}a"), n), (format!("{name}{n}b"), n)];
    let both = |n| [("V0".to_owned(), n), ("V1".to_owned(), n)];
    match operation {
        Operation::Insert => killed_at(point, || put_all(&db, &table, &pair("I"))),
        Operation::Update => killed_at(point, || {
            db.transaction(TxnOptions::default(), |txn| {
                for (name, value) in both(n) {
                    put(txn, &table, &name, value)?;
                    put(txn, &table, &name, value + 1)?;
                    put(txn, &table, &name, value)?;
                }
                Ok(())
            })
            .unwrap();
            let _ = transfer(&db, &table, 0, 1);
        }),
        Operation::Delete => {
            put_all(&db, &table, &pair("D"));
            killed_at(point, || {
                db.transaction(TxnOptions::default(), |txn| {
                    pair("D")
                        .iter()
                        .try_for_each(|(name, _)| txn.delete(&table, Value::Str(name)).map(|_| ()))
                })
                .unwrap();
            })
        }
        Operation::Abort => {
            put_all(&db, &table, &pair("X"));
            killed_at(point, || {
                let mut txn = db.begin(TxnOptions::default()).unwrap();
                put(&mut txn, &table, &format!("N{n}"), n).unwrap();
                put(&mut txn, &table, &pair("X")[0].0, -1).unwrap();
                put(&mut txn, &table, &pair("X")[0].0, -2).unwrap();
                txn.delete(&table, Value::Str(&pair("X")[1].0)).unwrap();
                txn.rollback();
            })
        }
        Operation::Savepoints => killed_at(point, || {
            db.transaction(TxnOptions::default(), |txn| {
                put(txn, &table, "V0", -1)?;
                put(txn, &table, "V1", -1)?;
                let outer = txn.savepoint()?;
                put(txn, &table, "V0", -2)?;
                put(txn, &table, &format!("N{n}"), n)?;
                let inner = txn.savepoint()?;
                put(txn, &table, "V0", -3)?;
                txn.delete(&table, Value::Str("V1"))?;
                txn.rollback_to(&inner)?;
                put(txn, &table, "V1", -4)?;
                txn.rollback_to(&outer)?;
                let last = txn.savepoint()?;
                put(txn, &table, "V0", n)?;
                txn.release(last)?;
                put(txn, &table, "V1", n)
            })
            .unwrap();
        }),
        Operation::CommitWithLog => {
            db.set_config("synchronous_commit", "on").unwrap();
            killed_at(point, || put_all(&db, &table, &both(n)))
        }
        Operation::CommitOutOfLine => {
            db.set_config("synchronous_commit", "on").unwrap();
            let big: Vec<_> = (0..BIG_ROWS).map(|row| (format!("B{row}"), n)).collect();
            killed_at(point, || put_all(&db, &table, &big))
        }
        Operation::Prune => {
            for step in 0..31 {
                put_all(&db, &table, &both(-step));
            }
            killed_at(point, || {
                put_all(&db, &table, &both(-31));
                put_all(&db, &table, &both(n));
            })
        }
        Operation::CreateTable => killed_at(point, || {
            let table = db.create_table(&schema(&format!("T{n}"))).unwrap();
            put_all(&db, &table, &pair("T"));
        }),
        Operation::IndexGrowth => {
            let table = db.create_table(&schema(&format!("G{n}"))).unwrap();
            for first in (0..ROWS_BEFORE_GROWTH).step_by(100) {
                let last = (first + 100).min(ROWS_BEFORE_GROWTH);
                let batch: Vec<_> = (first..last).map(|row| (format!("R{row}"), i64::from(row))).collect();
                put_all(&db, &table, &batch);
            }
            killed_at(point, || {
                for row in ROWS_BEFORE_GROWTH..ROWS_BEFORE_GROWTH + ROWS_AFTER {
                    put_all(&db, &table, &[(format!("R{row}"), i64::from(row))]);
                }
            })
        }
        Operation::Reap => {
            // Somebody dies in the middle of an update, each time at another point; this one looks after what is left.
            let dead = victim(Operation::Update, 1 + point * 7 % 150, dir, shm);
            assert!(dead.status.code().is_none_or(|code| code == 0), "{dead:?}");
            let mut session = db.0.session().unwrap();
            let passed = killed_at(point, || {
                reap_dead_processes(&mut session).unwrap();
            });
            db.0.pool().put(session);
            passed
        }
        Operation::Attach => unreachable!("see above"),
    }
}

/// Not a test of its own: what the processes that are killed run.
#[test]
fn victim_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let parts: Vec<&str> = role.split('|').collect();
    let passed = act(
        Operation::named(parts[0]),
        parts[1].parse().unwrap(),
        &PathBuf::from(parts[2]),
        &PathBuf::from(parts[3]),
    );
    println!("passed:{passed}:");
}

fn victim(operation: Operation, point: u64, dir: &Path, shm: &Path) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "db::fault_tests::victim_process", "--nocapture", "--test-threads=1"])
        .env(ROLE, format!("{operation:?}|{point}|{}|{}", dir.display(), shm.display()))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// A database with two peers at work in it.
struct World {
    dir: PathBuf,
    shm: PathBuf,
    db: Option<Database>,
    table: Table,
    /// Held for reading during each transaction of a peer, and for writing while all is checked.
    gate: Arc<RwLock<()>>,
    stop: Vec<(mpsc::Sender<()>, std::thread::JoinHandle<u64>)>,
}

impl World {
    fn new(operation: Operation, serial: u32) -> Self {
        let unique = format!("aerostore-fault-{operation:?}-{}-{serial}", std::process::id());
        let (dir, shm) =
            (std::env::temp_dir().join(&unique), Path::new("/dev/shm").join(format!("{unique}.mmap")));
        let db = open(&dir, &shm);
        let table = db.create_table(&schema("Cell")).unwrap();
        let mut start: Vec<_> = (0..ACCOUNTS).map(|account| (format!("A{account}"), BALANCE)).collect();
        start.extend([("V0".to_owned(), 0), ("V1".to_owned(), 0)]);
        start.extend((0..BIG_ROWS).map(|row| (format!("B{row}"), 0)));
        put_all(&db, &table, &start);
        let mut world = Self { dir, shm, db: Some(db), table, gate: Arc::default(), stop: Vec::new() };
        // The reaper that is to be killed must not be forestalled.
        if operation != Operation::Reap {
            (0..2).for_each(|seed| world.start_peer(seed));
        }
        world
    }

    fn start_peer(&mut self, seed: u64) {
        let (sender, stopped) = mpsc::channel();
        let (db, table, gate) = (self.db.clone().unwrap(), self.table.clone(), Arc::clone(&self.gate));
        let thread = std::thread::spawn(move || {
            let (mut at, mut done) = (seed, 0);
            while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let busy = gate.read().unwrap();
                match transfer(&db, &table, (at >> 33) % ACCOUNTS, (at >> 40) % ACCOUNTS) {
                    Ok(()) => done += 1,
                    Err(error) => assert!(error.is_retryable(), "{error}"),
                }
                drop(busy);
                std::thread::sleep(Duration::from_micros(300));
            }
            done
        });
        self.stop.push((sender, thread));
    }

    /// Lets a victim die at `point`; the points it has passed, if it did not.
    fn kill(&mut self, operation: Operation, point: u64) -> Option<u64> {
        if operation == Operation::Reap {
            self.db.take().unwrap().close().unwrap();
        }
        let output = victim(operation, point, &self.dir, &self.shm);
        if operation == Operation::Reap {
            self.db = Some(open(&self.dir, &self.shm));
            self.table = self.db.as_ref().unwrap().table("Cell").unwrap().unwrap();
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let passed = match output.status.signal() {
            Some(libc::SIGKILL) => None,
            _ => text
                .split("passed:")
                .nth(1)
                .and_then(|rest| rest.split(':').next())
                .map(|n| n.parse().unwrap()),
        };
        assert!(
            passed.is_some() || output.status.signal() == Some(libc::SIGKILL),
            "{operation:?} at point {point}: {text}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        self.check(operation, point, passed.is_some());
        passed
    }

    fn check(&self, operation: Operation, point: u64, survived: bool) {
        let still = self.gate.write().unwrap();
        let db = self.db.as_ref().unwrap();
        // A first look, while what the dead one left still lies about.
        let first = rows(db, &self.table);
        db.flush().unwrap();
        let report = db.verify().unwrap();
        let at = format!("{operation:?} at point {point}");
        assert!(report.is_clean(), "{at}: {report:#?}");
        let rows = rows(db, &self.table);
        assert_eq!(first, rows, "{at}: cleaning up has changed what is seen");
        let balance: i64 = (0..ACCOUNTS).map(|account| rows[&format!("A{account}")]).sum();
        assert_eq!(balance, ACCOUNTS.cast_signed() * BALANCE, "{at}");
        assert_eq!(rows["V0"], rows["V1"], "{at}: half of a transaction");
        let n = point.cast_signed();
        let pair =
            |name: &str| [format!("{name}{n}a"), format!("{name}{n}b")].map(|key| rows.get(&key).copied());
        match operation {
            Operation::Insert => {
                let [a, b] = pair("I");
                assert_eq!(a, b, "{at}: half of a transaction");
                assert!(a == Some(n) || a.is_none() && !survived, "{at}: {a:?}");
            }
            Operation::Delete => {
                let [a, b] = pair("D");
                assert_eq!(a, b, "{at}: half of a transaction");
                assert!(a.is_none() || a == Some(n) && !survived, "{at}: {a:?}");
            }
            Operation::Abort => {
                assert_eq!((pair("X"), rows.get(&format!("N{n}"))), ([Some(n), Some(n)], None), "{at}");
            }
            Operation::CommitOutOfLine => {
                assert!((0..BIG_ROWS).all(|row| rows[&format!("B{row}")] == rows["B0"]), "{at}: half of it");
                assert!(!survived || rows["B0"] == n, "{at}");
            }
            Operation::CreateTable => {
                let created = db.table(&format!("T{n}")).unwrap();
                let rows = created.map(|table| self::rows(db, &table).len());
                assert!(rows == Some(2) || !survived && matches!(rows, None | Some(0)), "{at}: {rows:?}");
                // The name can be used, whatever became of it.
                db.create_table(&schema(&format!("T{n}"))).unwrap();
            }
            Operation::IndexGrowth => {
                let table = db.table(&format!("G{n}")).unwrap().unwrap();
                let rows = self::rows(db, &table);
                let count = u32::try_from(rows.len()).unwrap();
                let all = ROWS_BEFORE_GROWTH + ROWS_AFTER;
                assert!(
                    count == all || !survived && (ROWS_BEFORE_GROWTH..all).contains(&count),
                    "{at}: {count}"
                );
                assert!((0..count).all(|row| rows[&format!("R{row}")] == i64::from(row)), "{at}");
                // And the growth goes on.
                let more: Vec<_> = (count..count + ROWS_AFTER).map(|row| (format!("R{row}"), 0)).collect();
                put_all(db, &table, &more);
            }
            Operation::Savepoints => {
                assert!(rows["V0"] >= 0 && !rows.contains_key(&format!("N{n}")), "{at}: what was undone");
                assert!(!survived || rows["V0"] == n, "{at}");
            }
            Operation::Update | Operation::CommitWithLog | Operation::Prune | Operation::Attach => {
                assert!(!survived || rows["V0"] == n, "{at}");
            }
            Operation::Reap => {}
        }
        drop(still);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for (sender, thread) in self.stop.drain(..) {
            drop(sender);
            let done = thread.join();
            if !std::thread::panicking() {
                assert!(done.unwrap() > 0, "a peer came to nothing");
            }
        }
        drop(self.db.take());
        let _ = std::fs::remove_dir_all(&self.dir);
        let _ = std::fs::remove_file(&self.shm);
    }
}

fn at_every_point(operation: Operation) {
    if std::env::var(ROLE).is_ok() {
        return;
    }
    let mut serial = 0;
    let mut world = World::new(operation, serial);
    // How long it is, when nobody dies.
    let points = world.kill(operation, 1 << 40).unwrap();
    assert!(points > 2, "{operation:?} has no points");
    let stride = std::env::var("AEROSTORE_FAULT_STRIDE").ok().and_then(|text| text.parse().ok());
    let stride = stride.unwrap_or(points.div_ceil(SHORT_POINTS));
    let (mut point, mut kills, mut survivals) = (1, 0, 0);
    // Peers make it longer or shorter by some points from time to time.
    while survivals < 2 {
        serial += 1;
        if serial % VICTIMS_PER_WORLD == 0 {
            drop(world);
            world = World::new(operation, serial);
        }
        match world.kill(operation, point) {
            None => (kills, survivals) = (kills + 1, 0),
            Some(_) => survivals += 1,
        }
        point += stride;
    }
    println!("fault points: {operation:?}: {points} points, {kills} kills at every {stride}. of them");
}

macro_rules! killed_at_every_point {
    ($($name:ident: $operation:ident,)*) => {
        $(
            #[test]
            fn $name() {
                at_every_point(Operation::$operation);
            }
        )*
    };
}

killed_at_every_point! {
    killed_while_inserting: Insert,
    killed_while_updating: Update,
    killed_while_deleting: Delete,
    killed_while_aborting: Abort,
    killed_with_savepoints: Savepoints,
    killed_while_committing_with_the_log: CommitWithLog,
    killed_while_committing_more_than_the_ring_takes: CommitOutOfLine,
    killed_while_pruning: Prune,
    killed_while_making_a_table: CreateTable,
    killed_while_the_index_grows: IndexGrowth,
    killed_while_attaching_and_closing: Attach,
    killed_while_reaping: Reap,
}
