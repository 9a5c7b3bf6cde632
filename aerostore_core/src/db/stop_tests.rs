//! A process is stopped between two calls on files, in the middle of a take-over of the log, a roll, a checkpoint, or a cold start; others go on,
//! then it does.
//!
//! Shape       the victim is this test binary again, on files that stop it (SIGSTOP) before the n-th call since they were told to. The parent
//!             opens the same database meanwhile, takes over what there is to take over, commits, and lets the victim go on, which must come
//!             to its end. Nothing that was committed is missing then, nor after a cold start.
//! Length      `AEROSTORE_FILE_STOPS`: before every call; else before a few, which change with the process.

#![allow(clippy::unwrap_used, reason = "tests")]

mod files;

use crate::db::fault_tests::{Watchdog, stands_still};
use crate::db::workers::holder_word;
use crate::db::{Database, Error, ErrorKind, OpenMode, Table, TxnOptions};
use crate::row::{Column, ColumnType, Schema, Value};
use crate::sync::{AtomicBool, Ordering};
use crate::sys::monotonic_ns;
use files::StoppingFiles;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const ROLE: &str = "AEROSTORE_STOP_VICTIM";
/// Rows that a victim commits, each waiting for the disk: more than a segment.
const ROWS: i64 = 70;
/// After every so many of them it adds a column.
const ROWS_PER_COLUMN: i64 = 25;

/// What the victim is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    /// Goes on in a new segment of the log.
    Roll,
    /// Takes office, in a segment that is made of a spare.
    TakeOver,
    Checkpoint,
    ColdStart,
}

impl Deed {
    const ALL: [Self; 4] = [Self::Roll, Self::TakeOver, Self::Checkpoint, Self::ColdStart];
}

fn schema() -> Schema {
    Schema::builder("Cell")
        .column(Column::new("name", ColumnType::I64))
        .column(Column::new("note", ColumnType::String(400)))
        .key("name")
        .build()
        .unwrap()
}

/// Adds a column of that name.
fn add_column(db: &Database, name: &str) -> Result<(), Error> {
    let table = db.table("Cell")?.unwrap();
    db.add_columns(&table, &[Column::new(name, ColumnType::I64).default(7_i64)]).map(drop)
}

/// Commits one row, and waits for the disk.
fn commit(db: &Database, table: &Table, name: i64) {
    let options = TxnOptions { synchronous_commit: Some(true), ..TxnOptions::default() };
    let note = "note ".repeat(usize::try_from(60 + name % 7).unwrap());
    db.transaction(options, |txn| txn.set(table, Value::I64(name), &[(1, Value::Str(&note))])).unwrap();
}

fn names(db: &Database) -> BTreeSet<i64> {
    let table = db.table("Cell").unwrap().unwrap();
    let mut names = BTreeSet::new();
    let mut txn = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
    txn.scan(&table, &mut |row| {
        names.insert(row.get(0).as_i64().unwrap());
        ControlFlow::Continue(())
    })
    .unwrap();
    names
}

fn added(db: &Database) -> BTreeSet<String> {
    let table = db.table("Cell").unwrap().unwrap();
    let columns = table.schema().columns().iter().skip(schema().columns().len());
    columns.map(|column| column.name().to_owned()).collect()
}

/// The column that a victim adds after this row, if any.
fn column_after(name: i64) -> Option<String> {
    (name % ROWS_PER_COLUMN == 0).then(|| format!("after_{name}"))
}

/// A database's files, and the victim that is at work on them.
struct Scene {
    dir: PathBuf,
    shm: PathBuf,
    /// All that were committed.
    names: BTreeSet<i64>,
    /// Columns that were added.
    added: BTreeSet<String>,
}

impl Scene {
    fn new(deed: Deed, serial: u64) -> Self {
        let unique = format!("/dev/shm/aerostore-test-stop-{deed:?}-{serial}-{}", std::process::id());
        let scene = Self {
            shm: PathBuf::from(format!("{unique}.mmap")),
            dir: unique.into(),
            names: BTreeSet::new(),
            added: BTreeSet::new(),
        };
        scene.remove();
        scene
    }

    fn remove(&self) {
        let _ = std::fs::remove_file(&self.shm);
        let _ = std::fs::remove_dir_all(&self.dir);
    }

    fn open(&self) -> Database {
        open(&self.dir, &self.shm, None)
    }

