//! Indexes: from key bytes to rows.

#[cfg(not(loom))]
mod blocks;
#[cfg(not(loom))]
mod hash;
pub mod key;
#[cfg(not(loom))]
mod skiplist;

#[cfg(not(loom))]
pub use blocks::{Blocks, Exchange, STRUCTURE_BIRTH};
#[cfg(not(loom))]
pub use hash::{Entry, Found, HashIndex, HashTable, Inserted};
#[cfg(not(loom))]
pub use skiplist::{
    Added, Ahead, Batch, BlockStamp, Cursor, Direction, Directory, EntryBatch, IndexEntry, OrderedIndex,
    fetch_ahead, prefix_end,
};
#[cfg(not(loom))]
pub(crate) use skiplist::{ensure_live, named_by};
