//! A session: one slot, its memory, its log ring. One transaction at a time; sessions move between threads, but are never
//! shared.

#![forbid(unsafe_code)]

use crate::epoch::{Guard, Limbo, Participant, Recycler, Slot};
use crate::mvcc::TxnRecord;
use crate::row::RowImage;
use crate::shm::{Arena, BlockKind, BlockRef, Heap, Reserve};
use crate::sync::Ordering;
use crate::sys::coarse_ns;
use crate::txn::intents::{IntentList, KEPT_BLOCKS};
use crate::txn::link::Linker;
use crate::txn::log::{Haste, OutOfLine, RingPlace};
use crate::txn::prune::PruneQueue;
use crate::txn::read_set::ReadSet;
use crate::txn::room::Looked;
use crate::txn::savepoint::Marks;
use crate::txn::turn::HotRows;
use crate::txn::{Store, TableRef, TxnError};
use crate::wal::Published;
use std::collections::HashMap;
use std::mem::{offset_of, size_of};
use std::sync::Arc;

/// One session of this process.
pub struct Session {
    pub(super) store: Arc<Store>,
    pub(super) participant: Participant,
    pub(super) heap: Heap,
    pub(super) limbo: Limbo,
    pub(super) intents: IntentList,
    /// The log ring, once it has been needed.
    pub(super) ring: Option<RingPlace>,
    pub(super) out_of_line: OutOfLine,
    /// The entry of the running transaction, from its publication to its decision.
    pub(super) logged: Option<Published>,
    /// Records of ended transactions (R5).
    records: Recycler,
    /// The epoch in which the running transaction's record began to serve.
    record_birth: u64,
    pub(super) superseding: PruneQueue,
    pub(super) redo: Vec<u8>,
    pub(super) buffers: Buffers,
    pub(super) hot: HotRows,
    /// Fences passed and remote frees seen when nothing was left to be tidied.
    tidied_at: (u64, u64),
    idle: Idle,
    /// The last wait for the vacuum of a write that had found no room.
    pub(super) looked_for_room: Option<Looked>,
    /// The catalog's mark of unique indexes when no table had one, and the epoch that was closed then (O5 of `mvcc::index_root`).
    pub(super) unique_closed: Option<(u32, u64)>,
}

/// Looks at an idle session after which it gives up memory that others may need, seconds in all.
const IDLE_LOOKS: u32 = 8;
/// Commits of others in that time from which on they may: where nobody writes nobody does.
const IDLE_COMMITS: u64 = 1000;

/// For how long a session has been idle.
#[derive(Default)]
struct Idle {
    /// Fences passed at the last look.
    fences: u64,
    /// Looks since it was used.
    looks: u32,
    /// The clock at the first of those.
    clock: u64,
    /// Whether its memory was given up since.
    has_handed_over: bool,
}

impl Idle {
    /// One more look, when so many fences are passed; true when others may need the session's memory, or say so.
    fn is_long(&mut self, fences: u64, clock: u64, others_are_short: bool) -> bool {
        if self.looks == 0 || fences != self.fences {
            *self = Self { fences, looks: 1, clock, has_handed_over: false };
            return false;
        }
        self.looks = self.looks.saturating_add(1);
        let others_go_on = self.looks > IDLE_LOOKS && clock.saturating_sub(self.clock) >= IDLE_COMMITS;
        !self.has_handed_over && (others_go_on || others_are_short)
    }
}

/// What a transaction keeps in this process; its memory serves the session's next one.
#[derive(Default)]
pub(super) struct Buffers {
    pub(super) reads: ReadSet,
    pub(super) owned: OwnedRows,
    pub(super) marks: Marks,
    /// Rows gained or lost, by table.
    pub(super) row_deltas: Vec<(TableRef, i64)>,
    pub(super) image: Option<Box<RowImage>>,
    /// Roots of unique indexes that a commit looks at (U6).
    pub(super) unique_indexes: Vec<u64>,
    pub(super) key: Vec<u8>,
}

/// The number of the intent of each row that a transaction owns.
#[derive(Default)]
pub(super) struct OwnedRows {
    few: Vec<(u64, usize)>,
    many: HashMap<u64, usize, foldhash::fast::FixedState>,
}

