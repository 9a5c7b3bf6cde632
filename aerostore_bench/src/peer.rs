//! papaya, a concurrent hash map of one process: what reading and replacing a row costs without versions, transactions, log
//! and other processes.

use crate::contender::Contender;
use crate::flight::{FlightKey, Position, Random};
use std::error::Error;
use std::sync::Arc;

/// The map: key and row in one allocation, a fast hash.
pub type FlightMap = papaya::HashMap<FlightKey, Position, foldhash::fast::RandomState>;

/// A map of `rows` flights.
pub fn load(rows: u32) -> Arc<FlightMap> {
    let map = FlightMap::with_capacity_and_hasher(rows as usize, foldhash::fast::RandomState::default());
    for number in 0..rows {
        map.pin().insert(FlightKey::new(number), Position::new(number, 0));
    }
    Arc::new(map)
}

/// One thread on the map.
pub struct Papaya(pub Arc<FlightMap>);

impl Contender for Papaya {
    fn read(&mut self, number: u32) -> Result<i32, Box<dyn Error>> {
        let row = self.0.pin().get(&FlightKey::new(number)).copied();
        Ok(std::hint::black_box(row).ok_or("a flight is missing")?.altitude)
    }

    fn update(&mut self, number: u32, step: u64) -> Result<(), Box<dyn Error>> {
        self.0.pin().insert(FlightKey::new(number), Position::new(number, step));
        Ok(())
    }

    fn read_many(&mut self, random: &mut Random, rows: u32, count: u32) -> Result<i64, Box<dyn Error>> {
        let map = self.0.pin();
        let mut sum = 0;
        for _ in 0..count {
            let row = map.get(&FlightKey::new(random.below(rows))).copied();
            sum += i64::from(std::hint::black_box(row).ok_or("a flight is missing")?.altitude);
        }
        Ok(sum)
    }

    fn update_many(&mut self, random: &mut Random, rows: u32, count: u32) -> Result<(), Box<dyn Error>> {
        let map = self.0.pin();
        for _ in 0..count {
            let number = random.below(rows);
            map.insert(FlightKey::new(number), Position::new(number, random.word() >> 40));
        }
        Ok(())
    }
}
