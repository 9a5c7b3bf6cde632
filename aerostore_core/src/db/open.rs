//! Opening: who makes the mapping, who attaches, what is recovered.
//!
//! Everything here happens under two locks that the kernel drops on death: one byte of the data directory's `identity`, so that
//! one process at a time opens the directory, and one byte of the mapping's file, so that one at a time makes or attaches it.
//! A mapping becomes `ready` last: one whose maker died is made again.

#![forbid(unsafe_code)]

use crate::checkpoint::Places;
use crate::db::aside::{self, SetAside};
use crate::db::builder::DatabaseBuilder;
use crate::db::config::Config;
use crate::db::database::Inner;
use crate::db::identity::{DataDir, uuid_text};
use crate::db::opening::{self, Beats};
use crate::db::{BootReport, Database, Error, OpenMode};
use crate::epoch::{ProcessEntry, Registry, RegistryHeader, Slot};
use crate::index::HashTable;
use crate::mvcc::{Catalog, RowHeader, TableRoot, TxnRecord, Version};
use crate::recovery::{self, Recovered, Salvaged};
use crate::shm::{Arena, ArenaExpect, ArenaOptions, INIT_LOCK_BYTE, ShmError};
use crate::sync::Ordering;
use crate::sys::Opener;
use crate::sys::{Create, LockFile, RegularFile};
use crate::sys::{file_system_space, monotonic_ns, random_uuid};
use crate::txn::{Session, Store, SystemArea, reap_dead_processes, settle_dead_processes};
use crate::wal::{LogControl, RingHeader};
use std::mem::size_of;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const DEFAULT_SHM_PATH: &str = "/dev/shm/aerostore.mmap";
const SHM_PATH_VARIABLE: &str = "AEROSTORE_SHM_PATH";
/// The smallest mapping that has room for tables, logs and what is kept back.
const BYTES_MIN: u64 = 16 << 20;
/// The largest: slab numbers have 32 bits.
const BYTES_MAX: u64 = 1 << 48;
/// Threads that recover a database; more would wait for each other's memory.
const RECOVERY_THREADS_MAX: usize = 16;
/// So many sessions of dead processes may wait until they are reaped: those of processes that open a database and are killed before
/// their workers come to it.
const UNREAPED_MAX: u32 = 64;
/// How often to begin again when the mapping's path names another file each time.
const OPEN_ATTEMPTS: u32 = 10;
/// Arena roots that hold the mapping's instance: which mapping of its database it is.
const INSTANCE_ROOTS: [usize; 2] = [0, 1];
/// Raise when the meaning of anything in the arena changes without its size changing.
const LAYOUT_VERSION: u64 = 9;

/// A hash of what upper layers keep in the arena: builds that disagree refuse each other's mappings.
fn layout_hash() -> u64 {
    let sizes = [
        LAYOUT_VERSION,
        size_of::<RegistryHeader>() as u64,
        size_of::<ProcessEntry>() as u64,
        size_of::<Slot>() as u64,
        size_of::<Catalog>() as u64,
        size_of::<TableRoot>() as u64,
        size_of::<TxnRecord>() as u64,
        size_of::<RowHeader>() as u64,
        size_of::<Version>() as u64,
        size_of::<HashTable>() as u64,
        size_of::<LogControl>() as u64,
        size_of::<RingHeader>() as u64,
        SystemArea::bytes(),
    ];
    let mut bytes = [[0; 8]; 13];
    for (place, size) in bytes.iter_mut().zip(sizes) {
        *place = size.to_le_bytes();
    }
    xxhash_rust::xxh3::xxh3_64(bytes.as_flattened())
}

/// A mapping that is attached, or made and empty.
struct Mapped {
    arena: Arena,
    /// Signs of life, of who has made it and fills it.
    beats: Option<Beats>,
}

