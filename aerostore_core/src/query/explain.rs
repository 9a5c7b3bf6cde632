//! Explanations: the steps of a route, with how many rows each was thought to give and how many it gave.

#![forbid(unsafe_code)]

use std::fmt;
use std::ops::ControlFlow;

use super::executor::{Outcome, Sink, Tally};
use super::plan::{Plan, SortColumn};
use super::planner::{self, Wanted};
use super::predicate::Predicate;
use super::ranges::RangeSet;
use super::route::{AccessPath, Branch, Route};
use super::source::{KeyRange, RowSource};
use crate::index::key::{NULL, key_value};
use crate::row::{Column, ColumnType, IndexKind, RowView};

/// The steps of one run, the last first, each further in than the one it feeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explain {
    /// The steps.
    pub steps: Vec<Step>,
    /// What the run did; `None` when there was none.
    pub outcome: Option<Outcome>,
    /// Whether the way to the rows was kept from a run before, and the estimates are by the statistics of then.
    pub is_kept: bool,
}

/// What is done with rows at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it does.
    pub kind: StepKind,
    /// How many steps it is in from the last one.
    pub depth: usize,
    /// With what, for people to read.
    pub detail: String,
    /// The columns whose index or order it uses.
    pub columns: Vec<String>,
    /// Rows it should give, or look at where rows are reached; of entries, how many.
    pub estimated: u64,
    /// The same as it came.
    pub actual: Option<u64>,
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StepKind {
    /// Leaves out rows at the start, and ends after so many.
    Limit,
    /// Sorts all rows that match.
    Sort,
    /// Keeps the first so many rows.
    Top,
    /// Sorts rows that tie in the column by which they come sorted.
    SortGroups,
    /// Asks rows what their keys have not answered.
    Filter,
    /// Gives no row, for none can match.
    Nothing,
    /// Reaches a row by its key.
    Point,
    /// Reaches rows by their keys.
    Points,
    /// Goes through all rows.
    Scan,
    /// Walks ranges of an index.
    Index,
    /// Reads entries of an index, to spare rows that are not among them.
    Among,
    /// Goes several ways, one after the other.
    Union,
}

impl StepKind {
    /// Its name, in explanations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Sort => "sort",
            Self::Top => "top",
            Self::SortGroups => "sort groups",
            Self::Filter => "filter",
            Self::Nothing => "nothing",
            Self::Point => "point",
            Self::Points => "points",
            Self::Scan => "scan",
            Self::Index => "index",
            Self::Among => "among",
            Self::Union => "union",
        }
    }
}

impl Plan {
    /// Explains a route of this plan.
    pub fn explain(&self, route: &Route) -> Explain {
        self.explained(route, None)
    }

    /// Runs the plan, to count its rows or to give them in order, and explains what was done.
    ///
    /// # Errors
    ///
    /// As for [`run`](Self::run).
    pub fn explain_run<S: RowSource>(&self, source: &mut S, counting: bool) -> Result<Explain, S::Error> {
        let wanted = wanted(counting);
        // A run looks up no statistics for one key; who asks is told by them.
        let chosen = if self.is_point() {
            self.choose_anew(source, wanted, None)?
        } else {
            self.choose(source, wanted)?
        };
        let visit = &mut |_: RowView<'_>| ControlFlow::Continue(());
        let sink = if counting { Sink::Count } else { Sink::Visit(visit) };
        let tally = self.run_chosen(&chosen, source, sink)?;
        Ok(Explain { is_kept: chosen.is_kept, ..self.explained(&chosen.route, Some(&tally)) })
    }

    /// Explains what a run would do, by the way that is kept or the statistics of now; no row is looked at.
    ///
    /// # Errors
    ///
    /// When there are no statistics to be had; as for [`route`](Self::route).
    pub fn explain_estimate<S: RowSource>(
        &self,
        source: &mut S,
        counting: bool,
    ) -> Result<Explain, S::Error> {
        let wanted = wanted(counting);
        let kept = self.form.kept.look(wanted, source.standing()?);
        if let Some(route) = kept.and_then(|found| self.route_kept(&found, wanted)) {
            return Ok(Explain { is_kept: true, ..self.explained(&route, None) });
        }
        let statistics = source.statistics(&self.form.route_columns)?;
        let (route, _) = planner::route(self, &statistics, wanted)?;
        Ok(self.explained(&route, None))
    }

