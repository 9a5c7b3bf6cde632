//! Interval-based reclamation: a block unlinked from every structure is used again only when no running operation can
//! still hold a pointer to it.
//!
//! Rules   I1: a block is born at the epoch of its allocation and retired at an epoch that was read after a fence after its
//!         unlinking: who published a later one, and then passed a fence, cannot reach it. I2: an operation reserves
//!         [low, high]; it only follows pointers it has loaded while `high` was the current epoch. I3: a retired block is
//!         freed when no reservation meets [birth, retire], and no slot names it as a version whose entries are being added.
//! Cost    one fence per operation, or per transaction and epoch, and one load per pointer followed. A process stopped inside
//!         an operation holds back what was live then, and nothing that was born later; so does an idle transaction.
//! Source  `2GE-IBR`: Wen et al., "Interval-Based Memory Reclamation", `PPoPP` 2018.

use crate::epoch::held::Held;
use crate::epoch::reservation::Reservation;
use crate::epoch::{EpochError, Registry, SlotId};
use crate::shm::{
    Arena, BlockKind, BlockRef, BlockState, BlockWord, Heap, OwnerId, RelPtr, Shared, ShmError, SlabRef,
    SlabStates,
};
use crate::sync::{AtomicU64, Ordering, fence};
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

/// Retirements of one session between two advances of the epoch.
const RETIRES_PER_EPOCH: u32 = 64;
/// Retired blocks a session lets pile up before it looks for those it may free.
const COLLECT_BATCH: usize = 128;
/// Calls of [`Limbo::collect`], one for each commit, after which it looks all the same.
const COLLECT_CALLS: u32 = 256;
/// Blocks freed at a time, while a write waits for memory: more than one write retires.
const FREE_BATCH: usize = 2;
/// Blocks left to be freed like that at most: nobody else can have their memory meanwhile, however short of it they are.
const FREE_MAX: usize = 2 * COLLECT_BATCH;
/// Blocks whose headers are asked for together before they are freed.
const PREFETCH_BATCH: usize = 64;

/// One session's place in the registry, from which it pins operations.
pub struct Participant {
    arena: Arena,
    registry: Arc<Registry>,
    owner: OwnerId,
    reservation: Reservation,
}

// SAFETY: the reservation's pointers lead into the shared mapping, whose words are atomics; `arena` keeps it mapped in every thread.
unsafe impl Send for Participant {}

/// What a session may touch is a part of it.
impl Deref for Participant {
    type Target = Reservation;

    #[inline]
    fn deref(&self) -> &Reservation {
        &self.reservation
    }
}

impl Participant {
    /// Claims a slot.
    ///
    /// # Errors
    /// `TooManySessions`.
    pub fn new(arena: Arena, registry: Arc<Registry>) -> Result<Self, EpochError> {
        let owner = registry.claim_slot()?;
        let slot = NonNull::from(registry.slot(SlotId(owner.slot))?);
        let epoch = NonNull::from(registry.epoch()?);
        // SAFETY: both lie in the arena, which `Self` keeps mapped as long as the reservation; slots never move.
        let reservation = unsafe { Reservation::new(slot, epoch) };
        Ok(Self { arena, registry, owner, reservation })
    }

    /// Slot and incarnation.
    pub fn owner(&self) -> OwnerId {
        self.owner
    }

    /// The arena.
    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// The registry.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Begins an operation: until the guard is dropped, what it loads stays allocated. Guards nest.
    #[inline]
    pub fn pin(&self) -> Guard<'_> {
        self.enter();
        Guard { participant: self }
    }

    fn held(&self, into: &mut Held) -> Result<(), ShmError> {
        self.registry.held(into)?;
        self.note_fence();
        Ok(())
    }

    /// A number that every transaction of the session changes.
    pub fn fences(&self) -> u64 {
        self.fences.get()
    }

    /// Begins a new epoch and returns the old one, for [`Participant::is_over`].
    pub fn close_epoch(&self) -> u64 {
        // Pairs with the fence of whoever begins an operation: one that sees the new epoch sees what was done before.
        fence(Ordering::SeqCst);
        self.note_fence();
        self.epoch_word().fetch_add(1, Ordering::AcqRel)
    }

    /// Whether every operation has ended that began in `epoch` or before: then nobody is at what was out of use before
    /// `close_epoch` returned it. An idle transaction counts as an operation, as it does for blocks.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn is_over(&self, epoch: u64) -> Result<bool, ShmError> {
        let mut held = Held::default();
        self.held(&mut held)?;
        Ok(held.is_later_than(epoch))
    }
}

