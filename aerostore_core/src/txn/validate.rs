//! The serializable check: what was read at the snapshot is what would be read at a later timestamp.
//!
//! Used twice: at commit, at the transaction's own timestamp, when everybody with a smaller one has its intents linked
//! (R2, R3) and is helped or waited for; and to extend a snapshot whose transaction has met a newer version.

#![forbid(unsafe_code)]

use crate::epoch::{Guard, Participant};
use crate::index::{Direction, key};
use crate::mvcc::{RowHeader, TxnRecord, VersionRef, newest_committed};
use crate::row::{Copies, RowView};
use crate::shm::tagged_slabs;
use crate::sync::Ordering;
use crate::sys::coarse_ns;
use crate::txn::index_scan::{Place, last_of, readable_index};
use crate::txn::read_set::{MissingRead, RangeRead, ReadSet, RowRead};
use crate::txn::transaction::still_has;
use crate::txn::{Store, TableRef, TxnError};

/// Rows checked between two signs of life.
const PROGRESS_BATCH: usize = 256;

/// Checks everything read at `snapshot` as of `limit`, a snapshot or commit timestamp that is published (G3, G6); `own` is the
/// transaction's record.
///
/// # Errors
/// `Serialization`, when something has changed in between; `SnapshotRevoked`.
pub(super) fn validate(
    participant: &Participant,
    store: &Store,
    reads: &ReadSet,
    snapshot: u64,
    limit: u64,
    own: u64,
) -> Result<(), TxnError> {
    let check = Check { store, snapshot, limit, own };
    if !(reads.rows.is_empty() && reads.missing.is_empty()) {
        let guard = participant.pin();
        // G5: from here on the guard keeps the rows that the snapshot kept until now.
        still_has(participant, snapshot)?;
        for batch in reads.rows.chunks(PROGRESS_BATCH) {
            check.touch(&guard)?;
            for read in batch {
                check.row(&guard, *read).inspect_err(|_| reads.changed.set(read.row))?;
            }
        }
        for read in &reads.missing {
            check.missing(&guard, read)?;
        }
    }
    for read in &reads.scans {
        check.scan(participant, &read.table, &mut |row| {
            read.predicate.as_ref().is_none_or(|predicate| predicate(row))
        })?;
    }
    let mut scratch = Vec::new();
    for read in &reads.ranges {
        let mut concerns = |row: &RowView<'_>| read.concerns(row, &mut scratch);
        if !check.range(participant, read, &mut concerns)? {
            // The index is gone.
            check.scan(participant, &read.table, &mut concerns)?;
        }
    }
    still_has(participant, snapshot)
}

#[cfg(test)]
impl crate::txn::Transaction {
    /// Would it commit now, as far as it has read? `before_known` runs after its timestamp is drawn and before that is known to
    /// others, `before_check` after that.
    pub(crate) fn check_reads(
        &self,
        before_known: impl FnOnce(),
        before_check: impl FnOnce(),
    ) -> Result<(), TxnError> {
        let session = self.session()?;
        let snapshot = self.snapshot.expect("it has read");
        let slot = session.participant.slot();
        slot.begin_check(snapshot);
        let commit_ts = session.store.clock().tick();
        before_known();
        slot.check_at(commit_ts);
        before_check();
        let reads = &session.buffers.reads;
        let valid =
            validate(&session.participant, &session.store, reads, snapshot, commit_ts, self.own_record());
        slot.end_check();
        valid
    }
}

fn conflict(reason: &'static str, table: &str) -> TxnError {
    TxnError::Serialization { reason, table: table.to_owned() }
}

struct Check<'a> {
    store: &'a Store,
    snapshot: u64,
    limit: u64,
    own: u64,
}

