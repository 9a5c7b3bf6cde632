//! A transaction's view of one table, as the engine's plans read it.
#![forbid(unsafe_code)]

use std::ops::ControlFlow;
use std::sync::Arc;

use aerostore_core::db::{Error, Table, Transaction};
use aerostore_core::query::{Predicate, RowSource};
use aerostore_core::row::{RowView, Value};

/// Rows of a table as one transaction sees them.
pub(super) struct Source<'t> {
    pub(super) transaction: Transaction,
    pub(super) table: &'t Table,
}

impl RowSource for Source<'_> {
    type Error = Error;

    fn point(&mut self, key: Value<'_>, visit: &mut dyn FnMut(RowView<'_>)) -> Result<(), Error> {
        self.transaction.get(self.table, key, visit)?;
        Ok(())
    }

    /// The filter is of no use here: a search's transaction only reads, so that none of its scans is validated.
    fn scan(
        &mut self,
        _filter: Option<&Arc<Predicate>>,
        visit: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.transaction.scan(self.table, visit)
    }
}
