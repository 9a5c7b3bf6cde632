//! Searches inside a transaction: its rows as the source of a plan.

#![forbid(unsafe_code)]

use crate::db::{Error, Table, Transaction};
use crate::query::{
    Explain, IndexScan, KeyRange, Outcome, Plan, Predicate, QueryError, RowSource, TableStatistics,
};
use crate::row::{RowView, Value};
use std::ops::ControlFlow;
use std::sync::Arc;

/// One table as one transaction sees it.
struct TableRows<'t> {
    txn: &'t mut Transaction,
    table: &'t Table,
}

impl TableRows<'_> {
    /// What `statistics` does not name cannot be read.
    fn no_index(&self, column: usize) -> Error {
        let schema = self.table.schema();
        let column = schema.column(column).name().to_owned();
        QueryError::NoIndex { column, table: schema.name().to_owned(), indexed: String::new() }.into()
    }
}

impl RowSource for TableRows<'_> {
    type Error = Error;

    fn statistics(&mut self) -> Result<TableStatistics, Error> {
        Ok(TableStatistics { rows: self.txn.estimated_rows(self.table)?, indexes: Vec::new() })
    }

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

    fn index_scan(
        &mut self,
        scan: &IndexScan<'_>,
        _visit: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        Err(self.no_index(scan.column))
    }

    fn index_rows(&mut self, column: usize, _: &KeyRange, _: &mut dyn FnMut(u64)) -> Result<(), Error> {
        Err(self.no_index(column))
    }
}

impl Transaction {
    /// Calls `visit` with each row that `plan` yields, in its order, until it breaks. The plan must have been made for the
    /// table's schema.
    ///
    /// # Errors
    /// `Syntax` when the index that the query names cannot be used; `Closed`.
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

    /// Runs `plan`, to count its rows or to give them in order to nobody, and explains what was done and why.
    ///
    /// # Errors
    /// As [`Transaction::search`].
    pub fn explain(&mut self, table: &Table, plan: &Plan, counting: bool) -> Result<Explain, Error> {
        plan.explain_run(&mut TableRows { txn: self, table }, counting)
    }
}
