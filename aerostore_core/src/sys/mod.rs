//! The operating system: mappings, liveness of processes, fork detection, futexes, clocks.
//!
//! Layout      one file per facility; nothing here knows what the mapped bytes mean.
//! Invariants  a lock descriptor is never mapped and never outlives its process, not even in a forked child.

mod clock;
mod error;
mod file;
mod fork;
mod futex;
mod liveness;
mod mapping;
mod prefetch;
mod regular;
mod width;

pub use clock::{boot_id, coarse_ns, monotonic_ns, random_uuid, thread_cpu_ns, unix_seconds};
pub use error::SysError;
pub use file::{FileSystem, LogFile, OsFileSystem};
pub use fork::Opener;
pub use futex::{WaitResult, wait, wake};
pub use liveness::{LockFile, Probe};
pub use mapping::{FileSystemSpace, Mapping, file_system_space};
pub use prefetch::prefetch;
pub use regular::{Create, RegularFile, anonymous_file};
pub use width::{u64_of, usize_of};

#[cfg(all(test, not(loom)))]
pub(crate) use file::memory::{Call, MemoryFileSystem};
