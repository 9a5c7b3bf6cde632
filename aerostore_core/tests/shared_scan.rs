//! Scans by several threads: the same rows as by one, of the same moment, whoever changes, fails, panics or dies meanwhile.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use aerostore_core::db::{Database, Error, ErrorKind, Isolation, Table, Transaction, TxnOptions};
use aerostore_core::query::{Outcome, Plan, Query, text};
use aerostore_core::row::{RowView, Value};
use common::{Place, child_of, flight, flight_schema};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

/// Enough for the planner to ask for three threads.
const ROWS: i64 = 36_000;
const THREADS: u32 = 3;
const READ: TxnOptions =
    TxnOptions { read_only: true, isolation: Isolation::Serializable, synchronous_commit: None };
const GO_ON: ControlFlow<()> = ControlFlow::Continue(());

fn open(place: &Place) -> (Database, Table) {
    let db = place.open();
    db.set_config("synchronous_commit", "off").unwrap();
    let table = db.create_table(&flight_schema()).unwrap();
    (db, table)
}

fn id(number: i64) -> String {
    format!("F{number:05}")
}

/// Rows whose altitude is their number, in an order that is not that of their keys.
fn fill(db: &Database, table: &Table) {
    for batch in 0..36 {
        db.transaction(TxnOptions::default(), |txn| {
            (0..1000).try_for_each(|row| {
                let number = (batch * 1000 + row) * 7919 % ROWS;
                txn.insert(table, &flight(table, &id(number), i32::try_from(number).unwrap()))
            })
        })
        .unwrap();
    }
}

fn plan(table: &Table, query: &str, threads: u32) -> Plan {
    Plan::new(table.schema(), text::parse(table.schema(), query).unwrap().threads(threads)).unwrap()
}

/// The keys that a query yields, in order.
fn keys(txn: &mut Transaction, table: &Table, plan: &Plan) -> Result<(Vec<String>, Outcome), Error> {
    let mut keys = Vec::new();
    let outcome = txn.search(table, plan, &mut |row| {
        keys.push(row.key().to_string());
        GO_ON
    })?;
    Ok((keys, outcome))
}

fn explained(txn: &mut Transaction, table: &Table, plan: &Plan, counting: bool) -> String {
    txn.explain(table, plan, counting).unwrap().to_string()
}

#[test]
fn several_threads_give_what_one_gives_in_the_same_order() {
    let place = Place::new("shared-same");
    let (db, table) = open(&place);
    fill(&db, &table);
    let mut txn = db.begin(TxnOptions::default()).unwrap();
    // Of the reader's own rows too.
    for number in 0..300 {
        txn.upsert(&table, &flight(&table, &id(number * 100), 70_000)).unwrap();
        txn.delete(&table, Value::Str(&id(number * 100 + 1))).unwrap();
        txn.insert(&table, &flight(&table, &format!("N{number}"), 80_000)).unwrap();
    }
    // What others commit now is later than the snapshot, but no part of it before the first read.
    assert_eq!(txn.count(&table).unwrap(), ROWS.cast_unsigned());
    db.transaction(TxnOptions::default(), |other| {
        (0..300).try_for_each(|number| {
            other.delete(&table, Value::Str(&id(number * 100 + 2)))?;
            other.upsert(&table, &flight(&table, &id(number * 100 + 3), 90_000)).map(|_| ())
        })
    })
    .unwrap();
    for query in [
        "altitude between 1000 3000",
        "altitude between 70000 90000",
        "altitude between 1000 3000 limit 3500 offset 17",
        "altitude > 20000 sort -altitude",
        "altitude < 100000 sort lat, gs limit 1000 offset 300",
        "sort gs limit 40",
        "sort gs, -updated_at",
        "lat in (5, 7.5, 9) or flight_id match 'N*'",
    ] {
        let (wanted, one) = keys(&mut txn, &table, &plan(&table, query, 1)).unwrap();
        let shared = plan(&table, query, THREADS);
        let (found, several) = keys(&mut txn, &table, &shared).unwrap();
        assert_eq!(found, wanted, "{query}");
        assert!(!found.is_empty() && several == one, "{query}: {several:?} {one:?}");
        assert_eq!(txn.search_count(&table, &shared).unwrap().rows_returned, one.rows_returned, "{query}");
        assert!(explained(&mut txn, &table, &shared, false).contains("threads"), "{query}");
    }
    let all = plan(&table, "", THREADS);
    assert_eq!(txn.search_count(&table, &all).unwrap().rows_matched, ROWS.cast_unsigned());
    assert!(explained(&mut txn, &table, &all, true).contains("by 3 threads"));
    let handed_over = explained(&mut txn, &table, &all, false);
    assert!(!handed_over.contains("threads"), "all of them to be handed over: {handed_over}");
    assert!(!explained(&mut txn, &table, &plan(&table, "limit 5", THREADS), true).contains("threads"));
    drop(txn);
    db.close().unwrap();
}

