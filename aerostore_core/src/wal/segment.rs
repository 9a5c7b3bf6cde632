//! Segment files: names, the list of a directory, the chain that is the log, creation.
//!
//! Rules       S1: a segment's header survives power loss before its first batch is written. So a file without a valid
//!             header and without a valid batch is a creation that did not finish, and holds nothing.
//!             S2: names are taken from nobody, numbers grow: a log writer never writes another one's segment.
//!             S3: the log is the chain from the valid segment with the greatest number back along `previous`. A deposed
//!             writer's segments have smaller numbers than its successor's first, and stay outside the chain.
//!             S4: of every segment but the last only the `previous_bytes` its successor names belong to the log.
//!             S5: a creation that failed leaves no file, and whoever takes over removes what killed creations left. Nobody can have
//!             built on one, for it has no records; and its name cannot have become another's: it is free only after its creator has
//!             removed it, or a successor that has made a segment with a greater number by then, which stays until a later one has.

#![forbid(unsafe_code)]

use super::error::WalError;
use super::frame::{
    BATCH_HEADER_BYTES, BatchHeader, FIRST_BATCH, NotASegment, SEGMENT_HEADER_BYTES, SegmentHeader,
};
use super::frame::{BATCH_MAGIC, WAL_VERSION, seed};
use super::spare;
use crate::sys::{FileSystem, LogFile};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const SUFFIX: &str = ".wal";

/// The file of a segment.
pub fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}{SUFFIX}"))
}

pub(super) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (digits.len() == 16 && number > 0 && !digits.contains(|c: char| c.is_ascii_uppercase() || c == '+'))
        .then_some(number)
}

pub(crate) fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> WalError {
    move |source| WalError::Io { operation, path: path.to_path_buf(), source }
}

/// One file of the directory that is named like a segment.
#[derive(Debug)]
struct Listed {
    number: u64,
    header: Result<SegmentHeader, &'static str>,
}

/// The segments of a directory, and which of them are the log.
#[derive(Debug)]
pub(crate) struct Directory<'a> {
    fs: &'a dyn FileSystem,
    dir: &'a Path,
    uuid: [u8; 16],
    listed: Vec<Listed>,
}

/// A segment of the chain.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) header: SegmentHeader,
    /// Bytes that belong to the log (S4); `None` in the last segment.
    pub(crate) sealed_bytes: Option<u64>,
}

