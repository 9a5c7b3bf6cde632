//! Taking a checkpoint, while others commit.

#![forbid(unsafe_code)]

use super::chunk::{ChunkBuilder, Compression};
use super::error::CheckpointError;
use super::files::{self, Places, Unpublished, rows_path};
use super::manifest::{ChunkEntry, Manifest, TableEntry};
use super::pace::Pace;
use super::room::{Room, least_bytes};
use super::unsure;
use crate::row::RowView;
use crate::sys::{LogFile, monotonic_ns, unix_seconds};
use crate::txn::{self, Isolation, LoggedTable, Session, Store, Transaction, TxnError, TxnOptions};
use crate::wal::{io_error, remove_superfluous};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of rows after which a chunk is written. Smaller ones are shared out more evenly among those who load them; larger ones
/// cost fewer calls.
const CHUNK_BYTES: usize = 1 << 20;
/// Bytes of rows after which a chunk is written though others wait for what is held back meanwhile: rows can be large.
const CHUNK_BYTES_MAX: usize = 16 << 20;
/// Bytes after which the file is synced, and that are reserved of the disk ahead, at most: no call takes long then.
const SYNC_BYTES: u64 = 64 << 20;
/// How long to wait for somebody who is about to log that there is an index, or none, or a table no more, or one with more columns, before the log is read for it.
const UNSURE_PATIENCE_NS: u64 = 50_000_000;
const UNSURE_PAUSE: Duration = Duration::from_millis(1);
/// How long the log may take to become durable without any progress.
const LOG_PATIENCE_NS: u64 = 30_000_000_000;
const LOG_PAUSE: Duration = Duration::from_millis(200);

/// How to take a checkpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckpointOptions {
    /// How rows are stored.
    pub compression: Compression,
    /// Whether nobody waits for it, so that it leaves the processors to others most of the time (P6).
    pub rests: bool,
    /// What the next segment of the log takes of the disk (P7).
    pub segment_bytes: u64,
}

/// How far a checkpoint is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckpointProgress {
    /// Rows written so far.
    pub rows: u64,
    /// Rows there are, about.
    pub rows_expected: u64,
    /// Bytes written so far.
    pub bytes: u64,
}

/// A checkpoint that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its number.
    pub number: u64,
    /// It holds the commits up to this timestamp.
    pub commit_ts: u64,
    /// Its rows.
    pub rows: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// Microseconds it took.
    pub elapsed_us: u64,
    /// Segments of the log that were removed, or whose files were kept to be used again, being superfluous.
    pub segments_removed: u64,
    /// Why not all that is superfluous could be removed; the next one tries again.
    pub left_behind: Option<String>,
}

/// Asked now and then whether to go on.
pub(crate) type Watch<'w> = dyn FnMut(CheckpointProgress) -> Result<(), CheckpointError> + 'w;

/// Takes a checkpoint of all tables. `watch` is asked before every chunk, and while something is waited for.
///
/// # Errors
/// What `watch` says; `Txn` for a snapshot that was revoked, or a log that does not become durable; `Io`. Nothing is left behind of a checkpoint that was not published, unless it is not known whether it was: then it counts if it is
/// found.
pub fn take(
    session: Box<Session>,
    places: &Places<'_>,
    options: CheckpointOptions,
    watch: &mut Watch<'_>,
) -> (Option<Box<Session>>, Result<Taken, CheckpointError>) {
    let begun_ns = monotonic_ns();
    let store = Arc::clone(session.store());
    let (number, file) = match files::begin(places) {
        Ok(begun) => begun,
        Err(error) => return (Some(session), Err(error)),
    };
    let transaction = TxnOptions { isolation: Isolation::Snapshot, read_only: true, ..TxnOptions::default() };
    let mut txn = Transaction::begin(session, transaction);
    let written = write_rows(&mut txn, places, number, file, options, watch);
    // Nothing is held back for the sake of the rest.
    store.checkpoints().set_snapshot(None);
    let session = txn.into_session();
    let published = written.map_err(Unpublished::Not).and_then(|rows| publish(&store, places, rows, watch));
    let (manifest, manifest_bytes) = match published {
        Ok(published) => published,
        Err(Unpublished::Perhaps(error)) => return (session, Err(error)),
        Err(Unpublished::Not(error)) => {
            files::give_up(places, number);
            return (session, Err(error));
        }
    };
    let removed = remove_old(&store, places);
    let taken = Taken {
        number,
        commit_ts: manifest.commit_ts,
        rows: manifest.rows(),
        bytes: manifest.rows_bytes + manifest_bytes,
        elapsed_us: (monotonic_ns() - begun_ns) / 1000,
        segments_removed: *removed.as_ref().unwrap_or(&0),
        left_behind: removed.err().map(|error| error.to_string()),
    };
    (session, Ok(taken))
}

