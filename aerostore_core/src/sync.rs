//! Atomics: std's, or loom's under `cfg(loom)`, so that loom drives the shipped code; in unit tests std's with a fault point
//! before and after each change, so that tests can let a process die there.
//!
//! Type aliases rather than re-exports, so that the lint against std's atomics elsewhere stays quiet here only.

#[cfg(all(test, not(loom)))]
mod counted;
#[cfg(all(test, not(loom)))]
mod fault;
#[cfg(all(test, not(loom)))]
mod schedule;

#[cfg(all(not(test), not(loom)))]
mod imp {
    #![expect(clippy::disallowed_types, reason = "this module is where std's atomics enter the crate")]

    pub(crate) type AtomicU32 = std::sync::atomic::AtomicU32;
    pub(crate) type AtomicU64 = std::sync::atomic::AtomicU64;
    pub(crate) type AtomicBool = std::sync::atomic::AtomicBool;
    pub(crate) use std::hint::spin_loop;
    pub(crate) use std::sync::atomic::fence;
}

#[cfg(all(test, not(loom)))]
mod imp {
    #![expect(clippy::disallowed_types, reason = "this module is where std's atomics enter the crate")]

    pub(crate) use super::counted::{AtomicU32, AtomicU64};
    pub(crate) type AtomicBool = std::sync::atomic::AtomicBool;
    pub(crate) use std::hint::spin_loop;
    pub(crate) use std::sync::atomic::fence;
}

#[cfg(loom)]
mod imp {
    pub(crate) type AtomicU32 = loom::sync::atomic::AtomicU32;
    pub(crate) type AtomicU64 = loom::sync::atomic::AtomicU64;
    pub(crate) type AtomicBool = loom::sync::atomic::AtomicBool;
    pub(crate) use loom::hint::spin_loop;
    pub(crate) use loom::sync::atomic::fence;
}

#[cfg(all(test, not(loom)))]
pub(crate) use fault::{point_stride, signalled_at, survives};
pub(crate) use imp::*;
#[cfg(all(test, not(loom)))]
pub(crate) use schedule::{interrupted_at, interrupted_from, run_scheduled};
pub(crate) use std::sync::atomic::Ordering;
