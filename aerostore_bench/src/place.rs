//! Where a measured database lives.

use aerostore_core::db::{Database, Error};
use std::path::PathBuf;

/// A database's files, removed when this is dropped by the one who made it.
#[derive(Debug)]
pub struct Place {
    /// The data directory.
    pub dir: PathBuf,
    /// The mapping, or a directory for another engine's files that nobody syncs.
    pub shm: PathBuf,
    owned: bool,
}

impl Place {
    /// A fresh place: the mapping in `$AEROSTORE_BENCH_SHM`, else `/dev/shm`; the log in the directory for temporary
    /// files.
    pub fn fresh(name: &str) -> Self {
        let unique = format!("aerostore-bench-{name}-{}", std::process::id());
        let shm = std::env::var_os("AEROSTORE_BENCH_SHM").unwrap_or_else(|| "/dev/shm".into());
        let place = Self {
            dir: std::env::temp_dir().join(&unique),
            shm: PathBuf::from(shm).join(format!("{unique}.mmap")),
            owned: true,
        };
        place.remove();
        place
    }

    /// A place that somebody else made.
    pub fn existing(dir: &str, shm: &str) -> Self {
        Self { dir: dir.into(), shm: shm.into(), owned: false }
    }

    /// Opens the database, commit mode off.
    ///
    /// # Errors
    /// What the database says.
    pub fn open(&self) -> Result<Database, Error> {
        self.open_up_to(4 << 30)
    }

    /// The same with a mapping of at most so many bytes, if it is not there yet.
    ///
    /// # Errors
    /// What the database says.
    pub fn open_up_to(&self, bytes: u64) -> Result<Database, Error> {
        Database::builder(&self.dir).shm_path(&self.shm).max_bytes(bytes).synchronous_commit(false).open()
    }

    fn remove(&self) {
        // Nothing there is as good as removed.
        let _ = std::fs::remove_dir_all(&self.dir);
        let _ = std::fs::remove_file(&self.shm);
        let _ = std::fs::remove_dir_all(&self.shm);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.owned {
            self.remove();
        }
    }
}
