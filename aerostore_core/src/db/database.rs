//! An open database.

#![forbid(unsafe_code)]

use crate::db::aside::SetAside;
use crate::db::builder::DatabaseBuilder;
use crate::db::checkpointer::Checkpointer;
use crate::db::config::{CONFIG_KEYS, Config};
use crate::db::feed::Feed;
use crate::db::identity::DataDir;
use crate::db::pool::SessionPool;
use crate::db::workers::{Gate, Worker};
use crate::db::{Error, Table, TableStanding, Transaction};
use crate::recovery::Salvaged;
use crate::row::{Column, Schema};
use crate::sync::{AtomicBool, Ordering};
use crate::sys::{FileSystem, Opener};
use crate::txn::{self, Session, Store, TxnOptions};
use crate::wal::LogOptions;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a clean close waits for the log.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// How a database came to be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// It did not exist.
    New,
    /// Its mapping was there.
    Warm,
    /// Its mapping was made anew from the newest checkpoint and the log.
    Cold,
}

impl OpenMode {
    /// As a word: `new`, `warm`, `cold`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Warm => "warm",
            Self::Cold => "cold",
        }
    }
}

/// What opening did.
#[derive(Clone, Debug)]
pub struct BootReport {
    /// The data directory.
    pub dir: PathBuf,
    /// The mapping's file.
    pub shm: PathBuf,
    /// How.
    pub mode: OpenMode,
    /// The mapping that had its name and could not be used.
    pub set_aside: Option<SetAside>,
    /// What was given up, when it was opened to be salvaged and could not be recovered otherwise.
    pub salvaged: Option<Salvaged>,
    /// Rows in all tables.
    pub rows: u64,
    /// Sessions of dead processes whose transactions were settled; what they held is given back in the background.
    pub reaped: u32,
    /// Microseconds it took.
    pub elapsed_us: u64,
    /// The number of the checkpoint that was loaded.
    pub checkpoint: Option<u64>,
    /// Rows loaded from it.
    pub loaded: u64,
    /// Checkpoints that were passed over, being damaged: what is wrong with each.
    pub passed_over: Vec<String>,
    /// Microseconds that it took to load the checkpoint, to replay the log, and to fill the indexes.
    pub recovery_us: [u64; 3],
    /// Transactions read from the log.
    pub replayed: u64,
    /// Where the log ended torn: file and offset, and bytes cut off.
    pub torn: Option<String>,
}

/// What all handles of one open database share.
pub(super) struct Inner {
    pub(super) store: Arc<Store>,
    pub(super) dir: DataDir,
    pub(super) boot: BootReport,
    pub(super) config: Arc<Config>,
    pub(super) read_only: bool,
    pub(super) opened_by: Opener,
    worker: Mutex<Option<Worker>>,
    worker_started: AtomicBool,
    pub(super) segment_bytes: Option<u64>,
    pub(super) files: Arc<dyn FileSystem>,
    /// Has this process committed anything? Then a clean close waits for the log.
    has_committed: AtomicBool,
    pub(super) pool: Arc<SessionPool>,
    closed: AtomicBool,
    pub(super) gate: Arc<Gate>,
    pub(super) checkpointer: Arc<Checkpointer>,
    pub(super) feed: Feed,
}

impl Inner {
    pub(super) fn new(
        store: Arc<Store>,
        dir: DataDir,
        boot: BootReport,
        config: Arc<Config>,
        opened_by: Opener,
        options: &DatabaseBuilder,
    ) -> Self {
        let pool = Arc::default();
        let segment_bytes = options.segment_bytes.unwrap_or(LogOptions::default().segment_bytes);
        let checkpointer = Checkpointer::new(&store, &config, &pool, &options.files, &dir, segment_bytes);
        let feed = Feed::new(Arc::clone(&store), Arc::clone(&options.files), dir.wal_dir(), dir.uuid());
        Self {
            store,
            dir,
            boot,
            config,
            read_only: options.read_only,
            opened_by,
            worker: Mutex::new(None),
            worker_started: AtomicBool::new(false),
            segment_bytes: options.segment_bytes,
            files: Arc::clone(&options.files),
            has_committed: AtomicBool::new(false),
            pool,
            closed: AtomicBool::new(false),
            gate: Arc::default(),
            checkpointer: Arc::new(checkpointer),
            feed,
        }
    }

