//! What a session may touch: the interval of epochs that it publishes, and how it keeps that up to date.
//!
//! Rules I1 and I2 of `interval`, on two shared words and a slot, without an arena.

use crate::epoch::Slot;
use crate::sync::{AtomicU64, Ordering, fence};
use std::cell::Cell;
use std::ptr::NonNull;

/// A session's reservation, from which it pins operations.
pub struct Reservation {
    slot: NonNull<Slot>,
    epoch: NonNull<AtomicU64>,
    pins: Cell<u32>,
    /// The published reservation; meaningless unless `published`.
    low: Cell<u64>,
    high: Cell<u64>,
    published: Cell<bool>,
    /// The reservation stays between operations.
    stays: Cell<bool>,
    /// `SeqCst` fences that this session has passed (I1).
    pub(super) fences: Cell<u64>,
}

impl Reservation {
    /// The reservation of whoever has claimed `slot`.
    ///
    /// # Safety
    /// Both stay valid, and where they are, as long as the reservation is used; and nobody else publishes intervals there.
    pub(super) unsafe fn new(slot: NonNull<Slot>, epoch: NonNull<AtomicU64>) -> Self {
        Self {
            slot,
            epoch,
            pins: Cell::new(0),
            low: Cell::new(0),
            high: Cell::new(0),
            published: Cell::new(false),
            stays: Cell::new(false),
            fences: Cell::new(0),
        }
    }

    /// This session's slot.
    #[inline]
    pub fn slot(&self) -> &Slot {
        // SAFETY: `new` was promised that the slot stays.
        unsafe { self.slot.as_ref() }
    }

    #[inline]
    pub(super) fn epoch_word(&self) -> &AtomicU64 {
        // SAFETY: as for `slot`.
        unsafe { self.epoch.as_ref() }
    }

    /// The current epoch: the birth epoch of a block allocated now.
    #[inline]
    pub fn epoch(&self) -> u64 {
        self.epoch_word().load(Ordering::Acquire)
    }

    /// Begins an operation that several guards will be part of, and that ends with [`Participant::leave`].
    #[inline]
    pub fn enter(&self) {
        let pins = self.pins.get();
        self.pins.set(pins + 1);
        if pins > 0 {
            return;
        }
        let epoch = self.epoch();
        if self.published.get() && self.high.get() == epoch {
            // Everybody sees the reservation already. What only its older part held is given up.
            if self.low.get() != epoch {
                self.publish(epoch);
            }
            return;
        }
        self.publish(epoch);
        // I2: the reservation is visible before the operation's first load; pairs with the fence in `intervals`.
        fence(Ordering::SeqCst);
        self.note_fence();
    }

    #[inline]
    pub(super) fn note_fence(&self) {
        self.fences.set(self.fences.get().wrapping_add(1));
    }

    /// Loads a word that holds the address of a block, so that the block stays allocated while the operation lasts.
    #[inline]
    pub(super) fn protect(&self, word: &AtomicU64) -> u64 {
        loop {
            // Acquire: pairs with the Release CAS that linked the block.
            let value = word.load(Ordering::Acquire);
            if self.is_current() {
                return value;
            }
        }
    }

    /// Is the reservation's upper end the current epoch, as it was before the last load? If not, it is now.
    #[inline]
    pub(super) fn is_current(&self) -> bool {
        let epoch = self.epoch();
        if epoch == self.high.get() {
            return true;
        }
        self.high.set(epoch);
        self.slot().raise_interval(epoch);
        fence(Ordering::SeqCst);
        self.note_fence();
        false
    }

    #[inline]
    fn publish(&self, epoch: u64) {
        self.low.set(epoch);
        self.high.set(epoch);
        self.published.set(true);
        self.slot().publish_interval(epoch, epoch);
    }

    #[inline]
    fn withdraw(&self) {
        self.published.set(false);
        self.slot().clear_interval();
    }

    /// Ends what [`Participant::enter`] began.
    #[inline]
    pub fn leave(&self) {
        let pins = self.pins.get().saturating_sub(1);
        self.pins.set(pins);
        if pins == 0 && !self.stays.get() {
            self.withdraw();
        }
    }

    /// Ends every operation; no guard may be left.
    pub fn leave_all(&self) {
        self.slot().drop_next_snapshot(); // its taker may not have come to it
        self.pins.set(0);
        self.rest();
    }

    /// Begins a transaction: lets the reservation stay from one operation to the next, for as long as the epoch is the same.
    /// It holds back what was live when it was last published, as a process stopped in an operation does.
    #[inline]
    pub fn begin(&self) {
        self.stays.set(true);
    }

    /// Takes a snapshot at what `clock` shows now; one fence for it and for the reservation of the operation that follows.
    #[inline]
    pub fn take_snapshot(&self, clock: &AtomicU64) -> u64 {
        if self.pins.get() == 0 {
            self.publish(self.epoch());
        }
        // I2: the snapshot's fence comes after the reservation and before every operation.
        let snapshot = self.slot().take_snapshot(clock);
        self.note_fence();
        snapshot
    }

    /// Ends a transaction.
    #[inline]
    pub fn end(&self) {
        self.slot().clear_snapshot();
        self.stays.set(false);
        self.rest();
    }

    /// Gives up a reservation that stays; the next operation publishes another. Before a wait, between operations.
    #[inline]
    pub fn rest(&self) {
        if self.pins.get() == 0 && self.published.get() {
            self.withdraw();
        }
    }
}
