//! Clocks and identities: time every process agrees on, the boot this is, fresh random names.

use std::path::Path;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use super::SysError;

/// Nanoseconds of `CLOCK_MONOTONIC`: the same for all processes of this boot, never set back.
#[inline]
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid place for the result; CLOCK_MONOTONIC exists on every Linux, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// As [`monotonic_ns`], a few milliseconds coarse and several times quicker.
#[inline]
pub fn coarse_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: as in `monotonic_ns`; CLOCK_MONOTONIC_COARSE exists since Linux 2.6.32.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut now) };
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// Nanoseconds that the calling thread has had of a processor.
pub fn thread_cpu_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: as in `monotonic_ns`; CLOCK_THREAD_CPUTIME_ID exists since Linux 2.6.12.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut now) };
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// Seconds since 1970-01-01 UTC; 0 when the clock stands before it.
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// The kernel's identity of this boot: what a mapping on tmpfs cannot outlive.
///
/// # Errors
/// `Io` when `/proc` is not mounted or holds something unexpected.
pub fn boot_id() -> Result<[u8; 16], SysError> {
    static BOOT: OnceLock<[u8; 16]> = OnceLock::new();
    if let Some(boot) = BOOT.get() {
        return Ok(*boot);
    }
    let boot = read_boot_id()?;
    Ok(*BOOT.get_or_init(|| boot))
}

fn read_boot_id() -> Result<[u8; 16], SysError> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let text = std::fs::read_to_string(path).map_err(|source| SysError::io("read", path, source))?;
    parse_uuid(text.trim()).ok_or_else(|| {
        SysError::io("parse", path, std::io::Error::new(std::io::ErrorKind::InvalidData, text.trim()))
    })
}

/// Sixteen random bytes from the kernel, marked as a version 4 UUID.
///
/// # Errors
/// `Io` when the kernel has no randomness to give.
pub fn random_uuid() -> Result<[u8; 16], SysError> {
    let mut bytes = [0_u8; 16];
    // SAFETY: `bytes` is writable for the length given.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got != 16 {
        return Err(SysError::last("getrandom", Path::new("")));
    }
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Ok(bytes)
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let mut digits = text.bytes().filter(|&byte| byte != b'-').map(|byte| char::from(byte).to_digit(16));
    let mut bytes = [0_u8; 16];
    for byte in &mut bytes {
        let pair = digits.next()?? << 4 | digits.next()??;
        *byte = u8::try_from(pair).ok()?;
    }
    digits.next().is_none().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_moves_forward() {
        let first = monotonic_ns();
        assert!(monotonic_ns() >= first);
        assert!(unix_seconds() > 1_600_000_000);
    }

    #[test]
    fn identities_are_stable_or_fresh() {
        assert_eq!(boot_id().unwrap(), boot_id().unwrap());
        assert_ne!(boot_id().unwrap(), [0; 16]);
        assert_ne!(random_uuid().unwrap(), random_uuid().unwrap());
        assert_eq!(random_uuid().unwrap()[6] >> 4, 4);
    }

    #[test]
    fn malformed_uuid_is_refused() {
        assert!(parse_uuid("0123").is_none());
        assert!(parse_uuid("00112233-4455-6677-8899-aabbccddeeffaa").is_none());
        assert!(parse_uuid("g0112233-4455-6677-8899-aabbccddeeff").is_none());
        assert_eq!(parse_uuid("00112233-4455-6677-8899-aabbccddeeff").unwrap()[15], 0xff);
    }
}