pub(super) fn open(options: &DatabaseBuilder) -> Result<Database, Error> {
    let started = monotonic_ns();
    let opened_by = Opener::this_process();
    let shm = shm_path(options)?;
    if !options.ring_bytes.is_power_of_two() || !(4096..=(1 << 20)).contains(&options.ring_bytes) {
        return Err(Error::Config {
            reason: "the log ring's size must be a power of two from 4096 to 1048576 bytes".to_owned(),
        });
    }
    if let Some(bytes) = options.max_bytes
        && !(BYTES_MIN..=BYTES_MAX).contains(&bytes)
    {
        return Err(Error::Config {
            reason: format!(
                "a mapping of {bytes} bytes is not possible: must be from {BYTES_MIN} to {BYTES_MAX}"
            ),
        });
    }
    if options.read_only && !DataDir::exists(&options.dir) {
        return Err(Error::NoDatabase { dir: options.dir.clone() });
    }
    let dir = DataDir::open(&options.dir)?;
    let mut set_aside = None;
    let (lock, file, mut mapped) = loop {
        let (lock, file) = lock_mapping(&shm)?;
        match map(&file, &dir, options)? {
            Ok(mapped) => break (lock, file, mapped),
            Err(useless) => set_aside = Some(useless),
        }
    };
    let made = mapped.beats.is_some();
    let arena = mapped.arena.clone();
    let (start, _) = arena.system_area();
    let system = SystemArea::at(start);
    let registry = Registry::attach(arena.clone(), system.registry(), lock, file.probe())?;
    let store = Arc::new(Store::new(arena.clone(), Arc::new(registry), system, options.ring_bytes)?);
    let mut session = Box::new(Session::new(Arc::clone(&store))?);
    let (mut recovered, mut salvaged) = (Recovered::default(), None);
    if made {
        (recovered, salvaged) = recover(&mut session, &dir, options)?;
        dir.set_current(set_instance(&arena)?)?;
        arena.header().set_ready();
    }
    arena.header().set_clean(false);
    store.registry().unlock(INIT_LOCK_BYTE)?;
    mapped.beats = None;
    // Nobody waits for the dead from here on; what they held is given back by the worker, unless it has come to be a lot.
    let reaped = if made { 0 } else { settle_dead_processes(&mut session)? };
    if reaped > UNREAPED_MAX {
        reap_dead_processes(&mut session)?;
    }
    dir.opened()?;
    let boot = BootReport {
        dir: options.dir.clone(),
        shm,
        mode: match (made, recovered.last_ts) {
            (false, _) => OpenMode::Warm,
            (true, 0) => OpenMode::New,
            (true, _) => OpenMode::Cold,
        },
        set_aside,
        salvaged,
        rows: row_count(&session)?,
        reaped,
        elapsed_us: 0,
        checkpoint: recovered.checkpoint,
        loaded: recovered.rows_loaded,
        passed_over: recovered.passed_over,
        recovery_us: [recovered.load_us, recovered.replay_us, recovered.index_us],
        replayed: recovered.transactions,
        torn: recovered.torn,
    };
    let config = Arc::new(Config::new(options.synchronous_commit));
    let boot = BootReport { elapsed_us: (monotonic_ns() - started) / 1000, ..boot };
    let unwritten = store.log().durable_ts() < store.clock().now();
    let inner = Inner::new(store, dir, boot, config, opened_by, options);
    inner.pool().put(session);
    if unwritten && !options.read_only {
        // What was committed before everybody died goes to disk now, whether or not this process writes.
        inner.start_worker()?;
    }
    Ok(Database(Arc::new(inner)))
}

