//! A transaction as its owner sees it: begin, read, scan, end.

#![forbid(unsafe_code)]

use crate::epoch::{Guard, Participant, Slot};
use crate::index::{Found, key};
use crate::mvcc::{Resolved, RowHeader, TxnRecord, VersionRef, visible_at};
use crate::row::{Copies, RowView, Value};
use crate::shm::{BlockRef, ShmError};
use crate::sync::Ordering;
use crate::sys::coarse_ns;
use crate::txn::lock::Patience;
use crate::txn::read_set::{MissingRead, RowRead};
use crate::txn::{Session, TableRef, TxnError};

/// What a transaction is guaranteed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// As if all committed transactions ran one at a time, in the order of their commit timestamps.
    #[default]
    Serializable,
    /// All reads at one moment; lost updates and dirty data are impossible, write skew is not.
    Snapshot,
}

/// How a transaction runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct TxnOptions {
    /// Guarantee.
    pub isolation: Isolation,
    /// Refuse writes; reads are neither remembered nor checked.
    pub read_only: bool,
    /// Wait at commit until the log is on disk; `None` leaves it to the database's setting.
    pub synchronous_commit: Option<bool>,
}

/// One transaction. Rolled back when dropped.
pub struct Transaction {
    pub(super) session: Option<Box<Session>>,
    pub(super) options: TxnOptions,
    /// The timestamp it reads at, once it reads (A1).
    pub(super) snapshot: Option<u64>,
    pub(super) record: Option<BlockRef>,
    /// Whether anything was read at the snapshot, remembered or not.
    pub(super) has_read: bool,
    /// Committed or rolled back, with nothing left to settle.
    pub(super) is_over: bool,
    /// How it waits for rows.
    pub(super) patience: Patience,
    /// Whether it queues for rows that this session knows to be hot.
    pub(super) adaptive: bool,
    /// When the first transaction that it repeats began, in monotonic nanoseconds; of one that repeats none its record knows when
    /// it began to write.
    pub(super) seniority: Option<u64>,
    /// How many drops of tables had begun when it began (T2).
    pub(super) drops_seen: u64,
    /// A table that it logs something of, other than rows.
    pub(super) concerns: Option<TableRef>,
}

impl Transaction {
    /// Begins a transaction on a session. One that cannot write, or asks for no more than snapshot isolation, reads at a snapshot
    /// of now; any other at one of its first read.
    pub fn begin(session: Box<Session>, options: TxnOptions) -> Self {
        session.participant.begin();
        let reads_now = options.read_only || options.isolation == Isolation::Snapshot;
        let drops_seen = session.store.catalog().drops();
        let snapshot = reads_now.then(|| session.participant.take_snapshot(session.store.clock().word()));
        Self {
            session: Some(session),
            options,
            snapshot,
            record: None,
            has_read: false,
            is_over: false,
            patience: Patience::Brief,
            adaptive: false,
            seniority: None,
            drops_seen,
            concerns: None,
        }
    }

    /// Makes this one of the runs of a transaction that is repeated until it meets no conflict: it queues for rows that are known
    /// to be hot, or, when `pessimistic`, for every row, and locks what it reads by key before it reads. `seniority` is the
    /// first run's, which that sets.
    pub fn repeat(&mut self, seniority: &mut Option<u64>, pessimistic: bool) {
        self.adaptive = true;
        self.seniority = Some(*seniority.get_or_insert_with(coarse_ns));
        if pessimistic && !self.options.read_only {
            self.patience = Patience::Queue;
        }
    }

    /// Makes this transaction wait for nobody who is changing a row: that is a conflict at once.
    pub fn wait_for_nobody(&mut self) {
        self.patience = Patience::No;
    }

    /// The timestamp this transaction reads at, from now on.
    ///
    /// # Errors
    /// `Ended`.
    #[inline]
    pub fn read_ts(&mut self) -> Result<u64, TxnError> {
        if let Some(snapshot) = self.snapshot {
            return Ok(snapshot);
        }
        let session = running(&mut self.session)?;
        let snapshot = session.participant.take_snapshot(session.store.clock().word());
        self.snapshot = Some(snapshot);
        Ok(snapshot)
    }

    /// Is what it sees still there? Asked after every look for a version, before what was found is used (G5).
    #[inline]
    pub(super) fn check_snapshot(&self) -> Result<(), TxnError> {
        match self.snapshot {
            Some(snapshot) => still_has(&self.session()?.participant, snapshot),
            None => Ok(()),
        }
    }

    /// Has this transaction written?
    pub fn has_writes(&self) -> bool {
        self.record.is_some()
    }

    /// The options it was begun with.
    pub fn options(&self) -> TxnOptions {
        self.options
    }

    /// The slot it works in; `None` once it has ended.
    #[cfg(test)]
    pub(crate) fn owner(&self) -> Option<crate::shm::OwnerId> {
        self.session.as_ref().map(|session| session.participant.owner())
    }

