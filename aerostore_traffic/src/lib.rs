//! Flight traffic: a seeded, deterministic generator of position reports.
//!
//! The engine's tests, demo and benchmarks need rows that look like the real thing, in any number, without shipping
//! anybody's recordings. Flights run on great circles between real airports; they climb, cruise and descend, carry
//! airline call signs, and now and then a report lacks a value, as reports from real receivers do.
//!
//! The same options give the same bytes on every machine: the random numbers are [`random::Random`]'s, and the
//! trigonometry is [`sphere`]'s own, because the `sin` of two C libraries may differ in the last bit.
//!
//! ```
//! use aerostore_traffic::{Options, Reports, tsv};
//!
//! let options = Options { seed: 7, flights: 3, ..Options::default() };
//! let mut text = Vec::new();
//! for report in Reports::new(&options).take(3) {
//!     tsv::write(&report, &mut text);
//! }
//! assert_eq!(text.iter().filter(|&&byte| byte == b'\n').count(), 3);
//! ```
#![forbid(unsafe_code)]

mod airports;
mod call_sign;
mod flight;
pub mod random;
mod report;
pub mod sphere;
pub mod tsv;

pub use call_sign::CallSign;
pub use report::{Options, Report, Reports, UniqueFlights};