    fn commit(&mut self, db: &Database, names: std::ops::Range<i64>) {
        let table = db.table("Cell").unwrap().unwrap();
        for name in names {
            commit(db, &table, name);
            self.names.insert(name);
        }
    }

    fn add_column(&mut self, db: &Database, name: &str) {
        add_column(db, name).unwrap();
        self.added.insert(name.to_owned());
    }

    /// The victim has come to its end.
    fn has_all_of_victim(&mut self) {
        self.names.extend(0..ROWS);
        self.added.extend((0..ROWS).filter_map(column_after));
    }

    /// What is there before the victim is.
    fn prepare(&mut self, deed: Deed) {
        let db = self.open();
        db.create_table(&schema()).unwrap();
        self.commit(&db, 1000..1005);
        self.add_column(&db, "first");
        self.commit(&db, 1005..1010);
        if deed != Deed::Roll {
            // Two checkpoints, and segments that they make superfluous.
            for round in 11..13 {
                self.commit(&db, round * 100..round * 100 + 60);
                db.checkpoint().unwrap();
            }
            self.add_column(&db, "second");
        }
        db.close().unwrap();
        let mut files = std::fs::read_dir(self.dir.join("wal")).unwrap();
        let has_spare =
            files.any(|file| file.unwrap().path().extension().is_some_and(|kind| kind == "spare"));
        assert_eq!(has_spare, deed != Deed::Roll);
        if deed == Deed::ColdStart {
            std::fs::remove_file(&self.shm).unwrap();
        }
    }

    fn start(&self, deed: Deed, call: u64) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "db::stop_tests::victim_process", "--nocapture", "--test-threads=1"])
            .env(ROLE, format!("{deed:?}|{call}|{}|{}", self.dir.display(), self.shm.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// All of it is there, now and after a cold start.
    fn check(&self, db: Database, what: &str) {
        assert_eq!(names(&db), self.names, "{what}");
        assert_eq!(added(&db), self.added, "{what}");
        assert!(db.verify().unwrap().is_clean(), "{what}");
        db.close().unwrap();
        std::fs::remove_file(&self.shm).unwrap();
        let db = self.open();
        assert_eq!(db.boot().mode, OpenMode::Cold);
        assert_eq!(db.boot().torn, None, "{what}");
        assert_eq!(names(&db), self.names, "{what}, cold");
        assert_eq!(added(&db), self.added, "{what}, cold");
        db.close().unwrap();
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.remove();
        }
    }
}

fn open(dir: &Path, shm: &Path, files: Option<&StoppingFiles>) -> Database {
    let builder =
        Database::builder(dir).shm_path(shm).max_bytes(16 << 20).segment_bytes(16_000).ring_bytes(1 << 14);
    let builder = match files {
        Some(files) => builder.files(Arc::new(files.clone())),
        None => builder,
    };
    builder.open().unwrap()
}

fn signal(child: &Child, signal: i32) {
    // SAFETY: the child was started here and has not been waited for, so the pid is its own.
    assert_eq!(unsafe { libc::kill(i32::try_from(child.id()).unwrap(), signal) }, 0);
}

