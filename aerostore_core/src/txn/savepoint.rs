//! Savepoints: marks in a transaction's list of intents and in its redo, back to which it can be undone.
//!
//! Rules   S1: a write after a mark has an intent entry of its own; the row's chain then holds an own version above an own
//!         version, newest first, in the order of their entries. S2: undoing goes through the entries from the last to the
//!         mark, so that the version it takes back is always the head of its row; so does the reaper. S3: a chain holds no
//!         two versions of one transaction by the time its record leaves ACTIVE: the older ones have been cut out, and their
//!         entries name no version. S4: versions are cut out under a guard under which the record was seen ACTIVE: once it is
//!         aborted by others, they may push its versions out and free them, and a store would go to memory that is used again.
//!         What is read stays in the read set: the transaction has seen it, whatever it undoes.
//! Why S3  stamping both would leave two versions with one timestamp; cutting out before the decision needs no care of
//!         readers: to them both are an undecided transaction's, and a reader who stands on the one cut out goes on to the
//!         version below, which is the same as before. The pointer that is changed, `next` of an own undecided version, is
//!         nobody else's to change: pruning cuts and marks only what is committed.

#![forbid(unsafe_code)]

use crate::epoch::Guard;
use crate::mvcc::{NEVER, RecordState, RowHeader, TxnRecord, VersionRef, newest_committed};
use crate::shm::{BlockRef, Reserve, ShmError};
use crate::sync::{AtomicU64, Ordering};
use crate::txn::intents::Intent;
use crate::txn::link::Linker;
use crate::txn::read_set::{MissingRead, ReadSet, RowRead};
use crate::txn::secondary::RowKeys;
use crate::txn::session::Buffers;
use crate::txn::settle::{release, take_back};
use crate::txn::transaction::running;
use crate::txn::{Session, Store, TableRef, Transaction, TxnError};
use std::collections::HashMap;

/// A place in a transaction to which it can be rolled back; see [`Transaction::savepoint`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a savepoint that nobody keeps cannot be rolled back to"]
pub struct Savepoint(u64);

/// What a savepoint remembers.
struct Mark {
    id: u64,
    /// Entries of the intent list before it.
    intents: usize,
    /// Bytes of redo before it.
    redo_bytes: usize,
    /// Sums of the row deltas before it.
    row_deltas: Vec<i64>,
}

/// The marks of a running transaction, oldest first.
#[derive(Default)]
pub(super) struct Marks {
    /// Savepoints that can be rolled back to.
    open: Vec<Mark>,
    /// Entries from here on are of writes after the newest mark; 0 without one.
    floor: usize,
    /// Of rows touched after a mark: the entries that own them or hold a version of them, oldest first.
    layers: HashMap<u64, Vec<usize>, foldhash::fast::FixedState>,
    /// The tables of those rows.
    tables: Vec<TableRef>,
}

impl Marks {
    /// First entry that the next write may use again (S1).
    #[inline]
    pub(super) fn floor(&self) -> usize {
        self.floor
    }

    pub(super) fn clear(&mut self) {
        if !self.open.is_empty() || !self.layers.is_empty() {
            self.truncate(0);
        }
    }

    fn truncate(&mut self, count: usize) {
        self.open.truncate(count);
        self.floor = self.open.last().map_or(0, |mark| mark.intents);
        if self.open.is_empty() {
            self.layers.clear();
            self.tables.clear();
        }
    }

    fn find(&self, savepoint: &Savepoint) -> Result<usize, TxnError> {
        self.open.iter().position(|mark| mark.id == savepoint.0).ok_or(TxnError::NoSavepoint)
    }

    /// Entry `index` is about `row` now, which entry `earlier` was about before.
    fn layer(&mut self, table: &TableRef, row: u64, earlier: Option<usize>, index: usize) {
        if !self.tables.iter().any(|known| known.root_offset() == table.root_offset()) {
            self.tables.push(table.clone());
        }
        let layers = self.layers.entry(row).or_default();
        if layers.is_empty() {
            layers.extend(earlier);
        }
        layers.push(index);
    }

    /// Entry `index` of `row` is undone. The entry that stands for the row from now on, if any; `Err` when `index` had no
    /// part in that.
    fn unlayer(&mut self, row: u64, index: usize) -> Result<Option<usize>, ()> {
        let layers = self.layers.get_mut(&row).filter(|layers| layers.last() == Some(&index)).ok_or(())?;
        layers.pop();
        Ok(layers.last().copied())
    }
}

impl Buffers {
    /// Entry `index` is about `row` from now on; `earlier` was before.
    #[inline]
    pub(super) fn own_row(&mut self, table: &TableRef, row: u64, earlier: Option<usize>, index: usize) {
        if earlier.is_some() {
            self.owned.replace(row, index);
        } else {
            self.owned.insert(row, index);
        }
        if !self.marks.open.is_empty() {
            self.marks.layer(table, row, earlier, index);
        }
    }

