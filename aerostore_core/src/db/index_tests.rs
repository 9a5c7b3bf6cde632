//! Sessions die at every point of the work on an ordered index, or stand still there while a peer goes on; and threads work on one
//! under random schedules. Each entry is there or not, as it should be, every block is found once, and nothing is leaked.
//!
//! Length      `AEROSTORE_INDEX_STRIDE`: every how manyth point is tried, 1 is the long form; without, some dozens of each operation; `AEROSTORE_SCHEDULES`: how many
//!             schedules; `AEROSTORE_SCHEDULE_SEED`: from which seed on.

mod ahead;
mod directories;
mod merging;
mod torture;

use super::garbage_tests::{Scene, reap};
use crate::index::{Added, Blocks, Directory, EntryBatch, OrderedIndex};
use crate::shm::{BlockKind, BlockState, ShmError, mark_sweep};
use crate::sync::{AtomicU64, Ordering, run_scheduled, survives};
use crate::txn::Session;
use std::collections::BTreeSet;

type Entry = (Vec<u8>, u64);
/// The first seed of the short form: among the next sixty is one, 84, that shows a change of a frozen block.
const SEED: u64 = 30;
/// What a thread does under the schedule of a seed.
type Work<'a> = dyn Fn(&mut Session, Root, u64) + Sync + 'a;

pub(super) fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The words that name an index, in a block of their own: the root, and of one with a directory that one's, and its count.
#[derive(Clone, Copy)]
struct Root {
    offset: u64,
    has_directory: bool,
}

impl Root {
    fn make(session: &mut Session, kind: Kind) -> Self {
        let has_directory = kind == Kind::Hash;
        let (guard, mut memory) = session.parts();
        let root = memory.alloc_zeroed(24, BlockKind::RAW).unwrap();
        let named = has_directory.then_some(root.offset);
        let anchor = OrderedIndex::create(&guard, &mut memory, named).unwrap();
        guard.resolve::<AtomicU64>(root.offset).unwrap().store(anchor.offset, Ordering::Release);
        guard.arena().publish(anchor);
        guard.arena().publish(root);
        Self { offset: root.offset, has_directory }
    }

    fn index<'g>(self, guard: &crate::epoch::Guard<'g>) -> OrderedIndex<'g> {
        let [root, directory, anchors] =
            [0, 8, 16].map(|place| guard.resolve::<AtomicU64>(self.offset + place).unwrap());
        if self.has_directory {
            let directory = Directory::new(directory, self.offset + 8, anchors);
            OrderedIndex::of_hashes(root, self.offset, directory)
        } else {
            OrderedIndex::new(root, self.offset)
        }
    }

    /// Runs `operation` on the index in one operation of the session.
    fn with<R>(
        self,
        session: &mut Session,
        operation: impl FnOnce(
            &OrderedIndex<'_>,
            &crate::epoch::Guard<'_>,
            &mut dyn crate::index::Blocks,
        ) -> Result<R, ShmError>,
    ) -> R {
        let (guard, mut memory) = session.parts();
        let index = self.index(&guard);
        operation(&index, &guard, &mut memory).unwrap()
    }

    /// The key of a number, in the order of numbers; where keys are hashes those are spread as those are.
    fn key(self, number: u64) -> Vec<u8> {
        if self.has_directory { spread(number) } else { key(number) }
    }

    fn insert(self, session: &mut Session, key: &[u8], row: u64) -> Added {
        self.with(session, |index, guard, blocks| index.insert(guard, blocks, key, row))
    }

    fn insert_all<'e>(self, session: &mut Session, entries: impl IntoIterator<Item = &'e Entry>) {
        let mut batch = EntryBatch::default();
        for (key, row) in entries {
            batch.push(key, *row);
        }
        self.with(session, |index, guard, blocks| index.insert_all(guard, blocks, &mut batch));
    }

    fn remove(self, session: &mut Session, key: &[u8], row: u64) -> bool {
        self.with(session, |index, guard, blocks| index.remove(guard, blocks, key, row))
    }

    fn entries(self, session: &mut Session) -> BTreeSet<Entry> {
        self.with(session, |index, guard, _| {
            let mut found = BTreeSet::new();
            index.for_each_entry(guard, |entry| {
                let mut key = Vec::new();
                entry.key_into(&mut key);
                assert!(found.insert((key, entry.row())), "an entry is there twice");
            })?;
            Ok(found)
        })
    }

    fn is_of_directory(self, kind: BlockKind) -> bool {
        self.has_directory && (kind == BlockKind::HASH_TABLE || kind == BlockKind::HASH_SEGMENT)
    }

    /// Every block is sound, and all that are in use are found, once each; when somebody died, after the reaping.
    fn check(self, session: &mut Session, hint: &str) {
        self.check_beside(session, &[], hint);
    }

    /// The same where there are other blocks.
    fn check_beside(self, session: &mut Session, others: &[u64], hint: &str) {
        // Twice: what was retired last gets its epoch by the first.
        session.tidy_now().unwrap();
        session.tidy_now().unwrap();
        self.with(session, |index, guard, _| {
            assert_eq!(index.check(guard)?, Vec::<String>::new(), "{hint}");
            let mut report = mark_sweep::<ShmError>(guard.arena(), |marker| {
                assert!(others.iter().chain([&self.offset]).all(|block| marker.mark(*block)));
                index.for_each_block(guard, |block| {
                    assert!(marker.mark(block), "{hint}: {block} is met twice");
                })
            })?;
            report.leaked.retain(|(_, kind)| is_of_index(*kind) || self.is_of_directory(*kind));
            assert!(report.is_clean(), "{hint}: {report:?}");
            index.for_each_block(guard, |block| {
                assert_eq!(guard.arena().block_word(block).unwrap().state(), BlockState::Live, "{hint}");
            })
        });
    }
}

