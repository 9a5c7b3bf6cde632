//! Who follows a table, and what a commit logs for that: the rows that it changes, as they were before.
//!
//! Rules       F1: who follows tables says so in its slot, then in the common word, then takes a timestamp C0 from the clock, and cares
//!             for commits above C0. F2: a commit looks at the word before its redo is staged, and logs the old image of each row that it changes
//!             or deletes in a table that is followed; it looks again when its C is known, and fails as a conflict if a table is
//!             followed by then that it has not done this for. So every commit with C > C0 has logged the old rows: its C was drawn from the
//!             clock after C0 was, by itself or by a helper whose CAS it has seen, and a draw from the clock (an RMW, in one chain of them) acquires
//!             what came before C0. It fails once at most for each session that begins to follow, and the next attempt logs them.
//!             F3: the common word is put right from the slots, by whoever stops following and by every process now and then:
//!             look at the word, then at the slots, then one CAS. Who begins meanwhile has changed the word, or its slot was seen. A slot is
//!             cleared when its session ends, or by the reaper: so a death leaves nothing but larger commits for a second or two.

#![forbid(unsafe_code)]

use crate::epoch::Guard;
use crate::mvcc::{TableRoot, VersionRef, Watched};
use crate::shm::ShmError;
use crate::sync::Ordering;
use crate::txn::ddl::table_ref;
use crate::txn::{Session, Store, TxnError, redo};

impl Session {
    /// Follows those tables, and no others, from now on (F1). Returns the timestamp that is now: every later commit says what rows
    /// of these tables were before it.
    pub(crate) fn watch(&self, tables: Watched) -> u64 {
        self.participant.slot().watch(tables.bits());
        self.store.watches().add(tables);
        self.store.clock().tick()
    }

    /// Of the tables that it has followed, follows only those.
    ///
    /// # Errors
    /// When the mapping is damaged.
    pub(crate) fn watch_only(&self, tables: Watched) -> Result<(), ShmError> {
        self.participant.slot().watch(tables.bits());
        forget_unwatched(&self.store)
    }

    /// Completes the redo of the running transaction (F2).
    #[inline]
    pub(super) fn log_old_rows(&mut self) -> Result<(), TxnError> {
        self.watched = self.store.watches().watched();
        if self.watched.is_empty() { Ok(()) } else { self.append_old_rows() }
    }

    #[cold]
    fn append_old_rows(&mut self) -> Result<(), TxnError> {
        let mut redo = std::mem::take(&mut self.redo);
        let guard = self.participant.pin();
        let logged = self.old_rows(&guard, self.watched, |root, old| {
            redo::before(&mut redo, root.1.id.load(Ordering::Relaxed), old.payload())
        });
        drop(guard);
        self.redo = redo;
        logged
    }

    /// Is no table followed, now that the transaction has its timestamp, whose old rows it has not logged (F2)?
    #[inline]
    pub(super) fn check_watched(&self) -> Result<(), TxnError> {
        let news = self.store.watches().watched().without(self.watched);
        if news.is_empty() { Ok(()) } else { self.refuse_if_watched(news) }
    }

    #[cold]
    fn refuse_if_watched(&self, news: Watched) -> Result<(), TxnError> {
        let guard = self.participant.pin();
        self.old_rows(&guard, news, |(offset, root), _| {
            Err(TxnError::Serialization {
                reason: "somebody has begun to follow the table",
                table: table_ref(&guard, offset, root)?.schema().name().to_owned(),
            })
        })
    }

    /// Calls `f` with table and version of what each row of those tables was that the transaction changes or deletes. What it owns cannot
    /// change; and if it was aborted, what `f` is shown does not matter.
    fn old_rows(
        &self,
        guard: &Guard<'_>,
        tables: Watched,
        mut f: impl FnMut((u64, &TableRoot), VersionRef<'_>) -> Result<(), TxnError>,
    ) -> Result<(), TxnError> {
        for index in 0..self.intents.len() {
            let entry = self.intents.entry(guard, index)?;
            let Some(version) = entry.version().filter(|_| entry.row() != 0) else { continue };
            let root: &TableRoot = guard.resolve(entry.table())?;
            if !tables.contains(root.id.load(Ordering::Relaxed)) {
                continue;
            }
            // S3: its one version of the row; below is what was committed last.
            let below = VersionRef::resolve(guard, version.offset)?.next(guard);
            if below == 0 {
                continue;
            }
            let old = VersionRef::resolve(guard, below)?;
            if !old.is_tombstone() {
                f((entry.table(), root), old)?;
            }
        }
        Ok(())
    }
}

/// Puts right which tables are followed, from what the slots say (F3).
///
/// # Errors
/// When the mapping is damaged.
pub fn forget_unwatched(store: &Store) -> Result<(), ShmError> {
    let seen = store.watches().mark();
    if Watched::from_bits(seen).is_empty() {
        return Ok(());
    }
    let mut followed = Watched::default();
    store.registry().for_each_slot(|_, slot| {
        followed = followed.with(Watched::from_bits(slot.watched()));
    })?;
    if followed != Watched::from_bits(seen) {
        store.watches().forget(seen, followed);
    }
    Ok(())
}
