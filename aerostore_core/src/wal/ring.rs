//! A slot's log ring in shared memory: one producer, any number of readers of which one counts.
//!
//! Layout      `RingHeader`, and elsewhere a power of two of 8-byte words. Positions count words from the ring's first
//!             use and never wrap; `position & (capacity - 1)` is the place. An entry is `ENTRY_WORDS` words of header,
//!             then its payload padded to a word: { kind:32 | payload bytes:32, record, C, crc:32 | redo bytes:32 }.
//!             An entry lies in one piece; a PAD entry (its first word only) fills what is left before the end.
//! Invariants  G1: entries lie between `head` and `tail`; only the producer stores either, so no log writer, deposed or
//!             not, can free or lose an entry.
//!             G2: an entry is complete before `tail` passes it. A producer killed before that leaves nothing; its
//!             successor begins at the same `tail`.
//!             G3: `head` passes an entry only when its C <= the durable timestamp.
//!             G4: C never decreases from entry to entry: a session finishes one transaction before the next.
//!             G5: the record word becomes COMMITTED or ABORTED when the transaction is decided, before its record is used
//!             for another one. Whoever finds a record there, asks it, and finds the word unchanged, got the answer of
//!             this transaction.
//! Ordering    `publish` stores `tail` with Release, readers load it with Acquire (G2). A reader that does not know the
//!             entry at `head` to be undurable reads it like a seqlock: words, Acquire fence, `head` again; the producer
//!             stores `head`, Release fence, then overwrites. What lies at or after the `head` seen is genuine.
//!             The entries with durable < C cannot be overwritten while the one reader that may move the durable
//!             timestamp reads them; a deposed one may copy garbage, notices by checksum or fails in its CAS.

mod stats;

use crate::shm::Shared;
use crate::sync::{AtomicU64, Ordering, fence};
use crate::sys::prefetch;
use std::{error, fmt};

pub use stats::RingStats;

/// Words of an entry's header.
const ENTRY_WORDS: u64 = 4;

/// Words of a cache line.
const LINE_WORDS: usize = 8;
/// Cache lines that an update of a few columns takes at most.
const ENTRY_LINES: usize = 3;

/// The smallest ring, in bytes.
pub const RING_BYTES_MIN: u64 = 256;

const PAD: u32 = 1;
const INLINE: u32 = 2;
const OUT_OF_LINE: u32 = 3;

/// In an entry's record word, where offsets of records are multiples of 16: it took effect.
const COMMITTED: u64 = 1;
/// It did not, and never will.
const ABORTED: u64 = 2;

/// The shared state of one ring; valid when all-zero, which is an empty ring without an identity.
#[repr(C)]
#[derive(Debug, Default)]
pub struct RingHeader {
    /// Unique number of this ring, from `LogControl::next_ring_id`; 0 until prepared.
    id: AtomicU64,
    /// Word position after the last published entry. Stored by the producer.
    tail: AtomicU64,
    /// Word position of the oldest entry kept. Stored by the producer, lazily.
    head: AtomicU64,
    /// Entries published since the ring was made.
    entry_count: AtomicU64,
    /// Redo bytes published since the ring was made, in the ring and out of line.
    redo_bytes: AtomicU64,
    /// The greatest C published; guards G4.
    last_ts: AtomicU64,
    spare: [AtomicU64; 2],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<RingHeader>() == 64 && align_of::<RingHeader>() == 8);

// SAFETY: `repr(C)`, atomics only, any bits are valid.
unsafe impl Shared for RingHeader {}

/// Where a ring holds what no producer writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingDamage {
    /// The ring's number.
    pub ring: u64,
    /// Word position in the ring.
    pub position: u64,
    /// What is wrong there.
    pub reason: &'static str,
}

impl fmt::Display for RingDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "log ring {} is damaged at word {}: {}", self.ring, self.position, self.reason)
    }
}

impl error::Error for RingDamage {}

/// Why an entry could not be staged.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RingError {
    /// No room until the log writer has made older entries durable: wake it, wait, try again.
    Full {
        /// Bytes the entry takes.
        needed: u64,
        /// Bytes free now.
        free: u64,
    },
    /// The payload never fits: stage it out of line.
    TooLarge {
        /// Bytes of the payload.
        bytes: u64,
        /// The largest payload this ring takes.
        limit: u64,
    },
    /// The ring's words make no sense.
    Damaged(RingDamage),
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { needed, free } => {
                write!(f, "the log ring is full: {needed} bytes needed, {free} free")
            }
            Self::TooLarge { bytes, limit } => {
                write!(f, "a redo record of {bytes} bytes exceeds the log ring's limit of {limit}")
            }
            Self::Damaged(damage) => damage.fmt(f),
        }
    }
}

