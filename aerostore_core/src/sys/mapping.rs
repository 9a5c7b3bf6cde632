//! Shared mappings: one reservation of the largest size a file may reach, over a file that grows beneath it.
//!
//! Layout      the reservation starts at a multiple of a huge page, at an address that differs per process.
//! Invariants  M1: memory is touched only below what `allocate` reserved in the file; beyond it the kernel answers
//!             SIGBUS. M2: `make_present` makes every page present, so a later touch cannot fail.
//! Source      the undo step of tmpfs's `fallocate`: when interrupted it drops *untouched* pages of the range, also those a
//!             concurrent `fallocate` had just allocated. Touched pages stay; hence M2 before others learn of them.
//!             madvise(2), `MADV_COLLAPSE` (Linux 6.1): huge pages whatever the system's settings for tmpfs.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;

use super::{SysError, u64_of, usize_of};

/// Bytes of a huge page; extents of this size, at multiples of it, can each be one.
pub(crate) const HUGE_PAGE_BYTES: u64 = 2 << 20;

/// Bytes of an ordinary page.
const PAGE_BYTES: u64 = 4096;

/// How far below the C library a mapping is tried first. Libraries, stacks and large allocations lie together, and grow
/// downwards from the top; further down there is nothing until the program itself, terabytes away.
const FREE_BELOW_BYTES: usize = 64 << 30;

/// A range of addresses with a file mapped, shared and writable; unmapped on drop.
#[derive(Debug)]
struct Range {
    start: *mut u8,
    bytes: usize,
    /// The first multiple of a huge page.
    base: *mut u8,
}

// SAFETY: a range is an address and a length; what lies there is for those to share who make references to it.
unsafe impl Send for Range {}
// SAFETY: as above.
unsafe impl Sync for Range {}

impl Range {
    /// Maps `bytes` of `file` at `wish`, if that is free, else where the kernel likes.
    fn map(file: &File, bytes: usize, wish: *mut u8) -> io::Result<Self> {
        // SAFETY: without MAP_FIXED the kernel replaces nothing that is mapped, whatever the wish.
        let start = unsafe { map(file, bytes, wish, 0) }?;
        let base = start.wrapping_add(start.align_offset(usize_of(HUGE_PAGE_BYTES)));
        Ok(Self { start, bytes, base })
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        // SAFETY: mapped by `Range::map`, and only its owner knows the address.
        unsafe { libc::munmap(self.start.cast(), self.bytes) };
    }
}

/// # Safety
/// With `MAP_FIXED` among the flags, nobody has a pointer into the range.
unsafe fn map(file: &File, bytes: usize, place: *mut u8, flags: libc::c_int) -> io::Result<*mut u8> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the caller's promise covers what is replaced; the descriptor is open.
    let start =
        unsafe { libc::mmap64(place.cast(), bytes, access, libc::MAP_SHARED | flags, file.as_raw_fd(), 0) };
    if start == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(start.cast()) }
}

/// A multiple of a huge page from which on `bytes` are likely to be free, or null. Random, as the C library's place is.
fn likely_free(bytes: usize) -> *mut u8 {
    let below = FREE_BELOW_BYTES.saturating_add(bytes);
    let place = (libc::getpid as *const () as usize).saturating_sub(below);
    ptr::without_provenance_mut(place - place % usize_of(HUGE_PAGE_BYTES))
}

/// A shared, writable mapping; unmapped on drop.
#[derive(Debug)]
pub struct Mapping {
    /// The address range: what is mapped, and what was needed to begin it at a huge page.
    range: Range,
    /// Bytes from the base on.
    bytes: usize,
    file: Arc<File>,
    path: PathBuf,
}

impl Mapping {
    /// Maps `bytes` of `file`, which may be shorter. `path` is for error messages only.
    ///
    /// # Errors
    /// `Io` when the address space or the file does not allow it.
    pub fn new(file: Arc<File>, bytes: u64, path: &Path) -> Result<Self, SysError> {
        let bytes = usize_of(bytes);
        let failed = |source| SysError::io("mmap", path, source);
        // One call when the wish is granted; every other way takes two, of which one undoes a part of the other.
        let mut range = Range::map(&file, bytes, likely_free(bytes)).map_err(failed)?;
        if range.start != range.base {
            drop(range);
            range = Range::map(&file, bytes.saturating_add(usize_of(HUGE_PAGE_BYTES)), ptr::null_mut())
                .map_err(failed)?;
        }
        if range.start != range.base {
            // SAFETY: what is replaced lies within `range`, which nobody has a pointer into yet.
            unsafe { map(&file, bytes, range.base, libc::MAP_FIXED) }.map_err(failed)?;
        }
        Ok(Self { range, bytes, file, path: path.to_path_buf() })
    }

