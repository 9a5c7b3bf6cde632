//! Indexes: from key bytes to rows.

mod hash;
pub mod key;

pub use hash::{Blocks, Entry, HashIndex, HashTable, Inserted};
