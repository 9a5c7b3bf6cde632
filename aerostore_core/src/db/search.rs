//! Searches inside a transaction: its rows as the source of a plan.

#![forbid(unsafe_code)]

use crate::db::{Error, Table, Transaction};
use crate::query::{
    Explain, Helper, IndexScan, IndexStatistics, KeyRange, Lead, Literal, Outcome, Plan, Predicate, Query,
    RowSource, Standing, TableStatistics,
};
use crate::row::{RowView, Value, VisitRows};
use crate::txn::{KeySpan, RangeScan, RowPredicate};
use std::ops::ControlFlow;
use std::sync::Arc;

/// One table as one transaction sees it.
struct TableRows<'t> {
    txn: &'t mut Transaction,
    table: &'t Table,
}

impl TableRows<'_> {
    /// What a scan looks at of every row: what the filter does, or all.
    fn image_bytes(&self, filter: Option<&Arc<Predicate>>) -> usize {
        filter.map_or(self.table.schema().fixed_bytes(), |filter| filter.image_bytes())
    }
}

impl RowSource for TableRows<'_> {
    type Error = Error;

    fn statistics(&mut self, columns: &[usize]) -> Result<TableStatistics, Error> {
        let indexes = self.txn.index_statistics_for(self.table, columns)?;
        let indexes = indexes.into_iter().map(|stats| IndexStatistics {
            column: stats.column,
            kind: stats.spec.kind(),
            rows: stats.rows,
            nulls: stats.nulls,
            distinct: stats.distinct,
            min: stats.min,
            max: stats.max,
        });
        let indexes = indexes.collect();
        let threads = self.txn.search_threads();
        Ok(TableStatistics { rows: self.txn.estimated_rows(self.table)?, indexes, threads })
    }

    fn standing(&mut self) -> Result<Standing, Error> {
        let (rows, indexes) = self.txn.index_standing(self.table)?;
        Ok(Standing { rows, indexes })
    }

    fn point(&mut self, key: Value<'_>, visit: &mut dyn FnMut(RowView<'_>)) -> Result<(), Error> {
        self.txn.get(self.table, key, visit).map(|_| ())
    }

    fn scan(&mut self, filter: Option<&Arc<Predicate>>, visit: &mut VisitRows<'_>) -> Result<(), Error> {
        self.txn.scan_rows(self.table, filter.map(noted), self.image_bytes(filter), visit)
    }

    fn scan_shared(
        &mut self,
        filter: Option<&Arc<Predicate>>,
        helpers: Vec<Helper<'_, Error>>,
        lead: &mut Lead<'_, Error>,
    ) -> Result<(), Error> {
        self.txn.scan_shared(self.table, filter.map(noted), self.image_bytes(filter), helpers, lead)
    }

    fn index_scan(&mut self, scan: &IndexScan<'_>, visit: &mut VisitRows<'_>) -> Result<(), Error> {
        let predicate = scan.filter.map(noted);
        let among = scan.among.map(|among| |row| among.contains(row));
        let scan = RangeScan {
            column: scan.column,
            span: span(scan.range),
            is_descending: scan.descending,
            predicate,
            among: among.as_ref().map(|among| among as &dyn Fn(u64) -> bool),
            expected: scan.expected.unwrap_or(u64::MAX),
        };
        self.txn.scan_range(self.table, &scan, visit)
    }

    fn index_rows(
        &mut self,
        column: usize,
        range: &KeyRange,
        visit: &mut dyn FnMut(u64),
    ) -> Result<(), Error> {
        self.txn.range_rows(self.table, column, span(range), visit)
    }
}

/// What a transaction that writes remembers of a filter.
fn noted(filter: &Arc<Predicate>) -> RowPredicate {
    let filter = Arc::clone(filter);
    Arc::new(move |row| filter.matches(*row))
}

fn span(range: &KeyRange) -> KeySpan<'_> {
    let (low, high) = range.ends();
    KeySpan { low, high }
}

impl Transaction {
    /// Calls `visit` with each row that `query` asks for, in its order, until it breaks, and says how many that were: as
    /// [`Transaction::search`] does, with a plan made for this once. A query for one key is a look-up, and needs none.
    ///
    /// # Errors
    /// `Syntax` when the query does not suit the table; `Closed`.
    pub fn find(
        &mut self,
        table: &Table,
        query: Query,
        visit: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>,
    ) -> Result<u64, Error> {
        if let Some(key) = query.single_key(table.schema()) {
            return Ok(self.get(table, key, visit)?.map_or(0, |_| 1));
        }
        let plan = Plan::new(table.schema(), query)?;
        Ok(self.search(table, &plan, visit)?.rows_returned)
    }

    /// Counts the rows that `query` asks for.
    ///
    /// # Errors
    /// As [`Transaction::find`].
    pub fn find_count(&mut self, table: &Table, query: Query) -> Result<u64, Error> {
        if let Some(key) = query.single_key(table.schema()) {
            return Ok(u64::from(self.exists(table, key)?));
        }
        let plan = Plan::new(table.schema(), query)?;
        Ok(self.search_count(table, &plan)?.rows_returned)
    }

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

    /// As [`Transaction::search`], with other operands: see [`Plan::with_operands`]. A plan for one key is a look-up.
    ///
    /// # Errors
    /// As [`Transaction::search`]; `Syntax` or `Type` when the operands do not go with the query.
    pub fn search_with(
        &mut self,
        table: &Table,
        plan: &Plan,
        operands: Vec<Literal>,
        visit: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>,
    ) -> Result<u64, Error> {
        if let Some(key) = plan.single_key(&operands) {
            return Ok(self.get(table, key, visit)?.map_or(0, |_| 1));
        }
        Ok(self.search(table, &plan.with_operands(operands)?, visit)?.rows_returned)
    }

    /// As [`Transaction::search_count`], with other operands.
    ///
    /// # Errors
    /// As [`Transaction::search_with`].
    pub fn search_count_with(
        &mut self,
        table: &Table,
        plan: &Plan,
        operands: Vec<Literal>,
    ) -> Result<u64, Error> {
        if let Some(key) = plan.single_key(&operands) {
            return Ok(u64::from(self.exists(table, key)?));
        }
        Ok(self.search_count(table, &plan.with_operands(operands)?)?.rows_returned)
    }

    /// Says how `plan` would be run, to count its rows or to give them in order, and how many rows are thought to come of it; no row is
    /// looked at.
    ///
    /// # Errors
    /// As [`Transaction::search`].
    pub fn estimate(&mut self, table: &Table, plan: &Plan, counting: bool) -> Result<Explain, Error> {
        plan.explain_estimate(&mut TableRows { txn: self, table }, counting)
    }

    /// Runs `plan`, to count its rows or to give them in order to nobody, and explains what was done and why.
    ///
    /// # Errors
    /// As [`Transaction::search`].
    pub fn explain(&mut self, table: &Table, plan: &Plan, counting: bool) -> Result<Explain, Error> {
        plan.explain_run(&mut TableRows { txn: self, table }, counting)
    }
}
