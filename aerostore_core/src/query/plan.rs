//! Plans: how a query will be run, in a form that can be printed.

#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;

use super::error::QueryError;
use super::field::Field;
use super::planner;
use super::predicate::Predicate;
use super::syntax::Query;
use crate::row::{OwnedValue, Schema};

/// How rows are reached.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum AccessPath {
    /// No row can match.
    Nothing,
    /// The row with this key, if there is one.
    Point(OwnedValue),
    /// The rows with these keys, in key order, each key once.
    Points(Vec<OwnedValue>),
    /// All rows, in the order in which they lie.
    Scan,
}

/// A column to sort by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SortColumn {
    pub(super) field: Field,
    pub(super) descending: bool,
}

/// A query ready to run, any number of times, on rows of one schema.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) schema: Arc<Schema>,
    pub(super) path: AccessPath,
    pub(super) residual: Option<Arc<Predicate>>,
    pub(super) sort: Vec<SortColumn>,
    pub(super) limit: Option<u64>,
    pub(super) offset: u64,
    pub(super) columns: Vec<usize>,
}

impl Plan {
    /// Checks `query` against `schema` and decides how to run it.
    ///
    /// # Errors
    ///
    /// [`QueryError`] with the term that is wrong.
    pub fn new(schema: &Arc<Schema>, query: Query) -> Result<Self, QueryError> {
        planner::plan(schema, query)
    }

    /// The schema of the rows.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// How rows are reached.
    pub fn access_path(&self) -> &AccessPath {
        &self.path
    }

    /// What rows reached that way are asked besides; `None` when every one of them matches.
    pub fn residual(&self) -> Option<&Arc<Predicate>> {
        self.residual.as_ref()
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

    /// Whether the result has an order of its own, and so needs all matching rows before the first comes out.
    pub fn is_sorted(&self) -> bool {
        !self.sort.is_empty()
    }

    /// How many rows must be kept to sort; `None` when all that match.
    pub(super) fn kept_rows(&self) -> Option<u64> {
        self.limit.and_then(|limit| limit.checked_add(self.offset))
    }
}

/// Several lines, the last step first, each further in than the one it feeds.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut depth = 0;
        let mut step = |f: &mut fmt::Formatter<'_>, text: fmt::Arguments<'_>| {
            let line_end = if depth == 0 { "" } else { "\n" };
            let result = write!(f, "{line_end}{:indent$}{text}", "", indent = 2 * depth);
            depth += 1;
            result
        };
        if self.limit.is_some() || self.offset > 0 {
            let limit = self.limit.map_or_else(|| "all".to_owned(), |limit| limit.to_string());
            step(f, format_args!("limit {limit} offset {}", self.offset))?;
        }
        if self.is_sorted() {
            let how = match self.kept_rows() {
                Some(rows) => format!("top {rows}"),
                None => "sort".to_owned(),
            };
            let keys: Vec<String> = self.sort.iter().map(|key| self.sort_key(*key)).collect();
            step(f, format_args!("{how} by {}", keys.join(", ")))?;
        }
        if let Some(residual) = &self.residual {
            step(f, format_args!("filter {residual}"))?;
        }
        let (table, key) = (self.schema.name(), self.schema.key_column().name());
        match &self.path {
            AccessPath::Nothing => step(f, format_args!("nothing of {table}: no row can match")),
            AccessPath::Point(value) => step(f, format_args!("point of {table}: {key} = {value}")),
            AccessPath::Points(values) => {
                step(f, format_args!("points of {table}: {} values of {key}", values.len()))
            }
            AccessPath::Scan => step(f, format_args!("scan of {table}")),
        }
    }
}

impl Plan {
    fn sort_key(&self, key: SortColumn) -> String {
        let name = self.schema.column(key.field.index()).name();
        if key.descending { format!("{name} descending") } else { name.to_owned() }
    }
}