/// Puts what the files hold into the empty mapping.
fn recover(
    session: &mut Session,
    dir: &DataDir,
    options: &DatabaseBuilder,
) -> Result<(Recovered, Option<Salvaged>), Error> {
    let (checkpoints, log) = (dir.checkpoint_dir(), dir.wal_dir());
    let files = options.files.as_ref();
    let places = Places { files, checkpoints: &checkpoints, log: &log, uuid: dir.uuid() };
    let mut salvaged = None;
    if options.salvage && !options.read_only {
        let attic = dir.path().join(format!("salvaged-{}", uuid_text(&random_uuid()?)));
        salvaged = recovery::salvage(&places, &attic)?;
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(RECOVERY_THREADS_MAX);
    let mut tell = |progress| {
        if let Some(on_recovery) = &options.on_recovery {
            on_recovery.tell(progress);
        }
    };
    Ok((recovery::recover(session, &places, threads, &mut tell)?, salvaged))
}

/// Takes the lock of the mapping's file and opens that same file again, to be mapped: the path may name another one by the
/// time the lock is ours.
fn lock_mapping(shm: &Path) -> Result<(LockFile, RegularFile), Error> {
    for _ in 0..OPEN_ATTEMPTS {
        let lock = match LockFile::open(shm) {
            Err(error) if error.is_not_found() => LockFile::open_or_create(shm),
            opened => opened,
        }
        .map_err(ShmError::from)?;
        opening::lock(&lock, shm)?;
        match RegularFile::open(shm, Create::Never) {
            Ok(file) if lock.is_of(&file) => return Ok((lock, file)),
            Ok(_) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(ShmError::from(error).into()),
        }
    }
    Err(Error::Busy { reason: format!("{} keeps being removed while it is opened", shm.display()) })
}

fn shm_path(options: &DatabaseBuilder) -> Result<PathBuf, Error> {
    if let Some(path) = &options.shm_path {
        return Ok(path.clone());
    }
    match std::env::var_os(SHM_PATH_VARIABLE) {
        Some(path) if path.is_empty() => {
            Err(Error::Config { reason: format!("the environment variable {SHM_PATH_VARIABLE} is empty") })
        }
        Some(path) => Ok(PathBuf::from(path)),
        None => Ok(PathBuf::from(DEFAULT_SHM_PATH)),
    }
}

/// Attaches the mapping in `file`, or makes one; the inner error is that it was set aside instead.
fn map(
    file: &RegularFile,
    dir: &DataDir,
    options: &DatabaseBuilder,
) -> Result<Result<Mapped, SetAside>, Error> {
    let shm = file.path();
    let layout_hash = layout_hash();
    match Arena::attach_in(file, &ArenaExpect { uuid: Some(dir.uuid()), layout_hash }) {
        Ok(arena) if dir.current() == Some(instance(&arena)) => Ok(Ok(Mapped { arena, beats: None })),
        // An older mapping of this database: the log has gone on with another one.
        Ok(_) => aside::set_left_behind_aside(file, dir).map(Err),
        Err(ShmError::UuidMismatch { found, expected, .. }) => Err(Error::Mismatch {
            mapping: shm.to_owned(),
            dir: dir.path().to_owned(),
            reason: format!(
                "the mapping is of database {}, the directory of database {}",
                uuid_text(&found),
                uuid_text(&expected)
            ),
        }),
        Err(error) if error.is_absent() => make(file, dir, options, layout_hash).map(Ok),
        Err(error) => aside::set_aside(file, dir, error).map(Err),
    }
}

fn make(
    file: &RegularFile,
    dir: &DataDir,
    options: &DatabaseBuilder,
    layout_hash: u64,
) -> Result<Mapped, Error> {
    let shm = file.path();
    if dir.has_peers()? {
        return Err(Error::Mismatch {
            mapping: shm.to_owned(),
            dir: dir.path().to_owned(),
            reason:
                "the directory is open in a process that uses another mapping (or this one, since deleted)"
                    .to_owned(),
        });
    }
    let max_bytes = match options.max_bytes {
        Some(bytes) => bytes,
        None => file_system_space(shm)?.bytes / 2,
    };
    let beats = Beats::begin(file)?;
    let arena = Arena::create_in(
        file,
        &ArenaOptions {
            max_bytes,
            system_bytes: SystemArea::bytes(),
            uuid: dir.uuid(),
            layout_hash,
            ..ArenaOptions::default()
        },
    )?;
    Ok(Mapped { arena, beats: Some(beats) })
}

fn instance(arena: &Arena) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (part, root) in bytes.chunks_exact_mut(8).zip(INSTANCE_ROOTS) {
        part.copy_from_slice(&arena.root(root).load(Ordering::Acquire).to_le_bytes());
    }
    bytes
}

fn set_instance(arena: &Arena) -> Result<[u8; 16], Error> {
    let bytes = random_uuid()?;
    for (part, root) in bytes.chunks_exact(8).zip(INSTANCE_ROOTS) {
        let mut word = [0; 8];
        word.copy_from_slice(part);
        arena.root(root).store(u64::from_le_bytes(word), Ordering::Release);
    }
    Ok(bytes)
}

pub(super) fn row_count(session: &Session) -> Result<u64, Error> {
    let guard = session.participant().pin();
    let tables = session.store().catalog().tables(&guard)?;
    let live = tables.iter().filter(|(_, root)| root.is_live());
    Ok(live.map(|(_, root)| root.row_count.load(Ordering::Relaxed)).sum())
}
