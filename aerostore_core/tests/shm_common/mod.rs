//! Paths that go away, and children that are this test binary once more.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A path under `/dev/shm` of this process's own, removed on drop.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        Self(PathBuf::from(format!("/dev/shm/aerostore-test-{}-{name}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A child process that is killed when the test ends, however it ends.
pub(crate) struct Worker(pub(crate) Child);

impl Worker {
    /// Runs the test `entry` of this binary, which takes its orders from the environment.
    pub(crate) fn start(entry: &str, orders: &[(&str, String)]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", entry, "--nocapture", "--test-threads=1"]).stdout(Stdio::null());
        command.envs(orders.iter().map(|(key, value)| (*key, value.as_str())));
        Self(command.spawn().unwrap())
    }

    pub(crate) fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.0.id()).unwrap();
        // SAFETY: the child has not been waited for, so the number is still its.
        unsafe { libc::kill(pid, signal) };
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A small generator of numbers, the same in every run for the same seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}