    /// Ends as its process does: nothing is undone.
    #[cfg(test)]
    pub(crate) fn die(mut self) {
        drop(self.session.take());
        std::mem::forget(self);
    }

    /// Has it been committed or rolled back?
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Does anybody queue for a row that it owns?
    #[cfg(test)]
    pub(crate) fn has_waiters(&self) -> bool {
        let (Some(record), Some(session)) = (self.record, &self.session) else { return false };
        session.arena().resolve::<TxnRecord>(record.pointer()).is_ok_and(TxnRecord::has_waiters)
    }

    pub(super) fn session(&self) -> Result<&Session, TxnError> {
        match self.session.as_deref() {
            Some(session) => Ok(session),
            None => Err(TxnError::Ended),
        }
    }

    /// Ends the transaction, rolling it back unless it has been committed, and gives the session back for the next one.
    pub fn into_session(mut self) -> Option<Box<Session>> {
        self.abandon();
        self.session.take()
    }

    #[inline]
    pub(super) fn check_running(&self) -> Result<(), TxnError> {
        if self.is_over { Err(TxnError::Ended) } else { Ok(()) }
    }

    pub(super) fn own_record(&self) -> u64 {
        self.record.map_or(0, |record| record.offset)
    }

    pub(super) fn remembers_reads(&self) -> bool {
        !self.options.read_only && self.options.isolation == Isolation::Serializable
    }

    /// Calls `f` with the row of that key, as this transaction sees it.
    ///
    /// # Errors
    /// `Row` for a key of the wrong type, `Ended`.
    pub fn get<R>(
        &mut self,
        table: &TableRef,
        key: Value<'_>,
        f: impl FnOnce(RowView<'_>) -> R,
    ) -> Result<Option<R>, TxnError> {
        self.check_running()?;
        if self.patience == Patience::Queue {
            return self.lock_for_update(table, key, f);
        }
        let may_lock = self.adaptive && !self.options.read_only;
        let key = lookup_key(table, key)?;
        let session = running(&mut self.session)?;
        let hash = hash_key(key, &mut session.buffers.key);
        if may_lock && session.hot.contains_hash(table.id(), hash) {
            return self.lock_for_update(table, key, f);
        }
        let own = self.own_record();
        let remembers = self.remembers_reads();
        let snapshot = self.read_ts()?;
        let had_read = std::mem::replace(&mut self.has_read, true);
        let session = running(&mut self.session)?;
        let Session { store, participant, buffers, hot: session_hot, .. } = session;
        let guard = participant.pin();
        let Some(Found { row: offset, .. }) = find_row(&guard, table, key, hash)? else {
            still_has(participant, snapshot)?;
            if remembers {
                buffers.reads.missing.push(MissingRead::new(table, key, hash));
            }
            return Ok(None);
        };
        if may_lock && session_hot.contains(offset) {
            session_hot.note_hash(offset, table.id(), hash);
            drop(guard);
            self.has_read = had_read;
            return self.lock_for_update(table, key, f);
        }
        let row: &RowHeader = guard.resolve(offset)?;
        let seen = visible_at(&guard, store.clock(), row, snapshot, own, store.stall)?;
        still_has(participant, snapshot)?;
        let copies = Copies::default();
        let result = match &seen {
            Some((version, _)) if !version.is_tombstone() => Some(f(table.view(version.image(), &copies)?)),
            _ => None,
        };
        if remembers {
            match seen {
                Some((_, Resolved::Own)) => {}
                Some((version, Resolved::Committed(begin))) if !version.is_tombstone() => {
                    buffers.reads.rows.push(RowRead { row: offset, begin });
                }
                // The row may be removed before this transaction ends; what was seen is that the key is missing.
                _ => buffers.reads.missing.push(MissingRead::new(table, key, hash)),
            }
        }
        Ok(result)
    }

    /// What a walk over rows goes by: the snapshot, the transaction's own record, and whether what is read is remembered.
    pub(super) fn begin_walk(&mut self) -> Result<(u64, u64, bool), TxnError> {
        self.check_running()?;
        self.has_read = true;
        Ok((self.read_ts()?, self.own_record(), self.remembers_reads()))
    }

    /// About how many rows the table has now, whoever sees them.
    ///
    /// # Errors
    /// `Ended`.
    pub fn estimated_rows(&mut self, table: &TableRef) -> Result<u64, TxnError> {
        let session = running(&mut self.session)?;
        let guard = session.participant.pin();
        let rows = table.in_use(&guard)?.row_count.load(Ordering::Relaxed);
        // Deletions may be counted before the insertions that they follow.
        Ok(rows.cast_signed().max(0).cast_unsigned())
    }

    /// Undoes everything and ends the transaction.
    pub fn rollback(&mut self) {
        self.abandon();
    }

    /// Moves the snapshot forward to now, if everything read so far still holds.
    pub(super) fn extend_snapshot(&mut self) -> Result<(), TxnError> {
        let own = self.own_record();
        let Some(old) = self.snapshot else {
            return self.read_ts().map(drop);
        };
        self.check_snapshot()?;
        let session = self.session()?;
        if self.options.isolation == Isolation::Snapshot && self.has_read {
            // First updater wins: reads are not remembered here, so whether they still hold cannot be known.
            return Err(TxnError::Serialization {
                reason: "the row was changed by another transaction",
                table: String::new(),
            });
        }
        // The old snapshot stays published until the check is over, which needs what that one sees; and the new one before the
        // check begins, or what it sees might be pruned.
        let slot = session.participant.slot();
        let new = slot.take_next_snapshot(session.store.clock().word());
        let valid = self.check_tables().and_then(|()| {
            let reads = &session.buffers.reads;
            super::validate::validate(&session.participant, &session.store, reads, old, new, own)
        });
        if let Err(error) = valid {
            slot.drop_next_snapshot();
            if self.adaptive {
                let changed = session.buffers.reads.changed.get();
                running(&mut self.session)?.hot.add(changed);
            }
            return Err(error);
        }
        if !slot.adopt_next_snapshot(old, new) {
            return Err(TxnError::SnapshotRevoked);
        }
        self.snapshot = Some(new);
        Ok(())
    }

    pub(super) fn record_of<'g>(guard: &Guard<'g>, record: BlockRef) -> Result<&'g TxnRecord, ShmError> {
        guard.resolve(record.offset)
    }
}

