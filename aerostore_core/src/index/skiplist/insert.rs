//! Adding an entry.
#![forbid(unsafe_code)]

use super::block::{Child, Item};
use super::ordered::OrderedIndex;
use super::position::{Cut, EntryWord, Position};
use super::replace::with_item;
use crate::epoch::Guard;
use crate::index::Blocks;
use crate::shm::ShmError;
use crate::sync::{Ordering, fence};

/// What became of an entry that was to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is new.
    New,
    /// It was there.
    Present,
    /// It was there and about to be removed, and is not any more.
    Revived,
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
        let item =
            Item { prefix: at.prefix, word: EntryWord::new(at.rank), tail: at.tail, child: Child::NONE };
        loop {
            let place = self.descend(guard, &Cut::behind(at), 0)?;
            let (from, to, added) = match place.find(guard, &at)? {
                Ok(index) if place.block.word(index).dying().is_some() => (index, index + 1, Added::Revived),
                Ok(_) => {
                    // O5: comes after the version's link, as the remover's look at the chain after its mark.
                    fence(Ordering::SeqCst);
                    if place.word.is_frozen() {
                        self.merge(guard, blocks, &place.anchor)?;
                    } else if place.anchor.load(guard) == place.word {
                        return Ok(Added::Present);
                    }
                    continue;
                }
                Err(index) => (index, index, Added::New),
            };
            if self.put(guard, blocks, &place, &with_item(place.block, from, to, item))? {
                // The entry is in, whatever becomes of this.
                let _ = self.mend(guard, blocks, &place);
                return Ok(added);
            }
        }
    }
}