#[test]
fn a_setting_says_how_many_threads_where_the_query_does_not() {
    let place = Place::new("shared-setting");
    let (db, table) = open(&place);
    fill(&db, &table);
    let mut txn = db.begin(READ).unwrap();
    let unsaid = Plan::new(table.schema(), Query::all()).unwrap();
    assert!(!explained(&mut txn, &table, &unsaid, true).contains("threads"));
    db.set_config("search_threads", "2").unwrap();
    assert!(explained(&mut txn, &table, &unsaid, true).contains("by 2 threads"));
    assert!(!explained(&mut txn, &table, &plan(&table, "", 0), true).contains("threads"));
    // Nobody is left behind, and idle sessions are used again, but for those that the database's own threads have taken just then.
    let slots = db.status().unwrap().slots.len();
    for _ in 0..50 {
        assert_eq!(txn.search_count(&table, &unsaid).unwrap().rows_returned, ROWS.cast_unsigned());
    }
    let slots_after = db.status().unwrap().slots.len();
    assert!(slots_after < slots + 10, "{slots_after} slots, {slots} before");
    drop(txn);
    db.close().unwrap();
}

#[test]
fn who_breaks_or_has_counted_enough_ends_the_scan_for_all() {
    let place = Place::new("shared-break");
    let (db, table) = open(&place);
    fill(&db, &table);
    let mut txn = db.begin(READ).unwrap();
    let few = plan(&table, "altitude between 1000 3000", THREADS);
    let mut seen = 0;
    let outcome = txn
        .search(&table, &few, &mut |_| {
            seen += 1;
            if seen == 3 { ControlFlow::Break(()) } else { GO_ON }
        })
        .unwrap();
    assert_eq!((seen, outcome.rows_returned), (3, 3));
    assert!(outcome.rows_examined < ROWS.cast_unsigned(), "{outcome:?}");
    // Rows of which the planner expects few, and there are many.
    let limited = plan(&table, "lat >= 0 and lat < 1000 and altitude >= 0 limit 2000", THREADS);
    assert!(explained(&mut txn, &table, &limited, true).contains("threads"));
    let counted = txn.search_count(&table, &limited).unwrap();
    assert_eq!(counted.rows_returned, 2000);
    assert!(counted.rows_examined < ROWS.cast_unsigned(), "{counted:?}");
    drop(txn);
    db.close().unwrap();
}

#[test]
fn a_panic_of_the_visitor_ends_the_scan_and_nothing_else() {
    let place = Place::new("shared-panic");
    let (db, table) = open(&place);
    fill(&db, &table);
    let slots = {
        let mut txn = db.begin(READ).unwrap();
        txn.search_count(&table, &plan(&table, "", THREADS)).unwrap();
        db.status().unwrap().slots.len()
    };
    for query in ["altitude between 1000 3000", "altitude > 20000 sort lat"].repeat(10) {
        let mut txn = db.begin(TxnOptions::default()).unwrap();
        let plan = plan(&table, query, THREADS);
        let mut seen = 0;
        let visit = &mut |_: RowView<'_>| {
            seen += 1;
            assert!(seen < 10, "the visitor has had enough");
            GO_ON
        };
        assert!(catch_unwind(AssertUnwindSafe(|| txn.search(&table, &plan, visit))).is_err());
        // The transaction is as usable as after a panic in a scan by one.
        let (found, _) = keys(&mut txn, &table, &plan).unwrap();
        assert!(found.len() > 1000, "{}", found.len());
        txn.commit().unwrap();
    }
    // But for those that the database's own threads have taken meanwhile.
    let slots_after = db.status().unwrap().slots.len();
    assert!(slots_after < slots + 10, "{slots_after} slots, {slots} before");
    assert!(db.verify().unwrap().is_clean());
    db.close().unwrap();
}

