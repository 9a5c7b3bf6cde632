//! Sessions that wait for their next transaction.

#![forbid(unsafe_code)]

use crate::txn::Session;
use crossbeam_utils::CachePadded;
use crossbeam_utils::atomic::AtomicCell;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Threads up to which each has a place of its own.
const PLACES: usize = 16;

/// The idle sessions of a process: one in each thread's place, taken and put back without a lock, the others on a list.
#[derive(Default)]
pub(super) struct SessionPool {
    places: [CachePadded<Place>; PLACES],
    others: Mutex<Others>,
    /// By place, its `puts` when it was last tended. Held while sessions are tended.
    tended: Mutex<[u64; PLACES]>,
}

/// The sessions beyond one for each place.
#[derive(Default)]
struct Others {
    #[expect(clippy::vec_box, reason = "sessions move between transactions, which hold them boxed")]
    idle: Vec<Box<Session>>,
    /// The fewest that were idle at a time, since the surplus was last taken.
    fewest: usize,
}

impl Others {
    fn pop(&mut self) -> Option<Box<Session>> {
        let session = self.idle.pop();
        self.fewest = self.fewest.min(self.idle.len());
        session
    }
}

#[derive(Default)]
struct Place {
    session: AtomicCell<Option<Box<Session>>>,
    /// How often a session was put here: by one thread, but for those that share the place.
    puts: AtomicCell<u64>,
}

/// This thread's place.
#[inline]
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
        self.places[place()].session.take().or_else(|| self.others().pop())
    }

    /// Puts a session back.
    #[inline]
    pub(super) fn put(&self, session: Box<Session>) {
        let place = &self.places[place()];
        place.puts.store(place.puts.load().wrapping_add(1));
        if let Some(other) = place.session.swap(Some(session)) {
            self.others().idle.push(other);
        }
    }

    fn others(&self) -> MutexGuard<'_, Others> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes those out that were idle all the time since the last call, to be closed: what many threads left that worked at the
    /// same time once. Each holds a slot, which whoever looks for the oldest snapshot has to look at. One for each thread's place
    /// stays, and those whose end would have to wait for others.
    #[expect(clippy::vec_box, reason = "as for `Others`")]
    pub(super) fn surplus(&self) -> Vec<Box<Session>> {
        let _tended = self.tended.lock().unwrap_or_else(PoisonError::into_inner);
        let mut others = self.others();
        let fewest = others.fewest;
        // Users take from the back.
        let (surplus, kept): (Vec<_>, Vec<_>) =
            others.idle.drain(..fewest).partition(|session| session.is_tidy());
        others.idle.splice(..0, kept);
        others.fewest = others.idle.len();
        surplus
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
                    self.others().idle.push(other);
                }
            }
        }
        // One at a time: who finds fewer than there are makes more, for good.
        let mut left = self.others().idle.len();
        while left > 0 {
            let mut others = self.others();
            // From the front, while users take from the back.
            let Some(mut session) = (!others.idle.is_empty()).then(|| others.idle.remove(0)) else { break };
            drop(others);
            tend(&mut session);
            self.others().idle.push(session);
            left -= 1;
        }
    }

    /// Takes all out, to be closed.
    #[expect(clippy::vec_box, reason = "as for `Others`")]
    pub(super) fn drain(&self) -> Vec<Box<Session>> {
        let _tended = self.tended.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sessions = std::mem::take(&mut *self.others()).idle;
        sessions.extend(self.places.iter().filter_map(|place| place.session.take()));
        sessions
    }
}

#[cfg(test)]
mod tests {
    use crate::db::{Database, TxnOptions};
    use std::path::PathBuf;

    /// Removes what a test leaves.
    struct Place(PathBuf, PathBuf);

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
            let _ = std::fs::remove_file(&self.1);
        }
    }

    fn slots(db: &Database) -> usize {
        db.status().unwrap().slots.len()
    }

    #[test]
    fn sessions_that_nobody_asks_for_are_closed() {
        let unique = format!("/dev/shm/aerostore-test-pool-{}", std::process::id());
        let place = Place(PathBuf::from(&unique), PathBuf::from(format!("{unique}.mmap")));
        let db = Database::builder(&place.0).shm_path(&place.1).max_bytes(64 << 20).open().unwrap();
        let begin = || db.begin(TxnOptions::default()).unwrap();
        let before = slots(&db);
        let pool = db.0.pool();
        drop((0..40).map(|_| begin()).collect::<Vec<_>>());
        // Some were asked for since the last call, and some might be again.
        pool.tend(|session| session.tidy_idle().unwrap());
        drop(pool.surplus());
        assert!(slots(&db) > before + 30, "{} slots, {before} before", slots(&db));
        // Ten at a time are needed.
        drop((0..10).map(|_| begin()).collect::<Vec<_>>());
        pool.tend(|session| session.tidy_idle().unwrap());
        for session in pool.surplus() {
            session.close().unwrap();
        }
        let left = slots(&db);
        assert!((before + 9..before + 15).contains(&left), "{left} slots, {before} before");
        drop((0..10).map(|_| begin()).collect::<Vec<_>>());
        assert!(slots(&db) <= left, "{} slots, {left} before", slots(&db));
        db.close().unwrap();
    }
}
