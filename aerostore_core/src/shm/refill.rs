//! Where a heap gets blocks when its list is empty, from the cheapest source to the last resort.
//!
//! Layout      own slabs in which others freed blocks; orphans; free slabs; a longer file; and only then a search that
//!             trusts no hint.
//! Invariants  S2, S3 of `slab`; H2 of `heap`: states of a slab are read into a list only while the pool's list is empty, or after
//!             the slab's entries were removed from it.
#![forbid(unsafe_code)]

use super::block::BlockWord;
use super::heap::{Heap, PoolKey, payload_at};
use super::slab::{
    NO_TAG, SLABS_PER_EXTENT, SlabHeader, SlabOwner, SlabUse, SlabWord, block_count, is_on_list, push_listed,
    slab_of, slab_start,
};
use super::{Arena, BlockState, Reserve, ShmError};
use crate::sync::{AtomicU64, Ordering};
use crate::sys::monotonic_ns;

/// How many of its slabs a pool looks at for remote frees before it takes a fresh one.
const REMOTE_LOOK_COUNT: usize = 64;
/// After a refusal, how long the file system is not asked for more: a refused `fallocate` of an extent takes 0.2 ms.
const GROWTH_PAUSE_NS: u64 = 2_000_000;
/// How long it is taken for granted that there is no room: to count free slabs takes 0.2 ms where the arena is 1 GiB.
const NO_ROOM_PAUSE_NS: u64 = 100_000_000;
/// How many slabs a pool looks at for orphans before it takes a fresh one.
const ORPHAN_LOOK_COUNT: u32 = 256;

impl Heap {
    /// Finds free blocks for `pool`, or, when only the reserve has some and `reserve` allows, for its twin. Tells which.
    pub(super) fn refill(
        &mut self,
        pool: usize,
        reserve: Reserve,
        list: Option<&AtomicU64>,
    ) -> Result<usize, ShmError> {
        self.heed_pressure();
        if !self.pools[pool].free.is_empty()
            || self.collect_remote(pool, REMOTE_LOOK_COUNT)
            || self.adopt_orphan(pool, ORPHAN_LOOK_COUNT, list)?
            || self.claim_slab(pool, list)?
        {
            return Ok(pool);
        }
        // Before the file grows, all that is known to be free gets used.
        if self.collect_remote(pool, usize::MAX)
            || self.adopt_orphan(pool, u32::MAX, list)?
            || self.reclassify_reserve(pool)
        {
            return Ok(pool);
        }
        while self.grow()? {
            if self.reclassify_reserve(pool) || self.claim_slab(pool, list)? {
                return Ok(pool);
            }
        }
        if self.claim_any_slab(pool, list)? || self.search_everything(pool, list)? {
            return Ok(pool);
        }
        match reserve {
            Reserve::Yes => self.refill_from_reserve(pool, list),
            Reserve::No => Err(self.arena.out_of_space()),
        }
    }

    /// Reads the states of up to `limit` own slabs in which somebody else freed a block.
    fn collect_remote(&mut self, pool: usize, limit: usize) -> bool {
        let events = self.remote_events();
        let pool = &mut self.pools[pool];
        if events == pool.remote_seen {
            return false;
        }
        for _ in 0..pool.slabs.len().min(limit) {
            pool.remote_cursor = (pool.remote_cursor + 1) % pool.slabs.len();
            let slab = pool.slabs[pool.remote_cursor];
            if self.arena.slab_header(slab).is_some_and(SlabHeader::take_hint) {
                push_free_blocks(&self.arena, slab, &mut pool.free);
                if !pool.free.is_empty() {
                    return true;
                }
            }
        }
        if limit >= pool.slabs.len() {
            pool.remote_seen = events;
        }
        false
    }

    /// Takes over a slab of the pool's kind whose owner is gone and in which a block is free.
    fn adopt_orphan(&mut self, pool: usize, limit: u32, list: Option<&AtomicU64>) -> Result<bool, ShmError> {
        // Acquire: pairs with the Release of those who count events; the orphans are seen.
        let events = self.arena.header().orphan_events.load(Ordering::Acquire);
        if events == self.pools[pool].orphans_seen {
            return Ok(false);
        }
        let first = slab_of(self.arena.first_slab() * super::SLAB_BYTES);
        let end = self.arena.slab_end_for(Reserve::No);
        let count = end.saturating_sub(first);
        for _ in 0..count.min(limit) {
            let slab = self.pools[pool].orphan_cursor.clamp(first, end - 1);
            self.pools[pool].orphan_cursor = if slab + 1 < end { slab + 1 } else { first };
            if self.try_adopt(pool, slab, false, list)? {
                return Ok(true);
            }
        }
        if limit >= count {
            self.pools[pool].orphans_seen = events;
        }
        Ok(false)
    }

