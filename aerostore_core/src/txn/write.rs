//! Writing one row: own it, build the new version privately, name it on the slot's list, link it with one CAS.
//!
//! What a death leaves behind at each store is settled from the list entry: see `settle` and `reap`.

#![forbid(unsafe_code)]

mod calls;

use crate::epoch::Guard;
use crate::index::{Entry, Found, Inserted};
use crate::mvcc::{
    BeginWord, NEVER, RecordState, RowHeader, TOMBSTONE, TxnRecord, Version, VersionRef, change_flags,
    newest_committed,
};
use crate::row::{Copies, DirtyMask, RowImage, RowView, Value, delta};
use crate::shm::{BlockKind, Reserve};
use crate::sync::Ordering;
use crate::sys::coarse_ns;
use crate::txn::ddl::newest_of;
use crate::txn::intents::Intent;
use crate::txn::link::Linker;
use crate::txn::lock::{Owned, Patience, RowWait, own, say_live};
use crate::txn::read_set::MissingRead;
use crate::txn::redo;
use crate::txn::secondary::RowKeys;
use crate::txn::settle::release;
use crate::txn::step::{Added, PushedOut};
use crate::txn::store::Store;
use crate::txn::transaction::{hash_key, row_has_key, running, still_has};
use crate::txn::version_link::{VersionLink, owned_head};
use crate::txn::{Session, TableRef, Transaction, TxnError};
use std::mem::size_of;

/// What a writer wants of the row it was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Leave it as it is.
    Keep,
    /// Make it what the image says.
    Put,
    /// Delete it.
    Delete,
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upserted {
    /// There was no such row.
    Inserted,
    /// The row was changed.
    Updated,
    /// The row was like that already.
    Unchanged,
}

/// Decides, from the current row, what becomes of it; a new image is put together in the `RowImage`.
pub(super) type Build<'b> = dyn FnMut(Option<RowView<'_>>, &mut RowImage) -> Result<Change, TxnError> + 'b;

/// The row that a write is about.
#[derive(Clone, Copy)]
struct Target<'a> {
    table: &'a TableRef,
    key: Value<'a>,
    hash: u64,
    reserve: Reserve,
}

/// How one attempt at a write ended.
enum Attempt {
    Done(Upserted),
    /// The snapshot has to be extended first, or taken (A1).
    Extend,
    /// Someone else was quicker: look again.
    Again,
    /// Another transaction has the row, and this one queues.
    Busy(u64),
}

impl Transaction {
    pub(super) fn write(
        &mut self,
        table: &TableRef,
        key: Value<'_>,
        reserve: Reserve,
        build: &mut Build<'_>,
    ) -> Result<Upserted, TxnError> {
        if self.options.read_only {
            return Err(TxnError::ReadOnly);
        }
        self.check_running()?;
        let key = table.schema().coerce(table.schema().key_index(), key)?;
        let session = running(&mut self.session)?;
        let hash = hash_key(key, &mut session.buffers.key);
        // One operation from here on: what is found stays until it is written.
        session.participant.enter();
        let target = Target { table, key, hash, reserve };
        let mut outcome = self.write_found(target, build);
        if self.snapshot.is_none()
            && outcome.as_ref().is_err_and(|error| !error.is_retryable())
            && self.can_go_on()?
        {
            // A1: what made it fail may be a row that is missing.
            outcome = self.read_ts().and_then(|_| self.write_found(target, build));
        }
        if let Some(session) = self.session.as_deref_mut() {
            session.participant.leave();
        }
        if outcome.as_ref().is_err_and(TxnError::is_out_of_space) && self.can_go_on()? {
            outcome = self.write_with_room(target, build);
        }
        if outcome.as_ref().is_err_and(|error| !error.is_retryable()) {
            self.remember_refused(table, key)?;
        }
        outcome
    }

    /// A write of the row of that key was refused, maybe for what the row is, or that there is none: that has been seen.
    #[cold]
    fn remember_refused(&mut self, table: &TableRef, key: Value<'_>) -> Result<(), TxnError> {
        let usual = (self.patience, self.adaptive);
        (self.patience, self.adaptive) = (Patience::Brief, false); // without a lock
        let seen = self.get(table, key, |_| ());
        (self.patience, self.adaptive) = usual;
        seen.map(drop)
    }

