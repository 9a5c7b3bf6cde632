//! Directories: made, replaced by larger and smaller ones, and stale, while sessions die or stand still.

use super::{Entry, Kind, Root, Scene, at_every_point, fill, split_and_merge, spread};
use crate::index::Added;
use crate::sync::AtomicU64;
use crate::txn::Session;

/// Numbers of keys in order that fill this many blocks.
fn blocks_of(count: u64) -> u64 {
    44 * count
}

/// Slots of the directory; 0 without one.
fn slots(root: Root, session: &mut Session) -> usize {
    root.with(session, |index, guard, _| index.directory_names(guard)).len()
}

fn added(numbers: &[u64]) -> Vec<(bool, Entry)> {
    numbers.iter().map(|number| (true, (spread(*number), 16))).collect()
}

#[test]
fn dying_while_a_directory_is_made() {
    let last = blocks_of(8);
    let numbers = [last, last + 1];
    at_every_point(
        (Kind::Hash, "directory-made", 7),
        |root, session| {
            fill(0..last)(root, session);
            assert_eq!(slots(root, session), 0);
        },
        |root, session| {
            for number in numbers {
                root.insert(session, &spread(number), 16);
            }
            assert_eq!(slots(root, session), 16);
        },
        &added(&numbers),
        &[last + 3, last + 4],
    );
}

#[test]
fn dying_while_a_directory_grows() {
    // One more anchor than slots.
    let last = blocks_of(17);
    let numbers = [last, last + 1];
    at_every_point(
        (Kind::Hash, "directory-grows", 11),
        |root, session| {
            fill(0..last)(root, session);
            assert_eq!(slots(root, session), 16);
        },
        |root, session| {
            for number in numbers {
                root.insert(session, &spread(number), 16);
            }
            assert_eq!(slots(root, session), 64);
        },
        &added(&numbers),
        &[last + 3, last + 4],
    );
}

#[test]
fn dying_while_a_directory_is_replaced_by_a_smaller_one() {
    let last = blocks_of(66);
    let prepared = |root: Root, session: &mut Session, to: u64| {
        fill(0..last)(root, session);
        assert_eq!(slots(root, session), 256);
        for number in 0..to {
            assert!(root.remove(session, &spread(number), 16));
        }
    };
    // The first entry whose removal does not leave the directory as it is.
    let mut scene_session = Scene::new("directory-shrinks", 0).process();
    let root = Root::make(&mut scene_session, Kind::Hash);
    prepared(root, &mut scene_session, 0);
    let shrinks = |number: &u64| {
        assert!(root.remove(&mut scene_session, &spread(*number), 16));
        slots(root, &mut scene_session) < 256
    };
    let first = (0..last).find(shrinks).unwrap();
    at_every_point(
        (Kind::Hash, "directory-shrinks", 29),
        |root, session| prepared(root, session, first),
        |root, session| {
            root.remove(session, &spread(first), 16);
            assert!(slots(root, session) < 256);
        },
        &[(false, (spread(first), 16))],
        &[last + 3, last + 4],
    );
}

/// D2: what slots name has been given back, and is in use for another index, or for nothing.
#[test]
fn a_name_that_is_no_anchor_of_the_index_any_more_leads_nowhere() {
    let scene = Scene::new("directory-stale", 0);
    let mut session = scene.process();
    let (one, other) = (Root::make(&mut session, Kind::Hash), Root::make(&mut session, Kind::Hash));
    // Over all slots.
    let all = (0..blocks_of(12)).map(|number| number * 7);
    fill(all.clone())(one, &mut session);
    fill(all.clone())(other, &mut session);
    let names = |root: Root, session: &mut Session| {
        all.clone().for_each(|number| assert!(is_there(root, session, number), "{number}"));
        root.with(session, |index, guard, _| index.directory_names(guard))
    };
    let others = names(other, &mut session);
    let odd: Vec<u64> = others.iter().map(|name| name + 16).collect();
    let gone = {
        let third = Root::make(&mut session, Kind::Hash);
        fill(all.clone())(third, &mut session);
        let names = names(third, &mut session);
        let below = AtomicU64::new(0);
        while !third.with(&mut session, |index, guard, blocks| index.dismantle(guard, blocks, &below)) {}
        names
    };
    let own = names(one, &mut session);
    let filled = own.iter().filter(|name| **name != 0).count();
    assert!(own.len() == others.len() && own.len() == gone.len() && filled > 10, "{own:?}");
    for names in [others, odd, gone] {
        one.with(&mut session, |index, guard, _| index.name_in_directory(guard, &names));
        for number in all.clone().rev() {
            assert!(one.remove(&mut session, &spread(number), 16), "{number}");
            assert!(is_there(other, &mut session, number), "{number}");
            assert_eq!(one.insert(&mut session, &spread(number), 16), Added::New);
        }
        one.with(&mut session, |index, guard, _| index.name_in_directory(guard, &names));
        assert_eq!(one.with(&mut session, |index, guard, _| index.check(guard)), Vec::<String>::new());
        assert_eq!(one.entries(&mut session).len(), all.clone().count());
    }
}

fn is_there(root: Root, session: &mut Session, number: u64) -> bool {
    root.with(session, |index, guard, _| index.contains(guard, &spread(number), 16))
}

#[test]
fn directories_hold_under_random_schedules() {
    split_and_merge((Kind::Hash, "directory-schedule"), |number| spread(number * 20));
}

/// A directory that comes and goes under the hands of those who split and merge.
#[test]
fn directories_are_made_and_replaced_under_random_schedules() {
    let work = |thread: u64| {
        move |session: &mut Session, root: Root, _: u64| {
            let numbers = (0..blocks_of(4)).map(|number| number * 3 + thread);
            let row = 16 * (thread + 2);
            for number in numbers.clone() {
                root.insert(session, &spread(number), row);
            }
            for number in numbers {
                assert!(root.remove(session, &spread(number), row), "{number} of thread {thread}");
            }
            session.tidy_now().unwrap();
        }
    };
    let (one, two) = (work(0), work(1));
    super::scheduled(
        (Kind::Hash, "directory-comes-and-goes"),
        &[&one, &two],
        |_, _| {},
        |root, session, hint| assert!(root.entries(session).is_empty(), "{hint}"),
    );
}
