//! Anchors: what stays where it is while blocks are replaced. An anchor has a low key and a level, which never change, and the
//! word that names its present block.
//!
//! Layout      32-byte header; of one that a directory may name, where its index's root word is; then what a long low key has
//!             behind its first eight bytes.

use super::position::{Cut, Position, Rank};
use crate::epoch::Guard;
use crate::index::Blocks;
use crate::shm::{BlockKind, BlockRef, Shared, ShmError};
use crate::sync::{AtomicU64, Ordering};
use crate::sys::{u64_of, usize_of};
use std::mem::{offset_of, size_of};

const FROZEN: u64 = 1;
const DEAD: u64 = 2;
/// Blocks begin at multiples of 16 below 2^46.
const OFFSET_MASK: u64 = (1 << COUNT_SHIFT) - 16;
const COUNT_SHIFT: u32 = 48;

const LEVEL_SHIFT: u32 = 32;
const TAIL_MASK: u64 = u32::MAX as u64;
/// In the shape: the header is followed by where the root word is.
const IS_NAMED: u64 = 1 << 40;
const ROOT_BYTES: u64 = size_of::<u64>() as u64;
/// Bytes of an anchor that a directory may name: its low key is a hash, or null, of which one byte does not fit into the prefix.
pub(super) const NAMED_BYTES: usize = size_of::<Header>() + size_of::<u64>() + 1;

/// What an anchor says of its block, and above that, how often since the block was put in an entry was added that it has (O5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AnchorWord(u64);

impl AnchorWord {
    /// There is no block any more: what it covered is covered by the anchor on the left.
    pub(super) const DEAD: Self = Self(DEAD);

    /// It names the block at `offset`.
    #[inline]
    pub(super) const fn block(offset: u64) -> Self {
        Self(offset)
    }

    #[inline]
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[inline]
    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    /// Offset of the block; 0 while nothing was ever put in, or when the anchor is dead.
    #[inline]
    pub(super) const fn offset(self) -> u64 {
        self.0 & OFFSET_MASK
    }

    /// Is the block about to become a part of the one on its left? It is not replaced any more.
    #[inline]
    pub(super) fn is_frozen(self) -> bool {
        self.0 & FROZEN != 0
    }

    /// The same, frozen.
    pub(super) fn frozen(self) -> Self {
        Self(self.0 | FROZEN)
    }

    /// The same after one more addition of an entry that the block has; none when that cannot be counted any more.
    pub(super) fn added_again(self) -> Option<Self> {
        self.0.checked_add(1 << COUNT_SHIFT).map(Self)
    }

    #[inline]
    pub(super) fn is_dead(self) -> bool {
        self.0 & DEAD != 0
    }
}

#[repr(C)]
struct Header {
    block: AtomicU64,
    /// The low key, as in a [`Position`]; written, like `shape`, before the anchor is linked.
    prefix: AtomicU64,
    rank: AtomicU64,
    /// Bytes of the tail, above them the level, and `IS_NAMED`.
    shape: AtomicU64,
}

const _: () = assert!(size_of::<Header>() == 32 && offset_of!(Header, block) == 0);

// SAFETY: repr(C), atomics only; all-zero is the anchor of an empty index.
unsafe impl Shared for Header {}

/// An anchor that was found under a guard.
#[derive(Clone, Copy)]
pub(super) struct Anchor<'g> {
    pub(super) offset: u64,
    header: &'g Header,
}

impl<'g> Anchor<'g> {
    /// The anchor at an offset that was found in a block that was in force, or in a word, under the guard.
    #[inline]
    pub(super) fn at(guard: &'g Guard<'_>, offset: u64) -> Result<Self, ShmError> {
        Ok(Self { offset, header: guard.resolve(offset)? })
    }

