//! The arena: creating and attaching the mapping, and turning offsets into references.
//!
//! Invariants  a reference is given out only for bytes of extents that exist, so touching it cannot fault. The end of those is
//!             cached per process: it only grows, and a cached end that is too small costs a look at the header.
//! Ordering    the header is read from the file and checked before anything is mapped; see `header` for the rest.

use std::fs::File;
use std::marker::PhantomData;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::header::{ArenaHeader, CHECKED_BYTES, FORMAT_VERSION, FirstPage, Identity, MAGIC};
use super::slab::{EXTENT_BYTES, MAX_BYTES_LIMIT, PAGE_BYTES, SLAB_BYTES, SLABS_PER_EXTENT, SlabOwner};
use super::{RelPtr, Shared, ShmError, SlabRef};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::sys::{
    Create, Mapping, RegularFile, SysError, anonymous_file, boot_id, prefetch, u64_of, unix_seconds, usize_of,
};

/// How to make an arena.
#[derive(Clone, Debug)]
pub struct ArenaOptions {
    /// Bytes the file may grow to; rounded down to whole extents of 2 MiB.
    pub max_bytes: u64,
    /// Bytes for the fixed tables of upper layers.
    pub system_bytes: u64,
    /// The database.
    pub uuid: [u8; 16],
    /// Hash of the structures that upper layers keep in the arena.
    pub layout_hash: u64,
    /// Extents kept back for [`super::Reserve::Yes`].
    pub reserve_extents: u64,
}

impl Default for ArenaOptions {
    /// 256 MiB, no fixed tables, a zero uuid, two extents in reserve.
    fn default() -> Self {
        Self { max_bytes: 256 << 20, system_bytes: 0, uuid: [0; 16], layout_hash: 0, reserve_extents: 2 }
    }
}

/// What an arena has to be for [`Arena::attach`] to take it.
#[derive(Clone, Copy, Debug, Default)]
pub struct ArenaExpect {
    /// The database, if only one will do.
    pub uuid: Option<[u8; 16]>,
    /// Hash of the structures that upper layers keep in the arena.
    pub layout_hash: u64,
}

/// A mapped arena; clones share the mapping, which goes with the last of them.
#[derive(Clone, Debug)]
pub struct Arena {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    mapping: Mapping,
    /// Bytes that exist for sure; this process's copy.
    end: AtomicU64,
    /// How often this process has added an extent.
    growths: AtomicU32,
    identity: Identity,
}

/// What a process knew of an arena at one moment: for who looks at many places, one after the other, and has another way to those
/// that have come since.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    base: *mut u8,
    end: u64,
    arena: PhantomData<&'a Arena>,
}

impl Known<'_> {
    /// The address of the bytes from `offset` on, and how many there are, if there are as many as `least`.
    #[inline]
    pub fn bytes(&self, offset: u64, least: u64) -> Option<(*mut u8, u64)> {
        // One comparison, as in `Arena::bytes`.
        if offset.wrapping_sub(1) < self.end.saturating_sub(least) {
            // SAFETY: offset + least <= end, which lies within the mapping, and that stays as long as the arena is borrowed.
            return Some((unsafe { self.base.add(usize_of(offset)) }, self.end - offset));
        }
        None
    }

    /// Asks the processor to fetch what is at `offset`; any offset will do.
    #[inline]
    pub fn prefetch(&self, offset: u64) {
        prefetch(self.base.wrapping_add(usize_of(offset)));
    }
}

impl Arena {
    /// Makes an arena in `path`, an absent, empty or unfinished file. It is not ready until [`ArenaHeader::set_ready`].
    ///
    /// The caller holds the lock on [`super::INIT_LOCK_BYTE`] of the file until then, so that nobody else creates or attaches.
    ///
    /// # Errors
    /// `AlreadyExists`, `ForeignMagic` or `Version` when the file holds something; `BadOptions` when the sizes leave no room;
    /// `OutOfSpace` when the file system is full; `Symlink`, `NotRegularFile`, `WrongOwner`, `Sys`.
    pub fn create(path: &Path, options: &ArenaOptions) -> Result<Self, ShmError> {
        Self::create_in(&RegularFile::open(path, Create::IfMissing)?, options)
    }