/// A running operation; see [`Participant::pin`].
pub struct Guard<'a> {
    participant: &'a Participant,
}

impl<'a> Guard<'a> {
    /// Loads a word that holds the address of a block, so that the block stays allocated while the guard lives.
    #[inline]
    pub fn protect(&self, word: &AtomicU64) -> u64 {
        self.participant.protect(word)
    }

    /// The state word of a block that was found by walking its slab, not by a pointer. A block that is LIVE in it stays
    /// allocated while the guard lives: it is loaded like a pointer (I2), and retired later if at all.
    ///
    /// # Errors
    /// When no block can begin at `offset`.
    #[inline]
    pub fn block_word(&self, offset: u64) -> Result<BlockWord, ShmError> {
        loop {
            let word = self.participant.arena.block_word(offset)?;
            if self.participant.is_current() {
                return Ok(word);
            }
        }
    }

    /// The state word of a block that is remembered from an earlier operation, while that use of it lasts. Its memory may be in
    /// another use by now, or be gone; only what is in use is looked at.
    ///
    /// # Errors
    /// When no block can begin there.
    #[inline]
    pub fn word_of(&self, block: BlockRef) -> Result<Option<BlockWord>, ShmError> {
        // If the slab is still the same afterwards, what was read is a state word.
        let word = self.arena().look_at(block, || self.block_word(block.offset))?;
        let lasts =
            |word: &BlockWord| word.generation() == block.generation && word.state() != BlockState::Free;
        Ok(word.filter(lasts))
    }

    /// Is a block of this kind LIVE at `offset`, where one for so many bytes was at some time? Then it stays allocated while the guard lives, as if a
    /// pointer to it had been followed (I2): it is retired later, if at all. Its memory may be in another use by now, or be gone.
    ///
    /// # Errors
    /// When no block can begin there.
    #[inline]
    pub fn is_live(&self, offset: u64, kind: BlockKind, bytes: usize) -> Result<bool, ShmError> {
        let word = self.arena().look_where_one_began(offset, bytes, || self.block_word(offset))?;
        Ok(word.is_some_and(|word| word.state() == BlockState::Live && word.kind() == kind))
    }

    /// The block at `offset`, which may have been loaded from memory in another use by now; none where nothing is in use.
    ///
    /// # Errors
    /// When no block can begin there.
    pub fn block_at(&self, offset: u64) -> Result<Option<BlockRef>, ShmError> {
        if self.arena().is_in_use(offset) { self.arena().block_ref(offset).map(Some) } else { Ok(None) }
    }

    /// Offsets of the LIVE blocks of a slab, in address order; each stays allocated while the guard lives.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn live_blocks(&self, slab: SlabRef) -> Result<LiveBlocks<'_>, ShmError> {
        let states = slab.states(self.arena())?;
        Ok(LiveBlocks { guard: self, states, next: 0, batch: LiveBatch::NONE, at: 0 })
    }

    /// What `load` loads; should the epoch have passed on meanwhile, `load` does it again. So what it has loaded in the end stays
    /// allocated while the guard lives, as with [`Guard::protect`]: for many words at once.
    #[inline]
    pub fn protect_all<T>(&self, mut load: impl FnMut() -> T) -> T {
        loop {
            let loaded = load();
            if self.participant.is_current() {
                return loaded;
            }
        }
    }

    /// The object at an offset that came out of [`Guard::protect`].
    ///
    /// # Errors
    /// When the offset lies outside the arena or is not aligned: the mapping is damaged.
    #[inline]
    pub fn resolve<T: Shared>(&self, offset: u64) -> Result<&'a T, ShmError> {
        self.participant.arena.resolve(RelPtr::new(offset))
    }

    /// The arena.
    pub fn arena(&self) -> &'a Arena {
        &self.participant.arena
    }

    /// The session this operation belongs to.
    pub fn participant(&self) -> &'a Participant {
        self.participant
    }
}

/// The most blocks of a [`LiveBatch`]. What so many words lead to is fetched ahead: not much more than a processor has requests
/// under way.
pub const LIVE_BATCH: usize = 16;

/// Some LIVE blocks of a slab: their offsets, and the first word of each, which may be followed like one that was protected.
pub struct LiveBatch {
    offsets: [u64; LIVE_BATCH],
    words: [u64; LIVE_BATCH],
    len: usize,
}

impl LiveBatch {
    /// None.
    pub const NONE: Self = Self { offsets: [0; LIVE_BATCH], words: [0; LIVE_BATCH], len: 0 };

