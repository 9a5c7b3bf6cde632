//! Many who follow, in one process and in several.

use super::common::child_of;
use super::common::fleet::Random;
use super::{ROLE, THE_END, change, next_commit, set, signal, world};
use aerostore_core::db::Commit;
use aerostore_core::query::{Compare, Expr, Literal, Operator};
use std::time::Duration;

#[test]
fn twenty_in_one_process_are_told_the_same_each_at_his_own_pace() {
    let (_place, db, table) = world("feed-twenty");
    let is = |number: i64| Expr::Compare(Compare::new("key", Operator::Equal, vec![Literal::Int(number)]));
    let all: Vec<_> = (0..10).map(|_| db.watch(&table).subscribe().unwrap()).collect();
    let some: Vec<_> = (0..10).map(|key| db.watch(&table).filter(is(key)).subscribe().unwrap()).collect();
    let writer = {
        let (db, table) = (db.clone(), table.clone());
        std::thread::spawn(move || (0..300).for_each(|number| set(&db, &table, number % 10, number)))
    };
    let told = |commit: Commit| (commit.commit_ts, format!("{:?}", commit.changes));
    let first: Vec<_> = (0..300).map(|_| told(next_commit(&all[0]))).collect();
    writer.join().unwrap();
    for other in &all[1..] {
        assert!((0..300).map(|_| told(next_commit(other))).eq(first.iter().cloned()));
    }
    for (key, one) in some.iter().enumerate() {
        assert!((0..30).map(|_| told(next_commit(one))).eq(first.iter().skip(key).step_by(10).cloned()));
    }
    assert!(all.iter().chain(&some).all(|one| one.try_next().unwrap().is_none()));
    // Half of them go; the others go on.
    drop(all);
    set(&db, &table, 3, 1000);
    assert_eq!(next_commit(&some[3]).changes.len(), 1);
}

#[test]
fn four_processes_follow_while_some_of_them_and_some_who_write_are_killed() {
    let (place, db, table) = world("feed-four");
    let start = |what, seed| child_of(ROLE, format!("{}|{what}|{seed}", place.names()));
    let mut followers: Vec<_> = (0..4).map(|seed| start("follows-to-the-end", seed)).collect();
    let mut writers: Vec<_> = (4..6).map(|seed| start("writes", seed)).collect();
    let mut random = Random(31);
    for round in 0..4 {
        let pause = Duration::from_millis(random.below(60));
        std::thread::sleep(pause);
        let (children, what) =
            if round % 2 == 0 { (&mut followers, "follows-to-the-end") } else { (&mut writers, "writes") };
        let (mut killed, _) = children.remove(0);
        signal(&killed, libc::SIGKILL);
        killed.wait().unwrap();
        children.push(start(what, 10 + round));
        change(&db, &table, &mut random, 0);
    }
    for (writer, _) in &mut writers {
        signal(writer, libc::SIGKILL);
        writer.wait().unwrap();
    }
    set(&db, &table, THE_END, 0);
    // Each has compared each change with what it had, and its copy with the table in the end.
    for (follower, lines) in &mut followers {
        assert!(lines.any(|line| line.unwrap().contains("the same")));
        assert!(follower.wait().unwrap().success());
    }
    assert!(db.verify().unwrap().is_clean());
}
