//! The process table and the session slots: who is attached, and what each may still see.
//!
//! Layout      `RegistryHeader`, then `PROCESS_COUNT` process entries of 64 bytes, then `SLOT_COUNT` slots of 256.
//! Invariants  G1: a process entry belongs to whoever holds the kernel lock on its byte; the words only inform.
//!             G2: a slot word moves FREE -> LIVE by one CAS that names process and incarnation, and back to FREE, with
//!             the next incarnation, by its owner or by the reaper that holds the reap lock of its dead process.
//! Ordering    see `slot` for snapshots and the horizon.

use crate::epoch::held::Held;
use crate::epoch::{EpochError, Slot};
use crate::shm::{Arena, OwnerId, RelPtr, Shared, ShmError};
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};
use crate::sys::{LockFile, Probe};
use std::mem::{offset_of, size_of};
use std::sync::Mutex;

/// Entries of the process table of a mapping.
const PROCESS_COUNT: u32 = 1024;
/// Session slots of a mapping.
const SLOT_COUNT: u32 = 4096;

/// How often a process that writes gives a sign of life.
pub const BEAT_INTERVAL_NS: u64 = 20_000_000;
/// Silence after which a process is taken for stopped: several beats, for threads wait for a processor too.
pub const SILENCE_NS: u64 = 150_000_000;

/// First byte of the lock file that stands for a process; entry `i` is byte `PROCESS_BYTE + i`.
const PROCESS_BYTE: u64 = 1 << 40;
/// First byte of the lock file that stands for the right to reap a process.
const REAP_BYTE: u64 = 1 << 41;

/// Shared counters of the registry.
#[repr(C)]
pub struct RegistryHeader {
    /// Reclamation epoch, starts at 1.
    epoch: AtomicU64,
    _pad0: [u64; 7],
    /// One more than the highest slot index ever claimed.
    slot_high: AtomicU32,
    /// One more than the highest process index ever claimed.
    process_high: AtomicU32,
    _pad1: [u64; 7],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<RegistryHeader>() == 128 && offset_of!(RegistryHeader, slot_high) == 64);

// SAFETY: repr(C), atomics and padding only; all-zero is a valid state.
unsafe impl Shared for RegistryHeader {}

/// One attached process; meaningful only while the lock on its byte is held.
#[repr(C)]
pub struct ProcessEntry {
    /// 0 while never used, else 1.
    used: AtomicU32,
    /// Counts the processes that have held this entry.
    incarnation: AtomicU32,
    /// Process id in its own pid namespace, for people to read.
    pid: AtomicU32,
    _pad0: u32,
    /// Monotonic nanoseconds of its last sign of life; 0 while it gives none.
    beat_ns: AtomicU64,
    _pad1: [u64; 5],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<ProcessEntry>() == 64);

// SAFETY: repr(C), atomics and padding only; all-zero is a valid state.
unsafe impl Shared for ProcessEntry {}

/// State of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// Nobody's.
    Free,
    /// Claimed by a session, which may meanwhile be dead.
    Live,
}

/// Slot word: state in bits 0..4, process index in 4..20, the process's incarnation in 20..40, the slot's own in 40..64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SlotWord(u64);

impl SlotWord {
    fn new(state: SlotState, process: ProcessId, incarnation: u32) -> Self {
        Self(
            u64::from(state == SlotState::Live)
                | (u64::from(process.index) << 4)
                | (u64::from(process.incarnation & 0xF_FFFF) << 20)
                | (u64::from(incarnation & 0xFF_FFFF) << 40),
        )
    }
    fn state(self) -> SlotState {
        if self.0.trailing_zeros() >= 4 { SlotState::Free } else { SlotState::Live }
    }
    fn process(self) -> ProcessId {
        ProcessId {
            index: u32::try_from((self.0 >> 4) & 0xFFFF).unwrap_or(0),
            incarnation: u32::try_from((self.0 >> 20) & 0xF_FFFF).unwrap_or(0),
        }
    }
    fn incarnation(self) -> u32 {
        u32::try_from(self.0 >> 40).unwrap_or(0)
    }
}

/// A process that holds, or held, an entry of the process table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcessId {
    /// Place in the process table.
    pub index: u32,
    /// Low 20 bits count: which holder of that place.
    pub incarnation: u32,
}

/// Place of a slot in the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotId(pub u16);

/// This process's view of the registry, and its own place in it.
pub struct Registry {
    arena: Arena,
    header: RelPtr<RegistryHeader>,
    processes: u64,
    slots: u64,
    lock: LockFile,
    probe: Probe,
    process: ProcessId,
    /// Kernel locks do not exclude threads that share a descriptor; this does.
    reap_gate: Mutex<()>,
}

