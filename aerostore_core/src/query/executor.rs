//! Runs a plan: rows from a source, through the filter, in order, out to a visitor.
//!
//! Shape       without a sort, rows stream to the visitor as they come and the source is stopped at the limit. With a sort
//!             and a limit, a bounded heap keeps the rows that can still come out; with a sort alone, all matching rows
//!             are copied and sorted. Where rows come in the order of the first sort column, that is done for each group of
//!             rows that tie in it. Counting copies nothing and sorts nothing.
//! Order       nulls last when ascending, first when descending. Rows that tie come out as the source gave them.

#![forbid(unsafe_code)]

use std::cmp::Ordering;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::field::Field;
use super::kept::{FEW_ROWS, Found};
use super::places::Places;
use super::plan::Plan;
use super::planner::{self, Wanted};
use super::predicate::Predicate;
use super::route::{AccessPath, IndexPath, Route};
use super::shared_scan;
use super::sort::{Kept, SortOrder};
use super::source::{IndexScan, RowSet, RowSource, Standing, TableStatistics};
use crate::row::{RowView, Schema};

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

/// Where the rows of a result go.
pub(super) enum Sink<'v> {
    /// They are counted, so nobody asks for their order.
    Count,
    /// To a visitor, until it breaks.
    Visit(&'v mut dyn FnMut(RowView<'_>) -> ControlFlow<()>),
}

/// What a run did at each step of its path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) outcome: Outcome,
    /// Rows examined in each branch of a union.
    pub(super) branches: Vec<u64>,
    /// Rows of those that matched and had not been given by a branch before.
    pub(super) matched: Vec<u64>,
    /// Entries read of each index that only names rows.
    pub(super) entries: Vec<u64>,
    /// Threads that went through the rows together, where there were several.
    pub(super) threads: u32,
}

/// A route for one run.
pub(super) struct Chosen {
    pub(super) route: Route,
    wanted: Wanted,
    /// Whether the way was kept from a run before.
    pub(super) is_kept: bool,
}

impl Plan {
    /// Calls `visit` with each row of the result, in order, until it breaks.
    ///
    /// # Errors
    ///
    /// What the source reports; [`QueryError`](super::QueryError) when the index that the query names cannot be used. The visitor
    /// may have seen rows by then.
    pub fn run<S: RowSource>(
        &self,
        source: &mut S,
        visit: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>,
    ) -> Result<Outcome, S::Error> {
        let chosen = self.choose(source, Wanted::Rows)?;
        Ok(self.run_chosen(&chosen, source, Sink::Visit(visit))?.outcome)
    }

    /// Counts the rows of the result, without copying or sorting any.
    ///
    /// # Errors
    ///
    /// As for [`run`](Self::run).
    pub fn count<S: RowSource>(&self, source: &mut S) -> Result<Outcome, S::Error> {
        let chosen = self.choose(source, Wanted::Count)?;
        Ok(self.run_chosen(&chosen, source, Sink::Count)?.outcome)
    }

    /// A route for one run: by the way that was kept, or by the cheapest one, which is kept for the next.
    pub(super) fn choose<S: RowSource>(&self, source: &mut S, wanted: Wanted) -> Result<Chosen, S::Error> {
        if self.is_point() {
            // There is nothing to choose.
            let (route, _) = planner::route(self, &TableStatistics::default(), wanted)?;
            return Ok(Chosen { route, wanted, is_kept: false });
        }
        let kept = &self.form.kept;
        // Before the statistics: what changes in between is another standing at the next run.
        let standing = if kept.is_first(wanted) { None } else { Some(source.standing()?) };
        let found = standing.and_then(|standing| kept.take(wanted, standing));
        if let Some(route) = found.and_then(|found| self.route_kept(&found, wanted)) {
            return Ok(Chosen { route, wanted, is_kept: true });
        }
        self.choose_anew(source, wanted, standing)
    }

