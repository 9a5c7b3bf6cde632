//! Files of the data directory: positioned reads and writes, sync, exclusive create, atomic rename.
//!
//! Shape       `FileSystem` names files, `LogFile` is one open file; `OsFileSystem` is the real implementation.
//! Rules       F1: nothing here buffers: what `write_at` accepted is in the page cache, and survives the process.
//!             F2: only `sync_data` that returned `Ok` promises survival of power loss; after an error nothing is
//!             known about bytes written since the last good sync, and a later `Ok` on the same file proves nothing.
//!             F3: a new or renamed name survives power loss after `sync_dir`.
//! Traits, so that a test can drop, tear and flip writes, or let the n-th sync fail.

use super::file_system_space;
use std::ffi::{CString, OsString};
use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// One open file of the data directory.
pub trait LogFile: Send + fmt::Debug {
    /// Writes all of `bytes` at `offset`, extending the file where needed.
    ///
    /// # Errors
    /// The operating system's error; a part of the bytes may have been written.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Reads at `offset` into `into` until it is full or the file ends; the count read.
    ///
    /// # Errors
    /// The operating system's error.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Makes every byte written so far survive power loss (F2).
    ///
    /// # Errors
    /// The operating system's error; see F2 for what is then known: nothing.
    fn sync_data(&mut self) -> io::Result<()>;

    /// Reserves disk space for the first `length` bytes and makes the file at least that long, reading as zero. Whether there is room for
    /// them now: where the file system cannot reserve, a full disk shows as an error of `write_at` instead.
    ///
    /// # Errors
    /// `StorageFull` when the disk has no such room; a part may have been reserved, and the file be longer by that.
    fn preallocate(&mut self, length: u64) -> io::Result<bool>;

    /// Cuts or extends the file.
    ///
    /// # Errors
    /// The operating system's error.
    fn set_len(&mut self, length: u64) -> io::Result<()>;

    /// Where at or after `offset` something may have been written, as ranges from low to high; the rest of the file reads as zero.
    /// Whoever cannot tell says that all of it may.
    ///
    /// # Errors
    /// The operating system's error.
    fn data_ranges(&self, offset: u64) -> io::Result<Vec<Range<u64>>> {
        Ok(std::iter::once(offset..self.len()?.max(offset)).collect())
    }

    /// The file's length in bytes.
    ///
    /// # Errors
    /// The operating system's error.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file holds no byte.
    ///
    /// # Errors
    /// The operating system's error.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// The names of a data directory.
pub trait FileSystem: Send + Sync + fmt::Debug {
    /// Creates a file that must not exist yet, for reading and writing, mode 0600.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken, by whatever kind of file.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn LogFile>>;

    /// Opens an existing regular file for reading and writing; symbolic links are not followed.
    ///
    /// # Errors
    /// `NotFound`, or `InvalidInput` for what is no regular file.
    fn open(&self, path: &Path) -> io::Result<Box<dyn LogFile>>;

    /// Opens an existing regular file for reading only; symbolic links are not followed.
    ///
    /// # Errors
    /// As [`FileSystem::open`].
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn LogFile>>;

    /// The names in a directory, in no order.
    ///
    /// # Errors
    /// `NotFound`, or the operating system's error.
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>>;

