//! Sessions that wait for their next transaction.

#![forbid(unsafe_code)]

use crate::txn::Session;
use crossbeam_utils::CachePadded;
use crossbeam_utils::atomic::AtomicCell;
use std::sync::{Mutex, PoisonError};

/// Threads up to which each has a place of its own.
const PLACES: usize = 16;

/// The idle sessions of a process: one in each thread's place, taken and put back without a lock, the others on a list.
#[derive(Default)]
pub(super) struct SessionPool {
    places: [CachePadded<Place>; PLACES],
    #[expect(clippy::vec_box, reason = "sessions move between transactions, which hold them boxed")]
    others: Mutex<Vec<Box<Session>>>,
    /// By place, its `puts` when it was last tended. Held while sessions are tended.
    tended: Mutex<[u64; PLACES]>,
}

#[derive(Default)]
struct Place {
    session: AtomicCell<Option<Box<Session>>>,
    /// How often a session was put here: by one thread, but for those that share the place.
    puts: AtomicCell<u64>,
}

/// This thread's place.
fn place() -> usize {
    use std::cell::Cell;
    static NEXT: AtomicCell<usize> = AtomicCell::new(0);
    thread_local! {
        static PLACE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    PLACE.with(|place| {
        if place.get() == usize::MAX {
            place.set(NEXT.fetch_add(1) % PLACES);
        }
        place.get()
    })
}

impl SessionPool {
    /// An idle session: the one this thread has used last, whose memory is warm, or any.
    #[inline]
    pub(super) fn take(&self) -> Option<Box<Session>> {
        self.places[place()]
            .session
            .take()
            .or_else(|| self.others.lock().unwrap_or_else(PoisonError::into_inner).pop())
    }

    /// Puts a session back.
    #[inline]
    pub(super) fn put(&self, session: Box<Session>) {
        let place = &self.places[place()];
        place.puts.store(place.puts.load().wrapping_add(1));
        if let Some(other) = place.session.swap(Some(session)) {
            self.others.lock().unwrap_or_else(PoisonError::into_inner).push(other);
        }
    }

    /// Calls `tend` with the sessions that were idle since the last call. What it does with them should not take long: their
    /// threads do with another session meanwhile.
    pub(super) fn tend(&self, mut tend: impl FnMut(&mut Session)) {
        let mut tended = self.tended.lock().unwrap_or_else(PoisonError::into_inner);
        for (place, tended) in self.places.iter().zip(tended.iter_mut()) {
            let puts = place.puts.load();
            if std::mem::replace(tended, puts) == puts
                && let Some(mut session) = place.session.take()
            {
                tend(&mut session);
                if let Some(other) = place.session.swap(Some(session)) {
                    self.others.lock().unwrap_or_else(PoisonError::into_inner).push(other);
                }
            }
        }
        // One at a time: who finds fewer than there are makes more, for good.
        let others = || self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = others().len();
        while left > 0 {
            let mut sessions = others();
            // From the front, while users take from the back.
            let Some(mut session) = (!sessions.is_empty()).then(|| sessions.remove(0)) else { break };
            drop(sessions);
            tend(&mut session);
            others().push(session);
            left -= 1;
        }
    }

    /// Takes all out, to be closed.
    #[expect(clippy::vec_box, reason = "as for `others`")]
    pub(super) fn drain(&self) -> Vec<Box<Session>> {
        let _tended = self.tended.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sessions = std::mem::take(&mut *self.others.lock().unwrap_or_else(PoisonError::into_inner));
        sessions.extend(self.places.iter().filter_map(|place| place.session.take()));
        sessions
    }
}
