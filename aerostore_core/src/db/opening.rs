//! The lock under which a mapping is made or attached, and what tells one that takes long from one that stands still.
//!
//! Rules   O1: whoever makes a mapping and replays the log into it says every so often that it goes on, by the time of the file's last
//!         change; to attach takes microseconds, and says nothing. O2: who waits for the lock waits as long as that time changes,
//!         and gives up with an error after `SILENCE` without a change. Nobody takes the lock from a stopped process: it could not be
//!         kept from going on with a mapping that another one has made anew, and with the log of both.
//! Doubt   a mapping that grows changes that time as well: beside processes that let it grow every few seconds a stopped one is
//!         waited for until they rest.

#![forbid(unsafe_code)]

use crate::db::Error;
use crate::db::workers::spawn;
use crate::shm::{INIT_LOCK_BYTE, ShmError};
use crate::sys::{LockFile, RegularFile};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// How long another process may hold the lock without a sign that it goes on.
const SILENCE: Duration = Duration::from_secs(5);
/// How often there is one.
const BEAT: Duration = Duration::from_millis(500);

/// Takes the lock (O2).
///
/// # Errors
/// `Busy` when the process that has it stands still.
pub(super) fn lock(lock: &LockFile, shm: &Path) -> Result<(), Error> {
    if lock.try_lock(INIT_LOCK_BYTE).map_err(ShmError::from)? {
        return Ok(());
    }
    let mut last = changed_at(shm);
    while !lock.lock_wait(INIT_LOCK_BYTE, SILENCE).map_err(ShmError::from)? {
        let now = changed_at(shm);
        if now == last {
            return Err(Error::Busy {
                reason: format!(
                    "a process that is opening {} has given no sign of life for {} s: it is stopped, or cannot go on; let it go on, or end it",
                    shm.display(),
                    SILENCE.as_secs()
                ),
            });
        }
        last = now;
    }
    Ok(())
}

/// None while there is no file of that name, which then is another sign of life.
fn changed_at(shm: &Path) -> Option<SystemTime> {
    std::fs::metadata(shm).and_then(|data| data.modified()).ok()
}

/// Signs of life, as long as it lives (O1).
pub(super) struct Beats {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Beats {
    pub(super) fn begin(file: &RegularFile) -> Result<Self, Error> {
        let file = file.file().clone();
        let (end, ended) = channel();
        let thread = spawn("aerostore-open", move || {
            while ended.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                // Without it others may give up too early, with an error that says so.
                let _ = file.set_modified(SystemTime::now());
            }
        })?;
        Ok(Self { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Beats {
    fn drop(&mut self) {
        self.end.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::sys::Create;
    use std::time::Instant;

    #[test]
    fn whoever_makes_a_mapping_says_that_it_goes_on() {
        let path = std::env::temp_dir().join(format!("aerostore-test-beats-{}", std::process::id()));
        let file = RegularFile::open(&path, Create::IfMissing).unwrap();
        let before = changed_at(&path);
        let beats = Beats::begin(&file).unwrap();
        let begun = Instant::now();
        while changed_at(&path) == before {
            assert!(begun.elapsed() < SILENCE, "others would have given up");
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(beats);
        let last = changed_at(&path);
        std::thread::sleep(2 * BEAT);
        assert_eq!(changed_at(&path), last, "it says so after its end");
        std::fs::remove_file(&path).unwrap();
    }
}
