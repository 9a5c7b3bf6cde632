//! The log: rings in shared memory, one log writer, segments of checksummed batches.
//!
//! A session stages a redo record in its ring and publishes it before its commit point. The log writer drains all rings
//! in order of commit timestamp, writes batches that are consistent prefixes, syncs, and publishes how far the log is
//! durable. The log knows no transactions: what is committed it asks through [`CommitSource`].

mod control;
mod error;
mod figures;
#[cfg(not(loom))]
mod follow;
mod frame;
#[cfg(test)]
#[cfg(not(loom))]
pub(crate) mod harness;
mod lsn;
mod policy;
#[cfg(not(loom))]
mod remains;
mod ring;
mod segment;
mod source;
mod spare;
mod superfluous;
mod takeover;
mod walk;
mod writer;

pub use control::{Durability, LOG_TIMESTAMP_MAX, LogControl, LogStats};
pub use error::WalError;
pub use figures::{OfficeStats, SYNC_TIME_CLASSES, SyncTimeStats};
pub use frame::{SegmentHeader, WAL_VERSION};
pub use lsn::Lsn;
pub use policy::SyncPolicy;
pub use ring::{
    EntryBody, Published, RING_BYTES_MIN, Ring, RingDamage, RingError, RingHeader, RingStats, Staged,
    append_and_checksum, record_checksum,
};
pub use segment::segment_path;
pub use source::CommitSource;
pub use superfluous::remove_superfluous;
pub use walk::TornTail;
pub use writer::{DrainOutcome, LogOptions, LogWriter};

#[cfg(not(loom))]
pub(crate) use follow::{Followed, Follower};
pub(crate) use frame::seed;
#[cfg(not(loom))]
pub(crate) use remains::Remains;
pub(crate) use segment::{Directory, io_error};
pub(crate) use walk::{End, Step, Walk};
