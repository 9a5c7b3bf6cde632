//! Who a data directory is: its database's uuid, and which mapping is its current one.
//!
//! Layout      one file, `identity`: three lines of text, of fixed length, so that a warm open reads it by one call from a
//!             descriptor it has anyway. The uuid never changes. The third line names the mapping instance whose commits the
//!             log belongs to, zero before the first. The file's lock bytes stand for the processes that have the directory open.
//! Rules       D1: the file appears complete, by a link, and is never replaced: a lock on it is a lock on the directory.
//!             D2: the instance is rewritten in place whenever a mapping is made, which is only allowed while no process has
//!             the directory open. All lines lie in one sector, which is written as a whole or not at all. A process that is
//!             killed has written all or nothing.
//! Source      PostgreSQL keeps `pg_control` in one sector for the same reason (`PG_CONTROL_MAX_SAFE_SIZE`).

#![forbid(unsafe_code)]

use crate::db::Error;
use crate::sys::random_uuid;
use crate::sys::{LockFile, Probe};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

const WAL_DIR: &str = "wal";
const CHECKPOINT_DIR: &str = "checkpoints";
const IDENTITY: &str = "identity";
const FIRST_LINE: &str = "aerostore data directory 2";
/// Bytes of a file that is as it should be.
const IDENTITY_BYTES: usize = FIRST_LINE.len() + "\nuuid \nmapping \n".len() + 64;
/// What D2 asks of the disk.
const _: () = assert!(IDENTITY_BYTES <= 512);
/// Lock bytes that stand for processes.
const PROCESS_BYTES: std::ops::Range<u64> = 1..1 << 16;
/// The lock byte that a process holds while it opens the database; next to those, so that one call can take both.
const OPENING_BYTE: u64 = 0;
/// The mapping instance of a directory that never had one; instances are random uuids of version 4, never zero.
const NO_INSTANCE: [u8; 16] = [0; 16];
/// How long to wait for another process that is opening: it may be recovering.
const OPEN_TIMEOUT: Duration = Duration::from_mins(10);

/// A data directory that this process has open.
pub(super) struct DataDir {
    path: PathBuf,
    uuid: [u8; 16],
    current: Option<[u8; 16]>,
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
        let identity_path = path.join(IDENTITY);
        let lock = match LockFile::open(&identity_path) {
            Ok(lock) => lock,
            Err(error) => {
                let wal_dir = path.join(WAL_DIR);
                DirBuilder::new().recursive(true).mode(0o700).create(&wal_dir).map_err(at(&wal_dir))?;
                if !error.is_not_found() {
                    return Err(error.into());
                }
                make_identity(path, &identity_path)?;
                LockFile::open(&identity_path)?
            }
        };
        let byte = take_bytes(&lock, path)?;
        // D1: as long as it was when it was opened; one byte too many is enough to refuse it.
        let mut text = [0; IDENTITY_BYTES + 1];
        let wanted = text.len().min(usize::try_from(lock.bytes_at_open()).unwrap_or(usize::MAX));
        let length = lock.read_start(&mut text[..wanted])?;
        let (uuid, instance) = parse(&text[..length])
            .map_err(|reason| Error::BadFile { path: identity_path.clone(), reason: reason.to_owned() })?;
        let current = (instance != NO_INSTANCE).then_some(instance);
        Ok(Self { path: path.to_owned(), uuid, current, lock, byte })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the log's segments are.
    pub(super) fn wal_dir(&self) -> PathBuf {
        self.path.join(WAL_DIR)
    }

    /// Where the checkpoints are.
    pub(super) fn checkpoint_dir(&self) -> PathBuf {
        self.path.join(CHECKPOINT_DIR)
    }

    pub(super) fn uuid(&self) -> [u8; 16] {
        self.uuid
    }

    /// Has another process this directory open?
    pub(super) fn has_peers(&self) -> Result<bool, Error> {
        // A description of its own: a lock does not conflict with the description that holds it.
        let probe = Probe::open(&self.path.join(IDENTITY))?;
        // Any free byte below ours would have been taken by us, so peers are below, or came later.
        Ok(probe.any_locked(PROCESS_BYTES.start..self.byte)?
            || probe.any_locked(self.byte + 1..PROCESS_BYTES.end)?)
    }

