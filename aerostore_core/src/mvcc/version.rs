//! Versions: one immutable image of a row, and when it counts.
//!
//! Layout      32-byte header, then the row image.
//! Invariants  V1: a linked payload never changes, but in recovery, where nobody else reads it (`txn::load`). V2: `begin` changes once: from the record's address to the commit
//!             timestamp, or to `NEVER`. V3: chains run newest first; below the newest committed version there are only
//!             committed ones, except that the last of a chain may be a `NEVER` that holds the key. V4: of a version whose
//!             `next` is MARKED that word never changes again, and it is taken out by the word above it, of a version that
//!             is not MARKED. V5: the flags of a version name every column in which it differs from the one below it. V6: a version says how
//!             many columns its image has, which is as many as its writer knew (J1 of `row::stored`).
//! Source      taking out a version in the middle: Harris, "A Pragmatic Implementation of Non-blocking Linked-Lists", DISC 2001.
//! Ordering    linking is a Release CAS of `RowHeader::head`; every reader loads it with Acquire.

use crate::epoch::Guard;
use crate::mvcc::RowHeader;
use crate::row::{DirtyMask, MAX_COLUMNS, MAX_IMAGE_BYTES, MAX_TEMPLATE_BYTES, StoredImage};
use crate::shm::{Known, LARGE_PAYLOAD_BYTES_MAX, RelPtr, Shared, ShmError};
use crate::sync::{AtomicU64, Ordering};
use std::mem::{align_of, offset_of, size_of};

/// Flag of a version that says the row is deleted; its payload holds the key alone.
pub const TOMBSTONE: u32 = 1;

/// Flags in which a version says in which columns it may differ from the one below it: all but [`TOMBSTONE`].
const CHANGES: u32 = !TOMBSTONE;

/// The flags of a version that differs in these columns: column *i* has bit *i* mod 31.
#[inline]
pub fn change_flags(columns: DirtyMask) -> u32 {
    let folded = (columns.0 | columns.0 >> 31 | columns.0 >> 62) & u64::from(u32::MAX >> 1);
    u32::try_from(folded << 1).unwrap_or(CHANGES)
}

/// The timestamp of a version that never took effect.
pub const NEVER: u64 = u64::MAX >> 1;

/// Flag in `next`: this version is being taken out of its chain.
const MARKED: u64 = 1;

/// What a version says of the one below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextWord(u64);

impl NextWord {
    /// Offset of the next older version, or 0.
    #[inline]
    pub fn older(self) -> u64 {
        self.0 & !MARKED
    }

    /// Is the version that says so being taken out itself?
    pub fn is_marked(self) -> bool {
        self.0 & MARKED != 0
    }

    /// What the word `next` of a version says, without a guard: of the next one no more than where it was.
    pub fn of(word: &AtomicU64) -> Self {
        Self(word.load(Ordering::Acquire))
    }
}

/// Bytes that a processor fetches at once.
const LINE_BYTES: u64 = 64;

/// Bytes of a payload that are asked for ahead, at most: a processor has but so many requests under way.
const PREFETCH_BYTES: u64 = 4 * LINE_BYTES;

/// Header of a version.
#[repr(C)]
pub struct Version {
    begin: AtomicU64,
    next: AtomicU64,
    row: AtomicU64,
    /// Payload bytes, columns but one, and in the high half flags; written before the version is linked, but for V5.
    shape: AtomicU64,
}

/// The payload bytes in the word `shape`.
const LENGTH_MASK: u64 = (1 << COLUMNS_SHIFT) - 1;
/// Where the columns but one lie in it, and their mask there.
const COLUMNS_SHIFT: u32 = 26;
const COLUMNS_MASK: u64 = (MAX_COLUMNS as u64 - 1) << COLUMNS_SHIFT;
/// The flags that decide whether an image can be read as it is, and the columns.
const KIND_MASK: u64 = (TOMBSTONE as u64) << 32 | COLUMNS_MASK;
/// J10 of `row::stored`.
const PAYLOAD_BYTES_MAX: u64 = MAX_IMAGE_BYTES as u64 + MAX_TEMPLATE_BYTES as u64;
const _: () = assert!(PAYLOAD_BYTES_MAX <= LENGTH_MASK && COLUMNS_MASK >> 32 == 0);
const _: () = assert!(HEADER_BYTES + PAYLOAD_BYTES_MAX <= LARGE_PAYLOAD_BYTES_MAX);
const _: () = assert!(MAX_COLUMNS.is_power_of_two());