/// Writes all rows of the transaction's snapshot.
fn write_rows(
    txn: &mut Transaction,
    places: &Places<'_>,
    number: u64,
    file: Box<dyn LogFile>,
    options: CheckpointOptions,
    watch: &mut Watch<'_>,
) -> Result<WrittenRows, CheckpointError> {
    let commit_ts = txn.read_ts()?; // P1
    txn.store()?.checkpoints().set_snapshot(Some(commit_ts));
    let (mut tables, read_ts) = logged_tables(txn, watch)?; // P2
    let commit_ts = txn.read_ts()?; // that of what was found
    txn.store()?.checkpoints().set_snapshot(Some(commit_ts));
    if !tables.iter().all(LoggedTable::is_sure) {
        wait_for_log(txn.store()?, commit_ts, CheckpointProgress::default(), watch)?;
        unsure::settle(places, &mut tables, commit_ts, txn.store()?.log())?; // P8
    }
    let room = Room::find(places, options.segment_bytes)?;
    room.check(least_bytes(&tables, options.compression))?;
    let rows_expected = tables.iter().map(|table| table.rows).fold(0, u64::saturating_add);
    let mut writer = RowsWriter {
        builder: ChunkBuilder::new(&places.uuid, number, options.compression),
        file: RowsFile {
            file,
            path: rows_path(places.checkpoints, number),
            room,
            end: 0,
            reserved: 0,
            reserves: true,
            synced: 0,
        },
        chunks: Vec::new(),
        progress: CheckpointProgress { rows_expected, ..CheckpointProgress::default() },
        pace: Pace::new(options.rests),
        watch,
    };
    let mut entries = Vec::with_capacity(tables.len());
    for LoggedTable { table, indexes, .. } in tables {
        let rows = writer.table(txn, &table)?;
        let schema = table.schema().to_bytes();
        entries.push(TableEntry { id: table.id(), schema, rows, indexes });
    }
    let RowsWriter { file: RowsFile { mut file, path, end, .. }, chunks, progress, .. } = writer;
    if file.len().map_err(io_error("look at", &path))? > end {
        file.set_len(end).map_err(io_error("cut", &path))?; // P9
    }
    let manifest = Manifest {
        uuid: places.uuid,
        number,
        commit_ts,
        log_ts: 0,
        taken_at: unix_seconds(),
        rows_bytes: end,
        tables: entries,
        chunks,
    };
    Ok(WrittenRows { file, path, manifest, read_ts, progress })
}

/// Rows that are written, and not synced.
struct WrittenRows {
    file: Box<dyn LogFile>,
    path: PathBuf,
    /// All but L.
    manifest: Manifest,
    /// Drawn after tables and indexes were read.
    read_ts: u64,
    progress: CheckpointProgress,
}

/// Makes a checkpoint count whose rows are written; its manifest, and that one's bytes.
fn publish(
    store: &Store,
    places: &Places<'_>,
    rows: WrittenRows,
    watch: &mut Watch<'_>,
) -> Result<(Manifest, u64), Unpublished> {
    let WrittenRows { mut file, path, mut manifest, read_ts, progress } = rows;
    file.sync_data().map_err(io_error("sync", &path))?;
    wait_for_log(store, read_ts, progress, watch)?;
    // What was drawn as a timestamp need not be that of a record: the files can show no more than this, and no record lies above it (P3).
    manifest.log_ts = read_ts.min(store.log().logged_ts());
    watch(progress)?;
    let bytes = files::publish(places, &manifest)?;
    Ok((manifest, bytes))
}

