//! What can be wrong with a mapping, or with an offset into it.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use crate::sys::SysError;

/// A mapping that cannot be used, an offset that leads nowhere, or no room.
#[derive(Debug)]
#[non_exhaustive]
pub enum ShmError {
    /// The operating system refused.
    Sys(SysError),
    /// The mapping's path is a symbolic link.
    Symlink {
        /// The link.
        path: PathBuf,
    },
    /// The mapping's path is a directory, a device, a pipe or a socket.
    NotRegularFile {
        /// What was opened.
        path: PathBuf,
    },
    /// The mapping belongs to another user.
    WrongOwner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        uid: u32,
        /// The user this process acts for.
        expected: u32,
    },
    /// The file is empty or its creator did not finish; it can be created anew.
    NotReady {
        /// The file.
        path: PathBuf,
    },
    /// A database is in the file already.
    AlreadyExists {
        /// The file.
        path: PathBuf,
    },
    /// The file is shorter than its header says.
    Truncated {
        /// The file.
        path: PathBuf,
        /// The bytes it should have.
        expected: u64,
        /// The bytes it has.
        actual: u64,
    },
    /// The file does not begin with the magic number of an arena.
    ForeignMagic {
        /// The file.
        path: PathBuf,
        /// Its first four bytes, little-endian.
        found: u32,
    },
    /// The arena's format is of another version.
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The version this build reads.
        expected: u32,
    },
    /// The structures in the arena are laid out differently than this build expects.
    LayoutMismatch {
        /// The file.
        path: PathBuf,
        /// The hash of its layout.
        found: u64,
        /// The hash of this build's layout.
        expected: u64,
    },
    /// The arena is another database's.
    UuidMismatch {
        /// The file.
        path: PathBuf,
        /// The uuid in the file.
        found: [u8; 16],
        /// The uuid asked for.
        expected: [u8; 16],
    },
    /// The arena was made before the machine last started; what it holds may be torn.
    BootMismatch {
        /// The file.
        path: PathBuf,
    },
    /// The header, or a structure of the allocator, contradicts itself.
    Corrupt {
        /// Byte offset in the file.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// An offset or a length that lies outside the arena, or is not aligned as its type demands.
    BadOffset {
        /// The offset.
        offset: u64,
        /// The bytes wanted from there.
        bytes: u64,
    },
    /// The options make no usable arena.
    BadOptions {
        /// What is wrong with them.
        what: &'static str,
    },
    /// No block that large exists.
    TooLarge {
        /// The bytes asked for.
        bytes: u64,
        /// The largest block.
        limit: u64,
    },
    /// The arena has reached its configured size, or its file system is full.
    OutOfSpace {
        /// Bytes of the arena's file.
        used: u64,
        /// Bytes it may have.
        limit: u64,
    },
}

impl ShmError {
    /// Whether the same call can succeed after others have freed memory.
    pub fn is_out_of_space(&self) -> bool {
        match self {
            Self::OutOfSpace { .. } => true,
            Self::Sys(error) => error.is_out_of_space(),
            _ => false,
        }
    }

    /// Whether there is no database in the file, so that [`super::Arena::create`] may make one.
    pub fn is_absent(&self) -> bool {
        match self {
            Self::NotReady { .. } => true,
            Self::Sys(error) => error.is_not_found(),
            _ => false,
        }
    }
}

impl From<SysError> for ShmError {
    fn from(error: SysError) -> Self {
        match error {
            SysError::Symlink { path } => Self::Symlink { path },
            SysError::NotRegularFile { path } => Self::NotRegularFile { path },
            SysError::WrongOwner { path, uid, expected } => Self::WrongOwner { path, uid, expected },
            other => Self::Sys(other),
        }
    }
}

impl fmt::Display for ShmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sys(error) => error.fmt(f),
            Self::Symlink { path } => write!(f, "{} is a symbolic link", path.display()),
            Self::NotRegularFile { path } => write!(f, "{} is not a regular file", path.display()),
            Self::WrongOwner { path, uid, expected } => {
                write!(f, "{} belongs to user {uid}, not to user {expected}", path.display())
            }
            Self::NotReady { path } => write!(f, "{} holds no database yet", path.display()),
            Self::AlreadyExists { path } => write!(f, "{} holds a database already", path.display()),
            Self::Truncated { path, expected, actual } => {
                write!(f, "{} is truncated: {actual} bytes instead of {expected}", path.display())
            }
            Self::ForeignMagic { path, found } => {
                write!(f, "{} is no Aerostore mapping: it begins with {found:#010x}", path.display())
            }
            Self::Version { path, found, expected } => write!(
                f,
                "{} has format version {found}; this build reads version {expected}",
                path.display()
            ),
            Self::LayoutMismatch { path, found, expected } => {
                write!(f, "{} has layout {found:016x}; this build expects {expected:016x}", path.display())
            }
            Self::UuidMismatch { path, found, expected } => {
                write!(f, "{} belongs to database {}, not to {}", path.display(), Hex(found), Hex(expected))
            }
            Self::BootMismatch { path } => {
                write!(f, "{} was made before the machine last started", path.display())
            }
            Self::Corrupt { offset, what } => write!(f, "mapping corrupt at byte {offset:#x}: {what}"),
            Self::BadOffset { offset, bytes } => {
                write!(f, "offset {offset:#x} with {bytes} bytes does not lie in the arena")
            }
            Self::BadOptions { what } => f.write_str(what),
            Self::TooLarge { bytes, limit } => write!(f, "{bytes} bytes; the largest block has {limit}"),
            Self::OutOfSpace { used, limit } => {
                write!(f, "shared memory is full: {used} of at most {limit} bytes in use")
            }
        }
    }
}

impl Error for ShmError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Sys(error) => error.source(),
            _ => None,
        }
    }
}

struct Hex<'a>(&'a [u8; 16]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