/// Columns as `shape` has them.
#[inline]
fn columns_word(columns: usize) -> u64 {
    ((columns as u64).wrapping_sub(1) << COLUMNS_SHIFT) & COLUMNS_MASK
}

const HEADER_BYTES: u64 = 32;
const _: () = assert!(size_of::<Version>() as u64 == HEADER_BYTES);

// SAFETY: repr(C), atomics only; all-zero is an empty image at timestamp 0.
unsafe impl Shared for Version {}

/// When a version counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeginWord {
    /// From this commit timestamp on.
    Stamped(u64),
    /// When the record at this offset says so.
    Intent(u64),
}

impl BeginWord {
    /// Decodes the word.
    #[inline]
    pub fn from_word(word: u64) -> Self {
        if word & 1 == 0 { Self::Stamped(word >> 1) } else { Self::Intent(word & !1) }
    }

    /// Encodes it.
    #[inline]
    pub fn word(self) -> u64 {
        match self {
            Self::Stamped(timestamp) => timestamp << 1,
            Self::Intent(record) => record | 1,
        }
    }
}

/// A version found under a guard.
#[derive(Clone, Copy)]
pub struct VersionRef<'g> {
    /// Offset of the version.
    pub offset: u64,
    header: &'g Version,
    image: StoredImage<'g>,
}

/// Heads of rows as a reader at one snapshot sees them, who looks at many. Which of them that is right for, [`visible_at`] says.
///
/// [`visible_at`]: crate::mvcc::visible_at
#[derive(Clone, Copy)]
pub struct Heads<'g> {
    known: Known<'g>,
    snapshot: u64,
    /// What the word `shape` has under `KIND_MASK` in the images that are wanted.
    kind: u64,
}

impl<'g> Heads<'g> {
    /// For heads that are loaded under the guard, of rows that are read by a definition with so many columns.
    #[inline]
    pub fn new(guard: &Guard<'g>, snapshot: u64, columns: usize) -> Self {
        Self { known: guard.arena().known(), snapshot, kind: columns_word(columns) }
    }

    /// Asks the processor to fetch the version at `head` as far as a reader looks at it that needs the first `image_bytes` of the
    /// image: its header, the null mask behind that, and the end, which seldom lie in one line.
    #[inline]
    pub fn prefetch(&self, head: u64, image_bytes: u64) {
        self.known.prefetch(head);
        self.known.prefetch(head.wrapping_add(LINE_BYTES));
        if HEADER_BYTES + image_bytes > LINE_BYTES {
            self.known.prefetch(head.wrapping_add(HEADER_BYTES + image_bytes - 1));
        }
    }

    /// The image in the version at `head`, if that alone tells that the reader sees it: it is stamped, early enough, no
    /// tombstone, and has the reader's columns. If not, [`visible_at`](crate::mvcc::visible_at) knows.
    #[inline]
    #[expect(
        clippy::cast_ptr_alignment,
        reason = "the offset was just seen to be a multiple of the alignment"
    )]
    pub fn image(&self, head: u64) -> Option<&'g [u8]> {
        let (place, bytes) = self.known.bytes(head, HEADER_BYTES)?;
        if !head.is_multiple_of(align_of::<Version>() as u64) {
            return None;
        }
        // SAFETY: as in `Arena::resolve`: `Known::bytes` checked bounds for a header, the base is page-aligned and the offset a multiple
        // of the alignment; `Version` is `Shared`; the mapping lives as long as the guard's arena.
        let header: &'g Version = unsafe { &*place.cast::<Version>() };
        // Acquire: as in `Guard::protect`. Nothing is followed, so no guard is asked. A stamp has the lowest bit clear, so that an intent
        // is above every snapshot once its bit is the highest.
        let begin = header.begin.load(Ordering::Acquire).rotate_right(1);
        let shape = header.shape.load(Ordering::Relaxed);
        let length = shape & LENGTH_MASK;
        if begin > self.snapshot || shape & KIND_MASK != self.kind || length > bytes - HEADER_BYTES {
            return None;
        }
        // SAFETY: as in `VersionRef::resolve`, and the range was just seen to lie inside the mapping.
        Some(unsafe {
            std::slice::from_raw_parts(place.add(size_of::<Version>()), usize::try_from(length).unwrap_or(0))
        })
    }
}

