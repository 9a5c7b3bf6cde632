//! Sparse blocks become a part of the block on their left, and their anchors go.
//!
//! Steps       of an anchor that is not the first one that its block of the level above leads to: (1) there it is marked as
//!             closing, so that searches pass it by and come from the left; (2) its word is frozen, so that its block is not replaced any
//!             more; (3) the block on its left is replaced by one that has the contents of both; (4) the word becomes DEAD and the
//!             block is retired; (5) the level above leads to it no more, and the anchor is retired. Whoever meets an anchor after
//!             step 1 does what is left to do. After a death, or where there was no room, the anchor stays, with its closing hint, until
//!             somebody adds or removes an entry next to it, from the top, or would merge another that the same block above leads to: until
//!             then it is reached, and searches pass it by at the cost of one look.
//! Rules       M1: the first entry of a block above the bottom level has the low key of the block's anchor: it is never closing, and no
//!             split begins a block with one that is. M2: a hint to an anchor that is frozen or DEAD is never added: who adds one has
//!             loaded the block of the level above before it looked at the anchor, and step 5 has changed that block. M3: a frozen
//!             block is in force as long as the block on its left names its anchor; so it counts for who comes from there, and
//!             nobody else looks at it. Only then is what it names known to be there still.
#![forbid(unsafe_code)]

use super::anchor::{Anchor, AnchorWord};
use super::block::{Block, Child, Item, Part};
use super::ordered::OrderedIndex;
use super::position::Cut;
use super::replace::{bytes_max, exchange, make_block, with_item};
use super::seek::Place;
use super::settle::ensure_live;
use crate::epoch::Guard;
use crate::index::{Blocks, Exchange};
use crate::shm::ShmError;
use crate::sync::Ordering;

/// A block below a quarter of the largest looks for a neighbour.
const SPARSE_PART: usize = 4;

