//! Is a process alive? Open-file-description locks, one byte of the mapping file per process.
//!
//! Layout      byte numbers are the caller's; they are names and need not lie inside the file.
//! Invariants  L1: the kernel drops a lock when the last copy of its description is gone, so a lock descriptor is never
//!             mapped, closed on exec, and closed in forked children. L2: a description never conflicts with itself, so
//!             asking goes through another one, which never holds any. A stopped process keeps its locks. L3: who drops a lock
//!             descriptor gives its locks up first: a child between its fork and its exec may have a copy, for as long as the
//!             machine is busy. L4: only the process that opened a handle uses it: a child that was made past `fork` (by the system call `clone`,
//!             or by `vfork`) has the descriptor open, and what it did with it the parent would have done.
//! Source      fcntl(2), "Open file description locks". We do not use process ids: they repeat, and differ per namespace.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::fork::ParentOnly;
use super::regular::{FileId, open_regular};
use super::{Create, RegularFile, SysError, monotonic_ns};

/// Longest pause between two tries of a lock that is waited for.
const RETRY_US_MAX: u64 = 5_000;

/// The descriptor through which this process holds its locks; dropping it drops them.
///
/// Two handles on one path are two descriptions, which exclude each other also within a process; one handle does not
/// exclude itself.
#[derive(Debug)]
pub struct LockFile {
    descriptor: ParentOnly,
    /// The process that opened it (L4).
    process: u32,
    path: PathBuf,
    id: FileId,
    bytes: u64,
}

impl LockFile {
    /// Opens `path`, which has to exist.
    ///
    /// # Errors
    /// As [`RegularFile::open`]; `TooManyLockFiles` when the process has no room for another.
    pub fn open(path: &Path) -> Result<Self, SysError> {
        Self::open_with(path, Create::Never)
    }

    /// Opens `path`, making an empty file of mode 0600 if it is missing.
    ///
    /// # Errors
    /// As [`LockFile::open`].
    pub fn open_or_create(path: &Path) -> Result<Self, SysError> {
        Self::open_with(path, Create::IfMissing)
    }

    fn open_with(path: &Path, create: Create) -> Result<Self, SysError> {
        let (descriptor, (id, bytes)) = ParentOnly::open(|| {
            let (file, id, bytes) = open_regular(path, create)?;
            Ok((file.into_raw_fd(), (id, bytes)))
        })?;
        Ok(Self { descriptor, process: std::process::id(), path: path.to_path_buf(), id, bytes })
    }

    /// The descriptor, for the process that opened it.
    fn number(&self) -> Result<RawFd, SysError> {
        // L4
        if std::process::id() == self.process { self.descriptor.number() } else { Err(SysError::Forked) }
    }

    /// Gives all locks up (L3).
    fn unlock_all(&self) {
        if let Ok(descriptor) = self.number() {
            // To the kernel, length 0 means: to the end of all files. The descriptor's end does the same, maybe later.
            let mut all = lock_request(libc::F_UNLCK, 0..0);
            let _ = control(descriptor, libc::F_OFD_SETLK, &mut all, &self.path);
        }
    }

    /// Locks `byte` unless another description holds it; true when it is ours now.
    ///
    /// # Errors
    /// `Forked` in a child of the process that opened the handle; `Io` when the kernel refuses.
    pub fn try_lock(&self, byte: u64) -> Result<bool, SysError> {
        self.try_lock_all(byte..byte + 1)
    }

