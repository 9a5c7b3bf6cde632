//! Chains and reclamation under random schedules of three threads that can be repeated by their seed.
//!
//! Two writers move amounts between three rows, delete and insert them, roll back, prune and free at once or with the next write;
//! a reader adds up. Every
//! image says twice what it holds, so a version that is used again too early shows.
//!
//! Length      `AEROSTORE_SCHEDULES`: how many; `AEROSTORE_SCHEDULE_SEED`: from which seed on.

#![allow(clippy::unwrap_used, reason = "tests")]

use crate::db::{Database, TxnOptions};
use crate::row::{Column, ColumnType, Schema, Value};
use crate::sync::run_scheduled;
use crate::txn::{Session, TableRef, Transaction, TxnError};
use std::ops::ControlFlow;
use std::path::Path;

const ROWS: u64 = 3;
const BALANCE: i64 = 100;
/// Transactions of each thread in one schedule.
const TRANSACTIONS: u64 = 40;

type Work<'a> = Box<dyn FnOnce() -> Box<Session> + Send + 'a>;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn put(txn: &mut Transaction, table: &TableRef, row: &str, amount: i64) -> Result<(), TxnError> {
    let again = amount.to_string();
    txn.set(table, Value::Str(row), &[(1, Value::I64(amount)), (2, Value::Str(&again))]).map(|_| ())
}

fn amount_of(row: crate::row::RowView<'_>) -> i64 {
    let amount = row.get(1).as_i64().unwrap();
    assert_eq!(row.get(2), Value::Str(&amount.to_string()), "an image that is another one's");
    amount
}

fn get(txn: &mut Transaction, table: &TableRef, row: &str) -> Result<Option<i64>, TxnError> {
    txn.get(table, Value::Str(row), amount_of)
}

/// Moves an amount; the row it leaves may be deleted on the way, and is missing when it is empty.
fn transfer(txn: &mut Transaction, table: &TableRef, dice: u64) -> Result<(), TxnError> {
    let (from, to) = (format!("R{}", dice % ROWS), format!("R{}", (dice >> 8) % ROWS));
    if from == to {
        return Ok(());
    }
    let left = get(txn, table, &from)?.unwrap_or(0);
    let right = get(txn, table, &to)?.unwrap_or(0);
    if (dice >> 16).is_multiple_of(4) {
        txn.delete(table, Value::Str(&from))?;
        put(txn, table, &to, left + right)
    } else {
        put(txn, table, &from, left - 1)?;
        put(txn, table, &to, right + 1)
    }
}

fn write(mut session: Box<Session>, table: &TableRef, seed: u64) -> Box<Session> {
    for step in 0..TRANSACTIONS {
        let dice = (seed * 1000 + step).wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 20;
        let mut txn = Transaction::begin(session, TxnOptions::default());
        let outcome = transfer(&mut txn, table, dice).and_then(|()| {
            if (dice >> 20).is_multiple_of(2) {
                txn.rollback();
                return Ok(());
            }
            txn.commit(false).map(|_| ())
        });
        assert!(outcome.as_ref().err().is_none_or(TxnError::is_retryable), "{outcome:?}");
        session = txn.into_session().unwrap();
        if (dice >> 21).is_multiple_of(2) {
            session.tidy_now().unwrap();
        } else {
            session.tidy_later().unwrap();
        }
    }
    session
}

fn read(mut session: Box<Session>, table: &TableRef) -> Box<Session> {
    for step in 0..TRANSACTIONS {
        let mut txn = Transaction::begin(session, TxnOptions { read_only: true, ..TxnOptions::default() });
        let mut sum = 0;
        if step % 2 == 0 {
            for row in 0..ROWS {
                sum += get(&mut txn, table, &format!("R{row}")).unwrap().unwrap_or(0);
            }
        } else {
            txn.scan(table, None, &mut |rows| {
                sum += rows.iter().map(|row| amount_of(*row)).sum::<i64>();
                ControlFlow::Continue(())
            })
            .unwrap();
        }
        assert_eq!(sum, ROWS.cast_signed() * BALANCE, "a torn snapshot");
        session = txn.into_session().unwrap();
    }
    session
}

#[test]
fn chains_and_reclamation_hold_under_random_schedules() {
    let unique = format!("aerostore-schedule-{}", std::process::id());
    let (dir, shm) =
        (std::env::temp_dir().join(&unique), Path::new("/dev/shm").join(format!("{unique}.mmap")));
    let db = Database::builder(&dir).shm_path(&shm).max_bytes(64 << 20).open().unwrap();
    let schema = Schema::builder("Cell")
        .column(Column::new("name", ColumnType::String(8)))
        .column(Column::new("amount", ColumnType::I64))
        .column(Column::new("again", ColumnType::String(24)))
        .key("name")
        .build()
        .unwrap();
    let table = db.create_table(&schema).unwrap().0;
    let mut txn = Transaction::begin(db.0.session().unwrap(), TxnOptions::default());
    (0..ROWS).for_each(|row| put(&mut txn, &table, &format!("R{row}"), BALANCE).unwrap());
    txn.commit(false).unwrap();
    db.0.pool().put(txn.into_session().unwrap());
    let (first, count) = (number("AEROSTORE_SCHEDULE_SEED", 1), number("AEROSTORE_SCHEDULES", 60));
    let mut switches = 0;
    for seed in first..first + count {
        let mut sessions: Vec<_> = (0..3).map(|_| db.0.session().unwrap()).collect();
        let (one, two, three) = (sessions.remove(0), sessions.remove(0), sessions.remove(0));
        let threads: Vec<Work<'_>> = vec![
            Box::new(|| write(one, &table, seed)),
            Box::new(|| write(two, &table, seed + 1_000_000)),
            Box::new(|| read(three, &table)),
        ];
        let (sessions, more) =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run_scheduled(seed, threads)))
                .unwrap_or_else(|panic| {
                    eprintln!("AEROSTORE_SCHEDULE_SEED={seed} repeats it");
                    std::panic::resume_unwind(panic)
                });
        switches += more;
        for session in sessions {
            db.0.pool().put(session);
        }
        let report = db.verify().unwrap();
        assert!(report.is_clean(), "AEROSTORE_SCHEDULE_SEED={seed}: {report:#?}");
    }
    println!("schedules: {count} of three threads, {switches} switches");
    assert!(switches > count);
    db.close().unwrap();
    let _ = std::fs::remove_dir_all(&dir);
    let _ = std::fs::remove_file(&shm);
}
