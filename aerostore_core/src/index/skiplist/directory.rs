//! The directory of an index whose keys are hashes: for each beginning that a hash can have, an anchor to begin a search at.
//!
//! Shape       a table of the key hash's kind, of which only slots and memory are used: slot number *i* is for the hashes whose first
//!             bits are *i*, and names an anchor of the bottom level, if any, and that one's block, to be fetched ahead. Hashes are spread evenly, so with more slots than
//!             anchors a slot's anchor is mostly the one that covers the hash. There is none while the index is small.
//! Growth      anchors that begin with a key are counted; the others, between rows of one key, are of no use here. When the table does
//!             not fit them, a `next` is made, with all its segments and empty slots; then it takes the place of the first.
//! Rules       D1: a slot is a hint. Any anchor of the index will do, from which what is sought lies to the right; and none will. So it
//!             does not matter what is lost, late or overwritten, when a directory is replaced or is only half there.
//!             D2: nobody takes the name of an anchor back when that goes: its memory may be in any use, or gone. So
//!             who follows one sees first that an anchor is LIVE there (that is then held, `Guard::is_live`), of this
//!             index, which it says itself: the offset alone could be that of a later anchor of another. One that is LIVE was in the
//!             list (O3), and is while its word is neither frozen nor dead (M3); frozen it counts for nobody who comes this
//!             way. D3: a table is replaced when all its segments are there, so that nobody adds one to it afterwards,
//!             and its successor is reachable before, as its `next`: so each block has one word that leads to it,
//!             whoever dies. D4: before an index is taken apart its directory is.
//! Ordering    slots are stored with Release and loaded with Acquire, though D2 rests on the state word that is loaded after them.
//! Source      a trie's levels replaced by a table of the keys' first bits: extendible hashing, Fagin et al., TODS 4(3), 1979. We
//!             differ: slots are hints above a list that is complete without them, so they need no split protocol.
#![forbid(unsafe_code)]

use super::anchor::Anchor;
use crate::epoch::Guard;
use crate::index::Blocks;
use crate::index::hash::{HashTable, Probe, Slot};
use crate::shm::{BlockKind, ShmError};
use crate::sync::{AtomicU64, Ordering};

/// Anchors from which on a directory is worth its memory.
const ANCHORS_MIN: u64 = 8;
/// The least share of slots by anchors in a new directory.
const SLOTS_PER_ANCHOR: u64 = 2;
/// A directory is replaced by a smaller one when it could be so many times halved.
const HALVINGS: u32 = 3;

/// A directory, seen through the words of its index that name it and count its anchors.
#[derive(Clone, Copy)]
pub struct Directory<'a> {
    word: &'a AtomicU64,
    word_offset: u64,
    /// Anchors that begin with a key, about: a death can lose one.
    anchors: &'a AtomicU64,
}

/// What a directory says of some hashes.
pub(super) struct Entry<'g> {
    slot: &'g Slot,
    /// The least of them.
    pub(super) first: u64,
}

/// Flag of a slot's word: so many anchors begin in it that its own is no way to those at its end.
const CROWDED: u64 = 1;

impl Entry<'_> {
    /// Offset of the anchor, or 0; and is the slot crowded?
    pub(super) fn load(&self) -> (u64, bool) {
        // Acquire: pairs with the Release in `store`.
        let word = self.slot.word.load(Ordering::Acquire);
        (word & !CROWDED, word & CROWDED != 0)
    }

    /// Where the anchor's block was last known to be, to be fetched ahead, or 0.
    pub(super) fn block_hint(&self) -> u64 {
        // Relaxed, here and below: nothing follows it.
        self.slot.hint.load(Ordering::Relaxed)
    }

    /// Says where the anchor's block is.
    pub(super) fn hint_at_block(&self, block: u64) {
        self.slot.hint.store(block, Ordering::Relaxed);
    }

    /// Names another anchor, or none (D1).
    pub(super) fn store(&self, anchor: u64, is_crowded: bool) {
        let word = if is_crowded { anchor | CROWDED } else { anchor };
        self.slot.word.store(word, Ordering::Release);
    }
}

impl<'a> Directory<'a> {
    /// The directory that the word at `word_offset` names, 0 for none yet; `anchors` was 0 when the index was made.
    pub fn new(word: &'a AtomicU64, word_offset: u64, anchors: &'a AtomicU64) -> Self {
        Self { word, word_offset, anchors }
    }

    /// The slot for a hash, if there is one.
    #[inline]
    pub(super) fn entry<'g>(&self, guard: &'g Guard<'_>, hash: u64) -> Result<Option<Entry<'g>>, ShmError> {
        let offset = guard.protect(self.word);
        if offset == 0 {
            return Ok(None);
        }
        let table: &HashTable = guard.resolve(offset)?;
        let (index, first) = place_of(table.log2(), hash);
        let slot = Probe::at(table, index).slot(guard, offset)?;
        Ok(slot.map(|slot| Entry { slot, first }))
    }

