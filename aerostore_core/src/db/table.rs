//! A table of an open database.

#![forbid(unsafe_code)]

use crate::row::Schema;
use crate::txn::TableRef;
use std::sync::Arc;

/// A table; cheap to clone.
#[derive(Clone, Debug)]
pub struct Table(pub(super) TableRef);

impl Table {
    /// The name.
    pub fn name(&self) -> &str {
        self.0.schema().name()
    }

    /// What its rows look like.
    pub fn schema(&self) -> &Arc<Schema> {
        self.0.schema()
    }

    /// The table's number in the log.
    pub fn id(&self) -> u32 {
        self.0.id()
    }
}
