//! The engines that are compared, one module for each.

pub mod aerostore;
pub mod fjall;
pub mod key_value;
pub mod lmdb;
pub mod maps;
pub mod postgres;
pub mod redb;
pub mod redis;
pub mod sqlite;

use crate::task::Task;
use aerostore_bench::indexed::{Failure, Indexed};
use aerostore_bench::place::Place;

/// An open database of flights.
pub trait Engine {
    /// Fills it with the flights of a tab-separated text, with its six indexes.
    fn load(&self, tsv: &[u8]) -> Result<(), Failure>;

    /// One worker's handle on it.
    fn session(&self) -> Result<Session, Failure>;

    /// Bytes that rows and indexes take: of its files, or of its memory if it has none.
    fn bytes(&self) -> Result<u64, Failure>;

    /// Puts in order what it would put in order some time: a checkpoint, or what comes nearest.
    fn settle(&self) -> Result<(), Failure>;
}

/// What a worker holds.
pub type Session = Box<dyn Indexed + Send>;

/// Which engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Aerostore,
    Lmdb,
    Redb,
    Fjall,
    Sqlite,
    Redis,
    Postgres,
    Trees,
    SkipSets,
    Papaya,
}

impl Kind {
    /// All of them, in the order in which they take turns.
    pub const ALL: [Self; 10] = [
        Self::Aerostore,
        Self::Lmdb,
        Self::Redb,
        Self::Fjall,
        Self::Sqlite,
        Self::Redis,
        Self::Postgres,
        Self::Trees,
        Self::SkipSets,
        Self::Papaya,
    ];

    /// As a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aerostore => "aerostore",
            Self::Lmdb => "lmdb",
            Self::Redb => "redb",
            Self::Fjall => "fjall",
            Self::Sqlite => "sqlite",
            Self::Redis => "redis",
            Self::Postgres => "postgres",
            Self::Trees => "btreesets",
            Self::SkipSets => "skipsets",
            Self::Papaya => "papaya",
        }
    }

    /// The one of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether several processes can work on one database; else its workers are threads of one process.
    pub fn has_processes(self) -> bool {
        matches!(self, Self::Aerostore | Self::Lmdb | Self::Sqlite | Self::Redis | Self::Postgres)
    }

    /// Whether the engine keeps anything when its processes end.
    pub fn is_database(self) -> bool {
        !self.is_bound()
    }

    /// Whether it is there to show what is left without versions, a log and other processes.
    pub fn is_bound(self) -> bool {
        matches!(self, Self::Trees | Self::SkipSets | Self::Papaya)
    }

    /// Whether its files are kept in memory while nobody waits for the disk. The others write their log behind, to the disk.
    pub fn is_in_memory(self) -> bool {
        matches!(self, Self::Lmdb | Self::Redb | Self::Sqlite)
    }

    /// Whether it can do that at all.
    pub fn can(self, task: Task) -> bool {
        match self {
            // Rows by key only.
            Self::Papaya => matches!(task, Task::Read | Task::Unindexed),
            Self::Aerostore | Self::Postgres => true,
            // No look at all rows without bringing them to the client.
            Self::Redis if task == Task::Count => false,
            // Two writers of one row leave entries behind.
            Self::SkipSets if task == Task::Hot => false,
            _ => task != Task::Crucible,
        }
    }

    /// Opens the database of that place, or makes it. A durable one waits for the disk with each commit. Mappings may grow up to
    /// `max_bytes`.
    pub fn open(self, place: &Place, is_durable: bool, max_bytes: u64) -> Result<Box<dyn Engine>, Failure> {
        let dir = if self.is_in_memory() && !is_durable { &place.shm } else { &place.dir };
        if self != Self::Aerostore && self.is_database() {
            std::fs::create_dir_all(dir)?;
        }
        Ok(match self {
            Self::Aerostore => Box::new(aerostore::Shared::open(place, is_durable, max_bytes)?),
            Self::Lmdb => Box::new(lmdb::Lmdb::open(dir, is_durable, max_bytes)?),
            Self::Redb => Box::new(redb::Redb::open(dir, is_durable)?),
            Self::Fjall => Box::new(fjall::Fjall::open(dir, is_durable)?),
            Self::Sqlite => Box::new(sqlite::Sqlite::new(dir, is_durable)),
            Self::Redis => Box::new(redis::Redis::open(dir, is_durable)?),
            Self::Postgres => Box::new(postgres::Postgres::new(dir, is_durable)),
            Self::Trees => Box::new(maps::Trees::default()),
            Self::SkipSets => Box::new(maps::SkipSets::default()),
            Self::Papaya => Box::new(maps::Papaya::default()),
        })
    }
}

/// The rows of a text.
pub fn rows_of(tsv: &[u8]) -> impl Iterator<Item = Result<aerostore_bench::wide::Wide, Failure>> + '_ {
    let lines = aerostore_bench::wide::text(tsv).lines();
    lines.map(|line| {
        aerostore_bench::wide::Wide::from_tsv(line).ok_or_else(|| "a line of another kind".into())
    })
}

/// Bytes of the files in a directory and those below it, as far as the file system keeps them.
pub fn bytes_below(dir: &std::path::Path) -> Result<u64, Failure> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { bytes_below(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}