/// The tables that the log defines up to the snapshot, and their columns and indexes, but for what is unsure for long.
fn logged_tables(
    txn: &mut Transaction,
    watch: &mut Watch<'_>,
) -> Result<(Vec<LoggedTable>, u64), CheckpointError> {
    let begun_ns = monotonic_ns();
    loop {
        let found = txn.logged_tables()?;
        if found.0.iter().all(LoggedTable::is_sure) || monotonic_ns() - begun_ns > UNSURE_PATIENCE_NS {
            return Ok(found);
        }
        watch(CheckpointProgress::default())?;
        std::thread::sleep(UNSURE_PAUSE);
    }
}

/// Does somebody wait for the end: a write for room, or one who wants a checkpoint himself?
fn is_awaited(store: &Store) -> bool {
    store.garbage().is_pressed() || store.checkpoints().is_awaited(monotonic_ns())
}

/// Waits until the log is durable up to `ts` (P3).
fn wait_for_log(
    store: &Store,
    ts: u64,
    progress: CheckpointProgress,
    watch: &mut Watch<'_>,
) -> Result<(), CheckpointError> {
    let mut durable_ts = store.log().durable_ts();
    let mut moved_ns = monotonic_ns();
    loop {
        match txn::flush(store, ts, LOG_PAUSE) {
            Ok(()) => return Ok(()),
            Err(TxnError::LogStuck) if monotonic_ns() - moved_ns < LOG_PATIENCE_NS => {}
            Err(error) => return Err(error.into()),
        }
        if store.log().durable_ts() != durable_ts {
            durable_ts = store.log().durable_ts();
            moved_ns = monotonic_ns();
        }
        watch(progress)?;
    }
}

/// P5; the count of segments removed.
fn remove_old(store: &Store, places: &Places<'_>) -> Result<u64, CheckpointError> {
    let is_damaged = |number| store.checkpoints().is_damaged(number);
    let Some(older) = files::older_of_two(places, is_damaged)? else { return Ok(0) };
    files::remove_before(places, older.number)?;
    Ok(remove_superfluous(places.files, places.log, places.uuid, older.commit_ts)?)
}

/// The file of rows.
struct RowsFile<'w> {
    file: Box<dyn LogFile>,
    path: PathBuf,
    room: Room<'w>,
    end: u64,
    /// How much of the disk it has, if that is more (P9).
    reserved: u64,
    /// Whether to reserve more.
    reserves: bool,
    /// How much of it is synced.
    synced: u64,
}

impl RowsFile<'_> {
    /// Writes a chunk at the end, with which the checkpoint has come so far.
    fn append(&mut self, chunk: &[u8], progress: CheckpointProgress) -> Result<(), CheckpointError> {
        let end = self.end + chunk.len() as u64;
        if end > self.reserved {
            self.room.check(end - self.secured())?;
            self.reserve(progress)?;
        }
        self.file.write_at(self.end, chunk).map_err(io_error("write", &self.path))?;
        self.end = end;
        Ok(())
    }

    /// How long it is, written or reserved.
    fn secured(&self) -> u64 {
        self.end.max(self.reserved)
    }

    /// Reserves room for what is to come after this, if it is worth it and there is some. Only a help: where it fails, so does the write, or
    /// it finds room as it goes.
    fn reserve(&mut self, progress: CheckpointProgress) -> Result<(), CheckpointError> {
        let Some(length) = worth_reserving(progress).filter(|_| self.reserves) else { return Ok(()) };
        if self.room.check(length - self.secured()).is_err() {
            return Ok(());
        }
        self.reserves = matches!(self.file.preallocate(length), Ok(true));
        if self.reserves {
            self.reserved = length;
            return Ok(());
        }
        // One that fails half way leaves the file with what it has got.
        self.file.set_len(self.secured()).map_err(io_error("cut", &self.path))?;
        Ok(())
    }

    /// Syncs it when much was written since it was synced.
    fn sync_some(&mut self) -> Result<(), CheckpointError> {
        if self.end - self.synced >= SYNC_BYTES {
            self.file.sync_data().map_err(io_error("sync", &self.path))?;
            self.synced = self.end;
        }
        Ok(())
    }
}

