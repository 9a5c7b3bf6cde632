//! A disk in memory, for tests: it knows what was synced, can fail at any call, and shows what a power loss may leave.
//!
//! Rules       M1 to M3 of [`contents`], and M4: of the names that were made, renamed or removed since their directory was synced, a
//!             power loss leaves any, and takes any; a rename is done or not. M5: an operation takes effect under one lock; before
//!             it and after it is a *step*, at which a test may kill or overtake somebody, and keep what the disk is like then.

mod contents;

use super::{FileSystem, LogFile};
use contents::{Contents, SECTOR};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// A kind of call that can be told to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    /// Leaves its first half behind; no room.
    Write,
    /// Of a file: nothing is known of what was to be synced.
    Sync,
    /// Of a directory.
    SyncDir,
    Create,
    /// Leaves the file longer by most of it, as ext4 does; no room.
    Preallocate,
    SetLen,
    Rename,
    Remove,
}

impl Call {
    pub(crate) const ALL: [Self; 8] = [
        Self::Write,
        Self::Sync,
        Self::SyncDir,
        Self::Create,
        Self::Preallocate,
        Self::SetLen,
        Self::Rename,
        Self::Remove,
    ];

    /// What it says when it fails, unless a test says otherwise.
    fn error(self) -> i32 {
        match self {
            Self::Write | Self::Preallocate | Self::Create => libc::ENOSPC,
            _ => libc::EIO,
        }
    }
}

/// Which calls of a kind fail: so many, after so many that do not.
#[derive(Debug, Clone, Copy)]
struct Failing {
    after: u64,
    count: u64,
    error: i32,
    has_failed: bool,
}

/// A change of names that no sync of their directory has settled.
#[derive(Debug, Clone)]
enum Naming {
    Made(PathBuf, u64),
    Renamed(PathBuf, PathBuf, u64),
    Removed(PathBuf),
}

impl Naming {
    fn is_in(&self, dir: &Path) -> bool {
        let (Self::Made(path, _) | Self::Renamed(path, _, _) | Self::Removed(path)) = self;
        path.parent() == Some(dir)
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Made(path, file) => {
                names.insert(path.clone(), *file);
            }
            Self::Renamed(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
            Self::Removed(path) => {
                names.remove(path);
            }
        }
    }
}

/// All of a disk. A copy is cheap, and a disk of its own from then on.
#[derive(Debug, Default, Clone)]
struct Disk {
    files: BTreeMap<u64, Arc<Contents>>,
    names: BTreeMap<PathBuf, u64>,
    settled_names: BTreeMap<PathBuf, u64>,
    unsettled: Vec<Naming>,
    next_file: u64,
}

/// Something of a test's that is called in the middle of somebody's operation.
struct Hook<F: ?Sized>(Box<F>);

impl<F: ?Sized> fmt::Debug for Hook<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

/// A disk as it was at one step, and what the test said to that.
#[derive(Debug)]
pub(crate) struct Moment {
    pub(crate) mark: u64,
    disk: Disk,
}

impl Moment {
    /// What a power loss at that step leaves, as [`MemoryFileSystem::power_loss`] says.
    pub(crate) fn power_loss(&self, keep: impl FnMut() -> bool) -> MemoryFileSystem {
        MemoryFileSystem::of(self.disk.after_power_loss(keep))
    }
}

#[derive(Debug)]
struct Recording {
    mark: Hook<dyn Fn() -> u64 + Send>,
    moments: Vec<Moment>,
    /// Whether the disk has changed since the last moment.
    is_changed: bool,
}

#[derive(Debug, Default)]
struct State {
    disk: Disk,
    /// What it says is free; none for all there may be.
    free_bytes: Option<u64>,
    /// Whether it makes files longer without a reservation.
    cannot_reserve: bool,
    /// How often each file is open.
    open: BTreeMap<u64, usize>,
    failing: BTreeMap<Call, Failing>,
    /// What to call at which step.
    hook: Option<(u64, Hook<dyn FnOnce() + Send>)>,
    steps: u64,
    recording: Option<Recording>,
}

