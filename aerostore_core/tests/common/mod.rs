//! What the integration tests share: a database of their own, and a flight table.
#![allow(dead_code, missing_docs, clippy::expect_used, reason = "each test uses its part")]

use aerostore_core::db::{Database, Table};
use aerostore_core::row::{Column, ColumnType, RowImage, Schema, Value};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A database's files, removed at the end.
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    pub(crate) shm: PathBuf,
}

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        #[expect(clippy::disallowed_types, reason = "a counter of the test process, not shared memory")]
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let unique = format!("aerostore-test-{name}-{}-{number}", std::process::id());
        let place = Self {
            dir: std::env::temp_dir().join(&unique),
            shm: Path::new("/dev/shm").join(format!("{unique}.mmap")),
        };
        place.remove();
        place
    }

    pub(crate) fn open(&self) -> Database {
        Database::builder(&self.dir).shm_path(&self.shm).max_bytes(256 << 20).open().expect("open")
    }

    pub(crate) fn remove(&self) {
        let _ = std::fs::remove_dir_all(&self.dir);
        let _ = std::fs::remove_file(&self.shm);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.remove();
    }
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
pub(crate) fn watchdog(seconds: u64) {
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(seconds));
        eprintln!("the test has not ended after {seconds} s");
        std::process::abort();
    });
}
