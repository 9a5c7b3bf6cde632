//! Loading a checkpoint into an empty arena.
//!
//! A checkpoint is read twice: first all of it is compared with its checksums, so that of one that is damaged nothing is loaded and the
//! one before it can be; then its rows are put in place, chunk by chunk, by several sessions.

#![forbid(unsafe_code)]

use super::crew::Crew;
use super::recover::{Recovered, RecoveryProgress, RecoveryStep};
use crate::checkpoint::{
    CheckpointError, Chunk, ChunkEntry, Listed, Manifest, Places, TableEntry, manifest_path, read_manifest,
    rows_of_length, rows_path, take_row,
};
use crate::row::{IndexSpec, Reader, Schema};
use crate::sync::{AtomicU64, Ordering};
use crate::txn::{Session, TableRef};
use crate::wal::io_error;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The tables of a database that is being recovered, by their numbers in the log.
pub(super) type Tables = ByTable<TableRef>;

/// What there is of each table, by their numbers in the log.
pub(super) type ByTable<T> = HashMap<u32, T, foldhash::fast::FixedState>;

/// Rows that are put in place together.
const ROWS_AHEAD: usize = 16;

/// The newest checkpoint that is intact, and why those that are newer are not.
pub(super) fn newest_intact(
    crew: &mut Crew,
    places: &Places<'_>,
    recovered: &mut Recovered,
    tell: &mut dyn FnMut(RecoveryProgress),
) -> Result<Option<Manifest>, CheckpointError> {
    let numbers = Listed::read(places)?.manifests();
    recovered.newest_found = numbers.first().copied().unwrap_or(0);
    for number in numbers {
        let checked = read_manifest(places, number).and_then(|manifest| {
            compare(crew, places, &manifest, tell)?;
            Ok(manifest)
        });
        match checked {
            Ok(manifest) => return Ok(Some(manifest)),
            Err(error) if error.is_damage() => recovered.passed_over.push(error.to_string()),
            // What is of another version or database, or cannot be read now, is not damaged.
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Compares all chunks with their checksums, where there is no arena yet.
pub(crate) fn is_intact(places: &Places<'_>, manifest: &Manifest) -> Result<(), CheckpointError> {
    let path = rows_of_length(places, manifest)?;
    let mut buffer = Vec::new();
    manifest.chunks.iter().try_for_each(|entry| compare_chunk(places, manifest, &path, *entry, &mut buffer))
}

/// The same, by several threads.
fn compare(
    crew: &mut Crew,
    places: &Places<'_>,
    manifest: &Manifest,
    tell: &mut dyn FnMut(RecoveryProgress),
) -> Result<(), CheckpointError> {
    let path = rows_of_length(places, manifest)?;
    let done = AtomicU64::new(0);
    let mut tell = told(tell, RecoveryStep::Check, &done, manifest.rows_bytes);
    crew.each(manifest.chunks.len(), &mut tell, &|_, buffer, index| {
        let entry = manifest.chunks[index];
        compare_chunk(places, manifest, &path, entry, buffer)?;
        done.fetch_add(entry.bytes, Ordering::Relaxed);
        Ok(())
    })
}

fn compare_chunk(
    places: &Places<'_>,
    manifest: &Manifest,
    path: &Path,
    entry: ChunkEntry,
    buffer: &mut Vec<u8>,
) -> Result<(), CheckpointError> {
    read_chunk(places, path, entry, buffer)?;
    chunk_of(buffer, path, entry, places, manifest.number).map(drop)
}

/// Says how far a step is, of `total`.
fn told<'t>(
    tell: &'t mut dyn FnMut(RecoveryProgress),
    step: RecoveryStep,
    done: &'t AtomicU64,
    total: u64,
) -> impl FnMut() + 't {
    move || tell(RecoveryProgress { step, done: done.load(Ordering::Relaxed), total })
}

/// Reads the bytes of a chunk, as many as there are of them.
fn read_chunk(
    places: &Places<'_>,
    path: &Path,
    entry: ChunkEntry,
    buffer: &mut Vec<u8>,
) -> Result<(), CheckpointError> {
    buffer.resize(usize::try_from(entry.bytes).unwrap_or(usize::MAX), 0);
    let file = places.files.open_read(path).map_err(io_error("open", path))?;
    let read = file.read_at(entry.offset, buffer).map_err(io_error("read", path))?;
    buffer.truncate(read);
    Ok(())
}

fn chunk_of<'b>(
    bytes: &'b [u8],
    path: &Path,
    entry: ChunkEntry,
    places: &Places<'_>,
    number: u64,
) -> Result<Chunk<'b>, CheckpointError> {
    let corrupt = |reason| CheckpointError::corrupt(path, entry.offset, reason);
    let chunk = Chunk::decode(bytes, &places.uuid, number).map_err(corrupt)?;
    if chunk.table != entry.table || chunk.rows != entry.rows {
        return Err(corrupt("a chunk that is not the one the manifest names"));
    }
    Ok(chunk)
}

