//! Commit, in order, and its opposite.

#![forbid(unsafe_code)]

use crate::mvcc::{RecordState, TxnRecord, VersionRef};
use crate::shm::{BlockRef, Reserve};
use crate::sync::Ordering;
use crate::sys::coarse_ns;
use crate::txn::link::Linker;
use crate::txn::log::wait_durable;
use crate::txn::settle::{settle_aborted, settle_committed};
use crate::txn::transaction::running;
use crate::txn::validate::validate;
use crate::txn::{Isolation, Session, Transaction, TxnError};
use crate::wal::Staged;

impl Transaction {
    /// Makes everything this transaction has written visible, at one moment, and ends it. Returns the commit timestamp;
    /// of a transaction without writes, its snapshot.
    ///
    /// # Errors
    /// `Serialization` or `ForcedAbort`: nothing of it took effect. `LogReadOnly`. `LogFault` says whether it took effect: with
    /// synchronous commit it may have, and then survives power loss only if the log writer gets over the fault.
    pub fn commit(&mut self, synchronous: bool) -> Result<u64, TxnError> {
        let (commit_ts, waits) = self.take_effect(synchronous)?;
        if waits {
            wait_durable(self.session()?.store.log(), commit_ts)?;
        }
        Ok(commit_ts)
    }

    /// The same, without the wait for the disk: its timestamp, and whether there is one to come.
    pub(super) fn take_effect(&mut self, synchronous: bool) -> Result<(u64, bool), TxnError> {
        let Some(record) = self.record else {
            let snapshot = self.snapshot.unwrap_or(self.session()?.store.clock().now());
            self.end_snapshot();
            return Ok((snapshot, false));
        };
        let session = running(&mut self.session)?;
        session.merge_savepoints()?;
        // Staged before the operation begins: waiting for the log must not hold back what others have retired.
        let staged = session.stage_redo(synchronous);
        let waits = synchronous && matches!(staged, Ok(Some(_)));
        session.participant.enter();
        let decided = staged.and_then(|staged| self.decide(record, staged));
        let settled = self.settle(record, decided.as_ref().ok().copied());
        // All of them: a panic in a caller's closure may have skipped the end of an operation.
        self.session()?.participant.leave_all();
        settled?;
        let commit_ts = decided?;
        let session = running(&mut self.session)?;
        // The transaction has taken effect: what cannot be tidied now is met again by the next one.
        let _ = session.tidy();
        Ok((commit_ts, waits))
    }

    /// ACTIVE to COMMITTED.
    fn decide(&mut self, block: BlockRef, staged: Option<Staged>) -> Result<u64, TxnError> {
        let checked = self.what_is_checked(block);
        let Ok(Some(Checked { snapshot, .. })) = checked else {
            return self.decide_checked(block, staged, checked);
        };
        self.session()?.participant.slot().begin_check(snapshot); // G6
        let decided = self.decide_checked(block, staged, checked);
        self.session()?.participant.slot().end_check();
        decided
    }

    /// What has to hold at the commit timestamp, if anything.
    fn what_is_checked(&mut self, block: BlockRef) -> Result<Option<Checked>, TxnError> {
        let session = self.session()?;
        // Without a snapshot it has read nothing but what it owns.
        let reads = self.snapshot.is_some()
            && self.options.isolation == Isolation::Serializable
            && !session.buffers.reads.is_empty();
        if !session.gives_unique_keys(block)? {
            return Ok(self.snapshot.filter(|_| reads).map(|snapshot| Checked { snapshot, reads }));
        }
        running(&mut self.session)?.note_unique_indexes(block)?;
        // U2
        Ok(Some(Checked { snapshot: self.read_ts()?, reads }))
    }

    /// The same; what is `checked` has to hold at the commit timestamp.
    fn decide_checked(
        &mut self,
        block: BlockRef,
        staged: Option<Staged>,
        checked: Result<Option<Checked>, TxnError>,
    ) -> Result<u64, TxnError> {
        let checked = checked.and_then(|checked| self.check_snapshot().map(|()| checked));
        let session = running(&mut self.session)?;
        let assigned = checked.and_then(|checked| {
            let commit_ts = assign(session, block)?;
            Ok((checked, commit_ts))
        });
        if let Ok((Some(_), commit_ts)) = &assigned {
            session.participant.slot().check_at(*commit_ts);
        }
        let (checked, commit_ts) = match (assigned, staged) {
            (Ok((checked, commit_ts)), Some(staged)) => {
                // R4: complete and checksummed before the commit point.
                session.publish_redo(staged, block.offset, commit_ts)?;
                (checked, commit_ts)
            }
            (Ok(assigned), None) => assigned,
            (Err(error), staged) => {
                if staged.is_some() {
                    session.drop_staged_pieces();
                }
                return Err(error);
            }
        };
        self.check_tables()?;
        let Session { store, participant, buffers, hot, .. } = running(&mut self.session)?;
        if let Some(Checked { snapshot, reads: true }) = checked {
            let reads = &buffers.reads;
            if let Err(error) = validate(participant, store, reads, snapshot, commit_ts, block.offset) {
                if self.adaptive {
                    hot.add(reads.changed.get());
                }
                return Err(error);
            }
        }
        let session = running(&mut self.session)?;
        session.check_unique_keys(block, commit_ts, checked.map(|checked| checked.snapshot))?;
        let guard = session.participant.pin();
        if !Self::record_of(&guard, block)?.commit(commit_ts) {
            return Err(TxnError::ForcedAbort);
        }
        Ok(commit_ts)
    }

