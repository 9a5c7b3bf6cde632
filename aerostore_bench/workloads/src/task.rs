//! What the workers do in their turns.

use aerostore_bench::flight::Random;
use aerostore_bench::indexed::{Failure, Found, Indexed, Move, some_altitude};

/// Rows of the search by altitude, and of the newest ones.
const LOWEST: usize = 100;
const NEWEST: usize = 50;
/// Of a hundred operations of the crucible so many are reports, of a hundred reports so many go to the hot flights.
const REPORTS: u32 = 80;
const HOT_REPORTS: u32 = 5;
const HOT_ROWS: u32 = 256;
/// Rows of its searches.
const SCANNED: usize = 64;

/// An operation on random rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Copies the row of a key.
    Read,
    /// Moves a row far away: five of six indexes change.
    Far,
    /// Moves a row a little: the same five, to neighbouring values.
    Near,
    /// Changes a column without an index.
    Unindexed,
    /// Moves one and the same row far away.
    Hot,
    /// Copies the hundred lowest rows from an altitude on.
    Above,
    /// Copies the newest fifty rows of a band of altitudes.
    Newest,
    /// Counts rows by a column without an index.
    Count,
    /// Four reports of a flight, some of them hot ones, to one search of 64 rows. The sum counts the reports.
    Crucible,
}

impl Task {
    pub const ALL: [Self; 9] = [
        Self::Read,
        Self::Far,
        Self::Near,
        Self::Unindexed,
        Self::Hot,
        Self::Above,
        Self::Newest,
        Self::Count,
        Self::Crucible,
    ];

    /// As a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Far => "far",
            Self::Near => "near",
            Self::Unindexed => "unindexed",
            Self::Hot => "hot",
            Self::Above => "above",
            Self::Newest => "newest",
            Self::Count => "count",
            Self::Crucible => "crucible",
        }
    }

    /// The one of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|task| task.name() == name)
    }

    /// Every so many of them one is timed alone: the clock would be part of what is measured otherwise.
    pub fn sample_every(self) -> u32 {
        match self {
            Self::Read => 17,
            Self::Unindexed => 5,
            _ => 1,
        }
    }

    /// Does it once.
    pub fn run(self, side: &mut dyn Indexed, random: &mut Random, rows: u32) -> Result<Found, Failure> {
        let number = if self == Self::Hot { 0 } else { random.below(rows) };
        let mut found = Found::default();
        match self {
            Self::Read => found.add(side.read(number)?),
            Self::Far | Self::Hot => side.update(number, Move::Far, random.word())?,
            Self::Near => side.update(number, Move::Near, random.word())?,
            Self::Unindexed => side.update(number, Move::Unindexed, random.word())?,
            Self::Above => found = side.above(some_altitude(random), LOWEST)?,
            Self::Newest => found = side.newest_within(some_altitude(random), NEWEST)?,
            Self::Count => found = side.count_eastbound()?,
            Self::Crucible if random.below(100) < REPORTS => {
                let is_hot = random.below(100) < HOT_REPORTS;
                side.report(if is_hot { random.below(HOT_ROWS.min(rows)) } else { number }, random.word())?;
                found.sum = 1;
            }
            Self::Crucible => found.rows = side.above(some_altitude(random), SCANNED)?.rows,
        }
        Ok(found)
    }
}
