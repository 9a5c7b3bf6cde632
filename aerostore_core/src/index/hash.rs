//! The primary key's index: a lock-free, growing hash from key to row.
//!
//! Shape       open addressing with linear probing; a slot is one word that decides: 16 bits of the hash, the row's offset,
//!             flags; and a hint, the row's newest version, which a search fetches while it waits for the row. The slots lie in
//!             segments, made when first touched, so no large array is ever needed at once.
//! Growth      a full table gets a `next`, sized by what is live. Every insert moves a few slots: it freezes the slot, copies
//!             the entry, marks it moved. A search that finds nothing in a table goes on to its `next`.
//! Removal     marks the slot DELETED, for good in its table; one that is frozen is moved first and marked in `next`.
//! Invariants  H1: a slot never becomes EMPTY again, so all inserts of one key meet at the same first EMPTY slot of its
//!             probe path and one CAS decides. H2: an insert goes to `next` only after the EMPTY slot that ends its path is
//!             frozen, so nobody can add the key behind its back. H3: an entry is in `next` before its slot says MOVED.
//!             H4: a DELETED slot keeps its row, and a mover that meets its row in one on its way takes it as put there: it
//!             has read the frozen entry late, when others had moved and removed it. That is no earlier life of the row's
//!             memory: the table was linked after this life's insert had found none, and none ends while a mover runs that
//!             has seen its entry. Every reachable state is valid, whoever dies where; every step can be done again by anyone.
//! Ordering    slots are written by `AcqRel` CAS and read with Acquire: whoever sees an entry sees its row. An entry is loaded
//!             like a pointer (I2): its row may be removed and used again as soon as no operation that saw it runs.
//! Source      freezing slots during growth follows Cliff Click's non-blocking hash table (2007).

mod remove;
mod table;

use crate::epoch::Guard;
use crate::index::Blocks;
use crate::shm::{BlockKind, BlockRef, ShmError};
use crate::sync::{AtomicU64, Ordering};
pub use table::HashTable;
use table::{DELETED, EMPTY, FROZEN, FROZEN_EMPTY, Load, MOVED, entry_word, row_ever_of, row_of};
pub(in crate::index) use table::{Probe, Slot};

/// Slots of the first table.
const INITIAL_LOG2: u32 = 10;
/// Bytes that a processor fetches at once.
const LINE_BYTES: u64 = 64;
/// Slots that one insert moves while a table grows.
const MOVE_BATCH: u64 = 128;
/// How many slots ahead of the one that is moved rows are fetched, for the hashes in them.
const ROWS_AHEAD: u64 = 16;

/// What an insert adds.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Offset of the row.
    pub row: u64,
    /// Offset of its newest version: the first hint.
    pub version: u64,
}

/// What a search found.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Offset of the row.
    pub row: u64,
    /// Offset of its slot.
    slot: u64,
}

impl Found {
    /// Says where the newest version of the row is now, for the next search to fetch ahead. The guard is of the operation in
    /// which it was found. Lost when the table is growing.
    ///
    /// # Errors
    /// When the mapping is damaged.
    #[inline]
    pub fn hint(&self, guard: &Guard<'_>, version: u64) -> Result<(), ShmError> {
        // Relaxed: nothing depends on it.
        guard.resolve::<Slot>(self.slot)?.hint.store(version, Ordering::Relaxed);
        Ok(())
    }
}

/// What an insert found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The entry is new.
    New,
    /// There is a row of that key already, at this offset.
    Existing(u64),
}

/// Whether an entry is a new one, counted at once or by the caller, or comes from the table before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Adding {
    New,
    OfMany,
    Moved,
}

/// A key hash, seen through the word that names its current table.
#[derive(Clone, Copy)]
pub struct HashIndex<'a> {
    root: &'a AtomicU64,
    root_offset: u64,
}

impl<'a> HashIndex<'a> {
    /// The index whose current table stands at `root`, itself at `root_offset`.
    #[inline]
    pub fn new(root: &'a AtomicU64, root_offset: u64) -> Self {
        Self { root, root_offset }
    }

    /// Makes the first table of an index; its offset goes into the root word.
    ///
    /// # Errors
    /// `OutOfSpace`.
    pub fn create(guard: &Guard<'_>, blocks: &mut dyn Blocks) -> Result<BlockRef, ShmError> {
        let block = blocks.alloc_zeroed(HashTable::bytes(INITIAL_LOG2), BlockKind::HASH_TABLE)?;
        guard.resolve::<HashTable>(block.offset)?.init(INITIAL_LOG2);
        Ok(block)
    }

