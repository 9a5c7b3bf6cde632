//! Cross-process waiting: a process sleeps on a word of shared memory until another wakes it.
//!
//! Ordering    the kernel compares the word and queues the sleeper atomically; who changes the word and then wakes
//!             cannot be missed. Sleepers still re-check their condition: every return may be spurious.

use std::ptr;
use std::time::Duration;

use crate::sync::AtomicU32;

/// Why [`wait`] returned; the condition has to be checked again in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitResult {
    /// Somebody woke us, or a signal did.
    Woken,
    /// The word did not hold the expected value, so there was no sleep.
    Changed,
    /// The time-out passed.
    TimedOut,
}

/// Sleeps while `word` holds `expected`, at most for `timeout`; works between processes that map the same file.
pub fn wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) -> WaitResult {
    let limit = timeout.map(|timeout| libc::timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(timeout.subsec_nanos()),
    });
    let limit = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the word outlives the call by its borrow, and the time-out is null or points at `limit` above.
    let answer = unsafe {
        libc::syscall(libc::SYS_futex, ptr::from_ref(word).cast::<u32>(), libc::FUTEX_WAIT, expected, limit)
    };
    if answer == 0 {
        return WaitResult::Woken;
    }
    match std::io::Error::last_os_error().raw_os_error() {
        Some(libc::EAGAIN) => WaitResult::Changed,
        Some(libc::ETIMEDOUT) => WaitResult::TimedOut,
        // A signal, or an answer that a re-check handles as well.
        _ => WaitResult::Woken,
    }
}

/// Wakes up to `count` sleepers on `word` in any process; call it after changing the word.
pub fn wake(word: &AtomicU32, count: u32) {
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    // SAFETY: FUTEX_WAKE only uses the address, which is valid by the borrow. It cannot fail with a valid address.
    unsafe { libc::syscall(libc::SYS_futex, ptr::from_ref(word).cast::<u32>(), libc::FUTEX_WAKE, count) };
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::Ordering;
    use std::sync::Arc;

    #[test]
    fn changed_word_does_not_sleep() {
        assert_eq!(wait(&AtomicU32::new(1), 0, None), WaitResult::Changed);
    }

    #[test]
    fn unwoken_sleep_times_out() {
        assert_eq!(wait(&AtomicU32::new(1), 1, Some(Duration::from_millis(5))), WaitResult::TimedOut);
    }

    #[test]
    fn wake_reaches_the_sleeper() {
        let word = Arc::new(AtomicU32::new(0));
        let sleeper = std::thread::spawn({
            let word = Arc::clone(&word);
            // Acquire: pairs with the Release store below.
            move || {
                while word.load(Ordering::Acquire) == 0 {
                    wait(&word, 0, None);
                }
            }
        });
        std::thread::sleep(Duration::from_millis(10));
        // Release: pairs with the Acquire load above.
        word.store(1, Ordering::Release);
        wake(&word, u32::MAX);
        sleeper.join().unwrap();
    }
}
