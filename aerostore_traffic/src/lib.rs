//! Flight traffic.