impl Registry {
    /// Bytes of the system area that the registry needs.
    pub const fn bytes() -> u64 {
        size_of::<RegistryHeader>() as u64
            + PROCESS_COUNT as u64 * size_of::<ProcessEntry>() as u64
            + SLOT_COUNT as u64 * size_of::<Slot>() as u64
    }

    /// Attaches to the registry at `offset` of `arena` and claims a process entry.
    ///
    /// Entries of dead processes that still own slots are left to `dead_slots` and passed over.
    ///
    /// # Errors
    /// `TooManyProcesses`, or what the operating system says.
    pub fn attach(arena: Arena, offset: u64, lock: LockFile, probe: Probe) -> Result<Self, EpochError> {
        let processes = offset + size_of::<RegistryHeader>() as u64;
        let slots = processes + u64::from(PROCESS_COUNT) * size_of::<ProcessEntry>() as u64;
        let mut registry = Self {
            arena,
            header: RelPtr::new(offset),
            processes,
            slots,
            lock,
            probe,
            process: ProcessId { index: 0, incarnation: 0 },
            reap_gate: Mutex::new(()),
        };
        // Epoch 0 would make the first interval look empty.
        let _ = registry.header()?.epoch.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Acquire);
        registry.process = registry.claim_process()?;
        Ok(registry)
    }

    fn header(&self) -> Result<&RegistryHeader, ShmError> {
        self.arena.resolve(self.header)
    }

    fn process_entry(&self, index: u32) -> Result<&ProcessEntry, ShmError> {
        self.arena.resolve(RelPtr::new(self.processes + u64::from(index) * size_of::<ProcessEntry>() as u64))
    }

    /// The slot at `id`.
    ///
    /// # Errors
    /// When `id` lies outside the registry.
    pub fn slot(&self, id: SlotId) -> Result<&Slot, ShmError> {
        self.arena.resolve(RelPtr::new(self.slots + u64::from(id.0) * size_of::<Slot>() as u64))
    }

    /// Offset of a slot in the arena.
    pub fn slot_offset(&self, owner: OwnerId) -> u64 {
        self.slots + u64::from(owner.slot) * size_of::<Slot>() as u64
    }

    /// The reclamation epoch word.
    ///
    /// # Errors
    /// When the mapping is shorter than its header says.
    pub fn epoch(&self) -> Result<&AtomicU64, ShmError> {
        Ok(&self.header()?.epoch)
    }

    /// This process.
    pub fn process(&self) -> ProcessId {
        self.process
    }

    fn claim_process(&self) -> Result<ProcessId, EpochError> {
        for index in 0..PROCESS_COUNT {
            if !self.lock.try_lock(PROCESS_BYTE + u64::from(index))? {
                continue;
            }
            let entry = self.process_entry(index)?;
            let previous =
                ProcessId { index, incarnation: entry.incarnation.load(Ordering::Acquire) & 0xF_FFFF };
            if entry.used.load(Ordering::Acquire) != 0 && self.owns_slots(previous)? {
                // The dead holder's slots must stay recognisable as dead until they are reaped.
                self.lock.unlock(PROCESS_BYTE + u64::from(index))?;
                continue;
            }
            let incarnation = (previous.incarnation + 1) & 0xF_FFFF;
            entry.incarnation.store(incarnation, Ordering::Release);
            entry.pid.store(std::process::id(), Ordering::Relaxed);
            entry.beat_ns.store(0, Ordering::Relaxed);
            entry.used.store(1, Ordering::Release);
            self.header()?.process_high.fetch_max(index + 1, Ordering::AcqRel);
            return Ok(ProcessId { index, incarnation });
        }
        Err(EpochError::TooManyProcesses { limit: PROCESS_COUNT })
    }

    fn owns_slots(&self, process: ProcessId) -> Result<bool, ShmError> {
        Ok(self.slots_in_use()?.iter().any(|(_, word)| word.process() == process))
    }

    fn slots_in_use(&self) -> Result<Vec<(SlotId, SlotWord)>, ShmError> {
        let mut used = Vec::new();
        for index in 0..self.slot_high()? {
            let word = SlotWord(self.slot(SlotId(index))?.word.load(Ordering::Acquire));
            if word.state() == SlotState::Live {
                used.push((SlotId(index), word));
            }
        }
        Ok(used)
    }

    fn slot_high(&self) -> Result<u16, ShmError> {
        Ok(u16::try_from(self.header()?.slot_high.load(Ordering::Acquire)).unwrap_or(u16::MAX))
    }

    /// Claims a slot for a session of this process.
    ///
    /// # Errors
    /// `TooManySessions`.
    pub fn claim_slot(&self) -> Result<OwnerId, EpochError> {
        for index in 0..SLOT_COUNT {
            let id = SlotId(u16::try_from(index).unwrap_or(u16::MAX));
            let slot = self.slot(id)?;
            let seen = SlotWord(slot.word.load(Ordering::Acquire));
            if seen.state() == SlotState::Live {
                continue;
            }
            // Before the claim is visible: a scan that stops below the new slot must not miss it.
            self.header()?.slot_high.fetch_max(index + 1, Ordering::AcqRel);
            let incarnation = (seen.incarnation() + 1) & 0xFF_FFFF;
            let claimed = SlotWord::new(SlotState::Live, self.process, incarnation);
            // A free slot's words are already reset: see `release_slot`. A slot never used is all zero, which reads as
            // a snapshot and an interval at 0: the safe side, until `reset`.
            if slot.word.compare_exchange(seen.0, claimed.0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                slot.reset();
                return Ok(OwnerId { slot: id.0, incarnation });
            }
        }
        Err(EpochError::TooManySessions { limit: SLOT_COUNT })
    }

    /// Gives a slot back: the owner, or the reaper of its dead process (G2). Idempotent.
    ///
    /// # Errors
    /// When the slot lies outside the registry.
    pub fn release_slot(&self, owner: OwnerId) -> Result<(), ShmError> {
        let slot = self.slot(SlotId(owner.slot))?;
        let seen = SlotWord(slot.word.load(Ordering::Acquire));
        if seen.state() != SlotState::Live || seen.incarnation() != owner.incarnation {
            return Ok(());
        }
        slot.reset();
        let free = SlotWord::new(SlotState::Free, seen.process(), owner.incarnation);
        let _ = slot.word.compare_exchange(seen.0, free.0, Ordering::AcqRel, Ordering::Acquire);
        Ok(())
    }

    /// Is the process that holds, or held, this place gone?
    ///
    /// # Errors
    /// What the operating system says.
    pub fn is_dead(&self, process: ProcessId) -> Result<bool, EpochError> {
        if process == self.process {
            return Ok(false);
        }
        if self.process_entry(process.index)?.incarnation.load(Ordering::Acquire) & 0xF_FFFF
            != process.incarnation
        {
            return Ok(true);
        }
        Ok(!self.probe.is_locked(PROCESS_BYTE + u64::from(process.index))?)
    }

    /// Is the process that owns this slot incarnation gone, or the slot no longer its own?
    ///
    /// # Errors
    /// What the operating system says.
    pub fn is_dead_owner(&self, owner: OwnerId) -> Result<bool, EpochError> {
        let word = SlotWord(self.slot(SlotId(owner.slot))?.word.load(Ordering::Acquire));
        if word.state() != SlotState::Live || word.incarnation() != owner.incarnation {
            return Ok(true);
        }
        self.is_dead(word.process())
    }

    /// This process is alive at `now_ns`. One that has begun to say so says it every [`BEAT_INTERVAL_NS`].
    ///
    /// # Errors
    /// When the registry is damaged.
    pub fn beat(&self, now_ns: u64) -> Result<(), ShmError> {
        // Relaxed: a time, which orders nothing.
        self.process_entry(self.process.index)?.beat_ns.store(now_ns, Ordering::Relaxed);
        Ok(())
    }

    /// Is the process that owns this slot incarnation gone, or as good as: stopped, or without a processor for long? What it
    /// has not decided may be decided for it; it is not reaped.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn is_unresponsive_owner(&self, owner: OwnerId, now_ns: u64) -> Result<bool, EpochError> {
        let word = SlotWord(self.slot(SlotId(owner.slot))?.word.load(Ordering::Acquire));
        if word.state() != SlotState::Live || word.incarnation() != owner.incarnation {
            return Ok(true);
        }
        let beat_ns = self.process_entry(word.process().index)?.beat_ns.load(Ordering::Relaxed);
        Ok((beat_ns != 0 && now_ns.saturating_sub(beat_ns) > SILENCE_NS) || self.is_dead(word.process())?)
    }

    /// Every slot in use, with the process id of its session for people to read.
    ///
    /// # Errors
    /// When the registry is damaged.
    pub fn live_slots(&self) -> Result<Vec<(OwnerId, ProcessId, u32)>, ShmError> {
        self.slots_in_use()?
            .into_iter()
            .map(|(id, word)| {
                let process = word.process();
                let pid = self.process_entry(process.index)?.pid.load(Ordering::Relaxed);
                Ok((OwnerId { slot: id.0, incarnation: word.incarnation() }, process, pid))
            })
            .collect()
    }

    /// Calls `f` for every slot that may be in use, without allocating.
    ///
    /// # Errors
    /// When the registry is damaged.
    pub fn for_each_slot(&self, mut f: impl FnMut(SlotId, &Slot)) -> Result<(), ShmError> {
        for index in 0..self.slot_high()? {
            let id = SlotId(index);
            let slot = self.slot(id)?;
            if SlotWord(slot.word.load(Ordering::Acquire)).state() == SlotState::Live {
                f(id, slot);
            }
        }
        Ok(())
    }

    /// Calls `f` for every slot ever claimed, in use or not.
    ///
    /// # Errors
    /// When the registry is damaged.
    pub fn for_each_slot_ever(&self, mut f: impl FnMut(SlotId, &Slot)) -> Result<(), ShmError> {
        for index in 0..self.slot_high()? {
            f(SlotId(index), self.slot(SlotId(index))?);
        }
        Ok(())
    }

    /// Runs `f` on every slot whose process is dead, as the only reaper of that process. A process that another reaper
    /// is at work on is passed over. Returns how many slots `f` was run on.
    ///
    /// # Errors
    /// What `f` or the operating system says; what was not done is done by the next reaper.
    pub fn reap_dead<E: From<EpochError>>(
        &self,
        mut f: impl FnMut(OwnerId) -> Result<(), E>,
    ) -> Result<u32, E> {
        let mut reaped = 0;
        let slots = self.slots_in_use().map_err(EpochError::from)?;
        if slots.iter().all(|(_, word)| word.process() == self.process) {
            return Ok(0);
        }
        let _gate = self.reap_gate.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut last: Option<(ProcessId, bool)> = None;
        for (id, word) in slots {
            let process = word.process();
            let dead = match last {
                Some((known, dead)) if known == process => dead,
                _ => self.is_dead(process)?,
            };
            last = Some((process, dead));
            if !dead {
                continue;
            }
            let byte = REAP_BYTE + u64::from(process.index);
            if !self.lock.try_lock(byte).map_err(EpochError::from)? {
                continue;
            }
            let current = SlotWord(self.slot(id).map_err(EpochError::from)?.word.load(Ordering::Acquire));
            let outcome = if current == word {
                reaped += 1;
                f(OwnerId { slot: id.0, incarnation: word.incarnation() })
            } else {
                Ok(())
            };
            self.lock.unlock(byte).map_err(EpochError::from)?;
            outcome?;
        }
        Ok(reaped)
    }

    /// Is any other process attached?
    ///
    /// # Errors
    /// What the operating system says.
    pub fn has_peers(&self) -> Result<bool, EpochError> {
        let high = u64::from(self.header()?.process_high.load(Ordering::Acquire));
        for index in 0..high {
            if index != u64::from(self.process.index) && self.probe.is_locked(PROCESS_BYTE + index)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes the exclusive lock on a named byte of the lock file, if it is free.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn try_lock(&self, byte: u64) -> Result<bool, EpochError> {
        Ok(self.lock.try_lock(byte)?)
    }

    /// Gives that lock back.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn unlock(&self, byte: u64) -> Result<(), EpochError> {
        Ok(self.lock.unlock(byte)?)
    }

    /// The oldest timestamp that anyone may read at; never above what `clock` showed at the call (G3).
    ///
    /// # Errors
    /// When the registry is damaged.
    pub fn horizon(&self, clock: &AtomicU64) -> Result<u64, ShmError> {
        let mut horizon = clock.load(Ordering::Acquire);
        fence(Ordering::SeqCst);
        self.for_each_slot(|_, slot| horizon = slot.snapshots().into_iter().fold(horizon, u64::min))?;
        Ok(horizon)
    }

    /// What all sessions hold back.
    ///
    /// # Errors
    /// When the registry is damaged.
    pub(super) fn held(&self, into: &mut Held) -> Result<(), ShmError> {
        into.clear();
        fence(Ordering::SeqCst);
        self.for_each_slot(|_, slot| into.look(slot))
    }

    /// May somebody add an index entry yet that leads to `row`, or has left one there (K4 of `txn::secondary`)? Asked by who has seen that
    /// none of the row's writers is undecided.
    ///
    /// # Errors
    /// When the registry is damaged.
    pub fn is_adding_to(&self, row: u64) -> Result<bool, ShmError> {
        // Pairs with the fence of whoever adds: either he is seen here, or he sees that he was aborted.
        fence(Ordering::SeqCst);
        let mut is_adding = false;
        self.for_each_slot(|_, slot| is_adding |= slot.is_adding_to(row))?;
        Ok(is_adding)
    }
}
