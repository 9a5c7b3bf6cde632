//! Several sessions that do parts of one work, each on a thread of its own, while nobody else has the database open.

#![forbid(unsafe_code)]

use crate::checkpoint::CheckpointError;
use crate::sync::{AtomicBool, AtomicU64, Ordering};
use crate::txn::{Session, Store, TxnError};
use std::sync::Arc;
use std::time::Duration;

/// How often whoever waits for the others says how far they are.
const TELL_INTERVAL: Duration = Duration::from_millis(50);

/// The sessions.
pub(super) struct Crew {
    sessions: Vec<Session>,
}

impl Crew {
    /// So many sessions, one at least.
    pub(super) fn new(store: &Arc<Store>, count: usize) -> Result<Self, TxnError> {
        let sessions: Result<_, _> = (0..count.max(1)).map(|_| Session::new(Arc::clone(store))).collect();
        Ok(Self { sessions: sessions? })
    }

    pub(super) fn sessions(&mut self) -> &mut [Session] {
        &mut self.sessions
    }

    /// Does `count` parts by `job`, which has a buffer that parts share, and calls `tell` now and then meanwhile. Nothing new is begun after an error, which is returned.
    pub(super) fn each(
        &mut self,
        count: usize,
        tell: &mut dyn FnMut(),
        job: &(impl Fn(&mut Session, &mut Vec<u8>, usize) -> Result<(), CheckpointError> + Sync),
    ) -> Result<(), CheckpointError> {
        let (next, failed) = (AtomicU64::new(0), AtomicBool::new(false));
        let work = |session: &mut Session, tell: &mut dyn FnMut()| {
            let mut buffer = Vec::new();
            // Relaxed: what a part leads to reaches others by the end of a thread.
            while !failed.load(Ordering::Relaxed) {
                let part = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap_or(usize::MAX);
                if part >= count {
                    break;
                }
                if let Err(error) = job(session, &mut buffer, part) {
                    failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
                tell();
            }
            Ok(())
        };
        let helpers = self.sessions.len().min(count);
        if helpers <= 1 {
            return work(&mut self.sessions[0], tell);
        }
        std::thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> = self.sessions[..helpers]
                .iter_mut()
                .map(|session| scope.spawn(move || work(session, &mut || {})))
                .collect();
            let mut outcome = Ok(());
            for thread in threads {
                while !thread.is_finished() {
                    tell();
                    std::thread::park_timeout(TELL_INTERVAL);
                }
                let done = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                outcome = outcome.and(done);
            }
            tell();
            outcome
        })
    }

    /// Ends the sessions.
    pub(super) fn close(self) -> Result<(), TxnError> {
        self.sessions.into_iter().try_for_each(Session::close)
    }
}