impl Check<'_> {
    /// Whoever waits for this transaction sees that it goes on.
    fn touch(&self, guard: &Guard<'_>) -> Result<(), TxnError> {
        guard.resolve::<TxnRecord>(self.own)?.touch(coarse_ns());
        Ok(())
    }

    fn newest<'g>(
        &self,
        guard: &Guard<'g>,
        row: &RowHeader,
    ) -> Result<Option<(VersionRef<'g>, u64)>, TxnError> {
        let (clock, own, stall) = (self.store.clock(), self.own, self.store.stall);
        Ok(newest_committed(guard, clock, row, self.limit, own, stall)?)
    }

    fn row(&self, guard: &Guard<'_>, read: RowRead) -> Result<(), TxnError> {
        let row: &RowHeader = guard.resolve(read.row)?;
        let begin = self.newest(guard, row)?.map_or(0, |(_, begin)| begin);
        if begin == read.begin { Ok(()) } else { Err(conflict("a row that was read has changed", "")) }
    }

    fn missing(&self, guard: &Guard<'_>, read: &MissingRead) -> Result<(), TxnError> {
        let mut scratch = Vec::new();
        let found =
            read.table.primary(guard)?.find(guard, read.hash, |offset| -> Result<bool, TxnError> {
                let row: &RowHeader = guard.resolve(offset)?;
                if row.hash.load(Ordering::Relaxed) != read.hash {
                    return Ok(false);
                }
                let head = guard.protect(&row.head);
                if head == 0 {
                    return Ok(false); // D2: removed
                }
                let version = VersionRef::resolve(guard, head)?;
                scratch.clear();
                key::key_bytes(read.table.key_of(version.image())?, &mut scratch);
                Ok(scratch == read.key)
            })?;
        let Some(found) = found else { return Ok(()) };
        let row: &RowHeader = guard.resolve(found.row)?;
        match self.newest(guard, row)? {
            Some((version, _)) if !version.is_tombstone() => {
                Err(conflict("a key that was looked for in vain has appeared", read.table.schema().name()))
            }
            _ => Ok(()),
        }
    }

    fn scan(
        &self,
        participant: &Participant,
        table: &TableRef,
        concerns: &mut dyn FnMut(&RowView<'_>) -> bool,
    ) -> Result<(), TxnError> {
        let slabs = {
            let guard = participant.pin();
            tagged_slabs(participant.arena(), &table.in_use(&guard)?.rows)?
        };
        for slab in slabs {
            let guard = participant.pin();
            self.touch(&guard)?;
            for offset in guard.live_blocks(slab)? {
                self.scanned_row(&guard, table, offset, concerns)?;
            }
        }
        Ok(())
    }

    /// Looks at every row that has an entry in the range: the versions that count at the snapshot and at the limit are both kept
    /// (G6), and so are their entries (K2). False when there is no such index any more.
    fn range(
        &self,
        participant: &Participant,
        read: &RangeRead,
        concerns: &mut dyn FnMut(&RowView<'_>) -> bool,
    ) -> Result<bool, TxnError> {
        let mut place = Place::new(read.column, self.snapshot, read.span(), Direction::Forward);
        loop {
            let guard = participant.pin();
            self.touch(&guard)?;
            if readable_index(&guard, &read.table, read.column, self.snapshot)?.is_none() {
                return Ok(false);
            }
            let mut cursor = place.cursor(&guard, &read.table)?;
            let mut count = 0;
            let last = loop {
                let Some(batch) = cursor.next_batch()? else { return Ok(true) };
                for at in 0..batch.len() {
                    self.scanned_row(&guard, &read.table, batch.row(at), concerns)?;
                }
                count += batch.len();
                if count >= PROGRESS_BATCH {
                    break last_of(&batch);
                }
            };
            place.last = last;
        }
    }

    fn scanned_row(
        &self,
        guard: &Guard<'_>,
        table: &TableRef,
        offset: u64,
        concerns: &mut dyn FnMut(&RowView<'_>) -> bool,
    ) -> Result<(), TxnError> {
        let row: &RowHeader = guard.resolve(offset)?;
        let Some((newest, begin)) = self.newest(guard, row)? else { return Ok(()) };
        if begin <= self.snapshot {
            return Ok(());
        }
        let before =
            newest_committed(guard, self.store.clock(), row, self.snapshot, self.own, self.store.stall)?;
        let images = [Some(newest), before.map(|(version, _)| version)];
        for version in images.into_iter().flatten().filter(|version| !version.is_tombstone()) {
            let copies = Copies::default();
            if concerns(&table.view(version.image(), &copies)?) {
                return Err(conflict("rows that were searched for have changed", table.schema().name()));
            }
        }
        Ok(())
    }
}
