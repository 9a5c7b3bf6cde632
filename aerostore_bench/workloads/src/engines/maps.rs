//! Maps of one process in private memory: what is left without versions, transactions, a log and other processes.

use crate::engines::key_value::{Newest, row};
use crate::engines::{Engine, Session, rows_of};
use aerostore_bench::indexed::{BAND, Failure, Found, Indexed, MISSING, Move, heads_east};
use aerostore_bench::wide::{BY_ALTITUDE, Key, ROW_BYTES, Wide, altitude_key, key};
use crossbeam_skiplist::SkipSet;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Hash = foldhash::fast::RandomState;

/// Resident bytes of this process.
fn resident_bytes() -> Result<u64, Failure> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    Ok(text.split_whitespace().nth(1).ok_or("no resident size")?.parse::<u64>()? * 4096)
}

/// Maps that nothing is left of but memory: a worker's handle is the map itself once more.
trait Map: Indexed + Clone + Send + 'static {
    fn fill(&self, tsv: &[u8]) -> Result<(), Failure>;
}

impl<M: Map> Engine for M {
    fn load(&self, tsv: &[u8]) -> Result<(), Failure> {
        self.fill(tsv)
    }

    fn session(&self) -> Result<Session, Failure> {
        Ok(Box::new(self.clone()))
    }

    fn bytes(&self) -> Result<u64, Failure> {
        resident_bytes()
    }

    fn settle(&self) -> Result<(), Failure> {
        Ok(())
    }
}

/// Ordered sets and a hash map of the standard library under one lock.
#[derive(Clone, Default)]
pub struct Trees(Arc<Mutex<Maps>>);

#[derive(Default)]
struct Maps {
    numbers: HashMap<Key, u32, Hash>,
    rows: Vec<[u8; ROW_BYTES]>,
    indexes: [BTreeSet<(u64, u32)>; 6],
}

impl Trees {
    fn lock(&self) -> MutexGuard<'_, Maps> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Map for Trees {
    fn fill(&self, tsv: &[u8]) -> Result<(), Failure> {
        let mut maps = self.lock();
        let mut entries: [Vec<(u64, u32)>; 6] = Default::default();
        for (number, row) in (0..).zip(rows_of(tsv)) {
            let row = row?;
            maps.numbers.insert(row.key, number);
            maps.rows.push(row.to_bytes());
            for (index, column) in entries.iter_mut().zip(row.index_keys()) {
                index.push((column, number));
            }
        }
        maps.indexes = entries.map(BTreeSet::from_iter);
        Ok(())
    }
}

impl Indexed for Trees {
    fn row(&mut self, number: u32) -> Result<Wide, Failure> {
        let maps = self.lock();
        let number = *maps.numbers.get(&key(number)).ok_or(MISSING)?;
        row(Some(&std::hint::black_box(maps.rows[number as usize])))
    }

    fn update(&mut self, number: u32, how: Move, seed: u64) -> Result<(), Failure> {
        let mut maps = self.lock();
        let Maps { numbers, rows, indexes } = &mut *maps;
        let number = *numbers.get(&key(number)).ok_or(MISSING)?;
        let place = &mut rows[number as usize];
        let before = row(Some(place))?;
        let mut after = before;
        how.apply(&mut after, seed);
        *place = after.to_bytes();
        for (index, old, new) in before.index_changes(&after) {
            indexes[index].remove(&(old, number));
            indexes[index].insert((new, number));
        }
        Ok(())
    }

    fn above(&mut self, altitude: i32, limit: usize) -> Result<Found, Failure> {
        let maps = self.lock();
        let mut found = Found::default();
        for (_, number) in maps.indexes[BY_ALTITUDE].range((altitude_key(altitude), 0)..).take(limit) {
            found.add(row(Some(&std::hint::black_box(maps.rows[*number as usize])))?.altitude.into());
        }
        Ok(found)
    }

    fn newest_within(&mut self, altitude: i32, limit: usize) -> Result<Found, Failure> {
        let maps = self.lock();
        let mut newest = Newest::new(limit);
        let band = (altitude_key(altitude), 0)..(altitude_key(altitude + BAND), 0);
        for (_, number) in maps.indexes[BY_ALTITUDE].range(band) {
            newest.offer(&row(Some(&maps.rows[*number as usize]))?);
        }
        let mut found = Found::default();
        for key in newest.keys() {
            let number = *maps.numbers.get(&key).ok_or(MISSING)?;
            found.add(row(Some(&std::hint::black_box(maps.rows[number as usize])))?.updated_at);
        }
        Ok(found)
    }

