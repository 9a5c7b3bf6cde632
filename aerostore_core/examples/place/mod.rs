//! Where the examples have their databases: a place of its own for each run, gone when it ends.

use std::path::PathBuf;

use aerostore_core::db::{Database, Error};

/// A data directory and a mapping. A program of yours leaves them where they are.
pub(crate) struct Place {
    /// The data directory.
    pub(crate) dir: PathBuf,
    /// The mapping, on a tmpfs.
    pub(crate) shm: PathBuf,
}

impl Place {
    /// A place that nobody else has.
    pub(crate) fn new() -> Self {
        let name = format!("aerostore-example-{}-{}", env!("CARGO_CRATE_NAME"), std::process::id());
        Self { dir: std::env::temp_dir().join(&name), shm: PathBuf::from("/dev/shm").join(name) }
    }

    /// Opens the database.
    pub(crate) fn open(&self) -> Result<Database, Error> {
        Database::builder(&self.dir).shm_path(&self.shm).max_bytes(64 << 20).open()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
        let _ = std::fs::remove_file(&self.shm);
    }
}
