//! The error that users meet.

#![forbid(unsafe_code)]

use crate::checkpoint::CheckpointError;
use crate::epoch::EpochError;
use crate::query::QueryError;
use crate::row::RowError;
use crate::shm::ShmError;
use crate::sys::SysError;
use crate::txn::TxnError;
use crate::wal::WalError;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// What kind of error this is: what a program branches on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Conflict with another transaction: run it again.
    Serialization,
    /// The key, or the name, is taken.
    Duplicate,
    /// There is no such thing.
    NotFound,
    /// Text that is no value, row or option.
    Parse,
    /// A query or command that makes no sense.
    Syntax,
    /// A value that does not fit its column.
    Type,
    /// Memory or disk is full.
    Space,
    /// The operating system failed.
    Io,
    /// Damaged data.
    Corrupt,
    /// A write where only reads are allowed.
    ReadOnly,
    /// The transaction or database is closed.
    Closed,
    /// The transaction's snapshot was too old: run it again.
    Revoked,
    /// A handle from before `fork`.
    Forked,
    /// In use by others.
    Busy,
    /// A configuration key or value.
    Config,
    /// A file that is of another version, user or database.
    Mismatch,
}

impl ErrorKind {
    /// The name in capitals, as in Tcl's `errorCode`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serialization => "SERIALIZATION",
            Self::Duplicate => "DUPLICATE",
            Self::NotFound => "NOT_FOUND",
            Self::Parse => "PARSE",
            Self::Syntax => "SYNTAX",
            Self::Type => "TYPE",
            Self::Space => "SPACE",
            Self::Io => "IO",
            Self::Corrupt => "CORRUPT",
            Self::ReadOnly => "READ_ONLY",
            Self::Closed => "CLOSED",
            Self::Revoked => "REVOKED",
            Self::Forked => "FORKED",
            Self::Busy => "BUSY",
            Self::Config => "CONFIG",
            Self::Mismatch => "MISMATCH",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Anything the database can refuse.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A transaction.
    Txn(TxnError),
    /// A checkpoint, or what was to be recovered from one and the log.
    Checkpoint(CheckpointError),
    /// A query.
    Query(QueryError),
    /// The shared memory.
    Shm(ShmError),
    /// The operating system.
    Sys(SysError),
    /// A file of the data directory.
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A file of the data directory does not say what it should.
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Mapping and data directory belong to different databases.
    Mismatch {
        /// The mapping.
        mapping: PathBuf,
        /// The data directory.
        dir: PathBuf,
        /// Which belongs where.
        reason: String,
    },
    /// Another process holds on to what is needed.
    Busy {
        /// What, and by whom.
        reason: String,
    },
    /// A read-only handle was asked for, and there is nothing to read.
    NoDatabase {
        /// The data directory.
        dir: PathBuf,
    },
    /// There is no table of that name.
    NoTable {
        /// The name.
        name: String,
    },
    /// A configuration key or value.
    Config {
        /// What was expected.
        reason: String,
    },
    /// A transaction has met conflicts as often as its policy allows to run it.
    RetriesExhausted {
        /// How often it was run.
        tries: u32,
        /// The last conflict.
        last: Box<Error>,
    },
    /// A transaction was not used for longer than the setting `idle_in_transaction_timeout` allows; it is rolled back now.
    IdleTimeout {
        /// Milliseconds between two uses.
        idle_ms: u64,
        /// Milliseconds allowed.
        limit_ms: u64,
    },
    /// The database was closed.
    Closed,
    /// The handle was made before `fork`.
    Forked,
}

impl Error {
    /// The kind, to branch on.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Txn(error) => txn_kind(error),
            Self::Checkpoint(error) => checkpoint_kind(error),
            Self::Query(_) => ErrorKind::Syntax,
            Self::Shm(error) => shm_kind(error),
            Self::Sys(error) => sys_kind(error),
            Self::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => ErrorKind::Space,
            Self::File { .. } => ErrorKind::Io,
            Self::BadFile { .. } => ErrorKind::Corrupt,
            Self::Mismatch { .. } => ErrorKind::Mismatch,
            Self::Busy { .. } => ErrorKind::Busy,
            Self::NoTable { .. } | Self::NoDatabase { .. } => ErrorKind::NotFound,
            Self::Config { .. } => ErrorKind::Config,
            Self::RetriesExhausted { last, .. } => last.kind(),
            Self::IdleTimeout { .. } | Self::Closed => ErrorKind::Closed,
            Self::Forked => ErrorKind::Forked,
        }
    }

    /// Was it a conflict over rows, which locking them first would have avoided?
    pub fn is_row_conflict(&self) -> bool {
        match self {
            Self::Txn(error) => error.is_row_conflict(),
            _ => false,
        }
    }

    /// Is it worth running the same transaction again?
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Txn(error) => error.is_retryable(),
            // Later, perhaps.
            Self::RetriesExhausted { last, .. } => last.is_retryable(),
            _ => false,
        }
    }
}

