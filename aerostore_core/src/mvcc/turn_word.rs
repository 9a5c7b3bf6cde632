//! A word that says how far something is and whose turn it is, so that both change by one compare-and-swap.
#![forbid(unsafe_code)]

use crate::shm::OwnerId;

/// Stage in the low byte, then slot and incarnation; a live slot's incarnation is never 0.
pub(super) fn encode(stage: u8, owner: Option<OwnerId>) -> u64 {
    let owner = owner.map_or(0, |owner| u64::from(owner.slot) | u64::from(owner.incarnation) << 16);
    u64::from(stage) | owner << 8
}

/// Stage and owner.
pub(super) fn decode(word: u64) -> (u8, Option<OwnerId>) {
    let [stage, s0, s1, i0, i1, i2, i3, _] = word.to_le_bytes();
    let (slot, incarnation) = (u16::from_le_bytes([s0, s1]), u32::from_le_bytes([i0, i1, i2, i3]));
    (stage, (incarnation != 0).then_some(OwnerId { slot, incarnation }))
}
