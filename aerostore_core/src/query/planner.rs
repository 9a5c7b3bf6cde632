//! The planner: pure rules from a plan and statistics to the cheapest route.
//!
//! Rules       P1: what a condition says about a column is a set of keys (`keys`); where one is empty, no row can match. P2: rows
//!             are reached by single primary keys, by ranges of one index, by that and the entries of others, by the branches of
//!             an `any` each of which has such a way, or by a scan. P3: terms that the keys imply are not asked again. P4: an
//!             index walked in the order of the first sort column leaves only ties to sort; columns with one possible
//!             value need no sorting, nor do those behind the primary key. P5: where rows come in order, a limit ends the
//!             walk, so it costs what the limit needs. P6: the least estimated cost wins, then the lower column, so the
//!             order of terms and of indexes decides nothing.
//!             P7: a scan takes another thread as long as that makes it shorter: each costs its start, and rows that go out as they come
//!             have to be handed over by those who do not run the plan.
//! Costs       see `costs`.

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::bind::column_list;
use super::costs::{
    ENTRY, FETCH_ROW, HAND_OVER, HASH_SEEK, OFFER, POINT, RECALL, REMEMBER, SCAN, SCAN_ROW, SEEK, SORT_ROW,
    SORT_STEP, THREAD,
};
use super::error::QueryError;
use super::kept::{self, Found};
use super::plan::{ColumnKeys, Plan, Scope, SortColumn};
use super::predicate::{Node, Predicate};
use super::ranges::RangeSet;
use super::route::{AccessPath, Among, Branch, IndexPath, Route};
use super::source::{IndexStatistics, TableStatistics};
use super::stats::{count, rounded, rows_in, selectivity};
use crate::index::key::key_value;
use crate::row::{IndexKind, OwnedValue, Schema};

/// What is wanted of the rows.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Wanted {
    /// Their number.
    Count,
    /// The rows, in order.
    Rows,
}

/// The cheapest route of `plan`, and which kind of way it is, if that can be kept.
pub(super) fn route(
    plan: &Plan,
    statistics: &TableStatistics,
    wanted: Wanted,
) -> Result<(Route, Option<kept::Way>), QueryError> {
    if is_never(plan) {
        return Ok((nothing(), None));
    }
    let planner = Planner::new(plan, statistics, wanted);
    let ways = match plan.form.forced {
        Some(column) => vec![planner.forced(column)?],
        None => planner.ways(),
    };
    let cheapest = ways.into_iter().min_by(|a, b| a.cost.total_cmp(&b.cost));
    let kind = cheapest.as_ref().and_then(|way| planner.kind(way));
    Ok((cheapest.map_or_else(nothing, |way| planner.build(way)), kind))
}

/// The route of `plan` by a way of a kind that was cheapest for other operands; `None` where these have no such way.
pub(super) fn route_kept(plan: &Plan, found: &Found, wanted: Wanted) -> Option<Route> {
    if is_never(plan) {
        return Some(nothing());
    }
    let planner = Planner::new(plan, &found.statistics, wanted);
    let index = |column| found.statistics.indexes.iter().find(|index| index.column == column);
    let way = match found.way {
        kept::Way::Points => planner.points(&plan.scope),
        kept::Way::Narrow(column) => planner.narrowing(&plan.scope, index(column)?),
        kept::Way::Whole(column) => planner.ordering(index(column)?),
        kept::Way::Scan => Some(planner.scan()),
    };
    way.map(|way| planner.build(way))
}

/// Whether no row can match (P1).
fn is_never(plan: &Plan) -> bool {
    let never = |node: &Node| matches!(node, Node::Any(nodes) if nodes.is_empty());
    plan.scope.columns.iter().any(|keys| keys.ranges.is_empty()) || plan.scope.conjuncts.iter().any(never)
}

fn nothing() -> Route {
    Route {
        path: AccessPath::Nothing,
        residual: None,
        sort: Vec::new(),
        grouped: None,
        stops_early: false,
        threads: 1,
        examined: 0,
        matched: 0,
    }
}

