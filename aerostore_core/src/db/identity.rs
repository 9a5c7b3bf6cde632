//! Who a data directory is: its database's uuid, and which mapping is its current one.
//!
//! `identity` holds the uuid and never changes. `current` names the mapping instance whose commits the log belongs to; it is
//! replaced whenever a mapping is made, which is only allowed while no process has the directory open. `lock` carries one
//! byte per process that has it open.

#![forbid(unsafe_code)]

use crate::db::Error;
use crate::sys::random_uuid;
use crate::sys::{LockFile, Probe};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

const WAL_DIR: &str = "wal";
const LOCK: &str = "lock";
const IDENTITY: &str = "identity";
const FIRST_LINE: &str = "aerostore data directory 1";
/// Bytes of `lock` that stand for processes.
const PROCESS_BYTES: std::ops::Range<u64> = 1..1 << 16;
/// The byte of `lock` that a process holds while it opens the database.
const OPENING_BYTE: u64 = 0;
/// How long to wait for another process that is opening: it may be recovering.
const OPEN_TIMEOUT: Duration = Duration::from_mins(10);

/// A data directory that this process has open.
pub(super) struct DataDir {
    path: PathBuf,
    uuid: [u8; 16],
    /// Held for as long as the directory is open: the kernel lets go of it when the process dies.
    lock: LockFile,
    /// The byte that this process holds.
    byte: u64,
}

impl DataDir {
    /// Is there a database's data directory at `path`?
    pub(super) fn exists(path: &Path) -> bool {
        path.join(IDENTITY).exists()
    }

    /// Opens a data directory, made if it is missing.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let lock_path = path.join(LOCK);
        let lock = if let Ok(lock) = LockFile::open(&lock_path) {
            lock
        } else {
            let wal_dir = path.join(WAL_DIR);
            DirBuilder::new().recursive(true).mode(0o700).create(&wal_dir).map_err(at(&wal_dir))?;
            LockFile::open_or_create(&lock_path)?
        };
        // One opener at a time, so that whoever finds peers finds processes that have the database open.
        if !lock.lock_wait(OPENING_BYTE, OPEN_TIMEOUT)? {
            return Err(Error::Busy {
                reason: format!("another process has been opening {} for too long", path.display()),
            });
        }
        let mut held = None;
        for byte in PROCESS_BYTES {
            if lock.try_lock(byte)? {
                held = Some(byte);
                break;
            }
        }
        let Some(byte) = held else {
            return Err(Error::Busy { reason: format!("{} is open in too many processes", path.display()) });
        };
        let uuid = identity(path)?;
        Ok(Self { path: path.to_owned(), uuid, lock, byte })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the log's segments are.
    pub(super) fn wal_dir(&self) -> PathBuf {
        self.path.join(WAL_DIR)
    }

    pub(super) fn uuid(&self) -> [u8; 16] {
        self.uuid
    }

    /// Has another process this directory open?
    pub(super) fn has_peers(&self) -> Result<bool, Error> {
        // A description of its own: a lock does not conflict with the description that holds it.
        let probe = Probe::open(&self.path.join(LOCK))?;
        // Any free byte below ours would have been taken by us, so peers are below, or came later.
        Ok(probe.any_locked(PROCESS_BYTES.start..self.byte)?
            || probe.any_locked(self.byte + 1..PROCESS_BYTES.end)?)
    }

    /// The current mapping instance, or none before the first.
    pub(super) fn current(&self) -> Result<Option<[u8; 16]>, Error> {
        let path = self.path.join("current");
        match read_text(&path) {
            Ok(text) => parse_uuid(&path, text.trim()).map(Some),
            Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes `instance` the current mapping instance, durably.
    pub(super) fn set_current(&self, instance: [u8; 16]) -> Result<(), Error> {
        let path = self.path.join("current");
        let temporary = self.path.join("current.new");
        let mut file = File::create(&temporary).map_err(at(&temporary))?;
        writeln!(file, "{}", uuid_text(&instance)).and_then(|()| file.sync_all()).map_err(at(&temporary))?;
        fs::rename(&temporary, &path).map_err(at(&path))?;
        sync_dir(&self.path)
    }

    /// The database is open: the next process may open it.
    pub(super) fn opened(&self) -> Result<(), Error> {
        Ok(self.lock.unlock(OPENING_BYTE)?)
    }

    /// Lets go of the directory; otherwise done by the end of the process.
    pub(super) fn release(&self) {
        // The descriptor's end does the same; an error here changes nothing.
        let _ = self.lock.unlock(self.byte);
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    move |source| Error::File { path: path.to_owned(), source }
}

fn sync_dir(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(at(path))
}

fn read_text(path: &Path) -> Result<String, Error> {
    // One call: the files are a line or two, and every call counts in a warm open.
    let mut bytes = [0; 4096];
    let length = File::open(path).and_then(|mut file| file.read(&mut bytes)).map_err(at(path))?;
    String::from_utf8(bytes[..length].to_vec())
        .map_err(|_| Error::BadFile { path: path.to_owned(), reason: "not UTF-8".to_owned() })
}

/// Reads the directory's uuid; the first process to come makes one.
fn identity(dir: &Path) -> Result<[u8; 16], Error> {
    let path = dir.join(IDENTITY);
    let first = read_text(&path);
    if matches!(&first, Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound) {
        let uuid = random_uuid()?;
        let temporary = dir.join(format!("identity.{}", uuid_text(&uuid)));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(at(&temporary))?;
        writeln!(file, "{FIRST_LINE}\nuuid {}", uuid_text(&uuid))
            .and_then(|()| file.sync_all())
            .map_err(at(&temporary))?;
        // A link fails when another process was first: then its uuid counts.
        let linked = fs::hard_link(&temporary, &path);
        fs::remove_file(&temporary).map_err(at(&temporary))?;
        match linked {
            Err(source) if source.kind() != io::ErrorKind::AlreadyExists => return Err(at(&path)(source)),
            _ => sync_dir(dir)?,
        }
    }
    let text = first.or_else(|_| read_text(&path))?;
    let mut lines = text.lines();
    let bad = |reason: &str| Error::BadFile { path: path.clone(), reason: reason.to_owned() };
    if lines.next() != Some(FIRST_LINE) {
        return Err(bad("not the identity of an aerostore data directory of version 1"));
    }
    let Some(uuid) = lines.next().and_then(|line| line.strip_prefix("uuid ")) else {
        return Err(bad("the line with the uuid is missing"));
    };
    parse_uuid(&path, uuid)
}

/// A uuid as 32 hexadecimal digits.
pub(super) fn uuid_text(uuid: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*uuid))
}

fn parse_uuid(path: &Path, text: &str) -> Result<[u8; 16], Error> {
    let bad = || Error::BadFile {
        path: path.to_owned(),
        reason: format!("expected 32 hexadecimal digits, found \"{}\"", text.escape_default()),
    };
    if text.len() != 32 || !text.is_ascii() {
        return Err(bad());
    }
    let mut uuid = [0; 16];
    for (index, byte) in uuid.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).map_err(|_| bad())?;
    }
    Ok(uuid)
}
