//! Which indexes a definition wants.
#![forbid(unsafe_code)]

use super::Schema;
use crate::row::{IndexKind, IndexSpec};

impl Schema {
    /// What the definition promises of the index on column `index`. The primary key sees to the key's being unique.
    ///
    /// # Panics
    /// When there is no such column.
    pub fn index_spec(&self, index: usize) -> IndexSpec {
        let (column, is_other) = (self.column(index), index != self.key_index());
        let is_hash = column.index_kind() == IndexKind::Hash && is_other;
        IndexSpec { is_unique: column.is_unique() && is_other, is_hash }
    }

    /// What the definition promises of the index that it wants on column `index`, if it wants one beside the key's own.
    ///
    /// # Panics
    /// When there is no such column.
    pub fn declared_index(&self, index: usize) -> Option<IndexSpec> {
        let is_wanted = match self.column(index).index_kind() {
            IndexKind::None => false,
            IndexKind::Hash => index != self.key_index(),
            IndexKind::Ordered => true,
        };
        is_wanted.then(|| self.index_spec(index))
    }

    /// The columns for which the definition wants an index beside the key's own.
    pub fn indexed_columns(&self) -> impl DoubleEndedIterator<Item = usize> {
        (0..self.columns().len()).filter(|index| self.declared_index(*index).is_some())
    }
}
