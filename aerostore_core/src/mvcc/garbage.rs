//! The vacuum's shared state: who runs it, whether it is wanted, what it has done.

use crate::epoch::Role;
use crate::shm::Shared;
use crate::sync::{AtomicU64, Ordering};
use std::mem::size_of;

/// What every process knows of the vacuum.
#[repr(C)]
pub struct GarbageControl {
    role: Role,
    /// How often somebody has left garbage that only a walk over the rows finds.
    wanted: AtomicU64,
    /// The count up to which walks have found everything.
    done: AtomicU64,
    passes: AtomicU64,
    rows_removed: AtomicU64,
    versions_pruned: AtomicU64,
    snapshots_revoked: AtomicU64,
    /// Bytes of versions that snapshots held back when a walk last looked.
    held_bytes: AtomicU64,
    /// The newest request of a write that waits for a walk, for want of room.
    pressed: AtomicU64,
    /// The requests that were made when the last walk began that is over.
    walked: AtomicU64,
    _reserved: [u64; 5],
}

const _: () = assert!(size_of::<GarbageControl>() == 128);

// SAFETY: repr(C), atomics and padding only; all-zero is a vacuum that nobody runs or wants.
unsafe impl Shared for GarbageControl {}

/// Figures of the vacuum, of all processes since the mapping was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VacuumStats {
    /// Walks over all rows.
    pub passes: u64,
    /// Rows it has removed.
    pub rows_removed: u64,
    /// Superseded versions it has taken out; the end of a chain that was cut off counts once.
    pub versions_pruned: u64,
    /// Snapshots that were revoked.
    pub snapshots_revoked: u64,
    /// Bytes of versions that only old snapshots see, as of the last walk.
    pub held_bytes: u64,
    /// Whether there may be garbage that no session remembers.
    pub is_wanted: bool,
}

impl GarbageControl {
    /// Asks for a walk.
    pub fn want(&self) {
        self.request();
    }

    /// The number of the request.
    fn request(&self) -> u64 {
        // Release: what was left lies there for whoever sees the count.
        self.wanted.fetch_add(1, Ordering::Release) + 1
    }

    /// The requests so far, if any is open: also one that was done by a walk that has not told the write that waits for it, because it
    /// began before the request was pressed, or who walked died before it could.
    pub fn open_requests(&self) -> Option<u64> {
        let wanted = self.wanted.load(Ordering::Acquire);
        (wanted != self.done.load(Ordering::Relaxed) || self.is_pressed()).then_some(wanted)
    }

    /// Who runs it: one process at a time; two at once would only do work twice.
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// Counts what a part of a walk has done.
    pub fn count(&self, rows_removed: u64, versions_pruned: u64) {
        // Relaxed: figures for people.
        self.rows_removed.fetch_add(rows_removed, Ordering::Relaxed);
        self.versions_pruned.fetch_add(versions_pruned, Ordering::Relaxed);
    }

    /// Asks for a walk at once: a write finds no room. The number of the request.
    pub fn press(&self) -> u64 {
        let request = self.request();
        self.pressed.fetch_max(request, Ordering::Release);
        request
    }

    /// Does a write wait for a walk?
    pub fn is_pressed(&self) -> bool {
        !self.is_walked(self.pressed.load(Ordering::Acquire))
    }

    /// Is a walk that began after that request over, with all that follows from it?
    pub fn is_walked(&self, request: u64) -> bool {
        self.walked.load(Ordering::Acquire) >= request
    }

    /// A walk that began after so many requests, and all that followed from it, is over.
    pub fn relieve(&self, requests: u64) {
        self.walked.fetch_max(requests, Ordering::Release);
    }

    /// Counts a snapshot that was revoked.
    pub fn count_revoked(&self) {
        self.snapshots_revoked.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes of versions that snapshots held back when a walk last looked.
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes.load(Ordering::Relaxed)
    }

    /// What a walk has found to be held back.
    pub fn set_held_bytes(&self, bytes: u64) {
        self.held_bytes.store(bytes, Ordering::Relaxed);
    }

    /// A walk that began after `requests` is over; with nothing left, they are done.
    pub fn count_pass(&self, requests: u64, is_all_done: bool) {
        self.passes.fetch_add(1, Ordering::Relaxed);
        if is_all_done {
            self.done.fetch_max(requests, Ordering::Relaxed);
        }
    }

    /// Figures.
    pub fn stats(&self) -> VacuumStats {
        VacuumStats {
            passes: self.passes.load(Ordering::Relaxed),
            rows_removed: self.rows_removed.load(Ordering::Relaxed),
            versions_pruned: self.versions_pruned.load(Ordering::Relaxed),
            snapshots_revoked: self.snapshots_revoked.load(Ordering::Relaxed),
            held_bytes: self.held_bytes(),
            is_wanted: self.open_requests().is_some(),
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))] // atomics outside of a model
mod tests {
    use super::*;

    /// It was made before a walk began and said to be urgent after that; or who walked died before it said that it was over.
    #[test]
    fn a_request_that_a_walk_has_done_and_not_answered_is_open() {
        // SAFETY: repr(C), atomics only; all-zero is one that nobody has used.
        let control: GarbageControl = unsafe { std::mem::zeroed() };
        let request = control.press();
        control.count_pass(control.open_requests().unwrap(), true);
        assert!(control.is_pressed());
        control.relieve(control.open_requests().expect("somebody waits"));
        assert!(control.is_walked(request) && control.open_requests().is_none());
    }
}
