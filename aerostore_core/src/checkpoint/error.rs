//! Errors of checkpoints, and of recovery, which reads them.

#![forbid(unsafe_code)]

use crate::row::RowError;
use crate::txn::TxnError;
use crate::wal::WalError;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::{error, fmt};

/// What cannot be done with a checkpoint, and where.
#[derive(Debug)]
#[non_exhaustive]
pub enum CheckpointError {
    /// A file of a checkpoint holds bytes that nobody has written there.
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// A file is of another database.
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A file was written by another version of the format.
    Version {
        /// The file.
        path: PathBuf,
        /// The version this library reads and writes.
        expected: u32,
        /// The version in the file.
        found: u32,
    },
    /// The log does not hold what it held when a checkpoint was published.
    LogTooShort {
        /// The checkpoint's manifest.
        manifest: PathBuf,
        /// The log reached as far as this timestamp.
        needed: u64,
        /// It ends at this one.
        found: u64,
    },
    /// Checkpoints are damaged, and the log does not reach back to one that is not.
    NoneIntact {
        /// What is wrong with each of them.
        passed_over: Vec<String>,
        /// What the log says.
        log: WalError,
    },
    /// There is no room for a checkpoint on the disk, unless it takes what is left to the log.
    NoRoom {
        /// Where it was to be.
        dir: PathBuf,
        /// Bytes that it needs besides those it has, at least.
        needed: u64,
        /// Bytes that are free.
        free: u64,
        /// Bytes of those that are left to the log.
        left_to_log: u64,
    },
    /// Whoever asked for the checkpoint does not want it any more.
    Cancelled,
    /// Another process has taken over the role, as this one was stopped for long.
    Replaced,
    /// A row of a checkpoint, or a definition.
    Row(RowError),
    /// The log, or what the operating system refused on a file of either.
    Wal(WalError),
    /// The database.
    Txn(TxnError),
}

impl CheckpointError {
    /// Does a file hold other bytes than were written there, or is it gone?
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, Self::Corrupt { .. }) || self.is_not_found()
    }

    /// Is there no such file?
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Wal(WalError::Io { source, .. }) if source.kind() == ErrorKind::NotFound)
    }

    pub(crate) fn corrupt(path: &Path, offset: u64, reason: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_path_buf(), offset, reason: reason.into() }
    }
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt { path, offset, reason } => {
                write!(f, "{} is damaged at offset {offset}: {reason}", path.display())
            }
            Self::Foreign { path } => write!(f, "{} belongs to another database", path.display()),
            Self::Version { path, expected, found } => {
                write!(f, "{} has format version {found}, not {expected}", path.display())
            }
            Self::LogTooShort { manifest, needed, found } => write!(
                f,
                "the log ends at timestamp {found}, but reached to {needed} when {} was published",
                manifest.display()
            ),
            Self::NoneIntact { passed_over, log } => {
                write!(f, "{}; and without it: {log}", passed_over.join("; "))
            }
            Self::NoRoom { dir, needed, free, left_to_log } => write!(
                f,
                "no room for a checkpoint in {}: it needs {needed} bytes more at least, {free} are free, of which {left_to_log} are left to the log",
                dir.display()
            ),
            Self::Cancelled => f.write_str("the checkpoint was cancelled"),
            Self::Replaced => {
                f.write_str("another process takes the checkpoint, as this one gave no sign of life")
            }
            Self::Row(error) => error.fmt(f),
            Self::Wal(error) => error.fmt(f),
            Self::Txn(error) => error.fmt(f),
        }
    }
}

impl error::Error for CheckpointError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Row(error) => Some(error),
            Self::Wal(error) | Self::NoneIntact { log: error, .. } => Some(error),
            Self::Txn(error) => Some(error),
            _ => None,
        }
    }
}

impl From<RowError> for CheckpointError {
    fn from(error: RowError) -> Self {
        Self::Row(error)
    }
}

impl From<WalError> for CheckpointError {
    fn from(error: WalError) -> Self {
        Self::Wal(error)
    }
}

impl From<TxnError> for CheckpointError {
    fn from(error: TxnError) -> Self {
        Self::Txn(error)
    }
}
