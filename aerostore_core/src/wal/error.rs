//! Errors of the log.

#![forbid(unsafe_code)]

use super::ring::RingDamage;
use std::path::PathBuf;
use std::{error, fmt, io};

/// What the log cannot do, and where.
#[derive(Debug)]
#[non_exhaustive]
pub enum WalError {
    /// The operating system refused an operation on a file.
    Io {
        /// What was tried, as a verb: "write", "sync".
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A file of the log holds bytes that no crash of ours can have left.
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        reason: &'static str,
    },
    /// A segment that another segment or the caller needs is not there.
    Missing {
        /// The file that should be there.
        path: PathBuf,
        /// Why it must exist.
        reason: &'static str,
    },
    /// A segment belongs to another database.
    Foreign {
        /// The segment's file.
        path: PathBuf,
        /// The uuid of this database.
        expected: [u8; 16],
        /// The uuid in the segment.
        found: [u8; 16],
    },
    /// A segment was written by another version of the format.
    Version {
        /// The segment's file.
        path: PathBuf,
        /// The version this library reads and writes.
        expected: u32,
        /// The version in the segment.
        found: u32,
    },
    /// A ring in shared memory holds what no producer writes.
    Ring(RingDamage),
    /// Another process has become the log writer; this one must stop.
    Deposed {
        /// The term of this writer.
        term: u64,
    },
    /// The log refuses commits: syncing failed on several files in a row.
    ReadOnly,
}

impl WalError {
    /// Whether the same call may succeed later without anyone repairing anything but the disk's free space.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Io { .. })
    }

    /// Whether there was no room on the disk.
    pub fn is_disk_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }

    /// The operating system's error number, where there is one.
    pub fn os_error(&self) -> Option<i32> {
        match self {
            Self::Io { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

fn hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for WalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { operation, path, source } => {
                write!(f, "cannot {operation} {}: {source}", path.display())
            }
            Self::Corrupt { path, offset, reason } => {
                write!(f, "log segment {} is damaged at offset {offset}: {reason}", path.display())
            }
            Self::Missing { path, reason } => {
                write!(f, "log segment {} is missing: {reason}", path.display())
            }
            Self::Foreign { path, expected, found } => {
                write!(f, "log segment {} belongs to database ", path.display())?;
                hex(f, found)?;
                f.write_str(", not to ")?;
                hex(f, expected)
            }
            Self::Version { path, expected, found } => {
                write!(f, "log segment {} has format version {found}, not {expected}", path.display())
            }
            Self::Ring(damage) => damage.fmt(f),
            Self::Deposed { term } => {
                write!(f, "another process took over from the log writer of term {term}")
            }
            Self::ReadOnly => f.write_str("the log is read-only: syncing failed on several files in a row"),
        }
    }
}

impl error::Error for WalError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Ring(damage) => Some(damage),
            _ => None,
        }
    }
}