    /// Settles every intent as decided, and ends the record.
    fn settle(&mut self, block: BlockRef, committed: Option<u64>) -> Result<(), TxnError> {
        let session = running(&mut self.session)?;
        // Its own record stays without a guard.
        let record: &TxnRecord = session.arena().resolve(block.pointer())?;
        if committed.is_none() {
            record.abort();
        }
        // L1: after the decision.
        if record.has_waiters() || session.hot.in_turn() {
            session.hand_over(block)?;
        }
        let Session { store, participant, heap, limbo, intents, superseding, .. } = &mut *session;
        let mut linker = Linker { participant, heap, limbo, reserve: Reserve::Yes };
        let count = intents.len();
        for place in 0..count {
            // S2: an aborted transaction's newest first. A committed one has one version of each row (S3).
            let index = if committed.is_some() { place } else { count - 1 - place };
            // Of its own: what a rollback replaces in indexes can be had back before it is over.
            let guard = participant.pin();
            let entry = intents.entry(&guard, index)?;
            if entry.row() == 0 {
                continue;
            }
            let Some(commit_ts) = committed else {
                if !settle_aborted(&guard, &mut linker, block.offset, entry)? {
                    store.garbage().want();
                }
                if let Some(version) = entry.version() {
                    superseding.push_end(version, 0, entry.table()); // it may have stayed as key holder
                }
                continue;
            };
            settle_committed(&guard, block.offset, commit_ts, entry)?;
            if let Some(version) = entry.version() {
                let newest = VersionRef::resolve(&guard, version.offset)?;
                if newest.is_tombstone() {
                    superseding.push_end(version, commit_ts, entry.table());
                } else if newest.next(&guard) != 0 {
                    superseding.push(version, commit_ts, entry.table());
                }
            }
        }
        session.end_record(block, committed.is_some());
        // From here on the record is another transaction's.
        self.record = None;
        if committed.is_some() && !session.buffers.row_deltas.is_empty() {
            let Session { participant, buffers, .. } = &mut *session;
            let guard = participant.pin();
            for (table, delta) in buffers.row_deltas.drain(..) {
                table.root(&guard)?.row_count.fetch_add(delta.cast_unsigned(), Ordering::Relaxed);
            }
        }
        self.end_snapshot();
        Ok(())
    }

    fn end_snapshot(&mut self) {
        self.is_over = true;
        if let Some(session) = self.session.as_deref_mut() {
            session.participant.end();
            session.redo.clear();
            session.buffers.clear();
        }
    }

    /// Rolls back what there is to roll back.
    pub(super) fn abandon(&mut self) {
        if self.is_over {
            return;
        }
        if let Some(session) = self.session.as_deref() {
            // A panic in a caller's closure may have skipped the end of an operation.
            session.participant.leave_all();
            session.participant.slot().end_check();
        }
        if let Some(record) = self.record.take() {
            let settled = self.abort_record(record).and_then(|decided| {
                // Committed, if an earlier attempt to settle it failed half-way.
                let committed = match decided {
                    RecordState::Committed(commit_ts) => Some(commit_ts),
                    _ => None,
                };
                self.settle(record, committed)
            });
            debug_assert!(settled.is_ok(), "a rollback failed: {settled:?}");
            self.end_snapshot();
            if let Some(session) = self.session.as_deref_mut() {
                let _ = session.tidy(); // as after a commit
            }
        }
        self.end_snapshot();
    }

    fn abort_record(&mut self, block: BlockRef) -> Result<RecordState, TxnError> {
        let guard = self.session()?.participant.pin();
        Ok(Self::record_of(&guard, block)?.abort())
    }
}

/// What has to hold at a transaction's timestamp.
#[derive(Clone, Copy)]
struct Checked {
    /// What it is published beside (G6).
    snapshot: u64,
    /// Whether that is what was read; keys given in unique indexes are looked at whenever there are any.
    reads: bool,
}

/// ACTIVE to PREPARED: the transaction's place in the serial order.
fn assign(session: &Session, block: BlockRef) -> Result<u64, TxnError> {
    let guard = session.participant.pin();
    let record = Transaction::record_of(&guard, block)?;
    record.touch(coarse_ns());
    // R2: everything is linked.
    if !record.begin_commit() {
        return Err(TxnError::ForcedAbort);
    }
    // R3: the timestamp is taken after PENDING is visible, by this session or by a helper.
    match record.assign(session.store.clock()) {
        RecordState::Prepared(commit_ts) => Ok(commit_ts),
        _ => Err(TxnError::ForcedAbort),
    }
}
