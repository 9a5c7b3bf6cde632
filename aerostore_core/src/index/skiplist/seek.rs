//! The way down to the block that covers a place.
#![forbid(unsafe_code)]

use super::anchor::{Anchor, AnchorWord};
use super::block::Block;
use super::ordered::OrderedIndex;
use super::position::{Cut, Position};
use crate::epoch::Guard;
use crate::shm::ShmError;

/// A block that was in force when its anchor's word was loaded, and what the way there has shown.
#[derive(Clone, Copy)]
pub(super) struct Place<'g> {
    pub(super) anchor: Anchor<'g>,
    pub(super) word: AnchorWord,
    pub(super) block: Block<'g>,
    /// The last anchor that no hint has led to.
    pub(super) unhinted: Option<Anchor<'g>>,
    /// The last anchor that is about to go.
    pub(super) closing: Option<Anchor<'g>>,
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
        if level == 0
            && let Some(directory) = &self.directory
            && let Some(place) = self.descend_by(directory, guard, cut)?
        {
            return Ok(place);
        }
        self.descend_from_top(guard, cut, level)
    }

    /// The same, without a directory.
    #[inline]
    pub(super) fn descend_from_top<'g>(
        &self,
        guard: &'g Guard<'_>,
        cut: &Cut<'_>,
        level: u8,
    ) -> Result<Place<'g>, ShmError> {
        loop {
            let root = Anchor::at(guard, guard.protect(self.root))?;
            if let Some(place) = descend_from(guard, root, cut, level)? {
                return Ok(place);
            }
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

/// None when a hint was overtaken: the level above says so by now.
#[inline]
fn descend_from<'g>(
    guard: &'g Guard<'_>,
    root: Anchor<'g>,
    cut: &Cut<'_>,
    level: u8,
) -> Result<Option<Place<'g>>, ShmError> {
    let (mut anchor, mut unhinted, mut closing) = (root, None, None);
    let mut is_hinted = false;
    let mut above = u8::MAX;
    loop {
        let word = anchor.load(guard);
        // M3: what is frozen counts only for who comes from the left.
        if word.is_dead() || (word.is_frozen() && is_hinted) {
            return Ok(None);
        }
        if above <= 2 {
            Block::prefetch(guard, word.offset(), above - 1);
        }
        let block = Block::at(guard, word.offset())?;
        if let Some(right) = block.right_before(guard, cut)? {
            (anchor, unhinted, is_hinted) = (right, Some(right), false);
            continue;
        }
        if block.level() == level {
            return Ok(Some(Place { anchor, word, block, unhinted, closing }));
        }
        if block.level() == 0 || block.len() == 0 {
            return Err(ShmError::Corrupt {
                offset: block.offset,
                what: "a block of an index leads nowhere",
            });
        }
        // A block's first entry is its anchor's low key, so none is on the left only of a cut that is before everything.
        let mut index = block.count_left_of(guard, cut)?.saturating_sub(1);
        while block.child(index).is_closing() && index > 0 {
            closing = Some(Anchor::at(guard, block.child(index).anchor())?);
            index -= 1;
        }
        above = block.level();
        anchor = Anchor::at(guard, block.child(index).anchor())?;
        is_hinted = true;
    }
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
            && at.is(self.block.prefixes()[index], self.block.rank(index), || self.block.tail(index));
        Ok(if is_there { Ok(index) } else { Err(index) })
    }
}
