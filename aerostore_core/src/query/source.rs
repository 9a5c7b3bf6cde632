//! What a plan takes rows from: a table as one reader sees it, with its indexes.
//!
//! Rules       S1: all that a source gives it gives as of one moment, and a row at most once in one call. S2: entries of an
//!             index are hints: a source gives a row only when its *visible* image has a key in the range, so a row
//!             whose old and new keys are both entered comes once, at the key that is seen. S3: rows come in the order of
//!             their keys, rows of equal keys in row order, or all of it backwards. S4: a filter is a promise by the
//!             caller to take no note of rows that do not satisfy it; a source gives those all the same. So a
//!             transaction that writes has to defend only range *and* filter. S5: the rows that `index_rows` names include all that
//!             `index_scan` would give for that range; nothing needs to be defended for it, since the scan that it
//!             thins out carries the whole condition as its filter. S6: the parts of a shared scan hold together what `scan` would
//!             give, as of the same moment, and one thread shows each.

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use super::error::QueryError;
use super::predicate::Predicate;
use crate::row::{IndexKind, RowView, Value, VisitRows};

/// Who can see rows: gives them to a plan, all at the same moment.
pub trait RowSource {
    /// What can go wrong while reading, and while planning what to read.
    type Error: From<QueryError>;

    /// What is known of the table and its indexes: those that can be read now, at most one for a column. The ends of their keys
    /// are looked up for those on `columns` only, which no query reads that does not say anything of them.
    ///
    /// # Errors
    ///
    /// When the table cannot be read.
    fn statistics(&mut self, columns: &[usize]) -> Result<TableStatistics, Self::Error>;

    /// What the way that a plan [keeps](super::Plan) depends on, told without a look at keys.
    ///
    /// # Errors
    ///
    /// When the table cannot be read.
    fn standing(&mut self) -> Result<Standing, Self::Error>;

    /// Calls `visit` with the row of this key, if there is one.
    ///
    /// # Errors
    ///
    /// When the row cannot be read.
    fn point(&mut self, key: Value<'_>, visit: &mut dyn FnMut(RowView<'_>)) -> Result<(), Self::Error>;

    /// Calls `visit` with all rows, each once, some at a time, until it breaks. `visit` takes note only of rows that match `filter`, if there is
    /// one: a transaction that writes may let others change the rest. It is to see the rest all the same.
    ///
    /// # Errors
    ///
    /// When rows cannot be read.
    fn scan(&mut self, filter: Option<&Arc<Predicate>>, visit: &mut VisitRows<'_>)
    -> Result<(), Self::Error>;

    /// Goes through all rows by several threads: calls `lead` here, and each helper, as far as there are threads to be had, in
    /// one of its own. What one of them does not claim is the others' to show. All have come back when this does.
    ///
    /// # Errors
    ///
    /// When rows cannot be read, in whatever thread; or what `lead` or a helper says. Nothing that was shown counts then.
    ///
    /// # Panics
    ///
    /// When `lead` or a helper does, after all have come back.
    fn scan_shared(
        &mut self,
        filter: Option<&Arc<Predicate>>,
        helpers: Vec<Helper<'_, Self::Error>>,
        lead: &mut Lead<'_, Self::Error>,
    ) -> Result<(), Self::Error>;

    /// Calls `visit` with the rows whose key in an index lies in a range, in the order of the index, until it breaks.
    ///
    /// # Errors
    ///
    /// When rows cannot be read, or the index is gone.
    fn index_scan(&mut self, scan: &IndexScan<'_>, visit: &mut VisitRows<'_>) -> Result<(), Self::Error>;

    /// Calls `visit` with the row of every entry in a range of the index of `column`, without reading rows: in any order, and
    /// some rows perhaps twice or without a visible key in the range.
    ///
    /// # Errors
    ///
    /// When entries cannot be read, or the index is gone.
    fn index_rows(
        &mut self,
        column: usize,
        range: &KeyRange,
        visit: &mut dyn FnMut(u64),
    ) -> Result<(), Self::Error>;
}

/// What one thread does in a [shared scan](RowSource::scan_shared). When it breaks, or fails, no part can be claimed any more.
pub type Lead<'a, E> = dyn FnMut(&dyn Share<Error = E>) -> Result<ControlFlow<()>, E> + 'a;

/// The same in a thread of its own.
pub type Helper<'a, E> = Box<dyn FnOnce(&dyn Share<Error = E>) -> Result<ControlFlow<()>, E> + Send + 'a>;

