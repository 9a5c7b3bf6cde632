//! Revoking snapshots: the oldest ones, when they have held garbage back for too long or too much of it.
//!
//! Age         nobody notes when a snapshot is taken: that would cost every transaction a look at a clock. Who watches notes when
//!             it first saw it below the commit clock. Nobody takes a snapshot below the commit clock, so the transaction has
//!             had it ever since; and one that is not below it holds nothing back.
//! Who         every process that writes watches, by its own setting; that several do so is harmless, as a CAS decides (G5).

#![forbid(unsafe_code)]

use crate::epoch::SlotId;
use crate::txn::{Store, TxnError};

/// A share of the mapping, one in so many bytes: when as much is held back by snapshots, the oldest has to go.
const HELD_SHARE: u64 = 4;
/// The same while a write finds no room.
const HELD_SHARE_PRESSED: u64 = 64;

/// The snapshot of a checkpoint may be of any age, for as long as it goes on: how long it may not.
const CHECKPOINT_PATIENCE_NS: u64 = 10_000_000_000;

/// A snapshot that holds something back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    slot: SlotId,
    snapshot: u64,
    /// Monotonic nanoseconds when it was first seen to do so.
    since_ns: u64,
}

/// What one process has noticed about the snapshots of all.
#[derive(Default)]
pub struct SnapshotWatch {
    held: Vec<Held>,
    last: Vec<Held>,
}

impl SnapshotWatch {
    /// Looks at all snapshots, and revokes those that have held something back for `age_ns`, if there is such a limit.
    /// Returns how many.
    ///
    /// # Errors
    /// When the registry is damaged.
    pub fn look(&mut self, store: &Store, now_ns: u64, age_ns: Option<u64>) -> Result<u64, TxnError> {
        let clock = store.clock().now();
        std::mem::swap(&mut self.held, &mut self.last);
        let Self { held, last } = self;
        held.clear();
        store.registry().for_each_slot(|slot, words| {
            for snapshot in words.snapshots().into_iter().filter(|snapshot| *snapshot < clock) {
                let known = last.iter().find(|known| known.slot == slot && known.snapshot == snapshot);
                let since_ns = known.map_or(now_ns, |known| known.since_ns);
                held.push(Held { slot, snapshot, since_ns });
            }
        })?;
        let mut revoked = 0;
        if let Some(age_ns) = age_ns {
            let is_old = |held: &&Held| now_ns.saturating_sub(held.since_ns) >= age_ns;
            let checkpoints = store.checkpoints();
            let is_checkpoint =
                |held: &&Held| checkpoints.reads_at(held.snapshot, now_ns, CHECKPOINT_PATIENCE_NS);
            for old in held.iter().filter(is_old).filter(|held| !is_checkpoint(held)) {
                revoked += u64::from(revoke(store, old)?);
            }
        }
        Ok(revoked)
    }
}

fn revoke(store: &Store, held: &Held) -> Result<bool, TxnError> {
    let is_revoked = store.registry().slot(held.slot)?.revoke(held.snapshot);
    if is_revoked {
        store.garbage().count_revoked();
        // What it has held back, its session does not remember.
        store.garbage().want();
    }
    Ok(is_revoked)
}

/// Revokes the oldest snapshot that holds something back, if the walks over the rows have found
/// that snapshots hold back a large share of the mapping. True if one was revoked.
///
/// # Errors
/// When the registry is damaged.
pub(super) fn revoke_for_room(store: &Store) -> Result<bool, TxnError> {
    let garbage = store.garbage();
    let share = if garbage.is_pressed() { HELD_SHARE_PRESSED } else { HELD_SHARE };
    if garbage.held_bytes() <= store.arena().max_bytes() / share {
        return Ok(false);
    }
    let clock = store.clock().now();
    let mut oldest: Option<Held> = None;
    store.registry().for_each_slot(|slot, words| {
        for snapshot in words.snapshots().into_iter().filter(|snapshot| *snapshot < clock) {
            if oldest.is_none_or(|oldest| snapshot < oldest.snapshot) {
                oldest = Some(Held { slot, snapshot, since_ns: 0 });
            }
        }
    })?;
    let Some(oldest) = oldest else { return Ok(false) };
    // The next walk says how much is held back then.
    garbage.set_held_bytes(0);
    revoke(store, &oldest)
}