/// Rows up to which a walk is quicker than a hash.
const FEW_ROWS: usize = 8;

impl OwnedRows {
    pub(super) fn get(&self, row: u64) -> Option<usize> {
        match self.few.iter().find(|(owned, _)| *owned == row) {
            Some((_, index)) => Some(*index),
            None if self.many.is_empty() => None,
            None => self.many.get(&row).copied(),
        }
    }

    #[cfg(test)]
    pub(super) fn first(&self) -> Option<u64> {
        self.few.first().map(|(row, _)| *row)
    }

    /// Is there one only?
    pub(super) fn is_one(&self) -> bool {
        self.few.len() == 1 && self.many.is_empty()
    }

    /// The row's intent is number `index`, whatever it was before.
    pub(super) fn insert(&mut self, row: u64, index: usize) {
        if let Some(known) = self.few.iter_mut().find(|(owned, _)| *owned == row) {
            known.1 = index;
        } else if self.few.len() < FEW_ROWS {
            self.few.push((row, index));
        } else {
            self.many.insert(row, index);
        }
    }

    /// Another entry is about `row`, which has one.
    pub(super) fn replace(&mut self, row: u64, index: usize) {
        match self.few.iter_mut().find(|(owned, _)| *owned == row) {
            Some(few) => few.1 = index,
            None => {
                self.many.insert(row, index);
            }
        }
    }

    /// No entry is about `row` any more.
    pub(super) fn remove(&mut self, row: u64) {
        self.few.retain(|(owned, _)| *owned != row);
        self.many.remove(&row);
    }

    fn clear(&mut self) {
        self.few.clear();
        if !self.many.is_empty() {
            self.many.clear();
        }
    }
}

impl Buffers {
    pub(super) fn clear(&mut self) {
        self.reads.clear();
        self.owned.clear();
        self.marks.clear();
        self.row_deltas.clear();
    }
}

impl Session {
    /// Claims a slot.
    ///
    /// # Errors
    /// `TooManySessions`; `OutOfSpace` for the session's log ring comes with its first commit.
    pub fn new(store: Arc<Store>) -> Result<Self, TxnError> {
        let participant = Participant::new(store.arena().clone(), Arc::clone(store.registry()))?;
        let heap = Heap::new(store.arena().clone(), participant.owner());
        Ok(Self {
            store,
            participant,
            heap,
            limbo: Limbo::default(),
            intents: IntentList::default(),
            ring: None,
            out_of_line: OutOfLine::default(),
            logged: None,
            records: Recycler::default(),
            record_birth: 0,
            superseding: PruneQueue::default(),
            redo: Vec::new(),
            buffers: Buffers::default(),
            tidied_at: (0, 0),
            idle: Idle::default(),
            hot: HotRows::default(),
            looked_for_room: None,
            unique_closed: None,
        })
    }

    /// A session that logs what a dead one was about to: what that takes comes from what is kept back, as the dead one's turn holds others up.
    ///
    /// # Errors
    /// As for `new`; `OutOfSpace` when not even that is left.
    pub(super) fn for_dead(&self) -> Result<Box<Self>, TxnError> {
        // What that one leaves behind would be held by what this one has reserved.
        self.participant.rest();
        let mut session = Box::new(Self::new(Arc::clone(&self.store))?);
        match session.make_ring(Reserve::Yes, self.store.ring_bytes) {
            Ok(_) => Ok(session),
            Err(error) => session.close().and(Err(error)),
        }
    }

    /// The store this session works on.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The session's place in the registry.
    #[inline]
    pub fn participant(&self) -> &Participant {
        &self.participant
    }

    /// Guard and memory at once: for operations that read and link.
    pub(crate) fn parts(&mut self) -> (Guard<'_>, Linker<'_>) {
        let Self { participant, heap, limbo, .. } = self;
        (participant.pin(), Linker { participant, heap, limbo, reserve: Reserve::No })
    }

