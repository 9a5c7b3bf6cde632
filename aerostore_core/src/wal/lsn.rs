//! A position in the log.

#![forbid(unsafe_code)]

use std::fmt;

/// A byte position in the log: segment number, then offset in that segment's file. Strictly increasing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn {
    /// Number of the segment, from 1.
    pub segment: u64,
    /// Byte offset in the segment's file.
    pub offset: u64,
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment, self.offset)
    }
}
