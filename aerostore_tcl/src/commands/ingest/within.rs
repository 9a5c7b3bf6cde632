//! An ingest within the interpreter's transaction: each batch is undone whole or not at all.
#![forbid(unsafe_code)]

use aerostore_core::db::ingest::BatchSink;
use aerostore_core::db::{Error, Savepoint, Transaction, Upserted};
use aerostore_core::row::{DirtyMask, RowImage, Value};

use crate::commands::table::Opened;
use crate::current::ended;

/// Takes rows into the open transaction, which scripts may use, or end, between two calls.
pub(super) struct Within<'t> {
    table: &'t Opened,
    /// Where the batch began.
    before: Option<Savepoint>,
}

impl<'t> Within<'t> {
    pub(super) fn new(table: &'t Opened) -> Self {
        Self { table, before: None }
    }

    fn run<R>(&self, work: impl FnOnce(&mut Transaction) -> Result<R, Error>) -> Result<R, Error> {
        self.table.current.lend().ok_or_else(ended)?.run(work)
    }
}

impl BatchSink for Within<'_> {
    type Error = Error;

    fn begin(&mut self) -> Result<(), Error> {
        self.before = Some(self.run(Transaction::savepoint)?);
        Ok(())
    }

    fn upsert(&mut self, row: &RowImage, given: DirtyMask) -> Result<Upserted, Error> {
        self.run(|txn| txn.upsert_given(&self.table.bound.table, row, given))
    }

    fn delete(&mut self, key: Value<'_>) -> Result<bool, Error> {
        self.run(|txn| txn.delete(&self.table.bound.table, key))
    }

    fn commit(&mut self) -> Result<(), Error> {
        let before = self.before.take().ok_or_else(ended)?;
        self.run(|txn| txn.release(before))
    }

    fn rollback(&mut self) {
        if let Some(before) = self.before.take() {
            // What ended the batch is told; a transaction that is over has nothing left to undo.
            let _ = self.run(|txn| txn.rollback_to(&before).and_then(|()| txn.release(before)));
        }
    }
}
