//! A transaction of an open database.

#![forbid(unsafe_code)]

use crate::db::database::Inner;
use crate::db::{Error, Table};
use crate::row::{RowImage, RowView, Value};
use crate::txn::{self, Change, RowPredicate, Savepoint, TxnError, TxnOptions, Upserted};
use std::ops::ControlFlow;
use std::sync::Arc;

/// A transaction. Rolled back when dropped; its session then serves the next one.
pub struct Transaction {
    inner: Option<txn::Transaction>,
    database: Arc<Inner>,
}

impl Transaction {
    pub(super) fn new(inner: txn::Transaction, database: Arc<Inner>) -> Self {
        Self { inner: Some(inner), database }
    }

    fn open(&mut self) -> Result<&mut txn::Transaction, Error> {
        self.database.check_open()?;
        match &mut self.inner {
            Some(inner) => Ok(inner),
            None => Err(Error::Txn(TxnError::Ended)),
        }
    }

    /// The options it was begun with.
    pub fn options(&self) -> TxnOptions {
        self.inner.as_ref().map(txn::Transaction::options).unwrap_or_default()
    }

    /// Calls `f` with the row of that key, as this transaction sees it.
    ///
    /// # Errors
    /// `Type` for a key of the wrong type; `Closed`.
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
        Ok(self.open()?.scan(&table.0, None, f)?)
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
        Ok(self.open()?.scan(&table.0, Some(predicate), f)?)
    }

    /// Rows of the table that this transaction sees.
    ///
    /// # Errors
    /// `Closed`.
    pub fn count(&mut self, table: &Table) -> Result<u64, Error> {
        Ok(self.open()?.count(&table.0)?)
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
        let txn = self.open()?;
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

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            if self.database.is_forked() {
                // Slot and locks are the parent's: nothing of it may be touched from here.
                std::mem::forget(inner);
            } else if let Some(session) = inner.into_session() {
                self.database.pool().put(session);
            }
        }
    }
}