#[test]
fn a_phantom_is_a_conflict_whoever_has_scanned() {
    let place = Place::new("shared-phantom");
    let (db, table) = open(&place);
    fill(&db, &table);
    let shared = plan(&table, "altitude between 1000 3000", THREADS);
    for (altitude, conflicts) in [(2000, true), (5000, false)] {
        let mut txn = db.begin(TxnOptions::default()).unwrap();
        let count = txn.search_count(&table, &shared).unwrap();
        assert!(explained(&mut txn, &table, &shared, true).contains("by 3 threads"));
        db.transaction(TxnOptions::default(), |other| {
            other.upsert(&table, &flight(&table, &format!("P{altitude}"), altitude)).map(|_| ())
        })
        .unwrap();
        let sum = i32::try_from(count.rows_returned).unwrap();
        txn.upsert(&table, &flight(&table, "sum", -sum)).unwrap();
        let outcome = txn.commit();
        assert_eq!(outcome.is_err(), conflicts, "{outcome:?}");
        if let Err(error) = outcome {
            assert_eq!(error.kind(), ErrorKind::Serialization);
        }
    }
    db.close().unwrap();
}

/// Moves a unit from one row's altitude to another's, for ever; says so once on the way.
fn shuffle(db: &Database, table: &Table, ready: &mpsc::Sender<()>, stop: &mpsc::Receiver<()>) {
    let mut turn = 1_i64;
    while stop.try_recv() == Err(mpsc::TryRecvError::Empty) {
        turn += 1;
        let (from, to) = (turn * 7907 % ROWS, turn * 104_729 % ROWS);
        if from == to {
            continue;
        }
        db.transaction(TxnOptions::default(), |txn| {
            for (row, delta) in [(from, -1), (to, 1)] {
                let name = id(row);
                let altitude =
                    txn.get(table, Value::Str(&name), |row| row.get(3).as_i64().unwrap())?.unwrap();
                // Gone and back in one transaction: keys go from row to row.
                txn.delete(table, Value::Str(&name))?;
                txn.insert(table, &flight(table, &name, i32::try_from(altitude + delta).unwrap()))?;
            }
            Ok(())
        })
        .unwrap();
        if turn == 10 {
            ready.send(()).unwrap();
        }
    }
}

const SUM: i64 = ROWS * (ROWS - 1) / 2;

/// What all altitudes are together, handed over by several threads.
fn sum(txn: &mut Transaction, table: &Table) -> Result<(u64, i64), Error> {
    // Conditions of which the planner expects few rows, so that it takes threads.
    let mut total = (0, 0);
    for query in ["altitude < 10000", "altitude between 10000 19999", "altitude >= 20000"] {
        let plan = plan(table, &format!("{query} and (lat between -100000 100000)"), THREADS);
        txn.search(table, &plan, &mut |row| {
            total.0 += 1;
            total.1 += row.get(3).as_i64().unwrap();
            GO_ON
        })?;
        let counted = txn.search_count(table, &plan)?;
        assert_eq!(counted.rows_examined, ROWS.cast_unsigned(), "all are of one moment");
    }
    Ok(total)
}

#[test]
fn all_threads_see_one_moment_while_others_write() {
    let place = Place::new("shared-moment");
    let (db, table) = open(&place);
    fill(&db, &table);
    std::thread::scope(|scope| {
        let (ready, started) = mpsc::channel();
        let (stop, stopped) = mpsc::channel::<()>();
        let (db, table) = (&db, &table);
        scope.spawn(move || shuffle(db, table, &ready, &stopped));
        started.recv().unwrap();
        for _ in 0..2 {
            let mut txn = db.begin(READ).unwrap();
            for _ in 0..2 {
                assert_eq!(sum(&mut txn, table).unwrap(), (ROWS.cast_unsigned(), SUM));
            }
        }
        drop(stop);
    });
    assert!(db.verify().unwrap().is_clean());
    db.close().unwrap();
}