    /// Are there none?
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first word of each.
    #[inline]
    pub fn words(&self) -> &[u64] {
        &self.words[..self.len]
    }

    /// As [`words`](Self::words), and behind them anything: to be fetched ahead.
    #[inline]
    pub fn places(&self) -> &[u64; LIVE_BATCH] {
        &self.words
    }

    /// The offset of each.
    #[inline]
    pub fn offsets(&self) -> &[u64] {
        &self.offsets[..self.len]
    }
}

/// See [`Guard::live_blocks`].
pub struct LiveBlocks<'g> {
    guard: &'g Guard<'g>,
    states: SlabStates<'g>,
    /// The block after the batch.
    next: u64,
    batch: LiveBatch,
    /// The first of the batch that has not been handed out.
    at: usize,
}

impl LiveBlocks<'_> {
    /// Makes `batch` the next few; none at the end.
    pub fn next_batch(&mut self, batch: &mut LiveBatch) {
        let Self { guard, states, next, .. } = self;
        batch.len = 0;
        while *next < states.count() && batch.is_empty() {
            let first = *next;
            guard.protect_all(|| {
                (batch.len, *next) = states.live(first, &mut batch.offsets, &mut batch.words);
            });
        }
    }
}

impl Iterator for LiveBlocks<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if self.at == self.batch.len {
            let mut batch = std::mem::replace(&mut self.batch, LiveBatch::NONE);
            self.next_batch(&mut batch);
            (self.batch, self.at) = (batch, 0);
        }
        let offset = self.batch.offsets[..self.batch.len].get(self.at).copied();
        self.at += usize::from(offset.is_some());
        offset
    }
}

impl Drop for Guard<'_> {
    #[inline]
    fn drop(&mut self) {
        // A death at a fault point unwinds, and the dead do not tidy up.
        #[cfg(test)]
        if std::thread::panicking() {
            return;
        }
        self.participant.leave();
    }
}

/// The epoch of a block that was retired after the session's last fence: later than any.
const UNKNOWN_EPOCH: u64 = u64::MAX;

#[derive(Clone, Copy)]
pub(super) struct Retired {
    pub(super) block: BlockRef,
    birth: u64,
    epoch: u64,
}

/// Blocks that no structure refers to any more, in the order in which they were retired.
///
/// An epoch that is read right after an unlinking may be older than one that a reader has published who does not see the
/// unlinking yet: the store can wait in its processor's buffer meanwhile. So each block gets its epoch after the session's
/// next fence (I1), of which there is one in every transaction anyway.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) blocks: Vec<Retired>,
    /// Blocks at the start that have their epoch.
    dated: usize,
    /// The session's fences when the others were retired.
    fences: u64,
}

impl Waiting {
    #[inline]
    pub(super) fn push(&mut self, reservation: &Reservation, block: BlockRef, birth: u64) {
        self.date(reservation);
        self.blocks.push(Retired { block, birth, epoch: UNKNOWN_EPOCH });
    }

    /// Forgets all of them.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = BlockRef> {
        self.dated = 0;
        self.blocks.drain(..).map(|retired| retired.block)
    }

    #[inline]
    fn date(&mut self, reservation: &Reservation) {
        let fences = reservation.fences.get();
        if self.fences == fences {
            return;
        }
        self.fences = fences;
        let epoch = reservation.epoch();
        for retired in &mut self.blocks[self.dated..] {
            retired.epoch = epoch;
        }
        self.dated = self.blocks.len();
    }

    /// Calls `f` with every block that nobody holds back, and forgets it. `held` is memory to use again.
    pub(super) fn release(
        &mut self,
        participant: &Participant,
        held: &mut Held,
        f: impl FnMut(BlockRef),
    ) -> Result<(), ShmError> {
        participant.held(held)?;
        self.release_outside(participant, held, f);
        Ok(())
    }

    /// The same, where that is what is held back; a fence of the session came before it was read.
    fn release_outside(&mut self, reservation: &Reservation, held: &Held, mut f: impl FnMut(BlockRef)) {
        self.date(reservation);
        self.blocks.retain(|retired| {
            // I3
            let is_held = held.holds(retired.block.offset, retired.birth, retired.epoch);
            if !is_held {
                f(retired.block);
            }
            is_held
        });
        self.dated = self.blocks.len();
    }
}

/// Blocks one session has retired and may not free yet. Private to the process: the blocks' states are the truth.
#[derive(Default)]
pub struct Limbo {
    retired: Waiting,
    /// Those that no operation can reach any more: to be freed, a few at a time.
    free: Vec<BlockRef>,
    since_advance: u32,
    next_collect: usize,
    calls_waited: u32,
    held: Held,
}