    fn explained(&self, route: &Route, tally: Option<&Tally>) -> Explain {
        let mut steps = Told { plan: self, steps: Vec::new(), depth: 0, threads: 1 };
        let outcome = tally.map(|tally| tally.outcome);
        let returned = outcome.map(|outcome| outcome.rows_returned);
        let matched = outcome.map(|outcome| outcome.rows_matched);
        let wanted = self.kept_rows().unwrap_or(u64::MAX);
        let passing = if route.stops_early { route.matched.min(wanted) } else { route.matched };
        if self.form.limit.is_some() || self.form.offset > 0 {
            let limit = self.form.limit.map_or_else(|| "all".to_owned(), |limit| limit.to_string());
            let estimated = passing.saturating_sub(self.form.offset).min(self.form.limit.unwrap_or(u64::MAX));
            steps.add(
                StepKind::Limit,
                format!("{limit} offset {}", self.form.offset),
                &[],
                estimated,
                returned,
            );
        }
        if !route.sort.is_empty() {
            let (kind, many) = match (route.grouped, self.kept_rows()) {
                (Some(_), _) => (StepKind::SortGroups, String::new()),
                (None, Some(rows)) => (StepKind::Top, format!("{rows} ")),
                (None, None) => (StepKind::Sort, String::new()),
            };
            let columns: Vec<usize> = route.sort.iter().map(|column| column.field.index()).collect();
            let names: Vec<String> = route.sort.iter().map(|column| self.sort_key(*column)).collect();
            let detail = format!("{many}by {}", names.join(", "));
            steps.add(kind, detail, &columns, passing.min(wanted), matched.map(|rows| rows.min(wanted)));
        }
        if let Some(residual) = &route.residual {
            steps.add(StepKind::Filter, residual.to_string(), &[], passing, matched);
        }
        let examined = outcome.map(|outcome| outcome.rows_examined);
        let entries = tally.map_or(&[][..], |tally| &tally.entries);
        if let AccessPath::Union(branches) = &route.path {
            let detail = format!("of {}: {} ways", self.form.schema.name(), branches.len());
            steps.add(StepKind::Union, detail, &[], route.examined, examined);
            steps.branches(branches, tally);
        } else {
            steps.threads = tally.map_or(route.threads, |tally| tally.threads);
            steps.path(&route.path, route.examined, examined, entries);
        }
        Explain { steps: steps.steps, outcome, is_kept: false }
    }

    fn sort_key(&self, key: SortColumn) -> String {
        let name = self.form.schema.column(key.field.index()).name();
        if key.descending { format!("{name} descending") } else { name.to_owned() }
    }
}

fn wanted(counting: bool) -> Wanted {
    if counting { Wanted::Count } else { Wanted::Rows }
}

struct Told<'p> {
    plan: &'p Plan,
    steps: Vec<Step>,
    depth: usize,
    /// How many threads scan.
    threads: u32,
}

