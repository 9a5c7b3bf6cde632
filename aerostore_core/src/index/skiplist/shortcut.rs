//! The way to a block of the bottom level by the directory, where the keys are hashes.
//!
//! Rules       D1, D2 of `directory`. What is met on the way is remembered in the slot, when it serves better: so a directory fills and
//!             mends itself by being used, and is right whenever it is not.
#![forbid(unsafe_code)]

use super::anchor::{Anchor, NAMED_BYTES};
use super::block::Block;
use super::directory::{Directory, Entry};
use super::ordered::OrderedIndex;
use super::position::{Cut, Position};
use super::seek::Place;
use crate::epoch::Guard;
use crate::shm::{BlockKind, ShmError};

/// Anchors that a search passes to the right of the one that a slot names, before the levels are the shorter way.
const STEPS_MAX: usize = 4;

impl OrderedIndex<'_> {
    /// The block of the bottom level for a cut, as [`OrderedIndex::descend`] finds it; none where the directory is no help.
    #[inline]
    pub(super) fn descend_by<'g>(
        &self,
        directory: &Directory<'_>,
        guard: &'g Guard<'_>,
        cut: &Cut<'_>,
    ) -> Result<Option<Place<'g>>, ShmError> {
        let Some(entry) = directory.entry(guard, cut.at.prefix)? else { return Ok(None) };
        let (named, is_crowded) = entry.load();
        let block_hint = entry.block_hint();
        Block::prefetch(guard, block_hint, 0);
        if is_crowded && cut.at.rank.row() != 0 {
            return Ok(None);
        }
        let Some(start) = self.named(guard, named, cut)? else {
            return self.descend_and_note(guard, cut, &entry);
        };
        let (mut anchor, mut best) = (start, start);
        for step in 0..STEPS_MAX {
            let word = anchor.load(guard);
            // M3: what is frozen counts only for who comes from the left.
            if word.is_dead() || (word.is_frozen() && step == 0) {
                return self.descend_and_note(guard, cut, &entry);
            }
            if word.offset() != block_hint {
                Block::prefetch(guard, word.offset(), 0);
                if step == 0 {
                    entry.hint_at_block(word.offset());
                }
            }
            let block = Block::at(guard, word.offset())?;
            let Some(right) = block.right_before(guard, cut)? else {
                if best.offset != named {
                    entry.store(best.offset, is_crowded);
                }
                return Ok(Some(Place { anchor, word, block, unhinted: None, closing: None }));
            };
            anchor = right;
            if serves(&anchor, &entry) {
                best = anchor;
            }
        }
        if serves(&anchor, &entry) {
            // The slot is behind the times.
            return self.descend_and_note(guard, cut, &entry);
        }
        if !is_crowded {
            entry.store(best.offset, true);
        }
        Ok(None)
    }

    /// The anchor at an offset that a slot has named, if it is one, of this index, on the left of the cut (D2).
    #[inline]
    fn named<'g>(
        &self,
        guard: &'g Guard<'_>,
        offset: u64,
        cut: &Cut<'_>,
    ) -> Result<Option<Anchor<'g>>, ShmError> {
        if offset == 0 || !guard.is_live(offset, BlockKind::INDEX_ANCHOR, NAMED_BYTES)? {
            return Ok(None);
        }
        let anchor = Anchor::at(guard, offset)?;
        let is_ours = anchor.root(guard)? == Some(self.root_offset);
        Ok((is_ours && anchor.is_left_of(guard, cut)?).then_some(anchor))
    }

    /// Has the slot name the last anchor on its left, and leaves the cut to the levels.
    #[cold]
    fn descend_and_note<'g>(
        &self,
        guard: &'g Guard<'_>,
        cut: &Cut<'_>,
        entry: &Entry<'_>,
    ) -> Result<Option<Place<'g>>, ShmError> {
        let first = self.descend_from_top(guard, &Cut::behind(Position::of_prefix(entry.first)), 0)?;
        entry.store(if first.word.is_frozen() { 0 } else { first.anchor.offset }, false);
        self.descend_from_top(guard, cut, 0).map(Some)
    }
}

/// Does all that the slot is for lie on the anchor's right?
fn serves(anchor: &Anchor<'_>, entry: &Entry<'_>) -> bool {
    anchor.prefix() <= entry.first
}
