//! Table roots and the catalog: what tables there are, and where their rows and their indexes hang.
//!
//! Invariants  C1: the catalog is a list that only grows at its head, by CAS. C2: a table's definition is written before
//!             it is linked and never changes; another that has more columns may take its place (J4 of `txn::alter`). C3: every row of a table lies in a slab on its `rows` list.
//!             C4: a table is linked MAKING before its definition is in the log, and LIVE once it is: whoever has taken a snapshot finds
//!             on the list every table that the log defines up to that snapshot. Anybody may log it again, and make it LIVE by that. Who is
//!             about to is counted in the state; the last of those who could not makes it FAILED, which is as good as none, until somebody
//!             makes one of the same definition. C5: a key of a table that numbers its rows is below `next_key` before its row is linked, so no number
//!             that is given is the key of a row, unless somebody names that number himself meanwhile: who inserts under it learns that.
//!             Keys from `NUMBERS_END` on move nothing, so that one that somebody names does not use them up; when they are, as somebody has named one
//!             right below that, they go on behind the greatest key that a row has.
//!             C6: of the tables with one tag all but the newest are GONE: one that has no other's slabs gets a tag that none has had.

use crate::epoch::Guard;
use crate::mvcc::IndexRoots;
use crate::mvcc::table_drop::DropWords;
use crate::row::DirtyMask;
use crate::shm::{Shared, ShmError};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use std::mem::{offset_of, size_of};

/// Whether a table may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableState {
    /// Linked; its definition may not be in the log yet, and nobody uses it.
    Making,
    /// In use.
    Live,
    /// It was never made after all.
    Failed,
    /// Somebody is about to log that it is dropped; nobody uses it any more.
    Leaving,
    /// Dropped.
    Dropped,
    /// Dropped, and its memory is given back.
    Gone,
}

/// The numbers that rows are given are below this; greater keys are for who names them, and count for nothing (C5).
pub const NUMBERS_END: u64 = 1 << 62;

/// States, as stored.
const LIVE: u32 = 0;
const MAKING: u32 = 2;
const FAILED: u32 = 3;
const LEAVING: u32 = 4;
const DROPPED: u32 = 5;
const GONE: u32 = 6;
/// One who is about to log the definition of a table that is MAKING.
const MAKER: u32 = 1 << 8;
const STATE_MASK: u32 = MAKER - 1;

/// The shared root of a table.
#[repr(C)]
pub struct TableRoot {
    next: AtomicU64,
    /// Number of the table in log records; 1 and up.
    pub id: AtomicU32,
    state: AtomicU32,
    /// Offset of the newest definition; see `Definition`.
    pub definition: AtomicU64,
    /// Offset of the one that somebody is about to log and to put in its place; 0 while nobody is.
    pub next_definition: AtomicU64,
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
    /// Where the table numbers its rows: the next number to be given, above every key that a row has, or has had since the mapping was made (C5).
    next_key: AtomicU64,
    drop: DropWords,
    /// What the slabs of its rows are tagged with (C6), as those of the first table that had them (T8 of `txn::drop`).
    tag: AtomicU32,
    /// How many columns the newest definition has.
    columns: AtomicU32,
    _reserved: [u64; 1],
}

const _: () = assert!(size_of::<TableRoot>() == 128 && offset_of!(TableRoot, indexed) == 48);

// SAFETY: repr(C), atomics and padding only; written before it is linked.
unsafe impl Shared for TableRoot {}

impl TableRoot {
    /// Is the table in use?
    pub fn state(&self) -> TableState {
        match self.state.load(Ordering::Acquire) & STATE_MASK {
            LIVE => TableState::Live,
            MAKING => TableState::Making,
            FAILED => TableState::Failed,
            LEAVING => TableState::Leaving,
            DROPPED => TableState::Dropped,
            _ => TableState::Gone,
        }
    }

    /// Is it LIVE?
    #[inline]
    pub fn is_live(&self) -> bool {
        // Acquire: who finds it dropped finds what came before. On a line with what every operation on the table loads.
        self.state.load(Ordering::Acquire) == LIVE
    }

    /// The tag of the slabs of its rows.
    #[inline]
    pub fn tag(&self) -> u32 {
        // Relaxed: written before the table is linked.
        self.tag.load(Ordering::Relaxed)
    }

    /// Gives a table that nobody else knows the tag of its slabs.
    pub fn set_tag(&self, tag: u32) {
        self.tag.store(tag, Ordering::Relaxed);
    }

    /// How many columns the table has; a definition with so many can be read.
    #[inline]
    pub fn columns(&self) -> u32 {
        // Acquire: pairs with `set_columns`.
        self.columns.load(Ordering::Acquire)
    }

    /// Says how many columns the newest definition has; by whose turn it is.
    pub fn set_columns(&self, columns: usize) {
        self.columns.store(u32::try_from(columns).unwrap_or(0), Ordering::Release);
    }

