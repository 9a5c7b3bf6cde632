//! Table roots and the catalog: what tables there are, and where their rows and their indexes hang.
//!
//! Invariants  C1: the catalog is a list that only grows at its head, by CAS. C2: a table's definition is written before
//!             the table is linked and never changes. C3: every row of a table lies in a slab on its `rows` list.

use crate::epoch::Guard;
use crate::mvcc::IndexRoots;
use crate::row::DirtyMask;
use crate::shm::{Shared, ShmError};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use std::mem::{offset_of, size_of};

/// Whether a table may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableState {
    /// In use.
    Live,
    /// Dropped.
    Dropped,
}

/// The shared root of a table.
#[repr(C)]
pub struct TableRoot {
    next: AtomicU64,
    /// Number of the table in log records; 1 and up.
    pub id: AtomicU32,
    state: AtomicU32,
    /// Offset of the schema bytes.
    pub schema: AtomicU64,
    /// Length of the schema bytes.
    pub schema_bytes: AtomicU64,
    /// Newest slab of rows; 0 while the table has none.
    pub rows: AtomicU64,
    /// Current key hash table.
    pub primary: AtomicU64,
    /// Bit *i* is set once column *i* has, or has had, a secondary index (O3).
    pub indexed: AtomicU64,
    /// First root of a secondary index; 0 while the table has none.
    pub indexes: AtomicU64,
    /// Rows that are not deleted; maintained after commits, so a death in between leaves it off by that commit.
    pub row_count: AtomicU64,
    /// Bit *i* is set while column *i* has a unique index, and for a while after that (O5).
    unique: AtomicU64,
    _reserved: [u64; 6],
}

const _: () = assert!(size_of::<TableRoot>() == 128 && offset_of!(TableRoot, indexed) == 48);

// SAFETY: repr(C), atomics and padding only; written before it is linked.
unsafe impl Shared for TableRoot {}

impl TableRoot {
    /// Is the table in use?
    pub fn state(&self) -> TableState {
        if self.state.load(Ordering::Acquire) == 0 { TableState::Live } else { TableState::Dropped }
    }

    /// The columns that have, or have had a while ago, a unique index.
    #[inline]
    pub fn unique(&self) -> DirtyMask {
        // SeqCst: O5.
        DirtyMask(self.unique.load(Ordering::SeqCst))
    }

    /// Takes the mark of column `column` back: nobody is at a unique index on it any more, nor about to make one (O5).
    pub fn forget_unique(&self, column: usize) {
        self.unique.fetch_and(!(1 << column), Ordering::SeqCst);
    }

    /// Offsets of the blocks that a table is made with: its schema, its first key hash table, and its secondary indexes.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn parts(&self, guard: &Guard<'_>) -> Result<Vec<u64>, ShmError> {
        let mut parts = vec![self.schema.load(Ordering::Relaxed), self.primary.load(Ordering::Acquire)];
        for index in IndexRoots::of(guard, self) {
            let index = index?;
            parts.extend([index.offset, index.root.tree.load(Ordering::Acquire)]);
        }
        Ok(parts)
    }

    /// Is the table at `offset` on the list that begins at `head`?
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn is_listed(guard: &Guard<'_>, head: &AtomicU64, offset: u64) -> Result<bool, ShmError> {
        let mut at = head.load(Ordering::Acquire);
        while at != 0 && at != offset {
            at = guard.resolve::<Self>(at)?.next.load(Ordering::Acquire);
        }
        Ok(at == offset)
    }

    /// Makes a zeroed, unlinked block a table.
    pub fn init(&self, id: u32, schema: u64, schema_bytes: u64, primary: u64) {
        self.id.store(id, Ordering::Relaxed);
        self.schema.store(schema, Ordering::Relaxed);
        self.schema_bytes.store(schema_bytes, Ordering::Relaxed);
        self.primary.store(primary, Ordering::Release);
    }
}

/// The list of tables.
#[repr(C)]
pub struct Catalog {
    head: AtomicU64,
    next_id: AtomicU32,
    /// Odd while any table has a unique index, and for a while after that (O5). Its other bits count how often that was said, so that no
    /// value comes back.
    has_unique: AtomicU32,
    _reserved: [u64; 6],
}

const _: () = assert!(size_of::<Catalog>() == 64);

// SAFETY: repr(C), atomics and padding only; all-zero is an empty catalog.
unsafe impl Shared for Catalog {}

impl Catalog {
    /// Has any table a unique index, or has one had any a while ago?
    #[inline]
    pub fn has_unique(&self) -> bool {
        self.unique_mark() & 1 != 0
    }

    /// The word that says so.
    #[inline]
    pub fn unique_mark(&self) -> u32 {
        // SeqCst: O5.
        self.has_unique.load(Ordering::SeqCst)
    }

    /// Says that column `column` of a table is to have a unique index (O5).
    pub fn note_unique(&self, root: &TableRoot, column: usize) {
        // In this order: who finds the mark of the catalog as it was has not missed this column's.
        root.unique.fetch_or(1 << column, Ordering::SeqCst);
        // Of these two as well: nobody takes back what is said here for what was seen before.
        self.has_unique.fetch_add(2, Ordering::SeqCst);
        self.has_unique.fetch_or(1, Ordering::SeqCst);
    }

    /// Takes the mark of the catalog back, which was `seen` before no table was found to have one; true if nobody has set it again
    /// since.
    pub fn forget_unique(&self, seen: u32) -> bool {
        self.has_unique.compare_exchange(seen, seen & !1, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// A table number nobody has.
    pub fn take_id(&self) -> u32 {
        self.next_id.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Table numbers up to `id` are taken.
    pub fn reserve_id(&self, id: u32) {
        self.next_id.fetch_max(id, Ordering::AcqRel);
    }

    /// The word that a new table is linked to.
    pub fn head(&self) -> &AtomicU64 {
        &self.head
    }

    /// Links `table` before `seen`, the head that the caller has searched from; false when the list has grown since.
    pub fn link(&self, seen: u64, root: &TableRoot, table: u64) -> bool {
        root.next.store(seen, Ordering::Relaxed);
        self.head.compare_exchange(seen, table, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The table of that number, as offset and root.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn find<'g>(&self, guard: &Guard<'g>, id: u32) -> Result<Option<(u64, &'g TableRoot)>, ShmError> {
        let mut offset = self.head.load(Ordering::Acquire);
        while offset != 0 {
            let root: &TableRoot = guard.resolve(offset)?;
            if root.id.load(Ordering::Relaxed) == id {
                return Ok(Some((offset, root)));
            }
            offset = root.next.load(Ordering::Acquire);
        }
        Ok(None)
    }

    /// Every table from `head` on, newest first, as offset and root.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn tables<'g>(&self, guard: &Guard<'g>) -> Result<Vec<(u64, &'g TableRoot)>, ShmError> {
        let mut tables = Vec::new();
        let mut offset = self.head.load(Ordering::Acquire);
        while offset != 0 {
            let root: &TableRoot = guard.resolve(offset)?;
            tables.push((offset, root));
            offset = root.next.load(Ordering::Acquire);
        }
        Ok(tables)
    }
}