    /// Locks every byte of the range, or none when another description holds one of them; true when they are ours now.
    ///
    /// # Errors
    /// As [`LockFile::try_lock`].
    pub fn try_lock_all(&self, bytes: Range<u64>) -> Result<bool, SysError> {
        let mut request = lock_request(libc::F_WRLCK, bytes);
        match control(self.number()?, libc::F_OFD_SETLK, &mut request, &self.path) {
            Ok(()) => Ok(true),
            Err(SysError::Io { source, .. })
                if matches!(source.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Locks `byte`, waiting up to `timeout` for its holder; true when it is ours now.
    ///
    /// # Errors
    /// As [`LockFile::try_lock`].
    pub fn lock_wait(&self, byte: u64, timeout: Duration) -> Result<bool, SysError> {
        let start = monotonic_ns();
        let mut pause_us = 50;
        // Tries with pauses rather than F_OFD_SETLKW, which knows no time-out and which a stopped holder blocks for ever.
        while !self.try_lock(byte)? {
            if u128::from(monotonic_ns() - start) >= timeout.as_nanos() {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_micros(pause_us));
            pause_us = (pause_us * 2).min(RETRY_US_MAX);
        }
        Ok(true)
    }

    /// Gives `byte` up; no effect when it is not held.
    ///
    /// # Errors
    /// As [`LockFile::try_lock`].
    pub fn unlock(&self, byte: u64) -> Result<(), SysError> {
        let mut request = lock_request(libc::F_UNLCK, byte..byte + 1);
        control(self.number()?, libc::F_OFD_SETLK, &mut request, &self.path)
    }

    /// Bytes the file had when it was opened.
    pub fn bytes_at_open(&self) -> u64 {
        self.bytes
    }

    /// Whether `file` is the file that is open here, rather than one that took its name.
    pub fn is_of(&self, file: &RegularFile) -> bool {
        self.id == file.id
    }

    /// Reads from the start of the file until `into` is full or the file ends; the count read.
    ///
    /// # Errors
    /// `Forked` as in [`LockFile::try_lock`]; `Io`.
    pub fn read_start(&self, into: &mut [u8]) -> Result<usize, SysError> {
        let number = self.number()?;
        let mut filled = 0;
        while filled < into.len() {
            let rest = &mut into[filled..];
            let at = i64::try_from(filled).unwrap_or(i64::MAX);
            // SAFETY: `rest` is writable for its length.
            let count = unsafe { libc::pread64(number, rest.as_mut_ptr().cast(), rest.len(), at) };
            match self.transferred("read", count)? {
                Some(0) => break,
                count => filled += count.unwrap_or(0),
            }
        }
        Ok(filled)
    }

    /// Writes `bytes` at the start of the file and waits until they are on disk.
    ///
    /// # Errors
    /// `Forked` as in [`LockFile::try_lock`]; `Io`.
    pub fn write_start(&self, bytes: &[u8]) -> Result<(), SysError> {
        let number = self.number()?;
        let mut written = 0;
        while written < bytes.len() {
            let rest = &bytes[written..];
            let at = i64::try_from(written).unwrap_or(i64::MAX);
            // SAFETY: `rest` is readable for its length.
            let count = unsafe { libc::pwrite64(number, rest.as_ptr().cast(), rest.len(), at) };
            written += self.transferred("write", count)?.unwrap_or(0);
        }
        // SAFETY: the call takes no pointer.
        if unsafe { libc::fdatasync(number) } != 0 {
            return Err(SysError::last("fdatasync", &self.path));
        }
        Ok(())
    }

    /// What a read or write answered; none when a signal came first.
    fn transferred(&self, call: &'static str, answer: isize) -> Result<Option<usize>, SysError> {
        match usize::try_from(answer) {
            Ok(count) => Ok(Some(count)),
            Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(_) => Err(SysError::last(call, &self.path)),
        }
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        self.unlock_all();
    }
}

/// The descriptor through which this process asks about locks; it never holds one.
///
/// It may be the descriptor of a mapping. Asking leaves nothing behind on a description, so neither the mapping nor a forked
/// child that keeps it makes anybody look alive; and it is sure to be the mapping's file that is asked about.
#[derive(Debug)]
pub struct Probe {
    file: Arc<File>,
    path: PathBuf,
}

impl Probe {
    /// Opens `path`, which has to exist.
    ///
    /// # Errors
    /// As [`RegularFile::open`].
    pub fn open(path: &Path) -> Result<Self, SysError> {
        Ok(RegularFile::open(path, Create::Never)?.probe())
    }

    /// A probe that asks through the description of `file`.
    pub(super) fn through(file: Arc<File>, path: &Path) -> Self {
        Self { file, path: path.to_path_buf() }
    }

    /// Whether any [`LockFile`], also one of this process, holds `byte`.
    ///
    /// # Errors
    /// `Io` when the kernel refuses.
    pub fn is_locked(&self, byte: u64) -> Result<bool, SysError> {
        self.any_locked(byte..byte + 1)
    }

    /// Whether any [`LockFile`] holds a byte of the range. An empty range holds none.
    ///
    /// # Errors
    /// `Io` when the kernel refuses.
    pub fn any_locked(&self, bytes: Range<u64>) -> Result<bool, SysError> {
        if bytes.is_empty() {
            return Ok(false); // to the kernel, length 0 would mean: to the end of all files
        }
        let mut request = lock_request(libc::F_WRLCK, bytes);
        control(self.file.as_raw_fd(), libc::F_OFD_GETLK, &mut request, &self.path)?;
        Ok(i32::from(request.l_type) != libc::F_UNLCK)
    }
}

fn lock_request(kind: libc::c_int, bytes: Range<u64>) -> libc::flock64 {
    // SAFETY: all-zero is a valid `flock64`, a struct of integers; `l_pid` has to be 0 for these locks.
    let mut request: libc::flock64 = unsafe { std::mem::zeroed() };
    request.l_type = i16::try_from(kind).unwrap_or(i16::MAX);
    request.l_whence = 0; // SEEK_SET
    request.l_start = bytes.start.cast_signed();
    request.l_len = (bytes.end - bytes.start).cast_signed();
    request
}

fn control(
    descriptor: RawFd,
    command: libc::c_int,
    request: &mut libc::flock64,
    path: &Path,
) -> Result<(), SysError> {
    loop {
        // SAFETY: `request` is a valid lock request, which the kernel reads and, for F_OFD_GETLK, overwrites.
        if unsafe { libc::fcntl(descriptor, command, ptr_of(request)) } == 0 {
            return Ok(());
        }
        let error = SysError::last("fcntl", path);
        if !matches!(&error, SysError::Io { source, .. } if source.raw_os_error() == Some(libc::EINTR)) {
            return Err(error);
        }
    }
}

fn ptr_of(request: &mut libc::flock64) -> *mut libc::flock64 {
    request
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = PathBuf::from(format!("/dev/shm/aerostore-liveness-{}-{name}", std::process::id()));
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn descriptions_exclude_each_other_and_the_probe_sees_them() {
        let scratch = Scratch::new("exclude");
        let first = LockFile::open_or_create(&scratch.0).unwrap();
        let second = LockFile::open(&scratch.0).unwrap();
        let probe = Probe::open(&scratch.0).unwrap();
        assert!(!probe.is_locked(7).unwrap());
        assert!(first.try_lock(7).unwrap());
        assert!(first.try_lock(7).unwrap(), "a description never conflicts with itself");
        assert!(!second.try_lock(7).unwrap());
        assert!(second.try_lock(8).unwrap());
        assert!(probe.is_locked(7).unwrap());
        assert!(probe.any_locked(0..100).unwrap());
        assert!(!probe.any_locked(9..100).unwrap());
        assert!(!probe.any_locked(Range { start: 7, end: 7 }).unwrap());
        first.unlock(7).unwrap();
        assert!(!probe.is_locked(7).unwrap());
        assert!(second.lock_wait(7, Duration::ZERO).unwrap());
        assert!(!first.lock_wait(7, Duration::from_millis(3)).unwrap());
        // L3: what a child has until it begins another program.
        // SAFETY: the descriptor is open as long as `second`.
        let copy = unsafe { libc::dup(second.descriptor.number().unwrap()) };
        drop(second);
        assert!(!probe.any_locked(0..100).unwrap(), "still locked after it was dropped");
        // SAFETY: made above, and nobody else's.
        assert_eq!(unsafe { libc::close(copy) }, 0);
    }

    #[test]
    fn replaced_file_is_noticed() {
        let scratch = Scratch::new("replaced");
        let lock = LockFile::open_or_create(&scratch.0).unwrap();
        assert!(lock.is_of(&RegularFile::open(&scratch.0, Create::Never).unwrap()));
        std::fs::remove_file(&scratch.0).unwrap();
        assert!(RegularFile::open(&scratch.0, Create::Never).unwrap_err().is_not_found());
        assert!(!lock.is_of(&RegularFile::open(&scratch.0, Create::IfMissing).unwrap()));
    }

    #[test]
    fn a_range_is_locked_as_a_whole_or_not_at_all() {
        let scratch = Scratch::new("range");
        let first = LockFile::open_or_create(&scratch.0).unwrap();
        let second = LockFile::open(&scratch.0).unwrap();
        assert!(first.try_lock(1).unwrap());
        assert!(!second.try_lock_all(0..2).unwrap());
        assert!(first.try_lock(0).unwrap(), "a part of the range was locked all the same");
        first.unlock(0).unwrap();
        first.unlock(1).unwrap();
        assert!(second.try_lock_all(0..2).unwrap());
        second.unlock(0).unwrap();
        assert!(first.try_lock(0).unwrap());
        assert!(!first.try_lock(1).unwrap(), "one byte was unlocked, and the other went with it");
    }

    #[test]
    fn a_mapping_asked_through_keeps_nobody_alive() {
        let scratch = Scratch::new("through");
        let lock = LockFile::open_or_create(&scratch.0).unwrap();
        let file = RegularFile::open(&scratch.0, Create::Never).unwrap();
        let probe = file.probe();
        let mapping = crate::sys::Mapping::new(Arc::clone(file.file()), 4096, file.path()).unwrap();
        assert!(lock.try_lock(3).unwrap());
        assert!(probe.is_locked(3).unwrap());
        drop(lock);
        assert!(!probe.is_locked(3).unwrap());
        let successor = LockFile::open(&scratch.0).unwrap();
        assert!(successor.try_lock(3).unwrap(), "asking left a lock behind");
        drop(mapping);
    }

    #[test]
    fn what_is_written_at_the_start_is_read_back() {
        let scratch = Scratch::new("start");
        let lock = LockFile::open_or_create(&scratch.0).unwrap();
        let mut bytes = [9; 8];
        assert_eq!(lock.read_start(&mut bytes).unwrap(), 0);
        lock.write_start(b"abcdef").unwrap();
        lock.write_start(b"xy").unwrap();
        assert_eq!(lock.read_start(&mut bytes).unwrap(), 6);
        assert_eq!(&bytes, b"xycdef\x09\x09");
        assert_eq!(lock.read_start(&mut bytes[..3]).unwrap(), 3);
    }

    #[test]
    fn forked_child_loses_the_handle_and_does_not_keep_the_lock() {
        let scratch = Scratch::new("fork");
        let lock = LockFile::open_or_create(&scratch.0).unwrap();
        assert!(lock.try_lock(1).unwrap());
        let opened_by = crate::sys::Opener::this_process();
        let probe = Probe::open(&scratch.0).unwrap();
        // SAFETY: the child calls only what is allowed after a fork of many threads (no allocation on these paths), then
        // waits for its parent's signal.
        #[expect(clippy::disallowed_methods, reason = "what a fork does is what is tested")]
        let child = unsafe { libc::fork() };
        if child == 0 {
            let forked = opened_by.has_forked();
            let refused = matches!(lock.try_lock(2), Err(SysError::Forked));
            let code = if forked && refused { libc::SIGSTOP } else { libc::SIGABRT };
            // SAFETY: ends or stops this child only.
            unsafe {
                libc::raise(code);
                libc::_exit(0);
            }
        }
        let mut status = 0;
        // SAFETY: waits for the child made above.
        unsafe { libc::waitpid(child, &raw mut status, libc::WUNTRACED) };
        assert!(libc::WIFSTOPPED(status), "the child found its handles usable");
        assert!(probe.is_locked(1).unwrap(), "the child's copy must not release the parent's lock");
        drop(lock);
        assert!(!probe.is_locked(1).unwrap(), "the child must not hold the lock after the parent");
        // SAFETY: ends and collects the child made above.
        unsafe {
            libc::kill(child, libc::SIGKILL);
            libc::waitpid(child, &raw mut status, 0);
        }
    }

    /// L4: nothing that runs at a `fork` has seen this one.
    #[test]
    fn a_child_made_past_fork_cannot_use_the_handle_and_keeps_the_locks_of_its_parent() {
        let scratch = Scratch::new("clone");
        let lock = LockFile::open_or_create(&scratch.0).unwrap();
        assert!(lock.try_lock(1).unwrap());
        let probe = Probe::open(&scratch.0).unwrap();
        // SAFETY: as `fork`, without its handlers; the child makes system calls only, then ends.
        let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
        if child == 0 {
            let refused = matches!(lock.try_lock(2), Err(SysError::Forked));
            lock.unlock_all();
            // SAFETY: ends this child only.
            unsafe { libc::_exit(i32::from(!refused)) };
        }
        let (child, mut status) = (i32::try_from(child).unwrap(), 0);
        // SAFETY: waits for the child made above.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "the child could use the handle");
        assert!(probe.is_locked(1).unwrap(), "the child gave up the lock of its parent");
        assert!(!probe.is_locked(2).unwrap());
    }

    #[test]
    fn links_and_directories_are_refused() {
        let scratch = Scratch::new("link");
        std::os::unix::fs::symlink("/dev/null", &scratch.0).unwrap();
        assert!(matches!(LockFile::open_or_create(&scratch.0), Err(SysError::Symlink { .. })));
        assert!(matches!(Probe::open(Path::new("/dev/shm")), Err(SysError::NotRegularFile { .. })));
        assert!(matches!(Probe::open(Path::new("/dev/null")), Err(SysError::NotRegularFile { .. })));
        assert!(Probe::open(Path::new("/dev/shm/aerostore-missing")).unwrap_err().is_not_found());
    }
}
