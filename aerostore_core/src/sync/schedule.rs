//! Random schedules that can be repeated: of several threads one runs at a time, and before each access of a word that may be
//! shared a dice says who goes on; or something else happens right there. The same seed gives the same schedule, as far as the code does not ask for the time.
//!
//! Shape       a baton that the running thread holds. Nothing may block while it is held but what ends by itself.
//! Source      as the crate `shuttle`, whose own atomics are larger than a word and cannot lie in a mapping.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

struct Baton {
    turn: Mutex<Turn>,
    passed: Vec<Condvar>,
}

struct Turn {
    holder: usize,
    running: Vec<usize>,
    dice: u64,
    /// One in so many accesses is a switch.
    one_in: u64,
    switches: u64,
}

impl Turn {
    fn roll(&mut self) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice >> 11
    }

    fn choose(&mut self) -> Option<usize> {
        let count = self.running.len() as u64;
        let place = usize::try_from(self.roll().checked_rem(count)?).unwrap_or(0);
        self.running.get(place).copied()
    }
}

thread_local! {
    static PLACE: RefCell<Option<(Arc<Baton>, usize)>> = const { RefCell::new(None) };
    /// Whether this thread has a place or is to be interrupted: all that most accesses in tests, which are not optimized, ask for.
    static IS_WATCHED: Cell<bool> = const { Cell::new(false) };
}

/// Takes a place, or gives it up.
fn stand(place: Option<(Arc<Baton>, usize)>) {
    IS_WATCHED.set(place.is_some());
    PLACE.set(place);
}

impl Baton {
    fn wait_for(&self, me: usize) {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.passed[me].wait_while(turn, |turn| turn.holder != me));
    }

    fn point(&self, me: usize) {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let one_in = turn.one_in;
        if !turn.roll().is_multiple_of(one_in) {
            return;
        }
        let Some(next) = turn.choose() else { return };
        if next == me {
            return;
        }
        turn.holder = next;
        turn.switches += 1;
        self.passed[next].notify_one();
        drop(self.passed[me].wait_while(turn, |turn| turn.holder != me));
    }

    fn leave(&self, me: usize) {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        turn.running.retain(|place| *place != me);
        if let Some(next) = turn.choose() {
            turn.holder = next;
            self.passed[next].notify_one();
        }
    }
}

/// True when it is to happen again before the next access.
type Deed = Box<dyn FnMut() -> bool>;
type Interruption = Option<(u64, Deed)>;

thread_local! {
    /// Accesses left until something else happens, and what.
    static INTERRUPTION: RefCell<Interruption> = const { RefCell::new(None) };
}

/// Runs `operation`, with that before access number `point`; whether there were as many.
fn interrupted<R>(point: u64, deed: Deed, operation: impl FnOnce() -> R) -> (bool, R) {
    INTERRUPTION.set(Some((point, deed)));
    let was_watched = IS_WATCHED.replace(true);
    let result = operation();
    IS_WATCHED.set(was_watched);
    (INTERRUPTION.take().is_none(), result)
}

/// Runs `operation`, and `deed` in the middle: before its access number `point`, counted from 1. Says whether there were as many.
pub(crate) fn interrupted_at<R>(
    point: u64,
    deed: impl FnOnce() + 'static,
    operation: impl FnOnce() -> R,
) -> (bool, R) {
    let mut deed = Some(deed);
    let once = move || {
        deed.take().into_iter().for_each(|deed| deed());
        false
    };
    interrupted(point, Box::new(once), operation)
}

/// The same, and `later` before each access after that.
pub(crate) fn interrupted_from<R>(
    point: u64,
    deed: impl FnOnce() + 'static,
    mut later: impl FnMut() + 'static,
    operation: impl FnOnce() -> R,
) -> R {
    let mut deed = Some(deed);
    let each = move || {
        match deed.take() {
            Some(deed) => deed(),
            None => later(),
        }
        true
    };
    interrupted(point, Box::new(each), operation).1
}

fn interrupt() {
    let is_due = INTERRUPTION.with_borrow_mut(|interruption| match interruption {
        Some((left, _)) => {
            *left -= 1;
            *left == 0
        }
        None => false,
    });
    if is_due
        && let Some((_, mut deed)) = INTERRUPTION.take()
        && deed()
    {
        INTERRUPTION.set(Some((1, deed)));
    }
}

/// Before an access of a word that may be shared.
#[inline]
pub(super) fn schedule_point() {
    if IS_WATCHED.get() {
        watched_point();
    }
}

#[cold]
fn watched_point() {
    interrupt();
    // A thread at its end has no place any more.
    let place = PLACE.try_with(|place| place.borrow().clone()).ok().flatten();
    if let Some((baton, me)) = place {
        baton.point(me);
    }
}

/// Leaves also when the thread panics, so that the others come to their ends.
struct Leave(Arc<Baton>, usize);

impl Drop for Leave {
    fn drop(&mut self) {
        stand(None);
        self.0.leave(self.1);
    }
}

/// Runs the threads under the schedule of `seed`. Returns what they return, and the number of switches.
pub(crate) fn run_scheduled<R: Send>(
    seed: u64,
    threads: Vec<Box<dyn FnOnce() -> R + Send + '_>>,
) -> (Vec<R>, u64) {
    let count = threads.len();
    let turn = Turn {
        holder: 0,
        running: (0..count).collect(),
        dice: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
        // Coarse schedules find what takes many steps of one thread in a row.
        one_in: 4 << (2 * (seed % 4)),
        switches: 0,
    };
    let passed = (0..count).map(|_| Condvar::new()).collect();
    let baton = Arc::new(Baton { turn: Mutex::new(turn), passed });
    let results = std::thread::scope(|scope| {
        let running: Vec<_> = threads
            .into_iter()
            .enumerate()
            .map(|(me, run)| {
                let baton = Arc::clone(&baton);
                scope.spawn(move || {
                    let _leave = Leave(Arc::clone(&baton), me);
                    baton.wait_for(me);
                    stand(Some((Arc::clone(&baton), me)));
                    run()
                })
            })
            .collect();
        running.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    let results = results.into_iter().map(|result| match result {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    });
    let results = results.collect();
    let switches = baton.turn.lock().unwrap_or_else(PoisonError::into_inner).switches;
    (results, switches)
}