/// Whether keys are hashes.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Ordered,
    Hash,
}

fn is_of_index(kind: BlockKind) -> bool {
    kind == BlockKind::INDEX_ANCHOR || kind == BlockKind::INDEX_BLOCK
}

fn key(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// Numbers below 4096, as far apart as may be.
fn spread(number: u64) -> Vec<u8> {
    key(number << 52)
}

/// Lets a session die at each point of `operation` in turn. Every second time a peer works on the same entries before it is reaped.
/// Afterwards the entries are what they were before one of the operation's steps, `states` in their order.
fn at_every_point(
    (kind, name, stride): (Kind, &str, u64),
    prepare: impl Fn(Root, &mut Session),
    operation: impl Fn(Root, &mut Session),
    changes: &[(bool, Entry)],
    peers: &[u64],
) {
    let stride = variable("AEROSTORE_INDEX_STRIDE", stride);
    let mut point = 0;
    loop {
        point += stride;
        let hint = format!("{name}, point {point}");
        let scene = Scene::new(name, point);
        let mut peer = scene.process();
        let root = Root::make(&mut peer, kind);
        prepare(root, &mut peer);
        let mut expected = root.entries(&mut peer);
        let mut states = vec![expected.clone()];
        for (is_added, entry) in changes {
            if *is_added {
                expected.insert(entry.clone());
            } else {
                expected.remove(entry);
            }
            states.push(expected.clone());
        }
        let mut victim = scene.process();
        let survived = survives(point, || operation(root, &mut victim));
        if (point / stride).is_multiple_of(2) {
            // As if it stood still.
            for number in peers {
                assert_eq!(root.insert(&mut peer, &root.key(*number), 1600), Added::New, "{hint}");
            }
            for number in peers {
                assert!(root.remove(&mut peer, &root.key(*number), 1600), "{hint}");
            }
        }
        drop(victim);
        reap(&scene, &mut peer, point, 1);
        let found = root.entries(&mut peer);
        assert!(states.contains(&found), "{hint}: {} entries", found.len());
        assert!(!survived || states.last() == Some(&found), "{hint}: not all was done");
        root.check(&mut peer, &hint);
        for number in peers {
            assert_eq!(root.insert(&mut peer, &root.key(*number), 1600), Added::New, "{hint}");
        }
        for number in peers {
            assert!(root.remove(&mut peer, &root.key(*number), 1600), "{hint}");
        }
        root.check(&mut peer, &hint);
        if survived {
            println!("{name}: {} points", point - 1);
            assert!(point > stride, "the operation has no points");
            return;
        }
    }
}

fn fill(numbers: impl Iterator<Item = u64>) -> impl Fn(Root, &mut Session) {
    let numbers: Vec<u64> = numbers.collect();
    move |root, session| {
        for number in &numbers {
            assert_eq!(root.insert(session, &root.key(*number), 16), Added::New);
        }
    }
}

#[test]
fn dying_while_the_first_entries_are_added() {
    at_every_point(
        (Kind::Ordered, "index-first", 3),
        |_, _| {},
        |root, session| {
            root.insert(session, &key(5), 16);
            root.insert(session, &key(3), 16);
        },
        &[(true, (key(5), 16)), (true, (key(3), 16))],
        &[1, 4, 9],
    );
}

#[test]
fn dying_while_the_first_block_is_split() {
    // A full block, and one more in its middle: the split, a level above, and a hint.
    at_every_point(
        (Kind::Ordered, "index-split", 5),
        fill((0..44).map(|number| number * 10)),
        |root, session| {
            root.insert(session, &key(205), 16);
            root.insert(session, &key(207), 16);
        },
        &[(true, (key(205), 16)), (true, (key(207), 16))],
        &[1, 203, 206, 209, 390],
    );
}

#[test]
fn dying_while_blocks_are_split_on_two_levels() {
    // Keys in order fill their blocks, here as many as one block above leads to.
    let last = 44 * 43;
    at_every_point(
        (Kind::Ordered, "index-split-twice", 11),
        fill((0..last).map(|number| number * 10)),
        |root, session| {
            root.insert(session, &key(5005), 16);
        },
        &[(true, (key(5005), 16))],
        &[1, 5001, 5009, 9999],
    );
}

#[test]
fn dying_while_many_entries_are_added_at_once() {
    // In front of what is there, into two blocks of it, some of them there already, and behind it: as much as several blocks hold.
    let numbers = (0..150).map(|number| number * 2).chain([605, 607, 610, 985]).chain(2000..2300);
    let entries: Vec<Entry> = numbers.map(|number| (key(number), 16)).collect();
    let there = |number: u64| number.is_multiple_of(10) && (500..1400).contains(&number);
    let is_new = |entry: &&Entry| !there(u64::from_be_bytes(*entry.0.first_chunk().unwrap()));
    let changes: Vec<_> = entries.iter().filter(is_new).map(|entry| (true, entry.clone())).collect();
    at_every_point(
        (Kind::Ordered, "index-batch", 31),
        fill((50..140).map(|number| number * 10)),
        |root, session| root.insert_all(session, &entries),
        &changes,
        &[1, 606, 613, 1999, 2105, 9999],
    );
}

#[test]
fn dying_while_long_keys_are_added() {
    let long = |letter: u8, length: usize| vec![letter; length];
    let keys = [(long(b'b', 700), 16), (long(b'b', 5000), 16), (long(b'b', 700), 32)];
    let changes: Vec<_> = keys.iter().map(|entry| (true, entry.clone())).collect();
    at_every_point(
        (Kind::Ordered, "index-long", 17),
        |root, session| {
            for letter in [b'a', b'c'] {
                for length in 1..12 {
                    root.insert(session, &long(letter, length * 5), 16);
                }
            }
        },
        |root, session| {
            for (key, row) in &keys {
                root.insert(session, key, *row);
            }
        },
        &changes,
        &[1, u64::from_be_bytes([b'b'; 8]), u64::MAX],
    );
}

#[test]
fn dying_while_sparse_blocks_are_merged() {
    let removed: Vec<u64> = (1..20).collect();
    let changes: Vec<_> = removed.iter().map(|number| (false, (key(*number * 10), 16))).collect();
    at_every_point(
        (Kind::Ordered, "index-merge", 23),
        |root, session| {
            fill((0..90).map(|number| number * 10))(root, session);
            for number in (20..90).filter(|number| number % 6 != 0) {
                assert!(root.remove(session, &key(number * 10), 16));
            }
        },
        |root, session| {
            for number in &removed {
                root.remove(session, &key(number * 10), 16);
            }
        },
        &changes,
        &[1, 105, 425, 435, 445, 455, 885, 895],
    );
}

#[test]
fn dying_while_blocks_are_merged_on_two_levels() {
    // What is left of two full blocks of the level above goes, but for one entry in a hundred.
    let last = 44 * 80;
    let removed: Vec<u64> = (44 * 40..44 * 44).collect();
    let changes: Vec<_> = removed.iter().map(|number| (false, (key(*number * 10), 16))).collect();
    at_every_point(
        (Kind::Ordered, "index-merge-twice", 251),
        |root, session| {
            fill((0..last).map(|number| number * 10))(root, session);
            for number in (0..last).filter(|number| number % 100 != 0 && !removed.contains(number)) {
                assert!(root.remove(session, &key(number * 10), 16));
            }
        },
        |root, session| {
            for number in &removed {
                root.remove(session, &key(number * 10), 16);
            }
        },
        &changes,
        &[1, 17_605, 18_005, 18_505, 19_205, 19_365],
    );
}

#[test]
fn dying_while_entries_are_added_again_and_removed() {
    at_every_point(
        (Kind::Ordered, "index-again", 3),
        fill(0..30),
        |root, session| {
            let (seven, nine) = (key(7), key(9));
            root.with(session, |index, guard, blocks| {
                assert_eq!(index.insert(guard, blocks, &seven, 16)?, Added::Present);
                assert!(!index.remove_unless(guard, blocks, &seven, 16, || Ok::<_, ShmError>(true))?);
                assert!(index.remove_unless(guard, blocks, &nine, 16, || Ok::<_, ShmError>(false))?);
                index.insert(guard, blocks, &seven, 16)
            });
        },
        &[(false, (key(9), 16))],
        &[100, 200],
    );
}

/// Threads under a schedule, each with a session; afterwards `check` looks at what they left.
fn scheduled(
    (kind, name): (Kind, &str),
    work: &[&Work],
    prepare: impl Fn(Root, &mut Session),
    check: impl Fn(Root, &mut Session, &str),
) {
    let (first, count) = (variable("AEROSTORE_SCHEDULE_SEED", SEED), variable("AEROSTORE_SCHEDULES", 60));
    let mut switches = 0;
    for seed in first..first + count {
        let hint = format!("AEROSTORE_SCHEDULE_SEED={seed} of {name}");
        let scene = Scene::new(name, seed);
        let mut peer = scene.process();
        let root = Root::make(&mut peer, kind);
        prepare(root, &mut peer);
        let sessions = work.iter().map(|_| Session::new(std::sync::Arc::clone(peer.store())).unwrap());
        let threads = work
            .iter()
            .zip(sessions)
            .map(|(work, mut session)| -> Box<dyn FnOnce() -> Session + Send + '_> {
                Box::new(move || {
                    work(&mut session, root, seed);
                    session
                })
            })
            .collect();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run_scheduled(seed, threads)));
        let (sessions, more) = outcome.unwrap_or_else(|panic| {
            eprintln!("{hint} repeats it");
            std::panic::resume_unwind(panic)
        });
        switches += more;
        for mut session in sessions {
            session.tidy_now().unwrap();
            session.close().unwrap();
        }
        check(root, &mut peer, &hint);
        root.check(&mut peer, &hint);
    }
    println!("{name}: {count} schedules, {switches} switches");
    assert!(switches > count);
}