    /// Makes one with the block at `block`, which is 0 for none yet. A directory may name it if it says where the root word is.
    pub(super) fn make(
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        (level, root): (u8, Option<u64>),
        low: &Position<'_>,
        block: u64,
    ) -> Result<BlockRef, ShmError> {
        let root_bytes = if root.is_some() { ROOT_BYTES } else { 0 };
        let tail_begin = u64_of(size_of::<Header>()) + root_bytes;
        let bytes = usize_of(tail_begin) + low.tail.len();
        // A directory knows no other size.
        let bytes = if root.is_some() { bytes.max(NAMED_BYTES) } else { bytes };
        let made = blocks.alloc(bytes, BlockKind::INDEX_ANCHOR)?;
        let header: &Header = guard.resolve(made.offset)?;
        header.block.store(block, Ordering::Relaxed);
        header.prefix.store(low.prefix, Ordering::Relaxed);
        header.rank.store(low.rank.bits(), Ordering::Relaxed);
        let tail_bytes = u64_of(low.tail.len());
        let is_named = if root.is_some() { IS_NAMED } else { 0 };
        header.shape.store(is_named | u64::from(level) << LEVEL_SHIFT | tail_bytes, Ordering::Relaxed);
        if let Some(root) = root {
            let word: &AtomicU64 = guard.resolve(made.offset + u64_of(size_of::<Header>()))?;
            word.store(root, Ordering::Relaxed);
        }
        let tail = guard.arena().bytes(made.offset + tail_begin, tail_bytes)?;
        // SAFETY: `bytes` checked the range, which lies in the block; it is RESERVED, so this session alone has its address.
        unsafe { std::ptr::copy_nonoverlapping(low.tail.as_ptr(), tail, low.tail.len()) };
        Ok(made)
    }

    #[inline]
    pub(super) fn word(&self) -> &'g AtomicU64 {
        &self.header.block
    }

    /// Where the word is.
    pub(super) fn word_offset(&self) -> u64 {
        self.offset + offset_of!(Header, block) as u64
    }

    /// The word; the block that it names stays allocated while the guard lives.
    #[inline]
    pub(super) fn load(&self, guard: &Guard<'_>) -> AnchorWord {
        AnchorWord::from_bits(guard.protect(&self.header.block))
    }

    // Relaxed, here and below: written before the anchor was linked.
    #[inline]
    pub(super) fn level(&self) -> u8 {
        (self.header.shape.load(Ordering::Relaxed) >> LEVEL_SHIFT & 0xff).try_into().unwrap_or(u8::MAX)
    }

    #[inline]
    pub(super) fn prefix(&self) -> u64 {
        self.header.prefix.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn rank(&self) -> Rank {
        Rank::from_bits(self.header.rank.load(Ordering::Relaxed))
    }

    /// Where the root word of its index is, if a directory may name it.
    #[inline]
    pub(super) fn root(&self, guard: &'g Guard<'_>) -> Result<Option<u64>, ShmError> {
        if self.header.shape.load(Ordering::Relaxed) & IS_NAMED == 0 {
            return Ok(None);
        }
        let word: &AtomicU64 = guard.resolve(self.offset + u64_of(size_of::<Header>()))?;
        Ok(Some(word.load(Ordering::Relaxed)))
    }

    /// What the low key has behind its prefix.
    pub(super) fn tail(&self, guard: &'g Guard<'_>) -> Result<&'g [u8], ShmError> {
        let shape = self.header.shape.load(Ordering::Relaxed);
        let tail_bytes = shape & TAIL_MASK;
        if tail_bytes == 0 {
            return Ok(&[]);
        }
        let root_bytes = if shape & IS_NAMED == 0 { 0 } else { ROOT_BYTES };
        let tail = guard.arena().bytes(self.offset + u64_of(size_of::<Header>()) + root_bytes, tail_bytes)?;
        // SAFETY: `bytes` checked that the range lies inside the mapping; a linked anchor's low key never changes, and the
        // guard keeps the block from being used again for as long as 'g.
        Ok(unsafe { std::slice::from_raw_parts(tail, usize_of(tail_bytes)) })
    }

    /// Before every entry that it can cover.
    pub(super) fn low(&self, guard: &'g Guard<'_>) -> Result<Position<'g>, ShmError> {
        Ok(Position { prefix: self.prefix(), rank: self.rank(), tail: self.tail(guard)? })
    }

    /// Is its low key on the left of the cut?
    pub(super) fn is_left_of(&self, guard: &'g Guard<'_>, cut: &Cut<'_>) -> Result<bool, ShmError> {
        cut.is_right_of(self.prefix(), self.rank(), || self.tail(guard))
    }
}