    /// Fetches ahead what a search for `hash` looks at first.
    ///
    /// # Errors
    /// When the mapping is damaged.
    #[inline]
    pub fn prefetch(&self, guard: &Guard<'_>, hash: u64) -> Result<(), ShmError> {
        let offset = guard.protect(self.root);
        let table: &HashTable = guard.resolve(offset)?;
        if let Some(slot) = Probe::new(table, hash).slot_offset(guard, offset)? {
            guard.arena().prefetch(slot);
        }
        Ok(())
    }

    /// Fetches ahead what a search for `hash` looks at next, once the slot is there: the row, and its newest version.
    ///
    /// # Errors
    /// When the mapping is damaged.
    #[inline]
    pub fn prefetch_row(&self, guard: &Guard<'_>, hash: u64) -> Result<(), ShmError> {
        let offset = guard.protect(self.root);
        let probe = Probe::new(guard.resolve(offset)?, hash);
        if let Some(slot) = probe.slot(guard, offset)? {
            // Relaxed: whatever it says, nothing is done but to fetch what is there.
            let (word, version) = (slot.word.load(Ordering::Relaxed), slot.hint.load(Ordering::Relaxed));
            if probe.tag_matches(word) {
                guard.arena().prefetch(row_of(word));
                guard.arena().prefetch(version);
                guard.arena().prefetch(version.wrapping_add(LINE_BYTES));
            }
        }
        Ok(())
    }

    /// The row whose hash is `hash` and for which `matches` says yes.
    ///
    /// # Errors
    /// When the mapping is damaged, or what `matches` says.
    #[inline]
    pub fn find<E: From<ShmError>>(
        &self,
        guard: &Guard<'_>,
        hash: u64,
        mut matches: impl FnMut(u64) -> Result<bool, E>,
    ) -> Result<Option<Found>, E> {
        let mut offset = guard.protect(self.root);
        while offset != 0 {
            let table: &HashTable = guard.resolve(offset)?;
            let mut probe = Probe::new(table, hash);
            while let Some(slot_offset) = probe.slot_offset(guard, offset)? {
                let slot: &Slot = guard.resolve(slot_offset)?;
                let word = guard.protect(&slot.word);
                if word == EMPTY || word == FROZEN_EMPTY {
                    break;
                }
                if probe.tag_matches(word) {
                    // Relaxed: a stale hint costs a fetch. A version's key seldom lies in the line of its header.
                    let version = slot.hint.load(Ordering::Relaxed);
                    guard.arena().prefetch(version);
                    guard.arena().prefetch(version.wrapping_add(LINE_BYTES));
                    if matches(row_of(word))? {
                        return Ok(Some(Found { row: row_of(word), slot: slot_offset }));
                    }
                }
                if !probe.advance() {
                    break;
                }
            }
            offset = guard.protect(table.next());
        }
        Ok(None)
    }

    /// Adds `entry` unless a row for which `matches` says yes is there. `hash_of` tells the hash of any row, for moving it.
    ///
    /// # Errors
    /// `OutOfSpace`, when the mapping is damaged, or what `matches` says.
    pub fn insert<E: From<ShmError>>(
        &self,
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        hash: u64,
        entry: Entry,
        mut matches: impl FnMut(u64) -> Result<bool, E>,
        hash_of: &dyn Fn(u64) -> Result<u64, ShmError>,
    ) -> Result<Inserted, E> {
        self.help_growth(guard, blocks, hash_of)?;
        let first = guard.protect(self.root);
        Self::insert_from(guard, blocks, first, hash, entry, Adding::New, &mut matches)
    }

