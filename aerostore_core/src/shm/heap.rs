//! A session's allocator: blocks from slabs it owns, with free lists in its own memory.
//!
//! Layout      one pool per size class, further ones per tag and for slabs of the reserve. A pool is a list of blocks known to
//!             be free, and the untouched rest of one fresh slab, which is handed out in order.
//! Invariants  H1: lists are hints: a block is taken only if its state says FREE, and only the slab's owner takes. H2: a block
//!             is on at most one list and at most once. H3: dying between any two steps loses nothing that
//!             [`super::release_slabs_of`] does not get back.
//! Ordering    taking is a Release store rather than a CAS: nobody else moves a block out of FREE.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::block::BLOCK_HEADER_BYTES;
use super::class::{CLASS_COUNT, block_bytes, class_for};
use super::header::REMOTE_COUNT;
use super::reap::{is_held, release_slabs};
use super::slab::{EXTENT_BYTES, NO_TAG, SlabHeader, SlabOwner, SlabUse, slab_of};
use super::{Arena, BlockKind, BlockRef, OwnerId, Reserve, ShmError};
use crate::sync::{AtomicU64, Ordering};
use crate::sys::{u64_of, usize_of};

/// Frees between two looks at whether others need memory; a power of two.
const PRESSURE_INTERVAL: u64 = 64;

/// The private allocator of one session. It is not dropped in order but [closed](Heap::close); a heap that is forgotten, or dies
/// with its process, is what [`super::release_slabs_of`] is for.
#[derive(Debug)]
pub struct Heap {
    pub(super) arena: Arena,
    pub(super) owner: OwnerId,
    /// By class for untagged blocks, then the pools in `by_key`.
    pub(super) pools: Vec<Pool>,
    pub(super) by_key: HashMap<PoolKey, usize, RandomState>,
    /// First slabs of the runs this session owns.
    pub(super) runs: Vec<u32>,
    /// Slabs of the reserve this session owns, and the pools they went to.
    pub(super) kept_back: Vec<u32>,
    /// The count of orphan events when free runs without an owner were last looked for.
    pub(super) orphans_seen: u64,
    /// How often and how much it freed.
    pub(super) frees: u64,
    pub(super) freed_bytes: u64,
    /// When the file system refused to let the arena grow; 0 if it did not.
    pub(super) growth_refused_ns: u64,
    /// When free slabs were last counted and found to be too few; 0 if they never were.
    pub(super) no_room_ns: u64,
    pub(super) pressure_seen: u64,
}

/// Which blocks a pool holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PoolKey {
    pub(super) class: u8,
    pub(super) tag: u32,
    pub(super) reserve: Reserve,
}

/// Free blocks of one kind.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) key: PoolKey,
    /// Payload offsets of blocks that were freed.
    pub(super) free: Vec<u64>,
    /// Payload offset of the next untouched block.
    pub(super) fresh: u64,
    /// How many untouched blocks follow.
    pub(super) fresh_count: u64,
    pub(super) slabs: Vec<u32>,
    /// Where in `slabs` the next look for remote frees begins.
    pub(super) remote_cursor: usize,
    /// The slot's count of remote frees when all of `slabs` were last looked at.
    pub(super) remote_seen: u64,
    /// The slab at which the next look for orphans begins.
    pub(super) orphan_cursor: u32,
    /// The count of orphan events when all slabs were last looked at.
    pub(super) orphans_seen: u64,
    /// The count of deaths when the states of all of `slabs` were last read.
    pub(super) deaths_seen: u64,
    /// The number of known free blocks above which slabs without a block in use are returned.
    pub(super) trim_at: usize,
    /// What the world looked like when no room was found, so that nobody searches again before it changes.
    pub(super) found_full: Option<[u64; 5]>,
}

impl Pool {
    pub(super) fn new(key: PoolKey) -> Self {
        Self {
            key,
            free: Vec::new(),
            fresh: 0,
            fresh_count: 0,
            slabs: Vec::new(),
            remote_cursor: 0,
            remote_seen: 0,
            orphan_cursor: 0,
            orphans_seen: 0,
            deaths_seen: 0,
            trim_at: Self::trim_at_first(key),
            found_full: None,
        }
    }

    /// An extent's worth of blocks. Tagged slabs are not returned (S3).
    pub(super) fn trim_at_first(key: PoolKey) -> usize {
        if key.tag == NO_TAG { usize_of(EXTENT_BYTES / block_bytes(key.class)) } else { usize::MAX }
    }

    /// Hands out a block, if one is known to be free.
    #[inline]
    fn take(&mut self, arena: &Arena, kind: BlockKind, birth: u64) -> Option<BlockRef> {
        loop {
            let offset = match self.free.pop() {
                Some(offset) => offset,
                None if self.fresh_count > 0 => self.take_fresh(),
                None => return None,
            };
            if let Some(next) = self.free.last() {
                arena.prefetch_block_word(*next);
            }
            let header = arena.block_header(offset).ok()?;
            if let Some(generation) = header.reserve(kind, birth) {
                return Some(BlockRef { offset, generation });
            }
        }
    }

