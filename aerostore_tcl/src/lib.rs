//! The Tcl package `aerostore`: shared tables as Tcl commands.
//!
//! The library is a stubs-enabled extension: it links no libtcl and loads into any tclsh 8.6, safe interpreters too.
//! `docs/tcl.md` is the reference of what scripts see.
//!
//! - `ffi` declares Tcl's C interface and holds all unsafe code, behind safe handles for values and interpreters.
//! - `engine` is the process's one open database, `current` the transaction that an interpreter has open in it.
//! - `commands` are what scripts call: they read their words, call the engine and convert the answer (`convert`).
//! - `package` puts the commands into an interpreter and takes them out again.
//! - `error` turns failures into Tcl errors with an `errorCode`.

mod commands;
mod convert;
mod current;
mod engine;
mod error;
mod ffi;
mod package;
mod terminal;
mod words;