/// The sort columns that decide anything (P4).
fn needed_sort(plan: &Plan) -> Vec<SortColumn> {
    let mut needed: Vec<SortColumn> = Vec::with_capacity(plan.form.sort.len());
    for column in &plan.form.sort {
        let index = column.field.index();
        let is_constant = plan
            .scope
            .keys(index)
            .is_some_and(|keys| matches!(keys.ranges.ranges(), [range] if range.single().is_some()));
        if is_constant || needed.iter().any(|earlier| earlier.field == column.field) {
            continue;
        }
        needed.push(*column);
        if index == plan.form.schema.key_index() {
            break;
        }
    }
    needed
}

/// A way to the rows, with its price.
struct Way<'p> {
    kind: WayKind<'p>,
    order: Order,
    /// Rows looked at.
    examined: f64,
    cost: f64,
    threads: u32,
}

enum WayKind<'p> {
    Scan,
    Points(Vec<OwnedValue>),
    Index { index: &'p IndexStatistics, ranges: RangeSet, among: Vec<(&'p IndexStatistics, f64)> },
    Union { conjunct: usize, parts: Vec<(Scope, Way<'p>)> },
}

/// In which order a way gives rows.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    /// None that is of use.
    Any,
    /// By the first sort column.
    Groups,
    /// By all sort columns.
    Sorted,
}

struct Planner<'p> {
    plan: &'p Plan,
    statistics: &'p TableStatistics,
    wanted: Wanted,
    sort: Vec<SortColumn>,
    /// How many rows of the table the whole condition lets through.
    matched: f64,
}

impl<'p> Planner<'p> {
    fn new(plan: &'p Plan, statistics: &'p TableStatistics, wanted: Wanted) -> Self {
        let sort = if wanted == Wanted::Count { Vec::new() } else { needed_sort(plan) };
        let mut planner = Planner { plan, statistics, wanted, sort, matched: 0.0 };
        planner.matched = planner.matched_in(&plan.scope);
        planner
    }

    /// Which kind of way it is, if another plan with other operands could take it, too.
    fn kind(&self, way: &Way<'p>) -> Option<kept::Way> {
        match &way.kind {
            WayKind::Points(_) => Some(kept::Way::Points),
            WayKind::Scan => (way.threads == 1).then_some(kept::Way::Scan),
            WayKind::Index { among, .. } if !among.is_empty() => None,
            WayKind::Index { index, .. } => {
                let narrows = self.plan.scope.keys(index.column).is_some_and(|keys| usable(index, keys));
                Some(if narrows { kept::Way::Narrow(index.column) } else { kept::Way::Whole(index.column) })
            }
            WayKind::Union { .. } => None,
        }
    }

