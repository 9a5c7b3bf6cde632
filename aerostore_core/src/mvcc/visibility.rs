//! Which version a snapshot sees.
//!
//! A stamped version is visible from its timestamp on. One that still names its record counts as the record says:
//! COMMITTED(c) from c on (and is stamped by whoever notices), ABORTED and ACTIVE never, PENDING is helped to a
//! timestamp of its own, and PREPARED(c) is waited for when c is not above the snapshot: for a bounded time, after which
//! an owner that is dead or makes no progress is aborted (R1 makes that safe at any moment).

#![forbid(unsafe_code)]

use crate::epoch::{EpochError, Guard};
use crate::mvcc::{BeginWord, Clock, RecordState, RowHeader, TxnRecord, VersionRef};
use crate::shm::OwnerId;
use crate::sync::spin_loop;
use crate::sys::monotonic_ns;

/// How long to wait for others.
#[derive(Clone, Copy, Debug)]
pub struct StallPolicy {
    /// Busy rounds before the processor is given away.
    pub spins: u32,
    /// Nanoseconds after which the owner's process is looked at.
    pub check_after_ns: u64,
    /// Nanoseconds without a step after which a living owner that is committing is aborted too.
    pub abort_after_ns: u64,
    /// The same for one that has not begun to commit, when someone wants a row that it owns.
    pub idle_after_ns: u64,
}

impl Default for StallPolicy {
    fn default() -> Self {
        Self {
            spins: 256,
            check_after_ns: 200_000,
            abort_after_ns: 250_000_000,
            idle_after_ns: 2_000_000_000,
        }
    }
}

/// One wait for an undecided record.
pub struct Stall {
    policy: StallPolicy,
    rounds: u32,
    since_ns: u64,
    next_check_ns: u64,
    waited_ns: u64,
}

impl Stall {
    /// A wait that has not begun.
    pub fn new(policy: StallPolicy) -> Self {
        Self { policy, rounds: 0, since_ns: 0, next_check_ns: policy.check_after_ns, waited_ns: 0 }
    }

    /// Lets a moment pass; aborts `record` when its owner is dead, stopped or out of time.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub fn wait(&mut self, guard: &Guard<'_>, record: &TxnRecord) -> Result<(), EpochError> {
        let waited = self.pause();
        if waited >= self.next_check_ns {
            self.next_check_ns = waited + self.policy.check_after_ns;
            let (slot, incarnation) = record.owner();
            let owner = OwnerId { slot, incarnation };
            let now_ns = monotonic_ns();
            if record.idle_ns(now_ns) >= self.policy.abort_after_ns
                || guard.participant().registry().is_unresponsive_owner(owner, now_ns)?
            {
                record.abort();
            }
        }
        Ok(())
    }

    /// Has it begun?
    pub fn has_begun(&self) -> bool {
        self.rounds > 0
    }

    /// Are the busy rounds over?
    pub fn has_spun(&self) -> bool {
        self.rounds >= self.policy.spins
    }

    /// Nanoseconds waited so far, not counting the busy rounds.
    pub fn waited_ns(&self) -> u64 {
        self.waited_ns
    }

    fn pause(&mut self) -> u64 {
        self.rounds += 1;
        if self.rounds < self.policy.spins {
            spin_loop();
            return 0;
        }
        std::thread::yield_now();
        let now = monotonic_ns();
        if self.since_ns == 0 {
            self.since_ns = now;
        }
        self.waited_ns = now - self.since_ns;
        self.waited_ns
    }
}

/// What the begin word of a version means to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// Committed at this timestamp.
    Committed(u64),
    /// Written by the reader's own transaction.
    Own,
    /// Not visible at the snapshot, and never will be.
    Invisible,
}

/// Decides a version for a reader at `snapshot` whose own record is `own` (0 for none).
///
/// # Errors
/// When the mapping is damaged.
#[inline]
pub fn resolve_begin(
    guard: &Guard<'_>,
    clock: &Clock,
    version: &VersionRef<'_>,
    snapshot: u64,
    own: u64,
    policy: StallPolicy,
) -> Result<Resolved, EpochError> {
    match version.begin(guard) {
        BeginWord::Stamped(timestamp) => Ok(Resolved::Committed(timestamp)),
        BeginWord::Intent(record) if record == own => Ok(Resolved::Own),
        BeginWord::Intent(record) => resolve_intent(guard, clock, version, record, snapshot, policy),
    }
}

#[cold]
fn resolve_intent(
    guard: &Guard<'_>,
    clock: &Clock,
    version: &VersionRef<'_>,
    offset: u64,
    snapshot: u64,
    policy: StallPolicy,
) -> Result<Resolved, EpochError> {
    let record: &TxnRecord = guard.resolve(offset)?;
    let mut stall = Stall::new(policy);
    loop {
        match record.assign(clock) {
            RecordState::Committed(timestamp) => {
                version.stamp(offset, timestamp);
                return Ok(Resolved::Committed(timestamp));
            }
            RecordState::Aborted | RecordState::Active => return Ok(Resolved::Invisible),
            RecordState::Prepared(timestamp) if timestamp > snapshot => return Ok(Resolved::Invisible),
            RecordState::Prepared(_) | RecordState::Pending => stall.wait(guard, record)?,
        }
    }
}

/// The version of `row` that a reader at `snapshot` sees; with `own` set, its own intent first. A tombstone is returned
/// as such.
///
/// # Errors
/// When the mapping is damaged.
#[inline]
pub fn visible_at<'g>(
    guard: &Guard<'g>,
    clock: &Clock,
    row: &RowHeader,
    snapshot: u64,
    own: u64,
    policy: StallPolicy,
) -> Result<Option<(VersionRef<'g>, Resolved)>, EpochError> {
    let mut offset = guard.protect(&row.head);
    while offset != 0 {
        let version = VersionRef::resolve(guard, offset)?;
        let resolved = resolve_begin(guard, clock, &version, snapshot, own, policy)?;
        match resolved {
            Resolved::Committed(timestamp) if timestamp > snapshot => {}
            Resolved::Invisible => {}
            Resolved::Committed(_) | Resolved::Own => return Ok(Some((version, resolved))),
        }
        offset = version.next(guard);
    }
    Ok(None)
}

/// The newest committed version of a row, and its timestamp; intents, `own`'s among them, and `NEVER`s are passed over.
///
/// Undecided records of others are helped or waited for only when they could be below `limit`: with the row owned, or
/// validated at `limit`, nothing else can be in the way. `limit` is a published snapshot, a commit
/// timestamp that is published (G6), or above every commit.
///
/// # Errors
/// When the mapping is damaged.
pub fn newest_committed<'g>(
    guard: &Guard<'g>,
    clock: &Clock,
    row: &RowHeader,
    limit: u64,
    own: u64,
    policy: StallPolicy,
) -> Result<Option<(VersionRef<'g>, u64)>, EpochError> {
    let mut offset = guard.protect(&row.head);
    while offset != 0 {
        let version = VersionRef::resolve(guard, offset)?;
        if let Resolved::Committed(timestamp) = resolve_begin(guard, clock, &version, limit, own, policy)?
            && timestamp <= limit
        {
            return Ok(Some((version, timestamp)));
        }
        offset = version.next(guard);
    }
    Ok(None)
}
