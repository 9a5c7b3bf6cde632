//! For tests of the log: sessions with rings on the heap, and transactions that are what a test says they are.

use super::{
    CommitSource, EntryBody, LogControl, LogOptions, LogWriter, Ring, RingHeader, WalError, record_checksum,
};
use crate::recovery::{LogReport, scan_log};
use crate::sync::{AtomicU64, Ordering};
use crate::sys::FileSystem;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

pub(crate) const UUID: [u8; 16] = *b"a test database!";
pub(crate) const DIR: &str = "/log";

/// C and redo bytes of the records of a log.
pub(crate) type Records = Vec<(u64, Vec<u8>)>;

#[derive(Debug)]
struct Session {
    header: RingHeader,
    words: Vec<AtomicU64>,
}

/// The shared memory of a database, as far as the log sees it.
#[derive(Debug)]
pub(crate) struct TestDatabase {
    pub(crate) control: LogControl,
    sessions: Vec<Session>,
    clock: AtomicU64,
    /// C to what became of it; `None` while undecided.
    fates: Mutex<BTreeMap<u64, Option<bool>>>,
    /// Memory for entries out of line.
    memory: Mutex<Vec<u8>>,
}

impl TestDatabase {
    pub(crate) fn new(sessions: usize, ring_bytes: usize) -> Self {
        let control = LogControl::default();
        let sessions = (0..sessions)
            .map(|_| {
                let words = (0..ring_bytes / 8).map(|_| AtomicU64::new(0)).collect();
                let session = Session { header: RingHeader::default(), words };
                Ring::new(&session.header, &session.words).prepare(control.next_ring_id());
                session
            })
            .collect();
        Self {
            control,
            sessions,
            clock: AtomicU64::new(0),
            fates: Mutex::default(),
            memory: Mutex::default(),
        }
    }

    /// As after a cold start at `last_ts`.
    pub(crate) fn restarted(sessions: usize, ring_bytes: usize, last_ts: u64) -> Self {
        let database = Self::new(sessions, ring_bytes);
        database.control.start_at(last_ts);
        database.clock.store(last_ts, Ordering::Release);
        database
    }

    pub(crate) fn ring(&self, session: usize) -> Ring<'_> {
        Ring::new(&self.sessions[session].header, &self.sessions[session].words)
    }

    /// Publishes an entry of an undecided transaction; its C, or `None` while the ring is full.
    pub(crate) fn prepare(&self, session: usize, redo: &[u8]) -> Option<u64> {
        let ring = self.ring(session);
        let staged = ring.stage(EntryBody::Inline(redo), self.control.durable_ts()).ok()?;
        let mut fates = self.fates.lock().unwrap();
        let c = self.clock.fetch_add(1, Ordering::AcqRel) + 1;
        fates.insert(c, None);
        drop(fates);
        ring.publish(staged, c + 1000, c, record_checksum(redo, c));
        Some(c)
    }

    pub(crate) fn decide(&self, c: u64, committed: bool) {
        self.fates.lock().unwrap().insert(c, Some(committed));
    }

    pub(crate) fn commit(&self, session: usize, redo: &[u8]) -> Option<u64> {
        let c = self.prepare(session, redo)?;
        self.decide(c, true);
        Some(c)
    }

    /// Commits redo that lies in memory out of line, in two pieces.
    pub(crate) fn commit_out_of_line(&self, session: usize, redo: &[u8]) -> u64 {
        let mut memory = self.memory.lock().unwrap();
        let start = memory.len() as u64;
        memory.extend_from_slice(redo);
        drop(memory);
        let half = redo.len() as u64 / 2;
        let pieces = [(start, half), (start + half, redo.len() as u64 - half)];
        let body = EntryBody::OutOfLine { pieces: &pieces };
        let ring = self.ring(session);
        let staged = ring.stage(body, self.control.durable_ts()).unwrap();
        let c = self.clock.fetch_add(1, Ordering::AcqRel) + 1;
        ring.publish(staged, c + 1000, c, record_checksum(redo, c));
        self.decide(c, true);
        c
    }

    pub(crate) fn writer(
        &self,
        fs: &(impl FileSystem + Clone + 'static),
        segment_bytes: u64,
    ) -> LogWriter<'_> {
        self.try_writer(fs, segment_bytes).unwrap()
    }

    pub(crate) fn try_writer(
        &self,
        fs: &(impl FileSystem + Clone + 'static),
        segment_bytes: u64,
    ) -> Result<LogWriter<'_>, WalError> {
        let options = LogOptions { segment_bytes, batch_bytes_max: 1024 };
        LogWriter::take_over(&self.control, Arc::new(fs.clone()), Path::new(DIR), UUID, 1, options)
    }
}

impl CommitSource for TestDatabase {
    fn watermark(&self) -> u64 {
        let fates = self.fates.lock().unwrap();
        let undecided = fates.iter().find(|fate| fate.1.is_none());
        undecided.map_or_else(|| self.clock.load(Ordering::Acquire), |fate| fate.0 - 1)
    }

    fn rings<'a>(&'a self, into: &mut Vec<Ring<'a>>) {
        into.extend((0..self.sessions.len()).map(|session| self.ring(session)));
    }

    fn is_committed(&self, record: &AtomicU64, c: u64) -> bool {
        record.load(Ordering::Relaxed) == c + 1000 && self.fates.lock().unwrap().get(&c) == Some(&Some(true))
    }

    fn copy_out(&self, offset: u64, length: u64, into: &mut Vec<u8>) -> bool {
        let memory = self.memory.lock().unwrap();
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
        memory.get(start..end).map(|bytes| into.extend_from_slice(bytes)).is_some()
    }
}

/// Scans the log of a test.
pub(crate) fn scan(fs: &dyn FileSystem, from_ts: u64) -> Result<(Records, LogReport), WalError> {
    let mut records = Vec::new();
    let report = scan_log(fs, Path::new(DIR), UUID, from_ts, |c, redo| -> Result<(), WalError> {
        records.push((c, redo.to_vec()));
        Ok(())
    })?;
    assert_eq!(records.len() as u64, report.records);
    Ok((records, report))
}

/// Repeatable random numbers (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
