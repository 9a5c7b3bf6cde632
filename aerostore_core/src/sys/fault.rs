//! Points at which a test lets a process die: before and after each change of shared memory.
//!
//! Layout      a countdown per thread. In a test build the thread unwinds at the point where it reaches zero, which is all that
//!             others see of a killed process: what was stored is stored, the rest never happens. Otherwise a point is nothing.
#![forbid(unsafe_code)]

/// A point between two changes of shared memory. Nothing that unwinding drops may touch shared memory.
#[cfg(not(test))]
#[inline]
pub(crate) fn fault_point() {}

#[cfg(test)]
pub(crate) use imp::{fault_point, survives};

#[cfg(test)]
mod imp {
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    struct Killed;

    thread_local! {
        /// Points left until this thread dies; 0 when it is to live.
        static POINTS_LEFT: Cell<u64> = const { Cell::new(0) };
    }

    /// See above.
    pub(crate) fn fault_point() {
        match POINTS_LEFT.get() {
            0 => {}
            1 => {
                POINTS_LEFT.set(0);
                resume_unwind(Box::new(Killed)); // unlike a panic, it prints nothing
            }
            left => POINTS_LEFT.set(left - 1),
        }
    }

    /// Runs `operation` and lets it die at its `point`-th point, counted from 1; true when it came to its end before.
    pub(crate) fn survives(point: u64, operation: impl FnOnce()) -> bool {
        POINTS_LEFT.set(point);
        let outcome = catch_unwind(AssertUnwindSafe(operation));
        POINTS_LEFT.set(0);
        match outcome {
            Ok(()) => true,
            Err(payload) if payload.is::<Killed>() => false,
            Err(payload) => resume_unwind(payload),
        }
    }
}
