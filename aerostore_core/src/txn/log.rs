//! A session's side of the log: its ring, and staging a transaction's redo in it.
//!
//! Rules       N1: while the log writer reports a fault, such as a full disk, a synchronous commit fails before it takes
//!             effect. One that has taken effect and waits for the disk gets the fault too; it stays in its ring, and is
//!             written once that is possible.
//!             N2: an asynchronous commit takes effect meanwhile, if its redo goes into the session's ring and leaves half of it
//!             free of what is not durable. So what power loss may take stays small, and nothing is put aside in the
//!             arena while nobody knows for how long.
//!             N3: the log writer tries again by itself, and the first drain that succeeds takes the fault back. Neither rule
//!             needs anybody to do anything but make room.

use crate::epoch::{Guard, Participant, Slot};
use crate::index::Blocks;
use crate::shm::{Arena, BlockKind, BlockRef, Heap, RelPtr, Reserve, ShmError};
use crate::sync::{AtomicU32, Ordering};
use crate::sys::{wait, wake};
use crate::txn::link::Linker;
use crate::txn::{Session, Store, TxnError};
use crate::wal::{
    Durability, EntryBody, LogControl, Ring, RingError, RingHeader, Staged, WalError, append_and_checksum,
};
use std::mem::size_of;
use std::time::{Duration, Instant};

/// Bytes of a ring from the reserve, of which that has room for about a dozen.
const SMALL_RING_BYTES: u64 = 1 << 16;
/// Bytes of one piece of a redo record that does not fit the ring, if the ring has room for the places of all.
const PIECE_BYTES: usize = 60_000;
/// The same where that, which may be a small one, has not: four slabs.
const LARGE_PIECE_BYTES: usize = 4 * 65_536 - 64;
/// Bytes of a piece's place in the ring.
const PLACE_BYTES: u64 = 16;
/// How long a commit waits for room before it looks again whether the log still takes anything.
const ROOM_WAIT: Duration = Duration::from_millis(2);

/// A session's ring: looked up once, and used for as long as the session keeps the arena mapped.
#[derive(Clone, Copy)]
pub(super) struct RingPlace(Ring<'static>);

impl RingPlace {
    /// The ring in the block at `offset`, in the arena that the caller keeps.
    fn find(arena: &Arena, offset: u64) -> Result<Self, ShmError> {
        let ring = ring_at(arena, offset)?;
        // SAFETY: only the lifetime changes. Rings stay where they are until their slot's memory is given up, which the
        // session does last; `ring` gives the handle out for no longer than an arena is borrowed, and a session has one.
        Ok(Self(unsafe { std::mem::transmute::<Ring<'_>, Ring<'static>>(ring) }))
    }

    /// The ring, in `arena`, which it was found in.
    #[inline]
    pub(super) fn ring(self, _arena: &Arena) -> Ring<'_> {
        self.0
    }
}

/// The ring in the block at `offset`.
///
/// # Errors
/// When the offset is not a ring's: the mapping is damaged.
pub(crate) fn ring_at(arena: &Arena, offset: u64) -> Result<Ring<'_>, ShmError> {
    // A `RingHeader`, then the largest power of two of bytes that fits.
    let room = arena.block_capacity(offset)?.saturating_sub(size_of::<RingHeader>() as u64);
    let capacity = 1_u64 << room.max(1).ilog2();
    let header: &RingHeader = arena.resolve(RelPtr::new(offset))?;
    let data = arena.bytes(offset + size_of::<RingHeader>() as u64, capacity)?;
    // SAFETY: `bytes` checked the range; blocks are 16-aligned and the header is a multiple of 16 bytes; ring data is only
    // ever reached through `Ring`; the arena stays mapped for as long as it is borrowed.
    Ok(unsafe { Ring::from_raw(header, data, capacity) })
}