    /// As [`Arena::create`], in a file that is open.
    ///
    /// # Errors
    /// As [`Arena::create`].
    pub fn create_in(opened: &RegularFile, options: &ArenaOptions) -> Result<Self, ShmError> {
        let (file, path) = (opened.file(), opened.path());
        let page = read_first_page(file, path)?;
        if length(file, path)? > 0 {
            check_magic(&page, path)?;
            if page.ready {
                return Err(ShmError::AlreadyExists { path: path.to_path_buf() });
            }
        }
        // The magic is written before the file gets long: at no time is there a file of ours that cannot be told from
        // somebody else's.
        let mut start = [0; usize_of(PAGE_BYTES)];
        start[..4].copy_from_slice(&MAGIC.to_ne_bytes());
        start[4..8].copy_from_slice(&FORMAT_VERSION.to_ne_bytes());
        file.set_len(0).map_err(|source| SysError::io("ftruncate", path, source))?;
        file.write_all_at(&start, 0)
            .map_err(|source| no_room(SysError::io("write", path, source), options))?;
        Self::initialise(Arc::clone(file), path, options)
    }

    /// Makes an arena without a file, for tests and for databases of one process.
    ///
    /// # Errors
    /// As [`Arena::create`].
    pub fn anonymous(options: &ArenaOptions) -> Result<Self, ShmError> {
        Self::initialise(Arc::new(anonymous_file(c"aerostore")?), Path::new("(anonymous)"), options)
    }

    fn initialise(file: Arc<File>, path: &Path, options: &ArenaOptions) -> Result<Self, ShmError> {
        let (identity, extents) = plan(options)?;
        let mapping = Mapping::new(file, identity.max_bytes, path)?;
        let end = extents * EXTENT_BYTES;
        mapping.make_present(0, end).map_err(|error| no_room(error, options))?;
        // SAFETY: the mapping is at least one extent long, page-aligned and zero but for magic and version; the caller
        // keeps others away until the arena is ready.
        unsafe { ArenaHeader::initialise(mapping.base().cast(), identity, extents) };
        Ok(Self {
            inner: Arc::new(Inner {
                mapping,
                end: AtomicU64::new(end),
                growths: AtomicU32::new(0),
                identity,
            }),
        })
    }

    /// Maps the finished arena in `path`.
    ///
    /// The caller holds the lock on [`super::INIT_LOCK_BYTE`] of the file meanwhile.
    ///
    /// # Errors
    /// [`ShmError::is_absent`] tells that there is none; `ForeignMagic`, `Version`, `Truncated`, `Corrupt`, `LayoutMismatch`,
    /// `BootMismatch`, `UuidMismatch`, `Symlink`, `NotRegularFile`, `WrongOwner` say what is wrong; or `Sys`.
    pub fn attach(path: &Path, expect: &ArenaExpect) -> Result<Self, ShmError> {
        Self::attach_in(&RegularFile::open(path, Create::Never)?, expect)
    }

    /// As [`Arena::attach`], of a file that is open.
    ///
    /// # Errors
    /// As [`Arena::attach`].
    pub fn attach_in(opened: &RegularFile, expect: &ArenaExpect) -> Result<Self, ShmError> {
        let (file, path) = (opened.file(), opened.path());
        let page = read_first_page(file, path)?;
        let mut bytes = opened.bytes_at_open();
        if bytes == 0 {
            return Err(ShmError::NotReady { path: path.to_path_buf() });
        }
        check_magic(&page, path)?;
        let truncated = |expected, actual| ShmError::Truncated { path: path.to_path_buf(), expected, actual };
        if bytes < PAGE_BYTES {
            return Err(truncated(PAGE_BYTES, bytes));
        }
        if !page.ready {
            return Err(ShmError::NotReady { path: path.to_path_buf() });
        }
        check_identity(&page.identity, expect, path)?;
        let end = page.extent_count.saturating_mul(EXTENT_BYTES);
        if end > page.identity.max_bytes || end <= page.identity.first_slab * SLAB_BYTES {
            return Err(ShmError::Corrupt { offset: 128, what: "the number of extents cannot be" });
        }
        if bytes < end {
            // Others may have made it longer since it was opened, and before its header was read.
            bytes = length(file, path)?;
        }
        if bytes < end {
            return Err(truncated(end, bytes));
        }
        let mapping = Mapping::new(Arc::clone(file), page.identity.max_bytes, path)?;
        Ok(Self {
            inner: Arc::new(Inner {
                mapping,
                end: AtomicU64::new(end),
                growths: AtomicU32::new(0),
                identity: page.identity,
            }),
        })
    }

    /// The `T` at `pointer`, whose bytes are anybody's to change: see [`Shared`].
    ///
    /// # Errors
    /// `BadOffset` when it is null, outside the arena or not aligned.
    #[inline]
    pub fn resolve<T: Shared>(&self, pointer: RelPtr<T>) -> Result<&T, ShmError> {
        let offset = pointer.offset();
        if offset.is_multiple_of(u64_of(align_of::<T>())) {
            const { assert!(size_of::<T>() as u64 <= EXTENT_BYTES, "longer than an extent") };
            let place = self.place(offset, u64_of(size_of::<T>()))?;
            // SAFETY: `place` checked bounds, the base is page-aligned and the offset a multiple of the alignment; `Shared`
            // makes any bits a valid `T` and changes by others harmless; the mapping lives as long as `self`.
            return Ok(unsafe { &*place.cast::<T>() });
        }
        Err(ShmError::BadOffset { offset, bytes: u64_of(size_of::<T>()) })
    }

