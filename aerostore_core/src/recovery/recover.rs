//! Cold start: the newest checkpoint and the log behind it, put into an empty arena.
//!
//! Rules       B1: the newest checkpoint that is intact is loaded (`load`), then every record of the log with a greater timestamp is
//!             applied (`replay`), then indexes are filled. B2: a checkpoint that is not intact is passed over, and said so: the one before it,
//!             or none, with the log from there on gives the same, if the log reaches back that far; otherwise nothing is opened. B3: the
//!             log must reach as far as it did when any checkpoint was published, be that intact or not (P3 of `checkpoint`).
//!             B4: nothing is written to disk: whoever is killed here leaves the files as they were.

#![forbid(unsafe_code)]

use super::crew::Crew;
use super::load::{self, Tables};
use super::replay::Replay;
use crate::checkpoint::{CheckpointError, Listed, Places, manifest_path, read_manifest};
use crate::recovery::scan_log;
use crate::sync::{AtomicU64, Ordering};
use crate::sys::monotonic_ns;
use crate::txn::{Alone, Session};
use crate::wal::WalError;
use std::fmt::{self, Display, Formatter};

/// Private memory for entries of indexes, of all threads: 8 Mi entries with short keys. A start that takes more than a machine has
/// would fail so each time.
const ENTRY_BYTES_MAX: usize = 256 << 20;

/// What recovery did.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The number of the checkpoint that was loaded, if there was one.
    pub checkpoint: Option<u64>,
    /// Rows loaded from it.
    pub rows_loaded: u64,
    /// Transactions read from the log.
    pub transactions: u64,
    /// Bytes of redo read from the log.
    pub log_bytes: u64,
    /// Segments of the log read.
    pub segments: u64,
    /// Newest commit timestamp.
    pub last_ts: u64,
    /// Where the log ended torn, for people to read.
    pub torn: Option<String>,
    /// Checkpoints that were passed over, being damaged: what is wrong with each.
    pub passed_over: Vec<String>,
    /// The number of the newest checkpoint that was found, intact or not.
    pub newest_found: u64,
    /// Microseconds that took to load the checkpoint.
    pub load_us: u64,
    /// Microseconds that took to replay the log.
    pub replay_us: u64,
    /// Microseconds that took to fill the indexes.
    pub index_us: u64,
}

/// A step of recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryStep {
    /// A checkpoint is compared with its checksums; in bytes.
    Check,
    /// Its rows are put in place; in rows.
    Load,
    /// The log is replayed; in transactions, of an unknown number.
    Replay,
    /// Indexes are filled; in entries.
    Index,
}

/// How far recovery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryProgress {
    /// What it is at.
    pub step: RecoveryStep,
    /// How much of that is done.
    pub done: u64,
    /// How much there is to do; 0 where that is not known.
    pub total: u64,
}

impl Display for RecoveryProgress {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { step, done, total } = *self;
        match step {
            RecoveryStep::Check => {
                write!(f, "cold start: {done} of {total} bytes of the checkpoint compared")
            }
            RecoveryStep::Load => write!(f, "cold start: {done} of {total} rows loaded"),
            RecoveryStep::Replay => write!(f, "cold start: {done} transactions of the log replayed"),
            RecoveryStep::Index => write!(f, "cold start: {done} of {total} entries of indexes added"),
        }
    }
}

/// Recovers a database into the empty arena of `session`, by so many threads, and sets clock and log to go on from there. `tell` is
/// called now and then.
///
/// # Errors
/// What [`CheckpointError`] says of damaged, missing and foreign files; `OutOfSpace`.
pub fn recover(
    session: &mut Session,
    places: &Places<'_>,
    threads: usize,
    tell: &mut dyn FnMut(RecoveryProgress),
) -> Result<Recovered, CheckpointError> {
    let mut crew = Crew::new(session.store(), threads)?;
    let recovered = recover_by(session, &mut crew, places, tell)?;
    crew.close()?;
    Ok(recovered)
}

