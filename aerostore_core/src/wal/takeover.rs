//! Taking the log over from whoever wrote it, and the segment being written.
//!
//! The order is D3's: the term is replaced first (`LogControl::depose`), so that the durable timestamp stands still; then
//! `seal` finds where that timestamp ends in the files; then the new segment is created. A kill in between leaves at
//! most a segment without batches, finished or not, which the next take-over steps over and removes.

#![forbid(unsafe_code)]

use super::control::LogControl;
use super::error::WalError;
use super::frame::{self, BATCH_HEADER_BYTES, BatchHeader, BatchKind, FIRST_BATCH, SegmentHeader};
use super::segment::{self, Directory, Link, io_error, segment_path};
use super::walk::{End, Step, Walk};
use crate::sys::{FileSystem, LogFile};
use std::io;
use std::path::{Path, PathBuf};

/// An end within a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) bytes: u64,
    /// Batches before it.
    pub(super) batches: u64,
    /// The `end_ts` of the last batch before it, or the segment's `start_ts`.
    pub(super) ts: u64,
}

/// The segment a log writer writes.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) file: Box<dyn LogFile>,
    pub(super) path: PathBuf,
    pub(super) number: u64,
    pub(super) seed: u32,
    /// What is written.
    pub(super) end: Extent,
    /// What is synced.
    pub(super) synced: Extent,
    /// Up to where bytes of an earlier use may follow (T4); 0 in a new file.
    used_bytes: u64,
}

impl Current {
    /// How many zeros belong behind a batch of `bytes`, in the place of the next one's header (T4).
    pub(super) fn zeros_behind(&self, bytes: u64) -> usize {
        let left = self.used_bytes.saturating_sub(self.end.bytes + bytes);
        usize::try_from(left).map_or(BATCH_HEADER_BYTES, |left| left.min(BATCH_HEADER_BYTES))
    }
}

/// The last segment that holds records of the log, and where they end. It stays open, so that it is not used again (Z3).
#[derive(Debug)]
pub(super) struct Last {
    pub(super) file: Box<dyn LogFile>,
    pub(super) number: u64,
    pub(super) seed: u32,
    pub(super) end: Extent,
}

/// The end of the log as a take-over found it.
#[derive(Debug)]
pub(super) struct Sealed {
    /// `None` in a new log.
    pub(super) last: Option<Last>,
    /// Segments behind it without a record that counts, and what is left of creations that were cut off.
    pub(super) empty: Vec<u64>,
    /// The first number that may be free.
    pub(super) next_number: u64,
    /// The timestamp up to which the log holds records.
    pub(super) end_ts: u64,
}

/// Finds where `durable_ts` ends in the files, and syncs that segment: its length is about to be named.
pub(super) fn seal(
    control: &LogControl,
    fs: &dyn FileSystem,
    dir: &Path,
    uuid: [u8; 16],
    durable_ts: u64,
) -> Result<Sealed, WalError> {
    let mut known = 0;
    loop {
        let directory = Directory::read(fs, dir, uuid)?;
        if directory.last_number() < control.segment() {
            let path = segment_path(dir, control.segment());
            return Err(WalError::Missing { path, reason: "shared memory says it is being written" });
        }
        match seal_in(control, fs, dir, &directory, durable_ts)? {
            Ok(sealed) => return Ok(sealed),
            // Its creation ended after the directory was read.
            Err(continued) if continued > known => known = continued,
            Err(continued) => {
                let path = segment_path(dir, continued);
                return Err(WalError::Missing { path, reason: "the segment before it names it" });
            }
        }
    }
}

/// As [`seal`]; the inner error is a segment that the last one names and `directory` has not.
fn seal_in(
    control: &LogControl,
    fs: &dyn FileSystem,
    dir: &Path,
    directory: &Directory<'_>,
    durable_ts: u64,
) -> Result<Result<Sealed, u64>, WalError> {
    let next_number = directory.last_number() + 1;
    let mut empty: Vec<u64> = directory.unfinished().collect();
    let mut end_ts = durable_ts;
    let mut link = directory.head().map(|head| Link { header: head.clone(), sealed_bytes: None });
    while let Some(this) = link {
        let header = &this.header;
        if header.start_ts > durable_ts {
            let path = segment_path(dir, header.number);
            return Err(WalError::Corrupt {
                path,
                offset: 64,
                reason: "it begins after what shared memory has durable",
            });
        }
        let mut walk = Walk::open(fs, dir, &this)?;
        let end = loop {
            if let Step::End(end) = walk.step(durable_ts)? {
                break end;
            }
        };
        if let End::Continued(number) = end {
            return Ok(Err(number));
        }
        let extent = walk.extent();
        if !control.holds_published(header.number, extent.bytes) {
            let (path, offset) = (walk.path().to_path_buf(), extent.bytes);
            return Err(WalError::Corrupt {
                path,
                offset,
                reason: "batches that were durable are not intact",
            });
        }
        if extent.batches > 0 {
            let path = walk.path();
            let mut file = fs.open(path).map_err(io_error("open", path))?;
            file.sync_data().map_err(io_error("sync", path))?;
            let seed = frame::seed(&header.uuid, header.number);
            let last = Some(Last { file, number: header.number, seed, end: extent });
            return Ok(Ok(Sealed { last, empty, next_number, end_ts: extent.ts }));
        }
        // Nothing is built on a segment without records: not even its header needs to have survived.
        empty.push(header.number);
        end_ts = header.start_ts;
        link = if header.previous == 0 { None } else { Some(directory.previous_of(header)?) };
    }
    Ok(Ok(Sealed { last: None, empty, next_number, end_ts }))
}

/// Creates the segment that `header` describes; its number is the first to try.
pub(super) fn begin(
    control: &LogControl,
    fs: &dyn FileSystem,
    dir: &Path,
    mut header: SegmentHeader,
) -> Result<Current, WalError> {
    let term = header.term;
    let file = segment::create(fs, dir, &mut header, &mut || control.check_term(term))?;
    let start = Extent { bytes: FIRST_BATCH, batches: 0, ts: header.start_ts };
    Ok(Current {
        file,
        path: segment_path(dir, header.number),
        number: header.number,
        seed: frame::seed(&header.uuid, header.number),
        end: start,
        synced: start,
        used_bytes: if header.is_reused { header.allocated_bytes } else { 0 },
    })
}

/// Writes a mark at `at`, a batch without records, and cuts the file behind it.
pub(super) fn mark(
    file: &mut dyn LogFile,
    seed: u32,
    at: Extent,
    kind: BatchKind,
    payload: &[u8],
) -> io::Result<()> {
    let header = BatchHeader {
        kind,
        number: at.batches,
        previous_ts: at.ts,
        end_ts: at.ts,
        synced_bytes: at.bytes,
        payload_bytes: payload.len() as u64,
        record_count: 0,
        payload_checksum: crc32c::crc32c_append(seed, payload),
    };
    let mut bytes = Vec::with_capacity(BATCH_HEADER_BYTES + payload.len());
    bytes.extend_from_slice(&header.encode(seed));
    bytes.extend_from_slice(payload);
    file.write_at(at.bytes, &bytes)?;
    file.set_len(at.bytes + bytes.len() as u64)
}

/// Leaves a mark behind the end of a sealed segment that names the `next`, so that the loss of that one is noticed, and
/// frees what was allocated beyond. Best effort: a failure or a kill in between costs only this.
pub(super) fn mark_continued(sealed: Last, next: u64) {
    let Last { mut file, seed, end, .. } = sealed;
    let _ = mark(file.as_mut(), seed, end, BatchKind::Continued, &next.to_le_bytes());
}