/// A file system in memory; clones share it.
#[derive(Debug, Default, Clone)]
pub(crate) struct MemoryFileSystem {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct MemoryFile {
    fs: MemoryFileSystem,
    file: u64,
}

impl Disk {
    fn make(&mut self, path: &Path, contents: Arc<Contents>) -> u64 {
        self.next_file += 1;
        self.files.insert(self.next_file, contents);
        self.names.insert(path.to_path_buf(), self.next_file);
        self.next_file
    }

    fn change_names(&mut self, naming: Naming) {
        naming.apply(&mut self.names);
        self.unsettled.push(naming);
    }

    fn contents(&mut self, file: u64) -> &mut Contents {
        Arc::make_mut(self.files.get_mut(&file).unwrap())
    }

    fn after_power_loss(&self, mut keep: impl FnMut() -> bool) -> Self {
        let mut names = self.settled_names.clone();
        for naming in &self.unsettled {
            if keep() {
                naming.apply(&mut names);
            }
        }
        let mut after = Self::default();
        for (path, file) in names {
            let contents = &self.files[&file];
            let left = contents.after_power_loss(&mut keep).map_or_else(|| Arc::clone(contents), Arc::new);
            after.make(&path, left);
        }
        after.settled_names.clone_from(&after.names);
        after
    }
}

impl MemoryFileSystem {
    fn of(disk: Disk) -> Self {
        Self { state: Arc::new(Mutex::new(State { disk, ..State::default() })) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Lets `count` calls of a kind fail, after `after` more that do not.
    pub(crate) fn fail(&self, call: Call, after: u64, count: u64) {
        self.state().failing.insert(call, Failing { after, count, error: call.error(), has_failed: false });
    }

    /// Says from now on that so much is free, whatever is written.
    pub(crate) fn set_free_bytes(&self, bytes: Option<u64>) {
        self.state().free_bytes = bytes;
    }

    /// Makes files longer from now on, and reserves nothing for them.
    pub(crate) fn reserve_nothing(&self) {
        self.state().cannot_reserve = true;
    }

    /// Lets no call fail any more; whether one that was to fail did.
    pub(crate) fn heal(&self) -> bool {
        std::mem::take(&mut self.state().failing).values().any(|failing| failing.has_failed)
    }

    /// Lets the next `count` syncs of files fail.
    pub(crate) fn fail_syncs(&self, count: u32) {
        self.fail(Call::Sync, 0, count.into());
    }

    /// Lets the next `count` syncs of files find out that there is no room.
    pub(crate) fn fill_at_syncs(&self, count: u32) {
        let failing = Failing { after: 0, count: count.into(), error: libc::ENOSPC, has_failed: false };
        self.state().failing.insert(Call::Sync, failing);
    }

    /// Lets writes fail after `count` more; `None`: heals.
    pub(crate) fn fail_writes_after(&self, count: Option<u64>) {
        self.fail(Call::Write, count.unwrap_or(0), count.map_or(0, |_| u64::MAX));
    }

    /// Calls `hook` once, `step` steps from now: a writer can be killed there, by a panic, or overtaken.
    pub(crate) fn at_step(&self, step: u64, hook: impl FnOnce() + Send + 'static) {
        let mut state = self.state();
        state.hook = Some((state.steps + step, Hook(Box::new(hook))));
    }

    /// Forgets the hook; whether it had not been called.
    pub(crate) fn clear_hook(&self) -> bool {
        self.state().hook.take().is_some()
    }

    /// Keeps the disk as it is at every step from now on, with what `mark` says at that moment.
    pub(crate) fn record(&self, mark: impl Fn() -> u64 + Send + 'static) {
        self.state().recording =
            Some(Recording { mark: Hook(Box::new(mark)), moments: Vec::new(), is_changed: true });
    }

    /// Ends the recording: every step at which the disk or the mark was another than before.
    pub(crate) fn recorded(&self) -> Vec<Moment> {
        self.state().recording.take().map_or_else(Vec::new, |recording| recording.moments)
    }

    fn step(&self) {
        let mut state = self.state();
        state.steps += 1;
        state.note_moment();
        let due = state.hook.as_ref().is_some_and(|hook| hook.0 < state.steps);
        let hook = if due { state.hook.take() } else { None };
        drop(state);
        if let Some((_, Hook(hook))) = hook {
            hook();
        }
    }

    /// An operation on the disk with a step on both sides, unless calls of its kind are to fail.
    fn operation<T>(&self, call: Call, run: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        self.operation_that_may_fail(call, |disk, failure| failure.map_or_else(|| run(disk), Err))
    }

    /// The same for one that has an effect when it fails: `run` is told.
    fn operation_that_may_fail<T>(
        &self,
        call: Call,
        run: impl FnOnce(&mut Disk, Option<io::Error>) -> io::Result<T>,
    ) -> io::Result<T> {
        self.step();
        let mut state = self.state();
        let failure = state.failure(call);
        let result = run(&mut state.disk, failure);
        if let Some(recording) = &mut state.recording {
            recording.is_changed = true;
        }
        drop(state);
        self.step();
        result
    }

    fn handle(&self, file: u64) -> Box<dyn LogFile> {
        *self.state().open.entry(file).or_default() += 1;
        Box::new(MemoryFile { fs: self.clone(), file })
    }

    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.state().disk.names.keys().cloned().collect()
    }

    pub(crate) fn bytes(&self, path: &Path) -> Vec<u8> {
        let state = self.state();
        state.disk.files[&state.disk.names[path]].bytes().to_vec()
    }

    /// Lets a file have these contents, all on the disk, whether it was there or not.
    pub(crate) fn set_bytes(&self, path: &Path, bytes: Vec<u8>) {
        let disk = &mut self.state().disk;
        let contents = Arc::new(Contents::settled(bytes));
        let file = match disk.names.get(path) {
            Some(&file) => {
                disk.files.insert(file, contents);
                file
            }
            None => disk.make(path, contents),
        };
        disk.settled_names.insert(path.to_path_buf(), file);
    }

    /// What a power loss now may leave: of each change that no sync has settled `keep` says whether it reached the disk, of several of one
    /// sector or length the newest first.
    pub(crate) fn power_loss(&self, keep: impl FnMut() -> bool) -> Self {
        Self::of(self.state().disk.after_power_loss(keep))
    }
}

impl State {
    /// What a call says that is to fail now.
    fn failure(&mut self, call: Call) -> Option<io::Error> {
        let failing = self.failing.get_mut(&call)?;
        if failing.after > 0 {
            failing.after -= 1;
            return None;
        }
        let fails = failing.count > 0;
        failing.count = failing.count.saturating_sub(1);
        failing.has_failed |= fails;
        fails.then(|| io::Error::from_raw_os_error(failing.error))
    }

