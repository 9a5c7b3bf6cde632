//! What the integration tests share: a database of their own, and a flight table.
#![allow(dead_code, missing_docs, clippy::expect_used, reason = "each test uses its part")]

pub(crate) mod fleet;

use aerostore_core::db::{Database, DatabaseBuilder, Table};
use aerostore_core::row::{Column, ColumnType, RowImage, Schema, Value};
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

/// A database's files, removed at the end; those of a test that has failed stay, as evidence.
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    pub(crate) shm: PathBuf,
    /// Whether the files go with this handle.
    owned: bool,
    _watchdog: Watchdog,
}

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        Self::with_timeout(name, 300)
    }

    /// Files that another process has made and will remove.
    pub(crate) fn existing(dir: PathBuf, shm: PathBuf) -> Self {
        Self { dir, shm, owned: false, _watchdog: Watchdog::new(3600) }
    }

    pub(crate) fn with_timeout(name: &str, seconds: u64) -> Self {
        #[expect(clippy::disallowed_types, reason = "a counter of the test process, not shared memory")]
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let unique = format!("aerostore-test-{name}-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(&unique);
        let shm = Path::new("/dev/shm").join(format!("{unique}.mmap"));
        let evidence = format!("; its files stay: {} and {}", shm.display(), dir.display());
        let place = Self { dir, shm, owned: true, _watchdog: Watchdog::with_evidence(seconds, evidence) };
        place.remove();
        place
    }

    /// A small database with small log segments: made quickly, and rolled over soon.
    pub(crate) fn builder(&self) -> DatabaseBuilder {
        Database::builder(&self.dir).shm_path(&self.shm).max_bytes(256 << 20).segment_bytes(1 << 20)
    }

    pub(crate) fn open(&self) -> Database {
        self.builder().open().expect("open")
    }

    /// Its names, for another process.
    pub(crate) fn names(&self) -> String {
        format!("{}|{}", self.dir.display(), self.shm.display())
    }

    pub(crate) fn remove(&self) {
        let _ = std::fs::remove_dir_all(&self.dir);
        let _ = std::fs::remove_file(&self.shm);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.owned && std::thread::panicking() {
            eprintln!("the files of this test stay: {} and {}", self.shm.display(), self.dir.display());
        } else if self.owned {
            self.remove();
        }
    }
}

/// This program once more, for its `child_process`, which finds `role` in that variable; it has said that it is ready. And what it says
/// after that.
pub(crate) fn child_of(variable: &str, role: String) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "child_process", "--nocapture", "--test-threads=1"])
        .env(variable, role)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    assert!(lines.any(|line| line.expect("a line").contains("ready:")), "the child ended");
    (child, lines)
}

/// The six columns of a flight.
pub(crate) fn flight_schema() -> Schema {
    Schema::builder("Flight")
        .column(Column::new("flight_id", ColumnType::String(24)))
        .column(Column::new("lat", ColumnType::F64).nullable())
        .column(Column::new("lon", ColumnType::F64).nullable())
        .column(Column::new("altitude", ColumnType::I32).nullable())
        .column(Column::new("gs", ColumnType::I32).nullable())
        .column(Column::new("updated_at", ColumnType::Timestamp).nullable())
        .key("flight_id")
        .build()
        .expect("schema")
}

pub(crate) fn flight(table: &Table, id: &str, altitude: i32) -> RowImage {
    let schema = table.schema();
    let mut image = RowImage::new(schema);
    image.set(schema, 0, Value::Str(id)).expect("id");
    image.set(schema, 1, Value::F64(f64::from(altitude) / 100.0)).expect("lat");
    image.set(schema, 3, Value::I32(altitude)).expect("altitude");
    image.finish(schema).expect("finish");
    image
}

/// Ends the process when a test takes longer: a hang must not look like a slow machine.
pub(crate) struct Watchdog {
    stop: mpsc::Sender<()>,
}

impl Watchdog {
    pub(crate) fn new(seconds: u64) -> Self {
        Self::with_evidence(seconds, String::new())
    }

    /// One that says besides where to look.
    fn with_evidence(seconds: u64, evidence: String) -> Self {
        let (stop, stopped) = mpsc::channel();
        std::thread::spawn(move || {
            if stopped.recv_timeout(Duration::from_secs(seconds)) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("a test has not ended after {seconds} s{evidence}");
                std::process::abort();
            }
        });
        Self { stop }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        let _ = self.stop.send(());
    }
}
