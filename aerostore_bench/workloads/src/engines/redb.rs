//! redb: in memory every thousandth commit is one that lasts, on disk every one.

use crate::engines::key_value::{
    Entry, Handle, INDEXES, KeyValue, Reads, Writes, row, sorted_entries, update,
};
use crate::engines::{Engine, Session, bytes_below, rows_of};
use aerostore_bench::indexed::{Failure, Move};
use aerostore_bench::wide::{BY_ALTITUDE, Key, ROW_BYTES, Wide};
use redb::{Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, Table, TableDefinition};
use std::cell::Cell;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const ROWS: TableDefinition<&[u8; 8], &[u8; ROW_BYTES]> = TableDefinition::new("rows");
/// Commits of which one lasts, where nobody waits for it: pages are not used again before.
const LASTING_EVERY: u64 = 1000;
const CACHE_BYTES: usize = 1 << 30;

fn index(number: usize) -> TableDefinition<'static, &'static Entry, ()> {
    TableDefinition::new(INDEXES[number])
}

#[derive(Clone)]
pub struct Redb {
    db: Arc<Database>,
    /// Of this handle.
    commits: Cell<u64>,
    is_durable: bool,
    path: PathBuf,
}

impl Redb {
    pub fn open(path: &Path, is_durable: bool) -> Result<Self, Failure> {
        let db = Database::builder().set_cache_size(CACHE_BYTES).create(path.join("flights.redb"))?;
        Ok(Self { db: Arc::new(db), commits: Cell::new(0), is_durable, path: path.to_owned() })
    }
}

impl Engine for Redb {
    fn load(&self, tsv: &[u8]) -> Result<(), Failure> {
        let rows: Vec<Wide> = rows_of(tsv).collect::<Result<_, _>>()?;
        let txn = self.db.begin_write()?;
        let mut table = txn.open_table(ROWS)?;
        for row in &rows {
            table.insert(&row.key, &row.to_bytes())?;
        }
        drop(table);
        for (number, entries) in sorted_entries(&rows).iter().enumerate() {
            let mut table = txn.open_table(index(number))?;
            for entry in entries {
                table.insert(entry, ())?;
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
        Ok(self.db.begin_write()?.commit()?)
    }
}

struct Write<'a> {
    txn: &'a redb::WriteTransaction,
    rows: Table<'a, &'static [u8; 8], &'static [u8; ROW_BYTES]>,
    indexes: [Option<Table<'a, &'static Entry, ()>>; 6],
}

impl<'a> Write<'a> {
    fn index(&mut self, number: usize) -> Result<&mut Table<'a, &'static Entry, ()>, Failure> {
        let slot = &mut self.indexes[number];
        if slot.is_none() {
            *slot = Some(self.txn.open_table(index(number))?);
        }
        Ok(slot.as_mut().ok_or("the table was just opened")?)
    }
}

impl Writes for Write<'_> {
    fn row(&mut self, key: &Key) -> Result<Wide, Failure> {
        row(self.rows.get(key)?.as_ref().map(|guard| &guard.value()[..]))
    }

    fn put(&mut self, key: &Key, row: &[u8; ROW_BYTES]) -> Result<(), Failure> {
        self.rows.insert(key, row)?;
        Ok(())
    }

    fn insert(&mut self, index: usize, entry: &Entry) -> Result<(), Failure> {
        self.index(index)?.insert(entry, ())?;
        Ok(())
    }

    fn remove(&mut self, index: usize, entry: &Entry) -> Result<(), Failure> {
        self.index(index)?.remove(entry)?;
        Ok(())
    }
}

struct Read {
    txn: redb::ReadTransaction,
    rows: ReadOnlyTable<&'static [u8; 8], &'static [u8; ROW_BYTES]>,
}

impl Reads for Read {
    fn with_row<R>(&self, key: &[u8], look: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, Failure> {
        let key: &Key = key.try_into()?;
        Ok(self.rows.get(key)?.map(|guard| look(guard.value())))
    }

    fn walk(
        &self,
        from: &Entry,
        mut look: impl FnMut(&[u8]) -> Result<ControlFlow<()>, Failure>,
    ) -> Result<(), Failure> {
        for item in self.txn.open_table(index(BY_ALTITUDE))?.range::<&Entry>(from..)? {
            if look(item?.0.value())?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn scan(&self, mut look: impl FnMut(&[u8])) -> Result<(), Failure> {
        for item in self.rows.iter()? {
            look(item?.1.value());
        }
        Ok(())
    }
}

impl KeyValue for Redb {
    fn reading(&self) -> Result<impl Reads + '_, Failure> {
        let txn = self.db.begin_read()?;
        let rows = txn.open_table(ROWS)?;
        Ok(Read { txn, rows })
    }

    fn update(&self, number: u32, how: Move, seed: u64) -> Result<(), Failure> {
        let mut txn = self.db.begin_write()?;
        let lasts = self.is_durable || self.commits.get().is_multiple_of(LASTING_EVERY);
        self.commits.set(self.commits.get() + 1);
        txn.set_durability(if lasts { Durability::Immediate } else { Durability::None })?;
        let rows = txn.open_table(ROWS)?;
        let mut write = Write { txn: &txn, rows, indexes: std::array::from_fn(|_| None) };
        update(&mut write, number, how, seed)?;
        drop(write);
        Ok(txn.commit()?)
    }
}
