//! Where a measured database lives.

use super::leftovers;
use aerostore_core::db::{Database, Error};
use std::path::PathBuf;

/// A database's files, removed when this is dropped by the one who made it, or a signal ends that.
#[derive(Debug)]
pub struct Place {
    /// The data directory.
    pub dir: PathBuf,
    /// The mapping, or a file or directory of something else that nobody syncs.
    pub shm: PathBuf,
    owned: bool,
}

impl Place {
    /// A fresh place: the mapping in `$AEROSTORE_BENCH_SHM`, else `/dev/shm`; the log in the directory for temporary
    /// files.
    pub fn fresh(name: &str) -> Self {
        let shm = std::env::var_os("AEROSTORE_BENCH_SHM").unwrap_or_else(|| "/dev/shm".into());
        let (temp, shm) = (std::env::temp_dir(), PathBuf::from(shm));
        let unique = format!("aerostore-bench-{name}-{}", std::process::id());
        let place = Self { dir: temp.join(&unique), shm: shm.join(format!("{unique}.mmap")), owned: true };
        place.remove();
        leftovers::add(&place.dir);
        leftovers::add(&place.shm);
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
        leftovers::remove(&self.dir);
        leftovers::remove(&self.shm);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.owned {
            self.remove();
        }
    }
}
