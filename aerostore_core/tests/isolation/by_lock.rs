//! Hermitage's anomalies by transactions that lock rows. A lock is no more than a right to write: what was only read, and rows
//! that were not there, still are for validation to watch.

use super::*;

/// Short waits: who cannot have a row is told so.
fn two_in_a_hurry(name: &str) -> (World, Transaction, Transaction) {
    let (world, first, second) = two(name);
    world.db.set_config("lock_timeout", "20").unwrap();
    (world, first, second)
}

/// `end` ends the first transaction while the second one waits for the row; what the second one finds under the lock then.
fn found_after(world: &World, id: &str, mut second: Transaction, end: impl FnOnce()) -> Option<i64> {
    world.db.set_config("lock_timeout", "60000").unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(move || {
            let found = world.lock(&mut second, id).unwrap();
            second.commit().unwrap();
            found
        });
        // Most of the time the other one waits by now; what it has to find is the same if it does not.
        std::thread::sleep(std::time::Duration::from_millis(5));
        assert!(!waiter.is_finished(), "the row was free");
        end();
        waiter.join().unwrap()
    })
}

#[test]
fn g0_dirty_write() {
    let (world, mut first, mut second) = two_in_a_hurry("g0-lock");
    assert_eq!(world.lock(&mut first, "1").unwrap(), Some(10));
    conflicts(world.lock(&mut second, "1"));
    conflicts(world.set(&mut second, "1", 12));
    drop(second);
    world.set(&mut first, "1", 11).unwrap();
    world.set(&mut first, "2", 21).unwrap();
    let mut third = world.begin();
    conflicts(world.lock(&mut third, "2"));
    first.commit().unwrap();
    assert_eq!((world.now("1"), world.now("2")), (Some(11), Some(21)));
}

#[test]
fn g1a_aborted_read() {
    let (world, mut first, second) = two("g1a-lock");
    assert_eq!(world.lock(&mut first, "1").unwrap(), Some(10));
    world.set(&mut first, "1", 101).unwrap();
    assert_eq!(found_after(&world, "1", second, || first.rollback()), Some(10));
}

#[test]
fn g1b_intermediate_read() {
    let (world, mut first, second) = two("g1b-lock");
    assert_eq!(world.lock(&mut first, "1").unwrap(), Some(10));
    world.set(&mut first, "1", 101).unwrap();
    let found = found_after(&world, "1", second, || {
        world.set(&mut first, "1", 11).unwrap();
        first.commit().unwrap();
    });
    assert_eq!(found, Some(11), "neither what was there between two writes nor what was there before them");
}

#[test]
fn g1c_circular_information_flow() {
    let (world, mut first, mut second) = two_in_a_hurry("g1c-lock");
    world.lock(&mut first, "1").unwrap();
    world.lock(&mut second, "2").unwrap();
    world.set(&mut first, "1", 11).unwrap();
    world.set(&mut second, "2", 22).unwrap();
    assert_eq!((world.get(&mut first, "2"), world.get(&mut second, "1")), (Some(20), Some(10)));
    first.commit().unwrap();
    conflicts(second.commit());
}

/// The same where each wants the lock of what it reads: they wait for each other.
#[test]
fn g1c_ends_in_a_deadlock_of_which_one_goes_on() {
    let (world, mut first, mut second) = two("g1c-deadlock");
    world.db.set_config("lock_timeout", "60000").unwrap();
    world.lock(&mut first, "1").unwrap();
    world.lock(&mut second, "2").unwrap();
    world.set(&mut first, "1", 11).unwrap();
    world.set(&mut second, "2", 22).unwrap();
    let run = |mut txn: Transaction, id: &str| {
        let found = world.lock(&mut txn, id)?;
        txn.commit().map(|_| found)
    };
    let (first, second) = std::thread::scope(|scope| {
        let other = scope.spawn(|| run(second, "1"));
        (run(first, "2"), other.join().unwrap())
    });
    match (first, second) {
        (Ok(found), Err(error)) => assert!(found == Some(20) && error.is_retryable(), "{found:?}, {error}"),
        (Err(error), Ok(found)) => assert!(found == Some(10) && error.is_retryable(), "{found:?}, {error}"),
        both => panic!("{both:?}"),
    }
}

