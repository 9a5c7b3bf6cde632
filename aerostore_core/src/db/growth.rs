//! The next extent, made while the last one is filled: by a thread of its own. Clearing 2 MiB takes the time of some hundred writes, and
//! of ten thousand where a virtual machine has to get the memory from its host first.

#![forbid(unsafe_code)]

use crate::sync::{AtomicBool, Ordering};
use crate::txn::Store;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Growth that comes so soon after the one before is expected to go on.
const STREAK: Duration = Duration::from_millis(100);
/// How often the thread looks whether it is to end, if nobody wakes it.
const LOOK: Duration = Duration::from_secs(1);

/// The thread's work.
pub(super) struct GrowAhead {
    pub(super) store: Arc<Store>,
    pub(super) stop: Arc<AtomicBool>,
}

impl GrowAhead {
    pub(super) fn run(&self) {
        let arena = self.store.arena();
        let mut seen = arena.wait_for_growth(0, Duration::ZERO);
        let mut last = None;
        while !self.stop.load(Ordering::Acquire) {
            let growths = arena.wait_for_growth(seen, LOOK);
            if std::mem::replace(&mut seen, growths) == growths {
                continue;
            }
            let now = Instant::now();
            if last.replace(now).is_some_and(|last| now.duration_since(last) < STREAK) {
                // Only a wish: whoever needs the extent meets the same error.
                let _ = arena.prepare_next();
            }
        }
    }
}