impl error::Error for RingError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Damaged(damage) => Some(damage),
            _ => None,
        }
    }
}

/// What an entry carries.
#[derive(Debug, Clone, Copy)]
pub enum EntryBody<'a> {
    /// The redo bytes themselves.
    Inline(&'a [u8]),
    /// Pieces (offset, length) of shared memory that hold them; they stay until the entry is durable.
    OutOfLine {
        /// The pieces, in order.
        pieces: &'a [(u64, u64)],
    },
}

/// The checksum a record carries from its producer to recovery: of the redo bytes, then C.
#[inline]
pub fn record_checksum(redo: &[u8], c: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(redo), &c.to_le_bytes())
}

/// As [`record_checksum`], in one go, which is quicker for a short record; C stays behind the redo bytes.
#[inline]
pub fn append_and_checksum(redo: &mut Vec<u8>, c: u64) -> u32 {
    redo.extend_from_slice(&c.to_le_bytes());
    crc32c::crc32c(redo)
}

/// An entry that is in the ring but not yet published; dropping it leaves no trace.
#[derive(Debug)]
#[must_use = "a staged entry is not in the log until it is published"]
pub struct Staged {
    start: u64,
    end: u64,
    kind: u32,
    payload_bytes: u32,
    redo_bytes: u32,
}

/// An entry that is published, for the producer to say how its transaction ended.
#[derive(Debug)]
pub struct Published {
    start: u64,
}

/// One entry as a reader found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) position: u64,
    pub(super) record: u64,
    pub(super) c: u64,
    pub(super) redo_bytes: u32,
    /// [`record_checksum`] by the producer.
    pub(super) checksum: u32,
    pub(super) inline: bool,
    payload_bytes: u32,
}

impl Entry {
    /// The word position after this entry.
    pub(super) fn end(&self) -> u64 {
        self.position + span(u64::from(self.payload_bytes))
    }
}

fn span(payload_bytes: u64) -> u64 {
    ENTRY_WORDS + payload_bytes.div_ceil(8)
}

