//! The log writer: takes office, drains the rings, writes batches, syncs, publishes what is durable.
//!
//! Rules       D1: a drain first asks for the watermark w, then looks at the rings: whatever committed with C <= w had
//!             published its entry before. It takes all committed entries with written < C <= w, in order of C.
//!             D2: the durable timestamp moves only after a sync, by one CAS under the writer's own term.
//!             D3: a take-over fixes the durable timestamp D by replacing the term, then finds the end of the batches
//!             with `end_ts` <= D, syncs that segment and names this length in the header of its own new segment.
//!             D4: after a failed sync nothing more is written to that segment: the next one names its last synced
//!             length, and everything above the durable timestamp is taken from the rings again, where it still is. That
//!             holds until there is a next one, however long it takes to find room for it. After three failures in a row
//!             the log is read-only; that the disk is full is none of them, as there will be room again.
//!             D5: a segment is sealed by its own writer only when all of it is published.
//!             When it syncs is another matter: see `policy`.
//! Killed at any point, a writer leaves bytes beyond the published length, a segment without header or batches, or a
//! batch that is published but announced late; its successor's D3 covers all three. Deposed at any point, it finds
//! out in `check_term` or in its CAS; what it wrote lies beyond the length its successor named.
//!
//! Source      the fsync rule: Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020.

#![forbid(unsafe_code)]

