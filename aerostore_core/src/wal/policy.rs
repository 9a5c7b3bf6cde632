//! When what is written gets synced.
//!
//! *Unsynced* is what lies in the current segment behind its last sync. A pass of the log writer looks for commits, writes
//! them, and then syncs or does not; a commit that waits for the disk waits for the sync in any case.
//!
//! Rules       Y1: a pass syncs what is unsynced when one of these holds, and does not otherwise: it is the policy to sync
//!             every batch (`every_commits` 1); `every_commits` is not 0, and so many records are unsynced; the last pass
//!             that left nothing unsynced began `delay` ago; `bytes` are unsynced, so that sessions may be about to wait
//!             for room in their rings; somebody has asked for it (`LogControl::hurry`).
//!             Y2: what a pass that left nothing unsynced did not find, committed after it had begun, or stands behind
//!             something undecided. So a commit is synced by the first pass that begins `delay` after it and finds all
//!             before it decided, or sooner.
//!             Y3: while something is unsynced, the writer sleeps no longer than until `delay` is over.
//!             Y4: a pass takes the wish for a sync before it asks for the watermark: what had committed when the wish was
//!             expressed is synced by the pass that takes it. Whoever wishes it does so again until it is durable, so that
//!             a writer that is killed, deposed or fails with the wish in its hands costs one wait.
//!             Y5: a writer that has just taken office has seen no pass that left nothing unsynced: its first one syncs.

#![forbid(unsafe_code)]

use std::time::Duration;

/// When the log writer syncs (Y1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncPolicy {
    /// So many commits are synced together, if they come within the delay; 1: every batch at once; 0: however many.
    pub every_commits: u64,
    /// The longest that a commit waits until its sync begins; `MAX`: any time.
    pub delay: Duration,
    /// Bytes after which a sync does not wait any longer.
    pub bytes: u64,
}

impl SyncPolicy {
    /// Every batch at once.
    pub const EVERY_BATCH: Self = Self { every_commits: 1, delay: Duration::MAX, bytes: u64::MAX };
    /// Only when somebody asks for it.
    pub const ON_DEMAND: Self = Self { every_commits: 0, delay: Duration::MAX, bytes: u64::MAX };
}

/// What is written and not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Unsynced {
    pub(super) records: u64,
    pub(super) bytes: u64,
}

/// When a log writer was last without anything unsynced.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clean {
    /// The beginning of the last pass that left nothing unsynced; `None` before the first (Y5).
    begun_ns: Option<u64>,
}

impl Clean {
    /// A pass that began at `begun_ns` left nothing unsynced.
    pub(super) fn note(&mut self, begun_ns: u64) {
        self.begun_ns = Some(begun_ns);
    }

    /// How long what is unsynced may still wait; at once is nothing.
    pub(super) fn left(&self, policy: &SyncPolicy, now_ns: u64) -> Duration {
        match self.begun_ns {
            _ if policy.delay == Duration::MAX => Duration::MAX,
            Some(begun_ns) => {
                policy.delay.saturating_sub(Duration::from_nanos(now_ns.saturating_sub(begun_ns)))
            }
            None => Duration::ZERO,
        }
    }

    /// Y1, but for what somebody has asked for.
    pub(super) fn is_due(&self, policy: &SyncPolicy, unsynced: Unsynced, now_ns: u64) -> bool {
        policy.every_commits == 1
            || (policy.every_commits != 0 && unsynced.records >= policy.every_commits)
            || unsynced.bytes >= policy.bytes
            || self.left(policy, now_ns).is_zero()
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