    /// Entry `index` is no longer about `row`, which turned out to be removed.
    pub(super) fn forget_row(&mut self, row: u64, index: usize) {
        match self.marks.unlayer(row, index) {
            Ok(Some(earlier)) => self.owned.replace(row, earlier),
            Ok(None) | Err(()) => self.owned.remove(row),
        }
    }
}

impl Transaction {
    /// Marks this place. Savepoints nest.
    ///
    /// # Errors
    /// `Ended`.
    pub fn savepoint(&mut self) -> Result<Savepoint, TxnError> {
        /// Numbers are never used twice in a process: a savepoint of another transaction is not mistaken for one of this.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        self.check_running()?;
        let Session { intents, redo, buffers, .. } = running(&mut self.session)?;
        let mark = Mark {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            intents: intents.len(),
            redo_bytes: redo.len(),
            row_deltas: buffers.row_deltas.iter().map(|(_, sum)| *sum).collect(),
        };
        let savepoint = Savepoint(mark.id);
        buffers.marks.floor = mark.intents;
        buffers.marks.open.push(mark);
        Ok(savepoint)
    }

    /// Undoes what was written since the savepoint, lets go of the rows that were locked since, and forgets the savepoints made
    /// since. The savepoint itself stays. What was read since still counts as read.
    ///
    /// # Errors
    /// `NoSavepoint` when it was released, rolled back over, or is of another transaction; `ForcedAbort`; `Ended`.
    pub fn rollback_to(&mut self, savepoint: &Savepoint) -> Result<(), TxnError> {
        self.check_running()?;
        let record = self.own_record();
        let remembers = self.remembers_reads();
        // What is let go of has been seen.
        self.has_read = true;
        // A1
        self.read_ts()?;
        let session = running(&mut self.session)?;
        let mark = session.buffers.marks.find(savepoint)?;
        if record == 0 {
            session.buffers.marks.truncate(mark + 1);
            return Ok(());
        }
        if session.record_state(record)? != RecordState::Active {
            return Err(TxnError::ForcedAbort);
        }
        let undone = session.undo_to(record, mark, remembers);
        if undone.is_err() {
            // Half undone: it must not be committed.
            let guard = session.participant.pin();
            guard.resolve::<TxnRecord>(record)?.abort();
        }
        // As after a rollback of the whole: a transaction may try something again and again.
        let _ = session.tidy();
        undone
    }

    /// Forgets the savepoint and those made since; what was written since is part of what surrounds it.
    ///
    /// # Errors
    /// `NoSavepoint` as for [`Transaction::rollback_to`]; `ForcedAbort`; `Ended`.
    pub fn release(&mut self, savepoint: Savepoint) -> Result<(), TxnError> {
        self.check_running()?;
        let session = running(&mut self.session)?;
        let mark = session.buffers.marks.find(&savepoint)?;
        drop(savepoint);
        session.merge_from(mark)
    }
}

/// What was seen of a row while it was owned has to be checked from now on, as anybody may change it.
fn remember(
    guard: &Guard<'_>,
    store: &Store,
    reads: &mut ReadSet,
    tables: &[TableRef],
    entry: &Intent,
    own: u64,
) -> Result<(), TxnError> {
    let row: &RowHeader = guard.resolve(entry.row())?;
    if row.owner.load(Ordering::Acquire) != own {
        // Never had, or lost with the transaction.
        return Ok(());
    }
    match newest_committed(guard, store.clock(), row, NEVER - 1, own, store.stall)? {
        Some((version, begin)) if !version.is_tombstone() => {
            reads.rows.push(RowRead { row: entry.row(), begin });
        }
        _ => {
            let Some(table) = tables.iter().find(|table| table.root_offset() == entry.table()) else {
                return Ok(());
            };
            // W3: any version knows the key.
            let head = guard.protect(&row.head);
            if head == 0 {
                // Removed: who found that has remembered the key.
                return Ok(());
            }
            let version = VersionRef::resolve(guard, head)?;
            let hash = row.hash.load(Ordering::Relaxed);
            reads.missing.push(MissingRead::new(table, table.key_of(version.image())?, hash));
        }
    }
    Ok(())
}

/// Before versions of one row that a transaction has `replaced` are cut out below its `newest`: removes the entries that only
/// they hold (K2).
fn remove_replaced(
    guard: &Guard<'_>,
    linker: &mut Linker<'_>,
    replaced: &[(usize, &Intent, BlockRef)],
    newest: &VersionRef<'_>,
) -> Result<(), TxnError> {
    let stays = (!newest.is_tombstone()).then(|| newest.image());
    let Some((_, entry, _)) = replaced.first() else { return Ok(()) };
    let keys = RowKeys::at(guard, entry.table(), entry.row())?;
    let mut versions = Vec::new();
    for (_, _, block) in replaced {
        let version = VersionRef::resolve(guard, block.offset)?;
        version.mark(guard);
        // V5
        newest.add_changes(version.changes());
        versions.push(version);
    }
    let lost = versions.iter().filter(|version| !version.is_tombstone());
    lost.into_iter().try_for_each(|version| keys.remove(linker, version.image(), stays))
}

