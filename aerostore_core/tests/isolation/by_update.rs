//! Hermitage's anomalies where rows are updated or inserted.

use super::*;

#[test]
fn g0_dirty_write() {
    let (world, mut first, mut second) = two("g0");
    world.set(&mut first, "1", 11).unwrap();
    conflicts(world.set(&mut second, "1", 12));
    drop(second);
    world.set(&mut first, "2", 21).unwrap();
    first.commit().unwrap();
    assert_eq!((world.now("1"), world.now("2")), (Some(11), Some(21)));
}

#[test]
fn g1a_aborted_read() {
    let (world, mut first, mut second) = two("g1a");
    world.set(&mut first, "1", 101).unwrap();
    assert_eq!(world.get(&mut second, "1"), Some(10));
    first.rollback();
    assert_eq!(world.get(&mut second, "1"), Some(10));
    second.commit().unwrap();
}

#[test]
fn g1b_intermediate_read() {
    let (world, mut first, mut second) = two("g1b");
    world.set(&mut first, "1", 101).unwrap();
    assert_eq!(world.get(&mut second, "1"), Some(10));
    world.set(&mut first, "1", 11).unwrap();
    first.commit().unwrap();
    assert_eq!(world.get(&mut second, "1"), Some(10));
    second.commit().unwrap();
    assert_eq!(world.now("1"), Some(11));
}

#[test]
fn g1c_circular_information_flow() {
    let (world, mut first, mut second) = two("g1c");
    world.set(&mut first, "1", 11).unwrap();
    world.set(&mut second, "2", 22).unwrap();
    assert_eq!(world.get(&mut first, "2"), Some(20));
    assert_eq!(world.get(&mut second, "1"), Some(10));
    first.commit().unwrap();
    conflicts(second.commit());
}

#[test]
fn otv_observed_transaction_vanishes() {
    let world = world("otv");
    let mut first = world.begin();
    world.set(&mut first, "1", 11).unwrap();
    world.set(&mut first, "2", 19).unwrap();
    let mut reader = world.begin();
    first.commit().unwrap();
    let mut second = world.begin();
    world.set(&mut second, "1", 12).unwrap();
    world.set(&mut second, "2", 18).unwrap();
    assert_eq!(world.get(&mut reader, "1"), Some(11));
    second.commit().unwrap();
    assert_eq!(world.get(&mut reader, "2"), Some(19));
    reader.commit().unwrap();
}

#[test]
fn pmp_predicate_many_preceders() {
    let world = world("pmp");
    let mut first = world.begin();
    assert_eq!(world.sum(&mut first), 30);
    let mut second = world.begin();
    second.insert(&world.table, &flight(&world.table, "3", 30)).unwrap();
    second.commit().unwrap();
    assert_eq!(world.sum(&mut first), 30);
    world.set(&mut first, "1", 11).unwrap();
    conflicts(first.commit());
}

#[test]
fn p4_lost_update() {
    let (world, mut first, mut second) = two("p4");
    assert_eq!(world.get(&mut first, "1"), Some(10));
    assert_eq!(world.get(&mut second, "1"), Some(10));
    world.set(&mut first, "1", 11).unwrap();
    first.commit().unwrap();
    conflicts(world.set(&mut second, "1", 12));
    assert_eq!(world.now("1"), Some(11));
}

#[test]
fn p4_lost_update_is_refused_under_snapshot_isolation_too() {
    let world = world("p4-si");
    let options = TxnOptions { isolation: Isolation::Snapshot, ..TxnOptions::default() };
    let mut first = world.db.begin(options).unwrap();
    assert_eq!(world.get(&mut first, "1"), Some(10));
    let mut second = world.db.begin(options).unwrap();
    world.set(&mut second, "1", 12).unwrap();
    second.commit().unwrap();
    conflicts(world.set(&mut first, "1", 11));
}

#[test]
fn g_single_read_skew() {
    let world = world("gsingle");
    let mut first = world.begin();
    assert_eq!(world.get(&mut first, "1"), Some(10));
    let mut second = world.begin();
    world.set(&mut second, "1", 12).unwrap();
    world.set(&mut second, "2", 18).unwrap();
    second.commit().unwrap();
    assert_eq!(world.get(&mut first, "2"), Some(20));
    first.commit().unwrap();
}

#[test]
fn g_single_with_a_write() {
    let world = world("gsingle-write");
    let mut first = world.begin();
    assert_eq!(world.get(&mut first, "1"), Some(10));
    let mut second = world.begin();
    world.set(&mut second, "1", 12).unwrap();
    world.set(&mut second, "2", 18).unwrap();
    second.commit().unwrap();
    conflicts(first.delete(&world.table, Value::Str("2")));
}

#[test]
fn g2_item_write_skew() {
    let (world, mut first, mut second) = two("g2item");
    for txn in [&mut first, &mut second] {
        assert_eq!(world.get(txn, "1").unwrap() + world.get(txn, "2").unwrap(), 30);
    }
    world.set(&mut first, "1", -10).unwrap();
    world.set(&mut second, "2", -10).unwrap();
    first.commit().unwrap();
    conflicts(second.commit());
}

#[test]
fn g2_item_write_skew_passes_under_snapshot_isolation() {
    let world = world("g2item-si");
    let options = TxnOptions { isolation: Isolation::Snapshot, ..TxnOptions::default() };
    let (mut first, mut second) = (world.db.begin(options).unwrap(), world.db.begin(options).unwrap());
    for txn in [&mut first, &mut second] {
        assert_eq!(world.get(txn, "1").unwrap() + world.get(txn, "2").unwrap(), 30);
    }
    world.set(&mut first, "1", -10).unwrap();
    world.set(&mut second, "2", -10).unwrap();
    first.commit().unwrap();
    second.commit().unwrap();
}

#[test]
fn g2_phantom_by_insert() {
    let (world, mut first, mut second) = two("g2");
    assert_eq!(world.sum(&mut first), 30);
    assert_eq!(world.sum(&mut second), 30);
    first.insert(&world.table, &flight(&world.table, "3", 30)).unwrap();
    second.insert(&world.table, &flight(&world.table, "4", 42)).unwrap();
    first.commit().unwrap();
    conflicts(second.commit());
}

#[test]
fn g2_phantom_by_a_key_looked_for_in_vain() {
    let (world, mut first, mut second) = two("g2-missing");
    assert_eq!(world.get(&mut first, "3"), None);
    assert_eq!(world.get(&mut second, "4"), None);
    second.insert(&world.table, &flight(&world.table, "3", 1)).unwrap();
    first.insert(&world.table, &flight(&world.table, "4", 1)).unwrap();
    second.commit().unwrap();
    conflicts(first.commit());
}