impl OrderedIndex<'_> {
    /// Does what others have left undone on the way to a place.
    ///
    /// # Errors
    /// `OutOfSpace`; when the mapping is damaged.
    #[inline]
    pub(super) fn mend(
        &self,
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        place: &Place<'_>,
    ) -> Result<(), ShmError> {
        if let Some(anchor) = place.closing {
            self.merge(guard, blocks, &anchor)?;
        }
        if let Some(anchor) = place.unhinted {
            self.add_hint(guard, blocks, &anchor)?;
        }
        Ok(())
    }

    /// Merges the block of `anchor` with a neighbour, if there is little in both.
    ///
    /// # Errors
    /// `OutOfSpace`; when the mapping is damaged.
    #[inline]
    pub(super) fn merge_if_sparse(
        &self,
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        anchor: &Anchor<'_>,
    ) -> Result<(), ShmError> {
        let word = anchor.load(guard);
        let block = Block::at(guard, word.offset())?;
        if word.is_dead() || word.is_frozen() || block.bytes() >= bytes_max(block.level()) / SPARSE_PART {
            return Ok(());
        }
        self.merge_sparse(guard, blocks, anchor)
    }

    #[cold]
    fn merge_sparse(
        &self,
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        anchor: &Anchor<'_>,
    ) -> Result<(), ShmError> {
        let level = anchor.level();
        if Anchor::at(guard, guard.protect(self.root))?.level() <= level {
            return Ok(());
        }
        let place = self.descend(guard, &Cut::behind(anchor.low(guard)?), level + 1)?;
        if let Some(closing) = place.block.children().find(|child| child.is_closing()) {
            return self.merge(guard, blocks, &Anchor::at(guard, closing.anchor())?); // then the next one who removes something here
        }
        let index = place.block.count_left_of(guard, &Cut::behind(anchor.low(guard)?))?.saturating_sub(1);
        if place.block.child(index).anchor() != anchor.offset {
            return Ok(()); // no hint yet, or no more
        }
        let bytes_at = |index: usize| {
            let word = Anchor::at(guard, place.block.child(index).anchor())?.load(guard);
            Block::at(guard, word.offset()).map(|block| block.bytes())
        };
        // The first one stays (M1). What is on the right may have been sparse before this one was.
        let mut chosen = None;
        for index in (index.max(1)..place.block.len()).take(if index == 0 { 1 } else { 2 }) {
            if bytes_at(index - 1)? + bytes_at(index)? <= bytes_max(level) * 3 / 4 {
                chosen = Some(index);
                break;
            }
        }
        let Some(index) = chosen else { return Ok(()) };
        let item = place.block.item(index);
        let closing = Anchor::at(guard, item.child.anchor())?;
        // 1
        let item = Item { child: item.child.closing(), ..item };
        if !self.put(guard, blocks, &place, &with_item(place.block, index, index + 1, item))? {
            return Ok(()); // as above
        }
        self.merge(guard, blocks, &closing)
    }

    /// Lets a closing anchor go, from whatever step on.
    ///
    /// # Errors
    /// `OutOfSpace`; when the mapping is damaged.
    #[cold]
    pub(super) fn merge(
        &self,
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        anchor: &Anchor<'_>,
    ) -> Result<(), ShmError> {
        loop {
            let word = anchor.load(guard);
            if word.is_dead() {
                break;
            }
            if !word.is_frozen() {
                // 2
                let (from, to) = (word.bits(), word.frozen().bits());
                let _ = anchor.word().compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
                continue;
            }
            let block = Block::at(guard, word.offset())?;
            let left = self.descend(guard, &Cut::before(anchor.low(guard)?), anchor.level())?;
            if left.block.right().is_none_or(|right| right.anchor != anchor.offset) {
                // 4
                let replaced = Some(ensure_live(guard, word.offset())?);
                let to = AnchorWord::DEAD.bits();
                let change = Exchange { from: word.bits(), to, made: &[], replaced, dropped: None };
                let is_done = blocks.exchange(anchor.word(), anchor.word_offset(), &change)?;
                if is_done
                    && anchor.level() == 0
                    && let Some(directory) = &self.directory
                {
                    // Nothing depends on it but memory.
                    let _ = blocks.sparing(&mut |blocks| directory.note_gone(guard, blocks, anchor));
                }
            } else if left.word.is_frozen() {
                self.merge(guard, blocks, &left.anchor)?;
            } else {
                // 3
                let parts = [Part::Run(left.block, 0, left.block.len()), Part::Run(block, 0, block.len())];
                self.put_before(guard, blocks, &left, &parts, block.right())?;
            }
        }
        self.drop_hint(guard, blocks, anchor)
    }

    /// Step 5.
    fn drop_hint(
        &self,
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        anchor: &Anchor<'_>,
    ) -> Result<(), ShmError> {
        let low = anchor.low(guard)?;
        loop {
            // Behind it there may be a new anchor with the same low key, which a block may begin with; it begins none (M1), so the
            // one on the left of that key has it.
            let place = self.descend(guard, &Cut::before(low), anchor.level() + 1)?;
            let block = place.block;
            let first = block.count_left_of(guard, &Cut::before(low))?;
            let up_to = block.count_left_of(guard, &Cut::behind(low))?;
            let is_it = |index: &usize| block.child(*index) == Child::new(anchor.offset).closing();
            let Some(index) = (first..up_to).find(is_it) else {
                return Ok(()); // others have come first
            };
            if place.word.is_frozen() {
                self.merge(guard, blocks, &place.anchor)?;
                continue;
            }
            let parts = [Part::Run(block, 0, index), Part::Run(block, index + 1, block.len())];
            let made = make_block(guard, blocks, block.level(), &parts, block.right())?;
            let dropped = Some(ensure_live(guard, anchor.offset)?);
            if exchange(guard, blocks, &place, &[made], dropped)? {
                return self.merge_if_sparse(guard, blocks, &place.anchor);
            }
        }
    }
}
