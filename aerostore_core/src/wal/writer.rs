//! The log writer: takes office, drains the rings, writes batches, syncs, publishes what is durable.
//!
//! Rules       D1: a drain first asks for the watermark w, then looks at the rings: whatever committed with C <= w had
//!             published its entry before. It takes all committed entries with written < C <= w, in order of C.
//!             D2: the durable timestamp moves only after a sync, by one CAS under the writer's own term.
//!             D3: a take-over fixes the durable timestamp D by replacing the term, then finds the end of the batches
//!             with `end_ts` <= D, syncs that segment and names this length in the header of its own new segment.
//!             D4: after a failed sync nothing more is written to that segment: the next one names its last synced
//!             length, and everything above the durable timestamp is taken from the rings again, where it still is.
//!             D5: a segment is sealed by its own writer only when all of it is published.
//! Killed at any point, a writer leaves bytes beyond the published length, a segment without header or batches, or a
//! batch that is published but announced late; its successor's D3 covers all three. Deposed at any point, it finds
//! out in `check_term` or in its CAS; what it wrote lies beyond the length its successor named.
//!
//! Source      the fsync rule: Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020.

#![forbid(unsafe_code)]

use super::control::LogControl;
use super::error::WalError;
use super::frame::{self, BATCH_HEADER_BYTES, BatchHeader, BatchKind, FIRST_BATCH, SegmentHeader};
use super::lsn::Lsn;
use super::ring::{Entry, Ring, RingDamage, record_checksum};
use super::segment::{Directory, io_error, segment_path};
use super::takeover::{Current, begin, mark, mark_continued, seal};
use crate::sync::AtomicU64;
use crate::sys::{self, FileSystem};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files in a row whose sync may fail before the log refuses commits.
const SYNC_FAILURES_MAX: u32 = 3;

/// What the log writer asks the layer of transactions.
pub trait CommitSource {
    /// The largest w such that no transaction with C <= w is still undecided, and none will get such a C. It never
    /// decreases.
    fn watermark(&self) -> u64;

    /// Appends the rings of all slots that may hold entries with C <= the last watermark, those of the dead included.
    /// Asked after [`CommitSource::watermark`], so that no ring is missed.
    fn rings<'a>(&'a self, into: &mut Vec<Ring<'a>>);

    /// Whether the transaction whose record `record` names committed with timestamp `c`; `c` is at most the last watermark. What
    /// is said when `record` names none any more does not matter.
    fn is_committed(&self, record: &AtomicU64, c: u64) -> bool;

    /// Appends `length` bytes of shared memory at `offset`, for an entry staged out of line; false when that is no
    /// place in shared memory.
    fn copy_out(&self, offset: u64, length: u64, into: &mut Vec<u8>) -> bool;
}

/// Sizes of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    /// Bytes allocated for a segment; one batch may exceed it.
    pub segment_bytes: u64,
    /// Bytes after which a batch is written and the next begun, between two timestamps.
    pub batch_bytes_max: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, batch_bytes_max: 4 << 20 }
    }
}

/// What a drain did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DrainOutcome {
    /// Records written.
    pub records: u64,
    /// Bytes written, headers included.
    pub bytes: u64,
    /// The durable timestamp now.
    pub durable_ts: u64,
    /// Everything up to this timestamp is in files, synced or not.
    pub written_ts: u64,
}

/// An entry to write; sorts by C, then by ring and position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    c: u64,
    position: u64,
    ring: u32,
}

/// Why a drain's round ended early.
enum Trouble {
    /// Syncing failed; D4 applies.
    Sync(WalError),
    /// Anything else.
    Other(WalError),
}

impl From<WalError> for Trouble {
    fn from(error: WalError) -> Self {
        match error {
            WalError::Io { operation: "sync", .. } => Self::Sync(error),
            error => Self::Other(error),
        }
    }
}

