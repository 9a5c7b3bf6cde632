//! The shared state all sessions of a process work on: arena, registry, clock, catalog, log control.

#![forbid(unsafe_code)]

use crate::epoch::{Guard, Registry};
use crate::mvcc::{
    Catalog, CheckpointControl, Clock, GarbageControl, StallPolicy, SweepControl, WatchControl,
};
use crate::shm::{Arena, RelPtr, Shared, ShmError};
use crate::sync::{AtomicU64, Ordering};
use crate::txn::TxnError;
use crate::wal::LogControl;
use std::mem::size_of;
use std::sync::Arc;

/// Where the fixed parts lie in the arena's system area.
#[derive(Clone, Copy, Debug)]
pub struct SystemArea {
    clock: u64,
    catalog: u64,
    log: u64,
    garbage: u64,
    checkpoints: u64,
    watches: u64,
    sweeps: u64,
    registry: u64,
}

const LINE: u64 = 64;
/// How long a transaction queues for a row unless told otherwise.
const LOCK_TIMEOUT_NS: u64 = 1_000_000_000;
const CATALOG: u64 = LINE;
const LOG: u64 = CATALOG + size_of::<Catalog>() as u64;
const GARBAGE: u64 = LOG + (size_of::<LogControl>() as u64).next_multiple_of(LINE);
const CHECKPOINTS: u64 = GARBAGE + size_of::<GarbageControl>() as u64;
const WATCHES: u64 = CHECKPOINTS + size_of::<CheckpointControl>() as u64;
const SWEEPS: u64 = WATCHES + size_of::<WatchControl>() as u64;
const REGISTRY: u64 = (SWEEPS + size_of::<SweepControl>() as u64).next_multiple_of(256);

impl SystemArea {
    /// The parts of the area that begins at `start`.
    pub fn at(start: u64) -> Self {
        Self {
            clock: start,
            catalog: start + CATALOG,
            log: start + LOG,
            garbage: start + GARBAGE,
            checkpoints: start + CHECKPOINTS,
            watches: start + WATCHES,
            sweeps: start + SWEEPS,
            registry: start + REGISTRY,
        }
    }

    /// Bytes needed.
    pub const fn bytes() -> u64 {
        REGISTRY + Registry::bytes()
    }

    /// Offset of the registry.
    pub fn registry(&self) -> u64 {
        self.registry
    }
}

/// What a process holds open.
pub struct Store {
    arena: Arena,
    registry: Arc<Registry>,
    system: SystemArea,
    /// How long this process waits for others' undecided transactions.
    pub stall: StallPolicy,
    /// Bytes of a session's log ring.
    pub ring_bytes: u64,
    lock_timeout_ns: AtomicU64,
}

impl Store {
    /// A store over an attached arena; fails when the system area is not where it should be.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn new(
        arena: Arena,
        registry: Arc<Registry>,
        system: SystemArea,
        ring_bytes: u64,
    ) -> Result<Self, TxnError> {
        // Checked once, so that the accessors below cannot fail.
        arena.resolve(RelPtr::<Clock>::new(system.clock))?;
        arena.resolve(RelPtr::<Catalog>::new(system.catalog))?;
        arena.resolve(RelPtr::<LogControl>::new(system.log))?;
        arena.resolve(RelPtr::<GarbageControl>::new(system.garbage))?;
        arena.resolve(RelPtr::<CheckpointControl>::new(system.checkpoints))?;
        arena.resolve(RelPtr::<WatchControl>::new(system.watches))?;
        arena.resolve(RelPtr::<SweepControl>::new(system.sweeps))?;
        Ok(Self {
            arena,
            registry,
            system,
            stall: StallPolicy::default(),
            ring_bytes,
            lock_timeout_ns: AtomicU64::new(LOCK_TIMEOUT_NS),
        })
    }

    /// The arena.
    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// How long a transaction of this process queues for a row.
    pub fn lock_timeout_ns(&self) -> u64 {
        // Relaxed: a setting takes effect soon, and orders nothing.
        self.lock_timeout_ns.load(Ordering::Relaxed)
    }

    /// Sets how long a transaction of this process queues for a row.
    pub fn set_lock_timeout_ns(&self, limit: u64) {
        self.lock_timeout_ns.store(limit, Ordering::Relaxed);
    }

    /// The registry.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    #[inline]
    fn fixed<T: Shared>(&self, offset: u64) -> &T {
        match self.arena.resolve(RelPtr::new(offset)) {
            Ok(part) => part,
            Err(error) => unreachable!("checked when the store was made: {error}"),
        }
    }

    /// The commit clock.
    #[inline]
    pub fn clock(&self) -> &Clock {
        self.fixed(self.system.clock)
    }

    /// The catalog.
    pub fn catalog(&self) -> &Catalog {
        self.fixed(self.system.catalog)
    }

    /// Offset of the catalog's head word.
    pub fn catalog_offset(&self) -> u64 {
        self.system.catalog
    }

    /// The log's shared state.
    #[inline]
    pub fn log(&self) -> &LogControl {
        self.fixed(self.system.log)
    }

    /// The vacuum's shared state.
    #[inline]
    pub fn garbage(&self) -> &GarbageControl {
        self.fixed(self.system.garbage)
    }

    /// The checkpoints' shared state.
    pub fn checkpoints(&self) -> &CheckpointControl {
        self.fixed(self.system.checkpoints)
    }

    /// Which tables somebody follows.
    #[inline]
    pub fn watches(&self) -> &WatchControl {
        self.fixed(self.system.watches)
    }

    /// The sweeper's shared state.
    pub fn sweeps(&self) -> &SweepControl {
        self.fixed(self.system.sweeps)
    }

    /// The hash of the key of the row at `row`.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub fn row_hash(guard: &Guard<'_>, row: u64) -> Result<u64, ShmError> {
        let header: &crate::mvcc::RowHeader = guard.resolve(row)?;
        Ok(header.hash.load(crate::sync::Ordering::Relaxed))
    }
}
