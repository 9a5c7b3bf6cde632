//! Following a table: every change that any process commits, in the order of commits.

#![forbid(unsafe_code)]

use crate::db::database::Inner;
use crate::db::feed::Watcher;
use crate::db::{Database, Error, Table};
use crate::feed::{Buffer, End, Event, Interest, Waker};
use crate::query::{Expr, Plan, Query};
use crate::row::DirtyMask;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of events that may wait unless said otherwise.
const BUFFER_BYTES: usize = 16 << 20;

/// How to follow a table; see [`Database::watch`].
#[must_use]
pub struct WatchBuilder<'d> {
    database: &'d Database,
    table: Table,
    filter: Expr,
    columns: Option<Vec<String>>,
    buffer_bytes: usize,
    waker: Option<Waker>,
}

impl WatchBuilder<'_> {
    /// Only the rows for which the condition holds: one that begins to satisfy it counts as inserted, one that does no longer as deleted.
    pub fn filter(mut self, filter: Expr) -> Self {
        self.filter = self.filter.and(filter);
        self
    }

    /// Only these columns: an update that changes none of them is not delivered.
    pub fn columns<I: IntoIterator<Item: Into<String>>>(mut self, names: I) -> Self {
        self.columns = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// So many bytes of events may wait until they are taken; what does not fit then is left out, and a [gap](Event::Gap) says so. A
    /// transaction that is larger always is.
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.buffer_bytes = bytes;
        self
    }

    /// Calls `wake` when there is something to take, and nothing was before, or when the subscription has ended: from a thread of the database,
    /// which delivers nothing meanwhile, or from the one that closes the database. For event loops; who takes events then takes them until there
    /// are none. It may use the database, end subscriptions, its own too, and close the database; but whoever closes it otherwise waits until `wake`
    /// has returned. It may be called once more just after its subscription was dropped.
    pub fn on_ready(mut self, wake: impl Fn() + Send + Sync + 'static) -> Self {
        self.waker = Some(Box::new(wake));
        self
    }

    /// Begins, with what is committed from now on. Not in the past: what rows were before is logged only while their table is followed.
    ///
    /// # Errors
    /// `Query` for a condition or column that does not fit the table; `NoTable` when it is dropped; `Busy` when every session slot is taken; `Closed`.
    pub fn subscribe(self) -> Result<Subscription, Error> {
        let inner = &self.database.0;
        inner.check_open()?;
        let query = Query::filtered(self.filter);
        let query = match self.columns {
            Some(names) => query.columns(names),
            None => query,
        };
        let plan = Plan::new(self.table.schema(), query)?;
        if !inner.read_only {
            // So that the log is written, even if whoever else did that has died.
            inner.start_worker()?;
        }
        let columns = plan.columns().iter().fold(DirtyMask::EMPTY, |mask, index| mask.with(*index));
        let interest = Interest::new(plan.filter().cloned(), columns);
        let buffer = Buffer::new(self.buffer_bytes, self.waker);
        let watcher = Arc::new(Watcher::new(self.table.0.clone(), interest, buffer));
        let begin_ts = inner.feed.add(Arc::clone(&watcher))?;
        let subscription = Subscription { inner: Arc::clone(inner), watcher, begin_ts };
        // Asked now: a drop that is not seen has a later timestamp, and its record will be found.
        if self.table.0.is_in_use(inner.store.arena())? {
            Ok(subscription)
        } else {
            Err(Error::NoTable { name: self.table.name().to_owned() })
        }
    }
}

