//! A mapping that cannot be used is set aside: renamed, never removed, so that the database is made anew from its files.
//!
//! Rules   A1: only what is of no use to anybody: a header that is damaged, of another version, layout or boot, a file that is too
//!         short or holds something else, an older mapping of this database. A2: never one that a living process has open, whichever version it is of:
//!         everybody who has one open holds a lock on some byte of it. A3: never another database's: a file that begins as a mapping does
//!         and does not name this database stays where it is, be it damaged or not. Files of other users, links, and what is no
//!         file are refused before anybody gets here. A4: the lock under which a mapping is made or attached is held meanwhile; who
//!         waits for it finds that the name is another file's, and begins again.
//! What committed transactions had not reached the disk is in what is set aside, and in nothing else.

#![forbid(unsafe_code)]

use crate::db::Error;
use crate::db::identity::{DataDir, uuid_text};
use crate::shm::{INIT_LOCK_BYTE, ShmError};
use crate::sys::{RegularFile, random_uuid};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Bytes at the start of a mapping of any version in which the database is named.
const NAMED_WITHIN: usize = 256;
/// A file that is shorter cannot name any.
const NAMED_AT_LEAST: usize = 40;
/// Lock bytes of processes and roles, of any version.
const USERS: std::ops::Range<u64> = INIT_LOCK_BYTE + 1..1 << 62;

/// A mapping that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Where it is now.
    pub path: PathBuf,
    /// What was wrong with it.
    pub reason: String,
}

/// Sets the mapping aside that could not be attached for `fault`, unless that is not allowed: then the fault is the caller's error.
pub(super) fn set_aside(file: &RegularFile, dir: &DataDir, fault: ShmError) -> Result<SetAside, Error> {
    if !is_useless(file, dir.uuid(), &fault)? {
        return Err(fault.into());
    }
    rename(file, dir, fault.to_string())
}

/// Sets an older mapping of the same database aside.
pub(super) fn set_left_behind_aside(file: &RegularFile, dir: &DataDir) -> Result<SetAside, Error> {
    rename(file, dir, "it was left behind when another one took its place".to_owned())
}

/// A1 and A3.
fn is_useless(file: &RegularFile, uuid: [u8; 16], fault: &ShmError) -> Result<bool, Error> {
    match fault {
        ShmError::ForeignMagic { .. } => Ok(true),
        ShmError::Truncated { .. }
        | ShmError::Corrupt { .. }
        | ShmError::Version { .. }
        | ShmError::LayoutMismatch { .. }
        | ShmError::BootMismatch { .. } => {
            let mut start = [0; NAMED_WITHIN];
            let at = |source| Error::File { path: file.path().to_owned(), source };
            let count = file.file().read_at(&mut start, 0).map_err(at)?;
            let start = &start[..count];
            Ok(count < NAMED_AT_LEAST || start.windows(uuid.len()).any(|bytes| bytes == uuid))
        }
        _ => Ok(false),
    }
}

fn rename(file: &RegularFile, dir: &DataDir, reason: String) -> Result<SetAside, Error> {
    let shm = file.path();
    // A2
    if file.probe().any_locked(USERS)? {
        return Err(Error::Busy {
            reason: format!(
                "{} cannot be used ({reason}), and a process has it open: it is left as it is; end that process first",
                shm.display()
            ),
        });
    }
    if dir.has_peers()? {
        return Err(Error::Mismatch {
            mapping: shm.to_owned(),
            dir: dir.path().to_owned(),
            reason: "the directory is open in a process that uses another mapping".to_owned(),
        });
    }
    let path = shm.with_extension(format!("stale-{}", uuid_text(&random_uuid()?)));
    match std::fs::rename(shm, &path) {
        Ok(()) => Ok(SetAside { path, reason }),
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            Err(Error::Busy { reason: format!("{} was removed while it was opened", shm.display()) })
        }
        Err(source) => Err(Error::File { path: shm.to_owned(), source }),
    }
}
