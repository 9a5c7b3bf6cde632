//! The thread that reads the log for everybody in this process who follows a table.
//!
//! Rules       F11: there is one such thread while somebody follows something, and one session, whose slot says what (F1). Whoever begins to
//!             follow is on the list, with his C0, before the lock is let go under which the thread gives out what it has read; what it had read
//!             before was durable before C0 was drawn, so none of it is his. F12: it sleeps on the word that the log writer changes when more
//!             is durable; nothing is looked at meanwhile. It holds no snapshot and no lock that a writer takes, so one that is stopped
//!             holds up nobody; and what a dead one leaves is its slot. F13: wakers are called when the lock on the list is let go: one may end
//!             subscriptions, begin some, or close the database, and one may be called that has ended meanwhile.
//!             F14: records are read by the newest definition of their table, which an alteration tells before there are rows that have its columns;
//!             everybody is told of the columns that his handle on the table knows of.

#![forbid(unsafe_code)]

use crate::db::Error;
use crate::db::workers::spawn;
use crate::feed::{Buffer, Commit, End, Gap, Interest, RowChange, RowChanges, RowImages};
use crate::mvcc::Watched;
use crate::row::{RowError, Schema};
use crate::shm::Arena;
use crate::sys::{FileSystem, wait, wake};
use crate::txn::{Session, Store, TableRef};
use crate::wal::{Followed, Follower};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long the thread sleeps unless it is woken: a log writer that is killed between its two steps, making durable and waking, has a successor
/// that wakes all; this is for a machine on which nobody succeeds it.
const SLEEP: Duration = Duration::from_secs(1);

/// One who follows a table.
pub(super) struct Watcher {
    table: TableRef,
    interest: Interest,
    pub(super) buffer: Buffer,
}

impl Watcher {
    /// The table's name.
    pub(super) fn table_name(&self) -> &str {
        self.table.schema().name()
    }

    pub(super) fn new(table: TableRef, interest: Interest, buffer: Buffer) -> Self {
        Self { table, interest, buffer }
    }

    /// The change as it looks to him (F14).
    fn judge(&self, row: &Arc<RowImages>) -> Result<Option<RowChange>, RowError> {
        let schema = self.table.schema();
        if row.schema.columns().len() == schema.columns().len() {
            return Ok(self.interest.judge(row));
        }
        Ok(self.interest.judge(&Arc::new(row.read_by(schema)?)))
    }
}

/// The change feed of a process.
pub(super) struct Feed(Arc<Shared>);

struct Shared {
    store: Arc<Store>,
    files: Arc<dyn FileSystem>,
    wal_dir: PathBuf,
    uuid: [u8; 16],
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Each with its C0.
    watchers: Vec<(u64, Arc<Watcher>)>,
    /// The newest definition that is known of each table that is followed (F14).
    definitions: HashMap<u32, Arc<Schema>>,
    /// While the thread runs: whose slot says what is followed.
    session: Option<Box<Session>>,
    thread: Option<JoinHandle<()>>,
    is_closed: bool,
}

impl State {
    fn tables(&self) -> Watched {
        let tables = self.watchers.iter().map(|(_, watcher)| Watched::table(watcher.table.id()));
        tables.fold(Watched::default(), Watched::with)
    }

    /// F14
    fn learn(&mut self, table: u32, schema: &Arc<Schema>) {
        let known = self.definitions.entry(table).or_insert_with(|| Arc::clone(schema));
        if schema.extends(known) {
            *known = Arc::clone(schema);
        }
    }

    /// Looks what definition the tables have now that are followed.
    fn learn_all(&mut self) {
        let Some(session) = &self.session else { return };
        // A damaged mapping is reported to whoever works with it.
        let newest = self.watchers.iter().filter_map(|(_, watcher)| session.newest(&watcher.table).ok());
        let newest: Vec<_> = newest.collect();
        for table in newest {
            self.learn(table.id(), table.schema());
        }
    }
}

