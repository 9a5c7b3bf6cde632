//! Routes: how a run reaches its rows, and what is left to do with them.

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::field::Field;
use super::plan::SortColumn;
use super::predicate::Predicate;
use super::source::KeyRange;
use crate::row::{IndexKind, OwnedValue};

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
    /// The rows in ranges of an index.
    Index(IndexPath),
    /// The rows of several paths. A row is given by the first branch whose condition holds for it, so none comes twice.
    Union(Vec<Branch>),
}

/// Ranges of one index, and perhaps of others that have the same rows.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexPath {
    /// The column whose index is walked.
    pub column: usize,
    /// Its kind.
    pub kind: IndexKind,
    /// The keys, in ascending order.
    pub ranges: Vec<KeyRange>,
    /// From the last key to the first.
    pub descending: bool,
    /// Other indexes, of which only the entries are read: rows that are not in all of them are not looked at.
    pub among: Vec<Among>,
}

/// Ranges of an index that narrow the rows of another.
#[derive(Clone, Debug, PartialEq)]
pub struct Among {
    /// The column whose index is read.
    pub column: usize,
    /// Its kind.
    pub kind: IndexKind,
    /// The keys, in ascending order.
    pub ranges: Vec<KeyRange>,
    /// How many entries that should be.
    pub estimated_entries: u64,
}

/// One of several paths.
#[derive(Clone, Debug, PartialEq)]
pub struct Branch {
    /// How its rows are reached: by keys or by an index.
    pub path: AccessPath,
    /// What they are asked besides, that of the whole query included.
    pub residual: Option<Arc<Predicate>>,
    /// The conditions of the branches before it: rows for which it holds have been given by those.
    pub given: Option<Predicate>,
    /// How many rows should be looked at.
    pub estimated_examined: u64,
    /// How many of those should match.
    pub estimated_matched: u64,
}

/// The way to the rows of a plan, by the statistics of one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    pub(super) path: AccessPath,
    pub(super) residual: Option<Arc<Predicate>>,
    pub(super) sort: Vec<SortColumn>,
    pub(super) grouped: Option<SortColumn>,
    /// Whether a limit ends the walk.
    pub(super) stops_early: bool,
    /// How many threads a scan takes.
    pub(super) threads: u32,
    pub(super) examined: u64,
    pub(super) matched: u64,
}

impl Route {
    /// How rows are reached.
    pub fn access_path(&self) -> &AccessPath {
        &self.path
    }

    /// What rows reached that way are asked besides; `None` when every one of them matches, or every branch asks by itself.
    pub fn residual(&self) -> Option<&Arc<Predicate>> {
        self.residual.as_ref()
    }

    /// Whether rows have to be collected and sorted: all, or those that tie in the column that orders the path.
    pub fn is_sorted(&self) -> bool {
        !self.sort.is_empty()
    }

    /// The column by whose groups the rows come already sorted, when only rows within a group are left to sort.
    pub fn grouped_by(&self) -> Option<usize> {
        self.grouped.map(|column| column.field.index())
    }

    /// How many threads go through the rows together; one but for a large scan.
    pub fn threads(&self) -> u32 {
        self.threads
    }

    /// How many rows should be looked at.
    pub fn estimated_examined(&self) -> u64 {
        self.examined
    }

    /// How many rows should match, of all, whatever the limit.
    pub fn estimated_matched(&self) -> u64 {
        self.matched
    }

    pub(super) fn group_field(&self) -> Option<Field> {
        self.grouped.map(|column| column.field)
    }
}
