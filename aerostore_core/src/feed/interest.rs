//! Which changes somebody wants to see, and as what.

#![forbid(unsafe_code)]

use super::change::{ChangeOp, RowChange, RowImages};
use crate::query::Predicate;
use crate::row::{DirtyMask, RowView};
use std::sync::Arc;

/// A condition on rows, and columns.
#[derive(Debug)]
pub(crate) struct Interest {
    filter: Option<Arc<Predicate>>,
    columns: DirtyMask,
}

impl Interest {
    /// In the rows for which `filter` holds, and of these in `columns`.
    pub(crate) fn new(filter: Option<Arc<Predicate>>, columns: DirtyMask) -> Self {
        Self { filter, columns }
    }

    /// The change as it looks to one who sees only rows for which the filter holds: one that begins to satisfy it is inserted, one that
    /// does no longer is deleted. `None` when there is nothing to be seen.
    pub(crate) fn judge(&self, row: &Arc<RowImages>) -> Option<RowChange> {
        let passes = |row: Option<RowView<'_>>| {
            row.is_some_and(|row| self.filter.as_ref().is_none_or(|filter| filter.matches(row)))
        };
        let op = match row.views().map(passes) {
            [false, false] => return None,
            [false, true] => ChangeOp::Insert,
            [true, false] => ChangeOp::Delete,
            [true, true] => ChangeOp::Update,
        };
        let columns = match op {
            ChangeOp::Update => DirtyMask(self.columns.0 & row.changed.0),
            ChangeOp::Insert | ChangeOp::Delete => self.columns,
        };
        let is_seen = op != ChangeOp::Update || !columns.is_empty();
        is_seen.then(|| RowChange { op, columns, row: Arc::clone(row) })
    }
}