    /// The address of the first byte, for this process only.
    #[inline]
    pub fn base(&self) -> *mut u8 {
        self.range.base
    }

    /// The path given to [`Mapping::new`].
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reserves memory or disk for `bytes` from `offset` on, making the file longer if needed; bytes that exist stay.
    ///
    /// # Errors
    /// `Io`; [`SysError::is_out_of_space`] tells whether the file system is full.
    pub fn allocate(&self, offset: u64, bytes: u64) -> Result<(), SysError> {
        loop {
            // SAFETY: the descriptor is open as long as `self.file`; the call touches no memory of ours.
            let answer = unsafe {
                libc::fallocate64(self.file.as_raw_fd(), 0, offset.cast_signed(), bytes.cast_signed())
            };
            if answer == 0 {
                return Ok(());
            }
            let error = SysError::last("fallocate", &self.path);
            if !matches!(&error, SysError::Io { source, .. } if source.raw_os_error() == Some(libc::EINTR)) {
                return Err(error);
            }
        }
    }

    /// Makes what lies between `offset` and `offset + bytes`, both multiples of [`HUGE_PAGE_BYTES`], part of the file and
    /// present (M2), in huge pages where the kernel has them to give.
    ///
    /// # Errors
    /// `Io`; [`SysError::is_out_of_space`] tells whether the file system is full.
    pub fn make_present(&self, offset: u64, bytes: u64) -> Result<(), SysError> {
        for start in (offset..offset + bytes).step_by(usize_of(HUGE_PAGE_BYTES)) {
            // One page has to be there for the kernel to find something to collapse; it fills the rest with zeroes.
            self.allocate(start, PAGE_BYTES)?;
            self.populate(start, PAGE_BYTES)?;
            self.collapse(start);
        }
        self.allocate(offset, bytes)?;
        self.populate(offset, bytes)
    }

    /// Takes the pages between `offset` and `offset + bytes` out of the file, which stays as long as it is; both are multiples
    /// of a page. True when all of them have gone; the kernel may keep parts of a huge page, and clears them.
    ///
    /// # Errors
    /// `Io`; also when the file system cannot do it.
    pub fn punch(&self, offset: u64, bytes: u64) -> Result<bool, SysError> {
        let file = self.file.as_raw_fd();
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        loop {
            // SAFETY: the descriptor is open as long as `self.file`. The bytes that go stay mapped: whoever looks there
            // sees zeros.
            if unsafe { libc::fallocate64(file, mode, offset.cast_signed(), bytes.cast_signed()) } == 0 {
                break;
            }
            let source = io::Error::last_os_error();
            if source.raw_os_error() != Some(libc::EINTR) {
                return Err(SysError::io("fallocate", &self.path, source));
            }
        }
        // SAFETY: as above; nobody uses the descriptor's position.
        let data = unsafe { libc::lseek64(file, offset.cast_signed(), libc::SEEK_DATA) };
        Ok(data < 0 || data.cast_unsigned() >= offset + bytes)
    }

