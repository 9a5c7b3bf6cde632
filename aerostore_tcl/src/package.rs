//! Puts the package into an interpreter, and takes it out again.
//!
//! Every interpreter gets the command of the table that is always there, and those of all other tables when it calls
//! `aerostore::init` or is given the package while a database is open.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::rc::Rc;

use crate::commands::{TableCommand, admin};
use crate::engine::{self, Open};
use crate::error::{Error, Outcome, finish};
use crate::ffi::{Command, Completion, Interp, Obj};

/// The package's version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The table that is there without a definition.
const BUILT_IN_TABLE: &CStr = c"::FlightState";
/// Where an interpreter keeps the names of its table commands.
const TABLES_KEY: &CStr = c"aerostore-tables";

type TableNames = RefCell<Vec<CString>>;

/// Creates the package's commands in the interpreter.
pub(crate) fn install(interp: &Interp) -> Completion {
    finish(interp, try_install(interp))
}

fn try_install(interp: &Interp) -> Outcome {
    create(interp, c"::aerostore::init", admin::init);
    create(interp, c"::aerostore::status", admin::status);
    create(interp, c"::aerostore::version", admin::version);
    create(interp, c"::aerostore::get_config", admin::get_config);
    if !interp.is_safe() {
        create(interp, c"::aerostore::close", admin::close);
        create(interp, c"::aerostore::set_config", admin::set_config);
    }
    let ensemble = "namespace eval ::aerostore {namespace export {[a-z]*}; namespace ensemble create}";
    if interp.eval(&Obj::string(ensemble)) != Completion::OK {
        return Err(Error::Raised);
    }
    interp.reset_result();
    if interp.attached::<TableNames>(TABLES_KEY).is_none() {
        interp.attach(TABLES_KEY, Rc::new(TableNames::default()));
    }
    create_table(interp, BUILT_IN_TABLE)?;
    if let Ok(open) = engine::database() {
        create_tables(interp, &open)?;
    }
    let version = CString::new(VERSION).unwrap_or_default();
    Ok(interp.provide(c"aerostore", &version))
}

/// Creates the commands of all tables of the open database, but for those whose names are taken.
pub(crate) fn create_tables(interp: &Interp, open: &Open) -> Result<(), Error> {
    for table in open.database.tables()? {
        if let Ok(command) = CString::new(format!("::{}", table.name())) {
            create_table(interp, &command)?;
        }
    }
    Ok(())
}

fn create_table(interp: &Interp, command: &CStr) -> Result<(), Error> {
    let names = interp.attached::<TableNames>(TABLES_KEY);
    let names = names.ok_or_else(|| Error::new("CLOSED", "the package was taken out of this interpreter"))?;
    let known = names.borrow().iter().any(|name| name.as_c_str() == command);
    // A command that is there is this table's own, or somebody else's, which a table's name must not take away.
    if !interp.has_command(command) {
        let full_name = command.to_string_lossy();
        let table = TableCommand::new(full_name.trim_start_matches(':'));
        create(interp, command, move |interp, words| table.run(interp, words));
        if !known {
            names.borrow_mut().push(command.to_owned());
        }
    }
    Ok(())
}

/// Deletes the package's commands from the interpreter; when it was the last, closes the database.
pub(crate) fn remove(interp: &Interp, last: bool) -> Completion {
    finish(interp, try_remove(interp, last))
}

fn try_remove(interp: &Interp, last: bool) -> Outcome {
    if let Some(names) = interp.attached::<TableNames>(TABLES_KEY) {
        for name in names.take() {
            interp.delete_command(&name);
        }
        interp.detach(TABLES_KEY);
    }
    let script = Obj::string("namespace delete ::aerostore; package forget aerostore");
    if interp.eval(&script) != Completion::OK {
        return Err(Error::Raised);
    }
    if last {
        engine::close()?;
    }
    interp.reset_result();
    Ok(Completion::OK)
}

fn create(interp: &Interp, name: &CStr, body: impl Fn(&Interp, &[Obj]) -> Outcome + 'static) {
    Command::new(move |interp, words| finish(interp, body(interp, words))).create(interp, name);
}