    fn count_eastbound(&mut self) -> Result<Found, Failure> {
        let maps = self.lock();
        Ok(Found { rows: maps.rows.iter().filter(|row| heads_east(&row[..])).count() as u64, sum: 0 })
    }
}

type Rows = papaya::HashMap<Key, [u8; ROW_BYTES], Hash>;

fn copied(rows: &Rows, key: &Key) -> Result<Wide, Failure> {
    let image = rows.pin().get(key).copied();
    row(std::hint::black_box(image).as_ref().map(|image| &image[..]))
}

/// papaya: a concurrent hash map, rows by key and nothing else.
#[derive(Clone, Default)]
pub struct Papaya(Arc<Rows>);

impl Map for Papaya {
    fn fill(&self, tsv: &[u8]) -> Result<(), Failure> {
        for row in rows_of(tsv) {
            let row = row?;
            self.0.pin().insert(row.key, row.to_bytes());
        }
        Ok(())
    }
}

const NO_INDEX: &str = "papaya has no index";

impl Indexed for Papaya {
    fn row(&mut self, number: u32) -> Result<Wide, Failure> {
        copied(&self.0, &key(number))
    }

    fn update(&mut self, number: u32, how: Move, seed: u64) -> Result<(), Failure> {
        let key = key(number);
        let mut after = copied(&self.0, &key)?;
        how.apply(&mut after, seed);
        self.0.pin().insert(key, after.to_bytes());
        Ok(())
    }

    fn above(&mut self, _altitude: i32, _limit: usize) -> Result<Found, Failure> {
        Err(NO_INDEX.into())
    }

    fn newest_within(&mut self, _altitude: i32, _limit: usize) -> Result<Found, Failure> {
        Err(NO_INDEX.into())
    }

    fn count_eastbound(&mut self) -> Result<Found, Failure> {
        Err(NO_INDEX.into())
    }
}

/// crossbeam's skip lists as indexes, beside papaya for the rows. Two workers on one row may leave an entry of each behind: an upper bound, not
/// an engine.
#[derive(Clone, Default)]
pub struct SkipSets {
    rows: Arc<Rows>,
    indexes: Arc<[SkipSet<(u64, Key)>; 6]>,
}

impl Map for SkipSets {
    fn fill(&self, tsv: &[u8]) -> Result<(), Failure> {
        for row in rows_of(tsv) {
            let row = row?;
            self.rows.pin().insert(row.key, row.to_bytes());
            for (index, column) in self.indexes.iter().zip(row.index_keys()) {
                index.insert((column, row.key));
            }
        }
        Ok(())
    }
}

impl Indexed for SkipSets {
    fn row(&mut self, number: u32) -> Result<Wide, Failure> {
        copied(&self.rows, &key(number))
    }

    fn update(&mut self, number: u32, how: Move, seed: u64) -> Result<(), Failure> {
        let key = key(number);
        let before = copied(&self.rows, &key)?;
        let mut after = before;
        how.apply(&mut after, seed);
        self.rows.pin().insert(key, after.to_bytes());
        for (index, old, new) in before.index_changes(&after) {
            self.indexes[index].remove(&(old, key));
            self.indexes[index].insert((new, key));
        }
        Ok(())
    }

    fn above(&mut self, altitude: i32, limit: usize) -> Result<Found, Failure> {
        let mut found = Found::default();
        for entry in self.indexes[BY_ALTITUDE].range((altitude_key(altitude), Key::default())..).take(limit) {
            found.add(copied(&self.rows, &entry.value().1)?.altitude.into());
        }
        Ok(found)
    }

    fn newest_within(&mut self, altitude: i32, limit: usize) -> Result<Found, Failure> {
        let mut newest = Newest::new(limit);
        let [from, to] = [altitude, altitude + BAND].map(|at| (altitude_key(at), Key::default()));
        for entry in self.indexes[BY_ALTITUDE].range(from..to) {
            newest.offer(&copied(&self.rows, &entry.value().1)?);
        }
        let mut found = Found::default();
        for key in newest.keys() {
            found.add(copied(&self.rows, &key)?.updated_at);
        }
        Ok(found)
    }

    fn count_eastbound(&mut self) -> Result<Found, Failure> {
        let rows = self.rows.pin();
        Ok(Found { rows: rows.values().filter(|row| heads_east(&row[..])).count() as u64, sum: 0 })
    }
}