    /// Counts anchors that have come into the list, and sees to a directory that fits.
    #[cold]
    pub(super) fn note_made(
        &self,
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        anchors: &[u64],
    ) -> Result<(), ShmError> {
        let mut count = 0;
        for anchor in anchors {
            let anchor = Anchor::at(guard, *anchor)?;
            if !begins_key(&anchor) {
                continue;
            }
            count += 1;
            // A segment that the maker of the table did not come to.
            let offset = guard.protect(self.word);
            if offset != 0 {
                let table: &HashTable = guard.resolve(offset)?;
                let (index, _) = place_of(table.log2(), anchor.prefix());
                Probe::at(table, index).slot_or_make(guard, offset, blocks)?;
            }
        }
        // Relaxed: an estimate.
        self.anchors.fetch_add(count, Ordering::Relaxed);
        self.fit(guard, blocks)
    }

    /// Counts an anchor that has gone.
    #[cold]
    pub(super) fn note_gone(
        &self,
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        anchor: &Anchor<'_>,
    ) -> Result<(), ShmError> {
        if !begins_key(anchor) {
            return Ok(());
        }
        // Relaxed: as above. It is 0 when somebody made one and died before he counted it.
        let mut count = self.anchors.load(Ordering::Relaxed);
        while let Some(less) = count.checked_sub(1)
            && let Err(seen) =
                self.anchors.compare_exchange(count, less, Ordering::Relaxed, Ordering::Relaxed)
        {
            count = seen;
        }
        self.fit(guard, blocks)
    }

    /// Makes a directory, or replaces it, when there is one needed, or another; D3. Whoever dies leaves the rest to the next.
    fn fit(&self, guard: &Guard<'_>, blocks: &mut dyn Blocks) -> Result<(), ShmError> {
        let anchors = self.anchors.load(Ordering::Relaxed);
        let offset = guard.protect(self.word);
        if offset == 0 {
            if anchors < ANCHORS_MIN {
                return Ok(());
            }
            link_table(guard, blocks, self.word, self.word_offset, log2_for(anchors))?;
            return make_segments(guard, blocks, guard.protect(self.word));
        }
        let table: &HashTable = guard.resolve(offset)?;
        if guard.protect(table.next()) == 0 {
            let (is, wanted) = (table.log2(), log2_for(anchors));
            if table.slots() >= anchors && wanted + HALVINGS > is {
                return Ok(());
            }
            link_table(guard, blocks, table.next(), HashTable::next_offset(offset), wanted)?;
        }
        let next = guard.protect(table.next());
        make_segments(guard, blocks, next)?;
        make_segments(guard, blocks, offset)?;
        HashTable::replace(guard, blocks, self.word, self.word_offset, [offset, next])
    }

    /// Gives its memory back, while nobody else is at the index.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub(super) fn dismantle(&self, guard: &Guard<'_>, blocks: &mut dyn Blocks) -> Result<(), ShmError> {
        HashTable::dismantle(guard, blocks, self.word, self.word_offset)?;
        self.anchors.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Offsets of its blocks.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub(super) fn for_each_block(&self, guard: &Guard<'_>, f: impl FnMut(u64)) -> Result<(), ShmError> {
        HashTable::for_each_block(guard, self.word, f)
    }

    /// The slots there are, for checks.
    pub(super) fn entries<'g>(&self, guard: &'g Guard<'_>) -> Result<Vec<Entry<'g>>, ShmError> {
        let offset = guard.protect(self.word);
        if offset == 0 {
            return Ok(Vec::new());
        }
        let table: &HashTable = guard.resolve(offset)?;
        let mut entries = Vec::new();
        for index in 0..table.slots() {
            let first = index << (u64::BITS - table.log2());
            let slot = Probe::at(table, index).slot(guard, offset)?;
            entries.extend(slot.map(|slot| Entry { slot, first }));
        }
        Ok(entries)
    }
}

/// The slot of a hash in a table of `1 << log2` slots, more than one, and the least hash of that slot.
#[inline]
fn place_of(log2: u32, hash: u64) -> (u64, u64) {
    let index = hash >> (u64::BITS - log2);
    (index, index << (u64::BITS - log2))
}

fn begins_key(anchor: &Anchor<'_>) -> bool {
    anchor.rank().row() == 0
}

fn log2_for(anchors: u64) -> u32 {
    (anchors.max(ANCHORS_MIN) * SLOTS_PER_ANCHOR).next_power_of_two().trailing_zeros()
}

/// Links a new table at `word`, unless there is one by now.
fn link_table(
    guard: &Guard<'_>,
    blocks: &mut dyn Blocks,
    word: &AtomicU64,
    word_offset: u64,
    log2: u32,
) -> Result<(), ShmError> {
    let block = blocks.alloc_zeroed(HashTable::bytes(log2), BlockKind::HASH_TABLE)?;
    guard.resolve::<HashTable>(block.offset)?.init(log2);
    blocks.link(word, word_offset, block)?;
    Ok(())
}

/// Makes the segments that the table at `offset`, 0 for none, lacks.
fn make_segments(guard: &Guard<'_>, blocks: &mut dyn Blocks, offset: u64) -> Result<(), ShmError> {
    if offset == 0 {
        return Ok(());
    }
    let table: &HashTable = guard.resolve(offset)?;
    table.make_segments(guard, offset, blocks)
}
