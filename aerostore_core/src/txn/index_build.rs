//! Building an index: what rows have that were there before; while others write, or while nobody else has the database open.
//!
//! Rules       O4 of `mvcc::index_root`, K4 and "Builders" of `secondary`. Nobody takes out a version while the builder is alone, so there is nothing to
//!             look at again.
//! Cost        While others write: one operation for each batch, so garbage is held back no longer than that, a tenth of a second, and a batch takes tens of MiB of
//!             private memory at most, but for long keys in one slab of rows; each of several indexes that are made at once has its own. A batch is added at once, each
//!             block that covers some of its entries being replaced once, so a few large ones cost less than many small ones; the looks at the rows afterwards go in the
//!             order in which the rows lie, and end at the head of a row that has not changed since.

#![forbid(unsafe_code)]

use crate::epoch::{Guard, LiveBatch};
use crate::index::{EntryBatch, key};
use crate::mvcc::{BeginWord, IndexRef, IndexRoot, NEVER, RecordState, RowHeader};
use crate::mvcc::{TableRoot, TxnRecord, VersionRef};
use crate::row::{ColumnPlace, IndexSpec};
use crate::shm::{Reserve, SlabRef, tagged_slabs};
use crate::sync::{Ordering, fence};
use crate::txn::link::Linker;
use crate::txn::secondary::{RowKeys, stored_value, tree};
use crate::txn::{Session, TxnError};

/// Entries that end a batch, which is added in one operation, after the slab of rows that they lie in. They take 48 bytes each in private memory, and what is
/// behind the first bytes of long keys: 12 MiB without, and as much again while the vectors grow. Where many more entries are there already, each
/// block gets few of a batch.
const BATCH: usize = if cfg!(test) { 1 << 8 } else { 1 << 18 };
/// Bytes of entries with long keys that end a batch before that.
const BATCH_BYTES: usize = if cfg!(test) { 1 << 16 } else { 16 << 20 };

/// The rest of the work on an index that is BUILDING.
pub(crate) struct IndexBuild {
    table: u64,
    index: u64,
    /// What is seen at this timestamp, or later, is added.
    since: u64,
    slabs: Vec<SlabRef>,
    /// Empty: memory for the next batch.
    memory: Memory,
}

/// What a batch is gathered in.
#[derive(Default)]
struct Memory {
    entries: EntryBatch,
    /// Rows, and versions of them that the entries are for.
    versions: Vec<(u64, u64)>,
    /// A key.
    bytes: Vec<u8>,
}

/// How an index is built while nobody else has the database open.
#[derive(Clone, Copy)]
pub struct Alone<'a> {
    /// Private memory that entries may take at once, and those of one slab more: the index is built from the bottom up if all fit.
    pub bytes_max: usize,
    /// Told now and then how many entries were added since.
    pub added: &'a dyn Fn(usize),
}

impl IndexBuild {
    /// Begins to build the index whose root lies at `index`, BUILDING and this session's turn, of the table at `table`.
    pub(super) fn begin(session: &Session, table: u64, index: u64) -> Result<Self, TxnError> {
        // O4: the state came before.
        fence(Ordering::SeqCst);
        let guard = session.participant.pin();
        let since = session.store.clock().now();
        guard.resolve::<IndexRoot>(index)?.valid_from.store(since, Ordering::Release);
        let slabs = tagged_slabs(session.arena(), &guard.resolve::<TableRoot>(table)?.rows)?;
        Ok(Self { table, index, since, slabs, memory: Memory::default() })
    }

    /// Does all of it; true when the index is to be unique. `alone` says that nobody else has the database open.
    pub(super) fn run(mut self, session: &mut Session, alone: Option<Alone<'_>>) -> Result<bool, TxnError> {
        match alone {
            Some(alone) => self.go_alone(session, alone)?,
            None => while !self.go_on(session)? {},
        }
        let guard = session.participant.pin();
        Ok(guard.resolve::<IndexRoot>(self.index)?.spec().is_unique)
    }

    fn go_alone(&mut self, session: &mut Session, alone: Alone<'_>) -> Result<(), TxnError> {
        let Session { participant, heap, limbo, .. } = session;
        let mut memory = std::mem::take(&mut self.memory);
        while !self.slabs.is_empty() {
            memory.clear();
            while memory.entries.bytes() < alone.bytes_max
                && let Some(slab) = self.slabs.pop()
            {
                let guard = participant.pin();
                let root: &IndexRoot = guard.resolve(self.index)?;
                let table = guard.resolve(self.table)?;
                let Some(mut batch) = Batch::new(&guard, table, root, self.since, &mut memory) else {
                    return Ok(());
                };
                batch.take_slab(slab)?;
                // Nobody takes out what is not looked at again.
                memory.versions.clear();
            }
            let entries = &mut memory.entries;
            entries.sort();
            let mut next = 0;
            while next < entries.len() {
                {
                    let guard = participant.pin();
                    let index = IndexRef { offset: self.index, root: guard.resolve(self.index)? };
                    let mut linker = Linker { participant, heap, limbo, reserve: Reserve::No };
                    let from = next;
                    let range = from..(from + BATCH).min(entries.len());
                    next = tree(index).insert_sorted(&guard, &mut linker, entries, range)?;
                    (alone.added)(next - from);
                }
                limbo.collect(participant, heap)?;
            }
        }
        Ok(())
    }

