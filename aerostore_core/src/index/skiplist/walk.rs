//! All of an index, for checks: every block, every entry.
#![forbid(unsafe_code)]

use super::anchor::Anchor;
use super::block::{Block, Child};
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
        if let Some(directory) = &self.directory {
            directory.for_each_block(guard, &mut f)?;
        }
        let mut first = Some(Anchor::at(guard, guard.protect(self.root))?);
        // Anchors of the level that hints lead to, though they may not be in its list any more.
        let mut closing: Vec<u64> = Vec::new();
        while let Some(top) = first {
            first = None;
            let mut closing_below = Vec::new();
            let mut next = Some(top);
            while let Some(anchor) = next {
                closing.retain(|other| *other != anchor.offset);
                let block = visit(guard, &anchor, &mut f)?;
                if block.level() > 0 {
                    first = first.or(Some(Anchor::at(guard, block.child(0).anchor())?));
                    let children = (0..block.len()).map(|index| block.child(index));
                    closing_below.extend(children.filter(|child| child.is_closing()).map(Child::anchor));
                }
                next = block.right().map(|right| Anchor::at(guard, right.anchor)).transpose()?;
            }
            for anchor in std::mem::replace(&mut closing, closing_below) {
                visit(guard, &Anchor::at(guard, anchor)?, &mut f)?;
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

/// An anchor and its block, if it has one.
fn visit<'g>(
    guard: &'g Guard<'_>,
    anchor: &Anchor<'g>,
    f: &mut impl FnMut(u64),
) -> Result<Block<'g>, ShmError> {
    f(anchor.offset);
    let offset = anchor.load(guard).offset();
    if offset != 0 {
        f(offset);
    }
    Block::at(guard, offset)
}
