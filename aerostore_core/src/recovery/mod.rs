//! Getting a database back from its files.

mod scan;

pub use scan::{LogReport, scan_log};