    fn note_moment(&mut self) {
        let Some(recording) = &mut self.recording else { return };
        let mark = (recording.mark.0)();
        if recording.is_changed || recording.moments.last().is_none_or(|last| last.mark != mark) {
            recording.is_changed = false;
            recording.moments.push(Moment { mark, disk: self.disk.clone() });
        }
    }
}

impl FileSystem for MemoryFileSystem {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        let file = self.operation(Call::Create, |disk| {
            if disk.names.contains_key(path) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            let file = disk.make(path, Arc::default());
            disk.change_names(Naming::Made(path.to_path_buf(), file));
            Ok(file)
        })?;
        Ok(self.handle(file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        let file = *self.state().disk.names.get(path).ok_or(ErrorKind::NotFound)?;
        Ok(self.handle(file))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        self.open(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.step();
        let state = self.state();
        let names = state.disk.names.keys().filter(|path| path.parent() == Some(dir));
        let names = names.filter_map(|path| path.file_name()).map(OsString::from).collect();
        drop(state);
        self.step();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operation(Call::Rename, |disk| {
            let file = *disk.names.get(from).ok_or(ErrorKind::NotFound)?;
            disk.change_names(Naming::Renamed(from.to_path_buf(), to.to_path_buf(), file));
            Ok(())
        })
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operation(Call::Rename, |disk| {
            let file = *disk.names.get(from).ok_or(ErrorKind::NotFound)?;
            if disk.names.contains_key(to) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            disk.change_names(Naming::Renamed(from.to_path_buf(), to.to_path_buf(), file));
            Ok(())
        })
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(self.state().free_bytes.unwrap_or(u64::MAX))
    }

    fn is_unshared(&self, path: &Path) -> io::Result<bool> {
        self.step();
        let state = self.state();
        let file = state.disk.names.get(path).ok_or(ErrorKind::NotFound)?;
        let is_open = state.open.get(file).is_some_and(|count| *count > 0);
        drop(state);
        self.step();
        Ok(!is_open)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.operation(Call::Remove, |disk| {
            if !disk.names.contains_key(path) {
                return Err(ErrorKind::NotFound.into());
            }
            disk.change_names(Naming::Removed(path.to_path_buf()));
            Ok(())
        })
    }

    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.operation(Call::SyncDir, |disk| {
            let Disk { settled_names, unsettled, .. } = disk;
            unsettled.retain(|naming| {
                let is_settled = naming.is_in(dir);
                if is_settled {
                    naming.apply(settled_names);
                }
                !is_settled
            });
            Ok(())
        })
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        // A test that has failed may have left the lock poisoned.
        if let Ok(mut state) = self.fs.state.lock()
            && let Some(count) = state.open.get_mut(&self.file)
        {
            *count -= 1;
        }
    }
}

impl MemoryFile {
    fn read<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T {
        look(self.fs.state().disk.files[&self.file].bytes())
    }
}

impl LogFile for MemoryFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap();
        self.fs.operation_that_may_fail(Call::Write, |disk, failure| {
            let written = if failure.is_some() { &bytes[..bytes.len() / 2] } else { bytes };
            disk.contents(self.file).write(start, written);
            failure.map_or(Ok(()), Err)
        })
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        Ok(self.read(|bytes| {
            let start = usize::try_from(offset).unwrap().min(bytes.len());
            let count = into.len().min(bytes.len() - start);
            into[..count].copy_from_slice(&bytes[start..start + count]);
            count
        }))
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.fs.operation_that_may_fail(Call::Sync, |disk, failure| {
            disk.contents(self.file).sync(failure.is_none());
            failure.map_or(Ok(()), Err)
        })
    }