fn txn_kind(error: &TxnError) -> ErrorKind {
    match error {
        TxnError::Serialization { .. } | TxnError::ForcedAbort | TxnError::Deadlock { .. } => {
            ErrorKind::Serialization
        }
        TxnError::SnapshotRevoked => ErrorKind::Revoked,
        TxnError::Duplicate { .. }
        | TxnError::UniqueViolation { .. }
        | TxnError::TableExists { .. }
        | TxnError::IndexExists { .. }
        | TxnError::IndexTwice { .. } => ErrorKind::Duplicate,
        TxnError::ReadOnly | TxnError::LogReadOnly => ErrorKind::ReadOnly,
        TxnError::LogFault { errno: libc::ENOSPC | libc::EDQUOT, .. } | TxnError::TooLarge { .. } => {
            ErrorKind::Space
        }
        TxnError::LogFault { .. } | TxnError::LogStuck => ErrorKind::Io,
        TxnError::BadRedo { .. } | TxnError::LogNotUnique { .. } => ErrorKind::Corrupt,
        TxnError::Ended => ErrorKind::Closed,
        TxnError::LockTimeout { .. } | TxnError::IndexBusy { .. } | TxnError::TableBusy { .. } => {
            ErrorKind::Busy
        }
        TxnError::NoSavepoint | TxnError::NoIndex { .. } | TxnError::NoTable { .. } => ErrorKind::NotFound,
        TxnError::KeyChanged { .. } | TxnError::NoNumber { .. } => ErrorKind::Type,
        TxnError::Row(error) => row_kind(error),
        TxnError::Shm(error) => shm_kind(error),
        TxnError::Epoch(error) => epoch_kind(error),
        TxnError::Wal(error) => wal_kind(error),
    }
}

fn row_kind(error: &RowError) -> ErrorKind {
    if error.is_corruption() { ErrorKind::Corrupt } else { ErrorKind::Type }
}

fn shm_kind(error: &ShmError) -> ErrorKind {
    match error {
        ShmError::OutOfSpace { .. } => ErrorKind::Space,
        ShmError::Sys(error) => sys_kind(error),
        ShmError::BadOffset { .. } | ShmError::Truncated { .. } => ErrorKind::Corrupt,
        _ => ErrorKind::Mismatch,
    }
}

fn epoch_kind(error: &EpochError) -> ErrorKind {
    match error {
        EpochError::TooManyProcesses { .. } | EpochError::TooManySessions { .. } => ErrorKind::Busy,
        EpochError::ForkedHandle => ErrorKind::Forked,
        EpochError::Shm(error) => shm_kind(error),
        EpochError::Sys(error) => sys_kind(error),
    }
}

fn sys_kind(error: &SysError) -> ErrorKind {
    if error.is_out_of_space() { ErrorKind::Space } else { ErrorKind::Io }
}

fn wal_kind(error: &WalError) -> ErrorKind {
    match error {
        WalError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => ErrorKind::Space,
        WalError::Io { .. } => ErrorKind::Io,
        WalError::ReadOnly => ErrorKind::ReadOnly,
        _ => ErrorKind::Corrupt,
    }
}

fn checkpoint_kind(error: &CheckpointError) -> ErrorKind {
    match error {
        CheckpointError::Cancelled => ErrorKind::Closed,
        CheckpointError::Replaced => ErrorKind::Busy,
        CheckpointError::NoRoom { .. } => ErrorKind::Space,
        CheckpointError::Row(error) => row_kind(error),
        CheckpointError::Wal(error) => wal_kind(error),
        CheckpointError::Txn(error) => txn_kind(error),
        _ => ErrorKind::Corrupt,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Txn(error) => error.fmt(f),
            Self::Checkpoint(error) => error.fmt(f),
            Self::Query(error) => error.fmt(f),
            Self::Shm(error) => error.fmt(f),
            Self::Sys(error) => error.fmt(f),
            Self::File { path, source } => write!(f, "{}: {source}", path.display()),
            Self::BadFile { path, reason } => write!(f, "{}: {reason}", path.display()),
            Self::Mismatch { mapping, dir, reason } => write!(
                f,
                "mapping {} and data directory {} do not belong together: {reason}",
                mapping.display(),
                dir.display()
            ),
            Self::Busy { reason } | Self::Config { reason } => f.write_str(reason),
            Self::NoDatabase { dir } => {
                write!(f, "no database in {}, and a read-only handle does not make one", dir.display())
            }
            Self::NoTable { name } => write!(f, "no table named \"{name}\""),
            Self::RetriesExhausted { tries, last } => {
                write!(
                    f,
                    "the transaction was run {tries} times and met a conflict each time; the last: {last}"
                )
            }
            Self::IdleTimeout { idle_ms, limit_ms } => write!(
                f,
                "the transaction was rolled back: it was not used for {idle_ms} ms, and {limit_ms} are allowed"
            ),
            Self::Closed => f.write_str("the database is closed"),
            Self::Forked => {
                f.write_str("this handle was made before fork(); open the database again in the child")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Txn(error) => Some(error),
            Self::Checkpoint(error) => Some(error),
            Self::Query(error) => Some(error),
            Self::Shm(error) => Some(error),
            Self::Sys(error) => Some(error),
            Self::File { source, .. } => Some(source),
            Self::RetriesExhausted { last, .. } => Some(last.as_ref()),
            _ => None,
        }
    }
}

impl From<TxnError> for Error {
    fn from(error: TxnError) -> Self {
        Self::Txn(error)
    }
}

impl From<CheckpointError> for Error {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Txn(error) => Self::Txn(error),
            CheckpointError::Wal(error) => Self::Txn(error.into()),
            error => Self::Checkpoint(error),
        }
    }
}

impl From<QueryError> for Error {
    fn from(error: QueryError) -> Self {
        Self::Query(error)
    }
}

impl From<ShmError> for Error {
    fn from(error: ShmError) -> Self {
        Self::Shm(error)
    }
}

impl From<SysError> for Error {
    fn from(error: SysError) -> Self {
        Self::Sys(error)
    }
}

impl From<EpochError> for Error {
    fn from(error: EpochError) -> Self {
        Self::Txn(error.into())
    }
}

impl From<RowError> for Error {
    fn from(error: RowError) -> Self {
        Self::Txn(error.into())
    }
}

impl From<WalError> for Error {
    fn from(error: WalError) -> Self {
        Self::Txn(error.into())
    }
}
