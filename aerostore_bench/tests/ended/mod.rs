//! A program that is ended while it works, and what it leaves.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Longer than anything here takes.
const WATCHDOG: Duration = Duration::from_mins(3);

/// Folders for all that a program makes.
pub(crate) struct Folders {
    temp: PathBuf,
    shm: PathBuf,
}

impl Folders {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("aerostore-test-{name}-{}", std::process::id());
        let folders = Self { temp: std::env::temp_dir().join(&name), shm: Path::new("/dev/shm").join(name) };
        for dir in folders.both() {
            std::fs::create_dir_all(dir).unwrap();
        }
        folders
    }

    pub(crate) fn both(&self) -> [&Path; 2] {
        [&self.temp, &self.shm]
    }

    /// Starts a program on them; what it prints goes into a file beside.
    pub(crate) fn start(&self, program: &str, arguments: &[&str]) -> Program {
        let output = self.temp.with_extension("output");
        let child = Command::new(program)
            .args(arguments)
            .env("TMPDIR", &self.temp)
            .env("AEROSTORE_BENCH_SHM", &self.shm)
            .stdout(File::create(&output).unwrap())
            .spawn()
            .unwrap();
        Program { child, output }
    }

    /// Names of what is in them.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = self.both().map(|dir| std::fs::read_dir(dir).unwrap());
        let names = entries.into_iter().flatten().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).collect()
    }

    /// Processes that were called with a name in these folders, by what they were called with.
    fn users(&self) -> Vec<String> {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
        lines.filter(|line| self.both().iter().any(|dir| line.contains(dir.to_str().unwrap()))).collect()
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        // Nothing there is as good as removed.
        let _ = self.both().map(std::fs::remove_dir_all);
        let _ = std::fs::remove_file(self.temp.with_extension("output"));
    }
}

/// One that was started; killed if a test fails.
pub(crate) struct Program {
    child: Child,
    output: PathBuf,
}

impl Program {
    /// Until it has printed this.
    fn wait_for(&mut self, text: &str) {
        self.watch(|program| {
            assert_eq!(program.child.try_wait().unwrap(), None, "it has ended early");
            std::fs::read_to_string(&program.output).unwrap().contains(text).then_some(())
        });
    }

    /// Until it has ended: how.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.watch(|program| program.child.try_wait().unwrap()).code()
    }

    fn send(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    fn watch<R>(&mut self, look: impl Fn(&mut Self) -> Option<R>) -> R {
        let begin = Instant::now();
        loop {
            if let Some(seen) = look(self) {
                return seen;
            }
            assert!(begin.elapsed() < WATCHDOG, "it takes too long");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Ended is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a program, sends it a signal `later` than it has printed something and has files and processes, and looks for what it leaves.
pub(crate) fn leaves_nothing(
    name: &str,
    program: &str,
    arguments: &[&str],
    printed: &str,
    later: Duration,
    signal: (&str, i32),
) {
    let folders = Folders::new(name);
    let mut program = folders.start(program, arguments);
    program.wait_for(printed);
    program.watch(|_| (!folders.names().is_empty() && !folders.users().is_empty()).then_some(()));
    std::thread::sleep(later);
    program.send(signal.0);
    assert_eq!(program.wait(), Some(128 + signal.1));
    assert_eq!(folders.names(), [""; 0]);
    assert_eq!(folders.users(), [""; 0]);
}
