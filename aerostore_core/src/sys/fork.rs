//! Fork detection: a child shares its parent's descriptors and mappings, and must not pass for the parent.
//!
//! Layout      a process-wide table of lock descriptors; a generation number that `fork` raises in the child.
//! Invariants  F1: a lock descriptor is in the table from the moment it is open. F2: the child closes all of them before
//!             `fork` returns, so the parent's locks die with the parent. F3: a child never uses or closes a number from
//!             before the fork, which may by then name another file.
//! Ordering    `TABLE_BUSY` is held over each change of the table, and by the forking thread over the fork itself.

use std::os::fd::RawFd;

use super::SysError;

#[cfg(not(loom))]
mod imp {
    use std::os::fd::RawFd;
    use std::sync::Once;

    use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering};

    pub(super) const LIMIT: u32 = 256;
    const EMPTY: u32 = 0;

    static INSTALL: Once = Once::new();
    static GENERATION: AtomicU64 = AtomicU64::new(0);
    static TABLE_BUSY: AtomicBool = AtomicBool::new(false);
    /// Descriptor number plus one; `EMPTY` where there is none.
    static TABLE: [AtomicU32; LIMIT as usize] = [const { AtomicU32::new(EMPTY) }; LIMIT as usize];

    pub(super) fn install() {
        INSTALL.call_once(|| {
            // SAFETY: the handlers only use atomics, `close` and `sched_yield`, which are allowed after a fork in a
            // process of many threads. Failure means no memory for the registration; then forks go unnoticed.
            unsafe { libc::pthread_atfork(Some(before), Some(after_in_parent), Some(after_in_child)) };
        });
    }

    pub(super) fn generation() -> u64 {
        // Relaxed: it only changes in a process that has one thread, before that thread goes on.
        GENERATION.load(Ordering::Relaxed)
    }

    pub(super) fn with_table<R>(change: impl FnOnce() -> R) -> R {
        before_fork();
        let result = change();
        unlock_table();
        result
    }

    pub(super) fn insert(descriptor: RawFd) -> bool {
        // Relaxed: the table is locked by the caller.
        let empty = TABLE.iter().find(|entry| entry.load(Ordering::Relaxed) == EMPTY);
        if let Some(entry) = empty {
            entry.store(descriptor.cast_unsigned() + 1, Ordering::Relaxed);
        }
        empty.is_some()
    }

    pub(super) fn remove(descriptor: RawFd) {
        for entry in &TABLE {
            // Relaxed: the table is locked by the caller.
            if entry.load(Ordering::Relaxed) == descriptor.cast_unsigned() + 1 {
                entry.store(EMPTY, Ordering::Relaxed);
            }
        }
    }

    fn before_fork() {
        // Acquire: pairs with the Release in `unlock_table`.
        while TABLE_BUSY.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            // SAFETY: no preconditions.
            unsafe { libc::sched_yield() };
        }
    }

    fn unlock_table() {
        // Release: pairs with the Acquire in `before_fork`.
        TABLE_BUSY.store(false, Ordering::Release);
    }

    extern "C" fn before() {
        before_fork();
    }

    extern "C" fn after_in_parent() {
        unlock_table();
    }

    extern "C" fn after_in_child() {
        for entry in &TABLE {
            let descriptor = entry.load(Ordering::Relaxed);
            if descriptor != EMPTY {
                entry.store(EMPTY, Ordering::Relaxed);
                // SAFETY: F1: the number is an open lock descriptor of the parent, copied into this child.
                unsafe { libc::close((descriptor - 1).cast_signed()) };
            }
        }
        GENERATION.fetch_add(1, Ordering::Relaxed);
        unlock_table();
    }
}

#[cfg(loom)]
mod imp {
    //! Under loom nothing forks, and atomics cannot be statics.
    use std::os::fd::RawFd;

    pub(super) const LIMIT: u32 = u32::MAX;
    pub(super) fn install() {}
    pub(super) fn generation() -> u64 {
        0
    }
    pub(super) fn with_table<R>(change: impl FnOnce() -> R) -> R {
        change()
    }
    pub(super) fn insert(_: RawFd) -> bool {
        true
    }
    pub(super) fn remove(_: RawFd) {}
}

/// A number that is greater in a forked child than it was in its parent; handles keep the one they were opened at.
#[inline]
fn fork_generation() -> u64 {
    imp::install();
    imp::generation()
}

/// Whether this process was forked off after a handle took `opened_at` from [`fork_generation`].
#[inline]
fn is_forked_child(opened_at: u64) -> bool {
    imp::generation() != opened_at
}

/// The process that has opened a handle, and whose alone is what it stands for.
#[derive(Clone, Copy, Debug)]
pub struct Opener {
    opened_at: u64,
    process: u32,
}

impl Opener {
    /// This process, as it is.
    pub fn this_process() -> Self {
        Self { opened_at: fork_generation(), process: std::process::id() }
    }

    /// Whether this process was forked off since. That is one load, and does not notice a child that was made past `fork`.
    #[inline]
    pub fn has_forked(&self) -> bool {
        is_forked_child(self.opened_at)
    }

    /// Whether this is any other process: asked before something is given back, as it takes a system call.
    pub fn is_another(&self) -> bool {
        self.has_forked() || std::process::id() != self.process
    }
}

/// A descriptor that a forked child does not keep.
#[derive(Debug)]
pub(super) struct ParentOnly {
    descriptor: RawFd,
    opened_at: u64,
}

impl ParentOnly {
    /// Takes the descriptor that `open` returns beside what it found; no fork comes between its opening and its registration.
    pub(super) fn open<T>(
        open: impl FnOnce() -> Result<(RawFd, T), SysError>,
    ) -> Result<(Self, T), SysError> {
        let opened_at = fork_generation();
        imp::with_table(|| {
            let (descriptor, found) = open()?;
            if imp::insert(descriptor) {
                return Ok((Self { descriptor, opened_at }, found));
            }
            // SAFETY: the descriptor was opened above and nobody else knows it.
            unsafe { libc::close(descriptor) };
            Err(SysError::TooManyLockFiles { limit: imp::LIMIT })
        })
    }

    /// The descriptor number, unless this is a forked child.
    pub(super) fn number(&self) -> Result<RawFd, SysError> {
        if is_forked_child(self.opened_at) { Err(SysError::Forked) } else { Ok(self.descriptor) }
    }
}

impl Drop for ParentOnly {
    fn drop(&mut self) {
        imp::with_table(|| {
            // F3: in a child the number is closed already and may name another file.
            if !is_forked_child(self.opened_at) {
                imp::remove(self.descriptor);
                // SAFETY: opened by `ParentOnly::open` and owned since.
                unsafe { libc::close(self.descriptor) };
            }
        });
    }
}
