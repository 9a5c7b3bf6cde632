//! Following a table across processes: every change, in order, with the values before and after; those who follow slowly, are stopped or
//! killed; log writers that are.
//!
//! A `Mirror` is a copy of the table that only events have changed since a snapshot: each event's old values must be what it has, and at the end
//! it must be the table.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
mod many;
mod mirror;
mod writers;

use aerostore_core::db::{
    ChangeOp, Commit, Database, Error, ErrorKind, Event, Subscription, Table, TxnOptions,
};
use aerostore_core::query::{Compare, Expr, Literal, Operator};
use aerostore_core::row::Value;
use common::fleet::{Random, say};
use common::{Place, child_of};
use mirror::{Mirror, PATIENCE, schema};
use std::os::unix::process::parent_id;
use std::process::Child;
use std::time::{Duration, Instant};

const ROLE: &str = "AEROSTORE_FEED_CHILD";
const KEYS: u64 = 24;
/// The key of a row that says that nothing more is written.
const THE_END: i64 = -1;

fn set(db: &Database, table: &Table, key: i64, number: i64) {
    db.transaction(TxnOptions::default(), |txn| txn.set(table, Value::I64(key), &[(1, Value::I64(number))]))
        .unwrap();
}

/// One transaction of a random kind; every row that it leaves has the same number.
fn change(db: &Database, table: &Table, random: &mut Random, number: i64) {
    let mut key = || Value::I64(i64::try_from(random.below(KEYS)).unwrap());
    let (one, other, third) = (key(), key(), key());
    let kind = random.below(6);
    let text = "x".repeat(usize::try_from(random.below(20)).unwrap());
    let text = if kind == 2 { Value::Null } else { Value::Str(&text) };
    db.transaction(TxnOptions::default(), |txn| {
        txn.set(table, one, &[(1, Value::I64(number)), (2, text)])?;
        match kind {
            0 => drop(txn.delete(table, other)?),
            1 => {
                // There is nothing to be seen of a row that was there in between.
                txn.delete(table, other)?;
                txn.set(table, other, &[(1, Value::I64(-1))])?;
                txn.delete(table, other)?;
            }
            3 => {
                let savepoint = txn.savepoint()?;
                txn.set(table, other, &[(1, Value::I64(-1))])?;
                txn.delete(table, third)?;
                txn.rollback_to(&savepoint)?;
                txn.set(table, third, &[(1, Value::I64(number))])?;
            }
            4 => {
                txn.delete(table, one)?;
                txn.set(table, one, &[(1, Value::I64(number))])?;
            }
            _ => drop(txn.set(table, third, &[(1, Value::I64(number))])?),
        }
        Ok(())
    })
    .unwrap();
}