/// Has the log writer passed everything in the ring of `slot`?
pub(super) fn ring_is_drained(store: &Store, guard: &Guard<'_>, slot: &Slot) -> Result<bool, TxnError> {
    let offset = slot.ring.load(Ordering::Acquire);
    if offset == 0 {
        return Ok(true);
    }
    ring_at(guard.arena(), offset)?
        .is_drained(store.log().durable_ts())
        .map_err(|damage| WalError::Ring(damage).into())
}

/// Redo pieces outside the ring that the log writer has yet to read.
#[derive(Default)]
pub(super) struct OutOfLine {
    pieces: Vec<(u64, BlockRef)>,
    /// Those of the transaction whose redo is staged.
    staged: Vec<BlockRef>,
}

impl OutOfLine {
    /// Gives back the pieces of transactions that are durable.
    pub(super) fn release(&mut self, durable: u64, heap: &mut Heap) {
        self.pieces.retain(|(commit_ts, block)| {
            let pending = *commit_ts > durable;
            if !pending {
                heap.free(*block);
            }
            pending
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}

impl Session {
    /// The slot's ring, made when it is first needed.
    #[inline]
    fn own_ring(&mut self) -> Result<RingPlace, TxnError> {
        match self.ring {
            Some(ring) => Ok(ring),
            None => self.first_ring(),
        }
    }

    /// A small one, if there is no room but the reserve: else a full database could not be emptied by who has not committed before.
    #[cold]
    fn first_ring(&mut self) -> Result<RingPlace, TxnError> {
        let bytes = self.store.ring_bytes;
        match self.make_ring(Reserve::No, bytes) {
            Err(error) if error.is_out_of_space() => {
                self.make_ring(Reserve::Yes, bytes.min(SMALL_RING_BYTES))
            }
            made => made,
        }
    }

    #[cold]
    pub(super) fn make_ring(&mut self, reserve: Reserve, data_bytes: u64) -> Result<RingPlace, TxnError> {
        let word_offset = self.ring_word_offset();
        let bytes = size_of::<RingHeader>() + usize::try_from(data_bytes).unwrap_or(usize::MAX);
        let Self { store, participant, heap, limbo, .. } = self;
        let slot = participant.slot();
        if slot.ring.load(Ordering::Acquire) == 0 {
            let mut linker = Linker { participant, heap, limbo, reserve };
            let block = linker.alloc_zeroed(bytes, BlockKind::RING)?;
            ring_at(store.arena(), block.offset)?.prepare(store.log().next_ring_id());
            linker.link(&slot.ring, word_offset, block)?;
        }
        let ring = RingPlace::find(store.arena(), slot.ring.load(Ordering::Acquire))?;
        self.ring = Some(ring);
        Ok(ring)
    }

    /// Puts the transaction's redo where the log writer will find it, waiting for room, and with it what rows were before, if somebody follows
    /// them and that finds room too (F2 of `txn::watched`). `None` when there is none.
    ///
    /// # Errors
    /// `LogReadOnly`; `LogFault` by N1 and N2; `OutOfSpace` for a large one.
    pub(super) fn stage_redo(&mut self, synchronous: bool) -> Result<Option<Staged>, TxnError> {
        if self.redo.is_empty() {
            return Ok(None);
        }
        let own_bytes = self.log_old_rows();
        match self.stage_all(synchronous) {
            Err(_) if self.redo.len() > own_bytes => {
                self.redo.truncate(own_bytes);
                self.stage_all(synchronous)
            }
            staged => staged,
        }
        .map(Some)
    }

    fn stage_all(&mut self, synchronous: bool) -> Result<Staged, TxnError> {
        let ring = self.own_ring()?;
        let Self { store, participant, heap, redo, out_of_line, .. } = self;
        let ring = ring.ring(store.arena());
        let redo_bytes = redo.len() as u64;
        let is_inline = redo_bytes <= ring.payload_bytes_max();
        if store.log().fault() != 0 {
            check_fault(store.log(), ring, if is_inline && !synchronous { redo_bytes } else { u64::MAX })?;
        }
        if is_inline {
            return stage_waiting(store.log(), participant, ring, EntryBody::Inline(redo));
        }
        let piece_bytes = piece_bytes(ring, redo.len());
        let pieces = copy_out_of_line(participant, heap, redo, piece_bytes)?;
        let ranges: Vec<(u64, u64)> = pieces
            .iter()
            .zip(redo.chunks(piece_bytes))
            .map(|(block, chunk): (&BlockRef, _)| (block.offset, chunk.len() as u64))
            .collect();
        out_of_line.staged.extend(pieces);
        let staged = stage_waiting(store.log(), participant, ring, EntryBody::OutOfLine { pieces: &ranges });
        if staged.is_err() {
            self.drop_staged_pieces();
        }
        staged
    }

    /// Publishes staged redo as that of `record` at `commit_ts`.
    #[inline]
    pub(super) fn publish_redo(
        &mut self,
        staged: Staged,
        record: u64,
        commit_ts: u64,
    ) -> Result<(), TxnError> {
        // Staged before, so the ring is there.
        let ring = self.own_ring()?.ring(self.participant.arena());
        let checksum = append_and_checksum(&mut self.redo, commit_ts);
        self.logged = Some(ring.publish(staged, record, commit_ts, checksum));
        let OutOfLine { pieces, staged } = &mut self.out_of_line;
        if !staged.is_empty() {
            pieces.extend(staged.drain(..).map(|piece| (commit_ts, piece)));
        }
        Ok(())
    }

    /// Forgets the memory of redo that will not be published.
    pub(super) fn drop_staged_pieces(&mut self) {
        for piece in self.out_of_line.staged.drain(..) {
            self.heap.free(piece);
        }
    }
}

/// How long a wait for the disk sleeps before it looks again whether anyone writes the log.
const DURABLE_WAIT: Duration = Duration::from_millis(20);
/// How long a fault may take to be over when somebody asks for the disk: the log writer has tried again by then.
const FAULT_WAIT: Duration = Duration::from_millis(200);

/// Waits until everything up to `commit_ts` is on disk.
///
/// # Errors
/// `LogReadOnly`, or the error that the log writer has met.
pub(super) fn wait_durable(log: &LogControl, commit_ts: u64) -> Result<(), TxnError> {
    while !durable_within(log, commit_ts, DURABLE_WAIT, Haste::AsThePolicySays)? {}
    Ok(())
}

/// Asks for everything up to `commit_ts` to be written, and waits for it. A fault that the log writer has met before gets
/// some time to be over.
///
/// # Errors
/// As for a commit that waits; `LogStuck` when nobody has written it in time.
pub fn flush(store: &Store, commit_ts: u64, timeout: Duration) -> Result<(), TxnError> {
    let begun = Instant::now();
    loop {
        match durable_within(store.log(), commit_ts, DURABLE_WAIT, Haste::AtOnce) {
            Ok(true) => return Ok(()),
            Ok(false) if begun.elapsed() < timeout => {}
            Ok(false) => return Err(TxnError::LogStuck),
            Err(TxnError::LogFault { .. }) if begun.elapsed() < timeout.min(FAULT_WAIT) => {
                std::thread::sleep(DURABLE_WAIT);
            }
            Err(error) => return Err(error),
        }
    }
}

/// When somebody who waits wants the log writer to sync.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Haste {
    /// When it thinks fit.
    AsThePolicySays,
    /// With its next pass.
    AtOnce,
}

fn durable_within(
    log: &LogControl,
    commit_ts: u64,
    timeout: Duration,
    haste: Haste,
) -> Result<bool, TxnError> {
    notify(log, haste);
    let state = log.wait_durable(commit_ts, timeout, |word, seen, timeout| {
        wait(word, seen, Some(timeout));
    });
    match state {
        Durability::Durable => Ok(true),
        Durability::TimedOut => Ok(false),
        Durability::ReadOnly => Err(TxnError::LogReadOnly),
        Durability::Fault(errno) => Err(TxnError::LogFault { errno, took_effect: true }),
    }
}

/// Wakes the log writer.
pub(super) fn notify(log: &LogControl, haste: Haste) {
    let wake = |word: &AtomicU32| {
        wake(word, 1);
    };
    match haste {
        Haste::AsThePolicySays => log.notify_work(wake),
        Haste::AtOnce => log.hurry(wake),
    }
}

/// Is there a fault for which redo of so many bytes is refused (N1, N2)?
#[cold]
fn check_fault(log: &LogControl, ring: Ring<'_>, redo_bytes: u64) -> Result<(), TxnError> {
    let pending = ring.stats(log.durable_ts()).map_err(WalError::Ring)?.pending_bytes;
    if pending.saturating_add(redo_bytes) <= ring.capacity() / 2 {
        return Ok(());
    }
    match log.fault() {
        0 => Ok(()),
        errno => Err(TxnError::LogFault { errno, took_effect: false }),
    }
}

fn stage_waiting(
    log: &LogControl,
    participant: &Participant,
    ring: Ring<'_>,
    body: EntryBody<'_>,
) -> Result<Staged, TxnError> {
    loop {
        if log.is_read_only() {
            return Err(TxnError::LogReadOnly);
        }
        let durable = log.durable_ts();
        match ring.stage(body, durable) {
            Ok(staged) => return Ok(staged),
            Err(RingError::Full { .. }) => {
                // The wait must not hold back what others have retired.
                participant.rest();
                match durable_within(log, durable + 1, ROOM_WAIT, Haste::AtOnce) {
                    Err(TxnError::LogFault { errno, .. }) => {
                        return Err(TxnError::LogFault { errno, took_effect: false });
                    }
                    waited => waited?,
                };
            }
            Err(RingError::TooLarge { bytes, limit }) => return Err(TxnError::TooLarge { bytes, limit }),
            Err(RingError::Damaged(damage)) => return Err(WalError::Ring(damage).into()),
        }
    }
}

/// Appends a piece of redo to `into`; false when it lies outside the arena.
pub(super) fn copy_bytes(arena: &Arena, offset: u64, length: u64, into: &mut Vec<u8>) -> bool {
    let (Ok(bytes), Ok(length)) = (arena.bytes(offset, length), usize::try_from(length)) else {
        return false;
    };
    // SAFETY: `bytes` checked the range. The piece is RESERVED by its session until it is durable, and not written again;
    // a deposed writer may read what has been put there since, and notices by checksum.
    into.extend_from_slice(unsafe { std::slice::from_raw_parts(bytes, length) });
    true
}

/// Bytes of each piece of so much redo, so that the ring has room for the places of all, if it can have. Larger runs of slabs are hard to find.
fn piece_bytes(ring: Ring<'_>, redo_bytes: usize) -> usize {
    let count_max = usize::try_from(ring.payload_bytes_max() / PLACE_BYTES).unwrap_or(usize::MAX).max(1);
    match redo_bytes.div_ceil(count_max) {
        0..=PIECE_BYTES => PIECE_BYTES,
        _ => LARGE_PIECE_BYTES,
    }
}

fn copy_out_of_line(
    participant: &Participant,
    heap: &mut Heap,
    redo: &[u8],
    piece_bytes: usize,
) -> Result<Vec<BlockRef>, TxnError> {
    let mut pieces = Vec::with_capacity(redo.len().div_ceil(piece_bytes));
    for chunk in redo.chunks(piece_bytes) {
        // RESERVED for as long as they are needed: after a death they go back with their slab, once the ring is drained.
        let block = match heap.alloc(piece_bytes, BlockKind::RAW, participant.epoch(), Reserve::No) {
            Ok(block) => block,
            Err(error) => {
                for piece in pieces {
                    heap.free(piece);
                }
                return Err(error.into());
            }
        };
        let bytes = participant.arena().bytes(block.offset, chunk.len() as u64)?;
        // SAFETY: `bytes` checked the range, and the block is RESERVED: nobody else knows it before the entry is published.
        unsafe { std::ptr::copy_nonoverlapping(chunk.as_ptr(), bytes, chunk.len()) };
        pieces.push(block);
    }
    Ok(pieces)
}