    /// Goes on with a batch; true when it was the last.
    fn go_on(&mut self, session: &mut Session) -> Result<bool, TxnError> {
        let Session { participant, heap, limbo, .. } = session;
        {
            let guard = participant.pin();
            let root: &IndexRoot = guard.resolve(self.index)?;
            let index = IndexRef { offset: self.index, root };
            let table = guard.resolve(self.table)?;
            self.memory.clear();
            let Some(mut batch) = Batch::new(&guard, table, root, self.since, &mut self.memory) else {
                return Ok(true);
            };
            while !batch.memory.is_full()
                && let Some(slab) = self.slabs.pop()
            {
                batch.take_slab(slab)?;
            }
            let mut linker = Linker { participant, heap, limbo, reserve: Reserve::No };
            batch.add(&mut linker, index)?;
        }
        limbo.collect(participant, heap)?;
        Ok(self.slabs.is_empty())
    }
}

/// Entries of some rows.
struct Batch<'a, 'g> {
    guard: &'a Guard<'g>,
    table: &'g TableRoot,
    place: ColumnPlace,
    spec: IndexSpec,
    since: u64,
    memory: &'a mut Memory,
}

impl Memory {
    /// Is it a batch?
    fn is_full(&self) -> bool {
        self.entries.len() >= BATCH || self.entries.bytes() >= BATCH_BYTES
    }

    /// Forgets what is in it, but not the memory.
    fn clear(&mut self) {
        self.entries.clear();
        self.versions.clear();
    }
}

impl<'a, 'g> Batch<'a, 'g> {
    /// For the index with that root, behind the entries in that memory; none when it is of no column.
    fn new(
        guard: &'a Guard<'g>,
        table: &'g TableRoot,
        root: &IndexRoot,
        since: u64,
        memory: &'a mut Memory,
    ) -> Option<Self> {
        Some(Self { guard, table, place: root.place()?, spec: root.spec(), since, memory })
    }

    /// What the rows of a slab have: of some of them at once the newest versions are asked for, which lie anywhere.
    fn take_slab(&mut self, slab: SlabRef) -> Result<(), TxnError> {
        let mut blocks = self.guard.live_blocks(slab)?;
        let mut rows = LiveBatch::NONE;
        loop {
            blocks.next_batch(&mut rows);
            if rows.is_empty() {
                return Ok(());
            }
            let bytes = self.place.end_bytes();
            rows.words().iter().for_each(|head| VersionRef::prefetch_payload(self.guard, *head, bytes));
            rows.offsets().iter().try_for_each(|row| self.take_row(*row))?;
        }
    }

    /// What the row's versions have that are seen at `since` or later.
    fn take_row(&mut self, row: u64) -> Result<(), TxnError> {
        let header: &RowHeader = self.guard.resolve(row)?;
        let mut at = self.guard.protect(&header.head);
        while at != 0 {
            let version = VersionRef::resolve(self.guard, at)?;
            let next = version.next_word(self.guard);
            let (has_failed, committed) = match version.begin(self.guard) {
                BeginWord::Stamped(NEVER) => (true, None),
                BeginWord::Stamped(begin) => (false, Some(begin)),
                BeginWord::Intent(record) => match self.guard.resolve::<TxnRecord>(record)?.state() {
                    RecordState::Aborted => (true, None),
                    RecordState::Committed(begin) => (false, Some(begin)),
                    _ => (false, None),
                },
            };
            if !has_failed && !next.is_marked() && !version.is_tombstone() {
                let Memory { entries, versions, bytes } = &mut *self.memory;
                bytes.clear();
                let value = stored_value(self.guard, self.table, self.place, version.image())?;
                key::entry_key(self.spec, value, bytes);
                entries.push(bytes, row);
                versions.push((row, at));
            }
            if committed.is_some_and(|begin| begin <= self.since) {
                break;
            }
            at = next.older();
        }
        Ok(())
    }

    /// Adds them, and looks at each again (K4).
    fn add(&mut self, linker: &mut Linker<'_>, index: IndexRef<'g>) -> Result<(), TxnError> {
        let Self { guard, table, place, spec, memory, .. } = self;
        let Memory { entries, versions, bytes } = &mut **memory;
        tree(index).insert_all(guard, linker, entries)?;
        fence(Ordering::SeqCst);
        for (row, version) in versions {
            let header: &RowHeader = guard.resolve(*row)?;
            let seen = VersionRef::resolve(guard, *version)?;
            // As most are, and then it counts, whatever the column has.
            // In this order: a writer marks its first intent before it pushes that out, so whoever finds it stamped finds it marked.
            let is_head = guard.protect(&header.head) == *version;
            if is_head && seen.is_stamped() && !seen.next_word(guard).is_marked() {
                continue;
            }
            let keys = RowKeys { guard, table, row: *row };
            let value = stored_value(guard, table, *place, seen.image())?;
            if !keys.is_held(*place, *spec, value)? {
                keys.remove_unless_held(linker, index, *place, value, bytes)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_of_long_keys_ends_by_its_bytes_and_one_of_short_keys_by_its_entries() {
        let entries_of = |key: &[u8]| {
            let mut memory = Memory::default();
            while !memory.is_full() {
                memory.entries.push(key, 64);
            }
            (memory.entries.len(), memory.entries.bytes())
        };
        let (long, bytes) = entries_of(&[7; 1024]);
        assert!(long < BATCH && bytes < BATCH_BYTES + 2048, "{long} entries of {bytes} bytes");
        let (short, bytes) = entries_of(&[7; 4]);
        assert!(short == BATCH && bytes < BATCH_BYTES, "{short} entries of {bytes} bytes");
    }
}
