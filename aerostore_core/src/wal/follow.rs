//! Follows the log while it is written: every record that is durable, in order, from the segment files.
//!
//! Rules       F4: a batch is handed out only if the durable timestamp, loaded before, covers it. By L2 nothing of that is taken back:
//!             neither by a take-over, which cuts above it, nor after a failed sync. F5: the number of the last segment is loaded
//!             after the durable timestamp. A log writer sets it before it makes anything in the segment durable; so while it is the one for which the
//!             directory was read last, all that is durable is in the chain as it was known then, below the lengths that were known.
//!             If it is another, the directory is read first: it may say that the segment being read was sealed, and at what length, and what a
//!             deposed writer has put behind that is not read. The end of the last batch that was logged is loaded before both: what ends
//!             before it is damaged. F6: a segment that was removed before it was opened is a gap, with
//!             both its ends; one that is open is read to its end, as its bytes stay (`superfluous` uses no file again that is open).
//! Nobody waits for who follows: a log writer does not know of it.

#![forbid(unsafe_code)]

use super::control::LogControl;
use super::error::WalError;
use super::segment::{Directory, Link};
use super::walk::Walk;
use crate::sys::FileSystem;
use std::path::PathBuf;
use std::sync::Arc;

/// What a step has found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Followed {
    /// A batch of records; [`Follower::records`] gives them.
    Batch,
    /// Records with `after_ts` < C <= `to_ts`, if there were any, are not to be had any more.
    Gap {
        /// Everything up to here was handed out.
        after_ts: u64,
        /// What comes after this is handed out next.
        to_ts: u64,
    },
    /// Nothing more is durable yet.
    Nothing,
}

/// A place in the log that moves with it.
#[derive(Debug)]
pub(crate) struct Follower {
    files: Arc<dyn FileSystem>,
    dir: PathBuf,
    uuid: [u8; 16],
    /// The segment that is being read.
    walk: Option<Walk>,
    /// The log's last segment when the directory was read.
    last_segment: u64,
    /// Everything up to here was handed out.
    read_ts: u64,
    /// The same before the last batch.
    after_ts: u64,
}

impl Follower {
    /// Begins behind `after_ts`, which is durable.
    pub(crate) fn new(files: Arc<dyn FileSystem>, dir: PathBuf, uuid: [u8; 16], after_ts: u64) -> Self {
        Self { files, dir, uuid, walk: None, last_segment: 0, read_ts: after_ts, after_ts }
    }

    /// Everything up to here was handed out, or skipped.
    pub(crate) fn read_ts(&self) -> u64 {
        self.read_ts
    }

    /// Looks for the next batch. An error says that what is next cannot be read now; [`Follower::skip`] passes over it.
    ///
    /// # Errors
    /// `Io`, and what else [`WalError`] says of damage.
    pub(crate) fn step(&mut self, log: &LogControl) -> Result<Followed, WalError> {
        // In this order: F4, F5.
        let logged_ts = log.logged_ts();
        let durable_ts = log.durable_ts();
        let last_segment = log.segment();
        while self.read_ts < durable_ts {
            let known = self.last_segment == last_segment;
            let Some(walk) = self.walk.as_mut().filter(|walk| known && !walk.is_at_sealed_end()) else {
                if !self.find_place()? {
                    return Ok(self.skip(log));
                }
                self.last_segment = last_segment;
                continue;
            };
            if walk.follow(durable_ts)? {
                if walk.last_ts() > self.read_ts {
                    self.after_ts = std::mem::replace(&mut self.read_ts, walk.last_ts());
                    return Ok(Followed::Batch);
                }
            } else if !walk.is_at_sealed_end() {
                if walk.last_ts() < logged_ts {
                    return Err(walk.corrupt("a batch that was logged cannot be read"));
                }
                // Nothing was logged since.
                self.read_ts = durable_ts;
            }
        }
        Ok(Followed::Nothing)
    }

    /// Opens the segment with what comes next, or learns where the one that is open ends; false when it is not there any more.
    fn find_place(&mut self) -> Result<bool, WalError> {
        let (files, dir) = (self.files.as_ref(), self.dir.as_path());
        let directory = Directory::read(files, dir, self.uuid)?;
        let first: Option<Link> = match directory.chain(self.read_ts) {
            Ok(chain) => chain.into_iter().next(),
            Err(WalError::Missing { .. }) => None,
            Err(error) => return Err(error),
        };
        let Some(link) = first else { return Ok(false) };
        match &mut self.walk {
            Some(walk) if walk.number() == link.header.number => {
                walk.seal(link.sealed_bytes);
                // Its end is where the next one begins, unless the files contradict each other.
                if walk.is_at_sealed_end() {
                    self.read_ts = self.read_ts.max(walk.last_ts());
                    return Ok(false);
                }
            }
            _ => match Walk::open(files, dir, &link) {
                Ok(walk) => self.walk = Some(walk),
                Err(WalError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                    return Ok(false);
                }
                Err(error) => return Err(error),
            },
        }
        Ok(true)
    }

    /// Goes on behind what is durable now, as what is before cannot be read.
    pub(crate) fn skip(&mut self, log: &LogControl) -> Followed {
        self.walk = None;
        self.last_segment = 0;
        let after_ts = std::mem::replace(&mut self.read_ts, log.durable_ts());
        Followed::Gap { after_ts, to_ts: self.read_ts }
    }