/// Entries of their own among each other's: blocks are split and merged under everybody's hands. The keys are those of `key`.
fn split_and_merge(case: (Kind, &str), key: impl Fn(u64) -> Vec<u8> + Copy + Sync) {
    const KEYS: u64 = 200;
    let work = |thread: u64| {
        move |session: &mut Session, root: Root, seed: u64| {
            let row = 16 * (thread + 1);
            let mut own = BTreeSet::new();
            let mut dice = seed * 31 + thread * 7 + 1;
            for step in 0..120 {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let number = (dice >> 33) % KEYS;
                // First more come than go, then the other way round.
                let adds = (dice >> 20) % 8 < if step < 60 { 7 } else { 1 };
                if step % 30 == 5 {
                    let some = (number..(number + 40).min(KEYS)).step_by(2);
                    let entries: Vec<Entry> = some.clone().map(|number| (key(number), row)).collect();
                    root.insert_all(session, &entries);
                    own.extend(some);
                } else if adds {
                    let added = root.insert(session, &key(number), row);
                    assert_eq!(added == Added::New, own.insert(number), "{number} of thread {thread}");
                } else {
                    let number = own.range(number..).next().or(own.first()).copied().unwrap_or(number);
                    assert_eq!(root.remove(session, &key(number), row), own.remove(&number), "{number}");
                }
                if step % 40 == 0 {
                    session.tidy_now().unwrap();
                }
                let number = (dice >> 40) % KEYS;
                let is_there = root.with(session, |index, guard, _| index.contains(guard, &key(number), row));
                assert_eq!(is_there, own.contains(&number), "{number} of thread {thread}");
            }
            for number in own {
                assert!(root.remove(session, &key(number), row));
            }
        }
    };
    let (one, two, three) = (work(1), work(2), work(3));
    scheduled(
        case,
        &[&one, &two, &three],
        |root, session| {
            for number in (0..KEYS).step_by(3) {
                root.insert(session, &key(number), 16);
            }
        },
        |root, session, hint| {
            let wanted: BTreeSet<_> = (0..KEYS).step_by(3).map(|number| (key(number), 16)).collect();
            assert_eq!(root.entries(session), wanted, "{hint}");
        },
    );
}