    /// From now on the kernel refuses to take pages out of the file, which has no name.
    #[cfg(test)]
    pub(crate) fn keep_pages(&self) {
        // SAFETY: the descriptor is open as long as `self.file`; mappings that exist stay writable.
        let sealed =
            unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_FUTURE_WRITE) };
        assert_eq!(sealed, 0, "{}", io::Error::last_os_error());
    }

    /// Whether no page between `offset` and `offset + bytes` is missing.
    #[cfg(test)]
    pub(crate) fn is_present(&self, offset: u64, bytes: u64) -> bool {
        // SAFETY: the descriptor is open as long as `self.file`; nobody uses its position.
        let hole = unsafe { libc::lseek64(self.file.as_raw_fd(), offset.cast_signed(), libc::SEEK_HOLE) };
        // None is found behind the end of the file.
        u64::try_from(hole).is_ok_and(|hole| hole >= offset + bytes)
    }

    /// Turns the pages of one huge page into it, if possible: only a wish.
    fn collapse(&self, offset: u64) {
        let start = self.base().wrapping_add(usize_of(offset));
        // SAFETY: the range lies within the mapping; its contents stay what they are.
        unsafe { libc::madvise(start.cast(), usize_of(HUGE_PAGE_BYTES), libc::MADV_COLLAPSE) };
    }

    /// Makes the pages present and writable at once, rather than by one fault each. A kernel that cannot (before 5.14) is
    /// no error.
    ///
    /// # Errors
    /// `Io`; [`SysError::is_out_of_space`] tells whether a touch would have met SIGBUS.
    ///
    /// # Panics
    /// When that is not all in the mapping.
    pub fn populate(&self, offset: u64, bytes: u64) -> Result<(), SysError> {
        assert!(offset.saturating_add(bytes) <= u64_of(self.bytes), "populating beyond the mapping");
        loop {
            let start = self.base().wrapping_add(usize_of(offset));
            // SAFETY: the range lies within the mapping, as asserted; the call changes no byte of it.
            if unsafe { libc::madvise(start.cast(), usize_of(bytes), libc::MADV_POPULATE_WRITE) } == 0 {
                return Ok(());
            }
            let source = io::Error::last_os_error();
            match source.raw_os_error() {
                Some(libc::EINTR | libc::EAGAIN) => {}
                Some(libc::EINVAL) => return Ok(()),
                _ => return Err(SysError::io("madvise", &self.path, source)),
            }
        }
    }
}

/// How large a file system is.
#[derive(Clone, Copy, Debug)]
pub struct FileSystemSpace {
    /// Bytes, used or not.
    pub bytes: u64,
    /// Bytes that we may still use.
    pub free_bytes: u64,
}

/// The size of the file system that holds `path`.
///
/// # Errors
/// `Io` when `path` does not exist or cannot be asked.
pub fn file_system_space(path: &Path) -> Result<FileSystemSpace, SysError> {
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::CString::new(path.as_os_str().as_bytes())
        .map_err(|source| SysError::io("statvfs", path, source.into()))?;
    // SAFETY: all-zero is a valid `statvfs`, a struct of integers.
    let mut answer: libc::statvfs64 = unsafe { std::mem::zeroed() };
    // SAFETY: `name` is a C string and `answer` a valid place for the result.
    if unsafe { libc::statvfs64(name.as_ptr(), &raw mut answer) } != 0 {
        return Err(SysError::last("statvfs", path));
    }
    Ok(FileSystemSpace {
        bytes: answer.f_blocks.saturating_mul(answer.f_frsize),
        free_bytes: answer.f_bavail.saturating_mul(answer.f_frsize),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::anonymous_file;

    fn mapping(bytes: u64) -> Mapping {
        Mapping::new(Arc::new(anonymous_file(c"mapping").unwrap()), bytes, Path::new("(test)")).unwrap()
    }

    #[test]
    fn a_mapping_begins_at_a_huge_page() {
        let mappings: Vec<Mapping> = (1..4).map(|pages| mapping(pages * HUGE_PAGE_BYTES)).collect();
        for (mapping, pages) in mappings.iter().zip(1..) {
            assert_eq!(mapping.base().addr() % usize_of(HUGE_PAGE_BYTES), 0);
            mapping.make_present((pages - 1) * HUGE_PAGE_BYTES, HUGE_PAGE_BYTES).unwrap();
            let last = mapping.base().wrapping_add(usize_of(pages * HUGE_PAGE_BYTES) - 1);
            // SAFETY: the last page is present now.
            assert_eq!(unsafe { last.read_volatile() }, 0);
        }
        // Each of them is where the first would like to be, or next to it.
        let mut bases: Vec<usize> = mappings.iter().map(|mapping| mapping.base().addr()).collect();
        bases.sort_unstable();
        bases.dedup();
        assert_eq!(bases.len(), mappings.len());
    }

    #[test]
    fn what_was_written_survives_the_move_to_huge_pages() {
        let mapping = mapping(2 * HUGE_PAGE_BYTES);
        mapping.allocate(0, PAGE_BYTES).unwrap();
        // SAFETY: the first page was allocated just now, and nobody else knows the mapping.
        unsafe { mapping.base().add(100).write(42) };
        mapping.make_present(0, 2 * HUGE_PAGE_BYTES).unwrap();
        for (offset, expected) in [(100, 42), (101, 0), (2 * usize_of(HUGE_PAGE_BYTES) - 1, 0)] {
            // SAFETY: both pages are present.
            assert_eq!(unsafe { mapping.base().add(offset).read() }, expected, "at {offset}");
        }
    }
}
