//! Slabs: 64 KiB of blocks of one size, owned by one session at a time.
//!
//! Layout      the headers of an extent's 32 slabs lie together in the second half of its first page, so that a scan of
//!             owners touches one page per extent, and a block may be as large as its slab. The first slab of an extent is
//!             shorter by that page.
//! Invariants  S1: owner, use and run length are one word, changed by CAS only: what a stalled process does late, fails. S2: a
//!             slab that is owned but still forming hands out nothing, so it can be freed when its owner dies. S3: a tagged
//!             slab is on its list before its first block is handed out, and stays there. S4: `generation` is at least that
//!             of every block the slab ever held, and 0 only if its memory was never used; it grows with every use.
//! Ordering    the word is moved with `AcqRel`, so an owner sees what the last owner left in the header.

mod list;
mod word;

use super::block::{BLOCK_HEADER_BYTES, BlockHeader, BlockState, BlockWord};
use super::class::{block_bytes, class_for};
use super::{Arena, BlockRef, RelPtr, Shared, ShmError};
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};
use crate::sys::{prefetch, usize_of};

pub use list::tagged_slabs;
pub(super) use list::{is_on_list, push_listed};
pub use word::OwnerId;
pub(super) use word::{SlabOwner, SlabUse, SlabWord};

/// Bytes of a slab.
pub const SLAB_BYTES: u64 = 64 << 10;
/// Bytes by which the file grows.
pub const EXTENT_BYTES: u64 = 2 << 20;

/// The largest arena: half of what a process can address, and slab numbers of 32 bits suffice by far.
pub(super) const MAX_BYTES_LIMIT: u64 = 1 << 46;
/// Slabs of an extent.
pub(super) const SLABS_PER_EXTENT: u64 = EXTENT_BYTES / SLAB_BYTES;
/// Bytes at the start of an extent that are not for blocks.
pub(super) const PAGE_BYTES: u64 = 4096;
/// Where in that page the slab headers begin.
pub(super) const SLAB_TABLE_OFFSET: u64 = 2048;

/// The tag of slabs that are on no list.
pub(super) const NO_TAG: u32 = 0;

/// One slab's header; all zero while the slab was never used.
#[repr(C)]
pub(super) struct SlabHeader {
    word: AtomicU64,
    /// Offset of the header of the next slab of the same tag; 0 at the end.
    pub(super) next: AtomicU64,
    /// The table, or whatever else the blocks belong to; [`NO_TAG`] for none.
    pub(super) tag: AtomicU32,
    /// See S4.
    pub(super) generation: AtomicU32,
    /// Not 0 when a block may have become free without the owner's knowledge; see [`HINT_OWNER`].
    pub(super) hint: AtomicU32,
    /// 1 once the slab is on the list of its tag.
    pub(super) listed: AtomicU32,
    /// Of an extent's first slab: whether the extent has memory, see `giveback`.
    pub(super) extent_memory: AtomicU32,
    /// Of an extent's first slab: 1 when tagged slabs come from here, see [`Arena::extent_serves`].
    pub(super) extent_is_tagged: AtomicU32,
    pad: [u64; 3],
}

/// How far ahead of the block that is looked at the headers of those behind it are fetched, when they are looked at one after the
/// other: processors that see that by themselves begin anew at every page.
const AHEAD_BYTES: usize = 1024;

/// For the owner, or whoever adopts the slab.
const HINT_OWNER: u32 = 1;
/// For whoever looks for slabs without an owner that have become empty.
const HINT_EMPTY: u32 = 2;
const HINTS: u32 = HINT_OWNER | HINT_EMPTY;

#[cfg(not(loom))]
const _: () = assert!(size_of::<SlabHeader>() as u64 == SLAB_HEADER_BYTES);
const SLAB_HEADER_BYTES: u64 = 64;

// SAFETY: repr(C); atomics and unused integers; any bits are valid.
unsafe impl Shared for SlabHeader {}

impl SlabHeader {
    /// A header on the heap, for tests that claim slabs without an arena.
    #[cfg(all(test, loom))]
    pub(super) fn unused() -> Self {
        Self {
            word: AtomicU64::new(0),
            next: AtomicU64::new(0),
            tag: AtomicU32::new(NO_TAG),
            generation: AtomicU32::new(0),
            hint: AtomicU32::new(0),
            listed: AtomicU32::new(0),
            extent_memory: AtomicU32::new(0),
            extent_is_tagged: AtomicU32::new(0),
            pad: [0; 3],
        }
    }

