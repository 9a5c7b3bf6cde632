//! What waits for one who follows a table.
//!
//! Rules       F9: at most so many bytes wait. A transaction that does not fit is left out whole, and so is what comes after it, until half of
//!             the room is free again; one mark stands for all of it, in its place. Nobody waits for whoever is slow.
//!             F10: whoever takes events takes them until there are none; he is woken when there is one again, or the end: threads that wait here
//!             at once, and by his waker when whoever put it here has let go of his locks, since a waker may do anything (F13 of `db::feed`).

#![forbid(unsafe_code)]

use super::change::{Commit, Event, Gap};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What is called when there is something to be taken, by a thread of the database: it should only pass that on.
pub(crate) type Waker = Box<dyn Fn() + Send + Sync>;

/// Why there will be no more events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The database was closed.
    Closed,
    /// The table was dropped.
    Dropped,
}

/// Bytes that an event takes besides the rows.
const EVENT_BYTES: usize = 64;

#[derive(Default)]
struct State {
    /// With the bytes of each.
    events: VecDeque<(Event, usize)>,
    bytes: usize,
    end: Option<End>,
}

/// A bounded queue of events.
pub(crate) struct Buffer {
    state: Mutex<State>,
    is_ready: Condvar,
    waker: Option<Waker>,
    bytes_max: usize,
}

impl Buffer {
    /// A buffer for so many bytes.
    pub(crate) fn new(bytes_max: usize, waker: Option<Waker>) -> Self {
        Self { state: Mutex::default(), is_ready: Condvar::new(), waker, bytes_max }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in between leaves a queue that is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts what one transaction has changed behind the rest, or says that it is left out (F9). True when his waker is to be called (F10).
    #[must_use]
    pub(crate) fn push(&self, commit: Commit) -> bool {
        let rows: usize = commit.changes.iter().map(|change| change.row.bytes() + EVENT_BYTES).sum();
        let (commit_ts, bytes) = (commit.commit_ts, rows + EVENT_BYTES);
        let state = self.lock();
        let in_gap = matches!(state.events.back(), Some((Event::Gap(_), _)));
        let limit = if in_gap { self.bytes_max / 2 } else { self.bytes_max };
        if state.bytes + bytes > limit {
            self.leave_out(state, Gap { after_ts: commit_ts - 1, to_ts: commit_ts })
        } else {
            self.append(state, Event::Commit(commit), bytes)
        }
    }

    /// Says that what lies in `gap` is left out. True as for [`Buffer::push`].
    #[must_use]
    pub(crate) fn push_gap(&self, gap: Gap) -> bool {
        self.leave_out(self.lock(), gap)
    }

    fn leave_out(&self, mut state: MutexGuard<'_, State>, gap: Gap) -> bool {
        if let Some((Event::Gap(last), _)) = state.events.back_mut() {
            last.to_ts = gap.to_ts;
            return false;
        }
        self.append(state, Event::Gap(gap), EVENT_BYTES)
    }

    fn append(&self, mut state: MutexGuard<'_, State>, event: Event, bytes: usize) -> bool {
        if state.end.is_some() {
            return false;
        }
        let was_empty = state.events.is_empty();
        state.bytes += bytes;
        state.events.push_back((event, bytes));
        drop(state);
        if was_empty {
            self.is_ready.notify_all();
        }
        was_empty
    }

    /// There will be no more; what waits may still be taken. True when his waker is to be called for it: the first time.
    pub(crate) fn end(&self, end: End) -> bool {
        let mut state = self.lock();
        let is_first = state.end.is_none();
        state.end.get_or_insert(end);
        drop(state);
        self.is_ready.notify_all();
        is_first
    }

    /// Calls his waker, which may do anything: nobody does this who holds a lock. One that panics has been heard of by the panic hook; the
    /// others have nothing to do with it.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &self.waker {
            let _ = catch_unwind(AssertUnwindSafe(waker));
        }
    }

    /// The next event; `None` when there is none by `deadline`, or at all.
    pub(crate) fn take(&self, deadline: Option<Instant>) -> Result<Option<Event>, End> {
        let mut state = self.lock();
        loop {
            if let Some((event, bytes)) = state.events.pop_front() {
                state.bytes -= bytes;
                return Ok(Some(event));
            }
            if let Some(end) = state.end {
                return Err(end);
            }
            let left = deadline
                .map_or(Duration::ZERO, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(None);
            }
            state = self.is_ready.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::change::{ChangeOp, RowChange, RowImages};
    use super::*;
    use crate::row::{Column, ColumnType, DirtyMask, Schema};
    use std::sync::Arc;

    fn commit(commit_ts: u64, bytes: usize) -> Commit {
        let schema = Schema::builder("T").column(Column::new("k", ColumnType::I64)).key("k").build().unwrap();
        let row = RowImages {
            schema: Arc::new(schema),
            old: None,
            new: Some(vec![0; bytes].into()),
            changed: DirtyMask::default(),
        };
        let change = RowChange { op: ChangeOp::Insert, columns: DirtyMask::default(), row: Arc::new(row) };
        Commit { commit_ts, changes: vec![change] }
    }

    fn taken(buffer: &Buffer) -> String {
        match buffer.take(None) {
            Ok(Some(Event::Commit(commit))) => commit.commit_ts.to_string(),
            Ok(Some(Event::Gap(gap))) => format!("{}..{}", gap.after_ts, gap.to_ts),
            Ok(None) => "nothing".to_owned(),
            Err(end) => format!("{end:?}"),
        }
    }

    #[test]
    fn what_does_not_fit_is_one_gap_in_its_place_until_half_of_the_room_is_free() {
        let buffer = Buffer::new(4000, None);
        let wakes = (1..=9).filter(|ts| buffer.push(commit(*ts, 1000 - 2 * EVENT_BYTES))).count();
        assert_eq!((wakes, taken(&buffer)), (1, "1".to_owned()), "once for all that wait");
        let _ = buffer.push(commit(10, 1000 - 2 * EVENT_BYTES)); // not yet: three quarters are taken
        assert_eq!([taken(&buffer), taken(&buffer)], ["2", "3"]);
        let _ = buffer.push(commit(11, 500));
        assert_eq!([(); 5].map(|()| taken(&buffer)), ["4", "4..10", "11", "nothing", "nothing"]);
        assert!(buffer.push(commit(12, 1 << 20)) && !buffer.push(commit(13, 100)));
        assert_eq!([(); 3].map(|()| taken(&buffer)), ["11..12", "13", "nothing"]);
    }

    #[test]
    fn the_end_comes_after_what_waits_and_wakes_who_does() {
        let buffer = Buffer::new(4000, None);
        assert!(buffer.push(commit(1, 8)) && !buffer.push(commit(2, 8)));
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let deadline = Some(Instant::now() + Duration::from_mins(1));
                [(); 3].map(|()| buffer.take(deadline).map(|event| event.is_some()))
            });
            std::thread::sleep(Duration::from_millis(5));
            assert!(buffer.end(End::Closed) && !buffer.end(End::Dropped));
            assert_eq!(waiter.join().unwrap(), [Ok(true), Ok(true), Err(End::Closed)]);
        });
        assert!(!buffer.push(commit(3, 8)));
        assert_eq!(taken(&buffer), "Closed");
    }
}
