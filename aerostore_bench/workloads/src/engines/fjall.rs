//! fjall: transactions of one writer at a time; its journal goes to the disk's cache, or to the disk with each commit.

use crate::engines::key_value::{
    Entry, Handle, INDEXES, KeyValue, Reads, Writes, row, sorted_entries, update,
};
use crate::engines::{Engine, Session, bytes_below, rows_of};
use aerostore_bench::indexed::{Failure, Move};
use aerostore_bench::wide::{BY_ALTITUDE, Key, ROW_BYTES, Wide};
use fjall::{
    KeyspaceCreateOptions, PersistMode, Readable, SingleWriterTxDatabase, SingleWriterTxKeyspace,
    SingleWriterWriteTx, Snapshot,
};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

const CACHE_BYTES: u64 = 1 << 30;

#[derive(Clone)]
pub struct Fjall {
    db: SingleWriterTxDatabase,
    rows: SingleWriterTxKeyspace,
    indexes: [SingleWriterTxKeyspace; 6],
    is_durable: bool,
    path: PathBuf,
}

impl Fjall {
    pub fn open(path: &Path, is_durable: bool) -> Result<Self, Failure> {
        let path = path.join("fjall");
        let db = SingleWriterTxDatabase::builder(&path).cache_size(CACHE_BYTES).open()?;
        // Rows are asked for that are there.
        let options = || KeyspaceCreateOptions::default().expect_point_read_hits(true);
        let rows = db.keyspace("rows", options)?;
        let mut indexes = Vec::new();
        for name in INDEXES {
            indexes.push(db.keyspace(name, KeyspaceCreateOptions::default)?);
        }
        let indexes = indexes.try_into().map_err(|_| "there are six indexes")?;
        Ok(Self { db, rows, indexes, is_durable, path })
    }
}

impl Engine for Fjall {
    fn load(&self, tsv: &[u8]) -> Result<(), Failure> {
        let rows: Vec<Wide> = rows_of(tsv).collect::<Result<_, _>>()?;
        let mut ingestion = self.rows.inner().start_ingestion()?;
        for row in &rows {
            ingestion.write(row.key, row.to_bytes())?;
        }
        ingestion.finish()?;
        for (index, entries) in self.indexes.iter().zip(sorted_entries(&rows)) {
            let mut ingestion = index.inner().start_ingestion()?;
            for entry in entries {
                ingestion.write(entry, [])?;
            }
            ingestion.finish()?;
        }
        Ok(())
    }

    fn session(&self) -> Result<Session, Failure> {
        Ok(Box::new(Handle(self.clone())))
    }

    fn bytes(&self) -> Result<u64, Failure> {
        // Its journals are reserved as a whole.
        let journals = self.db.inner().journal_disk_space()?;
        Ok(self.db.disk_space()?.saturating_sub(journals).max(1).min(bytes_below(&self.path)?))
    }

    fn settle(&self) -> Result<(), Failure> {
        for keyspace in self.indexes.iter().chain([&self.rows]) {
            keyspace.inner().rotate_memtable_and_wait()?;
        }
        Ok(self.db.persist(PersistMode::SyncAll)?)
    }
}

struct Write<'a>(&'a Fjall, SingleWriterWriteTx<'a>);

impl Writes for Write<'_> {
    fn row(&mut self, key: &Key) -> Result<Wide, Failure> {
        row(self.1.get(&self.0.rows, key)?.as_deref())
    }

    fn put(&mut self, key: &Key, row: &[u8; ROW_BYTES]) -> Result<(), Failure> {
        self.1.insert(&self.0.rows, *key, *row);
        Ok(())
    }

    fn insert(&mut self, index: usize, entry: &Entry) -> Result<(), Failure> {
        self.1.insert(&self.0.indexes[index], *entry, []);
        Ok(())
    }

    fn remove(&mut self, index: usize, entry: &Entry) -> Result<(), Failure> {
        self.1.remove(&self.0.indexes[index], *entry);
        Ok(())
    }
}

struct Read<'a>(&'a Fjall, Snapshot);

impl Reads for Read<'_> {
    fn with_row<R>(&self, key: &[u8], look: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, Failure> {
        Ok(self.1.get(&self.0.rows, key)?.map(|bytes| look(&bytes)))
    }

    fn walk(
        &self,
        from: &Entry,
        mut look: impl FnMut(&[u8]) -> Result<ControlFlow<()>, Failure>,
    ) -> Result<(), Failure> {
        for item in self.1.range::<&[u8], _>(&self.0.indexes[BY_ALTITUDE], &from[..]..) {
            if look(&item.key()?)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn scan(&self, mut look: impl FnMut(&[u8])) -> Result<(), Failure> {
        for item in self.1.iter(&self.0.rows) {
            look(&item.value()?);
        }
        Ok(())
    }
}

impl KeyValue for Fjall {
    fn reading(&self) -> Result<impl Reads + '_, Failure> {
        Ok(Read(self, self.db.read_tx()))
    }

    fn update(&self, number: u32, how: Move, seed: u64) -> Result<(), Failure> {
        let mode = if self.is_durable { PersistMode::SyncData } else { PersistMode::Buffer };
        let mut write = Write(self, self.db.write_tx().durability(Some(mode)));
        update(&mut write, number, how, seed)?;
        Ok(write.1.commit()?)
    }
}