    /// Adds some entries, beside their hashes, as [`insert`](Self::insert) adds one, and counts them together: they are few beside the free slots
    /// of a table. `matches` is told which entry it is about. Ends with the place of the first for which it says yes.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn insert_all<E: From<ShmError>>(
        &self,
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        entries: &[(u64, Entry)],
        mut matches: impl FnMut(usize, u64) -> Result<bool, E>,
        hash_of: &dyn Fn(u64) -> Result<u64, ShmError>,
    ) -> Result<Option<usize>, E> {
        for (place, (hash, entry)) in entries.iter().enumerate() {
            self.help_growth(guard, blocks, hash_of)?;
            let first = guard.protect(self.root);
            let same: &mut dyn FnMut(u64) -> Result<bool, E> = &mut |row| matches(place, row);
            let inserted = Self::insert_from(guard, blocks, first, *hash, *entry, Adding::OfMany, same)?;
            if inserted != Inserted::New {
                return Ok(Some(place));
            }
        }
        let mut offset = guard.protect(self.root);
        let mut table: &HashTable = guard.resolve(offset)?;
        while guard.protect(table.next()) != 0 {
            offset = guard.protect(table.next());
            table = guard.resolve(offset)?;
        }
        Self::grow_if_full(guard, blocks, offset, table, table.count_inserts(entries.len() as u64));
        Ok(None)
    }

    fn insert_from<E: From<ShmError>>(
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        mut offset: u64,
        hash: u64,
        entry: Entry,
        adding: Adding,
        matches: &mut dyn FnMut(u64) -> Result<bool, E>,
    ) -> Result<Inserted, E> {
        loop {
            let table: &HashTable = guard.resolve(offset)?;
            let mut probe = Probe::new(table, hash);
            loop {
                let slot = probe.slot_or_make(guard, offset, blocks)?;
                let word = guard.protect(&slot.word);
                if word == EMPTY {
                    // H2: once there is a next table, this one takes no more entries.
                    let growing = table.next().load(Ordering::Acquire) != 0;
                    let to = if growing { FROZEN_EMPTY } else { entry_word(hash, entry.row) };
                    if slot.word.compare_exchange(EMPTY, to, Ordering::AcqRel, Ordering::Acquire).is_err() {
                        continue;
                    }
                    if growing {
                        break;
                    }
                    slot.hint.store(entry.version, Ordering::Relaxed);
                    if adding != Adding::OfMany {
                        Self::grow_if_full(guard, blocks, offset, table, table.count_inserts(1));
                    }
                    return Ok(Inserted::New);
                }
                if word == FROZEN_EMPTY {
                    break;
                }
                if probe.tag_matches(word) && matches(row_of(word))? {
                    return Ok(Inserted::Existing(row_of(word)));
                }
                if word & DELETED != 0 && adding == Adding::Moved && row_ever_of(word) == entry.row {
                    return Ok(Inserted::Existing(entry.row)); // H4
                }
                if !probe.advance() {
                    break;
                }
            }
            if table.next().load(Ordering::Acquire) == 0 {
                Self::grow(guard, blocks, offset, table)?;
            }
            offset = guard.protect(table.next());
        }
    }

    /// Makes room for so many entries at once, in an index that has none yet.
    ///
    /// # Errors
    /// `OutOfSpace`, or when the mapping is damaged.
    pub fn reserve(&self, guard: &Guard<'_>, blocks: &mut dyn Blocks, entries: u64) -> Result<(), ShmError> {
        let log2 = HashTable::log2_for(entries);
        let first = guard.protect(self.root);
        let table: &HashTable = guard.resolve(first)?;
        if table.log2() >= log2 {
            return Ok(());
        }
        Self::grow_to(guard, blocks, first, table, log2)?;
        let no_entry = |offset| Err(ShmError::BadOffset { offset, bytes: 0 });
        while guard.protect(self.root) == first {
            self.help_growth(guard, blocks, &no_entry)?;
        }
        Ok(())
    }

    /// After an insert: the entry is in, whatever happens to the growth. The next insert asks again.
    #[inline]
    fn grow_if_full(guard: &Guard<'_>, blocks: &mut dyn Blocks, offset: u64, table: &HashTable, load: Load) {
        // A successor takes all that comes, also while it lacks segments: one that is begun without room for them refuses rows
        // for which there is room.
        let has_room =
            |blocks: &mut dyn Blocks| blocks.has_room(HashTable::bytes_in_all(table.next_log2(INITIAL_LOG2)));
        if load == Load::Overfull || load == Load::Full && has_room(blocks) {
            let _ = Self::grow(guard, blocks, offset, table);
        }
    }

    fn grow(
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        offset: u64,
        table: &HashTable,
    ) -> Result<(), ShmError> {
        Self::grow_to(guard, blocks, offset, table, table.next_log2(INITIAL_LOG2))
    }

    /// Links a table of `1 << log2` slots behind another, unless there is one.
    fn grow_to(
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        offset: u64,
        table: &HashTable,
        log2: u32,
    ) -> Result<(), ShmError> {
        if table.next().load(Ordering::Acquire) != 0 {
            return Ok(());
        }
        let block = blocks.alloc_zeroed(HashTable::bytes(log2), BlockKind::HASH_TABLE)?;
        guard.resolve::<HashTable>(block.offset)?.init(log2);
        blocks.link(table.next(), HashTable::next_offset(offset), block)?;
        Ok(())
    }

    /// Moves some slots of a table that has a successor; the last mover makes the successor the current table.
    fn help_growth(
        &self,
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        hash_of: &dyn Fn(u64) -> Result<u64, ShmError>,
    ) -> Result<(), ShmError> {
        let offset = guard.protect(self.root);
        let table: &HashTable = guard.resolve(offset)?;
        let next = guard.protect(table.next());
        if next == 0 {
            return Ok(());
        }
        let from = table.moved();
        let to = (from + MOVE_BATCH).min(table.slots());
        for index in from..to {
            let ahead = index + ROWS_AHEAD;
            if ahead < table.slots()
                && let Some(slot) = Probe::at(table, ahead).slot(guard, offset)?
            {
                // Relaxed: whatever it says, nothing is done but to fetch what is there.
                guard.arena().prefetch(row_of(slot.word.load(Ordering::Relaxed)));
            }
            let mut probe = Probe::at(table, index);
            let slot = probe.slot_or_make(guard, offset, blocks)?;
            Self::move_slot(guard, blocks, slot, next, hash_of)?;
        }
        table.advance_moved(from, to);
        if to == table.slots() {
            let segments = table.segments(guard, offset)?;
            blocks.replace(self.root, self.root_offset, offset, next, &mut segments.into_iter())?;
        }
        Ok(())
    }

    fn move_slot(
        guard: &Guard<'_>,
        blocks: &mut dyn Blocks,
        slot: &Slot,
        next: u64,
        hash_of: &dyn Fn(u64) -> Result<u64, ShmError>,
    ) -> Result<(), ShmError> {
        loop {
            let word = guard.protect(&slot.word);
            let to = match word {
                EMPTY => FROZEN_EMPTY,
                FROZEN_EMPTY | MOVED => return Ok(()),
                _ if word & DELETED != 0 => return Ok(()),
                _ if word & FROZEN == 0 => word | FROZEN,
                _ => {
                    // H3; done before: the same row is found and nothing changes.
                    let row = row_of(word);
                    let mut same = |other: u64| Ok::<bool, ShmError>(other == row);
                    let version = slot.hint.load(Ordering::Relaxed);
                    let entry = Entry { row, version };
                    Self::insert_from(guard, blocks, next, hash_of(row)?, entry, Adding::Moved, &mut same)?;
                    MOVED
                }
            };
            let done = slot.word.compare_exchange(word, to, Ordering::AcqRel, Ordering::Acquire).is_ok();
            if done && (to == FROZEN_EMPTY || to == MOVED) {
                return Ok(());
            }
        }
    }

    /// Gives its memory back, while nobody is at the index: it is none after that. A death leaves the rest to whoever does it again.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn dismantle(&self, guard: &Guard<'_>, blocks: &mut dyn Blocks) -> Result<(), ShmError> {
        HashTable::dismantle(guard, blocks, self.root, self.root_offset)
    }

    /// Offsets of every block of the index: tables and segments; for `mark_sweep`.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn for_each_block(&self, guard: &Guard<'_>, f: impl FnMut(u64)) -> Result<(), ShmError> {
        HashTable::for_each_block(guard, self.root, f)
    }

    /// Calls `f` with the row of every entry, and whether it is about to be moved: such a row may be in the next table
    /// already, and comes twice then. For checks.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn for_each_entry(&self, guard: &Guard<'_>, mut f: impl FnMut(u64, bool)) -> Result<(), ShmError> {
        let mut offset = guard.protect(self.root);
        while offset != 0 {
            let table: &HashTable = guard.resolve(offset)?;
            for index in 0..table.slots() {
                if let Some(slot) = Probe::at(table, index).slot(guard, offset)? {
                    let word = slot.word.load(Ordering::Acquire);
                    if row_of(word) != 0 {
                        f(row_of(word), word & FROZEN != 0);
                    }
                }
            }
            offset = guard.protect(table.next());
        }
        Ok(())
    }
}
