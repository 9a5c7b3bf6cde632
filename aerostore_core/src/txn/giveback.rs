//! The other half of the vacuum's role: memory in which nothing is left goes back to the operating system.
//!
//! Rules       an extent goes when it has been empty, and untouched, from one look to the next, and every operation has ended
//!             that ran at the first (X5 of `shm::giveback`). So a process stopped in an operation, or an idle transaction, puts
//!             it off; the memory can be used meanwhile. Some empty extents stay: who comes and goes needs them again.
//! Cost        a look reads a word per extent that is in use; giving 2 MiB back takes 0.2 ms, having it again 0.6 ms.
#![forbid(unsafe_code)]

use crate::shm::{Arena, EXTENT_BYTES, EmptyExtent};
use crate::txn::{Session, TxnError};

/// The time between two looks.
const LOOK_NS: u64 = 500_000_000;
/// The time between two looks for what was only given back in part.
const LEFTOVERS_NS: u64 = 5_000_000_000;
/// How long nothing is tried after the operating system has refused: it may have been short of something.
const REFUSED_NS: u64 = 60_000_000_000;
/// Extents given back at once: about a millisecond.
const EXTENTS: usize = 4;
/// Slabs looked at for orphans at once: about a millisecond if all of them are.
const ORPHAN_SLABS: u32 = 256;
/// Empty extents that stay: this many, and one for so many in use.
const KEPT: u64 = 4;
const KEPT_ONE_IN: u64 = 16;

/// How far giving back has come, in the process that does it.
#[derive(Debug, Default)]
pub struct GiveBack {
    /// Found empty at the last look, before the epoch was closed.
    seen: Vec<EmptyExtent>,
    epoch: u64,
    next_look_ns: u64,
    /// Ready to go once `due_epoch` is over.
    due: Vec<EmptyExtent>,
    due_epoch: u64,
    /// Where the search for empty orphans goes on.
    orphans_at: Option<u32>,
    /// Changes of memory seen so far.
    events: u64,
    next_leftovers_ns: u64,
    /// Until when nothing is tried.
    refused_until_ns: u64,
}

impl GiveBack {
    /// Whether anything has changed that may be worth a look.
    pub fn is_wanted(&self, arena: &Arena, now_ns: u64) -> bool {
        if now_ns < self.refused_until_ns {
            return false;
        }
        if now_ns < self.next_look_ns {
            return !self.due.is_empty() || self.orphans_at.is_some();
        }
        self.events != arena.release_events() || !self.seen.is_empty() || now_ns >= self.next_leftovers_ns
    }

    /// Goes on with about a millisecond's work.
    ///
    /// # Errors
    /// When the mapping is damaged, or what the operating system says: then the next attempt is a minute away.
    pub fn go_on(&mut self, session: &mut Session, now_ns: u64) -> Result<(), TxnError> {
        let outcome = self.step(session, now_ns);
        if outcome.is_err() {
            self.rest(now_ns);
        }
        outcome
    }

    /// What was due is found again by the next look, or among what was only given back in part.
    fn rest(&mut self, now_ns: u64) {
        self.due.clear();
        self.seen.clear();
        self.refused_until_ns = now_ns + REFUSED_NS;
    }

    fn step(&mut self, session: &mut Session, now_ns: u64) -> Result<(), TxnError> {
        let Session { participant, heap, .. } = session;
        if let Some(first) = self.orphans_at {
            self.orphans_at = heap.release_emptied_orphans(first, ORPHAN_SLABS);
            return Ok(());
        }
        if !self.due.is_empty() && participant.is_over(self.due_epoch)? {
            for extent in self.due.drain(self.due.len().saturating_sub(EXTENTS)..) {
                heap.give_back(extent)?;
            }
            return Ok(());
        }
        if now_ns < self.next_look_ns {
            return Ok(());
        }
        if now_ns >= self.next_leftovers_ns {
            self.next_leftovers_ns = now_ns + LEFTOVERS_NS;
            heap.give_back_leftovers()?;
        }
        self.next_look_ns = now_ns + LOOK_NS;
        let arena = participant.arena();
        let events = arena.release_events();
        if events != self.events {
            self.orphans_at = Some(0);
        }
        self.events = events;
        heap.trim();
        let empty = arena.empty_extents();
        let kept = usize::try_from(KEPT + arena.file_bytes() / EXTENT_BYTES / KEPT_ONE_IN).unwrap_or(0);
        let surplus = empty.len().saturating_sub(kept);
        // From the end: the lowest are used again first.
        self.due =
            empty.iter().rev().filter(|extent| self.seen.contains(extent)).take(surplus).copied().collect();
        self.due_epoch = self.epoch;
        self.seen.clear();
        if surplus > 0 {
            self.seen = empty;
            self.epoch = participant.close_epoch();
        }
        Ok(())
    }
}
