//! Time to live: deletes rows whose timestamp is older than their table allows, by a thread of each process that writes, one of which has the
//! role.
//!
//! Rules       E1: whether a row is past its time is asked again where it is deleted, of the row as it is then: one that was refreshed stays.
//!             E2: rows go in batches, each a transaction that waits for nobody; what somebody is changing is left to the next pass. E3: two at
//!             it at once, after one was stopped and lost the role, do work twice and nothing else. E4: a pass goes by an ordered index on
//!             the column, if there is one; without one it looks at all rows, and the next comes when `SCAN_REST` times as long is over.

#![forbid(unsafe_code)]

use crate::db::config::Config;
use crate::db::pool::SessionPool;
use crate::db::workers::{Gate, holder_process, holder_word};
use crate::index::key;
use crate::row::{ColumnType, IndexKind, OwnedValue, RowView, Schema, Ttl, Value, each_row};
use crate::sync::{AtomicBool, Ordering};
use crate::sys::{monotonic_ns, unix_seconds};
use crate::txn::{
    Isolation, KeySpan, RangeScan, Session, Store, TableRef, Transaction, TxnError, TxnOptions, tables,
};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A holder of the role that gives no sign of life for this long is replaced.
const PATIENCE_NS: u64 = 2_000_000_000;
/// How often it looks, while it waits, for how long it is to.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// The pause after a pass that has looked at all rows is so many times as long as it took.
const SCAN_REST: u64 = 20;
/// Keys that a pass gathers before it deletes their rows.
const KEYS_MAX: usize = 20_000;

/// What a process sweeps with.
pub(super) struct Sweeper {
    pub(super) store: Arc<Store>,
    pub(super) config: Arc<Config>,
    pub(super) pool: Arc<SessionPool>,
    pub(super) gate: Arc<Gate>,
    pub(super) stop: Arc<AtomicBool>,
    /// By table, before when it is not to be gone through again.
    pub(super) rests: HashMap<u32, u64>,
}

/// What is past its time in a table.
#[derive(Clone, Copy)]
struct Limit {
    column: usize,
    kind: ColumnType,
    /// What is less.
    cutoff: i64,
}

impl Limit {
    fn new(schema: &Schema, ttl: Ttl, now_seconds: u64) -> Self {
        let kind = schema.column(ttl.column).column_type();
        let seconds = now_seconds.cast_signed().saturating_sub(ttl.seconds.cast_signed());
        let is_micros = matches!(kind, ColumnType::TimestampMicros);
        let cutoff = if is_micros { seconds.saturating_mul(1_000_000) } else { seconds };
        Self { column: ttl.column, kind, cutoff }
    }

    /// A row without a timestamp lives for ever.
    fn is_past(self, row: RowView<'_>) -> bool {
        row.get(self.column).as_i64().is_some_and(|stamp| stamp < self.cutoff)
    }

    fn value(self) -> Value<'static> {
        match self.kind {
            ColumnType::Timestamp => Value::Timestamp(self.cutoff),
            ColumnType::TimestampMicros => Value::TimestampMicros(self.cutoff),
            _ => Value::I64(self.cutoff),
        }
    }
}

/// A session on loan from the process's pool.
struct Lent<'p> {
    session: Option<Box<Session>>,
    pool: &'p SessionPool,
}

impl Lent<'_> {
    /// Runs `work` in a transaction.
    fn run<R>(
        &mut self,
        options: TxnOptions,
        work: impl FnOnce(&mut Transaction) -> Result<R, TxnError>,
    ) -> Result<R, TxnError> {
        let session = self.session.take().ok_or(TxnError::Ended)?;
        let mut txn = Transaction::begin(session, options);
        let outcome = work(&mut txn);
        self.session = txn.into_session();
        outcome
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.pool.put(session);
        }
    }
}

impl Sweeper {
    /// Sweeps now and then, until it is told to stop.
    pub(super) fn run(mut self) {
        while !self.is_stopping() {
            self.wait();
            // Damage is reported to whoever works with the damaged part; what the log says, to whoever commits.
            let _ = self.sweep();
        }
        self.store.sweeps().role().resign(holder_word(self.store.registry().process()));
    }

