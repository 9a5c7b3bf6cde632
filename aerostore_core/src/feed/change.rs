//! What a change feed delivers.

#![forbid(unsafe_code)]

use crate::row::{DirtyMask, RowError, RowView, Schema, Value, delta};
use std::fmt;
use std::sync::Arc;

/// What has become of a row, as far as it is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeOp {
    /// It is there now.
    Insert,
    /// It was there, and is another now.
    Update,
    /// It is not there any more.
    Delete,
}

impl ChangeOp {
    /// As a word: `insert`, `update`, `delete`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// A row before and after a transaction that has changed it; whoever follows it has the same one.
#[derive(Debug)]
pub(crate) struct RowImages {
    pub(crate) schema: Arc<Schema>,
    /// Its image before; `None` when there was no such row.
    pub(crate) old: Option<Box<[u8]>>,
    /// Its image since; `None` when it is gone.
    pub(crate) new: Option<Box<[u8]>>,
    /// The columns in which they differ; all of them when there is only one.
    pub(crate) changed: DirtyMask,
}

impl RowImages {
    /// The row before and since, where there is one.
    pub(crate) fn views(&self) -> [Option<RowView<'_>>; 2] {
        [&self.old, &self.new].map(|image| {
            // Checked when the change was made.
            image.as_deref().and_then(|bytes| RowView::new(&self.schema, bytes).ok())
        })
    }

    /// The same by another definition of the table: without the columns that it lacks.
    ///
    /// # Errors
    /// When the images are damaged.
    #[cold]
    pub(crate) fn read_by(&self, schema: &Arc<Schema>) -> Result<Self, RowError> {
        let copy = |view: Option<RowView<'_>>| view.map(|view| schema.copy_of(view.stored())).transpose();
        let [old, new] = self.views();
        let changed = DirtyMask(self.changed.0 & delta::all_columns(schema).0);
        Ok(Self { schema: Arc::clone(schema), old: copy(old)?, new: copy(new)?, changed })
    }

    /// Bytes of both.
    pub(crate) fn bytes(&self) -> usize {
        [&self.old, &self.new].iter().map(|image| image.as_ref().map_or(0, |bytes| bytes.len())).sum()
    }
}

/// One row's change by one transaction.
#[derive(Clone)]
pub struct RowChange {
    pub(super) op: ChangeOp,
    pub(super) columns: DirtyMask,
    pub(super) row: Arc<RowImages>,
}

impl RowChange {
    /// What has become of the row.
    pub fn op(&self) -> ChangeOp {
        self.op
    }

    /// Its key.
    ///
    /// # Panics
    /// Never: a change has a row.
    pub fn key(&self) -> Value<'_> {
        let [old, new] = self.row.views();
        new.or(old).map_or(Value::Null, |row| row.key())
    }

    /// The columns that matter: of an update those that differ, else all; of these, those that were asked for.
    pub fn columns(&self) -> impl Iterator<Item = usize> {
        self.columns.columns()
    }

    /// The row as it was; `None` of an insert.
    pub fn before(&self) -> Option<RowView<'_>> {
        if self.op == ChangeOp::Insert { None } else { self.row.views()[0] }
    }

    /// The row as it is; `None` of a delete.
    pub fn after(&self) -> Option<RowView<'_>> {
        if self.op == ChangeOp::Delete { None } else { self.row.views()[1] }
    }

    /// What the row looks like.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.row.schema
    }
}

impl fmt::Debug for RowChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.op.as_str(), self.key())?;
        for index in self.columns() {
            let value =
                |row: Option<RowView<'_>>| row.map_or(String::new(), |row| row.get(index).to_string());
            write!(
                f,
                " {}: {} -> {}",
                self.schema().column(index).name(),
                value(self.before()),
                value(self.after())
            )?;
        }
        Ok(())
    }
}

/// What one transaction has changed, all of it that matters.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Its place in the order of commits.
    pub commit_ts: u64,
    /// Each row once.
    pub changes: Vec<RowChange>,
}

/// Changes that are not delivered: they came faster than they were taken, the log that had them was removed before it was read, or it does not say
/// what rows were before, of a transaction that was committing when its table began to be followed, or that found no room for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Everything up to this commit timestamp was delivered.
    pub after_ts: u64,
    /// Everything after this one is.
    pub to_ts: u64,
}

/// One delivery of a change feed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A transaction has changed rows.
    Commit(Commit),
    /// Transactions may have, which is not said in detail.
    Gap(Gap),
}
