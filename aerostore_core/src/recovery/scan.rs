//! Reads the log forward: every record above a timestamp, in order, or the reason why that cannot be done.
//!
//! The chain of segments is settled first, then each segment is read batch by batch; a record is handed out only when
//! its whole batch is intact. Every batch must begin at the timestamp where the one before ended, across segments too.

#![forbid(unsafe_code)]

use crate::sys::FileSystem;
use crate::wal::{Directory, End, Lsn, Step, TornTail, WalError, Walk, segment_path};
use std::path::Path;

/// What a scan read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogReport {
    /// Segments read.
    pub segments: u64,
    /// Records handed out.
    pub records: u64,
    /// Redo bytes handed out.
    pub bytes: u64,
    /// The log holds every commit up to this timestamp.
    pub last_ts: u64,
    /// Where the intact log ends.
    pub end: Lsn,
    /// Whether the log was closed, so that nothing can be missing.
    pub closed: bool,
    /// What was cut off the end.
    pub torn: Option<TornTail>,
}

/// Hands every record with C > `from_ts` to `visit`, as (C, redo bytes), in order of C. Changes nothing.
///
/// A torn end is cut and reported. A directory without a log, or none at all, is an empty log that ends at `from_ts`.
///
/// # Errors
/// What [`WalError`] says of damage, missing, foreign and other versions' segments; what `visit` returns.
pub fn scan_log<E: From<WalError>>(
    fs: &dyn FileSystem,
    dir: &Path,
    uuid: [u8; 16],
    from_ts: u64,
    mut visit: impl FnMut(u64, &[u8]) -> Result<(), E>,
) -> Result<LogReport, E> {
    let mut report = LogReport { last_ts: from_ts, ..LogReport::default() };
    let chain = Directory::read(fs, dir, uuid)?.chain(from_ts)?;
    let mut last_ts = None;
    for link in &chain {
        let mut walk = Walk::open(fs, dir, link)?;
        if last_ts.is_some_and(|last_ts| last_ts != link.header.start_ts) {
            let path = walk.path().to_path_buf();
            return Err(WalError::Corrupt {
                path,
                offset: 64,
                reason: "it does not begin where the log ended",
            }
            .into());
        }
        report.segments += 1;
        let end = loop {
            match walk.step(u64::MAX)? {
                Step::End(end) => break end,
                Step::Batch => {
                    for (c, redo) in walk.records().filter(|record| record.0 > from_ts) {
                        visit(c, redo)?;
                        report.records += 1;
                        report.bytes += redo.len() as u64;
                    }
                }
            }
        };
        last_ts = Some(walk.last_ts());
        report.end = walk.position();
        report.last_ts = walk.last_ts().max(from_ts);
        match end {
            End::Complete => {}
            End::Closed => report.closed = true,
            End::Torn(torn) => report.torn = Some(torn),
            End::Continued(next) => {
                let path = segment_path(dir, next);
                return Err(WalError::Missing { path, reason: "the segment before it names it" }.into());
            }
        }
    }
    Ok(report)
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