fn recover_by(
    session: &mut Session,
    crew: &mut Crew,
    places: &Places<'_>,
    tell: &mut dyn FnMut(RecoveryProgress),
) -> Result<Recovered, CheckpointError> {
    let mut recovered = Recovered::default();
    let begun = monotonic_ns();
    let manifest = load::newest_intact(crew, places, &mut recovered, tell)?;
    let mut tables = Tables::default();
    let mut commit_ts = 0;
    if let Some(manifest) = &manifest {
        commit_ts = manifest.commit_ts;
        tables = load::load(session, crew, places, manifest, tell)?;
        recovered.checkpoint = Some(manifest.number);
        recovered.rows_loaded = manifest.rows();
    }
    let loaded = monotonic_ns();
    recovered.load_us = (loaded - begun) / 1000;
    let replayed = replay(session, crew, places, commit_ts, &mut tables, &mut recovered, tell);
    replayed.map_err(|error| match error {
        CheckpointError::Wal(log) if !recovered.passed_over.is_empty() && !log.is_retryable() => {
            CheckpointError::NoneIntact { passed_over: std::mem::take(&mut recovered.passed_over), log }
        }
        error => error,
    })?;
    check_reach(places, &recovered)?;
    // Before indexes are filled: what they are looked at for is seen now.
    session.store().clock().restore(recovered.last_ts);
    let applied = monotonic_ns();
    recovered.replay_us = (applied - loaded) / 1000;
    fill_indexes(session, crew, &tables, tell)?;
    recovered.index_us = (monotonic_ns() - applied) / 1000;
    session.store().log().start_at(recovered.last_ts);
    let checkpoint = recovered.checkpoint.unwrap_or(0);
    session.store().checkpoints().start_at(
        checkpoint,
        recovered.newest_found,
        commit_ts,
        recovered.log_bytes,
        monotonic_ns(),
    );
    Ok(recovered)
}

/// Applies every record of the log with a timestamp above `commit_ts`.
fn replay(
    session: &mut Session,
    crew: &mut Crew,
    places: &Places<'_>,
    commit_ts: u64,
    tables: &mut Tables,
    recovered: &mut Recovered,
    tell: &mut dyn FnMut(RecoveryProgress),
) -> Result<(), CheckpointError> {
    let report = Replay::new(session, tables).run(crew, |replay| {
        let mut records = 0;
        scan_log(places.files, places.log, places.uuid, commit_ts, &mut |commit_ts, redo: &[u8]| {
            records += 1;
            if records % 10_000 == 0 {
                tell(RecoveryProgress { step: RecoveryStep::Replay, done: records, total: 0 });
            }
            replay.record(commit_ts, redo)
        })
    })?;
    if commit_ts > 0 && report.segments == 0 {
        let path = places.log.to_path_buf();
        return Err(WalError::Missing { path, reason: "there is a checkpoint, and no log behind it" }.into());
    }
    recovered.transactions = report.records;
    recovered.log_bytes = report.bytes;
    recovered.segments = report.segments;
    recovered.last_ts = report.last_ts;
    recovered.torn = report.torn.map(|torn| format!("{torn:?}"));
    Ok(())
}

/// B3.
fn check_reach(places: &Places<'_>, recovered: &Recovered) -> Result<(), CheckpointError> {
    for number in Listed::read(places)?.manifests() {
        // One that cannot be read cannot say how far.
        let Ok(manifest) = read_manifest(places, number) else { continue };
        if manifest.log_ts > recovered.last_ts {
            let path = manifest_path(places.checkpoints, number);
            let (needed, found) = (manifest.log_ts, recovered.last_ts);
            return Err(CheckpointError::LogTooShort { manifest: path, needed, found });
        }
    }
    Ok(())
}

/// Fills the indexes of all tables, several at once.
fn fill_indexes(
    session: &Session,
    crew: &mut Crew,
    tables: &Tables,
    tell: &mut dyn FnMut(RecoveryProgress),
) -> Result<(), CheckpointError> {
    let mut indexes = Vec::new();
    for table in tables.values() {
        indexes.extend(session.indexes_to_load(table)?.into_iter().map(|index| (table, index)));
    }
    indexes.sort_unstable_by_key(|(_, index)| *index);
    // Two numbers of one table, of two who raced to make it.
    indexes.dedup_by_key(|(_, index)| *index);
    let bytes_max = ENTRY_BYTES_MAX / crew.sessions().len().min(indexes.len()).max(1);
    let mut total = 0;
    for (table, _) in &indexes {
        total += session.rows_of(table)?;
    }
    let done = AtomicU64::new(0);
    let mut tell =
        || tell(RecoveryProgress { step: RecoveryStep::Index, done: done.load(Ordering::Relaxed), total });
    crew.each(indexes.len(), &mut tell, &|session, _, at| {
        let (table, index) = indexes[at];
        let added = |count| {
            done.fetch_add(count as u64, Ordering::Relaxed);
        };
        Ok(session.load_index(table, index, Alone { bytes_max, added: &added })?)
    })
}
