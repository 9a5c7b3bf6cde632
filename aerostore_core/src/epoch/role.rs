//! A role that one process at a time has: background work that goes on for all.
//!
//! Layout      `Role`, 16 bytes in shared memory; all-zero is a role that nobody has.
//! Rules       whoever has the role gives signs of life in it. One who is dead, or silent for too long, is replaced by a CAS. One who was
//!             replaced while stopped may go on for a while without knowing: what is done in a role must be harmless when two do it.

use crate::shm::Shared;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Who has a role, and when it last gave a sign of life.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Role {
    /// Process that has it, in the form of the log's holder word; 0 while nobody has.
    holder: AtomicU32,
    _pad: u32,
    /// Monotonic nanoseconds of its last sign of life.
    heartbeat_ns: AtomicU64,
}

#[cfg(not(loom))]
const _: () = assert!(std::mem::size_of::<Role>() == 16);

// SAFETY: repr(C), atomics and padding only; any bits are valid.
unsafe impl Shared for Role {}

impl Role {
    /// Who has it, or 0.
    pub fn holder(&self) -> u32 {
        self.holder.load(Ordering::Acquire)
    }

    /// Gives a sign of life in the role, or takes it from one who is dead or has been silent for longer than `patience_ns`.
    /// True for who has it then.
    pub fn stand(&self, me: u32, now_ns: u64, patience_ns: u64, is_dead: impl FnOnce(u32) -> bool) -> bool {
        let holder = self.holder();
        if holder != me {
            let is_free = holder == 0 || self.silence_ns(now_ns) > patience_ns || is_dead(holder);
            if !is_free
                || self.holder.compare_exchange(holder, me, Ordering::AcqRel, Ordering::Acquire).is_err()
            {
                return false;
            }
        }
        self.heartbeat_ns.store(now_ns, Ordering::Relaxed);
        true
    }

    /// How long it has been since the last sign of life.
    pub fn silence_ns(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.heartbeat_ns.load(Ordering::Relaxed))
    }

    /// Gives a sign of life, if the role is still `me`'s.
    pub fn beat(&self, me: u32, now_ns: u64) -> bool {
        let is_mine = self.holder() == me;
        if is_mine {
            self.heartbeat_ns.store(now_ns, Ordering::Relaxed);
        }
        is_mine
    }

    /// Gives the role up.
    pub fn resign(&self, me: u32) {
        // Lost when somebody else has it by now.
        let _ = self.holder.compare_exchange(me, 0, Ordering::AcqRel, Ordering::Acquire);
    }
}