#[test]
fn splits_and_merges_hold_under_random_schedules() {
    split_and_merge((Kind::Ordered, "index-schedule"), key);
}

/// O5: rows go from key to key and back while two vacuums remove what nobody has. What a row has is in the index.
#[test]
fn no_entry_is_lost_to_the_vacuum_under_random_schedules() {
    const ROWS: u64 = 3;
    const KEYS: u64 = 3;
    let rows: Vec<AtomicU64> = (0..ROWS).map(|_| AtomicU64::new(0)).collect();
    let row_of = |number: u64| 16 * (number + 1);
    let update = |session: &mut Session, root: Root, seed: u64| {
        let mut dice = seed + 77;
        for _ in 0..60 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (row, to) = ((dice >> 33) % ROWS, (dice >> 40) % KEYS);
            let word = &rows[usize::try_from(row).unwrap()];
            let from = word.load(Ordering::Relaxed);
            if to != from && word.compare_exchange(from, to, Ordering::Release, Ordering::Relaxed).is_ok() {
                root.insert(session, &key(to), row_of(row));
            }
        }
    };
    let vacuum = |session: &mut Session, root: Root, seed: u64| {
        let mut dice = seed + 99;
        for _ in 0..60 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(3);
            let (row, number) = ((dice >> 33) % ROWS, (dice >> 40) % KEYS);
            let bytes = key(number);
            root.with(session, |index, guard, blocks| {
                let word = &rows[usize::try_from(row).unwrap()];
                let is_held = || Ok::<_, ShmError>(word.load(Ordering::Relaxed) == number);
                index.remove_unless(guard, blocks, &bytes, row_of(row), is_held)
            });
        }
    };
    scheduled(
        (Kind::Ordered, "index-lost-entry"),
        &[&update, &vacuum, &vacuum],
        |root, session| {
            for (number, word) in rows.iter().enumerate() {
                word.store(0, Ordering::Relaxed);
                root.insert(session, &key(0), row_of(number as u64));
            }
        },
        |root, session, hint| {
            let entries = root.entries(session);
            for (number, word) in rows.iter().enumerate() {
                let entry = (key(word.load(Ordering::Relaxed)), row_of(number as u64));
                assert!(entries.contains(&entry), "{hint}: row {number} has lost its entry");
            }
        },
    );
}
