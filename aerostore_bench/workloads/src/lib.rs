//! Aerostore and the engines a user would pick instead: how each keeps flights, the processes they run in, and what these are asked.

#![deny(unsafe_code)]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "figures for people, and numbers that engines take in types of their own"
)]

pub mod crucible;
pub mod disk;
pub mod engines;
pub mod figures;
pub mod host;
pub mod plot;
pub mod scaling;
pub mod servers;
pub mod side;
pub mod task;
pub mod workloads;
