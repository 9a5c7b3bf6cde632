//! `aerostore::transaction`, `begin`, `commit`, `rollback`, `savepoint`, `rollback_to`, `release`.
//!
//! Rules   X1: a script commits by ending in any way but an error; `return -code error` is one. X2: it is run again when it
//!         ended in a conflict: its error has a code that says so, or committing it met one. X3: within a transaction it runs
//!         between a savepoint and its release, and the outermost is run again. X4: an interpreter that the script deletes
//!         commits nothing.
#![forbid(unsafe_code)]

use aerostore_core::db::{self, Isolation, RetryPolicy, Runs, TxnOptions};

use super::search::flag;
use crate::current::{Current, misplaced};
use crate::engine;
use crate::error::{Error, Outcome, reply};
use crate::ffi::{Completion, Integer, Interp, Obj};
use crate::words::word_enum;

word_enum! {
    /// An option of `transaction` and `begin`.
    TxnOption, c"option", {
        Isolation = c"-isolation",
        ReadOnly = c"-readonly",
        Retries = c"-retries",
        Sync = c"-sync",
    }
}

word_enum! {
    /// What a transaction may see.
    Level, c"-isolation value", {
        Serializable = c"serializable",
        Snapshot = c"snapshot",
    }
}

/// What is asked of a transaction.
#[derive(Default)]
struct Request {
    isolation: Option<Isolation>,
    read_only: Option<bool>,
    retries: Option<u32>,
    sync: Option<bool>,
}

impl Request {
    /// Reads pairs of option and value.
    fn read(interp: &Interp, words: &[Obj]) -> Result<Self, Error> {
        let mut request = Self::default();
        for pair in words.chunks(2) {
            let option = TxnOption::find(interp, &pair[0])?;
            let Some(value) = pair.get(1) else {
                return Err(Error::syntax(format!("value for \"{}\" missing", pair[0].quoted())));
            };
            match option {
                TxnOption::Isolation => {
                    request.isolation = Some(match Level::find(interp, value)? {
                        Level::Serializable => Isolation::Serializable,
                        Level::Snapshot => Isolation::Snapshot,
                    });
                }
                TxnOption::ReadOnly => request.read_only = Some(flag("-readonly", value)?),
                TxnOption::Retries => request.retries = Some(retries(value)?),
                TxnOption::Sync => request.sync = Some(flag("-sync", value)?),
            }
        }
        Ok(request)
    }

    fn options(&self) -> TxnOptions {
        TxnOptions {
            isolation: self.isolation.unwrap_or(Isolation::Serializable),
            read_only: self.read_only.unwrap_or(false),
            synchronous_commit: self.sync,
        }
    }

    /// Does a transaction that was begun with `outer` give what is asked? Snapshots are asked for of one that gives more.
    fn check_within(&self, outer: TxnOptions) -> Result<(), Error> {
        let differs = if self.isolation == Some(Isolation::Serializable)
            && outer.isolation != Isolation::Serializable
        {
            Some("-isolation")
        } else if self.read_only.is_some_and(|asked| asked != outer.read_only) {
            Some("-readonly")
        } else if self.sync.is_some() && self.sync != outer.synchronous_commit {
            Some("-sync")
        } else {
            None
        };
        match differs {
            None => Ok(()),
            Some(option) => Err(misplaced(
                "OPEN",
                format!(
                    "the transaction around this one was begun without this {option}: give it to the outermost"
                ),
            )),
        }
    }
}

fn retries(value: &Obj) -> Result<u32, Error> {
    let number = match value.integer() {
        Integer::Wide(number) => u32::try_from(number).ok(),
        _ => None,
    };
    number.ok_or_else(|| {
        Error::value(format!("bad -retries \"{}\": must be an integer that is not negative", value.quoted()))
    })
}

/// `aerostore::transaction ?-option value ...? script`
pub(crate) fn transaction(current: &Current, interp: &Interp, words: &[Obj]) -> Outcome {
    let [_, options @ .., script] = words else {
        return Err(Error::usage(interp, words, 1, c"?-option value ...? script"));
    };
    let request = Request::read(interp, options)?;
    match current.options() {
        None => outermost(current, interp, &request, script),
        Some(outer) => {
            request.check_within(outer)?;
            nested(current, interp, script)
        }
    }
}

