//! What a program here makes and must not leave: files, mappings, and processes that use them.
//!
//! Who made them ends and removes them when it is done. When a signal ends the program (INT, TERM, HUP), a thread does: it locks the list, so that
//! nobody adds to it any more, ends the processes, removes the paths, and then the program is over. `kill -9` leaves all but the servers.

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use nix::unistd::Pid;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, Once, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long processes may take to end when they are asked to, and to write to what is removed.
const PATIENCE: Duration = Duration::from_secs(10);

/// What there is.
#[derive(Default)]
struct List {
    paths: BTreeSet<PathBuf>,
    /// By process id, what ends it.
    processes: BTreeMap<u32, Signal>,
}

static LIST: Mutex<List> = Mutex::new(List { paths: BTreeSet::new(), processes: BTreeMap::new() });

fn list() -> MutexGuard<'static, List> {
    LIST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes this path, which need not be there yet, when a signal ends the program.
pub(crate) fn add(path: &Path) {
    static WATCHED: Once = Once::new();
    // Without pipe or thread a signal is what it is to any program.
    WATCHED.call_once(|| drop(watch()));
    list().paths.insert(path.to_owned());
}

/// Removes a path now.
pub(crate) fn remove(path: &Path) {
    delete(path);
    list().paths.remove(path);
}

/// Removes a file, or a folder with what is in it: whether nothing is there any more.
pub(crate) fn delete(path: &Path) -> bool {
    let Ok(metadata) = path.symlink_metadata() else { return true };
    let removed = if metadata.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    removed.is_ok()
}

/// A process that is not to outlive this program.
#[derive(Debug)]
pub struct Dependent(Child);

impl Dependent {
    /// Starts it; `end` is the signal that ends it.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn spawn(command: &mut Command, end: Signal) -> std::io::Result<Self> {
        let mut list = list();
        let child = command.spawn()?;
        list.processes.insert(child.id(), end);
        Ok(Self(child))
    }
}

impl Deref for Dependent {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Dependent {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Dependent {
    /// Whoever has it has waited for its end.
    fn drop(&mut self) {
        list().processes.remove(&self.0.id());
    }
}

/// Whether a process has not ended; whether somebody has asked how it ended does not matter.
pub fn is_alive(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let state = status.lines().find_map(|line| line.strip_prefix("State:"));
    state.is_some_and(|state| !state.trim_start().starts_with(['Z', 'X']))
}

/// Where the handler says which signal came.
static SIGNALS: OnceLock<PipeWriter> = OnceLock::new();

extern "C" fn tell(signal: i32) {
    if let Some(mut pipe) = SIGNALS.get() {
        // Each signal that matters ends the program: the pipe never fills.
        let _ = pipe.write(&signal.to_ne_bytes());
    }
}

#[allow(unsafe_code, reason = "a signal handler")]
fn watch() -> Result<(), Box<dyn std::error::Error>> {
    let (reader, writer) = std::io::pipe()?;
    SIGNALS.set(writer).map_err(|_| "signals are watched already")?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(|| wait_for_signal(reader))?;
    let action = SigAction::new(SigHandler::Handler(tell), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: `tell` does what a handler may: it loads a pointer that was set before, and writes to a pipe.
        unsafe { sigaction(signal, &action)? };
    }
    Ok(())
}

fn wait_for_signal(mut pipe: PipeReader) {
    let mut signal = [0; size_of::<i32>()];
    if pipe.read_exact(&mut signal).is_ok() {
        clean_up();
        std::process::exit(128 + i32::from_ne_bytes(signal));
    }
}

fn clean_up() {
    // For good: nobody starts or makes anything from here on.
    let list = std::mem::ManuallyDrop::new(list());
    for (&pid, &end) in &list.processes {
        // Gone is as good as ended.
        let _ = send(pid, end);
    }
    wait_until(|| !list.processes.keys().any(|pid| is_alive(*pid)));
    for &pid in list.processes.keys() {
        let _ = send(pid, Signal::SIGKILL);
    }
    // A server's own processes may write for a moment after it.
    wait_until(|| list.paths.iter().filter(|path| !delete(path)).count() == 0);
}

fn wait_until(is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() && begin.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a signal to a child of this process.
///
/// # Errors
/// What the operating system says.
pub fn send(pid: u32, signal: Signal) -> std::io::Result<()> {
    Ok(kill(Pid::from_raw(pid.cast_signed()), signal)?)
}
