//! Blocks: what the allocator hands out, and the state word that is the only truth about each.
//!
//! Layout      16 bytes of header before a 16-aligned payload; word = generation:32 | retirer:16 | kind:8 | state:8.
//! Invariants  B1: FREE -> RESERVED is done by the slab's owner only, and raises the generation. B2: a move that others may try
//!             too is a CAS on the whole word, so exactly one caller wins it; one that only the caller may make (B1, B3, or
//!             nobody else knows the block) is a store. B3: a block is freed by who reserved or retired it, or, once that
//!             process is dead, by whoever reaps it.
//! Ordering    publish and retire are `AcqRel`, so who sees LIVE sees the payload written while RESERVED.

use std::mem::offset_of;

use super::slab::SLAB_BYTES;
use super::{Arena, RelPtr, Shared, ShmError};
use crate::sync::{AtomicU64, Ordering};

/// Bytes of the header before every payload.
pub(super) const BLOCK_HEADER_BYTES: u64 = 16;

/// The 16 bytes before every payload.
#[repr(C)]
pub struct BlockHeader {
    pub(super) word: AtomicU64,
    pub(super) birth: AtomicU64,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<BlockHeader>() == 16 && offset_of!(BlockHeader, birth) == 8);

// SAFETY: repr(C), atomics only; any bits are valid.
unsafe impl Shared for BlockHeader {}

/// The moves of the word (B1 to B3); `generation` is the use they are about. See their namesakes of [`Arena`].
impl BlockHeader {
    #[inline]
    fn publish(&self, generation: u32) -> bool {
        self.change(generation, |word| match word.state() {
            BlockState::Reserved => Move::To(word.with(BlockState::Live, 0)),
            BlockState::Live => Move::Done(true),
            BlockState::Free | BlockState::Retired => Move::Done(false),
        })
    }

    #[inline]
    fn retire(&self, generation: u32, retirer: u16) -> bool {
        self.change(generation, |word| match word.state() {
            BlockState::Live => Move::To(word.with(BlockState::Retired, retirer)),
            BlockState::Free | BlockState::Reserved | BlockState::Retired => Move::Done(false),
        })
    }

    #[inline]
    fn mark_free(&self, generation: u32) -> bool {
        self.change(generation, |word| match word.state() {
            BlockState::Reserved | BlockState::Retired => Move::To(BlockWord::free(word.generation())),
            BlockState::Free | BlockState::Live => Move::Done(false),
        })
    }

    #[inline]
    fn mark_reserved_free(&self, generation: u32) -> bool {
        self.change(generation, |word| match word.state() {
            BlockState::Reserved => Move::To(BlockWord::free(word.generation())),
            BlockState::Free | BlockState::Live | BlockState::Retired => Move::Done(false),
        })
    }

    #[inline]
    fn replace_retirer(&self, generation: u32, from: u16, to: u16) -> bool {
        self.change(generation, |word| {
            if word.state() == BlockState::Retired && word.retirer() == from {
                Move::To(word.with(BlockState::Retired, to))
            } else {
                Move::Done(false)
            }
        })
    }

    #[inline]
    fn publish_own(&self, generation: u32) {
        // Relaxed: the caller wrote it.
        let word = BlockWord(self.word.load(Ordering::Relaxed));
        if word.state() == BlockState::Reserved && word.generation() == generation {
            // Release: who sees LIVE sees the payload. B2: nobody else moves it.
            self.word.store(word.with(BlockState::Live, 0).bits(), Ordering::Release);
        }
    }

    #[inline]
    fn mark_own_free(&self, generation: u32) -> bool {
        // Acquire: pairs with the Release of whoever moved the state.
        let word = BlockWord(self.word.load(Ordering::Acquire));
        if word.generation() != generation
            || !matches!(word.state(), BlockState::Reserved | BlockState::Retired)
        {
            return false;
        }
        // Release: the payload's last use comes before. B2, B3: nobody else moves it.
        self.word.store(BlockWord::free(word.generation()).bits(), Ordering::Release);
        true
    }

    /// The word as it is.
    #[inline]
    pub(super) fn load(&self) -> BlockWord {
        // Acquire: pairs with the Release of whoever moved the state; what it wrote before is seen.
        BlockWord(self.word.load(Ordering::Acquire))
    }

    /// Hands a free block out, in the caller's own slab (B1); its new generation, or `None` when it is in use.
    #[inline]
    pub(super) fn reserve(&self, kind: BlockKind, birth: u64) -> Option<u32> {
        // It pairs with the CAS that freed the block; its last user is done with the payload.
        let word = self.load();
        if word.state() != BlockState::Free {
            return None;
        }
        let taken = word.reserved(kind);
        // Relaxed: ordered by the store below.
        self.birth.store(birth, Ordering::Relaxed);
        // Release: who reads the state, reads this birth. H1
        self.word.store(taken.bits(), Ordering::Release);
        Some(taken.generation())
    }