impl Session {
    fn record_state(&self, record: u64) -> Result<RecordState, ShmError> {
        let guard = self.participant.pin();
        Ok(guard.resolve::<TxnRecord>(record)?.state())
    }

    /// Undoes the entries since the mark of that number, which stays.
    fn undo_to(&mut self, record: u64, number: usize, remembers: bool) -> Result<(), TxnError> {
        let mut let_go = Vec::new();
        let Self { store, participant, heap, limbo, intents, redo, buffers, superseding, .. } = self;
        let guard = participant.pin();
        let mut linker = Linker { participant, heap, limbo, reserve: Reserve::Yes };
        let first = buffers.marks.open[number].intents;
        for index in (first..intents.len()).rev() {
            // S2
            let entry = intents.entry(&guard, index)?;
            let row = entry.row();
            if row == 0 {
                continue;
            }
            take_back(&guard, &mut linker, record, entry)?;
            if let Some(version) = entry.version() {
                superseding.push_end(version, 0, entry.table()); // it may have stayed as key holder
            }
            match buffers.marks.unlayer(row, index) {
                Ok(Some(earlier)) => buffers.owned.replace(row, earlier),
                Ok(None) => {
                    buffers.owned.remove(row);
                    if remembers {
                        remember(&guard, store, &mut buffers.reads, &buffers.marks.tables, entry, record)?;
                    }
                    release(guard.resolve(row)?, record);
                    let_go.push(row);
                }
                Err(()) => {}
            }
        }
        intents.truncate(participant.slot(), first);
        let mark = &buffers.marks.open[number];
        redo.truncate(mark.redo_bytes);
        buffers.row_deltas.truncate(mark.row_deltas.len());
        for ((_, sum), before) in buffers.row_deltas.iter_mut().zip(&mark.row_deltas) {
            *sum = *before;
        }
        buffers.marks.truncate(number + 1);
        drop(guard);
        self.wake_next(record, &let_go)
    }

    /// Forgets the mark of that number and those after it, and makes one of what they had kept apart.
    fn merge_from(&mut self, number: usize) -> Result<(), TxnError> {
        let Self { participant, heap, limbo, intents, buffers, .. } = self;
        let Buffers { marks, owned, .. } = buffers;
        let guard = participant.pin();
        let mut linker = Linker { participant, heap, limbo, reserve: Reserve::Yes };
        let record = participant.slot().record.load(Ordering::Relaxed);
        // S4: under the guard.
        if record != 0 && guard.resolve::<TxnRecord>(record)?.state() != RecordState::Active {
            return Err(TxnError::ForcedAbort);
        }
        let floor = number.checked_sub(1).map_or(0, |below| marks.open[below].intents);
        for index in marks.open[number].intents..intents.len() {
            let row = intents.entry(&guard, index)?.row();
            let Some(layers) = marks.layers.get_mut(&row) else { continue };
            let kept = layers.partition_point(|&layer| layer < floor);
            if layers.len() - kept < 2 {
                continue;
            }
            let mut versions = Vec::new();
            for &layer in &layers[kept..] {
                let entry = intents.entry(&guard, layer)?;
                if let Some(version) = entry.version() {
                    versions.push((layer, entry, version));
                }
            }
            let stays = match (versions.first(), versions.last()) {
                (Some((_, _, oldest)), Some(&(layer, _, newest))) => {
                    if oldest.offset != newest.offset {
                        let newest = VersionRef::resolve(&guard, newest.offset)?;
                        let replaced = &versions[..versions.len() - 1];
                        if let Err(error) = remove_replaced(&guard, &mut linker, replaced, &newest) {
                            // Some of them do not count any more: it must not be committed.
                            guard.resolve::<TxnRecord>(record)?.abort();
                            return Err(error);
                        }
                        // S3: one store takes all between out of the chain.
                        let below = VersionRef::resolve(&guard, oldest.offset)?.next(&guard);
                        newest.set_next(below);
                    }
                    layer
                }
                _ => layers[kept],
            };
            versions.pop();
            for (_, entry, version) in versions {
                // Retired before it is forgotten: a death in between finds it in the entry.
                linker.limbo.retire(participant, version)?;
                entry.set_version(None, false);
            }
            layers.truncate(kept);
            layers.push(stays);
            owned.replace(row, stays);
        }
        marks.truncate(number);
        Ok(())
    }

    /// Before the record leaves ACTIVE: no chain holds two versions of this transaction any more (S3).
    #[inline]
    pub(super) fn merge_savepoints(&mut self) -> Result<(), TxnError> {
        if self.buffers.marks.open.is_empty() { Ok(()) } else { self.merge_from(0) }
    }
}