#[test]
fn a_revoked_snapshot_is_an_error_in_whatever_thread() {
    let place = Place::new("shared-revoked");
    let (db, table) = open(&place);
    fill(&db, &table);
    db.set_config("max_snapshot_age", "50").unwrap();
    let revoked = || db.status().unwrap().vacuum.snapshots_revoked;
    for query in ["altitude between 1000 3000", "altitude > 1000 sort lat"] {
        let mut txn = db.begin(READ).unwrap();
        let plan = plan(&table, query, THREADS);
        assert!(!keys(&mut txn, &table, &plan).unwrap().0.is_empty());
        let before = revoked();
        let mut number = 0;
        while revoked() == before {
            // Rows below the head for some, none for others, so that parts of both kinds are met.
            db.transaction(TxnOptions::default(), |other| {
                other.upsert(&table, &flight(&table, &id(number % 100), 7)).map(|_| ())
            })
            .unwrap();
            number += 1;
        }
        for _ in 0..3 {
            let error = keys(&mut txn, &table, &plan).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Revoked);
            assert_eq!(txn.search_count(&table, &plan).unwrap_err().kind(), ErrorKind::Revoked);
        }
    }
    db.close().unwrap();
}

const ROLE: &str = "AEROSTORE_SHARED_SCAN_CHILD";

/// Not a test of its own: what the child runs, until it is killed.
#[test]
fn child_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (dir, shm) = role.split_once('|').unwrap();
    let place = Place::existing(dir.into(), shm.into());
    let (db, table) = open(&place);
    println!("ready:");
    loop {
        let mut txn = db.begin(READ).unwrap();
        match sum(&mut txn, &table) {
            Ok(total) => assert_eq!(total, (ROWS.cast_unsigned(), SUM)),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Revoked, "{error}");
                println!("revoked:");
            }
        }
    }
}

#[test]
fn a_process_that_scans_by_several_threads_may_be_stopped_and_killed_anywhere() {
    let place = Place::new("shared-kill");
    let (db, table) = open(&place);
    fill(&db, &table);
    db.set_config("max_snapshot_age", "150").unwrap();
    std::thread::scope(|scope| {
        let (ready, started) = mpsc::channel();
        let (stop, stopped) = mpsc::channel::<()>();
        let (db, table, place) = (&db, &table, &place);
        scope.spawn(move || shuffle(db, table, &ready, &stopped));
        started.recv().unwrap();
        for round in 0..4 {
            let (mut child, mut lines) = child_of(ROLE, place.names());
            std::thread::sleep(Duration::from_millis(60 + 17 * round));
            if round == 2 {
                let before = db.status().unwrap().vacuum.snapshots_revoked;
                let pid = i32::try_from(child.id()).unwrap();
                // SAFETY: the child was started by this test and has not been waited for, so the pid is its own.
                assert_eq!(unsafe { libc::kill(pid, libc::SIGSTOP) }, 0);
                while db.status().unwrap().vacuum.snapshots_revoked == before {
                    std::thread::sleep(Duration::from_millis(10));
                }
                // SAFETY: as above.
                assert_eq!(unsafe { libc::kill(pid, libc::SIGCONT) }, 0);
                assert!(lines.any(|line| line.unwrap().contains("revoked:")), "the child ended");
            }
            child.kill().unwrap();
            let status = child.wait().unwrap();
            assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGKILL));
        }
        drop(stop);
    });
    let mut txn = db.begin(READ).unwrap();
    assert_eq!(sum(&mut txn, &table).unwrap(), (ROWS.cast_unsigned(), SUM));
    drop(txn);
    let report = db.verify().unwrap();
    assert!(report.is_clean(), "{report:#?}");
    // The dead are buried, with their helpers.
    while db.status().unwrap().slots.iter().any(|slot| slot.pid != std::process::id()) {
        std::thread::sleep(Duration::from_millis(10));
    }
    db.close().unwrap();
}