    /// The same, and what is kept back.
    #[cfg(test)]
    pub(crate) fn parts_and_reserve(&mut self) -> (Guard<'_>, Linker<'_>) {
        let (guard, linker) = self.parts();
        (guard, Linker { reserve: Reserve::Yes, ..linker })
    }

    /// Makes an ACTIVE record and announces it in the slot.
    pub(super) fn begin_record(&mut self, reserve: Reserve) -> Result<BlockRef, TxnError> {
        let Self { participant, heap, records, .. } = self;
        if let Some(ring) = &self.ring {
            ring.ring(participant.arena()).prefetch();
        }
        let owner = participant.owner();
        let birth = participant.epoch();
        let used = records.take(participant)?;
        let fresh = used.is_none();
        let block = match used {
            Some(block) => block,
            None => heap.alloc(size_of::<TxnRecord>(), BlockKind::TXN_RECORD, birth, reserve)?,
        };
        self.record_birth = birth;
        let record: &TxnRecord = participant.arena().resolve(block.pointer())?;
        record.init(owner.slot, owner.incarnation, coarse_ns());
        // A fresh one is announced while RESERVED: a death before LIVE gives it back with its slab, one after finds it here.
        participant.slot().record.store(block.offset, Ordering::Release);
        if fresh {
            participant.arena().publish(block);
        }
        Ok(block)
    }

    /// Gives back the records that wait to be used again: each keeps a slab from others, and they are looked through when they have become more.
    pub(super) fn retire_records(&mut self) -> Result<(), TxnError> {
        Ok(self.records.close(&self.participant, &mut self.limbo)?)
    }

    /// The slot's record is settled: says so in the log entry, forgets the record, and keeps it for a later transaction (R5).
    pub(super) fn end_record(&mut self, record: BlockRef, committed: bool) {
        let Self { participant, intents, ring, logged, records, .. } = self;
        if let (Some(entry), Some(ring)) = (logged.take(), ring) {
            ring.ring(participant.arena()).decide(entry, committed);
        }
        intents.clear(participant.slot());
        participant.slot().record.store(0, Ordering::Release);
        records.put(participant, record, self.record_birth);
    }

    /// Work between transactions: versions nobody needs, redo the log has passed, blocks nobody can reach.
    pub(crate) fn tidy(&mut self) -> Result<(), TxnError> {
        self.prune_some()?;
        if !self.out_of_line.is_empty() {
            self.out_of_line.release(self.store.log().durable_ts(), &mut self.heap);
        }
        self.limbo.collect(&self.participant, &mut self.heap)?;
        Ok(())
    }

    /// Gives back what an idle session does not need. Called again and again, it does something only if the session, or another
    /// that freed what this one owns, has been at work since, or others have been for long, or find no room.
    pub(crate) fn tidy_idle(&mut self) -> Result<(), TxnError> {
        let others_are_short = self.heap.others_are_short();
        let is_long =
            self.idle.is_long(self.participant.fences(), self.store.clock().now(), others_are_short);
        if self.tidied_at == self.events() && !is_long {
            return Ok(());
        }
        self.prune(0)?;
        self.shed_intents(KEPT_BLOCKS)?;
        self.out_of_line.release(self.store.log().durable_ts(), &mut self.heap);
        if is_long {
            // Few as they are, each keeps a slab.
            self.retire_records()?;
        }
        self.limbo.collect_now(&self.participant, &mut self.heap)?;
        // One that was used since the last look may be again at once. What waits for the log is RESERVED.
        let leaves_slabs = self.idle.looks > 1 && self.out_of_line.is_empty();
        if leaves_slabs {
            // A session's records lie in slabs that are its own: there its reaper looks for them.
            self.heap.hand_over(is_long, self.records.offsets());
            self.idle.has_handed_over |= is_long;
        }
        self.heap.trim();
        if leaves_slabs && self.superseding.is_empty() && self.limbo.is_empty() {
            self.tidied_at = self.events();
        }
        self.idle.fences = self.participant.fences();
        Ok(())
    }

    /// What has happened that there may be something to tidy after.
    fn events(&self) -> (u64, u64) {
        (self.participant.fences(), self.heap.remote_events())
    }

