//! Errors of the epoch layer.

#![forbid(unsafe_code)]

use crate::shm::ShmError;
use crate::sys::SysError;
use std::error::Error;
use std::fmt;

/// What can go wrong while claiming, using or reaping a place in the registry.
#[derive(Debug)]
#[non_exhaustive]
pub enum EpochError {
    /// Every process entry of the mapping is taken by a living process.
    TooManyProcesses {
        /// Number of entries the mapping was made with.
        limit: u32,
    },
    /// Every slot of the mapping is taken by a living session.
    TooManySessions {
        /// Number of slots the mapping was made with.
        limit: u32,
    },
    /// The handle was made before `fork`, and this is the child: open the database again.
    ForkedHandle,
    /// The shared memory refused.
    Shm(ShmError),
    /// The operating system refused.
    Sys(SysError),
}

impl fmt::Display for EpochError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyProcesses { limit } => {
                write!(f, "all {limit} process entries of this mapping are in use")
            }
            Self::TooManySessions { limit } => {
                write!(f, "all {limit} session slots of this mapping are in use")
            }
            Self::ForkedHandle => {
                f.write_str("this handle was made before fork(); open the database again in the child")
            }
            Self::Shm(error) => error.fmt(f),
            Self::Sys(error) => error.fmt(f),
        }
    }
}

impl Error for EpochError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Shm(error) => Some(error),
            Self::Sys(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ShmError> for EpochError {
    fn from(error: ShmError) -> Self {
        Self::Shm(error)
    }
}

impl From<SysError> for EpochError {
    fn from(error: SysError) -> Self {
        Self::Sys(error)
    }
}
