//! LMDB (`heed`): without sync and with a writable mapping in memory, or as it comes on disk.

use crate::engines::key_value::{
    Entry, Handle, INDEXES, KeyValue, Reads, Writes, row, sorted_entries, update,
};
use crate::engines::{Engine, Session, bytes_below, rows_of};
use aerostore_bench::indexed::{Failure, Move};
use aerostore_bench::wide::{BY_ALTITUDE, Key, ROW_BYTES, Wide};
use heed::types::{Bytes, Unit};
use heed::{Env, EnvFlags, EnvOpenOptions, PutFlags, RoTxn, RwTxn, WithoutTls};
use std::ops::{Bound, ControlFlow};
use std::path::{Path, PathBuf};

#[derive(Clone)]
pub struct Lmdb {
    env: Env<WithoutTls>,
    rows: heed::Database<Bytes, Bytes>,
    indexes: [heed::Database<Bytes, Unit>; 6],
    path: PathBuf,
}

impl Lmdb {
    pub fn open(path: &Path, is_durable: bool, max_bytes: u64) -> Result<Self, Failure> {
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(max_bytes as usize).max_dbs(7).max_readers(256);
        let flags = if is_durable { EnvFlags::empty() } else { EnvFlags::NO_SYNC | EnvFlags::WRITE_MAP };
        let env = environment(&mut options, flags | EnvFlags::NO_READ_AHEAD, path)?;
        let mut names = ["rows"].into_iter().chain(INDEXES);
        // Whoever attaches does not write.
        let txn = env.read_txn()?;
        let is_there = env.open_database::<Bytes, Bytes>(&txn, Some("rows"))?.is_some();
        drop(txn);
        let mut databases = Vec::new();
        if is_there {
            let txn = env.read_txn()?;
            for name in names {
                databases
                    .push(env.open_database::<Bytes, Bytes>(&txn, Some(name))?.ok_or("an index is missing")?);
            }
            // What is opened stays so with the transaction's end.
            txn.commit()?;
        } else {
            let mut txn = env.write_txn()?;
            names.try_for_each(|name| {
                databases.push(env.create_database::<Bytes, Bytes>(&mut txn, Some(name))?);
                Ok::<_, heed::Error>(())
            })?;
            txn.commit()?;
        }
        let rows = databases.remove(0);
        let indexes: Vec<_> = databases.iter().map(heed::Database::remap_data_type::<Unit>).collect();
        let indexes = indexes.try_into().map_err(|_| "there are six indexes")?;
        Ok(Self { env, rows, indexes, path: path.to_owned() })
    }
}

#[allow(unsafe_code, reason = "LMDB's way to open")]
fn environment(
    options: &mut EnvOpenOptions<WithoutTls>,
    flags: EnvFlags,
    path: &Path,
) -> Result<Env<WithoutTls>, Failure> {
    // SAFETY: the folder is this program's own; its processes all open it once and with the same flags, and none truncates the file.
    Ok(unsafe { options.flags(flags).open(path)? })
}

impl Engine for Lmdb {
    fn load(&self, tsv: &[u8]) -> Result<(), Failure> {
        let rows: Vec<Wide> = rows_of(tsv).collect::<Result<_, _>>()?;
        let mut txn = self.env.write_txn()?;
        for row in &rows {
            self.rows.put_with_flags(&mut txn, PutFlags::APPEND, &row.key, &row.to_bytes())?;
        }
        for (index, entries) in self.indexes.iter().zip(sorted_entries(&rows)) {
            for entry in entries {
                index.put_with_flags(&mut txn, PutFlags::APPEND, &entry, &())?;
            }
        }
        Ok(txn.commit()?)
    }

    fn session(&self) -> Result<Session, Failure> {
        Ok(Box::new(Handle(self.clone())))
    }

    fn bytes(&self) -> Result<u64, Failure> {
        bytes_below(&self.path)
    }

    fn settle(&self) -> Result<(), Failure> {
        Ok(self.env.force_sync()?)
    }
}

struct Write<'a>(&'a Lmdb, RwTxn<'a>);

impl Writes for Write<'_> {
    fn row(&mut self, key: &Key) -> Result<Wide, Failure> {
        row(self.0.rows.get(&self.1, key)?)
    }

    fn put(&mut self, key: &Key, row: &[u8; ROW_BYTES]) -> Result<(), Failure> {
        Ok(self.0.rows.put(&mut self.1, key, row)?)
    }

    fn insert(&mut self, index: usize, entry: &Entry) -> Result<(), Failure> {
        Ok(self.0.indexes[index].put(&mut self.1, entry, &())?)
    }

    fn remove(&mut self, index: usize, entry: &Entry) -> Result<(), Failure> {
        self.0.indexes[index].delete(&mut self.1, entry)?;
        Ok(())
    }
}

struct Read<'a>(&'a Lmdb, RoTxn<'a, WithoutTls>);

impl Reads for Read<'_> {
    fn with_row<R>(&self, key: &[u8], look: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, Failure> {
        Ok(self.0.rows.get(&self.1, key)?.map(look))
    }

    fn walk(
        &self,
        from: &Entry,
        mut look: impl FnMut(&[u8]) -> Result<ControlFlow<()>, Failure>,
    ) -> Result<(), Failure> {
        let range = (Bound::Included(&from[..]), Bound::Unbounded);
        for item in self.0.indexes[BY_ALTITUDE].range(&self.1, &range)? {
            if look(item?.0)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn scan(&self, mut look: impl FnMut(&[u8])) -> Result<(), Failure> {
        for item in self.0.rows.iter(&self.1)? {
            look(item?.1);
        }
        Ok(())
    }
}

impl KeyValue for Lmdb {
    fn reading(&self) -> Result<impl Reads + '_, Failure> {
        Ok(Read(self, self.env.read_txn()?))
    }

    fn update(&self, number: u32, how: Move, seed: u64) -> Result<(), Failure> {
        let mut write = Write(self, self.env.write_txn()?);
        update(&mut write, number, how, seed)?;
        Ok(write.1.commit()?)
    }
}
