//! Transfers, and readers that add up.

use crate::common::fleet::say;
use crate::{Rows, Worker, Workload, number, put};
use aerostore_core::db::{Database, Error, Table, Transaction, TxnOptions};
use aerostore_core::row::Value;
use std::ops::ControlFlow;

const ACCOUNTS: u64 = 12;
const BALANCE: i64 = 1000;
const SUM: i64 = ACCOUNTS.cast_signed() * BALANCE;
/// In column `place`, so that a scan can tell accounts from notes.
const ACCOUNT: i64 = 1;
const NOTE: i64 = 2;

pub(crate) struct Bank;

fn by_keys(txn: &mut Transaction, table: &Table, accounts: std::ops::Range<u64>) -> Result<i64, Error> {
    accounts.map(|account| number(txn, table, &format!("A{account}"))).sum()
}

fn by_scan(txn: &mut Transaction, table: &Table) -> Result<i64, Error> {
    let mut sum = 0;
    let accounts =
        std::sync::Arc::new(|row: &aerostore_core::row::RowView<'_>| row.get(1) == Value::I64(ACCOUNT));
    txn.scan_for(table, accounts, &mut |row| {
        if row.get(1) == Value::I64(ACCOUNT) {
            sum += row.get(2).as_i64().unwrap();
        }
        ControlFlow::Continue(())
    })?;
    Ok(sum)
}

impl Bank {
    fn transfer(worker: &mut Worker) -> Result<(), Error> {
        let (from, to) = (worker.random.below(ACCOUNTS), worker.random.below(ACCOUNTS));
        if from == to {
            return Ok(());
        }
        let amount = worker.random.below(20).cast_signed();
        let mut txn = worker.db.begin(TxnOptions::default())?;
        let (left, right) = (format!("A{from}"), format!("A{to}"));
        let balance = number(&mut txn, &worker.table, &left)?;
        put(&mut txn, &worker.table, &left, ACCOUNT, balance - amount)?;
        let balance = number(&mut txn, &worker.table, &right)?;
        put(&mut txn, &worker.table, &right, ACCOUNT, balance + amount)?;
        txn.commit()?;
        say(&format!("did transfer {}", worker.count));
        Ok(())
    }

    /// A sum that a read-only transaction sees, or one that a committed transaction has seen and written down.
    fn add_up(worker: &mut Worker, sound: bool) -> Result<(), Error> {
        let read_only = worker.random.below(2) == 0;
        let options = TxnOptions { read_only, ..TxnOptions::default() };
        let mut txn = worker.db.begin(options)?;
        let sum = if !sound {
            let first = by_keys(&mut txn, &worker.table, 0..ACCOUNTS / 2)?;
            txn.commit()?;
            txn = worker.db.begin(options)?;
            first + by_keys(&mut txn, &worker.table, ACCOUNTS / 2..ACCOUNTS)?
        } else if worker.random.below(2) == 0 {
            by_keys(&mut txn, &worker.table, 0..ACCOUNTS)?
        } else {
            by_scan(&mut txn, &worker.table)?
        };
        if !read_only {
            put(&mut txn, &worker.table, &format!("N{}", worker.seat), NOTE, sum)?;
        }
        txn.commit()?;
        if sum != SUM {
            say(&format!("bad sum {sum}, read-only: {read_only}"));
        }
        say(&format!("did sum {}", worker.count));
        Ok(())
    }
}

impl Workload for Bank {
    const NAME: &'static str = "bank_worker";

    fn prepare(&self, db: &Database, table: &Table) {
        db.transaction(TxnOptions::default(), |txn| {
            (0..ACCOUNTS).try_for_each(|account| put(txn, table, &format!("A{account}"), ACCOUNT, BALANCE))
        })
        .unwrap();
    }

    fn work(&self, worker: &mut Worker, sound: bool) -> Result<(), Error> {
        if worker.random.below(5) < 3 { Self::transfer(worker) } else { Self::add_up(worker, sound) }
    }

    fn judge(&self, rows: &Rows, _said: &[(u64, String)]) -> Result<(), String> {
        let sum: i64 = rows.values().filter(|(place, _)| *place == ACCOUNT).map(|(_, balance)| balance).sum();
        if sum != SUM {
            return Err(format!("money was made or lost: {sum}"));
        }
        match rows.iter().find(|(_, (place, number))| *place == NOTE && *number != SUM) {
            Some((name, (_, number))) => Err(format!("note {name} says {number}")),
            None => Ok(()),
        }
    }
}
