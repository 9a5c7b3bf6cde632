//! Segment files that are used again: what was written once syncs in less time than what was only allocated.
//!
//! States      NUMBER.wal, superfluous -> NAME.held -> OTHER.spare -> THIRD.held -> LATER.wal: each arrow is one rename. All but the
//!             segments' names are drawn at random, so that none is ever given twice.
//! Rules       Z1: a held file is in the hands of the one who drew its name; others may remove it, no more. Of those who rename the same
//!             file one succeeds. Z2: a segment becomes a spare after its name has gone for good and nobody else had the file open, or
//!             another name for it: who has it could write when it goes on, however long it stood still, and who reads would see it
//!             change. Z3: nobody opens a segment for writing that may be superfluous: its maker keeps it open, and whoever takes office
//!             asks, with the last segment that has records open, whether it still is in office; while it is that segment is
//!             needed (X2). So nobody comes later than the look of Z2. Z4: a spare gets its new header, and zeros in the place of the
//!             first batch, and these are synced before it gets its new name, which it takes from nobody (S2), and which is synced before
//!             its first batch is written: under the name of a segment there is nothing else at any time (S1). Z5: there are at most
//!             as many spares as half of the segments that are kept, which is what is written from one checkpoint to the next, and
//!             `SPARES_MAX`. Z6: one that cannot be used is removed, and a new file made.
//! Killed anywhere, one leaves a held file, which goes with the next superfluous segments, or a spare. The bytes left by the earlier use
//! never count: the checksums of two segments begin with different seeds, and of equal bytes they differ then (W1).

#![forbid(unsafe_code)]

use super::error::WalError;
use super::frame::{BATCH_HEADER_BYTES, FIRST_BATCH, SegmentHeader};
use super::segment::{io_error, segment_path};
use crate::sys::{FileSystem, LogFile, random_uuid};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

const SPARE: &str = "spare";
const HELD: &str = "held";
/// The most spares that are kept.
const SPARES_MAX: usize = 16;

/// A name that nobody has had.
fn fresh_path(dir: &Path, suffix: &str) -> io::Result<PathBuf> {
    let name = random_uuid().map_err(io::Error::other)?;
    Ok(dir.join(format!("{:032x}.{suffix}", u128::from_le_bytes(name))))
}

/// The files of a kind.
fn listed(fs: &dyn FileSystem, dir: &Path, suffix: &str) -> io::Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> = fs.list(dir)?.into_iter().map(|name| dir.join(name)).collect();
    paths.retain(|path| path.extension() == Some(OsStr::new(suffix)));
    Ok(paths)
}

/// Superfluous segments on their way to become spares.
#[derive(Debug)]
pub(super) struct Spares<'a> {
    fs: &'a dyn FileSystem,
    dir: &'a Path,
    /// How many there may be (Z5).
    room: usize,
    /// What is there, and what is in our hands.
    there: Vec<PathBuf>,
    held: Vec<PathBuf>,
}

impl<'a> Spares<'a> {
    /// Removes what others were holding when they died, and looks what is there; `kept` segments are needed.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn find(fs: &'a dyn FileSystem, dir: &'a Path, kept: usize) -> Result<Self, WalError> {
        for path in listed(fs, dir, HELD).map_err(io_error("list", dir))? {
            let _ = fs.remove(&path); // Z1
        }
        let there = listed(fs, dir, SPARE).map_err(io_error("list", dir))?;
        Ok(Self { fs, dir, room: kept.div_ceil(2).min(SPARES_MAX), there, held: Vec::new() })
    }

    /// Takes a superfluous segment in hand, if there is room for it and most of what it was allocated was written.
    pub(super) fn take(&mut self, segment: &Path, allocated_bytes: u64) -> bool {
        if self.there.len() + self.held.len() >= self.room {
            return false;
        }
        let length = self.fs.open_read(segment).and_then(|file| file.len());
        let Ok(held) = fresh_path(self.dir, HELD) else { return false };
        let taken = length.is_ok_and(|length| length >= allocated_bytes / 2)
            && self.fs.rename(segment, &held).is_ok();
        if taken {
            self.held.push(held);
        }
        taken
    }

    /// Lets what is in our hands be used. The directory has been synced since (Z2).
    pub(super) fn release(self) {
        for held in &self.held {
            let is_ours = self.fs.is_unshared(held).unwrap_or(false);
            if !is_ours || fresh_path(self.dir, SPARE).and_then(|path| self.fs.rename(held, &path)).is_err() {
                let _ = self.fs.remove(held);
            }
        }
        for spare in self.there.iter().skip(self.room) {
            let _ = self.fs.remove(spare);
        }
    }
}

/// Makes the segment that `header` describes of a spare; `None` when there is none that will do (Z6).
pub(super) fn reuse(fs: &dyn FileSystem, dir: &Path, header: &SegmentHeader) -> Option<Box<dyn LogFile>> {
    listed(fs, dir, SPARE).ok()?.into_iter().find_map(|spare| {
        let held = fresh_path(dir, HELD).ok()?;
        fs.rename(&spare, &held).ok()?; // Z1
        let path = segment_path(dir, header.number);
        let file = rewrite(fs, &held, header).and_then(|file| {
            fs.rename_new(&held, &path)?;
            fs.sync_dir(dir).inspect_err(|_| _ = fs.remove(&path))?;
            Ok(file)
        });
        file.inspect_err(|_| _ = fs.remove(&held)).ok()
    })
}

/// Z4, up to the name.
fn rewrite(fs: &dyn FileSystem, held: &Path, header: &SegmentHeader) -> io::Result<Box<dyn LogFile>> {
    let mut file = fs.open(held)?;
    if file.len()? > header.allocated_bytes {
        file.set_len(header.allocated_bytes)?;
    }
    file.preallocate(header.allocated_bytes)?;
    let mut begin = header.encode().to_vec();
    let first_batch = usize::try_from(FIRST_BATCH).unwrap_or(usize::MAX);
    let end =
        (first_batch + BATCH_HEADER_BYTES).min(usize::try_from(header.allocated_bytes).unwrap_or(usize::MAX));
    begin.resize(end.max(begin.len()), 0);
    file.write_at(0, &begin)?;
    file.sync_data()?;
    Ok(file)
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
