//! Who follows a table, and what a commit logs for that: the rows that it changes, as they were before.
//!
//! Rules       F1: who follows tables says so in its slot, then in the common word, then takes a timestamp C0 from the clock, and cares
//!             for commits above C0. F2: a commit looks at the word before its redo is staged, and logs the old image of each row that it changes
//!             or deletes in a table that is followed, behind all else; what does not find room so is staged without them. So nobody fails because
//!             of who follows, and a commit with C > C0 may be without old rows, if that was so, or it had looked before C0: who follows sees by the record
//!             itself that they are missing (F8 of `feed`), as a row that is changed or deleted without having been inserted in it has an old image.
//!             F3: the common word is put right from the slots, by whoever stops following and by every process now and then:
//!             look at the word, then at the slots, then one CAS. Who begins meanwhile has changed the word, or its slot was seen. A slot is
//!             cleared when its session ends, or by the reaper: so a death leaves nothing but larger commits for a second or two.

#![forbid(unsafe_code)]

use crate::epoch::Guard;
use crate::mvcc::{TableRoot, VersionRef, Watched};
use crate::shm::ShmError;
use crate::sync::Ordering;
use crate::txn::{Session, Store, TxnError, redo};

impl Session {
    /// Follows those tables, and no others, from now on (F1). Returns the timestamp that is now: later commits say what rows of these tables
    /// were before them, but for those that are about to take effect.
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

    /// Completes the redo of the running transaction (F2); the bytes that it had before.
    #[inline]
    pub(super) fn log_old_rows(&mut self) -> usize {
        let own_bytes = self.redo.len();
        let watched = self.store.watches().watched();
        if !watched.is_empty() {
            self.append_old_rows(watched);
        }
        own_bytes
    }

    #[cold]
    fn append_old_rows(&mut self, watched: Watched) {
        let mut redo = std::mem::take(&mut self.redo);
        let own_bytes = redo.len();
        let guard = self.participant.pin();
        let logged = self.old_rows(&guard, watched, |id, old| redo::before(&mut redo, id, old.image()));
        drop(guard);
        if logged.is_err() {
            // A damaged mapping is reported to whoever needs it.
            redo.truncate(own_bytes);
        }
        self.redo = redo;
    }

    /// Calls `f` with the table's number and the version of what each row of those tables was that the transaction changes or deletes. What it owns cannot
    /// change; and if it was aborted, what `f` is shown does not matter.
    fn old_rows(
        &self,
        guard: &Guard<'_>,
        tables: Watched,
        mut f: impl FnMut(u32, VersionRef<'_>) -> Result<(), TxnError>,
    ) -> Result<(), TxnError> {
        for index in 0..self.intents.len() {
            let entry = self.intents.entry(guard, index)?;
            let Some(version) = entry.version().filter(|_| entry.row() != 0) else { continue };
            let root: &TableRoot = guard.resolve(entry.table())?;
            let id = root.id.load(Ordering::Relaxed);
            if !tables.contains(id) {
                continue;
            }
            // S3: its one version of the row; below is what was committed last.
            let below = VersionRef::resolve(guard, version.offset)?.next(guard);
            if below == 0 {
                continue;
            }
            let old = VersionRef::resolve(guard, below)?;
            if !old.is_tombstone() {
                f(id, old)?;
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