impl<'g> VersionRef<'g> {
    /// The version at an offset that came out of `Guard::protect`.
    ///
    /// # Errors
    /// When header or payload reach out of the arena: the mapping is damaged.
    #[inline]
    pub fn resolve(guard: &Guard<'g>, offset: u64) -> Result<Self, ShmError> {
        let header: &'g Version = guard.arena().resolve(RelPtr::<Version>::new(offset))?;
        let shape = header.shape.load(Ordering::Relaxed);
        let length = shape & LENGTH_MASK;
        let bytes = guard.arena().bytes(offset + HEADER_BYTES, length)?;
        // SAFETY: `bytes` checked that the range lies inside the mapping. V1: nobody writes a linked payload, and the
        // guard keeps the block from being used again for as long as 'g.
        let payload = unsafe { std::slice::from_raw_parts(bytes, usize::try_from(length).unwrap_or(0)) };
        // Below 64.
        let columns = usize::try_from((shape & COLUMNS_MASK) >> COLUMNS_SHIFT).unwrap_or(0) + 1;
        Ok(Self { offset, header, image: StoredImage::new(payload, columns) })
    }

    /// Fills a RESERVED block, which nobody else can see; or, with a payload of the same length, a version of a row that is being recovered, which
    /// nobody else looks at (V1).
    ///
    /// # Errors
    /// When the offset lies outside the arena.
    pub fn write(
        guard: &Guard<'_>,
        offset: u64,
        begin: BeginWord,
        row: u64,
        flags: u32,
        image: StoredImage<'_>,
    ) -> Result<(), ShmError> {
        let header: &Version = guard.resolve(offset)?;
        let payload = image.bytes();
        let length = payload.len() as u64;
        header.begin.store(begin.word(), Ordering::Relaxed);
        header.next.store(0, Ordering::Relaxed);
        header.row.store(row, Ordering::Relaxed);
        let shape = u64::from(flags) << 32 | columns_word(image.columns()) | (length & LENGTH_MASK);
        header.shape.store(shape, Ordering::Relaxed);
        let bytes = guard.arena().bytes(offset + HEADER_BYTES, length)?;
        // SAFETY: `bytes` checked the range; the block is RESERVED, so this session alone has its address, or it is of a row that this session
        // alone recovers, and the caller has done with what it has read of it. `payload` is no part of it.
        unsafe { std::ptr::copy_nonoverlapping(payload.as_ptr(), bytes, payload.len()) };
        Ok(())
    }

    /// When the version counts; under the guard, so that a record it names stays allocated.
    #[inline]
    pub fn begin(&self, guard: &Guard<'_>) -> BeginWord {
        BeginWord::from_word(guard.protect(&self.header.begin))
    }

    /// Has a transaction committed it, as its stamp alone tells? If not, its record knows.
    #[inline]
    pub fn is_stamped(&self) -> bool {
        // Acquire: as in `Guard::protect`. Nothing is followed, so no guard is asked.
        matches!(BeginWord::from_word(self.header.begin.load(Ordering::Acquire)), BeginWord::Stamped(timestamp) if timestamp != NEVER)
    }

    /// Is it still the head of `row`, as it was when the operation loaded it?
    #[inline]
    pub fn is_head_of(&self, row: &RowHeader) -> bool {
        // Acquire: comes after what was seen of the version before.
        row.head.load(Ordering::Acquire) == self.offset
    }

