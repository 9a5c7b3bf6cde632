//! How to open a database.

#![forbid(unsafe_code)]

use crate::db::{Database, Error};
use crate::recovery::RecoveryProgress;
use crate::sys::{FileSystem, OsFileSystem};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of a session's log ring unless said otherwise.
const RING_BYTES: u64 = 1 << 20;

/// Whom to tell how far recovery is.
#[derive(Clone)]
pub(super) struct OnRecovery(Arc<dyn Fn(RecoveryProgress) + Send + Sync>);

impl OnRecovery {
    pub(super) fn tell(&self, progress: RecoveryProgress) {
        (self.0)(progress);
    }
}

impl std::fmt::Debug for OnRecovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnRecovery")
    }
}

/// Options for opening a database; see [`Database::builder`].
///
/// ```
/// use aerostore_core::db::Database;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("aerostore-example-builder-{}", std::process::id());
/// # let (dir, shm) = (std::env::temp_dir().join(&name), std::path::Path::new("/dev/shm").join(name));
/// let database = Database::builder(&dir)
///     .shm_path(&shm) // on a tmpfs
///     .max_bytes(64 << 20) // how far a new mapping may grow
///     .synchronous_commit(false) // commits do not wait for the disk
///     .open()?;
/// assert_eq!(database.get_config("synchronous_commit")?, "off");
/// # database.close()?;
/// # std::fs::remove_dir_all(&dir)?;
/// # std::fs::remove_file(&shm)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct DatabaseBuilder {
    pub(super) dir: PathBuf,
    pub(super) shm_path: Option<PathBuf>,
    pub(super) max_bytes: Option<u64>,
    pub(super) read_only: bool,
    pub(super) salvage: bool,
    pub(super) synchronous_commit: bool,
    pub(super) ring_bytes: u64,
    pub(super) segment_bytes: Option<u64>,
    pub(super) on_recovery: Option<OnRecovery>,
    /// Where the log and the checkpoints are.
    pub(super) files: Arc<dyn FileSystem>,
}

impl DatabaseBuilder {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            shm_path: None,
            max_bytes: None,
            read_only: false,
            salvage: false,
            synchronous_commit: true,
            ring_bytes: RING_BYTES,
            segment_bytes: None,
            on_recovery: None,
            files: Arc::new(OsFileSystem),
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

    /// Open what can be read of a damaged database, rather than refuse it: the newest checkpoint that is intact, and the log up to its first
    /// damage. Only where the mapping has to be made anew, and not by a read-only handle. [`BootReport::salvaged`](super::BootReport::salvaged) says what was given up; every
    /// file stays as it was, in a directory of its own.
    #[must_use]
    pub fn salvage(mut self, salvage: bool) -> Self {
        self.salvage = salvage;
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

    /// Call `tell` now and then while the database is recovered from its files, which may take long. What it is told can be shown to people
    /// as it is; the library itself prints nothing.
    #[must_use]
    pub fn on_recovery(mut self, tell: impl Fn(RecoveryProgress) + Send + Sync + 'static) -> Self {
        self.on_recovery = Some(OnRecovery(Arc::new(tell)));
        self
    }

    /// Keep the log and the checkpoints on another disk than the operating system's.
    #[cfg(test)]
    pub(crate) fn files(mut self, files: Arc<dyn FileSystem>) -> Self {
        self.files = files;
        self
    }

    /// Opens the database: attaches to its mapping, or makes one and recovers what the log holds. A mapping that cannot be used
    /// is set aside: see [`BootReport::set_aside`](super::BootReport::set_aside).
    ///
    /// # Errors
    /// `Mismatch` when mapping and data directory are not of one database, or the mapping is of another user;
    /// `Corrupt` for a damaged log; `Busy`, also for a mapping that cannot be used and that a process has open; `Space`, `Io`.
    pub fn open(self) -> Result<Database, Error> {
        super::open::open(&self)
    }
}
