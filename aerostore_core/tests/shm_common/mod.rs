//! Paths that go away, and children that are this test binary once more.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
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

/// Mounts a small tmpfs in a mount namespace of its own; where that is not allowed, false, and it says so.
pub(crate) fn mount_small(path: &Path, bytes: u64) -> bool {
    let name = CString::new(path.to_str().unwrap()).unwrap();
    let size = CString::new(format!("size={bytes}")).unwrap();
    // SAFETY: no preconditions; all strings are C strings that live through the calls.
    let mounted = unsafe {
        let spaces =
            if libc::geteuid() == 0 { libc::CLONE_NEWNS } else { libc::CLONE_NEWNS | libc::CLONE_NEWUSER };
        let private = libc::MS_REC | libc::MS_PRIVATE;
        libc::unshare(spaces) == 0
            && libc::mount(c"none".as_ptr(), c"/".as_ptr(), std::ptr::null(), private, std::ptr::null()) == 0
            && libc::mount(c"tmpfs".as_ptr(), name.as_ptr(), c"tmpfs".as_ptr(), 0, size.as_ptr().cast()) == 0
    };
    if !mounted {
        eprintln!("NOT CHECKED: a full file system, since none may be mounted here");
    }
    mounted
}

/// Fills the file system of `path` with a file of that name.
pub(crate) fn fill_up(path: &Path) -> File {
    let bytes = vec![1; 64 << 10];
    let mut file = File::create(path).unwrap();
    while file.write_all(&bytes).is_ok() {}
    file
}

/// Lets go of what is mounted there.
pub(crate) fn unmount(path: &Path) {
    let name = CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: `name` is a C string.
    unsafe { libc::umount2(name.as_ptr(), libc::MNT_DETACH) };
}

/// A small generator of numbers, the same in every run for the same seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}
