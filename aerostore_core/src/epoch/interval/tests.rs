use super::*;
use crate::shm::{ArenaOptions, BlockKind, Reserve};
use crate::sys::LockFile;
use crate::txn::SystemArea;

/// Sessions of an arena that nobody else has.
pub(in crate::epoch) fn sessions<const N: usize>(name: &str) -> [Participant; N] {
    let path =
        std::path::PathBuf::from(format!("/dev/shm/aerostore-test-interval-{name}-{}", std::process::id()));
    let lock = LockFile::open_or_create(&path).unwrap();
    let probe = crate::sys::Probe::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let arena = Arena::anonymous(&ArenaOptions {
        max_bytes: 64 << 20,
        system_bytes: SystemArea::bytes(),
        ..ArenaOptions::default()
    })
    .unwrap();
    let (start, _) = arena.system_area();
    let registry = Registry::attach(arena.clone(), SystemArea::at(start).registry(), lock, probe).unwrap();
    let registry = Arc::new(registry);
    std::array::from_fn(|_| Participant::new(arena.clone(), Arc::clone(&registry)).unwrap())
}

fn record(session: &Participant, heap: &mut Heap) -> BlockRef {
    let block = heap.alloc(64, BlockKind::TXN_RECORD, session.epoch(), Reserve::No).unwrap();
    session.arena().publish(block);
    block
}

pub(in crate::epoch) fn next_epoch(session: &Participant) {
    session.epoch_word().fetch_add(1, Ordering::AcqRel);
}

#[test]
fn a_block_is_held_by_who_began_before_its_session_passed_a_fence_and_by_nobody_later() {
    let [session, reader] = sessions("block");
    let mut heap = Heap::new(session.arena().clone(), session.owner());
    let (mut limbo, clock) = (Limbo::default(), AtomicU64::new(1));
    let block = record(&session, &mut heap);
    limbo.retire(&session, block).unwrap();
    next_epoch(&session);
    let guard = reader.pin();
    limbo.collect_now(&session, &mut heap).unwrap();
    assert_eq!(limbo.len(), 1);
    drop(guard);
    limbo.collect_now(&session, &mut heap).unwrap();
    assert!(limbo.is_empty());

    let [first, second] = std::array::from_fn(|_| record(&session, &mut heap));
    limbo.retire(&session, first).unwrap();
    session.begin();
    session.take_snapshot(&clock);
    session.end();
    limbo.retire(&session, second).unwrap();
    next_epoch(&session);
    let _guard = reader.pin();
    limbo.collect_now(&session, &mut heap).unwrap();
    assert_eq!(limbo.len(), 1, "a fence lies between the first block's retirement and the reader");
}

#[test]
fn what_nobody_can_reach_is_freed_a_few_at_a_time_or_at_the_next_look() {
    let [session] = sessions("few");
    let mut heap = Heap::new(session.arena().clone(), session.owner());
    let (mut limbo, clock) = (Limbo::default(), AtomicU64::new(1));
    let fill = |limbo: &mut Limbo, heap: &mut Heap| {
        for _ in 0..COLLECT_BATCH {
            limbo.retire(&session, record(&session, heap)).unwrap();
        }
        session.begin();
        session.take_snapshot(&clock);
        session.end();
        limbo.collect(&session, heap).unwrap();
    };
    fill(&mut limbo, &mut heap);
    assert_eq!(limbo.len(), COLLECT_BATCH, "found, and left for those who wait for memory");
    limbo.free_some(&session, &mut heap);
    assert_eq!(limbo.len(), COLLECT_BATCH - FREE_BATCH);
    assert_eq!(
        session.slot().retired_count.load(Ordering::Relaxed),
        limbo.len() as u64,
        "what others are told"
    );
    fill(&mut limbo, &mut heap);
    assert_eq!(limbo.len(), COLLECT_BATCH);
    limbo.collect_now(&session, &mut heap).unwrap();
    assert!(limbo.is_empty());
}

#[test]
fn what_is_left_for_others_to_free_is_neither_much_nor_little() {
    let [session] = sessions("left");
    let mut heap = Heap::new(session.arena().clone(), session.owner());
    let mut limbo = Limbo::default();
    for _ in 0..3 * FREE_MAX {
        limbo.retire(&session, record(&session, &mut heap)).unwrap();
    }
    limbo.collect(&session, &mut heap).unwrap();
    assert_eq!(limbo.len(), FREE_MAX);
    limbo.collect_now(&session, &mut heap).unwrap();
    // It may be large.
    limbo.retire(&session, record(&session, &mut heap)).unwrap();
    for _ in 0..COLLECT_CALLS {
        assert_eq!(limbo.len(), 1);
        limbo.collect(&session, &mut heap).unwrap();
    }
    assert!(limbo.is_empty());
}
