//! The arena's header: who made it, whether it may be used, and the allocator's shared hints.
//!
//! Layout      the first half of the first page; the second half holds the slab headers of extent 0. `magic`, `version` and
//!             `state` keep their places in every version.
//! Invariants  A1: the identity never changes after creation and carries a checksum. A2: `extent_count` only grows, and
//!             every extent below it exists in the file with all its pages, but for what was given back (`giveback`). A3: the
//!             hints may be wrong; nothing depends on them but speed.
//! Ordering    creation is guarded by the lock on [`INIT_LOCK_BYTE`]; `state` becomes ready last, by a Release store.

use std::mem::offset_of;

use super::Shared;
use super::slab::{
    EXTENT_BYTES, MAX_BYTES_LIMIT, PAGE_BYTES, SLAB_BYTES, SLAB_TABLE_OFFSET, SLABS_PER_EXTENT,
};
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// The first four bytes of every arena.
pub const MAGIC: u32 = 0xAEB0_B007;
/// The format of this header, of slabs and of blocks.
pub const FORMAT_VERSION: u32 = 6;
/// The lock byte that is held while an arena is created or attached.
pub const INIT_LOCK_BYTE: u64 = 0;
/// The first of the lock bytes that upper layers may give to processes and roles.
pub const PROCESS_LOCK_BYTE: u64 = 64;
/// How many named roots there are.
pub const ROOT_COUNT: usize = 32;

/// Sessions share the counters of remote frees by slot number modulo this.
pub(super) const REMOTE_COUNT: usize = 128;

const STATE_CREATING: u32 = 0;
const STATE_READY: u32 = 1;

/// What is fixed when an arena is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Identity {
    /// Hash of the structures that upper layers keep in the arena.
    pub layout_hash: u64,
    /// The database.
    pub uuid: [u8; 16],
    /// The boot during which the arena was made.
    pub boot_id: [u8; 16],
    /// Bytes the file may grow to; a multiple of the extent size.
    pub max_bytes: u64,
    /// Byte offset of the area for fixed tables.
    pub system_offset: u64,
    /// Bytes of that area.
    pub system_bytes: u64,
    /// Index of the first slab that is for blocks.
    pub first_slab: u64,
    /// Published extents that only [`super::Reserve::Yes`] may use.
    pub reserve_extents: u64,
    /// When it was made, seconds since 1970.
    pub created_at: u64,
    /// CRC32C of all the above.
    pub checksum: u64,
}

const IDENTITY_BYTES: usize = size_of::<Identity>();

impl Identity {
    /// The bytes that the checksum covers, in the order of the struct.
    fn covered(&self) -> [u8; IDENTITY_BYTES - 8] {
        let mut bytes = [0; IDENTITY_BYTES - 8];
        let words = [
            self.max_bytes,
            self.system_offset,
            self.system_bytes,
            self.first_slab,
            self.reserve_extents,
            self.created_at,
        ];
        bytes[..8].copy_from_slice(&self.layout_hash.to_ne_bytes());
        bytes[8..24].copy_from_slice(&self.uuid);
        bytes[24..40].copy_from_slice(&self.boot_id);
        for (place, word) in bytes[40..].chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    pub(super) fn with_checksum(mut self) -> Self {
        self.checksum = u64::from(crc32c::crc32c(&self.covered()));
        self
    }

    /// Reads what [`Identity`] looks like in a file; the caller checks it.
    fn from_bytes(bytes: &[u8; IDENTITY_BYTES]) -> Self {
        let word = |at: usize| word_at(bytes, at);
        let name = |at: usize| {
            let mut name = [0; 16];
            name.copy_from_slice(&bytes[at..at + 16]);
            name
        };
        Self {
            layout_hash: word(0),
            uuid: name(8),
            boot_id: name(24),
            max_bytes: word(40),
            system_offset: word(48),
            system_bytes: word(56),
            first_slab: word(64),
            reserve_extents: word(72),
            created_at: word(80),
            checksum: word(88),
        }
    }

    /// Why the identity cannot be right, if so; nothing in it is trusted before this says none.
    pub(super) fn fault(&self) -> Option<&'static str> {
        if self.checksum != u64::from(crc32c::crc32c(&self.covered())) {
            return Some("the header's checksum does not match");
        }
        let slabs = self.max_bytes / SLAB_BYTES;
        let system_end = self.system_offset.checked_add(self.system_bytes);
        let sound = self.max_bytes <= MAX_BYTES_LIMIT
            && self.max_bytes.is_multiple_of(EXTENT_BYTES)
            && self.first_slab < slabs
            && self.system_offset >= PAGE_BYTES
            && self.system_offset.is_multiple_of(PAGE_BYTES)
            && system_end.is_some_and(|end| end <= self.first_slab * SLAB_BYTES)
            && self.reserve_extents < self.max_bytes / EXTENT_BYTES;
        if sound { None } else { Some("the header's sizes contradict each other") }
    }
}

