//! Shared mappings: one reservation of the largest size a file may reach, over a file that grows beneath it.
//!
//! Layout      the reservation starts page-aligned at an address that differs per process.
//! Invariants  M1: memory is touched only below what `allocate` reserved in the file; beyond it the kernel answers
//!             SIGBUS. M2: `allocate` and `populate` together make every page present, so a later touch cannot fail.
//! Source      the undo step of tmpfs's `fallocate`: when interrupted it drops *untouched* pages of the range, also those a
//!             concurrent `fallocate` had just allocated. Touched pages stay; hence M2 before others learn of them.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use memmap2::{Advice, MmapOptions, MmapRaw};

use super::{SysError, u64_of, usize_of};

/// A shared, writable mapping; unmapped on drop.
#[derive(Debug)]
pub struct Mapping {
    raw: MmapRaw,
    file: File,
    path: PathBuf,
}

impl Mapping {
    /// Maps `bytes` of `file`, which may be shorter. `path` is for error messages only.
    ///
    /// # Errors
    /// `Io` when the address space or the file does not allow it.
    pub fn new(file: File, bytes: u64, path: &Path) -> Result<Self, SysError> {
        let raw = MmapOptions::new()
            .len(usize_of(bytes))
            .map_raw(&file)
            .map_err(|source| SysError::io("mmap", path, source))?;
        // Only a wish: whether tmpfs gives huge pages is the administrator's choice.
        let _ = raw.advise(Advice::HugePage);
        Ok(Self { raw, file, path: path.to_path_buf() })
    }

    /// The address of the first byte, for this process only.
    #[inline]
    pub fn base(&self) -> *mut u8 {
        self.raw.as_mut_ptr()
    }

    /// The length of the reservation, which is not the length of the file.
    pub fn reserved_bytes(&self) -> u64 {
        u64_of(self.raw.len())
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

    /// Makes the pages present and writable at once, rather than by one fault each. A kernel that cannot (before 5.14) is
    /// no error.
    ///
    /// # Errors
    /// `Io`; [`SysError::is_out_of_space`] tells whether a touch would have met SIGBUS.
    pub fn populate(&self, offset: u64, bytes: u64) -> Result<(), SysError> {
        loop {
            let Err(source) = self.raw.advise_range(Advice::PopulateWrite, usize_of(offset), usize_of(bytes))
            else {
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
