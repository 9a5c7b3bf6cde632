//! What the database is doing, in figures.

#![forbid(unsafe_code)]

use crate::db::{Database, Error};
use crate::epoch::{NO_SNAPSHOT, SlotId};
use crate::mvcc::VacuumStats;
use crate::sync::Ordering;
use crate::txn::ring_at;
use crate::wal::LogStats;

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
    /// Bytes in use of its log ring.
    pub ring_used_bytes: u64,
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
    /// The vacuum.
    pub vacuum: VacuumStats,
    /// Process id of the one that runs the vacuum, if it has been needed.
    pub vacuum_pid: Option<u32>,
    /// Every session.
    pub slots: Vec<SlotStatus>,
}

impl Database {
    /// Figures, as of now.
    ///
    /// # Errors
    /// `Closed`; `Corrupt` when the mapping is damaged.
    pub fn status(&self) -> Result<Status, Error> {
        let inner = &self.0;
        inner.check_open()?;
        let store = &inner.store;
        let registry = store.registry();
        let holder = super::workers::holder_process(store.log().holder());
        let mut slots = Vec::new();
        let mut log_writer_pid = None;
        let vacuum_holder = store.garbage().holder();
        let mut vacuum_pid = None;
        for (owner, process, pid) in registry.live_slots()? {
            let slot = registry.slot(SlotId(owner.slot))?;
            let ring = slot.ring.load(Ordering::Acquire);
            if store.log().holder() != 0 && process == holder {
                log_writer_pid = Some(pid);
            }
            if vacuum_holder != 0 && process == super::workers::holder_process(vacuum_holder) {
                vacuum_pid = Some(pid);
            }
            slots.push(SlotStatus {
                slot: owner.slot,
                pid,
                snapshot: Some(slot.snapshot()).filter(|snapshot| *snapshot != NO_SNAPSHOT),
                retired: slot.retired_count.load(Ordering::Relaxed),
                ring_used_bytes: if ring == 0 { 0 } else { ring_at(store.arena(), ring)?.used_bytes() },
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
            vacuum: store.garbage().stats(),
            vacuum_pid,
            oldest_pid: slots
                .iter()
                .filter(|slot| slot.snapshot.is_some())
                .min_by_key(|slot| slot.snapshot)
                .map(|slot| slot.pid),
            log: store.log().stats(),
            log_writer_pid,
            slots,
        })
    }
}
