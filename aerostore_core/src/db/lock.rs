//! A row that a transaction has locked.

#![forbid(unsafe_code)]

use crate::db::{Error, Table, Transaction};
use crate::row::{RowImage, RowView, Value};
use crate::txn::{Change, TxnError, Upserted};

/// A row that nobody else can change; see [`Transaction::lock_for_update`]. The lock is the transaction's and does not end with
/// this handle.
///
/// While it is there, its transaction is used through it only:
///
/// ```compile_fail,E0499
/// # use aerostore_core::{db::{Error, Table, Transaction}, row::Value};
/// # fn example(txn: &mut Transaction, table: &Table) -> Result<(), Error> {
/// let row = txn.lock_for_update(table, Value::Str("A"))?;
/// txn.savepoint()?;
/// drop(row);
/// # Ok(())
/// # }
/// ```
#[must_use = "the row is locked to be read or written"]
pub struct RowLock<'a> {
    txn: &'a mut Transaction,
    table: &'a Table,
    key: Value<'a>,
}

impl<'a> RowLock<'a> {
    pub(super) fn new(txn: &'a mut Transaction, table: &'a Table, key: Value<'a>) -> Self {
        Self { txn, table, key }
    }

    /// The key.
    pub fn key(&self) -> Value<'a> {
        self.key
    }

    /// Calls `f` with the row as it is now, own changes included; `None` once this transaction has deleted it.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub fn read<R>(&mut self, f: impl FnOnce(RowView<'_>) -> R) -> Result<Option<R>, Error> {
        self.txn.get(self.table, self.key, f)
    }

    /// Sets columns, by number.
    ///
    /// # Errors
    /// As [`Transaction::set`].
    pub fn set(&mut self, values: &[(usize, Value<'_>)]) -> Result<Upserted, Error> {
        self.txn.set(self.table, self.key, values)
    }

    /// Changes the row as `build` says.
    ///
    /// # Errors
    /// As [`Transaction::modify`].
    pub fn modify(
        &mut self,
        build: impl FnMut(Option<RowView<'_>>, &mut RowImage) -> Result<Change, TxnError>,
    ) -> Result<Upserted, Error> {
        self.txn.modify(self.table, self.key, build)
    }

    /// Deletes the row.
    ///
    /// # Errors
    /// As [`Transaction::delete`].
    pub fn delete(&mut self) -> Result<bool, Error> {
        self.txn.delete(self.table, self.key)
    }
}