/// The one process's thread that writes the log, until it is deposed.
#[derive(Debug)]
pub struct LogWriter<'c> {
    control: &'c LogControl,
    fs: Arc<dyn FileSystem>,
    dir: PathBuf,
    uuid: [u8; 16],
    options: LogOptions,
    term: u64,
    durable_ts: u64,
    written_ts: u64,
    current: Current,
    sync_failures: u32,
    /// Ring number to the position before which every entry has C <= `written_ts`.
    positions: HashMap<u64, u64, foldhash::fast::FixedState>,
    found: Vec<Found>,
    buffer: Vec<u8>,
}

impl<'c> LogWriter<'c> {
    /// Becomes the log writer: deposes whoever is, and begins a new segment behind what is durable (D3).
    ///
    /// `uuid` is the database's; `process` is noted as holder. The directory must exist.
    ///
    /// # Errors
    /// `Deposed` when another process took over at the same time. `Io`, `Foreign`, `Version`; `Corrupt` or `Missing`
    /// when the log does not hold what the control words say is durable. All but `Deposed` are also shown to
    /// committers who wait.
    pub fn take_over(
        control: &'c LogControl,
        fs: Arc<dyn FileSystem>,
        dir: &Path,
        uuid: [u8; 16],
        process: u32,
        options: LogOptions,
    ) -> Result<Self, WalError> {
        let result = Self::take_over_quietly(control, fs, dir, uuid, process, options);
        match &result {
            Ok(_) | Err(WalError::Deposed { .. }) => {}
            Err(error) => report_fault(control, error),
        }
        result
    }

    fn take_over_quietly(
        control: &'c LogControl,
        fs: Arc<dyn FileSystem>,
        dir: &Path,
        uuid: [u8; 16],
        process: u32,
        options: LogOptions,
    ) -> Result<Self, WalError> {
        let last_term = Directory::read(fs.as_ref(), dir, uuid)?.last_term();
        let (durable_ts, term) = control.depose(last_term)?;
        // Once deposed, the files may be ahead of what was durable when this take-over began.
        let sealed = seal(control, fs.as_ref(), dir, uuid, durable_ts)
            .map_err(|error| control.check_term(term).err().unwrap_or(error))?;
        let header = SegmentHeader {
            uuid,
            term,
            number: sealed.next_number,
            previous: sealed.last.map_or(0, |last| last.0),
            previous_bytes: sealed.last.map_or(0, |last| last.1.bytes),
            start_ts: sealed.end_ts,
            allocated_bytes: options.segment_bytes.max(FIRST_BATCH),
        };
        let current = begin(control, fs.as_ref(), dir, header)?;
        control.set_office(current.number, process);
        wake_committers(control);
        if let Some(last) = sealed.last {
            mark_continued(fs.as_ref(), dir, &uuid, last, current.number);
        }
        for number in sealed.empty {
            // Outside the chain from now on, whoever may still have it open; kept, it would only take room.
            let _ = fs.remove(&segment_path(dir, number));
        }
        Ok(Self {
            control,
            fs,
            dir: dir.to_path_buf(),
            uuid,
            options,
            term,
            durable_ts,
            written_ts: durable_ts,
            current,
            sync_failures: 0,
            positions: HashMap::default(),
            found: Vec::new(),
            buffer: Vec::new(),
        })
    }

    /// The term of this writer.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// The end of what is written.
    pub fn position(&self) -> Lsn {
        Lsn { segment: self.current.number, offset: self.current.end.bytes }
    }

