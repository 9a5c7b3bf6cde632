//! Where a measured database lives.

use aerostore_core::db::{Database, Error};
use std::path::PathBuf;

/// A fresh database's files, removed in the end.
pub struct Place {
    /// The data directory.
    pub dir: PathBuf,
    /// The mapping.
    pub shm: PathBuf,
}

impl Place {
    /// The mapping in `$AEROSTORE_BENCH_SHM`, else `/dev/shm`; the log in the directory for temporary files.
    pub fn fresh(name: &str) -> Self {
        let unique = format!("aerostore-bench-{name}-{}", std::process::id());
        let shm = std::env::var_os("AEROSTORE_BENCH_SHM").unwrap_or_else(|| "/dev/shm".into());
        let place = Self {
            dir: std::env::temp_dir().join(&unique),
            shm: PathBuf::from(shm).join(format!("{unique}.mmap")),
        };
        place.remove();
        place
    }

    /// Opens the database, commit mode off.
    pub fn open(&self) -> Result<Database, Error> {
        Database::builder(&self.dir).shm_path(&self.shm).max_bytes(4 << 30).synchronous_commit(false).open()
    }

    fn remove(&self) {
        // What is not there need not be removed.
        let _ = std::fs::remove_dir_all(&self.dir);
        let _ = std::fs::remove_file(&self.shm);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.remove();
    }
}
