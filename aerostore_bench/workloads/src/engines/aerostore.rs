//! Aerostore: shared memory, the log on disk.

use crate::engines::{Engine, Session};
use aerostore_bench::indexed::{Aerostore, Failure};
use aerostore_bench::place::Place;
use aerostore_core::db::Database;

/// One process's handle on the database.
pub struct Shared(Database);

impl Shared {
    pub fn open(place: &Place, is_durable: bool, max_bytes: u64) -> Result<Self, Failure> {
        let db = place.open_up_to(max_bytes)?;
        db.set_config("synchronous_commit", if is_durable { "on" } else { "off" })?;
        Ok(Self(db))
    }
}

impl Engine for Shared {
    fn load(&self, tsv: &[u8]) -> Result<(), Failure> {
        Aerostore::ingest(&self.0, tsv)
    }

    fn session(&self) -> Result<Session, Failure> {
        Ok(Box::new(Aerostore::new(self.0.clone())?))
    }

    fn bytes(&self) -> Result<u64, Failure> {
        Ok(self.0.status()?.used_bytes)
    }

    fn settle(&self) -> Result<(), Failure> {
        self.0.checkpoint()?;
        Ok(())
    }
}