    /// The mapping instance that was current when the directory was opened, or none before the first. No other process makes
    /// one until [`DataDir::opened`].
    pub(super) fn current(&self) -> Option<[u8; 16]> {
        self.current
    }

    /// Makes `instance` the current mapping instance, durably.
    pub(super) fn set_current(&self, instance: [u8; 16]) -> Result<(), Error> {
        Ok(self.lock.write_start(render(&self.uuid, &instance).as_bytes())?) // D2
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

/// Takes [`OPENING_BYTE`] and a byte for this process, which is returned. One opener at a time, so that whoever finds peers
/// finds processes that have the database open.
fn take_bytes(lock: &LockFile, path: &Path) -> Result<u64, Error> {
    if lock.try_lock_all(OPENING_BYTE..PROCESS_BYTES.start + 1)? {
        return Ok(PROCESS_BYTES.start);
    }
    if !lock.lock_wait(OPENING_BYTE, OPEN_TIMEOUT)? {
        return Err(Error::Busy {
            reason: format!("another process has been opening {} for too long", path.display()),
        });
    }
    for byte in PROCESS_BYTES {
        if lock.try_lock(byte)? {
            return Ok(byte);
        }
    }
    Err(Error::Busy { reason: format!("{} is open in too many processes", path.display()) })
}

/// Makes the identity of a directory that has none; the first process to come decides.
fn make_identity(dir: &Path, path: &Path) -> Result<(), Error> {
    let uuid = random_uuid()?;
    let temporary = dir.join(format!("identity.{}", uuid_text(&uuid)));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(at(&temporary))?;
    file.write_all(render(&uuid, &NO_INSTANCE).as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(at(&temporary))?;
    // A link fails when another process was first: then its uuid counts. D1
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary).map_err(at(&temporary))?;
    match linked {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => Err(at(path)(source)),
        _ => sync_dir(dir),
    }
}

fn render(uuid: &[u8; 16], instance: &[u8; 16]) -> String {
    format!("{FIRST_LINE}\nuuid {}\nmapping {}\n", uuid_text(uuid), uuid_text(instance))
}

/// Uuid and mapping instance, or what is wrong with the text.
fn parse(text: &[u8]) -> Result<([u8; 16], [u8; 16]), &'static str> {
    let text = text
        .strip_prefix(FIRST_LINE.as_bytes())
        .and_then(|rest| rest.strip_prefix(b"\n"))
        .ok_or("not the identity of an aerostore data directory of version 2")?;
    let (uuid, text) = parse_line(text, b"uuid ").ok_or("the line with the uuid is not as it was written")?;
    let (instance, text) =
        parse_line(text, b"mapping ").ok_or("the line with the mapping is not as it was written")?;
    if text.is_empty() { Ok((uuid, instance)) } else { Err("something follows the line with the mapping") }
}

/// A line of `name` and 32 hexadecimal digits, and what follows it.
fn parse_line<'t>(text: &'t [u8], name: &[u8]) -> Option<([u8; 16], &'t [u8])> {
    let (digits, rest) = text.strip_prefix(name)?.split_first_chunk::<32>()?;
    let mut uuid = [0; 16];
    for (byte, pair) in uuid.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(0)? << 4 | digit(1)?;
    }
    Some((uuid, rest.strip_prefix(b"\n")?))
}

/// A uuid as 32 hexadecimal digits.
pub(super) fn uuid_text(uuid: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*uuid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_read_back_as_written() {
        let text = render(&[0xA5; 16], &[7; 16]);
        assert_eq!(text.len(), IDENTITY_BYTES);
        assert_eq!(parse(text.as_bytes()), Ok(([0xA5; 16], [7; 16])));
    }

    #[test]
    fn an_identity_that_lacks_or_gained_a_byte_is_refused() {
        let text = render(&[0xA5; 16], &NO_INSTANCE);
        for length in 0..text.len() {
            parse(&text.as_bytes()[..length]).unwrap_err();
        }
        parse(format!("{text}\n").as_bytes()).unwrap_err();
        parse(text.replacen("a5", "g5", 1).as_bytes()).unwrap_err();
        parse(text.replace('\n', "\r\n").as_bytes()).unwrap_err();
    }
}