#[test]
fn otv_observed_transaction_vanishes() {
    let (world, mut first, mut reader) = two_in_a_hurry("otv-lock");
    for (id, altitude) in [("1", 11), ("2", 19)] {
        world.lock(&mut first, id).unwrap();
        world.set(&mut first, id, altitude).unwrap();
    }
    first.commit().unwrap();
    assert_eq!(world.lock(&mut reader, "1").unwrap(), Some(11));
    let mut second = world.begin();
    world.lock(&mut second, "2").unwrap();
    world.set(&mut second, "2", 18).unwrap();
    // What the reader has seen of the first one stays, so the second one has to wait.
    conflicts(world.lock(&mut second, "1"));
    drop(second);
    assert_eq!(world.lock(&mut reader, "2").unwrap(), Some(19));
    reader.commit().unwrap();
}

#[test]
fn pmp_predicate_many_preceders() {
    let (world, mut first, mut second) = two("pmp-lock");
    assert_eq!(world.sum(&mut first), 30);
    for id in ["1", "2"] {
        world.lock(&mut first, id).unwrap();
    }
    // All that was found is locked; what was not there could not be.
    world.insert(&mut second, "3", 30).unwrap();
    second.commit().unwrap();
    assert_eq!(world.sum(&mut first), 30);
    conflicts(world.lock(&mut first, "3"));
    drop(first);
    let mut first = world.begin();
    assert_eq!(world.sum(&mut first), 60);
    world.lock(&mut first, "1").unwrap();
    let mut second = world.begin();
    world.insert(&mut second, "4", 40).unwrap();
    second.commit().unwrap();
    world.set(&mut first, "1", 11).unwrap();
    conflicts(first.commit());
}

#[test]
fn pmp_by_a_lock_of_what_a_predicate_finds() {
    let (world, mut first, mut second) = two_in_a_hurry("pmp-write-lock");
    world.set(&mut first, "1", 20).unwrap();
    world.set(&mut first, "2", 30).unwrap();
    assert_eq!(world.at(&mut second, 20), ["2"]);
    first.commit().unwrap();
    conflicts(world.lock(&mut second, "2"));
}

#[test]
fn p4_lost_update() {
    let (world, mut first, mut second) = two("p4-lock");
    assert_eq!((world.get(&mut first, "1"), world.get(&mut second, "1")), (Some(10), Some(10)));
    assert_eq!(world.lock(&mut first, "1").unwrap(), Some(10));
    world.set(&mut first, "1", 11).unwrap();
    first.commit().unwrap();
    conflicts(world.lock(&mut second, "1"));
}

/// One that locks before it reads is given the other's update instead of losing it.
#[test]
fn p4_lost_update_is_avoided_by_a_lock_before_the_read() {
    for isolation in [Isolation::Serializable, Isolation::Snapshot] {
        let world = world("p4-lock-first");
        let begin = || world.db.begin(TxnOptions { isolation, ..TxnOptions::default() }).unwrap();
        let (mut first, mut second) = (begin(), begin());
        assert_eq!(world.lock(&mut first, "1").unwrap(), Some(10));
        world.set(&mut first, "1", 11).unwrap();
        first.commit().unwrap();
        assert_eq!(world.lock(&mut second, "1").unwrap(), Some(11));
        world.set(&mut second, "1", 12).unwrap();
        second.commit().unwrap();
        assert_eq!(world.now("1"), Some(12));
    }
}

#[test]
fn p4_lost_update_is_refused_under_snapshot_isolation_too() {
    let world = world("p4-lock-si");
    let options = TxnOptions { isolation: Isolation::Snapshot, ..TxnOptions::default() };
    let mut first = world.db.begin(options).unwrap();
    assert_eq!(world.get(&mut first, "1"), Some(10));
    let mut second = world.db.begin(options).unwrap();
    world.lock(&mut second, "1").unwrap();
    world.set(&mut second, "1", 12).unwrap();
    second.commit().unwrap();
    conflicts(world.lock(&mut first, "1"));
}

