//! A copy of a table that events keep.

use super::common::fleet::now_ns;
use aerostore_core::db::{ChangeOp, Database, Event, RowChange, Subscription, Table, TxnOptions};
use aerostore_core::row::{Column, ColumnType, RowView, Schema, Value};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

/// How long anything may take that should come at once.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

pub(crate) fn schema() -> Schema {
    Schema::builder("Pair")
        .column(Column::new("key", ColumnType::I64))
        .column(Column::new("number", ColumnType::I64))
        .column(Column::new("text", ColumnType::String(20)).nullable())
        .key("key")
        .build()
        .unwrap()
}

type Row = (i64, Option<String>);

fn row_of(row: RowView<'_>) -> Row {
    let text = row.get(2);
    (row.get(1).as_i64().unwrap(), (!text.is_null()).then(|| text.to_string()))
}

pub(crate) struct Mirror {
    rows: BTreeMap<i64, Row>,
    /// It is the table as of this timestamp.
    pub(crate) read_ts: u64,
    pub(crate) commits: u64,
    pub(crate) gaps: u64,
}

impl Mirror {
    pub(crate) fn of(db: &Database, table: &Table) -> Self {
        let mut mirror = Self { rows: BTreeMap::new(), read_ts: 0, commits: 0, gaps: 0 };
        mirror.read(db, table);
        mirror
    }

    fn read(&mut self, db: &Database, table: &Table) {
        let (read_ts, rows) = rows_of(db, table);
        (self.read_ts, self.rows) = (read_ts, rows);
    }

    /// After a gap behind what is known the table is read again.
    pub(crate) fn apply(&mut self, db: &Database, table: &Table, event: Event) {
        let commit = match event {
            Event::Commit(commit) => commit,
            Event::Gap(gap) if gap.to_ts <= self.read_ts => return,
            Event::Gap(_) => {
                self.gaps += 1;
                return self.read(db, table);
            }
            other => panic!("{other:?}"),
        };
        if commit.commit_ts <= self.read_ts {
            return;
        }
        self.read_ts = commit.commit_ts;
        self.commits += 1;
        let mut numbers: Vec<_> = commit
            .changes
            .iter()
            .filter_map(|change| change.after().map(|row| row.get(1).as_i64()))
            .collect();
        numbers.dedup();
        assert!(numbers.len() <= 1, "half of a transaction: {commit:?}");
        for change in &commit.changes {
            self.apply_change(change);
        }
    }

    fn apply_change(&mut self, change: &RowChange) {
        let key = change.key().as_i64().unwrap();
        assert_eq!(self.rows.get(&key).cloned(), change.before().map(row_of), "{change:?}");
        let (op, old, new) = (change.op(), change.before(), change.after());
        assert_eq!((old.is_some(), new.is_some()), (op != ChangeOp::Insert, op != ChangeOp::Delete));
        if let (Some(old), Some(new)) = (old, new) {
            let differ: Vec<usize> = (0..3).filter(|index| old.get(*index) != new.get(*index)).collect();
            assert_eq!(change.columns().collect::<Vec<_>>(), differ);
        }
        match new {
            Some(new) => self.rows.insert(key, row_of(new)),
            None => self.rows.remove(&key),
        };
    }

    /// Applies what comes until there is a row of that key.
    pub(crate) fn follow_to(&mut self, db: &Database, table: &Table, subscription: &Subscription, key: i64) {
        while !self.rows.contains_key(&key) {
            self.apply(db, table, subscription.next_within(PATIENCE).unwrap().expect("an event"));
        }
    }

    /// Applies what comes until a row appears that says that nothing more will; then it must be the table.
    pub(crate) fn follow_until_told(&mut self, db: &Database, table: &Table, subscription: &Subscription) {
        // Of its own: another process may do the same.
        let mark = -i64::from(std::process::id());
        loop {
            // Again, should it fall into a gap.
            db.transaction(TxnOptions::default(), |txn| {
                // A number that nobody has written: the same again would be no change.
                txn.set(table, Value::I64(mark), &[(1, Value::I64(now_ns()))]).map(drop)
            })
            .unwrap();
            let gaps = self.gaps;
            while gaps == self.gaps {
                let event = subscription.next_within(PATIENCE).unwrap().expect("the end");
                let is_end = matches!(&event, Event::Commit(commit)
                    if commit.commit_ts > self.read_ts && commit.changes.iter().any(|change| change.key() == Value::I64(mark)));
                self.apply(db, table, event);
                if is_end {
                    let without_marks = |mut rows: BTreeMap<i64, Row>| rows.split_off(&0);
                    assert_eq!(without_marks(self.rows.clone()), without_marks(rows_of(db, table).1));
                    return;
                }
            }
        }
    }
}

fn rows_of(db: &Database, table: &Table) -> (u64, BTreeMap<i64, Row>) {
    let mut rows = BTreeMap::new();
    let mut txn = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() }).unwrap();
    txn.scan(table, &mut |row| {
        rows.insert(row.key().as_i64().unwrap(), row_of(row));
        ControlFlow::Continue(())
    })
    .unwrap();
    (txn.commit().unwrap(), rows)
}
