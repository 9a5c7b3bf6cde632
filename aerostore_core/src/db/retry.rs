//! Running a transaction again after a conflict: optimistic at first, in the queue when that keeps failing.

#![forbid(unsafe_code)]

use crate::db::{Applied, Database, Error, Operation, Transaction};
use crate::sys::monotonic_ns;
use crate::txn::{RetryBackoff, TxnOptions};
use std::time::Duration;

/// How [`Database::transaction_with`] goes about conflicts.
///
/// A transaction runs without locks first. One that has met a conflict over a row queues for that row from then on, as do the
/// session's next ones for a second; after `escalate_after` conflicts it locks every row that it reads by key or writes, in the
/// order in which it does so. Which of these happen does not change what a transaction may see, only how often it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often it is run again at most.
    pub tries: u32,
    /// Limit of the first pause; a pause is random below its limit, which doubles each time.
    pub base: Duration,
    /// The largest limit.
    pub ceiling: Duration,
    /// Conflicts over single rows after which it takes locks before it reads. `None`: never, nor does it queue.
    pub escalate_after: Option<u32>,
    /// Whether a write waits a moment for one that is changing its row, before that counts as a conflict. Who queues waits
    /// anyway.
    pub waits: bool,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            tries: 100,
            base: Duration::from_millis(1),
            ceiling: Duration::from_millis(16),
            escalate_after: Some(3),
            waits: true,
        }
    }
}

impl RetryPolicy {
    /// The default, but never locking before it writes.
    pub fn optimistic() -> Self {
        Self { escalate_after: None, ..Self::default() }
    }

    /// Neither locks nor waits nor pauses: runs again at once. Of many writers of one row, one gets on at a time while the others
    /// spend their processors on conflicts.
    pub fn at_once() -> Self {
        Self { base: Duration::ZERO, ceiling: Duration::ZERO, waits: false, ..Self::optimistic() }
    }
}

impl Database {
    /// Runs `work` in a transaction and commits it; runs it again when it meets a conflict, by the default [`RetryPolicy`] with
    /// the setting `retry_limit`.
    ///
    /// # Errors
    /// As [`Database::transaction_with`].
    pub fn transaction<R>(
        &self,
        options: TxnOptions,
        work: impl FnMut(&mut Transaction) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let tries = u32::try_from(self.0.config.retry_limit()).unwrap_or(u32::MAX);
        self.transaction_with(RetryPolicy { tries, ..RetryPolicy::default() }, options, work)
    }

    /// Runs `work` in a transaction and commits it; runs it again when it meets a conflict, as `policy` says. What `work` does
    /// besides is done each time.
    ///
    /// # Errors
    /// What `work` says; `RetriesExhausted`, with the last conflict, when it has been run again as often as is allowed.
    pub fn transaction_with<R>(
        &self,
        policy: RetryPolicy,
        options: TxnOptions,
        mut work: impl FnMut(&mut Transaction) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let mut backoff = None;
        let mut seniority = None;
        let mut runs = 0;
        let mut row_conflicts = 0;
        loop {
            let mut txn = self.begin(options)?;
            if !policy.waits {
                txn.wait_for_nobody();
            }
            let mut pessimistic = false;
            if let Some(limit) = policy.escalate_after {
                pessimistic = row_conflicts >= limit;
                txn.repeat(&mut seniority, pessimistic);
            }
            let error = match work(&mut txn).and_then(|value| txn.commit().map(|_| value)) {
                Err(error) if error.is_retryable() => error,
                outcome => return outcome,
            };
            runs += 1;
            if runs > policy.tries {
                return Err(if policy.tries == 0 {
                    error
                } else {
                    Error::RetriesExhausted { tries: runs, last: Box::new(error) }
                });
            }
            row_conflicts += u32::from(error.is_row_conflict());
            // Who queues has no need to keep out of the others' way.
            if !pessimistic {
                let backoff = backoff.get_or_insert_with(|| {
                    RetryBackoff::with_limits(monotonic_ns(), policy.base, policy.ceiling)
                });
                std::thread::sleep(backoff.next_pause());
            }
        }
    }

    /// Applies the operations in one transaction: all of them, or, after an error, none.
    ///
    /// # Errors
    /// As the operations' namesakes of [`Transaction`], and as [`Database::transaction`].
    pub fn batch(&self, operations: &[Operation<'_>]) -> Result<Vec<Applied>, Error> {
        self.transaction(TxnOptions::default(), |txn| txn.apply(operations))
    }
}
