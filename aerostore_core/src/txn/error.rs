//! Errors of the transaction layer.

#![forbid(unsafe_code)]

use crate::epoch::EpochError;
use crate::row::RowError;
use crate::shm::ShmError;
use crate::wal::WalError;
use std::error::Error;
use std::fmt;

/// Why a transaction could not do what it was asked.
#[derive(Debug)]
#[non_exhaustive]
pub enum TxnError {
    /// Another transaction got in the way; the same transaction run again may well succeed.
    Serialization {
        /// What the conflict was about.
        reason: &'static str,
        /// Name of the table.
        table: String,
    },
    /// Somebody else ended this transaction because it did not make progress.
    ForcedAbort,
    /// The snapshot was older than the setting `max_snapshot_age` allows, or held back too much when memory ran short, and what
    /// it sees may be gone.
    SnapshotRevoked,
    /// `insert` of a key that is there.
    Duplicate {
        /// Name of the table.
        table: String,
        /// The key, as text.
        key: String,
    },
    /// Another row has a value that this transaction gives a row in a column with a unique index, at this transaction's place in
    /// the serial order; or two rows have it and were to get such an index.
    UniqueViolation {
        /// Name of the table.
        table: String,
        /// Name of the column, which is that of its index.
        column: String,
        /// The value, as text.
        value: String,
    },
    /// The log that was replayed has two rows with one value in a column with a unique index: it is not what was committed.
    LogNotUnique {
        /// Name of the table.
        table: String,
        /// Name of the column, which is that of its index.
        column: String,
        /// The value, as text.
        value: String,
    },
    /// There is a table of that name with another definition.
    TableExists {
        /// Name of the table.
        table: String,
        /// What is different in the one that there is.
        difference: String,
    },
    /// The table was dropped, or is about to be.
    NoTable {
        /// Name of the table.
        table: String,
    },
    /// Somebody is about to drop the table of that name.
    TableBusy {
        /// Name of the table.
        table: String,
    },
    /// The table has no number left for another row.
    NoNumber {
        /// Name of the table.
        table: String,
        /// The last number, which a row has as its key.
        key: u64,
    },
    /// The table has an index on that column already.
    IndexExists {
        /// Name of the table.
        table: String,
        /// Name of the column.
        column: String,
    },
    /// Several indexes were to be made, two of them on that column.
    IndexTwice {
        /// Name of the table.
        table: String,
        /// Name of the column.
        column: String,
    },
    /// The table has no index on that column.
    NoIndex {
        /// Name of the table.
        table: String,
        /// Name of the column.
        column: String,
    },
    /// Somebody is making or dropping the index on that column.
    IndexBusy {
        /// Name of the table.
        table: String,
        /// Name of the column.
        column: String,
    },
    /// A write would give a row another key.
    KeyChanged {
        /// Name of the table.
        table: String,
    },
    /// This transaction and others wait for each other, and it is the youngest.
    Deadlock {
        /// Name of the table.
        table: String,
    },
    /// Another transaction has held the row for longer than the setting `lock_timeout` allows to wait.
    LockTimeout {
        /// Name of the table.
        table: String,
    },
    /// The savepoint was released, rolled back over, or is of another transaction.
    NoSavepoint,
    /// A write in a transaction that was begun read-only.
    ReadOnly,
    /// The log takes no more commits, since this batch could not be made durable three times over.
    LogReadOnly,
    /// The log writer has met an error of the disk; it goes on trying.
    LogFault {
        /// The operating system's error number.
        errno: i32,
        /// Whether the transaction has taken effect, and is only not on disk.
        took_effect: bool,
    },
    /// Nobody has written the log in time.
    LogStuck,
    /// A log record that cannot be applied.
    BadRedo {
        /// The transaction's commit timestamp.
        commit_ts: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The transaction was over.
    Ended,
    /// The redo of one transaction is larger than the log can take.
    TooLarge {
        /// Bytes of redo.
        bytes: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// A value, image or schema was refused.
    Row(RowError),
    /// The shared memory refused.
    Shm(ShmError),
    /// The registry refused.
    Epoch(EpochError),
    /// The log refused.
    Wal(WalError),
}

impl TxnError {
    /// Was there no room in the mapping?
    pub fn is_out_of_space(&self) -> bool {
        match self {
            Self::Shm(error) | Self::Epoch(EpochError::Shm(error)) => error.is_out_of_space(),
            _ => false,
        }
    }

    /// Was it a conflict over rows, which locking them first would have avoided?
    pub fn is_row_conflict(&self) -> bool {
        matches!(self, Self::Serialization { .. } | Self::Deadlock { .. } | Self::LockTimeout { .. })
    }

    /// Is it worth running the same transaction again?
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Serialization { .. }
                | Self::ForcedAbort
                | Self::SnapshotRevoked
                | Self::Deadlock { .. }
                | Self::LockTimeout { .. }
        )
    }
}

