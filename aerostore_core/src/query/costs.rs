//! What the planner prices: nanoseconds of each step, on rows of 108 bytes that lie in memory, not in caches. Only their ratios matter.
//!
//! Source      `cargo run --release -p aerostore_bench --bin costs` prints what they are on a machine, and what the planner's choices cost
//!             beside the other ways; the figures of this one are in `docs/benchmarks.md`.

#![forbid(unsafe_code)]

/// Going through the slabs of a table.
pub(super) const SCAN: f64 = 2000.0;
/// A row in a scan.
pub(super) const SCAN_ROW: f64 = 18.0;
/// Another thread for a scan: its start, and what the others wait for it in the end.
pub(super) const THREAD: f64 = 100_000.0;
/// Handing a row over to the thread that runs the plan: a copy and a visit more; reckoned, not measured.
pub(super) const HAND_OVER: f64 = 30.0;
/// A row that an index leads to.
pub(super) const FETCH_ROW: f64 = 58.0;
/// A row that its key leads to.
pub(super) const POINT: f64 = 300.0;
/// The way down to the first entry of a range.
pub(super) const SEEK: f64 = 500.0;
/// The way to the first entry of a value by a hash: reckoned as half of the way down.
pub(super) const HASH_SEEK: f64 = 250.0;
/// An entry of an index.
pub(super) const ENTRY: f64 = 6.0;
/// Remembering a row that an index names.
pub(super) const REMEMBER: f64 = 25.0;
/// Asking whether a row was remembered.
pub(super) const RECALL: f64 = 6.0;
/// Offering a row to the best so far.
pub(super) const OFFER: f64 = 15.0;
/// Copying a row to be sorted, and sorting it among two.
pub(super) const SORT_ROW: f64 = 40.0;
/// Sorting it among twice as many.
pub(super) const SORT_STEP: f64 = 9.0;
