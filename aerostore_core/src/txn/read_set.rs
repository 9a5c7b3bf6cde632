//! What a transaction has observed, to be checked again at its place in the serial order.

#![forbid(unsafe_code)]

use crate::index::key;
use crate::row::{RowView, Value};
use crate::txn::TableRef;
use std::cell::Cell;
use std::sync::Arc;

/// A predicate on rows, kept until commit.
pub type RowPredicate = Arc<dyn Fn(&RowView<'_>) -> bool + Send + Sync>;

/// A row read by key.
#[derive(Clone, Copy)]
pub(super) struct RowRead {
    pub(super) row: u64,
    /// Commit timestamp of the version seen; 0 when the snapshot saw none.
    pub(super) begin: u64,
}

/// A key that was not there.
pub(super) struct MissingRead {
    pub(super) table: TableRef,
    pub(super) hash: u64,
    /// Order-preserving bytes of the key.
    pub(super) key: Vec<u8>,
}

impl MissingRead {
    pub(super) fn new(table: &TableRef, key: Value<'_>, hash: u64) -> Self {
        let mut bytes = Vec::new();
        key::key_bytes(key, &mut bytes);
        Self { table: table.clone(), hash, key: bytes }
    }
}

/// A scan of a table for the rows that satisfy `predicate`, or for all.
pub(super) struct ScanRead {
    pub(super) table: TableRef,
    pub(super) predicate: Option<RowPredicate>,
}

/// Everything observed.
#[derive(Default)]
pub(super) struct ReadSet {
    pub(super) rows: Vec<RowRead>,
    pub(super) missing: Vec<MissingRead>,
    pub(super) scans: Vec<ScanRead>,
    /// The row whose change made a validation fail, or 0.
    pub(super) changed: Cell<u64>,
}

impl ReadSet {
    /// Has nothing been observed?
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.missing.is_empty() && self.scans.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.missing.clear();
        self.scans.clear();
        self.changed.set(0);
    }
}
