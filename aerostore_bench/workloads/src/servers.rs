//! Redis and PostgreSQL: started on a socket in the engine's own directory, and stopped again.

use crate::engines::Kind;
use crate::engines::postgres::USER;
use crate::engines::redis::socket;
use aerostore_bench::indexed::Failure;
use aerostore_bench::leftovers::{Dependent, is_alive, send};
use aerostore_bench::place::Place;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, User, geteuid};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to start, which includes reading its log.
const PATIENCE: Duration = Duration::from_mins(3);

/// What a server says, in its directory.
const LOG: &str = "server.log";

/// A running server.
pub struct Server {
    kind: Kind,
    dir: PathBuf,
    child: Dependent,
}

impl Server {
    /// Starts the server of an engine that has one, on what its directory holds. It may not answer yet.
    pub fn start(kind: Kind, place: &Place) -> Result<Option<Self>, Failure> {
        let dir = &place.dir;
        if matches!(kind, Kind::Redis | Kind::Postgres) {
            std::fs::create_dir_all(dir)?;
        }
        let child = match kind {
            Kind::Redis => redis(dir)?,
            Kind::Postgres => postgres(dir)?,
            _ => return Ok(None),
        };
        Ok(Some(Self { kind, dir: dir.clone(), child }))
    }

    /// Waits until it takes connections.
    pub fn wait(&mut self) -> Result<(), Failure> {
        let begin = Instant::now();
        while !self.answers() {
            if let Some(status) = self.child.try_wait()? {
                return Err(
                    format!("{}: ended ({status}), see {}", self.kind.name(), self.dir.display()).into()
                );
            }
            if begin.elapsed() > PATIENCE {
                return Err(self.failure("does not answer"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// With the last that it said itself.
    fn failure(&self, what: &str) -> Failure {
        let log = std::fs::read_to_string(self.dir.join(LOG)).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(10).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        format!("{} {what}:\n{}", self.kind.name(), last.join("\n")).into()
    }

    fn answers(&self) -> bool {
        match self.kind {
            Kind::Redis => {
                let client = redis::Client::open(format!("redis+unix://{}", socket(&self.dir).display()));
                let ping = client.and_then(|client| redis::cmd("PING").exec(&mut client.get_connection()?));
                ping.is_ok()
            }
            _ => crate::engines::postgres::connect(&self.dir).is_ok(),
        }
    }

    /// Its processes: the one that was started and its children.
    fn pids(&self) -> Vec<u32> {
        let mut pids = vec![self.child.id()];
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok());
            if parent == Some(self.child.id()) {
                pids.push(pid);
            }
        }
        pids
    }

    /// Kills all its processes at once.
    pub fn kill(mut self) -> Result<(), Failure> {
        let pids = self.pids();
        for &pid in &pids {
            // Some may have ended by themselves.
            let _ = send(pid, Signal::SIGKILL);
        }
        self.child.wait()?;
        // PostgreSQL does not start while one of its processes is still dying.
        let begin = Instant::now();
        while pids.iter().any(|pid| is_alive(*pid)) && begin.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let _ = send(self.child.id(), stop(self.kind));
        let _ = self.child.wait();
    }
}

/// What ends a server at once: nobody needs the data any more.
fn stop(kind: Kind) -> Signal {
    if kind == Kind::Postgres { Signal::SIGQUIT } else { Signal::SIGTERM }
}

/// A program that ends when the bench does, however that ends: nobody else would stop it then. As an interrupt both servers take that for
/// an orderly, but quick, end.
fn bound(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "INT"]).arg(program);
    command
}

/// Its output goes into a file; `end` ends it.
fn spawn(command: &mut Command, dir: &Path, end: Signal) -> Result<Dependent, Failure> {
    let log = File::options().create(true).append(true).open(dir.join(LOG))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let name = command.get_program().display().to_string();
    Dependent::spawn(command, end).map_err(|error| format!("{name}: {error}").into())
}

fn redis(dir: &Path) -> Result<Dependent, Failure> {
    let mut command = bound("redis-server");
    command.arg("--dir").arg(dir).arg("--unixsocket").arg(socket(dir));
    let options = [
        "--port",
        "0",
        "--save",
        "",
        "--appendonly",
        "yes",
        "--appendfsync",
        "everysec",
        // The log is rewritten when the bench says so, not in the middle of somebody else's turn.
        "--auto-aof-rewrite-percentage",
        "0",
        "--maxclients",
        "1000",
    ];
    spawn(command.args(options), dir, stop(Kind::Redis))
}

/// Where Debian and others keep PostgreSQL's programs.
fn postgres_programs() -> Result<PathBuf, Failure> {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    found.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    found.extend(std::env::split_paths(&path).filter(|bin| bin.join("postgres").exists()));
    Ok(found.into_iter().next_back().ok_or("PostgreSQL is not installed")?)
}

/// Who runs PostgreSQL, which refuses to be run by root.
fn unprivileged() -> Result<Option<(Uid, Gid)>, Failure> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    for name in ["postgres", "nobody"] {
        if let Some(user) = User::from_name(name)? {
            return Ok(Some((user.uid, user.gid)));
        }
    }
    Err("root may not run PostgreSQL, and there is no user postgres or nobody".into())
}

/// Memory and log as its manual recommends them for a machine of 16 GiB or more; everything else as it comes.
const SETTINGS: [&str; 9] = [
    "listen_addresses=",
    "shared_buffers=2GB",
    "effective_cache_size=8GB",
    "max_wal_size=8GB",
    "checkpoint_timeout=15min",
    "maintenance_work_mem=256MB",
    "random_page_cost=1.1",
    "max_connections=200",
    "jit=off",
];

fn postgres(dir: &Path) -> Result<Dependent, Failure> {
    let programs = postgres_programs()?;
    let data = dir.join("data");
    let user = unprivileged()?;
    let of_user = |program: &str| {
        let mut command = bound(programs.join(program));
        if let Some((uid, gid)) = user {
            command.uid(uid.as_raw()).gid(gid.as_raw());
        }
        command.current_dir(dir);
        command
    };
    if let Some((uid, gid)) = user
        && std::fs::metadata(dir)?.uid() != uid.as_raw()
    {
        std::os::unix::fs::chown(dir, Some(uid.as_raw()), Some(gid.as_raw()))?;
    }
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))?;
    if !data.exists() {
        let mut initdb = of_user("initdb");
        initdb.arg("-D").arg(&data).args(["-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C"]);
        if !spawn(&mut initdb, dir, Signal::SIGINT)?.wait()?.success() {
            return Err(format!("initdb failed, see {}", dir.join(LOG).display()).into());
        }
    }
    let mut command = of_user("postgres");
    command.arg("-D").arg(&data).arg("-k").arg(dir);
    for setting in SETTINGS {
        command.arg("-c").arg(setting);
    }
    spawn(&mut command, dir, stop(Kind::Postgres))
}
