//! Removing segments that nobody needs any more, or keeping their files for others (`spare`).
//!
//! Rules       X1: what is kept reaches back to a segment that begins at or before the timestamp asked for. X2: it holds a record: a
//!             take-over looks for the end of the durable log from the last segment back to one with a record, so that one stays whatever
//!             else is asked for. X3: what is not kept goes from low numbers to high, those outside the chain included, so whatever
//!             is left after a death is what is to be kept, and some before it. Whoever does this late finds less to remove.

#![forbid(unsafe_code)]

use super::error::WalError;
use super::segment::{Directory, io_error, segment_path};
use super::spare::Spares;
use crate::sys::FileSystem;
use std::io::ErrorKind;
use std::path::Path;

/// Removes segments of which no record has a timestamp above `ts`, or keeps their files to be used again; their count.
///
/// # Errors
/// `Missing` or `Corrupt` when the log does not reach back to `ts`; `Io`.
pub fn remove_superfluous(fs: &dyn FileSystem, dir: &Path, uuid: [u8; 16], ts: u64) -> Result<u64, WalError> {
    let directory = Directory::read(fs, dir, uuid)?;
    let Some(head) = directory.head() else { return Ok(0) };
    let Some(mut first) = directory.chain(ts)?.into_iter().next() else { return Ok(0) }; // X1
    // X2: the log has grown since a segment began that begins earlier than the last.
    while first.header.start_ts == head.start_ts {
        if first.header.previous == 0 {
            return Ok(0);
        }
        first = directory.previous_of(&first.header)?;
    }
    let number = first.header.number;
    let mut spares = Spares::find(fs, dir, directory.count_from(number))?;
    let mut removed = 0;
    for number in directory.numbers_below(number) {
        let path = segment_path(dir, number);
        if directory.allocated_bytes(number).is_some_and(|allocated| spares.take(&path, allocated)) {
            removed += 1;
            continue;
        }
        match fs.remove(&path) {
            Ok(()) => removed += 1,
            // By another process, meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(io_error("remove", &path)(error)),
        }
    }
    if removed > 0 {
        fs.sync_dir(dir).map_err(io_error("sync", dir))?;
    }
    spares.release();
    Ok(removed)
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::sys::MemoryFileSystem;
    use crate::wal::harness::{DIR, TestDatabase, UUID, scan};

    /// Numbers of the segments that are there.
    fn numbers(fs: &MemoryFileSystem) -> Vec<u64> {
        let directory = Directory::read(fs, Path::new(DIR), UUID).unwrap();
        directory.numbers_below(u64::MAX).collect()
    }

    fn remove(fs: &MemoryFileSystem, ts: u64) -> u64 {
        remove_superfluous(fs, Path::new(DIR), UUID, ts).unwrap()
    }

    #[test]
    fn what_is_kept_reaches_back_to_the_timestamp_and_holds_a_record() {
        let (fs, database) = (MemoryFileSystem::default(), TestDatabase::new(1, 4096));
        assert_eq!(remove(&fs, 0), 0, "there is none");
        // Each take-over begins a segment: at 0, 1 and 2.
        for c in [1, 2] {
            let mut writer = database.writer(&fs, 16 << 10);
            assert_eq!(database.commit(0, b"redo"), Some(c));
            writer.drain(&database, true).unwrap();
        }
        drop(database.writer(&fs, 16 << 10));
        assert_eq!(numbers(&fs), [1, 2, 3]);
        assert_eq!(remove(&fs, 0), 0);
        assert_eq!(remove(&fs, 1), 1, "the first ends there");
        assert_eq!(remove(&fs, 2), 0, "the last has no record, the one before it has");
        drop(database.writer(&fs, 16 << 10));
        assert_eq!(numbers(&fs).first(), Some(&2), "a take-over finds the end of the log");
        let mut writer = database.writer(&fs, 16 << 10);
        database.commit(0, b"redo").unwrap();
        writer.drain(&database, true).unwrap();
        drop(writer);
        drop(database.writer(&fs, 16 << 10));
        assert_eq!(remove(&fs, 3), 1);
        assert_eq!(scan(&fs, 2).unwrap().0, [(3, b"redo".to_vec())]);
        drop(database.writer(&fs, 16 << 10));
    }
}
