//! How to open a database.

#![forbid(unsafe_code)]

use crate::db::{Database, Error};
use std::path::{Path, PathBuf};

/// Bytes of a session's log ring unless said otherwise.
const RING_BYTES: u64 = 1 << 20;

/// Options for opening a database; see [`Database::builder`].
#[derive(Clone, Debug)]
pub struct DatabaseBuilder {
    pub(super) dir: PathBuf,
    pub(super) shm_path: Option<PathBuf>,
    pub(super) max_bytes: Option<u64>,
    pub(super) read_only: bool,
    pub(super) synchronous_commit: bool,
    pub(super) ring_bytes: u64,
    pub(super) segment_bytes: Option<u64>,
}

impl DatabaseBuilder {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            shm_path: None,
            max_bytes: None,
            read_only: false,
            synchronous_commit: true,
            ring_bytes: RING_BYTES,
            segment_bytes: None,
        }
    }

    /// The mapping's file, on a tmpfs; default `$AEROSTORE_SHM_PATH`, else `/dev/shm/aerostore.mmap`.
    #[must_use]
    pub fn shm_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.shm_path = Some(path.into());
        self
    }

    /// Bytes the mapping may grow to, for the process that makes it; default half of its file system.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Refuse every write through this handle.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Whether commits wait until the log is on disk, unless a transaction says otherwise; default true.
    #[must_use]
    pub fn synchronous_commit(mut self, wait: bool) -> Self {
        self.synchronous_commit = wait;
        self
    }

    /// Bytes of each session's log ring; a power of two.
    #[must_use]
    pub fn ring_bytes(mut self, bytes: u64) -> Self {
        self.ring_bytes = bytes;
        self
    }

    /// Bytes of a log segment, preallocated.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = Some(bytes);
        self
    }

    /// Opens the database: attaches to its mapping, or makes one and recovers what the log holds.
    ///
    /// # Errors
    /// `Mismatch` when mapping and data directory are not of one database, or the mapping is of another version or user;
    /// `Corrupt` for a damaged mapping or log; `Busy`, `Space`, `Io`.
    pub fn open(self) -> Result<Database, Error> {
        super::open::open(&self)
    }
}