/// One thread's place in a shared scan (S6): the rows lie in parts, in the order in which [`RowSource::scan`] gives them.
pub trait Share {
    /// What can go wrong while reading.
    type Error;

    /// How many parts there are.
    fn parts(&self) -> usize;

    /// Claims a part, unless somebody has done so. Says whose it is: 0 is who leads, 1 the first helper. `None` when the scan is to
    /// end.
    fn claim(&self, part: usize) -> Option<usize>;

    /// Calls `visit` with the rows of a part that this thread has claimed, until it breaks.
    ///
    /// # Errors
    ///
    /// When rows cannot be read.
    fn show(&self, part: usize, visit: &mut VisitRows<'_>) -> Result<ControlFlow<()>, Self::Error>;
}

/// A walk over a range of one index.
#[derive(Clone, Copy, Debug)]
pub struct IndexScan<'a> {
    /// The column whose index it is.
    pub column: usize,
    /// The keys; a hash index is only asked for [single](KeyRange::single) ones.
    pub range: &'a KeyRange,
    /// From the last key to the first.
    pub descending: bool,
    /// What the caller takes note of (S4).
    pub filter: Option<&'a Arc<Predicate>>,
    /// Rows to give, where another index has told; entries of others are passed over unread.
    pub among: Option<&'a RowSet>,
    /// How many rows the caller will look at before it breaks, as far as it can tell: not to be fetched ahead of.
    pub expected: Option<u64>,
}

/// Keys that lie together: from `low` to below `high`.
///
/// Keys are those of [`index::key`](crate::index::key). Every range can be written so: the least key above `k` is `k` and a zero byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    pub(super) low: Box<[u8]>,
    pub(super) high: Box<[u8]>,
}

impl KeyRange {
    /// The keys from `low` to below `high`.
    pub fn new(low: &[u8], high: &[u8]) -> Self {
        Self { low: low.into(), high: high.into() }
    }

    /// Where it begins.
    pub fn from(&self) -> Bound<&[u8]> {
        Bound::Included(&self.low)
    }

    /// Where it ends.
    pub fn to(&self) -> Bound<&[u8]> {
        Bound::Excluded(&self.high)
    }

    /// The least key in it, and the least above them.
    pub fn ends(&self) -> (&[u8], &[u8]) {
        (&self.low, &self.high)
    }

    /// Whether `key` lies in it.
    #[inline]
    pub fn contains(&self, key: &[u8]) -> bool {
        *key >= *self.low && *key < *self.high
    }

    /// The key, when there is room for just one.
    pub fn single(&self) -> Option<&[u8]> {
        let (last, rest) = self.high.split_last()?;
        (*last == 0 && *rest == *self.low).then_some(&self.low)
    }
}

/// Rows, by the numbers that [`RowSource::index_rows`] gives.
#[derive(Clone, Debug, Default)]
pub struct RowSet(HashSet<u64, foldhash::fast::FixedState>);

impl RowSet {
    /// Whether `row` is one of them.
    #[inline]
    pub fn contains(&self, row: u64) -> bool {
        self.0.contains(&row)
    }

    /// Adds a row.
    pub fn insert(&mut self, row: u64) {
        self.0.insert(row);
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What is known of a table without reading it. Figures may be somewhat old: they choose the way, not the result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableStatistics {
    /// Rows.
    pub rows: u64,
    /// Indexes that can be read, besides the one of keys that every table has.
    pub indexes: Vec<IndexStatistics>,
    /// How many threads a scan may take where the query does not say; none is as good as one.
    pub threads: u32,
}

/// What can be known of a table at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Rows, as in [`TableStatistics`].
    pub rows: u64,
    /// A number that is another one when the table is, or the indexes that can be read are not the same, of the same kinds and counted
    /// as often.
    pub indexes: u64,
}

/// What is known of one index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexStatistics {
    /// Its column.
    pub column: usize,
    /// Hash for single keys, ordered for ranges too.
    pub kind: IndexKind,
    /// Entries, nulls included.
    pub rows: u64,
    /// Entries whose key is null.
    pub nulls: u64,
    /// Different keys, null not counted; 0 while nobody has counted them.
    pub distinct: u64,
    /// The least key that is not null; `None` while there is none, or where it is not known or was not asked for.
    pub min: Option<Box<[u8]>>,
    /// The greatest key that is not null, or `None` likewise.
    pub max: Option<Box<[u8]>>,
}
