//! The slabs of one tag, on a list that only grows (S3).
#![forbid(unsafe_code)]

use super::{SlabRef, slab_header_offset, slab_index_of_header};
use crate::shm::{Arena, ShmError};
use crate::sync::{AtomicU64, Ordering};

/// Puts slab `index` on `list`. Its header's tag is set, its blocks are not handed out yet.
pub(in crate::shm) fn push_listed(arena: &Arena, index: u32, list: &AtomicU64) {
    let Some(header) = arena.slab_header(index) else { return };
    let offset = slab_header_offset(index);
    // Acquire: pairs with the Release of other pushes; their `next` is seen.
    let mut head = list.load(Ordering::Acquire);
    loop {
        // Relaxed: the CAS below publishes it.
        header.next.store(head, Ordering::Relaxed);
        // AcqRel: publishes the header's fields to who walks the list; S3.
        match list.compare_exchange(head, offset, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => break,
            Err(found) => head = found,
        }
    }
    // Relaxed: only this slab's owners read it, and they follow each other by the slab's word.
    header.listed.store(1, Ordering::Relaxed);
}

/// Whether slab `index` is on `list`: what an adopter asks when its predecessor died between pushing and noting so.
pub(in crate::shm) fn is_on_list(arena: &Arena, index: u32, list: &AtomicU64) -> Result<bool, ShmError> {
    let mut found = false;
    walk(arena, list, |slab| found |= slab.index == index)?;
    Ok(found)
}

/// The slabs on `list`, which `Heap::alloc_tagged` fills, sorted by address.
///
/// # Errors
/// `Corrupt` when the list leads to something that is no slab, or round in a circle.
pub fn tagged_slabs(arena: &Arena, list: &AtomicU64) -> Result<Vec<SlabRef>, ShmError> {
    let mut slabs = Vec::new();
    walk(arena, list, |slab| slabs.push(slab))?;
    slabs.sort_unstable_by_key(|slab| slab.index);
    Ok(slabs)
}

fn walk(arena: &Arena, list: &AtomicU64, mut visit: impl FnMut(SlabRef)) -> Result<(), ShmError> {
    // Acquire: pairs with the Release in `push_listed`.
    let mut offset = list.load(Ordering::Acquire);
    let mut steps = 0;
    while offset != 0 {
        let slab = slab_index_of_header(offset).and_then(|index| arena.slab_ref(index));
        let Some(slab) = slab else {
            return Err(ShmError::Corrupt { offset, what: "a list of slabs leads to something else" });
        };
        steps += 1;
        if steps > arena.slab_end() {
            return Err(ShmError::Corrupt { offset, what: "a list of slabs goes round in a circle" });
        }
        visit(slab);
        let header = arena.slab_header(slab.index).map(|header| header.next.load(Ordering::Acquire));
        offset = header.unwrap_or(0);
    }
    Ok(())
}