#[test]
fn g_single_read_skew() {
    let (world, mut first, mut second) = two_in_a_hurry("gsingle-lock");
    assert_eq!(world.get(&mut first, "1"), Some(10));
    for (id, altitude) in [("1", 12), ("2", 18)] {
        world.lock(&mut second, id).unwrap();
        world.set(&mut second, id, altitude).unwrap();
    }
    second.commit().unwrap();
    // The lock shows a row as it is now, which does not go with what was read.
    conflicts(world.lock(&mut first, "2"));
    drop(first);
    // With the first row locked nobody can put a transaction in between.
    let (mut first, mut second) = (world.begin(), world.begin());
    assert_eq!(world.lock(&mut first, "1").unwrap(), Some(12));
    world.set(&mut second, "2", 20).unwrap();
    conflicts(world.set(&mut second, "1", 10));
    drop(second);
    assert_eq!(world.lock(&mut first, "2").unwrap(), Some(18));
    first.commit().unwrap();
}

#[test]
fn g2_item_write_skew() {
    let (world, mut first, mut second) = two_in_a_hurry("g2item-lock");
    for txn in [&mut first, &mut second] {
        assert_eq!(world.get(txn, "1").unwrap() + world.get(txn, "2").unwrap(), 30);
    }
    world.lock(&mut first, "1").unwrap();
    world.lock(&mut second, "2").unwrap();
    world.set(&mut first, "1", -10).unwrap();
    world.set(&mut second, "2", -10).unwrap();
    first.commit().unwrap();
    conflicts(second.commit());
    // Who locks all that it reads needs no validation: the other one waits, and sees what became of it.
    let (mut first, mut second) = (world.begin(), world.begin());
    assert_eq!(
        (world.lock(&mut first, "1").unwrap(), world.lock(&mut first, "2").unwrap()),
        (Some(-10), Some(20))
    );
    conflicts(world.lock(&mut second, "2"));
    world.set(&mut first, "2", -10).unwrap();
    first.commit().unwrap();
    assert_eq!((world.now("1"), world.now("2")), (Some(-10), Some(-10)));
}

/// Locks before the reads keep write skew out of snapshot isolation as well.
#[test]
fn g2_item_write_skew_is_avoided_by_locks_under_snapshot_isolation() {
    let world = world("g2item-lock-si");
    world.db.set_config("lock_timeout", "20").unwrap();
    let options = TxnOptions { isolation: Isolation::Snapshot, ..TxnOptions::default() };
    let (mut first, mut second) = (world.db.begin(options).unwrap(), world.db.begin(options).unwrap());
    for id in ["1", "2"] {
        world.lock(&mut first, id).unwrap();
    }
    conflicts(world.lock(&mut second, "1"));
    drop(second);
    world.set(&mut first, "1", -10).unwrap();
    let mut second = world.db.begin(options).unwrap();
    first.commit().unwrap();
    assert_eq!(world.lock(&mut second, "1").unwrap(), Some(-10));
    assert_eq!(world.lock(&mut second, "2").unwrap(), Some(20));
}

#[test]
fn g2_phantom() {
    let (world, mut first, mut second) = two("g2-lock");
    assert_eq!((world.sum(&mut first), world.sum(&mut second)), (30, 30));
    world.lock(&mut first, "1").unwrap();
    world.lock(&mut second, "2").unwrap();
    world.insert(&mut first, "3", 30).unwrap();
    world.insert(&mut second, "4", 42).unwrap();
    first.commit().unwrap();
    conflicts(second.commit());
}

/// A row that is not there cannot be locked; that it was not there has been seen.
#[test]
fn g2_phantom_by_a_lock_of_a_key_that_is_missing() {
    let (world, mut first, mut second) = two("g2-missing-lock");
    assert_eq!((world.lock(&mut first, "3").unwrap(), world.lock(&mut second, "4").unwrap()), (None, None));
    world.insert(&mut second, "3", 1).unwrap();
    world.insert(&mut first, "4", 1).unwrap();
    second.commit().unwrap();
    conflicts(first.commit());
}