/// The rows on their way to the disk.
struct RowsWriter<'w, 'f> {
    builder: ChunkBuilder,
    file: RowsFile<'w>,
    chunks: Vec<ChunkEntry>,
    progress: CheckpointProgress,
    pace: Pace,
    watch: &'w mut Watch<'f>,
}

impl RowsWriter<'_, '_> {
    /// Writes the rows of a table; their count.
    fn table(&mut self, txn: &mut Transaction, table: &txn::TableRef) -> Result<u64, CheckpointError> {
        let before = self.progress.rows;
        self.builder.begin(table.id());
        let (pass, session) = txn.pass(table, None)?;
        for part in 0..pass.parts() {
            let mut outcome = Ok(());
            // Within this, what others have retired is held back.
            let shown = pass.show(session, part, &mut |rows| {
                outcome = self.rows(table.id(), rows);
                if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(0) }
            });
            outcome?;
            let _ = shown?;
            if self.builder.len() >= CHUNK_BYTES {
                self.end_chunk(table.id())?;
                // Out of the guard that `show` has had.
                self.pace.rest(|| is_awaited(session.store()));
            }
        }
        pass.end()?;
        self.end_chunk(table.id())?;
        self.pace.rest(|| is_awaited(session.store()));
        Ok(self.progress.rows - before)
    }

    fn rows(&mut self, table: u32, rows: &[RowView<'_>]) -> Result<(), CheckpointError> {
        for row in rows {
            self.builder.push(*row);
            if self.builder.len() >= CHUNK_BYTES_MAX {
                self.end_chunk(table)?;
            }
        }
        Ok(())
    }

    /// Writes the chunk begun, if there is a row in it, and begins the next.
    fn end_chunk(&mut self, table: u32) -> Result<(), CheckpointError> {
        (self.watch)(self.progress)?;
        let rows = self.builder.rows();
        if rows > 0 {
            let chunk = self.builder.finish().map_err(io_error("compress", &self.file.path))?;
            let (offset, bytes) = (self.file.end, chunk.len() as u64);
            let progress = CheckpointProgress {
                rows: self.progress.rows + u64::from(rows),
                bytes: offset + bytes,
                ..self.progress
            };
            self.file.append(chunk, progress)?;
            self.chunks.push(ChunkEntry { table, rows, offset, bytes });
            self.progress = progress;
        }
        self.file.sync_some()?;
        self.builder.begin(table);
        Ok(())
    }
}

/// How long to make the file at once for what is still to come, when it would be as far as that says: if there is more to come than
/// what it says, as far as can be told by what rows have taken so far (P9).
fn worth_reserving(progress: CheckpointProgress) -> Option<u64> {
    let CheckpointProgress { rows, rows_expected, bytes } = progress;
    let to_come =
        u128::from(rows_expected.saturating_sub(rows)) * u128::from(bytes) / u128::from(rows.max(1));
    let ahead = u64::try_from(to_come).unwrap_or(u64::MAX).min(SYNC_BYTES);
    (ahead > 0).then(|| bytes + ahead)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_is_reserved_as_rows_have_taken_so_far() {
        let at =
            |rows, rows_expected, bytes| worth_reserving(CheckpointProgress { rows, rows_expected, bytes });
        assert_eq!(at(10, 100, 650), Some(6_500));
        assert_eq!(at(100, 100, 6_500), None, "nothing is to come");
        assert_eq!(at(120, 100, 7_800), None, "there are more rows than were expected");
        assert_eq!(at(1, u64::MAX, 1 << 40), Some((1 << 40) + SYNC_BYTES), "not all at once");
    }
}