    pub(super) fn drop_words(&self) -> &DropWords {
        &self.drop
    }

    /// Nobody uses it from here on (T2); by whose turn it is.
    pub fn set_leaving(&self) {
        self.state.store(LEAVING, Ordering::SeqCst);
    }

    /// It stays after all; likewise.
    pub fn set_staying(&self) {
        self.state.store(LIVE, Ordering::SeqCst);
    }

    pub(super) fn set_dropped(&self) {
        self.state.store(DROPPED, Ordering::SeqCst);
    }

    /// Its memory is given back; likewise.
    pub fn set_gone(&self) {
        self.state.store(GONE, Ordering::SeqCst);
    }

    /// Makes a table that nobody else knows one that is MAKING.
    pub fn set_making(&self) {
        self.state.store(MAKING, Ordering::Relaxed);
    }

    /// Moves the state on, from MAKING, to what `next` says of it; false when it is not MAKING.
    fn move_on(&self, next: impl Fn(u32) -> u32) -> bool {
        let mut word = self.state.load(Ordering::Acquire);
        while word & STATE_MASK == MAKING {
            match self.state.compare_exchange(word, next(word), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Somebody is about to log its definition; false when it is not MAKING any more.
    pub fn begin_making(&self) -> bool {
        self.move_on(|word| word + MAKER)
    }

    /// One who was about to log its definition could not.
    pub fn give_up_making(&self) {
        self.move_on(|word| if word - MAKER == MAKING { FAILED } else { word - MAKER });
    }

    /// From MAKING to LIVE: its definition is in the log.
    pub fn set_live(&self) {
        self.move_on(|_| LIVE);
    }

    /// From FAILED to MAKING; true for the one who did.
    pub fn make_again(&self) -> bool {
        self.state.compare_exchange(FAILED, MAKING, Ordering::AcqRel, Ordering::Relaxed).is_ok()
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

    /// A number that no row has as its key, nor gets from anybody else; `None` when there are no more (C5).
    pub fn take_key(&self) -> Option<i64> {
        // Relaxed: rows are found by their keys, and nothing else is learned from the number. Past the last number the word goes on, and
        // has more steps left than there were numbers.
        let number = self.next_key.fetch_add(1, Ordering::Relaxed);
        i64::try_from(number).ok().filter(|_| number < NUMBERS_END)
    }

    /// A row is about to be linked under this key (C5).
    pub fn note_key(&self, key: i64) {
        if let Ok(key) = u64::try_from(key)
            && key < NUMBERS_END
            && self.next_key.load(Ordering::Relaxed) <= key
        {
            self.next_key.fetch_max(key + 1, Ordering::Relaxed);
        }
    }

    /// Goes on with `number` once the numbers are used up (C5).
    pub fn restart_keys(&self, number: u64) {
        // Relaxed: as in `take_key`. Whoever takes a number that a row has learns that.
        let mut next = self.next_key.load(Ordering::Relaxed);
        while next >= NUMBERS_END
            && let Err(now) =
                self.next_key.compare_exchange(next, number, Ordering::Relaxed, Ordering::Relaxed)
        {
            next = now;
        }
    }

    /// Offsets of the blocks that a table is made with: its definition, its first key hash table, and its secondary indexes.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn parts(&self, guard: &Guard<'_>) -> Result<Vec<u64>, ShmError> {
        let mut parts = vec![self.definition.load(Ordering::Acquire), self.primary.load(Ordering::Acquire)];
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
    pub fn init(&self, id: u32, definition: u64, columns: usize, primary: u64) {
        self.id.store(id, Ordering::Relaxed);
        self.definition.store(definition, Ordering::Relaxed);
        self.set_columns(columns);
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
    /// How many tables somebody has begun to drop (T2).
    drops: AtomicU64,
    _reserved: [u64; 5],
}

const _: () = assert!(size_of::<Catalog>() == 64);

// SAFETY: repr(C), atomics and padding only; all-zero is an empty catalog.
unsafe impl Shared for Catalog {}

impl Catalog {
    /// How many tables somebody has begun to drop.
    #[inline]
    pub fn drops(&self) -> u64 {
        // SeqCst: T2.
        self.drops.load(Ordering::SeqCst)
    }

    /// A table is LEAVING.
    pub fn note_drop(&self) {
        self.drops.fetch_add(1, Ordering::SeqCst);
    }

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

    /// The table whose rows lie in slabs of that tag, as offset and root.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn find<'g>(&self, guard: &Guard<'g>, tag: u32) -> Result<Option<(u64, &'g TableRoot)>, ShmError> {
        let mut offset = self.head.load(Ordering::Acquire);
        while offset != 0 {
            let root: &TableRoot = guard.resolve(offset)?;
            if root.tag() == tag && root.state() != TableState::Gone {
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