    /// Takes over `slab` if it is an orphan of the pool's kind; true when that gave free blocks.
    fn try_adopt(
        &mut self,
        pool: usize,
        slab: u32,
        without_hint: bool,
        list: Option<&AtomicU64>,
    ) -> Result<bool, ShmError> {
        let key = self.pools[pool].key;
        let Some(header) = self.arena.slab_header(slab) else { return Ok(false) };
        let word = header.load();
        // Relaxed: the tag was written before the slab's word said what it is for.
        if word.owner() != SlabOwner::Orphan
            || word.usage() != SlabUse::Blocks(key.class)
            || header.tag.load(Ordering::Relaxed) != key.tag
            || !(without_hint || header.hint.load(Ordering::Relaxed) != 0)
            || !header.replace(word, word.adopted(self.owner))
        {
            return Ok(false);
        }
        // From here on the slab is ours: a death leaves it to whoever reaps this session.
        header.take_hint();
        self.pools[pool].slabs.push(slab);
        if let Some(list) = list
            && header.listed.load(Ordering::Relaxed) == 0
        {
            // S3: its last owner died before it noted the push, perhaps before the push.
            if is_on_list(&self.arena, slab, list)? {
                header.listed.store(1, Ordering::Relaxed);
            } else {
                push_listed(&self.arena, slab, list);
            }
        }
        let free = &mut self.pools[pool].free;
        let known = free.len();
        push_free_blocks(&self.arena, slab, free);
        Ok(free.len() > known)
    }

    /// Could so many more bytes be had without the reserve, in slabs that nobody uses? An answer of no stays for some time.
    pub fn has_room(&mut self, bytes: u64) -> bool {
        let now_ns = monotonic_ns();
        if self.no_room_ns != 0 && now_ns - self.no_room_ns < NO_ROOM_PAUSE_NS {
            return false;
        }
        let end = self.arena.slab_end_for(Reserve::No);
        let mut wanted = bytes.div_ceil(super::SLAB_BYTES);
        let can_grow = self.growth_refused_ns == 0;
        if can_grow {
            let to_come = self.arena.max_bytes() / super::SLAB_BYTES - u64::from(self.arena.slab_end());
            wanted = wanted.saturating_sub(to_come);
        }
        let mut slab = slab_of(self.arena.first_slab() * super::SLAB_BYTES);
        while wanted > 0 && slab < end {
            let word = self.arena.slab_header(slab).map(SlabHeader::load);
            if word == Some(SlabWord::FREE) || can_grow && word == Some(SlabWord::ABSENT) {
                wanted -= 1;
            }
            slab += 1;
        }
        self.no_room_ns = if wanted == 0 { 0 } else { now_ns };
        wanted == 0
    }