    #[inline]
    pub(super) fn take_fresh(&mut self) -> u64 {
        let offset = self.fresh;
        self.fresh += block_bytes(self.key.class);
        self.fresh_count -= 1;
        offset
    }
}

impl Heap {
    /// The allocator of the session `owner`, which has no other.
    pub fn new(arena: Arena, owner: OwnerId) -> Self {
        // Relaxed: a hint.
        let pressure_seen = arena.header().pressure_events.load(Ordering::Relaxed);
        let pools = (0..u8::try_from(CLASS_COUNT).unwrap_or(u8::MAX))
            .map(|class| Pool::new(PoolKey { class, tag: NO_TAG, reserve: Reserve::No }))
            .collect();
        Self {
            arena,
            owner,
            pools,
            by_key: HashMap::default(),
            runs: Vec::new(),
            kept_back: Vec::new(),
            orphans_seen: 0,
            frees: 0,
            freed_bytes: 0,
            growth_refused_ns: 0,
            no_room_ns: 0,
            pressure_seen,
        }
    }

    /// The arena it allocates from.
    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// The session it belongs to.
    pub fn owner(&self) -> OwnerId {
        self.owner
    }

    /// Reserves a block for `bytes` of payload, whose contents are unspecified.
    ///
    /// # Errors
    /// `OutOfSpace` when the arena cannot grow; `TooLarge` beyond [`super::LARGE_PAYLOAD_BYTES_MAX`].
    #[inline]
    pub fn alloc(
        &mut self,
        bytes: usize,
        kind: BlockKind,
        birth: u64,
        reserve: Reserve,
    ) -> Result<BlockRef, ShmError> {
        let Some(class) = class_for(bytes) else {
            return self.alloc_large(bytes, kind, birth, reserve);
        };
        let pool = usize::from(class);
        match self.pools[pool].take(&self.arena, kind, birth) {
            Some(block) => Ok(block),
            None => self.alloc_slowly(pool, kind, birth, reserve, None),
        }
    }

    /// Reserves a block whose payload is zero, all of it.
    ///
    /// # Errors
    /// As [`Heap::alloc`].
    pub fn alloc_zeroed(
        &mut self,
        bytes: usize,
        kind: BlockKind,
        birth: u64,
        reserve: Reserve,
    ) -> Result<BlockRef, ShmError> {
        let block = self.alloc(bytes, kind, birth, reserve)?;
        self.zero(block, u64_of(bytes))?;
        Ok(block)
    }

    /// Reserves a block of a slab that holds blocks of `tag` only, and that is on `list` before any of them is handed out; see
    /// [`super::tagged_slabs`]. Such slabs never serve another tag or size. `tag` 0 is not allowed.
    ///
    /// # Errors
    /// As [`Heap::alloc`], but `TooLarge` beyond one slab; `BadOptions` for tag 0; `Corrupt` when `list` is.
    pub fn alloc_tagged(
        &mut self,
        bytes: usize,
        kind: BlockKind,
        birth: u64,
        reserve: Reserve,
        tag: u32,
        list: &AtomicU64,
    ) -> Result<BlockRef, ShmError> {
        let class = class_for(bytes)
            .ok_or(ShmError::TooLarge { bytes: u64_of(bytes), limit: super::SLAB_PAYLOAD_BYTES_MAX })?;
        if tag == NO_TAG {
            return Err(ShmError::BadOptions { what: "tag 0 means untagged" });
        }
        let pool = self.pool_index(PoolKey { class, tag, reserve: Reserve::No });
        match self.pools[pool].take(&self.arena, kind, birth) {
            Some(block) => Ok(block),
            None => self.alloc_slowly(pool, kind, birth, reserve, Some(list)),
        }
    }

    #[cold]
    fn alloc_slowly(
        &mut self,
        pool: usize,
        kind: BlockKind,
        birth: u64,
        reserve: Reserve,
        list: Option<&AtomicU64>,
    ) -> Result<BlockRef, ShmError> {
        let first = &mut self.pools[pool];
        first.trim_at = Pool::trim_at_first(first.key);
        loop {
            // A refill may turn to the reserve, which has a pool of its own.
            let filled = self.refill(pool, reserve, list)?;
            if let Some(block) = self.pools[filled].take(&self.arena, kind, birth) {
                return Ok(block);
            }
        }
    }