    /// Writes what has been committed since the last drain as one consistent prefix, and with `sync` makes it durable,
    /// publishes that and wakes who waits. Without `sync` bytes reach the files and survive the process, not power loss.
    ///
    /// # Errors
    /// `Io`: nothing is lost, the next drain tries again; waiting committers see the error number. `ReadOnly`: syncing
    /// failed too often, commits are refused. `Deposed`: this writer must be dropped. `Ring`: shared memory is damaged.
    pub fn drain(&mut self, source: &dyn CommitSource, sync: bool) -> Result<DrainOutcome, WalError> {
        self.control.check_term(self.term)?;
        if self.control.is_read_only() {
            return Err(WalError::ReadOnly);
        }
        let result = self.drain_until_done(source, sync);
        match &result {
            Ok(_) if self.control.fault() == 0 => {}
            Ok(_) => self.control.set_fault(0),
            Err(WalError::Deposed { .. }) => {}
            Err(error) => report_fault(self.control, error),
        }
        result
    }

    fn drain_until_done(&mut self, source: &dyn CommitSource, sync: bool) -> Result<DrainOutcome, WalError> {
        let mut outcome = DrainOutcome::default();
        loop {
            match self.drain_once(source, sync, &mut outcome) {
                Ok(()) => {
                    outcome.durable_ts = self.durable_ts;
                    outcome.written_ts = self.written_ts;
                    return Ok(outcome);
                }
                Err(Trouble::Sync(error)) => self.replace_segment(error)?,
                // What looks like damage to a deposed writer is a ring that has moved on.
                Err(Trouble::Other(error)) => {
                    self.control.check_term(self.term)?;
                    return Err(error);
                }
            }
        }
    }

    fn drain_once(
        &mut self,
        source: &dyn CommitSource,
        sync: bool,
        outcome: &mut DrainOutcome,
    ) -> Result<(), Trouble> {
        // D1: the watermark before the rings.
        let watermark = source.watermark().max(self.written_ts);
        let mut rings = Vec::new();
        source.rings(&mut rings);
        let positions = self.collect(source, &rings, watermark).map_err(WalError::Ring)?;
        self.found.sort();
        self.write_found(source, &rings, watermark, outcome)?;
        self.written_ts = watermark;
        for (ring, position) in positions {
            self.positions.insert(ring, position);
        }
        if self.current.end == self.current.synced {
            // Nothing committed since: all of (durable, watermark] is durable without a write.
            self.publish(watermark)?;
        } else if sync {
            self.sync_and_publish()?;
        }
        Ok(())
    }

