//! Points at which a test lets a process die or stand still: before and after each change of shared memory.
//!
//! Layout      a countdown per thread. Where it reaches zero, the thread unwinds, which is all that others see of a killed
//!             process as long as nothing that unwinding drops touches shared memory: what was stored is stored, the rest
//!             never happens. Or the whole process is killed indeed, or stopped, and somebody else lets it go on.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Points of a run of relaxed stores that count. Such a run fills memory which a later, stronger store publishes: to die
/// at the thousandth block of a new slab is no different from dying at the third.
const RELAXED_RUN: u32 = 6;

struct Killed;

thread_local! {
    /// Points left until this thread dies; 0 when it is to live.
    static POINTS_LEFT: Cell<u64> = const { Cell::new(0) };
    /// The signal that the whole process gets then; 0 when only the thread is to unwind.
    static SIGNAL: Cell<i32> = const { Cell::new(0) };
    /// Points beside relaxed stores since the last stronger operation.
    static RUN: Cell<u32> = const { Cell::new(0) };
}

/// A point beside a change of shared memory, by a relaxed store or a stronger one.
pub(super) fn fault_point(relaxed: bool) {
    let left = POINTS_LEFT.get();
    if left == 0 {
        return;
    }
    let run = if relaxed { RUN.get() + 1 } else { 0 };
    RUN.set(run);
    if run > RELAXED_RUN {
        return;
    }
    POINTS_LEFT.set(left - 1);
    if left == 1 {
        let signal = SIGNAL.get();
        if signal != 0 {
            // SAFETY: no memory is involved; the signal is this thread's own, so it is taken before the call returns.
            unsafe { libc::raise(signal) };
            return; // after a stop
        }
        resume_unwind(Box::new(Killed)); // unlike a panic, it prints nothing
    }
}

fn arm(point: u64, signal: i32) {
    SIGNAL.set(signal);
    RUN.set(0);
    POINTS_LEFT.set(point);
}

/// Runs `operation` and lets it die at its `point`-th point, counted from 1; true when it came to its end before.
pub(crate) fn survives(point: u64, operation: impl FnOnce()) -> bool {
    arm(point, 0);
    let outcome = catch_unwind(AssertUnwindSafe(operation));
    arm(0, 0);
    match outcome {
        Ok(()) => true,
        Err(payload) if payload.is::<Killed>() => false,
        Err(payload) => resume_unwind(payload),
    }
}

/// Every how manyth point a test tries that takes long: `short`, or what `AEROSTORE_POINT_STRIDE` says. A prime number, so that what is done
/// again and again is met at all its points.
pub(crate) fn point_stride(short: u64) -> u64 {
    std::env::var("AEROSTORE_POINT_STRIDE").ok().and_then(|text| text.parse().ok()).unwrap_or(short)
}

/// Runs `operation`, in which the process gets `signal` at the `point`-th point that this thread comes to. Returns the points it
/// has passed when there are fewer.
pub(crate) fn signalled_at<R>(signal: i32, point: u64, operation: impl FnOnce() -> R) -> (u64, R) {
    arm(point, signal);
    let result = operation();
    let left = POINTS_LEFT.get();
    arm(0, 0);
    (point - left, result)
}