    /// Every way that could be the cheapest; those that win a tie first.
    fn ways(&self) -> Vec<Way<'p>> {
        let scope = &self.plan.scope;
        let mut ways: Vec<Way<'p>> = self.points(scope).into_iter().collect();
        if matches!(&ways[..], [Way { kind: WayKind::Points(keys), .. }] if keys.len() < 2) {
            return ways;
        }
        let indexes = self.indexes();
        let narrow = indexes.iter().filter_map(|index| self.narrowing(scope, index));
        ways.extend(narrow.map(|way| self.thinned(way)));
        ways.extend(indexes.iter().filter_map(|index| self.ordering(index)));
        let conjuncts = 0..scope.conjuncts.len();
        ways.extend(conjuncts.filter_map(|conjunct| self.union(conjunct)));
        ways.push(self.scan());
        ways
    }

    /// The indexes, by column.
    fn indexes(&self) -> Vec<&'p IndexStatistics> {
        let mut indexes: Vec<&IndexStatistics> = self.statistics.indexes.iter().collect();
        indexes.sort_unstable_by_key(|index| index.column);
        indexes
    }

    fn forced(&self, column: usize) -> Result<Way<'p>, QueryError> {
        let (scope, schema) = (&self.plan.scope, &self.plan.form.schema);
        let by_key = if column == schema.key_index() { self.points(scope) } else { None };
        let name = || schema.column(column).name().to_owned();
        let index = self.statistics.indexes.iter().find(|index| index.column == column);
        match (by_key, index) {
            (Some(way), _) => Ok(way),
            (None, Some(index)) => self
                .narrowing(scope, index)
                .or_else(|| self.whole(index))
                .ok_or_else(|| QueryError::HashIndex { column: name(), table: schema.name().to_owned() }),
            (None, None) if column == schema.key_index() => {
                Err(QueryError::HashIndex { column: name(), table: schema.name().to_owned() })
            }
            (None, None) => {
                let indexed: Vec<&str> =
                    self.indexes().iter().map(|index| schema.column(index.column).name()).collect();
                let (table, indexed) = (schema.name().to_owned(), column_list(&indexed));
                Err(QueryError::NoIndex { column: name(), table, indexed })
            }
        }
    }

    /// By the primary keys that the condition names.
    fn points(&self, scope: &Scope) -> Option<Way<'p>> {
        let column = self.plan.form.schema.key_index();
        let keys = scope.keys(column).filter(|keys| keys.ranges.is_points())?;
        let values = key_values(&self.plan.form.schema, &keys.ranges);
        let entries = count(values.len() as u64);
        let order = if self.sort.is_empty() { Order::Sorted } else { Order::Any };
        Some(self.priced(WayKind::Points(values), order, entries, POINT, 0.0))
    }

    fn scan(&self) -> Way<'p> {
        let order = if self.sort.is_empty() { Order::Sorted } else { Order::Any };
        self.shared(self.priced(WayKind::Scan, order, count(self.statistics.rows), SCAN_ROW, SCAN))
    }

    /// A scan by as many threads as pay (P7).
    fn shared(&self, mut way: Way<'p>) -> Way<'p> {
        let most = self.plan.form.threads.unwrap_or(self.statistics.threads).max(1);
        let alone = way.examined * SCAN_ROW;
        // The last of them saves what `alone` is more among one less than among all.
        let pays = |threads: u32| alone / (f64::from(threads) * f64::from(threads - 1)) > THREAD;
        let threads = (2..=most).take_while(|threads| pays(*threads)).last().unwrap_or(1);
        let handed_over = match self.wanted {
            Wanted::Rows if self.sort.is_empty() => {
                let given =
                    self.plan.kept_rows().map_or(self.matched, |wanted| self.matched.min(count(wanted)));
                given.min(way.examined) * HAND_OVER
            }
            _ => 0.0,
        };
        let saved = alone - alone / f64::from(threads) - THREAD * f64::from(threads - 1) - handed_over;
        if threads > 1 && saved > 0.0 {
            way.threads = threads;
            way.cost -= saved;
        }
        way
    }

    /// By the ranges of an index that the condition names.
    fn narrowing(&self, scope: &Scope, index: &'p IndexStatistics) -> Option<Way<'p>> {
        let keys = scope.keys(index.column).filter(|keys| usable(index, keys))?;
        Some(self.walk(index, keys.ranges.clone()))
    }

    /// By a whole index, for its order.
    fn ordering(&self, index: &'p IndexStatistics) -> Option<Way<'p>> {
        let first = self.sort.first()?.field.index();
        let narrows = self.plan.scope.keys(index.column).is_some_and(|keys| usable(index, keys));
        if first == index.column && !narrows { self.whole(index) } else { None }
    }

    fn whole(&self, index: &'p IndexStatistics) -> Option<Way<'p>> {
        (index.kind == IndexKind::Ordered).then(|| self.walk(index, RangeSet::all()))
    }

    fn walk(&self, index: &'p IndexStatistics, ranges: RangeSet) -> Way<'p> {
        let order = match self.sort.split_first() {
            None => Order::Sorted,
            Some((first, rest))
                if first.field.index() == index.column && index.kind == IndexKind::Ordered =>
            {
                let is_key = index.column == self.plan.form.schema.key_index();
                if rest.is_empty() || is_key { Order::Sorted } else { Order::Groups }
            }
            Some(_) => Order::Any,
        };
        let entries = self.rows_in(index, &ranges);
        let seeks = seeks(index, &ranges);
        self.priced(
            WayKind::Index { index, ranges, among: Vec::new() },
            order,
            entries,
            FETCH_ROW + ENTRY,
            seeks,
        )
    }

    /// Lets the entries of other indexes spare rows, as long as that is cheaper.
    fn thinned(&self, mut way: Way<'p>) -> Way<'p> {
        let scope = &self.plan.scope;
        let WayKind::Index { index: walked, among, .. } = &mut way.kind else { return way };
        let rows = count(self.statistics.rows.max(1));
        let usable_keys = |index: &&'p IndexStatistics| {
            scope
                .keys(index.column)
                .filter(|keys| usable(index, keys))
                .map(|keys| self.rows_in(index, &keys.ranges))
        };
        let mut others: Vec<(&IndexStatistics, f64)> = self
            .indexes()
            .into_iter()
            .filter(|index| index.column != walked.column)
            .filter_map(|index| Some((index, usable_keys(&index)?)))
            .collect();
        others.sort_by(|a, b| a.1.total_cmp(&b.1));
        let entries = way.examined;
        for (index, named) in others {
            let kept = (named / rows).min(1.0);
            let seeks = scope.keys(index.column).map_or(0.0, |keys| seeks(index, &keys.ranges));
            let price = seeks + named * (ENTRY + REMEMBER) + entries * RECALL;
            let saved = way.examined * (1.0 - kept) * FETCH_ROW;
            if price < saved {
                among.push((index, named));
                way.examined *= kept;
                way.cost += price - saved;
            }
        }
        way
    }

    /// By the parts of an `any`, when each has a way of its own.
    fn union(&self, conjunct: usize) -> Option<Way<'p>> {
        let Node::Any(nodes) = &self.plan.scope.conjuncts[conjunct] else { return None };
        let mut parts = Vec::with_capacity(nodes.len());
        let (mut entries, mut cost) = (0.0, 0.0);
        for node in nodes {
            let scope = Scope::new(node.conjuncts().to_vec());
            if scope.columns.iter().any(|keys| keys.ranges.is_empty()) {
                continue;
            }
            let mut ways: Vec<Way<'p>> = self.points(&scope).into_iter().collect();
            ways.extend(self.indexes().into_iter().filter_map(|index| self.narrowing(&scope, index)));
            let mut way = ways.into_iter().min_by(|a, b| a.cost.total_cmp(&b.cost))?;
            way.examined = self.entries(&way);
            entries += way.examined;
            cost += way.walk_cost();
            parts.push((scope, way));
        }
        let order = if self.sort.is_empty() { Order::Sorted } else { Order::Any };
        let per_row = if entries > 0.0 { cost / entries } else { 0.0 };
        Some(self.priced(WayKind::Union { conjunct, parts }, order, entries, per_row, SEEK))
    }

    /// What a way would look at if no limit ended it.
    fn entries(&self, way: &Way<'p>) -> f64 {
        match &way.kind {
            WayKind::Points(keys) => count(keys.len() as u64),
            WayKind::Index { index, ranges, .. } => self.rows_in(index, ranges),
            WayKind::Scan | WayKind::Union { .. } => way.examined,
        }
    }

    fn rows_in(&self, index: &IndexStatistics, ranges: &RangeSet) -> f64 {
        rows_in(index, self.plan.form.schema.column(index.column).column_type(), ranges)
    }

    /// The price of a way that could look at `entries` rows.
    fn priced(&self, kind: WayKind<'p>, order: Order, entries: f64, per_row: f64, start: f64) -> Way<'p> {
        let matched = self.matched.min(entries);
        let share = if entries > 0.0 { matched / entries } else { 1.0 };
        let wanted = self.plan.kept_rows().map(count);
        let examined = match wanted {
            // A row more, since an estimate of less than one is still a row to look at.
            Some(wanted) if order != Order::Any => entries.min((wanted / share).max(1.0)),
            _ => entries,
        };
        let passing = examined * share;
        let sorting = match (order, wanted) {
            (Order::Sorted, _) => 0.0,
            (Order::Any, Some(wanted)) => passing * OFFER + passing.min(wanted) * SORT_ROW,
            _ => passing * (SORT_ROW + SORT_STEP * passing.max(1.0).log2()),
        };
        Way { kind, order, examined, cost: start + examined * per_row + sorting, threads: 1 }
    }

    /// How many rows of the table a condition lets through.
    fn matched_in(&self, scope: &Scope) -> f64 {
        let rows = count(self.statistics.rows);
        let mut share = 1.0;
        let mut known = vec![false; scope.conjuncts.len()];
        for keys in &scope.columns {
            let index = self.statistics.indexes.iter().find(|index| index.column == keys.column);
            let named = match index {
                // A hash knows no ends, so it says nothing of a range.
                Some(index) if index.kind == IndexKind::Hash && !keys.ranges.is_points() => continue,
                Some(index) => self.rows_in(index, &keys.ranges) / count(index.rows.max(1)),
                None if keys.column == self.plan.form.schema.key_index() && keys.ranges.is_points() => {
                    count(keys.ranges.ranges().len() as u64) / rows.max(1.0)
                }
                None => continue,
            };
            if keys.narrows.contains(&true) {
                share *= named.min(1.0);
                known.iter_mut().zip(&keys.narrows).for_each(|(known, narrows)| *known |= narrows);
            }
        }
        let unknown = scope.conjuncts.iter().zip(&known).filter(|(_, known)| !**known);
        rows * share * unknown.map(|(node, _)| selectivity(node)).product::<f64>()
    }

    fn build(&self, way: Way<'p>) -> Route {
        let Way { kind, order, examined, threads, .. } = way;
        let scope = &self.plan.scope;
        let descending = order != Order::Any && self.sort.first().is_some_and(|first| first.descending);
        let column = kind.column(&self.plan.form.schema);
        let (path, residual) = match kind {
            WayKind::Union { conjunct, parts } => {
                let others = scope.conjuncts.iter().enumerate();
                let others = others.filter(|(index, _)| *index != conjunct).map(|(_, node)| node.clone());
                (AccessPath::Union(self.branches(parts, &others.collect::<Vec<_>>())), None)
            }
            kind => (path(scope, kind, descending), residual(scope, column, &[])),
        };
        let path = match path {
            AccessPath::Points(keys) if keys.is_empty() => return nothing(),
            path => path,
        };
        let (sort, grouped) = match order {
            Order::Sorted => (Vec::new(), None),
            Order::Groups => (self.sort[1..].to_vec(), self.sort.first().copied()),
            Order::Any => (self.sort.clone(), None),
        };
        let stops_early = self.plan.form.limit.is_some() && order != Order::Any;
        let (examined, matched) = (rounded(examined), rounded(self.matched));
        Route { path, residual, sort, grouped, stops_early, threads, examined, matched }
    }

    fn branches(&self, parts: Vec<(Scope, Way<'p>)>, others: &[Node]) -> Vec<Branch> {
        let mut given = Vec::with_capacity(parts.len());
        let mut branches = Vec::with_capacity(parts.len());
        for (scope, way) in parts {
            let column = way.kind.column(&self.plan.form.schema);
            branches.push(Branch {
                residual: residual(&scope, column, others),
                given: (!given.is_empty()).then(|| Predicate::compile(Node::Any(given.clone()))),
                estimated_examined: rounded(way.examined),
                estimated_matched: rounded(self.matched_in(&scope).min(way.examined)),
                path: path(&scope, way.kind, false),
            });
            given.push(Node::All(scope.conjuncts));
        }
        branches
    }
}

impl Way<'_> {
    /// What it costs to look at its rows.
    fn walk_cost(&self) -> f64 {
        match &self.kind {
            WayKind::Index { index, ranges, .. } => {
                seeks(index, ranges) + self.examined * (FETCH_ROW + ENTRY)
            }
            _ => self.examined * POINT,
        }
    }
}

impl WayKind<'_> {
    /// The column whose keys lead to the rows.
    fn column(&self, schema: &Schema) -> Option<usize> {
        match self {
            Self::Scan | Self::Union { .. } => None,
            Self::Points(_) => Some(schema.key_index()),
            Self::Index { index, .. } => Some(index.column),
        }
    }
}

/// The path of a way, all of whose terms are of `scope`.
fn path(scope: &Scope, kind: WayKind<'_>, descending: bool) -> AccessPath {
    match kind {
        WayKind::Scan | WayKind::Union { .. } => AccessPath::Scan,
        WayKind::Points(mut keys) => match (keys.pop(), keys.is_empty()) {
            (Some(key), true) => AccessPath::Point(key),
            (last, _) => {
                keys.extend(last);
                AccessPath::Points(keys)
            }
        },
        WayKind::Index { index, ranges, among } => {
            let among = among.into_iter().filter_map(|(index, named)| {
                let ranges = scope.keys(index.column)?.ranges.ranges().to_vec();
                let estimated_entries = rounded(named);
                Some(Among { column: index.column, kind: index.kind, ranges, estimated_entries })
            });
            let among = among.collect();
            let ranges = ranges.into_ranges();
            let IndexStatistics { column, kind, .. } = *index;
            AccessPath::Index(IndexPath { column, kind, ranges, descending, among })
        }
    }
}

/// What the ways to the beginnings of ranges cost.
fn seeks(index: &IndexStatistics, ranges: &RangeSet) -> f64 {
    let seek = if index.kind == IndexKind::Hash { HASH_SEEK } else { SEEK };
    seek * count(ranges.ranges().len() as u64)
}

/// Whether an index can narrow rows to `keys`.
fn usable(index: &IndexStatistics, keys: &ColumnKeys) -> bool {
    !keys.ranges.is_all() && (index.kind == IndexKind::Ordered || keys.ranges.is_points())
}

/// The values of keys, without those that no row can have: the empty text, and what is too long.
fn key_values(schema: &Schema, ranges: &RangeSet) -> Vec<OwnedValue> {
    let (column, kind) = (schema.key_index(), schema.key_column().column_type());
    let value = |key| key_value(kind, key).ok();
    let possible = |value: &OwnedValue| {
        let value = value.as_value();
        !value.is_null() && value.as_str() != Some("") && schema.coerce(column, value).is_ok()
    };
    let keys = ranges.ranges().iter().filter_map(|range| range.single());
    keys.filter_map(value).filter(possible).collect()
}

/// What is left to ask of rows whose keys in `column` lie in its ranges, and what is to be asked besides.
fn residual(scope: &Scope, column: Option<usize>, others: &[Node]) -> Option<Arc<Predicate>> {
    let keys = column.and_then(|column| scope.keys(column));
    let is_implied = |conjunct: usize| keys.is_some_and(|keys| keys.implied[conjunct]);
    let own = scope.conjuncts.iter().enumerate().filter(|(conjunct, _)| !is_implied(*conjunct));
    let mut nodes: Vec<Node> = own.map(|(_, node)| node).chain(others).cloned().collect();
    if !others.is_empty() {
        nodes.sort_by_key(Node::cost);
    }
    let node = if nodes.len() == 1 { nodes.pop() } else { (!nodes.is_empty()).then_some(Node::All(nodes)) };
    node.map(|node| Arc::new(Predicate::compile(node)))
}

#[cfg(test)]
mod tests;