    #[inline]
    pub(super) fn load(&self) -> SlabWord {
        // Acquire: pairs with the Release of `replace`; header and block states of the last owner are seen.
        SlabWord(self.word.load(Ordering::Acquire))
    }

    /// The slab as it is now; it is number `index`.
    #[inline]
    fn slab(&self, index: u32) -> SlabRef {
        let word = self.load();
        // Relaxed: ordered by the Acquire load above.
        SlabRef { index, word, generation: self.generation.load(Ordering::Relaxed) }
    }

    /// Moves the word from `current` to `new`; false when it is something else by now. S1.
    #[inline]
    pub(super) fn replace(&self, current: SlabWord, new: SlabWord) -> bool {
        // AcqRel: pairs with itself and with `load`: owners follow each other in order. Acquire on failure is not needed.
        self.word.compare_exchange(current.0, new.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Notes that a block became free behind the owner's back; true when the note is new.
    #[inline]
    pub(super) fn raise_hint(&self) -> bool {
        // SeqCst, like the CAS that freed the block before and the swap in `take_hint`: either we see the hint lowered and
        // raise it, or its taker scans after our CAS and finds the block.
        self.hint.load(Ordering::SeqCst) != HINTS && self.hint.swap(HINTS, Ordering::SeqCst) != HINTS
    }

    /// Whether there was a note; takes it. The caller scans the states afterwards.
    #[inline]
    pub(super) fn take_hint(&self) -> bool {
        // Relaxed look first: most slabs have no hint, and a note missed now is found at the next look.
        let is_taken = self.hint.load(Ordering::Relaxed) != 0 && self.hint.swap(0, Ordering::SeqCst) != 0;
        if is_taken {
            // The scan's loads come after it: one who saw the note still there, and raised none, freed its block before.
            fence(Ordering::SeqCst);
        }
        is_taken
    }

    /// Whether there is a note, for anybody.
    pub(super) fn has_hint(&self) -> bool {
        // SeqCst: as in `raise_hint`, whose caller may have seen another owner.
        self.hint.load(Ordering::SeqCst) != 0
    }

    /// Whether blocks may have become free since somebody last asked this; the owner's note stays.
    pub(super) fn take_empty_hint(&self) -> bool {
        // Relaxed look first, as in `take_hint`.
        let hint = self.hint.load(Ordering::Relaxed);
        // SeqCst: as in `take_hint`. Should it fail, somebody else is looking at the slab.
        let is_taken = hint & HINT_EMPTY != 0
            && self.hint.compare_exchange(hint, HINT_OWNER, Ordering::SeqCst, Ordering::Relaxed).is_ok();
        if is_taken {
            fence(Ordering::SeqCst);
        }
        is_taken
    }
}

/// Offset of the header of slab `index`.
pub(super) fn slab_header_offset(index: u32) -> u64 {
    let index = u64::from(index);
    index / SLABS_PER_EXTENT * EXTENT_BYTES + SLAB_TABLE_OFFSET + index % SLABS_PER_EXTENT * SLAB_HEADER_BYTES
}

/// The slab whose header is at `offset`, if one can be there.
fn slab_index_of_header(offset: u64) -> Option<u32> {
    let place = (offset % EXTENT_BYTES).checked_sub(SLAB_TABLE_OFFSET)?;
    let index = offset / EXTENT_BYTES * SLABS_PER_EXTENT + place / SLAB_HEADER_BYTES;
    let sound = place < SLABS_PER_EXTENT * SLAB_HEADER_BYTES && place.is_multiple_of(SLAB_HEADER_BYTES);
    if sound { u32::try_from(index).ok() } else { None }
}

/// The slab that holds the byte at `offset`.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "an arena has at most 2^46 bytes, checked when it is opened"
)]
pub(super) const fn slab_of(offset: u64) -> u32 {
    (offset / SLAB_BYTES) as u32
}

/// Where the blocks of a slab begin.
#[inline]
pub(super) fn slab_start(index: u32) -> u64 {
    let start = u64::from(index) * SLAB_BYTES;
    if is_first_of_extent(index) { start + PAGE_BYTES } else { start }
}

/// Whether the slab shares its memory with the slab headers.
#[inline]
pub(super) fn is_first_of_extent(index: u32) -> bool {
    u64::from(index).is_multiple_of(SLABS_PER_EXTENT)
}

/// How many blocks of `class` slab `index` holds; 0 when none fits beside the slab headers.
#[inline]
pub(super) fn block_count(index: u32, class: u8) -> u64 {
    let bytes = if is_first_of_extent(index) { SLAB_BYTES - PAGE_BYTES } else { SLAB_BYTES };
    bytes / block_bytes(class)
}

