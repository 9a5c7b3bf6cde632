//! A table of a database as the sink of an ingest: each batch is a transaction.

#![forbid(unsafe_code)]

use std::ops::ControlFlow;

use super::{BatchSink, IngestError, IngestOptions, IngestReport, Input, ingest};
use crate::db::{Database, Error, Table, Transaction};
use crate::row::{DirtyMask, MAX_COLUMNS, RowImage, Value};
use crate::sys::monotonic_ns;
use crate::txn::{RetryBackoff, TxnError, TxnOptions, Upserted};

impl Database {
    /// Reads text into `table`, batch by batch, each a transaction with `txn_options`. A batch that meets a conflict is run
    /// again after a pause that grows, up to the setting `retry_limit`. After each batch `progress` sees the figures so
    /// far, and can break off.
    ///
    /// # Errors
    /// [`IngestError`], with the figures of the batches that were committed before.
    pub fn ingest(
        &self,
        table: &Table,
        options: &IngestOptions,
        input: Input<'_>,
        txn_options: TxnOptions,
        progress: &mut dyn FnMut(&IngestReport) -> ControlFlow<()>,
    ) -> Result<IngestReport, IngestError<Error>> {
        let backoff = RetryBackoff::new(monotonic_ns());
        let mut sink = TableSink { database: self, table, txn_options, txn: None, backoff };
        ingest(table.schema(), options, input, &mut sink, progress)
    }
}

impl Transaction {
    /// Adds the row, or changes the row of that key in the columns `given`; without a key, and if the table numbers its rows, adds it
    /// under the next number.
    ///
    /// # Errors
    /// As [`Transaction::set`].
    pub fn upsert_given(
        &mut self,
        table: &Table,
        row: &RowImage,
        given: DirtyMask,
    ) -> Result<Upserted, Error> {
        let schema = table.schema();
        if given == DirtyMask::first(schema.columns().len()) {
            return self.upsert(table, row);
        }
        let view = row.view(schema).map_err(TxnError::from)?;
        let mut values = [(0, Value::Null); MAX_COLUMNS];
        let mut count = 0;
        for index in (0..schema.columns().len()).filter(|&index| given.contains(index)) {
            values[count] = (index, view.get(index));
            count += 1;
        }
        if schema.has_numbered_key() && !given.contains(schema.key_index()) {
            self.insert_numbered(table, &values[..count])?;
            return Ok(Upserted::Inserted);
        }
        self.set(table, view.key(), &values[..count])
    }
}

struct TableSink<'d> {
    database: &'d Database,
    table: &'d Table,
    txn_options: TxnOptions,
    /// The open batch.
    txn: Option<Transaction>,
    backoff: RetryBackoff,
}

impl BatchSink for TableSink<'_> {
    type Error = Error;

    fn begin(&mut self) -> Result<(), Error> {
        self.txn = Some(self.database.begin(self.txn_options)?);
        Ok(())
    }

    fn upsert(&mut self, row: &RowImage, given: DirtyMask) -> Result<Upserted, Error> {
        let txn = self.txn.as_mut().ok_or(Error::Txn(TxnError::Ended))?;
        txn.upsert_given(self.table, row, given)
    }

    fn delete(&mut self, key: Value<'_>) -> Result<bool, Error> {
        let txn = self.txn.as_mut().ok_or(Error::Txn(TxnError::Ended))?;
        txn.delete(self.table, key)
    }

    fn commit(&mut self) -> Result<(), Error> {
        let txn = self.txn.take().ok_or(Error::Txn(TxnError::Ended))?;
        txn.commit()?;
        self.backoff = RetryBackoff::new(monotonic_ns());
        Ok(())
    }

    fn rollback(&mut self) {
        self.txn = None;
    }

    fn retry(&mut self, error: &Error, attempt: u32) -> bool {
        let again = error.is_retryable() && u64::from(attempt) < self.database.0.config.retry_limit();
        if again {
            std::thread::sleep(self.backoff.next_pause());
        }
        again
    }
}
