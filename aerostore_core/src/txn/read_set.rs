//! What a transaction has observed, to be checked again at its place in the serial order.

#![forbid(unsafe_code)]

use crate::index::key;
use crate::row::{RowView, Value};
use crate::txn::TableRef;
use crate::txn::index_scan::KeySpan;
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

/// A walk over a range of an index, for the rows that satisfy `predicate`, or for all.
pub(super) struct RangeRead {
    pub(super) table: TableRef,
    pub(super) column: usize,
    low: Vec<u8>,
    high: Vec<u8>,
    pub(super) predicate: Option<RowPredicate>,
}

impl RangeRead {
    pub(super) fn new(
        table: &TableRef,
        column: usize,
        span: KeySpan<'_>,
        predicate: Option<RowPredicate>,
    ) -> Self {
        let (low, high) = (span.low.to_vec(), span.high.to_vec());
        Self { table: table.clone(), column, low, high, predicate }
    }

    /// The walk has ended with `key`, before the end of its range.
    pub(super) fn end_at(&mut self, key: &[u8], is_descending: bool) {
        if is_descending {
            self.low = key.to_vec();
        } else {
            // The least key above it.
            self.high = [key, &[0]].concat();
        }
    }

    pub(super) fn span(&self) -> KeySpan<'_> {
        KeySpan { low: &self.low, high: &self.high }
    }

    /// Would a walk have taken note of this row? `scratch` is memory to use again.
    pub(super) fn concerns(&self, row: &RowView<'_>, scratch: &mut Vec<u8>) -> bool {
        scratch.clear();
        key::key_bytes(row.get(self.column), scratch);
        *scratch >= self.low
            && *scratch < self.high
            && self.predicate.as_ref().is_none_or(|predicate| predicate(row))
    }
}

/// Everything observed.
#[derive(Default)]
pub(super) struct ReadSet {
    pub(super) rows: Vec<RowRead>,
    pub(super) missing: Vec<MissingRead>,
    pub(super) scans: Vec<ScanRead>,
    pub(super) ranges: Vec<RangeRead>,
    /// The row whose change made a validation fail, or 0.
    pub(super) changed: Cell<u64>,
}

impl ReadSet {
    /// Has nothing been observed?
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.missing.is_empty() && self.scans.is_empty() && self.ranges.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.missing.clear();
        self.scans.clear();
        self.ranges.clear();
        self.changed.set(0);
    }
}
