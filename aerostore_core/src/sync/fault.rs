//! Points at which a test lets a process die: before and after each change of shared memory.
//!
//! Layout      a countdown per thread. Where it reaches zero, the thread unwinds, which is all that others see of a killed
//!             process as long as nothing that unwinding drops touches shared memory: what was stored is stored, the rest
//!             never happens. Or the whole process is killed indeed.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Points of a run of relaxed stores that count. Such a run fills memory which a later, stronger store publishes: to die
/// at the thousandth block of a new slab is no different from dying at the third.
const RELAXED_RUN: u32 = 6;

struct Killed;

thread_local! {
    /// Points left until this thread dies; 0 when it is to live.
    static POINTS_LEFT: Cell<u64> = const { Cell::new(0) };
    /// Whether the whole process dies then.
    static KILLS: Cell<bool> = const { Cell::new(false) };
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
        if KILLS.get() {
            // SAFETY: no memory is involved; the signal is this process's own and cannot be blocked.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        }
        resume_unwind(Box::new(Killed)); // unlike a panic, it prints nothing
    }
}

fn arm(point: u64, kills: bool) {
    KILLS.set(kills);
    RUN.set(0);
    POINTS_LEFT.set(point);
}

/// Runs `operation` and lets it die at its `point`-th point, counted from 1; true when it came to its end before.
pub(crate) fn survives(point: u64, operation: impl FnOnce()) -> bool {
    arm(point, false);
    let outcome = catch_unwind(AssertUnwindSafe(operation));
    arm(0, false);
    match outcome {
        Ok(()) => true,
        Err(payload) if payload.is::<Killed>() => false,
        Err(payload) => resume_unwind(payload),
    }
}

/// Runs `operation`, in which the process is killed at the `point`-th point that this thread comes to. Returns the points it
/// has passed when there are fewer.
pub(crate) fn killed_at(point: u64, operation: impl FnOnce()) -> u64 {
    arm(point, true);
    operation();
    let left = POINTS_LEFT.get();
    arm(0, false);
    point - left
}
