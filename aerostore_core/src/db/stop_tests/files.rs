//! The operating system's files, which stop the process before a call.

use crate::sync::{AtomicBool, AtomicU64, Ordering};
use crate::sys::{FileSystem, LogFile, OsFileSystem};
use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

#[derive(Debug, Default)]
struct Stop {
    calls: AtomicU64,
    /// The one before which it stops; 0 for none.
    at: AtomicU64,
    /// They count from the next look at a directory on: the log begins a segment with one.
    awaits_list: AtomicBool,
}

impl Stop {
    fn call(&self) {
        if self.awaits_list.load(Ordering::Acquire) {
            return;
        }
        if self.calls.fetch_add(1, Ordering::AcqRel) + 1 == self.at.load(Ordering::Acquire) {
            // SAFETY: no preconditions; all threads of the process stop, and this one goes on here.
            unsafe { libc::raise(libc::SIGSTOP) };
        }
    }
}

/// Clones stop together.
#[derive(Debug, Default, Clone)]
pub(super) struct StoppingFiles(Arc<Stop>);

impl StoppingFiles {
    /// Stops the process before the `call`-th call from now on, or from the next look at a directory on.
    pub(super) fn stop_before(&self, call: u64, awaits_list: bool) {
        self.0.awaits_list.store(awaits_list, Ordering::Release);
        self.0.at.store(self.0.calls.load(Ordering::Acquire) + call, Ordering::Release);
    }

    /// Does not stop it any more.
    pub(super) fn go_on(&self) {
        self.0.at.store(0, Ordering::Release);
    }

    fn file(&self, file: io::Result<Box<dyn LogFile>>) -> io::Result<Box<dyn LogFile>> {
        Ok(Box::new(StoppingFile { file: file?, stop: Arc::clone(&self.0) }))
    }
}

impl FileSystem for StoppingFiles {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        self.0.call();
        self.file(OsFileSystem.create_new(path))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        self.0.call();
        self.file(OsFileSystem.open(path))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        self.0.call();
        self.file(OsFileSystem.open_read(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.0.awaits_list.store(false, Ordering::Release);
        self.0.call();
        OsFileSystem.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.call();
        OsFileSystem.rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.call();
        OsFileSystem.rename_new(from, to)
    }

    fn is_unshared(&self, path: &Path) -> io::Result<bool> {
        self.0.call();
        OsFileSystem.is_unshared(path)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        OsFileSystem.free_bytes(dir)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.call();
        OsFileSystem.remove(path)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        OsFileSystem.create_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.call();
        OsFileSystem.sync_dir(dir)
    }
}

#[derive(Debug)]
struct StoppingFile {
    file: Box<dyn LogFile>,
    stop: Arc<Stop>,
}

impl LogFile for StoppingFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.stop.call();
        self.file.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.stop.call();
        self.file.read_at(offset, into)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.stop.call();
        self.file.sync_data()
    }

    fn preallocate(&mut self, length: u64) -> io::Result<bool> {
        self.stop.call();
        self.file.preallocate(length)
    }

    fn set_len(&mut self, length: u64) -> io::Result<()> {
        self.stop.call();
        self.file.set_len(length)
    }

    fn data_ranges(&self, offset: u64) -> io::Result<Vec<Range<u64>>> {
        self.file.data_ranges(offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