use super::control::LogControl;
use super::error::WalError;
use super::figures::OfficeStats;
use super::frame::{self, BATCH_HEADER_BYTES, BatchHeader, BatchKind, FIRST_BATCH, SegmentHeader};
use super::lsn::Lsn;
use super::policy::{Clean, SyncPolicy, Unsynced};
use super::ring::{Entry, Ring, RingDamage, record_checksum};
use super::segment::{Directory, io_error, segment_path};
use super::source::CommitSource;
use super::takeover::{Current, Last, begin, mark, mark_continued, seal};
use crate::sys::{self, FileSystem};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Files in a row whose sync may fail before the log refuses commits.
const SYNC_FAILURES_MAX: u32 = 3;

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
    /// After which time at most the next drain must come, because something is written and not synced.
    pub sync_in: Option<Duration>,
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
    /// Syncing the current segment has failed: nothing more is written there (D4).
    is_spoiled: bool,
    /// Records in the current segment that are not synced.
    unsynced_records: u64,
    clean: Clean,
    /// What this writer has done.
    office: OfficeStats,
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
            previous: sealed.last.as_ref().map_or(0, |last| last.number),
            previous_bytes: sealed.last.as_ref().map_or(0, |last| last.end.bytes),
            start_ts: sealed.end_ts,
            allocated_bytes: options.segment_bytes.max(FIRST_BATCH),
            is_reused: false,
        };
        let current = begin(control, fs.as_ref(), dir, header)?;
        let office = control.set_office(term, current.number, process, sys::monotonic_ns());
        wake_committers(control);
        if let Some(last) = sealed.last {
            mark_continued(last, current.number);
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
            is_spoiled: false,
            unsynced_records: 0,
            clean: Clean::default(),
            office,
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
    /// As [`LogWriter::drain_by`].
    pub fn drain(&mut self, source: &dyn CommitSource, sync: bool) -> Result<DrainOutcome, WalError> {
        self.drain_by(source, if sync { &SyncPolicy::EVERY_BATCH } else { &SyncPolicy::ON_DEMAND })
    }

    /// Writes what has been committed since the last drain as one consistent prefix. When the policy says so it makes it
    /// durable with all that is written, publishes that and wakes who waits; what is only written survives the process, not
    /// power loss.
    ///
    /// # Errors
    /// `Io`: nothing is lost, the next drain tries again; waiting committers see the error number. `ReadOnly`: syncing
    /// failed too often, commits are refused. `Deposed`: this writer must be dropped. `Ring`: shared memory is damaged.
    pub fn drain_by(
        &mut self,
        source: &dyn CommitSource,
        policy: &SyncPolicy,
    ) -> Result<DrainOutcome, WalError> {
        self.control.check_term(self.term)?;
        if self.control.is_read_only() {
            return Err(WalError::ReadOnly);
        }
        let result = self.drain_until_done(source, policy);
        match &result {
            Ok(_) if self.control.fault() == 0 => {}
            Ok(_) => self.control.set_fault(0),
            Err(WalError::Deposed { .. }) => {}
            Err(error) => report_fault(self.control, error),
        }
        result
    }

    fn drain_until_done(
        &mut self,
        source: &dyn CommitSource,
        policy: &SyncPolicy,
    ) -> Result<DrainOutcome, WalError> {
        let mut outcome = DrainOutcome::default();
        // Y4: before the watermark.
        let hurry = self.control.take_hurry();
        loop {
            if self.is_spoiled {
                self.replace_segment()?;
            }
            match self.drain_once(source, policy, hurry, &mut outcome) {
                Ok(()) => {
                    outcome.durable_ts = self.durable_ts;
                    outcome.written_ts = self.written_ts;
                    return Ok(outcome);
                }
                Err(Trouble::Sync(error)) => {
                    self.is_spoiled = true;
                    self.note_failed_sync(error)?;
                }
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
        policy: &SyncPolicy,
        hurry: bool,
        outcome: &mut DrainOutcome,
    ) -> Result<(), Trouble> {
        let begun_ns = sys::monotonic_ns();
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
        } else if hurry || self.clean.is_due(policy, self.unsynced(), begun_ns) {
            self.sync_and_publish()?;
        } else {
            outcome.sync_in = Some(self.clean.left(policy, begun_ns)); // Y3
            return Ok(());
        }
        self.clean.note(begun_ns); // Y2
        Ok(())
    }

    fn unsynced(&self) -> Unsynced {
        let Current { end, synced, .. } = &self.current;
        Unsynced { records: self.unsynced_records, bytes: end.bytes - synced.bytes }
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
        self.buffer.resize(self.buffer.len() + current.zeros_behind(bytes), 0);
        self.control.check_term(self.term)?;
        current.file.write_at(current.end.bytes, &self.buffer).map_err(io_error("write", &current.path))?;
        current.end.bytes += bytes;
        current.end.batches += 1;
        current.end.ts = end_ts;
        self.written_ts = end_ts;
        self.unsynced_records += u64::from(count);
        self.control.note_batch(&mut self.office, u64::from(count), bytes, end_ts);
        outcome.records += u64::from(count);
        outcome.bytes += bytes;
        Ok(())
    }

    /// Syncs the current segment if something in it is not synced, and publishes what is written.
    fn sync_and_publish(&mut self) -> Result<(), Trouble> {
        let current = &mut self.current;
        if current.end != current.synced {
            let begun_ns = sys::monotonic_ns();
            current.file.sync_data().map_err(io_error("sync", &current.path))?;
            let took_ns = sys::monotonic_ns().saturating_sub(begun_ns);
            current.synced = current.end;
            self.unsynced_records = 0;
            self.sync_failures = 0;
            self.control.note_sync(&mut self.office, took_ns);
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
        self.control.note_logged(self.current.synced.ts);
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
        let (number, synced) = (self.current.number, self.current.synced);
        let header = SegmentHeader {
            uuid: self.uuid,
            term: self.term,
            number: number + 1,
            previous: number,
            previous_bytes: synced.bytes,
            start_ts: synced.ts,
            allocated_bytes: self.options.segment_bytes.max(FIRST_BATCH),
            is_reused: false,
        };
        let next = begin(self.control, self.fs.as_ref(), &self.dir, header)?;
        let Current { file, number, seed, .. } = std::mem::replace(&mut self.current, next);
        self.unsynced_records = 0;
        self.control.set_segment(self.current.number);
        mark_continued(Last { file, number, seed, end: synced }, self.current.number);
        Ok(())
    }

    /// D4: counts a failed sync; the error, when it is not to be tried again at once.
    fn note_failed_sync(&mut self, error: WalError) -> Result<(), WalError> {
        if error.is_disk_full() {
            return Err(error);
        }
        self.sync_failures += 1;
        if self.sync_failures < SYNC_FAILURES_MAX {
            return Ok(());
        }
        self.control.set_read_only();
        Err(error)
    }

    /// D4: goes on in a new segment, with what is not durable.
    fn replace_segment(&mut self) -> Result<(), WalError> {
        // Best effort: bytes that are in the page cache but not on the disk should not be met again.
        let _ = self.current.file.set_len(self.current.synced.bytes);
        loop {
            self.control.check_term(self.term)?;
            match self.next_segment() {
                Ok(()) => break,
                Err(again @ WalError::Io { operation: "sync", .. }) => self.note_failed_sync(again)?,
                Err(other) => return Err(other),
            }
        }
        self.is_spoiled = false;
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
    control.announce_news(|word| sys::wake(word, u32::MAX));
}

#[cfg(test)]
#[cfg(not(loom))]
mod creations;
#[cfg(test)]
#[cfg(not(loom))]
mod faults;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;
