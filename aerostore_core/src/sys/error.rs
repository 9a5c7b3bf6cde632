//! What the operating system refused, and where.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A failure of the operating system, or a file that is not what it has to be.
#[derive(Debug)]
#[non_exhaustive]
pub enum SysError {
    /// A system call failed.
    Io {
        /// The call that failed.
        call: &'static str,
        /// The file it was about; empty when there was none.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The path is a symbolic link, which is never followed.
    Symlink {
        /// The link.
        path: PathBuf,
    },
    /// The path is a directory, a device, a pipe or a socket.
    NotRegularFile {
        /// What was opened.
        path: PathBuf,
    },
    /// The file belongs to another user.
    WrongOwner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        uid: u32,
        /// The user this process acts for.
        expected: u32,
    },
    /// The handle was opened before `fork` and is used in the child.
    Forked,
    /// The process holds as many lock files as can be closed in a forked child.
    TooManyLockFiles {
        /// How many it may hold.
        limit: u32,
    },
}

impl SysError {
    /// The error that `errno` holds now, about `path`.
    pub(crate) fn last(call: &'static str, path: &Path) -> Self {
        Self::io(call, path, io::Error::last_os_error())
    }

    /// `source`, which `call` met with, about `path`.
    pub(crate) fn io(call: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { call, path: path.to_path_buf(), source }
    }

    /// Whether memory, disk space or quota ran out, so that the same call can work later.
    pub fn is_out_of_space(&self) -> bool {
        match self {
            Self::Io { source, .. } => matches!(
                source.raw_os_error(),
                Some(libc::ENOSPC | libc::ENOMEM | libc::EDQUOT | libc::EFAULT)
            ),
            _ => false,
        }
    }

    /// Whether the file does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

impl fmt::Display for SysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { call, path, source } if path.as_os_str().is_empty() => write!(f, "{call}: {source}"),
            Self::Io { call, path, source } => write!(f, "{call} {}: {source}", path.display()),
            Self::Symlink { path } => write!(f, "{} is a symbolic link", path.display()),
            Self::NotRegularFile { path } => write!(f, "{} is not a regular file", path.display()),
            Self::WrongOwner { path, uid, expected } => {
                write!(f, "{} belongs to user {uid}, not to user {expected}", path.display())
            }
            Self::Forked => f.write_str("the handle was opened before fork; open it anew in the child"),
            Self::TooManyLockFiles { limit } => write!(f, "more than {limit} lock files in one process"),
        }
    }
}

impl Error for SysError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
