//! What the benches share: a row, a place for a database, sides that take turns.
#![allow(dead_code, unreachable_pub, reason = "each bench is a program of its own, and uses a part of this")]

pub mod flights;
#[path = "../../../aerostore_bench/src/leftovers.rs"]
pub mod leftovers;
#[path = "../../../aerostore_bench/src/place.rs"]
pub mod place;
pub mod turns;

use criterion::Criterion;
use std::time::Duration;

/// Criterion as all benches want it; the command line may say otherwise.
pub fn criterion() -> Criterion {
    Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .sample_size(50)
        .configure_from_args()
}

/// A number from the environment, for those who want fewer rows, or more.
pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