    /// Has nobody aborted it yet, this transaction itself included, for want of room in the middle of a write?
    #[cold]
    fn can_go_on(&self) -> Result<bool, TxnError> {
        let Some(record) = self.record else { return Ok(true) };
        let guard = self.session()?.participant.pin();
        Ok(Self::record_of(&guard, record)?.state() == RecordState::Active)
    }

    /// Tries once more after there was no room.
    #[cold]
    fn write_with_room(&mut self, target: Target<'_>, build: &mut Build<'_>) -> Result<Upserted, TxnError> {
        let session = running(&mut self.session)?;
        session.make_room()?;
        session.participant.enter();
        let outcome = self.write_found(target, build);
        let session = running(&mut self.session)?;
        session.participant.leave();
        outcome
    }

    #[inline]
    fn write_found(&mut self, target: Target<'_>, build: &mut Build<'_>) -> Result<Upserted, TxnError> {
        let session = running(&mut self.session)?;
        {
            let guard = session.participant.pin();
            target.table.primary(&guard)?.prefetch(&guard, target.hash)?;
        }
        match self.record {
            None => self.record = Some(session.begin_record(target.reserve)?),
            Some(record) => {
                session.arena().resolve::<TxnRecord>(record.pointer())?.touch(coarse_ns());
            }
        }
        let session = running(&mut self.session)?;
        // As after a commit: what cannot be tidied now is met again.
        let _ = session.prune_one();
        let image = session.buffers.image.take();
        // Its contents are the last row's until `build` begins anew.
        let mut image = image.unwrap_or_else(|| Box::new(RowImage::new(target.table.schema())));
        let outcome = match self.try_write(target, &mut image, build) {
            Ok(Attempt::Done(done)) => Ok(done),
            Ok(attempt) => self.write_again(attempt, target, &mut image, build),
            Err(error) => Err(error),
        };
        if let Some(session) = self.session.as_deref_mut() {
            session.buffers.image = Some(image);
        }
        outcome
    }

    /// Tries until it is done, or in vain, after an attempt that was neither.
    #[cold]
    fn write_again(
        &mut self,
        mut attempt: Attempt,
        target: Target<'_>,
        image: &mut RowImage,
        build: &mut Build<'_>,
    ) -> Result<Upserted, TxnError> {
        let mut wait = RowWait::default();
        let outcome = loop {
            let prepared = match attempt {
                Attempt::Done(done) => break Ok(done),
                Attempt::Again => Ok(()),
                Attempt::Extend => self.extend_snapshot(),
                Attempt::Busy(row) => self.wait_for_row(target.table, row, &mut wait),
            };
            match prepared.and_then(|()| self.try_write(target, image, build)) {
                Ok(next) => attempt = next,
                Err(error) => break Err(error),
            }
        };
        self.end_wait(&mut wait)?;
        outcome
    }

    fn try_write(
        &mut self,
        target: Target<'_>,
        image: &mut RowImage,
        build: &mut Build<'_>,
    ) -> Result<Attempt, TxnError> {
        let found = {
            let Session { participant, heap, limbo, .. } = running(&mut self.session)?;
            let guard = participant.pin();
            let Target { table, key, hash, .. } = target;
            table.primary(&guard)?.find(&guard, hash, |row| {
                guard.arena().prefetch(row);
                // `own` looks at it.
                guard.arena().prefetch_block_word(row);
                limbo.free_some(participant, heap); // while they are fetched
                row_has_key(&guard, table, row, key, hash)
            })?
        };
        match found {
            Some(found) => self.write_existing(target, found, image, build),
            None => self.write_new(target, image, build),
        }
    }