    /// The address of `len` bytes from `offset` on, in this process, valid as long as the arena.
    ///
    /// # Errors
    /// `BadOffset` when they are not all in the arena, or begin at 0.
    #[inline]
    pub fn bytes(&self, offset: u64, len: u64) -> Result<*mut u8, ShmError> {
        if len > EXTENT_BYTES && !self.contains_now(offset, len) {
            return Err(ShmError::BadOffset { offset, bytes: len });
        }
        self.place(offset, len)
    }

    /// The same, of what is known to be in the arena if it is longer than an extent.
    #[inline]
    fn place(&self, offset: u64, len: u64) -> Result<*mut u8, ShmError> {
        // Relaxed: this process's own copy; the extents below it exist whatever we see otherwise.
        let end = self.inner.end.load(Ordering::Relaxed);
        // An arena has an extent at least, so nothing is subtracted from less; and one comparison for "not 0" and "not beyond": 0
        // wraps round to the largest number.
        if offset.wrapping_sub(1) < end.wrapping_sub(len) || self.contains_now(offset, len) {
            // SAFETY: offset + len <= end, which lies within the mapping.
            return Ok(unsafe { self.inner.mapping.base().add(usize_of(offset)) });
        }
        Err(ShmError::BadOffset { offset, bytes: len })
    }

    /// The arena as far as this process knows it now.
    #[inline]
    pub fn known(&self) -> Known<'_> {
        // Relaxed: as in `bytes`.
        let end = self.inner.end.load(Ordering::Relaxed);
        Known { base: self.inner.mapping.base(), end, arena: PhantomData }
    }

    #[cold]
    fn contains_now(&self, offset: u64, len: u64) -> bool {
        let end = self.refresh_end();
        len <= end && offset.wrapping_sub(1) < end - len
    }

    /// Looks up how far the arena reaches, which is no further than its mapping whatever the header says.
    pub(super) fn refresh_end(&self) -> u64 {
        // Acquire: pairs with the Release in `grow`.
        let extents = self.header().extent_count.load(Ordering::Acquire);
        let end = extents.saturating_mul(EXTENT_BYTES).min(self.max_bytes());
        // Relaxed, for it is a cache; `max` keeps a late writer from shrinking it.
        self.inner.end.fetch_max(end, Ordering::Relaxed).max(end)
    }

    /// The header.
    #[inline]
    #[expect(clippy::cast_ptr_alignment, reason = "a mapping starts at a page")]
    pub fn header(&self) -> &ArenaHeader {
        // SAFETY: an arena is at least one extent long, and the base is page-aligned; `ArenaHeader` is `Shared`.
        unsafe { &*self.inner.mapping.base().cast::<ArenaHeader>() }
    }

    /// One of the named roots through which upper layers find their structures.
    ///
    /// # Panics
    /// When there is no root `index`.
    #[inline]
    pub fn root(&self, index: usize) -> &AtomicU64 {
        self.header().root(index)
    }

    /// Offset and length of the area for fixed tables: zeroed at creation, aligned to 4 KiB.
    pub fn system_area(&self) -> (u64, u64) {
        (self.inner.identity.system_offset, self.inner.identity.system_bytes)
    }

    /// The database.
    pub fn uuid(&self) -> [u8; 16] {
        self.inner.identity.uuid
    }

    /// When the arena was made, seconds since 1970.
    pub fn created_at(&self) -> u64 {
        self.inner.identity.created_at
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        self.inner.mapping.path()
    }

    /// Bytes the file may grow to.
    #[inline]
    pub fn max_bytes(&self) -> u64 {
        self.inner.identity.max_bytes
    }

    /// Bytes the file has now.
    pub fn file_bytes(&self) -> u64 {
        self.refresh_end()
    }

    /// Bytes in slabs that somebody uses, and in fixed tables. Looks at every slab's owner: for reports, not for each operation.
    pub fn used_bytes(&self) -> u64 {
        let is_used = |slab: &SlabRef| !matches!(slab.word().owner(), SlabOwner::Free | SlabOwner::Absent);
        let used = self.slabs().filter(is_used).count();
        (self.first_slab() + u64_of(used)) * SLAB_BYTES
    }

    /// Bytes that are not used, of the file and of what it may still grow by.
    pub fn free_bytes(&self) -> u64 {
        self.max_bytes().saturating_sub(self.used_bytes())
    }

    /// Asks the processor to fetch what is at `offset`; any offset will do.
    #[inline]
    pub fn prefetch(&self, offset: u64) {
        prefetch(self.inner.mapping.base().wrapping_add(usize_of(offset)));
    }

    /// How often this process has added an extent: what changes then, for those who wait for it.
    pub(super) fn growths(&self) -> &AtomicU32 {
        &self.inner.growths
    }

    #[inline]
    pub(super) fn mapping(&self) -> &Mapping {
        &self.inner.mapping
    }

    #[inline]
    pub(super) fn first_slab(&self) -> u64 {
        self.inner.identity.first_slab
    }

    #[inline]
    pub(super) fn reserve_extents(&self) -> u64 {
        self.inner.identity.reserve_extents
    }
}

