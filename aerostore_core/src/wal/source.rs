//! Where the log writer learns what has been committed, and finds it.

#![forbid(unsafe_code)]

use super::ring::Ring;
use crate::sync::AtomicU64;

/// What the log writer asks the layer of transactions.
pub trait CommitSource {
    /// The largest w such that no transaction with C <= w is still undecided, and none will get such a C. It never
    /// decreases.
    fn watermark(&self) -> u64;

    /// Appends the rings of all slots that may hold entries with C <= the last watermark, those of the dead included.
    /// Asked after [`CommitSource::watermark`], so that no ring is missed.
    fn rings<'a>(&'a self, into: &mut Vec<Ring<'a>>);

    /// Whether the transaction whose record `record` names committed with timestamp `c`; `c` is at most the last watermark. What
    /// is said when `record` names none any more does not matter.
    fn is_committed(&self, record: &AtomicU64, c: u64) -> bool;

    /// Appends `length` bytes of shared memory at `offset`, for an entry staged out of line; false when that is no
    /// place in shared memory.
    fn copy_out(&self, offset: u64, length: u64, into: &mut Vec<u8>) -> bool;
}
