//! Getting a database back from its files.

mod replay;
mod scan;

pub use replay::{Replayed, replay};
pub use scan::{LogReport, scan_log};
