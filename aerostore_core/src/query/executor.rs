//! Runs a plan: rows from a source, through the filter, in order, out to a visitor.
//!
//! Shape       without a sort, rows stream to the visitor as they come and the source is stopped at the limit. With a sort
//!             and a limit, a bounded heap keeps the rows that can still come out; with a sort alone, all matching rows
//!             are copied and sorted. Counting copies nothing and sorts nothing.
//! Order       stable: rows that tie come out as the source gave them. Nulls last when ascending, first when descending.

#![forbid(unsafe_code)]

use std::ops::ControlFlow;

use super::plan::{AccessPath, Plan};
use super::sort::{SortOrder, Sorter, TopRows};
use super::source::RowSource;
use crate::row::RowView;

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Rows that the source gave.
    pub rows_examined: u64,
    /// Rows of those that matched.
    pub rows_matched: u64,
    /// Rows that went to the visitor, or were counted: those within offset and limit.
    pub rows_returned: u64,
}

impl Plan {
    /// Calls `visit` with each row of the result, in order, until it breaks.
    ///
    /// # Errors
    ///
    /// What the source reports. The visitor may have seen rows by then if the plan is not sorted.
    pub fn run<S: RowSource>(
        &self,
        source: &mut S,
        visit: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>,
    ) -> Result<Outcome, S::Error> {
        if !self.is_sorted() {
            return self.stream(source, visit);
        }
        let mut outcome = Outcome::default();
        let mut window = Window::of(self);
        let order = SortOrder::new(&self.sort, &self.schema);
        match self.kept_rows().and_then(|rows| usize::try_from(rows).ok()) {
            Some(0) => {}
            Some(rows) => {
                let mut top = TopRows::new(order, rows);
                self.matching(source, &mut outcome, &mut |row| {
                    top.offer(row);
                    ControlFlow::Continue(())
                })?;
                top.finish(&mut |row| window.pass(row, visit));
            }
            None => {
                let mut sorter = Sorter::new(order);
                self.matching(source, &mut outcome, &mut |row| {
                    sorter.push(row);
                    ControlFlow::Continue(())
                })?;
                sorter.finish(&mut |row| window.pass(row, visit));
            }
        }
        outcome.rows_returned = window.passed;
        Ok(outcome)
    }

    /// Counts the rows of the result, without copying or sorting any.
    ///
    /// # Errors
    ///
    /// What the source reports.
    pub fn count<S: RowSource>(&self, source: &mut S) -> Result<Outcome, S::Error> {
        self.stream(source, &mut |_| ControlFlow::Continue(()))
    }

    fn stream<S: RowSource>(
        &self,
        source: &mut S,
        visit: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>,
    ) -> Result<Outcome, S::Error> {
        let mut outcome = Outcome::default();
        let mut window = Window::of(self);
        if window.left > 0 {
            self.matching(source, &mut outcome, &mut |row| window.pass(row, visit))?;
        }
        outcome.rows_returned = window.passed;
        Ok(outcome)
    }

    /// Calls `take` with each matching row, in the source's order, until it breaks.
    fn matching<S: RowSource>(
        &self,
        source: &mut S,
        outcome: &mut Outcome,
        take: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>,
    ) -> Result<(), S::Error> {
        let mut filter = |row: RowView<'_>| {
            outcome.rows_examined += 1;
            if self.residual.as_ref().is_some_and(|residual| !residual.matches(row)) {
                return ControlFlow::Continue(());
            }
            outcome.rows_matched += 1;
            take(row)
        };
        let keys = match &self.path {
            AccessPath::Nothing => &[],
            AccessPath::Point(key) => std::slice::from_ref(key),
            AccessPath::Points(keys) => &keys[..],
            AccessPath::Scan => return source.scan(self.residual.as_ref(), &mut filter),
        };
        let mut flow = ControlFlow::Continue(());
        for key in keys {
            source.point(key.as_value(), &mut |row| flow = filter(row))?;
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// Offset and limit, applied to rows that come in their final order.
struct Window {
    skip: u64,
    left: u64,
    passed: u64,
}

impl Window {
    fn of(plan: &Plan) -> Self {
        Self { skip: plan.offset, left: plan.limit.unwrap_or(u64::MAX), passed: 0 }
    }

    #[inline]
    fn pass(
        &mut self,
        row: RowView<'_>,
        visit: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if self.skip > 0 {
            self.skip -= 1;
            return ControlFlow::Continue(());
        }
        if self.left == 0 {
            return ControlFlow::Break(());
        }
        self.left -= 1;
        self.passed += 1;
        let flow = visit(row);
        if self.left == 0 { ControlFlow::Break(()) } else { flow }
    }
}

#[cfg(test)]
mod tests;
