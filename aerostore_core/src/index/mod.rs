//! Indexes: from key bytes to rows.

#[cfg(not(loom))]
mod hash;
pub mod key;

#[cfg(not(loom))]
pub use hash::{Blocks, Entry, Found, HashIndex, HashTable, Inserted, STRUCTURE_BIRTH};
