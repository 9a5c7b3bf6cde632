//! What a scan costs by the engine's layout alone: the same cache lines in the same order, without anything that makes a database of
//! them; and by that of an array.

#![forbid(unsafe_code)]

use crate::indexed::{EAST, heads_east};
use crate::wide::{ROW_BYTES, Wide, WideFlight};
use aerostore_core::row::Row;

/// Words of a row's block, and of one of a version of a [`WideFlight`], as the engine allocates them.
const ROW_WORDS: usize = 6;
const VERSION_WORDS: usize = 22;
/// Words of a block's own header.
const BLOCK_WORDS: usize = 2;
/// Where a version says how long its image is, and where that begins.
const SHAPE: usize = BLOCK_WORDS + 3;
const IMAGE: usize = BLOCK_WORDS + 4;
const LIVE: u64 = 2;

/// Rows, and behind a word in each its version, in the order in which they were loaded.
pub struct Lines {
    rows: Vec<[u64; ROW_WORDS]>,
    versions: Vec<[u64; VERSION_WORDS]>,
    /// The word of a version with the track in it, and the bits below that.
    track: (usize, usize),
}

impl Lines {
    /// As many flights, of which nothing is kept but the track.
    pub fn load(rows: u32) -> Self {
        let offset = WideFlight::schema().offset(WideFlight::TRACK.index());
        let track = (IMAGE + offset / 8, offset % 8 * 8);
        let mut lines = Self { rows: Vec::new(), versions: Vec::new(), track };
        for number in 0..rows {
            let mut row = [0; ROW_WORDS];
            row[0] = LIVE;
            row[BLOCK_WORDS] = u64::from(number);
            lines.rows.push(row);
            let mut version = [0; VERSION_WORDS];
            version[BLOCK_WORDS] = u64::from(number);
            version[SHAPE] = (VERSION_WORDS - IMAGE) as u64 * 8;
            version[track.0] = u64::from(Wide::new(number).track.cast_unsigned()) << track.1;
            lines.versions.push(version);
        }
        lines
    }

    /// How many flights head east, of those that a snapshot at `snapshot` would see.
    #[inline(never)]
    pub fn count_eastbound(&self, snapshot: u64) -> u64 {
        let (word, shift) = self.track;
        let is_found = |row: &&[u64; ROW_WORDS]| {
            let Some(version) = self.versions.get(row[BLOCK_WORDS] as usize) else { return false };
            row[0] == LIVE
                && version[BLOCK_WORDS] <= snapshot
                && version[SHAPE] > 0
                && version[IMAGE] == 0
                && EAST.contains(&((version[word] >> shift) as i32))
        };
        self.rows.iter().filter(is_found).count() as u64
    }
}

/// Rows side by side.
pub struct Array(Vec<[u8; ROW_BYTES]>);

impl Array {
    /// As many flights.
    pub fn load(rows: u32) -> Self {
        Self((0..rows).map(|number| Wide::new(number).to_bytes()).collect())
    }

    /// How many flights head east.
    #[inline(never)]
    pub fn count_eastbound(&self) -> u64 {
        self.0.iter().filter(|row| heads_east(&row[..])).count() as u64
    }
}