impl Feed {
    pub(super) fn new(
        store: Arc<Store>,
        files: Arc<dyn FileSystem>,
        wal_dir: PathBuf,
        uuid: [u8; 16],
    ) -> Self {
        Self(Arc::new(Shared { store, files, wal_dir, uuid, state: Mutex::default() }))
    }

    /// Puts a follower on the list (F11). Every commit after the timestamp that it returns is his.
    pub(super) fn add(&self, watcher: Arc<Watcher>) -> Result<u64, Error> {
        let mut state = self.0.lock();
        if state.is_closed {
            return Err(Error::Closed);
        }
        if state.session.is_none() {
            if let Some(last) = state.thread.take() {
                // It has let go of the list for good.
                let _ = last.join();
            }
            // Before C0 is drawn, so not above it.
            let durable_ts = self.0.store.log().durable_ts();
            state.session = Some(Box::new(Session::new(Arc::clone(&self.0.store))?));
            let shared = Arc::clone(&self.0);
            match spawn("aerostore-feed", move || shared.run(durable_ts)) {
                Ok(thread) => state.thread = Some(thread),
                Err(error) => {
                    state.session = None;
                    return Err(error);
                }
            }
        }
        let tables = state.tables().with(Watched::table(watcher.table.id()));
        let begin_ts = state.session.as_ref().map_or(0, |session| session.watch(tables));
        state.learn(watcher.table.id(), watcher.table.schema());
        state.watchers.push((begin_ts, watcher));
        state.learn_all();
        Ok(begin_ts)
    }

    /// Takes a follower off the list; the thread ends with the last one.
    pub(super) fn remove(&self, watcher: &Arc<Watcher>) {
        let mut state = self.0.lock();
        state.watchers.retain(|(_, other)| !Arc::ptr_eq(other, watcher));
        let State { watchers, definitions, .. } = &mut *state;
        definitions.retain(|id, _| watchers.iter().any(|(_, watcher)| watcher.table.id() == *id));
        let tables = state.tables();
        if let Some(session) = &state.session {
            // A damaged registry is reported to whoever works with it.
            let _ = session.watch_only(tables);
        }
        drop(state);
        self.0.wake_thread();
    }

    /// Ends all of it.
    pub(super) fn close(&self) {
        let mut state = self.0.lock();
        state.is_closed = true;
        let ended: Vec<_> = state.watchers.drain(..).map(|(_, watcher)| watcher).collect();
        for watcher in &ended {
            let _ = watcher.buffer.end(End::Closed);
        }
        let (thread, session) = match state.thread.take() {
            // A waker closes the database: the thread does not wait for itself, and does not come to its end before the slot has to be given back.
            Some(own) if own.thread().id() == std::thread::current().id() => (None, state.session.take()),
            thread => (thread, None),
        };
        drop(state);
        self.0.wake_thread();
        if let Some(session) = session {
            give_back(*session);
        }
        if let Some(thread) = thread {
            // A panic of the thread has nothing left to say here.
            let _ = thread.join();
        }
        wake_all(&ended);
    }
}

/// F13
fn wake_all(watchers: &[Arc<Watcher>]) {
    for watcher in watchers {
        watcher.buffer.wake();
    }
}

