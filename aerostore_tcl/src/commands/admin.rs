//! The commands about the database as a whole: `aerostore::init`, `close`, `status`, `version`, `set_config`, `get_config`,
//! `checkpoint_now`.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use aerostore_core::db::{
    CONFIG_KEYS, CheckpointStats, ConfigKey, Salvaged, SetAside, SlotStatus, SweepStats,
};
use aerostore_core::wal::{OfficeStats, SyncTimeStats};

use crate::commands::search::flag;
use crate::commands::table::choices;
use crate::current::Current;
use crate::engine::{self, Open, OpenOptions};
use crate::error::{Error, Outcome, reply};
use crate::ffi::{Integer, Interp, Obj};
use crate::words::word_enum;

/// What the names of settings start with in Tcl.
const PREFIX: &str = "aerostore.";

word_enum! {
    /// An option of `aerostore::init`.
    InitOption, c"option", {
        Config = c"-config",
        ReadOnly = c"-readonly",
        Salvage = c"-salvage",
        Shm = c"-shm",
        Size = c"-size",
    }
}

/// `aerostore::init ?data_dir? ?-shm path? ?-size bytes? ?-readonly bool? ?-salvage bool? ?-config {key value ...}?`
pub(crate) fn init(interp: &Interp, words: &[Obj]) -> Outcome {
    if interp.is_safe() {
        if words.len() > 1 {
            return Err(Error::new("DENIED", "permission denied: a safe interpreter cannot open a database"));
        }
        return reply(interp, &boot(&*engine::database()?));
    }
    let open = engine::open(&init_options(interp, words)?)?;
    crate::package::create_tables(interp, &open)?;
    reply(interp, &boot(&open))
}

fn init_options(interp: &Interp, words: &[Obj]) -> Result<OpenOptions, Error> {
    let mut options = OpenOptions::default();
    let mut rest = &words[1..];
    if let [dir, after @ ..] = rest
        && !dir.bytes().starts_with(b"-")
    {
        options.dir = Some(path(dir)?);
        rest = after;
    }
    while let [name, after @ ..] = rest {
        let option = InitOption::find(interp, name)?;
        let [value, after @ ..] = after else {
            return Err(Error::syntax(format!("value for \"{}\" missing", name.quoted())));
        };
        rest = after;
        match option {
            InitOption::Shm => options.shm = Some(path(value)?),
            InitOption::Size => options.max_bytes = Some(size(value)?),
            InitOption::ReadOnly => options.read_only = Some(flag("-readonly", value)?),
            InitOption::Salvage => options.salvage = flag("-salvage", value)?,
            InitOption::Config => options.config = settings(interp, value)?,
        }
    }
    Ok(options)
}

fn path(value: &Obj) -> Result<PathBuf, Error> {
    match value.text() {
        Ok(text) if !text.is_empty() => Ok(PathBuf::from(text.as_ref())),
        _ => Err(Error::value(format!("bad path \"{}\"", value.quoted()))),
    }
}

fn size(value: &Obj) -> Result<u64, Error> {
    match value.integer() {
        Integer::Wide(bytes) if bytes > 0 => Ok(bytes.unsigned_abs()),
        _ => {
            Err(Error::value(format!("bad size \"{}\": must be a positive number of bytes", value.quoted())))
        }
    }
}

fn settings(interp: &Interp, value: &Obj) -> Result<Vec<(String, String)>, Error> {
    let words = value.items(interp).map_err(Error::syntax)?;
    if words.len() % 2 != 0 {
        return Err(Error::syntax(format!("missing value in -config \"{}\"", value.quoted())));
    }
    words.chunks_exact(2).map(|pair| assignment(&pair[0], &pair[1])).collect()
}

/// A setting, by the engine's name, and a value that it takes.
fn assignment(name: &Obj, value: &Obj) -> Result<(String, String), Error> {
    let key = setting(name)?;
    let text = plain(value);
    if key.accepts(&text) {
        return Ok((key.name.to_owned(), text));
    }
    let name = plain(name);
    let message = format!("bad value \"{}\" for {name}: must be {}", value.quoted(), key.allowed());
    Err(Error::new("CONFIG", message).with(name))
}

/// The setting of that name.
fn setting(name: &Obj) -> Result<ConfigKey, Error> {
    let text = plain(name);
    let plain_name = text.strip_prefix(PREFIX);
    let found = CONFIG_KEYS.into_iter().find(|key| Some(key.name) == plain_name);
    found.ok_or_else(|| {
        let names = CONFIG_KEYS.map(|key| format!("{PREFIX}{}", key.name));
        let names = names.each_ref().map(String::as_str);
        Error::new("CONFIG", format!("bad setting \"{text}\": must be {}", choices(&names))).with(text)
    })
}

fn plain(value: &Obj) -> String {
    String::from_utf8_lossy(value.bytes()).into_owned()
}