fn outermost(current: &Current, interp: &Interp, request: &Request, script: &Obj) -> Outcome {
    let open = engine::database()?;
    let default = open.database.retry_policy();
    let policy = RetryPolicy { tries: request.retries.unwrap_or(default.tries), ..default };
    let mut runs = Runs::new(policy, request.options());
    loop {
        current.start(runs.begin(&open.database)?, request.options(), true);
        let run = Run(current);
        let completion = interp.eval(script);
        let ending = Ending::of(interp, completion);
        let running = current.take();
        drop(run);
        let Some(running) = running else { return Err(db::Error::Closed.into()) };
        if interp.is_deleted() {
            return Ok(completion);
        }
        let conflict = running.met_row_conflict();
        match ending {
            Ending::Commit => match running.commit() {
                Ok(_) => return Ok(completion),
                Err(error) if error.is_retryable() => {
                    if !runs.again(error.is_row_conflict()) {
                        return Err(exhausted(policy, &runs, error));
                    }
                }
                Err(error) => return Err(error.into()),
            },
            Ending::Failed => return Ok(failed(interp, completion, 1)),
            Ending::Conflict => {
                drop(running);
                if !runs.again(conflict) {
                    return Ok(failed(interp, completion, runs.conflicts()));
                }
            }
        }
        interp.reset_result();
    }
}

/// Ends the transaction of a script that something else than its end has ended: a panic.
struct Run<'c>(&'c Current);

impl Drop for Run<'_> {
    fn drop(&mut self) {
        drop(self.0.take());
    }
}

fn exhausted(policy: RetryPolicy, runs: &Runs, error: db::Error) -> Error {
    match policy.tries {
        0 => error.into(),
        _ => db::Error::RetriesExhausted { tries: runs.conflicts(), last: Box::new(error) }.into(),
    }
}

fn nested(current: &Current, interp: &Interp, script: &Obj) -> Outcome {
    current.enter()?;
    let completion = interp.eval(script);
    match Ending::of(interp, completion) {
        Ending::Commit => current.leave(true)?,
        Ending::Failed | Ending::Conflict => {
            // The script's error is the one to tell. What cannot be undone is part of a transaction that is over.
            let _ = current.leave(false);
            return Ok(failed(interp, completion, 1));
        }
    }
    Ok(completion)
}

/// What the end of a script means for its transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Commit,
    Failed,
    /// An error that another run may not meet (X2).
    Conflict,
}

impl Ending {
    fn of(interp: &Interp, completion: Completion) -> Self {
        if completion != Completion::ERROR && completion != Completion::RETURN {
            return Self::Commit;
        }
        let options = interp.return_options(completion);
        let is_error = options.dict_value("-code").is_some_and(|code| code.integer() == Integer::Wide(1));
        if !is_error {
            return Self::Commit;
        }
        let code = options.dict_value("-errorcode").and_then(|code| code.items_if_list()).unwrap_or_default();
        let words: Vec<&[u8]> = code.iter().take(3).map(Obj::bytes).collect();
        match words[..] {
            [b"AEROSTORE", b"SERIALIZATION" | b"REVOKED", ..] | [b"AEROSTORE", b"BUSY", b"LOCK"] => {
                Self::Conflict
            }
            _ => Self::Failed,
        }
    }
}

/// Passes the script's error on, with a line in its trace.
fn failed(interp: &Interp, completion: Completion, runs: u32) -> Completion {
    if completion == Completion::ERROR {
        let line = interp.error_line();
        let often = if runs > 1 { format!(", run {runs} times") } else { String::new() };
        interp.add_error_info(&format!("\n    (\"transaction\" body line {line}{often})"));
    }
    completion
}

/// `aerostore::begin ?-option value ...?`
pub(crate) fn begin(current: &Current, interp: &Interp, words: &[Obj]) -> Outcome {
    let request = Request::read(interp, &words[1..])?;
    if request.retries.is_some() {
        return Err(Error::syntax("-retries goes with transaction: what follows begin cannot be run again"));
    }
    if current.is_open() {
        return Err(misplaced(
            "OPEN",
            "a transaction is open in this interpreter; commit or roll it back first",
        ));
    }
    let open = engine::database()?;
    let txn = open.database.begin(request.options())?;
    current.start(txn, request.options(), false);
    reply(interp, &Obj::empty())
}

/// `aerostore::commit`: the commit timestamp.
pub(crate) fn commit(current: &Current, interp: &Interp, words: &[Obj]) -> Outcome {
    let [_] = words else { return Err(Error::usage(interp, words, 1, c"")) };
    current.check_no_script()?;
    let Some(running) = current.take() else { return Err(db::Error::Closed.into()) };
    reply(interp, &Obj::count(running.commit()?))
}

/// `aerostore::rollback`
pub(crate) fn rollback(current: &Current, interp: &Interp, words: &[Obj]) -> Outcome {
    let [_] = words else { return Err(Error::usage(interp, words, 1, c"")) };
    current.check_no_script()?;
    drop(current.take());
    reply(interp, &Obj::empty())
}

/// A command about a savepoint.
pub(crate) fn mark(
    current: &Current,
    interp: &Interp,
    words: &[Obj],
    action: fn(&Current, &str) -> Result<(), Error>,
) -> Outcome {
    let [_, name] = words else { return Err(Error::usage(interp, words, 1, c"name")) };
    let bad = || Error::value(format!("bad savepoint name \"{}\"", name.quoted()));
    action(current, &name.text().map_err(|_| bad())?)?;
    reply(interp, &Obj::empty())
}
