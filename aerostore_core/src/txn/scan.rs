//! Reading all rows of a table, in the order in which they lie: by the session that asks, or by several.
//!
//! Rules       a row's newest version is what the snapshot sees if it is stamped, and no later than that: nothing above it was
//!             taken out, so it needs no second look, whether or not the snapshot has been revoked (G5). Of any other the chain is
//!             walked, and the snapshot asked for afterwards. Rows that were removed after a revocation have been passed
//!             over, so a pass asks once more when it ends, with the last row or before it.
//! Helpers     P1: all sessions of a pass look at the snapshot and the record of the reader, whose transaction is borrowed until the
//!             pass is over; so its slot keeps all that anybody of the pass may see (G4), and helpers publish no snapshot. P2: what a
//!             session holds a pointer to is kept by its own reservation (I2); it holds one for a slab at a time. P3: G5 is asked of
//!             the reader's slot, by whoever has looked below a head: the CAS comes before what it has seen, in whatever thread.
//!             P4: a part is shown by the one session whose CAS claims it. If that one fails, so does the pass: what was
//!             claimed and not shown to its end is never taken for shown. P5: helpers write nothing but what any reader
//!             may at any time: stamps, and the decisions of others. So a death leaves a slot without a record behind, and a process
//!             that stops holds back what a scan of its own would. P6: the reader notes the scan before the first row is shown, whoever
//!             shows it, and validates it alone; so a transaction that writes commits by the same check, however many helped.
//! Cost        rows lie side by side in their slabs, and versions nearly so, and memory is what a pass waits for. So a batch of heads is
//!             loaded, and one of their versions fetched for each that is looked at of the batch before: requests that are made all
//!             at once wait for each other, and nothing is done meanwhile. Rows are shown when there are some batches of them.
//!             A transaction is pinned for one slab at a time.

#![forbid(unsafe_code)]

use crate::epoch::{Guard, LIVE_BATCH, LiveBatch, Slot};
use crate::mvcc::{Heads, RowHeader, visible_at};
use crate::row::{Copies, RowError, RowView, Schema, StoredImage, VisitRows};
use crate::shm::{SlabRef, tagged_slabs};
use crate::sync::{AtomicBool, AtomicU32, Ordering};
use crate::sys::u64_of;
use crate::txn::read_set::{RowPredicate, ScanRead};
use crate::txn::transaction::{running, slot_still_has};
use crate::txn::{Session, TableRef, Transaction, TxnError};
use std::iter::Zip;
use std::ops::ControlFlow;
use std::slice::Iter;

/// The most rows that are shown at a time.
const ROWS_SHOWN: usize = 64;

impl Transaction {
    /// Calls `f` with every row of the table that this transaction sees, in no particular order, until it breaks.
    ///
    /// A serializable transaction that writes afterwards commits only if the rows that satisfy `predicate` (all, without
    /// one) are still the same.
    ///
    /// # Errors
    /// `Ended`.
    pub fn scan(
        &mut self,
        table: &TableRef,
        predicate: Option<RowPredicate>,
        f: &mut VisitRows<'_>,
    ) -> Result<(), TxnError> {
        let (pass, session) = self.pass(table, predicate)?;
        pass.show_all(session, f)
    }

    /// Begins to read all rows, and gives the session to do so with. Others may help, each with a session of its own; the rows
    /// that were shown count when [`Pass::end`] says so. As to `predicate`, see [`Transaction::scan`].
    ///
    /// # Errors
    /// `Ended`.
    pub fn pass<'a>(
        &'a mut self,
        table: &'a TableRef,
        predicate: Option<RowPredicate>,
    ) -> Result<(Pass<'a>, &'a Session), TxnError> {
        let (snapshot, own, remembers) = self.begin_walk()?;
        let session = running(&mut self.session)?;
        if remembers {
            // Before the first row is shown: the walk, or whoever looks at its rows, may fail after that.
            session.buffers.reads.scans.push(ScanRead { table: table.clone(), predicate });
        }
        let session = &*session;
        let participant = &session.participant;
        let slabs = {
            let guard = participant.pin();
            tagged_slabs(participant.arena(), &table.in_use(&guard)?.rows)?
        };
        let parts = slabs.into_iter().map(|slab| Part { slab, owner: AtomicU32::new(0) }).collect();
        let stopped = AtomicBool::new(false);
        let (reader, image_bytes) = (participant.slot(), u64_of(table.schema().fixed_bytes()));
        Ok((Pass { table, parts, stopped, snapshot, own, reader, image_bytes }, session))
    }

    /// Rows of the table that this transaction sees.
    ///
    /// # Errors
    /// `Ended`.
    pub fn count(&mut self, table: &TableRef) -> Result<u64, TxnError> {
        let mut count = 0;
        self.scan(table, None, &mut |rows| {
            count += rows.len() as u64;
            ControlFlow::Continue(())
        })?;
        Ok(count)
    }
}

/// One pass over a table, in parts that lie in address order; for any number of sessions.
pub struct Pass<'a> {
    table: &'a TableRef,
    parts: Vec<Part>,
    stopped: AtomicBool,
    snapshot: u64,
    own: u64,
    reader: &'a Slot,
    /// How many bytes of an image, from its start, are looked at of most rows.
    image_bytes: u64,
}

struct Part {
    slab: SlabRef,
    /// Who has claimed it, plus one; 0 while nobody has.
    owner: AtomicU32,
}

