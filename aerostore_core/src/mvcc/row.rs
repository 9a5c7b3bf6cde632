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
use crate::sync::AtomicU64;
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
    /// Reserved.
    pub flags: AtomicU64,
}

const _: () = assert!(size_of::<RowHeader>() == 32 && offset_of!(RowHeader, hash) == 8);

// SAFETY: repr(C), atomics only; all-zero is a row without versions.
unsafe impl Shared for RowHeader {}
