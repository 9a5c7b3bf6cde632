//! One session reads a word and what it leads to, another unlinks, retires and frees that: what is read is never free.

use super::*;
use crate::epoch::{Adding, Slot};
use loom::sync::Arc;
use loom::thread;

const OLD: u64 = 16;
const NEW: u64 = 32;

struct Shared {
    slots: [Slot; 2],
    epoch: AtomicU64,
    /// Where the block is linked.
    link: AtomicU64,
    /// Whether each block, by its offset / 16, is free.
    free: [AtomicU64; 3],
}

impl Shared {
    fn new(linked: u64) -> Arc<Self> {
        Arc::new(Self {
            slots: [Slot::idle(), Slot::idle()],
            epoch: AtomicU64::new(1),
            link: AtomicU64::new(linked),
            free: [AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)],
        })
    }

    fn reservation(&self, slot: usize) -> Reservation {
        // SAFETY: each thread keeps `self` alive as long as its reservation, and takes a slot of its own.
        unsafe { Reservation::new(NonNull::from(&self.slots[slot]), NonNull::from(&self.epoch)) }
    }

    fn place(&self, offset: u64) -> &AtomicU64 {
        &self.free[usize::try_from(offset / 16).unwrap()]
    }

    /// One operation: loads the link and uses what it leads to.
    fn read(&self, reservation: &Reservation) {
        reservation.enter();
        let offset = reservation.protect(&self.link);
        if offset != 0 {
            // Relaxed: that it is not free any more must be seen by nobody, in whatever order.
            assert_eq!(
                self.place(offset).load(Ordering::Relaxed),
                0,
                "block {offset} is used after it was freed"
            );
        }
        reservation.leave();
    }

    /// Looks for what may be freed, as `Participant::held` and `Limbo::collect_now` do.
    fn collect(&self, reservation: &Reservation, waiting: &mut Waiting) {
        fence(Ordering::SeqCst);
        let mut held = Held::default();
        self.slots.iter().for_each(|slot| held.look(slot));
        reservation.note_fence();
        waiting.release_outside(reservation, &held, |block| {
            self.place(block.offset).store(1, Ordering::Relaxed);
        });
    }

    fn unlink(&self, offset: u64, by: u64) {
        assert!(self.link.compare_exchange(offset, by, Ordering::AcqRel, Ordering::Acquire).is_ok());
    }
}

fn block(offset: u64) -> BlockRef {
    BlockRef { offset, generation: 1 }
}

/// A block that was there before the reader began.
#[test]
fn loom_a_block_that_a_reader_may_hold_is_not_freed() {
    loom::model(|| {
        let shared = Shared::new(OLD);
        let reader = thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.read(&shared.reservation(1))
        });
        let (writer, mut waiting) = (shared.reservation(0), Waiting::default());
        shared.unlink(OLD, NEW);
        waiting.push(&writer, block(OLD), 1);
        shared.epoch.fetch_add(1, Ordering::AcqRel);
        shared.collect(&writer, &mut waiting);
        reader.join().unwrap();
        shared.collect(&writer, &mut waiting);
        assert!(waiting.blocks.is_empty(), "a block is held back by nobody");
    });
}

/// A version that is named when the operation ends that held it until then, by whoever looks at it after that.
#[test]
fn loom_a_version_that_is_named_is_not_freed_though_its_operation_is_over() {
    loom::model(|| {
        let shared = Shared::new(OLD);
        let adder = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let reservation = shared.reservation(1);
                reservation.enter();
                let version = reservation.protect(&shared.link);
                shared.slots[1].begin_adding(Adding { version, row: 8, table: 8 });
                reservation.leave();
                let freed = shared.place(version).load(Ordering::Relaxed);
                assert_eq!(freed, 0, "version {version} is used after it was freed");
                shared.slots[1].end_adding();
            }
        });
        let (writer, mut waiting) = (shared.reservation(0), Waiting::default());
        shared.unlink(OLD, NEW);
        waiting.push(&writer, block(OLD), 1);
        shared.collect(&writer, &mut waiting);
        adder.join().unwrap();
        shared.collect(&writer, &mut waiting);
        assert!(waiting.blocks.is_empty(), "a block is held back by nobody");
    });
}

/// A block that is born, linked, unlinked and freed while the reader's reservation is of an older epoch.
#[test]
fn loom_a_block_younger_than_the_reservation_is_not_freed_either() {
    loom::model(|| {
        let shared = Shared::new(0);
        let reader = thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.read(&shared.reservation(1))
        });
        let (writer, mut waiting) = (shared.reservation(0), Waiting::default());
        shared.epoch.fetch_add(1, Ordering::AcqRel);
        let birth = writer.epoch();
        shared.unlink(0, NEW);
        shared.unlink(NEW, 0);
        waiting.push(&writer, block(NEW), birth);
        shared.collect(&writer, &mut waiting);
        reader.join().unwrap();
        shared.collect(&writer, &mut waiting);
        assert!(waiting.blocks.is_empty(), "a block is held back by nobody");
    });
}

/// Two operations of one transaction: the reservation stays in between, and the second one follows what was linked meanwhile.
#[test]
fn loom_a_reservation_that_stays_protects_the_next_operation() {
    loom::model(|| {
        let shared = Shared::new(OLD);
        let reader = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let reservation = shared.reservation(1);
                reservation.begin();
                shared.read(&reservation);
                shared.read(&reservation);
                reservation.rest();
            }
        });
        let (writer, mut waiting) = (shared.reservation(0), Waiting::default());
        shared.unlink(OLD, 0);
        waiting.push(&writer, block(OLD), 1);
        shared.epoch.fetch_add(1, Ordering::AcqRel);
        shared.collect(&writer, &mut waiting);
        reader.join().unwrap();
    });
}

/// I1: a reader that has begun in a later epoch than the one the block was unlinked in, and does not see the unlinking yet.
#[test]
fn loom_a_late_reader_that_misses_the_unlinking_is_waited_for() {
    loom::model(|| {
        let shared = Shared::new(OLD);
        let reader = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                shared.epoch.fetch_add(1, Ordering::AcqRel);
                shared.read(&shared.reservation(1));
            }
        });
        let (writer, mut waiting) = (shared.reservation(0), Waiting::default());
        shared.unlink(OLD, 0);
        waiting.push(&writer, block(OLD), 1);
        shared.collect(&writer, &mut waiting);
        reader.join().unwrap();
    });
}