    /// Makes an extent present that was given back, or adds one; false when there is no room for one.
    pub(super) fn grow(&mut self) -> Result<bool, ShmError> {
        if self.growth_refused_ns != 0 && monotonic_ns() - self.growth_refused_ns < GROWTH_PAUSE_NS {
            return Ok(false);
        }
        let grown = self.make_one_present().and_then(|done| if done { Ok(()) } else { self.arena.grow() });
        match grown {
            Ok(()) => {
                self.growth_refused_ns = 0;
                Ok(true)
            }
            Err(error) if error.is_out_of_space() => {
                self.growth_refused_ns = monotonic_ns();
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes a slab that nobody uses, from the lowest on, in an extent that serves the pool's kind.
    fn claim_slab(&mut self, pool: usize, list: Option<&AtomicU64>) -> Result<bool, ShmError> {
        let PoolKey { class, tag, .. } = self.pools[pool].key;
        let is_tagged = tag != NO_TAG;
        // Relaxed: a hint.
        let low = low_slab(&self.arena, is_tagged).load(Ordering::Relaxed);
        let first = u32::try_from(low.max(self.arena.first_slab())).unwrap_or(u32::MAX);
        let end = self.arena.slab_end_for(Reserve::No);
        let mut low_is_next = true;
        let mut slab = first;
        while slab < end {
            if !self.arena.extent_serves(slab, is_tagged) {
                slab = first_of_next_extent(slab);
                continue;
            }
            if block_count(slab, class) == 0 {
                low_is_next &= !self.is_free(slab);
            } else if self.try_claim(pool, slab, list)? {
                if low_is_next {
                    // Relaxed: a hint. Should it hide a slab that is freed now, `search_everything` still finds that one.
                    let next = u64::from(slab) + 1;
                    let hint = low_slab(&self.arena, is_tagged);
                    let _ = hint.compare_exchange(low, next, Ordering::Relaxed, Ordering::Relaxed);
                }
                return Ok(true);
            }
            slab += 1;
        }
        Ok(is_tagged && self.claim_slab_of_new_kind(pool, list)?)
    }

    /// Makes an extent in which all is free one for tagged slabs, and takes its first.
    fn claim_slab_of_new_kind(&mut self, pool: usize, list: Option<&AtomicU64>) -> Result<bool, ShmError> {
        // Relaxed: a hint.
        let low = low_slab(&self.arena, false).load(Ordering::Relaxed).max(self.arena.first_slab());
        let end = self.arena.slab_end_for(Reserve::No);
        let mut first = u32::try_from(low.next_multiple_of(SLABS_PER_EXTENT)).unwrap_or(end);
        while first < end {
            let next = first_of_next_extent(first);
            if (first..next).all(|slab| self.is_free(slab))
                && let Some(header) = self.arena.extent_header(first)
            {
                // Relaxed: hints. An untagged slab that comes in between does no harm.
                header.extent_is_tagged.store(1, Ordering::Relaxed);
                low_slab(&self.arena, true).fetch_min(u64::from(first), Ordering::Relaxed);
                for slab in first..next {
                    if block_count(slab, self.pools[pool].key.class) > 0
                        && self.try_claim(pool, slab, list)?
                    {
                        return Ok(true);
                    }
                }
            }
            first = next;
        }
        Ok(false)
    }

    /// Takes a slab that nobody uses, wherever it is.
    fn claim_any_slab(&mut self, pool: usize, list: Option<&AtomicU64>) -> Result<bool, ShmError> {
        let first = slab_of(self.arena.first_slab() * super::SLAB_BYTES);
        for slab in first..self.arena.slab_end_for(Reserve::No) {
            if block_count(slab, self.pools[pool].key.class) > 0 && self.try_claim(pool, slab, list)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn is_free(&self, slab: u32) -> bool {
        self.arena.slab_header(slab).is_some_and(|header| header.load() == SlabWord::FREE)
    }

    /// Takes `slab` if it is free, and makes it the pool's source of fresh blocks.
    fn try_claim(&mut self, pool: usize, slab: u32, list: Option<&AtomicU64>) -> Result<bool, ShmError> {
        let PoolKey { class, tag, .. } = self.pools[pool].key;
        let forming = SlabWord::owned(self.owner, SlabUse::Forming);
        let Some(header) = self.arena.slab_header(slab) else { return Ok(false) };
        if header.load() != SlabWord::FREE || !header.replace(SlabWord::FREE, forming) {
            return Ok(false);
        }
        // Our page table gets the slab in one go. It has memory (E1), so failing is no reason not to use it.
        let _ = self.arena.mapping().populate(u64::from(slab) * super::SLAB_BYTES, super::SLAB_BYTES);
        let count = block_count(slab, class);
        // Relaxed, all of these: the CAS below publishes them.
        let generation = header.generation.load(Ordering::Relaxed);
        header.generation.store(generation.max(1), Ordering::Relaxed);
        header.tag.store(tag, Ordering::Relaxed);
        header.listed.store(0, Ordering::Relaxed);
        header.hint.store(0, Ordering::Relaxed);
        let step = super::class::block_bytes(class);
        let start = payload_at(slab_start(slab));
        if generation != 0 {
            // Used before, in blocks of another size maybe: every place where a state will be looked for gets one. S4
            for block in 0..count {
                let block = self.arena.block_header(start + block * step)?;
                block.word.store(BlockWord::free(generation).bits(), Ordering::Relaxed);
            }
        }
        if !header.replace(forming, SlabWord::owned(self.owner, SlabUse::Blocks(class))) {
            return Ok(false); // somebody declared this session dead
        }
        if let Some(list) = list {
            push_listed(&self.arena, slab, list); // S3
        }
        let pool = &mut self.pools[pool];
        pool.slabs.push(slab);
        pool.fresh = start;
        pool.fresh_count = count;
        Ok(true)
    }

    /// Moves slabs of the reserve to `pool` that are no longer the last of the arena.
    fn reclassify_reserve(&mut self, pool: usize) -> bool {
        let twin = PoolKey { reserve: Reserve::Yes, ..self.pools[pool].key };
        let Some(&twin) = self.by_key.get(&twin) else { return false };
        let end = self.arena.slab_end_for(Reserve::No);
        let twin = &mut self.pools[twin];
        if twin.slabs.iter().all(|slab| *slab >= end) {
            return false;
        }
        while twin.fresh_count > 0 {
            let offset = twin.take_fresh();
            twin.free.push(offset);
        }
        let slabs: Vec<u32> = twin.slabs.extract_if(.., |slab| *slab < end).collect();
        let free: Vec<u64> = twin.free.extract_if(.., |offset| slab_of(*offset) < end).collect();
        // Those that the twins of other pools list stay until they are moved, too.
        self.kept_back.retain(|slab| !slabs.contains(slab));
        self.pools[pool].slabs.extend(slabs);
        self.pools[pool].free.extend(free);
        !self.pools[pool].free.is_empty()
    }

    fn refill_from_reserve(&mut self, pool: usize, list: Option<&AtomicU64>) -> Result<usize, ShmError> {
        let key = PoolKey { reserve: Reserve::Yes, ..self.pools[pool].key };
        let twin = self.pool_index(key);
        if !self.pools[twin].free.is_empty()
            || self.pools[twin].fresh_count > 0
            || self.collect_remote(twin, usize::MAX)
        {
            return Ok(twin);
        }
        for slab in self.arena.slab_end_for(Reserve::No)..self.arena.slab_end_for(Reserve::Yes) {
            if block_count(slab, key.class) == 0 {
                continue;
            }
            let owned = self.pools[twin].slabs.len();
            let found = self.try_adopt(twin, slab, true, list)? || self.try_claim(twin, slab, list)?;
            if self.pools[twin].slabs.len() > owned {
                self.kept_back.push(slab);
            }
            if found {
                return Ok(twin);
            }
        }
        Err(self.arena.out_of_space())
    }

    /// The last resort: reads states rather than hints, and returns every slab that has no block in use.
    fn search_everything(&mut self, pool: usize, list: Option<&AtomicU64>) -> Result<bool, ShmError> {
        let world = self.world();
        if self.pools[pool].found_full == Some(world) {
            return Ok(false);
        }
        // Acquire: pairs with the Release in `release_slabs_of`.
        let deaths = self.arena.header().death_events.load(Ordering::Acquire);
        if deaths != self.pools[pool].deaths_seen {
            // Who died may have freed a block and not have said so.
            let pool = &mut self.pools[pool];
            pool.deaths_seen = deaths;
            for &slab in &pool.slabs {
                push_free_blocks(&self.arena, slab, &mut pool.free);
            }
            if !pool.free.is_empty() {
                return Ok(true);
            }
        }
        let range =
            slab_of(self.arena.first_slab() * super::SLAB_BYTES)..self.arena.slab_end_for(Reserve::No);
        for slab in range {
            if self.try_adopt(pool, slab, true, list)? {
                return Ok(true);
            }
        }
        self.trim();
        self.release_empty_orphans();
        if self.claim_any_slab(pool, list)? {
            return Ok(true);
        }
        self.pools[pool].found_full = Some(self.world());
        self.call_for_memory();
        Ok(false)
    }

    /// Numbers that change when memory may have become free. The busy ones count in steps that grow with the arena, so that a
    /// search of everything is paid for by what was freed since the last.
    fn world(&self) -> [u64; 5] {
        let header = self.arena.header();
        let slabs = u64::from(self.arena.slab_end());
        // Acquire: pairs with the Releases of those who count; a stale number costs one more search or one more error.
        [
            self.freed_bytes / (slabs * 16),
            self.remote_events() / (slabs / 64 + 1),
            header.orphan_events.load(Ordering::Acquire) / (slabs / 64 + 1),
            header.release_events.load(Ordering::Acquire),
            header.death_events.load(Ordering::Acquire),
        ]
    }
}

/// The hint below which no slab of a kind is free.
fn low_slab(arena: &Arena, is_tagged: bool) -> &AtomicU64 {
    let header = arena.header();
    if is_tagged { &header.low_tagged_slab } else { &header.low_slab }
}

fn first_of_next_extent(slab: u32) -> u32 {
    let step = slab_of(super::EXTENT_BYTES);
    slab - slab % step + step
}

/// Appends the slab's free blocks, downward, so that they are handed out upward.
pub(super) fn push_free_blocks(arena: &Arena, slab: u32, free: &mut Vec<u64>) {
    let Some(slab) = arena.slab_ref(slab) else { return };
    let known = free.len();
    let found = slab.blocks(arena).filter(|(_, word)| word.state() == BlockState::Free);
    free.extend(found.map(|(offset, _)| offset));
    free[known..].reverse();
}
