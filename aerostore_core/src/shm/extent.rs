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
        Ok(())
    }

    /// The error that says how full the arena is.
    pub(crate) fn out_of_space(&self) -> ShmError {
        ShmError::OutOfSpace { used: self.refresh_end(), limit: self.max_bytes() }
    }
}
