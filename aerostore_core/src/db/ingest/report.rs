//! What an ingest did, and why it ended early if it did.

#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use super::columns::ColumnsError;

/// Figures of an ingest, of its committed batches only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IngestReport {
    /// Rows written: the next three together.
    pub rows: u64,
    /// Rows that were not there before.
    pub inserted: u64,
    /// Rows that were changed.
    pub updated: u64,
    /// Rows that were like that already.
    pub unchanged: u64,
    /// Rows that were deleted.
    pub deleted: u64,
    /// Lines left out because they were bad.
    pub rejected: u64,
    /// Transactions committed.
    pub batches: u64,
    /// Bytes of the lines that are done with.
    pub bytes: u64,
    /// Time since the start.
    pub elapsed: Duration,
    /// The first 20 bad lines.
    pub faults: Vec<RowFault>,
}

/// A bad line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowFault {
    /// Its number, from 1, header and empty lines counted.
    pub line: u64,
    /// The column at fault, where it is one.
    pub column: Option<String>,
    /// What is wrong.
    pub reason: String,
}

/// An ingest that ended early: why, and what had been done.
#[derive(Debug)]
pub struct IngestError<E> {
    /// Why it ended.
    pub cause: IngestCause<E>,
    /// The batches that were committed before, and stay.
    pub report: Box<IngestReport>,
}

/// Why an ingest ended early.
#[derive(Debug)]
#[non_exhaustive]
pub enum IngestCause<E> {
    /// The options or the header are wrong; nothing was read further.
    Columns(ColumnsError),
    /// A bad line.
    Row(RowFault),
    /// The stream failed.
    Io {
        /// The line that was being read.
        line: u64,
        /// What the stream reported.
        source: io::Error,
    },
    /// A batch could not be written.
    Sink {
        /// The first line of the batch.
        line: u64,
        /// What the sink reported.
        source: E,
    },
    /// The progress callback broke off.
    Cancelled,
}

impl IngestReport {
    /// Rows written in a second, on average.
    #[expect(clippy::cast_precision_loss, reason = "a rate is an estimate")]
    pub fn rows_per_sec(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { self.rows as f64 / seconds } else { 0.0 }
    }

    /// Microseconds since the start.
    pub fn elapsed_us(&self) -> u64 {
        u64::try_from(self.elapsed.as_micros()).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for RowFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

impl<E> From<ColumnsError> for IngestCause<E> {
    fn from(error: ColumnsError) -> Self {
        Self::Columns(error)
    }
}

impl<E: fmt::Display> fmt::Display for IngestCause<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Columns(error) => error.fmt(f),
            Self::Row(fault) => fault.fmt(f),
            Self::Io { line, source } => write!(f, "line {line}: cannot read: {source}"),
            Self::Sink { line, source } => write!(f, "batch from line {line}: {source}"),
            Self::Cancelled => f.write_str("ingest was broken off"),
        }
    }
}

impl<E: fmt::Display> fmt::Display for IngestError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl<E: Error + 'static> Error for IngestError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.cause {
            IngestCause::Columns(error) => Some(error),
            IngestCause::Io { source, .. } => Some(source),
            IngestCause::Sink { source, .. } => Some(source),
            IngestCause::Row(_) | IngestCause::Cancelled => None,
        }
    }
}