    /// By the cheapest way; it is kept for a table that stands so, if that is known.
    pub(super) fn choose_anew<S: RowSource>(
        &self,
        source: &mut S,
        wanted: Wanted,
        standing: Option<Standing>,
    ) -> Result<Chosen, S::Error> {
        let statistics = source.statistics(&self.form.route_columns)?;
        let (route, way) = planner::route(self, &statistics, wanted)?;
        if let (Some(standing), Some(way)) = (standing, way)
            && route.examined <= FEW_ROWS
        {
            self.form.kept.put(wanted, Found { way, statistics, standing });
        }
        Ok(Chosen { route, wanted, is_kept: false })
    }

    /// By a way that is kept, if these operands have it and few rows to look at by it (L3).
    pub(super) fn route_kept(&self, found: &Found, wanted: Wanted) -> Option<Route> {
        planner::route_kept(self, found, wanted).filter(|route| route.examined <= FEW_ROWS)
    }

    /// Runs the plan by what was chosen.
    pub(super) fn run_chosen<S: RowSource>(
        &self,
        chosen: &Chosen,
        source: &mut S,
        sink: Sink<'_>,
    ) -> Result<Tally, S::Error> {
        let tally = self.run_by(&chosen.route, source, sink)?;
        if chosen.route.examined <= FEW_ROWS && tally.outcome.rows_examined > FEW_ROWS {
            self.form.kept.forget(chosen.wanted);
        }
        Ok(tally)
    }

    pub(super) fn run_by<S: RowSource>(
        &self,
        route: &Route,
        source: &mut S,
        sink: Sink<'_>,
    ) -> Result<Tally, S::Error> {
        let mut tally = Tally::default();
        let mut window =
            Window { skip: self.form.offset, left: self.form.limit.unwrap_or(u64::MAX), passed: 0 };
        if window.left == 0 {
            return Ok(tally);
        }
        if route.threads > 1 {
            shared_scan::run(self, route, source, sink, &mut window, &mut tally)?;
            tally.outcome.rows_returned = window.passed;
            return Ok(tally);
        }
        let visit = match sink {
            Sink::Visit(visit) => visit,
            Sink::Count if self.form.limit.is_none() && !matches!(route.path, AccessPath::Union(_)) => {
                let mut ask = |filter: &mut Filter<'_>, rows: &[RowView<'_>]| {
                    filter.count(rows);
                    ControlFlow::Continue(())
                };
                let _ = reach(&route.path, route.residual.as_ref(), None, source, &mut tally, &mut ask)?;
                window.count(tally.outcome.rows_matched);
                tally.outcome.rows_returned = window.passed;
                return Ok(tally);
            }
            Sink::Count => &mut |_: RowView<'_>| ControlFlow::Continue(()),
        };
        if route.sort.is_empty() {
            walk(route, source, &mut tally, &mut |row| window.pass(row, visit))?;
        } else if let Some(field) = route.group_field() {
            let mut groups = Groups::new(self, route, field);
            walk(route, source, &mut tally, &mut |row| groups.take(row, &mut window, visit))?;
            let _ = groups.flush(&mut window, visit);
        } else {
            let mut kept = self.kept(route);
            walk(route, source, &mut tally, &mut |row| {
                kept.push(row);
                ControlFlow::Continue(())
            })?;
            let _ = kept.finish(&mut |row| window.pass(row, visit));
        }
        tally.outcome.rows_returned = window.passed;
        Ok(tally)
    }

    /// Rows to be sorted as `route` says, none yet.
    pub(super) fn kept<'p>(&'p self, route: &'p Route) -> Kept<'p> {
        let most = self.kept_rows().and_then(|rows| usize::try_from(rows).ok());
        Kept::new(SortOrder::new(&route.sort, &self.form.schema), most)
    }
}