impl fmt::Display for TxnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serialization { reason, table } => {
                write!(f, "could not serialize access to {table}: {reason}")
            }
            Self::ForcedAbort => f.write_str("the transaction was aborted because it made no progress"),
            Self::SnapshotRevoked => f.write_str(
                "the transaction's snapshot was revoked: it was too old, or held back too much when memory ran short",
            ),
            Self::Duplicate { table, key } => write!(f, "{table} already has a row with key \"{key}\""),
            Self::LogNotUnique { table, column, value } => write!(
                f,
                "the log cannot be replayed: it has two rows with \"{value}\" in column {column} of {table}, which has a unique index"
            ),
            Self::UniqueViolation { table, column, value } => {
                write!(f, "the unique index on column {column} of {table} has a row with \"{value}\" already")
            }
            Self::TableExists { table, difference } => {
                write!(f, "table {table} exists with another definition: {difference}")
            }
            Self::NoTable { table } => write!(f, "table {table} was dropped"),
            Self::TableBusy { table } => write!(f, "table {table} is being dropped"),
            Self::NoNumber { table, key } => {
                write!(f, "{table} has no number left for another row: the last one, {key}, is a row's key")
            }
            Self::IndexExists { table, column } => write!(f, "column {column} of {table} has an index already"),
            Self::IndexTwice { table, column } => {
                write!(f, "column {column} of {table} cannot have two indexes, and was named twice")
            }
            Self::NoIndex { table, column } => write!(f, "column {column} of {table} has no index"),
            Self::IndexBusy { table, column } => {
                write!(f, "the index on column {column} of {table} is being made or dropped")
            }
            Self::KeyChanged { table } => {
                write!(f, "the key of a row of {table} cannot be changed: delete the row and insert another")
            }
            Self::Deadlock { table } => {
                write!(f, "transactions wait for each other's rows of {table}; this is the youngest of them")
            }
            Self::LockTimeout { table } => {
                write!(f, "another transaction has held the row of {table} for too long")
            }
            Self::NoSavepoint => f.write_str(
                "there is no such savepoint in this transaction: it was released or rolled back over",
            ),
            Self::ReadOnly => f.write_str("cannot write in a read-only transaction"),
            Self::LogReadOnly => f.write_str("the log could not be made durable; the database is read-only"),
            Self::LogFault { errno, took_effect } => {
                write!(f, "the log cannot be written: {}; ", std::io::Error::from_raw_os_error(*errno))?;
                f.write_str(if *took_effect {
                    "what was committed has taken effect, but is not on disk"
                } else {
                    "nothing of the transaction took effect"
                })
            }
            Self::LogStuck => f.write_str("nobody has written the log in time"),
            Self::BadRedo { commit_ts, reason } => {
                write!(f, "the log record of commit {commit_ts} cannot be applied: {reason}")
            }
            Self::Ended => f.write_str("the transaction has ended"),
            Self::TooLarge { bytes, limit } => {
                write!(f, "the transaction logs {bytes} bytes; at most {limit} are possible")
            }
            Self::Row(error) => error.fmt(f),
            Self::Shm(error) => error.fmt(f),
            Self::Epoch(error) => error.fmt(f),
            Self::Wal(error) => error.fmt(f),
        }
    }
}

impl Error for TxnError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Row(error) => Some(error),
            Self::Shm(error) => Some(error),
            Self::Epoch(error) => Some(error),
            Self::Wal(error) => Some(error),
            _ => None,
        }
    }
}

impl From<RowError> for TxnError {
    fn from(error: RowError) -> Self {
        Self::Row(error)
    }
}

impl From<ShmError> for TxnError {
    fn from(error: ShmError) -> Self {
        Self::Shm(error)
    }
}

impl From<EpochError> for TxnError {
    fn from(error: EpochError) -> Self {
        Self::Epoch(error)
    }
}

impl From<WalError> for TxnError {
    fn from(error: WalError) -> Self {
        Self::Wal(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflicts_are_to_be_retried_and_nothing_else() {
        let table = || "Flight".to_owned();
        let conflicts = [
            TxnError::Serialization { reason: "", table: table() },
            TxnError::ForcedAbort,
            TxnError::Deadlock { table: table() },
            TxnError::LockTimeout { table: table() },
            TxnError::SnapshotRevoked,
        ];
        assert!(conflicts.iter().all(TxnError::is_retryable));
        let others = [
            TxnError::Duplicate { table: table(), key: String::new() },
            TxnError::UniqueViolation { table: table(), column: table(), value: String::new() },
            TxnError::LogNotUnique { table: table(), column: table(), value: String::new() },
            TxnError::TableExists { table: table(), difference: "column \"a\" is int, not wide".into() },
            TxnError::NoTable { table: table() },
            TxnError::TableBusy { table: table() },
            TxnError::NoNumber { table: table(), key: 1 },
            TxnError::KeyChanged { table: table() },
            TxnError::IndexExists { table: table(), column: table() },
            TxnError::IndexTwice { table: table(), column: table() },
            TxnError::NoIndex { table: table(), column: table() },
            TxnError::IndexBusy { table: table(), column: table() },
            TxnError::NoSavepoint,
            TxnError::ReadOnly,
            TxnError::LogReadOnly,
            TxnError::LogFault { errno: libc::ENOSPC, took_effect: false },
            TxnError::LogStuck,
            TxnError::BadRedo { commit_ts: 1, reason: "" },
            TxnError::Ended,
            TxnError::TooLarge { bytes: 2, limit: 1 },
        ];
        for error in others {
            assert!(!error.is_retryable() && !error.is_row_conflict(), "{error}");
        }
    }
}