impl Pass<'_> {
    /// Says that of most rows no more than the first bytes of the image are looked at, so many: the rest is not fetched ahead.
    #[must_use]
    pub fn looking_at(self, image_bytes: usize) -> Self {
        Self { image_bytes: self.image_bytes.min(u64_of(image_bytes)), ..self }
    }

    /// Calls `f` with the rows of all parts that the reader sees, until it breaks, and ends the pass.
    ///
    /// # Errors
    /// As [`show`](Self::show) and [`end`](Self::end).
    pub fn show_all(self, session: &Session, f: &mut VisitRows<'_>) -> Result<(), TxnError> {
        for part in 0..self.parts() {
            if self.show(session, part, f)?.is_break() {
                break;
            }
        }
        self.end()
    }

    /// How many parts there are.
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Claims a part for session number `who` of the pass (P4). Says whose it is; `None` once the pass was stopped.
    pub fn claim(&self, part: usize, who: u32) -> Option<u32> {
        // Relaxed: what a claim leads to reaches others by the end of a thread or by a channel.
        if self.stopped.load(Ordering::Relaxed) {
            return None;
        }
        let owner = &self.parts[part].owner;
        match owner.compare_exchange(0, who + 1, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => Some(who),
            Err(owner) => Some(owner - 1),
        }
    }

    /// No part is to be claimed any more.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Calls `f` with the rows of a part that the reader sees, until it breaks. `session` is the caller's own.
    ///
    /// # Errors
    /// `SnapshotRevoked`; `NoTable`.
    pub fn show(
        &self,
        session: &Session,
        part: usize,
        f: &mut VisitRows<'_>,
    ) -> Result<ControlFlow<()>, TxnError> {
        let guard = session.participant.pin();
        self.table.in_use(&guard)?;
        let heads = Heads::new(&guard, self.snapshot, self.table.columns());
        let mut blocks = guard.live_blocks(self.parts[part].slab)?;
        let mut batches = [const { LiveBatch::NONE }; 2];
        let [mut loaded, mut next] = batches.each_mut();
        let copies = Copies::default();
        let mut rows = Vec::with_capacity(ROWS_SHOWN);
        loop {
            blocks.next_batch(next);
            self.look(session, &guard, heads, [loaded, next], &copies, &mut rows)?;
            let is_last = next.is_empty();
            if is_last || rows.len() + LIVE_BATCH > ROWS_SHOWN {
                if !rows.is_empty() && f(&rows).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                if is_last {
                    return Ok(ControlFlow::Continue(()));
                }
                rows.clear();
            }
            std::mem::swap(&mut loaded, &mut next);
        }
    }

    /// Ends the pass, when everybody has come back from it.
    ///
    /// # Errors
    /// `SnapshotRevoked`: rows may have been passed over, so nothing that was shown counts.
    pub fn end(self) -> Result<(), TxnError> {
        slot_still_has(self.reader, self.snapshot)
    }

    /// Adds what the reader sees of the rows of a batch, while those of the next are fetched.
    #[inline]
    fn look<'s, 'g: 's>(
        &'s self,
        session: &Session,
        guard: &Guard<'g>,
        heads: Heads<'g>,
        [batch, next]: [&LiveBatch; 2],
        copies: &'s Copies,
        rows: &mut Vec<RowView<'s>>,
    ) -> Result<(), TxnError> {
        let (schema, words, ahead) = (&**self.table.schema(), batch.words(), next.places());
        for head in next.words().iter().skip(words.len()) {
            heads.prefetch(*head, self.image_bytes);
        }
        let mut at = 0;
        loop {
            let heads_ahead = words[at..].iter().zip(&ahead[at..]);
            at += look_at_heads(schema, heads, self.image_bytes, heads_ahead, rows)?;
            let Some(row) = batch.offsets().get(at) else { return Ok(()) };
            if let Some(image) = self.look_below(session, guard, *row)? {
                rows.push(copies.view(schema, image)?);
            }
            at += 1;
        }
    }

    #[cold]
    fn look_below<'g>(
        &self,
        session: &Session,
        guard: &Guard<'g>,
        row: u64,
    ) -> Result<Option<StoredImage<'g>>, TxnError> {
        let row: &RowHeader = guard.resolve(row)?;
        look_below(session, guard, self.reader, row, self.snapshot, self.own)
    }
}

/// Adds the rows of heads that tell by themselves what the reader sees, up to one that does not; says how many those were.
///
/// Apart, so that the loop that goes over every row of a table is small enough to stay in registers.
#[inline(never)]
fn look_at_heads<'s, 'g: 's>(
    schema: &'s Schema,
    heads: Heads<'g>,
    image_bytes: u64,
    heads_ahead: Zip<Iter<'_, u64>, Iter<'_, u64>>,
    rows: &mut Vec<RowView<'s>>,
) -> Result<usize, RowError> {
    let count = heads_ahead.len();
    for (at, (head, ahead)) in heads_ahead.enumerate() {
        heads.prefetch(*ahead, image_bytes);
        let Some(image) = heads.image(*head) else { return Ok(at) };
        rows.push(RowView::new(schema, image)?);
    }
    Ok(count)
}

/// The image of a row whose head does not tell, as the transaction whose slot is `reader` sees it; none of a row that it does not see.
pub(super) fn look_below<'g>(
    session: &Session,
    guard: &Guard<'g>,
    reader: &Slot,
    row: &RowHeader,
    snapshot: u64,
    own: u64,
) -> Result<Option<StoredImage<'g>>, TxnError> {
    let store = &session.store;
    let seen = visible_at(guard, store.clock(), row, snapshot, own, store.stall)?;
    slot_still_has(reader, snapshot)?;
    Ok(seen.filter(|(version, _)| !version.is_tombstone()).map(|(version, _)| version.image()))
}
