//! Getting a database back from its files.

#[cfg(not(loom))]
mod replay;
mod scan;

#[cfg(not(loom))]
pub use replay::{Replayed, replay};
pub use scan::{LogReport, scan_log};
