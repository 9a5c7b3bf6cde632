//! Reading one segment, batch by batch, and deciding what its end means.
//!
//! Rules       T1: a batch that is not intact ends the segment. It is *torn*, a write that power loss or a kill cut off,
//!             unless something intact says it had been durable: then it is *damage*. Evidence is a later segment (the
//!             bytes a successor names were synced first), or a later batch of the same segment whose `synced_bytes`
//!             reaches beyond the place (W2). An intact later batch without that claim is none: batches written since
//!             the last sync reach the disk in any order.
//!             T2: an intact batch header out of sequence, or a payload with the right checksum and records that make no
//!             sense, is damage: it was written like that.
//!             T3: nothing but zeros up to the allocated length is the clean end of a log that was not closed. T4: in a file
//!             that had been another segment's it is zeros in the place of the next header, which go with every batch, or
//!             less than a header's room, and no intact header behind.

#![forbid(unsafe_code)]

use super::error::WalError;
use super::frame::{self, BATCH_HEADER_BYTES, BatchHeader, BatchKind, FIRST_BATCH, SegmentHeader};
use super::lsn::Lsn;
use super::segment::{Link, Tail, io_error, segment_path};
use super::takeover::Extent;
use crate::sys::{FileSystem, LogFile};
use std::path::{Path, PathBuf};

/// Bytes cut off the end of the log: written, but never durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// Where the intact log ends.
    pub at: Lsn,
    /// Bytes after that, up to the last one that is not zero.
    pub cut_bytes: u64,
    /// What is wrong with the first of them.
    pub reason: &'static str,
}

/// Where reading a segment stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// At the sealed length, at the timestamp limit, or where the file is still empty.
    Complete,
    /// At the mark of a writer that closed the log.
    Closed,
    /// At the mark that names the next segment.
    Continued(u64),
    /// At a torn batch.
    Torn(TornTail),
}

/// What one step found.
#[derive(Debug)]
pub(crate) enum Step {
    /// An intact batch of records; [`Walk::records`] gives them.
    Batch,
    /// Nothing more.
    End(End),
}

/// A reader of one segment of the chain.
#[derive(Debug)]
pub(crate) struct Walk {
    file: Box<dyn LogFile>,
    path: PathBuf,
    header: SegmentHeader,
    seed: u32,
    sealed_bytes: Option<u64>,
    file_bytes: u64,
    offset: u64,
    batch_number: u64,
    last_ts: u64,
    window: Window,
    /// Bytes of the file beyond what was durable at this timestamp are read again, as they may have been written since.
    followed_ts: u64,
    /// Where the payload of the last batch lies.
    payload: (u64, usize),
}

/// A piece of the file in memory.
#[derive(Debug)]
struct Window {
    start: u64,
    bytes: Vec<u8>,
    /// Read at once.
    most: u64,
}

/// Bytes read at once, where the file is longer.
const WINDOW_BYTES: u64 = 256 << 10;
/// The same at the end of a log that is being written, where most of them are not written yet.
const FOLLOWED_BYTES: u64 = 32 << 10;

impl Window {
    /// The file's bytes at `offset`, fewer than `count` only at its end.
    fn get(
        &mut self,
        file: &dyn LogFile,
        file_bytes: u64,
        offset: u64,
        count: usize,
    ) -> std::io::Result<&[u8]> {
        let cached = |window: &Self| {
            let skip = usize::try_from(offset.checked_sub(window.start)?).ok()?;
            (skip + count <= window.bytes.len()).then_some(skip)
        };
        let skip = if let Some(skip) = cached(self) {
            skip
        } else {
            let left = usize::try_from(file_bytes.saturating_sub(offset).min(self.most)).unwrap_or(count);
            self.bytes.resize(count.max(left), 0);
            self.start = offset;
            let read = file.read_at(offset, &mut self.bytes)?;
            self.bytes.truncate(read);
            0
        };
        let end = self.bytes.len().min(skip + count);
        Ok(&self.bytes[skip..end])
    }
}