    /// Applies `step` to the word as long as the block's use lasts.
    #[inline]
    fn change(&self, generation: u32, step: impl Fn(BlockWord) -> Move) -> bool {
        // Acquire: as in `block_word`.
        let mut word = BlockWord(self.word.load(Ordering::Acquire));
        loop {
            if word.generation() != generation {
                return false;
            }
            let next = match step(word) {
                Move::To(next) => next,
                Move::Done(answer) => return answer,
            };
            // SeqCst on success: Release publishes the payload; the total order is what `Heap::free` needs when it looks
            // at the slab's hint afterwards. B2.
            match self.word.compare_exchange(word.0, next.0, Ordering::SeqCst, Ordering::Acquire) {
                Ok(_) => {
                    return true;
                }
                Err(found) => word = BlockWord(found),
            }
        }
    }
}

/// Whether a block is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BlockState {
    /// Nobody's; the payload means nothing.
    Free = 0,
    /// Handed out and being filled; reaped when the process dies.
    Reserved = 1,
    /// Reachable by everyone.
    Live = 2,
    /// Unlinked, but somebody may still be reading it.
    Retired = 3,
}

/// What a block holds, so that a leak or a scan can say what it met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct BlockKind(pub u8);

impl BlockKind {
    /// Bytes without further meaning.
    pub const RAW: Self = Self(0);
    /// Head and owner of one version chain.
    pub const ROW: Self = Self(1);
    /// One immutable row image.
    pub const VERSION: Self = Self(2);
    /// State of a transaction.
    pub const TXN_RECORD: Self = Self(3);
    /// Write intents of a transaction.
    pub const INTENTS: Self = Self(4);
    /// A session's log ring.
    pub const RING: Self = Self(5);
    /// Directory of a hash index.
    pub const HASH_TABLE: Self = Self(6);
    /// Buckets of a hash index.
    pub const HASH_SEGMENT: Self = Self(7);
    /// A table's fixed part.
    pub const TABLE: Self = Self(8);
    /// A table's definition.
    pub const SCHEMA: Self = Self(9);
    /// What stays where it is of an ordered index.
    pub const INDEX_ANCHOR: Self = Self(10);
    /// Entries of an ordered index.
    pub const INDEX_BLOCK: Self = Self(11);
    /// The fixed part of a table's secondary index.
    pub const INDEX_ROOT: Self = Self(12);
}

/// A block's state word, read at one moment.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct BlockWord(u64);

impl BlockWord {
    #[inline]
    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    #[inline]
    pub(super) const fn new(generation: u32, retirer: u16, kind: BlockKind, state: BlockState) -> Self {
        Self((generation as u64) << 32 | (retirer as u64) << 16 | (kind.0 as u64) << 8 | state as u64)
    }

    /// A free block that had `generation`.
    #[inline]
    pub(super) const fn free(generation: u32) -> Self {
        Self::new(generation, 0, BlockKind::RAW, BlockState::Free)
    }

    /// The word of the same block in another state.
    #[inline]
    pub(super) const fn with(self, state: BlockState, retirer: u16) -> Self {
        Self::new(self.generation(), retirer, self.kind(), state)
    }

    /// The word of a free block that is handed out: 0 stays the generation of one that never was.
    #[inline]
    pub(super) fn reserved(self, kind: BlockKind) -> Self {
        Self::new(self.generation().wrapping_add(1).max(1), 0, kind, BlockState::Reserved)
    }

    /// How often the block was handed out; never 0 while in use.
    #[inline]
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The slot that retired it; 0 unless retired.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "takes the 16 bits of the field")]
    pub const fn retirer(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// What it holds.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "takes the 8 bits of the field")]
    pub const fn kind(self) -> BlockKind {
        BlockKind((self.0 >> 8) as u8)
    }

    /// Whether it is in use; states that do not exist read as `Free`, which no operation but reservation touches.
    #[inline]
    pub const fn state(self) -> BlockState {
        match self.0 & 0xff {
            1 => BlockState::Reserved,
            2 => BlockState::Live,
            3 => BlockState::Retired,
            _ => BlockState::Free,
        }
    }
}

impl std::fmt::Debug for BlockWord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?}(generation {}, kind {}, retirer {})",
            self.state(),
            self.generation(),
            self.kind().0,
            self.retirer()
        )
    }
}

/// A block at one of its uses: operations on a later use of the same place fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockRef {
    /// Offset of the payload.
    pub offset: u64,
    /// The use.
    pub generation: u32,
}

impl BlockRef {
    /// The payload as a `T`.
    #[inline]
    pub const fn pointer<T>(self) -> RelPtr<T> {
        RelPtr::new(self.offset)
    }
}

impl Arena {
    /// The header of the block whose payload begins at `offset`.
    #[inline]
    pub(super) fn block_header(&self, offset: u64) -> Result<&BlockHeader, ShmError> {
        if !offset.is_multiple_of(BLOCK_HEADER_BYTES) {
            return Err(ShmError::BadOffset { offset, bytes: 0 });
        }
        self.resolve(RelPtr::new(offset.wrapping_sub(BLOCK_HEADER_BYTES)))
    }