impl Told<'_> {
    fn add(
        &mut self,
        kind: StepKind,
        detail: String,
        columns: &[usize],
        estimated: u64,
        actual: Option<u64>,
    ) {
        let name = |column: &usize| self.plan.form.schema.column(*column).name().to_owned();
        let columns = columns.iter().map(name).collect();
        self.steps.push(Step { kind, depth: self.depth, detail, columns, estimated, actual });
        self.depth += 1;
    }

    fn path(&mut self, path: &AccessPath, estimated: u64, actual: Option<u64>, entries: &[u64]) {
        let schema = &self.plan.form.schema;
        let (table, key) = (schema.name(), schema.key_column().name());
        let key_column = [schema.key_index()];
        match path {
            AccessPath::Nothing => {
                self.add(StepKind::Nothing, format!("of {table}: no row can match"), &[], 0, actual);
            }
            AccessPath::Point(value) => {
                let detail = format!("of {table}: {key} = {value}");
                self.add(StepKind::Point, detail, &key_column, 1, actual);
            }
            AccessPath::Points(values) => {
                let detail = format!("of {table}: {} values of {key}", values.len());
                self.add(StepKind::Points, detail, &key_column, estimated, actual);
            }
            AccessPath::Scan | AccessPath::Union(_) => {
                let by =
                    if self.threads > 1 { format!(" by {} threads", self.threads) } else { String::new() };
                self.add(StepKind::Scan, format!("of {table}{by}"), &[], estimated, actual);
            }
            AccessPath::Index(path) => {
                let backwards = if path.descending { ", backwards" } else { "" };
                let column = schema.column(path.column);
                let keys = shown(column.column_type(), &path.ranges);
                let detail = format!("of {table} on {}: {keys}{backwards}", named(path.kind, column));
                self.add(StepKind::Index, detail, &[path.column], estimated, actual);
                for (place, among) in path.among.iter().enumerate() {
                    let column = schema.column(among.column);
                    let keys = shown(column.column_type(), &among.ranges);
                    let detail = format!("entries of {}: {keys}", named(among.kind, column));
                    let read = actual.and(entries.get(place).copied());
                    let depth = self.depth;
                    self.add(StepKind::Among, detail, &[among.column], among.estimated_entries, read);
                    self.depth = depth;
                }
            }
        }
    }

    fn branches(&mut self, branches: &[Branch], tally: Option<&Tally>) {
        let depth = self.depth;
        for (place, branch) in branches.iter().enumerate() {
            self.depth = depth;
            // A branch that was not come to has looked at nothing.
            let actual = tally.map(|tally| tally.branches.get(place).copied().unwrap_or(0));
            if let Some(residual) = branch.residual.as_deref().map(Predicate::to_string) {
                let matched = tally.map(|tally| tally.matched.get(place).copied().unwrap_or(0));
                self.add(StepKind::Filter, residual, &[], branch.estimated_matched, matched);
            }
            self.path(&branch.path, branch.estimated_examined, actual, &[]);
        }
    }
}

/// The column of an index, and the index's kind unless it is ordered.
fn named(kind: IndexKind, column: &Column) -> String {
    if kind == IndexKind::Hash { format!("the hash of {}", column.name()) } else { column.name().to_owned() }
}

/// Ranges of keys, for people to read; not all of very many.
fn shown(kind: ColumnType, ranges: &[KeyRange]) -> String {
    const SHOWN: usize = 4;
    if ranges == RangeSet::all().ranges() {
        return "all".to_owned();
    }
    let mut parts: Vec<String> = ranges.iter().take(SHOWN).map(|range| shown_range(kind, range)).collect();
    if ranges.len() > SHOWN {
        parts.push(format!("{} more", ranges.len() - SHOWN));
    }
    parts.join(", ")
}

fn shown_range(kind: ColumnType, range: &KeyRange) -> String {
    let value = |key: &[u8]| key_value(kind, key).ok().map(|value| value.to_string());
    if let Some(only) = range.single().and_then(value) {
        return if only == "\\N" { "null".to_owned() } else { format!("= {only}") };
    }
    let before =
        |key: &[u8]| key.split_last().filter(|(last, _)| **last == 0).and_then(|(_, key)| value(key));
    let low = match &*range.low {
        [] => String::new(),
        key => before(key).map_or_else(
            || format!(">= {}", value(key).unwrap_or_else(|| "?".to_owned())),
            |key| format!("> {key}"),
        ),
    };
    let high = match &*range.high {
        key if *key == NULL => String::new(),
        key if *key > NULL[..] => "or null".to_owned(),
        key => before(key).map_or_else(
            || format!("< {}", value(key).unwrap_or_else(|| "?".to_owned())),
            |key| format!("<= {key}"),
        ),
    };
    match (low.is_empty(), high.is_empty()) {
        (true, true) => "not null".to_owned(),
        (false, false) => format!("{low} {high}"),
        _ => low + &high,
    }
}

/// One line for each step.
impl fmt::Display for Explain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.steps.iter().enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(f, "{line_end}{:indent$}{step}", "", indent = 2 * step.depth)?;
        }
        if self.is_kept { f.write_str("\nby a way kept from before") } else { Ok(()) }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} (estimated {}", self.kind.name(), self.detail, self.estimated)?;
        match self.actual {
            Some(actual) => write!(f, ", actual {actual})"),
            None => f.write_str(")"),
        }
    }
}

#[cfg(test)]
mod tests;