impl Limbo {
    /// Retires a block that no structure refers to any more; false when someone else has done so.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn retire(&mut self, participant: &Participant, block: BlockRef) -> Result<bool, ShmError> {
        let arena = participant.arena();
        if !arena.retire(block, participant.owner().slot) {
            return Ok(false);
        }
        self.push(participant, block)?;
        Ok(true)
    }

    /// As [`Limbo::retire`], of a block that the operation of `guard` holds: it was loaded under it, and could be reached then.
    ///
    /// # Errors
    /// When the mapping is damaged.
    #[inline]
    pub fn retire_held(&mut self, guard: &Guard<'_>, block: BlockRef) -> Result<bool, ShmError> {
        let participant = guard.participant();
        if !participant.arena().retire_held(block, participant.owner().slot) {
            return Ok(false);
        }
        self.push(participant, block)?;
        Ok(true)
    }

    /// Takes over a block that is already RETIRED in this session's name.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn push(&mut self, participant: &Participant, block: BlockRef) -> Result<(), ShmError> {
        let birth = participant.arena().block_birth(block.offset);
        self.since_advance += 1;
        if self.since_advance >= RETIRES_PER_EPOCH {
            self.since_advance = 0;
            participant.epoch_word().fetch_add(1, Ordering::AcqRel);
        }
        self.retired.push(participant, block, birth);
        self.tell(participant);
        Ok(())
    }

    /// Frees what no running operation can reach, when enough has piled up or has waited long: a few blocks may be large.
    ///
    /// # Errors
    /// When the mapping is damaged.
    #[inline]
    pub fn collect(&mut self, participant: &Participant, heap: &mut Heap) -> Result<(), ShmError> {
        if self.is_empty() {
            return Ok(());
        }
        self.calls_waited += 1;
        let is_much = self.retired.blocks.len() >= self.next_collect.max(COLLECT_BATCH);
        if is_much || self.calls_waited >= COLLECT_CALLS {
            self.look(participant, heap, if is_much { FREE_MAX } else { 0 })?;
        }
        Ok(())
    }

    /// Frees a few of those that [`Limbo::collect`] has found.
    #[inline]
    pub fn free_some(&mut self, participant: &Participant, heap: &mut Heap) {
        if self.free.is_empty() {
            return;
        }
        for block in self.free.drain(self.free.len().saturating_sub(FREE_BATCH)..) {
            heap.free(block);
        }
        self.tell(participant);
    }

    /// Says in the slot how many blocks wait, after each change.
    #[inline]
    fn tell(&self, participant: &Participant) {
        // Relaxed: a figure.
        participant.slot().retired_count.store(self.len() as u64, Ordering::Relaxed);
    }

    /// Frees what no running operation can reach.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn collect_now(&mut self, participant: &Participant, heap: &mut Heap) -> Result<(), ShmError> {
        self.look(participant, heap, 0)
    }

    /// Frees what no running operation can reach, but for `left` blocks, which are left to [`Limbo::free_some`].
    fn look(&mut self, participant: &Participant, heap: &mut Heap, left: usize) -> Result<(), ShmError> {
        self.calls_waited = 0;
        let Self { retired, free, held, .. } = self;
        let before = free.len();
        retired.release(participant, held, |block| free.push(block))?;
        let due = before.max(free.len().saturating_sub(left));
        for few in free[..due].chunks(PREFETCH_BATCH) {
            for block in few {
                heap.prefetch(*block);
            }
            for block in few {
                heap.free(*block);
            }
        }
        free.drain(..due);
        free.shrink_to(2 * FREE_MAX); // after a large transaction
        // What is held back now is looked at again only after it has grown by half.
        let held_back = self.retired.blocks.len();
        self.next_collect = held_back + held_back / 2 + COLLECT_BATCH;
        self.tell(participant);
        Ok(())
    }

    /// As [`Limbo::collect`] when much has piled up.
    ///
    /// # Errors
    /// When the mapping is damaged.
    #[cfg(test)]
    pub(crate) fn collect_much(
        &mut self,
        participant: &Participant,
        heap: &mut Heap,
    ) -> Result<(), ShmError> {
        self.look(participant, heap, FREE_MAX)
    }

    /// Blocks waiting.
    pub fn len(&self) -> usize {
        self.retired.blocks.len() + self.free.len()
    }

    /// Is nothing waiting?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(test)]
#[cfg(not(loom))] // needs an arena
pub(super) mod tests;