    fn write_new(
        &mut self,
        target: Target<'_>,
        image: &mut RowImage,
        build: &mut Build<'_>,
    ) -> Result<Attempt, TxnError> {
        let Target { table, key, hash, .. } = target;
        self.check_snapshot()?; // G5
        if build(None, image)? != Change::Put {
            if self.snapshot.is_none() {
                return Ok(Attempt::Extend);
            }
            let session = running(&mut self.session)?;
            session.buffers.reads.missing.push(MissingRead::new(table, key, hash));
            return Ok(Attempt::Done(Upserted::Unchanged));
        }
        image.finish_over(table.schema(), None)?;
        check_key(table, key, image)?;
        self.note_numbered_key(table, key)?;
        let record = self.own_record();
        let session = running(&mut self.session)?;
        let intents_offset = session.intents_offset();
        let Session { participant, heap, limbo, intents, redo: log, buffers, superseding, .. } = session;
        let participant = &*participant;
        let guard = participant.pin();
        let birth = participant.epoch();
        let root = table.root(&guard)?;
        let row_block = heap.alloc_tagged(
            size_of::<RowHeader>(),
            BlockKind::ROW,
            birth,
            Reserve::No,
            root.tag(),
            &root.rows,
        )?;
        let row_image = image.view(table.schema())?;
        let bytes = size_of::<Version>() + row_image.bytes().len();
        let version = match heap.alloc(bytes, BlockKind::VERSION, birth, Reserve::No) {
            Ok(version) => version,
            Err(error) => {
                heap.free(row_block);
                return Err(error.into());
            }
        };
        VersionRef::write(
            &guard,
            version.offset,
            BeginWord::Intent(record),
            row_block.offset,
            0,
            row_image.stored(),
        )?;
        let row: &RowHeader = guard.resolve(row_block.offset)?;
        row.hash.store(hash, Ordering::Relaxed);
        row.reset_kept();
        row.owner.store(record, Ordering::Relaxed);
        row.head.store(version.offset, Ordering::Release);
        let added = Entry { row: row_block.offset, version: version.offset };
        let mut linker = Linker { participant, heap, limbo, reserve: Reserve::No };
        let mut entry = None;
        let inserted = (|| {
            let slot = participant.slot();
            let index = intents.push(
                &guard,
                slot,
                intents_offset,
                &mut linker,
                table.root_offset(),
                row_block.offset,
            )?;
            entry = Some(index);
            intents.entry(&guard, index)?.set_version(Some(version), true);
            let same = |offset| row_has_key(&guard, table, offset, key, hash);
            let hash_of = |offset| Store::row_hash(&guard, offset);
            table.primary(&guard)?.insert(&guard, &mut linker, hash, added, same, &hash_of)
        })();
        if let (Ok(Inserted::New), Some(index)) = (&inserted, entry) {
            participant.arena().publish(version);
            // SeqCst: comes before the look for indexes (O4).
            participant.arena().publish(row_block);
            buffers.own_row(table, row_block.offset, None, index);
            let keys = RowKeys { guard: &guard, table: root, row: row_block.offset };
            let columns = keys.indexed();
            if !columns.is_empty() {
                let entry = intents.entry(&guard, index)?;
                let added =
                    Added { keys, record, entry, image: row_image.stored(), columns, replaces_own: false };
                added
                    .run(&mut linker)
                    .inspect_err(|_| superseding.push_end(version, 0, table.root_offset()))?;
            }
            redo::insert(log, table.id(), table.schema(), row_image)?;
            count_row(&mut buffers.row_deltas, table, 1);
            return Ok(Attempt::Done(Upserted::Inserted));
        }
        // The key has been inserted by someone else, or something is full. Nobody has seen the blocks: one CAS would have put the row
        // into the key index (H1), it has no other entries yet (K1), and those of an earlier row in its memory are gone, or not followed
        // (K5, K6). The entry lets go of them first, so that a death in between leaves them RESERVED and unnamed.
        if let Some(index) = entry {
            let entry = intents.entry(&guard, index)?;
            entry.set_version(None, false);
            entry.set_row(0);
        }
        row.head.store(0, Ordering::Relaxed); // who still names an earlier row in this memory finds no chain
        linker.heap.free(version);
        linker.heap.free(row_block);
        inserted.map(|_| Attempt::Again)
    }