/// Ends the session of the thread, when nobody follows anything.
fn give_back(session: Session) {
    let _ = session.watch_only(Watched::default());
    // What cannot be given back now is reaped after this process has ended.
    let _ = session.close();
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in between leaves a list that is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_thread(&self) {
        self.store.log().announce_news(|word| wake(word, u32::MAX));
    }

    fn run(&self, durable_ts: u64) {
        let log = self.store.log();
        let mut follower =
            Follower::new(Arc::clone(&self.files), self.wal_dir.clone(), self.uuid, durable_ts);
        let mut changes = RowChanges::default();
        loop {
            // Before the list, and the log, are looked at.
            let seen = log.news_seq();
            let mut state = self.lock();
            if state.watchers.is_empty() {
                let session = state.session.take();
                drop(state);
                if let Some(session) = session {
                    give_back(*session);
                }
                return;
            }
            drop(state);
            while self.step(&mut follower, &mut changes) {}
            log.wait_news(seen, |word, seen| {
                wait(word, seen, Some(SLEEP));
            });
        }
    }

    /// Reads a batch and gives out what is in it; false when there is none yet.
    fn step(&self, follower: &mut Follower, changes: &mut RowChanges) -> bool {
        let log = self.store.log();
        // What cannot be read is not delivered, and that is said.
        let found = follower.step(log).unwrap_or_else(|_| follower.skip(log));
        let is_more = found != Followed::Nothing;
        let mut ready = Vec::new();
        let mut state = self.lock();
        match found {
            Followed::Nothing => {}
            Followed::Gap { after_ts, to_ts } => {
                for (begin_ts, watcher) in state.watchers.iter().filter(|(begin_ts, _)| *begin_ts < to_ts) {
                    if watcher.buffer.push_gap(Gap { after_ts: after_ts.max(*begin_ts), to_ts }) {
                        ready.push(Arc::clone(watcher));
                    }
                }
            }
            Followed::Batch => {
                for (commit_ts, redo) in follower.records() {
                    state.give_out(commit_ts, redo, changes, &mut ready);
                }
            }
        }
        state.end_dropped(self.store.arena(), follower.read_ts(), &mut ready);
        drop(state);
        wake_all(&ready);
        is_more && !self.lock().watchers.is_empty()
    }
}

impl State {
    /// Tells everybody what a transaction has done that matters to him; who is to be woken for it is put to `ready` (F13).
    fn give_out(
        &mut self,
        commit_ts: u64,
        redo: &[u8],
        changes: &mut RowChanges,
        ready: &mut Vec<Arc<Watcher>>,
    ) {
        if !self.watchers.iter().any(|(begin_ts, _)| *begin_ts < commit_ts) {
            return;
        }
        let mut rows = changes.read(commit_ts, redo, |id| self.definitions.get(&id).cloned());
        if rows.is_err() {
            // The log that has told of columns may have been passed over.
            self.learn_all();
            rows = changes.read(commit_ts, redo, |id| self.definitions.get(&id).cloned());
        }
        for (table, schema) in changes.altered() {
            self.learn(*table, schema);
        }
        for (_, watcher) in self.watchers.iter().filter(|(begin_ts, _)| *begin_ts < commit_ts) {
            let id = watcher.table.id();
            let told = rows.as_ref().ok().filter(|_| !changes.incomplete().contains(&id));
            let seen: Option<Vec<_>> = told.and_then(|rows| {
                let of_table = rows.iter().filter(|(table, _)| *table == id);
                of_table.filter_map(|(_, row)| watcher.judge(row).transpose()).collect::<Result<_, _>>().ok()
            });
            let is_ready = match seen {
                Some(seen) => !seen.is_empty() && watcher.buffer.push(Commit { commit_ts, changes: seen }),
                None => watcher.buffer.push_gap(Gap { after_ts: commit_ts - 1, to_ts: commit_ts }),
            };
            if is_ready {
                ready.push(Arc::clone(watcher));
            }
        }
    }

    /// Ends what follows a table whose drop lies in what was read; the same for `ready`.
    fn end_dropped(&self, arena: &Arena, read_ts: u64, ready: &mut Vec<Arc<Watcher>>) {
        for (_, watcher) in &self.watchers {
            // A damaged mapping is reported to whoever works with it.
            let dropped_ts = watcher.table.dropped_ts(arena).ok().flatten();
            if dropped_ts.is_some_and(|dropped_ts| dropped_ts <= read_ts) && watcher.buffer.end(End::Dropped)
            {
                ready.push(Arc::clone(watcher));
            }
        }
    }
}