    /// Waits for as long as is set, which may change meanwhile.
    fn wait(&self) {
        let begun = Instant::now();
        while !self.is_stopping()
            && let Some(left) = self.config.ttl_interval().checked_sub(begun.elapsed())
            && !left.is_zero()
        {
            std::thread::park_timeout(left.min(LOOK_INTERVAL));
        }
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Whether this process has the role, or gets it now.
    fn stand(&self) -> bool {
        let registry = self.store.registry();
        let is_dead = |holder| registry.is_dead(holder_process(holder)).unwrap_or(false);
        let me = holder_word(registry.process());
        self.store.sweeps().role().stand(me, monotonic_ns(), PATIENCE_NS, is_dead)
    }

    /// One look at every table.
    fn sweep(&mut self) -> Result<(), TxnError> {
        let pool = Arc::clone(&self.pool);
        let session = match pool.take() {
            Some(session) => session,
            None => Box::new(Session::new(Arc::clone(&self.store))?),
        };
        let mut lent = Lent { session: Some(session), pool: &pool };
        let tables = lent.session.as_deref().map(tables).transpose()?.unwrap_or_default();
        let mortal: Vec<_> =
            tables.into_iter().filter_map(|table| table.schema().ttl().map(|ttl| (table, ttl))).collect();
        self.rests.retain(|id, _| mortal.iter().any(|(table, _)| table.id() == *id));
        for (table, ttl) in mortal {
            let begun_ns = monotonic_ns();
            if self.is_stopping() || self.rests.get(&table.id()).is_some_and(|rest_ns| begun_ns < *rest_ns) {
                continue;
            }
            if !self.stand() {
                return Ok(());
            }
            let limit = Limit::new(table.schema(), ttl, unix_seconds());
            let swept = self.sweep_table(&mut lent, &table, limit);
            let end_ns = monotonic_ns();
            self.store.sweeps().count_pass((end_ns - begun_ns) / 1000, swept.is_err());
            // A table that was dropped meanwhile keeps nobody from the others.
            if let Ok(scan_ns @ 1..) = swept {
                self.rests.insert(table.id(), end_ns + SCAN_REST * scan_ns);
            }
        }
        Ok(())
    }

    /// Deletes what is past its time. Nanoseconds that it took to look at all rows; 0 by an index.
    fn sweep_table(&self, lent: &mut Lent<'_>, table: &TableRef, limit: Limit) -> Result<u64, TxnError> {
        loop {
            let begun_ns = monotonic_ns();
            let (keys, by_index) = lent.run(READ, |txn| find(txn, table, limit))?;
            let looked_ns = if by_index { 0 } else { (monotonic_ns() - begun_ns).max(1) };
            let mut deleted = 0;
            for batch in keys.chunks(self.config.ttl_batch_rows()) {
                if self.is_stopping() || !self.stand() {
                    return Ok(looked_ns);
                }
                // Not while somebody wants nothing to change.
                let _quiet = self.gate.read();
                let (gone, postponed) = delete(lent, table, limit, batch)?;
                self.store.sweeps().count(gone, postponed);
                deleted += gone;
            }
            if keys.len() < KEYS_MAX || deleted == 0 {
                return Ok(looked_ns);
            }
        }
    }
}

const READ: TxnOptions =
    TxnOptions { isolation: Isolation::Snapshot, read_only: true, synchronous_commit: None };

/// Keys of rows that are past their time, and whether an index knew them.
fn find(txn: &mut Transaction, table: &TableRef, limit: Limit) -> Result<(Vec<OwnedValue>, bool), TxnError> {
    let mut keys = Vec::new();
    let mut note = each_row(|row| {
        if limit.is_past(row) {
            keys.push(row.key().to_owned());
        }
        if keys.len() < KEYS_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    let indexes = txn.index_statistics(table, |_| false)?;
    let by_index =
        indexes.iter().any(|index| index.column == limit.column && index.spec.kind() == IndexKind::Ordered);
    if by_index {
        let mut high = Vec::new();
        key::key_bytes(limit.value(), &mut high);
        let scan = RangeScan {
            column: limit.column,
            span: KeySpan { low: &[], high: &high },
            is_descending: false,
            predicate: None,
            among: None,
            expected: KEYS_MAX as u64,
        };
        txn.scan_range(table, &scan, &mut note)?;
    } else {
        txn.scan(table, None, &mut note)?;
    }
    drop(note);
    Ok((keys, by_index))
}

/// Deletes the rows of those keys that are past their time yet (E1), in one transaction, or in two by halves when somebody is in its way
/// (E2). How many are gone, and how many were postponed.
fn delete(
    lent: &mut Lent<'_>,
    table: &TableRef,
    limit: Limit,
    keys: &[OwnedValue],
) -> Result<(u64, u64), TxnError> {
    let deleted = lent.run(TxnOptions::default(), |txn| {
        txn.wait_for_nobody();
        let mut gone = 0;
        for key in keys {
            gone += u64::from(txn.delete_if(table, key.as_value(), |row| limit.is_past(row))?);
        }
        txn.commit(false)?;
        Ok(gone)
    });
    match deleted {
        Ok(gone) => Ok((gone, 0)),
        Err(error) if !error.is_retryable() => Err(error),
        Err(_) if keys.len() < 2 => Ok((0, keys.len() as u64)),
        Err(_) => {
            let (first, second) = keys.split_at(keys.len() / 2);
            let (first, second) = (delete(lent, table, limit, first)?, delete(lent, table, limit, second)?);
            Ok((first.0 + second.0, first.1 + second.1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::crash_tests::{Cells, open_cells};

    #[test]
    fn a_row_that_was_refreshed_stays_and_one_that_is_being_changed_waits_for_the_next_pass() {
        let Cells { dir, shm, db, table } = open_cells("sweeper", 1 << 20);
        db.transaction(TxnOptions::default(), |txn| {
            for (name, value) in [("old", 5), ("fresh", 50), ("held", 5), ("oldest", 1)] {
                txn.set(&table, Value::Str(name), &[(1, Value::I64(value))])?;
            }
            Ok(())
        })
        .unwrap();
        let limit = Limit { column: 1, kind: ColumnType::I64, cutoff: 10 };
        let mut lent = Lent { session: Some(db.0.session().unwrap()), pool: db.0.pool() };
        let (found, by_index) = lent.run(READ, |txn| find(txn, &table.0, limit)).unwrap();
        assert_eq!((found.len(), by_index), (3, false));
        // As if all four had been past their time when they were looked for.
        let keys = ["old", "fresh", "held", "oldest"].map(|name| Value::Str(name).to_owned());
        let mut holder = db.begin(TxnOptions::default()).unwrap();
        holder.set(&table, Value::Str("held"), &[(1, Value::I64(6))]).unwrap();
        assert_eq!(delete(&mut lent, &table.0, limit, &keys).unwrap(), (2, 1));
        holder.commit().unwrap();
        db.create_index(&table, 1, crate::row::IndexSpec::default()).unwrap();
        let (found, by_index) = lent.run(READ, |txn| find(txn, &table.0, limit)).unwrap();
        assert_eq!((found.len(), by_index), (1, true));
        assert_eq!(delete(&mut lent, &table.0, limit, &found).unwrap(), (1, 0));
        drop(lent);
        assert_eq!(db.begin(TxnOptions::default()).unwrap().count(&table).unwrap(), 1);
        db.close().unwrap();
        let _ = std::fs::remove_dir_all(&dir);
        let _ = std::fs::remove_file(&shm);
    }

    #[test]
    fn a_shorter_interval_counts_before_the_one_that_was_set_is_over() {
        let Cells { dir, shm, db, .. } = open_cells("sweeper-interval", 1 << 20);
        db.set_config("ttl_sweep_interval_ms", "10").unwrap();
        let schema = Schema::builder("Mortal")
            .column(crate::row::Column::new("id", ColumnType::I64))
            .column(crate::row::Column::new("at", ColumnType::Timestamp).ordered())
            .key("id")
            .ttl("at", 1)
            .build()
            .unwrap();
        let table = db.create_table(&schema).unwrap();
        let put = || {
            db.transaction(TxnOptions::default(), |txn| {
                txn.set(&table, Value::I64(1), &[(1, Value::Timestamp(1))])
            })
            .unwrap();
        };
        let wait = || {
            let begun = Instant::now();
            while db.begin(TxnOptions::default()).unwrap().count(&table).unwrap() > 0 {
                assert!(begun.elapsed() < Duration::from_mins(1), "it waits for what was set before");
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        put();
        wait();
        db.set_config("ttl_sweep_interval_ms", "86400000").unwrap();
        // Long enough for the thread to begin that wait.
        std::thread::sleep(Duration::from_millis(500));
        put();
        db.set_config("ttl_sweep_interval_ms", "10").unwrap();
        wait();
        db.close().unwrap();
        let _ = std::fs::remove_dir_all(&dir);
        let _ = std::fs::remove_file(&shm);
    }

    #[test]
    fn the_limit_is_in_the_units_of_the_column() {
        let limit_of = |kind, seconds| {
            let schema = Schema::builder("T")
                .column(crate::row::Column::new("k", ColumnType::I64))
                .column(crate::row::Column::new("at", kind))
                .key("k")
                .ttl("at", seconds)
                .build()
                .unwrap();
            let limit = Limit::new(&schema, schema.ttl().unwrap(), 1_000_000);
            (limit.cutoff, limit.value())
        };
        assert_eq!(limit_of(ColumnType::I64, 100), (999_900, Value::I64(999_900)));
        assert_eq!(limit_of(ColumnType::Timestamp, 100), (999_900, Value::Timestamp(999_900)));
        let micros = 999_900_000_000;
        assert_eq!(limit_of(ColumnType::TimestampMicros, 100), (micros, Value::TimestampMicros(micros)));
        assert_eq!(limit_of(ColumnType::I64, 3_000_000).0, -2_000_000);
    }
}
