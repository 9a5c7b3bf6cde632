//! The way down to the block that covers a place.
#![forbid(unsafe_code)]

use super::anchor::{Anchor, AnchorWord};
use super::block::Block;
use super::ordered::OrderedIndex;
use super::position::{Cut, Position};
use crate::epoch::Guard;
use crate::shm::ShmError;

/// A block that was in force when its anchor's word was loaded.
#[derive(Clone, Copy)]
pub(super) struct Place<'g> {
    pub(super) anchor: Anchor<'g>,
    pub(super) word: AnchorWord,
    pub(super) block: Block<'g>,
    /// The last anchor on the way that no hint has led to.
    pub(super) unhinted: Option<Anchor<'g>>,
}

impl OrderedIndex<'_> {
    /// The block of `level` that covers what is next to the cut: on its left, or what stands exactly there if that counts as left.
    ///
    /// # Errors
    /// When the mapping is damaged.
    #[inline]
    pub(super) fn descend<'g>(
        &self,
        guard: &'g Guard<'_>,
        cut: &Cut<'_>,
        level: u8,
    ) -> Result<Place<'g>, ShmError> {
        let mut anchor = Anchor::at(guard, guard.protect(self.root))?;
        let mut unhinted = None;
        loop {
            let word = anchor.load(guard);
            let block = Block::at(guard, word.offset())?;
            if let Some(right) = block.right_before(guard, cut)? {
                unhinted = Some(right);
                anchor = right;
                continue;
            }
            if block.level() == level {
                return Ok(Place { anchor, word, block, unhinted });
            }
            anchor = child_left_of(guard, &block, cut)?;
        }
    }

    /// Is there an entry of that key and row?
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn contains(&self, guard: &Guard<'_>, key: &[u8], row: u64) -> Result<bool, ShmError> {
        let at = Position::new(key, row);
        let place = self.descend(guard, &Cut::behind(at), 0)?;
        Ok(place.find(guard, &at)?.is_ok())
    }
}

/// The anchor by which a search for `cut` goes on from a block above the bottom level.
#[inline]
fn child_left_of<'g>(guard: &'g Guard<'_>, block: &Block<'g>, cut: &Cut<'_>) -> Result<Anchor<'g>, ShmError> {
    if block.level() == 0 || block.len() == 0 {
        return Err(ShmError::Corrupt { offset: block.offset, what: "a block of an index leads nowhere" });
    }
    // A block's first entry is its anchor's low key, so none is on the left only of a cut that is before everything.
    let index = block.count_left_of(guard, cut)?.saturating_sub(1);
    let child = block.child(index).anchor();
    if block.level() == 1 {
        guard.arena().prefetch(child);
    }
    Anchor::at(guard, child)
}

impl<'g> Place<'g> {
    /// The number of the entry at `at`, or else of the first behind it.
    #[inline]
    pub(super) fn find(
        &self,
        guard: &'g Guard<'_>,
        at: &Position<'_>,
    ) -> Result<Result<usize, usize>, ShmError> {
        let index = self.block.count_left_of(guard, &Cut::before(*at))?;
        let is_there = index < self.block.len()
            && at.is(self.block.prefixes()[index], self.block.word(index).rank(), || self.block.tail(index));
        Ok(if is_there { Ok(index) } else { Err(index) })
    }
}