    /// The header of a block that was remembered for long: its memory may have been given back (X5).
    #[inline]
    fn used_header(&self, block: BlockRef) -> Option<&BlockHeader> {
        if self.is_in_use(block.offset) { self.block_header(block.offset).ok() } else { None }
    }

    /// The state word of the block whose payload begins at `offset`.
    ///
    /// # Errors
    /// `BadOffset` when no block can begin there.
    #[inline]
    pub fn block_word(&self, offset: u64) -> Result<BlockWord, ShmError> {
        Ok(self.block_header(offset)?.load())
    }

    /// Asks the processor to fetch the state word of the block whose payload begins at `offset`: it often lies in another line.
    #[inline]
    pub fn prefetch_block_word(&self, offset: u64) {
        self.prefetch(offset.wrapping_sub(BLOCK_HEADER_BYTES));
    }

    /// The birth epoch given when the block was handed out; 0 when no block can begin at `offset`.
    #[inline]
    pub fn block_birth(&self, offset: u64) -> u64 {
        // Relaxed: written before the block is published.
        self.block_header(offset).map_or(0, |header| header.birth.load(Ordering::Relaxed))
    }

    /// The block whose payload begins at `offset`, at its present use.
    ///
    /// # Errors
    /// `BadOffset` when no block can begin there.
    #[inline]
    pub fn block_ref(&self, offset: u64) -> Result<BlockRef, ShmError> {
        Ok(BlockRef { offset, generation: self.block_word(offset)?.generation() })
    }

    /// How many payload bytes the block at `offset` has: at least what was asked for.
    ///
    /// # Errors
    /// `BadOffset` when no block of a slab in use begins there.
    pub fn block_capacity(&self, offset: u64) -> Result<u64, ShmError> {
        let slab = self.slab_ref(u32::try_from(offset / SLAB_BYTES).unwrap_or(u32::MAX));
        slab.and_then(|slab| slab.capacity_at(offset)).ok_or(ShmError::BadOffset { offset, bytes: 0 })
    }

    /// Makes a reserved block live. True when it is live now, whoever did it; false when its use has ended.
    #[inline]
    pub fn publish(&self, block: BlockRef) -> bool {
        self.used_header(block).is_some_and(|header| header.publish(block.generation))
    }

    /// Makes a reserved block live that nobody but the caller knows, which has reserved it. A block that is live already
    /// stays as it is.
    #[inline]
    pub fn publish_own(&self, block: BlockRef) {
        if let Ok(header) = self.block_header(block.offset) {
            header.publish_own(block.generation);
        }
    }

    /// Makes a reserved or retired block free that lies in the caller's own slab, and that it has reserved or retired; false when
    /// it is neither.
    #[inline]
    pub(super) fn mark_own_free(&self, block: BlockRef) -> bool {
        self.block_header(block.offset).is_ok_and(|header| header.mark_own_free(block.generation))
    }

    /// Makes a live block retired by `retirer`; exactly one caller gets true, and has to free it later.
    #[inline]
    pub fn retire(&self, block: BlockRef, retirer: u16) -> bool {
        self.used_header(block).is_some_and(|header| header.retire(block.generation, retirer))
    }

    /// As [`Arena::retire`], of a block whose memory cannot be given back meanwhile: the caller's operation holds it.
    #[inline]
    pub fn retire_held(&self, block: BlockRef, retirer: u16) -> bool {
        self.block_header(block.offset).is_ok_and(|header| header.retire(block.generation, retirer))
    }

    /// Makes a reserved or retired block free, without telling any free list; exactly one caller gets true.
    #[inline]
    pub(super) fn mark_free(&self, block: BlockRef) -> bool {
        self.used_header(block).is_some_and(|header| header.mark_free(block.generation))
    }

    /// Makes a reserved block free for a dead session; false when it is no longer reserved.
    pub(super) fn mark_reserved_free(&self, block: BlockRef) -> bool {
        self.used_header(block).is_some_and(|header| header.mark_reserved_free(block.generation))
    }

    /// Hands a block that `from` retired over to `to`; exactly one caller gets true.
    pub(super) fn replace_retirer(&self, block: BlockRef, from: u16, to: u16) -> bool {
        self.used_header(block).is_some_and(|header| header.replace_retirer(block.generation, from, to))
    }
}

enum Move {
    To(BlockWord),
    Done(bool),
}

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_their_fields() {
        let word = BlockWord::new(u32::MAX, 0xabcd, BlockKind(200), BlockState::Retired);
        assert_eq!(word.generation(), u32::MAX);
        assert_eq!(word.retirer(), 0xabcd);
        assert_eq!(word.kind(), BlockKind(200));
        assert_eq!(word.state(), BlockState::Retired);
        assert_eq!(word.with(BlockState::Live, 0).state(), BlockState::Live);
        assert_eq!(BlockWord(0), BlockWord::free(0));
        assert_eq!(BlockWord(77).state(), BlockState::Free);
    }
}
