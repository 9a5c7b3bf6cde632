//! Indexes: from key bytes to rows.

mod hash;
pub mod key;

pub use hash::{Blocks, HashIndex, HashTable, Inserted};