impl<'a> Directory<'a> {
    /// Reads the headers of all segments.
    ///
    /// # Errors
    /// `Io`; `Foreign` and `Version` for an intact header of another database or version; `Corrupt` for a file whose
    /// header is damaged although batches follow it, or that has another segment's name.
    pub(crate) fn read(fs: &'a dyn FileSystem, dir: &'a Path, uuid: [u8; 16]) -> Result<Self, WalError> {
        let mut numbers: Vec<u64> = fs
            .list(dir)
            .map_err(io_error("list", dir))?
            .iter()
            .filter_map(|name| segment_number(name.to_str()?))
            .collect();
        numbers.sort_unstable();
        let mut directory = Self { fs, dir, uuid, listed: Vec::with_capacity(numbers.len()) };
        for number in numbers {
            match directory.header_of(number) {
                Ok(header) => directory.listed.push(Listed { number, header }),
                // Removed since the directory was listed.
                Err(WalError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        directory.check_unfinished()?;
        Ok(directory)
    }

    fn header_of(&self, number: u64) -> Result<Result<SegmentHeader, &'static str>, WalError> {
        let path = segment_path(self.dir, number);
        let file = self.fs.open_read(&path).map_err(io_error("open", &path))?;
        let mut bytes = [0; SEGMENT_HEADER_BYTES * 4];
        let count = file.read_at(0, &mut bytes).map_err(io_error("read", &path))?;
        let header = match SegmentHeader::decode(&bytes[..count]) {
            Err(NotASegment::Invalid(reason)) => return Ok(Err(reason)),
            Err(NotASegment::Version(found)) => {
                return Err(WalError::Version { path, expected: WAL_VERSION, found });
            }
            Ok(header) => header,
        };
        if header.uuid != self.uuid {
            return Err(WalError::Foreign { path, expected: self.uuid, found: header.uuid });
        }
        if header.number != number {
            return Err(WalError::Corrupt {
                path,
                offset: 40,
                reason: "the file has another segment's name",
            });
        }
        Ok(Ok(header))
    }

    /// Tells unfinished creations (S1) from damaged headers, behind the last valid segment.
    fn check_unfinished(&mut self) -> Result<(), WalError> {
        let from = self.listed.iter().rposition(|listed| listed.header.is_ok()).map_or(0, |last| last + 1);
        for index in from..self.listed.len() {
            let number = self.listed[index].number;
            let path = segment_path(self.dir, number);
            let file = self.fs.open_read(&path).map_err(io_error("open", &path))?;
            let tail = Tail::search(file.as_ref(), seed(&self.uuid, number), FIRST_BATCH, 0)
                .map_err(io_error("read", &path))?;
            if !tail.batch_found {
                continue;
            }
            // A deposed writer may have finished the creation since the header was read.
            self.listed[index].header = self.header_of(number)?;
            if let Err(reason) = self.listed[index].header {
                return Err(WalError::Corrupt { path, offset: 0, reason });
            }
        }
        Ok(())
    }

    /// The numbers below `number` that files have, valid or not, from low to high.
    pub(super) fn numbers_below(&self, number: u64) -> impl Iterator<Item = u64> {
        self.listed.iter().map(|listed| listed.number).take_while(move |listed| *listed < number)
    }

    /// How many files have at least `number`.
    pub(super) fn count_from(&self, number: u64) -> usize {
        self.listed.iter().filter(|listed| listed.number >= number).count()
    }

    /// To how many bytes the segment was allocated; none when its header is damaged.
    pub(super) fn allocated_bytes(&self, number: u64) -> Option<u64> {
        let listed = self.listed.iter().find(|listed| listed.number == number)?;
        Some(listed.header.as_ref().ok()?.allocated_bytes)
    }

    /// The greatest number any file has, valid or not; 0 in an empty directory.
    pub(crate) fn last_number(&self) -> u64 {
        self.listed.last().map_or(0, |listed| listed.number)
    }

    /// Segments behind the last valid one whose creation did not finish (S1).
    pub(super) fn unfinished(&self) -> impl Iterator<Item = u64> {
        let behind = self.listed.iter().rev().take_while(|listed| listed.header.is_err());
        behind.map(|listed| listed.number)
    }

    /// The greatest term in any valid header.
    pub(crate) fn last_term(&self) -> u64 {
        self.listed.iter().filter_map(|listed| Some(listed.header.as_ref().ok()?.term)).max().unwrap_or(0)
    }

    /// The last segment of the log (S3).
    pub(crate) fn head(&self) -> Option<&SegmentHeader> {
        self.listed.iter().rev().find_map(|listed| listed.header.as_ref().ok())
    }

    /// The segments that hold every record with C > `from_ts`, oldest first.
    ///
    /// # Errors
    /// `Missing` or `Corrupt` when the chain does not reach back that far.
    pub(crate) fn chain(&self, from_ts: u64) -> Result<Vec<Link>, WalError> {
        let mut chain = Vec::new();
        let Some(head) = self.head() else { return Ok(chain) };
        chain.push(Link { header: head.clone(), sealed_bytes: None });
        while let Some(next) = chain.last()
            && next.header.start_ts > from_ts
        {
            let previous = self.previous_of(&next.header)?;
            chain.push(previous);
        }
        chain.reverse();
        Ok(chain)
    }

    /// The segment before `next` in the chain.
    ///
    /// # Errors
    /// `Missing` or `Corrupt` when there is none.
    pub(super) fn previous_of(&self, next: &SegmentHeader) -> Result<Link, WalError> {
        let path = segment_path(self.dir, next.number);
        if next.previous == 0 {
            return Err(WalError::Corrupt {
                path,
                offset: 64,
                reason: "the log begins after what it must continue",
            });
        }
        if next.previous >= next.number {
            return Err(WalError::Corrupt {
                path,
                offset: 48,
                reason: "the segment names a later one as previous",
            });
        }
        let path = segment_path(self.dir, next.previous);
        let Some(listed) = self.listed.iter().find(|listed| listed.number == next.previous) else {
            return Err(WalError::Missing { path, reason: "a later segment continues it" });
        };
        let previous = listed.header.as_ref().map_err(|&reason| WalError::Corrupt {
            path: path.clone(),
            offset: 0,
            reason,
        })?;
        if previous.term > next.term || previous.start_ts > next.start_ts {
            return Err(WalError::Corrupt {
                path,
                offset: 32,
                reason: "term or timestamp exceeds the next segment's",
            });
        }
        Ok(Link { header: previous.clone(), sealed_bytes: Some(next.previous_bytes) })
    }
}

/// What lies behind a place where no batch could be read.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// Some intact batch header follows.
    pub(super) batch_found: bool,
    /// An intact batch header follows that says the place had survived a sync.
    pub(super) was_durable: bool,
    /// Bytes up to the last one that is not zero.
    pub(super) used_bytes: u64,
    /// Bytes up to the end of the last intact batch header.
    pub(super) header_bytes: u64,
}

impl Tail {
    /// Looks through `file` from `offset`, which is a multiple of 8, for traces of batches. `place` is where reading
    /// stopped. What was reserved and never written reads as zero, and is passed over.
    pub(super) fn search(file: &dyn LogFile, seed: u32, offset: u64, place: u64) -> std::io::Result<Self> {
        const BLOCK: usize = 1 << 20;
        let mut tail = Self::default();
        let mut block = Vec::new();
        // Asked for before anything is read: what the kernel reads ahead would count as written.
        for range in file.data_ranges(offset)? {
            // A header begins with its magic, so none begins before the data does; places are multiples of 8.
            let mut at = range.start - range.start % 8;
            while at < range.end {
                let length = usize::try_from(range.end - at).unwrap_or(BLOCK).min(BLOCK);
                // The overlap keeps a header in one piece.
                block.resize(length + BATCH_HEADER_BYTES, 0);
                let count = file.read_at(at, &mut block)?;
                tail.look(&block[..count], length, at - offset, seed, place);
                at += length as u64;
            }
        }
        Ok(tail)
    }

