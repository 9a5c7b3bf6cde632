//! What the database is doing, in figures.

#![forbid(unsafe_code)]

use crate::db::workers::holder_process;
use crate::db::{Database, Error};
use crate::epoch::{NO_SNAPSHOT, SlotId};
use crate::mvcc::{CheckpointStats, SweepStats, VacuumStats};
use crate::shm::{BlockKind, KindBytes, census};
use crate::sync::Ordering;
use crate::txn::{Store, TxnError, ring_at};
use crate::wal::{LogStats, RingStats, WalError};
use std::collections::BTreeMap;

/// One session of some process.
#[derive(Clone, Debug)]
pub struct SlotStatus {
    /// Slot number.
    pub slot: u16,
    /// Process id, as that process knows itself.
    pub pid: u32,
    /// The timestamp it reads at, if it has a transaction open.
    pub snapshot: Option<u64>,
    /// Blocks waiting to be freed.
    pub retired: u64,
    /// Its log ring; all zero before it is made.
    pub ring: RingStats,
}

/// Figures of an open database.
#[derive(Clone, Debug)]
pub struct Status {
    /// Bytes of the mapping in use.
    pub used_bytes: u64,
    /// Bytes it may grow to.
    pub max_bytes: u64,
    /// Bytes of the mapping's file that may be in use; 2 MiB more may be there already while it grows.
    pub file_bytes: u64,
    /// Bytes of it whose memory has been given back to the operating system.
    pub given_back_bytes: u64,
    /// Rows in all tables, as counted at commits.
    pub rows: u64,
    /// Newest commit timestamp.
    pub clock: u64,
    /// Oldest timestamp that anyone may read at.
    pub horizon: u64,
    /// Process id of the session with the oldest snapshot.
    pub oldest_pid: Option<u32>,
    /// The log.
    pub log: LogStats,
    /// Process id of the log writer.
    pub log_writer_pid: Option<u32>,
    /// Commits by which the oldest snapshot is behind: what lies in between cannot be pruned.
    pub horizon_lag: u64,
    /// Checkpoints.
    pub checkpoint: CheckpointStats,
    /// Process id of the one that takes a checkpoint, while one does.
    pub checkpoint_pid: Option<u32>,
    /// The vacuum.
    pub vacuum: VacuumStats,
    /// Process id of the one that runs the vacuum, if it has been needed.
    pub vacuum_pid: Option<u32>,
    /// The sweeper of rows that are past their time to live.
    pub sweep: SweepStats,
    /// Process id of the one that sweeps, if it has been needed.
    pub sweep_pid: Option<u32>,
    /// Every session.
    pub slots: Vec<SlotStatus>,
}

impl Database {
    /// What the mapping's memory is used for, by kind of block. Reads the state of every block there is, so it is for reports, and
    /// holds back garbage meanwhile.
    ///
    /// # Errors
    /// `Closed`; `TooManySessions`.
    pub fn memory(&self) -> Result<BTreeMap<Option<BlockKind>, KindBytes>, Error> {
        let session = self.0.session()?;
        let found = {
            let _guard = session.participant().pin();
            census(self.0.store.arena())
        };
        self.0.pool().put(session);
        Ok(found)
    }

    /// Figures, as of now.
    ///
    /// # Errors
    /// `Closed`; `Corrupt` when the mapping is damaged.
    pub fn status(&self) -> Result<Status, Error> {
        let inner = &self.0;
        inner.check_open()?;
        let store = &inner.store;
        let registry = store.registry();
        let mut slots = Vec::new();
        let live = registry.live_slots()?;
        let pid_of = |holder| {
            let process = holder_process(holder);
            live.iter().find(|session| holder != 0 && session.1 == process).map(|session| session.2)
        };
        for (owner, _, pid) in &live {
            let slot = registry.slot(SlotId(owner.slot))?;
            let ring = slot.ring.load(Ordering::Acquire);
            slots.push(SlotStatus {
                slot: owner.slot,
                pid: *pid,
                snapshot: Some(slot.snapshot()).filter(|snapshot| *snapshot != NO_SNAPSHOT),
                retired: slot.retired_count.load(Ordering::Relaxed),
                ring: if ring == 0 { RingStats::default() } else { ring_stats(store, ring)? },
            });
        }
        let session = inner.session()?;
        let rows = super::open::row_count(&session);
        inner.pool().put(session);
        let (clock, horizon) = (store.clock().now(), registry.horizon(store.clock().word())?);
        Ok(Status {
            used_bytes: store.arena().used_bytes(),
            max_bytes: store.arena().max_bytes(),
            file_bytes: store.arena().file_bytes(),
            given_back_bytes: store.arena().given_back_bytes(),
            rows: rows?,
            clock,
            horizon,
            horizon_lag: clock.saturating_sub(horizon),
            checkpoint: store.checkpoints().stats(),
            checkpoint_pid: pid_of(store.checkpoints().role().holder()),
            vacuum: store.garbage().stats(),
            vacuum_pid: pid_of(store.garbage().role().holder()),
            sweep: store.sweeps().stats(),
            sweep_pid: pid_of(store.sweeps().role().holder()),
            oldest_pid: slots
                .iter()
                .filter(|slot| slot.snapshot.is_some())
                .min_by_key(|slot| slot.snapshot)
                .map(|slot| slot.pid),
            log: store.log().stats(),
            log_writer_pid: pid_of(store.log().holder()),
            slots,
        })
    }
}

fn ring_stats(store: &Store, offset: u64) -> Result<RingStats, TxnError> {
    let ring = ring_at(store.arena(), offset)?;
    ring.stats(store.log().durable_ts()).map_err(|damage| WalError::Ring(damage).into())
}