/// Is the snapshot still this session's (G5)?
#[inline]
pub(super) fn still_has(participant: &Participant, snapshot: u64) -> Result<(), TxnError> {
    slot_still_has(participant.slot(), snapshot)
}

/// The same of the session that has `slot`, asked by whoever reads at its snapshot.
#[inline]
pub(super) fn slot_still_has(slot: &Slot, snapshot: u64) -> Result<(), TxnError> {
    if slot.still_has(snapshot) { Ok(()) } else { Err(TxnError::SnapshotRevoked) }
}

/// The session of a transaction that has not ended. A function of the field, so that the others can be used beside it.
#[inline]
pub(super) fn running(session: &mut Option<Box<Session>>) -> Result<&mut Session, TxnError> {
    match session {
        Some(session) => Ok(session),
        None => Err(TxnError::Ended),
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// The hash that the key index files `key` under.
#[inline]
pub(crate) fn hash_key(key: Value<'_>, scratch: &mut Vec<u8>) -> u64 {
    if let Value::Str(text) = key {
        return key::hash(text.as_bytes());
    }
    hash_key_bytes(key, scratch)
}

/// Apart, so that what looks for texts stays small.
#[inline(never)]
fn hash_key_bytes(key: Value<'_>, scratch: &mut Vec<u8>) -> u64 {
    scratch.clear();
    key::key_bytes(key, scratch);
    key::hash(scratch)
}

/// The row of that key, whether or not anyone can see it.
#[inline]
pub(super) fn find_row(
    guard: &Guard<'_>,
    table: &TableRef,
    key: Value<'_>,
    hash: u64,
) -> Result<Option<Found>, TxnError> {
    table.primary(guard)?.find(guard, hash, |offset| row_has_key(guard, table, offset, key, hash))
}

#[inline]
pub(super) fn row_has_key(
    guard: &Guard<'_>,
    table: &TableRef,
    offset: u64,
    key: Value<'_>,
    hash: u64,
) -> Result<bool, TxnError> {
    Ok(head_with_key(guard, table, offset, key, hash)?.is_some())
}

/// The head of the row at `offset`, if that has the key and was not removed.
#[inline]
pub(super) fn head_with_key<'g>(
    guard: &Guard<'g>,
    table: &TableRef,
    offset: u64,
    key: Value<'_>,
    hash: u64,
) -> Result<Option<VersionRef<'g>>, TxnError> {
    let row: &RowHeader = guard.resolve(offset)?;
    if row.hash.load(Ordering::Relaxed) != hash {
        return Ok(None);
    }
    let head = guard.protect(&row.head);
    if head == 0 {
        return Ok(None); // D2: removed
    }
    // W3: any version knows the key.
    let version = VersionRef::resolve(guard, head)?;
    Ok(table.has_key(version.image(), key)?.then_some(version))
}

/// `key` as the key column takes it; text needs no more than to be compared.
#[inline]
pub(super) fn lookup_key<'v>(table: &TableRef, key: Value<'v>) -> Result<Value<'v>, TxnError> {
    let schema = table.schema();
    if matches!(key, Value::Str(_)) && schema.slot(schema.key_index()).kind.is_string() {
        return Ok(key);
    }
    coerced_key(table, key)
}

/// Apart, as for [`hash_key`].
#[inline(never)]
fn coerced_key<'v>(table: &TableRef, key: Value<'v>) -> Result<Value<'v>, TxnError> {
    let schema = table.schema();
    Ok(schema.coerce(schema.key_index(), key)?)
}