    /// Renames within a directory, replacing what has the new name.
    ///
    /// # Errors
    /// The operating system's error.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Renames within a directory, if nothing has the new name.
    ///
    /// # Errors
    /// `AlreadyExists`, `NotFound`; `Unsupported` from whoever cannot do that in one step.
    fn rename_new(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    /// Whether a file has no other name, and nobody has it open. Whoever cannot tell says no.
    ///
    /// # Errors
    /// `NotFound`, or the operating system's error.
    fn is_unshared(&self, _path: &Path) -> io::Result<bool> {
        Ok(false)
    }

    /// How many bytes more go into `dir`, about. Whoever cannot tell says all there may be.
    ///
    /// # Errors
    /// `NotFound`, or the operating system's error.
    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound`, or the operating system's error.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Creates a directory, mode 0700, and those above it; one that exists is fine.
    ///
    /// # Errors
    /// The operating system's error.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes the names in `dir` survive power loss (F3).
    ///
    /// # Errors
    /// The operating system's error.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// Which signal the kernel tells of a lease by, `linux/fcntl.h`.
const F_SETSIG: libc::c_int = 10;

/// The operating system's files.
#[derive(Debug, Default, Clone, Copy)]
pub struct OsFileSystem;

#[derive(Debug)]
struct OsFile {
    file: File,
}

impl OsFileSystem {
    fn open_with(path: &Path, writable: bool) -> io::Result<Box<dyn LogFile>> {
        // O_NONBLOCK: a fifo under the name must be refused, not waited for.
        let file = OpenOptions::new()
            .read(true)
            .write(writable)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK)
            .open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Box::new(OsFile { file }))
    }
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

impl OsFile {
    fn seek(&self, offset: u64, whence: libc::c_int) -> io::Result<u64> {
        let from = i64::try_from(offset).map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
        // SAFETY: the call takes no pointer; the descriptor is ours, and nobody uses its position.
        let found = unsafe { libc::lseek64(self.file.as_raw_fd(), from, whence) };
        if found < 0 { Err(io::Error::last_os_error()) } else { Ok(found.cast_unsigned()) }
    }
}

impl FileSystem for OsFileSystem {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(path)?;
        Ok(Box::new(OsFile { file }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        Self::open_with(path, true)
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        Self::open_with(path, false)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        std::fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (c_path(from)?, c_path(to)?);
        let here = libc::AT_FDCWD;
        // SAFETY: both are C strings, which the kernel only reads.
        let result =
            unsafe { libc::renameat2(here, from.as_ptr(), here, to.as_ptr(), libc::RENAME_NOREPLACE) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// A write lease is granted only for a file that nobody else has open, whatever for.
    fn is_unshared(&self, path: &Path) -> io::Result<bool> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK)
            .open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.nlink() != 1 {
            return Ok(false);
        }
        // Should somebody open it meanwhile, the kernel tells us by a signal: by one that nobody minds.
        // SAFETY: neither call takes a pointer; the descriptor is ours. The lease goes with it.
        let granted = unsafe {
            libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG) == 0
                && libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) == 0
        };
        Ok(granted)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        Ok(file_system_space(dir).map_err(io::Error::other)?.free_bytes)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

impl LogFile for OsFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < into.len() {
            match self.file.read_at(&mut into[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn preallocate(&mut self, length: u64) -> io::Result<bool> {
        let length_signed = i64::try_from(length).map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
        loop {
            // SAFETY: `fallocate` takes no pointer; the descriptor is ours and open for as long as `self.file` lives.
            if unsafe { libc::fallocate(self.file.as_raw_fd(), 0, 0, length_signed) } == 0 {
                return Ok(true);
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::EOPNOTSUPP | libc::ENOSYS) => {
                    if self.len()? < length {
                        self.set_len(length)?;
                    }
                    return Ok(false);
                }
                _ => return Err(error),
            }
        }
    }

    fn set_len(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn data_ranges(&self, offset: u64) -> io::Result<Vec<Range<u64>>> {
        let mut ranges = Vec::new();
        let mut at = offset;
        loop {
            match self.seek(at, libc::SEEK_DATA) {
                Ok(start) => {
                    let end = self.seek(start, libc::SEEK_HOLE)?;
                    ranges.push(start..end);
                    at = end;
                }
                Err(error) => {
                    return match error.raw_os_error() {
                        Some(libc::ENXIO) => Ok(ranges),
                        // Not every file system can tell.
                        Some(libc::EINVAL | libc::EOPNOTSUPP) => {
                            Ok(std::iter::once(offset..self.len()?.max(offset)).collect())
                        }
                        _ => Err(error),
                    };
                }
            }
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

#[cfg(test)]
#[cfg(not(loom))]
pub(crate) mod memory;

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("aerostore-file-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        OsFileSystem.create_dir(&dir).unwrap();
        dir
    }

    #[test]
    fn writes_reads_and_preallocates() {
        let dir = scratch("rw");
        let path = dir.join("a");
        let mut file = OsFileSystem.create_new(&path).unwrap();
        assert!(file.is_empty().unwrap());
        file.preallocate(8192).unwrap();
        assert_eq!(file.len().unwrap(), 8192);
        file.write_at(8190, b"abcd").unwrap();
        file.sync_data().unwrap();
        OsFileSystem.sync_dir(&dir).unwrap();
        let mut bytes = [9; 8];
        assert_eq!(OsFileSystem.open_read(&path).unwrap().read_at(8188, &mut bytes).unwrap(), 6);
        assert_eq!(&bytes, b"\0\0abcd\x09\x09");
        assert_eq!(OsFileSystem.create_new(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
        OsFileSystem.rename(&path, &dir.join("b")).unwrap();
        assert_eq!(OsFileSystem.list(&dir).unwrap(), ["b"]);
        OsFileSystem.remove(&dir.join("b")).unwrap();
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_was_only_reserved_is_no_data() {
        let dir = scratch("data");
        let mut file = OsFileSystem.create_new(&dir.join("a")).unwrap();
        file.preallocate(1 << 20).unwrap();
        // Told apart where the file system can: never is something passed over that was written.
        let whole = file.data_ranges(8).unwrap().first().is_some_and(|range| range.end == 1 << 20);
        assert!(whole || file.data_ranges(8).unwrap().is_empty());
        file.write_at(700_000, b"abc").unwrap();
        for synced in [false, true] {
            if synced {
                file.sync_data().unwrap();
            }
            let ranges = file.data_ranges(8).unwrap();
            assert!(ranges.iter().any(|range| range.contains(&700_000) && range.contains(&700_002)));
            assert!(whole || ranges.iter().all(|range| range.start > 600_000 && range.end < 800_000));
            assert_eq!(file.data_ranges(700_001).unwrap()[0].start, 700_001);
        }
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn whoever_has_a_file_open_shares_it() {
        let dir = scratch("shared");
        let (path, other) = (dir.join("a"), dir.join("b"));
        let file = OsFileSystem.create_new(&path).unwrap();
        let is_unshared = || OsFileSystem.is_unshared(&path).unwrap();
        assert!(!is_unshared(), "it is open for writing");
        drop(file);
        // Not every file system has leases.
        let can_tell = is_unshared();
        let reader = OsFileSystem.open_read(&path).unwrap();
        assert!(!is_unshared(), "it is open for reading");
        drop(reader);
        assert_eq!(is_unshared(), can_tell);
        std::fs::hard_link(&path, &other).unwrap();
        assert!(!is_unshared(), "it has another name");
        assert_eq!(OsFileSystem.rename_new(&path, &other).unwrap_err().kind(), ErrorKind::AlreadyExists);
        std::fs::remove_file(&other).unwrap();
        OsFileSystem.rename_new(&path, &other).unwrap();
        assert_eq!(OsFileSystem.list(&dir).unwrap(), ["b"]);
        assert_eq!(OsFileSystem.is_unshared(&path).unwrap_err().kind(), ErrorKind::NotFound);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn refuses_links_and_directories() {
        let dir = scratch("kind");
        std::fs::write(dir.join("real"), b"x").unwrap();
        std::os::unix::fs::symlink(dir.join("real"), dir.join("link")).unwrap();
        assert!(OsFileSystem.open(&dir.join("link")).is_err());
        assert!(OsFileSystem.open_read(&dir.join("link")).is_err());
        assert_eq!(OsFileSystem.open_read(&dir).unwrap_err().kind(), ErrorKind::InvalidInput);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