/// A change feed of one table: every commit after its beginning that has changed rows of the table, by whatever process, in the order
/// of commit timestamps, once it is durable. Nobody who writes waits for it, or fails because of it. It keeps the database open; dropped, it ends.
///
/// ```
/// use aerostore_core::db::{ChangeOp, Database, Event, TxnOptions};
/// use aerostore_core::row::speedtable;
/// use std::time::Duration;
///
/// #[speedtable]
/// pub struct Gate {
///     #[column(key, max = 4)]
///     gate: String,
///     #[column(default = 0)]
///     passengers: i32,
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("aerostore-example-subscription-{}", std::process::id());
/// # let (dir, shm) = (std::env::temp_dir().join(&name), std::path::Path::new("/dev/shm").join(name));
/// # let database = Database::builder(&dir).shm_path(&shm).max_bytes(64 << 20).open()?;
/// let gates = database.typed_table::<Gate>()?;
/// // Gates that fill up, and nothing else about them.
/// let crowded = database.watch(&gates).filter(Gate::PASSENGERS.gt(100)).columns(["passengers"]).subscribe()?;
/// for passengers in [90, 118] {
///     database.transaction(TxnOptions::default(), |txn| {
///         txn.set(&gates, "B7".into(), &[(Gate::PASSENGERS.index(), passengers.into())])
///     })?;
/// }
///
/// match crowded.next_within(Duration::from_mins(1))? {
///     Some(Event::Commit(commit)) => {
///         let change = &commit.changes[0];
///         assert_eq!(change.op(), ChangeOp::Insert); // it begins to satisfy the condition
///         assert_eq!(change.after().and_then(|row| Gate::PASSENGERS.get(row)), Some(118));
///     }
///     other => panic!("a gap or nothing: read the table again, {other:?}"),
/// }
/// # drop(crowded);
/// # database.close()?;
/// # std::fs::remove_dir_all(&dir)?;
/// # std::fs::remove_file(&shm)?;
/// # Ok(())
/// # }
/// ```
pub struct Subscription {
    inner: Arc<Inner>,
    watcher: Arc<Watcher>,
    begin_ts: u64,
}

impl Subscription {
    /// The timestamp that it begins after. Whoever reads the table in a transaction begun later than the subscription, and then applies every
    /// event with a greater timestamp than that one read at, knows the table as it is; after a gap with one, he reads it again.
    pub fn begin_ts(&self) -> u64 {
        self.begin_ts
    }

    /// The next event, if it is there by now.
    ///
    /// # Errors
    /// When nothing is left: `Closed` if the database was closed, `NoTable` if the table was dropped. `Forked`.
    pub fn try_next(&self) -> Result<Option<Event>, Error> {
        self.take(None)
    }

    /// The next event; `None` when there is none within `timeout`.
    ///
    /// # Errors
    /// As [`Subscription::try_next`].
    pub fn next_within(&self, timeout: Duration) -> Result<Option<Event>, Error> {
        self.take(Instant::now().checked_add(timeout))
    }

    fn take(&self, deadline: Option<Instant>) -> Result<Option<Event>, Error> {
        if self.inner.is_forked() {
            return Err(Error::Forked);
        }
        self.watcher.buffer.take(deadline).map_err(|end| match end {
            End::Closed => Error::Closed,
            End::Dropped => Error::NoTable { name: self.watcher.table_name().to_owned() },
        })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if !self.inner.is_in_another_process() {
            self.inner.feed.remove(&self.watcher);
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("begin_ts", &self.begin_ts).finish_non_exhaustive()
    }
}

impl Database {
    /// Follows a table: see [`Subscription`].
    ///
    /// ```
    /// use aerostore_core::db::{ChangeOp, Database, Event, TxnOptions};
    /// use aerostore_core::row::{Column, ColumnType, Schema, Value};
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("aerostore-example-watch-{}", std::process::id());
    /// # let (dir, shm) = (std::env::temp_dir().join(&name), std::path::Path::new("/dev/shm").join(name));
    /// # let database = Database::builder(&dir).shm_path(&shm).max_bytes(64 << 20).open()?;
    /// let schema = Schema::builder("Gate")
    ///     .column(Column::new("gate", ColumnType::String(4)))
    ///     .column(Column::new("flight", ColumnType::String(8)).nullable())
    ///     .key("gate")
    ///     .build()?;
    /// let gates = database.create_table(&schema)?;
    /// let subscription = database.watch(&gates).subscribe()?;
    ///
    /// database.transaction(TxnOptions::default(), |txn| {
    ///     txn.set(&gates, Value::Str("B7"), &[(1, Value::Str("SWR8K"))])
    /// })?;
    ///
    /// let Some(Event::Commit(commit)) = subscription.next_within(Duration::from_mins(1))? else { panic!("nothing came") };
    /// let change = &commit.changes[0];
    /// assert_eq!((change.op(), change.key()), (ChangeOp::Insert, Value::Str("B7")));
    /// assert_eq!(change.after().map(|row| row.get(1)), Some(Value::Str("SWR8K")));
    /// # drop(subscription);
    /// # database.close()?;
    /// # std::fs::remove_dir_all(&dir)?;
    /// # std::fs::remove_file(&shm)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch(&self, table: &Table) -> WatchBuilder<'_> {
        WatchBuilder {
            database: self,
            table: table.clone(),
            filter: Expr::All(Vec::new()),
            columns: None,
            buffer_bytes: BUFFER_BYTES,
            waker: None,
        }
    }
}