impl Walk {
    /// Opens a segment of the chain.
    ///
    /// # Errors
    /// `Io`; `Corrupt` when the file is shorter than its successor says.
    pub(crate) fn open(fs: &dyn FileSystem, dir: &Path, link: &Link) -> Result<Self, WalError> {
        let path = segment_path(dir, link.header.number);
        let file = fs.open_read(&path).map_err(io_error("open", &path))?;
        let file_bytes = file.len().map_err(io_error("read", &path))?;
        if let Some(sealed) = link.sealed_bytes
            && (sealed > file_bytes || sealed < FIRST_BATCH)
        {
            let reason = "the segment is shorter than the next one says";
            return Err(WalError::Corrupt { path, offset: file_bytes, reason });
        }
        Ok(Self {
            file,
            path,
            seed: frame::seed(&link.header.uuid, link.header.number),
            sealed_bytes: link.sealed_bytes,
            file_bytes,
            offset: FIRST_BATCH,
            batch_number: 0,
            last_ts: link.header.start_ts,
            window: Window { start: 0, bytes: Vec::new(), most: WINDOW_BYTES },
            followed_ts: 0,
            payload: (0, 0),
            header: link.header.clone(),
        })
    }

    /// The position after the last intact batch.
    pub(crate) fn position(&self) -> Lsn {
        Lsn { segment: self.header.number, offset: self.offset }
    }

    /// The `end_ts` of the last intact batch, or the segment's `start_ts`.
    pub(crate) fn last_ts(&self) -> u64 {
        self.last_ts
    }

    /// The end of the last intact batch.
    pub(super) fn extent(&self) -> Extent {
        Extent { bytes: self.offset, batches: self.batch_number, ts: self.last_ts }
    }

    /// The segment's file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// That the log is damaged behind the last batch that was read.
    pub(crate) fn corrupt(&self, reason: &'static str) -> WalError {
        WalError::Corrupt { path: self.path.clone(), offset: self.offset, reason }
    }

    /// Reads the next batch whose `end_ts` is at most `limit_ts`.
    ///
    /// # Errors
    /// `Io`; `Corrupt` by T1 and T2.
    pub(crate) fn step(&mut self, limit_ts: u64) -> Result<Step, WalError> {
        if self.sealed_bytes == Some(self.offset) {
            return Ok(Step::End(End::Complete));
        }
        let bytes = self
            .window
            .get(self.file.as_ref(), self.file_bytes, self.offset, BATCH_HEADER_BYTES)
            .map_err(io_error("read", &self.path))?;
        let Some(header) = BatchHeader::decode(bytes, self.seed) else {
            return self.stop("no intact batch header").map(Step::End);
        };
        if header.end_ts > limit_ts {
            return Ok(Step::End(End::Complete));
        }
        self.check_sequence(&header)?;
        let start = self.offset + BATCH_HEADER_BYTES as u64;
        let end = start.saturating_add(header.payload_bytes);
        let limit = self.sealed_bytes.unwrap_or(self.file_bytes);
        let Some(length) = usize::try_from(header.payload_bytes).ok().filter(|_| end <= limit) else {
            return self.stop("a batch longer than its segment").map(Step::End);
        };
        let payload = self
            .window
            .get(self.file.as_ref(), self.file_bytes, start, length)
            .map_err(io_error("read", &self.path))?;
        if payload.len() < length || crc32c::crc32c_append(self.seed, payload) != header.payload_checksum {
            return self.stop("a batch's checksum is wrong").map(Step::End);
        }
        let mark = match header.kind {
            BatchKind::Records => None,
            BatchKind::Closed => Some(End::Closed),
            BatchKind::Continued => {
                Some(End::Continued(<[u8; 8]>::try_from(payload).map_or(0, u64::from_le_bytes)))
            }
        };
        if let Some(end) = mark {
            // A successor names the length before a mark: only records are known to have been synced.
            let out_of_place = self.sealed_bytes.is_some();
            return if out_of_place {
                Err(self.corrupt("a mark of the end in the middle"))
            } else {
                Ok(Step::End(end))
            };
        }
        self.offset = end;
        self.batch_number += 1;
        self.last_ts = header.end_ts;
        self.payload = (start, length);
        self.check_records(&header)?;
        Ok(Step::Batch)
    }

    /// Reads the next batch of a log that is being written, all of which up to `durable_ts` is durable; false when there is none
    /// yet, or the segment's sealed end is reached. Unlike [`Walk::step`], it takes a header that it cannot read at the end of the log for
    /// what is not written yet: the caller has to know how far the log goes ([`LogControl::logged_ts`](super::LogControl::logged_ts)).
    ///
    /// # Errors
    /// As for [`Walk::step`]; a batch that is durable and cannot be read is `Corrupt`.
    pub(crate) fn follow(&mut self, durable_ts: u64) -> Result<bool, WalError> {
        if self.is_at_sealed_end() {
            return Ok(false);
        }
        if self.followed_ts != durable_ts {
            self.followed_ts = durable_ts;
            self.window.most = FOLLOWED_BYTES;
            self.window.bytes.clear();
            self.file_bytes = self.file.len().map_err(io_error("read", &self.path))?;
        }
        let bytes = self
            .window
            .get(self.file.as_ref(), self.file_bytes, self.offset, BATCH_HEADER_BYTES)
            .map_err(io_error("read", &self.path))?;
        let is_there = match BatchHeader::decode(bytes, self.seed) {
            Some(header) => header.end_ts <= durable_ts,
            None => self.sealed_bytes.is_some(),
        };
        if !is_there {
            return Ok(false);
        }
        match self.step(durable_ts)? {
            Step::Batch => Ok(true),
            Step::End(End::Torn(torn)) => Err(self.corrupt(torn.reason)),
            Step::End(_) => Ok(false),
        }
    }