fn boot(open: &Open) -> Obj {
    let boot = open.database.boot();
    dict([
        ("dir", Obj::string(&open.dir.to_string_lossy())),
        ("shm", Obj::string(&boot.shm.to_string_lossy())),
        ("boot", Obj::string(boot.mode.as_str())),
        ("salvaged", boot.salvaged.as_ref().map_or_else(Obj::empty, salvaged)),
        ("set_aside", boot.set_aside.as_ref().map_or_else(Obj::empty, set_aside)),
        ("rows", Obj::count(boot.rows)),
        ("reaped", Obj::count(boot.reaped.into())),
        ("elapsed_us", Obj::count(boot.elapsed_us)),
        ("checkpoint", boot.checkpoint.map_or_else(Obj::empty, Obj::count)),
        ("loaded", Obj::count(boot.loaded)),
        ("replayed", Obj::count(boot.replayed)),
        ("torn", Obj::string(boot.torn.as_deref().unwrap_or_default())),
        (
            "passed_over",
            Obj::list(&boot.passed_over.iter().map(|text| Obj::string(text)).collect::<Vec<_>>()),
        ),
    ])
}

/// What was given up.
fn salvaged(salvaged: &Salvaged) -> Obj {
    let given_up: Vec<Obj> = salvaged
        .given_up
        .iter()
        .map(|part| {
            dict([
                ("file", Obj::string(&part.path.to_string_lossy())),
                ("offset", Obj::count(part.offset)),
                ("bytes", Obj::count(part.bytes)),
                ("reason", Obj::string(&part.reason)),
            ])
        })
        .collect();
    dict([
        ("attic", Obj::string(&salvaged.attic.to_string_lossy())),
        ("commit_ts", Obj::count(salvaged.last_ts)),
        ("known_ts", Obj::count(salvaged.known_ts)),
        ("given_up", Obj::list(&given_up)),
    ])
}

/// Where a mapping is that could not be used, and why.
fn set_aside(mapping: &SetAside) -> Obj {
    Obj::list(&[Obj::string(&mapping.path.to_string_lossy()), Obj::string(&mapping.reason)])
}

fn dict<const N: usize>(pairs: [(&str, Obj); N]) -> Obj {
    Obj::dict(pairs.into_iter().map(|(name, value)| (Obj::string(name), value)))
}

/// `aerostore::close`
pub(crate) fn close(interp: &Interp, words: &[Obj]) -> Outcome {
    no_arguments(interp, words)?;
    Current::of(interp).abandon();
    reply(interp, &Obj::boolean(engine::close()?))
}

/// `aerostore::version`
pub(crate) fn version(interp: &Interp, words: &[Obj]) -> Outcome {
    no_arguments(interp, words)?;
    reply(interp, &Obj::string(crate::package::VERSION))
}

/// `aerostore::status`
pub(crate) fn status(interp: &Interp, words: &[Obj]) -> Outcome {
    no_arguments(interp, words)?;
    let open = engine::database()?;
    let status = open.database.status()?;
    let pid = |pid: Option<u32>| pid.map_or_else(Obj::empty, |pid| Obj::wide(pid.into()));
    let log = dict([
        ("durable_ts", Obj::count(status.log.durable_ts)),
        ("written_ts", Obj::count(status.log.written_ts)),
        ("segment", Obj::count(status.log.segment)),
        ("batches", Obj::count(status.log.batch_count)),
        ("records", Obj::count(status.log.record_count)),
        ("bytes", Obj::count(status.log.written_bytes)),
        ("syncs", Obj::count(status.log.sync_count)),
        ("sync_us", sync_times(&status.log.sync_times)),
        ("writers", Obj::list(&status.log.offices.iter().map(office).collect::<Vec<_>>())),
        ("takeovers", Obj::count(status.log.takeover_count)),
        ("fault", Obj::wide(status.log.fault.into())),
        ("read_only", Obj::boolean(status.log.read_only)),
    ]);
    let oldest = status.slots.iter().filter_map(|slot| slot.snapshot).min();
    reply(
        interp,
        &dict([
            ("used_bytes", Obj::count(status.used_bytes)),
            ("max_bytes", Obj::count(status.max_bytes)),
            ("file_bytes", Obj::count(status.file_bytes)),
            ("given_back_bytes", Obj::count(status.given_back_bytes)),
            ("rows", Obj::count(status.rows)),
            ("commit_ts", Obj::count(status.clock)),
            ("horizon", Obj::count(status.horizon)),
            ("oldest_snapshot", oldest.map_or_else(Obj::empty, Obj::count)),
            ("oldest_pid", pid(status.oldest_pid)),
            ("log", log),
            ("checkpoint", checkpoint(&status.checkpoint)),
            ("sweep", sweep(&status.sweep)),
            (
                "roles",
                dict([
                    ("log_writer", pid(status.log_writer_pid)),
                    ("vacuum", pid(status.vacuum_pid)),
                    ("checkpointer", pid(status.checkpoint_pid)),
                    ("sweeper", pid(status.sweep_pid)),
                ]),
            ),
            ("slots", Obj::list(&status.slots.iter().map(slot).collect::<Vec<_>>())),
        ]),
    )
}

