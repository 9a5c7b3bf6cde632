//! Opening files that may be mapped: regular, our own, and never through a symbolic link.

use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::os::fd::FromRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::SysError;

/// Whether [`open_regular`] may make the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Create {
    /// The file has to exist.
    Never,
    /// A missing file is made, empty, with mode 0600.
    IfMissing,
}

/// Opens `path` for reading and writing, closed on exec.
///
/// # Errors
/// `Symlink`, `NotRegularFile` or `WrongOwner` when the file is not one we may trust; `Io` for the rest.
pub fn open_regular(path: &Path, create: Create) -> Result<File, SysError> {
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
    let metadata = file.metadata().map_err(|source| SysError::io("fstat", path, source))?;
    if !metadata.is_file() {
        return Err(SysError::NotRegularFile { path: path.to_path_buf() });
    }
    if metadata.uid() != effective_uid() {
        return Err(wrong_owner(path, metadata.uid()));
    }
    Ok(file)
}

/// A file without a name, in memory: what tests and single-process databases map.
///
/// # Errors
/// `Io` when the kernel refuses.
pub fn anonymous_file(name: &CStr) -> Result<File, SysError> {
    // SAFETY: `name` is a C string.
    let descriptor = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
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
