//! Version chains: rows, their images over time, and the transaction records that decide which of them count.

#[cfg(not(loom))]
mod checkpoints;
mod clock;
#[cfg(not(loom))]
mod definition;
#[cfg(not(loom))]
mod garbage;
#[cfg(not(loom))]
mod index_root;
mod record;
#[cfg(not(loom))]
mod row;
#[cfg(not(loom))]
mod sweeps;
#[cfg(not(loom))]
mod table;
#[cfg(not(loom))]
mod table_drop;
#[cfg(not(loom))]
mod turn_word;
#[cfg(not(loom))]
mod version;
#[cfg(not(loom))]
mod visibility;
#[cfg(not(loom))]
mod watched;

#[cfg(not(loom))]
pub use checkpoints::{CheckpointControl, CheckpointStats};
pub use clock::Clock;
#[cfg(not(loom))]
pub use definition::{Definition, NewDefinition};
#[cfg(not(loom))]
pub use garbage::{GarbageControl, VacuumStats};
#[cfg(not(loom))]
pub use index_root::{IndexRef, IndexRoot, IndexRoots, IndexState, IndexWord, end_of_roots};
pub use record::{RecordState, TxnRecord};
#[cfg(not(loom))]
pub use row::RowHeader;
#[cfg(not(loom))]
pub use sweeps::{SweepControl, SweepStats};
#[cfg(not(loom))]
pub use table::{Catalog, NUMBERS_END, TableRoot, TableState};
#[cfg(not(loom))]
pub use table_drop::{DropStage, DropWord};
#[cfg(not(loom))]
pub use version::{BeginWord, Heads, NEVER, NextWord, TOMBSTONE, Version, VersionRef, change_flags};
#[cfg(not(loom))]
pub use visibility::{Resolved, Stall, StallPolicy, newest_committed, resolve_begin, visible_at};
#[cfg(not(loom))]
pub use watched::{WatchControl, Watched};
