//! The process's one database, shared by its interpreters and threads.
//!
//! Tables of interpreters hold it weakly: `close` ends the use of it everywhere, and the next command of every table
//! looks here again.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aerostore_core::db::{Database, DatabaseBuilder};
use aerostore_core::row::{Column, ColumnType, Schema};

use crate::error::Error;
use crate::terminal::Line;

/// Where the database lies when nobody says otherwise.
const DEFAULT_DIR: &str = "./aerostore_tcl_data";

/// Whoever has to wait for less until a database is recovered wants no line.
const PATIENCE: Duration = Duration::from_secs(1);

static OPEN: Mutex<Option<Arc<Open>>> = Mutex::new(None);

/// The definition of the table that is there without one.
static FLIGHT_STATE: LazyLock<Result<Schema, aerostore_core::row::RowError>> = LazyLock::new(|| {
    Schema::builder("FlightState")
        .column(Column::new("flight_id", ColumnType::String(24)).alias("flight").alias("ident"))
        .column(Column::new("lat", ColumnType::F64).nullable().ordered())
        .column(Column::new("lon", ColumnType::F64).alias("long").alias("longitude").nullable().ordered())
        .column(Column::new("altitude", ColumnType::I32).alias("alt").nullable().ordered())
        .column(Column::new("gs", ColumnType::I32).alias("groundspeed").nullable().ordered())
        .column(Column::new("updated_at", ColumnType::I64).alias("updated").alias("ts").nullable().ordered())
        .key("flight_id")
        .build()
});

/// An open database.
pub(crate) struct Open {
    /// The engine's handle.
    pub(crate) database: Database,
    /// The data directory, absolute.
    pub(crate) dir: PathBuf,
    /// Whether it refuses writes.
    read_only: bool,
    /// The limit that it was opened with, as asked; the mapping may have another one.
    asked_max_bytes: Option<u64>,
    /// The process that opened it; a forked child has to open it anew.
    process: u32,
}

/// What `aerostore::init` asks for.
#[derive(Default)]
pub(crate) struct OpenOptions {
    /// Data directory.
    pub(crate) dir: Option<PathBuf>,
    /// Mapping file.
    pub(crate) shm: Option<PathBuf>,
    /// Most bytes that the mapping may grow to.
    pub(crate) max_bytes: Option<u64>,
    /// Refuse writes, or do not; not if nobody says.
    pub(crate) read_only: Option<bool>,
    /// Open what can be read of a damaged database.
    pub(crate) salvage: bool,
    /// Configuration keys and values, known to be good.
    pub(crate) config: Vec<(String, String)>,
}

fn slot() -> MutexGuard<'static, Option<Arc<Open>>> {
    // A panic while the lock is held leaves a whole value: it is only ever replaced.
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The open database.
pub(crate) fn database() -> Result<Arc<Open>, Error> {
    match &*slot() {
        Some(open) => Ok(Arc::clone(open)),
        None => Err(Error::new("CLOSED", "no database is open: call aerostore::init first")),
    }
}

/// Opens the database, or gives the open one when that is what the options ask for.
pub(crate) fn open(options: &OpenOptions) -> Result<Arc<Open>, Error> {
    let mut slot = slot();
    if let Some(open) = slot.as_ref().filter(|open| open.process == std::process::id()) {
        open.check_same(options)?;
        open.configure(options)?;
        return Ok(Arc::clone(open));
    }
    if let Some(of_parent) = slot.take() {
        // A forked child must not detach what is its parent's.
        std::mem::forget(of_parent);
    }
    let dir = options.dir.clone().unwrap_or_else(|| DEFAULT_DIR.into());
    let read_only = options.read_only.unwrap_or(false);
    let mut builder = Database::builder(&dir).read_only(read_only).salvage(options.salvage);
    if let Some(path) = &options.shm {
        builder = builder.shm_path(path.clone());
    }
    if let Some(bytes) = options.max_bytes {
        builder = builder.max_bytes(bytes);
    }
    let database = with_progress(builder).open()?;
    if !read_only {
        make_built_in(&database)?;
    }
    let dir = absolute(&dir);
    let asked_max_bytes = options.max_bytes;
    let process = std::process::id();
    let open = Arc::new(Open { database, dir, read_only, asked_max_bytes, process });
    open.configure(options)?;
    *slot = Some(Arc::clone(&open));
    Ok(open)
}

/// Makes the table that is there without a definition, unless there is one of its name: who has dropped it may have defined another.
fn make_built_in(database: &Database) -> Result<(), Error> {
    let schema = FLIGHT_STATE.as_ref().map_err(|error| Error::from(error.clone()))?;
    if database.table(schema.name())?.is_none() {
        database.create_table(schema)?;
    }
    Ok(())
}

/// Lets the user know how far a cold start is that takes long, if there is a terminal; the line goes with the builder.
fn with_progress(builder: DatabaseBuilder) -> DatabaseBuilder {
    let Some(line) = Line::of_terminal(PATIENCE) else { return builder };
    let (line, begun) = (Mutex::new(line), Instant::now());
    builder.on_recovery(move |progress| {
        line.lock().unwrap_or_else(PoisonError::into_inner).show(begun.elapsed(), &progress);
    })
}

/// Detaches from the database; false when none is open.
pub(crate) fn close() -> Result<bool, Error> {
    let Some(open) = slot().take() else { return Ok(false) };
    open.database.clone().close()?;
    Ok(true)
}

impl Open {
    /// An error that names both when `options` ask for another database than this one.
    fn check_same(&self, options: &OpenOptions) -> Result<(), Error> {
        let differs = |what: &str, asked: &Path, open: &Path| {
            Error::new(
                "BUSY",
                format!(
                    "{what} \"{}\" is open; close it before opening \"{}\"",
                    open.display(),
                    asked.display()
                ),
            )
        };
        if let Some(dir) = &options.dir
            && absolute(dir) != self.dir
        {
            return Err(differs("database", &absolute(dir), &self.dir));
        }
        let shm = &self.database.boot().shm;
        if let Some(asked) = &options.shm
            && absolute(asked) != absolute(shm)
        {
            return Err(differs("mapping", asked, shm));
        }
        let differs = |option: &str, asked: u64, open: u64| {
            let dir = self.dir.display();
            let message = format!(
                "database \"{dir}\" is open with {option} {open}; close it before opening it with {option} {asked}"
            );
            Err(Error::new("BUSY", message))
        };
        match options.read_only {
            Some(asked) if asked != self.read_only => {
                return differs("-readonly", asked.into(), self.read_only.into());
            }
            _ => {}
        }
        let Some(asked) = options.max_bytes else { return Ok(()) };
        let open = self.database.status()?.max_bytes;
        if self.asked_max_bytes == Some(asked) || open == asked {
            Ok(())
        } else {
            differs("-size", asked, open)
        }
    }

    fn configure(&self, options: &OpenOptions) -> Result<(), Error> {
        for (key, value) in &options.config {
            self.database.set_config(key, value)?;
        }
        Ok(())
    }
}

/// The path without links and dots where it exists, else made absolute.
fn absolute(path: &Path) -> PathBuf {
    path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_path_buf())
}