/// What the options come to: the identity, and how many extents to begin with.
fn plan(options: &ArenaOptions) -> Result<(Identity, u64), ShmError> {
    let max_extents = options.max_bytes / EXTENT_BYTES;
    if options.max_bytes > MAX_BYTES_LIMIT
        || options.system_bytes > options.max_bytes
        || options.reserve_extents > max_extents
    {
        return Err(ShmError::BadOptions { what: "the arena's sizes are out of range" });
    }
    let system_end = PAGE_BYTES + options.system_bytes.next_multiple_of(PAGE_BYTES);
    // A table that reaches into a second extent covers that one's slab headers; blocks begin with the next.
    let unit = if system_end > EXTENT_BYTES { EXTENT_BYTES } else { SLAB_BYTES };
    let first_slab = system_end.next_multiple_of(unit) / SLAB_BYTES;
    let extents = first_slab / SLABS_PER_EXTENT + 1 + options.reserve_extents;
    if extents > max_extents {
        return Err(ShmError::BadOptions {
            what: "the arena's maximum leaves no room beside tables and reserve",
        });
    }
    let identity = Identity {
        layout_hash: options.layout_hash,
        uuid: options.uuid,
        boot_id: boot_id()?,
        max_bytes: max_extents * EXTENT_BYTES,
        system_offset: PAGE_BYTES,
        system_bytes: system_end - PAGE_BYTES,
        first_slab,
        reserve_extents: options.reserve_extents,
        created_at: unix_seconds(),
        checksum: 0,
    };
    Ok((identity.with_checksum(), extents))
}

/// Slab headers of extent 0 lie in its first page, which the fixed tables leave alone.
const _: () = assert!(PAGE_BYTES < SLAB_BYTES);

fn no_room(error: SysError, options: &ArenaOptions) -> ShmError {
    if error.is_out_of_space() {
        ShmError::OutOfSpace { used: 0, limit: options.max_bytes }
    } else {
        error.into()
    }
}

fn check_magic(page: &FirstPage, path: &Path) -> Result<(), ShmError> {
    let path = || path.to_path_buf();
    if page.magic != MAGIC {
        return Err(ShmError::ForeignMagic { path: path(), found: page.magic });
    }
    if page.version != FORMAT_VERSION {
        return Err(ShmError::Version { path: path(), found: page.version, expected: FORMAT_VERSION });
    }
    Ok(())
}

fn check_identity(identity: &Identity, expect: &ArenaExpect, path: &Path) -> Result<(), ShmError> {
    let path = || path.to_path_buf();
    if let Some(what) = identity.fault() {
        return Err(ShmError::Corrupt { offset: 16, what });
    }
    if identity.layout_hash != expect.layout_hash {
        return Err(ShmError::LayoutMismatch {
            path: path(),
            found: identity.layout_hash,
            expected: expect.layout_hash,
        });
    }
    if identity.boot_id != boot_id()? {
        return Err(ShmError::BootMismatch { path: path() });
    }
    match expect.uuid {
        Some(expected) if expected != identity.uuid => {
            Err(ShmError::UuidMismatch { path: path(), found: identity.uuid, expected })
        }
        _ => Ok(()),
    }
}

fn length(file: &File, path: &Path) -> Result<u64, ShmError> {
    Ok(file.metadata().map_err(|source| SysError::io("fstat", path, source))?.len())
}

/// The start of the first page, with zeros where the file is shorter.
fn read_first_page(file: &File, path: &Path) -> Result<FirstPage, ShmError> {
    let mut page = [0; CHECKED_BYTES];
    let mut filled = 0;
    while filled < page.len() {
        match file.read_at(&mut page[filled..], u64_of(filled)) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(source) => return Err(SysError::io("read", path, source).into()),
        }
    }
    Ok(FirstPage::parse(&page))
}