/// A slab as it was at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlabRef {
    index: u32,
    word: SlabWord,
    generation: u32,
}

impl SlabRef {
    pub(super) fn index(self) -> u32 {
        self.index
    }

    pub(super) fn word(self) -> SlabWord {
        self.word
    }

    #[cfg(test)]
    pub(crate) fn is_orphan(&self) -> bool {
        self.word.owner() == SlabOwner::Orphan
    }

    /// Offset of the slab's first byte; slabs sort by it.
    pub fn offset(self) -> u64 {
        u64::from(self.index) * SLAB_BYTES
    }

    /// Payload bytes of each block; 0 for a slab that holds none.
    pub fn payload_bytes(self) -> u64 {
        self.layout().map_or(0, |(_, _, bytes)| bytes - BLOCK_HEADER_BYTES)
    }

    /// Every block of the slab in address order: the payload's offset and the state word, each read when its turn comes.
    /// Free blocks are included.
    pub fn blocks(self, arena: &Arena) -> impl Iterator<Item = (u64, BlockWord)> + '_ {
        self.offsets().map_while(move |offset| Some((offset, arena.block_word(offset).ok()?)))
    }

    /// The blocks of a slab that stays in use for blocks, to be read again and again; empty for another.
    ///
    /// # Errors
    /// `BadOffset` when they do not lie in the arena: the mapping is damaged.
    pub(crate) fn states(self, arena: &Arena) -> Result<SlabStates<'_>, ShmError> {
        let (start, count, bytes) = self.layout().unwrap_or((0, 0, 0));
        let place = if count == 0 { std::ptr::null_mut() } else { arena.bytes(start, count * bytes)? };
        Ok(SlabStates { place, start, count, bytes, arena: std::marker::PhantomData })
    }

    /// The payload offsets of the slab's blocks.
    pub(super) fn offsets(self) -> impl Iterator<Item = u64> {
        let (start, count, bytes) = self.layout().unwrap_or((0, 0, 0));
        (0..count).map(move |block| start + block * bytes + BLOCK_HEADER_BYTES)
    }

    /// Whether the slab still is used for the same blocks, whoever owns it.
    pub fn is_unchanged(self, arena: &Arena) -> bool {
        arena.slab_ref(self.index).is_some_and(|now| now.is_as(self))
    }

    #[inline]
    fn is_as(self, before: Self) -> bool {
        self.word.is_used_as(before.word) && self.generation == before.generation
    }

    /// Payload bytes of the block whose payload begins at `offset`, if one does.
    pub(super) fn capacity_at(self, offset: u64) -> Option<u64> {
        let (start, count, bytes) = self.layout()?;
        let place = offset.checked_sub(start + BLOCK_HEADER_BYTES)?;
        (place.is_multiple_of(bytes) && place / bytes < count).then_some(bytes - BLOCK_HEADER_BYTES)
    }

    /// First block, number of blocks, bytes of each.
    fn layout(self) -> Option<(u64, u64, u64)> {
        if !self.word.is_in_use() {
            return None;
        }
        match self.word.usage() {
            SlabUse::Blocks(class) => {
                Some((slab_start(self.index), block_count(self.index, class), block_bytes(class)))
            }
            SlabUse::Large(run) => Some((slab_start(self.index), 1, run * SLAB_BYTES)),
            SlabUse::Forming | SlabUse::Tail => None,
        }
    }
}

/// The state words of a slab's blocks.
pub(crate) struct SlabStates<'a> {
    /// Where the first block begins, in this process.
    place: *const u8,
    start: u64,
    count: u64,
    bytes: u64,
    arena: std::marker::PhantomData<&'a Arena>,
}

impl SlabStates<'_> {
    /// How many blocks there are.
    #[inline]
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Finds LIVE blocks from number `next` on, until the places given are full: the offsets of their payloads, and the first words
    /// of those. Returns how many, and the number of the block after the last one looked at.
    #[inline]
    #[expect(clippy::cast_ptr_alignment, reason = "blocks begin at multiples of 16")]
    pub(crate) fn live<const N: usize>(
        &self,
        next: u64,
        offsets: &mut [u64; N],
        words: &mut [u64; N],
    ) -> (usize, u64) {
        let (mut found, mut number) = (0, next.min(self.count));
        let mut at = number * self.bytes;
        while found < N && number < self.count {
            prefetch(self.place.wrapping_add(usize_of(at) + AHEAD_BYTES));
            // SAFETY: `states` checked that `count` blocks of `bytes` from `place` on lie in the arena, which `'a` keeps mapped; slabs
            // begin at pages and blocks are multiples of 16 bytes long, and longer than a header and a word; `BlockHeader` and
            // words are `Shared`, so any bits are valid.
            let (header, first) = unsafe {
                let block = self.place.add(usize_of(at));
                (&*block.cast::<BlockHeader>(), &*block.add(size_of::<BlockHeader>()).cast::<AtomicU64>())
            };
            let is_live = header.load().state() == BlockState::Live;
            // Overwritten by the next one if it is not LIVE. Acquire: the word may hold the address of a block.
            offsets[found] = self.start + at + BLOCK_HEADER_BYTES;
            words[found] = first.load(Ordering::Acquire);
            found += usize::from(is_live);
            number += 1;
            at += self.bytes;
        }
        (found, number)
    }
}

