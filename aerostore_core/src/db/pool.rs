//! Sessions that wait for their next transaction.

#![forbid(unsafe_code)]

use crate::txn::Session;
use std::sync::{Mutex, PoisonError};

/// The idle sessions of a process.
#[derive(Default)]
pub(super) struct SessionPool {
    #[expect(clippy::vec_box, reason = "sessions move between transactions, which hold them boxed")]
    idle: Mutex<Vec<Box<Session>>>,
}

impl SessionPool {
    /// An idle session, the one used last first: its memory is warm.
    pub(super) fn take(&self) -> Option<Box<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Puts a session back.
    pub(super) fn put(&self, session: Box<Session>) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
    }

    /// Takes all out, to be closed.
    #[expect(clippy::vec_box, reason = "as for `idle`")]
    pub(super) fn drain(&self) -> Vec<Box<Session>> {
        std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