    /// C and redo bytes of the records of the batch just found, in order.
    pub(crate) fn records(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let after_ts = self.after_ts;
        self.walk.iter().flat_map(Walk::records).filter(move |record| record.0 > after_ts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::MemoryFileSystem;
    use crate::wal::harness::{DIR, Random, Records, TestDatabase, UUID};
    use crate::wal::segment_path;
    use std::path::Path;

    const SEGMENT: u64 = 16 << 10;

    fn follower(fs: &MemoryFileSystem, after_ts: u64) -> Follower {
        Follower::new(Arc::new(fs.clone()), DIR.into(), UUID, after_ts)
    }

    /// What is there by now; panics at a gap.
    fn read(follower: &mut Follower, database: &TestDatabase) -> Records {
        let mut records = Vec::new();
        loop {
            match follower.step(&database.control).unwrap() {
                Followed::Batch => records.extend(follower.records().map(|(c, redo)| (c, redo.to_vec()))),
                Followed::Nothing => return records,
                gap @ Followed::Gap { .. } => panic!("{gap:?}"),
            }
        }
    }

    #[test]
    fn only_what_is_durable_is_read_and_not_what_a_deposed_writer_has_left() {
        let (fs, database) = (MemoryFileSystem::default(), TestDatabase::new(1, 4096));
        let mut follower = follower(&fs, 0);
        let mut deposed = database.writer(&fs, SEGMENT);
        database.commit(0, b"first").unwrap();
        deposed.drain(&database, true).unwrap();
        assert_eq!(read(&mut follower, &database), [(1, b"first".to_vec())]);
        let end = deposed.position();
        database.commit(0, b"second").unwrap();
        deposed.drain(&database, false).unwrap();
        assert_eq!(read(&mut follower, &database), []);
        let mut unsealed = fs.bytes(&segment_path(Path::new(DIR), end.segment));
        unsealed[usize::try_from(end.offset).unwrap() + 64 + 16] ^= 1;
        let mut successor = database.writer(&fs, SEGMENT);
        // What is behind the sealed end may be anything: half of what the deposed writer has put there.
        let path = segment_path(Path::new(DIR), end.segment);
        fs.set_bytes(&path, unsealed);
        successor.drain(&database, true).unwrap();
        assert_eq!(read(&mut follower, &database), [(2, b"second".to_vec())]);
    }

    #[test]
    fn damage_is_an_error_and_not_the_end() {
        for (place, is_sealed) in [(16, false), (16, true), (70, false), (70, true)] {
            let (fs, database) = (MemoryFileSystem::default(), TestDatabase::new(1, 4096));
            let mut follower = follower(&fs, 0);
            let mut writer = database.writer(&fs, SEGMENT);
            database.commit(0, b"first").unwrap();
            writer.drain(&database, true).unwrap();
            assert_eq!(read(&mut follower, &database).len(), 1);
            let end = writer.position();
            database.commit(0, b"second").unwrap();
            writer.drain(&database, true).unwrap();
            let _successor = is_sealed.then(|| {
                let mut successor = database.writer(&fs, SEGMENT);
                database.commit(0, b"third").unwrap();
                successor.drain(&database, true).unwrap();
            });
            let path = segment_path(Path::new(DIR), end.segment);
            let mut bytes = fs.bytes(&path);
            bytes[usize::try_from(end.offset).unwrap() + place] ^= 1;
            fs.set_bytes(&path, bytes);
            let found = follower.step(&database.control);
            assert!(matches!(found, Err(WalError::Corrupt { .. })), "{place} {is_sealed}: {found:?}");
        }
    }

    #[test]
    fn every_record_comes_once_and_in_order_whoever_writes_and_rolls() {
        let (fs, database) = (MemoryFileSystem::default(), TestDatabase::new(2, 16 << 10));
        let mut random = Random(3);
        let (mut early, mut late, mut found) = (follower(&fs, 0), follower(&fs, 0), Vec::new());
        let mut writer = database.writer(&fs, 6 << 10);
        let mut expected = Vec::new();
        for _ in 0..600 {
            let redo = vec![7; usize::try_from(random.below(200)).unwrap()];
            match random.below(40) {
                0 => writer = database.writer(&fs, 6 << 10),
                1..=8 => drop(writer.drain(&database, random.below(2) == 0).unwrap()),
                9..=14 => found.extend(read(&mut early, &database)),
                _ => {
                    let session = usize::try_from(random.below(2)).unwrap();
                    if let Some(c) = database.commit(session, &redo) {
                        expected.push((c, redo));
                    } else {
                        writer.drain(&database, true).unwrap();
                    }
                }
            }
        }
        writer.close(&database).unwrap();
        found.extend(read(&mut early, &database));
        assert!(found == expected, "{} of {}", found.len(), expected.len());
        assert!(read(&mut late, &database) == expected);
        let half = expected.len() / 2;
        assert!(read(&mut follower(&fs, expected[half - 1].0), &database) == expected[half..]);
    }

    #[test]
    fn a_segment_that_was_removed_before_it_was_opened_is_a_gap() {
        let (fs, database) = (MemoryFileSystem::default(), TestDatabase::new(1, 64 << 10));
        let mut follower = follower(&fs, 0);
        for _ in 0..4 {
            let mut writer = database.writer(&fs, SEGMENT);
            database.commit(0, b"redo").unwrap();
            writer.drain(&database, true).unwrap();
        }
        crate::wal::remove_superfluous(&fs, Path::new(DIR), UUID, 2).unwrap();
        let gap = follower.step(&database.control).unwrap();
        assert_eq!(gap, Followed::Gap { after_ts: 0, to_ts: 4 });
        let mut writer = database.writer(&fs, SEGMENT);
        database.commit(0, b"later").unwrap();
        writer.drain(&database, true).unwrap();
        assert_eq!(read(&mut follower, &database), [(5, b"later".to_vec())]);
    }
}