fn join(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

#[expect(clippy::cast_possible_truncation, reason = "splits a word")]
fn split(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

/// A handle on one ring; free to copy and to make anew for every use.
#[derive(Debug, Clone, Copy)]
pub struct Ring<'a> {
    header: &'a RingHeader,
    words: &'a [AtomicU64],
}

impl<'a> Ring<'a> {
    /// A ring over atomics.
    ///
    /// # Panics
    /// When `words` is no power of two or smaller than [`RING_BYTES_MIN`].
    pub fn new(header: &'a RingHeader, words: &'a [AtomicU64]) -> Self {
        assert!(
            words.len().is_power_of_two() && words.len() as u64 * 8 >= RING_BYTES_MIN,
            "size of a log ring"
        );
        Self { header, words }
    }

    /// A ring over shared memory.
    ///
    /// # Safety
    /// `data` is 8-aligned, its `capacity` bytes are mapped for `'a`, and no one makes a reference to them other than
    /// through a `Ring`.
    ///
    /// # Panics
    /// As [`Ring::new`].
    #[cfg(not(loom))]
    pub unsafe fn from_raw(header: &'a RingHeader, data: *mut u8, capacity: u64) -> Self {
        let words = usize::try_from(capacity / 8).unwrap_or(usize::MAX);
        #[expect(clippy::cast_ptr_alignment, reason = "the caller promises it, and it is checked here")]
        let data = data.cast::<AtomicU64>();
        assert!(data.is_aligned(), "alignment of a log ring");
        // SAFETY: the caller promises extent and lifetime, alignment was checked; atomics may be shared with other
        // processes.
        Self::new(header, unsafe { std::slice::from_raw_parts(data, words) })
    }

    /// Gives a ring of zeroed memory its number, once; `id` comes from `LogControl::next_ring_id`.
    pub fn prepare(&self, id: u64) {
        // Relaxed: the block that holds the ring is published after this.
        let _ = self.header.id.compare_exchange(0, id, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The ring's number; 0 before [`Ring::prepare`].
    pub fn id(&self) -> u64 {
        self.header.id.load(Ordering::Relaxed)
    }

    /// Bytes of the data area.
    pub fn capacity(&self) -> u64 {
        self.words.len() as u64 * 8
    }

    /// The largest payload: its entry takes a quarter of the ring, so that several transactions overlap.
    pub fn payload_bytes_max(&self) -> u64 {
        self.capacity() / 4 - ENTRY_WORDS * 8
    }

    /// Bytes between `head` and `tail`: entries, padding, and durable entries not yet dropped.
    pub fn used_bytes(&self) -> u64 {
        self.header
            .tail
            .load(Ordering::Relaxed)
            .wrapping_sub(self.header.head.load(Ordering::Relaxed))
            .wrapping_mul(8)
    }

    fn damage(&self, position: u64, reason: &'static str) -> RingDamage {
        RingDamage { ring: self.id(), position, reason }
    }

    fn place(&self, position: u64) -> usize {
        // The mask is below `words.len()`, so the result fits.
        #[expect(clippy::cast_possible_truncation, reason = "masked below a usize")]
        let place = (position & (self.words.len() as u64 - 1)) as usize;
        place
    }

    /// Writes an entry behind `tail` without publishing it. Called by the ring's one producer.
    ///
    /// `durable_ts` is the log's durable timestamp; entries up to it make room.
    ///
    /// # Errors
    /// `Full`: wait for the log writer. `TooLarge`: stage out of line. `Damaged`: the ring is unusable.
    #[inline]
    pub fn stage(&self, body: EntryBody<'_>, durable_ts: u64) -> Result<Staged, RingError> {
        let (kind, payload_bytes, redo_bytes) = match body {
            EntryBody::Inline(redo) => (INLINE, redo.len() as u64, redo.len() as u64),
            EntryBody::OutOfLine { pieces } => {
                let redo_bytes = pieces.iter().fold(0_u64, |sum, piece| sum.saturating_add(piece.1));
                (OUT_OF_LINE, pieces.len() as u64 * 16, redo_bytes)
            }
        };
        let limit = self.payload_bytes_max();
        if payload_bytes > limit {
            return Err(RingError::TooLarge { bytes: payload_bytes, limit });
        }
        let limit = u64::from(u32::MAX);
        let Ok(redo_bytes) = u32::try_from(redo_bytes) else {
            return Err(RingError::TooLarge { bytes: redo_bytes, limit });
        };
        let Ok(payload_bytes) = u32::try_from(payload_bytes) else {
            return Err(RingError::TooLarge { bytes: payload_bytes, limit });
        };
        let needed = span(u64::from(payload_bytes));
        // Relaxed: this producer, or one whose death was noticed through the kernel, stored it.
        let tail = self.header.tail.load(Ordering::Relaxed);
        let capacity = self.words.len() as u64;
        let to_end = capacity - (tail & (capacity - 1));
        let pad = if to_end < needed { to_end } else { 0 };
        self.make_room(tail, pad + needed, durable_ts)?;
        if pad > 0 {
            #[expect(clippy::cast_possible_truncation, reason = "a pad is shorter than an entry")]
            self.words[self.place(tail)].store(join(pad as u32, PAD), Ordering::Relaxed);
        }
        let start = tail + pad;
        let payload = self.place(start) + usize::try_from(ENTRY_WORDS).unwrap_or_default();
        match body {
            EntryBody::Inline(redo) => store_bytes(&self.words[payload..], redo),
            EntryBody::OutOfLine { pieces } => {
                for (words, piece) in self.words[payload..].chunks_exact(2).zip(pieces) {
                    words[0].store(piece.0, Ordering::Relaxed);
                    words[1].store(piece.1, Ordering::Relaxed);
                }
            }
        }
        Ok(Staged { start, end: start + needed, kind, payload_bytes, redo_bytes })
    }

    /// Fetches ahead the cache lines that a small entry will take: the log writer has had them since they were last written.
    #[inline]
    pub fn prefetch(&self) {
        let at = self.place(self.header.tail.load(Ordering::Relaxed));
        for line in self.words[at..].chunks(LINE_WORDS).take(ENTRY_LINES) {
            prefetch(line.as_ptr());
        }
    }

    /// Publishes a staged entry as the redo of `record` at timestamp `c`, with its [`record_checksum`]. Called by the ring's one producer, after the
    /// timestamp is final and before the record is committed.
    ///
    /// # Panics
    /// When another entry was published since `staged` was staged, which would tear both; when `c` is smaller than that of
    /// an earlier entry (G4): a log writer that stops at the earlier one would miss this one.
    #[inline]
    #[expect(clippy::needless_pass_by_value, reason = "an entry is published once")]
    pub fn publish(&self, staged: Staged, record: u64, c: u64, checksum: u32) -> Published {
        let Staged { start, end, kind, payload_bytes, redo_bytes } = staged;
        let tail = self.header.tail.load(Ordering::Relaxed);
        assert!(tail <= start && end - tail <= self.words.len() as u64, "entries publish in order");
        // Stored before the entry is visible: after a kill in between it is merely early.
        assert!(c >= self.header.last_ts.load(Ordering::Relaxed), "commit timestamps of a session grow");
        self.header.last_ts.store(c, Ordering::Relaxed);
        let at = self.place(start);
        let words = &self.words[at..at + 4];
        words[0].store(join(payload_bytes, kind), Ordering::Relaxed);
        words[1].store(record, Ordering::Relaxed);
        words[2].store(c, Ordering::Relaxed);
        words[3].store(join(redo_bytes, checksum), Ordering::Relaxed);
        // Release: pairs with the Acquire of `tail` in Ring::tail (G2).
        self.header.tail.store(end, Ordering::Release);
        bump(&self.header.entry_count, 1);
        bump(&self.header.redo_bytes, u64::from(redo_bytes));
        Published { start }
    }

    /// Notes how the transaction of an entry ended, so that its record can be used again (G5). Called by the ring's one
    /// producer, before it stages another entry: until then nothing overwrites this one.
    #[inline]
    #[expect(clippy::needless_pass_by_value, reason = "an entry is decided once")]
    pub fn decide(&self, entry: Published, committed: bool) {
        let word = if committed { COMMITTED } else { ABORTED };
        // Release: pairs with the fence in `is_committed`; what is done to the record after this is not seen without it.
        self.words[self.place(entry.start) + 1].store(word, Ordering::Release);
    }

    /// Did the transaction of `entry` take effect? `ask` tells it of the record that a word names; the transaction is decided.
    #[inline]
    pub(super) fn is_committed(&self, entry: &Entry, ask: impl FnOnce(&AtomicU64) -> bool) -> bool {
        let word = &self.words[self.place(entry.position) + 1];
        match entry.record {
            COMMITTED => true,
            ABORTED => false,
            _ => {
                let committed = ask(word);
                // Acquire fence: an answer that a later use of the record gave comes with the word stored before it.
                fence(Ordering::Acquire);
                match word.load(Ordering::Relaxed) {
                    COMMITTED => true,
                    ABORTED => false,
                    _ => committed,
                }
            }
        }
    }

    /// Moves `head` past durable entries when fewer than `needed` words are free (G3).
    fn make_room(&self, tail: u64, needed: u64, durable_ts: u64) -> Result<(), RingError> {
        let capacity = self.words.len() as u64;
        let mut head = self.header.head.load(Ordering::Relaxed);
        if head > tail || tail - head > capacity {
            return Err(RingError::Damaged(
                self.damage(tail, "head and tail are further apart than the ring"),
            ));
        }
        if capacity - (tail - head) >= needed {
            return Ok(());
        }
        let before = head;
        while let Some(entry) = self.entry_at(head, tail).map_err(RingError::Damaged)? {
            if entry.c > durable_ts {
                break;
            }
            head = entry.end();
        }
        if head != before {
            self.header.head.store(head, Ordering::Relaxed);
            // Release fence: the payload stores that follow are not seen before this `head`; pairs with the Acquire
            // fence in Ring::next.
            fence(Ordering::Release);
        }
        let free = capacity - (tail - head);
        if free < needed { Err(RingError::Full { needed: needed * 8, free: free * 8 }) } else { Ok(()) }
    }

    /// Whether every entry is durable: the ring of a dead producer may then be given away.
    ///
    /// # Errors
    /// What is wrong with the ring's words.
    pub fn is_drained(&self, durable_ts: u64) -> Result<bool, RingDamage> {
        Ok(self.first_undurable(self.tail(), durable_ts)?.is_none())
    }

    /// Where the first entry before `tail` stands that is not durable.
    fn first_undurable(&self, tail: u64, durable_ts: u64) -> Result<Option<u64>, RingDamage> {
        let mut position = self.head();
        while let Some(entry) = self.next(position, tail)? {
            if entry.c > durable_ts {
                return Ok(Some(entry.position));
            }
            position = entry.end();
        }
        Ok(None)
    }

    /// The end of what is published.
    pub(super) fn tail(&self) -> u64 {
        // Acquire: pairs with the Release in Ring::publish.
        self.header.tail.load(Ordering::Acquire)
    }

    /// Where a reader without a position of its own begins.
    pub(super) fn head(&self) -> u64 {
        self.header.head.load(Ordering::Relaxed)
    }

    /// The first entry at or after `position` and before `tail`, which [`Ring::tail`] returned.
    ///
    /// # Errors
    /// Words that make no sense: damage, or this reader was deposed and the ring has moved on.
    #[inline]
    pub(super) fn next(&self, mut position: u64, tail: u64) -> Result<Option<Entry>, RingDamage> {
        loop {
            let found = self.entry_at(position, tail);
            // Acquire fence: pairs with the Release fence in Ring::make_room; if a word above was an overwritten one,
            // then this load sees the `head` stored before the overwriting.
            fence(Ordering::Acquire);
            let head = self.header.head.load(Ordering::Relaxed);
            if head <= position {
                return found;
            }
            position = head;
        }
    }

    /// The first entry at or after `position`, as the words say.
    fn entry_at(&self, mut position: u64, tail: u64) -> Result<Option<Entry>, RingDamage> {
        let capacity = self.words.len() as u64;
        loop {
            if position >= tail {
                return Ok(None);
            }
            let at = self.place(position);
            let to_end = capacity - at as u64;
            let (bytes, kind) = split(self.words[at].load(Ordering::Relaxed));
            if kind == PAD {
                if u64::from(bytes) != to_end {
                    return Err(self.damage(position, "padding of a wrong length"));
                }
                position += to_end;
                continue;
            }
            if kind != INLINE && kind != OUT_OF_LINE {
                return Err(self.damage(position, "an entry of an unknown kind"));
            }
            let span = span(u64::from(bytes));
            if span > to_end || span > tail - position {
                return Err(self.damage(position, "an entry longer than what is published"));
            }
            let words = &self.words[at..at + 4];
            let (redo_bytes, checksum) = split(words[3].load(Ordering::Relaxed));
            return Ok(Some(Entry {
                position,
                record: words[1].load(Ordering::Relaxed),
                c: words[2].load(Ordering::Relaxed),
                redo_bytes,
                checksum,
                inline: kind == INLINE,
                payload_bytes: bytes,
            }));
        }
    }

    /// Appends an inline entry's redo bytes to `into`. The caller checks them against the entry's checksum.
    #[inline]
    pub(super) fn copy_inline(&self, entry: &Entry, into: &mut Vec<u8>) {
        load_bytes(self.payload(entry), entry.payload_bytes as usize, into);
    }

    /// The pieces of an out-of-line entry.
    pub(super) fn pieces(&self, entry: &Entry) -> impl Iterator<Item = (u64, u64)> + use<'a> {
        self.payload(entry)
            .chunks_exact(2)
            .map(|words| (words[0].load(Ordering::Relaxed), words[1].load(Ordering::Relaxed)))
    }

    fn payload(&self, entry: &Entry) -> &'a [AtomicU64] {
        let at = self.place(entry.position) + usize::try_from(ENTRY_WORDS).unwrap_or_default();
        &self.words[at..at + (entry.payload_bytes as usize).div_ceil(8)]
    }
}

/// Adds to a figure that one thread stores and others only read.
fn bump(figure: &AtomicU64, by: u64) {
    figure.store(figure.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

/// Stores bytes word by word. Atomic, because a deposed log writer may be reading the same words.
#[inline]
fn store_bytes(words: &[AtomicU64], bytes: &[u8]) {
    let (whole, rest) = bytes.as_chunks::<8>();
    for (word, chunk) in words.iter().zip(whole) {
        word.store(u64::from_le_bytes(*chunk), Ordering::Relaxed);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        words[whole.len()].store(u64::from_le_bytes(last), Ordering::Relaxed);
    }
}

#[inline]
fn load_bytes(words: &[AtomicU64], count: usize, into: &mut Vec<u8>) {
    let start = into.len();
    into.resize(start + words.len() * 8, 0);
    let (chunks, _) = into[start..].as_chunks_mut::<8>();
    for (chunk, word) in chunks.iter_mut().zip(words) {
        *chunk = word.load(Ordering::Relaxed).to_le_bytes();
    }
    into.truncate(start + count);
}

#[cfg(test)]
mod tests;