    /// Notes the committed entries up to `watermark`, and how far each ring was read.
    fn collect(
        &mut self,
        source: &dyn CommitSource,
        rings: &[Ring<'_>],
        watermark: u64,
    ) -> Result<Vec<(u64, u64)>, RingDamage> {
        self.found.clear();
        let mut positions = Vec::new();
        for (index, ring) in (0_u32..).zip(rings) {
            let tail = ring.tail();
            let begin = self.positions.get(&ring.id()).copied().unwrap_or(0).max(ring.head());
            if begin >= tail {
                continue;
            }
            let mut position = begin;
            while let Some(entry) = ring.next(position, tail)? {
                if entry.c > watermark {
                    break;
                }
                if entry.c > self.written_ts
                    && ring.is_committed(&entry, |word| source.is_committed(word, entry.c))
                {
                    self.found.push(Found { c: entry.c, position: entry.position, ring: index });
                }
                position = entry.end();
            }
            if position != begin {
                positions.push((ring.id(), position));
            }
        }
        Ok(positions)
    }

    /// Writes the entries found as one batch, or as several that end between two timestamps.
    fn write_found(
        &mut self,
        source: &dyn CommitSource,
        rings: &[Ring<'_>],
        watermark: u64,
        outcome: &mut DrainOutcome,
    ) -> Result<(), Trouble> {
        let found = std::mem::take(&mut self.found);
        let result = self.write_batches(source, rings, &found, watermark, outcome);
        self.found = found;
        result
    }

    fn write_batches(
        &mut self,
        source: &dyn CommitSource,
        rings: &[Ring<'_>],
        found: &[Found],
        watermark: u64,
        outcome: &mut DrainOutcome,
    ) -> Result<(), Trouble> {
        self.begin_batch();
        let mut count = 0;
        for (index, one) in found.iter().enumerate() {
            self.put(source, &rings[one.ring as usize], one)?;
            count += 1;
            let next = found.get(index + 1);
            let end_ts = match next {
                Some(next) if next.c == one.c || self.buffer.len() < self.options.batch_bytes_max => continue,
                Some(_) => one.c,
                None => watermark,
            };
            self.write_batch(count, end_ts, outcome)?;
            self.begin_batch();
            count = 0;
        }
        Ok(())
    }

    fn begin_batch(&mut self) {
        self.buffer.clear();
        if self.buffer.capacity() > self.options.batch_bytes_max.saturating_mul(4) {
            self.buffer.shrink_to(self.options.batch_bytes_max);
        }
        self.buffer.resize(BATCH_HEADER_BYTES, 0);
    }

    /// Appends one entry's record to the batch, checked against its producer's checksum.
    #[inline]
    fn put(&mut self, source: &dyn CommitSource, ring: &Ring<'_>, found: &Found) -> Result<(), Trouble> {
        let damaged = |reason| {
            Trouble::Other(WalError::Ring(RingDamage { ring: ring.id(), position: found.position, reason }))
        };
        let entry = ring
            .next(found.position, found.position + ring.capacity())
            .map_err(WalError::Ring)?
            .filter(|entry| entry.position == found.position && entry.c == found.c)
            .ok_or_else(|| damaged("an undurable entry changed"))?;
        let start = self.buffer.len();
        if !frame::put_record(&mut self.buffer, entry.c, entry.checksum, |into| {
            copy(source, ring, &entry, into)
        }) {
            return Err(damaged("an out-of-line entry that points nowhere"));
        }
        let redo = start + frame::RECORD_HEADER_BYTES;
        let redo = &self.buffer[redo..redo + entry.redo_bytes as usize];
        if record_checksum(redo, entry.c) != entry.checksum {
            return Err(damaged("an entry's checksum is wrong"));
        }
        Ok(())
    }

    /// Writes the batch in the buffer, in a new segment if the current one has no room.
    fn write_batch(&mut self, count: u32, end_ts: u64, outcome: &mut DrainOutcome) -> Result<(), Trouble> {
        let bytes = self.buffer.len() as u64;
        if self.current.end.bytes + bytes > self.options.segment_bytes && self.current.end.batches > 0 {
            self.roll()?;
        }
        let current = &mut self.current;
        let payload = &self.buffer[BATCH_HEADER_BYTES..];
        let header = BatchHeader {
            kind: BatchKind::Records,
            number: current.end.batches,
            previous_ts: current.end.ts,
            end_ts,
            synced_bytes: current.synced.bytes,
            payload_bytes: payload.len() as u64,
            record_count: count,
            payload_checksum: crc32c::crc32c_append(current.seed, payload),
        }
        .encode(current.seed);
        self.buffer[..BATCH_HEADER_BYTES].copy_from_slice(&header);
        self.control.check_term(self.term)?;
        current.file.write_at(current.end.bytes, &self.buffer).map_err(io_error("write", &current.path))?;
        current.end.bytes += bytes;
        current.end.batches += 1;
        current.end.ts = end_ts;
        self.written_ts = end_ts;
        self.control.note_batch(u64::from(count), bytes, end_ts);
        outcome.records += u64::from(count);
        outcome.bytes += bytes;
        Ok(())
    }

    /// Syncs the current segment if something in it is not synced, and publishes what is written.
    fn sync_and_publish(&mut self) -> Result<(), Trouble> {
        let current = &mut self.current;
        if current.end != current.synced {
            current.file.sync_data().map_err(io_error("sync", &current.path))?;
            current.synced = current.end;
            self.sync_failures = 0;
            self.control.note_sync();
        }
        self.publish(self.written_ts)?;
        Ok(())
    }

    /// D2. Only called when everything written is synced.
    fn publish(&mut self, durable_ts: u64) -> Result<(), WalError> {
        if durable_ts == self.durable_ts {
            return Ok(());
        }
        self.control.publish(self.term, self.durable_ts, durable_ts)?;
        self.durable_ts = durable_ts;
        self.control.set_published(self.current.number, self.current.synced.bytes);
        wake_committers(self.control);
        Ok(())
    }

    /// Goes on in a new segment, behind the current one (D5).
    fn roll(&mut self) -> Result<(), Trouble> {
        self.sync_and_publish()?;
        self.next_segment()?;
        Ok(())
    }

    /// A new segment behind the synced part of the current one.
    fn next_segment(&mut self) -> Result<(), WalError> {
        let sealed = (self.current.number, self.current.synced);
        let header = SegmentHeader {
            uuid: self.uuid,
            term: self.term,
            number: sealed.0 + 1,
            previous: sealed.0,
            previous_bytes: sealed.1.bytes,
            start_ts: sealed.1.ts,
            allocated_bytes: self.options.segment_bytes.max(FIRST_BATCH),
        };
        self.current = begin(self.control, self.fs.as_ref(), &self.dir, header)?;
        self.control.set_segment(self.current.number);
        mark_continued(self.fs.as_ref(), &self.dir, &self.uuid, sealed, self.current.number);
        Ok(())
    }

    /// D4: gives up the current segment after a failed sync, or the log after too many.
    fn replace_segment(&mut self, mut error: WalError) -> Result<(), WalError> {
        // Best effort: bytes that are in the page cache but not on the disk should not be met again.
        let _ = self.current.file.set_len(self.current.synced.bytes);
        loop {
            self.control.check_term(self.term)?;
            self.sync_failures += 1;
            if self.sync_failures >= SYNC_FAILURES_MAX {
                self.control.set_read_only();
                return Err(error);
            }
            match self.next_segment() {
                Ok(()) => break,
                Err(again @ WalError::Io { operation: "sync", .. }) => error = again,
                Err(other) => return Err(other),
            }
        }
        self.written_ts = self.durable_ts;
        self.positions.clear();
        Ok(())
    }

    /// Makes everything durable and ends the log with a mark, so that a later cut or flip in its last batches cannot
    /// pass for a torn write. The clean end of a database.
    ///
    /// # Errors
    /// As [`LogWriter::drain`].
    pub fn close(mut self, source: &dyn CommitSource) -> Result<(), WalError> {
        self.drain(source, true)?;
        let Current { file, path, seed, end, .. } = &mut self.current;
        mark(file.as_mut(), *seed, *end, BatchKind::Closed, &[]).map_err(io_error("write", path))?;
        file.sync_data().map_err(io_error("sync", path))
    }
}

/// Appends an entry's redo bytes; false when it does not hold as many as it says.
#[inline]
fn copy(source: &dyn CommitSource, ring: &Ring<'_>, entry: &Entry, into: &mut Vec<u8>) -> bool {
    let redo_bytes = entry.redo_bytes as usize;
    let end = into.len() + redo_bytes;
    if entry.inline {
        ring.copy_inline(entry, into);
        return into.len() == end;
    }
    for (offset, length) in ring.pieces(entry) {
        let room = (end - into.len()) as u64;
        if length > room || !source.copy_out(offset, length, into) || into.len() > end {
            return false;
        }
    }
    into.len() == end
}

/// Tells waiting committers why nothing becomes durable; a good drain takes it back.
fn report_fault(control: &LogControl, error: &WalError) {
    control.set_fault(error.os_error().unwrap_or(libc::EIO));
    wake_committers(control);
}

/// Wakes everybody who waits for durability. A deposed writer that gets here wakes them for nothing.
fn wake_committers(control: &LogControl) {
    control.bump_durable_seq();
    sys::wake(control.durable_seq(), u32::MAX);
}

#[cfg(test)]
#[cfg(not(loom))]
mod faults;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;
