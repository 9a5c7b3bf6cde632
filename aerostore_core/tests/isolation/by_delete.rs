//! Hermitage's anomalies where rows are deleted.

use super::*;

#[test]
fn g0_dirty_write() {
    let (world, mut first, mut second) = two("g0-delete");
    assert!(world.delete(&mut first, "1").unwrap());
    conflicts(world.delete(&mut second, "1"));
    drop(second);
    let mut third = world.begin();
    conflicts(world.set(&mut third, "1", 12));
    drop(third);
    assert!(world.delete(&mut first, "2").unwrap());
    first.commit().unwrap();
    assert_eq!((world.now("1"), world.now("2")), (None, None));
}

#[test]
fn g1a_aborted_read() {
    let (world, mut first, mut second) = two("g1a-delete");
    assert!(world.delete(&mut first, "1").unwrap());
    assert_eq!((world.get(&mut second, "1"), world.sum(&mut second)), (Some(10), 30));
    first.rollback();
    assert_eq!((world.get(&mut second, "1"), world.sum(&mut second)), (Some(10), 30));
    second.commit().unwrap();
    assert_eq!(world.now("1"), Some(10));
}

#[test]
fn g1b_intermediate_read() {
    let (world, mut first, mut second) = two("g1b-delete");
    assert!(world.delete(&mut first, "1").unwrap());
    assert_eq!(world.get(&mut second, "1"), Some(10));
    world.insert(&mut first, "1", 11).unwrap();
    first.commit().unwrap();
    // Never without the row: neither in a snapshot of before nor in one of after.
    assert_eq!(world.get(&mut second, "1"), Some(10));
    second.commit().unwrap();
    assert_eq!(world.now("1"), Some(11));
}

#[test]
fn g1c_circular_information_flow() {
    let (world, mut first, mut second) = two("g1c-delete");
    assert!(world.delete(&mut first, "1").unwrap());
    assert!(world.delete(&mut second, "2").unwrap());
    assert_eq!(world.get(&mut first, "2"), Some(20));
    assert_eq!(world.get(&mut second, "1"), Some(10));
    first.commit().unwrap();
    conflicts(second.commit());
    assert_eq!((world.now("1"), world.now("2")), (None, Some(20)));
}

#[test]
fn otv_observed_transaction_vanishes() {
    let world = world("otv-delete");
    let mut before = world.begin();
    assert_eq!(world.get(&mut before, "2"), Some(20));
    let mut first = world.begin();
    assert!(world.delete(&mut first, "1").unwrap());
    assert!(world.delete(&mut first, "2").unwrap());
    first.commit().unwrap();
    let mut between = world.begin();
    let mut second = world.begin();
    world.insert(&mut second, "1", 12).unwrap();
    world.insert(&mut second, "2", 18).unwrap();
    assert_eq!((world.get(&mut before, "1"), world.get(&mut between, "1")), (Some(10), None));
    second.commit().unwrap();
    assert_eq!((world.get(&mut before, "2"), world.get(&mut between, "2")), (Some(20), None));
    before.commit().unwrap();
    between.commit().unwrap();
}

#[test]
fn pmp_predicate_many_preceders() {
    let world = world("pmp-delete");
    let mut first = world.begin();
    assert_eq!(world.sum(&mut first), 30);
    let mut second = world.begin();
    assert!(world.delete(&mut second, "2").unwrap());
    second.commit().unwrap();
    assert_eq!(world.sum(&mut first), 30);
    world.set(&mut first, "1", 11).unwrap();
    conflicts(first.commit());
}

#[test]
fn pmp_by_a_delete_of_what_a_predicate_finds() {
    let (world, mut first, mut second) = two("pmp-write-delete");
    // All up by ten; then whatever is at 20 goes, as the other's snapshot has it.
    world.set(&mut first, "1", 20).unwrap();
    world.set(&mut first, "2", 30).unwrap();
    assert_eq!(world.at(&mut second, 20), ["2"]);
    first.commit().unwrap();
    conflicts(world.delete(&mut second, "2"));
    assert_eq!((world.now("1"), world.now("2")), (Some(20), Some(30)));
}

#[test]
fn p4_lost_update() {
    let (world, mut first, mut second) = two("p4-delete");
    assert_eq!(world.get(&mut first, "1"), Some(10));
    assert_eq!(world.get(&mut second, "1"), Some(10));
    world.set(&mut first, "1", 11).unwrap();
    first.commit().unwrap();
    conflicts(world.delete(&mut second, "1"));
    drop(second);
    let (mut first, mut second) = (world.begin(), world.begin());
    assert_eq!(world.get(&mut first, "1"), Some(11));
    assert_eq!(world.get(&mut second, "1"), Some(11));
    assert!(world.delete(&mut first, "1").unwrap());
    first.commit().unwrap();
    conflicts(world.set(&mut second, "1", 12));
    assert_eq!(world.now("1"), None);
}

#[test]
fn g_single_read_skew() {
    let world = world("gsingle-delete");
    let mut first = world.begin();
    assert_eq!(world.get(&mut first, "1"), Some(10));
    let mut second = world.begin();
    assert!(world.delete(&mut second, "1").unwrap());
    assert!(world.delete(&mut second, "2").unwrap());
    second.commit().unwrap();
    assert_eq!((world.get(&mut first, "2"), world.sum(&mut first)), (Some(20), 30));
    first.commit().unwrap();
}

#[test]
fn g2_item_write_skew() {
    let (world, mut first, mut second) = two("g2item-delete");
    assert_eq!(world.get(&mut first, "2"), Some(20));
    assert_eq!(world.get(&mut second, "1"), Some(10));
    assert!(world.delete(&mut first, "1").unwrap());
    assert!(world.delete(&mut second, "2").unwrap());
    first.commit().unwrap();
    conflicts(second.commit());
    assert_eq!((world.now("1"), world.now("2")), (None, Some(20)));
}

#[test]
fn g2_phantom() {
    let (world, mut first, mut second) = two("g2-delete");
    // Each may go only while the other is there.
    assert_eq!((world.sum(&mut first), world.sum(&mut second)), (30, 30));
    assert!(world.delete(&mut first, "1").unwrap());
    assert!(world.delete(&mut second, "2").unwrap());
    first.commit().unwrap();
    conflicts(second.commit());
    assert_eq!((world.now("1"), world.now("2")), (None, Some(20)));
}

#[test]
fn g_single_with_a_write() {
    let (world, mut first, mut second) = two("gsingle-write-delete");
    assert_eq!(world.get(&mut first, "1"), Some(10));
    assert!(world.delete(&mut second, "1").unwrap());
    assert!(world.delete(&mut second, "2").unwrap());
    second.commit().unwrap();
    conflicts(world.delete(&mut first, "2"));
}
