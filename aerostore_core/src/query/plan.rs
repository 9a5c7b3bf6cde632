//! Plans: a query checked against a schema, with all that can be known before statistics are.
//!
//! The way to the rows is a [`Route`], chosen anew at each run: indexes come and go, and what is cheapest changes with the data.

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::bind::find_column;
use super::error::QueryError;
use super::field::Field;
use super::keys::KeySet;
use super::planner::{self, Wanted};
use super::predicate::{Node, Predicate};
use super::ranges::RangeSet;
use super::route::Route;
use super::source::TableStatistics;
use super::syntax::{Query, SortKey};
use crate::row::Schema;

/// A column to sort by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SortColumn {
    pub(super) field: Field,
    pub(super) descending: bool,
}

/// What a condition says about one of its columns.
#[derive(Clone, Debug)]
pub(super) struct ColumnKeys {
    pub(super) column: usize,
    /// The keys of rows that may pass.
    pub(super) ranges: RangeSet,
    /// For each conjunct, whether it says anything about the column.
    pub(super) narrows: Vec<bool>,
    /// For each conjunct, whether it holds for every row with a key in `ranges`.
    pub(super) implied: Vec<bool>,
}

/// A condition taken apart: terms that must all hold, and what they say about each column.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub(super) conjuncts: Vec<Node>,
    pub(super) columns: Vec<ColumnKeys>,
}

impl Scope {
    pub(super) fn new(conjuncts: Vec<Node>) -> Self {
        let mut columns = Vec::new();
        for node in &conjuncts {
            node.collect_columns(&mut columns);
        }
        columns.sort_unstable();
        let keys = |column| {
            let sets: Vec<KeySet> = conjuncts.iter().map(|node| KeySet::of(node, column)).collect();
            let all = RangeSet::all();
            ColumnKeys {
                column,
                narrows: sets.iter().map(|set| !set.ranges.is_all()).collect(),
                implied: sets.iter().map(|set| set.exact).collect(),
                ranges: sets.iter().fold(all, |common, set| common.intersect(&set.ranges)),
            }
        };
        let columns = columns.into_iter().map(keys).collect();
        Self { conjuncts, columns }
    }

    pub(super) fn keys(&self, column: usize) -> Option<&ColumnKeys> {
        self.columns.iter().find(|keys| keys.column == column)
    }
}

/// A query ready to run, any number of times, on rows of one schema.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) schema: Arc<Schema>,
    pub(super) filter: Option<Arc<Predicate>>,
    pub(super) scope: Scope,
    pub(super) sort: Vec<SortColumn>,
    pub(super) limit: Option<u64>,
    pub(super) offset: u64,
    pub(super) columns: Vec<usize>,
    /// The column whose index is to be used.
    pub(super) forced: Option<usize>,
    /// The columns that a route may go by.
    pub(super) route_columns: Vec<usize>,
    /// The most threads for a scan, where the query says.
    pub(super) threads: Option<u32>,
}

impl Plan {
    /// Checks `query` against `schema`.
    ///
    /// # Errors
    ///
    /// [`QueryError`] with the term that is wrong.
    pub fn new(schema: &Arc<Schema>, query: Query) -> Result<Self, QueryError> {
        let nulls = query.null_rule.unwrap_or(schema.null_rule());
        let filter = Predicate::new(schema, query.filter, nulls)?;
        let sort: Vec<SortColumn> =
            query.sort.iter().map(|key| sort_column(schema, key)).collect::<Result<_, _>>()?;
        let find = |name: &String| find_column(schema, name, || name.clone());
        let columns = match &query.columns {
            Some(names) => names.iter().map(find).collect::<Result<_, _>>()?,
            None => (0..schema.columns().len()).collect(),
        };
        let forced = query.index.as_ref().map(find).transpose()?;
        let scope = Scope::new(filter.node.conjuncts().to_vec());
        let mut route_columns: Vec<usize> = scope.columns.iter().map(|keys| keys.column).collect();
        route_columns.extend(sort.first().map(|first| first.field.index()));
        route_columns.extend(forced);
        Ok(Self {
            schema: Arc::clone(schema),
            scope,
            filter: (!filter.node.conjuncts().is_empty()).then(|| Arc::new(filter)),
            sort,
            limit: query.limit,
            offset: query.offset,
            columns,
            forced,
            route_columns,
            threads: query.threads,
        })
    }

    /// The way to the rows that is cheapest by these statistics.
    ///
    /// # Errors
    ///
    /// [`QueryError::NoIndex`] or [`QueryError::HashIndex`] when the query names an index that cannot be used.
    pub fn route(&self, statistics: &TableStatistics) -> Result<Route, QueryError> {
        planner::route(self, statistics, Wanted::Rows)
    }

    /// The same when rows are only to be counted, so that their order does not matter.
    ///
    /// # Errors
    ///
    /// As for [`route`](Self::route).
    pub fn route_to_count(&self, statistics: &TableStatistics) -> Result<Route, QueryError> {
        planner::route(self, statistics, Wanted::Count)
    }

    /// The schema of the rows.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// The whole condition; `None` when every row passes.
    pub fn filter(&self) -> Option<&Arc<Predicate>> {
        self.filter.as_ref()
    }

    /// The columns that are wanted, in the order in which they are.
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// Most rows that the query can yield, where it says so.
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// How many rows of the result are left out at its start.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the result has an order of its own.
    pub fn is_sorted(&self) -> bool {
        !self.sort.is_empty()
    }

    /// Whether the condition names one primary key, and nothing is left to choose.
    pub(super) fn is_point(&self) -> bool {
        let key = self.scope.keys(self.schema.key_index());
        let is_single =
            |keys: &ColumnKeys| matches!(keys.ranges.ranges(), [range] if range.single().is_some());
        self.forced.is_none() && key.is_some_and(is_single)
    }

    /// How many rows must be kept to sort; `None` when all that match.
    pub(super) fn kept_rows(&self) -> Option<u64> {
        self.limit.map(|limit| limit.saturating_add(self.offset))
    }
}

fn sort_column(schema: &Schema, key: &SortKey) -> Result<SortColumn, QueryError> {
    let quoted = || format!("{}{}", if key.descending { "-" } else { "" }, key.column);
    let index = find_column(schema, &key.column, quoted)?;
    Ok(SortColumn { field: Field::new(schema, index), descending: key.descending })
}
