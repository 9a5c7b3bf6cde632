//! Room on the disk for a checkpoint (P7).

#![forbid(unsafe_code)]

use super::chunk::Compression;
use super::error::CheckpointError;
use super::files::Places;
use crate::sys::FileSystem;
use crate::txn::LoggedTable;
use crate::wal::io_error;
use std::path::Path;

/// What a checkpoint may take of the disk.
pub(super) struct Room<'a> {
    files: &'a dyn FileSystem,
    dir: &'a Path,
    left_to_log: u64,
}

impl<'a> Room<'a> {
    /// Looks how much is free. The log's next segment takes `segment_bytes`.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn find(places: &Places<'a>, segment_bytes: u64) -> Result<Self, CheckpointError> {
        let mut room = Self { files: places.files, dir: places.checkpoints, left_to_log: 0 };
        room.left_to_log = (room.free_bytes()? / 2).min(segment_bytes);
        Ok(room)
    }

    fn free_bytes(&self) -> Result<u64, CheckpointError> {
        Ok(self.files.free_bytes(self.dir).map_err(io_error("look for room in", self.dir))?)
    }

    /// Is there room for so many bytes more?
    ///
    /// # Errors
    /// `NoRoom`, `Io`.
    pub(super) fn check(&self, bytes: u64) -> Result<(), CheckpointError> {
        let free = self.free_bytes()?;
        if bytes <= free.saturating_sub(self.left_to_log) {
            return Ok(());
        }
        let (dir, left_to_log) = (self.dir.to_path_buf(), self.left_to_log);
        Err(CheckpointError::NoRoom { dir, needed: bytes, free, left_to_log })
    }
}

/// The least that the rows of these tables take: nobody can tell what is left of them when they are compressed.
pub(super) fn least_bytes(tables: &[LoggedTable], compression: Compression) -> u64 {
    let least = |table: &LoggedTable| {
        let row_bytes = table.table.schema().fixed_bytes() as u64;
        table.rows.saturating_mul(row_bytes)
    };
    match compression {
        Compression::None => tables.iter().map(least).fold(0, u64::saturating_add),
        Compression::Zstd => 0,
    }
}
