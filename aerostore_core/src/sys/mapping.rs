//! Shared mappings: one reservation of the largest size a file may reach, over a file that grows beneath it.
//!
//! Layout      the reservation starts at a multiple of a huge page, at an address that differs per process.
//! Invariants  M1: memory is touched only below what `allocate` reserved in the file; beyond it the kernel answers
//!             SIGBUS. M2: `make_present` makes every page present, so a later touch cannot fail.
//! Source      the undo step of tmpfs's `fallocate`: when interrupted it drops *untouched* pages of the range, also those a
//!             concurrent `fallocate` had just allocated. Touched pages stay; hence M2 before others learn of them.
//!             madvise(2), `MADV_COLLAPSE` (Linux 6.1): huge pages whatever the system's settings for tmpfs.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use memmap2::{Advice, MmapOptions, MmapRaw};

use super::{SysError, u64_of, usize_of};

/// Bytes of a huge page; extents of this size, at multiples of it, can each be one.
pub(crate) const HUGE_PAGE_BYTES: u64 = 2 << 20;

/// Bytes of an ordinary page.
const PAGE_BYTES: u64 = 4096;

/// A shared, writable mapping; unmapped on drop.
#[derive(Debug)]
pub struct Mapping {
    /// The address range: what is mapped, and what was needed to begin it at a huge page.
    reservation: MmapRaw,
    skipped_bytes: usize,
    file: File,
    path: PathBuf,
}

impl Mapping {
    /// Maps `bytes` of `file`, which may be shorter. `path` is for error messages only.
    ///
    /// # Errors
    /// `Io` when the address space or the file does not allow it.
    pub fn new(file: File, bytes: u64, path: &Path) -> Result<Self, SysError> {
        let bytes = usize_of(bytes);
        let reservation = MmapOptions::new()
            .len(bytes.saturating_add(usize_of(HUGE_PAGE_BYTES)))
            .map_raw(&file)
            .map_err(|source| SysError::io("mmap", path, source))?;
        let start = reservation.as_mut_ptr();
        let skipped_bytes = start.align_offset(usize_of(HUGE_PAGE_BYTES));
        if skipped_bytes != 0 {
            // SAFETY: the pages replaced lie within `reservation`, which nobody has a pointer into yet.
            let mapped = unsafe {
                libc::mmap64(
                    start.add(skipped_bytes).cast(),
                    bytes,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_SHARED | libc::MAP_FIXED,
                    file.as_raw_fd(),
                    0,
                )
            };
            if mapped == libc::MAP_FAILED {
                return Err(SysError::last("mmap", path));
            }
        }
        Ok(Self { reservation, skipped_bytes, file, path: path.to_path_buf() })
    }

    /// The address of the first byte, for this process only.
    #[inline]
    pub fn base(&self) -> *mut u8 {
        self.reservation.as_mut_ptr().wrapping_add(self.skipped_bytes)
    }

    /// The length of the reservation, which is not the length of the file.
    pub fn reserved_bytes(&self) -> u64 {
        u64_of(self.reservation.len()) - HUGE_PAGE_BYTES
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
    pub fn populate(&self, offset: u64, bytes: u64) -> Result<(), SysError> {
        loop {
            let Err(source) = self.reservation.advise_range(
                Advice::PopulateWrite,
                self.skipped_bytes + usize_of(offset),
                usize_of(bytes),
            ) else {
                return Ok(());
            };
            match source.raw_os_error() {
                Some(libc::EINTR | libc::EAGAIN) => {}
                Some(libc::EINVAL) => return Ok(()),
                _ => return Err(SysError::io("madvise", &self.path, source)),
            }
        }
    }
}

/// The size of the file system that holds `path`, used or not.
///
/// # Errors
/// `Io` when `path` does not exist or cannot be asked.
pub fn filesystem_bytes(path: &Path) -> Result<u64, SysError> {
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::CString::new(path.as_os_str().as_bytes())
        .map_err(|source| SysError::io("statvfs", path, source.into()))?;
    // SAFETY: all-zero is a valid `statvfs`, a struct of integers.
    let mut answer: libc::statvfs64 = unsafe { std::mem::zeroed() };
    // SAFETY: `name` is a C string and `answer` a valid place for the result.
    if unsafe { libc::statvfs64(name.as_ptr(), &raw mut answer) } != 0 {
        return Err(SysError::last("statvfs", path));
    }
    Ok(answer.f_blocks.saturating_mul(answer.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::anonymous_file;

    fn mapping(bytes: u64) -> Mapping {
        Mapping::new(anonymous_file(c"mapping").unwrap(), bytes, Path::new("(test)")).unwrap()
    }

    #[test]
    fn a_mapping_begins_at_a_huge_page() {
        let mappings: Vec<Mapping> = (1..4).map(|pages| mapping(pages * HUGE_PAGE_BYTES)).collect();
        for (mapping, pages) in mappings.iter().zip(1..) {
            assert_eq!(mapping.base().addr() % usize_of(HUGE_PAGE_BYTES), 0);
            assert_eq!(mapping.reserved_bytes(), pages * HUGE_PAGE_BYTES);
        }
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