    #[inline]
    pub(super) fn is_forked(&self) -> bool {
        self.opened_by.has_forked()
    }

    /// The same, also of a child that was made past `fork`; asked where something is about to be given back.
    pub(super) fn is_in_another_process(&self) -> bool {
        self.opened_by.is_another()
    }

    #[inline]
    pub(super) fn check_open(&self) -> Result<(), Error> {
        if self.is_forked() {
            return Err(Error::Forked);
        }
        if self.closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }

    #[inline]
    pub(super) fn pool(&self) -> &SessionPool {
        &self.pool
    }

    /// Starts the background threads, unless they run: a process that only reads does without, and opens quicker.
    #[inline]
    pub(super) fn start_worker(&self) -> Result<(), Error> {
        if self.worker_started.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        if worker.is_none() {
            *worker = Some(Worker::start(self)?);
            self.worker_started.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// This process has committed something.
    #[inline]
    pub(super) fn note_commit(&self) {
        // Relaxed: read by `close`, which the caller orders after its commits. Looked at first: a load costs nothing.
        if !self.has_committed.load(Ordering::Relaxed) {
            self.has_committed.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn synchronous_commit(&self) -> bool {
        self.config.synchronous_commit()
    }

    #[inline]
    pub(super) fn session(&self) -> Result<Box<Session>, Error> {
        self.check_open()?;
        match self.pool.take() {
            Some(session) => Ok(session),
            None => Ok(Box::new(Session::new(Arc::clone(&self.store))?)),
        }
    }

    /// Stops the background work and gives everything back. What was committed is on disk then, if the disk allows.
    pub(super) fn close(&self) -> Result<(), Error> {
        if self.is_in_another_process() || self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let flushed = if self.has_committed.load(Ordering::Relaxed) {
            txn::flush(&self.store, self.store.clock().now(), CLOSE_TIMEOUT)
        } else {
            Ok(())
        };
        self.feed.close();
        // Every part is given back whatever the others say; the first error is told.
        let mut outcome: Result<(), Error> = flushed.map_err(Error::from);
        for session in self.pool.drain() {
            outcome = outcome.and(session.close().map_err(Error::from));
        }
        if let Some(worker) = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take() {
            worker.stop();
            self.checkpointer.wait_for_end();
            // What it has put back meanwhile.
            for session in self.pool.drain() {
                outcome = outcome.and(session.close().map_err(Error::from));
            }
        }
        match self.store.registry().has_peers() {
            Ok(true) => {}
            Ok(false) => self.store.arena().header().set_clean(true),
            Err(error) => outcome = outcome.and(Err(error.into())),
        }
        self.dir.release();
        outcome
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // What could not be given back is reaped by the next process, or was never ours in a forked child.
        let _ = self.close();
    }
}

/// An open database; clones are handles on the same one. Closed when the last handle and transaction are gone.
///
/// ```
/// use aerostore_core::db::{Database, OpenMode};
/// use aerostore_core::row::{Column, ColumnType, Schema};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("aerostore-example-database-{}", std::process::id());
/// # let (dir, shm) = (std::env::temp_dir().join(&name), std::path::Path::new("/dev/shm").join(name));
/// let open = || Database::builder(&dir).shm_path(&shm).max_bytes(64 << 20).open();
/// let database = open()?;
/// assert_eq!(database.boot().mode, OpenMode::New);
/// database.set_config("checkpoint_interval_secs", "60")?;
/// database.create_table(&Schema::builder("Gate").column(Column::new("gate", ColumnType::String(4))).key("gate").build()?)?;
/// database.close()?;
///
/// // The mapping is still there.
/// let database = open()?;
/// assert_eq!((database.boot().mode, database.tables()?.len()), (OpenMode::Warm, 1));
/// database.close()?;
///
/// // Without it, the log tells.
/// std::fs::remove_file(&shm)?;
/// let database = open()?;
/// assert_eq!((database.boot().mode, database.tables()?.len()), (OpenMode::Cold, 1));
/// # database.close()?;
/// # std::fs::remove_dir_all(&dir)?;
/// # std::fs::remove_file(&shm)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Database(pub(super) Arc<Inner>);

impl Database {
    /// Options for opening the database whose data directory is `dir`.
    pub fn builder(dir: impl AsRef<Path>) -> DatabaseBuilder {
        DatabaseBuilder::new(dir.as_ref())
    }

    /// Whether this handle can still be used: neither was the database closed, nor is this a child made by `fork`.
    pub fn is_open(&self) -> bool {
        self.0.check_open().is_ok()
    }

    /// What opening did.
    pub fn boot(&self) -> &BootReport {
        &self.0.boot
    }

    /// Every table.
    ///
    /// # Errors
    /// `Closed`; `Corrupt` when the mapping is damaged.
    pub fn tables(&self) -> Result<Vec<Table>, Error> {
        let session = self.0.session()?;
        let tables = txn::tables(&session);
        self.0.pool().put(session);
        Ok(tables?.into_iter().map(Table).collect())
    }

    /// The table of that name, if there is one.
    ///
    /// # Errors
    /// As [`Database::tables`].
    pub fn table(&self, name: &str) -> Result<Option<Table>, Error> {
        let session = self.0.session()?;
        let table = txn::table(&session, name);
        self.0.pool().put(session);
        Ok(table?.map(Table))
    }

    /// Makes a table, durably; the same definition again finds the one there is, also if it has got columns since, or has more than `schema` says: in a
    /// row that the handle inserts they have their defaults, or are null, and it leaves them alone in others.
    ///
    /// # Errors
    /// `Duplicate` when there is one of that name with another definition; `Space`; `ReadOnly`; `Closed`.
    pub fn create_table(&self, schema: &Schema) -> Result<Table, Error> {
        // Found first: whoever only makes sure that a table is there has nothing to write.
        if let Some(table) = self.table(schema.name())?
            && let Ok(known) = table.0.as_defined(schema)
        {
            return Ok(Table(known));
        }
        if self.0.read_only {
            return Err(Error::Txn(txn::TxnError::ReadOnly));
        }
        self.0.start_worker()?;
        let session = self.0.session()?;
        let (session, table) = txn::create_table(session, schema, self.0.synchronous_commit());
        if let Some(session) = session {
            self.0.pool().put(session);
        }
        self.0.note_commit();
        Ok(Table(table?))
    }

    /// Drops a table, durably, while others use it: what they do with it next fails, and so does the commit of a transaction that has used it.
    /// A table of its name can be made at once. Its memory is given back once nobody can be at it any more, but for less than a
    /// kilobyte; that of the heads of its rows serves tables that are made later.
    ///
    /// # Errors
    /// `NotFound` when it is dropped already; `Busy` while somebody else drops it; `ReadOnly`; `Closed`.
    pub fn drop_table(&self, table: &Table) -> Result<(), Error> {
        self.change_definition(|session, synchronous| txn::drop_table(session, &table.0, synchronous))
    }

    /// Adds columns to a table, durably, while others use it; a handle that knows of them. What there was stays as it is written: what a
    /// row has in an added column is its default, or null. Other handles go on with the columns they know, and leave those alone that they do not: they
    /// are read by [`Database::table`].
    ///
    /// ```
    /// # use aerostore_core::db::Database;
    /// # use aerostore_core::row::{Column, ColumnType, Schema, Value};
    /// # let dir = std::env::temp_dir().join(format!("aerostore-doc-alter-{}", std::process::id()));
    /// # let db = Database::builder(&dir).shm_path(dir.with_extension("shm")).open()?;
    /// let schema = Schema::builder("Gate").column(Column::new("name", ColumnType::String(8))).key("name").build()?;
    /// let table = db.create_table(&schema)?;
    /// db.transaction(Default::default(), |txn| txn.set(&table, Value::Str("A1"), &[]))?;
    /// let table = db.add_columns(&table, &[Column::new("open", ColumnType::Bool).default(true)])?;
    /// let open = db.transaction(Default::default(), |txn| txn.get(&table, Value::Str("A1"), |row| row.get(1) == Value::Bool(true)))?;
    /// assert_eq!(open, Some(true));
    /// # db.close()?;
    /// # std::fs::remove_dir_all(&dir)?;
    /// # std::fs::remove_file(dir.with_extension("shm"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// What [`Schema::with_columns`] reports: a name that is taken, a column that may neither be null nor has a default; `NotFound` when the
    /// table is dropped; `Busy` while somebody drops it, or stands still adding columns; `Space`; `ReadOnly`; `Closed`.
    pub fn add_columns(&self, table: &Table, columns: &[Column]) -> Result<Table, Error> {
        self.change_definition(|session, synchronous| {
            txn::add_columns(session, &table.0, columns, synchronous)
        })
        .map(Table)
    }

    /// What has become of a table since the handle was made.
    ///
    /// # Errors
    /// `Closed`; `Corrupt` when the mapping is damaged.
    pub fn standing(&self, table: &Table) -> Result<TableStanding, Error> {
        self.0.check_open()?;
        let arena = self.0.store.arena();
        Ok(if !table.0.is_in_use(arena)? {
            TableStanding::Dropped
        } else if table.0.is_newest(arena)? {
            TableStanding::Current
        } else {
            TableStanding::Altered
        })
    }

    pub(super) fn change_definition<R>(
        &self,
        change: impl FnOnce(Box<Session>, bool) -> (Option<Box<Session>>, Result<R, txn::TxnError>),
    ) -> Result<R, Error> {
        self.prepare_change()?;
        let (session, changed) = self.change_definition_by(self.0.session()?, change);
        if let Some(session) = session {
            self.0.pool().put(session);
        }
        changed
    }

    /// Sees to it that definitions may be changed.
    pub(super) fn prepare_change(&self) -> Result<(), Error> {
        if self.0.read_only {
            return Err(Error::Txn(txn::TxnError::ReadOnly));
        }
        self.0.start_worker()
    }

    /// The same in that session, which comes back unless it is lost; after [`prepare_change`](Self::prepare_change).
    pub(super) fn change_definition_by<R>(
        &self,
        session: Box<Session>,
        change: impl FnOnce(Box<Session>, bool) -> (Option<Box<Session>>, Result<R, txn::TxnError>),
    ) -> (Option<Box<Session>>, Result<R, Error>) {
        let (session, changed) = change(session, self.0.synchronous_commit());
        self.0.note_commit();
        (session, changed.map_err(Error::from))
    }

    /// Begins a transaction. It reads at one moment: of its first read, or of now if it is read-only or asks for no more than
    /// snapshot isolation.
    ///
    /// # Errors
    /// `Closed`; `Busy` when every session slot is taken.
    pub fn begin(&self, mut options: TxnOptions) -> Result<Transaction, Error> {
        options.read_only |= self.0.read_only;
        if !options.read_only {
            self.0.start_worker()?;
        }
        let session = self.0.session()?;
        Ok(Transaction::new(txn::Transaction::begin(session, options), Arc::clone(&self.0)))
    }

    /// Waits until everything committed so far is on disk.
    ///
    /// # Errors
    /// What the log says.
    pub fn flush(&self) -> Result<(), Error> {
        self.0.check_open()?;
        self.0.start_worker()?;
        Ok(txn::flush(&self.0.store, self.0.store.clock().now(), CLOSE_TIMEOUT)?)
    }

    /// Changes a setting of this process.
    ///
    /// # Errors
    /// `Config`, which says what is allowed.
    pub fn set_config(&self, name: &str, value: &str) -> Result<(), Error> {
        self.0.config.set(name, value)?;
        self.0.store.set_lock_timeout_ns(self.0.config.lock_timeout_ns());
        Ok(())
    }

    /// The value of a setting.
    ///
    /// # Errors
    /// `Config`, which says what settings there are.
    pub fn get_config(&self, name: &str) -> Result<String, Error> {
        self.0.config.get(name)
    }

    /// Every setting with its value.
    pub fn config(&self) -> Vec<(&'static str, String)> {
        CONFIG_KEYS
            .iter()
            .filter_map(|key| self.0.config.get(key.name).ok().map(|value| (key.name, value)))
            .collect()
    }

    /// Closes the database: what was committed is on disk afterwards. Other handles get `Closed` from then on.
    ///
    /// # Errors
    /// What the log says, when it could not be written; the database is closed all the same.
    pub fn close(self) -> Result<(), Error> {
        self.0.close()
    }
}
