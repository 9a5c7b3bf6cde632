//! Plans: a query checked against a schema, with all that can be known before statistics are.
//!
//! The way to the rows is a [`Route`], made at each run: indexes come and go, and what is cheapest changes with the data. Which kind of way that is
//! may be [kept](super::kept) from one run to the next, also for other operands.

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::bind::find_column;
use super::error::QueryError;
use super::field::Field;
use super::kept::Kept;
use super::keys::KeySet;
use super::planner::{self, Wanted};
use super::predicate::{Node, Predicate};
use super::ranges::RangeSet;
use super::route::Route;
use super::source::TableStatistics;
use super::syntax::{Expr, Literal, Query, SortKey};
use crate::row::{NullRule, Schema, Value};

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
///
/// Who asks the same with other operands keeps a plan, and has it made again with them: what was checked once is shared, and so is the
/// way to the rows, as long as that leads to few of them and the table stands as it did.
///
/// ```
/// use aerostore_core::db::{Database, TxnOptions};
/// use aerostore_core::query::{Plan, Query};
/// use aerostore_core::row::{Row, speedtable};
///
/// #[speedtable]
/// pub struct Flight {
///     #[column(key, max = 24)]
///     flight_id: String,
///     altitude: Option<i32>,
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("aerostore-example-plan-{}", std::process::id());
/// # let (dir, shm) = (std::env::temp_dir().join(&name), std::path::Path::new("/dev/shm").join(name));
/// # let database = Database::builder(&dir).shm_path(&shm).max_bytes(64 << 20).open()?;
/// let flights = database.create_table(Flight::schema())?;
/// let band = Plan::new(flights.schema(), Query::filtered(Flight::ALTITUDE.range(0, 0)))?;
/// for low in [0, 10_000, 20_000] {
///     let band = band.with_operands([low.into(), (low + 10_000).into()])?;
///     let found = database.begin(TxnOptions::default())?.search_count(&flights, &band)?;
///     assert_eq!(found.rows_returned, 0);
/// }
/// # database.close()?;
/// # std::fs::remove_dir_all(&dir)?;
/// # std::fs::remove_file(&shm)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Plan {
    /// What does not depend on operands.
    pub(super) form: Arc<Form>,
    pub(super) filter: Option<Arc<Predicate>>,
    pub(super) scope: Scope,
}

/// A query without its operands, checked.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) schema: Arc<Schema>,
    /// The condition with some operands.
    filter: Expr,
    nulls: NullRule,
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
    /// Whether the query is for one key, if its operand is one, and nothing else.
    is_for_key: bool,
    pub(super) kept: Kept,
}

impl Plan {
    /// Checks `query` against `schema`.
    ///
    /// # Errors
    ///
    /// [`QueryError`] with the term that is wrong.
    pub fn new(schema: &Arc<Schema>, query: Query) -> Result<Self, QueryError> {
        let nulls = query.null_rule.unwrap_or(schema.null_rule());
        let (filter, scope) = bound(schema, query.filter.clone(), nulls)?;
        let sort: Vec<SortColumn> =
            query.sort.iter().map(|key| sort_column(schema, key)).collect::<Result<_, _>>()?;
        let find = |name: &String| find_column(schema, name, || name.clone());
        let columns = match &query.columns {
            Some(names) => names.iter().map(find).collect::<Result<_, _>>()?,
            None => (0..schema.columns().len()).collect(),
        };
        let forced = query.index.as_ref().map(find).transpose()?;
        let mut route_columns: Vec<usize> = scope.columns.iter().map(|keys| keys.column).collect();
        route_columns.extend(sort.first().map(|first| first.field.index()));
        route_columns.extend(forced);
        let form = Form {
            is_for_key: query.is_for_key(schema),
            schema: Arc::clone(schema),
            filter: query.filter,
            nulls,
            sort,
            limit: query.limit,
            offset: query.offset,
            columns,
            forced,
            route_columns,
            threads: query.threads,
            kept: Kept::default(),
        };
        Ok(Self { form: Arc::new(form), filter, scope })
    }

    /// The same with other operands: those of all terms, in the order in which these were written. A list, as of `in`, has as many members as
    /// it had.
    ///
    /// # Errors
    ///
    /// [`QueryError::Operand`] when one does not go with its column; [`QueryError::Operands`] when they are too many or too few.
    pub fn with_operands(&self, operands: impl IntoIterator<Item = Literal>) -> Result<Self, QueryError> {
        let mut operands = operands.into_iter();
        let form = &self.form;
        let given = form.filter.with_operands(&mut operands).filter(|_| operands.next().is_none());
        let given = given.ok_or_else(|| QueryError::Operands { wanted: form.filter.operand_count() })?;
        let (filter, scope) = bound(&form.schema, given, form.nulls)?;
        Ok(Self { form: Arc::clone(form), filter, scope })
    }