    /// Looks through the `bytes` at `at` behind the place where the search began; headers begin in the first `length`.
    fn look(&mut self, bytes: &[u8], length: usize, at: u64, seed: u32, place: u64) {
        let Some(last) = bytes.iter().rposition(|&byte| byte != 0) else { return };
        self.used_bytes = self.used_bytes.max(at + last as u64 + 1);
        for candidate in (0..bytes.len().min(length)).step_by(8) {
            if bytes[candidate..].starts_with(&BATCH_MAGIC)
                && let Some(batch) = BatchHeader::decode(&bytes[candidate..], seed)
            {
                self.batch_found = true;
                self.header_bytes = at + (candidate + BATCH_HEADER_BYTES) as u64;
                self.was_durable |= batch.synced_bytes > place;
            }
        }
    }
}

/// Makes a segment, of a spare file if there is one: takes the first free number from `header.number` on, allocates, writes the
/// header and syncs file and directory (S1). `may_go_on` is asked before every attempt whether this log writer is still in office.
///
/// # Errors
/// `Io`, or what `may_go_on` says.
pub(super) fn create(
    fs: &dyn FileSystem,
    dir: &Path,
    header: &mut SegmentHeader,
    may_go_on: &mut dyn FnMut() -> Result<(), WalError>,
) -> Result<Box<dyn LogFile>, WalError> {
    loop {
        may_go_on()?;
        header.is_reused = true;
        if let Some(file) = spare::reuse(fs, dir, header) {
            return Ok(file);
        }
        may_go_on()?;
        header.is_reused = false;
        let path = segment_path(dir, header.number);
        let mut file = match fs.create_new(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                header.number += 1;
                continue;
            }
            Err(error) => return Err(io_error("create", &path)(error)),
            Ok(file) => file,
        };
        if let Err(error) = file.preallocate(header.allocated_bytes) {
            let _ = fs.remove(&path); // S5
            return Err(io_error("allocate", &path)(error));
        }
        let written = file
            .write_at(0, &header.encode())
            .map_err(io_error("write", &path))
            .and_then(|()| file.sync_data().map_err(io_error("sync", &path)))
            .and_then(|()| fs.sync_dir(dir).map_err(io_error("sync", dir)));
        match written {
            Ok(()) => return Ok(file),
            Err(error) => {
                let _ = fs.remove(&path); // S5
                return Err(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::OsFileSystem;
    use std::sync::Mutex;

    /// Counts what is read of a file.
    #[derive(Debug)]
    struct Counting {
        file: Box<dyn LogFile>,
        bytes: Mutex<u64>,
    }

    impl LogFile for Counting {
        fn write_at(&mut self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
            self.file.write_at(offset, bytes)
        }

        fn read_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<usize> {
            let count = self.file.read_at(offset, into)?;
            *self.bytes.lock().unwrap() += count as u64;
            Ok(count)
        }

        fn sync_data(&mut self) -> std::io::Result<()> {
            self.file.sync_data()
        }

        fn preallocate(&mut self, length: u64) -> std::io::Result<bool> {
            self.file.preallocate(length)
        }

        fn set_len(&mut self, length: u64) -> std::io::Result<()> {
            self.file.set_len(length)
        }

        fn data_ranges(&self, offset: u64) -> std::io::Result<Vec<std::ops::Range<u64>>> {
            self.file.data_ranges(offset)
        }

        fn len(&self) -> std::io::Result<u64> {
            self.file.len()
        }
    }

    #[test]
    fn what_was_never_written_of_a_segment_is_not_read() {
        let dir = std::env::temp_dir().join(format!("aerostore-segment-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        OsFileSystem.create_dir(&dir).unwrap();
        let mut file = OsFileSystem.create_new(&dir.join("a")).unwrap();
        file.preallocate(64 << 20).unwrap();
        file.write_at(FIRST_BATCH, &[1; 10_000]).unwrap();
        file.write_at(40 << 20, &[2; 100]).unwrap();
        file.sync_data().unwrap();
        let tells_holes = file.data_ranges(50 << 20).unwrap().is_empty();
        let file = Counting { file, bytes: Mutex::new(0) };
        let tail = Tail::search(&file, 7, FIRST_BATCH, FIRST_BATCH).unwrap();
        assert_eq!(tail.used_bytes, (40 << 20) + 100 - FIRST_BATCH);
        let bytes = *file.bytes.lock().unwrap();
        assert!(bytes < 4 << 20 || !tells_holes, "{bytes} bytes were read");
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn names_round_trip_and_others_are_ignored() {
        let path = segment_path(Path::new("/d"), 0x1f);
        assert_eq!(path, Path::new("/d/000000000000001f.wal"));
        assert_eq!(segment_number("000000000000001f.wal"), Some(31));
        for name in [
            "000000000000001F.wal",
            "0000000000000000.wal",
            "1f.wal",
            "+00000000000001f.wal",
            "manifest",
            ".wal",
        ] {
            assert_eq!(segment_number(name), None, "{name}");
        }
    }
}
