//! Opening files that may be mapped: regular, our own, and never through a symbolic link.

use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Probe, SysError};

/// Whether opening may make the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Create {
    /// The file has to exist.
    Never,
    /// A missing file is made, empty, with mode 0600.
    IfMissing,
}

/// Which file it is, whatever it is called, for as long as it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

/// A file that may be mapped, and what was found out about it on the way. Clones share the description.
#[derive(Clone, Debug)]
pub struct RegularFile {
    pub(super) file: Arc<File>,
    path: PathBuf,
    pub(super) id: FileId,
    bytes: u64,
}

impl RegularFile {
    /// Opens `path` for reading and writing, closed on exec.
    ///
    /// # Errors
    /// `Symlink`, `NotRegularFile` or `WrongOwner` when the file is not one we may trust; `Io` for the rest.
    pub fn open(path: &Path, create: Create) -> Result<Self, SysError> {
        let (file, id, bytes) = open_regular(path, create)?;
        Ok(Self { file: Arc::new(file), path: path.to_path_buf(), id, bytes })
    }

    /// What it was opened as.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Its length when it was opened.
    pub fn bytes_at_open(&self) -> u64 {
        self.bytes
    }

    /// A probe for the locks of this very file. It asks through this description, which must never hold a lock.
    pub fn probe(&self) -> Probe {
        Probe::through(Arc::clone(&self.file), &self.path)
    }
}

/// Opens `path` for reading and writing, closed on exec: the file, which one it is, and its length.
///
/// # Errors
/// As [`RegularFile::open`].
pub(super) fn open_regular(path: &Path, create: Create) -> Result<(File, FileId, u64), SysError> {
    // O_NONBLOCK: opening a pipe or a device must not hang; it means nothing to a regular file.
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(create == Create::IfMissing)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path);
    let file = opened.map_err(|source| match source.raw_os_error() {
        Some(libc::ELOOP) => SysError::Symlink { path: path.to_path_buf() },
        Some(libc::EISDIR | libc::ENXIO | libc::ENODEV) => {
            SysError::NotRegularFile { path: path.to_path_buf() }
        }
        Some(libc::EACCES) => foreign(path).unwrap_or_else(|| SysError::io("open", path, source)),
        _ => SysError::io("open", path, source),
    })?;
    // SAFETY: all-zero is a valid `stat`, a struct of integers.
    let mut found: libc::stat64 = unsafe { std::mem::zeroed() };
    // SAFETY: `found` is a valid place for the result.
    if unsafe { libc::fstat64(file.as_raw_fd(), &raw mut found) } != 0 {
        return Err(SysError::last("fstat", path));
    }
    if found.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(SysError::NotRegularFile { path: path.to_path_buf() });
    }
    if found.st_uid != effective_uid() {
        return Err(wrong_owner(path, found.st_uid));
    }
    Ok((file, FileId { device: found.st_dev, inode: found.st_ino }, found.st_size.cast_unsigned()))
}

/// A file without a name, in memory: what tests and single-process databases map.
///
/// # Errors
/// `Io` when the kernel refuses.
pub fn anonymous_file(name: &CStr) -> Result<File, SysError> {
    // SAFETY: `name` is a C string.
    let descriptor =
        unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
    if descriptor < 0 {
        return Err(SysError::last("memfd_create", Path::new("")));
    }
    // SAFETY: the descriptor is fresh and nobody else's.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}

/// The clearer error for a file that could not be opened because it is another user's.
fn foreign(path: &Path) -> Option<SysError> {
    let uid = std::fs::symlink_metadata(path).ok()?.uid();
    (uid != effective_uid()).then(|| wrong_owner(path, uid))
}

fn wrong_owner(path: &Path, uid: u32) -> SysError {
    SysError::WrongOwner { path: path.to_path_buf(), uid, expected: effective_uid() }
}

fn effective_uid() -> u32 {
    // SAFETY: no preconditions; the call cannot fail.
    unsafe { libc::geteuid() }
}