/// Not a test of its own: what the other processes run.
#[test]
fn child_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let parts: Vec<&str> = role.split('|').collect();
    let place = Place::existing(parts[0].into(), parts[1].into());
    let db = place.open();
    let table = db.table("Pair").unwrap().unwrap();
    let seed: u64 = parts[3].parse().unwrap();
    match parts[2] {
        "writes" => {
            db.set_config("synchronous_commit", "off").unwrap();
            let mut random = Random(seed);
            say("ready:");
            let parent = parent_id();
            for number in (1..).take_while(|_| parent_id() == parent) {
                change(&db, &table, &mut random, number);
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        "follows" => {
            let subscription = db.watch(&table).subscribe().unwrap();
            let mut mirror = Mirror::of(&db, &table);
            say("ready:");
            mirror.follow_until_told(&db, &table, &subscription);
            say(&format!("gaps: {}", mirror.gaps));
        }
        "follows-to-the-end" => {
            let subscription = db.watch(&table).subscribe().unwrap();
            let mut mirror = Mirror::of(&db, &table);
            say("ready:");
            mirror.follow_to(&db, &table, &subscription, THE_END);
            mirror.follow_until_told(&db, &table, &subscription);
            say("the same");
        }
        "stays" => {
            let _subscription = db.watch(&table).subscribe().unwrap();
            say("ready:");
            let parent = parent_id();
            while parent_id() == parent {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        other => panic!("{other}"),
    }
}

fn child(place: &Place, what: &str, seed: u64) -> Child {
    child_of(ROLE, format!("{}|{what}|{seed}", place.names())).0
}

fn signal(child: &Child, signal: i32) {
    let pid = i32::try_from(child.id()).unwrap();
    // SAFETY: the child was started by this test and has not been waited for, so the pid is its own.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

fn world(name: &str) -> (Place, Database, Table) {
    let place = Place::new(name);
    let db = place.open();
    db.set_config("synchronous_commit", "off").unwrap();
    let table = db.create_table(&schema()).unwrap();
    (place, db, table)
}

fn next_commit(subscription: &Subscription) -> Commit {
    match subscription.next_within(PATIENCE).unwrap().expect("an event") {
        Event::Commit(commit) => commit,
        other => panic!("{other:?}"),
    }
}

#[test]
fn changes_of_all_processes_come_in_order_with_what_was_before() {
    let (place, db, table) = world("feed-order");
    let mut writers: Vec<_> = (1..3).map(|seed| child(&place, "writes", seed)).collect();
    let mut random = Random(77);
    let rounds = std::env::var("AEROSTORE_FEED_ROUNDS").map_or(3, |text| text.parse().unwrap());
    for round in 0..rounds {
        // In the middle of commits: each of them is seen by the snapshot, or has logged what was before, or is a gap.
        let subscription = db.watch(&table).subscribe().unwrap();
        let mut mirror = Mirror::of(&db, &table);
        assert!(mirror.read_ts >= subscription.begin_ts());
        let enough = mirror.commits + 150;
        while mirror.commits < enough {
            change(&db, &table, &mut random, round);
            while let Some(event) = subscription.try_next().unwrap() {
                mirror.apply(&db, &table, event);
            }
        }
        // The log writer, most likely.
        let mut killed = writers.remove(0);
        signal(&killed, libc::SIGKILL);
        killed.wait().unwrap();
        writers.push(child(&place, "writes", 100 + u64::try_from(round).unwrap()));
        let enough = mirror.commits + 50;
        while mirror.commits < enough {
            mirror.apply(&db, &table, subscription.next_within(PATIENCE).unwrap().expect("an event"));
        }
        // At the beginning, of those that were committing then.
        let gaps = mirror.gaps;
        assert!(gaps <= 3, "{gaps}");
        if round + 1 == rounds {
            for writer in &mut writers {
                signal(writer, libc::SIGKILL);
                writer.wait().unwrap();
            }
            mirror.follow_until_told(&db, &table, &subscription);
            assert_eq!(mirror.gaps, gaps);
        }
    }
}

#[test]
fn who_is_stopped_holds_up_nobody_and_is_told_what_is_gone() {
    let place = Place::new("feed-stopped");
    let db = place.builder().segment_bytes(16 << 10).open().unwrap();
    db.set_config("synchronous_commit", "off").unwrap();
    let table = db.create_table(&schema()).unwrap();
    let subscription = db.watch(&table).subscribe().unwrap();
    let (mut follower, mut lines) = child_of(ROLE, format!("{}|follows|0", place.names()));
    signal(&follower, libc::SIGSTOP);
    let mut mirror = Mirror::of(&db, &table);
    let mut random = Random(5);
    for round in 0..3 {
        for number in 0..300 {
            change(&db, &table, &mut random, number);
        }
        db.flush().unwrap();
        if round > 0 {
            // The log before goes with this one.
            db.checkpoint().unwrap();
        }
        while mirror.commits < 100 * (round + 1) {
            mirror.apply(&db, &table, subscription.next_within(PATIENCE).unwrap().expect("an event"));
        }
    }
    signal(&follower, libc::SIGCONT);
    mirror.follow_until_told(&db, &table, &subscription);
    assert_eq!(mirror.gaps, 0, "this one was not stopped");
    let gaps = lines.find_map(|line| line.unwrap().strip_prefix("gaps: ").map(str::to_owned)).unwrap();
    assert!(gaps.parse::<u64>().unwrap() > 0, "the log was removed before it was read");
    assert!(follower.wait().unwrap().success());
}

#[test]
fn the_killed_leave_nothing_behind() {
    let (place, db, table) = world("feed-killed");
    let mut follower = child(&place, "stays", 0);
    let mut number = 0;
    let mut update_bytes = || {
        let before = db.status().unwrap().log.written_bytes;
        number += 1;
        set(&db, &table, 1, number);
        db.flush().unwrap();
        db.status().unwrap().log.written_bytes - before
    };
    update_bytes();
    let with_old_rows = update_bytes();
    signal(&follower, libc::SIGKILL);
    follower.wait().unwrap();
    let begun = Instant::now();
    while update_bytes() >= with_old_rows {
        assert!(begun.elapsed() < PATIENCE, "a dead process follows the table yet");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(db.verify().unwrap().is_clean());
}

#[test]
fn a_condition_makes_a_feed_of_the_rows_that_satisfy_it() {
    let (_place, db, table) = world("feed-filter");
    let above = Expr::Compare(Compare::new("number", Operator::Greater, vec![Literal::Int(10)]));
    let high = db.watch(&table).filter(above).subscribe().unwrap();
    let texts = db.watch(&table).columns(["text"]).subscribe().unwrap();
    for number in [5, 20, 30, 7, 40] {
        set(&db, &table, 1, number);
    }
    db.transaction(TxnOptions::default(), |txn| txn.set(&table, Value::I64(1), &[(2, Value::Str("t"))]))
        .unwrap();
    db.transaction(TxnOptions::default(), |txn| txn.delete(&table, Value::I64(1))).unwrap();
    let said = |commit: Commit| format!("{:?}", commit.changes);
    let seen = [(); 6].map(|()| said(next_commit(&high)));
    assert_eq!(
        seen,
        [
            "[insert 1 key:  -> 1 number:  -> 20 text:  -> \\N]",
            "[update 1 number: 20 -> 30]",
            "[delete 1 key: 1 ->  number: 30 ->  text: \\N -> ]",
            "[insert 1 key:  -> 1 number:  -> 40 text:  -> \\N]",
            "[update 1 text: \\N -> t]",
            "[delete 1 key: 1 ->  number: 40 ->  text: t -> ]",
        ]
    );
    let seen = [(); 3].map(|()| said(next_commit(&texts)));
    assert_eq!(seen, ["[insert 1 text:  -> \\N]", "[update 1 text: \\N -> t]", "[delete 1 text: t -> ]"]);
    let unknown = db.watch(&table).columns(["altitude"]).subscribe();
    assert!(unknown.unwrap_err().to_string().contains("altitude"));
}

#[test]
fn a_transaction_that_does_not_fit_is_a_gap_and_what_follows_comes() {
    let (_place, db, table) = world("feed-full");
    let small = db.watch(&table).buffer_bytes(2000).subscribe().unwrap();
    db.transaction(TxnOptions::default(), |txn| {
        (0..100).try_for_each(|key| txn.set(&table, Value::I64(key), &[(1, Value::I64(0))]).map(drop))
    })
    .unwrap();
    set(&db, &table, 1, 1);
    let Some(Event::Gap(gap)) = small.next_within(PATIENCE).unwrap() else { panic!("it fits") };
    assert!(gap.after_ts < gap.to_ts);
    let commit = next_commit(&small);
    assert!(commit.commit_ts > gap.to_ts);
    assert_eq!(commit.changes[0].op(), ChangeOp::Update);
}

#[test]
fn a_subscription_ends_with_its_database() {
    let (_place, db, table) = world("feed-closed");
    let subscription = db.watch(&table).subscribe().unwrap();
    set(&db, &table, 1, 1);
    next_commit(&subscription);
    let waiter = std::thread::spawn(move || subscription.next_within(PATIENCE));
    let other = db.watch(&table).subscribe().unwrap();
    db.clone().close().unwrap();
    assert!(matches!(waiter.join().unwrap(), Err(Error::Closed)));
    assert!(matches!(other.try_next(), Err(Error::Closed)));
    assert!(matches!(db.watch(&table).subscribe(), Err(Error::Closed)));
}

#[test]
fn a_subscription_ends_with_its_table_after_the_last_change() {
    let (_place, db, table) = world("feed-dropped");
    let subscription = db.watch(&table).subscribe().unwrap();
    set(&db, &table, 1, 1);
    db.drop_table(&table).unwrap();
    let another = db.create_table(&schema()).unwrap();
    set(&db, &another, 2, 2);
    assert_eq!(next_commit(&subscription).changes[0].key(), Value::I64(1));
    let end = subscription.next_within(PATIENCE).unwrap_err();
    assert_eq!(end.kind(), ErrorKind::NotFound);
    assert_eq!(db.watch(&table).subscribe().unwrap_err().kind(), ErrorKind::NotFound);
    db.watch(&another).subscribe().unwrap();
}
