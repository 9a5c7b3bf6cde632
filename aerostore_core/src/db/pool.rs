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
    /// Whether none was put here for as long as it takes to be tended.
    is_idle: AtomicCell<bool>,
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
    /// An idle session: the one this thread has used last, whose memory is warm, or any that nobody has used lately.
    #[inline]
    pub(super) fn take(&self) -> Option<Box<Session>> {
        self.places[place()].session.take().or_else(|| self.take_elsewhere())
    }

    /// The thread whose place it was may be over by now, and each session has memory of its own.
    #[cold]
    fn take_elsewhere(&self) -> Option<Box<Session>> {
        let other = self.others().pop();
        other.or_else(|| {
            let mut idle = self.places.iter().filter(|place| place.is_idle.load());
            idle.find_map(|place| place.session.take())
        })
    }

    /// Puts a session back.
    #[inline]
    pub(super) fn put(&self, session: Box<Session>) {
        let place = &self.places[place()];
        place.puts.store(place.puts.load().wrapping_add(1));
        if place.is_idle.load() {
            place.is_idle.store(false);
        }
        if let Some(other) = place.session.swap(Some(session)) {
            self.others().idle.push(other);
        }
    }

    fn others(&self) -> MutexGuard<'_, Others> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes those out that were idle all the time since the last call, and that nothing is left of but a slot, to be closed: what
    /// many threads left that worked at the same time once. Whoever looks for the oldest snapshot looks at each slot. One for each
    /// thread's place stays. What others still hold back of a session is given up now, so that a later call can take it.
    #[expect(clippy::vec_box, reason = "as for `Others`")]
    pub(super) fn surplus(&self) -> Vec<Box<Session>> {
        let _tended = self.tended.lock().unwrap_or_else(PoisonError::into_inner);
        let unused: Vec<_> = {
            let mut others = self.others();
            let fewest = std::mem::take(&mut others.fewest);
            // Users take from the back.
            others.idle.drain(..fewest).collect()
        };
        let (mut surplus, mut kept) = (Vec::new(), Vec::new());
        for mut session in unused {
            // Damage is reported to whoever works with the damaged part.
            let is_over = session.wind_down().unwrap_or(false);
            if is_over { &mut surplus } else { &mut kept }.push(session);
        }
        let mut others = self.others();
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
            if std::mem::replace(tended, puts) != puts {
                continue;
            }
            place.is_idle.store(true);
            if let Some(mut session) = place.session.take() {
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
    use crate::db::{Database, Table, TxnOptions};
    use crate::row::{Column, ColumnType, Schema, Value};
    use std::path::PathBuf;
    use std::time::Duration;

    /// Removes what a test leaves.
    struct Place(PathBuf, PathBuf);

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
            let _ = std::fs::remove_file(&self.1);
        }
    }

    fn scene(name: &str) -> (Place, Database, Table) {
        let unique = format!("/dev/shm/aerostore-test-pool-{name}-{}", std::process::id());
        let place = Place(PathBuf::from(&unique), PathBuf::from(format!("{unique}.mmap")));
        let db = Database::builder(&place.0)
            .shm_path(&place.1)
            .max_bytes(512 << 20)
            .synchronous_commit(false)
            .open()
            .unwrap();
        let schema = Schema::builder("Cell")
            .column(Column::new("id", ColumnType::I64))
            .column(Column::new("level", ColumnType::I64).nullable());
        let table = db.create_table(&schema.key("id").build().unwrap()).unwrap();
        (place, db, table)
    }

    /// So many at the same time, each of which writes a row of its own.
    fn burst(db: &Database, table: &Table, count: i64) {
        let mut open: Vec<_> = (0..count).map(|_| db.begin(TxnOptions::default()).unwrap()).collect();
        for (id, txn) in open.iter_mut().enumerate() {
            txn.set(table, Value::I64(id.cast_signed() as i64), &[(1, Value::I64(1))]).unwrap();
        }
        for txn in open {
            txn.commit().unwrap();
        }
    }

    fn slots(db: &Database) -> usize {
        db.status().unwrap().slots.len()
    }

    /// As the database's own thread does, which is kept from it meanwhile.
    fn close_surplus(db: &Database) {
        db.flush().unwrap();
        db.0.pool().tend(|session| session.tidy_idle().unwrap());
        for session in db.0.pool().surplus() {
            session.close().unwrap();
        }
    }

    #[test]
    fn sessions_that_nobody_asks_for_are_closed() {
        let (_place, db, table) = scene("closed");
        let quiet = db.0.gate.write().unwrap();
        let before = slots(&db);
        burst(&db, &table, 40);
        // They were asked for since the last time.
        close_surplus(&db);
        assert!(slots(&db) >= before + 38, "{} slots, {before} before", slots(&db));
        // Ten at a time are needed. What another thread of the database reads at that moment keeps the others until the next look.
        let mut left = usize::MAX;
        for _ in 0..100 {
            burst(&db, &table, 10);
            close_surplus(&db);
            left = slots(&db);
            if left < before + 15 {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!((before + 8..before + 15).contains(&left), "{left} slots, {before} before");
        burst(&db, &table, 10);
        assert!(slots(&db) <= left, "{} slots, {left} before", slots(&db));
        drop(quiet);
        db.close().unwrap();
    }

    #[test]
    fn a_thread_goes_on_with_the_session_of_one_that_is_over() {
        let (_place, db, table) = scene("threads");
        let quiet = db.0.gate.write().unwrap();
        let before = slots(&db);
        for id in 0..20 {
            let (worker, table) = (db.clone(), table.clone());
            std::thread::spawn(move || {
                let mut txn = worker.begin(TxnOptions::default()).unwrap();
                txn.set(&table, Value::I64(id), &[(1, Value::I64(1))]).unwrap();
                txn.commit().unwrap();
            })
            .join()
            .unwrap();
            // Twice, as a session is idle that was not used from one look to the next.
            close_surplus(&db);
            close_surplus(&db);
        }
        assert!(slots(&db) <= before + 2, "{} slots, {before} before", slots(&db));
        drop(quiet);
        db.close().unwrap();
    }

    #[test]
    fn sessions_that_a_reader_holds_back_serve_again_or_are_closed_after_it() {
        let (_place, db, table) = scene("held");
        let quiet = db.0.gate.write().unwrap();
        let before = slots(&db);
        burst(&db, &table, 40);
        let mut reader = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
        assert!(reader.get(&table, Value::I64(1), |_| ()).unwrap().is_some());
        for _ in 0..3 {
            close_surplus(&db);
        }
        let held = slots(&db);
        assert!(held >= before + 38, "{held} slots, {before} before");
        burst(&db, &table, 38);
        assert!(slots(&db) <= held + 1, "{} slots, {held} before", slots(&db));
        drop(reader);
        for _ in 0..3 {
            close_surplus(&db);
        }
        assert!(slots(&db) < before + 5, "{} slots, {before} before", slots(&db));
        drop(quiet);
        db.close().unwrap();
    }
}