    /// The number of the segment.
    pub(super) fn number(&self) -> u64 {
        self.header.number
    }

    /// So many of its bytes belong to the log, as its successor has said since it was opened.
    pub(super) fn seal(&mut self, sealed_bytes: Option<u64>) {
        self.sealed_bytes = sealed_bytes;
    }

    /// Whether it is read up to where its successor begins.
    pub(super) fn is_at_sealed_end(&self) -> bool {
        self.sealed_bytes == Some(self.offset)
    }

    /// T2, for a header that is intact.
    fn check_sequence(&self, header: &BatchHeader) -> Result<(), WalError> {
        let advances = match header.kind {
            BatchKind::Records => header.end_ts > header.previous_ts,
            BatchKind::Closed | BatchKind::Continued => header.end_ts == header.previous_ts,
        };
        if header.number != self.batch_number || header.previous_ts != self.last_ts || !advances {
            return Err(self.corrupt("a batch out of sequence"));
        }
        if header.synced_bytes > self.offset || !header.payload_bytes.is_multiple_of(8) {
            return Err(self.corrupt("a batch header that contradicts itself"));
        }
        Ok(())
    }

    /// T2, for a payload that is intact.
    fn check_records(&self, header: &BatchHeader) -> Result<(), WalError> {
        let mut last_ts = header.previous_ts + 1;
        let mut count = 0;
        for record in frame::records(self.payload_bytes()) {
            let record = record.map_err(|reason| self.corrupt(reason))?;
            if record.c < last_ts || record.c > header.end_ts {
                return Err(self.corrupt("a record outside its batch's timestamps"));
            }
            last_ts = record.c;
            count += 1;
        }
        if count == header.record_count {
            Ok(())
        } else {
            Err(self.corrupt("a batch with another count of records"))
        }
    }

    fn payload_bytes(&self) -> &[u8] {
        let (start, length) = self.payload;
        let skip = usize::try_from(start.saturating_sub(self.window.start)).unwrap_or(usize::MAX);
        self.window.bytes.get(skip..skip.saturating_add(length)).unwrap_or_default()
    }

    /// C and redo bytes of the records of the batch just read, in order.
    pub(crate) fn records(&self) -> impl Iterator<Item = (u64, &[u8])> {
        frame::checked_records(self.payload_bytes()).map(|record| (record.c, record.redo))
    }

    /// Decides what it means that no batch can be read here (T1, T3).
    fn stop(&self, reason: &'static str) -> Result<End, WalError> {
        if self.sealed_bytes.is_some() {
            return Err(self.corrupt(reason));
        }
        let tail = Tail::search(self.file.as_ref(), self.seed, self.offset, self.offset)
            .map_err(io_error("read", &self.path))?;
        if tail.was_durable {
            return Err(self.corrupt(reason));
        }
        let short = self.file_bytes < self.header.allocated_bytes;
        let cut_bytes =
            if self.header.is_reused { self.begun_bytes()?.max(tail.header_bytes) } else { tail.used_bytes };
        if cut_bytes == 0 && !short {
            return Ok(End::Complete);
        }
        let reason = if cut_bytes == 0 { "the file is shorter than it was allocated" } else { reason };
        Ok(End::Torn(TornTail { at: self.position(), cut_bytes, reason }))
    }

    /// How much of a header is here, in a file that had been another segment's (T4): all or nothing can be told.
    fn begun_bytes(&self) -> Result<u64, WalError> {
        let mut place = [0; BATCH_HEADER_BYTES];
        let count = self.file.read_at(self.offset, &mut place).map_err(io_error("read", &self.path))?;
        let is_begun = count == place.len() && place.iter().any(|&byte| byte != 0);
        Ok(if is_begun { BATCH_HEADER_BYTES as u64 } else { 0 })
    }
}
