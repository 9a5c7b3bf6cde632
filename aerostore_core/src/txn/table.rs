//! A process's handle on a table: where its root is, and what its rows look like.

#![forbid(unsafe_code)]

use crate::epoch::Guard;
use crate::index::HashIndex;
use crate::mvcc::TableRoot;
use crate::row::{RowView, Schema};
use crate::shm::ShmError;
use crate::txn::TxnError;
use std::mem::offset_of;
use std::sync::Arc;

/// A table of an open database.
#[derive(Clone, Debug)]
pub struct TableRef {
    root: u64,
    id: u32,
    schema: Arc<Schema>,
}

impl TableRef {
    /// The table whose root lies at `root`.
    pub fn new(root: u64, id: u32, schema: Arc<Schema>) -> Self {
        Self { root, id, schema }
    }

    /// Number of the table in log records.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What its rows look like.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Offset of the root.
    pub fn root_offset(&self) -> u64 {
        self.root
    }

    /// The shared root.
    ///
    /// # Errors
    /// When the mapping is damaged.
    #[inline]
    pub fn root<'g>(&self, guard: &Guard<'g>) -> Result<&'g TableRoot, ShmError> {
        guard.resolve(self.root)
    }

    /// The key index.
    ///
    /// # Errors
    /// When the mapping is damaged.
    #[inline]
    pub fn primary<'g>(&self, guard: &Guard<'g>) -> Result<HashIndex<'g>, ShmError> {
        primary_at(guard, self.root)
    }

    /// A row image of this table.
    ///
    /// # Errors
    /// When the image is not of this schema: the mapping is damaged.
    #[inline]
    pub fn view<'a>(&'a self, payload: &'a [u8]) -> Result<RowView<'a>, TxnError> {
        Ok(RowView::new(&self.schema, payload)?)
    }
}

/// The key index of the table whose root lies at `table`.
#[inline]
pub(super) fn primary_at<'g>(guard: &Guard<'g>, table: u64) -> Result<HashIndex<'g>, ShmError> {
    let root: &TableRoot = guard.resolve(table)?;
    Ok(HashIndex::new(&root.primary, table + offset_of!(TableRoot, primary) as u64))
}