fn sweep(stats: &SweepStats) -> Obj {
    dict([
        ("rows_deleted", Obj::count(stats.rows_deleted)),
        ("passes", Obj::count(stats.passes)),
        ("rows_postponed", Obj::count(stats.rows_postponed)),
        ("elapsed_us", Obj::count(stats.elapsed_us)),
        ("failures", Obj::count(stats.failures)),
    ])
}

fn checkpoint(stats: &CheckpointStats) -> Obj {
    dict([
        ("number", Obj::count(stats.number)),
        ("commit_ts", Obj::count(stats.commit_ts)),
        ("rows", Obj::count(stats.rows)),
        ("bytes", Obj::count(stats.bytes)),
        ("elapsed_us", Obj::count(stats.elapsed_us)),
        ("taken", Obj::count(stats.taken)),
        ("failures", Obj::count(stats.failures)),
        ("rows_done", Obj::count(stats.rows_done)),
    ])
}

fn slot(slot: &SlotStatus) -> Obj {
    dict([
        ("slot", Obj::wide(slot.slot.into())),
        ("pid", Obj::wide(slot.pid.into())),
        ("snapshot", slot.snapshot.map_or_else(Obj::empty, Obj::count)),
        ("retired", Obj::count(slot.retired)),
        ("ring_bytes", Obj::count(slot.ring.capacity_bytes)),
        ("ring_used_bytes", Obj::count(slot.ring.used_bytes)),
        ("pending_bytes", Obj::count(slot.ring.pending_bytes)),
        ("logged_records", Obj::count(slot.ring.record_count)),
        ("logged_bytes", Obj::count(slot.ring.redo_bytes)),
    ])
}

/// How many syncs took less than so many microseconds, and no less than half of that.
fn sync_times(times: &SyncTimeStats) -> Obj {
    let bound = |bound: Option<u64>| bound.map_or_else(|| Obj::string("more"), Obj::count);
    Obj::dict(times.classes().map(|(below, count)| (bound(below), Obj::count(count))))
}

fn office(office: &OfficeStats) -> Obj {
    dict([
        ("term", Obj::count(office.term)),
        ("pid", Obj::wide(office.pid.into())),
        ("batches", Obj::count(office.batch_count)),
        ("records", Obj::count(office.record_count)),
        ("bytes", Obj::count(office.written_bytes)),
        ("syncs", Obj::count(office.sync_count)),
        ("sync_us", Obj::count(office.sync_ns / 1000)),
    ])
}

/// `aerostore::checkpoint_now`
pub(crate) fn checkpoint_now(interp: &Interp, words: &[Obj]) -> Outcome {
    no_arguments(interp, words)?;
    let taken = engine::database()?.database.checkpoint()?;
    reply(
        interp,
        &dict([
            ("number", Obj::count(taken.number)),
            ("rows", Obj::count(taken.rows)),
            ("bytes", Obj::count(taken.bytes)),
            ("commit_ts", Obj::count(taken.commit_ts)),
            ("elapsed_us", Obj::count(taken.elapsed_us)),
            ("segments_removed", Obj::count(taken.segments_removed)),
        ]),
    )
}

/// `aerostore::set_config key value`
pub(crate) fn set_config(interp: &Interp, words: &[Obj]) -> Outcome {
    let [_, name, value] = words else { return Err(Error::usage(interp, words, 1, c"key value")) };
    let (name, value) = assignment(name, value)?;
    engine::database()?.database.set_config(&name, &value)?;
    reply(interp, &Obj::empty())
}

/// `aerostore::get_config ?key?`
pub(crate) fn get_config(interp: &Interp, words: &[Obj]) -> Outcome {
    match words {
        [_] => {
            let settings = engine::database()?.database.config();
            let pairs = settings
                .iter()
                .map(|(name, value)| (Obj::string(&format!("{PREFIX}{name}")), Obj::string(value)));
            reply(interp, &Obj::dict(pairs))
        }
        [_, name] => {
            let name = setting(name)?;
            reply(interp, &Obj::string(&engine::database()?.database.get_config(name.name)?))
        }
        _ => Err(Error::usage(interp, words, 1, c"?key?")),
    }
}

fn no_arguments(interp: &Interp, words: &[Obj]) -> Result<(), Error> {
    if words.len() == 1 { Ok(()) } else { Err(Error::usage(interp, words, 1, c"")) }
}
