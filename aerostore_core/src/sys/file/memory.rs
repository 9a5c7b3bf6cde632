//! A disk in memory, for tests: it knows which sectors were synced, can fail, and shows what a power loss leaves.

use super::{FileSystem, LogFile};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

const SECTOR: usize = 512;

#[derive(Debug, Default, Clone)]
struct Contents {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors written since they were last synced, or since a failed sync forgot them.
    dirty: BTreeSet<usize>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<PathBuf, Arc<Mutex<Contents>>>,
    /// Names that survive power loss.
    durable_names: BTreeSet<PathBuf>,
    /// Calls until `write_at` fails for ever; `None`: never.
    writes_left: Option<u64>,
    /// Syncs of files to fail from now on.
    failing_syncs: u32,
    /// What to call at which step; every operation has a step before and one after it.
    hook: Option<(u64, Hook)>,
    steps: u64,
}

/// Called in the middle of somebody's operation.
struct Hook(Box<dyn FnOnce() + Send>);

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hook")
    }
}

/// A file system in memory; clones share it.
#[derive(Debug, Default, Clone)]
pub(crate) struct MemoryFileSystem {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct MemoryFile {
    fs: MemoryFileSystem,
    contents: Arc<Mutex<Contents>>,
}

impl MemoryFileSystem {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Lets the next `count` syncs of files fail.
    pub(crate) fn fail_syncs(&self, count: u32) {
        self.state().failing_syncs = count;
    }

    /// Lets writes fail after `count` more; `None`: heals.
    pub(crate) fn fail_writes_after(&self, count: Option<u64>) {
        self.state().writes_left = count;
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

    fn step(&self) {
        let mut state = self.state();
        state.steps += 1;
        let due = state.hook.as_ref().is_some_and(|hook| hook.0 < state.steps);
        let hook = if due { state.hook.take() } else { None };
        drop(state);
        if let Some((_, Hook(hook))) = hook {
            hook();
        }
    }

    /// An operation with a step on both sides.
    fn operation<T>(&self, run: impl FnOnce() -> T) -> T {
        self.step();
        let result = run();
        self.step();
        result
    }

    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.state().files.keys().cloned().collect()
    }

    pub(crate) fn bytes(&self, path: &Path) -> Vec<u8> {
        self.state().files[path].lock().unwrap().live.clone()
    }

    pub(crate) fn set_bytes(&self, path: &Path, bytes: Vec<u8>) {
        let contents = Contents { durable: bytes.clone(), live: bytes, dirty: BTreeSet::new() };
        self.state().files.insert(path.to_path_buf(), Arc::new(Mutex::new(contents)));
        self.state().durable_names.insert(path.to_path_buf());
    }

    /// What a power loss now leaves: synced sectors, and of each dirty one the new or the old contents, as `keep` says.
    pub(crate) fn power_loss(&self, mut keep: impl FnMut() -> bool) -> Self {
        let after = Self::default();
        let state = self.state();
        for (path, contents) in &state.files {
            if !state.durable_names.contains(path) && !keep() {
                continue;
            }
            let contents = contents.lock().unwrap();
            let mut bytes = contents.durable.clone();
            for &sector in contents.dirty.iter().filter(|_| keep()) {
                copy_sector(&contents.live, &mut bytes, sector);
            }
            after.set_bytes(path, bytes);
        }
        after
    }
}

fn copy_sector(from: &[u8], to: &mut Vec<u8>, sector: usize) {
    let start = sector * SECTOR;
    let end = from.len().min(start + SECTOR);
    if start < end {
        if to.len() < end {
            to.resize(end, 0);
        }
        to[start..end].copy_from_slice(&from[start..end]);
    }
}

impl FileSystem for MemoryFileSystem {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        self.operation(|| {
            let mut state = self.state();
            if state.files.contains_key(path) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            let contents = Arc::default();
            state.files.insert(path.to_path_buf(), Arc::clone(&contents));
            Ok(Box::new(MemoryFile { fs: self.clone(), contents }) as Box<dyn LogFile>)
        })
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        let contents = self.state().files.get(path).cloned().ok_or(ErrorKind::NotFound)?;
        Ok(Box::new(MemoryFile { fs: self.clone(), contents }))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        self.open(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.operation(|| {
            let state = self.state();
            let names = state.files.keys().filter(|path| path.parent() == Some(dir));
            Ok(names.filter_map(|path| path.file_name()).map(OsString::from).collect())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operation(|| {
            let mut state = self.state();
            let contents = state.files.remove(from).ok_or(ErrorKind::NotFound)?;
            state.files.insert(to.to_path_buf(), contents);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.operation(|| {
            let mut state = self.state();
            state.durable_names.remove(path);
            state.files.remove(path).map(|_| ()).ok_or_else(|| ErrorKind::NotFound.into())
        })
    }

    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.operation(|| {
            let mut state = self.state();
            let names: Vec<_> =
                state.files.keys().filter(|path| path.parent() == Some(dir)).cloned().collect();
            state.durable_names.extend(names);
            Ok(())
        })
    }
}

impl MemoryFile {
    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap()
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.fs.state();
        let mut fails = false;
        if let Some(left) = &mut state.writes_left {
            fails = *left == 0;
            *left = left.saturating_sub(1);
        }
        // A failing write leaves its first half behind.
        let bytes = if fails { &bytes[..bytes.len() / 2] } else { bytes };
        let mut contents = self.contents();
        let start = usize::try_from(offset).unwrap();
        let end = start + bytes.len();
        if contents.live.len() < end {
            contents.live.resize(end, 0);
        }
        contents.live[start..end].copy_from_slice(bytes);
        contents.dirty.extend(start / SECTOR..end.div_ceil(SECTOR));
        if fails { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.fs.state();
        let mut contents = self.contents();
        let dirty = std::mem::take(&mut contents.dirty);
        if state.failing_syncs > 0 {
            // The kernel forgets which pages it could not write: a later sync is good and proves nothing.
            state.failing_syncs -= 1;
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let Contents { live, durable, .. } = &mut *contents;
        durable.resize(live.len(), 0);
        for sector in dirty {
            copy_sector(live, durable, sector);
        }
        Ok(())
    }

    fn resize(&self, length: u64, shrink: bool) {
        let mut contents = self.contents();
        let length = usize::try_from(length).unwrap();
        if shrink || contents.live.len() < length {
            contents.live.resize(length, 0);
            contents.durable.truncate(length);
        }
    }
}

impl LogFile for MemoryFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.fs.operation(|| self.write(offset, bytes))
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let contents = self.contents();
        let start = usize::try_from(offset).unwrap().min(contents.live.len());
        let count = into.len().min(contents.live.len() - start);
        into[..count].copy_from_slice(&contents.live[start..start + count]);
        Ok(count)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.fs.operation(|| self.sync())
    }

    fn preallocate(&mut self, length: u64) -> io::Result<()> {
        self.fs.operation(|| self.resize(length, false));
        Ok(())
    }

    fn set_len(&mut self, length: u64) -> io::Result<()> {
        self.fs.operation(|| self.resize(length, true));
        Ok(())
    }

    /// As a file system does that knows which sectors were written.
    fn data_ranges(&self, offset: u64) -> io::Result<Vec<std::ops::Range<u64>>> {
        let contents = self.contents();
        let mut ranges = Vec::new();
        for (sector, start) in contents.live.chunks(512).zip((0_u64..).step_by(512)) {
            if start + 512 > offset && sector.iter().any(|&byte| byte != 0) {
                ranges.push(start.max(offset)..start + 512);
            }
        }
        Ok(ranges)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.contents().live.len() as u64)
    }
}
