use super::*;
use crate::epoch::interval::tests::{next_epoch, sessions};
use crate::shm::{BlockKind, Heap, Reserve};
use crate::sync::AtomicU64;

fn record(session: &Participant, heap: &mut Heap) -> BlockRef {
    let block = heap.alloc(64, BlockKind::TXN_RECORD, session.epoch(), Reserve::No).unwrap();
    session.arena().publish(block);
    block
}

#[test]
fn records_are_used_again_though_nobody_retires_anything() {
    let [session] = sessions("inserts");
    let mut heap = Heap::new(session.arena().clone(), session.owner());
    let (mut records, clock) = (Recycler::default(), AtomicU64::new(1));
    let mut fresh = 0;
    for _ in 0..20_000 {
        session.begin();
        session.take_snapshot(&clock);
        let birth = session.epoch();
        let block = records.take(&session).unwrap().unwrap_or_else(|| {
            fresh += 1;
            record(&session, &mut heap)
        });
        records.put(&session, block, birth);
        session.end();
    }
    assert!(fresh <= 6 * RECYCLE_BATCH, "{fresh} records for one transaction at a time");
}

/// The word that named the record may still be on its way to others when the epoch is read.
#[test]
fn a_record_is_held_by_who_began_before_its_session_passed_a_fence() {
    let [session, reader] = sessions("record");
    let mut heap = Heap::new(session.arena().clone(), session.owner());
    let mut records = Recycler::default();
    let birth = session.epoch();
    for _ in 0..RECYCLE_BATCH {
        let block = record(&session, &mut heap);
        records.put(&session, block, birth);
    }
    next_epoch(&session);
    let guard = reader.pin();
    next_epoch(&session);
    assert_eq!(records.take(&session).unwrap(), None);
    drop(guard);
    records.next_look = 0;
    assert!(records.take(&session).unwrap().is_some());
}
