//! Puts the package into an interpreter, and takes it out again.
#![forbid(unsafe_code)]

use std::ffi::{CStr, CString};

use crate::error::{Error, Outcome, finish, reply};
use crate::ffi::{Command, Completion, Interp, Obj};

/// The package's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Creates the package's commands in the interpreter.
pub(crate) fn install(interp: &Interp) -> Completion {
    finish(interp, try_install(interp))
}

fn try_install(interp: &Interp) -> Outcome {
    create(interp, c"::aerostore::version", version);
    let ensemble = "namespace eval ::aerostore {namespace export {[a-z]*}; namespace ensemble create}";
    if interp.eval(&Obj::string(ensemble)) != Completion::OK {
        return Err(Error::Raised);
    }
    interp.reset_result();
    let version = CString::new(VERSION).map_err(|_| Error::syntax("bad version"))?;
    Ok(interp.provide(c"aerostore", &version))
}

/// Deletes the package's commands from the interpreter.
pub(crate) fn remove(interp: &Interp, _last: bool) -> Completion {
    interp.eval(&Obj::string("namespace delete ::aerostore; package forget aerostore"))
}

fn create(interp: &Interp, name: &CStr, body: impl Fn(&Interp, &[Obj]) -> Outcome + 'static) {
    Command::new(move |interp, words| finish(interp, body(interp, words))).create(interp, name);
}

fn version(interp: &Interp, words: &[Obj]) -> Outcome {
    if words.len() != 1 {
        return Err(Error::usage(interp, words, 1, c""));
    }
    reply(interp, &Obj::string(VERSION))
}
