//! A transaction of an open database.

#![forbid(unsafe_code)]

use crate::db::database::Inner;
use crate::db::{Error, RowLock, Table, helpers};
use crate::query::{Helper, Lead};
use crate::row::{RowImage, RowView, Value, VisitRows, each_row};
use crate::sys::monotonic_ns;
use crate::txn::{
    self, Change, IndexStats, KeySpan, RangeScan, RowPredicate, Savepoint, TxnError, TxnOptions, Upserted,
};
use std::ops::{ControlFlow, Deref, DerefMut};
use std::sync::Arc;

/// A transaction. Rolled back when dropped; its session then serves the next one.
///
/// ```
/// use aerostore_core::db::{Database, TxnOptions};
/// use aerostore_core::row::{Column, ColumnType, Schema, Value};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("aerostore-example-transaction-{}", std::process::id());
/// # let (dir, shm) = (std::env::temp_dir().join(&name), std::path::Path::new("/dev/shm").join(name));
/// # let database = Database::builder(&dir).shm_path(&shm).max_bytes(64 << 20).open()?;
/// # let schema = Schema::builder("Seats")
/// #     .column(Column::new("flight", ColumnType::String(8)))
/// #     .column(Column::new("free", ColumnType::I32))
/// #     .key("flight")
/// #     .build()?;
/// # let seats = database.create_table(&schema)?;
/// let (key, free) = (Value::Str("SWR8K"), 1);
/// let mut txn = database.begin(TxnOptions::default())?;
/// txn.set(&seats, key, &[(free, Value::I32(2))])?;
/// let before = txn.savepoint()?;
/// txn.delete(&seats, key)?;
/// txn.rollback_to(&before)?;
/// txn.commit()?;
///
/// // Run again when another has changed what it read.
/// let left = database.transaction(TxnOptions::default(), |txn| {
///     let now = txn.get(&seats, key, |row| row.get(free).as_i64())?.flatten().unwrap_or(0);
///     txn.set(&seats, key, &[(free, Value::I64(now - 1))])?;
///     Ok(now - 1)
/// })?;
/// assert_eq!(left, 1);
/// # database.close()?;
/// # std::fs::remove_dir_all(&dir)?;
/// # std::fs::remove_file(&shm)?;
/// # Ok(())
/// # }
/// ```
///
/// It moves between threads, but is used by one at a time, and not after its end:
///
/// ```compile_fail,E0382
/// # use aerostore_core::db::{Database, Error, TxnOptions};
/// # fn example(db: &Database) -> Result<(), Error> {
/// let mut txn = db.begin(TxnOptions::default())?;
/// txn.commit()?;
/// txn.savepoint()?; // it is over
/// # Ok(())
/// # }
/// ```
///
/// Nor is a savepoint used after it was released:
///
/// ```compile_fail,E0382
/// # use aerostore_core::db::{Database, Error, TxnOptions};
/// # fn example(db: &Database) -> Result<(), Error> {
/// let mut txn = db.begin(TxnOptions::default())?;
/// let mark = txn.savepoint()?;
/// txn.release(mark)?;
/// txn.rollback_to(&mark)?; // it is gone
/// # Ok(())
/// # }
/// ```
///
/// Two threads cannot share it:
///
/// ```compile_fail,E0499
/// # use aerostore_core::db::{Database, Error, TxnOptions};
/// # fn example(db: &Database) -> Result<(), Error> {
/// let mut txn = db.begin(TxnOptions::default())?;
/// std::thread::scope(|scope| {
///     scope.spawn(|| txn.savepoint());
///     scope.spawn(|| txn.savepoint());
/// });
/// # Ok(())
/// # }
/// ```
pub struct Transaction {
    inner: Option<txn::Transaction>,
    database: Arc<Inner>,
    /// Monotonic nanoseconds of the last use, while there is a limit on the time between two; else 0.
    used_ns: u64,
}

impl Transaction {
    pub(super) fn new(inner: txn::Transaction, database: Arc<Inner>) -> Self {
        let used_ns = if database.config.idle_timeout_ms() == 0 { 0 } else { monotonic_ns() };
        Self { inner: Some(inner), database, used_ns }
    }

    /// See [`txn::Transaction::repeat`].
    pub(super) fn repeat(&mut self, seniority: &mut Option<u64>, pessimistic: bool) {
        if let Some(inner) = &mut self.inner {
            inner.repeat(seniority, pessimistic);
        }
    }

    /// See [`txn::Transaction::wait_for_nobody`].
    pub(super) fn wait_for_nobody(&mut self) {
        if let Some(inner) = &mut self.inner {
            inner.wait_for_nobody();
        }
    }