    fn preallocate(&mut self, length: u64) -> io::Result<bool> {
        let length = usize::try_from(length).unwrap();
        let reserves = !self.fs.state().cannot_reserve;
        self.fs.operation_that_may_fail(Call::Preallocate, |disk, failure| {
            let contents = disk.contents(self.file);
            let before = contents.bytes().len();
            if before < length {
                contents.set_length(if failure.is_some() { length - (length - before) / 10 } else { length });
            }
            failure.map_or(Ok(reserves), Err)
        })
    }

    fn set_len(&mut self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).unwrap();
        self.fs.operation(Call::SetLen, |disk| {
            disk.contents(self.file).set_length(length);
            Ok(())
        })
    }

    /// As a file system does that knows which sectors were written.
    fn data_ranges(&self, offset: u64) -> io::Result<Vec<Range<u64>>> {
        let step = SECTOR as u64;
        Ok(self.read(|bytes| {
            let mut ranges = Vec::new();
            for (sector, start) in bytes.chunks(SECTOR).zip((0_u64..).step_by(SECTOR)) {
                if start + step > offset && sector.iter().any(|&byte| byte != 0) {
                    ranges.push(start.max(offset)..start + step);
                }
            }
            ranges
        }))
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.read(|bytes| bytes.len() as u64))
    }
}

#[cfg(test)]
mod tests;