    /// Gives up what a session's end gives up, but for its slot: true when nothing is left that others hold back, so that
    /// [`Session::close`] waits for nobody. One that is asked for after that has to take its records anew.
    pub(crate) fn wind_down(&mut self) -> Result<bool, TxnError> {
        self.prune(0)?;
        self.shed_intents(KEPT_BLOCKS)?;
        self.records.close(&self.participant, &mut self.limbo)?;
        self.out_of_line.release(self.store.log().durable_ts(), &mut self.heap);
        self.limbo.collect_now(&self.participant, &mut self.heap)?;
        Ok(self.superseding.is_empty() && self.is_let_go())
    }

    /// Whether nobody reads what this session's memory still holds, and no work that others have to end is announced in its slot.
    fn is_let_go(&self) -> bool {
        // Acquire is not needed: this session alone writes it.
        let slot = self.participant.slot();
        let is_at_work = slot.removed_row.load(Ordering::Relaxed) != 0 || slot.adding().is_some();
        !is_at_work && self.out_of_line.is_empty() && self.limbo.is_empty()
    }

    /// Gives back what the list of intents has had more than so many blocks.
    pub(crate) fn shed_intents(&mut self, kept: usize) -> Result<(), TxnError> {
        let Self { participant, heap, limbo, intents, .. } = self;
        Ok(intents.shed(&mut Linker { participant, heap, limbo, reserve: Reserve::No }, kept)?)
    }

    /// As a transaction with so many intents does that is over.
    #[cfg(test)]
    pub(crate) fn have_had_intents(&mut self, count: usize) {
        let offset = self.intents_offset();
        let Self { participant, heap, limbo, intents, .. } = self;
        let guard = participant.pin();
        let mut linker = Linker { participant, heap, limbo, reserve: Reserve::No };
        for _ in 0..count {
            intents.push(&guard, participant.slot(), offset, &mut linker, 0, 0).unwrap();
        }
        intents.clear(participant.slot());
    }

    /// As `tidy`, without waiting until it is worth while.
    #[cfg(test)]
    pub(crate) fn tidy_now(&mut self) -> Result<(), TxnError> {
        self.prune(0)?;
        self.limbo.collect_now(&self.participant, &mut self.heap)?;
        Ok(())
    }

    /// Ends the session: what others may still reach goes to the next owner of the slot's memory.
    ///
    /// # Errors
    /// When the mapping is damaged; what is left behind then is found by `mark_sweep`.
    pub fn close(mut self) -> Result<(), TxnError> {
        self.wind_down()?;
        if !self.superseding.is_empty() {
            self.store.garbage().want();
        }
        let deadline = crate::sys::monotonic_ns() + 2_000_000_000;
        // While the log cannot be written, nobody knows for how long: what it holds is had back as that of the dead is.
        let is_written = || self.store.log().fault() == 0 && !self.store.log().is_read_only();
        while !self.out_of_line.is_empty() && is_written() && crate::sys::monotonic_ns() < deadline {
            super::log::notify(self.store.log(), Haste::AtOnce);
            std::thread::sleep(std::time::Duration::from_millis(1));
            self.out_of_line.release(self.store.log().durable_ts(), &mut self.heap);
        }
        let deadline = crate::sys::monotonic_ns() + 2_000_000_000;
        while !self.limbo.is_empty() && crate::sys::monotonic_ns() < deadline {
            std::thread::yield_now();
            self.limbo.collect_now(&self.participant, &mut self.heap)?;
        }
        if !self.is_let_go() {
            // Others hold it back: leave slot and memory as a dead session's, for the reaper, once this process ends.
            return Ok(());
        }
        let Self { store, participant, heap, .. } = self;
        heap.close();
        store.registry().release_slot(participant.owner())?;
        Ok(())
    }

    pub(super) fn intents_offset(&self) -> u64 {
        self.store.registry().slot_offset(self.participant.owner()) + offset_of!(Slot, intents) as u64
    }

    pub(super) fn ring_word_offset(&self) -> u64 {
        self.store.registry().slot_offset(self.participant.owner()) + offset_of!(Slot, ring) as u64
    }

    pub(super) fn arena(&self) -> &Arena {
        self.participant.arena()
    }
}