    /// Asks the processor to fetch all of a version at `offset` with a payload of so many bytes: for who will copy it.
    #[inline]
    pub fn prefetch_payload(guard: &Guard<'_>, offset: u64, payload_bytes: u64) {
        let bytes = HEADER_BYTES + payload_bytes.min(PREFETCH_BYTES);
        let mut at = 0;
        while at < bytes {
            guard.arena().prefetch(offset.wrapping_add(at));
            at += LINE_BYTES;
        }
        guard.arena().prefetch(offset.wrapping_add(bytes - 1));
    }

    /// Intent of `record` -> timestamp (V2). Anyone may; the first wins.
    #[inline]
    pub fn stamp(&self, record: u64, timestamp: u64) -> bool {
        self.header
            .begin
            .compare_exchange(
                BeginWord::Intent(record).word(),
                BeginWord::Stamped(timestamp).word(),
                Ordering::AcqRel,
                Ordering::Acquire,
            )
            .is_ok()
    }

    /// Offset of the next older version, or 0.
    #[inline]
    pub fn next(&self, guard: &Guard<'_>) -> u64 {
        self.next_word(guard).older()
    }

    /// What it says of the version below.
    #[inline]
    pub fn next_word(&self, guard: &Guard<'_>) -> NextWord {
        NextWord(guard.protect(&self.header.next))
    }

    /// Offset of the `next` word of the version at `offset`.
    pub fn next_offset(offset: u64) -> u64 {
        offset + offset_of!(Version, next) as u64
    }

    /// Sets the next older version of a version that is not linked yet.
    pub fn set_next(&self, next: u64) {
        self.header.next.store(next, Ordering::Release);
    }

    /// Cuts the chain below this version, if what it says of it is still `seen`, and it is not being taken out (V4); true for
    /// the one who did.
    pub fn cut(&self, seen: NextWord) -> bool {
        self.point_to(seen, 0)
    }

    /// Takes the version that `seen` names out of the chain, below which `older` lies for good (V4); true for the one who did.
    pub fn pass_over(&self, seen: NextWord, older: u64) -> bool {
        self.point_to(seen, older)
    }

    fn point_to(&self, seen: NextWord, older: u64) -> bool {
        !seen.is_marked()
            && self.header.next.compare_exchange(seen.0, older, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Marks this version as one to be taken out (V4). Anyone may, and several; returns what lies below it for good.
    pub fn mark(&self, guard: &Guard<'_>) -> u64 {
        loop {
            let seen = self.next_word(guard);
            let marked = seen.0 | MARKED;
            if seen.is_marked()
                || self
                    .header
                    .next
                    .compare_exchange(seen.0, marked, Ordering::AcqRel, Ordering::Acquire)
                    .is_ok()
            {
                return seen.older();
            }
        }
    }

    /// Offset of the row.
    pub fn row(&self) -> u64 {
        self.header.row.load(Ordering::Relaxed)
    }

    /// Does this version say that the row is deleted?
    #[inline]
    pub fn is_tombstone(&self) -> bool {
        self.header.shape.load(Ordering::Relaxed) >> 32 & u64::from(TOMBSTONE) != 0
    }

    /// The flags of the columns in which it may differ from the version below it (V5).
    #[inline]
    pub fn changes(&self) -> u32 {
        let [_, _, _, _, flags @ ..] = self.header.shape.load(Ordering::Acquire).to_le_bytes();
        u32::from_le_bytes(flags) & CHANGES
    }

    /// The version below is about to be taken out, which differs by `changes` from the one below that (V5).
    pub fn add_changes(&self, changes: u32) {
        if changes & !self.changes() != 0 {
            // Release: who finds the version below gone sees this.
            self.header.shape.fetch_or(u64::from(changes & CHANGES) << 32, Ordering::AcqRel);
        }
    }

    /// The row image; of a tombstone, its key alone.
    #[inline]
    pub fn image(&self) -> StoredImage<'g> {
        self.image
    }
}
