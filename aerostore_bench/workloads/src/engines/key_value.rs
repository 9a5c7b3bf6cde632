//! Flights in a store of ordered byte strings: rows by key, and for each index a set of (column, key).

use aerostore_bench::indexed::{BAND, Failure, Found, Indexed, MISSING, Move, heads_east};
use aerostore_bench::wide::{Key, ROW_BYTES, Wide, altitude_key, key};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;

/// An entry of an index.
pub type Entry = [u8; 16];

pub fn entry(column: u64, key: &Key) -> Entry {
    let mut entry = [0; 16];
    entry[..8].copy_from_slice(&column.to_be_bytes());
    entry[8..].copy_from_slice(key);
    entry
}

/// A row out of its bytes.
pub fn row(bytes: Option<&[u8]>) -> Result<Wide, Failure> {
    bytes.and_then(Wide::from_bytes).ok_or_else(|| MISSING.into())
}

/// Name of the index of that number.
pub const INDEXES: [&str; 6] = ["lat", "lon", "altitude", "gs", "dest", "updated_at"];

/// Entries of the six indexes, sorted, as they are best loaded.
pub fn sorted_entries(rows: &[Wide]) -> [Vec<Entry>; 6] {
    let mut indexes = std::array::from_fn(|_| Vec::with_capacity(rows.len()));
    for row in rows {
        for (index, column) in indexes.iter_mut().zip(row.index_keys()) {
            index.push(entry(column, &row.key));
        }
    }
    for index in &mut indexes {
        index.sort_unstable();
    }
    indexes
}

/// A transaction that writes.
pub trait Writes {
    fn row(&mut self, key: &Key) -> Result<Wide, Failure>;
    fn put(&mut self, key: &Key, row: &[u8; ROW_BYTES]) -> Result<(), Failure>;
    fn insert(&mut self, index: usize, entry: &Entry) -> Result<(), Failure>;
    fn remove(&mut self, index: usize, entry: &Entry) -> Result<(), Failure>;
}

/// Moves flight `number`, and its index entries.
pub fn update(txn: &mut impl Writes, number: u32, how: Move, seed: u64) -> Result<(), Failure> {
    let key = key(number);
    let before = txn.row(&key)?;
    let mut after = before;
    how.apply(&mut after, seed);
    txn.put(&key, &after.to_bytes())?;
    for (index, old, new) in before.index_changes(&after) {
        txn.remove(index, &entry(old, &key))?;
        txn.insert(index, &entry(new, &key))?;
    }
    Ok(())
}

/// A transaction that reads.
pub trait Reads {
    /// Shows the row of a key.
    fn with_row<R>(&self, key: &[u8], look: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, Failure>;

    /// Shows the entries of the index of altitudes, from one on, until it has seen enough.
    fn walk(
        &self,
        from: &Entry,
        look: impl FnMut(&[u8]) -> Result<ControlFlow<()>, Failure>,
    ) -> Result<(), Failure>;

    /// Shows every row.
    fn scan(&self, look: impl FnMut(&[u8])) -> Result<(), Failure>;
}

/// A store with such transactions.
pub trait KeyValue {
    fn reading(&self) -> Result<impl Reads + '_, Failure>;

    /// Runs [`update`] in a transaction.
    fn update(&self, number: u32, how: Move, seed: u64) -> Result<(), Failure>;
}

/// A worker's handle on such a store.
pub struct Handle<E>(pub E);

fn copied(txn: &impl Reads, key: &[u8]) -> Result<Wide, Failure> {
    // A whole row, wherever it goes from here.
    let image: Option<[u8; ROW_BYTES]> = txn.with_row(key, |bytes| bytes.try_into().ok())?.flatten();
    row(std::hint::black_box(image).as_ref().map(|image| &image[..]))
}

impl<E: KeyValue> Indexed for Handle<E> {
    fn row(&mut self, number: u32) -> Result<Wide, Failure> {
        copied(&self.0.reading()?, &key(number))
    }

    fn update(&mut self, number: u32, how: Move, seed: u64) -> Result<(), Failure> {
        self.0.update(number, how, seed)
    }

    fn above(&mut self, altitude: i32, limit: usize) -> Result<Found, Failure> {
        let txn = self.0.reading()?;
        let mut found = Found::default();
        txn.walk(&entry(altitude_key(altitude), &[0; 8]), |entry| {
            found.add(copied(&txn, &entry[8..])?.altitude.into());
            Ok(if found.rows < limit as u64 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(found)
    }

    fn newest_within(&mut self, altitude: i32, limit: usize) -> Result<Found, Failure> {
        let txn = self.0.reading()?;
        let [from, to] = [altitude, altitude + BAND].map(|at| entry(altitude_key(at), &[0; 8]));
        let mut newest = Newest::new(limit);
        txn.walk(&from, |entry| {
            if entry >= &to[..] {
                return Ok(ControlFlow::Break(()));
            }
            let flight = txn.with_row(&entry[8..], Wide::from_bytes)?.flatten().ok_or(MISSING)?;
            newest.offer(&flight);
            Ok(ControlFlow::Continue(()))
        })?;
        let mut found = Found::default();
        for key in newest.keys() {
            found.add(copied(&txn, &key)?.updated_at);
        }
        Ok(found)
    }

    fn count_eastbound(&mut self) -> Result<Found, Failure> {
        let mut found = Found::default();
        self.0.reading()?.scan(|bytes| {
            found.rows += u64::from(heads_east(bytes));
        })?;
        Ok(found)
    }
}

/// The newest of some rows.
pub struct Newest {
    limit: usize,
    heap: BinaryHeap<Reverse<(i64, Key)>>,
}

impl Newest {
    pub fn new(limit: usize) -> Self {
        Self { limit, heap: BinaryHeap::new() }
    }

    pub fn offer(&mut self, flight: &Wide) {
        if self.heap.len() < self.limit {
            self.heap.push(Reverse((flight.updated_at, flight.key)));
        } else if let Some(mut oldest) = self.heap.peek_mut()
            && oldest.0 < (flight.updated_at, flight.key)
        {
            *oldest = Reverse((flight.updated_at, flight.key));
        }
    }

    /// Their keys, the newest first.
    pub fn keys(self) -> impl Iterator<Item = Key> {
        self.heap.into_sorted_vec().into_iter().map(|Reverse((_, key))| key)
    }
}
