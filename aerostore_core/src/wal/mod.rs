//! The log: rings in shared memory, one log writer, segments of checksummed batches.
//!
//! A session stages a redo record in its ring and publishes it before its commit point. The log writer drains all rings
//! in order of commit timestamp, writes batches that are consistent prefixes, syncs, and publishes how far the log is
//! durable. The log knows no transactions: what is committed it asks through [`CommitSource`].

mod control;
mod error;
mod frame;
#[cfg(test)]
#[cfg(not(loom))]
pub(crate) mod harness;
mod lsn;
mod ring;
mod segment;
mod takeover;
mod walk;
mod writer;

pub use control::{Durability, LOG_TIMESTAMP_MAX, LogControl, LogStats};
pub use error::WalError;
pub use frame::{SegmentHeader, WAL_VERSION};
pub use lsn::Lsn;
pub use ring::{
    EntryBody, Published, RING_BYTES_MIN, Ring, RingDamage, RingError, RingHeader, Staged,
    append_and_checksum, record_checksum,
};
pub use segment::segment_path;
pub use walk::TornTail;
pub use writer::{CommitSource, DrainOutcome, LogOptions, LogWriter};

pub(crate) use segment::Directory;
pub(crate) use walk::{End, Step, Walk};