    fn open(&mut self) -> Result<InUse<'_>, Error> {
        let timed = self.check()?;
        match &mut self.inner {
            Some(inner) => Ok(InUse { inner, used_ns: if timed { Some(&mut self.used_ns) } else { None } }),
            None => Err(Error::Txn(TxnError::Ended)),
        }
    }

    /// May it be used? Says whether there is a limit on the time between two uses.
    fn check(&mut self) -> Result<bool, Error> {
        self.database.check_open()?;
        let limit_ms = self.database.config.idle_timeout_ms();
        if limit_ms != 0 {
            self.check_idle(limit_ms)?;
        }
        Ok(limit_ms != 0)
    }

    #[cold]
    fn check_idle(&mut self, limit_ms: u64) -> Result<(), Error> {
        let idle_ms = monotonic_ns().saturating_sub(self.used_ns) / 1_000_000;
        if self.used_ns == 0 || idle_ms < limit_ms {
            return Ok(());
        }
        let Some(inner) = self.inner.take() else { return Ok(()) };
        if let Some(session) = inner.into_session() {
            self.database.pool().put(session);
        }
        Err(Error::IdleTimeout { idle_ms, limit_ms })
    }

    /// The options it was begun with.
    pub fn options(&self) -> TxnOptions {
        self.inner.as_ref().map(txn::Transaction::options).unwrap_or_default()
    }

    /// Calls `f` with the row of that key, as this transaction sees it. In a run of [`Database::transaction`](crate::db::Database)
    /// that queues for the row, it is locked first.
    ///
    /// # Errors
    /// `Type` for a key of the wrong type; `Serialization` and `Busy` as for a lock; `Closed`.
    pub fn get<R>(
        &mut self,
        table: &Table,
        key: Value<'_>,
        f: impl FnOnce(RowView<'_>) -> R,
    ) -> Result<Option<R>, Error> {
        Ok(self.open()?.get(&table.0, key, f)?)
    }

    /// Is there a row of that key?
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub fn exists(&mut self, table: &Table, key: Value<'_>) -> Result<bool, Error> {
        Ok(self.get(table, key, |_| ())?.is_some())
    }

    /// Adds a row.
    ///
    /// # Errors
    /// `Duplicate` when the key is there; `Serialization`; `Space`; `ReadOnly`; `Closed`.
    pub fn insert(&mut self, table: &Table, image: &RowImage) -> Result<(), Error> {
        Ok(self.open()?.insert(&table.0, image)?)
    }

    /// Adds a row, or makes the row of that key equal to it.
    ///
    /// # Errors
    /// `Serialization`; `Space`; `ReadOnly`; `Closed`.
    pub fn upsert(&mut self, table: &Table, image: &RowImage) -> Result<Upserted, Error> {
        Ok(self.open()?.upsert(&table.0, image)?)
    }

    /// Sets columns of the row of that key, by column number, the others kept; makes the row if it is not there.
    ///
    /// # Errors
    /// `Type` when a value does not fit; `Serialization`; `Space`; `ReadOnly`; `Closed`. Nothing is changed then.
    pub fn set(
        &mut self,
        table: &Table,
        key: Value<'_>,
        values: &[(usize, Value<'_>)],
    ) -> Result<Upserted, Error> {
        Ok(self.open()?.set(&table.0, key, values)?)
    }

    /// Adds a row with these columns, by column number, to a table that numbers its rows
    /// ([`SchemaBuilder::numbered_key`](crate::row::SchemaBuilder::numbered_key)), under a number that no row has; that number. Numbers
    /// begin with 0 and grow; those of transactions that fail are not given again. They stay below 2^62: rows may be put by other means under
    /// any key, and numbers go on behind the greatest of those keys that is below that; greater ones change nothing. Should the last number
    /// be a row's key, none is left; once that row is deleted, numbers go on behind the greatest key there is.
    ///
    /// # Errors
    /// `Type` when a value does not fit, when the table does not number its rows, or has no number left, which names the last;
    /// `Serialization`; `Space`; `ReadOnly`; `Closed`.
    pub fn insert_numbered(&mut self, table: &Table, values: &[(usize, Value<'_>)]) -> Result<i64, Error> {
        Ok(self.open()?.insert_numbered(&table.0, values)?)
    }

    /// Changes the row of that key as `build` says, which is shown the current row and owns it from then on.
    ///
    /// # Errors
    /// What `build` says; `Serialization`; `Space`; `ReadOnly`; `Closed`.
    pub fn modify(
        &mut self,
        table: &Table,
        key: Value<'_>,
        build: impl FnMut(Option<RowView<'_>>, &mut RowImage) -> Result<Change, TxnError>,
    ) -> Result<Upserted, Error> {
        Ok(self.open()?.modify(&table.0, key, build)?)
    }

    /// Deletes the row of that key; false when there is none.
    ///
    /// # Errors
    /// `Serialization`; `Space`; `ReadOnly`; `Closed`.
    pub fn delete(&mut self, table: &Table, key: Value<'_>) -> Result<bool, Error> {
        Ok(self.open()?.delete(&table.0, key)?)
    }

    /// Calls `f` with every row that this transaction sees, in no particular order, until it breaks.
    ///
    /// # Errors
    /// `Closed`.
    pub fn scan(
        &mut self,
        table: &Table,
        f: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        Ok(self.open()?.scan(&table.0, None, &mut each_row(f))?)
    }

    /// As [`Transaction::scan`]; if the transaction writes, only changes to rows that satisfy `predicate` are conflicts.
    /// `f` still sees every row.
    ///
    /// # Errors
    /// `Closed`.
    pub fn scan_for(
        &mut self,
        table: &Table,
        predicate: RowPredicate,
        f: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        Ok(self.open()?.scan(&table.0, Some(predicate), &mut each_row(f))?)
    }

    /// See [`txn::Transaction::scan`] and [`txn::Pass::looking_at`].
    pub(super) fn scan_rows(
        &mut self,
        table: &Table,
        predicate: Option<RowPredicate>,
        image_bytes: usize,
        f: &mut VisitRows<'_>,
    ) -> Result<(), Error> {
        let mut txn = self.open()?;
        let (pass, session) = txn.pass(&table.0, predicate)?;
        Ok(pass.looking_at(image_bytes).show_all(session, f)?)
    }

    /// As `scan_rows`, by several threads; see `db::helpers`.
    pub(super) fn scan_shared(
        &mut self,
        table: &Table,
        predicate: Option<RowPredicate>,
        image_bytes: usize,
        helped: Vec<Helper<'_, Error>>,
        lead: &mut Lead<'_, Error>,
    ) -> Result<(), Error> {
        let database = Arc::clone(&self.database);
        let mut txn = self.open()?;
        let (pass, session) = txn.pass(&table.0, predicate)?;
        helpers::show(&database, pass.looking_at(image_bytes), session, helped, lead)
    }

    /// How many threads a scan may take where the query does not say: no more than there are processors.
    pub(super) fn search_threads(&self) -> u32 {
        match self.database.config.search_threads() {
            1 => 1,
            most => most.min(helpers::processors()),
        }
    }

    /// Rows of the table that this transaction sees.
    ///
    /// # Errors
    /// `Closed`.
    pub fn count(&mut self, table: &Table) -> Result<u64, Error> {
        Ok(self.open()?.count(&table.0)?)
    }

    /// About how many rows the table has now, whoever sees them; without reading any.
    ///
    /// # Errors
    /// `Closed`.
    pub fn estimated_rows(&mut self, table: &Table) -> Result<u64, Error> {
        Ok(self.open()?.estimated_rows(&table.0)?)
    }

    /// What is known of the table's indexes that this transaction can use.
    ///
    /// # Errors
    /// `Closed`.
    pub fn index_statistics(&mut self, table: &Table) -> Result<Vec<IndexStats>, Error> {
        Ok(self.open()?.index_statistics(&table.0, |_| true)?)
    }

    /// As [`Transaction::index_statistics`], with the ends of the keys for indexes on `columns` only.
    pub(super) fn index_statistics_for(
        &mut self,
        table: &Table,
        columns: &[usize],
    ) -> Result<Vec<IndexStats>, Error> {
        Ok(self.open()?.index_statistics(&table.0, |column| columns.contains(&column))?)
    }

    /// See [`txn::Transaction::index_standing`].
    pub(super) fn index_standing(&mut self, table: &Table) -> Result<(u64, u64), Error> {
        Ok(self.open()?.index_standing(&table.0)?)
    }

    /// Counts the different values in the index on a column, null not among them, by a walk over its entries; `None` when this
    /// transaction can use no such index. Values that no row has any more count until they have been cleaned up.
    ///
    /// # Errors
    /// `Closed`.
    pub fn count_index_keys(&mut self, table: &Table, column: usize) -> Result<Option<u64>, Error> {
        Ok(self.open()?.count_index_keys(&table.0, column)?)
    }

    /// See [`txn::Transaction::scan_range`].
    pub(super) fn scan_range(
        &mut self,
        table: &Table,
        scan: &RangeScan<'_>,
        f: &mut VisitRows<'_>,
    ) -> Result<(), Error> {
        Ok(self.open()?.scan_range(&table.0, scan, f)?)
    }

    /// See [`txn::Transaction::range_rows`].
    pub(super) fn range_rows(
        &mut self,
        table: &Table,
        column: usize,
        span: KeySpan<'_>,
        f: &mut dyn FnMut(u64),
    ) -> Result<(), Error> {
        Ok(self.open()?.range_rows(&table.0, column, span, f)?)
    }

    /// Owns the row of that key, waiting for whoever has it, and returns it for reading and writing as it is now; `None` when
    /// there is no such row. It stays this transaction's until the end, or until a rollback to a savepoint made before.
    ///
    /// Whoever waits longer than the setting `lock_timeout` gets `Busy`; of those who wait for each other the youngest gets
    /// `Serialization`. Both may be run again.
    ///
    /// # Errors
    /// As above; `Serialization` when something read before has changed; `Type`; `ReadOnly`; `Closed`.
    pub fn lock_for_update<'a>(
        &'a mut self,
        table: &'a Table,
        key: Value<'a>,
    ) -> Result<Option<RowLock<'a>>, Error> {
        let found = self.open()?.lock_for_update(&table.0, key, |_| ())?;
        Ok(found.map(|()| RowLock::new(self, table, key)))
    }

    /// Marks this place, to come back to by [`Transaction::rollback_to`]. Savepoints nest.
    ///
    /// # Errors
    /// `Closed`.
    pub fn savepoint(&mut self) -> Result<Savepoint, Error> {
        Ok(self.open()?.savepoint()?)
    }

    /// Undoes what was written since the savepoint, lets go of the rows that were locked since, and forgets the savepoints
    /// made since. The savepoint itself stays. What was read since still counts as read.
    ///
    /// # Errors
    /// `NotFound` when the savepoint was released, rolled back over, or is of another transaction; `Serialization`; `Closed`.
    pub fn rollback_to(&mut self, savepoint: &Savepoint) -> Result<(), Error> {
        Ok(self.open()?.rollback_to(savepoint)?)
    }

    /// Forgets the savepoint and those made since; what was written since stays.
    ///
    /// # Errors
    /// `NotFound` as for [`Transaction::rollback_to`]; `Closed`.
    pub fn release(&mut self, savepoint: Savepoint) -> Result<(), Error> {
        Ok(self.open()?.release(savepoint)?)
    }

    /// Makes everything written visible, at one moment. Returns the commit timestamp.
    ///
    /// # Errors
    /// `Serialization`: nothing of it took effect. After an error of the log (`Io`, `Space`, `ReadOnly`) under synchronous
    /// commit the transaction has taken effect, but may not survive a power failure.
    pub fn commit(mut self) -> Result<u64, Error> {
        let synchronous =
            self.options().synchronous_commit.unwrap_or_else(|| self.database.synchronous_commit());
        self.check()?;
        let txn = self.inner.as_mut().ok_or(TxnError::Ended)?;
        let writes = txn.has_writes();
        let outcome = txn.commit(synchronous);
        // After an error of the log the transaction has taken effect.
        if writes && outcome.as_ref().err().is_none_or(|error| !error.is_retryable()) {
            self.database.note_commit();
        }
        Ok(outcome?)
    }

    /// Undoes everything.
    pub fn rollback(self) {
        drop(self);
    }
}

/// A transaction while it is used: not idle.
struct InUse<'a> {
    inner: &'a mut txn::Transaction,
    /// Where the time of this use goes, if anybody wants to know.
    used_ns: Option<&'a mut u64>,
}

impl Deref for InUse<'_> {
    type Target = txn::Transaction;

    #[inline]
    fn deref(&self) -> &txn::Transaction {
        self.inner
    }
}

impl DerefMut for InUse<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut txn::Transaction {
        self.inner
    }
}

impl Drop for InUse<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(used_ns) = &mut self.used_ns {
            **used_ns = monotonic_ns();
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            let is_others = if inner.is_over() {
                self.database.is_forked()
            } else {
                self.database.is_in_another_process()
            };
            if is_others {
                // Slot and locks are the parent's: nothing of it may be touched from here.
                std::mem::forget(inner);
            } else if let Some(session) = inner.into_session() {
                self.database.pool().put(session);
            }
        }
    }
}
