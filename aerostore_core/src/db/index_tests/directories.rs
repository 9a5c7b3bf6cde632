//! Directories: made, replaced by larger and smaller ones, and stale, while sessions die or stand still.

use super::{Entry, Kind, Root, Scene, at_every_point, fill, split_and_merge, spread};
use crate::index::{Added, Blocks};
use crate::shm::{BlockKind, Heap, Reserve};
use crate::sync::{AtomicU64, survives};
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

/// A directory of 256 slots, after the removal of the first `removed` entries.
fn prepare_to_shrink(root: Root, session: &mut Session, removed: u64) {
    fill(0..blocks_of(66))(root, session);
    assert_eq!(slots(root, session), 256);
    for number in 0..removed {
        assert!(root.remove(session, &spread(number), 16));
    }
}

/// The first entry whose removal does not leave that as it is.
fn first_to_shrink(name: &str) -> u64 {
    let mut session = Scene::new(name, 0).process();
    let root = Root::make(&mut session, Kind::Hash);
    prepare_to_shrink(root, &mut session, 0);
    let shrinks = |number: &u64| {
        assert!(root.remove(&mut session, &spread(*number), 16));
        slots(root, &mut session) < 256
    };
    (0..blocks_of(66)).find(shrinks).unwrap()
}

/// What is kept back for removals is not spent on directories.
#[test]
fn a_removal_without_room_leaves_the_directory_as_it_is() {
    let first = first_to_shrink("directory-room-at");
    let scene = Scene::new("directory-room", 0);
    let (mut session, filler) = (scene.process(), scene.process());
    let root = Root::make(&mut session, Kind::Hash);
    prepare_to_shrink(root, &mut session, first);
    let mut heap = Heap::new(filler.store().arena().clone(), filler.participant().owner());
    for bytes in [60_000, 8000, 1000] {
        while heap.alloc(bytes, BlockKind::RAW, 1, Reserve::No).is_ok() {}
    }
    for _ in 0..2 {
        session.tidy_now().unwrap();
        let (_guard, mut memory) = session.parts();
        for bytes in (16..10_000).step_by(16) {
            while memory.alloc(bytes, BlockKind::RAW).is_ok() {}
        }
    }
    {
        let (guard, mut memory) = session.parts_and_reserve();
        assert!(root.index(&guard).remove(&guard, &mut memory, &spread(first), 16).unwrap());
    }
    assert_eq!(slots(root, &mut session), 256);
}

/// A merge is left half done by a death; those who go by the directory, and merge others, finish it.
#[test]
fn a_merge_that_was_left_half_done_is_finished_by_the_next_in_its_neighbourhood() {
    let made = |point: u64| {
        let scene = Scene::new("directory-closing", point);
        let mut peer = scene.process();
        let root = Root::make(&mut peer, Kind::Hash);
        fill(0..blocks_of(12))(root, &mut peer);
        (scene, peer, root)
    };
    let (_, mut session, root) = made(0);
    let blocks = |session: &mut Session| {
        let mut count = 0;
        root.with(session, |index, guard, _| index.for_each_block(guard, |_| count += 1));
        count
    };
    let all = blocks(&mut session);
    // The first that merges two of them.
    let merges = (blocks_of(3)..blocks_of(6)).find(|number| {
        assert!(root.remove(&mut session, &spread(*number), 16));
        blocks(&mut session) < all
    });
    let merges = merges.unwrap();
    let (mut left, mut point) = (0, 0);
    loop {
        point += 19;
        let (scene, mut peer, root) = made(point);
        let mut victim = scene.process();
        for number in blocks_of(3)..merges {
            assert!(root.remove(&mut victim, &spread(number), 16));
        }
        let survived = survives(point, || assert!(root.remove(&mut victim, &spread(merges), 16)));
        drop(victim);
        super::reap(&scene, &mut peer, point, 1);
        let closing =
            |session: &mut Session| root.with(session, |index, guard, _| index.closing(guard)).len();
        left += closing(&mut peer);
        for number in blocks_of(8)..blocks_of(10) {
            assert!(root.remove(&mut peer, &spread(number), 16));
        }
        assert_eq!(closing(&mut peer), 0, "point {point}");
        root.check(&mut peer, &format!("point {point}"));
        if survived {
            assert!(left > 0, "none was left at {point} points");
            return;
        }
    }
}

#[test]
fn dying_while_a_directory_is_replaced_by_a_smaller_one() {
    let last = blocks_of(66);
    let first = first_to_shrink("directory-shrinks-at");
    at_every_point(
        (Kind::Hash, "directory-shrinks", 29),
        |root, session| prepare_to_shrink(root, session, first),
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
