//! Merges beside splits of the same blocks, and of those above: what is about to go is neither forgotten nor found again.

use super::{Kind, Root, Scene, fill, is_of_index, key};
use crate::index::Added;
use crate::shm::{ShmError, mark_sweep};
use crate::sync::{AtomicU64, interrupted_at, survives};
use crate::txn::Session;
use std::cell::RefCell;
use std::rc::Rc;

/// Entries of a block that is filled in order, and what the block above leads to.
const ENTRIES: u64 = 44;
const CHILDREN: u64 = 43;

/// A full block above; that number `place` below it, and the one on its left, have `left` and 10 entries.
fn prepare(root: Root, session: &mut Session, place: u64, left: u64) {
    fill((0..ENTRIES * CHILDREN).map(|number| number * 10))(root, session);
    for (place, kept) in [(place - 1, left), (place, 10)] {
        for number in place * ENTRIES + kept..(place + 1) * ENTRIES {
            assert!(root.remove(session, &key(number * 10), 16));
        }
    }
}

/// The last entry but which the block `place` has too many to be merged.
fn last_but(place: u64) -> Vec<u8> {
    key((place * ENTRIES + 9) * 10)
}

/// Checks it, then takes all of it apart; there is nothing left of it.
fn check_and_take_apart(root: Root, session: &mut Session, hint: &str) {
    root.check(session, hint);
    let below = AtomicU64::new(0);
    while !root.with(session, |index, guard, blocks| index.dismantle(guard, blocks, &below)) {}
    session.tidy_now().unwrap();
    session.tidy_now().unwrap();
    root.with(session, |_, guard, _| {
        let mut report = mark_sweep::<ShmError>(guard.arena(), |marker| {
            marker.mark(root.offset);
            Ok(())
        })?;
        report.leaked.retain(|(_, kind)| is_of_index(*kind));
        assert!(report.is_clean(), "{hint}: {report:?}");
        Ok(())
    });
}

/// Blocks that are emptied from right to left each find their left neighbour full: the neighbour takes them in when its turn comes.
#[test]
fn what_is_emptied_from_right_to_left_is_merged_as_well() {
    const BLOCKS: u64 = 20;
    let left = |is_descending: bool| {
        let scene = Scene::new("index-descending", u64::from(is_descending));
        let mut session = scene.process();
        let root = Root::make(&mut session, Kind::Ordered);
        fill(0..BLOCKS * ENTRIES)(root, &mut session);
        for number in 0..BLOCKS * ENTRIES {
            let number = if is_descending { BLOCKS * ENTRIES - 1 - number } else { number };
            if !number.is_multiple_of(ENTRIES) {
                assert!(root.remove(&mut session, &key(number), 16));
            }
        }
        root.check(&mut session, "emptied");
        let mut count = 0;
        root.with(&mut session, |index, guard, _| index.for_each_block(guard, |_| count += 1));
        count
    };
    let (ascending, descending) = (left(false), left(true));
    assert!(ascending <= 8 && descending <= 8, "{ascending} and {descending} blocks and anchors are left");
}

/// What goes into the left block is so large that the merged one is split where they met. That is told to the block above, which is
/// split there too.
#[test]
fn a_hint_is_dropped_though_the_block_above_is_split_behind_it() {
    const PLACE: u64 = CHILDREN / 2;
    let mut point = 1;
    loop {
        let hint = format!("point {point}");
        let scene = Scene::new("index-drop-hint", point);
        let (mut session, other) = (scene.process(), scene.process());
        let root = Root::make(&mut session, Kind::Ordered);
        prepare(root, &mut session, PLACE, 3);
        let large = [key((PLACE * ENTRIES - 1) * 10), vec![7; 600]].concat();
        let other = Rc::new(RefCell::new(other));
        let writer = Rc::clone(&other);
        let (was_interrupted, removed) = interrupted_at(
            point,
            move || assert_eq!(root.insert(&mut writer.borrow_mut(), &large, 16), Added::New),
            || root.remove(&mut session, &last_but(PLACE), 16),
        );
        assert!(removed);
        drop(other);
        check_and_take_apart(root, &mut session, &hint);
        if !was_interrupted {
            assert!(point > 50);
            return;
        }
        point += 11;
    }
}

/// M1: one that is stopped is about to merge the block that the one above would be split at.
#[test]
fn a_block_above_does_not_begin_with_an_anchor_that_is_about_to_go() {
    const PLACE: u64 = CHILDREN.div_ceil(2);
    let mut point = 1;
    loop {
        let hint = format!("point {point}");
        let scene = Scene::new("index-closing-first", point);
        let mut session = scene.process();
        let root = Root::make(&mut session, Kind::Ordered);
        prepare(root, &mut session, PLACE, 3);
        let mut stopped = scene.process();
        let survived = survives(point, || {
            root.remove(&mut stopped, &last_but(PLACE), 16);
        });
        let between = key((PLACE + 9) * ENTRIES * 10 + 205);
        assert_eq!(root.insert(&mut session, &between, 16), Added::New);
        let problems = root.with(&mut session, |index, guard, _| index.check(guard));
        assert_eq!(problems, Vec::<String>::new(), "{hint}");
        drop(stopped);
        super::reap(&scene, &mut session, point, 1);
        root.check(&mut session, &hint);
        if survived {
            assert!(point > 50);
            return;
        }
        point += 7;
    }
}

/// M2: whoever has made an anchor comes to tell the block above of it when others have done so, and have merged the anchor.
#[test]
fn nobody_is_told_of_an_anchor_that_has_gone() {
    for point in 1.. {
        let hint = format!("point {point}");
        let scene = Scene::new("index-late-hint", point);
        let mut session = scene.process();
        let root = Root::make(&mut session, Kind::Ordered);
        fill((0..2 * ENTRIES).map(|number| number * 10))(root, &mut session);
        let other = Rc::new(RefCell::new(scene.process()));
        let remover = Rc::clone(&other);
        let (was_interrupted, added) = interrupted_at(
            point,
            move || {
                let session = &mut remover.borrow_mut();
                // Tells the block above.
                root.insert(session, &key(401), 16);
                for number in ENTRIES / 2..ENTRIES {
                    assert!(root.remove(session, &key(number * 10), 16));
                }
            },
            || root.insert(&mut session, &key(205), 16),
        );
        assert_eq!(added, Added::New);
        other.borrow_mut().tidy_now().unwrap();
        drop(other);
        check_and_take_apart(root, &mut session, &hint);
        if !was_interrupted {
            assert!(point > 50);
            return;
        }
    }
}