/// The start of the arena.
#[repr(C)]
pub struct ArenaHeader {
    magic: AtomicU32,
    version: AtomicU32,
    state: AtomicU32,
    /// 1 after an orderly end of the last user, 0 while in use.
    clean: AtomicU32,
    identity: Identity,
    pad: [u64; 2],
    /// Extents that exist; see A2.
    pub(super) extent_count: AtomicU64,
    /// Hint: no slab below this index is free that serves untagged blocks.
    pub(super) low_slab: AtomicU64,
    /// Rises when an orphan slab may have appeared, or got a free block.
    pub(super) orphan_events: AtomicU64,
    /// Rises when a process died in a way that may have lost hints.
    pub(super) death_events: AtomicU64,
    /// Rises when a slab became free.
    pub(super) release_events: AtomicU64,
    /// Rises when somebody found no room: the others return the slabs they do not need.
    pub(super) pressure_events: AtomicU64,
    /// Hint: no slab below this index is free that serves tagged blocks.
    pub(super) low_tagged_slab: AtomicU64,
    /// Hint: not 0 when some extent may be without memory.
    pub(super) absent_hint: AtomicU64,
    pad_hints: [u64; 8],
    roots: [AtomicU64; ROOT_COUNT],
    /// By owner slot: rises when a block of one of its slabs was freed by somebody else.
    pub(super) remote_events: [AtomicU64; REMOTE_COUNT],
}

// SAFETY: repr(C); atomics, and integers written only before the arena is ready; any bits are valid.
unsafe impl Shared for ArenaHeader {}

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<Identity>() == 96 && align_of::<Identity>() == 8);
    assert!(offset_of!(Identity, uuid) == 8 && offset_of!(Identity, boot_id) == 24);
    assert!(offset_of!(Identity, max_bytes) == 40 && offset_of!(Identity, checksum) == 88);
    assert!(offset_of!(ArenaHeader, magic) == 0 && offset_of!(ArenaHeader, version) == 4);
    assert!(offset_of!(ArenaHeader, state) == 8 && offset_of!(ArenaHeader, clean) == 12);
    assert!(offset_of!(ArenaHeader, identity) == 16);
    assert!(offset_of!(ArenaHeader, extent_count) == 128);
    assert!(offset_of!(ArenaHeader, roots) == 256 && CHECKED_BYTES <= 256);
    assert!(offset_of!(ArenaHeader, remote_events) == 512);
    assert!(size_of::<ArenaHeader>() == 1536);
    assert!(1536 <= SLAB_TABLE_OFFSET && SLABS_PER_EXTENT * 64 + SLAB_TABLE_OFFSET == PAGE_BYTES);
};

impl ArenaHeader {
    /// Fills the header of a file of zeros. The magic goes first: a creator that dies later leaves a file that is
    /// recognised as ours and unfinished.
    ///
    /// # Safety
    /// `this` is the mapped header of a file that nobody else reads or writes yet.
    pub(super) unsafe fn initialise(this: *mut Self, identity: Identity, extents: u64) {
        // SAFETY: the caller has the header to itself; all fields are plain integers or atomics, valid when zero.
        let header = unsafe {
            (&raw mut (*this).identity).write(identity);
            &*this
        };
        // Relaxed: `set_ready` publishes with Release.
        header.magic.store(MAGIC, Ordering::Relaxed);
        header.version.store(FORMAT_VERSION, Ordering::Relaxed);
        header.low_slab.store(identity.first_slab, Ordering::Relaxed);
        header.low_tagged_slab.store(identity.first_slab, Ordering::Relaxed);
        header.extent_count.store(extents, Ordering::Relaxed);
    }

    /// One of the named roots through which upper layers find their structures.
    ///
    /// # Panics
    /// When there is no root `index`.
    #[inline]
    pub fn root(&self, index: usize) -> &AtomicU64 {
        &self.roots[index]
    }

    /// Declares the database usable; from now on processes attach rather than create.
    pub fn set_ready(&self) {
        // Release: pairs with the Acquire in `is_ready`; everything written during creation is seen by who attaches.
        self.state.store(STATE_READY, Ordering::Release);
    }

    /// Whether creation was finished.
    pub fn is_ready(&self) -> bool {
        // Acquire: pairs with the Release in `set_ready`.
        self.state.load(Ordering::Acquire) == STATE_READY
    }

    /// Notes an orderly end (`true`), or that the arena is in use.
    pub fn set_clean(&self, clean: bool) {
        // Release: what the last user wrote comes before the note that it ended well.
        self.clean.store(u32::from(clean), Ordering::Release);
    }

    /// Whether the last user ended in order.
    pub fn is_clean(&self) -> bool {
        // Acquire: pairs with the Release in `set_clean`.
        self.clean.load(Ordering::Acquire) == 1
    }
}

/// Bytes of a file's start in which all lies that is checked before it is mapped.
pub(super) const CHECKED_BYTES: usize = 256;

/// What is checked of the start of a file, read rather than mapped, so that a short or hostile file cannot do harm.
pub(super) struct FirstPage {
    pub(super) magic: u32,
    pub(super) version: u32,
    pub(super) ready: bool,
    pub(super) extent_count: u64,
    pub(super) identity: Identity,
}

impl FirstPage {
    /// Reads the numbers; nothing is checked. Missing bytes of a short file count as zeros.
    pub(super) fn parse(page: &[u8; CHECKED_BYTES]) -> Self {
        let mut identity = [0; IDENTITY_BYTES];
        identity.copy_from_slice(&page[offset_of!(ArenaHeader, identity)..][..IDENTITY_BYTES]);
        Self {
            magic: half_at(page, offset_of!(ArenaHeader, magic)),
            version: half_at(page, offset_of!(ArenaHeader, version)),
            ready: half_at(page, offset_of!(ArenaHeader, state)) != STATE_CREATING,
            extent_count: word_at(page, offset_of!(ArenaHeader, extent_count)),
            identity: Identity::from_bytes(&identity),
        }
    }
}

fn word_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_ne_bytes(word)
}

fn half_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_ne_bytes(word)
}
