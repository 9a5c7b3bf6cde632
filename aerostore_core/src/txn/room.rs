//! A write that finds no room: its session gives back what garbage it can, has the vacuum look for the rest, and tries once more.

#![forbid(unsafe_code)]

use crate::epoch::LiveSnapshots;
use crate::sys::monotonic_ns;
use crate::txn::{Session, TxnError};
use std::time::Duration;

/// How long a write waits for the vacuum.
const WAIT_NS: u64 = 5_000_000_000;
/// The same while no process runs the vacuum.
const WAIT_FOR_HOLDER_NS: u64 = 500_000_000;
/// How long a session that has waited does not wait again while nothing is committed and no reader ends, which is some times as long as
/// it waited: a mapping full of rows is full. What others give back unseen is found after that: who aborts, or stops reading at the clock.
const PAUSES: u64 = 8;
/// At most.
const PAUSE_NS: u64 = 1_000_000_000;
const POLL: Duration = Duration::from_millis(1);

/// The last wait of a session for the vacuum.
pub(super) struct Looked {
    until_ns: u64,
    /// As of before it, with the clock: all garbage was looked for that they did not hold back.
    live: LiveSnapshots,
}

impl Looked {
    /// Would waiting again find nothing?
    fn holds(&self, now_ns: u64, live: &LiveSnapshots) -> bool {
        now_ns < self.until_ns && self.live == *live
    }
}

impl Session {
    /// Makes what room it can, between operations.
    #[cold]
    pub(super) fn make_room(&mut self) -> Result<(), TxnError> {
        self.prune(0)?;
        // Else one that fails for want of a record never gets as many as it takes to look which can be used again.
        self.retire_records()?;
        self.collect_all()?;
        let begun_ns = monotonic_ns();
        let mut live = LiveSnapshots::default();
        live.look(self.store.registry(), self.store.clock().word())?;
        if self.looked_for_room.as_ref().is_some_and(|looked| looked.holds(begun_ns, &live)) {
            return Ok(()); // what the session itself had may be enough
        }
        let garbage = self.store.garbage();
        let request = garbage.press();
        while !garbage.is_walked(request) {
            let limit_ns = if garbage.role().holder() == 0 { WAIT_FOR_HOLDER_NS } else { WAIT_NS };
            if monotonic_ns() - begun_ns > limit_ns {
                break;
            }
            std::thread::sleep(POLL);
        }
        let now_ns = monotonic_ns();
        let pause_ns = (PAUSES * (now_ns - begun_ns)).min(PAUSE_NS);
        self.looked_for_room = Some(Looked { until_ns: now_ns + pause_ns, live });
        self.collect_all()
    }

    /// Frees what nobody can reach, and gives slabs back that are empty then.
    fn collect_all(&mut self) -> Result<(), TxnError> {
        // The transaction's reservation would hold back what was retired since, by this session and by others.
        self.participant.rest();
        self.limbo.collect_now(&self.participant, &mut self.heap)?;
        self.heap.trim();
        Ok(())
    }
}
