//! Adding an entry.
#![forbid(unsafe_code)]

use super::block::{Child, Item, Part};
use super::ordered::OrderedIndex;
use super::position::{Cut, Position};
use super::replace::with_item;
use super::seek::Place;
use crate::epoch::Guard;
use crate::index::Blocks;
use crate::shm::ShmError;
use crate::sync::Ordering;

/// What became of an entry that was to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is new.
    New,
    /// It was there, and whoever was about to remove it looks again at the row.
    Present,
}

impl OrderedIndex<'_> {
    /// Adds the entry of `key` and `row`, a multiple of 16. Whoever adds it because of a version has linked that version before (O5).
    ///
    /// # Errors
    /// `OutOfSpace`: nothing is changed then. When the mapping is damaged.
    pub fn insert(
        &self,
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        key: &[u8],
        row: u64,
    ) -> Result<Added, ShmError> {
        let at = Position::new(key, row);
        let item = Item { prefix: at.prefix, rank: at.rank, tail: at.tail, child: Child::NONE };
        loop {
            let place = self.descend(guard, &Cut::behind(at), 0)?;
            match place.find(guard, &at)? {
                Ok(_) => {
                    if self.add_again(guard, blocks, &place)? {
                        return Ok(Added::Present);
                    }
                }
                Err(index) => {
                    if self.put(guard, blocks, &place, &with_item(place.block, index, index, item))? {
                        // The entry is in, whatever becomes of this.
                        let _ = self.mend(guard, blocks, &place);
                        return Ok(Added::New);
                    }
                }
            }
        }
    }

    /// Changes the word at `place`, unless it has been changed since, though the block has what was to be added (O5).
    pub(super) fn add_again(
        &self,
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        place: &Place<'_>,
    ) -> Result<bool, ShmError> {
        if place.word.is_frozen() {
            self.merge(guard, blocks, &place.anchor)?;
            return Ok(false);
        }
        let Some(to) = place.word.added_again() else {
            // Of a copy none has been counted.
            return self.put(guard, blocks, place, &[Part::Run(place.block, 0, place.block.len())]);
        };
        let (from, to) = (place.word.bits(), to.bits());
        // O5. AcqRel: as every change of the word.
        Ok(place.anchor.word().compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok())
    }
}