/// Puts tables and rows of a checkpoint in place.
pub(super) fn load(
    session: &mut Session,
    crew: &mut Crew,
    places: &Places<'_>,
    manifest: &Manifest,
    tell: &mut dyn FnMut(RecoveryProgress),
) -> Result<Tables, CheckpointError> {
    let path = manifest_path(places.checkpoints, manifest.number);
    let mut tables = Tables::default();
    for entry in &manifest.tables {
        tables.insert(entry.id, define(session, entry, &path)?);
    }
    let loader = Loader {
        places,
        manifest,
        path: rows_path(places.checkpoints, manifest.number),
        tables: &tables,
        done: AtomicU64::new(0),
    };
    crew.each(
        manifest.chunks.len(),
        &mut told(tell, RecoveryStep::Load, &loader.done, manifest.rows()),
        &|session, buffer, index| loader.chunk(session, buffer, index),
    )?;
    // Each chunk has had as many rows as the manifest says, and their sum is the table's.
    for entry in &manifest.tables {
        session.add_rows(&tables[&entry.id], entry.rows.cast_signed())?;
    }
    Ok(tables)
}

/// Makes a table and the roots of its indexes, which are filled later.
fn define(session: &mut Session, entry: &TableEntry, path: &Path) -> Result<TableRef, CheckpointError> {
    let schema = Schema::from_bytes(&entry.schema)?;
    let table = session.load_table(entry.id, &schema)?;
    session.reserve_keys(&table, entry.rows)?;
    let mut wanted = vec![None; schema.columns().len()];
    for (column, spec) in &entry.indexes {
        let place = wanted.get_mut(usize::from(*column));
        let (Some(place), Some(spec)) = (place, IndexSpec::from_word(*spec)) else {
            return Err(CheckpointError::corrupt(path, 0, "an index that there cannot be"));
        };
        *place = Some(spec);
    }
    for (column, wanted) in wanted.into_iter().enumerate() {
        // Those of the definition are there by now; they may have been dropped, or made anew with other promises.
        if wanted != schema.declared_index(column) {
            session.load_index_definition(&table, column, None)?;
            session.load_index_definition(&table, column, wanted)?;
        }
    }
    Ok(table)
}

struct Loader<'l> {
    places: &'l Places<'l>,
    manifest: &'l Manifest,
    path: PathBuf,
    tables: &'l Tables,
    done: AtomicU64,
}

impl Loader<'_> {
    /// Puts the rows of a chunk in place.
    fn chunk(
        &self,
        session: &mut Session,
        buffer: &mut Vec<u8>,
        index: usize,
    ) -> Result<(), CheckpointError> {
        let entry = self.manifest.chunks[index];
        read_chunk(self.places, &self.path, entry, buffer)?;
        let chunk = chunk_of(buffer, &self.path, entry, self.places, self.manifest.number)?;
        let corrupt = |reason: String| CheckpointError::corrupt(&self.path, entry.offset, reason);
        let mut unpacked = Vec::new();
        let raw = chunk.raw(&mut unpacked).map_err(corrupt)?;
        let table = &self.tables[&entry.table];
        let schema = table.schema();
        let mut reader = Reader::new("chunk", raw);
        let mut rows = 0;
        let mut group = Vec::with_capacity(ROWS_AHEAD);
        while !reader.is_at_end() {
            group.clear();
            while group.len() < ROWS_AHEAD && !reader.is_at_end() {
                let at = reader.at();
                let row = take_row(schema, &mut reader)
                    .map_err(|error| corrupt(format!("the row at byte {at} of it: {error}")))?;
                group.push((row, session.key_hash(row)));
            }
            if let Some(place) = session.load_new_rows(table, self.manifest.commit_ts, &group)? {
                return Err(corrupt(format!("two rows have the key {}", group[place].0.key())));
            }
            rows += group.len();
        }
        if rows as u64 != u64::from(entry.rows) {
            return Err(corrupt(format!("it has {rows} rows, not {}", entry.rows)));
        }
        self.done.fetch_add(rows as u64, Ordering::Relaxed);
        Ok(())
    }
}
