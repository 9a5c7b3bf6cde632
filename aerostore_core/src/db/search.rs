//! Searches inside a transaction: its rows as the source of a plan.

#![forbid(unsafe_code)]

use crate::db::{Error, Table, Transaction};
use crate::query::{Outcome, Plan, Predicate, RowSource};
use crate::row::{RowView, Value};
use std::ops::ControlFlow;
use std::sync::Arc;

/// One table as one transaction sees it.
struct TableRows<'t> {
    txn: &'t mut Transaction,
    table: &'t Table,
}

impl RowSource for TableRows<'_> {
    type Error = Error;

    fn point(&mut self, key: Value<'_>, visit: &mut dyn FnMut(RowView<'_>)) -> Result<(), Error> {
        self.txn.get(self.table, key, visit).map(|_| ())
    }

    fn scan(
        &mut self,
        filter: Option<&Arc<Predicate>>,
        visit: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let Some(filter) = filter.map(Arc::clone) else { return self.txn.scan(self.table, visit) };
        self.txn.scan_for(self.table, Arc::new(move |row| filter.matches(*row)), visit)
    }
}

impl Transaction {
    /// Calls `visit` with each row that `plan` yields, in its order, until it breaks. The plan must have been made for the
    /// table's schema.
    ///
    /// # Errors
    /// `Type` for a key of the wrong type; `Closed`.
    pub fn search(
        &mut self,
        table: &Table,
        plan: &Plan,
        visit: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>,
    ) -> Result<Outcome, Error> {
        plan.run(&mut TableRows { txn: self, table }, visit)
    }

    /// Counts the rows that `plan` yields, without copying or sorting any.
    ///
    /// # Errors
    /// As [`Transaction::search`].
    pub fn search_count(&mut self, table: &Table, plan: &Plan) -> Result<Outcome, Error> {
        plan.count(&mut TableRows { txn: self, table })
    }
}
