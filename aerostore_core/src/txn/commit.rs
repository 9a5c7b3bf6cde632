//! Commit, in order, and its opposite.

#![forbid(unsafe_code)]

use crate::mvcc::{RecordState, VersionRef};
use crate::shm::BlockRef;
use crate::sync::Ordering;
use crate::sys::coarse_ns;
use crate::txn::log::{StagedRedo, wait_durable};
use crate::txn::settle::{settle_aborted, settle_committed};
use crate::txn::validate::validate;
use crate::txn::{Isolation, Session, Transaction, TxnError};

impl Transaction {
    /// Makes everything this transaction has written visible, at one moment, and ends it. Returns the commit timestamp;
    /// of a transaction without writes, its snapshot.
    ///
    /// # Errors
    /// `Serialization` or `ForcedAbort`: nothing of it took effect. `LogReadOnly`. With synchronous commit an error of
    /// the log means that the transaction has taken effect but may not survive a power failure.
    pub fn commit(&mut self, synchronous: bool) -> Result<u64, TxnError> {
        let Some(record) = self.record else {
            let snapshot = self.snapshot;
            self.session()?;
            self.end_snapshot();
            return Ok(snapshot);
        };
        let session = self.session.as_deref_mut().ok_or(TxnError::Ended)?;
        // Staged before the operation begins: waiting for the log must not hold back what others have retired.
        let staged = session.stage_redo().map_err(|error| (error, None));
        session.participant.enter();
        let (decided, logged_at) = match staged.and_then(|staged| self.decide(record, staged)) {
            Ok((commit_ts, logged_at)) => (Ok(commit_ts), logged_at),
            Err((error, logged_at)) => (Err(error), logged_at),
        };
        let settled = self.settle(record, decided.as_ref().ok().copied(), logged_at);
        self.session()?.participant.leave();
        settled?;
        let commit_ts = decided?;
        let session = self.session.as_deref_mut().ok_or(TxnError::Ended)?;
        // The transaction has taken effect: what cannot be tidied now is met again by the next one.
        let _ = session.tidy();
        if synchronous && logged_at.is_some() {
            wait_durable(session.store.log(), commit_ts)?;
        }
        Ok(commit_ts)
    }

    /// ACTIVE to COMMITTED. Either way with the timestamp that the log entry bears, if there is one.
    fn decide(
        &mut self,
        block: BlockRef,
        staged: Option<StagedRedo>,
    ) -> Result<(u64, Option<u64>), (TxnError, Option<u64>)> {
        let Some(session) = self.session.as_deref_mut() else { return Err((TxnError::Ended, None)) };
        let assigned = assign(session, block);
        let (commit_ts, logged_at) = match (assigned, staged) {
            (Ok(commit_ts), Some(staged)) => {
                // R4: complete and checksummed before the commit point.
                session.publish_redo(staged, block.offset, commit_ts).map_err(|error| (error, None))?;
                (commit_ts, Some(commit_ts))
            }
            (Ok(commit_ts), None) => (commit_ts, None),
            (Err(error), staged) => {
                if let Some(staged) = staged {
                    session.drop_redo(staged);
                }
                return Err((error, None));
            }
        };
        let Session { store, participant, buffers, .. } = session;
        if self.options.isolation == Isolation::Serializable {
            validate(participant, store, &buffers.reads, self.snapshot, commit_ts, block.offset)
                .map_err(|error| (error, logged_at))?;
        }
        let guard = participant.pin();
        let record = Self::record_of(&guard, block).map_err(|error| (error.into(), logged_at))?;
        if !record.commit(commit_ts) {
            return Err((TxnError::ForcedAbort, logged_at));
        }
        Ok((commit_ts, logged_at))
    }

    /// Settles every intent as decided, and ends the record.
    fn settle(
        &mut self,
        block: BlockRef,
        committed: Option<u64>,
        logged_at: Option<u64>,
    ) -> Result<(), TxnError> {
        let session = self.session.as_deref_mut().ok_or(TxnError::Ended)?;
        let Session { participant, limbo, intents, superseding, .. } = &mut *session;
        for index in 0..intents.len() {
            let guard = participant.pin();
            let entry = intents.entry(&guard, index)?;
            if entry.row() == 0 {
                continue;
            }
            let Some(commit_ts) = committed else {
                Self::record_of(&guard, block)?.abort();
                settle_aborted(&guard, limbo, block.offset, entry)?;
                continue;
            };
            settle_committed(&guard, block.offset, commit_ts, entry)?;
            if let Some(version) = entry.version()
                && VersionRef::resolve(&guard, version.offset)?.next(&guard) != 0
            {
                superseding.push(version, commit_ts);
            }
        }
        session.end_record(block, logged_at)?;
        if committed.is_some() {
            let Session { participant, buffers, .. } = &mut *session;
            let guard = participant.pin();
            for (table, delta) in buffers.row_deltas.drain(..) {
                table.root(&guard)?.row_count.fetch_add(delta.cast_unsigned(), Ordering::Relaxed);
            }
        }
        self.record = None;
        self.end_snapshot();
        Ok(())
    }

    fn end_snapshot(&mut self) {
        if let Some(session) = self.session.as_deref_mut() {
            session.participant.slot().clear_snapshot();
            session.redo.clear();
            session.buffers.clear();
        }
    }

    /// Rolls back what there is to roll back.
    pub(super) fn abandon(&mut self) {
        if let Some(session) = self.session.as_deref() {
            // A panic in a caller's closure may have skipped the end of an operation.
            session.participant.leave_all();
        }
        if let Some(record) = self.record.take() {
            let settled = self.abort_record(record).and_then(|decided| {
                // Committed, if an earlier attempt to settle it failed half-way.
                let committed = match decided {
                    RecordState::Committed(commit_ts) => Some(commit_ts),
                    _ => None,
                };
                self.settle(record, committed, committed)
            });
            debug_assert!(settled.is_ok(), "a rollback failed: {settled:?}");
        }
        self.end_snapshot();
    }

    fn abort_record(&mut self, block: BlockRef) -> Result<RecordState, TxnError> {
        let guard = self.session()?.participant.pin();
        Ok(Self::record_of(&guard, block)?.abort())
    }
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