    /// Frees a reserved or retired block; true for the one caller that did. Only who reserved or retired it may call.
    #[inline]
    pub fn free(&mut self, block: BlockRef) -> bool {
        let slab = slab_of(block.offset);
        let Some(header) = self.arena.slab_header(slab) else { return false };
        let word = header.load();
        if !word.is_owned_by(self.owner) {
            if !self.arena.mark_free(block) {
                return false;
            }
            note_remote_free(&self.arena, header);
        } else if !self.arena.mark_own_free(block) {
            return false;
        } else if let SlabUse::Blocks(class) = word.usage() {
            // Relaxed: written by this session, or by the owner before it.
            let tag = header.tag.load(Ordering::Relaxed);
            let pool = self.pool_of(slab, class, tag);
            let Pool { free, trim_at, .. } = &mut self.pools[pool];
            free.push(block.offset);
            let is_much = free.len() > *trim_at;
            self.freed_bytes += block_bytes(class);
            if is_much {
                self.trim_grown(pool);
            }
            // A block as large as its slab goes back as a whole: parts of a table that has been outgrown are not needed again.
            if usize::from(class) == CLASS_COUNT - 1 || self.pools[pool].key.reserve == Reserve::Yes {
                self.trim_pool(pool);
            }
        } else {
            self.dissolve(slab);
        }
        self.frees += 1;
        if self.frees.is_multiple_of(PRESSURE_INTERVAL) {
            self.heed_pressure();
        }
        true
    }

    /// Asks the processor for what [`Heap::free`] looks at.
    #[inline]
    pub(crate) fn prefetch(&self, block: BlockRef) {
        self.arena.prefetch_block_word(block.offset);
        self.arena.prefetch_slab_header(slab_of(block.offset));
    }

    /// Gives all slabs up: what is live stays, what is free may be used by others. Blocks still reserved are freed.
    pub fn close(self) {
        let Self { arena, owner, .. } = &self;
        let slabs = self.pools.iter().flat_map(|pool| &pool.slabs).chain(&self.runs);
        release_slabs(arena, *owner, slabs.filter_map(|&slab| arena.slab_ref(slab)));
        debug_assert!(!arena.slabs().any(|slab| is_held(arena, slab, *owner)), "a slab was in no pool");
    }

    /// Returns slabs without a block in use to the arena, so that other sizes and sessions can use them; tells how many.
    pub fn trim(&mut self) -> usize {
        self.dissolve_free_runs();
        (0..self.pools.len()).map(|pool| self.trim_pool(pool)).sum()
    }

    #[inline]
    fn pool_of(&mut self, slab: u32, class: u8, tag: u32) -> usize {
        if tag == NO_TAG && self.kept_back.is_empty() {
            return usize::from(class);
        }
        let reserve = if self.kept_back.contains(&slab) { Reserve::Yes } else { Reserve::No };
        self.pool_index(PoolKey { class, tag, reserve })
    }

    pub(super) fn pool_index(&mut self, key: PoolKey) -> usize {
        if key.tag == NO_TAG && key.reserve == Reserve::No {
            return usize::from(key.class);
        }
        let pools = &mut self.pools;
        *self.by_key.entry(key).or_insert_with(|| {
            pools.push(Pool::new(key));
            pools.len() - 1
        })
    }

    fn zero(&self, block: BlockRef, bytes: u64) -> Result<(), ShmError> {
        for place in 0..bytes.div_ceil(size_of::<u64>() as u64) {
            let word: &AtomicU64 = self.arena.resolve(super::RelPtr::new(block.offset + place * 8))?;
            // Relaxed, and atomic because a reader of the block's last use, late in its optimistic read, may still look.
            word.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The shared count of remote frees of this session's blocks.
    pub fn remote_events(&self) -> u64 {
        // Acquire: pairs with the Release in `note_remote_free`; the hints raised before are seen.
        remote_counter(&self.arena, self.owner).load(Ordering::Acquire)
    }
}

fn remote_counter(arena: &Arena, owner: OwnerId) -> &AtomicU64 {
    &arena.header().remote_events[usize::from(owner.slot) % REMOTE_COUNT]
}

/// Tells whoever owns the slab that one of its blocks became free.
fn note_remote_free(arena: &Arena, header: &SlabHeader) {
    if !header.raise_hint() {
        return;
    }
    // The owner is read after the hint was raised: one that comes later looks at the hint when it adopts the slab.
    match header.load().owner() {
        SlabOwner::Owned(owner) => {
            // Release: pairs with the Acquire in `remote_events`.
            remote_counter(arena, owner).fetch_add(1, Ordering::Release);
        }
        SlabOwner::Orphan => {
            // Release: pairs with the Acquire in `Heap::adopt_orphan`.
            arena.header().orphan_events.fetch_add(1, Ordering::Release);
        }
        SlabOwner::Free | SlabOwner::Absent => {}
    }
}

/// Payload offset of the first block that starts at `start`.
pub(super) fn payload_at(start: u64) -> u64 {
    start + BLOCK_HEADER_BYTES
}

#[cfg(test)]
mod tests;
