//! Growth: the file gets longer by extents, each reserved and present before anybody learns of it.
//!
//! Invariants  E1: an extent is published only when all its pages exist, so no touch of published memory can meet a full file
//!             system; what is given back is touched by nobody (X5 of `giveback`). E2: the last published extents are kept back; they are there also when the file system, not our limit,
//!             is what ran out.
//! Ordering    `extent_count` is raised by an `AcqRel` CAS; who learns of an offset from another process, learns of its extent.
#![forbid(unsafe_code)]

use super::slab::{EXTENT_BYTES, SLABS_PER_EXTENT, slab_of};
use super::{Arena, ShmError};
use crate::sync::Ordering;
use crate::sys::{wait, wake};
use std::time::Duration;

/// Whether an allocation may take the memory kept back for aborting and reclaiming.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reserve {
    /// Refused once only the reserve is left.
    No,
    /// For work without which nothing can be freed.
    Yes,
}

impl Arena {
    /// One more than the last slab of the extents that exist.
    #[inline]
    pub(super) fn slab_end(&self) -> u32 {
        slab_of(self.refresh_end())
    }

    /// One more than the last slab that `reserve` may take.
    pub(super) fn slab_end_for(&self, reserve: Reserve) -> u32 {
        let kept_back = match reserve {
            Reserve::No => self.reserve_extents() * SLABS_PER_EXTENT,
            Reserve::Yes => 0,
        };
        let end = u64::from(self.slab_end()).saturating_sub(kept_back);
        u32::try_from(end).unwrap_or(u32::MAX)
    }

    /// Adds an extent, or finds that another process just did.
    pub(super) fn grow(&self) -> Result<(), ShmError> {
        // Acquire: pairs with the Release below.
        let count = self.header().extent_count.load(Ordering::Acquire);
        let start = count.saturating_mul(EXTENT_BYTES);
        if start.saturating_add(EXTENT_BYTES) > self.max_bytes() {
            return Err(self.out_of_space());
        }
        // All pages are made present before others learn of the extent, at the price of clearing 2 MiB here: see the
        // note on interrupted `fallocate` in `sys::Mapping`. E1.
        self.mapping()
            .make_present(start, EXTENT_BYTES)
            .map_err(|error| if error.is_out_of_space() { self.out_of_space() } else { error.into() })?;
        // AcqRel: pairs with the Acquire loads of the count. A lost race means that the extent is there as well.
        let _ = self.header().extent_count.compare_exchange(
            count,
            count + 1,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        self.refresh_end();
        self.end_growth_wait();
        Ok(())
    }

    /// Makes the extent present that is to be added next, if there may be one: whoever adds it finds it cleared. Its pages are the
    /// file's from then on, and nobody's; a death leaves nothing to mend.
    ///
    /// # Errors
    /// `OutOfSpace` when the file system is full; `Sys`.
    pub fn prepare_next(&self) -> Result<(), ShmError> {
        // Relaxed: an extent that is added meanwhile is there, and stays as it is.
        let start = self.header().extent_count.load(Ordering::Relaxed).saturating_mul(EXTENT_BYTES);
        if start.saturating_add(EXTENT_BYTES) > self.max_bytes() {
            return Ok(());
        }
        self.mapping()
            .make_present(start, EXTENT_BYTES)
            .map_err(|error| if error.is_out_of_space() { self.out_of_space() } else { error.into() })
    }

    /// Waits until this process has added extents since there were `seen` such additions, or somebody calls
    /// [`Arena::end_growth_wait`]; the number now. At most for `timeout`.
    pub fn wait_for_growth(&self, seen: u32, timeout: Duration) -> u32 {
        wait(self.growths(), seen, Some(timeout));
        // Relaxed: a count.
        self.growths().load(Ordering::Relaxed)
    }

    /// Ends the wait of whoever waits for growth.
    pub fn end_growth_wait(&self) {
        self.growths().fetch_add(1, Ordering::Relaxed);
        wake(self.growths(), 1);
    }

    /// The error that says how full the arena is.
    pub(crate) fn out_of_space(&self) -> ShmError {
        ShmError::OutOfSpace { used: self.refresh_end(), limit: self.max_bytes() }
    }
}

#[cfg(test)]
#[cfg(not(loom))] // needs an arena
mod tests {
    use super::*;
    use crate::shm::ArenaOptions;

    #[test]
    fn an_extent_is_prepared_without_being_added() {
        let options = ArenaOptions { max_bytes: 4 * EXTENT_BYTES, reserve_extents: 0, ..Default::default() };
        let arena = Arena::anonymous(&options).unwrap();
        loop {
            let end = arena.file_bytes();
            arena.prepare_next().unwrap();
            assert_eq!(arena.file_bytes(), end, "it is nobody's yet");
            if end == arena.max_bytes() {
                return;
            }
            assert!(arena.mapping().is_present(end, EXTENT_BYTES));
            arena.grow().unwrap();
            assert_eq!(arena.file_bytes(), end + EXTENT_BYTES);
        }
    }

    #[test]
    fn growth_ends_the_wait_for_it() {
        let arena = Arena::anonymous(&ArenaOptions::default()).unwrap();
        let seen = arena.wait_for_growth(0, Duration::ZERO);
        assert_eq!(arena.wait_for_growth(seen, Duration::from_millis(1)), seen);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| arena.wait_for_growth(seen, Duration::from_mins(1)));
            arena.grow().unwrap();
            assert_ne!(waiter.join().unwrap(), seen);
        });
    }
}
