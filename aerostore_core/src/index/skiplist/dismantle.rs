//! Taking an index apart that nobody can be at any more.
//!
//! Rules       the levels go from the topmost down, each from its first anchor on: the root word moves from an anchor to its
//!             right neighbour, or from the last to the first anchor of the level below, and the anchor and its block are
//!             retired. That first anchor is noted, in a word of the caller's, while the root still names the first of the
//!             level above: a death leaves the rest of a level and what is below it. Merges that were left half done are
//!             finished before: an anchor that only a closing hint leads to would be forgotten with the hint.
#![forbid(unsafe_code)]

use super::anchor::Anchor;
use super::block::{Block, Child};
use super::ordered::OrderedIndex;
use super::settle::ensure_live;
use crate::epoch::Guard;
use crate::index::{Blocks, Exchange};
use crate::shm::ShmError;
use crate::sync::{AtomicU64, Ordering};

/// Anchors that one call takes.
const BATCH: usize = 1024;

impl OrderedIndex<'_> {
    /// Gives some blocks back; true when there are none left and the root word is 0. One session at a time, and nobody else is at
    /// the index; `below` is a word that was 0 before the first call, and is for this alone.
    ///
    /// # Errors
    /// `OutOfSpace`, while a merge is finished; when the mapping is damaged.
    pub fn dismantle(
        &self,
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        below: &AtomicU64,
    ) -> Result<bool, ShmError> {
        if let Some(directory) = &self.directory {
            directory.dismantle(guard, blocks)?;
        }
        for _ in 0..BATCH {
            let offset = guard.protect(self.root);
            if offset == 0 {
                return Ok(true);
            }
            let anchor = Anchor::at(guard, offset)?;
            let mut first_below = below.load(Ordering::Acquire);
            if anchor.level() > 0 && (first_below == 0 || first_below == offset) {
                // It is the first of its level.
                self.finish_merges(guard, blocks)?;
                first_below = Block::at(guard, anchor.load(guard).offset())?.child(0).anchor();
                below.store(first_below, Ordering::Release);
            }
            let block = Block::at(guard, anchor.load(guard).offset())?;
            let next = match block.right() {
                Some(right) => right.anchor,
                None if block.level() > 0 => first_below,
                None => 0,
            };
            let dropped = match anchor.load(guard).offset() {
                0 => None,
                block => Some(ensure_live(guard, block)?),
            };
            let replaced = Some(ensure_live(guard, offset)?);
            let change = Exchange { from: offset, to: next, made: &[], replaced, dropped };
            blocks.exchange(self.root, self.root_offset, &change)?;
        }
        Ok(false)
    }

    /// Without its directory, which is gone: none is made on the way.
    fn finish_merges(&self, guard: &Guard<'_>, blocks: &mut dyn Blocks) -> Result<(), ShmError> {
        let index = Self { directory: None, ..*self };
        let mut first = Some(Anchor::at(guard, guard.protect(self.root))?);
        while let Some(leftmost) = first {
            let closing;
            (closing, first) = closing_below(guard, leftmost)?;
            for anchor in closing {
                index.merge(guard, blocks, &Anchor::at(guard, anchor)?)?;
            }
        }
        Ok(())
    }

    /// Anchors that are about to go.
    #[cfg(test)]
    pub(crate) fn closing(&self, guard: &Guard<'_>) -> Result<Vec<u64>, ShmError> {
        let mut all = Vec::new();
        let mut first = Some(Anchor::at(guard, guard.protect(self.root))?);
        while let Some(leftmost) = first {
            let closing;
            (closing, first) = closing_below(guard, leftmost)?;
            all.extend(closing);
        }
        Ok(all)
    }
}

/// Offsets of the anchors that a level marks as closing, and the first anchor of the level below it, if there is one.
fn closing_below<'g>(
    guard: &'g Guard<'_>,
    leftmost: Anchor<'g>,
) -> Result<(Vec<u64>, Option<Anchor<'g>>), ShmError> {
    let (mut closing, mut first) = (Vec::new(), None);
    let mut next = Some(leftmost);
    while let Some(anchor) = next {
        let block = Block::at(guard, anchor.load(guard).offset())?;
        if block.level() > 0 {
            first = first.or(Some(Anchor::at(guard, block.child(0).anchor())?));
            closing.extend(block.children().filter(|child| child.is_closing()).map(Child::anchor));
        }
        next = block.right().map(|right| Anchor::at(guard, right.anchor)).transpose()?;
    }
    Ok((closing, first))
}