/// Others take a checkpoint while the victim stands still: they wait, may give up, and have the role when it has been silent for long.
fn take_checkpoints(db: &Database, is_at_one: bool, what: &str) {
    let waited = db.checkpoint_with(&mut |progress| {
        if is_at_one && progress.rows_expected == 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    match waited {
        Ok(_) => {}
        Err(error) => assert!(is_at_one && error.kind() == ErrorKind::Closed, "{what}: {error}"),
    }
    // As it will be in two minutes.
    let store = &db.0.store;
    let long_ns = 3 * 60 * 1_000_000_000;
    let me = holder_word(store.registry().process());
    assert!(store.checkpoints().role().stand(me, monotonic_ns() + long_ns, long_ns / 2, |_| false), "{what}");
    db.checkpoint().unwrap();
}

/// Stops a victim before a call, lets others go on, and then it; false when it has fewer calls.
fn stopped_before(deed: Deed, call: u64) -> bool {
    let what = format!("{deed:?}, call {call}");
    let _watchdog = Watchdog::new(what.clone());
    let mut scene = Scene::new(deed, call);
    scene.prepare(deed);
    let mut victim = scene.start(deed, call);
    let has_stopped = stands_still(&victim);
    if has_stopped && deed != Deed::ColdStart {
        let db = scene.open();
        scene.commit(&db, 2000..2060);
        take_checkpoints(&db, deed == Deed::Checkpoint, &what);
        match add_column(&db, "theirs") {
            Ok(()) => drop(scene.added.insert("theirs".to_owned())),
            // The victim is at it.
            Err(error) => assert_eq!(error.kind(), ErrorKind::Busy, "{what}: {error}"),
        }
        scene.commit(&db, 2060..2100);
        signal(&victim, libc::SIGCONT);
        scene.commit(&db, 2100..2120);
        assert!(victim.wait().unwrap().success(), "{what}");
        scene.has_all_of_victim();
        db.checkpoint().unwrap();
        scene.check(db, &what);
    } else if has_stopped {
        stopped_in_cold_start(&mut scene, &mut victim, call, &what);
    } else {
        assert!(victim.wait().unwrap().success(), "{what}");
    }
    has_stopped
}

/// Others wait for it, and open the database when it goes on, or is dead.
fn stopped_in_cold_start(scene: &mut Scene, victim: &mut Child, call: u64, what: &str) {
    let (is_open, is_killed) = (AtomicBool::new(false), call.is_multiple_of(2));
    let db = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let db = scene.open();
            is_open.store(true, Ordering::Release);
            db
        });
        std::thread::sleep(Duration::from_millis(100));
        assert!(!is_open.load(Ordering::Acquire), "{what}: nobody opens what is half there");
        signal(victim, if is_killed { libc::SIGKILL } else { libc::SIGCONT });
        other.join().unwrap()
    });
    assert_eq!(db.boot().mode, if is_killed { OpenMode::Cold } else { OpenMode::Warm }, "{what}");
    let ended_well = victim.wait().unwrap().success();
    assert_eq!(ended_well, !is_killed, "{what}");
    if ended_well {
        scene.has_all_of_victim();
    }
    scene.commit(&db, 2000..2010);
    scene.check(db, what);
}

/// Not a test of its own: what the victims run.
#[test]
fn victim_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let parts: Vec<&str> = role.split('|').collect();
    let deed = Deed::ALL.into_iter().find(|deed| format!("{deed:?}") == parts[0]).unwrap();
    let call = parts[1].parse().unwrap();
    let (dir, shm) = (Path::new(parts[2]), Path::new(parts[3]));
    let files = StoppingFiles::default();
    match deed {
        Deed::ColdStart => files.stop_before(call, false),
        Deed::TakeOver => files.stop_before(call, true),
        Deed::Roll | Deed::Checkpoint => {}
    }
    let db = open(dir, shm, Some(&files));
    if deed == Deed::ColdStart {
        files.go_on();
    }
    let table = db.table("Cell").unwrap().unwrap();
    commit(&db, &table, 0);
    match deed {
        Deed::Roll => files.stop_before(call, true),
        Deed::Checkpoint => {
            files.stop_before(call, false);
            if let Err(error) = db.checkpoint() {
                assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
            }
            files.go_on();
        }
        Deed::TakeOver | Deed::ColdStart => {}
    }
    for name in 0..ROWS {
        commit(&db, &table, name);
        if let Some(column) = column_after(name) {
            add_column(&db, &column).unwrap();
        }
    }
    db.close().unwrap();
}

/// Every call, or two of them.
fn stopped(deed: Deed, calls_about: u64) {
    if std::env::var_os(ROLE).is_some() {
        return;
    }
    if std::env::var_os("AEROSTORE_FILE_STOPS").is_some() {
        let calls = (1..10_000).find(|&call| !stopped_before(deed, call)).unwrap() - 1;
        println!("{deed:?}: stopped before each of {calls} calls");
        assert!(calls >= calls_about, "{deed:?}: only {calls} calls");
        return;
    }
    let first = u64::from(std::process::id()) % (calls_about / 2) + 1;
    for call in [first, first + calls_about / 2] {
        assert!(stopped_before(deed, call), "{deed:?} has fewer calls than {call}");
    }
}

#[test]
fn in_the_middle_of_a_roll() {
    stopped(Deed::Roll, 10);
}

#[test]
fn in_the_middle_of_a_take_over() {
    stopped(Deed::TakeOver, 16);
}

#[test]
fn in_the_middle_of_a_checkpoint() {
    stopped(Deed::Checkpoint, 24);
}

#[test]
fn in_the_middle_of_a_cold_start() {
    stopped(Deed::ColdStart, 12);
}