impl Arena {
    /// The header of slab `index`, which has to lie in an extent that exists.
    #[inline]
    pub(super) fn slab_header(&self, index: u32) -> Option<&SlabHeader> {
        if u64::from(index) < self.first_slab() {
            return None;
        }
        self.resolve(RelPtr::new(slab_header_offset(index))).ok()
    }

    /// Asks the processor for the header of slab `index`.
    #[inline]
    pub(super) fn prefetch_slab_header(&self, index: u32) {
        self.prefetch(slab_header_offset(index));
    }

    /// Slab `index` as it is now.
    pub(super) fn slab_ref(&self, index: u32) -> Option<SlabRef> {
        Some(self.slab_header(index)?.slab(index))
    }

    /// What `look` finds at `block`, which may be of an earlier use of its memory; `None` when nothing is in use there, or when
    /// the slab became another while it was looked at.
    ///
    /// # Errors
    /// What `look` says.
    #[inline]
    pub fn look_at<T, E>(
        &self,
        block: BlockRef,
        look: impl FnOnce() -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        // S4: what the slab held before has a smaller generation, but when that has begun again from 0. Only then it is worth
        // a division to see where its blocks begin: if none begins there, what looks like its state word is of another's payload.
        let begins_there =
            |slab: SlabRef| block.generation >= slab.generation || slab.capacity_at(block.offset).is_some();
        self.look_if(block.offset, begins_there, look)
    }

    /// The same, of a block of which nothing is known but that one for so many bytes of payload began at `offset` once.
    ///
    /// # Errors
    /// What `look` says.
    #[inline]
    pub fn look_where_one_began<T, E>(
        &self,
        offset: u64,
        bytes: usize,
        look: impl FnOnce() -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        // Blocks of one class begin in the same places in each use of a slab.
        let is_same = |slab: SlabRef| matches!((slab.word.usage(), class_for(bytes)), (SlabUse::Blocks(is), Some(was)) if is == was);
        self.look_if(offset, is_same, look)
    }

    #[inline]
    fn look_if<T, E>(
        &self,
        offset: u64,
        begins_there: impl FnOnce(SlabRef) -> bool,
        look: impl FnOnce() -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        let index = slab_of(offset);
        let Some(header) = self.slab_header(index) else { return Ok(None) };
        let slab = header.slab(index);
        if !slab.word.is_in_use() || !begins_there(slab) {
            return Ok(None);
        }
        let seen = look()?;
        Ok(header.slab(index).is_as(slab).then_some(seen))
    }

    /// The tag of the slab that holds the block at `offset`: what the block was [allocated](super::Heap::alloc_tagged) with.
    ///
    /// # Errors
    /// `BadOffset` when `offset` lies in no slab.
    pub fn block_tag(&self, offset: u64) -> Result<u32, ShmError> {
        let slab = u32::try_from(offset / SLAB_BYTES).ok().and_then(|slab| self.slab_header(slab));
        // Relaxed: written before the slab's first block was handed out.
        slab.map(|slab| slab.tag.load(Ordering::Relaxed)).ok_or(ShmError::BadOffset { offset, bytes: 0 })
    }

    /// All slabs that are not for fixed tables, in address order, each as it is when its turn comes.
    pub fn slabs(&self) -> impl Iterator<Item = SlabRef> + '_ {
        (slab_of(self.first_slab() * SLAB_BYTES)..self.slab_end()).filter_map(|index| self.slab_ref(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_offsets_lead_back_to_their_slab() {
        for index in [0, 1, 31, 32, 33, 1_000_000] {
            assert_eq!(slab_index_of_header(slab_header_offset(index)), Some(index));
        }
        assert_eq!(slab_index_of_header(0), None);
        assert_eq!(slab_index_of_header(SLAB_TABLE_OFFSET + 8), None);
        assert_eq!(slab_index_of_header(PAGE_BYTES), None);
    }
}