/// What rows are asked besides, and how many were.
pub(super) struct Filter<'p> {
    pub(super) residual: Option<&'p Arc<Predicate>>,
    pub(super) examined: u64,
    pub(super) matched: u64,
    /// Whether one has broken.
    pub(super) flow: ControlFlow<()>,
}

impl<'p> Filter<'p> {
    pub(super) fn new(residual: Option<&'p Arc<Predicate>>) -> Self {
        Self { residual, examined: 0, matched: 0, flow: ControlFlow::Continue(()) }
    }

    /// Calls `take` with each of the rows that passes, until it breaks: then says at which.
    #[inline]
    pub(super) fn pass(
        &mut self,
        rows: &[RowView<'_>],
        mut take: impl FnMut(RowView<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<usize> {
        for (number, rows) in rows.chunks(Places::MAX).enumerate() {
            for place in self.passing(rows).iter() {
                self.matched += 1;
                self.flow = take(rows[place]);
                if self.flow.is_break() {
                    self.examined += place as u64 + 1;
                    return ControlFlow::Break(number * Places::MAX + place);
                }
            }
            self.examined += rows.len() as u64;
        }
        ControlFlow::Continue(())
    }

    /// Counts those that pass, and takes them no further.
    #[inline]
    pub(super) fn count(&mut self, rows: &[RowView<'_>]) {
        for rows in rows.chunks(Places::MAX) {
            self.matched += self.passing(rows).len();
        }
        self.examined += rows.len() as u64;
    }

    /// Those of at most [`Places::MAX`] rows that pass.
    #[inline]
    fn passing(&self, rows: &[RowView<'_>]) -> Places {
        self.residual.map_or(Places::first(rows.len()), |residual| residual.select(rows))
    }
}

/// Calls `take` with each matching row, in the order of the path, until it breaks.
fn walk<S: RowSource>(
    route: &Route,
    source: &mut S,
    tally: &mut Tally,
    take: &mut impl FnMut(RowView<'_>) -> ControlFlow<()>,
) -> Result<(), S::Error> {
    let expected = route.stops_early.then_some(route.examined);
    let AccessPath::Union(branches) = &route.path else {
        let mut ask = |filter: &mut Filter<'_>, rows: &[RowView<'_>]| filter.pass(rows, &mut *take);
        return reach(&route.path, route.residual.as_ref(), expected, source, tally, &mut ask).map(drop);
    };
    for branch in branches {
        let before = tally.outcome;
        let mut repeated = 0;
        let mut first = |row: RowView<'_>| {
            if branch.given.as_ref().is_some_and(|given| given.matches(row)) {
                repeated += 1;
                return ControlFlow::Continue(());
            }
            take(row)
        };
        let mut ask = |filter: &mut Filter<'_>, rows: &[RowView<'_>]| filter.pass(rows, &mut first);
        let flow = reach(&branch.path, branch.residual.as_ref(), expected, source, tally, &mut ask)?;
        tally.outcome.rows_matched -= repeated;
        tally.branches.push(tally.outcome.rows_examined - before.rows_examined);
        tally.matched.push(tally.outcome.rows_matched - before.rows_matched);
        if flow.is_break() {
            break;
        }
    }
    Ok(())
}

/// Calls `ask` with the rows of a path that is no union, some at a time, and what they are to be asked, until it breaks; says whether it did.
fn reach<S: RowSource>(
    path: &AccessPath,
    residual: Option<&Arc<Predicate>>,
    expected: Option<u64>,
    source: &mut S,
    tally: &mut Tally,
    ask: &mut impl FnMut(&mut Filter<'_>, &[RowView<'_>]) -> ControlFlow<usize>,
) -> Result<ControlFlow<()>, S::Error> {
    let Tally { outcome, entries, .. } = tally;
    let mut asked = Filter::new(residual);
    let mut filter = |rows: &[RowView<'_>]| ask(&mut asked, rows);
    match path {
        AccessPath::Nothing | AccessPath::Union(_) => {}
        AccessPath::Scan => source.scan(residual, &mut filter)?,
        AccessPath::Point(key) => source.point(key.as_value(), &mut |row| {
            let _ = filter(&[row]);
        })?,
        AccessPath::Points(keys) => {
            for key in keys {
                let mut here = ControlFlow::Continue(());
                source.point(key.as_value(), &mut |row| here = filter(&[row]))?;
                if here.is_break() {
                    break;
                }
            }
        }
        AccessPath::Index(path) => {
            let among = among(path, source, entries)?;
            let mut ranges: Vec<_> = path.ranges.iter().collect();
            if path.descending {
                ranges.reverse();
            }
            for range in ranges {
                let (column, descending) = (path.column, path.descending);
                let scan = IndexScan {
                    column,
                    range,
                    descending,
                    filter: residual,
                    among: among.as_ref(),
                    expected,
                };
                let mut here = ControlFlow::Continue(());
                source.index_scan(&scan, &mut |rows| {
                    here = filter(rows);
                    here
                })?;
                if here.is_break() {
                    break;
                }
            }
        }
    }
    outcome.rows_examined += asked.examined;
    outcome.rows_matched += asked.matched;
    Ok(asked.flow)
}

/// The rows that every other index names, if there are such indexes.
fn among<S: RowSource>(
    path: &IndexPath,
    source: &mut S,
    entries: &mut Vec<u64>,
) -> Result<Option<RowSet>, S::Error> {
    let mut common: Option<RowSet> = None;
    for other in &path.among {
        let mut rows = RowSet::default();
        let mut read = 0;
        for range in &other.ranges {
            source.index_rows(other.column, range, &mut |row| {
                read += 1;
                if common.as_ref().is_none_or(|common| common.contains(row)) {
                    rows.insert(row);
                }
            })?;
        }
        entries.push(read);
        common = Some(rows);
    }
    Ok(common)
}

/// Rows that come in the order of one column, sorted by others within its groups.
struct Groups<'p> {
    field: Field,
    schema: &'p Schema,
    kept: Kept<'p>,
    /// A row of the current group.
    sample: Vec<u8>,
}

impl<'p> Groups<'p> {
    fn new(plan: &'p Plan, route: &'p Route, field: Field) -> Self {
        Self { field, schema: &plan.form.schema, kept: plan.kept(route), sample: Vec::new() }
    }

    fn take(
        &mut self,
        row: RowView<'_>,
        window: &mut Window,
        visit: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let same = RowView::new(self.schema, &self.sample)
            .is_ok_and(|sample| self.field.compare(sample, row) == Ordering::Equal);
        if !same {
            self.flush(window, visit)?;
            self.sample.clear();
            self.sample.extend_from_slice(row.bytes());
        }
        self.kept.push(row);
        ControlFlow::Continue(())
    }

    fn flush(
        &mut self,
        window: &mut Window,
        visit: &mut dyn FnMut(RowView<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if window.left == 0 {
            return ControlFlow::Break(());
        }
        self.kept.finish(&mut |row| window.pass(row, visit))
    }
}

/// Offset and limit, applied to rows that come in their final order.
pub(super) struct Window {
    skip: u64,
    left: u64,
    passed: u64,
}

impl Window {
    /// How many rows have to come until no more are wanted.
    pub(super) fn wanted(&self) -> u64 {
        self.left.saturating_add(self.skip)
    }

    /// So many rows go by, without a look at them.
    pub(super) fn count(&mut self, rows: u64) {
        let rows = rows - rows.min(self.skip);
        self.passed += rows.min(self.left);
    }

    #[inline]
    pub(super) fn pass(
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
        if flow.is_break() {
            // Whatever still comes of a group is not wanted either.
            self.left = 0;
        }
        if self.left == 0 { ControlFlow::Break(()) } else { flow }
    }
}

#[cfg(test)]
mod tests;
