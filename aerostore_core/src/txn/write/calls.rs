//! The ways to write a row: what each wants of the row it is shown.
#![forbid(unsafe_code)]

use super::{Change, Upserted};
use crate::row::{RowImage, RowView, Value};
use crate::shm::Reserve;
use crate::txn::lock::Patience;
use crate::txn::{TableRef, Transaction, TxnError};

impl Transaction {
    /// Adds a row.
    ///
    /// # Errors
    /// `Duplicate` when the key is there; `Serialization`; `Row`; `OutOfSpace`.
    pub fn insert(&mut self, table: &TableRef, image: &RowImage) -> Result<(), TxnError> {
        let row = image.view(table.schema())?;
        self.write(table, row.key(), Reserve::No, &mut |current, next| {
            if current.is_some() {
                return Err(TxnError::Duplicate {
                    table: table.schema().name().to_owned(),
                    key: row.key().to_string(),
                });
            }
            next.copy_from(row);
            Ok(Change::Put)
        })?;
        Ok(())
    }

    /// Adds a row, or makes the row of that key equal to it.
    ///
    /// # Errors
    /// `Serialization`; `Row`; `OutOfSpace`.
    pub fn upsert(&mut self, table: &TableRef, image: &RowImage) -> Result<Upserted, TxnError> {
        let row = image.view(table.schema())?;
        self.write(table, row.key(), Reserve::No, &mut |_, next| {
            next.copy_from(row);
            Ok(Change::Put)
        })
    }

    /// Sets columns of the row of that key, others kept; makes the row if it is not there.
    ///
    /// # Errors
    /// `Serialization`; `Row` when a value does not fit its column; `OutOfSpace`. Nothing is changed then.
    pub fn set(
        &mut self,
        table: &TableRef,
        key: Value<'_>,
        values: &[(usize, Value<'_>)],
    ) -> Result<Upserted, TxnError> {
        let schema = table.schema();
        self.write(table, key, Reserve::No, &mut |current, next| {
            if let Some(row) = current {
                next.copy_from(row);
            } else {
                next.reset(schema);
                next.set(schema, schema.key_index(), key)?;
            }
            next.set_all(schema, values)?;
            Ok(Change::Put)
        })
    }

    /// Deletes the row of that key; false when there is none.
    ///
    /// # Errors
    /// `Serialization`; `Row` for a key of the wrong type; `OutOfSpace`.
    pub fn delete(&mut self, table: &TableRef, key: Value<'_>) -> Result<bool, TxnError> {
        self.delete_if(table, key, |_| true)
    }

    /// Deletes the row of that key if `is_wanted` says so, which is shown the row as it is; false when it stays, or there is none.
    ///
    /// # Errors
    /// As for [`Transaction::delete`].
    pub fn delete_if(
        &mut self,
        table: &TableRef,
        key: Value<'_>,
        mut is_wanted: impl FnMut(RowView<'_>) -> bool,
    ) -> Result<bool, TxnError> {
        let mut goes = false;
        // What a delete needs comes from what is kept back, if need be: it is how a full database is emptied.
        self.write(table, key, Reserve::Yes, &mut |current, _| {
            goes = current.is_some_and(&mut is_wanted);
            Ok(if goes { Change::Delete } else { Change::Keep })
        })?;
        Ok(goes)
    }

    /// Changes the row of that key as `build` says, which is shown the current row and owns it from then on.
    ///
    /// # Errors
    /// What `build` says; `Serialization`; `Row`; `OutOfSpace`.
    pub fn modify(
        &mut self,
        table: &TableRef,
        key: Value<'_>,
        mut build: impl FnMut(Option<RowView<'_>>, &mut RowImage) -> Result<Change, TxnError>,
    ) -> Result<Upserted, TxnError> {
        self.write(table, key, Reserve::No, &mut |current, next| {
            next.reset(table.schema());
            build(current, next)
        })
    }

    /// Owns the row of that key, waiting in the queue if need be, and calls `f` with it as it is now, which it stays for others
    /// until the end of the transaction, or of a rollback to a savepoint made before. `None` when there is no such row.
    ///
    /// # Errors
    /// `Deadlock`; `LockTimeout`; `Serialization` when something that was read before has changed; `ReadOnly`; `Row`.
    pub fn lock_for_update<R>(
        &mut self,
        table: &TableRef,
        key: Value<'_>,
        f: impl FnOnce(RowView<'_>) -> R,
    ) -> Result<Option<R>, TxnError> {
        let usual = std::mem::replace(&mut self.patience, Patience::Queue);
        let mut f = Some(f);
        let mut seen = None;
        let outcome = self.write(table, key, Reserve::No, &mut |row, _| {
            seen = row.and_then(|row| f.take().map(|f| f(row)));
            Ok(Change::Keep)
        });
        self.patience = usual;
        // A row that is there is owned; that another is not has merely been seen.
        self.has_read |= seen.is_none();
        outcome.map(|_| seen)
    }
}