    #[expect(clippy::too_many_lines, reason = "the steps of one write, in order")]
    fn write_existing(
        &mut self,
        target: Target<'_>,
        found: Found,
        image: &mut RowImage,
        build: &mut Build<'_>,
    ) -> Result<Attempt, TxnError> {
        let Target { table, key, hash, reserve } = target;
        let row_offset = found.row;
        let record = self.own_record();
        let snapshot = self.snapshot;
        let (usual, adaptive) = (self.patience, self.adaptive);
        let session = running(&mut self.session)?;
        let intents_offset = session.intents_offset();
        let Session { store, participant, heap, limbo, intents, redo: log, buffers, hot, .. } = session;
        let participant = &*participant;
        let guard = participant.pin();
        let row: &RowHeader = guard.resolve(row_offset)?;
        // Whoever cuts off what will be superseded here looks at it, this session most likely.
        guard.arena().prefetch_block_word(row.head.load(Ordering::Relaxed));
        let earlier = buffers.owned.get(row_offset);
        let index = match earlier {
            Some(index) if index >= buffers.marks.floor() => index,
            // S1
            _ => {
                let mut linker = Linker { participant, heap, limbo, reserve };
                let slot = participant.slot();
                let index = intents.push(
                    &guard,
                    slot,
                    intents_offset,
                    &mut linker,
                    table.root_offset(),
                    row_offset,
                )?;
                buffers.own_row(table, row_offset, earlier, index);
                index
            }
        };
        let patience = || if adaptive && hot.contains(row_offset) { Patience::Queue } else { usual };
        match own(&guard, store, table, row, record, hot.is_polite(row_offset), patience) {
            Ok(Owned::Yes) => say_live(&guard, row_offset)?,
            Ok(Owned::Busy) => return Ok(Attempt::Busy(row_offset)),
            Err(error) => return Err(hot.blame(row_offset, error)),
        }
        let entry = intents.entry(&guard, index)?;
        let head = owned_head(&guard, row, record)?;
        if head == 0 {
            give_up_row(row, record, entry);
            buffers.forget_row(row_offset, index);
            return Ok(Attempt::Again);
        }
        let head = VersionRef::resolve(&guard, head)?;
        let head_begin = head.begin(&guard);
        let mine = head_begin == BeginWord::Intent(record);
        // The chain below what this transaction has written: with the row owned, only committed versions count.
        let base = match head_begin {
            BeginWord::Stamped(begin) if begin != NEVER => Some((head, begin)),
            _ => {
                let base = newest_committed(&guard, store.clock(), row, NEVER - 1, record, store.stall)?;
                // A1: it may have been committed by a later owner, if this transaction does not own the row any more.
                owned_head(&guard, row, record)?;
                base
            }
        };
        if let (Some((_, begin)), Some(snapshot)) = (&base, snapshot)
            && *begin > snapshot
        {
            return Ok(Attempt::Extend);
        }
        let current = if mine { Some(head) } else { base.as_ref().map(|(version, _)| *version) };
        let current = current.filter(|version| !version.is_tombstone());
        // J3 of `row::stored`: what the caller does not know of stays as it is.
        let wider = match current {
            Some(version) if version.image().columns() > table.columns() => Some(newest_of(&guard, table)?),
            _ => None,
        };
        let (known, table) = (table, wider.as_ref().unwrap_or(table));
        let copies = Copies::default();
        let before = current.map(|version| table.view(version.image(), &copies)).transpose()?;
        if let Some(snapshot) = snapshot {
            still_has(participant, snapshot)?; // G5
        }
        let change = if wider.is_none() {
            build(before, image)?
        } else {
            let shown = current.map(|version| known.view(version.image(), &copies)).transpose()?;
            build(shown, image)?
        };
        let flags = match change {
            Change::Keep | Change::Delete if before.is_none() => {
                // Owning the row does not keep the key away: the row may be removed, and another made for it.
                if !mine && snapshot.is_none() {
                    return Ok(Attempt::Extend);
                }
                if !mine {
                    buffers.reads.missing.push(MissingRead::new(table, key, hash));
                }
                return Ok(Attempt::Done(Upserted::Unchanged));
            }
            Change::Keep => return Ok(Attempt::Done(Upserted::Unchanged)),
            Change::Put => {
                image.finish_over(known.schema(), before)?;
                if let (Some(_), Some(before)) = (&wider, before) {
                    image.widen(known.schema(), before)?;
                }
                if before.is_none() {
                    check_key(table, key, image)?;
                }
                0
            }
            Change::Delete => {
                image.reset(table.schema());
                image.set(table.schema(), table.schema().key_index(), key)?;
                TOMBSTONE
            }
        };
        let after = image.view(table.schema())?;
        let mut changed = DirtyMask::EMPTY;
        if let (Some(before), 0) = (before, flags) {
            changed = delta::changed(table.schema(), before, after);
            if changed.is_empty() {
                return Ok(Attempt::Done(Upserted::Unchanged));
            }
            if changed.contains(table.schema().key_index()) {
                check_key(table, key, image)?; // it may be the same value in other bytes
            }
        }
        // Also those that this transaction does not know of.
        let columns = if before.is_some() && flags == 0 { changed } else { DirtyMask(u64::MAX) };
        let keys = RowKeys { guard: &guard, table: table.root(&guard)?, row: row_offset };
        let below =
            if mine { below_own(&guard, head, entry) } else { base.map_or(0, |(base, _)| base.offset) };
        let replaces_own = mine && below != head.offset;
        // V5
        let from_below = if mine { head.changes() } else { 0 };
        let bytes = size_of::<Version>() + after.bytes().len();
        let version = heap.alloc(bytes, BlockKind::VERSION, participant.epoch(), reserve)?;
        VersionRef::write(
            &guard,
            version.offset,
            BeginWord::Intent(record),
            row_offset,
            flags | change_flags(columns) | from_below,
            after.stored(),
        )?;
        if below != head.offset {
            let mut linker = Linker { participant, heap, limbo, reserve };
            let stays = if flags == 0 { Some(after.stored()) } else { None };
            let pushed_out = PushedOut { keys, record, is_own: mine, below, stays };
            // Last of what may find no room: its own version counts no more from here on.
            if let Err(error) = pushed_out.release(&mut linker, head) {
                heap.free(version);
                return Err(error);
            }
        }
        let link = VersionLink { guard: &guard, row, record, entry };
        if !link.run(limbo, version, below, head.offset)? {
            let is_retired = limbo.retire(participant, version)?;
            give_up_row(row, record, entry);
            if !is_retired {
                heap.free(version);
            }
            buffers.forget_row(row_offset, index);
            return Ok(Attempt::Again);
        }
        found.hint(&guard, version.offset)?;
        let indexed = keys.indexed();
        if change != Change::Delete && !indexed.is_empty() {
            let columns = if replaces_own {
                // K3: the one it has replaced has held nothing since it was marked.
                changed_from(table, base.as_ref().map(|(version, _)| version), after)?
            } else {
                columns
            };
            let columns = DirtyMask(columns.0 & indexed.0);
            if !columns.is_empty() {
                let mut linker = Linker { participant, heap, limbo, reserve };
                let added = Added { keys, record, entry, image: after.stored(), columns, replaces_own };
                added.run(&mut linker)?;
            }
        }
        log_change(log, table, before.is_some(), change, after, changed)?;
        let inserted = before.is_none();
        if inserted {
            count_row(&mut buffers.row_deltas, table, 1);
        } else if change == Change::Delete {
            count_row(&mut buffers.row_deltas, table, -1);
        }
        Ok(Attempt::Done(if inserted { Upserted::Inserted } else { Upserted::Updated }))
    }
}

