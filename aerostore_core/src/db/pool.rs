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
    places: [CachePadded<AtomicCell<Option<Box<Session>>>>; PLACES],
    #[expect(clippy::vec_box, reason = "sessions move between transactions, which hold them boxed")]
    others: Mutex<Vec<Box<Session>>>,
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
            .take()
            .or_else(|| self.others.lock().unwrap_or_else(PoisonError::into_inner).pop())
    }

    /// Puts a session back.
    #[inline]
    pub(super) fn put(&self, session: Box<Session>) {
        if let Some(other) = self.places[place()].swap(Some(session)) {
            self.others.lock().unwrap_or_else(PoisonError::into_inner).push(other);
        }
    }

    /// Takes all out, to be closed.
    #[expect(clippy::vec_box, reason = "as for `others`")]
    pub(super) fn drain(&self) -> Vec<Box<Session>> {
        let mut sessions = std::mem::take(&mut *self.others.lock().unwrap_or_else(PoisonError::into_inner));
        sessions.extend(self.places.iter().filter_map(|place| place.take()));
        sessions
    }
}
