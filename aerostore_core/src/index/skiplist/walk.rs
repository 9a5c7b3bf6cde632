//! All of an index, for checks: every block, every entry.
#![forbid(unsafe_code)]

use super::anchor::Anchor;
use super::block::Block;
use super::ordered::OrderedIndex;
use super::scan::{Direction, IndexEntry};
use crate::epoch::Guard;
use crate::shm::ShmError;
use std::ops::Bound;

impl OrderedIndex<'_> {
    /// Offsets of every block and anchor, for `mark_sweep`: nobody changes the index meanwhile.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn for_each_block(&self, guard: &Guard<'_>, mut f: impl FnMut(u64)) -> Result<(), ShmError> {
        let mut first = Some(Anchor::at(guard, guard.protect(self.root))?);
        while let Some(top) = first {
            first = None;
            let mut next = Some(top);
            while let Some(anchor) = next {
                f(anchor.offset);
                let offset = anchor.load(guard).offset();
                let block = Block::at(guard, offset)?;
                if offset != 0 {
                    f(offset);
                }
                if block.level() > 0 && first.is_none() && block.len() > 0 {
                    first = Some(Anchor::at(guard, block.child(0).anchor())?);
                }
                next = block.right().map(|right| Anchor::at(guard, right.anchor)).transpose()?;
            }
        }
        Ok(())
    }

    /// Calls `f` with every entry, in order.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn for_each_entry(
        &self,
        guard: &Guard<'_>,
        mut f: impl FnMut(IndexEntry<'_>),
    ) -> Result<(), ShmError> {
        let mut cursor = self.seek(guard, Bound::Unbounded, Bound::Unbounded, Direction::Forward);
        while let Some(batch) = cursor.next_batch()? {
            batch.iter().for_each(&mut f);
        }
        Ok(())
    }
}
