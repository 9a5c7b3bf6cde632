//! Aerostore measured beside other engines: the same rows, the same keys, in one run, taking turns.
//!
//! Everything the programs in `src/bin` share. What they print is explained, with results, in `docs/benchmarks.md`.

#![deny(unsafe_code)]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "figures for people, and numbers cut out of random bits"
)]

pub mod arguments;
pub mod contender;
pub mod engine;
pub mod flight;
pub mod histogram;
pub mod indexed;
pub mod leftovers;
pub mod lines;
pub mod peer;
pub mod place;
pub mod report;
pub mod turns;
pub mod waiting;
pub mod wide;
pub mod worker;