/// Appends the redo of a write to a row that was there before, or not.
#[inline]
fn log_change(
    log: &mut Vec<u8>,
    table: &TableRef,
    existed: bool,
    change: Change,
    after: RowView<'_>,
    changed: DirtyMask,
) -> Result<(), TxnError> {
    let (id, schema) = (table.id(), table.schema());
    match (existed, change) {
        (false, _) => redo::insert(log, id, schema, after),
        (true, Change::Delete) => redo::delete(log, id, schema, after),
        (true, _) => redo::update(log, id, schema, after, changed),
    }
}

/// The columns in which a row differs from what has last been committed of it; all when it was not there.
fn changed_from(
    table: &TableRef,
    base: Option<&VersionRef<'_>>,
    after: RowView<'_>,
) -> Result<DirtyMask, TxnError> {
    let schema = table.schema();
    Ok(match base.filter(|version| !version.is_tombstone()) {
        Some(base) if base.image().columns() <= table.columns() => {
            let copies = Copies::default();
            delta::changed(schema, table.view(base.image(), &copies)?, after)
        }
        _ => DirtyMask(u64::MAX),
    })
}

/// What a version goes on top of, when `head` is this transaction's own.
fn below_own(guard: &Guard<'_>, head: VersionRef<'_>, entry: &Intent) -> u64 {
    match entry.version() {
        // It takes the place of `head`.
        Some(_) => head.next(guard),
        // S1: a savepoint lies between.
        None => head.offset,
    }
}

fn count_row(deltas: &mut Vec<(TableRef, i64)>, table: &TableRef, delta: i64) {
    match deltas.iter_mut().find(|(known, _)| known.id() == table.id()) {
        Some((_, sum)) => *sum += delta,
        None => deltas.push((table.clone(), delta)),
    }
}

/// W3: a row keeps its key.
fn check_key(table: &TableRef, key: Value<'_>, image: &RowImage) -> Result<(), TxnError> {
    let schema = table.schema();
    if image.has(schema, schema.key_index(), key)? {
        return Ok(());
    }
    Err(TxnError::KeyChanged { table: schema.name().to_owned() })
}

/// Lets go of a row that has been removed (D2).
fn give_up_row(row: &RowHeader, record: u64, entry: &Intent) {
    release(row, record);
    entry.set_version(None, false);
    entry.set_row(0);
}
