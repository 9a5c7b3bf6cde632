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

/// The runs of one transaction, until it meets no conflict; for whoever cannot give its work as a closure to
/// [`Database::transaction_with`].
///
/// ```no_run
/// # use aerostore_core::db::{Database, Error, RetryPolicy, Runs, Transaction, TxnOptions};
/// # fn work(txn: &mut Transaction) -> Result<(), Error> { Ok(()) }
/// # fn example(db: &Database) -> Result<(), Error> {
/// let mut runs = Runs::new(RetryPolicy::default(), TxnOptions::default());
/// loop {
///     let mut txn = runs.begin(db)?;
///     match work(&mut txn).and_then(|()| txn.commit()) {
///         Err(error) if error.is_retryable() && runs.again(error.is_row_conflict()) => {}
///         outcome => return outcome.map(drop),
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Runs {
    policy: RetryPolicy,
    options: TxnOptions,
    backoff: Option<RetryBackoff>,
    seniority: Option<u64>,
    conflicts: u32,
    row_conflicts: u32,
}

impl Runs {
    /// The runs of a transaction with these options, as `policy` allows them.
    pub fn new(policy: RetryPolicy, options: TxnOptions) -> Self {
        Self { policy, options, backoff: None, seniority: None, conflicts: 0, row_conflicts: 0 }
    }

    /// Begins the next run.
    ///
    /// # Errors
    /// As [`Database::begin`].
    pub fn begin(&mut self, database: &Database) -> Result<Transaction, Error> {
        let mut txn = database.begin(self.options)?;
        if !self.policy.waits {
            txn.wait_for_nobody();
        }
        if self.policy.escalate_after.is_some() {
            let pessimistic = self.is_pessimistic();
            txn.repeat(&mut self.seniority, pessimistic);
        }
        Ok(txn)
    }

    /// Notes that the last run, which is over, met a conflict, and whether that was over a row. False when it is not to be run
    /// again; else it waits until it is time to.
    pub fn again(&mut self, over_a_row: bool) -> bool {
        self.conflicts += 1;
        if self.conflicts > self.policy.tries {
            return false;
        }
        // Who queues has no need to keep out of the others' way.
        if !self.is_pessimistic() {
            let policy = &self.policy;
            let backoff = self.backoff.get_or_insert_with(|| {
                RetryBackoff::with_limits(monotonic_ns(), policy.base, policy.ceiling)
            });
            std::thread::sleep(backoff.next_pause());
        }
        self.row_conflicts += u32::from(over_a_row);
        true
    }

    /// How often it has met a conflict.
    pub fn conflicts(&self) -> u32 {
        self.conflicts
    }

    fn is_pessimistic(&self) -> bool {
        self.policy.escalate_after.is_some_and(|limit| self.row_conflicts >= limit)
    }
}

impl Database {
    /// How a transaction is run again when nobody says: the default, with the setting `retry_limit`.
    pub fn retry_policy(&self) -> RetryPolicy {
        let tries = u32::try_from(self.0.config.retry_limit()).unwrap_or(u32::MAX);
        RetryPolicy { tries, ..RetryPolicy::default() }
    }

    /// Runs `work` in a transaction and commits it; runs it again when it meets a conflict, by [`Database::retry_policy`].
    ///
    /// # Errors
    /// As [`Database::transaction_with`].
    pub fn transaction<R>(
        &self,
        options: TxnOptions,
        work: impl FnMut(&mut Transaction) -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.transaction_with(self.retry_policy(), options, work)
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
        let mut runs = Runs::new(policy, options);
        loop {
            let mut txn = runs.begin(self)?;
            let error = match work(&mut txn).and_then(|value| txn.commit().map(|_| value)) {
                Err(error) if error.is_retryable() => error,
                outcome => return outcome,
            };
            if !runs.again(error.is_row_conflict()) {
                return Err(if policy.tries == 0 {
                    error
                } else {
                    Error::RetriesExhausted { tries: runs.conflicts(), last: Box::new(error) }
                });
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
