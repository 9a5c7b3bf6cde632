//! Many operations at once.

#![forbid(unsafe_code)]

use crate::db::{Error, Table, Transaction};
use crate::row::{RowImage, Value};
use crate::txn::Upserted;

/// An operation on one row, to be applied with others.
#[derive(Clone, Copy)]
pub enum Operation<'a> {
    /// As [`Transaction::insert`].
    Insert {
        /// Where.
        table: &'a Table,
        /// The row.
        image: &'a RowImage,
    },
    /// As [`Transaction::upsert`].
    Upsert {
        /// Where.
        table: &'a Table,
        /// The row.
        image: &'a RowImage,
    },
    /// As [`Transaction::set`].
    Set {
        /// Where.
        table: &'a Table,
        /// The row's key.
        key: Value<'a>,
        /// Columns by number, and their values.
        values: &'a [(usize, Value<'a>)],
    },
    /// As [`Transaction::delete`].
    Delete {
        /// Where.
        table: &'a Table,
        /// The row's key.
        key: Value<'a>,
    },
}

/// What an operation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It put a row.
    Put(Upserted),
    /// It deleted a row.
    Deleted,
    /// There was no row to delete.
    Missing,
}

impl Transaction {
    /// Runs `work`; what that has written is undone if it fails.
    ///
    /// # Errors
    /// What `work` says; `Closed`.
    pub fn atomically<R>(&mut self, work: impl FnOnce(&mut Self) -> Result<R, Error>) -> Result<R, Error> {
        let before = self.savepoint()?;
        let outcome = work(self);
        if outcome.is_err() {
            // The first error is the one to tell; an aborted transaction has nothing left to undo.
            let _ = self.rollback_to(&before);
            let _ = self.release(before);
        } else {
            self.release(before)?;
        }
        outcome
    }

    /// Applies the operations in their order: all of them, or, after an error, none.
    ///
    /// # Errors
    /// As the operations' namesakes.
    pub fn apply(&mut self, operations: &[Operation<'_>]) -> Result<Vec<Applied>, Error> {
        self.atomically(|txn| operations.iter().map(|operation| txn.apply_one(*operation)).collect())
    }

    fn apply_one(&mut self, operation: Operation<'_>) -> Result<Applied, Error> {
        Ok(match operation {
            Operation::Insert { table, image } => {
                self.insert(table, image)?;
                Applied::Put(Upserted::Inserted)
            }
            Operation::Upsert { table, image } => Applied::Put(self.upsert(table, image)?),
            Operation::Set { table, key, values } => Applied::Put(self.set(table, key, values)?),
            Operation::Delete { table, key } if self.delete(table, key)? => Applied::Deleted,
            Operation::Delete { .. } => Applied::Missing,
        })
    }
}
