//! Shared memory: an arena of blocks that any process may map, at any address, and any process may die in.
//!
//! Layout      a file of 2 MiB extents; an extent is a page of slab headers and 32 slabs of 64 KiB; a slab holds blocks of one
//!             size class; a block is a 16-byte header and its payload. Addresses are byte offsets from the arena's base.
//! Invariants  a block's state word is the only truth; free lists are private to a session and can be rebuilt from states.

mod arena;
mod block;
mod census;
mod class;
mod error;
mod extent;
mod giveback;
mod handover;
mod header;
mod heap;
mod large;
mod reap;
mod refill;
mod rel_ptr;
mod shared;
mod slab;
mod sweep;
mod trim;

#[cfg(all(test, not(loom)))]
mod crash_tests;

pub use arena::{Arena, ArenaExpect, ArenaOptions, Known};
pub use block::{BlockHeader, BlockKind, BlockRef, BlockState, BlockWord};
pub use census::{KindBytes, census};
pub use class::{LARGE_PAYLOAD_BYTES_MAX, SLAB_PAYLOAD_BYTES_MAX};
pub use error::ShmError;
pub use extent::Reserve;
pub use giveback::EmptyExtent;
pub use header::{ArenaHeader, FORMAT_VERSION, INIT_LOCK_BYTE, MAGIC, PROCESS_LOCK_BYTE, ROOT_COUNT};
pub use heap::Heap;
pub use reap::{adopt_retired, release_slabs_of, slabs_of};
pub use rel_ptr::{AtomicRelPtr, RelPtr};
pub use shared::Shared;
pub(crate) use slab::SlabStates;
pub use slab::{EXTENT_BYTES, OwnerId, SLAB_BYTES, SlabRef, tagged_slabs};
pub use sweep::{Marker, SweepReport, mark_sweep};
