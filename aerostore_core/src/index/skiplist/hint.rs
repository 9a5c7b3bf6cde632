//! Hints: the level above learns of an anchor, from whoever made it or misses it there.
#![forbid(unsafe_code)]

use super::anchor::{Anchor, AnchorWord};
use super::block::{self, Child, Item, Measure, Part};
use super::ordered::OrderedIndex;
use super::position::{Cut, Position};
use super::replace::with_item;
use crate::epoch::Guard;
use crate::index::{Blocks, Exchange};
use crate::shm::{BlockKind, BlockRef, ShmError};

impl OrderedIndex<'_> {
    /// Lets the level above lead to `anchor`, if it does not already, and as long as the anchor is in the list.
    ///
    /// # Errors
    /// `OutOfSpace`; when the mapping is damaged.
    #[cold]
    pub(super) fn add_hint(
        &self,
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        anchor: &Anchor<'_>,
    ) -> Result<(), ShmError> {
        let low = anchor.low(guard)?;
        loop {
            let top = Anchor::at(guard, guard.protect(self.root))?;
            if top.level() <= anchor.level() {
                if self.grow(guard, blocks, &top, anchor)? {
                    return Ok(());
                }
                continue;
            }
            let place = self.descend(guard, &Cut::behind(low), anchor.level() + 1)?;
            let index = place.block.count_left_of(guard, &Cut::behind(low))?;
            let is_there = index > 0 && place.block.child(index - 1).anchor() == anchor.offset;
            // M2: the block of the level above was loaded before.
            let word = anchor.load(guard);
            if is_there || word.is_frozen() || word.is_dead() {
                return Ok(());
            }
            let parts = with_item(place.block, index, index, hint_to(anchor));
            if self.put(guard, blocks, &place, &parts)? {
                return Ok(());
            }
        }
    }

    /// Puts a level above the topmost one, which begins with `top` and has `anchor` too.
    fn grow(
        &self,
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        top: &Anchor<'_>,
        anchor: &Anchor<'_>,
    ) -> Result<bool, ShmError> {
        let level = top.level() + 1;
        let parts = [Part::One(hint_to(top)), Part::One(hint_to(anchor))];
        let block = blocks.alloc(Measure::of(&parts).bytes(level), BlockKind::INDEX_BLOCK)?;
        let made = block::write(guard, block.offset, level, &parts, None)
            .and_then(|()| Anchor::make(guard, blocks, (level, None), &Position::FIRST, block.offset));
        let made: BlockRef = match made {
            Ok(made) => made,
            Err(error) => {
                blocks.give_back(block);
                return Err(error);
            }
        };
        let (from, to) = (AnchorWord::block(top.offset), AnchorWord::block(made.offset));
        let made = [block, made];
        let change =
            Exchange { from: from.bits(), to: to.bits(), made: &made, replaced: None, dropped: None };
        blocks.exchange(self.root, self.root_offset, &change)
    }
}

/// The entry that leads to an anchor.
fn hint_to<'a>(anchor: &Anchor<'_>) -> Item<'a> {
    Item { prefix: anchor.prefix(), rank: anchor.rank(), tail: &[], child: Child::new(anchor.offset) }
}
