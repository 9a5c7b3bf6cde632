//! Rows: the head and the owner of one version chain.
//!
//! Invariants  W1: a row has a head from before its publication until its removal, for which the head becomes 0, for good
//!             (`txn::remove`); an aborted insert leaves its version as key holder, stamped `NEVER`. W2: only the transaction
//!             in the owner word, while undecided, links a version. W3: all versions of a row have the same key, so any of
//!             them can answer what the key is. W4: a version is linked over a head that was loaded while its transaction
//!             owned the row and was undecided, so that one that is aborted meanwhile cannot push out what the next owner
//!             has committed.
//! Layout      32 bytes behind the block header; a reader needs `head` and `hash`, which share a cache line in every
//!             place a 48-byte block can have.

use crate::shm::Shared;
use crate::sync::{AtomicU64, Ordering};
use std::mem::{offset_of, size_of};

/// The shared part of a row.
#[repr(C)]
pub struct RowHeader {
    /// Newest version.
    pub head: AtomicU64,
    /// Hash of the key; written before the row is published.
    pub hash: AtomicU64,
    /// Transaction record that may change the row, or 0; counts only while that record is undecided.
    pub owner: AtomicU64,
    /// Monotonic nanoseconds until which the session that has had the row last is expected back, or 0. A hint (L5).
    kept_until_ns: AtomicU64,
}

/// The longest time for which a row is kept: a mark that says more is of another boot.
const KEPT_NS_MAX: u64 = 20_000_000;

const _: () = assert!(size_of::<RowHeader>() == 32 && offset_of!(RowHeader, hash) == 8);

// SAFETY: repr(C), atomics only; all-zero is a row without versions.
unsafe impl Shared for RowHeader {}

impl RowHeader {
    /// Nobody has had the row yet.
    pub fn reset_kept(&self) {
        self.kept_until_ns.store(0, Ordering::Relaxed);
    }

    /// Those who queue are asked to leave the row alone until then.
    pub fn keep_until(&self, until_ns: u64) {
        // Relaxed: nothing but how long somebody sleeps depends on it.
        self.kept_until_ns.store(until_ns, Ordering::Relaxed);
    }

    /// Should those who queue leave the row alone?
    pub fn is_kept(&self, now_ns: u64) -> bool {
        let left_ns = self.kept_until_ns.load(Ordering::Relaxed).wrapping_sub(now_ns);
        left_ns != 0 && left_ns <= KEPT_NS_MAX
    }
}
