//! Batches of an ingest as transactions on a table.
#![forbid(unsafe_code)]

use std::time::Duration;

use aerostore_core::db::ingest::BatchSink;
use aerostore_core::db::{Change, Error, Transaction, TxnOptions, Upserted};
use aerostore_core::row::{DirtyMask, RowImage, delta};

use crate::commands::table::Opened;

/// How often a batch is tried again after it lost against other transactions.
const RETRIES_MAX: u32 = 100;

/// Writes rows into a table.
pub(super) struct Sink<'t> {
    table: &'t Opened,
    transaction: Option<Transaction>,
}

impl<'t> Sink<'t> {
    pub(super) fn new(table: &'t Opened) -> Self {
        Self { table, transaction: None }
    }
}

impl BatchSink for Sink<'_> {
    type Error = Error;

    fn begin(&mut self) -> Result<(), Error> {
        self.transaction = Some(self.table.open.database.begin(TxnOptions::default())?);
        Ok(())
    }

    fn upsert(&mut self, row: &RowImage, given: DirtyMask) -> Result<Upserted, Error> {
        let Some(transaction) = &mut self.transaction else { return Err(Error::Closed) };
        let (table, schema) = (&self.table.bound.table, &*self.table.bound.schema);
        let view = row.view(schema)?;
        if given == delta::all_columns(schema) {
            return transaction.upsert(table, row);
        }
        transaction.modify(table, view.key(), |current, next| {
            let Some(current) = current else {
                next.copy_from(view);
                return Ok(Change::Put);
            };
            next.copy_from(current);
            for index in given.columns() {
                next.set(schema, index, view.get(index))?;
            }
            Ok(Change::Put)
        })
    }

    fn commit(&mut self) -> Result<(), Error> {
        self.transaction.take().map_or(Ok(()), |transaction| transaction.commit().map(drop))
    }

    fn rollback(&mut self) {
        self.transaction = None;
    }

    fn retry(&mut self, error: &Error, attempt: u32) -> bool {
        let again = error.is_retryable() && attempt < RETRIES_MAX;
        if again {
            // 1, 2, 4, 8, then 16 ms; apart by process, so that two do not meet again and again.
            let spread = u64::from(std::process::id() % 16) * 64;
            std::thread::sleep(Duration::from_micros((1000 << attempt.min(4)) + spread));
        }
        again
    }
}