    /// The plan of `query`, sharing what this one has found out, if the two differ in nothing but operands.
    ///
    /// # Errors
    ///
    /// As for [`with_operands`](Self::with_operands).
    pub fn again(&self, query: &Query) -> Option<Result<Self, QueryError>> {
        let form = &self.form;
        let find = |name: &String| form.schema.find(name);
        let sorted = |(key, column): (&SortKey, &SortColumn)| {
            find(&key.column) == Some(column.field.index()) && key.descending == column.descending
        };
        let columns = query.columns.as_ref();
        let is_same = query.limit == form.limit
            && query.offset == form.offset
            && query.threads == form.threads
            && query.null_rule.unwrap_or(form.schema.null_rule()) == form.nulls
            && query.index.as_ref().map(find) == form.forced.map(Some)
            && query.sort.len() == form.sort.len()
            && query.sort.iter().zip(&form.sort).all(sorted)
            && columns.map_or(form.is_for_all_columns(), |names| {
                names.iter().map(find).eq(form.columns.iter().copied().map(Some))
            })
            && query.filter.has_form_of(&form.filter, &form.schema);
        is_same.then(|| self.with_operands(query.filter.operands()))
    }

    /// The key that such operands name, of a query for one key and nothing else, where order and way are no matter.
    pub(crate) fn single_key<'o>(&self, operands: &'o [Literal]) -> Option<Value<'o>> {
        let [operand] = operands else { return None };
        if self.form.is_for_key { operand.as_key(&self.form.schema) } else { None }
    }

    /// The way to the rows that is cheapest by these statistics.
    ///
    /// # Errors
    ///
    /// [`QueryError::NoIndex`] or [`QueryError::HashIndex`] when the query names an index that cannot be used.
    pub fn route(&self, statistics: &TableStatistics) -> Result<Route, QueryError> {
        planner::route(self, statistics, Wanted::Rows).map(|(route, _)| route)
    }

    /// The same when rows are only to be counted, so that their order does not matter.
    ///
    /// # Errors
    ///
    /// As for [`route`](Self::route).
    pub fn route_to_count(&self, statistics: &TableStatistics) -> Result<Route, QueryError> {
        planner::route(self, statistics, Wanted::Count).map(|(route, _)| route)
    }

    /// The schema of the rows.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.form.schema
    }

    /// The whole condition; `None` when every row passes.
    pub fn filter(&self) -> Option<&Arc<Predicate>> {
        self.filter.as_ref()
    }

    /// The columns that are wanted, in the order in which they are.
    pub fn columns(&self) -> &[usize] {
        &self.form.columns
    }

    /// Most rows that the query can yield, where it says so.
    pub fn limit(&self) -> Option<u64> {
        self.form.limit
    }

    /// How many rows of the result are left out at its start.
    pub fn offset(&self) -> u64 {
        self.form.offset
    }

    /// Whether the result has an order of its own.
    pub fn is_sorted(&self) -> bool {
        !self.form.sort.is_empty()
    }

    /// Whether the condition names one primary key, and nothing is left to choose.
    pub(super) fn is_point(&self) -> bool {
        let key = self.scope.keys(self.form.schema.key_index());
        let is_single =
            |keys: &ColumnKeys| matches!(keys.ranges.ranges(), [range] if range.single().is_some());
        self.form.forced.is_none() && key.is_some_and(is_single)
    }

    /// How many rows must be kept to sort; `None` when all that match.
    pub(super) fn kept_rows(&self) -> Option<u64> {
        self.form.limit.map(|limit| limit.saturating_add(self.form.offset))
    }
}

impl Form {
    /// Whether all columns are wanted, in their order.
    fn is_for_all_columns(&self) -> bool {
        self.columns.iter().copied().eq(0..self.schema.columns().len())
    }
}

/// A condition, and the same taken apart.
fn bound(
    schema: &Schema,
    filter: Expr,
    nulls: NullRule,
) -> Result<(Option<Arc<Predicate>>, Scope), QueryError> {
    let filter = Predicate::new(schema, filter, nulls)?;
    let scope = Scope::new(filter.node.conjuncts().to_vec());
    Ok(((!scope.conjuncts.is_empty()).then(|| Arc::new(filter)), scope))
}

fn sort_column(schema: &Schema, key: &SortKey) -> Result<SortColumn, QueryError> {
    let quoted = || format!("{}{}", if key.descending { "-" } else { "" }, key.column);
    let index = find_column(schema, &key.column, quoted)?;
    Ok(SortColumn { field: Field::new(schema, index), descending: key.descending })
}
