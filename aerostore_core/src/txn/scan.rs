//! Reading all rows of a table, in the order in which they lie.
//!
//! Rules       a row's newest version is what the snapshot sees if it is stamped, and no later than that: nothing above it was
//!             taken out, so it needs no second look, whether or not the snapshot has been revoked (G5). Of any other the chain is
//!             walked, and the snapshot asked for afterwards. Rows that were removed after a revocation have been passed
//!             over, so a scan asks once more when it ends, with the last row or before it.
//! Cost        rows lie side by side in their slabs, and versions nearly so: a batch of heads is loaded, and their versions
//!             fetched, while the rows of the batch before it are shown. A transaction is pinned for one slab at a time.

#![forbid(unsafe_code)]

use crate::epoch::{Guard, LIVE_BATCH, LiveBatch};
use crate::mvcc::{RowHeader, VersionRef, visible_at, visible_head};
use crate::row::{RowView, Schema, VisitRows};
use crate::shm::{SlabRef, tagged_slabs};
use crate::txn::read_set::{RowPredicate, ScanRead};
use crate::txn::transaction::{running, still_has};
use crate::txn::{Session, TableRef, Transaction, TxnError};
use std::ops::ControlFlow;

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
        let (snapshot, own, remembers) = self.begin_walk()?;
        let session = running(&mut self.session)?;
        if remembers {
            // Before the first row is shown: the walk, or `f`, may fail after that.
            session.buffers.reads.scans.push(ScanRead { table: table.clone(), predicate });
        }
        Scan { session, table, snapshot, own }.run(f)
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

/// One pass over a table, in address order.
struct Scan<'a> {
    session: &'a Session,
    table: &'a TableRef,
    snapshot: u64,
    own: u64,
}

impl Scan<'_> {
    fn run(&self, f: &mut VisitRows<'_>) -> Result<(), TxnError> {
        let participant = &self.session.participant;
        let slabs = {
            let guard = participant.pin();
            tagged_slabs(participant.arena(), &self.table.root(&guard)?.rows)?
        };
        for slab in slabs {
            if self.slab(slab, f)?.is_break() {
                break;
            }
        }
        still_has(participant, self.snapshot)
    }

    fn slab(&self, slab: SlabRef, f: &mut VisitRows<'_>) -> Result<ControlFlow<()>, TxnError> {
        let guard = self.session.participant.pin();
        let mut blocks = guard.live_blocks(slab)?;
        let [mut loaded, mut next] = [const { LiveBatch::NONE }; 2];
        let mut rows = Vec::with_capacity(LIVE_BATCH);
        loop {
            blocks.next_batch(&mut next);
            next.iter().for_each(|(_, head)| VersionRef::prefetch(&guard, head));
            self.look(&guard, &loaded, &mut rows)?;
            if !rows.is_empty() && f(&rows).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if next.is_empty() {
                return Ok(ControlFlow::Continue(()));
            }
            std::mem::swap(&mut loaded, &mut next);
        }
    }

    /// What the snapshot sees of the rows of a batch.
    #[inline]
    fn look<'s, 'g: 's>(
        &'s self,
        guard: &Guard<'g>,
        batch: &LiveBatch,
        rows: &mut Vec<RowView<'s>>,
    ) -> Result<(), TxnError> {
        rows.clear();
        let schema: &Schema = self.table.schema();
        for (row, head) in batch.iter() {
            let seen = match visible_head(guard, head, self.snapshot) {
                Some(version) => Some(version),
                None => self.look_below(guard, row)?,
            };
            if let Some(version) = seen.filter(|version| !version.is_tombstone()) {
                rows.push(RowView::new(schema, version.payload())?);
            }
        }
        Ok(())
    }

    #[cold]
    fn look_below<'g>(&self, guard: &Guard<'g>, row: u64) -> Result<Option<VersionRef<'g>>, TxnError> {
        let row: &RowHeader = guard.resolve(row)?;
        look_below(self.session, guard, row, self.snapshot, self.own)
    }
}

/// The version of a row whose newest one does not tell.
pub(super) fn look_below<'g>(
    session: &Session,
    guard: &Guard<'g>,
    row: &RowHeader,
    snapshot: u64,
    own: u64,
) -> Result<Option<VersionRef<'g>>, TxnError> {
    let store = &session.store;
    let seen = visible_at(guard, store.clock(), row, snapshot, own, store.stall)?;
    still_has(&session.participant, snapshot)?;
    Ok(seen.map(|(version, _)| version))
}
